//! The only door a script has: its own step's secrets, its own outputs.
