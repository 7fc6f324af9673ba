//! Setting up a cluster that runs already: what there is, what is proposed, and carrying it out
//! up to a backup that was proven by a restore. Owns those three as values, so that each can be
//! looked at and tested by itself; asks nobody and prints nothing.
//!
//! ```text
//! discover ─ facts ─ proposal ─┐ agreed by a person or by flags
//!                              ├─ furnish     key, folders, lifeboat.toml
//!                              └─ carry_out   settings → restart → archiving → backup → proof
//!                                               └─ page: what is protected, and what is not
//! ```
//!
//! Every part looks first whether it is done, so that the whole can be run again after a restart
//! or a failure. Nothing is overwritten: a foreign `archive_command`, a configuration and a key
//! that are there stay unless their replacement was agreed to by name.
//!
//! What speaks to the server runs as the server's user, since that is who may log in and who
//! will archive later: see [`errand`].

pub mod apply;
pub mod archiving;
pub mod carry_out;
pub mod config_text;
pub mod discover;
pub mod driver;
pub mod errand;
mod error;
pub mod facts;
pub mod furnish;
pub mod page;
pub mod proof;
pub mod proposal;
pub mod record;
pub mod restart;
pub mod rows;

pub use carry_out::{Order, Outcome};
pub use discover::Found;
pub use error::InitError;
pub use facts::Facts;
pub use page::Page;
pub use proposal::{Change, Proposal, Wishes};

/// Told in one line each, as it happens.
pub type Say<'a> = &'a (dyn Fn(&str) + Sync);
