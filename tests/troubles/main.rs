//! Every trouble of the runbook's troubleshooting and the ones that operators report most, caused
//! for real on a real server: given a recovery that runs into it, then the operator sees what it
//! is, accepts the cure, and the recovery goes on from where it stood to a verified end.
//!
//! One recovery runs into six of them on its way in `make test`; the rest each has a recovery of
//! its own under `make test-troubles`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod beside;
mod far;
mod own;
mod parts;
mod place;
#[allow(dead_code, reason = "another test's server, used in part")]
#[path = "../s3/proxy.rs"]
mod proxy;
mod screen;
#[allow(dead_code, reason = "another test's server, used in part")]
#[path = "../s3/server.rs"]
mod server;
#[allow(dead_code, reason = "another test's ground, used in part")]
#[path = "../kill/stage.rs"]
mod stage;
#[path = "../terminal/mod.rs"]
mod terminal;
mod walk;
