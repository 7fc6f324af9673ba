//! Over random histories of work, backups, recoveries, losses, holds and cleanups: no point that
//! the policy keeps is ever lost. What can be reached is enumerated here from the history itself,
//! by other means than the policy's.

use super::policy::{self, HeldSet, Inventory, Policy, SetSeen, Unreadable, Use};
use crate::engine::postgres::Lsn;
use crate::engine::repository::hold::WalPoint;
use crate::engine::wal::Segment;
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const SIZE: u64 = 1 << 20;
const POLICY: Policy = Policy { days: 7, minimum: 2 };

#[derive(Debug, Clone)]
enum Op {
    /// So many segments, so many hours each; whether the store will say when it was written.
    Work {
        segments: u64,
        hours: i64,
        dated: bool,
    },
    Backup {
        segments: u64,
        hours: i64,
        damaged: bool,
    },
    /// To a point of the past; a new timeline begins there.
    Recover {
        point: usize,
    },
    LoseSegment {
        which: usize,
    },
    Hold {
        set: usize,
        with_wal: bool,
    },
    Release,
    Cleanup {
        unreadable: Option<usize>,
        used: Option<usize>,
    },
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (1..4_u64, 1..40_i64, prop::bool::weighted(0.97))
            .prop_map(|(segments, hours, dated)| Op::Work { segments, hours, dated }),
        4 => (1..3_u64, 1..30_i64, prop::bool::weighted(0.2))
            .prop_map(|(segments, hours, damaged)| Op::Backup { segments, hours, damaged }),
        1 => any::<usize>().prop_map(|point| Op::Recover { point }),
        1 => any::<usize>().prop_map(|which| Op::LoseSegment { which }),
        1 => (any::<usize>(), any::<bool>())
            .prop_map(|(set, with_wal)| Op::Hold { set, with_wal }),
        1 => Just(Op::Release),
        3 => (
            prop::option::weighted(0.15, any::<usize>()),
            prop::option::weighted(0.15, any::<usize>()),
        )
            .prop_map(|(unreadable, used)| Op::Cleanup { unreadable, used }),
    ]
}

#[derive(Debug, Clone)]
struct Point {
    timeline: u32,
    lsn: u64,
    at: Timestamp,
}

#[derive(Debug, Clone)]
struct Backup {
    seen: SetSeen,
    damaged: bool,
}

/// A repository and the truth about it.
#[derive(Debug, Clone)]
struct World {
    now: Timestamp,
    timeline: u32,
    lsn: u64,
    lines: BTreeMap<u32, Vec<(u32, Lsn)>>,
    histories: BTreeMap<u32, Timestamp>,
    segments: BTreeMap<(u32, u64), Option<Timestamp>>,
    sets: Vec<Backup>,
    points: Vec<Point>,
    holds: Vec<HeldSet>,
    made: usize,
}

impl World {
    fn new() -> Self {
        Self {
            now: "2025-01-01T00:00:00Z".parse().unwrap(),
            timeline: 1,
            lsn: 3 * SIZE,
            lines: BTreeMap::from([(1, vec![(1, Lsn(0))])]),
            histories: BTreeMap::new(),
            segments: BTreeMap::new(),
            sets: Vec::new(),
            points: Vec::new(),
            holds: Vec::new(),
            made: 0,
        }
    }

    fn pass(&mut self, hours: i64) {
        self.now += SignedDuration::from_hours(hours);
    }

    /// Fills the segment under the pen, with two points in it, and archives it.
    fn segment(&mut self, hours: i64, dated: bool) {
        let (number, begun) = (self.lsn / SIZE, self.lsn);
        let end = (number + 1) * SIZE;
        for part in 1..=2 {
            self.now += SignedDuration::from_mins(hours * 20);
            let lsn = begun + (end - begun) * part / 3;
            self.points.push(Point { timeline: self.timeline, lsn, at: self.now });
        }
        self.now += SignedDuration::from_mins(hours * 20);
        self.segments.insert((self.timeline, number), dated.then_some(self.now));
        self.lsn = end;
    }

    fn run(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match *op {
            Op::Work { segments, hours, dated } => {
                (0..segments).for_each(|_| self.segment(hours, dated));
            }
            Op::Backup { segments, hours, damaged } => {
                let (start, started, timeline) = (self.lsn + 40, self.now, self.timeline);
                (0..segments).for_each(|_| self.segment(hours, true));
                self.made += 1;
                let seen = SetSeen {
                    set: format!("set-{:04}", self.made),
                    timeline,
                    start_lsn: Lsn(start),
                    stop_lsn: Lsn(self.lsn - SIZE / 4),
                    started,
                    finished: self.now,
                    fault: None,
                };
                // The points inside it are not its own to serve.
                self.sets.push(Backup { seen, damaged });
            }
            Op::Recover { point } => self.recover(point),
            Op::LoseSegment { which } => {
                let keys: Vec<_> = self.segments.keys().copied().collect();
                if let Some(key) = keys.get(which % keys.len().max(1)) {
                    self.segments.remove(key);
                }
            }
            Op::Hold { set, with_wal } => {
                if let Some(backup) = self.sets.get(set % self.sets.len().max(1)) {
                    let wal_to = with_wal
                        .then_some(WalPoint { timeline: self.timeline, lsn: Lsn(self.lsn) });
                    self.holds.push(HeldSet {
                        set: backup.seen.set.clone(),
                        name: Some("a case".into()),
                        wal_to,
                    });
                }
            }
            Op::Release => self.holds.clear(),
            Op::Cleanup { unreadable, used } => {
                let name = |which: usize| {
                    let at = which % self.sets.len().max(1);
                    self.sets.get(at).map(|backup| backup.seen.set.clone())
                };
                let (unreadable, used) = (unreadable.and_then(name), used.and_then(name));
                self.cleanup(unreadable.as_deref(), used)?;
            }
        }
        Ok(())
    }

