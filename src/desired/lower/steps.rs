//! Steps: order, scripts, secrets, hosts, limits.

use std::collections::{BTreeMap, BTreeSet};

use super::approvals;
use super::expressions::{KnownStep, Sight};
use super::file::Found;
use super::hosts;
use super::order;
use super::reach::Starts;
use super::scripts;
use super::tenant::at_least;
use super::workflow::Scene;
use crate::desired::python;
use crate::desired::rules;
use crate::desired::written::{
    Anything, Entries, Formula, WrittenResources, WrittenRetry, WrittenSecretUse, WrittenStep, listed,
    nearest,
};
use crate::domain::{
    ByteSize, Delivery, FieldName, ForEach, HOSTS_MAX, HostPort, Input, Length, Resources, Retry, Safety,
    ScriptFile, SecretName, SecretPurpose, SecretUse, Span, Spanned, Step, StepId, Waits, Work,
};
use crate::expression::{Kind, Root};

/// Steps as written, in written order.
pub(super) type WrittenSteps = Vec<(Spanned<StepId>, Spanned<WrittenStep>)>;

/// Steps of one workflow.
const STEPS_MAX: usize = 200;
/// The time of one attempt that says nothing. Source: design page `runs.md`, "Defaults".
const STEP_TIMEOUT: Length = Length::from_secs(600);
/// Attempts of one step.
const ATTEMPTS_MAX: u32 = 100;
/// Secrets, arguments or hosts of one step.
const ITEMS_MAX: usize = 200;
/// The id of the step that runs after a failure.
const ON_FAILURE: &str = "on_failure";

/// What the steps of one workflow have in common.
struct Body<'a> {
    scene: &'a Scene<'a>,
    starts: &'a Starts<'a>,
    inputs: &'a BTreeMap<FieldName, Input>,
    files: &'a BTreeMap<String, ScriptFile>,
    timeout: Length,
    known: BTreeMap<StepId, KnownStep>,
}

