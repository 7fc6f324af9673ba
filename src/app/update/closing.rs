//! The checklist's lines that a person answers for, and the incident's end. Proposes Lifeboat's own
//! evidence to agree to or to write over; never signs by itself.

use super::super::model::App;
use super::asking::line;
use super::notice;
use crate::engine::checklist::{Checklist, LATER_WRITES};
use crate::engine::incident::facts::Verdict;
use crate::engine::incident::salvage::Salvage;
use crate::screens::checklist;
use crate::screens::layers::{Layer, LinePurpose};
use tui_input::Input;

pub fn sign(app: &mut App) {
    let Some(item) = checklist::selected(&app.view) else { return };
    let (id, text, hint) = (item.id.clone(), item.text.clone(), item.hint.clone());
    let proposal = app.view.incident.as_ref().and_then(|incident| {
        let list = Checklist::of(incident, &app.view.runbook, app.view.now);
        let proposal = list.line(&id)?.proposal.clone()?;
        // What came back of what was left behind is worth saying where something stays lost, too.
        let some = id == LATER_WRITES && incident.salvages.iter().any(Salvage::has_carried);
        (some || proposal.verdict == Verdict::Verified).then_some(proposal.text)
    });
    let prompt = match &proposal {
        // Whole: the line below shows as much of it as fits.
        Some(seen) => format!("{text}. Signed in your name: {}.", seen.trim_end_matches('.')),
        None => format!("{text}. What did you see? It is signed in your name."),
    };
    line(app, LinePurpose::Sign { item: id }, "Sign", prompt, hint);
    if let (Some(text), Some(Layer::Line(l))) = (proposal, app.view.layers.last_mut()) {
        // Lifeboat's own evidence, for the person to agree to or to write over.
        l.input = Input::new(text);
    }
}

pub fn reopen(app: &mut App) {
    let Some(item) = checklist::selected(&app.view) else { return };
    let (id, prompt) =
        (item.id.clone(), format!("{}. Why is the signature taken back?", item.text));
    line(app, LinePurpose::Reopen { item: id }, "Reopen", prompt, "");
}

pub fn close(app: &mut App) {
    let Some(incident) = &app.view.incident else { return };
    let list = Checklist::of(incident, &app.view.runbook, app.view.now);
    if let Err(refused) = list.may_close() {
        notice(app, refused.what, true);
        return;
    }
    let prompt = "A last sentence: how did it end? Nothing can be changed after this.";
    line(app, LinePurpose::Close, "Close the incident", prompt, "");
}
