//! `tenantry secrets set` and `rotate`: a new version from a value nobody sees, made from public keys alone.

use std::fmt::Write as _;
use std::io::{IsTerminal, Read};

use clap::Args;
use zeroize::Zeroizing;

use super::index::{self, Arrival};
use super::worktree::{Told, WorkTree};
use super::{Done, EndArgs, NO, Outcome, RepositoryArgs, SecretPath, USAGE, could_not, uses};
use crate::cli::proposing::ProposeArgs;
use crate::domain::{Length, Timestamp, VersionId};
use crate::record::redactable;
use crate::secrets::seal_fresh;
use crate::sops::Plaintext;

/// The options of `tenantry secrets set`.
#[derive(Debug, Args)]
#[command(after_help = "\
The value is asked for without echo, or read from standard input; there is no option for it, since other processes
could read that. No private key is needed. A value that the redactor could not protect is refused, unless the index
says `redact: false`.

  tenantry secrets set acme/stripe_api_key
  pass show stripe | tenantry secrets set acme/stripe_api_key --pr")]
pub struct SetArgs {
    /// The secret, as TENANT/NAME
    #[arg(value_name = "TENANT/NAME")]
    pub secret: SecretPath,
    /// The new version's id [default: v1, or one more than the highest]
    #[arg(long, value_name = "ID")]
    pub version: Option<VersionId>,
    /// Leave the current version current: the new one is given only to who asks for it by id
    #[arg(long)]
    pub pending: bool,
    /// Whether it is proposed.
    #[command(flatten)]
    pub propose: ProposeArgs,
    /// The repository.
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

/// The options of `tenantry secrets rotate`.
#[derive(Debug, Args)]
#[command(after_help = "\
A new version becomes the current one; the old one stays accepted for the overlap, so that nobody is cut off in
between. A version that was set with `--pending` is made current with `--promote ID`; no value is asked for then.

After a leak the old version is revoked, at once where a daemon is named by --data, and in any case by the change:
  tenantry secrets rotate acme/stripe_api_key --leaked --reason \"in a screenshot, INC-42\" --data DATA --pr")]
pub struct RotateArgs {
    /// The secret, as TENANT/NAME
    #[arg(value_name = "TENANT/NAME")]
    pub secret: SecretPath,
    /// How long the old version is still accepted, such as 12h or 7d [default: 7d]
    #[arg(long, value_name = "LENGTH", conflicts_with = "leaked")]
    pub overlap: Option<Length>,
    /// The new version's id [default: one more than the highest]
    #[arg(long, value_name = "ID", conflicts_with = "promote")]
    pub version: Option<VersionId>,
    /// Make this pending version the current one
    #[arg(long, value_name = "ID")]
    pub promote: Option<VersionId>,
    /// The old version has leaked: it is revoked, without an overlap
    #[arg(long, requires = "reason")]
    pub leaked: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", requires = "leaked")]
    pub reason: Option<String>,
    /// Daemon, proposal, repository.
    #[command(flatten)]
    pub end: EndArgs,
}

pub(super) fn set(args: &SetArgs, now: Timestamp) -> Done {
    let tree = args.repository.tree()?;
    let arrival = if args.pending { Arrival::Pending } else { Arrival::Current { until: None } };
    let mut done = add(&tree, &args.secret, args.version.as_ref(), arrival, now)?;
    let (files, version) = (std::mem::take(&mut done.files), std::mem::take(&mut done.version));
    let title = format!("secrets: set {} of {}", version, args.secret);
    done.proposal(&tree, args.propose, &branch("set", &args.secret, &version), &title, files)?;
    Ok(done)
}

/// What `rotate` works on, found before anything is revoked.
pub(crate) struct Rotation {
    tree: WorkTree,
    /// The version that is current now.
    pub(crate) old: VersionId,
    workflows: Option<Vec<String>>,
}

/// Looks before anything is changed: the secret has to have a current version.
pub(crate) fn prepare(args: &RotateArgs) -> Result<Rotation, (u8, Told)> {
    let SecretPath { tenant, name } = &args.secret;
    let tree = args.end.repository.tree_of(tenant)?;
    let listed = super::listed(&tree, tenant)?;
    let entry = listed.iter().find(|entry| entry.name == name.as_str());
    let entry = entry.ok_or_else(|| {
        (NO, format!("`{tenant}` has no secret `{name}`: `tenantry secrets set {tenant}/{name}` makes it"))
    })?;
    let current = entry.versions.iter().find(|version| version.state == "current");
    let current = current.ok_or_else(|| {
        (
            NO,
            format!(
                "`{tenant}/{name}` has no current version: `tenantry secrets set {tenant}/{name}` makes one"
            ),
        )
    })?;
    let old = current.id.parse().map_err(|error| (NO, format!("the version: {error}")))?;
    let workflows = uses::of_tenant(&tree, tenant).of(name.as_str());
    Ok(Rotation { tree, old, workflows })
}

