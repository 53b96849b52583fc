//! What of a run that is over stands in the files.

use super::*;

const CANARIES: [&str; 2] = ["canary-body", "canary-output"];

/// Every byte of every file of a data directory but its backups.
#[expect(clippy::disallowed_methods, reason = "a test: it looks at what the store left on the disk")]
fn bytes_of(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap();
        if entry.file_name() == "backups" {
            continue;
        }
        if entry.file_type().unwrap().is_dir() {
            bytes.extend(bytes_of(&entry.path()));
        } else {
            bytes.extend(std::fs::read(entry.path()).unwrap());
        }
    }
    bytes
}

fn holds(path: &Path, text: &str) -> bool {
    bytes_of(path).windows(text.len()).any(|window| window == text.as_bytes())
}

fn seal(store: &SqliteStore) {
    store.seal_with(Arc::new(|_, payload, _| Some(hex::encode(payload))));
}

/// Runs with ever more to say, so that pages are split, joined and left by long texts. The last of them is not over if
/// `held`, and given back with its lease.
async fn play(store: &SqliteStore, runs: u64, held: bool) -> Option<crate::store::Lease> {
    let w = workflow("w", &["one", "two"]);
    let mut next = state(std::slice::from_ref(&w));
    next.settings.recipients = vec!["age1recipient".to_owned()];
    apply(store, "acme", 1, next).await;
    for number in 1..=runs {
        let length = usize::try_from(number).unwrap();
        let mut asked = pins(&tenant_id("acme"), &w, number, START);
        asked.body = serde_json::json!({"order": format!("canary-body-{}", "b".repeat(length * 97))});
        let permit = right::<Start>("carol", &actual(store, "acme").await, START);
        store.start(&permit, asked, entry("run.started", START)).await.unwrap();
        let lease = store.claim("embedded", None, 1, at(1)).await.unwrap().remove(0);
        let mut said = report(Outcome::Success);
        let note = format!("canary-output-{}", "o".repeat(length * 131));
        said.outputs = [("note".parse().unwrap(), serde_json::json!(note))].into();
        let next = store.complete(&lease.permit, &lease.attempt, said, at(2)).await.unwrap().unwrap();
        if held && number == runs {
            return Some(next);
        }
        store.complete(&next.permit, &next.attempt, report(Outcome::Success), at(3)).await.unwrap();
    }
    None
}

#[tokio::test]
async fn no_file_holds_what_a_run_wrote_once_it_is_over() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    seal(&store);
    let last = play(&store, 60, true).await.unwrap();
    assert!(holds(directory.path(), "canary-output"), "what lives stands in clear");
    store.complete(&last.permit, &last.attempt, report(Outcome::Success), at(3)).await.unwrap();
    assert!(store.overwrite().await.unwrap(), "nobody reads");
    for canary in CANARIES {
        assert!(!holds(directory.path(), canary), "{canary} stands in a file while the store is open");
    }
    store.close().await;
    for canary in CANARIES {
        assert!(!holds(directory.path(), canary), "{canary} stands in a file of the closed store");
    }
}

#[tokio::test]
async fn a_database_of_before_holds_nothing_once_it_was_swept() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await;
    play(&store, 30, false).await;
    store.close().await;
    // As the version before left it.
    let mut connection = raw(directory.path());
    for sql in [
        "DROP INDEX run_unclosed",
        "ALTER TABLE run DROP COLUMN closed",
        "DROP TABLE run_payload",
        "ALTER TABLE attempt DROP COLUMN log_end",
        "DELETE FROM schema_version WHERE number >= 3",
    ] {
        execute(&mut connection, sql);
    }
    // It only forgot what it deleted, so that pages nobody uses still hold texts.
    connection
        .script(
            "PRAGMA secure_delete = OFF; CREATE TABLE left_over (text TEXT); \
             INSERT INTO left_over SELECT 'canary-left' || hex(zeroblob(3000)) FROM run, run AS other; DROP TABLE left_over;",
        )
        .unwrap();
    connection.close().unwrap();
    assert!(holds(directory.path(), "canary-left"));
    for canary in CANARIES {
        assert!(holds(directory.path(), canary), "{canary} stood there for ever");
    }

    let store = open(directory.path()).await;
    seal(&store);
    let mut closed = 0;
    loop {
        let swept = store.sweep(7, at(9)).await.unwrap();
        closed += swept.closed;
        if !swept.more {
            break;
        }
    }
    assert_eq!(closed, 30);
    assert!(store.overwrite().await.unwrap());
    let permit = right::<Start>("carol", &actual(&store, "acme").await, START);
    let text = store.payload(&permit, &run_id(30)).await.unwrap().expect("it is kept");
    assert!(String::from_utf8(hex::decode(text).unwrap()).unwrap().contains("canary-output"));
    store.close().await;
    for canary in [&CANARIES[..], &["canary-left"]].concat() {
        assert!(!holds(directory.path(), canary), "{canary} stands in a file after the sweep");
    }
}
