//! What a step wrote to `$TENANTRY_OUTPUT`, as values of the run.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::masking::Masking;
use crate::domain::FieldName;
use crate::sandbox::StepOutput;

/// Bytes of the outputs of one step and item.
pub(super) const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Reads one JSON object, secrets taken out of every text in it.
///
/// # Errors
/// What is wrong, for the script's author; never what was written.
pub(super) fn read(output: StepOutput, masking: &Arc<Masking>) -> Result<BTreeMap<FieldName, Value>, String> {
    let bytes = match output {
        StepOutput::Nothing => return Ok(BTreeMap::new()),
        StepOutput::Refused(reason) => return Err(format!("its outputs: {reason}")),
        StepOutput::Bytes(bytes) => bytes,
    };
    if bytes.len() > OUTPUT_BYTES_MAX {
        return Err(format!("its outputs have more than {OUTPUT_BYTES_MAX} bytes"));
    }
    if bytes.trim_ascii().is_empty() {
        return Ok(BTreeMap::new());
    }
    let value: Value = serde_json::from_slice(&bytes).map_err(|cause| {
        format!("its outputs are no JSON: line {}, column {}", cause.line(), cause.column())
    })?;
    let Value::Object(fields) = value else {
        return Err("its outputs are no JSON object such as {\"count\": 1}".into());
    };
    let mut outputs = BTreeMap::new();
    for (name, value) in fields {
        let name: FieldName = masking
            .redact(&name)
            .parse()
            .map_err(|cause| format!("its outputs have a name that is none: {cause}"))?;
        outputs.insert(name, redacted(value, masking));
    }
    // Redacting may lengthen; the bound is that of the run's state.
    if serde_json::to_vec(&outputs).map_or(true, |json| json.len() > 2 * OUTPUT_BYTES_MAX) {
        return Err(format!("its outputs have more than {OUTPUT_BYTES_MAX} bytes"));
    }
    Ok(outputs)
}

fn redacted(value: Value, masking: &Arc<Masking>) -> Value {
    match value {
        Value::String(text) => Value::String(masking.redact(&text)),
        // A secret of digits only may have been written as a number.
        Value::Number(number) => {
            let text = number.to_string();
            let shown = masking.redact(&text);
            if shown == text { Value::Number(number) } else { Value::String(shown) }
        }
        Value::Array(list) => Value::Array(list.into_iter().map(|value| redacted(value, masking)).collect()),
        Value::Object(map) => Value::Object(
            map.into_iter()
                .map(|(name, value)| (masking.redact(&name), redacted(value, masking)))
                .collect::<Map<_, _>>(),
        ),
        Value::Null | Value::Bool(_) => value,
    }
}
