//! Actor, grants, action, tenant and now to a permit or a denial: the only door.
//!
//! Nothing outside this room can make a [`Permit`]; store reads, starts, cancels and the broker take one and
//! ask for no tenant beside it. Deliberately absent: signatures, reviews and policies, which come behind the
//! same door.

mod permit;

pub use permit::*;
