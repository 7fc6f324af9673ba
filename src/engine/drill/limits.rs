//! What a drill may take of time and disk, while its sandbox is being made. Owns the rule and one
//! thread that asks the process to end where it is broken: the sandbox clears itself away then.
//! Once there is a director it looks by the same rule, with the same beginning.

use super::director::Limits;
use super::error::DrillError;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the sandbox's size is added up.
const MEASURE_EVERY: Duration = Duration::from_secs(5);

impl Limits {
    /// Why a drill that began then has to end, where it has. `measured`: when the size of the
    /// sandbox at `root` was added up last.
    #[must_use]
    pub fn broken(&self, begun: Instant, root: &Path, measured: &mut Instant) -> Option<String> {
        if begun.elapsed() > self.time {
            return Some(format!(
                "The drill took longer than {} minutes.",
                self.time.as_secs() / 60
            ));
        }
        if measured.elapsed() < MEASURE_EVERY {
            return None;
        }
        *measured = Instant::now();
        let size = size_of(root);
        (size > self.disk).then(|| {
            format!(
                "The drill's sandbox takes {} MB, and it may take {}.",
                size / 1_000_000,
                self.disk / 1_000_000
            )
        })
    }
}

/// Looks until it is dropped.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Why the process was asked to end; nothing where it was not, or somebody else asked.
pub type Why = Arc<Mutex<Option<String>>>;

#[derive(Debug, Default)]
struct Shared {
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl Watch {
    /// Begins to look after the sandbox at `root`, which was begun then. Where a limit is broken,
    /// `why` says so and this process is asked to end.
    ///
    /// # Errors
    /// Where no thread can be started.
    pub fn begin(
        limits: Limits,
        begun: Instant,
        root: &Path,
        why: &Why,
    ) -> Result<Self, DrillError> {
        let (shared, root, why) =
            (Arc::new(Shared::default()), root.to_path_buf(), Arc::clone(why));
        let ours = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(String::from("limits"))
            .spawn(move || ours.look(limits, begun, &root, &why))
            .map_err(DrillError::file(Path::new("limits"), "no watch could be started"))?;
        Ok(Self { shared, thread: Some(thread) })
    }
}

impl Shared {
    fn look(&self, limits: Limits, begun: Instant, root: &Path, why: &Why) {
        let mut measured = Instant::now();
        let mut stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner);
        while !*stop {
            if let Some(broken) = limits.broken(begun, root, &mut measured) {
                *why.lock().unwrap_or_else(PoisonError::into_inner) = Some(broken);
                let _ = kill(Pid::this(), Signal::SIGTERM);
                return;
            }
            let waited = self.stopped.wait_timeout(stop, LOOK_EVERY);
            stop = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        *self.shared.stop.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stopped.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Bytes of all files below; what goes away meanwhile counts nothing.
fn size_of(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(meta) if meta.is_dir() => size_of(&entry.path()),
            Ok(meta) => std::os::unix::fs::MetadataExt::blocks(&meta) * 512,
            Err(_) => 0,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_counts_from_the_folder_and_disk_counts_what_is_in_it() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("cluster")).unwrap();
        std::fs::write(root.path().join("cluster/file"), vec![1_u8; 3_000_000]).unwrap();
        let long_ago = Instant::now().checked_sub(Duration::from_secs(90)).unwrap();
        let broken = |time: u64, disk: u64, begun: Instant| {
            let limits = Limits { time: Duration::from_secs(time), disk };
            limits.broken(begun, root.path(), &mut long_ago.clone())
        };
        assert_eq!(broken(120, 10_000_000, long_ago), None);
        assert!(broken(60, 10_000_000, long_ago).unwrap().contains("longer than 1 minutes"));
        assert!(
            broken(120, 2_000_000, long_ago).unwrap().contains("takes 3 MB, and it may take 2")
        );
        // It is not added up at every look.
        let limits = Limits { time: Duration::from_secs(120), disk: 0 };
        assert_eq!(limits.broken(long_ago, root.path(), &mut Instant::now()), None);
    }

    #[test]
    fn a_watch_that_is_dropped_looks_no_more() {
        let root = tempfile::tempdir().unwrap();
        let (why, limits) = (Why::default(), Limits { time: Duration::MAX, disk: u64::MAX });
        drop(Watch::begin(limits, Instant::now(), root.path(), &why).unwrap());
        assert_eq!(*why.lock().unwrap(), None);
    }
}
