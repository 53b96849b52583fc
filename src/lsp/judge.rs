//! Judges a repository while it is being edited: the rules of `validate`, on the work tree with the open texts
//! in it. A key that is typed costs its own tenant; a change of the platform costs all, the open ones first.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gen_lsp_types as lsp;

use super::board::{Board, Finding, Notice, Origin};
use super::mailbox::{Buffers, Mail, Mailbox};
use super::text::{Encoding, Text};
use super::uri;
use crate::desired;
use crate::domain::{DesiredState, Diagnostic, Listing, Platform, Severity, Span, TenantId, Tree};
use crate::source::{LocalRepository, Snapshot, SourceError, overlay};

/// Tenants that are judged between two looks into the mailbox.
const BATCH: usize = 64;

/// How findings are to be shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// How columns are counted.
    pub encoding: Encoding,
    /// Whether related places are shown beside the message, and not in it.
    pub related: bool,
}

/// A repository as of one change, for whoever answers questions about it.
#[derive(Clone, Debug)]
pub struct View {
    /// The change of open texts that it has seen.
    pub revision: u64,
    /// The last one that could be read.
    pub platform: Option<Arc<Platform>>,
    /// Every tenant there is.
    pub tenants: Arc<BTreeSet<TenantId>>,
    /// `tenantry.toml`, `platform/` and `shared/`.
    pub shared: Arc<Tree>,
    /// The directories of tenants with an open file.
    pub trees: BTreeMap<TenantId, Arc<Tree>>,
    /// What is found in open files.
    pub found: BTreeMap<String, Vec<Arc<Finding>>>,
}

/// What is told while judging.
#[derive(Debug)]
pub enum News {
    /// The repository as it is now.
    View(Box<View>),
    /// What is found in a file.
    Notice(Notice),
    /// Something keeps it from being judged; for a person.
    Trouble(String),
    /// Everything there is has been judged.
    Settled,
}

/// The state of the disk.
struct Disk {
    snapshot: Snapshot,
    listing: Listing,
    platform: Tree,
}

struct Judge<'a> {
    repository: LocalRepository,
    root: PathBuf,
    manner: Manner,
    tell: &'a dyn Fn(News),
    disk: Option<Disk>,
    buffers: Buffers,
    revision: u64,
    listing: Listing,
    shared: Arc<Tree>,
    platform: Option<Arc<Platform>>,
    /// Whether the platform can be read now: without it tenants keep what was found before.
    platform_valid: bool,
    states: BTreeMap<TenantId, (Vec<String>, BTreeSet<String>)>,
    /// Directories of tenants with an open file, as they lie on the disk.
    plain: BTreeMap<TenantId, Tree>,
    trees: BTreeMap<TenantId, Arc<Tree>>,
    dirty: BTreeSet<TenantId>,
    board: Board,
    trouble: Option<String>,
}

/// Judges until the mailbox is closed. `root` is spelled as the editor spells it.
pub fn run(root: &Path, manner: Manner, mailbox: &Mailbox, tell: &dyn Fn(News)) {
    let repository = match LocalRepository::open(root) {
        Ok(repository) => repository,
        Err(error) => return tell(News::Trouble(said(&error))),
    };
    let mut judge = Judge::new(repository, root.to_owned(), manner, tell);
    while let Some(mail) = mailbox.take() {
        judge.look(mail);
        while judge.has_work() && !mailbox.waits() {
            judge.batch();
        }
        if !judge.has_work() {
            tell(News::Settled);
        }
    }
}

