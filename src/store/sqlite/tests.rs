//! What is SQLite's own: the files, the lock, the ledger beside it, damage and bad luck.

mod payloads;

use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::authz::action::{Revoke, Start, Steer, View};
use crate::domain::{OnRevoke, Outcome, Pause, Secret, SecretVersion, VersionState};
use crate::store::fixture::*;
use crate::store::{PinRequest, Started, Store};

fn clock() -> Clock {
    Arc::new(|| START)
}

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, clock()).await.unwrap()
}

/// Why a directory cannot be opened.
async fn refusal_of(path: &Path) -> String {
    match SqliteStore::open(path, clock()).await {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    }
}

async fn apply(store: &SqliteStore, name: &str, number: u64, next: crate::domain::TenantState) {
    let tenant = tenant_id(name);
    let actual =
        store.access(&tenant).await.unwrap().unwrap_or_else(|| ActualState::empty(tenant.clone()).into());
    let permit = reconcile(&actual, START);
    let expected = store.actual(&permit).await.unwrap().generation;
    store.apply(&permit, &application(&tenant, expected, number, Some(next)), START).await.unwrap();
}

async fn actual(store: &SqliteStore, name: &str) -> ActualState {
    Arc::unwrap_or_clone(store.access(&tenant_id(name)).await.unwrap().unwrap())
}

/// Opens the database of a closed store past the store.
fn raw(path: &Path) -> Connection {
    let connection = Connection::to_write(&directory::database(path)).unwrap();
    connection.let_rows_dangle();
    connection
}

fn execute(connection: &mut Connection, sql: &'static str) {
    connection.run(query(sql)).unwrap();
}

fn with_token() -> crate::domain::TenantState {
    let mut next = state(&[workflow("w", &["main"])]);
    let token = Secret {
        name: "token".parse().unwrap(),
        owner: next.settings.owner.clone(),
        purposes: Default::default(),
        rotate_every: None,
        leaked_at: None,
        redact: true,
        on_revoke: OnRevoke::Mark,
        versions: vec![SecretVersion {
            id: "v1".parse().unwrap(),
            state: VersionState::Current,
            created: None,
            accept_until: None,
            file: "tenants/acme/secrets/token.yaml".to_owned(),
            blob: None,
        }],
    };
    next.secrets.insert(token.name.clone(), token);
    next
}

async fn revoke(store: &SqliteStore) {
    let permit = right::<Revoke>("carol", &actual(store, "acme").await, START);
    let (token, version) = ("token".parse().unwrap(), "v1".parse().unwrap());
    store.revoke(&permit, &token, &version, entry("secret.revoked", START)).await.unwrap();
}

#[tokio::test]
async fn every_statement_can_be_prepared() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).await.close().await;
    let connection = raw(directory.path());
    for (name, statement) in statements::ALL {
        let prepared = connection.prepares(statement);
        assert!(prepared.is_ok(), "{name}: {:?}", prepared.err());
    }
    assert!(statements::ALL.len() < STATEMENTS_MAX, "more statements than a connection keeps");
}

#[tokio::test]
async fn every_table_of_a_tenant_leads_with_it() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).await.close().await;
    let mut connection = raw(directory.path());
    let whole = ["schema_version", "document", "recorded_time"];
    let texts = |connection: &mut Connection, query| -> Vec<String> {
        connection.all(query).unwrap().iter().map(|row| row.text(0).unwrap().to_owned()).collect()
    };
    for table in texts(&mut connection, query("SELECT name FROM sqlite_schema WHERE type = 'table'")) {
        if whole.contains(&table.as_str()) || table.starts_with("sqlite_") {
            continue;
        }
        let keys = query("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk");
        let keys = texts(&mut connection, keys.bind(table.clone()));
        assert_eq!(keys[..2], ["tenant_id", "incarnation"], "{table}");
    }
}

#[tokio::test]
async fn everything_is_there_when_it_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let w = workflow("w", &["main"]);
    apply(&store, "acme", 1, with_token()).await;
    let permit = right::<Start>("carol", &actual(&store, "acme").await, START);
    let run = pins(&tenant_id("acme"), &w, 1, START);
    store.start(&permit, run.clone(), entry("run.started", at(5))).await.unwrap();
    revoke(&store).await;
    let (before, heads) = (actual(&store, "acme").await, store.tenants().await.unwrap());
    store.close().await;
    let closed = store.append_audit(entry("view", START)).await.unwrap_err().to_string();
    assert!(closed.contains("closed"), "{closed}");

    let again = open(directory.path()).await;
    assert_eq!(actual(&again, "acme").await, before);
    assert_eq!(again.tenants().await.unwrap(), heads);
    assert_eq!(again.now(START).await.unwrap(), at(5), "the clock does not go back over a restart");
    let permit = right::<Start>("carol", &before, at(5));
    let known = again.start(&permit, run, entry("run.started", at(6))).await.unwrap();
    assert_eq!(known, Started::Known(run_id(1)));
    assert_eq!(again.claim("embedded", None, 9, at(6)).await.unwrap().len(), 1);
    again.close().await;
    let mode = |name: &str| directory.path().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("keys/store"), mode("ledger"), mode("lock")), (0o600, 0o600, 0o600));
}

