//! Verifying backups again and again: which ones, whether anything changed since the last time,
//! and the record of what was found. Owns that choice; the checks are in [`super::verify`].
//!
//! A backup whose objects are as they were is not read again, until its last whole reading is so
//! old that time alone may have damaged it.

use super::store::counting::Counting;
use super::verification::{Seen, Verification};
use super::verify::verify_whole;
use super::{Repository, RepositoryError, SetDescriptor};
use crate::engine::explain::Explain;
use crate::engine::incident::facts::{Check, Verdict};
use crate::engine::repository::descriptor::base_stem;
use crate::engine::runner::work::Report;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::sync::Arc;
use std::time::Instant;

/// How a backup is verified again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub now: Timestamp,
    /// Reads also what has not changed.
    pub full: bool,
    /// The oldest that the last whole reading may be.
    pub every: SignedDuration,
}

/// Which backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Newest,
    One(String),
    All,
    /// So many in a hundred, at least one: those first whose last verification is the oldest.
    Sample(u8),
}

/// What a verification came to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verified {
    pub repository: String,
    pub set: String,
    pub verdict: Verdict,
    /// Why it is not VERIFIED.
    pub reason: Option<String>,
    /// Bytes read from the store now.
    pub bytes_read: u64,
    pub milliseconds: u64,
    /// When it was last read whole, where nothing changed since and it was not read now.
    pub unchanged_since: Option<Timestamp>,
    pub checks: Vec<Check>,
    /// Why the result is not in the repository, where it is not.
    pub not_recorded: Option<String>,
}

impl Repository {
    /// The published backups that are meant, oldest first. A name that is not there gives none.
    ///
    /// # Errors
    /// Where they could not be listed.
    pub fn choose(&self, which: &Which) -> Result<Vec<String>, RepositoryError> {
        let mut names = self.set_names()?;
        match which {
            Which::All => {}
            Which::Newest => drop(names.drain(..names.len().saturating_sub(1))),
            Which::One(set) => names.retain(|name| name == set),
            Which::Sample(percent) => {
                let count = (names.len() * usize::from(*percent)).div_ceil(100);
                let mut aged = Vec::new();
                for name in names {
                    let last = self.newest_verification(&name)?.map(|record| record.at);
                    aged.push((last, name));
                }
                aged.sort();
                aged.truncate(count);
                names = aged.into_iter().map(|(_, name)| name).collect();
                names.sort_unstable();
            }
        }
        Ok(names)
    }
}

/// Verifies one backup and records the result.
#[must_use]
pub fn verify_set(
    repository: &Repository,
    set: &str,
    request: Request,
    progress: Report<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Verified {
    let begun = Instant::now();
    let descriptor = repository.read_set(set).ok();
    let seen = descriptor.as_ref().and_then(|one| seen_now(repository, one).ok());
    if let Some(seen) = &seen
        && !request.full
        && let Some(last) = unchanged(repository, set, seen, request)
    {
        return Verified {
            repository: repository.config.name.clone(),
            set: set.to_owned(),
            verdict: last.verdict,
            reason: None,
            bytes_read: 0,
            milliseconds: milliseconds(begun),
            unchanged_since: Some(last.at),
            checks: last.checks,
            not_recorded: None,
        };
    }
    let counting = Arc::new(Counting::new(Arc::clone(&repository.store)));
    let store = Arc::clone(&counting);
    let checks = match Repository::over(store, &repository.config, repository.cluster()) {
        Ok(counted) => verify_whole(&counted, set, progress, cancelled),
        Err(error) => vec![out_of_reach(&error)],
    };
    let mut record = Verification::new(set, request.now, checks);
    record.bytes_read = counting.bytes_read();
    record.milliseconds = milliseconds(begun);
    record.seen = seen.unwrap_or_default();
    let key_id = descriptor.as_ref().and_then(|one| one.key_id.as_deref());
    let protection = descriptor.as_ref().and_then(|_| repository.protection_of(set, key_id).ok());
    // A verification that somebody broke off says nothing of the backup.
    let recorded = if cancelled() {
        Err(String::from("it was cancelled"))
    } else {
        repository.record_verification(&record, protection.as_ref()).map_err(|e| e.to_string())
    };
    let failed = |check: &&Check| check.verdict != Verdict::Verified && !check.detail.is_empty();
    // The worst first: what was not run is only a consequence.
    let worst = [Verdict::Failed, Verdict::CouldNotVerify, Verdict::NotRun].into_iter();
    let reason = worst
        .filter_map(|v| record.checks.iter().filter(failed).find(|check| check.verdict == v))
        .map(|check| format!("{}: {}", check.title, check.detail))
        .next();
    Verified {
        repository: repository.config.name.clone(),
        set: set.to_owned(),
        verdict: record.verdict,
        reason,
        bytes_read: record.bytes_read,
        milliseconds: record.milliseconds,
        unchanged_since: None,
        checks: record.checks,
        not_recorded: recorded.err(),
    }
}

fn milliseconds(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn out_of_reach(error: &RepositoryError) -> Check {
    Check {
        id: String::from("base:repository"),
        title: String::from("The repository opens"),
        verdict: Verdict::CouldNotVerify,
        expected: None,
        found: None,
        detail: error.explanation().to_string(),
        duration_ms: 0,
    }
}

/// The last verification, where it still answers for the backup.
fn unchanged(
    repository: &Repository,
    set: &str,
    seen: &[Seen],
    request: Request,
) -> Option<Verification> {
    let last = repository.newest_verification(set).ok().flatten()?;
    let age = request.now.duration_since(last.at);
    // A store that does not say when it wrote can change an object unnoticed.
    let told = !seen.is_empty() && seen.iter().all(|one| one.written.is_some());
    let fresh = age >= SignedDuration::ZERO && age < request.every;
    (last.verdict == Verdict::Verified && told && fresh && last.seen == seen).then_some(last)
}

/// The set's descriptor, objects and WAL, as listings tell of them.
fn seen_now(repository: &Repository, set: &SetDescriptor) -> Result<Vec<Seen>, RepositoryError> {
    let mut all = Vec::new();
    let stem = base_stem(&set.set).unwrap_or_default();
    for prefix in [&set.set, &stem] {
        for object in repository.store.list("", prefix)? {
            let known = set.objects.iter().find(|one| one.name == object.key);
            all.push(Seen {
                sha256: known.map(|one| one.sha256.clone()),
                name: object.key,
                size: object.size,
                written: object.written,
            });
        }
    }
    let own = set.own_wal();
    for folder in own.folders() {
        for file in repository.wal_files(&folder)? {
            if file.is_segment() && own.holds(file.segment()) {
                all.push(Seen {
                    name: file.key,
                    size: file.size,
                    written: file.written,
                    sha256: None,
                });
            }
        }
    }
    all.sort_unstable();
    Ok(all)
}
