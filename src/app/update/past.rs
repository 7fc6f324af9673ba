//! The cursor on the picture of the past: what its keys do, and what is asked along as it moves.
//! A key draws at once; at most one question of a kind is on its way, and the next one asks for
//! where the cursor stands by then.

use super::super::model::{App, Effect};
use super::{notice, send};
use crate::engine::incident::facts::Target;
use crate::engine::runner::protocol::Command;
use crate::screens::commands::Id;
use crate::screens::cursor::{self, Asked, Cursor, Kind, On, Unit};
use crate::screens::recovery_point;
use crate::screens::view::{Link, Page, Purpose, View};
use crate::screens::widgets::past::{pointer, time_of};

/// Points of the list that are proven unasked, for their signs and forecasts.
const PROVEN_ALONG: usize = 6;
/// Steps of the zoom key, in microseconds.
const ZOOMS: [i64; 4] = [86_400_000_000, 3_600_000_000, 600_000_000, 60_000_000];

/// Who has the arrow keys decides what is looked at; the picture follows it.
pub fn settle(app: &mut App) {
    let view = &mut app.view;
    if view.page != Page::RecoveryPoint {
        return;
    }
    let Some(survey) = &view.survey else {
        view.points.by_cursor = false;
        return;
    };
    match view.panel {
        0 => view.points.by_cursor = false,
        1 if !view.points.by_cursor => {
            let candidate = view.selected_candidate();
            let at = candidate.as_ref().and_then(|c| time_of(c, Some(survey)));
            let on = candidate
                .and_then(|c| c.suspect)
                .map(|suspect| On::Suspect(Box::new(suspect.commit.clone()), suspect.target));
            let mut cursor = Cursor::new(survey, at.unwrap_or(survey.at), on);
            // Who comes back goes on with the step that was left.
            if let Some(before) = &view.points.cursor {
                cursor.unit = before.unit;
            }
            view.points.cursor = Some(cursor);
            view.points.by_cursor = true;
        }
        _ => {}
    }
    if let Some(at) = pointer(view, survey) {
        view.points.shown = cursor::following(survey, view.points.shown, at);
    }
}

/// What the next proof is for: the point that is looked at, then the others of the list. What
/// lies before the log that was read waits to be asked for: it may take minutes.
pub fn next_to_prove(view: &View) -> Option<Target> {
    let unknown = |target: &Target| view.reach(target).is_none();
    let looked_at = view.candidate()?.target;
    if unknown(&looked_at) {
        if !recovery_point::before_read(view) || view.points.prove.as_ref() == Some(&looked_at) {
            return Some(looked_at);
        }
        return None;
    }
    let survey = view.survey.as_ref()?;
    let list = view.candidates();
    let mut listed = list.iter().take(PROVEN_ALONG);
    let read = survey.landmarks.read_from;
    listed
        .find(|c| unknown(&c.target) && time_of(c, Some(survey)) >= read)
        .map(|c| c.target.clone())
}

/// Asks for the commits of what is shown and of what lies near the cursor.
pub fn ask(app: &mut App) -> Vec<Effect> {
    let Some(asked) = wanted(&app.view) else { return Vec::new() };
    let Asked { from, to, columns, around } = asked;
    let command = Command::PastWindow { from, to, columns, around };
    // Without a label: it comes and goes with every move and is nobody's news.
    send(app, command, "", Purpose::Past(asked))
}

fn wanted(view: &View) -> Option<Asked> {
    let survey = view.survey.as_ref()?;
    let live = view.page == Page::RecoveryPoint
        && view.link == Link::Live
        && view.incident.as_ref().is_some_and(|i| i.closing.is_none());
    // All of the past at a glance is in the survey itself.
    let needed = view.points.by_cursor || view.points.shown.is_some();
    if !live || !needed || view.awaits(|p| matches!(p, Purpose::Past(_))) {
        return None;
    }
    let (from, to) = view.points.shown.unwrap_or_else(|| survey.bounds());
    let columns = u32::try_from(recovery_point::picture_columns(view)).unwrap_or(1);
    let around = pointer(view, survey).unwrap_or(survey.at);
    let asked = Asked { from, to, columns, around };
    let known = view.points.seen.as_ref().is_some_and(|seen| seen.asked == asked);
    (!known).then_some(asked)
}

pub fn zoom(app: &mut App, id: Id) {
    let view = &mut app.view;
    let Some(survey) = &view.survey else { return };
    let at = pointer(view, survey).unwrap_or(survey.at);
    let shown = view.points.shown;
    view.points.shown = match id {
        Id::ZoomIn | Id::ZoomOut => cursor::zoomed(survey, shown, at, id == Id::ZoomIn),
        _ => {
            let (from, to) = shown.unwrap_or_else(|| survey.bounds());
            let span = to.as_microsecond() - from.as_microsecond();
            let next = ZOOMS.into_iter().find(|z| *z < span);
            next.and_then(|z| cursor::around(survey, z, at))
        }
    };
}

/// What the keys of the picture do.
pub fn perform(app: &mut App, id: Id) {
    let view = &mut app.view;
    let (Some(survey), Some(cursor)) = (&view.survey, &mut view.points.cursor) else { return };
    let near = view.points.seen.as_ref().and_then(|s| s.window.as_ref());
    let near = near.map_or(&[][..], |w| w.near.as_slice());
    let jump = |cursor: &mut Cursor, kind, forward| cursor.jump(survey, kind, forward);
    let done = match id {
        Id::Earlier => cursor.step(survey, near, -1),
        Id::Later => cursor.step(survey, near, 1),
        Id::FarEarlier => cursor.step(survey, near, -10),
        Id::FarLater => cursor.step(survey, near, 10),
        Id::Oldest | Id::Newest => {
            let (from, to) = survey.bounds();
            cursor.go(if id == Id::Oldest { from } else { to }, None);
            true
        }
        Id::FinerStep | Id::WiderStep => {
            let next = cursor.unit.next(id == Id::FinerStep);
            let changed = next != cursor.unit;
            cursor.unit = next;
            view.points.shown = cursor::suiting(survey, next, cursor.at);
            changed
        }
        Id::NextMark => jump(cursor, None, true),
        Id::PreviousMark => jump(cursor, None, false),
        Id::NextSuspect => jump(cursor, Some(Kind::Suspect), true),
        Id::PreviousSuspect => jump(cursor, Some(Kind::Suspect), false),
        Id::NextBackup => jump(cursor, Some(Kind::Backup), true),
        Id::PreviousBackup => jump(cursor, Some(Kind::Backup), false),
        Id::NextNamed => jump(cursor, Some(Kind::RestorePoint), true),
        Id::PreviousNamed => jump(cursor, Some(Kind::RestorePoint), false),
        _ => true,
    };
    if done {
        return;
    }
    let words = match (id, cursor.unit) {
        (Id::FinerStep, _) => "Single commits are the finest step.",
        (Id::WiderStep, _) => "Days are the widest step.",
        (Id::Earlier | Id::Later | Id::FarEarlier | Id::FarLater, Unit::Commit) => {
            "No other commit is known there yet."
        }
        _ => "There is none in that direction.",
    };
    notice(app, String::from(words), false);
}
