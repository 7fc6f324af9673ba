//! The plan of the runbook's Option A: which steps, in which order, what each touches, how it is
//! stopped and undone. Owns the order; the words come from the runbook data, the work is in
//! [`super::steps`]. Makes a value and does nothing.

use super::full_plan::Ground;
use super::places::{self, BackupSpace, Live};
use super::rights;
use crate::engine::config::{Cluster, Control};
use crate::engine::copies::Availability;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{Forecast, Reach, Source};
use crate::engine::postgres::layout::{self, DebianCluster};
use crate::engine::runbook::{Runbook, StepText};
use crate::engine::runner::plan::{Cancel, Left, Places, Plan, PlanStep};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The steps of Option A in their order. The ids are stable: the journal and reports use them.
pub const ORDER: [&str; 12] = [
    "confirm-identity",
    "rescue-wal",
    "stop-server",
    "move-aside",
    "restore-base",
    "configure-recovery",
    "start-recovery",
    "replay",
    "inspect",
    "promote",
    "open",
    "validate",
];

/// Makes the plan for the incident's chosen target, which fetches WAL from the available
/// repositories alone.
///
/// # Errors
/// Where no target was chosen, it cannot be reached, the cluster's identity is not known, or a
/// part of the cluster cannot be kept.
pub fn make(ground: Ground<'_>) -> Result<Plan, Explanation> {
    let Ground { incident, cluster, available, identity, lost, spaces, source, runbook, now } =
        ground;
    let reach = chosen(incident)?;
    let base = reach.base.clone().ok_or_else(no_base)?;
    if base.system_identifier != identity.system_identifier {
        return Err(refused(format!(
            "The base backup {} belongs to another cluster (system identifier {}) than the data \
             directory {} (system identifier {}).",
            base.set, base.system_identifier, identity.data_directory, identity.system_identifier
        )));
    }
    let footing = &rights::check(cluster)?;
    // Decided by the proof, which told of it and counted the room for it.
    let elsewhere = reach.alternative.clone();
    let (places, aside) = if lost {
        of_lost(&cluster.data_directory, &spaces, &cluster.tablespace_mapping, elsewhere, now)
    } else {
        kept(cluster, &spaces, elsewhere, now)?
    };
    rights::require_places(cluster, &places)?;
    // Beside the data directory and not in the incident's folder: the server must get at it.
    let rescue = beside(&cluster.data_directory, "rescued-wal", now);
    let data = places.alternative.as_deref().unwrap_or(&cluster.data_directory);
    let link = source.as_ref();
    let (places, aside, rescue) = (&places, &aside, &rescue);
    let draft =
        Draft { data, places, cluster, available, aside, rescue, reach, lost, link, footing };
    let steps = ORDER
        .iter()
        .map(|id| {
            let words = words(runbook, id)?;
            Ok(PlanStep {
                id: (*id).to_owned(),
                title: words.title.clone(),
                why: words.why.clone(),
                runbook: words.runbook.clone(),
                touches: draft.touches(id),
                expected: draft.expected(id),
                cancel: cancel(id),
                destructive: matches!(*id, "stop-server" | "move-aside" | "promote" | "open"),
                undo: draft.undo(id),
            })
        })
        .collect::<Result<Vec<_>, Explanation>>()?;
    sealed(Plan {
        incident: incident.declaration.id.clone(),
        cluster: cluster.name.clone(),
        identity,
        target: reach.target.clone(),
        timeline: reach.timeline(),
        base,
        aside: aside.display().to_string(),
        rescue: rescue.display().to_string(),
        repositories: available.open.clone(),
        places: places.clone(),
        replay_until: reach.last_kept.as_ref().map(|commit| commit.end_lsn),
        ends_at: None,
        minimum_settings: reach.minimum_settings.clone(),
        procedure: reach.procedure.clone(),
        lost,
        source,
        steps,
        hash: String::new(),
    })
}

