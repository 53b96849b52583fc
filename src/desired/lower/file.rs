//! One file's bytes to its tree, and the list of what was found.

use std::collections::{BTreeMap, BTreeSet};

use super::content;
use crate::desired::rules::{self, Rule};
use crate::domain::{Diagnostic, Entry, Mode, SecretName, Severity, Span, TenantId};
use crate::expression::Parsed;
use crate::yaml::{self, Budget, Comment, Node, ProblemKind};

/// Findings of one tenant, or of the platform, that are kept; a file made of mistakes says no more than these.
const FINDINGS_MAX: usize = 1_000;

/// What was found, and the comments that may set warnings aside.
#[derive(Default)]
pub(super) struct Found {
    /// In the order of finding.
    pub(super) list: Vec<Diagnostic>,
    comments: BTreeMap<String, Vec<Comment>>,
    /// Files of which nothing may be quoted.
    unquotable: BTreeSet<String>,
    /// Bytes of the files without content that were looked at so far.
    pub(super) large_bytes: u64,
    /// Secrets that alert routes name, until the index is known.
    pub(super) routes: Vec<(SecretName, Span)>,
    /// Where the secrets of the index are written.
    pub(super) secrets: BTreeMap<SecretName, Span>,
    /// Expressions that were read before, in this tenant or another.
    pub(super) parsed: Parsed,
}

impl Found {
    /// Nothing yet.
    pub(super) fn with(parsed: Parsed) -> Self {
        Self { parsed, ..Self::default() }
    }

    pub(super) fn push(&mut self, finding: Diagnostic) {
        if is_about_secret(&finding) {
            self.unquotable.insert(finding.at.path.clone());
        }
        self.list.push(finding);
    }

    /// Takes the findings and comments of another list, each finding changed by `told`.
    pub(super) fn absorb(&mut self, other: Self, mut told: impl FnMut(Diagnostic) -> Diagnostic) {
        let Self { list, unquotable, .. } = other;
        self.list.extend(list.into_iter().map(|mut finding| {
            // Once it is told at another place, the file that it is about is no longer known.
            if unquotable.contains(&finding.at.path) && !is_about_secret(&finding) {
                content::unquoted(&mut finding);
            }
            told(finding)
        }));
        self.secrets.extend(other.secrets);
    }

    /// Takes a file's comments, for its warnings.
    pub(super) fn comment(&mut self, path: &str, comments: Vec<Comment>) {
        self.comments.insert(path.to_owned(), comments);
    }

    /// Sets aside what comments say, names the tenant, sorts by place.
    pub(super) fn finish(self, tenant: Option<&TenantId>) -> Vec<Diagnostic> {
        self.finish_as(tenant, true)
    }

    /// As [`Found::finish`]; `whole` is false where only some rules were run, so that a comment that ignores
    /// another one is not told to be of no use.
    pub(super) fn finish_as(mut self, tenant: Option<&TenantId>, whole: bool) -> Vec<Diagnostic> {
        let mut list = std::mem::take(&mut self.list);
        // With an error not every rule was run.
        let judged = whole && list.iter().all(|finding| finding.severity < Severity::Error);
        for (path, comments) in &self.comments {
            for comment in comments {
                suppress(path, comment, judged && !path.starts_with("shared/"), whole, &mut list);
            }
        }
        for finding in &mut list {
            finding.tenant = tenant.cloned();
            if self.unquotable.contains(&finding.at.path) && !is_about_secret(finding) {
                content::unquoted(finding);
            }
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

/// Whether a finding says that its file holds what nobody may see.
fn is_about_secret(finding: &Diagnostic) -> bool {
    [&rules::PRIVATE_KEY, &rules::PLAIN_SECRET, &rules::PASSWORD_IN_URL]
        .iter()
        .any(|rule| rule.id == finding.rule.id)
}

/// `# tenantry: ignore[W203] reason` at the end of a line, or on the line above; several ids with commas.
///
/// With `judged` a comment that sets nothing aside is a finding; with `told` one that cannot be read is.
fn suppress(path: &str, comment: &Comment, judged: bool, told: bool, list: &mut Vec<Diagnostic>) {
    let Some(rest) = comment.text.trim().strip_prefix("tenantry:") else { return };
    let mut bad = |message: String, help: &str| {
        if told {
            list.push(rules::BAD_SUPPRESSION.at(path, Some(comment.span), message).help(help));
        }
    };
    let Some((ids, reason)) = rest.trim().strip_prefix("ignore[").and_then(|rest| rest.split_once(']'))
    else {
        bad("this comment for tenantry cannot be read".into(), "write `# tenantry: ignore[W203] the reason`");
        return;
    };
    let mut wanted = Vec::new();
    for id in ids.split(',').map(str::trim) {
        let Some(rule) = rules::all().find(|rule| rule.id == id) else {
            bad("no rule has the id that this comment ignores".into(), "see `tenantry explain`");
            return;
        };
        if rule.severity == Severity::Error && rule.id != rules::NO_CURRENT.id {
            bad(format!("{} is an error and cannot be ignored", rule.id), "cure it, and remove the comment");
            return;
        }
        if rule.kind == rules::Kind::Change {
            bad(
                format!("{} judges a change and cannot be ignored in a file", rule.id),
                "remove the comment: who agrees to a change decides on it",
            );
            return;
        }
        wanted.push(rule);
    }
    if reason.trim().is_empty() {
        bad("ignoring a warning needs a reason".into(), "write it behind the bracket");
        return;
    }
    let line = comment.span.start.line;
    for rule in wanted {
        let before = list.len();
        list.retain(|finding| {
            let here = finding.at.path == path
                && finding.rule.id == rule.id
                && finding.severity == Severity::Warning
                && finding.at.span.is_none_or(|span| span.start.line == line || span.start.line == line + 1);
            !here
        });
        let here = rule.kind == rules::Kind::Tree && rule.id != rules::SHARED_RECIPIENT.id;
        if list.len() == before && judged && here {
            let message = format!("there is no {} here to ignore", rule.id);
            let help = "remove the comment, or put it at the end of the line that it is for";
            list.push(rules::BAD_SUPPRESSION.at(path, Some(comment.span), message).help(help));
        }
    }
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
