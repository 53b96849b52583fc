//! Changes to an open file: a changed value is encrypted anew in its place, everything else stays byte for byte.
//!
//! Where the keys, the order and the comments are what they were, the text is spliced: changed scalars, then `mac`
//! and `lastmodified`. Where they are not, the file is written again in sops's layout, and values and comments that
//! did not change keep their ciphertexts. Either way the result is opened again before it is given out.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;

use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::metadata::{Field, Metadata, Selector};
use super::open::{self, place};
use super::tree::{Entry, Raw, Tree};
use super::value::{Leaf, LeafKind, Value};
use super::{DataKey, Format, Identity, Opened, Plaintext, SopsError, WrappedKey, cipher, go, print, store};
use crate::domain::{Span, Timestamp};
use crate::yaml::{Kind, Node, Style};

/// Fresh random bytes, one nonce a call.
pub type Nonces<'n> = &'n mut dyn FnMut() -> Result<[u8; 32], SopsError>;

/// A file that is open for changes.
pub struct Editable {
    text: String,
    tree: Tree,
    metadata: Metadata,
    key: DataKey,
    opened: Opened,
}

impl std::fmt::Debug for Editable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Editable({:?})", self.opened)
    }
}

impl Editable {
    /// Opens a file as [`super::open_as`] does.
    ///
    /// # Errors
    /// Any [`SopsError`].
    pub fn open(bytes: &[u8], format: Format, identities: &[Identity]) -> Result<Self, SopsError> {
        let tree = Tree::read(bytes, format)?;
        let metadata = open::metadata_of(&tree)?;
        metadata.check()?;
        let key = open::data_key(&metadata, identities)?;
        let documents = open::open_tree(&tree, &metadata, &key)?;
        // INVARIANT: every reader refuses what is no UTF-8.
        let text = String::from_utf8_lossy(bytes.strip_prefix("\u{FEFF}".as_bytes()).unwrap_or(bytes)).into();
        Ok(Self { text, tree, metadata, key, opened: Opened { documents, format } })
    }

