//! Only parts: from the choice to the question what is carried over. Whatever writes to production
//! goes through the gate first.

use super::super::model::{App, Effect};
use super::asking::confirm;
use super::{notice, plain, send};
use crate::engine::incident::parts::{Carry, Part, PartsChoice};
use crate::engine::parts::roles::Missing;
use crate::engine::runner::protocol::{Command, Offered};
use crate::screens::available::{CARRYING, LOOKING, PLANNING};
use crate::screens::layers::{Gate, Intent, Layer};
use crate::screens::view::Purpose;
use crate::screens::{parts, recovery_point};
use tui_input::Input;

/// Says what it means to bring only parts back, and asks.
pub fn choose(app: &mut App) {
    let Some(candidate) = app.view.candidate() else { return };
    let (database, tables) = parts::touched(&candidate);
    let first = match tables.is_empty() {
        true => String::from("What is looked at first you choose once the copy stands."),
        false => format!("Looked at first: {}, which the suspect touched.", tables.join(", ")),
    };
    let point = match app.view.reach(&candidate.target) {
        Some(Ok(reach)) => recovery_point::in_time(&app.view, reach),
        _ => candidate.target.to_string(),
    };
    let body = vec![parts::WHEN.to_owned(), format!("The copy: {point}."), first];
    let intent = Intent::ChooseParts { target: candidate.target, database, tables };
    confirm(app, "Bring only parts back?", body, "choose it; nothing is touched yet", "no", intent);
}

/// Says what a salvage is, and asks.
pub fn salvage(app: &mut App) {
    let Some(incident) = &app.view.incident else { return };
    let body = parts::salvage_body(incident);
    confirm(
        app,
        "Bring back what was written after the point?",
        body,
        "plan it; nothing is touched yet",
        "no",
        Intent::Salvage,
    );
}

pub fn plan_salvage(app: &mut App) -> Vec<Effect> {
    send(app, Command::PlanSalvage, PLANNING, Purpose::Salvage)
}

/// Asks the copy what it holds.
pub fn list(app: &mut App) -> Vec<Effect> {
    send(app, Command::ListParts, LOOKING, Purpose::Parts)
}

/// The copy has told what it holds.
pub fn listed(app: &mut App, offered: &[Offered]) {
    let Some(incident) = &app.view.incident else { return };
    if offered.is_empty() {
        notice(app, String::from("The copy holds nothing that could be brought back."), true);
        return;
    }
    let layer = Layer::Choice(parts::offers(incident, offered));
    app.view.layers.push(layer);
}

pub fn look(app: &mut App, part: Part) -> Vec<Effect> {
    plain(app, Command::LookAtParts { part }, LOOKING)
}

/// The rows of the selected table.
pub fn rows(app: &mut App) -> Vec<Effect> {
    match parts::selected(&app.view).map(|found| found.table.clone()) {
        Some(table) => send(app, Command::ShowRows { table }, LOOKING, Purpose::Rows),
        None => {
            notice(app, String::from("Production lacks it: all of its rows come back."), false);
            Vec::new()
        }
    }
}

/// Asks what of it is carried over, and where to.
pub fn ways(app: &mut App) {
    let Some(look) = app.view.incident.as_ref().and_then(|i| i.parts.look.as_ref()) else {
        return;
    };
    let layer = Layer::Choice(parts::ways(&app.view, look));
    app.view.layers.push(layer);
}

/// A way was picked: roles that are missing are asked about first, then the name.
pub fn picked(app: &mut App, carry: &Carry, missing: Missing) {
    let Some(look) = app.view.incident.as_ref().and_then(|i| i.parts.look.as_ref()) else {
        return;
    };
    let asks = look.makes(carry) && !parts::missing_roles(look).is_empty();
    if asks && missing == Missing::Ask {
        let layer = Layer::Choice(parts::roles(look, carry));
        app.view.layers.push(layer);
        return;
    }
    let choice = parts::choice(look, carry, missing);
    let Some(plan) = app.view.incident.as_ref().and_then(|i| i.plan.as_ref()) else { return };
    let gate = Gate {
        plan_hash: plan.hash.clone(),
        cluster: plan.cluster.clone(),
        approve: false,
        point: None,
        parts: Some(choice),
        input: Input::default(),
        error: None,
        scroll: 0,
        seen: 0,
    };
    app.view.layers.push(Layer::Gate(gate));
}

/// The name was typed.
pub fn carry(app: &mut App, choice: PartsChoice, cluster: String) -> Vec<Effect> {
    if !app.view.incident.as_ref().is_some_and(parts::waits) {
        notice(app, String::from("The copy no longer waits; nothing was written."), true);
        return Vec::new();
    }
    plain(app, Command::CarryParts { choice, cluster }, CARRYING)
}
