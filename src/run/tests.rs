use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::samples::{at, pins, step, workflow};
use super::*;
use crate::domain::{
    Actor, Approver, ForEach, Length, OnTimeout, Outcome, Phase, Retry, Role, RunPins, StepApproval, StepId,
    ValueType, Waits, Work, Workflow,
};

pub(super) fn id(text: &str) -> StepId {
    text.parse().expect(text)
}

pub(super) fn above(name: &str) -> Waits {
    Waits::Above(id(name))
}
pub(super) fn needs(names: &[&str]) -> Waits {
    Waits::Needs(names.iter().map(|name| id(name)).collect())
}

/// A run that is played with: every call is one event.
pub(super) struct Play {
    pub(super) pins: RunPins,
    pub(super) state: RunState,
    pub(super) effects: Vec<Effect>,
    pub(super) now: i64,
}

impl Play {
    pub(super) fn of(workflow: Workflow) -> Self {
        let pins = pins(workflow);
        let state = RunState::new(&pins.workflow);
        let mut play = Self { pins, state, effects: Vec::new(), now: 0 };
        play.event(RunEvent::Admitted);
        play
    }
    pub(super) fn event(&mut self, event: RunEvent) -> &mut Self {
        let (state, effects) = advance(&self.pins, self.state.clone(), event, at(self.now));
        self.state = state;
        self.effects = effects;
        self
    }
    pub(super) fn later(&mut self, secs: i64) -> &mut Self {
        self.now += secs;
        self.event(RunEvent::Tick)
    }
    pub(super) fn lease(&mut self, name: &str, item: u32, attempt: u32) -> &mut Self {
        self.event(RunEvent::Leased { step: id(name), item, attempt, until: at(self.now + 60) })
    }
    pub(super) fn report(
        &mut self,
        name: &str,
        item: u32,
        attempt: u32,
        outcome: Outcome,
        outputs: &Value,
    ) -> &mut Self {
        let outputs = outputs.as_object().into_iter().flatten();
        let outputs = outputs.map(|(name, value)| (name.parse().expect("a name"), value.clone())).collect();
        self.event(RunEvent::Completed { step: id(name), item, attempt, outcome, reason: None, outputs })
    }
    pub(super) fn run(&mut self, name: &str, outcome: Outcome) -> &mut Self {
        let attempt = self.item(name, 0).attempt + 1;
        self.lease(name, 0, attempt).report(name, 0, attempt, outcome, &json!({}))
    }
    pub(super) fn cancel(&mut self) -> &mut Self {
        let by = Actor::User("alice".parse().expect("a name"));
        let request =
            CancelRequest { by, reason: "not now".into(), at: at(self.now), outcome: Outcome::Cancelled };
        self.event(RunEvent::Cancel(request))
    }
    pub(super) fn item(&self, name: &str, item: u32) -> &ItemState {
        self.state.item(&id(name), item).unwrap_or_else(|| panic!("{name}[{item}] has begun"))
    }
    #[track_caller]
    pub(super) fn steps(&self, want: &[(&str, Option<Outcome>)]) -> &Self {
        let got: Vec<_> = self.state.steps.iter().map(|(id, step)| (id.as_str(), step.outcome)).collect();
        let mut want = want.to_vec();
        want.sort_by_key(|(name, _)| *name);
        assert_eq!(got, want);
        self
    }
    #[track_caller]
    pub(super) fn ended(&self, outcome: Outcome, reason: Option<&str>) {
        assert_eq!((self.state.outcome, self.state.reason.as_deref()), (Some(outcome), reason));
        assert_eq!(self.state.phase, Phase::Ended);
    }
    pub(super) fn queued(&self) -> Vec<(String, u32, u32)> {
        self.effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Queue { step, item, attempt } => Some((step.to_string(), *item, *attempt)),
                _ => None,
            })
            .collect()
    }
    pub(super) fn wake(&self) -> Option<i64> {
        next_wake(&self.pins, &self.state).map(|wake| (wake.as_millis() - at(0).as_millis()) / 1000)
    }
}

#[test]
fn steps_run_in_written_order() {
    let mut play = Play::of(workflow(vec![step("a", Waits::Nothing), step("b", above("a"))]));
    assert_eq!(play.queued(), [("a".into(), 0, 1)]);
    play.run("a", Outcome::Success);
    assert_eq!(play.queued(), [("b".into(), 0, 1)]);
    play.run("b", Outcome::Success).ended(Outcome::Success, None);
    assert!(play.effects.contains(&Effect::Ended { outcome: Outcome::Success }));
}

#[test]
fn a_run_waits_for_its_key_and_takes_no_lease() {
    let pins = pins(workflow(vec![step("a", Waits::Nothing)]));
    let held = RunState::new(&pins.workflow);
    let lease = RunEvent::Leased { step: id("a"), item: 0, attempt: 1, until: at(60) };
    for event in [lease, RunEvent::Tick] {
        assert_eq!(advance(&pins, held.clone(), event, at(9)), (held.clone(), Vec::new()));
    }
    let (state, effects) =
        advance(&pins, held, RunEvent::Skipped { reason: "the key is taken".into() }, at(9));
    assert_eq!((state.outcome, effects.len()), (Some(Outcome::Skipped), 1));
}

