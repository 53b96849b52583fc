//! `plan`: what a merge would do, from the repository alone or from where a daemon stands.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::door::{Door, ReachArgs};
use super::page;
use super::{Ending, now};
use crate::client::Question;
use crate::desired;
use crate::domain::{
    ActualState, Applied, ChangeControlMode, CommitId, DesiredState, Diagnostic, Finding, Listing, Platform,
    Severity, TenantId, Tree, UserId,
};
use crate::plan::{self, Blocked, Document, Rendering, Standing};
use crate::source::{LocalRepository, Snapshot};

/// The options of `tenantry plan`.
#[derive(Clone, Debug, clap::Args)]
pub struct PlanArgs {
    /// From where to where, as BASE..HEAD; with BASE alone, to the work tree [default: the merge base with
    /// origin/HEAD, else HEAD, to the work tree]
    #[arg(value_name = "BASE..HEAD")]
    pub range: Option<String>,
    /// The repository, or a directory in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub repo: PathBuf,
    /// Plan from where the daemon of this data directory stands, and show its drift
    #[arg(long, value_name = "DATA")]
    pub data: Option<PathBuf>,
    /// Look at the daemon as this person; only where change control is `open`, or under `solo`
    #[arg(long = "as", value_name = "PERSON", requires = "data")]
    pub wanted: Option<UserId>,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    pub format: PlanFormat,
    /// Ends with 4 for these changes and with 0 for all others: destructive, access, blocked, none
    #[arg(long, value_name = "WHAT", value_delimiter = ',', value_parser = ["destructive", "access", "blocked", "none"])]
    pub fail_on: Option<Vec<String>>,
}

/// How a plan is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PlanFormat {
    /// For people
    #[default]
    Human,
    /// `tenantry.plan/1`
    Json,
    /// A comment of a pull request
    Markdown,
}

/// Prints a plan: 0 nothing to do, 2 changes or blocked tenants, 4 what `--fail-on` names.
///
/// # Errors
/// [`Ending`]; a wrong range is 1 here, since 2 has a meaning of its own.
pub fn run(args: &PlanArgs) -> Result<(), Ending> {
    let repository = LocalRepository::open(&args.repo).map_err(Ending::could_not)?;
    let (base, head) = range(&repository, args.range.as_deref())?;
    let to = match &head {
        Some(commit) => repository.at(commit),
        None => repository.work_tree(),
    };
    let to = End::of(to.map_err(Ending::could_not)?)?;
    let daemon = match &args.data {
        Some(data) => Some(fleet(ReachArgs { data: Some(data.clone()), wanted: args.wanted.clone() })?),
        None => None,
    };
    let ends = Ends { repository: &repository, base: base.as_ref(), head, to: &to };
    let document = document(&ends, daemon.as_ref())?;
    let content = |id: &_| to.snapshot.blob(id).ok();
    let rendering = Rendering { content: &content };
    match args.format {
        PlanFormat::Human => page::line(document.human(&rendering).trim_end()),
        PlanFormat::Json => page::json(&document.to_json()),
        PlanFormat::Markdown => page::line(document.markdown(&rendering).trim_end()),
    }
    answer(&document, args.fail_on.as_deref())
}

fn answer(document: &Document, fail_on: Option<&[String]>) -> Result<(), Ending> {
    let Some(fail_on) = fail_on else {
        return if document.is_empty() { Ok(()) } else { Err(Ending::Quiet(2)) };
    };
    let fails = fail_on.iter().any(|what| match what.as_str() {
        "destructive" => document.is_destructive(),
        "access" => document.touches_access(),
        "blocked" => !document.blocked.is_empty(),
        _ => false,
    });
    if fails { Err(Ending::Quiet(4)) } else { Ok(()) }
}

