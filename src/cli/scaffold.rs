//! Files that a command writes for somebody to go on from: all of them or none, and never over an existing one.
#![expect(clippy::disallowed_methods, reason = "writes into a repository's work tree")]

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::desired::schema;

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum ScaffoldError {
    /// A file is in the way.
    #[error("`{0}` is there already; nothing was written")]
    Exists(String),
    /// This is no tenantry repository.
    #[error("`{}` has no tenantry.toml; go to a repository, name one with `--repo`, or make one with `tenantry init`", .0.display())]
    NoRepository(PathBuf),
    /// A tenant is named that is not there.
    #[error("there is no tenant `{0}`; make it with `tenantry new tenant {0}`")]
    NoTenant(String),
    /// A file is laid out in a way that cannot be added to without rewriting it.
    #[error("`{path}` cannot be added to: {why}; add it by hand: {line}")]
    Splice {
        /// Which.
        path: String,
        /// Why.
        why: String,
        /// What should stand there.
        line: String,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Argument(String),
    /// A file cannot be read or written.
    #[error("`{}`: {source}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Files to be written below one directory.
pub struct Scaffold {
    root: PathBuf,
    files: Vec<(String, String)>,
}

impl Scaffold {
    /// Nothing yet, below `root`.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), files: Vec::new() }
    }

    /// The repository at or above `directory`.
    ///
    /// # Errors
    /// [`ScaffoldError::NoRepository`] if there is none.
    pub fn within(directory: &Path) -> Result<Self, ScaffoldError> {
        let whole = directory.canonicalize().map_err(file_error(directory))?;
        let root = whole.ancestors().find(|at| at.join("tenantry.toml").is_file());
        root.map(Self::new).ok_or(ScaffoldError::NoRepository(whole))
    }

    /// The directory below which it writes.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Adds a file; one that starts with `#!` becomes executable, and one that a schema describes points to it.
    pub fn add(&mut self, path: impl Into<String>, text: impl Into<String>) {
        let (path, mut text) = (path.into(), text.into());
        if let Some(line) = modeline(&path).filter(|_| self.has_schemas()) {
            text = format!("{line}\n{text}");
        }
        self.files.push((path, text));
    }

    fn has_schemas(&self) -> bool {
        self.has("schemas") || self.files.iter().any(|(path, _)| path.starts_with("schemas/"))
    }

    /// Adds a file unless there is one of that name: for files that other tools may have made.
    pub fn add_if_absent(&mut self, path: &str, text: impl Into<String>) {
        if !self.root.join(path).exists() {
            self.add(path, text);
        }
    }

    /// Gives a file that was added another text.
    pub fn substitute(&mut self, path: &str, text: String) {
        self.files.iter_mut().filter(|(name, _)| name == path).for_each(|(_, old)| old.clone_from(&text));
    }

    /// Writes all files; gives their paths in the order they were added.
    ///
    /// # Errors
    /// [`ScaffoldError::Exists`] before the first is written; [`ScaffoldError::File`] where the disk refuses.
    pub fn write(self) -> Result<Vec<String>, ScaffoldError> {
        if let Some((path, _)) = self.files.iter().find(|(path, _)| self.root.join(path).exists()) {
            return Err(ScaffoldError::Exists(path.clone()));
        }
        for (path, text) in &self.files {
            let whole = self.root.join(path);
            if let Some(parent) = whole.parent() {
                std::fs::create_dir_all(parent).map_err(file_error(parent))?;
            }
            std::fs::write(&whole, text).map_err(file_error(&whole))?;
            if text.starts_with("#!") {
                let mode = std::fs::Permissions::from_mode(0o755);
                std::fs::set_permissions(&whole, mode).map_err(file_error(&whole))?;
            }
        }
        Ok(self.files.into_iter().map(|(path, _)| path).collect())
    }

    /// Reads a file below the root; `None` if it is not there.
    ///
    /// # Errors
    /// [`ScaffoldError::File`] if it is there and cannot be read.
    pub fn read(&self, path: &str) -> Result<Option<String>, ScaffoldError> {
        let whole = self.root.join(path);
        match std::fs::read_to_string(&whole) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(file_error(&whole)(error)),
        }
    }

    /// Replaces a file in one step, as an editor would save it.
    ///
    /// # Errors
    /// [`ScaffoldError::File`] where the disk refuses; the old text is then still there.
    pub fn replace(&self, path: &str, text: &str) -> Result<(), ScaffoldError> {
        let whole = self.root.join(path);
        let beside = whole.with_extension("new");
        std::fs::write(&beside, text).map_err(file_error(&beside))?;
        std::fs::rename(&beside, &whole).map_err(file_error(&whole))
    }

    /// Whether a directory or file is there.
    pub fn has(&self, path: &str) -> bool {
        self.root.join(path).exists()
    }
}

fn file_error(path: &Path) -> impl FnOnce(io::Error) -> ScaffoldError {
    let path = path.to_owned();
    move |source| ScaffoldError::File { path, source }
}

