//! `tenantry new tenant`, `new workflow` and `people add`: what they write passes `validate`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::finish;
use super::init::yaml_text;
use super::proposing::{self, ProposeArgs};
use super::scaffold::{self, Scaffold, ScaffoldError};
use super::sharing::{self, SharedName, UseArgs};
use crate::domain::{Principal, TenantId, UserId, WorkflowId};
use crate::yaml::{self, Budget, Node};

/// Arguments of `tenantry new`.
#[derive(Clone, Debug, clap::Args)]
pub struct NewArgs {
    /// What is made.
    #[command(subcommand)]
    pub what: New,
    /// The repository
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    pub repo: PathBuf,
    /// Commits it on a branch of its own and opens a pull request where `gh`, `glab` or `tea` is there
    #[arg(long, global = true)]
    pub pr: bool,
}

/// What `tenantry new` makes.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum New {
    /// A tenant with a workflow that runs
    Tenant {
        /// Its name
        #[arg(value_name = "T")]
        tenant: TenantId,
        /// Takes kind, owner and roles from this tenant; workflows and secrets are never copied
        #[arg(long, value_name = "T2")]
        like: Option<TenantId>,
        /// Who agrees to changes of its access: `alice` or `group:acme-owners` [default: the first admin]
        #[arg(long, value_name = "P")]
        owner: Option<Principal>,
    },
    /// A workflow of one step and its script, or one that uses a shared workflow
    Workflow {
        /// Tenant and workflow, such as `acme/billing`; with --tenants the workflow alone is enough
        #[arg(value_name = "T/W")]
        workflow: String,
        /// Takes its steps from a shared workflow
        #[arg(long, value_name = "shared/NAME")]
        uses: Option<SharedName>,
        /// Also in every tenant with these fields in tenant.yaml, such as `kind=customer,region=eu`
        #[arg(long, value_name = "FIELD=VALUE,…", requires = "uses")]
        tenants: Option<String>,
        /// The tenant's secret for one that the shared workflow asks for [default: of the same name]
        #[arg(long, value_name = "THEIRS=MINE", requires = "uses")]
        secret: Vec<String>,
    },
}

/// Arguments of `tenantry people`.
#[derive(Clone, Debug, clap::Args)]
pub struct PeopleArgs {
    /// What is done.
    #[command(subcommand)]
    pub what: People,
    /// The repository
    #[arg(long, value_name = "DIR", default_value = ".", global = true)]
    pub repo: PathBuf,
    /// Commits it on a branch of its own and opens a pull request where `gh`, `glab` or `tea` is there
    #[arg(long, global = true)]
    pub pr: bool,
}

/// What `tenantry people` does.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum People {
    /// Adds a person to platform/people.yaml, keeping its layout and comments
    #[command(group(clap::ArgGroup::new("proof").required(true).args(["github", "key"]).multiple(true)))]
    Add {
        /// Their name here
        #[arg(value_name = "NAME")]
        user: UserId,
        /// The number of their GitHub account: `id` at https://api.github.com/users/LOGIN
        #[arg(long, value_name = "ID")]
        github: Option<u64>,
        /// Their SSH public key
        #[arg(long, value_name = "FILE.pub")]
        key: Option<PathBuf>,
        /// Full name
        #[arg(long)]
        name: Option<String>,
        /// Where to write to
        #[arg(long)]
        email: Option<String>,
    },
}

/// Writes a tenant or a workflow. Exit code 0: written; 1: not, and nothing was changed.
pub fn run(args: &NewArgs) -> ExitCode {
    let propose = ProposeArgs { pr: args.pr };
    match &args.what {
        New::Tenant { tenant, like, owner } => {
            let written = new_tenant(args, tenant, like.as_ref(), owner.as_ref());
            end(written, &args.repo, propose, &format!("tenant-{tenant}"), &format!("{tenant}: begin"))
        }
        New::Workflow { workflow, uses: Some(uses), tenants, secret } => finish(sharing::take_up(&UseArgs {
            repo: &args.repo,
            workflow,
            uses,
            tenants: tenants.as_deref(),
            secrets: secret,
            propose: &propose,
        })),
        New::Workflow { workflow, .. } => {
            let branch = format!("workflow-{}", workflow.replace('/', "-"));
            end(new_workflow(args, workflow), &args.repo, propose, &branch, &format!("{workflow}: begin"))
        }
    }
}

