//! Messages on a pipe: framed by their length, read within bounds, and never the end of the server.
//!
//! What cannot be read is answered and passed over: an editor that sends one bad message still has its
//! diagnostics afterwards. Nothing of a message is quoted in an answer to it.

use std::io::{self, BufRead, Read as _, Write};

use serde_json::{Value, json};

/// Bytes of one message; a file is read up to 1 MiB, and JSON may write each of its bytes as six.
pub const MESSAGE_BYTES_MAX: u64 = 16 << 20;
/// Bytes of one header line.
const HEADER_BYTES_MAX: u64 = 4 << 10;

/// What came in one frame.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// Wants an answer.
    Request {
        /// A number or text, given back with the answer.
        id: Value,
        /// Which.
        method: String,
        /// `null` where there are none.
        params: Value,
    },
    /// Wants none.
    Notification {
        /// Which.
        method: String,
        /// `null` where there are none.
        params: Value,
    },
    /// Answers a request of ours.
    Response,
    /// Cannot be understood.
    Malformed {
        /// Of the request, where that could be told; else `null`.
        id: Value,
        /// -32700 or -32600.
        code: i32,
        /// Why, without anything of it.
        why: &'static str,
    },
    /// Was longer than is read, and was left out: what is known of open files may be old from here on.
    TooLong {
        /// Its bytes.
        bytes: u64,
    },
}

/// Reads the next message. `None` at the end of the pipe.
///
/// # Errors
/// Only those of the pipe.
pub fn read(input: &mut impl BufRead) -> io::Result<Option<Incoming>> {
    let Some(length) = header(input)? else { return Ok(None) };
    let Some(length) = length else {
        let why = "the header of the message names no length";
        return Ok(Some(Incoming::Malformed { id: Value::Null, code: -32700, why }));
    };
    if length > MESSAGE_BYTES_MAX {
        let passed = io::copy(&mut input.take(length), &mut io::sink())?;
        return Ok((passed == length).then_some(Incoming::TooLong { bytes: length }));
    }
    let mut body = Vec::new();
    input.take(length).read_to_end(&mut body)?;
    if (body.len() as u64) < length {
        return Ok(None);
    }
    Ok(Some(understand(&body)))
}

/// Reads lines up to the empty one that ends a header. The inner `None` is a header without a length. Lines
/// that are no header at all are passed over, so that a stray output between two messages does no harm.
#[expect(clippy::option_option, reason = "the end of the pipe and a header without length are two things")]
fn header(input: &mut impl BufRead) -> io::Result<Option<Option<u64>>> {
    let mut length = None;
    let mut any = false;
    loop {
        let mut line = Vec::new();
        let read = input.take(HEADER_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        let line = line.trim_ascii();
        if line.is_empty() {
            if any {
                return Ok(Some(length));
            }
            continue;
        }
        any = true;
        let text = String::from_utf8_lossy(line);
        if let Some((name, value)) = text.split_once(':')
            && name.trim().eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok();
        }
    }
}

/// Makes a message of its bytes.
#[must_use]
pub fn understand(body: &[u8]) -> Incoming {
    let malformed = |id: Value, code, why| Incoming::Malformed { id, code, why };
    let message = match serde_json::from_slice(body) {
        Ok(Value::Object(message)) => message,
        Ok(_) => return malformed(Value::Null, -32600, "the message is no object"),
        Err(_) => return malformed(Value::Null, -32700, "the message is not JSON"),
    };
    let id = message.get("id").filter(|id| id.is_string() || id.is_number()).cloned();
    let given = id.clone().unwrap_or(Value::Null);
    if message.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return malformed(given, -32600, "the message does not say `\"jsonrpc\": \"2.0\"`");
    }
    let method = match message.get("method") {
        Some(Value::String(method)) => method.clone(),
        Some(_) => return malformed(given, -32600, "the method is no text"),
        None if message.contains_key("result") || message.contains_key("error") => return Incoming::Response,
        None => return malformed(given, -32600, "the message names no method"),
    };
    let params = message.get("params").cloned().unwrap_or(Value::Null);
    match (message.contains_key("id"), id) {
        (true, Some(id)) => Incoming::Request { id, method, params },
        (true, None) => malformed(Value::Null, -32600, "the id is neither a number nor a text"),
        (false, _) => Incoming::Notification { method, params },
    }
}

/// Writes one message.
///
/// # Errors
/// Those of the pipe.
pub fn write(output: &mut impl Write, message: &Value) -> io::Result<()> {
    let body = message.to_string();
    write!(output, "Content-Length: {}\r\n\r\n{body}", body.len())?;
    output.flush()
}

/// An answer that is one.
#[must_use]
pub fn answer(id: &Value, result: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "result": result })
}

/// An answer that says why there is none.
#[must_use]
pub fn refusal(id: &Value, code: i32, message: &str) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "error": { "code": code, "message": message } })
}

