//! The transitions.

use std::collections::BTreeMap;

use serde_json::Value;

use super::approval;
use super::ready::{self, Readiness};
use super::scope;
use super::time;
use super::{
    ApprovalState, CancelRequest, Decision, Effect, ItemState, RunEvent, RunState, Said, StepState, Verdict,
};
use crate::domain::{
    Actor, DaemonPart, FieldName, OnTimeout, Outcome, Phase, Retry, RetryOn, RunPins, Step, StepApproval,
    StepId, Timestamp, Work, Workflow, digest_of,
};

/// Leases of one item that may be lost; with the last of them the item ends. Source: design page `runs.md`.
pub const LOST_LEASES_MAX: u32 = 3;
/// Bytes of all outputs of a run, as JSON: the state is read and written whole.
const OUTPUT_BYTES_MAX: usize = 1024 * 1024;
/// Characters of a reason.
const REASON_CHARS_MAX: usize = 500;

impl RunState {
    /// A run that waits to be admitted.
    #[must_use]
    pub fn new(workflow: &Workflow) -> Self {
        Self {
            phase: Phase::Waiting,
            outcome: None,
            reason: None,
            admitted_at: None,
            started_at: None,
            ended_at: None,
            cancel: None,
            used_millis: 0,
            counting_since: None,
            resting: false,
            steps: workflow.steps.iter().map(|step| (step.id.clone(), StepState::waiting())).collect(),
            kept: None,
            body_taken: false,
            payload: None,
        }
    }

    /// Whether an attempt is the one that now runs: the fence of every report, log line and secret.
    #[must_use]
    pub fn holds(&self, step: &StepId, item: u32, attempt: u32) -> bool {
        self.item(step, item).is_some_and(|item| item.phase == Phase::Running && item.attempt == attempt)
    }

    /// Whether the end of the running attempt is asked for.
    #[must_use]
    pub fn is_stopping(&self, step: &StepId, item: u32) -> bool {
        self.item(step, item).is_some_and(|item| item.stopping_since.is_some())
    }

    /// One item of a step.
    #[must_use]
    pub fn item(&self, step: &StepId, item: u32) -> Option<&ItemState> {
        self.steps.get(step)?.items.get(usize::try_from(item).ok()?)
    }
}

impl StepState {
    pub(super) const fn waiting() -> Self {
        Self {
            phase: Phase::Waiting,
            outcome: None,
            reason: None,
            ended_at: None,
            blocks: false,
            items: Vec::new(),
            approval: None,
        }
    }
}

/// Moves a run one event forward. Late or repeated news changes nothing.
///
/// The effects are stored with the new state and carried out after it; at most one of them is `WakeAt`.
#[must_use]
pub fn advance(pins: &RunPins, state: RunState, event: RunEvent, now: Timestamp) -> (RunState, Vec<Effect>) {
    let mut machine = Machine { pins, state, now, effects: Vec::new() };
    if machine.take(event) {
        machine.settle();
    }
    (machine.state, machine.effects)
}

/// What the whole run is at, which decides what an event means.
enum Stage {
    /// Its concurrency key has no room.
    Held,
    /// Steps may run.
    Admitted,
    /// Over.
    Ended,
}

struct Machine<'a> {
    pins: &'a RunPins,
    state: RunState,
    now: Timestamp,
    effects: Vec<Effect>,
}

