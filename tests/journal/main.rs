//! The journal's bytes, chain and repair, and the folder of incidents.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod chain;
mod events;
mod format;
mod store;
