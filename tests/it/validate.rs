//! `validate`, `explain` and `schema`, on real repositories; and that everything generated is current.

use std::path::{Path, PathBuf};
use std::process::Command;

use tenantry::desired::{rules, schema};
use tenantry::yaml::{CoreType, Kind, Node};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A copy of the example repository, outside Git.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let status = Command::new("cp")
            .arg("-r")
            .arg(root().join("example-repo/."))
            .arg(place.0.path())
            .status()
            .unwrap();
        assert!(status.success());
        place
    }
    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    fn replace(&self, path: &str, old: &str, new: &str) {
        let text = std::fs::read_to_string(self.0.path().join(path)).unwrap();
        assert!(text.contains(old), "{path} has no {old:?}");
        self.write(path, text.replace(old, new));
    }
    fn run(&self, args: &[&str]) -> (i32, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_tenantry"))
            .args(args)
            .current_dir(self.0.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.0.path().join(".none"))
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }
    /// The rules that are found, each with its path.
    #[track_caller]
    fn found(&self) -> Vec<String> {
        let (code, out, err) = self.run(&["validate", "--format", "json"]);
        assert!(code == 0 || code == 1, "{code}: {err}");
        let document: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(document["schema"], "tenantry.validate/1");
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        document["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| format!("{} {}", text(&finding["rule"]), text(&finding["path"])))
            .collect()
    }
}

#[test]
fn the_example_repository_has_no_finding() {
    let place = Place::new();
    let (code, out, err) = place.run(&["validate", "--deny-warnings"]);
    assert_eq!((code, out.as_str()), (0, ""), "{err}");
    assert!(err.starts_with("checked the platform and 3 tenants: 0 errors"), "{err}");
}

#[test]
fn a_mistake_is_shown_where_it_is() {
    let place = Place::new();
    place.replace("tenants/acme/workflows/orders-import.yaml", "needs: fetch", "needs: fecth");
    let (code, out, _) = place.run(&["validate"]);
    assert_eq!(code, 1);
    assert!(out.contains("error[W201]: step `customers` needs an unknown step"), "{out}");
    assert!(out.contains("= help: did you mean `fetch`?"), "{out}");
    let (code, out, _) = place.run(&["validate", "--format", "sarif"]);
    assert_eq!(code, 1);
    let sarif: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(sarif["runs"][0]["results"][0]["ruleId"], "W201");
    let (code, _, _) = place.run(&["validate", "--tenant", "finance"]);
    assert_eq!(code, 0, "another tenant is in order");
}

#[test]
fn checking_nothing_is_no_success() {
    let place = Place(tempfile::tempdir().unwrap());
    assert_eq!(place.run(&["validate"]).0, 3);
    assert_eq!(Place::new().run(&["validate", "--tenant", "nobody"]).0, 3);
    assert_eq!(Place::new().run(&["validate", "--rev", "nothing"]).0, 3);
    assert_eq!(Place::new().run(&["validate", "--format", "xml"]).0, 2);
}