    /// Its values.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.opened
    }

    /// How many key groups it has: more than one cannot be given a new data key here.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.metadata.groups.len()
    }

    /// The file with the values of `plaintext`, which has the file's own format; `None` if nothing is different.
    ///
    /// # Errors
    /// The plaintext cannot be read or written; the message does not quote it.
    pub fn edited(
        &self,
        plaintext: &[u8],
        now: Timestamp,
        nonces: Nonces<'_>,
    ) -> Result<Option<String>, SopsError> {
        let format = self.opened.format;
        let wanted = plain(plaintext, format)?;
        if equal_all(&self.opened.documents, &wanted) {
            return Ok(None);
        }
        let mut sealer = Sealer::new(&self.key, &self.metadata, nonces)?;
        sealer.keep(&self.tree.branches, &self.opened.documents);
        let sealed = sealer.documents(&wanted)?;
        let modified = to_second(now);
        let mac = sealer.mac(&modified)?;
        let spliced = self.splice(&sealed, &mac, &modified).filter(|text| self.holds(text, &wanted));
        let text = match spliced {
            Some(text) => text,
            None => self.emit(sealed, &mac, &modified, None)?,
        };
        if self.holds(&text, &wanted) {
            Ok(Some(text))
        } else {
            Err(SopsError::Unwritable("the changed file would not hold these values: nothing was changed"))
        }
    }

    /// The file under a new data key, which each of `wrapped` holds, with every value and comment encrypted anew.
    ///
    /// # Errors
    /// The file has several key groups; or it cannot be written.
    pub fn resealed(
        &self,
        key: DataKey,
        wrapped: &[WrappedKey],
        now: Timestamp,
        nonces: Nonces<'_>,
    ) -> Result<String, SopsError> {
        if self.groups() > 1 {
            return Err(SopsError::Unwritable("the file splits its key among groups: use `sops updatekeys`"));
        }
        let mut sealer = Sealer::new(&key, &self.metadata, nonces)?;
        let sealed = sealer.documents(&self.opened.documents)?;
        let modified = to_second(now);
        let mac = sealer.mac(&modified)?;
        let text = self.emit(sealed, &mac, &modified, Some(wrapped))?;
        let again = Tree::read(text.as_bytes(), self.opened.format)?;
        let documents = open::open_tree(&again, &open::metadata_of(&again)?, &key)?;
        if equal_all(&documents, &self.opened.documents) {
            Ok(text)
        } else {
            Err(SopsError::Unwritable("the file cannot be written again with the same values"))
        }
    }

    /// Whether a text opens under the file's key to these values.
    fn holds(&self, text: &str, wanted: &[Value]) -> bool {
        let opened = Tree::read(text.as_bytes(), self.opened.format).and_then(|tree| {
            let metadata = open::metadata_of(&tree)?;
            open::open_tree(&tree, &metadata, &self.key)
        });
        opened.is_ok_and(|documents| equal_all(&documents, wanted))
    }

    /// `None` where the shape has changed, or a scalar cannot be replaced where it stands.
    fn splice(&self, sealed: &[Value], mac: &str, modified: &str) -> Option<String> {
        let mut edits = Vec::new();
        if sealed.len() != self.tree.branches.len() {
            return None;
        }
        for (branch, document) in self.tree.branches.iter().zip(sealed) {
            self.splice_map(branch, document, &mut edits)?;
        }
        for node in &self.tree.metadata_nodes {
            let field = |name: &str| {
                let node = node.get(name)?;
                Some(Field { text: node.scalar()?.to_owned(), span: node.span })
            };
            edits.push(self.replace(field("mac")?.span, mac)?);
            edits.push(self.replace(field("lastmodified")?.span, modified)?);
        }
        edits.sort_by_key(|(range, _)| range.start);
        let apart = edits.windows(2).all(|pair| pair[0].0.end <= pair[1].0.start);
        if !apart {
            return None;
        }
        let mut out = String::with_capacity(self.text.len() + 1024);
        let mut at = 0;
        for (range, text) in edits {
            out.push_str(&self.text[at..range.start]);
            out.push_str(&text);
            at = range.end;
        }
        out.push_str(&self.text[at..]);
        Some(out)
    }

    fn splice_map(&self, old: &[Entry], new: &Value, edits: &mut Vec<(Range<usize>, String)>) -> Option<()> {
        let Value::Map(entries) = new else { return None };
        if entries.len() != old.len() {
            return None;
        }
        for (entry, (key, value)) in old.iter().zip(entries) {
            if entry.key != *key {
                return None;
            }
            self.splice_value(&entry.value, value, edits)?;
        }
        Some(())
    }

    fn splice_value(&self, old: &Raw, new: &Value, edits: &mut Vec<(Range<usize>, String)>) -> Option<()> {
        match (old, new) {
            (Raw::Null, Value::Null) => Some(()),
            (Raw::Comment(old), Value::Comment(new)) => (old.text == *new).then_some(()),
            (Raw::Map(old), new @ Value::Map(_)) => self.splice_map(old, new, edits),
            (Raw::List(old), Value::List(new)) if old.len() == new.len() => {
                old.iter().zip(new).try_for_each(|(old, new)| self.splice_value(old, new, edits))
            }
            (Raw::Leaf(old), Value::Comment(new)) => (old.text == *new).then_some(()),
            (Raw::Leaf(old), Value::Leaf(new)) => {
                if old.kind == new.kind && old.text.as_bytes() == new.text.expose() {
                    return Some(());
                }
                let text = std::str::from_utf8(new.text.expose()).ok()?;
                if new.kind != LeafKind::Text {
                    return None;
                }
                edits.push(self.replace(old.span, text)?);
                Some(())
            }
            _ => None,
        }
    }

    /// A text in place of a scalar, quoted as that was. A text that plain spelling could misread gets quotes.
    fn replace(&self, span: Span, text: &str) -> Option<(Range<usize>, String)> {
        let range = span.start.offset..span.end.offset;
        let old = self.text.get(range.clone())?;
        match self.opened.format {
            Format::Json | Format::Binary => {
                let mut quoted = String::new();
                print::quoted(text, &mut quoted);
                Some((range, quoted))
            }
            Format::Dotenv => Some((range, text.replace('\n', "\\n"))),
            Format::Ini => {
                let bare = old.trim_start();
                let plain = |text: &str| {
                    !text.is_empty()
                        && text.trim() == text
                        && !text.contains(['\n', '`', '"', '\'', '#', ';', '\\'])
                };
                let start = range.end - bare.len();
                (plain(bare) && plain(text)).then(|| (start..range.end, text.to_owned()))
            }
            Format::Yaml => {
                let ciphertext = text.starts_with("ENC[") && !text.contains(['\n', '\'', '"', '\\', '#']);
                let new = match old.chars().next() {
                    Some('\'') if !text.contains(['\n', '\'']) => format!("'{text}'"),
                    Some('E') if ciphertext && old.starts_with("ENC[") => text.to_owned(),
                    // Aliases, anchors and tags are somebody's; block scalars are more than one line.
                    Some('*' | '&' | '!' | '|' | '>') => return None,
                    Some(_) => {
                        let mut quoted = String::new();
                        store::yaml_text::double(text, &mut quoted);
                        quoted
                    }
                    None => return None,
                };
                Some((range, new))
            }
        }
    }

    /// The whole file in sops's layout.
    fn emit(
        &self,
        mut sealed: Vec<Value>,
        mac: &str,
        modified: &str,
        wrapped: Option<&[WrappedKey]>,
    ) -> Result<String, SopsError> {
        let node = self.tree.metadata.as_ref().ok_or(SopsError::NoMetadata)?;
        let metadata = with_fields(node, mac, modified, wrapped);
        let format = self.opened.format;
        match format {
            Format::Yaml | Format::Json | Format::Binary => {
                // sops repeats the metadata in every document.
                for document in &mut sealed {
                    if let Value::Map(entries) = document {
                        entries.push(("sops".to_owned(), value_of(&metadata)));
                    }
                }
            }
            Format::Dotenv | Format::Ini => {
                let flat = store::flat::flatten(&metadata);
                let prefix = if format == Format::Dotenv { "sops_" } else { "" };
                let fields =
                    flat.into_iter().map(|(key, text)| (format!("{prefix}{key}"), Value::text(text)));
                if let Some(Value::Map(entries)) = sealed.first_mut() {
                    if format == Format::Dotenv {
                        entries.extend(fields);
                    } else {
                        entries.push(("sops".to_owned(), Value::Map(fields.collect())));
                    }
                }
            }
        }
        let format = if format == Format::Binary { Format::Json } else { format };
        let text = print(&sealed, format)?;
        // Nothing in it is a secret any more.
        Ok(String::from_utf8_lossy(&text).into_owned())
    }
}

