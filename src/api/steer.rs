//! Doing: start, cancel, approve, pause, pin, suspend, release, revoke, wake.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::caller::Session;
use super::payload::{Before, before};
use super::{Problem, documents};
use crate::authz::{PlatformAction, action};
use crate::broker::sealed_as;
use crate::domain::{
    Actor, ActualState, FieldName, InForce, Length, Outcome, Pause, RunId, RunPins, SecretName, StepId,
    Timestamp, Trigger, TriggerKind, WorkflowId,
};
use crate::record::redactable;
use crate::run::{self, Again, Ask, CancelRequest, Decision, RunState, Verdict, pin as pin_run, repeat};
use crate::secrets::seal_fresh;
use crate::sops::{Plaintext, Recipient};
use crate::store::{PinRequest, Started};

type Answer = Result<Json<Value>, Problem>;

/// Characters of a reason.
const REASON_CHARS_MAX: usize = 500;
/// How long a pause lasts when nobody says. Source: design page `interfaces.md`.
const PAUSE: Length = Length::from_secs(24 * 3600);

fn read<T: DeserializeOwned + Default>(body: &str) -> Result<T, Problem> {
    if body.trim().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_str(body).map_err(|error| Problem::malformed(format!("the body: {error}")))
}

fn reason(text: Option<&str>) -> Result<String, Problem> {
    let text = text.unwrap_or_default().trim();
    match text.chars().count() {
        0 => Err(Problem::malformed("a reason is required")),
        count if count > REASON_CHARS_MAX => {
            Err(Problem::malformed(format!("a reason has at most {REASON_CHARS_MAX} characters")))
        }
        _ if text.chars().any(char::is_control) => {
            Err(Problem::malformed("a reason is one line without control characters"))
        }
        _ => Ok(text.to_owned()),
    }
}

fn workflow_of(actual: &ActualState, text: &str, now: Timestamp) -> Result<WorkflowId, Problem> {
    let known = actual.workflows(now);
    let id = text.parse::<WorkflowId>().ok().filter(|id| known.is_some_and(|known| known.contains_key(id)));
    id.ok_or_else(|| {
        let names: Vec<_> =
            known.into_iter().flat_map(BTreeMap::keys).map(|name| format!("`{name}`")).collect();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Problem::not_found(format!("no workflow `{text}` is applied here, only: {names}"))
    })
}

fn run_of(text: &str) -> Result<RunId, Problem> {
    text.parse().map_err(|_| Problem::not_found("there is no such run in this tenant"))
}

/// The key under which a request counts once. It belongs to tenant and caller.
fn request_key(session: &Session, headers: &HeaderMap) -> Result<String, Problem> {
    let key = match headers.get("idempotency-key") {
        None => (session.ports().ids)().to_string(),
        Some(key) => match key.to_str() {
            Ok(key) if !key.is_empty() && key.len() <= 128 => key.to_owned(),
            _ => return Err(Problem::malformed("`Idempotency-Key` has 1 to 128 visible characters")),
        },
    };
    Ok(format!("{}/{key}", session.caller.actor))
}

/// What starts a run.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct StartBody {
    #[serde(default)]
    inputs: BTreeMap<String, Value>,
    #[serde(default)]
    dry_run: bool,
}

/// Starts a workflow as it is applied.
pub(super) async fn start(
    session: Session,
    Path((tenant, workflow)): Path<(String, String)>,
    headers: HeaderMap,
    body: String,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (permit, actual) = session.permit::<action::Start>(&tenant).await?;
    let body: StartBody = read(&body)?;
    let workflow = workflow_of(&actual, &workflow, session.now)?;
    let given = body
        .inputs
        .into_iter()
        .map(|(name, value)| match name.parse::<FieldName>() {
            Ok(name) => Ok((name, value)),
            Err(error) => Err(Problem::malformed(format!("input `{name}`: {error}"))),
        })
        .collect::<Result<BTreeMap<_, _>, _>>()?;
    let key = request_key(&session, &headers)?;
    let trigger = Trigger { kind: TriggerKind::Manual, key, time: session.now };
    let pins = pins(&session, &actual, &in_force(&session, &actual)?, &workflow, &trigger, &given)?;
    if body.dry_run {
        let value = documents::would_start(&pins, &actual, None, session.now);
        return Ok((StatusCode::OK, Json(value)));
    }
    let pins = sealed(&actual, pins, session.now)?;
    let resource = format!("workflow:{workflow}");
    let entry = session.entry(Some(permit.tenant()), "run.started", resource, "by hand");
    started(session.ports().store.start(&permit, pins, entry).await?)
}

