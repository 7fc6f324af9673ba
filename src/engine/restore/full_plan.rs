//! The plan of the runbook's Option B: a new cluster beside the old one, checked, then swapped in
//! or discarded. Owns the order of its steps and what each touches; makes a value and does nothing.

use super::places::{self, BackupSpace};
use super::plan::{beside, chosen, configuration_found, fills, no_base, sealed, words};
use super::rights;
use crate::engine::config::Cluster;
use crate::engine::copies::Availability;
use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{Identity, Procedure, Reach, Source, TargetPoint};
use crate::engine::runbook::Runbook;
use crate::engine::runner::plan::{Cancel, Places, Plan, PlanStep};
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// The steps of Option B in their order. The ids are stable: the journal and reports use them.
/// `rescue-wal` is there only where the log is replayed on to its end.
pub const ORDER: [&str; 12] = [
    "prepare-beside",
    "rescue-wal",
    "restore-base",
    "configure-recovery",
    "start-recovery",
    "replay",
    "promote-beside",
    "decide-swap",
    "stop-old",
    "swap",
    "open",
    "validate",
];

/// What a plan is made from.
#[derive(Debug)]
pub struct Ground<'a> {
    pub incident: &'a Incident,
    pub cluster: &'a Cluster,
    pub available: &'a Availability,
    /// The data directory's, or the backup's word where that is lost.
    pub identity: Identity,
    pub lost: bool,
    /// The tablespaces of the base.
    pub spaces: Vec<BackupSpace>,
    pub source: Option<Source>,
    pub runbook: &'a Runbook,
    /// Names what is set aside.
    pub now: Timestamp,
}

/// Makes the plan for the full restore that was chosen.
///
/// # Errors
/// Where none was chosen, or it cannot be made.
pub fn make(ground: Ground<'_>) -> Result<Plan, Explanation> {
    let reach = chosen(ground.incident)?;
    let base = reach.base.clone().ok_or_else(no_base)?;
    let live = &ground.cluster.data_directory;
    configuration_found(ground.cluster)?;
    let footing = rights::check(ground.cluster)?;
    let places = places_of(ground.cluster, &ground.spaces, ground.now);
    rights::require_places(ground.cluster, &places)?;
    let failed = failed_of(live, ground.now);
    let rescue = beside(live, "rescued-wal", ground.now);
    let (failed, rescue, footing) = (&failed, &rescue, &footing);
    let draft = Draft { ground: &ground, reach, places: &places, failed, rescue, footing };
    let to_end = reach.target.point == TargetPoint::EndOfArchive;
    let steps = ORDER
        .iter()
        .filter(|id| **id != "rescue-wal" || (to_end && !ground.lost))
        .map(|id| {
            let words = words(ground.runbook, id)?;
            Ok(PlanStep {
                id: (*id).to_owned(),
                title: words.title.clone(),
                why: words.why.clone(),
                runbook: words.runbook.clone(),
                touches: draft.touches(id),
                expected: draft.expected(id),
                cancel: cancel(id),
                destructive: matches!(*id, "stop-old" | "swap" | "open"),
                undo: draft.undo(id),
            })
        })
        .collect::<Result<Vec<_>, Explanation>>()?;
    sealed(Plan {
        incident: ground.incident.declaration.id.clone(),
        cluster: ground.cluster.name.clone(),
        identity: ground.identity.clone(),
        target: reach.target.clone(),
        timeline: reach.timeline(),
        base,
        aside: failed.display().to_string(),
        rescue: rescue.display().to_string(),
        repositories: ground.available.open.clone(),
        places: places.clone(),
        ends_at: None,
        replay_until: reach.last_kept.as_ref().map(|commit| commit.end_lsn),
        minimum_settings: reach.minimum_settings.clone(),
        procedure: reach.procedure.clone(),
        lost: ground.lost,
        source: ground.source.clone(),
        steps,
        hash: String::new(),
    })
}

/// Where the new cluster's parts go that lie outside its directory: the tablespaces as the
/// configuration maps them, and the WAL to the volume that the old cluster has it on, in a folder of
/// its own.
#[must_use]
pub fn places_of(cluster: &Cluster, backup: &[BackupSpace], now: Timestamp) -> Places {
    // A directory that cannot be looked at tells of no volume.
    let live = places::live::look(&cluster.data_directory).ok();
    let wal = live.and_then(|live| Some((live.wal?, live.wal_is_mount)));
    Places {
        spaces: places::placed(backup, &cluster.tablespace_mapping),
        wal: wal.map(|(wal, is_mount)| places::fresh_wal(&wal, &places::stamp(now), is_mount)),
        ..Places::default()
    }
}

