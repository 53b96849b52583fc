//! A request as it arrives: method, target and headers to what is asked for, or the answer that refuses it.

use hyper::header::{AUTHORIZATION, HeaderMap};
use hyper::{Method, Uri};
use sha2::{Digest as _, Sha256};

use super::reach::Wanted;
use crate::domain::SecretName;

/// What a script can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The names and states that its step declares.
    List,
    /// One secret.
    Get(SecretName, Wanted),
    /// The body is a value to be masked from now on.
    Mask,
}

/// Why a request is refused before anything is looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No token, or not this attempt's.
    Token,
    /// It names, or could be read to name, something outside its own tenant.
    CrossTenant(&'static str),
    /// There is no such path.
    NoSuchPath,
    /// The path is there, the method is not.
    Method,
    /// A name, version or query that can be none.
    Name(String),
}

/// The token of one attempt: 256 bits, known by their digest only once given out.
#[derive(Clone)]
pub struct Token {
    digest: [u8; 32],
}

impl Token {
    /// Takes the 64 hex digits that the step gets.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self { digest: Sha256::digest(text.as_bytes()).into() }
    }
    /// Whether a text is the token; takes the same time wherever they differ.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        let other: [u8; 32] = Sha256::digest(text.as_bytes()).into();
        self.digest.iter().zip(other).fold(0u8, |differ, (a, b)| differ | (a ^ b)) == 0
    }
}

