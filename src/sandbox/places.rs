//! Where things lie for a step: the same tree at `/` in the sandbox, and below a directory without one.

use std::path::{Path, PathBuf};

/// The directories and files of one attempt, as the step sees them.
#[derive(Clone, Debug)]
pub(super) struct Places {
    root: PathBuf,
}

/// The user and group id of a step inside its user namespace.
pub(super) const STEP_ID: u32 = 1000;
/// The search path inside the sandbox; the clients of the broker come first.
pub(super) const SEARCH_PATH: &str =
    "/opt/tenantry/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

impl Places {
    /// Lays the tree out below `root`.
    pub(super) fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }
    /// The top of the tree.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }
    /// The tenant's scripts, read-only; the working directory.
    pub(super) fn repo(&self) -> PathBuf {
        self.root.join("repo")
    }
    /// The step's own directory and its home.
    pub(super) fn work(&self) -> PathBuf {
        self.root.join("work")
    }
    /// For temporary files.
    pub(super) fn tmp(&self) -> PathBuf {
        self.root.join("tmp")
    }
    /// What the step is given beside its scripts, read-only.
    pub(super) fn given(&self) -> PathBuf {
        self.root.join("run/tenantry")
    }
    /// The input.
    pub(super) fn input(&self) -> PathBuf {
        self.given().join("input.json")
    }
    /// The broker's socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.given().join("broker.sock")
    }
    /// The text of an inline script.
    pub(super) fn script(&self) -> PathBuf {
        self.given().join("script")
    }
    /// The packages of a Python script, read-only, as an environment of their own.
    pub(super) fn packages(&self) -> PathBuf {
        self.root.join("opt/tenantry/packages")
    }
    /// The directory of secrets that arrive as files.
    pub(super) fn secrets(&self) -> PathBuf {
        self.given().join("secrets")
    }
    /// The only writable directory below [`Places::given`].
    pub(super) fn output_directory(&self) -> PathBuf {
        self.given().join("output")
    }
    /// Where the step writes its outputs.
    pub(super) fn output(&self) -> PathBuf {
        self.output_directory().join(OUTPUT_NAME)
    }
}

/// What installs packages, inside.
pub(super) const INSTALLER: &str = "/opt/tenantry/lib/uv";

/// The output's name in its directory.
pub(super) const OUTPUT_NAME: &str = "output.json";
