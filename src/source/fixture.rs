//! Real repositories in temporary directories, made by the system `git` with fixed people and dates.
#![expect(clippy::disallowed_methods, reason = "test fixtures: writes files and starts `git`")]

use std::cell::Cell;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{FetchSettings, GitSource};
use crate::domain::CommitId;

/// A repository with a work tree, its first branch `main`.
pub(crate) struct Fixture {
    directory: tempfile::TempDir,
    commits: Cell<u32>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let fixture = Self { directory: tempfile::tempdir().unwrap(), commits: Cell::new(0) };
        fixture.git(&["init", "--quiet", "--initial-branch=main"]);
        fixture
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn address(&self) -> String {
        self.path().to_str().unwrap().to_owned()
    }

    /// Runs `git` here and gives its output without the last line end.
    #[track_caller]
    pub(crate) fn git(&self, arguments: &[&str]) -> String {
        self.git_with(arguments, b"")
    }

    #[track_caller]
    pub(crate) fn git_with(&self, arguments: &[&str], input: &[u8]) -> String {
        let date = format!("2026-11-01T10:{:02}:00Z", self.commits.get());
        let mut child = Command::new("git")
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .envs(["GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"].map(|name| (name, "Dana")))
            .envs(["GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"].map(|name| (name, "dana@acme.example")))
            .envs(["GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"].map(|name| (name, &date)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) -> &Self {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
        self
    }

    pub(crate) fn executable(&self, path: &str) -> &Self {
        std::fs::set_permissions(self.path().join(path), PermissionsExt::from_mode(0o755)).unwrap();
        self
    }

    pub(crate) fn remove(&self, path: &str) -> &Self {
        let path = self.path().join(path);
        if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.unwrap();
        self
    }

    /// Commits everything, a minute after the last one.
    #[track_caller]
    pub(crate) fn commit(&self, subject: &str) -> CommitId {
        self.commits.set(self.commits.get() + 1);
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--allow-empty", "--message", subject]);
        self.head()
    }

    pub(crate) fn head(&self) -> CommitId {
        self.git(&["rev-parse", "HEAD"]).parse().unwrap()
    }

    /// A source over this repository, its mirror in a directory of its own.
    pub(crate) fn source(&self) -> Mirrored {
        self.source_with(|_| {})
    }

    pub(crate) fn source_with(&self, change: impl FnOnce(&mut FetchSettings)) -> Mirrored {
        Mirrored::of(&self.address(), change)
    }
}

/// A source and the directory of its mirror.
pub(crate) struct Mirrored {
    pub(crate) source: GitSource,
    pub(crate) mirror: PathBuf,
    _directory: tempfile::TempDir,
}

impl Mirrored {
    pub(crate) fn of(address: &str, change: impl FnOnce(&mut FetchSettings)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mirror = directory.path().join("mirror.git");
        let mut settings = FetchSettings::branch("main");
        change(&mut settings);
        let source = GitSource::open(address.parse().unwrap(), settings, &mirror).unwrap();
        Self { source, mirror, _directory: directory }
    }
}

impl std::ops::Deref for Mirrored {
    type Target = GitSource;
    fn deref(&self) -> &GitSource {
        &self.source
    }
}
