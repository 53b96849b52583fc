//! The conversation: what comes in, in order, and what goes out. Answers at once; judging goes on beside it.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};

use gen_lsp_types as lsp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::answer::Abilities;
use super::documents::{DOCUMENTS_MAX, Document, Documents, real};
use super::judge::{Manner, News};
use super::text::{Encoding, Text};
use super::wire::{self, Incoming};
use super::{actions, answer, uri};

/// Messages that wait on either side; beyond it the other side waits.
const WAITING_MAX: usize = 256;
/// Messages that are looked through for a cancellation before the first of them is answered.
const AHEAD_MAX: usize = 64;

/// Codes of the protocol.
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const INTERNAL_ERROR: i32 = -32603;
const NOT_INITIALIZED: i32 = -32002;
const CANCELLED: i32 = -32800;

/// Something happened.
enum Event {
    Message(Incoming),
    News(PathBuf, Box<News>),
    End,
}

/// Where in its life the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Before,
    Running,
    ShutDown,
}

/// A request that waits until its file has been judged.
struct Pending {
    id: Value,
    method: String,
    params: Value,
    address: String,
    revision: u64,
}

struct Server {
    life: Life,
    abilities: Abilities,
    documents: Documents,
    folders: Vec<PathBuf>,
    events: SyncSender<Event>,
    out: SyncSender<Value>,
    pending: Vec<Pending>,
    troubles: Vec<String>,
}

/// Serves one editor until it says goodbye or hangs up. Gives the exit code: 0 after a proper `shutdown`, else 1.
pub fn serve(input: impl BufRead + Send + 'static, output: impl Write + Send + 'static) -> u8 {
    let (events, happened) = mpsc::sync_channel(WAITING_MAX);
    let (out, waiting) = mpsc::sync_channel::<Value>(WAITING_MAX);
    let reader = events.clone();
    // Not joined: after `exit` it may wait for ever for a pipe that nobody closes.
    std::thread::spawn(move || listen(input, &reader));
    let writer = std::thread::spawn(move || speak(output, &waiting));
    let mut server = Server {
        life: Life::Before,
        abilities: Abilities::default(),
        documents: Documents::default(),
        folders: Vec::new(),
        events,
        out,
        pending: Vec::new(),
        troubles: Vec::new(),
    };
    let proper = server.run(&happened);
    server.documents.close();
    // With the last sender the writer ends, once what waits is written.
    drop(server);
    let _ = writer.join();
    u8::from(!proper)
}

fn listen(mut input: impl BufRead, events: &SyncSender<Event>) {
    loop {
        let event = match wire::read(&mut input) {
            Ok(Some(message)) => Event::Message(message),
            Ok(None) | Err(_) => Event::End,
        };
        let last = matches!(event, Event::End);
        if events.send(event).is_err() || last {
            return;
        }
    }
}

fn speak(mut output: impl Write, waiting: &Receiver<Value>) {
    while let Ok(message) = waiting.recv() {
        if wire::write(&mut output, &message).is_err() {
            // Nobody listens; what waits is let go so that nobody waits for it.
            while waiting.recv().is_ok() {}
            return;
        }
    }
}

impl Server {
    /// Gives whether it ended as the protocol wants.
    fn run(&mut self, happened: &Receiver<Event>) -> bool {
        let mut ahead: VecDeque<Event> = VecDeque::new();
        loop {
            let event = match ahead.pop_front() {
                Some(event) => event,
                None => match happened.recv() {
                    Ok(event) => event,
                    Err(_) => return false,
                },
            };
            while ahead.len() < AHEAD_MAX
                && let Ok(next) = happened.try_recv()
            {
                if let Some(id) = cancelled(&next) {
                    self.cancel(&event, &mut ahead, &id);
                }
                ahead.push_back(next);
            }
            match event {
                Event::Message(Incoming::Notification { method, .. }) if method == "exit" => {
                    return self.life == Life::ShutDown;
                }
                Event::Message(message) => self.message(message),
                Event::News(root, news) => self.news(&root, *news),
                Event::End => return self.life == Life::ShutDown,
            }
        }
    }

