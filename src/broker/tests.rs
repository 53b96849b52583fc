//! The door from inside a step: real socket, model of the store, a vault that shows whose permit it was given.
#![expect(clippy::disallowed_methods, reason = "takes a socket away from under the broker")]

mod alerts;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};

use super::door::{from_store, unopened};
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
        leaked_at: None,
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
        let uses = |name: &str, delivery| SecretUse { name: name.parse().unwrap(), delivery, alias: None };
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
    let uses = |name: &str, delivery| SecretUse { name: name.parse().unwrap(), delivery, alias: None };
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

/// The tenant's `token` is `api_key` for the shared script, its `other` is `token`.
fn mapped() -> Vec<SecretUse> {
    let uses = |name: &str, alias: &str, delivery| SecretUse {
        name: name.parse().unwrap(),
        delivery,
        alias: Some(alias.parse().unwrap()),
    };
    vec![
        uses("token", "api_key", Delivery::Socket),
        uses("other", "token", Delivery::Socket),
        uses("plain", "motd", Delivery::Env("MOTD".into())),
    ]
}

#[tokio::test]
async fn a_mapped_secret_has_the_name_that_the_shared_script_knows() {
    let house = House::with(mapped()).await;
    let _serving = house.serve(Limits::default());
    assert_eq!(house.get("/v1/secrets/api_key").await, (200, "acme/token@v2 of 2".into()));
    assert_eq!(house.get("/v1/secrets/token").await, (200, "acme/other@v2 of 2".into()));
    for own in ["other", "plain"] {
        let (status, body) = house.get(&format!("/v1/secrets/{own}")).await;
        assert_eq!((status, body.contains("not_declared")), (403, true), "{own}: {body}");
    }
    let (_, body) = house.get("/v1/secrets").await;
    let document: serde_json::Value = serde_json::from_str(&body).unwrap();
    let names: Vec<_> =
        document["secrets"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["api_key", "motd", "token"]);
    let delivered = house.door.deliver().await.unwrap();
    assert_eq!(delivered.variables[0].1.expose(), b"acme/plain@v2 of 2");
    // Masks, audit and record have the tenant's names: its people know no others.
    assert_eq!(*house.told.0.lock().unwrap(), ["token=acme/token@v2 of 2", "other=acme/other@v2 of 2"]);
    assert_eq!(
        house.audit().await,
        [
            "secret.requested secret:token@current",
            "secret.delivered secret:token@v2",
            "secret.requested secret:other@current",
            "secret.delivered secret:other@v2",
            "secret.requested secret:other@current",
            "secret.denied secret:other@current not_declared",
            "secret.requested secret:plain@current",
            "secret.denied secret:plain@current not_declared",
            "secret.requested secret:plain@current",
            "secret.delivered secret:plain@v2",
        ]
    );
    let used = ["tenants/acme/other@v2", "tenants/acme/plain@v2", "tenants/acme/token@v2"];
    assert_eq!(house.door.used(), used);
}

