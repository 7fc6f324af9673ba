//! Salvage: a second plan of the same incident, which brings back what was written after the recovery
//! point. Owns how the model takes it: while it is under way its plan and run stand where the
//! recovery's were, which is put aside whole and comes back at its end; and what was left behind by
//! the recovery. Values alone; see `docs/decisions/salvage.md`.

use super::facts::{Check, Verdict};
use super::model::{Incident, RunStatus, StepState, StepStatus};
use super::parts::{Carry, PartsChoice, PartsDone, PartsLook, PartsState};
use super::past::TableLoss;
use super::trouble::Adjustments;
use crate::engine::explain::Explanation;
use crate::engine::parts::apply::Applied;
use crate::engine::parts::work::{Into, Written};
use crate::engine::parts::{Choice, Class};
use crate::engine::runner::plan::Plan;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// The note of what was carried over.
const CARRIED: &str = "carried";
/// The note of a transaction that was about to be committed.
pub const COMMIT: &str = "parts_commit";
/// The step that carries it over.
const CARRY: &str = "parts-carry";

/// Everything that belongs to one plan and its run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Run {
    plan: Option<Plan>,
    planned_by: Option<String>,
    gate: Option<(String, String)>,
    status: RunStatus,
    steps: Vec<StepState>,
    undo_failure: Option<Explanation>,
    adjustments: Adjustments,
    parts: PartsState,
    validation: Vec<Check>,
    /// Of the salvage that took this run's place.
    begun: Timestamp,
    by: String,
}

/// A salvage that has ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Salvage {
    /// The directory that it came from.
    pub kept: String,
    /// Who made the plan, or gave the command.
    pub by: String,
    pub begun: Timestamp,
    pub ended: Timestamp,
    /// Finished, put back, or given up before it began.
    pub status: RunStatus,
    pub steps: Vec<StepState>,
    pub parts: PartsState,
    /// What was carried over, compared once more.
    pub checks: Vec<Check>,
}

/// What `lifeboat salvage` brought back from the directory that the recovery kept, once it was
/// committed: a part of the journal's format.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ByCommand {
    pub kept: String,
    pub begun: Timestamp,
    pub look: PartsLook,
    pub choice: PartsChoice,
    pub done: PartsDone,
    /// What was written, compared with the kept directory's copy once more.
    pub checks: Vec<Check>,
}

/// Rows of one table by how they stood against production.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Rows {
    pub table: String,
    /// In the kept directory alone.
    pub missing: u64,
    /// In both, with other content.
    pub changed: u64,
    /// In production alone.
    pub newer: u64,
}

impl Rows {
    fn is_none(&self) -> bool {
        (self.missing, self.changed, self.newer) == (0, 0, 0)
    }
}

impl Salvage {
    /// Whether it was carried over, by the journal.
    #[must_use]
    pub fn has_carried(&self) -> bool {
        let done = |step: &StepState| step.id == CARRY && step.status == StepStatus::Done;
        self.parts.done.is_some() || self.steps.iter().any(done)
    }

    /// A transaction was on its way, and the run ended without learning what became of it.
    #[must_use]
    pub fn is_unsure(&self) -> bool {
        !self.has_carried() && self.noted(COMMIT).is_some()
    }

    fn noted(&self, name: &str) -> Option<&str> {
        let notes = self.steps.iter().rev().flat_map(|step| step.notes.iter().rev());
        notes.into_iter().find(|(own, _)| own == name).map(|(_, text)| text.as_str())
    }

