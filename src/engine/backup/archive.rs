//! Waiting for the WAL that makes a backup consistent. Owns the wait and its limit; a wait that
//! ran out never counts as done.

use super::error::BackupError;
use super::server::{Server, Stopped};
use crate::engine::postgres::Lsn;
use crate::engine::repository::Repository;
use crate::engine::repository::meter::Meter;
use crate::engine::wal::Segment;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(200);
const LISTED_AT_ONCE: usize = 1000;

/// Waits until the archive holds every segment from `start` to the stop. The limit counts from
/// the last segment that arrived.
///
/// # Errors
/// [`BackupError::WalMissing`] where one did not arrive in time.
pub fn wait(
    repository: &Repository,
    server: &Server,
    (start, stopped): (Lsn, &Stopped),
    segment_size: u64,
    limit: Duration,
    meter: &Meter<'_>,
    cancelled: &dyn Fn() -> bool,
) -> Result<(), BackupError> {
    let mut next = Segment::holding(stopped.timeline, start, segment_size);
    // The stop is the first byte after the backup's last record.
    let last_byte = Lsn(stopped.stop.0.saturating_sub(1));
    let last = Segment::holding(stopped.timeline, last_byte, segment_size);
    let mut arrived = Instant::now();
    loop {
        let before = next;
        next = first_missing(repository, next, last, segment_size)?;
        if next.number > last.number {
            return Ok(());
        }
        if next != before {
            arrived = Instant::now();
        }
        if cancelled() {
            return Err(BackupError::Cancelled);
        }
        if arrived.elapsed() >= limit {
            return Err(BackupError::WalMissing {
                missing: next.name(segment_size),
                start,
                stop: stopped.stop,
                waited: limit.as_secs(),
                reason: server.archiver(),
            });
        }
        meter.phase(&format!("waiting for WAL in the archive: {}", next.name(segment_size)));
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The first segment from `next` to `last` that the archive does not list; the one after `last`
/// where none is missing.
fn first_missing(
    repository: &Repository,
    mut next: Segment,
    last: Segment,
    size: u64,
) -> Result<Segment, BackupError> {
    loop {
        let listed = repository.list_wal(next.timeline, &next.name(size), LISTED_AT_ONCE)?;
        let before = next;
        for object in &listed {
            if object.name == next.name(size) {
                next = next.next();
            }
            if next.number > last.number {
                return Ok(next);
            }
        }
        if next == before || listed.len() < LISTED_AT_ONCE {
            return Ok(next);
        }
    }
}