/// The pins with their sensitive inputs encrypted to the tenant's recipients, before anything of them is stored.
fn sealed(actual: &ActualState, pins: RunPins, now: Timestamp) -> Result<RunPins, Problem> {
    let values = run::sensitive_in_clear(&pins);
    if values.is_empty() {
        return Ok(run::sealed(pins, None));
    }
    let names: Vec<_> = values.keys().map(|name| format!("`{name}`")).collect();
    let names = names.join(", ");
    for (name, value) in &values {
        if let Err(why) = redactable(&Plaintext::new(value.clone().into_bytes())) {
            return Err(Problem::malformed(format!(
                "input `{name}` is sensitive and cannot be masked: {why}"
            )));
        }
    }
    let settings = actual.applied.as_ref().map(|applied| &applied.state.settings);
    let recipients: Vec<Recipient> = settings
        .iter()
        .flat_map(|settings| &settings.recipients)
        .filter_map(|text| text.parse().ok())
        .collect();
    if recipients.is_empty() {
        return Err(Problem::conflict(format!(
            "{names} is sensitive, and `{0}` has no recipient to encrypt it to: `tenantry secrets init {0}`",
            actual.tenant
        )));
    }
    let unsealed = |error: String| {
        Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_sealed",
            format!("{names} cannot be encrypted: {error}"),
        )
    };
    let (name, version) = sealed_as().ok_or_else(|| unsealed("it has no name".to_owned()))?;
    let text = serde_json::to_vec(&values).map_err(|error| unsealed(error.to_string()))?;
    let file = seal_fresh(&name, &version, &Plaintext::new(text), &recipients, now);
    let file = file.map_err(|error| unsealed(error.to_string()))?;
    Ok(run::sealed(pins, Some(file)))
}

/// What runs are made of now.
fn in_force<'a>(session: &Session, actual: &'a ActualState) -> Result<InForce<'a>, Problem> {
    actual.in_force(session.now).ok_or_else(|| Problem::conflict("nothing is applied in this tenant yet"))
}

fn pins(
    session: &Session,
    actual: &ActualState,
    code: &InForce<'_>,
    workflow: &WorkflowId,
    trigger: &Trigger,
    given: &BTreeMap<FieldName, Value>,
) -> Result<RunPins, Problem> {
    let ids = &session.ports().ids;
    pin_run(&ask(session, actual, code, workflow, trigger, given)?, RunId::from_uuid(ids()), session.now)
        .map_err(|error| Problem::malformed(error.to_string()))
}

fn ask<'a>(
    session: &'a Session,
    actual: &'a ActualState,
    code: &'a InForce<'a>,
    workflow: &'a WorkflowId,
    trigger: &'a Trigger,
    given: &'a BTreeMap<FieldName, Value>,
) -> Result<Ask<'a>, Problem> {
    let nothing = || Problem::conflict("nothing is applied in this tenant yet");
    let tree = code.tree.ok_or_else(nothing)?;
    Ok(Ask {
        tenant: &actual.tenant,
        incarnation: actual.incarnation,
        state: &code.state,
        revoked: &actual.revoked,
        commit: code.commit,
        authors: code.authors,
        tree,
        generation: actual.generation,
        workflow,
        trigger,
        actor: &session.caller.actor,
        body: &Value::Null,
        given,
    })
}

