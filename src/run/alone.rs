//! One step of a workflow by itself, for trying it out.

use std::collections::BTreeSet;

use serde_json::Value;

use super::scope;
use crate::domain::{Step, StepId, Waits, Workflow};
use crate::expression::{Expression, References, Root, Template};

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
    /// Its input or condition is made of what other steps give.
    #[error(
        "step `{step}` cannot run alone: it reads {reads}, which only a run of the whole workflow has; give the same values by inputs to try it out"
    )]
    Reads {
        /// The step.
        step: StepId,
        /// What it reads of others.
        reads: String,
    },
}

/// The workflow with one step only, which waits for nothing; what a failure would start is left out too.
///
/// # Errors
/// [`AloneError`].
pub fn alone(workflow: &Workflow, id: &StepId) -> Result<Workflow, AloneError> {
    let Some(step) = workflow.step(id) else {
        let known = workflow.steps.iter().chain(workflow.on_failure.as_deref());
        let known: Vec<_> = known.map(|step| format!("`{}`", step.id)).collect();
        return Err(AloneError::NoStep { step: id.clone(), known: known.join(", ") });
    };
    let reads: Vec<_> = reads_of_steps(step).into_iter().map(|path| format!("`{path}`")).collect();
    if !reads.is_empty() {
        return Err(AloneError::Reads { step: id.clone(), reads: reads.join(", ") });
    }
    let step = Step { waits: Waits::Nothing, ..step.clone() };
    Ok(Workflow { steps: vec![step], on_failure: None, ..workflow.clone() })
}

/// What a step's expressions read of other steps, as written.
fn reads_of_steps(step: &Step) -> BTreeSet<String> {
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
    let mut reads: BTreeSet<String> = all
        .steps
        .iter()
        .map(|used| {
            let parts = [Some("steps"), Some(&*used.step), used.field.as_deref(), used.output.as_deref()];
            parts.into_iter().flatten().collect::<Vec<_>>().join(".")
        })
        .collect();
    if all.computed.contains(&Root::Steps) {
        reads.insert("steps".to_owned());
    }
    reads
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
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::domain::ForEach;
    use crate::run::samples::{step, workflow};

    fn flow() -> Workflow {
        let above = |name: &str| Waits::Above(name.parse().unwrap());
        let mut load = step("load", above("pull"));
        load.with = Some(BTreeMap::from([(
            "deep".parse().unwrap(),
            json!({"a": [1, "n ${{ steps.pull.outputs.count }}"], "b": "${{ inputs.day }}"}),
        )]));
        let mut check = step("check", above("load"));
        check.condition = Some("steps.pull.status == 'success'".into());
        let mut each = step("each", above("check"));
        each.for_each =
            Some(ForEach { items: "steps[inputs.which].outputs".into(), item_key: None, max_parallel: 1 });
        let mut plain = step("plain", above("each"));
        plain.condition = Some("inputs.day != ''".into());
        let mut flow = workflow(vec![step("pull", Waits::Nothing), load, check, each, plain]);
        flow.on_failure = Some(Box::new(step("on_failure", Waits::Nothing)));
        flow
    }

    #[track_caller]
    fn check(id: &str, want: Result<(), &str>) {
        let got = alone(&flow(), &id.parse().unwrap());
        match want {
            Ok(()) => {
                let flow = got.unwrap();
                assert_eq!((flow.steps.len(), flow.on_failure.is_none()), (1, true));
                assert_eq!((flow.steps[0].id.as_str(), &flow.steps[0].waits), (id, &Waits::Nothing));
            }
            Err(text) => {
                let error = got.unwrap_err().to_string();
                assert!(error.contains(text), "{error}");
            }
        }
    }

    #[test]
    fn a_step_runs_alone_unless_it_reads_what_others_give() {
        check("pull", Ok(()));
        check("plain", Ok(()));
        check("on_failure", Ok(()));
        check("load", Err("reads `steps.pull.outputs.count`, which"));
        check("check", Err("reads `steps.pull.status`, which"));
        check("each", Err("reads `steps`, which"));
        check(
            "other",
            Err("no step `other`; this workflow has `pull`, `load`, `check`, `each`, `plain`, `on_failure`"),
        );
    }
}
