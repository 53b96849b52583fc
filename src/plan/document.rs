//! The plan of a whole revision: `tenantry.plan/1`, its summary and its hash.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::is_access;
use crate::domain::{
    Change, ChangeControlMode, Class, CommitId, Finding, HeldLine, Operation, Plan, TenantId, TriggerKind,
    WorkflowId, digest_of,
};

/// The name and version of the JSON form.
pub const DOCUMENT_SCHEMA: &str = "tenantry.plan/1";

/// A plan over all tenants of a revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Document {
    /// From; `None` where nothing was applied yet.
    pub base: Option<CommitId>,
    /// To; `None` for a work tree.
    pub head: Option<CommitId>,
    /// How changes are agreed to at `base`.
    pub mode: ChangeControlMode,
    /// Tenants looked at.
    pub tenants: usize,
    /// What happens, tenant by tenant in byte order, each as its plan orders it.
    pub changes: Vec<Change>,
    /// Tenants that stay where they are.
    pub blocked: Vec<Blocked>,
    /// What waits for somebody, whatever the change control says.
    pub held: Vec<(TenantId, HeldLine)>,
    /// The runs that start.
    pub runs: Vec<TenantRun>,
    /// What was left out and why.
    pub skipped: Vec<(TenantId, String)>,
}

/// A tenant that stays where it is, because its files are wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// Whose; `None` for the platform's files.
    pub tenant: Option<TenantId>,
    /// Where it stays; `None` where it was never applied.
    pub stays_at: Option<CommitId>,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// A run that an apply starts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct TenantRun {
    /// Whose.
    pub tenant: TenantId,
    /// Which workflow.
    pub workflow: WorkflowId,
    /// What starts it.
    pub trigger: TriggerKind,
}

impl Document {
    /// Adds the plan of one tenant. Tenants are added in byte order.
    pub fn add(&mut self, plan: &Plan) {
        self.tenants += 1;
        self.changes.extend(plan.changes.iter().cloned());
        self.held.extend(plan.held.iter().map(|line| (plan.tenant.clone(), line.clone())));
        self.skipped.extend(plan.skipped.iter().map(|line| (plan.tenant.clone(), line.clone())));
        self.runs.extend(plan.runs.iter().map(|run| TenantRun {
            tenant: plan.tenant.clone(),
            workflow: run.workflow.clone(),
            trigger: run.trigger,
        }));
    }

    /// Adds a tenant, or the platform, that stays where it is.
    pub fn block(&mut self, blocked: Blocked) {
        self.tenants += usize::from(blocked.tenant.is_some());
        self.blocked.push(blocked);
    }

    /// Counts a tenant whose ids did not change, so that no file of it was opened.
    pub fn pass_over(&mut self) {
        self.tenants += 1;
    }

    /// The tenants that change.
    #[must_use]
    pub fn changed(&self) -> BTreeSet<&TenantId> {
        self.changes.iter().map(|change| &change.tenant).collect()
    }

    /// The tenants that stay where they are.
    fn blocked_tenants(&self) -> usize {
        self.blocked.iter().filter(|blocked| blocked.tenant.is_some()).count()
    }

    /// The tenants that neither change nor are blocked.
    #[must_use]
    pub fn unchanged(&self) -> usize {
        self.tenants.saturating_sub(self.changed().len() + self.blocked_tenants())
    }

    /// Whether there is nothing to do and nothing in the way.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.blocked.is_empty()
    }

    /// Whether something is removed.
    #[must_use]
    pub fn is_destructive(&self) -> bool {
        self.changes.iter().any(|change| change.op == Operation::Remove)
    }

    /// Whether somebody or something gains reach.
    #[must_use]
    pub fn touches_access(&self) -> bool {
        self.changes.iter().any(|change| is_access(change.class))
    }

    /// SHA-256 over the canonical JSON of `changes` without `approvals`, and of `blocked`.
    ///
    /// No commit id is in it, so it survives a squash. Source: design page `repository.md`.
    #[must_use]
    pub fn hash(&self) -> String {
        let blocked: Vec<_> = self
            .blocked
            .iter()
            .map(|blocked| json!({ "tenant": blocked.tenant, "findings": blocked.findings }))
            .collect();
        digest_of(&json!({ "changes": self.changes, "blocked": blocked }))
    }

    /// The document as [`DOCUMENT_SCHEMA`].
    #[must_use]
    pub fn to_json(&self) -> Value {
        let changes: Vec<_> = self.changes.iter().map(|change| self.change(change)).collect();
        let held: Vec<_> =
            self.held.iter().map(|(tenant, line)| json!({ "tenant": tenant, "line": line })).collect();
        json!({
            "schema": DOCUMENT_SCHEMA,
            "base": self.base,
            "head": self.head,
            "hash": self.hash(),
            "summary": {
                "tenants": self.tenants,
                "changed": self.changed().len(),
                "blocked": self.blocked_tenants(),
                "unchanged": self.unchanged(),
            },
            "changes": changes,
            "blocked": self.blocked,
            "held": held,
            "runs": self.runs,
            "skipped": self.skipped.iter().map(|(tenant, text)| json!({ "tenant": tenant, "reason": text })).collect::<Vec<_>>(),
            "drift": [],
        })
    }

    fn change(&self, change: &Change) -> Value {
        let (required, missing) = match (self.mode, default_approvers(change.class)) {
            (ChangeControlMode::Open, _) | (_, None) => (0, Vec::new()),
            (_, Some((count, who))) => (count, vec![format!("{count} {who} of {}", change.tenant)]),
        };
        json!({
            "tenant": change.tenant,
            "class": change.class,
            "kind": change.kind,
            "op": change.op,
            "object": change.object,
            "before": change.before,
            "after": change.after,
            "approvals": { "required": required, "present": [], "missing": missing },
        })
    }
}

/// How many have to agree to a class by default, and who; `None` where nobody has to.
fn default_approvers(class: Class) -> Option<(u32, &'static str)> {
    match class {
        Class::Reduce => None,
        Class::Code => Some((1, "other developer")),
        Class::Reach | Class::Settings => Some((1, "operator")),
        Class::SecretValue => Some((1, "secret owner or other operator")),
        Class::Grant => Some((1, "owner")),
        Class::People | Class::Tenant => Some((1, "platform admin")),
        Class::Recipients => Some((2, "owner and platform admin")),
        Class::Shared => Some((1, "other maintainer")),
        Class::Platform => Some((2, "platform admin")),
    }
}
