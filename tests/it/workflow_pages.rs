//! `docs/workflows.md`: every example is valid, those that are said to run do, and every field of the format stands there.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::workbench::Workbench;

/// One example: the words behind `yaml`, and its text.
fn examples(page: &str) -> Vec<(Vec<&str>, &str)> {
    page.split("```yaml")
        .skip(1)
        .map(|rest| {
            let (words, text) = rest.split_once('\n').unwrap();
            (words.split_whitespace().collect(), text.split("```").next().unwrap())
        })
        .collect()
}

/// What stands behind `#>`.
fn promised(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.split_once("#>")).map(|(_, text)| text.trim()).collect()
}

fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/workflows.md")).unwrap()
}

fn bench() -> Workbench {
    let bench = Workbench::with_acme();
    bench.write(
        "tenants/acme/tenant.yaml",
        "owner: olga\negress: [api.stripe.com:443, db.acme.example:5432]\n",
    );
    bench.write("platform/people.yaml", "users: { alice: {}, bob: {}, olga: {} }\ngroups: { ops: [bob] }\n");
    bench.write("tenants/acme/scripts/pull.sh", "#!/bin/sh\necho pulled\n");
    bench.write("tenants/acme/scripts/load.sh", "#!/bin/sh\necho loaded\n");
    bench.write("tenants/acme/scripts/tell.sh", "#!/bin/sh\necho somebody is told\n");
    bench.write("tenants/acme/scripts/lib/dates.sh", "# nothing\n");
    bench.write(
        "shared/greeting/workflow.yaml",
        "inputs:\n  name: {}\nsteps:\n  greet:\n    run: greet.sh\n    secrets: [{ name: url, env: URL }]\n",
    );
    bench.write("shared/greeting/greet.sh", "#!/bin/sh\necho \"greets $INPUT_NAME with $URL\"\n");
    for secret in ["acme/db_url", "acme/stripe_api_key", "acme/hook_hmac"] {
        bench.secret(secret, &format!("the value of {secret}"));
    }
    let index = std::fs::read_to_string(bench.repo().join("tenants/acme/secrets.yaml")).unwrap();
    let index = index.replacen("  hook_hmac:\n", "  hook_hmac:\n    use: [webhook]\n", 1);
    bench.write("tenants/acme/secrets.yaml", &index);
    bench
}

#[test]
fn every_example_is_what_the_page_says() {
    let page = page();
    let examples = examples(&page);
    assert!(examples.len() > 25, "the page has {} examples", examples.len());
    let bench = bench();
    let repo = bench.repo();
    let repo = repo.to_str().unwrap();
    let identity = bench.data().join("identities/acme.txt");
    let shelf = super::sandbox::runtimes::Shelf::new(false);
    for (words, text) in examples {
        // The page cannot know the digest of what is here; what stands there is no runtime's.
        let text = &match &shelf {
            Some(shelf) => text.replace(&format!("sha256:{}", "0".repeat(64)), shelf.digest.as_str()),
            None if text.contains("runtime:") => continue,
            None => text.to_owned(),
        };
        bench.write("tenants/acme/workflows/example.yaml", text);
        let validate = bench.run(&["validate", "--repo", repo, "--tenant", "acme"]);
        assert_eq!(validate.code, 0, "{text}\n{}{}", validate.out, validate.err);
        let mut more = Vec::new();
        let code = match words.as_slice() {
            [] => continue,
            ["run"] => 0,
            ["run", "fails"] => 1,
            ["run", word] if word.starts_with("approve=") => {
                more.extend(["--approve", word.strip_prefix("approve=").unwrap()]);
                0
            }
            other => panic!("nobody knows {other:?}"),
        };
        let mut run = bench.tenantry(&["run", "acme/example", "--repo", repo]);
        run.args(more);
        if let Some(shelf) = &shelf {
            run.arg("--runtimes").arg(shelf.directory.path());
        }
        let output = run.env("SOPS_AGE_KEY_FILE", &identity).output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if said.contains("steps are refused on this machine") {
            println!("missing: user namespaces, to run the examples");
            continue;
        }
        assert_eq!(output.status.code(), Some(code), "{text}\n{said}");
        let promises = promised(text);
        assert!(!promises.is_empty(), "an example that runs shows something: {text}");
        for promise in promises {
            assert!(said.contains(promise), "no {promise:?} in\n{said}\nof\n{text}");
        }
    }
}

/// Names of all properties of a schema.
fn fields(schema: &Value, into: &mut BTreeSet<String>) {
    match schema {
        Value::Object(map) => {
            if let Some(properties) = map.get("properties").and_then(Value::as_object) {
                into.extend(properties.keys().cloned());
            }
            map.values().for_each(|value| fields(value, into));
        }
        Value::Array(list) => list.iter().for_each(|value| fields(value, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn no_field_of_the_format_is_left_out() {
    let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/workflow.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(schema).unwrap()).unwrap();
    let mut all = BTreeSet::new();
    fields(&schema, &mut all);
    assert!(all.len() > 30, "{all:?}");
    let page = page();
    let examples: String = examples(&page).into_iter().map(|(_, text)| text).collect();
    let shown = |field: &str| examples.contains(&format!("{field}:")) || page.contains(&format!("`{field}`"));
    let missing: Vec<_> = all.iter().filter(|field| !shown(field)).collect();
    assert!(missing.is_empty(), "the page does not show {missing:?}");
    assert!(!shown("frobnicate"));
}

#[test]
fn the_reader_of_examples_finds_them() {
    let page = "```yaml\na: 1\n```\ntext\n```yaml run fails\nb: 2   #> two\n```\n";
    let examples = examples(page);
    assert_eq!(examples, [(vec![], "a: 1\n"), (vec!["run", "fails"], "b: 2   #> two\n")]);
    assert_eq!(promised(examples[1].1), ["two"]);
}
