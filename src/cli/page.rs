//! Text for people: aligned columns, colour on terminals only, nothing that a script wrote steers a terminal.

use serde_json::Value;

/// How a document is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Human,
    /// For programs.
    Json,
}

/// The option that every listing has.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct FormatArgs {
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    pub format: Format,
}

/// Prints a document as JSON.
pub fn json(document: &Value) {
    // A closed pipe is the reader's choice and no failure of ours.
    let _ = writeln(&serde_json::to_string_pretty(document).unwrap_or_default());
}

/// Prints one line on standard output.
pub fn line(text: &str) {
    let _ = writeln(text);
}

fn writeln(text: &str) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")
}

/// Rows under headings, each column as wide as its widest cell.
#[must_use]
pub fn columns(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = headings.iter().map(|heading| width(heading)).collect();
    for row in rows {
        for (column, cell) in widths.iter_mut().zip(row) {
            *column = (*column).max(width(cell));
        }
    }
    let mut out = String::new();
    let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
    for (index, row) in std::iter::once(&headings).chain(rows).enumerate() {
        let mut text = String::new();
        for (cell, column) in row.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', column - width(cell) + 2));
        }
        if index > 0 {
            out.push('\n');
        }
        out.push_str(text.trim_end());
    }
    out
}

/// Characters that a terminal shows, colours left out.
fn width(text: &str) -> usize {
    let mut count = 0;
    let mut escape = false;
    for c in text.chars() {
        match c {
            '\u{1b}' => escape = true,
            'm' if escape => escape = false,
            _ if escape => {}
            _ => count += 1,
        }
    }
    count
}

/// Colours a word by what it means.
#[must_use]
pub fn coloured(word: &str) -> String {
    let code = match word {
        "success" | "applied" | "unchanged" | "current" => "32",
        "failure" | "error" | "timed_out" | "invalid" | "failed" | "rewritten" | "unreachable" => "31",
        "held" | "cancelled" | "skipped" | "rejected" | "unverified" | "superseded" | "stale" | "paused"
        | "pinned" => "33",
        "running" | "queued" | "waiting" | "applying" | "validating" | "observed" => "36",
        _ => return word.to_owned(),
    };
    format!("\u{1b}[{code}m{word}\u{1b}[0m")
}

/// A text of somebody else, its control characters shown and not obeyed. Tabs stay.
#[must_use]
pub fn shown(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => "\t".to_owned(),
            // Overrides of the writing direction can make a line read as another.
            c if c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') => {
                c.escape_default().to_string()
            }
            c => c.to_string(),
        })
        .collect()
}

/// The text of a field, or a dash.
#[must_use]
pub fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("-")
}

/// The first 8 digits of a commit.
#[must_use]
pub fn short_commit(value: &Value, key: &str) -> String {
    text(value, key).chars().take(8).collect()
}

/// The time between two RFC 3339 times as people say it, a dash where one is missing.
#[must_use]
pub fn took(value: &Value, from: &str, until: &str) -> String {
    let time = |key: &str| text(value, key).parse::<crate::domain::Timestamp>().ok();
    match (time(from), time(until)) {
        (Some(from), Some(until)) => {
            let millis = until.since(from).as_millis();
            match millis {
                0..10_000 => format!("{}.{:01}s", millis / 1000, millis % 1000 / 100),
                10_000..60_000 => format!("{}s", millis / 1000),
                60_000..3_600_000 => format!("{}m{:02}s", millis / 60_000, millis / 1000 % 60),
                _ => format!("{}h{:02}m", millis / 3_600_000, millis / 60_000 % 60),
            }
        }
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_whatever_their_colour() {
        let rows = vec![
            vec!["acme".into(), coloured("applied")],
            vec!["a".into(), "x".into()],
            vec!["ö".into(), String::new()],
        ];
        assert_eq!(
            columns(&["TENANT", "STATUS"], &rows),
            "TENANT  STATUS\nacme    \u{1b}[32mapplied\u{1b}[0m\na       x\nö"
        );
    }

    #[test]
    fn nothing_that_a_script_wrote_steers_a_terminal() {
        assert_eq!(shown("a\tb\u{1b}[2Jc\rd\u{202e}e"), "a\tb\\u{1b}[2Jc\\rd\\u{202e}e");
        assert_eq!(shown("ordinary ünï¢ode"), "ordinary ünï¢ode");
    }

    #[test]
    fn lengths_are_said_as_people_say_them() {
        let value = |until: &str| serde_json::json!({"a": "2026-11-23T14:00:00Z", "b": until});
        assert_eq!(took(&value("2026-11-23T14:00:01.250Z"), "a", "b"), "1.2s");
        assert_eq!(took(&value("2026-11-23T14:00:12Z"), "a", "b"), "12s");
        assert_eq!(took(&value("2026-11-23T14:02:03Z"), "a", "b"), "2m03s");
        assert_eq!(took(&value("2026-11-23T17:02:03Z"), "a", "b"), "3h02m");
        assert_eq!(took(&value("-"), "a", "b"), "-");
    }
}
