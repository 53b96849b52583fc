//! Tests from outside: the real binary, the real files, one file per feature.

mod compile_fail;
mod layering;
mod pages;
mod sandbox;
mod sops;
mod tour;
