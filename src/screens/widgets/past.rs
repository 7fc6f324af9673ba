//! The past as one picture.
//!
//! ```text
//!       B                R               B ▼        backups, restore points, forks, the cursor
//!  ▁▂▂▂▃▂▂▂▂▂▂▅▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂█▂▁           commits
//!  ┄┄┄┄┄┄┄━━━━━━━━××××××━━━━━━━━━━━━━━━━━━━━╋━       log: not read yet, there, missing
//!                                     G  !  D         last known good, suspects, detection
//!  13:00                              13:58:20 UTC                                 14:20 UTC
//! ```

use super::bars;
use crate::engine::incident::facts::{Survey, TargetPoint};
use crate::engine::incident::past;
use crate::engine::postgres::Lsn;
use crate::screens::cursor::Kind;
use crate::screens::paint::Column;
use crate::screens::text;
use crate::screens::theme::{Ink, Theme};
use crate::screens::view::{Candidate, View};
use jiff::{SignedDuration, Timestamp};
use ratatui::text::Span;

/// From when to when the picture goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Stretch {
    /// What is shown now.
    #[must_use]
    pub fn of(view: &View, survey: &Survey) -> Self {
        let (from, to) = view.points.shown.unwrap_or_else(|| survey.bounds());
        Self { from, to }
    }

    /// The column of a moment; `None` outside.
    #[must_use]
    pub fn column(&self, at: Timestamp, columns: usize) -> Option<usize> {
        past::column(self.from, self.to, at, columns)
    }

    fn seconds(&self) -> f64 {
        self.to.duration_since(self.from).as_secs_f64()
    }
}

/// The time of a candidate, as near as it is known.
#[must_use]
pub fn time_of(candidate: &Candidate, survey: Option<&Survey>) -> Option<Timestamp> {
    if let Some(suspect) = &candidate.suspect {
        return Some(suspect.commit.at);
    }
    match &candidate.target.point {
        TargetPoint::Time(at) => Some(*at),
        TargetPoint::Lsn(lsn) => time_at(survey?, *lsn),
        TargetPoint::EndOfArchive => Some(survey?.at),
        TargetPoint::Name(name) => {
            survey?.landmarks.restore_points.iter().find(|p| p.name == *name)?.at
        }
        TargetPoint::Xid(_) | TargetPoint::EndOfBase => None,
    }
}

/// Interpolated within the stretch of log that holds the position.
fn time_at(survey: &Survey, lsn: Lsn) -> Option<Timestamp> {
    let stretch = survey.wal.iter().find(|w| w.from <= lsn && lsn <= w.to)?;
    let (from, to) = (stretch.first_commit?, stretch.last_commit?);
    #[allow(clippy::cast_precision_loss, reason = "a picture")]
    let share =
        lsn.bytes_since(stretch.from) as f64 / (stretch.to.bytes_since(stretch.from).max(1)) as f64;
    let seconds = to.duration_since(from).as_secs_f64() * share;
    let step = SignedDuration::try_from_secs_f64(seconds).ok()?;
    from.checked_add(step).ok()
}

/// Where the picture's pointer stands: the cursor, or the selected point.
#[must_use]
pub fn pointer(view: &View, survey: &Survey) -> Option<Timestamp> {
    match &view.points.cursor {
        Some(cursor) if view.points.by_cursor => Some(cursor.at),
        _ => time_of(&view.candidate()?, Some(survey)),
    }
}

