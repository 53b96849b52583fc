//! `start`, `rerun`, `cancel`, `approve-step`, `pause`, `resume`, `suspend`, `pin`, `release`: what needs a daemon and a right.

use serde_json::{Map, Value, json};

use super::door::{Door, ReachArgs};
use super::naming::{self, TenantOrWorkflow, WorkflowName};
use super::page::{self, Format, FormatArgs};
use super::{Ending, looking, now};
use crate::client::Question;
use crate::domain::{SecretName, StepId, TenantId, VersionId};

/// The options of `tenantry start`.
#[derive(Clone, Debug, clap::Args)]
pub struct StartArgs {
    /// The workflow, as TENANT/WORKFLOW
    #[arg(value_name = "TENANT/WORKFLOW")]
    pub workflow: WorkflowName,
    /// An input; the value is read as JSON where its type is not text
    #[arg(long = "input", value_name = "NAME=VALUE")]
    pub inputs: Vec<String>,
    /// Checks the inputs and says what would start
    #[arg(long)]
    pub dry_run: bool,
    /// Starts at most one run for each key, however often it is asked
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Starts a workflow by hand.
///
/// # Errors
/// [`Ending`].
pub async fn start(args: &StartArgs) -> Result<(), Ending> {
    let door = Door::daemon(&args.reach).await?;
    let WorkflowName { tenant, workflow } = &args.workflow;
    let document = door.ask(Question::get(format!("/api/v1/tenants/{tenant}/workflows"))).await?;
    let declared = document["workflows"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["workflow"] == workflow.as_str())
        .map(|one| one["inputs"].clone())
        .unwrap_or_default();
    let inputs = inputs(&args.inputs, &declared)?;
    let mut question = Question::post(
        format!("/api/v1/tenants/{tenant}/workflows/{workflow}/start"),
        json!({ "inputs": inputs, "dry_run": args.dry_run }),
    );
    question.key.clone_from(&args.key);
    started(&door.ask(question).await?, args.format.format);
    Ok(())
}

/// Reads `NAME=VALUE` by the types that the workflow declares; an undeclared one stays text and is refused later.
///
/// # Errors
/// A usage error that names the input, never its value.
pub fn inputs(given: &[String], declared: &Value) -> Result<Map<String, Value>, Ending> {
    let mut inputs = Map::new();
    for one in given {
        let (name, text) =
            one.split_once('=').ok_or_else(|| Ending::Usage("an input is written NAME=VALUE".to_owned()))?;
        let value = match declared[name]["value_type"].as_str() {
            None | Some("string") => Value::String(text.to_owned()),
            Some(kind) => serde_json::from_str(text)
                .map_err(|_| Ending::Usage(format!("input `{name}` is not of type {kind}")))?,
        };
        if inputs.insert(name.to_owned(), value).is_some() {
            return Err(Ending::Usage(format!("input `{name}` is given twice")));
        }
    }
    Ok(inputs)
}

fn started(document: &Value, format: Format) {
    match format {
        Format::Json => page::json(document),
        Format::Human if document["dry_run"] == true => would_start(document),
        Format::Human => page::line(page::text(document, "run")),
    }
    if document["known"] == true {
        anstream::eprintln!("this key has started that run before");
    }
}

/// Prints what a start would do, for people.
fn would_start(document: &Value) {
    page::line(&format!(
        "would start {} at {}",
        page::text(document, "workflow"),
        page::short_commit(document, "commit")
    ));
    let fact = |name: &str, value: &str| page::line(&format!("  {name:<8} {value}"));
    for step in document["steps"].as_array().into_iter().flatten() {
        let does = match (page::text(step, "does"), step["items_kept"].as_u64().unwrap_or_default()) {
            ("keep", _) => ": kept, not run again".to_owned(),
            ("run_rest", kept) => format!(": the items that are left, {kept} kept"),
            _ => String::new(),
        };
        fact("step", &format!("{}{does}", page::text(step, "id")));
    }
    for (name, field) in [("input", "inputs"), ("secret", "secrets"), ("waits", "waits")] {
        for value in document[field].as_array().into_iter().flatten().filter_map(Value::as_str) {
            fact(name, &page::shown(value));
        }
    }
}

/// The options of `tenantry rerun`.
#[derive(Clone, Debug, clap::Args)]
pub struct RerunArgs {
    /// A full id, its last 6 or more characters, or TENANT/WORKFLOW for the latest that failed
    #[arg(value_name = "RUN")]
    pub run: String,
    /// `applied` takes the code now in force instead of the run's own
    #[arg(long, value_name = "WHICH", value_parser = ["applied"])]
    pub at: Option<String>,
    /// Keeps what succeeded, single items too, and runs the rest
    #[arg(long)]
    pub failed: bool,
    /// Gives its steps another TENANTRY_IDEMPOTENCY_KEY: what was done counts as not done
    #[arg(long)]
    pub new_key: bool,
    /// Says what would run and changes nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Starts at most one run for each key, however often it is asked
    #[arg(long, value_name = "KEY")]
    pub key: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Runs a run again.
///
/// # Errors
/// [`Ending`].
pub async fn rerun(args: &RerunArgs) -> Result<(), Ending> {
    let door = Door::daemon(&args.reach).await?;
    let chosen = naming::resolve(&door, &args.run, true).await?;
    let target = format!("/api/v1/tenants/{}/runs/{}/rerun", chosen.tenant, chosen.run);
    let body = json!({
        "at": args.at,
        "failed": args.failed,
        "new_key": args.new_key,
        "dry_run": args.dry_run,
    });
    let mut question = Question::post(target, body);
    question.key.clone_from(&args.key);
    let document = door.ask(question).await?;
    started(&document, args.format.format);
    if let Some(said) = code_said(&document["code"], args.at.is_some()) {
        anstream::eprintln!("{said}");
    }
    Ok(())
}

/// What to know about the code of a rerun, where it is not the one in force.
fn code_said(code: &Value, at_applied: bool) -> Option<String> {
    let (own, in_force) = (page::short_commit(code, "run"), page::short_commit(code, "in_force"));
    match (code["differs"] == true, code["gone"] == true, at_applied) {
        (false, _, _) => None,
        (true, _, true) => Some(format!("note: takes the code in force, of {in_force}, instead of {own}")),
        (true, true, false) => Some(format!(
            "note: runs the code of {own}; at {in_force}, which is in force, the workflow is gone"
        )),
        (true, false, false) => Some(format!(
            "note: runs the code of {own}; in force is that of {in_force}, which differs: `--at applied` takes it"
        )),
    }
}

/// The options of `tenantry cancel`.
#[derive(Clone, Debug, clap::Args)]
pub struct CancelArgs {
    /// A full id, its last 6 or more characters, or TENANT/WORKFLOW for the latest
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Why
    #[arg(long)]
    pub reason: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Asks for the end of a run.
///
/// # Errors
/// [`Ending`].
pub async fn cancel(args: &CancelArgs) -> Result<(), Ending> {
    let door = Door::daemon(&args.reach).await?;
    let chosen = naming::resolve(&door, &args.run, false).await?;
    let target = format!("/api/v1/tenants/{}/runs/{}/cancel", chosen.tenant, chosen.run);
    door.ask(Question::post(target, json!({ "reason": args.reason }))).await?;
    page::line(&format!("cancelling {}", chosen.run));
    Ok(())
}

/// The options of `tenantry approve-step`.
#[derive(Clone, Debug, clap::Args)]
pub struct ApproveStepArgs {
    /// The run and its step: a full id, its last 6 or more characters, or TENANT/WORKFLOW for the latest run, then
    /// `/STEP`
    #[arg(value_name = "RUN/STEP")]
    pub step: String,
    /// Says no: the step ends as rejected, and all that waits for it is skipped
    #[arg(long, requires = "reason")]
    pub reject: bool,
    /// Why; required to reject
    #[arg(long)]
    pub reason: Option<String>,
    /// Answers only if this digest is still what is shown, as `tenantry show RUN` prints it
    #[arg(long, value_name = "DIGEST")]
    pub shown: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Answers what a step asks people, with what it shows printed before.
///
/// # Errors
/// [`Ending`].
pub async fn approve_step(args: &ApproveStepArgs) -> Result<(), Ending> {
    let written =
        args.step.rsplit_once('/').and_then(|(run, step)| Some((run, step.parse::<StepId>().ok()?)));
    let (run, step) = written.ok_or_else(|| Ending::Usage(format!("`{}` is not RUN/STEP", args.step)))?;
    let door = Door::daemon(&args.reach).await?;
    let chosen = naming::resolve(&door, run, false).await?;
    let target = format!("/api/v1/tenants/{}/runs/{}", chosen.tenant, chosen.run);
    let document = door.ask(Question::get(target.clone())).await?;
    let record =
        document["run"]["steps"].as_array().into_iter().flatten().find(|one| one["id"] == step.as_str());
    let asked = record.map(|record| &record["approval"]).filter(|asked| asked.is_object());
    let Some(asked) = asked else {
        let message = format!("step `{step}` of {} does not ask for an approval now", chosen.run);
        return Err(Ending::No(message));
    };
    for line in looking::shown_by(asked) {
        anstream::eprintln!("{line}");
    }
    let shown = args.shown.as_deref().unwrap_or_else(|| page::text(asked, "shown"));
    let verb = if args.reject { "reject" } else { "approve" };
    let body = json!({ "shown": shown, "reason": args.reason });
    let document = door.ask(Question::post(format!("{target}/steps/{step}/{verb}"), body)).await?;
    if args.format.format == Format::Json {
        page::json(&document);
        return Ok(());
    }
    let asked = &document["approval"];
    let given = asked["given"].as_array().map_or(0, Vec::len);
    let known = if document["known"] == true { "already " } else { "" };
    page::line(&match document["outcome"].as_str() {
        Some(outcome) => format!("{known}{}: step {step} ended as {outcome}", page::text(&document, "done")),
        None => {
            format!("{known}{}: {given} of {} people agree", page::text(&document, "done"), asked["count"])
        }
    });
    Ok(())
}

/// The options of `tenantry pause`.
#[derive(Clone, Debug, clap::Args)]
pub struct PauseArgs {
    /// The tenant, or one workflow as TENANT/WORKFLOW
    #[arg(value_name = "TENANT[/WORKFLOW]")]
    pub target: TenantOrWorkflow,
    /// Why
    #[arg(long)]
    pub reason: String,
    /// When it lets itself go: a time, or a length such as 4h
    #[arg(long, value_name = "TIME", default_value = "24h")]
    pub until: String,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Lets runs wait unleased for a time.
///
/// # Errors
/// [`Ending`].
pub async fn pause(args: &PauseArgs) -> Result<(), Ending> {
    let until = naming::until(&args.until, now())?;
    let door = Door::daemon(&args.reach).await?;
    let TenantOrWorkflow { tenant, workflow } = &args.target;
    let target = match workflow {
        Some(workflow) => format!("/api/v1/tenants/{tenant}/workflows/{workflow}/pause"),
        None => format!("/api/v1/tenants/{tenant}/suspend"),
    };
    door.ask(Question::post(target, json!({ "reason": args.reason, "until": until }))).await?;
    page::line(&format!("paused until {until}"));
    Ok(())
}

/// The options of `tenantry resume`.
#[derive(Clone, Debug, clap::Args)]
pub struct ResumeArgs {
    /// The tenant, or one workflow as TENANT/WORKFLOW
    #[arg(value_name = "TENANT[/WORKFLOW]")]
    pub target: TenantOrWorkflow,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Ends a pause or a suspension by command.
///
/// # Errors
/// [`Ending`].
pub async fn resume(args: &ResumeArgs) -> Result<(), Ending> {
    let door = Door::daemon(&args.reach).await?;
    let TenantOrWorkflow { tenant, workflow } = &args.target;
    let target = match workflow {
        Some(workflow) => format!("/api/v1/tenants/{tenant}/workflows/{workflow}/resume"),
        None => format!("/api/v1/tenants/{tenant}/resume"),
    };
    door.ask(Question::post(target, json!({}))).await?;
    page::line("resumed");
    Ok(())
}

/// The options of `tenantry suspend`.
#[derive(Clone, Debug, clap::Args)]
pub struct SuspendArgs {
    /// The tenant
    pub tenant: TenantId,
    /// Why
    #[arg(long)]
    pub reason: String,
    /// When it lets itself go: a time, or a length such as 4h [default: stays]
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Suspends a tenant: nothing of it starts until it is resumed.
///
/// # Errors
/// [`Ending`].
pub async fn suspend(args: &SuspendArgs) -> Result<(), Ending> {
    let until = args.until.as_deref().map(|text| naming::until(text, now())).transpose()?;
    let door = Door::daemon(&args.reach).await?;
    let target = format!("/api/v1/tenants/{}/suspend", args.tenant);
    door.ask(Question::post(target, json!({ "reason": args.reason, "until": until }))).await?;
    page::line(&format!("suspended; `tenantry resume {}` ends it", args.tenant));
    Ok(())
}

/// The options of `tenantry pin`.
#[derive(Clone, Debug, clap::Args)]
pub struct PinArgs {
    /// The tenant
    pub tenant: TenantId,
    /// A commit that this tenant has applied, or its first 4 or more digits
    #[arg(long, value_name = "SHA", required_unless_present = "off")]
    pub to: Option<String>,
    /// Why
    #[arg(long, required_unless_present = "off")]
    pub reason: Option<String>,
    /// When it lets itself go: a time, or a length such as 4h
    #[arg(long, value_name = "TIME", default_value = "4h")]
    pub until: String,
    /// Lets a pinned tenant follow Git again
    #[arg(long, conflicts_with_all = ["to", "reason"])]
    pub off: bool,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Holds a tenant's code at an older commit for a time.
///
/// # Errors
/// [`Ending`].
pub async fn pin(args: &PinArgs) -> Result<(), Ending> {
    let until = naming::until(&args.until, now())?;
    let door = Door::daemon(&args.reach).await?;
    let tenant = &args.tenant;
    if args.off {
        door.ask(Question::post(format!("/api/v1/tenants/{tenant}/unpin"), json!({}))).await?;
        page::line(&format!("{tenant} follows Git again; nothing was started by it"));
        return Ok(());
    }
    let body = json!({ "to": args.to, "reason": args.reason, "until": until });
    let document = door.ask(Question::post(format!("/api/v1/tenants/{tenant}/pin"), body)).await?;
    if args.format.format == Format::Json {
        page::json(&document);
        return Ok(());
    }
    let pin = &document["pinned"];
    page::line(&format!(
        "the code of {tenant} is that of {} until {}; access, secrets and policies stay as applied",
        page::short_commit(pin, "commit"),
        page::text(pin, "until")
    ));
    anstream::eprintln!(
        "runs that were queued before keep their own code: `tenantry runs {tenant}` lists them; \
         `tenantry pin {tenant} --off` ends the pin"
    );
    Ok(())
}

/// The options of `tenantry release`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReleaseArgs {
    /// A tenant, or `source`
    #[arg(value_name = "TENANT|source")]
    pub scope: String,
    /// Why
    #[arg(long)]
    pub reason: String,
    #[command(flatten)]
    reach: ReachArgs,
}

/// Lets go what is held.
///
/// # Errors
/// [`Ending`].
pub async fn release(args: &ReleaseArgs) -> Result<(), Ending> {
    let target = match args.scope.as_str() {
        "source" | "platform" => format!("/api/v1/release/{}", args.scope),
        tenant => {
            let tenant: TenantId =
                tenant.parse().map_err(|error| Ending::Usage(format!("`{tenant}`: {error}")))?;
            format!("/api/v1/tenants/{tenant}/release")
        }
    };
    let door = Door::daemon(&args.reach).await?;
    door.ask(Question::post(target, json!({ "reason": args.reason }))).await?;
    page::line("released: the next pass goes on");
    Ok(())
}

/// Runs that a revocation names.
const RUNS_SHOWN_MAX: usize = 100;

/// Revokes a version through the daemon, at once.
///
/// # Errors
/// [`Ending`].
pub async fn revoke(
    reach: &ReachArgs,
    tenant: &TenantId,
    secret: &SecretName,
    version: &VersionId,
    reason: &str,
) -> Result<(), Ending> {
    let door = Door::daemon(reach).await?;
    let target = format!("/api/v1/tenants/{tenant}/secrets/{secret}/revoke");
    let document = door.ask(Question::post(target, json!({ "version": version, "reason": reason }))).await?;
    page::line(&format!("revoked {tenant}/{secret}@{version}"));
    let live: Vec<_> = document["runs"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !live.is_empty() {
        page::line(&format!("runs under way with it: {}", live.join(", ")));
    }
    // Who may revoke may not always look; that it is revoked stands.
    match looking::runs_that_had(&door, tenant, secret, version).await {
        Ok(runs) if runs.is_empty() => page::line("runs that fetched it: none that is kept"),
        Ok(runs) => {
            let more = runs.len().saturating_sub(RUNS_SHOWN_MAX);
            let shown = runs[..runs.len() - more].join(", ");
            let more = if more > 0 { format!(", and {more} before them") } else { String::new() };
            page::line(&format!("runs that fetched it: {shown}{more}"));
        }
        Err(_) => anstream::eprintln!("note: which runs fetched it is not yours to see"),
    }
    anstream::eprintln!(
        "commit `state: revoked` for {version} in tenants/{tenant}/secrets.yaml too, or Git and the store differ"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_read_by_their_declared_types() {
        let declared = json!({
            "day": { "value_type": "string" },
            "count": { "value_type": "int" },
            "names": { "value_type": "list" },
        });
        let read = |given: &[&str]| {
            inputs(&given.iter().map(ToString::to_string).collect::<Vec<_>>(), &declared).map(Value::Object)
        };
        assert_eq!(
            read(&["day=2026-11-23", "count=3", "names=[\"a\",\"b=c\"]", "other=1"]),
            Ok(json!({ "day": "2026-11-23", "count": 3, "names": ["a", "b=c"], "other": "1" }))
        );
        assert_eq!(read(&["count=three"]), Err(Ending::Usage("input `count` is not of type int".into())));
        assert_eq!(read(&["count"]), Err(Ending::Usage("an input is written NAME=VALUE".into())));
        assert_eq!(read(&["day=a", "day=b"]), Err(Ending::Usage("input `day` is given twice".into())));
    }
}
