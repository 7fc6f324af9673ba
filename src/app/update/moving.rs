//! Rows, panels, pages: what the arrow keys do.

use super::super::model::App;
use super::go;
use crate::screens::commands::Id;
use crate::screens::view::{Page, View};
use crate::screens::{assessment, checklist, restore};

/// Rows of the panel that takes the arrow keys.
fn rows(view: &View) -> usize {
    let incident = view.incident.as_ref();
    match (view.page, view.panel) {
        (Page::Home, 0) => view.listing.clusters.len(),
        (Page::Home, _) => view.listing.incidents.len(),
        (Page::Assessment, 0) => assessment::questions(view).len(),
        (Page::Assessment, _) => incident.map_or(0, |i| i.probes.len()),
        (Page::RecoveryPoint, 2) if view.points.by_cursor => 0,
        (Page::RecoveryPoint, 3) => {
            match view.candidate().and_then(|c| view.reach(&c.target).cloned()) {
                Some(Ok(reach)) => reach.checks.len(),
                _ => 0,
            }
        }
        (Page::RecoveryPoint, _) => view.candidates().len(),
        (Page::Restore, 1) if held(view) => incident.map_or(0, restore::checks),
        (Page::Restore, _) => incident.map_or(0, |i| restore::items(i).len()),
        (Page::Validation, _) => incident.map_or(0, |i| i.validation.len()),
        (Page::Checklist, _) => checklist::lines(view).len(),
        // The report scrolls; its end is the drawing's to find.
        (Page::Report, _) => 60,
    }
}

/// The other panel of the restore screen has rows of its own.
fn held(view: &View) -> bool {
    view.incident.as_ref().is_some_and(|i| restore::checks(i) > 0)
}

/// The panel whose list the keys move: some panels only show what another one selects.
fn moved_panel(view: &View) -> usize {
    match (view.page, view.panel) {
        (Page::Restore, 1) if held(view) => 1,
        (Page::RecoveryPoint, 2) | (Page::Restore, 1) => 0,
        (_, panel) => panel,
    }
}

pub fn rows_by(app: &mut App, id: Id) {
    let view = &mut app.view;
    let rows = rows(view);
    if rows == 0 {
        return;
    }
    let panel = moved_panel(view);
    let now = match (view.page, restore_follow(view)) {
        (Page::Restore, Some(at)) if panel == 0 => at,
        _ => view.cursor_in(panel, rows),
    };
    let next = match id {
        Id::Up => now.saturating_sub(1),
        Id::Down => now + 1,
        Id::PageUp => now.saturating_sub(10),
        Id::PageDown => now + 10,
        Id::First => 0,
        _ => rows - 1,
    };
    view.cursors.insert((view.page, panel), next.min(rows - 1));
}

/// Where the pointer of the running plan stands while it follows the steps.
fn restore_follow(view: &View) -> Option<usize> {
    if view.page != Page::Restore || view.cursors.contains_key(&(Page::Restore, 0)) {
        return None;
    }
    let incident = view.incident.as_ref()?;
    let current = &incident.current_step()?.id;
    incident.steps.iter().position(|s| s.id == *current)
}

pub fn panel_by(app: &mut App, forward: bool) {
    let count = app.view.page.panels().len();
    let at = app.view.panel.min(count - 1);
    app.view.panel = if forward { (at + 1) % count } else { (at + count - 1) % count };
}

pub fn page_by(app: &mut App, forward: bool) {
    let Some(at) = Page::INCIDENT.iter().position(|p| *p == app.view.page) else { return };
    let next = if forward { at + 1 } else { at.saturating_sub(1) };
    if let Some(page) = Page::INCIDENT.get(next) {
        go(app, *page);
    }
}
