//! Identities on disk: `DATA/identities/TENANT.txt`, one file a tenant, for its owner's eyes only.
#![expect(clippy::disallowed_methods, reason = "an adapter: it keeps identity files")]

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::guard::with_clean_stack;
use super::{CustodyError, Sealed, Vault, VaultError};
use crate::authz::{Permit, action};
use crate::domain::{TenantId, Timestamp};
use crate::sops::{self, Identity, Plaintext, Recipient};

/// The directory of identities.
#[derive(Clone, Debug)]
pub struct Custody {
    directory: PathBuf,
}

const IDENTITY_BYTES_MAX: u64 = 64 << 10;

impl Custody {
    /// Names the directory, usually `DATA/identities`; it need not exist yet.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// Where a tenant's identity lies.
    #[must_use]
    pub fn path(&self, tenant: &TenantId) -> PathBuf {
        // A tenant's name has no `/` and no `.`, so it cannot lead out of the directory.
        self.directory.join(format!("{tenant}.txt"))
    }

    /// Reads a tenant's identities: one, or two while a new one is taking over.
    ///
    /// # Errors
    /// There is none; or the file is not a plain file of mode 0400 that belongs to this process's user.
    pub fn identities(&self, tenant: &TenantId) -> Result<Vec<Identity>, CustodyError> {
        let path = self.path(tenant);
        let shown = path.display().to_string();
        let file =
            OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(&path);
        let file = file.map_err(|source| match source.kind() {
            ErrorKind::NotFound => CustodyError::Missing(tenant.to_string(), shown.clone()),
            _ if source.raw_os_error() == Some(libc::ELOOP) => CustodyError::Unsafe {
                path: shown.clone(),
                reason: "is a symbolic link: put the file itself there",
            },
            _ => CustodyError::Io { path: shown.clone(), source },
        })?;
        let io = |source| CustodyError::Io { path: shown.clone(), source };
        let metadata = file.metadata().map_err(io)?;
        if let Some(reason) = unsafe_because(&metadata) {
            return Err(CustodyError::Unsafe { path: shown, reason });
        }
        // Room for all of it at once: a growing text would leave copies behind.
        let mut text = Zeroizing::new(String::with_capacity(IDENTITY_BYTES_MAX as usize + 1));
        file.take(IDENTITY_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        sops::parse_identities(&text).map_err(|source| CustodyError::Unreadable { path: shown, source })
    }

    /// The public halves of a tenant's identities.
    ///
    /// # Errors
    /// As [`Custody::identities`].
    pub fn recipients(&self, tenant: &TenantId) -> Result<Vec<Recipient>, CustodyError> {
        Ok(self.identities(tenant)?.iter().map(|identity| identity.recipient().clone()).collect())
    }

    /// Makes a new identity for a tenant that has none, durable before its public half is known.
    ///
    /// # Errors
    /// There is one, or the file system refused.
    pub fn create(&self, tenant: &TenantId, now: Timestamp) -> Result<Recipient, CustodyError> {
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |source| CustodyError::Io { path, source }
        };
        std::fs::create_dir_all(&self.directory).map_err(io(&self.directory))?;
        let own = std::fs::Permissions::from_mode(0o700);
        std::fs::set_permissions(&self.directory, own).map_err(io(&self.directory))?;
        let path = self.path(tenant);
        let (text, recipient) = fresh(tenant, now, &path)?;
        // Never a moment with wider permissions, and never over a file that exists: not even a dangling link.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o400).open(&path);
        let mut file = file.map_err(|source| match source.kind() {
            ErrorKind::AlreadyExists => CustodyError::Exists(path.display().to_string()),
            _ => io(&path)(source),
        })?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(io(&path))?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(io(&self.directory))?;
        Ok(recipient)
    }

    /// Puts a new identity before the one that a tenant has, whose files still open until it is taken out by hand.
    ///
    /// # Errors
    /// There is none, or the file system refused.
    pub fn replace(&self, tenant: &TenantId, now: Timestamp) -> Result<Recipient, CustodyError> {
        // Judges the file's place and permissions.
        self.identities(tenant)?;
        let path = self.path(tenant);
        let io = |source| CustodyError::Io { path: path.display().to_string(), source };
        let known = Zeroizing::new(std::fs::read(&path).map_err(io)?);
        let (text, recipient) = fresh(tenant, now, &path)?;
        let permissions = std::fs::Permissions::from_mode(0o400);
        let mut file =
            tempfile::Builder::new().permissions(permissions).tempfile_in(&self.directory).map_err(io)?;
        file.write_all(text.as_bytes())
            .and_then(|()| {
                file.write_all(b"# the one before, which leaked: remove it once nothing needs it\n")
            })
            .and_then(|()| file.write_all(&known))
            .and_then(|()| file.as_file().sync_all())
            .map_err(io)?;
        file.persist(&path).map_err(|error| io(error.error))?;
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(io)?;
        Ok(recipient)
    }
}

/// A new identity as a file's text.
fn fresh(
    tenant: &TenantId,
    now: Timestamp,
    path: &Path,
) -> Result<(Zeroizing<String>, Recipient), CustodyError> {
    let key = age::x25519::Identity::generate();
    let secret = key.to_string();
    let public = key.to_public().to_string();
    let text = Zeroizing::new(format!(
        "# tenant: {tenant}\n# created: {now}\n# public key: {public}\n{}\n",
        age::secrecy::ExposeSecret::expose_secret(&secret)
    ));
    // INVARIANT: the spelling of a key just made is one that parses; a failure would be the library's.
    let recipient = public
        .parse()
        .map_err(|source| CustodyError::Unreadable { path: path.display().to_string(), source })?;
    Ok((text, recipient))
}

