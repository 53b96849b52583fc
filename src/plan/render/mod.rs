//! A plan for people: summary, who gains and what is destroyed, then tenant by tenant.
//!
//! One list of sections serves the terminal and the comment. Text from the repository is shown with its control and
//! direction characters made visible.

mod markdown;
mod text;
mod values;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use similar::TextDiff;

use super::access::Turn;
use super::document::{Blocked, Document, Line, reach_of};
use super::drift::DriftKind;
use super::facts::Rename;
use super::is_access;
use crate::domain::{ChangeControlMode, ObjectId, ObjectKind, Operation, TenantId, Timestamp};
use crate::schedule::{Cron, Zone};
pub use markdown::MARKER;
use text::{capped, counted, visible};
use values::{field_lines, shown};

/// Bytes of a file whose lines are compared.
const COMPARED_BYTES_MAX: usize = 256 * 1024;
/// Lines of a file whose lines are compared: the work grows with their square.
const COMPARED_MAX: usize = 5_000;
/// Lines of a comparison that are shown.
const COMPARED_LINES_MAX: usize = 1_000;
/// Characters of a compared line.
const LINE_CHARS_MAX: usize = 1_000;
/// Names that are listed before the rest is counted.
const NAMED_MAX: usize = 10;
/// Characters of a recipient that tell it from others.
const RECIPIENT_CHARS: usize = 16;

/// How to show a plan.
pub struct Rendering<'a> {
    /// Gives the content of a script's blob, where it is at hand.
    pub content: &'a dyn Fn(&ObjectId) -> Option<Arc<[u8]>>,
}

/// A part of the plan under a title, line by line, each ready to be shown.
struct Section {
    title: String,
    lines: Vec<String>,
}

impl Document {
    /// The plan as text, without colour.
    #[must_use]
    pub fn human(&self, rendering: &Rendering<'_>) -> String {
        let mut out = self.summary().join("\n");
        out.push('\n');
        for section in self.sections(rendering) {
            out.push('\n');
            out.push_str(&section.title);
            out.push('\n');
            for line in section.lines {
                out.push_str(&line);
                out.push('\n');
            }
        }
        out
    }

    fn summary(&self) -> Vec<String> {
        let id = |id: &Option<crate::domain::CommitId>, none: &str| {
            id.as_ref().map_or_else(|| none.to_owned(), |id| id.short().to_owned())
        };
        let (base, head) = (id(&self.base, "nothing"), id(&self.head, "work tree"));
        let mut lines = vec![
            format!("plan {base} -> {head}  {}", self.hash()),
            format!(
                "{}: {} changed, {} blocked, {} unchanged; {} will start",
                counted(self.tenants, "tenant"),
                self.changed().len(),
                self.blocked_tenants(),
                self.unchanged(),
                counted(self.runs.len(), "run"),
            ),
        ];
        if self.mode == ChangeControlMode::Open {
            lines.push("change control is open: nobody has to agree, nothing is proven".to_owned());
        }
        lines
    }

    /// What matters most first.
    fn sections(&self, rendering: &Rendering<'_>) -> Vec<Section> {
        let mut sections = vec![
            section("who gains and loses:", self.access_lines()),
            section("removed, and access:", self.first_lines()),
            section("to be agreed (approvals at the forge are unknown here):", self.needed_lines()),
            section("held:", self.held_lines()),
        ];
        sections.extend(self.blocked.iter().map(blocked_section));
        for (tenants, changes) in self.alike() {
            sections.push(self.group(&tenants, &changes, rendering));
        }
        sections.push(section("secrets that are touched:", self.secret_lines()));
        let runs = self.runs.iter().map(|run| format!("  {}/{} ({})", run.tenant, run.workflow, run.trigger));
        sections.push(section("runs that will start:", runs.collect()));
        let skipped = self.skipped.iter().map(|(tenant, reason)| format!("  {tenant}  {}", visible(reason)));
        sections.push(section("left out:", skipped.collect()));
        sections.push(section(
            "drift: steered by command, and not as the applied commit says:",
            self.drift_lines(),
        ));
        sections.retain(|section| !section.lines.is_empty());
        sections
    }

