//! What `restore --delta` and `--delta-from` may take files from. Owns when that is refused; the
//! proof of each file is the engine's.

use super::args;
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::BaseSummary;
use crate::engine::postgres::control_file;
use crate::engine::postgres::discovery::{self, Running};
use crate::engine::restore::base::MARKER;
use crate::engine::restore::base::delta::{Reuse, Take};
use crate::engine::restore::places::{live, moves};
use crate::engine::restore::plan::beside;
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
    let is_clusters = |directory: &Path| directory.canonicalize().is_ok_and(|found| found == real);
    if let Some(owner) = config.clusters.iter().find(|c| is_clusters(&c.data_directory)) {
        return Err(refused(
            format!("{} is the data directory of \"{}\".", target.display(), owner.name),
            "Recover it by an incident, which keeps it; or restore elsewhere with --delta-from.",
        ));
    }
    require_stopped(target, base)?;
    if live::look(target).map_err(|e| e.explanation())?.is_mount {
        return Err(refused(
            format!("{} is a mount point and cannot be renamed.", target.display()),
            "Restore into another directory with --delta-from.",
        ));
    }
    let to = beside(&real, "replaced", Timestamp::now());
    moves::rename_whole(&real, &to)?;
    Ok(Some(taken(to)))
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
