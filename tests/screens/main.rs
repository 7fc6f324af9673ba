//! The terminal UI, without a terminal and without a runner: every screen as a picture, every
//! command by what it sends, and random use.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod commands;
mod drills;
mod fixture;
mod full;
mod look;
mod master;
mod parts;
mod people;
mod random;
mod salvage;
mod snapshots;
