//! Socket uid to actor: who is calling.
//!
//! On this machine a caller is known by the uid of its socket, and is the person that `[local]` of trust.toml
//! names for it, or nobody but that uid. Deliberately absent: OIDC, keys, tokens and sessions, which will stand
//! beside it; what somebody may (authz).

mod caller;
mod trust;

pub use caller::{Caller, LoginError, identify};
pub use trust::{Trust, TrustError};
