//! `tenantry demo`: the whole flow on the example repository, in one command.
//!
//! Makes a fresh Git repository, serves it, commits to it as the example's people would, and shows what each
//! commit did. It talks to its daemon by the commands that everybody has, so that what it shows is what they
//! show. Deliberately absent: any door of its own into the daemon, and any network but loopback.

mod daemon;
mod example;
mod page;
mod repository;
mod story;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use daemon::Daemon;
use page::Page;
use repository::Repository;

/// Arguments of `tenantry demo`.
#[derive(Clone, Debug, clap::Args)]
pub struct DemoArgs {
    /// Where the repository and the data directory are put; it is made, or empty [default: a temporary directory]
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// The port on loopback where health and metrics are served
    #[arg(long, value_name = "PORT", default_value_t = 7878)]
    pub port: u16,
    /// Ends after the last chapter: 0 if everything went as expected, 1 if not
    #[arg(long)]
    pub once: bool,
    /// Goes on where this machine has no sandbox, with steps as plain processes
    #[arg(long)]
    pub allow_unsandboxed: bool,
}

/// Why the demo could not be shown.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Files of somebody else are in the way.
    #[error("`{}` is not empty; name a directory that is, or that does not exist yet", .0.display())]
    NotEmpty(PathBuf),
    /// A file or directory could not be written.
    #[error("cannot write `{}`: {source}", .path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file could not be read or started.
    #[error("cannot read `{}`: {source}", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// git refused, or is not there.
    #[error("git: {said}")]
    Git {
        /// Its words.
        said: String,
    },
    /// Somebody else edits the demo's repository while the story goes on.
    #[error("`{path}` was changed while the demo was being shown; start it again")]
    Edited {
        /// Which.
        path: String,
    },
    /// A command did not answer as it should.
    #[error("`tenantry {command}` answers: {said}")]
    Command {
        /// Its arguments.
        command: String,
        /// Its words.
        said: String,
    },
    /// Somebody wanted it to end.
    #[error("interrupted")]
    Interrupted,
    /// The daemon is in trouble.
    #[error("the daemon {what}; the end of {} says:\n{last}", .log.display())]
    Daemon {
        /// What is wrong.
        what: &'static str,
        /// Where its log lies.
        log: PathBuf,
        /// The last lines of it.
        last: String,
    },
}

impl DemoError {
    fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Write { path, source }
    }
    fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Read { path, source }
    }
}

/// Shows the demo. Exit code 0: as expected; 1: not; 3: it could not be shown.
pub fn run(args: &DemoArgs) -> ExitCode {
    match show(args) {
        Ok(code) => code,
        Err(DemoError::Interrupted) => ExitCode::from(130),
        Err(error) => {
            anstream::eprintln!("error: {error}");
            ExitCode::from(3)
        }
    }
}

fn show(args: &DemoArgs) -> Result<ExitCode, DemoError> {
    let missing = daemon::missing_for_sandbox()?;
    let mut page = Page::new();
    if !missing.is_empty() {
        page.line("this machine cannot run steps in the sandbox:");
        for feature in &missing {
            page.line(&format!("   {feature}"));
        }
        if !args.allow_unsandboxed {
            page.line("");
            page.line("cure one of these, or go on without the walls: tenantry demo --allow-unsandboxed");
            return Ok(ExitCode::from(3));
        }
        page.line("going on without it: every step is a plain process, and every record says so");
        page.line("");
    }
    let home = Home::make(args.dir.as_deref())?;
    let repository = Repository::create(home.path().join("repo"))?;
    page.title(
        "tenantry demo",
        "change control is `open`: no commit proves who wrote it; for trying out only",
    );
    page.fact("repository", &repository.directory().display().to_string());
    page.fact("data", &home.path().join("data").display().to_string());
    let first = repository.commit("alice", "northwind: three tenants and nine workflows")?;
    // With `--once` nobody comes to look, so any free port will do.
    let listen = format!("127.0.0.1:{}", if args.once { 0 } else { args.port });
    let mut daemon = Daemon::start(
        home.path(),
        repository.directory(),
        &listen,
        args.allow_unsandboxed && !missing.is_empty(),
    )?;
    story::tell(&mut page, &repository, &mut daemon, &first)?;
    page.line("");
    let surprises = page.surprises();
    if surprises == 0 {
        page.line("all went as expected");
    } else {
        page.line(&format!("{surprises} of the things above did not go as expected"));
    }
    if !args.once {
        whats_next(&mut page, &repository, &daemon);
        daemon.wait();
        return Ok(ExitCode::SUCCESS);
    }
    drop(daemon);
    if surprises > 0 {
        page.fact("kept", &home.keep().display().to_string());
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what a reader can do while the daemon goes on.
fn whats_next(page: &mut Page, repository: &Repository, daemon: &Daemon) {
    let data = daemon.data().display();
    page.line("");
    page.line("the daemon goes on; stop it with Ctrl-C. In another terminal:");
    page.line(&format!("   export TENANTRY_DATA={data}"));
    page.line("   tenantry status --as grace                        where each tenant stands");
    page.line("   tenantry runs finance --as grace                  what ran there");
    page.line("   tenantry logs finance/trial-balance --as grace    why it failed");
    page.line("   tenantry start acme/orders-import --as bob        once more, by hand");
    page.line(&format!("   cd {}", repository.directory().display()));
    page.line("   (edit, git commit, and look at the status again)");
}

/// The directory of one showing; a temporary one goes away with it.
enum Home {
    Given(PathBuf),
    Temporary(tempfile::TempDir),
}

impl Home {
    #[expect(clippy::disallowed_methods, reason = "makes the demo's directory")]
    fn make(given: Option<&Path>) -> Result<Self, DemoError> {
        let Some(path) = given else {
            let temporary = tempfile::Builder::new()
                .prefix("tenantry-demo-")
                .tempdir()
                .map_err(DemoError::write(&std::env::temp_dir()))?;
            return Ok(Self::Temporary(temporary));
        };
        std::fs::create_dir_all(path).map_err(DemoError::write(path))?;
        let path = path.canonicalize().map_err(DemoError::read(path))?;
        if std::fs::read_dir(&path).map_err(DemoError::read(&path))?.next().is_some() {
            return Err(DemoError::NotEmpty(path));
        }
        Ok(Self::Given(path))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Temporary(directory) => directory.path(),
        }
    }

    fn keep(self) -> PathBuf {
        match self {
            Self::Given(path) => path,
            Self::Temporary(directory) => directory.keep(),
        }
    }
}
