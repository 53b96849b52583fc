//! One step of a workflow by itself, for trying it out, with what it reads of other steps given by hand.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::scope;
use crate::domain::{FieldName, Retry, Shell, Step, StepId, Waits, Work, Workflow};
use crate::expression::{Expression, References, Root, Template};

/// Outputs by step and name, in place of what the steps would write.
pub type GivenOutputs = BTreeMap<StepId, BTreeMap<FieldName, Value>>;

/// Why a step cannot be run alone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AloneError {
    /// There is no such step.
    #[error("no step `{step}`; this workflow has {known}")]
    NoStep {
        /// As given.
        step: StepId,
        /// Those it has.
        known: String,
    },
    /// It reads outputs that are not given.
    #[error("step `{step}` reads outputs of other steps: give them by {cure}")]
    Missing {
        /// The step.
        step: StepId,
        /// The options to add.
        cure: String,
    },
    /// It reads what cannot be given: a list of items' outputs, or a step whose name is computed.
    #[error("step `{step}` reads {reads}, which only a run of the whole workflow has")]
    NotGivable {
        /// The step.
        step: StepId,
        /// What it reads.
        reads: String,
    },
    /// An output is given that the step does not read.
    #[error("step `{step}` does not read the output `{output}`; it reads {known}")]
    Unread {
        /// The step.
        step: StepId,
        /// As given, `STEP.NAME`.
        output: String,
        /// Those it reads, or `none`.
        known: String,
    },
}

/// The workflow with one step only and, before it, the steps whose outputs it reads: these are answered from `given` and
/// never run. What a failure would start is left out too.
///
/// # Errors
/// [`AloneError`].
pub fn alone(workflow: &Workflow, id: &StepId, given: &GivenOutputs) -> Result<Workflow, AloneError> {
    let Some(step) = workflow.step(id) else {
        let known = workflow.steps.iter().chain(workflow.on_failure.as_deref());
        let known: Vec<_> = known.map(|step| format!("`{}`", step.id)).collect();
        return Err(AloneError::NoStep { step: id.clone(), known: known.join(", ") });
    };
    let read = outputs_read(workflow, step)?;
    let is_given =
        |from: &StepId, name: &FieldName| given.get(from).is_some_and(|all| all.contains_key(name));
    let pairs = || read.iter().flat_map(|(from, names)| names.iter().map(move |name| (from, name)));
    let missing: Vec<_> = pairs()
        .filter(|(from, name)| !is_given(from, name))
        .map(|(from, name)| format!("`--output {from}.{name}=VALUE`"))
        .collect();
    if !missing.is_empty() {
        return Err(AloneError::Missing { step: id.clone(), cure: missing.join(" ") });
    }
    let all_given = given.iter().flat_map(|(from, all)| all.keys().map(move |name| (from, name)));
    for (from, name) in all_given {
        if !read.get(from).is_some_and(|names| names.contains(name)) {
            let known: Vec<_> = pairs().map(|(from, name)| format!("`{from}.{name}`")).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(AloneError::Unread { step: id.clone(), output: format!("{from}.{name}"), known });
        }
    }
    let before = workflow.steps.iter().filter(|step| read.contains_key(&step.id));
    let mut steps: Vec<Step> = before.map(|step| answered(step, given)).collect();
    let waits = match steps.as_slice() {
        [] => Waits::Nothing,
        steps => Waits::Needs(steps.iter().map(|step| step.id.clone()).collect()),
    };
    steps.push(Step { waits, ..step.clone() });
    Ok(Workflow { steps, on_failure: None, ..workflow.clone() })
}

/// A step that is answered and not run; were it run all the same, it would fail and do nothing.
fn answered(step: &Step, given: &GivenOutputs) -> Step {
    let names = given.get(&step.id);
    let is_given = |name: &FieldName| names.is_some_and(|all| all.contains_key(name));
    Step {
        waits: Waits::Nothing,
        condition: None,
        work: Work::Inline { shell: Shell::Sh, text: "exit 1".to_owned() },
        secrets: Vec::new(),
        with: None,
        retry: Retry::default(),
        outputs: step.outputs.clone().into_iter().filter(|(name, _)| is_given(name)).collect(),
        ..step.clone()
    }
}

/// The outputs of other steps that a step's expressions read; a step of which only the status is read has none.
fn outputs_read(
    workflow: &Workflow,
    step: &Step,
) -> Result<BTreeMap<StepId, BTreeSet<FieldName>>, AloneError> {
    let all = references(step);
    let not_givable = |reads: String| AloneError::NotGivable { step: step.id.clone(), reads };
    if all.computed.contains(&Root::Steps) {
        return Err(not_givable("a step whose name is computed".to_owned()));
    }
    let mut read: BTreeMap<StepId, BTreeSet<FieldName>> = BTreeMap::new();
    for used in &all.steps {
        // What no expression of a valid workflow names is not there.
        let Some(from) = workflow.steps.iter().find(|other| other.id.as_str() == used.step) else { continue };
        if from.for_each.is_some() {
            return Err(not_givable(format!("the items of step `{}`", from.id)));
        }
        let names = read.entry(from.id.clone()).or_default();
        match (used.field.as_deref(), &used.output) {
            (Some("status"), _) => {}
            (_, Some(output)) => names.extend(output.parse::<FieldName>().ok()),
            (_, None) => names.extend(from.outputs.keys().cloned()),
        }
    }
    Ok(read)
}

