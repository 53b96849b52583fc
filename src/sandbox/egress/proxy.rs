//! The proxy of one attempt: takes what connects at its listeners to where it may go, and counts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::address::{self, Leads};
use super::ledger::{Ledger, Sum};
use super::request::{self, Asked};
use super::{Egress, Reach, Target, relay};
use crate::domain::{Contact, ContactDenial, ContactFailure};

/// The pause after a connection could not be accepted, which is when descriptors have run out.
const BREATH: std::time::Duration = std::time::Duration::from_millis(50);

/// The listeners of one attempt, made in its network.
pub(in crate::sandbox) struct Doors {
    /// For clients that know of proxies.
    pub(in crate::sandbox) proxy: TcpListener,
    /// One per declared host, in their order.
    pub(in crate::sandbox) hosts: Vec<TcpListener>,
}

/// A proxy that runs. Ends with all its connections when it is dropped.
pub(in crate::sandbox) struct Proxy {
    ledger: Arc<Ledger>,
    tasks: Vec<AbortHandle>,
}

impl Proxy {
    /// Starts to serve; `reach` has the order of the listeners.
    pub(in crate::sandbox) fn start(egress: &Egress, reach: &[Reach], doors: Doors) -> Self {
        let ledger = Arc::new(Ledger::of(reach));
        let attempt = Arc::new(Attempt {
            egress: egress.clone(),
            reach: reach.to_vec(),
            ledger: Arc::clone(&ledger),
            slots: Arc::new(Semaphore::new(egress.limits.connections)),
        });
        let hosts = doors.hosts.into_iter().zip(reach).map(|(listener, reach)| {
            let target = Target { host: reach.host.host.clone(), port: reach.host.port };
            (listener, Some(target))
        });
        let tasks = hosts
            .chain([(doors.proxy, None)])
            .map(|(listener, target)| {
                tokio::spawn(Arc::clone(&attempt).listen(listener, target)).abort_handle()
            })
            .collect();
        Self { ledger, tasks }
    }

