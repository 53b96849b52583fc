//! A workflow in a root file system of its own: with a real daemon, which gets it while it runs.

use super::sandbox::runtimes::root_file_system;
use super::workbench::Workbench;

#[test]
fn a_runtime_that_comes_while_the_daemon_runs_is_found_and_recorded() {
    let Some(tree) = root_file_system(false) else { return };
    let bench = Workbench::with_acme();
    let digest = bench.run(&["runtime", "digest", tree.path().to_str().unwrap()]).ok().out.trim().to_owned();
    let (repo, data) = (bench.repo(), bench.data());
    let (repo, data) = (repo.to_str().unwrap(), data.to_str().unwrap());
    bench.commit("a tenant");
    bench.run(&["server", "init", "--repo", repo, "--data", data]).ok();
    bench.secret("acme/token", "a value of its own");
    let steps = "steps:\n  main:\n    script: cat /etc/os-release; tenantry-secret get token | wc -c; tenantry-output seen yes\n    secrets: [token]\n    outputs: { seen: string }\n";
    bench.write("tenants/acme/workflows/own.yaml", &format!("on: commit\nruntime: {digest}\n{steps}"));
    let first = bench.commit("a workflow with a system of its own");
    let _daemon = bench.serve();
    bench.until_applied("acme", &first);
    let run = || {
        let run = bench.run(&["start", "acme/own", "--as", "bob"]).ok().out.trim().to_owned();
        let said = bench.run(&["logs", &run, "--follow", "--as", "bob"]).ok().out;
        (bench.run(&["show", &run, "--as", "bob", "--format", "json"]).ok().json(), run, said)
    };

    let (record, ..) = run();
    assert_eq!(record["run"]["outcome"], "error", "{record:#}");
    let why = record["run"]["steps"][0]["reason"].as_str().unwrap();
    assert!(why.contains("is not on this worker: `tenantry runtime add` puts it into"), "{why}");
    let opened = record["run"]["secrets_used"].as_array().unwrap();
    assert!(opened.is_empty(), "its secrets are not opened: {record:#}");

    let added = bench.run(&["runtime", "add", tree.path().to_str().unwrap(), "--data", data]).ok();
    assert_eq!(added.out.trim(), digest);
    let (record, id, said) = run();
    assert_eq!(record["run"]["outcome"], "success", "{record:#}");
    assert_eq!(record["run"]["runtime"], digest.as_str(), "{record:#}");
    assert!(said.contains("NAME=\"Bench\"") && said.contains("18"), "{said}");
    bench.run(&["show", &id, "--as", "bob"]).ok().says(&digest);

    // Another runtime is another thing to do: the plan says so, and what was run keeps its own.
    let other = format!("sha256:{}", "7".repeat(64));
    bench.write("tenants/acme/workflows/own.yaml", &format!("on: commit\nruntime: {other}\n{steps}"));
    let plan = bench.run(&["plan", "--repo", repo]).exits(2);
    assert!(plan.out.contains("runtime") && plan.out.contains(&other[..20]), "{}", plan.out);
}
