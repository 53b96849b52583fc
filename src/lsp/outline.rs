//! What stands where in a text that may be half written.
//!
//! The spanned tree of `yaml/` is for texts that are YAML. While somebody types, a text seldom is, and the line
//! that matters is the broken one. This reads line by line, by indentation, never fails, and on a text that is
//! YAML finds the same keys and values at the same places: a property test compares the two.

mod toml;

use std::ops::Range;

/// Nesting that is followed; what lies deeper is not looked at.
const DEPTH_MAX: usize = 64;

/// One step of the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Into a mapping.
    Key(String),
    /// Into a list, counted from 0.
    Item(usize),
}

/// A key or a scalar.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The way to it; of a key, the key included.
    pub path: Vec<Part>,
    /// Whether it is a key.
    pub key: bool,
    /// Its bytes, quotes included.
    pub range: Range<usize>,
    /// What it reads: without quotes, escapes as they are.
    pub text: String,
}

/// What may be written at a place, and what of it is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// The mapping that a key at this place belongs to; `None` where no key can stand.
    pub key_of: Option<Vec<Part>>,
    /// The way of a value at this place; `None` where no value can stand.
    pub value_of: Option<Vec<Part>>,
    /// The bytes of what is there already, without quotes; empty where nothing is.
    pub range: Range<usize>,
    /// Whether it is inside quotes.
    pub quoted: bool,
    /// Whether a `:` follows it.
    pub colon: bool,
    /// Whether a space has to come first: the place is right behind a `:` or `-`.
    pub glued: bool,
    /// Whether it is in `[…]` or `{…}`.
    pub flow: bool,
}

/// The keys and scalars of a text in written order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The tokens.
    pub tokens: Vec<Token>,
}

impl Outline {
    /// Reads a text of YAML.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut scan = Scan::new(text, None);
        scan.run();
        Self { tokens: scan.tokens }
    }

    /// Reads a text of TOML.
    #[must_use]
    pub fn of_toml(text: &str) -> Self {
        let mut scan = Scan::new(text, None);
        scan.run_toml();
        Self { tokens: scan.tokens }
    }

    /// The token that holds the offset, or ends there.
    #[must_use]
    pub fn at(&self, offset: usize) -> Option<&Token> {
        let holds = |token: &&Token| token.range.contains(&offset);
        self.tokens.iter().find(holds).or_else(|| self.tokens.iter().rfind(|token| token.range.end == offset))
    }

    /// The key at the end of a way of keys.
    #[must_use]
    pub fn key(&self, path: &[&str]) -> Option<&Token> {
        self.tokens.iter().find(|token| token.key && is(&token.path, path))
    }

    /// The keys directly below a way of keys.
    pub fn keys_below<'o>(&'o self, path: &'o [&'o str]) -> impl Iterator<Item = &'o Token> {
        self.tokens.iter().filter(move |token| {
            token.key && token.path.len() == path.len() + 1 && is(&token.path[..path.len()], path)
        })
    }

    /// The first scalar at a way of keys.
    #[must_use]
    pub fn value(&self, path: &[&str]) -> Option<&Token> {
        self.tokens.iter().find(|token| !token.key && is(&token.path, path))
    }

    /// Every scalar at or below a way of keys.
    pub fn values_below<'o>(&'o self, path: &'o [&'o str]) -> impl Iterator<Item = &'o Token> {
        self.tokens.iter().filter(move |token| {
            !token.key && token.path.len() >= path.len() && is(&token.path[..path.len()], path)
        })
    }

    /// The names of the keys directly below a way.
    pub fn names<'o>(&'o self, way: &'o [Part]) -> impl Iterator<Item = &'o str> {
        self.tokens.iter().filter_map(move |token| match token.path.split_last() {
            Some((Part::Key(name), above)) if token.key && above == way => Some(name.as_str()),
            _ => None,
        })
    }
}

