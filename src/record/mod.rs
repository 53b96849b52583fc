//! What a run record and an audit entry contain: redaction, hash chain, ledger.
//!
//! Pure: builds and checks values; storing them is the store's.

mod chain;
mod ledger;
mod redaction;
mod run_record;

pub use chain::*;
pub use ledger::*;
pub use redaction::{Form, Patterns, Redactor, Unredactable, VALUE_BYTES_MAX, redactable};
pub use run_record::*;
