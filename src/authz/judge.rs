//! A plan, the way changes are agreed to, and now: which lines are agreed, which wait.

use crate::domain::{Agreement, ChangeControlMode, Plan};

/// This program cannot judge plans of that mode, so nothing is applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "change control mode `{}` is not supported yet: nothing is applied; set `change_control.mode = \"open\"` in tenantry.toml",
    mode.as_str()
)]
pub struct Unjudged {
    /// The mode asked for.
    pub mode: ChangeControlMode,
}

/// Marks who agreed to a plan. `mode` is that of the applied platform, never that of the commit itself.
///
/// In mode `open` everything is agreed without proof, and marked so. What the plan holds already (the prune
/// guard) stays held.
///
/// # Errors
/// [`Unjudged`] in the modes `pull-request` and `signed`: nothing is taken for agreed that nobody checked.
pub fn judge(plan: Plan, mode: ChangeControlMode) -> Result<Plan, Unjudged> {
    match mode {
        ChangeControlMode::Open => Ok(Plan { agreement: Agreement::Open, ..plan }),
        ChangeControlMode::PullRequest | ChangeControlMode::Signed => Err(Unjudged { mode }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{ChangeKeys, HeldLine, HeldReason, ObjectId, Removals, Revision};

    fn plan() -> Plan {
        Plan {
            tenant: "acme".parse().unwrap(),
            base: None,
            head: Revision { commit: ObjectId::null(), branch: "main".into() },
            keys: ChangeKeys::default(),
            generation: 0,
            changes: Vec::new(),
            edges: Vec::new(),
            runs: Vec::new(),
            removals: Removals::default(),
            held: vec![HeldLine {
                reason: HeldReason::PruneGuard,
                edge: "-tenant acme".into(),
                missing: vec![],
            }],
            skipped: Vec::new(),
            agreement: Agreement::Unjudged,
            next: None,
            digest: None,
        }
    }

    #[test]
    fn mode_open_agrees_without_proof_says_so_and_keeps_what_a_guard_holds() {
        let judged = judge(plan(), ChangeControlMode::Open).unwrap();
        assert_eq!(judged.agreement, Agreement::Open);
        assert_eq!(judged.held, plan().held);
    }

    #[test]
    fn the_other_modes_agree_to_nothing() {
        for mode in [ChangeControlMode::PullRequest, ChangeControlMode::Signed] {
            assert_eq!(judge(plan(), mode), Err(Unjudged { mode }));
        }
        assert_eq!(
            Unjudged { mode: ChangeControlMode::PullRequest }.to_string(),
            "change control mode `pull-request` is not supported yet: nothing is applied; set `change_control.mode = \"open\"` in tenantry.toml"
        );
    }
}
