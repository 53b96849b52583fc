//! From the work tree to a run that can start: read, validated, its inputs and secrets there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::super::{Ending, ending, validate};
use super::{RunArgs, inputs};
use crate::app::{self, LocalAsk};
use crate::desired::written::nearest;
use crate::desired::{self, report};
use crate::domain::{
    Actor, ChangeKeys, CommitId, DesiredState, Diagnostic, Listing, Platform, RunId, RunPins, SecretName,
    Severity, TenantState, Trigger, TriggerKind, Work, Workflow, WorkflowId, digest_of,
};
use crate::record::redactable;
use crate::run::{self, Ask, GivenOutputs};
use crate::secrets::{AtHand, Sealed, StandIns, UserIdentities, VaultError};
use crate::sops::SopsError;
use crate::source::{LocalRepository, Snapshot};

/// A run that can start.
pub(super) struct Prepared {
    /// What is run.
    pub ask: LocalAsk,
    /// Where it comes from, for people.
    pub work_tree: String,
    /// Whether values of a file stand in for the secrets.
    pub stand_ins: bool,
}

/// What a run depends on, as far as files say: equal ones mean that nothing has to run again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    keys: Result<ChangeKeys, String>,
    stand_ins: Option<String>,
}

/// Looks at the work tree without reading its files.
pub(super) fn look(args: &RunArgs) -> Seen {
    let listing = LocalRepository::open(&args.repo)
        .and_then(|repository| repository.work_tree())
        .and_then(|snapshot| snapshot.listing());
    let keys = match listing {
        Ok(listing) => Ok(listing.keys(&args.workflow.tenant, listing.shared.keys().map(String::as_str))),
        Err(error) => Err(error.to_string()),
    };
    #[expect(clippy::disallowed_methods, reason = "the command line reads the person's own file")]
    let text = args.secrets_file.as_ref().map(|file| std::fs::read(file).map_err(|error| error.to_string()));
    Seen { keys, stand_ins: text.map(|text| digest_of(&text)) }
}

/// The directory that is taken for the repository's root.
pub(super) fn root(args: &RunArgs) -> PathBuf {
    match LocalRepository::open(&args.repo) {
        Ok(repository) => repository.directory().to_owned(),
        Err(_) => args.repo.clone(),
    }
}

/// Reads the work tree and everything that is given, and says what keeps the run from starting.
///
/// # Errors
/// [`Ending::CouldNot`]; [`Ending::Quiet`] where findings have said it.
pub(super) fn prepare(args: &RunArgs) -> Result<Prepared, Ending> {
    let repository = LocalRepository::open(&args.repo).map_err(Ending::could_not)?;
    if repository.is_bare() {
        let directory = repository.directory().display();
        return Err(not_started(&[format!("`{directory}` is bare: run it in a clone that has a work tree")]));
    }
    let snapshot = repository.work_tree().map_err(Ending::could_not)?;
    let listing = snapshot.listing().map_err(Ending::could_not)?;
    let (DesiredState { tenant, revision, keys, mut state }, platform) = read(args, &snapshot, &listing)?;
    let id = workflow_of(&state, &args.workflow.workflow)?.id.clone();
    lift_pauses(&mut state, &id);
    let (pins, given) = pins(args, &state, &keys, &revision.commit, &id)?;
    let at_hand = secrets_at_hand(args, &pins.workflow, &state, &snapshot)?;
    let work_tree = described(&repository, &revision.commit, &listing, &keys);
    let stand_ins = matches!(at_hand, AtHand::StandIns(_));
    let ask = LocalAsk {
        tenant,
        state,
        keys,
        commit: revision.commit,
        platform,
        pins,
        contents: Arc::new(Mutex::new(snapshot)),
        vault: Arc::new(at_hand),
        given,
    };
    Ok(Prepared { ask, work_tree, stand_ins })
}

