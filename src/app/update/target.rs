//! At the recovery point: going on to a later one, going back to an earlier one, and the way out of
//! the run to another choice. What moves the server goes through the typed name or a question first.

use super::super::model::{App, Back, Effect};
use super::asking::{choice, confirm, line};
use super::{answers, go, notice, plain, point, run, send};
use crate::engine::incident::event::Decision;
use crate::engine::incident::facts::Target;
use crate::engine::incident::model::RunStatus;
use crate::engine::runner::protocol::{Command, FullRestore};
use crate::screens::available::{self, MOVING};
use crate::screens::commands::Id;
use crate::screens::layers::{Gate, Intent, Layer, LinePurpose, Pick};
use crate::screens::view::{Link, Page, Purpose, View};
use crate::screens::{at_target, full_restore, reasons, text};
use tui_input::Input;

/// Offers later points.
pub fn later(app: &mut App) {
    let options = points(at_target::later_points(&app.view), "One of the next transactions");
    let prompt = if app.view.survey.is_none() {
        "Nothing is copied again. The archive is still being read: suspects may be missing here."
    } else {
        "Nothing is copied again: the server replays on from here."
    };
    choice(app, "On to which later point?", String::from(prompt), options);
}

/// Offers earlier points.
pub fn earlier(app: &mut App) {
    let mut options =
        points(at_target::earlier_points(&app.view), "One of the transactions before");
    options.push((
        Pick::GiveUp,
        String::from("Give this run up instead"),
        String::from("Everything is put back as it was, and the point is chosen again."),
    ));
    let prompt = "Replay cannot be taken back: the backup is restored anew. What is equal in the \
                  directory that stands here is not fetched again; the price is shown first.";
    choice(app, "Back to which earlier point?", String::from(prompt), options);
}

/// What is offered, a transaction from a list, and one's own.
fn points(offers: Vec<at_target::Offer>, listed: &str) -> Vec<(Pick, String, String)> {
    let offered = offers.into_iter().map(|o| (Pick::Point(o.target), o.title, o.why));
    offered
        .chain([
            (
                Pick::NextCommits,
                listed.to_owned(),
                String::from("Lists them; the point is just before the one that you pick."),
            ),
            (
                Pick::OwnPoint,
                String::from("A point of your own"),
                String::from("A time, an LSN, a transaction, a restore point's name."),
            ),
        ])
        .collect()
}

/// The transactions around the point where the server stands.
pub fn next_commits(app: &mut App) -> Vec<Effect> {
    let around = app.view.incident.as_ref().and_then(at_target::around);
    match around {
        Some(at) => point::list_commits(app, at),
        None => {
            notice(app, String::from("It is not known where the server stands."), true);
            Vec::new()
        }
    }
}

/// A point was given: on the recovery point's screen it joins the list; at the recovery point it
/// is what to go on to.
pub fn take_point(app: &mut App, target: Target, why: &str) {
    if app.view.page != Page::Restore {
        answers::own_point(app, target, why);
        return;
    }
    let waits = app.view.incident.as_ref().filter(|i| at_target::waits(i));
    let Some(plan) = waits.and_then(|i| i.plan.as_ref()) else {
        notice(app, String::from("The server no longer waits at a recovery point."), true);
        return;
    };
    let gate = Gate {
        plan_hash: plan.hash.clone(),
        cluster: plan.cluster.clone(),
        point: Some(target),
        approve: false,
        parts: None,
        input: Input::default(),
        error: None,
        scroll: 0,
        seen: 0,
    };
    app.view.layers.push(Layer::Gate(gate));
}

/// The point in the open dialog, where nothing is known of its reach yet.
pub fn next_to_prove(view: &View) -> Option<Target> {
    let point = view.layers.iter().rev().find_map(|layer| match layer {
        Layer::Gate(gate) => gate.point.clone(),
        _ => None,
    })?;
    view.reach(&point).is_none().then_some(point)
}

/// The name was typed for another point.
pub fn move_on(app: &mut App, mut gate: Gate, target: Target) -> Vec<Effect> {
    let wrong = match app.view.reach(&target) {
        None => Some(String::from("Wait: whether it can be reached is being proven.")),
        Some(Ok(reach)) if !reach.reachable => {
            Some(String::from("That point cannot be reached. Esc goes back."))
        }
        // What could not be judged here the runner judges again, and refuses where it cannot.
        _ => None,
    };
    if wrong.is_some() {
        gate.error = wrong;
        app.view.layers.push(Layer::Gate(gate));
        return Vec::new();
    }
    send(app, Command::MoveTarget { target, cluster: gate.cluster }, MOVING, Purpose::Later)
}

