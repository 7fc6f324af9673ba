//! What was brought back of the writes that the recovery gave up, and what stays lost: one table for
//! every form of the report. Owns its value and its words; what was carried over is the journal's.

use super::block::Block;
use super::text::moment;
use super::{Report, SalvageLine, Salvaged};
use crate::engine::checklist::{LATER_WRITES, State};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::Verdict;
use crate::engine::incident::salvage::Salvage;

/// The heading in every form.
pub(super) const TITLE: &str = "Writes after the recovery point, brought back";
/// The header of [`rows`].
pub(super) const HEADER: [&str; 4] = ["When (UTC)", "Who", "What came of it", "Compared once more"];

/// `None` where the recovery has left nothing behind.
pub(super) fn of(incident: &Incident) -> Option<Salvaged> {
    if !incident.left_behind() && incident.salvages.is_empty() {
        return None;
    }
    let runs = incident.salvages.iter().map(|one| SalvageLine {
        begun: one.begun,
        ended: one.ended,
        by: one.by.clone(),
        kept: one.kept.clone(),
        carried: one.has_carried(),
        what: one.words(),
        rows: one.brought(),
        verdict: Verdict::of_all(one.checks.iter().map(|check| check.verdict)),
        checks: one.checks.clone(),
        notes: one.notes().to_vec(),
    });
    Some(Salvaged { runs: runs.collect(), left: incident.left(), left_in_words: left(incident) })
}

fn left(incident: &Incident) -> String {
    match incident.salvages.iter().any(Salvage::has_carried) {
        true => incident.left().words(),
        false => String::from("all of it: nothing was brought back"),
    }
}

/// A row a salvage, and one for what stays lost.
pub(super) fn rows(report: &Report) -> Option<Vec<Vec<String>>> {
    let salvaged = report.salvage.as_ref()?;
    let runs = salvaged.runs.iter().map(|run| {
        let notes: String = run.notes.iter().map(|note| format!(" {note}.")).collect();
        let proof = if run.carried { run.verdict.word() } else { "" };
        vec![moment(run.ended), run.by.clone(), format!("{}.{notes}", run.what), proof.to_owned()]
    });
    let left = vec![
        String::from("Not brought back"),
        String::new(),
        salvaged.left_in_words.clone(),
        String::new(),
    ];
    let settled = settled(report).map(|(when, who, what)| vec![when, who, what, String::new()]);
    Some(runs.chain([left]).chain(settled).collect())
}

/// Who has settled what is left, when, and how.
fn settled(report: &Report) -> Option<(String, String, String)> {
    match &report.checklist.line(LATER_WRITES)?.state {
        State::Waived { by, at, reason } => {
            Some((moment(*at), by.clone(), format!("Given up: {reason}")))
        }
        State::Signed { by, at, evidence, .. } => {
            Some((moment(*at), by.clone(), format!("Settled: {evidence}")))
        }
        State::Open | State::Overdue => None,
    }
}

/// The same as blocks, with its heading.
pub(super) fn blocks(report: &Report) -> Vec<Block> {
    let Some(rows) = rows(report) else { return Vec::new() };
    let [when, who, what, proof] = HEADER;
    let columns = [(when, 1.4), (who, 0.8), (what, 3.0), (proof, 1.0)];
    let open = settled(report).is_none();
    let mut all = vec![Block::heading(TITLE), Block::table(&columns, rows)];
    if open {
        all.push(Block::text(
            "Nobody has settled what is left: it is neither signed nor given up on the checklist.",
        ));
    }
    all
}
