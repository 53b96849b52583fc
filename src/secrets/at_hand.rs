//! Secrets of a run from a work tree: opened with the developer's own identities, or stood in for by a file of theirs.
#![expect(clippy::disallowed_methods, reason = "an adapter: it reads the file that the person names")]

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::{Sealed, UserIdentities, Vault, VaultError};
use crate::authz::{Permit, action};
use crate::domain::{SecretName, Timestamp};
use crate::sops::{self, Plaintext};

/// What the person at the terminal can give a step.
#[derive(Clone, Debug)]
pub enum AtHand {
    /// Their own identities open the files, wherever these were encrypted to them.
    Identities(Arc<UserIdentities>),
    /// Values of a file stand in for all secrets; no file is opened.
    StandIns(Arc<StandIns>),
}

impl AtHand {
    /// Opens one version at once, for whoever wants to know before anything starts whether it can be had.
    ///
    /// # Errors
    /// [`VaultError`]; no message carries plaintext.
    pub fn open_now(&self, sealed: Sealed<'_>) -> Result<Plaintext, VaultError> {
        match self {
            Self::Identities(found) => {
                Ok(sops::open(sealed.ciphertext, &found.identities)?
                    .into_secret(sealed.name, sealed.version)?)
            }
            Self::StandIns(values) => values.value(sealed.name).ok_or_else(|| VaultError::NoStandIn {
                name: sealed.name.clone(),
                place: values.place.clone(),
            }),
        }
    }
}

#[async_trait]
impl Vault for AtHand {
    async fn open(
        &self,
        permit: &Permit<action::ReadSecret>,
        sealed: Sealed<'_>,
        now: Timestamp,
    ) -> Result<Plaintext, VaultError> {
        permit.tenant_at(now)?;
        let (name, version) = (sealed.name.clone(), sealed.version.clone());
        let (at_hand, ciphertext) = (self.clone(), sealed.ciphertext.to_vec());
        // Computes: not for a thread that serves others.
        let opened = tokio::task::spawn_blocking(move || {
            at_hand.open_now(Sealed { name: &name, version: &version, ciphertext: &ciphertext })
        });
        opened.await.unwrap_or(Err(VaultError::Interrupted))
    }
}

/// Bytes of the longest file of stand-ins.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Values by name, from a file in the form of dotenv.
#[derive(Debug)]
pub struct StandIns {
    place: String,
    values: BTreeMap<String, Plaintext>,
}

/// Why a file of stand-ins cannot be used. No message quotes the file: what stands in it may be a secret after all.
#[derive(Debug, thiserror::Error)]
pub enum StandInError {
    /// It cannot be read.
    #[error("cannot read the secrets file `{place}`")]
    Unread {
        /// Which file.
        place: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It is not text, or more than anybody writes by hand.
    #[error("the secrets file `{0}` is not text of at most 1 MiB")]
    NoText(String),
    /// A line is none.
    #[error("{place}:{line}: {problem}")]
    Malformed {
        /// Which file.
        place: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong and how it is written.
        problem: &'static str,
    },
}

impl StandIns {
    /// Reads a file.
    ///
    /// # Errors
    /// [`StandInError`].
    pub fn read(path: &Path) -> Result<Self, StandInError> {
        let place = path.display().to_string();
        let unread = |source| StandInError::Unread { place: place.clone(), source };
        let file = std::fs::File::open(path).map_err(unread)?;
        // Room for all of it at once: a growing buffer would leave copies behind.
        let size = file.metadata().map_or(0, |found| found.len()).min(FILE_BYTES_MAX);
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(size).unwrap_or(0) + 1));
        file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unread)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) if bytes.len() as u64 <= FILE_BYTES_MAX => Self::parse(text, place),
            _ => Err(StandInError::NoText(place)),
        }
    }

    /// Reads `NAME=VALUE` lines: `#` begins a comment, `export` may stand in front, values may stand in quotes and go
    /// over several lines there; in double quotes `\n`, `\t`, `\"`, `\\` and `\$` mean what they mean to a shell. Nothing
    /// is expanded. Of a name that stands there twice the last value counts.
    ///
    /// # Errors
    /// [`StandInError::Malformed`].
    pub fn parse(text: &str, place: String) -> Result<Self, StandInError> {
        let mut values = BTreeMap::new();
        let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut line = 1;
        while !rest.is_empty() {
            let at = line;
            let malformed = |problem| StandInError::Malformed { place: place.clone(), line: at, problem };
            let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
            let trimmed = first.trim();
            if trimmed.is_empty() || trimmed.starts_with('#') {
                (rest, line) = (after, line + 1);
                continue;
            }
            let trimmed = trimmed.strip_prefix("export ").unwrap_or(trimmed);
            let (name, value) =
                trimmed.split_once('=').ok_or_else(|| malformed("a value is written NAME=VALUE"))?;
            let name = name.trim_end();
            let named = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || !name.chars().all(named) {
                return Err(malformed(
                    "the name before `=` holds something other than letters, digits, `-` and `_`",
                ));
            }
            let value = value.trim_start();
            let value = match value.chars().next().filter(|quote| ['"', '\''].contains(quote)) {
                None => {
                    rest = after;
                    line += 1;
                    let end = value.find(" #").unwrap_or(value.len());
                    value[..end].trim_end().as_bytes().to_vec()
                }
                Some(quote) => {
                    // A quoted value may go on in the lines below, so it is looked for in the whole rest.
                    let start = rest.len() - rest[rest.find('=').unwrap_or(0) + 1..].trim_start().len();
                    let (value, length) = quoted(&rest[start + 1..], quote)
                        .ok_or_else(|| malformed("a quote is not closed"))?;
                    let end = start + 1 + length;
                    line += rest[..end].matches('\n').count();
                    let (tail, after) = rest[end..].split_once('\n').unwrap_or((&rest[end..], ""));
                    let tail = tail.trim();
                    if !tail.is_empty() && !tail.starts_with('#') {
                        return Err(malformed("something stands behind the closing quote"));
                    }
                    rest = after;
                    line += 1;
                    value
                }
            };
            values.insert(name.to_owned(), Plaintext::new(value));
        }
        Ok(Self { place, values })
    }

    /// The file, as it was named.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Every value, by the name that stands in the file.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Plaintext)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The value for a secret: under its name or, as variables are written, in capitals with `_` for `-`.
    fn value(&self, name: &SecretName) -> Option<Plaintext> {
        let found = self
            .values
            .get(name.as_str())
            .or_else(|| self.values.get(&name.as_str().to_ascii_uppercase().replace('-', "_")))?;
        Some(Plaintext::new(found.expose().to_vec()))
    }
}