#[tokio::test]
async fn a_second_daemon_is_refused_by_name_and_may_only_read() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    apply(&store, "acme", 1, state(&[])).await;
    let refusal = refusal_of(directory.path()).await;
    let me = format!("another tenantry (process {}) works in", std::process::id());
    assert!(refusal.contains(&me) && refusal.contains("stop it"), "{refusal}");

    let reader = SqliteStore::open_to_read(directory.path(), clock()).await.unwrap();
    let permit = right::<View>("audrey", &actual(&reader, "acme").await, START);
    assert_eq!(reader.view(&permit).await.unwrap().generation, 1);
    let refused = reader.append_audit(entry("view", START)).await.unwrap_err().to_string();
    assert!(refused.contains("read only"), "{refused}");
    store.close().await;
    open(directory.path()).await.close().await;
}

#[tokio::test]
async fn there_is_nothing_to_read_before_the_first_start() {
    let directory = tempfile::tempdir().unwrap();
    let refusal = SqliteStore::open_to_read(directory.path(), clock()).await.err().unwrap().to_string();
    assert!(refusal.contains("there is no database"), "{refusal}");
}

#[tokio::test]
async fn a_newer_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    open(directory.path()).await.close().await;
    schema::pretend(&mut raw(directory.path()), 99);
    let refusal = refusal_of(directory.path()).await;
    assert!(refusal.contains("has schema 99") && refusal.contains("restore the backup"), "{refusal}");
    let reading = SqliteStore::open_to_read(directory.path(), clock()).await.err().unwrap();
    assert!(matches!(reading, StoreError::Newer { found: 99, known: schema::KNOWN }));
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory::database(directory.path());
    #[expect(clippy::disallowed_methods, reason = "makes the file that is none")]
    std::fs::write(&file, "not a database, however long it is ".repeat(100)).unwrap();
    let refusal = refusal_of(directory.path()).await;
    assert!(refusal.contains("damaged") && refusal.contains("tenantry.db"), "{refusal}");
}

#[tokio::test]
async fn a_migration_copies_the_database_first() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    apply(&store, "acme", 1, state(&[])).await;
    let copy = directory.path().join("copy.sqlite");
    store.back_up(&copy).await.unwrap();
    assert!(store.back_up(&copy).await.is_err(), "a copy is never written over");
    store.close().await;
    let mut connection = raw(directory.path());
    schema::back_up_for_test(&mut connection, &directory.path().join("before.sqlite"));
    let mut copy = Connection::to_read(&directory.path().join("before.sqlite")).unwrap();
    let count = copy.one(query("SELECT count(*) FROM tenant")).unwrap().integer(0).unwrap();
    assert_eq!(count, 1);
}

#[tokio::test]
async fn a_row_written_without_the_key_gives_no_access() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    apply(&store, "acme", 1, state(&[workflow("w", &["main"])])).await;
    apply(&store, "globex", 1, state(&[workflow("w", &["main"])])).await;
    for (name, number) in [("acme", 1), ("globex", 2)] {
        let permit = right::<Start>("carol", &actual(&store, name).await, START);
        let run = pins(&tenant_id(name), &workflow("w", &["main"]), number, START);
        store.start(&permit, run, entry("run.started", START)).await.unwrap();
    }
    store.close().await;
    let mut connection = raw(directory.path());
    execute(
        &mut connection,
        "UPDATE tenant SET state = replace(state, 'user:audrey', 'user:mallory') WHERE tenant_id = 'acme'",
    );
    drop(connection);
    let store = open(directory.path()).await;
    let refused = store.access(&tenant_id("acme")).await.unwrap_err().to_string();
    assert!(refused.contains("without the key"), "{refused}");
    let leases = store.claim("embedded", None, 9, START).await.unwrap();
    assert_eq!(leases.len(), 1, "the others go on");
    assert_eq!(leases[0].permit.tenant().as_str(), "globex");
}

