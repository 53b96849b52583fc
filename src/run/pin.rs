//! Making the pins of a run: everything that decides what it does, fixed when it is asked for.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::scope;
use crate::domain::{
    Actor, CommitId, FieldName, Input, ObjectId, RunId, RunPins, SecretName, TenantId, TenantState,
    Timestamp, Trigger, TriggerKind, UserId, VersionId, Workflow, WorkflowId, digest_of,
};
use crate::expression::{Root, Scope};

/// Bytes of all inputs of a run, as JSON.
pub const INPUTS_BYTES_MAX: usize = 256 * 1024;
/// Characters of a rendered concurrency key.
const KEY_CHARS_MAX: usize = 256;

/// What a run is made of.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// Whose.
    pub tenant: &'a TenantId,
    /// Which tenant of that name.
    pub incarnation: u32,
    /// What is applied, or is applied together with the run.
    pub state: &'a TenantState,
    /// Versions that may never be given out again.
    pub revoked: &'a BTreeMap<SecretName, BTreeSet<VersionId>>,
    /// The commit of `state`.
    pub commit: &'a CommitId,
    /// Who wrote the commit, as far as known.
    pub authors: &'a BTreeSet<UserId>,
    /// The tree of the tenant's directory.
    pub tree: &'a ObjectId,
    /// The apply generation.
    pub generation: u64,
    /// Which workflow.
    pub workflow: &'a WorkflowId,
    /// What starts it.
    pub trigger: &'a Trigger,
    /// Who starts it.
    pub actor: &'a Actor,
    /// What a webhook sent; null otherwise.
    pub body: &'a Value,
    /// The inputs that its trigger or a person gives.
    pub given: &'a BTreeMap<FieldName, Value>,
}

/// Why a run cannot be made. Messages name inputs, never their values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PinError {
    /// The tenant has no such workflow.
    #[error("no workflow `{0}`")]
    NoWorkflow(WorkflowId),
    /// An input that the workflow does not take.
    #[error("unknown input `{name}`; this workflow takes {known}")]
    UnknownInput {
        /// As given.
        name: FieldName,
        /// Those it takes, or `none`.
        known: String,
    },
    /// A required input was not given and has no default.
    #[error("input `{0}` is required")]
    MissingInput(FieldName),
    /// An input that is not what it is declared to be.
    #[error("input `{name}` {problem}")]
    WrongInput {
        /// Which.
        name: FieldName,
        /// For instance `is not of type int`.
        problem: String,
    },
    /// An expression of a default or of the concurrency key has no value.
    #[error("{place}: {problem}")]
    Expression {
        /// `concurrency.key` or an input.
        place: String,
        /// Why.
        problem: String,
    },
    /// Together too large.
    #[error("the inputs have more than {INPUTS_BYTES_MAX} bytes")]
    TooLarge,
}

/// Makes the pins of one run: inputs complete and of their types, the current version of every declared secret, the
/// concurrency key rendered.
///
/// # Errors
/// The first thing that keeps the run from being made.
pub fn pin(ask: &Ask<'_>, id: RunId, now: Timestamp) -> Result<RunPins, PinError> {
    let workflow =
        ask.state.workflows.get(ask.workflow).ok_or_else(|| PinError::NoWorkflow(ask.workflow.clone()))?;
    let environment = ask.state.settings.environment.as_ref();
    let scope = outer_scope(ask, workflow, &id, environment);
    // What a person gives is a value and never read as an expression; what a trigger of Git gives may hold one.
    let by_git =
        matches!(ask.trigger.kind, TriggerKind::Commit | TriggerKind::Schedule | TriggerKind::Webhook);
    let inputs = inputs(workflow, ask.given, by_git, &scope)?;
    let secret_versions = secret_versions(workflow, ask);
    let mut pins = RunPins {
        id,
        tenant: ask.tenant.clone(),
        incarnation: ask.incarnation,
        workflow: workflow.clone(),
        environment: environment.cloned(),
        commit: ask.commit.clone(),
        tree: ask.tree.clone(),
        generation: ask.generation,
        trigger: ask.trigger.clone(),
        actor: ask.actor.clone(),
        authors: ask.authors.clone(),
        body: ask.body.clone(),
        inputs_digest: digest_of(&inputs),
        sealed: None,
        inputs,
        secret_versions,
        concurrency_key: None,
        rerun_of: None,
        named_by: None,
        keeps: None,
        created_at: now,
    };
    if let Some(concurrency) = &workflow.concurrency {
        let scope = scope.with(Root::Inputs, scope::inputs(&pins));
        let at = |problem| PinError::Expression { place: "`concurrency.key`".into(), problem };
        let key = scope::text(&concurrency.key, &scope).map_err(at)?;
        if key.chars().count() > KEY_CHARS_MAX {
            return Err(at(format!("more than {KEY_CHARS_MAX} characters")));
        }
        pins.concurrency_key = Some(key);
    }
    Ok(pins)
}

