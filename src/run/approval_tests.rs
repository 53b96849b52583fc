use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::samples::{at, step, workflow};
use super::tests::{Play, above, asks, id, needs};
use super::*;
use crate::domain::{Length, Outcome, Phase, Step, ValueType, Waits, Work, Workflow};

/// `pull`, then people, then `load`.
fn flow(count: u32) -> Workflow {
    let mut pull = step("pull", Waits::Nothing);
    pull.outputs = BTreeMap::from([("count".parse().expect("a name"), ValueType::Int)]);
    let check = Step { work: asks(count, false), ..step("check", above("pull")) };
    workflow(vec![pull, check, step("load", above("check"))])
}

impl Play {
    /// To the point where people are asked.
    fn asking(workflow: Workflow) -> Self {
        let mut play = Self::of(workflow);
        play.pins.authors = ["bob".parse().expect("a name")].into();
        play.lease("pull", 0, 1).report("pull", 0, 1, Outcome::Success, &json!({"count": 2}));
        play
    }
    fn decision(&self, by: &str, verdict: Verdict) -> Decision {
        let shown = self.state.steps[&id("check")].approval.as_ref().map(|asked| asked.shown.clone());
        Decision {
            step: id("check"),
            by: by.parse().expect("a name"),
            verdict,
            shown: shown.unwrap_or_default(),
            reason: None,
            lapsed: BTreeSet::new(),
        }
    }
    fn approve(&mut self, by: &str) -> &mut Self {
        let decision = self.decision(by, Verdict::Approve);
        self.event(RunEvent::Decided(decision))
    }
    #[track_caller]
    fn refuses(&mut self, decision: Decision, want: &str) {
        let refused = refused(&self.pins, &self.state, &decision, at(self.now)).expect(want);
        assert_eq!(refused.to_string(), want);
        let before = self.state.clone();
        self.event(RunEvent::Decided(decision));
        assert_eq!((&before, self.effects.len()), (&self.state, 0));
    }
}

#[test]
fn what_waits_for_people_goes_on_when_they_agree() {
    let mut play = Play::asking(flow(2));
    assert_eq!((play.queued(), play.state.phase), (vec![], Phase::Waiting));
    assert!(play.wake().is_some(), "the time to answer runs out");
    assert_eq!(goes_on(&play.pins, &play.state), None, "it waits for people and for nothing else");
    assert_eq!(play.approve("carol").queued(), []);
    assert_eq!(play.state.outcome, None);
    assert_eq!(play.approve("dan").queued(), [("load".into(), 0, 1)]);
    assert_eq!(play.state.steps[&id("check")].reason.as_deref(), Some("approved by `carol`, `dan`"));
    play.run("load", Outcome::Success).ended(Outcome::Success, None);
}

#[test]
fn an_answer_counts_once_for_one_run_and_what_it_shows_and_never_of_the_starter_or_author() {
    let mut play = Play::asking(flow(2));
    let other = Decision { shown: "sha256:0".into(), ..play.decision("carol", Verdict::Approve) };
    play.refuses(other, "what you were shown is not what step `check` asks: look at it again, then answer");
    let (alice, bob) = (play.decision("alice", Verdict::Approve), play.decision("bob", Verdict::Approve));
    play.refuses(alice, "`alice` started this run: somebody else has to approve it");
    play.refuses(bob, "`bob` wrote the commit of this run: somebody else has to approve it");
    let elsewhere = Decision { step: id("pull"), ..play.decision("carol", Verdict::Approve) };
    play.refuses(elsewhere, "step `pull` asks nobody for an approval");
    play.approve("carol");
    let again = play.decision("carol", Verdict::Approve);
    play.refuses(again, "`carol` has approved it already");
    // Who may not answer any more counts no more.
    let dan = Decision {
        lapsed: ["carol".parse().expect("a name")].into(),
        ..play.decision("dan", Verdict::Approve)
    };
    play.event(RunEvent::Decided(dan));
    assert_eq!(play.state.steps[&id("check")].outcome, None);
    play.approve("erin");
    let late = play.decision("carol", Verdict::Approve);
    play.refuses(late, "step `check` is over already: success");
    // The same step of another run, or after other outputs, shows another digest.
    let shown = |count: i64, run: u128| {
        let mut other = Play::of(flow(1));
        other.pins.id = crate::domain::RunId::from_uuid(uuid::Uuid::from_u128(run));
        other.lease("pull", 0, 1).report("pull", 0, 1, Outcome::Success, &json!({"count": count}));
        other.state.steps[&id("check")].approval.clone().expect("asked").shown
    };
    assert_eq!(shown(2, 1), shown(2, 1));
    assert_ne!(shown(2, 1), shown(3, 1));
    assert_ne!(shown(2, 1), shown(2, 2));
}

