//! Handing the command or a task to somebody, and the answer. Owns who may be offered what and who
//! may answer; never changes a role: that is the configuration's.

use super::approval::{Rules, written};
use super::guard::refusal;
use super::peer;
use super::protocol::Command;
use crate::engine::explain::Explanation;
use crate::engine::incident::facts::{Actor, Role};
use crate::engine::incident::people::{self, thing};
use crate::engine::incident::{Event, Incident};
use nix::unistd::{User, geteuid};

/// What an offer, an answer or a taking of the command becomes in the journal.
///
/// # Errors
/// A refusal for whoever cannot be offered it, or was not.
pub(super) fn decided(
    rules: &Rules,
    incident: &Incident,
    actor: &Actor,
    command: &Command,
) -> Result<Event, Explanation> {
    match command {
        Command::HandOver { to, task, note } => {
            let to = to.trim();
            if to == actor.user {
                return Err(refusal("You have it already.", "Name somebody else."));
            }
            let needed = if task.is_some() { Role::Operator } else { Role::Commander };
            known(rules, to, needed, task.as_deref())?;
            let (to, task, note) = (to.to_owned(), task.clone(), note.trim().to_owned());
            Ok(Event::HandoverOffered { to, task, note })
        }
        Command::AnswerHandover { task, accept, reason } => {
            if incident.people.offer(&actor.user, task.as_deref()).is_none() {
                return Err(refusal(
                    format!("Nobody hands {} to {}.", thing(task.as_deref()), actor.user),
                    "The timeline says what was offered to whom.",
                ));
            }
            if *accept {
                return Ok(Event::HandoverAccepted { task: task.clone() });
            }
            written(reason)?;
            let (task, reason) = (task.clone(), reason.trim().to_owned());
            Ok(Event::HandoverDeclined { task, reason })
        }
        Command::TakeCommand { reason } => {
            if people::commands(incident, &actor.user) {
                return Err(refusal("You have the command already.", ""));
            }
            written(reason)?;
            Ok(Event::CommandTaken { reason: reason.trim().to_owned() })
        }
        Command::WriteStatusText { text } if text.trim().is_empty() => {
            Err(refusal("The text for people outside is empty.", "Write a sentence."))
        }
        Command::WriteStatusText { text } => {
            Ok(Event::StatusTextWritten { text: text.trim().to_owned() })
        }
        _ => Err(refusal("This hands nothing over.", "")),
    }
}

/// Somebody of this machine with the role that it takes.
fn known(rules: &Rules, to: &str, needed: Role, task: Option<&str>) -> Result<(), Explanation> {
    let user = User::from_name(to).ok().flatten().ok_or_else(|| {
        refusal(format!("This machine has no user \"{to}\"."), "Name an operating-system user.")
    })?;
    let role = peer::role(to, user.uid.as_raw(), geteuid().as_raw(), &rules.operators);
    if role.covers(needed) {
        return Ok(());
    }
    Err(refusal(
        format!("{to} is {} here and cannot take {}.", role.word(), thing(task)),
        format!("It takes somebody with the role {} in [[operators]].", needed.word()),
    ))
}
