//! The runbook as data: tiers, checklists, ladder, texts. Owns the types and the look-ups;
//! [`load`] lays a team's own file over ours. Never decides anything and never runs a command:
//! the runbook's commands are shown, not executed.

mod load;

use crate::engine::incident::facts::{Prerequisite, Severity, Tier};
use serde::{Deserialize, Serialize};

pub use load::RunbookError;

/// The whole runbook. Every list keeps the order of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Runbook {
    pub tiers: Tiers,
    pub schedule: Schedule,
    pub suggestion: SuggestionText,
    pub severities: Vec<SeverityText>,
    pub assessment: Vec<Question>,
    pub prerequisites: Vec<PrerequisiteText>,
    pub steps: Vec<StepText>,
    pub horizons: Vec<HorizonText>,
    pub checklist: Vec<ChecklistItem>,
    pub ladder: Vec<Level>,
    pub troubleshooting: Vec<Trouble>,
    pub scenarios: Vec<ScenarioTarget>,
    pub probes: Vec<Query>,
}

/// The four service tiers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tiers {
    pub critical: TierTarget,
    pub high: TierTarget,
    pub standard: TierTarget,
    pub archive: TierTarget,
}

/// How much data and how much time a service may lose.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TierTarget {
    pub title: String,
    /// Recovery point objective: seconds of data that may be lost.
    pub rpo_seconds: u64,
    /// Recovery time objective: seconds of downtime.
    pub rto_seconds: u64,
    pub use_cases: String,
}

/// How backups are taken and how long they are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Schedule {
    /// Time of day in UTC, `HH:MM`.
    pub full_backup_at: String,
    pub full_backup_every_hours: u64,
    /// Bytes; a WAL file is archived when it is full.
    pub wal_segment_bytes: u64,
    /// Seconds after which a WAL file is archived although it is not full.
    pub wal_at_least_every_seconds: u64,
    pub retention_days_production: u64,
    pub retention_days_staging: u64,
}

/// Where the recovery point's cursor starts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SuggestionText {
    /// Minutes before the detection, or before now.
    pub minutes_before: u64,
}

/// What a severity means.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeverityText {
    /// `SEV-1`, `SEV-2`, `SEV-3`.
    pub id: String,
    pub title: String,
    pub definition: String,
    #[serde(skip_serializing)]
    pub omit: bool,
}

/// One question of the assessment.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Question {
    pub id: String,
    pub ask: String,
    pub why: String,
    #[serde(skip_serializing)]
    pub omit: bool,
}

/// One of Option A's prerequisites.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PrerequisiteText {
    /// As the journal writes a [`Prerequisite`]: `incident_declared`, …
    pub id: String,
    pub title: String,
    pub ask: String,
    pub proof: Proof,
    /// What is worth writing down with the answer.
    pub hint: String,
    #[serde(skip_serializing)]
    pub omit: bool,
}

/// The texts of one step of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepText {
    /// The step's id in the plan: `stop-server`, …
    pub id: String,
    pub title: String,
    pub why: String,
    /// The runbook's own command that the step stands for; several lines where it has several.
    pub runbook: String,
    #[serde(skip_serializing)]
    pub omit: bool,
}

/// Who can show that a line is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// Lifeboat has evidence of its own.
    Tool,
    #[default]
    Person,
}

/// The parts of the checklist, by when they are due.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Horizon {
    #[default]
    Hour,
    Day,
    Week,
}

impl Horizon {
    pub const ALL: [Self; 3] = [Self::Hour, Self::Day, Self::Week];

    /// Whether a drill leaves its lines to real incidents: nobody waits in one until they are due.
    #[must_use]
    pub fn is_left_to_earnest(self) -> bool {
        self != Self::Hour
    }

    /// The id in the runbook data.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }
}

/// When a part of the checklist is due.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HorizonText {
    pub id: Horizon,
    pub title: String,
    /// Seconds after the database serves again.
    pub seconds: u64,
    #[serde(skip_serializing)]
    pub omit: bool,
}

/// One line of the post-recovery checklist.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ChecklistItem {
    /// Stable; sign-offs in the journal name it.
    pub id: String,
    pub horizon: Horizon,
    pub text: String,
    pub proof: Proof,
    /// What counts as evidence.
    pub hint: String,
    /// Where the tool proves it: beginnings of validation checks' ids, `report`, or `care:` and an
    /// item of the safety list. Each must have a verified check.
    pub shown_by: Vec<String>,
    /// The item of the safety list that a key runs for this line; empty where there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub executes: String,
    #[serde(skip_serializing)]
    pub omit: bool,
}

