//! `tenantry secrets revoke`: a version, or all of a tenant, for good.

use std::fmt::Write as _;

use clap::Args;

use super::index;
use super::worktree::Told;
use super::{Done, EndArgs, NO, Outcome, SecretPath, USAGE, could_not};
use crate::domain::{TenantId, VersionId};

/// The options of `tenantry secrets revoke`.
#[derive(Debug, Args)]
#[command(after_help = "\
Without --reason the index is changed: the version is revoked once that is merged. With --reason, and --data of a
running daemon, it is revoked there at once and the runs that had it are listed; commit it to the index as well.
Revoked is for good: no commit brings a version back.

  tenantry secrets revoke acme/stripe_api_key v2
  tenantry secrets revoke acme/stripe_api_key v2 --reason \"in a screenshot, INC-42\" --data DATA
  tenantry secrets revoke acme --all --reason \"laptop stolen\" --data DATA")]
pub struct RevokeArgs {
    /// The secret, as TENANT/NAME; with --all the tenant alone
    #[arg(value_name = "TENANT/NAME")]
    pub target: String,
    /// The version
    #[arg(required_unless_present = "all")]
    pub version: Option<VersionId>,
    /// Every version of every secret of the tenant
    #[arg(long, conflicts_with = "version")]
    pub all: bool,
    /// Why; with a reason the running daemon revokes it at once, without one the work tree is changed
    #[arg(long)]
    pub reason: Option<String>,
    /// Daemon, proposal, repository.
    #[command(flatten)]
    pub end: EndArgs,
}

/// What is to be revoked; with `--all` as the index of the work tree has it.
pub(super) fn named(args: &RevokeArgs) -> Result<Vec<(SecretPath, VersionId)>, (u8, Told)> {
    if let (Some(version), false) = (&args.version, args.all) {
        let secret = args.target.parse().map_err(|told| (USAGE, told))?;
        return Ok(vec![(secret, version.clone())]);
    }
    let tenant: TenantId = args.target.parse().map_err(|_| {
        (USAGE, format!("`{}` is no tenant: `--all` revokes all versions of one, for good", args.target))
    })?;
    let tree = args.end.repository.tree_of(&tenant)?;
    let mut found = Vec::new();
    for secret in super::listed(&tree, &tenant)? {
        for version in secret.versions.iter().filter(|version| version.state != "revoked") {
            let wrong = |what: &str| {
                (NO, format!("the index has {what} that cannot be: `tenantry validate` says more"))
            };
            let name = secret.name.parse().map_err(|_| wrong("a secret's name"))?;
            let version = version.id.parse().map_err(|_| wrong("a version's id"))?;
            found.push((SecretPath { tenant: tenant.clone(), name }, version));
        }
    }
    Ok(found)
}

pub(super) fn revoke(args: &RevokeArgs) -> Done {
    let named = named(args)?;
    let Some((SecretPath { tenant, .. }, _)) = named.first() else {
        return Ok(Outcome::printed("every version is revoked already\n"));
    };
    let tree = args.end.repository.tree_of(tenant)?;
    let file = format!("tenants/{tenant}/secrets.yaml");
    let before = tree.read(&file).map_err(could_not)?.unwrap_or_default();
    let mut text = before.clone();
    let mut out = String::new();
    for (secret, version) in &named {
        let changed = index::revoke(&text, &secret.name, version)
            .map_err(|error| (NO, format!("`{file}`: {error}")))?;
        match changed {
            Some(changed) => {
                text = changed;
                let _ = writeln!(out, "version    {version} of {secret} is revoked once this is merged");
            }
            None => {
                let _ = writeln!(out, "version    {version} of {secret} was revoked already");
            }
        }
    }
    if text == before {
        return Ok(Outcome::printed(out));
    }
    tree.replace(&file, &text).map_err(could_not)?;
    let _ = writeln!(out, "changed    {file}");
    let mut done = Outcome::printed(out);
    let listed = index::read(&text).unwrap_or_default();
    let mut without: Vec<&str> = listed
        .iter()
        .filter(|secret| named.iter().any(|(path, _)| path.name.as_str() == secret.name))
        .filter(|secret| secret.versions.iter().all(|version| version.state != "current"))
        .map(|secret| secret.name.as_str())
        .collect();
    without.sort_unstable();
    for name in without {
        let _ = writeln!(
            done.said,
            "note: {tenant}/{name} has no current version now: steps that ask for it fail until `tenantry secrets set {tenant}/{name}`"
        );
    }
    let (title, branch) = match named.as_slice() {
        [(secret, version)] if !args.all => (
            format!("secrets: revoke {version} of {secret}"),
            format!("secrets/revoke-{}-{}-{version}", secret.tenant, secret.name),
        ),
        _ => (format!("secrets: revoke all of {tenant}"), format!("secrets/revoke-all-{tenant}")),
    };
    done.proposal(&tree, args.end.propose, &branch, &title, vec![file])?;
    Ok(done)
}
