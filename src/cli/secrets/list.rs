//! `tenantry secrets list`: names, owners, versions, states, ages and uses. Never a value.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use clap::{Args, ValueEnum};

use super::index::{self, Listed, ListedVersion};
use super::uses::{self, Uses};
use super::{Done, NO, Outcome, RepositoryArgs, could_not, printable};
use crate::domain::{Length, TenantId, Timestamp};

/// The options of `tenantry secrets list`.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// The tenant
    pub tenant: TenantId,
    /// How to show it
    #[arg(long, value_enum, default_value = "human")]
    pub format: ListFormat,
    /// The daemon: with it, when each version was used last.
    #[command(flatten)]
    pub reach: crate::cli::ReachArgs,
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

/// When a version was given out last, and how often, among the runs that are kept; by name and version.
pub(crate) type LastUses = BTreeMap<(String, String), LastUse>;

/// The last run that had a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastUse {
    /// When it started.
    pub(crate) time: String,
    /// Which it is.
    pub(crate) run: String,
    /// The commit that it ran.
    pub(crate) commit: String,
    /// How many runs had it.
    pub(crate) runs: u64,
}

pub(super) fn list(args: &ListArgs, now: Timestamp, last: Option<&LastUses>) -> Done {
    let tree = args.repository.tree_of(&args.tenant)?;
    let file = format!("tenants/{}/secrets.yaml", args.tenant);
    let text = tree.read(&file).map_err(could_not)?.unwrap_or_default();
    let listed = index::read(&text).map_err(|error| (NO, format!("`{file}`: {error}")))?;
    let uses = uses::of_tenant(&tree, &args.tenant);
    let settings = tree.read(&format!("tenants/{}/tenant.yaml", args.tenant)).map_err(could_not)?;
    let view = View {
        tenant: &args.tenant,
        owner: settings.as_deref().and_then(index::owner),
        is_there: &|file: &str| tree.path(&format!("tenants/{}/{file}", args.tenant)).is_file(),
        uses: &uses,
        last,
        now,
    };
    Ok(Outcome::printed(match args.format {
        ListFormat::Json => view.json(&listed),
        ListFormat::Human => view.human(&listed),
    }))
}

impl LastUse {
    fn shown(&self) -> String {
        let Self { time, run, commit, runs } = self;
        let commit = commit.get(..8).unwrap_or(commit);
        let runs = if *runs == 1 { "1 run".to_owned() } else { format!("{runs} runs") };
        format!("{time} by {run} at {commit} ({runs})")
    }
}

struct View<'v> {
    tenant: &'v TenantId,
    owner: Option<String>,
    is_there: &'v dyn Fn(&str) -> bool,
    uses: &'v Uses,
    last: Option<&'v LastUses>,
    now: Timestamp,
}