    fn access_lines(&self) -> Vec<String> {
        let mut said: Vec<(char, String, String, Vec<&str>)> = Vec::new();
        let mut places: BTreeMap<(String, String), usize> = BTreeMap::new();
        let mut say = |sign, (front, back): (String, String), place| {
            let at = *places.entry((front.clone(), back.clone())).or_insert_with(|| {
                said.push((sign, front, back, Vec::new()));
                said.len() - 1
            });
            said[at].3.push(place);
        };
        for line in &self.access {
            let sign = match line.turn {
                Turn::Gains => '+',
                Turn::Loses => '-',
                Turn::Keeps => '~',
            };
            let place = line.tenant.as_ref().map_or("the platform", |tenant| tenant.as_str());
            let (front, back) = line.sentence();
            say(sign, (format!("{front} on"), back), place);
        }
        for (tenant, gains, from, what) in reach_of(&self.edges) {
            let (sign, can) = if gains { ('+', "can") } else { ('-', "can no longer") };
            say(sign, (format!("{from} {can} {what} on"), String::new()), tenant.as_str());
        }
        said.into_iter()
            .map(|(sign, front, back, places)| {
                format!("{sign} {} {}{}", visible(&front), named(&places, "tenant"), visible(&back))
            })
            .collect()
    }

    /// What is destroyed and who gains access, equal lines of several tenants together.
    fn first_lines(&self) -> Vec<String> {
        let new = |line: &Line| line.kind == ObjectKind::Tenant && line.op == Operation::Add;
        let new: Vec<_> = self.changes.iter().filter(|line| new(line)).map(|line| &line.tenant).collect();
        let mut said: Vec<(&Line, Vec<&str>)> = Vec::new();
        let mut places = BTreeMap::new();
        for line in self.changes.iter().filter(|line| line.op == Operation::Remove || is_access(line.class)) {
            // A new tenant is one line here: all of it is new.
            if new.contains(&&line.tenant) && line.kind != ObjectKind::Tenant {
                continue;
            }
            let object = if line.kind == ObjectKind::Tenant { "" } else { line.object.as_str() };
            let at = *places.entry((line.op, line.kind, object, line.class)).or_insert_with(|| {
                said.push((line, Vec::new()));
                said.len() - 1
            });
            said[at].1.push(line.tenant.as_ref().map_or("all tenants", |tenant| tenant.as_str()));
        }
        said.into_iter()
            .map(|(line, tenants)| {
                let renamed = self.rename_of(line).map(|rename| match line.op {
                    Operation::Remove => format!(" (becomes {})", visible(&rename.to)),
                    _ => format!(" (was {})", visible(&rename.from)),
                });
                let object = if line.kind == ObjectKind::Tenant && tenants.len() > 1 {
                    String::new()
                } else {
                    format!(" {}", visible(&line.object))
                };
                format!(
                    "{} {}  {}{object}{}  [{}]",
                    sign(line.op),
                    named(&tenants, "tenant"),
                    kind(line.kind),
                    renamed.unwrap_or_default(),
                    line.class
                )
            })
            .collect()
    }

    fn needed_lines(&self) -> Vec<String> {
        let mut needed: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for line in &self.changes {
            if let Some((_, who)) = self.missing(line) {
                needed.entry(who).or_default().push(&line.object);
            }
        }
        let shown = |(who, objects): (String, Vec<&str>)| {
            let objects: Vec<_> = objects.into_iter().map(visible).collect();
            let objects: Vec<_> = objects.iter().map(String::as_str).collect();
            format!("! {who}: {}", named(&objects, "change"))
        };
        needed.into_iter().map(shown).collect()
    }

    fn held_lines(&self) -> Vec<String> {
        let shown = |(tenant, line): &(TenantId, crate::domain::HeldLine)| {
            format!("! {tenant}  {}; needs {}", visible(&line.edge), line.missing.join(", "))
        };
        self.held.iter().map(shown).collect()
    }

    fn drift_lines(&self) -> Vec<String> {
        let line = |line: &super::DriftLine| {
            let what = match line.kind {
                DriftKind::Code => "code".to_owned(),
                DriftKind::Tenant => "tenant".to_owned(),
                DriftKind::SecretVersion => format!("secret {}", line.object),
                DriftKind::Workflow => format!("workflow {}", line.object),
            };
            let until = line.until.map_or_else(String::new, |until| format!(" until {until}"));
            let reason =
                line.reason.as_ref().map_or_else(String::new, |text| format!(" ({})", visible(text)));
            format!(
                "  {}  {what}: {}, by its commit {}{until}{reason}",
                line.tenant, line.holds, line.by_commit
            )
        };
        self.drift.iter().map(line).collect()
    }

