//! Pushing ahead: while PostgreSQL hands over one segment at a time, the next ones that lie ready
//! are pushed in parallel. Owns which they are and how many; a segment pushed ahead is not called
//! archived before its own call, which finds it by its receipt. Whatever fails here is left to
//! that call.

use super::archive::check;
use super::names::WalFile;
use super::notes::{Notes, Place, Receipt, digest_of, fingerprint};
use super::offer::Door;
use crate::engine::config::Cluster;
use crate::engine::repository::RepositoryError;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Files a worker takes at most.
const PER_WORKER: usize = 4;
/// Bytes of content, packed content and sealed content at a time.
const MEMORY: u64 = 256 << 20;
/// No new file is begun after this: PostgreSQL waits.
const BEGIN_WITHIN: Duration = Duration::from_secs(2);

/// What pushing ahead works with.
pub(super) struct Job<'a> {
    pub cluster: &'a Cluster,
    pub system_identifier: u64,
    /// Those that took the file a moment ago.
    pub doors: &'a [Arc<Door>],
    pub notes: &'a Notes,
}

/// Pushes what lies ready behind `path`, a file of `size` bytes that is archived; the names that
/// are in all of the doors now.
pub(super) fn push(job: &Job<'_>, path: &Path, size: u64) -> Vec<String> {
    let workers = workers(job.cluster.archiving.workers(), size);
    let ready = next_ready(path, workers * PER_WORKER);
    let queue: VecDeque<PathBuf> = ready
        .into_iter()
        .filter(|name| job.notes.receipt(name).is_none())
        .map(|name| path.with_file_name(name))
        .collect();
    if queue.is_empty() {
        return Vec::new();
    }
    let begun = Instant::now();
    let workers = workers.min(queue.len());
    let queue = Arc::new(Mutex::new(queue));
    let (say, words) = channel();
    for _ in 0..workers {
        let (queue, say) = (Arc::clone(&queue), say.clone());
        let (cluster, id) = (job.cluster.clone(), job.system_identifier);
        let doors = job.doors.to_vec();
        std::thread::spawn(move || {
            while begun.elapsed() < BEGIN_WITHIN {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(path) = next else { return };
                if let Some(done) = push_one(&cluster, id, &doors, &path) {
                    let _ = say.send(done);
                }
            }
        });
    }
    drop(say);
    let mut ahead = Vec::new();
    let patience = job.cluster.archiving.patience();
    // A repository that hangs now holds up this call no longer than any other.
    while let Some(left) = patience.checked_sub(begun.elapsed()) {
        let Ok((name, receipt)) = words.recv_timeout(left) else { break };
        job.notes.write_receipt(&name, &receipt);
        ahead.push(name);
    }
    ahead.sort_unstable();
    ahead
}

/// As many as memory has room for; none for the largest segments, whose calls are long anyway.
fn workers(wanted: usize, size: u64) -> usize {
    let room = MEMORY / size.saturating_mul(2).max(1);
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX))
}

/// Names of the segments that the server has finished, ascending, right behind this one.
fn next_ready(path: &Path, most: usize) -> Vec<String> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_segment = |name: &str| matches!(WalFile::parse(name), Some(WalFile::Segment { .. }));
    if most == 0 || !is_segment(name) {
        return Vec::new();
    }
    let entries = fs::read_dir(path.with_file_name("archive_status")).into_iter().flatten();
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".ready")?.to_owned()))
        .filter(|ready| is_segment(ready) && ready.as_str() > name)
        .collect();
    names.sort_unstable();
    names.truncate(most);
    names
}

/// `None` where anything is wrong with it: its own call will say what.
fn push_one(
    cluster: &Cluster,
    system_identifier: u64,
    doors: &[Arc<Door>],
    path: &Path,
) -> Option<(String, Receipt)> {
    let name = path.file_name()?.to_str()?;
    let content = fs::read(path).ok()?;
    check(cluster, name, &content, system_identifier).ok()?;
    let place = |door: &Arc<Door>| -> Result<Option<Place>, RepositoryError> {
        let repository = door.open()?;
        repository.put_wal(name, &content)?;
        // One object, as a rule; with several, its own call compares.
        let [object] = &repository.find_wal(name)?[..] else { return Ok(None) };
        Ok(door.settings.as_ref().map(|settings| Place {
            repository: door.name.clone(),
            settings: fingerprint(&settings.store),
            key: object.key.clone(),
            size: object.size,
        }))
    };
    let places: Vec<Place> = doors.iter().filter_map(|door| place(door).ok().flatten()).collect();
    (places.len() == doors.len())
        .then(|| (name.to_owned(), Receipt { digest: digest_of(name, &content), places }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_bounds_the_workers() {
        assert_eq!(workers(4, 1 << 20), 4);
        assert_eq!(workers(4, 16 << 20), 4);
        assert_eq!(workers(4, 64 << 20), 2);
        assert_eq!(workers(4, 1 << 30), 0);
        assert_eq!(workers(0, 1 << 20), 0);
    }

    #[test]
    fn only_finished_segments_behind_this_one_are_next() {
        let folder = tempfile::tempdir().unwrap();
        let status = folder.path().join("archive_status");
        fs::create_dir(&status).unwrap();
        let name = |n: u32| format!("0000000100000000{n:08X}");
        for n in [2, 3, 5, 6, 7] {
            fs::write(status.join(format!("{}.ready", name(n))), "").unwrap();
        }
        for other in ["4.done", "00000002.history.ready"] {
            fs::write(status.join(other), "").unwrap();
        }
        fs::write(status.join(format!("{}.done", name(4))), "").unwrap();
        fs::write(status.join(format!("{}.00000028.backup.ready", name(8))), "").unwrap();
        fs::write(status.join(format!("{}.partial.ready", name(8))), "").unwrap();
        let path = folder.path().join(name(3));
        assert_eq!(next_ready(&path, 10), [name(5), name(6), name(7)]);
        assert_eq!(next_ready(&path, 2), [name(5), name(6)]);
        assert!(next_ready(&folder.path().join("00000002.history"), 10).is_empty());
    }
}
