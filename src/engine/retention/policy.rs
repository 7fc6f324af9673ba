//! What is kept and what may go, from values alone. Owns the rules and their words; never lists,
//! reads or removes anything.
//!
//! A point of time is kept reachable where it lies in the policy's window. Recovery to a point
//! needs a whole backup that ended before it and all WAL from that backup's start to the point,
//! along the timelines on the way. What is not known, or could not be read, counts as needed.

mod rules;

use crate::engine::postgres::Lsn;
use crate::engine::recovery_point::timelines::Line;
use crate::engine::repository::hold::WalPoint;
use crate::engine::wal::{Segment, TimelineId};
use jiff::{SignedDuration, Timestamp};
use rules::Rules;
use std::collections::BTreeMap;

/// The written policy of one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Every point of the last so many days stays reachable.
    pub days: u32,
    /// So many of the newest whole backups stay, whatever their age; at least one.
    pub minimum: usize,
}

impl Policy {
    /// Where the window begins.
    #[must_use]
    pub fn window(self, now: Timestamp) -> Timestamp {
        let span = SignedDuration::from_hours(24 * i64::from(self.days));
        now.checked_sub(span).unwrap_or(Timestamp::MIN)
    }
}

/// A published backup whose descriptor was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetSeen {
    pub set: String,
    pub timeline: TimelineId,
    pub start_lsn: Lsn,
    pub stop_lsn: Lsn,
    pub started: Timestamp,
    pub finished: Timestamp,
    /// Why it cannot serve a recovery; `None` where nothing is known against it.
    pub fault: Option<String>,
}

/// A published backup whose descriptor could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    pub set: String,
    /// From its name.
    pub began: Timestamp,
    pub why: String,
}

/// A hold that counts now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldSet {
    pub set: String,
    /// `None` where the hold could not be read: then it keeps all that it might mean.
    pub name: Option<String>,
    pub wal_to: Option<WalPoint>,
}

/// Something on this machine that reads the repository now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Use {
    /// `None` where it has not said yet which backup it needs.
    pub set: Option<String>,
    /// Such as "incident INC-20250113-001".
    pub by: String,
}

/// Everything that the rules look at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inventory {
    /// Bytes.
    pub segment_size: u64,
    pub sets: Vec<SetSeen>,
    pub unreadable: Vec<Unreadable>,
    /// Each timeline whose ancestry is known.
    pub lines: BTreeMap<TimelineId, Line>,
    /// When the newest WAL of each timeline, or its history, was written; `None` where the store
    /// does not say.
    pub tails: BTreeMap<TimelineId, Option<Timestamp>>,
    pub holds: Vec<HeldSet>,
    pub uses: Vec<Use>,
}

/// Keep or remove, and why, in plain words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub remove: bool,
    pub why: String,
}

impl Judgement {
    fn keep(why: impl Into<String>) -> Self {
        Self { remove: false, why: why.into() }
    }
}

/// Segments of one timeline that are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Needed {
    first: u64,
    last: u64,
    why: String,
}

/// What the policy says of a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// By backup, oldest first.
    pub sets: Vec<(String, Judgement)>,
    /// What kept more than the policy alone would.
    pub notes: Vec<String>,
    window: Timestamp,
    /// WAL that was written at this time or later stays in any case.
    limit: Timestamp,
    needed: BTreeMap<TimelineId, Vec<Needed>>,
    /// Nothing may go, for this reason.
    everything: Option<String>,
}

impl Decision {
    /// Of one file of the archive, by the segment that it is or belongs to.
    #[must_use]
    pub fn wal(&self, segment: Segment, written: Option<Timestamp>) -> Judgement {
        if let Some(why) = &self.everything {
            return Judgement::keep(why);
        }
        let Segment { timeline, number } = segment;
        let needed = self.needed.get(&timeline).map(Vec::as_slice).unwrap_or_default();
        if let Some(one) = needed.iter().find(|one| (one.first..=one.last).contains(&number)) {
            return Judgement::keep(&one.why);
        }
        match written {
            None => return Judgement::keep("the store does not say when it was written"),
            Some(written) if written >= self.limit => {
                let why = if written >= self.window {
                    "it was written within the policy's days"
                } else {
                    "it was written after the newest whole backup began"
                };
                return Judgement::keep(why);
            }
            Some(_) => {}
        }
        let why = if needed.is_empty() {
            format!("no kept backup and no kept point lies on timeline {timeline}")
        } else if needed.iter().all(|one| number < one.first) {
            String::from("it lies before every kept backup of its timeline")
        } else {
            String::from("no kept backup and no kept point needs it")
        };
        Judgement { remove: true, why }
    }

    /// Whether segments `first` to `last` of a timeline are all needed, so that nobody has to
    /// look at them one by one.
    #[must_use]
    pub fn needs_all(&self, timeline: TimelineId, first: u64, last: u64) -> bool {
        self.everything.is_some()
            || self.needed.get(&timeline).is_some_and(|needed| {
                needed.iter().any(|one| one.first <= first && last <= one.last)
            })
    }

    /// Why nothing at all may go, where that is so.
    #[must_use]
    pub fn everything(&self) -> Option<&str> {
        self.everything.as_deref()
    }
}

/// Applies `policy` as of `now`.
#[must_use]
pub fn decide(inventory: &Inventory, policy: Policy, now: Timestamp) -> Decision {
    let mut whole: Vec<&SetSeen> = inventory.sets.iter().filter(|s| s.fault.is_none()).collect();
    whole.sort_by_key(|set| (set.finished, &set.set));
    let window = policy.window(now);
    let newest = whole.last().copied();
    let mut rules = Rules {
        inventory,
        window,
        kept: BTreeMap::new(),
        notes: Vec::new(),
        needed: BTreeMap::new(),
    };
    let everything = rules.why_everything(newest);
    if let (None, Some(newest)) = (&everything, newest) {
        let newest_ones: Vec<&SetSeen> =
            whole.iter().rev().take(policy.minimum.max(1)).copied().collect();
        rules.holds();
        rules.uses();
        rules.window(policy.days);
        rules.lines(newest, policy.days);
        rules.newest(&newest_ones, policy.minimum);
        rules.unreadable();
        rules.own_wal();
    }
    let Rules { kept, notes, needed, .. } = rules;
    let mut sets: Vec<(Timestamp, String, Judgement)> = Vec::new();
    for set in &inventory.sets {
        let judgement = match (&everything, kept.get(set.set.as_str())) {
            (Some(why), _) => Judgement::keep(why),
            (None, Some(why)) => Judgement::keep(why),
            (None, None) => Judgement { remove: true, why: too_old(set, policy.days) },
        };
        sets.push((set.started, set.set.clone(), judgement));
    }
    for set in &inventory.unreadable {
        let why = format!("it could not be read, so that it may still be needed: {}", set.why);
        sets.push((set.began, set.set.clone(), Judgement::keep(why)));
    }
    sets.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    Decision {
        sets: sets.into_iter().map(|(_, set, judgement)| (set, judgement)).collect(),
        notes,
        window,
        limit: newest.map_or(window, |newest| window.min(newest.started)),
        needed,
        everything,
    }
}

fn too_old(set: &SetSeen, days: u32) -> String {
    let damage = match &set.fault {
        Some(fault) => format!("; it could not serve anyway: {fault}"),
        None => String::new(),
    };
    format!(
        "it ended {:.0} (UTC), and newer whole backups serve every point of the last {days} \
         days{damage}",
        set.finished
    )
}