pub(crate) fn rotate(args: &RotateArgs, found: &Rotation, now: Timestamp) -> Done {
    const OVERLAP: &str = "7d";
    let Rotation { tree, old, workflows } = found;
    let SecretPath { tenant, name } = &args.secret;
    if args.leaked && args.reason.as_deref().is_none_or(|reason| reason.trim().is_empty()) {
        return Err((USAGE, "say why with `--reason TEXT`".to_owned()));
    }
    // INVARIANT: the constant is a length; were it none, nothing would be accepted any more.
    let overlap = args.overlap.or_else(|| OVERLAP.parse().ok());
    let until = overlap.map(|overlap| now + overlap);
    let until = until.map(|until| Timestamp::from_millis(until.as_millis() / 1000 * 1000));
    let arrival = if args.leaked { Arrival::InPlaceOfRevoked } else { Arrival::Current { until } };
    let mut done = match &args.promote {
        Some(version) => promote(tree, &args.secret, version, arrival)?,
        None => add(tree, &args.secret, args.version.as_ref(), arrival, now)?,
    };
    let mut note = String::new();
    if args.leaked {
        let _ = writeln!(note, "revoked    {old}: for good once this is merged");
    } else if let Some(until) = until {
        let _ = writeln!(note, "accepted   {old} until {until}");
    }
    match workflows.as_deref() {
        Some([]) => {
            let _ = writeln!(note, "used by    no workflow");
        }
        Some(names) => {
            let _ = writeln!(note, "used by    {}", names.join(", "));
        }
        None => {}
    }
    done.out.extend_from_slice(note.as_bytes());
    if args.leaked && workflows.as_ref().is_none_or(|names| !names.is_empty()) {
        let _ = writeln!(
            done.said,
            "note: where the old version is revoked already, runs that ask for {tenant}/{name} fail until this change is merged"
        );
    }
    let (files, version) = (std::mem::take(&mut done.files), std::mem::take(&mut done.version));
    let title = format!("secrets: rotate {}", args.secret);
    let title = match &args.reason {
        Some(reason) => format!("{title}\n\n{old} is revoked: {reason}"),
        None => title,
    };
    done.proposal(tree, args.end.propose, &branch("rotate", &args.secret, &version), &title, files)?;
    Ok(done)
}

fn branch(what: &str, SecretPath { tenant, name }: &SecretPath, version: &str) -> String {
    format!("secrets/{what}-{tenant}-{name}-{version}")
}

fn promote(tree: &WorkTree, secret: &SecretPath, version: &VersionId, arrival: Arrival) -> Done {
    let SecretPath { tenant, name } = secret;
    let file = format!("tenants/{tenant}/secrets.yaml");
    let text = tree.read(&file).map_err(could_not)?.unwrap_or_default();
    let changed =
        index::promote(&text, name, version, arrival).map_err(|error| (NO, format!("`{file}`: {error}")))?;
    tree.replace(&file, &changed).map_err(could_not)?;
    let mut done =
        Outcome::printed(format!("version    {version} of {tenant}/{name} is current\nchanged    {file}\n"));
    done.files = vec![file];
    done.version = version.to_string();
    Ok(done)
}

/// Adds a version: its file, then the index. The value is asked for last, so that nobody types one that is then
/// refused for another reason.
fn add(
    tree: &WorkTree,
    secret: &SecretPath,
    version: Option<&VersionId>,
    arrival: Arrival,
    now: Timestamp,
) -> Done {
    let SecretPath { tenant, name } = secret;
    tree.check_tenant(tenant).map_err(|told| (NO, told))?;
    let listed = super::listed(tree, tenant)?;
    let version = match version {
        Some(version) => version.clone(),
        None => index::next_version(&listed, name)
            .parse()
            .map_err(|error| (NO, format!("the version: {error}")))?,
    };
    let recipients = super::recipients(tree, tenant)?;
    let index_file = format!("tenants/{tenant}/secrets.yaml");
    let text = tree.read(&index_file).map_err(could_not)?.unwrap_or_default();
    let changed = index::add_version(&text, name, &version, now, arrival)
        .map_err(|error| (NO, format!("`{index_file}`: {error}")))?;

    let value = read_value(secret).map_err(could_not)?;
    let protected = listed.iter().find(|entry| entry.name == name.as_str()).is_none_or(|entry| entry.redact);
    if protected {
        redactable(&value).map_err(|reason| {
            let cure = format!("take another one, or, for a value that anybody may read, write `redact: false` at `{name}` in `{index_file}` first");
            (NO, format!("the value {reason}; {cure}"))
        })?;
    }
    let sealed =
        seal_fresh(name, &version, &value, &recipients, now).map_err(|error| (NO, error.to_string()))?;
    let file = format!("tenants/{tenant}/{}", index::default_file(name.as_str(), version.as_str()));
    tree.create(&file, &sealed).map_err(could_not)?;
    if let Err(told) = tree.replace(&index_file, &changed) {
        // A file without its entry would be refused by the next set.
        let removed = tree.remove(&file).map_or_else(|told| format!("; {told}"), |()| String::new());
        return Err(could_not(format!("{told}{removed}")));
    }
    let state = if arrival == Arrival::Pending { "pending" } else { "current" };
    let mut done = Outcome::printed(format!(
        "version    {version} of {tenant}/{name} is {state}\nmade       {file}\nchanged    {index_file}\n"
    ));
    done.files = vec![file, index_file];
    done.version = version.to_string();
    Ok(done)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_break_of_echo_is_not_the_values() {
        assert_eq!(one_line(b"value\n"), b"value");
        assert_eq!(one_line(b"value\r\n"), b"value");
        assert_eq!(one_line(b"value"), b"value");
        assert_eq!(one_line(b"a\nb\n"), b"a\nb\n");
        assert_eq!(one_line(b"a\n\n"), b"a\n\n");
    }
}
