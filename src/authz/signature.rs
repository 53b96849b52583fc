//! SSH signatures: which key signed these very bytes. Pure; whether the key is known, and for what, is asked elsewhere.

use ssh_key::{PublicKey, SshSig};

/// What Git signs commits for. Source: gitformat-signature(5).
const COMMIT: &str = "git";
/// Bytes of an armoured signature: those of a security key have about 700.
const ARMOUR_BYTES_MAX: usize = 16 * 1024;

/// The public key, in base64 as `people.yaml` writes it, that signed a commit; `payload` is the commit without its
/// signature.
///
/// `None` for a signature that is not over these bytes, is for something else, is no SSH signature (PGP, X.509), or
/// was made by a kind of key that is not taken: Ed25519 and NIST P-256, also on security keys.
#[must_use]
pub fn commit_signer(armour: &[u8], payload: &[u8]) -> Option<String> {
    if armour.len() > ARMOUR_BYTES_MAX {
        return None;
    }
    let signature = SshSig::from_pem(armour).ok()?;
    let key = PublicKey::from(signature.public_key().clone());
    key.verify(COMMIT, payload, &signature).ok()?;
    let text = key.to_openssh().ok()?;
    text.split(' ').nth(1).map(str::to_owned)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests: sign with the real ssh-keygen")]
mod tests {
    use std::path::Path;
    use std::process::Command;

    use super::*;

    fn keygen(arguments: &[&str], at: &Path) {
        let done = Command::new("ssh-keygen").args(arguments).current_dir(at).output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// A signature by a fresh key of a kind, and the key's public half.
    fn signed(kind: &[&str], namespace: &str, payload: &[u8]) -> (Vec<u8>, String) {
        let home = tempfile::tempdir().unwrap();
        keygen(&[kind, &["-q", "-N", "", "-f", "key"]].concat(), home.path());
        std::fs::write(home.path().join("payload"), payload).unwrap();
        keygen(&["-q", "-Y", "sign", "-n", namespace, "-f", "key", "payload"], home.path());
        let public = std::fs::read_to_string(home.path().join("key.pub")).unwrap();
        let armour = std::fs::read(home.path().join("payload.sig")).unwrap();
        (armour, public.split(' ').nth(1).unwrap().to_owned())
    }

    const PAYLOAD: &[u8] = b"tree 1111\nauthor a\n\nword\n";

    #[test]
    fn a_signature_names_the_key_that_made_it() {
        for kind in [&["-t", "ed25519"][..], &["-t", "ecdsa", "-b", "256"]] {
            let (armour, key) = signed(kind, "git", PAYLOAD);
            assert_eq!(commit_signer(&armour, PAYLOAD), Some(key), "{kind:?}");
        }
    }

    #[test]
    fn a_signature_over_anything_else_names_nobody() {
        let (armour, _) = signed(&["-t", "ed25519"], "git", PAYLOAD);
        for at in 0..PAYLOAD.len() {
            let mut payload = PAYLOAD.to_vec();
            payload[at] ^= 1;
            assert_eq!(commit_signer(&armour, &payload), None, "byte {at}");
        }
        assert_eq!(commit_signer(&armour, b""), None);
        let (other, _) = signed(&["-t", "ed25519"], "file", PAYLOAD);
        assert_eq!(commit_signer(&other, PAYLOAD), None, "signed for something else");
        // Each byte of the armour matters, or is no part of it.
        let whole = commit_signer(&armour, PAYLOAD);
        for at in 0..armour.len() {
            let mut altered = armour.clone();
            altered[at] ^= 1;
            let got = commit_signer(&altered, PAYLOAD);
            assert!(got.is_none() || got == whole, "byte {at}");
        }
    }

    #[test]
    fn what_is_no_signature_is_none() {
        for text in [
            "",
            "-----BEGIN PGP SIGNATURE-----\n\nabc\n-----END PGP SIGNATURE-----\n",
            "-----BEGIN SSH SIGNATURE-----\n",
        ] {
            assert_eq!(commit_signer(text.as_bytes(), PAYLOAD), None, "{text}");
        }
        assert_eq!(commit_signer(&vec![b'-'; ARMOUR_BYTES_MAX + 1], PAYLOAD), None);
    }
}
