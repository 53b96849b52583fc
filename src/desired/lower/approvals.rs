//! Steps at which people agree: who is asked, how many, how long.

use std::collections::{BTreeMap, BTreeSet};

use super::file::Found;
use super::platform;
use super::workflow::Scene;
use crate::desired::rules;
use crate::desired::written::{WrittenApproval, WrittenStep, listed, nearest};
use crate::domain::{
    Approver, GroupId, Length, Principal, Role, Span, Spanned, StepApproval, UserId, Work, Workflow,
    WorkflowId,
};

/// People that one approval takes.
const COUNT_MAX: u32 = 20;
/// Roles and principals of one approval.
const FROM_MAX: usize = 50;
/// How long it waits when nobody says.
const TIMEOUT: Length = Length::from_secs(24 * 3600);
/// The shortest wait: nobody answers sooner.
const TIMEOUT_MIN: Length = Length::from_secs(60);
/// The longest: what waits keeps its concurrency key, its pins and the retention of what it was shown.
const TIMEOUT_MAX: Length = Length::from_secs(30 * 24 * 3600);

/// Lowers what a step asks people; `None` if that cannot be asked.
pub(super) fn lower(
    scene: &Scene<'_>,
    written: &Spanned<WrittenApproval>,
    step: &WrittenStep,
    found: &mut Found,
) -> Option<StepApproval> {
    let path = scene.path;
    check_alone(path, step, found);
    let approval = &written.value;
    let from = from(scene, &approval.from, found);
    let count = approval.count.as_ref().map_or(1, |count| count.value);
    if let Some(count) = approval.count.as_ref().filter(|count| count.value > COUNT_MAX) {
        let message = format!("an approval takes at most {COUNT_MAX} people");
        found.push(rules::BAD_VALUE.at(path, Some(count.span), message).help("write fewer"));
    }
    let timeout = approval.timeout.as_ref().map_or(TIMEOUT, |timeout| timeout.value);
    if let Some(written) =
        approval.timeout.as_ref().filter(|_| !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&timeout))
    {
        let message = format!("an approval waits between {TIMEOUT_MIN} and {TIMEOUT_MAX}, not {timeout}");
        found
            .push(rules::BAD_VALUE.at(path, Some(written.span), message).help("for instance `timeout: 24h`"));
    }
    let from = from?;
    if count <= COUNT_MAX {
        check_reachable(scene, &from, count, approval.from.span, found);
    }
    let on_timeout = approval.on_timeout.as_ref().map_or_else(Default::default, |word| word.value);
    Some(StepApproval { from, count, timeout, on_timeout })
}

/// A step that asks people runs nothing.
fn check_alone(path: &str, step: &WrittenStep, found: &mut Found) {
    for (name, span) in [
        ("run", step.run.as_ref().map(|field| field.span)),
        ("script", step.script.as_ref().map(|field| field.span)),
        ("shell", step.shell.as_ref().map(|field| field.span)),
        ("args", step.args.as_ref().map(|field| field.span)),
        ("secrets", step.secrets.as_ref().map(|field| field.span)),
        ("with", step.with.as_ref().map(|field| field.span)),
        ("network", step.network.as_ref().map(|field| field.span)),
        ("resources", step.resources.as_ref().map(|field| field.span)),
        ("retry", step.retry.as_ref().map(|field| field.span)),
        ("timeout", step.timeout.as_ref().map(|field| field.span)),
        ("outputs", step.outputs.as_ref().map(|field| field.span)),
        ("for_each", step.for_each.as_ref().map(|field| field.span)),
        ("item_key", step.item_key.as_ref().map(|field| field.span)),
        ("max_parallel", step.max_parallel.as_ref().map(|field| field.span)),
    ] {
        if let Some(span) = span {
            let message =
                format!("`{name}` cannot stand beside `approval`: such a step asks people and runs nothing");
            let finding = rules::CONFLICTING_FIELDS.at(path, Some(span), message);
            found.push(match name {
                "timeout" => finding.help("write it inside `approval`"),
                _ => finding.help("write the approval as a step of its own, above the one that waits for it"),
            });
        }
    }
}

