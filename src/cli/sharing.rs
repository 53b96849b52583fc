//! `new workflow --uses` and `promote`: shared workflows taken up by tenants, and moved on with evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde_json::Value;

use super::Ending;
use super::door::{Door, ReachArgs, escaped};
use super::init::yaml_text;
use super::page;
use super::proposing::{self, ProposeArgs};
use super::scaffold::Scaffold;
use crate::client::Question;
use crate::desired;
use crate::domain::{CommitId, ObjectId, Severity, TenantId, Tree, WorkflowId};
use crate::source::{LocalRepository, Snapshot};
use crate::yaml::{self, Budget, Node};

/// A shared workflow, written `shared/NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedName(pub WorkflowId);

impl std::str::FromStr for SharedName {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.strip_prefix("shared/").and_then(|name| name.parse().ok());
        name.map(Self).ok_or_else(|| format!("`{text}` is not shared/NAME, such as shared/invoices"))
    }
}

fn root_of(text: &[u8]) -> Option<Node> {
    yaml::parse(text, &Budget::default()).ok()?.into_iter().next().map(|document| document.root)
}

/// The fields of tenant.yaml by which tenants are chosen.
const CHOSEN_BY: [&str; 6] = ["kind", "owner", "environment", "region", "timezone", "isolation"];

/// What `new workflow --uses` is asked for.
pub struct UseArgs<'a> {
    /// The repository, or a directory in it.
    pub repo: &'a PathBuf,
    /// `T/W`, or `W` alone with a selector.
    pub workflow: &'a str,
    /// What is used.
    pub uses: &'a SharedName,
    /// `kind=customer,region=eu`.
    pub tenants: Option<&'a str>,
    /// `THEIRS=MINE`.
    pub secrets: &'a [String],
    /// Whether it is committed.
    pub propose: &'a ProposeArgs,
}

/// Writes a use of a shared workflow into each tenant that is meant, all of them or none.
///
/// # Errors
/// [`Ending`]: no, where a tenant would not be valid with it.
pub fn take_up(args: &UseArgs<'_>) -> Result<(), Ending> {
    let repository = LocalRepository::open(args.repo).map_err(Ending::could_not)?;
    let scaffold = Scaffold::within(args.repo).map_err(|error| Ending::No(error.to_string()))?;
    let snapshot = repository.work_tree().map_err(Ending::could_not)?;
    let here = Here::of(&snapshot)?;
    let (tenants, workflow) = meant(args, &here)?;
    let body_path = format!("shared/{}/workflow.yaml", args.uses.0);
    let body = here.shared.get(&body_path).and_then(|entry| entry.content.as_deref());
    let Some(body) = body.and_then(root_of) else {
        let names: Vec<_> = here.listing.shared.keys().map(|name| format!("shared/{name}")).collect();
        let there = if names.is_empty() {
            "this repository shares none".to_owned()
        } else {
            format!("there is {}", names.join(", "))
        };
        return Err(Ending::No(format!("there is no workflow `{body_path}`; {there}")));
    };
    let mapping = mapping(&body, args.secrets)?;
    let text = use_text(&args.uses.0, &body, &mapping);
    let mut fresh = Scaffold::new(scaffold.root());
    let mut wrong = Vec::new();
    for tenant in &tenants {
        let path = format!("tenants/{tenant}/workflows/{workflow}.yaml");
        if scaffold.has(&path) {
            let same = scaffold.read(&path).ok().flatten().and_then(|text| uses_of(text.as_bytes()));
            if same.is_some_and(|uses| uses.split('@').next() == Some(&format!("shared/{}", args.uses.0))) {
                anstream::eprintln!("`{tenant}/{workflow}` uses it already and is left alone");
                continue;
            }
            return Err(Ending::No(format!("`{path}` is there already; nothing was written")));
        }
        wrong.extend(here.problems(&snapshot, tenant, &path, text.as_bytes())?);
        fresh.add(path, text.clone());
    }
    if !wrong.is_empty() {
        return Err(Ending::No(format!(
            "nothing was written, because it would not be valid:\n{}",
            wrong.join("\n")
        )));
    }
    let written = fresh.write().map_err(|error| Ending::No(error.to_string()))?;
    for path in &written {
        page::line(path);
    }
    if written.is_empty() {
        return Ok(());
    }
    let title = format!("{}: use shared/{} in {}", workflow, args.uses.0, counted(written.len()));
    proposing::end(args.propose, scaffold.root(), &written, &format!("use-{}", args.uses.0), &title, "")
}

