//! One file's bytes to its tree, and the list of what was found.

use std::collections::BTreeMap;

use crate::desired::rules::{self, Rule};
use crate::domain::{Diagnostic, Entry, Mode, SecretName, Severity, Span, TenantId};
use crate::yaml::{self, Budget, Comment, Node, ProblemKind};

/// Findings of one tenant, or of the platform, that are kept; a file made of mistakes says no more than these.
const FINDINGS_MAX: usize = 1_000;

/// What was found, and the comments that may set warnings aside.
#[derive(Default)]
pub(super) struct Found {
    /// In the order of finding.
    pub(super) list: Vec<Diagnostic>,
    comments: BTreeMap<String, Vec<Comment>>,
    /// Where the secrets of the index are written.
    pub(super) secrets: BTreeMap<SecretName, Span>,
}

impl Found {
    pub(super) fn push(&mut self, finding: Diagnostic) {
        self.list.push(finding);
    }

    /// Takes the findings and comments of another list, each finding changed by `told`.
    pub(super) fn absorb(&mut self, other: Self, told: impl FnMut(Diagnostic) -> Diagnostic) {
        self.list.extend(other.list.into_iter().map(told));
        self.secrets.extend(other.secrets);
    }

    /// Sets aside what comments say, names the tenant, sorts by place.
    pub(super) fn finish(mut self, tenant: Option<&TenantId>) -> Vec<Diagnostic> {
        let mut list = std::mem::take(&mut self.list);
        for (path, comments) in &self.comments {
            for comment in comments {
                suppress(path, comment, &mut list);
            }
        }
        for finding in &mut list {
            finding.tenant = tenant.cloned();
        }
        list.sort_by(|a, b| (&a.at, a.rule.id, &a.message).cmp(&(&b.at, b.rule.id, &b.message)));
        list.dedup();
        // Errors first where not all can be kept: a tenant must not become valid by its number of warnings.
        if list.len() > FINDINGS_MAX {
            list.sort_by_key(|finding| finding.severity != Severity::Error);
            list.truncate(FINDINGS_MAX);
        }
        list
    }
}

/// `# tenantry: ignore[W203] reason` at the end of a line, or on the line above.
fn suppress(path: &str, comment: &Comment, list: &mut Vec<Diagnostic>) {
    let Some(rest) = comment.text.trim().strip_prefix("tenantry:") else { return };
    let bad = |message: String| rules::BAD_SUPPRESSION.at(path, Some(comment.span), message);
    let Some((id, reason)) = rest.trim().strip_prefix("ignore[").and_then(|rest| rest.split_once(']')) else {
        let help = "write `# tenantry: ignore[W203] the reason`";
        list.push(bad("this comment for tenantry cannot be read".into()).help(help));
        return;
    };
    let Some(rule) = rules::all().find(|rule| rule.id == id.trim()) else {
        list.push(bad("no rule has the id that this comment ignores".into()).help("see `tenantry explain`"));
        return;
    };
    if rule.severity == Severity::Error {
        list.push(bad(format!("{} is an error and cannot be ignored", rule.id)).help("cure it"));
        return;
    }
    if reason.trim().is_empty() {
        list.push(bad("ignoring a warning needs a reason".into()).help("write it behind the bracket"));
        return;
    }
    let line = comment.span.start.line;
    list.retain(|finding| {
        let here = finding.at.path == path
            && finding.rule.id == rule.id
            && finding.severity == Severity::Warning
            && finding.at.span.is_none_or(|span| span.start.line == line || span.start.line == line + 1);
        !here
    });
}

/// Reads a file that holds one document. `None` if it was reported.
pub(super) fn parse(path: &str, entry: &Entry, found: &mut Found) -> Option<Node> {
    match entry.mode {
        Mode::File | Mode::Executable => {}
        // Reported where the tree is looked over.
        Mode::Symlink | Mode::Submodule => return None,
    }
    let Some(bytes) = &entry.content else {
        let message = format!("the file has {} bytes, at most 1 MiB is read", entry.size);
        found.push(rules::TOO_LARGE.at(path, None, message).help("split it, or move data into `scripts/`"));
        return None;
    };
    let documents = match yaml::parse(bytes, &Budget::default()) {
        Ok(documents) => documents,
        Err(problem) => {
            found.push(problem_found(path, &problem, true));
            return None;
        }
    };
    let count = documents.len();
    let mut documents = documents.into_iter();
    match (documents.next(), count) {
        (Some(document), 1) => {
            found.comments.insert(path.to_owned(), document.comments);
            Some(document.root)
        }
        (None, _) => {
            found.push(
                rules::SEVERAL_DOCUMENTS.at(path, None, "the file is empty").help("fill it, or remove it"),
            );
            None
        }
        (Some(_), _) => {
            let span = documents.next().map(|document| document.root.span);
            let finding = rules::SEVERAL_DOCUMENTS
                .at(path, span, format!("the file holds {count} documents"))
                .help("keep one of them, without `---`");
            found.push(finding);
            None
        }
    }
}

