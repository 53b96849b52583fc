//! `validate --watch`: checks again whenever a file changes, no more than what the change can have touched.
//!
//! A change below one tenant reads that tenant alone; anything else reads everything. What was found in the
//! tenants that did not move is kept, so that each answer is that of a whole run.
#![expect(clippy::disallowed_methods, reason = "the command line tells how long an answer took")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc;

use super::validate::{self, Checked, FindingFormat, Judged, judge, remember, remember_all};
use super::{Ending, now};
use crate::desired::{self, report};
use crate::domain::{Diagnostic, Listing, Platform, Revision, TenantId, Tree};
use crate::expression::Parsed;
use crate::source::LocalRepository;

/// Changes that come this close together are answered once: an editor writes a file in several steps.
const QUIET: Duration = Duration::from_millis(15);
/// However busy the directory is, an answer comes after this.
const LATEST: Duration = Duration::from_millis(60);

/// Watches until Ctrl-C, which ends it with 130.
///
/// # Errors
/// `CouldNot` if the repository cannot be read or watched at all.
pub(super) fn run(repo: &Path, only: &[TenantId], format: FindingFormat) -> Result<(), Ending> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Ending::could_not)?;
    runtime.block_on(watch(repo, only, format))
}

async fn watch(repo: &Path, only: &[TenantId], format: FindingFormat) -> Result<(), Ending> {
    let repository = LocalRepository::open(repo).map_err(Ending::could_not)?;
    let root = repository.directory().to_owned();
    let (send, mut changes) = mpsc::unbounded_channel::<PathBuf>();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        let Ok(event) = event else { return };
        if !event.kind.is_access() {
            event.paths.into_iter().for_each(|path| drop(send.send(path)));
        }
    })
    .map_err(Ending::could_not)?;
    // The root itself is watched flat: `target/` and the like lie beside what is read, and may be large.
    watcher.watch(&root, RecursiveMode::NonRecursive).map_err(Ending::could_not)?;
    for place in ["platform", "shared", "tenants"] {
        let _ = watcher.watch(&root.join(place), RecursiveMode::Recursive);
    }
    let mut state = State::default();
    let begun = Instant::now();
    state.read_all(&repository, only)?;
    state.show(format, begun.elapsed());
    loop {
        let first = tokio::select! {
            change = changes.recv() => change,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(first) = first else {
            anstream::eprintln!();
            return Err(Ending::Quiet(130));
        };
        let begun = Instant::now();
        let mut moved = BTreeSet::from([first]);
        while begun.elapsed() < LATEST {
            match tokio::time::timeout(QUIET, changes.recv()).await {
                Ok(Some(path)) => moved.insert(path),
                Ok(None) | Err(_) => break,
            };
        }
        let touched: BTreeSet<Touched> = moved.iter().filter_map(|path| touched(&root, path)).collect();
        if touched.is_empty() {
            continue;
        }
        // A directory that was made a moment ago is not watched yet.
        for place in ["platform", "shared", "tenants"] {
            if touched.contains(&Touched::Everything) {
                let _ = watcher.watch(&root.join(place), RecursiveMode::Recursive);
            }
        }
        match state.read(&repository, only, &touched) {
            Ok(()) => state.show(format, begun.elapsed()),
            // A file may be half gone while a branch is switched: the next change brings the answer.
            Err(error) => drop(super::finish(Err(error))),
        }
    }
}

/// What a changed path can have touched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Touched {
    Everything,
    Tenant(TenantId),
}

/// `None` for what is not read at all.
fn touched(root: &Path, path: &Path) -> Option<Touched> {
    let inside = path.strip_prefix(root).ok()?;
    let mut parts = inside.iter().map(|part| part.to_string_lossy());
    let first = parts.next()?;
    match &*first {
        "tenants" => {
            let tenant = parts.next().and_then(|name| name.parse().ok());
            // A tenant that comes or goes changes the listing; a file in it does not.
            match (tenant, parts.next()) {
                (Some(tenant), Some(name)) if !name.ends_with(".tenantry-fix") => {
                    Some(Touched::Tenant(tenant))
                }
                (Some(_), Some(_)) => None,
                _ => Some(Touched::Everything),
            }
        }
        "platform" | "shared" | "tenantry.toml" | ".gitignore" => Some(Touched::Everything),
        _ => None,
    }
}

