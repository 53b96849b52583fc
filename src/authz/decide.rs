//! The decision itself: hard rules first, then one `match` of role and action.

use super::action::{Action, ActionKind};
use super::permit::{PERMIT_LENGTH, Permit, Standing};
use crate::domain::{
    Actor, ActualState, Approver, ChangeControlMode, DaemonPart, Elevation, Length, Platform, Principal,
    Role, Timestamp, UserId, Window,
};

/// Everything a decision about one tenant rests on, as the store holds it now.
#[derive(Clone, Debug)]
pub struct Facts<'a> {
    standing: Standing,
    actual: Option<&'a ActualState>,
    platform: Option<&'a Platform>,
}

impl<'a> Facts<'a> {
    /// The tenant's actual state and the applied platform. Without a platform nobody is a known person.
    #[must_use]
    pub fn of(actual: &'a ActualState, platform: Option<&'a Platform>) -> Self {
        Self { standing: Standing::of(actual), actual: Some(actual), platform }
    }
    /// Without the tenant's grants: enough for whoever has no role in it. Used where thousands are listed.
    #[must_use]
    pub fn without_grants(standing: Standing, platform: Option<&'a Platform>) -> Self {
        Self { standing, actual: None, platform }
    }
}

/// What a refused caller is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Denied {
    /// He may not view the tenant, so it does not exist for him.
    NotFound,
    /// He may view it but not do this.
    Forbidden,
    /// He is a platform admin, which is no role in a tenant.
    NoRoleHere,
}

/// A decision against somebody: what he is told, and the reason, which stands in the audit only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What he is told.
    pub denied: Denied,
    /// What he wanted.
    pub action: &'static str,
    /// Why, for the audit.
    pub reason: String,
    /// Who could, where he may know it.
    pub hint: Option<String>,
}

impl Refusal {
    pub(super) fn new(denied: Denied, action: ActionKind, reason: impl Into<String>) -> Self {
        Self { denied, action: action.as_str(), reason: reason.into(), hint: None }
    }
}

impl std::error::Error for Refusal {}
impl std::fmt::Display for Refusal {
    /// The public text; never the reason.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.denied {
            Denied::NotFound => f.write_str("there is no such tenant, or you may not view it")?,
            Denied::Forbidden => write!(f, "you may not `{}` here", self.action)?,
            Denied::NoRoleHere => f.write_str(
                "a platform admin has no role in a tenant: ask its owner for a grant or an elevation",
            )?,
        }
        match &self.hint {
            Some(hint) => write!(f, ": {hint}"),
            None => Ok(()),
        }
    }
}

/// Decides whether an actor may do `A` in the tenant that the facts are about.
///
/// The one way to a permit beside the fixed rights of the daemon's own parts. The permit ends when what it rests
/// on ends, at the latest after 15 minutes. `now` is the store's.
///
/// # Errors
/// [`Refusal`]; its reason belongs into the tenant's audit.
pub fn decide<A: Action>(actor: &Actor, facts: &Facts<'_>, now: Timestamp) -> Result<Permit<A>, Refusal> {
    let until = right(actor, facts, A::KIND, now)?;
    Ok(Permit::new(actor.clone(), &facts.standing, until))
}

/// Until when an actor may; the hard rules stand first and nothing behind them can relax them.
fn right(actor: &Actor, facts: &Facts<'_>, action: ActionKind, now: Timestamp) -> Result<Timestamp, Refusal> {
    let refuse = |denied, reason: &str| Err(Refusal::new(denied, action, reason));
    if !facts.standing.is_live() {
        return refuse(Denied::NotFound, "the tenant is not live");
    }
    let fixed = |allowed: bool, denied, reason: &str| {
        if allowed { Ok(now + PERMIT_LENGTH) } else { refuse(denied, reason) }
    };
    match actor {
        Actor::Daemon(part) => {
            fixed(daemon_may(*part, action), Denied::Forbidden, "a part of the daemon has fixed rights only")
        }
        Actor::Worker(_) | Actor::Run(_) => {
            refuse(Denied::NotFound, "a worker or run has no right but by its lease")
        }
        Actor::Local(_) => fixed(
            local_may(action, facts.platform),
            Denied::Forbidden,
            "a uid without a person may look, revoke and suspend only",
        )
        .map_err(|refusal| Refusal { hint: Some(LOCAL_HINT.to_owned()), ..refusal }),
        Actor::User(user) => {
            let admin = facts.platform.is_some_and(|platform| is_admin(platform, user));
            let held = facts
                .actual
                .map(|actual| roles_of(&Principal::User(user.clone()), actual, facts.platform, now))
                .unwrap_or_default();
            by_role(held, admin, false, action, now)
        }
        Actor::Service(service) => {
            let held = facts
                .actual
                .map(|actual| roles_of(&Principal::Service(service.clone()), actual, facts.platform, now))
                .unwrap_or_default();
            by_role(held, false, true, action, now)
        }
    }
}

