//! `tenantry import crontab`: workflows from the entries of a crontab, and a list of what they cannot be.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::Ending;
use super::crontab;
use super::page;
use super::proposing::{self, ProposeArgs};
use super::scaffold::Scaffold;
use crate::domain::TenantId;

/// Bytes of a crontab that are read.
const FILE_BYTES_MAX: usize = 1 << 20;

/// Arguments of `tenantry import`.
#[derive(Clone, Debug, clap::Args)]
pub struct ImportArgs {
    /// What is read.
    #[command(subcommand)]
    pub what: Import,
}

/// What `tenantry import` reads.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Import {
    /// Makes a workflow and a script of each entry of a crontab, and says what cannot be carried over
    Crontab {
        /// The crontab; `-` reads what `crontab -l` prints on standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Whose workflows they become
        #[arg(long, value_name = "T")]
        tenant: TenantId,
        /// Entries name an account in front of the command, as in /etc/crontab [default: as they look]
        #[arg(long)]
        system: Option<bool>,
        /// The repository
        #[arg(long, value_name = "DIR", default_value = ".")]
        repo: PathBuf,
        #[command(flatten)]
        propose: ProposeArgs,
    },
}

/// Writes what can be carried over: 0 at least one workflow, 1 none.
///
/// # Errors
/// [`Ending`].
pub fn run(args: &ImportArgs) -> Result<(), Ending> {
    let Import::Crontab { file, tenant, system, repo, propose } = &args.what;
    let text = read(file)?;
    let listed = file.starts_with("/etc/cron.d") || file.ends_with("etc/crontab");
    let crontab = crontab::read(&text, system.or(listed.then_some(true)));
    let scaffold = Scaffold::within(repo).map_err(no)?;
    if !scaffold.has(&format!("tenants/{tenant}/tenant.yaml")) {
        return Err(Ending::No(format!(
            "there is no tenant `{tenant}`; make it with `tenantry new tenant {tenant}`"
        )));
    }
    let mut fresh = Scaffold::new(scaffold.root());
    let mut taken = BTreeSet::new();
    let mut names = Vec::new();
    for entry in &crontab.entries {
        let free = |name: &String| {
            !taken.contains(name)
                && !scaffold.has(&format!("tenants/{tenant}/workflows/{name}.yaml"))
                && !scaffold.has(&format!("tenants/{tenant}/scripts/{name}.sh"))
        };
        let numbered = (2..).map(|number| format!("{}-{number}", entry.name));
        let Some(name) = std::iter::once(entry.name.clone()).chain(numbered).find(free) else { continue };
        taken.insert(name.clone());
        let script = format!("{name}.sh");
        fresh.add(format!("tenants/{tenant}/workflows/{name}.yaml"), entry.workflow(&script));
        fresh.add(format!("tenants/{tenant}/scripts/{script}"), entry.script());
        names.push(name);
    }
    for (line, note) in &crontab.notes {
        anstream::eprintln!("line {line}: {note}");
    }
    if crontab.entries.is_empty() {
        return Err(Ending::No("nothing of this crontab can be carried over".to_owned()));
    }
    let written = fresh.write().map_err(no)?;
    for path in &written {
        page::line(path);
    }
    let zone = crontab.entries.iter().any(|entry| entry.timezone.is_none());
    if zone {
        anstream::eprintln!(
            "times without CRON_TZ are read in the time zone of the tenant, no longer in that of the machine"
        );
    }
    anstream::eprintln!("once this is applied, take the lines out of the crontab: until then both run");
    let title = format!("{tenant}: import {} from a crontab", names.join(", "));
    proposing::end(propose, scaffold.root(), &written, &format!("import-crontab-{tenant}"), &title, "")
}

fn no(error: super::scaffold::ScaffoldError) -> Ending {
    Ending::No(error.to_string())
}

#[expect(clippy::disallowed_methods, reason = "reads the file that was named")]
fn read(file: &std::path::Path) -> Result<String, Ending> {
    use std::io::Read as _;
    let refused = |error: std::io::Error| Ending::CouldNot(format!("`{}`: {error}", file.display()));
    let mut bytes = Vec::new();
    let limit = FILE_BYTES_MAX as u64 + 1;
    if file.as_os_str() == "-" {
        std::io::stdin().take(limit).read_to_end(&mut bytes).map_err(refused)?;
    } else {
        std::fs::File::open(file).map_err(refused)?.take(limit).read_to_end(&mut bytes).map_err(refused)?;
    }
    if bytes.len() > FILE_BYTES_MAX {
        return Err(Ending::CouldNot(format!("`{}` has more than 1 MiB: it is no crontab", file.display())));
    }
    if bytes.contains(&0) {
        return Err(Ending::CouldNot(format!("`{}` is no text", file.display())));
    }
    String::from_utf8(bytes)
        .map_err(|_| Ending::CouldNot(format!("`{}` is not UTF-8: convert it first", file.display())))
}
