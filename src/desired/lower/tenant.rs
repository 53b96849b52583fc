//! `tenant.yaml`: defaults filled in, the platform's ceilings and floors kept.

use std::collections::BTreeSet;

use serde_json::json;

use super::file::Found;
use super::{Tenancy, hosts, platform, routes};
use crate::desired::rules;
use crate::desired::written::{WrittenLimits, WrittenPause, WrittenRetention, WrittenTenant};
use crate::domain::{
    Ceilings, DeliveryKind, Isolation, Length, Pause, Principal, Retention, Spanned, TenantSettings, Tier,
};
use crate::schedule::Zone;

pub(super) fn lower(
    tenancy: &Tenancy<'_>,
    path: &str,
    written: WrittenTenant,
    found: &mut Found,
) -> Option<TenantSettings> {
    let platform = tenancy.platform;
    check_owner(tenancy, path, &written.owner, found);
    let timezone = written.timezone.map(|zone| check_zone(path, zone, found));
    if let Some(isolation) = written.isolation.as_ref().filter(|isolation| isolation.value == Isolation::Hard)
    {
        let finding = rules::NOT_SUPPORTED
            .at(path, Some(isolation.span), "a cell of its own is not supported yet")
            .help("write `soft`, or give the tenant a daemon of its own");
        found.push(finding);
    }
    let (recipients, delivery) =
        written.secrets.map_or((None, None), |custody| (custody.value.recipients, custody.value.delivery));
    let places = recipients.as_ref().map(|list| list.span);
    let recipients = platform::recipients(path, recipients.map(|list| list.value).unwrap_or_default(), found);
    for recipient in &recipients {
        if let Some(user) = platform::signer(recipient, &platform.people) {
            let message = format!("a recipient is also a signing key of `{user}`");
            let finding = rules::SIGNING_KEY_AS_RECIPIENT.at(path, places, message);
            found.push(finding.help("make an age key with `tenantry secrets init`"));
        }
    }
    let limits = written.limits.map(|limits| limits.value);
    let retention = written.retention.map(|retention| retention.value);
    let alerts = written.alerts.map(|alerts| alerts.value);
    let slo = alerts.as_ref().and_then(|alerts| alerts.slo.as_ref()).map(|slo| {
        let length =
            |length: &Option<Spanned<Length>>| length.as_ref().map(|length| length.value.to_string());
        json!({
            "success": slo.value.success.as_ref().map(|share| &share.value),
            "slower_than": length(&slo.value.slower_than),
            "window": length(&slo.value.window),
        })
    });
    let ways = routes::Ways {
        tenant: Some(tenancy.tenant.as_str()),
        private: &platform.settings.private,
        mail: platform.settings.mail,
    };
    Some(TenantSettings {
        kind: written.kind.map_or_else(Default::default, |kind| kind.value),
        owner: written.owner.value,
        environment: written.environment.map(|environment| environment.value),
        region: written.region.map(|region| region.value),
        timezone: timezone.unwrap_or_else(|| "UTC".to_owned()),
        isolation: Isolation::Soft,
        recipients,
        recovery: platform.settings.recovery.clone(),
        delivery: delivery.map_or_else(
            || BTreeSet::from([DeliveryKind::Socket, DeliveryKind::Env, DeliveryKind::File]),
            |list| list.value.into_iter().map(|kind| kind.value).collect(),
        ),
        limits: lower_limits(path, limits, &platform.settings.limits, found),
        retention: lower_retention(path, retention, &platform.settings.retention, found),
        egress: written
            .egress
            .map(|list| hosts::lower(path, list.value, found).into_iter().collect())
            .unwrap_or_default(),
        alert_routes: alerts
            .and_then(|alerts| alerts.routes)
            .map(|routes| routes::check(path, routes.value, &ways, found))
            .unwrap_or_default(),
        slo,
        suspend: written.suspend.map(|pause| lower_pause(pause.value)),
    })
}