/// Adds a person. Exit code 0: added; 1: not, and nothing was changed.
pub fn run_people(args: &PeopleArgs) -> ExitCode {
    let People::Add { user, github, key, name, email } = &args.what;
    let written = add_person(args, user, *github, key.as_ref(), name.as_deref(), email.as_deref());
    let propose = ProposeArgs { pr: args.pr };
    end(written, &args.repo, propose, &format!("people-{user}"), &format!("people: add {user}"))
}

fn end(
    result: Result<Vec<String>, ScaffoldError>,
    repo: &Path,
    propose: ProposeArgs,
    branch: &str,
    title: &str,
) -> ExitCode {
    match result {
        Ok(written) => {
            for path in &written {
                anstream::println!("{path}");
            }
            let root = Scaffold::within(repo).map(|scaffold| scaffold.root().to_owned());
            let root = root.unwrap_or_else(|_| repo.to_owned());
            finish(proposing::end(&propose, &root, &written, branch, title, ""))
        }
        Err(error) => {
            anstream::eprintln!("error: {error}");
            ExitCode::from(1)
        }
    }
}

fn new_tenant(
    args: &NewArgs,
    tenant: &TenantId,
    like: Option<&TenantId>,
    owner: Option<&Principal>,
) -> Result<Vec<String>, ScaffoldError> {
    let scaffold = Scaffold::within(&args.repo)?;
    if scaffold.has(&format!("tenants/{tenant}")) {
        return Err(ScaffoldError::Exists(format!("tenants/{tenant}")));
    }
    let mut kind = "customer".to_owned();
    let mut model_owner = None;
    let mut roles = None;
    if let Some(like) = like {
        let path = format!("tenants/{like}/tenant.yaml");
        let model = scaffold.read(&path)?.ok_or_else(|| ScaffoldError::NoTenant(like.to_string()))?;
        let scalar = |key: &str| root(&model).and_then(|root| root.get(key)?.scalar().map(str::to_owned));
        kind = scalar("kind").unwrap_or(kind);
        model_owner = scalar("owner");
        let written = scaffold.read(&format!("tenants/{like}/roles.yaml"))?.unwrap_or_default();
        // Elevations belong to one tenant and one time.
        roles = Some(without(&written, "elevations"));
    }
    let owner = match owner.map(ToString::to_string).or(model_owner) {
        Some(owner) => owner,
        None => first_admin(&scaffold)?,
    };
    let mut fresh = Scaffold::new(scaffold.root());
    scaffold::tenant(&mut fresh, tenant.as_str(), &kind, &owner, &owner);
    if let Some(roles) = roles {
        fresh.substitute(&format!("tenants/{tenant}/roles.yaml"), roles);
    }
    fresh.write()
}

fn new_workflow(args: &NewArgs, name: &str) -> Result<Vec<String>, ScaffoldError> {
    let mut scaffold = Scaffold::within(&args.repo)?;
    let (tenant, workflow) = name.split_once('/').ok_or_else(|| {
        ScaffoldError::Argument(format!("`{name}` is not TENANT/WORKFLOW, such as acme/billing"))
    })?;
    let tenant: TenantId = tenant.parse().map_err(|error| ScaffoldError::Argument(format!("{error}")))?;
    let workflow: WorkflowId =
        workflow.parse().map_err(|error| ScaffoldError::Argument(format!("{error}")))?;
    if !scaffold.has(&format!("tenants/{tenant}")) {
        return Err(ScaffoldError::NoTenant(tenant.to_string()));
    }
    scaffold::workflow(&mut scaffold, tenant.as_str(), workflow.as_str());
    scaffold.write()
}

