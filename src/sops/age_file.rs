//! The public part of an armored age file: whom its header names. Needs no key.
//!
//! Format: age-encryption.org/v1. sops wraps the data key in one file a recipient, each with one stanza; a
//! second one would let somebody open the file whom its metadata does not name.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// One stanza of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stanza {
    /// Its type: `X25519`, `ssh-ed25519`, …
    pub tag: String,
}

impl Stanza {
    /// Whether it only keeps readers tolerant of unknown stanzas, and opens nothing.
    ///
    /// By its name alone: nothing else tells it from a recipient of an unknown kind.
    #[must_use]
    pub fn is_grease(&self) -> bool {
        self.tag.ends_with("-grease")
    }
}

const STANZAS_MAX: usize = 64;

/// The stanzas of an armored file's header; `None` if it is no age file.
pub(super) fn stanzas(armored: &str) -> Option<Vec<Stanza>> {
    let body = armored.trim();
    let body = body.strip_prefix("-----BEGIN AGE ENCRYPTED FILE-----")?;
    let body = body.strip_suffix("-----END AGE ENCRYPTED FILE-----")?;
    let base64: String = body.split_ascii_whitespace().collect();
    let file = STANDARD.decode(base64).ok()?;
    let mut lines = file.split(|byte| *byte == b'\n');
    if lines.next()? != b"age-encryption.org/v1" {
        return None;
    }
    let mut found = Vec::new();
    for line in lines {
        // The header ends with its MAC; what follows is ciphertext.
        if line.starts_with(b"---") {
            return Some(found);
        }
        if let Some(stanza) = line.strip_prefix(b"-> ") {
            let tag = stanza.split(|byte| *byte == b' ').next()?;
            found.push(Stanza { tag: std::str::from_utf8(tag).ok()?.to_owned() });
        }
        if found.len() > STANZAS_MAX {
            return None;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn armored(header: &str) -> String {
        let body = STANDARD.encode(format!("{header}--- mac\nciphertext"));
        format!("-----BEGIN AGE ENCRYPTED FILE-----\n{body}\n-----END AGE ENCRYPTED FILE-----\n")
    }

    #[track_caller]
    fn check(header: &str, want: Option<&[&str]>) {
        let found = stanzas(&armored(header));
        let tags =
            found.as_ref().map(|found| found.iter().map(|stanza| stanza.tag.as_str()).collect::<Vec<_>>());
        assert_eq!(tags.as_deref(), want, "{header:?}");
    }

    #[test]
    fn every_stanza_is_seen() {
        check("age-encryption.org/v1\n-> X25519 abc\nbody\n", Some(&["X25519"]));
        check(
            "age-encryption.org/v1\n-> X25519 abc\nbody\n-> x-grease y\n\n-> X25519 def\nbody\n",
            Some(&["X25519", "x-grease", "X25519"]),
        );
        check("age-encryption.org/v2\n-> X25519 abc\nbody\n", None);
        check("", None);
        assert_eq!(stanzas("not armored"), None);
    }
}
