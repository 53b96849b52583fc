//! The life of runs, steps and attempts: event in, effects out.
//!
//! Retries, `needs`, `if`, timeouts, cancellation and concurrency are transitions of this machine and of
//! nothing else, so that no endpoint can go round them. Deliberately absent: clocks, stores, workers.

mod state;

pub use state::*;
