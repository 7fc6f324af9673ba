//! What is sent: the entries of a journal and the lines of the compliance record as rows. Owns the
//! reading; a file that does not hold is not sent.

use super::CatalogueError;
use crate::engine::audit::lines::hash;
use crate::engine::compliance::{self, Recovery};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::journal;
use crate::engine::incident::{Entry, Event};
use crate::engine::ledger::Line;
use jiff::Timestamp;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// An incident's entries, in the journal's order.
#[derive(Debug, Clone, PartialEq)]
pub struct Journalled {
    pub incident: String,
    pub cluster: String,
    pub rows: Vec<EntryRow>,
}

/// One row of `audit_log`.
#[derive(Debug, Clone, PartialEq)]
pub struct EntryRow {
    pub hash: String,
    pub at: Timestamp,
    pub actor: String,
    pub role: String,
    pub action: String,
    /// JSON.
    pub detail: String,
}

/// Reads an incident's journal as rows; `None` where nothing is declared in it yet.
///
/// # Errors
/// Where the journal cannot be read or does not hold.
pub fn journalled(folder: &Path) -> Result<Option<Journalled>, CatalogueError> {
    let told = |e: &dyn Explain| CatalogueError::Source(e.explanation());
    let bytes = fs::read(folder.join(journal::FILE)).map_err(|error| {
        let what = format!("The journal in {} could not be read: {error}.", folder.display());
        CatalogueError::Source(Explanation::new(Kind::Storage, what, "", ""))
    })?;
    let entries = journal::read(folder).map_err(|e| told(&e))?.entries;
    let Some(Entry { event: Event::IncidentDeclared(declared), .. }) = entries.first() else {
        return Ok(None);
    };
    // The file only grows: whatever came between the two readings is behind these.
    let rows = bytes
        .split_inclusive(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_suffix(b"\n"))
        .zip(&entries)
        .map(|(line, entry)| row(line, entry));
    let (incident, cluster) = (declared.id.clone(), declared.cluster.clone());
    Ok(Some(Journalled { incident, cluster, rows: rows.collect() }))
}

fn row(line: &[u8], entry: &Entry) -> EntryRow {
    let mut event = serde_json::to_value(&entry.event).unwrap_or_default();
    let mut take = |key: &str| event.get_mut(key).map(Value::take);
    let action = take("kind").and_then(|kind| kind.as_str().map(str::to_owned));
    let mut detail = take("data").unwrap_or_else(|| Value::Object(Default::default()));
    without_nul(&mut detail);
    let role = serde_json::to_value(entry.actor.role).ok();
    let role = role.as_ref().and_then(Value::as_str).unwrap_or_default();
    EntryRow {
        hash: hash(line),
        at: entry.at,
        actor: entry.actor.user.replace('\0', "\u{fffd}"),
        role: role.to_owned(),
        action: action.unwrap_or_default(),
        detail: detail.to_string(),
    }
}

/// PostgreSQL's text holds no NUL; the journal keeps what was written.
fn without_nul(value: &mut Value) {
    match value {
        Value::String(text) if text.contains('\0') => *text = text.replace('\0', "\u{fffd}"),
        Value::Array(all) => all.iter_mut().for_each(without_nul),
        Value::Object(members) => members.values_mut().for_each(without_nul),
        _ => {}
    }
}

/// The compliance record's lines with their hashes.
///
/// # Errors
/// Where the record cannot be read or does not hold.
pub fn recoveries(state: &Path) -> Result<Vec<(String, Line<Recovery>)>, CatalogueError> {
    let lines = compliance::history(state).map_err(|e| CatalogueError::Source(e.explanation()))?;
    if lines.is_empty() {
        return Ok(Vec::new());
    }
    let path = state.join(compliance::FILE);
    let text = fs::read(&path).map_err(|error| {
        let what = format!("{} could not be read: {error}.", path.display());
        CatalogueError::Source(Explanation::new(Kind::Storage, what, "", ""))
    })?;
    Ok(text.split(|byte| *byte == b'\n').map(hash).zip(lines).collect())
}
