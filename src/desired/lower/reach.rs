//! Steps that can never run, and workflows that start themselves.

use serde_json::json;

use crate::domain::TenantId;
use crate::expression::{Expression, Root, Scope};

/// What starts a workflow, for the rules that ask what a run may be of.
pub(super) struct Starts<'a> {
    /// Whose it is.
    pub(super) tenant: &'a TenantId,
    /// Its name.
    pub(super) workflow: &'a str,
    /// Whether commits start it.
    pub(super) commit: bool,
    /// Whether schedules do.
    pub(super) schedule: bool,
    /// Whether a hook does.
    pub(super) webhook: bool,
}

impl Starts<'_> {
    /// The kinds of trigger that a run of it may have: people may always start it.
    fn kinds(&self) -> impl Iterator<Item = &'static str> {
        let given = [(self.commit, "commit"), (self.schedule, "schedule"), (self.webhook, "webhook")];
        let given = given.into_iter().filter(|(there, _)| *there).map(|(_, kind)| kind);
        given.chain(["manual", "rerun", "probe"])
    }

    /// Whether a condition is false whatever starts the workflow. Conditions that read anything but
    /// `trigger.kind` are not judged.
    pub(super) fn never(&self, condition: &str) -> bool {
        let Ok(expression) = Expression::parse(condition) else { return false };
        let used = expression.references();
        let known = used.roots.iter().all(|root| *root == Root::Trigger)
            && used.computed.is_empty()
            && used.fields.iter().all(|(root, field)| *root == Root::Trigger && field == "kind");
        known
            && self.kinds().all(|kind| {
                let scope = Scope::default().with(Root::Trigger, json!({ "kind": kind }));
                expression.test(&scope) == Ok(false)
            })
    }

    /// How a script starts the workflow that it is a step of; `None` if nothing in it looks like that.
    pub(super) fn started_by(&self, script: &[u8]) -> Option<&'static str> {
        let text = std::str::from_utf8(script).ok()?;
        let start = format!("tenantry start {}/{}", self.tenant, self.workflow);
        let hook = format!("/hooks/{}/{}", self.tenant, self.workflow);
        text.lines().map(str::trim).filter(|line| !line.starts_with('#')).find_map(|line| {
            let ends = |mark: &str| {
                line.match_indices(mark).any(|(at, _)| {
                    let rest = &line[at + mark.len()..];
                    !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-')
                })
            };
            if self.commit && ends("git push") {
                Some("pushes a commit, and commits start it")
            } else if self.webhook && ends(&hook) {
                Some("calls its own hook")
            } else if ends(&start) {
                Some("starts it by name")
            } else {
                None
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn starts(tenant: &TenantId) -> Starts<'_> {
        Starts { tenant, workflow: "sync", commit: true, schedule: true, webhook: false }
    }

    #[track_caller]
    fn never(condition: &str, want: bool) {
        assert_eq!(starts(&"acme".parse().unwrap()).never(condition), want, "{condition}");
    }

    #[test]
    fn a_condition_is_never_true_for_what_starts_the_workflow() {
        never("false", true);
        never("1 > 2", true);
        never("trigger.kind == 'shedule'", true);
        never("trigger.kind == 'webhook'", true);
        never("trigger.kind == 'schedule'", false);
        never("trigger.kind != 'schedule'", false);
        never("trigger.kind == 'manual'", false);
        never("true", false);
        never("trigger.time == 'x' && false", false);
        never("inputs.day == 'x'", false);
        never("1 +", false);
    }

    #[test]
    fn a_script_that_starts_its_own_workflow_is_known() {
        let tenant = "acme".parse().unwrap();
        let of = |script: &str| starts(&tenant).started_by(script.as_bytes());
        assert!(of("git commit -m x\n  git push origin main\n").is_some());
        assert!(of("tenantry start acme/sync").is_some());
        assert!(of("tenantry start acme/sync-all").is_none());
        assert!(of("# git push\n").is_none());
        assert!(of("git pushall\n").is_none());
        assert!(of("curl http://x/hooks/acme/sync").is_none(), "it has no hook");
    }
}
