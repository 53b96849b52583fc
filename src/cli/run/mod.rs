//! `tenantry run`: a workflow from the work tree, in the sandbox, nothing stored. The developer's loop.
//!
//! What is run, how and what is shown of it is the code of the daemon; this reads the work tree, checks what is given
//! before anything starts, and prints. Deliberately absent: a tier without the sandbox, and any file that is written.

mod canary;
mod inputs;
mod prepare;
mod show;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tokio::sync::watch;

use super::naming::WorkflowName;
use super::page::FormatArgs;
use super::{Ending, finish};
use crate::app::{AppError, LocalSandbox};
use crate::domain::{FieldName, Outcome, StepId};
use crate::observe::{LogFormat, start_logging};
use crate::record::RunRecord;
use crate::source::{Changes, Watched};
pub(super) use canary::{Canary, canary};
use prepare::{Prepared, Seen};
use show::Show;

/// The options of `tenantry run`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Exit codes: 0 success; 1 the run ended in any other way; 2 wrong command line; 3 not started; 130 interrupted.

The work tree is read as `git add -A` would commit it, and validated first. Steps see what they would see in \
production: TENANTRY_COMMIT is the commit that the work tree lies on, zeros where there is none yet.")]
pub struct RunArgs {
    /// The workflow, as TENANT/WORKFLOW
    #[arg(value_name = "TENANT/WORKFLOW")]
    workflow: WorkflowName,
    /// The repository, or a directory in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
    /// An input; lists and maps are written as JSON. May be given several times
    #[arg(long = "input", value_name = "NAME=VALUE", value_parser = pair)]
    inputs: Vec<(FieldName, String)>,
    /// Runs this step alone; what it reads of other steps is given by `--output`
    #[arg(long, value_name = "S")]
    step: Option<StepId>,
    /// With `--step`: an output of another step, in place of running that. May be given several times
    #[arg(long = "output", value_name = "STEP.NAME=VALUE", value_parser = output, requires = "step")]
    outputs: Vec<(StepId, FieldName, String)>,
    /// Agrees to what this step asks: here nobody else does. May be given several times
    #[arg(long = "approve", value_name = "STEP")]
    approve: Vec<StepId>,
    /// Takes values from this dotenv file in place of the secrets, and opens none
    #[arg(long, value_name = "FILE")]
    secrets_file: Option<PathBuf>,
    /// Where runtimes lie, as `tenantry runtime add` puts them there; for workflows that name one
    #[arg(long, value_name = "DIR", env = "TENANTRY_RUNTIMES")]
    runtimes: Option<PathBuf>,
    /// Runs again whenever a file of the tenant changes; what runs then is cancelled
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    format: FormatArgs,
}

fn pair(text: &str) -> Result<(FieldName, String), String> {
    let (name, value) = text.split_once('=').ok_or("an input is written NAME=VALUE")?;
    let name = name.parse().map_err(|error| format!("the input's name: {error}"))?;
    Ok((name, value.to_owned()))
}

fn output(text: &str) -> Result<(StepId, FieldName, String), String> {
    let parts = text.split_once('=').and_then(|(name, value)| Some((name.split_once('.')?, value)));
    let ((step, name), value) = parts.ok_or("an output is written STEP.NAME=VALUE")?;
    let step = step.parse().map_err(|error| format!("the step: {error}"))?;
    let name = name.parse().map_err(|error| format!("the output's name: {error}"))?;
    Ok((step, name, value.to_owned()))
}

/// How long files must be quiet before they are read again.
const QUIET: Duration = Duration::from_millis(150);

/// Runs the workflow, with `--watch` again and again.
pub fn run(args: &RunArgs) -> ExitCode {
    start_logging(LogFormat::Text, &super::quiet_log_filter(), std::io::stderr().is_terminal());
    match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => finish(runtime.block_on(again_and_again(args))),
        Err(error) => finish(Err(Ending::could_not(error))),
    }
}

/// What ends one turn.
enum Turn {
    /// The run is over.
    Over(Box<RunRecord>),
    /// Files changed under it, or somebody wanted it to end.
    Cancelled,
}

async fn again_and_again(args: &RunArgs) -> Result<(), Ending> {
    let mut interrupted = interrupted();
    let mut sandbox = None;
    loop {
        // Watched before it is read, so that no change falls between.
        let mut changes = args.watch.then(|| Changes::of(&places(args)));
        let seen = args.watch.then(|| prepare::look(args));
        let turn = turn(args, &mut sandbox, seen.as_ref(), changes.as_mut(), &mut interrupted).await;
        if *interrupted.borrow() {
            return Err(Ending::Quiet(INTERRUPTED));
        }
        let Some(changes) = &mut changes else { return ended(turn?) };
        match turn {
            Ok(Turn::Cancelled) => {}
            Ok(Turn::Over(_)) | Err(_) => {
                // Its own exit code is of no use here: the next turn comes.
                let _ = finish(turn.map(drop));
                anstream::eprintln!("waiting for a change of `{}`; Ctrl-C ends", args.workflow.tenant);
                if !changed(args, seen.as_ref(), changes, &mut interrupted).await {
                    return Err(Ending::Quiet(INTERRUPTED));
                }
            }
        }
        anstream::eprintln!("\n{}", show::separator(args));
    }
}

/// The exit code of who was interrupted. Source: design page `interfaces.md`.
const INTERRUPTED: u8 = 130;

