//! `approve`: a second person reads the plan of an incident in plain words and says yes or no, from
//! their own login; the commander waives in an emergency. Reads and asks through the incident's
//! runner alone, which checks who asks: the journal need not be readable for this person.

use super::args::{Approve, Host};
use super::output;
use super::runtime;
use crate::app::dialer;
use crate::engine::config::{self, Config};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::far::{Far, Request};
use crate::engine::incident::Incident;
use crate::engine::incident::approval::{self, Fact, Standing};
use crate::engine::incident::store::Store;
use crate::engine::runner::client::Client;
use crate::engine::runner::protocol::Command;
use crate::engine::runner::spawn;
use crate::engine::signature::{self, Signed};
use jiff::Timestamp;
use serde::Serialize;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How long the runner may take to tell the incident's journal.
pub(super) const LIVE_LIMIT: Duration = Duration::from_secs(60);

/// What `--json` prints: what is to be approved, and how that stands.
#[derive(Debug, Serialize)]
struct Told<'a> {
    incident: &'a str,
    cluster: &'a str,
    plan_hash: Option<&'a str>,
    /// `not_needed`, `waiting`, `declined`, `approved`, `expired`, `waived`.
    approval: &'static str,
    /// Who approved, declined or waived.
    by: Option<&'a str>,
    until: Option<Timestamp>,
    why: &'a [String],
    may_approve: &'a [String],
    you: &'a str,
    sheet: Vec<Fact>,
}

