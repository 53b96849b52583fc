//! Changes to `secrets.yaml` and `tenant.yaml` as splices of their text: comments, order and layout stay.

use std::ops::Range;

use crate::domain::{SecretName, Timestamp, VersionId};
use crate::sops::Recipient;
use crate::yaml::{self, Budget, Node, Problem, written};

/// Why a file is not changed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The file is no YAML.
    #[error("{0}")]
    Yaml(#[from] Box<Problem>),
    /// The version is there already.
    #[error("`{0}` has a version `{1}` already: versions are never overwritten")]
    Exists(SecretName, VersionId),
    /// There is no such secret.
    #[error("the index has no secret `{0}`")]
    NoSecret(SecretName),
    /// There is no such version.
    #[error("`{0}` has no version `{1}`")]
    NoVersion(SecretName, VersionId),
    /// Only a pending version can be made current.
    #[error("`{1}` of `{0}` is {2}: only a pending version can be made current")]
    NotPending(SecretName, VersionId, String),
    /// The file's layout leaves no place for a splice, or does not say what it should afterwards.
    #[error("the file cannot be edited in its present layout: change it by hand ({0})")]
    Layout(&'static str),
}

/// One secret as the index has it, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its owner, if it is not the tenant's.
    pub owner: Option<String>,
    /// How often it should be rotated, as written.
    pub rotate_every: Option<String>,
    /// When an identity that opens it leaked, as written.
    pub leaked_at: Option<String>,
    /// `false` where the index lets the redactor leave it alone.
    pub redact: bool,
    /// Its versions in written order.
    pub versions: Vec<ListedVersion>,
}

/// One version as the index has it, unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedVersion {
    /// Its id.
    pub id: String,
    /// Its state.
    pub state: String,
    /// When it was made.
    pub created: Option<String>,
    /// The end of a previous version.
    pub accept_until: Option<String>,
    /// Its file, from the tenant's directory.
    pub file: String,
}

/// Lists the index.
///
/// # Errors
/// The text is no YAML.
pub fn read(text: &str) -> Result<Vec<Listed>, IndexError> {
    let Some(root) = root(text)? else { return Ok(Vec::new()) };
    let field = |node: &Node, name: &str| node.get(name).and_then(Node::scalar).map(str::to_owned);
    let secrets = root.get("secrets").and_then(Node::as_mapping).unwrap_or_default();
    let listed = secrets.iter().map(|(key, secret)| {
        let name = key.scalar().unwrap_or_default().to_owned();
        let versions = secret.get("versions").and_then(Node::as_sequence).unwrap_or_default();
        let versions = versions.iter().map(|version| {
            let id = field(version, "id").unwrap_or_default();
            let file = field(version, "file").or_else(|| field(secret, "file"));
            ListedVersion {
                state: field(version, "state").unwrap_or_default(),
                created: field(version, "created"),
                accept_until: field(version, "accept_until"),
                file: file.unwrap_or_else(|| default_file(&name, &id)),
                id,
            }
        });
        Listed {
            versions: versions.collect(),
            owner: field(secret, "owner"),
            rotate_every: field(secret, "rotate_every"),
            leaked_at: field(secret, "leaked_at"),
            redact: field(secret, "redact").is_none_or(|redact| !redact.eq_ignore_ascii_case("false")),
            name,
        }
    });
    Ok(listed.collect())
}

/// Where a version's file lies unless the index says otherwise, from the tenant's directory.
#[must_use]
pub fn default_file(name: &str, version: &str) -> String {
    format!("secrets/{name}.{version}.sops.yaml")
}

/// The id that follows those of the form `v1`, `v2`, …
#[must_use]
pub fn next_version(listed: &[Listed], name: &SecretName) -> String {
    let secret = listed.iter().find(|secret| secret.name == name.as_str());
    let numbers = secret.into_iter().flat_map(|secret| &secret.versions);
    let highest = numbers.filter_map(|version| version.id.strip_prefix('v')?.parse::<u32>().ok()).max();
    format!("v{}", highest.unwrap_or(0).saturating_add(1))
}

