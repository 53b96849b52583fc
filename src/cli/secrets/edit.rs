//! `tenantry secrets edit`: the values of a file in `$EDITOR`, on memory that no disk holds.
#![expect(
    clippy::disallowed_methods,
    reason = "the command line starts the person's editor on a private file"
)]

use std::fmt::Write as _;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use zeroize::Zeroizing;

use super::decrypt::{by_text, read, refused};
use super::keys::ask;
use super::worktree::{Told, WorkTree};
use super::{COULD_NOT, Done, NO, OpenArgs, Outcome, SecretPath, could_not};
use crate::domain::{Timestamp, VersionId};
use crate::record::redactable;
use crate::secrets::{edit_fresh, words};
use crate::sops::{Editable, Format, Value, print};

/// The options of `tenantry secrets edit`.
#[derive(Debug, Args)]
#[command(after_help = "\
The values stand in a directory of their own in /dev/shm, which only you can read and which is removed however the
command ends. What you change is encrypted anew in its place; other lines of the file stay byte for byte. Without a
change nothing is written.

The editor is $SOPS_EDITOR, $VISUAL or $EDITOR, else vi.")]
pub struct EditArgs {
    /// A SOPS file, or a secret as TENANT/NAME
    #[arg(value_name = "FILE|TENANT/NAME")]
    pub target: String,
    /// The version of the secret [default: the current one]
    #[arg(long, value_name = "ID")]
    pub version: Option<VersionId>,
    /// What kind of file it is [default: by its name, else by its text]
    #[arg(long, value_name = "TYPE", value_parser = super::format_parser())]
    pub input_type: Option<Format>,
    /// Keys, proposal, repository.
    #[command(flatten)]
    pub open: OpenArgs,
}

/// What is edited.
struct Target {
    path: PathBuf,
    shown: String,
    /// The secret it belongs to, whose values the redactor has to protect.
    secret: Option<(SecretPath, bool)>,
    tree: Option<WorkTree>,
}

pub(super) fn edit(args: &EditArgs, now: Timestamp) -> Done {
    let target = find(args)?;
    let tenant = target.secret.as_ref().map(|(secret, _)| &secret.tenant);
    let mut found = args.open.keys.find(tenant).map_err(could_not)?;
    let before = read(Some(&target.path))
        .map_err(|error| could_not(format!("cannot read `{}`: {error}", target.shown)))?;
    let by_name = Format::of_path(&target.shown);
    let format = args.input_type.or(by_name).unwrap_or_else(|| by_text(&before));
    let opened = found.open_with(&mut ask, |identities| Editable::open(&before, format, identities));
    let file = match opened {
        Ok(file) => file,
        Err(error) => return Ok(refused(&target.shown, &error, &found)),
    };
    let plain = print(&file.opened().documents, format).map_err(|error| (NO, error.to_string()))?;

    let desk = Desk::new(&target.shown, &plain).map_err(could_not)?;
    let changed = loop {
        let status = desk.edit().map_err(could_not)?;
        if !status.success() {
            return Err((NO, format!("the editor ended with {status}: nothing was changed")));
        }
        let text = desk.read().map_err(could_not)?;
        if *text == *plain {
            break None;
        }
        let judged = edit_fresh(&file, &text, now)
            .map_err(|error| error.to_string())
            .and_then(|changed| judge(changed, &target, format, &text));
        match judged {
            Ok(changed) => break changed,
            Err(told) if again(&told) => {}
            Err(told) => return Err((NO, format!("{told}: nothing was changed"))),
        }
    };
    drop(desk);
    let Some(changed) = changed else {
        return Ok(Outcome::printed(format!("unchanged  {}\n", target.shown)));
    };
    let now_there = read(Some(&target.path)).unwrap_or_default();
    if now_there != before {
        return Err((
            COULD_NOT,
            format!("`{}` was changed by somebody else meanwhile: it is left as it is now", target.shown),
        ));
    }
    replace(&target.path, &changed)
        .map_err(|told| could_not(format!("cannot write `{}`: {told}", target.shown)))?;
    let mut done = Outcome::printed(format!("changed    {}\n", target.shown));
    if let Some(tree) = &target.tree {
        done.proposal(
            tree,
            args.open.propose,
            "secrets/edit",
            &format!("secrets: change {}", target.shown),
            vec![target.shown.clone()],
        )?;
    }
    Ok(done)
}

