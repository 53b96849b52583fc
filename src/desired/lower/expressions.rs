//! Expressions: that they can be read, and that every name in them exists and has a value by then.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::file::Found;
use crate::desired::rules;
use crate::desired::written::{Anything, nearest};
use crate::domain::{FieldName, Input, Span, Spanned, StepId, ValueType};
use crate::expression::{
    Expression, ExpressionError, Kind, Kinds, References, Root, Template, TemplateError, whole_input,
};
use crate::yaml::{self, Node};

/// What a step is to expressions of others.
pub(super) struct KnownStep {
    /// Its outputs.
    pub(super) outputs: BTreeMap<FieldName, ValueType>,
    /// Whether its outputs are a list, one for each item.
    pub(super) list: bool,
}

/// What an expression may see at its place.
pub(super) struct Sight<'a> {
    /// The file.
    pub(super) path: &'a str,
    /// Where it stands, for messages: `in a default`.
    pub(super) place: &'static str,
    /// Roots that have a value there.
    pub(super) roots: &'a [Root],
    /// The workflow's inputs.
    pub(super) inputs: &'a BTreeMap<FieldName, Input>,
    /// All steps of the workflow.
    pub(super) steps: &'a BTreeMap<StepId, KnownStep>,
    /// Those that have ended for certain.
    pub(super) ended: &'a BTreeSet<StepId>,
    /// Whether the values of sensitive inputs may stand there.
    pub(super) sensitive: bool,
}

