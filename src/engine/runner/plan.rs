//! The plan: an ordered list of steps as a value with a hash. What was confirmed at the gate is
//! what runs, or nothing runs. Owns the value and its hash; never executes anything.

use crate::engine::incident::facts::{
    BaseSummary, Identity, Procedure, Reach, Source, Target, TargetPoint,
};
use crate::engine::postgres::Lsn;
use crate::engine::wal::TimelineId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::path::PathBuf;

/// When a running step can be stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "when", content = "note", rename_all = "snake_case")]
pub enum Cancel {
    AtOnce,
    /// At the next safe point; the text says which.
    SafePoint(String),
    /// Not while it runs; the text says why.
    No(String),
}

/// One step as the operator reads it before agreeing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Stable: `stop-server`, `move-aside`, …
    pub id: String,
    pub title: String,
    pub why: String,
    /// The runbook's own command that this step stands for.
    pub runbook: String,
    /// Paths and servers that it changes; empty for a step that only reads.
    pub touches: Vec<String>,
    /// Expected seconds, least and most; `None` where unknown or up to a person.
    pub expected: Option<(f64, f64)>,
    pub cancel: Cancel,
    /// Identity is read again and compared before it runs.
    pub destructive: bool,
    /// How it is undone, in words; `None` where there is nothing to undo.
    pub undo: Option<String>,
}

/// What of the cluster lies elsewhere than in its data directory, or goes elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Places {
    /// The data directory is a mount point: its content is moved, not it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub contents: bool,
    /// Folders of tablespaces, and where they are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<KeptSpace>,
    /// Where the backup's tablespaces go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spaces: Vec<PlacedSpace>,
    /// The new WAL directory, where `pg_wal` is a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wal: Option<PathBuf>,
    /// The directory that is recovered into where the data directory's volume is too small.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alternative: Option<PathBuf>,
    /// Files of the damaged cluster that are proven equal to the backup's are copied from it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reuse: bool,
    /// What stood at a later point that was given up for the plan's: set aside first, and files
    /// proven equal to the backup's are copied from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stood: Option<Stood>,
    /// The place that was given up for this one because its disk was full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
}

impl Places {
    /// Whether the plan has nothing to say of them.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        *self == Self::default()
    }
}

/// The directory that stands at a recovery point, and where it is set aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stood {
    /// Without links in its path.
    pub from: PathBuf,
    pub kept: PathBuf,
    /// It is a mount point: its content is moved, not it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub contents: bool,
    /// Folders of its tablespaces, and where they are set aside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spaces: Vec<KeptSpace>,
}

/// Where a recovery stood until its disk was full, and where the damaged cluster was kept meanwhile.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// What was recovered into.
    pub from: PathBuf,
    /// Where the damaged cluster was kept; `from` lies in its place. Empty where nothing was, and where
    /// it never left its place.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub aside: String,
    /// Of a new cluster beside the old one: the number that its directory got when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// As [`Places::contents`] was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub contents: bool,
    /// As [`Places::alternative`] was: the damaged cluster is in its place already.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub was_alternative: bool,
}

/// A server's own folder in a tablespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptSpace {
    pub oid: u32,
    pub folder: PathBuf,
    /// What it is renamed to, whole.
    pub kept: PathBuf,
}

/// Where a tablespace of the backup goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlacedSpace {
    pub oid: u32,
    pub place: PathBuf,
    /// Elsewhere than it was.
    pub moved: bool,
}

/// Everything that a run needs to know, fixed before the gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    pub incident: String,
    pub cluster: String,
    /// What the target's identity must be when a destructive step begins.
    pub identity: Identity,
    pub target: Target,
    /// The timeline that the target was proven for, which the server is told where the target
    /// names none: its own `latest` may be another one by then. `None`: it follows the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeline: Option<TimelineId>,
    pub base: BaseSummary,
    /// Where the damaged directory goes, whole.
    pub aside: String,
    /// Where the rescued WAL is kept.
    pub rescue: String,
    /// The repositories that could be asked when the plan was made, nearest first: the recovery
    /// fetches WAL from these alone. Empty: all of the cluster's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub repositories: Vec<String>,
    #[serde(default, skip_serializing_if = "Places::is_plain")]
    pub places: Places,
    /// Where replay is expected to end; `None` where it cannot be told beforehand.
    pub replay_until: Option<Lsn>,
    /// Where the log ends for this recovery, although more may be kept behind a gap: it stops there
    /// and waits for nothing. `None` where the target says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends_at: Option<Lsn>,
    /// Least values of the settings that a standby must match, by name.
    pub minimum_settings: Vec<(String, i64)>,
    /// Option A where absent, as in plans of old.
    #[serde(default, skip_serializing_if = "Procedure::is_point_in_time")]
    pub procedure: Procedure,
    /// The data directory is gone or tells nothing: the identity is the backup's word, and what
    /// lies there is not asked for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// The copy of the base that answered fastest when the plan was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    pub steps: Vec<PlanStep>,
    /// Of everything above; see [`Plan::seal`].
    pub hash: String,
}

impl Plan {
    /// Sets the hash: SHA-256, hexadecimal, over the plan's JSON with an empty hash. Expected
    /// seconds are rounded to milliseconds first, so that the hash survives JSON's decimals.
    ///
    /// # Errors
    /// Where a value cannot be written as JSON.
    pub fn seal(mut self) -> Result<Self, serde_json::Error> {
        for (least, most) in self.steps.iter_mut().filter_map(|step| step.expected.as_mut()) {
            *least = (*least * 1000.0).round() / 1000.0;
            *most = (*most * 1000.0).round() / 1000.0;
        }
        self.hash = self.digest()?;
        Ok(self)
    }

    /// The same plan with a later end, sealed anew. What it touches and how it is undone stays.
    ///
    /// # Errors
    /// Where a value cannot be written as JSON.
    pub fn moved_to(&self, reach: &Reach) -> Result<Self, serde_json::Error> {
        let mut minimum_settings = self.minimum_settings.clone();
        for (name, least) in &reach.minimum_settings {
            match minimum_settings.iter_mut().find(|(known, _)| known == name) {
                Some((_, known)) => *known = (*known).max(*least),
                None => minimum_settings.push((name.clone(), *least)),
            }
        }
        Self {
            target: reach.target.clone(),
            timeline: reach.timeline(),
            replay_until: reach.last_kept.as_ref().map(|commit| commit.end_lsn),
            ends_at: None,
            minimum_settings,
            hash: String::new(),
            ..self.clone()
        }
        .seal()
    }

    /// Whether the hash still fits the content.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        !self.hash.is_empty() && self.digest().is_ok_and(|digest| digest == self.hash)
    }

    /// Whether the log is replayed to its end.
    #[must_use]
    pub fn procedure_is_to_end(&self) -> bool {
        self.target.point == TargetPoint::EndOfArchive
    }

    #[must_use]
    pub fn step(&self, id: &str) -> Option<&PlanStep> {
        self.steps.iter().find(|step| step.id == id)
    }

    fn digest(&self) -> Result<String, serde_json::Error> {
        let bare = Self { hash: String::new(), ..self.clone() };
        let json = serde_json::to_vec(&bare)?;
        Ok(data_encoding::HEXLOWER.encode(&Sha256::digest(&json)))
    }
}
