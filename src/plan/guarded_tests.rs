//! A step that comes out from behind an approval is a change that people agree to.

use super::fixture::*;
use crate::domain::*;

fn asks() -> Step {
    let approval = StepApproval {
        from: vec![Approver::Role(Role::Operator)],
        count: 1,
        timeout: Length::from_secs(60),
        on_timeout: OnTimeout::Reject,
    };
    Step { work: Work::Approval(approval), ..above("agree", "main") }
}

fn above(id: &str, awaited: &str) -> Step {
    Step { waits: Waits::Above(name(awaited)), ..step(id) }
}

/// `report`, which reads no secret: `main`, people, `load`, and `tell` behind it.
fn asking() -> TenantState {
    let mut state = state();
    let steps = vec![step("main"), asks(), above("load", "agree"), above("tell", "load")];
    state.workflows.insert(name("report"), workflow("report", steps));
    state
}

/// Compares the lines of guards; each is of class `reach`.
#[track_caller]
fn check(edit: impl FnOnce(&mut Vec<Step>), want: &[&str]) {
    let mut after = asking();
    edit(&mut after.workflows.get_mut("report").unwrap().steps);
    let plan = plan(&asking(), &after);
    let guards: Vec<_> =
        plan.edges.iter().filter(|edge| edge.to_string().contains("without approval")).collect();
    let lines: Vec<_> = guards.iter().map(|edge| edge.to_string()).collect();
    assert_eq!(lines, want);
    assert!(guards.iter().all(|edge| edge.class == Class::Reach), "{guards:?}");
    // Then whatever changes in that workflow waits for who agrees to reach.
    let reach =
        plan.changes.iter().filter(|change| change.object.starts_with("report/")).map(|change| change.class);
    assert!(want.is_empty() || reach.clone().next().is_some(), "{:?}", plan.changes);
    assert!(reach.into_iter().all(|class| (class == Class::Reach) != want.is_empty()), "{:?}", plan.changes);
}

#[test]
fn a_step_out_from_behind_an_approval_is_a_guard_taken_away() {
    check(|_| {}, &[]);
    // More behind it, or another order of what stays behind it, takes nothing away.
    check(|steps| steps.push(above("more", "tell")), &[]);
    check(|steps| steps[3].waits = Waits::Needs(vec![name("agree"), name("load")]), &[]);
    check(
        |steps| steps[2].waits = Waits::Above(name("main")),
        &[
            "+guard workflow:report step:load without approval:agree",
            "+guard workflow:report step:tell without approval:agree",
        ],
    );
    check(
        |steps| steps[3].waits = Waits::Nothing,
        &["+guard workflow:report step:tell without approval:agree"],
    );
}

#[test]
fn a_new_name_or_no_approval_at_all_is_no_way_round_it() {
    let all = [
        "+guard workflow:report step:load without approval:agree",
        "+guard workflow:report step:tell without approval:agree",
        "+guard workflow:report without approval:agree",
    ];
    check(
        |steps| {
            steps.remove(1);
            steps[1].waits = Waits::Above(name("main"));
        },
        &all,
    );
    check(
        |steps| {
            steps.truncate(1);
            steps.push(Step { waits: Waits::Above(name("main")), id: name("again"), ..step("load") });
        },
        &["+guard workflow:report step:again without approval:agree", all[2]],
    );
    check(
        |steps| steps.push(Step { waits: Waits::Nothing, id: name("again"), ..step("tell") }),
        &["+guard workflow:report step:again without approval:agree"],
    );
    // Another step is given the work.
    check(
        |steps| steps[0].work = steps[2].work.clone(),
        &["+guard workflow:report step:main without approval:agree"],
    );
}
