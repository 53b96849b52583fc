//! A file and identities to values, all of them authenticated or none given out.

use std::fmt::Write;

use sha2::{Digest, Sha512};
use zeroize::{Zeroize, Zeroizing};

use super::cipher::{self, CipherKind};
use super::metadata::{self, Metadata, Selector};
use super::value::{Leaf, LeafKind, Value};
use super::{BUDGET, DataKey, Identity, Plaintext, SopsError, go, shamir};
use crate::domain::{SecretName, VersionId};
use crate::yaml::{self, Document, Kind, Node};

/// What the MAC starts from where it covers encrypted values only, so that the two kinds never agree.
const MAC_ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b,
    0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// An open file: a mapping a document, without `sops`.
#[derive(Debug)]
pub struct Opened {
    /// In written order; an empty document is an empty mapping.
    pub documents: Vec<Value>,
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
            Some(Value::Leaf(_) | Value::Null) => Err(SopsError::Value { at, reason: "is not encrypted" }),
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
        Value::Null | Value::Leaf(_) | Value::List(_) => None,
    }
}

/// Opens a YAML SOPS file with the first identities that fit, and checks its MAC.
///
/// # Errors
/// Any [`SopsError`]; the first that is found. No value is given out unless all are authentic.
pub fn open(bytes: &[u8], identities: &[Identity]) -> Result<Opened, SopsError> {
    let documents = parse(bytes)?;
    let metadata = metadata_of(&documents)?;
    let key = data_key(&metadata, identities)?;
    let selector = Selector::new(&metadata.selection)?;
    let mut walk =
        Walk { key: &key, selector, only_encrypted: metadata.mac_only_encrypted, hash: Sha512::new() };
    if walk.only_encrypted {
        walk.hash.update(MAC_ONLY_ENCRYPTED);
    }
    let documents = documents.iter().map(|document| walk.document(document)).collect::<Result<_, _>>()?;
    check_mac(&metadata, &key, walk.hash)?;
    Ok(Opened { documents })
}

/// Reads the text as every function of this room does, and refuses keys written twice.
pub(super) fn parse(bytes: &[u8]) -> Result<Vec<Document>, SopsError> {
    let bytes = bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(bytes);
    let starts = |prefix: &[u8]| bytes.split(|byte| *byte == b'\n').any(|line| line.starts_with(prefix));
    if starts(b"sops_mac=") {
        return Err(SopsError::Store("dotenv"));
    }
    if starts(b"[sops]") {
        return Err(SopsError::Store("INI"));
    }
    let documents = yaml::parse(bytes, &BUDGET)?;
    for document in &documents {
        check_keys(&document.root, &mut Vec::new())?;
    }
    Ok(documents)
}

pub(super) fn metadata_of(documents: &[Document]) -> Result<Metadata, SopsError> {
    let node = documents.first().and_then(|document| document.root.get("sops"));
    metadata::read(node.filter(|node| !node.is_null()).ok_or(SopsError::NoMetadata)?)
}

/// Which of two equal keys counts is not for a secret file to leave open.
fn check_keys<'n>(node: &'n Node, path: &mut Vec<&'n str>) -> Result<(), SopsError> {
    match &node.kind {
        Kind::Scalar { .. } => Ok(()),
        Kind::Sequence(items) => items.iter().try_for_each(|item| check_keys(item, path)),
        Kind::Mapping(entries) => {
            let mut seen = std::collections::HashSet::with_capacity(entries.len());
            for (key, value) in entries {
                let name = key.scalar().unwrap_or_default();
                if key.scalar().is_some() && !seen.insert(name) {
                    path.push(name);
                    return Err(SopsError::Shape { at: shown(path), reason: "is written twice" });
                }
                path.push(name);
                check_keys(value, path)?;
                path.pop();
            }
            Ok(())
        }
    }
}

