//! What a run record and an audit entry contain: redaction, hash chain, ledger.
//!
//! Pure: builds and checks values; storing them is the store's.

mod chain;
mod ledger;
mod run_record;

pub use chain::*;
pub use ledger::*;
pub use run_record::*;