    fn say(&self, message: Value) {
        // A writer that has gone has nobody to write to.
        let _ = self.out.send(message);
    }

    /// Answers a request that has not been looked at yet, or that waits, as cancelled.
    fn cancel(&mut self, current: &Event, ahead: &mut VecDeque<Event>, id: &Value) {
        let is =
            |event: &Event| matches!(event, Event::Message(Incoming::Request { id: one, .. }) if one == id);
        if is(current) {
            // It is answered in a moment; the answer is no news to the editor.
            return;
        }
        if let Some(index) = ahead.iter().position(is) {
            ahead.remove(index);
            self.say(wire::refusal(id, CANCELLED, "cancelled"));
        }
    }

    fn message(&mut self, message: Incoming) {
        match message {
            Incoming::Request { id, method, params } => self.request(&id, &method, params),
            Incoming::Notification { method, params } => {
                if self.life == Life::Running {
                    self.notification(&method, params);
                }
            }
            Incoming::Response => {}
            Incoming::Malformed { id, code, why } => self.say(wire::refusal(&id, code, why)),
            Incoming::TooLong { bytes } => {
                // It may have been the change of a file: what is known of open files cannot be trusted any more.
                self.documents.open.clear();
                self.hand_in_all();
                self.show(1, &format!("a message of {bytes} bytes was left out: open your files again"));
            }
        }
    }

    fn show(&self, kind: u8, text: &str) {
        let params = json!({ "type": kind, "message": format!("tenantry: {text}") });
        self.say(wire::notification("window/showMessage", &params));
    }

    fn request(&mut self, id: &Value, method: &str, params: Value) {
        match (self.life, method) {
            (Life::Before, "initialize") => {
                let result = self.initialize(&params);
                self.say(wire::answer(id, &result));
            }
            (Life::Before, _) => self.say(wire::refusal(id, NOT_INITIALIZED, "`initialize` comes first")),
            (Life::ShutDown, _) => {
                self.say(wire::refusal(id, INVALID_REQUEST, "the server has been shut down"))
            }
            (Life::Running, "initialize") => {
                self.say(wire::refusal(id, INVALID_REQUEST, "`initialize` comes once"))
            }
            (Life::Running, "shutdown") => {
                self.life = Life::ShutDown;
                for waiting in std::mem::take(&mut self.pending) {
                    self.say(wire::refusal(&waiting.id, CANCELLED, "the server shuts down"));
                }
                self.say(wire::answer(id, &Value::Null));
            }
            (Life::Running, _) => self.ask(id, method, params),
        }
    }

    fn initialize(&mut self, params: &Value) -> Value {
        let texts = |pointer: &str| -> Vec<String> {
            let list = params.pointer(pointer).and_then(Value::as_array).into_iter().flatten();
            list.filter_map(|word| word.as_str().map(str::to_owned)).collect()
        };
        let yes = |pointer: &str| params.pointer(pointer).and_then(Value::as_bool).unwrap_or(false);
        let encodings = texts("/capabilities/general/positionEncodings");
        let formats = texts("/capabilities/textDocument/hover/contentFormat");
        self.abilities = Abilities {
            manner: Manner {
                encoding: Encoding::choose(encodings.iter().map(String::as_str)),
                related: yes("/capabilities/textDocument/publishDiagnostics/relatedInformation"),
            },
            watches: yes("/capabilities/workspace/didChangeWatchedFiles/dynamicRegistration"),
            markdown: formats.is_empty() || formats.iter().any(|format| format == "markdown"),
            versioned: yes("/capabilities/workspace/workspaceEdit/documentChanges"),
            renames: texts("/capabilities/workspace/workspaceEdit/resourceOperations")
                .iter()
                .any(|word| word == "rename"),
        };
        let folders = params.get("workspaceFolders").and_then(Value::as_array).into_iter().flatten();
        self.folders = folders.filter_map(|folder| uri::path_of(folder.get("uri")?.as_str()?)).collect();
        if self.folders.is_empty() {
            let root = params.get("rootUri").and_then(Value::as_str).and_then(uri::path_of);
            let older = params.get("rootPath").and_then(Value::as_str).map(PathBuf::from);
            self.folders.extend(root.or(older));
        }
        self.life = Life::Running;
        for folder in self.folders.clone() {
            let _ = self.enter(&folder);
        }
        json!({
            "capabilities": {
                "positionEncoding": self.abilities.manner.encoding.as_str(),
                "textDocumentSync": { "openClose": true, "change": 2, "save": { "includeText": false } },
                "completionProvider": { "triggerCharacters": [" ", ":", "-", "[", "{", ",", ".", "/", "\"", "="] },
                "hoverProvider": true,
                "definitionProvider": true,
                "documentSymbolProvider": true,
                "codeActionProvider": { "codeActionKinds": ["quickfix", actions::FIX_ALL] },
                "workspace": { "workspaceFolders": { "supported": true, "changeNotifications": true } },
            },
            "serverInfo": { "name": "tenantry", "version": env!("CARGO_PKG_VERSION") },
        })
    }

