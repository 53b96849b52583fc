//! Hash chains: each record carries the hash of the one before it, so that an edit, a gap, an insertion and
//! a truncation each show.
//!
//! `hash = SHA-256(prev ‖ canonical JSON of the record)`, `prev` being the 32 bytes of the hash before (zeros
//! before the first) and the record everything but its two hashes. Source: design page `access.md`, "Audit".

use std::fmt;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::domain::{AuditEntry, AuditRecord, canonical_json};

/// What stands for the hash before the first record.
pub const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The hash of a record behind one with the hash `previous`, as 64 hex digits.
///
/// `record` is what is hashed: sequence and content, without hashes.
#[must_use]
pub fn chain_hash<T: Serialize>(previous: &str, record: &T) -> String {
    // INVARIANT: records are made of text, numbers and lists and therefore serialise.
    let value = serde_json::to_value(record).unwrap_or_else(|error| panic!("a record serialises: {error}"));
    hash_of(previous, &value)
}

fn hash_of(previous: &str, record: &Value) -> String {
    let mut hasher = Sha256::new();
    // A `previous` that is no hash (an edited export) still gives a hash: of its text.
    match hex::decode(previous) {
        Ok(bytes) if bytes.len() == 32 => hasher.update(bytes),
        _ => hasher.update(previous.as_bytes()),
    }
    hasher.update(canonical_json(record).as_bytes());
    hex::encode(hasher.finalize())
}

#[derive(Serialize)]
struct Hashed<'a> {
    sequence: u64,
    #[serde(flatten)]
    entry: &'a AuditEntry,
}

/// Puts an entry behind the head of its chain; `head` is sequence and hash of the last record.
#[must_use]
pub fn link(head: Option<(u64, &str)>, entry: AuditEntry) -> AuditRecord {
    let (sequence, previous) = head.map_or((1, GENESIS), |(last, hash)| (last + 1, hash));
    let hash = chain_hash(previous, &Hashed { sequence, entry: &entry });
    AuditRecord { sequence, entry, previous: previous.to_owned(), hash }
}

/// What is wrong at one place of a chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChainFault {
    /// The content of a record is not what was hashed.
    Edited {
        /// Which record.
        sequence: u64,
    },
    /// Records are missing between two.
    Gap {
        /// The last one before the gap; 0 where the first is missing.
        after: u64,
        /// The first one behind it.
        before: u64,
    },
    /// A record stands where another belongs: put in, doubled or out of order.
    Inserted {
        /// Its number.
        sequence: u64,
    },
    /// A record does not follow the one before it, though its number does.
    Unlinked {
        /// Which record.
        sequence: u64,
    },
    /// The chain ends before the record that it is known to have.
    Truncated {
        /// The last one that is there.
        last: u64,
        /// The one that must be there.
        expected: u64,
    },
    /// The record known from elsewhere is there with another hash: the chain was written anew.
    Rewritten {
        /// Which record.
        sequence: u64,
    },
}

impl fmt::Display for ChainFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited { sequence } => write!(f, "record {sequence} was edited"),
            Self::Gap { after, before } if before - after == 2 => {
                write!(f, "record {} is missing", after + 1)
            }
            Self::Gap { after, before } => write!(f, "records {} to {} are missing", after + 1, before - 1),
            Self::Inserted { sequence } => {
                write!(f, "record {sequence} was put in, doubled or moved")
            }
            Self::Unlinked { sequence } => {
                write!(f, "record {sequence} does not follow the one before it")
            }
            Self::Truncated { last, expected } => {
                write!(f, "the chain ends at record {last}, but record {expected} was written")
            }
            Self::Rewritten { sequence } => {
                write!(f, "record {sequence} is not the one that was written: the chain was made anew")
            }
        }
    }
}

/// Checks a chain one record after the other, each as JSON, so that a field nobody knows counts too.
#[derive(Clone, Debug, Default)]
pub struct Verifier {
    sequence: u64,
    hash: Option<String>,
    faults: Vec<ChainFault>,
}

/// The most faults that one chain collects; the first ones say it all.
const FAULTS_MAX: usize = 1_000;

