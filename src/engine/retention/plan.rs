//! What one cleanup would remove, why and how much: a value that is shown, agreed to and carried
//! out as it is. Owns the putting together; removes nothing.

use super::inventory::Seen;
use super::keys;
use super::policy::{self, Decision, HeldSet, Policy, Use};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::repository::store::{StoreFault, Unfinished};
use crate::engine::repository::wal_listing::{ArchivedFile, WalFolder};
use crate::engine::repository::{Repository, RepositoryError};
use crate::engine::wal::Segment;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What no descriptor publishes may be a backup that still runs, on any host, until it is so old.
const UNPUBLISHED_FOR: SignedDuration = SignedDuration::from_hours(24);
/// Where nothing was written for so long, the clock may be wrong.
const QUIET: SignedDuration = SignedDuration::from_hours(24 * 3);
/// Verifications of a backup that are kept.
const RECORDS: usize = 10;

/// One cleanup of one repository.
#[derive(Debug, Serialize)]
pub struct Plan {
    pub cluster: String,
    /// The repository's name in the configuration.
    pub repository: String,
    /// Such as `file:///var/backups/shop`.
    pub place: String,
    pub as_of: Timestamp,
    pub days: u32,
    pub minimum: usize,
    /// Every published backup, oldest first.
    pub sets: Vec<SetLine>,
    /// WAL that would go, oldest first.
    pub wal: Vec<WalLine>,
    /// What interrupted backups and cleanups left.
    pub unpublished: Vec<Removal>,
    pub keys: Vec<Removal>,
    /// Old records of verifications.
    pub records: Vec<Removal>,
    /// What killed writers left of objects that they were writing.
    pub unfinished: Vec<Removal>,
    /// What the operator should know, such as why more is kept.
    pub notes: Vec<String>,
    /// Bytes that would be free.
    pub bytes: u64,
    /// The newest thing in the repository, where `as_of` lies far beyond it.
    #[serde(skip)]
    pub(super) quiet_since: Option<Timestamp>,
    /// The same, as the store knows them.
    #[serde(skip)]
    pub(super) abandoned: Vec<Unfinished>,
    #[serde(skip)]
    pub(super) decision: Decision,
    #[serde(skip)]
    pub(super) folders: Vec<WalFolder>,
    #[serde(skip)]
    pub(super) segment_size: u64,
}

/// A backup and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SetLine {
    pub set: String,
    pub remove: bool,
    pub why: String,
    pub finished: Option<Timestamp>,
    /// Stored bytes.
    pub bytes: u64,
    #[serde(skip)]
    pub(super) objects: Vec<String>,
}

/// Files of the archive that go for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WalLine {
    pub timeline: u32,
    pub first: String,
    pub last: String,
    pub files: u64,
    pub bytes: u64,
    pub why: String,
}

/// One object that goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Removal {
    pub key: String,
    pub bytes: u64,
    pub why: String,
}

impl Plan {
    /// Looks at `repository` and applies `policy` as of `now`. `uses` is what reads it now.
    ///
    /// # Errors
    /// Where it could not be seen whole: then nothing may be removed.
    pub fn make(
        repository: &Arc<Repository>,
        policy: Policy,
        uses: &[Use],
        now: Timestamp,
    ) -> Result<Self, Explanation> {
        let mut seen = Seen::take(repository, uses, now)?;
        let mut decision = policy::decide(&seen.inventory, policy, now);
        // What the store itself keeps stays whole: its WAL too.
        let locked = locked(repository, &seen, &decision)?;
        if !locked.is_empty() {
            seen.inventory.holds.extend(locked);
            decision = policy::decide(&seen.inventory, policy, now);
        }
        let mut plan = Self {
            cluster: repository.cluster().to_owned(),
            repository: repository.config.name.clone(),
            place: repository.store.describe(),
            as_of: now,
            days: policy.days,
            minimum: policy.minimum,
            sets: sets(repository, &seen, &decision)?,
            wal: Vec::new(),
            unpublished: Vec::new(),
            keys: Vec::new(),
            records: Vec::new(),
            unfinished: Vec::new(),
            abandoned: Vec::new(),
            notes: [seen.notes.clone(), decision.notes.clone()].concat(),
            bytes: 0,
            quiet_since: seen.newest().filter(|at| now.duration_since(*at) > QUIET),
            segment_size: seen.inventory.segment_size,
            folders: Vec::new(),
            decision,
        };
        if let Some(newest) = plan.quiet_since {
            plan.notes.push(format!(
                "Nothing was written here since {newest:.0} (UTC), and this machine's clock says \
                 {now:.0} (UTC). Look at the clock before anything is removed: what is old is told \
                 by it."
            ));
        }
        plan.unfinished(repository);
        if let Some(why) = plan.decision.everything() {
            plan.notes.push(format!("No backup and no WAL is removed: {why}."));
            plan.bytes = plan.unfinished.iter().map(|one| one.bytes).sum();
            return Ok(plan);
        }
        plan.unpublished(&seen);
        let mut spare = keys::unneeded_by_sets(repository, &seen, &plan)?;
        plan.archive(repository, &mut spare)?;
        plan.keys = spare.into_removals();
        plan.records(repository, &seen)?;
        let gone = plan.sets.iter().filter(|set| set.remove).map(|set| set.bytes);
        let others = [&plan.unpublished, &plan.keys, &plan.records, &plan.unfinished];
        plan.bytes = gone
            .chain(plan.wal.iter().map(|line| line.bytes))
            .chain(others.into_iter().flatten().map(|one| one.bytes))
            .sum();
        Ok(plan)
    }

