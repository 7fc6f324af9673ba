//! `check-wal-continuity`: whether every point from one moment or LSN to another can be recovered
//! to, along one timeline's line. Owns the question and its answer. Lists only the stretch of the
//! archive that the answer rests on; finds a moment by halving, reading a few segments. Never
//! takes "could not be asked" for "not there".

use super::archive::Archive;
use super::timelines::{Line, Timelines};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::BaseSummary;
use crate::engine::postgres::Lsn;
use crate::engine::wal::continuity::{BaseRange, Coverage, Gap, Reached, Stretch, Useless, covers};
use crate::engine::wal::inspect::scan::Piece;
use crate::engine::wal::inspect::{Ending, Path, ScanOptions, scan};
use crate::engine::wal::{Segment, TimelineId};
use jiff::Timestamp;
use serde::Serialize;

/// Gaps whose times are looked up; the others are named without.
const MOST_DATED: usize = 10;
/// Segments looked through for the commit next to a place.
const NEAR: u64 = 16;

/// One end of the question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    Lsn(Lsn),
    Time(Timestamp),
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    pub from: Mark,
    pub to: Mark,
    /// Bytes.
    pub segment_size: u64,
}

/// What holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Answer {
    /// Every point from the one to the other can be recovered to.
    pub whole: bool,
    pub from: Mark,
    pub to: Mark,
    /// Where recovery to each end stops; `None` where nothing in the archive is later.
    pub from_lsn: Option<Lsn>,
    pub to_lsn: Option<Lsn>,
    /// The timeline that is followed: the latest.
    pub timeline: TimelineId,
    /// Segments without a hole, of every timeline, in the stretch that was looked at.
    pub stretches: Vec<Told>,
    pub forks: Vec<Fork>,
    pub gaps: Vec<Hole>,
    /// Bases that matter for the question, by their end.
    pub bases: Vec<Base>,
    /// What can be recovered to within the question, by the base that it starts from.
    pub reachable: Vec<Reachable>,
    pub warnings: Vec<String>,
    /// What to do, where it is not whole.
    pub advice: Vec<String>,
}

/// Segments of one timeline, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Told {
    pub timeline: TimelineId,
    pub first: String,
    pub last: String,
    pub segments: u64,
}

/// Where a timeline left another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Fork {
    pub timeline: TimelineId,
    pub parent: TimelineId,
    pub at: Lsn,
    /// Whether it lies on the line that is followed.
    pub followed: bool,
}

/// Missing segments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Hole {
    pub timeline: TimelineId,
    pub first: String,
    pub last: String,
    pub segments: u64,
    pub from: Lsn,
    pub to: Lsn,
    /// The last commit before it and the first behind it, where they are near.
    pub after: Option<Timestamp>,
    pub before: Option<Timestamp>,
}

/// A base backup, and whether it serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Base {
    pub set: String,
    pub timeline: TimelineId,
    pub start: Lsn,
    pub stop: Lsn,
    pub finished: Timestamp,
    /// Its own range is whole, and it lies on the line.
    pub serves: bool,
    /// Why it does not.
    pub why: Option<String>,
}

/// A stretch of the question that can be recovered to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reachable {
    pub set: String,
    pub from: Lsn,
    pub to: Lsn,
    /// The earliest time that can be asked for, and the newest commit.
    pub earliest: Timestamp,
    pub latest: Option<Timestamp>,
}

/// Answers `question` from `archive`.
///
/// # Errors
/// Where the archive could not be asked, or the ends are the wrong way round.
pub fn check(
    archive: &dyn Archive,
    question: Question,
    cancelled: &dyn Fn() -> bool,
) -> Result<Answer, Explanation> {
    let turned = match (question.from, question.to) {
        (Mark::Lsn(from), Mark::Lsn(to)) => to < from,
        (Mark::Time(from), Mark::Time(to)) => to < from,
        _ => false,
    };
    if turned {
        return Err(wrong_way_round());
    }
    let (mut bases, unreadable) = archive.bases()?;
    bases.sort_by_key(|base| base.stop_lsn);
    let timelines = Timelines::read(archive)?;
    let mut warnings = timelines.warnings.clone();
    warnings.extend(unreadable.iter().map(ToString::to_string));
    let newest = bases.iter().map(|base| base.timeline).max().unwrap_or(1);
    let timeline = timelines.latest(newest);
    let Some(line) = timelines.line(timeline).cloned() else {
        return Err(Explanation::new(
            Kind::NotFound,
            format!("The archive of {} has no WAL of timeline {timeline}.", archive.name()),
            "Nothing was changed; the archive was only read.",
            "See how archiving goes: lifeboat status.",
        ));
    };
    Search { archive, question, cancelled, bases, timelines, line }.answer(timeline, warnings)
}

