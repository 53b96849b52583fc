//! `roles.yaml`: grants and elevations.

use std::collections::{BTreeMap, BTreeSet};

use super::file::Found;
use super::{Tenancy, platform};
use crate::desired::rules;
use crate::desired::written::{WrittenElevation, WrittenRoles, nearest};
use crate::domain::{Elevation, ElevationId, Grant, Length, Principal, Role, Span, Spanned, Window};

/// Grants, the owner's among them, and elevations.
pub(super) type Lowered = (BTreeSet<Grant>, BTreeMap<ElevationId, Elevation>);

pub(super) fn lower(
    tenancy: &Tenancy<'_>,
    path: &str,
    written: Option<WrittenRoles>,
    owner: Option<&Principal>,
    found: &mut Found,
) -> Lowered {
    let people = &tenancy.platform.people;
    let mut grants: BTreeSet<Grant> = BTreeSet::new();
    grants.extend(owner.map(|owner| Grant { role: Role::Owner, principal: owner.clone() }));
    let exists = tenancy.tree.get(path).is_some();
    let written = match written {
        Some(written) => written,
        // Its own mistakes are enough.
        None if exists => return (grants, BTreeMap::new()),
        None => WrittenRoles::default(),
    };
    let mut places: BTreeMap<Grant, Span> = BTreeMap::new();
    for (role, principals) in &written.roles {
        let Ok(role) = role.value.parse::<Role>() else { continue };
        for principal in principals {
            if !people.knows(&principal.value) {
                platform::unknown(path, &principal.value, principal.span, people, found);
            }
            let grant = Grant { role, principal: principal.value.clone() };
            if let Some(first) = places.insert(grant.clone(), principal.span) {
                let message = format!("`{}` is {role} twice", principal.value);
                let finding = rules::DUPLICATE_GRANT.at(path, Some(principal.span), message);
                found.push(finding.help("keep one of them").related(path, Some(first), "first here"));
            }
            grants.insert(grant);
        }
    }
    let operators = grants.iter().filter(|grant| grant.role == Role::Operator);
    let anybody = operators.clone().any(|grant| match &grant.principal {
        Principal::Group(group) => people.groups.get(group).is_none_or(|members| !members.is_empty()),
        Principal::User(_) | Principal::Service(_) => true,
    });
    if !anybody {
        let finding = rules::NOBODY_IN_CHARGE
            .at(path, None, format!("the tenant `{}` has no operator", tenancy.tenant))
            .help("name somebody under `operator:`; until then nobody can start or cancel its runs");
        found.push(finding);
    }
    let mut elevations = BTreeMap::new();
    let mut ids: BTreeMap<ElevationId, Span> = BTreeMap::new();
    for elevation in written.elevations {
        let id = elevation.value.id.clone();
        if let Some(first) = ids.insert(id.value.clone(), id.span) {
            let message = format!("the elevation `{}` stands twice", id.value);
            let finding = rules::DUPLICATE_GRANT.at(path, Some(id.span), message);
            found.push(finding.help("give it another id").related(path, Some(first), "first here"));
        }
        if let Some(elevation) = lower_elevation(tenancy, path, elevation, found) {
            elevations.insert(id.value, elevation);
        }
    }
    (grants, elevations)
}

fn lower_elevation(
    tenancy: &Tenancy<'_>,
    path: &str,
    elevation: Spanned<WrittenElevation>,
    found: &mut Found,
) -> Option<Elevation> {
    let Spanned { value: written, span } = elevation;
    let people = &tenancy.platform.people;
    if !people.users.contains_key(&written.user.value) {
        platform::unknown(
            path,
            &Principal::User(written.user.value.clone()),
            written.user.span,
            people,
            found,
        );
    }
    let role = match written.role.value.as_str() {
        "operator" => Some(Role::Operator),
        "developer" => Some(Role::Developer),
        "auditor" => Some(Role::Auditor),
        other => {
            let (rule, message) = match other {
                "admin" => (&rules::ADMIN_IN_TENANT, "`admin` is no role in a tenant".to_owned()),
                "owner" => (&rules::OWNER_AS_ROLE, "nobody is elevated to owner".to_owned()),
                _ => (&rules::UNKNOWN_ROLE, format!("`{other}` is no role")),
            };
            let help = match nearest(other, ["operator", "developer", "auditor"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "roles: `operator`, `developer`, `auditor`".to_owned(),
            };
            found.push(rule.at(path, Some(written.role.span), message).help(help));
            None
        }
    };
    if written.reason.value.trim().is_empty() {
        let finding = rules::BAD_VALUE.at(path, Some(written.reason.span), "the reason is empty");
        found.push(finding.help("say what it is needed for, such as a ticket"));
    }
    let window = window(path, &written, span, found)?;
    let (length, place) = match (&window, &written.length, &written.until) {
        (Window::OnApply { length, .. }, Some(written), _) => (*length, written.span),
        (Window::Planned { from, until }, _, Some(written)) => (until.since(*from), written.span),
        _ => (Length::default(), span),
    };
    let most = tenancy.platform.settings.elevation_max();
    if length > most {
        let message = format!("the elevation lasts {length}, the platform allows {most}");
        found.push(
            rules::ELEVATION_TOO_LONG.at(path, Some(place), message).help(format!("write at most {most}")),
        );
    }
    Some(Elevation {
        id: written.id.value,
        user: written.user.value,
        role: role?,
        window,
        reason: written.reason.value,
    })
}

fn window(path: &str, written: &WrittenElevation, span: Span, found: &mut Found) -> Option<Window> {
    let help = "write `for: 2h, ask_until: TIME`, or `from: TIME, until: TIME`";
    match (&written.length, &written.ask_until, &written.from, &written.until) {
        (Some(length), Some(ask_until), None, None) => {
            Some(Window::OnApply { length: length.value, ask_until: ask_until.value })
        }
        (None, None, Some(from), Some(until)) => {
            if from.value >= until.value {
                let message = "the elevation ends before it begins";
                let finding = rules::ELEVATION_INVERTED.at(path, Some(until.span), message);
                found.push(finding.help("exchange `from` and `until`").related(
                    path,
                    Some(from.span),
                    "begins here",
                ));
                return None;
            }
            Some(Window::Planned { from: from.value, until: until.value })
        }
        (None, _, _, None) => {
            let message = format!("the elevation `{}` has no end", written.id.value);
            found.push(rules::ELEVATION_WITHOUT_END.at(path, Some(span), message).help(help));
            None
        }
        (Some(length), None, None, None) => {
            let message = "`for` needs `ask_until`: until then the elevation may be approved";
            found.push(rules::ELEVATION_WITHOUT_END.at(path, Some(length.span), message).help(help));
            None
        }
        _ => {
            let message = "the fields of two kinds of elevation are mixed";
            found.push(rules::CONFLICTING_FIELDS.at(path, Some(span), message).help(help));
            None
        }
    }
}
