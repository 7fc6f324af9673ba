//! The commands of the restore screen: the prerequisites' questions, the gate, and what is asked
//! before a run is cancelled, put back, promoted or abandoned. Sends nothing itself.

use super::super::model::{App, Effect};
use super::actions::perform;
use super::asking::{confirm, line};
use super::notice;
use crate::engine::incident::Incident;
use crate::engine::incident::event::Decision;
use crate::engine::incident::facts::Prerequisite;
use crate::engine::incident::model::{RunStatus, StepStatus};
use crate::engine::runner::plan::Cancel;
use crate::screens::available::available;
use crate::screens::layers::{Emphasis, Gate, Intent, Layer, LinePurpose, Reader};
use crate::screens::restore::Item;
use crate::screens::{full_restore, reasons, recovery_point, restore};
use tui_input::Input;

pub fn details(app: &mut App) -> Vec<Effect> {
    match restore::selected(&app.view) {
        _ if app.view.panel == 1 && held(app) => super::actions::check_details(app),
        Some(Item::Prerequisite(which)) => {
            let Some(incident) = &app.view.incident else { return Vec::new() };
            let met = incident.prerequisites.get(&which).is_some_and(|a| a.met);
            let by_person = which != Prerequisite::BackupIntegrity;
            let id = restore::command(which);
            if met && by_person && incident.status == RunStatus::Planning {
                let body = vec![format!(
                    "{} counts as not met until it is confirmed again.",
                    which.title()
                )];
                confirm(
                    app,
                    "Take the confirmation back?",
                    body,
                    "take it back",
                    "leave it",
                    Intent::TakeBack(which),
                );
            } else if available(id, &app.view) {
                return perform(app, id);
            } else {
                let why = reasons::why_not(id, &app.view);
                notice(app, why, false);
            }
        }
        Some(Item::Step(n)) => step_details(app, n),
        None => {}
    }
    Vec::new()
}

fn held(app: &App) -> bool {
    app.view.incident.as_ref().is_some_and(|i| restore::checks(i) > 0)
}

fn step_details(app: &mut App, n: usize) {
    let Some(incident) = &app.view.incident else { return };
    let Some(step) = incident.plan.as_ref().and_then(|p| p.steps.get(n)) else { return };
    let plain = |s: String| (Emphasis::Plain, s);
    let head = |s: &str| (Emphasis::Heading, s.to_owned());
    let mut lines = vec![plain(step.why.clone()), plain(String::new())];
    if !step.runbook.is_empty() {
        lines.push(head("The runbook's own command"));
        lines.extend(step.runbook.lines().map(|l| (Emphasis::Dim, l.to_owned())));
        lines.push(plain(String::new()));
    }
    lines.push(head("Touches"));
    if step.touches.is_empty() {
        lines.push(plain(String::from("Nothing: it only reads.")));
    }
    lines.extend(step.touches.iter().cloned().map(plain));
    if step.destructive {
        lines.push(plain(String::from(
            "Before it runs, the server's identity is read again and compared.",
        )));
    }
    lines.push(plain(String::new()));
    lines.push(head("Cancel"));
    lines.push(plain(restore::cancel(&step.cancel)));
    lines.push(head("Undo"));
    lines.push(plain(step.undo.clone().unwrap_or_else(|| String::from("Nothing to undo."))));
    if let Some(state) = incident.steps.get(n) {
        if !state.notes.is_empty() {
            lines.push(plain(String::new()));
            lines.push(head("What it wrote down"));
        }
        lines.extend(state.notes.iter().map(|(name, note)| plain(format!("{name}: {note}"))));
        if let Some(e) = &state.failure {
            lines.push(plain(String::new()));
            lines.push((Emphasis::Bad, format!("Failed: {e}")));
        }
    }
    let title = format!("Step {}: {}", n + 1, step.title);
    app.view.layers.push(Layer::Reader(Reader::text(title, lines)));
}

