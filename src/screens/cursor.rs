//! The cursor on the past: where it stands, how far a step goes, which part of the past is shown.
//! Owns that arithmetic, in UTC throughout; draws nothing and asks nobody.

use crate::engine::incident::facts::{Commit, Survey, Target, TargetPoint};
use crate::engine::incident::past::Window;
use jiff::Timestamp;

const SECOND: i64 = 1_000_000;
/// The narrowest part of the past that is shown, in microseconds.
const NARROWEST: i64 = 2 * SECOND;
/// One zoom step.
const ZOOM: i64 = 4;

/// How far one press of an arrow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Day,
    Hour,
    Minute,
    Second,
    Commit,
}

impl Unit {
    pub const ALL: [Self; 5] = [Self::Day, Self::Hour, Self::Minute, Self::Second, Self::Commit];

    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Day => "1 day",
            Self::Hour => "1 hour",
            Self::Minute => "1 minute",
            Self::Second => "1 second",
            Self::Commit => "1 commit",
        }
    }

    /// Microseconds; `None` for commits.
    fn micros(self) -> Option<i64> {
        match self {
            Self::Day => Some(86_400 * SECOND),
            Self::Hour => Some(3600 * SECOND),
            Self::Minute => Some(60 * SECOND),
            Self::Second => Some(SECOND),
            Self::Commit => None,
        }
    }

    /// How much of the past is shown while one moves by it, in microseconds; `None` is all.
    fn span(self) -> Option<i64> {
        match self {
            Self::Day => None,
            Self::Hour => Some(3 * 86_400 * SECOND),
            Self::Minute => Some(2 * 3600 * SECOND),
            Self::Second => Some(120 * SECOND),
            Self::Commit => Some(10 * SECOND),
        }
    }

    /// The next wider or finer one; itself at the end.
    #[must_use]
    pub fn next(self, finer: bool) -> Self {
        let at = Self::ALL.iter().position(|u| *u == self).unwrap_or(0);
        let next = if finer { at + 1 } else { at.saturating_sub(1) };
        Self::ALL.get(next).copied().unwrap_or(self)
    }

    /// What suits a past of that length.
    fn suiting(micros: i64) -> Self {
        match micros / SECOND {
            1_728_000.. => Self::Day,
            86_400.. => Self::Hour,
            1800.. => Self::Minute,
            _ => Self::Second,
        }
    }
}

/// Something that the cursor stands on exactly.
#[derive(Debug, Clone, PartialEq)]
pub enum On {
    Commit(Box<Commit>),
    /// A suspect: its commit, and the place just before all that it did.
    Suspect(Box<Commit>, Target),
    /// A restore point by its name.
    Name(String),
}

/// Where the cursor stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Cursor {
    pub at: Timestamp,
    pub on: Option<On>,
    pub unit: Unit,
    /// Up to and including, not just before.
    pub inclusive: bool,
}

/// What one can jump to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Suspect,
    Backup,
    RestorePoint,
    /// Forks, edges of gaps, stated moments.
    Other,
}

/// A place of the past that stands out.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    pub at: Timestamp,
    pub kind: Kind,
    pub on: Option<On>,
    /// What it is, in a few words.
    pub words: String,
}

impl Cursor {
    /// On that moment, moving as suits the whole past.
    #[must_use]
    pub fn new(survey: &Survey, at: Timestamp, on: Option<On>) -> Self {
        let (from, to) = survey.bounds();
        let unit = Unit::suiting(to.as_microsecond() - from.as_microsecond());
        Self { at: at.clamp(from, to), on, unit, inclusive: false }
    }

