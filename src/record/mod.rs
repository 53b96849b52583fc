//! What a run record and an audit entry contain: redaction, hash chain, ledger.
