//! SOPS text to tree and back: recipients, stanzas, data keys, MAC. Randomness is an argument.
//!
//! Reads what `sops` writes (YAML, JSON, dotenv, INI and binary files, age recipients of the kinds X25519 and
//! ssh-ed25519, key groups with Shamir's scheme), writes files that `sops` reads, and changes values of a file in
//! place. Every value is authenticated before any is given out. [`inspect`] says without a key what a file
//! promises: sops binds no file to its place and authenticates no recipient, so the K rules judge that.
//!
//! Deliberately absent: files, environment and terminal (secrets, cli); wrapping a data key for a recipient,
//! which needs randomness of the age library (secrets); kms, pgp, plugins and ssh-rsa, which are refused for good.
//!
//! Stricter than sops on purpose: a key written twice is refused in every kind of file, at every level, and not
//! only in the first YAML document. Only the sections of an INI file may repeat.

mod age_file;
mod cipher;
mod creation;
mod edit;
mod error;
mod go;
mod identity;
mod inspect;
mod metadata;
mod open;
mod plaintext;
mod print;
mod seal;
mod shamir;
mod store;
mod tree;
mod value;

pub use age_file::Stanza;
pub use cipher::DataKey;
pub use creation::creation_rules;
pub use edit::{Editable, Nonces, plain};
pub use error::{IdentityError, SopsError};
pub use identity::{Identity, Locked, Recipient, parse_identities};
pub use inspect::{Inspection, KeyEntry, LeafPlace, LeafState, inspect};
pub use metadata::Selection;
pub use open::{Opened, open, open_as};
pub use plaintext::Plaintext;
pub use print::{json, print, yaml};
pub use seal::{WrappedKey, seal};
pub use store::Format;
pub use value::{Leaf, LeafKind, Value};

#[cfg(test)]
mod tests;

use crate::yaml::Budget;

/// What a SOPS file may cost: larger than other files, since a value may be a key store.
pub const BUDGET: Budget = Budget { bytes_max: 4 << 20, nodes_max: 100_000, depth_max: 64, aliases_max: 100 };
