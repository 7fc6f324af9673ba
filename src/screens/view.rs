//! What the screens see: one snapshot that they cannot change. Owns the shape of it and the
//! questions that several screens ask of it; never changes itself: that is `app::update`.

use super::cursor::{Asked, Cursor, On, Seen, Shown};
use super::layers::Layer;
use super::theme::Theme;
use crate::engine::drill::copy::Origin;
use crate::engine::drill::hints::Hint;
use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{
    Actor, Commit, Reach, Role, Suggestion, Survey, Suspect, Target, Tier,
};
use crate::engine::incident::model::{Phase, RunStatus};
use crate::engine::incident::people;
use crate::engine::readiness::Readiness;
use crate::engine::runbook::{Runbook, TierTarget};
use crate::engine::runner::protocol::{FullRestore, Present, Progress};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Which screen is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Page {
    Home,
    Assessment,
    RecoveryPoint,
    Restore,
    Validation,
    Checklist,
    Report,
}

impl Page {
    /// The pages of an incident, in the runbook's order.
    pub const INCIDENT: [Self; 6] = [
        Self::Assessment,
        Self::RecoveryPoint,
        Self::Restore,
        Self::Validation,
        Self::Checklist,
        Self::Report,
    ];

    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Home => "Home",
            Self::Assessment => "Assessment",
            Self::RecoveryPoint => "Recovery point",
            Self::Restore => "Restore",
            Self::Validation => "Validation",
            Self::Checklist => "Checklist",
            Self::Report => "Report",
        }
    }

    /// The page where an incident in this phase is worked on.
    #[must_use]
    pub fn of(phase: Phase) -> Self {
        match phase {
            Phase::Assessment => Self::Assessment,
            Phase::RecoveryPoint => Self::RecoveryPoint,
            Phase::Restore => Self::Restore,
            Phase::Validation => Self::Validation,
            Phase::Checklist => Self::Checklist,
            Phase::Closed => Self::Report,
        }
    }

    /// The panels in the order in which Tab visits them.
    #[must_use]
    pub fn panels(self) -> &'static [&'static str] {
        match self {
            Self::Home => &["Clusters", "Incidents"],
            Self::Assessment => &["Questions", "Server"],
            Self::RecoveryPoint => {
                &["Points to go back to", "The past", "What you would lose", "Proof"]
            }
            Self::Restore => &["Plan", "Progress"],
            Self::Validation => &["Checks"],
            Self::Checklist => &["Checklist"],
            Self::Report => &["Report"],
        }
    }
}

/// A configured cluster, as home lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterRow {
    pub name: String,
    pub tier: Tier,
    pub environment: String,
    pub data_directory: String,
    pub host: String,
    /// How many integrity probes are configured.
    pub probes: usize,
    /// What is known of the server, in a few words; `None` while nobody has looked.
    pub state: Option<String>,
    /// The newest page of what a recovery would meet, where one is kept.
    #[serde(default)]
    pub readiness: Option<Readiness>,
}

/// An incident, as home lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentRow {
    pub id: String,
    pub cluster: String,
    pub title: String,
    pub declared: Timestamp,
    pub phase: Phase,
    pub status: RunStatus,
    pub drill: bool,
}

/// What home lists.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    pub clusters: Vec<ClusterRow>,
    /// Open ones first, newest first.
    pub incidents: Vec<IncidentRow>,
    /// What could not be read.
    pub warnings: Vec<String>,
}

/// How the line to the runner stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// No incident is open.
    Idle,
    /// Connecting, or reading the journal so far.
    Attaching,
    Live,
    Lost {
        since: Timestamp,
        why: String,
        attempts: u32,
        next_try: Timestamp,
    },
}

/// A short message above the key bar; gone after some seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub text: String,
    pub bad: bool,
    pub until: Timestamp,
}

/// A command that was sent and not answered yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    pub label: &'static str,
    pub purpose: Purpose,
}

/// What an answer is for.
#[derive(Debug, Clone, PartialEq)]
pub enum Purpose {
    Plain,
    /// The gate: when it is passed, this plan starts.
    Gate {
        plan_hash: String,
    },
    Reach(Target),
    Commits(Timestamp),
    /// Going on to a later point.
    Later,
    /// Giving a run up, to restore to an earlier point.
    GiveUp,
    Past(Asked),
    /// What the copy beside production holds.
    Parts,
    /// The rows of a table that differ.
    Rows,
    /// The plan of a salvage.
    Salvage,
    /// The choice of a point in a directory of its own: where that is taken, another one is asked for.
    Into(Target),
    /// The choice of a full restore: where its place is taken, another one is asked for.
    Full(FullRestore),
    Survey,
}

/// A point that the recovery point's list offers.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    pub target: Target,
    pub title: String,
    pub why: String,
    pub suspect: Option<Suspect>,
    /// The transaction that it is just before, or with.
    pub transaction: Option<Commit>,
}

