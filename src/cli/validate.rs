//! `tenantry validate`: the same reading as the daemon's, on a work tree or a commit.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use super::Ending;
use super::page;
use crate::desired::{self, report};
use crate::domain::{DesiredState, Diagnostic, Listing, Platform, Severity, TenantId, Tree};
use crate::source::{LocalRepository, Snapshot};

/// Trees that wait for a thread: each may hold a whole tenant.
const WAITING_MAX: usize = 4;

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub struct ValidateArgs {
    /// The repository, or a directory in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
    /// Check a commit in place of the work tree
    #[arg(long, value_name = "REV")]
    rev: Option<String>,
    /// Check only these tenants; may be given several times
    #[arg(long, value_name = "T")]
    tenant: Vec<TenantId>,
    /// How to show the findings
    #[arg(long, value_enum, default_value_t)]
    format: FindingFormat,
    /// Let warnings count as findings for the exit code
    #[arg(long)]
    deny_warnings: bool,
}

/// How findings are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum FindingFormat {
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

/// What was read and found.
struct Checked {
    /// Whether tenants were judged at all: without a platform every judgement would be a guess.
    platform: bool,
    found: Vec<Diagnostic>,
    tenants: Vec<TenantId>,
    texts: BTreeMap<String, Arc<[u8]>>,
}

/// Checks a repository and prints what was found.
///
/// # Errors
/// `Quiet(1)` if there are findings at or above the threshold, `CouldNot` if nothing could be checked.
pub fn run(args: &ValidateArgs) -> Result<(), Ending> {
    let repository = LocalRepository::open(&args.repo).map_err(Ending::could_not)?;
    let (snapshot, revision) = match &args.rev {
        Some(name) => {
            let commit = repository.resolve(name).map_err(Ending::could_not)?;
            (repository.at(&commit).map_err(Ending::could_not)?, Some(commit.to_string()))
        }
        None => (repository.work_tree().map_err(Ending::could_not)?, None),
    };
    let checked = check(&snapshot, &args.tenant)?;
    let broken: BTreeSet<&TenantId> = checked
        .found
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .filter_map(|finding| finding.tenant.as_ref())
        .collect();
    let numbers = report::Checked {
        checked: checked.tenants.len(),
        clean: checked.tenants.len() - broken.len(),
        broken: broken.len(),
    };
    show(args.format, &checked, revision.as_deref(), numbers);
    let threshold = if args.deny_warnings { Severity::Warning } else { Severity::Error };
    if checked.found.iter().any(|finding| finding.severity >= threshold) {
        Err(Ending::Quiet(1))
    } else {
        Ok(())
    }
}

fn check(snapshot: &Snapshot, only: &[TenantId]) -> Result<Checked, Ending> {
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
    remember(&shared, &mut texts);
    let (platform, mut found) = desired::read_platform(&shared);
    if only.is_empty() {
        found.extend(desired::check_listing(&listing));
        found.extend(desired::check_shared(&shared));
    }
    let wanted: Vec<TenantId> =
        listing.tenants.keys().filter(|tenant| only.is_empty() || only.contains(tenant)).cloned().collect();
    let Some(platform) = platform else {
        report::sort(&mut found);
        return Ok(Checked { platform: false, found, tenants: Vec::new(), texts });
    };
    let results = read_all(snapshot, &platform, &listing, &shared, &wanted, &mut texts)?;
    let mut states = Vec::new();
    for (state, findings) in results {
        states.extend(state);
        found.extend(findings);
    }
    states.sort_by(|a, b| a.tenant.cmp(&b.tenant));
    found.extend(desired::check_fleet(&states));
    report::sort(&mut found);
    // A mistake in `shared/` is told once, and again for each tenant that it breaks.
    found.dedup();
    Ok(Checked { platform: true, found, tenants: wanted, texts })
}

type Judged = (Option<DesiredState>, Vec<Diagnostic>);

/// Reads tenants one after the other from the repository and judges them on all processors.
fn read_all(
    snapshot: &Snapshot,
    platform: &Platform,
    listing: &Listing,
    shared: &Tree,
    wanted: &[TenantId],
    texts: &mut BTreeMap<String, Arc<[u8]>>,
) -> Result<Vec<Judged>, Ending> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(wanted.len().max(1));
    let progress = std::io::stderr().is_terminal() && wanted.len() > 50;
    std::thread::scope(|scope| {
        let (give, take) = mpsc::sync_channel::<(&TenantId, Tree)>(WAITING_MAX);
        let take = Arc::new(Mutex::new(take));
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                let take = Arc::clone(&take);
                scope.spawn(move || {
                    let mut results: Vec<Judged> = Vec::new();
                    loop {
                        let next = take.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        let Ok((tenant, tree)) = next else { return results };
                        results.push(desired::read(platform, listing, shared, &tree, tenant));
                    }
                })
            })
            .collect();
        // Once no worker takes any more, giving fails at once instead of waiting for ever.
        drop(take);
        let mut failure = None;
        for (index, tenant) in wanted.iter().enumerate() {
            match snapshot.tenant_tree(tenant) {
                Ok(tree) => {
                    remember(&tree, texts);
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
        let mut results = Vec::new();
        for worker in workers {
            match worker.join() {
                Ok(judged) => results.extend(judged),
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

/// Keeps the texts that findings may point into.
pub(super) fn remember(tree: &Tree, texts: &mut BTreeMap<String, Arc<[u8]>>) {
    let shown = |path: &str| path.ends_with(".yaml") || path.ends_with(".toml");
    for (path, entry) in tree.files.iter().filter(|(path, _)| shown(path)) {
        if let Some(content) = &entry.content {
            texts.insert(path.clone(), Arc::clone(content));
        }
    }
}

fn show(format: FindingFormat, checked: &Checked, revision: Option<&str>, numbers: report::Checked) {
    let found = &checked.found;
    match format {
        FindingFormat::Human => {
            let texts =
                |path: &str| checked.texts.get(path).and_then(|bytes| String::from_utf8(bytes.to_vec()).ok());
            let colour = anstream::stdout().is_terminal() && colour_wanted();
            let text = report::human(found, &texts, colour);
            if !text.is_empty() {
                page::line(text.trim_end_matches('\n'));
            }
            let errors = found.iter().filter(|finding| finding.severity == Severity::Error).count();
            anstream::eprintln!("{}", summary(checked.platform, numbers, errors, found.len() - errors));
        }
        FindingFormat::Json => page::json(&report::json(found, revision, numbers)),
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

/// One line that says what was checked, and what was not.
fn summary(platform: bool, numbers: report::Checked, errors: usize, warnings: usize) -> String {
    let plural = |count: usize, word: &str| format!("{count} {word}{}", if count == 1 { "" } else { "s" });
    if !platform {
        return format!(
            "checked the platform alone: {}, {}; tenants are checked once its files can be read",
            plural(errors, "error"),
            plural(warnings, "warning"),
        );
    }
    format!(
        "checked the platform and {}: {}, {}; rules that compare with a base were not run",
        plural(numbers.checked, "tenant"),
        plural(errors, "error"),
        plural(warnings, "warning"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_counts() {
        let numbers = report::Checked { checked: 3, clean: 2, broken: 1 };
        assert_eq!(
            summary(true, numbers, 1, 0),
            "checked the platform and 3 tenants: 1 error, 0 warnings; rules that compare with a base were not run"
        );
    }
}
