//! Sensitive inputs: out of everything that is stored or rendered, and put into a step's input by its worker alone.
//!
//! They stand in `with` as whole values only, so that their places are known from the workflow; to every expression they
//! are null. Sealing and opening them is no business of this room.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::domain::{FieldName, RunPins, Step, digest_of};
use crate::expression::whole_input;

/// The values of sensitive inputs, by name.
pub type Sensitive = BTreeMap<FieldName, String>;

/// The sensitive inputs that stand in clear in pins that were just made; empty once they are sealed.
#[must_use]
pub fn in_clear(pins: &RunPins) -> Sensitive {
    let declared = pins.workflow.inputs.iter().filter(|(_, input)| input.sensitive);
    declared
        .filter_map(|(name, _)| Some((name.clone(), pins.inputs.get(name)?.as_str()?.to_owned())))
        .collect()
}

/// The pins without any sensitive input, their ciphertext beside the others.
#[must_use]
pub fn sealed(mut pins: RunPins, ciphertext: Option<String>) -> RunPins {
    let workflow = &pins.workflow;
    pins.inputs.retain(|name, _| !workflow.inputs.get(name).is_some_and(|input| input.sensitive));
    pins.inputs_digest = digest_of(&pins.inputs);
    pins.sealed = ciphertext;
    pins
}

/// The sensitive inputs that a step is given: all of the run's, or those that its `with` names.
#[must_use]
pub fn used(pins: &RunPins, step: &Step) -> Vec<FieldName> {
    let declared = pins.workflow.inputs.iter().filter(|(_, input)| input.sensitive).map(|(name, _)| name);
    let named = |name: &FieldName| match &step.with {
        None => true,
        Some(with) => with.values().any(|value| stands_in(value, name)),
    };
    declared.filter(|name| named(name)).cloned().collect()
}

/// The input of a step with the values in their places.
#[must_use]
pub fn filled(step: &Step, mut input: Value, values: &Sensitive) -> Value {
    let Value::Object(fields) = &mut input else { return input };
    match &step.with {
        None => {
            for (name, value) in values {
                fields.insert(name.as_str().to_owned(), Value::String(value.clone()));
            }
        }
        Some(with) => {
            for (name, written) in with {
                if let Some(field) = fields.get_mut(name.as_str()) {
                    fill(written, field, values);
                }
            }
        }
    }
    input
}

fn fill(written: &Value, rendered: &mut Value, values: &Sensitive) {
    match (written, rendered) {
        (Value::String(text), place) => {
            if let Some(value) = whole_input(text).and_then(|name| values.get(name)) {
                *place = Value::String(value.clone());
            }
        }
        (Value::Array(written), Value::Array(rendered)) => {
            written.iter().zip(rendered).for_each(|(written, place)| fill(written, place, values));
        }
        (Value::Object(written), Value::Object(rendered)) => {
            for (name, written) in written {
                if let Some(place) = rendered.get_mut(name) {
                    fill(written, place, values);
                }
            }
        }
        _ => {}
    }
}

fn stands_in(written: &Value, name: &FieldName) -> bool {
    match written {
        Value::String(text) => whole_input(text) == Some(name.as_str()),
        Value::Array(list) => list.iter().any(|value| stands_in(value, name)),
        Value::Object(map) => map.values().any(|value| stands_in(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{Input, ValueType, Waits};
    use crate::run::samples::{at, pins, step, workflow};
    use crate::run::{RunEvent, RunState, advance};

    fn name(text: &str) -> FieldName {
        text.parse().expect("a name")
    }

    fn run(with: Option<Value>) -> RunPins {
        let mut main = step("main", Waits::Nothing);
        main.with = with.map(|with| {
            let fields = with.as_object().expect("fields").clone();
            fields.into_iter().map(|(field, value)| (name(&field), value)).collect()
        });
        let mut flow = workflow(vec![main]);
        let input = |sensitive| Input {
            value_type: ValueType::String,
            format: None,
            allowed: vec![],
            default: None,
            required: false,
            sensitive,
            description: None,
        };
        flow.inputs = [(name("day"), input(false)), (name("email"), input(true))].into();
        let mut pins = pins(flow);
        pins.inputs.insert(name("email"), json!("canary@acme.example"));
        pins
    }

    fn rendered(pins: &RunPins) -> Value {
        let (state, _) = advance(pins, RunState::new(&pins.workflow), RunEvent::Admitted, at(0));
        assert!(!serde_json::to_string(&state).expect("text").contains("canary"), "no state holds it");
        state.item(&"main".parse().expect("a name"), 0).expect("begun").input.clone()
    }

    #[test]
    fn what_is_stored_holds_no_sensitive_input() {
        let pins = run(None);
        let values = in_clear(&pins);
        assert_eq!(values, [(name("email"), "canary@acme.example".to_owned())].into());
        let before = pins.inputs_digest.clone();
        let pins = sealed(pins, Some("ciphertext".into()));
        assert!(!serde_json::to_string(&pins).expect("text").contains("canary"));
        assert_ne!(pins.inputs_digest, before);
        assert_eq!((in_clear(&pins).len(), pins.sealed.as_deref()), (0, Some("ciphertext")));
    }

    #[test]
    fn a_worker_puts_them_where_the_step_names_them() {
        let pins = run(None);
        let (main, values) = (&pins.workflow.steps[0], in_clear(&pins));
        assert_eq!(used(&pins, main), [name("email")]);
        let full = json!({"day": "2026-11-23", "email": "canary@acme.example"});
        assert_eq!(filled(main, rendered(&pins), &values), full);

        let with = json!({
            "to": "${{ inputs.email }}",
            "deep": [{"cc": "${{inputs.email}}"}, "${{ inputs.day }}"],
            "null": "${{ inputs['em' + 'ail'] }}",
        });
        let pins = run(Some(with));
        let (main, values) = (&pins.workflow.steps[0], in_clear(&pins));
        assert_eq!(used(&pins, main), [name("email")]);
        let want = json!({
            "to": "canary@acme.example",
            "deep": [{"cc": "canary@acme.example"}, "2026-11-23"],
            "null": null,
        });
        assert_eq!(filled(main, rendered(&pins), &values), want);

        let pins = run(Some(json!({"day": "${{ inputs.day }}", "text": "inputs.email"})));
        assert_eq!(used(&pins, &pins.workflow.steps[0]), []);
        assert_eq!(filled(&pins.workflow.steps[0], rendered(&pins), &in_clear(&pins)), rendered(&pins));
    }
}