fn counted(tenants: usize) -> String {
    if tenants == 1 { "1 tenant".to_owned() } else { format!("{tenants} tenants") }
}

/// The work tree, read once.
struct Here {
    listing: crate::domain::Listing,
    shared: Tree,
    platform: crate::domain::Platform,
}

impl Here {
    fn of(snapshot: &Snapshot) -> Result<Self, Ending> {
        let listing = snapshot.listing().map_err(Ending::could_not)?;
        let shared = snapshot.platform_tree().map_err(Ending::could_not)?;
        let (platform, _) = desired::read_platform(&shared);
        let platform = platform.ok_or_else(|| {
            Ending::No("the platform's files are not valid: `tenantry validate` says why".to_owned())
        })?;
        Ok(Self { listing, shared, platform })
    }

    /// What would be wrong with a tenant because of one file with another content, by the rules of the daemon.
    fn problems(
        &self,
        snapshot: &Snapshot,
        tenant: &TenantId,
        path: &str,
        text: &[u8],
    ) -> Result<Vec<String>, Ending> {
        let tree = snapshot.tenant_tree_with(tenant, path, text).map_err(Ending::could_not)?;
        let (_, found) = desired::read(&self.platform, &self.listing, &self.shared, &tree, tenant);
        let own = |finding: &&crate::domain::Diagnostic| {
            finding.severity == Severity::Error
                && (finding.at.path == path || finding.at.path.starts_with("shared/"))
        };
        let told = |finding: &crate::domain::Diagnostic| {
            let help = finding.help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
            format!("  {tenant}: {} {}{}", finding.rule.id, page::shown(&finding.message), page::shown(&help))
        };
        Ok(found.iter().filter(own).map(told).collect())
    }
}

/// The tenants that are meant, and the workflow's name.
fn meant(args: &UseArgs<'_>, here: &Here) -> Result<(BTreeSet<TenantId>, WorkflowId), Ending> {
    let usage = |text: String| Err(Ending::Usage(text));
    let (tenant, workflow) = match args.workflow.split_once('/') {
        Some(("*", workflow)) => (None, workflow),
        Some((tenant, workflow)) => (Some(tenant), workflow),
        None => (None, args.workflow),
    };
    let Ok(workflow) = workflow.parse::<WorkflowId>() else {
        return usage(format!("`{workflow}` cannot name a workflow"));
    };
    let mut tenants = BTreeSet::new();
    if let Some(tenant) = tenant {
        let id = tenant.parse::<TenantId>().ok().filter(|id| here.listing.tenants.contains_key(id));
        match id {
            Some(id) => drop(tenants.insert(id)),
            None => {
                return Err(Ending::No(format!(
                    "there is no tenant `{tenant}`; make it with `tenantry new tenant {tenant}`"
                )));
            }
        }
    }
    let Some(selector) = args.tenants else {
        return if tenants.is_empty() {
            usage(format!(
                "`{}` is not TENANT/WORKFLOW, such as acme/billing; or choose by --tenants",
                args.workflow
            ))
        } else {
            Ok((tenants, workflow))
        };
    };
    let mut wanted = Vec::new();
    for part in selector.split(',') {
        match part.split_once('=') {
            Some((key, value)) if CHOSEN_BY.contains(&key.trim()) => wanted.push((key.trim(), value.trim())),
            _ => {
                return usage(format!(
                    "`{part}` chooses no tenants: write FIELD=VALUE with one of {}",
                    CHOSEN_BY.join(", ")
                ));
            }
        }
    }
    let scaffold = Scaffold::within(args.repo).map_err(|error| Ending::No(error.to_string()))?;
    for id in here.listing.tenants.keys() {
        let text = scaffold.read(&format!("tenants/{id}/tenant.yaml")).ok().flatten().unwrap_or_default();
        let Some(settings) = root_of(text.as_bytes()) else { continue };
        let holds = |key: &str, value: &str| {
            let written = settings.get(key).and_then(Node::scalar);
            // What is left out has its default.
            let default = match key {
                "kind" => "customer",
                "timezone" => "UTC",
                "isolation" => "soft",
                _ => "",
            };
            written.unwrap_or(default) == value
        };
        if wanted.iter().all(|(key, value)| holds(key, value)) {
            tenants.insert(id.clone());
        }
    }
    if tenants.is_empty() {
        return Err(Ending::No(format!("no tenant has `{selector}`; nothing was written")));
    }
    Ok((tenants, workflow))
}