pub(super) fn approve(
    path: Option<&Path>,
    host: Option<&Host>,
    asked: &Approve,
) -> Result<ExitCode, Explanation> {
    let door = Door::open(path, host)?;
    let runtime = runtime()?;
    let client = door.reach(asked.incident.as_deref(), runtime.handle())?;
    let incident = runtime.block_on(client.live(LIVE_LIMIT))?;
    let Some(plan) = incident.plan.as_ref() else {
        return Err(nothing(&format!("{} has no plan yet.", incident.declaration.id)));
    };
    let decided = asked.cluster.is_some() || asked.plan.is_some();
    if asked.json && !decided {
        told(&client, &incident)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !asked.json {
        show(&incident)?;
    }
    if asked.plan.as_ref().is_some_and(|read| *read != plan.hash) {
        return Err(refused(
            format!("The plan is now {}, not the one that was read.", plan.hash),
            "Read it again, then decide about that one.",
        ));
    }
    if matches!(standing(&incident), Standing::NotNeeded) {
        return Err(nothing("No rule asks for an approval of this plan."));
    }
    if asked.waive.is_none() {
        approval::is_second(&incident, &client.you().user)?;
    }
    let typed = match &asked.cluster {
        Some(cluster) => cluster.clone(),
        None => ask(asked)?,
    };
    if typed != plan.cluster {
        return Err(refused(
            format!("You typed \"{typed}\", which is not the cluster of this plan."),
            "Type the cluster's name exactly as it is shown.",
        ));
    }
    let plan_hash = plan.hash.clone();
    let command = match (&asked.decline, &asked.waive) {
        (Some(reason), _) => Command::DeclineApproval { plan_hash, reason: reason.clone() },
        (None, Some(reason)) => Command::WaiveApproval { plan_hash, reason: reason.clone() },
        (None, None) => {
            let signed = signed(asked, &incident, &plan_hash, &client.you().user)?;
            Command::Approve { plan_hash, cluster: typed, signed }
        }
    };
    runtime.block_on(client.request(command))?;
    let incident = runtime.block_on(client.live(LIVE_LIMIT))?;
    if asked.json {
        told(&client, &incident)?;
    } else {
        output::line(&standing_line(&incident))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The approval signed with the person's key, where they named one.
fn signed(
    asked: &Approve,
    incident: &Incident,
    plan_hash: &str,
    user: &str,
) -> Result<Option<Signed>, Explanation> {
    let Some(key) = &asked.key else { return Ok(None) };
    let declaration = &incident.declaration;
    let lines = signature::approval(&declaration.id, &declaration.cluster, plan_hash, user);
    let text = signature::text(&lines, Timestamp::now());
    signature::sign(key, signature::APPROVAL, text).map(Some).map_err(|e| e.explanation())
}

/// The way to the runners: those of this machine, or of another behind ssh.
#[derive(Debug)]
pub(super) enum Door {
    Here(Box<Config>),
    Far(Box<Far>),
}

impl Door {
    /// Keys and passwords are not this person's business, and need not be readable for them.
    pub(super) fn open(path: Option<&Path>, host: Option<&Host>) -> Result<Self, Explanation> {
        match host {
            Some(host) => {
                Far::open(&host.name, &host.program, path).map(|far| Self::Far(Box::new(far)))
            }
            None => {
                let config = config::load_for_server(path).map_err(|e| e.explanation())?;
                Ok(Self::Here(Box::new(config)))
            }
        }
    }

    fn socket(&self, id: &str) -> Result<PathBuf, Explanation> {
        match self {
            Self::Here(config) => {
                let store = Store::new(&config.state_directory());
                let folder = store.folder(id).map_err(|e| e.explanation())?;
                spawn::ensure_runner(&config.path, &folder).map_err(|e| e.explanation())
            }
            Self::Far(far) => {
                let incident = id.to_owned();
                far.forward(&far.ask::<PathBuf>(&Request::Attach { incident })?)
            }
        }
    }

    fn sockets(&self) -> Result<Vec<PathBuf>, Explanation> {
        match self {
            Self::Here(config) => Ok(dialer::sockets(&Store::new(&config.state_directory()))),
            Self::Far(far) => {
                let there: Vec<PathBuf> = far.ask(&Request::Sockets)?;
                there.iter().map(|socket| far.forward(socket)).collect()
            }
        }
    }

    /// The runner of the named incident, or of the only one whose plan waits for an approval.
    pub(super) fn reach(
        &self,
        named: Option<&str>,
        runtime: &Handle,
    ) -> Result<Client, Explanation> {
        if let Some(id) = named {
            let socket = self.socket(id)?;
            return Client::connect_blocking(runtime, &socket).map_err(|e| e.explanation());
        }
        let mut waiting = Vec::new();
        for socket in self.sockets()? {
            let Ok(client) = Client::connect_blocking(runtime, &socket) else { continue };
            let Ok(incident) = runtime.block_on(client.live(LIVE_LIMIT)) else { continue };
            if matches!(standing(&incident), Standing::Waiting { .. } | Standing::Expired { .. }) {
                waiting.push(client);
            }
        }
        match (waiting.pop(), waiting.as_slice()) {
            (Some(only), []) => Ok(only),
            (None, _) => Err(nothing("No plan on that machine waits for an approval.")),
            (Some(one), others) => {
                let ids: Vec<_> = others.iter().chain([&one]).map(Client::incident_id).collect();
                Err(refused(
                    format!("{} plans wait for an approval.", ids.len()),
                    &format!("Say which: lifeboat approve {}", ids.join(", or ")),
                ))
            }
        }
    }
}

fn standing(incident: &Incident) -> Standing<'_> {
    approval::standing(incident, Timestamp::now())
}

fn show(incident: &Incident) -> Result<(), Explanation> {
    for fact in approval::sheet(incident) {
        output::line(&format!("{:<14}{}", fact.name, fact.text))?;
    }
    output::line("")?;
    output::line(&standing_line(incident))
}

fn standing_line(incident: &Incident) -> String {
    let at = |at: Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    match standing(incident) {
        Standing::NotNeeded => String::from("No approval is needed."),
        Standing::Waiting { asked, declined: None } => format!(
            "Waits for an approval since {} ({}); {} may give it.",
            at(asked.at),
            asked.what.why.join(", "),
            approval::who_may(&asked.what)
        ),
        Standing::Waiting { declined: Some(no), .. } => {
            format!("Not approved by {} at {}: {}", no.by, at(no.at), no.what.reason)
        }
        Standing::Given(given) => {
            let signed = given.what.signed.as_ref();
            let signed = signed.map_or_else(String::new, |kept| {
                format!(" The signature: {}.", kept.when_taken.told())
            });
            format!("Approved by {}; it counts until {}.{signed}", given.by, at(given.what.until))
        }
        Standing::Expired { given, .. } => {
            format!("The approval by {} is over since {}.", given.by, at(given.what.until))
        }
        Standing::Waived(waived) => {
            format!("WAIVED by {} at {}: {}", waived.by, at(waived.at), waived.what.reason)
        }
    }
}

fn told(client: &Client, incident: &Arc<Incident>) -> Result<(), Explanation> {
    let (word, by, until) = match standing(incident) {
        Standing::NotNeeded => ("not_needed", None, None),
        Standing::Waiting { declined: None, .. } => ("waiting", None, None),
        Standing::Waiting { declined: Some(no), .. } => ("declined", Some(&no.by), None),
        Standing::Given(given) => ("approved", Some(&given.by), Some(given.what.until)),
        Standing::Expired { given, .. } => ("expired", Some(&given.by), Some(given.what.until)),
        Standing::Waived(waived) => ("waived", Some(&waived.by), None),
    };
    let hash = incident.plan.as_ref().map(|plan| plan.hash.as_str());
    let asked = incident.approvals.asked.iter().rev();
    let asked = asked.map(|one| &one.what).find(|one| Some(one.plan_hash.as_str()) == hash);
    output::json(&Told {
        incident: &incident.declaration.id,
        cluster: &incident.declaration.cluster,
        plan_hash: hash,
        approval: word,
        by: by.map(String::as_str),
        until,
        why: asked.map_or(&[], |asked| &asked.why),
        may_approve: asked.map_or(&[], |asked| &asked.may),
        you: &client.you().user,
        sheet: approval::sheet(incident),
    })
}

fn ask(asked: &Approve) -> Result<String, Explanation> {
    let what = match (&asked.decline, &asked.waive) {
        (Some(_), _) => "To say no to this plan",
        (None, Some(_)) => "To go on WITHOUT a second person",
        (None, None) => "To approve this plan",
    };
    output::line(&format!("{what}, type the cluster's name (nothing leaves it as it is):"))?;
    let mut typed = String::new();
    let read = std::io::stdin().lock().read_line(&mut typed);
    if read.is_err() || typed.trim().is_empty() {
        return Err(Explanation::new(
            Kind::Cancelled,
            "Nothing was typed.",
            "Nothing was approved, declined or waived.",
            "",
        ));
    }
    Ok(typed.trim().to_owned())
}

fn nothing(what: &str) -> Explanation {
    Explanation::new(Kind::NotFound, what, "Nothing was changed.", "")
}

fn refused(what: String, next: &str) -> Explanation {
    Explanation::new(Kind::Refused, what, "Nothing was changed.", next)
}