fn started(started: Started) -> Result<(StatusCode, Json<Value>), Problem> {
    let (status, run, known) = match started {
        Started::Queued(run) => (StatusCode::CREATED, run, false),
        Started::Known(run) => (StatusCode::OK, run, true),
        Started::Skipped(reason) => return Err(Problem::conflict(format!("not started: {reason}"))),
    };
    Ok((status, Json(json!({ "schema": "tenantry.started/1", "run": run, "known": known }))))
}

/// How a run is run again.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RerunBody {
    /// `applied` takes the code now in force, nothing the run's own commit.
    at: Option<String>,
    /// What succeeded is kept.
    #[serde(default)]
    failed: bool,
    /// What was done counts as not done in the outside world.
    #[serde(default)]
    new_key: bool,
    #[serde(default)]
    dry_run: bool,
}

/// Runs a run again, at its own commit or with the code in force; all of it, or what failed.
///
/// At its own commit also when the workflow is gone: what it may reach is the lesser of both all the same.
pub(super) async fn rerun(
    session: Session,
    Path((tenant, run)): Path<(String, String)>,
    headers: HeaderMap,
    body: String,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let (permit, actual) = session.permit::<action::Start>(&tenant).await?;
    let body: RerunBody = read(&body)?;
    let run = run_of(&run)?;
    let store = &session.ports().store;
    let pinned = store.pins(&permit, &run).await?;
    let Before { pins: before, state, payload } = before(&session, &permit, pinned, body.failed).await?;
    let key = request_key(&session, &headers)?;
    let trigger = Trigger { kind: TriggerKind::Rerun, key, time: session.now };
    let code = in_force(&session, &actual)?;
    let again = Again { failed: body.failed, new_key: body.new_key };
    let pins = match body.at.as_deref() {
        Some("applied") if before.sealed.is_some() => {
            return Err(Problem::conflict(
                "this run has sensitive inputs, which go with its own code: leave out `at`, or start it anew",
            ));
        }
        Some("applied") => {
            let workflow = workflow_of(&actual, before.workflow_id().as_str(), session.now)?;
            let ask = ask(&session, &actual, &code, &workflow, &trigger, &before.inputs)?;
            let ask = Ask { body: &before.body, ..ask };
            let run = pin_run(&ask, RunId::from_uuid((session.ports().ids)()), session.now);
            again.chained(&before, run.map_err(|error| Problem::malformed(error.to_string()))?)
        }
        None => {
            let nothing = BTreeMap::new();
            let ask = ask(&session, &actual, &code, before.workflow_id(), &trigger, &nothing)?;
            repeat(&before, &ask, again, RunId::from_uuid((session.ports().ids)()), session.now)
        }
        Some(other) => return Err(Problem::malformed(format!("`at` is `applied`, not `{other}`"))),
    };
    let differs = documents::code(&before, &code);
    if body.dry_run {
        let kept = match body.failed.then(|| RunState::resuming(&pins.workflow, &run, &state)) {
            None => None,
            Some(Ok(state)) => state.kept,
            Some(Err(nothing)) => return Err(Problem::conflict(nothing.to_string())),
        };
        let would = documents::would_start(&pins, &actual, kept.as_ref(), session.now);
        return Ok((StatusCode::OK, Json(with_code(would, differs))));
    }
    let how = match (body.failed, body.new_key) {
        (false, false) => "again",
        (true, false) => "again, what failed",
        (false, true) => "again, with a new key",
        (true, true) => "again, what failed, with a new key",
    };
    let mut entry = session.entry(Some(permit.tenant()), "run.started", format!("run:{run}"), how);
    entry.commit = Some(pins.commit.clone());
    let (status, Json(document)) = started(store.rerun(&permit, pins, payload, entry).await?)?;
    Ok((status, Json(with_code(document, differs))))
}

fn with_code(mut document: Value, code: Value) -> Value {
    document["code"] = code;
    document
}

/// A reason, and where it applies an end.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReasonBody {
    reason: Option<String>,
    until: Option<Timestamp>,
}