impl<'a> Machine<'a> {
    /// Takes an event in; true if it changed anything.
    fn take(&mut self, event: RunEvent) -> bool {
        let stage = match (self.state.outcome, self.state.admitted_at) {
            (Some(_), _) => Stage::Ended,
            (None, None) => Stage::Held,
            (None, Some(_)) => Stage::Admitted,
        };
        match (stage, event) {
            (Stage::Held, RunEvent::Admitted) => {
                self.state.admitted_at = Some(self.now);
                true
            }
            (Stage::Held, RunEvent::Skipped { reason }) => self.skip(&reason),
            (Stage::Held | Stage::Admitted, RunEvent::Cancel(request)) => self.cancel(request),
            (Stage::Admitted, RunEvent::Leased { step, item, attempt, until }) => {
                self.leased(&step, item, attempt, until)
            }
            (Stage::Admitted, RunEvent::Renewed { step, item, attempt, until }) => {
                self.renewed(&step, item, attempt, until)
            }
            (Stage::Admitted, RunEvent::Completed { step, item, attempt, outcome, reason, outputs }) => {
                let known = self.state.holds(&step, item, attempt);
                known && self.completed(&step, item, outcome, reason, outputs)
            }
            (Stage::Admitted, RunEvent::Lost { step, item, attempt }) => {
                let known = self.state.holds(&step, item, attempt);
                if known {
                    self.lost(&step, item);
                }
                known
            }
            (Stage::Admitted, RunEvent::Tick) => self.tick(),
            (Stage::Admitted, RunEvent::Decided(decision)) => self.decided(decision),
            // A run that waits for its key has no attempts and no time that counts.
            (
                Stage::Held,
                RunEvent::Leased { .. }
                | RunEvent::Renewed { .. }
                | RunEvent::Completed { .. }
                | RunEvent::Lost { .. }
                | RunEvent::Tick
                | RunEvent::Decided(_),
            )
            // What was admitted is ended by a request only.
            | (Stage::Admitted, RunEvent::Admitted | RunEvent::Skipped { .. })
            | (
                Stage::Ended,
                RunEvent::Admitted
                | RunEvent::Skipped { .. }
                | RunEvent::Leased { .. }
                | RunEvent::Renewed { .. }
                | RunEvent::Completed { .. }
                | RunEvent::Lost { .. }
                | RunEvent::Tick
                | RunEvent::Cancel(_)
                | RunEvent::Decided(_),
            ) => false,
        }
    }

    fn skip(&mut self, reason: &str) -> bool {
        for step in self.state.steps.values_mut() {
            end_step(step, Outcome::Skipped, Some("the run was skipped".into()), self.now);
        }
        self.end(Outcome::Skipped, Some(cut(reason)));
        true
    }

    fn cancel(&mut self, mut request: CancelRequest) -> bool {
        let by_time = request.outcome == Outcome::TimedOut;
        if self.state.cancel.is_some() {
            // Somebody ends what the run's own time has begun to end: `on_failure` goes too.
            return !by_time && self.forgo_on_failure(&request);
        }
        if !by_time {
            self.forgo_on_failure(&request);
        }
        let main: Vec<&Step> = self.pins.workflow.steps.iter().collect();
        if main.iter().all(|step| self.is_over(&step.id)) {
            // Only `on_failure` is left to end: how the run ends is known.
            request.outcome = self.verdict().0;
        }
        self.state.cancel = Some(request);
        for step in main {
            self.stop_step(&step.id);
        }
        true
    }

    /// Ends `on_failure` where it runs, and keeps it from starting where it does not; true if that changed anything.
    fn forgo_on_failure(&mut self, request: &CancelRequest) -> bool {
        let Some(step) = self.pins.workflow.on_failure.as_deref() else { return false };
        if self.state.steps.contains_key(&step.id) {
            return self.stop_step(&step.id);
        }
        let mut forgone = StepState::waiting();
        end_step(&mut forgone, Outcome::Cancelled, Some(cut(&request.reason)), self.now);
        self.state.steps.insert(step.id.clone(), forgone);
        true
    }

    /// Ends what has not started; asks for the end of what runs. True if that changed anything.
    fn stop_step(&mut self, id: &StepId) -> bool {
        let now = self.now;
        let Some(step) = self.state.steps.get_mut(id) else { return false };
        if step.phase == Phase::Ended {
            return false;
        }
        let mut changed = false;
        for (place, item) in (0_u32..).zip(&mut step.items) {
            match item.phase {
                Phase::Running if item.stopping_since.is_none() => {
                    item.stopping_since = Some(now);
                    self.effects.push(Effect::Stop { step: id.clone(), item: place, attempt: item.attempt });
                }
                Phase::Queued => {
                    self.effects.push(Effect::Unqueue { step: id.clone(), item: place });
                    end_item(item, Outcome::Cancelled, None);
                }
                Phase::Waiting => end_item(item, Outcome::Cancelled, None),
                Phase::Running | Phase::Ended => continue,
            }
            changed = true;
        }
        if step.items.is_empty() {
            end_step(step, Outcome::Cancelled, Some("the run was ended before this step began".into()), now);
            changed = true;
        }
        changed
    }

