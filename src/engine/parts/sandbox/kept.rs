//! A sandbox on a copy of a directory that was set aside. The kept one is only read.

use super::super::copied;
use super::super::error::{PartsError, engine};
use super::{Means, Sandbox, Say};
use crate::engine::postgres::control_file::{self, ClusterState, ControlFile};
use crate::engine::postgres::discovery::{self, Running};
use crate::engine::recovery_point::reach;
use crate::engine::runner::plan::KeptSpace;
use crate::engine::wal::inspect::{Folder, Stretch, tablespaces_created};
use std::path::Path;

impl Sandbox {
    /// Starts a copy of the directory that was kept, and of its tablespaces from where `spaces`
    /// says that they are kept. The kept ones are only read.
    ///
    /// # Errors
    /// Where a server runs in it, it is another cluster's, where a tablespace is kept is not known,
    /// its log would write elsewhere, it does not fit on the volume, or its server cannot start.
    pub fn of_kept(
        means: &Means<'_>,
        kept: &Path,
        spaces: &[KeptSpace],
        say: Say<'_>,
    ) -> Result<Self, PartsError> {
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
                format!(
                    "{} belongs to another cluster than {}.",
                    kept.display(),
                    means.cluster.name
                ),
                "Name the directory that was set aside of this cluster.",
            ));
        }
        let needed = copied::size(kept, spaces)?;
        stays_inside(kept, &control)?;
        let mut sandbox = Self::make(means)?;
        let free = reach::free_space(sandbox.place.root())
            .map_err(PartsError::file(sandbox.place.root(), "its free space is unknown"))?;
        if free < needed {
            return Err(PartsError::refused(
                format!("A copy of {} takes {needed} bytes, {free} are free.", kept.display()),
                "Name a folder on another volume with --work-directory.",
            ));
        }
        say(&format!("Copying {} (it is only read)", kept.display()));
        copied::copy(kept, spaces, &sandbox.data(), &sandbox.spaces(), &sandbox.owner)?;
        say("Starting it: closed to everybody, archiving nothing");
        sandbox.start(means, Vec::new(), None)?;
        sandbox.open(means)?;
        Ok(sandbox)
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