/// The two ends; a base of `None` is a repository without commits, a head of `None` the work tree.
fn range(
    repository: &LocalRepository,
    text: Option<&str>,
) -> Result<(Option<CommitId>, Option<CommitId>), Ending> {
    let resolve = |name: &str| repository.resolve(name).map_err(|error| unknown(repository, &error));
    let Some(text) = text else { return default_range(repository) };
    let (base, head, common) = match text.split_once("...") {
        Some((base, head)) => (base, head, true),
        None => {
            let (base, head) = text.split_once("..").unwrap_or((text, ""));
            (base, head, false)
        }
    };
    if base.is_empty() || base.contains("..") || head.contains("..") {
        return Err(Ending::No(format!("`{}` is no range such as main..HEAD", page::shown(text))));
    }
    let head = if head.is_empty() { None } else { Some(resolve(head)?) };
    let base = resolve(base)?;
    // The work tree lies on HEAD.
    let tip = head.clone().map_or_else(|| repository.resolve("HEAD"), Ok);
    let met = tip.and_then(|tip| repository.merge_base(&base, &tip)).ok().flatten();
    if common {
        let apart = || without_common(repository, "the two ends");
        return Ok((Some(met.ok_or_else(apart)?), head));
    }
    if met.is_some_and(|met| met != base) {
        anstream::eprintln!(
            "note: the base has commits that the other end lacks, which this plan shows undone; \
             `BASE...HEAD` begins where the two parted"
        );
    }
    Ok((Some(base), head))
}

/// From where HEAD left the remote's main branch to the work tree.
fn default_range(repository: &LocalRepository) -> Result<(Option<CommitId>, Option<CommitId>), Ending> {
    let Ok(head) = repository.resolve("HEAD") else { return Ok((None, None)) };
    let Ok(upstream) = repository.resolve("origin/HEAD") else {
        if repository.has_origin() {
            anstream::eprintln!(
                "note: there is no `origin/HEAD`, so this is the plan of what is not committed yet; \
                 name a base, or run `git remote set-head origin --auto`"
            );
        }
        return Ok((Some(head), None));
    };
    match repository.merge_base(&upstream, &head).map_err(Ending::could_not)? {
        Some(base) => Ok((Some(base), None)),
        None => Err(without_common(repository, "`HEAD` and `origin/HEAD`")),
    }
}

fn unknown(repository: &LocalRepository, error: &crate::source::SourceError) -> Ending {
    let hint = if repository.is_shallow() {
        "; this clone is shallow: `git fetch --unshallow` brings the rest"
    } else {
        ""
    };
    Ending::No(format!("{error}{hint}"))
}

fn without_common(repository: &LocalRepository, ends: &str) -> Ending {
    Ending::CouldNot(if repository.is_shallow() {
        format!(
            "this clone is shallow and does not reach where {ends} parted: run `git fetch --unshallow`, or name a base"
        )
    } else {
        format!("{ends} have no commit in common: name a base")
    })
}

/// One end of a plan, its platform read.
struct End {
    snapshot: Snapshot,
    listing: Listing,
    shared: Tree,
    platform: Option<Platform>,
    found: Vec<Diagnostic>,
}

impl End {
    fn of(snapshot: Snapshot) -> Result<Self, Ending> {
        let listing = snapshot.listing().map_err(Ending::could_not)?;
        let shared = snapshot.platform_tree().map_err(Ending::could_not)?;
        let (platform, found) = desired::read_platform(&shared);
        Ok(Self { snapshot, listing, shared, platform, found })
    }
    fn read(
        &self,
        platform: &Platform,
        shared: &Tree,
        tenant: &TenantId,
    ) -> Result<(Option<DesiredState>, Vec<Diagnostic>), Ending> {
        let tree = self.snapshot.tenant_tree(tenant).map_err(Ending::could_not)?;
        Ok(desired::read(platform, &self.listing, shared, &tree, tenant))
    }
}

/// Commits before the base that are looked at for a tenant that is invalid there: it stays at its last good one.
const GOOD_WITHIN: u32 = 50;

/// What a plan leads between.
struct Ends<'a> {
    repository: &'a LocalRepository,
    base: Option<&'a CommitId>,
    head: Option<CommitId>,
    to: &'a End,
}

/// Where the tenants of a daemon stand, by name.
type Fleet = BTreeMap<TenantId, Standing>;

