//! The nouns. Everything here is a value: it can be built, compared, stored and shown, and does nothing.
//!
//! Deliberately absent: reading (yaml, desired), deciding (plan, authz, run), any I/O. Types that can only
//! hold what is valid are parsed, never checked later.

mod actual;
mod audit;
mod canonical;
mod contact;
mod desired;
mod diagnostic;
mod disposition;
mod edge;
mod exit;
mod grant;
mod id;
mod limits;
mod name;
mod plan;
mod platform;
mod run;
mod secret;
mod time;
mod tree;
mod workflow;

pub use actual::*;
pub use audit::*;
pub use canonical::*;
pub use contact::*;
pub use desired::*;
pub use diagnostic::*;
pub use disposition::*;
pub use edge::*;
pub use exit::*;
pub use grant::*;
pub use id::*;
pub use limits::*;
pub use name::*;
pub use plan::*;
pub use platform::*;
pub use run::*;
pub use secret::*;
pub use time::*;
pub use tree::*;
pub use workflow::*;