fn wrong_way_round() -> Explanation {
    Explanation::new(
        Kind::Config,
        "--from lies after --to.",
        "Nothing was read.",
        "Give the earlier of the two to --from.",
    )
}

struct Search<'a> {
    archive: &'a dyn Archive,
    question: Question,
    cancelled: &'a dyn Fn() -> bool,
    /// By their end.
    bases: Vec<BaseSummary>,
    timelines: Timelines,
    line: Line,
}

impl Search<'_> {
    fn answer(&self, timeline: TimelineId, warnings: Vec<String>) -> Result<Answer, Explanation> {
        let low = self.low();
        let (coverage, from_lsn, to_lsn, high) = self.place(low)?;
        // A question that reaches past the archive is answered up to the archive's end.
        let known_to = to_lsn.unwrap_or(high);
        let from = from_lsn.unwrap_or(known_to);
        if known_to < from {
            return Err(wrong_way_round());
        }
        let (mut bases, mut reached, mut reachable) = (Vec::new(), Vec::new(), Vec::new());
        for base in self.bases.iter().filter(|b| b.start_lsn >= low && b.stop_lsn <= known_to) {
            let result = coverage.reach(&self.line, &range(base), known_to);
            if let Ok(one) = &result {
                // Before a base's end nothing is asked of it, by LSN or by time.
                let late = matches!(self.question.from, Mark::Time(at) if base.finished > at);
                let start = one.from.max(from);
                let start = if late { start.max(Lsn(from.0.saturating_add(1))) } else { start };
                if one.to >= start && start <= known_to {
                    reached.push(Reached { from: start, to: one.to });
                    reachable.push(self.reachable(&coverage, base, start, one.to)?);
                }
            }
            bases.push(told_base(base, result.err().as_ref()));
        }
        let mut gaps = Vec::new();
        for (index, gap) in coverage.missing(&self.line, low, known_to).iter().enumerate() {
            gaps.push(self.hole(&coverage, gap, index < MOST_DATED)?);
        }
        let whole = from_lsn.is_some() && to_lsn.is_some() && covers(&reached, from, known_to);
        let mut answer = Answer {
            whole,
            from: self.question.from,
            to: self.question.to,
            from_lsn,
            to_lsn,
            timeline,
            stretches: coverage.stretches.iter().map(|s| told(s, coverage.segment_size)).collect(),
            forks: self.forks(),
            gaps,
            bases,
            reachable,
            warnings,
            advice: Vec::new(),
        };
        if !whole {
            answer.advice = advice(&answer);
        }
        Ok(answer)
    }

    fn on_line(&self) -> impl DoubleEndedIterator<Item = &BaseSummary> {
        self.bases.iter().filter(|base| range(base).is_on(&self.line).is_ok())
    }

    /// From where WAL must be looked at: the newest base before the question, by whose hole no
    /// older base could get past.
    fn low(&self) -> Lsn {
        let serving = match self.question.from {
            Mark::Lsn(from) => self.on_line().rfind(|base| base.stop_lsn <= from),
            Mark::Time(at) => self.on_line().rfind(|base| base.finished <= at),
        };
        match (serving, self.question.from) {
            (Some(base), _) => base.start_lsn,
            (None, Mark::Lsn(from)) => from,
            (None, Mark::Time(_)) => self.on_line().next().map_or(Lsn(0), |base| base.start_lsn),
        }
    }

    /// The coverage that the answer rests on, where both ends of the question lie on the line, and
    /// where the coverage ends.
    fn place(&self, low: Lsn) -> Result<(Coverage, Option<Lsn>, Option<Lsn>, Lsn), Explanation> {
        let size = self.question.segment_size;
        let list = |to| Coverage::list_between(self.archive, size, low, to);
        let near = |mark, coverage: &Coverage| match mark {
            Mark::Lsn(lsn) => Ok(Some(lsn)),
            Mark::Time(at) => self.first_later(coverage, low, at),
        };
        // A base that began later shows how far to look; behind the last, to the archive's end.
        let mut bounds: Vec<Lsn> = match self.question.to {
            Mark::Lsn(to) => vec![to],
            Mark::Time(at) => {
                let later = self.on_line().filter(|base| base.started > at);
                later.map(|base| Lsn(base.stop_lsn.0.saturating_add(size))).collect()
            }
        };
        bounds.push(Lsn(u64::MAX));
        let mut last = None;
        for bound in bounds {
            let coverage = list(bound)?;
            let to = near(self.question.to, &coverage)?;
            let end = self.end(&coverage, low)?;
            // An LSN is reached where a record lies there, not where its segment is named.
            let to = to.filter(|to| matches!(self.question.to, Mark::Time(_)) || *to <= end);
            let from = near(self.question.from, &coverage)?.filter(|from| *from <= end);
            if to.is_some() {
                return Ok((coverage, from, to, end));
            }
            last = Some((coverage, from, to, end));
        }
        last.map_or_else(|| Err(wrong_way_round()), Ok)
    }

    /// Where the WAL along the line ends: behind the last whole record of its last segment.
    fn end(&self, coverage: &Coverage, low: Lsn) -> Result<Lsn, Explanation> {
        let Some(piece) = coverage.path(&self.line, low).pieces.last().copied() else {
            return Ok(low);
        };
        let read =
            self.read(coverage, piece, piece.last.saturating_sub(1).max(piece.first), piece.last)?;
        Ok(read.1.max(low))
    }

    /// Endings in segments `first` to `last` of `piece`, and where the last whole record ends.
    fn read(
        &self,
        coverage: &Coverage,
        piece: Piece,
        first: u64,
        last: u64,
    ) -> Result<(Vec<Ending>, Lsn), Explanation> {
        let until = piece.until.filter(|_| last == piece.last);
        let path = Path { pieces: vec![Piece { first, last, until, ..piece }] };
        let options = ScanOptions::new(coverage.segment_size);
        let scanned = scan(self.archive, &path, &options, &|_| {}, self.cancelled)
            .map_err(|e| e.explanation())?;
        Ok((scanned.history.endings, scanned.end))
    }

    /// Endings that begin in one segment; a record may go on in the next.
    fn endings(
        &self,
        coverage: &Coverage,
        piece: Piece,
        number: u64,
    ) -> Result<Vec<Ending>, Explanation> {
        let last = number.saturating_add(1).min(piece.last);
        let end = Lsn(number.saturating_add(1).saturating_mul(coverage.segment_size));
        let (mut endings, _) = self.read(coverage, piece, number, last)?;
        endings.retain(|ending| ending.lsn < end);
        Ok(endings)
    }

    /// The record at which a recovery to `at` stops: the first ending that is later.
    fn first_later(
        &self,
        coverage: &Coverage,
        low: Lsn,
        at: Timestamp,
    ) -> Result<Option<Lsn>, Explanation> {
        let micros = at.as_microsecond();
        let path = coverage.path(&self.line, low);
        let nth = |index: u64| {
            let mut left = index;
            path.pieces.iter().find_map(|piece| {
                let count = piece.last - piece.first + 1;
                if left < count {
                    return Some((*piece, piece.first + left));
                }
                left -= count;
                None
            })
        };
        let (mut low, mut high) = (0, path.segments());
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let mut dated = None;
            for index in middle..high {
                let Some((piece, number)) = nth(index) else { break };
                let endings = self.endings(coverage, piece, number)?;
                if !endings.is_empty() {
                    dated = Some((index, endings));
                    break;
                }
            }
            let Some((index, endings)) = dated else {
                high = middle;
                continue;
            };
            match endings.iter().find(|ending| ending.micros > micros) {
                Some(ending) => {
                    found = Some(ending.lsn);
                    high = middle;
                }
                None => low = index + 1,
            }
        }
        Ok(found)
    }

    fn reachable(
        &self,
        coverage: &Coverage,
        base: &BaseSummary,
        from: Lsn,
        to: Lsn,
    ) -> Result<Reachable, Explanation> {
        let earliest = match self.question.from {
            Mark::Time(at) => base.finished.max(at),
            Mark::Lsn(_) => base.finished,
        };
        let number = to.0.saturating_sub(1) / coverage.segment_size.max(1);
        let latest = self.last_before(coverage, number, to)?;
        Ok(Reachable { set: base.set.clone(), from, to, earliest, latest })
    }

    /// The newest commit before `to`, looked for in a few segments down from `number`.
    fn last_before(
        &self,
        coverage: &Coverage,
        number: u64,
        to: Lsn,
    ) -> Result<Option<Timestamp>, Explanation> {
        for number in (number.saturating_sub(NEAR)..=number).rev() {
            let Some(piece) = self.piece(coverage, number) else { return Ok(None) };
            let endings = self.endings(coverage, piece, number)?;
            let last = endings.iter().rfind(|e| e.committed() && e.lsn < to);
            if let Some(last) = last {
                return Ok(Some(last.at()));
            }
        }
        Ok(None)
    }

    fn first_from(
        &self,
        coverage: &Coverage,
        number: u64,
    ) -> Result<Option<Timestamp>, Explanation> {
        for number in number..=number.saturating_add(NEAR) {
            let Some(piece) = self.piece(coverage, number) else { return Ok(None) };
            let endings = self.endings(coverage, piece, number)?;
            if let Some(first) = endings.iter().find(|e| e.committed()) {
                return Ok(Some(first.at()));
            }
        }
        Ok(None)
    }

    fn piece(&self, coverage: &Coverage, number: u64) -> Option<Piece> {
        let path = coverage.path(&self.line, Lsn(0));
        path.pieces.iter().find(|p| (p.first..=p.last).contains(&number)).copied()
    }

    fn hole(&self, coverage: &Coverage, gap: &Gap, dated: bool) -> Result<Hole, Explanation> {
        let size = coverage.segment_size;
        let segment = |number| Segment { timeline: gap.timeline, number };
        let (mut after, mut before) = (None, None);
        if dated {
            let from = segment(gap.first).start(size);
            if let Some(number) = gap.first.checked_sub(1) {
                after = self.last_before(coverage, number, from)?;
            }
            before = self.first_from(coverage, gap.last.saturating_add(1))?;
        }
        Ok(Hole {
            timeline: gap.timeline,
            first: gap.name.clone(),
            last: segment(gap.last).name(size),
            segments: gap.last - gap.first + 1,
            from: segment(gap.first).start(size),
            to: segment(gap.last).end(size),
            after,
            before,
        })
    }

    fn forks(&self) -> Vec<Fork> {
        let mut forks = Vec::new();
        for timeline in self.timelines.known() {
            if let Some([.., (parent, _), (own, at)]) =
                self.timelines.line(timeline).map(Vec::as_slice)
            {
                let followed = self.line.iter().any(|(on, _)| on == own);
                forks.push(Fork { timeline, parent: *parent, at: *at, followed });
            }
        }
        forks
    }
}