/// What a new or promoted version does to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// It waits: given out only to who asks for it by id.
    Pending,
    /// It is the current one. What was current is previous, accepted until this time if one is given.
    Current {
        /// The end of the previous version.
        until: Option<Timestamp>,
    },
    /// It is the current one. What was current is revoked.
    InPlaceOfRevoked,
}

impl Arrival {
    fn state(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Current { .. } | Self::InPlaceOfRevoked => "current",
        }
    }

    /// Changes what is current now.
    fn displace(self, text: &str, items: &[Node], edits: &mut Edits) {
        let current = items.iter().filter(|item| is_state(item, "current"));
        for item in current {
            let Some(state) = item.get("state") else { continue };
            match self {
                Self::Pending => {}
                Self::InPlaceOfRevoked => edits.push((range(state), "revoked".to_owned())),
                Self::Current { until: None } => edits.push((range(state), "previous".to_owned())),
                Self::Current { until: Some(until) } => {
                    edits.push((range(state), "previous".to_owned()));
                    match item.get("accept_until") {
                        Some(known) => edits.push((range(known), until.to_string())),
                        None if is_flow(text, item) => {
                            let end = state.span.end.offset;
                            edits.push((end..end, format!(", accept_until: {until}")));
                        }
                        None => {
                            let key = entry(item, "state").map_or(state, |(key, _)| key);
                            let end = line_end(text, state.span.end.offset);
                            edits.push((end..end, format!("\n{}accept_until: {until}", indent_of(key))));
                        }
                    }
                }
            }
        }
    }
}

type Edits = Vec<(Range<usize>, String)>;

fn is_state(item: &Node, state: &str) -> bool {
    item.get("state").and_then(Node::scalar) == Some(state)
}

fn is_flow(text: &str, node: &Node) -> bool {
    text[node.span.start.offset..].starts_with('{')
}

fn line_end(text: &str, from: usize) -> usize {
    text[from..].find('\n').map_or(text.len(), |at| from + at)
}

/// Adds a version before the others.
///
/// # Errors
/// The version is there; or the text cannot be spliced.
pub fn add_version(
    text: &str,
    name: &SecretName,
    version: &VersionId,
    created: Timestamp,
    arrival: Arrival,
) -> Result<String, IndexError> {
    let state = arrival.state();
    let item = format!("{{ id: {}, state: {state}, created: {created} }}", written(version.as_str()));
    let own = |indent: &str| {
        format!("{indent}{}:\n{indent}  versions:\n{indent}    - {item}\n", written(name.as_str()))
    };
    let mut edits = Vec::new();
    let root = root(text)?;
    let secrets = root.as_ref().and_then(|root| entry(root, "secrets"));
    let secret = secrets.and_then(|(_, secrets)| entry(secrets, name.as_str()));
    let versions = secret.and_then(|(_, secret)| entry(secret, "versions"));
    if let Some((_, versions)) = versions {
        let items = versions.as_sequence().ok_or(IndexError::Layout("`versions` is no list"))?;
        if items.iter().any(|known| known.get("id").and_then(Node::scalar) == Some(version.as_str())) {
            return Err(IndexError::Exists(name.clone(), version.clone()));
        }
        arrival.displace(text, items, &mut edits);
        edits.push(first_item(text, versions, &item)?);
    } else if let Some((key, secret)) = secret {
        let indent = indent_of(key);
        let lines = format!("{indent}  versions:\n{indent}    - {item}\n");
        edits.push(below(text, key, secret, &lines)?);
    } else if let Some((key, secrets)) = secrets {
        let indent = secrets
            .as_mapping()
            .and_then(|entries| entries.first())
            .map_or_else(|| format!("{}  ", indent_of(key)), |(first, _)| indent_of(first));
        edits.push(below(text, key, secrets, &own(&indent))?);
    } else if root.as_ref().is_none_or(|root| root.is_null() || is_block_mapping(text, root)) {
        let line_end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        edits.push((text.len()..text.len(), format!("{line_end}secrets:\n{}", own("  "))));
    } else {
        return Err(IndexError::Layout("its top is not a mapping in block style"));
    }
    checked(splice(text, edits), name, version, arrival)
}

