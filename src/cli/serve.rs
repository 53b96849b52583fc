//! `serve` and `reconcile`: the loop as a daemon, and one pass of it.

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use tokio::sync::watch;

use super::configuration::configure;
use super::door::{Door, ReachArgs};
use super::ending::with_causes;
use super::page::{self, Format};
use super::{Ending, finish};
use crate::app::{App, AppError, Regions, Settings};
use crate::client::{Client, Question};
use crate::domain::{Length, Outcome, Severity, Status, StatusRow, TenantId, Tier, Timestamp};
use crate::observe::{LogFormat, start_logging};
use crate::reconcile::Pass;
use crate::record::RunRecord;
use crate::source::SourceError;

/// What both commands are told.
#[derive(Clone, Debug, clap::Args)]
pub struct AppArgs {
    /// Where age identities lie; by default `identities/` of the data directory
    #[arg(long, value_name = "DIR", env = "TENANTRY_IDENTITIES")]
    pub identities: Option<PathBuf>,
    /// Where root file systems lie that workflows name; by default `runtimes/` of the data directory
    #[arg(long, value_name = "DIR", env = "TENANTRY_RUNTIMES")]
    pub runtimes: Option<PathBuf>,
    /// Serves tenants of this region; may be given again
    #[arg(
        long = "label",
        value_name = "region=NAME",
        value_parser = region,
        env = "TENANTRY_LABEL",
        value_delimiter = ','
    )]
    pub regions: Vec<String>,
    /// Serves tenants of every region, in place of those of `--label`
    #[arg(long, env = "TENANTRY_ANY_REGION", value_parser = clap::builder::BoolishValueParser::new())]
    pub any_region: bool,
    /// `best-effort` goes on where memory and process limits cannot be set; the records say so
    #[arg(long, value_enum, default_value_t, value_name = "HOW", env = "TENANTRY_LIMITS")]
    pub limits: LimitsArg,
    /// Attempts at one time; by default twice the processors
    #[arg(long, value_name = "N", env = "TENANTRY_SLOTS")]
    pub slots: Option<u32>,
    /// What steps run in; the records say which
    #[arg(long, value_enum, default_value_t, value_name = "TIER", env = "TENANTRY_TIER")]
    pub tier: TierArg,
    /// Runs steps of these tenants as plain processes where the sandbox is missing; the records say so
    #[arg(long, value_name = "TENANT", value_delimiter = ',')]
    pub allow_unsandboxed: Vec<TenantId>,
}

/// The tier of steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum TierArg {
    /// `sandbox`, or `bubblewrap` where this machine cannot give that
    #[default]
    Auto,
    /// Made by tenantry itself
    Sandbox,
    /// The same walls made by `bwrap`, where only that program may make user namespaces
    Bubblewrap,
}

impl TierArg {
    /// The one tier that is asked for.
    #[must_use]
    pub fn tier(self) -> Option<Tier> {
        match self {
            Self::Auto => None,
            Self::Sandbox => Some(Tier::Sandbox),
            Self::Bubblewrap => Some(Tier::Bubblewrap),
        }
    }
}

/// What is done where limits cannot be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LimitsArg {
    /// Steps are refused
    #[default]
    Enforced,
    /// Steps run with the limits of single processes
    BestEffort,
}

