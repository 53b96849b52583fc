//! Any bytes are read into a tree whose spans lie in the text, or refused in place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tenantry::yaml::{self, Budget, Kind, Node};

fn check(node: &Node, text: &str) {
    assert!(text.get(node.span.start.offset..node.span.end.offset).is_some(), "{:?}", node.span);
    match &node.kind {
        Kind::Scalar { .. } => {}
        Kind::Sequence(items) => items.iter().for_each(|item| check(item, text)),
        Kind::Mapping(entries) => entries.iter().for_each(|(key, value)| {
            check(key, text);
            check(value, text);
        }),
    }
}

fuzz_target!(|bytes: &[u8]| {
    match (yaml::parse(bytes, &Budget::default()), std::str::from_utf8(bytes)) {
        (Ok(documents), Ok(text)) => documents.iter().for_each(|document| check(&document.root, text)),
        (Ok(_), Err(_)) => panic!("read what is no UTF-8"),
        (Err(problem), _) => assert!(problem.span.end.offset <= bytes.len()),
    }
});
