//! What a repository holds, as the policy must see it. Owns the looking; judges only whether a
//! backup is whole as far as names, sizes and records tell. Removes nothing.

use super::policy::{HeldSet, Inventory, SetSeen, Unreadable, Use};
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::incident::facts::Verdict;
use crate::engine::postgres::Lsn;
use crate::engine::recovery_point::RepositoryArchive;
use crate::engine::recovery_point::timelines::Timelines;
use crate::engine::repository::descriptor::{SetDescriptor, base_stem, set_time};
use crate::engine::repository::hold::Held;
use crate::engine::repository::store::ObjectInfo;
use crate::engine::repository::{Repository, RepositoryError};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What was seen, with what removing it needs to know.
#[derive(Debug)]
pub struct Seen {
    pub inventory: Inventory,
    /// Each published backup that could be read.
    pub descriptors: BTreeMap<String, SetDescriptor>,
    /// All objects of backups, published or not, by key.
    pub objects: BTreeMap<String, ObjectInfo>,
    /// Every published backup, readable or not.
    pub published: BTreeSet<String>,
    pub notes: Vec<String>,
}

impl Seen {
    /// Looks at `repository` as of `now`.
    ///
    /// # Errors
    /// Where it could not be seen whole: then nothing may be removed.
    pub fn take(
        repository: &Arc<Repository>,
        uses: &[Use],
        now: Timestamp,
    ) -> Result<Self, Explanation> {
        let told = |e: RepositoryError| e.explanation();
        // Objects before descriptors: what is published in between is not taken for an orphan.
        let listed = repository.store.list("", "base-").map_err(|e| e.explanation())?;
        let objects: BTreeMap<_, _> = listed.into_iter().map(|o| (o.key.clone(), o)).collect();
        let keys: Option<BTreeSet<String>> = match repository.keyring() {
            Some(keyring) => {
                Some(keyring.list().map_err(|e| e.explanation())?.into_iter().collect())
            }
            None => None,
        };
        let mut seen = Self {
            inventory: Inventory { uses: uses.to_vec(), ..Inventory::default() },
            descriptors: BTreeMap::new(),
            objects,
            published: BTreeSet::new(),
            notes: Vec::new(),
        };
        for name in repository.set_names().map_err(told)? {
            match repository.read_set(&name) {
                Ok(set) => {
                    let fault = seen.fault_of(repository, &set, keys.as_ref())?;
                    seen.inventory.sets.push(SetSeen {
                        set: name.clone(),
                        timeline: set.timeline,
                        start_lsn: set.start_lsn,
                        stop_lsn: set.stop_lsn,
                        started: set.started,
                        finished: set.finished,
                        fault,
                    });
                    seen.inventory.segment_size = set.segment_size;
                    seen.descriptors.insert(name.clone(), set);
                }
                // Removed since it was listed.
                Err(RepositoryError::NoSuchSet(_)) => continue,
                Err(error) => seen.inventory.unreadable.push(Unreadable {
                    began: set_time(&name).unwrap_or(Timestamp::MIN),
                    why: sentence(&error),
                    set: name.clone(),
                }),
            }
            seen.published.insert(name);
        }
        seen.sane(now)?;
        seen.timelines(repository)?;
        for held in repository.holds().map_err(told)? {
            seen.inventory.holds.extend(match held {
                Held::Known(hold) if !hold.holds_at(now) => {
                    seen.notes.push(format!(
                        "The hold \"{}\" on {} ran out; it keeps nothing until it is renewed.",
                        hold.name, hold.set
                    ));
                    None
                }
                Held::Known(hold) => {
                    Some(HeldSet { set: hold.set, name: Some(hold.name), wal_to: hold.wal_to })
                }
                Held::Unreadable { set, reason } => {
                    seen.notes.push(reason.to_string());
                    Some(HeldSet { set, name: None, wal_to: None })
                }
            });
        }
        Ok(seen)
    }