/// An error with its causes.
fn said(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The tenant in whose directory a path lies.
#[must_use]
pub fn tenant_of(path: &str) -> Option<TenantId> {
    path.strip_prefix("tenants/")?.split_once('/')?.0.parse().ok()
}

/// Whether anything is read at a path.
fn is_read(path: &str) -> bool {
    path == "tenantry.toml"
        || ["platform/", "shared/", "tenants/"].iter().any(|place| path.starts_with(place))
}

impl<'a> Judge<'a> {
    fn new(repository: LocalRepository, root: PathBuf, manner: Manner, tell: &'a dyn Fn(News)) -> Self {
        let revision = crate::domain::Revision { commit: zeros(), branch: String::new() };
        let shared = Tree {
            revision: revision.clone(),
            files: BTreeMap::new(),
            misnamed: Vec::new(),
            truncated: None,
            pinned: BTreeMap::new(),
        };
        let listing = Listing {
            revision,
            root: zeros(),
            settings: None,
            platform: None,
            shared: BTreeMap::new(),
            tenants: BTreeMap::new(),
            misplaced: Vec::new(),
        };
        Self {
            repository,
            root,
            manner,
            tell,
            disk: None,
            buffers: Buffers::new(),
            revision: 0,
            listing,
            shared: Arc::new(shared),
            platform: None,
            platform_valid: false,
            states: BTreeMap::new(),
            plain: BTreeMap::new(),
            trees: BTreeMap::new(),
            dirty: BTreeSet::new(),
            board: Board::default(),
            trouble: None,
        }
    }

    /// Takes in what has changed and judges what is open; the rest becomes dirty.
    fn look(&mut self, mail: Mail) {
        let mut changed = BTreeSet::new();
        if let Some((revision, buffers)) = mail.buffers {
            changed.extend(differing(&self.buffers, &buffers).map(str::to_owned));
            (self.revision, self.buffers) = (revision, buffers);
        }
        let reread = mail.disk || self.disk.is_none();
        let mut platform_changed = changed.iter().any(|path| is_read(path) && tenant_of(path).is_none());
        let mut shared_changed: BTreeSet<String> =
            changed.iter().filter_map(|path| shared_directory(path)).map(str::to_owned).collect();
        if reread {
            match self.reread(&mut shared_changed) {
                Ok(changed) => {
                    platform_changed |= changed;
                    self.trouble = None;
                }
                Err(error) => self.report(said(&error)),
            }
        }
        for tenant in changed.iter().filter_map(|path| tenant_of(path)) {
            self.trees.remove(&tenant);
            self.dirty.insert(tenant);
        }
        let open: BTreeSet<TenantId> = self.buffers.keys().filter_map(|path| tenant_of(path)).collect();
        self.plain.retain(|tenant, _| open.contains(tenant));
        self.trees.retain(|tenant, _| open.contains(tenant));
        self.list(&open);
        if platform_changed {
            self.judge_platform();
        }
        if !shared_changed.is_empty() {
            let using = self.states.iter().filter(|(_, (_, uses))| !uses.is_disjoint(&shared_changed));
            self.dirty.extend(using.map(|(tenant, _)| tenant.clone()).collect::<Vec<_>>());
        }
        if self.platform_valid {
            let first: Vec<&TenantId> = open.iter().filter(|tenant| self.dirty.contains(*tenant)).collect();
            for tenant in first {
                self.dirty.remove(tenant);
                match self.tree(tenant) {
                    Ok(tree) => {
                        let platform = self.platform.as_ref();
                        let judged = judge_one(platform, &self.listing, &self.shared, &tree, tenant);
                        self.take(tenant, &tree, judged);
                    }
                    Err(error) => self.report(said(&error)),
                }
            }
            self.judge_fleet();
        } else {
            // Nothing can be judged; the trees are still wanted by whoever completes a name.
            for tenant in &open {
                let _ = self.tree(tenant);
            }
        }
        for path in changed {
            self.publish(&path);
        }
        self.show();
    }

    /// Reads the disk again; gives whether the platform's files are others. What changed becomes dirty.
    fn reread(&mut self, shared_changed: &mut BTreeSet<String>) -> Result<bool, SourceError> {
        let snapshot = self.repository.work_tree()?;
        let listing = snapshot.listing()?;
        let platform = snapshot.platform_tree()?;
        let before = self.disk.as_ref();
        let same = |old: &Listing| {
            old.settings == listing.settings
                && old.platform == listing.platform
                && old.shared == listing.shared
                && old.misplaced == listing.misplaced
        };
        let platform_changed =
            before.is_none_or(|before| !same(&before.listing) || before.platform.files != platform.files);
        for (tenant, id) in &listing.tenants {
            if before.and_then(|before| before.listing.tenants.get(tenant)) != Some(id) {
                self.plain.remove(tenant);
                self.trees.remove(tenant);
                self.dirty.insert(tenant.clone());
            }
        }
        let gone: BTreeSet<TenantId> = before
            .map(|before| {
                before
                    .listing
                    .tenants
                    .keys()
                    .filter(|tenant| !listing.tenants.contains_key(*tenant))
                    .cloned()
                    .collect()
            })
            .unwrap_or_default();
        for tenant in gone {
            self.plain.remove(&tenant);
            self.trees.remove(&tenant);
            self.dirty.insert(tenant);
        }
        if let Some(before) = before {
            let names = before.listing.shared.keys().chain(listing.shared.keys());
            let other = names.filter(|name| before.listing.shared.get(*name) != listing.shared.get(*name));
            shared_changed.extend(other.cloned());
        }
        self.disk = Some(Disk { snapshot, listing, platform });
        Ok(platform_changed)
    }

    /// The tenants there are: those on the disk and those that so far exist only in the editor.
    fn list(&mut self, open: &BTreeSet<TenantId>) {
        let Some(disk) = &self.disk else { return };
        self.listing = disk.listing.clone();
        for tenant in open {
            self.listing.tenants.entry(tenant.clone()).or_insert_with(zeros);
        }
        let gone: Vec<TenantId> = self
            .states
            .keys()
            .chain(self.board.tenants())
            .filter(|tenant| !self.listing.tenants.contains_key(*tenant))
            .cloned()
            .collect();
        for tenant in gone {
            self.states.remove(&tenant);
            self.dirty.remove(&tenant);
            let touched = self.board.put(&Origin::Tenant(tenant), Vec::new());
            touched.iter().for_each(|path| self.publish(path));
        }
        self.dirty.retain(|tenant| self.listing.tenants.contains_key(tenant));
    }

    fn judge_platform(&mut self) {
        let Some(disk) = &self.disk else { return };
        let mut tree = disk.platform.clone();
        for (path, buffer) in &self.buffers {
            if is_read(path) && tenant_of(path).is_none() && !path.starts_with("tenants/") {
                self.lay(&mut tree, path, buffer.text.as_str());
            }
        }
        let judged = catch_unwind(AssertUnwindSafe(|| {
            let (platform, mut found) = desired::read_platform(&tree);
            found.extend(desired::check_listing(&self.listing));
            found.extend(desired::check_shared(&tree));
            (platform, found)
        }));
        self.shared = Arc::new(tree);
        let Ok((platform, found)) = judged else {
            return self
                .report("judging the platform's files failed; this is a fault of tenantry".to_owned());
        };
        let shown = self.shown(found, None);
        let touched = self.board.put(&Origin::Platform, shown);
        touched.iter().for_each(|path| self.publish(path));
        self.platform_valid = platform.is_some();
        if let Some(platform) = platform
            && self.platform.as_deref() != Some(&platform)
        {
            self.platform = Some(Arc::new(platform));
            self.dirty.extend(self.listing.tenants.keys().cloned());
        }
        if self.platform_valid {
            let unread = self.listing.tenants.keys().filter(|tenant| !self.states.contains_key(*tenant));
            self.dirty.extend(unread.cloned().collect::<Vec<_>>());
        }
    }

    /// Puts an open text into a tree, unless Git would leave the file out.
    fn lay(&self, tree: &mut Tree, path: &str, text: &str) {
        if (tree.get(path).is_some() || !self.repository.ignores(path))
            && let Err(error) = overlay(tree, path, text)
        {
            (self.tell)(News::Trouble(said(&error)));
        }
    }

    /// A tenant's directory with the open texts in it.
    fn tree(&mut self, tenant: &TenantId) -> Result<Arc<Tree>, SourceError> {
        if let Some(tree) = self.trees.get(tenant) {
            return Ok(Arc::clone(tree));
        }
        let root = format!("tenants/{tenant}/");
        let open: Vec<_> = self.buffers.iter().filter(|(path, _)| path.starts_with(&root)).collect();
        let mut tree = match (self.plain.get(tenant), &self.disk) {
            (Some(plain), _) => plain.clone(),
            (None, Some(disk)) => disk.snapshot.tenant_tree(tenant)?,
            (None, None) => Tree { files: BTreeMap::new(), ..(*self.shared).clone() },
        };
        let keep = !open.is_empty();
        let plain = (keep && !self.plain.contains_key(tenant)).then(|| tree.clone());
        for (path, buffer) in open {
            self.lay(&mut tree, path, buffer.text.as_str());
        }
        if let Some(disk) = self.disk.as_ref().filter(|_| keep) {
            // A pin may stand in a text that is not saved yet.
            disk.snapshot.read_pins(tenant, &mut tree)?;
        }
        let tree = Arc::new(tree);
        if let Some(plain) = plain {
            self.plain.insert(tenant.clone(), plain);
        }
        if keep {
            self.trees.insert(tenant.clone(), Arc::clone(&tree));
        }
        Ok(tree)
    }

    /// Whether something is dirty that can be judged now.
    fn has_work(&self) -> bool {
        self.platform_valid && !self.dirty.is_empty()
    }

    /// Judges some of what is dirty, on all processors.
    fn batch(&mut self) {
        let tenants: Vec<TenantId> = self.dirty.iter().take(BATCH).cloned().collect();
        let mut trees = Vec::new();
        for tenant in tenants {
            self.dirty.remove(&tenant);
            match self.tree(&tenant) {
                Ok(tree) => trees.push((tenant, tree)),
                Err(error) => self.report(said(&error)),
            }
        }
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let share = trees.len().div_ceil(threads).max(1);
        let (platform, listing, shared) = (self.platform.clone(), &self.listing, &self.shared);
        let judged: Vec<Option<Judged>> = std::thread::scope(|scope| {
            let workers: Vec<_> = trees
                .chunks(share)
                .map(|some| {
                    let platform = platform.as_ref();
                    scope.spawn(move || {
                        let one = |(tenant, tree): &(TenantId, Arc<Tree>)| {
                            judge_one(platform, listing, shared, tree, tenant)
                        };
                        some.iter().map(one).collect::<Vec<_>>()
                    })
                })
                .collect();
            workers.into_iter().flat_map(|worker| worker.join().unwrap_or_default()).collect()
        });
        for ((tenant, tree), judged) in trees.iter().zip(judged) {
            self.take(tenant, tree, judged);
        }
        if self.dirty.is_empty() {
            self.judge_fleet();
        }
    }

    fn take(&mut self, tenant: &TenantId, tree: &Tree, judged: Option<Judged>) {
        let Some((state, found)) = judged else {
            return self.report(format!("judging the tenant `{tenant}` failed; this is a fault of tenantry"));
        };
        let uses = match &state {
            Some(state) => state.keys.shared.keys().cloned().collect(),
            None => desired::shared_used(tree, tenant),
        };
        let recipients = state.map(|state| state.state.settings.recipients).unwrap_or_default();
        self.states.insert(tenant.clone(), (recipients, uses));
        let shown = self.shown(found, Some(tree));
        let touched = self.board.put(&Origin::Tenant(tenant.clone()), shown);
        touched.iter().for_each(|path| self.publish(path));
    }

    fn judge_fleet(&mut self) {
        let texts = |path: &str| self.bytes(path);
        let recipients = self.states.iter().map(|(tenant, (recipients, _))| (tenant, recipients.as_slice()));
        let found = desired::check_fleet(recipients, &texts);
        let shown = self.shown(found, None);
        let touched = self.board.put(&Origin::Fleet, shown);
        touched.iter().for_each(|path| self.publish(path));
    }

    /// A tenant's file as it is edited, else as it lies.
    fn bytes(&self, path: &str) -> Option<Arc<[u8]>> {
        if let Some(buffer) = self.buffers.get(path) {
            return Some(Arc::from(buffer.text.as_str().as_bytes()));
        }
        let tenant = tenant_of(path)?;
        if let Some(tree) = self.trees.get(&tenant) {
            return tree.get(path)?.content.clone();
        }
        let tree = self.disk.as_ref()?.snapshot.tenant_tree(&tenant).ok()?;
        tree.get(path)?.content.clone()
    }

    fn publish(&mut self, path: &str) {
        let version = self.buffers.get(path).map(|buffer| buffer.version);
        if let Some(notice) = self.board.news(path, version) {
            (self.tell)(News::Notice(notice));
        }
    }

    fn report(&mut self, trouble: String) {
        if self.trouble.as_ref() != Some(&trouble) {
            (self.tell)(News::Trouble(trouble.clone()));
            self.trouble = Some(trouble);
        }
    }

    fn show(&self) {
        let found = self.buffers.keys().map(|path| (path.clone(), self.board.of(path))).collect();
        (self.tell)(News::View(Box::new(View {
            revision: self.revision,
            platform: self.platform.clone(),
            tenants: Arc::new(self.listing.tenants.keys().cloned().collect()),
            shared: Arc::clone(&self.shared),
            trees: self.trees.clone(),
            found,
        })));
    }

    /// Findings in the editor's columns.
    fn shown(&self, found: Vec<Diagnostic>, tree: Option<&Tree>) -> Vec<Arc<Finding>> {
        let mut texts = Texts { judge: self, tree, read: BTreeMap::new() };
        found
            .into_iter()
            .map(|diagnostic| {
                let shown = texts.show(&diagnostic);
                Arc::new(Finding { diagnostic, shown })
            })
            .collect()
    }
}

type Judged = (Option<DesiredState>, Vec<Diagnostic>);

/// `None` where it failed, which only a fault of ours can make it.
fn judge_one(
    platform: Option<&Arc<Platform>>,
    listing: &Listing,
    shared: &Tree,
    tree: &Tree,
    tenant: &TenantId,
) -> Option<Judged> {
    let platform = platform?;
    catch_unwind(AssertUnwindSafe(|| desired::read(platform, listing, shared, tree, tenant))).ok()
}

fn zeros() -> crate::domain::ObjectId {
    // INVARIANT: 40 zeros are spelled as an id is.
    "0".repeat(40).parse().unwrap_or_else(|error| panic!("zeros are an id: {error}"))
}

/// The directory below `shared/` in which a path lies.
fn shared_directory(path: &str) -> Option<&str> {
    path.strip_prefix("shared/")?.split_once('/').map(|(name, _)| name)
}

/// The paths whose texts are not the same in both.
fn differing<'b>(one: &'b Buffers, other: &'b Buffers) -> impl Iterator<Item = &'b str> {
    let left = one.iter().filter(|(path, buffer)| other.get(*path) != Some(buffer));
    let right = other.keys().filter(|path| !one.contains_key(*path));
    left.map(|(path, _)| path.as_str()).chain(right.map(String::as_str))
}

/// The texts that findings point into.
struct Texts<'a> {
    judge: &'a Judge<'a>,
    tree: Option<&'a Tree>,
    read: BTreeMap<String, Option<Text>>,
}

