//! `import crontab`, `new workflow --uses`, `promote` and `--pr`: what they write is valid, and what they cannot do
//! they say.

use super::workbench::Workbench;

const CRONTAB: &str = "\
# m h dom mon dow command
SHELL=/bin/bash
MAILTO=ops@x.example
REGION='eu west'

# Pulls the orders
0 2 * * MON-FRI /opt/shop/pull-orders.sh --day yesterday >> /var/log/orders.log 2>&1
@daily /usr/local/bin/report.py
@reboot /opt/start
CRON_TZ=Europe/Berlin
*/10 6-20 1,15 jan-mar * echo hi%first line%second line
0 3 * * * psql postgres://u:hunter2@db/x -c vacuum
0 2 * * 0 /opt/shop/pull-orders.sh --week
";

fn bench() -> Workbench {
    let bench = Workbench::with_acme();
    bench.git(&["config", "user.name", "bob"]);
    bench.git(&["config", "user.email", "bob@bench.example"]);
    bench.commit("begin");
    bench
}

impl Workbench {
    /// Runs a command on the repository.
    #[track_caller]
    fn on(&self, args: &[&str]) -> super::workbench::Done {
        let repo = self.repo();
        let mut all = args.to_vec();
        all.extend(["--repo", repo.to_str().unwrap()]);
        self.run(&all)
    }
    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.repo().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }
}

#[test]
fn a_crontab_becomes_workflows_that_are_valid() {
    let bench = bench();
    let file = bench.repo().join("../crontab");
    std::fs::write(&file, CRONTAB).unwrap();
    let file = file.to_str().unwrap();
    let done = bench.on(&["import", "crontab", file, "--tenant", "acme"]).ok();
    for says in
        ["`MAILTO` is left out", "`@reboot` has no equivalent", "line 12: left out", "`/var/log/orders.log`"]
    {
        assert!(done.err.contains(says), "{says}: {}", done.err);
    }
    assert!(!done.err.contains("hunter2"), "{}", done.err);
    // One warning is meant: 02:00 on a Sunday is a time that the clock skips.
    bench.on(&["validate"]).ok().says("0 errors, 1 warning");
    let orders = bench.read("tenants/acme/workflows/pull-orders.yaml");
    assert!(
        orders.contains("description: \"Pulls the orders\"") && orders.contains("\"0 2 * * MON-FRI\""),
        "{orders}"
    );
    assert!(bench.read("tenants/acme/workflows/pull-orders-2.yaml").contains("\"0 2 * * 0\""));
    assert!(bench.read("tenants/acme/workflows/echo.yaml").contains("timezone: Europe/Berlin"));
    let script = bench.read("tenants/acme/scripts/echo.sh");
    assert!(script.starts_with("#!/bin/bash\n") && script.contains("export REGION='eu west'"), "{script}");
    assert!(script.contains("{\necho hi\n} <<'INPUT'\nfirst line\nsecond line\nINPUT\n"), "{script}");
    let again = bench.on(&["import", "crontab", file, "--tenant", "acme"]).ok();
    assert!(again.out.contains("pull-orders-3.yaml"), "a second import overwrites nothing: {}", again.out);
    bench.on(&["validate"]).ok();
}

#[test]
fn a_crontab_that_gives_nothing_is_said() {
    let bench = bench();
    let file = bench.repo().join("../crontab");
    std::fs::write(&file, "@reboot x\n").unwrap();
    let path = file.to_str().unwrap();
    bench.on(&["import", "crontab", path, "--tenant", "acme"]).exits(1).says("nothing of this crontab");
    bench.on(&["import", "crontab", path, "--tenant", "globex"]).exits(1).says("tenantry new tenant globex");
    bench.on(&["import", "crontab", "/nowhere", "--tenant", "acme"]).exits(3);
    std::fs::write(&file, [0u8, 1, 2]).unwrap();
    bench.on(&["import", "crontab", path, "--tenant", "acme"]).exits(3).says("is no text");
}

const SHARED: &str = "inputs: { region: { type: string }, days: { type: int } }\nrun: pull.sh\n";