#[tokio::test]
async fn what_moves_one_way_outlives_the_database() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    apply(&store, "acme", 1, with_token()).await;
    revoke(&store).await;
    let before = actual(&store, "acme").await;
    store.close().await;
    for suffix in ["", "-wal", "-shm"] {
        let file = directory.path().join(format!("tenantry.db{suffix}"));
        #[expect(clippy::disallowed_methods, reason = "deletes the database, as its cure says")]
        let _ = std::fs::remove_file(file);
    }
    let store = open(directory.path()).await;
    let rebuilt = actual(&store, "acme").await;
    assert_eq!((rebuilt.generation, rebuilt.authority), (before.generation, before.authority));
    assert_eq!(rebuilt.revoked, before.revoked);
    assert!(rebuilt.applied.is_none());
    apply(&store, "acme", 1, with_token()).await;
    assert!(actual(&store, "acme").await.is_revoked(&"token".parse().unwrap(), &"v1".parse().unwrap()));
    store.close().await;
    open(directory.path()).await.close().await;
}

#[tokio::test]
async fn a_database_behind_its_ledger_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    apply(&store, "acme", 1, with_token()).await;
    let old = directory.path().join("old.sqlite");
    store.back_up(&old).await.unwrap();
    revoke(&store).await;
    store.close().await;
    #[expect(clippy::disallowed_methods, reason = "puts an old copy back")]
    {
        std::fs::copy(&old, directory::database(directory.path())).unwrap();
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(directory.path().join(format!("tenantry.db{suffix}")));
        }
    }
    let refusal = refusal_of(directory.path()).await;
    assert!(refusal.contains("older than its ledger") && refusal.contains("`acme`"), "{refusal}");
}

#[tokio::test]
async fn lines_that_a_crash_kept_from_the_ledger_are_added_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    apply(&store, "acme", 1, with_token()).await;
    let ledger = directory.path().join("ledger");
    #[expect(clippy::disallowed_methods, reason = "keeps the ledger as it was before the crash")]
    let before = std::fs::read(&ledger).unwrap();
    revoke(&store).await;
    let after = LedgerFile::open(&ledger).unwrap().ledger().tenants.clone();
    store.close().await;
    #[expect(clippy::disallowed_methods, reason = "puts the ledger back as it was before the crash")]
    std::fs::write(&ledger, before).unwrap();
    open(directory.path()).await.close().await;
    assert_eq!(LedgerFile::open(&ledger).unwrap().ledger().tenants, after);
}

