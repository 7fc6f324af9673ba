//! `handover`: hands the command or a task to somebody, answers, takes the command, and writes the
//! words for people outside, without a screen. What may be done by whom is the runner's to say.

use super::approve::{Door, LIVE_LIMIT};
use super::args::{Handover, Host};
use super::{output, runtime};
use crate::engine::explain::Explanation;
use crate::engine::incident::people::thing;
use crate::engine::runner::protocol::Command;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn handover(
    path: Option<&Path>,
    host: Option<&Host>,
    asked: &Handover,
) -> Result<ExitCode, Explanation> {
    let task = asked.task.clone();
    let command = match (&asked.to, &asked.decline, &asked.take) {
        (Some(to), ..) => Some(Command::HandOver {
            to: to.clone(),
            task,
            note: asked.note.clone().unwrap_or_default(),
        }),
        (None, Some(reason), _) => {
            Some(Command::AnswerHandover { task, accept: false, reason: reason.clone() })
        }
        (None, None, Some(reason)) => Some(Command::TakeCommand { reason: reason.clone() }),
        (None, None, None) if asked.accept => {
            Some(Command::AnswerHandover { task, accept: true, reason: String::new() })
        }
        (None, None, None) => None,
    };
    ask(path, host, &asked.incident, command)
}

/// Writes the words for people outside.
pub(super) fn say(
    path: Option<&Path>,
    host: Option<&Host>,
    incident: &str,
    text: &str,
) -> Result<ExitCode, Explanation> {
    ask(path, host, incident, Some(Command::WriteStatusText { text: text.to_owned() }))
}

fn ask(
    path: Option<&Path>,
    host: Option<&Host>,
    incident: &str,
    command: Option<Command>,
) -> Result<ExitCode, Explanation> {
    let door = Door::open(path, host)?;
    let runtime = runtime()?;
    let client = door.reach(Some(incident), runtime.handle())?;
    runtime.block_on(client.live(LIVE_LIMIT))?;
    if let Some(command) = command {
        runtime.block_on(client.request(command))?;
    }
    let incident = runtime.block_on(client.live(LIVE_LIMIT))?;
    let people = &incident.people;
    output::line(&match &people.command {
        Some((holder, since)) => format!("{holder} has the command since {since:.0}."),
        None => String::from("The command was not handed over: whoever is commander decides."),
    })?;
    for offer in &people.offers {
        let thing = thing(offer.task.as_deref());
        let (by, to) = (&offer.by, &offer.to);
        output::line(&format!("{by} hands {thing} to {to} since {:.0}; no answer yet.", offer.at))?;
    }
    if let Some((text, by, at)) = &people.status_text {
        output::line(&format!("For people outside ({by}, {at:.0}): {text}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
