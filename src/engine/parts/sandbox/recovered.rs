//! A sandbox that is recovered from the repository to a proven target. Each part of it goes on from
//! where it stands, so that whoever was killed over it can begin again.

use super::super::error::{PartsError, engine};
use super::{Means, REPLAY_LIMIT, Sandbox, Say};
use crate::engine::copies;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{BaseSummary, Reach, Target, TargetPoint, Verdict};
use crate::engine::postgres::Lsn;
use crate::engine::postgres::control::Driver;
use crate::engine::postgres::control_file;
use crate::engine::postgres::recovery_settings::{restore_command, target_setting};
use crate::engine::postgres::recovery_watch::{RecoveryWatch, ReplayState};
use crate::engine::recovery_point::{Landscape, Means as By, gather};
use crate::engine::restore::base;
use crate::engine::retention::in_use;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::work::Report;
use crate::engine::trouble::Errand;
use crate::engine::wal::{TimelineId, rescue};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the same work is called in a plan.
const RESTORE: &str = "parts-restore";
const REPLAY: &str = "parts-replay";
const PROMOTE_LIMIT: Duration = Duration::from_secs(600);

/// Where the recovery goes.
#[derive(Debug, Clone)]
pub struct Aim {
    pub target: Target,
    /// That the target was proven for.
    pub timeline: Option<TimelineId>,
    /// Least values of settings, by name.
    pub minimums: Vec<(String, i64)>,
    /// Where replay is expected to end.
    pub end: Option<Lsn>,
}

impl From<&Reach> for Aim {
    fn from(reach: &Reach) -> Self {
        Self {
            target: reach.target.clone(),
            timeline: reach.timeline(),
            minimums: reach.minimum_settings.clone(),
            end: reach.last_kept.as_ref().map(|commit| commit.end_lsn),
        }
    }
}

impl From<&Plan> for Aim {
    fn from(plan: &Plan) -> Self {
        Self {
            target: plan.target.clone(),
            timeline: plan.timeline,
            minimums: plan.minimum_settings.clone(),
            end: plan.replay_until,
        }
    }
}

/// Sees how the replay goes, with the last lines of the server's log; ends it by `false`.
pub type Watched<'a> = &'a mut dyn FnMut(&ReplayState, &[String]) -> bool;

/// Proves that a target can be reached by a recovery into the folder `root`: from the set that is
/// named, or from any.
///
/// # Errors
/// Where the archive cannot be read, or holds no such set. A target that cannot be reached is no error.
pub fn prove(
    means: &Means<'_>,
    target: &Target,
    set: Option<&str>,
    root: &Path,
) -> Result<Reach, PartsError> {
    let landscape = landscape(means, root, false)?;
    let by = match set {
        None => By::AnyBase,
        Some(set) if landscape.bases().iter().any(|base| base.set == set) => {
            By::Base(set.to_owned())
        }
        Some(set) => {
            return Err(PartsError::Engine(Explanation::new(
                Kind::NotFound,
                format!("No repository that answers holds {set} as a set of this cluster."),
                "Nothing in production was changed.",
                "See what there is: lifeboat list-backups.",
            )));
        }
    };
    landscape.reach_by(target, &by, &|_| {}, &|| false).map_err(engine)
}

/// What a recovery into the folder `root` can get at. `begun`: its room is taken already.
///
/// # Errors
/// Where the archive cannot be read.
pub fn landscape(means: &Means<'_>, root: &Path, begun: bool) -> Result<Landscape, PartsError> {
    let mut inputs = gather::inputs(means.config, means.cluster, means.only);
    inputs.cluster.has_begun = begun;
    // Room is needed there, and the alternative place is not asked for.
    inputs.cluster.data_directory = root.join("cluster/data");
    inputs.cluster.alternative_data_directory = None;
    inputs.cluster.places.under = Some(root.join("cluster/tablespaces"));
    // Nothing is moved aside: what replay would write into a live tablespace is refused.
    inputs.cluster.places.live = None;
    Landscape::build(inputs, &|_| {}, &|| false).map_err(engine)
}

impl Sandbox {
    /// Restores the base that serves `target`, or the set that is named, replays to it, and takes writes there, its own.
    ///
    /// # Errors
    /// Where the target is not proven to be reached, or was not reached.
    pub fn recover(
        means: &Means<'_>,
        target: &Target,
        set: Option<&str>,
        report: Report<'_>,
        say: Say<'_>,
    ) -> Result<Self, PartsError> {
        let mut sandbox = Self::make(means)?;
        // Recognised while the copy is still there: it is taken down with the failure.
        let reach = prove(means, target, set, sandbox.root())
            .map_err(|error| sandbox.recognised(means, None, RESTORE, error))?;
        let base = reach.base.as_ref().filter(|_| reach.reachable);
        let base =
            base.ok_or_else(|| sandbox.recognised(means, None, RESTORE, unreachable(&reach)))?;
        say(&format!("Restoring {} into {}", base.set, sandbox.place.root().display()));
        sandbox
            .restore(means, base, &base::Options::new("parts", report, &|| false))
            .map_err(|error| sandbox.recognised(means, Some(&reach), RESTORE, error))?;
        say("Starting it: closed to everybody, archiving nothing");
        say(&format!("Replaying {target}"));
        sandbox
            .replay(means, &Aim::from(&reach), &mut |_, _| true)
            .map_err(|error| sandbox.recognised(means, Some(&reach), REPLAY, error))?;
        Ok(sandbox)
    }