impl ReasonBody {
    /// The pause it asks for; ends by itself after a day if nobody says when.
    fn pause(self, now: Timestamp) -> Result<Pause, Problem> {
        let until = self.until.unwrap_or(now + PAUSE);
        if until <= now {
            return Err(Problem::malformed("`until` lies in the past"));
        }
        Ok(Pause { reason: reason(self.reason.as_deref())?, until: Some(until) })
    }
}

/// Asks for the end of a run.
pub(super) async fn cancel(
    session: Session,
    Path((tenant, run)): Path<(String, String)>,
    body: String,
) -> Answer {
    let (permit, _) = session.permit::<action::Cancel>(&tenant).await?;
    let body: ReasonBody = read(&body)?;
    let run = run_of(&run)?;
    let text =
        body.reason.as_deref().map_or(Ok("cancelled by hand".to_owned()), |text| reason(Some(text)))?;
    let request = CancelRequest {
        by: session.caller.actor.clone(),
        reason: text.clone(),
        at: session.now,
        outcome: Outcome::Cancelled,
    };
    let mut entry = session.entry(Some(permit.tenant()), "run.cancelled", format!("run:{run}"), &text);
    entry.run = Some(run.clone());
    session.ports().store.cancel(&permit, &run, request, entry).await?;
    done("cancelled")
}

/// An answer to an approval.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerBody {
    /// The digest of what was shown, as the run's record has it.
    shown: Option<String>,
    reason: Option<String>,
}

/// Agrees to what a step asks.
pub(super) async fn approve(
    session: Session,
    Path((tenant, run, step)): Path<(String, String, String)>,
    body: String,
) -> Answer {
    decide_step(session, (tenant, run, step), Verdict::Approve, &body).await
}

/// Says no to what a step asks: it ends, and all that waits for it is skipped.
pub(super) async fn reject(
    session: Session,
    Path((tenant, run, step)): Path<(String, String, String)>,
    body: String,
) -> Answer {
    decide_step(session, (tenant, run, step), Verdict::Reject, &body).await
}

async fn decide_step(
    session: Session,
    (tenant, run, step): (String, String, String),
    verdict: Verdict,
    body: &str,
) -> Answer {
    let (view, actual) = session.permit::<action::View>(&tenant).await?;
    let body: AnswerBody = read(body)?;
    let run = run_of(&run)?;
    let store = &session.ports().store;
    let no_such = || {
        Problem::not_found(format!("run `{}` has no step `{step}` that asks for an approval", run.short()))
    };
    let step: StepId = step.parse().map_err(|_| no_such())?;
    let asked = store.asked(&view, &run, &step).await?.ok_or_else(no_such)?;
    let permit = session.decide_step(&actual, &asked.from, &run, &step).await?;
    let shown = body.shown.ok_or_else(|| {
        Problem::malformed("`shown` is required: the digest that the run's record has for this step")
    })?;
    let why = match (verdict, body.reason.as_deref()) {
        (Verdict::Approve, None) => None,
        (_, text) => Some(reason(text)?),
    };
    let Actor::User(by) = session.caller.actor.clone() else { return Err(no_such()) };
    // Whoever agreed and may not any more agrees no more: a right counts at the moment it decides.
    let lapsed = asked.given.into_iter().filter(|person| !session.could_answer(person, &actual, &asked.from));
    let decision = Decision {
        step: step.clone(),
        by,
        verdict,
        shown: shown.clone(),
        reason: why.clone(),
        lapsed: lapsed.collect(),
    };
    let (done, action) = match verdict {
        Verdict::Approve => ("approved", "step.approved"),
        Verdict::Reject => ("rejected", "step.rejected"),
    };
    let said = match &why {
        Some(why) => format!("{why}; shown {shown}"),
        None => format!("shown {shown}"),
    };
    let entry = session.entry(Some(permit.tenant()), action, format!("step:{run}/{step}"), &said);
    let new = store.decide_step(&permit, &run, decision, entry).await?;
    let record = store.run(&view, &run).await?;
    Ok(Json(documents::decided(&record, &step, done, new)))
}

