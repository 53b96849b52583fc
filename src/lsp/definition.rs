//! Where what a word names is written.

use std::ops::Range;

use super::formula;
use super::library::{Library, PEOPLE, is_ciphertext};
use super::meaning::{self, Meaning};
use super::outline::{Part, Token};

/// A place in a file of the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// From the repository's root.
    pub path: String,
    /// The bytes of the name; `None` for the whole file, which is then not read.
    pub range: Option<Range<usize>>,
}

fn whole(path: String) -> Target {
    Target { path, range: None }
}

/// Where the word at an offset is defined.
#[must_use]
pub fn definition(library: &Library<'_>, offset: usize) -> Option<Target> {
    let token = library.own.at(offset)?;
    if token.key {
        let (_, above) = token.path.split_last()?;
        let meaning = meaning::of_key(library.kind, above)?;
        return of_name(library, meaning, token);
    }
    let meaning = meaning::of_value(library.kind, &token.path)?;
    if matches!(meaning, Meaning::Template | Meaning::Expression) {
        let chain = formula::chain(library.text.as_str(), &token.range, offset, meaning)?;
        let name = library.text.as_str().get(chain.range)?;
        let before: Vec<&str> = chain.before.iter().map(String::as_str).collect();
        let way: &[&str] = match before.as_slice() {
            ["inputs"] => &["inputs", name],
            ["steps"] => &["steps", name],
            ["steps", step, "outputs"] => &["steps", step, "outputs", name],
            _ => return None,
        };
        return key_in(library, library.path, way);
    }
    of_name(library, meaning, token)
}

fn of_name(library: &Library<'_>, meaning: Meaning, token: &Token) -> Option<Target> {
    let name = token.text.as_str();
    match meaning {
        Meaning::Script | Meaning::Glob => {
            let path = format!("{}{name}", library.root());
            (library.has(&path) && !is_ciphertext(&path)).then(|| whole(path))
        }
        Meaning::Shared => library.used().filter(|path| library.has(path)).map(whole),
        Meaning::SharedName => {
            Some(format!("shared/{name}/workflow.yaml")).filter(|path| library.has(path)).map(whole)
        }
        Meaning::Secret => key_in(library, &library.secrets_path()?, &["secrets", name]),
        Meaning::SharedSecret => {
            let path = library.used()?;
            let outline = library.outline_of(&path);
            let found = outline.tokens.iter().find(|token| {
                !token.key
                    && token.text == name
                    && meaning::of_value("workflow", &token.path) == Some(Meaning::Secret)
            })?;
            Some(Target { range: Some(found.range.clone()), path })
        }
        Meaning::Step => key_in(library, library.path, &["steps", name]),
        Meaning::Input => key_in(library, library.path, &["inputs", name]),
        Meaning::SharedInput => key_in(library, &library.used()?, &["inputs", name]),
        Meaning::Principal | Meaning::Decider | Meaning::User | Meaning::Agreeing => {
            let (kind, name) = name.split_once(':').unwrap_or(("user", name));
            let section = match kind {
                "user" => "users",
                "group" => "groups",
                "service" => "services",
                _ => return None,
            };
            key_in(library, PEOPLE, &[section, name])
        }
        Meaning::Host => {
            let tenant = library.tenant.as_ref()?;
            let path = format!("tenants/{tenant}/tenant.yaml");
            let outline = library.outline_of(&path);
            let host = outline.values_below(&["egress"]).find(|host| host.text == name)?.range.clone();
            Some(Target { path, range: Some(host) })
        }
        Meaning::Tenant => Some(format!("tenants/{name}/tenant.yaml"))
            .filter(|_| library.view.tenants.iter().any(|tenant| tenant.as_str() == name))
            .map(whole),
        Meaning::SecretFile => {
            Some(format!("{}{name}", library.root())).filter(|path| library.has(path)).map(whole)
        }
        Meaning::SecretVersion => {
            let [_, Part::Key(secret), ..] = token.path.as_slice() else { return None };
            let file = format!("{}secrets/{secret}.{name}.sops.yaml", library.root());
            library.has(&file).then(|| whole(file))
        }
        Meaning::Role | Meaning::Zone | Meaning::Cron | Meaning::Expression | Meaning::Template => None,
    }
}

fn key_in(library: &Library<'_>, path: &str, way: &[&str]) -> Option<Target> {
    let range = library.outline_of(path).key(way)?.range.clone();
    Some(Target { path: path.to_owned(), range: Some(range) })
}