/// Lowers the steps and the one for failures; `hooked` is the secret of the hook of a shared workflow. `None` if they could not be put in order.
#[expect(clippy::too_many_arguments, reason = "a workflow's parts, each used once")]
pub(super) fn lower(
    scene: &Scene<'_>,
    (starts, hooked): (&Starts<'_>, Option<&SecretName>),
    written: WrittenSteps,
    on_failure: Option<Spanned<WrittenStep>>,
    inputs: &BTreeMap<FieldName, Input>,
    files: &BTreeMap<String, ScriptFile>,
    timeout: Length,
    found: &mut Found,
) -> Option<(Vec<Step>, Option<Step>)> {
    if let Some((id, _)) = written.get(STEPS_MAX) {
        let message = format!("a workflow has at most {STEPS_MAX} steps");
        found.push(rules::BAD_VALUE.at(scene.path, Some(id.span), message).help("let one step do more"));
        return None;
    }
    for (id, _) in written.iter().filter(|(id, _)| id.value.as_str() == ON_FAILURE) {
        let finding = rules::BAD_NAME.at(scene.path, Some(id.span), "`on_failure` is not the name of a step");
        found.push(finding.help("write it beside `steps`, or choose another name"));
    }
    let waits = waits(scene, &written, found);
    let indexes: Vec<Vec<usize>> = waits
        .iter()
        .map(|waits| {
            let index = |id: &StepId| written.iter().position(|(other, _)| other.value == *id);
            waits.steps().iter().filter_map(index).collect()
        })
        .collect();
    // Steps in a circle are judged all the same, as if each of them came after all others.
    let order = order::run_order(&indexes);
    if let Err(circle) = &order {
        report_circle(scene, &written, circle, found);
    }
    // What a step waits for is not known where it names a step that is none: nothing is told of what had ended.
    let unsure: Vec<bool> = written
        .iter()
        .map(|(_, step)| {
            let mut named = step.value.needs.iter().flat_map(|needs| &needs.value.0);
            named.any(|need| !written.iter().any(|(id, _)| id.value.as_str() == need.value))
        })
        .collect();
    let known: BTreeMap<StepId, KnownStep> = written
        .iter()
        .map(|(id, step)| {
            let outputs = step.value.outputs.iter().flat_map(|outputs| &outputs.value.0);
            let outputs = outputs.map(|(name, kind)| (name.value.clone(), kind.value)).collect();
            (id.value.clone(), KnownStep { outputs, list: step.value.for_each.is_some() })
        })
        .collect();
    check_reached(scene, starts, &written, &waits, found);
    let mut body = Body { scene, starts, inputs, files, timeout, known };
    let mut lowered: Vec<Option<Step>> = Vec::new();
    let ids: Vec<StepId> = written.iter().map(|(id, _)| id.value.clone()).collect();
    check_mapping(scene, &written, on_failure.as_ref(), hooked, found);
    for (index, (((id, step), waits), _)) in written.into_iter().zip(waits).zip(&indexes).enumerate() {
        let before = order::before(&indexes, index);
        let sure = order.is_ok()
            && !unsure[index]
            && !before.iter().zip(&unsure).any(|(before, unsure)| *before && *unsure);
        let ended: BTreeSet<StepId> =
            ids.iter().zip(&before).filter(|(_, ended)| !sure || **ended).map(|(id, _)| id.clone()).collect();
        lowered.push(body.step(id.value, step, waits, &ended, found));
    }
    let on_failure = match on_failure {
        None => None,
        Some(step) => {
            for (name, span) in [
                ("needs", step.value.needs.as_ref().map(|needs| needs.span)),
                ("for_each", step.value.for_each.as_ref().map(|each| each.span)),
                ("approval", step.value.approval.as_ref().map(|approval| approval.span)),
            ] {
                if let Some(span) = span {
                    let message = format!("`{name}` cannot stand in `on_failure`");
                    found.push(
                        rules::CONFLICTING_FIELDS.at(scene.path, Some(span), message).help("remove it"),
                    );
                }
            }
            // Whatever ended has a value; what did not is missing, and the script has to bear that.
            let ended: BTreeSet<StepId> = ids.into_iter().collect();
            // INVARIANT: `on_failure` is spelled as a step is.
            let id = ON_FAILURE.parse().ok()?;
            body.known.retain(|id, _| ended.contains(id));
            Some(body.step(id, step, Waits::Nothing, &ended, found)?)
        }
    };
    let steps: Option<Vec<Step>> = order.ok()?.into_iter().map(|index| lowered[index].take()).collect();
    Some((steps?, on_failure))
}

/// What each step waits for, by name or by order.
fn waits(scene: &Scene<'_>, written: &WrittenSteps, found: &mut Found) -> Vec<Waits> {
    let ids: Vec<&str> = written.iter().map(|(id, _)| id.value.as_str()).collect();
    let mut all = Vec::new();
    for (index, (id, step)) in written.iter().enumerate() {
        let Some(needs) = &step.value.needs else {
            let above = index.checked_sub(1).and_then(|above| written.get(above));
            all.push(above.map_or(Waits::Nothing, |(above, _)| Waits::Above(above.value.clone())));
            continue;
        };
        let mut named: Vec<StepId> = Vec::new();
        for need in &needs.value.0 {
            match need.value.parse::<StepId>().ok().filter(|need| ids.contains(&need.as_str())) {
                Some(need) if named.contains(&need) => {}
                Some(need) => named.push(need),
                None => {
                    let message = format!("step `{}` needs an unknown step", id.value);
                    let finding = rules::UNKNOWN_NEEDS.at(scene.path, Some(need.span), message);
                    let finding = finding.label("no step has this id");
                    found.push(match nearest(&need.value, ids.iter().copied()) {
                        Some(near) => finding.help(format!("did you mean `{near}`?")).fix(
                            Safety::Suggested,
                            format!("write `{near}`"),
                            need.span,
                            near,
                        ),
                        None => finding.help(format!("steps of this workflow: {}", ids.join(", "))),
                    });
                }
            }
        }
        all.push(if needs.value.0.is_empty() { Waits::Nothing } else { Waits::Needs(named) });
    }
    all
}

/// Reports steps whose condition is never true, with those that need them.
fn check_reached(
    scene: &Scene<'_>,
    starts: &Starts<'_>,
    written: &WrittenSteps,
    waits: &[Waits],
    found: &mut Found,
) {
    for (id, step) in written {
        let Some(condition) = &step.value.condition else { continue };
        let text = condition.value.0.trim();
        let bare = text.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}")).map_or(text, str::trim);
        // What comes from inputs and steps is known in a run only.
        if bare.contains("inputs") || bare.contains("steps") || !starts.never(bare) {
            continue;
        }
        let message =
            format!("the step `{}` never runs: its condition is false whatever starts it", id.value);
        let mut finding = rules::UNREACHABLE_STEP.at(scene.path, Some(condition.span), message);
        finding = finding.label("never true").help("correct the condition, or remove the step");
        let mut gone = BTreeSet::from([&id.value]);
        // Steps may stand before those that they need: look until no other one is found.
        loop {
            let next = written.iter().zip(waits).find(|((other, _), waits)| {
                let Waits::Needs(needs) = waits else { return false };
                !gone.contains(&other.value) && needs.iter().any(|need| gone.contains(need))
            });
            let Some(((other, _), _)) = next else { break };
            gone.insert(&other.value);
            finding = finding.related(
                scene.path,
                Some(other.span),
                format!("`{}` needs it and never runs either", other.value),
            );
        }
        found.push(finding);
    }
}