    /// What there was so far.
    pub(in crate::sandbox) fn contacts(&self) -> Vec<Contact> {
        self.ledger.contacts()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // The connections of a listener end with its task, which has them.
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

struct Attempt {
    egress: Egress,
    reach: Vec<Reach>,
    ledger: Arc<Ledger>,
    slots: Arc<Semaphore>,
}

/// Why there is no connection to a host.
enum Miss {
    Denied(ContactDenial),
    Failed(ContactFailure),
}

impl Attempt {
    /// Serves one listener until its task is ended.
    async fn listen(self: Arc<Self>, listener: TcpListener, target: Option<Target>) {
        let mut living = JoinSet::new();
        loop {
            while living.try_join_next().is_some() {}
            let Ok((near, _)) = listener.accept().await else {
                tokio::time::sleep(BREATH).await;
                continue;
            };
            let Some(slot) = self.slot() else {
                match target.as_ref().and_then(|target| self.ledger.sum(target)) {
                    Some(sum) => sum.denied(ContactDenial::TooMany),
                    None => self.ledger.denied(None, ContactDenial::TooMany),
                }
                refuse(&near);
                continue;
            };
            let (this, target) = (Arc::clone(&self), target.clone());
            living.spawn(async move {
                match target {
                    Some(target) => this.lead(near, &target).await,
                    None => this.answer(near).await,
                }
                drop(slot);
            });
        }
    }

    /// A place for one more connection, of the attempt's and of the worker's.
    fn slot(&self) -> Option<(OwnedSemaphorePermit, OwnedSemaphorePermit)> {
        let own = Arc::clone(&self.slots).try_acquire_owned().ok()?;
        Some((own, Arc::clone(&self.egress.shared).try_acquire_owned().ok()?))
    }

    /// Leads a connection that was made at a host's own listener.
    async fn lead(&self, near: TcpStream, target: &Target) {
        let Some(sum) = self.ledger.sum(target) else { return refuse(&near) };
        match self.reach(target, &sum).await {
            Ok(far) => relay::both_ways(near, far, &sum, self.egress.limits.idle).await,
            Err(_) => refuse(&near),
        }
    }

    /// Answers a client of the proxy.
    async fn answer(&self, mut near: TcpStream) {
        let asked = timeout(self.egress.limits.ask, hear(&mut near)).await;
        let (asked, rest) = match asked {
            Ok(Ok(Some(asked))) => asked,
            // It went away, or never said what it wants.
            Ok(Ok(None)) | Err(_) => return,
            Ok(Err(refused)) => {
                self.ledger.denied(None, ContactDenial::Malformed);
                return say(near, refused.status, refused.why).await;
            }
        };
        let (Asked::Tunnel(target) | Asked::Forward { target, .. }) = &asked;
        let Some(sum) = self.ledger.sum(target) else {
            self.ledger.denied(Some(target), ContactDenial::Undeclared);
            let text = format!("`{target}` is not among the hosts that this step may reach (`network`)");
            return say(near, 403, &text).await;
        };
        let mut far = match self.reach(target, &sum).await {
            Ok(far) => far,
            Err(Miss::Denied(why)) => return say(near, 403, &format!("`{target}`: {}", why.words())).await,
            Err(Miss::Failed(why)) => {
                let status = if why == ContactFailure::TimedOut { 504 } else { 502 };
                return say(near, status, &format!("`{target}`: {}", why.words())).await;
            }
        };
        let idle = self.egress.limits.idle;
        match asked {
            Asked::Tunnel(_) => {
                let begun = near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.is_ok()
                    && far.write_all(&rest).await.is_ok();
                sum.sent(rest.len());
                if begun {
                    relay::both_ways(near, far, &sum, idle).await;
                }
            }
            Asked::Forward { head, body, .. } => {
                sum.sent(head.len());
                if far.write_all(head.as_bytes()).await.is_ok() {
                    relay::one_answer(near, far, &rest, body, &sum, idle).await;
                }
            }
        }
    }

    /// Connects to a declared host, and counts how that went.
    async fn reach(&self, target: &Target, sum: &Sum) -> Result<TcpStream, Miss> {
        let result = self.connect(target).await;
        match &result {
            Ok(_) => sum.connected(),
            Err(Miss::Denied(why)) => sum.denied(*why),
            Err(Miss::Failed(why)) => sum.failed(*why),
        }
        result
    }

    async fn connect(&self, target: &Target) -> Result<TcpStream, Miss> {
        let private = self
            .reach
            .iter()
            .any(|one| one.private && one.host.host == target.host && one.host.port == target.port);
        let limit = self.egress.limits.connect;
        let found = match timeout(limit, self.egress.outward.resolve(&target.host)).await {
            Ok(Ok(found)) => found,
            Ok(Err(_)) => return Err(Miss::Failed(ContactFailure::Unresolved)),
            Err(_) => return Err(Miss::Failed(ContactFailure::TimedOut)),
        };
        let mut miss = Miss::Failed(ContactFailure::Unresolved);
        for address in found {
            let address = SocketAddr::new(address::plain(address), target.port);
            if let Some(why) = self.denies(address, private) {
                // What the host itself did says more than what its other addresses are.
                if !matches!(miss, Miss::Failed(why) if why != ContactFailure::Unresolved) {
                    miss = Miss::Denied(why);
                }
                continue;
            }
            match timeout(limit, self.egress.outward.connect(address)).await {
                Ok(Ok(far)) => {
                    far.set_nodelay(true).ok();
                    return Ok(far);
                }
                Ok(Err(error)) => miss = Miss::Failed(failure(&error)),
                Err(_) => miss = Miss::Failed(ContactFailure::TimedOut),
            }
        }
        Err(miss)
    }

    /// Why nobody may connect to this very address; `None` if somebody may.
    fn denies(&self, address: SocketAddr, private: bool) -> Option<ContactDenial> {
        match address::leads(address.ip()) {
            Leads::Never(why) => Some(why),
            Leads::Private if !private => Some(ContactDenial::Private),
            Leads::Public | Leads::Private => {
                let own = self.egress.own.iter().any(|own| {
                    own.port() == address.port()
                        && (address::plain(own.ip()) == address.ip()
                            || (own.ip().is_unspecified() && self.egress.outward.is_here(address.ip())))
                });
                own.then_some(ContactDenial::Own)
            }
        }
    }
}

/// Reads what a client asks for, and what it has sent beyond that already; `None` if it went away.
async fn hear(near: &mut TcpStream) -> Result<Option<(Asked, Vec<u8>)>, request::Refused> {
    let mut bytes = Vec::new();
    loop {
        if let Some((asked, length)) = request::read(&bytes)? {
            return Ok(Some((asked, bytes.split_off(length))));
        }
        let room = request::HEAD_BYTES_MAX.saturating_sub(bytes.len()).max(1) as u64;
        match near.take(room).read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return Ok(None),
            Ok(_) => {}
        }
    }
}

/// Closes a connection so that the client sees a failure and no end.
fn refuse(near: &TcpStream) {
    near.set_zero_linger().ok();
}

/// Answers a client of the proxy in words, and lets it read them before the connection ends.
async fn say(mut near: TcpStream, status: u16, text: &str) {
    let reason = match status {
        403 => "Forbidden",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        504 => "Gateway Timeout",
        _ => "Bad Request",
    };
    let body = format!("tenantry: {text}\n");
    let answer = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let told = async {
        near.write_all(answer.as_bytes()).await?;
        near.shutdown().await?;
        // Closing over bytes that nobody has read would take the answer back.
        let mut rest = [0u8; 4096];
        for _ in 0..64 {
            if near.read(&mut rest).await? == 0 {
                break;
            }
        }
        Ok::<(), io::Error>(())
    };
    drop(timeout(std::time::Duration::from_secs(2), told).await);
}

fn failure(error: &io::Error) -> ContactFailure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => ContactFailure::Refused,
        io::ErrorKind::TimedOut => ContactFailure::TimedOut,
        io::ErrorKind::NetworkUnreachable
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::AddrNotAvailable
        | io::ErrorKind::PermissionDenied => ContactFailure::Unreachable,
        _ => ContactFailure::Failed,
    }
}
