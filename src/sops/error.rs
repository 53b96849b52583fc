//! Why a SOPS file does not open. No message carries plaintext; keys of a file are not secret.

use super::Recipient;
use crate::yaml::Problem;

/// Why a file does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SopsError {
    /// The text is no YAML within its budget.
    #[error("not a readable YAML file: {0}")]
    Yaml(#[from] Box<Problem>),
    /// The text is another store's.
    #[error("a SOPS file of the {0} store: only YAML files are read in this version")]
    Store(&'static str),
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

fn recipients(names: &[String]) -> String {
    match names {
        [] => "it names no age recipient".to_owned(),
        names => format!("it is encrypted to {}", names.join(", ")),
    }
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
    /// An SSH key has a passphrase.
    #[error("the SSH key has a passphrase: use an age identity or a key without one")]
    Passphrase,
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