    fn secret_lines(&self) -> Vec<String> {
        let line = |secret: &super::facts::SecretLine| {
            let versions: Vec<_> = secret.versions.iter().map(|v| format!("{} {}", v.id, v.state)).collect();
            let versions = if versions.is_empty() { "no version".to_owned() } else { versions.join(", ") };
            let recipients: Vec<_> =
                secret.recipients.iter().map(|key| capped(visible(key), RECIPIENT_CHARS)).collect();
            let users = if secret.used_by.is_empty() { "nothing".into() } else { secret.used_by.join(", ") };
            format!(
                "  {}  {}: {versions}; used by {users}; decrypted by {}",
                secret.tenant,
                secret.name,
                recipients.join(", ")
            )
        };
        self.secrets.iter().map(line).collect()
    }

    fn rename_of(&self, line: &Line) -> Option<&Rename> {
        self.renames.iter().find(|rename| {
            let whose = rename.tenant.is_none() || rename.tenant == line.tenant;
            let name = match line.op {
                Operation::Remove => &rename.from,
                Operation::Add => &rename.to,
                Operation::Change => return false,
            };
            whose && rename.kind == line.kind && *name == line.object
        })
    }

    /// The changes by tenants, equal ones together.
    fn alike(&self) -> Vec<(Vec<&Option<TenantId>>, Vec<&Line>)> {
        let mut by_tenant: BTreeMap<&Option<TenantId>, Vec<&Line>> = BTreeMap::new();
        for change in &self.changes {
            by_tenant.entry(&change.tenant).or_default().push(change);
        }
        let mut groups: Vec<(Vec<&Option<TenantId>>, Vec<&Line>)> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for (tenant, changes) in by_tenant {
            let facts: Vec<_> =
                changes.iter().map(|c| (c.class, c.kind, c.op, &c.object, &c.before, &c.after)).collect();
            let place = *places.entry(crate::domain::digest_of(&facts)).or_insert(groups.len());
            match groups.get_mut(place) {
                Some(group) => group.0.push(tenant),
                None => groups.push((vec![tenant], changes)),
            }
        }
        groups
    }

    fn group(&self, tenants: &[&Option<TenantId>], changes: &[&Line], rendering: &Rendering<'_>) -> Section {
        let names: Vec<_> = tenants
            .iter()
            .map(|tenant| tenant.as_ref().map_or("all tenants", |tenant| tenant.as_str()))
            .collect();
        let title = match names.as_slice() {
            [name] => (*name).to_owned(),
            names => format!("{} tenants: same change ({})", names.len(), listed(names)),
        };
        let mut lines = Vec::new();
        let whole = |change: &&&Line| change.kind == ObjectKind::Tenant;
        let (whole, parts): (Vec<_>, Vec<_>) = changes.iter().partition(whole);
        for change in whole.into_iter().chain(parts) {
            match self.rename_of(change) {
                Some(_) if change.op == Operation::Add => {}
                Some(rename) => {
                    let to = changes.iter().find(|other| {
                        other.op == Operation::Add && other.kind == change.kind && other.object == rename.to
                    });
                    rename_lines(&mut lines, rename, change, to.copied(), rendering);
                }
                None => change_lines(&mut lines, change, rendering),
            }
            let (fires, now) = (fires_next(change, self.now), change.op != Operation::Remove);
            lines.extend(fires.into_iter().filter(|_| now));
        }
        Section { title, lines }
    }
}

fn section(title: &str, lines: Vec<String>) -> Section {
    Section { title: title.to_owned(), lines }
}

/// Some names, and how many more.
fn listed(names: &[&str]) -> String {
    let more = names.len().saturating_sub(NAMED_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let some: Vec<_> = names.iter().take(NAMED_MAX).copied().collect();
    format!("{}{rest}", some.join(", "))
}

/// One name, or how many there are and which.
fn named(names: &[&str], word: &str) -> String {
    match names {
        [name] => (*name).to_owned(),
        names => format!("{} ({})", counted(names.len(), word), listed(names)),
    }
}

fn sign(op: Operation) -> char {
    match op {
        Operation::Remove => '-',
        Operation::Change => '~',
        Operation::Add => '+',
    }
}

fn kind(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::Workflow => "workflow",
        ObjectKind::Script => "script",
        ObjectKind::Grant => "grant",
        ObjectKind::Elevation => "elevation",
        ObjectKind::Secret => "secret",
        ObjectKind::Recipient => "recipient",
        ObjectKind::Egress => "egress",
        ObjectKind::Limit => "limit",
        ObjectKind::Policy => "policy",
        ObjectKind::Person => "person",
        ObjectKind::Tenant => "tenant",
        ObjectKind::Platform => "platform",
    }
}

