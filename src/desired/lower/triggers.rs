//! What starts a workflow, what it takes, and that both fit.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::expressions::{Sight, check_type};
use super::file::Found;
use super::workflow::Mapping;
use super::{scripts, secrets, tenant};
use crate::desired::rules;
use crate::desired::written::{Anything, Entries, WrittenInput, WrittenTriggers, nearest};
use crate::domain::{
    CommitTrigger, FieldName, Input, Length, ScheduleTrigger, SecretName, SecretPurpose, Span, Spanned,
    TenantId, TenantSettings, Timestamp, Tree, Triggers, ValueType, WebhookTrigger,
};
use crate::expression::Root;
use crate::schedule::{Cron, CronError, Zone};

/// Schedules of one workflow.
const SCHEDULES_MAX: usize = 100;
/// What is shorter is too often.
const OFTEN: Length = Length::from_secs(300);
/// Clock changes are looked for from here: the same file has the same findings whenever it is read.
const CLOCK_CHANGES_FROM: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// What defaults and triggers may read: nothing of a run exists yet.
const BEFORE_A_RUN: &[Root] = &[Root::Trigger, Root::Tenant];

/// Where triggers are written and what their globs match.
pub(super) struct Scene<'a> {
    pub(super) path: &'a str,
    pub(super) root: &'a str,
    pub(super) tree: &'a Tree,
    pub(super) settings: Option<&'a TenantSettings>,
    pub(super) tenant: &'a TenantId,
    pub(super) secrets: Option<&'a secrets::Lowered>,
    /// For what stands in a shared workflow: its names to this tenant's.
    pub(super) mapping: Option<&'a Mapping<'a>>,
}

pub(super) fn lower_inputs(
    path: &str,
    written: Option<Entries<FieldName, WrittenInput>>,
    found: &mut Found,
) -> BTreeMap<FieldName, Input> {
    let mut inputs = BTreeMap::new();
    let none = BTreeMap::new();
    for (name, input) in written.unwrap_or_default().0 {
        let span = input.span;
        let input = input.value;
        let value_type = input.value_type.map_or_else(ValueType::default, |kind| kind.value);
        if let Some(format) = input.format.as_ref().filter(|_| value_type != ValueType::String) {
            let message = "`format` belongs to an input of type `string`";
            found.push(rules::CONFLICTING_FIELDS.at(path, Some(format.span), message).help("remove it"));
        }
        for allowed in input.allowed.iter().flat_map(|list| &list.value) {
            check_type(path, value_type, &allowed.value, found);
        }
        if let Some(default) = &input.default {
            check_type(path, value_type, &default.value, found);
            Sight {
                path,
                place: "in a default",
                roots: BEFORE_A_RUN,
                inputs: &none,
                steps: &BTreeMap::new(),
                ended: &BTreeSet::new(),
                sensitive: true,
            }
            .check_value(&default.value, found);
        }
        if let Some(sensitive) = input.sensitive.as_ref().filter(|sensitive| sensitive.value) {
            if let Some(default) = &input.default {
                let message =
                    format!("the input `{}` is sensitive, and its default stands here in clear", name.value);
                let finding = rules::SENSITIVE_MISUSED.at(path, Some(default.value.node.span), message);
                found.push(finding.help("leave the default out, or make it a secret"));
            }
            if value_type != ValueType::String {
                let message = format!("the input `{}` is sensitive and not of type string", name.value);
                let finding = rules::SENSITIVE_MISUSED.at(path, Some(sensitive.span), message);
                found.push(finding.help("let it be text, which can be masked"));
            }
        }
        let required = input.required.as_ref().map_or(input.default.is_none(), |required| required.value);
        if required && input.default.is_some() && input.required.is_some() {
            let message = format!("the input `{}` is required and has a default", name.value);
            let finding = rules::CONFLICTING_FIELDS.at(path, Some(span), message);
            found.push(finding.help("remove `required` or `default`"));
        }
        inputs.insert(
            name.value,
            Input {
                value_type,
                format: input.format.map(|format| format.value.0.to_owned()),
                allowed: input.allowed.map_or_else(Vec::new, |list| {
                    list.value.into_iter().map(|allowed| allowed.value.value).collect()
                }),
                default: input.default.map(|default| default.value.value),
                required,
                sensitive: input.sensitive.is_some_and(|sensitive| sensitive.value),
                description: input.description.map(|description| description.value),
            },
        );
    }
    inputs
}

