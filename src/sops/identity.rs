//! Who can open a file: private identities and the recipients that stand for them in public.

use std::fmt;
use std::io::Read;
use std::str::FromStr;

use age::armor::ArmoredReader;
use age::ssh;
use age::x25519;
use zeroize::Zeroizing;

use super::IdentityError;

/// A private key: age X25519, or an ssh-ed25519 key that needs no passphrase, or no longer.
///
/// Its `Debug` shows the public half.
pub struct Identity {
    key: PrivateKey,
    recipient: Recipient,
}

enum PrivateKey {
    X25519(x25519::Identity),
    // Boxed: it is several times larger than the other.
    Ssh(Box<ssh::Identity>),
}

/// A key, or a file of keys, that a passphrase protects.
pub struct Locked(LockedKind);

enum LockedKind {
    Ssh { key: Box<ssh::EncryptedKey>, recipient: Recipient },
    File(Zeroizing<Vec<u8>>),
}

impl fmt::Debug for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            LockedKind::Ssh { recipient, .. } => write!(f, "Locked({recipient})"),
            LockedKind::File(bytes) => write!(f, "Locked({} bytes)", bytes.len()),
        }
    }
}

impl Locked {
    /// Takes an age file with identities in it; `None` if the text is none.
    #[must_use]
    pub fn identity_file(bytes: &[u8]) -> Option<Self> {
        let text = bytes.trim_ascii_start();
        let starts = [b"-----BEGIN AGE ENCRYPTED FILE-----".as_slice(), b"age-encryption.org/v1\n"];
        let is_age = starts.iter().any(|start| text.starts_with(start));
        is_age.then(|| Self(LockedKind::File(Zeroizing::new(text.to_vec()))))
    }

    /// The public half, where it is known before the key is open: a file need not be asked for in vain.
    #[must_use]
    pub fn recipient(&self) -> Option<&Recipient> {
        match &self.0 {
            LockedKind::Ssh { recipient, .. } => Some(recipient),
            LockedKind::File(_) => None,
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// `WrongPassphrase`, or what is wrong with what it holds.
    pub fn unlock(&self, passphrase: &str) -> Result<Vec<Identity>, IdentityError> {
        let passphrase = age::secrecy::SecretString::from(passphrase.to_owned());
        match &self.0 {
            LockedKind::Ssh { key, .. } => {
                let key = key.decrypt(passphrase).map_err(|_| IdentityError::WrongPassphrase)?;
                Ok(vec![Identity::of_ssh(ssh::Identity::Unencrypted(key))?])
            }
            LockedKind::File(bytes) => {
                let wrong = |_| IdentityError::WrongPassphrase;
                let key = age::scrypt::Identity::new(passphrase);
                let reader = ArmoredReader::new(bytes.as_slice());
                let decryptor = age::Decryptor::new_buffered(reader).map_err(wrong)?;
                let reader = decryptor.decrypt(std::iter::once(&key as &dyn age::Identity)).map_err(wrong)?;
                let mut text = Zeroizing::new(String::with_capacity(bytes.len()));
                let io = |_| IdentityError::Malformed { line: 1 };
                reader.take(bytes.len() as u64).read_to_string(&mut text).map_err(io)?;
                parse_identities(&text)
            }
        }
    }
}

/// A public key, in the one spelling that files and settings use: `age1…` or `ssh-ed25519 AAAA…` without comment.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Recipient(String);

impl Recipient {
    /// The spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a key that may also sign commits: an SSH key.
    #[must_use]
    pub fn is_ssh(&self) -> bool {
        self.0.starts_with("ssh-")
    }
}

impl FromStr for Recipient {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let text = text.trim();
        let shown = || IdentityError::Recipient(text.chars().take(120).collect());
        if let Some(kind) = refused_recipient(text) {
            return Err(IdentityError::Refused(kind));
        }
        if text.starts_with("ssh-ed25519 ") {
            let mut words = text.split_whitespace();
            let key = format!("{} {}", words.next().unwrap_or_default(), words.next().unwrap_or_default());
            key.parse::<ssh::Recipient>().map_err(|_| shown())?;
            return Ok(Self(key));
        }
        text.parse::<x25519::Recipient>().map(|key| Self(key.to_string())).map_err(|_| shown())
    }
}

/// The kind of a recipient that is refused for good; a plugin's has its name between `age1` and the last `1`.
fn refused_recipient(text: &str) -> Option<&'static str> {
    if text.starts_with("ssh-rsa") {
        return Some("ssh-rsa");
    }
    let plugin = text.strip_prefix("age1").is_some_and(|rest| rest.contains('1'));
    plugin.then_some("age plugin")
}

impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}
impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", self.recipient)
    }
}

impl Identity {
    /// Reads one age identity, `AGE-SECRET-KEY-1…`.
    ///
    /// # Errors
    /// [`IdentityError`]; never with the text.
    pub fn x25519(text: &str) -> Result<Self, IdentityError> {
        if text.starts_with("AGE-PLUGIN-") {
            return Err(IdentityError::Refused("age plugin"));
        }
        let key: x25519::Identity = text.parse().map_err(|_| IdentityError::Malformed { line: 1 })?;
        let recipient = Recipient(key.to_public().to_string());
        Ok(Self { key: PrivateKey::X25519(key), recipient })
    }

    /// Reads an SSH private key as `ssh-keygen` writes it.
    ///
    /// # Errors
    /// A key with a passphrase, an ssh-rsa or hardware key, or a text that is no key.
    pub fn ssh(text: &str) -> Result<Self, IdentityError> {
        Self::ssh_or_locked(text)?.map_err(|_| IdentityError::Passphrase)
    }

