//! What a client asks of the proxy: a tunnel, or one request for a plain `http` URL, written anew.
//!
//! A connection carries one request and no second: whatever is read as the head of another one, where proxy and
//! server might read it differently, never comes into being. Source: RFC 9110 and 9112.

use std::fmt::Write as _;

use super::Target;

/// Bytes of a request's head.
pub(super) const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Headers of a request.
const HEADERS_MAX: usize = 128;
/// Bytes of a host name, as in DNS.
const HOST_BYTES_MAX: usize = 253;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// `CONNECT`: bytes both ways.
    Tunnel(Target),
    /// A URL in absolute form: this head goes to the host, then the body.
    Forward {
        /// Where.
        target: Target,
        /// In origin form, with one `Host` that says what the URL says.
        head: String,
        /// What of the client's bytes belongs to it.
        body: Body,
    },
}

/// Where a request's body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// After this many bytes.
    Length(u64),
    /// After the last chunk.
    Chunked,
}

/// A request that is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// The answer's status.
    pub(super) status: u16,
    /// Its text.
    pub(super) why: &'static str,
}

const fn bad(why: &'static str) -> Refused {
    Refused { status: 400, why }
}

/// Reads the head of a request; `None` while its end has not come. Gives its length too.
pub(super) fn read(bytes: &[u8]) -> Result<Option<(Asked, usize)>, Refused> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < HEAD_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Err(Refused { status: 431, why: "the request's head is too large" });
        }
        Err(_) => return Err(bad("this is no HTTP/1.1 request")),
    };
    // Every line of a head ends as the standard says; a bare line feed is where readers disagree.
    let head = &bytes[..length];
    let ends = head.iter().filter(|byte| **byte == b'\n').count();
    if head.windows(2).filter(|pair| *pair == b"\r\n").count() != ends || head.starts_with(b"\r\n") {
        return Err(bad("a line does not end with CR LF"));
    }
    let (method, target) = (request.method.unwrap_or_default(), request.path.unwrap_or_default());
    let framing = Framing::of(request.headers, request.version == Some(1))?;
    let asked = if method == "CONNECT" {
        if framing.body != Body::Length(0) || framing.has_length {
            return Err(bad("CONNECT has no body"));
        }
        let (host, port) = authority(target).ok_or(bad("CONNECT names HOST:PORT"))?;
        let port = port.ok_or(bad("CONNECT names HOST:PORT"))?;
        Asked::Tunnel(Target { host, port })
    } else {
        forward(method, target, request.headers, &framing)?
    };
    Ok(Some((asked, length)))
}

