//! The prune guard: too much gone at once is held until somebody lets it go.
//!
//! Source: design page `reconcile.md`, rule 8.

use std::collections::BTreeSet;

use crate::domain::{HeldLine, HeldReason, Listing, TenantId, TenantState};

/// Names that a held line prints before it counts the rest.
const NAMED_MAX: usize = 10;

/// The tenants that a listing no longer has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Those that are gone.
    pub gone: BTreeSet<TenantId>,
    /// Set where so many are gone that none may be removed before somebody agrees.
    pub held: Option<HeldLine>,
}

/// Finds the known tenants that a listing lacks, and whether they are too many to be meant.
///
/// Held are: all of them, and more than one and more than 10 % of them. A tenant in whose place something
/// else lies (a file, a link) is broken, not gone.
#[must_use]
pub fn prune_guard(known: &BTreeSet<TenantId>, listing: &Listing) -> Pruned {
    let misplaced = |tenant: &TenantId| listing.misplaced.contains(&format!("tenants/{tenant}"));
    if listing.misplaced.iter().any(|path| path == "tenants") {
        // `tenants` itself is no directory: nothing can be said of any tenant.
        let held = held_line(known, "source");
        return Pruned { gone: BTreeSet::new(), held: (!known.is_empty()).then_some(held) };
    }
    let gone: BTreeSet<_> = known
        .iter()
        .filter(|tenant| !listing.tenants.contains_key(*tenant) && !misplaced(tenant))
        .cloned()
        .collect();
    let all = gone.len() == known.len() && !gone.is_empty();
    let many = gone.len() > 1 && gone.len() * 10 > known.len();
    let held = (all || many).then(|| held_line(&gone, "source"));
    Pruned { gone, held }
}

/// Holds a tenant that loses more than one workflow and at least half of them.
pub(super) fn workflows(tenant: &TenantId, base: &TenantState, next: &TenantState) -> Vec<HeldLine> {
    let gone: BTreeSet<_> = base.workflows.keys().filter(|id| !next.workflows.contains_key(*id)).collect();
    if gone.len() > 1 && gone.len() * 2 >= base.workflows.len() {
        vec![held_line(gone, tenant.as_str())]
    } else {
        Vec::new()
    }
}

fn held_line<T: std::fmt::Display>(names: impl IntoIterator<Item = T>, scope: &str) -> HeldLine {
    let names: Vec<_> = names.into_iter().map(|name| name.to_string()).collect();
    let shown = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(NAMED_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    HeldLine {
        reason: HeldReason::PruneGuard,
        edge: format!("would remove {shown}{rest}"),
        missing: vec![format!("tenantry release {scope} --reason …")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Revision;
    use std::collections::BTreeMap;

    const ID: &str = "1111111111111111111111111111111111111111";

    fn listing(tenants: &[String], misplaced: &[&str]) -> Listing {
        Listing {
            revision: Revision { commit: ID.parse().unwrap(), branch: "main".into() },
            root: ID.parse().unwrap(),
            settings: None,
            platform: None,
            shared: BTreeMap::new(),
            tenants: tenants.iter().map(|name| (name.parse().unwrap(), ID.parse().unwrap())).collect(),
            misplaced: misplaced.iter().map(|&path| path.to_owned()).collect(),
        }
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("t{number}")).collect()
    }

    #[track_caller]
    fn check(known: usize, left: usize, gone: usize, held: bool) {
        let known_set = names(known).iter().map(|name| name.parse().unwrap()).collect();
        let pruned = prune_guard(&known_set, &listing(&names(left), &[]));
        assert_eq!((pruned.gone.len(), pruned.held.is_some()), (gone, held), "{known} known, {left} left");
    }

    #[test]
    fn too_many_tenants_gone_at_once_are_held() {
        check(0, 0, 0, false);
        check(0, 3, 0, false);
        check(3, 3, 0, false);
        check(3, 5, 0, false);
        check(3, 2, 1, false);
        check(3, 1, 2, true);
        check(1, 0, 1, true);
        check(20, 18, 2, false);
        check(20, 17, 3, true);
        check(100, 90, 10, false);
        check(100, 89, 11, true);
        check(100, 0, 100, true);
    }

    #[test]
    fn what_lies_in_a_tenants_place_is_no_removal() {
        let known = ["t0", "t1"].map(|name| name.parse().unwrap()).into();
        let pruned = prune_guard(&known, &listing(&names(1), &["tenants/t1"]));
        assert_eq!(pruned, Pruned::default());
        let pruned = prune_guard(&known, &listing(&[], &["tenants"]));
        assert!(pruned.gone.is_empty() && pruned.held.is_some(), "{pruned:?}");
    }

    #[test]
    fn a_held_line_names_some_and_counts_the_rest() {
        let known = names(14).iter().map(|name| name.parse().unwrap()).collect();
        let line = prune_guard(&known, &listing(&[], &[])).held.unwrap();
        assert_eq!(line.edge, "would remove t0, t1, t10, t11, t12, t13, t2, t3, t4, t5 and 4 more");
        assert_eq!(line.missing, ["tenantry release source --reason …"]);
    }
}
