//! trust.toml: what stands outside Git, so that no commit changes what it says.
#![expect(clippy::disallowed_methods, reason = "trust.toml lies in the data directory and is read here only")]

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::Deserialize;

use crate::domain::{ChangeControlMode, UserId};

/// What trust.toml says. Without one nothing is demanded and nobody is named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Rises with each new one.
    pub number: u64,
    /// The id of the repository it belongs to, as in tenantry.toml.
    pub repository: Option<String>,
    /// One person works alone: what only he could agree to is applied and marked.
    pub solo: bool,
    /// The weakest change control that counts, whatever tenantry.toml says.
    pub weakest_mode: Option<ChangeControlMode>,
    /// Who the users of this machine are.
    pub local: BTreeMap<u32, UserId>,
}

/// Why trust.toml is not used. Nothing is guessed then: the daemon does not start.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It is there and cannot be read.
    #[error("cannot read `{path}`")]
    Unreadable {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Others can write it.
    #[error("`{path}` can be changed by others: make it yours with mode 0600")]
    Writable {
        /// Where.
        path: String,
    },
    /// Its text says something that is not understood.
    #[error("trust.toml: {0}")]
    Malformed(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    number: u64,
    repository: Option<String>,
    #[serde(default, rename = "ref")]
    _reference: Option<String>,
    #[serde(default)]
    solo: bool,
    weakest_mode: Option<ChangeControlMode>,
    #[serde(default)]
    local: BTreeMap<String, String>,
    /// Public keys that sign a new trust.toml; used where approvals are.
    #[serde(default, rename = "roots")]
    _roots: Vec<String>,
    #[serde(default, rename = "threshold")]
    _threshold: Option<u32>,
}

impl Trust {
    /// Reads the text of a trust.toml.
    ///
    /// # Errors
    /// [`TrustError::Malformed`], with the line.
    pub fn parse(text: &str) -> Result<Self, TrustError> {
        let malformed = |message: String| TrustError::Malformed(message.trim().to_owned());
        let written: Written = toml::from_str(text).map_err(|error| malformed(error.to_string()))?;
        let local = written
            .local
            .into_iter()
            .map(|(uid, person)| {
                let uid = uid.parse().map_err(|_| malformed(format!("[local]: `{uid}` is no uid")))?;
                let person =
                    person.parse().map_err(|error| malformed(format!("[local]: `{person}`: {error}")))?;
                Ok((uid, person))
            })
            .collect::<Result<_, TrustError>>()?;
        Ok(Self {
            number: written.number,
            repository: written.repository,
            solo: written.solo,
            weakest_mode: written.weakest_mode,
            local,
        })
    }

    /// Reads `trust.toml` of a data directory; nothing where there is none.
    ///
    /// # Errors
    /// [`TrustError`]: a file that others can write counts as forged.
    pub fn read(data: &Path) -> Result<Self, TrustError> {
        let path = data.join("trust.toml");
        let shown = path.display().to_string();
        let metadata = match std::fs::symlink_metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(TrustError::Unreadable { path: shown, source }),
        };
        let own = rustix::process::geteuid().as_raw();
        let others = metadata.mode() & 0o022 != 0 || (metadata.uid() != own && metadata.uid() != 0);
        if others || !metadata.is_file() {
            return Err(TrustError::Writable { path: shown });
        }
        let text = std::fs::read_to_string(&path)
            .map_err(|source| TrustError::Unreadable { path: shown, source })?;
        Self::parse(&text)
    }

    /// The mode that counts: the stronger of the repository's and the weakest that is trusted here.
    #[must_use]
    pub fn mode(&self, of_the_repository: ChangeControlMode) -> ChangeControlMode {
        let strength = |mode| match mode {
            ChangeControlMode::Open => 0,
            ChangeControlMode::PullRequest => 1,
            ChangeControlMode::Signed => 2,
        };
        match self.weakest_mode {
            Some(weakest) if strength(weakest) > strength(of_the_repository) => weakest,
            _ => of_the_repository,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn the_stronger_mode_counts() {
        use ChangeControlMode::{Open, PullRequest, Signed};
        let trust = |weakest| Trust { weakest_mode: weakest, ..Trust::default() };
        assert_eq!(trust(None).mode(Open), Open);
        assert_eq!(trust(Some(PullRequest)).mode(Open), PullRequest);
        assert_eq!(trust(Some(PullRequest)).mode(Signed), Signed);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for text in [
            "[local]\nroot = \"alice\"\n",
            "[local]\n0 = \"Alice\"\n",
            "sollo = true",
            "weakest_mode = \"x\"",
        ] {
            assert!(matches!(Trust::parse(text), Err(TrustError::Malformed(_))), "{text}");
        }
    }

    #[test]
    fn a_file_that_others_can_write_counts_as_forged() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Trust::read(data.path()).unwrap(), Trust::default());
        let path = data.path().join("trust.toml");
        std::fs::write(&path, "[local]\n0 = \"alice\"\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Trust::read(data.path()).unwrap().local.len(), 1);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(matches!(Trust::read(data.path()), Err(TrustError::Writable { .. })));
    }
}
