//! The source against real repositories.
#![expect(clippy::disallowed_methods, reason = "tests: write files and start processes")]

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use super::fixture::{Fixture, Mirrored};
use super::*;
use crate::domain::{Mode, SeenSecret, Tree};

fn tenant(name: &str) -> TenantId {
    name.parse().unwrap()
}

/// Two tenants, a shared directory, and what a linter has to see.
fn northwind() -> Fixture {
    let fixture = Fixture::new();
    fixture
        .write("tenantry.toml", "format = 1\n")
        .write("platform/people.yaml", "users: {}\n")
        .write("shared/invoices/workflow.yaml", "run: pull.py\n")
        .write("tenants/acme/tenant.yaml", "owner: alice\n")
        .write("tenants/acme/scripts/pull.py", "#!/usr/bin/env python3\n")
        .executable("tenants/acme/scripts/pull.py")
        .write("tenants/globex/tenant.yaml", "owner: bob\n")
        .write("docs/outside.md", "never read\n");
    fixture.commit("two tenants");
    fixture
}

fn all_files(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    let mut todo = vec![directory.to_owned()];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.push((path.clone(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_fetch_takes_the_branch_and_the_approvals_and_nothing_else() {
    let fixture = northwind();
    let head = fixture.head();
    fixture.git(&["branch", "other"]);
    fixture.git(&["tag", "v1"]);
    fixture.git(&["update-ref", "refs/tenantry/approvals/aa", "HEAD"]);
    fixture.git(&["update-ref", "refs/tenantry/applied/acme", "HEAD"]);
    let source = fixture.source();
    assert_eq!(source.head().await.unwrap(), None, "nothing before the first fetch");
    let revision = source.fetch().await.unwrap();
    assert_eq!(revision, Revision { commit: head, branch: "main".into() });
    assert_eq!(source.head().await.unwrap(), Some(revision));
    let mirror = git2::Repository::open_bare(&source.mirror).unwrap();
    let mut names: Vec<_> =
        mirror.references().unwrap().map(|r| r.unwrap().name().unwrap().to_owned()).collect();
    names.sort();
    assert_eq!(names, ["refs/tenantry/source/approvals/aa", "refs/tenantry/source/head"]);
}

#[tokio::test]
async fn a_withdrawn_approval_goes() {
    let fixture = northwind();
    fixture.git(&["update-ref", "refs/tenantry/approvals/aa", "HEAD"]);
    let source = fixture.source();
    source.fetch().await.unwrap();
    fixture.git(&["update-ref", "-d", "refs/tenantry/approvals/aa"]);
    source.fetch().await.unwrap();
    let mirror = git2::Repository::open_bare(&source.mirror).unwrap();
    assert!(mirror.refname_to_id("refs/tenantry/source/approvals/aa").is_err());
}

#[tokio::test]
async fn a_listing_says_what_a_revision_has() {
    let fixture = northwind();
    fixture.write("tenants/README.md", "anywhere\n").write("tenants/Initech/tenant.yaml", "");
    fixture.write("tenants/stray", "a file\n");
    symlink("acme", fixture.path().join("tenants/linked")).unwrap();
    let odd = fixture.path().join("tenants").join(std::ffi::OsStr::from_bytes(b"b\xffd"));
    std::fs::create_dir(&odd).unwrap();
    std::fs::write(odd.join("x"), "").unwrap();
    fixture.commit("odd ones");
    let source = fixture.source();
    let revision = source.fetch().await.unwrap();
    let listing = source.listing(&revision).await.unwrap();
    let id = |path: &str| Some(fixture.git(&["rev-parse", &format!("HEAD:{path}")]).parse().unwrap());
    assert_eq!(listing.settings, id("tenantry.toml"));
    assert_eq!(listing.platform, id("platform"));
    assert_eq!(listing.shared.get("invoices").cloned(), id("shared/invoices"));
    assert_eq!(listing.tenants.keys().map(TenantId::as_str).collect::<Vec<_>>(), ["acme", "globex"]);
    assert_eq!(listing.tenants.get("acme").cloned(), id("tenants/acme"));
    assert_eq!(listing.misplaced, ["tenants/Initech", "tenants/b\\xffd", "tenants/linked", "tenants/stray"]);
}

#[tokio::test]
async fn a_tenants_tree_is_its_directory_as_data() {
    let fixture = northwind();
    symlink("../../globex/tenant.yaml", fixture.path().join("tenants/acme/link")).unwrap();
    fixture.write("tenants/acme/large.bin", vec![b'x'; (1 << 20) + 1]);
    fixture.commit("more");
    let commit = fixture.head();
    fixture.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},tenants/acme/module")]);
    fixture.git(&["commit", "--quiet", "-m", "a submodule"]);
    let source = fixture.source();
    let revision = source.fetch().await.unwrap();
    let tree = source.tenant_tree(&revision, &tenant("acme")).await.unwrap();
    let seen: Vec<_> =
        tree.files.iter().map(|(path, e)| (path.as_str(), e.mode, e.size, e.content.is_some())).collect();
    assert_eq!(
        seen,
        [
            ("tenants/acme/large.bin", Mode::File, (1 << 20) + 1, false),
            ("tenants/acme/link", Mode::Symlink, 24, true),
            ("tenants/acme/module", Mode::Submodule, 0, false),
            ("tenants/acme/scripts/pull.py", Mode::Executable, 23, true),
            ("tenants/acme/tenant.yaml", Mode::File, 13, true),
        ]
    );
    let content = tree.get("tenants/acme/tenant.yaml").unwrap().content.as_deref();
    assert_eq!(content, Some(&b"owner: alice\n"[..]));
    let blob = &tree.get("tenants/acme/scripts/pull.py").unwrap().id;
    assert_eq!(&*source.blob(blob).await.unwrap(), b"#!/usr/bin/env python3\n");
    let platform = source.platform_tree(&revision).await.unwrap();
    assert_eq!(
        platform.files.keys().collect::<Vec<_>>(),
        ["platform/people.yaml", "shared/invoices/workflow.yaml", "tenantry.toml"]
    );
    let none = source.tenant_tree(&revision, &tenant("nobody")).await.unwrap();
    assert!(none.files.is_empty() && none.truncated.is_none());
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_and_never_empty() {
    for lost in
        ["HEAD:tenants", "HEAD:tenants/acme", "HEAD:tenants/acme/scripts", "HEAD:tenants/acme/tenant.yaml"]
    {
        let fixture = northwind();
        let source = fixture.source();
        let revision = source.fetch().await.unwrap();
        let id = fixture.git(&["rev-parse", lost]);
        unpack(&source.mirror);
        std::fs::remove_file(source.mirror.join("objects").join(&id[..2]).join(&id[2..])).unwrap();
        let opened = GitSource::open(
            fixture.address().parse().unwrap(),
            FetchSettings::branch("main"),
            &source.mirror,
        )
        .unwrap();
        let read = opened.tenant_tree(&revision, &tenant("acme")).await;
        assert!(matches!(read, Err(SourceError::Unreadable { .. })), "{lost}: {read:?}");
        assert_eq!(read.unwrap_err().disposition(), Disposition::Retry);
        if lost == "HEAD:tenants" {
            let listing = opened.listing(&revision).await;
            assert!(matches!(listing, Err(SourceError::Unreadable { .. })), "{listing:?}");
        }
    }
}

/// Turns packs into loose objects, so that a test can lose one.
fn unpack(mirror: &Path) {
    for entry in std::fs::read_dir(mirror.join("objects/pack")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "pack") {
            let away = mirror.join("away.pack");
            std::fs::rename(&path, &away).unwrap();
            std::fs::remove_file(path.with_extension("idx")).unwrap();
            let status = std::process::Command::new("git")
                .arg("--git-dir")
                .arg(mirror)
                .args(["unpack-objects", "-q"])
                .stdin(std::fs::File::open(&away).unwrap())
                .status()
                .unwrap();
            assert!(status.success());
        }
    }
}

/// Gives the error of the first fetch from an address.
async fn refusal(address: &str, change: impl FnOnce(&mut FetchSettings)) -> SourceError {
    Mirrored::of(address, change).fetch().await.unwrap_err()
}

#[tokio::test]
async fn each_way_of_failing_has_its_own_cure() {
    let fixture = northwind();
    let missing = refusal("/nonexistent/repo", |_| {}).await;
    assert!(matches!(missing, SourceError::NotARepository { .. }), "{missing:?}");

    let plain = tempfile::tempdir().unwrap();
    let not = refusal(plain.path().to_str().unwrap(), |_| {}).await;
    assert!(matches!(not, SourceError::NotARepository { .. }), "{not:?}");

    let nothing = Fixture::new();
    let empty = refusal(&nothing.address(), |_| {}).await;
    assert!(matches!(empty, SourceError::Empty { .. }), "{empty:?}");
    assert_eq!(empty.disposition(), Disposition::Wait);

    let branch = refusal(&fixture.address(), |settings| settings.branch = "prod".into()).await;
    assert_eq!(
        branch.to_string(),
        format!(
            "`{}` has no branch `prod`, it has `main`: push it, or set `reconcile.branch`",
            fixture.address()
        )
    );

    let shallow = Fixture::new();
    fixture.commit("second");
    shallow.git(&["fetch", "--quiet", "--depth=1", &format!("file://{}", fixture.address()), "main"]);
    shallow.git(&["reset", "--quiet", "--hard", "FETCH_HEAD"]);
    let error = refusal(&shallow.address(), |_| {}).await;
    assert!(matches!(error, SourceError::Shallow { .. }), "{error:?}");

    let nobody = refusal("http://127.0.0.1:1/repo", |_| {}).await;
    assert!(matches!(nobody, SourceError::Unreachable { .. }), "{nobody:?}");
    assert_eq!(nobody.disposition(), Disposition::Retry);

    let other_format = tempfile::tempdir().unwrap();
    let made = std::process::Command::new("git")
        .args(["init", "--quiet", "--object-format=sha256", "-b", "main"])
        .current_dir(&other_format)
        .status();
    assert!(made.unwrap().success());
    let args = ["-c", "user.name=D", "-c", "user.email=d@d", "commit", "-q", "--allow-empty", "-m", "x"];
    let made = std::process::Command::new("git").args(args).current_dir(&other_format).status();
    assert!(made.unwrap().success());
    let error = refusal(other_format.path().to_str().unwrap(), |_| {}).await;
    assert!(matches!(error, SourceError::ObjectFormat { .. }), "{error:?}");
}

#[tokio::test]
async fn a_repository_of_somebody_else_is_named_with_its_owner_and_the_cure() {
    if !nix::unistd::geteuid().is_root() {
        return; // Only root can give a directory away.
    }
    let fixture = northwind();
    let source = fixture.source();
    for path in [fixture.path().to_owned(), fixture.path().join(".git")] {
        chown(path, Some(65534), Some(65534)).unwrap();
    }
    let error = source.fetch().await.unwrap_err();
    assert!(matches!(error, SourceError::NotOwned { .. }), "{error:?}");
    let words = error.to_string();
    assert!(words.starts_with("repository owned by somebody else: `/"), "{words}");
    assert!(words.contains("belongs to `nobody`") && words.contains("safe.directory"), "{words}");
    let local = LocalRepository::open(fixture.path()).err().unwrap();
    assert!(matches!(local, SourceError::NotOwned { .. }), "{local:?}");
}

#[tokio::test]
async fn a_fetch_that_hangs_is_ended() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}/repo", silent.local_addr().unwrap());
    let begun = std::time::Instant::now();
    let error = refusal(&address, |settings| settings.time_max = Duration::from_millis(300)).await;
    assert!(matches!(error, SourceError::TimedOut { .. }), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(10), "took {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_failed_fetch_leaves_the_head_as_it_was() {
    let fixture = northwind();
    let source = fixture.source();
    let first = source.fetch().await.unwrap();
    fixture.remove(".git");
    assert!(source.fetch().await.is_err());
    assert_eq!(source.head().await.unwrap(), Some(first.clone()));
    assert_eq!(source.listing(&first).await.unwrap().tenants.len(), 2);
}

#[tokio::test]
async fn forged_objects_are_not_taken() {
    let fixture = northwind();
    let tree = fixture.git(&["rev-parse", "HEAD^{tree}"]);
    let who = "Dana <dana@acme.example> 1793527200 +0000";
    let text = format!("tree {tree}\nauthor {who}\nauthor {who}\ncommitter {who}\n\ntwo authors\n");
    let hash = ["hash-object", "-t", "commit", "-w", "--literally", "--stdin"];
    let forged = fixture.git_with(&hash, text.as_bytes());
    fixture.git(&["update-ref", "refs/heads/main", &forged]);
    let source = fixture.source();
    let error = source.fetch().await.unwrap_err();
    assert!(matches!(error, SourceError::Damaged { .. }), "{error:?}");
    assert_eq!(source.head().await.unwrap(), None);
}

#[tokio::test]
async fn nothing_of_a_repository_runs() {
    let fixture = northwind();
    let source = fixture.source();
    let marker = fixture.path().join("ran");
    let script = format!("#!/bin/sh\ntouch '{}'\n", marker.display());
    for hooks in [source.mirror.join("hooks"), fixture.path().join(".git/hooks")] {
        std::fs::create_dir_all(&hooks).unwrap();
        for name in ["reference-transaction", "post-update", "pre-auto-gc", "post-checkout", "fsmonitor"] {
            std::fs::write(hooks.join(name), &script).unwrap();
            std::fs::set_permissions(hooks.join(name), PermissionsExt::from_mode(0o755)).unwrap();
        }
    }
    fixture.git(&["config", "uploadpack.packObjectsHook", &format!("touch {}", marker.display())]);
    fixture.git(&["config", "filter.evil.smudge", &format!("touch {}", marker.display())]);
    fixture.git(&["config", "filter.evil.clean", &format!("touch {}", marker.display())]);
    fixture.write("tenants/acme/.gitattributes", "* filter=evil\n");
    let revision = source.fetch().await.unwrap();
    source.tenant_tree(&revision, &tenant("acme")).await.unwrap();
    let local = LocalRepository::open(fixture.path()).unwrap();
    local.work_tree().unwrap().tenant_tree(&tenant("acme")).unwrap();
    assert!(!marker.exists(), "a program named by a repository ran");
}

#[tokio::test]
async fn replaced_objects_are_not_believed() {
    let fixture = northwind();
    let head = fixture.head();
    fixture.write("tenants/acme/tenant.yaml", "owner: mallory\n");
    let other = fixture.commit("another content");
    fixture.git(&["reset", "--quiet", "--hard", head.as_str()]);
    fixture.git(&["replace", head.as_str(), other.as_str()]);
    let source = fixture.source();
    let revision = source.fetch().await.unwrap();
    let tree = source.tenant_tree(&revision, &tenant("acme")).await.unwrap();
    let content = tree.get("tenants/acme/tenant.yaml").unwrap().content.as_deref();
    assert_eq!(content, Some(&b"owner: alice\n"[..]));
}

#[test]
fn a_mirror_that_borrows_objects_is_refused() {
    let fixture = northwind();
    let source = fixture.source();
    for name in ["objects/info/alternates", "info/grafts", "shallow"] {
        let path = source.mirror.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "/elsewhere\n").unwrap();
        let again = GitSource::open(
            fixture.address().parse().unwrap(),
            FetchSettings::branch("main"),
            &source.mirror,
        );
        assert!(matches!(again, Err(SourceError::Mirror { .. })), "{name}");
        std::fs::remove_file(path).unwrap();
    }
}

#[tokio::test]
async fn the_lock_of_a_killed_fetch_is_no_obstacle() {
    let fixture = northwind();
    let source = fixture.source();
    source.fetch().await.unwrap();
    let lock = source.mirror.join("refs/tenantry/source/head.lock");
    std::fs::write(&lock, "").unwrap();
    fixture.commit("next");
    let again =
        GitSource::open(fixture.address().parse().unwrap(), FetchSettings::branch("main"), &source.mirror)
            .unwrap();
    assert_eq!(again.fetch().await.unwrap().commit, fixture.head());
}

#[tokio::test]
async fn history_tells_progress_from_rewriting() {
    let fixture = northwind();
    let first = fixture.head();
    let source = fixture.source();
    source.fetch().await.unwrap();
    let second = fixture.commit("second");
    fixture.git(&["checkout", "--quiet", "-b", "side"]);
    let side = fixture.commit("side");
    fixture.git(&["checkout", "--quiet", "main"]);
    let third = fixture.commit("third");
    fixture.git(&["merge", "--quiet", "--no-ff", "-m", "merge side", "side"]);
    let merge = fixture.head();
    source.fetch().await.unwrap();
    assert!(source.is_ancestor(&first, &merge).await.unwrap());
    assert!(source.is_ancestor(&merge, &merge).await.unwrap());
    assert!(!source.is_ancestor(&third, &side).await.unwrap());
    let range = source.first_parent_range(&first, &merge).await.unwrap();
    assert_eq!(range, [second, third, merge.clone()], "oldest first, the side line left out");
    assert!(source.first_parent_range(&merge, &merge).await.unwrap().is_empty());
    // The remote forgets: what we kept stays, and the new head does not come after the old one.
    source.keep("acme", &merge).await.unwrap();
    fixture.git(&["reset", "--quiet", "--hard", first.as_str()]);
    let rewritten = fixture.commit("another second");
    let head = source.fetch().await.unwrap();
    assert_eq!(head.commit, rewritten);
    assert!(!source.is_ancestor(&merge, &rewritten).await.unwrap());
    let unknown = "0123456789012345678901234567890123456789".parse().unwrap();
    assert!(!source.is_ancestor(&unknown, &rewritten).await.unwrap());
    assert!(source.listing(&Revision { commit: merge, branch: "main".into() }).await.is_ok());
}

#[tokio::test]
async fn a_commit_tells_who_when_and_what() {
    let fixture = northwind();
    let id = fixture.commit("sync: pull \u{1b}[31mdaily\n\nbody");
    let source = fixture.source();
    source.fetch().await.unwrap();
    let info = source.commit_info(&id).await.unwrap();
    assert_eq!(info.subject, "sync: pull \u{fffd}[31mdaily");
    assert_eq!((info.author.name.as_str(), info.author.email.as_str()), ("Dana", "dana@acme.example"));
    assert_eq!(info.committer.at.to_string(), "2026-11-01T10:02:00Z");
    assert_eq!(info.parents.len(), 1);
}

#[tokio::test]
async fn a_note_is_shown_by_git_log() {
    let fixture = northwind();
    let source = fixture.source();
    let head = source.fetch().await.unwrap().commit;
    source.annotate(&head, "acme: applied", Timestamp::from_millis(0)).await.unwrap();
    source.annotate(&head, "acme: applied\nglobex: invalid", Timestamp::from_millis(0)).await.unwrap();
    let shown = std::process::Command::new("git")
        .arg("--git-dir")
        .arg(&source.mirror)
        .args(["log", "-1", "--format=%N", "--notes=tenantry", head.as_str()])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(shown.stdout).unwrap().trim_end(), "acme: applied\nglobex: invalid");
}

