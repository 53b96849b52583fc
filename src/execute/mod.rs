//! Lease an attempt, run it, report it.
//!
//! A [`Worker`] holds some slots. It claims attempts through [`Leases`], which is the store here and a daemon's HTTP on
//! another host; prepares what a step sees; starts it in the sandbox; redacts, bounds and stores what it writes; renews
//! its leases; and ends at once what is no longer its own. The store decides what follows from a report. Deliberately
//! absent: whose turn it is (store), what an outcome means for the run (run), how a script is confined (sandbox),
//! which secrets it gets (broker).

mod attempt;
mod capture;
#[cfg(test)]
mod flow_tests;
mod hold;
mod leases;
mod masking;
mod results;
mod spec;
#[cfg(test)]
mod tests;
mod worker;

pub use leases::{LeaseError, Leases, StoreLeases};
pub use worker::{Ports, Settings, Worker};
