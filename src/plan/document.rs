//! The plan of a whole revision: `tenantry.plan/1`, its summary and its hash.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::access::{self, AccessLine};
use super::drift::DriftLine;
use super::facts::{self, Rename, ScheduleLine, SecretLine};
use super::{is_access, live_state};
use crate::domain::{
    ActualState, Change, ChangeControlMode, Class, CommitId, Edge, EdgeSign, Finding, HeldLine, ObjectKind,
    Operation, People, Plan, Platform, Principal, Role, TenantId, TenantState, Timestamp, TriggerKind,
    UserId, WorkflowId, digest_of,
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
    /// Fire times of changed schedules are those after it; `None` leaves them out.
    pub now: Option<Timestamp>,
    /// Tenants looked at.
    pub tenants: usize,
    /// What happens: to all tenants first, then tenant by tenant in byte order, each as its plan orders it.
    pub changes: Vec<Line>,
    /// Who gains, keeps and loses which role.
    pub access: Vec<AccessLine>,
    /// The security delta of each tenant.
    pub edges: Vec<(TenantId, Edge)>,
    /// The secrets that the changes touch.
    pub secrets: Vec<SecretLine>,
    /// When added and changed schedules fire next.
    pub schedules: Vec<ScheduleLine>,
    /// What left under one name and came under another.
    pub renames: Vec<Rename>,
    /// Tenants that stay where they are.
    pub blocked: Vec<Blocked>,
    /// What waits for somebody, whatever the change control says.
    pub held: Vec<(TenantId, HeldLine)>,
    /// The runs that start.
    pub runs: Vec<TenantRun>,
    /// What was left out and why.
    pub skipped: Vec<(TenantId, String)>,
    /// Where the tenants of a daemon stand apart from what they applied; empty without one.
    pub drift: Vec<DriftLine>,
    /// What is remembered while tenants are added.
    pub aside: Aside,
}

/// What a document remembers beside what it shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Aside {
    /// Who can agree, as of the base.
    approvers: Approvers,
    /// Tenants that leave and come, by the digests of their workflows.
    left: Vec<(TenantId, BTreeSet<String>)>,
    come: Vec<(TenantId, BTreeSet<String>)>,
}

/// One change of the document: that of a tenant, or of what binds them all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// Whose; `None` for `tenantry.toml`, `platform/` and `shared/`.
    pub tenant: Option<TenantId>,
    /// Who agrees.
    pub class: Class,
    /// What it touches.
    pub kind: ObjectKind,
    /// What happens.
    pub op: Operation,
    /// Its name.
    pub object: String,
    /// As it was; null where it comes.
    pub before: Value,
    /// As it will be; null where it goes.
    pub after: Value,
}

impl From<&Change> for Line {
    fn from(change: &Change) -> Self {
        let Change { tenant, class, kind, op, object, before, after } = change.clone();
        Self { tenant: Some(tenant), class, kind, op, object, before, after }
    }
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

/// The people who can agree, by scope and role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Approvers {
    admins: BTreeSet<UserId>,
    maintainers: BTreeMap<String, BTreeSet<UserId>>,
    roles: BTreeMap<(TenantId, Role), BTreeSet<UserId>>,
}

