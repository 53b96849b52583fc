//! The nouns. Everything here is a value: it can be built, compared, stored and shown, and does nothing.
//!
//! Deliberately absent: reading (yaml, desired), deciding (plan, authz, run), any I/O. Types that can only
//! hold what is valid are parsed, never checked later.

mod diagnostic;
mod id;
mod name;
mod time;

pub use diagnostic::*;
pub use id::*;
pub use name::*;
pub use time::*;
