//! The proxy against a network that exists in this test only: names, addresses and the servers behind them.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{Doors, Egress, EgressLimits, Outward, Proxy, Reach};
use crate::domain::{Contact, ContactDenial as Denial, ContactFailure as Failure};

/// A public address that nobody connects to: the test's network leads it to a listener of its own.
const PUBLIC: &str = "93.184.216.34";

/// Names with their answers, one after the other, the last one for ever; addresses with who listens there.
#[derive(Default)]
struct World {
    names: Mutex<BTreeMap<String, VecDeque<Vec<IpAddr>>>>,
    places: BTreeMap<SocketAddr, SocketAddr>,
    went: Mutex<Vec<SocketAddr>>,
}

#[async_trait]
impl Outward for World {
    async fn resolve(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let mut names = self.names.lock().unwrap();
        let answers = names.get_mut(host).ok_or(io::ErrorKind::NotFound)?;
        let answer = if answers.len() > 1 { answers.pop_front() } else { answers.front().cloned() };
        answer.ok_or_else(|| io::ErrorKind::NotFound.into())
    }
    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.went.lock().unwrap().push(address);
        match self.places.get(&address) {
            Some(place) => TcpStream::connect(place).await,
            None => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }
    fn is_here(&self, address: IpAddr) -> bool {
        address == PUBLIC.parse::<IpAddr>().unwrap()
    }
}

impl World {
    fn named(mut self, name: &str, answers: &[&str]) -> Self {
        let answers = answers
            .iter()
            .map(|answer| answer.split_whitespace().map(|address| address.parse().unwrap()).collect());
        self.names.get_mut().unwrap().insert(name.to_owned(), answers.collect());
        self
    }
    fn place(mut self, address: &str, at: SocketAddr) -> Self {
        self.places.insert(address.parse().unwrap(), at);
        self
    }
    fn went(&self) -> Vec<String> {
        self.went.lock().unwrap().iter().map(ToString::to_string).collect()
    }
}

/// An attempt's way out, with the addresses that a step would connect to.
struct House {
    world: Arc<World>,
    running: Proxy,
    proxy: SocketAddr,
    hosts: Vec<SocketAddr>,
}

impl House {
    async fn with(world: World, reach: &[(&str, bool)]) -> Self {
        Self::bounded(world, reach, EgressLimits::default(), &[]).await
    }
    async fn bounded(world: World, reach: &[(&str, bool)], limits: EgressLimits, own: &[&str]) -> Self {
        let world = Arc::new(world);
        let own = own.iter().map(|own| own.parse().unwrap()).collect();
        let egress = Egress::over(Arc::<World>::clone(&world), own, limits);
        let listen = || TcpListener::bind("127.0.0.1:0");
        let reach: Vec<Reach> = reach
            .iter()
            .map(|(host, private)| Reach { host: host.parse().unwrap(), private: *private })
            .collect();
        let proxy = listen().await.unwrap();
        let mut doors = Doors { proxy, hosts: Vec::new() };
        for _ in &reach {
            doors.hosts.push(listen().await.unwrap());
        }
        let address = doors.proxy.local_addr().unwrap();
        let hosts = doors.hosts.iter().map(|door| door.local_addr().unwrap()).collect();
        let running = Proxy::start(&egress, &reach, doors);
        Self { world, running, proxy: address, hosts }
    }
    /// Sends bytes to the proxy, and gives all that comes back.
    async fn ask(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.proxy).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        String::from_utf8_lossy(&answer).into_owned()
    }
    /// Connects to a host's own address, says something, and gives what comes back; `None` if it was refused.
    async fn say(&self, host: usize, text: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.hosts[host]).await.unwrap();
        stream.write_all(text.as_bytes()).await.ok()?;
        stream.shutdown().await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }
    fn contact(&self, host: &str) -> Contact {
        let all = self.running.contacts();
        all.iter().find(|one| one.host == host).cloned().unwrap_or_else(|| panic!("{host}: {all:?}"))
    }
}

/// A server that answers everything it hears, until the end, with a mark before it.
async fn echo(mark: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                drop(stream.write_all(mark.as_bytes()).await);
                let (mut from, mut to) = stream.split();
                drop(tokio::io::copy(&mut from, &mut to).await);
            });
        }
    });
    address
}

