//! Fail points: places where a test can kill this process, to see what it would have lost.
//!
//! `TENANTRY_FAILPOINT=NAME` aborts the process at the first point of that name, `NAME:N` at the N-th. Compiled
//! into builds with debug assertions only; elsewhere nothing is left of them.
#![cfg_attr(
    debug_assertions,
    expect(clippy::disallowed_methods, reason = "reads which point was asked for, once")
)]

/// Every point, in the order in which a commit passes them.
pub const FAILPOINTS: [&str; 4] =
    ["store-before-commit", "store-after-commit", "store-after-ledger", "store-after-reply"];

/// Aborts the process if a test asked for it here.
#[cfg(debug_assertions)]
pub(super) fn hit(name: &'static str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static WANTED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static PASSED: AtomicU64 = AtomicU64::new(0);
    let wanted = WANTED.get_or_init(|| {
        let text = std::env::var("TENANTRY_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().unwrap_or(1)))
    });
    if let Some((wanted, count)) = wanted
        && wanted == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *count
    {
        std::process::abort();
    }
}

/// Nothing, in a build without debug assertions.
#[cfg(not(debug_assertions))]
pub(super) fn hit(_: &'static str) {}