impl Document {
    /// Adds the plan of one tenant, made against `actual`. Tenants are added in byte order.
    pub fn add(&mut self, plan: &Plan, actual: &ActualState) {
        let (base, next) = (live_state(actual), plan.next.as_ref());
        let tenant = &plan.tenant;
        self.tenants += 1;
        self.changes.extend(plan.changes.iter().map(Line::from));
        self.edges.extend(plan.edges.iter().map(|edge| (tenant.clone(), edge.clone())));
        self.access.extend(access::of_tenant(tenant, base, next));
        self.secrets.extend(facts::secrets(tenant, base, next));
        self.schedules.extend(facts::schedules(tenant, base, next, self.now));
        self.renames.extend(facts::renames(tenant, base, next));
        self.held.extend(plan.held.iter().map(|line| (tenant.clone(), line.clone())));
        self.skipped.extend(plan.skipped.iter().map(|line| (tenant.clone(), line.clone())));
        self.runs.extend(plan.runs.iter().map(|run| TenantRun {
            tenant: tenant.clone(),
            workflow: run.workflow.clone(),
            trigger: run.trigger,
        }));
        let digests = |state: &TenantState| {
            state.workflows.values().map(facts::workflow_digest).collect::<BTreeSet<_>>()
        };
        match (base, next) {
            (Some(base), None) => self.aside.left.push((tenant.clone(), digests(base))),
            (None, Some(next)) => self.aside.come.push((tenant.clone(), digests(next))),
            _ => {}
        }
        for role in Role::ALL {
            let people = base.into_iter().flat_map(|base| {
                base.holders(role)
                    .flat_map(|principal| people_of(principal, &base.groups))
                    .collect::<Vec<_>>()
            });
            self.aside.approvers.roles.insert((tenant.clone(), role), people.collect());
        }
    }

    /// Adds what changes for all tenants: the platform's files and those below `shared/`.
    pub fn add_platform(&mut self, base: Option<&Platform>, next: Option<&Platform>, lines: Vec<Line>) {
        self.access.extend(access::of_platform(base, next));
        self.changes.splice(0..0, lines);
        if let Some(base) = base {
            let people = |who: &BTreeSet<Principal>| {
                who.iter().flat_map(|who| people_of(who, &base.people.groups)).collect::<BTreeSet<_>>()
            };
            self.aside.approvers.admins = people(&base.admins);
            self.aside.approvers.maintainers =
                base.maintainers.iter().map(|(name, who)| (name.clone(), people(who))).collect();
        }
    }

    /// Finds the tenants that left under one name and came under another, once all are added.
    pub fn recognise_tenants(&mut self) {
        let mut come = std::mem::take(&mut self.aside.come);
        for (from, before) in std::mem::take(&mut self.aside.left) {
            let shared = |after: &BTreeSet<String>| before.intersection(after).count();
            let best = come.iter().enumerate().max_by_key(|(_, (_, after))| shared(after));
            let Some((place, alike)) = best.map(|(place, (_, after))| {
                (place, !before.is_empty() && shared(after) * 2 >= before.len().max(after.len()))
            }) else {
                continue;
            };
            if alike {
                let (to, after) = come.swap_remove(place);
                self.renames.push(Rename {
                    tenant: None,
                    kind: ObjectKind::Tenant,
                    from: from.to_string(),
                    to: to.to_string(),
                    identical: before == after,
                });
            }
        }
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
        self.changes.iter().filter_map(|change| change.tenant.as_ref()).collect()
    }

    /// The tenants that stay where they are.
    #[must_use]
    pub fn blocked_tenants(&self) -> usize {
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
        let edges = self
            .edges
            .iter()
            .map(|(tenant, edge)| json!({ "tenant": tenant, "line": edge.to_string(), "class": edge.class }));
        let skipped = self.skipped.iter().map(|(tenant, text)| json!({ "tenant": tenant, "reason": text }));
        json!({
            "schema": DOCUMENT_SCHEMA,
            "base": self.base,
            "head": self.head,
            "hash": self.hash(),
            "mode": self.mode,
            "summary": {
                "tenants": self.tenants,
                "changed": self.changed().len(),
                "blocked": self.blocked_tenants(),
                "unchanged": self.unchanged(),
            },
            "changes": changes,
            "access": self.access,
            "edges": edges.collect::<Vec<_>>(),
            "secrets": self.secrets,
            "schedules": self.schedules,
            "renames": self.renames,
            "blocked": self.blocked,
            "held": held,
            "runs": self.runs,
            "skipped": skipped.collect::<Vec<_>>(),
            "drift": self.drift,
        })
    }