/// What was read and found last.
#[derive(Default)]
struct State {
    revision: Option<Revision>,
    platform: Option<Platform>,
    listing: Option<Listing>,
    shared: Option<Tree>,
    /// Of no tenant.
    common: Vec<Diagnostic>,
    tenants: BTreeMap<TenantId, Judged>,
    texts: BTreeMap<String, Arc<[u8]>>,
}

impl State {
    fn read_all(&mut self, repository: &LocalRepository, only: &[TenantId]) -> Result<(), Ending> {
        let snapshot = repository.work_tree().map_err(Ending::could_not)?;
        let listing = snapshot.listing().map_err(Ending::could_not)?;
        if listing.settings.is_none() && listing.tenants.is_empty() {
            return Err(Ending::CouldNot(
                "nothing to check: there is no tenantry.toml and no tenant here".into(),
            ));
        }
        let shared = snapshot.platform_tree().map_err(Ending::could_not)?;
        let (platform, common) = desired::read_platform(&shared);
        *self = Self { revision: Some(listing.revision.clone()), common, ..Self::default() };
        remember_all(&shared, &mut self.texts);
        if only.is_empty() {
            self.common.extend(desired::check_listing(&listing));
            self.common.extend(desired::check_shared(&shared));
        }
        let wanted = listing.tenants.keys().filter(|tenant| only.is_empty() || only.contains(tenant));
        let wanted: Vec<TenantId> = wanted.cloned().collect();
        if let Some(platform) = &platform {
            self.tenants =
                validate::read_all(&snapshot, platform, &listing, &shared, &wanted, &mut self.texts)?;
        }
        (self.platform, self.listing, self.shared) = (platform, Some(listing), Some(shared));
        Ok(())
    }

    fn read(
        &mut self,
        repository: &LocalRepository,
        only: &[TenantId],
        touched: &BTreeSet<Touched>,
    ) -> Result<(), Ending> {
        let known = self.tenants.len();
        for one in touched {
            let Touched::Tenant(tenant) = one else { return self.read_all(repository, only) };
            if !only.is_empty() && !only.contains(tenant) {
                continue;
            }
            let (Some(platform), Some(listing), Some(shared), Some(revision)) =
                (&self.platform, &self.listing, &self.shared, &self.revision)
            else {
                return self.read_all(repository, only);
            };
            let tree = repository.tenant_as_it_lies(tenant, revision).map_err(Ending::could_not)?;
            if tree.files.is_empty() || !self.tenants.contains_key(tenant) {
                return self.read_all(repository, only);
            }
            let judged = judge(&mut Parsed::default(), platform, listing, shared, &tree, tenant, now());
            let prefix = format!("tenants/{tenant}/");
            self.texts.retain(|path, _| !path.starts_with(&prefix));
            remember(&tree, tenant, &judged.found, &mut self.texts);
            self.tenants.insert(tenant.clone(), judged);
        }
        debug_assert_eq!(known, self.tenants.len(), "no tenant comes or goes here");
        Ok(())
    }

    fn show(&self, format: FindingFormat, took: Duration) {
        let mut found: Vec<Diagnostic> = self.common.clone();
        found.extend(self.tenants.values().flat_map(|judged| judged.found.iter().cloned()));
        let recipients = validate::recipients(&self.tenants);
        found.extend(desired::check_fleet(recipients, &|path| self.texts.get(path).cloned()));
        report::sort(&mut found);
        found.dedup();
        let tenants = self.tenants.keys().cloned().collect();
        let checked = Checked::of(self.platform.is_some(), found, tenants, self.texts.clone());
        validate::show(format, &checked);
        anstream::eprintln!("in {} ms; watching, Ctrl-C ends it", took.as_millis());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_touches_its_tenant_or_everything() {
        #[track_caller]
        fn check(path: &str, want: Option<Touched>) {
            assert_eq!(touched(Path::new("/r"), &Path::new("/r").join(path)), want, "{path}");
        }
        let acme = Touched::Tenant("acme".parse().unwrap());
        check("tenants/acme/workflows/sync.yaml", Some(acme.clone()));
        check("tenants/acme/roles.yaml", Some(acme));
        check("tenants/acme", Some(Touched::Everything));
        check("tenants/Acme/x", Some(Touched::Everything));
        check("platform/people.yaml", Some(Touched::Everything));
        check("tenantry.toml", Some(Touched::Everything));
        check("target/debug/x", None);
        check("README.md", None);
        assert_eq!(touched(Path::new("/r"), Path::new("/other/tenants/acme/x")), None);
    }
}