/// Asks a daemon, or its store while none runs, where its tenants stand.
fn fleet(reach: ReachArgs) -> Result<Fleet, Ending> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Ending::could_not)?.block_on(async {
        let door = Door::to_look(&reach).await?;
        let fleet = door.ask(Question::get("/api/v1/fleet")).await?;
        let rows = fleet["tenants"].as_array().map_or(&[][..], Vec::as_slice);
        let mut known = Fleet::new();
        for name in rows.iter().filter_map(|row| row["tenant"].as_str()) {
            let standing = match door.ask(Question::get(format!("/api/v1/tenants/{name}/standing"))).await {
                Ok(standing) => standing,
                // Whoever asks may not look into this one.
                Err(Ending::No(_)) => continue,
                Err(error) => return Err(error),
            };
            let standing: Standing = serde_json::from_value(standing).map_err(Ending::could_not)?;
            known.insert(standing.tenant.clone(), standing);
        }
        Ok(known)
    })
}

/// The ends that tenants stand at, each read once.
struct Stands<'a> {
    repository: &'a LocalRepository,
    ends: BTreeMap<CommitId, End>,
}

impl Stands<'_> {
    /// The end of a commit that a daemon has applied.
    fn end(&mut self, tenant: &TenantId, commit: &CommitId) -> Result<&End, Ending> {
        let known = match self.ends.entry(commit.clone()) {
            std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::btree_map::Entry::Vacant(free) => {
                let snapshot = self.repository.at(commit).map_err(|_| {
                    Ending::CouldNot(format!(
                        "tenant `{tenant}` stands at commit `{}`, which is not in this clone: `git fetch` brings it",
                        commit.short()
                    ))
                })?;
                free.insert(End::of(snapshot)?)
            }
        };
        Ok(known)
    }
}

fn document(ends: &Ends<'_>, daemon: Option<&Fleet>) -> Result<Document, Ending> {
    let Ends { repository, base, ref head, to } = *ends;
    let from =
        base.map(|commit| repository.at(commit).map_err(Ending::could_not).and_then(End::of)).transpose()?;
    let mode = |end: &End| end.platform.as_ref().map(|platform| platform.settings.mode);
    let mut document = Document {
        base: base.cloned(),
        head: head.clone(),
        now: Some(now()),
        mode: from.as_ref().and_then(mode).or_else(|| mode(to)).unwrap_or(ChangeControlMode::Open),
        ..Document::default()
    };
    if to.platform.is_none() {
        document.block(Blocked { tenant: None, stays_at: base.cloned(), findings: findings(&to.found) });
    }
    // A broken platform stays where it is with `shared/`, and the tenants go on against it.
    let scope = if to.platform.is_some() { Some(to) } else { from.as_ref() };
    let Some((scope, platform)) = scope.and_then(|scope| Some((scope, scope.platform.as_ref()?))) else {
        return Ok(document);
    };
    if to.platform.is_some() {
        let base = from.as_ref();
        let facts = base.map(|base| desired::platform_facts(&base.shared)).unwrap_or_default();
        let lines = plan::wide(
            &facts,
            &desired::platform_facts(&to.shared),
            base.map(|base| &base.shared),
            &to.shared,
        );
        document.add_platform(base.and_then(|base| base.platform.as_ref()), Some(platform), lines);
    }
    let standing = |tenant: &TenantId| daemon.and_then(|fleet| fleet.get(tenant));
    document.drift.extend(daemon.iter().flat_map(|fleet| fleet.values()).flat_map(|one| one.drift.clone()));
    let unseen = from.iter().flat_map(|from| from.listing.tenants.keys());
    let unseen = unseen.filter(|tenant| daemon.is_some() && standing(tenant).is_none()).count();
    if unseen > 0 {
        anstream::eprintln!(
            "note: the daemon shows nothing of {unseen} of the tenants, which are planned from the base"
        );
    }
    let applied_there = daemon.iter().flat_map(|fleet| fleet.values());
    let before: BTreeSet<TenantId> = from
        .iter()
        .flat_map(|from| from.listing.tenants.keys().filter(|tenant| standing(tenant).is_none()))
        .chain(applied_there.filter(|one| one.applied_commit.is_some()).map(|one| &one.tenant))
        .cloned()
        .collect();
    let pruned = plan::prune_guard(&before, &to.listing);
    let names: BTreeSet<&TenantId> = before.iter().chain(to.listing.tenants.keys()).collect();
    let mut stands = Stands { repository, ends: BTreeMap::new() };
    for tenant in names {
        let standing = standing(tenant);
        let from = match standing {
            None => from.as_ref(),
            Some(Standing { applied_commit: None, .. }) => None,
            Some(Standing { applied_commit: Some(commit), .. }) => match from.as_ref() {
                Some(from) if base == Some(commit) => Some(from),
                _ => Some(stands.end(tenant, commit)?),
            },
        };
        if unchanged(from, to, tenant)? {
            document.pass_over();
            continue;
        }
        let mut actual = match from {
            Some(from) => last_good(repository, from, tenant)?,
            None => ActualState::empty(tenant.clone()),
        };
        if let Some(standing) = standing {
            actual.generation = standing.applied_generation;
            actual.revoked = standing.revoked.clone();
            actual.elevations_ended = standing.elevations_ended.clone();
        }
        if pruned.gone.contains(tenant) {
            if let Some(applied) = &actual.applied {
                let keys = to.listing.keys(tenant, applied.keys.shared.keys().map(String::as_str));
                let mut removal = plan::removal(&actual, &to.listing.revision, &keys);
                removal.held.extend(pruned.held.clone());
                document.add(&removal, &actual);
            }
            continue;
        }
        match to.read(platform, &scope.shared, tenant)? {
            (Some(desired), _) => document.add(&plan::between(&desired, &actual), &actual),
            (None, found) => {
                let stays_at = actual.applied.map(|applied| applied.commit);
                document.block(Blocked {
                    tenant: Some(tenant.clone()),
                    stays_at,
                    findings: findings(&found),
                });
            }
        }
    }
    document.recognise_tenants();
    Ok(document)
}

