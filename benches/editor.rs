//! How long somebody who types waits: from a key to the findings of its text, in repositories of three sizes.
//!
//! `cargo bench --bench editor` starts the language server as an editor does. The server waits 50 ms for the next
//! key before it judges, so that much is in every figure and is what each is compared with.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    dead_code,
    reason = "a benchmark, not a room"
)]

#[path = "../tests/it/lsp/client.rs"]
mod client;

use std::path::Path;
use std::time::{Duration, Instant};

use client::Client;

const TENANTRY: &str = env!("CARGO_BIN_EXE_tenantry");
const QUIET: Duration = Duration::from_millis(50);
const KEYS: usize = 31;

fn main() {
    println!("| measured | median | against | median | ratio |");
    println!("|---|---:|---|---:|---:|");
    for tenants in [10, 1_000, 10_000] {
        let home = tempfile::tempdir().unwrap();
        make(home.path(), tenants);
        measure(home.path(), tenants);
    }
}

/// Tenants of ten files each; the last one has a mistake, which is found last.
fn make(root: &Path, tenants: usize) {
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        if text.starts_with("#!") {
            use std::os::unix::fs::PermissionsExt as _;
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
    };
    write(
        "tenantry.toml",
        "format = 1\nid = \"0192f1c2-7c1e-7d3a-9a51-2f0c6d1b8e12\"\nname = \"bench\"\n\n[change_control]\nmode = \"open\"\n",
    );
    write("platform/people.yaml", "users:\n  alice: { name: Alice }\n");
    write("platform/roles.yaml", "admin: [alice]\n");
    for number in 0..tenants {
        let tenant = format!("tenants/tenant-{number:05}");
        write(&format!("{tenant}/tenant.yaml"), "owner: alice\n");
        write(&format!("{tenant}/roles.yaml"), "operator: [alice]\n");
        for workflow in 0..4 {
            let script = format!("scripts/job-{workflow}.sh");
            write(
                &format!("{tenant}/workflows/job-{workflow}.yaml"),
                &format!("description: Job {workflow}\nfiles: [{script}]\nrun: {script}\n"),
            );
            write(&format!("{tenant}/{script}"), "#!/bin/sh\nset -eu\n");
        }
    }
    write(&format!("tenants/tenant-{:05}/roles.yaml", tenants - 1), "operator: [nobody]\n");
    for args in [["init", "--quiet", "."], ["add", "--all", "."]] {
        assert!(std::process::Command::new("git").arg("-C").arg(root).args(args).status().unwrap().success());
    }
}

fn measure(root: &Path, tenants: usize) {
    let start = Instant::now();
    let mut client = Client::on(root);
    let last = client::uri(&root.join(format!("tenants/tenant-{:05}/roles.yaml", tenants - 1)));
    client.until("the last tenant", |client| client.published.contains_key(&same(client, &last)));
    let cold = start.elapsed();

    let path = root.join("tenants/tenant-00003/workflows/job-1.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let address = client.open(&path, &text);
    client.findings(&address);
    let mut keys = Vec::new();
    for turn in 0..KEYS {
        let (old, new) = if turn % 2 == 0 { ("run:", "rum:") } else { ("rum:", "run:") };
        client.type_over(&address, old, new);
        let start = Instant::now();
        let found = client.findings(&address);
        keys.push(start.elapsed());
        assert_eq!(found.is_empty(), turn % 2 == 1);
    }
    row(&format!("a key, {tenants} tenants"), median(keys), "waiting for the next key", QUIET);

    // A key in people.yaml is judged for every tenant; the last one says when that has been done.
    let path = root.join("platform/people.yaml");
    let people = client.open(&path, &std::fs::read_to_string(&path).unwrap());
    client.findings(&people);
    let mut all = Vec::new();
    for turn in 0..5 {
        let (old, new) =
            if turn % 2 == 0 { ("  alice:", "  nobody: {}\n  alice:") } else { ("  nobody: {}\n", "") };
        client.type_over(&people, old, new);
        let start = Instant::now();
        client.until("the last tenant", |client| {
            client.published[&same(client, &last)].1.is_empty() == (turn % 2 == 0)
        });
        all.push(start.elapsed());
    }
    row(
        &format!("a person more, seen by all of {tenants} tenants"),
        median(all),
        "start to first findings",
        cold,
    );
    assert_eq!(client.end(), 0);
}

/// The address as the server spells it.
fn same(client: &Client, address: &str) -> String {
    let path = client::path(address);
    client.published.keys().find(|key| client::path(key) == path).cloned().unwrap_or_default()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn row(measured: &str, ours: Duration, against: &str, theirs: Duration) {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let ratio = ours.as_secs_f64() / theirs.as_secs_f64();
    println!("| {measured} | {:.1} ms | {against} | {:.1} ms | {ratio:.2} |", millis(ours), millis(theirs));
}
