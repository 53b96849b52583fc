//! The ways out of a sandbox: a loopback address for every host that the step declares, with a listener each.
//!
//! Whoever connects there is taken to the host by the daemon, which gets the listeners. Nothing is transferred here.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use crate::domain::HostPort;

/// Where clients find the proxy, if they know of proxies.
const PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 77, 0, 1), 3128);
/// Connections that wait to be taken by the daemon.
const BACKLOG: i32 = 128;

/// The names of a sandbox without ways out.
pub(super) const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost\n";

/// The address of each host, in the order of the hosts: one for each name, whatever its ports.
fn addresses(hosts: &[HostPort]) -> Vec<Ipv4Addr> {
    let mut names: Vec<&str> = Vec::new();
    let mut place = |name| {
        let known = names.iter().position(|one| *one == name);
        known.unwrap_or_else(|| {
            names.push(name);
            names.len() - 1
        })
    };
    let address = |place: usize| {
        let number = u8::try_from(place).unwrap_or(u8::MAX);
        Ipv4Addr::new(127, 77, 1, number.saturating_add(1))
    };
    hosts.iter().map(|host| address(place(host.host.as_str()))).collect()
}

/// What stands in `/etc/hosts`.
pub(super) fn names(hosts: &[HostPort]) -> String {
    let mut lines: Vec<String> = Vec::new();
    for (host, address) in hosts.iter().zip(addresses(hosts)) {
        let line = format!("{address} {}\n", host.host);
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    format!("{HOSTS}{}", lines.concat())
}

/// What was opened.
#[derive(Default)]
pub(super) struct Ways {
    /// The listener of the proxy and then one per host; none at all where there are no hosts.
    pub(super) listeners: Vec<OwnedFd>,
    /// Whether some host has no listener at its port, since that is below 1024 and this process may not have it. The
    /// host is reached through the proxy alone then.
    pub(super) by_proxy_alone: bool,
}

/// Opens the listeners in the network of this process.
///
/// # Errors
/// What the system says.
pub(super) fn open(hosts: &[HostPort]) -> io::Result<Ways> {
    let mut ways = Ways { listeners: vec![listen(PROXY)?], by_proxy_alone: false };
    for (host, address) in hosts.iter().zip(addresses(hosts)) {
        let listener = match listen(SocketAddrV4::new(address, host.port)) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied && host.port < 1024 => {
                ways.by_proxy_alone = true;
                // Somewhere, so that each host has one.
                listen(SocketAddrV4::new(address, 0))?
            }
            answer => answer?,
        };
        ways.listeners.push(listener);
    }
    Ok(ways)
}

fn listen(address: SocketAddrV4) -> io::Result<OwnedFd> {
    use rustix::net::{AddressFamily, SocketFlags, SocketType};
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::INET, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The variables that lead clients to the proxy.
pub(super) fn variables() -> impl Iterator<Item = (String, String)> {
    super::super::PROXY_VARIABLES.into_iter().map(|name| {
        let value = if name.eq_ignore_ascii_case("no_proxy") {
            "localhost,127.0.0.1,::1".to_owned()
        } else {
            format!("http://{PROXY}")
        };
        (name.to_owned(), value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_address() {
        let hosts: Vec<HostPort> = ["a.example:443", "b.example:5432", "a.example:80", "xb.example:1"]
            .map(|host| host.parse().unwrap())
            .into();
        let want = format!("{HOSTS}127.77.1.1 a.example\n127.77.1.2 b.example\n127.77.1.3 xb.example\n");
        assert_eq!(names(&hosts), want);
        assert_eq!(addresses(&hosts)[0], addresses(&hosts)[2]);
    }

    #[test]
    fn the_most_hosts_have_addresses_of_their_own() {
        let count = super::super::super::egress::HOSTS_MAX;
        let hosts: Vec<HostPort> = (0..count).map(|n| format!("h{n}:1").parse().unwrap()).collect();
        let different: std::collections::BTreeSet<_> = addresses(&hosts).into_iter().collect();
        assert_eq!(different.len(), count);
    }

    #[test]
    fn every_spelling_of_the_variables_is_set() {
        let all: std::collections::BTreeMap<_, _> = variables().collect();
        assert_eq!(all.len(), 6);
        assert_eq!(all["https_proxy"], "http://127.77.0.1:3128");
        assert_eq!(all["NO_PROXY"], "localhost,127.0.0.1,::1");
    }
}
