//! What attempts had to do with hosts.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What one attempt had to do with one host: the wall's log, and the evidence for "upstream is down".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// `HOST:PORT` as the step declares it, or what was asked of the proxy instead.
    pub host: String,
    /// Connections that were made.
    pub connected: u64,
    /// Connections that the other side, or the way there, did not give.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<ContactFailure, u64>,
    /// Connections that the wall did not allow.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub denied: BTreeMap<ContactDenial, u64>,
    /// Bytes that the step sent over connections that were made.
    pub sent_bytes: u64,
    /// Bytes that it received.
    pub received_bytes: u64,
}

impl Contact {
    /// Whether every try has led to a connection.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.failed.is_empty() && self.denied.is_empty()
    }

    /// What did not work, for people; `None` if everything did.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        let times = |count: u64| if count == 1 { String::new() } else { format!(" ({count} times)") };
        let failed = self.failed.iter().map(|(why, count)| format!("{}{}", why.words(), times(*count)));
        let denied = self.denied.iter().map(|(why, count)| format!("{}{}", why.words(), times(*count)));
        let all: Vec<String> = failed.chain(denied).collect();
        (!all.is_empty()).then(|| all.join(", "))
    }
}

/// Why a host gave no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContactFailure {
    /// Its name has no address.
    Unresolved,
    /// Nobody listens there.
    Refused,
    /// No way leads there.
    Unreachable,
    /// Nobody answered in time.
    TimedOut,
    /// Anything else that the system says.
    Failed,
}

impl ContactFailure {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Unresolved => "its name has no address",
            Self::Refused => "connection refused by the host",
            Self::Unreachable => "no way leads there",
            Self::TimedOut => "no answer in time",
            Self::Failed => "connection failed",
        }
    }
}

/// Why the wall did not allow a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContactDenial {
    /// The step does not declare it, or its tenant has it no longer.
    Undeclared,
    /// An address of the machine itself.
    Loopback,
    /// An address of the local link.
    LinkLocal,
    /// Where clouds give out the machine's own rights.
    Metadata,
    /// No address at all.
    Unspecified,
    /// An address of many.
    Multicast,
    /// An address of all.
    Broadcast,
    /// A range that nobody may be in.
    Reserved,
    /// A private range that the platform does not open here.
    Private,
    /// A place of tenantry itself.
    Own,
    /// More connections at one time than an attempt, or this worker, has.
    TooMany,
    /// A request that the proxy does not read.
    Malformed,
}

impl ContactDenial {
    /// For people.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Undeclared => "not among the hosts that the step may reach",
            Self::Loopback => "denied: its address is the machine itself",
            Self::LinkLocal => "denied: its address is of the local link",
            Self::Metadata => "denied: its address is a metadata service",
            Self::Unspecified => "denied: its address is none",
            Self::Multicast => "denied: its address is multicast",
            Self::Broadcast => "denied: its address is broadcast",
            Self::Reserved => "denied: its address is in a reserved range",
            Self::Private => {
                "denied: its address is in a private range that `[network] private` does not open"
            }
            Self::Own => "denied: its address is tenantry's own",
            Self::TooMany => "denied: too many connections at one time",
            Self::Malformed => "denied: a request that the proxy does not read",
        }
    }
}
impl fmt::Display for ContactDenial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_contact_is_told_to_people_and_programs() {
        let contact = Contact {
            host: "api.example:443".to_owned(),
            connected: 2,
            failed: BTreeMap::from([(ContactFailure::Refused, 3)]),
            denied: BTreeMap::from([(ContactDenial::LinkLocal, 1)]),
            sent_bytes: 10,
            received_bytes: 20,
        };
        let want = "connection refused by the host (3 times), denied: its address is of the local link";
        assert_eq!(contact.trouble().as_deref(), Some(want));
        let json = serde_json::json!({
            "host": "api.example:443", "connected": 2, "failed": { "refused": 3 }, "denied": { "link_local": 1 },
            "sent_bytes": 10, "received_bytes": 20
        });
        assert_eq!(serde_json::to_value(&contact).unwrap(), json);
        assert_eq!(serde_json::from_value::<Contact>(json).unwrap(), contact);
        assert_eq!(Contact::default().trouble(), None);
    }
}