/// Decides whether somebody may answer an approval that a step asks for: a person who now holds one of the roles that
/// it names, or is named himself and holds any role here. No service, no admin by being admin, no part of the daemon.
///
/// The table of design page `access.md` gives `approve-step` to operators; a step names who of a tenant it takes
/// instead. That nobody agrees to what he wrote or started is the run machine's to check.
///
/// # Errors
/// [`Refusal`]; its reason belongs into the tenant's audit.
pub fn decide_step(
    actor: &Actor,
    facts: &Facts<'_>,
    from: &[Approver],
    now: Timestamp,
) -> Result<Permit<super::action::ApproveStep>, Refusal> {
    let Actor::User(user) = actor else {
        // Fixed rights have no part in it, and a service never approves: the table says so for each of them.
        right(actor, facts, ActionKind::ApproveStep, now)?;
        return Err(Refusal::new(Denied::Forbidden, ActionKind::ApproveStep, "only a person approves"));
    };
    if !facts.standing.is_live() {
        return Err(Refusal::new(Denied::NotFound, ActionKind::ApproveStep, "the tenant is not live"));
    }
    let held =
        facts.actual.map(|actual| roles_of(&Principal::User(user.clone()), actual, facts.platform, now));
    let held = held.unwrap_or_default();
    if held.is_empty() {
        let admin = facts.platform.is_some_and(|platform| is_admin(platform, user));
        let denied = if admin { Denied::NoRoleHere } else { Denied::NotFound };
        return Err(Refusal::new(denied, ActionKind::ApproveStep, "holds no role here"));
    }
    let named = |approver: &Approver| match approver {
        Approver::Role(_) | Approver::Principal(Principal::Service(_)) => false,
        Approver::Principal(Principal::User(named)) => named == user,
        Approver::Principal(group @ Principal::Group(id)) => {
            let then = facts.actual.and_then(|actual| actual.applied.as_ref());
            let then = then.is_some_and(|applied| applied.state.includes(group, user));
            let members = facts.platform.and_then(|platform| platform.people.groups.get(id));
            then && members.is_some_and(|members| members.contains(user))
        }
    };
    let by_name = from.iter().any(named);
    // By name any role carries it, by role that one: the permit ends with the one that lasts longest.
    let until = held
        .iter()
        .filter(|held| by_name || from.contains(&Approver::Role(held.role)))
        .map(|held| held.until.unwrap_or(now + PERMIT_LENGTH))
        .max();
    match until {
        Some(until) => Ok(Permit::new(actor.clone(), &facts.standing, until.min(now + PERMIT_LENGTH))),
        None => {
            let wanted: Vec<_> = from.iter().map(|approver| format!("`{approver}`")).collect();
            let hint = format!("this step asks {}", wanted.join(", "));
            let roles: Vec<_> = held.iter().map(|held| held.role.as_str()).collect();
            let reason = format!("holds {} here and is not among those asked", roles.join(", "));
            Err(Refusal {
                hint: Some(hint),
                ..Refusal::new(Denied::Forbidden, ActionKind::ApproveStep, reason)
            })
        }
    }
}

const LOCAL_HINT: &str =
    "name the person of this uid under `[local]` in trust.toml, or, in mode `open`, use `--as PERSON`";

