//! `tenantry secrets`: identities, new versions, revocation and decrypting, all on the work tree.
//!
//! Nothing here commits: each command says which files it changed. A value is read from the terminal without
//! echo or from standard input, never from an argument, where other processes could read it.

mod config;
mod decrypt;
mod edit;
mod import;
mod index;
mod keys;
mod list;
mod rekey;
mod revoke;
mod rotate;
mod uses;
mod verify;
mod worktree;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};
use zeroize::Zeroizing;

use crate::cli::proposing::{self, ProposeArgs, Proposed};
use crate::domain::{SecretName, TenantId, Timestamp, VersionId};
use crate::secrets::{Custody, CustodyError, UserIdentities};
use crate::sops::Format;
pub use config::ConfigArgs;
pub use decrypt::{DecryptArgs, decrypt};
pub use edit::EditArgs;
pub use import::ImportArgs;
pub use list::ListArgs;
pub(super) use list::{LastUse, LastUses};
pub use rekey::RekeyArgs;
pub use revoke::RevokeArgs;
pub use rotate::{RotateArgs, SetArgs};
pub use verify::VerifyArgs;
use worktree::{Told, WorkTree};

/// The options of `tenantry secrets`.
#[derive(Debug, Args)]
pub struct SecretsArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: SecretsCommand,
}

/// The commands below `tenantry secrets`.
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Make a tenant's identity and name its public half in the repository
    Init(InitArgs),
    /// Add a version of a secret and make it the current one
    Set(SetArgs),
    /// Edit the values of a secret or of any SOPS file in your editor
    Edit(EditArgs),
    /// Replace a secret's current version, with an overlap or after a leak
    Rotate(RotateArgs),
    /// Revoke a version for good: in the index, or at once through the daemon
    Revoke(RevokeArgs),
    /// List a tenant's secrets: versions, states, ages, uses; never values
    List(ListArgs),
    /// Open every version of a tenant and say what is wrong with it
    Verify(VerifyArgs),
    /// Give a tenant's files a new data key after its recipients changed or its identity leaked
    Rekey(RekeyArgs),
    /// Take over the values of a dotenv or another SOPS file
    Import(ImportArgs),
    /// Decrypt a SOPS file with your own identity, as `sops -d` does
    Decrypt(DecryptArgs),
    /// Write .sops.yaml, so that your own sops encrypts to the right keys
    SopsConfig(ConfigArgs),
}

/// Where the repository lies.
#[derive(Debug, Args)]
pub struct RepositoryArgs {
    /// The repository's directory [default: the nearest one above with a tenantry.toml]
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
}

impl RepositoryArgs {
    fn tree(&self) -> Result<WorkTree, (u8, Told)> {
        WorkTree::find(self.repo.as_deref()).map_err(could_not)
    }
    /// The work tree, if it has the tenant.
    fn tree_of(&self, tenant: &TenantId) -> Result<WorkTree, (u8, Told)> {
        let tree = self.tree()?;
        tree.check_tenant(tenant).map_err(|told| (NO, told))?;
        Ok(tree)
    }
}

/// What a command that opens files and changes them takes.
#[derive(Debug, Args)]
pub struct OpenArgs {
    /// Keys.
    #[command(flatten)]
    pub keys: keys::KeyArgs,
    /// Whether it is proposed.
    #[command(flatten)]
    pub propose: ProposeArgs,
    /// The repository.
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

/// What a command that ends a version, at a daemon or in the files, takes.
#[derive(Debug, Args)]
pub struct EndArgs {
    /// The daemon.
    #[command(flatten)]
    pub reach: crate::cli::ReachArgs,
    /// Whether it is proposed.
    #[command(flatten)]
    pub propose: ProposeArgs,
    /// The repository.
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

/// The options of `tenantry secrets init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The tenant
    pub tenant: TenantId,
    /// The daemon's data directory; the identity is kept in its `identities/`
    #[arg(long, env = "TENANTRY_DATA", value_name = "DATA")]
    pub data: Option<PathBuf>,
    /// The directory of identities, if it is another one
    #[arg(long, value_name = "DIR")]
    pub identities: Option<PathBuf>,
    /// The repository.
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

/// A secret of a tenant: `acme/stripe_api_key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretPath {
    /// The tenant.
    pub tenant: TenantId,
    /// The secret.
    pub name: SecretName,
}

impl std::fmt::Display for SecretPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

impl FromStr for SecretPath {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (tenant, name) = text.split_once('/').ok_or("a secret is written TENANT/NAME")?;
        let tenant = tenant.parse().map_err(|error| format!("the tenant: {error}"))?;
        let name = name.parse().map_err(|error| format!("the secret's name: {error}"))?;
        Ok(Self { tenant, name })
    }
}