/// The recovery point's own state.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Points {
    /// Typed or picked by the operator, newest first.
    pub own: Vec<Candidate>,
    /// What the runner said of targets asked so far.
    pub reaches: Vec<(Target, Result<Reach, Explanation>)>,
    /// The cursor on the picture, once it was used.
    pub cursor: Option<Cursor>,
    /// The cursor decides what is looked at and chosen, not the list.
    pub by_cursor: bool,
    /// The part of the past that the picture shows.
    pub shown: Shown,
    /// What the runner told of a part of the past.
    pub seen: Option<Seen>,
    /// A point before the log that was read: read that far for it.
    pub prove: Option<Target>,
    /// The directory that was named for the new cluster of a full restore.
    pub full_into: Option<String>,
}

/// What a drill is about, told before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Briefing {
    pub title: String,
    pub story: Vec<String>,
    pub objective: String,
    /// Told one by one, on request.
    pub hints: Vec<Hint>,
    pub targets: Targets,
    /// What it is held on a copy of; `None` on a throwaway database.
    pub origin: Option<Origin>,
}

/// Whether somebody leads the drill from another terminal.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GameMaster {
    /// This drill has none, or it is none.
    #[default]
    None,
    /// One can come in; nobody is there now.
    Away,
    There,
}

impl GameMaster {
    /// By what is known of the drill's window for one; `None` where it has none.
    #[must_use]
    pub fn of(there: Option<bool>) -> Self {
        match there {
            None => Self::None,
            Some(false) => Self::Away,
            Some(true) => Self::There,
        }
    }
}

/// What an incident is measured by, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Targets {
    /// `None` where no loss of data is too much.
    pub rpo_seconds: Option<u64>,
    pub rto_seconds: u64,
}

/// Everything that a screen may look at.
#[derive(Debug, Clone)]
pub struct View {
    pub now: Timestamp,
    /// The operator's own zone, for times typed without an offset.
    pub zone: TimeZone,
    /// Columns and rows.
    pub size: (u16, u16),
    pub theme: Theme,
    pub runbook: Runbook,
    pub page: Page,
    /// The panel that takes the arrow keys, by its place in [`Page::panels`].
    pub panel: usize,
    /// The selected row, by page and panel.
    pub cursors: BTreeMap<(Page, usize), usize>,
    pub listing: Listing,
    pub incident: Option<Incident>,
    /// What a probe found of an interrupted step, by the step's id.
    pub findings: BTreeMap<String, String>,
    pub you: Option<Actor>,
    pub runner_pid: Option<u32>,
    /// Who is at a screen of this incident now.
    pub present: Vec<Present>,
    pub link: Link,
    pub survey: Option<Survey>,
    pub progress: Option<Progress>,
    pub points: Points,
    pub waiting: BTreeMap<u64, Waiting>,
    pub layers: Vec<Layer>,
    pub notice: Option<Notice>,
    pub briefing: Option<Briefing>,
    pub game_master: GameMaster,
}

impl View {
    #[must_use]
    pub fn new(now: Timestamp, zone: TimeZone, theme: Theme, runbook: Runbook) -> Self {
        Self {
            now,
            zone,
            size: (80, 24),
            theme,
            runbook,
            page: Page::Home,
            panel: 0,
            cursors: BTreeMap::new(),
            listing: Listing::default(),
            incident: None,
            findings: BTreeMap::new(),
            you: None,
            runner_pid: None,
            present: Vec::new(),
            link: Link::Idle,
            survey: None,
            progress: None,
            points: Points::default(),
            waiting: BTreeMap::new(),
            layers: Vec::new(),
            notice: None,
            briefing: None,
            game_master: GameMaster::None,
        }
    }

    /// The selected row of the panel, whatever the list's length.
    #[must_use]
    pub fn cursor(&self, panel: usize) -> usize {
        self.cursors.get(&(self.page, panel)).copied().unwrap_or(0)
    }

    /// As [`Self::cursor`], within a list of that length.
    #[must_use]
    pub fn cursor_in(&self, panel: usize, length: usize) -> usize {
        self.cursor(panel).min(length.saturating_sub(1))
    }

    #[must_use]
    pub fn is_small(&self) -> bool {
        self.size.0 < 80 || self.size.1 < 24
    }

    #[must_use]
    pub fn role(&self) -> Role {
        self.you.as_ref().map_or(Role::Observer, |you| you.role)
    }

    /// Whether this person may give commands that need that role, by role and by who has the
    /// command.
    ///
    /// # Errors
    /// Why not, in words for a sentence.
    pub fn may(&self, needed: Role) -> Result<(), String> {
        match &self.you {
            Some(you) => people::may(self.incident.as_ref(), you, needed),
            None if needed == Role::Observer => Ok(()),
            None => Err(String::from("nobody is known here yet")),
        }
    }