fn to_second(now: Timestamp) -> String {
    Timestamp::from_millis(now.as_millis() - now.as_millis().rem_euclid(1000)).to_string()
}

/// Reads a plain file into values, as sops reads one that it is to encrypt.
///
/// # Errors
/// It is malformed, or has a key `sops`; no message quotes a value.
pub fn plain(bytes: &[u8], format: Format) -> Result<Vec<Value>, SopsError> {
    if format == Format::Binary {
        return Ok(vec![Value::Map(vec![("data".to_owned(), Value::text(bytes))])]);
    }
    let tree = Tree::read(bytes, format)?;
    if tree.metadata.is_some() {
        return Err(SopsError::Unwritable("`sops` is the key of the metadata: a value cannot have it"));
    }
    let mut path = Vec::new();
    tree.branches.iter().map(|branch| plain_map(branch, &mut path)).collect()
}

fn plain_map<'t>(entries: &'t [Entry], path: &mut Vec<&'t str>) -> Result<Value, SopsError> {
    let mut found = Vec::with_capacity(entries.len());
    for entry in entries {
        path.push(&entry.key);
        found.push((entry.key.clone(), plain_value(&entry.value, path)?));
        path.pop();
    }
    Ok(Value::Map(found))
}

fn plain_value<'t>(raw: &'t Raw, path: &mut Vec<&'t str>) -> Result<Value, SopsError> {
    Ok(match raw {
        Raw::Null => Value::Null,
        Raw::Comment(comment) => Value::Comment(comment.text.clone()),
        Raw::Leaf(leaf) => Value::Leaf(Leaf {
            kind: leaf.kind,
            text: Plaintext::new(leaf.text.as_bytes().to_vec()),
            encrypted: false,
        }),
        Raw::List(items) => {
            Value::List(items.iter().map(|item| plain_value(item, path)).collect::<Result<_, _>>()?)
        }
        Raw::Map(entries) => plain_map(entries, path)?,
        Raw::Bad(_, reason) => return Err(SopsError::Value { at: open::shown(path), reason }),
    })
}

fn equal_all(a: &[Value], b: &[Value]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b))
}

fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Comment(a), Value::Comment(b)) => a == b,
        (Value::Leaf(a), Value::Leaf(b)) => a.kind == b.kind && a.text.expose() == b.text.expose(),
        (Value::List(a), Value::List(b)) => equal_all(a, b),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && equal(a, b))
        }
        _ => false,
    }
}

/// Encrypts a tree; what it has seen before keeps its ciphertext.
struct Sealer<'k, 'n> {
    key: &'k DataKey,
    metadata: &'k Metadata,
    selector: Selector,
    known: HashMap<[u8; 64], VecDeque<String>>,
    hash: Sha512,
    nonces: Nonces<'n>,
}

