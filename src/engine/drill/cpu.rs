//! How much of the machine's processors a drill may take: by a cgroup of its own where that is
//! permitted, else by pinning it to some of them at a lower priority. Owns that limit of this
//! process, which all that it starts inherits, and says in words what is enforced.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

const ROOT: &str = "/sys/fs/cgroup";
const PREFIX: &str = "lifeboat-drill-";
/// Microseconds that a share of the processors is measured over.
const PERIOD: u64 = 100_000;
/// Added to the niceness where there is no cgroup.
const NICER: i32 = 5;

/// The group that this process is in, and where it was before.
static GROUP: Mutex<Option<(PathBuf, PathBuf)>> = Mutex::new(None);

/// Leaves the group when dropped; a pinned process stays so.
#[derive(Debug)]
pub struct Limit {
    words: String,
}

impl Limit {
    /// What is enforced.
    #[must_use]
    pub fn words(&self) -> &str {
        &self.words
    }
}

impl Drop for Limit {
    fn drop(&mut self) {
        leave();
    }
}

/// Processors that a drill takes at most where nothing else is asked for: all but one, so that the
/// machine's own work has that; of two or fewer all.
#[must_use]
pub fn usual(there: usize) -> f64 {
    number(if there > 2 { there - 1 } else { there })
}

/// Processors that this process may use now.
#[must_use]
pub fn there() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Limits this process, and all that it starts from now on, to so many processors. To be called
/// while it has one thread.
#[must_use]
pub fn limit(cpus: f64) -> Limit {
    let count = there();
    if cpus >= number(count) {
        return Limit { words: format!("all {count} processors") };
    }
    let why = match join(Path::new(ROOT), cpus) {
        Ok(folder) => {
            return Limit {
                words: format!("{cpus} processors, by the cgroup {}", folder.display()),
            };
        }
        Err(error) => error,
    };
    let words = match pin(cpus) {
        Ok((count, nice)) => format!(
            "{count} processors, by pinning to them{}, since no cgroup could be made ({why})",
            if nice { " at a lower priority" } else { "" }
        ),
        Err(error) => {
            format!("NOT ENFORCED: no cgroup could be made ({why}), no pinning ({error})")
        }
    };
    Limit { words }
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::MAX, f64::from)
}

/// Goes back to where this process was, and removes the group.
pub fn leave() {
    let group = GROUP.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((own, before)) = group {
        let _ = fs::write(before.join("cgroup.procs"), std::process::id().to_string());
        // Where something is in it still, the next drill's start tries again.
        let _ = fs::remove_dir(own);
    }
}

/// Removes empty groups that killed drills left.
pub fn sweep() {
    for parent in parents(Path::new(ROOT), &own()) {
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                // One with a process in it cannot be removed.
                let _ = fs::remove_dir(entry.path());
            }
        }
    }
}

/// Makes a group of our own and moves this process into it.
fn join(root: &Path, cpus: f64) -> io::Result<PathBuf> {
    if !root.join("cgroup.controllers").exists() {
        return Err(io::Error::other("this machine has no cgroup v2"));
    }
    let own = own();
    let before = root.join(own.trim_start_matches('/'));
    let mut failed = io::Error::other("none above this process has the processors");
    for parent in parents(root, &own) {
        match join_below(&parent, cpus) {
            Ok(folder) => {
                let mut group = GROUP.lock().unwrap_or_else(PoisonError::into_inner);
                *group = Some((folder.clone(), before));
                return Ok(folder);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

fn join_below(parent: &Path, cpus: f64) -> io::Result<PathBuf> {
    let pid = std::process::id();
    let folder = parent.join(format!("{PREFIX}{pid}"));
    fs::create_dir(&folder)?;
    let joined = fs::write(folder.join("cpu.max"), quota(cpus))
        .and_then(|()| fs::write(folder.join("cgroup.procs"), pid.to_string()));
    if let Err(error) = joined {
        let _ = fs::remove_dir(&folder);
        return Err(error);
    }
    Ok(folder)
}

/// Groups below which one with a share of the processors can be made, the nearest first.
fn parents(root: &Path, own: &str) -> Vec<PathBuf> {
    let has_cpu = |folder: &&Path| {
        let text = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
        text.split_whitespace().any(|controller| controller == "cpu")
    };
    let here = root.join(own.trim_start_matches('/'));
    let above = here.ancestors().take_while(|folder| folder.starts_with(root));
    above.filter(has_cpu).map(Path::to_path_buf).collect()
}

/// The group of this process.
fn own() -> String {
    let text = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("0::"));
    line.unwrap_or("/").to_owned()
}

fn quota(cpus: f64) -> String {
    #[allow(clippy::cast_precision_loss, reason = "microseconds of a tenth of a second")]
    let share = (cpus.max(0.01) * PERIOD as f64).round() as u64;
    format!("{share} {PERIOD}")
}

/// Pins this thread, and what it starts, to the first of the processors that it may use. Gives how
/// many, and whether the priority could be lowered.
fn pin(cpus: f64) -> io::Result<(usize, bool)> {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
    let now = sched_getaffinity(None)?;
    let wanted = cpus.ceil().max(1.0) as usize;
    let mut set = CpuSet::new();
    let allowed = (0..CpuSet::MAX_CPU).filter(|cpu| now.is_set(*cpu)).take(wanted);
    let count = allowed.map(|cpu| set.set(cpu)).count();
    sched_setaffinity(None, &set)?;
    let nice = rustix::process::nice(NICER).is_ok();
    Ok((count, nice))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_keeps_a_processor_where_it_has_more_than_two() {
        assert_eq!([1, 2, 3, 16].map(usual), [1.0, 2.0, 2.0, 15.0]);
        assert_eq!([quota(1.5), quota(0.0)], ["150000 100000", "1000 100000"]);
        assert!(limit(f64::MAX).words().starts_with("all "));
    }

    #[test]
    fn a_group_is_made_below_the_nearest_one_that_shares_the_processors() {
        let root = tempfile::tempdir().unwrap();
        let slice = root.path().join("user.slice/mine.scope");
        fs::create_dir_all(&slice).unwrap();
        let own = "/user.slice/mine.scope";
        assert_eq!(parents(root.path(), own), Vec::<PathBuf>::new());
        fs::write(root.path().join("cgroup.subtree_control"), "cpu memory\n").unwrap();
        assert_eq!(parents(root.path(), own), [root.path()]);
        let user = root.path().join("user.slice");
        fs::write(user.join("cgroup.subtree_control"), "memory pids\n").unwrap();
        assert_eq!(parents(root.path(), own), [root.path()], "memory alone is no share of them");
        fs::write(user.join("cgroup.subtree_control"), "cpuset cpu\n").unwrap();
        assert_eq!(parents(root.path(), own), [user, root.path().to_path_buf()]);
    }

    #[test]
    fn a_group_says_its_share_and_has_this_process() {
        let parent = tempfile::tempdir().unwrap();
        let folder = join_below(parent.path(), 0.5).unwrap();
        let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read("cpu.max"), "50000 100000");
        assert_eq!(read("cgroup.procs"), std::process::id().to_string());
        assert!(join_below(parent.path(), 0.5).is_err(), "there already");
        let plain = join(parent.path(), 0.5).unwrap_err();
        assert!(plain.to_string().contains("no cgroup v2"));
    }
}
