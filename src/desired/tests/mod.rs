//! What is read from files that are in order.

mod examples;
mod families;
mod hostile;
mod partial;
mod secret_files;
mod shared;

use super::fixture::{self, valid};
use crate::domain::{OnLimit, Role, TenantSettings, Waits, Work, Workflow};

fn workflow(text: &str) -> Workflow {
    let mut state = valid(&[("workflows/sync.yaml", text)]);
    state.state.workflows.remove("sync").unwrap()
}

#[test]
fn the_shortest_workflow_is_one_step() {
    let workflow = workflow("run: scripts/a.sh\n");
    assert_eq!(workflow.steps.len(), 1);
    assert_eq!(workflow.steps[0].id.as_str(), "main");
    assert_eq!(workflow.steps[0].work, Work::Script { path: "scripts/a.sh".into() });
    assert_eq!(workflow.steps[0].waits, Waits::Nothing);
    assert_eq!(workflow.files.keys().collect::<Vec<_>>(), ["scripts/a.sh"]);
    assert_eq!(workflow.timeout.to_string(), "1h");
    assert_eq!(workflow.steps[0].timeout.to_string(), "10m");
    assert!(workflow.triggers.schedules.is_empty() && workflow.triggers.commit.is_none());
    assert_eq!(workflow.concurrency, None);
}

#[test]
fn on_is_a_name_a_list_or_a_mapping() {
    assert!(workflow("on: commit\nrun: scripts/a.sh\n").triggers.commit.is_some());
    assert!(workflow("on: [manual, commit]\nrun: scripts/a.sh\n").triggers.commit.is_some());
    let triggers =
        workflow("on:\n  schedule: \"0 4 * * *\"\n  commit:\n  manual:\nrun: scripts/a.sh\n").triggers;
    assert!(triggers.commit.is_some());
    assert_eq!(triggers.schedules[0].timezone, "Europe/Berlin", "the tenant's zone");
    assert_eq!(triggers.schedules[0].entry, "0 4 * * * Europe/Berlin");
    let triggers = workflow(
        "on: { schedule: [\"0 4 * * *\", { cron: \"0 5 * * *\", timezone: UTC, overlap: queue }] }\nrun: scripts/a.sh\n",
    )
    .triggers;
    assert_eq!(triggers.schedules.len(), 2);
    assert_eq!(triggers.schedules[1].timezone, "UTC");
}

#[test]
fn steps_stand_in_an_order_they_can_run_in() {
    let workflow = workflow(
        "steps:\n  last: { needs: [one, two], run: scripts/a.sh }\n  one: { needs: [], run: scripts/a.sh }\n  \
         two: { run: scripts/a.sh }\n  free: { needs: one, script: echo, shell: bash }\n",
    );
    let ids: Vec<_> = workflow.steps.iter().map(|step| step.id.as_str()).collect();
    assert_eq!(ids, ["one", "two", "last", "free"]);
    assert_eq!(workflow.steps[1].waits, Waits::Above("one".parse().unwrap()));
    assert_eq!(workflow.steps[3].waits, Waits::Needs(vec!["one".parse().unwrap()]));
}

#[test]
fn a_watched_path_and_a_script_change_the_workflow() {
    let of = |csv: &str| {
        let files = [
            ("workflows/sync.yaml", "on: { commit: { paths: [scripts/*.csv] } }\nrun: scripts/a.sh\n"),
            ("scripts/x.csv", csv),
        ];
        valid(&files).state.workflows.remove("sync").unwrap().triggers.commit.unwrap().watched
    };
    assert_eq!(of("1"), of("1"));
    assert_ne!(of("1"), of("2"));
}

#[test]
fn settings_take_the_platforms_ceilings_where_they_say_nothing() {
    let settings: TenantSettings = valid(&[("tenant.yaml", "owner: group:ops\n")]).state.settings;
    assert_eq!(settings.limits.run_timeout.unwrap().to_string(), "6h");
    assert_eq!(settings.retention.logs.unwrap().to_string(), "7d");
    assert_eq!(settings.timezone, "UTC");
    assert_eq!(settings.delivery.len(), 3);
}

#[test]
fn roles_hold_the_owner_and_the_groups_hold_their_members() {
    let state = valid(&[
        ("tenant.yaml", "owner: group:ops\n"),
        ("roles.yaml", "operator: [bob]\nauditor: [service:ci-bot]\n"),
    ])
    .state;
    assert_eq!(state.holders(Role::Owner).map(ToString::to_string).collect::<Vec<_>>(), ["group:ops"]);
    assert_eq!(state.groups.keys().map(|group| group.as_str()).collect::<Vec<_>>(), ["ops"]);
    assert!(state.includes(state.holders(Role::Owner).next().unwrap(), &"alice".parse().unwrap()));
}

#[test]
fn concurrency_inputs_and_retry_are_read() {
    let workflow = workflow(
        "inputs:\n  day: { type: string, format: date, default: \"${{ day(trigger.time, -1) }}\" }\n\
         concurrency: { key: \"${{ inputs.day }}\", on_limit: cancel }\nrun: scripts/a.sh\n\
         with: { day: \"${{ inputs.day }}\" }\nretry: { attempts: 3, backoff: 1s, on: [failure] }\ntimeout: 2m\n",
    );
    assert_eq!(workflow.concurrency.as_ref().unwrap().on_limit, OnLimit::Cancel);
    assert_eq!(workflow.steps[0].retry.attempts, 3);
    assert_eq!(workflow.steps[0].timeout.to_string(), "2m");
    assert!(!workflow.inputs["day"].required);
}

#[test]
fn a_shared_workflow_becomes_the_tenants_own() {
    let shared = [
        (
            "shared/report/workflow.yaml",
            "on: { schedule: \"0 4 * * *\" }\ninputs: { region: { type: string } }\nrun: report.sh\nwith: { region: \"${{ inputs.region }}\" }\ntimeout: 5m\n",
        ),
        ("shared/report/report.sh", "#!/bin/sh\n"),
    ];
    let mut platform = fixture::platform_tree(&shared);
    platform.files.get_mut("shared/report/report.sh").unwrap().mode = crate::domain::Mode::Executable;
    let tree = fixture::tenant_tree(&[(
        "workflows/sync.yaml",
        "uses: shared/report\nwith: { region: us }\ntimeout: 4m\non: manual\n",
    )]);
    let (state, found) =
        super::read(&fixture::platform(), &fixture::listing(), &platform, &tree, &"acme".parse().unwrap());
    assert_eq!(found, []);
    let workflow = state.unwrap().state.workflows.remove("sync").unwrap();
    assert_eq!(workflow.uses.as_deref(), Some("shared/report"));
    assert_eq!(workflow.files.keys().collect::<Vec<_>>(), ["report.sh"]);
    assert_eq!(workflow.timeout.to_string(), "4m");
    assert!(workflow.triggers.schedules.is_empty(), "`on` beside `uses` replaces the shared one");
    assert_eq!(workflow.inputs["region"].default, Some("us".into()));
    assert_eq!(
        super::shared_used(&tree, &"acme".parse().unwrap()).into_iter().collect::<Vec<_>>(),
        ["report"]
    );
}

#[test]
fn reading_twice_gives_the_same_state() {
    let files = [("workflows/sync.yaml", "run: scripts/a.sh\n")];
    assert_eq!(valid(&files), valid(&files));
    assert_eq!(valid(&files).state.digest(), valid(&files).state.digest());
}
