//! `server init`: makes the data directory of a machine that is to serve a repository.
#![expect(clippy::disallowed_methods, reason = "writes the files of a new data directory")]

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::ending::with_causes;
use super::{Ending, now, page};
use crate::app::{Survey, survey};
use crate::domain::{Principal, TenantId, UserId};
use crate::secrets::{Custody, CustodyError};

/// The options of `tenantry server`.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// What is done.
    #[command(subcommand)]
    command: ServerCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum ServerCommand {
    /// Makes what a daemon needs and prints what others must know; a second time it changes nothing
    Init(InitArgs),
}

/// The options of `tenantry server init`.
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// The repository: a directory, or an address without a password
    #[arg(long, value_name = "URL|DIR", env = "TENANTRY_REPO")]
    repo: String,
    /// The data directory, made if it is not there
    #[arg(long, value_name = "DATA", env = "TENANTRY_DATA")]
    data: PathBuf,
    /// The person of people.yaml that this user is [default: the only platform admin]
    #[arg(long, value_name = "PERSON")]
    person: Option<UserId>,
    /// One person works alone: what only he could agree to is applied and marked
    #[arg(long)]
    solo: bool,
}

/// Makes the data directory.
///
/// # Errors
/// [`Ending`].
pub async fn run(args: &ServerArgs) -> Result<(), Ending> {
    let ServerCommand::Init(args) = &args.command;
    let args = &InitArgs { repo: super::serve::absolute(&args.repo), ..args.clone() };
    let found = survey(&args.repo, &args.data).await.map_err(Ending::could_not)?;
    for name in ["identities", "keys", "credentials", "logs"] {
        make(&args.data.join(name))?;
    }
    fact("repository", &format!("{} at {}", found.address, found.revision.commit.short()));
    fact("data", &args.data.display().to_string());
    let fresh = write_trust(args, &found)?;
    make_identities(&args.data, &found)?;
    if fresh && found.platform.as_ref().is_some_and(|platform| platform.settings.recovery.is_empty()) {
        show_recovery_key()?;
    }
    write_unit(args)?;
    page::line("");
    page::line(&format!("next: tenantry serve --repo {} --data {}", args.repo, args.data.display()));
    Ok(())
}

fn fact(name: &str, value: &str) {
    page::line(&format!("{name:<10}  {value}"));
}

fn make(directory: &Path) -> Result<(), Ending> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|error| Ending::CouldNot(format!("cannot make `{}`: {error}", directory.display())))
}

/// Writes a file that is not there yet; one that is stays as it is.
fn write_new(path: &Path, mode: u32, text: &str) -> Result<bool, Ending> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let failed = |error| Ending::CouldNot(format!("cannot write `{}`: {error}", path.display()));
    match file {
        Ok(mut file) => {
            file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed).map(|()| true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// Says who this user is, if that is known: named, or the only platform admin.
fn person(args: &InitArgs, found: &Survey) -> Result<Option<UserId>, Ending> {
    let Some(platform) = &found.platform else { return Ok(None) };
    if let Some(person) = &args.person {
        if !platform.people.users.contains_key(person) {
            return Err(Ending::No(format!("there is no person `{person}` in platform/people.yaml")));
        }
        return Ok(Some(person.clone()));
    }
    let mut admins = platform.admins.iter();
    Ok(match (admins.next(), admins.next()) {
        (Some(Principal::User(only)), None) => Some(only.clone()),
        _ => None,
    })
}

fn write_trust(args: &InitArgs, found: &Survey) -> Result<bool, Ending> {
    let uid = rustix::process::geteuid().as_raw();
    let person = person(args, found)?;
    let mut text =
        String::from("# Stands outside Git, so that no commit changes what it says.\nnumber = 1\n");
    if let Some(platform) = &found.platform {
        text.push_str(&format!("repository = \"{}\"\n", platform.settings.id));
    }
    text.push_str(&format!("ref = \"refs/heads/{}\"\nsolo = {}\n", found.revision.branch, args.solo));
    text.push_str("\n# Which person a user of this machine is on the daemon's socket.\n[local]\n");
    match &person {
        Some(person) => text.push_str(&format!("{uid} = \"{person}\"\n")),
        None => text.push_str(&format!("# {uid} = \"NAME\"\n")),
    }
    let path = args.data.join("trust.toml");
    let fresh = write_new(&path, 0o600, &text)?;
    let who = match (fresh, person) {
        (false, _) => "was there, left as it is".to_owned(),
        (true, Some(person)) => format!("uid {uid} is {person}"),
        (true, None) => format!("nobody is named for uid {uid}: add it under [local]"),
    };
    fact("trust", &format!("{} ({who})", path.display()));
    Ok(fresh)
}

fn make_identities(data: &Path, found: &Survey) -> Result<(), Ending> {
    let custody = Custody::new(data.join("identities"));
    for (tenant, recipients) in &found.tenants {
        let public = match custody.recipients(tenant) {
            Ok(known) => known,
            Err(CustodyError::Missing(..)) => {
                vec![custody.create(tenant, now()).map_err(|error| Ending::CouldNot(with_causes(&error)))?]
            }
            Err(error) => return Err(Ending::CouldNot(with_causes(&error))),
        };
        let public: Vec<String> = public.iter().map(ToString::to_string).collect();
        fact("identity", &format!("{tenant}: {}", public.join(", ")));
        if !public.iter().any(|one| recipients.contains(one)) {
            fact("", &format!("  no recipient of this tenant yet: {}", cure(tenant, data)));
        }
    }
    Ok(())
}

fn cure(tenant: &TenantId, data: &Path) -> String {
    format!("`tenantry secrets init {tenant} --data {}` in the repository", data.display())
}

/// Shows a key that reads every tenant's secrets, for whom the repository names none yet. It is kept nowhere.
fn show_recovery_key() -> Result<(), Ending> {
    let failed = |error: &dyn std::error::Error| Ending::CouldNot(with_causes(error));
    let directory = tempfile::tempdir().map_err(|error| failed(&error))?;
    let custody = Custody::new(directory.path());
    // INVARIANT: `recovery` is a name; the file is gone with its directory.
    let Ok(name) = "recovery".parse::<TenantId>() else { return Ok(()) };
    let public = custody.create(&name, now()).map_err(|error| failed(&error))?;
    let text = std::fs::read_to_string(custody.path(&name)).map_err(|error| failed(&error))?;
    let secret = text.lines().find(|line| line.starts_with("AGE-SECRET-KEY-")).unwrap_or_default();
    page::line("");
    page::line("recovery key, shown this once and kept nowhere; store it offline:");
    page::line(&format!("  {secret}"));
    page::line("its public half belongs into tenantry.toml as a recovery recipient:");
    page::line(&format!("  {public}"));
    Ok(())
}

fn write_unit(args: &InitArgs) -> Result<(), Ending> {
    let unit = format!(
        "[Unit]\nDescription=tenantry\nAfter=network-online.target\n\n[Service]\nExecStart=/usr/local/bin/tenantry serve --repo {} --data {}\nRestart=on-failure\nKillSignal=SIGTERM\nTimeoutStopSec=60\nDelegate=yes\n\n[Install]\nWantedBy=multi-user.target\n",
        args.repo,
        args.data.display()
    );
    let path = args.data.join("tenantry.service");
    write_new(&path, 0o600, &unit)?;
    fact("unit", &format!("{} (for systemd; adapt it)", path.display()));
    Ok(())
}
