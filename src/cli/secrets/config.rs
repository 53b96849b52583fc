//! `tenantry secrets sops-config`: `.sops.yaml`, from which people's own sops learns whom to encrypt to.

use clap::Args;

use super::{Done, NO, Outcome, RepositoryArgs, could_not};

/// The options of `tenantry secrets sops-config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Change nothing; exit code 1 if the file is not what it should be
    #[arg(long, conflicts_with = "print")]
    pub check: bool,
    /// Print it, and change nothing
    #[arg(long)]
    pub print: bool,
    /// Replace a file that was written by hand
    #[arg(long)]
    pub force: bool,
    /// The repository.
    #[command(flatten)]
    pub repository: RepositoryArgs,
}

pub(super) fn sops_config(args: &ConfigArgs) -> Done {
    let tree = args.repository.tree()?;
    let wanted = tree.creation_rules().map_err(|told| (NO, told))?;
    if args.print {
        return Ok(Outcome::printed(wanted));
    }
    let known = tree.read(super::CREATION_RULES).map_err(could_not)?;
    if args.check {
        return if known.as_deref() == Some(wanted.as_str()) {
            Ok(Outcome::printed(format!("as it should be: {}\n", super::CREATION_RULES)))
        } else {
            let told = "is not what the tenants' recipients ask for: run `tenantry secrets sops-config`";
            Err((NO, format!("`{}` {told}", super::CREATION_RULES)))
        };
    }
    let mut out = String::new();
    if args.force && known.as_deref() != Some(wanted.as_str()) {
        tree.replace(super::CREATION_RULES, &wanted).map_err(could_not)?;
        return Ok(Outcome::printed(format!("changed    {}\n", super::CREATION_RULES)));
    }
    super::write_creation_rules(&tree, &mut out)?;
    if out.is_empty() {
        out = format!("unchanged  {}\n", super::CREATION_RULES);
    }
    Ok(Outcome::printed(out))
}
