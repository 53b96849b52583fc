//! The repository as it lies in a directory: finds it, reads small files of it, replaces them whole.
#![expect(clippy::disallowed_methods, reason = "the command line works on the person's own files")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::index;
use crate::domain::TenantId;
use crate::sops::Recipient;

/// A repository's directory.
pub(super) struct WorkTree {
    root: PathBuf,
}

/// What went wrong, in a sentence for the person.
pub(super) type Told = String;

impl WorkTree {
    /// The directory named, or the nearest one above with a `tenantry.toml`.
    pub(super) fn find(named: Option<&Path>) -> Result<Self, Told> {
        let start = match named {
            Some(named) => named.to_owned(),
            None => std::env::current_dir()
                .map_err(|error| format!("cannot tell the current directory: {error}"))?,
        };
        let has_settings = |directory: &Path| directory.join("tenantry.toml").is_file();
        let found = if named.is_some() {
            has_settings(&start).then_some(start.as_path())
        } else {
            start.ancestors().find(|directory| has_settings(directory))
        };
        match found {
            Some(root) => Ok(Self { root: root.to_owned() }),
            None => Err(format!(
                "no `tenantry.toml` in `{}`{}: name the repository with `--repo`",
                start.display(),
                if named.is_some() { "" } else { " or above" }
            )),
        }
    }

    pub(super) fn path(&self, relative: &str) -> PathBuf {
        self.root.join(relative)
    }

    /// Refuses a tenant that the repository does not have.
    pub(super) fn check_tenant(&self, tenant: &TenantId) -> Result<(), Told> {
        if self.path(&format!("tenants/{tenant}/tenant.yaml")).is_file() {
            return Ok(());
        }
        let names: Vec<String> = self.tenants()?.iter().map(|tenant| format!("`{tenant}`")).collect();
        let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Err(format!("no tenant `{tenant}` in this repository; its tenants: {known}"))
    }

    pub(super) fn tenants(&self) -> Result<Vec<TenantId>, Told> {
        let directory = self.path("tenants");
        let entries = match std::fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(format!("cannot read `{}`: {error}", directory.display())),
        };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let mut found: Vec<TenantId> = names.collect();
        found.sort();
        Ok(found)
    }

    /// The file's text; `None` if there is none.
    pub(super) fn read(&self, relative: &str) -> Result<Option<String>, Told> {
        match std::fs::read_to_string(self.path(relative)) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot read `{relative}`: {error}")),
        }
    }

    /// Replaces a file whole, or makes it; nobody sees half of it.
    pub(super) fn replace(&self, relative: &str, text: &str) -> Result<(), Told> {
        self.write(relative, text, true)
    }

    /// Makes a file that must not be there yet.
    pub(super) fn create(&self, relative: &str, text: &str) -> Result<(), Told> {
        self.write(relative, text, false)
    }

    pub(super) fn remove(&self, relative: &str) -> Result<(), Told> {
        std::fs::remove_file(self.path(relative))
            .map_err(|error| format!("cannot remove `{relative}`: {error}"))
    }

    fn write(&self, relative: &str, text: &str, over: bool) -> Result<(), Told> {
        let path = self.path(relative);
        let told = |error: std::io::Error| format!("cannot write `{relative}`: {error}");
        let directory = path.parent().unwrap_or(&self.root);
        std::fs::create_dir_all(directory).map_err(told)?;
        let mode = std::fs::metadata(&path).map_or(0o644, |known| known.permissions().mode() & 0o777);
        let permissions = std::fs::Permissions::from_mode(mode);
        let mut file =
            tempfile::Builder::new().permissions(permissions).tempfile_in(directory).map_err(told)?;
        file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(told)?;
        let done = if over { file.persist(&path) } else { file.persist_noclobber(&path) };
        done.map(|_| ()).map_err(|error| told(error.error))
    }

    /// Whom a tenant's secrets are encrypted to: its own recipients, then the platform's recovery keys.
    pub(super) fn recipients(&self, tenant: &TenantId) -> Result<Vec<Recipient>, Told> {
        let file = format!("tenants/{tenant}/tenant.yaml");
        let text = self.read(&file)?.unwrap_or_default();
        self.recipients_with(tenant, &text)
    }

    /// The same, were this the text of `tenant.yaml`.
    pub(super) fn recipients_with(&self, tenant: &TenantId, text: &str) -> Result<Vec<Recipient>, Told> {
        let file = format!("tenants/{tenant}/tenant.yaml");
        let own = index::recipients(text).map_err(|error| format!("`{file}`: {error}"))?;
        let settings = self.read("tenantry.toml")?.unwrap_or_default();
        let settings: toml::Table = settings
            .parse()
            .map_err(|error: toml::de::Error| format!("`tenantry.toml`: {}", error.message()))?;
        let recovery = settings.get("secrets").and_then(|secrets| secrets.get("recovery"));
        let recovery =
            recovery.and_then(toml::Value::as_array).into_iter().flatten().filter_map(toml::Value::as_str);
        let mut found: Vec<Recipient> = Vec::new();
        for (file, text) in own
            .iter()
            .map(|text| (file.as_str(), text.as_str()))
            .chain(recovery.map(|text| ("tenantry.toml", text)))
        {
            let recipient: Recipient = text.parse().map_err(|error| format!("`{file}`: {error}"))?;
            if !found.contains(&recipient) {
                found.push(recipient);
            }
        }
        // A recovery key alone would make a file that the tenant itself cannot open.
        Ok(if own.is_empty() { Vec::new() } else { found })
    }

    /// What `.sops.yaml` should hold.
    pub(super) fn creation_rules(&self) -> Result<String, Told> {
        let mut tenants = BTreeMap::new();
        for tenant in self.tenants()? {
            let recipients = self.recipients(&tenant)?;
            tenants.insert(tenant, recipients);
        }
        Ok(crate::sops::creation_rules(&tenants))
    }
}