/// Pauses a workflow: its runs wait unleased.
pub(super) async fn pause(
    session: Session,
    Path((tenant, workflow)): Path<(String, String)>,
    body: String,
) -> Answer {
    let (permit, actual) = session.permit::<action::Steer>(&tenant).await?;
    let workflow = workflow_of(&actual, &workflow, session.now)?;
    let pause = read::<ReasonBody>(&body)?.pause(session.now)?;
    let resource = format!("workflow:{workflow}");
    let entry = session.entry(Some(permit.tenant()), "workflow.paused", resource, &pause.reason);
    session.ports().store.set_pause(&permit, &workflow, Some(pause), entry).await?;
    done("paused")
}

/// Lets a paused workflow go on.
pub(super) async fn resume(session: Session, Path((tenant, workflow)): Path<(String, String)>) -> Answer {
    let (permit, actual) = session.permit::<action::Steer>(&tenant).await?;
    let workflow = workflow_of(&actual, &workflow, session.now)?;
    let entry = session.entry(Some(permit.tenant()), "workflow.resumed", format!("workflow:{workflow}"), "");
    session.ports().store.set_pause(&permit, &workflow, None, entry).await?;
    done("resumed")
}

/// Suspends a tenant: nothing of it is leased.
pub(super) async fn suspend(session: Session, Path(tenant): Path<String>, body: String) -> Answer {
    let (permit, _) = session.permit::<action::Suspend>(&tenant).await?;
    let body: ReasonBody = read(&body)?;
    let pause = Pause { reason: reason(body.reason.as_deref())?, until: body.until };
    let entry = session.entry(Some(permit.tenant()), "tenant.suspended", "tenant", &pause.reason);
    session.ports().store.set_suspension(&permit, Some(pause), entry).await?;
    done("suspended")
}

/// Lifts a suspension by command.
pub(super) async fn lift(session: Session, Path(tenant): Path<String>) -> Answer {
    let (permit, _) = session.permit::<action::Suspend>(&tenant).await?;
    let entry = session.entry(Some(permit.tenant()), "tenant.resumed", "tenant", "");
    session.ports().store.set_suspension(&permit, None, entry).await?;
    done("resumed")
}

/// Which commit a tenant's code is held at, why and how long.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PinBody {
    to: Option<String>,
    reason: Option<String>,
    until: Option<Timestamp>,
}

/// Holds a tenant's code at a commit that it has applied, for a time. Counts when it answers.
pub(super) async fn pin(session: Session, Path(tenant): Path<String>, body: String) -> Answer {
    let (permit, _) = session.permit::<action::Steer>(&tenant).await?;
    let body: PinBody = read(&body)?;
    let to = body.to.ok_or_else(|| Problem::malformed("`to` names the commit"))?.to_ascii_lowercase();
    if !(4..=64).contains(&to.len()) || !to.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(Problem::malformed("`to` is a commit's id, or at least its first 4 digits"));
    }
    let until = body.until.filter(|until| *until > session.now);
    let until = until.ok_or_else(|| Problem::malformed("`until` is required and lies in the future"))?;
    let reason = reason(body.reason.as_deref())?;
    let said = format!("{reason}; until {until}");
    let entry = session.entry(Some(permit.tenant()), "tenant.pinned", "tenant", &said);
    let request = PinRequest { to, reason, until };
    let pin = session.ports().store.set_pin(&permit, Some(request), entry).await?;
    wake_loop(&session);
    Ok(Json(documents::pinned(permit.tenant(), &pin)))
}

/// Lets a pinned tenant follow Git again.
pub(super) async fn unpin(session: Session, Path(tenant): Path<String>) -> Answer {
    let (permit, _) = session.permit::<action::Steer>(&tenant).await?;
    let entry = session.entry(Some(permit.tenant()), "tenant.unpinned", "tenant", "");
    session.ports().store.set_pin(&permit, None, entry).await?;
    wake_loop(&session);
    done("unpinned")
}