    /// The repository of a directory, judged from now on.
    fn enter(&mut self, directory: &Path) -> Option<PathBuf> {
        let events = self.events.clone();
        let spelled = directory.ancestors().find(|at| at.join("tenantry.toml").is_file())?;
        let root = spelled.canonicalize().ok()?;
        let tell = move |news| {
            // Once nobody listens there is nothing to tell.
            let _ = events.send(Event::News(root.clone(), Box::new(news)));
        };
        self.documents.enter(directory, self.abilities.manner, tell)
    }

    fn notification(&mut self, method: &str, params: Value) {
        match method {
            "initialized" if self.abilities.watches => {
                let globs =
                    ["**/tenantry.toml", "**/platform/**", "**/shared/**", "**/tenants/**", "**/.gitignore"];
                let watchers: Vec<Value> = globs.iter().map(|glob| json!({ "globPattern": glob })).collect();
                let options = json!({ "watchers": watchers });
                let registration = json!({ "id": "tenantry-files", "method": "workspace/didChangeWatchedFiles", "registerOptions": options });
                let params = json!({ "registrations": [registration] });
                self.say(wire::request("tenantry-watch", "client/registerCapability", &params));
            }
            "textDocument/didOpen" => {
                if let Some(params) = self.read::<lsp::DidOpenTextDocumentParams>(method, params) {
                    self.open(params.text_document);
                }
            }
            "textDocument/didChange" => {
                if let Some(params) = self.read::<lsp::DidChangeTextDocumentParams>(method, params) {
                    self.change(params);
                }
            }
            "textDocument/didClose" => {
                if let Some(params) = self.read::<lsp::DidCloseTextDocumentParams>(method, params) {
                    self.close(&params.text_document.uri.0);
                }
            }
            "textDocument/didSave" if !self.abilities.watches => {
                // Nobody watches for us; a save is when other files are likely to have changed too.
                let roots: Vec<PathBuf> = self.documents.repositories.keys().cloned().collect();
                roots.iter().for_each(|root| self.documents.reread(root));
            }
            "workspace/didChangeWatchedFiles" => {
                if let Some(params) = self.read::<lsp::DidChangeWatchedFilesParams>(method, params) {
                    self.watched(&params.changes);
                }
            }
            "workspace/didChangeWorkspaceFolders" => {
                let added = params.pointer("/event/added").and_then(Value::as_array).into_iter().flatten();
                let added: Vec<PathBuf> =
                    added.filter_map(|folder| uri::path_of(folder.get("uri")?.as_str()?)).collect();
                for folder in added {
                    let _ = self.enter(&folder);
                    self.folders.push(folder);
                }
            }
            "$/cancelRequest" => {
                let id = params.get("id").cloned().unwrap_or(Value::Null);
                if let Some(index) = self.pending.iter().position(|waiting| waiting.id == id) {
                    self.pending.remove(index);
                    self.say(wire::refusal(&id, CANCELLED, "cancelled"));
                }
            }
            // The protocol lets a server pass over what it does not know.
            _ => {}
        }
    }