fn check_owner(tenancy: &Tenancy<'_>, path: &str, owner: &Spanned<Principal>, found: &mut Found) {
    let people = &tenancy.platform.people;
    if let Principal::Service(id) = &owner.value {
        let finding = rules::SERVICE_IN_CHARGE
            .at(path, Some(owner.span), format!("the service `{id}` cannot own a tenant"))
            .help("name a person or a group");
        found.push(finding);
    } else if !people.knows(&owner.value) {
        platform::unknown(path, &owner.value, owner.span, people, found);
    } else if let Principal::Group(id) = &owner.value
        && people.groups.get(id).is_some_and(BTreeSet::is_empty)
    {
        let finding = rules::NOBODY_IN_CHARGE
            .at(path, Some(owner.span), format!("the owner is the group `{id}`, which is empty"))
            .help("add a member in platform/people.yaml");
        found.push(finding);
    }
}

/// Checks an IANA zone; gives it back as written.
pub(super) fn check_zone(path: &str, zone: Spanned<String>, found: &mut Found) -> String {
    if let Err(error) = Zone::parse(&zone.value) {
        let message = format!("`{}` is no time zone", zone.value);
        let finding = rules::UNKNOWN_ZONE.at(path, Some(zone.span), message);
        found.push(finding.help(match error.nearest {
            Some(near) => format!("did you mean `{near}`?"),
            None => "write a name of the IANA database such as Europe/Berlin or UTC".to_owned(),
        }));
    }
    zone.value
}

pub(super) fn lower_pause(pause: WrittenPause) -> Pause {
    Pause { reason: pause.reason.value, until: pause.until.map(|until| until.value) }
}

fn lower_limits(
    path: &str,
    written: Option<WrittenLimits>,
    ceilings: &Ceilings,
    found: &mut Found,
) -> Ceilings {
    let (concurrency, memory, run_timeout, tier) = written.map_or((None, None, None, None), |limits| {
        (limits.concurrency, limits.memory, limits.run_timeout, limits.tier)
    });
    Ceilings {
        concurrency: below(path, "concurrency", concurrency, ceilings.concurrency, found),
        memory: below(path, "memory", memory, ceilings.memory, found),
        run_timeout: below(path, "run_timeout", run_timeout, ceilings.run_timeout, found),
        elevation_max: ceilings.elevation_max,
        tier: at_least(path, tier, ceilings.tier, "platform", found),
    }
}

/// The tier that is written, else the floor; one that is weaker than the floor is reported. `whose` floor that is.
pub(super) fn at_least(
    path: &str,
    written: Option<Spanned<Tier>>,
    floor: Option<Tier>,
    whose: &str,
    found: &mut Found,
) -> Option<Tier> {
    let Some(written) = written else { return floor };
    if let Some(floor) = floor.filter(|floor| written.value < *floor) {
        let message = format!("`{}` is weaker than `{floor}`, which the {whose} demands", written.value);
        let finding = rules::WEAKER_TIER.at(path, Some(written.span), message);
        found.push(finding.help(format!("write `{floor}`, or leave `tier` out")));
    }
    Some(written.value)
}

/// The tenant's own limit, else the platform's; one above the platform's is reported.
fn below<T: Ord + Copy + std::fmt::Display>(
    path: &str,
    name: &str,
    written: Option<Spanned<T>>,
    ceiling: Option<T>,
    found: &mut Found,
) -> Option<T> {
    let Some(written) = written else { return ceiling };
    if let Some(ceiling) = ceiling.filter(|ceiling| written.value > *ceiling) {
        let message = format!("`{name}` is {}, the platform allows {ceiling}", written.value);
        let finding = rules::LIMIT_ABOVE_CEILING.at(path, Some(written.span), message);
        found.push(finding.help(format!("write at most {ceiling}")));
    }
    Some(written.value)
}

fn lower_retention(
    path: &str,
    written: Option<WrittenRetention>,
    floors: &Retention,
    found: &mut Found,
) -> Retention {
    let (payloads, logs, runs) =
        written.map_or((None, None, None), |keep| (keep.payloads, keep.logs, keep.runs));
    let mut above = |name: &str, written: Option<Spanned<Length>>, floor: Option<Length>| {
        let Some(written) = written else { return floor };
        if let Some(floor) = floor.filter(|floor| written.value < *floor) {
            let message = format!("`{name}` is kept {}, the platform demands {floor}", written.value);
            let finding = rules::RETENTION_BELOW_FLOOR.at(path, Some(written.span), message);
            found.push(finding.help(format!("write at least {floor}")));
        }
        Some(written.value)
    };
    Retention {
        payloads: above("payloads", payloads, floors.payloads),
        logs: above("logs", logs, floors.logs),
        runs: above("runs", runs, floors.runs),
    }
}
