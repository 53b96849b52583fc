//! `tenantry secrets import`: values of a dotenv or another SOPS file as secrets of a tenant.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;

use super::decrypt::{by_text, read, refused};
use super::index::{self, Arrival};
use super::keys::ask;
use super::{Done, NO, OpenArgs, Outcome, could_not};
use crate::domain::{SecretName, TenantId, Timestamp, VersionId};
use crate::record::redactable;
use crate::secrets::{StandIns, seal_fresh};
use crate::sops::{self, Format, Plaintext, SopsError};

/// The options of `tenantry secrets import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Each value becomes a new version of a secret, in a file of its own, current at once. Its name is the key in lower
case, keys above it joined by `_`: DATABASE_URL gives database_url, {db: {url: …}} gives db_url. Either all values
are taken or none. Quotes around a value of a plain dotenv file are not part of it.

  tenantry secrets import acme .env
  tenantry secrets import acme old.sops.yaml --only stripe_api_key,db_url --pr")]
pub struct ImportArgs {
    /// The tenant
    pub tenant: TenantId,
    /// A plain dotenv file, or an encrypted SOPS file of any kind
    pub file: PathBuf,
    /// What kind of file it is [default: by its name, else by its text]
    #[arg(long, value_name = "TYPE", value_parser = super::format_parser())]
    pub input_type: Option<Format>,
    /// Only these, by the names they get; several with commas
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub only: Vec<SecretName>,
    /// Say what would be imported, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Keys, proposal, repository.
    #[command(flatten)]
    pub open: OpenArgs,
}