/// The decision for whoever may hold roles.
fn by_role(
    held: Vec<HeldRole>,
    admin: bool,
    service: bool,
    action: ActionKind,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    if service && matches!(action, ActionKind::ApproveStep | ActionKind::ApproveAccess) {
        let denied = if held.is_empty() { Denied::NotFound } else { Denied::Forbidden };
        return Err(Refusal::new(denied, action, "a service never approves"));
    }
    // Grants are independent: the one that lasts longest carries the permit, and its end alone ends it.
    let longest = held
        .iter()
        .filter(|held| role_may(held.role, action))
        // What is held for a time agrees to no change of access: it would outlive itself.
        .filter(|held| held.until.is_none() || action != ActionKind::ApproveAccess)
        .map(|held| held.until.unwrap_or(now + PERMIT_LENGTH))
        .max();
    match longest {
        Some(until) => Ok(until.min(now + PERMIT_LENGTH)),
        None if admin && admin_may(action) => Ok(now + PERMIT_LENGTH),
        None if !held.is_empty() => {
            let may: Vec<_> = Role::ALL.into_iter().filter(|role| role_may(*role, action)).collect();
            let hint = match may.as_slice() {
                [] => "nobody may".to_owned(),
                roles => {
                    let names: Vec<_> = roles.iter().map(|role| format!("`{role}`")).collect();
                    format!("it takes the role {}", names.join(" or "))
                }
            };
            let roles: Vec<_> = held.iter().map(|held| held.role.as_str()).collect();
            let reason = format!("holds {} here, none of which allows it", roles.join(", "));
            Err(Refusal { hint: Some(hint), ..Refusal::new(Denied::Forbidden, action, reason) })
        }
        None if admin => {
            Err(Refusal::new(Denied::NoRoleHere, action, "is a platform admin and holds no role here"))
        }
        None => Err(Refusal::new(Denied::NotFound, action, "holds no role here")),
    }
}

/// The table of design page `access.md`, "Decisions". Actions that only a lease or a part of the daemon can
/// have, and reading a secret's value, stand in no role's list.
fn role_may(role: Role, action: ActionKind) -> bool {
    use ActionKind as A;
    match (role, action) {
        (_, A::View | A::ViewHealth | A::ViewMetadata) => true,
        (Role::Operator | Role::Auditor | Role::Owner, A::ViewAccess) => true,
        (
            Role::Operator,
            A::Start
            | A::Cancel
            | A::ApproveStep
            | A::Steer
            | A::Probe
            | A::Suspend
            | A::Wake
            | A::Release
            | A::ShowRaw,
        ) => true,
        (Role::Developer, A::WriteCode | A::WriteSettings) => true,
        (Role::Operator | Role::Developer, A::WriteSecret) => true,
        (Role::Operator | Role::Owner, A::Revoke) => true,
        (Role::Owner, A::ApproveAccess) => true,
        (Role::Operator | Role::Developer | Role::Auditor | Role::Owner, _) => false,
    }
}

/// What a platform admin may in every tenant without a role in it.
fn admin_may(action: ActionKind) -> bool {
    matches!(action, ActionKind::ViewHealth | ActionKind::Suspend)
}

/// What somebody may who is known only by a uid of this machine: diagnose, revoke, suspend.
///
/// The socket lets in the owner of the data directory alone, who could read its files anyway; so he may look,
/// and it is audited. In mode `open` he may also let go what is held.
fn local_may(action: ActionKind, platform: Option<&Platform>) -> bool {
    use ActionKind as A;
    match action {
        A::View | A::ViewHealth | A::ViewMetadata | A::ViewAccess | A::Wake | A::Revoke | A::Suspend => true,
        A::Release => platform.is_some_and(|platform| platform.settings.mode == ChangeControlMode::Open),
        _ => false,
    }
}

/// What the daemon's own parts may in every live tenant: none of it reads payloads or approves.
fn daemon_may(part: DaemonPart, action: ActionKind) -> bool {
    matches!(
        (part, action),
        (DaemonPart::Reconcile, ActionKind::Reconcile)
            | (DaemonPart::Schedule, ActionKind::Schedule)
            | (DaemonPart::Alert, ActionKind::ViewHealth | ActionKind::Alert)
            | (DaemonPart::Webhook, ActionKind::Receive)
    )
}

/// A role that a principal holds in a tenant at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRole {
    /// The role.
    pub role: Role,
    /// The instant it ends, itself outside; `None` for a grant without an end.
    pub until: Option<Timestamp>,
    /// What gives it: `grant`, `group:NAME` or `elevation:ID`.
    pub via: String,
}