impl Texts<'_> {
    fn of(&mut self, path: &str) -> Option<&Text> {
        if !self.read.contains_key(path) {
            let in_tree = |tree: &Tree| tree.get(path).and_then(|entry| entry.content.clone());
            let bytes = self.tree.and_then(in_tree).or_else(|| in_tree(&self.judge.shared));
            let text = match (self.judge.buffers.get(path), bytes) {
                (Some(buffer), _) => Some(buffer.text.clone()),
                (None, Some(bytes)) => String::from_utf8(bytes.to_vec()).ok().map(Text::new),
                (None, None) => None,
            };
            self.read.insert(path.to_owned(), text);
        }
        self.read.get(path).and_then(Option::as_ref)
    }

    fn range(&mut self, path: &str, span: Option<Span>) -> lsp::Range {
        let encoding = self.judge.manner.encoding;
        match (self.of(path), span) {
            (Some(text), Some(span)) => text.range(&(span.start.offset..span.end.offset), encoding),
            (Some(text), None) => text.range(&text.first_line(), encoding),
            // Its columns are those of a text that is no UTF-8: the line is what can be told.
            (None, Some(span)) => {
                let line = u32::try_from(span.start.line.saturating_sub(1)).unwrap_or(u32::MAX);
                let start = lsp::Position { line, character: 0 };
                lsp::Range { start, end: start }
            }
            (None, None) => lsp::Range::default(),
        }
    }

    fn show(&mut self, found: &Diagnostic) -> lsp::Diagnostic {
        let mut message = found.message.clone();
        if let Some(help) = &found.help {
            message.push_str("\nhelp: ");
            message.push_str(help);
        }
        let mut related = Vec::new();
        for place in &found.related {
            let range = self.range(&place.at.path, place.at.span);
            if self.judge.manner.related {
                let uri = uri::uri_of(&self.judge.root.join(&place.at.path)).into();
                related.push(lsp::DiagnosticRelatedInformation {
                    location: lsp::Location { uri, range },
                    message: place.message.clone(),
                });
            } else {
                message.push_str(&format!("\n{}:{}: {}", place.at.path, range.start.line + 1, place.message));
            }
        }
        lsp::Diagnostic {
            range: self.range(&found.at.path, found.at.span),
            severity: Some(match found.severity {
                Severity::Error => lsp::DiagnosticSeverity::Error,
                Severity::Warning => lsp::DiagnosticSeverity::Warning,
            }),
            code: Some(found.rule.id.into()),
            source: Some("tenantry".to_owned()),
            message: message.into(),
            related_information: (!related.is_empty()).then_some(related),
            ..lsp::Diagnostic::default()
        }
    }
}
