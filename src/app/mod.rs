//! The front ends: command line, terminal UI, link to the runner.

pub mod cli;
pub mod dialer;
pub mod far;
pub mod keys;
pub mod link;
pub mod master;
pub mod model;
pub mod runtime;
pub mod signing;
pub mod terminal;
pub mod tui;
pub mod update;
