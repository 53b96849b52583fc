//! Actual state, queue, leases, records.
