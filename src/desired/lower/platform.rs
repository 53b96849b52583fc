//! `tenantry.toml` and `platform/`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::file::{self, Found};
use super::{content, names, place, routes};
use crate::desired::python;
use crate::desired::rules;
use crate::desired::written::{
    Language, WrittenDaemon, WrittenIdentities, WrittenPeople, WrittenPlatformRoles, WrittenSettings, decode,
    listed, nearest, parse_toml,
};
use crate::domain::{
    Ceilings, ChangeControlMode, Diagnostic, People, Person, PersonKey, Platform, Principal, PrivateHost,
    Retention, Service, Settings, Severity, Span, Spanned, Tree, digest_of,
};
use crate::sops::Recipient;
use crate::yaml::Node;

pub(super) const SETTINGS: &str = "tenantry.toml";
const PEOPLE: &str = "platform/people.yaml";
const ROLES: &str = "platform/roles.yaml";
const DAEMON: &str = "platform/daemon.yaml";

/// Reads what binds all tenants from a tree that holds `tenantry.toml`, `platform/` and `shared/`.
///
/// `None` as soon as one finding is an error. Mistakes below `shared/` belong to the tenants that use it.
#[must_use]
pub fn read_platform(tree: &Tree) -> (Option<Platform>, Vec<Diagnostic>) {
    let mut found = Found::default();
    let platform = lower(tree, &mut found);
    let findings = found.finish(None);
    let valid = findings.iter().all(|finding| finding.severity < Severity::Error);
    (platform.filter(|_| valid), findings)
}

/// The platform's files as written, each as JSON by its path: what a plan compares field by field.
///
/// A file that cannot be read is left out.
#[must_use]
pub fn platform_facts(tree: &Tree) -> BTreeMap<String, Value> {
    let mut facts = BTreeMap::new();
    if let Some(bytes) = tree.get(SETTINGS).and_then(|entry| entry.content.as_ref())
        && let Ok(root) = parse_toml(bytes, SETTINGS)
    {
        facts.insert(SETTINGS.to_owned(), plain_json(&root));
    }
    for path in [PEOPLE, ROLES, DAEMON] {
        let root = tree.get(path).and_then(|entry| file::parse(path, entry, &mut Found::default()));
        if let Some(root) = root {
            facts.insert(path.to_owned(), plain_json(&root));
        }
    }
    facts
}

fn lower(tree: &Tree, found: &mut Found) -> Option<Platform> {
    if !place::check_below("platform/", tree, found) {
        return None;
    }
    for (path, entry) in tree.below("platform/") {
        content::check(path, entry, found);
        if ![PEOPLE, ROLES, DAEMON].contains(&path) {
            check_place(path, tree, found);
        }
    }
    let settings = settings(tree, found);
    let people = match tree.get(PEOPLE) {
        None => {
            let help = "write it with `users:`; whoever has a role stands there";
            found.push(rules::MISSING_FILE.at(PEOPLE, None, "the repository has no people.yaml").help(help));
            None
        }
        Some(entry) => file::parse(PEOPLE, entry, found)
            .and_then(|root| decode::<WrittenPeople>(&root, PEOPLE, Language::Yaml, &mut found.list))
            .map(|written| lower_people(written, found)),
    };
    if let Some(entry) = tree.get(DAEMON) {
        let _ = file::parse(DAEMON, entry, found)
            .and_then(|root| decode::<WrittenDaemon>(&root, DAEMON, Language::Yaml, &mut found.list));
    }
    let roles = match tree.get(ROLES) {
        None => {
            let help = "write it with `admin:`";
            found.push(
                rules::MISSING_FILE.at(ROLES, None, "the repository has no platform/roles.yaml").help(help),
            );
            None
        }
        Some(entry) => file::parse(ROLES, entry, found)
            .and_then(|root| decode::<WrittenPlatformRoles>(&root, ROLES, Language::Yaml, &mut found.list)),
    };
    let (settings, people, roles) = (settings?, people?, roles?);
    check_signing_keys(&settings, &people, found);
    let admins = principals(&roles.admin.value, &people, found);
    if admins.is_empty() {
        let finding = rules::NOBODY_IN_CHARGE
            .at(ROLES, Some(roles.admin.span), "the platform has no admin")
            .help("name at least one person");
        found.push(finding);
    }
    let mut maintainers = BTreeMap::new();
    for (name, who) in roles.shared.map(|shared| shared.value.0).unwrap_or_default() {
        if tree.below(&format!("shared/{}/", name.value)).next().is_none() {
            let finding = rules::UNKNOWN_PLACE
                .at(ROLES, Some(name.span), format!("there is no directory `shared/{}`", name.value))
                .help("remove the entry, or add the directory");
            found.push(finding);
        }
        maintainers.insert(name.value.to_string(), principals(&who.value, &people, found));
    }
    if let Some(elevation) = roles.elevations.iter().flat_map(|list| &list.value).next() {
        let finding = rules::NOT_SUPPORTED
            .at(ROLES, Some(elevation.span), "elevations to platform admin are not supported yet")
            .help("remove the entry");
        found.push(finding);
    }
    Some(Platform { settings, people, admins, maintainers })
}

