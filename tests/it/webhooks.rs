//! Incoming hooks over real HTTP: who is heard, what is started, what nobody learns.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::Value;
use sha2::Sha256;

use super::workbench::{Daemon, Workbench, until};

const FIRST: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const SECOND: &str = "a second secret that signs hooks";

const HOOKED: &str = "\
on: { webhook: { secret: hook_hmac, with: { ref: \"${{ trigger.body.ref }}\" } } }
inputs:
  ref: {}
script: echo \"got $INPUT_REF\"
";

fn mac(secret: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// The header that GitHub would send.
fn hub(secret: &str, body: &[u8]) -> (String, String) {
    ("X-Hub-Signature-256".into(), format!("sha256={}", hex::encode(mac(secret.as_bytes(), &[body]))))
}

/// The headers of the Standard Webhooks specification.
fn standard(id: &str, seconds: i64, body: &[u8]) -> Vec<(String, String)> {
    let key = STANDARD.decode(FIRST.strip_prefix("whsec_").unwrap()).unwrap();
    let time = seconds.to_string();
    let signature = STANDARD.encode(mac(&key, &[id.as_bytes(), b".", time.as_bytes(), b".", body]));
    let header = |name: &str, value: String| (name.to_owned(), value);
    vec![
        header("webhook-id", id.to_owned()),
        header("webhook-timestamp", time),
        header("webhook-signature", format!("v1,AAAA v1,{signature}")),
    ]
}

fn now() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

struct Answer {
    status: u16,
    headers: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

struct House {
    bench: Workbench,
    address: String,
    daemon: Daemon,
}

impl House {
    /// acme with a hook, its secret in two accepted versions, the older one made first; globex without one.
    fn new() -> Self {
        let bench = Workbench::with_acme();
        let (repo, data) = (bench.repo(), bench.data());
        let (repo, data) = (repo.to_str().unwrap(), data.to_str().unwrap());
        bench.commit("before");
        bench.run(&["server", "init", "--repo", repo, "--data", data]).ok();
        for value in [FIRST, SECOND] {
            bench.secret("acme/hook_hmac", value);
        }
        let index = std::fs::read_to_string(bench.repo().join("tenants/acme/secrets.yaml")).unwrap();
        let index = index.replacen("  hook_hmac:\n", "  hook_hmac:\n    use: [webhook]\n", 1);
        let index = index.replace("state: previous,", "state: previous, accept_until: 2090-01-01T00:00:00Z,");
        assert!(index.contains("use: [webhook]") && index.contains("accept_until"), "{index}");
        bench.write("tenants/acme/secrets.yaml", &index);
        bench.write("tenants/acme/workflows/hooked.yaml", HOOKED);
        bench.write("tenants/acme/workflows/plain.yaml", "script: echo plain\n");
        bench.write("tenants/globex/tenant.yaml", "owner: olga\n");
        bench.write("tenants/globex/roles.yaml", "operator: [bob]\n");
        bench.run(&["validate", "--repo", repo]).ok();
        bench.commit("first");
        Self::up(bench)
    }

    fn up(bench: Workbench) -> Self {
        let daemon = bench.serve();
        until(60, "acme is applied", || {
            let up = bench.run(&["reconcile"]).code == 0;
            (up && !bench.status("acme")["last_applied_commit"].is_null()).then_some(())
        });
        let address = until(30, "it says where it listens", || {
            let log = daemon.log();
            let at = log.rfind("address=")? + "address=".len();
            Some(log[at..].split_whitespace().next()?.to_owned())
        });
        Self { bench, address, daemon }
    }

    fn send(&self, method: &str, path: &str, headers: &[(String, String)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let mut text = format!(
            "{method} {path} HTTP/1.1\r\nhost: hooks.example\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        stream.write_all(text.as_bytes()).unwrap();
        stream.write_all(b"\r\n").unwrap();
        // A server that has heard enough may answer and close before all is sent.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, headers) = head.split_once("\r\n").unwrap_or_default();
        let headers: Vec<&str> = headers.lines().filter(|line| !line.starts_with("date:")).collect();
        Answer { status, headers: headers.join("\n"), body: body.to_owned() }
    }

    fn hook(&self, headers: &[(String, String)], body: &[u8]) -> Answer {
        self.send("POST", "/hooks/acme/hooked", headers, body)
    }

    fn runs(&self) -> Vec<Value> {
        let document = self.bench.run(&["runs", "acme", "--format", "json", "--as", "bob"]).ok().json();
        document["runs"].as_array().cloned().unwrap()
    }

    fn audit(&self) -> String {
        self.bench.run(&["audit", "acme", "--as", "olga"]).ok().out
    }
}

#[test]
fn a_signed_hook_starts_one_run_with_what_it_sent() {
    let house = House::new();
    let body = br#"{"ref":"refs/heads/main"}"#;
    // Both accepted versions sign; the same body under any scheme without an id is the same delivery.
    let first = house.hook(&[hub(SECOND, body)], body);
    assert_eq!((first.status, &first.json()["known"]), (202, &false.into()), "{}", first.body);
    let run = first.json()["run"].as_str().unwrap().to_owned();
    for headers in [
        vec![hub(SECOND, body)],
        vec![hub(FIRST, body)],
        vec![("X-Gitea-Signature".into(), hex::encode(mac(SECOND.as_bytes(), &[body])))],
        vec![("X-Gitlab-Token".into(), FIRST.into())],
    ] {
        let again = house.hook(&headers, body);
        assert_eq!(
            (again.status, &again.json()["run"]),
            (200, &run.as_str().into()),
            "{headers:?} {}",
            again.body
        );
    }
    let by_id = house.hook(&standard("msg_1", now(), body), body);
    assert_eq!(by_id.status, 202, "{}", by_id.body);
    let again = house.hook(&standard("msg_1", now() - 1, body), body);
    assert_eq!((again.status, &again.json()["run"]), (200, &by_id.json()["run"]), "{}", again.body);
    let runs = until(60, "the runs end", || {
        let runs = house.runs();
        runs.iter().all(|run| run["state"] == "ended").then_some(runs)
    });
    assert_eq!(runs.len(), 2);
    for run in &runs {
        assert_eq!(
            (&run["outcome"], &run["trigger"]["kind"]),
            (&"success".into(), &"webhook".into()),
            "{run:#}"
        );
        assert_eq!(run["actor"], "daemon:webhook");
    }
    house.bench.run(&["logs", &run, "--as", "bob"]).ok().says("got refs/heads/main");
    // A rerun has the body too.
    let rerun =
        house.bench.run(&["rerun", &run, "--at", "applied", "--as", "bob"]).ok().out.trim().to_owned();
    house.bench.run(&["logs", &rerun, "--follow", "--as", "bob"]).ok().says("got refs/heads/main");

    let ping = house.hook(&[hub(FIRST, b"{}"), ("X-GitHub-Event".into(), "ping".into())], b"{}");
    assert_eq!((ping.status, &ping.json()["ping"]), (200, &true.into()));
    // What is signed and makes no sense is told to the sender, who has the secret.
    let form = b"payload=%7B%7D";
    assert_eq!(house.hook(&[hub(FIRST, form)], form).status, 415);
    let less = br#"{"other":1}"#;
    let refused = house.hook(&[hub(FIRST, less)], less);
    assert_eq!(refused.status, 422);
    assert!(refused.body.contains("input `ref`"), "{}", refused.body);

    let audit = house.audit();
    for line in ["daemon:webhook", "secret.requested", "secret.delivered", "run.started", "run.not_started"] {
        assert!(audit.contains(line), "{line} in {audit}");
    }
    assert!(!audit.contains(FIRST) && !audit.contains(SECOND));
    assert_eq!(house.runs().len(), 3);
    assert_eq!(house.daemon.stop(), 0);
}

#[test]
fn whatever_was_not_signed_gets_one_answer() {
    let house = House::new();
    let body = br#"{"ref":"x"}"#;
    let good = || vec![hub(FIRST, body)];
    let wrong = house.hook(&[hub("another secret of some length", body)], body);
    assert_eq!(wrong.status, 401);
    let same = |answer: Answer, what: &str| {
        assert_eq!(
            (answer.status, &answer.headers, &answer.body),
            (401, &wrong.headers, &wrong.body),
            "{what}"
        );
    };
    for path in [
        "/hooks/acme/nothing",
        "/hooks/acme/plain",
        "/hooks/globex/hooked",
        "/hooks/nowhere/hooked",
        "/hooks/platform/hooked",
        "/hooks/Acme/hooked",
        "/hooks/%2e%2e/hooked",
        "/hooks/acme%2Fx/hooked",
    ] {
        same(house.send("POST", path, &good(), body), path);
    }
    same(house.hook(&[], body), "nothing signed");
    same(house.hook(&[hub(FIRST, b"{}")], body), "another body");
    same(house.hook(&[good()[0].clone(), good()[0].clone()], body), "a header twice");
    same(house.hook(&standard("msg_1", now() - 301, body), body), "an old time");
    same(house.hook(&standard("msg_1", now() + 400, body), body), "a time to come");
    let mut renamed = standard("msg_1", now(), body);
    renamed[0].1 = "msg_2".into();
    same(house.hook(&renamed, body), "another id");
    same(house.hook(&[("X-Gitlab-Token".into(), "".into())], body), "no token");
    assert_eq!(house.runs().len(), 0);
    let audit = house.audit();
    assert!(!audit.contains("run.started"), "{audit}");

    // Nobody sends much, or anything but POST, and nothing else answers there.
    assert_eq!(house.hook(&good(), &vec![b' '; 256 * 1000 + 1]).status, 413);
    assert_eq!(house.send("POST", "/hooks/nowhere/hooked", &good(), &vec![b' '; 256 * 1000 + 1]).status, 413);
    assert_eq!(house.send("GET", "/hooks/acme/hooked", &good(), b"").status, 405);
    assert_eq!(house.send("GET", "/api/v1/fleet", &[], b"").status, 401);
}

#[test]
fn what_is_revoked_removed_or_suspended_starts_nothing() {
    let house = House::new();
    let body = br#"{"ref":"x"}"#;
    let bob = |args: &[&str]| house.bench.run(&[args, &["--as", "bob"]].concat()).ok();
    bob(&["suspend", "acme", "--reason", "contract ended"]);
    let held = house.hook(&[hub(FIRST, body)], body);
    assert_eq!(held.status, 409);
    assert!(!held.body.contains("contract"), "{}", held.body);
    bob(&["resume", "acme"]);
    assert!(house.audit().contains("run.skipped"));
    house.bench.run(&["secrets", "revoke", "acme/hook_hmac", "v1", "--reason", "leaked", "--as", "bob"]);
    let revoked = until(30, "the revoked version signs nothing", || {
        let answer = house.hook(&[hub(FIRST, body)], body);
        (answer.status == 401).then_some(answer)
    });
    assert!(revoked.body.contains("unauthorized"));
    assert_eq!(house.hook(&[hub(SECOND, body)], body).status, 202);
    house.bench.git(&["rm", "-rq", "tenants/acme"]);
    house.bench.commit("acme goes");
    until(60, "the tenant is gone", || {
        let more = format!("{{\"ref\":\"{}\"}}", now());
        (house.hook(&[hub(SECOND, more.as_bytes())], more.as_bytes()).status == 401).then_some(())
    });
}

#[test]
fn a_flood_is_cut_off_for_its_path_alone() {
    let house = House::new();
    let body = br#"{"ref":"x"}"#;
    let mut cut = 0;
    for _ in 0..60 {
        let answer = house.hook(&[hub(FIRST, body)], body);
        if answer.status == 429 {
            assert!(answer.headers.to_lowercase().contains("retry-after"), "{}", answer.headers);
            cut += 1;
        }
    }
    assert!(cut > 0, "sixty requests at once were all heard");
    assert_eq!(house.runs().len(), 1);
    let other = house.send("POST", "/hooks/globex/hooked", &[hub(FIRST, body)], body);
    assert_eq!(other.status, 401, "another path is heard");
}