    /// The tier's targets of the open incident.
    #[must_use]
    pub fn tier(&self) -> Option<&TierTarget> {
        self.incident.as_ref().map(|i| self.runbook.tier(i.declaration.tier))
    }

    /// What the open incident is measured by: in a drill the scenario's targets, else the tier's.
    #[must_use]
    pub fn targets(&self) -> Option<Targets> {
        self.incident.as_ref().map(|incident| self.targets_of(incident))
    }

    #[must_use]
    pub fn targets_of(&self, incident: &Incident) -> Targets {
        let declared = &incident.declaration;
        let drill = declared.drill.as_ref().and_then(|name| match &self.briefing {
            Some(briefing) => Some(briefing.targets),
            // Who looks on from another window knows the runbook's scenarios.
            None => self
                .runbook
                .scenario(name)
                .map(|one| Targets { rpo_seconds: one.rpo_seconds, rto_seconds: one.rto_seconds }),
        });
        drill.unwrap_or_else(|| {
            let tier = self.runbook.tier(declared.tier);
            Targets { rpo_seconds: Some(tier.rpo_seconds), rto_seconds: tier.rto_seconds }
        })
    }

    /// Whether an answer to something of that purpose is awaited.
    #[must_use]
    pub fn awaits(&self, test: impl Fn(&Purpose) -> bool) -> bool {
        self.waiting.values().any(|w| test(&w.purpose))
    }

    /// Whether a command of that label was sent and not answered.
    #[must_use]
    pub fn busy(&self, label: &str) -> bool {
        self.waiting.values().any(|w| w.label == label)
    }

    /// The points on offer: the operator's own, the suggestions, the suspects not among them.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate> {
        let mut list: Vec<Candidate> = Vec::new();
        let survey = self.survey.as_ref();
        let suspects = survey.map_or(&[][..], |s| &s.suspects);
        let suggestions = survey.map_or(&[][..], |s| &s.suggestions);
        let mut add = |candidate: Candidate| {
            if !list.iter().any(|c| c.target == candidate.target) {
                list.push(candidate);
            }
        };
        self.points.own.iter().cloned().for_each(&mut add);
        for Suggestion { target, why } in suggestions {
            let suspect = suspects.iter().find(|s| s.target == *target).cloned();
            let title = super::recovery_point::name(target, suspect.as_ref());
            let transaction = suspect.as_ref().map(|s| s.commit.clone());
            let (target, why) = (target.clone(), why.clone());
            add(Candidate { target, title, why, suspect, transaction });
        }
        for suspect in suspects {
            let title = super::recovery_point::name(&suspect.target, Some(suspect));
            let why = suspect.what.clone();
            add(Candidate {
                target: suspect.target.clone(),
                title,
                why,
                suspect: Some(suspect.clone()),
                transaction: Some(suspect.commit.clone()),
            });
        }
        list
    }

    /// The point that is looked at: the list's selected one, or the cursor's on the picture.
    #[must_use]
    pub fn candidate(&self) -> Option<Candidate> {
        match (&self.points.cursor, &self.survey) {
            (Some(cursor), Some(survey)) if self.points.by_cursor => {
                Some(at_cursor(cursor, survey))
            }
            _ => self.selected_candidate(),
        }
    }

    /// The selected point of the list.
    #[must_use]
    pub fn selected_candidate(&self) -> Option<Candidate> {
        let list = self.candidates();
        let at = self.cursors.get(&(Page::RecoveryPoint, 0)).copied().unwrap_or(0);
        list.get(at.min(list.len().saturating_sub(1))).cloned()
    }

    /// What is known of whether a target can be reached.
    #[must_use]
    pub fn reach(&self, target: &Target) -> Option<&Result<Reach, Explanation>> {
        self.points.reaches.iter().rev().find(|(t, _)| t == target).map(|(_, r)| r)
    }

    /// The newest commit known, by the survey.
    #[must_use]
    pub fn newest_commit(&self) -> Option<&Commit> {
        self.survey.as_ref().and_then(|s| s.newest_commit.as_ref())
    }
}

fn at_cursor(cursor: &Cursor, survey: &Survey) -> Candidate {
    let target = cursor.target(survey);
    let suspect = match &cursor.on {
        Some(On::Suspect(commit, _)) if !cursor.inclusive => {
            survey.suspects.iter().find(|s| s.commit.lsn == commit.lsn).cloned()
        }
        _ => None,
    };
    let title = super::recovery_point::name(&target, suspect.as_ref());
    let transaction = suspect.as_ref().map(|s| s.commit.clone());
    Candidate { target, title, why: String::from("picked on the picture"), suspect, transaction }
}
