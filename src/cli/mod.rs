//! Commands: the tree of them, and how each ends.
//!
//! A command reads its arguments, asks the rooms below and prints; it decides nothing itself. Data goes to
//! standard output, everything else to standard error.

mod audit;
mod ci;
mod configuration;
mod crontab;
pub mod demo;
pub mod doctor;
mod door;
mod ending;
pub mod explain;
mod fixing;
mod importing;
pub mod init;
mod inside;
mod looking;
mod lsp;
mod naming;
pub mod new;
mod page;
mod planning;
mod proposing;
mod run;
mod runtime;
pub mod scaffold;
pub mod schema;
pub mod secrets;
mod serve;
mod server;
mod sharing;
mod since;
mod steering;
mod tenant;
pub mod validate;
mod watching;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::domain::Timestamp;

pub use door::ReachArgs;
pub use ending::{Ending, finish};

/// The commands by what they need. A test keeps it complete.
const HELP: &str = "\
{name} {version}: {about}

{usage-heading} {usage}

Try it:
  demo          Shows the whole flow on an example repository

In a repository, without a daemon:
  init          Begins a repository
  new           Adds a tenant or a workflow that passes validation
  people        Adds a person
  import        Makes workflows of a crontab
  validate      Checks every file as the daemon does
  ci            Checks a change with the base and format of the CI it runs in
  run           Runs a workflow from the work tree in the sandbox and stores nothing
  explain       Prints the page of a rule
  schema        Prints JSON Schemas for editors
  lsp           Serves an editor: findings while typing, completion, hover, fixes
  plan          Shows what a merge would do
  promote       Pins a shared workflow to what another tenant has run
  server        Makes the data directory of a machine that is to serve a repository
  runtime       Puts root file systems on a worker, for workflows that name one
  secrets       Makes, lists, rotates, revokes and decrypts secrets
  doctor        Says what this machine can and cannot do, each gap with its cure

The daemon:
  serve         Serves a repository: applies, runs, records, until it is told to stop
  reconcile     Brings every tenant to the head of the branch once, or asks the daemon to

With a daemon:
  status        Shows where every tenant stands with the head of the branch
  runs          Lists runs, newest first
  show          Shows one run, or with `show tenant T` what the files of a tenant say
  logs          Prints what the steps of a run wrote
  audit         Lists the audit, or checks an export of it
  start         Starts a workflow by hand
  rerun         Runs a run again
  cancel        Asks for the end of a run
  approve-step  Answers a step that asks people before a run goes on
  pause         Lets runs of a tenant or workflow wait for a time
  resume        Ends a pause or a suspension
  suspend       Lets nothing of a tenant start
  pin           Holds a tenant's code at an older commit for a time
  release       Lets go what is held
  completion    Prints the completion of a shell

Options:
{options}
Exit codes: 0 done; 1 the answer is no; 2 wrong command line; 3 could not. `tenantry COMMAND --help` says more.";

/// The arguments of the program.
#[derive(Debug, Parser)]
#[command(
    name = "tenantry",
    version,
    about = "GitOps for multi-tenant internal automations",
    help_template = HELP,
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the whole flow on an example repository
    Demo(demo::DemoArgs),
    /// Begins a repository
    Init(init::InitArgs),
    /// Adds a tenant or a workflow that passes validation
    New(new::NewArgs),
    /// Adds a person
    People(new::PeopleArgs),
    /// Makes workflows of a crontab
    Import(importing::ImportArgs),
    /// Checks every file as the daemon does
    Validate(validate::ValidateArgs),
    /// Checks a change with the base and format of the CI it runs in
    Ci(ci::CiArgs),
    /// Runs a workflow from the work tree in the sandbox and stores nothing
    Run(run::RunArgs),
    /// Prints the page of a rule
    Explain(explain::ExplainArgs),
    /// Prints JSON Schemas for editors
    Schema(schema::SchemaArgs),
    /// Serves an editor: findings while typing, completion, hover, fixes
    Lsp(lsp::LspArgs),
    /// Shows what a merge would do
    Plan(planning::PlanArgs),
    /// Pins a shared workflow to what another tenant has run
    Promote(sharing::PromoteArgs),
    /// Makes the data directory of a machine that is to serve a repository
    Server(server::ServerArgs),
    /// Puts root file systems on a worker, for workflows that name one
    Runtime(runtime::RuntimeArgs),
    /// Makes, lists, rotates, revokes and decrypts secrets
    Secrets(secrets::SecretsArgs),
    /// Says what this machine can and cannot do, each gap with its cure
    Doctor(doctor::DoctorArgs),
    /// Brings every tenant to the head of the branch once, or asks the daemon to
    Reconcile(serve::ReconcileArgs),
    /// Serves a repository: applies, runs, records, until it is told to stop
    Serve(serve::ServeArgs),
    /// Shows where every tenant stands with the head of the branch
    Status(looking::StatusArgs),
    /// Lists runs, newest first
    Runs(looking::RunsArgs),
    /// Shows one run, or with `show tenant T` what the files of a tenant say
    Show(looking::ShowArgs),
    /// Prints what the steps of a run wrote
    Logs(looking::LogsArgs),
    /// Lists the audit, or checks an export of it
    Audit(audit::AuditArgs),
    /// Starts a workflow by hand
    Start(steering::StartArgs),
    /// Runs a run again
    Rerun(steering::RerunArgs),
    /// Asks for the end of a run
    Cancel(steering::CancelArgs),
    /// Answers a step that asks people before a run goes on
    ApproveStep(steering::ApproveStepArgs),
    /// Lets runs of a tenant or workflow wait for a time
    Pause(steering::PauseArgs),
    /// Ends a pause or a suspension
    Resume(steering::ResumeArgs),
    /// Lets nothing of a tenant start
    Suspend(steering::SuspendArgs),
    /// Holds a tenant's code at an older commit for a time
    Pin(steering::PinArgs),
    /// Lets go what is held
    Release(steering::ReleaseArgs),
    /// Prints the completion of a shell
    Completion(CompletionArgs),
}