pub(super) fn lower(
    scene: &Scene<'_>,
    written: Option<Spanned<WrittenTriggers>>,
    inputs: &BTreeMap<FieldName, Input>,
    found: &mut Found,
) -> Triggers {
    let mut triggers = Triggers::default();
    let Some(Spanned { value: written, span }) = written else { return triggers };
    if let Some(commit) = written.commit {
        let globs = commit.value.paths.map(|paths| paths.value);
        let with = given(scene.path, commit.value.with, commit.span, inputs, found);
        triggers.commit = Some(CommitTrigger {
            watched: globs
                .as_ref()
                .map(|globs| scripts::watched(scene.path, scene.root, scene.tree, globs, found)),
            paths: globs.unwrap_or_default().into_iter().map(|glob| glob.value).collect(),
            first: commit.value.first.is_some_and(|first| first.value),
            each: commit.value.each.is_some_and(|each| each.value),
            with,
        });
    }
    if let Some(webhook) = written.webhook {
        let with = given(scene.path, webhook.value.with, webhook.span, inputs, found);
        let secret = hook_secret(scene, &webhook.value.secret, found);
        triggers.webhook = secret.map(|secret| WebhookTrigger { secret, with });
    }
    if written.schedules.len() > SCHEDULES_MAX {
        let message = format!("a workflow has at most {SCHEDULES_MAX} schedules");
        found.push(rules::BAD_VALUE.at(scene.path, Some(span), message).help("split the workflow"));
    }
    let mut entries: BTreeMap<String, Span> = BTreeMap::new();
    for schedule in written.schedules.into_iter().take(SCHEDULES_MAX) {
        let place = schedule.span;
        let schedule = schedule.value;
        let zone = match schedule.timezone {
            Some(zone) => tenant::check_zone(scene.path, zone, found),
            None => scene.settings.map_or_else(|| "UTC".to_owned(), |settings| settings.timezone.clone()),
        };
        let cron = check_cron(scene.path, &schedule.cron, &zone, found);
        let entry = format!("{cron} {zone}");
        if let Some(first) = entries.insert(entry.clone(), place) {
            let finding = rules::DUPLICATE_KEY.at(scene.path, Some(place), "this schedule stands twice");
            found.push(finding.help("remove one of them").related(scene.path, Some(first), "first here"));
        }
        triggers.schedules.push(ScheduleTrigger {
            entry,
            cron,
            timezone: zone,
            catch_up: schedule.catch_up.map_or_else(Default::default, |word| word.value),
            overlap: schedule.overlap.map_or_else(Default::default, |word| word.value),
            exact: schedule.exact.is_some_and(|exact| exact.value),
            with: given(scene.path, schedule.with, place, inputs, found),
        });
    }
    triggers
}

/// The secret that signs the hook: one of the tenant's, for webhooks. A shared workflow's name is mapped like those of
/// its steps.
fn hook_secret(scene: &Scene<'_>, written: &Spanned<SecretName>, found: &mut Found) -> Option<SecretName> {
    let (path, name, span) = match scene.mapping {
        None => (scene.path, &written.value, written.span),
        Some(mapping) => match mapping.names.get(&written.value) {
            Some(ours) => (mapping.path, &ours.value, ours.span),
            None => {
                let message = format!(
                    "the shared workflow's hook is signed with the secret `{}`, which this tenant does not give",
                    written.value
                );
                let finding = rules::SHARED_MAPPING.at(mapping.path, Some(mapping.span), message);
                found.push(finding.help(format!("add `secrets: {{ {}: my_name }}`", written.value)));
                return None;
            }
        },
    };
    // What is wrong with the index is told there.
    let secrets = scene.secrets?;
    let Some(secret) = secrets.get(name) else {
        let help = match nearest(name.as_str(), secrets.keys().map(AsRef::as_ref)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                format!("make one: `tenantry secrets set {}/{name}`, with `use: [webhook]`", scene.tenant)
            }
        };
        let message = format!("this tenant has no secret `{name}`");
        found.push(rules::UNDECLARED_SECRET.at(path, Some(span), message).help(help));
        return None;
    };
    if !secret.purposes.contains(&SecretPurpose::Webhook) {
        let finding =
            rules::WRONG_PURPOSE.at(path, Some(span), format!("the secret `{name}` is not for webhooks"));
        found.push(finding.help("write `use: [webhook]` at it in secrets.yaml"));
        return None;
    }
    Some(name.clone())
}