fn find(args: &EditArgs) -> Result<Target, (u8, Told)> {
    let path = PathBuf::from(&args.target);
    let secret = args.target.parse::<SecretPath>();
    if let (Ok(secret), false) = (&secret, path.is_file()) {
        let tree = args.open.repository.tree_of(&secret.tenant)?;
        let listed = super::listed(&tree, &secret.tenant)?;
        let entry = listed.iter().find(|entry| entry.name == secret.name.as_str());
        let entry = entry.ok_or_else(|| {
            (
                NO,
                format!(
                    "`{}` has no secret `{}`: `tenantry secrets set` makes one",
                    secret.tenant, secret.name
                ),
            )
        })?;
        let version = match &args.version {
            Some(version) => entry.versions.iter().find(|known| known.id == version.as_str()),
            None => entry.versions.iter().find(|known| known.state == "current"),
        };
        let version = version.ok_or_else(|| (NO, format!("`{}` has no such version", args.target)))?;
        let shown = format!("tenants/{}/{}", secret.tenant, version.file);
        let path = tree.path(&shown);
        return Ok(Target { path, shown, secret: Some((secret.clone(), entry.redact)), tree: Some(tree) });
    }
    if !path.is_file() {
        return Err((
            COULD_NOT,
            format!("`{}` is neither a file nor a secret written TENANT/NAME", args.target),
        ));
    }
    // A file of a tenant is its secrets', also where it was named by its path.
    let tree = args.open.repository.tree().ok();
    let inside = tree.as_ref().and_then(|tree| {
        let full = path.canonicalize().ok()?;
        let root = tree.path("").canonicalize().ok()?;
        Some(full.strip_prefix(root).ok()?.to_str()?.to_owned())
    });
    let secret = tree.as_ref().zip(inside.as_deref()).and_then(|(tree, inside)| {
        let (tenant, file) = inside.strip_prefix("tenants/")?.split_once('/')?;
        let tenant = tenant.parse().ok()?;
        let listed = super::listed(tree, &tenant).ok()?;
        let entry = listed.into_iter().find(|entry| entry.versions.iter().any(|known| known.file == file))?;
        Some((SecretPath { tenant, name: entry.name.parse().ok()? }, entry.redact))
    });
    let tree = tree.filter(|_| inside.is_some());
    let shown = inside.unwrap_or_else(|| args.target.clone());
    Ok(Target { path, shown, secret, tree })
}

/// Values of a tenant's secret have to be such that the redactor can protect them.
fn judge(
    changed: Option<String>,
    target: &Target,
    format: Format,
    text: &[u8],
) -> Result<Option<String>, Told> {
    let Some((_, true)) = target.secret else { return Ok(changed) };
    let documents = crate::sops::plain(text, format).map_err(|error| error.to_string())?;
    let mut wrong = None;
    documents.iter().for_each(|document: &Value| {
        document.leaves(&mut |path, leaf| {
            if let Err(reason) = redactable(&leaf.text) {
                wrong.get_or_insert_with(|| format!("the value at `{}` {reason}", path.join(".")));
            }
        });
    });
    wrong.map_or(Ok(changed), Err)
}

/// Offers the editor once more, where there is somebody to take it.
fn again(told: &str) -> bool {
    let terminal = console::Term::stderr();
    if !terminal.is_term() || !std::io::stdin().is_terminal() {
        return false;
    }
    let _ = terminal.write_line(&format!("error: {told}"));
    let _ = terminal.write_str("Enter to edit it again, q to leave the file as it was: ");
    terminal.read_line().is_ok_and(|line| !line.trim().eq_ignore_ascii_case("q"))
}

fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    // A link stays one: its target is replaced.
    let path = path.canonicalize()?;
    let directory = path.parent().unwrap_or(Path::new("."));
    let mode = std::fs::metadata(&path)?.permissions().mode() & 0o777;
    let permissions = std::fs::Permissions::from_mode(mode);
    let mut file = tempfile::Builder::new().permissions(permissions).tempfile_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().sync_all()?;
    file.persist(&path).map(|_| ()).map_err(|error| error.error)
}

/// A private directory in memory with one file in it, removed when dropped.
struct Desk {
    directory: PathBuf,
    file: PathBuf,
}

impl Desk {
    const ROOT: &'static str = "/dev/shm";
    const NAME: &'static str = "tenantry-edit";

