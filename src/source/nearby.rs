//! Fetching from a directory on this machine: what has not moved is seen without starting anything, and so is a small
//! move whose objects are plain. One that is small and not plain is handed to one `git unpack-objects`, which checks
//! it as a fetch does.
//!
//! Only what is plain is done here. Whatever else there is (another owner, a shallow, borrowing or partial clone,
//! hidden refs, a missing branch, a large move, approvals that came or went, an error of any kind) gives `None`, and
//! the system `git` fetches, which knows it all and says what is wrong.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use git2::{Buf, ObjectType, Odb, Oid, Repository, Sort, TreeEntry};

use super::plain::Object;
use super::remote::HEAD_REF;

/// Where a fetch finds approvals, and where it puts them.
const APPROVALS: &str = "refs/tenantry/approvals/";
const APPROVALS_HERE: &str = "refs/tenantry/source/approvals/";
/// Commits of a small move.
const COMMITS_MAX: usize = 100;
/// Objects of a small move.
const OBJECTS_MAX: usize = 1_000;
/// Bytes of its objects together.
const BYTES_MAX: usize = 8 << 20;
/// Nesting of its directories.
const DEPTH_MAX: usize = 64;

/// What the last fetch brought: everything before `head` is in the mirror.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    /// The branch.
    pub head: Oid,
    /// Approvals by name.
    pub approvals: BTreeMap<String, Oid>,
}

/// How the other side stands to what is known.
pub(super) enum Nearby {
    /// It has not moved.
    Same,
    /// It has moved a little.
    Moved {
        /// The branch's head.
        head: Oid,
        /// What the mirror may lack.
        objects: Objects,
    },
}

/// What has to come in.
pub(super) enum Objects {
    /// Objects that need no check but their names, each before what it names.
    Plain(Vec<Object>),
    /// A pack for `git` to check.
    Pack(Vec<u8>),
}

/// What the mirror has; `None` before the first fetch.
pub(super) fn known(mirror: &Repository) -> Option<Known> {
    let head = mirror.refname_to_id(HEAD_REF).ok()?;
    Some(Known { head, approvals: approvals(mirror, APPROVALS_HERE)? })
}

/// Looks at the repository in a directory.
pub(super) fn look(directory: &Path, branch: &str, known: &Known) -> Option<Nearby> {
    // The repository's own refs and objects as they are now: nothing of it is kept from one look to the next.
    let remote = Repository::open(directory).ok()?;
    if !is_plain(&remote)? || approvals(&remote, APPROVALS)? != known.approvals {
        return None;
    }
    let head = remote.refname_to_id(&format!("refs/heads/{branch}")).ok()?;
    let odb = remote.odb().ok()?;
    if head == known.head {
        return odb.exists(head).then_some(Nearby::Same);
    }
    let objects = new_objects(&remote, &odb, known.head, head)?;
    let objects = match plain(&odb, &objects)? {
        Some(plain) => Objects::Plain(plain),
        None => Objects::Pack(packed(&remote, &objects)?),
    };
    Some(Nearby::Moved { head, objects })
}

/// Whether the repository is this user's own, whole and shows all its refs.
fn is_plain(remote: &Repository) -> Option<bool> {
    let mine = |path: &Path| std::fs::symlink_metadata(path).is_ok_and(|found| found.uid() == user());
    let owned = mine(remote.path()) && remote.workdir().is_none_or(mine);
    let common = remote.commondir();
    let whole =
        ["objects/info/alternates", "info/grafts", "shallow"].iter().all(|name| !common.join(name).exists());
    if !owned || !whole || remote.is_worktree() {
        return Some(false);
    }
    let config = remote.config().ok()?;
    let mut hidden = config.entries(Some(r"(transfer|uploadpack)\.hiderefs")).ok()?;
    Some(hidden.next().is_none())
}

fn user() -> u32 {
    nix::unistd::geteuid().as_raw()
}

