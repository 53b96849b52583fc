//! What is known of the word at a place, as Markdown. Everything that comes from the repository stands in code
//! spans, where nothing of it is read as a link or an image.

use std::ops::Range;

use super::formula;
use super::library::{Library, SecretEntry};
use super::meaning::{self, Meaning};
use super::names;
use super::outline::{Part, Token};
use super::shape::{Form, Shape};
use crate::domain::Timestamp;
use crate::schedule::{Cron, Zone};

/// Characters of one quoted text.
const QUOTED_CHARS_MAX: usize = 200;
/// Fire times that are shown.
const FIRES: usize = 3;

/// What is shown, and for which bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Markdown.
    pub markdown: String,
    /// What it is about.
    pub range: Range<usize>,
}

/// A text of the repository in a code span.
fn code(text: &str) -> String {
    let plain: String = text
        .chars()
        .map(|c| {
            if c.is_control() {
                ' '
            } else if c == '`' {
                '\''
            } else {
                c
            }
        })
        .take(QUOTED_CHARS_MAX)
        .collect();
    format!("`{}`", plain.trim())
}

/// What is known of the word at an offset; `None` where there is none.
#[must_use]
pub fn hover(library: &Library<'_>, offset: usize, now: Timestamp) -> Option<Shown> {
    let token = library.own.at(offset)?;
    let shown = |markdown: String| Some(Shown { markdown, range: token.range.clone() });
    if token.key {
        let (_, above) = token.path.split_last()?;
        let named = meaning::of_key(library.kind, above).and_then(|meaning| of_name(library, meaning, token));
        return shown(match (of_entry(library, token), of_field(library, &token.path), named) {
            (Some(entry), _, _) => entry,
            (None, Some(field), _) => field,
            (None, None, Some(name)) => name,
            (None, None, None) => return None,
        });
    }
    let meaning = meaning::of_value(library.kind, &token.path);
    if let Some(expression) = meaning.filter(|one| matches!(one, Meaning::Template | Meaning::Expression))
        && let Some(chain) = formula::chain(library.text.as_str(), &token.range, offset, expression)
    {
        let markdown = of_chain(library, &chain.before, library.text.as_str().get(chain.range.clone())?)?;
        return Some(Shown { markdown, range: chain.range });
    }
    let fires = (meaning == Some(Meaning::Cron)).then(|| of_cron(library, token, now)).flatten();
    let name = meaning.and_then(|meaning| of_name(library, meaning, token));
    let field = of_field(library, field_of(&token.path));
    let parts: Vec<String> = [fires, name, field].into_iter().flatten().collect();
    if parts.is_empty() { None } else { shown(parts.join("\n\n---\n\n")) }
}

/// The way to the field that a value belongs to: that of its list, for an item.
fn field_of(path: &[Part]) -> &[Part] {
    match path.split_last() {
        Some((Part::Item(_), above)) => field_of(above),
        _ => path,
    }
}

/// A field as its schema describes it.
fn of_field(library: &Library<'_>, path: &[Part]) -> Option<String> {
    let shape = Shape::of(library.kind)?;
    let (field, forms) = shape.field(path)?;
    let mut words: Vec<String> = forms.iter().map(|form| form.word()).collect();
    words.dedup();
    let required = if field.required { ", required" } else { "" };
    let mut text = format!("**`{}`** ({}{required})", field.name, words.join(" | "));
    if let Some(about) = field.form.about() {
        text.push_str(&format!("\n\n{about}"));
    }
    let examples: Vec<String> =
        forms.iter().copied().flat_map(Form::examples).map(|one| code(&one)).collect();
    if !examples.is_empty() {
        text.push_str(&format!("\n\nFor instance {}.", examples.join(", ")));
    }
    Some(text)
}

