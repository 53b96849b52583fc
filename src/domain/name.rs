//! Names that users choose. Never folded, never trimmed; parsing is the only way in.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("a name cannot be empty")]
    Empty,
    /// The text has more bytes than a name may have.
    #[error("a name has at most {max} bytes, this one has {len}")]
    TooLong {
        /// Bytes of the text.
        len: usize,
        /// Bytes a name may have.
        max: usize,
    },
    /// The first character is not one a name may start with.
    #[error("a name starts with {allowed}, not with `{found}`")]
    Start {
        /// The character found.
        found: char,
        /// What would be allowed, in words.
        allowed: &'static str,
    },
    /// A later character is not one a name may hold.
    #[error("a name holds only {allowed}, not `{found}`")]
    Character {
        /// The character found.
        found: char,
        /// What would be allowed, in words.
        allowed: &'static str,
    },
    /// The name has a meaning of its own.
    #[error("`{0}` is reserved")]
    Reserved(String),
}

/// Bytes of the longest name.
pub const NAME_BYTES_MAX: usize = 63;

#[derive(Clone, Copy)]
enum Alphabet {
    /// `[a-z0-9][a-z0-9-]*`
    Kebab,
    /// `[a-z0-9][a-z0-9_-]*`
    KebabSnake,
    /// `[a-z][a-z0-9_]*`
    Snake,
}

fn check_name(text: &str, alphabet: Alphabet) -> Result<(), NameError> {
    let (start, rest) = match alphabet {
        Alphabet::Kebab => ("a letter a-z or a digit", "a-z, 0-9 and `-`"),
        Alphabet::KebabSnake => ("a letter a-z or a digit", "a-z, 0-9, `-` and `_`"),
        Alphabet::Snake => ("a letter a-z", "a-z, 0-9 and `_`"),
    };
    let first = text.chars().next().ok_or(NameError::Empty)?;
    if text.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { len: text.len(), max: NAME_BYTES_MAX });
    }
    let starts = match alphabet {
        Alphabet::Kebab | Alphabet::KebabSnake => first.is_ascii_lowercase() || first.is_ascii_digit(),
        Alphabet::Snake => first.is_ascii_lowercase(),
    };
    if !starts {
        return Err(NameError::Start { found: first, allowed: start });
    }
    let holds = |c: char| {
        c.is_ascii_lowercase()
            || c.is_ascii_digit()
            || match alphabet {
                Alphabet::Kebab => c == '-',
                Alphabet::KebabSnake => c == '-' || c == '_',
                Alphabet::Snake => c == '_',
            }
    };
    match text.chars().find(|c| !holds(*c)) {
        Some(found) => Err(NameError::Character { found, allowed: rest }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $alphabet:expr, reserved: [$($reserved:literal),*]) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The name as written.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                check_name(text, $alphabet)?;
                let reserved: &[&str] = &[$($reserved),*];
                if reserved.contains(&text) {
                    return Err(NameError::Reserved(text.to_owned()));
                }
                Ok(Self(text.to_owned()))
            }
        }
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

name!(
    /// A tenant, spelled as its directory under `tenants/`: 1 to 63 bytes of `a-z`, `0-9`, `-`.
    TenantId, Alphabet::Kebab, reserved: ["platform", "shared", "fleet"]
);
name!(
    /// A workflow, spelled as its file without `.yaml`: 1 to 63 bytes of `a-z`, `0-9`, `-`.
    WorkflowId, Alphabet::Kebab, reserved: []
);
name!(
    /// A step of a workflow: 1 to 63 bytes of `a-z`, `0-9`, `_`, starting with a letter, so that expressions can name it.
    StepId, Alphabet::Snake, reserved: []
);
name!(
    /// An input or output: spelled as a step is.
    FieldName, Alphabet::Snake, reserved: []
);
name!(
    /// A secret of one tenant: 1 to 63 bytes of `a-z`, `0-9`, `-`, `_`.
    SecretName, Alphabet::KebabSnake, reserved: []
);
name!(
    /// A version of a secret: spelled as a secret is, by custom `v1`, `v2`, …
    VersionId, Alphabet::KebabSnake, reserved: ["all", "current", "previous", "pending", "revoked"]
);
name!(
    /// A person of `platform/people.yaml`.
    UserId, Alphabet::Kebab, reserved: []
);
name!(
    /// A group of `platform/people.yaml`.
    GroupId, Alphabet::Kebab, reserved: []
);
name!(
    /// A service of `platform/people.yaml`: a machine with an owner.
    ServiceId, Alphabet::Kebab, reserved: []
);
name!(
    /// An elevation of one tenant, for instance `inc-42`; ends once and never returns.
    ElevationId, Alphabet::Kebab, reserved: []
);

/// Whom a grant names: written `alice`, `user:alice`, `group:acme-ops` or `service:ci-bot`.
///
/// ```
/// use tenantry::domain::Principal;
/// let alice: Principal = "alice".parse().unwrap();
/// assert_eq!(alice.to_string(), "user:alice");
/// assert!("robot:r2".parse::<Principal>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Principal {
    /// A person.
    User(UserId),
    /// A group of people.
    Group(GroupId),
    /// A machine.
    Service(ServiceId),
}

impl FromStr for Principal {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once(':') {
            None => Ok(Self::User(text.parse()?)),
            Some(("user", name)) => Ok(Self::User(name.parse()?)),
            Some(("group", name)) => Ok(Self::Group(name.parse()?)),
            Some(("service", name)) => Ok(Self::Service(name.parse()?)),
            Some(_) => {
                Err(NameError::Character { found: ':', allowed: "`user:`, `group:` or `service:` as prefix" })
            }
        }
    }
}
impl TryFrom<String> for Principal {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}
impl From<Principal> for String {
    fn from(principal: Principal) -> String {
        principal.to_string()
    }
}
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(name) => write!(f, "user:{name}"),
            Self::Group(name) => write!(f, "group:{name}"),
            Self::Service(name) => write!(f, "service:{name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Result<(), NameError>) {
        assert_eq!(text.parse::<TenantId>().map(|_| ()), want, "{text:?}");
    }

    #[test]
    fn a_tenant_is_spelled_as_its_directory() {
        check("acme", Ok(()));
        check("0-acme", Ok(()));
        check("", Err(NameError::Empty));
        check("Acme", Err(NameError::Start { found: 'A', allowed: "a letter a-z or a digit" }));
        check("ac/me", Err(NameError::Character { found: '/', allowed: "a-z, 0-9 and `-`" }));
        check("асme", Err(NameError::Start { found: 'а', allowed: "a letter a-z or a digit" }));
        check("platform", Err(NameError::Reserved("platform".into())));
        check(&"a".repeat(64), Err(NameError::TooLong { len: 64, max: 63 }));
    }

    #[test]
    fn a_principal_without_a_prefix_is_a_user() {
        assert_eq!("alice".parse::<Principal>().map(|p| p.to_string()), Ok("user:alice".into()));
        assert_eq!("group:ops".parse::<Principal>().map(|p| p.to_string()), Ok("group:ops".into()));
        assert!("robot:x".parse::<Principal>().is_err());
        assert!("group:".parse::<Principal>().is_err());
    }
}
