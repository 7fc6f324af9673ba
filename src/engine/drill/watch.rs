//! The end of a drill without a person, when its process is asked to end. Owns the signals from the
//! moment when there is an incident to tell of: it ends what the drill waits for, so that the drill
//! comes to its own end, is recorded as ABORTED and clears its sandbox. Where it does not come there
//! in time, the sandbox is cleared all the same, and the process ends without a record.

use super::director::Director;
use super::error::DrillError;
use super::sandbox::Sandbox;
use super::{cpu, place, processes};
use crate::engine::explain::Kind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How long the drill may take to come to its end. With the clearing behind it, less than whoever asked
/// waits for it: see `schedule::drill` and `drill abort`.
const ENDING: Duration = Duration::from_secs(35);
/// How long what it waits for may take; the last third of that it is forced.
const POLITE: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Listens until it is dropped.
#[derive(Debug)]
pub struct Watch {
    done: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl Watch {
    /// Begins to listen.
    ///
    /// # Errors
    /// Where the sandbox is closed.
    pub fn begin(sandbox: &Sandbox, director: &Director) -> Result<Self, DrillError> {
        let runtime = sandbox.runtime()?;
        let done = Arc::new(AtomicBool::new(false));
        let (ours, ender) = (Arc::clone(&done), director.ender());
        let (root, kept) = (sandbox.root().to_path_buf(), sandbox.is_kept());
        let mut asked = {
            // Listens from now on, not from the task's first turn.
            let _guard = runtime.enter();
            Asked::new()
        };
        let task = runtime.spawn(async move {
            let name = asked.first().await;
            ender.end(&format!("The drill was ended from outside, by {name}."));
            let wait = tokio::task::spawn_blocking(move || see_it_end(&root, kept, &ours));
            let _ = wait.await;
        });
        Ok(Self { done, task })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        self.task.abort();
    }
}

/// Ends what the drill waits for, again and again until it has come to its end. A sandbox that is to
/// be kept keeps its servers.
fn see_it_end(root: &Path, kept: bool, done: &AtomicBool) {
    let end = if kept { processes::end_lifeboats_of } else { processes::end_all_of };
    let begun = Instant::now();
    while !done.load(Ordering::SeqCst) {
        if begun.elapsed() > ENDING {
            give_up(root, kept);
        }
        // What is there still is forced in the next round.
        let _ = end(root, POLITE);
        std::thread::sleep(LOOK_EVERY);
    }
}

fn give_up(root: &Path, kept: bool) -> ! {
    if !kept {
        // What could not be cleared is left to the next drill; the process ends all the same.
        let _ = place::clear(root);
    }
    cpu::leave();
    std::process::exit(i32::from(Kind::Cancelled.exit_code()));
}

/// The signals by which a process is asked to end.
pub(super) struct Asked {
    streams: Vec<(&'static str, Signal)>,
}

impl Asked {
    /// From now on they do not end the process by themselves. One that whoever started it had it
    /// ignore, as `nohup` does, stays ignored. Inside a runtime alone.
    pub(super) fn new() -> Self {
        let ignored = ignored();
        let kinds = [
            ("SIGTERM", SignalKind::terminate()),
            ("SIGINT", SignalKind::interrupt()),
            ("SIGHUP", SignalKind::hangup()),
            ("SIGQUIT", SignalKind::quit()),
        ];
        let listened = kinds.into_iter().filter_map(|(name, kind)| {
            let is_ignored = ignored >> (kind.as_raw_value() - 1) & 1 == 1;
            (!is_ignored).then(|| Some((name, signal(kind).ok()?)))?
        });
        Self { streams: listened.collect() }
    }

    /// The name of the first that comes.
    pub(super) async fn first(&mut self) -> &'static str {
        std::future::poll_fn(|context| {
            for (name, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*name);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}

/// The signals that this process ignores, a bit each, by the kernel's word; none where it does not
/// say.
fn ignored() -> u64 {
    let path = PathBuf::from("/proc/self/status");
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}