fn range(base: &BaseSummary) -> BaseRange {
    BaseRange { timeline: base.timeline, start: base.start_lsn, stop: base.stop_lsn }
}

fn told(stretch: &Stretch, size: u64) -> Told {
    let name = |number| Segment { timeline: stretch.timeline, number }.name(size);
    Told {
        timeline: stretch.timeline,
        first: name(stretch.first),
        last: name(stretch.last),
        segments: stretch.last - stretch.first + 1,
    }
}

fn told_base(base: &BaseSummary, why: Option<&Useless>) -> Base {
    Base {
        set: base.set.clone(),
        timeline: base.timeline,
        start: base.start_lsn,
        stop: base.stop_lsn,
        finished: base.finished,
        serves: why.is_none(),
        why: why.map(ToString::to_string),
    }
}

fn advice(answer: &Answer) -> Vec<String> {
    let mut advice = Vec::new();
    if let Some(gap) = answer.gaps.first() {
        advice.push(format!(
            "Look for {} to {} in the cluster's other repositories, in the server's pg_wal and on its \
             standbys; bring back what is found with lifeboat archive-wal.",
            gap.first, gap.last
        ));
        advice.push(String::from(
            "Take a base backup now (lifeboat backup): what comes after it does not need the missing \
             WAL.",
        ));
    }
    if !answer.bases.iter().any(|base| base.serves) {
        advice.push(String::from(
            "No base backup before the end of the question serves: ask for a later time, or see \
             lifeboat list-backups.",
        ));
    } else if let Some(first) = answer.reachable.first()
        && answer.from_lsn.is_some_and(|from| first.from > from)
    {
        advice.push(format!(
            "The earliest point that can be reached is the end of {}, {:.0} (UTC), LSN {}.",
            first.set, first.earliest, first.from
        ));
    }
    if answer.to_lsn.is_none() {
        advice.push(String::from(
            "The archive ends before the end of the question: a time is reached only when a later \
             commit is archived. See how archiving goes: lifeboat status.",
        ));
    }
    advice
}