pub(in crate::engine) fn sealed(plan: Plan) -> Result<Plan, Explanation> {
    plan.seal().map_err(no_hash)
}

#[allow(clippy::needless_pass_by_value, reason = "it is given to map_err")]
pub(super) fn no_hash(error: serde_json::Error) -> Explanation {
    Explanation::new(Kind::Internal, format!("The plan has no hash: {error}."), "", "")
}

pub(in crate::engine) fn words<'a>(
    runbook: &'a Runbook,
    id: &str,
) -> Result<&'a StepText, Explanation> {
    runbook.step(id).ok_or_else(|| {
        Explanation::new(
            Kind::Config,
            format!("The runbook data has no step \"{id}\"."),
            "Nothing was touched.",
            "Correct the runbook file named in lifeboat.toml.",
        )
    })
}

/// Who starts the cluster's server at boot, where that is not `pg_ctl` by Lifeboat's own hand: it
/// knows the configured directory alone.
fn keeper(control: &Control) -> Option<String> {
    Some(match control {
        Control::PgCtl { .. } => return None,
        Control::PgCtlcluster { version, cluster, .. } => {
            format!("Debian's cluster {version}/{cluster}")
        }
        Control::Systemd { unit: Some(unit), .. } => format!("the unit {unit}"),
        Control::Systemd { unit: None, .. } => String::from("its unit"),
        Control::Command(_) => String::from("the configured commands"),
    })
}

/// What of the cluster lies where and goes where, and where the damaged directory is kept.
fn kept(
    cluster: &Cluster,
    backup: &[BackupSpace],
    elsewhere: Option<PathBuf>,
    now: Timestamp,
) -> Result<(Places, PathBuf), Explanation> {
    let live = places::live::look(&cluster.data_directory).map_err(|e| e.explanation())?;
    places::live::require_unshared(&live).map_err(|e| e.explanation())?;
    let mut places = places::choose(&live, backup, &cluster.tablespace_mapping, elsewhere, now);
    places.reuse = cluster.delta_restore;
    let aside = aside_of(&live, &places, now);
    Ok((places, aside))
}

/// The same of a cluster whose directory tells nothing: nothing of it is known that would have to be
/// kept but the directory, and its backup's tablespaces go where the configuration says. Folders of
/// theirs that survived are never taken: the proof fails where one would be filled.
fn of_lost(
    data: &Path,
    backup: &[BackupSpace],
    mapping: &BTreeMap<PathBuf, PathBuf>,
    alternative: Option<PathBuf>,
    now: Timestamp,
) -> (Places, PathBuf) {
    let aside = match alternative {
        Some(_) => data.to_owned(),
        None => beside(data, "damaged", now),
    };
    let spaces = places::placed(backup, mapping);
    (Places { spaces, alternative, ..Places::default() }, aside)
}

/// Where the damaged cluster is kept: beside itself, with the moment in UTC in its name; inside
/// where it is a mount point; where it is, if another directory is recovered into.
#[must_use]
pub fn aside_of(live: &Live, places: &Places, now: Timestamp) -> PathBuf {
    if places.alternative.is_some() {
        return live.data.clone();
    }
    if places.contents {
        return live.data.join(format!("{}{}", places::KEPT, places::stamp(now)));
    }
    beside(&live.data, "damaged", now)
}

/// A new name beside `directory`: `<directory>.<word>.YYYYMMDD-HHMMSS`.
#[must_use]
pub fn beside(directory: &Path, word: &str, now: Timestamp) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{word}.{}", now.strftime("%Y%m%d-%H%M%S")));
    directory.with_file_name(name)
}

