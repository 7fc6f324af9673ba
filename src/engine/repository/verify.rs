//! Verifying a base backup without restoring it: everything is read, authenticated, decrypted and
//! inflated, and thrown away. Owns the checks and their verdicts; changes nothing.
//!
//! A check that could not run is COULD NOT VERIFY, one that was not reached is NOT RUN; neither
//! reads as a pass.

use super::Repository;
use super::manifest::{self, Directory};
use super::meter::Meter;
use super::scan::{self, OpenSet, ScanError, ScanOptions, Sink};
use crate::engine::crypto::sha::Sha256;
use crate::engine::explain::{Explain, Explanation, sentence};
use crate::engine::incident::facts::{Check, Verdict};
use crate::engine::runner::protocol::Unit;
use crate::engine::runner::work::Report;
use data_encoding::HEXLOWER;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Damage that is named one by one; the rest is counted.
const NAMED: usize = 5;
/// Bytes read at a time for a digest.
const PIECE: usize = 4 << 20;

/// Checks one base backup and the WAL that makes it consistent, in this order: descriptor, key,
/// objects, manifest, content, WAL.
#[must_use]
pub fn verify_base(
    repository: &Repository,
    set: &str,
    progress: Report<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Vec<Check> {
    verify(repository, set, false, progress, cancelled)
}

/// As [`verify_base`], and the digest of every stored byte too, which costs a second reading: it
/// also covers the last block of an encrypted object, which is under no range's tag.
#[must_use]
pub fn verify_whole(
    repository: &Repository,
    set: &str,
    progress: Report<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Vec<Check> {
    verify(repository, set, true, progress, cancelled)
}

fn verify(
    repository: &Repository,
    set: &str,
    digests: bool,
    progress: Report<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Vec<Check> {
    let mut run = Run { checks: Vec::new(), begun: Instant::now(), digests };
    run.all(repository, set, progress, cancelled);
    // What comes after a failure that ended the run was not run.
    for (id, title) in CHECKS {
        if !run.checks.iter().any(|check| check.id == id) {
            run.checks.push(Check {
                id: id.to_owned(),
                title: title.to_owned(),
                verdict: Verdict::NotRun,
                expected: None,
                found: None,
                detail: String::from("A check before it did not pass."),
                duration_ms: 0,
            });
        }
    }
    run.checks
}

const CHECKS: [(&str, &str); 6] = [
    ("base:descriptor", "The backup's descriptor is authentic"),
    ("base:key", "The backup's key opens"),
    ("base:objects", "The backup's objects are there, with the right sizes"),
    ("base:manifest", "The manifest is what was written"),
    ("base:content", "Every file in the backup is what was written"),
    ("base:wal", "The WAL that makes the backup consistent is there and whole"),
];

struct Run {
    checks: Vec<Check>,
    begun: Instant,
    /// Every stored byte is read against its digest.
    digests: bool,
}

impl Run {
    fn all(
        &mut self,
        repository: &Repository,
        name: &str,
        progress: Report<'_>,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Option<()> {
        let opened = OpenSet::open(repository, name);
        let set = match opened {
            Ok(set) => set,
            Err(ScanError::Repository(error @ super::RepositoryError::Key(_))) => {
                // A descriptor cannot be judged without its key.
                let another = matches!(
                    error,
                    super::RepositoryError::Key(
                        crate::engine::crypto::KeyError::WrongMasterKey { .. }
                    )
                );
                let explanation = ScanError::from(error).explanation();
                if another {
                    // That says nothing of the backup.
                    self.add(1, Verdict::CouldNotVerify, &explanation.to_string(), None);
                } else {
                    self.put(1, Err(explanation));
                }
                return self.add(0, Verdict::CouldNotVerify, "Its key does not open.", None);
            }
            Err(error) => {
                self.put(0, Err(error.explanation()));
                return None;
            }
        };
        let descriptor = &set.descriptor;
        self.put(0, Ok(format!("{} of {}", descriptor.set, descriptor.started)));
        self.put(
            1,
            Ok(descriptor
                .key_id
                .as_ref()
                .map_or_else(|| String::from("not encrypted"), |id| format!("key {id}"))),
        );
        let meter = Meter::new(progress, "integrity", Unit::Bytes, descriptor.data_bytes);
        meter.phase("looking for the backup's objects");
        self.objects(&set)?;
        meter.phase("reading the manifest");
        let manifest = match set.manifest() {
            Ok(manifest) => manifest,
            Err(error) => {
                self.put(3, Err(error.explanation()));
                return None;
            }
        };
        let members = manifest.header().member_size;
        self.put(3, Ok(format!("members of up to {members} bytes")));
        meter.phase("reading the backup");
        self.content(&set, manifest, &meter, cancelled);
        meter.phase("reading the WAL that belongs to it");
        self.wal(&set, &meter, cancelled);
        meter.phase("verified");
        Some(())
    }

    fn objects(&mut self, set: &OpenSet<'_>) -> Option<()> {
        let total: u64 = set.descriptor.objects.iter().map(|object| object.size).sum();
        match set.descriptor.fault_of_objects(|name| set.repository.size_of(name)) {
            Ok(None) => {}
            Ok(Some(fault)) => {
                let what = format!("{fault}. {OTHER}");
                return self.add(2, Verdict::Failed, &what, None);
            }
            Err(error) => {
                return self.add(2, Verdict::CouldNotVerify, &sentence(&error), None);
            }
        }
        let found = format!("{} objects, {total} bytes", set.descriptor.objects.len());
        self.put(2, Ok(found));
        Some(())
    }

    fn content(
        &mut self,
        set: &OpenSet<'_>,
        manifest: scan::Manifest<'_>,
        meter: &Meter<'_>,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) {
        let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let options = ScanOptions {
            workers: set.repository.config.workers.unwrap_or_else(cores),
            meter,
            cancelled,
        };
        let sink = Judge { failures: Mutex::new((0, Vec::new())) };
        let outcome = scan::scan(set, manifest, &sink, &options);
        let (count, named) = sink.failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        let expected = format!("{} bytes in files", set.descriptor.data_bytes);
        match outcome {
            Ok(footer) if count == 0 && footer.size == set.descriptor.data_bytes => {
                let found = format!("{} files, {} bytes", footer.files, footer.size);
                match self.digests.then(|| digests(set, meter, cancelled)) {
                    None | Some(Ok(None)) => self.put(4, Ok(found)),
                    Some(Ok(Some(object))) => {
                        let what = format!(
                            "The digest of {object} does not fit: its stored bytes are not those \
                             that were written. {OTHER}"
                        );
                        let _ = self.add(4, Verdict::Failed, &what, Some((expected, found)));
                    }
                    Some(Err(error)) => self.put(4, Err(error.explanation())),
                }
            }
            Ok(footer) if count == 0 => {
                let found = format!("{} bytes", footer.size);
                let detail = "The manifest and the descriptor do not say the same.";
                let _ = self.add(4, Verdict::Failed, detail, Some((expected, found)));
            }
            Ok(_) => {
                let damage = named.iter().any(ScanError::is_damage);
                let verdict = if damage { Verdict::Failed } else { Verdict::CouldNotVerify };
                let texts: Vec<String> = named.iter().map(|error| sentence(error)).collect();
                let next = if damage { OTHER } else { "Try again when the repository answers." };
                let detail = format!("{} {next}", texts.join(" "));
                let found = format!("{count} failures");
                let _ = self.add(4, verdict, &detail, Some((expected, found)));
            }
            Err(error) => self.put(4, Err(error.explanation())),
        }
    }

    fn wal(&mut self, set: &OpenSet<'_>, meter: &Meter<'_>, cancelled: &(dyn Fn() -> bool + Sync)) {
        let descriptor = &set.descriptor;
        let (size, own) = (descriptor.segment_size, descriptor.own_wal());
        let whole = format!("{} segments of {size} bytes", own.count());
        for name in own.names() {
            if cancelled() {
                let _ = self.add(5, Verdict::CouldNotVerify, "It was cancelled.", None);
                return;
            }
            meter.at(&name);
            let failed = match set.repository.read_wal(&name, &mut std::io::sink()) {
                Ok(Some(length)) if length == size => None,
                Ok(Some(length)) => Some((Verdict::Failed, format!("{name} has {length} bytes."))),
                Ok(None) => Some((Verdict::Failed, format!("{name} is not in the archive."))),
                Err(error) => {
                    let explanation = error.explanation();
                    Some((Verdict::of(explanation.kind), explanation.to_string()))
                }
            };
            if let Some((verdict, detail)) = failed {
                let detail = format!("{detail} Without it this backup cannot be used alone.");
                let found = format!("{name} missing or damaged");
                let _ = self.add(5, verdict, &detail, Some((whole, found)));
                return;
            }
        }
        self.put(5, Ok(whole));
    }

    fn put(&mut self, index: usize, outcome: Result<String, Explanation>) {
        match outcome {
            Ok(found) => {
                let _ = self.add(index, Verdict::Verified, "", Some((String::new(), found)));
            }
            Err(explanation) => {
                let verdict = Verdict::of(explanation.kind);
                let _ = self.add(index, verdict, &explanation.to_string(), None);
            }
        }
    }

    /// Always `None`, to end the run with it.
    fn add(
        &mut self,
        index: usize,
        verdict: Verdict,
        detail: &str,
        seen: Option<(String, String)>,
    ) -> Option<()> {
        let (id, title) = CHECKS.get(index).copied().unwrap_or(("base", "The backup"));
        let (expected, found) = seen.unzip();
        let elapsed = self.begun.elapsed().as_millis();
        self.begun = Instant::now();
        self.checks.push(Check {
            id: id.to_owned(),
            title: title.to_owned(),
            verdict,
            expected: expected.filter(|text| !text.is_empty()),
            found,
            detail: detail.to_owned(),
            duration_ms: u64::try_from(elapsed).unwrap_or(u64::MAX),
        });
        None
    }
}

/// The first object whose stored bytes do not have the descriptor's digest. The manifest's digest
/// was proven when it was opened.
fn digests(
    set: &OpenSet<'_>,
    meter: &Meter<'_>,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<Option<String>, ScanError> {
    let mut buffer = vec![0; PIECE];
    for object in set.descriptor.objects.iter().filter(|o| !o.name.contains(".manifest.json")) {
        meter.phase(&format!("digest of {}", object.name));
        let mut sha = Sha256::new();
        let mut offset = 0;
        while offset < object.size {
            if cancelled() {
                return Err(ScanError::Cancelled);
            }
            let length = usize::try_from(object.size - offset).unwrap_or(PIECE).min(PIECE);
            let Some(piece) = buffer.get_mut(..length) else { break };
            set.repository.store.read_range(&object.name, offset, piece)?;
            sha.update(&*piece);
            offset += length as u64;
        }
        if HEXLOWER.encode(&sha.finalize()) != object.sha256 {
            return Ok(Some(object.name.clone()));
        }
    }
    Ok(None)
}

const OTHER: &str = "Use another copy of the repository or another backup.";

/// Keeps nothing but what is wrong.
struct Judge {
    failures: Mutex<(u64, Vec<ScanError>)>,
}

impl Sink for Judge {
    type File = ();
    type Error = ScanError;

    fn directory(&self, _: &Directory) -> Result<(), ScanError> {
        Ok(())
    }

    fn begin(&self, _: &manifest::File) -> Result<(), ScanError> {
        Ok(())
    }

    fn part(&self, _: &manifest::File, (): &(), _: u64, _: &[u8]) -> Result<(), ScanError> {
        Ok(())
    }

    fn end(&self, _: &manifest::File, (): &()) -> Result<(), ScanError> {
        Ok(())
    }

    fn failed(&self, error: ScanError) -> Result<(), ScanError> {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.0 += 1;
        if failures.1.len() < NAMED {
            failures.1.push(error);
        }
        Ok(())
    }
}
