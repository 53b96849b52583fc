//! `--pr`: what a command wrote as a branch with one commit and, where the forge's CLI is there, a review.
#![expect(clippy::disallowed_methods, reason = "asks git and the forge's own command")]

use std::path::Path;
use std::process::Command;

use super::Ending;
use super::page;

/// The option of every command that writes files for somebody to agree to.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ProposeArgs {
    /// Commits it on a branch of its own and opens a review where `gh`, `glab` or `tea` is there
    #[arg(long)]
    pub pr: bool,
}

/// What came of it: the branch is made and holds the commit.
#[derive(Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The branch, which is checked out now.
    pub branch: String,
    /// The review, or what is left to do by hand.
    pub review: Result<String, String>,
}

/// Commits what was written if that was asked for, else names the next command.
///
/// # Errors
/// Could not, with what is done already.
pub fn end(
    args: &ProposeArgs,
    root: &Path,
    paths: &[String],
    branch: &str,
    title: &str,
    body: &str,
) -> Result<(), Ending> {
    if !args.pr {
        anstream::eprintln!("next: tenantry validate");
        return Ok(());
    }
    let proposed = propose(root, paths, &format!("tenantry/{branch}"), title, body);
    let Proposed { branch, review } = proposed.map_err(Ending::CouldNot)?;
    page::line(&format!("branch {branch}"));
    match review {
        Ok(review) => page::line(&review),
        Err(next) => anstream::eprintln!("next: {next}"),
    }
    Ok(())
}

/// Makes the branch and the commit of these paths alone; other changes of the work tree stay as they are.
///
/// # Errors
/// Git refused; the files stay changed in the work tree.
pub fn propose(
    root: &Path,
    paths: &[String],
    branch: &str,
    title: &str,
    body: &str,
) -> Result<Proposed, String> {
    let git = |arguments: &[&str]| run(root, "git", arguments);
    let branch = free_branch(root, branch)?;
    git(&["switch", "--quiet", "--create", &branch])?;
    // What was removed and never committed is nothing to Git, which refuses to be told of it.
    let is_known = |path: &&str| {
        root.join(path).symlink_metadata().is_ok()
            || git(&["ls-files", "--error-unmatch", "--", path]).is_ok()
    };
    let paths: Vec<&str> = paths.iter().map(String::as_str).filter(is_known).collect();
    let message = if body.is_empty() { title.to_owned() } else { format!("{title}\n\n{body}") };
    let add = [&["add", "--all", "--"], paths.as_slice()].concat();
    let commit = [&["commit", "--quiet", "--only", "--message", &message, "--"], paths.as_slice()].concat();
    git(&add)
        .and_then(|_| git(&commit))
        .map_err(|told| format!("{told}; you are on the new branch `{branch}`"))?;
    let review = open(root, &branch, title, body);
    Ok(Proposed { branch, review })
}

/// Pushes the branch and opens the review, as far as the machine has what it takes.
fn open(root: &Path, branch: &str, title: &str, body: &str) -> Result<String, String> {
    let remote = run(root, "git", &["remote", "get-url", "origin"])
        .map_err(|_| format!("push `{branch}` and open a review: the repository has no remote `origin`"))?;
    let (tool, arguments) = forge(&remote, branch, title, body)
        .ok_or_else(|| format!("git push --set-upstream origin {branch}, then open a review"))?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(root, "git", &["push", "--quiet", "--set-upstream", "origin", branch])
        .and_then(|_| run(root, tool, &arguments))
        .map(|said| said.lines().last().unwrap_or("opened").to_owned())
        .map_err(|told| format!("push `{branch}` and open a review: {told}"))
}

/// The name, with a number behind it where it is taken.
fn free_branch(root: &Path, name: &str) -> Result<String, String> {
    run(root, "git", &["rev-parse", "--is-inside-work-tree"]).map_err(|_| {
        "`--pr` needs a Git repository: without it the files are changed and nothing more".to_owned()
    })?;
    let taken = |name: &str| {
        run(root, "git", &["rev-parse", "--verify", "--quiet", &format!("refs/heads/{name}")]).is_ok()
    };
    let numbered = (2..1_000).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|name| !taken(name))
        .ok_or_else(|| format!("`{name}` and all that follow are taken: delete old branches"))
}

/// The forge's own command and how it opens a review; `None` where it is not installed.
fn forge(remote: &str, branch: &str, title: &str, body: &str) -> Option<(&'static str, Vec<String>)> {
    let (tool, words): (_, &[&str]) = if remote.contains("github") {
        ("gh", &["pr", "create", "--head", branch, "--title", title, "--body", body])
    } else if remote.contains("gitlab") {
        let from = ["--source-branch", branch, "--title", title, "--description", body];
        ("glab", &[&["mr", "create", "--yes"], from.as_slice()].concat())
    } else {
        ("tea", &["pulls", "create", "--head", branch, "--title", title, "--description", body])
    };
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).any(|place| place.join(tool).is_file()).then_some((tool, words))
}

fn run(root: &Path, program: &str, arguments: &[&str]) -> Result<String, String> {
    let command = format!("{program} {}", arguments.first().copied().unwrap_or_default());
    let output = Command::new(program).current_dir(root).args(arguments).output();
    let output = output.map_err(|error| format!("`{command}` cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().replace('\n', "; ");
    Err(format!(
        "`{command}` failed: {}",
        page::shown(if said.is_empty() { "no reason given" } else { &said })
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_and_what_is_gone_are_committed_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let git = |arguments: &[&str]| run(root, "git", arguments).unwrap();
        git(&["init", "--quiet", "--initial-branch=main"]);
        git(&["config", "user.name", "Dana"]);
        git(&["config", "user.email", "dana@acme.example"]);
        for path in ["kept", "gone", "other"] {
            std::fs::write(root.join(path), "first\n").unwrap();
        }
        git(&["add", "--all"]);
        git(&["commit", "--quiet", "--message", "begin"]);
        std::fs::write(root.join("kept"), "second\n").unwrap();
        std::fs::write(root.join("other"), "nobody's business here\n").unwrap();
        std::fs::remove_file(root.join("gone")).unwrap();
        // `never` was written and removed again before anybody committed it.
        let paths = ["kept", "gone", "never"].map(str::to_owned);
        let proposed = propose(root, &paths, "tenantry/change", "change", "why").unwrap();
        assert_eq!(proposed.branch, "tenantry/change");
        assert!(proposed.review.is_err(), "there is no forge");
        let changed = git(&["diff", "--name-status", "main", "HEAD"]);
        assert_eq!(changed.trim(), "D\tgone\nM\tkept");
        assert_eq!(git(&["status", "--porcelain"]).trim(), "M other");
    }
}
