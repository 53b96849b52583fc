//! What tenantry costs, as ratios to what the same machine needs for the bare work in the same minute.
//!
//! `benches/run` prints the table of the README. Each yardstick is measured next to the thing it is compared
//! with; medians, because a shared machine has bad moments. Passes are measured in this process on the real
//! mirror and the real store; memory and start-up on a daemon of their own. Steps are measured by `steps.rs`.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark, not a room"
)]

use std::path::Path;
use std::time::{Duration, Instant};

use tenantry::app::{App, Settings, now};
use tenantry::source::{FetchSettings, GitSource, Remote, Source};

mod support;
use support::fleet::{Fleet, cat_file};
use support::{Daemon, Durable, TENANTRY_TOML, git, head, median, millis, repeat, row, write};

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let tenants = match (arguments.next().as_deref(), arguments.next()) {
        (Some("--tenants"), Some(count)) => count.parse().expect("--tenants takes a number"),
        _ => 1_000,
    };
    let home = tempfile::tempdir().unwrap();
    head();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(passes(home.path(), tenants));
    idle(home.path(), tenants);
    first_run(home.path());
}

// --- passes -------------------------------------------------------------------------------------------------

async fn passes(home: &Path, tenants: usize) {
    let repo = home.join("fleet");
    let data = home.join("fleet-data");
    make_fleet(&repo, tenants);
    std::fs::create_dir_all(&data).unwrap();
    let remote: Remote = repo.to_str().unwrap().parse().unwrap();
    let source = GitSource::open(remote, FetchSettings::branch("main"), &home.join("read.git")).unwrap();
    let mut settings = Settings::new(repo.to_str().unwrap(), &data);
    settings.slots = Some(0); // no worker: nothing starts here
    let app = App::open(settings).await.unwrap();

    // First read: every file of every tenant, against the same blobs from one `git cat-file --batch`.
    let revision = source.fetch().await.unwrap();
    let listing = source.listing(&revision).await.unwrap();
    let start = Instant::now();
    let mut blobs = Vec::new();
    for tenant in listing.tenants.keys() {
        let tree = source.tenant_tree(&revision, tenant).await.unwrap();
        blobs.extend(tree.files.values().map(|entry| entry.id.to_string()));
    }
    let ours = start.elapsed();
    let wanted = blobs.join("\n") + "\n";
    let theirs = repeat(3, || cat_file(&home.join("read.git"), &wanted));
    row(&format!("first read, {tenants} tenants × 10 files"), ours, "`git cat-file --batch`", theirs);

    let start = Instant::now();
    let first = app.pass().await.unwrap();
    let whole = start.elapsed();
    let applied = first.looked_at.iter().filter(|row| row.applied_generation > 0).count();
    assert_eq!(applied, tenants, "the first pass did not apply every tenant");
    row(&format!("first pass: validate, plan and apply {tenants} tenants"), whole, "first read", ours);

    // Nothing changed.
    let mut times = Vec::new();
    for _ in 0..15 {
        let start = Instant::now();
        app.pass().await.unwrap();
        times.push(start.elapsed());
    }
    let theirs = repeat(15, || drop(git(&repo, &["rev-parse", "HEAD"])));
    row(&format!("pass, {tenants} tenants, nothing changed"), median(times), "`git rev-parse`", theirs);

    // One file changed: looked at, fetched, validated, planned, applied and noted, with one durable commit.
    let mut durable = Durable::new(&data);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for turn in 0..15 {
        let before = git(&repo, &["rev-parse", "HEAD"]);
        let path = "tenants/tenant-0007/tenant.yaml";
        std::fs::create_dir_all(repo.join("tenants/tenant-0007")).unwrap();
        std::fs::write(repo.join(path), format!("owner: alice\nlimits: {{ concurrency: {} }}\n", turn + 5))
            .unwrap();
        git(&repo, &["add", path]);
        git(&repo, &["commit", "--quiet", "--message", "one file"]);
        let after = git(&repo, &["rev-parse", "HEAD"]);
        let start = Instant::now();
        let done = app.pass().await.unwrap();
        ours.push(start.elapsed());
        assert_eq!(done.looked_at.len(), 1, "one tenant changed");
        let start = Instant::now();
        git(&repo, &["diff-tree", "-r", &before, &after]);
        durable.commit();
        theirs.push(start.elapsed());
    }
    let (ours, theirs) = (median(ours), median(theirs));
    row("pass after a one-file commit, fetch included", ours, "`git diff-tree` + one durable commit", theirs);
    app.close().await;
}

/// Tenants of ten files each.
fn make_fleet(repo: &Path, tenants: usize) {
    let mut fleet = Fleet::new(TENANTRY_TOML);
    for number in 0..tenants {
        let tenant = format!("tenants/tenant-{number:04}");
        fleet
            .file(&format!("{tenant}/tenant.yaml"), "owner: alice\n")
            .file(&format!("{tenant}/roles.yaml"), "operator: [alice]\n");
        for job in 0..4 {
            let workflow = format!(
                "description: Job {job} of {tenant}\nfiles: [scripts/job-{job}.sh]\nrun: scripts/job-{job}.sh\n"
            );
            let script = format!("#!/bin/sh\n# {tenant}\nset -eu\necho {job}\n");
            fleet
                .file(&format!("{tenant}/workflows/job-{job}.yaml"), &workflow)
                .file(&format!("{tenant}/scripts/job-{job}.sh"), &script);
        }
    }
    fleet.commit(repo, false);
}

// --- daemons ------------------------------------------------------------------------------------------------

/// Resident memory of a daemon that has nothing to do for its fleet.
fn idle(home: &Path, tenants: usize) {
    let daemon = Daemon::start(&home.join("fleet"), &home.join("fleet-data"), 2);
    daemon.applied(tenants);
    std::thread::sleep(Duration::from_secs(3));
    let mib = daemon.resident_bytes() as f64 / f64::from(1 << 20);
    println!(
        "| resident memory, idle, {tenants} tenants | {mib:.1} MiB | aim | 60 MiB | {:.2} |",
        mib / 60.0
    );
}

/// From the start of the command on an empty directory until the record of its first run.
fn first_run(home: &Path) {
    let repo = home.join("first");
    std::fs::create_dir_all(&repo).unwrap();
    git(&repo, &["init", "--quiet"]);
    git(&repo, &["symbolic-ref", "HEAD", "refs/heads/main"]);
    write(&repo, "tenantry.toml", TENANTRY_TOML);
    write(&repo, "platform/people.yaml", "users:\n  alice: { name: Alice }\n");
    write(&repo, "platform/roles.yaml", "admin: [alice]\n");
    write(&repo, "tenants/acme/tenant.yaml", "owner: alice\n");
    write(&repo, "tenants/acme/roles.yaml", "operator: [alice]\n");
    write(
        &repo,
        "tenants/acme/workflows/hello.yaml",
        "on: { commit: { first: true } }\nrun: scripts/hello.sh\n",
    );
    write(&repo, "tenants/acme/scripts/hello.sh", "#!/bin/sh\necho hello\n");
    git(&repo, &["add", "--all"]);
    git(&repo, &["commit", "--quiet", "--message", "first"]);
    let mut times = Vec::new();
    for turn in 0..5 {
        let before = now().as_millis();
        let mut daemon = Daemon::start(&repo, &home.join(format!("first-data-{turn}")), 2);
        let runs = daemon.ended("acme", 1);
        times.push(Duration::from_secs_f64((millis(&runs[0]["ended_at"]) - before as f64).max(0.0) / 1e3));
    }
    row("start of the daemon to the end of its first run", median(times), "aim", Duration::from_millis(500));
}
