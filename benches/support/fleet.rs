//! A repository of many tenants, written by one `git fast-import`.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use super::git;

/// The files of one commit.
pub struct Fleet(Vec<u8>);

impl Fleet {
    /// A repository with one person and nothing else yet.
    pub fn new(settings: &str) -> Self {
        let mut fleet = Self(
            b"commit refs/heads/main\ncommitter bench <bench@localhost> 1764000000 +0000\ndata 5\nbegin\n"
                .to_vec(),
        );
        fleet
            .file("tenantry.toml", settings)
            .file("platform/people.yaml", "users:\n  alice: { name: Alice }\n")
            .file("platform/roles.yaml", "admin: [alice]\n");
        fleet
    }

    /// Adds a file, which is executable if it is a script.
    pub fn file(&mut self, path: &str, text: &str) -> &mut Self {
        let mode = if text.starts_with("#!") { "100755" } else { "100644" };
        writeln!(self.0, "M {mode} inline {path}\ndata {}\n{text}", text.len()).unwrap();
        self
    }

    /// Commits them all in a new repository; with a work tree if `checked_out`.
    pub fn commit(&self, repo: &Path, checked_out: bool) {
        std::fs::create_dir_all(repo).unwrap();
        git(repo, &["init", "--quiet"]);
        git(repo, &["symbolic-ref", "HEAD", "refs/heads/main"]);
        let mut child = Command::new("git")
            .arg("-C")
            .arg(repo)
            .args(["fast-import", "--quiet"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&self.0).unwrap();
        assert!(child.wait().unwrap().success());
        git(repo, &["read-tree", "HEAD"]);
        if checked_out {
            git(repo, &["checkout-index", "--all", "--force"]);
            git(repo, &["update-index", "-q", "--refresh"]);
        }
    }
}

/// Has one `git cat-file --batch` give these blobs.
pub fn cat_file(repo: &Path, wanted: &str) {
    let mut child = Command::new("git")
        .arg("-C")
        .arg(repo)
        .args(["cat-file", "--batch"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(wanted.as_bytes()).unwrap();
    assert!(child.wait().unwrap().success());
}
