//! Which user ids of the host stand behind the ids of a sandbox.

use rustix::process::Pid;
use sha2::{Digest, Sha256};

use super::super::places::STEP_ID;
use crate::domain::Tier;

/// The first host id that steps of a root daemon may have, above those that systemd and containers give out.
const FIRST: u32 = 2_000_000_000;
/// How many ids there are; each tenant takes two.
const COUNT: u32 = 100_000_000;

/// Where ids of steps come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ids {
    /// Each tenant has two of its own in this range: one that owns what it is given, one that it runs as.
    Range {
        /// The first.
        first: u32,
        /// How many.
        count: u32,
    },
    /// The daemon's own user, the only one that an ordinary user may map.
    Own {
        /// The user.
        user: u32,
        /// The group.
        group: u32,
    },
}

/// The two ids of one tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    /// Owns what the step is given; root inside.
    pub(super) owner: u32,
    /// What the step runs as.
    pub(super) step: u32,
}

impl Ids {
    /// Chooses, given whether the helper is root and the text of `/proc/self/uid_map`, which says what ids a
    /// container has at all.
    pub(super) fn choose(root: bool, uid_map: &str, user: u32, group: u32) -> Self {
        if !root {
            return Self::Own { user, group };
        }
        let extents = uid_map.lines().filter_map(|line| {
            let mut parts = line.split_whitespace().map(str::parse::<u32>);
            let (inside, _, count) = (parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?);
            Some((inside, inside.saturating_add(count)))
        });
        let extents: Vec<_> = extents.collect();
        if extents.iter().any(|(from, to)| *from <= FIRST && *to >= FIRST + COUNT) {
            return Self::Range { first: FIRST, count: COUNT };
        }
        // A container with few ids: the upper half of its largest extent.
        match extents.iter().max_by_key(|(from, to)| to - from) {
            Some((from, to)) if to - from >= 8192 => {
                let half = (to - from) / 2;
                Self::Range { first: from + half, count: half - 2 }
            }
            _ => Self::Own { user, group },
        }
    }

    /// The ids of a tenant; the same as long as the range is. `None` where there is only the daemon's own.
    pub(super) fn of(self, tenant: &str) -> Option<Pair> {
        match self {
            Self::Range { first, count } => Some(pair(first, count, tenant)),
            Self::Own { .. } => None,
        }
    }

    /// The host's user id that a tenant's steps run as.
    pub(super) fn uid_of(self, tenant: &str, tier: Tier) -> u32 {
        match self {
            Self::Range { first, count } if tier.has_walls() => pair(first, count, tenant).step,
            Self::Range { .. } => 0,
            Self::Own { user, .. } => user,
        }
    }

    /// Writes the maps of a process that was born into a user namespace of its own. Gives nothing back for an
    /// ordinary user's helper but one id, which is enough to run and to write into one's own directories.
    ///
    /// # Errors
    /// `EPERM` where the ids are not ours to give.
    pub(super) fn map(self, tenant: &str, child: Pid) -> std::io::Result<()> {
        let write = |file: &str, text: String| {
            std::fs::write(format!("/proc/{}/{file}", child.as_raw_nonzero()), text)
        };
        let (users, groups) = match self {
            Self::Range { first, count } => {
                let Pair { owner, step } = pair(first, count, tenant);
                let map = format!("0 {owner} 1\n{STEP_ID} {step} 1\n");
                (map.clone(), map)
            }
            Self::Own { user, group } => (format!("{STEP_ID} {user} 1\n"), format!("{STEP_ID} {group} 1\n")),
        };
        write("uid_map", users)?;
        write("gid_map", groups)
    }
}

fn pair(first: u32, count: u32, tenant: &str) -> Pair {
    let digest = Sha256::digest(tenant.as_bytes());
    let number = u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]);
    let owner = first + (number % (count / 2)) * 2;
    Pair { owner, step: owner + 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_machine_gives_the_high_range() {
        let ids = Ids::choose(true, "         0          0 4294967295\n", 0, 0);
        assert_eq!(ids, Ids::Range { first: FIRST, count: COUNT });
    }

    #[test]
    fn a_container_gives_half_of_what_it_has() {
        let ids = Ids::choose(true, "0 100000 65536\n", 0, 0);
        assert_eq!(ids, Ids::Range { first: 32768, count: 32766 });
        let pair = ids.of("acme").unwrap();
        assert!(pair.owner >= 32768 && pair.step < 65536, "{pair:?}");
    }

    #[test]
    fn an_ordinary_user_and_a_tiny_container_have_one_id() {
        assert_eq!(Ids::choose(false, "0 0 4294967295\n", 5, 6), Ids::Own { user: 5, group: 6 });
        assert_eq!(Ids::choose(true, "0 1000 1\n", 0, 0), Ids::Own { user: 0, group: 0 });
    }

    #[test]
    fn tenants_differ_and_stay() {
        let ids = Ids::Range { first: FIRST, count: COUNT };
        assert_eq!(ids.of("acme"), ids.of("acme"));
        assert_ne!(ids.of("acme").unwrap(), ids.of("globex").unwrap());
        assert_ne!(ids.of("acme").unwrap().owner, ids.of("acme").unwrap().step);
    }
}
