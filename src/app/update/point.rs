//! Choosing a recovery point: its kind, its timeline, just before a transaction or with it, the
//! commits around a time. A choice that would undo a plan is asked about first; nothing here touches
//! a server.

use super::super::model::{App, Effect};
use super::asking::{choice, confirm, line, moment};
use super::{notice, plain, send};
use crate::engine::incident::facts::{Target, TargetPoint};
use crate::engine::runner::protocol::Command;
use crate::screens::layers::{
    Commits, Intent, Layer, LinePurpose, MomentPurpose, Pick, TargetKind,
};
use crate::screens::view::{Candidate, Page, Purpose};
use crate::screens::{recovery_point, text};
use tui_input::Input;

/// Commits that are listed around a moment.
const COMMITS: u32 = 40;

pub fn choose_point(app: &mut App) -> Vec<Effect> {
    let Some(candidate) = app.view.candidate() else { return Vec::new() };
    // Picked on the picture, it stands in the list from now on.
    if app.view.points.by_cursor
        && !app.view.candidates().iter().any(|c| c.target == candidate.target)
    {
        super::answers::remember(app, candidate.clone());
    }
    let Some(incident) = &app.view.incident else { return Vec::new() };
    let replaces = incident.plan.is_some() || incident.reach.is_some();
    if !replaces {
        let command = Command::ChooseTarget { target: candidate.target };
        return plain(app, command, "choosing the point");
    }
    let body = vec![
        format!("New point: {}.", candidate.target),
        String::from(
            "The confirmation of the old point, its plan and its gate count no longer. Nothing on the server is touched.",
        ),
    ];
    confirm(
        app,
        "Choose another recovery point?",
        body,
        "choose the new point",
        "keep the old one",
        Intent::ChooseTarget(candidate.target),
    );
    Vec::new()
}

/// Asks for a directory on another disk; `refused` is why another one is asked for.
pub fn ask_into(app: &mut App, target: Target, refused: &str) {
    let mut prompt = refused.to_owned();
    if !prompt.is_empty() {
        prompt.push_str(" Nothing was changed. ");
    }
    prompt.push_str(
        "Name a directory on another disk that the point is recovered into: empty or not there yet. \
         The damaged one stays where it is.",
    );
    line(
        app,
        LinePurpose::Into(target),
        "Into which directory?",
        prompt,
        "For example: /mnt/recovery/postgresql",
    );
}

pub fn choose_into(app: &mut App, target: Target, directory: String) -> Vec<Effect> {
    let command = Command::ChooseInto { target: target.clone(), directory };
    send(app, command, "choosing the point", Purpose::Into(target))
}

pub fn target_kind(app: &mut App) {
    let option =
        |kind, label: &str, means: &str| (Pick::Kind(kind), label.to_owned(), means.to_owned());
    let options = vec![
        option(TargetKind::Time, "A time", "The last transaction committed before it is kept."),
        option(
            TargetKind::Lsn,
            "A position in the log (LSN)",
            "The most exact: just before one change. Such as 16/B374D848.",
        ),
        option(
            TargetKind::Xid,
            "A transaction (xid)",
            "Just before or with one transaction, by its number.",
        ),
        option(
            TargetKind::Name,
            "A named restore point",
            "Made beforehand with pg_create_restore_point().",
        ),
        option(
            TargetKind::EndOfArchive,
            "The end of the archive",
            "Everything that was archived or can be rescued: for a lost server, not for bad data.",
        ),
    ];
    let title = match app.view.page {
        Page::Restore => "On to which later point?",
        _ => "Where to go back to?",
    };
    choice(app, title, String::new(), options);
}

/// Just before, or with: as a point of the operator's own.
pub fn toggle(app: &mut App) {
    let Some(candidate) = app.view.candidate() else { return };
    if matches!(candidate.target.point, TargetPoint::EndOfArchive | TargetPoint::Name(_)) {
        notice(app, String::from("That point has no before and after."), true);
        return;
    }
    if app.view.points.by_cursor {
        if let Some(cursor) = &mut app.view.points.cursor {
            cursor.inclusive = !cursor.inclusive;
        }
        return;
    }
    let inclusive = !candidate.target.inclusive;
    let why = if inclusive { "it is kept, too" } else { "it is not kept" };
    let timeline = candidate.target.timeline;
    let Some(commit) = candidate.transaction else {
        super::answers::own_point(app, Target { inclusive, ..candidate.target }, why);
        return;
    };
    // Just before a transaction is before its first record; with it is with its commit.
    let lsn = if inclusive { commit.lsn } else { commit.first_lsn };
    let target = Target { point: TargetPoint::Lsn(lsn), inclusive, timeline };
    let suspect = candidate.suspect;
    let title = recovery_point::name(&target, suspect.as_ref());
    let (why, transaction) = (why.to_owned(), Some(commit));
    super::answers::remember(app, Candidate { target, title, why, suspect, transaction });
    app.view.panel = 0;
}

pub fn follow_timeline(app: &mut App) {
    let Some(survey) = &app.view.survey else { return };
    let mut known: Vec<u32> = survey.wal.iter().map(|w| w.timeline).collect();
    known.sort_unstable();
    known.dedup();
    let mut options = vec![(
        Pick::Timeline(None),
        String::from("The latest"),
        String::from("What is meant nearly always."),
    )];
    for timeline in known.into_iter().rev() {
        let last = survey
            .wal
            .iter()
            .filter(|w| w.timeline == timeline)
            .filter_map(|w| w.last_commit)
            .max()
            .map_or_else(String::new, |at| format!("Its last commit: {}.", text::moment(at)));
        options.push((Pick::Timeline(Some(timeline)), format!("Timeline {timeline}"), last));
    }
    let prompt = String::from(
        "Each recovery that was opened began a new timeline, a line of history of its own.",
    );
    choice(app, "Which timeline to follow?", prompt, options);
}

pub fn commits_around(app: &mut App) {
    let prompt = "Transactions on both sides of a time are listed, to find the one to stop before.";
    moment(app, MomentPurpose::Commits, "Commits around which time?", prompt);
    let view = &app.view;
    let cursor = view
        .candidate()
        .and_then(|c| crate::screens::widgets::past::time_of(&c, view.survey.as_ref()));
    let (now, zone) = (view.now, view.zone.clone());
    if let (Some(at), Some(Layer::Moment(m))) = (cursor, app.view.layers.last_mut()) {
        m.input = Input::new(text::moment(at));
        m.reading = crate::screens::moment::read(m.input.value(), now, &zone);
    }
}

/// Asks for the commits around a moment and opens their list.
pub fn list_commits(app: &mut App, at: jiff::Timestamp) -> Vec<Effect> {
    let layer = Layer::Commits(Commits { around: at, list: None, selected: 0 });
    app.view.layers.push(layer);
    let command = Command::CommitsAround { at, count: COMMITS };
    send(app, command, "reading commits", Purpose::Commits(at))
}
