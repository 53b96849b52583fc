//! What a run was given and wrote, once it is over.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::domain::{Length, PAYLOADS_KEPT, PayloadDropped, PayloadState};
use crate::run::Payload;

const RECIPIENT: &str = "age1recipient";

/// Encrypts so that a test can look inside and a search for the text finds nothing.
fn seal(store: &Tested) {
    store.seal_with(Arc::new(|recipients, payload, _| {
        (recipients == [RECIPIENT]).then(|| hex::encode(payload))
    }));
}

fn opened(text: &str) -> Payload {
    serde_json::from_slice(&hex::decode(text).unwrap()).unwrap()
}

async fn apply_with(store: &Tested, recipients: &[&str], kept: Option<Length>, flow: &Workflow) {
    let mut next = state(std::slice::from_ref(flow));
    next.settings.recipients = recipients.iter().map(|text| (*text).to_owned()).collect();
    next.settings.retention.payloads = kept;
    apply(store, "acme", 1, next).await;
}

/// Runs the two steps of a hook's run; the first writes a canary, the second ends as is said.
async fn play(store: &Tested, flow: &Workflow, number: u64, last: Outcome) {
    let actual = now_of(store, "acme").await;
    let mut asked = pins(&tenant_id("acme"), flow, number, START);
    asked.body = json!({"order": "canary-body"});
    let permit = right::<Start>("carol", &actual, START);
    store.start(&permit, asked, entry("run.started", START)).await.unwrap();
    let lease = claim(store, 1, at(1)).await.remove(0);
    let mut said = report(Outcome::Success);
    said.outputs = [("note".parse().unwrap(), json!("canary-output"))].into();
    let next = store.complete(&lease.permit, &lease.attempt, said, at(2)).await.unwrap().unwrap();
    let shown = show(store, number, at(2)).await;
    assert_eq!(shown.payload, None, "it is under way");
    assert!(text(&shown).contains("canary-output"), "and stands in clear");
    complete(store, &next, last, at(3)).await;
}

fn text<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap()
}

/// Everything of a run that can be read of the store.
async fn everything(store: &Tested, number: u64) -> String {
    let actual = now_of(store, "acme").await;
    let permit = right::<Start>("carol", &actual, START);
    let pins = store.pins(&permit, &run_id(number)).await.unwrap();
    let state = store.progress(&permit, &run_id(number)).await.unwrap();
    text(&*pins) + &text(&state) + &text(&show(store, number, START).await)
}

async fn sealed(store: &Tested, number: u64) -> Option<String> {
    let permit = right::<Start>("carol", &now_of(store, "acme").await, START);
    store.payload(&permit, &run_id(number)).await.unwrap()
}

pub(super) async fn a_run_that_ends_leaves_nothing_in_clear(store: Tested) {
    seal(&store);
    let w = workflow("w", &["one", "two"]);
    apply_with(&store, &[RECIPIENT], None, &w).await;
    play(&store, &w, 1, Outcome::Failure).await;
    let all = everything(&store, 1).await;
    assert!(!all.contains("canary"), "{all}");
    let until = at(3) + PAYLOADS_KEPT;
    assert_eq!(show(&store, 1, at(3)).await.payload, Some(PayloadState::Sealed { until }));
    let payload = opened(&sealed(&store, 1).await.unwrap());
    assert_eq!((payload.run.clone(), payload.body.clone()), (run_id(1), json!({"order": "canary-body"})));
    assert!(text(&payload).contains("canary-output"));
    assert_eq!(store.sweep(10, at(3)).await.unwrap(), Swept::default(), "nothing is left for a sweep");
}

