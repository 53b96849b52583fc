//! The way out of the sandbox, with real clients: curl and psql reach what the step declares.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tenantry::domain::{Contact, ContactDenial, Mode};
use tenantry::sandbox::{Egress, EgressLimits, LocalExecutor, Outward, Reach, StepSpec};
use tokio::net::TcpStream;

use super::harness::{Seen, block_on, can_sandbox, file, open, run, spec, tier_of_this_run};

/// A public address. The test's network leads it to where the test listens, and no other network is asked.
pub const PUBLIC: &str = "93.184.216.34";

/// A network that exists in this test process only: names with the answers they give one after the other, and who
/// stands at an address.
#[derive(Default)]
pub struct World {
    names: Mutex<BTreeMap<String, Vec<Vec<IpAddr>>>>,
    places: BTreeMap<SocketAddr, SocketAddr>,
    /// Stands at every other address.
    pub elsewhere: Option<SocketAddr>,
    went: Mutex<Vec<String>>,
}

impl World {
    /// Adds a name with its answers; the last one stays.
    pub fn named(mut self, name: &str, answers: &[&str]) -> Self {
        let answers =
            answers.iter().rev().map(|one| one.split(' ').map(|address| address.parse().unwrap()).collect());
        self.names.get_mut().unwrap().insert(name.to_owned(), answers.collect());
        self
    }
    /// Puts a listener of the test at an address.
    pub fn place(mut self, address: &str, at: SocketAddr) -> Self {
        self.places.insert(address.parse().unwrap(), at);
        self
    }
    /// Every address that was connected to.
    pub fn went(&self) -> Vec<String> {
        self.went.lock().unwrap().clone()
    }
}

#[async_trait]
impl Outward for World {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = self.names.lock().unwrap();
        let answers = names.get_mut(host).ok_or(io::ErrorKind::NotFound)?;
        let last = answers.last().cloned().ok_or(io::ErrorKind::NotFound)?;
        if answers.len() > 1 {
            answers.pop();
        }
        Ok(last)
    }
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.went.lock().unwrap().push(address.to_string());
        let place = self.places.get(&address).copied().or(self.elsewhere);
        TcpStream::connect(place.ok_or(io::ErrorKind::ConnectionRefused)?).await
    }
    fn is_here(&self, _: IpAddr) -> bool {
        false
    }
}

/// An executor whose steps go out into this world.
pub async fn into(world: &Arc<World>) -> LocalExecutor {
    let outward: Arc<dyn Outward> = Arc::<World>::clone(world);
    open(tier_of_this_run()).await.with_egress(Egress::over(outward, Vec::new(), EgressLimits::default()))
}

/// A step that may reach these hosts, and whether they may be private.
pub fn reaching(mut spec: StepSpec, hosts: &[(&str, bool)]) -> StepSpec {
    let reach = |(host, private): &(&str, bool)| Reach { host: host.parse().unwrap(), private: *private };
    spec.reach = hosts.iter().map(reach).collect();
    spec
}

/// Runs a script that may reach hosts; `None` where there is no sandbox.
fn go(
    world: World,
    hosts: &[(&str, bool)],
    make: impl FnOnce(StepSpec) -> StepSpec,
    script: &str,
) -> Option<(Seen, Arc<World>)> {
    let world = Arc::new(world);
    block_on(async {
        let executor = into(&world).await;
        if !can_sandbox(&executor) {
            return None;
        }
        let seen = run(&executor, make(reaching(spec(script), hosts))).await;
        Some((seen, Arc::clone(&world)))
    })
}

fn same(spec: StepSpec) -> StepSpec {
    spec
}

fn contact(seen: &Seen, host: &str) -> Contact {
    let found = seen.ended.contacts.iter().find(|one| one.host == host);
    found.cloned().unwrap_or_else(|| panic!("{host}: {seen:?}"))
}

