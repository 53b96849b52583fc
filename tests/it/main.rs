//! Tests from outside: the real binary, the real files, one file per feature.

mod layering;
mod sandbox;
