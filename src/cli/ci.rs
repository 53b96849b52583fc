//! `ci`: `validate` with the base and the format that the CI it runs in gives and reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Ending;
use super::validate::{self, FindingFormat, Order};

/// Arguments of `ci`.
#[derive(Debug, clap::Args)]
pub struct CiArgs {
    /// The repository, or a directory in it
    #[arg(long, value_name = "DIR", default_value = ".")]
    repo: PathBuf,
    /// Let warnings count as findings for the exit code
    #[arg(long)]
    deny_warnings: bool,
}

/// What a CI says of the change it was started for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    /// Its name, for people.
    system: &'static str,
    /// What to compare with; `None` where nothing is before the change.
    base: Option<String>,
    /// What it shows beside a change.
    format: FindingFormat,
    /// Whether the findings go to standard error as text too, since its log shows no documents.
    spoken: bool,
}

/// Checks the work tree that a CI checked out.
///
/// # Errors
/// As `validate`; `CouldNot` also where the clone lacks the base.
pub fn run(args: &CiArgs) -> Result<(), Ending> {
    let environment = environment();
    let event = environment.get("GITHUB_EVENT_PATH").and_then(|path| read_event(Path::new(path)));
    let found = look(&environment, event.as_ref());
    match &found.base {
        Some(base) => anstream::eprintln!("{}: comparing with {base}", found.system),
        None => anstream::eprintln!("{}: no base to compare with", found.system),
    }
    validate::check_and_show(&Order {
        repo: &args.repo,
        rev: None,
        since: found.base.as_deref(),
        only: &[],
        format: found.format,
        deny_warnings: args.deny_warnings,
        spoken: found.spoken,
    })
}

/// The variables that any of the systems sets, and no others.
fn environment() -> BTreeMap<String, String> {
    let named = |name: &str| {
        ["GITHUB_", "CI_", "GITEA_", "FORGEJO_"].iter().any(|prefix| name.starts_with(prefix))
            || ["CI", "GITLAB_CI"].contains(&name)
    };
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| named(name))
        .collect()
}

/// The event file of GitHub Actions and its like; what cannot be read says nothing.
#[expect(clippy::disallowed_methods, reason = "the event is a file that the CI names")]
fn read_event(path: &Path) -> Option<serde_json::Value> {
    let found = path.metadata().ok().filter(|found| found.len() <= 8 << 20)?;
    found
        .is_file()
        .then(|| std::fs::read(path).ok())
        .flatten()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
}

/// Reads what the system says. Pure, so that the recorded variables of each system are its test.
fn look(environment: &BTreeMap<String, String>, event: Option<&serde_json::Value>) -> Found {
    let get = |name: &str| environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
    let is = |name: &str| get(name) == Some("true");
    if is("GITLAB_CI") {
        let base = get("CI_MERGE_REQUEST_DIFF_BASE_SHA").or_else(|| get("CI_COMMIT_BEFORE_SHA"));
        let base = commit(base).or_else(|| get("CI_DEFAULT_BRANCH").map(|branch| format!("origin/{branch}")));
        return Found { system: "GitLab CI", base, format: FindingFormat::Gitlab, spoken: true };
    }
    if is("GITHUB_ACTIONS") || is("GITEA_ACTIONS") || is("FORGEJO_ACTIONS") {
        let system = if is("FORGEJO_ACTIONS") {
            "Forgejo Actions"
        } else if is("GITEA_ACTIONS") {
            "Gitea Actions"
        } else {
            "GitHub Actions"
        };
        let said = |path: &str| event.and_then(|event| event.pointer(path)).and_then(|value| value.as_str());
        let base = commit(said("/pull_request/base/sha"))
            .or_else(|| commit(said("/merge_group/base_sha")))
            .or_else(|| get("GITHUB_BASE_REF").map(|branch| format!("origin/{branch}")))
            .or_else(|| commit(said("/before")));
        // Gitea and Forgejo show no annotations: their readers read the log.
        let format = if system == "GitHub Actions" { FindingFormat::Github } else { FindingFormat::Human };
        return Found { system, base, format, spoken: format == FindingFormat::Github };
    }
    Found { system: "no known CI", base: None, format: FindingFormat::Human, spoken: false }
}