pub(super) fn import(args: &ImportArgs, now: Timestamp) -> Done {
    let tenant = &args.tenant;
    let tree = args.open.repository.tree_of(tenant)?;
    let recipients = super::recipients(&tree, tenant)?;
    let shown = args.file.display().to_string();
    let bytes =
        read(Some(&args.file)).map_err(|error| could_not(format!("cannot read `{shown}`: {error}")))?;
    let bytes = zeroize::Zeroizing::new(bytes);
    let format = args.input_type.or_else(|| Format::of_path(&shown)).unwrap_or_else(|| by_text(&bytes));
    let mut found = args.open.keys.find(Some(tenant)).map_err(could_not)?;
    let opened = found.open_with(&mut ask, |identities| sops::open_as(&bytes, format, identities));
    let (documents, plain) = match opened {
        Ok(opened) => (opened.documents, None),
        // A plain file is read as programs read it, quotes and all, and not as sops does, to which they are part of
        // the value.
        Err(SopsError::NoMetadata) if format == Format::Dotenv => {
            let text = std::str::from_utf8(&bytes).map_err(|_| (NO, format!("`{shown}` is no text")))?;
            let read = StandIns::parse(text, shown.clone()).map_err(|error| (NO, error.to_string()))?;
            (Vec::new(), Some(read))
        }
        Err(SopsError::NoMetadata) => {
            return Err((
                NO,
                format!(
                    "`{shown}` is not encrypted: of plain files only dotenv is taken (`--input-type dotenv`)"
                ),
            ));
        }
        Err(error) => return Ok(refused(&shown, &error, &found)),
    };

    let mut taken: Vec<(SecretName, &Plaintext)> = Vec::new();
    let mut wrong = Vec::new();
    let mut take = |path: &[String], value| match name_of(path) {
        Some(name) if !args.only.is_empty() && !args.only.contains(&name) => {}
        Some(name) => taken.push((name, value)),
        None => wrong.push(format!("`{}` gives no name of a secret", path.join("."))),
    };
    documents.iter().for_each(|document| document.leaves(&mut |path, leaf| take(path, &leaf.text)));
    for (name, value) in plain.iter().flat_map(StandIns::iter) {
        take(&[name.to_owned()], value);
    }
    if !args.only.is_empty() {
        wrong.clear();
    }
    let missing = args.only.iter().filter(|name| !taken.iter().any(|(known, _)| known == *name));
    wrong.extend(missing.map(|name| format!("there is no value for `{name}`")));
    let index_file = format!("tenants/{tenant}/secrets.yaml");
    let mut index = tree.read(&index_file).map_err(could_not)?.unwrap_or_default();
    let listed = index::read(&index).map_err(|error| (NO, format!("`{index_file}`: {error}")))?;
    let mut seen = BTreeSet::new();
    let mut files: Vec<(String, SecretName, VersionId, &Plaintext)> = Vec::new();
    for (name, value) in taken {
        if !seen.insert(name.clone()) {
            wrong.push(format!("two values would be `{name}`"));
            continue;
        }
        let known = listed.iter().find(|entry| entry.name == name.as_str());
        if known.is_none_or(|entry| entry.redact)
            && let Err(reason) = redactable(value)
        {
            wrong.push(format!("the value of `{name}` {reason}"));
            continue;
        }
        let version: VersionId = match index::next_version(&listed, &name).parse() {
            Ok(version) => version,
            Err(error) => {
                wrong.push(format!("the version of `{name}`: {error}"));
                continue;
            }
        };
        match index::add_version(&index, &name, &version, now, Arrival::Current { until: None }) {
            Ok(changed) => index = changed,
            Err(error) => wrong.push(format!("`{name}`: {error}")),
        }
        let file = format!("tenants/{tenant}/{}", index::default_file(name.as_str(), version.as_str()));
        if tree.path(&file).exists() {
            wrong.push(format!("`{file}` is there already"));
        }
        files.push((file, name, version, value));
    }
    if !wrong.is_empty() {
        let left = "leave values out by naming the others with `--only`";
        return Err((NO, format!("nothing was imported: {}; {left}", wrong.join("; "))));
    }
    if files.is_empty() {
        return Err((NO, format!("`{shown}` holds no values")));
    }
    let mut out = String::new();
    if args.dry_run {
        for (_, name, version, _) in &files {
            let _ = writeln!(out, "would be   {tenant}/{name} {version}");
        }
        return Ok(Outcome::printed(out));
    }
    let mut made: Vec<String> = Vec::new();
    let result = files.iter().try_for_each(|(file, name, version, value)| {
        let sealed =
            seal_fresh(name, version, value, &recipients, now).map_err(|error| (NO, error.to_string()))?;
        tree.create(file, &sealed).map_err(could_not)?;
        made.push(file.clone());
        let _ = writeln!(out, "made       {file}");
        Ok(())
    });
    let result = result.and_then(|()| tree.replace(&index_file, &index).map_err(could_not));
    if let Err((code, told)) = result {
        let left: Vec<String> = made.iter().filter_map(|file| tree.remove(file).err()).collect();
        let left = if left.is_empty() { String::new() } else { format!("; {}", left.join("; ")) };
        return Err((code, format!("{told}: nothing was imported{left}")));
    }
    let _ = writeln!(out, "changed    {index_file}");
    made.push(index_file);
    let mut done = Outcome::printed(out);
    if plain.is_some() {
        let _ = writeln!(
            done.said,
            "note: `{shown}` still holds the values in plain: remove it, and never commit it"
        );
    }
    let title = format!("secrets: import {} values for {tenant}", made.len() - 1);
    done.proposal(&tree, args.open.propose, &format!("secrets/import-{tenant}"), &title, made)?;
    Ok(done)
}

/// The keys down to a value as a secret's name. A file of ours, `{name: {v3: …}}`, gives `name`.
fn name_of(path: &[String]) -> Option<SecretName> {
    let is_version = |text: &String| text.strip_prefix('v').is_some_and(|rest| rest.parse::<u32>().is_ok());
    let path = match path {
        [name, version] if is_version(version) => std::slice::from_ref(name),
        path => path,
    };
    let path: Vec<&str> = path.iter().map(String::as_str).filter(|key| *key != "DEFAULT").collect();
    let joined: String = path.join("_");
    let folded = joined.chars().map(|c| match c {
        'A'..='Z' => c.to_ascii_lowercase(),
        ' ' | '.' | '/' => '_',
        c => c,
    });
    folded.collect::<String>().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_made_of_the_keys() {
        let check = |path: &[&str], want: Option<&str>| {
            let path: Vec<String> = path.iter().map(|key| (*key).to_owned()).collect();
            assert_eq!(name_of(&path).as_ref().map(SecretName::as_str), want, "{path:?}");
        };
        check(&["DATABASE_URL"], Some("database_url"));
        check(&["db", "url"], Some("db_url"));
        check(&["DEFAULT", "key"], Some("key"));
        check(&["token", "v3"], Some("token"));
        check(&["list", "0"], Some("list_0"));
        check(&["é"], None);
        check(&["_x"], None);
    }
}