fn change_lines(lines: &mut Vec<String>, change: &Line, rendering: &Rendering<'_>) {
    lines.push(format!(
        "{} {} {}{}",
        sign(change.op),
        kind(change.kind),
        visible(&change.object),
        values(change)
    ));
    if let Some((before, after)) = texts_of(change) {
        compare(lines, before, after);
    } else if is_file(&change.before) && is_file(&change.after) {
        file_lines(lines, &change.before, &change.after, rendering);
    } else if change.op == Operation::Change && change.before.is_object() && change.after.is_object() {
        lines.extend(field_lines(&change.before, &change.after));
    }
}

/// The values of a change on its line, where they say something that the object does not.
fn values(change: &Line) -> String {
    let Line { object, before, after, .. } = change;
    match change.op {
        Operation::Remove => String::new(),
        Operation::Change if texts_of(change).is_some() || (before.is_object() && after.is_object()) => {
            String::new()
        }
        Operation::Change => format!(": {} -> {}", shown(object, before), shown(object, after)),
        Operation::Add if change.kind == ObjectKind::Workflow && after["steps"].is_array() => steps_of(after),
        Operation::Add if is_file(after) => match after["bytes"].as_u64() {
            Some(bytes) => format!(": {}", counted(usize::try_from(bytes).unwrap_or(usize::MAX), "byte")),
            None => String::new(),
        },
        Operation::Add if matches!(change.kind, ObjectKind::Tenant | ObjectKind::Grant) => String::new(),
        Operation::Add if after.as_str().is_some_and(|text| object.ends_with(text)) => String::new(),
        Operation::Add => format!(": {}", shown(object, after)),
    }
}

fn steps_of(workflow: &Value) -> String {
    let steps = workflow["steps"].as_array().into_iter().flatten();
    let names: Vec<_> = steps.filter_map(|step| step["id"].as_str()).collect();
    if names.is_empty() { String::new() } else { format!(": steps {}", names.join(", ")) }
}

/// Both sides of a text of several lines, which say more than its value.
fn texts_of(change: &Line) -> Option<(&str, &str)> {
    match (change.before.as_str(), change.after.as_str()) {
        (Some(before), Some(after)) if before.contains('\n') || after.contains('\n') => Some((before, after)),
        _ => None,
    }
}

fn is_file(value: &Value) -> bool {
    value["blob"].is_string() && value["mode"].is_string()
}

fn rename_lines(
    lines: &mut Vec<String>,
    rename: &Rename,
    gone: &Line,
    come: Option<&Line>,
    rendering: &Rendering<'_>,
) {
    let how = if rename.identical { "nothing but the name changes" } else { "and changes" };
    let (from, to) = (visible(&rename.from), visible(&rename.to));
    lines.push(format!("> {} {from} -> {to}: {how}", kind(rename.kind)));
    let note = match rename.kind {
        ObjectKind::Tenant => Some(
            "a tenant is its name: the old one ends with its secrets and grants, the new one begins without history",
        ),
        ObjectKind::Workflow => {
            Some("a workflow is its name: its history, pauses and queued runs stay with the old one")
        }
        _ => None,
    };
    lines.extend(note.map(|note| format!("    {note}")));
    let Some(come) = come.filter(|_| !rename.identical) else { return };
    if is_file(&gone.before) && is_file(&come.after) {
        file_lines(lines, &gone.before, &come.after, rendering);
    } else if rename.kind == ObjectKind::Workflow {
        lines.extend(field_lines(&gone.before, &come.after));
    }
}