#[test]
fn a_failed_step_skips_the_rest_and_not_what_stands_beside_it() {
    let steps = vec![
        step("a", Waits::Nothing),
        step("b", above("a")),
        step("c", above("b")),
        step("side", Waits::Nothing),
        step("both", needs(&["b", "side"])),
    ];
    let mut play = Play::of(workflow(steps));
    play.run("a", Outcome::Failure).run("side", Outcome::Success);
    let (failed, skipped, good) = (Some(Outcome::Failure), Some(Outcome::Skipped), Some(Outcome::Success));
    play.steps(&[("a", failed), ("b", skipped), ("c", skipped), ("side", good), ("both", skipped)]);
    play.ended(Outcome::Failure, Some("step `a`"));
}

#[test]
fn a_step_skipped_by_its_if_skips_only_what_names_it() {
    let mut b = step("b", above("a"));
    b.condition = Some("inputs.day == 'never'".into());
    let steps = vec![
        step("a", Waits::Nothing),
        b,
        step("c", above("b")),
        step("d", needs(&["b"])),
        step("e", above("d")),
    ];
    let mut play = Play::of(workflow(steps));
    play.run("a", Outcome::Success).run("c", Outcome::Success).run("e", Outcome::Success);
    let (good, skipped) = (Some(Outcome::Success), Some(Outcome::Skipped));
    play.steps(&[("a", good), ("b", skipped), ("c", good), ("d", skipped), ("e", good)]);
    play.ended(Outcome::Success, None);
}

#[test]
fn outputs_reach_later_steps() {
    let mut pull = step("pull", Waits::Nothing);
    pull.outputs = BTreeMap::from([("count".parse().expect("a name"), ValueType::Int)]);
    let mut load = step("load", above("pull"));
    load.condition = Some("steps.pull.outputs.count > 0".into());
    let with = json!({"n": "${{ steps.pull.outputs.count }}", "text": "day ${{ inputs.day }}", "deep": [{"x": "${{ tenant.id }}"}]});
    load.with = Some(
        with.as_object()
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.parse().expect("a name"), v.clone()))
            .collect(),
    );
    let mut play = Play::of(workflow(vec![pull, load]));
    assert_eq!(
        play.item("pull", 0).input,
        json!({"day": "2026-11-23"}),
        "the run's inputs, without a `with`"
    );
    play.lease("pull", 0, 1).report("pull", 0, 1, Outcome::Success, &json!({"count": 2}));
    assert_eq!(
        play.item("load", 0).input,
        json!({"n": 2, "text": "day 2026-11-23", "deep": [{"x": "acme"}]})
    );
}

#[test]
fn a_promised_output_is_written() {
    for (outputs, reason) in [
        (json!({}), "step `a`: it wrote no output `count`"),
        (json!({"count": "2"}), "step `a`: its output `count` is not of type int"),
    ] {
        let mut a = step("a", Waits::Nothing);
        a.outputs = BTreeMap::from([("count".parse().expect("a name"), ValueType::Int)]);
        let mut play = Play::of(workflow(vec![a]));
        play.lease("a", 0, 1)
            .report("a", 0, 1, Outcome::Success, &outputs)
            .ended(Outcome::Failure, Some(reason));
    }
}

#[test]
fn a_mistake_in_an_expression_fails_its_step() {
    let mut a = step("a", Waits::Nothing);
    a.condition = Some("inputs.other == 1".into());
    Play::of(workflow(vec![a])).ended(Outcome::Failure, Some("step `a`: `if`: no field `other`"));
}

#[test]
fn a_failure_is_tried_again_later_and_later() {
    let mut a = step("a", Waits::Nothing);
    a.retry = Retry {
        attempts: 4,
        backoff: Length::from_secs(10),
        max: Length::from_secs(25),
        jitter: false,
        ..Retry::default()
    };
    let mut play = Play::of(workflow(vec![a]));
    for (attempt, wait) in [(1, 10), (2, 20), (3, 25)] {
        play.lease("a", 0, attempt).report("a", 0, attempt, Outcome::Failure, &json!({}));
        assert_eq!((play.wake(), play.state.phase), (Some(play.now + wait), Phase::Waiting));
        assert_eq!(play.later(wait - 1).queued(), []);
        assert_eq!(play.later(1).queued(), [("a".into(), 0, attempt + 1)]);
    }
    play.run("a", Outcome::TimedOut).ended(Outcome::TimedOut, Some("step `a`"));
}

#[test]
fn what_is_not_listed_is_not_tried_again() {
    let mut a = step("a", Waits::Nothing);
    a.retry = Retry { attempts: 4, on: vec![crate::domain::RetryOn::Error], ..Retry::default() };
    Play::of(workflow(vec![a])).run("a", Outcome::Failure).ended(Outcome::Failure, Some("step `a`"));
}

