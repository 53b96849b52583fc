//! What a file promises, told without any key: the K rules judge it.

use super::metadata::{Field, Selector};
use super::open::metadata_of;
use super::tree::{Entry, Raw, Tree};
use super::{Format, Selection, SopsError, Stanza, age_file, cipher, go};
use crate::domain::{Span, Spanned};

/// The public side of a file.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// The `sops` mapping.
    pub metadata: Span,
    /// Every way to the data key, in written order.
    pub keys: Vec<KeyEntry>,
    /// Key groups: more than one means that no single recipient opens the file.
    pub groups: usize,
    /// Groups that have to open, as written; 0 where nothing is written.
    pub shamir_threshold: usize,
    /// The MAC, if it is written as an encrypted value is.
    pub mac: Option<Span>,
    /// `lastmodified`, if it is a time.
    pub last_modified: Option<Spanned<String>>,
    /// Which values have to be encrypted.
    pub selection: Selection,
    /// Whether the MAC leaves plaintext values out.
    pub mac_only_encrypted: bool,
    /// Every value but null, in document order, the metadata left out.
    pub leaves: Vec<LeafPlace>,
}

/// One way to the data key.
#[derive(Clone, Debug)]
pub struct KeyEntry {
    /// `age`, `pgp`, `kms`, `gcp_kms`, `azure_kv`, `hc_vault` or `hckms`: all but the first are refused.
    pub store: &'static str,
    /// The recipient as written; `None` for other stores.
    pub recipient: Option<Spanned<String>>,
    /// The stanzas of its wrapped key, grease included; `None` if it is no age file.
    pub stanzas: Option<Vec<Stanza>>,
    /// The whole entry.
    pub span: Span,
    /// Its key group, from 0.
    pub group: usize,
}

impl KeyEntry {
    /// Stanzas that can open the file: 1 in an honest entry.
    #[must_use]
    pub fn openings(&self) -> usize {
        self.stanzas.iter().flatten().filter(|stanza| !stanza.is_grease()).count()
    }
}

/// A value's place and state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeafPlace {
    /// The document, from 0.
    pub document: usize,
    /// Keys above it; list items add none.
    pub path: Vec<String>,
    /// The scalar.
    pub span: Span,
    /// Whether it is encrypted.
    pub state: LeafState,
}

/// Whether a value is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafState {
    /// Written as ciphertext, as it has to be.
    Encrypted,
    /// Plaintext that the file's own rule lets stand.
    PlaintextAllowed,
    /// Plaintext where the file's own rule wants ciphertext: the file does not open.
    PlaintextForbidden,
    /// Nothing between quotes: outside the MAC, never encrypted.
    Empty,
}

/// Reads the public side of a file.
///
/// # Errors
/// The text is no YAML, has no metadata, or metadata or keys that cannot be read.
pub fn inspect(bytes: &[u8]) -> Result<Inspection, SopsError> {
    let tree = Tree::read(bytes, Format::of_text(bytes))?;
    let metadata = metadata_of(&tree)?;
    let selector = Selector::new(&metadata.selection)?;
    let mut leaves = Vec::new();
    for (document, branch) in tree.branches.iter().enumerate() {
        collect_entries(branch, document, &mut Vec::new(), &selector, &mut leaves);
    }
    let spanned = |field: &Field| Spanned::new(field.text.clone(), field.span);
    let keys = metadata.groups.iter().enumerate().flat_map(|(group, ways)| {
        ways.iter().map(move |way| KeyEntry {
            store: way.store,
            recipient: way.recipient.as_ref().map(spanned),
            stanzas: way.enc.as_ref().and_then(|enc| age_file::stanzas(&enc.text)),
            span: way.span,
            group,
        })
    });
    let mac = metadata.mac.as_ref().filter(|mac| cipher::looks_encrypted(&mac.text));
    let modified = metadata.last_modified.as_ref().filter(|field| go::last_modified(&field.text).is_some());
    Ok(Inspection {
        metadata: metadata.span,
        keys: keys.collect(),
        groups: metadata.groups.len(),
        shamir_threshold: metadata.shamir_threshold,
        mac: mac.map(|mac| mac.span),
        last_modified: modified.map(spanned),
        selection: metadata.selection.clone(),
        mac_only_encrypted: metadata.mac_only_encrypted,
        leaves,
    })
}

fn collect_entries<'t>(
    entries: &'t [Entry],
    document: usize,
    path: &mut Vec<&'t str>,
    selector: &Selector,
    leaves: &mut Vec<LeafPlace>,
) {
    for entry in entries {
        path.push(&entry.key);
        collect(&entry.value, document, path, selector, leaves);
        path.pop();
    }
}

fn collect<'t>(
    value: &'t Raw,
    document: usize,
    path: &mut Vec<&'t str>,
    selector: &Selector,
    leaves: &mut Vec<LeafPlace>,
) {
    let (span, state) = match value {
        Raw::Null | Raw::Comment(_) => return,
        Raw::List(items) => {
            return items.iter().for_each(|item| collect(item, document, path, selector, leaves));
        }
        Raw::Map(entries) => return collect_entries(entries, document, path, selector, leaves),
        Raw::Bad(span, _) => (*span, LeafState::PlaintextForbidden),
        Raw::Leaf(leaf) if leaf.text.is_empty() => (leaf.span, LeafState::Empty),
        Raw::Leaf(leaf) if cipher::looks_encrypted(&leaf.text) => (leaf.span, LeafState::Encrypted),
        Raw::Leaf(leaf) if selector.encrypted(path, &leaf.text) => (leaf.span, LeafState::PlaintextForbidden),
        Raw::Leaf(leaf) => (leaf.span, LeafState::PlaintextAllowed),
    };
    let path = path.iter().map(|key| (*key).to_owned()).collect();
    leaves.push(LeafPlace { document, path, span, state });
}
