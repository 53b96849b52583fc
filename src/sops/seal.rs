//! A new file with one version of a secret, made from public keys alone. Its values open with `sops -d`.

use sha2::{Digest, Sha512};

use super::{DataKey, Plaintext, Recipient, SopsError, cipher};
use crate::domain::{SecretName, Timestamp, VersionId};
use crate::yaml::written;

/// A data key encrypted to one recipient: an armored age file.
#[derive(Clone, Debug)]
pub struct WrappedKey {
    /// For whom.
    pub recipient: Recipient,
    /// `-----BEGIN AGE ENCRYPTED FILE-----` and so on.
    pub armored: String,
}

/// The version of sops whose format is written; readers of that age or newer take it.
const FORMAT: &str = "3.11.0";

/// Writes `{NAME: {VERSION: value}}` as a SOPS file.
///
/// `nonces` are fresh random bytes, one for the value and one for the MAC; `data_key` is fresh as well and is
/// what each of `wrapped` holds.
///
/// # Errors
/// An empty value, which sops leaves unencrypted; nobody to encrypt to; a secret called `sops`, whose key would
/// be that of the metadata.
pub fn seal(
    name: &SecretName,
    version: &VersionId,
    value: &Plaintext,
    data_key: &DataKey,
    wrapped: &[WrappedKey],
    nonces: [[u8; 32]; 2],
    now: Timestamp,
) -> Result<String, SopsError> {
    if value.is_empty() {
        return Err(SopsError::Unwritable("an empty value cannot be encrypted"));
    }
    if wrapped.is_empty() {
        return Err(SopsError::Unwritable("there is no recipient to encrypt to"));
    }
    if name.as_str() == "sops" {
        return Err(SopsError::Unwritable(
            "a secret cannot be called `sops`: SOPS files use that key themselves",
        ));
    }
    let now = Timestamp::from_millis(now.as_millis() - now.as_millis().rem_euclid(1000)).to_string();
    let fail = SopsError::Unwritable;
    let place = format!("{name}:{version}:");
    let encrypted = cipher::encrypt(value.expose(), "str", data_key, &place, nonces[0]).map_err(fail)?;
    let hash = Sha512::digest(value.expose());
    let hash = hex::encode_upper(hash);
    let mac = cipher::encrypt(hash.as_bytes(), "str", data_key, &now, nonces[1]).map_err(fail)?;
    let mut text = format!(
        "{}:\n    {}: {encrypted}\nsops:\n    age:\n",
        written(name.as_str()),
        written(version.as_str())
    );
    for way in wrapped {
        text.push_str(&format!("        - recipient: {}\n          enc: |\n", way.recipient));
        for line in way.armored.lines() {
            text.push_str(&format!("            {line}\n"));
        }
    }
    text.push_str(&format!("    lastmodified: \"{now}\"\n    mac: {mac}\n"));
    // The usual rule would leave out a name that ends as plaintext names do.
    let usual = [name.as_str(), version.as_str()].iter().all(|key| !key.ends_with("_unencrypted"));
    text.push_str(if usual { "    unencrypted_suffix: _unencrypted\n" } else { "    encrypted_regex: ^\n" });
    text.push_str(&format!("    version: {FORMAT}\n"));
    Ok(text)
}