fn is(path: &[Part], keys: &[&str]) -> bool {
    path.len() == keys.len()
        && path.iter().zip(keys).all(|(part, key)| matches!(part, Part::Key(name) if name == key))
}

/// A way as short words: keys as they are, items as `[]`.
#[must_use]
pub fn words(path: &[Part]) -> Vec<&str> {
    path.iter()
        .map(|part| match part {
            Part::Key(name) => name.as_str(),
            Part::Item(_) => "[]",
        })
        .collect()
}

/// What may be written at an offset of a text of YAML; `None` in a comment or in the text of a block.
#[must_use]
pub fn spot(text: &str, offset: usize) -> Option<Spot> {
    let mut scan = Scan::new(text, Some(offset.min(text.len())));
    scan.run();
    scan.spot
}

/// What may be written at an offset of a text of TOML; `None` in a comment.
#[must_use]
pub fn spot_toml(text: &str, offset: usize) -> Option<Spot> {
    let mut scan = Scan::new(text, Some(offset.min(text.len())));
    scan.run_toml();
    scan.spot
}

/// A mapping or list in indented form that has begun.
struct Frame {
    column: usize,
    part: Part,
}

/// A mapping or list in brackets that has begun.
struct Bracket {
    part: Option<Part>,
    map: bool,
    /// In a mapping: whether a value is next.
    value: bool,
}

struct Scan<'t> {
    text: &'t str,
    bytes: &'t [u8],
    cursor: Option<usize>,
    stack: Vec<Frame>,
    tokens: Vec<Token>,
    spot: Option<Spot>,
    /// Of what holds the `|` or `>` text above, while only empty lines have followed it.
    block_column: Option<usize>,
    /// What stands between a key and its value.
    between: u8,
}

impl<'t> Scan<'t> {
    fn new(text: &'t str, cursor: Option<usize>) -> Self {
        let (stack, tokens) = (Vec::new(), Vec::new());
        Self {
            text,
            bytes: text.as_bytes(),
            cursor,
            stack,
            tokens,
            spot: None,
            block_column: None,
            between: b':',
        }
    }

    fn path(&self) -> Vec<Part> {
        self.stack.iter().map(|frame| frame.part.clone()).collect()
    }

    /// Whether the cursor is in the bytes or at their end.
    fn here(&self, range: &Range<usize>) -> bool {
        self.cursor.is_some_and(|at| range.start <= at && at <= range.end)
    }

    fn line_end(&self, from: usize) -> usize {
        self.bytes[from..].iter().position(|byte| *byte == b'\n').map_or(self.bytes.len(), |at| from + at)
    }

    fn spaces(&self, mut from: usize, end: usize) -> usize {
        while from < end && matches!(self.bytes[from], b' ' | b'\t' | b'\r') {
            from += 1;
        }
        from
    }

    /// Whether a comment begins here.
    fn comment(&self, at: usize) -> bool {
        self.bytes.get(at) == Some(&b'#') && (at == 0 || self.bytes[at - 1].is_ascii_whitespace())
    }

    fn run(&mut self) {
        let mut at = 0;
        while at < self.bytes.len() || (at == 0 && self.bytes.is_empty()) {
            let end = self.line_end(at);
            let start = self.spaces(at, end);
            at = if start == end || self.comment(start) {
                if self.cursor.is_some_and(|cursor| (at..=end).contains(&cursor) && cursor <= start) {
                    self.blank(at);
                }
                end + 1
            } else if start == at
                && (self.bytes[at..end].starts_with(b"---") || self.bytes[at..end].starts_with(b"%"))
            {
                end + 1
            } else {
                self.line(at, start, end)
            };
        }
        // The place behind the last line end.
        if self.spot.is_none() && self.cursor == Some(self.bytes.len()) && self.text.ends_with('\n') {
            self.blank(self.bytes.len());
        }
    }