#[tokio::test]
async fn what_waits_is_committed_together_and_each_answered_for_itself() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()).await);
    apply(&store, "acme", 1, state(&[workflow("w", &["main"])])).await;
    let actual = actual(&store, "acme").await;
    let mut tasks = Vec::new();
    for number in 0..200_u64 {
        let (store, actual) = (Arc::clone(&store), actual.clone());
        tasks.push(tokio::spawn(async move {
            let permit = right::<Start>("carol", &actual, START);
            // Every fourth asks for a workflow that is not there.
            let w = workflow(if number % 4 == 3 { "none" } else { "w" }, &["main"]);
            store
                .start(&permit, pins(&tenant_id("acme"), &w, number, START), entry("run.started", START))
                .await
        }));
    }
    let (mut queued, mut refused) = (0, 0);
    for task in tasks {
        match task.await.unwrap() {
            Ok(Started::Queued(_)) => queued += 1,
            Err(StoreError::NotFound) => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((queued, refused), (150, 50));
    let permit = right::<crate::authz::action::ViewAccess>("audrey", &actual, START);
    assert_eq!(store.audit(&permit, 0, 1_000).await.unwrap().len(), 151);
    store.close().await;
}

/// Whether somebody was told since the last time that something waits to be leased.
fn told(queued: &Notify) -> bool {
    let mut waits = std::pin::pin!(queued.notified());
    waits.as_mut().enable()
}

#[tokio::test]
async fn whoever_works_here_is_told_of_each_commit_that_left_work() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let queued = store.queued();
    let w = workflow("w", &["first", "second"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    assert!(!told(&queued), "nothing runs yet");
    let permit = right::<Start>("carol", &actual(&store, "acme").await, START);
    store.start(&permit, pins(&tenant_id("acme"), &w, 1, START), entry("run.started", START)).await.unwrap();
    assert!(told(&queued), "a run was started");
    let lease = store.claim("embedded", None, 8, START).await.unwrap().remove(0);
    assert!(!told(&queued), "what is leased waits for nobody");
    let next = store.complete(&lease.permit, &lease.attempt, report(Outcome::Success), at(1)).await.unwrap();
    let next = next.expect("what was freed is leased in the same commit");
    assert!(!told(&queued), "nothing is left for others");
    let other = pins(&tenant_id("acme"), &w, 2, START);
    store.start(&permit, other, entry("run.started", START)).await.unwrap();
    assert!(told(&queued));
    store.abandon("embedded", at(2)).await.unwrap();
    assert!(told(&queued), "given back: `{}`", next.attempt);
    store.close().await;
}

#[tokio::test]
async fn an_offer_of_slots_is_taken_by_the_commit_that_makes_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let queued = store.queued();
    let w = workflow("w", &["first"]);
    apply(&store, "acme", 1, state(std::slice::from_ref(&w))).await;
    let permit = right::<Start>("carol", &actual(&store, "acme").await, START);
    let start = async |number| {
        let run = pins(&tenant_id("acme"), &w, number, START);
        store.start(&permit, run, entry("run.started", START)).await.unwrap();
    };
    let mut offer = store.offer("embedded", None, 2, START).await.unwrap();
    let mut second = store.offer("embedded", None, 2, START).await.unwrap();
    assert!(soon(offer.found()).await.is_none(), "there is nothing yet");
    start(1).await;
    assert!(!told(&queued), "nobody needs to look: what was left is leased already");
    let leases = soon(offer.found()).await.unwrap().unwrap();
    assert_eq!(leases.len(), 1);
    assert!(soon(second.found()).await.is_none(), "the first took it, the second stands on");
    assert!(offer.withdrawn().await.unwrap().is_none(), "it gives what it found once");
    start(2).await;
    let leases = second.withdrawn().await.unwrap().unwrap();
    assert_eq!(leases.len(), 1, "what was found before it was withdrawn is not lost");
    // One that is withdrawn, or given up, takes nothing.
    assert!(store.offer("embedded", None, 2, START).await.unwrap().withdrawn().await.unwrap().is_none());
    drop(store.offer("embedded", None, 2, START).await.unwrap());
    start(3).await;
    assert!(told(&queued));
    let mut offer = store.offer("embedded", None, 2, START).await.unwrap();
    assert_eq!(soon(offer.found()).await.unwrap().unwrap().len(), 1, "what waits already is found at once");
    let last = store.offer("embedded", None, 2, START).await.unwrap();
    store.close().await;
    assert!(last.withdrawn().await.is_ok_and(|leases| leases.is_none()), "a closed store owes nothing");
}

#[tokio::test]
async fn an_offer_that_came_with_its_run_sees_it_and_no_refused_run_touches_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(directory.path()).await);
    apply(&store, "acme", 1, state(&[workflow("w", &["main"])])).await;
    let actual = actual(&store, "acme").await;
    let mut leased = 0;
    for number in 0..50_u64 {
        let permit = right::<Start>("carol", &actual, START);
        let known = number % 2 == 0;
        let w = workflow(if known { "w" } else { "none" }, &["main"]);
        let run = pins(&tenant_id("acme"), &w, number, START);
        let (offer, started) = tokio::join!(
            store.offer("embedded", None, 1, START),
            store.start(&permit, run, entry("run.started", START))
        );
        assert_eq!(started.is_ok(), known);
        leased += offer.unwrap().withdrawn().await.unwrap().map_or(0, |leases| leases.len());
    }
    assert_eq!(leased, 25, "each run was leased by the offer beside it");
    store.close().await;
}

/// What is ready within a moment in which the writer has long done its work.
async fn soon<T>(wait: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(Duration::from_millis(100), wait).await.ok()
}

#[tokio::test]
async fn a_pass_over_unchanged_tenants_reads_no_row_twice() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    apply(&store, "acme", 1, state(&[])).await;
    apply(&store, "globex", 1, state(&[])).await;
    let first = store.tenants().await.unwrap();
    assert!(Arc::ptr_eq(&first, &store.tenants().await.unwrap()));
    let permit = right::<Steer>("carol", &actual(&store, "acme").await, START);
    let pin = PinRequest { to: commit(1).to_string(), reason: "worse".to_owned(), until: at(9) };
    store.set_pin(&permit, Some(pin), entry("tenant.pinned", at(1))).await.unwrap();
    assert!(!Arc::ptr_eq(&first, &store.tenants().await.unwrap()), "what changed is seen");
}