/// What a rerun is asked to do otherwise than the run before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Again {
    /// What succeeded is kept, single items too.
    pub failed: bool,
    /// Idempotency keys become others, so that what was done counts as not done.
    pub new_key: bool,
}

impl Again {
    /// Puts a run into the chain of the one it repeats.
    #[must_use]
    pub fn chained(self, before: &RunPins, run: RunPins) -> RunPins {
        RunPins {
            rerun_of: Some(before.rerun_of.clone().unwrap_or_else(|| before.id.clone())),
            named_by: if self.new_key { Some(run.id.clone()) } else { before.named_by.clone() },
            keeps: self.failed.then(|| before.id.clone()),
            body: before.body.clone(),
            ..run
        }
    }
}

/// Makes the pins of a rerun: the same run again at its own commit, with the secret versions that are current now.
#[must_use]
pub fn repeat(pins: &RunPins, ask: &Ask<'_>, again: Again, id: RunId, now: Timestamp) -> RunPins {
    let run = RunPins {
        id,
        trigger: ask.trigger.clone(),
        actor: ask.actor.clone(),
        secret_versions: secret_versions(&pins.workflow, ask),
        created_at: now,
        ..pins.clone()
    };
    again.chained(pins, run)
}

/// What a default may read: the trigger and the tenant.
fn outer_scope(ask: &Ask<'_>, workflow: &Workflow, id: &RunId, environment: Option<&String>) -> Scope {
    Scope::default()
        .with(Root::Trigger, scope::trigger(ask.trigger, ask.commit, ask.body))
        .with(Root::Run, scope::run(id, &workflow.id, ask.commit))
        .with(Root::Tenant, json!({ "id": ask.tenant.as_str(), "environment": environment }))
}

fn inputs(
    workflow: &Workflow,
    given: &BTreeMap<FieldName, Value>,
    by_git: bool,
    scope: &Scope,
) -> Result<BTreeMap<FieldName, Value>, PinError> {
    if let Some(name) = given.keys().find(|name| !workflow.inputs.contains_key(*name)) {
        let known: Vec<_> = workflow.inputs.keys().map(|known| format!("`{known}`")).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return Err(PinError::UnknownInput { name: name.clone(), known });
    }
    let mut inputs = BTreeMap::new();
    for (name, declared) in &workflow.inputs {
        let written = given.get(name).or(declared.default.as_ref());
        let Some(written) = written else {
            if declared.required {
                return Err(PinError::MissingInput(name.clone()));
            }
            continue;
        };
        let value = if by_git || !given.contains_key(name) {
            scope::render(written, scope)
                .map_err(|problem| PinError::Expression { place: format!("input `{name}`"), problem })?
        } else {
            written.clone()
        };
        if let Some(problem) = input_problem(declared, &value) {
            return Err(PinError::WrongInput { name: name.clone(), problem });
        }
        inputs.insert(name.clone(), value);
    }
    if scope::bytes(&inputs) > INPUTS_BYTES_MAX {
        return Err(PinError::TooLarge);
    }
    Ok(scope::inputs_as_declared(&workflow.inputs, &inputs))
}

/// What is wrong with the value of an input; never the value itself, which may be sensitive.
#[must_use]
pub fn input_problem(declared: &Input, value: &Value) -> Option<String> {
    if !declared.value_type.admits(value) {
        return Some(format!("is not of type {}", scope::type_name(declared.value_type)));
    }
    if !declared.allowed.is_empty() && !declared.allowed.contains(value) {
        let allowed: Vec<_> = declared.allowed.iter().map(|value| format!("`{}`", shown(value))).collect();
        return Some(format!("is not one of {}", allowed.join(", ")));
    }
    match (&declared.format, value) {
        (Some(format), Value::String(text)) if !has_format(format, text) => {
            Some(format!("is not of format {format}"))
        }
        _ => None,
    }
}

fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Whether a text has one of the formats that an input may declare; true for a format that is not known here.
fn has_format(format: &str, text: &str) -> bool {
    match format {
        "date" => text.len() == 10 && text.parse::<jiff::civil::Date>().is_ok(),
        "date-time" => text.parse::<Timestamp>().is_ok(),
        "uuid" => text.len() == 36 && uuid::Uuid::try_parse(text).is_ok(),
        "email" => text.rsplit_once('@').is_some_and(|(user, host)| {
            !user.is_empty() && host.contains('.') && !text.contains(char::is_whitespace) && text.len() <= 254
        }),
        "uri" => text.split_once(':').is_some_and(|(scheme, rest)| {
            scheme.starts_with(|first: char| first.is_ascii_alphabetic())
                && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                && !rest.is_empty()
                && !text.contains(char::is_whitespace)
        }),
        _ => true,
    }
}

/// The current version of each secret that a step declares; one without is left out, and its step is told so later.
fn secret_versions(workflow: &Workflow, ask: &Ask<'_>) -> BTreeMap<SecretName, VersionId> {
    let steps = workflow.steps.iter().chain(workflow.on_failure.as_deref());
    steps
        .flat_map(|step| &step.secrets)
        .filter_map(|used| {
            let version = ask.state.secrets.get(&used.name)?.current()?;
            let revoked = ask.revoked.get(&used.name).is_some_and(|revoked| revoked.contains(&version.id));
            (!revoked).then(|| (used.name.clone(), version.id.clone()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{
        Concurrency, OnLimit, Principal, Secret, SecretUse, SecretVersion, ValueType, VersionState,
    };
    use crate::run::samples::{at, settings, step, workflow};

    fn input(value_type: ValueType, default: Option<Value>, required: bool) -> Input {
        Input {
            value_type,
            format: None,
            allowed: Vec::new(),
            default,
            required,
            sensitive: false,
            description: None,
        }
    }

    fn state() -> TenantState {
        let mut main = step("main", crate::domain::Waits::Nothing);
        let name: SecretName = "db_url".parse().expect("a name");
        main.secrets =
            vec![SecretUse { name: name.clone(), delivery: crate::domain::Delivery::Socket, alias: None }];
        let mut flow = workflow(vec![main]);
        let mut day = input(ValueType::String, Some(json!("${{ day(trigger.time, -1) }}")), false);
        day.format = Some("date".into());
        let mut mode = input(ValueType::String, None, false);
        mode.allowed = vec![json!("full"), json!("quick")];
        flow.inputs = BTreeMap::from([
            ("day".parse().expect("a name"), day),
            ("rate".parse().expect("a name"), input(ValueType::Float, Some(json!(2)), false)),
            ("who".parse().expect("a name"), input(ValueType::String, None, true)),
            ("mode".parse().expect("a name"), mode),
        ]);
        flow.concurrency = Some(Concurrency {
            key: "${{ inputs.day }}/${{ tenant.id }}".into(),
            limit: 1,
            on_limit: OnLimit::Queue,
        });
        let version = |id: &str, state| SecretVersion {
            id: id.parse().expect("a name"),
            state,
            created: None,
            accept_until: None,
            file: String::new(),
            blob: None,
        };
        let secret = Secret {
            name: name.clone(),
            owner: Principal::User("alice".parse().expect("a name")),
            purposes: BTreeSet::new(),
            rotate_every: None,
            leaked_at: None,
            redact: true,
            on_revoke: crate::domain::OnRevoke::Mark,
            versions: vec![version("v1", VersionState::Previous), version("v2", VersionState::Current)],
        };
        TenantState {
            settings: settings(),
            grants: BTreeSet::new(),
            elevations: BTreeMap::new(),
            groups: BTreeMap::new(),
            secrets: BTreeMap::from([(name, secret)]),
            workflows: BTreeMap::from([(flow.id.clone(), flow)]),
        }
    }

    fn made(kind: TriggerKind, given: &Value, revoked: &[&str]) -> Result<RunPins, PinError> {
        let given = given.as_object().into_iter().flatten();
        let given = given.map(|(name, value)| (name.parse().expect("a name"), value.clone())).collect();
        let revoked = revoked.iter().map(|id| id.parse().expect("a name")).collect();
        let ask = Ask {
            tenant: &"acme".parse().expect("a name"),
            incarnation: 1,
            state: &state(),
            revoked: &BTreeMap::from([("db_url".parse().expect("a name"), revoked)]),
            commit: &"a".repeat(40).parse().expect("an id"),
            authors: &BTreeSet::new(),
            tree: &"b".repeat(40).parse().expect("an id"),
            generation: 3,
            workflow: &"sync".parse().expect("a name"),
            trigger: &Trigger {
                kind,
                key: "k".into(),
                time: "2026-11-23T02:00:00Z".parse().expect("a time"),
            },
            actor: &Actor::User("alice".parse().expect("a name")),
            body: &Value::Null,
            given: &given,
        };
        let pins = pin(&ask, RunId::from_uuid(uuid::Uuid::nil()), at(0))?;
        let again = repeat(&pins, &ask, Again::default(), RunId::from_uuid(uuid::Uuid::max()), at(9));
        assert_eq!(
            (again.rerun_of.as_ref(), &again.inputs, &again.workflow),
            (Some(&pins.id), &pins.inputs, &pins.workflow)
        );
        assert_eq!(
            repeat(&again, &ask, Again::default(), pins.id.clone(), at(9)).rerun_of,
            Some(pins.id.clone()),
            "the first of the chain"
        );
        let key = |pins: &RunPins| scope::idempotency_key(pins, &"main".parse().expect("a name"), "");
        assert_eq!(key(&again), key(&pins), "the same over reruns");
        let asked = Again { failed: true, new_key: true };
        let anew = repeat(&again, &ask, asked, RunId::from_uuid(uuid::Uuid::from_u128(7)), at(9));
        assert_eq!((anew.rerun_of.as_ref(), anew.keeps.as_ref()), (Some(&pins.id), Some(&again.id)));
        assert_ne!(key(&anew), key(&pins));
        let after = repeat(&anew, &ask, Again::default(), RunId::from_uuid(uuid::Uuid::from_u128(8)), at(9));
        assert_eq!((key(&after), after.keeps), (key(&anew), None), "and the new one over its own");
        Ok(pins)
    }

    #[test]
    fn inputs_are_complete_and_typed() {
        let pins = made(TriggerKind::Manual, &json!({"who": "bob"}), &[]).expect("can be made");
        let shown: BTreeMap<&str, &Value> =
            pins.inputs.iter().map(|(name, value)| (name.as_str(), value)).collect();
        assert_eq!(
            shown,
            BTreeMap::from([("day", &json!("2026-11-22")), ("rate", &json!(2.0)), ("who", &json!("bob"))])
        );
        assert_eq!(pins.concurrency_key.as_deref(), Some("2026-11-22/acme"));
        assert_eq!(pins.secret_versions.values().map(VersionId::as_str).collect::<Vec<_>>(), ["v2"]);
        let pins = made(TriggerKind::Manual, &json!({"who": "bob"}), &["v2"]).expect("can be made");
        assert!(pins.secret_versions.is_empty(), "a revoked version is not pinned");
    }

    #[test]
    fn only_git_gives_expressions() {
        let who = json!({"who": "${{ tenant.id }}"});
        let pins = made(TriggerKind::Manual, &who, &[]).expect("can be made");
        assert_eq!(pins.inputs["who"], json!("${{ tenant.id }}"));
        let pins = made(TriggerKind::Schedule, &who, &[]).expect("can be made");
        assert_eq!(pins.inputs["who"], json!("acme"));
    }

    #[track_caller]
    fn check(given: &Value, want: &str) {
        assert_eq!(made(TriggerKind::Manual, given, &[]).expect_err(want).to_string(), want);
    }

    #[test]
    fn a_wrong_input_is_named_and_not_shown() {
        check(&json!({}), "input `who` is required");
        check(
            &json!({"who": "x", "whom": 1}),
            "unknown input `whom`; this workflow takes `day`, `mode`, `rate`, `who`",
        );
        check(&json!({"who": 7}), "input `who` is not of type string");
        check(&json!({"who": "x", "day": "23.11.2026"}), "input `day` is not of format date");
        check(&json!({"who": "x", "mode": "slow"}), "input `mode` is not one of `full`, `quick`");
        check(&json!({"who": "x".repeat(INPUTS_BYTES_MAX)}), "the inputs have more than 262144 bytes");
    }

    #[test]
    fn formats_are_checked() {
        for (format, good, bad) in [
            ("date", "2026-02-28", "2026-02-30"),
            ("date-time", "2026-02-28T00:00:00Z", "2026-02-28T00:00:00"),
            ("email", "a@b.example", "a b@c.example"),
            ("uri", "https://a.example/x", "a.example"),
            ("uuid", "0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11", "0192f1c2"),
        ] {
            assert!(has_format(format, good), "{format} {good}");
            assert!(!has_format(format, bad), "{format} {bad}");
        }
    }
}