/// The secrets that a shared workflow asks for, each with the tenant's name for it.
fn mapping(body: &Node, given: &[String]) -> Result<BTreeMap<String, String>, Ending> {
    let mut asked = BTreeMap::new();
    let mut take = |step: &Node| {
        for used in step.get("secrets").and_then(Node::as_sequence).unwrap_or_default() {
            let name = used.scalar().or_else(|| used.get("name").and_then(Node::scalar));
            asked.extend(name.map(|name| (name.to_owned(), name.to_owned())));
        }
    };
    take(body);
    body.get("on_failure").iter().for_each(|step| take(step));
    for (_, step) in body.get("steps").and_then(Node::as_mapping).unwrap_or_default() {
        take(step);
    }
    for pair in given {
        let Some((theirs, mine)) = pair.split_once('=') else {
            return Err(Ending::Usage(format!("`{pair}` is not THEIRS=MINE")));
        };
        if asked.insert(theirs.to_owned(), mine.to_owned()).is_none() {
            return Err(Ending::No(format!("the shared workflow asks for no secret `{theirs}`")));
        }
    }
    Ok(asked)
}

fn use_text(name: &WorkflowId, body: &Node, mapping: &BTreeMap<String, String>) -> String {
    let mut text = format!("uses: shared/{name}\n");
    let required =
        body.get("inputs").and_then(Node::as_mapping).unwrap_or_default().iter().filter(|(_, input)| {
            let optional = input.get("required").and_then(Node::scalar) == Some("false");
            !optional && input.get("default").is_none()
        });
    let required: Vec<String> = required
        .filter_map(|(key, input)| {
            let value = match input.get("type").and_then(Node::scalar).unwrap_or("string") {
                "int" | "float" => "0",
                "bool" => "false",
                "list" => "[]",
                "map" => "{}",
                _ => "\"\"",
            };
            Some(format!("  {}: {value} # to be filled in\n", key.scalar()?))
        })
        .collect();
    if !required.is_empty() {
        text.push_str(&format!("with:\n{}", required.concat()));
    }
    if !mapping.is_empty() {
        let pairs: Vec<_> =
            mapping.iter().map(|(theirs, mine)| format!("{theirs}: {}", plain(mine))).collect();
        text.push_str(&format!("secrets: {{ {} }}\n", pairs.join(", ")));
    }
    text
}

fn plain(name: &str) -> String {
    let spelled = name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if spelled { yaml::written(name) } else { yaml_text(name) }
}

fn uses_of(text: &[u8]) -> Option<String> {
    root_of(text)?.get("uses")?.scalar().map(str::to_owned)
}

/// The options of `tenantry promote`.
#[derive(Clone, Debug, clap::Args)]
pub struct PromoteArgs {
    /// The shared workflow, such as shared/invoices
    #[arg(value_name = "shared/NAME")]
    pub shared: SharedName,
    /// The tenant in which it has proven itself
    #[arg(long, value_name = "T")]
    pub from: TenantId,
    /// The tenant that is to have it
    #[arg(long, value_name = "T2")]
    pub to: TenantId,
    /// The repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub repo: PathBuf,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    propose: ProposeArgs,
}

/// What happened to one version of a shared workflow in a tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Evidence {
    success: usize,
    failed: usize,
    active: usize,
    since: Option<String>,
    last_success: Option<(String, String)>,
}