#[test]
fn a_report_of_a_lost_lease_changes_nothing() {
    let mut play = Play::of(workflow(vec![step("a", Waits::Nothing)]));
    play.lease("a", 0, 1);
    assert_eq!(play.later(60).queued(), [], "the lease holds to its last moment");
    assert_eq!(play.later(1).queued(), [("a".into(), 0, 2)]);
    let before = play.state.clone();
    play.report("a", 0, 1, Outcome::Success, &json!({}));
    play.event(RunEvent::Renewed { step: id("a"), item: 0, attempt: 1, until: at(999) });
    play.lease("a", 0, 1).lease("a", 0, 3);
    assert_eq!((&play.state, play.effects.len()), (&before, 0));
    play.lease("a", 0, 2).report("a", 0, 1, Outcome::Failure, &json!({}));
    assert_eq!(play.state.outcome, None);
    play.report("a", 0, 2, Outcome::Success, &json!({})).ended(Outcome::Success, None);
}

#[test]
fn lost_leases_use_up_no_try_and_are_counted() {
    let mut play = Play::of(workflow(vec![step("a", Waits::Nothing)]));
    for attempt in 1..=3 {
        assert_eq!(play.item("a", 0).tries, 0);
        play.lease("a", 0, attempt).later(61);
    }
    play.ended(Outcome::Error, Some("step `a`: its worker was lost 3 times"));
}

#[test]
fn the_lease_of_a_dead_worker_is_lost_at_once_and_only_that_one() {
    let mut play = Play::of(workflow(vec![step("a", Waits::Nothing)]));
    play.lease("a", 0, 1);
    let lost = |attempt| RunEvent::Lost { step: id("a"), item: 0, attempt };
    assert_eq!(play.event(lost(1)).queued(), [("a".into(), 0, 2)]);
    play.lease("a", 0, 2);
    let before = play.state.clone();
    play.event(lost(1));
    assert_eq!((&play.state, play.item("a", 0).lost), (&before, 1));
}

#[test]
fn renewing_keeps_a_lease() {
    let mut play = Play::of(workflow(vec![step("a", Waits::Nothing)]));
    play.lease("a", 0, 1);
    for _ in 0..8 {
        let until = at(play.now + 100);
        play.later(40).event(RunEvent::Renewed { step: id("a"), item: 0, attempt: 1, until });
    }
    assert!(play.state.holds(&id("a"), 0, 1));
    assert_eq!(play.item("a", 0).lost, 0);
}

#[test]
fn a_worker_that_renews_for_ever_is_ended() {
    let mut play = Play::of(workflow(vec![step("a", Waits::Nothing)]));
    play.lease("a", 0, 1).event(RunEvent::Renewed { step: id("a"), item: 0, attempt: 1, until: at(99_999) });
    assert_eq!(play.later(659).state.outcome, None);
    play.later(1).ended(Outcome::TimedOut, Some("step `a`: longer than 10m"));
    assert!(play.effects.contains(&Effect::Stop { step: id("a"), item: 0, attempt: 1 }));
}

#[test]
fn time_in_the_queue_does_not_count() {
    let mut flow = workflow(vec![step("a", Waits::Nothing), step("b", above("a"))]);
    flow.timeout = Length::from_secs(100);
    let mut play = Play::of(flow);
    play.later(5_000).lease("a", 0, 1).later(50).report("a", 0, 1, Outcome::Success, &json!({}));
    assert_eq!(play.later(5_000).state.cancel, None);
    play.lease("b", 0, 1);
    play.event(RunEvent::Renewed { step: id("b"), item: 0, attempt: 1, until: at(99_999) });
    assert_eq!(play.later(49).state.cancel, None);
    play.later(1);
    assert!(play.effects.contains(&Effect::Stop { step: id("b"), item: 0, attempt: 1 }));
    play.report("b", 0, 1, Outcome::Cancelled, &json!({}));
    play.ended(Outcome::TimedOut, Some("the run took longer than 1m40s"));
}

#[test]
fn a_cancelled_run_starts_nothing_and_waits_for_what_runs() {
    let steps = vec![step("a", Waits::Nothing), step("b", Waits::Nothing), step("c", needs(&["a", "b"]))];
    let mut play = Play::of(workflow(steps));
    play.lease("a", 0, 1).cancel();
    assert!(play.effects.contains(&Effect::Stop { step: id("a"), item: 0, attempt: 1 }));
    assert!(play.effects.contains(&Effect::Unqueue { step: id("b"), item: 0 }));
    assert!(play.state.is_stopping(&id("a"), 0));
    assert_eq!(play.state.outcome, None);
    play.report("a", 0, 1, Outcome::Cancelled, &json!({})).ended(Outcome::Cancelled, Some("not now"));
}

