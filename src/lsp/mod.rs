//! The language server: what `validate` finds, while somebody types, and what may be written where.
//!
//! One thread reads, one writes, one answers, and one for each repository judges: the rules of `desired/` on the
//! work tree with the open texts in it, so that an editor says what `tenantry validate` would say of the files
//! once they are saved. Nothing is written to the disk, nothing of a file below `secrets/` is shown, and a text
//! that cannot be read ends nothing. Deliberately absent: rules that need a base or a person, formatting, renaming.

mod actions;
mod answer;
mod board;
mod complete;
mod definition;
mod documents;
mod formula;
mod hover;
mod judge;
mod library;
mod mailbox;
mod meaning;
mod names;
mod outline;
mod server;
mod shape;
mod symbols;
mod text;
mod uri;
mod wire;

pub use server::serve;