    /// An empty line holds the cursor: what may stand there is said by its column.
    fn blank(&mut self, line: usize) {
        let Some(cursor) = self.cursor else { return };
        let column = cursor - line;
        if self.block_column.is_some_and(|block| column > block) {
            return;
        }
        let mut depth = self.stack.len();
        while depth > 0 && self.stack[depth - 1].column > column {
            depth -= 1;
        }
        let way =
            |count: usize| self.stack[..count].iter().map(|frame| frame.part.clone()).collect::<Vec<_>>();
        let mut spot = Spot { range: cursor..cursor, ..Spot::default() };
        match self.stack.get(depth.wrapping_sub(1)) {
            Some(Frame { column: beside, part: Part::Key(_) }) if *beside == column => {
                spot.key_of = Some(way(depth - 1));
            }
            // A dash has to come first.
            Some(Frame { column: beside, part: Part::Item(_) }) if *beside == column => {
                let above = self.stack[..depth - 1].last();
                if above.is_some_and(|above| above.column == column) {
                    spot.key_of = Some(way(depth - 2));
                }
            }
            Some(_) => {
                spot.key_of = Some(way(depth));
                spot.value_of = Some(way(depth));
            }
            None => spot.key_of = Some(Vec::new()),
        }
        self.spot = Some(spot);
    }

    /// Reads a line that has something on it; gives where to go on.
    fn line(&mut self, line: usize, start: usize, end: usize) -> usize {
        self.block_column = None;
        let mut column = start - line;
        let dash = |at: usize, bytes: &[u8]| {
            bytes[at] == b'-' && bytes.get(at + 1).is_none_or(u8::is_ascii_whitespace)
        };
        while let Some(top) = self.stack.last() {
            let beside_list =
                matches!(top.part, Part::Item(_)) && top.column == column && !dash(start, self.bytes);
            if top.column > column || beside_list {
                self.stack.pop();
            } else {
                break;
            }
        }
        let mut at = start;
        while at < end && dash(at, self.bytes) {
            let full = self.stack.len() >= DEPTH_MAX;
            match self.stack.last_mut() {
                Some(Frame { column: beside, part: Part::Item(index) }) if *beside == column => *index += 1,
                _ if full => return end + 1,
                _ => self.stack.push(Frame { column, part: Part::Item(0) }),
            }
            let next = self.spaces(at + 1, end);
            if next == end || self.comment(next) {
                self.nothing_yet(at + 1, next);
                return end + 1;
            }
            column += next - at;
            at = next;
        }
        at = self.properties(at, end);
        if at >= end {
            self.nothing_yet(at, at);
            return end + 1;
        }
        if matches!(self.bytes[at], b'{' | b'[') {
            return self.flow(at, end);
        }
        if self.is_block(at, end) {
            let path = self.path();
            return self.block(path, at, end);
        }
        let token = self.scalar_range(at, end, false);
        let colon = self.spaces(token.end, end.max(token.end));
        let is_key = self.bytes.get(colon) == Some(&b':')
            && colon < end.max(token.end)
            && self.bytes.get(colon + 1).is_none_or(u8::is_ascii_whitespace);
        if is_key {
            return self.key(column, token, colon);
        }
        let partial = match self.stack.last() {
            Some(top) => top.column == column && matches!(top.part, Part::Key(_)),
            None => false,
        };
        if partial {
            if self.here(&token) {
                let above =
                    self.stack[..self.stack.len() - 1].iter().map(|frame| frame.part.clone()).collect();
                self.spot = Some(Spot { key_of: Some(above), ..self.inside(&token, false) });
            }
        } else {
            let path = self.path();
            if self.here(&token) {
                let spot = self.inside(&token, false);
                self.spot = Some(Spot { key_of: Some(path.clone()), value_of: Some(path.clone()), ..spot });
            }
            self.push(path, false, token.clone());
        }
        self.after(token.end, end)
    }