/// Makes a pending version the current one.
///
/// # Errors
/// There is no such version, or it is not pending; or the text cannot be spliced.
pub fn promote(
    text: &str,
    name: &SecretName,
    version: &VersionId,
    arrival: Arrival,
) -> Result<String, IndexError> {
    let root = root(text)?;
    let secret = root.as_ref().and_then(|root| root.get("secrets")).and_then(|all| all.get(name.as_str()));
    let secret = secret.ok_or_else(|| IndexError::NoSecret(name.clone()))?;
    let items = secret.get("versions").and_then(Node::as_sequence).unwrap_or_default();
    let found = items.iter().find(|known| known.get("id").and_then(Node::scalar) == Some(version.as_str()));
    let found = found.ok_or_else(|| IndexError::NoVersion(name.clone(), version.clone()))?;
    let state = found.get("state").ok_or(IndexError::Layout("the version has no `state`"))?;
    if state.scalar() != Some("pending") {
        let state = state.scalar().unwrap_or_default().to_owned();
        return Err(IndexError::NotPending(name.clone(), version.clone(), state));
    }
    let mut edits = vec![(range(state), "current".to_owned())];
    arrival.displace(text, items, &mut edits);
    checked(splice(text, edits), name, version, arrival)
}

/// What was written is read again: a layout that was misjudged is told, not saved.
fn checked(
    changed: String,
    name: &SecretName,
    version: &VersionId,
    arrival: Arrival,
) -> Result<String, IndexError> {
    let after = read(&changed)?;
    let secret = after.iter().find(|secret| secret.name == name.as_str());
    let versions = || secret.into_iter().flat_map(|secret| &secret.versions);
    let ours = versions().find(|known| known.id == version.as_str());
    let current = versions().filter(|known| known.state == "current").count();
    let placed = ours.is_some_and(|known| known.state == arrival.state());
    if placed && (current == 1 || arrival == Arrival::Pending) {
        Ok(changed)
    } else {
        Err(IndexError::Layout("its versions"))
    }
}

/// Marks a version revoked; `None` if it is already.
///
/// # Errors
/// There is no such version; or the text cannot be spliced.
pub fn revoke(text: &str, name: &SecretName, version: &VersionId) -> Result<Option<String>, IndexError> {
    let root = root(text)?;
    let secret = root.as_ref().and_then(|root| root.get("secrets")).and_then(|all| all.get(name.as_str()));
    let secret = secret.ok_or_else(|| IndexError::NoSecret(name.clone()))?;
    let versions = secret.get("versions").and_then(Node::as_sequence).unwrap_or_default();
    let found =
        versions.iter().find(|known| known.get("id").and_then(Node::scalar) == Some(version.as_str()));
    let found = found.ok_or_else(|| IndexError::NoVersion(name.clone(), version.clone()))?;
    let state = found.get("state").ok_or(IndexError::Layout("the version has no `state`"))?;
    if state.scalar() == Some("revoked") {
        return Ok(None);
    }
    let changed = splice(text, vec![(range(state), "revoked".to_owned())]);
    let after = read(&changed)?;
    let revoked =
        after.iter().filter(|secret| secret.name == name.as_str()).flat_map(|secret| &secret.versions);
    let done = revoked.filter(|known| known.id == version.as_str()).any(|known| known.state == "revoked");
    if done { Ok(Some(changed)) } else { Err(IndexError::Layout("the version's `state`")) }
}

