//! Who gains, keeps and loses which role: groups expanded to persons, windows said.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::document::members;
use crate::domain::{Platform, Principal, TenantId, TenantState, Window};

/// What happens to one right of one person.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// It comes.
    Gains,
    /// It goes.
    Loses,
    /// It stays, in another way or for another time.
    Keeps,
}

/// One right that changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccessLine {
    /// Where; `None` for the platform.
    pub tenant: Option<TenantId>,
    /// A person, `service:NAME`, or `group:NAME` where it has no members.
    pub who: String,
    /// What happens.
    pub turn: Turn,
    /// `operator`, `admin`, `maintainer of shared/NAME` and so on.
    pub role: String,
    /// By what afterwards, or before where it goes: `own grant`, `group:acme-ops`, `elevation inc-42`.
    pub by: Vec<String>,
    /// When it counts, if not always.
    pub window: Option<String>,
}

impl AccessLine {
    /// The line without its tenant: `carol gains operator on`, and what follows the place.
    pub(super) fn sentence(&self) -> (String, String) {
        let Self { who, role, .. } = self;
        let by = self.by.join(" and ");
        let window = self.window.as_ref().map(|window| format!(" {window}")).unwrap_or_default();
        match self.turn {
            Turn::Gains => (format!("{who} gains {role}"), format!("{window}, by {by}")),
            Turn::Loses => (format!("{who} loses {role}"), format!(" (had it by {by})")),
            Turn::Keeps => (format!("{who} keeps {role}"), format!("{window}, now by {by}")),
        }
    }
}

/// A way to a right, and when it counts.
type Way = (String, Option<String>);
type Rights = BTreeMap<(String, String), BTreeSet<Way>>;

/// The rights that differ between two states of a tenant.
pub(super) fn of_tenant(
    tenant: &TenantId,
    base: Option<&TenantState>,
    next: Option<&TenantState>,
) -> Vec<AccessLine> {
    let (before, after) = (base.map(rights).unwrap_or_default(), next.map(rights).unwrap_or_default());
    differing(Some(tenant), &before, &after)
}

/// The rights that differ between two states of the platform.
pub(super) fn of_platform(base: Option<&Platform>, next: Option<&Platform>) -> Vec<AccessLine> {
    let Some(next) = next else { return Vec::new() };
    let before = base.map(platform_rights).unwrap_or_default();
    differing(None, &before, &platform_rights(next))
}

fn rights(state: &TenantState) -> Rights {
    let mut rights = Rights::new();
    for grant in &state.grants {
        let empty = BTreeSet::new();
        let people = match &grant.principal {
            Principal::Group(group) => state.groups.get(group).unwrap_or(&empty),
            Principal::User(_) | Principal::Service(_) => &empty,
        };
        give(&mut rights, &grant.principal, people.iter().map(ToString::to_string), grant.role.as_str());
    }
    for elevation in state.elevations.values() {
        let window = match &elevation.window {
            Window::OnApply { length, ask_until } => {
                format!("for {length} from the apply on, if that is before {ask_until}")
            }
            Window::Planned { from, until } => format!("from {from} until {until}"),
        };
        let way = (format!("elevation {}", elevation.id), Some(window));
        let key = (elevation.user.to_string(), elevation.role.as_str().to_owned());
        rights.entry(key).or_default().insert(way);
    }
    rights
}

fn platform_rights(platform: &Platform) -> Rights {
    let mut rights = Rights::new();
    let mut all = |who: &BTreeSet<Principal>, role: &str| {
        for principal in who {
            let people = match principal {
                Principal::Group(_) => members(&platform.people, principal),
                Principal::User(_) | Principal::Service(_) => Vec::new(),
            };
            give(&mut rights, principal, people.iter().map(ToString::to_string), role);
        }
    };
    all(&platform.admins, "admin");
    for (name, who) in &platform.maintainers {
        all(who, &format!("maintainer of shared/{name}"));
    }
    rights
}

/// Gives a role to a principal; a group is its members, or itself where it has none.
fn give(rights: &mut Rights, principal: &Principal, members: impl Iterator<Item = String>, role: &str) {
    let mut put = |who: String, by: String| {
        rights.entry((who, role.to_owned())).or_default().insert((by, None));
    };
    match principal {
        Principal::User(user) => put(user.to_string(), "a grant of their own".to_owned()),
        Principal::Service(_) => put(principal.to_string(), "a grant of its own".to_owned()),
        Principal::Group(_) => {
            let mut empty = true;
            for member in members {
                empty = false;
                put(member, principal.to_string());
            }
            if empty {
                put(principal.to_string(), "its name, without members".to_owned());
            }
        }
    }
}

fn differing(tenant: Option<&TenantId>, before: &Rights, after: &Rights) -> Vec<AccessLine> {
    let none = BTreeSet::new();
    let keys: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut lines = Vec::new();
    for key in keys {
        let (old, new) = (before.get(key).unwrap_or(&none), after.get(key).unwrap_or(&none));
        if old == new {
            continue;
        }
        let turn = match (old.is_empty(), new.is_empty()) {
            (true, _) => Turn::Gains,
            (_, true) => Turn::Loses,
            _ => Turn::Keeps,
        };
        let ways = if turn == Turn::Loses { old } else { new };
        // One way without an end is enough to hold a role for good.
        let always = ways.iter().any(|(_, window)| window.is_none());
        let windows: Vec<_> = ways.iter().filter_map(|(_, window)| window.as_deref()).collect();
        lines.push(AccessLine {
            tenant: tenant.cloned(),
            who: key.0.clone(),
            turn,
            role: key.1.clone(),
            by: ways.iter().map(|(by, _)| by.clone()).collect(),
            window: (!always && turn != Turn::Loses).then(|| windows.join(" and ")),
        });
    }
    lines.sort_by(|a, b| (a.turn, &a.who, &a.role).cmp(&(b.turn, &b.who, &b.role)));
    lines
}