/// Lets go what is held in a tenant.
pub(super) async fn release(session: Session, Path(tenant): Path<String>, body: String) -> Answer {
    let (permit, _) = session.permit::<action::Release>(&tenant).await?;
    let text = reason(read::<ReasonBody>(&body)?.reason.as_deref())?;
    let entry = session.entry(Some(permit.tenant()), "tenant.released", "tenant", &text);
    session.ports().store.release(&permit, entry).await?;
    wake_loop(&session);
    done("released")
}

/// Lets go what holds the source: a rewritten history that somebody looked at.
pub(super) async fn release_scope(session: Session, Path(scope): Path<String>, body: String) -> Answer {
    if scope != "source" {
        return Err(Problem::not_found(format!("`{scope}` is nothing that can be held; try `source`")));
    }
    session.platform_action(PlatformAction::Release).await?;
    let text = reason(read::<ReasonBody>(&body)?.reason.as_deref())?;
    let store = &session.ports().store;
    let mut source = store.source().await?;
    let Some(held) = source.held.take() else {
        return Err(Problem::conflict("the source is not held"));
    };
    let entry = session.entry(None, "source.released", format!("commit:{held}"), &text);
    source.released = Some(held);
    store.set_source(&source, &[entry]).await?;
    wake_loop(&session);
    done("released")
}

/// Which version is withdrawn, and why.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokeBody {
    version: Option<String>,
    reason: Option<String>,
}

/// Revokes a version for ever, at once.
pub(super) async fn revoke(
    session: Session,
    Path((tenant, secret)): Path<(String, String)>,
    body: String,
) -> Answer {
    let (permit, actual) = session.permit::<action::Revoke>(&tenant).await?;
    let body: RevokeBody = read(&body)?;
    let index = actual.applied.as_ref().map(|applied| &applied.state.secrets);
    let known = secret.parse::<SecretName>().ok().and_then(|name| index.and_then(|index| index.get(&name)));
    let secret = known.ok_or_else(|| Problem::not_found(format!("no secret `{secret}` is applied here")))?;
    let wanted = body.version.ok_or_else(|| Problem::malformed("`version` is required"))?;
    let version = wanted.parse().ok().and_then(|id| secret.version(&id));
    let version = version.ok_or_else(|| {
        let ids: Vec<_> = secret.versions.iter().map(|version| format!("`{}`", version.id)).collect();
        Problem::not_found(format!("`{}` has no version `{wanted}`, only {}", secret.name, ids.join(", ")))
    })?;
    let text = reason(body.reason.as_deref())?;
    let resource = format!("secret:{}@{}", secret.name, version.id);
    let entry = session.entry(Some(permit.tenant()), "secret.revoked", resource, &text);
    let runs = session.ports().store.revoke(&permit, &secret.name, &version.id, entry).await?;
    wake_loop(&session);
    Ok(Json(documents::revoked(&secret.name, version.id.as_str(), &runs)))
}

/// Asks the loop to look at a tenant now.
pub(super) async fn wake(session: Session, Path(tenant): Path<String>) -> Answer {
    session.permit::<action::Wake>(&tenant).await?;
    needs_loop(&session)?;
    done("woken")
}

/// Asks the loop for a pass.
pub(super) async fn wake_all(session: Session) -> Answer {
    session.platform_action(PlatformAction::Wake).await?;
    needs_loop(&session)?;
    done("woken")
}

fn wake_loop(session: &Session) {
    if let Some(wake) = &session.ports().wake {
        wake();
    }
}

fn needs_loop(session: &Session) -> Result<(), Problem> {
    if session.ports().wake.is_none() {
        return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_loop", "no daemon runs here"));
    }
    wake_loop(session);
    Ok(())
}

fn done(what: &str) -> Answer {
    Ok(Json(json!({ "schema": "tenantry.done/1", "done": what })))
}
