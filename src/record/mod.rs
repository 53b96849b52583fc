//! What a run record and an audit entry contain: redaction, hash chain, ledger.
//!
//! Pure: builds and checks values; storing them is the store's.

mod run_record;

pub use run_record::*;
