//! Where the daemon's own log lines go: standard error, as text or as one JSON object a line.

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, its fields flat: `tenant_id`, `workflow_id`, `run_id`, `step`, `attempt`, `commit`, …
    Json,
}

/// Starts logging to standard error; a second call changes nothing.
///
/// `filter` is in the form of `tracing` (`info`, `tenantry=debug`); one that cannot be read counts as `info`.
pub fn start_logging(format: LogFormat, filter: &str, colour: bool) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let registry = tracing_subscriber::registry().with(filter);
    // A second subscriber is refused by `try_init`, which is what a second call means.
    let _ = match format {
        LogFormat::Text => registry
            .with(fmt::layer().with_writer(std::io::stderr).with_ansi(colour).with_target(false))
            .try_init(),
        LogFormat::Json => registry
            .with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr).with_target(false))
            .try_init(),
    };
}