/// Draws it over `rows` rows: four at least, more give the commits more height.
pub fn draw(view: &View, survey: &Survey, column: &mut Column<'_>, rows: u16) {
    let theme = view.theme;
    let columns = column.width();
    let span = Stretch::of(view, survey);
    let pointer = pointer(view, survey);
    let mut above = vec![(" ", Ink::Dim); columns];
    for fork in &survey.landmarks.forks {
        let ink = if fork.followed { Ink::Accent } else { Ink::Attention };
        put(&mut above, fork.at.and_then(|at| span.column(at, columns)), "Y", ink);
    }
    for base in &survey.bases {
        put(&mut above, span.column(base.finished, columns), "B", Ink::Accent);
    }
    for point in &survey.landmarks.restore_points {
        let place = point.at.and_then(|at| span.column(at, columns));
        put(&mut above, place, "R", Ink::Good);
    }
    let at = pointer.and_then(|c| span.column(c, columns));
    put(&mut above, at, theme.glyph("▼", "v"), Ink::Strong);
    row(column, &above);
    if rows >= 6 {
        for line in density(view, survey, span, columns, usize::from(rows - 5).min(4)) {
            column.text(Ink::Accent, line);
        }
    }
    let mut log = log(theme, survey, span, columns);
    if let Some((sign, ink)) = at.and_then(|x| log.get_mut(x)) {
        let there = [theme.glyph("━", "="), theme.glyph("┄", "-"), " "].contains(sign);
        if there {
            (*sign, *ink) = (theme.glyph("╋", "+"), Ink::Strong);
        }
    }
    row(column, &log);
    let mut below = vec![(" ", Ink::Dim); columns];
    let landmarks = &survey.landmarks;
    let incident = view.incident.as_ref();
    let good = incident.and_then(|i| i.clocks.last_known_good).or(landmarks.last_known_good);
    let detected = incident.and_then(|i| i.clocks.detected).or(landmarks.detected);
    put(&mut below, good.and_then(|at| span.column(at, columns)), "G", Ink::Good);
    put(&mut below, detected.and_then(|at| span.column(at, columns)), "D", Ink::Attention);
    for suspect in survey.suspects.iter().rev() {
        put(&mut below, span.column(suspect.commit.at, columns), "!", Ink::Bad);
    }
    row(column, &below);
    axis(theme, span, at.zip(pointer), column);
    legend(theme, &[&above, &log, &below], column);
}

