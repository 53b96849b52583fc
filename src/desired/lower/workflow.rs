//! One workflow: short forms expanded, shared ones taken in, steps put in order.

use std::collections::{BTreeMap, BTreeSet};

use super::expressions::Sight;
use super::file::{self, Found};
use super::steps::{self, WrittenSteps};
use super::{Tenancy, scripts, secrets, tenant, triggers};
use crate::desired::rules;
use crate::desired::written::{
    Entries, Formula, Language, WrittenConcurrency, WrittenStep, WrittenTopSecrets, WrittenWorkflow, decode,
    listed, nearest,
};
use crate::domain::{
    Concurrency, FieldName, Input, Length, OnLimit, SecretName, Span, Spanned, TenantSettings, Workflow,
    WorkflowId,
};
use crate::expression::Root;

/// The time of a run that says nothing, where the tenant's limit is not lower.
const RUN_TIMEOUT: Length = Length::from_secs(3600);

/// Where the body of a workflow is written, and what its steps may have.
pub(super) struct Scene<'a> {
    pub(super) path: &'a str,
    /// Directory that scripts and globs are written from.
    pub(super) root: &'a str,
    pub(super) tree: &'a crate::domain::Tree,
    pub(super) settings: Option<&'a TenantSettings>,
    pub(super) secrets: Option<&'a secrets::Lowered>,
    /// For a shared workflow: its names to this tenant's, with the place of the use.
    pub(super) mapping: Option<Mapping<'a>>,
}

/// A shared workflow's secrets in this tenant.
pub(super) struct Mapping<'a> {
    pub(super) path: &'a str,
    pub(super) span: Span,
    pub(super) names: BTreeMap<SecretName, Spanned<SecretName>>,
}

pub(super) fn lower(
    tenancy: &Tenancy<'_>,
    id: &WorkflowId,
    path: &str,
    written: WrittenWorkflow,
    settings: Option<&TenantSettings>,
    secrets: Option<&secrets::Lowered>,
    found: &mut Found,
) -> Option<Workflow> {
    let Some(uses) = written.uses.clone() else {
        let root = &tenancy.root;
        let scene = Scene { path, root, tree: tenancy.tree, settings, secrets, mapping: None };
        return lower_body(&scene, id, written, None, found);
    };
    let name = shared_name(tenancy, path, &uses, found)?;
    let (own, names) = own_part(path, &written, found)?;
    let root = format!("shared/{name}/");
    let body_path = format!("{root}workflow.yaml");
    let entry = tenancy.shared.get(&body_path)?;
    // Its own mistakes are this tenant's from here on.
    if !super::place::check_below(&root, tenancy.shared, found) {
        return None;
    }
    let body: WrittenWorkflow = file::parse(&body_path, entry, found)
        .and_then(|root| decode(&root, &body_path, Language::Yaml, &mut found.list))?;
    if let Some(nested) = &body.uses {
        let message = "a shared workflow cannot use another one";
        found.push(
            rules::CONFLICTING_FIELDS.at(&body_path, Some(nested.span), message).help("write its steps out"),
        );
        return None;
    }
    let mapping = Some(Mapping { path, span: uses.span, names });
    let scene = Scene { path: &body_path, root: &root, tree: tenancy.shared, settings, secrets, mapping };
    let mut workflow = lower_body(&scene, id, body, Some((path, own)), found)?;
    workflow.uses = Some(format!("shared/{name}"));
    Some(workflow)
}

