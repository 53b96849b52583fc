//! A value of this machine's own making on the whole way that a secret takes: sealed into a file, opened by the
//! vault, asked for at the broker, written by a step in every shape, and looked for in all that would be kept.
#![expect(clippy::disallowed_methods, reason = "the command line makes a repository for a moment")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::sync::{mpsc, watch};

use super::RunArgs;
use super::prepare;
use crate::app::{self, LocalSandbox, Told};
use crate::cli::Ending;
use crate::cli::page::{Format, FormatArgs};
use crate::domain::{Outcome, TenantId};
use crate::record::{Form, RunRecord};
use crate::secrets::{Custody, FileVault, seal_fresh};
use crate::sops::Plaintext;

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Canary {
    /// How often each form was taken out.
    pub hits: BTreeMap<String, u64>,
    /// What came through, or did not happen at all; empty if all is well. No value stands in it.
    pub problems: Vec<String>,
}

/// The forms that the script writes; each has to be taken out at least once.
const WRITTEN: [Form; 5] = [Form::Raw, Form::Base64, Form::Base64Twice, Form::Hex, Form::Json];

/// Writes the value to both streams in several shapes, in two pieces, into an output and into the text of its end.
const SCRIPT: &str = r#"    value=$(tenantry-secret get canary)
    echo "out: $value"
    echo "err: $value" >&2
    printf %s "$value" | cut -c 1-20 | tr -d '\n'; sleep 0.2; printf '%s\n' "$value" | cut -c 21-
    printf 'user:%s' "$value" | base64
    printf %s "$value" | base64 | tr -d '\n'; echo
    printf %s "$value" | base64 | tr -d '\n' | base64 | tr -d '\n'; echo
    printf %s "$value" | od -An -v -tx1 | tr -d ' \n'; echo
    printf '{"a": "%s"}\n' "$(printf %s "$value" | sed 's/"/\\"/g')"
    tenantry-output note "it is $value"
    echo done
"#;

/// Lets a canary take the way of a secret on this machine.
///
/// # Errors
/// Steps are refused here, or the run could not be made.
pub(in crate::cli) async fn canary() -> Result<Canary, Ending> {
    let sandbox = LocalSandbox::open(None).await.map_err(Ending::could_not)?;
    if let Some(refusal) = sandbox.refusal() {
        return Err(Ending::CouldNot(format!("steps are refused on this machine: {refusal}")));
    }
    let home = tempfile::tempdir().map_err(Ending::could_not)?;
    let value = fresh()?;
    let custody = Custody::new(home.path().join("identities"));
    let args = write(home.path(), &custody, &value)?;
    let mut ask = prepare::prepare(&args)?.ask;
    ask.vault = Arc::new(FileVault::new(custody));
    let (told, mut news) = mpsc::channel(64);
    let (_cancel, cancelled) = watch::channel(None);
    let listening = async {
        let mut log = String::new();
        while let Some(one) = news.recv().await {
            if let Told::Wrote(_, records) = one {
                records.iter().for_each(|record| log.push_str(&record.text));
            }
        }
        log
    };
    let (record, log) = tokio::join!(sandbox.run(ask, told, cancelled), listening);
    let record = record.map_err(Ending::could_not)?;
    Ok(judge(value.expose(), &log, &record))
}

/// 128 random bits as a text that every encoding changes.
fn fresh() -> Result<Plaintext, Ending> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(Ending::could_not)?;
    let digits = hex::encode(bytes);
    Ok(Plaintext::new(format!("can\"ary/{}+{}", &digits[..16], &digits[16..]).into_bytes()))
}

/// A repository of one tenant with one secret and one workflow.
fn write(home: &Path, custody: &Custody, value: &Plaintext) -> Result<RunArgs, Ending> {
    let now = app::now();
    let names = |text: &str| format!("the names of the canary: {text}");
    let tenant: TenantId = "canary".parse().map_err(|error| Ending::CouldNot(names(&format!("{error}"))))?;
    let (name, version) = ("canary".parse(), "v1".parse());
    let (Ok(name), Ok(version), Ok(workflow)) = (name, version, "canary/canary".parse()) else {
        return Err(Ending::CouldNot(names("they are none")));
    };
    let recipient = custody.create(&tenant, now).map_err(Ending::could_not)?;
    let sealed = seal_fresh(&name, &version, value, std::slice::from_ref(&recipient), now);
    let sealed = sealed.map_err(Ending::could_not)?;
    let repo = home.join("repo");
    let workflow_text = format!(
        "steps:\n  write:\n    secrets: [canary]\n    outputs: {{ note: string }}\n    script: |\n{}",
        SCRIPT.lines().map(|line| format!("  {line}\n")).collect::<String>()
    );
    let files = [
        (
            "tenantry.toml",
            "format = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11\"\nname = \"canary\"\n".to_owned(),
        ),
        ("platform/people.yaml", "users:\n  alice: {}\n  bob: {}\n".to_owned()),
        ("platform/roles.yaml", "admin: [alice]\n".to_owned()),
        ("tenants/canary/tenant.yaml", format!("owner: bob\nsecrets:\n  recipients: [{recipient}]\n")),
        ("tenants/canary/roles.yaml", "operator: [bob]\n".to_owned()),
        (
            "tenants/canary/secrets.yaml",
            "secrets:\n  canary:\n    versions:\n      - { id: v1, state: current }\n".to_owned(),
        ),
        ("tenants/canary/secrets/canary.v1.sops.yaml", sealed),
        ("tenants/canary/workflows/canary.yaml", workflow_text),
        // Read before anything starts, and never opened: the vault opens the file above.
        ("stand-ins.env", "canary=stands-in-until-the-vault-does\n".to_owned()),
    ];
    for (path, text) in files {
        let path = repo.join(path);
        let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
        made.and_then(|()| std::fs::write(&path, text)).map_err(Ending::could_not)?;
    }
    Ok(RunArgs {
        runtimes: None,
        workflow,
        secrets_file: Some(repo.join("stand-ins.env")),
        repo,
        inputs: Vec::new(),
        step: None,
        approve: Vec::new(),
        outputs: Vec::new(),
        watch: false,
        format: FormatArgs { format: Format::Human },
    })
}

