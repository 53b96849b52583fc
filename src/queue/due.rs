//! Which runs the schedules of one tenant ask for now.

use std::collections::BTreeMap;

use crate::domain::{
    Actor, ActualState, FreshIds, InForce, Pause, RunId, ScheduleTrigger, Timestamp, Trigger, TriggerKind,
    Workflow, WorkflowId,
};
use crate::run::{Ask, PinError, pin};
use crate::schedule::{CATCH_UP_MAX, Cron, Due, Zone, due};
use crate::store::Fired;

/// A time that had come and for which no run could be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotStarted {
    /// The workflow.
    pub workflow: WorkflowId,
    /// The schedule's entry.
    pub entry: String,
    /// Why, for people.
    pub reason: String,
}

/// What is due in one tenant.
#[derive(Debug, Default)]
pub struct DueRuns {
    /// Runs to start and times to pass over, oldest first within an entry.
    pub fired: Vec<Fired>,
    /// Times without a run.
    pub failed: Vec<NotStarted>,
    /// When the next one comes.
    pub next: Option<Timestamp>,
}

/// Looks at every schedule of a tenant. `cursors` say up to which time each entry has been looked at.
///
/// An entry that is seen for the first time starts at `now`: merging a schedule runs nothing before its time. While a
/// workflow is paused, its times are passed over; while the tenant is suspended, the store skips the latest.
#[must_use]
pub fn due_runs(
    actual: &ActualState,
    cursors: &BTreeMap<(WorkflowId, String), Timestamp>,
    actor: &Actor,
    fresh: &FreshIds,
    now: Timestamp,
) -> DueRuns {
    let mut found = DueRuns::default();
    let Some(code) = actual.in_force(now).filter(|_| actual.removed.is_none()) else { return found };
    // Other schedules count from the end of a pin on.
    found.next = code.pin.map(|pin| pin.until);
    let look = Look { actual, code: &code, actor, fresh, now };
    for workflow in code.state.workflows.values() {
        for entry in &workflow.triggers.schedules {
            let cursor = cursors.get(&(workflow.id.clone(), entry.entry.clone())).copied();
            let cursor = cursor.map(|cursor| cursor.max(held_back_until(actual, workflow, entry)));
            look.at(workflow, entry, cursor, &mut found);
        }
    }
    found
}

/// The end of a pin that kept this schedule out, until the loop has noted it; else the beginning of time. What it
/// missed is not made up for: the end of a pin fires nothing.
fn held_back_until(actual: &ActualState, workflow: &Workflow, entry: &ScheduleTrigger) -> Timestamp {
    let Some(pin) = &actual.pin else { return Timestamp::default() };
    let known = pin.code.workflows.get(&workflow.id);
    let known =
        known.is_some_and(|known| known.triggers.schedules.iter().any(|one| one.entry == entry.entry));
    if known { Timestamp::default() } else { pin.note.until }
}

struct Look<'a> {
    actual: &'a ActualState,
    code: &'a InForce<'a>,
    actor: &'a Actor,
    fresh: &'a FreshIds,
    now: Timestamp,
}

