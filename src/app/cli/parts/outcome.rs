//! What `restore-parts` and `salvage` found and did, as a value and in words. Does nothing.

use super::output;
use crate::engine::explain::Explanation;
use crate::engine::parts::apply::Applied;
use crate::engine::parts::carry::Carried;
use crate::engine::parts::compare::Difference;
use crate::engine::parts::pairs::ROWS_ALONE;
use serde::Serialize;

/// What came of it.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    pub(super) title: String,
    pub(super) cluster: String,
    pub(super) database: String,
    pub(super) differences: Vec<Difference>,
    /// Tables of the source that production lacks.
    pub(super) absent: Vec<String>,
    /// What stands for exactly these rows of the chosen classes and these absent tables.
    pub(super) seen: String,
    /// Where whole tables were made.
    pub(super) schema: Option<String>,
    pub(super) carried: Vec<Carried>,
    pub(super) applied: Vec<Applied>,
    /// What the operator should know.
    pub(super) notes: Vec<String>,
}

/// The differences, for people.
pub(super) fn shown(outcome: &Outcome) -> Result<(), Explanation> {
    output::line(&format!("{}, database {}", outcome.title, outcome.database))?;
    for one in &outcome.differences {
        let how = if one.by_key { "" } else { " (no key: compared as a whole)" };
        output::line(&format!(
            "  {}: {} missing in production, {} changed, {} newer in production{how}",
            one.table, one.missing, one.changed, one.newer
        ))?;
        for change in &one.definition {
            output::line(&format!("    ! definition: {change}"))?;
        }
        for sample in &one.samples {
            output::line(&format!("    {:7} {}", sample.class.word(), sample.key))?;
            for (column, was, is) in &sample.values {
                output::line(&format!("            {column}: {was} here {is} in production"))?;
            }
        }
    }
    if !outcome.differences.is_empty() {
        output::line(&format!("  {ROWS_ALONE}"))?;
    }
    for table in &outcome.absent {
        output::line(&format!("  {table}: not in production; it is made whole"))?;
    }
    output::line(&format!("  --seen {} stands for exactly this", outcome.seen))
}

/// All that came of it, for people.
pub(super) fn told(outcome: &Outcome) -> Result<(), Explanation> {
    if outcome.carried.is_empty() && outcome.applied.is_empty() {
        shown(outcome)?;
    }
    for one in &outcome.carried {
        output::line(&format!(
            "Made {} with {} rows, the same as the source's.",
            one.table, one.rows
        ))?;
    }
    for one in &outcome.applied {
        output::line(&format!(
            "{}: {} inserted, {} overwritten, {} removed.",
            one.table, one.inserted, one.overwritten, one.removed
        ))?;
        for moved in &one.sequences {
            output::line(&format!("  {moved}"))?;
        }
    }
    for note in &outcome.notes {
        output::line(&format!("Note: {note}"))?;
    }
    Ok(())
}
