//! `validate --since`, `--fix` and `--watch`, and `ci`, on real repositories.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The example repository under Git, in change control by pull requests.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let copied = Command::new("cp")
            .arg("-r")
            .arg(root().join("example-repo/."))
            .arg(place.0.path())
            .status()
            .unwrap();
        assert!(copied.success());
        place.replace("tenantry.toml", "mode = \"open\"", "mode = \"pull-request\"");
        place.git(&["init", "--quiet", "--initial-branch", "main"], "alice");
        place.commit("alice");
        place
    }
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn git(&self, args: &[&str], person: &str) -> String {
        let email = format!("{person}@northwind.example");
        let output = Command::new("git")
            .args(args)
            .current_dir(self.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", self.path().join("../.none"))
            .env("GIT_AUTHOR_NAME", person)
            .env("GIT_AUTHOR_EMAIL", &email)
            .env("GIT_COMMITTER_NAME", person)
            .env("GIT_COMMITTER_EMAIL", &email)
            .output()
            .unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
    /// Commits everything, and gives the commit before.
    fn commit(&self, person: &str) -> String {
        let before = if self.path().join(".git/refs/heads/main").exists() {
            self.git(&["rev-parse", "HEAD"], person)
        } else {
            String::new()
        };
        self.git(&["add", "--all"], person);
        self.git(&["commit", "--quiet", "--message", "change"], person);
        before
    }
    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.path().join(path)).unwrap()
    }
    fn replace(&self, path: &str, old: &str, new: &str) {
        let text = String::from_utf8(self.read(path)).unwrap();
        assert!(text.contains(old), "{path} has no {old:?}");
        self.write(path, text.replace(old, new));
    }
    fn command(&self, args: &[&str], variables: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tenantry"));
        command.args(args).current_dir(self.path());
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if ["GITHUB_", "CI", "GITLAB_", "GITEA_", "FORGEJO_"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
            {
                command.env_remove(name);
            }
        }
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", self.path().join("../.none"));
        command.envs(variables.iter().copied());
        command
    }
    fn run(&self, args: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
        let output = self.command(args, variables).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
    }
    /// The rules that are found since a base.
    fn since(&self, base: &str) -> Vec<String> {
        let (code, out, err) = self.run(&["validate", "--since", base, "--format", "json"], &[]);
        assert!(code < 2, "{err}");
        let document: serde_json::Value = serde_json::from_str(&out).unwrap();
        let findings = document["findings"].as_array().unwrap();
        findings
            .iter()
            .map(|one| format!("{} {}", one["rule"].as_str().unwrap(), one["path"].as_str().unwrap()))
            .collect()
    }
}

const SYNC: &str = "tenants/acme/workflows/sync.yaml";

#[test]
fn a_change_is_compared_with_its_base() {
    let place = Place::new();
    assert_eq!(place.since("HEAD"), [""; 0], "nothing changed");
    let (_, _, err) = place.run(&["validate"], &[]);
    assert!(err.contains("rules that compare with a base were not run: --since BASE"), "{err}");
    let (_, _, err) = place.run(&["validate", "--since", "HEAD"], &[]);
    assert!(!err.contains("were not run"), "{err}");
    assert_eq!(place.run(&["validate", "--since", "nothing"], &[]).0, 3);

    place.write(SYNC, "script: echo\n");
    let base = place.commit("mallory");
    assert_eq!(place.since(&base), ["G509 tenants/acme"], "nobody knows the author");
    std::fs::remove_dir_all(place.path().join("tenants/emea")).unwrap();
    let base = place.commit("alice");
    assert_eq!(place.since(&base), ["G510 tenants/emea"]);
}

