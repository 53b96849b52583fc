//! `tenantry plan` and shared workflows, as a reviewer and a developer meet them.

use serde_json::Value;

use super::workbench::Workbench;

const SHARED: &str = "inputs: { region: { type: string, default: eu } }\nrun: pull.sh\n";

/// Two tenants that use one shared workflow, committed.
fn bench() -> Workbench {
    let bench = Workbench::with_acme();
    bench.write("tenants/globex/tenant.yaml", "owner: olga\n");
    bench.write("tenants/globex/roles.yaml", "operator: [bob]\n");
    bench.write("shared/invoices/workflow.yaml", SHARED);
    bench.write("shared/invoices/pull.sh", "#!/bin/sh\necho one\n");
    for tenant in ["acme", "globex"] {
        bench.write(&format!("tenants/{tenant}/workflows/invoices.yaml"), "uses: shared/invoices\n");
    }
    bench.commit("begin");
    bench
}

impl Workbench {
    /// The plan of a range, as JSON, whatever its exit code.
    #[track_caller]
    fn planned(&self, range: &[&str]) -> Value {
        let repo = self.repo();
        let mut args = vec!["plan", "--repo", repo.to_str().unwrap(), "--format", "json"];
        args.extend(range);
        let done = self.run(&args);
        assert!(matches!(done.code, 0 | 2), "{}\n{}", done.out, done.err);
        done.json()
    }
    #[track_caller]
    fn plan(&self, more: &[&str]) -> super::workbench::Done {
        let repo = self.repo();
        let mut args = vec!["plan", "--repo", repo.to_str().unwrap()];
        args.extend(more);
        self.run(&args)
    }
}

fn objects(plan: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or("all").to_owned();
    let changes = plan["changes"].as_array().unwrap().iter();
    changes.map(|c| format!("{} {} {}", text(&c["tenant"]), text(&c["op"]), text(&c["object"]))).collect()
}

#[test]
fn a_range_is_what_it_says() {
    let bench = bench();
    let first = bench.git(&["rev-parse", "HEAD"]);
    bench.write("tenants/acme/roles.yaml", "operator: [bob, alice]\n");
    let second = bench.commit("alice");
    bench.write("tenants/globex/roles.yaml", "operator: [bob, alice]\n");
    bench.plan(&[]).exits(2).says("alice gains operator on globex");
    assert_eq!(
        objects(&bench.planned(&[])),
        ["globex add operator user:alice"],
        "without a remote, from HEAD"
    );
    assert_eq!(objects(&bench.planned(&[&format!("{first}..HEAD")])), ["acme add operator user:alice"]);
    let both = bench.planned(&[&first]);
    assert_eq!(objects(&both), ["acme add operator user:alice", "globex add operator user:alice"]);
    assert_eq!((both["base"].as_str(), &both["head"]), (Some(first.as_str()), &Value::Null));
    assert_eq!(bench.planned(&[&format!("{second}..{second}")])["changes"], serde_json::json!([]));
    bench.plan(&["HEAD..HEAD"]).exits(0);
    bench.plan(&[&format!("{second}..{first}")]).exits(2).says("which this plan shows undone");
    assert_eq!(objects(&bench.planned(&[&format!("{second}...{first}")])), [""; 0]);
}

#[test]
fn a_wrong_range_says_what_is_wrong() {
    let bench = bench();
    bench.plan(&["nonsense..HEAD"]).exits(1).says("`nonsense` names no commit here");
    bench.plan(&["HEAD..nonsense"]).exits(1).says("`nonsense` names no commit here");
    bench.plan(&["..HEAD"]).exits(1).says("is no range such as main..HEAD");
    bench.plan(&["HEAD..HEAD..HEAD"]).exits(1).says("is no range");
    bench.plan(&["--format", "xml"]).exits(1);
    bench.plan(&["--fail-on", "nothing"]).exits(1);
    let clone = bench.data();
    let url = format!("file://{}", bench.repo().display());
    bench.write("tenants/acme/roles.yaml", "operator: [bob, alice]\n");
    bench.commit("more");
    bench.git(&["clone", "-q", "--depth", "1", &url, clone.to_str().unwrap()]);
    let clone = clone.to_str().unwrap();
    bench.run(&["plan", "HEAD~1..HEAD", "--repo", clone]).exits(1).says("git fetch --unshallow");
}