/// Says what it means to give the run up for another point, and asks.
pub fn ask_to_give_up(app: &mut App) {
    let Some(incident) = &app.view.incident else { return };
    let forecast = incident.reach.as_ref().and_then(|reach| reach.forecast);
    let price = forecast.map_or_else(
        || String::from("What it takes is not known on this machine yet."),
        |f| {
            let how = if f.measured { "as measured here" } else { "estimated" };
            format!(
                "The price of a restore anew, {how}: copying {}, replay {}; together {}.",
                text::span_range(f.copy),
                text::span_range(f.replay),
                text::span_range(f.total())
            )
        },
    );
    let body = vec![
        String::from(
            "This run is given up, everything is put back as it was, and the recovery point is \
             chosen again. Nothing is deleted.",
        ),
        price,
    ];
    confirm(
        app,
        "Give this run up for another point?",
        body,
        "give this run up and choose again",
        "stay here",
        Intent::Earlier,
    );
}

/// The question was answered with yes: the run is given up, and the rest follows.
pub fn give_up(app: &mut App) -> Vec<Effect> {
    if !app.view.incident.as_ref().is_some_and(at_target::waits) {
        notice(app, String::from("The server no longer waits at a recovery point."), true);
        return Vec::new();
    }
    let command = Command::Decide { decision: Decision::Abandon };
    let effects = send(app, command, "giving the run up", Purpose::GiveUp);
    app.leading_back = (!effects.is_empty()).then_some(Back::GivingUp);
    effects
}

/// Offers what can be restored whole; where a run has to be put back first, asks that.
pub fn full_restore(app: &mut App) {
    let Some(incident) = &app.view.incident else { return };
    if available::may_choose(incident) {
        app.view.layers.push(Layer::Choice(full_restore::choice(&app.view)));
        return;
    }
    if !full_restore::instead_of(incident) {
        let why = reasons::why_not(Id::FullRestore, &app.view);
        notice(app, why, true);
        return;
    }
    let mut body = vec![String::from(
        "This run is given up and everything it did is put back, newest first; nothing is deleted. \
         Then you choose which backup is restored whole, beside the old cluster (Option B).",
    )];
    let undone = run::undo_texts(incident);
    if !undone.is_empty() {
        body.push(undone.join("\n"));
    }
    confirm(
        app,
        "Give this run up for a full restore?",
        body,
        "put everything back, then choose",
        "stay here",
        Intent::FullRestore,
    );
}

pub fn choose_full(app: &mut App, asked: FullRestore) -> Vec<Effect> {
    send(app, Command::ChooseFull(asked.clone()), "choosing the point", Purpose::Full(asked))
}

/// Asks for the new cluster's directory; `taken` is why another one is asked for.
pub fn ask_full_into(app: &mut App, asked: Option<FullRestore>, taken: &str) {
    let (prompt, hint) = full_restore::into_words(&app.view, taken);
    line(app, LinePurpose::FullInto(asked), "Into which directory?", prompt, hint);
}

/// The directory was named: what was asked for is asked again with it, or the choice goes on.
pub fn full_into(app: &mut App, asked: Option<FullRestore>, directory: String) -> Vec<Effect> {
    app.view.points.full_into = Some(directory.clone());
    match asked {
        Some(asked) => choose_full(app, FullRestore { destination: Some(directory), ..asked }),
        None => {
            full_restore(app);
            Vec::new()
        }
    }
}

/// The question was answered with yes: what failed is put back, and the choice follows.
pub fn put_back_for_full(app: &mut App) -> Vec<Effect> {
    if !app.view.incident.as_ref().is_some_and(full_restore::instead_of) {
        notice(app, String::from("The step no longer stands where it failed."), true);
        return Vec::new();
    }
    let effects = send(app, Command::Undo, "putting back", Purpose::GiveUp);
    app.leading_back = (!effects.is_empty()).then_some(Back::ToFullRestore);
    effects
}

/// From the run that was given up to the choice of another point, as agreed to.
pub fn lead_back(app: &mut App) -> Vec<Effect> {
    let Some(back) = app.leading_back else { return Vec::new() };
    let status = app.view.incident.as_ref().map(|i| i.status);
    match (back, status) {
        // Whoever lost sight of it decides anew.
        _ if app.view.link != Link::Live => app.leading_back = None,
        (Back::GivingUp, Some(RunStatus::Cancelled)) => {
            app.leading_back = Some(Back::PuttingBack);
            return plain(app, Command::Undo, "putting back");
        }
        (Back::PuttingBack, Some(RunStatus::Undone)) => {
            app.leading_back = None;
            go(app, Page::RecoveryPoint);
        }
        (Back::ToFullRestore, Some(RunStatus::Undone)) => {
            app.leading_back = None;
            if app.view.layers.is_empty() {
                full_restore(app);
            } else {
                notice(app, String::from("All is put back: O chooses the full restore."), false);
            }
        }
        (Back::ToFullRestore, Some(RunStatus::Undoing)) => {}
        (Back::ToFullRestore, Some(RunStatus::Failed))
            if app.view.incident.as_ref().is_some_and(|i| i.undo_failure.is_none()) => {}
        (Back::GivingUp, Some(RunStatus::Held))
        | (Back::PuttingBack, Some(RunStatus::Cancelled | RunStatus::Undoing)) => {}
        _ => app.leading_back = None,
    }
    Vec::new()
}