#[test]
fn a_signature_counts_only_over_the_commit_it_was_made_for() {
    let place = Place::new();
    let keys = tempfile::tempdir().unwrap();
    let key = |name: &str| {
        let file = keys.path().join(name);
        let file = file.to_str().unwrap().to_owned();
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f", &file]).status();
        assert!(made.unwrap().success());
        file
    };
    let (known, unknown) = (key("known"), key("unknown"));
    let public = std::fs::read_to_string(format!("{known}.pub")).unwrap();
    let public = public.split(' ').take(2).collect::<Vec<_>>().join(" ");
    place.replace("tenantry.toml", "mode = \"pull-request\"", "mode = \"signed\"");
    let people = String::from_utf8(place.read("platform/people.yaml")).unwrap();
    let with_key = format!("users:\n  signer:\n    keys: [{{ ssh: \"{public}\", use: [commit] }}]\n");
    place.write("platform/people.yaml", people.replacen("users:\n", &with_key, 1));
    place.commit("alice");
    let signed = |key: &str| {
        let sign = format!("user.signingkey={key}");
        let args =
            ["-c", "gpg.format=ssh", "-c", &sign, "commit", "--quiet", "--allow-empty", "-S", "-m", "x"];
        place.git(&args, "alice");
    };
    let unsigned = |since: &str| {
        let (code, out, err) = place.run(&["validate", "--since", since], &[]);
        assert!(code < 2, "{err}");
        out + &err
    };
    signed(&known);
    assert_eq!(place.since("HEAD~1"), [""; 0], "a known key");
    let good = place.git(&["cat-file", "commit", "HEAD"], "alice");
    signed(&unknown);
    assert!(unsigned("HEAD~1").contains("platform/people.yaml does not have for commits"), "an unknown key");
    place.git(&["commit", "--quiet", "--allow-empty", "-m", "x"], "alice");
    assert!(unsigned("HEAD~1").contains("is not signed"));

    // Somebody else's signature, put on another commit: it names a known key and proves nothing.
    let parent = place.git(&["rev-parse", "HEAD"], "alice");
    let forged = good.lines().map(|line| match line.strip_prefix("parent ") {
        Some(_) => format!("parent {parent}\n"),
        None => format!("{line}\n"),
    });
    let file = keys.path().join("forged");
    std::fs::write(&file, forged.collect::<String>()).unwrap();
    let forged = place.git(&["hash-object", "-t", "commit", "-w", file.to_str().unwrap()], "alice");
    place.git(&["reset", "--quiet", "--soft", &forged], "alice");
    let said = unsigned("HEAD~1");
    assert!(said.contains("G511") && said.contains("was not made over it"), "{said}");
}

#[test]
fn no_rule_that_compares_shows_what_a_secret_file_holds() {
    const CANARY: &str = "canaryCANARYcanary";
    let place = Place::new();
    let file = "tenants/acme/secrets/shop_api_token.v2.sops.yaml";
    let whole = String::from_utf8(place.read(file)).unwrap();
    let variants = [
        whole.clone(),
        format!("shop_api_token: {{ v2: {CANARY} }}\n"),
        format!("{CANARY}\n"),
        whole.replace("shop_api_token:", &format!("{CANARY}:")),
        whole.replacen("ENC[", CANARY, 1),
        whole.replace("    mac: ENC", &format!("    mac: {CANARY}")),
        whole.replace("age1", CANARY),
        format!("{whole}---\n{CANARY}: x\n"),
    ];
    // What stands at either end, or only in the plan between them.
    for (number, before) in variants.iter().enumerate() {
        let after = &variants[(number + 3) % variants.len()];
        place.write(file, before);
        place.write("tenants/acme/roles.yaml", format!("operator: [bob, dan]\n# {number} before\n"));
        place.commit("alice");
        place.write(file, after);
        place.write("tenants/acme/roles.yaml", format!("operator: [bob, erin]\n# {number} after\n"));
        let base = place.commit("erin");
        let show = |args: &[&str], least: i32| {
            let (code, out, err) = place.run(args, &[]);
            assert!((least..3).contains(&code), "{args:?}: {code}: {err}");
            for text in [out, err] {
                assert!(!text.contains("canary") && !text.contains("CANARY"), "{args:?}: {text}");
            }
        };
        for format in ["human", "json", "sarif", "github", "gitlab", "junit"] {
            show(&["validate", "--since", &base, "--format", format], 0);
        }
        for format in ["human", "json", "markdown"] {
            show(&["plan", &format!("{base}..HEAD"), "--format", format], 2);
        }
    }
}

#[test]
fn nobody_gives_himself_a_role() {
    let place = Place::new();
    place.write("tenants/globex/tenant.yaml", "owner: alice\n");
    place.write("tenants/globex/roles.yaml", "operator: [bob]\n");
    place.commit("alice");
    place.write("tenants/globex/roles.yaml", "operator: [bob]\nauditor: [alice]\n");
    let base = place.commit("alice");
    assert_eq!(place.since(&base), ["R414 tenants/globex/roles.yaml"]);
}

