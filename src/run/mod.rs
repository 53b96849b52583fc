//! The life of runs, steps and attempts: event in, effects out.