    /// A clock that is wrong would make everything look old or everything young.
    fn sane(&self, now: Timestamp) -> Result<(), Explanation> {
        let slack = jiff::SignedDuration::from_mins(5);
        let ahead = now.checked_add(slack).unwrap_or(Timestamp::MAX);
        let newest = self.inventory.sets.iter().max_by_key(|set| set.finished);
        let Some(newest) = newest.filter(|set| set.finished > ahead) else { return Ok(()) };
        Err(Explanation::new(
            Kind::Refused,
            format!(
                "{} ended {:.0} (UTC), and this machine's clock says {now:.0} (UTC): one of the \
                 clocks is wrong.",
                newest.set, newest.finished
            ),
            "Nothing was removed.",
            "Set the clock right first; what is old is told by it.",
        ))
    }

    /// The newest thing that was written here and says when.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        let sets = self.inventory.sets.iter().map(|set| set.finished);
        let tails = self.inventory.tails.values().copied().flatten();
        sets.chain(tails).max().filter(|at| *at > Timestamp::MIN)
    }

    /// What names, sizes and records say against a backup.
    fn fault_of(
        &self,
        repository: &Repository,
        set: &SetDescriptor,
        keys: Option<&BTreeSet<String>>,
    ) -> Result<Option<String>, Explanation> {
        let size_of = |name: &str| Ok(self.objects.get(name).map(|found| found.size));
        if let Some(fault) = set.fault_of_objects(size_of)? {
            return Ok(Some(fault));
        }
        if let (Some(keys), Some(id)) = (keys, &set.key_id)
            && !keys.contains(id)
        {
            return Ok(Some(format!("its key {id} is missing")));
        }
        let missing = repository.first_missing(set.own_wal()).map_err(|e| e.explanation())?;
        if let Some(name) = missing.map(|segment| segment.name(set.segment_size)) {
            return Ok(Some(format!("the WAL file {name}, which it needs, is missing")));
        }
        let newest = repository.newest_verification(&set.set).map_err(|e| e.explanation())?;
        Ok(newest
            .filter(|one| one.verdict == Verdict::Failed)
            .map(|one| format!("its verification of {:.0} (UTC) failed", one.at)))
    }

    fn timelines(&mut self, repository: &Arc<Repository>) -> Result<(), Explanation> {
        let archive = RepositoryArchive::new(Arc::clone(repository));
        let lines = Timelines::read(&archive)?;
        self.notes.extend(lines.warnings.iter().cloned());
        let told = |e: RepositoryError| e.explanation();
        let tails = &mut self.inventory.tails;
        // The newest of what is known; not known beats everything.
        let mut note = |timeline, written: Option<Timestamp>| {
            let newest = tails.entry(timeline).or_insert(Some(Timestamp::MIN));
            *newest = match (*newest, written) {
                (Some(one), Some(other)) => Some(one.max(other)),
                _ => None,
            };
        };
        for file in repository.history_files().map_err(told)? {
            let digits = file.name.get(..8).unwrap_or_default();
            if let Ok(timeline) = u32::from_str_radix(digits, 16) {
                note(timeline, file.written);
            }
        }
        let mut last = BTreeMap::new();
        for folder in repository.wal_folders().map_err(told)? {
            last.insert(folder.timeline, folder);
        }
        for (timeline, folder) in last {
            for file in repository.wal_files(&folder).map_err(told)? {
                note(timeline, file.written);
            }
        }
        for timeline in repository.timelines().map_err(told)? {
            if let Some(line) = lines.line(timeline) {
                self.inventory.lines.insert(timeline, line.clone());
            }
        }
        // Before its first segment was archived, the first timeline leaves no trace.
        self.inventory.lines.entry(1).or_insert_with(|| vec![(1, Lsn(0))]);
        Ok(())
    }

    /// Objects of backups that no descriptor publishes, by the backup that they would be of.
    #[must_use]
    pub fn unpublished(&self) -> BTreeMap<String, Vec<&ObjectInfo>> {
        let stems: BTreeSet<String> =
            self.published.iter().filter_map(|set| base_stem(set)).collect();
        let mut orphans: BTreeMap<String, Vec<&ObjectInfo>> = BTreeMap::new();
        for object in self.objects.values() {
            // base-YYYYMMDD-HHMMSS
            let Some(stem) = object.key.get(..20) else { continue };
            let set = stem.replacen("base-", "set-", 1);
            let follows = object.key.get(20..21) == Some(".");
            if follows && set_time(&set).is_some() && !stems.contains(stem) {
                orphans.entry(set).or_default().push(object);
            }
        }
        orphans
    }
}