/// Pins the uses of a shared workflow in one tenant to what another has applied and run.
///
/// # Errors
/// No, without a run that succeeded there; could not, without a daemon or its store.
pub async fn promote(args: &PromoteArgs) -> Result<(), Ending> {
    let PromoteArgs { shared, from, to, .. } = args;
    let uses = format!("shared/{}", shared.0);
    if from == to {
        return Err(Ending::Usage("--from and --to name the same tenant".to_owned()));
    }
    let repository = LocalRepository::open(&args.repo).map_err(Ending::could_not)?;
    let door = Door::to_look(&args.reach).await?;
    let status = door.ask(Question::get(format!("/api/v1/tenants/{from}/status"))).await?;
    let applied = status["tenants"][0]["last_applied_commit"].as_str();
    let applied: CommitId = applied
        .and_then(|id| id.parse().ok())
        .ok_or_else(|| Ending::No(format!("`{from}` has not been applied yet")))?;
    let snapshot = repository.at(&applied).map_err(|_| {
        Ending::CouldNot(format!(
            "{} is applied in `{from}` and is not in this clone: `git fetch`",
            applied.short()
        ))
    })?;
    let there = used(&snapshot, from, &uses)?;
    let mut versions: BTreeSet<Option<CommitId>> = there.values().map(|pin| pin.0.clone()).collect();
    let pin = match (versions.pop_first(), versions.is_empty()) {
        (None, _) => {
            return Err(Ending::No(format!("no workflow of `{from}` uses {uses} as of {}", applied.short())));
        }
        (Some(pin), true) => pin.unwrap_or_else(|| applied.clone()),
        _ => {
            return Err(Ending::No(format!(
                "`{from}` uses {uses} in several versions: promote from one that uses one"
            )));
        }
    };
    let version = tree_of(&repository, &pin, &shared.0)?
        .ok_or_else(|| Ending::No(format!("there is no {uses} at {}", pin.short())))?;
    let mut evidence = Evidence::default();
    for workflow in there.keys() {
        gather(&repository, &door, from, workflow, &uses, &shared.0, &version, &mut evidence).await?;
    }
    let told = evidence.told(from, &uses, &pin);
    if evidence.success == 0 {
        return Err(Ending::No(format!(
            "{told}\nnothing was changed: a version is promoted once it has succeeded in `{from}`"
        )));
    }
    pin_in(args, &repository, &uses, &pin, &told)
}

/// Writes the pin into the work tree, if the tenant is valid with it.
fn pin_in(
    args: &PromoteArgs,
    repository: &LocalRepository,
    uses: &str,
    pin: &CommitId,
    told: &str,
) -> Result<(), Ending> {
    let to = &args.to;
    let snapshot = repository.work_tree().map_err(Ending::could_not)?;
    let here = Here::of(&snapshot)?;
    let scaffold = Scaffold::within(&args.repo).map_err(|error| Ending::No(error.to_string()))?;
    let uses_there = used(&snapshot, to, uses)?;
    if uses_there.is_empty() {
        return Err(Ending::No(format!(
            "no workflow of `{to}` uses {uses}; begin with `tenantry new workflow {to}/{} --uses {uses}`",
            args.shared.0
        )));
    }
    let pinned = format!("{uses}@{pin}");
    let mut changed = Vec::new();
    let mut wrong = Vec::new();
    for (workflow, (_, path, text, span)) in &uses_there {
        let new = format!("{}{pinned}{}", &text[..span.0], &text[span.1..]);
        if new == *text {
            anstream::eprintln!("`{to}/{workflow}` is pinned to it already");
            continue;
        }
        wrong.extend(here.problems(&snapshot, to, path, new.as_bytes())?);
        changed.push((path.clone(), new));
    }
    if !wrong.is_empty() {
        return Err(Ending::No(format!(
            "{told}\nnothing was changed, because `{to}` would not be valid with it:\n{}",
            wrong.join("\n")
        )));
    }
    let mut written = Vec::new();
    for (path, text) in changed {
        scaffold.replace(&path, &text).map_err(|error| Ending::CouldNot(error.to_string()))?;
        page::line(&path);
        written.push(path);
    }
    anstream::eprintln!("{told}");
    if written.is_empty() {
        return Ok(());
    }
    let title = format!("{to}: promote {uses} to {}", pin.short());
    proposing::end(
        &args.propose,
        scaffold.root(),
        &written,
        &format!("promote-{}-{to}", args.shared.0),
        &title,
        told,
    )
}

/// A use as written: its pin, its file, the file's text and where the value of `uses` stands in it.
type Written = (Option<CommitId>, String, String, (usize, usize));

