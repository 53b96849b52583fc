//! `--pr`: what a command wrote as a branch with one commit and, where the forge's CLI is there, a pull request.
#![expect(clippy::disallowed_methods, reason = "asks git and the forge's own command")]

use std::path::Path;
use std::process::Command;

use super::Ending;
use super::page;

/// The option of every command that writes files for somebody to agree to.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub struct ProposeArgs {
    /// Commits it on a branch of its own and opens a pull request where `gh`, `glab` or `tea` is there
    #[arg(long)]
    pub pr: bool,
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
    if args.pr {
        propose(root, paths, branch, title, body)
    } else {
        anstream::eprintln!("next: tenantry validate");
        Ok(())
    }
}

/// Makes the branch and the commit of these paths alone; other changes of the work tree stay as they are.
fn propose(root: &Path, paths: &[String], branch: &str, title: &str, body: &str) -> Result<(), Ending> {
    let branch = free_branch(root, &format!("tenantry/{branch}"))?;
    git(root, &["switch", "--quiet", "--create", &branch])?;
    let mut add = vec!["add", "--"];
    add.extend(paths.iter().map(String::as_str));
    git(root, &add)?;
    let message = if body.is_empty() { title.to_owned() } else { format!("{title}\n\n{body}") };
    let mut commit = vec!["commit", "--quiet", "--message", &message, "--"];
    commit.extend(paths.iter().map(String::as_str));
    git(root, &commit)?;
    page::line(&format!("branch {branch}"));
    let Some(remote) = git(root, &["remote", "get-url", "origin"]).ok() else {
        anstream::eprintln!("next: push `{branch}` and open a pull request; there is no remote `origin`");
        return Ok(());
    };
    let Some((tool, arguments)) = forge(&remote, &branch, title, body) else {
        anstream::eprintln!("next: git push --set-upstream origin {branch}, then open a pull request");
        return Ok(());
    };
    let done = |error: Ending| match error {
        Ending::CouldNot(why) => {
            Ending::CouldNot(format!("the branch `{branch}` is made and committed, but {why}"))
        }
        other => other,
    };
    git(root, &["push", "--quiet", "--set-upstream", "origin", &branch]).map_err(done)?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = run(root, tool, &arguments).map_err(done)?;
    page::line(said.trim());
    Ok(())
}

/// The name, with a number behind it where it is taken.
fn free_branch(root: &Path, name: &str) -> Result<String, Ending> {
    git(root, &["rev-parse", "--git-dir"])?;
    let taken =
        |name: &str| git(root, &["rev-parse", "--verify", "--quiet", &format!("refs/heads/{name}")]).is_ok();
    let numbered = (2..1_000).map(|number| format!("{name}-{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken(name)).ok_or_else(|| {
        Ending::CouldNot(format!("`{name}` and all that follow are taken: delete old branches"))
    })
}

/// The forge's own command and how it opens a pull request; `None` where it is not installed.
fn forge(remote: &str, branch: &str, title: &str, body: &str) -> Option<(&'static str, Vec<String>)> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let (tool, arguments) = if remote.contains("github") {
        ("gh", words(&["pr", "create", "--head", branch, "--title", title, "--body", body]))
    } else if remote.contains("gitlab") {
        (
            "glab",
            words(&[
                "mr",
                "create",
                "--yes",
                "--source-branch",
                branch,
                "--title",
                title,
                "--description",
                body,
            ]),
        )
    } else {
        ("tea", words(&["pulls", "create", "--head", branch, "--title", title, "--description", body]))
    };
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).any(|place| place.join(tool).is_file()).then_some((tool, arguments))
}

fn git(root: &Path, arguments: &[&str]) -> Result<String, Ending> {
    run(root, "git", arguments).map(|text| text.trim().to_owned())
}

fn run(root: &Path, program: &str, arguments: &[&str]) -> Result<String, Ending> {
    let command = format!("{program} {}", arguments.first().copied().unwrap_or_default());
    let output = Command::new(program).current_dir(root).args(arguments).output();
    let output =
        output.map_err(|error| Ending::CouldNot(format!("`{command}` cannot be started: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().lines().next_back().unwrap_or("no reason given").to_owned();
    Err(Ending::CouldNot(format!("`{command}` failed: {}", page::shown(&said))))
}