    /// Where recovery would stop.
    #[must_use]
    pub fn target(&self, survey: &Survey) -> Target {
        let at_commit = |commit: &Commit, inclusive| Target {
            point: TargetPoint::Lsn(commit.lsn),
            inclusive,
            timeline: None,
        };
        match &self.on {
            Some(On::Suspect(commit, _)) if self.inclusive => at_commit(commit, true),
            Some(On::Suspect(_, before)) => before.clone(),
            Some(On::Commit(commit)) => at_commit(commit, self.inclusive),
            Some(On::Name(name)) => {
                Target { point: TargetPoint::Name(name.clone()), inclusive: true, timeline: None }
            }
            None if self.at >= survey.bounds().1 => {
                Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None }
            }
            None => Target {
                point: TargetPoint::Time(self.at),
                inclusive: self.inclusive,
                timeline: None,
            },
        }
    }

    /// Moves by `steps` units, to round moments, within the past. By commits it needs those that
    /// lie near; false where they are not known.
    pub fn step(&mut self, survey: &Survey, near: &[Commit], steps: i64) -> bool {
        let Some(unit) = self.unit.micros() else { return self.step_commits(near, steps) };
        let now = self.at.as_microsecond();
        // The first step goes to the next round moment, each further one a whole unit.
        let first = if steps < 0 {
            (now - 1).div_euclid(unit)
        } else {
            now.div_euclid(unit).saturating_add(1)
        };
        let rest = steps - steps.signum();
        let micros = first.saturating_add(rest).saturating_mul(unit);
        let (from, to) = survey.bounds();
        let micros = micros.clamp(from.as_microsecond(), to.as_microsecond());
        self.go(Timestamp::from_microsecond(micros).unwrap_or(self.at).clamp(from, to), None);
        true
    }

    fn step_commits(&mut self, near: &[Commit], steps: i64) -> bool {
        let here = match &self.on {
            Some(On::Commit(c) | On::Suspect(c, _)) => near.iter().position(|n| n.lsn == c.lsn),
            _ => None,
        };
        let before = near.partition_point(|c| c.at <= self.at);
        let distance = usize::try_from(steps.unsigned_abs()).unwrap_or(usize::MAX);
        let wanted = match (here, steps < 0) {
            (Some(here), true) => here.checked_sub(distance),
            (Some(here), false) => here.checked_add(distance),
            (None, true) => before.checked_sub(distance),
            (None, false) => before.checked_add(distance.saturating_sub(1)),
        };
        // A leap beyond what is known ends at the last that is.
        let wanted = match wanted {
            None if distance > 1 && !near.is_empty() => Some(0),
            Some(i) if distance > 1 => Some(i.min(near.len().saturating_sub(1))),
            other => other,
        };
        let Some(commit) = wanted.and_then(|i| near.get(i)) else { return false };
        self.go(commit.at, Some(On::Commit(Box::new(commit.clone()))));
        true
    }

    /// Puts it somewhere.
    pub fn go(&mut self, at: Timestamp, on: Option<On>) {
        self.at = at;
        self.on = on;
        self.inclusive = false;
    }

    /// Goes to the next mark of that kind, of any kind for `None`. False where there is none.
    pub fn jump(&mut self, survey: &Survey, kind: Option<Kind>, forward: bool) -> bool {
        let marks = marks(survey);
        let mut fitting = marks.into_iter().filter(|m| kind.is_none_or(|k| k == m.kind));
        let found = if forward {
            fitting.find(|m| m.at > self.at)
        } else {
            fitting.rfind(|m| m.at < self.at)
        };
        let Some(mark) = found else { return false };
        let (from, to) = survey.bounds();
        self.go(mark.at.clamp(from, to), mark.on);
        true
    }
}

/// Everything that stands out, by time.
#[must_use]
pub fn marks(survey: &Survey) -> Vec<Mark> {
    let mut all: Vec<Mark> = Vec::new();
    let mut add = |at, kind, on, words: String| all.push(Mark { at, kind, on, words });
    for base in &survey.bases {
        add(base.finished, Kind::Backup, None, format!("the backup {} ended here", base.set));
    }
    for suspect in &survey.suspects {
        let on = On::Suspect(Box::new(suspect.commit.clone()), suspect.target.clone());
        let words = format!("suspect: transaction {} {}", suspect.commit.xid, suspect.what);
        add(suspect.commit.at, Kind::Suspect, Some(on), words);
    }
    let landmarks = &survey.landmarks;
    for point in &landmarks.restore_points {
        if let Some(at) = point.at {
            let words = format!("the restore point \"{}\"", point.name);
            add(at, Kind::RestorePoint, Some(On::Name(point.name.clone())), words);
        }
    }
    for fork in &landmarks.forks {
        if let Some(at) = fork.at {
            let words = format!(
                "timeline {} leaves timeline {}: the database was recovered and opened here once",
                fork.timeline, fork.parent
            );
            add(at, Kind::Other, None, words);
        }
    }
    for gap in &landmarks.gaps {
        if let Some(after) = gap.after {
            add(after, Kind::Other, None, String::from("the last moment before missing log"));
        }
        if let Some(before) = gap.before {
            add(before, Kind::Other, None, String::from("the first moment after missing log"));
        }
    }
    if let Some(at) = landmarks.last_known_good {
        add(at, Kind::Other, None, String::from("last known good, as stated"));
    }
    if let Some(at) = landmarks.detected {
        add(at, Kind::Other, None, String::from("first detected, as stated"));
    }
    all.sort_by_key(|m| m.at);
    all
}