#[test]
fn a_revoked_version_does_not_come_back() {
    let place = Place::new();
    let index = "tenants/emea/secrets.yaml";
    place.replace(index, "state: current", "state: revoked");
    place.commit("alice");
    place.replace(index, "state: revoked", "state: current");
    let base = place.commit("alice");
    assert!(place.since(&base).contains(&format!("K328 {index}")), "{:?}", place.since(&base));
}

#[test]
fn fixes_are_made_said_and_leave_every_other_byte() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    place.write(
        "tenants/acme/workflows/sync.yml",
        "# caf\u{e9} \u{1f600}\r\ntimout: 30   # half a minute\r\nrun:   scripts/new.sh\r\nargs: [no, 22:22]\r\n",
    );
    place.write("tenants/acme/scripts/new.sh", "#!/bin/sh\n");
    let (code, _, err) = place.run(&["validate", "--fix"], &[]);
    assert_eq!(code, 0, "{err}");
    let text = String::from_utf8(place.read(SYNC)).unwrap();
    assert_eq!(
        text,
        "# caf\u{e9} \u{1f600}\r\ntimeout: 30s   # half a minute\r\nrun:   scripts/new.sh\r\nargs: [\"no\", \"22:22\"]\r\n"
    );
    assert!(!place.path().join("tenants/acme/workflows/sync.yml").exists());
    let mode = place.path().join("tenants/acme/scripts/new.sh").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111, "{mode:o}");
    for said in [
        "rename it to `sync.yaml` (Y016)",
        "write `timeout` (S101)",
        "write `30s` (S105)",
        "executable bit (W209)",
    ] {
        assert!(err.contains(said), "{said} is missing in {err}");
    }
    let (_, _, again) = place.run(&["validate", "--fix"], &[]);
    assert!(again.contains("made 0 fixes"), "{again}");
}

#[test]
fn what_a_person_decides_is_not_fixed() {
    let place = Place::new();
    place.replace("tenants/acme/roles.yaml", "operator:", "operater:");
    place.write("tenants/acme/workflows/other.yml", "script: echo\n");
    place.write("tenants/acme/workflows/other.yaml", "script: echo\n");
    let before = place.read("tenants/acme/roles.yaml");
    let (code, out, err) = place.run(&["validate", "--fix"], &[]);
    assert_eq!((code, place.read("tenants/acme/roles.yaml")), (1, before), "{err}");
    assert!(out.contains("R402") && out.contains("Y016"), "{out}");
    assert!(place.path().join("tenants/acme/workflows/other.yml").exists(), "nothing is written over");
    assert_eq!(place.run(&["validate", "--fix", "--rev", "HEAD"], &[]).0, 2);
}

#[test]
fn a_script_that_git_does_not_see_is_told() {
    let place = Place::new();
    place.write(SYNC, "run: scripts/local.sh\n");
    place.write(".gitignore", "local.sh\n");
    place.write("tenants/acme/scripts/local.sh", "#!/bin/sh\n");
    let (_, out, _) = place.run(&["validate"], &[]);
    assert!(out.contains("is there and ignored by Git: git add -f"), "{out}");
}