/// The value up to its closing quote, and the bytes read, the quote included.
fn quoted(text: &str, quote: char) -> Option<(Vec<u8>, usize)> {
    let mut value = Vec::with_capacity(text.len().min(4096));
    let mut push = |c: char| value.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    let mut characters = text.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            c if c == quote => return Some((value, at + 1)),
            '\\' if quote == '"' => match characters.next()?.1 {
                'n' => push('\n'),
                'r' => push('\r'),
                't' => push('\t'),
                c @ ('"' | '\\' | '$') => push(c),
                c => {
                    push('\\');
                    push(c);
                }
            },
            c => push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[(&str, &str)]) {
        let read = StandIns::parse(text, ".env".to_owned()).unwrap();
        let got: Vec<(&str, &str)> = read
            .values
            .iter()
            .map(|(name, value)| (name.as_str(), std::str::from_utf8(value.expose()).unwrap()))
            .collect();
        assert_eq!(got, want, "{text:?}");
    }

    #[test]
    fn values_are_read_as_dotenv_writes_them() {
        check("", &[]);
        check(
            "# a\n\n  \na=1\nexport b = two words # why\r\nc=\n",
            &[("a", "1"), ("b", "two words"), ("c", "")],
        );
        check(
            "a='x # y $z \\n'\nb=\"x\\n\\\"y\\\" \\$z \\q\" # c",
            &[("a", "x # y $z \\n"), ("b", "x\n\"y\" $z \\q")],
        );
        check(
            "pem=\"-----BEGIN\nabc\n-----END\"\nnext=ok",
            &[("next", "ok"), ("pem", "-----BEGIN\nabc\n-----END")],
        );
        check("u=postgres://u:p=w@h/d?x=1#frag", &[("u", "postgres://u:p=w@h/d?x=1#frag")]);
        check("\u{feff}a=1\na=2", &[("a", "2")]);
    }

    #[track_caller]
    fn check_wrong(text: &str, want: &str) {
        let error = StandIns::parse(text, ".env".to_owned()).unwrap_err().to_string();
        assert_eq!(error, want);
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn a_line_that_is_none_is_named_and_not_quoted() {
        check_wrong("a=1\nhunter2", ".env:2: a value is written NAME=VALUE");
        check_wrong("a=1\n\nb='hunter2", ".env:3: a quote is not closed");
        check_wrong("p=\"x\ny\"\nb=\"hunter2\"z", ".env:3: something stands behind the closing quote");
        check_wrong(
            "a hunter2=1",
            ".env:1: the name before `=` holds something other than letters, digits, `-` and `_`",
        );
    }

    #[test]
    fn a_secret_goes_by_its_name_or_in_capitals() {
        let values = StandIns::parse("db-url=lower\nDB_URL=upper\nAPI_KEY=key", ".env".to_owned()).unwrap();
        let value = |name: &str| {
            let value = values.value(&name.parse().unwrap())?;
            Some(String::from_utf8(value.expose().to_vec()).unwrap())
        };
        assert_eq!(value("db-url").as_deref(), Some("lower"));
        assert_eq!(value("db_url").as_deref(), Some("upper"));
        assert_eq!(value("api_key").as_deref(), Some("key"));
        assert_eq!(value("other"), None);
        assert!(!format!("{values:?}").contains("lower"), "{values:?}");
    }
}
