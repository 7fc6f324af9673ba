//! Waiting in tests: for a condition, never for a time, and with a limit: `mod patience;`.

#![allow(dead_code, reason = "each test file uses its own part")]
#![allow(clippy::panic, reason = "a helper of tests fails by panicking")]

use std::time::{Duration, Instant};

/// Between two looks.
const STEP: Duration = Duration::from_millis(10);

/// Waits until `condition` holds.
///
/// # Panics
/// After `limit`, saying what was waited for.
#[track_caller]
pub fn wait_within(limit: Duration, what: &str, condition: impl FnMut() -> bool) {
    wait_or(limit, condition, || format!("{what}: not within {} s", limit.as_secs()));
}

/// As [`wait_within`], with words that are made where it fails, such as a server's log.
///
/// # Panics
/// After `limit`, with these words.
#[track_caller]
pub fn wait_or(
    limit: Duration,
    mut condition: impl FnMut() -> bool,
    told: impl FnOnce() -> String,
) {
    let end = Instant::now() + limit;
    while !condition() {
        if Instant::now() >= end {
            panic!("{}", told());
        }
        std::thread::sleep(STEP);
    }
}
