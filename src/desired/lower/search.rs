//! A search for what nobody may see through a file that is too large to be held, piece by piece as it is read.

use super::content::{Hit, What, hits, position};
use crate::domain::{Position, Seen, SeenSecret, Span};

/// Bytes that are looked at together.
const PIECE_BYTES: usize = 256 << 10;
/// Bytes behind a place that its kind may depend on: the longest run that a token is followed through, a line of a key's
/// head, a URL's user and password.
const BEHIND_BYTES: usize = 8 << 10;
/// Bytes before a place that its kind may depend on.
const BEFORE_BYTES: usize = 16;

/// The first place of each kind, whatever the pieces are. Holds at most two pieces of the file.
#[derive(Debug)]
pub struct Search {
    piece: Vec<u8>,
    /// Where `piece` begins in the file.
    begins: Position,
    /// What lies before this place in `piece` was judged.
    judged: usize,
    seen: Vec<Seen>,
}

impl Default for Search {
    fn default() -> Self {
        let begins = Position { offset: 0, line: 1, column: 1 };
        Self { piece: Vec::new(), begins, judged: 0, seen: Vec::new() }
    }
}

impl Search {
    /// Goes on with the bytes that follow.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = (2 * PIECE_BYTES).saturating_sub(self.piece.len()).max(1);
            let (now, rest) = bytes.split_at(bytes.len().min(room));
            self.piece.extend_from_slice(now);
            bytes = rest;
            if self.piece.len() >= 2 * PIECE_BYTES {
                self.judge(self.piece.len() - BEHIND_BYTES);
            }
        }
    }

    /// What was seen, in the order of places.
    #[must_use]
    pub fn ended(mut self) -> Vec<Seen> {
        self.judge(self.piece.len());
        self.seen
    }

    /// Judges what lies before `end` and lets go of it, but for what the next place may depend on.
    fn judge(&mut self, end: usize) {
        for Hit { start, end: stop, what } in hits(&self.piece) {
            let what = match what {
                What::PrivateKey => SeenSecret::PrivateKey,
                What::Token(kind) => SeenSecret::Token(kind),
                What::UrlPassword => SeenSecret::UrlPassword,
                What::Mask | What::Conflict | What::Hidden => continue,
            };
            // What begins behind `end` is seen whole next time.
            let mine = (self.judged..end).contains(&start);
            if mine && !self.seen.iter().any(|seen| seen.what == what) {
                let span = Span { start: self.place(start), end: self.place(stop) };
                self.seen.push(Seen { what, span });
            }
        }
        let kept = end.saturating_sub(BEFORE_BYTES);
        self.begins = self.place(kept);
        self.piece.drain(..kept);
        self.judged = end - kept;
    }

    fn place(&self, at: usize) -> Position {
        let inside = position(&self.piece, at);
        let first = inside.line == 1;
        Position {
            offset: self.begins.offset + at,
            line: self.begins.line + inside.line - 1,
            column: if first { self.begins.column + inside.column - 1 } else { inside.column },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn age_key() -> String {
        format!("AGE-SECRET-KEY-1{}", "Q5ZP8RY9X4GF2TVDW0S3JN7KHCE6MUALQ5ZP8RY9X4GF2TVDW0S3JN7KHC")
    }

    fn token() -> String {
        format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9")
    }

    fn url() -> String {
        format!("postgres://app:{}@db.example/x", "hunter2-hunter2")
    }

    /// A file of two MiB with three secrets in it, the first one `at` bytes behind the start.
    fn file(at: usize) -> Vec<u8> {
        let mut bytes = b"0123456 abcdef\n".repeat((2 << 20) / 15);
        for (place, text) in [(at, age_key()), (at + 700_000, token()), (at + 900_000, url())] {
            let text = format!(" {text} ");
            bytes[place..place + text.len()].copy_from_slice(text.as_bytes());
        }
        bytes
    }

    fn searched(bytes: &[u8], piece: usize) -> Vec<Seen> {
        let mut search = Search::default();
        bytes.chunks(piece).for_each(|chunk| search.feed(chunk));
        search.ended()
    }

    /// What one look at the whole says.
    fn whole(bytes: &[u8]) -> Vec<Span> {
        let span = |hit: Hit| Span { start: position(bytes, hit.start), end: position(bytes, hit.end) };
        hits(bytes).into_iter().map(span).collect()
    }

    #[test]
    fn pieces_say_what_the_whole_says() {
        // Places around every edge of what is looked at together.
        let edges = [2 * PIECE_BYTES - BEHIND_BYTES, 2 * PIECE_BYTES, PIECE_BYTES, 1 << 20];
        for at in edges.into_iter().flat_map(|edge| [edge - 40, edge - 1, edge + 3]) {
            let bytes = file(at);
            for piece in [100_003, bytes.len()] {
                let seen = searched(&bytes, piece);
                assert_eq!(
                    seen.iter().map(|one| one.span).collect::<Vec<_>>(),
                    whole(&bytes),
                    "{at} {piece}"
                );
                let kinds: Vec<_> = seen.iter().map(|one| one.what).collect();
                let token = SeenSecret::Token("a GitHub token");
                assert_eq!(kinds, [SeenSecret::PrivateKey, token, SeenSecret::UrlPassword], "{at} {piece}");
            }
        }
    }

    #[test]
    fn one_of_a_kind_is_kept_and_little_of_the_file() {
        let line = format!("x {}\n", token());
        let mut search = Search::default();
        for _ in 0..40_000 {
            search.feed(line.as_bytes());
            assert!(search.piece.len() <= 2 * PIECE_BYTES, "{}", search.piece.len());
        }
        let seen = search.ended();
        assert_eq!(seen.len(), 1);
        assert_eq!((seen[0].span.start.line, seen[0].span.start.column), (1, 3));
    }
}
