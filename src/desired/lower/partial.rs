//! A workflow whose form has mistakes: what else is wrong with it for certain, so that nobody has to mend it twice.
//!
//! What has a mistake is left out, and the rest is judged like any other workflow. Of what that finds, only that is
//! told which would be found in the mended file too, whatever the mended part will be.

use super::file::Found;
use crate::desired::rules::{self, Rule};
use crate::desired::written::{Language, WrittenWorkflow, decode_partial};
use crate::domain::{Diagnostic, Severity, Span};
use crate::yaml::Node;

/// Rules that judge one value by itself, or by the tenant's files and settings.
const ALONE: [&Rule; 20] = [
    &rules::BAD_CRON,
    &rules::CRON_NEVER,
    &rules::UNKNOWN_ZONE,
    &rules::SCRIPT_MISSING,
    &rules::SCRIPT_NOT_EXECUTABLE,
    &rules::UNKNOWN_SHEBANG,
    &rules::PATH_ESCAPE,
    &rules::MISPLACED_EXPRESSION,
    &rules::SECRET_EXPRESSION,
    &rules::EGRESS_ABOVE_TENANT,
    &rules::COMMAND_LINE_IN_RUN,
    &rules::RESOURCE_ABOVE_LIMIT,
    &rules::DELIVERY_FORBIDDEN,
    &rules::BAD_VARIABLE,
    &rules::UNDECLARED_SECRET,
    &rules::PYTHON_LOCK_MISSING,
    &rules::PYTHON_LOCK_STALE,
    &rules::PYTHON_NO_WHEEL,
    &rules::PYTHON_INDEX,
    &rules::UNKNOWN_PRINCIPAL,
];

/// Judges what can be read of a workflow with `mistakes` by `lower`, and adds what is certain to `found`.
pub(super) fn look(
    path: &str,
    root: &Node,
    mistakes: &[Diagnostic],
    lower: impl FnOnce(WrittenWorkflow, &mut Found),
    found: &mut Found,
) {
    let Some(written) = decode_partial::<WrittenWorkflow>(root, path, Language::Yaml) else { return };
    let Some(part) = Part::of(root, mistakes) else { return };
    // What a shared workflow is to do cannot be told from a use with mistakes.
    if written.uses.is_some() {
        return;
    }
    let mut all = Found::with(std::mem::take(&mut found.parsed));
    lower(written, &mut all);
    found.parsed = std::mem::take(&mut all.parsed);
    for finding in all.list {
        if finding.at.path != path && ALONE.iter().any(|rule| rule.id == finding.rule.id)
            || finding.at.path == path && part.is_certain(&finding)
        {
            found.push(finding);
        }
    }
}

/// An input or a step with a mistake in it.
struct Spoilt<'n> {
    name: &'n str,
    span: Span,
}

/// A file and where its mistakes are.
struct Part<'n> {
    root: &'n Node,
    mistakes: Vec<Span>,
    /// Steps with a mistake in them.
    steps: Vec<Spoilt<'n>>,
    /// Whether every step has its name.
    steps_are_known: bool,
    /// Whether what the workflow takes and what starts it can be told.
    inputs_are_known: bool,
    /// Whether the time of a run can be told.
    timeout_is_known: bool,
}

impl<'n> Part<'n> {
    /// `None` if a mistake has no place.
    fn of(root: &'n Node, mistakes: &[Diagnostic]) -> Option<Self> {
        let places = mistakes.iter().map(|mistake| mistake.at.span);
        let mistakes: Vec<Span> = places.collect::<Option<_>>()?;
        let has_mistake = |node: &Node| mistakes.iter().any(|mistake| within(*mistake, node.span));
        let of_step = |(key, value): &'n (Node, Node)| {
            let span = Span { start: key.span.start, end: value.span.end };
            let spoilt = mistakes.iter().any(|mistake| within(*mistake, span));
            spoilt.then(|| key.scalar().map(|name| Spoilt { name, span })).flatten()
        };
        let entries = root.as_mapping()?;
        let steps = root.get("steps");
        let each = steps.and_then(Node::as_mapping).unwrap_or_default();
        // A field that is none here may be meant for any other.
        let known = entries.iter().all(|(key, _)| !mistakes.contains(&key.span));
        let spoilt = |name: &str| root.get(name).is_some_and(has_mistake);
        Some(Self {
            root,
            steps: each.iter().filter_map(of_step).collect(),
            steps_are_known: known
                && steps.is_none_or(|steps| !mistakes.contains(&steps.span))
                && each.iter().all(|(key, _)| !mistakes.contains(&key.span)),
            inputs_are_known: known && !spoilt("inputs") && !spoilt("on"),
            timeout_is_known: known && !spoilt("timeout"),
            mistakes,
        })
    }

    /// Whether a finding stands however the mistakes are mended.
    fn is_certain(&self, finding: &Diagnostic) -> bool {
        let Some(span) = finding.at.span else { return false };
        if finding.severity != Severity::Error || self.mistakes.iter().any(|mistake| within(*mistake, span)) {
            return false;
        }
        let is = |rule: &Rule| finding.rule.id == rule.id;
        let related = finding.related.iter().filter_map(|related| related.at.span);
        let in_sound_steps = || {
            let mut places = related.chain([span]);
            !places.any(|place| self.steps.iter().any(|step| within(place, step.span)))
        };
        if ALONE.iter().any(|rule| is(rule)) {
            true
        } else if is(&rules::TIMEOUT_ABOVE_LIMIT) {
            self.timeout_is_known
        } else if is(&rules::UNKNOWN_NEEDS) {
            self.steps_are_known
        } else if is(&rules::NEEDS_CYCLE) {
            self.steps_are_known && in_sound_steps()
        } else if is(&rules::UNDEFINED_INPUT) {
            self.inputs_are_known
        } else if is(&rules::UNDEFINED_OUTPUT) {
            // Whether a step has ended by then depends on all that stand between.
            self.steps_are_known && self.steps.is_empty()
        } else if is(&rules::BAD_EXPRESSION) {
            let Some(text) = text_at(self.root, span) else { return false };
            let reads = |name: &str| text.contains(name);
            self.steps_are_known
                && in_sound_steps()
                && !self.steps.iter().any(|step| reads(step.name))
                && (self.inputs_are_known || !(reads("inputs") || reads("trigger")))
        } else {
            false
        }
    }
}

fn within(inner: Span, outer: Span) -> bool {
    outer.start.offset <= inner.start.offset && inner.end.offset <= outer.end.offset
}

/// The scalar that stands at a place.
fn text_at(node: &Node, span: Span) -> Option<&str> {
    if !within(span, node.span) && node.as_mapping().is_none() {
        return None;
    }
    if node.span == span {
        return node.scalar();
    }
    if let Some(entries) = node.as_mapping() {
        return entries.iter().find_map(|(key, value)| text_at(key, span).or_else(|| text_at(value, span)));
    }
    node.as_sequence()?.iter().find_map(|item| text_at(item, span))
}
