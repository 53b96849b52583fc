//! The parts of a file by name: steps, inputs, secrets, people.

use gen_lsp_types as lsp;

use super::outline::{Outline, Part, Token};
use super::text::{Encoding, Text};

/// Symbols of one level; what lies beyond is left out.
const SYMBOLS_MAX: usize = 2_000;

/// The keys of a file down to the entries of its sections.
#[must_use]
pub fn symbols(outline: &Outline, text: &Text, encoding: Encoding) -> Vec<lsp::DocumentSymbol> {
    below(&outline.tokens, text, encoding, &[])
}

/// `tokens` are those of one section in written order: what lies below a key follows it.
fn below(tokens: &[Token], text: &Text, encoding: Encoding, way: &[Part]) -> Vec<lsp::DocumentSymbol> {
    let mut symbols = Vec::new();
    let mut at = 0;
    while let Some(key) = tokens.get(at) {
        at += 1;
        if !key.key || key.path.len() != way.len() + 1 || key.text.is_empty() || symbols.len() >= SYMBOLS_MAX
        {
            continue;
        }
        let inner = tokens[at..].iter().take_while(|token| token.path.starts_with(&key.path)).count();
        let inner = &tokens[at..at + inner];
        at += inner.len();
        let end = inner.last().map_or(key.range.end, |last| last.range.end.max(key.range.end));
        let children = if has_entries(key) { below(inner, text, encoding, &key.path) } else { Vec::new() };
        let value = inner.first().filter(|value| !value.key && value.path == key.path);
        let detail =
            value.map(|value| value.text.as_str()).filter(|text| text.len() < 80 && !text.contains('\n'));
        #[expect(deprecated, reason = "a field of the protocol that has to be named")]
        symbols.push(lsp::DocumentSymbol {
            name: key.text.clone(),
            detail: detail.map(str::to_owned),
            kind: kind(way),
            tags: None,
            deprecated: None,
            range: text.range(&(key.range.start..end), encoding),
            selection_range: text.range(&key.range, encoding),
            children: (!children.is_empty()).then_some(children),
        });
    }
    symbols
}

/// Whether what lies below a key are names and not fields.
fn has_entries(key: &Token) -> bool {
    match key.path.as_slice() {
        [Part::Key(section)] => {
            let named = [
                "steps",
                "inputs",
                "on",
                "secrets",
                "users",
                "groups",
                "services",
                "shared",
                "change_control",
                "limits",
                "reconcile",
                "network",
            ];
            named.contains(&section.as_str())
        }
        _ => false,
    }
}

fn kind(way: &[Part]) -> lsp::SymbolKind {
    match way {
        [Part::Key(section)] if section == "steps" => lsp::SymbolKind::Function,
        [Part::Key(section)] if section == "inputs" => lsp::SymbolKind::Variable,
        [Part::Key(section)] if section == "on" => lsp::SymbolKind::Event,
        [Part::Key(section)] if ["users", "groups", "services", "secrets"].contains(&section.as_str()) => {
            lsp::SymbolKind::Constant
        }
        _ => lsp::SymbolKind::Property,
    }
}
