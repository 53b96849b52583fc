//! Alert routes: that each has an address which can be reached, and a secret that exists for it.

use serde_json::Value;

use super::file::Found;
use super::secrets;
use crate::desired::rules;
use crate::desired::written::{Anything, listed, nearest};
use crate::domain::{PrivateHost, SecretName, SecretPurpose, Span, Spanned};
use crate::yaml::Node;

/// Kinds of routes.
const KINDS: [&str; 4] = ["slack", "alertmanager", "email", "webhook"];
/// Levels of alerts that a route may be for.
const LEVELS: [&str; 3] = ["page", "notify", "digest"];
/// Routes of one file.
const ROUTES_MAX: usize = 50;

/// What a route may lead to.
pub(super) struct Ways<'a> {
    /// The tenant's name; `None` for the platform's own routes.
    pub(super) tenant: Option<&'a str>,
    /// Openings into private ranges.
    pub(super) private: &'a [PrivateHost],
    /// Whether mail can leave.
    pub(super) mail: bool,
}

/// Checks routes; gives them as they are.
pub(super) fn check(
    path: &str,
    routes: Vec<Spanned<Anything>>,
    ways: &Ways<'_>,
    found: &mut Found,
) -> Vec<Value> {
    if let Some(beyond) = routes.get(ROUTES_MAX) {
        let message = format!("there are at most {ROUTES_MAX} routes");
        found.push(rules::BAD_VALUE.at(path, Some(beyond.span), message).help("remove some"));
    }
    let mut read = Vec::new();
    for route in routes {
        check_route(path, &route.value.node, ways, found);
        read.push(route.value.value);
    }
    read
}

fn check_route(path: &str, route: &Node, ways: &Ways<'_>, found: &mut Found) {
    let entries = route.as_mapping().unwrap_or_default();
    let kinds: Vec<_> = entries
        .iter()
        .filter_map(|(key, value)| Some((key.scalar().filter(|name| KINDS.contains(name))?, value)))
        .collect();
    let [(kind, target)] = kinds.as_slice() else {
        let finding = rules::BAD_VALUE
            .at(path, Some(route.span), "a route is a mapping with the name of its kind")
            .help("one of `slack`, `alertmanager`, `email`, `webhook`");
        found.push(finding);
        return;
    };
    for (key, value) in entries {
        match key.scalar() {
            Some("for") => check_levels(path, value, found),
            Some(name) if KINDS.contains(&name) => {}
            other => {
                let name = other.unwrap_or_default();
                let finding =
                    rules::UNKNOWN_FIELD.at(path, Some(key.span), format!("unknown field `{name}`"));
                found.push(finding.label("not a field here").help(format!("a route has `{kind}` and `for`")));
            }
        }
    }
    match *kind {
        "email" => check_mail(path, target, ways, found),
        "slack" => match target.get("webhook") {
            Some(webhook) => check_target(path, webhook, ways, found),
            None => {
                let finding =
                    rules::MISSING_FIELD.at(path, Some(target.span), "a Slack route needs its webhook");
                found.push(finding.help("write `slack: { webhook: { secret: NAME } }`"));
            }
        },
        _ => check_target(path, target, ways, found),
    }
}

fn check_levels(path: &str, levels: &Node, found: &mut Found) {
    let list = levels.as_sequence().unwrap_or(std::slice::from_ref(levels));
    for level in list {
        let word = level.scalar().unwrap_or_default();
        if !LEVELS.contains(&word) {
            let finding =
                rules::UNKNOWN_WORD.at(path, Some(level.span), format!("`{word}` is not a level of alert"));
            found.push(finding.help(match nearest(word, LEVELS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it is one of {}", listed(LEVELS)),
            }));
        }
    }
}

