//! The automaton of all forms: every place where one ends, in time that no text can stretch.

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::noncontiguous::{Builder, NFA};

use super::forms::Text;

pub(super) struct Search {
    automaton: NFA,
    start: StateID,
    /// How many of the last bytes are the beginning of a form, by state.
    depths: Vec<u32>,
}

impl Search {
    /// Makes it of all forms, which it numbers in their order.
    pub(super) fn of<'t>(texts: impl Iterator<Item = &'t Text> + Clone) -> Self {
        // INVARIANT: building fails beyond 2^31 states, and start states exist for unanchored search;
        // VALUES_BYTES_MAX keeps all forms together below a few millions.
        let automaton = Builder::new()
            .prefilter(false)
            .build(texts.clone().map(|text| text.as_slice()))
            .unwrap_or_else(|error| panic!("too many patterns: {error}"));
        let start =
            automaton.start_state(Anchored::No).unwrap_or_else(|error| panic!("no start state: {error}"));
        let mut depths = Vec::new();
        for text in texts {
            let mut state = start;
            for (index, byte) in text.iter().enumerate() {
                // A beginning of a pattern is its own longest suffix: the state stands for exactly these bytes.
                state = automaton.next_state(Anchored::No, state, *byte);
                if depths.len() <= state.as_usize() {
                    depths.resize(state.as_usize() + 1, 0);
                }
                // INVARIANT: a form has at most a few times VALUE_BYTES_MAX bytes.
                depths[state.as_usize()] = index as u32 + 1;
            }
        }
        Self { automaton, start, depths }
    }

    /// The state before any text.
    pub(super) fn start(&self) -> StateID {
        self.start
    }

    /// The state after one more byte.
    pub(super) fn next(&self, state: StateID, byte: u8) -> StateID {
        self.automaton.next_state(Anchored::No, state, byte)
    }

    /// How many of the last bytes are the beginning of a form.
    pub(super) fn depth(&self, state: StateID) -> usize {
        self.depths.get(state.as_usize()).map_or(0, |depth| *depth as usize)
    }

    /// The patterns that end in a state, with the lengths of their texts; none in most states.
    pub(super) fn matches(&self, state: StateID) -> impl Iterator<Item = (usize, usize)> + '_ {
        let special = self.automaton.is_special(state) && self.automaton.is_match(state);
        let count = if special { self.automaton.match_len(state) } else { 0 };
        (0..count).map(move |nth| {
            let pattern = self.automaton.match_pattern(state, nth);
            (pattern.as_usize(), self.automaton.pattern_len(pattern))
        })
    }
}