/// A full restore is configured through the files in the new directory, or by a file elsewhere that
/// the control driver knows. Where there is neither, the swap would fail after the move; so it is
/// refused before.
pub(super) fn configuration_found(cluster: &Cluster) -> Result<(), Explanation> {
    let data_directory = &cluster.data_directory;
    let here = |name: &str| data_directory.join(name).exists();
    if !here("PG_VERSION") || here("postgresql.conf") {
        return Ok(());
    }
    // It stays where it is and serves the one directory as the other.
    if layout::config_file(cluster).is_some_and(|file| file.exists()) {
        return Ok(());
    }
    Err(Explanation::new(
        Kind::Refused,
        format!(
            "{} has no postgresql.conf, and the control section of lifeboat.toml names none.",
            data_directory.display()
        ),
        "No plan was made and nothing was touched.",
        "Where it is elsewhere, name it: config_file in the cluster's control section, or Debian's \
         cluster by driver = \"pg_ctlcluster\". If it was lost, put one there and make the plan again.",
    ))
}

/// The target that was chosen and can be reached.
///
/// # Errors
/// Where there is none.
pub fn chosen(incident: &Incident) -> Result<&Reach, Explanation> {
    match &incident.reach {
        Some(reach) if reach.reachable => Ok(reach),
        Some(reach) => {
            Err(refused(format!("The chosen target ({}) is not reachable.", reach.target)))
        }
        None => Err(refused(String::from("No recovery point has been chosen yet."))),
    }
}

/// The refusal where no base serves.
#[must_use]
pub fn no_base() -> Explanation {
    refused(String::from("No base backup serves the chosen target."))
}

fn refused(what: String) -> Explanation {
    Explanation::new(
        Kind::Refused,
        what,
        "No plan was made and nothing was touched.",
        "Choose a recovery point on the recovery point screen.",
    )
}

/// What is said of the transfer where no copy could be read to measure it.
pub(super) const UNKNOWN_LINK: &str = "transfer time: unknown, no copy could be read to measure it";

/// What the steps' words are made from.
pub(super) struct Draft<'a> {
    /// What is recovered into.
    pub data: &'a Path,
    pub places: &'a Places,
    pub cluster: &'a Cluster,
    pub available: &'a Availability,
    pub aside: &'a Path,
    pub rescue: &'a Path,
    pub reach: &'a Reach,
    pub lost: bool,
    pub link: Option<&'a Source>,
    pub footing: &'a rights::Ground,
}

