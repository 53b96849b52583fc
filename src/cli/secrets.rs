//! `tenantry secrets`: identities, new versions, revocation and decrypting, all on the work tree.
//!
//! Nothing here commits: each command says which files it changed. A value is read from the terminal without
//! echo or from standard input, never from an argument, where other processes could read it.

mod index;
mod worktree;

use std::fmt::Write as _;
use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, Subcommand, ValueEnum};
use zeroize::Zeroizing;

use crate::domain::{SecretName, TenantId, Timestamp, VersionId};
use crate::record::redactable;
use crate::secrets::{Custody, CustodyError, UserIdentities, seal_fresh};
use crate::sops::{self, Leaf, Opened, Plaintext, SopsError, Value};
use index::Listed;
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
    /// List a tenant's secrets: names, versions and states, never values
    List(ListArgs),
    /// Mark a version as revoked in the index, for good
    Revoke(RevokeArgs),
    /// Decrypt a SOPS file with your own identity
    Decrypt(DecryptArgs),
}

/// Where the repository lies.
#[derive(Debug, Args)]
pub struct RepositoryArgs {
    /// The repository's directory [default: the nearest one above with a tenantry.toml]
    #[arg(long, value_name = "DIR")]
    pub repo: Option<PathBuf>,
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

/// The options of `tenantry secrets set`.
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The secret, as TENANT/NAME
    #[arg(value_name = "TENANT/NAME")]
    pub secret: SecretPath,
    /// The new version's id [default: v1, or one more than the highest]
    #[arg(long, value_name = "ID")]
    pub version: Option<VersionId>,
    /// The repository.
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

/// The options of `tenantry secrets list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The tenant
    pub tenant: TenantId,
    /// How to show it
    #[arg(long, value_enum, default_value = "human")]
    pub format: ListFormat,
    /// The repository.
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

/// How a list is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// A table
    Human,
    /// `tenantry.secrets/1`
    Json,
}

/// The options of `tenantry secrets revoke`.
#[derive(Debug, Args)]
pub struct RevokeArgs {
    /// The secret, as TENANT/NAME
    #[arg(value_name = "TENANT/NAME")]
    pub secret: SecretPath,
    /// The version
    pub version: VersionId,
    /// Why; with a reason the running daemon revokes it at once, without one the work tree is changed
    #[arg(long)]
    pub reason: Option<String>,
    /// The daemon.
    #[command(flatten)]
    pub reach: super::ReachArgs,
    /// The repository.
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

/// The options of `tenantry secrets decrypt`.
#[derive(Debug, Args)]
pub struct DecryptArgs {
    /// The encrypted file
    pub file: PathBuf,
    /// How to show it; `raw` needs a file with one value
    #[arg(long, value_enum, default_value = "yaml")]
    pub format: DecryptFormat,
}

/// How a decrypted file is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DecryptFormat {
    /// JSON; several documents as a list
    Json,
    /// YAML, comments left out
    Yaml,
    /// The bytes of the only value
    Raw,
}

/// A secret of a tenant: `acme/stripe_api_key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretPath {
    /// The tenant.
    pub tenant: TenantId,
    /// The secret.
    pub name: SecretName,
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
}

