//! What is left of a value: the memory of the daemon and of its helper, and every file of the data directory, after
//! many runs that had it. Run as root, which alone may look into a process that lets nobody look.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use base64::Engine as _;
use serde_json::Value;

use super::workbench::{Daemon, TENANTRY, Workbench, until};

/// Runs that have every value: 100, or what the long run asks for.
fn runs() -> usize {
    std::env::var("TENANTRY_TEST_CANARY_RUNS").ok().and_then(|count| count.parse().ok()).unwrap_or(100)
}

/// One value for each way that one travels. The texts are put together here so that none stands in this program.
const WAYS: [&str; 4] = ["socket", "all", "env", "file"];

fn canary(way: &str) -> String {
    format!("{}{}", way.to_uppercase(), "-cAnArY-7b1e0d9c5a".repeat(2))
}

/// A value as it is and as a script may have encoded it.
fn shapes(value: &str) -> Vec<Vec<u8>> {
    let encoded = base64::engine::general_purpose::STANDARD.encode(value);
    vec![
        value.as_bytes().to_vec(),
        encoded.trim_end_matches('=').as_bytes().to_vec(),
        hex::encode(value).into_bytes(),
    ]
}

/// How many shapes of a value stand in some bytes.
fn count(bytes: &[u8], value: &str) -> usize {
    shapes(value).iter().filter(|shape| holds(bytes, shape)).count()
}

/// Whether some bytes hold others: the C library's search, since a debug build's own would take minutes here.
#[expect(unsafe_code, reason = "calls the C library")]
fn holds(bytes: &[u8], part: &[u8]) -> bool {
    // SAFETY: both are slices with their own lengths, and nothing is kept.
    !unsafe { libc::memmem(bytes.as_ptr().cast(), bytes.len(), part.as_ptr().cast(), part.len()) }.is_null()
}

/// What of each value stands in the memory of a process.
fn in_memory(pid: u32) -> Vec<(String, usize)> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let mut memory = fs::File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut found: Vec<(String, usize)> = WAYS.iter().map(|way| ((*way).to_owned(), 0)).collect();
    let mut read = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with('r') || line.ends_with("[vvar]") || line.contains("[vvar") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let [start, end] = [start, end].map(|text| u64::from_str_radix(text, 16).unwrap());
        // Stretches of 16 MiB that overlap by more than the longest shape.
        let mut at = start;
        while at < end {
            let length = (end - at).min(16 << 20);
            let mut bytes = vec![0; usize::try_from(length).unwrap()];
            memory.seek(SeekFrom::Start(at)).unwrap();
            // A mapping may have gone, or lie beyond its file's end.
            let Ok(()) = memory.read_exact(&mut bytes) else { break };
            read += bytes.len();
            for (way, times) in &mut found {
                *times += count(&bytes, &canary(way));
            }
            at += if at + length < end { length - 4096 } else { length };
        }
    }
    assert!(read > 1 << 20, "the memory of {pid} was read: {read} bytes");
    found
}

/// The process, and those it started that still run.
fn family(pid: u32) -> Vec<u32> {
    let children = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let children = children.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let children: Vec<u32> = children
        .flat_map(|text| text.split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<_>>())
        .collect();
    [vec![pid], children.into_iter().flat_map(family).collect()].concat()
}

/// The files below a directory that hold any shape of any value.
fn in_files(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => found.extend(in_files(&path)),
            kind if kind.is_file() => {
                let bytes = fs::read(&path).unwrap();
                let times: usize = WAYS.iter().map(|way| count(&bytes, &canary(way))).sum();
                if times > 0 {
                    found.push(path.display().to_string());
                }
            }
            _ => {}
        }
    }
    found
}

const WORKFLOW: &str = r#"inputs:
  hold: { type: bool, default: false }
