//! A commit comes in: watch, fetch, read its tree.
//!
//! Everything is read as objects of one commit from a bare mirror of our own. Nothing is checked out; no
//! hook, filter, LFS or submodule runs; links and submodules are entries like others, for the linter to
//! refuse. What cannot be read is an error, never an empty listing: unreadable is not deleted. Deliberately
//! absent: what the files mean (desired), whether a new head may be followed (reconcile), the forge.

mod authors;
mod blobs;
mod changes;
mod git;
mod history;
mod nearby;
mod objects;
mod overlay;
mod pinned;
mod plain;
mod remote;
mod searching;
mod staging;
mod watch;
mod work_tree;

#[cfg(test)]
pub(crate) mod fixture;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::domain::{CommitId, Disposition, Listing, ObjectId, Revision, TenantId, Timestamp, Tree};

pub use authors::Known;
pub use changes::{Changes, Watched};
pub use git::GitSource;
pub use history::{CommitSignature, Written};
pub use overlay::overlay;
pub use remote::{FetchSettings, Remote, RemoteError, default_branch};
pub use watch::{Waker, Watch};
pub use work_tree::{LocalRepository, Snapshot};

/// The contents of files by their ids: all of a repository that a run needs.
#[async_trait]
pub trait Contents: Send + Sync {
    /// The bytes of one blob, at most 16 MiB.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`], [`SourceError::TooLarge`].
    async fn blob(&self, id: &ObjectId) -> Result<Arc<[u8]>, SourceError>;
}

/// The repository as the loop sees it: whole reads of one revision.
#[async_trait]
pub trait Source: Contents {
    /// The address, without credentials, for people.
    fn address(&self) -> String;

    /// Brings the branch's head and its objects here, all or nothing, and gives the head.
    ///
    /// # Errors
    /// What was here stays as it was; [`SourceError::disposition`] says what to do.
    async fn fetch(&self) -> Result<Revision, SourceError>;

    /// The head as of the last fetch that worked; `None` before the first.
    ///
    /// # Errors
    /// [`SourceError::Mirror`] and its like.
    async fn head(&self) -> Result<Option<Revision>, SourceError>;

    /// What a revision has, from its tree objects alone.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`] if one of them cannot be read.
    async fn listing(&self, revision: &Revision) -> Result<Arc<Listing>, SourceError>;

    /// The files below `tenants/T`, contents up to 1 MiB each; without files where there is no such directory.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    async fn tenant_tree(&self, revision: &Revision, tenant: &TenantId) -> Result<Tree, SourceError>;

    /// `tenantry.toml` and the files below `platform/` and `shared/`.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    async fn platform_tree(&self, revision: &Revision) -> Result<Tree, SourceError>;

    /// Whether `descendant` is `ancestor` or comes after it. An ancestor that is not here is none: a fetch
    /// brings everything that comes before a head.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`] if the descendant is not here.
    async fn is_ancestor(&self, ancestor: &CommitId, descendant: &CommitId) -> Result<bool, SourceError>;

    /// The commits on the first-parent line of `head` that `base` does not have, oldest first.
    ///
    /// # Errors
    /// [`SourceError::TooLarge`] beyond 10,000 commits.
    async fn first_parent_range(
        &self,
        base: &CommitId,
        head: &CommitId,
    ) -> Result<Vec<CommitId>, SourceError>;

    /// Who wrote a commit, when, and its first line, as it says itself: proves nothing.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    async fn commit_info(&self, id: &CommitId) -> Result<CommitInfo, SourceError>;

    /// Who wrote or made the commits that changed these directories since they were as known, and the head itself:
    /// addresses (`mail:…`, lower case) and SSH keys (`ssh:…`, base64), as commits name them. Looks at 1,000 commits.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`].
    async fn authors(&self, head: &CommitId, below: Vec<Known>) -> Result<BTreeSet<String>, SourceError>;

    /// Keeps an applied commit from being collected, whatever the remote does. `scope` is a tenant or `platform`.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`] if the commit is not here.
    async fn keep(&self, scope: &str, commit: &CommitId) -> Result<(), SourceError>;

    /// Writes the note of a commit under `refs/notes/tenantry`, replacing an older one.
    ///
    /// # Errors
    /// [`SourceError::Unreadable`] if the commit is not here.
    async fn annotate(&self, commit: &CommitId, text: &str, now: Timestamp) -> Result<(), SourceError>;
}

/// What a commit says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitInfo {
    /// Its id.
    pub id: CommitId,
    /// Its parents, first parent first.
    pub parents: Vec<CommitId>,
    /// Who wrote it.
    pub author: Signer,
    /// Who made the commit of it.
    pub committer: Signer,
    /// Its first line, at most 300 characters, control characters shown as `\u{fffd}`.
    pub subject: String,
}

/// A name, an address and a time as written in a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// Name.
    pub name: String,
    /// E-mail address.
    pub email: String,
    /// The time it claims.
    pub at: Timestamp,
}

