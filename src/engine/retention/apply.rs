//! Carrying a cleanup out. Owns the order: a set is unpublished before anything of it goes, WAL
//! goes after the sets and oldest first, keys go last, so that what an interruption leaves listed
//! is whole. Never goes on past what it cannot tell.

use super::keys;
use super::plan::{Plan, Removal, SetLine, judge};
use super::policy::Use;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::keys::inventory::usage;
use crate::engine::repository::Repository;
use crate::engine::repository::hold::Held;
use crate::engine::repository::meter::Meter;
use crate::engine::repository::store::{StoreError, StoreFault, Unfinished};
use crate::engine::runner::protocol::Unit;
use crate::engine::runner::work::Report;
use jiff::Timestamp;
use serde::Serialize;

/// Names of objects that the store keeps, told one by one; the rest is counted.
const NAMED: usize = 20;

/// What a cleanup did.
#[derive(Debug, Default, Serialize)]
pub struct Outcome {
    pub sets: Vec<String>,
    /// Objects of all kinds.
    pub objects: u64,
    /// Bytes of the sets and WAL that went.
    pub bytes: u64,
    /// Sets and data keys that were to go and were left whole, and why.
    pub left: Vec<(String, String)>,
    /// Objects that the store did not let go.
    pub kept_by_store: u64,
    pub kept_by_store_named: Vec<String>,
    /// What ended it before its end. The next cleanup goes on from there.
    pub stopped: Option<Explanation>,
}

impl Outcome {
    /// Whether all that was planned is gone.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.stopped.is_none() && self.left.is_empty() && self.kept_by_store == 0
    }
}

impl Plan {
    /// Removes what this plan says. `uses` is asked again before each set.
    pub fn apply(
        &self,
        repository: &Repository,
        uses: &dyn Fn() -> Result<Vec<Use>, Explanation>,
        progress: Report<'_>,
        cancelled: &dyn Fn() -> bool,
    ) -> Outcome {
        let meter = Meter::new(progress, "cleanup", Unit::Bytes, self.bytes);
        let mut run = Run { repository, meter, cancelled, outcome: Outcome::default() };
        if let Err(stopped) = run.all(self, uses) {
            run.outcome.stopped = Some(stopped);
        }
        run.outcome
    }
}

struct Run<'a> {
    repository: &'a Repository,
    meter: Meter<'a>,
    cancelled: &'a dyn Fn() -> bool,
    outcome: Outcome,
}

/// What came of removing one object.
#[derive(PartialEq, Eq)]
enum Gone {
    Now,
    Before,
    Kept,
}