/// The lines in which two files differ.
fn file_lines(lines: &mut Vec<String>, before: &Value, after: &Value, rendering: &Rendering<'_>) {
    let content = |side: &Value| {
        let id: ObjectId = side["blob"].as_str()?.parse().ok()?;
        (rendering.content)(&id)
    };
    if before["mode"] != after["mode"] {
        let mode = |side: &Value| side["mode"].as_str().unwrap_or("?").to_owned();
        lines.push(format!("    mode {} -> {}", mode(before), mode(after)));
    }
    if before["blob"] == after["blob"] {
        return;
    }
    let bytes = |side: &Value| side["bytes"].as_u64().unwrap_or_default();
    let sizes = format!("    {} -> {} bytes", bytes(before), bytes(after));
    let (Some(old), Some(new)) = (content(before), content(after)) else {
        lines.push(format!("{sizes}, too large to compare"));
        return;
    };
    let small = old.len() <= COMPARED_BYTES_MAX && new.len() <= COMPARED_BYTES_MAX;
    match (std::str::from_utf8(&old), std::str::from_utf8(&new)) {
        (Ok(old), Ok(new)) if small => compare(lines, old, new),
        (Ok(_), Ok(_)) => lines.push(format!("{sizes}, too large to compare")),
        _ => lines.push(format!("{sizes}, no text")),
    }
}

fn compare(lines: &mut Vec<String>, before: &str, after: &str) {
    if before.lines().count().max(after.lines().count()) > COMPARED_MAX {
        let (old, new) = (before.lines().count(), after.lines().count());
        lines.push(format!("    {old} -> {new} lines, too many to compare"));
        return;
    }
    let diff = TextDiff::from_lines(before, after);
    let mut left = COMPARED_LINES_MAX;
    for (at, hunk) in diff.unified_diff().context_radius(2).iter_hunks().enumerate() {
        if at > 0 {
            lines.push("    ⋮".to_owned());
        }
        for change in hunk.iter_changes() {
            if left == 0 {
                lines.push("    … more lines differ: `git diff` shows them all".to_owned());
                return;
            }
            left -= 1;
            let value = change.value();
            let text = visible(value.strip_suffix('\n').unwrap_or(value));
            let text = capped(text, LINE_CHARS_MAX);
            let no_end = if value.ends_with('\n') { "" } else { "  (no line end)" };
            lines.push(format!("    {}{text}{no_end}", change.tag()));
        }
    }
}

/// When the schedules that a change brings fire next.
fn fires_next(change: &Line, now: Option<Timestamp>) -> Vec<String> {
    let Some(now) = now.filter(|_| change.kind == ObjectKind::Workflow) else { return Vec::new() };
    let of = |side: &'_ Value| -> Vec<Value> {
        let schedules = if change.object.ends_with(".triggers.schedules") {
            side
        } else {
            &side["triggers"]["schedules"]
        };
        schedules.as_array().cloned().unwrap_or_default()
    };
    let before = of(&change.before);
    let mut lines = Vec::new();
    for schedule in of(&change.after).iter().filter(|schedule| !before.contains(schedule)) {
        let (Some(cron), Some(zone)) = (schedule["cron"].as_str(), schedule["timezone"].as_str()) else {
            continue;
        };
        let (Ok(parsed), Ok(place)) = (Cron::parse(cron), Zone::parse(zone)) else { continue };
        let mut times = Vec::new();
        let mut after = now;
        while let Some(next) = parsed.next_after(&place, after).filter(|_| times.len() < 3) {
            times.push(next.to_string());
            after = next;
        }
        if !times.is_empty() {
            lines.push(format!("    next at {} ({} in {})", times.join(", "), visible(cron), visible(zone)));
        }
    }
    lines
}

fn blocked_section(blocked: &Blocked) -> Section {
    let who = blocked.tenant.as_ref().map_or("platform", |tenant| tenant.as_str());
    let stays = match &blocked.stays_at {
        Some(commit) => format!("stays at {}", commit.short()),
        None => "is not applied".to_owned(),
    };
    let finding = |found: &crate::domain::Finding| {
        let place = format!("{}:{}:{}", visible(&found.path), found.line, found.column);
        let help = found.help.as_ref().map(|help| format!(" ({})", visible(help))).unwrap_or_default();
        format!("  {}: {place}: {}{help}", found.rule, visible(&found.message))
    };
    let mut lines: Vec<_> = blocked.findings.iter().map(finding).collect();
    if lines.is_empty() {
        lines.push("  its files are not valid".to_owned());
    }
    Section { title: format!("blocked: {who} {stays}"), lines }
}
