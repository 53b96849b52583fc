//! Any bytes are read as every store, or refused; what is read can be printed, and reads back to the same values, where
//! no comment moves to the same text.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tenantry::sops::{self, Format, Identity};

static IDENTITIES: LazyLock<Vec<Identity>> = LazyLock::new(|| {
    sops::parse_identities(include_str!("../../tests/sops-vectors/vectors/keys/acme.agekey")).expect("a vector's key")
});

fuzz_target!(|input: (u8, &[u8])| {
    let format = Format::ALL[usize::from(input.0) % Format::ALL.len()];
    let bytes = input.1;
    let _ = sops::open_as(bytes, format, &IDENTITIES);
    let Ok(documents) = sops::plain(bytes, format) else { return };
    let Ok(first) = sops::print(&documents, format) else { return };
    // INI loses what its writer cannot spell, as it does in sops.
    if format == Format::Ini {
        return;
    }
    let again = sops::plain(&first, format).expect("what was printed is read");
    let values = |documents| sops::print(documents, Format::Json).ok().map(|text| text.to_vec());
    assert_eq!(values(&documents), values(&again));
    let second = sops::print(&again, format).expect("what was read is printed");
    // A comment at the head of a nested list goes up by one dash each time, as it does in sops.
    if !first.contains(&b'#') {
        assert_eq!(*first, *second);
    }
});