impl Look<'_> {
    fn at(
        &self,
        workflow: &Workflow,
        entry: &ScheduleTrigger,
        cursor: Option<Timestamp>,
        found: &mut DueRuns,
    ) {
        let (cron, zone) = match (Cron::parse(&entry.cron), Zone::parse(&entry.timezone)) {
            (Ok(cron), Ok(zone)) => (cron, zone),
            // Both are checked before an apply; a zone may still have gone with an update of the zone rules.
            (Err(cause), _) => return fail(workflow, entry, cause.to_string(), found),
            (_, Err(cause)) => return fail(workflow, entry, cause.to_string(), found),
        };
        let seed = format!("{}/{}/{}", self.actual.tenant, workflow.id, entry.entry);
        let late = if entry.exact { crate::domain::Length::default() } else { cron.jitter(&seed) };
        let until = self.now - late;
        let pass = |cursor| Fired {
            workflow: workflow.id.clone(),
            entry: entry.entry.clone(),
            cursor,
            overlap: entry.overlap,
            pins: None,
        };
        if let Some(next) = cron.next_after(&zone, until) {
            let next = next + late;
            found.next = Some(found.next.map_or(next, |known| known.min(next)));
        }
        let Some(cursor) = cursor else {
            found.fired.push(pass(until));
            return;
        };
        let Due { fires, latest, .. } = due(&cron, &zone, cursor, until, entry.catch_up, CATCH_UP_MAX);
        let Some(latest) = latest else { return };
        if fires.is_empty() || self.is_paused(workflow) {
            found.fired.push(pass(latest));
            return;
        }
        // The store writes down that a suspended tenant's run is skipped: once is enough.
        let first = if self.is_suspended() { fires.len() - 1 } else { 0 };
        for fire in fires.into_iter().skip(first) {
            let mut fired = pass(fire);
            match self.pins(workflow, entry, fire) {
                Ok(pins) => fired.pins = Some(pins),
                Err(cause) => fail(workflow, entry, cause.to_string(), found),
            }
            found.fired.push(fired);
        }
    }

    fn is_suspended(&self) -> bool {
        self.holds(self.actual.suspended.as_ref()) || self.holds(self.code.state.settings.suspend.as_ref())
    }

    fn is_paused(&self, workflow: &Workflow) -> bool {
        self.holds(self.actual.pauses.get(&workflow.id)) || self.holds(workflow.paused.as_ref())
    }

    fn holds(&self, pause: Option<&Pause>) -> bool {
        pause.is_some_and(|pause| pause.until.is_none_or(|until| self.now < until))
    }

    fn pins(
        &self,
        workflow: &Workflow,
        entry: &ScheduleTrigger,
        fire: Timestamp,
    ) -> Result<crate::domain::RunPins, PinError> {
        let trigger =
            Trigger { kind: TriggerKind::Schedule, key: format!("{}@{fire}", entry.entry), time: fire };
        let tree = self.code.tree;
        let ask = Ask {
            tenant: &self.actual.tenant,
            incarnation: self.actual.incarnation,
            state: &self.code.state,
            revoked: &self.actual.revoked,
            commit: self.code.commit,
            authors: self.code.authors,
            tree: tree.ok_or_else(|| PinError::NoWorkflow(workflow.id.clone()))?,
            generation: self.actual.generation,
            workflow: &workflow.id,
            trigger: &trigger,
            actor: self.actor,
            body: &serde_json::Value::Null,
            given: &entry.with,
        };
        pin(&ask, RunId::from_uuid((self.fresh)()), self.now)
    }
}

