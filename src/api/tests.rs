//! Every endpoint by every caller by own and other tenant, over the model of the store.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::{Method, Request};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use serde_json::{Value, json};

use super::{Health, Ports, Problem, in_process, loopback, router};
use crate::authz::{Facts, Permit, Standing, action, decide};
use crate::domain::{
    Approver, Ceilings, ChangeControlMode, ChangeKeys, Clock, CommitId, FreshIds, Grant, OnRewrite,
    OnTimeout, People, Person, Platform, Removals, Retention, Role, Settings, Status, StatusRow, Step,
    StepApproval, TenantId, Timestamp, Waits, Work, Workflow,
};
use crate::login::Trust;
use crate::run::samples;
use crate::store::{
    Application, AppliedPlatform, LogRecord, LogStream, MemoryLogs, MemoryStore, Report, SourceRow, Store,
    StoreError,
};

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// Who calls, by uid: people of acme, the platform admin, somebody of globex, nobody's uid.
const CALLERS: [(u32, &str); 6] =
    [(1, "olga"), (2, "dana"), (3, "audrey"), (4, "owen"), (5, "pat"), (6, "gregor")];
const NOBODY: u32 = 1000;

fn commit() -> CommitId {
    "a".repeat(40).parse().unwrap()
}

fn platform(mode: ChangeControlMode) -> Platform {
    let person = || Person { name: None, email: None, keys: vec![], identities: BTreeMap::new() };
    Platform {
        settings: Settings {
            id: "0192f1c2-0000-7000-8000-000000000000".into(),
            name: "test".into(),
            branch: "main".into(),
            on_rewrite: OnRewrite::Hold,
            mode,
            policy: String::new(),
            limits: Ceilings::default(),
            retention: Retention::default(),
            recovery: vec![],
            private: vec![],
            indexes: vec![],
            mail: false,
        },
        people: People {
            users: CALLERS.iter().map(|(_, name)| (name.parse().unwrap(), person())).collect(),
            ..People::default()
        },
        admins: BTreeSet::from(["pat".parse().unwrap()]),
        maintainers: BTreeMap::new(),
    }
}

fn row(tenant: Option<&str>) -> StatusRow {
    StatusRow {
        tenant: tenant.map(|name| name.parse().unwrap()),
        status: Status::Applied,
        observed_commit: Some(commit()),
        last_attempted_commit: Some(commit()),
        last_applied_commit: Some(commit()),
        restricted_commit: None,
        applied_generation: 1,
        retry_at: None,
        failures: 0,
        held: vec![],
        findings: vec![],
        pinned: None,
        conditions: vec![],
        keys: ChangeKeys::default(),
        at: NOW,
    }
}

struct House {
    store: Arc<MemoryStore>,
    ports: Ports,
    ids: FreshIds,
    router: Router,
    woken: Arc<AtomicU64>,
}

impl House {
    async fn new() -> Self {
        Self::in_mode(ChangeControlMode::Open).await
    }

    /// Two tenants with a workflow and a secret each: acme with all four roles, globex with gregor as operator.
    async fn in_mode(mode: ChangeControlMode) -> Self {
        let store = Arc::new(MemoryStore::new());
        let clock: Clock = Arc::new(|| NOW);
        let count = AtomicU64::new(1);
        let ids: FreshIds =
            Arc::new(move || uuid::Uuid::from_u128(u128::from(count.fetch_add(1, Ordering::SeqCst)) << 80));
        let woken = Arc::new(AtomicU64::new(0));
        let wake = {
            let woken = Arc::clone(&woken);
            Arc::new(move || {
                woken.fetch_add(1, Ordering::SeqCst);
            })
        };
        let local = CALLERS.iter().map(|(uid, name)| (*uid, name.parse().unwrap())).collect();
        let ports = Ports {
            store: Arc::<MemoryStore>::clone(&store),
            logs: Arc::new(MemoryLogs::default()),
            clock,
            ids: Arc::clone(&ids),
            trust: Arc::new(Trust { local, ..Trust::default() }),
            broker: None,
            wake: Some(wake),
        };
        let router = router(ports.clone());
        let house = Self { store, ports, ids, router, woken };
        let applied =
            AppliedPlatform { commit: commit(), keys: ChangeKeys::default(), platform: platform(mode) };
        house.store.apply_platform(&applied, &row(None), &[]).await.unwrap();
        house
            .apply(
                "acme",
                &[
                    (Role::Operator, "olga"),
                    (Role::Developer, "dana"),
                    (Role::Auditor, "audrey"),
                    (Role::Owner, "owen"),
                ],
            )
            .await;
        house.apply("globex", &[(Role::Operator, "gregor")]).await;
        house
    }