/// A process of the test's that ends with it.
struct Served(Child);
impl Drop for Served {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// A port that nobody has now.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until something listens.
fn await_listener(port: u16) {
    for _ in 0..600 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("nobody listens on {port}");
}

/// Python's own web server, with a certificate for `api.example` where one is given.
fn web(certificate: Option<&std::path::Path>) -> (Served, SocketAddr) {
    const SERVER: &str = r#"
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = ("hello " + self.headers["Host"] + " " + self.path + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
if len(sys.argv) > 2:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(sys.argv[2])
    server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
"#;
    let port = free_port();
    let mut command = Command::new("python3");
    command.args(["-c", SERVER, &port.to_string()]).args(certificate);
    let served = Served(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    await_listener(port);
    (served, ([127, 0, 0, 1], port).into())
}

fn has(program: &str, package: &str) -> bool {
    let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|directory| directory.join(program).exists());
    if !found {
        println!("missing: {package}");
    }
    found
}

#[test]
fn curl_reaches_a_declared_host_in_every_way_it_knows() {
    if !has("curl", "curl") {
        return;
    }
    let (_web, at) = web(None);
    let world = World::default().named("api.example", &[PUBLIC]).place("93.184.216.34:80", at);
    // By the proxy that the environment names, through a tunnel, and without any.
    let script = "curl -sS http://api.example/a; curl -sS --proxytunnel http://api.example/b; curl -sS --noproxy '*' http://api.example/c";
    let Some((seen, world)) = go(world, &[("api.example:80", false)], same, script) else { return };
    let want = "hello api.example /a\nhello api.example /b\nhello api.example /c\n";
    assert_eq!(seen.stdout, want, "{seen:?}");
    assert_eq!(world.went(), vec!["93.184.216.34:80"; 3]);
    let contact = contact(&seen, "api.example:80");
    assert_eq!(contact.connected, 3);
    assert!(contact.is_clean() && contact.sent_bytes > 100 && contact.received_bytes > 100, "{contact:?}");
}

/// TLS ends at the host: the certificate that a client sees is the host's own, by its name.
#[test]
fn curl_sees_the_certificate_of_the_host() {
    if !has("curl", "curl") || !has("openssl", "openssl") {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let both = directory.path().join("both.pem");
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", "/CN=api.example", "-addext", "subjectAltName=DNS:api.example"])
        .arg("-keyout")
        .arg(directory.path().join("key.pem"))
        .arg("-out")
        .arg(directory.path().join("cert.pem"))
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert!(made.success());
    let text = |name: &str| std::fs::read_to_string(directory.path().join(name)).unwrap();
    std::fs::write(&both, text("key.pem") + &text("cert.pem")).unwrap();
    let (_web, at) = web(Some(&both));
    let world = World::default().named("api.example", &[PUBLIC]).named("other.example", &[PUBLIC]);
    let world = world.place("93.184.216.34:443", at);
    let script =
        "for way in '' '--noproxy *'; do set -f; curl -sS $way --cacert cert.pem https://api.example/; done
        curl -sS --cacert cert.pem https://other.example/ || echo refused $?";
    let with = |mut spec: StepSpec| {
        spec.files.push(file("cert.pem", Mode::File, &text("cert.pem")));
        spec
    };
    let hosts = [("api.example:443", false), ("other.example:443", false)];
    let Some((seen, _)) = go(world, &hosts, with, script) else { return };
    assert_eq!(seen.stdout, "hello api.example /\nhello api.example /\nrefused 60\n", "{seen:?}");
}

/// What went wrong is told to the client, and kept.
#[test]
fn what_cannot_be_reached_is_told_apart() {
    if !has("curl", "curl") {
        return;
    }
    let world = World::default().named("down.example", &[PUBLIC]).named("in.example", &["10.0.0.1"]);
    let script = "for host in down.example gone.example in.example other.example; do curl -sS -o /dev/null -w '%{http_code}\n' http://$host/; done
        curl -sS --noproxy '*' http://down.example/ || echo failed";
    let hosts = [("down.example:80", false), ("gone.example:80", false), ("in.example:80", false)];
    let Some((seen, _)) = go(world, &hosts, same, script) else { return };
    assert_eq!(seen.stdout, "502\n502\n403\n403\nfailed\n", "{seen:?}");
    let trouble = |host: &str| contact(&seen, host).trouble().unwrap();
    assert_eq!(trouble("down.example:80"), "connection refused by the host (2 times)");
    assert_eq!(trouble("gone.example:80"), "its name has no address");
    assert_eq!(
        trouble("in.example:80"),
        "denied: its address is in a private range that `[network] private` does not open"
    );
    assert_eq!(contact(&seen, "other.example:80").denied[&ContactDenial::Undeclared], 1);
}

/// A database of this test's own, in a directory of its own.
struct Database {
    _server: Served,
    _directory: tempfile::TempDir,
    at: SocketAddr,
}

/// Programs of PostgreSQL, which Debian keeps out of `PATH`.
fn postgres(name: &str) -> Option<PathBuf> {
    let places = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    places.flatten().map(|version| version.path().join("bin").join(name)).find(|program| program.exists())
}

fn database() -> Option<Database> {
    let (Some(initdb), Some(server)) = (postgres("initdb"), postgres("postgres")) else {
        println!("missing: postgresql");
        return None;
    };
    let directory = tempfile::Builder::new().prefix("database").tempdir_in("/var/tmp").unwrap();
    let root = rustix::process::geteuid().is_root();
    // The server does not run as root.
    let as_somebody = |program: &PathBuf| {
        let mut command = if root { Command::new("setpriv") } else { Command::new(program) };
        if root {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(program);
        }
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C").current_dir("/");
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    if root {
        std::os::unix::fs::chown(directory.path(), Some(65534), Some(65534)).unwrap();
    }
    let data = directory.path().join("data");
    let password = directory.path().join("password");
    std::fs::write(&password, "hunter2-hunter2").unwrap();
    let made = as_somebody(&initdb)
        .args(["-U", "app", "-A", "scram-sha-256", "--no-sync", "--no-locale", "-E", "UTF8"])
        .arg("-D")
        .arg(&data)
        .arg("--pwfile")
        .arg(&password)
        .status()
        .unwrap();
    assert!(made.success(), "initdb");
    let port = free_port();
    let server = as_somebody(&server)
        .args(["-p", &port.to_string(), "-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k"])
        .arg(directory.path())
        .arg("-D")
        .arg(&data)
        .spawn()
        .unwrap();
    let server = Served(server);
    await_listener(port);
    Some(Database { _server: server, _directory: directory, at: ([127, 0, 0, 1], port).into() })
}

/// psql knows nothing of proxies, and needs no setting: the host is where it expects it.
#[test]
fn psql_reaches_a_private_database_that_the_platform_opens() {
    let Some(client) = postgres("psql") else {
        println!("missing: postgresql-client");
        return;
    };
    let Some(database) = database() else { return };
    let script = format!(
        "export PGPASSWORD=hunter2-hunter2 PGCONNECT_TIMEOUT=20; n=0
         until {client} -h db.acme.example -U app -d postgres -Atc 'select 6 * 7, count(*) from generate_series(1, 100000)'; do
             n=$((n + 1)); test $n -lt 20 || exit 1; sleep 0.5
         done",
        client = client.display()
    );
    let world =
        || World::default().named("db.acme.example", &["10.20.30.40"]).place("10.20.30.40:5432", database.at);
    let Some((seen, there)) = go(world(), &[("db.acme.example:5432", true)], same, &script) else { return };
    assert_eq!(seen.stdout, "42|100000\n", "{seen:?}");
    assert!(there.went().iter().all(|place| place == "10.20.30.40:5432"));
    assert!(contact(&seen, "db.acme.example:5432").connected >= 1);
    // Where the platform does not open it, the same step gets nowhere.
    let once = script.replace("n -lt 20", "n -lt 1");
    let (seen, there) = go(world(), &[("db.acme.example:5432", false)], same, &once).unwrap();
    assert_eq!(seen.ended.exit.code, Some(1), "{seen:?}");
    assert!(there.went().is_empty());
    assert!(contact(&seen, "db.acme.example:5432").denied.contains_key(&ContactDenial::Private));
}

/// Many hosts, one of them with two ports: each has its place, and all places are different.
#[test]
fn every_host_has_a_place_of_its_own() {
    let world = World::default();
    let hosts: Vec<String> =
        (0..63).map(|n| format!("h{n}.example:{}", 1000 + n)).chain(["h0.example:22".to_owned()]).collect();
    let hosts: Vec<(&str, bool)> = hosts.iter().map(|host| (host.as_str(), false)).collect();
    let script = "grep -c example /etc/hosts; grep example /etc/hosts | cut -d' ' -f1 | sort -u | wc -l; getent hosts h62.example; env | grep -i proxy | sort";
    let Some((seen, _)) = go(world, &hosts, same, script) else { return };
    let want = "63\n63\n127.77.1.63     h62.example\n\
        HTTPS_PROXY=http://127.77.0.1:3128\nHTTP_PROXY=http://127.77.0.1:3128\nNO_PROXY=localhost,127.0.0.1,::1\n\
        http_proxy=http://127.77.0.1:3128\nhttps_proxy=http://127.77.0.1:3128\nno_proxy=localhost,127.0.0.1,::1\n";
    assert_eq!(seen.stdout, want, "{seen:?}");
}

/// A step's own servers are its own, also beside a way out.
#[test]
fn a_step_talks_to_itself_as_before() {
    if !has("curl", "curl") {
        return;
    }
    let world = World::default().named("api.example", &[PUBLIC]);
    let script = "python3 -m http.server 8080 --bind 127.0.0.1 >/dev/null 2>&1 & server=$!
        for n in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do curl -s -o /dev/null http://localhost:8080/ && break; sleep 0.3; done
        curl -sS -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8080/; kill $server";
    let Some((seen, _)) = go(world, &[("api.example:443", false)], same, script) else { return };
    assert_eq!(seen.stdout, "200\n", "{seen:?}");
    assert!(seen.ended.contacts.is_empty(), "{seen:?}");
}

/// The way out ends with the attempt, also with one that is killed in the middle of a transfer.
#[test]
fn connections_end_with_the_attempt() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap();
    let ended = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // Gives once the other side has gone.
        io::copy(&mut stream, &mut io::sink())
    });
    let world = World::default().named("api.example", &[PUBLIC]).place("93.184.216.34:443", at);
    let script = "exec python3 -c \"
import socket, time
one = socket.create_connection(('api.example', 443)); one.sendall(b'x' * 1000); print('there', flush=True); time.sleep(60)
\"";
    let within = |mut spec: StepSpec| {
        spec.limits.timeout = Duration::from_secs(6);
        spec.limits.grace = Duration::from_millis(100);
        spec
    };
    let Some((seen, _)) = go(world, &[("api.example:443", false)], within, script) else { return };
    assert_eq!(seen.stdout, "there\n", "{seen:?}");
    assert_eq!(contact(&seen, "api.example:443").sent_bytes, 1000);
    drop(ended.join().unwrap());
}