/// Reads platform and tenant by the rules of `validate` and shows what they find; another tenant's files are not opened.
fn read(args: &RunArgs, snapshot: &Snapshot, listing: &Listing) -> Result<(DesiredState, Platform), Ending> {
    let tenant = &args.workflow.tenant;
    if listing.settings.is_none() && listing.tenants.is_empty() && listing.platform.is_none() {
        return Err(Ending::CouldNot(
            "nothing to run: there is no tenantry.toml and no tenant here; name the repository by `--repo`, or begin one with `tenantry init`".into(),
        ));
    }
    if !listing.tenants.contains_key(tenant) {
        let known: Vec<&str> = listing.tenants.keys().map(AsRef::as_ref).collect();
        return Err(missing("tenant", tenant.as_str(), &known));
    }
    let shared = snapshot.platform_tree().map_err(Ending::could_not)?;
    let tree = snapshot.tenant_tree(tenant).map_err(Ending::could_not)?;
    let mut texts = BTreeMap::new();
    validate::remember_all(&shared, &mut texts);
    validate::remember_all(&tree, &mut texts);
    let (platform, mut found) = desired::read_platform(&shared);
    let mut desired = None;
    if let Some(platform) = &platform {
        let (read, findings) = desired::read(platform, listing, &shared, &tree, tenant);
        found.extend(findings);
        desired = read;
    }
    report::sort(&mut found);
    found.dedup();
    let elsewhere = if desired.is_some() { take_warnings_elsewhere(&mut found, args) } else { 0 };
    let text = |path: &str| texts.get(path).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    let shown = report::human(&found, &text, true);
    if !shown.is_empty() {
        anstream::eprintln!("{}", shown.trim_end_matches('\n'));
    }
    if elsewhere > 0 {
        let s = if elsewhere == 1 { "" } else { "s" };
        anstream::eprintln!(
            "note: {elsewhere} warning{s} beside this workflow: `tenantry validate --tenant {tenant}` shows them"
        );
    }
    desired.zip(platform).ok_or_else(|| {
        let errors = found.iter().filter(|one| one.severity == Severity::Error).count();
        let s = if errors == 1 { "" } else { "s" };
        anstream::eprintln!("not started: {errors} error{s} in the files of `{tenant}` or of the platform");
        Ending::Quiet(3)
    })
}

/// Warnings about other files than the workflow's are counted only, so that they do not hide what is run; an error is
/// shown with everything that was found. Gives their number.
fn take_warnings_elsewhere(found: &mut Vec<Diagnostic>, args: &RunArgs) -> usize {
    let own = format!("tenants/{}/workflows/{}.yaml", args.workflow.tenant, args.workflow.workflow);
    let before = found.len();
    found.retain(|one| one.at.path == own);
    before - found.len()
}

fn workflow_of<'a>(state: &'a TenantState, id: &WorkflowId) -> Result<&'a Workflow, Ending> {
    let known: Vec<&str> = state.workflows.keys().map(AsRef::as_ref).collect();
    state.workflows.get(id).ok_or_else(|| missing("workflow", id.as_str(), &known))
}

fn missing(kind: &str, name: &str, known: &[&str]) -> Ending {
    let cure = match (nearest(name, known.iter().copied()), known) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, []) => format!("there is no {kind} at all"),
        (None, known) => format!("there are `{}`", known.join("`, `")),
    };
    not_started(&[format!("there is no {kind} `{name}`: {cure}")])
}

/// A pause is for the daemon's runs; whoever types the command wants this one now.
fn lift_pauses(state: &mut TenantState, id: &WorkflowId) {
    let suspended = state.settings.suspend.take();
    let paused = state.workflows.get_mut(id).and_then(|workflow| workflow.paused.take());
    if let Some(pause) = suspended.or(paused) {
        anstream::eprintln!(
            "note: paused in Git ({}), which holds the daemon and not this run",
            super::super::page::shown(&pause.reason)
        );
    }
}

