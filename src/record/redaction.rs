//! Takes secrets out of a stream of bytes, whatever its chunks, before anything is stored or shown.
//!
//! All occurrences of all forms of all values are found, those that overlap are joined, and each joined region
//! is replaced by the names of the secrets in it: `[redacted:stripe_api_key]`, without prefix or length. Bytes
//! that may be the beginning of a form are held back until that is decided, at most as many as the longest form
//! has. A form that is broken into lines, as `base64` and `xxd -p` do, is found all the same, wherever the breaks
//! fall. The limit: a script can disguise what it was given; scope, audit and revocation are the answer to that.
//!
//! The patterns inside the automaton are not overwritten when dropped: its crate keeps them in plain vectors.
//! They live as long as the attempt that was given the values.

mod broken;
mod forms;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use aho_corasick::Anchored;
use aho_corasick::automaton::{Automaton, StateID};
use aho_corasick::nfa::contiguous::NFA;

use crate::domain::SecretName;
use crate::sops::Plaintext;

use broken::Broken;
pub use forms::Form;

/// Bytes of the shortest value that can be told from ordinary text.
pub const VALUE_BYTES_MIN: usize = 8;
/// Bytes of the longest value whose forms are kept at hand.
pub const VALUE_BYTES_MAX: usize = 16 << 10;
/// Bytes of all values of one attempt.
pub const VALUES_BYTES_MAX: usize = 64 << 10;

/// Why a value cannot be protected in logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unredactable {
    /// Under 8 bytes without the white space around it.
    #[error("has fewer than 8 characters: in a log it could not be told from other text")]
    TooShort,
    /// A word or pattern that ordinary text holds.
    #[error("is a common word or pattern: in a log it could not be told from other text")]
    Common,
    /// More than 16 KiB, or more than 64 KiB together with the values before it.
    #[error("is too long to be looked for in every log line")]
    TooLong,
}

/// Says whether a value can be protected in logs.
///
/// # Errors
/// [`Unredactable`], the first reason that holds.
pub fn redactable(value: &Plaintext) -> Result<(), Unredactable> {
    redactable_bytes(value.expose())
}

fn redactable_bytes(value: &[u8]) -> Result<(), Unredactable> {
    const COMMON: [&str; 24] = [
        "password",
        "passw0rd",
        "password1",
        "password123",
        "changeme",
        "username",
        "postgres",
        "postgresql",
        "localhost",
        "undefined",
        "disabled",
        "production",
        "development",
        "example",
        "example.com",
        "testtest",
        "12345678",
        "123456789",
        "1234567890",
        "87654321",
        "abcdefgh",
        "qwertyui",
        "qwertyuiop",
        "secretsecret",
    ];
    let trimmed = value.trim_ascii();
    if trimmed.len() < VALUE_BYTES_MIN {
        return Err(Unredactable::TooShort);
    }
    if value.len() > VALUE_BYTES_MAX {
        return Err(Unredactable::TooLong);
    }
    let same = trimmed.iter().all(|byte| *byte == trimmed[0]);
    if same || COMMON.iter().any(|word| trimmed.eq_ignore_ascii_case(word.as_bytes())) {
        return Err(Unredactable::Common);
    }
    Ok(())
}

/// The forms of some values, ready to be looked for. Shared by the streams of one attempt.
#[derive(Default)]
pub struct Patterns {
    names: Vec<SecretName>,
    /// For each pattern of the automaton, whose it is and which form.
    owners: Vec<(usize, Form)>,
    values: Vec<(usize, Plaintext)>,
    search: Option<Search>,
}

struct Search {
    automaton: NFA,
    start: StateID,
    /// How many of the last bytes are the beginning of a pattern, by state; 0 where missing.
    depths: HashMap<StateID, usize>,
}

impl Search {
    fn next(&self, state: StateID, byte: u8) -> StateID {
        self.automaton.next_state(Anchored::No, state, byte)
    }

    fn depth(&self, state: StateID) -> usize {
        self.depths.get(&state).copied().unwrap_or(0)
    }

    /// The patterns that end in a state, with the lengths of their texts; none in most states.
    fn matches(&self, state: StateID) -> impl Iterator<Item = (usize, usize)> + '_ {
        let special = self.automaton.is_special(state) && self.automaton.is_match(state);
        let count = if special { self.automaton.match_len(state) } else { 0 };
        (0..count).map(move |nth| {
            let pattern = self.automaton.match_pattern(state, nth);
            (pattern.as_usize(), self.automaton.pattern_len(pattern))
        })
    }
}

impl Patterns {
    /// Makes patterns of values under their secrets' names.
    ///
    /// # Errors
    /// The first value that cannot be protected, with its name.
    pub fn new<'v>(
        values: impl IntoIterator<Item = (SecretName, &'v Plaintext)>,
    ) -> Result<Self, (SecretName, Unredactable)> {
        let mut patterns = Self::default();
        for (name, value) in values {
            patterns.add(&name, value).map_err(|reason| (name, reason))?;
        }
        patterns.build();
        Ok(patterns)
    }

