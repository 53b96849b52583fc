//! The ledger: what moves one way only and stands in no tree, as JSON lines in a hash chain of their own.
//!
//! The last applied commit per scope, tombstones of versions, starts and ends of elevations, incarnations.
//! A store is rebuilt from Git and the ledger; one that is behind its ledger is refused.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::chain::{GENESIS, chain_hash};
use crate::domain::{CommitId, ElevationId, SecretName, TenantId, Timestamp, VersionId};

/// Something that never moves back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum LedgerEntry {
    /// A tenant was brought to a commit.
    Applied {
        /// Whose.
        tenant: TenantId,
        /// Which tenant of that name.
        incarnation: u32,
        /// The commit.
        commit: CommitId,
        /// The apply generation.
        generation: u64,
        /// The authority number.
        authority: u64,
    },
    /// A right ended without a commit being applied as a whole.
    Restricted {
        /// Whose.
        tenant: TenantId,
        /// Which tenant of that name.
        incarnation: u32,
        /// The authority number.
        authority: u64,
    },
    /// The platform was brought to a commit.
    PlatformApplied {
        /// The commit.
        commit: CommitId,
    },
    /// A version may never be given out again.
    Revoked {
        /// Whose.
        tenant: TenantId,
        /// Which tenant of that name.
        incarnation: u32,
        /// The secret.
        secret: SecretName,
        /// The version.
        version: VersionId,
    },
    /// An elevation began.
    ElevationStarted {
        /// Whose.
        tenant: TenantId,
        /// Which tenant of that name.
        incarnation: u32,
        /// Which.
        elevation: ElevationId,
        /// When.
        start: Timestamp,
    },
    /// An elevation ended and never returns.
    ElevationEnded {
        /// Whose.
        tenant: TenantId,
        /// Which tenant of that name.
        incarnation: u32,
        /// Which.
        elevation: ElevationId,
    },
    /// A tenant went away; its name is another tenant from then on.
    Removed {
        /// Whose.
        tenant: TenantId,
        /// Which tenant of that name.
        incarnation: u32,
    },
}

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerLine {
    /// Its number, from 1.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// What.
    #[serde(flatten)]
    pub entry: LedgerEntry,
    /// Hash of the line before.
    pub previous: String,
    /// Hash of this line.
    pub hash: String,
}

#[derive(Serialize)]
struct Hashed<'a> {
    sequence: u64,
    at: Timestamp,
    #[serde(flatten)]
    entry: &'a LedgerEntry,
}

/// What the ledger says of one tenant of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LedgerTenant {
    /// Which tenant of that name.
    pub incarnation: u32,
    /// The last applied commit.
    pub commit: Option<CommitId>,
    /// Its generation.
    pub generation: u64,
    /// The authority number.
    pub authority: u64,
    /// Versions that never return.
    pub revoked: BTreeMap<SecretName, BTreeSet<VersionId>>,
    /// Starts of elevations.
    pub started: BTreeMap<ElevationId, Timestamp>,
    /// Elevations that never return.
    pub ended: BTreeSet<ElevationId>,
    /// When it went away.
    pub removed: Option<Timestamp>,
}

/// Everything the lines add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The number of the last line.
    pub sequence: u64,
    /// Its hash; `None` before the first.
    pub hash: Option<String>,
    /// The platform's last applied commit.
    pub platform: Option<CommitId>,
    /// The latest tenant of each name.
    pub tenants: BTreeMap<TenantId, LedgerTenant>,
}

/// Why a ledger cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// A line in the middle is no line.
    #[error("line {line} cannot be read: {message}")]
    Unreadable {
        /// Which, from 1.
        line: u64,
        /// Why.
        message: String,
    },
    /// A line does not follow the one before it, or was edited.
    #[error("line {line} was edited, or lines before it are missing")]
    Broken {
        /// Which, from 1.
        line: u64,
    },
}

impl Ledger {
    /// Makes the line of an entry, which must then be written behind the others and [`Ledger::take`]n.
    #[must_use]
    pub fn line(&self, at: Timestamp, entry: LedgerEntry) -> LedgerLine {
        let sequence = self.sequence + 1;
        let previous = self.hash.as_deref().unwrap_or(GENESIS);
        let hash = chain_hash(previous, &Hashed { sequence, at, entry: &entry });
        LedgerLine { sequence, at, entry, previous: previous.to_owned(), hash }
    }

    /// Whether an entry takes something away, which a ledger that lost it would let come back. An apply does where
    /// rights end with it, and then its authority number has risen.
    #[must_use]
    pub fn is_taken_away_by(&self, entry: &LedgerEntry) -> bool {
        match entry {
            LedgerEntry::PlatformApplied { .. } => false,
            LedgerEntry::Applied { tenant, authority, .. } => {
                *authority > self.tenants.get(tenant).map_or(0, |known| known.authority)
            }
            LedgerEntry::Restricted { .. }
            | LedgerEntry::Revoked { .. }
            // Started again it would end later.
            | LedgerEntry::ElevationStarted { .. }
            | LedgerEntry::ElevationEnded { .. }
            | LedgerEntry::Removed { .. } => true,
        }
    }

    /// Reads one line of the file behind those read before.
    ///
    /// # Errors
    /// [`LedgerError`] if it is no line or does not follow; nothing has changed then.
    pub fn read_line(&mut self, text: &str) -> Result<(), LedgerError> {
        let number = self.sequence + 1;
        let line: LedgerLine = serde_json::from_str(text)
            .map_err(|error| LedgerError::Unreadable { line: number, message: error.to_string() })?;
        if self.line(line.at, line.entry.clone()) != line {
            return Err(LedgerError::Broken { line: number });
        }
        self.take(line);
        Ok(())
    }