    /// Whether a text in `|` or `>` begins here: nothing but its indicators and a comment stand on the line.
    fn is_block(&self, at: usize, end: usize) -> bool {
        let mut next = at + 1;
        while next < end && matches!(self.bytes[next], b'+' | b'-' | b'0'..=b'9') {
            next += 1;
        }
        let rest = self.spaces(next, end);
        matches!(self.bytes[at], b'|' | b'>') && (rest == end || self.comment(rest))
    }

    /// Nothing stands behind a `-` yet.
    fn nothing_yet(&mut self, from: usize, to: usize) {
        if self.here(&(from..to)) {
            let cursor = self.cursor.unwrap_or(to);
            let path = self.path();
            let (key_of, value_of) = (Some(path.clone()), Some(path));
            self.spot = Some(Spot {
                key_of,
                value_of,
                range: cursor..cursor,
                glued: cursor == from,
                ..Spot::default()
            });
        }
    }

    /// Anchors and tags stand before a value.
    fn properties(&self, mut at: usize, end: usize) -> usize {
        while at < end && matches!(self.bytes[at], b'&' | b'!') {
            while at < end && !self.bytes[at].is_ascii_whitespace() {
                at += 1;
            }
            at = self.spaces(at, end);
        }
        at
    }

    /// A key and what stands behind it.
    fn key(&mut self, column: usize, token: Range<usize>, colon: usize) -> usize {
        let end = self.line_end(colon);
        let name = unquoted(&self.text[token.clone()]).to_owned();
        let full = self.stack.len() >= DEPTH_MAX;
        match self.stack.last_mut() {
            Some(Frame { column: beside, part: part @ Part::Key(_) }) if *beside == column => {
                *part = Part::Key(name)
            }
            _ if full => return end + 1,
            _ => self.stack.push(Frame { column, part: Part::Key(name) }),
        }
        let path = self.path();
        if self.here(&token) {
            let above = path[..path.len() - 1].to_vec();
            self.spot = Some(Spot { key_of: Some(above), colon: true, ..self.inside(&token, false) });
        }
        self.push(path.clone(), true, token);
        let begin = self.spaces(colon + 1, end);
        let at = self.properties(begin, end);
        if at == end || self.comment(at) {
            if self.here(&(colon + 1..at)) {
                let cursor = self.cursor.unwrap_or(at);
                let spot = Spot {
                    value_of: Some(path),
                    range: cursor..cursor,
                    glued: cursor == colon + 1,
                    ..Spot::default()
                };
                self.spot = Some(spot);
            }
            return end + 1;
        }
        match self.bytes[at] {
            b'{' | b'[' => self.flow(at, end),
            b'|' | b'>' if self.is_block(at, end) => self.block(path, at, end),
            _ => {
                let value = self.scalar_range(at, end, false);
                if self.here(&value) {
                    self.spot = Some(Spot { value_of: Some(path.clone()), ..self.inside(&value, false) });
                }
                self.push(path, false, value.clone());
                self.after(value.end, end)
            }
        }
    }

    /// Where to go on behind a scalar, which may have taken several lines.
    fn after(&self, scalar_end: usize, line_end: usize) -> usize {
        if scalar_end > line_end { self.line_end(scalar_end) + 1 } else { line_end + 1 }
    }

    /// A text in `|` or `>`: everything indented deeper than what holds it.
    fn block(&mut self, path: Vec<Part>, header: usize, end: usize) -> usize {
        let column = self.stack.last().map_or(0, |frame| frame.column);
        let mut at = end + 1;
        let mut last = end;
        while at < self.bytes.len() {
            let line_end = self.line_end(at);
            let start = self.spaces(at, line_end);
            if start < line_end {
                if start - at <= column {
                    break;
                }
                last = line_end;
            }
            at = line_end + 1;
        }
        self.push(path.clone(), false, header..last);
        self.block_column = Some(column);
        // Expressions may stand in it, keys may not.
        if self.cursor.is_some_and(|cursor| cursor > end && cursor <= last) {
            self.spot =
                Some(Spot { value_of: Some(path), range: header..last, quoted: true, ..Spot::default() });
        }
        last + 1
    }

