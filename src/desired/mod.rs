//! A tree of files to a desired state and diagnostics.

pub mod report;
