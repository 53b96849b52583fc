//! A question about an open file, answered from what is known of its repository.

use std::path::Path;

use gen_lsp_types as lsp;
use serde_json::{Value, json};

use super::actions::{self, Action};
use super::documents::Documents;
use super::judge::Manner;
use super::library::Library;
use super::text::Text;
use super::{complete, definition, hover, symbols};
use crate::domain::Timestamp;

/// What the editor said it can do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Abilities {
    /// How it is shown findings.
    pub manner: Manner,
    /// Watches files for us when asked to.
    pub watches: bool,
    /// Reads Markdown.
    pub markdown: bool,
    /// Takes edits of a text with its version.
    pub versioned: bool,
    /// Renames files for us.
    pub renames: bool,
}

/// The answer to a question about the open file of an address; `None` where its parameters cannot be read.
#[must_use]
pub fn about(
    documents: &Documents,
    abilities: &Abilities,
    method: &str,
    params: &Value,
    address: &str,
) -> Option<Value> {
    let encoding = abilities.manner.encoding;
    let known = documents.open.get(address).and_then(|document| {
        let (root, path) = document.place.as_ref()?;
        let view = documents.repositories.get(root)?.view.as_ref()?;
        Some((document, root, path, view, Library::new(path, &document.text, view, encoding)))
    });
    let Some((document, root, path, view, library)) = known else {
        return Some(match method {
            "textDocument/hover" | "textDocument/definition" => Value::Null,
            "textDocument/completion" => completions(&[]),
            _ => json!([]),
        });
    };
    let text = &document.text;
    let at = || -> Option<usize> {
        let position: lsp::Position = serde_json::from_value(params.get("position")?.clone()).ok()?;
        Some(text.offset(position, encoding))
    };
    Some(match method {
        "textDocument/completion" => completions(&complete::complete(&library, at()?)),
        "textDocument/hover" => hover::hover(&library, at()?, now()).map_or(Value::Null, |shown| {
            let kind = if abilities.markdown { "markdown" } else { "plaintext" };
            let range = text.range(&shown.range, encoding);
            json!({ "contents": { "kind": kind, "value": shown.markdown }, "range": range })
        }),
        "textDocument/definition" => definition::definition(&library, at()?).map_or(Value::Null, |target| {
            let theirs = target.range.as_ref().and_then(|_| library.text_of(&target.path));
            let range = theirs.zip(target.range).map(|(text, range): (Text, _)| text.range(&range, encoding));
            json!({ "uri": documents.address(root, &target.path), "range": range.unwrap_or_default() })
        }),
        "textDocument/documentSymbol" => json!(symbols::symbols(&library.own, text, encoding)),
        _ => {
            let range: lsp::Range = serde_json::from_value(params.get("range")?.clone()).ok()?;
            let only = params.pointer("/context/only").and_then(Value::as_array).into_iter().flatten();
            let only: Vec<String> = only.filter_map(|kind| kind.as_str().map(str::to_owned)).collect();
            // What was found belongs to the text that was judged; of another one nothing can be said.
            let judged = view.revision >= document.changed;
            let found = view.found.get(path).filter(|_| judged).map(Vec::as_slice).unwrap_or_default();
            let actions = actions::actions(&library, found, &range, &only);
            json!(actions.iter().filter_map(|one| shown(documents, abilities, one, root)).collect::<Vec<_>>())
        }
    })
}

fn completions(items: &[lsp::CompletionItem]) -> Value {
    json!({ "isIncomplete": false, "items": items })
}

/// An action as the editor takes it; `None` where it could not carry it out.
fn shown(documents: &Documents, abilities: &Abilities, action: &Action, root: &Path) -> Option<Value> {
    let address = documents.address(root, &action.path)?;
    let edit = if abilities.versioned {
        let version = documents.open.get(&address).map(|document| document.version);
        let mut changes = Vec::new();
        if !action.edits.is_empty() {
            let text = json!({ "uri": address, "version": version });
            changes.push(json!({ "textDocument": text, "edits": action.edits }));
        }
        if let Some(to) = &action.rename {
            if !abilities.renames {
                return None;
            }
            changes
                .push(json!({ "kind": "rename", "oldUri": address, "newUri": documents.address(root, to)? }));
        }
        json!({ "documentChanges": changes })
    } else if action.rename.is_some() {
        return None;
    } else {
        json!({ "changes": { address: action.edits } })
    };
    Some(json!({
        "title": action.title, "kind": action.kind, "diagnostics": action.cures,
        "isPreferred": action.preferred, "edit": edit,
    }))
}

/// Now, by this machine's clock.
#[expect(clippy::disallowed_methods, reason = "when a schedule fires next is asked of now")]
fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
