//! The names that may stand at a place, each with what is known of it.

use gen_lsp_types::CompletionItemKind as ItemKind;

use super::formula::Chain;
use super::library::Library;
use super::meaning::{self, Meaning};
use super::outline::{Outline, Part, words};
use crate::schedule::Zone;

/// Steps, inputs and the like of one file that are offered.
const NAMES_MAX: usize = 500;

/// One name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// As it is to be written.
    pub text: String,
    /// A word beside it.
    pub detail: Option<String>,
    /// What it is for.
    pub about: Option<String>,
    /// Its picture.
    pub kind: ItemKind,
}

fn name(text: impl Into<String>, detail: Option<String>, kind: ItemKind) -> Name {
    Name { text: text.into(), detail, about: None, kind }
}

fn described(text: &str, about: &str, kind: ItemKind) -> Name {
    Name { text: text.to_owned(), detail: None, about: Some(about.to_owned()), kind }
}

/// The names that a value at the end of a way may have.
#[must_use]
pub fn of(library: &Library<'_>, meaning: Meaning, way: &[Part]) -> Vec<Name> {
    match meaning {
        Meaning::Script => library
            .scripts()
            .into_iter()
            .map(|(path, executable)| {
                name(path, (!executable).then(|| "not executable".to_owned()), ItemKind::File)
            })
            .collect(),
        Meaning::Glob => {
            let files = library.scripts().into_iter().map(|(path, _)| name(path, None, ItemKind::File));
            std::iter::once(name("scripts/**", Some("every script".to_owned()), ItemKind::Folder))
                .chain(files)
                .collect()
        }
        Meaning::Shared => {
            let all = library.shared().into_iter();
            all.map(|shared| name(format!("shared/{shared}"), None, ItemKind::Module)).collect()
        }
        Meaning::SharedName => {
            library.shared().into_iter().map(|shared| name(shared, None, ItemKind::Module)).collect()
        }
        Meaning::Secret => secrets(library, way),
        Meaning::SharedSecret => shared_secrets(library),
        Meaning::Step => steps(&library.own, way),
        Meaning::Input => inputs(&library.own),
        Meaning::SharedInput => {
            library.used().map(|path| inputs(&library.outline_of(&path))).unwrap_or_default()
        }
        Meaning::Principal => principals(library, true),
        Meaning::Decider => principals(library, false),
        Meaning::User => {
            library.people("users").into_iter().map(|user| name(user, None, ItemKind::Constant)).collect()
        }
        Meaning::Role => roles().collect(),
        Meaning::Agreeing => {
            let owner = described("owner", "the tenant's owner", ItemKind::EnumMember);
            let people = if library.is_toml() { Vec::new() } else { principals(library, false) };
            std::iter::once(owner).chain(roles()).chain(people).collect()
        }
        Meaning::Zone => Zone::names().into_iter().map(|zone| name(zone, None, ItemKind::Constant)).collect(),
        Meaning::Host => hosts(library),
        Meaning::Tenant => {
            let all = library.view.tenants.iter();
            all.map(|tenant| name(tenant.to_string(), None, ItemKind::Module)).collect()
        }
        Meaning::SecretFile => {
            library.secret_files().into_iter().map(|file| name(file, None, ItemKind::File)).collect()
        }
        Meaning::Cron | Meaning::SecretVersion | Meaning::Expression | Meaning::Template => Vec::new(),
    }
}

fn roles() -> impl Iterator<Item = Name> {
    [
        ("operator", "starts, reruns, cancels and pauses; sees logs"),
        ("developer", "sees runs and logs of the tenant"),
        ("auditor", "reads records and the audit"),
    ]
    .into_iter()
    .map(|(role, about)| described(role, about, ItemKind::EnumMember))
}

fn principals(library: &Library<'_>, services: bool) -> Vec<Name> {
    let of = |section: &str, prefix: &str, word: &str| -> Vec<Name> {
        let all = library.people(section).into_iter();
        all.map(|who| name(format!("{prefix}{who}"), Some(word.to_owned()), ItemKind::Constant)).collect()
    };
    let mut all = of("users", "", "person");
    all.extend(of("groups", "group:", "group"));
    if services {
        all.extend(of("services", "service:", "service"));
    }
    all
}

/// Secrets of the tenant; at the secret of a webhook those for webhooks first.
fn secrets(library: &Library<'_>, way: &[Part]) -> Vec<Name> {
    let wanted = match words(way).as_slice() {
        ["on", "webhook", ..] => "webhook",
        ["alerts", ..] => "alert",
        _ => "step",
    };
    let mut fitting = Vec::new();
    let mut others = Vec::new();
    for (secret, entry) in library.secrets() {
        let states: Vec<String> = entry.versions.iter().map(|(id, state)| format!("{id} {state}")).collect();
        let fits = if entry.purposes.is_empty() {
            wanted == "step"
        } else {
            entry.purposes.iter().any(|one| one == wanted)
        };
        let detail = if fits {
            states.join(", ")
        } else {
            format!(
                "for {}",
                if entry.purposes.is_empty() { "step".to_owned() } else { entry.purposes.join(", ") }
            )
        };
        let one = name(secret, Some(detail), ItemKind::Value);
        if fits { fitting.push(one) } else { others.push(one) }
    }
    fitting.extend(others);
    fitting
}

/// Secrets that the steps of the shared workflow declare.
fn shared_secrets(library: &Library<'_>) -> Vec<Name> {
    let Some(path) = library.used() else { return Vec::new() };
    let mut names: Vec<Name> = Vec::new();
    for token in library.outline_of(&path).tokens {
        let secret = !token.key && meaning::of_value("workflow", &token.path) == Some(Meaning::Secret);
        if secret && !names.iter().any(|one| one.text == token.text) {
            names.push(name(token.text, Some("secret of the shared workflow".to_owned()), ItemKind::Value));
        }
    }
    names
}

