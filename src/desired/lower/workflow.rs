//! One workflow: short forms expanded, shared ones taken in, steps put in order.

use std::collections::{BTreeMap, BTreeSet};

use super::expressions::Sight;
use super::file::{self, Found};
use super::reach::Starts;
use super::steps::{self, WrittenSteps};
use super::{Tenancy, scripts, secrets, tenant, triggers};
use crate::desired::rules;
use crate::desired::written::{
    Entries, Formula, Language, WrittenConcurrency, WrittenStep, WrittenTopSecrets, WrittenWorkflow, decode,
    listed, nearest,
};
use crate::domain::{
    CommitId, Concurrency, FieldName, Grant, Input, Length, OnLimit, People, Pinned, SecretName, Span,
    Spanned, TenantId, TenantSettings, Tree, Workflow, WorkflowId,
};
use crate::expression::Root;

/// The time of a run that says nothing, where the tenant's limit is not lower.
const RUN_TIMEOUT: Length = Length::from_secs(3600);

/// Where the body of a workflow is written, and what its steps may have.
pub(super) struct Scene<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) path: &'a str,
    /// Directory that scripts and globs are written from.
    pub(super) root: &'a str,
    pub(super) tree: &'a Tree,
    pub(super) settings: Option<&'a TenantSettings>,
    pub(super) secrets: Option<&'a secrets::Lowered>,
    /// Who has which role here.
    pub(super) grants: &'a BTreeSet<Grant>,
    pub(super) people: &'a People,
    /// Where packages of Python may come from.
    pub(super) indexes: Option<&'a [String]>,
    /// For a shared workflow: its names to this tenant's, with the place of the use.
    pub(super) mapping: Option<Mapping<'a>>,
    /// The tenant's directory, which globs beside `uses` are written from.
    own: Place<'a>,
}

/// A directory and the tree it lies in.
#[derive(Clone, Copy)]
struct Place<'a> {
    root: &'a str,
    tree: &'a Tree,
}

/// A shared workflow's secrets in this tenant.
pub(super) struct Mapping<'a> {
    pub(super) path: &'a str,
    pub(super) span: Span,
    pub(super) names: BTreeMap<SecretName, Spanned<SecretName>>,
}

/// What of the tenant stands around its workflows, as far as it could be read.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) settings: Option<&'a TenantSettings>,
    pub(super) secrets: Option<&'a secrets::Lowered>,
    pub(super) grants: &'a BTreeSet<Grant>,
}

pub(super) fn lower(
    tenancy: &Tenancy<'_>,
    id: &WorkflowId,
    path: &str,
    written: WrittenWorkflow,
    around: Around<'_>,
    found: &mut Found,
) -> Option<Workflow> {
    let Around { settings, secrets, grants } = around;
    let people = &tenancy.platform.people;
    let own = Place { root: &tenancy.root, tree: tenancy.tree };
    let Some(uses) = written.uses.clone() else {
        let tenant = tenancy.tenant;
        let indexes = Some(tenancy.platform.settings.indexes.as_slice());
        let scene = Scene {
            tenant,
            path,
            root: own.root,
            tree: own.tree,
            settings,
            secrets,
            grants,
            people,
            indexes,
            mapping: None,
            own,
        };
        return lower_body(&scene, id, written, None, found);
    };
    let Body { name, tree, at } = shared_body(tenancy, path, &uses, found)?;
    let Some(commit) = at else {
        return expanded(
            &Use { tenancy, id, path, name: &name, tree, span: uses.span, around },
            written,
            found,
        );
    };
    // The file that lies there now is another one: what is wrong in the pinned one is told at the pin.
    let mut inner = Found::default();
    let its = Use { tenancy, id, path, name: &name, tree, span: uses.span, around };
    let workflow = expanded(&its, written, &mut inner);
    let shared = format!("shared/{name}/");
    found.absorb(inner, |mut finding| {
        if finding.at.path.starts_with(&shared) || finding.at.path == shared.trim_end_matches('/') {
            let line = finding.at.span.map_or_else(String::new, |span| format!(":{}", span.start.line));
            finding.message =
                format!("{} (`{}`{line} as of {})", finding.message, finding.at.path, commit.short());
            finding.help =
                Some("pin a commit in which it is mended, or follow `shared/NAME` without a pin".into());
            finding.at.path = path.to_owned();
            finding.at.span = Some(uses.span);
            // Its places are those of the older file.
            finding.fix = None;
        }
        finding
    });
    workflow.map(|workflow| Workflow { uses: Some(format!("shared/{name}@{commit}")), ..workflow })
}

/// A use of a shared workflow, its body found.
struct Use<'a> {
    tenancy: &'a Tenancy<'a>,
    id: &'a WorkflowId,
    path: &'a str,
    name: &'a str,
    /// Holds `shared/NAME/`.
    tree: &'a Tree,
    span: Span,
    around: Around<'a>,
}