#[test]
fn the_default_begins_where_the_branch_left_the_remote() {
    let bench = bench();
    let clone = bench.data();
    bench.git(&["clone", "-q", bench.repo().to_str().unwrap(), clone.to_str().unwrap()]);
    let root = clone.to_str().unwrap().to_owned();
    std::fs::write(clone.join("tenants/acme/roles.yaml"), "operator: [bob, alice]\n").unwrap();
    bench.git(&["-C", &root, "commit", "-q", "-a", "-m", "alice"]);
    std::fs::write(clone.join("tenants/globex/roles.yaml"), "operator: [bob, alice]\n").unwrap();
    let plan = bench.run(&["plan", "--repo", &root, "--format", "json"]).exits(2).json();
    assert_eq!(objects(&plan), ["acme add operator user:alice", "globex add operator user:alice"]);
    bench.git(&["-C", &root, "remote", "set-head", "origin", "--delete"]);
    bench.run(&["plan", "--repo", &root]).exits(2).says("there is no `origin/HEAD`");
}

#[test]
fn exit_codes_are_those_that_scripts_rely_on() {
    let bench = bench();
    bench.plan(&[]).exits(0).says("0 changed");
    bench.plan(&["--fail-on", "none"]).exits(0);
    bench.write("tenants/acme/roles.yaml", "operator: [bob, alice]\n");
    for (fail_on, code) in
        [("access", 4), ("destructive", 0), ("blocked", 0), ("none", 0), ("destructive,access", 4)]
    {
        bench.plan(&["--fail-on", fail_on]).exits(code);
    }
    bench.write("tenants/acme/roles.yaml", "operator: [bob\n");
    bench.plan(&[]).exits(2).says("blocked: acme stays at");
    bench.plan(&["--fail-on", "blocked"]).exits(4);
    bench.plan(&["--fail-on", "access"]).exits(0);
    bench.write("tenants/acme/roles.yaml", "operator: [bob]\n");
    std::fs::remove_file(bench.repo().join("tenants/acme/workflows/invoices.yaml")).unwrap();
    bench.plan(&["--fail-on", "destructive"]).exits(4);
}

#[test]
fn what_binds_all_tenants_has_lines_too() {
    let bench = bench();
    bench.write(
        "platform/people.yaml",
        "users:\n  alice: {}\n  bob: {}\n  olga: {}\n  mallory: { email: m@x.example }\n",
    );
    bench.write("platform/roles.yaml", "admin: [alice, mallory]\n");
    let plan = bench.planned(&[]);
    assert_eq!(
        objects(&plan),
        ["all add platform/people.yaml: users.mallory", "all add platform/roles.yaml: admin mallory",]
    );
    assert_eq!(plan["changes"][0]["class"], "people");
    assert_eq!(plan["changes"][1]["class"], "platform");
    bench.plan(&[]).exits(2).says("mallory gains admin on the platform");
    bench.write("shared/invoices/pull.sh", "#!/bin/sh\necho two\n");
    let plan = bench.plan(&[]).exits(2).says("shared/invoices/pull.sh").says("-echo one").says("+echo two");
    assert!(plan.out.contains("2 tenants: same change (acme, globex)"), "{}", plan.out);
}

#[test]
fn a_blocked_platform_leaves_the_tenants_against_the_last_one() {
    let bench = bench();
    bench.write("tenantry.toml", "format = 1\nnonsense\n");
    bench.write("shared/invoices/pull.sh", "#!/bin/sh\necho two\n");
    bench.write("tenants/acme/roles.yaml", "operator: [bob, alice]\n");
    let plan = bench.planned(&[]);
    assert_eq!(plan["blocked"][0]["tenant"], Value::Null);
    assert_eq!(objects(&plan), ["acme add operator user:alice"], "`shared/` waits with the platform");
}