/// Looks for the value in all that would be kept, in shapes that are made here and not by the redactor.
fn judge(value: &[u8], log: &str, record: &RunRecord) -> Canary {
    let text = String::from_utf8_lossy(value);
    let encoded = STANDARD.encode(value);
    let shapes = [
        ("as it is", text.clone().into_owned()),
        ("in base64", encoded.trim_end_matches('=').to_owned()),
        ("twice in base64", STANDARD.encode(&encoded).trim_end_matches('=').to_owned()),
        ("in hexadecimal", hex::encode(value)),
        ("in JSON", text.replace('"', "\\\"")),
        ("as its middle", text.get(8..24).unwrap_or_default().to_owned()),
    ];
    let kept = serde_json::to_string(record).unwrap_or_default();
    let lines: String = log.split_whitespace().collect();
    let mut problems = Vec::new();
    for (place, where_it_is) in
        [("the log", log), ("the log without its breaks", &lines), ("the run's record", &kept)]
    {
        let through = shapes.iter().filter(|(_, shape)| where_it_is.contains(shape.as_str()));
        problems.extend(through.map(|(how, _)| format!("the canary came through {how} in {place}")));
    }
    let mut hits = BTreeMap::<String, u64>::new();
    for attempt in record.steps.iter().filter_map(|step| step.record.as_ref()) {
        attempt.redactions.iter().for_each(|(form, count)| *hits.entry(form.clone()).or_default() += count);
    }
    let missing: BTreeSet<&str> =
        WRITTEN.iter().map(|form| form.word()).filter(|word| !hits.contains_key(*word)).collect();
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.into_iter().collect();
        problems.push(format!("nothing was taken out in the forms {}", missing.join(", ")));
    }
    if record.outcome != Some(Outcome::Success) || !log.contains("done") {
        let why = record.reason.clone().or_else(|| record.steps.iter().find_map(|step| step.reason.clone()));
        problems.push(format!(
            "its run did not succeed: {}",
            why.unwrap_or_else(|| "no reason given".to_owned())
        ));
    }
    Canary { hits, problems }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A judge that finds nothing would prove nothing.
    #[test]
    fn what_comes_through_is_found_in_every_shape() {
        let value = b"can\"ary/0123456789abcdef+0123456789abcdef";
        let text = String::from_utf8_lossy(value);
        let encoded = STANDARD.encode(value);
        let wrapped = format!("{}\n{}", &encoded[..20], &encoded[20..]);
        let made = || -> RunRecord { serde_json::from_value(record()).unwrap() };
        for (log, how) in [
            (format!("out: {text}\ndone"), "as it is"),
            (format!("{encoded}\ndone"), "in base64"),
            (format!("{wrapped}\ndone"), "in base64 in the log without its breaks"),
            (format!("{}\ndone", STANDARD.encode(&encoded)), "twice in base64"),
            (format!("{}\ndone", hex::encode(value)), "in hexadecimal"),
            (format!("{}\ndone", text.replace('"', "\\\"")), "in JSON"),
            (format!("{}\ndone", &text[..30]), "as its middle"),
        ] {
            let found = judge(value, &log, &made());
            assert!(
                found.problems.iter().any(|problem| problem.contains(how)),
                "{how}: {:?}",
                found.problems
            );
            assert!(!format!("{found:?}").contains("0123456789abcdef"), "{found:?}");
        }
        let quiet = judge(value, "[redacted:canary]\ndone", &made());
        assert_eq!(
            quiet.problems,
            ["nothing was taken out in the forms base64, base64_twice, hex, json, raw"]
        );
    }

    fn record() -> serde_json::Value {
        serde_json::json!({
            "id": "run_0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11", "tenant": "canary", "workflow": "canary",
            "environment": null, "commit": "a".repeat(40), "tree": "b".repeat(40),
            "trigger": { "kind": "manual", "key": "k", "time": "2026-11-26T00:00:00Z" },
            "actor": "local:0", "state": "ended", "outcome": "success", "reason": null,
            "created_at": "2026-11-26T00:00:00Z", "started_at": null, "ended_at": null, "steps": [],
            "secrets_used": [], "scripts": {}, "inputs_digest": "", "rerun_of": null,
        })
    }
}