impl Draft<'_> {
    pub fn touches(&self, id: &str) -> Vec<String> {
        let damaged = self.cluster.data_directory.display();
        let directory = self.data.display();
        let aside = self.aside.display();
        let unverified = self.footing.unverified.iter().filter(|(step, _)| *step == id);
        let unverified = unverified.map(|(_, why)| format!("rights: COULD NOT VERIFY, {why}"));
        let mut touched = match id {
            "stop-server" if self.lost => {
                vec![String::from("nothing: the data directory is lost")]
            }
            "rescue-wal" => vec![format!("writes copies to {}", self.rescue.display())],
            "stop-server" => vec![format!("server on {damaged}: stopped, sessions end")],
            "move-aside" if self.lost => vec![match &self.places.alternative {
                Some(other) => format!(
                    "what is left of {damaged}, if anything, stays where it is: its volume cannot \
                     hold the restore. {} is recovered into",
                    other.display()
                ),
                None => format!("what is left of {damaged}, if anything, becomes {aside}"),
            }],
            "move-aside" => self.keeps(),
            "restore-base" => {
                let link =
                    self.link.map_or_else(|| String::from(UNKNOWN_LINK), ToString::to_string);
                std::iter::once(link)
                    .chain(fills(self.data, self.places, &aside.to_string()))
                    .collect()
            }
            "configure-recovery" => {
                let mut all = vec![format!(
                    "{directory}/postgresql.auto.conf (a marked block) and recovery.signal"
                )];
                if let Some(file) = &self.footing.config_file {
                    all.push(format!("{} is read and stays as it is", file.display()));
                }
                all.extend(self.available.told());
                all
            }
            "start-recovery" => {
                vec![format!("server on {directory}: started, closed to everybody")]
            }
            "replay" => vec![format!("{directory}: changes since the backup are applied")],
            "promote" => vec![format!("server on {directory}: leaves recovery on a new timeline")],
            "open" => {
                let mut all = vec![
                    format!("{directory}/postgresql.auto.conf: the marked block is taken out"),
                    format!("server on {directory}: restarted, open to applications"),
                ];
                if self.places.alternative.is_some() {
                    all.extend(keeper(&self.cluster.control).map(|keeper| {
                        format!(
                            "server on {directory}: started by pg_ctl; {keeper} does not watch over \
                             it, and would start {damaged} at boot"
                        )
                    }));
                    all.push(after_alternative(&self.cluster.control, self.data));
                }
                all
            }
            "validate" => vec![format!("statistics of the databases (ANALYZE)")],
            _ => Vec::new(),
        };
        if let Some(left) = self.places.left.as_ref().filter(|_| id == "move-aside") {
            touched.insert(0, given_up(left, &damaged));
        }
        touched.extend(unverified);
        touched
    }

    fn keeps(&self) -> Vec<String> {
        let (data, aside) = (self.cluster.data_directory.display(), self.aside.display());
        let mut all = vec![match &self.places.alternative {
            Some(other) => format!(
                "{data} stays where it is, whole and unchanged: its volume cannot hold the restore. \
                 {} is recovered into",
                other.display()
            ),
            None if self.places.contents => format!(
                "{data} is a mount point: everything in it goes to {aside}, on the same volume"
            ),
            None => format!("{data} becomes {aside}, whole and unchanged"),
        }];
        for space in &self.places.kept {
            all.push(format!(
                "tablespace {}: {} becomes {}, whole",
                space.oid,
                space.folder.display(),
                space.kept.display()
            ));
        }
        all
    }

    pub fn expected(&self, id: &str) -> Option<(f64, f64)> {
        let forecast: Option<&Forecast> = self.reach.forecast.as_ref();
        match id {
            "restore-base" => forecast
                .map(|f| match self.link {
                    Some(link) => super::line::transfer(f.copy, link),
                    None => f.copy,
                })
                .filter(|_| self.link.is_some() || forecast.is_some_and(|f| f.measured)),
            "replay" => {
                forecast.map(|f| super::line::replay(f.replay, self.reach.wal_bytes, self.link))
            }
            "inspect" | "validate" => None,
            "stop-server" | "open" => Some((1.0, 30.0)),
            "rescue-wal" => Some((1.0, 20.0)),
            _ => Some((0.0, 5.0)),
        }
    }

    pub fn undo(&self, id: &str) -> Option<String> {
        let directory = self.data.display();
        match id {
            "stop-server" => Some(String::from("start the server again, where it ran")),
            "move-aside" if self.places.alternative.is_some() => {
                Some(format!("set the restored files aside as {directory}.abandoned.…"))
            }
            "move-aside" if self.places.contents => {
                Some(format!("move everything in {} back", self.aside.display()))
            }
            "move-aside" if self.places.kept.is_empty() => {
                Some(format!("rename {} back to {directory}", self.aside.display()))
            }
            "move-aside" => Some(format!(
                "rename {} back to {directory}, and the tablespaces' folders to their names",
                self.aside.display()
            )),
            "restore-base" => {
                Some(format!("set the restored files aside as {directory}.abandoned.…"))
            }
            "start-recovery" => Some(String::from("stop the recovering server")),
            _ => None,
        }
    }
}

/// What becomes of a place whose disk is full.
fn given_up(left: &Left, damaged: &impl std::fmt::Display) -> String {
    let from = left.from.display();
    let kept = format!("{from}: what was restored is kept whole as {from}.abandoned.*");
    match left.aside.as_str() {
        "" => kept,
        aside if left.contents => {
            format!("{from}: what was restored is kept whole in it, and {aside} comes back")
        }
        aside => format!("{kept}, and {aside} becomes {damaged} again"),
    }
}

