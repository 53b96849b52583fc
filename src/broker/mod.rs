//! The only door a script has: its own step's secrets.
//!
//! One [`Door`] per attempt, bound to its lease. Everything goes through [`Door::fetch`]: audit first, then the
//! lesser of two reaches, then opening, then the redactor, then audit again, then the value. The socket is one
//! way to it, delivery as variable or file another, with the same checks. No request names a tenant: the lease
//! does. Deliberately absent: outputs, which are a file (sandbox); masking itself (record); keys (secrets).

mod door;
mod own;
mod payload;
mod reach;
mod request;
mod serve;
#[cfg(test)]
mod tests;

pub use door::{Broker, Delivered, Door, Given, Masks, NotGiven, Unmaskable, sealed_as};
pub use payload::sealed_payload;
pub use reach::{OutOfReach, Wanted, offered};
pub use request::{Malformed, Request, Token, read};
pub use serve::{Limits, Serving};