fn approvals(repository: &Repository, prefix: &str) -> Option<BTreeMap<String, Oid>> {
    let mut found = BTreeMap::new();
    for reference in repository.references_glob(&format!("{prefix}*")).ok()? {
        let reference = reference.ok()?;
        let name = reference.name().ok()?.strip_prefix(prefix)?.to_owned();
        found.insert(name, reference.target()?);
    }
    Some(found)
}

/// The objects that `head` has and `old` has not, a few more where something was moved or merged.
fn new_objects(remote: &Repository, odb: &Odb<'_>, old: Oid, head: Oid) -> Option<Vec<(Oid, ObjectType)>> {
    let mut walk = remote.revwalk().ok()?;
    walk.set_sorting(Sort::TOPOLOGICAL).ok()?;
    walk.push(head).ok()?;
    walk.hide(old).ok()?;
    let mut found = New { remote, odb, seen: HashSet::new(), objects: Vec::new(), bytes: 0 };
    for (count, id) in walk.enumerate() {
        let commit = remote.find_commit(id.ok()?).ok()?;
        if count >= COMMITS_MAX {
            return None;
        }
        found.add(commit.id(), ObjectType::Commit)?;
        // A parent is known or comes in this walk too, so what it has needs no second mention.
        let before = match commit.parent_count() {
            0 => None,
            _ => Some(commit.parent(0).ok()?.tree_id()),
        };
        found.directory(commit.tree_id(), before, 0)?;
    }
    Some(found.objects)
}

struct New<'a> {
    remote: &'a Repository,
    odb: &'a Odb<'a>,
    seen: HashSet<(Oid, &'static str)>,
    objects: Vec<(Oid, ObjectType)>,
    bytes: usize,
}

impl New<'_> {
    /// `None` once the move is not small any more.
    fn add(&mut self, id: Oid, kind: ObjectType) -> Option<()> {
        if self.seen.insert((id, kind.str())) {
            self.objects.push((id, kind));
            self.bytes += self.odb.read_header(id).ok()?.0;
        }
        (self.objects.len() <= OBJECTS_MAX && self.bytes <= BYTES_MAX).then_some(())
    }

    fn directory(&mut self, id: Oid, before: Option<Oid>, depth: usize) -> Option<()> {
        if before == Some(id) {
            return Some(());
        }
        self.add(id, ObjectType::Tree)?;
        if depth > DEPTH_MAX {
            return None;
        }
        let tree = self.remote.find_tree(id).ok()?;
        let before = match before {
            Some(before) => Some(self.remote.find_tree(before).ok()?),
            None => None,
        };
        let named = |entry: &TreeEntry<'_>| (entry.id(), entry.kind().map(|kind| kind.str()));
        let had: HashSet<_> = before.iter().flat_map(|tree| tree.iter().map(|entry| named(&entry))).collect();
        for entry in tree.iter().filter(|entry| !had.contains(&named(entry))) {
            match entry.kind() {
                Some(ObjectType::Tree) => {
                    let old = before.as_ref().and_then(|tree| tree.get_name_bytes(entry.name_bytes()));
                    let old = old.filter(|old| old.kind() == Some(ObjectType::Tree)).map(|old| old.id());
                    self.directory(entry.id(), old, depth + 1)?;
                }
                // The commit of a submodule lies elsewhere.
                Some(ObjectType::Commit) => {}
                _ => self.add(entry.id(), ObjectType::Blob)?,
            }
        }
        Some(())
    }
}

/// The objects with their contents if all of them are plain.
fn plain(odb: &Odb<'_>, objects: &[(Oid, ObjectType)]) -> Option<Option<Vec<Object>>> {
    let mut plain = Vec::with_capacity(objects.len());
    for (id, kind) in objects {
        let found = odb.read(*id).ok()?;
        let object = Object { id: *id, kind: *kind, bytes: found.data().to_vec() };
        if found.kind() != *kind || !object.is_plain() {
            return Some(None);
        }
        plain.push(object);
    }
    Some(Some(plain))
}