pub(super) async fn without_a_recipient_it_is_dropped(store: Tested) {
    seal(&store);
    let w = workflow("w", &["one", "two"]);
    apply_with(&store, &[], None, &w).await;
    play(&store, &w, 1, Outcome::Failure).await;
    let why = PayloadDropped::NoRecipient;
    assert_eq!(show(&store, 1, at(3)).await.payload, Some(PayloadState::Dropped { why }));
    assert_eq!(sealed(&store, 1).await, None);
    let all = everything(&store, 1).await;
    assert!(!all.contains("canary"), "{all}");

    let w = workflow("v", &["one", "two"]);
    apply_with(&store, &["age1other"], None, &w).await;
    play(&store, &w, 2, Outcome::Success).await;
    let why = PayloadDropped::NotEncrypted;
    assert_eq!(show(&store, 2, at(3)).await.payload, Some(PayloadState::Dropped { why }));
    assert!(!everything(&store, 2).await.contains("canary"));
}

pub(super) async fn what_ended_before_is_closed_by_a_sweep(store: Tested) {
    let w = workflow("w", &["one", "two"]);
    apply_with(&store, &[RECIPIENT], None, &w).await;
    for number in [1, 2] {
        play(&store, &w, number, Outcome::Success).await;
    }
    assert!(everything(&store, 1).await.contains("canary-body"));
    assert_eq!(store.sweep(10, at(5)).await.unwrap(), Swept::default(), "nobody encrypts here yet");
    seal(&store);
    assert_eq!(store.sweep(1, at(6)).await.unwrap(), Swept { closed: 1, expired: 0, more: true });
    assert_eq!(store.sweep(10, at(6)).await.unwrap(), Swept { closed: 1, expired: 0, more: true });
    assert_eq!(store.sweep(10, at(6)).await.unwrap(), Swept::default());
    for number in [1, 2] {
        let all = everything(&store, number).await;
        assert!(!all.contains("canary"), "{all}");
        assert!(text(&opened(&sealed(&store, number).await.unwrap())).contains("canary-output"));
    }
}

pub(super) async fn a_payload_goes_when_its_time_is_over(store: Tested) {
    seal(&store);
    let w = workflow("w", &["one", "two"]);
    apply_with(&store, &[RECIPIENT], Some(Length::from_secs(60)), &w).await;
    play(&store, &w, 1, Outcome::Failure).await;
    let until = at(63);
    assert_eq!(show(&store, 1, at(3)).await.payload, Some(PayloadState::Sealed { until }));
    assert_eq!(store.sweep(10, at(62)).await.unwrap(), Swept::default());
    assert_eq!(store.sweep(10, until).await.unwrap(), Swept { closed: 0, expired: 1, more: true });
    assert_eq!(sealed(&store, 1).await, None);
    let why = PayloadDropped::Expired;
    assert_eq!(show(&store, 1, at(3)).await.payload, Some(PayloadState::Dropped { why }));
}

pub(super) async fn a_rerun_keeps_what_its_payload_brings_back(store: Tested) {
    let sealing = Arc::new(AtomicBool::new(true));
    let w = workflow("w", &["one", "two"]);
    let on = Arc::clone(&sealing);
    store.seal_with(Arc::new(move |_, payload, _| on.load(Ordering::SeqCst).then(|| hex::encode(payload))));
    apply_with(&store, &[RECIPIENT], None, &w).await;
    play(&store, &w, 1, Outcome::Failure).await;
    let rerun = async |number, payload| {
        let mut asked = pins(&tenant_id("acme"), &w, number, at(10));
        asked.trigger.kind = TriggerKind::Rerun;
        asked.keeps = Some(run_id(1));
        let permit = right::<Start>("carol", &now_of(&store, "acme").await, at(10));
        store.rerun(&permit, asked, payload, entry("run.started", at(10))).await
    };
    let error = rerun(2, None).await.unwrap_err();
    assert!(error.to_string().contains("cannot keep `one`"), "{error}");
    let payload = opened(&sealed(&store, 1).await.unwrap());
    let other = Payload { run: run_id(9), ..payload.clone() };
    refused(rerun(2, Some(other)).await, "refused");
    rerun(2, Some(payload)).await.unwrap();
    let lease = claim(&store, 1, at(11)).await.remove(0);
    assert_eq!(lease.attempt.step.as_str(), "two", "the first was kept");
}
