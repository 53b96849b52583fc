//! `tenantry init`: a repository that validates and runs something, from what Git knows already.
#![expect(clippy::disallowed_methods, reason = "asks git, and the terminal, what it cannot know")]

use std::io::{BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use super::scaffold::{Scaffold, ScaffoldError, editor_settings, tenant};
use crate::domain::{TenantId, UserId};

/// Arguments of `tenantry init`.
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// The repository; made if it is not there
    #[arg(value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Asks nothing: the first tenant is called `acme` unless `--tenant` says otherwise
    #[arg(long)]
    pub yes: bool,
    /// The first tenant
    #[arg(long, value_name = "T")]
    pub tenant: Option<TenantId>,
}

/// What Git knows about the directory and the person before it.
struct Known {
    branch: String,
    remote: Option<String>,
    person: UserId,
    name: String,
    email: String,
}

/// Writes the repository. Exit code 0: written; 1: it is one already; 3: could not.
pub fn run(args: &InitArgs) -> ExitCode {
    match init(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            anstream::eprintln!("error: {error}");
            ExitCode::from(if matches!(error, ScaffoldError::File { .. }) { 3 } else { 1 })
        }
    }
}

fn init(args: &InitArgs) -> Result<(), ScaffoldError> {
    let root = &args.dir;
    std::fs::create_dir_all(root).map_err(|source| ScaffoldError::File { path: root.clone(), source })?;
    if root.join("tenantry.toml").exists() {
        return Err(ScaffoldError::Exists("tenantry.toml".to_owned()));
    }
    if git(root, &["rev-parse", "--git-dir"]).is_none() {
        git(root, &["init", "--quiet"]);
        git(root, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    }
    let known = know(root);
    let first = match &args.tenant {
        Some(tenant) => tenant.clone(),
        None => ask_tenant(args.yes)?,
    };
    let mut scaffold = Scaffold::new(root);
    fill(&mut scaffold, &known, &first, &uuid::Uuid::now_v7().to_string());
    let written = scaffold.write()?;
    for path in &written {
        anstream::eprintln!("  {path}");
    }
    let cd = if root == Path::new(".") { String::new() } else { format!("cd {} && ", root.display()) };
    anstream::eprintln!("\nwrote {} files. Next:\n", written.len());
    let mut out = anstream::stdout();
    let _ = writeln!(out, "{cd}tenantry validate && git add --all && git commit --message 'tenantry: begin'");
    Ok(())
}

/// Everything a repository begins with.
fn fill(scaffold: &mut Scaffold, known: &Known, first: &TenantId, id: &str) {
    let Known { branch, remote, person, name, email } = known;
    for schema in crate::desired::schema::ALL {
        scaffold.add(format!("schemas/{}", schema.file()), schema.text());
    }
    scaffold.add_if_absent(".vscode/settings.json", editor_settings());
    let repository = remote.as_deref().and_then(repository_name).unwrap_or_else(|| {
        let whole = scaffold.root().canonicalize().unwrap_or_default();
        whole.file_name().map_or("automations".to_owned(), |name| name.to_string_lossy().into_owned())
    });
    scaffold.add(
        "tenantry.toml",
        format!(
            "format = 1\n\
             id = \"{id}\"\n\
             name = {}\n\
             \n\
             [reconcile]\n\
             branch = {}\n\
             \n\
             [change_control]\n\
             mode = \"open\" # whoever can push decides: for trying out only\n",
            toml_text(&repository),
            toml_text(branch)
        ),
    );
    scaffold.add(
        "platform/people.yaml",
        format!("users:\n  {person}: {{ name: {}, email: {} }}\n", yaml_text(name), yaml_text(email)),
    );
    scaffold.add("platform/roles.yaml", format!("admin: [{person}]\n"));
    tenant(scaffold, first.as_str(), "customer", person.as_str(), person.as_str());
    scaffold.add_if_absent(
        "CODEOWNERS",
        format!(
            "# Who is asked for a review. tenantry decides by roles.yaml, not by this file.\n\
             /tenantry.toml {email}\n\
             /platform/ {email}\n\
             /tenants/{first}/ {email}\n"
        ),
    );
    let host = remote.as_deref().unwrap_or_default();
    if host.contains("gitlab") {
        scaffold.add_if_absent(
            ".gitlab-ci.yml",
            "tenantry:\n  variables: { GIT_DEPTH: \"0\" }\n  script:\n    - tenantry ci > gl-code-quality-report.json\n  \
             artifacts:\n    when: always\n    reports: { codequality: gl-code-quality-report.json }\n",
        );
    } else {
        scaffold.add_if_absent(
            ".github/workflows/tenantry.yml",
            "name: tenantry\n\
             on: [pull_request, push]\n\
             permissions: { contents: read }\n\
             jobs:\n\
             \x20 validate:\n\
             \x20   runs-on: ubuntu-latest\n\
             \x20   steps:\n\
             \x20     - uses: actions/checkout@v4\n\
             \x20       with: { fetch-depth: 0 }\n\
             \x20     - run: tenantry ci\n",
        );
    }
}

fn know(root: &Path) -> Known {
    let name = git(root, &["config", "user.name"]).unwrap_or_else(|| "Admin".to_owned());
    let email = git(root, &["config", "user.email"]).unwrap_or_else(|| "admin@localhost".to_owned());
    let branch = git(root, &["symbolic-ref", "--short", "HEAD"]).unwrap_or_else(|| "main".to_owned());
    let remote = git(root, &["remote", "get-url", "origin"]);
    Known { branch, remote, person: person_of(&name, &email), name, email }
}

/// `Alice Moreau` and `alice@…` are both `alice`; whoever has neither is `admin`.
fn person_of(name: &str, email: &str) -> UserId {
    let first = name.split_whitespace().next().unwrap_or_default();
    let local = email.split('@').next().unwrap_or_default();
    for text in [first, local, "admin"] {
        let folded: String = text.to_lowercase().replace(['.', '_', '+'], "-");
        if let Ok(user) = folded.parse() {
            return user;
        }
    }
    // INVARIANT: `admin` is a name, and is the last one tried.
    unreachable!("`admin` is a name")
}

/// The last part of a remote's path.
fn repository_name(remote: &str) -> Option<String> {
    let last = remote.trim_end_matches('/').rsplit(['/', ':']).next()?;
    let name = last.strip_suffix(".git").unwrap_or(last);
    (!name.is_empty()).then(|| name.to_owned())
}

fn ask_tenant(yes: bool) -> Result<TenantId, ScaffoldError> {
    let fallback = || "acme".parse().map_err(|error| ScaffoldError::Argument(format!("{error}")));
    let input = std::io::stdin();
    if yes || !input.is_terminal() {
        return fallback();
    }
    loop {
        anstream::eprint!("the first tenant: a customer, a team, an environment [acme]: ");
        let mut line = String::new();
        match input.lock().read_line(&mut line) {
            Ok(0) | Err(_) => return fallback(),
            Ok(_) if line.trim().is_empty() => return fallback(),
            Ok(_) => match line.trim().parse() {
                Ok(tenant) => return Ok(tenant),
                Err(error) => anstream::eprintln!("{error}"),
            },
        }
    }
}

fn git(root: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    output.status.success().then_some(text)
}

fn toml_text(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Double quotes, with the escapes that JSON and YAML share.
pub fn yaml_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, email: &str, want: &str) {
        assert_eq!(person_of(name, email).as_str(), want);
    }

    #[test]
    fn a_person_is_guessed_from_git() {
        check("Alice Moreau", "alice@northwind.example", "alice");
        check("Åse", "ase.lund@northwind.example", "ase-lund");
        check("", "", "admin");
        check("山田", "山田@example", "admin");
    }

    #[test]
    fn a_repository_is_named_as_its_remote() {
        for (remote, want) in [
            ("git@github.com:northwind/automations.git", "automations"),
            ("https://gitlab.example/northwind/automations/", "automations"),
            ("/srv/git/automations.git", "automations"),
        ] {
            assert_eq!(repository_name(remote).as_deref(), Some(want));
        }
    }

    #[test]
    fn names_with_quotes_stay_texts() {
        assert_eq!(yaml_text("Ada \"Countess\" L."), r#""Ada \"Countess\" L.""#);
        assert_eq!(toml_text("a\\b"), "'a\\b'");
    }
}