    async fn apply(&self, tenant: &str, grants: &[(Role, &str)]) {
        self.apply_at(0, tenant, grants).await;
    }

    async fn apply_at(&self, generation: u64, tenant: &str, grants: &[(Role, &str)]) {
        self.apply_taking(Removals::default(), generation, tenant, grants).await;
    }

    async fn apply_taking(&self, removals: Removals, generation: u64, tenant: &str, grants: &[(Role, &str)]) {
        let mut state = samples::tenant_state();
        state.grants = grants
            .iter()
            .map(|(role, name)| Grant { role: *role, principal: name.parse().unwrap() })
            .collect();
        let workflows = [applied_workflow(), asking_workflow()];
        state.workflows = workflows.map(|workflow| (workflow.id.clone(), workflow)).into();
        let secret = samples_secret();
        state.secrets = BTreeMap::from([(secret.name.clone(), secret)]);
        let keys = ChangeKeys { tenant: Some("b".repeat(40).parse().unwrap()), ..ChangeKeys::default() };
        let application = Application {
            expected_generation: generation,
            commit: commit(),
            keys,
            digest: Some(state.digest()),
            next: Some(state),
            authors: BTreeSet::from(["owen".parse().unwrap()]),
            removals,
            removals_only: false,
            runs: vec![],
            audit: vec![],
            status: row(Some(tenant)),
        };
        let standing = match self.store.access(&tenant.parse().unwrap()).await.unwrap() {
            Some(actual) => Standing::of(&actual),
            None => Standing::unseen(tenant.parse().unwrap()),
        };
        let permit = Permit::for_reconcile(&standing, NOW);
        self.store.apply(&permit, &application, NOW).await.unwrap();
    }

    fn router(&self, uid: u32) -> Router {
        in_process(self.router.clone(), uid, Arc::clone(&self.ids))
    }

    async fn ask(&self, uid: u32, method: &str, target: &str, body: Value) -> (u16, Value) {
        self.ask_as(uid, None, method, target, body).await
    }

    async fn ask_as(
        &self,
        uid: u32,
        wanted: Option<&str>,
        method: &str,
        target: &str,
        body: Value,
    ) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let mut request = Request::builder().method(method.parse::<Method>().unwrap()).uri(target);
        if let Some(wanted) = wanted {
            request = request.header("x-tenantry-as", wanted);
        }
        answer(self.router(uid), request.body(Body::from(text)).unwrap()).await
    }

    /// The audit of a tenant as `action allowed actor reason`.
    async fn audit(&self, tenant: &str) -> Vec<String> {
        let id: TenantId = tenant.parse().unwrap();
        let actual = self.store.access(&id).await.unwrap().unwrap();
        let platform = platform(ChangeControlMode::Open);
        let facts = Facts::of(&actual, Some(&platform));
        let permit: Permit<action::ViewAccess> = decide(&"local:0".parse().unwrap(), &facts, NOW).unwrap();
        let records = self.store.audit(&permit, 0, 1000).await.unwrap();
        records
            .into_iter()
            .map(|record| record.entry)
            .map(|entry| format!("{} {} {} {}", entry.action, entry.allowed, entry.actor, entry.reason))
            .collect()
    }
}

