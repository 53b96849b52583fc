use super::*;
use crate::domain::{Location, Position, Related, RuleRef, Severity, Span};

const TEXT: &str = "name: sync\nsteps:\n  - id: load\n    needs: [fecth]\n";

fn place(line: usize, column: usize, offset: usize, length: usize) -> Span {
    Span {
        start: Position { offset, line, column },
        end: Position { offset: offset + length, line, column: column + length },
    }
}

fn finding(path: &str) -> Diagnostic {
    Diagnostic {
        rule: RuleRef { id: "W201", name: "unknown-needs" },
        severity: Severity::Error,
        tenant: Some("acme".parse().unwrap()),
        message: "step `load` needs an unknown step".into(),
        at: Location { path: path.into(), span: Some(place(4, 13, TEXT.find("fecth").unwrap(), 5)) },
        label: "no step has this id".into(),
        help: Some("steps of this workflow: load".into()),
        related: Vec::new(),
        fix: None,
    }
}

fn shown(found: &[Diagnostic]) -> String {
    human(found, &|_| Some(TEXT.to_owned()), false)
}

#[test]
fn a_finding_is_shown_where_it_stands() {
    insta::assert_snapshot!(shown(&[finding("tenants/acme/workflows/sync.yaml")]), @r"
    error[W201]: step `load` needs an unknown step
     --> tenants/acme/workflows/sync.yaml:4:13
      |
    4 |     needs: [fecth]
      |             ^^^^^ no step has this id
      |
      = help: steps of this workflow: load
    ");
}

#[test]
fn a_secret_file_is_named_and_never_shown() {
    for path in
        ["tenants/acme/secrets/key.v1.sops.yaml", "tenants/acme/scripts/id_ed25519", "platform/x.agekey"]
    {
        let shown = shown(&[finding(path)]);
        assert!(shown.contains(path) && !shown.contains("needs: ["), "{shown}");
    }
}

#[test]
fn a_place_out_of_the_text_is_named_only() {
    let mut one = finding("a.yaml");
    one.at.span = Some(place(900, 1, 9_000, 5));
    assert!(shown(&[one]).contains("a.yaml:900:1"));
}

#[test]
fn related_places_are_shown_too() {
    let mut one = finding("a.yaml");
    let at = Location { path: "a.yaml".into(), span: Some(place(1, 1, 0, 4)) };
    one.related.push(Related { at, message: "first here".into() });
    let shown = shown(&[one]);
    assert!(shown.contains("1 | name: sync") && shown.contains("first here"), "{shown}");
}

#[test]
fn annotations_escape_what_would_end_them() {
    let mut one = finding("a,b.yaml");
    one.message = "50% of\n::error::".into();
    let line = github(&[one]);
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("::error file=a%2Cb.yaml,line=4,"), "{line}");
    assert!(line.contains("50%25 of%0A"), "{line}");
}

#[test]
fn junit_counts_errors_and_clean_tenants() {
    let mut one = finding("a.yaml");
    one.message = "a <b> & \u{1}".into();
    let text = junit(&[one], &["acme".into(), "globex".into()]);
    assert!(text.contains("<testsuite name=\"acme\" tests=\"1\" failures=\"1\">"), "{text}");
    assert!(text.contains("<testcase classname=\"globex\" name=\"clean\"/>"), "{text}");
    assert!(text.contains("a &lt;b&gt; &amp; \u{fffd}"), "{text}");
}

#[test]
fn sarif_names_rule_place_and_fingerprint() {
    let document = sarif(&[finding("a b.yaml")], "0.1.0");
    let result = &document["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "W201");
    assert_eq!(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "a%20b.yaml");
    assert_eq!(result["locations"][0]["physicalLocation"]["region"]["startColumn"], 13);
    let mut moved = finding("a b.yaml");
    moved.at.span = Some(place(1, 1, 0, 4));
    assert_eq!(
        sarif(&[moved], "0.1.0")["runs"][0]["results"][0]["partialFingerprints"],
        result["partialFingerprints"]
    );
}

#[test]
fn every_finding_has_a_fingerprint_of_its_own() {
    let (one, mut other) = (finding("a.yaml"), finding("a.yaml"));
    other.at.span = Some(place(9, 1, 90, 4));
    let report = gitlab(&[one, other]);
    assert_ne!(report[0]["fingerprint"], report[1]["fingerprint"]);
}

#[test]
fn sarif_carries_fixes_and_what_a_rule_is_for() {
    let one = finding("a.yaml").fix(
        crate::domain::Safety::Suggested,
        "write `fetch`",
        place(4, 13, 40, 5),
        "fetch",
    );
    let document = sarif(&[one], "0.1.0");
    let change = &document["runs"][0]["results"][0]["fixes"][0]["artifactChanges"][0];
    assert_eq!(change["replacements"][0]["insertedContent"]["text"], "fetch");
    assert_eq!(change["replacements"][0]["deletedRegion"]["endColumn"], 18);
    let rule = &document["runs"][0]["tool"]["driver"]["rules"][0];
    assert_eq!(rule["shortDescription"]["text"], crate::desired::rules::UNKNOWN_NEEDS.what);
}