fn packed(remote: &Repository, objects: &[(Oid, ObjectType)]) -> Option<Vec<u8>> {
    let mut builder = remote.packbuilder().ok()?;
    builder.set_threads(1);
    for (id, _) in objects {
        builder.insert_object(*id, None).ok()?;
    }
    let mut pack = Buf::new();
    builder.write_buf(&mut pack).ok()?;
    Some(pack.to_vec())
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests: have the system `git` look at what came")]
mod tests {
    use std::os::unix::fs::chown;

    use super::super::fixture::{Fixture, Mirrored};
    use super::super::{Source, SourceError};
    use super::*;

    fn northwind() -> Fixture {
        let fixture = Fixture::new();
        fixture
            .write("tenantry.toml", "format = 1\n")
            .write("tenants/acme/tenant.yaml", "owner: alice\n")
            .write("tenants/acme/scripts/pull.sh", "#!/bin/sh\n")
            .write("tenants/globex/tenant.yaml", "owner: bob\n");
        fixture.commit("two tenants");
        fixture
    }

    fn seen(fixture: &Fixture, source: &Mirrored) -> Option<Nearby> {
        let mirror = Repository::open_bare(&source.mirror).unwrap();
        look(fixture.path(), "main", &known(&mirror).unwrap())
    }

    /// Fetches a move that is small, and has the system `git` look at what came.
    async fn moves(fixture: &Fixture, source: &Mirrored, what: &str) {
        assert!(matches!(seen(fixture, source), Some(Nearby::Moved { .. })), "{what}: not done nearby");
        let head = source.fetch().await.unwrap().commit;
        assert_eq!(head, fixture.head(), "{what}");
        let checked = std::process::Command::new("git")
            .arg("--git-dir")
            .arg(&source.mirror)
            .args(["fsck", "--strict", "--no-dangling", "--no-progress"])
            .output()
            .unwrap();
        assert!(checked.status.success(), "{what}: {}", String::from_utf8_lossy(&checked.stderr));
        assert!(matches!(seen(fixture, source), Some(Nearby::Same)), "{what}: moved once");
    }

    #[tokio::test]
    async fn a_small_move_brings_all_that_a_fetch_brings() {
        let fixture = northwind();
        let source = fixture.source();
        let first = source.fetch().await.unwrap().commit;
        fixture.write("tenants/acme/tenant.yaml", "owner: carol\n").commit("one file");
        moves(&fixture, &source, "one file").await;
        fixture.git(&["mv", "tenants/acme", "tenants/initech"]);
        fixture.commit("a tenant renamed");
        moves(&fixture, &source, "a rename").await;
        fixture.remove("tenants/initech/scripts").remove("tenants/globex");
        fixture.write("tenants/globex", "a file now").commit("a directory turned into a file");
        moves(&fixture, &source, "a directory turned into a file").await;
        fixture.git(&["checkout", "--quiet", "-b", "side"]);
        fixture.write("tenants/side/a/b/c/tenant.yaml", "owner: side\n").commit("side");
        fixture.git(&["checkout", "--quiet", "main"]);
        fixture.write("tenants/main/tenant.yaml", "owner: main\n").commit("main");
        fixture.git(&["merge", "--quiet", "--no-ff", "-m", "merge side", "side"]);
        moves(&fixture, &source, "a merge").await;
        fixture.git(&["commit", "--quiet", "--allow-empty", "-m", "nothing"]);
        moves(&fixture, &source, "no file").await;
        let commit = fixture.head();
        fixture.git(&[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{commit},tenants/main/module"),
        ]);
        fixture.git(&["commit", "--quiet", "-m", "a submodule"]);
        moves(&fixture, &source, "a submodule").await;
        fixture.git(&["reset", "--quiet", "--hard", first.as_str()]);
        moves(&fixture, &source, "back to an older commit").await;
        fixture.write("tenants/acme/tenant.yaml", "owner: dan\n").commit("history rewritten");
        moves(&fixture, &source, "rewritten history").await;
        fixture.git(&["checkout", "--quiet", "--orphan", "fresh"]);
        fixture.commit("a history of its own");
        fixture.git(&["branch", "--force", "main", "fresh"]);
        moves(&fixture, &source, "unrelated history").await;
        fixture.git(&["pack-refs", "--all"]);
        fixture.git(&["gc", "--quiet"]);
        assert!(matches!(seen(&fixture, &source), Some(Nearby::Same)), "packed");
    }

    #[tokio::test]
    async fn what_is_not_plain_is_left_to_git() {
        type Change = fn(&Fixture);
        let cases: [(&str, Change); 7] = [
            ("an approval came", |f| {
                f.git(&["update-ref", "refs/tenantry/approvals/aa", "HEAD"]);
            }),
            ("the branch went", |f| {
                f.git(&["branch", "--move", "other"]);
            }),
            ("refs are hidden", |f| {
                f.git(&["config", "transfer.hideRefs", "refs/heads"]);
            }),
            ("objects are borrowed", |f| {
                f.write(".git/objects/info/alternates", "/elsewhere/objects\n");
            }),
            ("it is shallow", |f| {
                f.write(".git/shallow", format!("{}\n", f.head().as_str()));
            }),
            ("history is grafted", |f| {
                f.write(".git/info/grafts", format!("{}\n", f.head().as_str()));
            }),
            ("the move is large", |f| {
                for number in 0..OBJECTS_MAX {
                    f.write(&format!("tenants/many/files/{number}"), format!("{number}"));
                }
                f.commit("many files");
            }),
        ];
        for (what, change) in cases {
            let fixture = northwind();
            let source = fixture.source();
            source.fetch().await.unwrap();
            assert!(matches!(seen(&fixture, &source), Some(Nearby::Same)), "{what}: before");
            change(&fixture);
            assert!(seen(&fixture, &source).is_none(), "{what}");
        }
    }

    #[tokio::test]
    async fn what_is_lost_is_noticed_although_nothing_is_fetched() {
        let fixture = northwind();
        let source = fixture.source();
        let head = source.fetch().await.unwrap();
        fixture.git(&["branch", "--move", "other"]);
        let error = source.fetch().await.unwrap_err();
        assert!(matches!(error, SourceError::BranchMissing { .. }), "{error:?}");
        fixture.git(&["branch", "--move", "main"]);
        assert_eq!(source.fetch().await.unwrap(), head);
        if user() == 0 {
            // Only root can give a directory away.
            chown(fixture.path().join(".git"), Some(65534), Some(65534)).unwrap();
            let error = source.fetch().await.unwrap_err();
            assert!(matches!(error, SourceError::NotOwned { .. }), "{error:?}");
            chown(fixture.path().join(".git"), Some(0), Some(0)).unwrap();
        }
        fixture.remove(".git");
        let error = source.fetch().await.unwrap_err();
        assert!(matches!(error, SourceError::NotARepository { .. }), "{error:?}");
        assert_eq!(source.head().await.unwrap(), Some(head));
    }

    #[tokio::test]
    async fn a_small_move_is_checked_like_any() {
        let fixture = northwind();
        let source = fixture.source();
        let head = source.fetch().await.unwrap();
        let tree = fixture.git(&["rev-parse", "HEAD^{tree}"]);
        let who = "Dana <dana@acme.example> 1793527200 +0000";
        let parent = head.commit.as_str();
        let text = format!(
            "tree {tree}\nparent {parent}\nauthor {who}\nauthor {who}\ncommitter {who}\n\ntwo authors\n"
        );
        let hash = ["hash-object", "-t", "commit", "-w", "--literally", "--stdin"];
        let forged = fixture.git_with(&hash, text.as_bytes());
        fixture.git(&["update-ref", "refs/heads/main", &forged]);
        assert!(matches!(seen(&fixture, &source), Some(Nearby::Moved { .. })));
        let error = source.fetch().await.unwrap_err();
        assert!(matches!(error, SourceError::Damaged { .. }), "{error:?}");
        assert_eq!(source.head().await.unwrap(), Some(head.clone()));
        // A commit whose tree is not there.
        let text =
            format!("tree {}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nno tree\n", "1".repeat(40));
        let broken = fixture.git_with(&hash, text.as_bytes());
        fixture.git(&["update-ref", "refs/heads/main", &broken]);
        assert!(source.fetch().await.is_err());
        assert_eq!(source.head().await.unwrap(), Some(head));
    }
}
