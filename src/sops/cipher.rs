//! One value: `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`. Nonces have 32 bytes (12 in files by other writers);
//! the additional data are the keys above the value, each followed by `:`, without list indexes.

use aes_gcm::aead::consts::{U12, U32};
use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce, Tag};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::{Zeroize, Zeroizing};

use super::value::LeafKind;

/// The key that encrypts the values of one file: 32 bytes, overwritten when dropped.
pub struct DataKey(Zeroizing<[u8; 32]>);

impl DataKey {
    /// Takes fresh random bytes (to write) or what the recipients' stanzas held (to read).
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, to wrap them for a recipient.
    #[must_use]
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DataKey")
    }
}

/// The kind of a decrypted value, or a comment, which sops encrypts as if it were one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CipherKind {
    Leaf(LeafKind),
    Comment,
}

/// The parts of an encrypted value.
pub(super) struct Encrypted {
    data: Vec<u8>,
    nonce: Vec<u8>,
    tag: Vec<u8>,
    kind: CipherKind,
}

/// Whether a text is written as an encrypted value is; says nothing of whether it opens.
pub(super) fn looks_encrypted(text: &str) -> bool {
    split(text).is_some()
}

/// Splits as sops does: each part reaches as far as it can, and what follows the last `]` is ignored.
fn split(text: &str) -> Option<[&str; 4]> {
    let body = text.strip_prefix("ENC[AES256_GCM,data:")?;
    if body.contains('\n') {
        return None;
    }
    let (body, _) = body.rsplit_once(']')?;
    let (body, kind) = body.rsplit_once(",type:")?;
    let (body, tag) = body.rsplit_once(",tag:")?;
    let (data, nonce) = body.rsplit_once(",iv:")?;
    let parts = [data, nonce, tag, kind];
    parts.iter().all(|part| !part.is_empty()).then_some(parts)
}

pub(super) fn parse(text: &str) -> Result<Encrypted, &'static str> {
    let [data, nonce, tag, kind] = split(text).ok_or("is not encrypted")?;
    let decode = |part: &str| STANDARD.decode(part).map_err(|_| "is not valid base64 inside");
    let kind = match kind {
        "str" => CipherKind::Leaf(LeafKind::Text),
        "int" => CipherKind::Leaf(LeafKind::Int),
        "float" => CipherKind::Leaf(LeafKind::Float),
        "bool" => CipherKind::Leaf(LeafKind::Bool),
        "time" => CipherKind::Leaf(LeafKind::Time),
        "bytes" => CipherKind::Leaf(LeafKind::Bytes),
        "comment" => CipherKind::Comment,
        _ => return Err("has an unknown type"),
    };
    Ok(Encrypted { data: decode(data)?, nonce: decode(nonce)?, tag: decode(tag)?, kind })
}

impl Encrypted {
    pub(super) fn kind(&self) -> CipherKind {
        self.kind
    }

    /// Gives the plaintext only if it was written with this key at this place.
    pub(super) fn decrypt(&self, key: &DataKey, place: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
        const FAILED: &str = "does not open with the file's data key at this place";
        let tag = <[u8; 16]>::try_from(self.tag.as_slice()).map_err(|_| FAILED)?;
        let tag = Tag::from(tag);
        // Decrypts in place: the buffer holds nothing else before, and is overwritten when dropped.
        let mut buffer = Zeroizing::new(self.data.clone());
        let (key, place) = (key.expose().into(), place.as_bytes());
        let done = match self.nonce.len() {
            32 => {
                let nonce = Nonce::<U32>::try_from(self.nonce.as_slice()).map_err(|_| FAILED)?;
                let cipher = AesGcm::<Aes256, U32>::new(key);
                cipher.decrypt_inout_detached(&nonce, place, buffer.as_mut_slice().into(), &tag)
            }
            12 => {
                let nonce = Nonce::<U12>::try_from(self.nonce.as_slice()).map_err(|_| FAILED)?;
                let cipher = AesGcm::<Aes256, U12>::new(key);
                cipher.decrypt_inout_detached(&nonce, place, buffer.as_mut_slice().into(), &tag)
            }
            _ => return Err("has a nonce that is neither 32 nor 12 bytes long"),
        };
        done.map_err(|_| FAILED)?;
        Ok(buffer)
    }
}

/// Writes one value; `kind` is the word that `type:` takes.
pub(super) fn encrypt(
    plaintext: &[u8],
    kind: &str,
    key: &DataKey,
    place: &str,
    nonce: [u8; 32],
) -> Result<String, &'static str> {
    let mut buffer = plaintext.to_vec();
    let cipher = AesGcm::<Aes256, U32>::new(key.expose().into());
    let tag = cipher.encrypt_inout_detached(&nonce.into(), place.as_bytes(), buffer.as_mut_slice().into());
    let Ok(tag) = tag else {
        buffer.zeroize();
        return Err("the value is too long to encrypt");
    };
    let (data, nonce, tag) = (STANDARD.encode(&buffer), STANDARD.encode(nonce), STANDARD.encode(tag));
    Ok(format!("ENC[AES256_GCM,data:{data},iv:{nonce},tag:{tag},type:{kind}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_opens_at_its_place_with_its_key_only() {
        let key = DataKey::new([7; 32]);
        let text = encrypt(b"hunter2", "str", &key, "db:password:", [9; 32]).unwrap();
        let value = parse(&text).unwrap();
        assert_eq!(value.kind(), CipherKind::Leaf(LeafKind::Text));
        assert_eq!(value.decrypt(&key, "db:password:").unwrap().as_slice(), b"hunter2");
        assert!(value.decrypt(&key, "db:user:").is_err());
        assert!(value.decrypt(&DataKey::new([8; 32]), "db:password:").is_err());
        for (at, byte) in text.bytes().enumerate() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if byte == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            let opened = parse(&changed).and_then(|value| value.decrypt(&key, "db:password:"));
            // Only the type's word stands outside the ciphertext: the MAC guards it.
            assert!(opened.is_err() || at >= text.len() - 5, "byte {at}: {changed}");
        }
    }

    #[test]
    fn parts_are_split_as_sops_does() {
        assert!(looks_encrypted("ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]"));
        assert!(looks_encrypted("ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str] trailing"));
        for text in [
            "",
            "ENC[AES256_GCM,data:,iv:AA==,tag:AA==,type:str]",
            "ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str",
            "ENC[AES256_GCM,data:AA==,tag:AA==,type:str]",
            " ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:str]",
            "ENC[AES256_GCM,data:A\nA==,iv:AA==,tag:AA==,type:str]",
        ] {
            assert!(!looks_encrypted(text), "{text:?}");
        }
        assert!(parse("ENC[AES256_GCM,data:AA==,iv:AA==,tag:AA==,type:what]").is_err());
        assert!(parse("ENC[AES256_GCM,data:*,iv:AA==,tag:AA==,type:str]").is_err());
    }
}