pub fn answer(app: &mut App, which: Prerequisite) {
    let texts = app.view.runbook.prerequisite(which);
    let (title, mut prompt, hint) = texts.map_or_else(
        || (which.title().to_owned(), String::new(), String::new()),
        |t| (t.title.clone(), t.ask.clone(), t.hint.clone()),
    );
    if which == Prerequisite::TargetConfirmed
        && let Some(reach) = app.view.incident.as_ref().and_then(|i| i.reach.as_ref())
    {
        prompt.push_str(&format!(" The point: {}.", recovery_point::in_time(&app.view, reach)));
    }
    prompt.push_str(" Write it down; Enter confirms it in your name.");
    line(app, LinePurpose::Answer(which), title, prompt, hint);
}

pub fn open_gate(app: &mut App) {
    let Some(plan) = app.view.incident.as_ref().and_then(|i| i.plan.as_ref()) else { return };
    let gate = Gate {
        plan_hash: plan.hash.clone(),
        cluster: plan.cluster.clone(),
        point: None,
        approve: false,
        parts: None,
        input: Input::default(),
        error: None,
        scroll: 0,
        seen: 0,
    };
    app.view.layers.push(Layer::Gate(gate));
}

pub fn start(app: &mut App) {
    let Some((plan_hash, by)) = app.view.incident.as_ref().and_then(|i| i.gate.clone()) else {
        return;
    };
    let plan = app.view.incident.as_ref().and_then(|i| i.plan.as_ref());
    let stops = match plan.filter(|p| !p.procedure.is_point_in_time()) {
        Some(plan) if plan.procedure.is_parts() => {
            "Production is not touched before you choose what is carried over."
        }
        Some(_) => "The old server is not touched before you decide to swap.",
        None => "The server is stopped in the course of it.",
    };
    let body = vec![format!("The gate was passed by {by}. {stops}")];
    let title = match plan.is_some_and(|plan| plan.procedure.is_salvage()) {
        true => "Start the salvage?",
        false => "Start the recovery?",
    };
    confirm(app, title, body, "start", "not yet", Intent::Start { plan_hash });
}

pub fn cancel(app: &mut App) {
    let Some(incident) = &app.view.incident else { return };
    let current = incident.current_step();
    let step = current.and_then(|s| incident.plan.as_ref()?.step(&s.id));
    let title = step.map_or("the step", |s| s.title.as_str());
    let running = current.is_some_and(|s| s.status == StepStatus::Running);
    let salvage = incident.is_salvaging();
    let now = match step.map(|s| &s.cancel) {
        _ if !running && salvage => {
            String::from("Nothing runs at this moment; the salvage ends here.")
        }
        _ if !running => String::from("Nothing runs at this moment; the recovery ends here."),
        Some(Cancel::AtOnce) => format!("\"{title}\" stops at once."),
        Some(Cancel::SafePoint(note)) => {
            format!("\"{title}\" stops at its next safe point: {note}")
        }
        Some(Cancel::No(why)) => {
            format!(
                "\"{title}\" cannot be stopped while it runs: {why} The cancel takes effect after it."
            )
        }
        None => String::from("It stops before the next step."),
    };
    let after = match salvage {
        true => {
            "Production and the kept directory stay as they are. A copy that was made is taken down \
             afterwards (U); the writes can still be brought back later."
        }
        false => {
            "What was done so far stays, and nothing is deleted. Afterwards everything can be put back as it was (U)."
        }
    };
    let body = vec![now, String::from(after)];
    let title = if salvage { "Cancel the salvage?" } else { "Cancel the recovery?" };
    confirm(app, title, body, "cancel it", "let it go on", Intent::Cancel);
}

