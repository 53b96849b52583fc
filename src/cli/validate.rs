//! `tenantry validate`: the same reading as the daemon's, on a work tree or a commit.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use super::{Ending, fixing, now, page, since};
use crate::desired::{self, report, rules};
use crate::domain::{Diagnostic, Listing, Platform, Severity, TenantId, Timestamp, Tree};
use crate::expression::{Parsed, STACK_BYTES};
use crate::source::{LocalRepository, Snapshot};

/// Trees that wait for a thread: each may hold a whole tenant.
const WAITING_MAX: usize = 4;

/// Times that fixes are made and looked for again: one may bring another to light.
const FIX_ROUNDS_MAX: usize = 8;

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    /// The repository, or a directory in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
    /// Check a commit in place of the work tree
    #[arg(long, value_name = "REV")]
    rev: Option<String>,
    /// Run the rules that compare with a base too: what left this commit, branch or tag
    #[arg(long, value_name = "BASE")]
    since: Option<String>,
    /// Check only these tenants; may be given several times
    #[arg(long, value_name = "T")]
    tenant: Vec<TenantId>,
    /// How to show the findings
    #[arg(long, value_enum, default_value_t)]
    format: FindingFormat,
    /// Let warnings count as findings for the exit code
    #[arg(long)]
    deny_warnings: bool,
    /// Make the fixes that keep what is meant, then check again
    #[arg(long, conflicts_with_all = ["rev", "watch"])]
    fix: bool,
    /// Check again whenever a file changes, until Ctrl-C
    #[arg(long, conflicts_with_all = ["rev", "since"])]
    watch: bool,
}

/// How findings are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum FindingFormat {
    /// Text with excerpts
    #[default]
    Human,
    /// tenantry.validate/1
    Json,
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// Annotations of GitHub Actions
    Github,
    /// A code quality report of GitLab
    Gitlab,
    /// JUnit XML
    Junit,
}

/// What is to be checked and how it is to be shown.
pub(super) struct Order<'a> {
    pub(super) repo: &'a std::path::Path,
    pub(super) rev: Option<&'a str>,
    pub(super) since: Option<&'a str>,
    pub(super) only: &'a [TenantId],
    pub(super) format: FindingFormat,
    pub(super) deny_warnings: bool,
    /// Whether the findings go to standard error as text beside the document.
    pub(super) spoken: bool,
}

/// What was read and found.
pub(super) struct Checked {
    /// Whether tenants were judged at all: without a platform every judgement would be a guess.
    pub(super) platform: bool,
    pub(super) found: Vec<Diagnostic>,
    pub(super) tenants: Vec<TenantId>,
    pub(super) texts: BTreeMap<String, Arc<[u8]>>,
    /// Whether the rules that compare with a base were run.
    compared: bool,
    /// The commit that was checked; `None` for a work tree.
    revision: Option<String>,
}

/// Checks a repository and prints what was found.
///
/// # Errors
/// `Quiet(1)` if there are findings at or above the threshold, `CouldNot` if nothing could be checked.
pub fn run(args: &ValidateArgs) -> Result<(), Ending> {
    if args.watch {
        return super::watching::run(&args.repo, &args.tenant, args.format);
    }
    let order = Order {
        repo: &args.repo,
        rev: args.rev.as_deref(),
        since: args.since.as_deref(),
        only: &args.tenant,
        format: args.format,
        deny_warnings: args.deny_warnings,
        spoken: false,
    };
    if args.fix {
        fix(&order)?;
    }
    check_and_show(&order)
}

/// Checks what an order names, shows it, and says by its ending whether it passes.
pub(super) fn check_and_show(order: &Order<'_>) -> Result<(), Ending> {
    let repository = LocalRepository::open(order.repo).map_err(Ending::could_not)?;
    let checked = once(&repository, order)?;
    show(order.format, &checked);
    if order.spoken {
        let text = human(&checked, anstream::stderr().is_terminal());
        anstream::eprint!("{text}");
        anstream::eprintln!("{}", checked.summary());
    }
    let threshold = if order.deny_warnings { Severity::Warning } else { Severity::Error };
    if checked.found.iter().any(|finding| finding.severity >= threshold) {
        Err(Ending::Quiet(1))
    } else {
        Ok(())
    }
}

