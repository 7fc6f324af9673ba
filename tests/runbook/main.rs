//! The runbook's own commands, word for word but for the program's name, on a real server and a
//! bucket: its table of commands is the runbook's, the documentation has it, and each one runs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

#[path = "../s3/server.rs"]
#[allow(dead_code, reason = "each test file uses its own part")]
mod server;
#[path = "../support/mod.rs"]
mod support;

mod commands;
mod stage;