    /// A failure with what it is, where that is known.
    fn recognised(
        &self,
        means: &Means<'_>,
        reach: Option<&Reach>,
        step: &str,
        error: PartsError,
    ) -> PartsError {
        let failure = error.explanation();
        let (data, log) = (self.data(), self.log());
        let errand = Errand {
            config: means.config,
            cluster: means.cluster,
            only: means.only,
            data: &data,
            base: reach.and_then(|reach| reach.base.as_ref()),
            reach,
            copy: Some((&log, self.socket())),
        };
        match errand.recognise(step, &failure) {
            Some(trouble) => PartsError::Recognised(Box::new((failure, trouble))),
            None => error,
        }
    }

    /// Brings the base's files, or goes on with that.
    ///
    /// # Errors
    /// Where no copy of the base can be read, or it was cancelled.
    pub fn restore(
        &self,
        means: &Means<'_>,
        base: &BaseSummary,
        options: &base::Options<'_>,
    ) -> Result<(), PartsError> {
        let state = means.config.state_directory();
        // Without the mark the restore is as good; only a cleanup at the same time knows less.
        let _mark = in_use::Mark::restore(&state, &means.cluster.name, &base.set);
        let copies =
            copies::choose(means.config, means.cluster, &base.set, means.only, Some(base))?;
        let repositories = copies.repositories();
        let first = repositories.first().ok_or_else(|| {
            PartsError::refused(
                format!("No repository holds {}.", base.set),
                "See lifeboat list-backups.",
            )
        })?;
        let descriptor = first.read_set(&base.set).map_err(engine)?;
        if !descriptor.tablespaces.is_empty() && !self.spaces().is_dir() {
            self.folder(&self.spaces())?;
        }
        let spaces = descriptor.tablespaces.iter();
        let spaces = spaces.map(|space| (space.oid, self.spaces().join(space.oid.to_string())));
        let root = nix::unistd::geteuid().is_root();
        let options = base::Options {
            owner: root.then_some((self.owner.uid, self.owner.gid)),
            tablespaces: spaces.collect(),
            ..base::Options::new(options.job, options.progress, options.cancelled)
        };
        base::restore_from(&repositories, &base.set, &self.data(), &options)
            .map(drop)
            .map_err(engine)
    }

