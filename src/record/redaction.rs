//! Takes secrets out of a stream of bytes, whatever its chunks, before anything is stored or shown.
//!
//! All occurrences of all forms of all values are found, those that overlap are joined, and each joined region
//! is replaced by the names of the secrets in it: `[redacted:stripe_api_key]`, without prefix or length. Bytes
//! that may be the beginning of a form are held back until that is decided, at most as many as the longest form
//! has. A form that is broken into lines, as `base64` and `xxd -p` do, is found all the same, wherever the breaks
//! fall. The limit: a script can disguise what it was given; scope, audit and revocation are the answer to that.
//!
//! Two searches share the work. The first looks for the first bytes of every form at once and is cheap to make and
//! to run; text in which it finds nothing is ordinary. Only from where it finds something does the automaton look,
//! and it is made when that happens for the first time: most attempts print nothing that begins like a secret.
//!
//! The automaton is not overwritten when dropped, but holds values as scattered single bytes only.

mod broken;
mod forms;
mod heads;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use aho_corasick::automaton::StateID;
use zeroize::{Zeroize as _, Zeroizing};

use crate::domain::SecretName;
use crate::sops::Plaintext;

use broken::{BEFORE_BREAK_MIN, Broken};
pub use forms::Form;
use forms::Text;
use heads::{Heads, Next};
use search::Search;

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
    known: Vec<Arc<Known>>,
    heads: Heads,
    search: OnceLock<Search>,
}

/// A value and its forms, shared by all patterns that it is among.
struct Known {
    owner: usize,
    value: Plaintext,
    forms: Vec<(Form, Text)>,
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
        let mut patterns = Self { names: self.names.clone(), known: self.known.clone(), ..Self::default() };
        patterns.add(name, value)?;
        patterns.build();
        Ok(Arc::new(patterns))
    }

    fn knows(&self, name: &SecretName, value: &Plaintext) -> bool {
        let same =
            |known: &Arc<Known>| self.names[known.owner] == *name && known.value.expose() == value.expose();
        self.known.iter().any(same)
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
        let known: usize = self.known.iter().map(|known| known.value.len()).sum();
        if known + value.len() > VALUES_BYTES_MAX {
            return Err(Unredactable::TooLong);
        }
        let owner = self.names.iter().position(|known| known == name).unwrap_or_else(|| {
            self.names.push(name.clone());
            self.names.len() - 1
        });
        let forms = forms::all(value.expose());
        self.known.push(Arc::new(Known { owner, value: Plaintext::new(value.expose().to_vec()), forms }));
        Ok(())
    }

    fn texts(&self) -> impl Iterator<Item = &Text> + Clone {
        self.known.iter().flat_map(|known| &known.forms).map(|(_, text)| text)
    }

    fn build(&mut self) {
        self.heads = Heads::of(self.texts());
    }

    /// The automaton, made when it is needed for the first time.
    fn search(&self) -> &Search {
        self.search.get_or_init(|| Search::of(self.texts()))
    }

    /// Whose a pattern of the automaton is and which form.
    fn owner(&self, pattern: usize) -> (usize, Form) {
        // INVARIANT: the automaton numbers its patterns in the order of the texts it was made of.
        let mut at = pattern;
        for known in &self.known {
            match known.forms.get(at) {
                Some((form, _)) => return (known.owner, *form),
                None => at -= known.forms.len(),
            }
        }
        unreachable!("a pattern that nobody gave the automaton")
    }
}

impl std::fmt::Debug for Patterns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Patterns({} of {:?})", self.texts().count(), self.names)
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

/// Where the two searches stand. Positions count from the first byte that is held.
#[derive(Debug)]
enum Mode {
    /// No form begins before this position.
    Looking(usize),
    /// The automaton has read up to the position `at`.
    Following {
        at: usize,
        /// Not left before this position: what made the automaton begin ends here.
        until: usize,
        state: StateID,
        broken: Broken,
    },
}

