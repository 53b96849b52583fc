//! A plan for people: summary, what is destroyed and who gains access, then tenant by tenant.
//!
//! Text from the repository is shown with its control and direction characters made visible.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;
use similar::TextDiff;

use super::document::{Blocked, Document};
use super::is_access;
use crate::domain::{
    ByteSize, Change, ChangeControlMode, Length, ObjectId, ObjectKind, Operation, TenantId, Timestamp,
};
use crate::schedule::{Cron, Zone};

/// Characters of a value that are shown on one line.
const VALUE_CHARS_MAX: usize = 120;
/// Bytes of a file whose lines are compared.
const COMPARED_BYTES_MAX: usize = 64 * 1024;
/// Lines of a comparison that are shown.
const COMPARED_LINES_MAX: usize = 80;
/// Tenants that are named where many change alike.
const NAMED_MAX: usize = 10;
/// Characters of the Markdown form, so that it fits a comment at any forge.
const MARKDOWN_CHARS_MAX: usize = 60_000;

/// How to show a plan.
pub struct Rendering<'a> {
    /// Gives the content of a script's blob, where it is at hand.
    pub content: &'a dyn Fn(&ObjectId) -> Option<Arc<[u8]>>,
    /// Names the next fire times after it; `None` leaves them out.
    pub now: Option<Timestamp>,
}

impl Document {
    /// The plan as text, without colour.
    #[must_use]
    pub fn human(&self, rendering: &Rendering<'_>) -> String {
        let mut out = String::new();
        self.write_summary(&mut out);
        self.write_first(&mut out);
        for (tenants, changes) in self.alike() {
            write_group(&mut out, &tenants, &changes, rendering);
        }
        self.write_rest(&mut out);
        out
    }

