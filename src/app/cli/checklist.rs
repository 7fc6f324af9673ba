//! `checklist`: an incident's checklist from any later day. Reads the journal for showing; what
//! changes anything is asked of the incident's runner, which checks who asks.

use super::args::{Checklist as Asked, ChecklistAct};
use super::output::{self, Bar};
use super::runtime;
use super::vigil;
use crate::engine::checklist::{Checklist, Line, State, reminder};
use crate::engine::config::Config;
use crate::engine::evidence;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::care::CareState;
use crate::engine::incident::facts::{SignOff, Verdict};
use crate::engine::incident::store::Store;
use crate::engine::runbook::Runbook;
use crate::engine::runner::client::Client;
use crate::engine::runner::protocol::Command;
use crate::engine::runner::spawn;
use crate::engine::signature;
use jiff::Timestamp;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The exit code where something is not VERIFIED or not settled, as `status` has it.
const PROBLEM: u8 = 12;
/// How long the runner may take to tell the incident's journal.
const LIVE_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn checklist(config: &Config, asked: &Asked) -> Result<ExitCode, Explanation> {
    let store = Store::new(&config.state_directory());
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    if asked.remind {
        return remind(config, &store, asked.incident.as_deref());
    }
    let Some(id) = &asked.incident else {
        return Err(Explanation::new(
            Kind::Config,
            "No incident is named.",
            "Nothing was changed.",
            "lifeboat incidents lists them.",
        ));
    };
    let Some(act) = &asked.act else {
        let incident = store.load(id).map_err(|e| e.explanation())?;
        return show(&incident, &runbook, asked.json);
    };
    let folder = store.folder(id).map_err(|e| e.explanation())?;
    let runtime = runtime()?;
    let link = Link::open(config, &folder, runtime.handle(), asked.json)?;
    match act {
        ChecklistAct::Run { item, agree, agree_all } => {
            let agreed = if *agree_all { link.all_proposed(item) } else { agree.clone() };
            link.ask(Command::RunCare { item: item.clone(), agreed })?;
            show_care(&*link.incident()?, item, asked.json)
        }
        other => {
            let command = command(other, &runbook)?;
            link.ask(signed(other, command, id, link.user())?)?;
            show(&*link.incident()?, &runbook, asked.json).map(|_| ExitCode::SUCCESS)
        }
    }
}

