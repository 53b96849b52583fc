//! Whether an incoming hook was signed by whoever has the secret, and what names its delivery.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use crate::domain::{Length, Timestamp};

/// How far a signed time may lie from now, before or after. Source: design page `interfaces.md`, "HTTP".
pub const HOOK_AGE_MAX: Length = Length::from_secs(5 * 60);
/// Bytes that a secret has at least: a shorter one can be guessed, an empty one signs for everybody.
pub const HOOK_SECRET_BYTES_MIN: usize = 16;
/// Characters of a delivery's id.
const ID_CHARS_MAX: usize = 200;
/// Signatures of one request that are looked at.
const SIGNATURES_MAX: usize = 10;

/// The headers that a hook is verified by, lower case. One that stands twice counts as none.
pub const HOOK_HEADERS: [&str; 7] = [
    "webhook-id",
    "webhook-timestamp",
    "webhook-signature",
    "x-hub-signature-256",
    "x-gitea-signature",
    "x-forgejo-signature",
    "x-gitlab-token",
];

/// A request that was signed with the secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookDelivery {
    /// How it was signed: `standard`, `github`, `gitea` or `gitlab`.
    pub scheme: &'static str,
    /// Names the delivery: its signed id, or the digest of its body where the scheme signs none.
    pub key: String,
}

