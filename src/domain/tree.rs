//! Files of one revision as data: nothing is checked out, links and submodules are entries like others.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ObjectId, Revision, Span, TenantId};

/// What Git says an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// 100644
    File,
    /// 100755
    Executable,
    /// 120000, refused by the linter
    Symlink,
    /// 160000, refused by the linter
    Submodule,
}

impl Mode {
    /// The six octal digits that Git writes.
    #[must_use]
    pub fn octal(self) -> &'static str {
        match self {
            Self::File => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Submodule => "160000",
        }
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub mode: Mode,
    /// Its blob (for a submodule the commit it names).
    pub id: ObjectId,
    /// Bytes.
    pub size: u64,
    /// Its bytes; `None` where it is larger than the reader's limit or no blob.
    pub content: Option<Arc<[u8]>>,
    /// What a search of the file saw while it was read past; `None` where it has content, or was too large for that too.
    pub searched: Option<Arc<[Seen]>>,
}

/// Something that nobody may see, in a file that is not held. The text itself is kept nowhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What.
    pub what: SeenSecret,
    /// Where.
    pub span: Span,
}

/// What nobody may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeenSecret {
    /// A private key.
    PrivateKey,
    /// A token, of what kind for people: `a GitHub token`.
    Token(&'static str),
    /// A URL with user and password.
    UrlPassword,
}

/// Bytes of one file up to which it is searched although it is not held.
pub const SEARCH_BYTES_MAX: u64 = 16 << 20;

/// The files below some directories of one revision, by path from the root with `/`.
///
/// Holds one tenant's directory, or `tenantry.toml`, `platform/` and `shared/`, never the whole repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Where it was read.
    pub revision: Revision,
    /// The files.
    pub files: BTreeMap<String, Entry>,
    /// Paths that are not UTF-8, with the odd bytes shown as `\xNN`.
    pub misnamed: Vec<String>,
    /// Says that the reader stopped at its budget of files or bytes: what is missing here is not deleted.
    pub truncated: Option<String>,
    /// What a tenant's workflows pin, by `shared/NAME@COMMIT` as written.
    pub pinned: BTreeMap<String, Pinned>,
}

/// A shared workflow as of an older commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pinned {
    /// The files below `shared/NAME` of that commit, by their paths there; none where it has no such directory.
    Files(Box<Tree>),
    /// The commit does not come before the revision.
    NoAncestor,
    /// The tenant pins more commits than are read.
    TooMany,
}

impl Tree {
    /// The entry at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Entry> {
        self.files.get(path)
    }
    /// The entries whose path starts with `prefix`, in byte order of paths.
    pub fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a Entry)> {
        self.files
            .range(prefix.to_owned()..)
            .take_while(move |(path, _)| path.starts_with(prefix))
            .map(|(path, entry)| (path.as_str(), entry))
    }
}

/// The ids that say whether a tenant has to be looked at: equal keys mean an unchanged tenant.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeKeys {
    /// Tree of `tenants/T`; `None` once the directory is gone.
    pub tenant: Option<ObjectId>,
    /// Tree of `platform/`.
    pub platform: Option<ObjectId>,
    /// Blob of `tenantry.toml`.
    pub settings: Option<ObjectId>,
    /// Trees of the directories below `shared/` that the tenant uses.
    pub shared: BTreeMap<String, ObjectId>,
}

/// What one revision has, without any file opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The revision.
    pub revision: Revision,
    /// The tree of the whole commit.
    pub root: ObjectId,
    /// Blob of `tenantry.toml`.
    pub settings: Option<ObjectId>,
    /// Tree of `platform/`.
    pub platform: Option<ObjectId>,
    /// Trees of the directories below `shared/`.
    pub shared: BTreeMap<String, ObjectId>,
    /// Trees of the directories below `tenants/` that are named as a tenant is.
    pub tenants: BTreeMap<TenantId, ObjectId>,
    /// What else lies below `tenants/`: files, links, names that no tenant can have.
    pub misplaced: Vec<String>,
}

impl Listing {
    /// The keys of one tenant that uses the named shared directories.
    #[must_use]
    pub fn keys<'a>(&self, tenant: &TenantId, shared: impl IntoIterator<Item = &'a str>) -> ChangeKeys {
        ChangeKeys {
            tenant: self.tenants.get(tenant).cloned(),
            platform: self.platform.clone(),
            settings: self.settings.clone(),
            shared: shared
                .into_iter()
                .filter_map(|name| self.shared.get(name).map(|id| (name.to_owned(), id.clone())))
                .collect(),
        }
    }
}