/// Checks five fields; gives them with single spaces.
fn check_cron(path: &str, written: &Spanned<String>, zone: &str, found: &mut Found) -> String {
    match Cron::parse(&written.value) {
        Ok(cron) => {
            let clash = Zone::parse(zone).ok().and_then(|zone| cron.saving_clash(&zone, CLOCK_CHANGES_FROM));
            if let Some(clash) = clash {
                let how =
                    if clash.skipped { "is skipped and fires late" } else { "comes twice and fires once" };
                let message = format!("this time {how} when the clock changes in {zone}");
                let finding = rules::UNEVEN_SCHEDULE.at(path, Some(written.span), message);
                found.push(finding.help("choose a time outside the change, or the zone UTC"));
            }
            // A schedule of one minute of the hour cannot be too frequent, and most are of that kind.
            let minutes = cron.text().split(' ').next().unwrap_or_default();
            let every = minutes.contains(['*', ',', '-', '/']).then(|| cron.shortest_interval());
            if let Some(every) = every.filter(|every| *every < OFTEN) {
                let message = format!("this schedule fires every {every}");
                let finding = rules::SCHEDULE_TOO_OFTEN.at(path, Some(written.span), message);
                found.push(
                    finding.help(format!("write `*/5 * * * *` for every {OFTEN}, or start it by an event")),
                );
            }
            cron.text().to_owned()
        }
        Err(error) => {
            let rule =
                if matches!(error, CronError::Never(_)) { &rules::CRON_NEVER } else { &rules::BAD_CRON };
            let mut finding = rule.at(path, Some(written.span), error.to_string());
            finding.help = match error {
                CronError::Nickname { fields: Some(fields), .. } => Some(format!("write `{fields}`")),
                CronError::Never(_) => Some("choose a day that the month has".into()),
                CronError::Nickname { .. } | CronError::Fields(_) | CronError::Field { .. } => {
                    Some("for instance `0 2 * * *` for every day at 02:00".into())
                }
            };
            found.push(finding);
            written.value.clone()
        }
    }
}

/// The inputs that a trigger gives; every required one must have a value.
fn given(
    path: &str,
    with: Option<Spanned<Entries<FieldName, Anything>>>,
    span: Span,
    inputs: &BTreeMap<FieldName, Input>,
    found: &mut Found,
) -> BTreeMap<FieldName, Value> {
    let with = with.map(|with| with.value).unwrap_or_default();
    let given = check_given(path, with, inputs, found);
    for (name, input) in inputs {
        if input.required && input.default.is_none() && !given.contains_key(name) {
            let message = format!("this trigger leaves the required input `{name}` without a value");
            let finding = rules::INPUT_WITHOUT_VALUE.at(path, Some(span), message);
            found.push(
                finding.help(format!("give `{name}` a default, or write `with: {{ {name}: … }}` here")),
            );
        }
    }
    given
}

/// Values for declared inputs.
pub(super) fn check_given(
    path: &str,
    with: Entries<FieldName, Anything>,
    inputs: &BTreeMap<FieldName, Input>,
    found: &mut Found,
) -> BTreeMap<FieldName, Value> {
    let mut given = BTreeMap::new();
    for (name, value) in with.0 {
        match inputs.get(&name.value) {
            None => {
                let help = match nearest(name.value.as_str(), inputs.keys().map(AsRef::as_ref)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "declare it in `inputs`".to_owned(),
                };
                let message = format!("the workflow has no input `{}`", name.value);
                found.push(rules::UNDEFINED_INPUT.at(path, Some(name.span), message).help(help));
            }
            Some(input) if input.sensitive => {
                let message =
                    format!("the input `{}` is sensitive, and would stand here in clear", name.value);
                let finding = rules::SENSITIVE_MISUSED.at(path, Some(name.span), message);
                found.push(finding.help("only people give it, when they start a run; else make it a secret"));
            }
            Some(input) => {
                check_type(path, input.value_type, &value.value, found);
                Sight {
                    path,
                    place: "before a run",
                    roots: BEFORE_A_RUN,
                    inputs,
                    steps: &BTreeMap::new(),
                    ended: &BTreeSet::new(),
                    sensitive: true,
                }
                .check_value(&value.value, found);
            }
        }
        given.insert(name.value, value.value.value);
    }
    given
}