/// Most of them are nobody's business: files beside `tenants/`, and data beside scripts.
#[test]
fn a_repository_of_a_hundred_thousand_files_is_checked_like_any() {
    let place = Place::new();
    let mut stream =
        String::from("commit refs/heads/main\ncommitter t <t@localhost> 1764000000 +0000\ndata 1\nx\n");
    let mut file = |path: &str, text: &str| {
        stream.push_str(&format!("M 100644 inline {path}\ndata {}\n{text}\n", text.len()));
    };
    file("tenantry.toml", &std::fs::read_to_string(place.0.path().join("tenantry.toml")).unwrap());
    for name in ["people", "roles"] {
        let path = format!("platform/{name}.yaml");
        file(&path, &std::fs::read_to_string(place.0.path().join(&path)).unwrap());
    }
    for number in 0..60_000 {
        file(&format!("assets/{}/{number}.txt", number % 97), "nobody reads this\n");
    }
    for tenant in 0..40 {
        let tenant = format!("tenants/t{tenant}");
        file(&format!("{tenant}/tenant.yaml"), "owner: alice\n");
        file(&format!("{tenant}/roles.yaml"), "operator: [alice]\n");
        for number in 0..1_000 {
            file(&format!("{tenant}/scripts/data/{number}.csv"), "a,b\n");
        }
    }
    file("tenants/t7/workflows/bad.yaml", "run: scripts/missing.sh\n");
    let git = |args: &[&str]| {
        let mut command = Command::new("git");
        command.arg("-C").arg(place.0.path()).args(args).stdin(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    assert!(git(&["init", "--quiet", "--initial-branch", "main"]).wait().unwrap().success());
    let mut import = git(&["fast-import", "--quiet"]);
    std::io::Write::write_all(&mut import.stdin.take().unwrap(), stream.as_bytes()).unwrap();
    assert!(import.wait().unwrap().success());
    let (code, out, err) = place.run(&["validate", "--rev", "main", "--format", "json"]);
    assert_eq!(code, 1, "{err}");
    let document: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(document["tenants"]["clean"], 39, "{document:#}");
    assert_eq!(document["findings"].as_array().unwrap().len(), 1, "{document:#}");
}

#[test]
fn bad_input_is_one_finding_and_stops_nobody_else() {
    #[track_caller]
    fn check(path: &str, bytes: &[u8], want: &str) {
        let place = Place::new();
        place.write(path, bytes);
        let found = place.found();
        assert_eq!(found, [format!("{want} {path}")], "{} bytes at {path}", bytes.len());
        let (_, out, _) = place.run(&["validate", "--format", "json"]);
        let document: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(document["tenants"]["clean"], 2, "the other tenants are in order");
    }
    let workflow = "tenants/acme/workflows/bad.yaml";
    check(workflow, b"steps: [a, b", "Y001");
    check(workflow, "[".repeat(100_000).as_bytes(), "Y014");
    check(workflow, b"run: caf\xe9\n", "Y009");
    check(workflow, "a: 1\n".repeat(10 << 20).as_bytes(), "Y013");
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let alias = format!("*a{}, ", level - 1).repeat(9);
        bomb.push_str(&format!("a{level}: &a{level} [{alias}]\n"));
    }
    check(workflow, bomb.as_bytes(), "Y018");
    check("tenants/acme/workflows/bad.yml", b"run: scripts/publish.sh\n", "Y016");
    check("tenants/acme/workflow/bad.yaml", b"run: scripts/publish.sh\n", "Y017");
}

#[test]
fn links_and_names_that_are_no_text_are_findings() {
    use std::os::unix::ffi::OsStrExt as _;
    let place = Place::new();
    let scripts = place.0.path().join("tenants/acme/scripts");
    std::os::unix::fs::symlink("/etc/passwd", scripts.join("link.sh")).unwrap();
    assert_eq!(place.found(), ["G507 tenants/acme/scripts/link.sh"]);
    let place = Place::new();
    let scripts = place.0.path().join("tenants/acme/scripts");
    std::fs::write(scripts.join(std::ffi::OsStr::from_bytes(b"caf\xe9.sh")), "x").unwrap();
    assert_eq!(place.found(), ["G506 tenants/acme/scripts/caf\\xe9.sh"]);
}

#[test]
fn a_private_key_is_found_and_never_shown() {
    let place = Place::new();
    let canary = "Q".repeat(58);
    place.write("tenants/acme/scripts/data/key.txt", format!("AGE-SECRET-KEY-1{canary}\n"));
    place.write("tenants/acme/workflows/bad.yaml", format!("# AGE-SECRET-KEY-1{canary}\nrun: [1]\n"));
    for format in ["human", "json", "sarif", "github", "gitlab", "junit"] {
        let (code, out, err) = place.run(&["validate", "--format", format]);
        assert_eq!(code, 1, "{err}");
        assert!(out.contains("K313") && !out.contains("QQQQ") && !err.contains("QQQQ"), "{format}: {out}");
    }
}

#[test]
fn explain_prints_the_page() {
    let place = Place(tempfile::tempdir().unwrap());
    let (code, out, _) = place.run(&["explain", "w201"]);
    assert_eq!((code, out.trim_end()), (0, rules::UNKNOWN_NEEDS.page().trim_end()));
    assert_eq!(place.run(&["explain", "W999"]).0, 2);
    let (code, out, _) = place.run(&["explain"]);
    assert_eq!(code, 0);
    assert_eq!(out.lines().count(), rules::all().count() + 1);
}

/// Compares a generated file with what it should be, or writes it where `UPDATE_GENERATED` is set.
fn current(path: &Path, want: &str, stale: &mut Vec<String>) {
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, want).unwrap();
    } else if std::fs::read_to_string(path).ok().as_deref() != Some(want) {
        stale.push(path.display().to_string());
    }
}

#[test]
fn the_schemas_are_current() {
    let mut stale = Vec::new();
    for schema in schema::ALL {
        current(&root().join("schemas").join(schema.file()), &schema.text(), &mut stale);
    }
    assert_eq!(stale, [""; 0], "run the tests with UPDATE_GENERATED=1");
}

