//! Findings for programs: `tenantry.validate/1`, SARIF 2.1.0, GitHub, GitLab and JUnit.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::desired::rules;
use crate::domain::{Diagnostic, Finding, Fix, Severity};

/// What was checked: the numbers of `tenantry.validate/1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Tenants that were read.
    pub checked: usize,
    /// Those without an error.
    pub clean: usize,
    /// Those with one.
    pub broken: usize,
}

/// `tenantry.validate/1`. `revision` is a full commit id, `None` for a work tree.
#[must_use]
pub fn json(found: &[Diagnostic], revision: Option<&str>, tenants: Checked) -> Value {
    json!({
        "schema": "tenantry.validate/1",
        "revision": revision,
        "tenants": tenants,
        "findings": found.iter().map(Finding::from).collect::<Vec<_>>(),
    })
}

/// SARIF 2.1.0, for code scanning. Source: OASIS SARIF 2.1.0, sections 3.27 and 3.30.
#[must_use]
pub fn sarif(found: &[Diagnostic], version: &str) -> Value {
    let rules: BTreeMap<&str, &str> = found.iter().map(|one| (one.rule.id, one.rule.name)).collect();
    let index: BTreeMap<&str, usize> = rules.keys().enumerate().map(|(index, id)| (*id, index)).collect();
    let prints = fingerprints(found);
    let results: Vec<Value> =
        found.iter().zip(&prints).map(|(one, print)| sarif_result(one, &index, print)).collect();
    json!({
        "$schema": "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {
                "name": "tenantry",
                "version": version,
                "rules": rules.iter().map(|(id, name)| sarif_rule(id, name)).collect::<Vec<_>>(),
            }},
            "invocations": [{"executionSuccessful": true}],
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// What a rule finds and why, with its page.
fn sarif_rule(id: &str, name: &str) -> Value {
    let mut rule = json!({
        "id": id,
        "name": name,
        "shortDescription": {"text": name.replace('-', " ")},
        "help": {"text": format!("tenantry explain {id}")},
    });
    if let Some(known) = rules::find(id) {
        rule["shortDescription"] = json!({"text": known.what});
        rule["fullDescription"] = json!({"text": format!("{} {}", known.what, known.why)});
        rule["help"] = json!({
            "text": format!("{} {} (tenantry explain {id})", known.what, known.why),
            "markdown": known.page(),
        });
        rule["defaultConfiguration"] = json!({"level": level(known.severity)});
    }
    rule
}

fn level(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// A fix that changes text, as SARIF 3.55 writes it; renaming a file has no form there.
fn sarif_fix(fix: &Fix) -> Option<Value> {
    let replacements = fix.edits.iter().map(|edit| {
        let (start, end) = (edit.span.start, edit.span.end);
        json!({
            "deletedRegion": {
                "startLine": start.line, "startColumn": start.column, "endLine": end.line, "endColumn": end.column,
            },
            "insertedContent": {"text": edit.text},
        })
    });
    let replacements: Vec<Value> = replacements.collect();
    (!replacements.is_empty()).then(|| {
        json!({
            "description": {"text": fix.title},
            "artifactChanges": [{
                "artifactLocation": {"uri": uri(&fix.path), "uriBaseId": "%SRCROOT%"},
                "replacements": replacements,
            }],
        })
    })
}

fn sarif_result(one: &Diagnostic, index: &BTreeMap<&str, usize>, print: &str) -> Value {
    let finding = Finding::from(one);
    let region = |line: usize, column: usize, end_line: usize, end_column: usize| json!({"startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column});
    let text = match &finding.help {
        Some(help) => format!("{}. {help}", finding.message),
        None => finding.message.clone(),
    };
    let mut location = json!({"artifactLocation": {"uri": uri(&finding.path), "uriBaseId": "%SRCROOT%"}});
    if one.at.span.is_some() {
        location["region"] = region(finding.line, finding.column, finding.end_line, finding.end_column);
    }
    let related = one.related.iter().zip(&finding.related).enumerate().map(|(id, (place, shown))| {
        let mut physical = json!({"artifactLocation": {"uri": uri(&shown.path), "uriBaseId": "%SRCROOT%"}});
        if place.at.span.is_some() {
            physical["region"] = json!({"startLine": shown.line, "startColumn": shown.column});
        }
        json!({"id": id, "message": {"text": shown.message}, "physicalLocation": physical})
    });
    let mut result = json!({
        "ruleId": finding.rule,
        "ruleIndex": index.get(finding.rule.as_str()),
        "level": level(finding.severity),
        "message": {"text": text},
        "locations": [{"physicalLocation": location}],
        "relatedLocations": related.collect::<Vec<_>>(),
        "partialFingerprints": {"tenantry/v1": print},
    });
    if let Some(fix) = one.fix.as_ref().and_then(sarif_fix) {
        result["fixes"] = json!([fix]);
    }
    result
}

/// Workflow commands of GitHub Actions, one line a finding.
#[must_use]
pub fn github(found: &[Diagnostic]) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut out = String::new();
    for one in found {
        let finding = Finding::from(one);
        let level = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let message = match &finding.help {
            Some(help) => format!("{}\nhelp: {help}", finding.message),
            None => finding.message.clone(),
        };
        let _ = writeln!(
            out,
            "::{level} file={},line={},endLine={},col={},endColumn={},title={}::{}",
            property(&finding.path),
            finding.line,
            finding.end_line,
            finding.column,
            finding.end_column,
            property(&format!("{} {}", finding.rule, finding.name)),
            data(&message)
        );
    }
    out
}

/// The code quality report of GitLab.
#[must_use]
pub fn gitlab(found: &[Diagnostic]) -> Value {
    Value::Array(
        found
            .iter()
            .zip(fingerprints(found))
            .map(|(one, print)| {
                let finding = Finding::from(one);
                let description = match &finding.help {
                    Some(help) => format!("{}; help: {help}", finding.message),
                    None => finding.message.clone(),
                };
                json!({
                    "description": description,
                    "check_name": format!("{} {}", finding.rule, finding.name),
                    "fingerprint": print,
                    "severity": match finding.severity { Severity::Error => "critical", Severity::Warning => "minor" },
                    "location": {"path": finding.path, "lines": {"begin": finding.line, "end": finding.end_line}},
                })
            })
            .collect(),
    )
}

/// JUnit XML: a suite a tenant, a case a finding, one passed case for a clean tenant.
#[must_use]
pub fn junit(found: &[Diagnostic], tenants: &[String]) -> String {
    let mut suites: BTreeMap<&str, Vec<&Diagnostic>> =
        tenants.iter().map(|name| (name.as_str(), Vec::new())).collect();
    for one in found {
        suites.entry(one.tenant.as_ref().map_or("platform", |tenant| tenant.as_str())).or_default().push(one);
    }
    let errors = |of: &[&Diagnostic]| of.iter().filter(|one| one.severity == Severity::Error).count();
    let mut out =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"tenantry validate\">\n");
    for (tenant, of) in suites {
        let name = xml(tenant);
        let _ = writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{}\" failures=\"{}\">",
            of.len().max(1),
            errors(&of)
        );
        if of.is_empty() {
            let _ = writeln!(out, "    <testcase classname=\"{name}\" name=\"clean\"/>");
        }
        for one in of {
            let finding = Finding::from(one);
            let place = xml(&format!("{}:{}:{}", finding.path, finding.line, finding.column));
            let title = xml(&format!("{} {}", finding.rule, finding.name));
            let text = xml(&match &finding.help {
                Some(help) => format!("{place}: {}\nhelp: {help}", finding.message),
                None => format!("{place}: {}", finding.message),
            });
            let _ = match finding.severity {
                Severity::Error => writeln!(
                    out,
                    "    <testcase classname=\"{name}\" name=\"{title} {place}\"><failure message=\"{}\">{text}</failure></testcase>",
                    xml(&finding.message)
                ),
                Severity::Warning => writeln!(
                    out,
                    "    <testcase classname=\"{name}\" name=\"{title} {place}\"><system-out>{text}</system-out></testcase>"
                ),
            };
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

/// One for each finding, all different, each the same while its line moves: rule, file, message, and which of several.
fn fingerprints(found: &[Diagnostic]) -> Vec<String> {
    let mut seen: BTreeMap<(&str, &str, &str), u32> = BTreeMap::new();
    let mut prints = Vec::with_capacity(found.len());
    for one in found {
        let Diagnostic { rule, at, message, .. } = one;
        let count = seen.entry((rule.id, at.path.as_str(), message.as_str())).or_default();
        *count += 1;
        let mut text = format!("{}\0{}\0{message}", rule.id, at.path);
        if *count > 1 {
            let _ = write!(text, "\0{count}");
        }
        prints.push(hex::encode(&Sha256::digest(text.as_bytes())[..16]));
    }
    prints
}

/// A relative URI reference: RFC 3986, section 2.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn xml(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '&' => "&amp;".to_owned(),
            '<' => "&lt;".to_owned(),
            '>' => "&gt;".to_owned(),
            '"' => "&quot;".to_owned(),
            '\n' | '\t' => c.to_string(),
            // XML 1.0 has no place for these.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => "\u{fffd}".to_owned(),
            c => c.to_string(),
        })
        .collect()
}
