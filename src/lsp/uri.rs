//! `file:` addresses and paths.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// The path that an address names; `None` for one that names no file of this machine. Source: RFC 8089.
#[must_use]
pub fn path_of(uri: &str) -> Option<PathBuf> {
    let (scheme, rest) = uri.split_once(':')?;
    if !scheme.eq_ignore_ascii_case("file") {
        return None;
    }
    let path = match rest.strip_prefix("//") {
        Some(rest) => {
            let slash = rest.find('/')?;
            let host = &rest[..slash];
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                return None;
            }
            &rest[slash..]
        }
        None => rest,
    };
    let path = path.split(['?', '#']).next().unwrap_or(path);
    let bytes = decoded(path)?;
    (bytes.starts_with(b"/") && !bytes.contains(&0)).then(|| PathBuf::from(OsString::from_vec(bytes)))
}

/// The address of an absolute path.
#[must_use]
pub fn uri_of(path: &Path) -> String {
    let mut uri = String::from("file://");
    for byte in path.as_os_str().as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(char::from(*byte));
            }
            byte => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    uri
}

fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uri: &str, want: Option<&str>) {
        assert_eq!(path_of(uri), want.map(PathBuf::from), "{uri}");
    }

    #[test]
    fn an_address_names_a_file_or_nothing() {
        check("file:///srv/a%20b/%C3%A9.yaml", Some("/srv/a b/é.yaml"));
        check("file:///c%3A/x", Some("/c:/x"));
        check("FILE://localhost/x", Some("/x"));
        check("file:/x", Some("/x"));
        check("file:///x?query#part", Some("/x"));
        check("file:///x%23y%3Fz", Some("/x#y?z"));
        check("file://elsewhere/x", None);
        check("untitled:Untitled-1", None);
        check("git:/srv/x.yaml?ref", None);
        check("file:///bad%2", None);
        check("file:///bad%zz", None);
        check("file:///nul%00", None);
        check("", None);
    }

    #[test]
    fn a_path_comes_back_from_its_address() {
        for path in ["/srv/a b/é#?%.yaml", "/", "/tenants/acme/[x]/日本.yaml"] {
            assert_eq!(path_of(&uri_of(Path::new(path))).as_deref(), Some(Path::new(path)));
        }
        let odd = PathBuf::from(OsString::from_vec(b"/a\xff".to_vec()));
        assert_eq!(path_of(&uri_of(&odd)), Some(odd));
    }
}