/// The options of `tenantry serve`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeArgs {
    /// The repository: a directory or an address without a password. Needed, here or in a place below
    #[arg(long, value_name = "URL|DIR", env = "TENANTRY_REPO")]
    pub repo: Option<String>,
    /// The data directory, made if it is not there. Needed, here or in a place below
    #[arg(long, value_name = "DATA", env = "TENANTRY_DATA")]
    pub data: Option<PathBuf>,
    /// A TOML file with any of these options, `-` written `_`. Flags win over the environment, that over the file
    #[arg(long, value_name = "FILE", env = "TENANTRY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Prints every setting and where it comes from, and ends
    #[arg(long)]
    pub print_config: bool,
    /// Where /healthz, /readyz and /metrics answer; loopback only
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7878", env = "TENANTRY_LISTEN")]
    pub listen: SocketAddr,
    /// How often the repository is looked at when nothing wakes the loop
    #[arg(long, value_name = "TIME", default_value = "60s", env = "TENANTRY_POLL")]
    pub poll: Length,
    /// Applies and keeps time, but runs no steps
    #[arg(long, env = "TENANTRY_NO_WORKER", value_parser = clap::builder::BoolishValueParser::new())]
    pub no_worker: bool,
    /// How log lines look
    #[arg(long, value_enum, default_value_t, value_name = "FORM", env = "TENANTRY_LOG_FORMAT")]
    pub log_format: LogFormatArg,
    #[command(flatten)]
    pub(super) app: AppArgs,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormatArg {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

/// The options of `tenantry reconcile`.
#[derive(Clone, Debug, clap::Args)]
pub struct ReconcileArgs {
    /// One tenant, asked of the running daemon; without `--repo` only
    #[arg(value_name = "TENANT", conflicts_with = "repo")]
    pub tenant: Option<TenantId>,
    /// The repository; without it a running daemon is asked
    #[arg(long, value_name = "URL|DIR", env = "TENANTRY_REPO")]
    pub repo: Option<String>,
    #[command(flatten)]
    pub reach: ReachArgs,
    /// Waits until nothing runs and nothing queued can be run here
    #[arg(long)]
    pub wait: bool,
    /// Exit code 4 if a run failed
    #[arg(long, value_enum, value_name = "WHAT")]
    pub fail_on: Option<FailOn>,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
    #[command(flatten)]
    app: AppArgs,
}

/// What makes `reconcile` end with 4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum FailOn {
    /// A run of this pass that failed
    Run,
}

fn region(text: &str) -> Result<String, String> {
    match text.strip_prefix("region=") {
        Some(name) if !name.is_empty() => Ok(name.to_owned()),
        _ => Err("a label is written region=NAME".into()),
    }
}

impl AppArgs {
    fn settings(&self, repo: &str, data: PathBuf) -> Settings {
        Settings {
            identities: self.identities.clone(),
            runtimes: self.runtimes.clone(),
            regions: match (self.any_region, self.regions.is_empty()) {
                (true, _) => Regions::Any,
                (false, true) => Regions::Unnamed,
                (false, false) => Regions::Named(self.regions.clone()),
            },
            slots: self.slots,
            limits_best_effort: self.limits == LimitsArg::BestEffort,
            allow_unsandboxed: self.allow_unsandboxed.iter().cloned().collect(),
            tier: self.tier.tier(),
            ..Settings::new(absolute(repo), data)
        }
    }
}

/// A directory as it will still be found from another working directory; an address stays as it is.
pub(super) fn absolute(repo: &str) -> String {
    match std::fs::canonicalize(repo) {
        Ok(path) => path.display().to_string(),
        Err(_) => repo.to_owned(),
    }
}

/// Runs the daemon until SIGTERM or SIGINT. What clap made of the words is read once more, with the file.
pub fn serve() -> ExitCode {
    let words: Vec<_> = std::env::args_os().skip(2).collect();
    let configured = match configure(&words) {
        Ok(configured) => configured,
        Err(ending) => return finish(Err(ending)),
    };
    if configured.args.print_config {
        page::line(&configured.shown());
        return ExitCode::SUCCESS;
    }
    let args = &configured.args;
    let needed = |flag: &str, variable: &str, key: &str| {
        Ending::Usage(format!("`serve` needs `--{flag}`, {variable} or `{key}` in the file of `--config`"))
    };
    let Some(repo) = &args.repo else {
        return finish(Err(needed("repo", "TENANTRY_REPO", "repo")));
    };
    let Some(data) = &args.data else {
        return finish(Err(needed("data", "TENANTRY_DATA", "data")));
    };
    let format = match args.log_format {
        LogFormatArg::Text => LogFormat::Text,
        LogFormatArg::Json => LogFormat::Json,
    };
    start_logging(format, &super::log_filter(), std::io::stderr().is_terminal());
    let mut settings = args.app.settings(repo, data.clone());
    settings.listen = Some(args.listen);
    settings.poll = args.poll;
    if args.no_worker {
        settings.slots = Some(0);
    }
    with_runtime(async move {
        let any_region = settings.regions == Regions::Any;
        let app = App::open(settings).await.map_err(ending)?;
        if let Some(refusal) = app.refusal() {
            tracing::warn!("steps are refused on this machine, everything else goes on: {refusal}");
        }
        if any_region {
            tracing::info!("the worker serves tenants of every region");
        }
        app.serve(interrupted(), |address| match address {
            Some(address) => tracing::info!(%address, "serving"),
            None => tracing::info!("serving the socket only"),
        })
        .await
        .map_err(ending)
    })
}

