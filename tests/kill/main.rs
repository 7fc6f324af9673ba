//! `kill -9` of the runner, of PostgreSQL and of the terminal UI, in every step of a recovery:
//! given a real cluster that was struck, when any of them is killed at any step, then the incident
//! opens again at the same step with the same clocks, nothing happens twice, and the outcome is
//! that of an undisturbed recovery.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod earlier;
mod later;
mod loss;
mod outcome;
mod postgres;
mod runner;
mod salvage;
mod screens;
mod stage;
mod window;
