//! Which WAL is there and where it has holes, from names alone. Owns the arithmetic of
//! stretches; never reads a segment's content. `.partial` files never count.

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
        let mut coverage = Self { segment_size, stretches: Vec::new() };
        for timeline in source.timelines()? {
            let mut next = Segment::holding(timeline, from, segment_size);
            loop {
                let names = source.list(timeline, &next.name(segment_size), PAGE)?;
                let full = names.len() >= PAGE;
                let before = next;
                for name in names {
                    if let Some(segment) = Segment::parse(&name, segment_size)
                        && segment.timeline == timeline
                        && segment.number >= next.number
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

    fn on(&self, timeline: TimelineId) -> impl Iterator<Item = &Stretch> {
        self.stretches.iter().filter(move |s| s.timeline == timeline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
