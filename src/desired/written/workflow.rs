//! A workflow as written: `tenants/T/workflows/*.yaml` and `shared/NAME/workflow.yaml`.

use serde_json::{Value, json};

use super::form::{Definitions, Entries, OneOrMore, Written, form};
use super::reader::{Reader, listed, nearest};
use super::scalar::{Anything, Formula, Processors, Script};
use super::tenant::WrittenPause;
use crate::desired::rules;
use crate::domain::{
    AlertLevel, ByteSize, CatchUp, FieldName, HostPort, Length, OnLimit, OnTimeout, Overlap, RetryOn,
    RuntimeDigest, SecretName, Shell, Spanned, StepId, Tier, ValueType,
};
use crate::yaml::{Kind, Node};

form! {
    /// One automation: what starts it, what it takes, its steps. With `run` or `script` at the top it has one
    /// step, `main`.
    WrittenWorkflow {
        /// What it is for.
        description: Option<Spanned<String>>,
        /// A shared workflow: shared/NAME, or shared/NAME@COMMIT.
        #[example = "shared/invoices"]
        uses: Option<Spanned<String>>,
        /// What starts it: a name, a list or a mapping; without it only people do.
        on: Option<Spanned<WrittenTriggers>>,
        /// What it takes.
        inputs: Option<Spanned<Entries<FieldName, WrittenInput>>>,
        /// What steps see at /repo, as globs from the tenant's directory; scripts/** by default.
        files: Option<Spanned<Vec<Spanned<String>>>>,
        /// How many runs go at one time.
        concurrency: Option<Spanned<WrittenConcurrency>>,
        /// The time of a run, waiting left out.
        timeout: Option<Spanned<Length>>,
        /// Who is told of failures: page, notify, digest or off.
        alert: Option<Spanned<AlertLevel>>,
        /// What is expected of it.
        expect: Option<Spanned<WrittenExpectation>>,
        /// Whether it may be run again to find a cause.
        replay_safe: Option<Spanned<bool>>,
        /// While it stands, triggers do not start it.
        paused: Option<Spanned<WrittenPause>>,
        /// The digest of a root file system that the platform put on the workers: steps run in it.
        runtime: Option<Spanned<RuntimeDigest>>,
        /// The steps in written order; without `needs` a step waits for the one above.
        steps: Option<Spanned<Entries<StepId, WrittenStep>>>,
        /// A step that runs after a failure.
        on_failure: Option<Spanned<WrittenStep>>,
        /// Short form: the script of the only step.
        #[example = "scripts/pull.py"]
        run: Option<Spanned<String>>,
        /// Short form: the inline script of the only step.
        script: Option<Spanned<Script>>,
        /// Short form: who reads the inline script.
        shell: Option<Spanned<Shell>>,
        /// Short form: arguments.
        args: Option<Spanned<Vec<Spanned<String>>>>,
        /// Short form: secrets of the only step. With `uses`: the shared workflow's names to this tenant's.
        secrets: Option<Spanned<WrittenTopSecrets>>,
        /// Short form: input of the only step. With `uses`: inputs of the shared workflow.
        with: Option<Spanned<Entries<FieldName, Anything>>>,
        /// Short form: hosts that the only step may reach.
        network: Option<Spanned<Vec<Spanned<HostPort>>>>,
        /// Short form: what an attempt may use.
        resources: Option<Spanned<WrittenResources>>,
        /// Short form: how failures are tried again.
        retry: Option<Spanned<WrittenRetry>>,
        /// Short form: what the only step promises to write.
        outputs: Option<Spanned<Entries<FieldName, ValueType>>>,
    }
    /// One step.
    WrittenStep {
        /// A script of the repository, started by its shebang.
        #[example = "scripts/pull.py"]
        run: Option<Spanned<String>>,
        /// An inline script.
        script: Option<Spanned<Script>>,
        /// Who reads the inline script: sh, bash, python or node.
        shell: Option<Spanned<Shell>>,
        /// Arguments.
        args: Option<Spanned<Vec<Spanned<String>>>>,
        /// The steps it waits for; the one above by default, none for [].
        needs: Option<Spanned<OneOrMore<String>>>,
        /// CEL; the step is skipped where it is false.
        #[example = "steps.pull.outputs.count > 0"]
        condition = "if": Option<Spanned<Formula>>,
        /// People agree before it goes on.
        approval: Option<Spanned<WrittenApproval>>,
        /// The secrets it may ask for, by name or with their delivery.
        secrets: Option<Spanned<Vec<Spanned<WrittenSecretUse>>>>,
        /// Its input.
        with: Option<Spanned<Entries<FieldName, Anything>>>,
        /// The hosts it may reach.
        network: Option<Spanned<Vec<Spanned<HostPort>>>>,
        /// What an attempt may use.
        resources: Option<Spanned<WrittenResources>>,
        /// How failures are tried again.
        retry: Option<Spanned<WrittenRetry>>,
        /// The time of one attempt; 10m by default.
        timeout: Option<Spanned<Length>>,
        /// What it promises to write.
        outputs: Option<Spanned<Entries<FieldName, ValueType>>>,
        /// CEL, a list: one attempt an item.
        #[example = "${{ steps.pull.outputs.customers }}"]
        for_each: Option<Spanned<Formula>>,
        /// CEL over `item`: names the item in idempotency keys.
        #[example = "${{ item.id }}"]
        item_key: Option<Spanned<Formula>>,
        /// Items at one time.
        max_parallel: Option<Spanned<u32>>,
    }
    /// One input.
    WrittenInput {
        /// string, int, float, bool, list or map; string by default.
        value_type = "type": Option<Spanned<ValueType>>,
        /// date, date-time, email, uri or uuid, for text.
        format: Option<Spanned<InputFormat>>,
        /// The values it may take.
        allowed = "enum": Option<Spanned<Vec<Spanned<Anything>>>>,
        /// Used when nothing is given; may hold expressions over `trigger` and `tenant`.
        default: Option<Spanned<Anything>>,
        /// Whether a run needs it; true by default where there is no default.
        required: Option<Spanned<bool>>,
        /// Masked everywhere.
        sensitive: Option<Spanned<bool>>,
        /// What it is for.
        description: Option<Spanned<String>>,
    }
    /// How many runs with one key go at one time.
    WrittenConcurrency {
        /// May hold expressions over `inputs`, `trigger` and `tenant`.
        #[example = "${{ inputs.day }}"]
        key: Option<Spanned<Formula>>,
        /// 1 by default.
        limit: Option<Spanned<u32>>,
        /// queue, skip or cancel; queue by default.
        on_limit: Option<Spanned<OnLimit>>,
    }
    /// What is expected of a workflow.
    WrittenExpectation {
        /// How often it should succeed.
        success_within: Option<Spanned<Length>>,
    }
    /// What an attempt may use.
    WrittenResources {
        /// Memory of all its processes, with a unit.
        memory: Option<Spanned<ByteSize>>,
        /// Processors.
        cpu: Option<Spanned<Processors>>,
        /// Processes and threads.
        pids: Option<Spanned<u32>>,
        /// Bytes it may write, with a unit.
        disk: Option<Spanned<ByteSize>>,
        /// The weakest tier that it may run in: bubblewrap or sandbox.
        tier: Option<Spanned<Tier>>,
    }
    /// How failures are tried again.
    WrittenRetry {
        /// Attempts in all; 1 by default.
        attempts: Option<Spanned<u32>>,
        /// The wait after the first failure, doubled after each.
        backoff: Option<Spanned<Length>>,
        /// The longest wait.
        max: Option<Spanned<Length>>,
        /// Whether the wait is spread.
        jitter: Option<Spanned<bool>>,
        /// What is tried again: failure, error, timed_out.
        on: Option<Spanned<Vec<Spanned<RetryOn>>>>,
    }
    /// Who agrees before a step goes on.
    WrittenApproval {
        /// Roles or principals.
        from: Spanned<Vec<Spanned<String>>>,
        /// How many people.
        count: Option<Spanned<u32>>,
        /// How long it waits.
        timeout: Option<Spanned<Length>>,
        /// reject or skip.
        on_timeout: Option<Spanned<OnTimeout>>,
    }
    /// A secret with its delivery.
    WrittenDelivery {
        /// Its name in secrets.yaml.
        name: Spanned<SecretName>,
        /// Delivered in this environment variable.
        #[example = "DATABASE_URL"]
        env: Option<Spanned<String>>,
        /// Delivered in a file whose path stands in this environment variable.
        #[example = "GOOGLE_APPLICATION_CREDENTIALS"]
        file: Option<Spanned<String>>,
    }
    /// Starts a run when an apply changes the workflow.
    WrittenCommit {
        /// Globs from the tenant's directory that count too.
        paths: Option<Spanned<Vec<Spanned<String>>>>,
        /// Whether the first apply of the workflow fires.
        first: Option<Spanned<bool>>,
        /// Whether each commit fires on its own.
        each: Option<Spanned<bool>>,
        /// Inputs it gives.
        with: Option<Spanned<Entries<FieldName, Anything>>>,
    }
    /// One schedule.
    WrittenSchedule {
        /// Five fields.
        #[example = "0 2 * * *"]
        #[example = "*/15 6-20 * * 1-5"]
        cron: Spanned<String>,
        /// An IANA zone; the tenant's by default.
        #[example = "Europe/Berlin"]
        timezone: Option<Spanned<String>>,
        /// What is made up for after downtime: none, one or all.
        catch_up: Option<Spanned<CatchUp>>,
        /// While its last run is active: skip, queue or cancel.
        overlap: Option<Spanned<Overlap>>,
        /// Forgoes jitter.
        exact: Option<Spanned<bool>>,
        /// Inputs it gives.
        with: Option<Spanned<Entries<FieldName, Anything>>>,
    }
    /// An incoming hook.
    WrittenWebhook {
        /// The secret that signs it.
        secret: Spanned<SecretName>,
        /// Inputs it gives.
        with: Option<Spanned<Entries<FieldName, Anything>>>,
    }
    /// People start it; they always may.
    WrittenManual {}
}

