//! The door from inside a step: real socket, model of the store, a vault that shows whose permit it was given.
#![expect(clippy::disallowed_methods, reason = "takes a socket away from under the broker")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::*;
use crate::authz::{Facts, Permit, Standing, action, decide};
use crate::domain::{
    ChangeKeys, Clock, CommitId, Delivery, DeliveryKind, Length, ObjectId, Removals, Secret, SecretName,
    SecretPurpose, SecretUse, SecretVersion, Status, StatusRow, TenantId, Timestamp, Trigger, TriggerKind,
    VersionState, Waits,
};
use crate::run::{Ask, pin, samples};
use crate::secrets::{Sealed, Vault, VaultError};
use crate::sops::Plaintext;
use crate::source::{Contents, SourceError};
use crate::store::{Application, Lease, MemoryStore, Store, StoreError};

const NOON: i64 = 1_795_435_200_000;
const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// Blobs whose content is their own id.
struct Blobs;

#[async_trait]
impl Contents for Blobs {
    async fn blob(&self, id: &ObjectId) -> Result<Arc<[u8]>, SourceError> {
        Ok(Arc::from(id.as_str().as_bytes()))
    }
}

/// Opens everything to a text that names the permit's tenant, the secret, the version and the blob.
#[derive(Default)]
struct Naming {
    opened: Mutex<Vec<String>>,
}

#[async_trait]
impl Vault for Naming {
    async fn open(
        &self,
        permit: &Permit<action::ReadSecret>,
        sealed: Sealed<'_>,
        _: Timestamp,
    ) -> Result<Plaintext, VaultError> {
        let blob = String::from_utf8_lossy(sealed.ciphertext).chars().next().unwrap();
        let text = format!("{}/{}@{} of {blob}", permit.tenant(), sealed.name, sealed.version);
        self.opened.lock().unwrap().push(text.clone());
        let short = sealed.name.as_str() == "short";
        Ok(Plaintext::new(if short { b"tiny".to_vec() } else { text.into_bytes() }))
    }
}

/// Remembers what it was told, in order; refuses what is shorter than 8 bytes.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Masks for Told {
    fn mask(&self, name: &SecretName, value: &Plaintext) -> Result<(), Unmaskable> {
        if value.len() < 8 {
            return Err(Unmaskable);
        }
        self.0.lock().unwrap().push(format!("{name}={}", String::from_utf8_lossy(value.expose())));
        Ok(())
    }
}

struct House {
    store: Arc<MemoryStore>,
    vault: Arc<Naming>,
    told: Arc<Told>,
    time: Arc<AtomicI64>,
    lease: Lease,
    door: Door,
    directory: tempfile::TempDir,
}

fn secret(name: &str, redact: bool) -> Secret {
    let version = |id: &str, state, blob: &str| SecretVersion {
        id: id.parse().unwrap(),
        state,
        created: None,
        accept_until: None,
        file: format!("tenants/acme/secrets/{name}.{id}.sops.yaml"),
        blob: Some(blob.repeat(40).parse().unwrap()),
    };
    Secret {
        name: name.parse().unwrap(),
        owner: "owen".parse().unwrap(),
        purposes: BTreeSet::from([SecretPurpose::Step]),
        rotate_every: None,
        redact,
        on_revoke: Default::default(),
        versions: vec![
            version("v2", VersionState::Current, "2"),
            version("v1", VersionState::Previous, "1"),
            version("v0", VersionState::Revoked, "0"),
        ],
    }
}

impl House {
    /// `acme` with one workflow whose one step declares `token`, `short` and `plain`; `other` is of another step.
    async fn new() -> Self {
        let uses = |name: &str, delivery| SecretUse { name: name.parse().unwrap(), delivery };
        Self::with(vec![
            uses("token", Delivery::Socket),
            uses("short", Delivery::Socket),
            uses("plain", Delivery::Socket),
        ])
        .await
    }