/// News that want no answer.
#[must_use]
pub fn notification(method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "method": method, "params": params })
}

/// A question to the editor.
#[must_use]
pub fn request(id: &str, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;

    fn all(bytes: &[u8]) -> Vec<Incoming> {
        let mut input = Cursor::new(bytes);
        let mut found = Vec::new();
        while let Some(message) = read(&mut input).unwrap() {
            found.push(message);
        }
        found
    }

    fn framed(body: &str) -> Vec<u8> {
        format!("Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[track_caller]
    fn check(body: &str, want: &str) {
        let got = match understand(body.as_bytes()) {
            Incoming::Request { id, method, .. } => format!("request {id} {method}"),
            Incoming::Notification { method, .. } => format!("notification {method}"),
            Incoming::Response => "response".to_owned(),
            Incoming::Malformed { id, code, .. } => format!("malformed {id} {code}"),
            Incoming::TooLong { .. } => "too long".to_owned(),
        };
        assert_eq!(got, want, "{body}");
    }

    #[test]
    fn a_message_is_told_by_what_it_has() {
        check(r#"{"jsonrpc":"2.0","id":1,"method":"m"}"#, "request 1 m");
        check(r#"{"jsonrpc":"2.0","id":"a","method":"m","params":null}"#, r#"request "a" m"#);
        check(r#"{"jsonrpc":"2.0","method":"m","params":{}}"#, "notification m");
        check(r#"{"jsonrpc":"2.0","id":1,"result":null}"#, "response");
        check(r#"{"jsonrpc":"2.0","id":1,"error":{}}"#, "response");
        check(r#"{"jsonrpc":"2.0","id":null,"method":"m"}"#, "malformed null -32600");
        check(r#"{"jsonrpc":"2.0","id":7}"#, "malformed 7 -32600");
        check(r#"{"jsonrpc":"2.0","id":7,"method":3}"#, "malformed 7 -32600");
        check(r#"{"id":7,"method":"m"}"#, "malformed 7 -32600");
        check(r#"[{"jsonrpc":"2.0","id":7,"method":"m"}]"#, "malformed null -32600");
        check("{", "malformed null -32700");
        check("\u{1F600}", "malformed null -32700");
        check(&"[".repeat(100_000), "malformed null -32700");
    }

    #[test]
    fn after_a_bad_frame_the_next_one_is_read() {
        let good = r#"{"jsonrpc":"2.0","method":"m"}"#;
        let mut bytes = framed("{");
        bytes.extend(b"stray output\r\nContent-Type: x\r\n\r\n");
        bytes.extend(b"Content-Length: many\r\n\r\n");
        bytes.extend(b"\r\n\r\n");
        bytes.extend(format!("content-length:{}\nContent-Type: x\n\n{good}", good.len()).bytes());
        bytes.extend(framed(good));
        bytes.extend(b"Content-Length: 99\r\n\r\nhalf");
        let got = all(&bytes);
        assert_eq!(got.len(), 5, "{got:?}");
        assert!(matches!(got[3], Incoming::Notification { .. }));
        assert!(matches!(got[4], Incoming::Notification { .. }));
    }

    #[test]
    fn a_message_that_is_too_long_is_passed_over() {
        let long = MESSAGE_BYTES_MAX + 1;
        let mut bytes = format!("Content-Length: {long}\r\n\r\n").into_bytes();
        bytes.extend(std::iter::repeat_n(b' ', usize::try_from(long).unwrap()));
        bytes.extend(framed(r#"{"jsonrpc":"2.0","method":"m"}"#));
        let got = all(&bytes);
        assert_eq!(got[0], Incoming::TooLong { bytes: long });
        assert!(matches!(got[1], Incoming::Notification { .. }));
        // A length that nothing follows costs nothing.
        assert_eq!(all(b"Content-Length: 18446744073709551615\r\n\r\n"), []);
        assert_eq!(all(b"Content-Length: 16000000\r\n\r\n{"), []);
    }

    proptest! {
        /// Whatever comes, reading ends, and a good message behind an empty line is read.
        #[test]
        fn no_bytes_end_the_reader(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            bytes.retain(|byte| *byte != b':');
            bytes.extend(b"\r\n\r\n");
            bytes.extend(framed(r#"{"jsonrpc":"2.0","method":"last"}"#));
            let got = all(&bytes);
            let want = Incoming::Notification { method: "last".to_owned(), params: Value::Null };
            prop_assert_eq!(got.last(), Some(&want));
        }

        /// What is written is read back.
        #[test]
        fn a_message_comes_back(method in "[a-z/]{1,20}", text in any::<String>()) {
            let mut pipe = Vec::new();
            write(&mut pipe, &notification(&method, &json!({ "text": text }))).unwrap();
            let want = Incoming::Notification { method, params: json!({ "text": text }) };
            prop_assert_eq!(all(&pipe), vec![want]);
        }
    }
}
