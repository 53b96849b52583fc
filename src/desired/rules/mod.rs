//! Every rule that can speak: its id, name, severity and page. One file a family.
//!
//! An id is the letter of its family and three digits, given in order of birth and never reused. What finds a
//! mistake lies where the mistake is met (written, lower); what it is, why it matters and how to cure it lies
//! here, so that `tenantry explain`, `docs/rules/` and SARIF say the same. Deliberately absent: rules that
//! need a base or a person (plan, authz).

mod git;
mod role;
mod secret;
mod shape;
mod workflow;
mod yaml;

pub use git::{
    ALERT_ROUTE, AUTHOR_WITHOUT_ROLE, CASE_COLLISION, EXECUTABLE_DATA, LIMIT_ABOVE_CEILING, LINK,
    PATH_NOT_UTF8, RETENTION_BELOW_FLOOR, TENANT_REMOVED, TREE_TRUNCATED, UNSIGNED, WEAKER_TIER,
};
pub use role::{
    ADMIN_IN_TENANT, AUTHORITY_IN_SAME_CHANGE, DUPLICATE_GRANT, ELEVATION_INVERTED, ELEVATION_TOO_LONG,
    ELEVATION_WITHOUT_END, NOBODY_COULD_APPROVE, NOBODY_IN_CHARGE, OWNER_AS_ROLE, POLICY_PERMITS,
    SELF_APPROVAL, SERVICE_IN_CHARGE, TIME_WITHOUT_ZONE, UNKNOWN_PRINCIPAL, UNKNOWN_ROLE, WILDCARD,
};
pub use secret::{
    ALERT_NOT_SENT, BAD_METADATA, BAD_RECIPIENT, BAD_VERSION, DATA_KEY_KEPT, EXTRA_RECIPIENT, HIDDEN_STANZA,
    INDEX_DISAGREES, KNOWN_SINCE_LEAK, MASKED_VALUE, MISSING_RECIPIENT, NO_CURRENT, NO_RECIPIENTS,
    NOT_ENCRYPTED, NOT_REDACTED, NOT_SEARCHED, PASSWORD_IN_URL, PLAIN_SECRET, PLAINTEXT_VALUE, PRIVATE_KEY,
    REFUSED_KEY, RETIRED_RECIPIENT, ROTATION_OVERDUE, SHARED_RECIPIENT, SIGNING_KEY_AS_RECIPIENT,
    STATE_BACKWARDS, TWO_CURRENT, UNDECLARED_SECRET, UNINDEXED_FILE, UNUSED_SECRET, WRONG_PURPOSE,
};
pub use shape::{
    BAD_NAME, BAD_VALUE, CONFLICTING_FIELDS, CONFUSABLE_NAME, MISSING_FIELD, MISSING_FILE, MISSING_UNIT,
    NOT_SUPPORTED, RENAMED_FIELD, UNKNOWN_FIELD, UNKNOWN_WORD, UNSUPPORTED_FORMAT, WRONG_TYPE,
};
pub use workflow::{
    APPROVAL_OUT_OF_REACH, BAD_CRON, BAD_EXPRESSION, BAD_VARIABLE, COMMAND_LINE_IN_RUN, CRON_NEVER,
    DELIVERY_FORBIDDEN, EGRESS_ABOVE_TENANT, ILL_TYPED_VALUE, INPUT_WITHOUT_VALUE, MISPLACED_EXPRESSION,
    NEEDS_CYCLE, NOTHING_MATCHES, PATH_ESCAPE, PYTHON_INDEX, PYTHON_LOCK_MISSING, PYTHON_LOCK_STALE,
    PYTHON_NO_WHEEL, RESOURCE_ABOVE_LIMIT, RETRIES_OUTLAST_TIMEOUT, SCHEDULE_TOO_OFTEN, SCRIPT_MISSING,
    SCRIPT_NOT_EXECUTABLE, SECRET_EXPRESSION, SECRET_IN_ENVIRONMENT, SENSITIVE_MISUSED, SHARED_MAPPING,
    TIMEOUT_ABOVE_LIMIT, TRIGGERS_ITSELF, UNDEFINED_INPUT, UNDEFINED_OUTPUT, UNEVEN_SCHEDULE, UNKNOWN_NEEDS,
    UNKNOWN_SHEBANG, UNKNOWN_ZONE, UNREACHABLE_STEP,
};
pub use yaml::{
    AMBIGUOUS_SCALAR, BAD_SUPPRESSION, BIDI_CONTROL, BYTE_ORDER_MARK, CONFLICT_MARKER, CONTROL_CHARACTER,
    CUSTOM_TAG, DUPLICATE_KEY, HIDDEN_CHARACTER, MERGE_KEY, NOT_UTF8, SEVERAL_DOCUMENTS, SYNTAX, TAB,
    TOO_DEEP, TOO_LARGE, TOO_MANY_ALIASES, TOO_MANY_VALUES, UNKNOWN_PLACE, YML_EXTENSION,
};

use std::fmt::Write as _;

use crate::domain::{Diagnostic, Location, RuleRef, Severity, Span};

