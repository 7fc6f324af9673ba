//! Troubles of a recovery that a command makes by itself, without an incident: there is no plan, no
//! journal and no run that a cure could go on with. Owns what is looked at in their place; carries
//! nothing out.

use super::machine::Machine;
use super::scene::Ground;
use super::{Trouble, recognise};
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::Explanation;
use crate::engine::incident::facts::{
    BaseSummary, Identity, Procedure, Reach, ServerRole, Target, TargetPoint,
};
use crate::engine::incident::trouble::Adjustments;
use crate::engine::postgres::Lsn;
use crate::engine::restore::steps::Site;
use crate::engine::runner::plan::{Places, Plan};
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// Only asked of a server, and a command starts none but its closed copy.
const PORT: u16 = 5432;

/// A recovery of a command, as far as it came.
#[derive(Debug, Clone, Copy)]
pub struct Errand<'a> {
    pub config: &'a Config,
    pub cluster: &'a Cluster,
    /// The only repository that was asked for, where one was.
    pub only: Option<&'a str>,
    /// The directory that is filled.
    pub data: &'a Path,
    /// `None` before one was chosen.
    pub base: Option<&'a BaseSummary>,
    pub reach: Option<&'a Reach>,
    /// Of the closed copy beside production: its log and its socket's folder.
    pub copy: Option<(&'a Path, &'a Path)>,
}

impl Errand<'_> {
    /// What a failure is. `step` is what a plan's step of the same work is called; before a base
    /// backup was chosen, only the repositories can have been read.
    #[must_use]
    pub fn recognise(&self, step: &str, failure: &Explanation) -> Option<Trouble> {
        let adjusted = Adjustments::default();
        let (beside, configured) = (None, None);
        let site = Site {
            config: self.config.clone(),
            cluster: self.cluster.clone(),
            executable: std::env::current_exe().unwrap_or_default(),
            folder: PathBuf::new(),
            adjusted,
            beside,
            configured,
        };
        let site = site.beside(self.data, PORT);
        let plan = self.as_plan();
        let machine = match self.copy {
            Some((log, socket)) => Machine::of_copy(&site, &plan, log, socket),
            None => Machine::new(&site, &plan, Ground::Beside),
        };
        let step = if self.base.is_some() { step } else { "confirm-identity" };
        recognise(&machine.scene(step, failure), &machine)
    }

    /// What the look at the machine goes by. It has no steps and no hash: nothing can run it.
    fn as_plan(&self) -> Plan {
        let only = self.only.map(str::to_owned).into_iter();
        let target = self.reach.map_or(
            Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None },
            |reach| reach.target.clone(),
        );
        let last = self.reach.and_then(|reach| reach.last_kept.as_ref());
        let none = || BaseSummary {
            set: String::new(),
            repository: String::new(),
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
            start_lsn: Lsn(0),
            stop_lsn: Lsn(0),
            timeline: 1,
            system_identifier: 0,
            version: 0,
            size: 0,
            stored: 0,
            encrypted: false,
        };
        let base = self.base.cloned().unwrap_or_else(none);
        Plan {
            incident: String::new(),
            cluster: self.cluster.name.clone(),
            identity: Identity {
                system_identifier: base.system_identifier,
                host: String::new(),
                data_directory: String::new(),
                role: ServerRole::Down,
                version: base.version,
                timeline: base.timeline,
            },
            target,
            timeline: self.reach.and_then(Reach::timeline),
            base,
            aside: String::new(),
            rescue: String::new(),
            repositories: only.collect(),
            places: Places::default(),
            replay_until: last.map(|commit| commit.end_lsn),
            ends_at: None,
            minimum_settings: Vec::new(),
            procedure: Procedure::PointInTime,
            lost: false,
            source: None,
            steps: Vec::new(),
            hash: String::new(),
        }
    }
}
