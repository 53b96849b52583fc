//! `tenantry-secret` and `tenantry-output`: the same program as steps see it in the sandbox.
//!
//! Small and without threads: a script may call it often. It speaks to the attempt's socket and to the output
//! file, which its environment names, and knows nothing else.
#![expect(clippy::disallowed_methods, reason = "lives in a step: its environment and files are all it has")]

use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::{Map, Value};
use zeroize::Zeroizing;

const SECRET_USAGE: &str = "\
usage: tenantry-secret get NAME [VERSION]          prints the value, byte by byte
       tenantry-secret list                        prints the names of this step's secrets
       tenantry-secret mask                        masks what it reads from standard input
       tenantry-secret exec VARIABLE=NAME … -- COMMAND …   gives values to one command only";

const OUTPUT_USAGE: &str = "\
usage: tenantry-output NAME VALUE                  writes one output; VALUE is text
       tenantry-output --json NAME VALUE           VALUE is JSON";

/// Runs one of the two if the program was called by its name; `None` for every other name.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let program = arguments.next()?;
    let work: fn(&[String]) -> Result<(), Refused> = match Path::new(&program).file_name()?.to_str()? {
        "tenantry-secret" => secret,
        "tenantry-output" => output,
        _ => return None,
    };
    let arguments: Vec<String> = arguments.map(|one| one.to_string_lossy().into_owned()).collect();
    Some(match work(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(refused) => {
            anstream::eprintln!("{}", refused.said);
            ExitCode::from(refused.code)
        }
    })
}

/// Why it did not work: 1 refused, 2 wrong command line, 3 could not.
struct Refused {
    code: u8,
    said: String,
}

fn refused(code: u8, said: impl std::fmt::Display) -> Refused {
    Refused { code, said: format!("error: {said}") }
}

fn usage(text: &str) -> Refused {
    Refused { code: 2, said: text.to_owned() }
}

fn secret(arguments: &[String]) -> Result<(), Refused> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["get", name] => print(&fetch(name, None)?),
        ["get", name, version] => print(&fetch(name, Some(version))?),
        ["list"] => {
            let body = ask("GET", "/v1/secrets", &[])?;
            let document: Value = serde_json::from_slice(&body).map_err(|error| refused(3, error))?;
            for secret in document["secrets"].as_array().into_iter().flatten() {
                print(format!("{}\n", secret["name"].as_str().unwrap_or_default()).as_bytes())?;
            }
            Ok(())
        }
        ["mask"] => {
            let mut value = Zeroizing::new(Vec::new());
            std::io::stdin().take(64 << 10).read_to_end(&mut value).map_err(|error| refused(3, error))?;
            let end = value.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 1);
            ask("POST", "/v1/mask", &value[..end]).map(|_| ())
        }
        ["exec", rest @ ..] => exec(rest),
        _ => Err(usage(SECRET_USAGE)),
    }
}

/// Replaces itself by the command, which alone gets the values.
fn exec(arguments: &[&str]) -> Result<(), Refused> {
    let split = arguments.iter().position(|word| *word == "--").ok_or_else(|| usage(SECRET_USAGE))?;
    let (pairs, command) = (&arguments[..split], &arguments[split + 1..]);
    let (program, rest) = command.split_first().ok_or_else(|| usage(SECRET_USAGE))?;
    let mut process = std::process::Command::new(program);
    process.args(rest);
    for pair in pairs {
        let (variable, name) = pair.split_once('=').ok_or_else(|| usage(SECRET_USAGE))?;
        let value = fetch(name, None)?;
        let text = std::str::from_utf8(&value).ok().filter(|text| !text.contains('\0'));
        let text = text.ok_or_else(|| refused(1, format!("the value of `{name}` is no text")))?;
        process.env(variable, text);
    }
    Err(refused(3, format!("cannot run `{program}`: {}", process.exec())))
}

fn fetch(name: &str, version: Option<&str>) -> Result<Zeroizing<Vec<u8>>, Refused> {
    // What can be no name is refused here too, so that a mistake is told as one; the broker refuses it anyway.
    if name.parse::<crate::domain::SecretName>().is_err() {
        return Err(refused(2, format!("`{name}` can be no secret's name")));
    }
    match version {
        None => ask("GET", &format!("/v1/secrets/{name}"), &[]),
        Some(version) if version.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') => {
            ask("GET", &format!("/v1/secrets/{name}?version={version}"), &[])
        }
        Some(version) => Err(refused(2, format!("`{version}` can be no version"))),
    }
}