    /// The same patterns and those of one more value, for instance one that a script asks for a second time or
    /// wants to have masked; these very patterns if the value is among them.
    ///
    /// # Errors
    /// The value cannot be protected.
    pub fn with(self: &Arc<Self>, name: &SecretName, value: &Plaintext) -> Result<Arc<Self>, Unredactable> {
        if self.knows(name, value) {
            return Ok(Arc::clone(self));
        }
        let mut patterns = Self::default();
        for (owner, known) in &self.values {
            patterns.add(&self.names[*owner], known)?;
        }
        patterns.add(name, value)?;
        patterns.build();
        Ok(Arc::new(patterns))
    }

    fn knows(&self, name: &SecretName, value: &Plaintext) -> bool {
        let same = |(owner, known): &(usize, Plaintext)| {
            self.names[*owner] == *name && known.expose() == value.expose()
        };
        self.values.iter().any(same)
    }

    /// Takes the secrets out of one whole text.
    #[must_use]
    pub fn redact(self: &Arc<Self>, text: &[u8]) -> Vec<u8> {
        let mut redactor = Redactor::over(Arc::clone(self));
        let mut out = redactor.push(text);
        out.extend(redactor.finish());
        out
    }

    fn add(&mut self, name: &SecretName, value: &Plaintext) -> Result<(), Unredactable> {
        redactable(value)?;
        if self.knows(name, value) {
            return Ok(());
        }
        let known: usize = self.values.iter().map(|(_, value)| value.len()).sum();
        if known + value.len() > VALUES_BYTES_MAX {
            return Err(Unredactable::TooLong);
        }
        let owner = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.clone());
            self.names.len() - 1
        });
        self.values.push((owner, Plaintext::new(value.expose().to_vec())));
        Ok(())
    }

    fn build(&mut self) {
        let mut texts = Vec::new();
        self.owners.clear();
        for (owner, value) in &self.values {
            for (form, text) in forms::all(value.expose()) {
                self.owners.push((*owner, form));
                texts.push(text);
            }
        }
        if texts.is_empty() {
            return;
        }
        // INVARIANT: building fails beyond 2^31 states, and start states exist for unanchored search;
        // VALUES_BYTES_MAX keeps all forms together below a few millions.
        let automaton = NFA::new(&texts).unwrap_or_else(|error| panic!("too many patterns: {error}"));
        let start =
            automaton.start_state(Anchored::No).unwrap_or_else(|error| panic!("no start state: {error}"));
        let mut depths = HashMap::new();
        for text in &texts {
            let mut state = start;
            for (index, byte) in text.iter().enumerate() {
                // A beginning of a pattern is its own longest suffix: the state stands for exactly these bytes.
                state = automaton.next_state(Anchored::No, state, *byte);
                depths.insert(state, index + 1);
            }
        }
        self.search = Some(Search { automaton, start, depths });
    }
}

impl std::fmt::Debug for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Patterns({} of {:?})", self.owners.len(), self.names)
    }
}

/// One stretch of bytes that is to go.
#[derive(Debug)]
struct Region {
    start: u64,
    end: u64,
    found: Vec<Found>,
}

/// A secret within a region: from its first to its last byte there, and the form of its longest match.
#[derive(Clone, Copy, Debug)]
struct Found {
    owner: usize,
    start: u64,
    end: u64,
    form: Form,
    len: u64,
}

/// Redacts one stream. Its output is the same however the input is cut into chunks.
#[derive(Debug)]
pub struct Redactor {
    patterns: Arc<Patterns>,
    state: Option<StateID>,
    broken: Broken,
    /// Bytes that are read and not yet given out; the first is number `base` of the stream.
    held: Vec<u8>,
    base: u64,
    /// Not yet given out, in order, none overlapping another.
    regions: Vec<Region>,
    hits: BTreeMap<Form, u64>,
}

impl Redactor {
    /// Redacts the given values.
    ///
    /// # Errors
    /// The first value that cannot be protected, with its name.
    pub fn new<'v>(
        values: impl IntoIterator<Item = (SecretName, &'v Plaintext)>,
    ) -> Result<Self, (SecretName, Unredactable)> {
        Ok(Self::over(Arc::new(Patterns::new(values)?)))
    }

    /// Redacts what is shared with other streams.
    #[must_use]
    pub fn over(patterns: Arc<Patterns>) -> Self {
        let state = patterns.search.as_ref().map(|search| search.start);
        let (broken, held, regions) = (Broken::default(), Vec::new(), Vec::new());
        Self { patterns, state, broken, held, base: 0, regions, hits: BTreeMap::new() }
    }

    /// Redacts one more value from here on. Has to be called before the first byte of the value is given out.
    ///
    /// # Errors
    /// The value cannot be protected; nothing has changed.
    pub fn register(&mut self, name: &SecretName, value: &Plaintext) -> Result<(), Unredactable> {
        let patterns = self.patterns.with(name, value)?;
        self.adopt(patterns);
        Ok(())
    }