script: |
  value=$(tenantry-secret get socket)
  echo "out $value"; echo "err $value" >&2
  printf %s "$value" | base64 -w 0; echo
  printf %s "$value" | od -An -tx1 | tr -d ' \n'; echo
  tenantry-secret get all all
  printf %s "$value-derived" | tenantry-secret mask
  echo "$ENV_VALUE"; cat "$FILE_VALUE"; echo
  tenantry-output note "an output with $value in it"
  tenantry-secret get nothing || true
  printf %s "$value" | head -c 12
  if [ "$INPUT_HOLD" = true ]; then echo held; sleep 300; fi
secrets:
  - socket
  - all
  - { name: env, env: ENV_VALUE }
  - { name: file, file: FILE_VALUE }
outputs: { note: string }
"#;

/// A tenant whose four secrets are canaries, a daemon that has applied them.
fn serve() -> (Workbench, Daemon) {
    let bench = Workbench::with_acme();
    bench.write("tenants/acme/tenant.yaml", "owner: olga\nsecrets:\n  delivery: [socket, env, file]\n");
    bench.write("tenants/acme/workflows/canary.yaml", WORKFLOW);
    let data = bench.data().display().to_string();
    let secrets = |args: &[&str], input: &str| {
        let mut child = bench
            .tenantry(&[&["secrets"], args].concat())
            .current_dir(bench.repo())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{args:?}");
    };
    fs::create_dir_all(bench.data()).unwrap();
    secrets(&["init", "acme", "--data", &data], "");
    for way in WAYS {
        secrets(&["set", &format!("acme/{way}")], &canary(way));
    }
    let commit = bench.commit("canaries");
    bench.run(&["server", "init", "--repo", bench.repo().to_str().unwrap(), "--data", &data]).ok();
    let daemon = bench.serve();
    until(60, "the commit is applied", || {
        (bench.status("acme")["last_applied_commit"] == commit).then_some(())
    });
    (bench, daemon)
}

fn can_sandbox() -> bool {
    let output = std::process::Command::new(TENANTRY).args(["doctor", "--format", "json"]).output().unwrap();
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let missing = document["features"].as_array().unwrap().iter().any(|feature| {
        feature["need"] == "required"
            && feature["state"] != "ok"
            && !feature["name"].as_str().unwrap().contains("limit")
    });
    if missing {
        println!("missing: user namespaces");
    }
    !missing
}

#[test]
fn after_many_runs_no_value_is_left_in_memory_or_on_disk() {
    if !can_sandbox() {
        return;
    }
    let (bench, mut daemon) = serve();
    let pid = daemon.child.id();
    let root = rustix::process::geteuid().is_root();
    let start = |args: &[&str]| {
        bench.run(&[&["start", "acme/canary", "--as", "bob"], args].concat()).ok().out.trim().to_owned()
    };
    // The search finds what is there: a value that is held, and one in a file.
    let held = start(&["--input", "hold=true"]);
    until(60, "the step holds its values", || {
        bench.run(&["logs", &held, "--as", "bob"]).out.contains("held").then_some(())
    });
    if root {
        for (way, times) in in_memory(pid) {
            assert!(times > 0, "the search does not find `{way}`, which the daemon holds now");
        }
    }
    let stray = bench.data().join("stray");
    fs::write(&stray, format!("x{}y", hex::encode(canary("env")))).unwrap();
    assert_eq!(in_files(&bench.data()), [stray.display().to_string()]);
    fs::remove_file(&stray).unwrap();
    bench.run(&["cancel", &held, "--as", "bob"]).ok();

    let wanted = runs();
    let ids: Vec<String> = (0..wanted).map(|_| start(&[])).collect();
    let ended = until(60 + wanted as u64, "every run has ended", || {
        let listed =
            bench.run(&["runs", "acme", "--format", "json", "--limit", "1000", "--as", "bob"]).ok().json();
        let runs = listed["runs"].as_array().cloned().unwrap_or_default();
        runs.iter().all(|run| run["state"] == "ended" || !run["outcome"].is_null()).then_some(runs)
    });
    let successes = ended.iter().filter(|run| run["outcome"] == "success").count();
    assert_eq!(successes, wanted, "{:#}", ended[0]);
    let log = bench.run(&["logs", &ids[wanted - 1], "--as", "bob"]).ok().out;
    for way in WAYS {
        let shown = format!("[redacted:{way}]");
        assert!(log.contains(&shown), "{shown}: {log}");
    }
    for way in WAYS {
        assert_eq!(count(log.as_bytes(), &canary(way)), 0, "{log}");
    }
    assert_eq!(in_files(&bench.data()), [""; 0]);
    let daemon_log = daemon.log();
    assert!(WAYS.iter().all(|way| count(daemon_log.as_bytes(), &canary(way)) == 0), "{daemon_log}");
    if root {
        let mut left = Vec::new();
        for one in family(pid) {
            let name = fs::read_to_string(format!("/proc/{one}/comm")).unwrap_or_default();
            left.extend(
                in_memory(one).into_iter().filter(|(_, times)| *times > 0).map(|found| (name.clone(), found)),
            );
        }
        assert_eq!(left, [], "values are left in memory");
    } else {
        println!("missing: root, to look into the daemon's memory");
    }
    daemon.kill();
    assert_eq!(in_files(&bench.data()), [""; 0], "nor after a power cut");
}