    /// What came of it, in a few words.
    #[must_use]
    pub fn words(&self) -> String {
        let part = self.parts.look.as_ref().map(|look| look.part.words());
        let part = part.unwrap_or_else(|| String::from("nothing"));
        match (&self.parts.done, self.noted(CARRIED)) {
            (Some(PartsDone::Of(written)), _) if written.schema.is_none() => {
                format!("{part}: {}", counts(written))
            }
            (Some(done), _) => format!("{part}: {}", done.words()),
            (None, Some(carried)) => format!("{part}: {carried}"),
            // The step had no time to say it; what is committed is what was agreed to.
            (None, None) if self.has_carried() => {
                let brought = self.brought().into_iter();
                let applied = brought.map(|rows| Applied {
                    table: rows.table,
                    inserted: rows.missing,
                    overwritten: rows.changed,
                    removed: rows.newer,
                    sequences: Vec::new(),
                });
                let written = Written { applied: applied.collect(), ..Written::default() };
                format!("{part}: {}; committed, by the server's word", counts(&written))
            }
            (None, None) if self.is_unsure() => format!(
                "{part}: a transaction was on its way when this ended; the timeline says what is \
                 known of it"
            ),
            _ => String::from("nothing was carried over"),
        }
    }

    /// What the operator should know of it.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        self.parts.done.as_ref().map_or(&[], |done| done.notes())
    }

    /// Rows that were brought back, by table that production had.
    #[must_use]
    pub fn brought(&self) -> Vec<Rows> {
        if self.has_carried() { self.rows(|taken, class| taken.takes(class)) } else { Vec::new() }
    }

    /// Rows that were seen to differ and were left as they are, by table.
    fn left(&self) -> Vec<Rows> {
        self.rows(|taken, class| !taken.takes(class))
    }

    fn rows(&self, wanted: impl Fn(Choice, Class) -> bool) -> Vec<Rows> {
        let (Some(look), Some(choice)) = (&self.parts.look, &self.parts.choice) else {
            return Vec::new();
        };
        let taken = match &choice.carry {
            Carry::Of { into: Into::Place(taken) } => *taken,
            // Beside production's tables nothing of them changed.
            _ => Choice::default(),
        };
        let count = |found: &crate::engine::parts::compare::Difference, class| {
            if wanted(taken, class) { found.count(class) } else { 0 }
        };
        let rows = look.differences.iter().map(|found| Rows {
            table: found.table.clone(),
            missing: count(found, Class::Missing),
            changed: count(found, Class::Changed),
            newer: count(found, Class::Newer),
        });
        rows.filter(|rows| !rows.is_none()).collect()
    }

    /// The tables that it was compared in.
    fn looked_at(&self) -> impl Iterator<Item = &str> {
        let look = self.parts.look.iter();
        look.flat_map(|look| {
            let differences = look.differences.iter().map(|found| found.table.as_str());
            let others = look.absent.iter().chain(&look.partitions).map(String::as_str);
            differences.chain(others)
        })
    }
}

/// What is not back, as far as it was looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Left {
    /// Rows that differed when their table was last looked at, and were not taken.
    pub rows: Vec<Rows>,
    /// Tables that lost rows by the log, and were in no look that was carried over.
    pub unseen: Vec<TableLoss>,
    /// By the log there are more tables than it lists, or it could not be read by table.
    pub may_be_more: bool,
}

impl Left {
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// In one line.
    #[must_use]
    pub fn words(&self) -> String {
        let rows = self.rows.iter().map(|rows| {
            let classes =
                [("missing", rows.missing), ("changed", rows.changed), ("newer", rows.newer)];
            let told =
                classes.iter().filter(|(_, n)| *n > 0).map(|(word, n)| format!("{n} {word}"));
            format!("{} ({})", rows.table, told.collect::<Vec<_>>().join(", "))
        });
        let unseen = self
            .unseen
            .iter()
            .map(|table| format!("{} (all: {} rows by the log)", table.relation, table.rows()));
        let more = self.may_be_more.then(|| String::from("tables that the log does not list"));
        let all: Vec<String> = rows.chain(unseen).chain(more).collect();
        if all.is_empty() { String::from("nothing") } else { all.join("; ") }
    }
}

impl Incident {
    /// A salvage is under way: its plan and run stand where the recovery's were.
    #[must_use]
    pub fn is_salvaging(&self) -> bool {
        self.salvage.is_some()
    }