/// Reminds of what is due in one incident, or in each that is not closed. A runner is started only
/// where there is something to say; its messages follow from its journal.
fn remind(config: &Config, store: &Store, only: Option<&str>) -> Result<ExitCode, Explanation> {
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let listed = match only {
        Some(id) => vec![store.folder(id).map_err(|e| e.explanation())?],
        None => vigil::folders(store)?,
    };
    let runtime = runtime()?;
    let mut told = 0_usize;
    for folder in listed {
        let incident = vigil::incident(&folder)?;
        let due = reminder(&incident, &runbook, Timestamp::now());
        let Some(due) = due else { continue };
        let link = Link::open(config, &folder, runtime.handle(), true)?;
        link.ask(Command::Remind)?;
        told += due.soon.len() + due.overdue.len();
        let id = &incident.declaration.id;
        for (word, lines) in [("overdue", &due.overdue), ("due soon", &due.soon)] {
            lines.iter().try_for_each(|line| output::line(&format!("{id}  {word:8}  {line}")))?;
        }
    }
    if told == 0 {
        output::line("Nothing is due that nobody was reminded of.")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What is asked of the runner.
fn command(act: &ChecklistAct, runbook: &Runbook) -> Result<Command, Explanation> {
    let known = |line: &String| match runbook.checklist().iter().any(|item| item.id == *line) {
        true => Ok(line.clone()),
        false => Err(Explanation::new(
            Kind::NotFound,
            format!("The checklist has no line \"{line}\"."),
            "Nothing was changed.",
            "Its lines: lifeboat checklist INC-….",
        )),
    };
    Ok(match act {
        ChecklistAct::Sign { line, evidence, file, command, .. } => {
            let command = command.as_deref().map(|command| (command, evidence::From::Shell));
            let evidence = evidence::gather(evidence.as_deref(), file.as_deref(), command)?;
            Command::Sign(SignOff { item: known(line)?, done: true, evidence })
        }
        ChecklistAct::Reopen { line, reason } => {
            Command::Sign(SignOff { item: known(line)?, done: false, evidence: reason.clone() })
        }
        ChecklistAct::Waive { line, reason } => {
            Command::Waive { item: known(line)?, reason: reason.clone() }
        }
        ChecklistAct::Give { line, owner } => {
            Command::Assign { item: known(line)?, owner: owner.clone() }
        }
        ChecklistAct::Prove { line } => Command::Prove { line: known(line)? },
        ChecklistAct::Close { summary } => Command::Close { summary: summary.clone() },
        ChecklistAct::Run { item, .. } => {
            Command::RunCare { item: item.clone(), agreed: Vec::new() }
        }
    })
}

/// The same sign-off with the person's SSH key, where they named one.
fn signed(
    act: &ChecklistAct,
    command: Command,
    incident: &str,
    user: &str,
) -> Result<Command, Explanation> {
    match (act, command) {
        (ChecklistAct::Sign { key: Some(key), .. }, Command::Sign(sign)) => {
            let lines = signature::sign_off(incident, &sign, user);
            let text = signature::text(&lines, Timestamp::now());
            let signed = signature::sign(key, signature::CHECKLIST, text);
            let signed = signed.map_err(|e| e.explanation())?;
            Ok(Command::SignWith { sign, signed })
        }
        (_, command) => Ok(command),
    }
}

/// The link to the incident's runner.
pub(super) struct Link {
    client: Client,
    runtime: tokio::runtime::Handle,
    bar: Bar,
}

impl Link {
    pub(super) fn open(
        config: &Config,
        folder: &Path,
        runtime: &tokio::runtime::Handle,
        quiet: bool,
    ) -> Result<Self, Explanation> {
        let socket = spawn::ensure_runner(&config.path, folder).map_err(|e| e.explanation())?;
        let client = Client::connect_blocking(runtime, &socket).map_err(|e| e.explanation())?;
        runtime.block_on(client.live(LIVE_LIMIT))?;
        Ok(Self { client, runtime: runtime.clone(), bar: Bar::new(quiet) })
    }

    fn user(&self) -> &str {
        &self.client.you().user
    }

    pub(super) fn incident(&self) -> Result<Arc<Incident>, Explanation> {
        self.runtime.block_on(self.client.live(LIVE_LIMIT))
    }

    fn all_proposed(&self, item: &str) -> Vec<String> {
        let incident = self.client.incident();
        let state = incident.as_ref().and_then(|incident| incident.care.get(item));
        let proposals = state.map_or(&[][..], CareState::proposals);
        proposals.iter().map(|proposal| proposal.key.clone()).collect()
    }

    /// Asks, and shows how far it is until the answer is there.
    pub(super) fn ask(&self, command: Command) -> Result<(), Explanation> {
        let mut pending = self.client.submit(command);
        let answer = loop {
            if let Some(answer) = pending.try_answer() {
                break answer;
            }
            if let Some(progress) = self.client.progress() {
                self.bar.show(&progress);
            }
            std::thread::sleep(LOOK_EVERY);
        };
        self.bar.finish();
        answer.map(drop)
    }
}

fn show(incident: &Incident, runbook: &Runbook, json: bool) -> Result<ExitCode, Explanation> {
    let now = Timestamp::now();
    let list = Checklist::of(incident, runbook, now);
    if json {
        output::json(&list)?;
    } else {
        list.waivers.iter().try_for_each(|waiver| output::line(&format!("! {waiver}")))?;
        for part in &list.parts {
            let due = part.due.map_or_else(
                || String::from("from when the database serves again"),
                |due| format!("until {due:.0}"),
            );
            output::line(&format!("{} ({due})", part.title))?;
            part.lines.iter().try_for_each(|line| output::line(&told(line)))?;
        }
        let (open, overdue) = (list.open().count(), list.overdue().count());
        output::line(&format!("{open} open, {overdue} of them overdue"))?;
    }
    let settled = list.open().next().is_none();
    Ok(if settled { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) })
}

fn told(line: &Line) -> String {
    let (word, more) = match &line.state {
        State::Signed { by, at, evidence, late } => {
            let late = if *late { ", late" } else { "" };
            ("signed", format!("{by}, {at:.0}{late}: {evidence}"))
        }
        State::Waived { by, at, reason } => ("waived", format!("{by}, {at:.0}: {reason}")),
        State::Open | State::Overdue => {
            let proven = line.proposal.as_ref().map(|proposal| proposal.text.clone());
            let word = if line.state == State::Overdue { "OVERDUE" } else { "open" };
            (word, proven.unwrap_or_else(|| line.hint.clone()))
        }
    };
    let owner = line.owner.as_ref().map_or_else(String::new, |owner| format!(" [{owner}]"));
    format!("  {word:8} {:24} {}{owner}\n{:35}{more}", line.id, line.text, "")
}

fn show_care(incident: &Incident, item: &str, json: bool) -> Result<ExitCode, Explanation> {
    let state = incident.care.get(item).cloned().unwrap_or_default();
    let verdict = state.verdict();
    if json {
        output::json(&state)?;
    } else if let Some(care) = &state.last {
        for check in &care.checks {
            let found = check.found.as_ref().map_or_else(String::new, |found| format!(": {found}"));
            output::line(&format!("{:17} {}{found}", check.verdict.word(), check.title))?;
            output::line(&format!("{:17} {}", "", check.detail))?;
        }
        for proposal in state.proposals() {
            output::line(&format!("proposed          {}", proposal.text))?;
            output::line(&format!("{:17} --agree '{}'", "", proposal.key))?;
        }
    }
    Ok(if verdict == Verdict::Verified { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) })
}