fn report_circle(scene: &Scene<'_>, written: &WrittenSteps, circle: &[usize], found: &mut Found) {
    let Some(first) = circle.first() else { return };
    let names: Vec<String> =
        circle.iter().chain([first]).map(|step| format!("`{}`", written[*step].0.value)).collect();
    let (id, step) = &written[*first];
    let place = step.value.needs.as_ref().map_or(id.span, |needs| needs.span);
    let message = if circle.len() == 1 {
        format!("the step `{}` waits for itself", id.value)
    } else {
        format!("steps wait for each other in a circle: {}", names.join(" → "))
    };
    let mut finding =
        rules::NEEDS_CYCLE.at(scene.path, Some(place), message).help("remove one of these `needs`");
    for step in &circle[1..] {
        let (id, step) = &written[*step];
        let place = step.value.needs.as_ref().map_or(id.span, |needs| needs.span);
        finding = finding.related(scene.path, Some(place), format!("`{}` waits here", id.value));
    }
    found.push(finding);
}

/// A use gives each secret that the shared workflow asks for, and no other.
fn check_mapping(
    scene: &Scene<'_>,
    written: &WrittenSteps,
    on_failure: Option<&Spanned<WrittenStep>>,
    hooked: Option<&SecretName>,
    found: &mut Found,
) {
    let Some(mapping) = &scene.mapping else { return };
    let steps = written.iter().map(|(_, step)| step).chain(on_failure);
    let asked: BTreeSet<_> = steps
        .flat_map(|step| step.value.secrets.iter().flat_map(|list| &list.value))
        .map(|used| &used.value.0.name.value)
        .collect();
    for name in asked.iter().filter(|name| !mapping.names.contains_key(**name)) {
        let message =
            format!("the shared workflow asks for the secret `{name}`, which this tenant does not give");
        let finding = rules::SHARED_MAPPING.at(mapping.path, Some(mapping.span), message);
        found.push(finding.help(format!("add `secrets: {{ {name}: my_name }}`")));
    }
    for (name, ours) in
        mapping.names.iter().filter(|(name, _)| !asked.contains(name) && Some(*name) != hooked)
    {
        let message = format!("the shared workflow does not ask for a secret `{name}`");
        let finding = rules::SHARED_MAPPING.at(mapping.path, Some(ours.span), message);
        found.push(finding.help("remove it from `secrets`"));
    }
}

