//! Which WAL is there and where it has holes, from names alone; and what a base backup reaches
//! over it. Owns the arithmetic of stretches and timelines; never reads a segment's content.
//! `.partial` files never count.

use super::inspect::{Path, Segments, scan::Piece};
use super::{Segment, TimelineId};
use crate::engine::explain::Explanation;
use crate::engine::postgres::Lsn;

/// Names asked for at a time.
const PAGE: usize = 4096;

/// Segments of one timeline without a hole; both ends are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub timeline: TimelineId,
    pub first: u64,
    pub last: u64,
}

/// Segments that are missing between two stretches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    pub timeline: TimelineId,
    pub first: u64,
    pub last: u64,
    /// The first missing segment's name.
    pub name: String,
}

/// What WAL there is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Coverage {
    /// Bytes.
    pub segment_size: u64,
    /// By timeline, then by number.
    pub stretches: Vec<Stretch>,
}

impl Coverage {
    /// Lists `source` from the segment that holds `from` on, on every timeline.
    ///
    /// # Errors
    /// Where it could not be listed whole.
    pub fn list(source: &dyn Segments, segment_size: u64, from: Lsn) -> Result<Self, Explanation> {
        Self::list_between(source, segment_size, from, Lsn(u64::MAX))
    }

    /// As [`Coverage::list`], up to the segment that holds the byte before `to`.
    ///
    /// # Errors
    /// Where it could not be listed whole.
    pub fn list_between(
        source: &dyn Segments,
        segment_size: u64,
        from: Lsn,
        to: Lsn,
    ) -> Result<Self, Explanation> {
        let mut coverage = Self { segment_size, stretches: Vec::new() };
        let last = to.0.saturating_sub(1) / segment_size.max(1);
        for timeline in source.timelines()? {
            let mut next = Segment::holding(timeline, from, segment_size);
            while next.number <= last {
                let room = usize::try_from(last - next.number).unwrap_or(PAGE).saturating_add(1);
                let page = room.min(PAGE);
                let names = source.list(timeline, &next.name(segment_size), page)?;
                let full = names.len() >= page;
                let before = next;
                for name in names {
                    if let Some(segment) = Segment::parse(&name, segment_size)
                        && segment.timeline == timeline
                        && segment.number >= next.number
                        && segment.number <= last
                    {
                        coverage.add(segment);
                        next = segment.next();
                    }
                }
                if !full || next == before {
                    break;
                }
            }
        }
        Ok(coverage)
    }

    /// Adds a segment that follows all others of its timeline.
    fn add(&mut self, segment: Segment) {
        match self.stretches.last_mut() {
            Some(s) if s.timeline == segment.timeline && s.last + 1 == segment.number => {
                s.last = segment.number;
            }
            _ => self.stretches.push(Stretch {
                timeline: segment.timeline,
                first: segment.number,
                last: segment.number,
            }),
        }
    }

    /// Holes between the stretches of each timeline. What lies before a timeline's first and
    /// behind its last segment is no hole.
    #[must_use]
    pub fn gaps(&self) -> Vec<Gap> {
        let pairs = self.stretches.iter().zip(self.stretches.iter().skip(1));
        pairs
            .filter(|(a, b)| a.timeline == b.timeline)
            .map(|(a, b)| {
                let first = Segment { timeline: a.timeline, number: a.last.saturating_add(1) };
                Gap {
                    timeline: a.timeline,
                    first: first.number,
                    last: b.first.saturating_sub(1),
                    name: first.name(self.segment_size),
                }
            })
            .collect()
    }

    #[must_use]
    pub fn contains(&self, segment: Segment) -> bool {
        self.on(segment.timeline).any(|s| (s.first..=s.last).contains(&segment.number))
    }