#[test]
fn a_pinned_workflow_stays_as_it_was() {
    let bench = bench();
    let good = bench.git(&["rev-parse", "HEAD"]);
    bench.write("shared/invoices/workflow.yaml", "run: other.sh\n");
    bench.write("shared/invoices/other.sh", "#!/bin/sh\necho other\n");
    bench.write("tenants/acme/workflows/invoices.yaml", &format!("uses: shared/invoices@{good}\n"));
    let repo = bench.repo();
    let repo = repo.to_str().unwrap();
    bench.run(&["validate", "--repo", repo]).ok();
    let plan = bench.planned(&[]);
    let acme: Vec<_> = objects(&plan).into_iter().filter(|line| line.starts_with("acme")).collect();
    assert_eq!(acme, ["acme change invoices.uses"], "{:#?}", objects(&plan));
    bench.commit("pin acme");
    bench.reconcile().ok();
    assert_eq!(bench.status("acme")["status"], "applied");
    for (uses, says) in [
        (format!("shared/invoices@{}", "1".repeat(40)), "is no commit that comes before this one"),
        (format!("shared/nothing@{good}"), "there was no shared workflow `nothing`"),
        ("shared/invoices@main".to_owned(), "is no full commit id"),
    ] {
        bench.write("tenants/acme/workflows/invoices.yaml", &format!("uses: {uses}\n"));
        bench.run(&["validate", "--repo", repo]).exits(1).says(says);
        bench.commit("a wrong pin");
        bench.reconcile();
        assert_eq!(bench.status("acme")["status"], "invalid", "{uses}");
    }
    bench.git(&["checkout", "-q", "-b", "side", &good]);
    bench.write("shared/invoices/pull.sh", "#!/bin/sh\necho side\n");
    let side = bench.commit("beside");
    bench.git(&["checkout", "-q", "main"]);
    bench.write("tenants/acme/workflows/invoices.yaml", &format!("uses: shared/invoices@{side}\n"));
    bench.run(&["validate", "--repo", repo]).exits(1).says("comes before this one");
}

#[test]
fn a_mistake_in_a_shared_workflow_is_its_authors_and_each_users() {
    let bench = bench();
    bench.write("shared/invoices/workflow.yaml", "run: gone.sh\nsecrets: [db_url]\n");
    let repo = bench.repo();
    let done = bench.run(&["validate", "--repo", repo.to_str().unwrap(), "--format", "json"]).exits(1);
    let findings = done.json()["findings"].as_array().unwrap().clone();
    for tenant in ["acme", "globex"] {
        let of: Vec<_> =
            findings.iter().filter(|f| f["tenant"] == tenant).map(|f| f["path"].as_str().unwrap()).collect();
        assert!(of.contains(&"shared/invoices/workflow.yaml"), "{tenant}: {of:?}");
        assert!(
            of.contains(&format!("tenants/{tenant}/workflows/invoices.yaml").as_str()),
            "{tenant}: {of:?}"
        );
    }
    let good = bench.git(&["rev-parse", "HEAD"]);
    bench.reconcile().ok();
    bench.commit("a change that needs more");
    bench.reconcile();
    let status = bench.status("acme");
    assert_eq!(
        (status["status"].as_str(), status["last_applied_commit"].as_str()),
        (Some("invalid"), Some(good.as_str()))
    );
}

#[test]
fn text_of_the_repository_steers_neither_terminal_nor_forge() {
    let bench = bench();
    let evil = "#!/bin/sh\n# \u{1b}[2J\u{202e} ````\n# @everyone <img src=x onerror=alert(1)> [x](https://evil.example) <!-- -->\n";
    bench.write("tenants/acme/scripts/evil.sh", evil);
    bench.write(
        "tenants/acme/workflows/evil.yaml",
        "description: \"@everyone **x** `y`\"\nrun: scripts/evil.sh\nargs: [\"</details>\"]\n",
    );
    bench.commit("evil");
    bench.write("tenants/acme/scripts/evil.sh", &format!("{evil}```\n"));
    bench.write(
        "tenants/acme/workflows/evil.yaml",
        "description: \"@here\\n```\\n@all\"\nrun: scripts/evil.sh\n",
    );
    let human = bench.plan(&[]).exits(2);
    assert!(!human.out.contains(['\u{1b}', '\u{202e}']), "{}", human.out);
    let markdown = bench.plan(&["--format", "markdown"]).exits(2).out;
    assert!(markdown.starts_with("<!-- tenantry-plan -->\n### tenantry plan\n"), "{markdown}");
    let fence = markdown.lines().find(|line| line.ends_with("`diff")).unwrap().trim_end_matches("diff");
    let mut inside = false;
    for line in markdown.lines() {
        if line.trim_end_matches("diff") == fence {
            inside = !inside;
        } else if !inside {
            assert!(!line.contains(['@', '[']) && !line.contains("img"), "outside of a fence: {line}");
        }
    }
    assert!(!inside);
}
