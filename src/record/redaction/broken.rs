//! Forms that are broken into lines: the same search over the text without its line breaks.
//!
//! A break is a line feed or carriage return and the white space after it. Text without breaks is searched by a
//! second state of the same automaton, which lives only from a break in the middle of a form to where that form
//! has ended or turned out to be something else: ordinary text costs nothing.

use aho_corasick::automaton::StateID;

use super::Search;

/// Bytes of a form that have to stand before its first break. Fewer would hold back the end of nearly every
/// line; forms that are broken are looked for without their first bytes too ([`super::forms`]).
pub(super) const BEFORE_BREAK_MIN: usize = 4;
/// Bytes of one break; a longer one ends the form.
const BREAK_BYTES_MAX: usize = 64;

/// Where the search over the text without breaks stands.
#[derive(Debug, Default)]
pub(super) struct Broken {
    /// Its state, while what may be a form spans a break.
    state: Option<StateID>,
    /// Bytes since the last break.
    since: usize,
    /// Bytes of the break that the text is in.
    within: usize,
}

impl Broken {
    /// Takes one byte. `plain` is the state of the search over the text as it is, `before` what is held of the
    /// text, both without the byte. Gives the state in which forms that span a break may have ended.
    pub(super) fn step(
        &mut self,
        search: &Search,
        plain: StateID,
        before: &[u8],
        byte: u8,
    ) -> Option<StateID> {
        let breaks = matches!(byte, b'\n' | b'\r');
        if breaks || (self.within > 0 && matches!(byte, b' ' | b'\t')) {
            if self.within == 0 {
                self.begin_break(search, plain, before);
            }
            self.within += 1;
            if self.within > BREAK_BYTES_MAX {
                self.state = None;
            }
            return None;
        }
        if self.within > 0 {
            (self.within, self.since) = (0, 0);
        }
        self.since = self.since.saturating_add(1);
        let state = search.next(self.state?, byte);
        // What lies after the break alone is the plain search's to find.
        self.state = (search.depth(state) > self.since).then_some(state);
        self.state
    }

    fn begin_break(&mut self, search: &Search, plain: StateID, before: &[u8]) {
        let state = self.state.unwrap_or_else(|| {
            if search.depth(plain) <= self.since {
                return plain;
            }
            // What the plain search has seen spans a break itself: only what came after it counts here.
            let after = &before[before.len() - self.since..];
            after.iter().fold(search.start(), |state, byte| search.next(state, *byte))
        });
        self.state = (search.depth(state) >= BEFORE_BREAK_MIN).then_some(state);
    }

    /// Nothing that spans a break may be a form now.
    pub(super) fn is_idle(&self) -> bool {
        self.state.is_none()
    }

    /// How many of the last bytes of `held` may be the beginning of a form that spans a break.
    pub(super) fn span(&self, search: &Search, held: &[u8]) -> usize {
        self.state.map_or(0, |state| reach(held, search.depth(state)))
    }

    /// How many of the last bytes of `held` make up a form of `len` bytes that spans the last break; `None` if it
    /// lies after the break.
    pub(super) fn span_of(&self, held: &[u8], len: usize) -> Option<usize> {
        (len > self.since).then(|| reach(held, len))
    }
}

/// How many of the last bytes of a text hold its last `len` bytes outside breaks; all if there are not so many.
fn reach(text: &[u8], len: usize) -> usize {
    let mut start = text.len();
    let mut left = len;
    while left > 0 && start > 0 {
        let white = text[..start]
            .iter()
            .rev()
            .take_while(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
            .count();
        let run = &text[start - white..start];
        let skipped = run.iter().position(|byte| matches!(byte, b'\n' | b'\r')).map_or(0, |at| white - at);
        start -= skipped;
        if start > 0 {
            start -= 1;
            left -= 1;
        }
    }
    text.len() - start
}
