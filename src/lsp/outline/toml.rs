//! The same for `tenantry.toml`: tables in `[…]`, `key = value` below them.

use super::{Frame, Part, Scan, Spot};

impl Scan<'_> {
    pub(super) fn run_toml(&mut self) {
        self.between = b'=';
        let mut at = 0;
        let mut tables: Vec<(Vec<String>, usize)> = Vec::new();
        loop {
            let end = self.line_end(at.min(self.bytes.len()));
            let start = self.spaces(at, end);
            at = if start == end || self.comment(start) {
                if self.cursor.is_some_and(|cursor| (at..=end).contains(&cursor) && cursor <= start) {
                    let cursor = self.cursor.unwrap_or(at);
                    self.spot =
                        Some(Spot { key_of: Some(self.path()), range: cursor..cursor, ..Spot::default() });
                }
                end + 1
            } else if self.bytes[start] == b'[' {
                self.table(start, end, &mut tables);
                end + 1
            } else {
                self.entry(start, end)
            };
            if at > self.bytes.len() || (at == self.bytes.len() && !self.text.ends_with('\n')) {
                return;
            }
        }
    }

    /// `[a.b]` or `[[a]]`: what stands below belongs to it.
    fn table(&mut self, start: usize, end: usize, tables: &mut Vec<(Vec<String>, usize)>) {
        let list = self.bytes.get(start + 1) == Some(&b'[');
        let from = start + 1 + usize::from(list);
        let to = self.bytes[from..end].iter().position(|byte| *byte == b']').map_or(end, |at| from + at);
        self.stack.clear();
        let to = from + self.text[from..to].trim_end().len();
        self.names(from, to, to < end);
        if list {
            let way: Vec<String> = super::words(&self.path()).into_iter().map(str::to_owned).collect();
            let index = match tables.iter_mut().find(|(name, _)| *name == way) {
                Some((_, count)) => {
                    *count += 1;
                    *count
                }
                None => {
                    tables.push((way, 0));
                    0
                }
            };
            self.stack.push(Frame { column: 0, part: Part::Item(index) });
        }
    }

    /// The names between dots, each one step deeper.
    fn names(&mut self, from: usize, to: usize, closed: bool) {
        let mut at = from;
        for name in self.text[from..to].split('.') {
            let range = at + (name.len() - name.trim_start().len())
                ..at + name.trim_end().len().max(name.len() - name.trim_start().len());
            let above = self.path();
            if self.here(&range) {
                let spot = self.inside(&range, false);
                self.spot = Some(Spot { key_of: Some(above), colon: closed, ..spot });
            }
            let text = super::unquoted(&self.text[range.clone()]).to_owned();
            if self.stack.len() < super::DEPTH_MAX {
                self.stack.push(Frame { column: 0, part: Part::Key(text) });
            }
            let way = self.path();
            self.push(way, true, range);
            at += name.len() + 1;
        }
    }

    /// `key = value`; gives where to go on.
    fn entry(&mut self, start: usize, end: usize) -> usize {
        let depth = self.stack.len();
        let equals = self.bytes[start..end].iter().position(|byte| *byte == b'=').map(|at| start + at);
        let key_end = start + self.text[start..equals.unwrap_or(end)].trim_end().len();
        self.names(start, key_end, equals.is_some());
        let next = match equals {
            None => end + 1,
            Some(equals) => {
                let at = self.spaces(equals + 1, end);
                let way = self.path();
                if at == end || self.comment(at) {
                    if self.here(&(equals + 1..at)) {
                        let cursor = self.cursor.unwrap_or(at);
                        let glued = cursor == equals + 1;
                        self.spot = Some(Spot {
                            value_of: Some(way),
                            range: cursor..cursor,
                            glued,
                            ..Spot::default()
                        });
                    }
                    end + 1
                } else if matches!(self.bytes[at], b'[' | b'{') {
                    self.flow(at, end)
                } else {
                    let value = self.scalar_range(at, end, false);
                    if self.here(&value) {
                        self.spot = Some(Spot { value_of: Some(way.clone()), ..self.inside(&value, false) });
                    }
                    self.push(way, false, value);
                    end + 1
                }
            }
        };
        self.stack.truncate(depth);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Outline, spot_toml, words};
    use crate::desired::written::parse_toml;
    use crate::yaml::{Kind, Node};

    #[track_caller]
    fn check(marked: &str, want: &str) {
        let at = marked.find('¦').unwrap();
        let text = marked.replacen('¦', "", 1);
        let shown = |way: &Option<Vec<super::Part>>| {
            way.as_ref().map_or("-".to_owned(), |way| format!("[{}]", words(way).join(".")))
        };
        let got = spot_toml(&text, at).map_or("none".to_owned(), |spot| {
            format!("{} {} {:?}", shown(&spot.key_of), shown(&spot.value_of), &text[spot.range.clone()])
        });
        assert_eq!(got, want, "{marked}");
    }

    #[test]
    fn what_may_stand_at_a_place() {
        check("¦", "[] - \"\"");
        check("form¦at = 1", "[] - \"format\"");
        check("format = 1\n¦", "[] - \"\"");
        check("[reco¦ncile]\n", "[] - \"reconcile\"");
        check("[change_control.req¦]\n", "[change_control] - \"req\"");
        check("[reconcile]\n¦\n", "[reconcile] - \"\"");
        check("[reconcile]\non_rewrite = \"¦\"\n", "- [reconcile.on_rewrite] \"\"");
        check("[reconcile]\non_rewrite = ¦\n", "- [reconcile.on_rewrite] \"\"");
        check("[network]\nprivate = [{ ten¦ }]\n", "[network.private.[]] - \"ten\"");
        check("[network]\nprivate = [{ tenant = \"a¦\" }]\n", "- [network.private.[].tenant] \"a\"");
        check("[[x]]\n[[x]]\na¦\n", "[x.[]] - \"a\"");
        check("a = 1 # ¦", "none");
    }

    fn of_tree(node: &Node, way: &mut Vec<String>, found: &mut Vec<(String, usize)>) {
        match &node.kind {
            Kind::Scalar { .. } => found.push((way.join("."), node.span.start.offset)),
            Kind::Sequence(items) => items.iter().for_each(|item| {
                way.push("[]".to_owned());
                of_tree(item, way, found);
                way.pop();
            }),
            Kind::Mapping(entries) => entries.iter().for_each(|(key, value)| {
                way.push(key.scalar().unwrap().to_owned());
                of_tree(value, way, found);
                way.pop();
            }),
        }
    }

    #[test]
    fn it_agrees_with_the_reader() {
        let text = "format = 1\nname = \"a.b # c\" # d\n[change_control]\nmode = \"open\"\n[change_control.require]\n\
            grant = { from = [\"owner\", \"x\"], count = 1 }\n[network]\nprivate = [\n  { tenant = \"acme\", host = \"é\", port = 9 },\n]\n";
        let mut want = Vec::new();
        of_tree(&parse_toml(text.as_bytes(), "tenantry.toml").unwrap(), &mut Vec::new(), &mut want);
        want.sort_by_key(|(_, at)| *at);
        let outline = Outline::of_toml(text);
        let got: Vec<_> = outline
            .tokens
            .iter()
            .filter(|token| !token.key)
            .map(|token| (words(&token.path).join("."), token.range.start))
            .collect();
        assert_eq!(got, want);
    }

    proptest::proptest! {
        #[test]
        fn it_never_fails(text in "([a-z]{1,3} = |[\\[\\]{}=,.#\"'é\u{2003}]|\n| |[a-z]){0,40}", at in 0usize..60) {
            let mut at = at.min(text.len());
            while !text.is_char_boundary(at) { at -= 1; }
            let _ = (Outline::of_toml(&text), spot_toml(&text, at));
        }
    }
}