    fn recover(&mut self, which: usize) {
        let reachable: Vec<&Point> = self.points.iter().filter(|p| self.reaches(p, None)).collect();
        let Some(point) = reachable.get(which % reachable.len().max(1)) else { return };
        let (from, fork) = (point.timeline, point.lsn + 1);
        self.pass(2);
        self.timeline = self.lines.keys().last().copied().unwrap() + 1;
        self.lsn = fork;
        let mut line = self.lines[&from].clone();
        line.push((self.timeline, Lsn(fork)));
        self.lines.insert(self.timeline, line);
        self.histories.insert(self.timeline, self.now);
    }

    fn whole(&self, backup: &Backup) -> bool {
        let SetSeen { timeline, start_lsn, stop_lsn, .. } = backup.seen;
        let range = start_lsn.0 / SIZE..=(stop_lsn.0 - 1) / SIZE;
        !backup.damaged && range.into_iter().all(|n| self.segments.contains_key(&(timeline, n)))
    }

    /// Whether a recovery can end at `point`, with that set or with any.
    fn reaches(&self, point: &Point, only: Option<&str>) -> bool {
        let sets = self.sets.iter().filter(|backup| only.is_none_or(|set| backup.seen.set == set));
        sets.into_iter().any(|backup| {
            self.whole(backup) && self.lines.values().any(|line| self.leads(backup, line, point))
        })
    }

    fn leads(&self, backup: &Backup, line: &[(u32, Lsn)], point: &Point) -> bool {
        let place = |timeline: u32| line.iter().position(|(one, _)| *one == timeline);
        let (Some(first), Some(last)) = (place(backup.seen.timeline), place(point.timeline)) else {
            return false;
        };
        let ends = |index: usize| line.get(index + 1).map_or(u64::MAX, |(_, at)| at.0);
        let (start, stop) = (backup.seen.start_lsn.0, backup.seen.stop_lsn.0);
        if first > last || stop > ends(first) || point.lsn >= ends(last) || stop > point.lsn {
            return false;
        }
        (first..=last).all(|index| {
            let (timeline, begins) = line[index];
            let (low, high) = (begins.0.max(start), (ends(index) - 1).min(point.lsn));
            low > high
                || (low / SIZE..=high / SIZE).all(|number| {
                    let there = |timeline| self.segments.contains_key(&(timeline, number));
                    let later = &line[index + 1..];
                    // A timeline's first segment holds what the one before had in it.
                    there(timeline)
                        || later.iter().any(|(one, at)| at.0 / SIZE == number && there(*one))
                })
        })
    }

    fn inventory(&self, unreadable: Option<&str>, used: Option<String>) -> Inventory {
        let mut inventory = Inventory {
            segment_size: SIZE,
            lines: self.lines.clone(),
            holds: self.holds.clone(),
            uses: used
                .map(|set| Use { set: Some(set), by: "somebody".into() })
                .into_iter()
                .collect(),
            ..Inventory::default()
        };
        for backup in &self.sets {
            if unreadable == Some(backup.seen.set.as_str()) {
                inventory.unreadable.push(Unreadable {
                    set: backup.seen.set.clone(),
                    began: backup.seen.started,
                    why: "a bad day".into(),
                });
                continue;
            }
            let fault = (!self.whole(backup)).then(|| String::from("damaged"));
            inventory.sets.push(SetSeen { fault, ..backup.seen.clone() });
        }
        let dated = self.segments.iter().map(|((timeline, _), written)| (*timeline, *written));
        let born = self.histories.iter().map(|(timeline, written)| (*timeline, Some(*written)));
        for (timeline, written) in dated.chain(born) {
            let newest = inventory.tails.entry(timeline).or_insert(written);
            *newest = newest.and_then(|newest| written.map(|written| newest.max(written)));
        }
        inventory
    }