/// One pass of the loop here, or asked of a running daemon.
pub fn reconcile(args: &ReconcileArgs) -> ExitCode {
    let Some(repo) = &args.repo else {
        return super::asking(ask(args));
    };
    start_logging(LogFormat::Text, &super::quiet_log_filter(), std::io::stderr().is_terminal());
    let data = match args.reach.data() {
        Ok(data) => data.clone(),
        Err(ending) => return finish(Err(ending)),
    };
    if args.app.any_region && !args.app.regions.is_empty() {
        let both = "`--label` and `--any-region` are both given: leave one out";
        return finish(Err(Ending::Usage(both.to_owned())));
    }
    let settings = args.app.settings(repo, data);
    with_runtime(async move {
        if Client::at(&settings.data).is_up().await {
            return ask(args).await;
        }
        let app = App::open(settings).await.map_err(ending)?;
        let before = crate::app::now();
        let mut pass = app.pass().await.map_err(ending)?;
        if args.wait {
            if let Some(refusal) = app.refusal() {
                anstream::eprintln!("warning: steps are refused on this machine: {refusal}");
            }
            app.work_until_idle().await.map_err(ending)?;
        }
        let runs = app.runs_since(before).await.map_err(ending)?;
        // A tenant that nothing changed for may still wait for somebody: the exit code answers for it too.
        let heads = app.store().tenants().await.map_err(Ending::could_not)?;
        let known: BTreeSet<_> = pass.looked_at.iter().filter_map(|row| row.tenant.clone()).collect();
        let waiting = heads.iter().filter(|head| !head.removed && !known.contains(&head.tenant));
        pass.looked_at.extend(waiting.map(|head| head.status.clone()).filter(is_wrong));
        app.close().await;
        show(&pass, &runs, before, args.format);
        ended(&pass, &runs, args.fail_on)
    })
}

/// Wakes the loop of a running daemon.
async fn ask(args: &ReconcileArgs) -> Result<(), Ending> {
    let door = Door::daemon(&args.reach).await?;
    let path = match &args.tenant {
        Some(tenant) => format!("/api/v1/tenants/{tenant}/reconcile"),
        None => "/api/v1/reconcile".to_owned(),
    };
    let answer = door.ask(Question::post(path, json!({}))).await?;
    match args.format {
        Format::Json => page::json(&answer),
        Format::Human => {
            page::line("the daemon looks at the head now: `tenantry status` shows what came of it")
        }
    }
    Ok(())
}

/// Whether somebody or something has to come first.
fn is_wrong(row: &StatusRow) -> bool {
    matches!(row.status, Status::Invalid | Status::Unverified | Status::Held | Status::Failed)
}

/// The exit code answers for tenants; runs count only when asked.
fn ended(pass: &Pass, runs: &[RunRecord], fail_on: Option<FailOn>) -> Result<(), Ending> {
    if pass.revision.is_none() {
        let message = pass.source.message.clone().unwrap_or_else(|| "the repository cannot be read".into());
        return Err(Ending::CouldNot(message));
    }
    let rows = pass.platform.iter().chain(&pass.looked_at);
    if rows.clone().any(is_wrong) || pass.source.held.is_some() {
        return Err(Ending::Quiet(1));
    }
    let failed =
        |run: &RunRecord| matches!(run.outcome, Some(Outcome::Failure | Outcome::Error | Outcome::TimedOut));
    if fail_on == Some(FailOn::Run) && runs.iter().any(failed) {
        return Err(Ending::Quiet(4));
    }
    Ok(())
}

