//! What the screens say about people: who is there, who has the command, what is handed to whom,
//! how the approval of the plan stands. Owns these words alone; the facts are the incident's, and
//! who is there the runner's word.

use super::commands::Id;
use super::layers::Emphasis;
use super::text;
use super::theme::Ink;
use super::view::View;
use crate::engine::incident::Incident;
use crate::engine::incident::approval::{self, Asked, By, Standing};
use crate::engine::incident::facts::Role;
use crate::engine::incident::people::{Offer, commands, thing};
use crate::engine::runner::protocol::Present;

/// Whether the plan waits for a word of a second person.
#[must_use]
pub fn waits(view: &View, incident: &Incident) -> bool {
    matches!(
        approval::standing(incident, view.now),
        Standing::Waiting { .. } | Standing::Expired { .. }
    )
}

/// Whether the person at this screen could be the second one.
#[must_use]
pub fn may_approve(view: &View, incident: &Incident) -> bool {
    let user = view.you.as_ref().map_or("", |you| you.user.as_str());
    waits(view, incident) && approval::is_second(incident, user).is_ok()
}

/// How the approval stands, for the gate: a name and its lines.
#[must_use]
pub fn approval(view: &View, incident: &Incident) -> Vec<(&'static str, String, Ink)> {
    let until = |at| format!("until {}", text::when(at, view.now));
    match approval::standing(incident, view.now) {
        Standing::NotNeeded => Vec::new(),
        Standing::Given(given) => {
            let words = format!("given by {}, counts {}", given.by, until(given.what.until));
            vec![("approval", words, Ink::Good)]
        }
        Standing::Waived(waived) => {
            let words = format!("! WAIVED by {}: {}", waived.by, waived.what.reason);
            vec![("approval", words, Ink::Bad)]
        }
        Standing::Expired { asked, given } => {
            let words =
                format!("! by {}, over since {}", given.by, text::when(given.what.until, view.now));
            let mut lines = vec![("approval", words, Ink::Attention)];
            lines.extend(wanted(incident, asked));
            lines
        }
        Standing::Waiting { asked, declined } => {
            let since = text::ago(asked.at, view.now);
            let words =
                format!("! waits for somebody else, asked {since} ({})", asked.what.why.join(", "));
            let mut lines = vec![("approval", words, Ink::Attention)];
            if let Some(no) = declined {
                lines.push(("", format!("{} said no: {}", no.by, no.what.reason), Ink::Bad));
            }
            lines.extend(wanted(incident, asked));
            lines
        }
    }
}

fn wanted(incident: &Incident, asked: &By<Asked>) -> Vec<(&'static str, String, Ink)> {
    let who = approval::who_may(&asked.what);
    if asked.what.may.is_empty() {
        return vec![("", format!("{who}; W goes on without, in an emergency"), Ink::Bad)];
    }
    vec![("", format!("{who} types: {}", approval::command(incident)), Ink::Strong)]
}

/// What to do about an approval that is wanted: the words, and the key.
#[must_use]
pub fn guide(view: &View, incident: &Incident) -> Option<(String, Id)> {
    let (asked, said) = match approval::standing(incident, view.now) {
        Standing::Waiting { asked, declined } => {
            let said = declined.map_or_else(String::new, |no| {
                format!("{} said no: {} ", no.by, text::clean(&no.what.reason))
            });
            (asked, said)
        }
        Standing::Expired { asked, given } => {
            (asked, format!("The approval by {} is over. ", given.by))
        }
        _ => return None,
    };
    if may_approve(view, incident) && view.may(Role::Approver).is_ok() {
        let who = incident.approvals.planned_by.as_deref().unwrap_or("somebody");
        return Some((
            format!("{said}{who} asks you to approve this plan. Read it first."),
            Id::ApprovePlan,
        ));
    }
    let since = text::ago(asked.at, view.now);
    let words = match asked.what.may.as_slice() {
        [] => format!(
            "{said}Needs an approval, and nobody else is configured for it. W goes on without."
        ),
        _ => format!(
            "{said}Asked {since}: an approval by {} is waited for. They type: {}",
            approval::who_may(&asked.what),
            approval::command(incident)
        ),
    };
    Some((words, Id::OpenGate))
}

/// What is handed to the person at this screen.
#[must_use]
pub fn offered<'a>(view: &View, incident: &'a Incident) -> Option<&'a Offer> {
    incident.people.offered_to(&view.you.as_ref()?.user)
}

