//! The process that owns one incident: steps, gates, cancel, socket.
//!
//! `server` lives and listens, `socket` speaks with each client, `commands` and `jobs` answer what
//! they ask, `guard` says what is allowed when, `executor` carries the plan out, `core` holds what
//! they share: the journal and the model folded from it. `client` and `spawn` are the other side.

pub mod approval;
pub mod client;
mod commands;
mod core;
mod executor;
pub mod failpoint;
pub mod guard;
mod handover;
mod jobs;
mod ladder;
pub mod peer;
pub mod plan;
pub mod protocol;
pub mod server;
pub mod socket;
pub mod spawn;
pub mod step;
mod view;
pub mod work;