impl Run<'_> {
    fn all(
        &mut self,
        plan: &Plan,
        uses: &dyn Fn() -> Result<Vec<Use>, Explanation>,
    ) -> Result<(), Explanation> {
        for one in &plan.abandoned {
            self.unfinished(one)?;
        }
        for set in plan.sets.iter().filter(|set| set.remove) {
            match self.why_not(plan, set, &uses()?)? {
                Some(why) => self.outcome.left.push((set.set.clone(), why)),
                None => self.set(set)?,
            }
        }
        for one in &plan.unpublished {
            self.unpublished(one)?;
        }
        if !self.outcome.left.is_empty() {
            // The plan took its WAL for free. The next plan knows better.
            return Err(Explanation::new(
                Kind::Refused,
                "Something that was to go is needed after all.",
                "The write-ahead log and the keys were left as they are.",
                "Run it again: it makes a new plan.",
            ));
        }
        self.wal(plan)?;
        if self.outcome.kept_by_store > 0 {
            // What the store keeps may need any of them.
            return Ok(());
        }
        if plan.keys.is_empty() {
            return self.records(plan);
        }
        // A copy from elsewhere may have published a set with one of them since the plan was made.
        let used = usage(self.repository).map_err(|e| e.explanation())?;
        for one in &plan.keys {
            self.stop()?;
            if let Some(why) = used.why_needed(&one.key, plan.as_of) {
                self.outcome.left.push((format!("the data key {}", one.key), why));
                continue;
            }
            self.count(keys::remove(self.repository, &one.key), &one.key, one.bytes)?;
        }
        self.records(plan)
    }

    fn records(&mut self, plan: &Plan) -> Result<(), Explanation> {
        for one in &plan.records {
            self.remove(&one.key, one.bytes)?;
        }
        Ok(())
    }

    /// Holds and uses that came since the plan was made.
    fn why_not(
        &self,
        plan: &Plan,
        set: &SetLine,
        uses: &[Use],
    ) -> Result<Option<String>, Explanation> {
        for held in self.repository.holds_of(&set.set).map_err(|e| e.explanation())? {
            match held {
                Held::Known(hold) if !hold.holds_at(plan.as_of) => {}
                Held::Known(hold) => return Ok(Some(format!("held as \"{}\"", hold.name))),
                Held::Unreadable { .. } => {
                    return Ok(Some(String::from("held by a hold that could not be read")));
                }
            }
        }
        let needs = |one: &&Use| one.set.as_ref().is_none_or(|name| *name == set.set);
        Ok(uses.iter().find(needs).map(|one| format!("in use by {}", one.by)))
    }

    fn set(&mut self, set: &SetLine) -> Result<(), Explanation> {
        self.meter.phase(&set.set);
        if self.remove(&format!("{}.json", set.set), 0)? == Gone::Kept {
            let why = String::from("the store keeps its descriptor");
            self.outcome.left.push((set.set.clone(), why));
            return Ok(());
        }
        self.outcome.sets.push(set.set.clone());
        for object in &set.objects {
            self.remove(object, 0)?;
        }
        self.outcome.bytes += set.bytes;
        self.meter.add(set.bytes);
        Ok(())
    }

    fn unpublished(&mut self, one: &Removal) -> Result<(), Explanation> {
        // base-YYYYMMDD-HHMMSS
        let set = one.key.get(..20).unwrap_or_default().replacen("base-", "set-", 1);
        match self.repository.store.size(&format!("{set}.json")) {
            Err(e) if e.fault == StoreFault::NotFound => self.remove(&one.key, one.bytes).map(drop),
            Ok(_) => Ok(()),
            Err(e) => Err(stopped(&e)),
        }
    }

    /// One whose writer came back, or that somebody else removed, is no loss.
    fn unfinished(&mut self, one: &Unfinished) -> Result<(), Explanation> {
        self.stop()?;
        match self.repository.store.discard(one) {
            Ok(false) => Ok(()),
            Ok(true) => self.count(Ok(()), &one.key, one.bytes).map(drop),
            Err(e) => Err(stopped(&e)),
        }
    }

    fn wal(&mut self, plan: &Plan) -> Result<(), Explanation> {
        for folder in &plan.folders {
            self.meter.phase(&format!("WAL {}", folder.name));
            let files = self.repository.wal_files(folder).map_err(|e| e.explanation())?;
            for file in files {
                if judge(&plan.decision, &file, plan.segment_size).is_some() {
                    self.remove(&file.key, file.size)?;
                }
            }
        }
        Ok(())
    }

    fn remove(&mut self, key: &str, bytes: u64) -> Result<Gone, Explanation> {
        self.stop()?;
        self.count(self.repository.store.remove(key), key, bytes)
    }

    fn stop(&self) -> Result<(), Explanation> {
        if !(self.cancelled)() {
            return Ok(());
        }
        Err(Explanation::new(
            Kind::Cancelled,
            "The cleanup was cancelled.",
            "Every backup that is still listed is whole.",
            "The next cleanup goes on from there.",
        ))
    }

    fn is_locked(&self, key: &str) -> bool {
        let now = Timestamp::now();
        self.repository.store.hold(key).is_ok_and(|hold| hold.is_some_and(|one| one.until > now))
    }

    fn count(
        &mut self,
        removed: Result<(), StoreError>,
        key: &str,
        bytes: u64,
    ) -> Result<Gone, Explanation> {
        match removed {
            Ok(()) => {
                self.outcome.objects += 1;
                self.outcome.bytes += bytes;
                self.meter.add(bytes);
                Ok(Gone::Now)
            }
            Err(e) if e.fault == StoreFault::NotFound => Ok(Gone::Before),
            // Only what is shown to be locked is left for later; a refusal without a lock is a
            // fault that somebody has to put right.
            Err(e) if e.fault == StoreFault::Denied && self.is_locked(key) => {
                self.outcome.kept_by_store += 1;
                if self.outcome.kept_by_store_named.len() < NAMED {
                    self.outcome.kept_by_store_named.push(format!("{key}: {e}"));
                }
                Ok(Gone::Kept)
            }
            Err(e) => Err(stopped(&e)),
        }
    }
}

fn stopped(error: &StoreError) -> Explanation {
    let told = error.explanation();
    Explanation::new(
        told.kind,
        told.what,
        "Every backup that is still listed is whole.",
        "Put that right and run the cleanup again: it goes on from there.",
    )
}