    /// The incident with the recovery's own plan and run in their place, whatever is under way: what
    /// checklist and reports are about.
    #[must_use]
    pub fn settled(&self) -> Cow<'_, Self> {
        let Some(recovery) = &self.salvage else { return Cow::Borrowed(self) };
        let mut settled = self.clone();
        settled.exchange(&mut recovery.as_ref().clone());
        settled.salvage = None;
        Cow::Owned(settled)
    }

    /// The checks of the recovered database, also while a salvage is under way.
    #[must_use]
    pub fn validated(&self) -> &[Check] {
        self.salvage.as_ref().map_or(&self.validation, |recovery| &recovery.validation)
    }

    /// The recovery has given up committed writes, or may have, and a directory is kept that holds
    /// them.
    #[must_use]
    pub fn left_behind(&self) -> bool {
        let settled = self.settled();
        let kept = settled
            .plan
            .as_ref()
            .is_some_and(|plan| !plan.aside.is_empty() && !plan.lost && !plan.procedure.is_parts());
        let lost = settled.reach.as_ref().is_some_and(|reach| reach.lost_commits != Some(0));
        settled.status == RunStatus::Finished && kept && (lost || settled.may_lose_more())
    }

    /// What of it is not back.
    #[must_use]
    pub fn left(&self) -> Left {
        let cost = self.reach.as_ref().map(|reach| &reach.cost);
        let lost = cost.and_then(|cost| cost.tables.as_deref());
        // Of a table that was looked at more than once, the last look counts.
        let looked: Vec<&Salvage> = self.salvages.iter().filter(|one| one.has_carried()).collect();
        let mut rows: Vec<Rows> = Vec::new();
        for salvage in &looked {
            rows.retain(|rows| !salvage.looked_at().any(|table| table == rows.table));
            rows.extend(salvage.left());
        }
        let is_seen = |table: &&TableLoss| {
            let name = bare(&table.relation);
            !looked.iter().any(|salvage| salvage.looked_at().any(|seen| seen == name))
        };
        Left {
            rows,
            unseen: lost.unwrap_or_default().iter().filter(is_seen).cloned().collect(),
            may_be_more: lost.is_none() || cost.is_some_and(|cost| cost.more_tables > 0),
        }
    }

    /// How the line of the checklist stands on what was written after the recovery point: VERIFIED
    /// only where every salvage was proven, and nothing of it is left.
    #[must_use]
    pub fn salvaged(&self) -> (Verdict, String) {
        let done: Vec<&Salvage> = self.salvages.iter().filter(|one| one.has_carried()).collect();
        let commits = match self.reach.as_ref().and_then(|reach| reach.lost_commits) {
            Some(count) if self.may_lose_more() => format!("{count} or more commits"),
            Some(1) => String::from("1 commit"),
            Some(count) => format!("{count} commits"),
            None => String::from("an unknown number of commits"),
        };
        if done.is_empty() {
            let text = format!("{commits} only in the kept directory; nothing was brought back");
            return (Verdict::NotRun, text);
        }
        let proof = Verdict::of_all(done.iter().flat_map(|one| &one.checks).map(|c| c.verdict));
        let brought: Vec<String> = done.iter().map(|one| one.words()).collect();
        let left = self.left();
        let text = format!(
            "not brought back: {}; brought back ({}): {}",
            left.words(),
            proof.word(),
            brought.join("; ")
        );
        let whole = proof != Verdict::Verified || left.is_nothing();
        (if whole { proof } else { Verdict::NotRun }, text)
    }

    /// The plan of a salvage takes the place of the recovery's run.
    pub(super) fn begin_salvage(&mut self, by: &str, at: Timestamp) {
        if self.salvage.is_some() {
            return;
        }
        let mut run = Run {
            plan: None,
            planned_by: None,
            gate: None,
            status: RunStatus::Planning,
            steps: Vec::new(),
            undo_failure: None,
            adjustments: Adjustments::default(),
            parts: PartsState::default(),
            validation: Vec::new(),
            begun: at,
            by: by.to_owned(),
        };
        self.exchange(&mut run);
        self.salvage = Some(Box::new(run));
    }

    /// It has ended: the recovery's run is back in its place.
    pub(super) fn end_salvage(&mut self, at: Timestamp) {
        let Some(mut run) = self.salvage.take() else { return };
        self.exchange(&mut run);
        self.pause_requested = false;
        self.cancel_requested = false;
        let Some(plan) = run.plan else { return };
        self.salvages.push(Salvage {
            kept: plan.aside,
            by: run.by,
            begun: run.begun,
            ended: at,
            status: run.status,
            steps: run.steps,
            parts: run.parts,
            checks: run.validation,
        });
    }

    /// The command line has brought something back, beside whatever is under way here.
    pub(super) fn salvaged_by(&mut self, done: &ByCommand, by: &str, at: Timestamp) {
        self.salvages.push(Salvage {
            kept: done.kept.clone(),
            by: by.to_owned(),
            begun: done.begun,
            ended: at,
            status: RunStatus::Finished,
            steps: Vec::new(),
            parts: PartsState {
                look: Some(done.look.clone()),
                choice: Some(done.choice.clone()),
                done: Some(done.done.clone()),
            },
            checks: done.checks.clone(),
        });
    }

    fn exchange(&mut self, run: &mut Run) {
        std::mem::swap(&mut self.plan, &mut run.plan);
        std::mem::swap(&mut self.approvals.planned_by, &mut run.planned_by);
        std::mem::swap(&mut self.gate, &mut run.gate);
        std::mem::swap(&mut self.status, &mut run.status);
        std::mem::swap(&mut self.steps, &mut run.steps);
        std::mem::swap(&mut self.undo_failure, &mut run.undo_failure);
        std::mem::swap(&mut self.adjustments, &mut run.adjustments);
        std::mem::swap(&mut self.parts, &mut run.parts);
        std::mem::swap(&mut self.validation, &mut run.validation);
    }
}

