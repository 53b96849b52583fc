//! Rule 10: code held at an older commit, and nothing else.

use super::*;
use crate::authz::action::Steer;
use crate::domain::{DaemonPart, Length, PinNote, WorkflowId};
use crate::queue;
use crate::store::PinRequest;

impl World {
    /// `tenantry pin T --to SHA --until …`, or `--off`, by alice.
    async fn pin(&self, tenant: &str, to: Option<&str>, length: Length) -> Result<PinNote, StoreError> {
        let actual = self.actual(tenant).await;
        let platform = self.store.platform().await.unwrap();
        let facts = Facts::of(&actual, platform.as_ref().map(|applied| &applied.platform));
        let alice = Actor::User("alice".parse().unwrap());
        let permit = authz::decide::<Steer>(&alice, &facts, self.now()).unwrap();
        let request = to.map(|to| PinRequest {
            to: to.to_owned(),
            reason: "worse since".into(),
            until: self.now() + length,
        });
        let entry = AuditEntry {
            at: self.now(),
            tenant: None,
            actor: alice,
            action: if to.is_some() { "tenant.pinned".into() } else { "tenant.unpinned".into() },
            resource: "tenant".into(),
            allowed: true,
            reason: "worse since".into(),
            commit: None,
            run: None,
        };
        self.store.set_pin(&permit, request, entry).await
    }

    /// The commit and the workflows that runs are made of now.
    async fn in_force(&self, tenant: &str) -> (String, Vec<String>) {
        let actual = self.actual(tenant).await;
        let code = actual.in_force(self.now()).unwrap();
        (code.commit.to_string(), code.state.workflows.keys().map(ToString::to_string).collect())
    }

    /// The blob of a workflow's script in the code that is in force.
    async fn script(&self, tenant: &str) -> String {
        let actual = self.actual(tenant).await;
        let sync: WorkflowId = "sync".parse().unwrap();
        let code = actual.in_force(self.now()).unwrap();
        code.state.workflows[&sync].files["scripts/sync.sh"].id.to_string()
    }

    async fn actions(&self, tenant: &str) -> Vec<String> {
        self.audit(tenant).await.into_iter().map(|record| record.entry.action).collect()
    }
}

fn script(world: &World, said: &str) -> String {
    world.repository.write("tenants/acme/scripts/sync.sh", format!("#!/bin/sh\necho {said}\n"));
    world.repository.executable("tenants/acme/scripts/sync.sh");
    world.repository.commit(said);
    world.repository.head().to_string()
}

#[tokio::test]
async fn a_pin_moves_code_alone_and_lets_itself_go() {
    let world = World::new();
    world.pass().await;
    let (first, good) = (world.repository.head().to_string(), world.script("acme").await);
    let second = script(&world, "two");
    world.pass().await;
    let bad = world.script("acme").await;
    assert_ne!(good, bad);
    let runs = world.runs("acme").await.len();
    assert_eq!(runs, 1, "the change of its script started one");

    world.pin("acme", Some(&first[..8]), Length::from_secs(4 * 3600)).await.unwrap();
    assert_eq!(world.in_force("acme").await, (first.clone(), vec!["sync".to_owned()]));
    assert_eq!(world.script("acme").await, good);
    let pass = world.pass().await;
    assert!(looked_at(&pass).is_empty(), "a pin gives nothing to apply");
    assert_eq!(
        pass.next,
        world.rows().await["acme"].pinned.as_ref().map(|pin| pin.until),
        "its end is noted"
    );
    assert_eq!(world.in_force("globex").await.0, first, "no other tenant has changed");

    // A commit that arrives while pinned is judged and applied: roles move, code and triggers do not.
    world
        .repository
        .write("tenants/acme/roles.yaml", "operator: [alice]\n")
        .write(
            "tenants/acme/workflows/sync.yaml",
            "on: { commit: { first: true } }\nrun: scripts/sync.sh\nfiles: [scripts/sync.sh]\n",
        )
        .write(
            "tenants/acme/workflows/more.yaml",
            "on: { commit: { first: true } }\nshell: sh\nscript: echo more\n",
        );
    world.repository.commit("bob leaves, more code");
    let third = world.repository.head();
    world.pass().await;
    let row = &world.rows().await["acme"];
    assert_eq!(
        (row.status, row.last_applied_commit.as_ref()),
        (Status::Applied, Some(&third)),
        "{:?}",
        row.findings
    );
    assert!(!world.holds("acme", Role::Developer, "bob").await);
    assert_eq!(world.in_force("acme").await, (first.clone(), vec!["sync".to_owned()]));
    assert_eq!(world.runs("acme").await.len(), runs, "nothing starts of code that is not in force");
    assert!(world.actions("acme").await.iter().any(|action| action == "run.not_started"));

    // What the platform takes binds a pinned tenant at once.
    world.repository.write("platform/people.yaml", PEOPLE.replace("  ops: [alice, bob]", "  ops: [alice]"));
    world.repository.write("tenants/acme/roles.yaml", "operator: [alice, group:ops]\n");
    world.repository.commit("ops shrinks");
    world.pass().await;
    assert!(world.holds("acme", Role::Operator, "alice").await);
    assert!(!world.holds("acme", Role::Operator, "bob").await);

    // Its end needs nobody, fires nothing, and is noted once.
    world.wait(4 * 3600);
    let (head, _) = world.in_force("acme").await;
    assert_eq!(head, world.repository.head().to_string(), "by the time alone, before any pass");
    let pass = world.pass().await;
    assert_eq!(world.actual("acme").await.pin, None);
    assert_eq!(pass.next, None);
    assert_eq!(world.rows().await["acme"].pinned, None);
    world.pass().await;
    let actions = world.actions("acme").await;
    assert_eq!(actions.iter().filter(|action| *action == "tenant.pinned").count(), 1);
    assert_eq!(actions.iter().filter(|action| *action == "tenant.unpinned").count(), 1);
    assert_eq!(world.in_force("acme").await.1, ["more", "sync"]);
    assert_eq!(world.runs("acme").await.len(), runs, "neither a trigger nor `first`");
    let _ = (second, bad);
}

