//! New SOPS files: fresh randomness for the data key and the nonces, and the age library for each recipient.
#![expect(clippy::disallowed_methods, reason = "an adapter: it draws randomness")]

use zeroize::Zeroizing;

use crate::domain::{SecretName, Timestamp, VersionId};
use crate::sops::{self, DataKey, Editable, IdentityError, Plaintext, Recipient, SopsError, WrappedKey};

/// Why no file was made.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The value or its name cannot be written.
    #[error(transparent)]
    Sops(#[from] SopsError),
    /// A recipient cannot be encrypted to.
    #[error(transparent)]
    Recipient(#[from] IdentityError),
    /// The system gave no randomness.
    #[error("the system gave no randomness")]
    Randomness,
}

/// Makes the SOPS file of one version, for the recipients, with a data key of its own.
///
/// # Errors
/// [`SealError`]; nothing was written anywhere.
pub fn seal_fresh(
    name: &SecretName,
    version: &VersionId,
    value: &Plaintext,
    recipients: &[Recipient],
    now: Timestamp,
) -> Result<String, SealError> {
    let mut bytes = Zeroizing::new([0; 32]);
    let mut nonces = [[0; 32]; 2];
    for part in std::iter::once(&mut *bytes).chain(&mut nonces) {
        getrandom::fill(part).map_err(|_| SealError::Randomness)?;
    }
    let key = DataKey::new(*bytes);
    let wrapped = recipients.iter().map(|to| wrap(&key, to)).collect::<Result<Vec<_>, _>>()?;
    Ok(sops::seal(name, version, value, &key, &wrapped, nonces, now)?)
}

/// An open file with the values of `plaintext`; `None` if they are what it holds. See [`Editable::edited`].
///
/// # Errors
/// [`SealError`]; nothing was written anywhere.
pub fn edit_fresh(file: &Editable, plaintext: &[u8], now: Timestamp) -> Result<Option<String>, SealError> {
    Ok(file.edited(plaintext, now, &mut nonce)?)
}

/// An open file under a fresh data key for these recipients.
///
/// # Errors
/// [`SealError`]; nothing was written anywhere.
pub fn reseal_fresh(file: &Editable, recipients: &[Recipient], now: Timestamp) -> Result<String, SealError> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *bytes).map_err(|_| SealError::Randomness)?;
    let key = DataKey::new(*bytes);
    let wrapped = recipients.iter().map(|to| wrap(&key, to)).collect::<Result<Vec<_>, _>>()?;
    Ok(file.resealed(key, &wrapped, now, &mut nonce)?)
}

fn nonce() -> Result<[u8; 32], SopsError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| SopsError::Unwritable("the system gave no randomness"))?;
    Ok(bytes)
}

fn wrap(key: &DataKey, recipient: &Recipient) -> Result<WrappedKey, IdentityError> {
    let fail = || IdentityError::Wrap(recipient.clone());
    let armored = if recipient.is_ssh() {
        let to: age::ssh::Recipient = recipient.as_str().parse().map_err(|_| fail())?;
        age::encrypt_and_armor(&to, key.expose())
    } else {
        let to: age::x25519::Recipient = recipient.as_str().parse().map_err(|_| fail())?;
        age::encrypt_and_armor(&to, key.expose())
    };
    Ok(WrappedKey { recipient: recipient.clone(), armored: armored.map_err(|_| fail())? })
}