#[test]
fn the_doctor_lets_a_canary_take_the_whole_way() {
    if !can_sandbox() {
        return;
    }
    let bench = Workbench::new();
    let said = bench.run(&["doctor", "--redaction"]).ok().says("ok       redaction: a canary was taken out");
    assert!(
        said.out.contains("raw ") && said.out.contains("base64_twice ") && said.out.contains("hex "),
        "{}",
        said.out
    );
    let document = bench.run(&["doctor", "--redaction", "--format", "json"]).ok().json();
    assert_eq!(document["redaction"]["state"], "ok", "{document:#}");
    assert!(!document.to_string().contains("can\\\"ary/"), "{document:#}");
    let whole = bench.run(&["doctor", "--format", "json"]).json();
    assert_eq!(whole["redaction"]["state"], "ok", "{whole:#}");
}

#[test]
fn nobody_looks_into_the_daemon_and_it_leaves_no_core() {
    let (bench, daemon) = serve();
    let pid = daemon.child.id();
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"], "{core}");
    // Root may look anywhere; the suite of the ordinary user has this too.
    if !rustix::process::geteuid().is_root() {
        for file in ["mem", "environ", "maps"] {
            let opened = fs::read(format!("/proc/{pid}/{file}"));
            assert_eq!(opened.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied, "{file}");
        }
    }
    drop(bench);
}

#[test]
fn an_identity_that_others_can_read_opens_nothing_and_says_so() {
    if !can_sandbox() {
        return;
    }
    let (bench, _daemon) = serve();
    let identity = bench.data().join("identities/acme.txt");
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o440)).unwrap();
    let run = bench.run(&["start", "acme/canary", "--as", "bob"]).ok().out.trim().to_owned();
    let said = bench.run(&["logs", &run, "--follow", "--as", "bob"]);
    let shown = bench.run(&["show", &run, "--as", "bob"]).ok().out;
    assert!(shown.contains("no fit identity of the tenant is here"), "{shown}\n{}{}", said.out, said.err);
    assert!(!shown.contains("AGE-SECRET") && !shown.contains("identities/"), "{shown}");
    fs::set_permissions(&identity, fs::Permissions::from_mode(0o400)).unwrap();
    let run = bench.run(&["start", "acme/canary", "--as", "bob"]).ok().out.trim().to_owned();
    bench.run(&["logs", &run, "--follow", "--as", "bob"]).ok();
    let shown = bench.run(&["show", &run, "--as", "bob", "--format", "json"]).ok().json();
    assert_eq!(shown["run"]["outcome"], "success", "{shown:#}");
}
