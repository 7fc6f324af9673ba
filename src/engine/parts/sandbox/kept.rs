//! A sandbox on a copy of a directory that was set aside. The kept one is only read.

use super::super::copied;
use super::super::error::{PartsError, engine};
use super::{Means, Sandbox, Say};
use crate::engine::postgres::control_file::{self, ClusterState, ControlFile};
use crate::engine::postgres::discovery::{self, Running};
use crate::engine::recovery_point::reach;
use crate::engine::runner::plan::KeptSpace;
use crate::engine::wal::inspect::{Folder, Stretch, tablespaces_created};
use std::fs;
use std::path::Path;

/// Bytes that a copy of the kept directory takes, where it may be copied.
///
/// # Errors
/// Where a server runs in it, it is another cluster's, where a tablespace is kept is not known, or
/// its log would write elsewhere.
pub fn check(means: &Means<'_>, kept: &Path, spaces: &[KeptSpace]) -> Result<u64, PartsError> {
    if matches!(discovery::running(kept).map_err(engine)?, Running::Yes(_)) {
        return Err(PartsError::refused(
            format!("A server runs in {}.", kept.display()),
            "Name a directory that was set aside; a running server is not copied.",
        ));
    }
    let control = control_file::read(kept).map_err(engine)?;
    if let Ok(live) = control_file::read(&means.cluster.data_directory)
        && live.system_identifier != control.system_identifier
    {
        return Err(PartsError::refused(
            format!("{} belongs to another cluster than {}.", kept.display(), means.cluster.name),
            "Name the directory that was set aside of this cluster.",
        ));
    }
    let needed = copied::size(kept, spaces)?;
    stays_inside(kept, &control)?;
    Ok(needed)
}

/// Whether a copy that takes `needed` bytes has room at `place`.
///
/// # Errors
/// Where it has not, or that cannot be told.
pub fn fits(kept: &Path, needed: u64, place: &Path) -> Result<(), PartsError> {
    let free =
        reach::free_space(place).map_err(PartsError::file(place, "its free space is unknown"))?;
    if free >= needed {
        return Ok(());
    }
    Err(PartsError::refused(
        format!("A copy of {} takes {needed} bytes, {free} are free.", kept.display()),
        "Make room there; or by the command line name a folder on another volume: lifeboat salvage \
         --work-directory.",
    ))
}

impl Sandbox {
    /// Starts a copy of the directory that was kept, and of its tablespaces from where `spaces`
    /// says that they are kept. The kept ones are only read.
    ///
    /// # Errors
    /// As [`check`], [`fits`]; or where it cannot be copied, or its server cannot start.
    pub fn of_kept(
        means: &Means<'_>,
        kept: &Path,
        spaces: &[KeptSpace],
        say: Say<'_>,
    ) -> Result<Self, PartsError> {
        let needed = check(means, kept, spaces)?;
        let mut sandbox = Self::make(means)?;
        fits(kept, needed, sandbox.place.root())?;
        say(&format!("Copying {} (it is only read)", kept.display()));
        sandbox.copy_kept(kept, spaces, &mut |_, _| true)?;
        say("Starting it: closed to everybody, archiving nothing");
        sandbox.begin(means)?;
        Ok(sandbox)
    }

    /// Copies the kept directory, from the start where that was broken off before: it has its name
    /// once it is whole.
    ///
    /// # Errors
    /// Where it cannot be copied, or was ended.
    pub fn copy_kept(
        &self,
        kept: &Path,
        spaces: &[KeptSpace],
        watched: copied::Watched<'_>,
    ) -> Result<(), PartsError> {
        if self.is_copied() {
            return Ok(());
        }
        let partial = self.home().join("partial");
        for folder in [&partial, &self.spaces()] {
            if folder.exists() {
                fs::remove_dir_all(folder)
                    .map_err(PartsError::file(folder, "what was copied before stays"))?;
            }
        }
        copied::copy(kept, spaces, (&partial, &self.spaces()), &self.owner, watched)?;
        let data = self.data();
        fs::rename(&partial, &data).map_err(PartsError::file(&data, "it could not be named"))
    }

    /// Whether the kept directory was copied whole.
    #[must_use]
    pub fn is_copied(&self) -> bool {
        self.data().is_dir()
    }

    /// Starts the copy's server, which replays what its own log holds, and opens it to us alone.
    ///
    /// # Errors
    /// Where it does not start.
    pub fn begin(&mut self, means: &Means<'_>) -> Result<(), PartsError> {
        // One that whoever was killed had started may still be at its log.
        if self.runs()? && self.open(means).is_ok() {
            return Ok(());
        }
        self.stop(means)?;
        self.start(means, Vec::new(), None)?;
        self.open(means)
    }
}

/// A server that did not end in order replays its log from the last checkpoint, and what creates a
/// tablespace there does so by the absolute path: in the recovered server's own folder.
fn stays_inside(kept: &Path, control: &ControlFile) -> Result<(), PartsError> {
    if control.state == ClusterState::ShutDown {
        return Ok(());
    }
    let stretch = Stretch {
        timeline: control.checkpoint.timeline,
        from: control.checkpoint.redo,
        until: None,
        segment_size: u64::from(control.wal_segment_size),
        system_identifier: control.system_identifier,
    };
    let log = Folder::new(kept.join("pg_wal"));
    let created = tablespaces_created(&log, &stretch)?;
    match created.iter().find(|(.., place)| !place.is_empty()) {
        None => Ok(()),
        Some((lsn, oid, place)) => Err(PartsError::refused(
            format!(
                "The server in {} did not end in order, and at LSN {lsn} its log creates tablespace \
                 {oid} in {place}: a copy that is started would write there.",
                kept.display()
            ),
            "Start a copy of it on another machine.",
        )),
    }
}
