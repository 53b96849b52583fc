//! Ways out of the way out, tried: no script may get anywhere but to what its step declares. Each script runs a
//! second time where what it wants is declared, or said by the name it asks, and must print `REACHED` there.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use tenantry::sandbox::{Program, StepSpec};

use super::egress::{PUBLIC, World, into, reaching};
use super::harness::{Seen, block_on, can_sandbox, run, small, spec};

/// A server that greets whoever comes, and says `REACHED` in every protocol that is asked for here.
fn greeter() -> SocketAddr {
    static GREETER: OnceLock<SocketAddr> = OnceLock::new();
    *GREETER.get_or_init(|| {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                std::thread::spawn(move || {
                    stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).ok();
                    let mut heard = [0u8; 4096];
                    drop(stream.read(&mut heard));
                    drop(stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nREACHED\n"));
                });
            }
        });
        address
    })
}

/// What a script is given: the hosts it may reach, and what names say.
#[derive(Clone, Copy)]
struct Scene {
    hosts: &'static [(&'static str, bool)],
    names: &'static [(&'static str, &'static [&'static str])],
}

/// The step may reach `api.example:443`, and every name is public.
const PLAIN: Scene = Scene { hosts: &[("api.example:443", false)], names: NAMES };
const NAMES: &[(&str, &[&str])] = &[
    ("api.example", &[PUBLIC]),
    ("other.example", &["93.184.216.35"]),
    ("api.example.", &["93.184.216.36"]),
    ("localhost", &["93.184.216.37"]),
];
/// It may reach more.
const WIDE: Scene = Scene {
    hosts: &[
        ("api.example:443", false),
        ("api.example:444", false),
        ("other.example:443", false),
        ("api.example:80", false),
        ("other.example:80", false),
    ],
    names: NAMES,
};

const fn named(names: &'static [(&'static str, &'static [&'static str])]) -> Scene {
    Scene { names, ..PLAIN }
}

/// What every script begins with.
const TOOLS: &str = r#"
import os, socket, sys
proxy = ('127.77.0.1', 3128)
def talk(where, what=b'', once=True):
    try:
        one = socket.create_connection(where, 5)
        one.settimeout(5)
        if what: one.sendall(what)
        heard = b''
        while True:
            part = one.recv(4096)
            if not part: break
            heard += part
            if b'REACHED' in heard: break
        return heard.decode(errors='replace')
    except OSError as error:
        return 'nothing: %s' % error
def tunnel(target, then=b'GET / HTTP/1.1\r\n\r\n', extra=b''):
    return talk(proxy, b'CONNECT ' + target + b' HTTP/1.1\r\n' + extra + b'\r\n' + then)
"#;

fn play(scene: Scene, script: &str) -> Option<(Seen, Vec<String>)> {
    let mut world = World::default();
    for (name, answers) in scene.names {
        world = world.named(name, answers);
    }
    world.elsewhere = Some(greeter());
    let world = Arc::new(world);
    block_on(async {
        let executor = into(&world).await;
        if !can_sandbox(&executor) {
            return None;
        }
        let program =
            Program::Inline { interpreter: vec!["python3".to_owned()], text: format!("{TOOLS}\n{script}") };
        let step = StepSpec { program, ..reaching(small(spec("")), scene.hosts) };
        let seen = run(&executor, step).await;
        Some((seen, world.went()))
    })
}

#[track_caller]
fn attack(inside: Scene, control: Option<Scene>, script: &str) {
    let Some((seen, went)) = play(inside, script) else { return };
    assert!(!seen.stdout.contains("REACHED"), "it got out of the sandbox: {seen:?}");
    for wrong in ["SyntaxError", "NameError", "TypeError"] {
        assert!(!seen.stderr.contains(wrong), "{seen:?}");
    }
    let declared = |place: &String| place == "93.184.216.34:443";
    assert!(went.iter().all(declared), "somebody went to {went:?}");
    if let Some(control) = control {
        let (seen, _) = play(control, script).unwrap();
        assert!(seen.stdout.contains("REACHED"), "the script does not work at all: {seen:?}");
    }
}

