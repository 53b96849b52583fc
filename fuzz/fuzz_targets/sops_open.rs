//! Any bytes are opened, inspected or refused; what opens is what a key made.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tenantry::sops::{self, Identity};

static IDENTITIES: LazyLock<Vec<Identity>> = LazyLock::new(|| {
    sops::parse_identities(include_str!("../../tests/sops-vectors/vectors/keys/acme.agekey")).expect("a vector's key")
});

fuzz_target!(|bytes: &[u8]| {
    let inspected = sops::inspect(bytes);
    if let Ok(opened) = sops::open(bytes, &IDENTITIES) {
        assert!(inspected.is_ok_and(|seen| seen.mac.is_some()), "opened without a MAC");
        let _ = (sops::yaml(&opened.documents), opened.documents.first().map(sops::json));
    }
});
