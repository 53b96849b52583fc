//! Wiring: settings to adapters to services; start order, shutdown order.
//!
//! The only place that names an implementation of a floor-2 trait.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::domain::Length;

/// Everything a daemon, or one pass of it, is told from outside.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The repository: a path or an address without a password.
    pub repo: String,
    /// The data directory, made if it is not there.
    pub data: PathBuf,
    /// Where age identities lie; `identities/` of the data directory by default.
    pub identities: Option<PathBuf>,
    /// Which tenants the embedded worker takes.
    pub regions: Regions,
    /// Attempts at one time; twice the processors by default, 0 for no worker.
    pub slots: Option<u32>,
    /// Goes on where memory and process limits of a whole tree cannot be set, and says so on every record.
    pub limits_best_effort: bool,
    /// Runs steps as plain processes where the sandbox is missing, and says so on every record.
    pub allow_unsandboxed: bool,
    /// How often the repository is looked at when nothing wakes the loop.
    pub poll: Length,
    /// Where health and metrics are served; `None` serves the socket only.
    pub listen: Option<SocketAddr>,
}

impl Settings {
    /// The defaults of `serve` for a repository and a data directory.
    #[must_use]
    pub fn new(repo: impl Into<String>, data: impl Into<PathBuf>) -> Self {
        Self {
            repo: repo.into(),
            data: data.into(),
            identities: None,
            regions: Regions::Unnamed,
            slots: None,
            limits_best_effort: false,
            allow_unsandboxed: false,
            poll: Length::from_secs(60),
            listen: None,
        }
    }
}

/// Which tenants a worker takes: a tenant with a region runs only where that region is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Regions {
    /// Only tenants that name no region.
    Unnamed,
    /// Tenants of these regions, and those that name none.
    Named(Vec<String>),
    /// All; said at start and by `doctor`.
    Any,
}

impl Regions {
    /// As the store's claim takes it: `None` for all.
    #[must_use]
    pub fn claimed(&self) -> Option<&[String]> {
        match self {
            Self::Unnamed => Some(&[]),
            Self::Named(regions) => Some(regions),
            Self::Any => None,
        }
    }
}