    /// The segments that recovery would read along `line` (each timeline with the LSN at which it
    /// begins, oldest first), from the one that holds `from` on. Where a timeline begins in the
    /// middle of a segment, recovery takes that segment from the new timeline.
    #[must_use]
    pub fn path(&self, line: &[(TimelineId, Lsn)], from: Lsn) -> Path {
        let size = self.segment_size.max(1);
        let mut pieces = Vec::new();
        for (index, (timeline, begins)) in line.iter().enumerate() {
            let first = (begins.0 / size).max(from.0 / size);
            let fork = line.get(index + 1).map(|(next, at)| (*next, *at));
            let last = match fork {
                None => u64::MAX,
                Some((next, at)) => {
                    let shared = at.0 / size;
                    let taken = self.contains(Segment { timeline: next, number: shared });
                    if taken { shared.saturating_sub(1) } else { shared }
                }
            };
            if fork.is_some_and(|(_, at)| at.0 / size < first) {
                continue;
            }
            for stretch in self.on(*timeline) {
                let (a, b) = (stretch.first.max(first), stretch.last.min(last));
                if a <= b {
                    let until = fork.map(|(_, at)| at).filter(|at| at.0 / size == b);
                    pieces.push(Piece { timeline: *timeline, first: a, last: b, until });
                }
            }
        }
        Path { pieces }
    }

    /// Segments that a recovery along `line` from the one that holds `from` to the one that holds
    /// the byte before `to` would miss, one gap a timeline and hole. The segment in which a
    /// timeline begins is the new timeline's as soon as a byte behind the fork is needed.
    #[must_use]
    pub fn missing(&self, line: &[(TimelineId, Lsn)], from: Lsn, to: Lsn) -> Vec<Gap> {
        let size = self.segment_size.max(1);
        let mut gaps = Vec::new();
        if to <= from {
            return gaps;
        }
        for (index, (timeline, begins)) in line.iter().enumerate() {
            if index > 0 && *begins >= to {
                break;
            }
            let first = (begins.0 / size).max(from.0 / size);
            let next = line.get(index + 1).filter(|(_, at)| *at < to);
            let end = next.map_or((to.0 - 1) / size + 1, |(_, at)| at.0 / size);
            let mut wanted = first;
            for stretch in self.on(*timeline) {
                if stretch.last < wanted || stretch.first >= end {
                    continue;
                }
                if stretch.first > wanted {
                    gaps.push(self.gap(*timeline, wanted, stretch.first - 1));
                }
                wanted = stretch.last.saturating_add(1);
            }
            if wanted < end {
                gaps.push(self.gap(*timeline, wanted, end - 1));
            }
        }
        gaps
    }

    fn gap(&self, timeline: TimelineId, first: u64, last: u64) -> Gap {
        let name = Segment { timeline, number: first }.name(self.segment_size);
        Gap { timeline, first, last, name }
    }

    /// What `base` reaches along `line`, up to `to` at most.
    ///
    /// # Errors
    /// Why it serves nothing there.
    pub fn reach(
        &self,
        line: &[(TimelineId, Lsn)],
        base: &BaseRange,
        to: Lsn,
    ) -> Result<Reached, Useless> {
        base.is_on(line)?;
        let size = self.segment_size.max(1);
        let own = self.missing(line, base.start, base.stop);
        if let Some(gap) = own.first() {
            return Err(Useless::Broken(gap.clone()));
        }
        let gap = self.missing(line, base.start, to.max(base.stop)).into_iter().next();
        let until =
            gap.as_ref().map_or(to.max(base.stop), |gap| Lsn(gap.first.saturating_mul(size)));
        Ok(Reached { from: base.stop, to: until.max(base.stop) })
    }

    fn on(&self, timeline: TimelineId) -> impl Iterator<Item = &Stretch> {
        self.stretches.iter().filter(move |s| s.timeline == timeline)
    }
}

/// A base backup as continuity sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseRange {
    pub timeline: TimelineId,
    /// Replay begins here.
    pub start: Lsn,
    /// Before this nothing is consistent.
    pub stop: Lsn,
}