/// Redacts one stream. Its output is the same however the input is cut into chunks.
#[derive(Debug)]
pub struct Redactor {
    patterns: Arc<Patterns>,
    mode: Mode,
    /// Bytes that are read and not yet given out; the first is number `base` of the stream.
    held: Zeroizing<Vec<u8>>,
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
        let (mode, held) = (Mode::Looking(0), Zeroizing::default());
        Self { patterns, mode, held, base: 0, regions: Vec::new(), hits: BTreeMap::new() }
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
        self.mode = Mode::Looking(0);
        self.read();
    }

    /// Takes a chunk and gives out what is decided.
    pub fn push(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.hold(chunk);
        self.read();
        let undecided = match &self.mode {
            Mode::Looking(from) => self.held.len() - from,
            Mode::Following { state, broken, .. } => {
                let search = self.patterns.search();
                search.depth(*state).max(broken.span(search, &self.held))
            }
        };
        self.give(self.held.len().saturating_sub(undecided))
    }

    /// Gives out the rest: nothing can follow.
    pub fn finish(&mut self) -> Vec<u8> {
        let rest = self.give(self.held.len());
        self.mode = Mode::Looking(0);
        rest
    }

    /// How often each form was taken out so far.
    #[must_use]
    pub fn hits(&self) -> &BTreeMap<Form, u64> {
        &self.hits
    }

    /// Adds a chunk to what is held. A buffer that is too small is overwritten, not only given back.
    fn hold(&mut self, chunk: &[u8]) {
        let needed = self.held.len() + chunk.len();
        if needed > self.held.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(2 * self.held.capacity())));
            larger.extend_from_slice(&self.held);
            self.held = larger;
        }
        self.held.extend_from_slice(chunk);
    }

    /// Reads what is held and not yet read.
    fn read(&mut self) {
        let patterns = Arc::clone(&self.patterns);
        loop {
            self.mode = match std::mem::replace(&mut self.mode, Mode::Looking(0)) {
                Mode::Looking(from) => match patterns.heads.next(&self.held, from) {
                    Next::Nothing { decided } => {
                        self.mode = Mode::Looking(decided);
                        return;
                    }
                    Next::Head { start, end } => {
                        let state = patterns.search().start();
                        Mode::Following { at: start, until: end, state, broken: Broken::default() }
                    }
                },
                following @ Mode::Following { at, .. } if at == self.held.len() => {
                    self.mode = following;
                    return;
                }
                Mode::Following { at, until, state, broken } => {
                    self.follow(&patterns, at, until, state, broken)
                }
            };
        }
    }

    /// Lets the automaton read until no form can have begun, or to the end of what is held.
    fn follow(
        &mut self,
        patterns: &Patterns,
        from: usize,
        until: usize,
        mut state: StateID,
        mut broken: Broken,
    ) -> Mode {
        let search = patterns.search();
        for at in from..self.held.len() {
            let byte = self.held[at];
            let across = broken.step(search, state, &self.held[..at], byte);
            state = search.next(state, byte);
            let end = self.base + at as u64 + 1;
            for (pattern, len) in search.matches(state) {
                let (owner, form) = patterns.owner(pattern);
                self.mark(Found { owner, start: end - len as u64, end, form, len: len as u64 });
            }
            for (pattern, len) in across.into_iter().flat_map(|state| search.matches(state)) {
                let Some(span) = broken.span_of(&self.held[..=at], len) else { continue };
                let (owner, form) = patterns.owner(pattern);
                self.mark(Found { owner, start: end - span as u64, end, form, len: len as u64 });
            }
            let depth = search.depth(state);
            if at + 1 >= until && depth < BEFORE_BREAK_MIN && broken.is_idle() {
                return Mode::Looking(at + 1 - depth);
            }
        }
        Mode::Following { at: self.held.len(), until, state, broken }
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
        let left = self.held.len() - decided;
        self.held.copy_within(decided.., 0);
        self.held[left..].zeroize();
        self.held.truncate(left);
        self.base = frontier;
        match &mut self.mode {
            Mode::Looking(from) => *from = from.saturating_sub(decided),
            Mode::Following { at, until, .. } => {
                *at -= decided;
                *until = until.saturating_sub(decided);
            }
        }
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
