//! tenantry: the GitOps reconciler for multi-tenant internal automations.
//!
//! Read top to bottom, this is the table of contents: a commit comes in, is read into a tree, checked into
//! a desired state, planned against the actual state and applied, tenant by tenant; runs are queued,
//! executed in a sandbox, recorded and observed. The number is the room's floor: a room uses rooms on
//! lower floors only, and `tests/it/layering.rs` keeps it so.

// floor 0: the nouns and the readers of text; pure
pub mod domain;
pub mod expression;
pub mod schedule;
pub mod sops;
pub mod yaml;
// floor 1: the decisions; pure
pub mod alert;
pub mod authz;
pub mod desired;
pub mod plan;
pub mod record;
pub mod run;
pub mod why;
// floor 2: the adapters, each behind one small trait
pub mod client;
pub mod forge;
pub mod observe;
pub mod sandbox;
pub mod secrets;
pub mod source;
pub mod store;
// floor 3: whole operations over the traits
pub mod apply;
pub mod broker;
pub mod login;
pub mod queue;
// floor 4
pub mod execute;
pub mod reconcile;
// floor 5
pub mod api;
pub mod web;
// floor 6
pub mod app;
// floor 7
pub mod cli;
pub mod lsp;
