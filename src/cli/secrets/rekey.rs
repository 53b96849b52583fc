//! `tenantry secrets rekey`: every file of a tenant under a new data key, for the recipients of today.

use std::fmt::Write as _;

use clap::Args;

use super::decrypt::{read, refused};
use super::index;
use super::keys::ask;
use super::worktree::WorkTree;
use super::{Done, NO, OpenArgs, Outcome, USAGE, could_not};
use crate::domain::{TenantId, Timestamp};
use crate::secrets::reseal_fresh;
use crate::sops::{Editable, Format, Recipient};

/// The options of `tenantry secrets rekey`.
#[derive(Debug, Args)]
#[command(after_help = "\
Run it after a recipient has joined or left `secrets.recipients` of tenant.yaml. Whoever held a key still has what
Git's history holds: rotate the values that matter as well. Files of which every version is revoked are removed: nobody
opens them, and the index says that they were.

With --leaked the tenant's identity on this machine (--data or --identities) is replaced: a new one is made, its
public half takes the old one's place in tenant.yaml, every file is encrypted to it, and every secret is marked
`leaked_at` in the index: it is overdue until a version is made that is newer. The old one stays in the
identity file until everything is merged and running; the output says how to remove it.")]
pub struct RekeyArgs {
    /// The tenant
    pub tenant: TenantId,
    /// The tenant's identity has leaked: make a new one
    #[arg(long)]
    pub leaked: bool,
    /// Keys, proposal, repository.
    #[command(flatten)]
    pub open: OpenArgs,
}

pub(super) fn rekey(args: &RekeyArgs, now: Timestamp) -> Done {
    let tenant = &args.tenant;
    let tree = args.open.repository.tree_of(tenant)?;
    let listed = super::listed(&tree, tenant)?;
    let mut found = args.open.keys.find(Some(tenant)).map_err(could_not)?;
    let mut files: Vec<String> = listed
        .iter()
        .flat_map(|secret| &secret.versions)
        .filter(|version| version.state != "revoked")
        .map(|version| format!("tenants/{tenant}/{}", version.file))
        .collect();
    files.sort();
    files.dedup();
    // What is revoked is opened by nobody, so its files cannot follow the recipients; the index keeps that it was.
    let revoked = listed.iter().flat_map(|secret| &secret.versions).map(|version| version.file.as_str());
    let mut idle: Vec<String> = revoked.map(|file| format!("tenants/{tenant}/{file}")).collect();
    idle.sort();
    idle.dedup();
    idle.retain(|file| !files.contains(file) && tree.path(file).is_file());

    // Everything is opened before anything is made or written.
    let mut opened = Vec::with_capacity(files.len());
    for file in &files {
        let bytes = read(Some(&tree.path(file)))
            .map_err(|error| could_not(format!("cannot read `{file}`: {error}")))?;
        let format = Format::of_text(&bytes);
        match found.open_with(&mut ask, |identities| Editable::open(&bytes, format, identities)) {
            Ok(editable) => opened.push((file, editable)),
            Err(error) => return Ok(refused(file, &error, &found)),
        }
    }
    let mut out = String::new();
    let mut changed = Vec::new();
    let settings_file = format!("tenants/{tenant}/tenant.yaml");
    let mut settings = None;
    let index_file = format!("tenants/{tenant}/secrets.yaml");
    let mut index = None;
    if args.leaked {
        let text = tree.read(&index_file).map_err(could_not)?;
        let marked = text.map(|text| index::mark_leaked(&text, now)).transpose();
        index = marked.map_err(|error| (NO, format!("`{index_file}`: {error}: nothing was changed")))?;
        let (text, said) = replace_identity(args, &tree, &settings_file, now)?;
        settings = Some(text);
        out.push_str(&said);
    }
    let recipients = match &settings {
        Some(text) => tree.recipients_with(tenant, text).map_err(|told| (NO, told))?,
        None => super::recipients(&tree, tenant)?,
    };
    let mut texts = Vec::with_capacity(opened.len());
    for (file, editable) in &opened {
        let text = reseal_fresh(editable, &recipients, now)
            .map_err(|error| (NO, format!("`{file}`: {error}: nothing was changed")))?;
        texts.push((*file, text));
    }
    for (file, text) in texts {
        tree.replace(file, &text).map_err(could_not)?;
        let _ = writeln!(out, "rekeyed    {file}");
        changed.push(file.clone());
    }
    for file in idle {
        tree.remove(&file).map_err(could_not)?;
        let _ = writeln!(out, "removed    {file}: it holds revoked versions only");
        changed.push(file);
    }
    if let Some(text) = settings {
        tree.replace(&settings_file, &text).map_err(could_not)?;
        let _ = writeln!(out, "changed    {settings_file}");
        changed.push(settings_file);
        super::write_creation_rules(&tree, &mut out)?;
        changed.push(".sops.yaml".to_owned());
    }
    if let Some(index) = index {
        tree.replace(&index_file, &index).map_err(could_not)?;
        let _ = writeln!(out, "changed    {index_file}");
        changed.push(index_file);
    }
    let mut done = Outcome::printed(out);
    if files.is_empty() {
        done.said.push_str("note: there is no version that is not revoked\n");
    }
    if args.leaked {
        let revoked =
            |secret: &&index::Listed| secret.versions.iter().all(|version| version.state == "revoked");
        let left = listed.iter().filter(|secret| !revoked(secret));
        let names: Vec<&str> = left.map(|secret| secret.name.as_str()).collect();
        let _ = writeln!(
            done.said,
            "overdue: whoever has the old identity reads every value that Git's history holds; rotate {}",
            names.join(", ")
        );
        for name in names {
            let _ = writeln!(
                done.said,
                "  tenantry secrets rotate {tenant}/{name} --leaked --reason \"identity of {tenant} leaked\""
            );
        }
    }
    let title = if args.leaked {
        format!("secrets: replace the identity of {tenant}, which leaked")
    } else {
        format!("secrets: give {tenant}'s files a new data key")
    };
    done.proposal(&tree, args.open.propose, &format!("secrets/rekey-{tenant}"), &title, changed)?;
    Ok(done)
}