fn add_person(
    args: &PeopleArgs,
    user: &UserId,
    github: Option<u64>,
    key: Option<&PathBuf>,
    name: Option<&str>,
    email: Option<&str>,
) -> Result<Vec<String>, ScaffoldError> {
    let scaffold = Scaffold::within(&args.repo)?;
    let path = "platform/people.yaml";
    let mut fields = Vec::new();
    fields.extend(name.map(|name| format!("name: {}", yaml_text(name))));
    fields.extend(email.map(|email| format!("email: {}", yaml_text(email))));
    if let Some(key) = key {
        let public = read_key(key)?;
        fields.push(format!("keys: [{{ ssh: {}, use: [commit, approval] }}]", yaml_text(&public)));
    }
    fields.extend(github.map(|id| format!("identities: {{ github: {id} }}")));
    let line = format!("{user}: {{ {} }}", fields.join(", "));
    let text = scaffold.read(path)?.unwrap_or_else(|| "users: {}\n".to_owned());
    let text = splice(&text, user.as_str(), &line).map_err(|why| ScaffoldError::Splice {
        path: path.to_owned(),
        why,
        line,
    })?;
    scaffold.replace(path, &text)?;
    Ok(vec![path.to_owned()])
}

#[expect(clippy::disallowed_methods, reason = "reads the key that was named")]
fn read_key(path: &PathBuf) -> Result<String, ScaffoldError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ScaffoldError::File { path: path.clone(), source })?;
    if text.contains("PRIVATE KEY") {
        return Err(ScaffoldError::Argument(format!(
            "`{0}` is a private key; name the public half, `{0}.pub`",
            path.display()
        )));
    }
    match text.trim().lines().collect::<Vec<_>>().as_slice() {
        [line] if line.starts_with("ssh-") || line.starts_with("ecdsa-") || line.starts_with("sk-") => {
            Ok((*line).to_owned())
        }
        _ => Err(ScaffoldError::Argument(format!("`{}` is no SSH public key", path.display()))),
    }
}

/// Puts `line` at the end of the `users` mapping of `text` and leaves every other byte as it is.
fn splice(text: &str, user: &str, line: &str) -> Result<String, String> {
    let document = root(text).ok_or("it cannot be read; `tenantry validate` says why")?;
    let entries = document.as_mapping().ok_or("it is no mapping")?;
    let Some((key, users)) = entries.iter().find(|(key, _)| key.scalar() == Some("users")) else {
        return Ok(format!("users:\n  {line}\n{text}"));
    };
    if users.get(user).is_some() {
        return Err(format!("`{user}` stands in it already"));
    }
    let spliced = match users.as_mapping() {
        Some(people) if text[users.span.start.offset..].starts_with('{') => {
            // `users: {}` and `users: { a: … }`: before the closing bracket, with a comma where it takes one.
            let close = users.span.end.offset - 1;
            let comma = if people.is_empty() { "" } else { ", " };
            format!("{}{comma}{line} {}", text[..close].trim_end(), &text[close..])
        }
        Some(people) => {
            let (last_key, last) = people.last().ok_or("it lists nobody and is no `{}`")?;
            let indent = " ".repeat(last_key.span.start.column - 1);
            // A block's end lies on the line of its last value, or at the start of the next one.
            let used = text[..last.span.end.offset].trim_end().len();
            let end = text[used..].find('\n').map_or(text.len(), |at| used + at);
            format!("{}\n{indent}{line}{}", &text[..end], with_end(&text[end..]))
        }
        None if users.is_null() => {
            let end =
                text[key.span.end.offset..].find('\n').map_or(text.len(), |at| key.span.end.offset + at);
            format!("{}\n  {line}{}", &text[..end], with_end(&text[end..]))
        }
        None => return Err("`users` is no mapping".to_owned()),
    };
    // What was written is read again: a layout that was misjudged is told, not saved.
    let held =
        root(&spliced).is_some_and(|root| root.get("users").is_some_and(|users| users.get(user).is_some()));
    if held { Ok(spliced) } else { Err("its layout is not understood".to_owned()) }
}

