//! Waiting for the WAL that makes a backup consistent. Owns the wait and its limit; a wait that
//! ran out never counts as done.

use super::error::BackupError;
use super::server::{Server, Stopped};
use crate::engine::postgres::Lsn;
use crate::engine::repository::Repository;
use crate::engine::repository::meter::Meter;
use crate::engine::repository::whole::OwnWal;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(200);

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
    let mut wal = OwnWal::between(stopped.timeline, start, stopped.stop, segment_size);
    let mut arrived = Instant::now();
    loop {
        let Some(next) = repository.first_missing(wal)? else { return Ok(()) };
        if wal.from(next) != wal {
            arrived = Instant::now();
            wal = wal.from(next);
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
