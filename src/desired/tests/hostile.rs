//! Files that nobody would write: whatever they hold, reading ends with findings.

use proptest::prelude::*;

use crate::desired::fixture::{platform_tree, read, tenant_tree};
use crate::desired::read_platform;

const WORKFLOW: &str = "on:\n  commit: { paths: [scripts/*], first: true }\n  schedule: [{ cron: \"0 2 * * *\", timezone: UTC }]\n\
    inputs:\n  day: { type: string, default: \"${{ day(trigger.time, -1) }}\" }\nconcurrency: { key: \"${{ inputs.day }}\", limit: 1 }\n\
    timeout: 30m\nsteps:\n  a: { run: scripts/a.sh, outputs: { n: int }, secrets: [x, { name: y, env: Z }] }\n  \
    b: { needs: a, if: \"steps.a.outputs.n > 0\", for_each: \"${{ steps.a.outputs.n }}\", script: echo }\non_failure: { run: scripts/a.sh }\n";
const PIECES: [&str; 24] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    "- ",
    "\n",
    "  ",
    "\"",
    "'",
    "&a ",
    "*a",
    "!!str ",
    "${{ ",
    " }}",
    "|",
    ">",
    "#",
    "needs",
    "uses: shared/x",
    "9",
    "\u{202e}",
    "é",
    "steps",
];
const FILES: [&str; 5] = ["tenant.yaml", "roles.yaml", "secrets.yaml", "workflows/sync.yaml", "scripts/a.sh"];

fn mutated() -> impl Strategy<Value = String> {
    let edit = (any::<prop::sample::Index>(), 0usize..6, prop::sample::select(&PIECES[..]));
    prop::collection::vec(edit, 0..8).prop_map(|edits| {
        let mut text: Vec<char> = WORKFLOW.chars().collect();
        for (at, remove, insert) in edits {
            let at = at.index(text.len() + 1).min(text.len());
            let end = (at + remove).min(text.len());
            text.splice(at..end, insert.chars());
        }
        text.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// A state or an error, never neither, never both; every span lies in its file.
    #[test]
    fn any_text_is_a_state_or_an_error(text in mutated(), file in prop::sample::select(&FILES[..])) {
        let tree = tenant_tree(&[(file, &text)]);
        let (state, found) = read(&tree, &[("shared/x/workflow.yaml", &text)]);
        let broken = found.iter().any(|finding| finding.severity == crate::domain::Severity::Error);
        prop_assert_eq!(state.is_none(), broken);
        for finding in &found {
            let Some(span) = finding.at.span else { continue };
            let entry = tree.get(&finding.at.path).cloned();
            let length = entry.map_or(text.len(), |entry| usize::try_from(entry.size).unwrap());
            prop_assert!(span.start.offset <= span.end.offset && span.end.offset <= length, "{:?}", finding);
        }
    }

    #[test]
    fn any_platform_file_is_read_or_refused(text in mutated(), file in prop::sample::select(vec!["tenantry.toml", "platform/people.yaml", "platform/roles.yaml"])) {
        let (platform, found) = read_platform(&platform_tree(&[(file, &text)]));
        prop_assert_eq!(platform.is_none(), found.iter().any(|finding| finding.severity == crate::domain::Severity::Error));
    }
}

#[test]
fn what_is_large_is_read_in_time() {
    let steps: String = (0..200).map(|step| format!("  s{step}: {{ needs: [], script: echo }}\n")).collect();
    let (state, found) = read(&tenant_tree(&[("workflows/sync.yaml", &format!("steps:\n{steps}"))]), &[]);
    assert_eq!((found.len(), state.is_some()), (0, true));
    let (state, found) = read(
        &tenant_tree(&[("workflows/sync.yaml", &format!("steps:\n{steps}  more: {{ script: echo }}\n"))]),
        &[],
    );
    assert_eq!((found.len(), found[0].rule.id, state), (1, "S108", None));
    let unknown: String = (0..5_000).map(|field| format!("field{field}: x\n")).collect();
    let (_, found) = read(&tenant_tree(&[("workflows/sync.yaml", &unknown)]), &[]);
    assert!(found.len() <= 1_000, "{} findings", found.len());
}