    fn leased(&mut self, step: &StepId, item: u32, attempt: u32, until: Timestamp) -> bool {
        let now = self.now;
        let Some(item) = self.item_mut(step, item) else { return false };
        if item.phase != Phase::Queued || attempt != item.attempt + 1 {
            return false;
        }
        item.phase = Phase::Running;
        item.attempt = attempt;
        item.leased_at = Some(now);
        item.lease_until = Some(until);
        item.retry_at = None;
        self.state.started_at.get_or_insert(now);
        self.state.resting = false;
        true
    }

    /// An answer to an approval; one that does not count changes nothing.
    fn decided(&mut self, decision: Decision) -> bool {
        if approval::refused(self.pins, &self.state, &decision, self.now).is_some() {
            return false;
        }
        let Some(asked) = self.pins.workflow.approval(&decision.step) else { return false };
        let Some(state) = self.state.steps.get_mut(&decision.step).and_then(|step| step.approval.as_mut())
        else {
            return false;
        };
        let said = Said { at: self.now, reason: decision.reason.as_deref().map(cut) };
        match decision.verdict {
            Verdict::Approve => {
                state.given.retain(|person, _| !decision.lapsed.contains(person));
                state.given.insert(decision.by, said);
                if state.given.len() >= usize::try_from(asked.count).unwrap_or(usize::MAX) {
                    let names: Vec<_> = state.given.keys().map(|person| format!("`{person}`")).collect();
                    let reason = format!("approved by {}", names.join(", "));
                    self.end_step(&decision.step, Outcome::Success, Some(reason), false);
                }
            }
            Verdict::Reject => {
                let why = decision.reason.map(|reason| format!(": {reason}")).unwrap_or_default();
                let reason = format!("rejected by `{}`{why}", decision.by);
                state.rejected = Some((decision.by, said));
                self.end_step(&decision.step, Outcome::Rejected, Some(reason), true);
            }
        }
        true
    }

    fn renewed(&mut self, step: &StepId, item: u32, attempt: u32, until: Timestamp) -> bool {
        if !self.state.holds(step, item, attempt) {
            return false;
        }
        let Some(item) = self.item_mut(step, item) else { return false };
        // A renewal that arrives late shortens nothing.
        let later = item.lease_until.is_none_or(|old| old < until);
        if later {
            item.lease_until = Some(until);
        }
        later
    }

    fn completed(
        &mut self,
        step: &StepId,
        place: u32,
        outcome: Outcome,
        reason: Option<String>,
        outputs: BTreeMap<FieldName, Value>,
    ) -> bool {
        let Some(declared) = self.pins.workflow.step(step) else { return false };
        let (mut outcome, mut reason) = (outcome, reason);
        if outcome == Outcome::Success {
            if let Some(problem) = scope::output_problem(declared, &outputs) {
                (outcome, reason) = (Outcome::Failure, Some(problem));
            } else if self.output_bytes() + scope::bytes(&outputs) > OUTPUT_BYTES_MAX {
                let problem = format!("the outputs of this run have more than {OUTPUT_BYTES_MAX} bytes");
                (outcome, reason) = (Outcome::Failure, Some(problem));
            }
        }
        let (now, retry, run) = (self.now, &declared.retry, &self.pins.id);
        let ending = self.state.cancel.is_some();
        let Some(item) = self.item_mut(step, place) else { return false };
        let asked = item.stopping_since.is_some();
        // A worker ends an attempt when it is asked to; one that does so by itself is a fault of ours.
        let outcome = match outcome {
            Outcome::Cancelled if asked => Outcome::Cancelled,
            Outcome::Cancelled | Outcome::Rejected | Outcome::Skipped => Outcome::Error,
            Outcome::Success | Outcome::Failure | Outcome::Error | Outcome::TimedOut => outcome,
        };
        item.tries += 1;
        if outcome == Outcome::Success {
            item.outputs = outputs;
            end_item(item, outcome, None);
        } else if !asked && !ending && item.tries < retry.attempts && retried(retry, outcome) {
            let wait = time::backoff(retry, item.tries, &format!("{run}/{step}/{place}"));
            end_lease(item);
            item.phase = Phase::Waiting;
            item.retry_at = Some(now + wait);
            item.reason = reason.map(|reason| cut(&reason));
        } else {
            end_item(item, outcome, reason);
        }
        true
    }