    /// The bytes of a scalar that begins at `at`: to its closing quote, or to the end of the line, `: `, ` #`, and
    /// in brackets to what ends an entry there.
    fn scalar_range(&self, at: usize, end: usize, flow: bool) -> Range<usize> {
        if matches!(self.bytes[at], b'"' | b'\'') {
            return at..self.quoted_end(at, end);
        }
        let mut stop = at;
        while stop < end {
            let byte = self.bytes[stop];
            let next = self.bytes.get(stop + 1);
            let ends = match byte {
                b'=' if self.between == b'=' => flow,
                b':' if self.between == b':' => {
                    next.is_none_or(|next| next.is_ascii_whitespace() || (flow && b",[]{}".contains(next)))
                }
                b',' | b'[' | b']' | b'{' | b'}' => flow && stop >= at && !self.in_expression(at, stop),
                _ => self.comment(stop),
            };
            if ends && (flow || stop > at) {
                break;
            }
            stop += 1;
        }
        at..at + self.text[at..stop].trim_end().len()
    }

    /// An unquoted `${{ … }}` in brackets is no YAML, but what somebody means who types it.
    fn in_expression(&self, from: usize, at: usize) -> bool {
        let before = &self.text[from..at];
        let opens = before.matches("${{").count();
        let half = before.ends_with('$') || before.ends_with("${");
        half || (opens > before.matches("}}").count() && !before.ends_with("}}"))
    }

    /// One past the closing quote; the end of the line where none comes soon.
    fn quoted_end(&self, at: usize, end: usize) -> usize {
        let quote = self.bytes[at];
        let mut stop = at + 1;
        while stop < self.bytes.len() {
            match self.bytes[stop] {
                b'\\' if quote == b'"' => stop += 2,
                b'\'' if quote == b'\'' && self.bytes.get(stop + 1) == Some(&b'\'') => stop += 2,
                byte if byte == quote => return stop + 1,
                // A quote that is being typed must not swallow the lines below: they begin with a key.
                b'\n' if self.between == b'=' || self.looks_like_key(stop + 1) => return end,
                _ => stop += 1,
            }
        }
        end
    }

    fn looks_like_key(&self, at: usize) -> bool {
        let end = self.line_end(at.min(self.bytes.len()));
        let line = self.text[at.min(end)..end].trim_start();
        let line = line.strip_prefix("- ").unwrap_or(line);
        let name = line.find(|c: char| !c.is_ascii_alphanumeric() && !matches!(c, '_' | '-'));
        name.is_some_and(|stop| stop > 0 && line[stop..].starts_with(':'))
    }

    fn push(&mut self, path: Vec<Part>, key: bool, range: Range<usize>) {
        let text = unquoted(&self.text[range.clone()]).to_owned();
        self.tokens.push(Token { path, key, range, text });
    }

    /// The spot inside a token, its quotes left out.
    fn inside(&self, token: &Range<usize>, flow: bool) -> Spot {
        let text = &self.text[token.clone()];
        let quoted = text.starts_with(['"', '\'']);
        let mut range = token.clone();
        if quoted {
            range.start += 1;
            let first = text.as_bytes()[0];
            if text.len() > 1 && text.as_bytes().last() == Some(&first) {
                range.end -= 1;
            }
        }
        Spot { range, quoted, flow, ..Spot::default() }
    }

