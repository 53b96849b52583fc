//! The chapters: a commit each, what it should do, and what it did.

use std::path::Path;

use serde_json::Value;

use super::DemoError;
use super::daemon::{Daemon, VIEWER, tenant_of};
use super::page::{Page, short};
use super::repository::{Edit, Repository};

/// What a chapter stands on.
struct Story<'a> {
    page: &'a mut Page,
    repository: &'a Repository,
    daemon: &'a mut Daemon,
    chapter: usize,
    /// The status after the last chapter.
    before: Value,
    /// How many runs there were after it.
    seen: Vec<String>,
}

/// Tells all chapters.
///
/// # Errors
/// When the repository or the daemon cannot go on; what merely went otherwise is counted on the page.
pub fn tell(
    page: &mut Page,
    repository: &Repository,
    daemon: &mut Daemon,
    first: &str,
) -> Result<(), DemoError> {
    let mut story = Story { page, repository, daemon, chapter: 0, before: Value::Null, seen: Vec::new() };
    story.first_commit(first)?;
    story.a_workflow_changes()?;
    story.a_role_changes()?;
    story.a_tenant_breaks()?;
    story.a_version_is_revoked()?;
    story.provenance()
}

impl Story<'_> {
    fn first_commit(&mut self, commit: &str) -> Result<(), DemoError> {
        self.heading("the first commit", commit, "alice");
        let runs = self.settle(commit, &["acme", "emea", "finance"])?;
        for tenant in ["acme", "emea", "finance"] {
            let applied = tenant_of(&self.before, tenant)["last_applied_commit"] == commit;
            self.expect_quietly(applied, &format!("{tenant} is applied at {}", short(&Value::from(commit))));
        }
        let python =
            ["/usr/bin/python3", "/usr/local/bin/python3"].iter().any(|path| Path::new(path).exists());
        let expected = [
            ("acme/orders-import", "success"),
            ("acme/stock-levels", "success"),
            ("acme/warehouse-load", "success"),
            ("emea/price-check", "success"),
            ("emea/vat-report", "success"),
            ("finance/month-close", "success"),
            ("finance/trial-balance", "failure"),
        ];
        for (name, outcome) in expected {
            let ended = outcome_of(&runs, name);
            self.expect_quietly(ended == outcome, &format!("{name} ends as {outcome}, not {ended}"));
        }
        if python {
            let ended = outcome_of(&runs, "finance/forecast");
            self.expect_quietly(
                ended == "success",
                &format!("finance/forecast ends as success, not {ended}"),
            );
        } else {
            self.page.note("python3 is not installed here: finance/forecast may fail");
        }
        let stock = run_of(&runs, "acme/stock-levels");
        self.page.expect(
            attempts(stock, "main") == 2,
            "acme/stock-levels failed once and succeeded at its second attempt",
        );
        let balance = run_of(&runs, "finance/trial-balance");
        self.page.expect(
            attempts(balance, "on_failure") == 1,
            "finance/trial-balance failed, as it is meant to, and its `on_failure` ran",
        );
        let import = run_of(&runs, "acme/orders-import");
        let log = self.daemon.command(&["logs", text(&import["id"]), "--step", "fetch"], VIEWER)?;
        let line = log.output.lines().find(|line| line.contains("with token")).unwrap_or_default().to_owned();
        self.page.expect(
            line.contains("[redacted:shop_api_token]") && !log.output.contains("shop-91e5ab"),
            "a script printed its secret, and the log holds a mask:",
        );
        self.page.note(&format!("  {}", line.trim()));
        Ok(())
    }

    fn a_workflow_changes(&mut self) -> Result<(), DemoError> {
        let commit = self.change(
            "a script changes",
            "dan",
            "acme: say what the numbers are",
            &[Edit {
                path: "tenants/acme/scripts/publish.sh",
                from: "echo \"$INPUT_ROWS orders",
                to: "echo \"yesterday: $INPUT_ROWS orders",
            }],
        )?;
        let runs = self.settle(&commit, &["acme"])?;
        self.page.expect(self.moved(&commit) == ["acme"], "acme moved, the others were not touched");
        self.page.expect(
            names(&runs) == ["acme/orders-import"] && outcome_of(&runs, "acme/orders-import") == "success",
            "the one workflow that can open this script ran again, nothing else did",
        );
        Ok(())
    }

    fn a_role_changes(&mut self) -> Result<(), DemoError> {
        let denied = self.start("finance/warehouse-margin", "dan")?;
        let commit = self.change(
            "a role changes",
            "erin",
            "finance: dan operates too",
            &[Edit {
                path: "tenants/finance/roles.yaml",
                from: "operator: [erin]",
                to: "operator: [erin, dan]",
            }],
        )?;
        let runs = self.settle(&commit, &["finance"])?;
        self.page.expect(self.moved(&commit) == ["finance"], "finance moved, the others were not touched");
        self.page.expect(runs.is_empty(), "a role starts nothing");
        self.page.expect(!denied, "before this commit, dan could not start finance/warehouse-margin");
        let allowed = self.start("finance/warehouse-margin", "dan")?;
        let runs = self.settle(&commit, &[])?;
        self.page.expect(allowed && outcome_of(&runs, "finance/warehouse-margin") == "success", "now he can");
        let elsewhere = self.start("emea/price-check", "dan")?;
        self.page.expect(!elsewhere, "in emea he has no role, and still cannot");
        Ok(())
    }

    fn a_tenant_breaks(&mut self) -> Result<(), DemoError> {
        let good = text(&tenant_of(&self.before, "emea")["last_applied_commit"]).to_owned();
        let commit = self.change(
            "a tenant breaks",
            "farid",
            "emea: tidy up; acme: more at a time",
            &[
                Edit {
                    path: "tenants/emea/workflows/vat-report.yaml",
                    from: "  report:\n",
                    to: "  report:\n    needs: [rtaes]\n",
                },
                Edit { path: "tenants/acme/tenant.yaml", from: "concurrency: 4", to: "concurrency: 6" },
            ],
        )?;
        self.settle(&commit, &["acme", "emea"])?;
        // The list of all shows health; what is wrong with a tenant's files is told where it is asked for.
        let emea = tenant_of(&self.daemon.ask(&["status", "emea"], VIEWER)?, "emea").clone();
        for finding in emea["findings"].as_array().into_iter().flatten().take(2) {
            self.page.note(&format!("  {}: {}", text(&finding["rule"]), text(&finding["message"])));
        }
        self.page.expect(
            emea["status"] == "invalid" && emea["last_applied_commit"] == good.as_str(),
            &format!(
                "emea is invalid and stays at {}, its last good commit",
                short(&Value::from(good.as_str()))
            ),
        );
        self.page.expect(self.moved(&commit) == ["acme"], "acme moved with the same commit");
        let started = self.start("emea/price-check", "farid")?;
        let runs = self.settle(&commit, &[])?;
        let check = run_of(&runs, "emea/price-check");
        self.page.expect(
            started && check["outcome"] == "success" && check["commit"] == good.as_str(),
            "emea's workflows go on, at that commit",
        );
        Ok(())
    }

    fn a_version_is_revoked(&mut self) -> Result<(), DemoError> {
        let commit = self.change(
            "a secret's version is revoked",
            "bob",
            "acme: v2 of the shop's token leaked",
            &[
                Edit { path: "tenants/acme/secrets.yaml", from: "{ id: v2, state: current,", to: "{ id: v2, state: revoked," },
                Edit { path: "tenants/acme/secrets.yaml", from: "{ id: v3, state: pending,", to: "{ id: v3, state: current," },
                Edit {
                    path: "tenants/acme/secrets.yaml",
                    from: "      # v3 waits: it is given out only to who asks for it by id, until it is made current.\n",
                    to: "",
                },
            ],
        )?;
        let runs = self.settle(&commit, &["acme"])?;
        self.page.expect(self.moved(&commit) == ["acme"], "acme moved; no key was needed to revoke");
        self.page.expect(runs.is_empty(), "a new version starts nothing");
        let had = self
            .daemon
            .runs()?
            .iter()
            .filter(|run| used(run).any(|used| used.ends_with("/shop_api_token@v2")))
            .count();
        self.page.expect(had == 2, &format!("{had} runs had been given v2, and their records say so"));
        let started = self.start("acme/orders-import", "bob")?;
        let runs = self.settle(&commit, &[])?;
        let import = run_of(&runs, "acme/orders-import");
        self.page.expect(
            started && used(import).any(|used| used.ends_with("/shop_api_token@v3")),
            "started again by bob, it was given v3",
        );
        Ok(())
    }

    fn provenance(&mut self) -> Result<(), DemoError> {
        let runs = self.daemon.runs()?;
        let run = runs.iter().rev().find(|run| run["workflow"] == "orders-import").unwrap_or(&Value::Null);
        self.chapter += 1;
        self.page.chapter(self.chapter, "where a run came from", text(&run["id"]));
        let trigger = format!("{} {}", text(&run["trigger"]["kind"]), text(&run["trigger"]["key"]));
        let versions: Vec<&str> = used(run).collect();
        for (name, value) in [
            ("workflow", format!("{}/{}", text(&run["tenant"]), text(&run["workflow"]))),
            ("actor", text(&run["actor"]).to_owned()),
            ("trigger", trigger),
            ("commit", text(&run["commit"]).to_owned()),
            ("tree", text(&run["tree"]).to_owned()),
            ("secrets", versions.join(" ")),
        ] {
            self.page.fact(name, &value);
        }
        let scripts = run["scripts"].as_object().into_iter().flatten();
        for (index, (path, blob)) in scripts.enumerate() {
            let name = if index == 0 { "scripts" } else { "" };
            self.page.fact(name, &format!("{} {path}", text(blob)));
        }
        let whole = run["actor"] == "user:bob"
            && ["commit", "tree"].iter().all(|key| text(&run[*key]).len() == 40)
            && run["scripts"].as_object().is_some_and(|scripts| scripts.len() == 5)
            && versions == ["tenants/acme/shop_api_token@v3"];
        self.page.expect(whole, "commit, tree, scripts, secret versions and actor are all on record");
        Ok(())
    }

    /// Edits, commits and heads a chapter with it; gives the commit.
    fn change(
        &mut self,
        title: &str,
        author: &str,
        message: &str,
        edits: &[Edit],
    ) -> Result<String, DemoError> {
        self.repository.edit(edits)?;
        let commit = self.repository.commit(author, message)?;
        self.heading(title, &commit, author);
        self.page.note(&format!("“{message}”"));
        Ok(commit)
    }

    fn heading(&mut self, title: &str, commit: &str, author: &str) {
        self.chapter += 1;
        let aside = format!("{} by {author}", short(&Value::from(commit)));
        self.page.chapter(self.chapter, title, &aside);
    }

    /// Waits, shows the tenants if a commit touched any, and the new runs; gives these.
    fn settle(&mut self, commit: &str, touched: &[&str]) -> Result<Vec<Value>, DemoError> {
        self.daemon.settle(commit, touched)?;
        let after = self.daemon.ask(&["status"], VIEWER)?;
        if !touched.is_empty() {
            self.page.tenants(&self.before, &after);
        }
        self.before = after;
        let new: Vec<Value> = self
            .daemon
            .runs()?
            .into_iter()
            .filter(|run| !self.seen.iter().any(|seen| run["id"] == seen.as_str()))
            .collect();
        for run in &new {
            self.seen.push(text(&run["id"]).to_owned());
            self.page.run(run);
        }
        Ok(new)
    }

    /// The tenants whose last applied commit is `commit`.
    fn moved(&self, commit: &str) -> Vec<String> {
        let rows = self.before["tenants"].as_array().into_iter().flatten();
        rows.filter(|row| row["last_applied_commit"] == commit)
            .map(|row| text(&row["tenant"]).to_owned())
            .collect()
    }

    /// Whether a person could start a workflow.
    fn start(&self, workflow: &str, person: &str) -> Result<bool, DemoError> {
        let answer = self.daemon.command(&["start", workflow], person)?;
        match answer.code {
            0 => Ok(true),
            1 => Ok(false),
            _ => Err(DemoError::Command { command: format!("start {workflow}"), said: answer.said }),
        }
    }

    /// Shows an expectation only where it was missed.
    fn expect_quietly(&mut self, holds: bool, expected: &str) {
        if !holds {
            self.page.expect(false, expected);
        }
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn name(run: &Value) -> String {
    format!("{}/{}", text(&run["tenant"]), text(&run["workflow"]))
}

fn names(runs: &[Value]) -> Vec<String> {
    runs.iter().map(name).collect()
}

fn run_of<'a>(runs: &'a [Value], wanted: &str) -> &'a Value {
    runs.iter().find(|run| name(run) == wanted).unwrap_or(&Value::Null)
}

fn outcome_of(runs: &[Value], wanted: &str) -> String {
    run_of(runs, wanted)["outcome"].as_str().unwrap_or("not run").to_owned()
}

fn attempts(run: &Value, step: &str) -> usize {
    let steps = run["steps"].as_array().into_iter().flatten();
    steps.filter(|row| row["id"] == step && row["attempt"] != 0).count()
}

fn used(run: &Value) -> impl Iterator<Item = &str> {
    run["secrets_used"].as_array().into_iter().flatten().filter_map(Value::as_str)
}