/// Verifies a hook's raw body against the accepted versions of its secret, in constant time for each.
///
/// The strongest scheme whose header is there decides, so that no weaker one beside it lets anybody in: Standard
/// Webhooks (also what GitLab signs with), GitHub's and Gitea's or Forgejo's HMAC over the body, GitLab's plain token.
/// `None` tells nothing about why.
///
/// Sources: the Standard Webhooks specification; GitHub, Gitea and GitLab, "validating webhook deliveries".
#[must_use]
pub fn verify_hook<'h>(
    header: &dyn Fn(&str) -> Option<&'h str>,
    body: &[u8],
    secrets: &[&[u8]],
    now: Timestamp,
) -> Option<HookDelivery> {
    let secrets: Vec<&[u8]> =
        secrets.iter().copied().filter(|secret| secret.len() >= HOOK_SECRET_BYTES_MIN).collect();
    if let Some(signatures) = header("webhook-signature") {
        let (id, time) = (header("webhook-id")?, header("webhook-timestamp")?);
        return standard(id, time, signatures, body, &secrets, now);
    }
    let digest = || {
        let mut text = String::from("sha256:");
        for byte in Sha256::digest(body) {
            // Writing to a text cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    };
    let signed = |hex_digits: &str| {
        let given = hex::decode(hex_digits).unwrap_or_default();
        any(&secrets, |secret| mac(secret, &[body]).verify_slice(&given).is_ok())
    };
    if let Some(signature) = header("x-hub-signature-256") {
        let good = signed(signature.strip_prefix("sha256=")?);
        return good.then(|| HookDelivery { scheme: "github", key: digest() });
    }
    if let Some(signature) = header("x-gitea-signature").or_else(|| header("x-forgejo-signature")) {
        return signed(signature).then(|| HookDelivery { scheme: "gitea", key: digest() });
    }
    let token = header("x-gitlab-token")?;
    // Two MACs of one text are compared, so that neither length nor content of the secret shows in the time.
    let given = mac(token.as_bytes(), &[b"token"]).finalize().into_bytes();
    let good = any(&secrets, |secret| mac(secret, &[b"token"]).verify_slice(&given).is_ok());
    good.then(|| HookDelivery { scheme: "gitlab", key: digest() })
}

/// `HMAC(key, id.timestamp.body)`; the header holds several signatures while the sender's key is rotated.
fn standard(
    id: &str,
    time: &str,
    signatures: &str,
    body: &[u8],
    secrets: &[&[u8]],
    now: Timestamp,
) -> Option<HookDelivery> {
    let plain = |c: char| c.is_ascii_graphic();
    if id.is_empty() || id.len() > ID_CHARS_MAX || !id.chars().all(plain) {
        return None;
    }
    let seconds: i64 = Some(time).filter(|time| time.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
    let at = Timestamp::from_millis(seconds.checked_mul(1000)?);
    let apart = if at > now { at.since(now) } else { now.since(at) };
    let given: Vec<Vec<u8>> = signatures
        .split(' ')
        .filter_map(|one| STANDARD.decode(one.strip_prefix("v1,")?).ok())
        .take(SIGNATURES_MAX)
        .collect();
    let parts = [id.as_bytes(), b".", time.as_bytes(), b".", body];
    let good = any(secrets, |secret| {
        let key = standard_key(secret);
        any(&given, |given| mac(&key, &parts).verify_slice(given).is_ok())
    });
    (good && apart <= HOOK_AGE_MAX).then(|| HookDelivery { scheme: "standard", key: format!("id:{id}") })
}

/// A secret is written `whsec_BASE64` by those who follow the specification; others mean its bytes.
fn standard_key(secret: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(secret).ok().and_then(|text| text.trim_end().strip_prefix("whsec_"));
    let decoded = text.and_then(|text| STANDARD.decode(text).ok());
    decoded.filter(|key| key.len() >= HOOK_SECRET_BYTES_MIN).unwrap_or_else(|| secret.to_vec())
}

fn mac(key: &[u8], parts: &[&[u8]]) -> Hmac<Sha256> {
    // INVARIANT: HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap_or_else(|_| unreachable!());
    parts.iter().for_each(|part| mac.update(part));
    mac
}

/// Whether one of several holds, having looked at all of them.
fn any<T>(all: &[T], holds: impl Fn(&T) -> bool) -> bool {
    all.iter().fold(false, |found, one| holds(one) | found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const SECRET: &[u8] = b"It's a Secret to Everybody";
    const NOW: Timestamp = Timestamp::from_millis(1_614_265_330_000);

    fn verified(headers: &[(&str, &str)], body: &[u8], secrets: &[&[u8]], now: Timestamp) -> Option<String> {
        let headers: BTreeMap<&str, &str> = headers.iter().copied().collect();
        let found = verify_hook(&|name| headers.get(name).copied(), body, secrets, now)?;
        Some(format!("{} {}", found.scheme, found.key))
    }

    fn hex_mac(secret: &[u8], body: &[u8]) -> String {
        hex::encode(mac(secret, &[body]).finalize().into_bytes())
    }

    /// The vector of GitHub's page "Validating webhook deliveries".
    const HELLO: &[u8] = b"Hello, World!";
    const HELLO_MAC: &str = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    const HELLO_KEY: &str = "sha256:dffd6021bb2bd5b0af676290809ec3a53191dd81c7f70a4b28688a362182986f";
    const OTHER: &[u8] = b"another secret of some length";

    #[test]
    fn what_forges_sign_is_accepted_with_any_accepted_version() {
        let hub = format!("sha256={HELLO_MAC}");
        let shouted = format!("sha256={}", HELLO_MAC.to_uppercase());
        for (header, value, scheme) in [
            ("x-hub-signature-256", hub.as_str(), "github"),
            ("x-hub-signature-256", &shouted, "github"),
            ("x-gitea-signature", HELLO_MAC, "gitea"),
            ("x-forgejo-signature", HELLO_MAC, "gitea"),
            ("x-gitlab-token", "It's a Secret to Everybody", "gitlab"),
        ] {
            let want = Some(format!("{scheme} {HELLO_KEY}"));
            for secrets in [vec![SECRET], vec![OTHER, SECRET], vec![SECRET, OTHER]] {
                assert_eq!(verified(&[(header, value)], HELLO, &secrets, NOW), want, "{header}");
            }
            for (body, secrets) in [(HELLO, vec![OTHER]), (HELLO, vec![])] {
                assert_eq!(verified(&[(header, value)], body, &secrets, NOW), None, "{header}");
            }
            if header != "x-gitlab-token" {
                assert_eq!(verified(&[(header, value)], b"Hello, World", &[SECRET], NOW), None);
            }
        }
    }

    #[test]
    fn anything_else_is_not() {
        let short: &[u8] = b"short";
        let by_short = format!("sha256={}", hex_mac(short, HELLO));
        let by_nothing = format!("sha256={}", hex_mac(b"", HELLO));
        for (headers, secrets) in [
            (vec![], vec![SECRET]),
            (vec![("x-hub-signature-256", "")], vec![SECRET]),
            (vec![("x-hub-signature-256", "sha256=")], vec![SECRET]),
            (vec![("x-hub-signature-256", HELLO_MAC)], vec![SECRET]),
            (vec![("x-hub-signature-256", &HELLO_MAC[..62])], vec![SECRET]),
            (vec![("x-hub-signature", "sha1=x")], vec![SECRET]),
            (vec![("x-hub-signature-256", by_short.as_str())], vec![short]),
            (vec![("x-hub-signature-256", by_nothing.as_str())], vec![&b""[..]]),
            (vec![("x-gitlab-token", "")], vec![&b""[..]]),
            (vec![("x-gitlab-token", "It's a Secret to Everybod")], vec![SECRET]),
            // A weaker scheme beside a stronger one that fails lets nobody in.
            (vec![("x-hub-signature-256", "sha256=00"), ("x-gitea-signature", HELLO_MAC)], vec![SECRET]),
            (
                vec![("webhook-signature", "v1,AA=="), ("x-gitlab-token", "It's a Secret to Everybody")],
                vec![SECRET],
            ),
        ] {
            assert_eq!(verified(&headers, HELLO, &secrets, NOW), None, "{headers:?}");
        }
    }

    /// The example of the Standard Webhooks specification and its reference libraries.
    const WHSEC: &[u8] = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    #[track_caller]
    fn check(id: &str, time: &str, signatures: &str, secrets: &[&[u8]], at: i64, want: bool) {
        let headers = [("webhook-id", id), ("webhook-timestamp", time), ("webhook-signature", signatures)];
        let got = verified(&headers, BODY, secrets, Timestamp::from_millis(at));
        assert_eq!(got, want.then(|| format!("standard id:{ID}")));
    }

    #[test]
    fn standard_webhooks_sign_id_and_time() {
        let (time, now) = ("1614265330", 1_614_265_330_000);
        check(ID, time, SIGNATURE, &[WHSEC], now, true);
        check(ID, time, &format!("v1,AAAA v1a,xyz {SIGNATURE}"), &[OTHER, WHSEC], now, true);
        check(ID, time, SIGNATURE, &[OTHER], now, false);
        check(ID, time, &SIGNATURE.replace("v1,", "v2,"), &[WHSEC], now, false);
        check(ID, "1614265331", SIGNATURE, &[WHSEC], now, false);
        check("msg_other", time, SIGNATURE, &[WHSEC], now, false);
        for (apart, want) in [(300_000, true), (300_001, false), (-300_000, true), (-300_001, false)] {
            check(ID, time, SIGNATURE, &[WHSEC], now + apart, want);
        }
        for odd in ["", "-1", "1614265330.0", "99999999999999999999", "+1614265330"] {
            check(ID, odd, SIGNATURE, &[WHSEC], now, false);
        }
        check("", time, SIGNATURE, &[WHSEC], now, false);
        check("a b", time, SIGNATURE, &[WHSEC], now, false);
        // A secret that is not written so is taken as it is.
        let parts = [ID.as_bytes(), b".", time.as_bytes(), b".", BODY];
        let plain = format!("v1,{}", STANDARD.encode(mac(OTHER, &parts).finalize().into_bytes()));
        check(ID, time, &plain, &[OTHER], now, true);
    }
}
