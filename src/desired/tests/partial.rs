//! Workflows whose form has mistakes: the rest is judged all the same, and nothing is told that mending would take back.

use std::collections::BTreeSet;

use crate::desired::fixture::{of_workflow, read, tenant_tree};
use crate::domain::Severity;

/// Something wrong in every part of it, and nothing wrong with its form.
const WORKFLOW: &str = "\
description: Everything
on:
  schedule:
    - { cron: \"61 3 * * *\", timezone: Europe/Roma }
  commit: { paths: [\"data/**\"] }
inputs:
  day: { type: string, format: date }
  size: { type: int, default: 3 }
timeout: 30m
concurrency: { key: \"${{ inputs.dya }}\", limit: 2 }
steps:
  pull:
    run: scripts/missing.sh
    outputs: { rows: int }
    retry: { attempts: 3, backoff: 10s }
  load:
    needs: [pull]
    run: ../../etc/passwd
    if: \"${{ steps.pull.outputs.rows + 'x' }}\"
    secrets: [token]
    with: { day: \"${{ inputs.day }}\", rows: \"${{ steps.pull.outputs.row }}\" }
  check:
    needs: [tell]
    script: \"exit 0\"
    network: [elsewhere.example:443]
    timeout: 9h
    if: \"steps.pull.outputs.rows > 0 && inputs.size > 0\"
  tell:
    needs: [check, nobody]
    run: scripts/a.sh
    resources: { memory: 90GiB }
    with: { value: \"${{ secrets.token }}\", of: \"${{ steps.load.status }}\" }
on_failure:
  run: scripts/gone.sh
";

/// What is told apart from the mistakes of form and of YAML: rule and message.
fn told(text: &str) -> BTreeSet<String> {
    let found = read(&tenant_tree(&[("workflows/sync.yaml", text)]), &[]).1;
    let beyond = found
        .iter()
        .filter(|finding| finding.severity == Severity::Error && !finding.rule.id.starts_with(['S', 'Y']));
    beyond.map(|finding| format!("{} {}", finding.rule.id, finding.message)).collect()
}

#[test]
fn a_mistake_of_form_hides_nothing_that_is_certain() {
    let text = WORKFLOW
        .replace("paths: [", "pathes: [")
        .replace("backoff: 10s", "backof: 10s")
        .replace("limit: 2", "limit: two");
    let found = of_workflow(&text);
    for wanted in [
        "S101 5:13",
        "S101 15:27",
        "S103 10:49",
        "W205 4:15",
        "W207 4:39",
        "W208 13:10",
        "W211 18:10",
        "K301 20:15",
        "W216 25:15",
        "W204 26:14",
        "W201 29:20",
        "W202 23:12",
        "W222 31:26",
        "W215 32:20",
        "W208 34:8",
    ] {
        assert!(found.iter().any(|line| line.starts_with(wanted)), "{wanted} is missing in {found:#?}");
    }
}

/// Every key and every value of it, spoilt one at a time in two ways each.
#[test]
fn nothing_is_told_that_mending_would_take_back() {
    let whole = told(WORKFLOW);
    assert!(whole.len() > 12, "{whole:#?}");
    let mut kept = 0;
    let mut check = |spoilt: String| {
        // Another name for an input or a step is no mistake of form.
        if !of_workflow(&spoilt).iter().any(|line| line.starts_with(['S', 'Y'])) {
            return;
        }
        let found = told(&spoilt);
        kept += found.len();
        let more: Vec<_> = found.difference(&whole).collect();
        assert!(more.is_empty(), "{more:#?} in\n{spoilt}");
    };
    for (at, _) in WORKFLOW.match_indices(": ").chain(WORKFLOW.match_indices(":\n")) {
        // A field that is none, and one that is written in another way.
        check(format!("{}x{}", &WORKFLOW[..at], &WORKFLOW[at..]));
        check(format!("{}{}{}", &WORKFLOW[..at], "_.", &WORKFLOW[at..]));
        // A value of another type, where the value stands on the line.
        let rest = &WORKFLOW[at + 1..];
        let line = rest.find('\n').unwrap();
        if rest[..line].trim().is_empty() {
            continue;
        }
        for other in ["{ a: [1] }", "[[x]]", "\"\"", "-1"] {
            let end = if rest[..line].contains(['{', '[']) && !rest.trim_start().starts_with(['{', '[', '"'])
            {
                rest[..line].find([',', '}', ']']).unwrap_or(line)
            } else {
                line
            };
            check(format!("{} {other}{}", &WORKFLOW[..=at], &rest[end..]));
        }
    }
    assert!(kept > 500, "only {kept} findings are kept in all");
}

#[test]
fn a_step_that_is_none_brings_no_other_findings_with_it() {
    let text = "\
steps:
  rates: { run: scripts/a.sh, outputs: { eur: float } }
  other: { needs: [], run: scripts/a.sh }
  report:
    needs: [ratse]
    run: scripts/a.sh
    with: { eur: \"${{ steps.rates.outputs.eur }}\" }
  mail:
    needs: [report]
    run: scripts/a.sh
    if: \"steps.rates.outputs.eur > 1.0 && steps.other.status == 'success'\"
";
    assert_eq!(of_workflow(text), ["W201 5:13 step `report` needs an unknown step"]);
    let found = of_workflow(&text.replace("ratse", "rates"));
    assert_eq!(found, ["W213 11:9 the step `other` may not have ended by then"]);
}