#[test]
fn a_worker_that_does_not_stop_is_not_waited_for() {
    let mut play = Play::of(workflow(vec![step("a", Waits::Nothing)]));
    play.lease("a", 0, 1).event(RunEvent::Renewed { step: id("a"), item: 0, attempt: 1, until: at(9_999) });
    assert_eq!(play.cancel().later(119).state.outcome, None);
    play.later(1).ended(Outcome::Cancelled, Some("not now"));
}

#[test]
fn what_succeeded_before_the_cancel_took_hold_has_succeeded() {
    let mut play = Play::of(workflow(vec![step("a", Waits::Nothing)]));
    play.lease("a", 0, 1)
        .cancel()
        .report("a", 0, 1, Outcome::Success, &json!({}))
        .ended(Outcome::Success, None);
}

#[test]
fn on_failure_runs_after_a_failure_and_has_no_say() {
    let flow = || {
        let mut flow = workflow(vec![step("a", Waits::Nothing), step("b", above("a"))]);
        flow.on_failure = Some(Box::new(step("on_failure", above("b"))));
        flow
    };
    let mut play = Play::of(flow());
    play.run("a", Outcome::Failure);
    assert_eq!(play.queued(), [("on_failure".into(), 0, 1)]);
    play.run("on_failure", Outcome::Failure).ended(Outcome::Failure, Some("step `a`"));

    let mut play = Play::of(flow());
    play.run("a", Outcome::Success).run("b", Outcome::Success).ended(Outcome::Success, None);
    assert!(!play.state.steps.contains_key(&id("on_failure")));

    let mut play = Play::of(flow());
    play.lease("a", 0, 1).cancel().report("a", 0, 1, Outcome::Cancelled, &json!({}));
    play.ended(Outcome::Cancelled, Some("not now"));
    play.steps(&[
        ("a", Some(Outcome::Cancelled)),
        ("b", Some(Outcome::Cancelled)),
        ("on_failure", Some(Outcome::Cancelled)),
    ]);

    let mut play = Play::of(flow());
    play.run("a", Outcome::Failure).lease("on_failure", 0, 1).cancel();
    play.report("on_failure", 0, 1, Outcome::Cancelled, &json!({})).ended(Outcome::Failure, Some("step `a`"));
}

#[test]
fn on_failure_runs_after_the_run_timed_out() {
    let mut flow = workflow(vec![step("a", Waits::Nothing)]);
    flow.timeout = Length::from_secs(30);
    flow.on_failure = Some(Box::new(step("on_failure", Waits::Nothing)));
    let mut play = Play::of(flow);
    play.lease("a", 0, 1).later(30).report("a", 0, 1, Outcome::Cancelled, &json!({}));
    assert_eq!(play.queued(), [("on_failure".into(), 0, 1)]);
    play.lease("on_failure", 0, 1).later(40).report("on_failure", 0, 1, Outcome::Success, &json!({}));
    play.ended(Outcome::TimedOut, Some("the run took longer than 30s"));
}

fn fan_out(items: &str, max_parallel: u32) -> Workflow {
    let mut pull = step("pull", Waits::Nothing);
    pull.outputs = BTreeMap::from([("list".parse().expect("a name"), ValueType::List)]);
    let mut load = step("load", above("pull"));
    load.for_each = Some(ForEach { items: items.into(), item_key: Some("item.id".into()), max_parallel });
    load.with = Some(BTreeMap::from([("customer".parse().expect("a name"), json!("${{ item.id }}"))]));
    let mut sum = step("sum", above("load"));
    sum.with = Some(BTreeMap::from([("all".parse().expect("a name"), json!("${{ steps.load.outputs }}"))]));
    workflow(vec![pull, load, sum])
}

#[test]
fn a_for_each_runs_its_items_a_few_at_a_time() {
    let mut play = Play::of(fan_out("${{ steps.pull.outputs.list }}", 2));
    let list = json!({"list": [{"id": "x"}, {"id": "y"}, {"id": "z"}]});
    play.lease("pull", 0, 1).report("pull", 0, 1, Outcome::Success, &list);
    assert_eq!(play.queued(), [("load".into(), 0, 1), ("load".into(), 1, 1)]);
    play.lease("load", 1, 1).report("load", 1, 1, Outcome::Success, &json!({"n": 1}));
    assert_eq!(play.queued(), [("load".into(), 2, 1)]);
    assert_eq!(
        (play.item("load", 2).input.clone(), play.item("load", 2).key.as_str()),
        (json!({"customer": "z"}), "z")
    );
    for item in [2, 0] {
        play.lease("load", item, 1).report("load", item, 1, Outcome::Success, &json!({"n": item}));
    }
    assert_eq!(play.item("sum", 0).input, json!({"all": [{"n": 0}, {"n": 1}, {"n": 2}]}), "in item order");
    assert_eq!(
        idempotency_key(&play.pins, &id("load"), "z"),
        "run_0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11/load/z"
    );
}