/// Whether somebody else has the command, and this commander could take it.
#[must_use]
pub fn may_take(view: &View, incident: &Incident) -> bool {
    let user = view.you.as_ref().map_or("", |you| you.user.as_str());
    view.role() == Role::Commander && !commands(incident, user)
}

/// The others at a screen, for the header: names and roles as far as there is room, else a number.
#[must_use]
pub fn others(view: &View, room: usize) -> String {
    let user = view.you.as_ref().map_or("", |you| you.user.as_str());
    let others: Vec<_> = view.present.iter().filter(|one| one.user != user).collect();
    let told = |one: &&Present| format!("{} ({})", text::clean(&one.user), one.role.word());
    let whole = others.iter().map(told).collect::<Vec<_>>().join(", ");
    match others.len() {
        0 => String::new(),
        _ if text::width(&whole) + 6 <= room => format!("with {whole}"),
        many => format!("+{many}"),
    }
}

/// The people's page: who is there, who has the command, what waits for whom.
#[must_use]
pub fn page(view: &View) -> Vec<(Emphasis, String)> {
    let mut lines = vec![(Emphasis::Heading, String::from("At a screen now"))];
    if view.present.is_empty() {
        let words = "Nobody is known to be; the runner tells it when connected.";
        lines.push((Emphasis::Dim, words.to_owned()));
    }
    for one in &view.present {
        let you = view.you.as_ref().is_some_and(|you| you.user == one.user);
        let you = if you { ", you" } else { "" };
        let more =
            if one.screens > 1 { format!(", {} screens", one.screens) } else { String::new() };
        let since = text::ago(one.since, view.now);
        let (user, role) = (text::clean(&one.user), one.role.word());
        lines.push((Emphasis::Plain, format!("{user} ({role}{you}{more}), came {since}")));
    }
    if let Some(incident) = &view.incident {
        of_incident(view, incident, &mut lines);
    }
    lines.push((Emphasis::Plain, String::new()));
    lines.push((Emphasis::Heading, String::from("Who does what")));
    for role in Role::ALL {
        lines.push((Emphasis::Dim, format!("{}: {}", role.word(), does(role))));
    }
    lines
}

fn of_incident(view: &View, incident: &Incident, lines: &mut Vec<(Emphasis, String)>) {
    let heading = |lines: &mut Vec<(Emphasis, String)>, words: &str| {
        lines.push((Emphasis::Plain, String::new()));
        lines.push((Emphasis::Heading, words.to_owned()));
    };
    heading(lines, "The command");
    let command = match &incident.people.command {
        Some((holder, since)) => {
            format!("{} has it since {}.", text::clean(holder), text::when(*since, view.now))
        }
        None => String::from("It was not handed over: whoever is commander decides."),
    };
    lines.push((Emphasis::Plain, command));
    for offer in &incident.people.offers {
        let note = if offer.note.is_empty() { String::new() } else { format!(" ({})", offer.note) };
        let words = format!(
            "{} hands {} to {} since {}{note}; no answer yet.",
            offer.by,
            thing(offer.task.as_deref()),
            offer.to,
            text::when(offer.at, view.now),
        );
        lines.push((Emphasis::Plain, text::clean(&words)));
    }
    let approval = approval(view, incident);
    if !approval.is_empty() {
        heading(lines, "Approval of the plan");
        for (_, words, ink) in approval {
            let emphasis = if ink == Ink::Bad { Emphasis::Bad } else { Emphasis::Plain };
            lines.push((emphasis, text::clean(&words)));
        }
    }
    if let Some((words, by, at)) = &incident.people.status_text {
        heading(lines, "For people outside");
        let words = format!("{words} ({by}, {})", text::when(*at, view.now));
        lines.push((Emphasis::Plain, text::clean(&words)));
    }
}

/// What a role does, in a line.
#[must_use]
pub fn does(role: Role) -> &'static str {
    match role {
        Role::Commander => "decides: point, plan, gate, run, promote; hands tasks out",
        Role::Operator => "assesses, answers, verifies, validates, signs the checklist",
        Role::Communications => "writes the text for people outside, and notes",
        Role::Scribe => "keeps the notes",
        Role::Approver => "approves plans that others made, and notes",
        Role::Observer => "sees everything, changes nothing",
    }
}