/// What a rule has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// One tree: `validate` and the daemon run it on the same bytes.
    Tree,
    /// A base to compare with: `validate --since` and `plan`. It ends in held or unverified, never invalid.
    Change,
    /// What time it is: `validate` alone, always a warning.
    Clock,
}

/// One rule.
#[derive(Debug, PartialEq, Eq)]
pub struct Rule {
    /// Family letter and three digits.
    pub id: &'static str,
    /// In kebab-case.
    pub name: &'static str,
    /// How bad a finding is.
    pub severity: Severity,
    /// What it has to know.
    pub kind: Kind,
    /// What it finds, one sentence.
    pub what: &'static str,
    /// Why that matters.
    pub why: &'static str,
    /// How it looks when it is wrong.
    pub wrong: &'static str,
    /// How it looks when it is right.
    pub right: &'static str,
}

impl Rule {
    /// A finding of this rule. Without a span the whole file is meant.
    pub fn at(&self, path: &str, span: Option<Span>, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            rule: RuleRef { id: self.id, name: self.name },
            severity: self.severity,
            tenant: None,
            message: message.into(),
            at: Location { path: path.to_owned(), span },
            label: String::new(),
            help: None,
            related: Vec::new(),
            fix: None,
        }
    }

    /// The rule's page as Markdown, as `docs/rules/` holds it and `tenantry explain` prints it.
    #[must_use]
    pub fn page(&self) -> String {
        let Self { id, name, what, why, wrong, right, .. } = self;
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut page = format!("# {id} {name}\n\n{what}\n\n**Severity:** {severity}. ");
        page.push_str(match (self.kind, self.severity) {
            (Kind::Change, _) => {
                "It compares with a base: `tenantry validate --since BASE`. The change may be held for it.\n"
            }
            (Kind::Clock, _) => "It depends on the time of checking; files are applied all the same.\n",
            (Kind::Tree, Severity::Error) => "The files are not applied before it is cured.\n",
            (Kind::Tree, Severity::Warning) => "The files are applied all the same.\n",
        });
        let _ = write!(page, "\n## Why\n\n{why}\n\n## Wrong\n\n```text\n{wrong}\n```\n");
        let _ = write!(page, "\n## Right\n\n```text\n{right}\n```\n");
        if self.severity == Severity::Warning && self.kind != Kind::Change {
            let _ = write!(
                page,
                "\n## Where it is meant\n\nWrite the reason at the end of the line, or on the line above:\n\n\
                 ```yaml\n# tenantry: ignore[{id}] the reason\n```\n"
            );
        }
        page
    }
}

/// Every rule, family by family, each in order of birth.
pub fn all() -> impl Iterator<Item = &'static Rule> {
    [yaml::FAMILY, shape::FAMILY, workflow::FAMILY, secret::FAMILY, role::FAMILY, git::FAMILY]
        .into_iter()
        .flatten()
        .copied()
}

/// The rule of an id or name, upper or lower case.
#[must_use]
pub fn find(text: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id.eq_ignore_ascii_case(text) || rule.name.eq_ignore_ascii_case(text))
}

/// Declares the rules of a family in order of birth.
macro_rules! family {
    (@kind) => { $crate::desired::rules::Kind::Tree };
    (@kind change) => { $crate::desired::rules::Kind::Change };
    (@kind clock) => { $crate::desired::rules::Kind::Clock };
    ($( $constant:ident = $id:literal $name:literal $severity:ident $(, $kind:ident)?
        what: $what:literal why: $why:literal wrong: $wrong:literal right: $right:literal )*) => {
        $(
            #[doc = $what]
            pub static $constant: $crate::desired::rules::Rule = $crate::desired::rules::Rule {
                id: $id,
                name: $name,
                severity: $crate::domain::Severity::$severity,
                kind: $crate::desired::rules::family!(@kind $($kind)?),
                what: $what,
                why: $why,
                wrong: $wrong,
                right: $right,
            };
        )*
        pub(in crate::desired::rules) static FAMILY: &[&$crate::desired::rules::Rule] = &[$(&$constant),*];
    };
}
use family;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_id_is_a_family_and_three_digits_and_names_one_rule() {
        let mut ids = BTreeSet::new();
        let mut names = BTreeSet::new();
        for rule in all() {
            let (family, number) = rule.id.split_at(1);
            assert!("YSWKRG".contains(family) && number.len() == 3, "{}", rule.id);
            assert!(number.bytes().all(|digit| digit.is_ascii_digit()), "{}", rule.id);
            assert!(ids.insert(rule.id), "{} twice", rule.id);
            assert!(names.insert(rule.name), "{} twice", rule.name);
            assert!(rule.what.ends_with('.') && rule.why.ends_with('.'), "{}", rule.id);
            assert!(rule.wrong != rule.right, "{}", rule.id);
        }
        assert!(all().map(|rule| rule.id).is_sorted_by_key(|id| ("YSWKRG".find(&id[..1]), id)));
    }

    #[test]
    fn a_rule_is_found_by_id_and_name() {
        assert_eq!(find("w201"), Some(&UNKNOWN_NEEDS));
        assert_eq!(find("unknown-needs"), Some(&UNKNOWN_NEEDS));
        assert_eq!(find("W2"), None);
    }
}