/// What can be recovered to from one base.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reached {
    pub from: Lsn,
    pub to: Lsn,
}

/// Why a base serves nothing along a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Useless {
    #[error("its timeline {0} is not an ancestor of the one that is followed")]
    OtherLine(TimelineId),
    #[error("its timeline {0} begins behind it: the number was used again by another recovery")]
    Reused(TimelineId),
    #[error("the timeline that is followed left timeline {0} before the backup ended")]
    Forked(TimelineId),
    #[error("its own WAL is not whole: {} is missing", .0.name)]
    Broken(Gap),
}

impl BaseRange {
    /// Whether a recovery along `line` can begin from it, by timelines alone.
    ///
    /// # Errors
    /// Why it cannot.
    pub fn is_on(&self, line: &[(TimelineId, Lsn)]) -> Result<(), Useless> {
        let index = line.iter().position(|(timeline, _)| *timeline == self.timeline);
        let found = index.and_then(|index| line.get(index).map(|(_, at)| (index, *at)));
        let Some((index, begins)) = found else { return Err(Useless::OtherLine(self.timeline)) };
        if self.start < begins {
            return Err(Useless::Reused(self.timeline));
        }
        match line.get(index + 1) {
            Some((_, fork)) if *fork < self.stop => Err(Useless::Forked(self.timeline)),
            _ => Ok(()),
        }
    }
}

