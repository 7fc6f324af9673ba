//! The past as one picture.
//!
//! ```text
//!       B                                B ▼        backups, the selected point
//!  ▁▂▂▂▃▂▂▂▂▂▂▅▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂▂█▂▁           commits
//!  ━━━━━━━━━━━━━━━╌╌╌╌╌╌━━━━━━━━━━━━━━━━━━━━━━━       archived log; dashes: a gap
//!                                        !  D         suspects, the detection
//!  13:00                                      14:20
//! ```

use super::bars;
use crate::engine::incident::facts::{Survey, TargetPoint};
use crate::engine::postgres::Lsn;
use crate::screens::paint::Column;
use crate::screens::text;
use crate::screens::theme::{Ink, Theme};
use crate::screens::view::{Candidate, View, Zoom};
use jiff::{SignedDuration, Timestamp};
use ratatui::text::Span;

/// From when to when the picture goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Window {
    from: Timestamp,
    to: Timestamp,
}

impl Window {
    /// What the zoom shows, around the cursor where it is narrower than everything.
    #[must_use]
    pub fn of(survey: &Survey, zoom: Zoom, cursor: Option<Timestamp>) -> Self {
        let oldest = survey
            .bases
            .iter()
            .map(|b| b.started)
            .chain(survey.wal.iter().filter_map(|w| w.first_commit))
            .min();
        let all = Self { from: oldest.unwrap_or(survey.at), to: survey.at };
        let half = match zoom {
            Zoom::All => return all,
            Zoom::Day => 12 * 3600,
            Zoom::Hour => 30 * 60,
            Zoom::TenMinutes => 5 * 60,
        };
        let centre = cursor.unwrap_or(survey.at);
        let half = SignedDuration::from_secs(half);
        let from = centre.checked_sub(half).unwrap_or(centre);
        let to = centre.checked_add(half).unwrap_or(centre);
        Self { from, to }
    }

    /// The column of a moment; `None` outside.
    #[must_use]
    pub fn column(&self, at: Timestamp, columns: usize) -> Option<usize> {
        if at < self.from || at > self.to || columns == 0 {
            return None;
        }
        let whole = self.to.duration_since(self.from).as_secs_f64().max(1.0);
        let share = at.duration_since(self.from).as_secs_f64() / whole;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a terminal's width"
        )]
        Some(((share * columns as f64) as usize).min(columns - 1))
    }
}

/// The time of a candidate, as near as it is known.
#[must_use]
pub fn time_of(candidate: &Candidate, survey: Option<&Survey>) -> Option<Timestamp> {
    if let Some(suspect) = &candidate.suspect {
        return Some(suspect.commit.at);
    }
    match candidate.target.point {
        TargetPoint::Time(at) => Some(at),
        TargetPoint::Lsn(lsn) => time_at(survey?, lsn),
        TargetPoint::EndOfArchive => Some(survey?.at),
        TargetPoint::Xid(_) | TargetPoint::Name(_) => None,
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

/// Draws it; takes four to six rows, by what is left.
pub fn draw(view: &View, survey: &Survey, column: &mut Column<'_>) {
    let theme = view.theme;
    let columns = column.width();
    let candidate = view.candidate();
    let cursor = candidate.as_ref().and_then(|c| time_of(c, Some(survey)));
    let window = Window::of(survey, view.points.zoom, cursor);
    let mut marks = vec![(" ", Ink::Dim); columns];
    for base in &survey.bases {
        put(&mut marks, window.column(base.finished, columns), "B", Ink::Accent);
    }
    let at = cursor.and_then(|c| window.column(c, columns));
    put(&mut marks, at, theme.glyph("▼", "v"), Ink::Strong);
    row(column, &marks);
    if column.left() >= 5 {
        density(theme, survey, window, column);
    }
    row(column, &log(theme, survey, window, columns));
    let mut marks = vec![(" ", Ink::Dim); columns];
    if let Some(at) = view.incident.as_ref().and_then(|i| i.clocks.detected) {
        put(&mut marks, window.column(at, columns), "D", Ink::Attention);
    }
    for suspect in &survey.suspects {
        put(&mut marks, window.column(suspect.commit.at, columns), "!", Ink::Bad);
    }
    row(column, &marks);
    axis(theme, window, column);
    if column.left() > 0 {
        let legend = format!(
            "B backup  {} archived log  {} gap  {} selected point  ! suspect  D detected",
            theme.glyph("━", "="),
            theme.glyph("╌", "."),
            theme.glyph("▼", "v")
        );
        column.text(Ink::Dim, legend);
    }
}

type Marks = Vec<(&'static str, Ink)>;

fn put(marks: &mut Marks, at: Option<usize>, sign: &'static str, ink: Ink) {
    if let Some(cell) = at.and_then(|x| marks.get_mut(x)) {
        *cell = (sign, ink);
    }
}

fn row(column: &mut Column<'_>, marks: &Marks) {
    let theme = column.theme;
    let spans = marks.iter().map(|(s, ink)| Span::styled(*s, theme.style(*ink))).collect();
    column.spans(spans);
}

fn log(theme: Theme, survey: &Survey, window: Window, columns: usize) -> Marks {
    let mut marks = vec![(" ", Ink::Dim); columns];
    let first = survey.wal.iter().filter_map(|w| w.first_commit).min();
    let last = survey.wal.iter().filter_map(|w| w.last_commit).max();
    let clamp = |at: Timestamp| at.clamp(window.from, window.to);
    let mut fill = |from: Timestamp, to: Timestamp, sign, ink| {
        if to < window.from || from > window.to {
            return;
        }
        let (a, b) = (window.column(clamp(from), columns), window.column(clamp(to), columns));
        if let (Some(a), Some(b)) = (a, b) {
            for x in a..=b {
                put(&mut marks, Some(x), sign, ink);
            }
        }
    };
    if let (Some(first), Some(last)) = (first, last) {
        fill(first, last, theme.glyph("╌", "."), Ink::Bad);
    }
    for stretch in &survey.wal {
        if let (Some(from), Some(to)) = (stretch.first_commit, stretch.last_commit) {
            fill(from, to, theme.glyph("━", "="), Ink::Good);
        }
    }
    marks
}

fn density(theme: Theme, survey: &Survey, window: Window, column: &mut Column<'_>) {
    let columns = column.width();
    let mut sums = vec![0.0; columns];
    for (at, commits) in &survey.density {
        #[allow(clippy::cast_precision_loss, reason = "a picture")]
        if let Some(cell) = window.column(*at, columns).and_then(|x| sums.get_mut(x)) {
            *cell += *commits as f64;
        }
    }
    for line in bars::chart(theme, &sums, columns, 1) {
        column.text(Ink::Accent, line);
    }
}

fn axis(theme: Theme, window: Window, column: &mut Column<'_>) {
    let same_day = window.from.strftime("%F").to_string() == window.to.strftime("%F").to_string();
    let label = |at: Timestamp| {
        if same_day { text::time(at) } else { at.strftime("%m-%d %H:%M").to_string() }
    };
    let (left, right) = (label(window.from), format!("{} UTC", label(window.to)));
    let gap = column.width().saturating_sub(text::width(&left) + text::width(&right));
    column.spans(vec![
        Span::styled(left, theme.style(Ink::Dim)),
        Span::raw(" ".repeat(gap)),
        Span::styled(right, theme.style(Ink::Dim)),
    ]);
}