/// Makes the new identity and says what `tenant.yaml` becomes.
fn replace_identity(
    args: &RekeyArgs,
    tree: &WorkTree,
    settings_file: &str,
    now: Timestamp,
) -> Result<(String, String), (u8, String)> {
    let tenant = &args.tenant;
    let custody = args.open.keys.custody().ok_or_else(|| {
        (
            USAGE,
            "say where the tenant's identity is kept: `--data DATA` of the daemon, or `--identities DIR`"
                .to_owned(),
        )
    })?;
    let known = custody.recipients(tenant).map_err(|error| could_not(error.to_string()))?;
    let text = tree.read(settings_file).map_err(could_not)?.unwrap_or_default();
    let named = index::recipients(&text).map_err(|error| (NO, format!("`{settings_file}`: {error}")))?;
    let old: Vec<Recipient> = known
        .into_iter()
        .filter(|recipient| named.iter().any(|text| text.parse().ok().as_ref() == Some(recipient)))
        .collect();
    let [old] = old.as_slice() else {
        return Err((
            NO,
            format!(
                "`{settings_file}` names {} of the identities in `{}`: it has to name exactly one",
                old.len(),
                custody.path(tenant).display()
            ),
        ));
    };
    let new = custody.replace(tenant, now).map_err(|error| could_not(error.to_string()))?;
    let changed = index::replace_recipient(&text, old, &new)
        .map_err(|error| (NO, format!("`{settings_file}`: {error}")))?
        .ok_or_else(|| (NO, format!("`{settings_file}` does not name {old}")))?;
    let path = custody.path(tenant).display().to_string();
    let said = format!(
        "identity   {path} holds a new one, and the old one until you remove its line: back it up\nrecipient  {new} in place of {old}\n"
    );
    Ok((changed, said))
}