fn unsafe_because(metadata: &std::fs::Metadata) -> Option<&'static str> {
    if !metadata.is_file() {
        return Some("is not a plain file");
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Some("belongs to another user: it has to belong to the one that runs tenantry");
    }
    if metadata.mode() & 0o077 != 0 {
        return Some(
            "can be used by others: take their rights away with `chmod 0400`, and consider the key leaked",
        );
    }
    if metadata.mode() & 0o7777 != 0o400 {
        return Some("has to have mode 0400: set it with `chmod 0400`");
    }
    None
}

/// Opens secrets with the identities of one directory.
#[derive(Clone, Debug)]
pub struct FileVault {
    custody: Custody,
}

impl FileVault {
    /// Uses the identities of a directory.
    #[must_use]
    pub fn new(custody: Custody) -> Self {
        Self { custody }
    }
}

#[async_trait]
impl Vault for FileVault {
    async fn open(
        &self,
        permit: &Permit<action::ReadSecret>,
        sealed: Sealed<'_>,
        now: Timestamp,
    ) -> Result<Plaintext, VaultError> {
        let tenant = permit.tenant_at(now)?.clone();
        let (name, version) = (sealed.name.clone(), sealed.version.clone());
        let (custody, ciphertext) = (self.custody.clone(), sealed.ciphertext.to_vec());
        // Reads a file and computes: not for a thread that serves others.
        let opened = tokio::task::spawn_blocking(move || {
            with_clean_stack(|| {
                let identities = custody.identities(&tenant)?;
                let opened = sops::open(&ciphertext, &identities)?;
                Ok(opened.into_secret(&name, &version)?)
            })
        });
        opened.await.unwrap_or(Err(VaultError::Interrupted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::Standing;
    use crate::domain::Length;
    use crate::secrets::seal_fresh;
    use crate::sops::SopsError;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn permit(name: &str) -> Permit<action::ReadSecret> {
        let standing = Standing::unseen(tenant(name));
        Permit::for_lease("w1", &standing, NOW + Length::from_secs(60)).read_secret()
    }

    #[test]
    fn an_identity_is_made_once_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let custody = Custody::new(directory.path().join("identities"));
        assert!(matches!(custody.identities(&tenant("acme")), Err(CustodyError::Missing(..))));
        let public = custody.create(&tenant("acme"), NOW).unwrap();
        assert_eq!(custody.recipients(&tenant("acme")).unwrap(), [public]);
        assert!(matches!(custody.create(&tenant("acme"), NOW), Err(CustodyError::Exists(_))));
        let mode = std::fs::metadata(custody.path(&tenant("acme"))).unwrap().mode();
        assert_eq!(mode & 0o7777, 0o400);
        assert_eq!(std::fs::metadata(directory.path().join("identities")).unwrap().mode() & 0o777, 0o700);
    }

    #[track_caller]
    fn check_refused(prepare: impl FnOnce(&Path), want: &str) {
        let directory = tempfile::tempdir().unwrap();
        let custody = Custody::new(directory.path());
        custody.create(&tenant("acme"), NOW).unwrap();
        prepare(&custody.path(&tenant("acme")));
        let error = custody.identities(&tenant("acme")).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
        assert!(!error.contains("AGE-SECRET"), "{error}");
    }

    #[test]
    fn an_identity_that_others_can_use_is_refused() {
        let chmod = |mode| {
            move |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap()
        };
        check_refused(chmod(0o440), "can be used by others");
        check_refused(chmod(0o404), "can be used by others");
        check_refused(chmod(0o600), "has to have mode 0400");
        check_refused(
            |path| {
                let aside = path.with_extension("aside");
                std::fs::rename(path, &aside).unwrap();
                std::os::unix::fs::symlink(&aside, path).unwrap();
            },
            "is a symbolic link",
        );
        check_refused(
            |path| {
                std::fs::remove_file(path).unwrap();
                std::fs::create_dir_all(path).unwrap();
            },
            "is not a plain file",
        );
    }

    #[tokio::test]
    async fn a_file_opens_with_its_own_tenants_identity_only() {
        let directory = tempfile::tempdir().unwrap();
        let custody = Custody::new(directory.path());
        let acme = custody.create(&tenant("acme"), NOW).unwrap();
        custody.create(&tenant("globex"), NOW).unwrap();
        let (name, version) = ("token".parse().unwrap(), "v1".parse().unwrap());
        let value = Plaintext::new(b"0123456789abcdef".to_vec());
        let file = seal_fresh(&name, &version, &value, &[acme], NOW).unwrap();
        let sealed = Sealed { name: &name, version: &version, ciphertext: file.as_bytes() };
        let vault = FileVault::new(custody);

        let opened = vault.open(&permit("acme"), sealed, NOW).await.unwrap();
        assert_eq!(opened.expose(), value.expose());
        let other = vault.open(&permit("globex"), sealed, NOW).await.unwrap_err();
        assert!(matches!(other, VaultError::Sops(SopsError::NoDataKey(_))), "{other}");
        let nobody = vault.open(&permit("initech"), sealed, NOW).await.unwrap_err();
        assert!(matches!(nobody, VaultError::Custody(CustodyError::Missing(..))), "{nobody}");
        let late = vault.open(&permit("acme"), sealed, NOW + Length::from_secs(60)).await.unwrap_err();
        assert!(matches!(late, VaultError::Expired(_)), "{late}");
    }
}
