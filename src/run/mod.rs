//! The life of runs, steps and attempts: event in, effects out.
//!
//! Retries, `needs`, `if`, `for_each`, approvals, timeouts, cancellation and `on_failure` are transitions of this machine and of
//! nothing else, so that no endpoint can go round them. Attempt numbers are fencing tokens: a report under an old one
//! changes nothing. Deliberately absent: clocks, stores, workers, who may ask for what (authz), and whether a
//! concurrency key has room (the store counts; it says [`RunEvent::Admitted`] or [`RunEvent::Skipped`]).

mod alone;
mod approval;
mod kept;
mod machine;
mod payload;
mod pin;
mod reach;
mod ready;
mod scope;
mod sensitive;
mod state;
mod time;

pub use alone::{AloneError, GivenOutputs, alone};
pub use approval::{Refused, open as open_approval, refused, shown as shown_to_approvers};
pub use kept::{Kept, NothingToKeep};
pub use machine::{LOST_LEASES_MAX, advance};
pub use payload::{ItemPayload, Payload, take_payload};
pub use pin::{Again, Ask, INPUTS_BYTES_MAX, PinError, input_problem, pin, repeat};
pub use reach::narrowed;
pub use ready::{INPUT_BYTES_MAX, ITEMS_MAX};
pub use scope::{idempotency_key, inputs_as_declared, render};
pub use sensitive::{
    Sensitive, filled as with_sensitive, in_clear as sensitive_in_clear, sealed, used as sensitive_used,
};
pub use state::*;
pub use time::{goes_on, next_wake};

#[cfg(test)]
mod approval_tests;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
