//! `escalation`: the ladder of one incident, who was called, and who answers. Reads the journal for
//! showing; an answer is asked of the incident's runner, which checks who gives it.

use super::args::Escalation as Asked;
use super::checklist::Link;
use super::{output, runtime};
use crate::engine::config::Config;
use crate::engine::escalation::Ladder;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::outlook::Outlook;
use crate::engine::incident::raised::Raised;
use crate::engine::incident::store::Store;
use crate::engine::runbook::Runbook;
use crate::engine::runner::protocol::Command;
use jiff::Timestamp;
use serde::Serialize;
use std::process::ExitCode;

/// A level as it is told.
#[derive(Debug, Serialize)]
struct Rung {
    level: String,
    who: String,
    /// When its time comes, if the database does not serve before.
    due: Option<Timestamp>,
    what: Vec<String>,
    contacts: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    called: Option<Raised>,
}

#[derive(Debug, Serialize)]
struct Told {
    incident: String,
    declared: Option<Timestamp>,
    serving: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outlook: Option<Outlook>,
    levels: Vec<Rung>,
    /// What is wrong with the configured contacts.
    warnings: Vec<String>,
}

pub(super) fn escalation(config: &Config, asked: &Asked) -> Result<ExitCode, Explanation> {
    let store = Store::new(&config.state_directory());
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let mut incident = store.load(&asked.incident).map_err(|e| e.explanation())?;
    if asked.acknowledge {
        let Some(raised) = incident.raised.last().filter(|one| one.acknowledged.is_none()) else {
            return Err(Explanation::new(
                Kind::Refused,
                "No level was called that nobody answers for.",
                "Nothing was changed.",
                format!("lifeboat escalation {} shows the ladder.", asked.incident),
            ));
        };
        let level = raised.raise.level.clone();
        let folder = store.folder(&asked.incident).map_err(|e| e.explanation())?;
        let runtime = runtime()?;
        let link = Link::open(config, &folder, runtime.handle(), true)?;
        link.ask(Command::Acknowledge { level })?;
        incident = (*link.incident()?).clone();
    }
    let now = Timestamp::now();
    let told = told(config, &runbook, &incident, now);
    if asked.json {
        output::json(&told)?;
    } else {
        lines(&told, now).iter().try_for_each(|line| output::line(line))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn told(config: &Config, runbook: &Runbook, incident: &Incident, now: Timestamp) -> Told {
    let ladder = Ladder::new(config, runbook, incident);
    let level = |level: &crate::engine::runbook::Level| Rung {
        level: level.id.clone(),
        who: level.who.clone(),
        due: ladder.due(level, incident),
        what: level.what.clone(),
        contacts: ladder.contacts(&level.id),
        called: incident.raised.iter().find(|one| one.raise.level == level.id).cloned(),
    };
    let known = |id: &String| ladder.levels().iter().any(|level| level.id == *id);
    let lost = config.escalation.contacts.iter().filter(|contact| !known(&contact.level));
    Told {
        incident: incident.declaration.id.clone(),
        declared: incident.clocks.declared,
        serving: incident.clocks.serving,
        outlook: Outlook::of(incident, ladder.rto_seconds(), None, now),
        levels: ladder.levels().iter().map(level).collect(),
        warnings: lost
            .map(|contact| {
                format!(
                    "{} is a contact of level \"{}\", which the runbook's ladder does not have: \
                     nobody will call them",
                    contact.name, contact.level
                )
            })
            .collect(),
    }
}

fn lines(told: &Told, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    match told.serving {
        Some(at) => lines.push(format!("Serving since {at:.0}: nobody is called any more.")),
        None => lines.extend(told.outlook.as_ref().and_then(|outlook| outlook.warning(now))),
    }
    for rung in &told.levels {
        let due = rung.due.map_or_else(String::new, |due| format!("from {due:.0}"));
        lines.push(format!("Level {}  {}  {due}", rung.level, rung.who));
        lines.extend(rung.contacts.iter().map(|contact| format!("         {contact}")));
        if rung.contacts.is_empty() {
            lines.push(String::from("         nobody is configured for it"));
        }
        let Some(called) = &rung.called else { continue };
        let times = match called.raise.times {
            0 | 1 => String::new(),
            times => format!(", {times} times, last {:.0}", called.last),
        };
        lines.push(format!("         called {:.0}{times}: {}", called.at, called.raise.why));
        lines.push(match &called.acknowledged {
            Some(by) => format!("         {} answers for it since {:.0}", by.by, by.at),
            None => String::from("         NOBODY ANSWERS FOR IT: --acknowledge does"),
        });
    }
    lines.extend(told.warnings.iter().map(|warning| format!("! {warning}")));
    lines
}