    fn new(shown: &str, plain: &[u8]) -> Result<Self, Told> {
        let root = Path::new(Self::ROOT);
        let kind = rustix::fs::statfs(root).map_err(|error| {
            format!("there is no `{}` to keep the values off the disk: {error}", Self::ROOT)
        })?;
        const TMPFS: u64 = 0x0102_1994;
        if kind.f_type as u64 != TMPFS {
            return Err(format!("`{}` is no memory: the values would reach a disk", Self::ROOT));
        }
        Self::sweep(root);
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|_| "the system gave no randomness".to_owned())?;
        let name = format!("{}.{}.{}", Self::NAME, std::process::id(), hex::encode(random));
        let directory = root.join(name);
        let io = |error: std::io::Error| format!("cannot make a private file in `{}`: {error}", Self::ROOT);
        std::fs::DirBuilder::new().mode(0o700).create(&directory).map_err(io)?;
        // From here on dropping removes it.
        let base = Path::new(shown).file_name().and_then(|name| name.to_str()).unwrap_or("secret");
        let desk = Self { file: directory.join(base.replace(".sops.", ".")), directory };
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&desk.file)
            .map_err(io)?;
        file.write_all(plain).map_err(io)?;
        Ok(desk)
    }

    /// Removes what a killed command of this user left.
    fn sweep(root: &Path) {
        let entries = std::fs::read_dir(root).into_iter().flatten().filter_map(Result::ok);
        for entry in entries {
            let name = entry.file_name();
            let mut parts = name.to_str().unwrap_or_default().split('.');
            let ours = parts.next() == Some(Self::NAME);
            let gone = parts.next().and_then(|id| id.parse::<u32>().ok());
            let gone = gone.is_some_and(|id| !Path::new(&format!("/proc/{id}")).exists());
            if ours && gone {
                // Another user's cannot be entered, let alone removed.
                let _ = std::fs::remove_dir_all(entry.path());
            }
        }
    }

    /// Runs the editor. Signals that would end this command end the editor first, and the files are removed.
    fn edit(&self) -> Result<ExitStatus, Told> {
        let named = ["SOPS_EDITOR", "VISUAL", "EDITOR"];
        let editor =
            named.iter().find_map(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()));
        let editor = editor.unwrap_or_else(|| "vi".to_owned());
        let mut line =
            words(&editor).filter(|words| !words.is_empty()).ok_or("a quote in $EDITOR is not closed")?;
        let program = line.remove(0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot wait for the editor: {error}"))?;
        runtime.block_on(async {
            let listen = |kind| signal(kind).map_err(|error| format!("cannot wait for signals: {error}"));
            let mut interrupt = listen(SignalKind::interrupt())?;
            let mut quit = listen(SignalKind::quit())?;
            let mut terminate = listen(SignalKind::terminate())?;
            let mut hang_up = listen(SignalKind::hangup())?;
            let mut child = tokio::process::Command::new(&program)
                .args(&line)
                .arg(&self.file)
                .kill_on_drop(true)
                .spawn()
                .map_err(|error| format!("cannot start the editor `{program}`: {error}; set EDITOR"))?;
            loop {
                tokio::select! {
                    status = child.wait() => {
                        return status.map_err(|error| format!("cannot wait for the editor: {error}"));
                    }
                    // The terminal sends these to the editor as well, whose keys they are.
                    _ = interrupt.recv() => {}
                    _ = quit.recv() => {}
                    _ = terminate.recv() => break,
                    _ = hang_up.recv() => break,
                }
            }
            let _ = child.kill().await;
            Err("interrupted: nothing was changed".to_owned())
        })
    }

    fn read(&self) -> Result<Zeroizing<Vec<u8>>, Told> {
        read(Some(&self.file))
            .map(Zeroizing::new)
            .map_err(|error| format!("the edited file cannot be read: {error}"))
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // An editor may have left copies beside it; all of them are overwritten before they go.
        let files = std::fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        for file in files {
            if let Ok(metadata) = file.metadata()
                && metadata.is_file()
            {
                let zeros = vec![0_u8; usize::try_from(metadata.len()).unwrap_or(0)];
                let _ = std::fs::OpenOptions::new()
                    .write(true)
                    .open(file.path())
                    .and_then(|mut open| open.write_all(&zeros));
            }
        }
        let mut told = String::new();
        if let Err(error) = std::fs::remove_dir_all(&self.directory) {
            let _ = write!(
                told,
                "error: cannot remove `{}`, which holds values: {error}",
                self.directory.display()
            );
            anstream::eprintln!("{told}");
        }
    }
}
