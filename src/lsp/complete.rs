//! What may be written at a place.

use std::ops::Range;

use gen_lsp_types as lsp;

use super::formula;
use super::library::Library;
use super::meaning::{self, Meaning};
use super::names::{self, Name};
use super::outline::{Part, Spot, spot, spot_toml};
use super::shape::Shape;

/// Everything that may be written at an offset, in the order in which it is to be shown.
#[must_use]
pub fn complete(library: &Library<'_>, offset: usize) -> Vec<lsp::CompletionItem> {
    let text = library.text.as_str();
    let spot = if library.is_toml() { spot_toml(text, offset) } else { spot(text, offset) };
    let Some(spot) = spot else { return Vec::new() };
    let mut list = List { library, spot: &spot, items: Vec::new() };
    if let Some(way) = &spot.value_of {
        if list.expression(way, offset) {
            return list.items;
        }
        // What takes several lines is not replaced by a word.
        if text[spot.range.clone()].contains('\n') {
            return Vec::new();
        }
        list.values(way);
    }
    if let Some(mapping) = &spot.key_of {
        list.keys(mapping);
    }
    list.items
}

struct List<'a> {
    library: &'a Library<'a>,
    spot: &'a Spot,
    items: Vec<lsp::CompletionItem>,
}

impl List<'_> {
    /// Adds what goes on an expression; gives whether one stands here.
    fn expression(&mut self, way: &[Part], offset: usize) -> bool {
        let meaning = meaning::of_value(self.library.kind, way);
        let Some(meaning) = meaning.filter(|one| matches!(one, Meaning::Template | Meaning::Expression))
        else {
            return false;
        };
        let Some(chain) = formula::chain(self.library.text.as_str(), &self.spot.range, offset, meaning)
        else {
            return false;
        };
        for name in names::in_chain(self.library, &chain, way) {
            let text = name.text.clone();
            self.push(&name, text, &chain.range);
        }
        true
    }

    fn keys(&mut self, mapping: &[Part]) {
        let Some(shape) = Shape::of(self.library.kind) else { return };
        let text = self.library.text.as_str();
        let written = &text[self.spot.range.clone()];
        let taken: Vec<&str> = self.library.own.names(mapping).filter(|name| *name != written).collect();
        let toml = self.library.is_toml();
        let mut fields = shape.fields(mapping);
        fields.sort_by_key(|field| !field.required);
        for field in fields.into_iter().filter(|field| !taken.contains(&field.name)) {
            let mut way = mapping.to_vec();
            way.push(Part::Key(field.name.to_owned()));
            let forms = shape.at(&way);
            let word = forms.iter().map(|form| form.word()).collect::<Vec<_>>().join(" | ");
            let after = match (self.spot.colon || self.spot.quoted, toml) {
                (true, _) => "",
                (false, true) => " = ",
                (false, false) if forms.iter().all(|form| form.is("object")) => ":",
                (false, false) => ": ",
            };
            let detail = if field.required { format!("{word}, required") } else { word };
            let name = Name {
                text: field.name.to_owned(),
                detail: Some(detail),
                about: field.form.about().map(str::to_owned),
                kind: lsp::CompletionItemKind::Property,
            };
            let glue = if self.spot.glued { " " } else { "" };
            self.push(&name, format!("{glue}{}{after}", field.name), &self.spot.range.clone());
        }
        if let Some(meaning) = meaning::of_key(self.library.kind, mapping) {
            let uses = self.library.own.key(&["uses"]).is_some();
            if matches!(meaning, Meaning::SharedInput | Meaning::SharedSecret) && !uses {
                return;
            }
            for name in names::of(self.library, meaning, mapping) {
                if taken.contains(&name.text.as_str()) {
                    continue;
                }
                let after = if self.spot.colon || self.spot.quoted { "" } else { ": " };
                let insert = format!("{}{after}", self.quoted(&name.text));
                self.push(&name, insert, &self.spot.range.clone());
            }
        }
    }

    fn values(&mut self, way: &[Part]) {
        let Some(shape) = Shape::of(self.library.kind) else { return };
        let forms = shape.at(way);
        let about = forms.iter().find_map(|form| form.about()).map(str::to_owned);
        let mut found: Vec<Name> = Vec::new();
        for form in &forms {
            let plain = |text| Name {
                text,
                detail: None,
                about: about.clone(),
                kind: lsp::CompletionItemKind::EnumMember,
            };
            found.extend(form.words().map(plain));
        }
        let meaning = meaning::of_value(self.library.kind, way);
        found.extend(meaning.into_iter().flat_map(|meaning| names::of(self.library, meaning, way)));
        if found.is_empty() && meaning.is_none() {
            let example = |text| Name {
                text,
                detail: Some("example".to_owned()),
                about: about.clone(),
                kind: lsp::CompletionItemKind::Value,
            };
            for form in &forms {
                found.extend(form.examples().map(example));
            }
        }
        let taken = self.taken(way);
        for name in found.iter().filter(|name| !taken.contains(&name.text)) {
            let glue = if self.spot.glued { " " } else { "" };
            let insert = format!("{glue}{}", self.quoted(&name.text));
            self.push(name, insert, &self.spot.range.clone());
        }
        if forms.iter().any(|form| form.is("array")) && self.spot.range.is_empty() && !self.spot.quoted {
            self.items_of(way, shape);
        }
    }

    /// A list is wanted and nothing is there yet: its items with what makes them one.
    fn items_of(&mut self, way: &[Part], shape: &Shape) {
        let mut item = way.to_vec();
        item.push(Part::Item(0));
        let mut found: Vec<Name> = Vec::new();
        for form in shape.at(&item) {
            found.extend(form.words().map(|text| Name {
                text,
                detail: None,
                about: None,
                kind: lsp::CompletionItemKind::EnumMember,
            }));
        }
        let meaning = meaning::of_value(self.library.kind, &item);
        found.extend(meaning.into_iter().flat_map(|meaning| names::of(self.library, meaning, &item)));
        let own_line = self.spot.key_of.is_some();
        for name in found {
            let plain = self.quoted(&name.text);
            let glue = if self.spot.glued { " " } else { "" };
            let insert = if own_line { format!("{glue}- {plain}") } else { format!("{glue}[{plain}]") };
            self.push(&name, insert, &self.spot.range.clone());
        }
    }

    /// What stands in the same list already.
    fn taken(&self, way: &[Part]) -> Vec<String> {
        let Some((Part::Item(_), list)) = way.split_last() else { return Vec::new() };
        let beside = self.library.own.tokens.iter().filter(|token| {
            !token.key
                && token.path.len() == way.len()
                && token.path.starts_with(list)
                && !self.covers(&token.range)
        });
        beside.map(|token| token.text.clone()).collect()
    }

    fn covers(&self, range: &Range<usize>) -> bool {
        range.start <= self.spot.range.start && self.spot.range.end <= range.end && !range.is_empty()
    }

    /// A value as it has to be written here.
    fn quoted(&self, text: &str) -> String {
        if self.spot.quoted {
            return text.to_owned();
        }
        let number_or_bool = text == "true" || text == "false";
        if self.library.is_toml() && !number_or_bool && self.spot.key_of.is_none() {
            return format!("\"{text}\"");
        }
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        if digits && !text.is_empty() { format!("\"{text}\"") } else { text.to_owned() }
    }

    fn push(&mut self, name: &Name, insert: String, range: &Range<usize>) {
        if self.items.iter().any(|item| item.label == name.text) {
            return;
        }
        let edit =
            lsp::TextEdit { range: self.library.text.range(range, self.library.encoding), new_text: insert };
        let documentation = name.about.as_ref().map(|about| {
            lsp::Documentation::MarkupContent(lsp::MarkupContent {
                kind: lsp::MarkupKind::Markdown,
                value: about.clone(),
            })
        });
        self.items.push(lsp::CompletionItem {
            label: name.text.clone(),
            kind: Some(name.kind),
            detail: name.detail.clone().filter(|detail| !detail.is_empty()),
            documentation,
            // The order is ours: what is required, then what fits, then the rest.
            sort_text: Some(format!("{:04}", self.items.len())),
            text_edit: Some(lsp::CompletionItemTextEdit::TextEdit(edit)),
            ..lsp::CompletionItem::default()
        });
    }
}