#[tokio::test]
async fn whatever_leads_elsewhere_is_refused_on_the_wire() {
    let house = House::new().await;
    let _serving = house.serve(Limits::default());
    for target in [
        "/v1/secrets/%2e%2e/globex/token",
        "/v1/secrets/%2e%2e%2fglobex%2ftoken",
        "/v1/secrets/..",
        "/v1/secrets/../../globex/v1/secrets/token",
        "/v1/secrets//token",
        "//v1/secrets/token",
        "/v1/secrets/token/",
        "/v1/secrets/token?tenant=globex",
        "/v1/secrets/token?version=%76%32",
        "/tenants/globex/secrets/token",
        "http://globex/v1/secrets/globex/token",
        "/v1/secrets/to\\ken",
    ] {
        let (status, body) = house.get(target).await;
        // What is no target at all the reader of HTTP refuses by itself.
        assert!(
            (status, body.contains("cross_tenant")) == (403, true) || status == 400,
            "{target}: {status} {body}"
        );
    }
    for header in ["x-tenant: globex", "Tenant: globex", "x-tenantry-tenant: acme", "X_TENANT_ID: 7"] {
        let (status, body) = house.ask("GET", "/v1/secrets/token", &format!("{header}\r\n"), "").await;
        assert_eq!((status, body.contains("cross_tenant")), (403, true), "{header}: {body}");
    }
    // A host is no tenant: whatever it says, the lease decides.
    let other = format!(
        "GET http://globex.example/v1/secrets/token HTTP/1.1\r\nhost: globex\r\nauthorization: Bearer {TOKEN}\r\n\r\n"
    );
    assert!(house.send(&other).await.ends_with("acme/token@v2 of 2"));
    // Two requests in one, and what no parser should make two of.
    let again = format!("GET /v1/secrets/token HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    let answers = house.send(&format!("{again}{again}")).await;
    assert_eq!(answers.matches("HTTP/1.1").count(), 1, "one request a connection: {answers}");
    let smuggled = format!(
        "POST /v1/mask HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{again}"
    );
    assert!(!house.send(&smuggled).await.contains("acme/"));
    for nonsense in ["\0\0\0\0", "GET\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "\x16\x03\x01\x02\0\x01"]
    {
        assert!(!house.send(nonsense).await.starts_with("HTTP/1.1 200"), "{nonsense:?}");
    }
    assert_eq!(house.vault.opened.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn the_token_of_another_attempt_opens_nothing() {
    let (house, other) = (House::new().await, House::new().await);
    let theirs = TOKEN.replace("00", "77");
    let door = {
        let broker = Broker::new(
            Arc::<MemoryStore>::clone(&other.store),
            Arc::new(Blobs),
            Arc::<Naming>::clone(&other.vault),
            Arc::new(|| Timestamp::from_millis(NOON)),
        );
        broker.open(&other.lease, &theirs, Arc::<Told>::clone(&other.told))
    };
    let listener = UnixListener::bind(other.directory.path().join("socket")).unwrap();
    let _serving = (house.serve(Limits::default()), door.serve(listener, Limits::default()));
    // `get` sends the token of this attempt, which that door does not know.
    let (status, body) = other.get("/v1/secrets/token").await;
    assert_eq!((status, body.contains("unauthorized")), (401, true), "{body}");
    assert_eq!(house.get("/v1/secrets/token").await.0, 200);
    assert_eq!(*other.vault.opened.lock().unwrap(), Vec::<String>::new());
    assert_eq!(other.audit().await, ["secret.denied secret unauthorized"]);
}

#[tokio::test]
async fn after_the_attempt_the_socket_answers_nobody() {
    let house = House::new().await;
    let path = house.directory.path().join("socket");
    let serving = house.serve(Limits::default());
    // One connection waits with half a request, one is only open.
    let mut half = UnixStream::connect(&path).await.unwrap();
    let whole = format!("GET /v1/secrets/token HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\n\r\n");
    half.write_all(&whole.as_bytes()[..40]).await.unwrap();
    let mut open = UnixStream::connect(&path).await.unwrap();
    assert_eq!(house.get("/v1/secrets/token").await.0, 200);
    let used = serving.close();
    assert_eq!(used, ["tenants/acme/token@v2"]);
    for stream in [&mut half, &mut open] {
        let _ = stream.write_all(&whole.as_bytes()[40..]).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(String::from_utf8_lossy(&answer), "");
    }
    assert!(UnixStream::connect(&path).await.is_err(), "nobody listens");
    assert_eq!(house.vault.opened.lock().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_requests_are_counted_and_disturb_nobody_else() {
    let (loud, quiet) = (Arc::new(House::new().await), House::new().await);
    let _serving = (loud.serve(Limits::default()), quiet.serve(Limits::default()));
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..20 {
        let loud = Arc::clone(&loud);
        clients.spawn(async move {
            let mut statuses = BTreeMap::<u16, u32>::new();
            for turn in 0..500 {
                let target = if (client + turn) % 2 == 0 { "/v1/secrets/token" } else { "/v1/secrets/other" };
                *statuses.entry(loud.get(target).await.0).or_default() += 1;
            }
            statuses
        });
    }
    for _ in 0..20 {
        assert_eq!(quiet.get("/v1/secrets/token").await.0, 200, "another attempt is served meanwhile");
    }
    let mut statuses = BTreeMap::<u16, u32>::new();
    while let Some(done) = clients.join_next().await {
        done.unwrap().into_iter().for_each(|(status, count)| *statuses.entry(status).or_default() += count);
    }
    assert_eq!(statuses.values().sum::<u32>(), 10_000);
    assert_eq!(statuses[&200] + statuses[&403], door::REQUESTS_MAX, "{statuses:?}");
    assert_eq!(statuses[&429], 10_000 - door::REQUESTS_MAX, "{statuses:?}");
    // The audit has two entries for each that counted, and one for all the rest.
    assert_eq!(loud.audit().await.len() as u32, 2 * door::REQUESTS_MAX + 1);
}

#[tokio::test]
async fn slow_clients_are_dropped_in_the_head_and_in_the_body() {
    let house = House::new().await;
    let limits = Limits {
        head_timeout: std::time::Duration::from_millis(100),
        connection_timeout: std::time::Duration::from_millis(300),
        connections: 2,
        ..Limits::default()
    };
    let _serving = house.serve(limits);
    let path = house.directory.path().join("socket");
    let head = format!(
        "POST /v1/mask HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: 1000\r\n\r\n"
    );
    // One byte of the head now and then, one of the body, and one that reads no answer.
    for start in ["", head.as_str()] {
        let mut slow = UnixStream::connect(&path).await.unwrap();
        slow.write_all(start.as_bytes()).await.unwrap();
        let drip = async {
            while slow.write_all(b"x").await.is_ok() {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), drip).await.expect("it is let go");
    }
    let mut idle: Vec<UnixStream> = Vec::new();
    for _ in 0..100 {
        idle.push(UnixStream::connect(&path).await.unwrap());
    }
    assert_eq!(house.get("/v1/secrets/token").await.0, 200, "places come free again");
    assert_eq!(*house.told.0.lock().unwrap(), ["token=acme/token@v2 of 2"], "half a value is not masked");
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
        (NotGiven::Unredactable(name.clone()), 409, "unredactable"),
        (NotGiven::NoText(name), 409, "not_text"),
        (unopened(VaultError::Interrupted), 503, "unopened"),
        (NotGiven::TooMany, 429, "too_many_requests"),
        (from_store(StoreError::NotFound), 409, "stale"),
        (
            from_store(StoreError::Unavailable { message: "full".into(), source: None }),
            503,
            "audit_unavailable",
        ),
    ] {
        assert_eq!((refusal.status(), refusal.code()), (status, code), "{refusal}");
    }
}
