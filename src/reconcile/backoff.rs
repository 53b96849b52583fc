//! How long to wait after a transient failure: from 5 s, doubled to 5 min, with jitter. Source: rule 11.

use crate::domain::{Length, digest_of};

const FIRST_MILLIS: u64 = 5_000;
const LONGEST_MILLIS: u64 = 300_000;

/// The wait after the failure with this number in a row, from 1. The jitter, up to a fifth less, follows from
/// `who`, so that tenants which failed together do not return together.
pub(super) fn wait(failures: u32, who: &str) -> Length {
    let doubled = FIRST_MILLIS.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let full = doubled.min(LONGEST_MILLIS);
    let digest = digest_of(&(who, failures));
    let spread = digest.bytes().rev().take(2).fold(0, |sum, byte| sum * 16 + u64::from(byte % 16));
    Length::from_millis(full - full * spread / (5 * 256))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_five_minutes_less_a_fifth_at_most() {
        for (failures, full) in
            [(1, 5_000), (2, 10_000), (3, 20_000), (7, 300_000), (50, 300_000), (u32::MAX, 300_000)]
        {
            let wait = wait(failures, "acme").as_millis();
            assert!(wait <= full && wait >= full * 4 / 5, "{failures}: {wait}");
        }
        let spread: std::collections::BTreeSet<_> = (0..50).map(|n| wait(3, &format!("t{n}"))).collect();
        assert!(spread.len() > 20, "tenants return together: {spread:?}");
    }
}
