//! A tree of files to a desired state and diagnostics.
//!
//! `written` holds what users write, with places; `lower` turns it into domain types, which can only hold what
//! is valid, and collects every mistake instead of stopping at the first; `rules` holds what each finding means;
//! `report` shows findings; `schema` describes every file for editors. The same functions serve the daemon and
//! `tenantry validate` on the same bytes: what passes here is what is applied. Deliberately absent: whether a
//! change is allowed (authz), what it changes (plan), opening secrets.

mod lower;
pub mod python;
pub mod report;
pub mod rules;
pub mod schema;
pub mod written;

pub use lower::{
    Author, Requirements, Restrictions, Side, Signature, TenantChange, check_change, check_clock,
    check_fleet, check_listing, check_shared, check_signatures, platform_facts, read, read_platform,
    read_restrictions, read_with, requirements, shared_used,
};
pub use lower::{Search, holds_secret, pins_used};

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