super::words! {
    InputFormat: "a format" {
        "date" => InputFormat("date"), "date-time" => InputFormat("date-time"), "email" => InputFormat("email"),
        "uri" => InputFormat("uri"), "uuid" => InputFormat("uuid"),
    }
}

/// The format of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InputFormat(pub &'static str);

/// `on`: a name, a list of names, or a mapping of names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WrittenTriggers {
    /// `commit`.
    pub commit: Option<Spanned<WrittenCommit>>,
    /// `schedule`.
    pub schedules: Vec<Spanned<WrittenSchedule>>,
    /// `webhook`.
    pub webhook: Option<Spanned<WrittenWebhook>>,
    /// Whether `manual` is named.
    pub manual: bool,
}

const TRIGGERS: &[&str] = &["commit", "schedule", "webhook", "manual"];

const NO_COMMIT: WrittenCommit = WrittenCommit { paths: None, first: None, each: None, with: None };

impl WrittenTriggers {
    /// A trigger by its name alone.
    fn named(&mut self, node: &Node, reader: &mut Reader<'_>) -> Option<()> {
        match super::scalar::text(node, "the name of a trigger", reader)? {
            "commit" => self.commit = Some(Spanned::new(NO_COMMIT, node.span)),
            "manual" => self.manual = true,
            "schedule" => {
                let found = reader.report(&rules::MISSING_FIELD, node.span, "a schedule needs its cron");
                found.help = Some("write `on: { schedule: \"0 2 * * *\" }`".into());
                return None;
            }
            "webhook" => {
                let found = reader.report(&rules::MISSING_FIELD, node.span, "a webhook needs its secret");
                found.help = Some("write `on: { webhook: { secret: NAME } }`".into());
                return None;
            }
            other => {
                unknown_trigger(node, other, reader);
                return None;
            }
        }
        Some(())
    }
}

