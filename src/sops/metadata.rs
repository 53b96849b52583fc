//! The `sops` mapping: who can open the file, which values are encrypted, and the MAC.

use regex::{Regex, RegexBuilder};

use super::SopsError;
use crate::domain::Span;
use crate::yaml::Node;

/// Which values of a file are encrypted, as its metadata says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All but those below a key that ends so; `_unencrypted` where the metadata says nothing.
    UnencryptedSuffix(String),
    /// Those below a key that ends so.
    EncryptedSuffix(String),
    /// All but those below a key that matches.
    UnencryptedRegex(String),
    /// Those below a key that matches.
    EncryptedRegex(String),
    /// All but those with a comment that matches.
    UnencryptedCommentRegex(String),
    /// Those with a comment that matches.
    EncryptedCommentRegex(String),
}

/// A text of the metadata and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) text: String,
    pub(super) span: Span,
}

/// One way to the data key.
#[derive(Clone, Debug)]
pub(super) struct Key {
    /// `age`, or the name of a store that is refused.
    pub(super) store: &'static str,
    pub(super) recipient: Option<Field>,
    pub(super) enc: Option<Field>,
    pub(super) span: Span,
}

#[derive(Clone, Debug)]
pub(super) struct Metadata {
    pub(super) span: Span,
    /// Several groups hold a part of the data key each.
    pub(super) groups: Vec<Vec<Key>>,
    pub(super) shamir_threshold: usize,
    pub(super) mac: Option<Field>,
    pub(super) last_modified: Option<Field>,
    pub(super) selection: Selection,
    pub(super) mac_only_encrypted: bool,
    version: Option<Field>,
}

impl Metadata {
    /// What has to be in order before a key is looked for: somebody to open the file, a time, a version.
    pub(super) fn check(&self) -> Result<(), SopsError> {
        let bad = |field: &str, reason| Err(SopsError::Metadata { field: field.to_owned(), reason });
        if self.groups.iter().all(Vec::is_empty) {
            return bad("age", "names nobody: the file has no keys");
        }
        let modified = self.last_modified.as_ref().and_then(|field| super::go::last_modified(&field.text));
        if modified.is_none() {
            return bad("lastmodified", "is missing or no time such as 2026-11-23T14:00:00Z");
        }
        if !self.version.as_ref().is_some_and(|field| is_version(&field.text)) {
            return bad("version", "is missing or no version such as 3.11.0");
        }
        Ok(())
    }
}

/// Versions as sops takes them: three numbers, or anything of its first series.
fn is_version(text: &str) -> bool {
    if text.starts_with("1.") {
        return true;
    }
    let text = text.strip_prefix('v').unwrap_or(text);
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let number = |part: &str, strict: bool| {
        !part.is_empty()
            && part.bytes().all(|byte| byte.is_ascii_digit())
            && (part.len() == 1 || !part.starts_with('0') || !strict)
            && part.parse::<u64>().is_ok()
    };
    let word = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() == 3
        && parts.iter().all(|part| number(part, true))
        && pre.is_none_or(|pre| {
            let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
            pre.split('.').all(|part| word(part) && (!digits(part) || number(part, true)))
        })
        && build.is_none_or(|build| build.split('.').all(word))
}

const STORES: [&str; 7] = ["age", "pgp", "kms", "gcp_kms", "azure_kv", "hc_vault", "hckms"];

/// Reads the mapping under the key `sops`.
pub(super) fn read(node: &Node) -> Result<Metadata, SopsError> {
    let bad = |field: &str, reason| SopsError::Metadata { field: field.to_owned(), reason };
    if node.as_mapping().is_none() {
        return Err(bad("sops", "is no mapping"));
    }
    let mut groups = vec![keys(node)?];
    if groups[0].is_empty() {
        let written = node.get("key_groups").and_then(Node::as_sequence).unwrap_or_default();
        groups = written.iter().map(keys).collect::<Result<_, _>>()?;
    }
    let shamir_threshold = match node.get("shamir_threshold").and_then(Node::scalar) {
        None | Some("") => 0,
        Some(text) => text.parse().map_err(|_| bad("shamir_threshold", "is not a number"))?,
    };
    let mac_only_encrypted = match node.get("mac_only_encrypted").and_then(Node::scalar) {
        None | Some("false" | "False" | "FALSE" | "") => false,
        Some("true" | "True" | "TRUE") => true,
        Some(_) => return Err(bad("mac_only_encrypted", "is not a boolean")),
    };
    Ok(Metadata {
        span: node.span,
        groups,
        shamir_threshold,
        mac: field(node, "mac"),
        last_modified: field(node, "lastmodified"),
        selection: selection(node)?,
        mac_only_encrypted,
        version: field(node, "version"),
    })
}

fn field(node: &Node, name: &str) -> Option<Field> {
    let value = node.get(name)?;
    value.scalar().map(|text| Field { text: text.to_owned(), span: value.span })
}