/// The comment by which editors find the schema of a file.
fn modeline(path: &str) -> Option<String> {
    let schema = schema::of_path(path)?.file();
    if path.ends_with(".toml") {
        return Some(format!("#:schema ./schemas/{schema}"));
    }
    let up = "../".repeat(path.matches('/').count());
    Some(format!("# yaml-language-server: $schema={up}schemas/{schema}"))
}

/// Settings of VS Code and its kin that give every file its schema, also one that was written by hand.
pub fn editor_settings() -> String {
    let mapping: serde_json::Map<String, serde_json::Value> = schema::ALL
        .iter()
        .filter(|schema| schema.globs().all(|glob| glob.ends_with(".yaml")))
        .map(|schema| (format!("./schemas/{}", schema.file()), schema.globs().collect::<Vec<_>>().into()))
        .collect();
    let settings = serde_json::json!({ "yaml.schemas": mapping });
    format!("{settings:#}\n")
}

/// The files of a new tenant that runs something from its first commit on.
///
/// `owner` and `operator` are principals as written: `alice` or `group:acme-ops`.
pub fn tenant(scaffold: &mut Scaffold, name: &str, kind: &str, owner: &str, operator: &str) {
    let path = format!("tenants/{name}");
    scaffold.add(
        format!("{path}/tenant.yaml"),
        format!("kind: {kind} # customer | unit | region\nowner: {owner} # agrees to changes of access\ntimezone: UTC\n"),
    );
    scaffold.add(format!("{path}/roles.yaml"), format!("operator: [{operator}]\ndeveloper: [{operator}]\n"));
    scaffold.add(
        format!("{path}/workflows/hello.yaml"),
        "description: Says hello each morning, and once as soon as it is applied\n\
         on:\n  schedule: \"0 7 * * *\"\n  commit: { first: true }\n\
         run: scripts/hello.sh\n",
    );
    scaffold.add(
        format!("{path}/scripts/hello.sh"),
        "#!/bin/sh\n\
         # What a step does; outputs are JSON.\n\
         set -eu\n\
         echo \"hello from $TENANTRY_TENANT at $TENANTRY_COMMIT\"\n\
         printf '{\"greeted\": true}\\n' >\"$TENANTRY_OUTPUT\"\n",
    );
}

/// A workflow of one step and its script.
pub fn workflow(scaffold: &mut Scaffold, tenant: &str, name: &str) {
    scaffold.add(
        format!("tenants/{tenant}/workflows/{name}.yaml"),
        format!(
            "description: What {name} is for\n\
             # Nothing but people starts it until a line such as this one says otherwise:\n\
             # on: {{ schedule: \"0 7 * * *\" }}\n\
             run: scripts/{name}.sh\n"
        ),
    );
    scaffold.add(
        format!("tenants/{tenant}/scripts/{name}.sh"),
        format!("#!/bin/sh\n# What {name} does.\nset -eu\necho \"{name} of $TENANTRY_TENANT, attempt $TENANTRY_ATTEMPT\"\n"),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_writes_all_or_nothing() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("b"), "mine").unwrap();
        let mut scaffold = Scaffold::new(directory.path());
        scaffold.add("a", "new");
        scaffold.add("b", "new");
        assert!(matches!(scaffold.write(), Err(ScaffoldError::Exists(path)) if path == "b"));
        assert!(!directory.path().join("a").exists());
        assert_eq!(std::fs::read_to_string(directory.path().join("b")).unwrap(), "mine");
    }

    #[test]
    fn scripts_are_executable_and_data_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let mut scaffold = Scaffold::new(directory.path());
        tenant(&mut scaffold, "acme", "customer", "alice", "alice");
        scaffold.write().unwrap();
        let mode =
            |path: &str| std::fs::metadata(directory.path().join(path)).unwrap().permissions().mode() & 0o111;
        assert_ne!(mode("tenants/acme/scripts/hello.sh"), 0);
        assert_eq!(mode("tenants/acme/workflows/hello.yaml"), 0);
    }

    #[test]
    fn editors_find_the_schema_where_there_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let mut scaffold = Scaffold::new(directory.path());
        workflow(&mut scaffold, "acme", "plain");
        scaffold.add("schemas/workflow.schema.json", "{}\n");
        workflow(&mut scaffold, "acme", "helped");
        scaffold.write().unwrap();
        let read = |path: &str| std::fs::read_to_string(directory.path().join(path)).unwrap();
        assert!(read("tenants/acme/workflows/plain.yaml").starts_with("description:"));
        let helped = read("tenants/acme/workflows/helped.yaml");
        let line = helped.lines().next().unwrap();
        let schema = line.strip_prefix("# yaml-language-server: $schema=").unwrap();
        assert!(directory.path().join("tenants/acme/workflows").join(schema).exists(), "{line}");
        assert!(read("tenants/acme/scripts/helped.sh").starts_with("#!/bin/sh"));
    }

    #[test]
    fn a_repository_is_found_from_below() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().canonicalize().unwrap();
        let below = root.join("tenants/acme");
        std::fs::create_dir_all(&below).unwrap();
        assert!(matches!(Scaffold::within(&below), Err(ScaffoldError::NoRepository(_))));
        std::fs::write(root.join("tenantry.toml"), "format = 1\n").unwrap();
        assert_eq!(Scaffold::within(&below).unwrap().root(), root);
    }
}