impl<'k, 'n> Sealer<'k, 'n> {
    fn new(key: &'k DataKey, metadata: &'k Metadata, nonces: Nonces<'n>) -> Result<Self, SopsError> {
        let selector = Selector::new(&metadata.selection)?;
        let hash = open::fresh_hash(metadata.mac_only_encrypted);
        Ok(Self { key, metadata, selector, known: HashMap::new(), hash, nonces })
    }

    /// Remembers the ciphertexts of a file by what they hold and where they stand.
    fn keep(&mut self, branches: &[Vec<Entry>], documents: &[Value]) {
        for (branch, document) in branches.iter().zip(documents) {
            self.keep_map(branch, document, &mut Vec::new());
        }
    }

    fn keep_map<'v>(&mut self, old: &'v [Entry], new: &'v Value, path: &mut Vec<&'v str>) {
        let Value::Map(entries) = new else { return };
        for (entry, (_, value)) in old.iter().zip(entries) {
            if value.is_comment() {
                self.keep_value(&entry.value, value, path);
                continue;
            }
            path.push(&entry.key);
            self.keep_value(&entry.value, value, path);
            path.pop();
        }
    }

    fn keep_value<'v>(&mut self, old: &'v Raw, new: &'v Value, path: &mut Vec<&'v str>) {
        match (old, new) {
            (Raw::Map(old), new) => self.keep_map(old, new, path),
            (Raw::List(old), Value::List(new)) => {
                old.iter().zip(new).for_each(|(old, new)| self.keep_value(old, new, path));
            }
            (Raw::Leaf(old), Value::Leaf(new)) if new.encrypted => {
                let name = name(path, word(new.kind), new.text.expose());
                self.known.entry(name).or_default().push_back(old.text.to_string());
            }
            (Raw::Leaf(old), Value::Comment(new)) => {
                let name = name(path, "comment", new.as_bytes());
                self.known.entry(name).or_default().push_back(old.text.to_string());
            }
            (Raw::Comment(old), Value::Comment(new)) if old.text != *new => {
                let name = name(path, "comment", new.as_bytes());
                self.known.entry(name).or_default().push_back(old.text.to_string());
            }
            _ => {}
        }
    }

    fn documents(&mut self, documents: &[Value]) -> Result<Vec<Value>, SopsError> {
        documents.iter().map(|document| self.value(document, &mut Vec::new(), &mut Vec::new())).collect()
    }

    /// `stack` holds, for each mapping and list above, the comments since its last value: sops asks them all.
    fn value<'v>(
        &mut self,
        value: &'v Value,
        path: &mut Vec<&'v str>,
        stack: &mut Vec<Vec<&'v str>>,
    ) -> Result<Value, SopsError> {
        match value {
            Value::Null => Ok(Value::Null),
            Value::Comment(text) => self.comment(text, path, stack),
            Value::Leaf(leaf) => self.leaf(leaf, path, stack),
            Value::List(items) => {
                stack.push(Vec::new());
                let mut sealed = Vec::with_capacity(items.len());
                for item in items {
                    remember(item, stack);
                    sealed.push(self.value(item, path, stack)?);
                    forget(item, stack);
                }
                stack.pop();
                Ok(Value::List(sealed))
            }
            Value::Map(entries) => {
                stack.push(Vec::new());
                let mut sealed = Vec::with_capacity(entries.len());
                for (key, value) in entries {
                    remember(value, stack);
                    if value.is_comment() {
                        sealed.push((String::new(), self.value(value, path, stack)?));
                        continue;
                    }
                    path.push(key);
                    sealed.push((key.clone(), self.value(value, path, stack)?));
                    path.pop();
                    forget(value, stack);
                }
                stack.pop();
                Ok(Value::Map(sealed))
            }
        }
    }

    fn leaf(&mut self, leaf: &Leaf, path: &[&str], stack: &[Vec<&str>]) -> Result<Value, SopsError> {
        let bytes = leaf.text.expose();
        let encrypted = self.selector.wants(path, stack, false);
        if encrypted || !self.metadata.mac_only_encrypted {
            self.hash.update(bytes);
        }
        if !encrypted || bytes.is_empty() {
            let text = Plaintext::new(bytes.to_vec());
            return Ok(Value::Leaf(Leaf { kind: leaf.kind, text, encrypted: false }));
        }
        self.encrypt(bytes, word(leaf.kind), path).map(Value::text)
    }

    fn comment(&mut self, text: &str, path: &[&str], stack: &[Vec<&str>]) -> Result<Value, SopsError> {
        if text.is_empty() || !self.selector.wants(path, stack, true) {
            return Ok(Value::Comment(Zeroizing::new(text.to_owned())));
        }
        Ok(Value::Comment(Zeroizing::new(self.encrypt(text.as_bytes(), "comment", path)?)))
    }

    fn encrypt(&mut self, bytes: &[u8], kind: &str, path: &[&str]) -> Result<String, SopsError> {
        if let Some(known) = self.known.get_mut(&name(path, kind, bytes)).and_then(VecDeque::pop_front) {
            return Ok(known);
        }
        let nonce = (self.nonces)()?;
        cipher::encrypt(bytes, kind, self.key, &place(path), nonce).map_err(SopsError::Unwritable)
    }

    /// Only once all documents were sealed.
    fn mac(self, modified: &str) -> Result<String, SopsError> {
        let nonce = (self.nonces)()?;
        let text = open::hex_of(self.hash);
        cipher::encrypt(text.as_bytes(), "str", self.key, modified, nonce).map_err(SopsError::Unwritable)
    }
}