/// One level of the escalation ladder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Level {
    pub id: String,
    pub who: String,
    /// Minutes since the incident was declared.
    pub from_minutes: u64,
    /// Open where absent.
    pub until_minutes: Option<u64>,
    pub what: Vec<String>,
    #[serde(skip_serializing)]
    pub omit: bool,
}

/// A known trouble and the way out.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trouble {
    pub id: String,
    pub title: String,
    pub symptom: String,
    /// The runbook's commands that ours replaces.
    pub runbook: String,
    /// What to do here.
    pub advice: String,
    #[serde(skip_serializing)]
    pub omit: bool,
}

/// What a GameDay scenario is measured against.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ScenarioTarget {
    pub id: String,
    pub title: String,
    pub objective: String,
    /// Seconds; absent where the scenario has no RPO.
    pub rpo_seconds: Option<u64>,
    /// Seconds.
    pub rto_seconds: u64,
    #[serde(skip_serializing)]
    pub omit: bool,
}

/// Where one of the runbook's queries belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    #[default]
    Assessment,
    RecoveryPoint,
    /// At the recovery point, before promotion.
    Inspect,
    Validation,
    Performance,
}

/// One of the runbook's own questions to the database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Query {
    pub id: String,
    pub stage: Stage,
    pub title: String,
    pub sql: String,
    #[serde(skip_serializing)]
    pub omit: bool,
}

impl Runbook {
    #[must_use]
    pub fn tier(&self, tier: Tier) -> &TierTarget {
        match tier {
            Tier::Critical => &self.tiers.critical,
            Tier::High => &self.tiers.high,
            Tier::Standard => &self.tiers.standard,
            Tier::Archive => &self.tiers.archive,
        }
    }

    /// The texts of a step of the plan.
    #[must_use]
    pub fn step(&self, id: &str) -> Option<&StepText> {
        self.steps.iter().find(|s| s.id == id)
    }

    #[must_use]
    pub fn severity(&self, severity: Severity) -> Option<&SeverityText> {
        self.severities.iter().find(|s| s.id == severity.word())
    }

    #[must_use]
    pub fn question(&self, id: &str) -> Option<&Question> {
        self.assessment.iter().find(|q| q.id == id)
    }

    #[must_use]
    pub fn prerequisite(&self, which: Prerequisite) -> Option<&PrerequisiteText> {
        let id = match which {
            Prerequisite::IncidentDeclared => "incident_declared",
            Prerequisite::MaintenanceWindow => "maintenance_window",
            Prerequisite::BackupIntegrity => "backup_integrity",
            Prerequisite::TargetConfirmed => "target_confirmed",
        };
        self.prerequisites.iter().find(|p| p.id == id)
    }

    /// Every line, in the order of the file.
    #[must_use]
    pub fn checklist(&self) -> &[ChecklistItem] {
        &self.checklist
    }

    #[must_use]
    pub fn horizon(&self, horizon: Horizon) -> Option<&HorizonText> {
        self.horizons.iter().find(|h| h.id == horizon)
    }

    /// The RTO that an incident is measured by, in seconds: the tier's, in a drill the scenario's
    /// where it is one of the runbook's.
    #[must_use]
    pub fn rto_of(&self, tier: Tier, drill: Option<&str>) -> u64 {
        let scenario = drill.and_then(|name| self.scenario(name));
        scenario.map_or(self.tier(tier).rto_seconds, |scenario| scenario.rto_seconds)
    }

    #[must_use]
    pub fn scenario(&self, id: &str) -> Option<&ScenarioTarget> {
        self.scenarios.iter().find(|s| s.id == id)
    }

    /// The runbook's queries of one stage.
    pub fn queries(&self, stage: Stage) -> impl Iterator<Item = &Query> {
        self.probes.iter().filter(move |q| q.stage == stage)
    }

    /// The highest level of the ladder that is in charge after so many minutes.
    #[must_use]
    pub fn level_after(&self, minutes: u64) -> Option<&Level> {
        self.ladder.iter().filter(|l| l.from_minutes <= minutes).max_by_key(|l| l.from_minutes)
    }
}