/// The workflows of a tenant that use a shared one.
fn used(snapshot: &Snapshot, tenant: &TenantId, uses: &str) -> Result<BTreeMap<WorkflowId, Written>, Ending> {
    let tree = snapshot.tenant_tree(tenant).map_err(Ending::could_not)?;
    let below = format!("tenants/{tenant}/workflows/");
    let mut found = BTreeMap::new();
    for (path, entry) in tree.below(&below) {
        let Some(id) = path[below.len()..].strip_suffix(".yaml").and_then(|id| id.parse().ok()) else {
            continue;
        };
        let Some(bytes) = entry.content.as_deref() else { continue };
        let Some(root) = root_of(bytes) else { continue };
        let Some(value) = root.get("uses") else { continue };
        let Some(written) = value.scalar() else { continue };
        let (name, pin) = written.split_once('@').map_or((written, None), |(name, pin)| (name, Some(pin)));
        let Ok(text) = String::from_utf8(bytes.to_vec()) else { continue };
        if name == uses {
            let pin = pin.and_then(|pin| pin.parse().ok());
            let span = (value.span.start.offset, value.span.end.offset);
            found.insert(id, (pin, path.to_owned(), text, span));
        }
    }
    Ok(found)
}

fn tree_of(
    repository: &LocalRepository,
    commit: &CommitId,
    name: &WorkflowId,
) -> Result<Option<ObjectId>, Ending> {
    let snapshot = repository
        .at(commit)
        .map_err(|_| Ending::CouldNot(format!("{} is not in this clone: `git fetch`", commit.short())))?;
    let listing = snapshot.listing().map_err(Ending::could_not)?;
    Ok(listing.shared.get(name.as_str()).cloned())
}

/// Counts the runs of a workflow that were made of this version, whatever commit they ran at.
#[expect(clippy::too_many_arguments, reason = "one question about one workflow")]
async fn gather(
    repository: &LocalRepository,
    door: &Door,
    tenant: &TenantId,
    workflow: &WorkflowId,
    uses: &str,
    name: &WorkflowId,
    version: &ObjectId,
    evidence: &mut Evidence,
) -> Result<(), Ending> {
    let target = format!("/api/v1/tenants/{tenant}/runs?limit=1000&workflow={}", escaped(workflow.as_str()));
    let runs = door.ask(Question::get(target)).await?;
    let mut same: BTreeMap<String, bool> = BTreeMap::new();
    for run in runs["runs"].as_array().into_iter().flatten() {
        let commit = page::text(run, "commit").to_owned();
        let is_same = match same.get(&commit) {
            Some(known) => *known,
            None => {
                let is_same = is_version(repository, tenant, workflow, uses, name, &commit, version)?;
                same.insert(commit, is_same);
                is_same
            }
        };
        if is_same {
            evidence.count(run);
        }
    }
    Ok(())
}

fn is_version(
    repository: &LocalRepository,
    tenant: &TenantId,
    workflow: &WorkflowId,
    uses: &str,
    name: &WorkflowId,
    commit: &str,
    version: &ObjectId,
) -> Result<bool, Ending> {
    let Ok(commit) = commit.parse::<CommitId>() else { return Ok(false) };
    // A commit that is gone proves nothing.
    let Ok(snapshot) = repository.at(&commit) else { return Ok(false) };
    let Some((pin, ..)) = used(&snapshot, tenant, uses)?.remove(workflow) else { return Ok(false) };
    Ok(tree_of(repository, &pin.unwrap_or(commit), name)?.as_ref() == Some(version))
}

impl Evidence {
    fn count(&mut self, run: &Value) {
        match page::text(run, "outcome") {
            "success" => self.success += 1,
            "failure" | "error" | "timed_out" => self.failed += 1,
            // Nothing was tried to its end.
            "cancelled" | "rejected" | "skipped" => return,
            _ => self.active += 1,
        }
        let created = page::text(run, "created_at").to_owned();
        if self.since.as_ref().is_none_or(|since| created < *since) {
            self.since = Some(created);
        }
        if page::text(run, "outcome") == "success" {
            let ended = page::text(run, "ended_at").to_owned();
            if self.last_success.as_ref().is_none_or(|(at, _)| ended > *at) {
                self.last_success = Some((ended, page::text(run, "id").to_owned()));
            }
        }
    }

    fn told(&self, from: &TenantId, uses: &str, pin: &CommitId) -> String {
        let since = self.since.as_ref().map(|since| format!(" since {since}")).unwrap_or_default();
        let active = if self.active > 0 { format!(", {} not ended", self.active) } else { String::new() };
        let last = self
            .last_success
            .as_ref()
            .map(|(at, id)| format!("; last success {at} ({id})"))
            .unwrap_or_default();
        format!(
            "{uses} as of {} in `{from}`: {} succeeded, {} failed{active}{since}{last}",
            pin.short(),
            self.success,
            self.failed
        )
    }
}
