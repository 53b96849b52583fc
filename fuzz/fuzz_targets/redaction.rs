//! Where chunks split does not change the output, and no value comes through.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tenantry::record::Redactor;
use tenantry::sops::Plaintext;

fuzz_target!(|input: (Vec<u8>, Vec<u8>, Vec<u8>, u8)| {
    let (value, before, after, cut) = input;
    let secret = Plaintext::new(value.clone());
    let name = "secret".parse().expect("a name");
    let Ok(mut whole) = Redactor::new([(name, &secret)]) else { return };
    let mut parts = Redactor::new([("secret".parse().expect("a name"), &secret)]).expect("it worked before");
    let text = [before.as_slice(), &value, &after].concat();
    let mut out = whole.push(&text);
    out.extend(whole.finish());
    let mut pieces = Vec::new();
    for chunk in text.chunks(usize::from(cut).max(1)) {
        pieces.extend(parts.push(chunk));
    }
    pieces.extend(parts.finish());
    assert_eq!(out, pieces);
    // The mark is the one text that may spell what a value spells, alone or with what stands beside it.
    let mark: &[u8] = b"[redacted:secret]";
    let mut left = out.as_slice();
    while !left.is_empty() {
        let end = left.windows(mark.len()).position(|part| part == mark).unwrap_or(left.len());
        assert!(!left[..end].windows(value.len()).any(|part| part == value));
        left = &left[(end + mark.len()).min(left.len())..];
    }
});