fn check_place(path: &str, tree: &Tree, found: &mut Found) {
    let finding = if path.ends_with(".md") {
        return;
    } else if path.ends_with(".cedar") {
        found.list.extend(place::permit_in_policy(path, tree));
        rules::NOT_SUPPORTED
            .at(path, None, "policies are not supported yet")
            .help("remove the file: it would guard nothing")
    } else if path.ends_with(".yml") {
        place::yml(path, tree)
    } else {
        let known = [PEOPLE, ROLES, DAEMON];
        rules::UNKNOWN_PLACE.at(path, None, "nothing is read at this place").help(
            match nearest(path, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the platform has {}", listed(known)),
            },
        )
    };
    found.push(finding);
}

fn settings(tree: &Tree, found: &mut Found) -> Option<Settings> {
    let Some(entry) = tree.get(SETTINGS) else {
        let finding = rules::MISSING_FILE
            .at(SETTINGS, None, "the repository has no tenantry.toml")
            .help("`tenantry init` writes one");
        found.push(finding);
        return None;
    };
    let Some(bytes) = &entry.content else {
        found.push(
            rules::TOO_LARGE
                .at(SETTINGS, None, "the file has more than 1 MiB")
                .help("remove what it does not need"),
        );
        return None;
    };
    content::check(SETTINGS, entry, found);
    let root = match parse_toml(bytes, SETTINGS) {
        Ok(root) => root,
        Err(problems) => {
            found.list.extend(problems);
            return None;
        }
    };
    check_format(&root, found)?;
    let written: WrittenSettings = decode(&root, SETTINGS, Language::Toml, &mut found.list)?;
    let at = |span: Span| Some(span);
    if uuid::Uuid::try_parse(&written.id.value).is_err() {
        let finding = rules::BAD_VALUE
            .at(SETTINGS, at(written.id.span), "the id is not a UUID")
            .help("`tenantry init` makes one");
        found.push(finding);
    }
    let control = written.change_control.as_ref().map(|control| &control.value);
    let mode = control
        .and_then(|control| control.mode.as_ref())
        .map_or_else(ChangeControlMode::default, |mode| mode.value);
    let reconcile = written.reconcile.map(|reconcile| reconcile.value);
    let (branch, on_rewrite) =
        reconcile.map_or((None, None), |reconcile| (reconcile.branch, reconcile.on_rewrite));
    if let Some(rewrite) = &on_rewrite
        && rewrite.value == crate::domain::OnRewrite::Follow
        && mode != ChangeControlMode::Open
    {
        let message = format!("`follow` cannot stand with the mode `{}`", mode.as_str());
        let help = "a force-push would bring code that nobody agreed to: write `hold`";
        found.push(rules::CONFLICTING_FIELDS.at(SETTINGS, at(rewrite.span), message).help(help));
    }
    let recovery = written.secrets.and_then(|keys| keys.value.recovery);
    let recovery = recipients(SETTINGS, recovery.map(|list| list.value).unwrap_or_default(), found);
    let limits = written.limits.map(|limits| limits.value);
    let private: Vec<PrivateHost> = written
        .network
        .and_then(|network| network.value.private)
        .map(|list| list.value)
        .unwrap_or_default()
        .into_iter()
        .map(|opening| PrivateHost {
            tenant: opening.value.tenant.value.to_string(),
            host: opening.value.host.value,
            port: opening.value.port.value,
        })
        .collect();
    let indexes = indexes(written.python.and_then(|python| python.value.indexes), found);
    if let Some(routes) = written.alerts.and_then(|alerts| alerts.value.routes) {
        let ways = routes::Ways { tenant: None, private: &private, mail: written.smtp.is_some() };
        let _ = routes::check(SETTINGS, routes.value, &ways, found);
    }
    let value = |length: Option<Spanned<crate::domain::Length>>| length.map(|length| length.value);
    let policy = root.get("change_control").map_or(Value::Null, plain_json);
    Some(Settings {
        id: written.id.value,
        name: written.name.value,
        branch: branch.map_or_else(|| "main".to_owned(), |branch| branch.value),
        on_rewrite: on_rewrite.map_or_else(Default::default, |rewrite| rewrite.value),
        mode,
        policy: digest_of(&policy),
        limits: limits.map_or_else(Ceilings::default, |limits| Ceilings {
            concurrency: limits.concurrency.map(|limit| limit.value),
            memory: limits.memory.map(|limit| limit.value),
            run_timeout: value(limits.run_timeout),
            elevation_max: value(limits.elevation_max),
            tier: limits.tier.map(|tier| tier.value),
        }),
        retention: written.retention.map_or_else(Retention::default, |keep| Retention {
            payloads: value(keep.value.payloads),
            logs: value(keep.value.logs),
            runs: value(keep.value.runs),
        }),
        recovery,
        private,
        indexes,
        mail: written.smtp.is_some(),
    })
}