/// The value that an editor's YAML reader hands to a schema.
fn value(node: &Node) -> serde_json::Value {
    match &node.kind {
        Kind::Sequence(items) => items.iter().map(value).collect(),
        Kind::Mapping(entries) => {
            entries.iter().map(|(key, item)| (key.scalar().unwrap().to_owned(), value(item))).collect()
        }
        Kind::Scalar { text, .. } => match node.core_type().unwrap() {
            CoreType::Null => serde_json::Value::Null,
            CoreType::Bool => (text == "true").into(),
            CoreType::Int => text.parse::<i64>().unwrap().into(),
            CoreType::Float => text.parse::<f64>().unwrap().into(),
            CoreType::String => text.as_str().into(),
        },
    }
}

fn check_schema(name: &str, value: &serde_json::Value) -> bool {
    let schema = schema::ALL.iter().find(|schema| schema.name == name).unwrap();
    jsonschema::validator_for(&schema.document()).unwrap().is_valid(value)
}

fn read_yaml(text: &str) -> serde_json::Value {
    value(&tenantry::yaml::parse(text.as_bytes(), &tenantry::yaml::Budget::default()).unwrap()[0].root)
}

#[test]
fn the_example_repository_fits_its_schemas() {
    let example = root().join("example-repo");
    let mut seen = 0;
    let mut check = |name: &str, path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(check_schema(name, &read_yaml(&text)), "{} does not fit `{name}`", path.display());
        seen += 1;
    };
    check("people", example.join("platform/people.yaml"));
    check("platform-roles", example.join("platform/roles.yaml"));
    for tenant in ["acme", "finance", "emea"] {
        let directory = example.join("tenants").join(tenant);
        for name in ["tenant", "roles", "secrets"] {
            check(name, directory.join(format!("{name}.yaml")));
        }
        for workflow in std::fs::read_dir(directory.join("workflows")).unwrap() {
            check("workflow", workflow.unwrap().path());
        }
    }
    assert!(seen > 15, "only {seen} files");
}

#[test]
fn a_schema_refuses_what_the_decoder_refuses() {
    for (name, text) in [
        ("workflow", "run: scripts/a.sh\ntimout: 5m\n"),
        ("workflow", "run: scripts/a.sh\ntimeout: 5\n"),
        ("workflow", "on: comit\nrun: scripts/a.sh\n"),
        ("tenant", "kind: customer\n"),
        ("tenant", "owner: alice\nisolation: strong\n"),
        ("roles", "reader: [bob]\n"),
        ("secrets", "secrets: { a: { versions: [{ id: v1 }] } }\n"),
        ("people", "users: { Alice: {} }\n"),
    ] {
        assert!(!check_schema(name, &read_yaml(text)), "{name}: {text}");
    }
}

#[test]
fn the_full_workflow_of_the_manual_fits_its_schema() {
    let text = "\
on:
  commit: { paths: [scripts/pull.py], first: false, each: false }
  schedule: [{ cron: \"0 2 * * *\", timezone: Europe/Berlin, catch_up: one, overlap: skip }]
  webhook: { secret: hook_hmac }
  manual: {}
inputs:
  day: { type: string, format: date, default: \"${{ day(trigger.time, -1) }}\" }
files: [scripts/pull.py, scripts/lib/**]
concurrency: { key: \"${{ inputs.day }}\", limit: 1, on_limit: queue }
timeout: 30m
alert: page
expect: { success_within: 26h }
replay_safe: true
steps:
  pull:
    run: scripts/pull.py
    secrets: [stripe_api_key, { name: db_url, env: DATABASE_URL }]
    with: { day: \"${{ inputs.day }}\" }
    network: [api.stripe.com:443]
    resources: { memory: 256MiB, cpu: 1, pids: 64, disk: 256MiB }
    retry: { attempts: 3, backoff: 10s, max: 2m, jitter: true, on: [failure, error, timed_out] }
    outputs: { count: int, customers: list }
  check:
    if: \"steps.pull.outputs.count > 0\"
    approval: { from: [operator], count: 1, timeout: 24h, on_timeout: reject }
  load:
    for_each: \"${{ steps.pull.outputs.customers }}\"
    item_key: \"${{ item.id }}\"
    max_parallel: 4
    needs: pull
    run: scripts/load.sh
on_failure: { run: scripts/tell.sh }
";
    assert!(check_schema("workflow", &read_yaml(text)));
}