/// A key that names an entry of the file itself: a step, an input, a secret, a person.
fn of_entry(library: &Library<'_>, token: &Token) -> Option<String> {
    let [Part::Key(section), Part::Key(name)] = token.path.as_slice() else { return None };
    match (library.kind, section.as_str()) {
        ("workflow", "steps") => Some(of_step(library, name)),
        ("workflow", "inputs") => Some(of_input(library, name)),
        ("secrets", "secrets") => of_secret(library, name),
        ("people", "users") => of_principal(library, name),
        ("people", "groups") => of_principal(library, &format!("group:{name}")),
        ("people", "services") => of_principal(library, &format!("service:{name}")),
        _ => None,
    }
}

/// What a name stands for.
fn of_name(library: &Library<'_>, meaning: Meaning, token: &Token) -> Option<String> {
    let name = token.text.as_str();
    match meaning {
        Meaning::Script => {
            let script = library.scripts().into_iter().find(|(path, _)| path == name);
            Some(match script {
                Some((_, true)) => {
                    format!("script {}, executable", code(&format!("{}{name}", library.root())))
                }
                Some((_, false)) => {
                    format!("script {}, **not executable**", code(&format!("{}{name}", library.root())))
                }
                None => return None,
            })
        }
        Meaning::Shared => {
            let path = library.used()?;
            let about = library.outline_of(&path).value(&["description"]).map(|about| code(&about.text));
            Some(format!(
                "shared workflow {}{}",
                code(name),
                about.map(|about| format!(": {about}")).unwrap_or_default()
            ))
        }
        Meaning::Secret => of_secret(library, name),
        Meaning::Step => library.own.key(&["steps", name]).map(|_| of_step(library, name)),
        Meaning::Input => library.own.key(&["inputs", name]).map(|_| of_input(library, name)),
        Meaning::Principal | Meaning::Decider | Meaning::User | Meaning::Agreeing => {
            of_principal(library, name)
        }
        Meaning::Role => names::of(library, meaning, &token.path)
            .into_iter()
            .find(|role| role.text == name)
            .and_then(|role| role.about.map(|about| format!("role {}: {about}", code(name)))),
        _ => None,
    }
}

fn of_step(library: &Library<'_>, name: &str) -> String {
    let own = &library.own;
    let mut text = format!("step {}", code(name));
    if let Some(summary) = names::summary(own, name) {
        text.push_str(&format!(": {}", code(&summary)));
    }
    let list = |field: &str| -> Vec<String> {
        own.values_below(&["steps", name, field]).map(|value| code(&value.text)).collect()
    };
    for (field, word) in [("needs", "waits for"), ("secrets", "secrets"), ("network", "reaches")] {
        let values = list(field);
        if !values.is_empty() {
            text.push_str(&format!("\n- {word} {}", values.join(", ")));
        }
    }
    let outputs: Vec<String> =
        own.keys_below(&["steps", name, "outputs"]).map(|output| code(&output.text)).collect();
    if !outputs.is_empty() {
        text.push_str(&format!("\n- writes {}", outputs.join(", ")));
    }
    text
}

fn of_input(library: &Library<'_>, name: &str) -> String {
    let own = &library.own;
    let kind = own.value(&["inputs", name, "type"]).map_or("string", |kind| kind.text.as_str());
    let mut text = format!("input {} ({})", code(name), code(kind));
    if let Some(about) = own.value(&["inputs", name, "description"]) {
        text.push_str(&format!(": {}", code(&about.text)));
    }
    text
}

/// A secret by its index: never by its file.
fn of_secret(library: &Library<'_>, name: &str) -> Option<String> {
    let secrets = library.secrets();
    let SecretEntry { owner, purposes, versions } = secrets.get(name)?;
    let mut text = format!("secret {}", code(name));
    if let Some(owner) = owner {
        text.push_str(&format!("\n- owner {}", code(owner)));
    }
    if !purposes.is_empty() {
        let purposes: Vec<String> = purposes.iter().map(|one| code(one)).collect();
        text.push_str(&format!("\n- for {}", purposes.join(", ")));
    }
    if !versions.is_empty() {
        let versions: Vec<String> =
            versions.iter().map(|(id, state)| format!("{} {}", code(id), code(state))).collect();
        text.push_str(&format!("\n- versions: {}", versions.join(", ")));
    }
    let users: Vec<String> = library.users_of_secret(name).iter().map(|workflow| code(workflow)).collect();
    text.push_str(&match users.is_empty() {
        true => "\n- no workflow uses it".to_owned(),
        false => format!("\n- used by {}", users.join(", ")),
    });
    Some(text)
}