fn keys(group: &Node) -> Result<Vec<Key>, SopsError> {
    let mut found = Vec::new();
    for store in STORES {
        let Some(list) = group.get(store).filter(|list| !list.is_null()) else { continue };
        let items = list.as_sequence();
        let items = items.ok_or(SopsError::Metadata { field: store.to_owned(), reason: "is not a list" })?;
        for item in items {
            let (recipient, enc) = (field(item, "recipient"), field(item, "enc"));
            found.push(Key { store, recipient, enc, span: item.span });
        }
    }
    Ok(found)
}

fn selection(node: &Node) -> Result<Selection, SopsError> {
    type Make = fn(String) -> Selection;
    let rules: [(&str, Make); 6] = [
        ("unencrypted_suffix", Selection::UnencryptedSuffix),
        ("encrypted_suffix", Selection::EncryptedSuffix),
        ("unencrypted_regex", Selection::UnencryptedRegex),
        ("encrypted_regex", Selection::EncryptedRegex),
        ("unencrypted_comment_regex", Selection::UnencryptedCommentRegex),
        ("encrypted_comment_regex", Selection::EncryptedCommentRegex),
    ];
    let mut found = None;
    for (name, make) in rules {
        let Some(text) = node.get(name).and_then(Node::scalar).filter(|text| !text.is_empty()) else {
            continue;
        };
        if found.is_some() {
            let reason = "stands beside another rule of what is encrypted; only one may";
            return Err(SopsError::Metadata { field: name.to_owned(), reason });
        }
        found = Some(make(text.to_owned()));
    }
    Ok(found.unwrap_or_else(|| Selection::UnencryptedSuffix("_unencrypted".to_owned())))
}

/// A rule of what is encrypted, ready to be asked.
pub(super) enum Selector {
    Suffix {
        suffix: String,
        encrypted: bool,
    },
    Regex {
        regex: Regex,
        encrypted: bool,
    },
    /// Comments decide. While reading, what is written as ciphertext is taken for encrypted: it then has to open,
    /// and the MAC covers what does not claim to be.
    Comment {
        regex: Regex,
        encrypted: bool,
    },
}

impl Selector {
    pub(super) fn new(selection: &Selection) -> Result<Self, SopsError> {
        let compiled = |field: &str, text: &str| {
            // Bounds what a hostile pattern can cost; matching itself is linear.
            let regex = RegexBuilder::new(text).size_limit(1 << 20).build();
            let reason = "is not a regular expression that can be read";
            regex.map_err(|_| SopsError::Metadata { field: field.to_owned(), reason })
        };
        let regex =
            |field: &str, text: &str, encrypted| Ok(Self::Regex { regex: compiled(field, text)?, encrypted });
        match selection {
            Selection::UnencryptedSuffix(suffix) => {
                Ok(Self::Suffix { suffix: suffix.clone(), encrypted: false })
            }
            Selection::EncryptedSuffix(suffix) => {
                Ok(Self::Suffix { suffix: suffix.clone(), encrypted: true })
            }
            Selection::UnencryptedRegex(text) => regex("unencrypted_regex", text, false),
            Selection::EncryptedRegex(text) => regex("encrypted_regex", text, true),
            Selection::UnencryptedCommentRegex(text) => {
                let regex = compiled("unencrypted_comment_regex", text)?;
                Ok(Self::Comment { regex, encrypted: false })
            }
            Selection::EncryptedCommentRegex(text) => {
                let regex = compiled("encrypted_comment_regex", text)?;
                Ok(Self::Comment { regex, encrypted: true })
            }
        }
    }

    /// Whether the value under these keys has to be encrypted.
    pub(super) fn encrypted(&self, path: &[&str], text: &str) -> bool {
        match self {
            Self::Suffix { suffix, encrypted } => {
                path.iter().any(|key| key.ends_with(suffix.as_str())) == *encrypted
            }
            Self::Regex { regex, encrypted } => path.iter().any(|key| regex.is_match(key)) == *encrypted,
            Self::Comment { .. } => text.is_empty() || super::cipher::looks_encrypted(text),
        }
    }

    /// Whether a new value has to be encrypted, or, if `is_comment`, the comment that stands last in `stack`.
    /// `stack` holds the comments above: those since the last value of each mapping and list.
    pub(super) fn wants(&self, path: &[&str], stack: &[Vec<&str>], is_comment: bool) -> bool {
        let Self::Comment { regex, encrypted } = self else { return self.encrypted(path, "") };
        let last = stack.len().saturating_sub(1);
        let matches = stack.iter().enumerate().any(|(level, comments)| {
            // A comment that asks for encryption does not ask it for itself.
            let own = usize::from(*encrypted && is_comment && level == last);
            let count = comments.len().saturating_sub(own);
            comments.iter().take(count).any(|comment| regex.is_match(comment))
        });
        matches == *encrypted
    }
}
