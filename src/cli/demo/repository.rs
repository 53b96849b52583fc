//! The Git repository that the demo makes and changes, as people would.
#![expect(clippy::disallowed_methods, reason = "writes a repository and calls git")]

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::DemoError;
use super::example::FILES;

/// A repository with a work tree.
pub struct Repository {
    directory: PathBuf,
}

/// One replacement in one file; `from` stands there exactly once.
pub struct Edit {
    /// From the root of the repository.
    pub path: &'static str,
    /// What stands there.
    pub from: &'static str,
    /// What stands there afterwards.
    pub to: &'static str,
}

impl Repository {
    /// Writes the example into a new repository, not yet committed.
    ///
    /// # Errors
    /// When a file cannot be written or git refuses.
    pub fn create(directory: PathBuf) -> Result<Self, DemoError> {
        let repository = Self { directory };
        std::fs::create_dir_all(&repository.directory).map_err(DemoError::write(&repository.directory))?;
        for file in FILES {
            let path = repository.directory.join(file.path);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).map_err(DemoError::write(parent))?;
            }
            std::fs::write(&path, file.bytes).map_err(DemoError::write(&path))?;
            let mode = if file.is_executable() { 0o755 } else { 0o644 };
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode))
                .map_err(DemoError::write(&path))?;
        }
        repository.git("alice", &["init", "--quiet"])?;
        // `--initial-branch` is younger than some gits in use.
        repository.git("alice", &["symbolic-ref", "HEAD", "refs/heads/main"])?;
        Ok(repository)
    }

    /// Where it lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Replaces texts in files.
    ///
    /// # Errors
    /// When a file cannot be read or written, or does not hold the text exactly once: somebody edited it.
    pub fn edit(&self, edits: &[Edit]) -> Result<(), DemoError> {
        for edit in edits {
            let path = self.directory.join(edit.path);
            let text = std::fs::read_to_string(&path).map_err(DemoError::read(&path))?;
            if text.matches(edit.from).count() != 1 {
                return Err(DemoError::Edited { path: edit.path.to_owned() });
            }
            std::fs::write(&path, text.replace(edit.from, edit.to)).map_err(DemoError::write(&path))?;
        }
        Ok(())
    }

    /// Commits everything as one of the example's people; gives the commit's full id.
    ///
    /// # Errors
    /// When git refuses.
    pub fn commit(&self, author: &str, message: &str) -> Result<String, DemoError> {
        self.git(author, &["add", "--all"])?;
        self.git(author, &["commit", "--quiet", "--message", message])?;
        Ok(self.git(author, &["rev-parse", "HEAD"])?.trim().to_owned())
    }

    /// Runs git apart from its caller's settings: no hook, no signature, no template of somebody's machine.
    fn git(&self, author: &str, args: &[&str]) -> Result<String, DemoError> {
        let mut command = Command::new("git");
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("GIT_") {
                command.env_remove(name);
            }
        }
        let email = format!("{author}@northwind.example");
        let output = command
            .arg("-C")
            .arg(&self.directory)
            .args([
                "-c",
                "core.hooksPath=/dev/null",
                "-c",
                "commit.gpgSign=false",
                "-c",
                "core.autocrlf=false",
            ])
            .args(args)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_AUTHOR_NAME", author)
            .env("GIT_AUTHOR_EMAIL", &email)
            .env("GIT_COMMITTER_NAME", author)
            .env("GIT_COMMITTER_EMAIL", &email)
            .output()
            .map_err(|source| DemoError::Git { said: source.to_string() })?;
        if !output.status.success() {
            return Err(DemoError::Git { said: String::from_utf8_lossy(&output.stderr).trim().to_owned() });
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