    /// Reads an SSH private key, with or without a passphrase.
    ///
    /// # Errors
    /// An ssh-rsa or hardware key, or a text that is no key.
    pub fn ssh_or_locked(text: &str) -> Result<Result<Self, Locked>, IdentityError> {
        let key = ssh::Identity::from_buffer(text.as_bytes(), None).map_err(|_| IdentityError::Ssh)?;
        match key {
            ssh::Identity::Unencrypted(_) => Self::of_ssh(key).map(Ok),
            ssh::Identity::Unsupported(_) => Err(IdentityError::Refused("other SSH")),
            ssh::Identity::Encrypted(inner) => {
                let recipient = public_half(&ssh::Identity::Encrypted(inner.clone()))?;
                Ok(Err(Locked(LockedKind::Ssh { key: Box::new(inner), recipient })))
            }
        }
    }

    fn of_ssh(key: ssh::Identity) -> Result<Self, IdentityError> {
        let recipient = public_half(&key)?;
        Ok(Self { key: PrivateKey::Ssh(Box::new(key)), recipient })
    }

    /// Its public half.
    #[must_use]
    pub fn recipient(&self) -> &Recipient {
        &self.recipient
    }

    /// Opens an armored age file of at most 4 KiB, which is what a wrapped data key is; `None` if it is not for this identity.
    pub(super) fn unwrap(&self, armored: &str) -> Option<Zeroizing<Vec<u8>>> {
        const WRAPPED_BYTES_MAX: u64 = 4096;
        let decryptor = age::Decryptor::new(ArmoredReader::new(armored.as_bytes())).ok()?;
        let key: &dyn age::Identity = match &self.key {
            PrivateKey::X25519(key) => key,
            PrivateKey::Ssh(key) => key.as_ref(),
        };
        let reader = decryptor.decrypt(std::iter::once(key)).ok()?;
        // Room for all of it at once: a growing buffer would leave copies behind.
        let mut opened = Zeroizing::new(Vec::with_capacity(4096));
        reader.take(WRAPPED_BYTES_MAX).read_to_end(&mut opened).ok()?;
        Some(opened)
    }
}

/// Refuses ssh-rsa as well: the library would open it, with arithmetic that leaks its timing.
fn public_half(key: &ssh::Identity) -> Result<Recipient, IdentityError> {
    let public = ssh::Recipient::try_from(key.clone()).map_err(|_| IdentityError::Ssh)?;
    public.to_string().parse()
}

/// Reads an identity file: one age identity a line, `#` comments and empty lines between.
///
/// # Errors
/// The first line that is no usable identity, or that there is none.
pub fn parse_identities(text: &str) -> Result<Vec<Identity>, IdentityError> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let identity = Identity::x25519(line).map_err(|error| match error {
            IdentityError::Malformed { .. } => IdentityError::Malformed { line: index + 1 },
            other => other,
        })?;
        found.push(identity);
    }
    if found.is_empty() { Err(IdentityError::Empty) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACME: &str = include_str!("../../tests/sops-vectors/vectors/keys/acme.agekey");
    const SSH: &str = include_str!("../../tests/sops-vectors/vectors/keys/ssh_ed25519");
    const SSH_PUBLIC: &str = include_str!("../../tests/sops-vectors/vectors/keys/ssh_ed25519.pub");

    #[test]
    fn an_identity_shows_its_public_half_only() {
        let identity = &parse_identities(ACME).unwrap()[0];
        let public = ACME.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap();
        assert_eq!(identity.recipient().as_str(), public);
        assert_eq!(format!("{identity:?}"), format!("Identity({public})"));
        let ssh = Identity::ssh(SSH).unwrap();
        assert_eq!(*ssh.recipient(), SSH_PUBLIC.parse().unwrap());
        assert!(ssh.recipient().is_ssh());
    }

    #[test]
    fn an_unusable_identity_is_refused_without_its_text() {
        let broken = ACME.replace("AGE-SECRET-KEY-1", "AGE-SECRET-KEY-1X");
        let error = parse_identities(&broken).unwrap_err();
        assert_eq!(error, IdentityError::Malformed { line: 3 });
        assert_eq!(parse_identities("# nothing\n\n").unwrap_err(), IdentityError::Empty);
        assert_eq!(
            parse_identities("AGE-PLUGIN-YUBIKEY-1QQQ").unwrap_err(),
            IdentityError::Refused("age plugin")
        );
        assert_eq!(Identity::ssh("-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap_err(), IdentityError::Ssh);
    }

    #[test]
    fn a_recipient_has_one_spelling() {
        let with_comment = format!("  {} alice@laptop ", SSH_PUBLIC.trim());
        let plain: Recipient = SSH_PUBLIC.parse().unwrap();
        assert_eq!(with_comment.parse::<Recipient>().unwrap(), plain);
        assert_eq!(plain.as_str().split(' ').count(), 2);
        let refused = |text: &str| text.parse::<Recipient>().unwrap_err().to_string();
        assert!(refused("ssh-rsa AAAAB3NzaC1yc2E").starts_with("ssh-rsa keys are refused"));
        assert!(refused("age1yubikey1qwertz").starts_with("age plugin keys are refused"));
        assert!(refused("age1qqqq").contains("is not an age recipient"));
        assert!(refused("ssh-ed25519 AAAA").contains("is not an age recipient"));
    }
}
