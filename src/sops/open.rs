//! A file and identities to values, all of them authenticated or none given out.

use std::fmt::Write;

use sha2::{Digest, Sha512};
use zeroize::{Zeroize, Zeroizing};

use super::cipher::{self, CipherKind};
use super::metadata::{self, Metadata, Selector};
use super::tree::{Entry, Raw, RawComment, RawLeaf, Tree};
use super::value::{Leaf, LeafKind, Value};
use super::{DataKey, Format, Identity, Plaintext, SopsError, go, shamir};
use crate::domain::{SecretName, VersionId};

/// What the MAC starts from where it covers encrypted values only, so that the two kinds never agree.
const MAC_ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b,
    0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// An open file: a mapping a document, without `sops`.
#[derive(Debug)]
pub struct Opened {
    /// In written order; an empty document is an empty mapping. Only YAML files have several.
    pub documents: Vec<Value>,
    /// What kind of file it is.
    pub format: Format,
}

impl Opened {
    /// The value of one version of a secret, which stands at `NAME: {VERSION: …}` of the first document.
    ///
    /// # Errors
    /// `NotFound` if there is none; `Value` if it did not stand encrypted, since plaintext and its name are
    /// nobody's word.
    pub fn into_secret(self, name: &SecretName, version: &VersionId) -> Result<Plaintext, SopsError> {
        let at = format!("{name}.{version}");
        let document = self.documents.into_iter().next();
        let found = document
            .and_then(|document| take(document, name.as_str()))
            .and_then(|versions| take(versions, version.as_str()));
        match found {
            Some(Value::Leaf(leaf)) if leaf.encrypted => Ok(leaf.text),
            Some(Value::Leaf(_) | Value::Null | Value::Comment(_)) => {
                Err(SopsError::Value { at, reason: "is not encrypted" })
            }
            Some(Value::List(_) | Value::Map(_)) => {
                Err(SopsError::Value { at, reason: "is not a single value" })
            }
            None => Err(SopsError::NotFound(at)),
        }
    }
}

fn take(value: Value, key: &str) -> Option<Value> {
    match value {
        Value::Map(entries) => entries.into_iter().find(|(name, _)| name == key).map(|(_, value)| value),
        Value::Null | Value::Leaf(_) | Value::List(_) | Value::Comment(_) => None,
    }
}

/// Opens a SOPS file with the first identities that fit, and checks its MAC. Its kind is told by its text.
///
/// # Errors
/// Any [`SopsError`]; the first that is found. No value is given out unless all are authentic.
pub fn open(bytes: &[u8], identities: &[Identity]) -> Result<Opened, SopsError> {
    open_as(bytes, Format::of_text(bytes), identities)
}

/// Opens a SOPS file of a given kind.
///
/// # Errors
/// As [`open`].
pub fn open_as(bytes: &[u8], format: Format, identities: &[Identity]) -> Result<Opened, SopsError> {
    let tree = Tree::read(bytes, format)?;
    let metadata = metadata_of(&tree)?;
    metadata.check()?;
    let key = data_key(&metadata, identities)?;
    Ok(Opened { documents: open_tree(&tree, &metadata, &key)?, format })
}

/// Decrypts all values and compares the MAC.
pub(super) fn open_tree(tree: &Tree, metadata: &Metadata, key: &DataKey) -> Result<Vec<Value>, SopsError> {
    let selector = Selector::new(&metadata.selection)?;
    let only_encrypted = metadata.mac_only_encrypted;
    let mut walk = Walk { key, selector, only_encrypted, hash: fresh_hash(only_encrypted) };
    let documents = tree.branches.iter().map(|branch| walk.mapping(branch, &mut Vec::new()));
    let documents = documents.collect::<Result<_, _>>()?;
    check_mac(metadata, key, walk.hash)?;
    Ok(documents)
}

pub(super) fn metadata_of(tree: &Tree) -> Result<Metadata, SopsError> {
    metadata::read(tree.metadata.as_ref().ok_or(SopsError::NoMetadata)?)
}

/// What the MAC of a file starts from.
pub(super) fn fresh_hash(only_encrypted: bool) -> Sha512 {
    let mut hash = Sha512::new();
    if only_encrypted {
        hash.update(MAC_ONLY_ENCRYPTED);
    }
    hash
}

pub(super) fn hex_of(hash: Sha512) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(128));
    for byte in hash.finalize() {
        // INVARIANT: writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02X}");
    }
    text
}

pub(super) fn data_key(metadata: &Metadata, identities: &[Identity]) -> Result<DataKey, SopsError> {
    let ways = || metadata.groups.iter().flatten();
    let nobody = || {
        let named = ways().filter_map(|way| way.recipient.as_ref());
        SopsError::NoDataKey(named.map(|name| name.text.clone()).collect())
    };
    let part = |group: &Vec<metadata::Key>| {
        let blobs = group.iter().filter(|way| way.store == "age").filter_map(|way| way.enc.as_ref());
        blobs
            .flat_map(|enc| identities.iter().map(move |identity| identity.unwrap(&enc.text)))
            .flatten()
            .next()
    };
    let parts: Vec<Zeroizing<Vec<u8>>> = metadata.groups.iter().filter_map(part).collect();
    let secret = if metadata.groups.len() > 1 {
        if parts.len() < metadata.shamir_threshold {
            return Err(nobody());
        }
        shamir::combine(&parts).ok_or_else(nobody)?
    } else {
        parts.into_iter().next().ok_or_else(nobody)?
    };
    let mut bytes = [0; 32];
    if secret.len() != bytes.len() {
        return Err(SopsError::Metadata {
            field: "enc".to_owned(),
            reason: "does not hold a key of 32 bytes",
        });
    }
    bytes.copy_from_slice(&secret);
    let key = DataKey::new(bytes);
    bytes.zeroize();
    Ok(key)
}

