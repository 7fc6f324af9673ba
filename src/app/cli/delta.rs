//! What `restore --delta` and `--delta-from` may take files from. Owns when that is refused; the
//! proof of each file is the engine's.

use super::args;
use super::output;
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{BaseSummary, Procedure};
use crate::engine::incident::store::{Listed, Store};
use crate::engine::postgres::control_file;
use crate::engine::postgres::discovery::{self, Running};
use crate::engine::restore::base::MARKER;
use crate::engine::restore::base::delta::{Reuse, Take};
use crate::engine::restore::places::{self, live, moves};
use crate::engine::restore::plan::beside;
use crate::engine::runner::plan::Plan;
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What the restore may take files from. With `--delta` the target directory is given another name
/// here, unless an earlier attempt has done so.
pub(super) fn reuse(
    config: &Config,
    args: &args::Restore,
    base: &BaseSummary,
) -> Result<Option<Reuse>, Explanation> {
    let target = &args.target_directory;
    if let Some(from) = &args.delta_from {
        require_stopped(from, base)?;
        let live = live::look(from).map_err(|e| e.explanation())?;
        let spaces = live.spaces.into_iter().map(|space| (space.oid, space.folder)).collect();
        return Ok(Some(Reuse { from: from.clone(), spaces, take: Take::Copy, times_hold: false }));
    }
    if !args.delta {
        return Ok(None);
    }
    let taken = |from| Reuse {
        from,
        // What its links lead to may be another cluster's.
        spaces: BTreeMap::new(),
        take: Take::Move,
        times_hold: false,
    };
    let is_ours = target.join(MARKER).exists();
    if is_ours || moves::is_empty(target).unwrap_or(!target.exists()) {
        let Some(from) = replaced(target) else { return Ok(None) };
        require_stopped(&from, base)?;
        // Only what an attempt of our own left unfinished is taken apart.
        let take = if is_ours { Take::Move } else { Take::Copy };
        return Ok(Some(Reuse { take, ..taken(from) }));
    }
    let real = target.canonicalize().unwrap_or_else(|_| target.clone());
    let (spoken, are_all_read) = spoken_for(config);
    require_nobodys(&real, &spoken)?;
    require_stopped(target, base)?;
    if live::look(target).map_err(|e| e.explanation())?.is_mount {
        return Err(refused(
            format!("{} is a mount point and cannot be renamed.", target.display()),
            "Restore into another directory with --delta-from.",
        ));
    }
    let to = beside(&real, "replaced", Timestamp::now());
    moves::rename_whole(&real, &to)?;
    if are_all_read {
        return Ok(Some(taken(to)));
    }
    output::warn(&format!(
        "Not every incident could be read, and one may keep that directory: its files are copied from \
         {}, which stays whole.",
        to.display()
    ));
    Ok(Some(Reuse { take: Take::Copy, ..taken(to) }))
}

/// A directory that is not taken apart, and what it is.
type Spoken = (PathBuf, String);

/// The directories of the configuration, and those that the plans of its incidents keep or fill; and
/// whether all incidents could be read.
fn spoken_for(config: &Config) -> (Vec<Spoken>, bool) {
    let mut all = Vec::new();
    for cluster in &config.clusters {
        let name = &cluster.name;
        all.push((cluster.data_directory.clone(), format!("the data directory of \"{name}\"")));
        let alternative = cluster.alternative_data_directory.clone();
        all.extend(
            alternative
                .map(|other| (other, format!("the alternative data directory of \"{name}\""))),
        );
    }
    let store = Store::new(&config.state_directory());
    let listed = match store.list() {
        Ok(listed) if !store.is_closed_to_us() => listed,
        _ => return (all, false),
    };
    let mut are_all_read = true;
    for listed in listed {
        let incident = match &listed {
            Listed::Whole(summary) => store.load(&summary.id).ok(),
            Listed::Damaged { .. } => None,
        };
        let Some(incident) = incident else {
            are_all_read = false;
            continue;
        };
        // While a salvage stands in its place, the recovery's own plan counts too.
        let settled = incident.settled();
        let plans = incident.plan.iter().chain(&settled.plan);
        let is_open = incident.closing.is_none();
        all.extend(plans.flat_map(|plan| named_by(plan, is_open)));
    }
    (all, are_all_read)
}

/// What a plan keeps, and what it fills: while its incident is open, a new cluster of its own too.
fn named_by(plan: &Plan, is_open: bool) -> Vec<Spoken> {
    let id = &plan.incident;
    let places = &plan.places;
    let stood = places.stood.iter();
    let kept = [&plan.aside, &plan.rescue].into_iter().map(PathBuf::from);
    let kept = kept
        .chain(places.kept.iter().map(|space| space.kept.clone()))
        .chain(stood.clone().map(|stood| stood.kept.clone()))
        .chain(stood.flat_map(|stood| stood.spaces.iter().map(|space| space.kept.clone())))
        .filter(|path| !path.as_os_str().is_empty());
    let destination = match &plan.procedure {
        Procedure::FullRestore { destination, .. } if is_open => Some(PathBuf::from(destination)),
        _ => None,
    };
    let filled = places
        .alternative
        .iter()
        .chain(&places.wal)
        .chain(places.spaces.iter().map(|space| &space.place))
        .cloned()
        .chain(destination);
    kept.map(|path| (path, format!("kept by incident {id}")))
        .chain(filled.map(|path| (path, format!("filled by incident {id}"))))
        .collect()
}