#[tokio::test]
async fn what_nobody_waits_for_lands_with_the_next_write_and_not_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let row = |number| SourceRow { head: Some(commit(number)), ..SourceRow::default() };
    // An answer that is waited for late must not make the next one come early.
    store.set_source_ahead(&row(1), &[]).await.unwrap().landed().await.unwrap();
    for number in 2..5 {
        let pending = store.set_source_ahead(&row(number), &[]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(store.source().await.unwrap(), row(number - 1), "it went alone");
        apply(&store, "acme", number, state(&[])).await;
        assert_eq!(store.source().await.unwrap(), row(number), "the apply left it behind");
        pending.landed().await.unwrap();
    }
    // Whoever gives up on the answer still wants it to land.
    drop(store.set_source_ahead(&row(5), &[]).await.unwrap());
    let landed = async {
        while store.source().await.unwrap() != row(5) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), landed).await.expect("what was given up never landed");
    store.close().await;
}

#[tokio::test]
async fn a_look_at_the_source_is_written_down_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    let row = SourceRow { head: Some(commit(1)), fetched_at: Some(at(1)), ..SourceRow::default() };
    store.set_source(&row, &[]).await.unwrap();
    store.saw_source(at(60));
    store.close().await;
    let again = open(directory.path()).await;
    assert_eq!(again.source().await.unwrap(), SourceRow { fetched_at: Some(at(60)), ..row });
    again.close().await;
}

/// Fills the disk: needs root, for a file system of its own.
#[tokio::test]
async fn a_full_disk_refuses_loses_nothing_and_heals() {
    let directory = tempfile::tempdir().unwrap();
    let options = "size=2m,mode=0700";
    let mounted = nix::mount::mount(
        Some("tmpfs"),
        directory.path(),
        Some("tmpfs"),
        nix::mount::MsFlags::empty(),
        Some(options),
    );
    if let Err(error) = mounted {
        println!("not tested: a file system of its own cannot be mounted: {error}");
        return;
    }
    let unmount = Unmount(directory.path().to_owned());
    let store = open(directory.path()).await;
    apply(&store, "acme", 1, state(&[workflow("w", &["main"])])).await;
    let state = actual(&store, "acme").await;
    let mut kept = Vec::new();
    let refusal = loop {
        let number = kept.len() as u64;
        let permit = right::<Start>("carol", &state, START);
        let mut run = pins(&tenant_id("acme"), &workflow("w", &["main"]), number, START);
        run.inputs = [("text".parse().unwrap(), "x".repeat(20_000).into())].into();
        match store.start(&permit, run, entry("run.started", START)).await {
            Ok(Started::Queued(id)) => kept.push(id),
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error.to_string(),
        }
        assert!(kept.len() < 1_000, "the disk is not full");
    };
    assert!(refusal.contains("the disk is full: free space"), "{refusal}");
    let permit = right::<View>("audrey", &state, START);
    for id in &kept {
        store.run(&permit, id).await.unwrap();
    }
    assert!(kept.len() > 5, "{}", kept.len());
    // Room again: the same store goes on.
    let remount = nix::mount::MsFlags::MS_REMOUNT;
    nix::mount::mount(None::<&str>, directory.path(), None::<&str>, remount, Some("size=16m,mode=0700"))
        .unwrap();
    let permit = right::<Start>("carol", &state, START);
    let run = pins(&tenant_id("acme"), &workflow("w", &["main"]), 5_000, START);
    store.start(&permit, run, entry("run.started", START)).await.unwrap();
    assert_eq!(store.check().await.unwrap(), Vec::<String>::new());
    store.close().await;
    drop(unmount);
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH);
    }
}

#[tokio::test]
async fn a_pause_survives_and_a_directory_of_somebody_else_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    apply(&store, "acme", 1, state(&[workflow("w", &["main"])])).await;
    let permit = right::<Steer>("carol", &actual(&store, "acme").await, START);
    let pause = Pause { reason: "look".to_owned(), until: None };
    let w = "w".parse().unwrap();
    store.set_pause(&permit, &w, Some(pause.clone()), entry("workflow.paused", START)).await.unwrap();
    store.close().await;
    let store = open(directory.path()).await;
    assert_eq!(actual(&store, "acme").await.pauses.get("w"), Some(&pause));
    store.close().await;

    let key = directory.path().join("keys/store");
    #[expect(clippy::disallowed_methods, reason = "damages the key")]
    std::fs::write(&key, "short").unwrap();
    let refusal = refusal_of(directory.path()).await;
    assert!(refusal.contains("keys/store` holds no key"), "{refusal}");
    #[expect(clippy::disallowed_methods, reason = "makes the key a directory, which root cannot read either")]
    {
        std::fs::remove_file(&key).unwrap();
        std::fs::create_dir_all(&key).unwrap();
    }
    let refusal = refusal_of(directory.path()).await;
    assert!(refusal.contains("keys/store` cannot be read"), "{refusal}");
}
