//! The way out of a sandbox: one proxy per attempt, which leads to the hosts that the step declares and nowhere else.
//!
//! The sandbox keeps a network of its own, which has no way out. In it every declared host has a loopback address,
//! with a listener on the declared port, and there is one address more for clients that know of proxies. The
//! listeners are made by the attempt's first process and kept by the daemon: no process of ours runs inside. What
//! connects is led to the host by this room: it resolves the name, checks each address, and connects to the very
//! address that it has checked, so that a name that says something else the next time leads nowhere else.
//! Deliberately absent: reading what is transferred. TLS ends at the host, not here.

mod address;
mod ledger;
mod outward;
mod proxy;
mod relay;
mod request;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

pub use outward::{Outward, System};
pub(super) use proxy::{Doors, Proxy};

pub use crate::domain::HOSTS_MAX;
use crate::domain::HostPort;

/// A host that an attempt may reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Its name and port.
    pub host: HostPort,
    /// Whether it may lie in a private range.
    pub private: bool,
}

/// What the proxies of one executor share.
#[derive(Clone)]
pub struct Egress {
    /// The network.
    pub outward: Arc<dyn Outward>,
    /// Places of tenantry itself: where its daemon listens, where its store is. An unspecified address stands for
    /// every one of this machine.
    pub own: Vec<SocketAddr>,
    /// Bounds of one attempt.
    pub limits: EgressLimits,
    /// Bounds all attempts together: each connection takes two descriptors of the daemon.
    pub(super) shared: Arc<Semaphore>,
}

/// Bounds of one attempt's connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressLimits {
    /// Connections at one time.
    pub connections: usize,
    /// The time in which a client has to say what it wants of the proxy.
    pub ask: Duration,
    /// The time for resolving a name, and for each address that is tried.
    pub connect: Duration,
    /// The time in which nothing goes either way after which a connection is closed.
    pub idle: Duration,
}

impl Default for EgressLimits {
    fn default() -> Self {
        Self {
            connections: 64,
            ask: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            // A query may think for long; the attempt's own end is nearer than this.
            idle: Duration::from_secs(30 * 60),
        }
    }
}

/// The most connections of all attempts.
const SHARED_MAX: usize = 4096;

impl Egress {
    /// The machine's own network.
    #[must_use]
    pub fn system(own: Vec<SocketAddr>) -> Self {
        Self::over(Arc::new(System), own, EgressLimits::default())
    }

    /// Any network: for tests, which have one of their own.
    #[must_use]
    pub fn over(outward: Arc<dyn Outward>, own: Vec<SocketAddr>, limits: EgressLimits) -> Self {
        let shared = Arc::new(Semaphore::new(descriptors().clamp(64, SHARED_MAX)));
        Self { outward, own, limits, shared }
    }
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress").field("own", &self.own).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Connections that this process has descriptors for, with half of them left for everything else. Takes the
/// descriptors that the system gives for the asking.
fn descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).ok();
    }
    let count = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    usize::try_from(count / 4).unwrap_or(usize::MAX)
}

/// A host as it is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Target {
    /// In lower case.
    host: String,
    port: u16,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}