    /// Refuses what only an operator who looked at the clock may have removed.
    ///
    /// # Errors
    /// [`Kind::Refused`] where the clock is far beyond all that was written.
    pub fn unattended(&self) -> Result<(), Explanation> {
        let Some(newest) = self.quiet_since.filter(|_| !self.is_empty()) else { return Ok(()) };
        Err(Explanation::new(
            Kind::Refused,
            format!(
                "The newest thing in the repository \"{}\" was written on {newest:.0} (UTC), and \
                 this machine's clock says {:.0} (UTC): it may be wrong.",
                self.repository, self.as_of
            ),
            "Nothing was removed.",
            "See why no backup and no WAL arrives, and whether the clock is right; then run \
             lifeboat cleanup by hand.",
        ))
    }

    /// Whether there is nothing to remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.sets.iter().any(|set| set.remove)
            && self.wal.is_empty()
            && self.unpublished.is_empty()
            && self.keys.is_empty()
            && self.records.is_empty()
            && self.unfinished.is_empty()
    }

    /// Nothing else depends on them: that they could not be looked for stops nothing.
    fn unfinished(&mut self, repository: &Repository) {
        let found = match repository.unfinished() {
            Ok(found) => found,
            Err(error) => {
                self.notes.push(format!(
                    "Whether killed writers left something could not be told: {error}."
                ));
                return;
            }
        };
        let (abandoned, others): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|one| one.is_abandoned(self.as_of));
        if !others.is_empty() {
            self.notes.push(format!(
                "{} unfinished writes stay: they are younger than a day, or their writer lives.",
                others.len()
            ));
        }
        self.unfinished = abandoned
            .iter()
            .map(|one| Removal {
                key: one.key.clone(),
                bytes: one.bytes,
                why: format!(
                    "its writer left it unfinished, and wrote last on {:.0} (UTC)",
                    one.active
                ),
            })
            .collect();
        self.abandoned = abandoned;
    }

    fn unpublished(&mut self, seen: &Seen) {
        let Ok(limit) = self.as_of.checked_sub(UNPUBLISHED_FOR) else { return };
        for (set, objects) in seen.unpublished() {
            let old = objects.iter().all(|object| object.written.is_some_and(|at| at < limit));
            if !old {
                self.notes.push(format!(
                    "Objects of {set}, which is not published, stay: a backup may still be \
                     writing them."
                ));
                continue;
            }
            self.unpublished.extend(objects.into_iter().map(|object| Removal {
                key: object.key.clone(),
                bytes: object.size,
                why: format!("{set} was not published, or its descriptor is removed already"),
            }));
        }
    }

    /// Folder by folder, so that the archive's names are never in memory at once.
    fn archive(
        &mut self,
        repository: &Repository,
        spare: &mut keys::Spare,
    ) -> Result<(), Explanation> {
        let size = self.segment_size;
        for folder in repository.wal_folders().map_err(|e| e.explanation())? {
            let (first, last) = folder.numbers(size);
            let all_needed = self.decision.needs_all(folder.timeline, first, last);
            if all_needed && spare.is_empty() {
                continue;
            }
            let mut removes = false;
            for file in repository.wal_files(&folder).map_err(|e| e.explanation())? {
                let judgement = judge(&self.decision, &file, size);
                match judgement {
                    Some(why) => {
                        removes = true;
                        add(&mut self.wal, folder.timeline, &file, why);
                    }
                    None => spare.needed(file.key_id.as_deref()),
                }
            }
            if removes {
                self.folders.push(folder);
            }
        }
        for file in repository.history_files().map_err(|e| e.explanation())? {
            spare.needed(file.key_id.as_deref());
        }
        Ok(())
    }

    fn records(&mut self, repository: &Repository, seen: &Seen) -> Result<(), Explanation> {
        let told = |e: RepositoryError| e.explanation();
        for set in repository.verified_sets().map_err(told)? {
            let mut keys = repository.verification_keys(&set).map_err(told)?;
            let why = if seen.published.contains(&set) {
                keys.truncate(keys.len().saturating_sub(RECORDS));
                format!("there are {RECORDS} newer verifications of {set}")
            } else {
                format!("{set} is not there any more")
            };
            for key in keys {
                let bytes = match repository.store.size(&key) {
                    Ok(bytes) => bytes,
                    Err(e) if e.fault == StoreFault::NotFound => continue,
                    Err(e) => return Err(e.explanation()),
                };
                self.records.push(Removal { key, bytes, why: why.clone() });
            }
        }
        Ok(())
    }
}

