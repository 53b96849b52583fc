//! The door for what the daemon does itself, asked as an alert route is served.

use super::*;
use crate::authz::Denied;
use crate::domain::ActualState;

/// The tenant with `token` for these purposes and these routes.
async fn tenant(house: &House, purposes: &[SecretPurpose], routes: &[serde_json::Value]) -> ActualState {
    let actual = house.store.access(&"acme".parse().unwrap()).await.unwrap().unwrap();
    let mut actual = Arc::unwrap_or_clone(actual);
    let applied = actual.applied.as_mut().unwrap();
    applied.state.settings.alert_routes = routes.to_vec();
    let secret = applied.state.secrets.get_mut(&"token".parse::<SecretName>().unwrap()).unwrap();
    secret.purposes = purposes.iter().copied().collect();
    actual
}

fn permit(actual: &ActualState) -> Permit<action::Alert> {
    let now = Timestamp::from_millis(NOON);
    decide(&"daemon:alert".parse().unwrap(), &Facts::of(actual, None), now).unwrap()
}

fn route() -> serde_json::Value {
    serde_json::json!({"slack": {"webhook": {"secret": "token"}}, "for": ["page"]})
}

fn broker(house: &House) -> Broker {
    let time = Arc::clone(&house.time);
    Broker::new(
        Arc::<MemoryStore>::clone(&house.store),
        Arc::new(Blobs),
        Arc::<Naming>::clone(&house.vault),
        Arc::new(move || Timestamp::from_millis(time.load(Ordering::SeqCst))),
    )
}

#[tokio::test]
async fn an_alert_route_gets_the_current_version_and_both_records() {
    let house = House::new().await;
    let actual = tenant(&house, &[SecretPurpose::Alert], &[route()]).await;
    let given = broker(&house).alert_secret(&permit(&actual), &actual, &"token".parse().unwrap()).await;
    let given = given.unwrap();
    assert_eq!((given.version.as_str(), given.state), ("v2", VersionState::Current));
    assert_eq!(String::from_utf8_lossy(given.value.expose()), "acme/token@v2 of 2");
    assert_eq!(
        house.audit().await,
        ["secret.requested secret:token@current", "secret.delivered secret:token@v2"]
    );
    assert_eq!(house.vault.opened.lock().unwrap().len(), 1, "the previous version is not opened");
}

#[track_caller]
fn refused(result: Result<Given, NotGiven>, status: u16, says: &str) {
    match result {
        Ok(_) => panic!("it was given"),
        Err(refusal) => {
            assert_eq!(refusal.status(), status, "{refusal}");
            assert!(refusal.to_string().contains(says), "{refusal}");
        }
    }
}

#[tokio::test]
async fn a_secret_is_opened_for_no_other_use_and_no_route_that_is_not_applied() {
    let house = House::new().await;
    let broker = broker(&house);
    let name: SecretName = "token".parse().unwrap();
    for purposes in [&[SecretPurpose::Step][..], &[SecretPurpose::Webhook], &[]] {
        let actual = tenant(&house, purposes, &[route()]).await;
        refused(broker.alert_secret(&permit(&actual), &actual, &name).await, 403, "does not name alerts");
    }
    for routes in [&[][..], &[serde_json::json!({"webhook": "https://alerts.example/token"})]] {
        let actual = tenant(&house, &[SecretPurpose::Alert], routes).await;
        refused(broker.alert_secret(&permit(&actual), &actual, &name).await, 403, "no alert route");
    }
    let mut actual = tenant(&house, &[SecretPurpose::Alert], &[route()]).await;
    actual.revoked.entry(name.clone()).or_default().insert("v2".parse().unwrap());
    refused(broker.alert_secret(&permit(&actual), &actual, &name).await, 410, "no version is current");
    // Another tenant's right opens nothing here, and a right that has ended nothing anywhere.
    let actual = tenant(&house, &[SecretPurpose::Alert], &[route()]).await;
    let globex = ActualState { tenant: "globex".parse().unwrap(), ..actual.clone() };
    refused(broker.alert_secret(&permit(&globex), &actual, &name).await, 403, "no longer there");
    assert_eq!(house.vault.opened.lock().unwrap().len(), 0);
    let audit = house.audit().await;
    assert!(audit.iter().all(|line| !line.starts_with("secret.delivered")), "{audit:?}");
    assert!(audit.iter().filter(|line| line.starts_with("secret.denied")).count() >= 6, "{audit:?}");
    let late = permit(&actual);
    house.time.store(NOON + 3_600_000, Ordering::SeqCst);
    refused(broker.alert_secret(&late, &actual, &name).await, 409, "is over");
    assert_eq!(house.vault.opened.lock().unwrap().len(), 0);
}

#[tokio::test]
async fn without_audit_nothing_is_opened_and_nobody_else_has_the_right() {
    let house = House::new().await;
    let actual = tenant(&house, &[SecretPurpose::Alert], &[route()]).await;
    house.store.fill_up(true);
    let refusal = broker(&house).alert_secret(&permit(&actual), &actual, &"token".parse().unwrap()).await;
    refused(refusal, 503, "audit");
    assert_eq!(house.vault.opened.lock().unwrap().len(), 0);
    let now = Timestamp::from_millis(NOON);
    for other in ["daemon:webhook", "daemon:schedule", "daemon:reconcile", "user:owen", "local:0"] {
        let denied = decide::<action::Alert>(&other.parse().unwrap(), &Facts::of(&actual, None), now);
        let denied = denied.unwrap_err().denied;
        assert!(matches!(denied, Denied::Forbidden | Denied::NotFound | Denied::NoRoleHere), "{other}");
    }
}