fn pins(
    args: &RunArgs,
    state: &TenantState,
    keys: &ChangeKeys,
    commit: &CommitId,
    id: &WorkflowId,
) -> Result<(RunPins, GivenOutputs), Ending> {
    let workflow = workflow_of(state, id)?;
    let refused = |problem: String| not_started(&[problem]);
    let outputs = inputs::outputs(&args.outputs, workflow).map_err(|problems| not_started(&problems))?;
    let alone = match &args.step {
        Some(step) => Some(run::alone(workflow, step, &outputs).map_err(|error| refused(error.to_string()))?),
        None => None,
    };
    let from_person = inputs::read(&args.inputs, workflow).map_err(|problems| not_started(&problems))?;
    let now = app::now();
    let actor = Actor::Local(rustix::process::getuid().as_raw());
    let trigger = Trigger { kind: TriggerKind::Manual, key: format!("{actor}/work-tree"), time: now };
    // INVARIANT: a tenant that was read has a tree.
    let tree = keys.tenant.as_ref().ok_or_else(|| refused("the tenant's directory is gone".into()))?;
    let ask = Ask {
        tenant: &args.workflow.tenant,
        incarnation: 1,
        state,
        revoked: &BTreeMap::new(),
        commit,
        authors: &BTreeSet::new(),
        tree,
        generation: 1,
        workflow: id,
        trigger: &trigger,
        actor: &actor,
        body: &serde_json::Value::Null,
        given: &from_person,
    };
    let pins = run::pin(&ask, RunId::from_uuid(app::fresh_id()), now);
    let mut pins = pins.map_err(|error| refused(error.to_string()))?;
    let mut given = GivenOutputs::new();
    if let Some(alone) = alone {
        pins.workflow = alone;
        // All but the last are answered, also those of which only the status is read.
        let answered = pins.workflow.steps.iter().rev().skip(1).map(|step| step.id.clone());
        given = answered.map(|id| (id.clone(), outputs.get(&id).cloned().unwrap_or_default())).collect();
    }
    approve(args, &mut pins.workflow, &given)?;
    Ok((pins, given))
}

/// Sees to it that each step that asks people is answered at this terminal, where nobody else can.
fn approve(args: &RunArgs, workflow: &mut Workflow, given: &GivenOutputs) -> Result<(), Ending> {
    let mut unanswered = Vec::new();
    let mut asking = Vec::new();
    for step in workflow.steps.iter_mut().filter(|step| !given.contains_key(&step.id)) {
        let Work::Approval(asked) = &mut step.work else { continue };
        asking.push(step.id.clone());
        if args.approve.contains(&step.id) {
            asked.count = 1;
        } else {
            unanswered.push(format!(
                "step `{0}` asks for an approval, which only people of a daemon give: `--approve {0}` goes on as if they had",
                step.id
            ));
        }
    }
    if let Some(other) = args.approve.iter().find(|step| !asking.contains(step)) {
        unanswered.push(format!("step `{other}` asks for no approval: leave out `--approve {other}`"));
    }
    if unanswered.is_empty() { Ok(()) } else { Err(not_started(&unanswered)) }
}

/// One problem as it is, several below each other.
fn not_started(problems: &[String]) -> Ending {
    Ending::CouldNot(match problems {
        [one] => format!("not started: {one}"),
        several => format!("not started:\n  {}", several.join("\n  ")),
    })
}