#[test]
fn a_work_tree_reads_as_git_add_would_commit_it() {
    let fixture = northwind();
    fixture.write("tenants/acme/kept.log", "tracked before it was ignored\n");
    fixture.commit("a log");
    fixture
        .write(".gitignore", "*.log\nignored/\n")
        .write("tenants/acme/kept.log", "changed\n")
        .write("tenants/acme/debug.log", "ignored\n")
        .write("tenants/acme/ignored/file", "ignored\n")
        .write("tenants/acme/new.yaml", "untracked\n")
        .write("tenants/acme/tenant.yaml", "owner: carol\n")
        .write("tenants/acme/large.bin", vec![b'x'; (1 << 20) + 1])
        .remove("tenants/acme/scripts/pull.py")
        .remove("tenants/globex");
    symlink("new.yaml", fixture.path().join("tenants/acme/link")).unwrap();
    fixture.write("tenants/initech/tenant.yaml", "owner: dan\n");
    let before = all_files(&fixture.path().join(".git"));

    let local = LocalRepository::open(&fixture.path().join("tenants/acme")).unwrap();
    assert_eq!(local.directory(), fixture.path().canonicalize().unwrap());
    let snapshot = local.work_tree().unwrap();
    let listing = snapshot.listing().unwrap();
    assert_eq!(listing.tenants.keys().map(TenantId::as_str).collect::<Vec<_>>(), ["acme", "initech"]);
    let tree = snapshot.tenant_tree(&tenant("acme")).unwrap();
    let seen: Vec<_> =
        tree.files.iter().map(|(path, e)| (path.as_str(), e.mode, e.content.is_some())).collect();
    assert_eq!(
        seen,
        [
            ("tenants/acme/kept.log", Mode::File, true),
            ("tenants/acme/large.bin", Mode::File, false),
            ("tenants/acme/link", Mode::Symlink, true),
            ("tenants/acme/new.yaml", Mode::File, true),
            ("tenants/acme/tenant.yaml", Mode::File, true),
        ]
    );
    assert_eq!(tree.get("tenants/acme/kept.log").unwrap().content.as_deref(), Some(&b"changed\n"[..]));
    assert_eq!(snapshot.revision().commit, fixture.head());
    assert_eq!(all_files(&fixture.path().join(".git")), before, "reading wrote into the repository");

    fixture.git(&["add", "--all"]);
    let committed = fixture.git(&["write-tree", "--prefix=tenants/initech/"]);
    assert_eq!(listing.tenants["initech"].as_str(), committed, "the same ids as a commit would have");
}