/// A commit id that is one: a branch that is new has zeros before it.
fn commit(id: Option<&str>) -> Option<String> {
    let hex = |id: &&str| id.len() >= 40 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    id.filter(hex).filter(|id| id.bytes().any(|byte| byte != b'0')).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SHA: &str = "4b825dc642cb6eb9a060e54bf8d69288fbee4904";
    const ZEROS: &str = "0000000000000000000000000000000000000000";

    #[track_caller]
    fn check(
        variables: &[(&str, &str)],
        event: serde_json::Value,
        system: &str,
        base: Option<&str>,
        format: FindingFormat,
    ) {
        let environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let found = look(&environment, Some(&event));
        assert_eq!((found.system, found.base.as_deref(), found.format), (system, base, format));
    }

    /// Source: GitHub's page on default environment variables and webhook events, recorded from runs.
    #[test]
    fn github_actions_names_its_base_in_the_event() {
        let actions = [
            ("CI", "true"),
            ("GITHUB_ACTIONS", "true"),
            ("GITHUB_EVENT_NAME", "pull_request"),
            ("GITHUB_BASE_REF", "main"),
        ];
        let event = json!({ "pull_request": { "base": { "sha": SHA, "ref": "main" } } });
        check(&actions, event, "GitHub Actions", Some(SHA), FindingFormat::Github);
        check(&actions, json!({}), "GitHub Actions", Some("origin/main"), FindingFormat::Github);
        let push = [("GITHUB_ACTIONS", "true"), ("GITHUB_EVENT_NAME", "push"), ("GITHUB_BASE_REF", "")];
        check(&push, json!({ "before": SHA }), "GitHub Actions", Some(SHA), FindingFormat::Github);
        check(&push, json!({ "before": ZEROS }), "GitHub Actions", None, FindingFormat::Github);
        let queue = json!({ "merge_group": { "base_sha": SHA } });
        check(&push, queue, "GitHub Actions", Some(SHA), FindingFormat::Github);
    }

    /// Source: GitLab's page on predefined variables.
    #[test]
    fn gitlab_names_its_base_in_variables() {
        let merge =
            [("GITLAB_CI", "true"), ("CI_MERGE_REQUEST_DIFF_BASE_SHA", SHA), ("CI_COMMIT_BEFORE_SHA", ZEROS)];
        check(&merge, json!({}), "GitLab CI", Some(SHA), FindingFormat::Gitlab);
        let push = [("GITLAB_CI", "true"), ("CI_COMMIT_BEFORE_SHA", SHA)];
        check(&push, json!({}), "GitLab CI", Some(SHA), FindingFormat::Gitlab);
        let new = [("GITLAB_CI", "true"), ("CI_COMMIT_BEFORE_SHA", ZEROS), ("CI_DEFAULT_BRANCH", "main")];
        check(&new, json!({}), "GitLab CI", Some("origin/main"), FindingFormat::Gitlab);
    }

    /// Both run GitHub's actions and set its variables beside their own.
    #[test]
    fn gitea_and_forgejo_are_told_from_github() {
        let event = json!({ "pull_request": { "base": { "sha": SHA } } });
        for (own, system) in [("GITEA_ACTIONS", "Gitea Actions"), ("FORGEJO_ACTIONS", "Forgejo Actions")] {
            let variables = [("GITHUB_ACTIONS", "true"), (own, "true"), ("GITHUB_BASE_REF", "main")];
            check(&variables, event.clone(), system, Some(SHA), FindingFormat::Human);
        }
    }

    #[test]
    fn without_a_ci_nothing_is_compared() {
        check(&[], json!({}), "no known CI", None, FindingFormat::Human);
        check(&[("CI", "true")], json!({}), "no known CI", None, FindingFormat::Human);
    }
}
