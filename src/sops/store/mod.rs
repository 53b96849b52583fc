//! The stores of sops: how each kind of file spells the same tree.

pub mod dotenv;
pub mod flat;
pub mod ini;
pub mod json;
mod places;
pub mod yaml;
pub mod yaml_text;

use std::fmt;
use std::str::FromStr;

pub use places::Places;

/// The kind of a file: sops calls it a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `.yaml`, `.yml`
    Yaml,
    /// `.json`
    Json,
    /// `.env`
    Dotenv,
    /// `.ini`
    Ini,
    /// Anything else, in a JSON envelope.
    Binary,
}

impl Format {
    /// Every format, by the word that sops uses for it.
    pub const ALL: [Self; 5] = [Self::Yaml, Self::Json, Self::Dotenv, Self::Ini, Self::Binary];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yaml => "yaml",
            Self::Json => "json",
            Self::Dotenv => "dotenv",
            Self::Ini => "ini",
            Self::Binary => "binary",
        }
    }

    /// The format that sops takes a file of this name to have; `None` where the name says nothing, which sops
    /// takes for binary.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let ends = |end: &str| path.ends_with(end);
        if ends(".yaml") || ends(".yml") {
            Some(Self::Yaml)
        } else if ends(".json") {
            Some(Self::Json)
        } else if ends(".env") {
            Some(Self::Dotenv)
        } else if ends(".ini") {
            Some(Self::Ini)
        } else {
            None
        }
    }

    /// The format that an encrypted text seems to have: its metadata is spelled differently in each.
    #[must_use]
    pub fn of_text(bytes: &[u8]) -> Self {
        let bytes = bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(bytes);
        if bytes.trim_ascii_start().first() == Some(&b'{') && json::is_json(bytes) {
            return Self::Json;
        }
        let lines = || bytes.split(|byte| *byte == b'\n');
        if lines().any(|line| line.starts_with(b"sops_mac=") || line.starts_with(b"sops_version=")) {
            Self::Dotenv
        } else if lines().any(|line| line.trim_ascii_start().starts_with(b"[sops]")) {
            Self::Ini
        } else {
            Self::Yaml
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|format| format.as_str() == text)
            .ok_or_else(|| format!("`{text}` is none of yaml, json, dotenv, ini, binary"))
    }
}
