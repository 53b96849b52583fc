//! Tests from outside: the real binary, the real files, one file per feature.
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests from outside read files, start programs, say what is missing, and may fail where they stand"
)]

mod approvals;
mod bad_luck;
mod change;
mod commands;
mod compile_fail;
mod crash;
mod demo;
mod every_field;
mod layering;
mod local_run;
mod lsp;
mod pages;
mod payloads;
mod permits;
mod plan;
mod recorded;
mod runtimes;
mod same_answer;
mod sandbox;
mod scaffold;
mod secret_clients;
mod secret_memory;
mod secrets;
mod secrets_commands;
mod secrets_leak;
mod secrets_page;
mod sensitive;
mod sharing;
mod sops;
mod sops_differential;
mod steering;
mod tiers;
mod tour;
mod validate;
mod webhooks;
mod workbench;
mod workflow_pages;