fn with_end(rest: &str) -> &str {
    if rest.is_empty() { "\n" } else { rest }
}

/// `text` without one key of its top mapping.
fn without(text: &str, unwanted: &str) -> String {
    let Some(document) = root(text) else { return text.to_owned() };
    let entries = document.as_mapping().unwrap_or_default();
    let Some(at) = entries.iter().position(|(key, _)| key.scalar() == Some(unwanted)) else {
        return text.to_owned();
    };
    let start = entries[at].0.span.start.offset;
    let end = entries.get(at + 1).map_or(text.len(), |(next, _)| next.span.start.offset);
    format!("{}{}", &text[..start], &text[end..])
}

fn first_admin(scaffold: &Scaffold) -> Result<String, ScaffoldError> {
    let text = scaffold.read("platform/roles.yaml")?.unwrap_or_default();
    let admins = root(&text).and_then(|root| root.get("admin").cloned());
    let first = admins.as_ref().and_then(Node::as_sequence).and_then(<[Node]>::first);
    first.and_then(Node::scalar).map(str::to_owned).ok_or_else(|| {
        ScaffoldError::Argument(
            "say who owns it with `--owner`: platform/roles.yaml names no admin".to_owned(),
        )
    })
}

fn root(text: &str) -> Option<Node> {
    let documents = yaml::parse(text.as_bytes(), &Budget::default()).ok()?;
    documents.into_iter().next().map(|document| document.root)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "zoe: { name: \"Zoe\" }";

    #[track_caller]
    fn check(text: &str, want: Result<&str, &str>) {
        let got = splice(text, "zoe", LINE);
        match want {
            Ok(want) => assert_eq!(got.as_deref(), Ok(want)),
            Err(part) => assert!(got.as_ref().is_err_and(|why| why.contains(part)), "{got:?}"),
        }
    }

    #[test]
    fn a_person_is_added_and_nothing_else_moves() {
        check(
            "users:\n  alice: { name: A } # first\n\n# machines\nservices: {}\n",
            Ok(
                "users:\n  alice: { name: A } # first\n  zoe: { name: \"Zoe\" }\n\n# machines\nservices: {}\n",
            ),
        );
        check(
            "users:\n    alice:\n        name: A\n        email: a@b # work\ngroups: {}\n",
            Ok(
                "users:\n    alice:\n        name: A\n        email: a@b # work\n    zoe: { name: \"Zoe\" }\ngroups: {}\n",
            ),
        );
        check("users: {}\n", Ok("users: {zoe: { name: \"Zoe\" } }\n"));
        check("users: { alice: {} }\n", Ok("users: { alice: {}, zoe: { name: \"Zoe\" } }\n"));
        check("users:\n", Ok("users:\n  zoe: { name: \"Zoe\" }\n"));
        check("users:\n  alice: {}", Ok("users:\n  alice: {}\n  zoe: { name: \"Zoe\" }\n"));
        check("groups: {}\n", Ok("users:\n  zoe: { name: \"Zoe\" }\ngroups: {}\n"));
    }

    #[test]
    fn what_cannot_be_added_to_is_left_alone() {
        check("users:\n  zoe: {}\n", Err("already"));
        check("users: [a]\n", Err("no mapping"));
        check("users: {\n", Err("cannot be read"));
    }

    #[test]
    fn elevations_are_not_taken_along() {
        let roles = "operator: [a]\nelevations:\n  - { id: x }\nauditor: [b]\n";
        assert_eq!(without(roles, "elevations"), "operator: [a]\nauditor: [b]\n");
        assert_eq!(without("operator: [a]\n", "elevations"), "operator: [a]\n");
    }
}