#[test]
fn one_failed_item_fails_the_step_after_the_others_ran() {
    let mut play = Play::of(fan_out("steps.pull.outputs.list", 1));
    play.lease("pull", 0, 1).report(
        "pull",
        0,
        1,
        Outcome::Success,
        &json!({"list": [{"id": "x"}, {"id": "y"}]}),
    );
    play.lease("load", 0, 1).report("load", 0, 1, Outcome::Failure, &json!({}));
    assert_eq!(play.queued(), [("load".into(), 1, 1)]);
    play.lease("load", 1, 1).report("load", 1, 1, Outcome::Success, &json!({}));
    play.ended(Outcome::Failure, Some("step `load`: item 0: failed"));
}

#[test]
fn a_for_each_over_nothing_or_too_much_ends() {
    for (list, outcome, reason) in [
        (json!([]), None, None),
        (json!("text"), Some(Outcome::Failure), Some("step `pull`: its output `list` is not of type list")),
        (
            json!([{"id": 1}, {"id": 1}]),
            Some(Outcome::Failure),
            Some("step `load`: item 1: another item has the same `item_key`"),
        ),
        (json!([{}]), Some(Outcome::Failure), Some("step `load`: item 0: `item_key`: no field `id`")),
        (
            Value::Array((0..501).map(|n| json!({"id": n})).collect()),
            Some(Outcome::Failure),
            Some("step `load`: `for_each`: 501 items, at most 500 are allowed"),
        ),
    ] {
        let mut play = Play::of(fan_out("steps.pull.outputs.list", 4));
        play.lease("pull", 0, 1).report("pull", 0, 1, Outcome::Success, &json!({"list": list}));
        assert_eq!((play.state.outcome, play.state.reason.as_deref()), (outcome, reason));
    }
}

#[test]
fn a_state_is_stored_and_read_back() {
    let mut play = Play::of(fan_out("steps.pull.outputs.list", 4));
    play.lease("pull", 0, 1).report("pull", 0, 1, Outcome::Success, &json!({"list": [{"id": "x"}]}));
    let mut stored = serde_json::to_value(&play.state).expect("serialises");
    assert_eq!(serde_json::from_value::<RunState>(stored.clone()).expect("reads"), play.state);
    // As it was stored when what is empty was written too.
    let fill = |of: &mut Value, empty: Value| {
        for (name, value) in empty.as_object().expect("an object") {
            of.as_object_mut().expect("an object").entry(name).or_insert(value.clone());
        }
    };
    for step in stored["steps"].as_object_mut().expect("steps").values_mut() {
        fill(step, json!({"outcome": null, "reason": null, "ended_at": null, "blocks": false, "items": []}));
        for item in step["items"].as_array_mut().expect("items") {
            let none =
                ["outcome", "leased_at", "lease_until", "stopping_since", "retry_at", "reason", "input"];
            fill(item, none.into_iter().map(|name| (name.to_owned(), Value::Null)).collect());
            fill(item, json!({"attempt": 0, "tries": 0, "lost": 0, "outputs": {}}));
        }
    }
    assert_eq!(serde_json::from_value::<RunState>(stored).expect("reads"), play.state);
}

// --- whatever the order of events ---

/// Items of which two have the same key, which fails their step before any of them runs.
const SAME_KEYS: &str = "[1, 2, 2, 1]";

/// Workflows of one to five steps with every kind of wait, retry, condition, fan-out and `on_failure`.
fn any_workflow() -> impl Strategy<Value = Workflow> {
    let one =
        (0..4_u8, prop::collection::vec(any::<prop::sample::Index>(), 0..3), 1..4_u32, 0..9_u8, 1..3_u32);
    (prop::collection::vec(one, 1..6), any::<bool>(), 10..2_000_u64).prop_map(
        |(written, on_failure, timeout)| {
            let name = |place: usize| format!("s{place}");
            let steps =
                (0..).zip(written).map(|(place, (waits, named, attempts, kind, parallel)): (usize, _)| {
                    let waits = match waits {
                        _ if place == 0 => Waits::Nothing,
                        0 => Waits::Nothing,
                        1 | 2 => above(&name(place - 1)),
                        _ => Waits::Needs(named.iter().map(|index| id(&name(index.index(place)))).collect()),
                    };
                    let mut step = step(&name(place), waits);
                    step.retry = Retry { attempts, jitter: true, ..Retry::default() };
                    match kind {
                        0 => step.condition = Some("false".into()),
                        1 => step.condition = Some("inputs.missing".into()),
                        2 => {
                            let (items, item_key) = match attempts {
                                1 => ("[1, 2, 2]", None),
                                2 => ("[1, 2, 3]", Some("string(item)".into())),
                                _ => (SAME_KEYS, Some("string(item)".into())),
                            };
                            step.for_each =
                                Some(ForEach { items: items.into(), item_key, max_parallel: parallel })
                        }
                        3 | 4 => step.work = asks(attempts.min(2), kind == 4),
                        5 => {
                            step.work = asks(1, false);
                            step.condition = Some("false".into());
                        }
                        _ => {}
                    }
                    step
                });
            let mut flow = workflow(steps.collect());
            flow.timeout = Length::from_secs(timeout);
            flow.on_failure = on_failure.then(|| Box::new(step("on_failure", Waits::Nothing)));
            flow
        },
    )
}