    /// Parameters of a notification; says in the log that they cannot be read, without a word of them.
    fn read<T: DeserializeOwned>(&self, method: &str, params: Value) -> Option<T> {
        let read = serde_json::from_value(params).ok();
        if read.is_none() {
            let params =
                json!({ "type": 2, "message": format!("the parameters of `{method}` cannot be read") });
            self.say(wire::notification("window/logMessage", &params));
        }
        read
    }

    fn open(&mut self, item: lsp::TextDocumentItem) {
        if self.documents.open.len() >= DOCUMENTS_MAX {
            return self
                .show(2, &format!("more than {DOCUMENTS_MAX} files are open: the rest are not looked at"));
        }
        let address = item.uri.0;
        let path = uri::path_of(&address);
        let place = path.and_then(|path| {
            let root = self.enter(path.parent()?)?;
            let inside = real(&path).strip_prefix(&root).ok()?.to_str()?.to_owned();
            Some((root, inside))
        });
        let revision = self.documents.next();
        let root = place.as_ref().map(|(root, _)| root.clone());
        let document = Document {
            text: Text::new(item.text),
            version: item.version,
            place,
            opened: revision,
            changed: revision,
        };
        self.documents.open.insert(address, document);
        if let Some(root) = root {
            self.documents.hand_in(&root, false);
        }
    }

    fn change(&mut self, params: lsp::DidChangeTextDocumentParams) {
        let encoding = self.abilities.manner.encoding;
        let revision = self.documents.next();
        let Some(document) =
            self.documents.open.get_mut(&params.text_document.text_document_identifier.uri.0)
        else {
            return;
        };
        for change in params.content_changes {
            match change {
                lsp::TextDocumentContentChangeEvent::TextDocumentContentChangePartial(part) => {
                    let bytes = document.text.bytes(&part.range, encoding);
                    document.text.replace(bytes, &part.text);
                }
                lsp::TextDocumentContentChangeEvent::TextDocumentContentChangeWholeDocument(whole) => {
                    document.text = Text::new(whole.text);
                }
            }
        }
        document.version = params.text_document.version;
        document.changed = revision;
        if let Some((root, _)) = document.place.clone() {
            self.documents.hand_in(&root, true);
        }
    }

    fn close(&mut self, address: &str) {
        let Some(document) = self.documents.open.remove(address) else { return };
        self.documents.next();
        if let Some((root, _)) = document.place {
            self.documents.hand_in(&root, false);
            self.documents.reread(&root);
        }
    }

    fn hand_in_all(&mut self) {
        self.documents.next();
        let roots: Vec<PathBuf> = self.documents.repositories.keys().cloned().collect();
        for root in roots {
            self.documents.hand_in(&root, false);
            self.documents.reread(&root);
        }
    }

    fn watched(&mut self, changes: &[lsp::FileEvent]) {
        let mut roots: Vec<PathBuf> = Vec::new();
        for change in changes {
            // While a file is open its text is the editor's; only its coming and going is news.
            if change.kind == lsp::FileChangeType::Changed && self.documents.open.contains_key(&change.uri.0)
            {
                continue;
            }
            let Some(path) = uri::path_of(&change.uri.0).map(|path| real(&path)) else { continue };
            let within = self.documents.repositories.keys().filter(|root| path.starts_with(root));
            let within: Vec<PathBuf> = within.cloned().collect();
            if within.is_empty() && path.file_name().is_some_and(|name| name == "tenantry.toml") {
                self.begin(&path);
            }
            roots.extend(within);
        }
        roots.sort();
        roots.dedup();
        roots.iter().for_each(|root| self.documents.reread(root));
    }

    /// A repository has come to be: files that were open outside of one may lie in it.
    fn begin(&mut self, settings: &Path) {
        let Some(root) = settings.parent().and_then(|directory| self.enter(directory)) else { return };
        let revision = self.documents.next();
        for (address, document) in &mut self.documents.open {
            let path = uri::path_of(address).map(|path| real(&path));
            let inside = path.as_ref().and_then(|path| path.strip_prefix(&root).ok()?.to_str());
            if let Some(inside) = inside.filter(|_| document.place.is_none()) {
                document.place = Some((root.clone(), inside.to_owned()));
                document.opened = revision;
                document.changed = revision;
            }
        }
        self.documents.hand_in(&root, false);
    }