/// Reads a request. The token is looked at first: without it nothing is told apart.
///
/// # Errors
/// [`Malformed`]. No tenant stands in any request, so whatever could name one is refused for everyone: a `/`
/// beyond the path itself, a `..`, a percent sign, a header or query about tenants, another authority.
pub fn read(token: &Token, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Request, Malformed> {
    let bearer = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "))
        .unwrap_or_default();
    if !token.is(bearer) {
        return Err(Malformed::Token);
    }
    if headers.keys().any(|name| name.as_str().contains("tenant")) {
        return Err(Malformed::CrossTenant("a header names a tenant"));
    }
    let path = uri.path();
    if path.contains('%') {
        return Err(Malformed::CrossTenant("the path holds a percent sign"));
    }
    if path.contains("..") || path.contains("//") || path.contains('\\') {
        return Err(Malformed::CrossTenant("the path leads elsewhere"));
    }
    let query = uri.query().unwrap_or_default();
    if query.contains("tenant") || query.contains('%') {
        return Err(Malformed::CrossTenant("the query names a tenant"));
    }
    match path {
        "/v1/secrets" => only(&Method::GET, method).map(|()| Request::List),
        "/v1/mask" => only(&Method::POST, method).map(|()| Request::Mask),
        _ => {
            let name = path.strip_prefix("/v1/secrets/").ok_or(
                match path.split('/').any(|part| part == "tenants") {
                    true => Malformed::CrossTenant("the path names a tenant"),
                    false => Malformed::NoSuchPath,
                },
            )?;
            if name.contains('/') {
                return Err(Malformed::CrossTenant("the name holds a slash"));
            }
            only(&Method::GET, method)?;
            let name = name.parse().map_err(|error| Malformed::Name(format!("{error}")))?;
            Ok(Request::Get(name, wanted(query)?))
        }
    }
}

fn only(allowed: &Method, method: &Method) -> Result<(), Malformed> {
    if allowed == method { Ok(()) } else { Err(Malformed::Method) }
}

/// Reads `version=ID|current|all`; nothing else may stand in the query.
fn wanted(query: &str) -> Result<Wanted, Malformed> {
    match query.strip_prefix("version=") {
        None if query.is_empty() => Ok(Wanted::Current),
        None => Err(Malformed::Name("the query holds something other than `version=`".to_owned())),
        Some("current") => Ok(Wanted::Current),
        Some("all") => Ok(Wanted::All),
        Some(id) => id.parse().map(Wanted::Version).map_err(|error| Malformed::Name(format!("{error}"))),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOKEN: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn asked(method: &str, target: &str, headers: &[(&str, &str)]) -> Result<Request, Malformed> {
        let mut map = HeaderMap::new();
        map.insert(AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap());
        for (name, value) in headers {
            let name: hyper::header::HeaderName = name.parse().unwrap();
            map.insert(name, value.parse().unwrap());
        }
        read(&Token::new(TOKEN), &method.parse().unwrap(), &target.parse().unwrap(), &map)
    }

    #[track_caller]
    fn check(method: &str, target: &str, want: Result<Request, Malformed>) {
        assert_eq!(asked(method, target, &[]), want, "{method} {target}");
    }

    fn get(name: &str, wanted: Wanted) -> Result<Request, Malformed> {
        Ok(Request::Get(name.parse().unwrap(), wanted))
    }

    #[test]
    fn what_can_be_asked_for() {
        check("GET", "/v1/secrets", Ok(Request::List));
        check("POST", "/v1/mask", Ok(Request::Mask));
        check("GET", "/v1/secrets/db_url", get("db_url", Wanted::Current));
        check("GET", "/v1/secrets/db_url?version=current", get("db_url", Wanted::Current));
        check("GET", "/v1/secrets/db_url?version=all", get("db_url", Wanted::All));
        check("GET", "/v1/secrets/db_url?version=v3", get("db_url", Wanted::Version("v3".parse().unwrap())));
        check("POST", "/v1/secrets/db_url", Err(Malformed::Method));
        check("DELETE", "/v1/secrets", Err(Malformed::Method));
        check("GET", "/v1/mask", Err(Malformed::Method));
        check("GET", "/v2/secrets/db_url", Err(Malformed::NoSuchPath));
        check("GET", "/", Err(Malformed::NoSuchPath));
        check("GET", "/v1/secrets/", Err(Malformed::Name("a name cannot be empty".into())));
        check("GET", "/v1/secrets/db_url?version=", Err(Malformed::Name("a name cannot be empty".into())));
    }

    #[test]
    fn whatever_could_name_a_tenant_is_refused() {
        for target in [
            "/v1/secrets/globex/db_url",
            "/v1/secrets/../globex/db_url",
            "/v1/secrets/..",
            "/v1/secrets/%2e%2e%2fglobex%2fdb_url",
            "/v1/secrets/globex%2fdb_url",
            "/v1/secrets/db_url%00",
            "/v1/secrets//db_url",
            "/v1/secrets/db_url?tenant=globex",
            "/v1/secrets/db_url?version=v1&tenant=globex",
            "/v1/secrets/db_url?version=..%2fglobex",
            "/v1/tenants/globex/secrets/db_url",
            "/tenants/globex/v1/secrets/db_url",
            "http://broker/v1/secrets/a/b",
        ] {
            assert!(matches!(asked("GET", target, &[]), Err(Malformed::CrossTenant(_))), "{target}");
        }
        for header in ["X-Tenant", "tenant", "X-Tenantry-Tenant", "x-tenant-id"] {
            let got = asked("GET", "/v1/secrets/db_url", &[(header, "globex")]);
            assert!(matches!(got, Err(Malformed::CrossTenant(_))), "{header}");
        }
    }

    #[test]
    fn without_the_token_nothing_is_told_apart() {
        for (name, value) in [
            ("authorization", ""),
            ("authorization", "Bearer "),
            ("authorization", TOKEN),
            ("authorization", &format!("Bearer {}", &TOKEN[..63])),
            ("authorization", &format!("Bearer {TOKEN}0")),
            ("authorization", &format!("bearer {TOKEN}")),
        ] {
            for target in ["/v1/secrets", "/v1/secrets/globex/db_url", "/nowhere"] {
                assert_eq!(asked("GET", target, &[(name, value)]), Err(Malformed::Token), "{value} {target}");
            }
        }
    }

    proptest! {
        /// Whatever is asked for, the answer names one plain name of the own tenant or refuses.
        #[test]
        fn a_name_never_leads_elsewhere(target in "/v1/secrets/[ -~]{0,40}") {
            if let Ok(uri) = target.parse::<Uri>() {
                let mut headers = HeaderMap::new();
                headers.insert(AUTHORIZATION, format!("Bearer {TOKEN}").parse().unwrap());
                if let Ok(Request::Get(name, _)) = read(&Token::new(TOKEN), &Method::GET, &uri, &headers) {
                    prop_assert!(name.as_str().bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
                }
            }
        }
    }
}