/// What was written, without what was not.
fn counts(written: &Written) -> String {
    let rows: u64 = written.carried.iter().map(|one| one.rows).sum();
    let sum = |of: fn(&Applied) -> u64| written.applied.iter().map(of).sum::<u64>();
    let tables = match written.carried.len() {
        0 => None,
        1 => Some(format!("1 table made, with {rows} rows")),
        made => Some(format!("{made} tables made, with {rows} rows")),
    };
    let told = |count: u64, word: &str| (count > 0).then(|| format!("{count} {word}"));
    let all = [
        told(sum(|one| one.inserted), "inserted"),
        told(sum(|one| one.overwritten), "overwritten"),
        told(sum(|one| one.removed), "removed"),
        tables,
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    if all.is_empty() { String::from("nothing") } else { all.join(", ") }
}

/// A table's name without the database that is told behind it.
fn bare(relation: &str) -> &str {
    relation.split_once(" in ").map_or(relation, |(table, _)| table)
}

/// Which tables of which database lost most rows, as far as their names tell: what is looked at first.
#[must_use]
pub fn lost_most(tables: &[TableLoss], most: usize) -> (Option<String>, Vec<String>) {
    let named = |relation: &str| {
        let (table, database) = match relation.split_once(" in ") {
            Some((table, database)) => (table, Some(database.to_owned())),
            None => (relation, None),
        };
        let (schema, name) = table.split_once('.').filter(|_| !table.contains(' '))?;
        let name = crate::engine::parts::names::Name::new(schema, name).sql();
        Some((database, name))
    };
    let found: Vec<_> = tables.iter().filter_map(|table| named(&table.relation)).collect();
    let database = found.first().and_then(|(database, _)| database.clone());
    let tables = found.into_iter().filter(|(of, _)| *of == database).map(|(_, name)| name);
    let tables = tables.take(most).collect();
    (database, tables)
}

#[cfg(test)]
mod tests;
