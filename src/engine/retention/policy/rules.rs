//! The rules themselves: each keeps backups, says why, and names the WAL that must stay for it. Owns
//! what keeps a backup; in which order they are asked is [`super::decide`]'s.

use super::{Inventory, Needed, SetSeen};
use crate::engine::postgres::Lsn;
use crate::engine::recovery_point::timelines::{Line, end_of};
use crate::engine::repository::hold::WalPoint;
use crate::engine::wal::TimelineId;
use jiff::Timestamp;
use std::collections::BTreeMap;

/// The rules, one after another; the first reason that keeps a set is the one that is told.
pub(super) struct Rules<'a> {
    pub inventory: &'a Inventory,
    pub window: Timestamp,
    pub kept: BTreeMap<&'a str, String>,
    pub notes: Vec<String>,
    pub needed: BTreeMap<TimelineId, Vec<Needed>>,
}

impl<'a> Rules<'a> {
    pub fn why_everything(&self, newest: Option<&SetSeen>) -> Option<String> {
        if let Some(one) = self.inventory.uses.iter().find(|one| one.set.is_none()) {
            return Some(format!("{} may need it, and has not chosen a backup yet", one.by));
        }
        newest.is_none().then(|| String::from("there is no whole backup that could replace it"))
    }

    fn keep(&mut self, set: &'a SetSeen, why: impl Into<String>) {
        self.kept.entry(&set.set).or_insert_with(|| why.into());
    }

