//! What is looked after while no runner is alive: levels of the ladder whose time has come, and lines
//! of checklists that are due. A runner is started for it, which journals and tells; nothing is
//! written here.

use crate::engine::checklist::reminder;
use crate::engine::config::Config;
use crate::engine::escalation::{Ladder, Watch};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::outlook::Outlook;
use crate::engine::incident::store::{Listed, Store};
use crate::engine::incident::{Incident, journal};
use crate::engine::runbook::Runbook;
use crate::engine::runner::spawn;
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// Starts a runner for every incident that has something to say and none to say it.
pub(super) fn wake(config: &Config, runbook: &Runbook) {
    // Tried again at the next turn; what is wrong with an incident is told where it is opened.
    for folder in silent(&Store::new(&config.state_directory())) {
        let Ok(incident) = incident(&folder) else { continue };
        if has_news(config, runbook, &incident, Timestamp::now()) {
            let _ = spawn::ensure_runner(&config.path, &folder);
        }
    }
}

/// Whether the ladder or the checklist has something to say.
fn has_news(config: &Config, runbook: &Runbook, incident: &Incident, now: Timestamp) -> bool {
    if incident.declaration.drill.is_some() {
        return false;
    }
    let ladder = Ladder::new(config, runbook, incident);
    let outlook = Outlook::of(incident, ladder.rto_seconds(), None, now);
    let called = ladder.call(incident, outlook.as_ref(), &mut Watch::default(), now);
    called.is_some_and(|_| ladder.awaits(incident, now))
        || reminder(incident, runbook, now).is_some()
}

/// Incidents without a runner.
fn silent(store: &Store) -> Vec<PathBuf> {
    let listed = store.list().unwrap_or_default().into_iter();
    listed
        .filter_map(|one| match one {
            Listed::Whole(summary) if !summary.runner_alive => Some(summary.folder),
            _ => None,
        })
        .collect()
}

/// The folders of all incidents that can be read.
pub(super) fn folders(store: &Store) -> Result<Vec<PathBuf>, Explanation> {
    let listed = store.list().map_err(|e| e.explanation())?.into_iter();
    Ok(listed
        .filter_map(|one| match one {
            Listed::Whole(summary) => Some(summary.folder),
            Listed::Damaged { .. } => None,
        })
        .collect())
}

/// The incident of a folder as its journal tells it.
pub(super) fn incident(folder: &Path) -> Result<Incident, Explanation> {
    let entries = journal::read(folder).map_err(|e| e.explanation())?.entries;
    Incident::replay(&entries).map_err(|error| {
        Explanation::new(
            Kind::Integrity,
            format!("{}: {error}.", folder.display()),
            "Nothing was changed.",
            "Look at it with lifeboat journal verify.",
        )
    })
}