fn check_mac(metadata: &Metadata, key: &DataKey, hash: Sha512) -> Result<(), SopsError> {
    let modified = metadata.last_modified.as_ref().and_then(|field| go::last_modified(&field.text));
    let reason = "is missing or no time such as 2026-11-23T14:00:00Z";
    let modified = modified.ok_or(SopsError::Metadata { field: "lastmodified".to_owned(), reason })?;
    let written =
        metadata.mac.as_ref().filter(|field| !field.text.is_empty()).ok_or(SopsError::Mac("is missing"))?;
    let opened = cipher::parse(&written.text).and_then(|mac| mac.decrypt(key, &modified));
    let opened = opened.map_err(SopsError::Mac)?;
    if opened.as_slice() == hex_of(hash).as_bytes() {
        Ok(())
    } else {
        Err(SopsError::Mac("does not fit the values"))
    }
}

struct Walk<'k> {
    key: &'k DataKey,
    selector: Selector,
    only_encrypted: bool,
    hash: Sha512,
}

impl Walk<'_> {
    fn mapping<'t>(&mut self, entries: &'t [Entry], path: &mut Vec<&'t str>) -> Result<Value, SopsError> {
        let mut found = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Raw::Comment(comment) = &entry.value {
                found.push((String::new(), self.comment(comment, path)));
                continue;
            }
            path.push(&entry.key);
            // A comment in place of a value leaves nothing.
            let value = match self.value(&entry.value, path)? {
                Value::Comment(_) => Value::Null,
                value => value,
            };
            path.pop();
            found.push((entry.key.clone(), value));
        }
        Ok(Value::Map(found))
    }

    fn value<'t>(&mut self, value: &'t Raw, path: &mut Vec<&'t str>) -> Result<Value, SopsError> {
        match value {
            Raw::Null => Ok(Value::Null),
            Raw::Bad(_, reason) => Err(bad(path, reason)),
            Raw::Comment(comment) => Ok(self.comment(comment, path)),
            Raw::Map(entries) => self.mapping(entries, path),
            Raw::List(items) => {
                items.iter().map(|item| self.value(item, path)).collect::<Result<_, _>>().map(Value::List)
            }
            Raw::Leaf(leaf) => self.leaf(leaf, path),
        }
    }

    /// One that does not open was never encrypted: sops wrote them so once.
    fn comment(&self, comment: &RawComment, path: &[&str]) -> Value {
        let opened = self.selector.encrypted(path, &comment.text).then(|| {
            let value = cipher::parse(&comment.text).ok()?;
            let opened = value.decrypt(self.key, &place(path)).ok()?;
            std::str::from_utf8(&opened).ok().map(|text| Zeroizing::new(text.to_owned()))
        });
        Value::Comment(opened.flatten().unwrap_or_else(|| comment.text.clone()))
    }

    fn leaf(&mut self, leaf: &RawLeaf, path: &[&str]) -> Result<Value, SopsError> {
        let has_to_be = self.selector.encrypted(path, &leaf.text);
        if has_to_be && !leaf.text.is_empty() {
            if leaf.kind != LeafKind::Text {
                return Err(bad(path, "is not encrypted"));
            }
            return self.encrypted(&leaf.text, path);
        }
        if has_to_be || !self.only_encrypted {
            self.hash.update(leaf.text.as_bytes());
        }
        let text = Plaintext::new(leaf.text.as_bytes().to_vec());
        Ok(Value::Leaf(Leaf { kind: leaf.kind, text, encrypted: false }))
    }

    fn encrypted(&mut self, text: &str, path: &[&str]) -> Result<Value, SopsError> {
        let value = cipher::parse(text).map_err(|reason| bad(path, reason))?;
        let opened = value.decrypt(self.key, &place(path)).map_err(|reason| bad(path, reason))?;
        let CipherKind::Leaf(kind) = value.kind() else {
            let text = std::str::from_utf8(&opened).unwrap_or_default();
            return Ok(Value::Comment(Zeroizing::new(text.to_owned())));
        };
        let text = match kind {
            LeafKind::Text | LeafKind::Bytes => Plaintext::new(opened.to_vec()),
            LeafKind::Int | LeafKind::Float | LeafKind::Bool | LeafKind::Time => {
                let text =
                    std::str::from_utf8(&opened).map_err(|_| bad(path, "is not what it claims to be"))?;
                Plaintext::new(go::normalize(kind, text).map_err(|reason| bad(path, reason))?.into_bytes())
            }
        };
        self.hash.update(text.expose());
        Ok(Value::Leaf(Leaf { kind, text, encrypted: true }))
    }
}

/// The additional data of a value: the keys above it, list items unnumbered.
pub(super) fn place(path: &[&str]) -> String {
    // sops joins the keys, and ends with one sign also where there is none.
    format!("{}:", path.join(":"))
}

fn bad(path: &[&str], reason: &'static str) -> SopsError {
    SopsError::Value { at: shown(path), reason }
}

/// Keys down to a place, short enough for a message.
pub(super) fn shown(path: &[&str]) -> String {
    let full = if path.is_empty() { "the document".to_owned() } else { path.join(".") };
    full.chars().take(200).collect()
}