/// A step that asks people, for two minutes.
pub(super) fn asks(count: u32, skip: bool) -> Work {
    let on_timeout = if skip { OnTimeout::Skip } else { OnTimeout::Reject };
    let from = vec![Approver::Role(Role::Operator)];
    Work::Approval(StepApproval { from, count, timeout: Length::from_secs(120), on_timeout })
}

/// What may arrive, sensible or not: a place, an attempt number relative to the right one, an outcome, seconds passed.
type News = (u8, prop::sample::Index, i8, u8, i64);

fn any_news() -> impl Strategy<Value = Vec<News>> {
    prop::collection::vec((0..15_u8, any::<prop::sample::Index>(), -1..2_i8, 0..7_u8, 0..90_i64), 0..60)
}

fn outcome_of(number: u8) -> Outcome {
    [
        Outcome::Success,
        Outcome::Failure,
        Outcome::Error,
        Outcome::TimedOut,
        Outcome::Cancelled,
        Outcome::Rejected,
        Outcome::Skipped,
    ][usize::from(number)]
}

fn event_of(play: &Play, (kind, place, shift, outcome, _): News) -> RunEvent {
    let places: Vec<(StepId, u32)> = play
        .state
        .steps
        .iter()
        .flat_map(|(id, step)| {
            (0..u32::try_from(step.items.len()).unwrap_or(0).max(1)).map(|item| (id.clone(), item))
        })
        .collect();
    let (step, item) = places[place.index(places.len())].clone();
    let attempt =
        play.state.item(&step, item).map_or(1, |item| item.attempt).saturating_add_signed(i32::from(shift));
    let by = Actor::User("alice".parse().expect("a name"));
    match kind {
        0..=3 => {
            RunEvent::Leased { step, item, attempt: attempt.saturating_add(1), until: at(play.now + 60) }
        }
        4..=7 => RunEvent::Completed {
            step,
            item,
            attempt,
            outcome: outcome_of(outcome),
            reason: None,
            outputs: BTreeMap::new(),
        },
        8 => RunEvent::Renewed { step, item, attempt, until: at(play.now + 60) },
        9 => RunEvent::Tick,
        10 if outcome == 0 => RunEvent::Cancel(CancelRequest {
            by,
            reason: "enough".into(),
            at: at(play.now),
            outcome: Outcome::Cancelled,
        }),
        10 => RunEvent::Tick,
        12..=14 => {
            // alice started the run, bob wrote its commit; sometimes another digest than the one shown.
            let people = ["alice", "bob", "carol", "dan", "erin", "carol", "dan"];
            let known = play.state.steps.get(&step).and_then(|known| known.approval.as_ref());
            let shown = known.map(|known| known.shown.clone()).filter(|_| shift >= 0);
            RunEvent::Decided(Decision {
                step,
                by: people[usize::from(outcome)].parse().expect("a name"),
                verdict: if kind == 14 && outcome > 4 { Verdict::Reject } else { Verdict::Approve },
                shown: shown.unwrap_or_else(|| "sha256:other".into()),
                reason: None,
                lapsed: if outcome == 3 {
                    [people[2].parse().expect("a name")].into()
                } else {
                    BTreeSet::new()
                },
            })
        }
        _ if outcome == 1 => RunEvent::Skipped { reason: "no room".into() },
        _ => RunEvent::Admitted,
    }
}