/// The directory that `uses` names.
fn shared_name(
    tenancy: &Tenancy<'_>,
    path: &str,
    uses: &Spanned<String>,
    found: &mut Found,
) -> Option<String> {
    let text = &uses.value;
    if text.contains('@') {
        let message = "pinning a shared workflow to a commit is not supported yet";
        let finding = rules::NOT_SUPPORTED.at(path, Some(uses.span), message);
        found.push(finding.help("write `shared/NAME`: it is taken from the same commit"));
        return None;
    }
    let name = text.strip_prefix("shared/").filter(|name| name.parse::<WorkflowId>().is_ok());
    let Some(name) = name else {
        let finding =
            rules::BAD_VALUE.at(path, Some(uses.span), format!("`{text}` names no shared workflow"));
        found.push(finding.help("write `shared/NAME`"));
        return None;
    };
    if tenancy.shared.get(&format!("shared/{name}/workflow.yaml")).is_none() {
        let names: BTreeSet<&str> = tenancy
            .shared
            .below("shared/")
            .filter_map(|(path, _)| path.strip_prefix("shared/")?.strip_suffix("/workflow.yaml"))
            .collect();
        let help = match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `shared/{near}`?"),
            None if names.is_empty() => "this repository shares no workflow".to_owned(),
            None => format!("shared workflows: {}", listed(names)),
        };
        let finding =
            rules::SHARED_MAPPING.at(path, Some(uses.span), format!("there is no shared workflow `{name}`"));
        found.push(finding.help(help));
        return None;
    }
    Some(name.to_owned())
}

/// What may stand beside `uses`, and the mapping of secrets.
fn own_part(
    path: &str,
    written: &WrittenWorkflow,
    found: &mut Found,
) -> Option<(WrittenWorkflow, BTreeMap<SecretName, Spanned<SecretName>>)> {
    let before = found.list.len();
    let mut refuse = |name: &str, span: Option<Span>| {
        if let Some(span) = span {
            let message = format!("`{name}` cannot stand beside `uses`");
            let help = "beside `uses` stand `with`, `secrets`, `on`, `timeout`, `concurrency`, `alert`, `expect`, `paused`";
            found.push(rules::CONFLICTING_FIELDS.at(path, Some(span), message).help(help));
        }
    };
    refuse("steps", written.steps.as_ref().map(|field| field.span));
    refuse("run", written.run.as_ref().map(|field| field.span));
    refuse("script", written.script.as_ref().map(|field| field.span));
    refuse("shell", written.shell.as_ref().map(|field| field.span));
    refuse("args", written.args.as_ref().map(|field| field.span));
    refuse("network", written.network.as_ref().map(|field| field.span));
    refuse("resources", written.resources.as_ref().map(|field| field.span));
    refuse("retry", written.retry.as_ref().map(|field| field.span));
    refuse("outputs", written.outputs.as_ref().map(|field| field.span));
    refuse("inputs", written.inputs.as_ref().map(|field| field.span));
    refuse("files", written.files.as_ref().map(|field| field.span));
    refuse("on_failure", written.on_failure.as_ref().map(|field| field.span));
    refuse("runtime", written.runtime.as_ref().map(|field| field.span));
    refuse("replay_safe", written.replay_safe.as_ref().map(|field| field.span));
    let mut names = BTreeMap::new();
    match &written.secrets {
        None => {}
        Some(Spanned { value: WrittenTopSecrets::Mapping(mapping), .. }) => {
            for (theirs, ours) in &mapping.0 {
                names.insert(theirs.value.clone(), ours.clone());
            }
        }
        Some(Spanned { value: WrittenTopSecrets::Uses(_), span }) => {
            let message = "with `uses`, secrets are a mapping";
            let finding = rules::WRONG_TYPE.at(path, Some(*span), message);
            found.push(finding.help("write `secrets: { THEIR_NAME: my_name }`"));
        }
    }
    (found.list.len() == before).then(|| (written.clone(), names))
}