fn print(bytes: &[u8]) -> Result<(), Refused> {
    let mut out = std::io::stdout().lock();
    out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| refused(3, error))
}

/// The largest answer: a value and its head.
const ANSWER_BYTES_MAX: u64 = 8 << 20;

/// Asks the attempt's broker; gives the body of a yes.
fn ask(method: &str, target: &str, body: &[u8]) -> Result<Zeroizing<Vec<u8>>, Refused> {
    let variable = |name: &str| {
        std::env::var(name).map_err(|_| refused(3, format!("{name} is not set: this works in a step only")))
    };
    let (socket, token) = (variable("TENANTRY_SOCKET")?, variable("TENANTRY_TOKEN")?);
    let broken = |error: std::io::Error| refused(3, format!("the broker does not answer: {error}"));
    let mut stream = UnixStream::connect(socket).map_err(broken)?;
    let patience = Some(Duration::from_secs(30));
    stream.set_read_timeout(patience).map_err(broken)?;
    stream.set_write_timeout(patience).map_err(broken)?;
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: broker\r\nauthorization: Bearer {token}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).map_err(broken)?;
    stream.write_all(body).map_err(broken)?;
    let mut answer = Zeroizing::new(Vec::new());
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).map_err(broken)?;
    let (status, at) = head_of(&answer).ok_or_else(|| refused(3, "the broker answers nonsense"))?;
    let body = Zeroizing::new(answer[at..].to_vec());
    if (200..300).contains(&status) {
        return Ok(body);
    }
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let said = problem["detail"].as_str().unwrap_or("refused");
    let code = problem["code"].as_str().unwrap_or("error");
    Err(refused(if status >= 500 { 3 } else { 1 }, format!("{said} ({status} {code})")))
}

/// The status of an answer and where its body begins.
fn head_of(answer: &[u8]) -> Option<(u16, usize)> {
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, end))
}

/// Adds one output to the JSON object in `$TENANTRY_OUTPUT`.
fn output(arguments: &[String]) -> Result<(), Refused> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (name, value) = match words.as_slice() {
        ["--json", name, value] => {
            let value = serde_json::from_str(value).map_err(|error| refused(2, format!("VALUE: {error}")))?;
            (*name, value)
        }
        [name, value] if *name != "--json" => (*name, Value::String((*value).to_owned())),
        _ => return Err(usage(OUTPUT_USAGE)),
    };
    if name.parse::<crate::domain::FieldName>().is_err() {
        return Err(refused(2, format!("`{name}` can be no output's name")));
    }
    let path = std::env::var("TENANTRY_OUTPUT")
        .map_err(|_| refused(3, "TENANTRY_OUTPUT is not set: this works in a step only"))?;
    let before = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(refused(3, format!("cannot read `{path}`: {error}"))),
    };
    let mut object: Map<String, Value> = match before.iter().all(u8::is_ascii_whitespace) {
        true => Map::new(),
        false => serde_json::from_slice(&before)
            .map_err(|_| refused(1, format!("`{path}` holds something other than a JSON object")))?,
    };
    object.insert(name.to_owned(), value);
    std::fs::write(&path, Value::Object(object).to_string())
        .map_err(|error| refused(3, format!("cannot write `{path}`: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_answer_is_told_from_its_body() {
        let answer = b"HTTP/1.1 200 OK\r\nx: y\r\n\r\nbody\r\n\r\nmore";
        assert_eq!(
            head_of(answer).map(|(status, at)| (status, &answer[at..])),
            Some((200, &b"body\r\n\r\nmore"[..]))
        );
        assert_eq!(head_of(b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(head_of(b"nonsense\r\n\r\n"), None);
    }

    #[test]
    fn only_its_two_names_turn_off() {
        let called = |name: &str| main([OsString::from(name)].into_iter()).is_some();
        assert!(called("/usr/local/bin/tenantry-secret"));
        assert!(!called("/usr/local/bin/tenantry"));
        assert!(!called("tenantry-secrets"));
    }
}