macro_rules! attacks {
    ($($name:ident: $inside:expr, $control:expr, $script:literal;)*) => {
        $(#[test] fn $name() { attack($inside, $control, $script); })*
    };
}

attacks! {
    // by the proxy
    asks_the_proxy_for_another_host: PLAIN, Some(WIDE), r"print(tunnel(b'other.example:443'))";
    asks_the_proxy_for_another_port: PLAIN, Some(WIDE), r"print(tunnel(b'api.example:444'))";
    asks_the_proxy_for_a_url_of_another_host: PLAIN, Some(WIDE), r"print(talk(proxy, b'GET http://other.example/ HTTP/1.1\r\n\r\n'))";
    asks_the_proxy_for_a_url_of_another_port: PLAIN, Some(WIDE), r"print(talk(proxy, b'GET http://api.example/ HTTP/1.1\r\n\r\n'))";
    names_one_host_and_means_another: PLAIN, None, r"
for extra in (b'Host: other.example:443\r\n', b'X-Forwarded-Host: other.example\r\n', b'Forwarded: host=other.example\r\n'):
    heard = tunnel(b'api.example:443', then=b'', extra=extra)
";
    spells_an_address_for_a_host: PLAIN, None, r"
for target in (b'127.0.0.1:443', b'[::1]:443', b'[::ffff:127.0.0.1]:443', b'2130706433:443', b'0x7f.1:443', b'localhost:443',
               b'93.184.216.34:443', b'169.254.169.254:80', b'0:443', b'api.example.:443', b'api.example:443@other.example:443',
               b'other.example:443/api.example:443', b'other.example%00api.example:443', b'other.example\x00api.example:443',
               b'api.example:00444', b'api.example:443:444', b' other.example:443', b'other.example:443#api.example:443'):
    print(target, tunnel(target))
";
    puts_a_host_into_a_url: PLAIN, None, r"
for url in (b'http://api.example:443@other.example/', b'http://other.example\\@api.example:443/', b'http://other.example#@api.example:443/',
            b'http://other.example?@api.example:443/', b'//other.example/', b'https://other.example/', b'file:///etc/hosts',
            b'http://api.example:443%40other.example/', b'http://127.0.0.1/', b'http://[::1]/'):
    print(url, talk(proxy, b'GET ' + url + b' HTTP/1.1\r\n\r\n'))
";
    sends_a_second_request_behind_the_first: Scene { hosts: &[("api.example:443", false)], ..PLAIN }, None, r"
second = b'GET http://other.example/ HTTP/1.1\r\n\r\n'
for first in (b'GET http://api.example:444/ HTTP/1.1\r\n\r\n',
              b'CONNECT other.example:443 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello',
              b'POST http://other.example/ HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
              b'POST http://other.example/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
              b'GET http://other.example/ HTTP/1.1\nHost: api.example:443\n\n'):
    print(first, talk(proxy, first + second))
";
    speaks_another_protocol_to_the_proxy: PLAIN, None, r"
for hello in (b'\x05\x01\x00', b'\x04\x01\x01\xbb\x7f\x00\x00\x01\x00', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', b'\x16\x03\x01\x00\x05hello',
              b'PROXY TCP4 127.0.0.1 127.0.0.1 1 443\r\nCONNECT other.example:443 HTTP/1.1\r\n\r\n', b'SSH-2.0-x\r\n', b'\x00' * 4096):
    print(talk(proxy, hello))
";
    never_ends_a_line: PLAIN, None, r"
print(talk(proxy, b'GET http://other.example/' + b'a' * 200000 + b' HTTP/1.1\r\n\r\n'))
print(talk(proxy, b'CONNECT other.example:443 HTTP/1.1\r\n' + b'X: ' + b'a' * 200000 + b'\r\n\r\n'))
print(talk(proxy, b'CONNECT other.example:443 HTTP/1.1\r\n' + b'X: a\r\n' * 20000 + b'\r\n'))
";
    // without the proxy
    connects_past_the_proxy: PLAIN, None, r"
for where in (('93.184.216.34', 443), ('93.184.216.35', 443), ('10.0.0.1', 443), ('169.254.169.254', 80), ('::ffff:93.184.216.34', 443)):
    print(where, talk(where))
";
    connects_to_another_port_of_the_hosts_address: PLAIN, Some(WIDE), r"print(talk(('api.example', 444), b'GET / HTTP/1.1\r\n\r\n'))";
    connects_to_a_host_that_it_does_not_declare: PLAIN, Some(WIDE), r"print(talk(('other.example', 443), b'GET / HTTP/1.1\r\n\r\n'))";
    finds_more_ways_at_other_addresses: PLAIN, None, r"
for last in range(1, 255):
    for net in ('127.77.0.', '127.77.1.', '127.0.0.'):
        if net + str(last) in ('127.77.0.1', '127.77.1.1'): continue
        one = socket.socket(); one.settimeout(0.2)
        for port in (443, 3128):
            if one.connect_ex((net + str(last), port)) == 0: print('REACHED', net, last, port)
";
    asks_a_resolver: PLAIN, None, r"
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); one.settimeout(1)
query = b'\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03api\x07example\x00\x00\x01\x00\x01'
for server in ('8.8.8.8', '127.0.0.53', '127.0.0.1', '169.254.169.253', '10.0.0.2'):
    try:
        one.sendto(query, (server, 53)); one.recv(512); print('REACHED')
    except OSError: pass
for name in ('other.example', 'example.com'):
    try:
        socket.getaddrinfo(name, 443); print('REACHED')
    except OSError: pass
";
    uses_a_way_without_having_one: Scene { hosts: &[], ..PLAIN }, Some(PLAIN), r"print(talk(('127.77.0.1', 3128), b'CONNECT api.example:443 HTTP/1.1\r\n\r\nx'))";
    // by names that lie
    follows_a_name_to_the_machine: named(&[("api.example", &["127.0.0.1"])]), Some(PLAIN), r"print(tunnel(b'api.example:443'), talk(('api.example', 443), b'x'))";
    follows_a_name_to_the_machine_in_other_words: named(&[("api.example", &["::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::127.0.0.1", "0.0.0.0", "::", "127.255.255.254"])]), Some(PLAIN), r"
for _ in range(8): print(tunnel(b'api.example:443'))
";
    follows_a_name_to_the_metadata_service: named(&[("api.example", &["169.254.169.254", "::ffff:169.254.169.254", "fd00:ec2::254", "100.100.100.200", "64:ff9b::a9fe:a9fe"])]), Some(PLAIN), r"
for _ in range(5): print(tunnel(b'api.example:443'))
";
    follows_a_name_into_a_private_range: named(&[("api.example", &["10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"])]),
        Some(Scene { hosts: &[("api.example:443", true)], names: &[("api.example", &["10.0.0.1"])] }), r"
for _ in range(7): print(tunnel(b'api.example:443'))
";
    changes_what_a_name_says_between_two_connections: named(&[("api.example", &[PUBLIC, "127.0.0.1"])]), Some(PLAIN), r"
talk(('api.example', 443), b'x')
print(talk(('api.example', 443), b'x'), tunnel(b'api.example:443'))
";
    hides_the_machine_among_other_addresses: named(&[("api.example", &["127.0.0.1 10.0.0.1 ::1 169.254.169.254"])]), Some(named(&[("api.example", &["127.0.0.1 93.184.216.34"])])), r"print(tunnel(b'api.example:443'))";
    // by the sandbox
    writes_names_of_its_own: PLAIN, None, r"
import subprocess
for command in ('echo 1.2.3.4 x >> /etc/hosts', 'cp /etc/hosts /tmp/h && mv /tmp/h /etc/hosts', 'rm /etc/hosts', 'chmod u+w /etc/hosts', 'touch /etc/resolv.conf'):
    if subprocess.run(['sh', '-c', command], stderr=subprocess.DEVNULL).returncode == 0: print('REACHED', command)
";
    listens_where_a_host_is: PLAIN, None, r"
for where in (('127.77.1.1', 443), ('127.77.0.1', 3128)):
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        one.bind(where); one.listen(); print('REACHED', where)
    except OSError: pass
";
    finds_the_listeners_among_its_descriptors: PLAIN, None, r"
for number in os.listdir('/proc/self/fd'):
    try: target = os.readlink('/proc/self/fd/' + number)
    except OSError: continue
    if target.startswith('socket:'): print('REACHED', target)
";
    sends_packets_of_its_own: PLAIN, None, r"
for kind in ((socket.AF_INET, socket.SOCK_RAW, 6), (socket.AF_INET6, socket.SOCK_RAW, 58), (socket.AF_PACKET, socket.SOCK_RAW, 0), (socket.AF_NETLINK, socket.SOCK_RAW, 0)):
    try:
        socket.socket(*kind); print('REACHED', kind)
    except OSError: pass
";
}

/// A step that opens more than it may is refused there, and its other connections go on.
#[test]
fn a_flood_of_connections_ends_at_the_bound() {
    let script = r"
held, refused = [], 0
for _ in range(100):
    try:
        one = socket.create_connection(('127.77.0.1', 3128), 5); one.settimeout(5); held.append(one)
    except OSError: refused += 1 # as early as that
for one in held[64:]:
    try:
        one.sendall(b'x'); refused += one.recv(1) == b''
    except OSError: refused += 1
held[0].sendall(b'CONNECT api.example:443 HTTP/1.1\r\n\r\nx')
print(refused, held[0].recv(12))
";
    let Some((seen, _)) = play(PLAIN, script) else { return };
    assert_eq!(seen.stdout, "36 b'HTTP/1.1 200'\n", "{seen:?}");
}