fn data_key(metadata: &Metadata, identities: &[Identity]) -> Result<DataKey, SopsError> {
    let ways = || metadata.groups.iter().flatten();
    let nobody = || {
        let named = ways().filter_map(|way| way.recipient.as_ref());
        SopsError::NoDataKey(named.map(|name| format!("`{}`", name.text)).collect())
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
    let mut computed = String::with_capacity(128);
    for byte in hash.finalize() {
        // INVARIANT: writing to a `String` cannot fail.
        let _ = write!(computed, "{byte:02X}");
    }
    if opened.as_slice() == computed.as_bytes() {
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
    fn document(&mut self, document: &Document) -> Result<Value, SopsError> {
        let shape = |reason| SopsError::Shape { at: "a document".to_owned(), reason };
        match &document.root.kind {
            Kind::Mapping(entries) => {
                let own: Vec<&(Node, Node)> =
                    entries.iter().filter(|(key, _)| key.scalar() != Some("sops")).collect();
                self.mapping(&own, &mut Vec::new())
            }
            Kind::Scalar { .. } if document.root.is_null() => Ok(Value::Map(Vec::new())),
            Kind::Scalar { .. } | Kind::Sequence(_) => Err(shape("of a SOPS file has to be a mapping")),
        }
    }

    fn mapping<'n>(
        &mut self,
        entries: &[&'n (Node, Node)],
        path: &mut Vec<&'n str>,
    ) -> Result<Value, SopsError> {
        let mut found = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let Some(name) = go::key(key) else {
                return Err(SopsError::Shape { at: shown(path), reason: "has a key that is not a text" });
            };
            path.push(name);
            // A comment in place of a value leaves nothing.
            let value = self.value(value, path)?.unwrap_or(Value::Null);
            path.pop();
            found.push((name.to_owned(), value));
        }
        Ok(Value::Map(found))
    }

    /// `None` for a comment.
    fn value<'n>(&mut self, node: &'n Node, path: &mut Vec<&'n str>) -> Result<Option<Value>, SopsError> {
        match &node.kind {
            Kind::Mapping(entries) => {
                let entries: Vec<&(Node, Node)> = entries.iter().collect();
                self.mapping(&entries, path).map(Some)
            }
            Kind::Sequence(items) => {
                let mut found = Vec::with_capacity(items.len());
                for item in items {
                    found.extend(self.value(item, path)?);
                }
                Ok(Some(Value::List(found)))
            }
            Kind::Scalar { text, style, tag } => {
                let read = go::read(text, *style, tag.as_deref()).map_err(|reason| bad(path, reason))?;
                match read {
                    go::Scalar::Null => Ok(Some(Value::Null)),
                    go::Scalar::Leaf(kind, text) => self.leaf(kind, text, path),
                }
            }
        }
    }

    fn leaf(&mut self, kind: LeafKind, text: String, path: &[&str]) -> Result<Option<Value>, SopsError> {
        let has_to_be = self.selector.encrypted(path, &text);
        if has_to_be && !text.is_empty() {
            if kind != LeafKind::Text {
                return Err(bad(path, "is not encrypted"));
            }
            return self.encrypted(&text, path);
        }
        if has_to_be || !self.only_encrypted {
            self.hash.update(text.as_bytes());
        }
        let text = Plaintext::new(text.into_bytes());
        Ok(Some(Value::Leaf(Leaf { kind, text, encrypted: false })))
    }

    fn encrypted(&mut self, text: &str, path: &[&str]) -> Result<Option<Value>, SopsError> {
        let place = path.iter().flat_map(|key| [key, ":"]).collect::<String>();
        let value = cipher::parse(text).map_err(|reason| bad(path, reason))?;
        let opened = value.decrypt(self.key, &place).map_err(|reason| bad(path, reason))?;
        let CipherKind::Leaf(kind) = value.kind() else { return Ok(None) };
        let text = match kind {
            LeafKind::Text | LeafKind::Bytes => Plaintext::new(opened.to_vec()),
            LeafKind::Int | LeafKind::Float | LeafKind::Bool | LeafKind::Time => {
                let text =
                    std::str::from_utf8(&opened).map_err(|_| bad(path, "is not what it claims to be"))?;
                Plaintext::new(go::normalize(kind, text).map_err(|reason| bad(path, reason))?.into_bytes())
            }
        };
        self.hash.update(text.expose());
        Ok(Some(Value::Leaf(Leaf { kind, text, encrypted: true })))
    }
}

fn bad(path: &[&str], reason: &'static str) -> SopsError {
    SopsError::Value { at: shown(path), reason }
}

/// Keys down to a place, short enough for a message.
pub(super) fn shown(path: &[&str]) -> String {
    let full = if path.is_empty() { "the document".to_owned() } else { path.join(".") };
    full.chars().take(200).collect()
}