/// A server that answers a request once it has read its end, and gives what it read.
async fn http() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut heard = Vec::new();
                let mut buffer = [0u8; 1024];
                while !heard.ends_with(b"END") && !heard.ends_with(b"0\r\n\r\n") && !is_bodiless(&heard) {
                    match stream.read(&mut buffer).await {
                        Ok(count) if count > 0 => heard.extend(&buffer[..count]),
                        _ => break,
                    }
                }
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", heard.len());
                drop(stream.write_all(head.as_bytes()).await);
                drop(stream.write_all(&heard).await);
            });
        }
    });
    address
}

fn is_bodiless(heard: &[u8]) -> bool {
    heard.starts_with(b"GET") && heard.ends_with(b"\r\n\r\n")
}

#[tokio::test]
async fn a_host_is_reached_at_its_own_address_and_by_the_proxy() {
    let server = echo("hello ").await;
    let world = World::default().named("db.example", &[PUBLIC]).place("93.184.216.34:5432", server);
    let house = House::with(world, &[("db.example:5432", false)]).await;
    assert_eq!(house.say(0, "one").await.as_deref(), Some("hello one"));
    let mut stream = TcpStream::connect(house.proxy).await.unwrap();
    // What follows a request at once is not lost.
    stream.write_all(b"CONNECT DB.example:5432 HTTP/1.1\r\n\r\ntwo").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "HTTP/1.1 200 Connection established\r\n\r\nhello two");
    assert_eq!(house.world.went(), ["93.184.216.34:5432", "93.184.216.34:5432"]);
    let contact = house.contact("db.example:5432");
    assert_eq!((contact.connected, contact.sent_bytes, contact.received_bytes), (2, 6, 18));
    assert!(contact.is_clean());
}

#[tokio::test]
async fn a_plain_url_is_asked_of_its_host_with_its_body_and_nothing_beyond() {
    let server = http().await;
    let world = World::default().named("api.example", &[PUBLIC]).place("93.184.216.34:80", server);
    let house = House::with(world, &[("api.example:80", false)]).await;
    let answer = house.ask("GET http://api.example/a HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert!(
        answer.ends_with("GET /a HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\n\r\n"),
        "{answer}"
    );
    let twice = "POST http://api.example/b HTTP/1.1\r\nContent-Length: 3\r\n\r\nENDGET http://evil.example/ HTTP/1.1\r\n\r\n";
    let answer = house.ask(twice).await;
    assert!(answer.ends_with("Content-Length: 3\r\n\r\nEND"), "{answer}");
    let chunked = "POST http://api.example/c HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n0\r\nX: y\r\n\r\nGET /";
    let answer = house.ask(chunked).await;
    assert!(answer.ends_with("Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"), "{answer}");
    let broken = "POST http://api.example/d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi!0\r\n\r\n";
    assert_eq!(house.ask(broken).await, "");
}