/// What a command leaves: its output, what it says beside it, and the exit code.
#[derive(Debug, Default)]
pub struct Outcome {
    /// For standard output; overwritten when dropped, since `decrypt` puts values there.
    pub out: Zeroizing<Vec<u8>>,
    /// For standard error, lines.
    pub said: String,
    /// The exit code.
    pub code: u8,
    /// Files of the repository that were changed.
    files: Vec<String>,
    /// The version that was made or made current.
    version: String,
}

impl Outcome {
    fn printed(out: impl Into<Vec<u8>>) -> Self {
        Self { out: Zeroizing::new(out.into()), ..Self::default() }
    }
    /// Proposes what was changed, where that was asked for.
    fn proposal(
        &mut self,
        tree: &WorkTree,
        wanted: ProposeArgs,
        branch: &str,
        title: &str,
        files: Vec<String>,
    ) -> Result<(), (u8, Told)> {
        if wanted.pr {
            let (title, body) = title.split_once("\n\n").unwrap_or((title, ""));
            let proposed = proposing::propose(&tree.path(""), &files, branch, title, body);
            let Proposed { branch, review } = proposed.map_err(could_not)?;
            let review = match review {
                Ok(review) => format!("review     {review}"),
                Err(next) => format!("next       {next}"),
            };
            self.out.extend_from_slice(format!("branch     {branch}: {title}\n{review}\n").as_bytes());
        }
        Ok(())
    }
    fn refused(code: u8, said: impl std::fmt::Display) -> Self {
        Self { said: format!("error: {said}\n"), code, ..Self::default() }
    }
}

/// The answer is no: the command understood, and nothing was changed.
const NO: u8 = 1;
/// The command line is wrong.
const USAGE: u8 = 2;
/// Something is missing or cannot be read or written.
const COULD_NOT: u8 = 3;

/// Runs one of the commands. `now` stamps what it makes; `last` is what a daemon's store says of uses.
#[must_use]
pub(super) fn run(args: &SecretsArgs, now: Timestamp, last: Option<&LastUses>) -> Outcome {
    let done = match &args.command {
        SecretsCommand::Init(args) => init(args, now),
        SecretsCommand::Set(args) => rotate::set(args, now),
        SecretsCommand::Edit(args) => edit::edit(args, now),
        SecretsCommand::Rotate(args) => {
            rotate::prepare(args).and_then(|found| rotate::rotate(args, &found, now))
        }
        SecretsCommand::Revoke(args) => revoke::revoke(args),
        SecretsCommand::List(args) => list::list(args, now, last),
        SecretsCommand::Verify(args) => verify::verify(args),
        SecretsCommand::Rekey(args) => rekey::rekey(args, now),
        SecretsCommand::Import(args) => import::import(args, now),
        SecretsCommand::SopsConfig(args) => config::sops_config(args),
        SecretsCommand::Decrypt(args) => return decrypt(args, &mut UserIdentities::find()),
    };
    done.unwrap_or_else(|(code, told)| Outcome::refused(code, told))
}

/// What a revocation through the daemon names.
pub(super) fn revoked(args: &RevokeArgs) -> Result<Vec<(SecretPath, VersionId)>, Outcome> {
    revoke::named(args).map_err(|(code, told)| Outcome::refused(code, told))
}

/// What a rotation after a leak revokes first: the version that is current.
pub(super) fn leaking(args: &RotateArgs) -> Result<VersionId, Outcome> {
    rotate::prepare(args).map(|found| found.old).map_err(|(code, told)| Outcome::refused(code, told))
}

type Done = Result<Outcome, (u8, Told)>;

fn could_not(told: Told) -> (u8, Told) {
    (COULD_NOT, told)
}