/// Where Python packages may come from.
fn indexes(written: Option<Spanned<Vec<Spanned<String>>>>, found: &mut Found) -> Vec<String> {
    let mut indexes = Vec::new();
    for Spanned { value: index, span } in written.map(|list| list.value).unwrap_or_default() {
        if !python::is_index(&index) {
            let message = format!("`{index}` is not the beginning of a URL");
            let help = "write for instance `https://pypi.org/simple`: a name, without user and query";
            found.push(rules::BAD_VALUE.at(SETTINGS, Some(span), message).help(help));
        } else if indexes.contains(&index) {
            let message = format!("`{index}` stands twice");
            found.push(rules::DUPLICATE_KEY.at(SETTINGS, Some(span), message).help("keep one of them"));
        } else {
            indexes.push(index);
        }
    }
    indexes
}

/// Looks at `format` before anything else: in another format every other word may mean something else.
fn check_format(root: &Node, found: &mut Found) -> Option<()> {
    let help = "this version reads `format = 1`";
    let finding = match root.get("format") {
        Some(node) if node.scalar() == Some("1") => return Some(()),
        Some(node) => rules::UNSUPPORTED_FORMAT.at(SETTINGS, Some(node.span), "this format is not supported"),
        None => rules::UNSUPPORTED_FORMAT.at(SETTINGS, None, "the field `format` is missing"),
    };
    found.push(finding.help(help));
    None
}

fn plain_json(node: &Node) -> Value {
    use crate::yaml::{CoreType, Kind};
    match &node.kind {
        Kind::Sequence(items) => Value::Array(items.iter().map(plain_json).collect()),
        Kind::Mapping(entries) => Value::Object(
            entries
                .iter()
                .filter_map(|(key, value)| Some((key.scalar()?.to_owned(), plain_json(value))))
                .collect(),
        ),
        Kind::Scalar { text, .. } => match node.core_type() {
            Some(CoreType::Int) => text.parse::<i64>().map_or_else(|_| json!(text), |number| json!(number)),
            Some(CoreType::Bool) => json!(text == "true"),
            _ => json!(text),
        },
    }
}

/// Reads recipients into their one spelling; malformed and repeated ones are reported.
pub(super) fn recipients(path: &str, written: Vec<Spanned<String>>, found: &mut Found) -> Vec<String> {
    let mut read: Vec<String> = Vec::new();
    for recipient in written {
        match recipient.value.parse::<Recipient>() {
            Ok(key) if read.iter().any(|known| known == key.as_str()) => {
                let finding =
                    rules::BAD_RECIPIENT.at(path, Some(recipient.span), "this recipient stands twice");
                found.push(finding.help("keep one of them"));
            }
            Ok(key) => read.push(key.as_str().to_owned()),
            Err(_) => {
                let secret = content::holds_secret(recipient.value.as_bytes());
                // What stands here may be a private key by mistake: it is not quoted.
                let message =
                    if secret { "this is a private key" } else { "this is no recipient that can be used" };
                let help = "write the public half of an age X25519 key (age1…) or of an ssh-ed25519 key";
                found.push(rules::BAD_RECIPIENT.at(path, Some(recipient.span), message).help(help));
            }
        }
    }
    read
}

