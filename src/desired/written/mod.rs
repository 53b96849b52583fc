//! What users write, as they wrote it: every value with its place.
//!
//! Each form is declared once; from the declaration come its decoding, which collects every mistake of a file,
//! its known fields and its JSON Schema. Deliberately absent: what a value means for another file (lower).

pub(super) mod form;
mod platform;
mod reader;
pub(super) mod scalar;
mod settings;
mod tenant;
mod workflow;

pub use form::{Definitions, Entries, OneOrMore, Written, decode, decode_partial};
pub use platform::*;
pub use reader::{Language, Reader, listed, nearest};
pub use scalar::{Anything, Count, Formula, Plain, Processors, Script};
pub use settings::*;
pub use tenant::*;
pub use workflow::*;

use form::words;