    /// Goes on with patterns that another stream of the attempt registered: a superset of its own.
    pub fn adopt(&mut self, patterns: Arc<Patterns>) {
        // What is held is read again. Only a region that began before it could not be found again; it numbers
        // secrets by the order of names, which a superset keeps.
        self.regions.retain(|region| region.start < self.base);
        self.patterns = patterns;
        self.state = self.patterns.search.as_ref().map(|search| search.start);
        self.broken = Broken::default();
        let held = std::mem::take(&mut self.held);
        self.read(&held);
    }

    /// Takes a chunk and gives out what is decided.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.read(chunk);
        let undecided = match (&self.patterns.search, self.state) {
            (Some(search), Some(state)) => search.depth(state).max(self.broken.span(search, &self.held)),
            _ => 0,
        };
        self.give(self.held.len().saturating_sub(undecided))
    }

    /// Gives out the rest: nothing can follow.
    pub fn finish(&mut self) -> Vec<u8> {
        let rest = self.give(self.held.len());
        self.state = self.patterns.search.as_ref().map(|search| search.start);
        self.broken = Broken::default();
        rest
    }

    /// How often each form was taken out so far.
    #[must_use]
    pub fn hits(&self) -> &BTreeMap<Form, u64> {
        &self.hits
    }

    fn read(&mut self, chunk: &[u8]) {
        let patterns = Arc::clone(&self.patterns);
        let (Some(search), Some(mut state)) = (&patterns.search, self.state) else {
            self.held.extend_from_slice(chunk);
            return;
        };
        let before = self.held.len();
        self.held.extend_from_slice(chunk);
        for (index, byte) in chunk.iter().enumerate() {
            let at = before + index;
            let across = self.broken.step(search, state, &self.held[..at], *byte);
            state = search.next(state, *byte);
            let end = self.base + at as u64 + 1;
            for (pattern, len) in search.matches(state) {
                let (owner, form) = patterns.owners[pattern];
                self.mark(Found { owner, start: end - len as u64, end, form, len: len as u64 });
            }
            for (pattern, len) in across.into_iter().flat_map(|state| search.matches(state)) {
                let Some(span) = self.broken.span_of(&self.held[..=at], len) else { continue };
                let (owner, form) = patterns.owners[pattern];
                self.mark(Found { owner, start: end - span as u64, end, form, len: len as u64 });
            }
        }
        self.state = Some(state);
    }

    /// Joins a match with the regions it overlaps. Matches come in the order of their ends.
    fn mark(&mut self, found: Found) {
        let mut region = Region { start: found.start, end: found.end, found: vec![found] };
        while let Some(last) = self.regions.pop_if(|last| last.end > region.start) {
            region.start = region.start.min(last.start);
            region.end = region.end.max(last.end);
            region.found.extend(last.found);
        }
        // One entry a secret, so that a region of any length stays small.
        let mut joined: Vec<Found> = Vec::with_capacity(region.found.len());
        for found in region.found {
            let Some(known) = joined.iter_mut().find(|known| known.owner == found.owner) else {
                joined.push(found);
                continue;
            };
            known.start = known.start.min(found.start);
            known.end = known.end.max(found.end);
            if (found.len, std::cmp::Reverse(found.form)) > (known.len, std::cmp::Reverse(known.form)) {
                (known.len, known.form) = (found.len, found.form);
            }
        }
        region.found = joined;
        self.regions.push(region);
    }

    /// Gives out the first `decided` of the held bytes: no later match can begin in them.
    fn give(&mut self, decided: usize) -> Vec<u8> {
        let frontier = self.base + decided as u64;
        let mut out = Vec::with_capacity(decided);
        let mut at = self.base;
        let mut kept = Vec::new();
        for region in std::mem::take(&mut self.regions) {
            if region.start < frontier {
                // A region that reaches over the frontier may have begun before what is held.
                if region.start > at {
                    out.extend_from_slice(self.bytes(at, region.start));
                }
                at = at.max(region.end.min(frontier));
            }
            if region.end <= frontier {
                self.name(&region, &mut out);
            } else {
                kept.push(region);
            }
        }
        if frontier > at {
            out.extend_from_slice(self.bytes(at, frontier));
        }
        self.regions = kept;
        self.held.drain(..decided);
        self.base = frontier;
        out
    }

    fn bytes(&self, from: u64, to: u64) -> &[u8] {
        // INVARIANT: both lie within what is held, whose length is a `usize`.
        &self.held[(from - self.base) as usize..(to - self.base) as usize]
    }

    /// Writes the names of the secrets in a region: not of those that lie within another's value.
    fn name(&mut self, region: &Region, out: &mut Vec<u8>) {
        let names = &self.patterns.names;
        let mut shown: Vec<&Found> = Vec::new();
        for found in &region.found {
            let within = region.found.iter().any(|other| {
                let covers = other.start <= found.start && found.end <= other.end;
                let larger = other.end - other.start > found.end - found.start;
                covers && (larger || (other.owner != found.owner && names[other.owner] < names[found.owner]))
            });
            if !within {
                shown.push(found);
            }
        }
        shown.sort_by(|a, b| (a.start, &names[a.owner]).cmp(&(b.start, &names[b.owner])));
        for found in shown {
            *self.hits.entry(found.form).or_default() += 1;
            out.extend_from_slice(format!("[redacted:{}]", names[found.owner]).as_bytes());
        }
    }
}