impl Body<'_> {
    fn step(
        &self,
        id: StepId,
        written: Spanned<WrittenStep>,
        waits: Waits,
        ended: &BTreeSet<StepId>,
        found: &mut Found,
    ) -> Option<Step> {
        let span = written.span;
        let step = written.value;
        let work = match &step.approval {
            Some(approval) => approvals::lower(self.scene, approval, &step, found).map(Work::Approval),
            None => self.work(&id, span, &step, found),
        };
        let for_each = self.for_each(&step, ended, found);
        let mut roots = vec![Root::Inputs, Root::Steps, Root::Trigger, Root::Run, Root::Tenant];
        let sight = self.sight("in a condition", &roots, ended, false);
        let condition =
            step.condition.map(|condition| sight.check_expression(&text(condition), Kind::Bool, found));
        if for_each.is_some() {
            roots.push(Root::Item);
        }
        let with = step.with.map(|with| {
            let sight = self.sight("in `with`", &roots, ended, true);
            lower_with(&sight, with.value, found)
        });
        let timeout = self.step_timeout(step.timeout, found);
        let network = step.network.map(|network| self.network(network, found)).unwrap_or_default();
        let retry = self.retry(step.retry, found);
        let secrets = step.secrets.map(|list| self.secrets(list.value, found)).unwrap_or_default();
        let resources = self.resources(step.resources, found);
        Some(Step {
            id,
            waits,
            condition,
            work: work?,
            args: step
                .args
                .map_or_else(Vec::new, |args| args.value.into_iter().map(|arg| arg.value).collect()),
            secrets,
            with,
            network,
            resources,
            retry,
            timeout,
            outputs: step.outputs.map_or_else(BTreeMap::new, |outputs| {
                outputs.value.0.into_iter().map(|(name, kind)| (name.value, kind.value)).collect()
            }),
            for_each,
        })
    }

    fn sight<'s>(
        &'s self,
        place: &'static str,
        roots: &'s [Root],
        ended: &'s BTreeSet<StepId>,
        sensitive: bool,
    ) -> Sight<'s> {
        Sight {
            path: self.scene.path,
            place,
            roots,
            inputs: self.inputs,
            steps: &self.known,
            ended,
            sensitive,
        }
    }

    fn work(&self, id: &StepId, span: Span, step: &WrittenStep, found: &mut Found) -> Option<Work> {
        let path = self.scene.path;
        match (&step.run, &step.script) {
            (Some(run), None) => {
                if let Some(shell) = &step.shell {
                    let message = "`shell` belongs to an inline `script`";
                    let finding = rules::CONFLICTING_FIELDS.at(path, Some(shell.span), message);
                    found.push(finding.help("remove it: a script of the repository has a shebang line"));
                }
                let sight = scripts::Sight {
                    path,
                    root: self.scene.root,
                    tree: self.scene.tree,
                    files: self.files,
                    indexes: self.scene.indexes,
                };
                scripts::check_script(&sight, run, found);
                let script = self.scene.tree.get(&format!("{}{}", self.scene.root, run.value));
                if let Some(bytes) = script.and_then(|script| script.content.as_deref()) {
                    self.check_start(bytes, run.span, found);
                }
                Some(Work::Script { path: run.value.clone() })
            }
            (None, Some(script)) => {
                if script.value.0.trim().is_empty() {
                    found.push(
                        rules::BAD_VALUE
                            .at(path, Some(script.span), "the script is empty")
                            .help("write what it does"),
                    );
                }
                self.check_start(script.value.0.as_bytes(), script.span, found);
                if python::metadata(script.value.0.as_bytes())
                    .is_some_and(|it| !it.is_ok_and(|it| it.is_empty()))
                {
                    let message = "a script in a workflow carries no dependencies (PEP 723)";
                    let finding = rules::PYTHON_LOCK_MISSING.at(path, Some(first_line(script.span)), message);
                    found
                        .push(finding.help(
                            "put it into a file below `scripts/`, which has room for a lock beside it",
                        ));
                }
                let shell = step.shell.as_ref().map_or_else(Default::default, |shell| shell.value);
                Some(Work::Inline { shell, text: script.value.0.clone() })
            }
            (Some(_), Some(script)) => {
                let message = "a step has either `run` or `script`";
                found.push(
                    rules::CONFLICTING_FIELDS.at(path, Some(script.span), message).help("remove one of them"),
                );
                None
            }
            (None, None) => {
                let message = format!("the step `{id}` does nothing");
                let finding = rules::MISSING_FIELD.at(path, Some(first_line(span)), message);
                found.push(finding.help("write `run: scripts/NAME`, or `script:`"));
                None
            }
        }
    }

    fn check_start(&self, script: &[u8], span: Span, found: &mut Found) {
        if let Some(how) = self.starts.started_by(script) {
            let finding = rules::TRIGGERS_ITSELF.at(
                self.scene.path,
                Some(first_line(span)),
                format!("this script {how}: each run would start the next one"),
            );
            found.push(finding.help("let something else start the workflow, or leave that to another one"));
        }
    }

    fn for_each(&self, step: &WrittenStep, ended: &BTreeSet<StepId>, found: &mut Found) -> Option<ForEach> {
        let path = self.scene.path;
        let Some(items) = &step.for_each else {
            let alone = [
                ("item_key", step.item_key.as_ref().map(|key| key.span)),
                ("max_parallel", step.max_parallel.as_ref().map(|limit| limit.span)),
            ];
            for (name, span) in alone.into_iter().filter_map(|(name, span)| Some((name, span?))) {
                let message = format!("`{name}` needs `for_each`");
                found.push(
                    rules::CONFLICTING_FIELDS
                        .at(path, Some(span), message)
                        .help("remove it, or add `for_each`"),
                );
            }
            return None;
        };
        let roots = [Root::Inputs, Root::Steps, Root::Trigger, Root::Run, Root::Tenant, Root::Item];
        let sight = self.sight("in `for_each`", &roots[..5], ended, false);
        let items = sight.check_expression(&text(items.clone()), Kind::List, found);
        let sight = self.sight("in `item_key`", &roots, ended, false);
        let item_key =
            step.item_key.clone().map(|key| sight.check_expression(&text(key), Kind::Unknown, found));
        Some(ForEach {
            items,
            item_key,
            max_parallel: step.max_parallel.as_ref().map_or(1, |limit| limit.value),
        })
    }

    fn step_timeout(&self, written: Option<Spanned<Length>>, found: &mut Found) -> Length {
        let Some(written) = written else { return STEP_TIMEOUT.min(self.timeout) };
        if written.value > self.timeout {
            let message = format!("the step's timeout is {}, the run has {}", written.value, self.timeout);
            let help = format!("write at most {}, or raise the workflow's `timeout`", self.timeout);
            let finding = rules::TIMEOUT_ABOVE_LIMIT.at(self.scene.path, Some(written.span), message);
            found.push(finding.help(help));
        }
        written.value
    }

    fn network(&self, written: Spanned<Vec<Spanned<HostPort>>>, found: &mut Found) -> Vec<HostPort> {
        let path = self.scene.path;
        for host in written.value.iter().filter(|host| host.value.is_name()) {
            if let Some(settings) =
                self.scene.settings.filter(|settings| !settings.egress.contains(&host.value))
            {
                let allowed: Vec<String> = settings.egress.iter().map(ToString::to_string).collect();
                let help = if allowed.is_empty() {
                    format!("add `egress: [{}]` to tenant.yaml", host.value)
                } else {
                    format!("tenant.yaml allows {}", listed(allowed.iter().map(String::as_str)))
                };
                let message = format!("`{}` is not in this tenant's `egress`", host.value);
                found.push(rules::EGRESS_ABOVE_TENANT.at(path, Some(host.span), message).help(help));
            }
        }
        if written.value.len() > HOSTS_MAX {
            let message = format!("a step reaches at most {HOSTS_MAX} hosts");
            found.push(rules::BAD_VALUE.at(path, Some(written.span), message).help("split the step"));
        }
        hosts::lower(path, written.value, found)
    }

    fn retry(&self, written: Option<Spanned<WrittenRetry>>, found: &mut Found) -> Retry {
        let mut retry = Retry::default();
        let Some(Spanned { value: written, span }) = written else { return retry };
        let path = self.scene.path;
        if let Some(attempts) = written.attempts {
            if attempts.value > ATTEMPTS_MAX {
                let message = format!("a step has at most {ATTEMPTS_MAX} attempts");
                found.push(rules::BAD_VALUE.at(path, Some(attempts.span), message).help("write fewer"));
            }
            retry.attempts = attempts.value.min(ATTEMPTS_MAX);
        }
        if let Some(backoff) = &written.backoff {
            retry.backoff = backoff.value;
            // A longer first wait than the default's cap means a longer cap.
            retry.max = retry.max.max(backoff.value);
        }
        if let Some(max) = written.max {
            if max.value < retry.backoff {
                let message = format!("`max` is {}, the first wait is {}", max.value, retry.backoff);
                found.push(rules::CONFLICTING_FIELDS.at(path, Some(max.span), message).help("raise `max`"));
            }
            retry.max = max.value;
        }
        retry.jitter = written.jitter.is_none_or(|jitter| jitter.value);
        if let Some(on) = written.on {
            retry.on = on.value.into_iter().map(|result| result.value).collect();
            retry.on.sort_unstable();
            retry.on.dedup();
        }
        let mut waits: u64 = 0;
        let mut wait = retry.backoff.as_millis();
        for _ in 1..retry.attempts {
            waits = waits.saturating_add(wait.min(retry.max.as_millis()));
            wait = wait.saturating_mul(2);
        }
        if waits > self.timeout.as_millis() {
            let waits = Length::from_millis(waits);
            let message = format!("the waits between the attempts are {waits}, the run has {}", self.timeout);
            let finding = rules::RETRIES_OUTLAST_TIMEOUT.at(path, Some(span), message);
            found.push(finding.help("fewer attempts, shorter waits or a longer `timeout`"));
        }
        retry
    }

    fn resources(&self, written: Option<Spanned<WrittenResources>>, found: &mut Found) -> Resources {
        let mut resources = Resources::default();
        let limit = self.scene.settings.and_then(|settings| settings.limits.memory);
        if let Some(limit) = limit {
            resources.memory = resources.memory.min(limit);
        }
        let Some(written) = written.map(|written| written.value) else { return resources };
        if let Some(memory) = written.memory {
            if let Some(limit) = limit.filter(|limit| memory.value > *limit) {
                let message = format!("the step asks for {}, this tenant has {limit}", memory.value);
                let finding = rules::RESOURCE_ABOVE_LIMIT.at(self.scene.path, Some(memory.span), message);
                found.push(
                    finding.help(format!("write at most {limit}, or raise `limits.memory` of tenant.yaml")),
                );
            }
            if memory.value < ByteSize::from_mib(4) {
                let message = "no program starts in less than 4MiB";
                found.push(
                    rules::BAD_VALUE.at(self.scene.path, Some(memory.span), message).help("write more"),
                );
            }
            resources.memory = memory.value;
        }
        if let Some(cpu) = written.cpu {
            resources.cpu_millis = cpu.value.0;
        }
        if let Some(pids) = written.pids {
            resources.pids = pids.value;
        }
        if let Some(disk) = written.disk {
            resources.disk = disk.value;
        }
        // What the tenant demands counts besides, whenever an attempt is leased.
        if written.tier.is_some() {
            let floor = self.scene.settings.and_then(|settings| settings.limits.tier);
            resources.tier = at_least(self.scene.path, written.tier, floor, "tenant", found);
        }
        resources
    }

    fn secrets(&self, written: Vec<Spanned<WrittenSecretUse>>, found: &mut Found) -> Vec<SecretUse> {
        let path = self.scene.path;
        let mut read: Vec<SecretUse> = Vec::new();
        if let Some(beyond) = written.get(ITEMS_MAX) {
            let message = format!("a step has at most {ITEMS_MAX} secrets");
            found.push(rules::BAD_VALUE.at(path, Some(beyond.span), message).help("split the step"));
        }
        for used in written.into_iter().take(ITEMS_MAX) {
            let span = used.span;
            let used = used.value.0;
            let place = used.name.span;
            let delivery = match (used.env, used.file) {
                (None, None) => Delivery::Socket,
                (Some(env), None) => {
                    check_variable(path, &env, found);
                    Delivery::Env(env.value)
                }
                (None, Some(file)) => {
                    check_variable(path, &file, found);
                    Delivery::File(file.value)
                }
                (Some(_), Some(file)) => {
                    let message = "a secret arrives by `env` or by `file`";
                    let finding = rules::CONFLICTING_FIELDS.at(path, Some(file.span), message);
                    found.push(finding.help("remove one of them"));
                    continue;
                }
            };
            self.check_delivery(&delivery, span, found);
            let asked = used.name.value;
            let (name, path, place) = match &self.scene.mapping {
                None => (asked.clone(), path, place),
                // What is not mapped is reported once, for the whole workflow.
                Some(mapping) => match mapping.names.get(&asked) {
                    None => continue,
                    Some(ours) => (ours.value.clone(), mapping.path, ours.span),
                },
            };
            self.check_declared(&name, path, place, found);
            let alias = (name != asked).then_some(asked);
            let used = SecretUse { name, delivery, alias };
            if read.iter().any(|other| other.asked() == used.asked() && other.delivery == used.delivery) {
                let message = format!("the secret `{}` stands twice", used.asked());
                found.push(rules::DUPLICATE_KEY.at(path, Some(place), message).help("keep one of them"));
            }
            read.push(used);
        }
        read
    }

    fn check_delivery(&self, delivery: &Delivery, span: Span, found: &mut Found) {
        let path = self.scene.path;
        let kind = delivery.kind();
        if let Some(settings) = self.scene.settings.filter(|settings| !settings.delivery.contains(&kind)) {
            let allowed: Vec<&str> = settings
                .delivery
                .iter()
                .map(|kind| match kind {
                    crate::domain::DeliveryKind::Socket => "socket",
                    crate::domain::DeliveryKind::Env => "env",
                    crate::domain::DeliveryKind::File => "file",
                })
                .collect();
            let message = "this tenant does not let secrets arrive in this way";
            let finding = rules::DELIVERY_FORBIDDEN.at(path, Some(span), message);
            found.push(finding.help(format!("tenant.yaml allows {}", listed(allowed))));
        } else if let Delivery::Env(variable) = delivery {
            let message = format!("a secret arrives in the environment variable `{variable}`");
            let finding = rules::SECRET_IN_ENVIRONMENT.at(path, Some(span), message);
            found.push(
                finding.help("give it to one command only: `tenantry-secret exec VARIABLE=NAME -- COMMAND`"),
            );
        }
    }

    fn check_declared(&self, name: &SecretName, path: &str, span: Span, found: &mut Found) {
        let Some(secrets) = self.scene.secrets else { return };
        match secrets.get(name) {
            None => {
                let help = match nearest(name.as_str(), secrets.keys().map(AsRef::as_ref)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if secrets.is_empty() => {
                        "this tenant has no secrets yet: `tenantry secrets set`".to_owned()
                    }
                    None => format!("secrets.yaml has {}", listed(secrets.keys().map(AsRef::as_ref))),
                };
                let message = format!("this tenant has no secret `{name}`");
                found.push(rules::UNDECLARED_SECRET.at(path, Some(span), message).help(help));
            }
            Some(secret) if !secret.purposes.contains(&SecretPurpose::Step) => {
                let message = format!("the secret `{name}` is not for steps");
                let finding = rules::WRONG_PURPOSE.at(path, Some(span), message);
                found.push(finding.help("add `step` to its `use` in secrets.yaml"));
            }
            Some(_) => {}
        }
    }
}