    fn change(&self, change: &Line) -> Value {
        let missing = self.missing(change);
        let required = missing.as_ref().map_or(0, |(count, _)| *count);
        let missing: Vec<_> = missing.into_iter().map(|(_, who)| who).collect();
        // Reviews at a forge are not asked for here.
        let state = if missing.is_empty() { "none_needed" } else { "unknown" };
        json!({
            "tenant": change.tenant,
            "class": change.class,
            "kind": change.kind,
            "op": change.op,
            "object": change.object,
            "before": change.before,
            "after": change.after,
            "approvals": { "required": required, "present": [], "missing": missing, "state": state },
        })
    }

    /// How many have to agree to a change, and who they are; `None` where nobody has to.
    pub(super) fn missing(&self, change: &Line) -> Option<(u32, String)> {
        if self.mode == ChangeControlMode::Open {
            return None;
        }
        let (count, who) = default_approvers(change.class)?;
        let scope = change.tenant.as_ref().map_or_else(|| "the platform".to_owned(), ToString::to_string);
        let people = self.eligible(change);
        let names: Vec<_> = people.iter().map(|user| user.as_str()).collect();
        let names = if names.is_empty() { "nobody is one".to_owned() } else { names.join(", ") };
        Some((count, format!("{count} {who} of {scope} ({names})")))
    }

    fn eligible(&self, change: &Line) -> BTreeSet<&UserId> {
        let of = |role| {
            let tenant = change.tenant.clone()?;
            self.aside.approvers.roles.get(&(tenant, role))
        };
        let admins = || Some(&self.aside.approvers.admins);
        let maintainers = || {
            let name = change.object.strip_prefix("shared/")?.split('/').next()?;
            self.aside.approvers.maintainers.get(name)
        };
        let sets = match change.class {
            Class::Reduce => [None, None],
            Class::Code => [of(Role::Developer), None],
            Class::Reach | Class::Settings | Class::SecretValue => [of(Role::Operator), None],
            Class::Grant => [of(Role::Owner), None],
            Class::Recipients => [of(Role::Owner), admins()],
            Class::Shared => [maintainers(), None],
            Class::People | Class::Tenant | Class::Platform => [admins(), None],
        };
        sets.into_iter().flatten().flatten().collect()
    }
}

fn people_of(
    principal: &Principal,
    groups: &BTreeMap<crate::domain::GroupId, BTreeSet<UserId>>,
) -> Vec<UserId> {
    match principal {
        Principal::User(user) => vec![user.clone()],
        Principal::Group(group) => groups.get(group).into_iter().flatten().cloned().collect(),
        Principal::Service(_) => Vec::new(),
    }
}

/// What a security delta says of reach, as `(tenant, gains, workflow/step, what)`.
pub(super) fn reach_of(edges: &[(TenantId, Edge)]) -> Vec<(&TenantId, bool, String, String)> {
    let mut lines = Vec::new();
    for (tenant, edge) in edges.iter().filter(|(_, edge)| edge.sign != EdgeSign::Change) {
        let words: Vec<_> = edge.words.split(' ').collect();
        let after = |word: &str, mark: &str| word.strip_prefix(mark).unwrap_or(word).to_owned();
        let (from, what) = match words.as_slice() {
            ["reads", workflow, step, secret] => (
                format!("{}/{}", after(workflow, "workflow:"), after(step, "step:")),
                format!("read secret {}", after(secret, "secret:")),
            ),
            ["reaches", workflow, step, host] => (
                format!("{}/{}", after(workflow, "workflow:"), after(step, "step:")),
                format!("reach {host}"),
            ),
            ["follows", workflow, shared] => (after(workflow, "workflow:"), format!("follow {shared}")),
            _ => continue,
        };
        lines.push((tenant, edge.sign == EdgeSign::Add, from, what));
    }
    lines
}

/// The persons that a principal stands for.
pub(super) fn members<'a>(people: &'a People, principal: &'a Principal) -> Vec<UserId> {
    people_of(principal, &people.groups)
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