/// Why a file of the archive goes; `None` where it stays. What is no segment's stays.
pub(super) fn judge(decision: &Decision, file: &ArchivedFile, segment_size: u64) -> Option<String> {
    let segment = Segment::parse(file.segment(), segment_size)?;
    let judgement = decision.wal(segment, file.written);
    judgement.remove.then_some(judgement.why)
}

fn add(lines: &mut Vec<WalLine>, timeline: u32, file: &ArchivedFile, why: String) {
    if let Some(line) = lines.last_mut()
        && line.timeline == timeline
        && line.why == why
    {
        line.last.clone_from(&file.name);
        line.files += 1;
        line.bytes += file.size;
        return;
    }
    lines.push(WalLine {
        timeline,
        first: file.name.clone(),
        last: file.name.clone(),
        files: 1,
        bytes: file.size,
        why,
    });
}

fn sets(
    repository: &Repository,
    seen: &Seen,
    decision: &Decision,
) -> Result<Vec<SetLine>, Explanation> {
    let mut lines = Vec::new();
    for (set, judgement) in &decision.sets {
        let descriptor = seen.descriptors.get(set);
        let mut objects: Vec<String> = descriptor
            .map(|descriptor| descriptor.objects.iter().map(|o| o.name.clone()).collect())
            .unwrap_or_default();
        if judgement.remove {
            objects.extend(repository.verification_keys(set).map_err(|e| e.explanation())?);
        }
        lines.push(SetLine {
            set: set.clone(),
            remove: judgement.remove,
            why: judgement.why.clone(),
            finished: descriptor.map(|descriptor| descriptor.finished),
            bytes: descriptor.map_or(0, |descriptor| descriptor.stored_bytes),
            objects,
        });
    }
    Ok(lines)
}

/// Sets that would go and of which the store itself keeps an object.
fn locked(
    repository: &Repository,
    seen: &Seen,
    decision: &Decision,
) -> Result<Vec<HeldSet>, Explanation> {
    let mut held = Vec::new();
    let now = Timestamp::now();
    for (set, _) in decision.sets.iter().filter(|(_, judgement)| judgement.remove) {
        let Some(descriptor) = seen.descriptors.get(set) else { continue };
        let names = descriptor.objects.iter().map(|object| object.name.clone());
        let keys: BTreeSet<String> = names.chain([format!("{set}.json")]).collect();
        for key in keys {
            match repository.store.hold(&key) {
                Ok(Some(hold)) if hold.until > now => {
                    held.push(HeldSet {
                        set: set.clone(),
                        name: Some(format!(
                            "{}, by the store itself, until {:.0} (UTC)",
                            hold.mode, hold.until
                        )),
                        wal_to: None,
                    });
                    break;
                }
                Ok(_) => {}
                Err(e) if e.fault == StoreFault::NotFound => {}
                Err(e) => return Err(e.explanation()),
            }
        }
    }
    Ok(held)
}
