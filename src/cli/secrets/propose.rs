//! `--pr`: what a command changed as a branch with one commit and, where the forge's command is there, a review.
#![expect(
    clippy::disallowed_methods,
    reason = "the command line runs the person's own git and forge command"
)]

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use clap::Args;

use super::worktree::Told;

/// Whether a change is proposed.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct ProposeArgs {
    /// Commit the change on a new branch and, with `gh` or `glab` at hand, push it and open a review
    #[arg(long)]
    pub pr: bool,
}

/// Commits `files` on a new branch and says what came of it.
///
/// # Errors
/// Git refused; the files stay changed in the work tree.
pub(super) fn propose(root: &Path, branch: &str, title: &str, files: &[String]) -> Result<String, Told> {
    let git = |arguments: &[&str]| run(root, "git", arguments);
    let branch = free_branch(root, branch)?;
    git(&["switch", "--quiet", "--create", &branch])?;
    let add = [&["add", "--all", "--"], as_str(files).as_slice()].concat();
    let commit = [&["commit", "--quiet", "--only", "-m", title, "--"], as_str(files).as_slice()].concat();
    git(&add)
        .and_then(|_| git(&commit))
        .map_err(|told| format!("{told}; you are on the new branch `{branch}`"))?;
    let mut out = format!("branch     {branch}: {title}\n");
    if git(&["remote", "get-url", "origin"]).is_err() {
        out.push_str("next       push the branch and open a review: the repository has no remote `origin`\n");
        return Ok(out);
    }
    let forges: [(&str, &[&str]); 2] =
        [("gh", &["pr", "create", "--fill"]), ("glab", &["mr", "create", "--fill", "--yes"])];
    let forge = forges.into_iter().find(|(program, _)| run(root, program, &["--version"]).is_ok());
    let Some((program, arguments)) = forge else {
        let _ = writeln!(out, "next       git push -u origin {branch}, then open a review");
        return Ok(out);
    };
    let pushed = git(&["push", "--quiet", "--set-upstream", "origin", &branch]);
    match pushed.and_then(|_| run(root, program, arguments)) {
        Ok(said) => {
            let _ = writeln!(out, "review     {}", said.lines().last().unwrap_or("opened"));
        }
        Err(told) => {
            let _ = writeln!(out, "next       open a review of {branch}: {told}");
        }
    }
    Ok(out)
}

fn as_str(files: &[String]) -> Vec<&str> {
    files.iter().map(String::as_str).collect()
}

fn free_branch(root: &Path, wanted: &str) -> Result<String, Told> {
    let inside = run(root, "git", &["rev-parse", "--is-inside-work-tree"]);
    inside.map_err(|_| {
        "`--pr` needs a Git repository: without it the files are changed and nothing more".to_owned()
    })?;
    for number in 1..100 {
        let name = if number == 1 { wanted.to_owned() } else { format!("{wanted}-{number}") };
        if run(root, "git", &["rev-parse", "--verify", "--quiet", &format!("refs/heads/{name}")]).is_err() {
            return Ok(name);
        }
    }
    Err(format!("there are too many branches like `{wanted}`"))
}

fn run(root: &Path, program: &str, arguments: &[&str]) -> Result<String, Told> {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output()
        .map_err(|error| format!("cannot run `{program}`: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: String = said.trim().chars().filter(|c| !c.is_control() || *c == '\n').collect();
    Err(format!("`{program} {}` failed: {}", arguments.first().unwrap_or(&""), said.replace('\n', "; ")))
}