type Marks = Vec<(&'static str, Ink)>;

fn put(marks: &mut Marks, at: Option<usize>, sign: &'static str, ink: Ink) {
    if let Some(cell) = at.and_then(|x| marks.get_mut(x)) {
        *cell = (sign, ink);
    }
}

/// Explains the signs that are in the picture and no others, as many as have room.
fn legend(theme: Theme, rows: &[&Marks], column: &mut Column<'_>) {
    let words = [
        (theme.glyph("×", "x"), "log MISSING"),
        ("!", "suspect"),
        ("B", "backup"),
        (theme.glyph("━", "="), "log"),
        (theme.glyph("┄", "-"), "not read"),
        ("G", "last good"),
        ("D", "detected"),
        ("R", "restore point"),
        ("Y", "timelines part"),
        (theme.glyph("▼", "v"), "here"),
    ];
    let used = |sign: &str| rows.iter().any(|row| row.iter().any(|(s, _)| *s == sign));
    let mut line = String::new();
    for (sign, word) in words.iter().filter(|(sign, _)| used(sign)) {
        let gap = if line.is_empty() { "" } else { "  " };
        let part = format!("{gap}{sign} {word}");
        if text::width(&line) + text::width(&part) <= column.width() {
            line.push_str(&part);
        }
    }
    column.text(Ink::Dim, line);
}

fn row(column: &mut Column<'_>, marks: &Marks) {
    let theme = column.theme;
    let spans = marks.iter().map(|(s, ink)| Span::styled(*s, theme.style(*ink))).collect();
    column.spans(spans);
}

fn log(theme: Theme, survey: &Survey, span: Stretch, columns: usize) -> Marks {
    let mut marks = vec![(" ", Ink::Dim); columns];
    let mut fill = |from: Timestamp, to: Timestamp, sign, ink| {
        if to < span.from || from > span.to {
            return;
        }
        let place = |at: Timestamp| span.column(at.clamp(span.from, span.to), columns);
        if let (Some(a), Some(b)) = (place(from), place(to)) {
            for x in a..=b {
                put(&mut marks, Some(x), sign, ink);
            }
        }
    };
    // Where nothing was read, the backups alone say that there is a past.
    let (oldest, newest) = survey.bounds();
    let read_from = survey.wal.iter().filter_map(|w| w.first_commit).min();
    if read_from.unwrap_or(newest) > oldest {
        fill(oldest, read_from.unwrap_or(newest), theme.glyph("┄", "-"), Ink::Dim);
    }
    for stretch in &survey.wal {
        if let (Some(from), Some(to)) = (stretch.first_commit, stretch.last_commit) {
            fill(from, to, theme.glyph("━", "="), Ink::Good);
        }
    }
    // Last, so that the shortest hole is seen at the widest zoom.
    let missing = theme.glyph("×", "x");
    for gap in &survey.landmarks.gaps {
        if let (Some(from), Some(to)) = (gap.after, gap.before) {
            fill(from, to, missing, Ink::Bad);
        }
    }
    let mut read: Vec<_> =
        survey.wal.iter().filter_map(|w| w.first_commit.zip(w.last_commit)).collect();
    read.sort_unstable();
    let told = |from, to| {
        survey.landmarks.gaps.iter().any(|g| g.after <= Some(from) && g.before >= Some(to))
    };
    for (a, b) in read.iter().zip(read.iter().skip(1)) {
        // Between the stretches of two timelines there need be no hole.
        let forked =
            survey.landmarks.forks.iter().any(|f| f.at.is_some_and(|at| at >= a.0 && at <= b.0));
        if a.1 < b.0 && !forked && !told(a.1, b.0) {
            fill(a.1, b.0, missing, Ink::Bad);
        }
    }
    marks
}

fn density(
    view: &View,
    survey: &Survey,
    span: Stretch,
    columns: usize,
    rows: usize,
) -> Vec<String> {
    let seen = view.points.seen.as_ref().filter(|s| {
        s.asked.from == span.from && s.asked.to == span.to && s.asked.columns as usize == columns
    });
    #[allow(clippy::cast_precision_loss, reason = "a picture")]
    let sums: Vec<f64> = match seen.and_then(|s| s.window.as_ref()) {
        Some(window) => window.commits.iter().map(|n| *n as f64).collect(),
        None => {
            let mut sums = vec![0.0; columns];
            for (at, commits) in &survey.density {
                if let Some(cell) = span.column(*at, columns).and_then(|x| sums.get_mut(x)) {
                    *cell += *commits as f64;
                }
            }
            sums
        }
    };
    bars::chart(view.theme, &sums, columns, rows)
}

/// Both ends, and the pointer's own time under it where there is room.
fn axis(theme: Theme, span: Stretch, pointer: Option<(usize, Timestamp)>, column: &mut Column<'_>) {
    let same_day = span.from.strftime("%F").to_string() == span.to.strftime("%F").to_string();
    let fine = span.seconds() < 30.0;
    let label = |at: Timestamp| match (same_day, fine) {
        (true, true) => at.strftime("%H:%M:%S%.3f").to_string(),
        (true, false) => text::time(at),
        _ => at.strftime("%m-%d %H:%M").to_string(),
    };
    let (left, right) = (label(span.from), format!("{} UTC", label(span.to)));
    let width = column.width();
    let (l, r) = (text::width(&left), text::width(&right));
    let room = width.saturating_sub(l + r);
    let mut spans = vec![Span::styled(left, theme.style(Ink::Dim))];
    let here = pointer.map(|(x, at)| {
        let words = if span.seconds() < 300.0 {
            at.strftime("%H:%M:%S%.3f").to_string()
        } else {
            text::time(at)
        };
        (x, words)
    });
    match here {
        Some((x, words)) if room >= text::width(&words) + 4 => {
            let w = text::width(&words);
            let start = x.saturating_sub(w / 2).clamp(l + 2, width - r - w - 2);
            spans.push(Span::raw(" ".repeat(start - l)));
            spans.push(Span::styled(words, theme.style(Ink::Strong)));
            spans.push(Span::raw(" ".repeat(width - r - start - w)));
        }
        _ => spans.push(Span::raw(" ".repeat(room))),
    }
    spans.push(Span::styled(right, theme.style(Ink::Dim)));
    column.spans(spans);
}

/// What lies where the cursor stands, in one sentence, and how to take it.
#[must_use]
pub fn here(view: &View, survey: &Survey) -> (Ink, String) {
    let Some(cursor) = &view.points.cursor else { return (Ink::Dim, String::new()) };
    let at = cursor.at;
    use crate::screens::cursor::{On, marks};
    let rows = |c: &crate::engine::incident::facts::Commit| {
        crate::screens::recovery_point::rows(c.inserts, c.updates, c.deletes)
    };
    let mark = marks(survey).into_iter().rfind(|m| {
        m.at == at && (m.on == cursor.on || (m.kind != Kind::Suspect && cursor.on.is_none()))
    });
    if let Some(mark) = mark {
        let ink = if mark.kind == Kind::Suspect { Ink::Bad } else { Ink::Strong };
        let lead = if mark.kind == Kind::Suspect { "! " } else { "" };
        return (ink, format!("{lead}{}", text::clean(&mark.words)));
    }
    let inside = |gap: &&past::Gap| {
        gap.after.is_some_and(|after| after < at) && gap.before.is_some_and(|before| at < before)
    };
    if let Some(gap) = survey.landmarks.gaps.iter().find(inside) {
        return (Ink::Bad, format!("! LOG IS MISSING here: {}", text::clean(&gap.why)));
    }
    match &cursor.on {
        Some(On::Commit(c) | On::Suspect(c, _)) => {
            let which = match c.stands_for {
                1 => format!("commit of transaction {}", c.xid),
                n => format!("{} commits known as one, the last of them", text::count(n)),
            };
            return (Ink::Text, format!("{which} ({})", rows(c)));
        }
        Some(On::Name(name)) => return (Ink::Text, format!("restore point \"{name}\"")),
        None => {}
    }
    if survey.landmarks.read_from.is_some_and(|from| at < from) {
        let words = "the log this far back was not read yet; only backups are known";
        return (Ink::Dim, words.to_owned());
    }
    let seen = view.points.seen.as_ref().and_then(|s| s.window.as_ref());
    let near = seen.map_or(&[][..], |w| w.near.as_slice());
    let after = near.partition_point(|c| c.at <= at);
    let current = view.points.seen.as_ref().is_some_and(|s| s.asked.around == at);
    if !current && (after == 0 || after == near.len()) {
        return (Ink::Dim, String::from("commits around it are being read"));
    }
    let (before, next) = (after.checked_sub(1).and_then(|i| near.get(i)), near.get(after));
    let distance = |c: &crate::engine::incident::facts::Commit| {
        text::span(c.at.duration_since(at).as_secs_f64().abs())
    };
    let words = match (before, next) {
        (Some(b), Some(n)) => format!(
            "between transaction {} ({} before) and {} ({} after)",
            b.xid,
            distance(b),
            n.xid,
            distance(n)
        ),
        (Some(b), None) => {
            format!("after the last commit known, transaction {} ({} before)", b.xid, distance(b))
        }
        (None, Some(n)) => {
            format!("before the first commit known, transaction {} ({} after)", n.xid, distance(n))
        }
        (None, None) => String::from("commits around it are being read"),
    };
    (Ink::Text, words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_axis_is_as_wide_as_the_picture(
            width in 1u16..200, length in 1i64..100_000_000_000_000, share in 0usize..200,
        ) {
            let area = ratatui::layout::Rect::new(0, 0, width, 1);
            let mut buffer = ratatui::buffer::Buffer::empty(area);
            let mut column = Column::new(Theme::default(), area, &mut buffer);
            let from = Timestamp::UNIX_EPOCH;
            let to = Timestamp::from_microsecond(length).unwrap();
            let pointer = Some((share.min(usize::from(width) - 1), from));
            axis(Theme::default(), Stretch { from, to }, pointer, &mut column);
        }
    }
}