/// Marks every secret that has a version which is not revoked: what was made before `at` is overdue.
///
/// # Errors
/// The text cannot be spliced.
pub fn mark_leaked(text: &str, at: Timestamp) -> Result<String, IndexError> {
    let root = root(text)?;
    let secrets = root.as_ref().and_then(|root| root.get("secrets")).and_then(Node::as_mapping);
    let mut edits = Vec::new();
    let mut marked = Vec::new();
    for (key, secret) in secrets.unwrap_or_default() {
        let versions = secret.get("versions").and_then(Node::as_sequence).unwrap_or_default();
        if versions.iter().all(|version| is_state(version, "revoked")) {
            continue;
        }
        marked.push(key.scalar().unwrap_or_default());
        match (secret.get("leaked_at"), secret.as_mapping().and_then(<[_]>::first)) {
            (Some(known), _) => edits.push((range(known), at.to_string())),
            (None, Some((first, _))) => {
                let start = first.span.start.offset;
                let end =
                    if is_flow(text, secret) { ", ".to_owned() } else { format!("\n{}", indent_of(first)) };
                edits.push((start..start, format!("leaked_at: {at}{end}")));
            }
            (None, None) => {}
        }
    }
    let changed = splice(text, edits);
    let after = read(&changed)?;
    let is_marked = |name: &&str| {
        after
            .iter()
            .any(|secret| secret.name == **name && secret.leaked_at.as_deref() == Some(&at.to_string()))
    };
    if marked.iter().all(is_marked) { Ok(changed) } else { Err(IndexError::Layout("a secret's `leaked_at`")) }
}

/// Adds a recipient to `secrets.recipients` of a `tenant.yaml`; `None` if it stands there.
///
/// # Errors
/// The text cannot be spliced.
pub fn add_recipient(text: &str, recipient: &Recipient) -> Result<Option<String>, IndexError> {
    if recipients(text)?.iter().any(|known| known == recipient.as_str()) {
        return Ok(None);
    }
    let value = if recipient.is_ssh() { format!("\"{recipient}\"") } else { recipient.to_string() };
    let mut edits = Vec::new();
    let root = root(text)?;
    let secrets = root.as_ref().and_then(|root| entry(root, "secrets"));
    let list = secrets.and_then(|(_, secrets)| entry(secrets, "recipients"));
    if let Some((key, list)) = list {
        match list.as_sequence() {
            Some([]) => edits.push((range(list), format!("[{value}]"))),
            Some(_) => edits.push(first_item(text, list, &value)?),
            None if list.is_null() => edits.push((range(list), format!(" [{value}]"))),
            None => {
                let _ = key;
                return Err(IndexError::Layout("`recipients` is no list"));
            }
        }
    } else if let Some((key, secrets)) = secrets {
        let indent = secrets
            .as_mapping()
            .and_then(|entries| entries.first())
            .map_or_else(|| format!("{}  ", indent_of(key)), |(first, _)| indent_of(first));
        edits.push(below(text, key, secrets, &format!("{indent}recipients: [{value}]\n"))?);
    } else if root.as_ref().is_none_or(|root| root.is_null() || is_block_mapping(text, root)) {
        let line_end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        edits.push((text.len()..text.len(), format!("{line_end}secrets:\n  recipients: [{value}]\n")));
    } else {
        return Err(IndexError::Layout("its top is not a mapping in block style"));
    }
    let changed = splice(text, edits);
    let done = recipients(&changed)?.iter().any(|known| known == recipient.as_str());
    if done { Ok(Some(changed)) } else { Err(IndexError::Layout("`secrets.recipients`")) }
}

/// Puts a recipient in the place of another; `None` where that does not stand.
///
/// # Errors
/// The text is no YAML.
pub fn replace_recipient(text: &str, old: &Recipient, new: &Recipient) -> Result<Option<String>, IndexError> {
    let root = root(text)?;
    let list =
        root.as_ref().and_then(|root| root.get("secrets")).and_then(|secrets| secrets.get("recipients"));
    let items = list.and_then(Node::as_sequence).unwrap_or_default();
    let Some(item) =
        items.iter().find(|item| item.scalar().and_then(|text| text.parse().ok()).as_ref() == Some(old))
    else {
        return Ok(None);
    };
    Ok(Some(splice(text, vec![(range(item), new.to_string())])))
}