impl View<'_> {
    fn json(&self, listed: &[Listed]) -> String {
        let version = |secret: &Listed, version: &ListedVersion| {
            let last = self.last.and_then(|last| last.get(&(secret.name.clone(), version.id.clone())));
            let mut entry = serde_json::json!({
                "id": version.id, "state": version.state, "created": version.created,
                "accept_until": version.accept_until,
                "file": format!("tenants/{}/{}", self.tenant, version.file),
                "present": (self.is_there)(&version.file),
                "age_s": self.age(version).map(|age| age / 1000),
            });
            if self.last.is_some() {
                entry["last_used"] = serde_json::json!(last.map(|last| &last.time));
                entry["last_run"] = serde_json::json!(last.map(|last| &last.run));
                entry["last_commit"] = serde_json::json!(last.map(|last| &last.commit));
                entry["uses"] = serde_json::json!(last.map_or(0, |last| last.runs));
            }
            entry
        };
        let secrets: Vec<serde_json::Value> = listed
            .iter()
            .map(|secret| {
                let versions: Vec<serde_json::Value> =
                    secret.versions.iter().map(|known| version(secret, known)).collect();
                serde_json::json!({
                    "name": secret.name, "owner": secret.owner.as_ref().or(self.owner.as_ref()),
                    "rotate_every": secret.rotate_every, "overdue": self.overdue(secret),
                    "leaked_at": secret.leaked_at, "redact": secret.redact,
                    "used_by": self.uses.of(&secret.name), "versions": versions,
                })
            })
            .collect();
        let document =
            serde_json::json!({ "schema": "tenantry.secrets/1", "tenant": self.tenant, "secrets": secrets });
        format!("{document:#}\n")
    }

    fn human(&self, listed: &[Listed]) -> String {
        if listed.is_empty() {
            return format!("no secrets yet: `tenantry secrets set {}/NAME` makes one\n", self.tenant);
        }
        let mut head = vec!["SECRET", "VERSION", "STATE", "AGE", "OWNER", "USED BY"];
        if self.last.is_some() {
            head.push("LAST USED");
        }
        let mut rows: Vec<Vec<String>> = vec![head.iter().map(|text| (*text).to_owned()).collect()];
        for secret in listed {
            for version in &secret.versions {
                let shown = |text: Option<&String>| text.cloned().unwrap_or_else(|| "-".to_owned());
                let mut state = version.state.clone();
                if let Some(until) = version.accept_until.as_ref().filter(|_| version.state == "previous") {
                    let _ = write!(state, " until {until}");
                }
                // The file of a revoked version may go; of any other it may not.
                if !(self.is_there)(&version.file) && version.state != "revoked" {
                    let _ = write!(state, " ({} is missing)", version.file);
                }
                let mut age = self.age(version).map_or_else(|| "-".to_owned(), age_text);
                if version.state == "current" && self.overdue(secret) == Some(true) {
                    age.push_str(" overdue");
                }
                let uses = self.uses.of(&secret.name);
                let used_by = match &uses {
                    Some(names) if names.is_empty() => "nothing".to_owned(),
                    Some(names) => names.join(", "),
                    None => "?".to_owned(),
                };
                let owner = shown(secret.owner.as_ref().or(self.owner.as_ref()));
                let mut row = vec![secret.name.clone(), version.id.clone(), state, age, owner, used_by];
                if let Some(last) = self.last {
                    let last = last.get(&(secret.name.clone(), version.id.clone()));
                    row.push(last.map_or_else(|| "never".to_owned(), LastUse::shown));
                }
                rows.push(row);
            }
        }
        let mut out = table(&rows);
        if !self.uses.is_known() {
            out.push_str("\n`?`: the tenant's workflows cannot be read; `tenantry validate` says why\n");
        }
        out
    }

    /// Milliseconds since it was made.
    fn age(&self, version: &ListedVersion) -> Option<i64> {
        let created: Timestamp = version.created.as_ref()?.parse().ok()?;
        Some((self.now.as_millis() - created.as_millis()).max(0))
    }

    /// `None` where the index wants no rotation.
    fn overdue(&self, secret: &Listed) -> Option<bool> {
        let current = secret.versions.iter().find(|version| version.state == "current")?;
        let created = current.created.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
        let leaked = secret.leaked_at.as_ref().and_then(|text| text.parse::<Timestamp>().ok());
        if let Some(leaked) = leaked
            && created.is_none_or(|created| created <= leaked)
        {
            return Some(true);
        }
        let every = secret.rotate_every.as_ref().and_then(|text| text.parse::<Length>().ok());
        match (every, created) {
            (Some(every), Some(created)) => Some(created + every < self.now),
            _ => leaked.map(|_| false),
        }
    }
}

/// The largest unit that is not zero, as people say it.
fn age_text(millis: i64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000)];
    let unit = units.into_iter().find(|(_, length)| millis >= *length);
    unit.map_or_else(|| "0 s".to_owned(), |(unit, length)| format!("{} {unit}", millis / length))
}

pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        let _ = writeln!(out, "{}", printable(cells.join("  ").trim_end()));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view<'v>(tenant: &'v TenantId, uses: &'v Uses) -> View<'v> {
        let now = Timestamp::from_millis(1_795_000_000_000);
        View { tenant, owner: Some("group:ops".to_owned()), is_there: &|_| true, uses, last: None, now }
    }

    #[test]
    fn a_list_cannot_command_the_terminal() {
        let text = "secrets:\n  a:\n    versions:\n      - { id: \"v1\\e[2J\", state: current }\n";
        let (tenant, uses) = ("acme".parse().unwrap(), Uses::default());
        let shown = view(&tenant, &uses).human(&index::read(text).unwrap());
        assert!(!shown.contains('\u{1b}'), "{shown:?}");
        assert!(shown.starts_with("SECRET"), "{shown}");
    }

    #[test]
    fn a_list_says_what_is_due() {
        let text = "secrets:\n  a:\n    rotate_every: 90d\n    versions:\n      - { id: v2, state: current, created: 2026-08-01T10:00:00Z }\n      - { id: v1, state: previous, created: 2026-07-01T10:00:00Z, accept_until: 2026-12-01T00:00:00Z }\n      - { id: v0, state: revoked, created: 2026-06-01T10:00:00Z, accept_until: 2026-12-01T00:00:00Z }\n";
        let (tenant, uses) = ("acme".parse().unwrap(), Uses::default());
        insta::assert_snapshot!(view(&tenant, &uses).human(&index::read(text).unwrap()), @"
        SECRET  VERSION  STATE                                AGE            OWNER      USED BY
        a       v2       current                              109 d overdue  group:ops  ?
        a       v1       previous until 2026-12-01T00:00:00Z  140 d          group:ops  ?
        a       v0       revoked                              170 d          group:ops  ?

        `?`: the tenant's workflows cannot be read; `tenantry validate` says why
        ");
    }
}