fn unknown_trigger(node: &Node, name: &str, reader: &mut Reader<'_>) {
    let found = reader.report(&rules::UNKNOWN_WORD, node.span, format!("`{name}` is no trigger"));
    found.help = Some(match nearest(name, TRIGGERS.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("triggers: {}", listed(TRIGGERS.iter().copied())),
    });
}

/// What stands after the name of a trigger; nothing at all is no option.
fn options<T: Written>(node: &Node, empty: T, reader: &mut Reader<'_>) -> Option<Spanned<T>> {
    if node.is_null() { Some(Spanned::new(empty, node.span)) } else { Spanned::decode(node, reader) }
}

impl Written for WrittenTriggers {
    const FIELDS: &'static [&'static str] = TRIGGERS;
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        let mut read = Self::default();
        let before = reader.found.len();
        match &node.kind {
            Kind::Scalar { .. } => read.named(node, reader)?,
            Kind::Sequence(items) => {
                for item in items {
                    let _ = read.named(item, reader);
                }
            }
            Kind::Mapping(entries) => {
                super::form::duplicates(entries, reader);
                for (key, value) in entries {
                    match key.scalar() {
                        Some("commit") => read.commit = options(value, NO_COMMIT, reader),
                        Some("schedule") => read.schedules = schedules(value, reader).unwrap_or_default(),
                        Some("webhook") => read.webhook = Spanned::decode(value, reader),
                        Some("manual") => {
                            read.manual = options(value, WrittenManual {}, reader).is_some();
                        }
                        Some(other) => unknown_trigger(key, other, reader),
                        None => reader.wrong_type(key, "the name of a trigger"),
                    }
                }
            }
        }
        (reader.partial || reader.found.len() == before).then_some(read)
    }
    fn schema(definitions: &mut Definitions) -> Value {
        let commit = WrittenCommit::schema(definitions);
        let schedule = WrittenSchedule::schema(definitions);
        let webhook = WrittenWebhook::schema(definitions);
        let name = json!({ "enum": ["commit", "manual"] });
        json!({ "anyOf": [
            name,
            { "type": "array", "items": name },
            {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "commit": {
                        "description": "Starts a run when an apply changes the workflow.",
                        "anyOf": [commit, { "type": "null" }],
                    },
                    "schedule": { "description": "Starts runs by the clock: a cron line, or a list of schedules.", "anyOf": [
                        { "type": "string", "examples": ["0 2 * * *"] },
                        { "type": "array", "items": { "anyOf": [{ "type": "string" }, schedule] } },
                        schedule,
                    ] },
                    "webhook": described(webhook, "Starts a run when a signed request comes in."),
                    "manual": {
                        "description": "People start it; they always may.",
                        "type": ["object", "null"],
                        "additionalProperties": false,
                    },
                },
            },
        ] })
    }
}