/// The texts of `secrets.recipients` in a `tenant.yaml`.
///
/// # Errors
/// The text is no YAML.
pub fn recipients(text: &str) -> Result<Vec<String>, IndexError> {
    let root = root(text)?;
    let list =
        root.as_ref().and_then(|root| root.get("secrets")).and_then(|secrets| secrets.get("recipients"));
    let items = list.and_then(Node::as_sequence).unwrap_or_default();
    Ok(items.iter().filter_map(Node::scalar).map(str::to_owned).collect())
}

/// The owner that a `tenant.yaml` names.
#[must_use]
pub fn owner(text: &str) -> Option<String> {
    let root = root(text).ok()??;
    root.get("owner").and_then(Node::scalar).map(str::to_owned)
}

fn root(text: &str) -> Result<Option<Node>, IndexError> {
    let mut documents = yaml::parse(text.as_bytes(), &Budget::default())?;
    if documents.len() > 1 {
        return Err(IndexError::Layout("it has several documents"));
    }
    Ok(documents.pop().map(|document| document.root))
}

fn entry<'n>(mapping: &'n Node, key: &str) -> Option<&'n (Node, Node)> {
    mapping.as_mapping()?.iter().find(|(name, _)| name.scalar() == Some(key))
}

fn range(node: &Node) -> Range<usize> {
    node.span.start.offset..node.span.end.offset
}

fn indent_of(node: &Node) -> String {
    " ".repeat(node.span.start.column - 1)
}

fn is_block_mapping(text: &str, node: &Node) -> bool {
    node.as_mapping().is_some() && !text[node.span.start.offset..].starts_with('{')
}

/// Puts lines below the value of a key: at the end of a block mapping, or in place of an empty one.
fn below(text: &str, key: &Node, value: &Node, lines: &str) -> Result<(Range<usize>, String), IndexError> {
    let empty = value.as_mapping().is_some_and(<[_]>::is_empty);
    if empty {
        return Ok((
            key.span.end.offset..value.span.end.offset,
            format!(":\n{}", lines.trim_end_matches('\n')),
        ));
    }
    let end = if value.is_null() { key.span.end.offset } else { value.span.end.offset };
    if !value.is_null() && !is_block_mapping(text, value) {
        return Err(IndexError::Layout("a mapping that has to grow is written in one line"));
    }
    let line_end = text[end..].find('\n').map_or(text.len(), |at| end + at);
    Ok((line_end..line_end, format!("\n{}", lines.trim_end_matches('\n'))))
}

/// Puts an item before the first of a list, in the list's own style.
fn first_item(text: &str, list: &Node, item: &str) -> Result<(Range<usize>, String), IndexError> {
    let start = list.span.start.offset;
    if text[start..].starts_with('[') {
        let first = list.as_sequence().is_some_and(|items| !items.is_empty());
        let comma = if first { ", " } else { "" };
        return Ok((start + 1..start + 1, format!("{item}{comma}")));
    }
    let first =
        list.as_sequence().and_then(<[_]>::first).ok_or(IndexError::Layout("a list without items"))?;
    let line_start = text[..first.span.start.offset].rfind('\n').map_or(0, |at| at + 1);
    let line = &text[line_start..first.span.start.offset];
    let indent = line.len() - line.trim_start_matches(' ').len();
    if !line[indent..].starts_with('-') {
        return Err(IndexError::Layout("a list item that does not begin its line"));
    }
    Ok((line_start..line_start, format!("{}- {item}\n", " ".repeat(indent))))
}

