//! The cures of a failed step: what each does is shown before it is accepted, and one that changes
//! what the gate was passed for takes the cluster's name.

use super::super::model::App;
use super::asking::{choice, confirm, line};
use crate::engine::incident::trouble::{By, Cure, LOOK_AGAIN, NAMED_PLACE};
use crate::engine::trouble::{FULL_RESTORE, OTHER_PLACE};
use crate::screens::layers::{Emphasis, Intent, Layer, LinePurpose, Pick, Reader};
use crate::screens::restore;

/// The proposed one.
pub fn proposed(app: &mut App) {
    let first = |app: &App| {
        let incident = app.view.incident.as_ref()?;
        restore::trouble(incident)?.cures.first().map(|cure| cure.id.clone())
    };
    if let Some(cure) = first(app) {
        open(app, &cure);
    }
}

/// All of them, to pick one.
pub fn list(app: &mut App) {
    let Some(incident) = &app.view.incident else { return };
    let Some(trouble) = restore::trouble(incident) else { return };
    let options = trouble
        .cures
        .iter()
        .map(|cure| (Pick::Cure(cure.id.clone()), cure.title.clone(), cure.does.clone()))
        .collect();
    let prompt =
        String::from("The proposed one stands first. Each is shown in full before it is done.");
    choice(app, "What mends it", prompt, options);
}

/// Shows a cure in full and asks.
pub fn open(app: &mut App, id: &str) {
    let Some(incident) = &app.view.incident else { return };
    let found = restore::trouble(incident).and_then(|t| t.cures.iter().find(|c| c.id == id));
    let Some(cure) = found.cloned() else { return };
    match cure.by {
        _ if cure.id == FULL_RESTORE => super::target::full_restore(app),
        By::LifeboatByName if cure.id == NAMED_PLACE => {
            let prompt = format!("{} Costs: {}. Type its full path.", cure.does, cure.cost);
            let hint = "/mnt/recovery/postgresql";
            line(app, LinePurpose::CurePlace { cure: cure.id }, cure.title, prompt, hint);
        }
        By::LifeboatByName => {
            let changes = match cure.id.as_str() {
                OTHER_PLACE => "where the cluster lives",
                _ => "where the recovery ends",
            };
            let prompt = format!(
                "{} Costs: {}. Risk: {}. It changes {changes}: type the cluster's name.",
                cure.does, cure.cost, cure.risk
            );
            let hint = incident.plan.as_ref().map_or_else(String::new, |plan| plan.cluster.clone());
            line(app, LinePurpose::Cure { cure: cure.id }, cure.title, prompt, hint);
        }
        By::People if cure.id != LOOK_AGAIN => {
            let lines = vec![(Emphasis::Plain, cure.does)];
            app.view.layers.push(Layer::Reader(Reader::text(cure.title, lines)));
        }
        By::Lifeboat | By::People => {
            let yes = if cure.by == By::People { "it is done: look again" } else { "do it" };
            let intent = Intent::Cure(cure.id.clone());
            confirm(app, &cure.title.clone(), body(&cure), yes, "not now", intent);
        }
    }
}

/// Asks for the cluster's name, once a directory was typed.
pub fn name_again(app: &mut App, cure: String, place: String) {
    let Some(incident) = &app.view.incident else { return };
    let prompt = format!(
        "The copy begins again in {place}. It changes what the gate was passed for: type the cluster's \
         name."
    );
    let hint = incident.plan.as_ref().map_or_else(String::new, |plan| plan.cluster.clone());
    line(app, LinePurpose::CureIn { cure, place }, "Go on there", prompt, hint);
}

fn body(cure: &Cure) -> Vec<String> {
    let mut body = vec![cure.does.clone()];
    if !cure.touches.is_empty() {
        let shown: Vec<&str> = cure.touches.iter().take(4).map(String::as_str).collect();
        let more = cure.touches.len().saturating_sub(shown.len());
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        body.push(format!("Touches: {}{more}.", shown.join(", ")));
    }
    body.push(format!("Costs: {}. Risk: {}.", cure.cost, cure.risk));
    body
}