/// Steps other than the one in which the way lies.
fn steps(own: &Outline, way: &[Part]) -> Vec<Name> {
    let here = match way {
        [Part::Key(steps), Part::Key(step), ..] if steps == "steps" => Some(step.as_str()),
        _ => None,
    };
    let all = own.keys_below(&["steps"]).filter(|step| Some(step.text.as_str()) != here);
    all.take(NAMES_MAX)
        .map(|step| name(step.text.clone(), summary(own, &step.text), ItemKind::Function))
        .collect()
}

/// What a step does, in a word.
#[must_use]
pub fn summary(own: &Outline, step: &str) -> Option<String> {
    let run = own.value(&["steps", step, "run"]).map(|run| run.text.clone());
    run.or_else(|| own.value(&["steps", step, "script"]).map(|_| "an inline script".to_owned()))
}

fn inputs(own: &Outline) -> Vec<Name> {
    own.keys_below(&["inputs"])
        .take(NAMES_MAX)
        .map(|input| {
            let kind = own.value(&["inputs", &input.text, "type"]).map_or("string", |kind| &kind.text);
            let about = own.value(&["inputs", &input.text, "description"]).map(|about| about.text.clone());
            Name { about, ..name(input.text.clone(), Some(kind.to_owned()), ItemKind::Variable) }
        })
        .collect()
}

fn hosts(library: &Library<'_>) -> Vec<Name> {
    let Some(tenant) = &library.tenant else { return Vec::new() };
    let settings = library.outline_of(&format!("tenants/{tenant}/tenant.yaml"));
    let hosts = settings.values_below(&["egress"]);
    hosts
        .map(|host| name(host.text.clone(), Some("egress of the tenant".to_owned()), ItemKind::Value))
        .collect()
}

/// The roots of expressions with what they hold, by what has a value at a place.
const ROOTS: [(&str, &str); 6] = [
    ("inputs", "the run's inputs by name"),
    ("steps", "steps that have ended, each with `status` and `outputs`"),
    ("item", "the element that a `for_each` step is at"),
    ("trigger", "what started the run: `kind`, `time`, `commit`, `body`"),
    ("run", "the run: `id`, `workflow`, `commit`"),
    ("tenant", "the tenant: `id`, `environment`"),
];

const FUNCTIONS: [(&str, &str); 4] = [
    ("day(", "`day(time, offset)`: the day of a time, some days on, as `2026-11-23`"),
    ("size(", "the length of a text, list or map"),
    ("has(", "whether a field is there"),
    ("string(", "a value as text"),
];

/// What a root holds; `None` for another name.
#[must_use]
pub fn about_root(root: &str) -> Option<&'static str> {
    ROOTS.iter().find(|(name, _)| *name == root).map(|(_, about)| *about)
}

/// The names that may go on a chain in an expression at the end of a way.
#[must_use]
pub fn in_chain(library: &Library<'_>, chain: &Chain, way: &[Part]) -> Vec<Name> {
    let own = &library.own;
    let before: Vec<&str> = chain.before.iter().map(String::as_str).collect();
    let fields = |all: &[(&str, &str)]| {
        all.iter().map(|(field, about)| described(field, about, ItemKind::Field)).collect()
    };
    match before.as_slice() {
        [] => {
            let roots = ROOTS.iter().filter(|(root, _)| has_value(library, root, way));
            let roots = roots.map(|(root, about)| described(root, about, ItemKind::Variable));
            roots
                .chain(FUNCTIONS.iter().map(|(call, about)| described(call, about, ItemKind::Function)))
                .collect()
        }
        ["inputs"] => inputs(own),
        ["steps"] => steps(own, way),
        ["steps", _] => {
            fields(&[("outputs", "what the step wrote"), ("status", "`success`, `failure`, `skipped`, …")])
        }
        ["steps", step, "outputs"] => {
            let way = ["steps", step, "outputs"];
            let outputs = own.keys_below(&way).map(|output| {
                let kind = own.value(&["steps", step, "outputs", &output.text]).map(|kind| kind.text.clone());
                name(output.text.clone(), kind, ItemKind::Field)
            });
            outputs.collect()
        }
        ["trigger"] => fields(&[
            ("kind", "`commit`, `schedule`, `webhook`, `manual`, …"),
            ("time", "when it fired"),
            ("commit", "the commit of the run"),
            ("body", "what the webhook sent"),
        ]),
        ["run"] => {
            fields(&[("id", "the run's id"), ("workflow", "the workflow's name"), ("commit", "its commit")])
        }
        ["tenant"] => fields(&[("id", "the tenant's name"), ("environment", "its stage")]),
        _ => Vec::new(),
    }
}

/// Whether a root has a value in an expression at the end of a way.
fn has_value(library: &Library<'_>, root: &str, way: &[Part]) -> bool {
    let looped = |step: &str| library.own.key(&["steps", step, "for_each"]).is_some();
    match words(way).as_slice() {
        ["inputs", ..] | ["on", ..] => ["trigger", "tenant"].contains(&root),
        ["concurrency", ..] => ["inputs", "trigger", "tenant"].contains(&root),
        ["with", ..] if library.own.key(&["uses"]).is_some() => ["trigger", "tenant"].contains(&root),
        ["steps", _, "for_each"] => root != "item",
        ["steps", step, ..] => root != "item" || looped(step),
        ["on_failure", ..] => root != "item",
        _ => root != "item" && root != "steps",
    }
}