fn lower_people(written: WrittenPeople, found: &mut Found) -> People {
    let mut people = People::default();
    let users = written.users.iter().flat_map(|users| &users.value.0);
    names::check("person", users.map(|(id, _)| (id.value.as_str(), PEOPLE, Some(id.span))), found);
    let groups = written.groups.iter().flat_map(|groups| &groups.value.0);
    names::check("group", groups.map(|(id, _)| (id.value.as_str(), PEOPLE, Some(id.span))), found);
    let services = written.services.iter().flat_map(|services| &services.value.0);
    names::check("service", services.map(|(id, _)| (id.value.as_str(), PEOPLE, Some(id.span))), found);
    for (id, person) in written.users.map(|users| users.value.0).unwrap_or_default() {
        let person = person.value;
        let keys = person.keys.map(|keys| keys.value).unwrap_or_default();
        people.users.insert(
            id.value,
            Person {
                name: person.name.map(|name| name.value),
                email: person.email.map(|email| email.value),
                keys: keys
                    .into_iter()
                    .map(|key| PersonKey {
                        ssh: key.value.ssh.value,
                        purposes: key
                            .value
                            .purposes
                            .value
                            .iter()
                            .map(|use_| use_.value.as_str().to_owned())
                            .collect(),
                        revoked_at: key.value.revoked_at.map(|at| at.value),
                    })
                    .collect(),
                identities: identities(person.identities),
            },
        );
    }
    for (id, members) in written.groups.map(|groups| groups.value.0).unwrap_or_default() {
        let mut group = BTreeSet::new();
        for member in members.value {
            if !people.users.contains_key(&member.value) {
                unknown(PEOPLE, &Principal::User(member.value.clone()), member.span, &people, found);
            }
            if !group.insert(member.value.clone()) {
                let message = format!("`{}` stands twice in `{}`", member.value, id.value);
                found.push(
                    rules::DUPLICATE_GRANT.at(PEOPLE, Some(member.span), message).help("keep one of them"),
                );
            }
        }
        people.groups.insert(id.value, group);
    }
    for (id, service) in written.services.map(|services| services.value.0).unwrap_or_default() {
        let owner = service.value.owner;
        if !people.knows(&owner.value) {
            unknown(PEOPLE, &owner.value, owner.span, &people, found);
        }
        let identities = identities(service.value.identities);
        people.services.insert(id.value, Service { owner: owner.value, identities });
    }
    people
}

fn identities(written: Option<Spanned<WrittenIdentities>>) -> BTreeMap<String, Value> {
    let Some(written) = written.map(|written| written.value) else { return BTreeMap::new() };
    [("github", written.github), ("gitlab", written.gitlab), ("gitea", written.gitea), ("oidc", written.oidc)]
        .into_iter()
        .filter_map(|(provider, account)| Some((provider.to_owned(), account?.value.0)))
        .collect()
}

/// Reports a principal that people.yaml does not have, with the nearest that it has.
pub(super) fn unknown(path: &str, principal: &Principal, span: Span, people: &People, found: &mut Found) {
    let (kind, names): (&str, Vec<&str>) = match principal {
        Principal::User(_) => ("person", people.users.keys().map(AsRef::as_ref).collect()),
        Principal::Group(_) => ("group", people.groups.keys().map(AsRef::as_ref).collect()),
        Principal::Service(_) => ("service", people.services.keys().map(AsRef::as_ref).collect()),
    };
    let name = match principal {
        Principal::User(id) => id.as_str(),
        Principal::Group(id) => id.as_str(),
        Principal::Service(id) => id.as_str(),
    };
    let group = matches!(principal, Principal::User(id) if people.groups.contains_key(id.as_str()));
    let help = if group {
        format!("`{name}` is a group: write `group:{name}`")
    } else {
        match nearest(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None if names.is_empty() => format!("platform/people.yaml has no {kind} yet"),
            None => format!("platform/people.yaml has {}", listed(names)),
        }
    };
    let message = format!("`{name}` is no {kind} of platform/people.yaml");
    found.push(rules::UNKNOWN_PRINCIPAL.at(path, Some(span), message).help(help));
}

fn principals(written: &[Spanned<Principal>], people: &People, found: &mut Found) -> BTreeSet<Principal> {
    let mut read = BTreeSet::new();
    for principal in written {
        if let Principal::Service(id) = &principal.value {
            let message = format!("the service `{id}` cannot decide");
            let finding = rules::SERVICE_IN_CHARGE.at(ROLES, Some(principal.span), message);
            found.push(finding.help("name a person or a group"));
        } else if !people.knows(&principal.value) {
            unknown(ROLES, &principal.value, principal.span, people, found);
        } else if !read.insert(principal.value.clone()) {
            let message = format!("`{}` stands twice", principal.value);
            let finding = rules::DUPLICATE_GRANT.at(ROLES, Some(principal.span), message);
            found.push(finding.help("keep one of them"));
        }
    }
    read
}

/// A key that signs must not also decrypt.
fn check_signing_keys(settings: &Settings, people: &People, found: &mut Found) {
    for recipient in &settings.recovery {
        if let Some(user) = signer(recipient, people) {
            let message = format!("a recovery key is also a signing key of `{user}`");
            let help = "make an age key for recovery alone";
            found.push(rules::SIGNING_KEY_AS_RECIPIENT.at(SETTINGS, None, message).help(help));
        }
    }
}

/// The person who signs with the key that a recipient is made of.
pub(super) fn signer<'p>(recipient: &str, people: &'p People) -> Option<&'p crate::domain::UserId> {
    let same = |key: &PersonKey| key.ssh.parse::<Recipient>().is_ok_and(|key| key.as_str() == recipient);
    people.users.iter().find(|(_, person)| person.keys.iter().any(same)).map(|(id, _)| id)
}
