//! Tenants that nobody can run here, or whose secrets nobody can open: applied, and said.

use super::*;
use crate::domain::{Condition, ConditionKind};

const SECRETIVE: &str = "owner: olga\nsecrets: { recipients: [age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p] }\n";

fn find(row: &StatusRow, kind: ConditionKind) -> Option<Condition> {
    row.conditions.iter().find(|condition| condition.kind == kind).cloned()
}

#[tokio::test]
async fn a_region_that_nobody_serves_is_told() {
    let world = World::new();
    world.repository.write("tenants/acme/tenant.yaml", "owner: olga\nregion: us\n");
    world.repository.write("tenants/globex/tenant.yaml", "owner: olga\nregion: eu\n");
    world.repository.commit("regions");
    world.pass().await;
    let rows = world.rows().await;
    assert_eq!(rows["acme"].status, Status::Applied, "it is applied all the same");
    let acme = find(&rows["acme"], ConditionKind::Runnable).unwrap();
    assert_eq!((acme.status, acme.reason.as_str()), (false, "NoWorker"));
    assert!(acme.message.contains("--label region=us"), "{}", acme.message);
    assert!(find(&rows["globex"], ConditionKind::Runnable).unwrap().status);
    assert_eq!(find(&rows["initech"], ConditionKind::Runnable), None, "no region, nothing to say");
    world.repository.write("tenants/acme/tenant.yaml", "owner: olga\n");
    world.repository.commit("anywhere");
    world.pass().await;
    assert_eq!(find(&world.rows().await["acme"], ConditionKind::Runnable), None);
}

#[tokio::test]
async fn an_identity_that_is_missing_is_told_and_looked_for_again() {
    let world = World::new();
    world.repository.write("tenants/acme/tenant.yaml", SECRETIVE).write(
        "tenants/acme/secrets.yaml",
        "secrets:\n  api_key:\n    versions:\n      - { id: v1, state: revoked, created: 2026-01-01T00:00:00Z }\n",
    );
    world.repository.commit("a secret");
    world.cell.lost_identities.store(true, Ordering::Relaxed);
    world.pass().await;
    let acme = &world.rows().await["acme"];
    assert_eq!(acme.status, Status::Applied, "{:?}", acme.findings);
    let told = find(acme, ConditionKind::SecretsReadable).unwrap();
    assert_eq!((told.status, told.reason.as_str()), (false, "NoIdentity"));
    assert_eq!(find(&world.rows().await["globex"], ConditionKind::SecretsReadable), None, "it has no secret");
    assert_eq!(looked_at(&world.pass().await), [""; 0], "nothing new");
    world.cell.lost_identities.store(false, Ordering::Relaxed);
    assert_eq!(looked_at(&world.pass().await), ["acme"], "found without a commit");
    let told = find(&world.rows().await["acme"], ConditionKind::SecretsReadable).unwrap();
    assert!(told.status);
    // One that is lost while a daemon runs is told by the run that asks; the next daemon sees it at once.
    world.cell.lost_identities.store(true, Ordering::Relaxed);
    assert_eq!(looked_at(&world.pass().await), [""; 0]);
    world.ports.looked.store(false, Ordering::Relaxed);
    assert_eq!(looked_at(&world.pass().await), ["acme"]);
}