#[test]
fn ci_takes_base_and_format_from_the_system() {
    let place = Place::new();
    place.write(SYNC, "run: scripts/pull.py\ntimout: 5m\n");
    let base = place.commit("mallory");
    let event = place.path().join(".git/event.json");
    std::fs::write(&event, format!("{{\"pull_request\": {{\"base\": {{\"sha\": \"{base}\"}}}}}}")).unwrap();
    let event = event.to_str().unwrap();

    let github = [("GITHUB_ACTIONS", "true"), ("GITHUB_EVENT_PATH", event), ("CI", "true")];
    let (code, out, err) = place.run(&["ci"], &github);
    assert_eq!(code, 1, "{err}");
    assert!(out.lines().all(|line| line.starts_with("::error ") || line.starts_with("::warning ")), "{out}");
    assert!(out.contains(&format!("::error file={SYNC},line=2,")) && out.contains("G509"), "{out}");
    assert!(err.contains("GitHub Actions: comparing with") && err.contains("error[S101]"), "{err}");

    let gitlab = [("GITLAB_CI", "true"), ("CI_MERGE_REQUEST_DIFF_BASE_SHA", base.as_str())];
    let (code, out, err) = place.run(&["ci"], &gitlab);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 1, "{err}");
    for one in report.as_array().unwrap() {
        for field in ["description", "check_name", "fingerprint", "severity"] {
            assert!(one[field].is_string(), "{field} of {one}");
        }
        assert!(one["location"]["lines"]["begin"].is_u64() && one["location"]["path"].is_string(), "{one}");
    }

    for own in ["GITEA_ACTIONS", "FORGEJO_ACTIONS"] {
        let (code, out, _) =
            place.run(&["ci"], &[("GITHUB_ACTIONS", "true"), (own, "true"), ("GITHUB_EVENT_PATH", event)]);
        assert!(code == 1 && out.contains("error[S101]: unknown field `timout`"), "{out}");
    }

    let gone = "1".repeat(40);
    let shallow = [("GITLAB_CI", "true"), ("CI_MERGE_REQUEST_DIFF_BASE_SHA", gone.as_str())];
    let (code, _, err) = place.run(&["ci"], &shallow);
    assert_eq!(code, 3, "a base that is not there is no clean result: {err}");
    assert!(err.contains("fetch the whole history"), "{err}");
    let (code, _, err) = place.run(&["ci"], &[]);
    assert!(code == 1 && err.contains("no base to compare with"), "{err}");
}

#[test]
fn the_ready_files_run_what_there_is() {
    let directory = root().join("docs/ci");
    for (file, want) in [
        ("github.yml", "- run: tenantry ci\n"),
        ("gitea.yml", "- run: tenantry ci\n"),
        ("gitlab-ci.yml", "- tenantry ci > gl-code-quality-report.json\n"),
        ("github-code-scanning.yml", "tenantry validate --format sarif > tenantry.sarif"),
        ("pre-commit", "exec tenantry validate --repo"),
    ] {
        let text = std::fs::read_to_string(directory.join(file)).unwrap();
        assert!(text.contains(want), "{file}");
        if file != "pre-commit" {
            let budget = tenantry::yaml::Budget::default();
            let documents = tenantry::yaml::parse(text.as_bytes(), &budget).unwrap();
            assert_eq!(documents.len(), 1, "{file}");
        }
    }
    let hooks = std::fs::read_to_string(root().join(".pre-commit-hooks.yaml")).unwrap();
    let entries = hooks.lines().filter_map(|line| line.trim().strip_prefix("entry: tenantry "));
    let place = Place::new();
    let mut tried = 0;
    for entry in entries {
        let args: Vec<&str> = entry.split(' ').collect();
        let (code, _, err) = place.run(&args, &[]);
        assert_eq!(code, 0, "{entry}: {err}");
        tried += 1;
    }
    assert_eq!(tried, 2);
}

/// Lines of a program as they come.
fn lines(from: impl std::io::Read + Send + 'static) -> mpsc::Receiver<String> {
    let (send, receive) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    receive
}

#[test]
fn a_watch_answers_every_save_and_ends_on_ctrl_c() {
    let place = Place::new();
    let mut child = place
        .command(&["validate", "--watch"], &[])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (out, err) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
    let answer = || {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let line = err.recv_timeout(until.saturating_duration_since(Instant::now())).expect("an answer");
            if line.contains("watching, Ctrl-C ends it") {
                // It was written before that line, and may be read a little later.
                std::thread::sleep(Duration::from_millis(200));
                let told: Vec<String> = out.try_iter().collect();
                return told.join("\n");
            }
        }
    };
    assert_eq!(answer(), "");
    place.write(SYNC, "script: echo\ntimout: 5m\n");
    // An editor may be seen in the middle of a save: the last answer is the one that counts.
    let told = answer();
    let told = if told.contains("S101") { told } else { answer() };
    assert!(told.contains("error[S101]") && told.contains(SYNC), "{told}");
    place.write("tenants/finance/roles.yaml", "operator: [nobody-known]\n");
    let told = answer();
    assert!(told.contains("S101") && told.contains("R401"), "what was found elsewhere is kept: {told}");
    let interrupted = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupted.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
