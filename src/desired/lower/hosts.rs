//! Hosts that a step, or a whole tenant, may reach.

use std::collections::BTreeSet;

use super::file::Found;
use crate::desired::rules;
use crate::domain::{HostPort, Spanned};

/// Takes the hosts of a list, each once, and says what is wrong with any: a host is a name that somebody else
/// answers for, with its port.
pub(super) fn lower(path: &str, written: Vec<Spanned<HostPort>>, found: &mut Found) -> Vec<HostPort> {
    let mut seen = BTreeSet::new();
    let mut hosts = Vec::new();
    for Spanned { value: host, span } in written {
        if host.is_address() {
            let message = format!("`{}` is an address and no name", host.host);
            let help = "write the name that the host has: what an address leads to is checked each time, and \
                        private ones are opened by name in `[network] private` of tenantry.toml";
            found.push(rules::BAD_VALUE.at(path, Some(span), message).help(help));
        } else if host.is_local() {
            let message = format!("`{}` is the sandbox itself", host.host);
            let help = "leave it out: what a step starts on its own loopback it reaches anyway, and the machine's \
                        is nobody's";
            found.push(rules::BAD_VALUE.at(path, Some(span), message).help(help));
        } else if !seen.insert(host.clone()) {
            let message = format!("`{host}` stands twice");
            found.push(rules::DUPLICATE_KEY.at(path, Some(span), message).help("keep one of them"));
        } else {
            hosts.push(host);
        }
    }
    hosts
}
