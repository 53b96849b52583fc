//! What stands in the files around a place: secrets, people, scripts, steps. Read from half-written texts too.
//!
//! The files below `secrets/` are never opened here: nothing that is shown can come from one.

use std::collections::{BTreeMap, BTreeSet};

use super::judge::{View, tenant_of};
use super::outline::{Outline, Part};
use super::text::{Encoding, Text};
use crate::desired::schema;
use crate::domain::{Mode, TenantId, Tree};

/// A place in an open file, and what is known around it.
pub struct Library<'a> {
    /// The schema of the file; empty for one that no schema describes, of which nothing is looked at.
    pub kind: &'static str,
    /// From the repository's root.
    pub path: &'a str,
    /// As it is in the editor now.
    pub text: &'a Text,
    /// The repository.
    pub view: &'a View,
    /// How columns are counted.
    pub encoding: Encoding,
    /// Whose file it is.
    pub tenant: Option<TenantId>,
    /// The file's own keys and scalars.
    pub own: Outline,
}

/// A secret of the index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretEntry {
    /// As written.
    pub owner: Option<String>,
    /// As written, `step` where nothing is.
    pub purposes: Vec<String>,
    /// Id and state of each version, as written.
    pub versions: Vec<(String, String)>,
}

impl<'a> Library<'a> {
    /// Looks at an open file.
    #[must_use]
    pub fn new(path: &'a str, text: &'a Text, view: &'a View, encoding: Encoding) -> Self {
        let kind = schema::of_path(path).map_or("", |schema| schema.name);
        let own = if kind.is_empty() { Outline::default() } else { outline(path, text.as_str()) };
        Self { kind, path, text, view, encoding, tenant: tenant_of(path), own }
    }

    /// Whether the file is TOML.
    #[must_use]
    pub fn is_toml(&self) -> bool {
        self.path.ends_with(".toml")
    }

    /// The tree that holds a path.
    fn tree_of(&self, path: &str) -> Option<&Tree> {
        match tenant_of(path) {
            Some(tenant) => self.view.trees.get(&tenant).map(AsRef::as_ref),
            None => Some(&self.view.shared),
        }
    }

    /// Whether a file is there.
    #[must_use]
    pub fn has(&self, path: &str) -> bool {
        path == self.path || self.tree_of(path).is_some_and(|tree| tree.get(path).is_some())
    }

    /// The text of a file; never of one below `secrets/`.
    #[must_use]
    pub fn text_of(&self, path: &str) -> Option<Text> {
        if path == self.path {
            return Some(self.text.clone());
        }
        if is_ciphertext(path) {
            return None;
        }
        let bytes = self.tree_of(path)?.get(path)?.content.clone()?;
        String::from_utf8(bytes.to_vec()).ok().map(Text::new)
    }

    /// The keys and scalars of a file; none where it cannot be read.
    #[must_use]
    pub fn outline_of(&self, path: &str) -> Outline {
        if path == self.path {
            return self.own.clone();
        }
        self.text_of(path).map(|text| outline(path, text.as_str())).unwrap_or_default()
    }

    /// The directory that scripts and globs are written from.
    #[must_use]
    pub fn root(&self) -> String {
        match (&self.tenant, self.path.strip_prefix("shared/").and_then(|rest| rest.split_once('/'))) {
            (Some(tenant), _) => format!("tenants/{tenant}/"),
            (None, Some((name, _))) => format!("shared/{name}/"),
            (None, None) => String::new(),
        }
    }

    /// Files that a step may run, from [`Self::root`], with whether each is executable.
    #[must_use]
    pub fn scripts(&self) -> Vec<(String, bool)> {
        let root = self.root();
        let Some(tree) = self.tree_of(&format!("{root}x")) else { return Vec::new() };
        let shared = self.tenant.is_none();
        tree.below(&root)
            .map(|(path, entry)| (&path[root.len()..], entry))
            .filter(|(below, entry)| {
                let inside = if shared { *below != "workflow.yaml" } else { below.starts_with("scripts/") };
                inside && matches!(entry.mode, Mode::File | Mode::Executable)
            })
            .map(|(below, entry)| (below.to_owned(), entry.mode == Mode::Executable))
            .collect()
    }

