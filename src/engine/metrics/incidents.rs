//! What the incidents of this machine say to monitoring: those that are open, and what the last
//! recovery and the last drills came to. Reads journals; changes nothing. The figures are the
//! report's own.

use crate::engine::checklist::Checklist;
use crate::engine::incident::facts::Verdict;
use crate::engine::incident::model::{Incident, RunStatus};
use crate::engine::incident::store::{Listed, Store, StoreError};
use crate::engine::report::Report;
use crate::engine::runbook::Runbook;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::path::Path;

/// All that is told of incidents.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Incidents {
    pub open: Vec<OpenIncident>,
    /// The last recovery in earnest that finished, one a cluster.
    pub recoveries: Vec<LastRecovery>,
    /// The last drill that finished, one a cluster and scenario.
    pub drills: Vec<LastDrill>,
    /// Incidents that cannot be read.
    pub damaged: usize,
}

/// An incident that is not closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenIncident {
    pub id: String,
    pub cluster: String,
    pub drill: bool,
    pub declared: Option<Timestamp>,
    /// Checklist lines whose time is over.
    pub overdue: usize,
}

/// A recovery that finished. Seconds are `None` where the journal does not tell them.
#[derive(Debug, Clone, PartialEq)]
pub struct LastRecovery {
    pub incident: String,
    pub cluster: String,
    pub at: Option<Timestamp>,
    pub rpo_seconds: Option<f64>,
    pub rto_seconds: Option<f64>,
    /// Every check of the validation passed.
    pub verified: bool,
}

/// A drill that finished.
#[derive(Debug, Clone, PartialEq)]
pub struct LastDrill {
    pub cluster: String,
    pub scenario: String,
    pub at: Option<Timestamp>,
    pub rpo_seconds: Option<f64>,
    pub rto_seconds: Option<f64>,
    pub verified: bool,
}

impl Incidents {
    /// Reads all incidents below the state directory.
    ///
    /// # Errors
    /// Where the folder of incidents itself cannot be read.
    pub fn read(state: &Path, runbook: &Runbook, now: Timestamp) -> Result<Self, StoreError> {
        let store = Store::new(state);
        let mut found = Self::default();
        let mut told = BTreeSet::new();
        // Newest first: the first of a kind is the last that happened.
        for listed in store.list()? {
            let summary = match listed {
                Listed::Whole(summary) => summary,
                Listed::Damaged { .. } => {
                    found.damaged += 1;
                    continue;
                }
            };
            let finished = summary.status == RunStatus::Finished;
            let kind = (summary.cluster.clone(), summary.drill.clone());
            let first = finished && !told.contains(&kind);
            if summary.closed.is_some() && !first {
                continue;
            }
            let incident = store.load(&summary.id)?;
            if summary.closed.is_none() {
                found.open.push(open(&incident, runbook, now));
            }
            // A salvage that is under way takes nothing back of its recovery.
            let salvaged = incident.is_salvaging() && !told.contains(&kind);
            if first || salvaged {
                told.insert(kind);
                found.keep(&incident, runbook, now);
            }
        }
        Ok(found)
    }

    fn keep(&mut self, incident: &Incident, runbook: &Runbook, now: Timestamp) {
        let report = Report::from(incident, runbook, now);
        let verified = report.outcome.word == Verdict::Verified.word();
        let rto_seconds = report.rto.actual_seconds.filter(|_| !report.rto.ongoing);
        let cluster = incident.declaration.cluster.clone();
        match &incident.declaration.drill {
            Some(scenario) => self.drills.push(LastDrill {
                cluster,
                scenario: scenario.clone(),
                at: incident.clocks.declared,
                rpo_seconds: report.rpo.actual_seconds,
                rto_seconds,
                verified,
            }),
            None => self.recoveries.push(LastRecovery {
                incident: incident.declaration.id.clone(),
                cluster,
                at: incident.clocks.serving,
                rpo_seconds: report.rpo.actual_seconds,
                rto_seconds,
                verified,
            }),
        }
    }
}

fn open(incident: &Incident, runbook: &Runbook, now: Timestamp) -> OpenIncident {
    OpenIncident {
        id: incident.declaration.id.clone(),
        cluster: incident.declaration.cluster.clone(),
        drill: incident.declaration.drill.is_some(),
        declared: incident.clocks.declared,
        overdue: Checklist::of(incident, runbook, now).overdue().count(),
    }
}