/// Where the old directory goes: the runbook's `.failed`, with the moment where that is taken.
#[must_use]
pub fn failed_of(live: &Path, now: Timestamp) -> PathBuf {
    let mut name = live.file_name().unwrap_or_default().to_os_string();
    name.push(".failed");
    let plain = live.with_file_name(name);
    if std::fs::symlink_metadata(&plain).is_err() { plain } else { beside(live, "failed", now) }
}

struct Draft<'a> {
    ground: &'a Ground<'a>,
    reach: &'a Reach,
    places: &'a Places,
    failed: &'a Path,
    rescue: &'a Path,
    footing: &'a rights::Ground,
}

impl Draft<'_> {
    fn place(&self) -> (&str, u16) {
        match &self.reach.procedure {
            Procedure::FullRestore { destination, port } => (destination, *port),
            _ => ("", 0),
        }
    }

    fn touches(&self, id: &str) -> Vec<String> {
        let (new, port) = self.place();
        let live = self.ground.cluster.data_directory.display();
        let failed = self.failed.display();
        let same = if id == "stop-old" { "stop-server" } else { id };
        // The new server is started by pg_ctl, whatever starts the old one.
        let rights = self.footing.unverified.iter().filter(|(step, _)| *step == same);
        let rights = rights.filter(|_| matches!(id, "stop-old" | "open"));
        let rights = rights.map(|(_, why)| format!("rights: COULD NOT VERIFY, {why}"));
        let mut touched = match id {
            "prepare-beside" => vec![format!("makes {new}, empty")],
            "rescue-wal" => vec![format!("writes copies to {}", self.rescue.display())],
            "restore-base" => {
                let source = self.ground.source.iter().map(ToString::to_string);
                source.chain(fills(Path::new(new), self.places, "")).collect()
            }
            "configure-recovery" => {
                let mut all = vec![format!(
                    "{new}/postgresql.auto.conf (a marked block) and the signal file"
                )];
                all.extend(self.ground.available.told());
                all
            }
            "start-recovery" => vec![format!(
                "server on {new}: started at port {port}, closed to everybody, archiving nothing"
            )],
            "replay" => vec![format!("{new}: the changes that the backup needs are applied")],
            "promote-beside" => vec![format!("server on {new}: leaves recovery on a new timeline")],
            "decide-swap" => vec![format!("statistics of the new cluster's databases (ANALYZE)")],
            "stop-old" if self.ground.lost => vec![String::from("nothing is left to stop")],
            "stop-old" => vec![format!("server on {live}: stopped, sessions end")],
            "swap" => {
                let aside = format!("{live} becomes {failed}, whole and unchanged");
                let lost = format!("{live}, if anything is left of it, becomes {failed}");
                vec![if self.ground.lost { lost } else { aside }, format!("{new} becomes {live}")]
            }
            "open" => vec![
                format!("{live}/postgresql.auto.conf: the marked block is taken out"),
                format!("server on {live}: started at its own port, open, archiving"),
            ],
            "validate" => vec![String::from("statistics of the databases (ANALYZE)")],
            _ => Vec::new(),
        };
        touched.extend(rights);
        touched
    }

    fn expected(&self, id: &str) -> Option<(f64, f64)> {
        let forecast = self.reach.forecast.as_ref();
        match id {
            "restore-base" => forecast.map(|f| f.copy),
            "replay" => forecast.map(|f| f.replay),
            "decide-swap" | "validate" => None,
            "stop-old" | "open" => Some((1.0, 30.0)),
            "rescue-wal" => Some((1.0, 20.0)),
            _ => Some((0.0, 5.0)),
        }
    }

    fn undo(&self, id: &str) -> Option<String> {
        let (new, _) = self.place();
        let live = self.ground.cluster.data_directory.display();
        match id {
            "prepare-beside" => Some(format!(
                "{new} stays until you discard it by its name: lifeboat restore-full --discard \
                 --target {new}"
            )),
            "start-recovery" => Some(String::from("stop the new server")),
            "stop-old" if !self.ground.lost => Some(String::from("start the old server again")),
            "swap" => Some(format!("rename {live} back to {new}, and the old one back to {live}")),
            _ => None,
        }
    }
}

fn cancel(id: &str) -> Cancel {
    match id {
        "prepare-beside" | "rescue-wal" | "restore-base" | "decide-swap" | "validate" => {
            Cancel::AtOnce
        }
        "replay" => Cancel::SafePoint(String::from("the new server is stopped where it stands")),
        "stop-old" | "start-recovery" => {
            Cancel::No(String::from("a server between running and stopped helps nobody"))
        }
        "swap" | "configure-recovery" => Cancel::No(String::from("it takes less than a second")),
        "promote-beside" => Cancel::No(String::from("it takes a few seconds")),
        _ => Cancel::No(String::from("the new cluster has taken the old one's place already")),
    }
}
