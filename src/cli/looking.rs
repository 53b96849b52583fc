//! `status`, `runs`, `show`, `logs`: what everybody may see who may view a tenant.

use std::path::{Path, PathBuf};

use http_body_util::BodyExt as _;
use serde::Deserialize as _;
use serde_json::Value;

use super::door::{Door, ReachArgs, escaped};
use super::page::{self, Format, FormatArgs, coloured, columns, short_commit, shown, text, took};
use super::{Ending, naming};
use crate::client::Question;
use crate::domain::{Contact, SecretName, StepId, TenantId, VersionId};

/// The options of `tenantry status`.
#[derive(Clone, Debug, clap::Args)]
pub struct StatusArgs {
    /// Only this tenant, with what is wrong with its files
    pub tenant: Option<TenantId>,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Where every tenant stands with the head of the branch.
///
/// # Errors
/// [`Ending`].
pub async fn status(args: &StatusArgs) -> Result<(), Ending> {
    let door = Door::to_look(&args.reach).await?;
    let target = match &args.tenant {
        Some(tenant) => format!("/api/v1/tenants/{tenant}/status"),
        None => "/api/v1/fleet".to_owned(),
    };
    let document = door.ask(Question::get(target)).await?;
    match args.format.format {
        Format::Json => page::json(&document),
        Format::Human => human_status(&document, args.tenant.is_some()),
    }
    Ok(())
}

/// Prints a `tenantry.status/1` for people; `whole` with the findings it holds.
pub fn human_status(document: &Value, whole: bool) {
    let source = &document["source"];
    page::line(&format!(
        "source   {} at {} (fetched {})",
        coloured(text(source, "state")),
        short_commit(source, "head"),
        text(source, "fetched_at")
    ));
    if let Some(message) = source["message"].as_str() {
        page::line(&format!("         {}", shown(message)));
    }
    let platform = &document["platform"];
    if platform.is_object()
        && text(platform, "status") != "applied"
        && text(platform, "status") != "unchanged"
    {
        page::line(&format!("platform {}", coloured(text(platform, "status"))));
        findings(platform);
    }
    let empty = Vec::new();
    let tenants = document["tenants"].as_array().unwrap_or(&empty);
    if tenants.is_empty() {
        page::line("no tenants that you may see");
        return;
    }
    let rows: Vec<Vec<String>> = tenants
        .iter()
        .map(|tenant| {
            let mut conditions: Vec<String> = tenant["conditions"]
                .as_array()
                .into_iter()
                .flatten()
                .filter(|condition| is_notable(condition))
                .map(said)
                .collect();
            // Not ready and stalled for the same cause is one sentence.
            conditions.dedup();
            vec![
                text(tenant, "tenant").to_owned(),
                coloured(text(tenant, "status")),
                short_commit(tenant, "last_applied_commit"),
                short_commit(tenant, "last_attempted_commit"),
                tenant["applied_generation"].to_string(),
                conditions.join("; "),
            ]
        })
        .collect();
    page::line("");
    page::line(&columns(&["TENANT", "STATUS", "APPLIED", "TRIED", "GENERATION", ""], &rows));
    for tenant in tenants {
        for held in tenant["held"].as_array().into_iter().flatten() {
            let missing: Vec<_> =
                held["missing"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            page::line(&format!(
                "{}: held ({}): {}: needs {}",
                text(tenant, "tenant"),
                text(held, "reason"),
                shown(text(held, "edge")),
                shown(&missing.join(", "))
            ));
        }
        for one in tenant["waiting"].as_array().into_iter().flatten() {
            let from: Vec<_> =
                one["from"].as_array().into_iter().flatten().filter_map(Value::as_str).map(shown).collect();
            page::line(&format!(
                "{}/{}: step {} waits for an approval by {}, {} of {} until {}: `tenantry approve-step {}/{}`",
                text(tenant, "tenant"),
                text(one, "workflow"),
                text(one, "step"),
                from.join(" or "),
                one["given"],
                one["count"],
                text(one, "until"),
                text(one, "run"),
                text(one, "step"),
            ));
        }
        if whole {
            findings(tenant);
        }
    }
}

/// What a condition says; what somebody steers by hand in amber.
fn said(condition: &Value) -> String {
    let message = shown(text(condition, "message"));
    match message.strip_prefix("pinned") {
        Some(rest) if text(condition, "type") == "Pinned" => format!("{}{rest}", coloured("pinned")),
        _ => message,
    }
}

/// Conditions that are good news when they hold and bad when they do not, and the other way round.
fn is_notable(condition: &Value) -> bool {
    let holds = condition["status"].as_bool().unwrap_or_default();
    match text(condition, "type") {
        "Ready" | "Runnable" | "SecretsReadable" => !holds,
        // The line about the source says it once for all.
        "SourceStale" => false,
        _ => holds,
    }
}

/// Prints what is wrong with a tenant's files.
pub fn findings(tenant: &Value) {
    for finding in tenant["findings"].as_array().into_iter().flatten() {
        page::line(&format!(
            "{}[{}]: {}\n --> {}:{}:{}",
            text(finding, "severity"),
            text(finding, "rule"),
            shown(text(finding, "message")),
            shown(text(finding, "path")),
            finding["line"],
            finding["column"]
        ));
        if let Some(help) = finding["help"].as_str() {
            page::line(&format!("  = help: {}", shown(help)));
        }
    }
}

/// The options of `tenantry runs`.
#[derive(Clone, Debug, clap::Args)]
pub struct RunsArgs {
    /// Only of this tenant
    pub tenant: Option<TenantId>,
    /// Only of this workflow
    #[arg(long, value_name = "W")]
    pub workflow: Option<String>,
    /// Only of this commit, its full id
    #[arg(long, value_name = "C")]
    pub commit: Option<String>,
    /// Only those that failed
    #[arg(long)]
    pub failed: bool,
    /// Only those that are not over
    #[arg(long, conflicts_with = "failed")]
    pub open: bool,
    /// At most so many, newest first
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
    /// Only those before this run: the `next` of the page before
    #[arg(long, value_name = "RUN")]
    pub before: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Lists runs, newest first.
///
/// # Errors
/// [`Ending`].
pub async fn runs(args: &RunsArgs) -> Result<(), Ending> {
    let door = Door::to_look(&args.reach).await?;
    let mut target = match &args.tenant {
        Some(tenant) => format!("/api/v1/tenants/{tenant}/runs?limit={}", args.limit),
        None => format!("/api/v1/runs?limit={}", args.limit),
    };
    for (name, value) in [("workflow", &args.workflow), ("commit", &args.commit), ("before", &args.before)] {
        if let Some(value) = value {
            target.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    if args.failed {
        target.push_str("&failed=true");
    }
    if args.open {
        target.push_str("&open=true");
    }
    let document = door.ask(Question::get(target)).await?;
    match args.format.format {
        Format::Json => page::json(&document),
        Format::Human => human_runs(&document),
    }
    Ok(())
}

/// When each version of a tenant's secrets was given to a run last, and to how many, of the runs that are kept;
/// `None` where the store does not record it.
///
/// # Errors
/// [`Ending`].
pub(super) async fn last_uses(
    reach: &ReachArgs,
    tenant: &TenantId,
) -> Result<Option<super::secrets::LastUses>, Ending> {
    let door = Door::to_look(reach).await?;
    let (mut uses, mut recorded) = (super::secrets::LastUses::new(), false);
    each_run(&door, tenant, |run| {
        let Some(used) = run["secrets_used"].as_array() else { return };
        recorded = true;
        let text = |field: &str| run[field].as_str().unwrap_or_default().to_owned();
        // `tenants/acme/stripe_api_key@v3`, newest run first.
        for one in used.iter().filter_map(Value::as_str) {
            let Some((name, version)) = one.rsplit('/').next().and_then(|one| one.split_once('@')) else {
                continue;
            };
            let key = (name.to_owned(), version.to_owned());
            let last = uses.entry(key).or_insert_with(|| super::secrets::LastUse {
                time: text("started_at"),
                run: text("id"),
                commit: text("commit"),
                runs: 0,
            });
            last.runs += 1;
        }
    })
    .await?;
    Ok(recorded.then_some(uses))
}

/// The runs that were given a version of a secret, newest first, of those that are kept.
///
/// # Errors
/// As whoever asks may see them.
pub(super) async fn runs_that_had(
    door: &Door,
    tenant: &TenantId,
    secret: &SecretName,
    version: &VersionId,
) -> Result<Vec<String>, Ending> {
    let wanted = format!("tenants/{tenant}/{secret}@{version}");
    let mut found = Vec::new();
    each_run(door, tenant, |run| {
        let used = run["secrets_used"].as_array().map(Vec::as_slice).unwrap_or_default();
        if used.iter().any(|one| *one == wanted.as_str()) {
            found.extend(run["id"].as_str().map(str::to_owned));
        }
    })
    .await?;
    Ok(found)
}

/// Looks at the runs of a tenant, newest first, up to 10,000: more would make a command wait.
async fn each_run(door: &Door, tenant: &TenantId, mut look: impl FnMut(&Value)) -> Result<(), Ending> {
    const RUNS_MAX: usize = 10_000;
    let (mut seen, mut before) = (0, String::new());
    loop {
        let target = format!("/api/v1/tenants/{tenant}/runs?limit=500{before}");
        let document = door.ask(Question::get(target)).await?;
        let runs = document["runs"].as_array().map(Vec::as_slice).unwrap_or_default();
        runs.iter().for_each(&mut look);
        seen += runs.len();
        let Some(next) = document["next"].as_str().filter(|_| seen < RUNS_MAX && !runs.is_empty()) else {
            return Ok(());
        };
        before = format!("&before={}", escaped(next));
    }
}

/// Prints a `tenantry.runs/1` for people.
pub fn human_runs(document: &Value) {
    let empty = Vec::new();
    let runs = document["runs"].as_array().unwrap_or(&empty);
    if runs.is_empty() {
        page::line("no runs");
        return;
    }
    let rows: Vec<Vec<String>> = runs
        .iter()
        .map(|run| {
            vec![
                text(run, "id").to_owned(),
                format!("{}/{}", text(run, "tenant"), text(run, "workflow")),
                coloured(run["outcome"].as_str().unwrap_or(text(run, "state"))),
                text(&run["trigger"], "kind").to_owned(),
                short_commit(run, "commit"),
                text(run, "created_at").to_owned(),
                took(run, "started_at", "ended_at"),
            ]
        })
        .collect();
    page::line(&columns(&["RUN", "WORKFLOW", "OUTCOME", "TRIGGER", "COMMIT", "CREATED", "TOOK"], &rows));
    for run in runs {
        for step in run["steps"].as_array().into_iter().flatten().filter(|step| is_asking(step)) {
            let asked = &step["approval"];
            page::line(&format!(
                "{}: step {} waits for an approval, {} of {} until {}: `tenantry approve-step {}/{}`",
                text(run, "id"),
                text(step, "id"),
                asked["given"].as_array().map_or(0, Vec::len),
                asked["count"],
                text(asked, "until"),
                text(run, "id"),
                text(step, "id"),
            ));
        }
    }
}

/// Whether a step waits for people.
pub(super) fn is_asking(step: &Value) -> bool {
    step["approval"].is_object() && step["outcome"].is_null()
}

/// Names one run, and how to show it.
#[derive(Clone, Debug, clap::Args)]
pub struct ShowArgs {
    /// A full id, its last 6 or more characters, or TENANT/WORKFLOW for the latest; the word `tenant` shows TENANT
    /// as its files in a repository say, without a daemon
    #[arg(value_name = "RUN")]
    pub run: String,
    /// The tenant, after the word `tenant`
    #[arg(value_name = "TENANT")]
    pub tenant: Option<TenantId>,
    /// The repository of `show tenant`, or a directory in it [default: .]
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
    /// `show tenant` as of this commit or branch [default: the work tree]
    #[arg(long, value_name = "R")]
    pub rev: Option<String>,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Shows one run: what it was made from, how it went, what it used; or a tenant from its files.
///
/// # Errors
/// [`Ending`].
pub async fn show(args: &ShowArgs) -> Result<(), Ending> {
    if args.run == "tenant" {
        let tenant = args.tenant.as_ref();
        let tenant =
            tenant.ok_or_else(|| Ending::Usage("which one? `tenantry show tenant TENANT`".to_owned()))?;
        let repo = args.repo.as_deref().unwrap_or(Path::new("."));
        return super::tenant::show(tenant, repo, args.rev.as_deref(), args.format.format);
    }
    if args.tenant.is_some() || args.repo.is_some() || args.rev.is_some() {
        let message = "TENANT, `--repo` and `--rev` belong to `tenantry show tenant TENANT`";
        return Err(Ending::Usage(message.to_owned()));
    }
    let door = Door::to_look(&args.reach).await?;
    let chosen = naming::resolve(&door, &args.run, false).await?;
    let target = format!("/api/v1/tenants/{}/runs/{}", chosen.tenant, chosen.run);
    let document = door.ask(Question::get(target)).await?;
    match args.format.format {
        Format::Json => page::json(&document),
        Format::Human => human_run(&document["run"]),
    }
    Ok(())
}

fn human_run(run: &Value) {
    let fact = |name: &str, value: &str| page::line(&format!("{name:<10} {value}"));
    fact("run", text(run, "id"));
    fact("workflow", &format!("{}/{}", text(run, "tenant"), text(run, "workflow")));
    fact("outcome", &coloured(run["outcome"].as_str().unwrap_or(text(run, "state"))));
    if let Some(reason) = run["reason"].as_str() {
        fact("reason", &shown(reason));
    }
    fact("trigger", &format!("{} {}", text(&run["trigger"], "kind"), shown(text(&run["trigger"], "key"))));
    fact("actor", text(run, "actor"));
    fact("commit", text(run, "commit"));
    fact("tree", text(run, "tree"));
    if let Some(environment) = run["environment"].as_str() {
        fact("env", environment);
    }
    if let Some(first) = run["rerun_of"].as_str() {
        fact("rerun of", first);
    }
    fact("created", text(run, "created_at"));
    fact("took", &took(run, "started_at", "ended_at"));
    fact("inputs", text(run, "inputs_digest"));
    for (path, blob) in run["scripts"].as_object().into_iter().flatten() {
        fact("script", &format!("{} {}", blob.as_str().unwrap_or_default(), shown(path)));
    }
    if let Some(runtime) = run["runtime"].as_str() {
        fact("runtime", runtime);
    }
    if let Some(payload) = payload(&run["payload"], text(run, "tenant")) {
        fact("payload", &payload);
    }
    for secret in run["secrets_used"].as_array().into_iter().flatten() {
        fact("secret", secret.as_str().unwrap_or_default());
    }
    page::line("");
    page::line(&steps(run));
    if let Some(table) = hosts(run) {
        page::line("");
        page::line(&table);
    }
    for step in run["steps"].as_array().into_iter().flatten().filter(|step| step["approval"].is_object()) {
        page::line(&format!("\napproval {}", text(step, "id")));
        shown_by(&step["approval"]).iter().for_each(|line| page::line(line));
    }
}

/// Where what a run was given and wrote is; `None` while that stands in its steps, and where there is none.
fn payload(payload: &Value, tenant: &str) -> Option<String> {
    let why = match payload["state"].as_str()? {
        "sealed" => return Some(format!("sealed until {}", text(payload, "until"))),
        "dropped" => payload["why"].as_str()?,
        _ => return None,
    };
    let why = match why {
        "no_recipient" => {
            format!(
                "the tenant has nobody to encrypt it to; `tenantry secrets init {tenant}` changes that for later runs"
            )
        }
        "not_encrypted" => "it could not be encrypted to the recipients that `tenant.yaml` names".to_owned(),
        "expired" => "its retention is over".to_owned(),
        other => other.to_owned(),
    };
    Some(format!("dropped: {why}"))
}

/// What an approval asks, shows and was answered, a line each.
pub(super) fn shown_by(asked: &Value) -> Vec<String> {
    let from: Vec<_> = asked["from"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let fact = |name: &str, value: &str| format!("  {name:<10} {value}");
    let mut lines = vec![
        fact("asks", &format!("{} of {}", asked["count"], from.join(", "))),
        fact("until", text(asked, "until")),
        fact("shown", text(asked, "shown")),
    ];
    for (step, known) in asked["steps"].as_object().into_iter().flatten() {
        lines.push(fact("step", &format!("{step} {}", coloured(text(known, "status")))));
        let outputs = known["outputs"].as_object().into_iter().flatten();
        lines.extend(outputs.map(|(name, value)| fact("", &shown(&format!("{name} = {value}")))));
        let items = known["outputs"].as_array().into_iter().flatten().enumerate();
        lines.extend(items.map(|(item, value)| fact("", &shown(&format!("[{item}] {value}")))));
    }
    let said = |answer: &Value| {
        let reason =
            answer["reason"].as_str().map(|reason| format!(": {}", shown(reason))).unwrap_or_default();
        format!("{} at {}{reason}", text(answer, "by"), text(answer, "at"))
    };
    lines.extend(asked["given"].as_array().into_iter().flatten().map(|given| fact("approved", &said(given))));
    if asked["rejected"].is_object() {
        lines.push(fact("rejected", &said(&asked["rejected"])));
    }
    lines
}

/// The attempts of a run as a table.
pub(super) fn steps(run: &Value) -> String {
    let rows: Vec<Vec<String>> = run["steps"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|step| {
            let item = step["item"].as_u64().map(|item| format!("[{item}]")).unwrap_or_default();
            let exit = match (step["exit"]["kind"].as_str(), step["exit"]["code"].as_i64()) {
                (Some("exited"), Some(code)) => format!("code {code}"),
                (Some(kind), _) => kind.to_owned(),
                (None, _) => String::new(),
            };
            vec![
                format!("{}{item}", text(step, "id")),
                step["attempt"].to_string(),
                coloured(step["outcome"].as_str().unwrap_or(text(step, "state"))),
                exit,
                took(step, "started_at", "ended_at"),
                step["log_bytes"].to_string(),
                step["reason"].as_str().map(shown).unwrap_or_default(),
            ]
        })
        .collect();
    columns(&["STEP", "ATTEMPT", "OUTCOME", "EXIT", "TOOK", "LOG BYTES", ""], &rows)
}

/// What the attempts of a run had to do with hosts, as a table; `None` where there was nothing.
pub(super) fn hosts(run: &Value) -> Option<String> {
    let mut rows = Vec::new();
    for step in run["steps"].as_array().into_iter().flatten() {
        let item = step["item"].as_u64().map(|item| format!("[{item}]")).unwrap_or_default();
        let contacts = step["record"]["contacts"].as_array();
        for contact in contacts.into_iter().flatten().filter_map(|one| Contact::deserialize(one).ok()) {
            rows.push(vec![
                format!("{}{item}", text(step, "id")),
                step["attempt"].to_string(),
                shown(&contact.host),
                contact.connected.to_string(),
                contact.sent_bytes.to_string(),
                contact.received_bytes.to_string(),
                contact.trouble().unwrap_or_default(),
            ]);
        }
    }
    let titles = ["STEP", "ATTEMPT", "HOST", "CONNECTED", "SENT BYTES", "RECEIVED BYTES", ""];
    (!rows.is_empty()).then(|| columns(&titles, &rows))
}

/// The options of `tenantry logs`.
#[derive(Clone, Debug, clap::Args)]
pub struct LogsArgs {
    /// A full id, its last 6 or more characters, or TENANT/WORKFLOW for the latest
    #[arg(value_name = "RUN")]
    pub run: String,
    /// Goes on until the run ends
    #[arg(short, long)]
    pub follow: bool,
    /// Only of this step
    #[arg(long, value_name = "S")]
    pub step: Option<StepId>,
    #[command(flatten)]
    reach: ReachArgs,
    #[command(flatten)]
    format: FormatArgs,
}

/// Prints what the steps of a run wrote, redacted; standard error of the script is printed here too.
///
/// # Errors
/// [`Ending`].
pub async fn logs(args: &LogsArgs) -> Result<(), Ending> {
    let door = Door::to_look_audited(&args.reach).await?;
    let chosen = naming::resolve(&door, &args.run, false).await?;
    let mut target = format!(
        "/api/v1/tenants/{}/runs/{}/logs?follow={}",
        chosen.tenant,
        chosen.run,
        args.follow && door.is_daemon()
    );
    if let Some(step) = &args.step {
        target.push_str(&format!("&step={step}"));
    }
    let answer = door.stream(Question::get(target)).await?;
    if answer.status >= 400 {
        answer.document().await?;
        return Ok(());
    }
    let (mut body, mut rest) = (answer.body, Vec::new());
    let mut printer = Printer { format: args.format.format, last: None };
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Ending::CouldNot(format!("the daemon broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            printer.record(&line);
        }
    }
    Ok(())
}

struct Printer {
    format: Format,
    last: Option<String>,
}

impl Printer {
    /// Prints one record; a heading where another attempt begins.
    fn record(&mut self, line: &[u8]) {
        let Ok(record) = serde_json::from_slice::<Value>(line) else { return };
        if self.format == Format::Json {
            page::line(&record.to_string());
            return;
        }
        let item = record["item"].as_u64().map(|item| format!("[{item}]")).unwrap_or_default();
        let heading = format!("{}{item}#{}", text(&record, "step"), record["attempt"]);
        if self.last.as_ref() != Some(&heading) {
            page::line(&format!("\u{1b}[1m── {heading}\u{1b}[0m"));
            self.last = Some(heading);
        }
        let said = text(&record, "text");
        for part in said.strip_suffix('\n').unwrap_or(said).split('\n') {
            match text(&record, "stream") {
                "system" => page::line(&format!("\u{1b}[2m── {}\u{1b}[0m", shown(part))),
                _ => page::line(&shown(part.strip_suffix('\r').unwrap_or(part))),
            }
        }
    }
}
