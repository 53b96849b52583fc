//! `runtime`: puts root file systems on a worker, for workflows that name one by its digest.
#![expect(clippy::disallowed_methods, reason = "reads the archive that an administrator names")]

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::Ending;
use super::ending::with_causes;
use super::page::{self, Format, FormatArgs};
use crate::domain::{ByteSize, RuntimeDigest};
use crate::sandbox::{RUNTIME_BYTES_MAX, RuntimeSource, add_runtime, list_runtimes, runtime_digest};

/// The options of `tenantry runtime`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
A runtime is a directory tree with the programs and libraries that a workflow's steps see as their system, in place of \
those of the worker. It is named by the digest of what is in it: `runtime: sha256:…` in a workflow.

  docker export $(docker create python:3.13-slim) | tenantry runtime add - --data DATA")]
pub struct RuntimeArgs {
    /// What is done.
    #[command(subcommand)]
    command: RuntimeCommand,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum RuntimeCommand {
    /// Unpacks a root file system into the directory of runtimes and prints its digest
    Add(AddArgs),
    /// Lists the runtimes of a worker and reads each, to say whether it is what its name says
    List(ListArgs),
    /// Prints the digest of a root file system and changes nothing
    Digest(DigestArgs),
}

/// Where runtimes lie.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct ShelfArgs {
    /// The directory of runtimes: `--runtimes` of `serve` and `run`; it wins over `--data`
    #[arg(long, value_name = "DIR", env = "TENANTRY_RUNTIMES")]
    runtimes: Option<PathBuf>,
    /// The data directory of a daemon, whose runtimes lie in `runtimes/`
    #[arg(long, value_name = "DATA", env = "TENANTRY_DATA")]
    data: Option<PathBuf>,
}

#[derive(Clone, Debug, clap::Args)]
struct AddArgs {
    /// A tar archive, a directory, or `-` for an archive on standard input
    #[arg(value_name = "FILE|DIR|-")]
    source: PathBuf,
    /// The most that its files may have together
    #[arg(long, value_name = "SIZE", default_value_t = RUNTIME_BYTES_MAX)]
    max_size: ByteSize,
    #[command(flatten)]
    shelf: ShelfArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Clone, Debug, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    shelf: ShelfArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Clone, Debug, clap::Args)]
struct DigestArgs {
    /// The root of the tree
    #[arg(value_name = "DIR")]
    tree: PathBuf,
}

impl ShelfArgs {
    fn directory(&self) -> Result<PathBuf, Ending> {
        match (&self.runtimes, &self.data) {
            (Some(runtimes), _) => Ok(runtimes.clone()),
            (None, Some(data)) => Ok(data.join(crate::app::RUNTIMES)),
            // INVARIANT: clap asks for one of them.
            (None, None) => Err(Ending::Usage("name the directory of runtimes by `--runtimes`".to_owned())),
        }
    }
}

/// Adds, lists or counts.
///
/// # Errors
/// [`Ending::Quiet`] with 1 where a listed runtime is not what its name says; [`Ending::CouldNot`].
pub fn run(args: &RuntimeArgs) -> Result<(), Ending> {
    match &args.command {
        RuntimeCommand::Add(args) => add(args),
        RuntimeCommand::List(args) => list(args),
        RuntimeCommand::Digest(args) => {
            let digest = runtime_digest(&args.tree).map_err(|error| Ending::CouldNot(with_causes(&error)))?;
            page::line(digest.as_str());
            Ok(())
        }
    }
}

fn add(args: &AddArgs) -> Result<(), Ending> {
    let shelf = args.shelf.directory()?;
    let stdin = Path::new("-");
    if args.source == stdin && std::io::stdin().is_terminal() {
        let why = "an archive on standard input is read from a pipe: `… | tenantry runtime add -`";
        return Err(Ending::Usage(why.to_owned()));
    }
    let added = if args.source == stdin {
        add_runtime(RuntimeSource::Archive(&mut std::io::stdin()), &shelf, args.max_size)
    } else if args.source.is_dir() {
        add_runtime(RuntimeSource::Directory(&args.source), &shelf, args.max_size)
    } else {
        let opened = std::fs::File::open(&args.source);
        let mut file =
            opened.map_err(|error| Ending::CouldNot(format!("`{}`: {error}", args.source.display())))?;
        add_runtime(RuntimeSource::Archive(&mut file), &shelf, args.max_size)
    };
    let digest = added.map_err(|error| Ending::CouldNot(with_causes(&error)))?;
    match args.format.format {
        Format::Json => page::json(&json!({
            "schema": "tenantry.runtime/1",
            "digest": digest,
            "directory": shelf.join(digest.directory()).display().to_string(),
        })),
        Format::Human => {
            page::line(digest.as_str());
            anstream::eprintln!("in a workflow: `runtime: {digest}`");
        }
    }
    Ok(())
}

/// What is wrong with a runtime of a shelf; `None` if it is what its name says.
fn trouble(shelf: &Path, digest: &RuntimeDigest) -> Option<String> {
    match runtime_digest(&shelf.join(digest.directory())) {
        Ok(found) if found == *digest => None,
        Ok(found) => Some(format!("it is {found}: remove it and add it again")),
        Err(error) => Some(with_causes(&error)),
    }
}

fn list(args: &ListArgs) -> Result<(), Ending> {
    let shelf = args.shelf.directory()?;
    let found = list_runtimes(&shelf).map_err(|error| Ending::CouldNot(with_causes(&error)))?;
    let judged: Vec<_> = found.iter().map(|digest| (digest, trouble(&shelf, digest))).collect();
    match args.format.format {
        Format::Json => {
            let rows = judged.iter().map(|(digest, trouble)| json!({ "digest": digest, "problem": trouble }));
            page::json(&json!({ "schema": "tenantry.runtimes/1", "runtimes": rows.collect::<Vec<_>>() }));
        }
        Format::Human => {
            for (digest, trouble) in &judged {
                page::line(&format!("{digest}  {}", trouble.as_deref().unwrap_or("ok")));
            }
            if judged.is_empty() {
                anstream::eprintln!(
                    "no runtime lies in `{}`: `tenantry runtime add` puts one there",
                    shelf.display()
                );
            }
        }
    }
    if judged.iter().any(|(_, trouble)| trouble.is_some()) { Err(Ending::Quiet(1)) } else { Ok(()) }
}
