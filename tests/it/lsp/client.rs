//! An editor's side of the protocol: frames, ids, texts with their versions, and edits applied as an editor does.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

/// The server as a child process, and everything it has said.
pub struct Client {
    child: Child,
    input: Option<ChildStdin>,
    heard: Receiver<Value>,
    next: i64,
    /// Every byte that came, for searches in it.
    pub transcript: Vec<String>,
    /// What was published last, by address: version and findings.
    pub published: BTreeMap<String, (Option<i64>, Vec<Value>)>,
    answers: BTreeMap<String, Value>,
    /// Requests and notifications of the server but diagnostics.
    pub others: Vec<Value>,
    texts: BTreeMap<String, (i64, String)>,
}

impl Client {
    /// Starts the server; says nothing yet.
    pub fn start() -> Self {
        let mut child = Command::new(super::TENANTRY)
            .args(["lsp", "--stdio"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let (tell, heard) = mpsc::channel();
        std::thread::spawn(move || {
            loop {
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    if output.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    if line == "\r\n" {
                        break;
                    }
                    length = line.strip_prefix("Content-Length: ").unwrap().trim_end().parse().unwrap();
                }
                let mut body = vec![0; length];
                output.read_exact(&mut body).unwrap();
                if tell.send(serde_json::from_slice(&body).unwrap()).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            input,
            heard,
            next: 0,
            transcript: Vec::new(),
            published: BTreeMap::new(),
            answers: BTreeMap::new(),
            others: Vec::new(),
            texts: BTreeMap::new(),
        }
    }

    /// Starts the server on a folder with what today's editors can do.
    pub fn on(folder: &Path) -> Self {
        Self::with(
            folder,
            json!({
                "general": { "positionEncodings": ["utf-16"] },
                "workspace": { "didChangeWatchedFiles": { "dynamicRegistration": true }, "workspaceEdit": { "documentChanges": true, "resourceOperations": ["rename"] } },
                "textDocument": { "publishDiagnostics": { "relatedInformation": true }, "hover": { "contentFormat": ["markdown"] } },
            }),
        )
    }

    pub fn with(folder: &Path, capabilities: Value) -> Self {
        let mut client = Self::start();
        let folders = json!([{ "uri": uri(folder), "name": "work" }]);
        let result = client.request("initialize", json!({ "processId": null, "rootUri": null, "workspaceFolders": folders, "capabilities": capabilities }));
        assert_eq!(result["serverInfo"]["name"], "tenantry", "{result}");
        client.notify("initialized", json!({}));
        client
    }

    pub fn raw(&mut self, bytes: &[u8]) {
        let input = self.input.as_mut().unwrap();
        input.write_all(bytes).unwrap();
        input.flush().unwrap();
    }

    fn send(&mut self, message: &Value) {
        let body = message.to_string();
        self.raw(format!("Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes());
    }

    pub fn notify(&mut self, method: &str, params: Value) {
        self.send(&json!({ "jsonrpc": "2.0", "method": method, "params": params }));
    }

    /// Asks without waiting; gives the id.
    pub fn ask(&mut self, method: &str, params: Value) -> i64 {
        self.next += 1;
        let id = self.next;
        self.send(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        id
    }

    /// Takes one message; gives whether one came before `until`.
    fn hear(&mut self, until: Instant) -> bool {
        let Ok(message) = self.heard.recv_timeout(until.saturating_duration_since(Instant::now())) else {
            return false;
        };
        self.transcript.push(message.to_string());
        match message["method"].as_str() {
            Some("textDocument/publishDiagnostics") => {
                let params = &message["params"];
                let found = params["diagnostics"].as_array().unwrap().clone();
                let address = params["uri"].as_str().unwrap().to_owned();
                self.published.insert(address, (params["version"].as_i64(), found));
            }
            Some(_) => {
                if let Some(id) = message.get("id") {
                    self.send(&json!({ "jsonrpc": "2.0", "id": id, "result": null }));
                }
                self.others.push(message);
            }
            None => {
                assert!(message.get("result").is_some() != message.get("error").is_some(), "{message}");
                self.answers.insert(message["id"].to_string(), message);
            }
        }
        true
    }

    /// The whole answer to a request.
    #[track_caller]
    pub fn answer(&mut self, id: impl ToString) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = self.answers.remove(&id.to_string()) {
                return answer;
            }
            assert!(self.hear(until), "no answer to {}: {:?}", id.to_string(), self.transcript.last());
        }
    }

    #[track_caller]
    pub fn request(&mut self, method: &str, params: Value) -> Value {
        let id = self.ask(method, params);
        let answer = self.answer(id);
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    /// Listens until something is true.
    #[track_caller]
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            assert!(self.hear(until), "{what} did not come; published: {:#?}", self.published);
        }
    }

    /// Listens until nothing has come for a while.
    pub fn listen(&mut self, quiet: Duration) {
        while self.hear(Instant::now() + quiet) {}
    }

    pub fn open(&mut self, path: &Path, text: &str) -> String {
        let address = uri(path);
        self.open_as(&address, text);
        address
    }

    pub fn open_as(&mut self, address: &str, text: &str) {
        self.texts.insert(address.to_owned(), (1, text.to_owned()));
        let document = json!({ "uri": address, "languageId": "yaml", "version": 1, "text": text });
        self.notify("textDocument/didOpen", json!({ "textDocument": document }));
    }

    pub fn close(&mut self, address: &str) {
        self.texts.remove(address);
        self.notify("textDocument/didClose", json!({ "textDocument": { "uri": address } }));
    }

    pub fn text(&self, address: &str) -> &str {
        &self.texts[address].1
    }

    /// Types over the first occurrence of `old`, as an incremental change.
    #[track_caller]
    pub fn type_over(&mut self, address: &str, old: &str, new: &str) {
        let text = self.text(address).to_owned();
        let at = text.find(old).unwrap_or_else(|| panic!("{text} has no {old}"));
        let range = json!({ "start": position(&text, at), "end": position(&text, at + old.len()) });
        let after = format!("{}{new}{}", &text[..at], &text[at + old.len()..]);
        self.changed(address, after, json!([{ "range": range, "text": new }]));
    }

    /// Sends the whole text.
    pub fn replace(&mut self, address: &str, text: &str) {
        self.changed(address, text.to_owned(), json!([{ "text": text }]));
    }

    fn changed(&mut self, address: &str, text: String, changes: Value) {
        let entry = self.texts.get_mut(address).unwrap();
        *entry = (entry.0 + 1, text);
        let document = json!({ "uri": address, "version": entry.0 });
        self.notify("textDocument/didChange", json!({ "textDocument": document, "contentChanges": changes }));
    }

    /// What is found in the version of a text that is open now.
    #[track_caller]
    pub fn findings(&mut self, address: &str) -> Vec<Value> {
        let version = self.texts[address].0;
        let is =
            |client: &Self| client.published.get(address).is_some_and(|(seen, _)| *seen == Some(version));
        self.until(&format!("version {version} of {address}"), is);
        self.published[address].1.clone()
    }

    /// Ids of the rules that are broken in the open version of a text.
    #[track_caller]
    pub fn rules(&mut self, address: &str) -> Vec<String> {
        self.findings(address).iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
    }

    /// Asks about the place of the `¦` in a text that it opens or replaces.
    #[track_caller]
    pub fn at(&mut self, method: &str, address: &str, marked: &str) -> Value {
        let at = marked.find('¦').unwrap();
        let text = marked.replacen('¦', "", 1);
        if self.texts.contains_key(address) {
            self.replace(address, &text)
        } else {
            self.open_as(address, &text)
        }
        let params = json!({ "textDocument": { "uri": address }, "position": position(&text, at) });
        self.request(method, params)
    }

    /// Makes the edit of an action in the texts that are open; each change is sent back, as an editor does.
    pub fn apply(&mut self, edit: &Value) {
        let mut all: Vec<(String, Vec<Value>)> = Vec::new();
        for (address, edits) in edit["changes"].as_object().into_iter().flatten() {
            all.push((address.clone(), edits.as_array().unwrap().clone()));
        }
        for change in edit["documentChanges"].as_array().into_iter().flatten() {
            let address = change["textDocument"]["uri"].as_str().unwrap().to_owned();
            assert_eq!(change["textDocument"]["version"], json!(self.texts[&address].0));
            all.push((address, change["edits"].as_array().unwrap().clone()));
        }
        for (address, mut edits) in all {
            let mut text = self.text(&address).to_owned();
            edits.sort_by_key(|edit| std::cmp::Reverse(offset(&text, &edit["range"]["start"])));
            for edit in edits {
                let range = offset(&text, &edit["range"]["start"])..offset(&text, &edit["range"]["end"]);
                text.replace_range(range, edit["newText"].as_str().unwrap());
            }
            self.replace(&address, &text);
        }
    }

    /// Says goodbye; gives the exit code.
    pub fn end(mut self) -> i32 {
        assert_eq!(self.request("shutdown", Value::Null), Value::Null);
        self.notify("exit", Value::Null);
        self.wait()
    }

    /// Hangs up; gives the exit code.
    pub fn hang_up(mut self) -> i32 {
        self.input = None;
        self.wait()
    }

    pub fn wait(&mut self) -> i32 {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap();
            }
            assert!(Instant::now() < until, "the server does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A place in lines and units of 16 bits.
pub fn position(text: &str, at: usize) -> Value {
    let line = text[..at].matches('\n').count();
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    json!({ "line": line, "character": text[start..at].encode_utf16().count() })
}

/// The byte of a place.
pub fn offset(text: &str, position: &Value) -> usize {
    let line = usize::try_from(position["line"].as_u64().unwrap()).unwrap();
    let column = usize::try_from(position["character"].as_u64().unwrap()).unwrap();
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let mut units = 0;
    for (at, c) in text[start..].char_indices() {
        if units >= column {
            return start + at;
        }
        units += c.len_utf16();
    }
    text.len()
}

/// The text of a range.
pub fn under<'t>(text: &'t str, range: &Value) -> &'t str {
    &text[offset(text, &range["start"])..offset(text, &range["end"])]
}

/// An address that encodes more than ours does, as some editors do.
pub fn uri(path: &Path) -> String {
    let mut text = String::from("file://");
    for byte in path.to_str().unwrap().bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' => text.push(char::from(byte)),
            byte => text.push_str(&format!("%{byte:02x}")),
        }
    }
    text
}

/// The path of an address.
pub fn path(uri: &str) -> PathBuf {
    let mut bytes = Vec::new();
    let mut rest = uri.strip_prefix("file://").unwrap().bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let hex = [rest.next().unwrap(), rest.next().unwrap()];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
        } else {
            bytes.push(byte);
        }
    }
    PathBuf::from(String::from_utf8(bytes).unwrap())
}
