//! Whatever an editor sends, the language server ends only when it is told to or nobody is there any more.
#![no_main]

use std::io::Cursor;

use libfuzzer_sys::fuzz_target;

/// The texts as bodies of one frame each, behind a proper beginning; the last bytes as they are.
fn conversation(bodies: &[Vec<u8>], rest: &[u8]) -> Vec<u8> {
    let begin = br#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"capabilities":{}}}"#;
    let mut bytes = Vec::new();
    for body in std::iter::once(begin.as_slice()).chain(bodies.iter().map(Vec::as_slice)) {
        bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
        bytes.extend(body);
    }
    bytes.extend(rest);
    bytes
}

fuzz_target!(|input: (Vec<Vec<u8>>, Vec<u8>)| {
    let (bodies, rest) = input;
    let code = tenantry::lsp::serve(Cursor::new(conversation(&bodies, &rest)), std::io::sink());
    assert!(code <= 1);
});