/// The part of the past that is shown; `None` is all of it.
pub type Shown = Option<(Timestamp, Timestamp)>;

/// As much as suits a unit, with `at` in the middle.
#[must_use]
pub fn suiting(survey: &Survey, unit: Unit, at: Timestamp) -> Shown {
    around(survey, unit.span()?, at)
}

/// That many microseconds around `at`; all where the past is no longer than that.
#[must_use]
pub fn around(survey: &Survey, span: i64, at: Timestamp) -> Shown {
    let (from, to) = survey.bounds();
    if span >= to.as_microsecond() - from.as_microsecond() {
        return None;
    }
    placed(span, at.as_microsecond() - span / 2, (from, to))
}

/// A window of `span` that begins at `start`, pushed back into the past where it leaves it.
fn placed(span: i64, start: i64, (from, to): (Timestamp, Timestamp)) -> Shown {
    // A little room behind the end, so that the end can be seen to be one.
    let last = to.as_microsecond() + span / 20 - span;
    let start = start.min(last).max(from.as_microsecond() - span / 20);
    let moment = |micros| Timestamp::from_microsecond(micros).ok();
    moment(start).zip(moment(start + span))
}

/// Wider or narrower around `at`.
#[must_use]
pub fn zoomed(survey: &Survey, shown: Shown, at: Timestamp, closer: bool) -> Shown {
    let (from, to) = shown.unwrap_or_else(|| survey.bounds());
    let span = (to.as_microsecond() - from.as_microsecond()).max(NARROWEST);
    let span = if closer { (span / ZOOM).max(NARROWEST) } else { span.saturating_mul(ZOOM) };
    around(survey, span, at)
}

/// The same width, moved only where `at` is near an edge or outside.
#[must_use]
pub fn following(survey: &Survey, shown: Shown, at: Timestamp) -> Shown {
    let (from, to) = shown?;
    let span = to.as_microsecond() - from.as_microsecond();
    let inset = span / 20;
    let inside = at.as_microsecond() >= from.as_microsecond() + inset
        && at.as_microsecond() <= to.as_microsecond() - inset;
    let bounds = survey.bounds();
    let at_end = at >= bounds.1 || at <= bounds.0;
    if inside || (at_end && at >= from && at <= to) { shown } else { around(survey, span, at) }
}

/// What is in a window, as the runner told it last.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub asked: Asked,
    /// `None` where the runner could not tell.
    pub window: Option<Window>,
}