fn ended(turn: Turn) -> Result<(), Ending> {
    match turn {
        Turn::Over(record) if record.outcome == Some(Outcome::Success) => Ok(()),
        Turn::Over(_) | Turn::Cancelled => Err(Ending::Quiet(1)),
    }
}

/// Reads the work tree, runs what is there and shows how it went.
async fn turn(
    args: &RunArgs,
    sandbox: &mut Option<LocalSandbox>,
    seen: Option<&Seen>,
    changes: Option<&mut Changes>,
    interrupted: &mut watch::Receiver<bool>,
) -> Result<Turn, Ending> {
    let Prepared { ask, work_tree, stand_ins } = prepare::prepare(args)?;
    let sandbox = match sandbox {
        Some(sandbox) => sandbox,
        None => sandbox.insert(open_sandbox(args).await?),
    };
    if *interrupted.borrow_and_update() {
        return Ok(Turn::Cancelled);
    }
    let mut show = Show::new(args.format.format, &ask.pins.workflow, stand_ins);
    show.begins(&ask.pins, &work_tree);
    let (told, mut news) = tokio::sync::mpsc::channel(64);
    // Writing may wait for a slow terminal, which must hold up the scripts and not the signals.
    let showing = tokio::task::spawn_blocking(move || {
        while let Some(one) = news.blocking_recv() {
            show.tell(one);
        }
        show
    });
    let (cancel, cancelled) = watch::channel(None);
    let running = sandbox.run(ask, told, cancelled);
    let record = with_ends(args, running, &cancel, seen, changes, interrupted).await;
    let mut show = showing.await.map_err(Ending::could_not)?;
    let (record, by_change) = record.map_err(Ending::could_not)?;
    show.ends(&record);
    Ok(if by_change { Turn::Cancelled } else { Turn::Over(Box::new(record)) })
}

/// Waits for the run, and asks for its end when somebody does or its files change. Says whether these changed.
async fn with_ends(
    args: &RunArgs,
    running: impl Future<Output = Result<RunRecord, AppError>>,
    cancel: &watch::Sender<Option<String>>,
    seen: Option<&Seen>,
    mut changes: Option<&mut Changes>,
    interrupted: &mut watch::Receiver<bool>,
) -> Result<(RunRecord, bool), AppError> {
    tokio::pin!(running);
    let (mut by_change, mut by_signal) = (false, false);
    loop {
        let watched = async {
            match &mut changes {
                Some(changes) => changes.next(QUIET).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            record = &mut running => return Ok((record?, by_change)),
            () = watched, if !by_change => {
                if Some(&prepare::look(args)) != seen {
                    by_change = true;
                    anstream::eprintln!("files changed: cancelling; steps have 10 s to end");
                    let _ = cancel.send(Some("its files changed".to_owned()));
                }
            }
            _ = interrupted.changed(), if !by_signal => {
                by_signal = true;
                anstream::eprintln!("interrupted: cancelling; steps have 10 s to end, once more ends them at once");
                let _ = cancel.send(Some("interrupted".to_owned()));
            }
        }
    }
}

/// Waits until what is read differs; false if somebody wants it to end instead.
async fn changed(
    args: &RunArgs,
    seen: Option<&Seen>,
    changes: &mut Changes,
    interrupted: &mut watch::Receiver<bool>,
) -> bool {
    loop {
        if *interrupted.borrow_and_update() {
            return false;
        }
        tokio::select! {
            () = changes.next(QUIET) => if Some(&prepare::look(args)) != seen { return true },
            _ = interrupted.changed() => return false,
        }
    }
}

async fn open_sandbox(args: &RunArgs) -> Result<LocalSandbox, Ending> {
    let runtimes = args.runtimes.as_ref().map(std::path::absolute).transpose().map_err(Ending::could_not)?;
    let sandbox = LocalSandbox::open(runtimes).await.map_err(Ending::could_not)?;
    if let Some(refusal) = sandbox.refusal() {
        return Err(Ending::CouldNot(format!(
            "steps are refused on this machine: {refusal}; `tenantry doctor` shows all of it"
        )));
    }
    if let Some(gap) = sandbox.limits_gap() {
        anstream::eprintln!("note: limits are best-effort: {gap}; `tenantry doctor` has the cure");
    }
    Ok(sandbox)
}

/// The places whose files decide what the run does.
fn places(args: &RunArgs) -> Vec<Watched> {
    let root = prepare::root(args);
    let mut places = vec![
        Watched::Below(root.join("tenants").join(args.workflow.tenant.as_str())),
        Watched::Below(root.join("platform")),
        Watched::Below(root.join("shared")),
        Watched::Name(root.join("tenantry.toml")),
    ];
    let file = args.secrets_file.as_ref().and_then(|file| std::path::absolute(file).ok());
    places.extend(file.map(Watched::Name));
    places
}

/// Turns true at the first SIGINT, SIGTERM or SIGHUP; a second one ends the process, and with it every step, at once.
fn interrupted() -> watch::Receiver<bool> {
    use tokio::signal::unix::{SignalKind, signal};
    let (told, wanted) = watch::channel(false);
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    for kind in kinds {
        let told = told.clone();
        let Ok(mut signals) = signal(kind) else { continue };
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                if told.send_replace(true) {
                    std::process::exit(i32::from(INTERRUPTED));
                }
            }
        });
    }
    wanted
}