fn show(pass: &Pass, runs: &[RunRecord], since: Timestamp, format: Format) {
    if format == Format::Json {
        page::json(&json!({
            "schema": "tenantry.reconcile/1",
            "source": pass.source,
            "platform": pass.platform,
            "tenants": pass.looked_at,
            "runs": runs,
        }));
        return;
    }
    if let Some(message) = &pass.source.message {
        anstream::eprintln!("{}: {}", page::coloured(&pass.source.state), page::shown(message));
    }
    if let Some(revision) = &pass.revision {
        page::line(&format!("{} is at {}", revision.branch, revision.commit.short()));
    }
    let rows: Vec<&StatusRow> =
        pass.platform.iter().filter(|row| row.at >= since).chain(&pass.looked_at).collect();
    if rows.is_empty() {
        page::line("nothing has changed");
    }
    for row in rows {
        show_row(row);
    }
    for run in runs {
        page::line(&format!(
            "  run {} {}/{} {}",
            run.id.short(),
            run.tenant,
            run.workflow,
            page::coloured(run.outcome.map_or(run.state.as_str(), Outcome::as_str))
        ));
        let mut open = run.steps.iter().filter(|step| step.outcome.is_none());
        if let Some((step, asked)) = open.find_map(|step| Some((&step.id, step.approval.as_ref()?))) {
            let (id, given) = (&run.id, asked.given.len());
            page::line(&format!(
                "    step {step} waits for an approval, {given} of {} until {}: `tenantry approve-step {id}/{step}`",
                asked.count, asked.until
            ));
        }
    }
}

fn show_row(row: &StatusRow) {
    let name = row.tenant.as_ref().map_or("platform", |tenant| tenant.as_str());
    let stays = match (&row.last_applied_commit, row.status) {
        (Some(commit), Status::Invalid | Status::Held | Status::Unverified | Status::Failed) => {
            format!(", stays at {}", commit.short())
        }
        _ => String::new(),
    };
    page::line(&format!("  {name} {}{stays}", page::coloured(row.status.as_str())));
    for finding in row.findings.iter().filter(|finding| finding.severity == Severity::Error) {
        anstream::eprintln!(
            "    error[{}]: {} at {}:{}:{}",
            finding.rule,
            page::shown(&finding.message),
            page::shown(&finding.path),
            finding.line,
            finding.column
        );
        if let Some(help) = &finding.help {
            anstream::eprintln!("      help: {}", page::shown(help));
        }
    }
    for held in &row.held {
        anstream::eprintln!(
            "    held: {} ({})",
            page::shown(&held.edge),
            page::shown(&held.missing.join("; "))
        );
    }
    for condition in &row.conditions {
        let bad = match condition.kind {
            crate::domain::ConditionKind::Ready => !condition.status,
            crate::domain::ConditionKind::Stalled | crate::domain::ConditionKind::Drifted => condition.status,
            _ => false,
        };
        if bad && row.findings.is_empty() && row.held.is_empty() && !condition.message.is_empty() {
            anstream::eprintln!("    {}", page::shown(&condition.message));
        }
    }
}

/// Everything that keeps a daemon from starting is a thing that could not be done.
fn ending(error: AppError) -> Ending {
    match &error {
        AppError::Source(SourceError::NoSuchRevision(_)) => Ending::No(with_causes(&error)),
        _ => Ending::CouldNot(with_causes(&error)),
    }
}

fn with_runtime(work: impl Future<Output = Result<(), Ending>>) -> ExitCode {
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => finish(runtime.block_on(work)),
        Err(error) => finish(Err(Ending::could_not(error))),
    }
}

/// Turns true at the first SIGTERM or SIGINT; a second one ends the process at once.
fn interrupted() -> watch::Receiver<bool> {
    use tokio::signal::unix::{SignalKind, signal};
    let (told, stop) = watch::channel(false);
    tokio::spawn(async move {
        let (Ok(mut terminate), Ok(mut interrupt)) =
            (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        tracing::info!("shutting down; once more ends it at once");
        let _ = told.send(true);
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(130);
    });
    stop
}
