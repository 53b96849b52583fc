//! What a value at a place names: only where something is named elsewhere can it be looked up, completed, or
//! gone to.

use super::outline::{Part, words};

/// What is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// A script, from the tenant's or the shared workflow's directory.
    Script,
    /// Files by a glob, from the same.
    Glob,
    /// `shared/NAME`.
    Shared,
    /// A directory below `shared/`.
    SharedName,
    /// A secret of the tenant's index.
    Secret,
    /// A secret that a shared workflow asks for.
    SharedSecret,
    /// A step of the same workflow.
    Step,
    /// An input of the same workflow.
    Input,
    /// An input of the shared workflow.
    SharedInput,
    /// A person, group or service.
    Principal,
    /// A person or group.
    Decider,
    /// A person.
    User,
    /// A role in a tenant.
    Role,
    /// Who agrees to a class of change.
    Agreeing,
    /// An IANA zone.
    Zone,
    /// A cron line.
    Cron,
    /// A host of the tenant's egress.
    Host,
    /// A tenant.
    Tenant,
    /// The file of a secret, below `secrets/`.
    SecretFile,
    /// A version of a secret, which has a file.
    SecretVersion,
    /// An expression without `${{ }}`.
    Expression,
    /// A value in which `${{ }}` may stand.
    Template,
}

/// What a value at the end of a way names, in a file of the schema `kind`.
#[must_use]
pub fn of_value(kind: &str, way: &[Part]) -> Option<Meaning> {
    let way = words(way);
    match kind {
        "workflow" => of_workflow(&way),
        "tenant" => match way.as_slice() {
            ["owner"] => Some(Meaning::Principal),
            ["timezone"] => Some(Meaning::Zone),
            ["alerts", "routes", .., "secret"] => Some(Meaning::Secret),
            _ => None,
        },
        "roles" => match way.as_slice() {
            ["operator" | "developer" | "auditor", "[]"] => Some(Meaning::Principal),
            ["elevations", "[]", "user"] => Some(Meaning::User),
            ["elevations", "[]", "role"] => Some(Meaning::Role),
            _ => None,
        },
        "secrets" => match way.as_slice() {
            ["secrets", _, "owner"] => Some(Meaning::Principal),
            ["secrets", _, "file"] | ["secrets", _, "versions", "[]", "file"] => Some(Meaning::SecretFile),
            ["secrets", _, "versions", "[]", "id"] => Some(Meaning::SecretVersion),
            _ => None,
        },
        "people" => match way.as_slice() {
            ["groups", _, "[]"] => Some(Meaning::User),
            ["services", _, "owner"] => Some(Meaning::Principal),
            _ => None,
        },
        "platform-roles" => match way.as_slice() {
            ["admin", "[]"] | ["shared", _, "[]"] => Some(Meaning::Decider),
            ["elevations", "[]", "user"] => Some(Meaning::User),
            _ => None,
        },
        "tenantry" => match way.as_slice() {
            ["network", "private", "[]", "tenant"] => Some(Meaning::Tenant),
            ["change_control", .., "from", "[]"] => Some(Meaning::Agreeing),
            _ => None,
        },
        _ => None,
    }
}

fn of_workflow(way: &[&str]) -> Option<Meaning> {
    match way {
        ["uses"] => Some(Meaning::Shared),
        ["files", "[]"] | ["on", "commit", "paths", "[]"] => Some(Meaning::Glob),
        ["on", "webhook", "secret"] | ["secrets", _] => Some(Meaning::Secret),
        ["on", "schedule"] | ["on", "schedule", "[]"] | ["on", "schedule", .., "cron"] => Some(Meaning::Cron),
        ["on", "schedule", .., "timezone"] => Some(Meaning::Zone),
        ["concurrency", "key"] | ["inputs", _, "default", ..] | ["on", .., "with", _] => {
            Some(Meaning::Template)
        }
        ["steps", _, inner @ ..] | ["on_failure", inner @ ..] => of_step(inner),
        top => of_step(top),
    }
}

fn of_step(way: &[&str]) -> Option<Meaning> {
    match way {
        ["run"] => Some(Meaning::Script),
        ["needs"] | ["needs", "[]"] => Some(Meaning::Step),
        ["secrets", "[]"] | ["secrets", "[]", "name"] => Some(Meaning::Secret),
        ["network", "[]"] => Some(Meaning::Host),
        ["approval", "from", "[]"] => Some(Meaning::Agreeing),
        ["if" | "for_each" | "item_key"] => Some(Meaning::Expression),
        ["with", _, ..] => Some(Meaning::Template),
        _ => None,
    }
}

/// What a key of the mapping at the end of a way names.
#[must_use]
pub fn of_key(kind: &str, mapping: &[Part]) -> Option<Meaning> {
    match (kind, words(mapping).as_slice()) {
        ("workflow", ["with"]) => Some(Meaning::SharedInput),
        ("workflow", ["secrets"]) => Some(Meaning::SharedSecret),
        ("workflow", ["on", .., "with"]) => Some(Meaning::Input),
        ("platform-roles", ["shared"]) => Some(Meaning::SharedName),
        _ => None,
    }
}