#[test]
fn a_shared_workflow_is_taken_up_by_every_tenant_that_is_meant() {
    let bench = bench();
    bench.write("shared/invoices/workflow.yaml", SHARED);
    bench.write("shared/invoices/pull.sh", "#!/bin/sh\ntrue\n");
    for (tenant, kind) in [("globex", "customer"), ("emea", "region")] {
        bench.write(&format!("tenants/{tenant}/tenant.yaml"), &format!("kind: {kind}\nowner: olga\n"));
        bench.write(&format!("tenants/{tenant}/roles.yaml"), "operator: [bob]\n");
    }
    let uses = ["new", "workflow", "invoices", "--uses", "shared/invoices"];
    let all = |more: &[&'static str]| [&uses[..], more].concat();
    bench.on(&uses).exits(2).says("choose by --tenants");
    bench.on(&all(&["--tenants", "colour=red"])).exits(2).says("kind, owner");
    bench.on(&all(&["--tenants", "kind=unit"])).exits(1).says("no tenant has");
    let done = bench.on(&all(&["--tenants", "kind=customer"])).ok();
    assert_eq!(done.out, "tenants/acme/workflows/invoices.yaml\ntenants/globex/workflows/invoices.yaml\n");
    let text = bench.read("tenants/acme/workflows/invoices.yaml");
    assert_eq!(
        text,
        "uses: shared/invoices\nwith:\n  region: \"\" # to be filled in\n  days: 0 # to be filled in\n"
    );
    bench.on(&["validate", "--deny-warnings"]).ok();
    bench.on(&all(&["--tenants", "kind=customer"])).ok().says("uses it already");
    bench
        .on(&["new", "workflow", "emea/bills", "--uses", "shared/nothing"])
        .exits(1)
        .says("there is shared/invoices");
    bench.write("shared/invoices/workflow.yaml", "run: pull.sh\nsecrets: [db_url]\n");
    bench
        .on(&["new", "workflow", "emea/bills", "--uses", "shared/invoices"])
        .exits(1)
        .says("nothing was written")
        .says("db_url");
    assert!(!bench.repo().join("tenants/emea/workflows/bills.yaml").exists());
}

#[test]
fn a_version_is_promoted_once_it_has_succeeded() {
    let bench = bench();
    bench.write("shared/invoices/workflow.yaml", "on: { commit: { first: true } }\nrun: pull.sh\n");
    bench.write("shared/invoices/pull.sh", "#!/bin/sh\nexit 1\n");
    bench.write("tenants/prod/tenant.yaml", "owner: olga\n");
    bench.write("tenants/prod/roles.yaml", "operator: [bob]\n");
    bench.write(
        "tenants/prod/workflows/bills.yaml",
        "# ours\nuses: shared/invoices # follows\non: { schedule: \"0 7 * * *\" }\n",
    );
    bench.write("tenants/acme/workflows/bills.yaml", "uses: shared/invoices\n");
    bench.commit("a version that fails");
    bench.reconcile();
    let promote = ["promote", "shared/invoices", "--from", "acme", "--to", "prod"];
    bench.on(&promote).exits(1).says("0 succeeded, 1 failed").says("nothing was changed");
    bench.write("shared/invoices/pull.sh", "#!/bin/sh\necho fine\n");
    let good = bench.commit("a version that works");
    bench.reconcile().ok();
    bench.write("README.md", "what follows changes nothing here\n");
    bench.commit("docs");
    bench.write("notes.txt", "mine\n");
    let done = bench.on(&[&promote[..], &["--pr"]].concat()).ok();
    assert!(done.err.contains("1 succeeded, 0 failed"), "{}", done.err);
    assert!(done.out.contains("branch tenantry/promote-invoices-prod"), "{}", done.out);
    assert_eq!(
        bench.read("tenants/prod/workflows/bills.yaml"),
        format!("# ours\nuses: shared/invoices@{good} # follows\non: {{ schedule: \"0 7 * * *\" }}\n")
    );
    bench.on(&["validate"]).ok();
    assert_eq!(bench.git(&["diff", "--name-only", "HEAD~1"]), "tenants/prod/workflows/bills.yaml");
    assert!(bench.git(&["log", "-1", "--format=%B"]).contains("1 succeeded, 0 failed"));
    assert_eq!(bench.git(&["status", "--porcelain"]), "?? notes.txt", "what lay around still does");
    bench.on(&promote).ok().says("pinned to it already");
    bench.on(&["promote", "shared/invoices", "--from", "prod", "--to", "prod"]).exits(2);
    bench
        .on(&["promote", "shared/other", "--from", "acme", "--to", "prod"])
        .exits(1)
        .says("no workflow of `acme` uses");
    bench.on(&["promote", "invoices", "--from", "acme", "--to", "prod"]).exits(2).says("shared/NAME");
}

#[test]
fn a_proposal_is_a_branch_with_one_commit_of_what_was_written() {
    let bench = bench();
    bench.write("lying.txt", "around\n");
    bench.git(&["add", "lying.txt"]);
    let done = bench.on(&["new", "workflow", "acme/billing", "--pr"]).ok();
    assert!(done.out.ends_with("branch tenantry/workflow-acme-billing\n"), "{}", done.out);
    let files = bench.git(&["diff", "--name-only", "HEAD~1", "HEAD"]);
    assert_eq!(files, "tenants/acme/scripts/billing.sh\ntenants/acme/workflows/billing.yaml");
    assert_eq!(bench.git(&["status", "--porcelain"]), "A  lying.txt");
}