/// Whether nothing that a tenant is made of differs between the two ends.
fn unchanged(from: Option<&End>, to: &End, tenant: &TenantId) -> Result<bool, Ending> {
    let Some(from) = from else { return Ok(false) };
    if from.listing.tenants.get(tenant) != to.listing.tenants.get(tenant) {
        return Ok(false);
    }
    let (old, new) = (&from.listing, &to.listing);
    if (&old.platform, &old.settings, &old.shared) == (&new.platform, &new.settings, &new.shared) {
        return Ok(true);
    }
    let tree = to.snapshot.tenant_tree(tenant).map_err(Ending::could_not)?;
    let shared = desired::shared_used(&tree, tenant);
    let keys = |end: &End| end.listing.keys(tenant, shared.iter().map(String::as_str));
    Ok(keys(from) == keys(to))
}

/// The tenant as it was last applied at or before the base: what is invalid there is passed over.
fn last_good(repository: &LocalRepository, from: &End, tenant: &TenantId) -> Result<ActualState, Ending> {
    let mut here = None;
    let mut commit = from.snapshot.revision().commit.clone();
    for _ in 0..GOOD_WITHIN {
        let end = here.as_ref().unwrap_or(from);
        if !end.listing.tenants.contains_key(tenant) {
            break;
        }
        if let Some(platform) = &end.platform
            && let (Some(desired), _) = end.read(platform, &end.shared, tenant)?
        {
            return Ok(applied(desired));
        }
        let parents = repository.commit_info(&commit).map_err(Ending::could_not)?.parents;
        let Some(parent) = parents.into_iter().next() else { break };
        here = Some(End::of(repository.at(&parent).map_err(Ending::could_not)?)?);
        commit = parent;
    }
    Ok(ActualState::empty(tenant.clone()))
}

/// The actual state that an apply of this would leave.
fn applied(desired: DesiredState) -> ActualState {
    let applied = Applied {
        commit: desired.revision.commit.clone(),
        digest: desired.state.digest(),
        keys: desired.keys,
        at: now(),
        authors: BTreeSet::new(),
        state: desired.state,
    };
    ActualState { generation: 1, applied: Some(applied), ..ActualState::empty(desired.tenant) }
}

fn findings(found: &[Diagnostic]) -> Vec<Finding> {
    found.iter().filter(|finding| finding.severity == Severity::Error).map(Finding::from).collect()
}