    /// Whether all files of the base are there.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        control_file::read(&self.data()).is_ok() && !self.data().join(base::MARKER).exists()
    }

    /// Replays to the target, or goes on with that, and opens it there.
    ///
    /// # Errors
    /// Where it stopped elsewhere, or was ended ([`Kind::Cancelled`]); its server is down then.
    pub fn replay(
        &mut self,
        means: &Means<'_>,
        aim: &Aim,
        watched: Watched<'_>,
    ) -> Result<(), PartsError> {
        if !self.has_left_recovery() {
            if !self.spool().is_dir() {
                self.folder(&self.spool())?;
            }
            if !self.runs()? {
                let rescued = self.rescue(means)?;
                let fetch = self.fetch_command(means, rescued.as_deref());
                // To the end of the archive there is no target, and only a standby waits there.
                let end = aim.target.point == TargetPoint::EndOfArchive;
                let signal = if end { "standby.signal" } else { "recovery.signal" };
                self.start(means, aim.settings(&fetch), Some(signal))?;
            }
            self.settle(means, aim, watched)?;
            self.driver(means)?.promote(PROMOTE_LIMIT).map_err(engine)?;
        } else if !self.runs()? {
            self.start(means, Vec::new(), None)?;
        }
        self.open(means)
    }

    /// Whether its server came out of recovery: that removes both files, and the label of the base.
    #[must_use]
    pub fn has_left_recovery(&self) -> bool {
        let here = |name: &str| self.data().join(name).exists();
        self.is_restored()
            && !["backup_label", "recovery.signal", "standby.signal"].into_iter().any(here)
    }

    /// Attaches to a server that stands at its target and is open; `false` where it is not.
    ///
    /// # Errors
    /// Where it runs and does not answer.
    pub fn attach(&mut self, means: &Means<'_>) -> Result<bool, PartsError> {
        let stands = self.has_left_recovery() && self.runs()?;
        if stands {
            self.open(means)?;
        }
        Ok(stands)
    }

    /// WAL that no repository has and production's directory holds, copied here.
    fn rescue(&self, means: &Means<'_>) -> Result<Option<PathBuf>, PartsError> {
        let into = self.home().join("rescued");
        let pg_wal = means.cluster.data_directory.join("pg_wal");
        let Ok(control) = control_file::read(&means.cluster.data_directory) else {
            return Ok(None);
        };
        if !pg_wal.is_dir() {
            return Ok(None);
        }
        let archives: Vec<_> = copies::open_all(means.config, means.cluster)
            .into_iter()
            .map(|(_, opened)| opened)
            .collect();
        let request = rescue::RescueRequest {
            pg_wal: &pg_wal,
            system_identifier: control.system_identifier,
            archives: &archives,
            into: &into,
        };
        rescue::rescue(&request, &|_, _| {}).map_err(engine)?;
        Ok(into.is_dir().then_some(into))
    }

    /// Waits until it stands at the target; anything else is refused.
    fn settle(&self, means: &Means<'_>, aim: &Aim, watched: Watched<'_>) -> Result<(), PartsError> {
        let mut connection = self.connection();
        connection.user.clone_from(&means.cluster.connection.user);
        let point = aim.target.point.clone();
        let mut watch = RecoveryWatch::new(connection, self.data(), self.log(), point, aim.end);
        let mut go_on = true;
        let state = means.runtime.block_on(watch.until_settled(REPLAY_LIMIT, |state, log| {
            go_on = watched(state, log);
            go_on
        }))?;
        if !go_on {
            self.stop(means)?;
            return Err(PartsError::Engine(Explanation::new(
                Kind::Cancelled,
                "The replay beside production was cancelled, and its server is stopped.",
                "Nothing in production was changed.",
                "Retry goes on from where it stood.",
            )));
        }
        match state {
            ReplayState::AtTarget { .. } => Ok(()),
            ReplayState::PausedFor(why) | ReplayState::Failed(why) => Err(PartsError::Engine(why)),
            ReplayState::OutOfLog { why, .. } => Err(PartsError::Engine(why)),
            // Killed between its promotion and what follows that.
            ReplayState::Promoted if self.has_left_recovery() => Ok(()),
            _ => Err(PartsError::refused(
                "The sandbox left recovery by itself before it reached the target.",
                "See whether another target is meant.",
            )),
        }
    }

    fn fetch_command(&self, means: &Means<'_>, rescued: Option<&Path>) -> Vec<String> {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let mut command = vec![
            text(means.program),
            String::from("--config"),
            text(&means.config.path),
            String::from("restore-wal"),
            String::from("--cluster"),
            means.cluster.name.clone(),
            String::from("--spool"),
            text(&self.spool()),
        ];
        if let Some(rescued) = rescued {
            command.extend([String::from("--rescue"), text(rescued)]);
        }
        for name in copies::available(means.config, means.cluster).open {
            command.extend([String::from("--repository"), name]);
        }
        command.extend(["%f", "%p"].map(String::from));
        command
    }
}

impl Aim {
    fn settings(&self, fetch: &[String]) -> Vec<(String, String)> {
        let mut all = vec![(String::from("restore_command"), restore_command(fetch))];
        let named = |(name, least): &(String, i64)| (name.clone(), least.to_string());
        all.extend(self.minimums.iter().map(named));
        if let (Some(name), value) = target_setting(&self.target.point) {
            all.push((name.to_owned(), value));
        }
        let inclusive = if self.target.inclusive { "on" } else { "off" };
        all.push((String::from("recovery_target_inclusive"), String::from(inclusive)));
        let timeline = self.target.timeline.or(self.timeline).map(|number| number.to_string());
        let latest = || String::from("latest");
        all.push((String::from("recovery_target_timeline"), timeline.unwrap_or_else(latest)));
        all.push((String::from("recovery_target_action"), String::from("pause")));
        all
    }
}

/// Why a target is refused.
#[must_use]
pub fn unreachable(reach: &Reach) -> PartsError {
    let bad = reach.checks.iter().filter(|check| check.verdict != Verdict::Verified);
    let why: Vec<String> = bad
        .map(|check| format!("{}: {} ({})", check.title, check.verdict.word(), check.detail))
        .collect();
    let nearest: Vec<String> = reach.nearest.iter().map(ToString::to_string).collect();
    let next = if nearest.is_empty() {
        String::from("Choose another target: lifeboat check-wal-continuity shows what is there.")
    } else {
        format!("The nearest that can be reached: {}.", nearest.join("; "))
    };
    PartsError::Engine(Explanation::new(
        Kind::Unreachable,
        format!("The target ({}) cannot be reached. {}", reach.target, why.join(" ")),
        "Nothing in production was changed.",
        next,
    ))
}
