//! What a step sees: its files, environment, input and limits.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::broker::Delivered;
use crate::domain::{AttemptId, HostPort, RunPins, Shell, Step, Work};
use crate::expression::Template;
use crate::sandbox::{
    Limits, PLACE_VARIABLES, PROXY_VARIABLES, Packages, Program, Reach, SecretFile, StepFile, StepSpec,
};
use crate::store::Lease;

/// Bytes of all files that a step sees.
pub(super) const FILES_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Bytes of one environment variable; longer inputs stand in `$TENANTRY_INPUT` alone.
const VARIABLE_BYTES_MAX: usize = 32 * 1024;

/// Puts together what the sandbox starts.
///
/// # Errors
/// Why this step cannot be started, for people.
pub(super) fn of(
    lease: &Lease,
    step: &Step,
    token: &str,
    files: Vec<StepFile>,
    packages: Option<Packages>,
    delivered: Delivered,
) -> Result<StepSpec, String> {
    let pins = &lease.pins;
    let program = match &step.work {
        Work::Script { path } => Program::File(path.clone()),
        Work::Inline { shell, text } => {
            Program::Inline { interpreter: interpreter(*shell), text: text.clone() }
        }
        Work::Approval(_) => return Err("an approval is given by people, not run".into()),
    };
    let mut environment = environment(lease, step, token);
    let mut secret_files = Vec::new();
    for (variable, value) in delivered.variables {
        check_variable(&variable)?;
        // The broker has checked that it is text.
        let text = String::from_utf8_lossy(value.expose()).into_owned();
        environment.insert(variable, text);
    }
    for (variable, value) in delivered.files {
        check_variable(&variable)?;
        let content = Arc::new(Zeroizing::new(value.expose().to_vec()));
        secret_files.push(SecretFile { variable, content });
    }
    let limits =
        Limits { resources: step.resources.clone(), timeout: step.timeout.to_std(), ..Limits::default() };
    Ok(StepSpec {
        name: name(&lease.attempt),
        tenant: pins.tenant.clone(),
        runtime: pins.workflow.runtime.clone(),
        program,
        packages,
        args: step.args.clone(),
        environment,
        files,
        input: lease.input.to_string().into_bytes(),
        reach: reach(lease, step),
        secret_files,
        limits,
    })
}

/// The hosts of the step, each once, and which of them may lie in a private range.
fn reach(lease: &Lease, step: &Step) -> Vec<Reach> {
    let hosts: BTreeSet<_> = step.network.iter().collect();
    let reach = |host: &HostPort| Reach { host: host.clone(), private: lease.private.contains(host) };
    hosts.into_iter().map(reach).collect()
}

/// Scripts written in YAML stop at their first failing command: nobody looks at the others' exit codes.
fn interpreter(shell: Shell) -> Vec<String> {
    let words: &[&str] = match shell {
        Shell::Sh => &["sh", "-e"],
        Shell::Bash => &["bash", "-eo", "pipefail"],
        Shell::Python => &["python3"],
        Shell::Node => &["node"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// The variables that the sandbox does not set itself. Source: design page `runs.md`, "What a step sees".
fn environment(lease: &Lease, step: &Step, token: &str) -> BTreeMap<String, String> {
    let pins = &lease.pins;
    let fixed = [
        ("LANG", "C.UTF-8".to_owned()),
        ("TZ", "UTC".to_owned()),
        ("TENANTRY_TENANT", pins.tenant.to_string()),
        ("TENANTRY_WORKFLOW", pins.workflow.id.to_string()),
        ("TENANTRY_RUN_ID", pins.id.to_string()),
        ("TENANTRY_STEP", step.id.to_string()),
        ("TENANTRY_ATTEMPT", lease.attempt.attempt.to_string()),
        ("TENANTRY_COMMIT", pins.commit.to_string()),
        ("TENANTRY_ENVIRONMENT", pins.environment.clone().unwrap_or_default()),
        ("TENANTRY_IDEMPOTENCY_KEY", lease.idempotency_key.clone()),
        ("TENANTRY_TOKEN", token.to_owned()),
        ("TRACEPARENT", traceparent(&lease.attempt)),
    ];
    let mut all: BTreeMap<String, String> =
        fixed.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let hidden = sensitive(pins, step);
    for (name, value) in lease.input.as_object().into_iter().flatten() {
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Bool(flag) => flag.to_string(),
            Value::Number(number) => number.to_string(),
            Value::Null | Value::Array(_) | Value::Object(_) => continue,
        };
        if !hidden.contains(name.as_str()) && text.len() <= VARIABLE_BYTES_MAX && !text.contains('\0') {
            all.insert(format!("INPUT_{}", name.to_ascii_uppercase()), text);
        }
    }
    all
}

/// The fields of the step's input that hold, or are made of, a sensitive input of the run.
fn sensitive<'a>(pins: &'a RunPins, step: &'a Step) -> BTreeSet<&'a str> {
    let hidden =
        || pins.workflow.inputs.iter().filter(|(_, input)| input.sensitive).map(|(name, _)| name.as_str());
    let Some(with) = &step.with else { return hidden().collect() };
    let reads_hidden = |text: &str| match Template::parse(text) {
        Ok(template) => {
            let read = template.references();
            read.computed.contains(&crate::expression::Root::Inputs)
                || hidden().any(|name| read.inputs.contains(name))
        }
        // It was rendered, so it parses; if not, it is not shown.
        Err(_) => true,
    };
    with.iter().filter(|(_, value)| any_text(value, &reads_hidden)).map(|(name, _)| name.as_str()).collect()
}

fn any_text(value: &Value, wanted: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::String(text) => wanted(text),
        Value::Array(list) => list.iter().any(|value| any_text(value, wanted)),
        Value::Object(map) => map.values().any(|value| any_text(value, wanted)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn check_variable(name: &str) -> Result<(), String> {
    if name.starts_with("TENANTRY_") || PLACE_VARIABLES.contains(&name) || PROXY_VARIABLES.contains(&name) {
        return Err(format!(
            "a secret cannot be delivered as `{name}`: the variable has a meaning of its own"
        ));
    }
    Ok(())
}

/// Names an attempt for people: readable, at most 80 bytes, different for every attempt.
fn name(attempt: &AttemptId) -> String {
    let digest = Sha256::digest(attempt.to_string().as_bytes());
    let step: String = attempt.step.as_str().chars().take(24).collect();
    let mut name = format!("{}.{step}.", attempt.run.short());
    for byte in &digest[..8] {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// The W3C trace context: the trace is the run, the span the attempt.
fn traceparent(attempt: &AttemptId) -> String {
    let trace: String = attempt.run.as_str().chars().filter(char::is_ascii_hexdigit).collect();
    let digest = Sha256::digest(attempt.to_string().as_bytes());
    // `run_` has no hexadecimal digits, so what is left is the id's 32.
    format!("00-{trace:0>32}-{}-01", hex::encode(&digest[..8]))
}