fn remember<'v>(value: &'v Value, stack: &mut [Vec<&'v str>]) {
    if let (Value::Comment(text), Some(last)) = (value, stack.last_mut()) {
        last.push(text);
    }
}

fn forget(value: &Value, stack: &mut [Vec<&str>]) {
    if let (false, Some(last)) = (value.is_comment(), stack.last_mut()) {
        last.clear();
    }
}

fn word(kind: LeafKind) -> &'static str {
    match kind {
        LeafKind::Text => "str",
        LeafKind::Int => "int",
        LeafKind::Float => "float",
        LeafKind::Bool => "bool",
        LeafKind::Time => "time",
        LeafKind::Bytes => "bytes",
    }
}

/// A value by what it is: a digest, so that no copy of it lies about.
fn name(path: &[&str], kind: &str, bytes: &[u8]) -> [u8; 64] {
    let mut hash = Sha512::new();
    for part in [place(path).as_bytes(), kind.as_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.update(bytes);
    hash.finalize().into()
}

/// Metadata with another MAC and time, and other recipients where they are given.
fn with_fields(node: &Node, mac: &str, modified: &str, wrapped: Option<&[WrappedKey]>) -> Node {
    let span = node.span;
    let text = |text: &str| Node {
        span,
        kind: Kind::Scalar { text: text.to_owned(), style: Style::Double, tag: None },
    };
    let key = |recipient: &WrappedKey| {
        let armored = format!("{}\n", recipient.armored.trim_end());
        let entries =
            vec![(text("recipient"), text(recipient.recipient.as_str())), (text("enc"), text(&armored))];
        Node { span, kind: Kind::Mapping(entries) }
    };
    let mut entries: Vec<(Node, Node)> = node.as_mapping().unwrap_or_default().to_vec();
    for (name, value) in &mut entries {
        match (name.scalar(), wrapped) {
            (Some("mac"), _) => *value = text(mac),
            (Some("lastmodified"), _) => *value = text(modified),
            (Some("age"), Some(wrapped)) => {
                value.kind = Kind::Sequence(wrapped.iter().map(key).collect());
            }
            _ => {}
        }
    }
    if wrapped.is_some() {
        // What else could open the file does not know the new key.
        let known = ["age", "mac", "lastmodified", "version", "mac_only_encrypted"];
        entries.retain(|(name, _)| {
            name.scalar().is_some_and(|name| {
                known.contains(&name) || name.ends_with("_suffix") || name.ends_with("_regex")
            })
        });
    }
    Node { span, kind: Kind::Mapping(entries) }
}

fn value_of(node: &Node) -> Value {
    match &node.kind {
        Kind::Sequence(items) => Value::List(items.iter().map(value_of).collect()),
        Kind::Mapping(entries) => Value::Map(
            entries
                .iter()
                .map(|(key, value)| (key.scalar().unwrap_or_default().to_owned(), value_of(value)))
                .collect(),
        ),
        Kind::Scalar { text, style, tag } => match go::read(text, *style, tag.as_deref()) {
            Ok(go::Scalar::Null) => Value::Null,
            Ok(go::Scalar::Leaf(kind, text)) => {
                Value::Leaf(Leaf { kind, text: Plaintext::new(text.into_bytes()), encrypted: false })
            }
            Err(_) => Value::text(text.as_str()),
        },
    }
}