fn text(formula: Spanned<Formula>) -> Spanned<String> {
    formula.map(|formula| formula.0)
}

fn first_line(span: Span) -> Span {
    if span.end.line > span.start.line { Span { start: span.start, end: span.start } } else { span }
}

fn lower_with(
    sight: &Sight<'_>,
    with: Entries<FieldName, Anything>,
    found: &mut Found,
) -> BTreeMap<FieldName, serde_json::Value> {
    with.0
        .into_iter()
        .map(|(name, value)| {
            sight.check_value(&value.value, found);
            (name.value, value.value.value)
        })
        .collect()
}

/// Variables that would change what runs, or that tenantry sets itself.
fn check_variable(path: &str, variable: &Spanned<String>, found: &mut Found) {
    let name = variable.value.as_str();
    let shape = name.len() <= 128
        && name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let taken = ["PATH", "HOME", "TMPDIR", "LANG", "TZ", "TRACEPARENT", "IFS", "ENV", "BASH_ENV", "SHELL"];
    let loader = ["LD_", "TENANTRY_", "INPUT_", "PYTHON", "NODE_", "PERL", "RUBY", "GLIBC_", "GCONV_"];
    let problem = if !shape {
        Some("is not the name of an environment variable")
    } else if taken.contains(&name) || loader.iter().any(|prefix| name.starts_with(prefix)) {
        Some("is set by tenantry or changes how programs are loaded")
    } else {
        None
    };
    if let Some(problem) = problem {
        let finding = rules::BAD_VARIABLE.at(path, Some(variable.span), format!("`{name}` {problem}"));
        found.push(finding.help("choose another name, such as DATABASE_URL"));
    }
}
