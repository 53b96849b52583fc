//! Why a SOPS file does not open. No message carries plaintext; keys of a file are not secret.

use super::Recipient;
use crate::yaml::Problem;

/// Why a file does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SopsError {
    /// The text is no YAML within its budget.
    #[error("not a readable YAML file: {0}")]
    Yaml(#[from] Box<Problem>),
    /// The text is none of the JSON, dotenv or INI store. It is not quoted: it may be a value.
    #[error("not a readable {store} file: line {line}: {reason}")]
    Text {
        /// The store.
        store: &'static str,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        reason: &'static str,
    },
    /// The first document has no `sops` key: the file is not encrypted, or its end was cut off.
    #[error("no `sops` metadata: the file is not encrypted")]
    NoMetadata,
    /// A field of the metadata is missing or malformed.
    #[error("the metadata field `{field}` {reason}")]
    Metadata {
        /// Which field.
        field: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A document is no mapping, or has a key that is no text.
    #[error("{at} {reason}")]
    Shape {
        /// Keys down to the place, or the document.
        at: String,
        /// What is wrong there.
        reason: &'static str,
    },
    /// None of the identities opens enough of the file's key groups.
    #[error("no identity opens the file's data key; {}", recipients(.0))]
    NoDataKey(Vec<String>),
    /// A value that has to be encrypted does not open under the data key at its place.
    #[error("the value at `{at}` {reason}")]
    Value {
        /// Keys down to the value, joined by `.`.
        at: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The MAC is missing, unreadable or not that of the values.
    #[error("the MAC {0}: the file was changed without its key")]
    Mac(&'static str),
    /// The wanted version of a secret is not in the file.
    #[error("the file has no value at `{0}`")]
    NotFound(String),
    /// A value cannot be written.
    #[error("{0}")]
    Unwritable(&'static str),
}

/// Names shown: a file may have a thousand.
const SHOWN_MAX: usize = 8;

fn recipients(names: &[String]) -> String {
    if names.is_empty() {
        return "it names no age recipient".to_owned();
    }
    let shown = names.iter().take(SHOWN_MAX).map(|name| {
        let start: String = name.chars().filter(|c| !c.is_control()).take(120).collect();
        format!("`{start}`")
    });
    let mut text = format!("it is encrypted to {}", shown.collect::<Vec<_>>().join(", "));
    if names.len() > SHOWN_MAX {
        text.push_str(&format!(" and {} more", names.len() - SHOWN_MAX));
    }
    if names.iter().any(|name| name.starts_with("ssh-rsa")) {
        text.push_str("; ssh-rsa keys are refused, since their arithmetic leaks through its timing");
    }
    text
}

/// Why a text is no identity or recipient that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// A line is no age identity; the line is not quoted, since it may be a secret.
    #[error("line {line} is not an age identity (AGE-SECRET-KEY-1…)")]
    Malformed {
        /// The line, from 1.
        line: usize,
    },
    /// An identity or recipient of a kind that is refused.
    #[error("{0} keys are refused: use an age X25519 or ssh-ed25519 key")]
    Refused(&'static str),
    /// A key or an identity file has a passphrase, and nobody was there to ask.
    #[error("it has a passphrase, and there is no terminal to ask for it")]
    Passphrase,
    /// A passphrase does not open its key.
    #[error("the passphrase does not open it")]
    WrongPassphrase,
    /// A text is no SSH private key.
    #[error("not an SSH private key in OpenSSH format")]
    Ssh,
    /// There is no identity in the text.
    #[error("the file holds no identity")]
    Empty,
    /// A text is no recipient.
    #[error("`{0}` is not an age recipient (age1… or ssh-ed25519 …)")]
    Recipient(String),
    /// The age library did not wrap a data key for a recipient.
    #[error("cannot encrypt to `{0}`")]
    Wrap(Recipient),
}