async fn answer(router: Router, request: Request<Body>) -> (u16, Value) {
    let response = TowerToHyperService::new(router).call(request).await.unwrap();
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(bytes.to_vec()).unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn samples_secret() -> crate::domain::Secret {
    let version = |id: &str, state| crate::domain::SecretVersion {
        id: id.parse().unwrap(),
        state,
        created: None,
        accept_until: None,
        file: format!("secrets/token.{id}.sops.yaml"),
        blob: Some(commit()),
    };
    use crate::domain::VersionState::{Current, Previous};
    crate::domain::Secret {
        name: "token".parse().unwrap(),
        owner: "owen".parse().unwrap(),
        purposes: BTreeSet::new(),
        rotate_every: None,
        leaked_at: None,
        redact: true,
        on_revoke: Default::default(),
        versions: vec![version("v2", Current), version("v1", Previous)],
    }
}

fn applied_workflow() -> Workflow {
    samples::workflow(vec![samples::step("main", Waits::Nothing)])
}

/// Asks two of the operators, developers and owners, and then does something.
fn asking_workflow() -> Workflow {
    let from = [Role::Operator, Role::Developer, Role::Owner].map(Approver::Role).to_vec();
    let timeout = crate::domain::Length::from_secs(3600);
    let asked = StepApproval { from, count: 2, timeout, on_timeout: OnTimeout::Reject };
    let agree = Step { work: Work::Approval(asked), ..samples::step("agree", Waits::Nothing) };
    let last = samples::step("load", Waits::Above(agree.id.clone()));
    Workflow { id: "asks".parse().unwrap(), concurrency: None, ..samples::workflow(vec![agree, last]) }
}

fn workflow() -> String {
    applied_workflow().id.to_string()
}

/// Every endpoint of a tenant: method, path below the tenant, body, and the answers to olga (operator), dana
/// (developer), audrey (auditor), owen (owner), pat (platform admin), gregor (of another tenant) and a uid
/// without a person. `RUN` stands for a run of the tenant, `W` for its workflow.
const ENDPOINTS: [(&str, &str, &str, [u16; 7]); 27] = [
    //                                                       olga dana audrey owen pat gregor uid
    ("GET", "status", "", [200, 200, 200, 200, 200, 404, 200]),
    ("GET", "runs", "", [200, 200, 200, 200, 403, 404, 200]),
    ("GET", "runs/RUN", "", [200, 200, 200, 200, 403, 404, 200]),
    ("GET", "runs/RUN/logs", "", [200, 200, 200, 200, 403, 404, 200]),
    ("GET", "workflows", "", [200, 200, 200, 200, 403, 404, 200]),
    ("GET", "secrets", "", [200, 200, 200, 200, 403, 404, 200]),
    ("GET", "audit", "", [200, 403, 200, 200, 403, 404, 200]),
    ("POST", "workflows/W/start", "{}", [201, 403, 403, 403, 403, 404, 403]),
    ("POST", "runs/RUN/rerun", "{}", [201, 403, 403, 403, 403, 404, 403]),
    ("POST", "runs/RUN/rerun", r#"{"dry_run":true}"#, [200, 403, 403, 403, 403, 404, 403]),
    // Who may is told that the run is not over.
    ("POST", "runs/RUN/rerun", r#"{"failed":true}"#, [409, 403, 403, 403, 403, 404, 403]),
    ("POST", "workflows/W/start", r#"{"dry_run":true}"#, [200, 403, 403, 403, 403, 404, 403]),
    ("POST", "runs/RUN/cancel", "{}", [200, 403, 403, 403, 403, 404, 403]),
    // Who may look is told that this step asks nobody; whom it does ask stands in a test of its own.
    ("POST", "runs/RUN/steps/main/approve", r#"{"shown":"x"}"#, [404, 404, 404, 404, 403, 404, 404]),
    ("POST", "runs/RUN/steps/main/reject", r#"{"reason":"r"}"#, [404, 404, 404, 404, 403, 404, 404]),
    ("POST", "workflows/W/pause", r#"{"reason":"r"}"#, [200, 403, 403, 403, 403, 404, 403]),
    ("POST", "workflows/W/resume", "", [200, 403, 403, 403, 403, 404, 403]),
    ("POST", "suspend", r#"{"reason":"r"}"#, [200, 403, 403, 403, 200, 404, 200]),
    ("POST", "resume", "", [200, 403, 403, 403, 200, 404, 200]),
    (
        "POST",
        "pin",
        r#"{"reason":"r","to":"COMMIT","until":"2030-01-01T00:00:00Z"}"#,
        [200, 403, 403, 403, 403, 404, 403],
    ),
    // Who may is told that nothing is pinned.
    ("POST", "unpin", "", [409, 403, 403, 403, 403, 404, 403]),
    ("GET", "applied", "", [200, 200, 200, 200, 403, 404, 200]),
    ("GET", "standing", "", [200, 200, 200, 200, 403, 404, 200]),
    // Who may is told that nothing is held.
    ("POST", "release", r#"{"reason":"r"}"#, [409, 403, 403, 403, 403, 404, 409]),
    ("POST", "reconcile", "", [200, 403, 403, 403, 403, 404, 200]),
    ("POST", "secrets/token/revoke", r#"{"version":"v1","reason":"r"}"#, [200, 403, 403, 200, 403, 404, 200]),
    ("POST", "secrets/token/nonsense", "", [404, 404, 404, 404, 404, 404, 404]),
];

async fn started_run(house: &House) -> String {
    let target = format!("/api/v1/tenants/acme/workflows/{}/start", workflow());
    let (status, body) = house.ask(1, "POST", &target, json!({})).await;
    assert_eq!(status, 201, "{body}");
    body["run"].as_str().unwrap().to_owned()
}

fn filled(text: &str, run: &str) -> String {
    text.replace("RUN", run).replace("/W/", &format!("/{}/", workflow())).replace("COMMIT", commit().as_str())
}

#[tokio::test]
async fn every_endpoint_by_every_caller_in_acme() {
    for (method, path, body, wants) in ENDPOINTS {
        let uids = CALLERS.iter().map(|(uid, _)| *uid).chain([NOBODY]);
        for (uid, want) in uids.zip(wants) {
            // A fresh house: what one caller did must not answer for the next.
            let house = House::new().await;
            let run = started_run(&house).await;
            let target = format!("/api/v1/tenants/acme/{}", filled(path, &run));
            let body = if body.is_empty() {
                Value::Null
            } else {
                serde_json::from_str(&filled(body, &run)).unwrap()
            };
            let (status, answer) = house.ask(uid, method, &target, body).await;
            assert_eq!(status, want, "uid {uid} {method} {path}: {answer}");
            if status >= 400 {
                assert!(answer["code"].is_string() && answer["request_id"].is_string(), "{answer}");
            }
        }
    }
}

#[tokio::test]
async fn what_has_to_be_audited_is_refused_where_it_cannot_be() {
    let house = House::new().await;
    let run = started_run(&house).await;
    house.store.fill_up(true);
    for (method, path, body, wants) in ENDPOINTS {
        let body: Value =
            if body.is_empty() { Value::Null } else { serde_json::from_str(&filled(body, &run)).unwrap() };
        let target = format!("/api/v1/tenants/acme/{}", filled(path, &run));
        let looks = method == "GET" || body["dry_run"] == true || path == "reconcile";
        let want = match (looks, wants[0]) {
            // Reading what a run wrote has a record before its first byte.
            _ if path.ends_with("/logs") => 503,
            (true, plain) | (false, plain @ 404) => plain,
            (false, _) => 503,
        };
        let (status, answer) = house.ask(1, method, &target, body.clone()).await;
        assert_eq!(status, want, "{method} {path} {body}: {answer}");
        // A no needs no record to be a no.
        let (status, answer) = house.ask(6, method, &target, body).await;
        assert_eq!(status, 404, "{method} {path}: {answer}");
    }
    house.store.fill_up(false);
    let (status, answer) = house.ask(1, "GET", "/api/v1/tenants/acme/runs", Value::Null).await;
    assert_eq!((status, answer["runs"].as_array().unwrap().len()), (200, 1), "nothing was half done");
}

#[tokio::test]
async fn a_tenant_that_one_may_not_view_reads_like_one_that_is_not_there() {
    let house = House::new().await;
    let run = started_run(&house).await;
    for (method, path, body, _) in ENDPOINTS {
        let body: Value =
            if body.is_empty() { Value::Null } else { serde_json::from_str(&filled(body, &run)).unwrap() };
        let mut answers = Vec::new();
        for tenant in ["acme", "nowhere", "platform", "Acme", "..", "%2e%2e"] {
            let target = format!("/api/v1/tenants/{tenant}/{}", filled(path, &run));
            let (status, mut answer) = house.ask(6, method, &target, body.clone()).await;
            answer["request_id"] = Value::Null;
            answers.push((status, answer));
        }
        assert_eq!(answers[0].0, 404, "{method} {path}");
        let first = answers[0].clone();
        for (index, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer, first, "{method} {path} {index}");
        }
    }
}

#[tokio::test]
async fn a_run_of_another_tenant_is_not_found_in_the_own() {
    let house = House::new().await;
    let run = started_run(&house).await;
    for path in ["", "/rerun", "/cancel"] {
        let method = if path.is_empty() { "GET" } else { "POST" };
        let target = format!("/api/v1/tenants/globex/runs/{run}{path}");
        let (status, answer) = house.ask(6, method, &target, Value::Null).await;
        assert_eq!(status, 404, "{path}: {answer}");
    }
    let (_, found) = house.ask(6, "GET", &format!("/api/v1/runs?suffix={run}"), Value::Null).await;
    assert_eq!(found["runs"], json!([]));
    let (_, found) = house.ask(1, "GET", &format!("/api/v1/runs?suffix={run}"), Value::Null).await;
    assert_eq!(found["runs"][0]["id"], run.as_str());
}

#[tokio::test]
async fn the_fleet_holds_what_one_may_see() {
    let house = House::new().await;
    house.store.set_source(&SourceRow::default(), &[]).await.unwrap();
    for (uid, want) in [
        (1, vec!["acme"]),
        (5, vec!["acme", "globex"]),
        (6, vec!["globex"]),
        (NOBODY, vec!["acme", "globex"]),
    ] {
        let (status, answer) = house.ask(uid, "GET", "/api/v1/fleet", Value::Null).await;
        let names: Vec<_> =
            answer["tenants"].as_array().unwrap().iter().map(|row| row["tenant"].as_str().unwrap()).collect();
        assert_eq!((status, names), (200, want), "uid {uid}");
        assert_eq!(answer["schema"], "tenantry.status/1");
    }
}

#[tokio::test]
async fn what_belongs_to_no_tenant_is_the_platforms() {
    let house = House::new().await;
    let held = SourceRow { held: Some(commit()), ..SourceRow::default() };
    for (method, target, body, wants) in [
        ("GET", "/api/v1/audit", Value::Null, [403, 200, 200]),
        ("POST", "/api/v1/reconcile", Value::Null, [200, 200, 200]),
        ("POST", "/api/v1/release/source", json!({"reason": "r"}), [403, 200, 200]),
    ] {
        for (uid, want) in [1, 5, NOBODY].into_iter().zip(wants) {
            house.store.set_source(&held, &[]).await.unwrap();
            let (status, answer) = house.ask(uid, method, target, body.clone()).await;
            assert_eq!(status, want, "uid {uid} {method} {target}: {answer}");
        }
    }
    let source = house.store.source().await.unwrap();
    assert_eq!((source.held, source.released), (None, Some(commit())));
    assert!(house.woken.load(Ordering::SeqCst) > 0);
    let (status, _) = house.ask(5, "POST", "/api/v1/release/source", json!({"reason": "r"})).await;
    assert_eq!(status, 409, "nothing is held any more");
}

#[tokio::test]
async fn another_person_only_in_mode_open_and_the_audit_shows_the_uid() {
    let house = House::new().await;
    let target = format!("/api/v1/tenants/acme/workflows/{}/start", workflow());
    let (status, _) = house.ask_as(NOBODY, Some("olga"), "POST", &target, json!({})).await;
    assert_eq!(status, 201);
    let audit = house.audit("acme").await;
    assert!(
        audit.contains(&"run.started true user:olga by hand (uid 1000, by --as)".to_owned()),
        "{audit:#?}"
    );

    let closed = House::in_mode(ChangeControlMode::PullRequest).await;
    let (status, answer) = closed.ask_as(NOBODY, Some("olga"), "POST", &target, json!({})).await;
    assert_eq!((status, answer["code"].as_str()), (401, Some("unauthorized")));
}

#[tokio::test]
async fn a_denial_is_audited_with_its_reason_and_a_flood_of_them_once() {
    let house = House::new().await;
    let target = format!("/api/v1/tenants/acme/workflows/{}/start", workflow());
    for _ in 0..50 {
        let (status, answer) = house.ask(2, "POST", &target, json!({})).await;
        assert_eq!(status, 403);
        assert!(!answer.to_string().contains("holds developer"), "the reason is for the audit only");
    }
    let denials: Vec<_> =
        house.audit("acme").await.into_iter().filter(|entry| entry.contains("denied")).collect();
    assert_eq!(
        denials,
        ["start.denied false user:dana holds developer here, none of which allows it (uid 2)"]
    );
}

#[tokio::test]
async fn output_is_read_in_order_and_the_reading_is_audited_once() {
    let house = House::new().await;
    let run = started_run(&house).await;
    let lease = house.store.claim("w1", None, 1, NOW).await.unwrap().remove(0);
    let piece = |sequence, text: &str| LogRecord {
        sequence,
        at: NOW,
        stream: LogStream::Stdout,
        text: text.to_owned(),
    };
    let pieces: Vec<_> = (0..600).map(|number| piece(number, &format!("line {number}\n"))).collect();
    house.ports.logs.append(&lease.permit, &lease.attempt, &pieces).await.unwrap();
    let target = format!("/api/v1/tenants/acme/runs/{run}/logs");
    for _ in 0..3 {
        let (status, body) = house.ask(1, "GET", &target, Value::Null).await;
        let text = body.as_str().unwrap();
        assert_eq!((status, text.lines().count()), (200, 600));
        let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
        assert_eq!((&last["text"], &last["step"]), (&json!("line 599\n"), &json!("main")));
    }
    // What comes with the report follows what was appended, once each.
    let report = Report {
        outcome: crate::domain::Outcome::Success,
        reason: None,
        outputs: BTreeMap::new(),
        record: crate::record::AttemptRecord::default(),
        log_end: vec![piece(600, "the end\n")],
    };
    house.store.complete(&lease.permit, &lease.attempt, report, NOW).await.unwrap();
    let (_, body) = house.ask(1, "GET", &target, Value::Null).await;
    let lines: Vec<Value> =
        body.as_str().unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<u64> = lines.iter().map(|line| line["sequence"].as_u64().unwrap()).collect();
    assert_eq!((numbers, &lines[600]["text"]), ((0..=600).collect(), &json!("the end\n")));
    let reads = house.audit("acme").await.into_iter().filter(|entry| entry.starts_with("logs.read")).count();
    assert_eq!(reads, 1);
    let (status, _) = house.ask(1, "GET", &format!("{target}?step=nonsense"), Value::Null).await;
    assert_eq!(status, 404);
}

#[tokio::test]
async fn a_key_starts_one_run_and_belongs_to_its_caller() {
    let house = House::new().await;
    let target = format!("/api/v1/tenants/acme/workflows/{}/start", workflow());
    let start = |uid, key: &'static str| {
        let request = Request::builder().method("POST").uri(&target).header("idempotency-key", key);
        answer(house.router(uid), request.body(Body::from("{}")).unwrap())
    };
    let (first, one) = start(1, "k").await;
    let (again, same) = start(1, "k").await;
    assert_eq!((first, again), (201, 200));
    assert_eq!((&one["run"], &same["known"]), (&same["run"], &json!(true)));
    let (status, other) = start(1, "l").await;
    assert_eq!(status, 201);
    assert_ne!(other["run"], one["run"]);
    assert_eq!(start(1, "").await.0, 400);
}

#[track_caller]
fn check_refused((status, answer): (u16, Value), want: u16, text: &str) {
    assert_eq!(status, want, "{answer}");
    let detail = answer["detail"].as_str().unwrap_or_default();
    assert!(detail.contains(text), "{detail}");
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused_with_its_cure() {
    let house = House::new().await;
    let post = async |path: &str, body: Value| {
        house.ask(1, "POST", &format!("/api/v1/tenants/acme/{path}"), body).await
    };
    let workflow = workflow();
    check_refused(post("workflows/nonsense/start", json!({})).await, 404, "only: `");
    check_refused(post(&format!("workflows/{workflow}/start"), json!({"input": {}})).await, 400, "input");
    check_refused(
        post(&format!("workflows/{workflow}/start"), json!({"inputs": {"nonsense": 1}})).await,
        400,
        "unknown input `nonsense`",
    );
    check_refused(post("suspend", json!({})).await, 400, "a reason is required");
    check_refused(post("suspend", json!({"reason": "a\nb"})).await, 400, "one line");
    check_refused(post("pin", json!({"reason": "r", "to": commit()})).await, 400, "`until` is required");
    let until = "2030-01-01T00:00:00Z";
    check_refused(
        post("pin", json!({"reason": "r", "to": "abc", "until": until})).await,
        400,
        "first 4 digits",
    );
    check_refused(
        post("pin", json!({"reason": "r", "to": "HEAD~1", "until": until})).await,
        400,
        "commit's id",
    );
    check_refused(post("pin", json!({"to": commit(), "until": until})).await, 400, "a reason is required");
    let never = json!({"reason": "r", "to": "0123abcd", "until": until});
    check_refused(post("pin", never).await, 409, "never applied in `acme`");
    check_refused(post("unpin", json!({})).await, 409, "`acme` is not pinned");
    check_refused(
        post(&format!("workflows/{workflow}/pause"), json!({"reason": "r", "until": "2020-01-01T00:00:00Z"}))
            .await,
        400,
        "past",
    );
    check_refused(
        post("secrets/token/revoke", json!({"version": "v9", "reason": "r"})).await,
        404,
        "only `v2`, `v1`",
    );
    check_refused(house.ask(1, "GET", "/api/v1/runs?suffix=b8e11", Value::Null).await, 400, "at least 6");
    check_refused(house.ask(1, "PUT", "/api/v1/fleet", Value::Null).await, 405, "another method");
    check_refused(house.ask(1, "GET", "/api/v2/fleet", Value::Null).await, 404, "no such path");
}

#[tokio::test]
async fn loopback_is_no_authentication() {
    let house = House::new().await;
    let ready = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let health = loopback(Health::new(Arc::<MemoryStore>::clone(&house.store), Arc::clone(&ready)), None);
    let get = |path: &str| answer(health.clone(), Request::get(path).body(Body::empty()).unwrap());
    assert_eq!(get("/healthz").await, (200, Value::String("ok\n".into())));
    assert_eq!(get("/readyz").await.0, 503);
    ready.store(true, Ordering::SeqCst);
    assert_eq!(get("/readyz").await.0, 200);
    let (status, metrics) = get("/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.as_str().unwrap().contains("tenantry_tenants{status=\"applied\"} 2"), "{metrics}");
    assert!(!metrics.as_str().unwrap().contains("acme"), "no tenant's name is public");
    for path in ["/api/v1/fleet", "/api/v1/tenants/acme/status", "/", "/api/v1/tenants/acme/runs"] {
        assert_eq!(get(path).await.0, 401, "{path}");
    }
    // And the whole router, reached without a socket, knows nobody.
    let bare = router(house.ports.clone());
    let (status, _) = answer(bare, Request::get("/api/v1/fleet").body(Body::empty()).unwrap()).await;
    assert_eq!(status, 401);
}

/// A run of [`asking_workflow`] that asks, started by a uid; gives its path and the digest of what it shows.
async fn asked_run(house: &House, uid: u32) -> (String, String) {
    let (status, body) = house.ask(uid, "POST", "/api/v1/tenants/acme/workflows/asks/start", json!({})).await;
    assert_eq!(status, 201, "{body}");
    let target = format!("/api/v1/tenants/acme/runs/{}", body["run"].as_str().unwrap());
    let (_, document) = house.ask(uid, "GET", &target, Value::Null).await;
    let asked = &document["run"]["steps"][0]["approval"];
    assert_eq!((&asked["count"], &asked["given"]), (&json!(2), &json!([])), "{document}");
    (target, asked["shown"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn whoever_a_step_asks_may_answer_and_nobody_else() {
    for verb in ["approve", "reject"] {
        // olga is an operator, dana a developer, owen the owner: all asked. audrey audits, pat administers.
        let wants = [200, 200, 403, 200, 403, 404, 403];
        for (uid, want) in CALLERS.iter().map(|(uid, _)| *uid).chain([NOBODY]).zip(wants) {
            let house = House::new().await;
            let (run, shown) = asked_run(&house, 1).await;
            let starter_or_author = verb == "approve" && (uid == 1 || uid == 4);
            let want = if starter_or_author { 409 } else { want };
            let body = json!({ "shown": shown, "reason": "looked at it" });
            let (status, answer) = house.ask(uid, "POST", &format!("{run}/steps/agree/{verb}"), body).await;
            assert_eq!(status, want, "uid {uid} {verb}: {answer}");
            let audit = house.audit("acme").await;
            let denied = audit.iter().any(|entry| entry.starts_with("approve-step.denied false"));
            assert_eq!(denied, status == 403 && uid != 5, "uid {uid}: {audit:#?}");
        }
    }
}

#[tokio::test]
async fn an_answer_names_what_was_shown_and_counts_once() {
    let house = House::new().await;
    let (run, shown) = asked_run(&house, 1).await;
    let answer = async |uid: u32, verb: &str, body: Value| {
        house.ask(uid, "POST", &format!("{run}/steps/agree/{verb}"), body).await
    };
    check_refused(answer(2, "approve", json!({})).await, 400, "`shown` is required");
    check_refused(answer(2, "reject", json!({ "shown": shown })).await, 400, "a reason is required");
    check_refused(
        answer(2, "approve", json!({ "shown": "sha256:0" })).await,
        409,
        "what you were shown is not",
    );
    check_refused(answer(1, "approve", json!({ "shown": shown })).await, 409, "`olga` started this run");
    check_refused(answer(4, "approve", json!({ "shown": shown })).await, 409, "`owen` wrote the commit");
    for known in [false, true] {
        let (status, said) = answer(2, "approve", json!({ "shown": shown, "reason": "fine" })).await;
        assert_eq!((status, &said["known"], &said["outcome"]), (200, &json!(known), &Value::Null), "{said}");
        assert_eq!(said["approval"]["given"][0]["by"], "user:dana");
    }
    let audit = house.audit("acme").await;
    let approved: Vec<_> = audit.iter().filter(|entry| entry.starts_with("step.approved")).collect();
    assert_eq!(approved, [&format!("step.approved true user:dana fine; shown {shown} (uid 2)")]);
    let other = house
        .ask(6, "POST", &format!("{run}/steps/agree/approve").replace("acme", "globex"), json!({}))
        .await;
    assert_eq!(other.0, 404, "{}", other.1);
}

#[tokio::test]
async fn an_agreement_counts_while_its_giver_may_give_it() {
    let house = House::new().await;
    let (run, shown) = asked_run(&house, 1).await;
    let answer = async |uid: u32| {
        let target = format!("{run}/steps/agree/approve");
        house.ask(uid, "POST", &target, json!({ "shown": shown })).await
    };
    assert_eq!(answer(2).await.0, 200);
    // dana is no developer any more; audrey becomes one, and gregor operates here too.
    let roles = [(Role::Operator, "gregor"), (Role::Developer, "audrey"), (Role::Owner, "owen")];
    house.apply_at(1, "acme", &roles).await;
    assert_eq!(answer(2).await.0, 404, "nor may she look at it");
    let (status, said) = answer(3).await;
    assert_eq!((status, &said["outcome"]), (200, &Value::Null), "one of two: {said}");
    let (status, said) = answer(6).await;
    assert_eq!((status, &said["outcome"]), (200, &json!("success")), "{said}");
    let by: Vec<_> =
        said["approval"]["given"].as_array().unwrap().iter().map(|one| one["by"].clone()).collect();
    assert_eq!(by, ["user:audrey", "user:gregor"]);
}

#[tokio::test]
async fn what_only_reads_is_decided_about_anew_where_a_right_ends_in_between() {
    // How often it is overtaken, then what is answered after how many decisions.
    let cases = [
        ("GET", 0, 200, 1),
        ("GET", 1, 200, 2),
        ("GET", 3, 200, 4),
        ("GET", 1000, 403, 4),
        ("POST", 0, 200, 1),
        ("POST", 1, 403, 1),
    ];
    for (method, overtaken, status, decisions) in cases {
        let decided = Arc::new(AtomicU64::new(0));
        let decide = {
            let decided = Arc::clone(&decided);
            async move |Path(tenant): Path<String>, Query(query): Query<BTreeMap<String, String>>| {
                assert_eq!((tenant.as_str(), query["after"].as_str()), ("acme", "7"));
                match decided.fetch_add(1, Ordering::SeqCst) < overtaken {
                    true => Err(Problem::from(StoreError::Denied("a right ended".to_owned()))),
                    false => Ok("read"),
                }
            }
        };
        let router = Router::new()
            .route("/{tenant}", axum::routing::get(decide.clone()).post(decide))
            .layer(axum::middleware::from_fn(super::problem::decide_anew));
        let request = Request::builder().method(method).uri("/acme?after=7").body(Body::empty()).unwrap();
        let (answered, said) = answer(router, request).await;
        assert_eq!(answered, status, "{method} overtaken {overtaken} times: {said}");
        assert_eq!(decided.load(Ordering::SeqCst), decisions, "{method} overtaken {overtaken} times");
        assert!(status == 200 || said["detail"].as_str().unwrap().ends_with("try again"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_is_not_refused_because_the_right_of_another_ends() {
    let house = Arc::new(House::new().await);
    let all = [(Role::Operator, "olga"), (Role::Developer, "dana"), (Role::Auditor, "audrey")];
    let reading = {
        let house = Arc::clone(&house);
        tokio::spawn(async move {
            let mut read = 0;
            while house.store.access(&"acme".parse().unwrap()).await.unwrap().unwrap().authority < 300 {
                let (status, said) = house.ask(3, "GET", "/api/v1/tenants/acme/audit", Value::Null).await;
                assert_eq!(status, 200, "after {read}: {said}");
                read += 1;
            }
        })
    };
    for turn in 0..300 {
        let gone = Grant { role: Role::Developer, principal: "dana".parse().unwrap() };
        let removals = Removals { grants: vec![gone], ..Removals::default() };
        let generation = 1 + 2 * turn;
        house.apply_taking(removals, generation, "acme", &[all[0], all[2]]).await;
        house.apply_at(generation + 1, "acme", &all).await;
    }
    reading.await.unwrap();
}