impl Sight<'_> {
    /// Checks every text inside a value.
    pub(super) fn check_value(&self, value: &Anything, found: &mut Found) {
        self.check_node(&value.node, found);
    }

    fn check_node(&self, node: &Node, found: &mut Found) {
        match &node.kind {
            yaml::Kind::Scalar { text, .. } => {
                if Template::is_marked(text) {
                    self.check_template(text, node.span, found);
                }
            }
            yaml::Kind::Sequence(items) => items.iter().for_each(|item| self.check_node(item, found)),
            yaml::Kind::Mapping(entries) => {
                for (key, value) in entries {
                    if key.scalar().is_some_and(Template::is_marked) {
                        let finding = rules::MISPLACED_EXPRESSION
                            .at(self.path, Some(key.span), "an expression cannot be a key")
                            .help("write the key out");
                        found.push(finding);
                    }
                    self.check_node(value, found);
                }
            }
        }
    }

    /// Checks a text that may hold `${{ }}`.
    pub(super) fn check_template(&self, text: &str, span: Span, found: &mut Found) {
        match Template::parse_with(text, &mut found.parsed) {
            Ok(template) => {
                let before = found.list.len();
                self.check_references(&template.references(), span, found);
                self.check_whole(&template.references(), text, span, found);
                if found.list.len() == before
                    && let Err(cause) = template.check_kinds(&self.kinds())
                {
                    self.report(&cause, span, found);
                }
            }
            Err(TemplateError::Expression { cause, .. }) => self.report(&cause, span, found),
            Err(error @ (TemplateError::Unclosed { .. } | TemplateError::TooLong)) => {
                found.push(
                    rules::BAD_EXPRESSION
                        .at(self.path, Some(span), error.to_string())
                        .help("write `${{ … }}`"),
                );
            }
        }
    }

    /// A sensitive input stands by itself or not at all: what is made of it would be stored in clear.
    fn check_whole(&self, used: &References, text: &str, span: Span, found: &mut Found) {
        let hidden = used.inputs.iter().find(|name| {
            self.sensitive && self.inputs.get(name.as_str()).is_some_and(|input| input.sensitive)
        });
        let Some(name) = hidden.filter(|name| whole_input(text) != Some(name.as_str())) else { return };
        let message = format!("the input `{name}` is sensitive and stands as a whole value only");
        let finding = rules::SENSITIVE_MISUSED.at(self.path, Some(span), message);
        found.push(
            finding.help(format!("write `NAME: ${{{{ inputs.{name} }}}}`, and let the script do the rest")),
        );
    }

    /// Checks a field that is an expression of the kind `wanted`, with or without `${{ }}` around it; gives it bare.
    pub(super) fn check_expression(
        &self,
        written: &Spanned<String>,
        wanted: Kind,
        found: &mut Found,
    ) -> String {
        let text = written.value.trim();
        let bare = text.strip_prefix("${{").and_then(|rest| rest.strip_suffix("}}")).map_or(text, str::trim);
        match found.parsed.expression(bare) {
            Ok(expression) => {
                let before = found.list.len();
                self.check_references(expression.references(), written.span, found);
                if found.list.len() == before {
                    self.check_kind(&expression, wanted, written.span, found);
                }
            }
            Err(cause) => self.report(&cause, written.span, found),
        }
        bare.to_owned()
    }

    fn check_kind(&self, expression: &Expression, wanted: Kind, span: Span, found: &mut Found) {
        match expression.kind(&self.kinds()) {
            Ok(kind) if kind.may_be(wanted) => {}
            Ok(kind) => {
                let message = format!("expected {} {}, this is {}", word(wanted), self.place, word(kind));
                found.push(rules::BAD_EXPRESSION.at(self.path, Some(span), message));
            }
            Err(cause) => self.report(&cause, span, found),
        }
    }

    /// What is declared. An input that may be missing may be null, so nothing is certain of it; the outputs of a
    /// `for_each` are a list of maps.
    fn kinds(&self) -> Kinds {
        let certain = |input: &Input| input.required || input.default.is_some();
        Kinds {
            inputs: self
                .inputs
                .iter()
                .filter(|(_, input)| certain(input))
                .map(|(name, input)| (name.to_string(), input.value_type.into()))
                .collect(),
            outputs: self
                .steps
                .iter()
                .filter(|(_, step)| !step.list)
                .flat_map(|(id, step)| {
                    let named = |name: &FieldName| (id.to_string(), name.to_string());
                    step.outputs.iter().map(move |(name, kind)| (named(name), (*kind).into()))
                })
                .collect(),
        }
    }

    fn report(&self, cause: &ExpressionError, span: Span, found: &mut Found) {
        let secrets = matches!(cause, ExpressionError::UnknownName { name, .. } if name == "secrets");
        let mut finding = if secrets {
            rules::SECRET_EXPRESSION
                .at(self.path, Some(span), "no expression reads a secret")
                .help("write `secrets: [NAME]` at the step, and let its script ask for it")
        } else {
            rules::BAD_EXPRESSION.at(self.path, Some(span), cause.to_string())
        };
        if !secrets {
            finding.help = cause.help();
        }
        found.push(finding);
    }

    fn check_references(&self, used: &References, span: Span, found: &mut Found) {
        for root in &used.roots {
            if !self.roots.contains(root) {
                let names: Vec<String> =
                    self.roots.iter().map(|root| format!("`{}`", root.as_str())).collect();
                let message = format!("`{}` has no value {}", root.as_str(), self.place);
                let finding = rules::MISPLACED_EXPRESSION.at(self.path, Some(span), message);
                found.push(finding.help(format!("here an expression reads {}", names.join(", "))));
                return;
            }
        }
        for name in &used.inputs {
            match self.inputs.get(name.as_str()) {
                None => {
                    let help = match nearest(name, self.inputs.keys().map(AsRef::as_ref)) {
                        Some(near) => format!("did you mean `inputs.{near}`?"),
                        None => format!("declare it: `inputs: {{ {name}: {{ type: string }} }}`"),
                    };
                    let message = format!("the workflow has no input `{name}`");
                    found.push(rules::UNDEFINED_INPUT.at(self.path, Some(span), message).help(help));
                }
                Some(input) if input.sensitive && !self.sensitive => {
                    let message = format!("the input `{name}` is sensitive and may stand only in `with`");
                    let finding = rules::SENSITIVE_MISUSED.at(self.path, Some(span), message);
                    found.push(finding.help("decide by another input, or let the script decide"));
                }
                Some(_) => {}
            }
        }
        for step in &used.steps {
            self.check_step(&step.step, step.output.as_deref(), span, found);
        }
    }

    fn check_step(&self, step: &str, output: Option<&str>, span: Span, found: &mut Found) {
        let Some(known) = self.steps.get(step) else {
            let help = match nearest(step, self.steps.keys().map(AsRef::as_ref)) {
                Some(near) => format!("did you mean `steps.{near}`?"),
                None => "an expression names a step of the same workflow".to_owned(),
            };
            let message = format!("the workflow has no step `{step}`");
            found.push(rules::UNDEFINED_OUTPUT.at(self.path, Some(span), message).help(help));
            return;
        };
        if !self.ended.contains(step) {
            let message = format!("the step `{step}` may not have ended by then");
            let finding = rules::UNDEFINED_OUTPUT.at(self.path, Some(span), message);
            found.push(finding.help(format!("add `{step}` to `needs`")));
        }
        let Some(output) = output.filter(|_| !known.list) else { return };
        if !known.outputs.contains_key(output) {
            let help = match nearest(output, known.outputs.keys().map(AsRef::as_ref)) {
                Some(near) => format!("did you mean `steps.{step}.outputs.{near}`?"),
                None => format!("declare it at the step: `outputs: {{ {output}: string }}`"),
            };
            let message = format!("the step `{step}` has no output `{output}`");
            found.push(rules::UNDEFINED_OUTPUT.at(self.path, Some(span), message).help(help));
        }
    }
}

