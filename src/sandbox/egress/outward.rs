//! The way out as the proxy sees it: names become addresses, addresses become connections.

use std::io;
use std::net::{IpAddr, SocketAddr};

use async_trait::async_trait;
use tokio::net::TcpStream;

/// The network of this machine. Another implementation exists in tests alone; no setting chooses one.
#[async_trait]
pub trait Outward: Send + Sync {
    /// The addresses of a name, best first. Asked anew for every connection.
    ///
    /// # Errors
    /// If it has none, or nobody can be asked.
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>>;

    /// Connects to exactly this address: the one that was checked, never a name.
    ///
    /// # Errors
    /// What the system says.
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream>;

    /// Whether an address is one of this machine's interfaces.
    fn is_here(&self, address: IpAddr) -> bool;
}

/// The machine's own resolver and routes.
pub struct System;

#[async_trait]
impl Outward for System {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        // The port is the caller's: a resolver has no say in it.
        Ok(tokio::net::lookup_host((host, 0)).await?.map(|found| found.ip()).collect())
    }
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        TcpStream::connect(address).await
    }
    fn is_here(&self, address: IpAddr) -> bool {
        // The kernel binds to the machine's own addresses alone.
        std::net::UdpSocket::bind((address, 0)).is_ok()
    }
}
