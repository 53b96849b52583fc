//! A run as it is shown and exported: `tenantry.runs/1`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::{
    Actor, CommitId, Contact, FieldName, ObjectId, Outcome, PayloadState, Phase, RunId, RuntimeDigest,
    StepId, TenantId, Timestamp, Trigger, WorkflowId,
};

/// What the record keeps of one attempt. Facts that `why` needs, delivered and not declared; never a value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// How the process ended: `{kind, code, signal}`, kind as in design page `interfaces.md`.
    pub exit: Value,
    /// What it used: memory peak, processor time, limits hit.
    pub usage: Value,
    /// The sandbox tier, or `unsafe-none`, and what was missing.
    pub sandbox: String,
    /// `tenants/acme/stripe_api_key@v3` for every version that was delivered.
    pub secrets_used: Vec<String>,
    /// What it had to do with hosts, by host; names that its script made up are redacted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contacts: Vec<Contact>,
    /// Redaction hits per form.
    pub redactions: BTreeMap<String, u64>,
    /// Bytes of output that were stored.
    pub log_bytes: u64,
    /// SHA-256 of the stored output, hex.
    pub log_digest: Option<String>,
}

/// One run as everybody sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunRecord {
    /// Its id.
    pub id: RunId,
    /// Whose.
    pub tenant: TenantId,
    /// The workflow.
    pub workflow: WorkflowId,
    /// The tenant's environment.
    pub environment: Option<String>,
    /// The commit.
    pub commit: CommitId,
    /// The tree of the tenant's directory.
    pub tree: ObjectId,
    /// What started it.
    pub trigger: Trigger,
    /// Who started it.
    pub actor: Actor,
    /// Where it stands.
    pub state: Phase,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why, for people.
    pub reason: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its first attempt was leased.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Its attempts in the order they were leased, and steps that had none.
    pub steps: Vec<StepRecord>,
    /// Versions delivered to any attempt.
    pub secrets_used: Vec<String>,
    /// The blobs its steps could open, by path at `/repo`.
    pub scripts: BTreeMap<String, ObjectId>,
    /// The root file system that its steps run in; `None` for the worker's own system files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<RuntimeDigest>,
    /// SHA-256 of its inputs.
    pub inputs_digest: String,
    /// The run that this one repeats.
    pub rerun_of: Option<RunId>,
    /// Where what it was given and wrote is, once it is over; `None` while that stands in its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<PayloadState>,
}

/// One attempt of one step, or a step without any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step.
    pub id: StepId,
    /// The item of a `for_each`.
    pub item: Option<u32>,
    /// The attempt; 0 where there was none.
    pub attempt: u32,
    /// Where it stands.
    pub state: Phase,
    /// How it ended.
    pub outcome: Option<Outcome>,
    /// Why, for people.
    pub reason: Option<String>,
    /// How the process ended.
    pub exit: Value,
    /// When it was leased.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Bytes of output that were stored.
    pub log_bytes: u64,
    /// What people were asked and said; `None` for a step that asks nobody, and before its turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalRecord>,
    /// What it wrote, redacted.
    pub outputs: BTreeMap<FieldName, Value>,
    /// The facts kept of it.
    pub record: Option<AttemptRecord>,
}

/// What people were asked at a step, and what they said. Open while its step is not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalRecord {
    /// Roles and principals that may give it.
    pub from: Vec<String>,
    /// How many people it takes.
    pub count: u32,
    /// When it was asked for.
    pub asked_at: Timestamp,
    /// When its time is over.
    pub until: Timestamp,
    /// Digest of what they were shown: an answer names it.
    pub shown: String,
    /// How the steps before it ended and what they wrote, which is what they were shown.
    pub steps: Value,
    /// Who agreed.
    pub given: Vec<AnswerRecord>,
    /// Who said no.
    pub rejected: Option<AnswerRecord>,
}

/// One person's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerRecord {
    /// Who.
    pub by: Actor,
    /// When.
    pub at: Timestamp,
    /// Why.
    pub reason: Option<String>,
}