    async fn with(secrets: Vec<SecretUse>) -> Self {
        let time = Arc::new(AtomicI64::new(NOON));
        let clock: Clock = {
            let time = Arc::clone(&time);
            Arc::new(move || Timestamp::from_millis(time.load(Ordering::SeqCst)))
        };
        let now = clock();
        let store = Arc::new(MemoryStore::new());
        let commit: CommitId = "a".repeat(40).parse().unwrap();
        let mut step = samples::step("main", Waits::Nothing);
        step.secrets = secrets;
        let workflow = samples::workflow(vec![step]);
        let mut state = samples::tenant_state();
        state.settings.delivery =
            BTreeSet::from([DeliveryKind::Socket, DeliveryKind::Env, DeliveryKind::File]);
        state.secrets = ["token", "other", "short"]
            .map(|name| secret(name, true))
            .into_iter()
            .chain([secret("plain", false)])
            .map(|secret| (secret.name.clone(), secret))
            .collect();
        state.workflows = BTreeMap::from([(workflow.id.clone(), workflow.clone())]);
        let tenant: TenantId = "acme".parse().unwrap();
        let trigger = Trigger { kind: TriggerKind::Manual, key: "k".into(), time: now };
        let actor = "user:olga".parse().unwrap();
        let tree: ObjectId = "b".repeat(40).parse().unwrap();
        let pins = pin(
            &Ask {
                tenant: &tenant,
                incarnation: 1,
                state: &state,
                revoked: &BTreeMap::new(),
                commit: &commit,
                authors: &BTreeSet::new(),
                tree: &tree,
                generation: 1,
                workflow: &workflow.id,
                trigger: &trigger,
                actor: &actor,
                body: &serde_json::Value::Null,
                given: &BTreeMap::new(),
            },
            "run_0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e11".parse().unwrap(),
            now,
        )
        .unwrap();
        let status = StatusRow {
            tenant: Some(tenant.clone()),
            status: Status::Applied,
            observed_commit: Some(commit.clone()),
            last_attempted_commit: Some(commit.clone()),
            last_applied_commit: Some(commit.clone()),
            restricted_commit: None,
            applied_generation: 1,
            retry_at: None,
            failures: 0,
            held: vec![],
            findings: vec![],
            pinned: None,
            conditions: vec![],
            keys: ChangeKeys::default(),
            at: now,
        };
        let application = Application {
            expected_generation: 0,
            commit,
            keys: ChangeKeys { tenant: Some(tree.clone()), ..ChangeKeys::default() },
            digest: Some(state.digest()),
            next: Some(state),
            authors: BTreeSet::new(),
            removals: Removals::default(),
            removals_only: false,
            runs: vec![pins],
            audit: vec![],
            status,
        };
        let permit = Permit::for_reconcile(&Standing::unseen(tenant), now);
        store.apply(&permit, &application, now).await.unwrap();
        let lease = store.claim("w1", None, 1, now).await.unwrap().remove(0);
        let (vault, told) = (Arc::new(Naming::default()), Arc::new(Told::default()));
        let broker = Broker::new(
            Arc::<MemoryStore>::clone(&store),
            Arc::new(Blobs),
            Arc::<Naming>::clone(&vault),
            Arc::clone(&clock),
        );
        let door = broker.open(&lease, TOKEN, Arc::<Told>::clone(&told));
        let directory = tempfile::tempdir().unwrap();
        Self { store, vault, told, time, lease, door, directory }
    }

    fn serve(&self, limits: Limits) -> Serving {
        let listener = UnixListener::bind(self.directory.path().join("socket")).unwrap();
        self.door.serve(listener, limits)
    }

    async fn send(&self, text: &str) -> String {
        let mut stream = UnixStream::connect(self.directory.path().join("socket")).await.unwrap();
        // A refused request may be answered and closed before it is sent in full.
        let _ = stream.write_all(text.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The status and the body of an answer.
    async fn get(&self, target: &str) -> (u16, String) {
        self.ask("GET", target, "", "").await
    }

    async fn ask(&self, method: &str, target: &str, headers: &str, body: &str) -> (u16, String) {
        let answer = self
            .send(&format!(
                "{method} {target} HTTP/1.1\r\nhost: broker\r\nauthorization: Bearer {TOKEN}\r\n{headers}content-length: {}\r\n\r\n{body}",
                body.len()
            ))
            .await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0), body.to_owned())
    }

    /// The audit of the run as `action resource allowed`, with the denial's code.
    async fn audit(&self) -> Vec<String> {
        let actual = self.store.access(&"acme".parse().unwrap()).await.unwrap().unwrap();
        let now = Timestamp::from_millis(NOON);
        let permit: Permit<action::ViewAccess> =
            decide(&"local:0".parse().unwrap(), &Facts::of(&actual, None), now).unwrap();
        let records = self.store.audit(&permit, 0, 10_000).await.unwrap();
        records
            .into_iter()
            .map(|record| record.entry)
            .filter(|entry| entry.action.starts_with("secret."))
            .map(|entry| {
                let code = entry.reason.split(": ").nth(1).unwrap_or_default().to_owned();
                let said = if entry.allowed { String::new() } else { format!(" {code}") };
                format!("{} {}{said}", entry.action, entry.resource)
            })
            .collect()
    }
}

