//! The safety list's keys: run a line, read what it found, agree to what it proposes. What changes
//! anything goes through a question whose default is no, and shows exactly what is done.

use super::super::model::{App, Effect};
use super::asking;
use super::{notice, plain};
use crate::engine::aftercare;
use crate::engine::incident::facts::Verdict;
use crate::engine::runner::protocol::Command;
use crate::screens::checklist;
use crate::screens::commands;
use crate::screens::escalation;
use crate::screens::layers::{Emphasis, Intent, Layer, LinePurpose, Pick, Reader};
use tui_input::Input;

/// Proposals that a question shows one by one.
const SHOWN: usize = 8;

pub fn run(app: &mut App) -> Vec<Effect> {
    let Some(item) = checklist::selected_item(&app.view) else { return Vec::new() };
    let command = Command::RunCare { item: item.id.to_owned(), agreed: Vec::new() };
    plain(app, command, "looking")
}

/// Offers what is proposed: all at once, or one of them where they are answers to a question.
pub fn agree(app: &mut App) {
    let Some(item) = checklist::selected_item(&app.view) else { return };
    let needed = aftercare::role(item.id, true);
    if app.view.may(needed).is_err() {
        let who = commands::who(needed);
        notice(app, format!("To agree to that is for the {who}."), true);
        return;
    }
    let proposals = checklist::proposals(&app.view).to_vec();
    let keys: Vec<String> = proposals.iter().map(|proposal| proposal.key.clone()).collect();
    if proposals.len() == 1 {
        confirm(app, item.id, keys);
        return;
    }
    let mut options = Vec::new();
    if proposals.iter().all(|proposal| proposal.group.is_none()) {
        let pick = Pick::Care { item: item.id, agreed: keys };
        options.push((
            pick,
            format!("All {}", proposals.len()),
            String::from("One after another."),
        ));
    }
    for proposal in proposals {
        let pick = Pick::Care { item: item.id, agreed: vec![proposal.key.clone()] };
        options.push((pick, proposal.key, proposal.text));
    }
    asking::choice(app, "What is to be done?", item.title.to_owned(), options);
}

/// Asks for the last word, with the statements.
pub fn confirm(app: &mut App, item: &'static str, agreed: Vec<String>) {
    let proposals = checklist::proposals(&app.view);
    let chosen: Vec<String> = proposals
        .iter()
        .filter(|proposal| agreed.contains(&proposal.key))
        .map(|proposal| proposal.text.clone())
        .collect();
    let more = chosen.len().saturating_sub(SHOWN);
    let mut body: Vec<String> = chosen.into_iter().take(SHOWN).collect();
    if more > 0 {
        body.push(format!("and {more} more of the same kind; d shows all"));
    }
    let title = "Carry this out on the recovered server?";
    asking::confirm(app, title, body, "do it", "leave it", Intent::Care { item, agreed });
}

/// Has Lifeboat prove the selected line.
pub fn prove(app: &mut App) -> Vec<Effect> {
    let Some(item) = checklist::selected(&app.view) else { return Vec::new() };
    plain(app, Command::Prove { line: item.id.clone() }, crate::screens::available::PROVING)
}

/// Answers for the level of the ladder that was called.
pub fn acknowledge(app: &mut App) -> Vec<Effect> {
    let incident = app.view.incident.as_ref();
    let Some(raised) = incident.and_then(escalation::unanswered) else { return Vec::new() };
    let level = raised.raise.level.clone();
    plain(app, Command::Acknowledge { level }, "answering")
}

pub fn details(app: &mut App) {
    let Some(item) = checklist::selected_item(&app.view) else { return };
    let Some(care) = checklist::selected_care(&app.view) else { return };
    let Some(last) = &care.last else { return };
    let mut lines = Vec::new();
    for check in &last.checks {
        let emphasis = match check.verdict {
            Verdict::Verified => Emphasis::Good,
            Verdict::Failed => Emphasis::Bad,
            _ => Emphasis::Heading,
        };
        lines.push((emphasis, format!("{}: {}", check.verdict.word(), check.title)));
        for (name, value) in [("expected", &check.expected), ("found", &check.found)] {
            if let Some(value) = value {
                lines.push((Emphasis::Plain, format!("  {name}: {value}")));
            }
        }
        lines.push((Emphasis::Dim, format!("  {}", check.detail)));
    }
    if !care.proposals().is_empty() {
        lines.push((Emphasis::Heading, String::from("Proposed (y)")));
        lines.extend(care.proposals().iter().map(|p| (Emphasis::Plain, format!("  {}", p.text))));
    }
    app.view.layers.push(Layer::Reader(Reader::text(item.title, lines)));
}

pub fn waive(app: &mut App) {
    let Some(item) = checklist::selected(&app.view) else { return };
    let (id, text) = (item.id.clone(), item.text.clone());
    let prompt = format!("{text}. Why will it not be done? It stands out in the report.");
    let hint = "For example: this cluster has no standby";
    asking::line(app, LinePurpose::Waive { item: id }, "Waive", prompt, hint);
}

pub fn give(app: &mut App) {
    let Some(item) = checklist::selected(&app.view) else { return };
    let (id, text) = (item.id.clone(), item.text.clone());
    let owner = app.view.incident.as_ref().and_then(|i| i.owners.get(&id).cloned());
    let prompt = format!("{text}. Whose task is it?");
    asking::line(app, LinePurpose::Assign { item: id }, "Give to", prompt, "A name or a team");
    if let (Some(owner), Some(Layer::Line(line))) = (owner, app.view.layers.last_mut()) {
        line.input = Input::new(owner);
    }
}
