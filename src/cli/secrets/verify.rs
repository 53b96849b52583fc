//! `tenantry secrets verify`: opens every version of a tenant with the person's or the tenant's keys, and judges the
//! rest without keys.

use std::fmt::Write as _;

use clap::Args;

use super::decrypt::read;
use super::index;
use super::keys::{KeyArgs, ask};
use super::list::{ListFormat, table};
use super::worktree::WorkTree;
use super::{Done, Outcome, RepositoryArgs, could_not, uses};
use crate::domain::{SecretName, Severity, TenantId, VersionId};
use crate::record::redactable;
use crate::secrets::UserIdentities;
use crate::sops;

/// The options of `tenantry secrets verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
For each version that is not revoked: its file opens, its MAC fits, it holds the value that the index names, and the
redactor can protect it. Then what needs no key: recipients, hidden readers, plaintext, index and files. No value is
shown. Exit code 1 if anything is wrong.")]
pub struct VerifyArgs {
    /// The tenant
    pub tenant: TenantId,
    /// How to show it
    #[arg(long, value_enum, default_value = "human")]
    pub format: ListFormat,
    /// Keys.
    #[command(flatten)]
    pub keys: KeyArgs,
    /// The repository.
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

struct Checked {
    secret: String,
    version: String,
    state: String,
    file: String,
    problem: Option<String>,
}

pub(super) fn verify(args: &VerifyArgs) -> Done {
    let tree = args.repository.tree_of(&args.tenant)?;
    let listed = super::listed(&tree, &args.tenant)?;
    let mut found = args.keys.find(Some(&args.tenant)).map_err(could_not)?;
    let mut checked = Vec::new();
    for secret in &listed {
        for version in secret.versions.iter().filter(|version| version.state != "revoked") {
            let file = format!("tenants/{}/{}", args.tenant, version.file);
            let problem = check(&tree, &file, secret, &version.id, &mut found).err();
            checked.push(Checked {
                secret: secret.name.clone(),
                version: version.id.clone(),
                state: version.state.clone(),
                file,
                problem,
            });
        }
    }
    let findings = uses::findings(&tree, &args.tenant).unwrap_or_default();
    let policy: Vec<_> = findings.iter().filter(|finding| finding.rule.id.starts_with('K')).collect();
    let wrong = checked.iter().any(|entry| entry.problem.is_some())
        || policy.iter().any(|finding| finding.severity == Severity::Error);
    let mut done = Outcome { code: u8::from(wrong), ..Outcome::default() };
    if args.format == ListFormat::Json {
        let versions: Vec<serde_json::Value> = checked
            .iter()
            .map(|entry| {
                serde_json::json!({
                    "secret": entry.secret, "version": entry.version, "state": entry.state,
                    "file": entry.file, "ok": entry.problem.is_none(), "problem": entry.problem,
                })
            })
            .collect();
        let findings: Vec<serde_json::Value> = policy
            .iter()
            .map(|finding| {
                serde_json::json!({
                    "rule": finding.rule.id, "severity": finding.severity,
                    "path": finding.at.path, "message": finding.message,
                })
            })
            .collect();
        let document = serde_json::json!({
            "schema": "tenantry.secrets_verify/1", "tenant": args.tenant, "ok": !wrong,
            "versions": versions, "findings": findings,
        });
        done.out.extend_from_slice(format!("{document:#}\n").as_bytes());
        return Ok(done);
    }
    if checked.is_empty() {
        done.out.extend_from_slice(b"no versions to open\n");
    } else {
        let mut rows = vec![["SECRET", "VERSION", "STATE", "VERDICT"].map(str::to_owned).to_vec()];
        for entry in &checked {
            let verdict = entry.problem.clone().unwrap_or_else(|| "ok".to_owned());
            rows.push(vec![entry.secret.clone(), entry.version.clone(), entry.state.clone(), verdict]);
        }
        done.out.extend_from_slice(table(&rows).as_bytes());
    }
    let mut text = String::new();
    for finding in &policy {
        let severity = if finding.severity == Severity::Error { "error" } else { "warning" };
        let _ = writeln!(text, "{severity}[{}] {}: {}", finding.rule.id, finding.at.path, finding.message);
    }
    done.out.extend_from_slice(text.as_bytes());
    for problem in &found.problems {
        let _ = writeln!(done.said, "note: {problem}");
    }
    Ok(done)
}

/// Opens one version as a worker would. What is wrong is a sentence without values.
fn check(
    tree: &WorkTree,
    file: &str,
    secret: &index::Listed,
    version: &str,
    found: &mut UserIdentities,
) -> Result<(), String> {
    let bytes = read(Some(&tree.path(file))).map_err(|error| format!("`{file}` cannot be read: {error}"))?;
    let name: SecretName = secret.name.parse().map_err(|error| format!("its name: {error}"))?;
    let version: VersionId = version.parse().map_err(|error| format!("its id: {error}"))?;
    let opened = found.open_with(&mut ask, |identities| sops::open(&bytes, identities));
    let value =
        opened.and_then(|opened| opened.into_secret(&name, &version)).map_err(|error| error.to_string())?;
    if secret.redact {
        redactable(&value).map_err(|reason| format!("the value {reason}"))?;
    }
    Ok(())
}
