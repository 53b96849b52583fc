//! What the machine knows of a run, what can happen to it, and what follows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{Actor, FieldName, Outcome, Phase, StepId, Timestamp};

/// Everything the machine knows of one run; stored with it, changed by [`super::advance`] only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// Where the run stands.
    pub phase: Phase,
    /// How it ended; `Some` exactly in phase `ended`, and never changed again.
    pub outcome: Option<Outcome>,
    /// Why, for people: the failed step, who cancelled, why it was skipped.
    pub reason: Option<String>,
    /// When its concurrency key had room; no step is queued before.
    pub admitted_at: Option<Timestamp>,
    /// When its first attempt was leased.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Set once somebody asked for its end: nothing new starts from then on.
    pub cancel: Option<CancelRequest>,
    /// Time used so far that counts against the workflow's `timeout`: up to `counting_since`.
    pub used_millis: u64,
    /// Since when an attempt is running without a pause; `None` while all wait.
    pub counting_since: Option<Timestamp>,
    /// Its steps, `on_failure` included once it is needed.
    pub steps: BTreeMap<StepId, StepState>,
    /// What the run before did and this one need not do again; each entry goes when its step begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<super::Kept>,
}

/// Who asked for the end of a run, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// Who.
    pub by: Actor,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
    /// What the run will end as: `cancelled`, or `timed_out` when its own time is over.
    pub outcome: Outcome,
}

/// One step of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepState {
    /// Where it stands.
    pub phase: Phase,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why it was skipped or ended so.
    pub reason: Option<String>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Whether what waits for it, by name or by order, is skipped too: set by a failure, not by its own `if`.
    pub blocks: bool,
    /// Its one item, or one for each item of a `for_each`. Empty until it is ready.
    pub items: Vec<ItemState>,
}

/// One item of a step: the chain of its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemState {
    /// Where it stands.
    pub phase: Phase,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// The fencing token of the latest lease; 0 before the first.
    pub attempt: u32,
    /// Attempts that used up `retry.attempts`; a lost lease does not.
    pub tries: u32,
    /// Leases that were lost; at most [`super::LOST_LEASES_MAX`].
    pub lost: u32,
    /// While running: when it was leased.
    pub leased_at: Option<Timestamp>,
    /// While running: when the lease ends.
    pub lease_until: Option<Timestamp>,
    /// While running: since when its end is asked for.
    pub stopping_since: Option<Timestamp>,
    /// While waiting for a retry: when it is queued again.
    pub retry_at: Option<Timestamp>,
    /// Why it ended so, for people.
    pub reason: Option<String>,
    /// Its input as JSON, expressions rendered.
    pub input: Value,
    /// What names it in idempotency keys: the digest of the item, or its `item_key`.
    pub key: String,
    /// What it wrote, redacted, at most 64 KiB; only after success.
    pub outputs: BTreeMap<FieldName, Value>,
}

/// Something that happened to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "event")]
pub enum RunEvent {
    /// Its concurrency key has room, or it has none: steps may be queued.
    Admitted,
    /// Its concurrency key has no room and `on_limit` is `skip`, or its workflow went away while it waited.
    Skipped {
        /// Why.
        reason: String,
    },
    /// A worker took an attempt. `attempt` must be the item's latest plus one.
    Leased {
        /// Which step.
        step: StepId,
        /// Which item, 0 for a step without `for_each`.
        item: u32,
        /// The new fencing token.
        attempt: u32,
        /// When the lease ends.
        until: Timestamp,
    },
    /// A worker is still at it.
    Renewed {
        /// Which step.
        step: StepId,
        /// Which item.
        item: u32,
        /// Its fencing token; a stale one changes nothing.
        attempt: u32,
        /// The new end.
        until: Timestamp,
    },
    /// An attempt ended.
    Completed {
        /// Which step.
        step: StepId,
        /// Which item.
        item: u32,
        /// Its fencing token; a stale one changes nothing.
        attempt: u32,
        /// How.
        outcome: Outcome,
        /// Why, for people.
        reason: Option<String>,
        /// What it wrote.
        outputs: BTreeMap<FieldName, Value>,
    },
    /// The worker of an attempt is known to be dead: its lease is lost before its end.
    Lost {
        /// Which step.
        step: StepId,
        /// Which item.
        item: u32,
        /// Its fencing token; a stale one changes nothing.
        attempt: u32,
    },
    /// Time has passed: retries come due, leases run out, timeouts end.
    Tick,
    /// Somebody asks for the end.
    Cancel(CancelRequest),
}

/// What follows from an event. Stored with the new state, carried out after it, harmless when done twice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "effect")]
pub enum Effect {
    /// An item can be leased: its next attempt is `attempt`.
    Queue {
        /// Which step.
        step: StepId,
        /// Which item.
        item: u32,
        /// The fencing token that the lease will have.
        attempt: u32,
    },
    /// An item is queued no more.
    Unqueue {
        /// Which step.
        step: StepId,
        /// Which item.
        item: u32,
    },
    /// The worker of this attempt ends it, with the cancel grace.
    Stop {
        /// Which step.
        step: StepId,
        /// Which item.
        item: u32,
        /// The fencing token.
        attempt: u32,
    },
    /// [`RunEvent::Tick`] is due then, at the latest.
    WakeAt {
        /// When.
        at: Timestamp,
    },
    /// The run ended: its concurrency key is free, whoever watches is told.
    Ended {
        /// How.
        outcome: Outcome,
    },
}