    /// What has come due: leases that ran out, attempts and runs whose time is over, retries.
    fn tick(&mut self) -> bool {
        let mut changed = false;
        let now = self.now;
        // First of all, so that nothing is queued in a run whose time is over.
        if self.state.cancel.is_none() && time::run_ends(self.pins, &self.state).is_some_and(|end| now >= end)
        {
            let reason = format!("the run took longer than {}", self.pins.workflow.timeout);
            let by = Actor::Daemon(DaemonPart::Schedule);
            changed |= self.cancel(CancelRequest { by, reason, at: now, outcome: Outcome::TimedOut });
        }
        let ids: Vec<StepId> = self.state.steps.keys().cloned().collect();
        for id in ids {
            let Some(declared) = self.pins.workflow.step(&id) else { continue };
            changed |= self.approval_due(&id);
            let count = self.state.steps.get(&id).map_or(0, |step| step.items.len());
            for place in 0..u32::try_from(count).unwrap_or(u32::MAX) {
                let Some(item) = self.item_mut(&id, place) else { continue };
                let due = time::due(item, declared, now);
                changed |= due.is_some();
                match due {
                    None => {}
                    Some(time::Due::Retry) => {
                        item.phase = Phase::Queued;
                        item.retry_at = None;
                        let attempt = item.attempt + 1;
                        self.effects.push(Effect::Queue { step: id.clone(), item: place, attempt });
                    }
                    Some(time::Due::Lost) => self.lost(&id, place),
                    Some(time::Due::Unstopped) => {
                        end_item(
                            item,
                            Outcome::Cancelled,
                            Some("it did not end in time when asked to".into()),
                        );
                    }
                    Some(time::Due::TooLong) => {
                        let attempt = item.attempt;
                        end_item(item, Outcome::TimedOut, Some(format!("longer than {}", declared.timeout)));
                        self.effects.push(Effect::Stop { step: id.clone(), item: place, attempt });
                    }
                }
            }
        }
        changed
    }

    /// Ends an approval that nobody gave in time. Nothing times out into approval.
    fn approval_due(&mut self, id: &StepId) -> bool {
        let Some(asked) = self.pins.workflow.approval(id) else { return false };
        let Some(open) = self.state.steps.get(id).and_then(approval::open) else { return false };
        if self.now < open.until {
            return false;
        }
        let reason = match open.given.len() {
            0 => format!("nobody approved it within {}", asked.timeout),
            some => format!("{some} of {} approved it within {}", asked.count, asked.timeout),
        };
        let outcome = match asked.on_timeout {
            OnTimeout::Reject => Outcome::Rejected,
            OnTimeout::Skip => Outcome::Skipped,
        };
        self.end_step(id, outcome, Some(reason), true);
        true
    }

    /// A lease ran out. It uses up no try, but a worker that always dies must not go on for ever.
    fn lost(&mut self, step: &StepId, place: u32) {
        let Some(item) = self.item_mut(step, place) else { return };
        let stopping = item.stopping_since.is_some();
        item.lost += 1;
        if stopping {
            end_item(item, Outcome::Cancelled, Some("its worker was lost while it was being ended".into()));
        } else if item.lost >= LOST_LEASES_MAX {
            end_item(item, Outcome::Error, Some(format!("its worker was lost {LOST_LEASES_MAX} times")));
        } else {
            end_lease(item);
            item.phase = Phase::Queued;
            let attempt = item.attempt + 1;
            self.effects.push(Effect::Queue { step: step.clone(), item: place, attempt });
        }
    }