#[derive(Debug, clap::Args)]
struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Runs the command line and gives the process's exit code.
pub fn main() -> ExitCode {
    // The sandbox's helper is this program too. It must stay one small thread, so it turns off here, before
    // anything is read, started or allocated that it does not need.
    if crate::sandbox::is_helper(std::env::args_os()) {
        return crate::sandbox::helper::main();
    }
    // In the sandbox the program goes by other names and has no commands.
    if let Some(code) = inside::main(std::env::args_os()) {
        return code;
    }
    match Arguments::try_parse() {
        Ok(arguments) => carry_out(arguments.command),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(usage_code(&error, std::env::args().nth(1).as_deref()))
        }
    }
}

/// The exit code of a command line that is not understood, or that only asks for help. For `plan` 2 means that
/// there are changes, so its wrong command line is 1.
fn usage_code(error: &clap::Error, command: Option<&str>) -> u8 {
    match (error.use_stderr(), command) {
        (false, _) => 0,
        (true, Some("plan")) => 1,
        (true, _) => 2,
    }
}

fn carry_out(command: Command) -> ExitCode {
    // Those that may hold a value.
    if matches!(
        command,
        Command::Demo(_) | Command::Run(_) | Command::Secrets(_) | Command::Reconcile(_) | Command::Serve(_)
    ) {
        crate::secrets::guard_memory();
    }
    match command {
        Command::Demo(args) => demo::run(&args),
        Command::Init(args) => init::run(&args),
        Command::New(args) => new::run(&args),
        Command::People(args) => new::run_people(&args),
        Command::Import(args) => finish(importing::run(&args)),
        Command::Validate(args) => finish(validate::run(&args)),
        Command::Ci(args) => finish(ci::run(&args)),
        Command::Run(args) => run::run(&args),
        Command::Explain(args) => finish(explain::run(&args)),
        Command::Schema(args) => finish(schema::run(&args)),
        Command::Lsp(args) => lsp::run(&args),
        Command::Plan(args) => finish(planning::run(&args)),
        Command::Promote(args) => asking(sharing::promote(&args)),
        Command::Server(args) => asking(server::run(&args)),
        Command::Runtime(args) => finish(runtime::run(&args)),
        Command::Secrets(args) => run_secrets(&args),
        Command::Doctor(args) => asking(doctor::run(&args)),
        Command::Reconcile(args) => serve::reconcile(&args),
        Command::Serve(_) => serve::serve(),
        Command::Status(args) => asking(looking::status(&args)),
        Command::Runs(args) => asking(looking::runs(&args)),
        Command::Show(args) => asking(looking::show(&args)),
        Command::Logs(args) => asking(looking::logs(&args)),
        Command::Audit(args) => asking(audit::run(&args)),
        Command::Start(args) => asking(steering::start(&args)),
        Command::Rerun(args) => asking(steering::rerun(&args)),
        Command::Cancel(args) => asking(steering::cancel(&args)),
        Command::ApproveStep(args) => asking(steering::approve_step(&args)),
        Command::Pause(args) => asking(steering::pause(&args)),
        Command::Resume(args) => asking(steering::resume(&args)),
        Command::Suspend(args) => asking(steering::suspend(&args)),
        Command::Pin(args) => asking(steering::pin(&args)),
        Command::Release(args) => asking(steering::release(&args)),
        Command::Completion(args) => {
            let mut text = Vec::new();
            clap_complete::generate(args.shell, &mut Arguments::command(), "tenantry", &mut text);
            page::line(String::from_utf8_lossy(&text).trim_end());
            ExitCode::SUCCESS
        }
    }
}