/// Reports a value that is not of its type; one with expressions is judged when it is known.
pub(super) fn check_type(path: &str, value_type: ValueType, value: &Anything, found: &mut Found) {
    if matches!(&value.value, Value::String(text) if Template::is_marked(text)) {
        return;
    }
    if !value_type.admits(&value.value) {
        let wanted = match value_type {
            ValueType::String => "a text",
            ValueType::Int => "a whole number",
            ValueType::Float => "a number",
            ValueType::Bool => "true or false",
            ValueType::List => "a list",
            ValueType::Map => "a mapping",
        };
        let message = format!("expected {wanted}, YAML read {}", value.node.word());
        let finding = rules::ILL_TYPED_VALUE.at(path, Some(value.node.span), message);
        found.push(finding.help(match value_type {
            ValueType::String => "put the value in quotes".to_owned(),
            _ => format!("write {wanted}, or declare another `type`"),
        }));
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "true or false",
        Kind::Int => "a whole number",
        Kind::Float => "a number",
        Kind::String => "a text",
        Kind::List => "a list",
        Kind::Map => "a mapping",
        Kind::Unknown => "a value",
    }
}

#[cfg(test)]
mod tests {
    use crate::desired::fixture::of_workflow;

    #[track_caller]
    fn check(field: &str, want: &[&str]) {
        let text = format!(
            "inputs: {{ names: {{ type: list, default: [] }}, day: {{ type: string, required: false }} }}\n\
             steps:\n  pull: {{ script: \"true\", outputs: {{ count: int }} }}\n  load: {{ script: \"true\", {field} }}\n"
        );
        let told: Vec<String> = of_workflow(&text).into_iter().filter(|line| line.contains("W218")).collect();
        assert_eq!(told.len(), want.len(), "{told:?}");
        assert!(told.iter().zip(want).all(|(told, want)| told.contains(want)), "{told:?}");
    }

    #[test]
    fn kinds_that_can_never_fit_are_found_before_a_run() {
        check("if: steps.pull.outputs.count > 0", &[]);
        check(
            "if: steps.pull.outputs.count",
            &["expected true or false in a condition, this is a whole number"],
        );
        check("if: steps.pull.outputs.count > 'a'", &["`>` does not take (int, string)"]);
        check(
            "for_each: steps.pull.outputs.count",
            &["expected a list in `for_each`, this is a whole number"],
        );
        check("for_each: inputs.names", &[]);
        check("with: { all: \"names ${{ inputs.names }}\" }", &["may stand inside a text, not a list"]);
        check("if: inputs.day == null || inputs.day > 1", &[]);
    }
}