    /// The same in a fence of a Markdown comment, under 60,000 characters; a longer one loses its middle.
    #[must_use]
    pub fn markdown(&self, rendering: &Rendering<'_>) -> String {
        let text = self.human(rendering);
        let (head, body) = text.split_once("\n\n").unwrap_or((text.trim_end(), ""));
        let body = without_middle(body.trim_end(), MARKDOWN_CHARS_MAX - 2_000);
        let longest = body.split(|c| c != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        let title =
            head.lines().map(|line| format!("{}\n", escape_markdown(line))).collect::<Vec<_>>().join("\n");
        if body.is_empty() {
            return format!("### tenantry plan\n\n{title}");
        }
        format!("### tenantry plan\n\n{title}\n{fence}diff\n{body}\n{fence}\n")
    }

    fn write_summary(&self, out: &mut String) {
        let id = |id: &Option<crate::domain::CommitId>, none: &str| {
            id.as_ref().map_or_else(|| none.to_owned(), |id| id.short().to_owned())
        };
        let _ = writeln!(
            out,
            "plan {} -> {}  {}",
            id(&self.base, "nothing"),
            id(&self.head, "work tree"),
            self.hash()
        );
        let blocked = self.blocked.iter().filter(|blocked| blocked.tenant.is_some()).count();
        let _ = writeln!(
            out,
            "{}: {} changed, {blocked} blocked, {} unchanged; {} started",
            counted(self.tenants, "tenant"),
            self.changed().len(),
            self.unchanged(),
            counted(self.runs.len(), "run"),
        );
        if self.mode == ChangeControlMode::Open {
            out.push_str("change control is open: nobody has to agree, nothing is proven\n");
        }
    }

    fn write_first(&self, out: &mut String) {
        let mut first =
            self.changes.iter().filter(|c| c.op == Operation::Remove || is_access(c.class)).peekable();
        if first.peek().is_none() {
            return;
        }
        out.push_str("\nremoved, and access:\n");
        for change in first {
            let _ = writeln!(
                out,
                "{} {}  {} {}  [{}]",
                sign(change.op),
                change.tenant,
                kind(change.kind),
                visible(&change.object),
                change.class
            );
        }
    }

    /// The changes by tenants, equal ones together.
    fn alike(&self) -> Vec<(Vec<&TenantId>, Vec<&Change>)> {
        let mut by_tenant: BTreeMap<&TenantId, Vec<&Change>> = BTreeMap::new();
        for change in &self.changes {
            by_tenant.entry(&change.tenant).or_default().push(change);
        }
        let mut groups: Vec<(String, Vec<&TenantId>, Vec<&Change>)> = Vec::new();
        let mut places: BTreeMap<String, usize> = BTreeMap::new();
        for (tenant, changes) in by_tenant {
            let facts: Vec<_> =
                changes.iter().map(|c| (c.class, c.kind, c.op, &c.object, &c.before, &c.after)).collect();
            let facts = crate::domain::digest_of(&facts);
            match places.get(&facts) {
                Some(&place) => groups[place].1.push(tenant),
                None => {
                    places.insert(facts.clone(), groups.len());
                    groups.push((facts, vec![tenant], changes));
                }
            }
        }
        groups.into_iter().map(|(_, tenants, changes)| (tenants, changes)).collect()
    }

    fn write_rest(&self, out: &mut String) {
        if !self.held.is_empty() {
            out.push_str("\nheld:\n");
            for (tenant, line) in &self.held {
                let _ =
                    writeln!(out, "! {tenant}  {}; needs {}", visible(&line.edge), line.missing.join(", "));
            }
        }
        for blocked in &self.blocked {
            write_blocked(out, blocked);
        }
        if !self.runs.is_empty() {
            out.push_str("\nstarted:\n");
            for run in &self.runs {
                let _ = writeln!(out, "  {}/{} ({})", run.tenant, run.workflow, run.trigger);
            }
        }
        if !self.skipped.is_empty() {
            out.push_str("\nleft out:\n");
            for (tenant, reason) in &self.skipped {
                let _ = writeln!(out, "  {tenant}  {}", visible(reason));
            }
        }
    }
}

fn counted(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
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

fn write_group(out: &mut String, tenants: &[&TenantId], changes: &[&Change], rendering: &Rendering<'_>) {
    let named: Vec<_> = tenants.iter().take(NAMED_MAX).map(|tenant| tenant.as_str()).collect();
    let more = tenants.len().saturating_sub(NAMED_MAX);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    match tenants {
        [tenant] => {
            let _ = writeln!(out, "\n{tenant}");
        }
        _ => {
            let _ = writeln!(out, "\n{} tenants: same change ({}{rest})", tenants.len(), named.join(", "));
        }
    }
    for change in changes {
        let _ = writeln!(
            out,
            "{} {} {}{}",
            sign(change.op),
            kind(change.kind),
            visible(&change.object),
            values(change)
        );
        write_lines(out, change, rendering);
        write_fire_times(out, change, rendering.now);
    }
}

/// The values of a change on its line, where they say something that the object does not.
fn values(change: &Change) -> String {
    let whole = change.before.is_object() || change.after.is_object();
    match change.op {
        Operation::Change if lines_of(change).is_some() || (whole && change.kind == ObjectKind::Script) => {
            String::new()
        }
        Operation::Change => {
            format!(": {} -> {}", shown(&change.object, &change.before), shown(&change.object, &change.after))
        }
        Operation::Add if whole && change.kind == ObjectKind::Workflow => steps_of(&change.after),
        Operation::Add if change.after.is_object() && change.kind != ObjectKind::Secret => String::new(),
        Operation::Add if change.after.as_str() == Some(change.object.as_str()) => String::new(),
        Operation::Add => format!(": {}", shown(&change.object, &change.after)),
        Operation::Remove => String::new(),
    }
}

fn steps_of(workflow: &Value) -> String {
    let steps = workflow["steps"].as_array().into_iter().flatten();
    let names: Vec<_> = steps.filter_map(|step| step["id"].as_str()).collect();
    if names.is_empty() { String::new() } else { format!(": steps {}", names.join(", ")) }
}

/// A value with the units that its field has.
fn shown(object: &str, value: &Value) -> String {
    let field = object.rsplit('.').next().unwrap_or_default();
    let text = match (field, value) {
        (_, Value::Null) => "none".to_owned(),
        (_, Value::Array(items)) if items.is_empty() => "none".to_owned(),
        ("schedules", Value::Array(items)) => {
            let word = |item: &Value, key: &str| item[key].as_str().unwrap_or_default().to_owned();
            let shown = |item| format!("{} in {}", word(item, "cron"), word(item, "timezone"));
            items.iter().map(shown).collect::<Vec<_>>().join("; ")
        }
        (_, Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(", ")
        }
        (
            "timeout" | "run_timeout" | "elevation_max" | "success_within" | "rotate_every" | "backoff"
            | "max" | "payloads" | "logs" | "runs",
            Value::Number(millis),
        ) => Length::from_millis(millis.as_u64().unwrap_or_default()).to_string(),
        ("memory" | "disk", Value::Number(bytes)) => {
            ByteSize::from_bytes(bytes.as_u64().unwrap_or_default()).to_string()
        }
        (_, Value::String(text)) => text.clone(),
        (_, value) => value.to_string(),
    };
    let text = visible(&text);
    if text.chars().count() > VALUE_CHARS_MAX {
        let start: String = text.chars().take(VALUE_CHARS_MAX).collect();
        format!("{start}…")
    } else {
        text
    }
}

/// Both sides of an inline script, whose lines say more than its value.
fn lines_of(change: &Change) -> Option<(&str, &str)> {
    match (change.before.as_str(), change.after.as_str()) {
        (Some(before), Some(after)) if before.contains('\n') || after.contains('\n') => Some((before, after)),
        _ => None,
    }
}

fn write_lines(out: &mut String, change: &Change, rendering: &Rendering<'_>) {
    if let Some((before, after)) = lines_of(change) {
        write_comparison(out, before, after);
        return;
    }
    if change.kind != ObjectKind::Script || change.op != Operation::Change {
        return;
    }
    let content = |side: &Value| {
        let id: ObjectId = side["blob"].as_str()?.parse().ok()?;
        (rendering.content)(&id)
    };
    let (old_mode, new_mode) = (change.before["mode"].as_str(), change.after["mode"].as_str());
    if old_mode != new_mode {
        let _ = writeln!(out, "    mode {} -> {}", old_mode.unwrap_or("?"), new_mode.unwrap_or("?"));
    }
    let (Some(before), Some(after)) = (content(&change.before), content(&change.after)) else { return };
    let small = before.len() <= COMPARED_BYTES_MAX && after.len() <= COMPARED_BYTES_MAX;
    match (std::str::from_utf8(&before), std::str::from_utf8(&after)) {
        (Ok(before), Ok(after)) if small => write_comparison(out, before, after),
        _ => {
            let _ = writeln!(out, "    {} -> {} bytes", before.len(), after.len());
        }
    }
}

fn write_comparison(out: &mut String, before: &str, after: &str) {
    let diff = TextDiff::from_lines(before, after);
    let mut left = COMPARED_LINES_MAX;
    for hunk in diff.unified_diff().context_radius(2).iter_hunks() {
        for change in hunk.iter_changes() {
            if left == 0 {
                out.push_str("    … more lines differ\n");
                return;
            }
            left -= 1;
            let _ = writeln!(
                out,
                "    {}{}",
                change.tag(),
                visible(change.value().trim_end_matches(['\n', '\r']))
            );
        }
    }
}

fn write_fire_times(out: &mut String, change: &Change, now: Option<Timestamp>) {
    let Some(now) = now.filter(|_| change.kind == ObjectKind::Workflow) else { return };
    let schedules = if change.object.ends_with(".triggers.schedules") {
        &change.after
    } else {
        &change.after["triggers"]["schedules"]
    };
    for schedule in schedules.as_array().into_iter().flatten() {
        let (Some(cron), Some(zone)) = (schedule["cron"].as_str(), schedule["timezone"].as_str()) else {
            continue;
        };
        let (Ok(parsed), Ok(place)) = (Cron::parse(cron), Zone::parse(zone)) else { continue };
        if let Some(next) = parsed.next_after(&place, now) {
            let _ = writeln!(out, "    next at {next} ({} in {})", visible(cron), visible(zone));
        }
    }
}

fn write_blocked(out: &mut String, blocked: &Blocked) {
    let who = blocked.tenant.as_ref().map_or("platform", |tenant| tenant.as_str());
    let stays = match &blocked.stays_at {
        Some(commit) => format!("stays at {}", commit.short()),
        None => "is not applied".to_owned(),
    };
    let _ = writeln!(out, "\nblocked: {who} {stays}");
    for found in &blocked.findings {
        let place = format!("{}:{}:{}", visible(&found.path), found.line, found.column);
        let _ = writeln!(out, "  {}: {place}: {}", found.rule, visible(&found.message));
    }
}

/// Makes characters visible that would move the cursor, change the reading direction or take no room.
fn visible(text: &str) -> String {
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    if !text.contains(hidden) {
        return text.to_owned();
    }
    text.chars().map(|c| if hidden(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

fn escape_markdown(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let special = matches!(c, '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '#' | '|' | '@' | '!');
            special.then_some('\\').into_iter().chain(Some(c))
        })
        .collect()
}

fn without_middle(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let lines: Vec<_> = text.lines().collect();
    let (mut start, mut end) = (String::new(), Vec::new());
    let mut room = chars_max - 100;
    let (mut from, mut to) = (0, lines.len());
    while from < to {
        // Two lines of the start for one of the end: what matters most stands first.
        let take_end = (from + lines.len() - to) % 3 == 2;
        let line = if take_end { lines[to - 1] } else { lines[from] };
        let cost = line.chars().count() + 1;
        if cost > room {
            break;
        }
        room -= cost;
        if take_end {
            to -= 1;
            end.push(line);
        } else {
            from += 1;
            start.push_str(line);
            start.push('\n');
        }
    }
    end.reverse();
    format!("{start}… {} left out …\n{}", counted(to - from, "line"), end.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_characters_are_made_visible() {
        assert_eq!(visible("plain ü 漢"), "plain ü 漢");
        assert_eq!(visible("a\u{1b}[31m\u{202e}b"), "a\\u{1b}[31m\\u{202e}b");
    }

    #[test]
    fn a_long_text_loses_its_middle() {
        let text = (0..10_000).map(|line| format!("line {line}")).collect::<Vec<_>>().join("\n");
        let cut = without_middle(&text, 5_000);
        assert!(cut.chars().count() <= 5_000, "{}", cut.len());
        assert!(cut.starts_with("line 0\n") && cut.ends_with("line 9999") && cut.contains("lines left out"));
        assert_eq!(without_middle("short", 5_000), "short");
    }
}
