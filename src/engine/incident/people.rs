//! Who has the command, what is being handed to whom, and the words for people outside, as facts.
//! Owns the values and who may do what by them; who somebody is, is the kernel's word, and which
//! role they have the configuration's.

use super::facts::{Actor, Role};
use super::model::Incident;
use jiff::Timestamp;
use serde::Serialize;

/// Something that one person offers to another and that other has not answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Offer {
    pub to: String,
    /// A line of the checklist; the command itself where absent.
    pub task: Option<String>,
    pub note: String,
    pub by: String,
    pub at: Timestamp,
}

/// The people's part of an incident.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct People {
    /// Who has the command, and since when. Before the first handover every commander has it.
    pub command: Option<(String, Timestamp)>,
    /// What waits for an answer.
    pub offers: Vec<Offer>,
    /// What was last written for people outside: text, by whom, when.
    pub status_text: Option<(String, String, Timestamp)>,
}

impl People {
    /// The offer of that thing to that person.
    #[must_use]
    pub fn offer(&self, to: &str, task: Option<&str>) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.to == to && offer.task.as_deref() == task)
    }

    /// The oldest offer to that person.
    #[must_use]
    pub fn offered_to(&self, user: &str) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.to == user)
    }

    /// One thing is offered to one person: a later offer of it takes the place of an earlier.
    pub(super) fn offered(&mut self, offer: Offer) {
        self.offers.retain(|open| open.task != offer.task);
        self.offers.push(offer);
    }

    /// Takes an answered offer away.
    pub(super) fn answered(&mut self, to: &str, task: Option<&str>) {
        self.offers.retain(|open| open.to != to || open.task.as_deref() != task);
    }
}

/// Whether somebody has the command: the one to whom it was handed, or every commander before that.
#[must_use]
pub fn commands(incident: &Incident, user: &str) -> bool {
    incident.people.command.as_ref().is_none_or(|(holder, _)| holder == user)
}

/// Whether somebody may do what needs that role.
///
/// # Errors
/// Why not, in words for a sentence.
pub fn may(incident: Option<&Incident>, actor: &Actor, needed: Role) -> Result<(), String> {
    if !actor.role.covers(needed) {
        let (own, needed) = (actor.role.word(), needed.word());
        return Err(format!("{} is {own} here, this needs {needed}", actor.user));
    }
    match incident.and_then(|incident| incident.people.command.as_ref()) {
        Some((holder, _)) if needed == Role::Commander && *holder != actor.user => {
            Err(format!("{holder} has the command, not {}", actor.user))
        }
        _ => Ok(()),
    }
}

/// What is handed over, in words.
#[must_use]
pub fn thing(task: Option<&str>) -> String {
    task.map_or_else(|| String::from("the command"), |line| format!("the task \"{line}\""))
}