/// Whether every point from `from` to `to` lies in one of `reached`.
#[must_use]
pub fn covers(reached: &[Reached], from: Lsn, to: Lsn) -> bool {
    let mut sorted = reached.to_vec();
    sorted.sort_unstable_by_key(|reached| reached.from);
    let mut known = None;
    for one in sorted {
        let next = known.unwrap_or(from);
        if one.from <= next && one.to >= next {
            known = Some(one.to.max(next));
        }
    }
    known.is_some_and(|known| known >= to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The timeline that a recovery to `to` along `line` takes segment `number` from: the newest
    /// that has begun in it or before.
    fn taken_from(line: &[(u32, Lsn)], number: u64, to: Lsn) -> u32 {
        let begun = |(_, at): &&(u32, Lsn)| at.0 == 0 || (*at < to && at.0 < (number + 1) * MB);
        line.iter().filter(begun).map(|(timeline, _)| *timeline).max().unwrap()
    }

    proptest! {
        #[test]
        fn continuity_is_what_segment_by_segment_says(
            forks in proptest::collection::btree_set(1u64..(20 * MB), 0..3),
            present in proptest::collection::vec(proptest::collection::btree_set(0u64..24, 0..24), 3),
            full: bool,
            (start, length, beyond) in (0u64..(18 * MB), 1u64..(3 * MB), 0u64..(6 * MB)),
            timeline in 1u32..4,
        ) {
            let forks = forks.into_iter().map(Lsn);
            let line: Vec<(u32, Lsn)> =
                (1u32..).zip(std::iter::once(Lsn(0)).chain(forks)).collect();
            let parts: Vec<(u32, std::ops::RangeInclusive<u64>)> = (1u32..)
                .zip(&present)
                .flat_map(|(t, numbers)| {
                    let all: Vec<u64> =
                        if full && t < 3 { (0..24).collect() } else { numbers.iter().copied().collect() };
                    all.into_iter().map(move |n| (t, n..=n))
                })
                .collect();
            let coverage = Coverage::list(&names(MB, &parts), MB, Lsn(0)).unwrap();
            let base = BaseRange { timeline, start: Lsn(start), stop: Lsn(start + length) };
            let to = Lsn(start + length + beyond);
            let there = |n: u64, to: Lsn| {
                coverage.contains(Segment { timeline: taken_from(&line, n, to), number: n })
            };
            let whole = |to: Lsn| (start / MB..=(to.0 - 1) / MB).all(|n| there(n, to));

            let missing: Vec<u64> =
                coverage.missing(&line, base.start, to).iter().flat_map(|g| g.first..=g.last).collect();
            let expected: Vec<u64> =
                (start / MB..=(to.0 - 1) / MB).filter(|n| !there(*n, to)).collect();
            prop_assert_eq!(missing, expected);

            let on_line = line.iter().any(|(t, begins)| {
                let next = line.iter().find(|(n, _)| *n == t + 1).map_or(Lsn(u64::MAX), |n| n.1);
                *t == timeline && *begins <= base.start && base.stop <= next
            });
            match coverage.reach(&line, &base, to) {
                Ok(reached) => {
                    prop_assert!(on_line && whole(base.stop));
                    prop_assert_eq!(reached.from, base.stop);
                    prop_assert_eq!(reached.to == to, whole(to));
                    prop_assert!(reached.to <= to);
                    prop_assert!(reached.to == reached.from || whole(reached.to));
                }
                Err(Useless::Broken(_)) => prop_assert!(on_line && !whole(base.stop)),
                Err(_) => prop_assert!(!on_line),
            }
        }

        #[test]
        fn covering_is_what_point_by_point_says(
            parts in proptest::collection::vec((0u64..30, 0u64..12), 0..5),
            from in 0u64..30,
            length in 0u64..15,
        ) {
            let reached: Vec<Reached> =
                parts.iter().map(|(a, l)| Reached { from: Lsn(*a), to: Lsn(a + l) }).collect();
            // Two stretches that touch share their end.
            let holds = |a: u64, b: u64| reached.iter().any(|r| r.from.0 <= a && b <= r.to.0);
            let expected = if length == 0 {
                holds(from, from)
            } else {
                (from..from + length).all(|at| holds(at, at + 1))
            };
            prop_assert_eq!(covers(&reached, Lsn(from), Lsn(from + length)), expected);
        }
    }

    #[test]
    fn a_reused_timeline_and_a_base_across_a_fork_serve_nothing() {
        let line = [(1, Lsn(0)), (2, Lsn(4 * MB + 100)), (3, Lsn(8 * MB))];
        let base =
            |timeline, start, stop| BaseRange { timeline, start: Lsn(start), stop: Lsn(stop) };
        assert_eq!(base(2, 3 * MB, 5 * MB).is_on(&line), Err(Useless::Reused(2)));
        assert_eq!(base(1, 3 * MB, 5 * MB).is_on(&line), Err(Useless::Forked(1)));
        assert_eq!(base(5, 3 * MB, 5 * MB).is_on(&line), Err(Useless::OtherLine(5)));
        assert_eq!(base(2, 5 * MB, 8 * MB).is_on(&line), Ok(()));
    }

    #[test]
    fn a_backups_own_range_must_be_whole() {
        let coverage = Coverage::list(&names(MB, &[(1, 0..=3), (1, 5..=9)]), MB, Lsn(0)).unwrap();
        let line = [(1, Lsn(0))];
        let base = BaseRange { timeline: 1, start: Lsn(3 * MB + 40), stop: Lsn(4 * MB + 40) };
        let Err(Useless::Broken(gap)) = coverage.reach(&line, &base, Lsn(9 * MB)) else {
            panic!("its own range has a hole")
        };
        assert_eq!((gap.first, gap.last), (4, 4));
        let base = BaseRange { stop: Lsn(4 * MB), ..base };
        let reached = coverage.reach(&line, &base, Lsn(9 * MB)).unwrap();
        assert_eq!(reached, Reached { from: Lsn(4 * MB), to: Lsn(4 * MB) });
    }

    #[test]
    fn a_listing_ends_where_it_is_told_to() {
        let there = names(MB, &[(1, 0..=9000), (2, 20..=30)]);
        let coverage = Coverage::list_between(&there, MB, Lsn(10 * MB), Lsn(25 * MB)).unwrap();
        let stretches = [(1, 10, 24), (2, 20, 24)];
        let stretches = stretches.map(|(timeline, first, last)| Stretch { timeline, first, last });
        assert_eq!(coverage.stretches, stretches);
    }

    const MB: u64 = 1 << 20;

    #[derive(Debug)]
    struct Names(Vec<String>);

    impl Segments for Names {
        fn describe(&self) -> String {
            String::from("a list of names")
        }

        fn get(&self, _: &str) -> Result<Option<Vec<u8>>, Explanation> {
            panic!("continuity must not read content")
        }

        fn list(
            &self,
            timeline: u32,
            from: &str,
            limit: usize,
        ) -> Result<Vec<String>, Explanation> {
            let prefix = format!("{timeline:08X}");
            let wanted =
                |n: &&String| n.starts_with(&prefix) && n.as_str() >= from && n.len() == 24;
            Ok(self.0.iter().filter(wanted).take(limit).cloned().collect())
        }

        fn timelines(&self) -> Result<Vec<u32>, Explanation> {
            Ok(vec![1, 2])
        }
    }

    fn names(size: u64, parts: &[(u32, std::ops::RangeInclusive<u64>)]) -> Names {
        let all = parts.iter().flat_map(|(timeline, numbers)| {
            numbers.clone().map(|number| Segment { timeline: *timeline, number }.name(size))
        });
        Names(all.collect())
    }

    #[test]
    fn any_segment_size_and_more_than_one_page_of_names() {
        for size in [MB, 16 * MB, 1024 * MB] {
            let there = names(size, &[(1, 3..=9000), (1, 9002..=9004), (2, 7..=7)]);
            let coverage = Coverage::list(&there, size, Lsn(5 * size)).unwrap();
            assert_eq!(
                coverage.stretches,
                [
                    Stretch { timeline: 1, first: 5, last: 9000 },
                    Stretch { timeline: 1, first: 9002, last: 9004 },
                    Stretch { timeline: 2, first: 7, last: 7 },
                ]
            );
            let gaps = coverage.gaps();
            assert_eq!(gaps.len(), 1);
            assert_eq!((gaps[0].first, gaps[0].last), (9001, 9001));
            assert_eq!(gaps[0].name, Segment { timeline: 1, number: 9001 }.name(size));
        }
    }

    #[test]
    fn a_partial_segment_never_counts() {
        let mut there = names(MB, &[(1, 1..=2)]);
        there.0.push(format!("{}.partial", Segment { timeline: 1, number: 3 }.name(MB)));
        let coverage = Coverage::list(&there, MB, Lsn(0)).unwrap();
        assert_eq!(coverage.stretches, [Stretch { timeline: 1, first: 1, last: 2 }]);
    }

    #[test]
    fn the_segment_of_a_fork_comes_from_the_new_timeline() {
        let there = names(MB, &[(1, 1..=6), (2, 4..=8)]);
        let coverage = Coverage::list(&there, MB, Lsn(0)).unwrap();
        let line = [(1, Lsn(0)), (2, Lsn(4 * MB + 100))];
        let path = coverage.path(&line, Lsn(2 * MB + 5));
        assert_eq!(
            path.pieces,
            [
                Piece { timeline: 1, first: 2, last: 3, until: None },
                Piece { timeline: 2, first: 4, last: 8, until: None },
            ]
        );
    }

    #[test]
    fn without_the_new_timelines_segment_the_old_one_serves_up_to_the_fork() {
        let there = names(MB, &[(1, 1..=6)]);
        let coverage = Coverage::list(&there, MB, Lsn(0)).unwrap();
        let fork = Lsn(4 * MB + 100);
        let path = coverage.path(&[(1, Lsn(0)), (2, fork)], Lsn(0));
        assert_eq!(path.pieces, [Piece { timeline: 1, first: 1, last: 4, until: Some(fork) }]);
    }
}