/// A question about a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub from: Timestamp,
    pub to: Timestamp,
    pub columns: u32,
    pub around: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::past::{Landmarks, RestorePoint};
    use crate::engine::postgres::Lsn;
    use proptest::prelude::*;

    fn at(micros: i64) -> Timestamp {
        Timestamp::from_microsecond(micros).unwrap()
    }

    fn commit(micros: i64, lsn: u64) -> Commit {
        Commit {
            at: at(micros),
            xid: 7,
            first_lsn: Lsn(lsn),
            lsn: Lsn(lsn),
            end_lsn: Lsn(lsn + 1),
            timeline: 1,
            inserts: 0,
            updates: 0,
            deletes: 0,
            stands_for: 1,
        }
    }

    fn survey(from: i64, to: i64) -> Survey {
        use crate::engine::incident::facts::WalStretch;
        Survey {
            at: at(to),
            current_lsn: None,
            bases: Vec::new(),
            wal: vec![WalStretch {
                timeline: 1,
                from: Lsn(0),
                to: Lsn(9),
                segments: 1,
                first_commit: Some(at(from)),
                last_commit: Some(at(to)),
            }],
            newest_commit: None,
            density: Vec::new(),
            landmarks: Landmarks::default(),
            suspects: Vec::new(),
            suggestions: Vec::new(),
            warnings: Vec::new(),
        }
    }

    const DAY: i64 = 86_400 * SECOND;

    proptest! {
        #[test]
        fn steps_stay_inside_go_the_right_way_and_are_round(
            from in 0i64..DAY, length in 1i64..40 * DAY, share in 0.0f64..1.0,
            unit in 0usize..4, steps in prop_oneof![-20i64..0, 1i64..20],
        ) {
            let survey = survey(from, from + length);
            #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
            let start = at(from + (length as f64 * share) as i64);
            let mut cursor = Cursor::new(&survey, start, None);
            cursor.unit = Unit::ALL[unit];
            prop_assert!(cursor.step(&survey, &[], steps));
            let (low, high) = survey.bounds();
            prop_assert!(cursor.at >= low && cursor.at <= high);
            let right_way = if steps < 0 { cursor.at <= start } else { cursor.at >= start };
            prop_assert!(right_way);
            let edge = cursor.at == low || cursor.at == high;
            let micros = cursor.unit.micros().unwrap();
            prop_assert!(edge || cursor.at.as_microsecond() % micros == 0);
            let moved = (cursor.at.as_microsecond() - start.as_microsecond()).abs();
            prop_assert!(moved <= steps.abs() * micros);
        }

        #[test]
        fn the_window_always_shows_the_cursor(
            length in 1i64..40 * DAY, moves in proptest::collection::vec((0u8..8, -30i64..30), 0..40),
        ) {
            let survey = survey(0, length);
            let mut cursor = Cursor::new(&survey, at(length / 2), None);
            let mut shown: Shown = None;
            for (which, steps) in moves {
                match which {
                    0 | 1 => {
                        cursor.unit = cursor.unit.next(which == 0);
                        shown = suiting(&survey, cursor.unit, cursor.at);
                    }
                    2 | 3 => shown = zoomed(&survey, shown, cursor.at, which == 2),
                    _ if steps != 0 => {
                        cursor.step(&survey, &[], steps);
                        shown = following(&survey, shown, cursor.at);
                    }
                    _ => {}
                }
                let (from, to) = shown.unwrap_or(survey.bounds());
                prop_assert!(from < to);
                prop_assert!(from <= cursor.at && cursor.at <= to, "{cursor:?} in {shown:?}");
            }
        }
    }

    #[test]
    fn commits_are_stepped_one_by_one_even_within_a_microsecond() {
        let survey = survey(0, 100);
        let near = [commit(10, 1), commit(20, 2), commit(20, 3), commit(30, 4)];
        let mut cursor = Cursor::new(&survey, at(25), None);
        cursor.unit = Unit::Commit;
        let mut lsns = Vec::new();
        while cursor.step(&survey, &near, -1) {
            if let Some(On::Commit(c)) = &cursor.on {
                lsns.push(c.lsn.0);
            }
        }
        assert_eq!(lsns, [3, 2, 1]);
        assert!(cursor.step(&survey, &near, 10), "a leap ends at the last that is known");
        assert_eq!(cursor.at, at(30));
        let target = cursor.target(&survey);
        assert_eq!(target.point, TargetPoint::Lsn(Lsn(4)));
        assert!(!target.inclusive);
    }

    #[test]
    fn jumps_go_to_the_next_mark_of_a_kind() {
        let mut survey = survey(0, 1000);
        survey.landmarks.last_known_good = Some(at(300));
        let point = |name: &str, micros| RestorePoint {
            name: name.to_owned(),
            at: Some(at(micros)),
            lsn: Lsn(1),
        };
        survey.landmarks.restore_points = vec![point("a", 100), point("b", 500)];
        let mut cursor = Cursor::new(&survey, at(400), None);
        assert!(cursor.jump(&survey, Some(Kind::RestorePoint), false));
        assert_eq!(cursor.target(&survey).point, TargetPoint::Name(String::from("a")));
        assert!(cursor.jump(&survey, None, true));
        assert_eq!(cursor.at, at(300));
        assert!(!cursor.jump(&survey, Some(Kind::Suspect), true));
        assert_eq!(cursor.at, at(300), "stays where it is");
    }

    #[test]
    fn the_end_is_everything() {
        let survey = survey(0, 1000);
        let cursor = Cursor::new(&survey, at(5000), None);
        assert_eq!(cursor.target(&survey).point, TargetPoint::EndOfArchive);
    }
}