#[test]
fn a_work_tree_keeps_what_git_would_change() {
    let fixture = northwind();
    fixture.git(&["config", "core.autocrlf", "true"]);
    fixture.write("tenants/acme/crlf.yaml", "owner: alice\r\n");
    fixture.write("tenants/acme/run.sh", "#!/bin/sh\n").executable("tenants/acme/run.sh");
    let tree = LocalRepository::open(fixture.path()).unwrap().work_tree().unwrap();
    let tree = tree.tenant_tree(&tenant("acme")).unwrap();
    let content = tree.get("tenants/acme/crlf.yaml").unwrap().content.as_deref();
    assert_eq!(content, Some(&b"owner: alice\n"[..]));
    assert_eq!(tree.get("tenants/acme/run.sh").unwrap().mode, Mode::Executable);
}

/// What somebody does to a work tree.
#[derive(Clone, Debug)]
enum Edit {
    Write(&'static str, u8),
    Large(&'static str),
    Executable(&'static str),
    Link(&'static str),
    Remove(&'static str),
    Repository(&'static str),
    Ignore(&'static str),
}

fn edits() -> impl proptest::strategy::Strategy<Value = Vec<Edit>> {
    use proptest::prelude::*;
    // Names around each other in the order of bytes, with and without the slash that follows a directory's.
    let place = prop::sample::select(vec![
        "tenantry.toml",
        "shared/x/workflow.yaml",
        "tenants/README.md",
        "tenants/a/tenant.yaml",
        "tenants/a/scripts/run.sh",
        "tenants/a",
        "tenants/a-b/tenant.yaml",
        "tenants/a.b/x",
        "tenants/a0/tenant.yaml",
        "tenants/b/debug.log",
        "tenants/b/.gitattributes",
        "tenants/b/.gitignore",
        "tenants/b/deep/er/file",
        "tenants/c/tenant.yaml",
    ]);
    let edit = prop_oneof![
        6 => (place.clone(), 0..3_u8).prop_map(|(path, text)| Edit::Write(path, text)),
        1 => place.clone().prop_map(Edit::Large),
        1 => place.clone().prop_map(Edit::Executable),
        1 => place.clone().prop_map(Edit::Link),
        3 => place.clone().prop_map(Edit::Remove),
        1 => prop::sample::select(vec!["tenants/a/inner", "tenants/c", "tenants/z"]).prop_map(Edit::Repository),
        1 => prop::sample::select(vec!["*.log", "a", "tenants/c/", "!debug.log"]).prop_map(Edit::Ignore),
    ];
    prop::collection::vec(edit, 0..14)
}

fn do_edits(fixture: &Fixture, edits: &[Edit]) {
    let at = |path: &str| fixture.path().join(path);
    let clear = |path: &str| {
        let there = at(path);
        if there.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            std::fs::remove_dir_all(there).unwrap();
        } else {
            let _ = std::fs::remove_file(there);
        }
    };
    for edit in edits {
        let (Edit::Write(path, _) | Edit::Large(path) | Edit::Executable(path) | Edit::Link(path)) = edit
        else {
            match edit {
                Edit::Remove(path) => clear(path),
                Edit::Repository(path) if at(path).is_dir() || !at(path).exists() => {
                    // With a commit it is what Git takes for a submodule.
                    let _ = std::fs::create_dir_all(at(path));
                    let inner = git2::Repository::init(at(path));
                    let Ok(inner) = inner else { continue };
                    let tree = inner.treebuilder(None).unwrap().write().unwrap();
                    let who = git2::Signature::new("a", "a@localhost", &git2::Time::new(0, 0)).unwrap();
                    let tree = inner.find_tree(tree).unwrap();
                    let _ = inner.commit(Some("HEAD"), &who, &who, "inner", &tree, &[]);
                }
                Edit::Ignore(line) => {
                    let whole = std::fs::read_to_string(at(".gitignore")).unwrap_or_default();
                    fixture.write(".gitignore", format!("{whole}{line}\n"));
                }
                _ => {}
            }
            continue;
        };
        // What stands in the way as a file goes, as a directory stays.
        let parents = Path::new(path).ancestors().skip(1);
        for parent in parents.filter(|parent| !parent.as_os_str().is_empty()) {
            if at(&parent.to_string_lossy()).symlink_metadata().is_ok_and(|found| !found.is_dir()) {
                clear(&parent.to_string_lossy());
            }
        }
        clear(path);
        match edit {
            Edit::Link(path) => {
                std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
                symlink("elsewhere", at(path)).unwrap();
            }
            Edit::Large(path) => drop(fixture.write(path, vec![b'x'; (1 << 20) + 1])),
            Edit::Write(path, text) => drop(fixture.write(path, format!("text {text}\r\n"))),
            _ => drop(fixture.write(path, "#!/bin/sh\n").executable(path)),
        }
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(96))]

    /// Two threads stage what one does, whatever was committed and was done to the files since.
    #[test]
    fn two_threads_stage_what_one_does(committed in edits(), since in edits(), crlf in proptest::prelude::any::<bool>()) {
        let fixture = Fixture::new();
        do_edits(&fixture, &committed);
        fixture.git(&["add", "--all"]);
        fixture.git(&["commit", "--quiet", "--allow-empty", "-m", "begin"]);
        do_edits(&fixture, &since);
        if crlf {
            fixture.git(&["config", "core.autocrlf", "input"]);
        }
        let stage = |from| {
            let repository = staging::in_memory(&fixture.path().join(".git")).unwrap();
            staging::stage_halved_from(from, &repository, "", fixture.path())
        };
        match (stage(2), stage(usize::MAX)) {
            (Ok(two), Ok(one)) => proptest::prop_assert_eq!(two, one),
            (two, one) => proptest::prop_assert_eq!(two.is_err(), one.is_err()),
        }
    }
}

#[test]
fn two_threads_stage_a_directory_below_the_top() {
    let fixture = Fixture::new();
    fixture.write("tenants/outer/tenant.yaml", "not ours\n").write("example/tenantry.toml", "format = 1\n");
    for tenant in ["a", "b", "c", "d"] {
        fixture.write(&format!("example/tenants/{tenant}/tenant.yaml"), "owner: alice\n");
    }
    fixture.commit("four tenants");
    fixture
        .write("example/tenants/c/tenant.yaml", "owner: bob\n")
        .write("example/tenants/e/tenant.yaml", "owner: carol\n")
        .write("example/tenants/e/large.bin", vec![b'x'; (1 << 20) + 1])
        .write("tenants/outer/tenant.yaml", "changed, and not ours\n")
        .remove("example/tenants/d");
    let directory = fixture.path().join("example");
    let stage = |from| {
        let repository = staging::in_memory(&fixture.path().join(".git")).unwrap();
        staging::stage_halved_from(from, &repository, "example/", &directory).unwrap()
    };
    let (two, one) = (stage(2), stage(usize::MAX));
    assert_eq!(two, one);
    assert_eq!(two.1.keys().collect::<Vec<_>>(), ["tenants/e/large.bin"]);
}

#[test]
fn a_repository_may_lie_below_another_one() {
    let fixture = Fixture::new();
    fixture
        .write("README.md", "outer\n")
        .write("example/tenantry.toml", "format = 1\n")
        .write("example/tenants/acme/tenant.yaml", "owner: alice\n")
        .write("tenants/outer/tenant.yaml", "not ours\n");
    let commit = fixture.commit("an example");
    let local = LocalRepository::open(&fixture.path().join("example")).unwrap();
    for snapshot in [local.work_tree().unwrap(), local.at(&commit).unwrap()] {
        let listing = snapshot.listing().unwrap();
        assert_eq!(listing.tenants.keys().map(TenantId::as_str).collect::<Vec<_>>(), ["acme"]);
        assert!(listing.settings.is_some());
        let tree = snapshot.tenant_tree(&tenant("acme")).unwrap();
        assert_eq!(tree.files.keys().collect::<Vec<_>>(), ["tenants/acme/tenant.yaml"]);
    }
}

#[test]
fn outside_git_the_directory_counts_as_it_lies() {
    let directory = tempfile::tempdir().unwrap();
    let fixture = northwind();
    let copied = std::process::Command::new("cp")
        .args(["-a", "tenantry.toml", "platform", "shared", "tenants"])
        .arg(directory.path())
        .current_dir(fixture.path())
        .status();
    assert!(copied.unwrap().success());
    nix::unistd::mkfifo(&directory.path().join("tenants/acme/fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let local = LocalRepository::open(directory.path()).unwrap();
    assert!(!local.is_under_git());
    let snapshot = local.work_tree().unwrap();
    let committed = LocalRepository::open(fixture.path()).unwrap().at(&fixture.head()).unwrap();
    assert_eq!(snapshot.listing().unwrap().tenants, committed.listing().unwrap().tenants);
    assert_eq!(
        snapshot.tenant_tree(&tenant("acme")).unwrap().files,
        committed.tenant_tree(&tenant("acme")).unwrap().files
    );
    assert!(matches!(local.resolve("main"), Err(SourceError::NoSuchRevision(_))));
}

#[test]
fn commits_are_found_by_name() {
    let fixture = northwind();
    let first = fixture.head();
    fixture.git(&["checkout", "--quiet", "-b", "side"]);
    let side = fixture.commit("side");
    fixture.git(&["checkout", "--quiet", "main"]);
    let second = fixture.commit("second");
    let local = LocalRepository::open(fixture.path()).unwrap();
    assert_eq!(local.resolve("main~1").unwrap(), first);
    assert_eq!(local.resolve("side").unwrap(), side);
    assert_eq!(local.merge_base(&side, &second).unwrap(), Some(first));
    assert!(matches!(local.resolve("nowhere"), Err(SourceError::NoSuchRevision(_))));
    assert!(matches!(local.resolve("HEAD:tenants"), Err(SourceError::NoSuchRevision(_))));
}

#[tokio::test]
async fn a_commit_wakes_the_loop_and_reading_does_not() {
    let fixture = northwind();
    let mut watch = Watch::new(Some(fixture.path()), Duration::from_secs(3600));
    let source = fixture.source();
    source.fetch().await.unwrap();
    assert!(
        tokio::time::timeout(Duration::from_millis(300), watch.sleep(None)).await.is_err(),
        "a fetch woke it"
    );
    fixture.commit("next");
    tokio::time::timeout(Duration::from_secs(10), watch.sleep(None)).await.expect("a commit wakes it");
    watch.waker().wake();
    tokio::time::timeout(Duration::from_secs(1), watch.sleep(None)).await.expect("whoever asks wakes it");
    tokio::time::timeout(Duration::from_secs(5), watch.sleep(Some(Duration::from_millis(1))))
        .await
        .expect("a deadline wakes it");
}

/// A file of this size that holds a token in its last line.
fn with_token(size: usize) -> Vec<u8> {
    let token = format!("\nghp_{}\n", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9");
    let mut bytes = b"0123456 abcdef\n".repeat(size / 15 + 1);
    bytes.truncate(size - token.len());
    bytes.extend(token.as_bytes());
    bytes
}

#[tokio::test]
async fn a_file_that_is_read_past_is_searched_the_same_wherever_it_lies() {
    let fixture = northwind();
    fixture
        .write("tenants/acme/scripts/data.csv", with_token(3 << 20))
        .write("tenants/acme/scripts/plain.csv", vec![b'x'; 2 << 20])
        .write("tenants/acme/scripts/vast.csv", with_token((16 << 20) + 1));
    let seen = |tree: &Tree| {
        let large = tree.files.iter().filter(|(_, entry)| entry.content.is_none());
        let seen =
            large.map(|(path, entry)| (path.clone(), entry.searched.as_ref().map(|seen| seen.to_vec())));
        seen.collect::<Vec<_>>()
    };
    let local = LocalRepository::open(fixture.path()).unwrap();
    let in_work_tree = seen(&local.work_tree().unwrap().tenant_tree(&tenant("acme")).unwrap());
    fixture.commit("data");
    let source = fixture.source();
    let revision = source.fetch().await.unwrap();
    let in_mirror = seen(&source.tenant_tree(&revision, &tenant("acme")).await.unwrap());
    assert_eq!(in_work_tree, in_mirror);
    let [data, plain, vast] = in_mirror.as_slice() else { panic!("{in_mirror:?}") };
    let found = data.1.as_deref().unwrap();
    assert_eq!((found.len(), found[0].what), (1, SeenSecret::Token("a GitHub token")));
    assert_eq!(found[0].span.start.column, 1);
    assert_eq!((plain.1.as_deref(), vast.1.as_deref()), (Some(&[][..]), None));
}