fn init(args: &InitArgs, now: Timestamp) -> Done {
    let directory =
        args.identities.clone().or_else(|| args.data.as_ref().map(|data| data.join("identities")));
    let directory = directory.ok_or_else(|| {
        (
            USAGE,
            "say where identities are kept: `--data DATA` of the daemon, or `--identities DIR`".to_owned(),
        )
    })?;
    let tree = args.repository.tree_of(&args.tenant)?;
    let custody = Custody::new(directory);
    let mut out = String::new();
    let path = custody.path(&args.tenant).display().to_string();
    let recipient = match custody.recipients(&args.tenant) {
        Ok(known) => {
            let _ = writeln!(out, "identity   {path} (was there)");
            known.into_iter().next()
        }
        Err(CustodyError::Missing(..)) => {
            let made = custody.create(&args.tenant, now).map_err(|error| could_not(error.to_string()))?;
            let _ = writeln!(out, "identity   {path} (new: back it up, it is nowhere else)");
            Some(made)
        }
        Err(error) => return Err(could_not(error.to_string())),
    };
    let recipient = recipient.ok_or_else(|| could_not(format!("`{path}` holds no identity")))?;
    let _ = writeln!(out, "recipient  {recipient}");

    let file = format!("tenants/{}/tenant.yaml", args.tenant);
    let text = tree.read(&file).map_err(could_not)?.unwrap_or_default();
    let changed =
        index::add_recipient(&text, &recipient).map_err(|error| (NO, format!("`{file}`: {error}")))?;
    if let Some(changed) = changed {
        tree.replace(&file, &changed).map_err(could_not)?;
        let _ = writeln!(out, "changed    {file}");
    }
    write_creation_rules(&tree, &mut out)?;
    Ok(Outcome::printed(out))
}

const CREATION_RULES: &str = ".sops.yaml";

/// Writes `.sops.yaml`, unless somebody wrote one by hand.
fn write_creation_rules(tree: &WorkTree, out: &mut String) -> Result<(), (u8, Told)> {
    const FILE: &str = CREATION_RULES;
    let wanted = tree.creation_rules().map_err(|told| (NO, told))?;
    let header = wanted.lines().next().unwrap_or_default();
    match tree.read(FILE).map_err(could_not)? {
        Some(known) if known == wanted => {}
        Some(known) if !known.starts_with(header) => {
            let _ = writeln!(out, "left       {FILE}, which was written by hand: it should hold\n\n{wanted}");
        }
        Some(_) | None => {
            tree.replace(FILE, &wanted).map_err(could_not)?;
            let _ = writeln!(out, "changed    {FILE}");
        }
    }
    Ok(())
}

/// Text of a file for a terminal: nothing in it may move the cursor or change colours.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

/// The index of a tenant.
fn listed(tree: &WorkTree, tenant: &TenantId) -> Result<Vec<index::Listed>, (u8, Told)> {
    let file = format!("tenants/{tenant}/secrets.yaml");
    let text = tree.read(&file).map_err(could_not)?.unwrap_or_default();
    index::read(&text).map_err(|error| (NO, format!("`{file}`: {error}")))
}

/// Whom a tenant's files are encrypted to; nobody is an error.
fn recipients(tree: &WorkTree, tenant: &TenantId) -> Result<Vec<crate::sops::Recipient>, (u8, Told)> {
    let recipients = tree.recipients(tenant).map_err(|told| (NO, told))?;
    if recipients.is_empty() {
        return Err((
            NO,
            format!("`{tenant}` has no recipient yet: run `tenantry secrets init {tenant}` first"),
        ));
    }
    Ok(recipients)
}

/// The parser of `--input-type`, with the words it takes.
fn format_parser() -> impl clap::builder::TypedValueParser<Value = Format> {
    use clap::builder::TypedValueParser as _;
    clap::builder::PossibleValuesParser::new(Format::ALL.map(Format::as_str))
        .try_map(|word| word.parse::<Format>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_named_with_its_tenant() {
        let path: SecretPath = "acme/stripe_api_key".parse().unwrap();
        assert_eq!((path.tenant.as_str(), path.name.as_str()), ("acme", "stripe_api_key"));
        for text in ["acme", "acme/", "/x", "acme/a/b", "acme/../x", "ACME/x"] {
            assert!(text.parse::<SecretPath>().is_err(), "{text}");
        }
    }
}