impl Outcome {
    fn printed(out: impl Into<Vec<u8>>) -> Self {
        Self { out: Zeroizing::new(out.into()), ..Self::default() }
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

/// Runs one of the commands. `now` stamps what it makes.
#[must_use]
pub fn run(args: &SecretsArgs, now: Timestamp) -> Outcome {
    let done = match &args.command {
        SecretsCommand::Init(args) => init(args, now),
        SecretsCommand::Set(args) => set(args, now),
        SecretsCommand::List(args) => list(args),
        SecretsCommand::Revoke(args) => revoke(args),
        SecretsCommand::Decrypt(args) => return decrypt(args, &UserIdentities::find()),
    };
    done.unwrap_or_else(|(code, told)| Outcome::refused(code, told))
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
    let tree = WorkTree::find(args.repository.repo.as_deref()).map_err(could_not)?;
    tree.check_tenant(&args.tenant).map_err(|told| (NO, told))?;
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

/// Writes `.sops.yaml`, unless somebody wrote one by hand.
fn write_creation_rules(tree: &WorkTree, out: &mut String) -> Result<(), (u8, Told)> {
    const FILE: &str = ".sops.yaml";
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

fn set(args: &SetArgs, now: Timestamp) -> Done {
    let SecretPath { tenant, name } = &args.secret;
    let tree = WorkTree::find(args.repository.repo.as_deref()).map_err(could_not)?;
    tree.check_tenant(tenant).map_err(|told| (NO, told))?;
    let recipients = tree.recipients(tenant).map_err(|told| (NO, told))?;
    if recipients.is_empty() {
        return Err((
            NO,
            format!("`{tenant}` has no recipient yet: run `tenantry secrets init {tenant}` first"),
        ));
    }
    let index_file = format!("tenants/{tenant}/secrets.yaml");
    let text = tree.read(&index_file).map_err(could_not)?.unwrap_or_default();
    let wrong = |error: index::IndexError| (NO, format!("`{index_file}`: {error}"));
    let listed = index::read(&text).map_err(wrong)?;
    let version = match &args.version {
        Some(version) => version.clone(),
        None => index::next_version(&listed, name)
            .parse()
            .map_err(|error| (NO, format!("the version: {error}")))?,
    };
    let changed = index::add_version(&text, name, &version, now).map_err(wrong)?;

    // Asked for last, so that nobody types a value that is then refused for another reason.
    let value = read_value(&args.secret).map_err(could_not)?;
    redactable(&value).map_err(|reason| (NO, format!("the value {reason}")))?;
    let sealed =
        seal_fresh(name, &version, &value, &recipients, now).map_err(|error| (NO, error.to_string()))?;
    let file = format!("tenants/{tenant}/{}", index::default_file(name.as_str(), version.as_str()));
    tree.create(&file, &sealed).map_err(could_not)?;
    if let Err(told) = tree.replace(&index_file, &changed) {
        // A file without its entry would be refused by the next set.
        let removed = tree.remove(&file).map_or_else(|told| format!("; {told}"), |()| String::new());
        return Err(could_not(format!("{told}{removed}")));
    }
    Ok(Outcome::printed(format!(
        "version    {version} of {tenant}/{name} is current\nmade       {file}\nchanged    {index_file}\n"
    )))
}

/// Reads a value from the terminal without echo, else all of standard input.
fn read_value(secret: &SecretPath) -> Result<Plaintext, Told> {
    const BYTES_MAX: usize = crate::record::VALUE_BYTES_MAX + 2;
    let SecretPath { tenant, name } = secret;
    if std::io::stdin().is_terminal() {
        let ask = |prompt: String| {
            let terminal = console::Term::stderr();
            let line = terminal.write_str(&prompt).and_then(|()| terminal.read_secure_line());
            line.map(Zeroizing::new).map_err(|error| format!("cannot ask for the value: {error}"))
        };
        let value = ask(format!("value of {tenant}/{name} (not shown): "))?;
        if *value != *ask("once more: ".to_owned())? {
            return Err("the two values differ: nothing was changed".to_owned());
        }
        return Ok(Plaintext::new(value.as_bytes().to_vec()));
    }
    // Room for all of it at once: a growing buffer would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(BYTES_MAX + 1));
    let limit = BYTES_MAX as u64;
    std::io::stdin()
        .lock()
        .take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot read the value: {error}"))?;
    Ok(Plaintext::new(one_line(&bytes).to_vec()))
}

/// What `echo` adds to a value of one line is not the value's; a text of several lines is taken as it is.
fn one_line(bytes: &[u8]) -> &[u8] {
    let line = bytes.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    line.filter(|line| !line.contains(&b'\n')).unwrap_or(bytes)
}

fn list(args: &ListArgs) -> Done {
    let tree = WorkTree::find(args.repository.repo.as_deref()).map_err(could_not)?;
    tree.check_tenant(&args.tenant).map_err(|told| (NO, told))?;
    let file = format!("tenants/{}/secrets.yaml", args.tenant);
    let text = tree.read(&file).map_err(could_not)?.unwrap_or_default();
    let listed = index::read(&text).map_err(|error| (NO, format!("`{file}`: {error}")))?;
    let is_there = |file: &str| tree.path(&format!("tenants/{}/{file}", args.tenant)).is_file();
    Ok(Outcome::printed(match args.format {
        ListFormat::Json => list_json(&args.tenant, &listed, is_there),
        ListFormat::Human => list_human(&listed, is_there),
    }))
}

fn list_json(tenant: &TenantId, listed: &[Listed], is_there: impl Fn(&str) -> bool) -> String {
    let secrets: Vec<serde_json::Value> = listed
        .iter()
        .map(|secret| {
            let versions: Vec<serde_json::Value> = secret
                .versions
                .iter()
                .map(|version| {
                    serde_json::json!({
                        "id": version.id, "state": version.state, "created": version.created,
                        "accept_until": version.accept_until,
                        "file": format!("tenants/{tenant}/{}", version.file), "present": is_there(&version.file),
                    })
                })
                .collect();
            serde_json::json!({ "name": secret.name, "owner": secret.owner, "versions": versions })
        })
        .collect();
    format!(
        "{:#}\n",
        serde_json::json!({ "schema": "tenantry.secrets/1", "tenant": tenant, "secrets": secrets })
    )
}

fn list_human(listed: &[Listed], is_there: impl Fn(&str) -> bool) -> String {
    if listed.is_empty() {
        return "no secrets\n".to_owned();
    }
    let mut rows = vec![["SECRET", "VERSION", "STATE", "CREATED", "FILE"].map(str::to_owned)];
    for secret in listed {
        for version in &secret.versions {
            // The file of a revoked version may go; of any other it may not.
            let missing = !is_there(&version.file) && version.state != "revoked";
            let file = if missing { format!("{} (missing)", version.file) } else { version.file.clone() };
            let created = version.created.clone().unwrap_or_default();
            rows.push([secret.name.clone(), version.id.clone(), version.state.clone(), created, file]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    let mut out = String::new();
    for [name, version, state, created, file] in &rows {
        let line = format!(
            "{name:<0$}  {version:<1$}  {state:<2$}  {created:<3$}  {file}",
            widths[0], widths[1], widths[2], widths[3]
        );
        let _ = writeln!(out, "{}", printable(line.trim_end()));
    }
    out
}

/// Text of a file for a terminal: nothing in it may move the cursor or change colours.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{FFFD}' } else { c }).collect()
}

fn revoke(args: &RevokeArgs) -> Done {
    let SecretPath { tenant, name } = &args.secret;
    let version = &args.version;
    let tree = WorkTree::find(args.repository.repo.as_deref()).map_err(could_not)?;
    tree.check_tenant(tenant).map_err(|told| (NO, told))?;
    let file = format!("tenants/{tenant}/secrets.yaml");
    let text = tree.read(&file).map_err(could_not)?.unwrap_or_default();
    let changed = index::revoke(&text, name, version).map_err(|error| (NO, format!("`{file}`: {error}")))?;
    let Some(changed) = changed else {
        return Ok(Outcome::printed(format!(
            "version    {version} of {tenant}/{name} was revoked already\n"
        )));
    };
    tree.replace(&file, &changed).map_err(could_not)?;
    let mut done = Outcome::printed(format!(
        "version    {version} of {tenant}/{name} is revoked once this is merged\nchanged    {file}\n"
    ));
    let listed = index::read(&changed).unwrap_or_default();
    let left = listed.iter().find(|secret| secret.name == name.as_str());
    if left.is_some_and(|secret| secret.versions.iter().all(|version| version.state != "current")) {
        let _ = writeln!(
            done.said,
            "note: {tenant}/{name} has no current version now: steps that ask for it fail until `tenantry secrets set {tenant}/{name}`"
        );
    }
    Ok(done)
}

/// Decrypts a file with the given identities. Exit codes as those of sops: 1 no SOPS file, 25 a value that does
/// not open, 51 MAC, 128 no data key.
#[must_use]
pub fn decrypt(args: &DecryptArgs, found: &UserIdentities) -> Outcome {
    let file = args.file.display();
    let bytes = match read_file(&args.file) {
        Ok(bytes) => bytes,
        Err(error) => return Outcome::refused(COULD_NOT, format!("cannot read `{file}`: {error}")),
    };
    let opened = match sops::open(&bytes, &found.identities) {
        Ok(opened) => opened,
        Err(error) => {
            let mut refused = Outcome::refused(exit_code(&error), format!("`{file}`: {error}"));
            if matches!(error, SopsError::NoDataKey(_)) {
                for problem in &found.problems {
                    let _ = writeln!(refused.said, "note: {problem}");
                }
                if found.identities.is_empty() {
                    refused.said.push_str(
                        "help: give your age identity in SOPS_AGE_KEY_FILE or ~/.config/sops/age/keys.txt\n",
                    );
                }
            }
            return refused;
        }
    };
    show(opened, args.format).unwrap_or_else(|told| Outcome::refused(NO, format!("`{file}` {told}")))
}

#[expect(clippy::disallowed_methods, reason = "the command line reads the person's own file")]
fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte beyond the budget, so that the reader says that it is too large.
    std::fs::File::open(path)?.take(sops::BUDGET.bytes_max as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn exit_code(error: &SopsError) -> u8 {
    match error {
        SopsError::Yaml(_)
        | SopsError::Store(_)
        | SopsError::NoMetadata
        | SopsError::Metadata { .. }
        | SopsError::Shape { .. }
        | SopsError::NotFound(_)
        | SopsError::Unwritable(_) => NO,
        SopsError::Value { .. } => 25,
        SopsError::Mac(_) => 51,
        SopsError::NoDataKey(_) => 128,
    }
}

fn show(opened: Opened, format: DecryptFormat) -> Result<Outcome, String> {
    let out = match format {
        DecryptFormat::Yaml => sops::yaml(&opened.documents),
        DecryptFormat::Json if opened.documents.len() == 1 => sops::json(&opened.documents[0]),
        DecryptFormat::Json => sops::json(&Value::List(opened.documents)),
        DecryptFormat::Raw => {
            let mut leaves = Vec::new();
            opened.documents.iter().for_each(|document| collect(document, &mut leaves));
            let [leaf] = leaves.as_slice() else {
                return Err(format!(
                    "holds {} values: `--format raw` shows the only one of a file",
                    leaves.len()
                ));
            };
            return Ok(Outcome::printed(leaf.text.expose()));
        }
    };
    Ok(Outcome::printed(out.as_bytes()))
}

fn collect<'v>(value: &'v Value, leaves: &mut Vec<&'v Leaf>) {
    match value {
        Value::Null => {}
        Value::Leaf(leaf) => leaves.push(leaf),
        Value::List(items) => items.iter().for_each(|item| collect(item, leaves)),
        Value::Map(entries) => entries.iter().for_each(|(_, value)| collect(value, leaves)),
    }
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

    #[test]
    fn the_line_break_of_echo_is_not_the_values() {
        assert_eq!(one_line(b"value\n"), b"value");
        assert_eq!(one_line(b"value\r\n"), b"value");
        assert_eq!(one_line(b"value"), b"value");
        assert_eq!(one_line(b"a\nb\n"), b"a\nb\n");
        assert_eq!(one_line(b"a\n\n"), b"a\n\n");
    }

    #[test]
    fn exit_codes_are_those_of_sops() {
        assert_eq!(exit_code(&SopsError::NoMetadata), 1);
        assert_eq!(exit_code(&SopsError::Value { at: "a".into(), reason: "is not encrypted" }), 25);
        assert_eq!(exit_code(&SopsError::Mac("is missing")), 51);
        assert_eq!(exit_code(&SopsError::NoDataKey(Vec::new())), 128);
    }

    #[test]
    fn a_list_cannot_command_the_terminal() {
        let listed =
            index::read("secrets:\n  a:\n    versions:\n      - { id: \"v1\\e[2J\", state: current }\n")
                .unwrap();
        let shown = list_human(&listed, |_| true);
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        assert!(shown.starts_with("SECRET"), "{shown}");
    }
}