    fn find(&self, set: &str) -> Option<&'a SetSeen> {
        self.inventory.sets.iter().find(|seen| seen.set == set)
    }

    /// Lines on which recovery can go on from the end of `set`.
    fn lines_of(&self, set: &SetSeen) -> impl Iterator<Item = (TimelineId, &'a Line)> {
        let (timeline, stop) = (set.timeline, set.stop_lsn);
        self.inventory
            .lines
            .iter()
            .filter(move |(_, line)| end_of(line, timeline).is_some_and(|end| stop <= end))
            .map(|(timeline, line)| (*timeline, line))
    }

    fn need(&mut self, timeline: TimelineId, first: u64, last: u64, why: &str) {
        let why = why.to_owned();
        self.needed.entry(timeline).or_default().push(Needed { first, last, why });
    }

    fn number(&self, lsn: Lsn) -> u64 {
        lsn.0 / self.inventory.segment_size.max(1)
    }

    /// WAL that the set itself needs to be consistent, on its own timeline.
    fn need_own(&mut self, set: &SetSeen, why: &str) {
        let last = self.number(Lsn(set.stop_lsn.0.saturating_sub(1)));
        self.need(set.timeline, self.number(set.start_lsn), last, why);
    }

    /// WAL from `start` on, from `timeline` on, along `line` up to `end`. Where a timeline begins
    /// in the middle of a segment, recovery may take that segment from either.
    fn need_along(
        &mut self,
        line: &Line,
        timeline: TimelineId,
        start: Lsn,
        end: Option<Lsn>,
        why: &str,
    ) {
        let from = line.iter().position(|(one, _)| *one == timeline).unwrap_or(0);
        for (index, (one, begins)) in line.iter().enumerate().skip(from) {
            let first = self.number(start.max(*begins));
            let fork = line.get(index + 1).map(|(_, at)| *at);
            let last = match (fork, end) {
                (Some(fork), Some(end)) => self.number(fork.min(end)),
                (Some(at), None) | (None, Some(at)) => self.number(at),
                (None, None) => u64::MAX,
            };
            if first <= last {
                self.need(*one, first, last, why);
                self.need_twins(*one, first, last, why);
            }
        }
    }

    /// A timeline that begins within these segments of `timeline` repeats what came before it in
    /// its first one: where the older one is lost, that serves.
    fn need_twins(&mut self, timeline: TimelineId, first: u64, last: u64, why: &str) {
        let inventory = self.inventory;
        for line in inventory.lines.values() {
            for (parent, child) in line.iter().zip(line.iter().skip(1)) {
                let number = self.number(child.1);
                if parent.0 == timeline && (first..=last).contains(&number) {
                    self.need(child.0, number, number, why);
                }
            }
        }
    }

    /// The set's own WAL, and all that leads on from it on every timeline.
    fn need_onward(&mut self, set: &'a SetSeen, why: &str) {
        self.need_own(set, why);
        let lines: Vec<&'a Line> = self.lines_of(set).map(|(_, line)| line).collect();
        if lines.is_empty() {
            self.need(set.timeline, self.number(set.start_lsn), u64::MAX, why);
        }
        for line in lines {
            self.need_along(line, set.timeline, set.start_lsn, None, why);
        }
    }

    pub fn holds(&mut self) {
        let inventory = self.inventory;
        for hold in &inventory.holds {
            let Some(set) = self.find(&hold.set) else {
                let unread = inventory.unreadable.iter().any(|one| one.set == hold.set);
                if !unread {
                    self.notes.push(format!("A hold names {}, which is not there.", hold.set));
                }
                continue;
            };
            match (&hold.name, hold.wal_to) {
                (Some(name), wal_to) => {
                    let why = format!("held as \"{name}\"");
                    self.need_own(set, &why);
                    if let Some(WalPoint { timeline, lsn }) = wal_to {
                        match inventory.lines.get(&timeline) {
                            Some(line) => {
                                self.need_along(line, set.timeline, set.start_lsn, Some(lsn), &why)
                            }
                            None => self.need_onward(set, &why),
                        }
                    }
                    self.keep(set, why);
                }
                (None, _) => {
                    let why = "held by a hold that could not be read";
                    self.notes.push(format!("{} is {why}.", set.set));
                    self.need_onward(set, why);
                    self.keep(set, why);
                }
            }
        }
    }

    pub fn uses(&mut self) {
        let inventory = self.inventory;
        for one in &inventory.uses {
            if let Some(set) = one.set.as_deref().and_then(|set| self.find(set)) {
                let why = format!("in use by {}", one.by);
                self.need_onward(set, &why);
                self.keep(set, why);
            }
        }
    }

    pub fn window(&mut self, days: u32) {
        let (inventory, window) = (self.inventory, self.window);
        for set in inventory.sets.iter().filter(|set| set.finished > window) {
            self.keep(set, with_fault(format!("it ended within the last {days} days"), set));
        }
    }

    /// On every timeline that a kept point can lie on: the backup that the window begins with.
    pub fn lines(&mut self, newest: &SetSeen, days: u32) {
        let inventory = self.inventory;
        let limit = self.window.min(newest.started);
        for (timeline, line) in &inventory.lines {
            let old = match inventory.tails.get(timeline) {
                Some(Some(written)) => *written < limit,
                Some(None) => false,
                None => true,
            };
            if old {
                continue;
            }
            let on_line =
                |set: &&SetSeen| end_of(line, set.timeline).is_some_and(|end| set.stop_lsn <= end);
            let whole = || inventory.sets.iter().filter(|set| set.fault.is_none()).filter(on_line);
            let anchor = whole()
                .filter(|set| set.finished <= self.window)
                .max_by_key(|set| (set.stop_lsn, set.finished));
            let begins = match anchor {
                Some(anchor) => {
                    let why = format!(
                        "the points of the last {days} days on timeline {timeline} begin with it"
                    );
                    self.keep(anchor, why);
                    anchor
                }
                // Everything is younger than the window.
                None => match whole().min_by_key(|set| (set.stop_lsn, set.finished)) {
                    Some(oldest) => oldest,
                    None => {
                        let why = format!("no whole backup serves timeline {timeline} yet");
                        self.need(*timeline, 0, u64::MAX, &why);
                        continue;
                    }
                },
            };
            let why = format!("the last {days} days need it, from {} on", begins.set);
            self.need_along(line, begins.timeline, begins.start_lsn, None, &why);
            for set in inventory.sets.iter().filter(on_line) {
                if set.stop_lsn >= begins.stop_lsn {
                    self.keep(set, with_fault(format!("it is newer than {}", begins.set), set));
                }
            }
        }
        for timeline in inventory.tails.keys() {
            if !inventory.lines.contains_key(timeline) {
                let why = format!("where timeline {timeline} begins is not known");
                self.notes.push(format!("All of timeline {timeline} is kept: {why}."));
                self.need(*timeline, 0, u64::MAX, &why);
            }
        }
        for set in &inventory.sets {
            if !inventory.lines.contains_key(&set.timeline) {
                self.keep(set, format!("where its timeline {} begins is not known", set.timeline));
            }
        }
    }

    /// The newest recoverable chain, and so many chains behind it as the policy says.
    pub fn newest(&mut self, newest: &[&'a SetSeen], minimum: usize) {
        let inventory = self.inventory;
        for set in newest {
            let why = format!("one of the newest {minimum} whole backups");
            self.need_onward(set, &why);
            self.keep(set, why);
        }
        let Some(first) = newest.first() else { return };
        for set in inventory.sets.iter().filter(|set| set.finished > first.started) {
            let why = format!("it ended after {} began", first.set);
            self.keep(set, with_fault(why, set));
        }
        if newest.len() < minimum {
            for set in &inventory.sets {
                let why = format!("there are fewer than {minimum} whole backups");
                self.keep(set, with_fault(why, set));
            }
        }
    }

    /// A set that could not be read begins after every set that ended before it.
    pub fn unreadable(&mut self) {
        let inventory = self.inventory;
        for unread in &inventory.unreadable {
            let why = format!("{} may need it, and could not be read", unread.set);
            self.notes.push(format!(
                "{} could not be read; it and all WAL that it may need are kept: {}",
                unread.set, unread.why
            ));
            for line in inventory.lines.values() {
                let before = inventory
                    .sets
                    .iter()
                    .filter(|set| set.finished <= unread.began)
                    .filter(|set| end_of(line, set.timeline).is_some_and(|end| set.stop_lsn <= end))
                    .max_by_key(|set| set.stop_lsn);
                match before {
                    Some(set) => {
                        self.need_along(line, set.timeline, set.stop_lsn, None, &why);
                    }
                    None => {
                        let first = line.first().map_or(1, |(timeline, _)| *timeline);
                        self.need_along(line, first, Lsn(0), None, &why);
                    }
                }
            }
        }
    }

    /// Whatever keeps a set keeps the WAL without which it is nothing.
    pub fn own_wal(&mut self) {
        let inventory = self.inventory;
        for set in &inventory.sets {
            if self.kept.contains_key(set.set.as_str()) {
                self.need_own(set, &format!("{} cannot be used without it", set.set));
            }
        }
    }
}

/// A damaged set is kept for the same reason as a whole one, and the reader is told.
fn with_fault(why: String, set: &SetSeen) -> String {
    match &set.fault {
        Some(fault) => format!("{why}; it could not serve now: {fault}"),
        None => why,
    }
}