fn once(repository: &LocalRepository, order: &Order<'_>) -> Result<Checked, Ending> {
    let commit = order.rev.map(|name| repository.resolve(name)).transpose().map_err(Ending::could_not)?;
    let snapshot = match &commit {
        Some(commit) => repository.at(commit),
        None => repository.work_tree(),
    };
    let snapshot = snapshot.map_err(Ending::could_not)?;
    let mut checked = check(&snapshot, order.only)?;
    hint_untracked(repository, commit.is_some(), &mut checked.found);
    checked.revision = commit.as_ref().map(ToString::to_string);
    if let Some(base) = order.since {
        let base = since::start(repository, base, commit.as_ref())?;
        let found = since::check(repository, &base, commit.as_ref(), &snapshot, order.only)?;
        checked.found.extend(found);
        report::sort(&mut checked.found);
        checked.compared = true;
    }
    Ok(checked)
}

/// Makes safe fixes until there are no more, and says each.
fn fix(order: &Order<'_>) -> Result<(), Ending> {
    let repository = LocalRepository::open(order.repo).map_err(Ending::could_not)?;
    let mut made = 0;
    for _ in 0..FIX_ROUNDS_MAX {
        let checked = once(&repository, &Order { since: None, ..*order })?;
        let texts = |path: &str| checked.texts.get(path).map(|bytes| bytes.to_vec());
        let done = fixing::apply(repository.directory(), &checked.found, &texts);
        for line in done.made.iter().chain(&done.left) {
            anstream::eprintln!("{line}");
        }
        made += done.made.len();
        if done.made.is_empty() {
            break;
        }
    }
    anstream::eprintln!("made {}", plural(made, "fix"));
    Ok(())
}

/// Says of a script that is missing whether it lies in the directory all the same, and why it is not seen.
fn hint_untracked(repository: &LocalRepository, committed: bool, found: &mut [Diagnostic]) {
    for finding in found.iter_mut().filter(|finding| finding.rule.id == rules::SCRIPT_MISSING.id) {
        let Some(place) = finding.related.iter().find(|place| place.at.span.is_none()) else { continue };
        let there = repository.directory().join(&place.at.path).symlink_metadata();
        if there.is_ok_and(|there| there.is_file()) {
            finding.help = Some(if committed {
                format!("`{}` lies in the work tree and is not committed: git add it", place.at.path)
            } else {
                format!(
                    "`{0}` is there and ignored by Git: git add -f {0}, or change .gitignore",
                    place.at.path
                )
            });
        }
    }
}

impl Checked {
    pub(super) fn of(
        platform: bool,
        found: Vec<Diagnostic>,
        tenants: Vec<TenantId>,
        texts: BTreeMap<String, Arc<[u8]>>,
    ) -> Self {
        Self { platform, found, tenants, texts, compared: false, revision: None }
    }

    fn numbers(&self) -> report::Checked {
        let broken: BTreeSet<&TenantId> = self
            .found
            .iter()
            .filter(|finding| finding.severity == Severity::Error)
            .filter_map(|finding| finding.tenant.as_ref())
            .collect();
        let broken = self.tenants.iter().filter(|tenant| broken.contains(tenant)).count();
        report::Checked { checked: self.tenants.len(), clean: self.tenants.len() - broken, broken }
    }

    /// One line that says what was checked, and what was not.
    pub(super) fn summary(&self) -> String {
        let errors = self.found.iter().filter(|finding| finding.severity == Severity::Error).count();
        summary(self.platform, self.compared, self.numbers(), errors, self.found.len() - errors)
    }
}

pub(super) fn check(snapshot: &Snapshot, only: &[TenantId]) -> Result<Checked, Ending> {
    let listing = snapshot.listing().map_err(Ending::could_not)?;
    if listing.settings.is_none() && listing.tenants.is_empty() && listing.platform.is_none() {
        return Err(Ending::CouldNot(
            "nothing to check: there is no tenantry.toml and no tenant here; `tenantry init` begins a repository".into(),
        ));
    }
    if let Some(missing) = only.iter().find(|tenant| !listing.tenants.contains_key(*tenant)) {
        return Err(Ending::CouldNot(format!("nothing to check: there is no tenant `{missing}`")));
    }
    let shared = snapshot.platform_tree().map_err(Ending::could_not)?;
    let mut texts = BTreeMap::new();
    remember_all(&shared, &mut texts);
    let (platform, mut found) = desired::read_platform(&shared);
    if only.is_empty() {
        found.extend(desired::check_listing(&listing));
        found.extend(desired::check_shared(&shared));
    }
    let wanted: Vec<TenantId> =
        listing.tenants.keys().filter(|tenant| only.is_empty() || only.contains(tenant)).cloned().collect();
    let Some(platform) = platform else {
        report::sort(&mut found);
        return Ok(Checked::of(false, found, Vec::new(), texts));
    };
    let judged = read_all(snapshot, &platform, &listing, &shared, &wanted, &mut texts)?;
    found.extend(desired::check_fleet(recipients(&judged), &|path| texts.get(path).cloned()));
    found.extend(judged.into_values().flat_map(|one| one.found));
    report::sort(&mut found);
    // A mistake in `shared/` is told once, and again for each tenant that it breaks.
    found.dedup();
    Ok(Checked::of(true, found, wanted, texts))
}