/// Which log lines the daemon writes: `TENANTRY_LOG`, in the form of `tracing`, else `info`.
#[expect(clippy::disallowed_methods, reason = "how much is logged is said by the environment")]
fn log_filter() -> String {
    std::env::var("TENANTRY_LOG").unwrap_or_else(|_| "info".into())
}

/// The same for a command whose output is its answer: warnings only.
#[expect(clippy::disallowed_methods, reason = "how much is logged is said by the environment")]
fn quiet_log_filter() -> String {
    std::env::var("TENANTRY_LOG").unwrap_or_else(|_| "warn".into())
}

/// Runs a command that asks and waits: one thread is enough.
fn asking(work: impl Future<Output = Result<(), Ending>>) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => finish(runtime.block_on(work)),
        Err(error) => finish(Err(Ending::could_not(error))),
    }
}

/// `secrets revoke` with a reason goes to the daemon and counts at once; without one it changes the work tree.
/// `secrets rotate --leaked` does both where a daemon is named, `secrets list` asks it for the last uses.
fn run_secrets(args: &secrets::SecretsArgs) -> ExitCode {
    let mut last = None;
    match &args.command {
        secrets::SecretsCommand::Revoke(revoke) => {
            if let Some(reason) = &revoke.reason {
                let named = match secrets::revoked(revoke) {
                    Ok(named) => named,
                    Err(refused) => return end_secrets(&refused),
                };
                return asking(async {
                    for (secrets::SecretPath { tenant, name }, version) in &named {
                        steering::revoke(&revoke.end.reach, tenant, name, version, reason).await?;
                    }
                    Ok(())
                });
            }
        }
        secrets::SecretsCommand::Rotate(rotate) if rotate.leaked && rotate.end.reach.data.is_some() => {
            let secrets::SecretPath { tenant, name } = &rotate.secret;
            let reason = rotate.reason.as_deref().unwrap_or_default();
            match secrets::leaking(rotate) {
                Ok(old) => {
                    let code = asking(steering::revoke(&rotate.end.reach, tenant, name, &old, reason));
                    if code != ExitCode::SUCCESS {
                        anstream::eprintln!(
                            "the change goes on all the same: it revokes {old} once it is merged"
                        );
                    }
                }
                Err(refused) => return end_secrets(&refused),
            }
        }
        secrets::SecretsCommand::List(list) if list.reach.data.is_some() => {
            last = match last_uses(&list.reach, &list.tenant) {
                Ok(last) => last,
                Err(Ending::No(why) | Ending::Usage(why) | Ending::CouldNot(why)) => {
                    anstream::eprintln!("note: when they were used last is not known: {why}");
                    None
                }
                Err(Ending::Quiet(_)) => None,
            };
        }
        _ => {}
    }
    end_secrets(&secrets::run(args, now(), last.as_ref()))
}

fn end_secrets(done: &secrets::Outcome) -> ExitCode {
    let _ = std::io::Write::write_all(&mut std::io::stdout(), &done.out);
    anstream::eprint!("{}", done.said);
    ExitCode::from(done.code)
}

/// When each version was given to a run last, and how often, of the runs that are kept.
fn last_uses(
    reach: &ReachArgs,
    tenant: &crate::domain::TenantId,
) -> Result<Option<secrets::LastUses>, Ending> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Ending::could_not)?;
    runtime.block_on(looking::last_uses(reach, tenant))
}

/// Now, by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "the command line is where a person's now comes from")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_of_commands_is_sound_and_the_help_names_each() {
        let command = Arguments::command();
        command.clone().debug_assert();
        for one in command.get_subcommands().filter(|one| !one.is_hide_set()) {
            let about = one.get_about().map(ToString::to_string).unwrap_or_default();
            let line = format!("  {:<13} {about}\n", one.get_name());
            assert!(HELP.contains(&line), "the help lacks `{line}`");
            assert!(!about.ends_with('.'), "{about}");
        }
    }

    #[track_caller]
    fn check(line: &str, want: u8) {
        let arguments: Vec<&str> = line.split(' ').collect();
        let error = Arguments::try_parse_from(&arguments).expect_err(line);
        assert_eq!(usage_code(&error, arguments.get(1).copied()), want, "{line}");
    }

    #[test]
    fn a_wrong_command_line_has_its_own_exit_code() {
        check("tenantry", 2);
        check("tenantry nonsense", 2);
        check("tenantry status --format xml", 2);
        check("tenantry pause acme", 2);
        check("tenantry start acme", 2);
        check("tenantry --help", 0);
        check("tenantry --version", 0);
    }
}