/// Lowers the body of a workflow; `own` is the tenant's part of one that uses a shared body.
fn lower_body(
    scene: &Scene<'_>,
    id: &WorkflowId,
    mut written: WrittenWorkflow,
    own: Option<(&str, WrittenWorkflow)>,
    found: &mut Found,
) -> Option<Workflow> {
    let before =
        found.list.iter().filter(|finding| finding.severity == crate::domain::Severity::Error).count();
    let path = scene.path;
    if let Some(runtime) = &written.runtime {
        let finding = rules::NOT_SUPPORTED.at(path, Some(runtime.span), "a `runtime` is not supported yet");
        found.push(finding.help("remove it: steps see the interpreters of the host"));
    }
    let mut inputs = triggers::lower_inputs(path, written.inputs.take().map(|inputs| inputs.value), found);
    let shared = own.is_some();
    let (own_path, own) = own.map_or((path, None), |(path, own)| (path, Some(own)));
    let own = own.as_ref();
    let description = own.and_then(|own| own.description.clone()).or(written.description.take());
    let alert = own.and_then(|own| own.alert.clone()).or(written.alert.take());
    let expect = own.and_then(|own| own.expect.clone()).or(written.expect.take());
    let paused = own.and_then(|own| own.paused.clone()).or(written.paused.take());
    let (timeout_path, timeout) = match own.and_then(|own| own.timeout.clone()) {
        Some(timeout) => (own_path, Some(timeout)),
        None => (path, written.timeout.clone()),
    };
    let (concurrency_path, concurrency) = match own.and_then(|own| own.concurrency.clone()) {
        Some(concurrency) => (own_path, Some(concurrency)),
        None => (path, written.concurrency.take()),
    };
    if shared {
        let with = own.and_then(|own| own.with.clone()).map(|with| with.value).unwrap_or_default();
        for (name, value) in triggers::check_given(own_path, with, &inputs, found) {
            if let Some(input) = inputs.get_mut(&name) {
                input.default = Some(value);
                input.required = false;
            }
        }
    }
    let (trigger_path, trigger_root, trigger_tree, on) = match own.and_then(|own| own.on.clone()) {
        Some(on) => (own_path, scene.root, scene.tree, Some(on)),
        None => (path, scene.root, scene.tree, written.on.take()),
    };
    let place = triggers::Scene {
        path: trigger_path,
        root: trigger_root,
        tree: trigger_tree,
        settings: scene.settings,
    };
    let triggers = triggers::lower(&place, on, &inputs, found);
    let files = written.files.take().map(|files| files.value);
    let files = scripts::visible(path, scene.root, scene.tree, files.as_deref(), found);
    // The only step of a short form has all the time of its run.
    written.timeout = timeout.clone();
    let timeout = run_timeout(timeout_path, timeout, scene.settings, found);
    let concurrency =
        concurrency.map(|concurrency| lower_concurrency(concurrency_path, concurrency.value, &inputs, found));
    let success_within = expect.and_then(|expect| expect.value.success_within).map(|length| length.value);
    let replay_safe = written.replay_safe.as_ref().is_some_and(|safe| safe.value);
    let on_failure = written.on_failure.take();
    let written = short_form(path, written, found)?;
    let lowered = steps::lower(scene, written, on_failure, &inputs, &files, timeout, found);
    let after =
        found.list.iter().filter(|finding| finding.severity == crate::domain::Severity::Error).count();
    let (steps, on_failure) = lowered.filter(|_| before == after)?;
    Some(Workflow {
        id: id.clone(),
        description: description.map(|description| description.value),
        triggers,
        inputs,
        files,
        concurrency,
        timeout,
        alert: alert.map_or_else(Default::default, |alert| alert.value),
        success_within,
        replay_safe,
        paused: paused.map(|pause| tenant::lower_pause(pause.value)),
        runtime: None,
        uses: None,
        steps,
        on_failure: on_failure.map(Box::new),
    })
}

/// The time of a run, below the tenant's limit.
fn run_timeout(
    path: &str,
    written: Option<Spanned<Length>>,
    settings: Option<&TenantSettings>,
    found: &mut Found,
) -> Length {
    let limit = settings.and_then(|settings| settings.limits.run_timeout);
    match written {
        None => limit.map_or(RUN_TIMEOUT, |limit| limit.min(RUN_TIMEOUT)),
        Some(written) => {
            if let Some(limit) = limit.filter(|limit| written.value > *limit) {
                let message =
                    format!("the timeout is {}, this tenant's runs have at most {limit}", written.value);
                let finding = rules::TIMEOUT_ABOVE_LIMIT.at(path, Some(written.span), message);
                found
                    .push(finding.help(format!(
                        "write at most {limit}, or raise `limits.run_timeout` of tenant.yaml"
                    )));
            }
            written.value
        }
    }
}

