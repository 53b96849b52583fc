//! What the machine knows of a run, what can happen to it, and what follows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{Actor, FieldName, Outcome, PayloadState, Phase, StepId, Timestamp, UserId};

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
    /// Set while nothing of it can go on before people have answered, until its next attempt is leased: it is not
    /// counted among the tenant's active runs.
    #[serde(default, skip_serializing_if = "is_false")]
    pub resting: bool,
    /// What the run before did and this one need not do again; each entry goes when its step begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<super::Kept>,
    /// Whether what its hook sent is no longer among what it pins; only once it is over.
    #[serde(default, skip_serializing_if = "is_false")]
    pub body_taken: bool,
    /// Where its payload is, once it is over; `None` while it stands here in clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadState>,
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

/// One step of a run. What is empty is left out where it is stored, since the whole is written with every move.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepState {
    /// Where it stands.
    pub phase: Phase,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Why it was skipped or ended so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Whether what waits for it, by name or by order, is skipped too: set by a failure, not by its own `if`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub blocks: bool,
    /// Its one item, or one for each item of a `for_each`. Empty until it is ready, and where people are asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<ItemState>,
    /// What people were asked and said; only in a step with `approval` whose turn has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalState>,
}

/// An approval that was asked for. It is open as long as its step is not over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalState {
    /// When its turn came.
    pub asked_at: Timestamp,
    /// When its time is over: from then on nobody can agree.
    pub until: Timestamp,
    /// Digest of what people were shown: run, step, and what the steps before it wrote.
    pub shown: String,
    /// Who has agreed, each person once.
    pub given: BTreeMap<UserId, Said>,
    /// Who said no, which ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<(UserId, Said)>,
}

/// An answer of one person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// When.
    pub at: Timestamp,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What somebody answers when he is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No: the step ends, and all that waits for it is skipped.
    Reject,
}

/// An answer to an approval. Whether its giver may give it was decided by `authz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The step that asks.
    pub step: StepId,
    /// Who answers.
    pub by: UserId,
    /// What.
    pub verdict: Verdict,
    /// The digest of what he was shown.
    pub shown: String,
    /// Why.
    pub reason: Option<String>,
    /// Those who agreed before and may not agree any more: they no longer count.
    pub lapsed: BTreeSet<UserId>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks for")]
const fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// One item of a step: the chain of its attempts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemState {
    /// Where it stands.
    pub phase: Phase,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// The fencing token of the latest lease; 0 before the first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub attempt: u32,
    /// Attempts that used up `retry.attempts`; a lost lease does not.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub tries: u32,
    /// Leases that were lost; at most [`super::LOST_LEASES_MAX`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub lost: u32,
    /// While running: when it was leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leased_at: Option<Timestamp>,
    /// While running: when the lease ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_until: Option<Timestamp>,
    /// While running: since when its end is asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopping_since: Option<Timestamp>,
    /// While waiting for a retry: when it is queued again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
    /// Why it ended so, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its input as JSON, expressions rendered.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
    /// What names it in idempotency keys: the digest of the item, or its `item_key`.
    pub key: String,
    /// What it wrote, redacted, at most 64 KiB; only after success.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<FieldName, Value>,
    /// Whether it wrote something that stands here no more; only once the run is over.
    #[serde(default, skip_serializing_if = "is_false")]
    pub outputs_taken: bool,
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
    /// Somebody answers an approval.
    Decided(Decision),
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