/// Makes all edits, which do not overlap.
fn splice(text: &str, mut edits: Vec<(Range<usize>, String)>) -> String {
    edits.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(text.len() + 256);
    let mut at = 0;
    for (range, replacement) in edits {
        out.push_str(&text[at..range.start]);
        out.push_str(&replacement);
        at = range.end;
    }
    out.push_str(&text[at..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn add(text: &str, name: &str, version: &str) -> Result<String, IndexError> {
        let arrival = Arrival::Current { until: None };
        add_version(text, &name.parse().unwrap(), &version.parse().unwrap(), NOW, arrival)
    }

    #[track_caller]
    fn check(text: &str, name: &str, version: &str, want: &str) {
        assert_eq!(add(text, name, version).as_deref(), Ok(want), "{text}");
    }

    #[test]
    fn a_version_is_added_and_nothing_else_moves() {
        let item = |id: &str| format!("{{ id: {id}, state: current, created: 2026-11-18T11:06:40Z }}");
        let v1 = item("v1");
        let fresh = format!("secrets:\n  token:\n    versions:\n      - {v1}\n");
        check("", "token", "v1", &fresh);
        check("# why\n", "token", "v1", &format!("# why\n{fresh}"));
        check("secrets:\n", "token", "v1", &fresh);
        check("secrets: {}\n", "token", "v1", &fresh);
        check(
            "secrets:\n    a: # first\n        versions:\n            - {id: v1, state: current} # kept\n\n# end\n",
            "token",
            "v1",
            &format!(
                "secrets:\n    a: # first\n        versions:\n            - {{id: v1, state: current}} # kept\n    token:\n      versions:\n        - {v1}\n\n# end\n"
            ),
        );
        let v2 = item("v2");
        check(
            "secrets:\n  token:\n    owner: group:ops # who\n    versions:\n      # newest first\n      - { id: v1, state: current } # old\n",
            "token",
            "v2",
            &format!(
                "secrets:\n  token:\n    owner: group:ops # who\n    versions:\n      # newest first\n      - {v2}\n      - {{ id: v1, state: previous }} # old\n"
            ),
        );
        check(
            "secrets:\n  token:\n    versions: [{ id: v1, state: 'current' }]\n",
            "token",
            "v2",
            &format!("secrets:\n  token:\n    versions: [{v2}, {{ id: v1, state: previous }}]\n"),
        );
        check(
            "secrets:\n  token:\n    versions:\n    - id: v1\n      state: current\n  z: {}\n",
            "token",
            "v2",
            &format!(
                "secrets:\n  token:\n    versions:\n    - {v2}\n    - id: v1\n      state: previous\n  z: {{}}\n"
            ),
        );
        check(
            "secrets:\n  token: { owner: x }\n",
            "other",
            "v1",
            &format!("secrets:\n  token: {{ owner: x }}\n  other:\n    versions:\n      - {v1}\n"),
        );
        let on = item("\"1\"");
        check("", "on", "1", &format!("secrets:\n  \"on\":\n    versions:\n      - {on}\n"));
    }

    #[test]
    fn what_cannot_be_spliced_is_left() {
        let text = "secrets:\n  token:\n    versions:\n      - { id: v1, state: current }\n";
        assert_eq!(
            add(text, "token", "v1"),
            Err(IndexError::Exists("token".parse().unwrap(), "v1".parse().unwrap()))
        );
        for text in [
            "secrets: { a: {} }\n",
            "{ secrets: {} }\n",
            "- a\n",
            "a: 1\n---\nb: 1\n",
            "secrets:\n  token:\n    versions: x\n",
        ] {
            assert!(add(text, "token", "v1").is_err(), "{text}");
        }
    }

    #[test]
    fn what_was_current_ends_as_it_is_told() {
        let name = "token".parse().unwrap();
        let (v2, until) = ("v2".parse().unwrap(), Arrival::Current { until: Some(NOW) });
        let check = |text: &str, arrival: Arrival, want: &str| {
            assert_eq!(add_version(text, &name, &v2, NOW, arrival).as_deref(), Ok(want), "{text}");
        };
        let flow = "secrets:\n  token:\n    versions:\n      - { id: v1, state: current, created: x } # c\n";
        let item =
            |state: &str| format!("- {{ id: v2, state: {state}, created: 2026-11-18T11:06:40Z }}\n      ");
        let head = "secrets:\n  token:\n    versions:\n      ";
        check(
            flow,
            until,
            &format!(
                "{head}{}- {{ id: v1, state: previous, accept_until: 2026-11-18T11:06:40Z, created: x }} # c\n",
                item("current")
            ),
        );
        check(
            flow,
            Arrival::InPlaceOfRevoked,
            &format!("{head}{}- {{ id: v1, state: revoked, created: x }} # c\n", item("current")),
        );
        check(
            flow,
            Arrival::Pending,
            &format!("{head}{}- {{ id: v1, state: current, created: x }} # c\n", item("pending")),
        );
        let block = "secrets:\n  token:\n    versions:\n      - id: v1\n        state: current # now\n        created: x\n";
        check(
            block,
            until,
            &format!(
                "{head}{}- id: v1\n        state: previous # now\n        accept_until: 2026-11-18T11:06:40Z\n        created: x\n",
                item("current")
            ),
        );
        let twice = flow.replace("created: x", "accept_until: x");
        check(
            &twice,
            until,
            &format!(
                "{head}{}- {{ id: v1, state: previous, accept_until: 2026-11-18T11:06:40Z }} # c\n",
                item("current")
            ),
        );
        let pending = add_version(flow, &name, &v2, NOW, Arrival::Pending).unwrap();
        let promoted = promote(&pending, &name, &v2, until).unwrap();
        assert!(
            promoted.contains("{ id: v2, state: current")
                && promoted.contains("{ id: v1, state: previous, accept_until")
        );
        assert_eq!(
            promote(&promoted, &name, &v2, until).unwrap_err().to_string(),
            "`v2` of `token` is current: only a pending version can be made current"
        );
    }

    #[test]
    fn a_version_is_revoked_in_place() {
        let text = "secrets:\n  token:\n    versions:\n      - { id: v2, state: current } # now\n      - { id: v1, state: previous }\n";
        let (name, v1, v3) = ("token".parse().unwrap(), "v1".parse().unwrap(), "v3".parse().unwrap());
        let revoked = revoke(text, &name, &v1).unwrap().unwrap();
        assert_eq!(revoked, text.replace("previous", "revoked"));
        assert_eq!(revoke(&revoked, &name, &v1), Ok(None));
        assert_eq!(revoke(text, &name, &v3), Err(IndexError::NoVersion(name, v3)));
    }

    #[test]
    fn the_next_version_counts_on() {
        let listed = read(
            "secrets:\n  t:\n    versions:\n      - { id: v9 }\n      - { id: v10 }\n      - { id: old }\n",
        )
        .unwrap();
        assert_eq!(next_version(&listed, &"t".parse().unwrap()), "v11");
        assert_eq!(next_version(&listed, &"u".parse().unwrap()), "v1");
    }

    #[test]
    fn a_recipient_is_added_once() {
        let key = "age1wz553qwvhqpufqc4hw46ymd2n20hdk7kxvujyym9rpqr6t4pj5yschzdqe";
        let recipient: Recipient = key.parse().unwrap();
        let check = |text: &str, want: &str| {
            let got = add_recipient(text, &recipient).unwrap();
            assert_eq!(got.as_deref(), Some(want), "{text}");
            assert_eq!(add_recipient(want, &recipient), Ok(None));
        };
        check("owner: a\n", &format!("owner: a\nsecrets:\n  recipients: [{key}]\n"));
        check("owner: a", &format!("owner: a\nsecrets:\n  recipients: [{key}]\n"));
        check(
            "secrets:\n  delivery: [socket] # c\nx: 1\n",
            &format!("secrets:\n  delivery: [socket] # c\n  recipients: [{key}]\nx: 1\n"),
        );
        check("secrets:\n  recipients: []\n", &format!("secrets:\n  recipients: [{key}]\n"));
        check("secrets:\n  recipients:\nx: 1\n", &format!("secrets:\n  recipients: [{key}]\nx: 1\n"));
        check("secrets:\n  recipients: [age1x]\n", &format!("secrets:\n  recipients: [{key}, age1x]\n"));
        check(
            "secrets:\n  recipients:\n    - age1x # old\n",
            &format!("secrets:\n  recipients:\n    - {key}\n    - age1x # old\n"),
        );
    }
}