/// What the copy of the base backup fills, and what it reads here instead of fetching it.
pub(super) fn fills(data: &Path, places: &Places, aside: &str) -> Vec<String> {
    let mut all = vec![format!("fills the new, empty {}", data.display())];
    let taken = "files proven equal to the backup's are copied, the rest is fetched";
    if let Some(stood) = &places.stood {
        all.push(format!("reads {}: {taken}", stood.kept.display()));
    } else if places.reuse {
        all.push(format!("reads {aside}: {taken} (delta_restore)"));
    }
    for space in &places.spaces {
        let place = space.place.display();
        let mapped = if space.moved { ", mapped" } else { "" };
        all.push(format!("tablespace {}: fills {place}{mapped}", space.oid));
    }
    if let Some(wal) = &places.wal {
        all.push(format!("pg_wal leads to the new, empty {}", wal.display()));
    }
    all
}

/// What is left to do for people where another directory was recovered into: whoever starts the
/// server at boot has to know it.
#[must_use]
pub fn after_alternative(control: &Control, directory: &Path) -> String {
    let debian =
        |debian: DebianCluster| format!("as data_directory in {}", debian.config_file.display());
    let keeper = match control {
        Control::PgCtl { .. } => String::from("in what starts the server at boot"),
        Control::PgCtlcluster { version, cluster, .. } => {
            debian(DebianCluster::named(*version, cluster))
        }
        Control::Systemd { unit: Some(unit), .. } => match DebianCluster::of_unit(unit) {
            Some(one) => debian(one),
            None => {
                format!("in the unit (systemctl edit {unit}: its PGDATA, or the -D of its start)")
            }
        },
        Control::Systemd { unit: None, .. } => {
            String::from("in its unit (systemctl edit: its PGDATA, or the -D of its start)")
        }
        Control::Command(commands) => {
            let takes = |words: &[String]| words.iter().any(|w| w.contains("{data_directory}"));
            match takes(&commands.start) && takes(&commands.stop) {
                true => String::from(
                    "in what runs the commands at boot ({data_directory} follows lifeboat.toml)",
                ),
                false => String::from("in the programs of start and stop"),
            }
        }
    };
    format!(
        "afterwards the cluster lives in {}: name it as data_directory in lifeboat.toml and {keeper}, \
         and restart the server once by it; or move it back in a maintenance window",
        directory.display()
    )
}

fn cancel(id: &str) -> Cancel {
    match id {
        "confirm-identity" | "rescue-wal" | "restore-base" | "inspect" | "validate" => {
            Cancel::AtOnce
        }
        "replay" => Cancel::SafePoint(String::from("the server is stopped where replay stands")),
        "stop-server" | "start-recovery" => {
            Cancel::No(String::from("a server between running and stopped helps nobody"))
        }
        "move-aside" | "configure-recovery" => {
            Cancel::No(String::from("it takes less than a second"))
        }
        "promote" => Cancel::No(String::from("a promotion cannot be taken back")),
        _ => Cancel::No(String::from("the database has been promoted already")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_clusters_tablespaces_go_where_they_are_mapped() {
        let now = "2026-01-01T12:00:00Z".parse().unwrap();
        let data = Path::new("/srv/pg/main");
        let backup = [BackupSpace { oid: 16400, location: PathBuf::from("/far") }];
        let mapping = BTreeMap::from([(PathBuf::from("/far"), PathBuf::from("/new"))]);
        let (places, aside) = of_lost(data, &backup, &mapping, None, now);
        assert_eq!(places.spaces[0].place, Path::new("/new"));
        assert!(places.spaces[0].moved && places.kept.is_empty() && places.alternative.is_none());
        assert_eq!(aside, Path::new("/srv/pg/main.damaged.20260101-120000"));
        // The proof named another directory: what is left of the lost one stays where it is.
        let other = PathBuf::from("/mnt/recovery");
        let (places, aside) = of_lost(data, &backup, &mapping, Some(other.clone()), now);
        assert_eq!(places.alternative, Some(other));
        assert_eq!(aside, data);
    }
}