fn references(step: &Step) -> References {
    let mut all = References::default();
    if let Some(Ok(condition)) = step.condition.as_deref().map(Expression::parse) {
        all.merge(condition.references());
    }
    let mut template = |text: &str| {
        if let Ok(template) = Template::parse(text) {
            all.merge(&template.references());
        }
    };
    if let Some(each) = &step.for_each {
        template(&scope::marked(&each.items));
        if let Some(key) = &each.item_key {
            template(&scope::marked(key));
        }
    }
    step.with.iter().flat_map(|with| with.values()).for_each(|value| texts(value, &mut template));
    all
}

fn texts(value: &Value, take: &mut impl FnMut(&str)) {
    match value {
        Value::String(text) => take(text),
        Value::Array(list) => list.iter().for_each(|value| texts(value, take)),
        Value::Object(map) => map.values().for_each(|value| texts(value, take)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{ForEach, ValueType};
    use crate::run::samples::{step, workflow};

    fn flow() -> Workflow {
        let above = |name: &str| Waits::Above(name.parse().unwrap());
        let each = |items: &str| Some(ForEach { items: items.into(), item_key: None, max_parallel: 1 });
        let mut pull = step("pull", Waits::Nothing);
        pull.outputs = ["count", "day"].map(|name| (name.parse().unwrap(), ValueType::Int)).into();
        let mut load = step("load", above("pull"));
        load.with = Some(BTreeMap::from([(
            "deep".parse().unwrap(),
            json!({"a": [1, "n ${{ steps.pull.outputs.count }}"], "b": "${{ inputs.day }}"}),
        )]));
        let mut check = step("check", above("load"));
        check.condition = Some("steps.pull.status == 'success'".into());
        let mut whole = step("whole", above("check"));
        whole.for_each = each("${{ steps.pull.outputs.map(name, name) }}");
        let mut items = step("items", above("whole"));
        items.condition = Some("size(steps.whole.outputs) > 1".into());
        let mut computed = step("computed", above("items"));
        computed.for_each = each("steps[inputs.which].outputs");
        let mut plain = step("plain", above("computed"));
        plain.condition = Some("inputs.day != ''".into());
        let mut flow = workflow(vec![pull, load, check, whole, items, computed, plain]);
        flow.on_failure = Some(Box::new(step("on_failure", Waits::Nothing)));
        flow
    }

    #[track_caller]
    fn check(id: &str, given: &[(&str, &str)], want: Result<&[&str], &str>) {
        let mut outputs = GivenOutputs::new();
        for (from, name) in given {
            outputs.entry(from.parse().unwrap()).or_default().insert(name.parse().unwrap(), json!(1));
        }
        let got = alone(&flow(), &id.parse().unwrap(), &outputs);
        match want {
            Ok(want) => {
                let flow = got.unwrap();
                let steps: Vec<_> = flow.steps.iter().map(|step| step.id.as_str()).collect();
                assert_eq!((steps.as_slice(), flow.on_failure), (want, None));
                let last = flow.steps.last().unwrap();
                assert_eq!(last.waits.steps().len(), want.len() - 1);
            }
            Err(text) => assert_eq!(got.unwrap_err().to_string(), text),
        }
    }

    #[test]
    fn a_step_runs_alone_with_what_it_reads_given() {
        check("pull", &[], Ok(&["pull"]));
        check("plain", &[], Ok(&["plain"]));
        check("on_failure", &[], Ok(&["on_failure"]));
        check("load", &[("pull", "count")], Ok(&["pull", "load"]));
        check("check", &[], Ok(&["pull", "check"]));
        check("whole", &[("pull", "count"), ("pull", "day")], Ok(&["pull", "whole"]));
    }

    #[test]
    fn what_is_missing_or_too_much_is_named() {
        let gives = "step `load` reads outputs of other steps: give them by `--output pull.count=VALUE`";
        check("load", &[], Err(gives));
        let both = "step `whole` reads outputs of other steps: give them by `--output pull.day=VALUE`";
        check("whole", &[("pull", "count")], Err(both));
        let too_much = "step `load` does not read the output `pull.day`; it reads `pull.count`";
        check("load", &[("pull", "count"), ("pull", "day")], Err(too_much));
        check(
            "plain",
            &[("pull", "day")],
            Err("step `plain` does not read the output `pull.day`; it reads none"),
        );
        let items =
            "step `items` reads the items of step `whole`, which only a run of the whole workflow has";
        check("items", &[], Err(items));
        let computed =
            "step `computed` reads a step whose name is computed, which only a run of the whole workflow has";
        check("computed", &[], Err(computed));
        let known = "no step `other`; this workflow has `pull`, `load`, `check`, `whole`, `items`, `computed`, `plain`, `on_failure`";
        check("other", &[], Err(known));
    }

    #[test]
    fn an_answered_step_does_nothing_if_it_is_run() {
        let given =
            GivenOutputs::from([("pull".parse().unwrap(), [("count".parse().unwrap(), json!(2))].into())]);
        let flow = alone(&flow(), &"load".parse().unwrap(), &given).unwrap();
        assert_eq!(flow.steps[0].work, Work::Inline { shell: Shell::Sh, text: "exit 1".into() });
        assert_eq!(flow.steps[0].outputs.len(), 1);
    }
}