    fn news(&mut self, root: &Path, news: News) {
        match news {
            News::Settled => {}
            News::Trouble(text) => {
                if let Some(repository) = self.documents.repositories.get_mut(root) {
                    repository.trouble = repository.view.is_none();
                }
                if !self.troubles.contains(&text) && self.troubles.len() < 100 {
                    self.show(1, &text);
                    self.troubles.push(text);
                }
                self.resume();
            }
            News::View(view) => {
                if let Some(repository) = self.documents.repositories.get_mut(root) {
                    repository.view = Some(Arc::new(*view));
                    repository.trouble = false;
                }
                self.resume();
            }
            News::Notice(notice) => {
                let Some(address) = self.documents.address(root, &notice.path) else { return };
                let params = lsp::PublishDiagnosticsParams {
                    uri: address.into(),
                    version: notice.version,
                    diagnostics: notice.diagnostics,
                };
                self.say(wire::notification("textDocument/publishDiagnostics", &json!(params)));
            }
        }
    }

    /// Answers what has waited for its file to be judged.
    fn resume(&mut self) {
        let (ready, waiting) = std::mem::take(&mut self.pending)
            .into_iter()
            .partition(|one| self.is_seen(&one.address, one.revision));
        self.pending = waiting;
        for Pending { id, method, params, address, .. } in ready {
            self.answer(&id, &method, &params, &address);
        }
    }

    /// Whether the change of a file has been taken in by what judges it, or never will be.
    fn is_seen(&self, address: &str, revision: u64) -> bool {
        let place = self.documents.open.get(address).and_then(|document| document.place.as_ref());
        let repository = place.and_then(|(root, _)| self.documents.repositories.get(root));
        repository.is_none_or(|repository| {
            repository.trouble || repository.view.as_ref().is_some_and(|view| view.revision >= revision)
        })
    }

    /// Takes a question about a file; it waits until the file has been seen, for fixes until it was judged.
    fn ask(&mut self, id: &Value, method: &str, params: Value) {
        const KNOWN: [&str; 5] = [
            "textDocument/completion",
            "textDocument/hover",
            "textDocument/definition",
            "textDocument/documentSymbol",
            "textDocument/codeAction",
        ];
        if !KNOWN.contains(&method) {
            return self.say(wire::refusal(id, METHOD_NOT_FOUND, "this server does not know the method"));
        }
        let address = params.pointer("/textDocument/uri").and_then(Value::as_str).map(str::to_owned);
        let Some(address) = address else {
            return self.say(wire::refusal(id, INVALID_PARAMS, "the parameters name no document"));
        };
        let revision = self.documents.open.get(&address).map_or(0, |document| {
            if method == "textDocument/codeAction" { document.changed } else { document.opened }
        });
        if self.is_seen(&address, revision) {
            self.answer(id, method, &params, &address);
        } else {
            self.pending.push(Pending {
                id: id.clone(),
                method: method.to_owned(),
                params,
                address,
                revision,
            });
        }
    }

    fn answer(&self, id: &Value, method: &str, params: &Value, address: &str) {
        let answer = catch_unwind(AssertUnwindSafe(|| {
            answer::about(&self.documents, &self.abilities, method, params, address)
        }));
        self.say(match answer {
            Ok(Some(result)) => wire::answer(id, &result),
            Ok(None) => wire::refusal(id, INVALID_PARAMS, "the parameters cannot be read"),
            Err(_) => wire::refusal(id, INTERNAL_ERROR, "answering failed; this is a fault of tenantry"),
        });
    }
}

/// The request that an event cancels.
fn cancelled(event: &Event) -> Option<Value> {
    match event {
        Event::Message(Incoming::Notification { method, params }) if method == "$/cancelRequest" => {
            params.get("id").cloned()
        }
        _ => None,
    }
}
