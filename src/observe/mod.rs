//! Log fields, metrics, traces, alert delivery.
//!
//! For now the daemon's log lines: one form for people, one for machines, the same tags on both. A line
//! carries identifiers, never values; what a script wrote is data and never becomes a tag. Metrics, traces
//! and delivery come with the observability issue.

mod logging;

pub use logging::{LogFormat, start_logging};
