//! The first bytes of every form, looked for at every place of a text.
//!
//! Four bytes that begin no form rule a place out with one look into a table of bits. What is left is compared with
//! the first eight bytes of every form, by halving a sorted list. A form may be broken into lines after four bytes
//! ([`super::broken`]): fewer than eight have to do there.

use zeroize::Zeroizing;

use super::VALUE_BYTES_MIN;
use super::broken::BEFORE_BREAK_MIN;
use super::forms::Text;

/// Bytes of a head: no form is shorter.
const HEAD_BYTES: usize = 8;
const _: () = assert!(HEAD_BYTES == VALUE_BYTES_MIN && BEFORE_BREAK_MIN == 4);

/// The heads of some forms.
#[derive(Default)]
pub(super) struct Heads {
    /// The first eight bytes of each form as a number, the first byte highest, in order.
    heads: Zeroizing<Vec<u64>>,
    /// One bit for each of some hashes of four bytes; a power of two of them, at least 64.
    bits: Vec<u64>,
    /// What a hash is shifted by to be a number of a bit.
    shift: u32,
}

/// What lies ahead in a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// No head up to the position `decided`; from there on it depends on what follows.
    Nothing { decided: usize },
    /// A form may begin at `start`: the bytes up to `end` say so.
    Head { start: usize, end: usize },
}

enum Here {
    Nothing,
    Head { bytes: usize },
    Depends,
}

impl Heads {
    /// The heads of texts, each of [`HEAD_BYTES`] or more.
    pub(super) fn of<'t>(texts: impl Iterator<Item = &'t Text>) -> Self {
        let mut heads: Zeroizing<Vec<u64>> = Zeroizing::new(
            texts.filter_map(|text| text.first_chunk().copied()).map(u64::from_be_bytes).collect(),
        );
        heads.sort_unstable();
        heads.dedup();
        // About one place in a hundred of a random text passes a table of this size.
        let bits = (heads.len() * 128).next_power_of_two().clamp(1 << 10, 1 << 20);
        let mut made = Self { heads, bits: vec![0; bits / 64], shift: 32 - bits.trailing_zeros() };
        for at in 0..made.heads.len() {
            let hash = made.hash((made.heads[at] >> 32) as u32);
            made.bits[hash / 64] |= 1 << (hash % 64);
        }
        made
    }

    fn hash(&self, four: u32) -> usize {
        // Knuth's multiplicative hash: the upper bits depend on all bytes.
        (four.wrapping_mul(0x9E37_79B1) >> self.shift) as usize
    }

    /// The first place at or after `from` where a form may begin.
    pub(super) fn next(&self, text: &[u8], from: usize) -> Next {
        if self.heads.is_empty() {
            return Next::Nothing { decided: text.len() };
        }
        let mut start = from;
        while start < text.len() {
            start = self.pass(text, start);
            match self.here(&text[start..]) {
                Here::Nothing => start += 1,
                Here::Head { bytes } => return Next::Head { start, end: start + bytes },
                Here::Depends => return Next::Nothing { decided: start },
            }
        }
        Next::Nothing { decided: text.len() }
    }

    /// Goes from `start` to the first place whose four bytes may be a head's; to the last three if there is none.
    fn pass(&self, text: &[u8], start: usize) -> usize {
        let rest = &text[start..];
        let may_be = |four: [u8; 4]| {
            let hash = self.hash(u32::from_be_bytes(four));
            self.bits[hash / 64] >> (hash % 64) & 1 != 0
        };
        // Four places at a time, of which hardly ever one may be a head's.
        let mut at = 0;
        while let Some(seven) = rest.get(at..at + 7) {
            let four = |from: usize| [seven[from], seven[from + 1], seven[from + 2], seven[from + 3]];
            if may_be(four(0)) | may_be(four(1)) | may_be(four(2)) | may_be(four(3)) {
                break;
            }
            at += 4;
        }
        let places = rest[at..].windows(BEFORE_BREAK_MIN);
        let left = places.len();
        let more = places.map(|four| [four[0], four[1], four[2], four[3]]).position(may_be);
        start + at + more.unwrap_or(left)
    }

    /// Whether a form may begin where a text does.
    fn here(&self, text: &[u8]) -> Here {
        let first = &text[..text.len().min(HEAD_BYTES)];
        if first.is_empty() {
            return Here::Nothing;
        }
        if self.any_begins_with(first) {
            return if first.len() == HEAD_BYTES { Here::Head { bytes: HEAD_BYTES } } else { Here::Depends };
        }
        match first.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            Some(at) if at >= BEFORE_BREAK_MIN && self.any_begins_with(&first[..at]) => {
                Here::Head { bytes: at + 1 }
            }
            _ => Here::Nothing,
        }
    }

    /// `first` has 1 to 8 bytes.
    fn any_begins_with(&self, first: &[u8]) -> bool {
        let mut low = [0_u8; HEAD_BYTES];
        let mut high = [u8::MAX; HEAD_BYTES];
        low[..first.len()].copy_from_slice(first);
        high[..first.len()].copy_from_slice(first);
        let (low, high) = (u64::from_be_bytes(low), u64::from_be_bytes(high));
        let at = self.heads.partition_point(|head| *head < low);
        self.heads.get(at).is_some_and(|head| *head <= high)
    }
}