    /// Draws every consequence: steps that can begin, that are over, and the end of the run.
    fn settle(&mut self) {
        if self.state.outcome.is_none() && (self.state.admitted_at.is_some() || self.state.cancel.is_some()) {
            let workflow = &self.pins.workflow;
            // Steps stand in an order they can run in, so one pass sees the end of every earlier step.
            for step in &workflow.steps {
                self.settle_step(step);
            }
            let over = workflow.steps.iter().all(|step| self.is_over(&step.id));
            if over {
                self.settle_on_failure();
            }
            if over && workflow.on_failure.as_deref().is_none_or(|step| self.is_over_or_absent(&step.id)) {
                let (outcome, reason) = self.verdict();
                self.end(outcome, reason);
            }
        }
        time::count(self.pins, &mut self.state, self.now);
        self.state.resting |= approval::rests(&self.state);
        if self.state.outcome.is_none() {
            self.state.phase = self.phase();
            if let Some(at) = time::next_wake(self.pins, &self.state) {
                self.effects.push(Effect::WakeAt { at });
            }
        }
    }

    fn settle_step(&mut self, step: &Step) {
        let Some(known) = self.state.steps.get(&step.id) else { return };
        if known.phase == Phase::Ended {
            return;
        }
        if known.items.is_empty() {
            if self.state.cancel.is_some() && self.is_main(&step.id) {
                self.stop_step(&step.id);
                return;
            }
            // `on_failure` waits for the end of all others, whatever it is written to wait for.
            let turn =
                if self.is_main(&step.id) { ready::readiness(step, &self.state) } else { Readiness::Go };
            match turn {
                Readiness::Waits => return,
                Readiness::Skip { blocks, reason } => {
                    // Whatever keeps people from being asked, nothing goes past them.
                    let blocks = blocks || matches!(step.work, Work::Approval(_));
                    self.end_step(&step.id, Outcome::Skipped, Some(reason), blocks);
                    return;
                }
                Readiness::Go => self.open(step),
            }
        }
        self.queue_items(step);
        self.close(step);
    }

    /// Makes the items of a step whose turn has come, or ends it by its `if` or a mistake in an expression.
    fn open(&mut self, step: &Step) {
        if let Work::Approval(asked) = &step.work {
            self.ask(step, asked);
            return;
        }
        match ready::items(self.pins, &self.state, step) {
            Ok(Some(mut items)) => {
                if let Some(kept) = &mut self.state.kept {
                    for (item, outputs) in kept.take(&step.id, &mut items) {
                        item.outputs = outputs;
                        end_item(item, Outcome::Success, Some(kept.reason()));
                    }
                }
                if let Some(known) = self.state.steps.get_mut(&step.id) {
                    known.items = items;
                }
                if self.state.steps.get(&step.id).is_some_and(|known| known.items.is_empty()) {
                    self.end_step(&step.id, Outcome::Success, Some("no items".into()), false);
                }
            }
            Ok(None) => {
                self.end_step(&step.id, Outcome::Skipped, Some("its `if` is false".into()), false);
            }
            Err(reason) => self.end_step(&step.id, Outcome::Failure, Some(reason), true),
        }
    }

    /// Asks people, once. A step that its own `if` skips holds up whatever waits for its approval all the same.
    fn ask(&mut self, step: &Step, asked: &StepApproval) {
        if self.state.steps.get(&step.id).is_some_and(|known| known.approval.is_some()) {
            return;
        }
        match ready::holds(step, &scope::of(self.pins, &self.state)) {
            Ok(true) => {
                let shown = digest_of(&approval::shown(self.pins, &self.state, step));
                let until = self.now + asked.timeout;
                let (given, rejected) = (BTreeMap::new(), None);
                let state = ApprovalState { asked_at: self.now, until, shown, given, rejected };
                if let Some(known) = self.state.steps.get_mut(&step.id) {
                    known.approval = Some(state);
                }
            }
            Ok(false) => self.end_step(&step.id, Outcome::Skipped, Some("its `if` is false".into()), true),
            Err(reason) => self.end_step(&step.id, Outcome::Failure, Some(reason), true),
        }
    }