pub fn put_back(app: &mut App) {
    let Some(incident) = &app.view.incident else { return };
    let mut body = vec![String::from("Undone, newest first; nothing is deleted:")];
    let undone: Vec<String> = undo_texts(incident);
    if undone.is_empty() {
        body = vec![String::from("Nothing was changed so far, so there is little to put back.")];
    } else {
        body.push(undone.join("\n"));
    }
    confirm(app, "Put everything back?", body, "put it back", "leave it as it is", Intent::Undo);
}

pub(super) fn undo_texts(incident: &Incident) -> Vec<String> {
    let Some(plan) = &incident.plan else { return Vec::new() };
    let touched = |id: &str| {
        incident
            .steps
            .iter()
            .any(|s| s.id == id && !matches!(s.status, StepStatus::Pending | StepStatus::Undone))
    };
    plan.steps
        .iter()
        .rev()
        .filter(|s| touched(&s.id))
        .filter_map(|s| s.undo.as_ref().map(|u| format!("- {}: {u}", s.title)))
        .collect()
}

/// What is not in the new cluster, before it is swapped in.
fn lost_by_swap(incident: &Incident) -> String {
    let data = incident.noted("data_is").map_or_else(String::new, |data| format!("{data}. "));
    let back = match incident.has_lost_server() {
        // There is no directory whose rows could be read.
        true => "",
        false => {
            "Rows can be brought back from the kept directory afterwards (B at the checklist)."
        }
    };
    let told = match full_restore::lacks(incident) {
        Some(lost) => format!("Lost by it: {lost}. {back}"),
        None => format!("{data}{back}"),
    };
    told.trim_end().to_owned()
}

pub fn decide(app: &mut App, decision: Decision) {
    let Some(incident) = &app.view.incident else { return };
    let aside = incident.plan.as_ref().map_or("", |p| p.aside.as_str());
    let full = incident.plan.as_ref().is_some_and(|p| p.procedure.is_full());
    let stays = match (incident.has_lost_server(), full) {
        (true, _) => "What was left of the lost directory, if anything, stays kept",
        (false, true) => "The old directory stays kept, whole",
        (false, false) => "The damaged directory stays kept",
    };
    let (title, body, yes, no) = match decision {
        Decision::Abandon if crate::screens::parts::is_chosen(incident) => (
            "Give this up?",
            vec![
                String::from("Nothing is carried over; production stays as it is."),
                String::from("Afterwards put back (U), which takes the copy beside it down."),
            ],
            "give it up",
            "not yet",
        ),
        Decision::Promote if full => (
            "Swap the new cluster in?",
            vec![
                String::from(
                    "The old server is stopped: sessions end. The new cluster takes its place and port and archives again, within seconds.",
                ),
                lost_by_swap(incident),
                format!(
                    "{stays}: {aside}. Until the new cluster is opened the swap can be taken back (U)."
                ),
            ],
            "the data is right: swap it in",
            "not yet",
        ),
        Decision::Abandon if full => (
            "Give the new cluster up?",
            vec![
                String::from("The old cluster stays as it is. Nothing is deleted by this."),
                format!(
                    "Afterwards put back (U), which stops the new server. Its directory then stays until you remove it by name: {}",
                    full_restore::discard(incident)
                ),
            ],
            "give it up",
            "not yet",
        ),
        Decision::Promote => (
            "Promote and open the database?",
            vec![
                String::from(
                    "The replay ends here. The database begins a new timeline and takes writes.",
                ),
                format!("What came after the recovery point is not in it. {stays}: {aside}"),
                String::from("Going to another point after this needs a new recovery."),
            ],
            "the data is right: promote",
            "not yet",
        ),
        Decision::Abandon => (
            "Abandon this recovery?",
            vec![
                String::from(
                    "The recovery ends here without opening the database. Nothing is deleted.",
                ),
                String::from(
                    "Afterwards put everything back (U), then choose another recovery point.",
                ),
            ],
            "abandon",
            "not yet",
        ),
    };
    confirm(app, title, body, yes, no, Intent::Decide(decision));
}
