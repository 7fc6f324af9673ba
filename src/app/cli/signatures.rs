//! `journal verify`: every signature in a journal, checked anew against the list of known keys and
//! against what the entry says. Owns the words; what is good, the engine says.

use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::event::{Entry, Event};
use crate::engine::incident::facts::SignOff;
use crate::engine::incident::journal;
use crate::engine::signature::{self, Found, Signed};
use serde::Serialize;
use std::path::Path;
use std::process::ExitCode;

/// A signature does not count, though it is not bad.
const PROBLEM: u8 = 12;

/// Every signature in a journal, and what is wrong with them.
#[derive(Debug, Default)]
pub(super) struct Signatures {
    pub(super) all: Vec<Signature>,
    /// Entries whose signature does not fit.
    bad: Vec<u64>,
}

/// One signature.
#[derive(Debug, Serialize)]
pub(super) struct Signature {
    entry: u64,
    by: String,
    what: String,
    found: String,
    /// Whether it is good, by a known key.
    counts: bool,
}

/// Checks all of them anew.
pub(super) fn check(config: &Config, folder: &Path) -> Result<Signatures, Explanation> {
    let entries = journal::read(folder).map_err(|e| e.explanation())?.entries;
    let mut checked = Signatures::default();
    let Some(Event::IncidentDeclared(declaration)) = entries.first().map(|entry| &entry.event)
    else {
        return Ok(checked);
    };
    let (incident, cluster) = (&declaration.id, &declaration.cluster);
    let allowed = config.signatures.allowed_signers.as_deref();
    let mut sign = None;
    for entry in &entries {
        let user = &entry.actor.user;
        if let Event::ChecklistSigned(own) = &entry.event {
            sign = Some((user, own));
        }
        let Some((signed, namespace, what, lines)) = of(entry, incident, cluster, sign) else {
            continue;
        };
        let found = match signature::is_about(signed, &lines, entry.at) {
            Ok(()) => signature::verify(signed, namespace, user, allowed, entry.at),
            Err(why) => Found::Bad(why),
        };
        if matches!(found, Found::Bad(_)) {
            checked.bad.push(entry.seq);
        }
        let (by, counts, found) = (user.clone(), found.counts(), found.told());
        checked.all.push(Signature { entry: entry.seq, by, what, found, counts });
    }
    Ok(checked)
}

impl Signatures {
    pub(super) fn lines(&self) -> Vec<String> {
        if self.all.is_empty() {
            return vec![String::from("No signature with an SSH key is in it.")];
        }
        let told = |one: &Signature| {
            format!("entry {}: {} by {}: {}", one.entry, one.what, one.by, one.found)
        };
        self.all.iter().map(told).collect()
    }

    /// How the command ends for them: an error for those that do not fit, else a code.
    pub(super) fn outcome(&self) -> Result<ExitCode, Explanation> {
        if !self.bad.is_empty() {
            let named: Vec<_> = self.bad.iter().map(u64::to_string).collect();
            return Err(Explanation::new(
                Kind::Integrity,
                format!("Signatures do not fit what they stand for: entries {}.", named.join(", ")),
                "The journal was left as it is.",
                "Ask those people whether they signed, and compare with another copy of the journal.",
            ));
        }
        let sound = self.all.iter().all(|one| one.counts);
        Ok(if sound { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) })
    }
}

/// The signature of an entry, what for, and the lines that had to be signed.
fn of<'a>(
    entry: &'a Entry,
    incident: &str,
    cluster: &str,
    sign: Option<(&String, &SignOff)>,
) -> Option<(&'a Signed, &'static str, String, Vec<String>)> {
    let user = &entry.actor.user;
    match &entry.event {
        Event::ApprovalGiven(given) => {
            let kept = given.signed.as_ref()?;
            let lines = signature::approval(incident, cluster, &given.plan_hash, user);
            let hash = given.plan_hash.get(..8).unwrap_or_default();
            Some((&kept.signed, signature::APPROVAL, format!("approval of plan {hash}"), lines))
        }
        Event::SignOffSigned { item, kept } => {
            // It is for the sign-off of that person and line right before it.
            let lines = sign
                .filter(|(by, own)| *by == user && own.item == *item)
                .map_or_else(Vec::new, |(_, own)| signature::sign_off(incident, own, user));
            Some((&kept.signed, signature::CHECKLIST, format!("checklist line {item}"), lines))
        }
        _ => None,
    }
}