    /// Lets in as many items as may run at one time.
    fn queue_items(&mut self, step: &Step) {
        let Some(known) = self.state.steps.get_mut(&step.id) else { return };
        let parallel = step.for_each.as_ref().map_or(1, |each| each.max_parallel.max(1));
        let active = |item: &&ItemState| {
            matches!(item.phase, Phase::Queued | Phase::Running)
                || (item.phase == Phase::Waiting && item.retry_at.is_some())
        };
        let mut room = usize::try_from(parallel)
            .unwrap_or(usize::MAX)
            .saturating_sub(known.items.iter().filter(active).count());
        for (place, item) in (0_u32..).zip(&mut known.items) {
            if room == 0 {
                break;
            }
            if item.phase == Phase::Waiting && item.retry_at.is_none() {
                item.phase = Phase::Queued;
                room -= 1;
                let attempt = item.attempt + 1;
                self.effects.push(Effect::Queue { step: step.id.clone(), item: place, attempt });
            }
        }
    }

    /// Ends a step whose items are all over; else sets its phase from theirs.
    fn close(&mut self, step: &Step) {
        let Some(known) = self.state.steps.get_mut(&step.id) else { return };
        if known.phase == Phase::Ended || known.items.is_empty() {
            return;
        }
        if known.items.iter().any(|item| item.phase != Phase::Ended) {
            let has = |phase: Phase| known.items.iter().any(|item| item.phase == phase);
            known.phase = if has(Phase::Running) {
                Phase::Running
            } else if has(Phase::Queued) {
                Phase::Queued
            } else {
                Phase::Waiting
            };
            return;
        }
        let bad = |wanted: fn(Outcome) -> bool| {
            (0_u32..).zip(&known.items).find(|(_, item)| item.outcome.is_some_and(wanted))
        };
        let worst = bad(|outcome| outcome == Outcome::Cancelled)
            .or_else(|| bad(|outcome| outcome != Outcome::Success));
        let (outcome, reason) = match worst {
            None => (Outcome::Success, None),
            Some((place, item)) => {
                let reason = item.reason.clone();
                let reason = if step.for_each.is_some() {
                    Some(format!("item {place}: {}", reason.as_deref().unwrap_or("failed")))
                } else {
                    reason
                };
                (item.outcome.unwrap_or(Outcome::Error), reason)
            }
        };
        self.end_step(&step.id, outcome, reason, outcome != Outcome::Success);
    }

    fn settle_on_failure(&mut self) {
        let Some(step) = self.pins.workflow.on_failure.as_deref() else { return };
        let timed_out = self.state.cancel.as_ref().is_some_and(|cancel| cancel.outcome == Outcome::TimedOut);
        let failed = timed_out || self.failed_step().is_some();
        if failed && !self.state.steps.contains_key(&step.id) {
            self.state.steps.insert(step.id.clone(), StepState::waiting());
        }
        self.settle_step(step);
    }

    /// How the run ends once its steps are over; `on_failure` has no say.
    fn verdict(&self) -> (Outcome, Option<String>) {
        let main = || self.pins.workflow.steps.iter().filter_map(|step| self.state.steps.get(&step.id));
        let ended_by =
            |cancel: &&CancelRequest| matches!(cancel.outcome, Outcome::Cancelled | Outcome::TimedOut);
        if let Some(cancel) = self.state.cancel.as_ref().filter(ended_by) {
            let hit = |step: &StepState| {
                step.outcome != Some(Outcome::Success)
                    && step.ended_at.is_some_and(|ended| ended >= cancel.at)
            };
            if main().any(hit) {
                return (cancel.outcome, Some(cut(&cancel.reason)));
            }
        }
        if let Some((id, outcome)) = self.failed_step() {
            let reason = self.state.steps.get(id).and_then(|step| step.reason.as_deref());
            let reason =
                reason.map_or_else(|| format!("step `{id}`"), |reason| format!("step `{id}`: {reason}"));
            return (outcome, Some(cut(&reason)));
        }
        let all =
            || self.pins.workflow.steps.iter().filter_map(|step| self.state.steps.get_key_value(&step.id));
        if let Some((id, step)) = all().find(|(_, step)| step.outcome == Some(Outcome::Rejected)) {
            let reason = step.reason.as_deref().unwrap_or("rejected");
            return (Outcome::Rejected, Some(cut(&format!("step `{id}`: {reason}"))));
        }
        if main().all(|step| step.outcome == Some(Outcome::Skipped)) {
            let by_approval = all().find(|(_, step)| step.approval.is_some());
            let reason = match by_approval.and_then(|(id, step)| Some((id, step.reason.as_deref()?))) {
                Some((id, reason)) => format!("step `{id}`: {reason}"),
                None => "every step was skipped by its `if`".to_owned(),
            };
            return (Outcome::Skipped, Some(cut(&reason)));
        }
        (Outcome::Success, None)
    }