/// Refuses a directory that is, holds or lies in one of those, or that has a name under which
/// Lifeboat keeps things: also without the incident that kept it.
fn require_nobodys(target: &Path, spoken: &[Spoken]) -> Result<(), Explanation> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let touches = |path: &Path| {
        let path = real(path);
        path.starts_with(target) || target.starts_with(&path)
    };
    let by_plan = spoken.iter().find(|(path, _)| touches(path)).map(|(path, what)| {
        if real(path) == target { what.clone() } else { format!("{}, {what},", path.display()) }
    });
    let by_name = || {
        let mut names = target.iter().filter_map(|name| name.to_str());
        names.find(|name| is_keeping(name)).map(|name| format!("what a recovery has kept ({name})"))
    };
    let Some(what) = by_plan.or_else(by_name) else { return Ok(()) };
    let shown = target.display();
    let what = match what.strip_suffix(',') {
        Some(part) => format!("{shown} and {part} lie in each other."),
        None => format!("{shown} is {what}."),
    };
    Err(refused(
        what,
        "It stays as it is. Recover a cluster by an incident, which keeps what was there; or restore \
         into another directory with --delta-from, which only reads this one.",
    ))
}

/// Whether a folder's name is one that a recovery gives to what it sets aside.
fn is_keeping(name: &str) -> bool {
    let stamped = |word: &str| {
        name.rsplit_once(word).is_some_and(|(_, end)| {
            end.len() == 15
                && end.bytes().enumerate().all(|(at, b)| match at {
                    8 => b == b'-',
                    _ => b.is_ascii_digit(),
                })
        })
    };
    let words = [".damaged.", ".failed.", ".abandoned.", ".rescued-wal.", ".before-recovery."];
    name.starts_with(places::KEPT) || name.ends_with(".failed") || words.iter().any(|w| stamped(w))
}

/// It must be the same cluster's, and no server may write to it meanwhile.
fn require_stopped(directory: &Path, base: &BaseSummary) -> Result<(), Explanation> {
    let control = control_file::read(directory).map_err(|e| e.explanation())?;
    if control.system_identifier != base.system_identifier {
        return Err(refused(
            format!(
                "{} belongs to another cluster (system identifier {}) than {} (system identifier \
                 {}).",
                directory.display(),
                control.system_identifier,
                base.set,
                base.system_identifier
            ),
            "Name a directory of the same cluster, or leave the delta out.",
        ));
    }
    match discovery::running(directory).map_err(|e| e.explanation())? {
        Running::Yes(_) => Err(refused(
            format!("A server runs in {}.", directory.display()),
            "Stop it first, or name another directory.",
        )),
        _ => Ok(()),
    }
}

/// The newest directory that an earlier attempt has renamed.
fn replaced(target: &Path) -> Option<PathBuf> {
    let real = std::path::absolute(target).ok()?;
    let prefix = format!("{}.replaced.", real.file_name()?.to_string_lossy());
    let entries = std::fs::read_dir(real.parent()?).ok()?.flatten();
    entries
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix))
        .map(|entry| entry.path())
        .max()
}

fn refused(what: String, next: &str) -> Explanation {
    Explanation::new(Kind::Refused, what, "Nothing was touched.", next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_recovery_keeps_is_known_by_its_name() {
        for name in [
            "main.damaged.20260101-120000",
            "main.failed",
            "main.failed.20260101-120000",
            "main.abandoned.20260101-120000",
            "PG_15_202209061.damaged.20260101-120000",
            "main.rescued-wal.20260101-120000",
            "lifeboat-kept.20260101-120000",
            "lifeboat-kept.abandoned.20260101-120000",
        ] {
            assert!(is_keeping(name), "{name}");
        }
        for name in ["main", "main-restore", "damaged", "main.damaged.1", "restore.20260101-120000"]
        {
            assert!(!is_keeping(name), "{name}");
        }
    }

    #[test]
    fn what_is_kept_or_filled_is_never_taken_apart() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let at = |name: &str| root.join(name);
        for name in ["data", "older", "mount/lifeboat-kept.20260101-120000", "alt/pg/deeper"] {
            std::fs::create_dir_all(at(name)).unwrap();
        }
        std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
        let spoken = [
            (at("link"), String::from("the data directory of \"shop\"")),
            (at("alt/pg"), String::from("kept by incident INC-1")),
        ];
        let judged = |name: &str| require_nobodys(&at(name), &spoken);
        assert!(judged("older").is_ok());
        let refused = judged("data").unwrap_err();
        assert!(refused.what.contains("is the data directory of \"shop\"."), "{refused}");
        assert_eq!(refused.kind, Kind::Refused);
        assert!(judged("alt/pg").unwrap_err().what.contains("is kept by incident INC-1."));
        for around in ["alt", "alt/pg/deeper"] {
            let refused = judged(around).unwrap_err();
            assert!(refused.what.contains("lie in each other"), "{refused}");
        }
        let kept = judged("mount/lifeboat-kept.20260101-120000").unwrap_err();
        assert!(kept.what.contains("what a recovery has kept"), "{kept}");
    }
}
