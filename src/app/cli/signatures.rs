//! `journal verify`: every signature in a journal, checked anew against the list of known keys and
//! against what the entry says. Owns the words; what is good, the engine says.

use super::output;
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::event::{Entry, Event};
use crate::engine::incident::facts::SignOff;
use crate::engine::incident::journal;
use crate::engine::signature::{self, Found, Signed};
use std::path::Path;
use std::process::ExitCode;

/// A signature does not count, though it is not bad.
const PROBLEM: u8 = 12;

pub(super) fn report(config: &Config, folder: &Path) -> Result<ExitCode, Explanation> {
    let entries = journal::read(folder).map_err(|e| e.explanation())?.entries;
    let Some(Event::IncidentDeclared(declaration)) = entries.first().map(|entry| &entry.event)
    else {
        return Ok(ExitCode::SUCCESS);
    };
    let (incident, cluster) = (&declaration.id, &declaration.cluster);
    let allowed = config.signatures.allowed_signers.as_deref();
    let (mut all, mut uncounted, mut bad, mut sign) = (0_u64, 0_u64, Vec::new(), None);
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
        all += 1;
        if matches!(found, Found::Bad(_)) {
            bad.push(entry.seq);
        }
        if !found.counts() {
            uncounted += 1;
        }
        output::line(&format!("entry {}: {what} by {user}: {}", entry.seq, found.told()))?;
    }
    if all == 0 {
        output::line("No signature with an SSH key is in it.")?;
    }
    if !bad.is_empty() {
        let named: Vec<_> = bad.iter().map(u64::to_string).collect();
        return Err(Explanation::new(
            Kind::Integrity,
            format!("Signatures do not fit what they stand for: entries {}.", named.join(", ")),
            "The journal was left as it is.",
            "Ask those people whether they signed, and compare with another copy of the journal.",
        ));
    }
    Ok(if uncounted == 0 { ExitCode::SUCCESS } else { ExitCode::from(PROBLEM) })
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