fn lower_concurrency(
    path: &str,
    written: WrittenConcurrency,
    inputs: &BTreeMap<FieldName, Input>,
    found: &mut Found,
) -> Concurrency {
    if let Some(key) = &written.key {
        Sight {
            path,
            place: "in a concurrency key",
            roots: &[Root::Inputs, Root::Trigger, Root::Tenant],
            inputs,
            steps: &BTreeMap::new(),
            ended: &BTreeSet::new(),
            sensitive: false,
        }
        .check_template(&key.value.0, key.span, found);
    }
    Concurrency {
        key: written.key.map_or_else(String::new, |key| key.value.0),
        limit: written.limit.map_or(1, |limit| limit.value),
        on_limit: written.on_limit.map_or_else(OnLimit::default, |answer| answer.value),
    }
}

/// The steps as written; `run` or `script` at the top is one step, `main`.
fn short_form(path: &str, written: WrittenWorkflow, found: &mut Found) -> Option<WrittenSteps> {
    let short =
        written.run.as_ref().map(|run| run.span).or(written.script.as_ref().map(|script| script.span));
    if let Some(steps) = written.steps {
        let mut belongs = |name: &str, span: Option<Span>| {
            if let Some(span) = span {
                let message = format!("`{name}` belongs to a step where there are `steps`");
                let finding = rules::CONFLICTING_FIELDS.at(path, Some(span), message);
                found.push(finding.help(format!("move `{name}` into the step that it is for")));
            }
        };
        belongs("run", written.run.map(|field| field.span));
        belongs("script", written.script.map(|field| field.span));
        belongs("shell", written.shell.map(|field| field.span));
        belongs("args", written.args.map(|field| field.span));
        belongs("secrets", written.secrets.map(|field| field.span));
        belongs("with", written.with.map(|field| field.span));
        belongs("network", written.network.map(|field| field.span));
        belongs("resources", written.resources.map(|field| field.span));
        belongs("retry", written.retry.map(|field| field.span));
        belongs("outputs", written.outputs.map(|field| field.span));
        if steps.value.0.is_empty() {
            let finding = rules::MISSING_FIELD.at(path, Some(steps.span), "the workflow has no step");
            found.push(finding.help("write at least one"));
            return None;
        }
        return Some(steps.value.0);
    }
    let Some(span) = short else {
        let finding = rules::MISSING_FIELD.at(path, None, "the workflow has no steps");
        found.push(finding.help("write `run: scripts/NAME`, or `steps:`"));
        return None;
    };
    let secrets = match written.secrets {
        None => None,
        Some(Spanned { value: WrittenTopSecrets::Uses(uses), span }) => Some(Spanned::new(uses, span)),
        Some(Spanned { value: WrittenTopSecrets::Mapping(_), span }) => {
            let finding = rules::WRONG_TYPE.at(path, Some(span), "secrets of a step are a list");
            found.push(finding.help("write `secrets: [NAME]`; a mapping belongs to `uses`"));
            None
        }
    };
    let step = WrittenStep {
        run: written.run,
        script: written.script,
        shell: written.shell,
        args: written.args,
        needs: None,
        condition: None::<Spanned<Formula>>,
        approval: None,
        secrets,
        with: written.with,
        network: written.network,
        resources: written.resources,
        retry: written.retry,
        timeout: written.timeout,
        outputs: written.outputs,
        for_each: None,
        item_key: None,
        max_parallel: None,
    };
    // INVARIANT: `main` is spelled as a step is.
    let main = "main".parse().ok()?;
    Some(Entries(vec![(Spanned::new(main, span), Spanned::new(step, span))]).0)
}