/// A reference with a description of its own.
fn described(mut schema: Value, about: &str) -> Value {
    schema["description"] = json!(about);
    schema
}

fn schedules(node: &Node, reader: &mut Reader<'_>) -> Option<Vec<Spanned<WrittenSchedule>>> {
    let one = |node: &Node, reader: &mut Reader<'_>| match &node.kind {
        Kind::Scalar { .. } => {
            let cron = Spanned::<String>::decode(node, reader)?;
            let schedule = WrittenSchedule {
                cron,
                timezone: None,
                catch_up: None,
                overlap: None,
                exact: None,
                with: None,
            };
            Some(Spanned::new(schedule, node.span))
        }
        Kind::Sequence(_) | Kind::Mapping(_) => Spanned::decode(node, reader),
    };
    match &node.kind {
        Kind::Sequence(items) => {
            let read: Vec<_> = items.iter().map(|item| one(item, reader)).collect();
            if reader.partial {
                return Some(read.into_iter().flatten().collect());
            }
            read.into_iter().collect()
        }
        Kind::Scalar { .. } | Kind::Mapping(_) => one(node, reader).map(|schedule| vec![schedule]),
    }
}

/// `secrets` at the top: a list of the only step's, or with `uses` a mapping.
#[derive(Clone, Debug, PartialEq)]
pub enum WrittenTopSecrets {
    /// Of the only step.
    Uses(Vec<Spanned<WrittenSecretUse>>),
    /// The shared workflow's name to this tenant's.
    Mapping(Entries<SecretName, SecretName>),
}

impl Written for WrittenTopSecrets {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        match &node.kind {
            Kind::Mapping(_) => Entries::decode(node, reader).map(Self::Mapping),
            Kind::Scalar { .. } | Kind::Sequence(_) => Vec::decode(node, reader).map(Self::Uses),
        }
    }
    fn schema(definitions: &mut Definitions) -> Value {
        let list = Vec::<Spanned<WrittenSecretUse>>::schema(definitions);
        json!({ "anyOf": [list, Entries::<SecretName, SecretName>::schema(definitions)] })
    }
}

/// A secret that a step declares: its name, or a mapping with its delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct WrittenSecretUse(pub WrittenDelivery);

impl Written for WrittenSecretUse {
    fn decode(node: &Node, reader: &mut Reader<'_>) -> Option<Self> {
        if let Kind::Scalar { .. } = &node.kind {
            let name = Spanned::decode(node, reader)?;
            return Some(Self(WrittenDelivery { name, env: None, file: None }));
        }
        WrittenDelivery::decode(node, reader).map(Self)
    }
    fn schema(definitions: &mut Definitions) -> Value {
        let name = SecretName::schema(definitions);
        json!({ "anyOf": [name, WrittenDelivery::schema(definitions)] })
    }
}
