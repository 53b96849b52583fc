//! A user's mistake as a value: stable code, message, spans and help. Shown as text, JSON or SARIF by the edge.

use serde::{Deserialize, Serialize};

use super::TenantId;

/// A place in a text. Lines and columns count from 1, columns in Unicode scalars; `offset` in bytes from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Position {
    /// Bytes before this place.
    pub offset: usize,
    /// Line, from 1.
    pub line: usize,
    /// Column in Unicode scalars, from 1.
    pub column: usize,
}

/// From `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Span {
    /// First character.
    pub start: Position,
    /// One past the last character.
    pub end: Position,
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Puts a value at a place.
    pub fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }
    /// Changes the value, keeps the place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), span: self.span }
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth a look; can be suppressed.
    Warning,
    /// Makes the tenant Invalid.
    Error,
}

/// A rule as a finding refers to it: family letter and three digits, kebab-case name. Never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleRef {
    /// For instance `W201`.
    pub id: &'static str,
    /// For instance `unknown-needs`.
    pub name: &'static str,
}

/// A file and, where it could be told, a span in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    /// From the root of the repository, with `/`.
    pub path: String,
    /// `None` where the whole file is meant.
    pub span: Option<Span>,
}

/// Another place that belongs to a finding, with what is to be seen there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// Where.
    pub at: Location,
    /// What.
    pub message: String,
}

/// How far a machine may trust a fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Safety {
    /// Keeps what is meant: `validate --fix` makes it. Never of the families K, R and G.
    Safe,
    /// A guess that a person looks at, as an editor offers it.
    Suggested,
}

/// One replacement in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; empty where something is put in.
    pub span: Span,
    /// By what.
    pub text: String,
}

/// What a fix changes of a file beside its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileChange {
    /// Sets the executable bit.
    MakeExecutable,
    /// Renames the file; the path counts from the root of the repository.
    Rename {
        /// The new path, which no file has yet.
        to: String,
    },
}

/// A local change that cures a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// What it does, as an imperative.
    pub title: String,
    /// Whether a machine may make it unasked.
    pub safety: Safety,
    /// The file it changes, from the root of the repository: often, not always, that of the finding.
    pub path: String,
    /// Replacements in order of place, none of which overlap.
    pub edits: Vec<Edit>,
    /// What else changes of the file.
    pub file: Option<FileChange>,
}

/// One finding. The message never quotes the content of a secret file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Which rule.
    pub rule: RuleRef,
    /// How bad.
    pub severity: Severity,
    /// Whose: `None` for the platform's files.
    pub tenant: Option<TenantId>,
    /// Lower case, no final period, user's text in backticks.
    pub message: String,
    /// Where.
    pub at: Location,
    /// What stands under the carets; may be empty.
    pub label: String,
    /// The cure, with the nearest valid name where there is one.
    pub help: Option<String>,
    /// Other places, for instance the first of two duplicate keys.
    pub related: Vec<Related>,
    /// A change that cures it, where there is one.
    pub fix: Option<Fix>,
}

impl Diagnostic {
    /// Puts a text under the carets.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
    /// Says the cure.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
    /// Adds another place.
    #[must_use]
    pub fn related(mut self, path: &str, span: Option<Span>, message: impl Into<String>) -> Self {
        let at = Location { path: path.to_owned(), span };
        self.related.push(Related { at, message: message.into() });
        self
    }
    /// Offers the replacement of one place in its own file.
    #[must_use]
    pub fn fix(
        mut self,
        safety: Safety,
        title: impl Into<String>,
        span: Span,
        text: impl Into<String>,
    ) -> Self {
        let edits = vec![Edit { span, text: text.into() }];
        self.fix = Some(Fix { title: title.into(), safety, path: self.at.path.clone(), edits, file: None });
        self
    }
    /// Offers a change of a file that leaves its text as it is.
    #[must_use]
    pub fn fix_file(mut self, title: impl Into<String>, path: &str, change: FileChange) -> Self {
        self.fix = Some(Fix {
            title: title.into(),
            safety: Safety::Safe,
            path: path.to_owned(),
            edits: Vec::new(),
            file: Some(change),
        });
        self
    }
}

/// The findings as one JSON object each, as `validate --format json` and the store keep them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Rule id.
    pub rule: String,
    /// Rule name.
    pub name: String,
    /// Severity.
    pub severity: Severity,
    /// Tenant, `None` for the platform's files.
    pub tenant: Option<TenantId>,
    /// Message.
    pub message: String,
    /// Path from the root of the repository.
    pub path: String,
    /// First line, from 1; 1 where the whole file is meant.
    pub line: usize,
    /// First column, from 1.
    pub column: usize,
    /// Line of the end.
    pub end_line: usize,
    /// Column one past the end.
    pub end_column: usize,
    /// The cure.
    pub help: Option<String>,
    /// Other places.
    pub related: Vec<FindingPlace>,
}

/// A related place of a [`Finding`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingPlace {
    /// Path from the root of the repository.
    pub path: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is to be seen there.
    pub message: String,
}

impl From<&Diagnostic> for Finding {
    fn from(found: &Diagnostic) -> Self {
        let whole = Position { offset: 0, line: 1, column: 1 };
        let span = found.at.span.unwrap_or(Span { start: whole, end: whole });
        Self {
            rule: found.rule.id.to_owned(),
            name: found.rule.name.to_owned(),
            severity: found.severity,
            tenant: found.tenant.clone(),
            message: found.message.clone(),
            path: found.at.path.clone(),
            line: span.start.line,
            column: span.start.column,
            end_line: span.end.line,
            end_column: span.end.column,
            help: found.help.clone(),
            related: found
                .related
                .iter()
                .map(|place| {
                    let start = place.at.span.unwrap_or(Span { start: whole, end: whole }).start;
                    FindingPlace {
                        path: place.at.path.clone(),
                        line: start.line,
                        column: start.column,
                        message: place.message.clone(),
                    }
                })
                .collect(),
        }
    }
}