#[tokio::test]
async fn nobody_gets_to_another_host_or_port() {
    let server = echo("REACHED").await;
    let mut world = World::default();
    for name in ["api.example", "other.example", "localhost", "93.184.216.34"] {
        world = world.named(name, &[PUBLIC]);
    }
    for port in [443, 444, 80, 22] {
        world = world.place(&format!("93.184.216.34:{port}"), server);
    }
    let house = House::with(world, &[("api.example:443", false)]).await;
    for asked in [
        "CONNECT other.example:443 HTTP/1.1\r\n\r\n",
        "CONNECT api.example:444 HTTP/1.1\r\n\r\n",
        "CONNECT api.example.:443 HTTP/1.1\r\n\r\n",
        "CONNECT 93.184.216.34:443 HTTP/1.1\r\n\r\n",
        "CONNECT localhost:443 HTTP/1.1\r\n\r\n",
        "GET http://api.example/ HTTP/1.1\r\n\r\n",
        "GET http://api.example:444/ HTTP/1.1\r\n\r\n",
        "GET http://api.example.evil.example:443/ HTTP/1.1\r\n\r\n",
    ] {
        let answer = house.ask(asked).await;
        assert!(answer.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{asked}: {answer}");
        assert!(answer.contains("is not among the hosts that this step may reach"), "{answer}");
    }
    assert!(house.world.went().is_empty());
    let contact = house.contact("other.example:443");
    assert_eq!((contact.connected, contact.denied[&Denial::Undeclared]), (0, 1));
    let answer = house.ask("GET / HTTP/1.1\r\nHost: api.example:443\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    assert_eq!(house.contact("proxy").denied[&Denial::Malformed], 1);
}

#[tokio::test]
async fn no_name_leads_where_nobody_may_go() {
    let server = echo("REACHED").await;
    for (address, why) in [
        ("127.0.0.1", Denial::Loopback),
        ("127.8.8.8", Denial::Loopback),
        ("::1", Denial::Loopback),
        ("::ffff:127.0.0.1", Denial::Loopback),
        ("64:ff9b::7f00:1", Denial::Loopback),
        ("2002:7f00:1::1", Denial::Loopback),
        ("0.0.0.0", Denial::Unspecified),
        ("169.254.169.254", Denial::Metadata),
        ("::ffff:169.254.169.254", Denial::Metadata),
        ("fd00:ec2::254", Denial::Metadata),
        ("fe80::1", Denial::LinkLocal),
        ("224.0.0.1", Denial::Multicast),
        ("255.255.255.255", Denial::Broadcast),
        ("10.0.0.1", Denial::Private),
        ("::ffff:10.0.0.1", Denial::Private),
        ("fd12::1", Denial::Private),
    ] {
        let place = SocketAddr::new(address.parse::<IpAddr>().unwrap().to_canonical(), 443);
        let world = World::default().named("api.example", &[address]).place(&place.to_string(), server);
        let house = House::with(world, &[("api.example:443", false)]).await;
        assert_eq!(house.say(0, "x").await, None, "{address}");
        let answer = house.ask("CONNECT api.example:443 HTTP/1.1\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{address}: {answer}");
        assert!(house.world.went().is_empty(), "{address}");
        assert_eq!(house.contact("api.example:443").denied, BTreeMap::from([(why, 2)]), "{address}");
    }
}

#[tokio::test]
async fn a_private_range_opens_for_the_listed_host_and_nothing_else_does() {
    let server = echo("inside ").await;
    let world = World::default()
        .named("db.example", &["::ffff:10.1.2.3"])
        .named("other.example", &["10.1.2.3"])
        .named("meta.example", &["169.254.169.254"])
        .place("10.1.2.3:5432", server);
    let reach = [("db.example:5432", true), ("other.example:5432", false), ("meta.example:80", true)];
    let house = House::with(world, &reach).await;
    assert_eq!(house.say(0, "x").await.as_deref(), Some("inside x"));
    assert_eq!(house.say(1, "x").await, None);
    assert_eq!(house.say(2, "x").await, None, "a listed host is no way to what is never open");
    assert_eq!(house.world.went(), ["10.1.2.3:5432"]);
}

/// The address that was checked is the one that is connected to, however often the name changes its mind.
#[tokio::test]
async fn a_name_that_says_something_else_the_next_time_leads_nowhere_else() {
    let server = echo("public ").await;
    let world = World::default()
        .named("api.example", &[PUBLIC, "127.0.0.1", "10.0.0.1 127.0.0.1 93.184.216.34", "127.0.0.1"])
        .place("93.184.216.34:443", server)
        .place("127.0.0.1:443", server);
    let house = House::with(world, &[("api.example:443", false)]).await;
    assert_eq!(house.say(0, "1").await.as_deref(), Some("public 1"));
    assert_eq!(house.say(0, "2").await, None);
    assert_eq!(house.say(0, "3").await.as_deref(), Some("public 3"), "the one address that is open is taken");
    assert_eq!(house.say(0, "4").await, None);
    assert_eq!(house.world.went(), ["93.184.216.34:443", "93.184.216.34:443"]);
}

#[tokio::test]
async fn tenantrys_own_places_are_nobodys() {
    let server = echo("REACHED").await;
    let reach = [("me.example:7878", false), ("me.example:443", false), ("db.example:5432", true)];
    let world = || {
        World::default()
            .named("me.example", &[PUBLIC])
            .named("db.example", &["10.0.0.5"])
            .place("93.184.216.34:7878", server)
            .place("93.184.216.34:443", server)
            .place("10.0.0.5:5432", server)
    };
    let limits = EgressLimits::default;
    for own in ["0.0.0.0:7878", "[::]:7878", "93.184.216.34:7878"] {
        let house = House::bounded(world(), &reach, limits(), &[own]).await;
        assert_eq!(house.say(0, "").await, None, "{own}");
        assert_eq!(house.say(1, "").await.as_deref(), Some("REACHED"), "{own}");
        assert_eq!(house.contact("me.example:7878").denied[&Denial::Own], 1);
    }
    let house = House::bounded(world(), &reach, limits(), &["10.0.0.5:5432"]).await;
    assert_eq!(house.say(2, "").await, None, "the store is closed even where the platform opens its range");
}

#[tokio::test]
async fn what_the_other_side_does_is_told_apart() {
    let world = World::default().named("down.example", &["93.184.216.35"]).named("empty.example", &[""]);
    let reach = [("down.example:443", false), ("gone.example:443", false), ("empty.example:443", false)];
    let house = House::with(world, &reach).await;
    for host in 0..3 {
        assert_eq!(house.say(host, "x").await, None);
    }
    let answer = house.ask("CONNECT down.example:443 HTTP/1.1\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    assert!(answer.ends_with("connection refused by the host\n"), "{answer}");
    assert_eq!(house.contact("down.example:443").failed, BTreeMap::from([(Failure::Refused, 2)]));
    assert_eq!(house.contact("gone.example:443").failed, BTreeMap::from([(Failure::Unresolved, 1)]));
    assert_eq!(house.contact("empty.example:443").failed, BTreeMap::from([(Failure::Unresolved, 1)]));
}

#[tokio::test]
async fn bounds_hold() {
    let server = echo("hello").await;
    let world = World::default().named("api.example", &[PUBLIC]).place("93.184.216.34:443", server);
    let limits = EgressLimits {
        connections: 2,
        ask: Duration::from_millis(50),
        idle: Duration::from_millis(200),
        ..EgressLimits::default()
    };
    let house = House::bounded(world, &[("api.example:443", false)], limits, &[]).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(house.hosts[0]).await.unwrap();
        let mut mark = [0u8; 5];
        stream.read_exact(&mut mark).await.unwrap();
        held.push(stream);
    }
    assert_eq!(house.say(0, "x").await, None);
    assert_eq!(house.contact("api.example:443").denied[&Denial::TooMany], 1);
    // Nothing goes either way, so both end; then there is room again.
    for mut stream in held {
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
        assert!(rest.is_empty());
    }
    while house.say(0, "y").await.as_deref() != Some("helloy") {
        tokio::task::yield_now().await;
    }
    // Whoever says nothing to the proxy, or never comes to an end, is let go.
    assert_eq!(house.ask("").await, "");
    assert_eq!(house.ask("GET http://api.example/ HTTP/1.1\r\nX:").await, "");
    let long = format!("GET http://api.example/ HTTP/1.1\r\nX: {}", "a".repeat(100 * 1024));
    assert!(house.ask(&long).await.starts_with("HTTP/1.1 431 "), "a line without an end");
}

#[tokio::test]
async fn everything_ends_with_the_attempt() {
    let server = echo("hello").await;
    let world = World::default().named("api.example", &[PUBLIC]).place("93.184.216.34:443", server);
    let House { running, hosts, proxy, .. } = House::with(world, &[("api.example:443", false)]).await;
    let mut stream = TcpStream::connect(hosts[0]).await.unwrap();
    let mut mark = [0u8; 5];
    stream.read_exact(&mut mark).await.unwrap();
    drop(running);
    let mut rest = Vec::new();
    drop(stream.read_to_end(&mut rest).await);
    assert!(rest.is_empty());
    while TcpStream::connect(hosts[0]).await.is_ok() || TcpStream::connect(proxy).await.is_ok() {
        tokio::task::yield_now().await;
    }
}

/// A large transfer keeps its bytes, and a side that ends early takes nothing from the other.
#[tokio::test]
async fn bytes_arrive_as_they_were_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = listener.local_addr().unwrap();
    let sent: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
    let wanted = sent.clone();
    let serving = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        assert!(heard == wanted);
        stream.write_all(&heard).await.unwrap();
    });
    let world = World::default().named("api.example", &[PUBLIC]).place("93.184.216.34:443", server);
    let house = House::with(world, &[("api.example:443", false)]).await;
    let mut stream = TcpStream::connect(house.hosts[0]).await.unwrap();
    stream.write_all(&sent).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard).await.unwrap();
    assert!(heard == sent);
    serving.await.unwrap();
    let contact = house.contact("api.example:443");
    assert_eq!((contact.sent_bytes, contact.received_bytes), (3_000_000, 3_000_000));
}