fn check_mail(path: &str, target: &Node, ways: &Ways<'_>, found: &mut Found) {
    let address = target.scalar().unwrap_or_default();
    let whole = address.split_once('@').is_some_and(|(user, host)| {
        !user.is_empty() && host.contains('.') && !host.starts_with('.') && !host.ends_with('.')
    });
    if !whole || address.contains(char::is_whitespace) {
        let finding = rules::ALERT_ROUTE.at(path, Some(target.span), "this is no mail address");
        found.push(finding.help("write for instance ops@acme.example"));
    } else if !ways.mail {
        let finding = rules::ALERT_ROUTE
            .at(path, Some(target.span), "the platform sends no mail: tenantry.toml has no `[smtp]`")
            .help("let a platform admin add `[smtp]`, or choose another kind of route");
        found.push(finding);
    }
}

/// A URL, or `{ secret: NAME }` whose value is one.
fn check_target(path: &str, target: &Node, ways: &Ways<'_>, found: &mut Found) {
    if let Some(secret) = target.get("secret") {
        match secret.scalar().and_then(|name| name.parse::<SecretName>().ok()) {
            Some(name) if ways.tenant.is_some() => found.routes.push((name, secret.span)),
            Some(_) => {
                let finding =
                    rules::ALERT_ROUTE.at(path, Some(secret.span), "the platform has no secrets of its own");
                found.push(finding.help("write the URL, or route it to a tenant"));
            }
            None => {
                let finding = rules::ALERT_ROUTE.at(path, Some(secret.span), "this is no name of a secret");
                found.push(finding.help("write the name that secrets.yaml has"));
            }
        }
        return;
    }
    let Some(url) = target.scalar() else {
        let finding =
            rules::ALERT_ROUTE.at(path, Some(target.span), "a target is a URL, or `{ secret: NAME }`");
        found.push(finding.help("write for instance \"https://alerts.acme.example:9093\""));
        return;
    };
    let Some((host, port)) = host_and_port(url) else {
        let finding = rules::ALERT_ROUTE.at(path, Some(target.span), "this is no URL that can be called");
        found.push(finding.help("write `https://HOST/PATH`, without user and password"));
        return;
    };
    let inside = !host.contains('.') || is_private_address(host);
    let opened = ways.private.iter().any(|way| {
        way.host == host && way.port == port && ways.tenant.is_none_or(|tenant| way.tenant == tenant)
    });
    if inside && !opened && ways.tenant.is_some() {
        let tenant = ways.tenant.unwrap_or_default();
        let finding = rules::ALERT_ROUTE
            .at(path, Some(target.span), format!("`{host}` lies in a private range, and the platform opens no way there"))
            .help(format!(
                "let a platform admin add `{{ tenant = \"{tenant}\", host = \"{host}\", port = {port} }}` to `[network] private` of tenantry.toml"
            ));
        found.push(finding);
    }
}

/// The host and port of an http or https URL without user.
fn host_and_port(url: &str) -> Option<(&str, u16)> {
    let (rest, default) = match url.split_once("://")? {
        ("https", rest) => (rest, 443),
        ("http", rest) => (rest, 80),
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
        None => (authority, default),
    };
    let fits =
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    fits.then_some((host, port))
}

fn is_private_address(host: &str) -> bool {
    host.parse::<core::net::Ipv4Addr>()
        .is_ok_and(|address| address.is_private() || address.is_loopback() || address.is_link_local())
}

/// Checks the secrets that routes name, once the index is known.
pub(super) fn check_secrets(path: &str, secrets: &secrets::Lowered, found: &mut Found) {
    for (name, span) in std::mem::take(&mut found.routes) {
        found.push(match secrets.get(&name) {
            None => {
                let help = match nearest(name.as_str(), secrets.keys().map(AsRef::as_ref)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => {
                        format!("add it: `tenantry secrets set {name}`, with `use: [alert]` in secrets.yaml")
                    }
                };
                at(path, span, format!("this tenant has no secret `{name}`")).help(help)
            }
            Some(secret) if !secret.purposes.contains(&SecretPurpose::Alert) => {
                at(path, span, format!("the secret `{name}` is not for alerts"))
                    .help("add `alert` to its `use` in secrets.yaml")
            }
            Some(_) => continue,
        });
    }
}

fn at(path: &str, span: Span, message: String) -> crate::domain::Diagnostic {
    rules::ALERT_ROUTE.at(path, Some(span), message)
}
