//! `checklist`: an incident's checklist from any later day. Reads the journal for showing; what
//! changes anything is asked of the incident's runner, which checks who asks.

use super::args::{Checklist as Asked, ChecklistAct};
use super::output::{self, Bar};
use super::runtime;
use crate::engine::checklist::{Checklist, Line, State};
use crate::engine::config::Config;
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
use sha2::{Digest, Sha256};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// The exit code where something is not VERIFIED or not settled, as `status` has it.
const PROBLEM: u8 = 12;
/// How long the runner may take to tell the incident's journal.
const LIVE_LIMIT: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Characters of a command's output that are signed.
const OUTPUT: usize = 2_000;

pub(super) fn checklist(config: &Config, asked: &Asked) -> Result<ExitCode, Explanation> {
    let store = Store::new(&config.state_directory());
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let id = &asked.incident;
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
            let evidence = gathered(evidence.as_deref(), file.as_deref(), command.as_deref())?;
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

/// The evidence as the text that is signed: what was seen, a file by its digest, a command by how
/// it ended and what it said.
fn gathered(
    text: Option<&str>,
    file: Option<&Path>,
    command: Option<&str>,
) -> Result<String, Explanation> {
    let mut parts: Vec<String> = text.map(str::to_owned).into_iter().collect();
    if let Some(path) = file {
        let content = std::fs::read(path).map_err(|error| {
            Explanation::new(
                Kind::Storage,
                format!("{} could not be read: {error}.", path.display()),
                "Nothing was signed.",
                "Name a file that you can read.",
            )
        })?;
        let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(&content));
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        parts.push(format!("file {} ({} bytes, sha256 {digest})", path.display(), content.len()));
    }
    if let Some(command) = command {
        parts.push(said(command)?);
    }
    if parts.iter().all(|part| part.trim().is_empty()) {
        return Err(Explanation::new(
            Kind::Refused,
            "A line is not signed without evidence.",
            "Nothing was signed.",
            "Say what you saw with --evidence, --file or --command.",
        ));
    }
    Ok(parts.join("; "))
}

/// Runs a command of the person's own. One that failed is no evidence.
fn said(command: &str) -> Result<String, Explanation> {
    let refused =
        |why: String, next: &str| Explanation::new(Kind::Refused, why, "Nothing was signed.", next);
    let ran = std::process::Command::new("sh")
        .args(["-c", command])
        .output()
        .map_err(|error| refused(format!("The command could not be run: {error}."), ""))?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    let digest = data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
    let shown: String = text.trim().chars().take(OUTPUT).collect();
    if !ran.status.success() {
        return Err(refused(
            format!("`{command}` did not end well ({}): {shown}", ran.status),
            "A failed command is no evidence that the line is done.",
        ));
    }
    Ok(format!("`{command}` ended well (output sha256 {digest}): {shown}"))
}

/// The link to the incident's runner.
struct Link {
    client: Client,
    runtime: tokio::runtime::Handle,
    bar: Bar,
}

impl Link {
    fn open(
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

    fn incident(&self) -> Result<Arc<Incident>, Explanation> {
        self.runtime.block_on(self.client.live(LIVE_LIMIT))
    }

    fn all_proposed(&self, item: &str) -> Vec<String> {
        let incident = self.client.incident();
        let state = incident.as_ref().and_then(|incident| incident.care.get(item));
        let proposals = state.map_or(&[][..], CareState::proposals);
        proposals.iter().map(|proposal| proposal.key.clone()).collect()
    }

    /// Asks, and shows how far it is until the answer is there.
    fn ask(&self, command: Command) -> Result<(), Explanation> {
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