/// The roles that a user or service holds in a tenant at `now`; a group holds none itself.
///
/// People and groups count as the platform has them now, even while the tenant stays at an older commit: who
/// left `people.yaml` or a group holds nothing through it.
#[must_use]
pub fn roles_of(
    principal: &Principal,
    actual: &ActualState,
    platform: Option<&Platform>,
    now: Timestamp,
) -> Vec<HeldRole> {
    let (Some(applied), Some(platform)) = (&actual.applied, platform) else { return Vec::new() };
    if !platform.people.knows(principal) {
        return Vec::new();
    }
    let state = &applied.state;
    let mut held: Vec<HeldRole> = state
        .grants
        .iter()
        .filter_map(|grant| {
            let via = match (&grant.principal, principal) {
                (named, asked) if named == asked => "grant".to_owned(),
                (Principal::Group(group), Principal::User(user)) => {
                    let then = state.includes(&grant.principal, user);
                    let still = platform.people.groups.get(group).is_some_and(|group| group.contains(user));
                    (then && still).then(|| format!("group:{group}"))?
                }
                _ => return None,
            };
            Some(HeldRole { role: grant.role, until: None, via })
        })
        .collect();
    if let Principal::User(user) = principal {
        held.extend(state.elevations.values().filter(|elevation| elevation.user == *user).filter_map(
            |elevation| {
                let (from, until) = window(elevation, actual, state.settings.limits.elevation_max)?;
                (from <= now && now < until).then(|| HeldRole {
                    role: elevation.role,
                    until: Some(until),
                    via: format!("elevation:{}", elevation.id),
                })
            },
        ));
    }
    held
}

/// The longest elevation where no ceiling is set.
const ELEVATION_MAX: Length = Length::from_secs(8 * 3600);

/// When an elevation counts, as `[from, until)`; `None` once it ended, or if it was never started in time.
///
/// A start that the store does not know of counts as ended: a rebuilt store gives nothing back.
fn window(
    elevation: &Elevation,
    actual: &ActualState,
    longest: Option<Length>,
) -> Option<(Timestamp, Timestamp)> {
    if actual.elevations_ended.contains(&elevation.id) {
        return None;
    }
    let (from, until) = match elevation.window {
        Window::OnApply { length, ask_until } => {
            let started = *actual.elevations_started.get(&elevation.id)?;
            (started < ask_until).then_some((started, started + length))?
        }
        Window::Planned { from, until } => (from, until),
    };
    Some((from, until.min(from + longest.unwrap_or(ELEVATION_MAX))))
}

/// Whether a person is a platform admin, by name or by a group.
fn is_admin(platform: &Platform, user: &UserId) -> bool {
    platform.people.users.contains_key(user)
        && platform.admins.iter().any(|principal| match principal {
            Principal::User(id) => id == user,
            Principal::Group(id) => platform.people.groups.get(id).is_some_and(|group| group.contains(user)),
            Principal::Service(_) => false,
        })
}

/// What somebody wants to do in the reserved scope `platform`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PlatformAction {
    /// Reads the platform's status and audit.
    View,
    /// Lets go what holds the source or the platform.
    Release,
    /// Asks the loop for a pass.
    Wake,
}

impl PlatformAction {
    /// Its name as in audit records and messages.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::View => "platform.view",
            Self::Release => "platform.release",
            Self::Wake => "platform.reconcile",
        }
    }
}

/// Decides what belongs to no tenant.
///
/// # Errors
/// [`Refusal`]; its reason belongs into the platform's audit.
pub fn decide_platform(
    actor: &Actor,
    action: PlatformAction,
    platform: Option<&Platform>,
) -> Result<(), Refusal> {
    let open = platform.is_some_and(|platform| platform.settings.mode == ChangeControlMode::Open);
    let (allowed, reason) = match (actor, action) {
        (Actor::Local(_), PlatformAction::View | PlatformAction::Wake) => (true, ""),
        (Actor::Local(_), PlatformAction::Release) => {
            (open, "a uid without a person releases in mode `open` only")
        }
        // Waking changes nothing: the loop reads the repository itself.
        (Actor::User(user), PlatformAction::Wake) => {
            (platform.is_some_and(|platform| platform.people.users.contains_key(user)), "is no known person")
        }
        (Actor::Service(service), PlatformAction::Wake) => (
            platform.is_some_and(|platform| platform.people.services.contains_key(service)),
            "is no known service",
        ),
        (Actor::User(user), PlatformAction::View | PlatformAction::Release) => {
            (platform.is_some_and(|platform| is_admin(platform, user)), "is no platform admin")
        }
        (Actor::Service(_), PlatformAction::View | PlatformAction::Release) => {
            (false, "a service is never a platform admin")
        }
        (Actor::Daemon(_) | Actor::Worker(_) | Actor::Run(_), _) => {
            (false, "a part of the daemon has fixed rights only")
        }
    };
    if allowed {
        return Ok(());
    }
    let hint = match actor {
        Actor::Local(_) => LOCAL_HINT,
        _ => "it takes a platform admin",
    };
    Err(Refusal {
        denied: Denied::Forbidden,
        action: action.as_str(),
        reason: reason.to_owned(),
        hint: Some(hint.to_owned()),
    })
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