/// Why a commit did not come in.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The system `git` could not be started.
    #[error("cannot start `git`: install git 2.39 or later and put it on the PATH")]
    NoGit(#[source] std::io::Error),
    /// There is nothing at the address.
    #[error(
        "there is no repository at `{remote}`: check the address, and that its `.git` or bare directory can be read"
    )]
    NotARepository {
        /// Where.
        remote: String,
    },
    /// The directory belongs to another user, whose configuration Git does not trust.
    #[error(
        "repository owned by somebody else: `{}` belongs to `{owner}`; run as that user, or trust it with `git config --global --add safe.directory '{}'`",
        path.display(), path.display()
    )]
    NotOwned {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        owner: String,
    },
    /// The repository has no commit.
    #[error("`{remote}` has no commit yet: push one")]
    Empty {
        /// Where.
        remote: String,
    },
    /// The branch is not there.
    #[error(
        "`{remote}` has no branch `{branch}`, it has {}: push it, or set `reconcile.branch`",
        listed(present)
    )]
    BranchMissing {
        /// Where.
        remote: String,
        /// The branch.
        branch: String,
        /// Some branches that are there.
        present: Vec<String>,
    },
    /// The branch names something other than a commit.
    #[error("branch `{branch}` does not point to a commit: push a commit to it")]
    NotACommit {
        /// The branch.
        branch: String,
    },
    /// The other side lacks a part of the history.
    #[error("`{remote}` is a shallow clone, so history cannot be checked: run `git fetch --unshallow` there")]
    Shallow {
        /// Where.
        remote: String,
    },
    /// The objects are named by SHA-256.
    #[error("`{remote}` names its objects by sha256, which is not supported: use a repository with sha1")]
    ObjectFormat {
        /// Where.
        remote: String,
    },
    /// Objects failed their check.
    #[error(
        "`{remote}` has damaged or forged objects and nothing of it was taken: run `git fsck` there ({detail})"
    )]
    Damaged {
        /// Where.
        remote: String,
        /// What `git` said.
        detail: String,
    },
    /// The other side does not let us in.
    #[error(
        "`{remote}` refused access: put a deploy key or a token into `credentials/git` of the data directory ({detail})"
    )]
    Refused {
        /// Where.
        remote: String,
        /// What `git` said.
        detail: String,
    },
    /// The credential cannot be read.
    #[error("cannot read the credential `{}`: make it readable by this user alone", path.display())]
    Credential {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The host's SSH key is unknown or another one.
    #[error(
        "the SSH host key of `{remote}` is unknown or has changed: compare it, then add it to `~/.ssh/known_hosts`"
    )]
    HostKey {
        /// Where.
        remote: String,
    },
    /// The other side did not answer as it should.
    #[error("cannot reach `{remote}`: {detail}")]
    Unreachable {
        /// Where.
        remote: String,
        /// What `git` said.
        detail: String,
    },
    /// The fetch took too long and was killed.
    #[error("`{remote}` did not answer within {} s", after.as_secs())]
    TimedOut {
        /// Where.
        remote: String,
        /// How long it was given.
        after: Duration,
    },
    /// A name leads to no commit.
    #[error("`{0}` names no commit here: give a branch, a tag or a commit id")]
    NoSuchRevision(String),
    /// An object could not be read. Never taken for an empty one.
    #[error("cannot read {what}: {}", source.message())]
    Unreadable {
        /// What was wanted.
        what: String,
        /// Why.
        source: git2::Error,
    },
    /// A file of the work tree could not be read.
    #[error("cannot read `{}`", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// More than the reader takes.
    #[error("{what} is larger than the limit of {limit}")]
    TooLarge {
        /// What was wanted.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// The mirror cannot be made or is not what it should be.
    #[error("the mirror `{}` cannot be used: {reason}; stop the daemon, delete it and start again", path.display())]
    Mirror {
        /// Its directory.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The reading thread ended early.
    #[error("reading the repository was cut off")]
    CutOff,
}

impl SourceError {
    /// What has to happen before it is worth trying again.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Unreachable { .. } | Self::TimedOut { .. } | Self::CutOff | Self::Unreadable { .. } => {
                Disposition::Retry
            }
            // A push brings the branch; the fetch itself found everything in order.
            Self::Empty { .. } | Self::BranchMissing { .. } => Disposition::Wait,
            Self::NoGit(_)
            | Self::NotARepository { .. }
            | Self::NotOwned { .. }
            | Self::NotACommit { .. }
            | Self::Shallow { .. }
            | Self::ObjectFormat { .. }
            | Self::Damaged { .. }
            | Self::Refused { .. }
            | Self::Credential { .. }
            | Self::HostKey { .. }
            | Self::NoSuchRevision(_)
            | Self::File { .. }
            | Self::TooLarge { .. }
            | Self::Mirror { .. } => Disposition::NeedsChange,
        }
    }
}

fn listed(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