#[test]
fn before_its_turn_nobody_can_agree() {
    let mut play = Play::of(flow(1));
    let early = play.decision("carol", Verdict::Approve);
    play.refuses(early, "step `check` does not ask yet: what stands before it is not over");
}

#[test]
fn a_no_ends_it_and_all_that_waits_by_name_or_order() {
    let mut flow = flow(1);
    flow.steps.push(step("side", Waits::Nothing));
    flow.steps.push(step("after", needs(&["check"])));
    flow.on_failure = Some(Box::new(step("on_failure", Waits::Nothing)));
    let mut play = Play::asking(flow);
    play.run("side", Outcome::Success);
    // The starter and the author may say no.
    let no = Decision { reason: Some("wrong day".into()), ..play.decision("bob", Verdict::Reject) };
    play.event(RunEvent::Decided(no));
    let (good, skipped) = (Some(Outcome::Success), Some(Outcome::Skipped));
    let rejected = Some(Outcome::Rejected);
    play.steps(&[("pull", good), ("check", rejected), ("load", skipped), ("after", skipped), ("side", good)]);
    play.ended(Outcome::Rejected, Some("step `check`: rejected by `bob`: wrong day"));
}

#[test]
fn nothing_times_out_into_approval() {
    for (skip, step, run, said) in [
        (false, Outcome::Rejected, Outcome::Rejected, Some("step `check`: 1 of 2 approved it within 2m")),
        (true, Outcome::Skipped, Outcome::Success, None),
    ] {
        let mut flow = flow(2);
        flow.steps[1].work = asks(2, skip);
        let mut play = Play::asking(flow);
        assert_eq!(play.wake(), Some(120));
        play.approve("carol").later(119);
        assert_eq!(play.state.outcome, None);
        play.now += 1;
        // The last moment is outside: an answer that comes with it does not count, and the tick ends it.
        let late = play.decision("dan", Verdict::Approve);
        play.refuses(late, "the time to approve step `check` is over");
        play.event(RunEvent::Tick).ended(run, said);
        assert_eq!(play.state.steps[&id("check")].outcome, Some(step));
        assert_eq!(play.state.steps[&id("load")].outcome, Some(Outcome::Skipped));
    }
}

#[test]
fn one_skipped_by_its_if_holds_up_all_the_same() {
    let mut flow = flow(1);
    flow.steps[1].condition = Some("steps.pull.outputs.count > 5".into());
    let play = Play::asking(flow);
    let skipped = Some(Outcome::Skipped);
    play.steps(&[("pull", Some(Outcome::Success)), ("check", skipped), ("load", skipped)]);
    play.ended(Outcome::Success, None);
}

#[test]
fn waiting_for_people_uses_no_time_and_no_place() {
    let mut flow = flow(1);
    flow.timeout = Length::from_secs(100);
    if let Work::Approval(asked) = &mut flow.steps[1].work {
        asked.timeout = Length::from_secs(86_400);
    }
    let mut play = Play::asking(flow);
    assert!(play.state.resting);
    play.later(50_000).approve("carol");
    assert_eq!((play.state.cancel.clone(), play.queued()), (None, vec![("load".into(), 0, 1)]));
    assert!(play.state.resting, "until it has a place again");
    play.lease("load", 0, 1);
    assert!(!play.state.resting);
    play.report("load", 0, 1, Outcome::Success, &json!({})).ended(Outcome::Success, None);
}

#[test]
fn a_run_with_more_to_do_keeps_its_place_while_people_are_asked() {
    let mut flow = flow(1);
    flow.steps.push(step("side", Waits::Nothing));
    let mut play = Play::asking(flow);
    assert!(!play.state.resting);
    play.run("side", Outcome::Success);
    assert!(play.state.resting);
}

#[test]
fn a_cancel_ends_what_waits_for_people() {
    let mut play = Play::asking(flow(1));
    play.cancel().ended(Outcome::Cancelled, Some("not now"));
    let late = play.decision("carol", Verdict::Approve);
    play.refuses(late, "step `check` is over already: cancelled");
}

#[test]
fn a_rerun_asks_again() {
    let mut play = Play::asking(flow(1));
    play.approve("carol").run("load", Outcome::Failure);
    let resumed = RunState::resuming(&play.pins.workflow, &play.pins.id, &play.state).expect("it failed");
    let mut again = Play::of(play.pins.workflow.clone());
    again.state = resumed;
    again.event(RunEvent::Admitted);
    again.steps(&[("pull", Some(Outcome::Success)), ("check", None), ("load", None)]);
    assert_eq!((again.queued(), again.state.phase), (vec![], Phase::Waiting));
    let before = &play.state.steps[&id("check")].approval.as_ref().expect("asked").shown;
    let now = &again.state.steps[&id("check")].approval.as_ref().expect("asked").shown;
    // The same run in this test, so the digest is: the run's own id stands in it.
    assert_eq!(before, now);
    again.approve("carol");
    assert_eq!(again.queued(), [("load".into(), 0, 1)]);
}