    /// Reads `{…}` or `[…]`, over several lines where they are indented deeper than what holds it; gives where to
    /// go on. A bracket that nobody closes ends there too.
    fn flow(&mut self, start: usize, line_end: usize) -> usize {
        let base = self.path();
        let column = self.stack.last().map(|frame| frame.column);
        let mut open: Vec<Bracket> = Vec::new();
        let mut at = start;
        let mut end = line_end;
        while at < self.bytes.len() {
            if at > end {
                end = self.line_end(at);
            }
            self.gap(at, &base, &open);
            match self.bytes[at] {
                b'\n' => {
                    end = self.line_end(at + 1);
                    let next = self.spaces(at + 1, end);
                    let closes = self.bytes.get(next).is_some_and(|byte| b"]},".contains(byte));
                    if next < end && column.is_some_and(|column| next - (at + 1) <= column) && !closes {
                        return at + 1;
                    }
                    at += 1;
                }
                b' ' | b'\t' | b'\r' => at += 1,
                b'#' if self.comment(at) => at = self.line_end(at),
                byte @ (b'{' | b'[') => {
                    if open.len() >= DEPTH_MAX {
                        return self.bytes.len();
                    }
                    let map = byte == b'{';
                    open.push(Bracket { part: (!map).then_some(Part::Item(0)), map, value: false });
                    at += 1;
                }
                b'}' | b']' => {
                    open.pop();
                    at += 1;
                    if open.is_empty() {
                        return self.line_end(at) + 1;
                    }
                }
                b',' => {
                    if let Some(top) = open.last_mut() {
                        match &mut top.part {
                            Some(Part::Item(index)) => *index += 1,
                            part => *part = None,
                        }
                        top.value = false;
                    }
                    at += 1;
                }
                byte if byte == self.between => {
                    if let Some(top) = open.last_mut().filter(|top| top.map) {
                        top.value = true;
                    }
                    at += 1;
                }
                b'&' | b'!' if at < end => at = self.properties(at, end),
                _ => at = self.flow_token(at, end, &base, &mut open),
            }
        }
        self.gap(at, &base, &open);
        self.bytes.len()
    }

    fn flow_token(&mut self, at: usize, end: usize, base: &[Part], open: &mut [Bracket]) -> usize {
        let token = self.scalar_range(at, end, true);
        if token.is_empty() {
            return at + self.text[at..].chars().next().map_or(1, char::len_utf8);
        }
        let Some((top, above)) = open.split_last_mut() else { return token.end };
        let mut way: Vec<Part> = base.to_vec();
        way.extend(above.iter().filter_map(|bracket| bracket.part.clone()));
        let is_key = top.map && !top.value;
        if is_key {
            if self.here(&token) {
                let colon = self.bytes.get(self.spaces(token.end, end.max(token.end))) == Some(&self.between);
                self.spot = Some(Spot { key_of: Some(way.clone()), colon, ..self.inside(&token, true) });
            }
            let part = Part::Key(unquoted(&self.text[token.clone()]).to_owned());
            way.push(part.clone());
            top.part = Some(part);
        } else {
            way.extend(top.part.clone());
            if self.here(&token) {
                self.spot = Some(Spot { value_of: Some(way.clone()), ..self.inside(&token, true) });
            }
        }
        self.push(way, is_key, token.clone());
        token.end
    }

    /// The cursor stands between two tokens in brackets.
    fn gap(&mut self, at: usize, base: &[Part], open: &[Bracket]) {
        let inside = self.spot.as_ref().is_some_and(|spot| spot.range.end == at && !spot.range.is_empty());
        if self.cursor != Some(at) || inside {
            return;
        }
        let Some((top, above)) = open.split_last() else { return };
        let mut way: Vec<Part> = base.to_vec();
        way.extend(above.iter().filter_map(|bracket| bracket.part.clone()));
        let mut spot = Spot { range: at..at, flow: true, ..Spot::default() };
        if top.map && !top.value {
            // Behind a whole key nothing but a `:` may stand.
            if top.part.is_some() {
                return;
            }
            spot.key_of = Some(way);
        } else {
            way.extend(top.part.clone());
            spot.glued = at > 0 && self.bytes[at - 1] == self.between;
            spot.value_of = Some(way);
        }
        self.spot = Some(spot);
    }
}

/// Without its quotes, if it has any.
fn unquoted(text: &str) -> &str {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '"' | '\'')) else { return text };
    let inner = &text[1..];
    inner.strip_suffix(quote).unwrap_or(inner)
}

#[cfg(test)]
mod tests;