    /// The names of files of secrets, from the tenant's directory.
    #[must_use]
    pub fn secret_files(&self) -> Vec<String> {
        let root = self.root();
        let Some(tree) = self.tree_of(&format!("{root}x")) else { return Vec::new() };
        let files = tree.below(&root).map(|(path, _)| path[root.len()..].to_owned());
        files.filter(|path| path.starts_with("secrets/")).collect()
    }

    /// The path of the tenant's index of secrets.
    #[must_use]
    pub fn secrets_path(&self) -> Option<String> {
        self.tenant.as_ref().map(|tenant| format!("tenants/{tenant}/secrets.yaml"))
    }

    /// The tenant's secrets by name.
    #[must_use]
    pub fn secrets(&self) -> BTreeMap<String, SecretEntry> {
        let mut secrets: BTreeMap<String, SecretEntry> = BTreeMap::new();
        let Some(path) = self.secrets_path() else { return secrets };
        let index = self.outline_of(&path);
        for name in index.keys_below(&["secrets"]) {
            secrets.entry(name.text.clone()).or_default();
        }
        for token in index.tokens.iter().filter(|token| !token.key) {
            let [Part::Key(top), Part::Key(name), rest @ ..] = token.path.as_slice() else { continue };
            let Some(secret) = secrets.get_mut(name).filter(|_| top == "secrets") else { continue };
            match rest {
                [Part::Key(field)] if field == "owner" => secret.owner = Some(token.text.clone()),
                [Part::Key(field), Part::Item(_)] if field == "use" => {
                    secret.purposes.push(token.text.clone())
                }
                [Part::Key(list), Part::Item(index), Part::Key(field)] if list == "versions" => {
                    if secret.versions.len() <= *index && *index < 1_000 {
                        secret.versions.resize(index + 1, (String::new(), String::new()));
                    }
                    match (secret.versions.get_mut(*index), field.as_str()) {
                        (Some(version), "id") => version.0.clone_from(&token.text),
                        (Some(version), "state") => version.1.clone_from(&token.text),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        secrets
    }

    /// Names below `users`, `services` or `groups` of people.yaml.
    #[must_use]
    pub fn people(&self, section: &str) -> BTreeSet<String> {
        let people = self.outline_of(PEOPLE);
        people.keys_below(&[section]).map(|token| token.text.clone()).collect()
    }

    /// Names of shared workflows.
    #[must_use]
    pub fn shared(&self) -> Vec<String> {
        let names = self.view.shared.below("shared/");
        names
            .filter_map(|(path, _)| path.strip_prefix("shared/")?.strip_suffix("/workflow.yaml"))
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect()
    }

    /// The path of the shared workflow that this file uses.
    #[must_use]
    pub fn used(&self) -> Option<String> {
        let uses = self.own.value(&["uses"])?.text.strip_prefix("shared/")?;
        let name = uses.split('@').next().unwrap_or(uses);
        (!name.is_empty() && !name.contains('/')).then(|| format!("shared/{name}/workflow.yaml"))
    }

    /// Files of the tenant's workflows that name a secret.
    #[must_use]
    pub fn users_of_secret(&self, name: &str) -> Vec<String> {
        let Some(tenant) = &self.tenant else { return Vec::new() };
        let below = format!("tenants/{tenant}/workflows/");
        let Some(tree) = self.tree_of(&below) else { return Vec::new() };
        let paths = tree.below(&below).map(|(path, _)| path.to_owned()).take(500);
        paths
            .filter(|path| {
                self.outline_of(path).tokens.iter().any(|token| {
                    !token.key
                        && token.text == name
                        && super::meaning::of_value("workflow", &token.path)
                            == Some(super::meaning::Meaning::Secret)
                })
            })
            .map(|path| path[below.len()..].trim_end_matches(".yaml").to_owned())
            .collect()
    }
}

/// Where people stand.
pub const PEOPLE: &str = "platform/people.yaml";

/// Whether a path is that of a file of secrets.
#[must_use]
pub fn is_ciphertext(path: &str) -> bool {
    path.split('/').nth(2) == Some("secrets") && path.starts_with("tenants/")
}

/// The keys and scalars of a text, in the language of its path.
#[must_use]
pub fn outline(path: &str, text: &str) -> Outline {
    if path.ends_with(".toml") { Outline::of_toml(text) } else { Outline::of(text) }
}
