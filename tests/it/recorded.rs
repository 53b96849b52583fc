//! `docs/pull-request.md` is what the commands print: it is made by running them, and compared with what they give.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::workbench::{Done, Workbench};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The page while it is written.
struct Page(String);

impl Page {
    fn say(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push_str("\n\n");
    }
    fn block(&mut self, text: &str) {
        self.0.push_str(&format!("~~~~text\n{}\n~~~~\n\n", text.trim_end()));
    }
    /// A command, both streams as a terminal shows them, and how it ended.
    fn command(&mut self, line: &str, done: &Done) {
        let shown = format!("$ {line}\n{}{}", done.out, done.err);
        self.block(&format!("{}\n(exit code {})", shown.trim_end(), done.code));
    }
}

fn replace(bench: &Workbench, path: &str, old: &str, new: &str) {
    let path = bench.repo().join(path);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{} has no {old:?}", path.display());
    std::fs::write(&path, text.replace(old, new)).unwrap();
}

/// Commits at a fixed time, so that the same files have the same id on every machine.
fn commit(bench: &Workbench, subject: &str, at: &str) {
    bench.git(&["add", "-A"]);
    let status = Command::new("git")
        .current_dir(bench.repo())
        .args(["commit", "-q", "-m", subject])
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_SYSTEM", "/dev/null")
        .envs([("GIT_AUTHOR_NAME", "Dan"), ("GIT_AUTHOR_EMAIL", "dan@northwind.example")])
        .envs([("GIT_COMMITTER_NAME", "Dan"), ("GIT_COMMITTER_EMAIL", "dan@northwind.example")])
        .envs([("GIT_AUTHOR_DATE", at), ("GIT_COMMITTER_DATE", at)])
        .status()
        .unwrap();
    assert!(status.success());
}

fn recorded() -> String {
    let bench = Workbench::new();
    let example = root().join("example-repo/.");
    assert!(Command::new("cp").arg("-r").arg(example).arg(bench.repo()).status().unwrap().success());
    commit(&bench, "as it stands", "2026-11-23T09:00:00Z");
    let repo = bench.repo();
    let run = |args: &[&str]| bench.run(&[args, &["--repo", repo.to_str().unwrap()]].concat());
    let mut page = Page(String::new());
    page.say("# A pull request, recorded");
    page.say(
        "Dan moves Acme's nightly load an hour later, adds a report, and asks that Erin may operate Acme. The repository is \
         [`example-repo/`](../example-repo/README.md). What stands here is what the commands print: \
         [`tests/it/recorded.rs`](../tests/it/recorded.rs) runs them again and compares, and \
         `UPDATE_GENERATED=1 cargo test --test it recorded::` writes this page anew.",
    );
    page.say("## What Dan changes");
    replace(&bench, "tenants/acme/workflows/warehouse-load.yaml", "40 4 * * *", "40 5 * * *");
    replace(
        &bench,
        "tenants/acme/roles.yaml",
        "operator: [group:acme-ops]",
        "operator: [group:acme-ops, erin]",
    );
    bench.write(
        "tenants/acme/workflows/report.yaml",
        "description: Tell sales what came in\n\
         on: { schedule: \"30 7 * * 1-5\" }\n\
         steps:\n\
         \x20 count:\n    run: scripts/count-customers.sh\n    outputs: { customers: int }\n\
         \x20 tell:\n    needs: cuont\n    secrets: [shop_token]\n    run: scripts/publish.sh\n",
    );
    bench.git(&["add", "-A"]);
    page.block(&bench.git(&["diff", "--cached", "--stat"]));
    page.say("## What he is told, before anybody else sees it");
    page.command("tenantry validate", &run(&["validate"]).exits(1));
    page.say("`tenantry explain W201` says more. He mends both:");
    replace(&bench, "tenants/acme/workflows/report.yaml", "needs: cuont", "needs: count");
    replace(
        &bench,
        "tenants/acme/workflows/report.yaml",
        "secrets: [shop_token]",
        "secrets: [shop_api_token]",
    );
    page.command("tenantry validate", &run(&["validate"]).ok());
    page.say("## What the reviewers read");
    page.say("CI posts `tenantry plan --format markdown` as one comment, which it replaces with every push:");
    commit(&bench, "acme: load later, report, erin operates", "2026-11-23T10:00:00Z");
    let plan = run(&["plan", "HEAD~1..HEAD", "--format", "markdown"]).exits(2);
    page.0.push_str(&format!("~~~~markdown\n{}\n~~~~\n\n", plan.out.trim_end()));
    page.say("The same for a script that decides what may go on by itself:");
    let fail_on = ["plan", "HEAD~1..HEAD", "--fail-on", "destructive,access", "--format", "json"];
    let code = run(&fail_on).exits(4).code;
    page.block(&format!("$ tenantry {} >plan.json\n(exit code {code})", fail_on.join(" ")));
    page.say("## After the merge");
    let data = bench.data();
    run(&["reconcile", "--data", data.to_str().unwrap(), "--any-region"]).ok();
    page.command("tenantry plan HEAD", &run(&["plan", "HEAD"]).ok());
    page.command("tenantry status", &bench.run(&["status"]).ok());
    page.0.trim_end().to_owned() + "\n"
}

/// Times differ from day to day, and the ids of commits with every file of the example.
fn comparable(text: &str) -> String {
    let times = regex::Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z").unwrap();
    let commits = regex::Regex::new(r"\b[0-9a-f]{8}\b").unwrap();
    let directories = regex::Regex::new(r"`/[^`]*`").unwrap();
    let text = times.replace_all(text, "TIME");
    let text = commits.replace_all(&text, "COMMIT");
    directories.replace_all(&text, "`DIRECTORY`").into_owned()
}

#[test]
fn the_recorded_pull_request_is_what_the_commands_print() {
    let path: &Path = &root().join("docs/pull-request.md");
    let now = recorded();
    let directories = regex::Regex::new(r"`/tmp/[^`]*`").unwrap();
    if std::env::var_os("UPDATE_GENERATED").is_some() {
        std::fs::write(path, directories.replace_all(&now, "`DATA`").as_bytes()).unwrap();
    }
    let page = std::fs::read_to_string(path).unwrap_or_default();
    let (page, now) = (comparable(&page).replace("`DATA`", "`DIRECTORY`"), comparable(&now));
    assert_eq!(page, now, "write it anew: UPDATE_GENERATED=1 cargo test --test it recorded::");
}