fn fail(workflow: &Workflow, entry: &ScheduleTrigger, reason: String, found: &mut DueRuns) {
    found.failed.push(NotStarted { workflow: workflow.id.clone(), entry: entry.entry.clone(), reason });
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::domain::{Applied, CatchUp, ChangeKeys, DaemonPart, Overlap};
    use crate::run::samples;

    const ENTRY: &str = "0 2 * * * UTC";

    fn time(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    fn actual(exact: bool, catch_up: CatchUp) -> ActualState {
        let mut flow = samples::workflow(vec![samples::step("main", crate::domain::Waits::Nothing)]);
        flow.triggers.schedules = vec![ScheduleTrigger {
            entry: ENTRY.into(),
            cron: "0 2 * * *".into(),
            timezone: "UTC".into(),
            catch_up,
            overlap: Overlap::Skip,
            exact,
            with: BTreeMap::new(),
        }];
        let mut state = samples::tenant_state();
        state.workflows = BTreeMap::from([(flow.id.clone(), flow)]);
        let mut actual = ActualState::empty("acme".parse().expect("a name"));
        actual.generation = 4;
        actual.applied = Some(Applied {
            commit: "a".repeat(40).parse().expect("an id"),
            digest: state.digest(),
            keys: ChangeKeys {
                tenant: Some("b".repeat(40).parse().expect("an id")),
                ..ChangeKeys::default()
            },
            at: time("2026-11-01T00:00:00Z"),
            authors: std::collections::BTreeSet::new(),
            state,
        });
        actual
    }

    fn look(actual: &ActualState, cursor: Option<&str>, now: &str) -> DueRuns {
        let fresh: FreshIds = Arc::new(uuid::Uuid::nil);
        let cursors =
            cursor.map(|cursor| (("sync".parse().expect("a name"), ENTRY.to_owned()), time(cursor)));
        due_runs(
            actual,
            &cursors.into_iter().collect(),
            &Actor::Daemon(DaemonPart::Schedule),
            &fresh,
            time(now),
        )
    }

    #[track_caller]
    fn check(actual: &ActualState, cursor: Option<&str>, now: &str, keys: &[Option<&str>], next: &str) {
        let found = look(actual, cursor, now);
        let got: Vec<_> = found
            .fired
            .iter()
            .map(|fired| fired.pins.as_ref().map(|pins| pins.trigger.key.as_str()))
            .collect();
        assert_eq!((got.as_slice(), found.next), (keys, Some(time(next))));
        assert_eq!(found.failed, []);
    }

    #[test]
    fn a_time_that_has_come_starts_one_run() {
        let actual = actual(true, CatchUp::One);
        let (before, next) = ("2026-11-22T02:00:00Z", "2026-11-23T02:00:00Z");
        check(&actual, Some(before), "2026-11-23T01:59:59Z", &[], next);
        let key = "0 2 * * * UTC@2026-11-23T02:00:00Z";
        check(&actual, Some(before), next, &[Some(key)], "2026-11-24T02:00:00Z");
        check(&actual, Some(next), next, &[], "2026-11-24T02:00:00Z");
    }

    #[test]
    fn a_new_schedule_runs_nothing_before_its_time() {
        check(&actual(true, CatchUp::All), None, "2026-11-23T12:00:00Z", &[None], "2026-11-24T02:00:00Z");
    }

    #[test]
    fn what_was_missed_is_made_up_for() {
        let found = look(&actual(true, CatchUp::All), Some("2026-11-20T02:00:00Z"), "2026-11-22T12:00:00Z");
        assert_eq!(found.fired.iter().filter(|fired| fired.pins.is_some()).count(), 2);
        let found = look(&actual(true, CatchUp::None), Some("2026-11-20T02:00:00Z"), "2026-11-22T12:00:00Z");
        assert_eq!(found.fired.len(), 1);
        assert!(found.fired[0].pins.is_none());
        assert_eq!(found.fired[0].cursor, time("2026-11-22T02:00:00Z"), "and is not looked at again");
    }

    #[test]
    fn while_stopped_times_are_passed_over() {
        let pause = |until: Option<&str>| Pause { reason: "holiday".into(), until: until.map(time) };
        let (cursor, now) = (Some("2026-11-22T02:00:00Z"), "2026-11-23T02:00:00Z");
        let passed =
            |actual: &ActualState| look(actual, cursor, now).fired.iter().all(|fired| fired.pins.is_none());
        let mut suspended = actual(true, CatchUp::All);
        suspended.suspended = Some(pause(None));
        let found = look(&suspended, Some("2026-11-20T02:00:00Z"), now);
        assert_eq!(found.fired.len(), 1, "the store skips the latest and says so");
        let mut paused = actual(true, CatchUp::All);
        paused.pauses.insert("sync".parse().expect("a name"), pause(Some("2026-11-23T02:00:01Z")));
        assert!(passed(&paused));
        paused.pauses.insert("sync".parse().expect("a name"), pause(Some(now)));
        assert!(!passed(&paused), "a pause lets itself go");
    }

    #[test]
    fn jitter_comes_after_the_time_and_keeps_the_key() {
        let actual = actual(false, CatchUp::One);
        let cursor = Some("2026-11-22T02:00:00Z");
        assert!(look(&actual, cursor, "2026-11-23T02:00:00Z").fired.is_empty());
        let next = look(&actual, cursor, "2026-11-23T01:00:00Z").next.expect("a next time");
        assert!(next > time("2026-11-23T02:00:00Z") && next < time("2026-11-23T02:05:00Z"), "{next}");
        let found = look(&actual, cursor, &next.to_string());
        let key = found.fired[0].pins.as_ref().map(|pins| (pins.trigger.key.clone(), pins.trigger.time));
        assert_eq!(key, Some(("0 2 * * * UTC@2026-11-23T02:00:00Z".into(), time("2026-11-23T02:00:00Z"))));
    }

    #[test]
    fn a_run_that_cannot_be_made_is_told_and_passed_over() {
        let mut actual = actual(true, CatchUp::One);
        if let Some(applied) = &mut actual.applied {
            let with = BTreeMap::from([("what".parse().expect("a name"), serde_json::json!(1))]);
            let flow = applied.state.workflows.values_mut().next().expect("one");
            flow.triggers.schedules[0].with = with;
        }
        let found = look(&actual, Some("2026-11-22T02:00:00Z"), "2026-11-23T02:00:00Z");
        assert_eq!(found.fired.len(), 1);
        assert_eq!(found.failed[0].reason, "unknown input `what`; this workflow takes none");
    }

    #[test]
    fn a_removed_tenant_starts_nothing() {
        let mut actual = actual(true, CatchUp::All);
        actual.removed = Some(time("2026-11-22T00:00:00Z"));
        assert!(look(&actual, Some("2026-11-20T02:00:00Z"), "2026-11-23T02:00:00Z").fired.is_empty());
    }
}