#[tokio::test]
async fn a_pin_takes_only_what_this_tenant_has_applied() {
    let world = World::new();
    world.pass().await;
    world.repository.write("tenants/globex/roles.yaml", "operator: [alice]\n").commit("globex alone");
    let others = world.repository.head().to_string();
    world.pass().await;
    world.repository.write("tenants/acme/workflows/sync.yaml", "run: [\n").commit("broken");
    let broken = world.repository.head().to_string();
    world.pass().await;
    for never in [others.as_str(), broken.as_str(), "0123456789abcdef"] {
        let refusal = world.pin("acme", Some(never), Length::from_secs(60)).await.unwrap_err().to_string();
        assert!(refusal.contains("was never applied in `acme`: pin takes only"), "{refusal}");
    }
    world.pin("globex", Some(&others), Length::from_secs(60)).await.unwrap();
}

#[tokio::test]
async fn schedules_follow_the_pin_and_make_up_for_nothing() {
    let world = World::new();
    let workflow = |minute: u32| {
        format!(
            "on:\n  schedule:\n    - {{ cron: \"{minute} * * * *\", exact: true, catch_up: all, overlap: queue }}\nrun: scripts/sync.sh\n"
        )
    };
    world.repository.write("tenants/acme/workflows/sync.yaml", workflow(10)).commit("at ten");
    world.pass().await;
    let first = world.repository.head().to_string();
    world.repository.write("tenants/acme/workflows/sync.yaml", workflow(40)).commit("at forty");
    world.pass().await;
    let look = async || {
        let standing = authz::Standing::of(&world.actual("acme").await);
        let permit = Permit::for_schedule(&standing, world.now()).unwrap();
        queue::enqueue_due(&permit, world.store.as_ref(), &world.ports.fresh, world.now()).await.unwrap().next
    };
    world.wait(6 * 3600);
    look().await;
    let before = world.runs("acme").await.len();
    assert!(before > 0);

    let until = world.pin("acme", Some(&first), Length::from_secs(3 * 3600)).await.unwrap().until;
    let next = look().await.unwrap();
    assert_eq!(world.runs("acme").await.len(), before, "six hours of the older schedule are not made up for");
    assert_eq!(next.to_string().get(14..16), Some("10"), "{next}");
    world.wait(3_600);
    look().await;
    let run = world.runs("acme").await.remove(0);
    assert_eq!((run.commit.as_str(), run.actor), (first.as_str(), Actor::Daemon(DaemonPart::Schedule)));
    let during = world.runs("acme").await.len();
    assert_eq!(during, before + 1);

    // The pin ends while nobody looks; what the newer schedule missed under it does not run.
    world.wait(2 * 3600);
    assert!(world.now() >= until);
    let noted = world.runs("acme").await.len();
    look().await;
    assert_eq!(world.runs("acme").await.len(), noted, "before the loop has noted the end");
    world.pass().await;
    look().await;
    assert_eq!(world.runs("acme").await.len(), noted, "nor after it");
    world.wait(3_600);
    look().await;
    let run = world.runs("acme").await.remove(0);
    assert_eq!(run.commit.to_string(), world.repository.head().to_string());
}