fn of_principal(library: &Library<'_>, written: &str) -> Option<String> {
    let people = &library.view.platform.as_ref()?.people;
    let (kind, name) = written.split_once(':').unwrap_or(("user", written));
    match kind {
        "user" => {
            let person = people.users.get(name)?;
            let mut text = format!("person {}", code(name));
            if let Some(full) = &person.name {
                text.push_str(&format!(": {}", code(full)));
            }
            let groups: Vec<String> = people
                .groups
                .iter()
                .filter(|(_, members)| members.contains(name))
                .map(|(group, _)| code(group.as_str()))
                .collect();
            if !groups.is_empty() {
                text.push_str(&format!("\n- in {}", groups.join(", ")));
            }
            Some(text)
        }
        "group" => {
            let members: Vec<String> =
                people.groups.get(name)?.iter().map(|user| code(user.as_str())).collect();
            Some(format!("group {}: {}", code(name), members.join(", ")))
        }
        "service" => {
            let service = people.services.get(name)?;
            Some(format!("service {}, of {}", code(name), code(&service.owner.to_string())))
        }
        _ => None,
    }
}

/// When a schedule fires next.
fn of_cron(library: &Library<'_>, token: &Token, now: Timestamp) -> Option<String> {
    let cron = Cron::parse(&token.text).ok()?;
    let zone = zone_of(library, token)?;
    let mut at = now;
    let mut fires = Vec::new();
    while fires.len() < FIRES {
        let Some(next) = cron.next_after(&zone, at) else { break };
        fires.push(format!("`{next}`"));
        at = next;
    }
    let zone = code(zone.name());
    Some(match fires.is_empty() {
        true => format!("never fires, in {zone}"),
        false => format!("fires next, in {zone}: {}", fires.join(", ")),
    })
}

/// The zone beside a cron line, else the tenant's, else UTC.
fn zone_of(library: &Library<'_>, token: &Token) -> Option<Zone> {
    let beside =
        token.path.split_last().filter(|(part, _)| matches!(part, Part::Key(name) if name == "cron"));
    let own = beside.and_then(|(_, schedule)| {
        library.own.tokens.iter().find(|other| {
            !other.key && matches!(other.path.split_last(), Some((Part::Key(name), above)) if name == "timezone" && above == schedule)
        })
    });
    let name = match (own, &library.tenant) {
        (Some(own), _) => own.text.clone(),
        (None, Some(tenant)) => library
            .outline_of(&format!("tenants/{tenant}/tenant.yaml"))
            .value(&["timezone"])
            .map_or_else(|| "UTC".to_owned(), |zone| zone.text.clone()),
        (None, None) => "UTC".to_owned(),
    };
    Zone::parse(&name).ok()
}

fn of_chain(library: &Library<'_>, before: &[String], name: &str) -> Option<String> {
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let own = &library.own;
    match before.as_slice() {
        [] => names::about_root(name).map(|about| format!("**`{name}`**: {about}")),
        ["inputs"] => own.key(&["inputs", name]).map(|_| of_input(library, name)),
        ["steps"] => own.key(&["steps", name]).map(|_| of_step(library, name)),
        ["steps", step, "outputs"] => {
            let kind = own.value(&["steps", step, "outputs", name])?;
            Some(format!("output {} of the step {}: {}", code(name), code(step), code(&kind.text)))
        }
        _ => None,
    }
}
