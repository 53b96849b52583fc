//! The sandbox from inside: what a step may do, and every way out of it that we know, tried.

mod attacks;
mod crash;
mod egress;
mod egress_attacks;
mod harness;
mod kills;
mod languages;
mod life;
pub mod packages;
pub mod runtimes;