    /// Counts a line in.
    pub fn take(&mut self, line: LedgerLine) {
        self.sequence = line.sequence;
        self.hash = Some(line.hash);
        match line.entry {
            LedgerEntry::Applied { tenant, incarnation, commit, generation, authority } => {
                let known = self.tenant(tenant, incarnation);
                known.commit = Some(commit);
                known.generation = generation;
                known.authority = authority;
            }
            LedgerEntry::Restricted { tenant, incarnation, authority } => {
                self.tenant(tenant, incarnation).authority = authority;
            }
            LedgerEntry::PlatformApplied { commit } => self.platform = Some(commit),
            LedgerEntry::Revoked { tenant, incarnation, secret, version } => {
                self.tenant(tenant, incarnation).revoked.entry(secret).or_default().insert(version);
            }
            LedgerEntry::ElevationStarted { tenant, incarnation, elevation, start } => {
                self.tenant(tenant, incarnation).started.insert(elevation, start);
            }
            LedgerEntry::ElevationEnded { tenant, incarnation, elevation } => {
                self.tenant(tenant, incarnation).ended.insert(elevation);
            }
            LedgerEntry::Removed { tenant, incarnation } => {
                self.tenant(tenant, incarnation).removed = Some(line.at);
            }
        }
    }

    /// The tenant of that name and incarnation; a later one takes the place of an earlier one.
    fn tenant(&mut self, tenant: TenantId, incarnation: u32) -> &mut LedgerTenant {
        let known = self.tenants.entry(tenant).or_default();
        if known.incarnation < incarnation {
            *known = LedgerTenant { incarnation, ..LedgerTenant::default() };
        }
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Timestamp = Timestamp::from_millis(1_764_000_000_000);

    fn applied(incarnation: u32, generation: u64) -> LedgerEntry {
        LedgerEntry::Applied {
            tenant: "acme".parse().unwrap(),
            incarnation,
            commit: "a".repeat(40).parse().unwrap(),
            generation,
            authority: 0,
        }
    }

    fn revoked(incarnation: u32) -> LedgerEntry {
        LedgerEntry::Revoked {
            tenant: "acme".parse().unwrap(),
            incarnation,
            secret: "token".parse().unwrap(),
            version: "v1".parse().unwrap(),
        }
    }

    fn write(entries: &[LedgerEntry]) -> (Ledger, Vec<String>) {
        let mut ledger = Ledger::default();
        let lines = entries
            .iter()
            .map(|entry| {
                let line = ledger.line(AT, entry.clone());
                let text = serde_json::to_string(&line).unwrap();
                ledger.take(line);
                text
            })
            .collect();
        (ledger, lines)
    }

    #[test]
    fn what_was_written_is_read() {
        let (written, lines) = write(&[applied(1, 1), revoked(1), applied(1, 2)]);
        let mut read = Ledger::default();
        for line in &lines {
            read.read_line(line).unwrap();
        }
        assert_eq!(read, written);
        let acme = &read.tenants["acme"];
        assert_eq!(acme.generation, 2);
        assert!(acme.revoked["token"].contains("v1"));
    }

    #[test]
    fn a_name_that_returns_has_nothing_of_the_old_tenant() {
        let removed = LedgerEntry::Removed { tenant: "acme".parse().unwrap(), incarnation: 1 };
        let (ledger, _) = write(&[applied(1, 5), revoked(1), removed, applied(2, 1)]);
        let acme = &ledger.tenants["acme"];
        assert_eq!((acme.incarnation, acme.generation, acme.removed), (2, 1, None));
        assert!(acme.revoked.is_empty());
    }

    #[test]
    fn what_ends_a_right_takes_away_and_a_plain_apply_does_not() {
        let apply = |authority| LedgerEntry::Applied {
            tenant: "acme".parse().unwrap(),
            incarnation: 1,
            commit: "a".repeat(40).parse().unwrap(),
            generation: 2,
            authority,
        };
        let (ledger, _) = write(&[apply(3)]);
        for (entry, want) in [
            (apply(3), false),
            (apply(4), true),
            (LedgerEntry::PlatformApplied { commit: "a".repeat(40).parse().unwrap() }, false),
            (revoked(1), true),
            (LedgerEntry::Removed { tenant: "acme".parse().unwrap(), incarnation: 1 }, true),
            (LedgerEntry::Restricted { tenant: "acme".parse().unwrap(), incarnation: 1, authority: 4 }, true),
        ] {
            assert_eq!(ledger.is_taken_away_by(&entry), want, "{entry:?}");
        }
    }

    #[test]
    fn an_edited_or_missing_line_is_named() {
        let (_, lines) = write(&[applied(1, 1), revoked(1), applied(1, 2)]);
        let mut ledger = Ledger::default();
        ledger.read_line(&lines[0]).unwrap();
        assert_eq!(ledger.read_line(&lines[2]), Err(LedgerError::Broken { line: 2 }));
        assert_eq!(
            ledger.read_line(&lines[1].replace("v1", "v2")),
            Err(LedgerError::Broken { line: 2 }),
            "an edited line"
        );
        assert!(matches!(ledger.read_line(&lines[1][..20]), Err(LedgerError::Unreadable { line: 2, .. })));
        ledger.read_line(&lines[1]).unwrap();
    }
}