impl Verifier {
    /// Starts behind a record that was verified before.
    #[must_use]
    pub fn behind(sequence: u64, hash: String) -> Self {
        Self { sequence, hash: Some(hash), faults: Vec::new() }
    }
    /// Takes the next record: a JSON object with `sequence`, `previous`, `hash` and the content.
    pub fn push(&mut self, record: &Value) {
        let Some(object) = record.as_object() else {
            return self.fault(ChainFault::Inserted { sequence: self.sequence });
        };
        let mut content = object.clone();
        let text = |value: Option<Value>| value.as_ref().and_then(Value::as_str).map(str::to_owned);
        let previous = text(content.remove("previous")).unwrap_or_default();
        let hash = text(content.remove("hash")).unwrap_or_default();
        let Some(sequence) = content.get("sequence").and_then(Value::as_u64) else {
            return self.fault(ChainFault::Inserted { sequence: self.sequence });
        };
        if sequence <= self.sequence {
            // Not counted as the new head: what follows must follow the record that belongs here.
            return self.fault(ChainFault::Inserted { sequence });
        }
        let follows = previous == self.hash.as_deref().unwrap_or(GENESIS);
        if sequence > self.sequence + 1 {
            self.fault(ChainFault::Gap { after: self.sequence, before: sequence });
        } else if !follows {
            self.fault(ChainFault::Unlinked { sequence });
        }
        if hash_of(&previous, &Value::Object(content)) != hash {
            self.fault(ChainFault::Edited { sequence });
        }
        self.sequence = sequence;
        self.hash = Some(hash);
    }
    /// Ends the check; `known` is sequence and hash of a record that is known from elsewhere to exist.
    #[must_use]
    pub fn finish(mut self, known: Option<(u64, &str)>) -> Vec<ChainFault> {
        if let Some((expected, hash)) = known {
            if self.sequence < expected {
                self.fault(ChainFault::Truncated { last: self.sequence, expected });
            } else if self.sequence == expected && self.hash.as_deref() != Some(hash) {
                self.fault(ChainFault::Rewritten { sequence: expected });
            }
        }
        self.faults
    }
    /// The last record taken: its number and hash; `None` before the first.
    #[must_use]
    pub fn head(&self) -> Option<(u64, &str)> {
        self.hash.as_deref().map(|hash| (self.sequence, hash))
    }
    fn fault(&mut self, fault: ChainFault) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(fault);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Actor, Timestamp};

    fn chain(length: usize) -> Vec<Value> {
        let mut records: Vec<AuditRecord> = Vec::new();
        for index in 0..length {
            let entry = AuditEntry {
                at: Timestamp::from_millis(1_000 * index as i64),
                tenant: "acme".parse().ok(),
                actor: Actor::Local(7),
                action: "run.started".to_owned(),
                resource: format!("workflow:w{index}"),
                allowed: true,
                reason: "asked".to_owned(),
                commit: None,
                run: None,
            };
            let head = records.last().map(|last| (last.sequence, last.hash.as_str()));
            let record = link(head, entry);
            records.push(record);
        }
        records.iter().map(|record| serde_json::to_value(record).unwrap()).collect()
    }

    #[track_caller]
    fn check(records: &[Value], known: Option<(u64, &str)>, want: &[&str]) {
        let mut verifier = Verifier::default();
        for record in records {
            verifier.push(record);
        }
        let got: Vec<String> = verifier.finish(known).iter().map(ToString::to_string).collect();
        assert_eq!(got, want);
    }

    #[test]
    fn a_chain_as_written_has_no_fault() {
        check(&chain(5), None, &[]);
        check(&[], None, &[]);
        let records = chain(5);
        check(&records, Some((5, records[4]["hash"].as_str().unwrap())), &[]);
    }

    #[test]
    fn each_tampering_is_named() {
        let mut edited = chain(5);
        edited[2]["reason"] = "somebody else asked".into();
        check(&edited, None, &["record 3 was edited"]);

        let mut added = chain(3);
        added[1]["note"] = "a field nobody knows".into();
        check(&added, None, &["record 2 was edited"]);

        let mut gap = chain(5);
        gap.remove(2);
        check(&gap, None, &["record 3 is missing"]);
        let mut gap = chain(6);
        gap.drain(1..4);
        check(&gap, None, &["records 2 to 4 are missing"]);
        check(&chain(4)[1..], None, &["record 1 is missing"]);

        let mut doubled = chain(3);
        doubled.insert(2, doubled[1].clone());
        check(&doubled, None, &["record 2 was put in, doubled or moved"]);

        let records = chain(5);
        check(
            &records[..3],
            Some((5, records[4]["hash"].as_str().unwrap())),
            &["the chain ends at record 3, but record 5 was written"],
        );
    }

    #[test]
    fn a_record_hashed_anew_no_longer_leads_to_the_next() {
        let mut records = chain(4);
        let mut content = records[1].as_object().unwrap().clone();
        content.remove("hash");
        let previous = content.remove("previous").unwrap();
        content.insert("reason".to_owned(), "forged".into());
        let hash = hash_of(previous.as_str().unwrap(), &Value::Object(content));
        records[1]["reason"] = "forged".into();
        records[1]["hash"] = hash.into();
        check(&records, None, &["record 3 does not follow the one before it"]);
    }

    #[test]
    fn a_chain_made_anew_is_caught_by_what_is_known_of_it() {
        check(
            &chain(2),
            Some((2, GENESIS)),
            &["record 2 is not the one that was written: the chain was made anew"],
        );
    }
}