/// The finding for a text that is no tree. `quote` is false for files of secrets, of which nothing is quoted.
pub(super) fn problem_found(path: &str, problem: &yaml::Problem, quote: bool) -> Diagnostic {
    let (rule, help): (&Rule, Option<&str>) = match &problem.kind {
        ProblemKind::NotUtf8 => (&rules::NOT_UTF8, Some("save it as UTF-8")),
        ProblemKind::ByteOrderMark => (&rules::BYTE_ORDER_MARK, Some("save it as UTF-8 without BOM")),
        ProblemKind::Nul | ProblemKind::Control(_) => (&rules::CONTROL_CHARACTER, Some("remove it")),
        ProblemKind::BidiControl(_) => (&rules::BIDI_CONTROL, Some("remove it")),
        ProblemKind::Tab => (&rules::TAB, Some("indent with spaces")),
        ProblemKind::Syntax(_) => (&rules::SYNTAX, None),
        ProblemKind::ConflictMarker => {
            (&rules::CONFLICT_MARKER, Some("keep one side and remove the lines of `<`, `=` and `>`"))
        }
        ProblemKind::CustomTag(_) => (&rules::CUSTOM_TAG, Some("remove the tag")),
        ProblemKind::TooManyBytes { .. } => {
            (&rules::TOO_LARGE, Some("split it, or move data into `scripts/`"))
        }
        ProblemKind::TooManyNodes { .. } => (&rules::TOO_MANY_VALUES, Some("write out what is needed")),
        ProblemKind::TooDeep { .. } => (&rules::TOO_DEEP, Some("no field needs such nesting")),
        ProblemKind::TooManyAliases { .. } => (&rules::TOO_MANY_ALIASES, Some("write the values out")),
    };
    let message = match &problem.kind {
        ProblemKind::CustomTag(_) if !quote => "a tag is not one of YAML's own".to_owned(),
        ProblemKind::Syntax(_) if !quote => "the file is not YAML".to_owned(),
        kind => kind.to_string(),
    };
    let mut finding = rule.at(path, Some(problem.span), message);
    finding.help = help.map(str::to_owned);
    if let Some(span) = problem.related {
        finding = finding.related(path, Some(span), "begins here");
    }
    finding
}

/// Marks of private keys, none of which a public file holds by chance.
const PRIVATE_KEYS: [&str; 2] = ["AGE-SECRET-KEY-1", "AGE-SECRET-KEY-PQ-1"];

/// Where a text holds a private key: an age identity, or a PEM block that says so.
#[must_use]
pub fn private_key_at(text: &[u8]) -> Option<usize> {
    let find = |needle: &[u8], from: usize| {
        text[from..].windows(needle.len()).position(|window| window == needle).map(|at| at + from)
    };
    let identity = PRIVATE_KEYS.iter().find_map(|mark| {
        let at = find(mark.as_bytes(), 0)?;
        // A mention in prose is followed by something other than a key.
        let key = text[at + mark.len()..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        (key >= 50).then_some(at)
    });
    identity.or_else(|| {
        let mut from = 0;
        while let Some(at) = find(b"-----BEGIN ", from) {
            let line = text[at..].split(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.len() < 80 && line.windows(16).any(|window| window == b"PRIVATE KEY-----") {
                return Some(at);
            }
            from = at + 1;
        }
        None
    })
}

/// Reports a private key. Its line is named, never shown.
pub(super) fn check_private_keys(path: &str, entry: &Entry, found: &mut Found) {
    let Some(bytes) = &entry.content else { return };
    let Some(at) = private_key_at(bytes) else { return };
    let line = 1 + bytes[..at].iter().filter(|byte| **byte == b'\n').count();
    let place = crate::domain::Position { offset: at, line, column: 1 };
    let finding = rules::PRIVATE_KEY
        .at(path, Some(Span { start: place, end: place }), "a private key stands in the repository")
        .help("take it for leaked: make a new key, re-encrypt what it opens, and remove it from the history");
    found.push(finding);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_known_by_its_marks() {
        let key = format!("AGE-SECRET-KEY-1{}", "Q".repeat(58));
        assert_eq!(private_key_at(format!("a\n{key}\n").as_bytes()), Some(2));
        assert_eq!(private_key_at(b"see AGE-SECRET-KEY-1... in the manual"), None);
        let pem = format!("x\n-----BEGIN {} KEY-----\nabc\n", "OPENSSH PRIVATE");
        assert_eq!(private_key_at(pem.as_bytes()), Some(2));
        assert_eq!(private_key_at(b"-----BEGIN PUBLIC KEY-----\n"), None);
        assert_eq!(private_key_at(b""), None);
    }
}