#[tokio::test]
async fn a_declared_secret_is_audited_masked_and_given() {
    let house = House::new().await;
    let serving = house.serve(Limits::default());
    assert_eq!(house.get("/v1/secrets/token").await, (200, "acme/token@v2 of 2".into()));
    assert_eq!(house.get("/v1/secrets/token?version=v1").await, (200, "acme/token@v1 of 1".into()));
    assert_eq!(*house.told.0.lock().unwrap(), ["token=acme/token@v2 of 2", "token=acme/token@v1 of 1"]);
    assert_eq!(
        house.audit().await,
        [
            "secret.requested secret:token@current",
            "secret.delivered secret:token@v2",
            "secret.requested secret:token@v1",
            "secret.delivered secret:token@v1",
        ]
    );
    assert_eq!(serving.close(), ["tenants/acme/token@v1", "tenants/acme/token@v2"]);
}

#[tokio::test]
async fn all_accepted_versions_come_together_and_names_without_values() {
    let house = House::new().await;
    let _serving = house.serve(Limits::default());
    let (status, body) = house.get("/v1/secrets/token?version=all").await;
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    let ids: Vec<_> =
        document["versions"].as_array().unwrap().iter().map(|one| one["version"].as_str().unwrap()).collect();
    assert_eq!((status, ids), (200, vec!["v2", "v1"]));
    let (status, body) = house.get("/v1/secrets").await;
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    let names: Vec<_> =
        document["secrets"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!((status, names), (200, vec!["plain", "short", "token"]));
    assert!(!body.contains("acme/"), "no value: {body}");
}

#[tokio::test]
async fn what_is_refused_is_refused_before_anything_is_opened_and_audited() {
    let house = House::new().await;
    let _serving = house.serve(Limits::default());
    for (target, status, code) in [
        ("/v1/secrets/other", 403, "not_declared"),
        ("/v1/secrets/nonsense", 403, "not_declared"),
        ("/v1/secrets/token?version=v0", 410, "revoked"),
        ("/v1/secrets/token?version=v9", 404, "not_found"),
        ("/v1/secrets/globex/token", 403, "cross_tenant"),
        ("/v1/secrets/..%2fglobex%2ftoken", 403, "cross_tenant"),
    ] {
        let (got, body) = house.get(target).await;
        assert_eq!(got, status, "{target}: {body}");
        assert!(body.contains(code), "{target}: {body}");
    }
    let (status, body) = house.ask("GET", "/v1/secrets/token", "x-tenant: globex\r\n", "").await;
    assert_eq!((status, body.contains("cross_tenant")), (403, true));
    assert_eq!(*house.vault.opened.lock().unwrap(), Vec::<String>::new());
    let audit = house.audit().await;
    let denied: Vec<_> = audit.iter().filter(|entry| entry.contains("denied")).map(String::as_str).collect();
    assert_eq!(
        denied,
        [
            "secret.denied secret:other@current not_declared",
            "secret.denied secret:nonsense@current not_declared",
            "secret.denied secret:token@v0 revoked",
            "secret.denied secret:token@v9 not_found",
            // Guesses at other tenants are one entry for each attempt: a script cannot fill the audit with them.
            "secret.cross_tenant_denied secret cross_tenant",
        ]
    );
}

#[tokio::test]
async fn without_the_token_or_as_another_user_nothing_is_served() {
    let house = House::new().await;
    let serving = house.serve(Limits::default());
    let answer = house.send("GET /v1/secrets/token HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let wrong = TOKEN.replace('0', "1");
    let answer = house
        .send(&format!("GET /v1/secrets HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {wrong}\r\n\r\n"))
        .await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    drop(serving);
    std::fs::remove_file(house.directory.path().join("socket")).unwrap();
    let house = House::new().await;
    let stranger = rustix::process::getuid().as_raw() + 1;
    let _serving = house.serve(Limits { peer_uid: Some(stranger), ..Limits::default() });
    assert_eq!(house.send("GET /v1/secrets HTTP/1.1\r\nhost: x\r\n\r\n").await, "");
    assert_eq!(house.audit().await, ["secret.denied secret peer"]);
}

#[tokio::test]
async fn what_cannot_be_masked_is_not_given_unless_the_index_says_so() {
    let house = House::new().await;
    let _serving = house.serve(Limits::default());
    let (status, body) = house.get("/v1/secrets/short").await;
    assert_eq!((status, body.contains("unredactable"), body.contains("tiny")), (409, true, false), "{body}");
    assert_eq!(house.get("/v1/secrets/plain").await.0, 200);
    assert_eq!(*house.told.0.lock().unwrap(), Vec::<String>::new(), "`redact: false` is not masked");
    assert_eq!(house.ask("POST", "/v1/mask", "", "derived value").await.0, 204);
    assert_eq!(house.ask("POST", "/v1/mask", "", "tiny").await.0, 409);
    assert_eq!(*house.told.0.lock().unwrap(), ["derived=derived value"]);
}

#[tokio::test]
async fn a_version_revoked_meanwhile_is_gone_at_once() {
    let house = House::new().await;
    let _serving = house.serve(Limits::default());
    assert_eq!(house.get("/v1/secrets/token").await.0, 200);
    let actual = house.store.access(&"acme".parse().unwrap()).await.unwrap().unwrap();
    let now = Timestamp::from_millis(NOON);
    let permit: Permit<action::Revoke> =
        decide(&"local:0".parse().unwrap(), &Facts::of(&actual, None), now).unwrap();
    let entry = crate::domain::AuditEntry {
        at: now,
        tenant: Some("acme".parse().unwrap()),
        actor: "local:0".parse().unwrap(),
        action: "test".into(),
        resource: "secret:token@v2".into(),
        allowed: true,
        reason: "leaked".into(),
        commit: None,
        run: None,
    };
    house.store.revoke(&permit, &"token".parse().unwrap(), &"v2".parse().unwrap(), entry).await.unwrap();
    let (status, body) = house.get("/v1/secrets/token").await;
    assert_eq!((status, body.contains("revoked")), (410, true), "{body}");
    assert_eq!(house.get("/v1/secrets/token?version=v1").await.0, 200, "other versions are still given");
}

#[tokio::test]
async fn the_right_ends_with_the_lease_and_is_renewed_with_it() {
    let house = House::new().await;
    let _serving = house.serve(Limits::default());
    let later = Timestamp::from_millis(NOON) + Length::from_secs(50);
    house.time.store(later.as_millis(), Ordering::SeqCst);
    let renewed =
        house.store.renew(&[(house.lease.permit.clone(), house.lease.attempt.clone())], later).await;
    assert!(renewed.is_ok());
    house.door.renew(&house.lease.permit.renewed(later + Length::from_secs(60)));
    house.time.fetch_add(20_000, Ordering::SeqCst);
    assert_eq!(house.get("/v1/secrets/token").await.0, 200, "past the first lease, within the renewed one");
    house.time.fetch_add(60_000, Ordering::SeqCst);
    let (status, body) = house.get("/v1/secrets/token").await;
    assert_eq!((status, body.contains("stale")), (409, true), "{body}");
}

#[tokio::test]
async fn a_permit_of_another_tenant_changes_nothing() {
    let house = House::new().await;
    let until = Timestamp::from_millis(NOON) + Length::from_secs(3600);
    house.door.renew(&Permit::for_lease("w1", &Standing::unseen("globex".parse().unwrap()), until));
    house.time.fetch_add(61_000, Ordering::SeqCst);
    let refused = house.door.fetch(&"token".parse().unwrap(), &Wanted::Current).await;
    assert!(matches!(refused, Err(NotGiven::Stale)));
}

#[tokio::test]
async fn a_door_that_is_closed_stays_closed() {
    let house = House::new().await;
    drop(house.serve(Limits::default()));
    let refused = house.door.fetch(&"token".parse().unwrap(), &Wanted::Current).await;
    assert!(matches!(refused, Err(NotGiven::Stale)));
    assert_eq!(*house.vault.opened.lock().unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn delivery_as_variable_or_file_has_the_same_checks_and_audit() {
    let uses = |name: &str, delivery| SecretUse { name: name.parse().unwrap(), delivery };
    let house = House::with(vec![
        uses("token", Delivery::Env("TOKEN".into())),
        uses("other", Delivery::File("OTHER_FILE".into())),
    ])
    .await;
    let delivered = house.door.deliver().await.unwrap();
    let names = |list: &[(String, Plaintext)]| list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&delivered.variables), ["TOKEN"]);
    assert_eq!(names(&delivered.files), ["OTHER_FILE"]);
    assert_eq!(delivered.variables[0].1.expose(), b"acme/token@v2 of 2");
    assert_eq!(house.told.0.lock().unwrap().len(), 2);
    assert_eq!(house.audit().await.len(), 4);
    let house = House::with(vec![uses("short", Delivery::Env("SHORT".into()))]).await;
    let (name, refusal) = house.door.deliver().await.unwrap_err();
    assert_eq!((name.as_str(), refusal.code()), ("short", "unredactable"));
}

#[tokio::test]
async fn limits_hold_against_a_hostile_script() {
    let house = House::new().await;
    let limits = Limits {
        head_timeout: std::time::Duration::from_millis(200),
        connection_timeout: std::time::Duration::from_millis(500),
        connections: 4,
        ..Limits::default()
    };
    let _serving = house.serve(limits);
    // Slow clients are dropped, and while they hold every place the others only wait.
    let mut slow = Vec::new();
    for _ in 0..16 {
        let mut stream = UnixStream::connect(house.directory.path().join("socket")).await.unwrap();
        stream.write_all(b"GET /v1/sec").await.unwrap();
        slow.push(stream);
    }
    assert_eq!(house.get("/v1/secrets/token").await.0, 200);
    let long = "x".repeat(100_000);
    let (status, _) = house.ask("GET", &format!("/v1/secrets/{long}"), "", "").await;
    assert!(matches!(status, 0 | 414 | 431), "{status}");
    let many: String = (0..100).map(|number| format!("h{number}: x\r\n")).collect();
    let (status, _) = house.ask("GET", "/v1/secrets/token", &many, "").await;
    assert!(matches!(status, 0 | 431), "{status}");
    let (status, _) = house.ask("POST", "/v1/mask", "", &long).await;
    assert!(matches!(status, 0 | 413), "{status}");
}

#[tokio::test]
async fn an_attempt_may_ask_so_often_and_no_more() {
    let house = House::new().await;
    let name: SecretName = "nonsense".parse().unwrap();
    house.door.0.requests.store(door::REQUESTS_MAX - 3, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = house.door.fetch(&name, &Wanted::Current).await;
        assert_eq!(refused.unwrap_err().code(), "not_declared");
    }
    for _ in 0..10 {
        assert_eq!(house.door.fetch(&name, &Wanted::Current).await.unwrap_err().status(), 429);
    }
    let over = house.audit().await.into_iter().filter(|entry| entry.contains("too_many")).count();
    assert_eq!(over, 1);
}

#[tokio::test]
async fn without_audit_nothing_is_opened_and_nothing_given() {
    let house = House::new().await;
    let name: SecretName = "token".parse().unwrap();
    house.store.fill_up(true);
    for wanted in [Wanted::Current, Wanted::All, Wanted::Version("v1".parse().unwrap())] {
        let refusal = house.door.fetch(&name, &wanted).await.unwrap_err();
        assert_eq!((refusal.status(), refusal.code()), (503, "audit_unavailable"));
    }
    let nothing = Vec::<String>::new();
    assert_eq!(*house.vault.opened.lock().unwrap(), nothing, "not even opened");
    assert_eq!(*house.told.0.lock().unwrap(), nothing);
    assert_eq!(house.door.used(), nothing, "the record says what was given: nothing");
    house.store.fill_up(false);
    assert_eq!(house.audit().await, nothing);
    assert!(house.door.fetch(&name, &Wanted::Current).await.is_ok(), "it heals");
}

#[test]
fn every_refusal_has_the_status_of_the_contract() {
    let name: SecretName = "token".parse().unwrap();
    for (refusal, status, code) in [
        (NotGiven::Reach(OutOfReach::NotDeclared("")), 403, "not_declared"),
        (NotGiven::Reach(OutOfReach::Unknown("")), 404, "not_found"),
        (NotGiven::Reach(OutOfReach::Gone("")), 410, "revoked"),
        (NotGiven::Unredactable(name), 409, "unredactable"),
        (NotGiven::TooMany, 429, "too_many_requests"),
        (door::from_store(StoreError::NotFound), 409, "stale"),
        (
            door::from_store(StoreError::Unavailable { message: "full".into(), source: None }),
            503,
            "audit_unavailable",
        ),
    ] {
        assert_eq!((refusal.status(), refusal.code()), (status, code), "{refusal}");
    }
}