    fn failed_step(&self) -> Option<(&'a StepId, Outcome)> {
        self.pins.workflow.steps.iter().find_map(|step| match self.state.steps.get(&step.id)?.outcome? {
            outcome @ (Outcome::Failure | Outcome::Error | Outcome::TimedOut) => Some((&step.id, outcome)),
            Outcome::Success | Outcome::Cancelled | Outcome::Rejected | Outcome::Skipped => None,
        })
    }

    fn end(&mut self, outcome: Outcome, reason: Option<String>) {
        // INVARIANT: a run ends once; every caller has looked at `outcome` first.
        debug_assert!(self.state.outcome.is_none());
        self.state.phase = Phase::Ended;
        self.state.outcome = Some(outcome);
        self.state.reason = reason;
        self.state.ended_at = Some(self.now);
        self.state.kept = None;
        self.effects.push(Effect::Ended { outcome });
    }

    fn end_step(&mut self, id: &StepId, outcome: Outcome, reason: Option<String>, blocks: bool) {
        if let Some(step) = self.state.steps.get_mut(id) {
            end_step(step, outcome, reason.map(|reason| cut(&reason)), self.now);
            step.blocks = blocks;
        }
    }

    fn phase(&self) -> Phase {
        let has = |phase: Phase| self.state.steps.values().any(|step| step.phase == phase);
        if has(Phase::Running) {
            Phase::Running
        } else if has(Phase::Queued) {
            Phase::Queued
        } else {
            Phase::Waiting
        }
    }

    fn is_main(&self, id: &StepId) -> bool {
        self.pins.workflow.steps.iter().any(|step| step.id == *id)
    }

    fn is_over(&self, id: &StepId) -> bool {
        self.state.steps.get(id).is_some_and(|step| step.phase == Phase::Ended)
    }

    fn is_over_or_absent(&self, id: &StepId) -> bool {
        self.state.steps.get(id).is_none_or(|step| step.phase == Phase::Ended)
    }

    fn item_mut(&mut self, step: &StepId, item: u32) -> Option<&mut ItemState> {
        self.state.steps.get_mut(step)?.items.get_mut(usize::try_from(item).ok()?)
    }

    fn output_bytes(&self) -> usize {
        let items = self.state.steps.values().flat_map(|step| &step.items);
        items.map(|item| scope::bytes(&item.outputs)).sum()
    }
}

fn end_step(step: &mut StepState, outcome: Outcome, reason: Option<String>, now: Timestamp) {
    step.phase = Phase::Ended;
    step.outcome = Some(outcome);
    step.reason = reason;
    step.ended_at = Some(now);
    step.blocks = true;
}

fn end_item(item: &mut ItemState, outcome: Outcome, reason: Option<String>) {
    end_lease(item);
    item.phase = Phase::Ended;
    item.outcome = Some(outcome);
    item.retry_at = None;
    item.reason = reason.map(|reason| cut(&reason));
}

const fn end_lease(item: &mut ItemState) {
    item.leased_at = None;
    item.lease_until = None;
    item.stopping_since = None;
}

fn retried(retry: &Retry, outcome: Outcome) -> bool {
    let kind = match outcome {
        Outcome::Failure => RetryOn::Failure,
        Outcome::Error => RetryOn::Error,
        Outcome::TimedOut => RetryOn::TimedOut,
        Outcome::Success | Outcome::Cancelled | Outcome::Rejected | Outcome::Skipped => return false,
    };
    retry.on.contains(&kind)
}

fn cut(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}