/// Checks what must hold after every event, and that the same event again changes nothing.
fn check_step(before: &RunState, play: &Play, event: &RunEvent) -> Result<(), TestCaseError> {
    let state = &play.state;
    if before.outcome.is_some() {
        prop_assert_eq!(before, state, "a run that ended stays as it is");
        prop_assert!(play.effects.is_empty());
    }
    let ends = play.effects.iter().filter(|effect| matches!(effect, Effect::Ended { .. })).count();
    prop_assert_eq!(ends, usize::from(before.outcome.is_none() && state.outcome.is_some()));
    prop_assert_eq!(state.phase == Phase::Ended, state.outcome.is_some());
    let wakes = play.effects.iter().filter(|effect| matches!(effect, Effect::WakeAt { .. })).count();
    prop_assert!(wakes <= 1);
    for (id, step) in &state.steps {
        let declared = play.pins.workflow.step(id).expect("declared");
        prop_assert_eq!(step.phase == Phase::Ended, step.outcome.is_some());
        if let Work::Approval(asked) = &declared.work {
            check_approval(before, play, id, step, asked)?;
        }
        let active =
            step.items.iter().filter(|item| matches!(item.phase, Phase::Queued | Phase::Running)).count();
        let parallel = declared.for_each.as_ref().map_or(1, |each| each.max_parallel);
        prop_assert!(active <= usize::try_from(parallel).expect("small"));
        let keys: BTreeSet<&str> = step.items.iter().map(|item| item.key.as_str()).collect();
        if declared.for_each.as_ref().is_some_and(|each| each.item_key.is_some()) {
            prop_assert_eq!(keys.len(), step.items.len(), "each item has a key of its own");
        }
        for (item, old) in step.items.iter().zip(before.steps.get(id).map_or(&[][..], |step| &step.items)) {
            prop_assert_eq!(&item.key, &old.key, "what names an item stays");
        }
        for item in &step.items {
            prop_assert!(item.tries <= declared.retry.attempts);
            prop_assert!(item.lost <= LOST_LEASES_MAX);
            prop_assert!(item.attempt <= item.tries + item.lost + 1);
            prop_assert_eq!(item.phase == Phase::Running, item.lease_until.is_some());
            prop_assert_eq!(item.phase == Phase::Ended, item.outcome.is_some());
            prop_assert!(step.outcome.is_none() || item.outcome.is_some(), "no item outlives its step");
        }
    }
    for effect in &play.effects {
        let Effect::Queue { step, item, attempt } = effect else { continue };
        let declared = play.pins.workflow.step(step).expect("declared");
        let user_cancelled = state.cancel.as_ref().is_some_and(|cancel| cancel.outcome == Outcome::Cancelled);
        prop_assert!(!user_cancelled, "after a cancel nothing new starts");
        for needed in declared.waits.steps().iter().filter(|_| step.as_str() != "on_failure") {
            let asks = play.pins.workflow.approval(needed).is_some();
            let needed = &state.steps[needed];
            // Past an approval nothing goes but by the agreement of people.
            let past =
                if asks { needed.approval.is_some() } else { needed.outcome == Some(Outcome::Skipped) };
            prop_assert!(needed.outcome == Some(Outcome::Success) || (past && !asks));
        }
        let item = state.item(step, *item).expect("an item");
        prop_assert_eq!((item.phase, item.attempt + 1), (Phase::Queued, *attempt));
    }
    let (again, effects) = advance(&play.pins, state.clone(), event.clone(), at(play.now));
    prop_assert_eq!(&again, state, "{:?} twice", event);
    prop_assert!(effects.is_empty());
    Ok(())
}

/// Checks what must hold of a step that asks people.
fn check_approval(
    before: &RunState,
    play: &Play,
    id: &StepId,
    step: &StepState,
    asked: &StepApproval,
) -> Result<(), TestCaseError> {
    prop_assert!(step.items.is_empty(), "nothing of it is ever queued or leased");
    let people: Vec<_> =
        step.approval.iter().flat_map(|known| known.given.keys()).map(|p| p.as_str()).collect();
    prop_assert!(!people.contains(&"alice") && !people.contains(&"bob"), "{people:?}");
    match step.outcome {
        None => prop_assert!(people.len() < asked.count as usize),
        Some(Outcome::Success) => prop_assert_eq!(people.len(), asked.count as usize),
        // Whatever else ended it holds up all that waits for it.
        Some(_) => prop_assert!(step.blocks),
    }
    let old = &before.steps[id];
    if let (Some(old), Some(new)) = (&old.approval, &step.approval) {
        prop_assert_eq!((old.asked_at, old.until, &old.shown), (new.asked_at, new.until, &new.shown));
    }
    if old.outcome.is_none() && step.outcome == Some(Outcome::Success) {
        prop_assert!(
            at(play.now) < step.approval.as_ref().expect("asked").until,
            "nothing times out into it"
        );
    }
    Ok(())
}

