//! Actor, grants, action, tenant and now to a permit or a denial: the only door.
//!
//! Nothing outside this room can make a [`Permit`]; store reads, starts, cancels and the broker take one and
//! ask for no tenant beside it. Whose key signed a commit is answered here too. Deliberately absent: what signatures,
//! reviews and policies decide, which comes behind the same door.

pub mod action;
mod authors;
mod decide;
mod hook;
mod judge;
mod permit;
mod signature;

pub use action::{Action, ActionKind};
pub use authors::people_named;
pub use decide::{
    Denied, Facts, HeldRole, PlatformAction, Refusal, decide, decide_platform, decide_step, roles_of,
};
pub use hook::{HOOK_HEADERS, HOOK_SECRET_BYTES_MIN, HookDelivery, verify_hook};
pub use judge::{Unjudged, judge};
pub use permit::{Expired, Permit, Standing};
pub use signature::commit_signer;
