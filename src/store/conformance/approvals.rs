//! Steps that ask people: who is asked, what is recorded, and what waiting costs.

use super::*;
use crate::run::Verdict;

/// Runs the first step of a run of [`asking`], so that people are asked.
async fn asked(store: &Tested, flow: &Workflow, number: u64) -> String {
    start(store, flow, number, at(1)).await;
    let lease = claim(store, 1, at(2)).await.remove(0);
    assert_eq!((&lease.attempt.run, lease.attempt.step.as_str()), (&run_id(number), "one"));
    let next = store.complete(&lease.permit, &lease.attempt, report(Outcome::Success), at(3)).await.unwrap();
    assert!(next.is_none(), "nothing is freed before somebody agrees");
    let record = store.run(&view(store).await, &run_id(number)).await.unwrap();
    assert_eq!(record.state, Phase::Waiting);
    let asking = record.steps.iter().find_map(|step| step.approval.as_ref()).unwrap();
    assert_eq!((asking.until.since(asking.asked_at).as_millis(), asking.count), (3_600_000, 1));
    asking.shown.clone()
}

async fn view(store: &Tested) -> Permit<View> {
    right("audrey", &now_of(store, "acme").await, store.now(START).await.unwrap())
}

async fn say(
    store: &Tested,
    number: u64,
    said: crate::run::Decision,
    seconds: u64,
) -> Result<bool, StoreError> {
    let permit = answer_right(said.by.as_str(), &now_of(store, "acme").await, at(seconds)).unwrap();
    store.decide_step(&permit, &run_id(number), said, entry("step.approved", at(seconds))).await
}

async fn recorded(store: &Tested) -> Vec<String> {
    let permit: Permit<ViewAccess> =
        right("audrey", &now_of(store, "acme").await, store.now(START).await.unwrap());
    let all = store.audit(&permit, 0, 1_000).await.unwrap();
    let steps = all.iter().filter(|record| record.entry.action.starts_with("step."));
    steps.map(|record| format!("{} {}", record.entry.action, record.entry.actor)).collect()
}

pub(super) async fn an_answer_is_recorded_once_and_counts_for_what_was_shown(store: Tested) {
    let flow = asking("w");
    apply(&store, "acme", 1, state(std::slice::from_ref(&flow))).await;
    apply(&store, "globex", 1, state(std::slice::from_ref(&flow))).await;
    let before = now_of(&store, "acme").await;
    let shown = asked(&store, &flow, 1).await;
    let step = "agree".parse().unwrap();
    let known = store.asked(&view(&store).await, &run_id(1), &step).await.unwrap().unwrap();
    assert_eq!((known.from.len(), known.given.len()), (1, 0));
    let none = store.asked(&view(&store).await, &run_id(1), &"one".parse().unwrap()).await.unwrap();
    assert_eq!(none, None);

    // A permit that is older than the end of a right, of another tenant, or of another person gives nothing.
    let yes = || answer("audrey", Verdict::Approve, &shown);
    let said = |permit: Permit<action::ApproveStep>, by: &str| {
        let (store, decision) = (Arc::clone(&store), answer(by, Verdict::Approve, &shown));
        async move { store.decide_step(&permit, &run_id(1), decision, entry("step.approved", at(4))).await }
    };
    let stranger = answer_right("audrey", &now_of(&store, "globex").await, at(4)).unwrap();
    refused(said(stranger, "audrey").await, "not found");
    refused(said(answer_right("audrey", &before, at(4)).unwrap(), "carol").await, "denied");
    assert!(answer_right("carol", &before, at(4)).is_err(), "an operator is not asked here");
    refused(say(&store, 1, answer("audrey", Verdict::Approve, "sha256:0"), 4).await, "refused");
    assert!(say(&store, 1, yes(), 5).await.unwrap());
    refused(say(&store, 1, yes(), 6).await, "refused");
    assert_eq!(recorded(&store).await, ["step.asked daemon:schedule", "step.approved user:carol"]);
    let record = store.run(&view(&store).await, &run_id(1)).await.unwrap();
    let step = record.steps.iter().find(|step| step.approval.is_some()).unwrap();
    let given = &step.approval.as_ref().unwrap().given;
    assert_eq!(
        (step.outcome, given[0].by.to_string(), given[0].at),
        (Some(Outcome::Success), "user:audrey".into(), at(5))
    );
    assert_eq!(claim(&store, 1, at(7)).await[0].attempt.step.as_str(), "two");

    let shown = asked(&store, &flow, 2).await;
    assert!(say(&store, 2, answer("audrey", Verdict::Reject, &shown), 8).await.unwrap());
    let record = store.run(&view(&store).await, &run_id(2)).await.unwrap();
    assert_eq!(record.outcome, Some(Outcome::Rejected));
    assert!(claim(&store, 1, at(9)).await.is_empty());
}

pub(super) async fn a_run_that_waits_for_people_holds_no_slot(store: Tested) {
    let (flow, plain) = (asking("w"), workflow("v", &["main"]));
    let mut next = state(&[flow.clone(), plain.clone()]);
    next.settings.limits.concurrency = Some(1);
    apply(&store, "acme", 1, next).await;
    let shown = asked(&store, &flow, 1).await;
    start(&store, &plain, 2, at(4)).await;
    start(&store, &plain, 3, at(4)).await;
    let other = claim(&store, 5, at(5)).await;
    assert_eq!(other.iter().map(|lease| &lease.attempt.run).collect::<Vec<_>>(), [&run_id(2)]);
    assert!(say(&store, 1, answer("audrey", Verdict::Approve, &shown), 6).await.unwrap());
    assert!(claim(&store, 5, at(7)).await.is_empty(), "it gets in line again");
    store.complete(&other[0].permit, &other[0].attempt, report(Outcome::Success), at(8)).await.unwrap();
    let next = claim(&store, 5, at(9)).await;
    assert_eq!(next.iter().map(|lease| &lease.attempt.run).collect::<Vec<_>>(), [&run_id(3)], "in its turn");
    store.complete(&next[0].permit, &next[0].attempt, report(Outcome::Success), at(10)).await.unwrap();
    let last = claim(&store, 5, at(11)).await;
    assert_eq!(
        last.iter().map(|lease| lease.attempt.to_string()).collect::<Vec<_>>(),
        [format!("{}/two#1", run_id(1))]
    );
}

pub(super) async fn nobody_answers_in_time(store: Tested) {
    let flow = asking("w");
    apply(&store, "acme", 1, state(std::slice::from_ref(&flow))).await;
    let shown = asked(&store, &flow, 1).await;
    assert_eq!(store.wake(100, at(10)).await.unwrap(), Some(at(3_603)));
    refused(say(&store, 1, answer("audrey", Verdict::Approve, &shown), 3_603).await, "refused");
    assert_eq!(store.wake(100, at(3_603)).await.unwrap(), None);
    let record = store.run(&view(&store).await, &run_id(1)).await.unwrap();
    let said = "step `agree`: nobody approved it within 1h";
    assert_eq!((record.outcome, record.reason.as_deref()), (Some(Outcome::Rejected), Some(said)));
    assert_eq!(recorded(&store).await, ["step.asked daemon:schedule", "step.timed_out daemon:schedule"]);
}
