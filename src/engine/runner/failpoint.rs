//! Failpoints: a test aid that kills the runner at a named durable boundary, as `kill -9` would,
//! so that a test can start it again and look; or stops it there (SIGSTOP) until the test lets it
//! go on. Owns the switch. Never fires in an incident that is not a drill: the runner arms it, and
//! refuses to start where it may not.
//!
//! `LIFEBOAT_FAILPOINT=[stop@]name[:nth],…`; the names are `journal.before_write`, `journal.after_write`,
//! `journal.after_sync`, `step.ID.before`, `step.ID.after_run`, `step.ID.after`, `undo.ID.before`
//! and `undo.ID.after_run`. `nth` counts from 1, from the moment of arming.

use crate::engine::explain::{Explanation, Kind};
use rustix::process::Signal;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The environment variable.
pub const VARIABLE: &str = "LIFEBOAT_FAILPOINT";

#[derive(Debug)]
struct Failpoint {
    name: String,
    left: AtomicU64,
    signal: Signal,
}

static ARMED: AtomicBool = AtomicBool::new(false);
static FAILPOINTS: OnceLock<Vec<Failpoint>> = OnceLock::new();

/// Reads the variable; does nothing where it is not set.
///
/// # Errors
/// Where it is set and the incident is not a drill, or cannot be understood.
pub fn arm(is_drill: bool) -> Result<(), Explanation> {
    let Some(text) = std::env::var_os(VARIABLE).filter(|text| !text.is_empty()) else {
        return Ok(());
    };
    if !is_drill {
        return Err(Explanation::new(
            Kind::Refused,
            format!("{VARIABLE} is set, which kills Lifeboat on purpose, and this is no drill."),
            "Nothing was done.",
            format!("Unset {VARIABLE} and start again."),
        ));
    }
    let text = text.to_string_lossy();
    let Some(failpoints) = text.split(',').map(parse).collect() else {
        return Err(Explanation::new(
            Kind::Config,
            format!(
                "{VARIABLE} is \"{text}\"; write name or name:nth, nth from 1, \
                 with stop@ before it to stop there, and a comma between two."
            ),
            "Nothing was done.",
            "",
        ));
    };
    let _ = FAILPOINTS.set(failpoints);
    ARMED.store(true, Ordering::Release);
    Ok(())
}

fn parse(text: &str) -> Option<Failpoint> {
    let (name, nth) = text.rsplit_once(':').unwrap_or((text, "1"));
    let nth = nth.parse().ok().filter(|nth| *nth > 0)?;
    let (name, signal) = match name.strip_prefix("stop@") {
        Some(name) => (name, Signal::STOP),
        None => (name, Signal::KILL),
    };
    Some(Failpoint { name: name.to_owned(), left: AtomicU64::new(nth), signal })
}

/// Kills or stops this process where the failpoint of that name is set. One atomic load otherwise.
pub fn hit(name: &str) {
    if ARMED.load(Ordering::Acquire) {
        reach(|wanted| wanted == name);
    }
}

/// [`hit`] for `family.id.edge`, put together only where one is set.
pub fn hit_at(family: &str, id: &str, edge: &str) {
    if ARMED.load(Ordering::Acquire) {
        reach(|wanted| wanted == format!("{family}.{id}.{edge}"));
    }
}

fn reach(is_wanted: impl Fn(&str) -> bool) {
    let failpoints = FAILPOINTS.get().into_iter().flatten();
    for failpoint in failpoints.filter(|failpoint| is_wanted(&failpoint.name)) {
        if failpoint.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            let process = rustix::process::getpid();
            let sent = rustix::process::kill_process(process, failpoint.signal);
            if failpoint.signal == Signal::KILL || sent.is_err() {
                std::process::abort();
            }
        }
    }
}
