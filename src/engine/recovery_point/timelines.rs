//! The ancestry of timelines, from `.history` files. Owns which timeline `latest` is and from
//! where on each one counts; never lists segments.

use crate::engine::explain::Explanation;
use crate::engine::postgres::Lsn;
use crate::engine::wal::TimelineId;
use crate::engine::wal::inspect::Segments;
use std::collections::{BTreeMap, BTreeSet};

/// A timeline and the LSN at which it begins; the first begins at 0.
pub type Line = Vec<(TimelineId, Lsn)>;

/// All timelines that a source knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Timelines {
    /// Each timeline's line, oldest ancestor first, itself last.
    lines: BTreeMap<TimelineId, Line>,
    /// Timelines with a backup of their own and no history.
    rootless: BTreeSet<TimelineId>,
    /// History files that could not be understood.
    pub warnings: Vec<String>,
}

impl Timelines {
    /// Reads every history file.
    ///
    /// # Errors
    /// Where one could not be fetched.
    pub fn read(source: &dyn Segments) -> Result<Self, Explanation> {
        let mut all = Self::default();
        for timeline in source.timelines()? {
            let name = format!("{timeline:08X}.history");
            let content = if timeline == 1 { None } else { source.get(&name)? };
            match content.as_deref().map(std::str::from_utf8) {
                None if timeline == 1 => {
                    all.lines.insert(1, vec![(1, Lsn(0))]);
                }
                None => {
                    all.warnings.push(format!(
                        "Timeline {timeline} has WAL but no {name}: where it begins is not known, so it cannot be used."
                    ));
                }
                Some(text) => match text.ok().and_then(|text| parse(timeline, text)) {
                    Some(line) => drop(all.lines.insert(timeline, line)),
                    None => all.warnings.push(format!("{name} could not be understood.")),
                },
            }
        }
        Ok(all)
    }

    /// The timeline that `latest` would follow for a server that was on `from`: the last one
    /// whose history file is there without a hole in the numbers, as the server looks for it.
    #[must_use]
    pub fn latest(&self, from: TimelineId) -> TimelineId {
        let mut latest = from;
        while self.lines.contains_key(&latest.saturating_add(1)) {
            latest = latest.saturating_add(1);
        }
        latest
    }

    /// Takes note of the timelines that backups were taken on: such a one can be followed from
    /// its backup on even where its history file is missing.
    pub fn rootless(&mut self, backups: impl IntoIterator<Item = TimelineId>) {
        let lost = backups.into_iter().filter(|t| *t > 1 && !self.lines.contains_key(t));
        self.rootless.extend(lost);
        for timeline in &self.rootless {
            let begins = format!("Timeline {timeline} has WAL but no ");
            self.warnings.retain(|warning| !warning.starts_with(&begins));
            self.warnings.push(format!(
                "{timeline:08X}.history is missing: timeline {timeline} can be followed from its own backups on, and not from older ones."
            ));
        }
    }

    #[must_use]
    pub fn is_rootless(&self, timeline: TimelineId) -> bool {
        self.rootless.contains(&timeline)
    }

    /// `wanted`, or the newest before it that can be followed at all; `otherwise` where none can.
    #[must_use]
    pub fn usable(&self, wanted: TimelineId, otherwise: TimelineId) -> TimelineId {
        let before = self.lines.keys().chain(&self.rootless).filter(|t| **t <= wanted).max();
        before.copied().unwrap_or(otherwise)
    }

    /// Those whose line is known, ascending.
    pub fn known(&self) -> impl Iterator<Item = TimelineId> {
        self.lines.keys().copied()
    }

    #[must_use]
    pub fn line(&self, timeline: TimelineId) -> Option<&Line> {
        self.lines.get(&timeline)
    }
}

/// The lines of a history file: parent timeline, the LSN of the switch, a reason.
fn parse(timeline: TimelineId, text: &str) -> Option<Line> {
    let mut line = Vec::new();
    let mut begins = Lsn(0);
    for row in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let mut words = row.split_whitespace();
        let parent: TimelineId = words.next()?.parse().ok()?;
        if line.last().is_some_and(|(before, _)| *before >= parent) || parent >= timeline {
            return None;
        }
        line.push((parent, begins));
        begins = words.next()?.parse().ok()?;
    }
    line.push((timeline, begins));
    Some(line)
}

/// The timeline that holds the byte at `lsn` along `line`.
#[must_use]
pub fn holding(line: &Line, lsn: Lsn) -> TimelineId {
    let last = line.iter().take_while(|(_, begins)| *begins <= lsn).last();
    last.or(line.first()).map_or(1, |(timeline, _)| *timeline)
}

/// Where `timeline` ends along `line`: where the next begins. `None` where it is not on it.
#[must_use]
pub fn end_of(line: &Line, timeline: TimelineId) -> Option<Lsn> {
    let index = line.iter().position(|(t, _)| *t == timeline)?;
    Some(line.get(index + 1).map_or(Lsn(u64::MAX), |(_, begins)| *begins))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_file_gives_the_line() {
        let text = "1\t0/3000060\tno recovery target specified\n\n2\t0/5000000\tafter\n";
        let line = parse(3, text).unwrap();
        assert_eq!(line, [(1, Lsn(0)), (2, Lsn(0x300_0060)), (3, Lsn(0x500_0000))]);
        assert_eq!(holding(&line, Lsn(0x300_005F)), 1);
        assert_eq!(holding(&line, Lsn(0x300_0060)), 2);
        assert_eq!(end_of(&line, 2), Some(Lsn(0x500_0000)));
        assert_eq!(end_of(&line, 4), None);
    }

    #[test]
    fn a_lost_history_leaves_its_own_backups_or_the_timeline_before() {
        let mut all = Timelines::default();
        all.lines.insert(1, vec![(1, Lsn(0))]);
        assert_eq!(all.usable(3, 3), 1);
        all.rootless([1, 3]);
        assert!(all.is_rootless(3) && !all.is_rootless(1));
        assert_eq!((all.usable(3, 3), all.usable(2, 3)), (3, 1));
        assert_eq!(all.warnings.len(), 1, "{:?}", all.warnings);
        assert_eq!(Timelines::default().usable(2, 4), 4, "nothing at all is an empty picture");
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["x", "1", "1 zz", "3 0/1", "2 0/1\n1 0/2"] {
            assert_eq!(parse(3, text), None, "{text:?}");
        }
    }
}
