//! A daemon's HTTP from outside.