fn forward(
    method: &str,
    target: &str,
    headers: &[httparse::Header<'_>],
    framing: &Framing,
) -> Result<Asked, Refused> {
    let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
    if scheme.is_none() {
        return Err(bad("the proxy takes CONNECT HOST:PORT, or a URL with `http://`"));
    }
    let rest = &target[7..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (place, path) = rest.split_at(end);
    if path.contains('#') {
        return Err(bad("a URL that is asked for has no fragment"));
    }
    let (host, port) = authority(place).ok_or(bad("the URL names no host"))?;
    let slash = if path.starts_with('/') { "" } else { "/" };
    let mut head = format!("{method} {slash}{path} HTTP/1.1\r\nHost: {}", host);
    if let Some(port) = port.filter(|port| *port != 80) {
        let _ = write!(head, ":{port}");
    }
    head.push_str("\r\nConnection: close\r\n");
    for header in headers {
        if framing.dropped.iter().any(|name| header.name.eq_ignore_ascii_case(name)) {
            continue;
        }
        let value = std::str::from_utf8(header.value).map_err(|_| bad("a header is no text"))?;
        let _ = write!(head, "{}: {value}\r\n", header.name);
    }
    if framing.body == Body::Chunked {
        head.push_str("Transfer-Encoding: chunked\r\n");
    }
    head.push_str("\r\n");
    Ok(Asked::Forward { target: Target { host, port: port.unwrap_or(80) }, head, body: framing.body })
}

/// What the headers say about the connection and the end of the body.
struct Framing {
    body: Body,
    has_length: bool,
    /// Headers that are for the proxy alone.
    dropped: Vec<String>,
}

/// Headers that never go further.
const OWN: [&str; 9] = [
    "host",
    "connection",
    "proxy-connection",
    "keep-alive",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "transfer-encoding",
];

impl Framing {
    fn of(headers: &[httparse::Header<'_>], is_1_1: bool) -> Result<Self, Refused> {
        let mut dropped: Vec<String> = OWN.map(str::to_owned).into();
        let (mut length, mut chunked, mut hosts) = (None, false, 0);
        for header in headers {
            let text = || std::str::from_utf8(header.value).map_err(|_| bad("a header is no text"));
            match header.name.to_ascii_lowercase().as_str() {
                "host" => hosts += 1,
                "content-length" => {
                    let text = text()?;
                    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                    let value = text.parse::<u64>().ok().filter(|_| digits);
                    if length.is_some() {
                        return Err(bad("the body's length is said twice"));
                    }
                    length = Some(value.ok_or(bad("the body's length is no number"))?);
                }
                "transfer-encoding" => {
                    if chunked || !text()?.trim().eq_ignore_ascii_case("chunked") {
                        return Err(Refused { status: 501, why: "only `chunked` is read" });
                    }
                    chunked = true;
                }
                "connection" | "proxy-connection" => {
                    for name in text()?.split(',').map(|name| name.trim().to_ascii_lowercase()) {
                        if matches!(name.as_str(), "content-length" | "transfer-encoding" | "host") {
                            return Err(bad("`Connection` names what frames the request"));
                        }
                        dropped.push(name);
                    }
                }
                _ => {}
            }
        }
        if hosts > 1 {
            return Err(bad("the host is said twice"));
        }
        if chunked && (length.is_some() || !is_1_1) {
            return Err(bad("the body's end is said in two ways"));
        }
        let body = if chunked { Body::Chunked } else { Body::Length(length.unwrap_or(0)) };
        Ok(Self { body, has_length: length.is_some(), dropped })
    }
}

/// A host name in lower case, and the port if there is one; `None` for anything that could be read otherwise.
fn authority(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => {
            let digits =
                !port.is_empty() && port.len() <= 5 && port.bytes().all(|byte| byte.is_ascii_digit());
            (host, Some(port.parse().ok().filter(|port| digits && *port > 0)?))
        }
        None => (text, None),
    };
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    let named = !host.is_empty() && host.len() <= HOST_BYTES_MAX && host.bytes().all(fits);
    named.then(|| (host.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, port: u16) -> Target {
        Target { host: host.to_owned(), port }
    }

    #[track_caller]
    fn tunnel(request: &str, host: &str, port: u16) {
        let want = Ok(Some((Asked::Tunnel(target(host, port)), request.len())));
        assert_eq!(read(request.as_bytes()), want, "{request:?}");
    }

    #[track_caller]
    fn forwards(request: &str, to: (&str, u16), head: &str, body: Body) {
        let want = Asked::Forward { target: target(to.0, to.1), head: head.to_owned(), body };
        assert_eq!(read(request.as_bytes()), Ok(Some((want, request.len()))), "{request:?}");
    }

    #[track_caller]
    fn refused(request: &str, status: u16) {
        let got = read(request.as_bytes()).err().map(|refused| refused.status);
        assert_eq!(got, Some(status), "{request:?}");
    }

    #[test]
    fn a_tunnel_goes_to_one_host_and_port() {
        tunnel("CONNECT api.example:443 HTTP/1.1\r\nHost: api.example:443\r\n\r\n", "api.example", 443);
        tunnel("CONNECT API.Example:443 HTTP/1.0\r\n\r\n", "api.example", 443);
        // The header says something else: the target counts.
        tunnel("CONNECT api.example:443 HTTP/1.1\r\nHost: other.example:1\r\n\r\n", "api.example", 443);
        for authority in [
            "api.example",
            "api.example:",
            "api.example:0",
            "api.example:65536",
            "api.example:+443",
            ":443",
            "[::1]:443",
            "user@api.example:443",
            "api.example:443:444",
            "api.example:443/x",
            "http://api.example:443",
            "a%2eb:443",
            "api.example\u{0}:443",
            "ä:443",
        ] {
            refused(&format!("CONNECT {authority} HTTP/1.1\r\n\r\n"), 400);
        }
        refused("CONNECT a:443 HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 400);
        refused("CONNECT a:443 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
    }

    #[test]
    fn a_url_is_asked_of_its_own_host() {
        let none = Body::Length(0);
        forwards(
            "GET http://api.example/a?b=1 HTTP/1.1\r\nHost: evil.example\r\nAccept: */*\r\nProxy-Connection: keep-alive\r\n\r\n",
            ("api.example", 80),
            "GET /a?b=1 HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nAccept: */*\r\n\r\n",
            none,
        );
        forwards(
            "POST HTTP://API.example:8080?x HTTP/1.1\r\nContent-Length: 5\r\nConnection: X-One, te\r\nX-One: 1\r\n\r\n",
            ("api.example", 8080),
            "POST /?x HTTP/1.1\r\nHost: api.example:8080\r\nConnection: close\r\nContent-Length: 5\r\n\r\n",
            Body::Length(5),
        );
        forwards(
            "PUT http://api.example HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nProxy-Authorization: Basic eDp5\r\n\r\n",
            ("api.example", 80),
            "PUT / HTTP/1.1\r\nHost: api.example\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n",
            Body::Chunked,
        );
        for url in [
            "/a",
            "https://api.example/",
            "ftp://api.example/",
            "http://",
            "http:///a",
            "http://u:p@api.example/",
            "http://api.example:x/",
            "http://[::1]/",
            "http://a.example#b",
            "*",
            "http://a.example\\@b.example/",
        ] {
            refused(&format!("GET {url} HTTP/1.1\r\n\r\n"), 400);
        }
    }

    /// Whatever two readers could read in two ways is read by nobody.
    #[test]
    fn smuggling_forms_are_refused() {
        for (headers, status) in [
            ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
            ("Content-Length: 5\r\nContent-Length: 5", 400),
            ("Content-Length: 5\r\nContent-Length: 6", 400),
            ("Content-Length: +5", 400),
            ("Content-Length: 0x5", 400),
            ("Content-Length: 5, 5", 400),
            ("Content-Length: ", 400),
            ("Content-Length: 99999999999999999999", 400),
            ("Transfer-Encoding: chunked, chunked", 501),
            ("Transfer-Encoding: identity", 501),
            ("Transfer-Encoding: xchunked", 501),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 501),
            ("Transfer-Encoding : chunked", 400),
            ("Connection: content-length\r\nContent-Length: 5", 400),
            ("Connection: host", 400),
            ("Host: a.example\r\nHost: b.example", 400),
            ("X: a\r\n b", 400),
            ("X: a\nContent-Length: 5", 400),
            ("X: a\rb", 400),
            ("X: a\0b", 400),
            (" X: a", 400),
            ("X\u{0}: a", 400),
        ] {
            refused(&format!("POST http://a.example/ HTTP/1.1\r\n{headers}\r\n\r\n"), status);
        }
        refused("POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400);
        refused("GET http://a.example/ HTTP/2.0\r\n\r\n", 400);
        refused("GET http://a.example/\r\n\r\n", 400);
        refused("\r\nGET http://a.example/ HTTP/1.1\r\n\r\n", 400);
        refused("GET http://a.example/ HTTP/1.1\n\n", 400);
    }

    #[test]
    fn a_head_has_an_end() {
        assert_eq!(read(b"GET http://a.example/ HTTP/1.1\r\nX: "), Ok(None));
        assert_eq!(read(b""), Ok(None));
        refused(&format!("GET http://a.example/{} HTTP/1.1\r\n", "a".repeat(HEAD_BYTES_MAX)), 431);
        refused(&format!("GET http://a.example/ HTTP/1.1\r\nX: {}", "a".repeat(HEAD_BYTES_MAX)), 431);
        refused(
            &format!("GET http://a.example/ HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(HEADERS_MAX + 1)),
            431,
        );
    }

    proptest::proptest! {
        /// No bytes break the reader, and a head that is written anew has no line that the client made.
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..300)) {
            let mut request = b"GET http://a.example/".to_vec();
            request.extend(bytes);
            if let Ok(Some((Asked::Forward { head, target, .. }, _))) = read(&request) {
                proptest::prop_assert_eq!(head.matches("\r\n\r\n").count(), 1);
                let host = format!("Host: {}", target.host);
                proptest::prop_assert!(head.lines().nth(1).is_some_and(|line| line.starts_with(&host)));
            }
        }
    }
}