/// What is kept of one tenant once it was judged: its state is dropped at once, a fleet's would fill the memory.
pub(super) struct Judged {
    /// The keys it names for itself; none where it has no state.
    pub(super) recipients: Vec<String>,
    /// Sorted.
    pub(super) found: Vec<Diagnostic>,
}

/// Judges one tenant.
pub(super) fn judge(
    parsed: &mut Parsed,
    platform: &Platform,
    listing: &Listing,
    shared: &Tree,
    tree: &Tree,
    tenant: &TenantId,
    at: Timestamp,
) -> Judged {
    let (state, mut found) = desired::read_with(parsed, platform, listing, shared, tree, tenant);
    found.extend(desired::check_clock(tree, tenant, at));
    Judged { recipients: state.map(|state| state.state.settings.recipients).unwrap_or_default(), found }
}

/// The keys that each tenant names, in the order of the tenants.
pub(super) fn recipients(
    judged: &BTreeMap<TenantId, Judged>,
) -> impl Iterator<Item = (&TenantId, &[String])> {
    judged.iter().map(|(tenant, one)| (tenant, one.recipients.as_slice()))
}

/// Reads tenants one after the other from the repository and judges them on all processors.
pub(super) fn read_all(
    snapshot: &Snapshot,
    platform: &Platform,
    listing: &Listing,
    shared: &Tree,
    wanted: &[TenantId],
    texts: &mut BTreeMap<String, Arc<[u8]>>,
) -> Result<BTreeMap<TenantId, Judged>, Ending> {
    let at = now();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(wanted.len().max(1));
    let progress = std::io::stderr().is_terminal() && wanted.len() > 50;
    std::thread::scope(|scope| {
        let (give, take) = mpsc::sync_channel::<(&TenantId, Tree)>(WAITING_MAX);
        let take = Arc::new(Mutex::new(take));
        // No expression needs a stack of its own then; memory is taken as it is touched.
        let large = || std::thread::Builder::new().stack_size(STACK_BYTES + STACK_BYTES / 4);
        let workers: Vec<_> = (0..threads)
            .filter_map(|_| {
                let take = Arc::clone(&take);
                let worker = large().spawn_scoped(scope, move || {
                    let (mut results, mut texts) = (Vec::new(), BTreeMap::new());
                    let mut parsed = Parsed::default();
                    loop {
                        let next = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok((tenant, tree)) = next else { return (results, texts) };
                        let judged = judge(&mut parsed, platform, listing, shared, &tree, tenant, at);
                        remember(&tree, tenant, &judged.found, &mut texts);
                        results.push((tenant.clone(), judged));
                    }
                });
                worker.ok()
            })
            .collect();
        // Once no worker takes any more, giving fails at once instead of waiting for ever.
        drop(take);
        let mut failure = workers
            .is_empty()
            .then(|| Ending::CouldNot("this machine starts no thread to check with".into()));
        for (index, tenant) in wanted.iter().enumerate() {
            match snapshot.tenant_tree(tenant) {
                Ok(tree) => {
                    if give.send((tenant, tree)).is_err() {
                        break;
                    }
                }
                Err(error) => {
                    failure = Some(Ending::could_not(error));
                    break;
                }
            }
            if progress && index % 20 == 0 {
                let _ = write!(std::io::stderr(), "\rchecking {}/{}", index + 1, wanted.len());
            }
        }
        drop(give);
        let mut results = BTreeMap::new();
        for worker in workers {
            match worker.join() {
                Ok((judged, shown)) => {
                    results.extend(judged);
                    texts.extend(shown);
                }
                Err(_) => {
                    failure = failure.take().or(Some(Ending::CouldNot("checking a tenant failed".into())))
                }
            }
        }
        if progress {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        failure.map_or(Ok(results), Err)
    })
}

/// Keeps the texts of a tenant that its findings point into, and of `tenant.yaml`, which the findings of the whole
/// fleet point into.
pub(super) fn remember(
    tree: &Tree,
    tenant: &TenantId,
    found: &[Diagnostic],
    texts: &mut BTreeMap<String, Arc<[u8]>>,
) {
    let about = format!("tenants/{tenant}/tenant.yaml");
    let places = found.iter().flat_map(|one| {
        std::iter::once(one.at.path.as_str())
            .chain(one.related.iter().map(|related| related.at.path.as_str()))
    });
    for path in places.chain([about.as_str()]).filter(|path| is_shown(path)) {
        if let Some(content) = tree.files.get(path).and_then(|entry| entry.content.as_ref())
            && !texts.contains_key(path)
        {
            texts.insert(path.to_owned(), Arc::clone(content));
        }
    }
}

/// Keeps every text of the platform's files that findings may point into.
pub(super) fn remember_all(tree: &Tree, texts: &mut BTreeMap<String, Arc<[u8]>>) {
    for (path, entry) in tree.files.iter().filter(|(path, _)| is_shown(path)) {
        if let Some(content) = &entry.content {
            texts.insert(path.clone(), Arc::clone(content));
        }
    }
}

fn is_shown(path: &str) -> bool {
    path.ends_with(".yaml") || path.ends_with(".toml")
}

/// Findings as text with excerpts; empty where there are none.
pub(super) fn human(checked: &Checked, colour: bool) -> String {
    let texts = |path: &str| checked.texts.get(path).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
    report::human(&checked.found, &texts, colour && colour_wanted())
}

pub(super) fn show(format: FindingFormat, checked: &Checked) {
    let found = &checked.found;
    match format {
        FindingFormat::Human => {
            let text = human(checked, anstream::stdout().is_terminal());
            if !text.is_empty() {
                page::line(text.trim_end_matches('\n'));
            }
            anstream::eprintln!("{}", checked.summary());
        }
        FindingFormat::Json => {
            page::json(&report::json(found, checked.revision.as_deref(), checked.numbers()));
        }
        FindingFormat::Sarif => page::json(&report::sarif(found, env!("CARGO_PKG_VERSION"))),
        FindingFormat::Github => {
            let text = report::github(found);
            if !text.is_empty() {
                page::line(text.trim_end_matches('\n'));
            }
        }
        FindingFormat::Gitlab => page::json(&report::gitlab(found)),
        FindingFormat::Junit => {
            let tenants: Vec<String> = checked.tenants.iter().map(ToString::to_string).collect();
            page::line(report::junit(found, &tenants).trim_end_matches('\n'));
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "NO_COLOR is a promise of the command line")]
fn colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn plural(count: usize, word: &str) -> String {
    let ending = match (count, word.ends_with('x')) {
        (1, _) => "",
        (_, true) => "es",
        (_, false) => "s",
    };
    format!("{count} {word}{ending}")
}

fn summary(
    platform: bool,
    compared: bool,
    numbers: report::Checked,
    errors: usize,
    warnings: usize,
) -> String {
    let (errors, warnings) = (plural(errors, "error"), plural(warnings, "warning"));
    if !platform {
        return format!(
            "checked the platform alone: {errors}, {warnings}; tenants are checked once its files can be read"
        );
    }
    let tenants = plural(numbers.checked, "tenant");
    let base = if compared { "" } else { "; rules that compare with a base were not run: --since BASE" };
    format!("checked the platform and {tenants}: {errors}, {warnings}{base}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts_and_says_what_was_not_run() {
        let numbers = report::Checked { checked: 3, clean: 2, broken: 1 };
        assert_eq!(
            summary(true, false, numbers, 1, 0),
            "checked the platform and 3 tenants: 1 error, 0 warnings; rules that compare with a base were not run: --since BASE"
        );
        assert_eq!(
            summary(true, true, numbers, 2, 1),
            "checked the platform and 3 tenants: 2 errors, 1 warning"
        );
        assert_eq!((plural(1, "fix"), plural(2, "fix")), ("1 fix".into(), "2 fixes".into()));
    }
}