/// Plays workers that answer, until the run ends.
fn finish(play: &mut Play) -> Result<(), TestCaseError> {
    play.event(RunEvent::Admitted);
    for _ in 0..2_000 {
        if play.state.outcome.is_some() {
            return Ok(());
        }
        let ready = play.state.steps.iter().find_map(|(id, step)| {
            let place = step.items.iter().position(|item| item.phase == Phase::Queued)?;
            Some((id.to_string(), u32::try_from(place).expect("small"), step.items[place].attempt + 1))
        });
        let running = play.state.steps.iter().find_map(|(id, step)| {
            let place = step.items.iter().position(|item| item.phase == Phase::Running)?;
            Some((id.to_string(), u32::try_from(place).expect("small"), step.items[place].attempt))
        });
        if let Some((step, item, attempt)) = ready {
            play.lease(&step, item, attempt);
        } else if let Some((step, item, attempt)) = running {
            play.report(&step, item, attempt, Outcome::Failure, &json!({}));
        } else {
            let wake = play.wake();
            prop_assert!(wake.is_some(), "nothing runs, nothing is queued, nothing is due: {:?}", play.state);
            play.now = play.now.max(wake.expect("some")) + 1;
            play.event(RunEvent::Tick);
        }
    }
    prop_assert!(false, "does not end: {:?}", play.state);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn whatever_arrives_a_run_ends_once_and_can_end(flow in any_workflow(), news in any_news(), admitted in any::<bool>()) {
        let mut play = Play::of(flow);
        play.pins.authors = ["bob".parse().expect("a name")].into();
        if !admitted {
            play.state = RunState::new(&play.pins.workflow);
        }
        for one in news {
            play.now += one.4;
            let event = event_of(&play, one);
            let before = play.state.clone();
            play.event(event.clone());
            check_step(&before, &play, &event)?;
        }
        let mut other = Play { pins: play.pins.clone(), state: play.state.clone(), effects: Vec::new(), now: play.now };
        finish(&mut play)?;
        // A cancel ends it too, without any worker answering.
        other.cancel();
        for _ in 0..20 {
            if let Some(wake) = other.wake() {
                other.now = other.now.max(wake) + 1;
                other.event(RunEvent::Tick);
            }
        }
        prop_assert!(other.state.outcome.is_some(), "a cancelled run ends: {:?}", other.state);
    }

    /// Against an oracle that knows no time, no leases and no order: each step's outcome follows from those before it.
    #[test]
    fn outcomes_are_those_of_the_oracle(flow in any_workflow(), fates in prop::collection::vec(any::<bool>(), 6), picks in prop::collection::vec(any::<prop::sample::Index>(), 300)) {
        let fate = |step: &StepId| -> bool {
            step.as_str().strip_prefix('s').is_none_or(|place| fates[place.parse::<usize>().expect("a number")])
        };
        let mut play = Play::of(flow);
        play.pins.authors = ["bob".parse().expect("a name")].into();
        for pick in picks {
            let ready: Vec<(StepId, u32, u32)> = play.state.steps.iter().flat_map(|(id, step)| {
                (0..).zip(&step.items).filter(|(_, item)| item.phase == Phase::Queued)
                    .map(|(place, item)| (id.clone(), place, item.attempt + 1)).collect::<Vec<_>>()
            }).collect();
            let asking = play.state.steps.iter().find_map(|(id, step)| Some((id.clone(), open_approval(step)?.clone())));
            if let Some((step, open)) = asking.filter(|_| ready.is_empty() || pick.index(2) == 0) {
                let by = ["alice", "bob", "carol", "dan", "erin"][pick.index(5)].parse().expect("a name");
                let verdict = if fate(&step) { Verdict::Approve } else { Verdict::Reject };
                play.event(RunEvent::Decided(Decision { step, by, verdict, shown: open.shown, reason: None, lapsed: BTreeSet::new() }));
                continue;
            }
            if !ready.is_empty() {
                let (step, item, attempt) = &ready[pick.index(ready.len())];
                let outcome = if fate(step) { Outcome::Success } else { Outcome::Failure };
                play.lease(step.as_str(), *item, *attempt).report(step.as_str(), *item, *attempt, outcome, &json!({}));
            } else if let Some(wake) = play.wake() {
                play.now = wake + 1;
                play.event(RunEvent::Tick);
            }
        }
        // `true` for a step that holds up what waits for it.
        let mut known: BTreeMap<StepId, (Outcome, bool)> = BTreeMap::new();
        for step in &play.pins.workflow.steps {
            let before: Vec<_> = step.waits.steps().iter().map(|id| known[id]).collect();
            let named = matches!(step.waits, Waits::Needs(_));
            let result = if before.iter().any(|(_, blocks)| *blocks) {
                (Outcome::Skipped, true)
            } else if named && before.iter().any(|(outcome, _)| *outcome == Outcome::Skipped) {
                (Outcome::Skipped, play.pins.workflow.approval(&step.id).is_some())
            } else {
                let asks = play.pins.workflow.approval(&step.id).is_some();
                match step.condition.as_deref() {
                    Some("false") => (Outcome::Skipped, asks),
                    Some(_) => (Outcome::Failure, true),
                    None if step.for_each.as_ref().is_some_and(|each| each.items == SAME_KEYS) => {
                        (Outcome::Failure, true)
                    }
                    None if fate(&step.id) => (Outcome::Success, false),
                    None if asks => (Outcome::Rejected, true),
                    None => (Outcome::Failure, true),
                }
            };
            known.insert(step.id.clone(), result);
        }
        for (id, (outcome, _)) in &known {
            prop_assert_eq!(play.state.steps[id].outcome, Some(*outcome), "{}", id);
        }
        let run = if known.values().any(|(outcome, _)| *outcome == Outcome::Failure) {
            Outcome::Failure
        } else if known.values().any(|(outcome, _)| *outcome == Outcome::Rejected) {
            Outcome::Rejected
        } else if known.values().all(|(outcome, _)| *outcome == Outcome::Skipped) {
            Outcome::Skipped
        } else {
            Outcome::Success
        };
        prop_assert_eq!(play.state.outcome, Some(run));
    }
}
