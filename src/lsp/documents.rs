//! Open files, and the repositories they lie in.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::judge::{self, Manner, News, View};
use super::mailbox::{Buffer, Buffers, Mailbox};
use super::text::Text;

/// Open files that are kept.
pub const DOCUMENTS_MAX: usize = 2_000;
/// Repositories that are judged at one time, each with a thread of its own.
const REPOSITORIES_MAX: usize = 16;

/// An open file.
pub struct Document {
    /// What it holds.
    pub text: Text,
    /// As the editor counts.
    pub version: i32,
    /// The repository it lies in, and its path there.
    pub place: Option<(PathBuf, String)>,
    /// The change with which it was opened.
    pub opened: u64,
    /// Its last change.
    pub changed: u64,
}

/// A repository that is being judged.
pub struct Repository {
    /// What the editor calls its root.
    pub spelled: PathBuf,
    /// The last thing told of it.
    pub view: Option<Arc<View>>,
    /// Whether it can be judged at all.
    pub trouble: bool,
    mailbox: Arc<Mailbox>,
}

/// Everything that is open.
#[derive(Default)]
pub struct Documents {
    /// By address, as the editor spells it.
    pub open: BTreeMap<String, Document>,
    /// By their roots, links followed.
    pub repositories: BTreeMap<PathBuf, Repository>,
    /// Counts changes of open files.
    revision: u64,
}

impl Documents {
    /// The next change's number.
    pub fn next(&mut self) -> u64 {
        self.revision += 1;
        self.revision
    }

    /// The repository that a directory lies in, judged from now on; `None` outside one.
    pub fn enter(
        &mut self,
        directory: &Path,
        manner: Manner,
        tell: impl Fn(News) + Send + 'static,
    ) -> Option<PathBuf> {
        let spelled = directory.ancestors().find(|at| at.join("tenantry.toml").is_file())?;
        let root = spelled.canonicalize().ok()?;
        if !self.repositories.contains_key(&root) {
            if self.repositories.len() >= REPOSITORIES_MAX {
                return None;
            }
            let mailbox = Arc::new(Mailbox::default());
            mailbox.disk();
            let (theirs, named) = (Arc::clone(&mailbox), spelled.to_owned());
            let work = move || judge::run(&named, manner, &theirs, &tell);
            // Not joined: it may be reading a large repository when the editor goes.
            std::thread::Builder::new().name("judge".to_owned()).spawn(work).ok()?;
            let repository = Repository { spelled: spelled.to_owned(), view: None, trouble: false, mailbox };
            self.repositories.insert(root.clone(), repository);
        }
        Some(root)
    }

    /// Gives a repository its open files. `typing` lets it wait for more.
    pub fn hand_in(&self, root: &Path, typing: bool) {
        let Some(repository) = self.repositories.get(root) else { return };
        let mut buffers = Buffers::new();
        for document in self.open.values() {
            if let Some((at, path)) = &document.place
                && at == root
            {
                let buffer = Buffer { text: document.text.clone(), version: document.version };
                buffers.insert(path.clone(), Arc::new(buffer));
            }
        }
        repository.mailbox.buffers(self.revision, buffers, typing);
    }

    /// Lets a repository read its files again.
    pub fn reread(&self, root: &Path) {
        if let Some(repository) = self.repositories.get(root) {
            repository.mailbox.disk();
        }
    }

    /// The address of a file of a repository, as the editor spells it where the file is open.
    #[must_use]
    pub fn address(&self, root: &Path, path: &str) -> Option<String> {
        let open = self.address_of(root, path).map(str::to_owned);
        open.or_else(|| Some(super::uri::uri_of(&self.repositories.get(root)?.spelled.join(path))))
    }

    fn address_of(&self, root: &Path, path: &str) -> Option<&str> {
        let here = |document: &Document| {
            document.place.as_ref().is_some_and(|(at, inside)| at == root && inside == path)
        };
        self.open.iter().find(|(_, document)| here(document)).map(|(address, _)| address.as_str())
    }

    /// Lets every thread end after what it is at.
    pub fn close(&self) {
        self.repositories.values().for_each(|repository| repository.mailbox.close());
    }
}

/// Where a file lies, links on the way to its directory followed: its directory may not be there yet.
#[must_use]
pub fn real(path: &Path) -> PathBuf {
    let mut missing = Vec::new();
    let mut at = path;
    loop {
        let (Some(parent), Some(name)) = (at.parent(), at.file_name()) else { return path.to_owned() };
        missing.push(name);
        if let Ok(parent) = parent.canonicalize() {
            return missing.iter().rev().fold(parent, |whole, name| whole.join(name));
        }
        at = parent;
    }
}
