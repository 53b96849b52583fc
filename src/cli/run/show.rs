//! What a run writes, line by line as it comes, and how it went.

use std::collections::BTreeMap;

use serde_json::json;

use super::super::looking;
use super::super::page::{self, Format, coloured, shown, took};
use super::RunArgs;
use crate::app::{self, Told};
use crate::domain::{AttemptId, Outcome, RunPins, Workflow};
use crate::record::RunRecord;
use crate::store::{LogRecord, LogStream};

/// Bytes of a line that is shown before its end comes.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// The colours of the steps' names, one after the other.
const COLOURS: [&str; 6] = ["36", "33", "35", "32", "34", "31"];

/// Shows one run.
pub(super) struct Show {
    format: Format,
    /// Places of the steps, for their colours.
    steps: BTreeMap<String, usize>,
    width: usize,
    stand_ins: bool,
    /// Lines whose end has not come yet.
    begun: BTreeMap<(AttemptId, u8), String>,
}

impl Show {
    /// For a run of this workflow.
    pub(super) fn new(format: Format, workflow: &Workflow, stand_ins: bool) -> Self {
        let steps: BTreeMap<String, usize> = workflow
            .steps
            .iter()
            .chain(workflow.on_failure.as_deref())
            .enumerate()
            .map(|(place, step)| (step.id.to_string(), place))
            .collect();
        let width = steps.keys().map(String::len).max().unwrap_or(0);
        Self { format, steps, width, stand_ins, begun: BTreeMap::new() }
    }

    /// Says what starts.
    pub(super) fn begins(&self, pins: &RunPins, work_tree: &str) {
        anstream::eprintln!("{}/{}: {work_tree}; run {}", pins.tenant, pins.workflow_id(), pins.id.short());
        if self.stand_ins {
            anstream::eprintln!("note: values of the secrets file stand in for all secrets");
        }
    }

    /// Shows what has just happened.
    pub(super) fn tell(&mut self, told: Told) {
        match told {
            Told::Began(attempt) => {
                if attempt.attempt > 1 {
                    self.line(&attempt, &faint(&format!("── attempt {}", attempt.attempt)));
                }
            }
            Told::Wrote(attempt, records) => records.iter().for_each(|record| self.wrote(&attempt, record)),
            Told::Ended(attempt, _) => self.finish_lines(&attempt),
        }
    }

    fn wrote(&mut self, attempt: &AttemptId, record: &LogRecord) {
        if record.stream == LogStream::System {
            self.finish_lines(attempt);
            for line in record.text.trim_end_matches('\n').split('\n') {
                self.line(attempt, &faint(&format!("── {}", shown(line))));
            }
            return;
        }
        let key = (attempt.clone(), u8::from(record.stream == LogStream::Stderr));
        let mut text = self.begun.remove(&key).unwrap_or_default();
        text.push_str(&record.text);
        let mut rest = text.as_str();
        while let Some((line, after)) = rest.split_once('\n') {
            self.line(attempt, &shown(line.strip_suffix('\r').unwrap_or(line)));
            rest = after;
        }
        if rest.len() > LINE_BYTES_MAX {
            self.line(attempt, &shown(rest));
        } else if !rest.is_empty() {
            self.begun.insert(key, rest.to_owned());
        }
    }

    /// Shows lines that nothing ended.
    fn finish_lines(&mut self, attempt: &AttemptId) {
        for stream in [0, 1] {
            if let Some(text) = self.begun.remove(&(attempt.clone(), stream)) {
                self.line(attempt, &shown(&text));
            }
        }
    }

    fn line(&self, attempt: &AttemptId, text: &str) {
        let mut label = attempt.step.to_string();
        let place = self.steps.get(&label).copied().unwrap_or(0);
        if let Some(item) = attempt.item {
            label.push_str(&format!("[{item}]"));
        }
        let colour = COLOURS[place % COLOURS.len()];
        let width = self.width;
        self.say(&format!("\u{1b}[{colour}m{label:<width$} |\u{1b}[0m {text}"));
    }

    /// What scripts write is the answer to people; a program's answer is the document.
    fn say(&self, line: &str) {
        match self.format {
            Format::Human => page::line(line),
            Format::Json => anstream::eprintln!("{line}"),
        }
    }

    /// Says how it went.
    pub(super) fn ends(&mut self, record: &RunRecord) {
        let left: Vec<AttemptId> = self.begun.keys().map(|(attempt, _)| attempt.clone()).collect();
        left.iter().for_each(|attempt| self.finish_lines(attempt));
        let run = json!(record);
        if self.format == Format::Json {
            page::json(&json!({ "schema": "tenantry.run/1", "run": run, "stand_ins": self.stand_ins }));
            return;
        }
        let outcome = record.outcome.map_or("running", Outcome::as_str);
        page::line("");
        page::line(&format!(
            "{}/{}: {} in {}",
            record.tenant,
            record.workflow,
            coloured(outcome),
            took(&run, "started_at", "ended_at")
        ));
        if let Some(reason) = &record.reason {
            page::line(&format!("reason: {}", shown(reason)));
        }
        page::line("");
        page::line(&looking::steps(&run));
        if let Some(table) = looking::hosts(&run) {
            page::line(&format!("\n{table}"));
        }
        if !record.secrets_used.is_empty() {
            let prefix = format!("tenants/{}/", record.tenant);
            let used: Vec<&str> = record
                .secrets_used
                .iter()
                .map(|path| path.strip_prefix(&prefix).unwrap_or(path))
                // A value that stands in has no version.
                .map(|name| if self.stand_ins { name.split('@').next().unwrap_or(name) } else { name })
                .collect();
            let what = if self.stand_ins { "stand-ins used" } else { "secrets used" };
            page::line(&format!("\n{what}: {}", used.join(", ")));
        }
    }
}

fn faint(text: &str) -> String {
    format!("\u{1b}[2m{text}\u{1b}[0m")
}

/// What stands between one run and the next.
pub(super) fn separator(args: &RunArgs) -> String {
    let time = app::now().to_string();
    let time = time.get(11..19).unwrap_or_default();
    let text = format!("── {}/{} again at {time} UTC ", args.workflow.tenant, args.workflow.workflow);
    format!("\u{1b}[1m{text:─<72}\u{1b}[0m")
}