/// What opens the secrets of the steps that run, each tried before the first of them starts.
fn secrets_at_hand(
    args: &RunArgs,
    workflow: &Workflow,
    state: &TenantState,
    snapshot: &Snapshot,
) -> Result<AtHand, Ending> {
    let steps = workflow.steps.iter().chain(workflow.on_failure.as_deref());
    let names: BTreeSet<&SecretName> =
        steps.flat_map(|step| &step.secrets).map(|declared| &declared.name).collect();
    let at_hand = match &args.secrets_file {
        Some(file) => AtHand::StandIns(Arc::new(StandIns::read(file).map_err(Ending::could_not)?)),
        None if names.is_empty() => AtHand::Identities(Arc::default()),
        None => AtHand::Identities(Arc::new(UserIdentities::find())),
    };
    let mut problems = Vec::new();
    let mut unopened = false;
    for name in names {
        let opened = open(name, args, state, snapshot, &at_hand);
        if let Err(problem) = opened {
            unopened |= matches!(problem, Problem::NoIdentity(_));
            let (Problem::NoIdentity(text) | Problem::Other(text)) = problem;
            problems.push(format!("secret `{name}` {text}"));
        }
    }
    if problems.is_empty() {
        return Ok(at_hand);
    }
    if let (true, AtHand::Identities(found)) = (unopened, &at_hand) {
        problems.extend(found.problems.iter().map(|problem| format!("note: {problem}")));
        let have = if found.identities.is_empty() { "you have none here" } else { "yours are others" };
        problems.push(format!(
            "help: it takes an identity that the file is encrypted to, and {have}: name one by SOPS_AGE_KEY_FILE, SOPS_AGE_KEY, SOPS_AGE_KEY_CMD, SOPS_AGE_SSH_PRIVATE_KEY_FILE, ~/.config/sops/age/keys.txt or ~/.ssh/id_ed25519, or give values that stand in by `--secrets-file .env.local`"
        ));
    }
    Err(not_started(&problems))
}

/// Why a secret cannot be had.
enum Problem {
    /// No identity of the person opens its file.
    NoIdentity(String),
    /// Anything else.
    Other(String),
}

/// Opens the version that a step would get and lets it go at once.
fn open(
    name: &SecretName,
    args: &RunArgs,
    state: &TenantState,
    snapshot: &Snapshot,
    at_hand: &AtHand,
) -> Result<(), Problem> {
    let other = |text: &str| Problem::Other(text.to_owned());
    let tenant = &args.workflow.tenant;
    let secret =
        state.secrets.get(name).ok_or_else(|| other("does not stand in the index `secrets.yaml`"))?;
    let version = secret.current().ok_or_else(|| {
        Problem::Other(format!("has no current version: add one with `tenantry secrets set {tenant}/{name}`"))
    })?;
    let blob =
        version.blob.as_ref().ok_or_else(|| Problem::Other(format!("lacks its file `{}`", version.file)))?;
    let ciphertext =
        snapshot.blob(blob).map_err(|error| Problem::Other(format!("cannot be read: {error}")))?;
    let sealed = Sealed { name, version: &version.id, ciphertext: &ciphertext };
    let value = at_hand.open_now(sealed).map_err(|error| match error {
        VaultError::Sops(SopsError::NoDataKey(_)) => {
            Problem::NoIdentity(format!("is not opened by your identities: `{}`", version.file))
        }
        VaultError::NoStandIn { place, .. } => {
            Problem::Other(format!("has no value in `{place}`: add a line `{name}=…`"))
        }
        error => {
            Problem::Other(format!("cannot be opened: `{}`: {}", version.file, ending::with_causes(&error)))
        }
    })?;
    match redactable(&value) {
        Err(why) if secret.redact => Err(Problem::Other(format!(
            "has a value that {why}: use another, or mark the secret `redact: false`"
        ))),
        _ => Ok(()),
    }
}

/// The commit that the work tree lies on, and whether what is read differs from it.
fn described(
    repository: &LocalRepository,
    commit: &CommitId,
    listing: &Listing,
    keys: &ChangeKeys,
) -> String {
    if !repository.is_under_git() {
        return "the directory as it lies, outside Git".to_owned();
    }
    let before = repository.at(commit).and_then(|snapshot| snapshot.listing());
    let Ok(before) = before else { return "the work tree, before its first commit".to_owned() };
    let tenant = keys.tenant.as_ref();
    let same = before.settings == listing.settings
        && before.platform == listing.platform
        && before.tenants.values().any(|tree| Some(tree) == tenant)
        && keys.shared.iter().all(|(name, tree)| before.shared.get(name) == Some(tree));
    match same {
        true => format!("the work tree, as in commit {}", commit.short()),
        false => format!("the work tree on commit {}, with changes", commit.short()),
    }
}