fn from(
    scene: &Scene<'_>,
    written: &Spanned<Vec<Spanned<String>>>,
    found: &mut Found,
) -> Option<Vec<Approver>> {
    let (path, people) = (scene.path, scene.people);
    if written.value.is_empty() || written.value.len() > FROM_MAX {
        let message = format!("an approval asks 1 to {FROM_MAX} roles, groups or people");
        found.push(
            rules::BAD_VALUE.at(path, Some(written.span), message).help("for instance `from: [operator]`"),
        );
        return None;
    }
    let mut all: BTreeMap<Approver, Span> = BTreeMap::new();
    let mut read = Vec::new();
    let mut whole = true;
    for one in &written.value {
        let Some(approver) = approver(scene, one, found) else {
            whole = false;
            continue;
        };
        if let Approver::Principal(principal) = &approver
            && !people.knows(principal)
        {
            platform::unknown(path, principal, one.span, people, found);
            whole = false;
        } else if let Some(first) = all.insert(approver.clone(), one.span) {
            let finding = rules::BAD_VALUE.at(path, Some(one.span), format!("`{}` stands twice", one.value));
            found.push(finding.help("keep one of them").related(path, Some(first), "first here"));
            whole = false;
        } else {
            read.push(approver);
        }
    }
    whole.then_some(read)
}

/// A role by its name, else a principal.
fn approver(scene: &Scene<'_>, written: &Spanned<String>, found: &mut Found) -> Option<Approver> {
    let text = written.value.as_str();
    if let Ok(role) = text.parse::<Role>() {
        return Some(Approver::Role(role));
    }
    let mut refuse = |rule: &rules::Rule, message: String, help: String| {
        found.push(rule.at(scene.path, Some(written.span), message).help(help));
        None
    };
    match text.parse::<Principal>() {
        Ok(Principal::Service(service)) => refuse(
            &rules::SERVICE_IN_CHARGE,
            format!("the service `{service}` cannot decide"),
            "name a role, a person or a group".to_owned(),
        ),
        Ok(principal) => {
            let roles = Role::ALL.map(Role::as_str);
            match nearest(text, roles) {
                Some(near) if !text.contains(':') && !scene.people.knows(&principal) => refuse(
                    &rules::UNKNOWN_ROLE,
                    format!("`{text}` is no role, and nobody of platform/people.yaml"),
                    format!("did you mean `{near}`?"),
                ),
                _ => Some(Approver::Principal(principal)),
            }
        }
        Err(_) => refuse(
            &rules::BAD_VALUE,
            format!("`{text}` is no role, person or group"),
            format!(
                "roles are {}; a person is `alice`, a group `group:NAME`",
                listed(Role::ALL.map(Role::as_str))
            ),
        ),
    }
}

/// Warns if fewer people could agree than it takes, whoever started the run and wrote its commit.
fn check_reachable(scene: &Scene<'_>, from: &[Approver], count: u32, span: Span, found: &mut Found) {
    let members = |principal: &Principal| -> BTreeSet<UserId> {
        match principal {
            Principal::User(user) => BTreeSet::from([user.clone()]),
            Principal::Group(group) => scene.people.groups.get(group).cloned().unwrap_or_default(),
            Principal::Service(_) => BTreeSet::new(),
        }
    };
    let holding = |role: Option<Role>| -> BTreeSet<UserId> {
        let grants = scene.grants.iter().filter(|grant| role.is_none_or(|role| grant.role == role));
        grants.flat_map(|grant| members(&grant.principal)).collect()
    };
    let anybody = holding(None);
    let could: BTreeSet<UserId> = from
        .iter()
        .flat_map(|approver| match approver {
            Approver::Role(role) => holding(Some(*role)),
            // Who is named holds some role here, or may not even look at it.
            Approver::Principal(principal) => members(principal).intersection(&anybody).cloned().collect(),
        })
        .collect();
    let missing = usize::try_from(count).unwrap_or(usize::MAX).saturating_sub(could.len());
    if missing == 0 {
        return;
    }
    let message = match could.len() {
        0 => "nobody could give this approval".to_owned(),
        some => format!("{some} of the {count} people that this approval takes could give it"),
    };
    let asked: Vec<String> = from.iter().map(ToString::to_string).collect();
    let help = format!(
        "give somebody the role in roles.yaml, or ask others than {}; who is named here needs a role in this tenant",
        listed(asked.iter().map(String::as_str))
    );
    found.push(rules::APPROVAL_OUT_OF_REACH.at(scene.path, Some(span), message).help(help));
}

/// The groups that approvals of these workflows ask: who is in them is a part of the tenant's state.
pub(super) fn groups(workflows: &BTreeMap<WorkflowId, Workflow>) -> BTreeSet<GroupId> {
    let steps = workflows.values().flat_map(|workflow| &workflow.steps);
    let asked = steps.filter_map(|step| match &step.work {
        Work::Approval(asked) => Some(&asked.from),
        Work::Script { .. } | Work::Inline { .. } => None,
    });
    asked
        .flatten()
        .filter_map(|approver| match approver {
            Approver::Principal(Principal::Group(group)) => Some(group.clone()),
            Approver::Principal(_) | Approver::Role(_) => None,
        })
        .collect()
}
