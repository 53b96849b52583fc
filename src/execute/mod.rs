//! Lease an attempt, run it, report it.