/// The shared workflow as this tenant's.
fn expanded(its: &Use<'_>, written: WrittenWorkflow, found: &mut Found) -> Option<Workflow> {
    let Use { tenancy, id, path, name, tree, around, .. } = *its;
    let Around { settings, secrets, grants } = around;
    let (own, names) = own_part(path, &written, found)?;
    let root = format!("shared/{name}/");
    let body_path = format!("{root}workflow.yaml");
    let entry = tree.get(&body_path)?;
    // Its own mistakes are this tenant's from here on.
    if !super::place::check_below(&root, tree, found) {
        return None;
    }
    for (path, entry) in tree.below(&root) {
        super::content::check(path, entry, found);
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
    let mapping = Some(Mapping { path, span: its.span, names });
    let place = Place { root: &tenancy.root, tree: tenancy.tree };
    let scene = Scene {
        tenant: tenancy.tenant,
        path: &body_path,
        root: &root,
        tree,
        settings,
        secrets,
        grants,
        people: &tenancy.platform.people,
        indexes: Some(tenancy.platform.settings.indexes.as_slice()),
        mapping,
        own: place,
    };
    let mut workflow = lower_body(&scene, id, body, Some((path, own)), found)?;
    workflow.uses = Some(format!("shared/{name}"));
    Some(workflow)
}

/// Where the body of a shared workflow is read.
struct Body<'a> {
    name: String,
    tree: &'a Tree,
    /// The commit it is pinned to.
    at: Option<CommitId>,
}

/// `shared/NAME@COMMIT`, spelled well.
pub(super) fn pin(uses: &str) -> Option<(String, CommitId)> {
    let (name, commit) = uses.strip_prefix("shared/")?.split_once('@')?;
    name.parse::<WorkflowId>().ok()?;
    let commit: CommitId = commit.parse().ok().filter(|_| commit.len() == 40)?;
    Some((name.to_owned(), commit))
}

/// What `uses` names.
fn shared_body<'a>(
    tenancy: &'a Tenancy<'_>,
    path: &str,
    uses: &Spanned<String>,
    found: &mut Found,
) -> Option<Body<'a>> {
    let text = &uses.value;
    let mut refuse = |rule: &rules::Rule, message: String, help: &str| {
        found.push(rule.at(path, Some(uses.span), message).help(help));
        None
    };
    let Some((front, commit)) = text.split_once('@') else {
        let name = shared_name(tenancy, path, uses, found)?;
        return Some(Body { name, tree: tenancy.shared, at: None });
    };
    let Some((name, at)) = pin(text) else {
        let message = match front.strip_prefix("shared/").and_then(|name| name.parse::<WorkflowId>().ok()) {
            Some(_) => format!("`{commit}` is no full commit id"),
            None => format!("`{front}` names no shared workflow"),
        };
        return refuse(
            &rules::BAD_VALUE,
            message,
            "write `shared/NAME@COMMIT` with all 40 digits: `git rev-parse REV` prints them",
        );
    };
    let known = format!("shared/{name}@{at}");
    match tenancy.tree.pinned.get(&known) {
        Some(Pinned::Files(tree)) if tree.get(&format!("shared/{name}/workflow.yaml")).is_some() => {
            Some(Body { name, tree, at: Some(at) })
        }
        Some(Pinned::Files(_)) => {
            let message = format!("there was no shared workflow `{name}` at {}", at.short());
            refuse(
                &rules::SHARED_MAPPING,
                message,
                "pin a commit that has it: `git log -- shared/NAME` lists them",
            )
        }
        Some(Pinned::TooMany) => {
            let message = "this tenant pins more commits than are read".to_owned();
            refuse(&rules::SHARED_MAPPING, message, "pin fewer: workflows may share one")
        }
        Some(Pinned::NoAncestor) | None => {
            let message = format!("{} is no commit that comes before this one", at.short());
            refuse(
                &rules::SHARED_MAPPING,
                message,
                "pin a commit of this branch: `git log -- shared/NAME` lists them",
            )
        }
    }
}

/// The directory that `uses` names.
fn shared_name(
    tenancy: &Tenancy<'_>,
    path: &str,
    uses: &Spanned<String>,
    found: &mut Found,
) -> Option<String> {
    let text = &uses.value;
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
    let own_on = own.and_then(|own| own.on.clone());
    let mapping = scene.mapping.as_ref();
    let (trigger_path, trigger_root, trigger_tree, mapping, on) = match own_on {
        Some(on) => (own_path, scene.own.root, scene.own.tree, None, Some(on)),
        None => (path, scene.root, scene.tree, mapping, written.on.take()),
    };
    let hooked: Option<SecretName> = on
        .as_ref()
        .filter(|_| mapping.is_some())
        .and_then(|on| Some(on.value.webhook.as_ref()?.value.secret.value.clone()));
    let place = triggers::Scene {
        path: trigger_path,
        root: trigger_root,
        tree: trigger_tree,
        settings: scene.settings,
        tenant: scene.tenant,
        secrets: scene.secrets,
        mapping,
    };
    let webhook = on.as_ref().is_some_and(|on| on.value.webhook.is_some());
    let triggers = triggers::lower(&place, on, &inputs, found);
    let starts = Starts {
        tenant: scene.tenant,
        workflow: id.as_str(),
        commit: triggers.commit.is_some(),
        schedule: !triggers.schedules.is_empty(),
        webhook,
    };
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
    let runtime = written.runtime.take().map(|runtime| runtime.value);
    let written = short_form(path, written, found)?;
    let lowered =
        steps::lower(scene, (&starts, hooked.as_ref()), written, on_failure, &inputs, &files, timeout, found);
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
        runtime,
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