    fn cleanup(
        &mut self,
        unreadable: Option<&str>,
        used: Option<String>,
    ) -> Result<(), TestCaseError> {
        let before = self.clone();
        let inventory = self.inventory(unreadable, used.clone());
        let decision = policy::decide(&inventory, POLICY, self.now);
        let judged: BTreeMap<&str, bool> =
            decision.sets.iter().map(|(set, one)| (set.as_str(), one.remove)).collect();
        prop_assert_eq!(judged.len(), self.sets.len());
        self.sets.retain(|backup| !judged[backup.seen.set.as_str()]);
        self.segments.retain(|(timeline, number), written| {
            let segment = Segment { timeline: *timeline, number: *number };
            let judgement = decision.wal(segment, *written);
            assert!(!judgement.why.is_empty());
            // A folder that is skipped holds nothing that goes.
            assert!(!(judgement.remove && decision.needs_all(*timeline, *number, *number)));
            !judgement.remove
        });
        self.nothing_lost(&before, unreadable, used.as_deref())
    }

    fn nothing_lost(
        &self,
        before: &Self,
        unreadable: Option<&str>,
        used: Option<&str>,
    ) -> Result<(), TestCaseError> {
        let window = POLICY.window(self.now);
        for point in before.points.iter().filter(|point| point.at >= window) {
            if before.reaches(point, None) {
                prop_assert!(self.reaches(point, None), "lost: {point:?}");
            }
        }
        let names: BTreeSet<&str> = self.sets.iter().map(|b| b.seen.set.as_str()).collect();
        let mut whole: Vec<&Backup> = before
            .sets
            .iter()
            .filter(|b| before.whole(b) && unreadable != Some(b.seen.set.as_str()))
            .collect();
        whole.sort_by_key(|backup| backup.seen.finished);
        for backup in whole.iter().rev().take(POLICY.minimum) {
            let set = backup.seen.set.as_str();
            prop_assert!(names.contains(set), "{set} is one of the newest");
            // The whole chain of it.
            for point in &before.points {
                prop_assert!(!before.reaches(point, Some(set)) || self.reaches(point, Some(set)));
            }
        }
        let kept = self.holds.iter().map(|hold| hold.set.as_str());
        for set in kept.chain(unreadable).chain(used) {
            let there = before.sets.iter().any(|backup| backup.seen.set == set);
            prop_assert!(!there || names.contains(set), "{set} must stay");
        }
        for hold in &self.holds {
            let Some(to) = hold.wal_to else { continue };
            let held = before.points.iter().filter(|point| {
                let line = &self.lines[&to.timeline];
                let end = line
                    .iter()
                    .position(|(one, _)| *one == point.timeline)
                    .map(|at| line.get(at + 1).map_or(to.lsn, |(_, fork)| *fork));
                end.is_some_and(|end| point.lsn < end.0)
            });
            for point in held {
                let reached = before.reaches(point, Some(&hold.set));
                prop_assert!(!reached || self.reaches(point, Some(&hold.set)), "held: {point:?}");
            }
        }
        // What is listed is as whole as it was.
        for backup in &self.sets {
            prop_assert!(!before.whole(backup) || self.whole(backup), "{backup:?}");
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_point_that_the_policy_keeps_is_ever_lost(ops in prop::collection::vec(op(), 1..45)) {
        let mut world = World::new();
        for op in &ops {
            world.run(op)?;
        }
        world.pass(1);
        world.cleanup(None, None)?;
        // Later, and again at once.
        world.pass(24 * 3);
        world.cleanup(None, None)?;
        world.cleanup(None, None)?;
    }
}

/// The property would hold of a policy that removes nothing: this one does not.
#[test]
fn a_long_history_shrinks_to_its_window() {
    let mut world = World::new();
    for day in 0..60 {
        world.run(&Op::Backup { segments: 1, hours: 4, damaged: false }).unwrap();
        world.run(&Op::Work { segments: 5, hours: 4, dated: true }).unwrap();
        if day % 10 == 9 {
            world.run(&Op::Cleanup { unreadable: None, used: None }).unwrap();
        }
    }
    // Each day 6 segments: 7 days, the day that the window begins in, and the backup before it.
    assert!((7..=9).contains(&world.sets.len()), "{} sets", world.sets.len());
    assert!((42..=54).contains(&world.segments.len()), "{} segments", world.segments.len());

    // A recovery far back leaves a timeline behind, which goes when it is old.
    let oldest = world.points.iter().position(|p| world.reaches(p, None)).unwrap();
    let reachable = world.points[oldest].clone();
    world.run(&Op::Recover { point: 0 }).unwrap();
    assert_eq!(world.lines[&2], [(1, Lsn(0)), (2, Lsn(reachable.lsn + 1))]);
    for _ in 0..12 {
        world.run(&Op::Backup { segments: 1, hours: 4, damaged: false }).unwrap();
        world.run(&Op::Work { segments: 5, hours: 4, dated: true }).unwrap();
    }
    world.run(&Op::Cleanup { unreadable: None, used: None }).unwrap();
    assert!(world.segments.keys().all(|(timeline, _)| *timeline == 2), "{:?}", world.segments);
    assert!(world.sets.iter().all(|backup| backup.seen.timeline == 2));
}
