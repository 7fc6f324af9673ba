//! The desk: what the runner's commands do for one cluster. Owns the wiring of runner and modules,
//! and the newest survey; decides nothing by itself and keeps no state that is not recomputable.

use crate::engine::aftercare::{self, Ward};
use crate::engine::checklist::{self, Checklist};
use crate::engine::config::{Cluster, Config};
use crate::engine::copies;
use crate::engine::escalation::Ladder;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::care::{Care, Reminder};
use crate::engine::incident::facts::{
    BaseSummary, Check, Commit, Procedure, Reach, ServerProbe, Source, Survey, Target, TargetPoint,
};
use crate::engine::incident::model::StepStatus;
use crate::engine::incident::parts::{Part, PartsChoice, PartsLook};
use crate::engine::incident::past::Window;
use crate::engine::incident::trouble::{Adjustments, By, Cure, NAMED_PLACE, Trouble};
use crate::engine::parts::run::{self, Bench, Rig};
use crate::engine::postgres::discovery::{self, Running};
use crate::engine::recovery_point::{Inputs, Landscape, Means, gather, live};
use crate::engine::repository::{Repository, verify};
use crate::engine::restore::base::delta::{Reuse, Take};
use crate::engine::restore::full_plan::{self, Ground};
use crate::engine::restore::places::vacant::{self, InUse};
use crate::engine::restore::steps::{self, Site};
use crate::engine::restore::{full, line, places, plan, rights, step_back};
use crate::engine::runbook::Runbook;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::protocol::{FullRestore, Offered, Progress, Unit};
use crate::engine::runner::step::Step;
use crate::engine::runner::work::{Asking, Cured, Proof, Report, Work};
use crate::engine::trouble::Machine;
use crate::engine::wal::inspect::ScanProgress;
use crate::engine::{assess, report, trouble};
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Everything that one incident's runner needs to act.
#[derive(Debug)]
pub struct Desk {
    site: Arc<Site>,
    runbook: Runbook,
    runtime: tokio::runtime::Handle,
    landscape: Mutex<Option<Arc<Landscape>>>,
    /// The line to the repositories as it was measured last, for which set, and when.
    line: Mutex<Option<Measured>>,
    bench: Arc<Bench>,
}

/// A line is measured anew after so long.
const MEASURED_FOR: Duration = Duration::from_secs(60);

#[derive(Debug)]
struct Measured {
    set: String,
    at: Instant,
    /// `None` where no copy could be read.
    source: Option<Source>,
}

impl Desk {
    /// For the cluster of an incident. `runtime` serves the calls to servers; the desk's own
    /// methods run on blocking threads.
    ///
    /// # Errors
    /// Where the configuration has no such cluster, or its runbook file does not hold.
    pub fn new(
        config: Config,
        cluster: &str,
        folder: &Path,
        runtime: tokio::runtime::Handle,
    ) -> Result<Self, Explanation> {
        let cluster = named(&config, cluster)?.clone();
        let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
        let executable = std::env::current_exe().map_err(|error| {
            Explanation::new(
                Kind::Internal,
                format!("Lifeboat cannot tell where its own program is: {error}."),
                "Nothing was touched.",
                "Start it by its full path.",
            )
        })?;
        let folder = folder.to_owned();
        let adjusted = Adjustments::default();
        let (beside, configured) = (None, None);
        let site = Site { config, cluster, executable, folder, beside, configured, adjusted };
        Ok(Self {
            site: Arc::new(site),
            runbook,
            runtime,
            landscape: Mutex::new(None),
            line: Mutex::new(None),
            bench: Arc::default(),
        })
    }

    /// Removes a new cluster that was given up, and gives what was removed outside its directory; see
    /// [`full::discard`].
    ///
    /// # Errors
    /// As [`full::discard`].
    pub fn discard(&self, incident: &Incident, named: &Path) -> Result<Vec<PathBuf>, Explanation> {
        let plan = incident.plan.as_ref().ok_or_else(plan::no_base)?;
        let made = incident.noted(steps::beside::MADE).unwrap_or_default();
        full::discard(&self.adjusted(incident), plan, made, named)
    }

    /// The copy beside production of a plan for parts, as the incident's cures have changed it; for a
    /// salvage beside the server that was recovered.
    fn rig(&self, plan: &Plan, incident: &Incident) -> Result<Rig, Explanation> {
        let site = if plan.procedure.is_salvage() {
            let recovered = self.afterwards(&incident.settled());
            Arc::new(recovered.adjusted_by(&incident.adjustments))
        } else {
            self.adjusted(incident)
        };
        Rig::of(plan, &site, &self.bench, &self.runtime)
    }

    fn repository(&self) -> Result<Repository, Explanation> {
        open_first(&self.site.config, &self.site.cluster)
    }

    fn landscape(
        &self,
        incident: &Incident,
        asking: &Asking<'_>,
        anew: bool,
    ) -> Result<Arc<Landscape>, Explanation> {
        if let Some(known) = self.known().filter(|_| !anew) {
            return Ok(known);
        }
        let inputs = self.inputs(incident);
        let built = Landscape::build(inputs, &scanning(asking.report), asking.cancelled)
            .map_err(|e| e.explanation())?;
        let built = Arc::new(built);
        *self.landscape.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&built));
        Ok(built)
    }

    fn known(&self) -> Option<Arc<Landscape>> {
        self.landscape.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Desk {
    /// The proof with forecasts by the line to the copy that a restore would read first.
    fn weighed(&self, mut reach: Reach) -> Reach {
        let base = reach.base.as_ref().filter(|_| reach.reachable);
        if let Some(source) = base.and_then(|base| self.measured(base)) {
            line::weigh(&mut reach, &source);
        }
        reach
    }

    fn proven(
        &self,
        incident: &Incident,
        target: &Target,
        asking: &Asking<'_>,
    ) -> Result<Reach, Explanation> {
        let landscape = self.landscape(incident, asking, false)?;
        self.proven_in(&landscape, incident, target, asking)
    }

    fn proven_in(
        &self,
        landscape: &Landscape,
        incident: &Incident,
        target: &Target,
        asking: &Asking<'_>,
    ) -> Result<Reach, Explanation> {
        let by = |means: &Means| {
            landscape
                .reach_by(target, means, &scanning(asking.report), asking.cancelled)
                .map_err(|e| e.explanation())
        };
        let means = self.means(incident);
        let first = by(&means)?;
        let damaged = |set: &str| incident.damaged_sets.iter().any(|known| known == set);
        let unfit = first.base.as_ref().is_some_and(|base| damaged(&base.set));
        if !unfit || !matches!(means, Means::AnyBase) {
            return Ok(first);
        }
        // Another backup serves in the place of one that was read and found damaged.
        let survey = landscape.survey();
        let mut sets: Vec<&str> = survey.bases.iter().map(|base| base.set.as_str()).collect();
        sets.sort_unstable();
        for set in sets.into_iter().rev().filter(|set| !damaged(set)) {
            let other = by(&Means::Base(set.to_owned()))?;
            if other.reachable {
                return Ok(other);
            }
        }
        Ok(first)
    }

    fn measured(&self, base: &BaseSummary) -> Option<Source> {
        let mut known = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |one: &&Measured| one.set == base.set && one.at.elapsed() < MEASURED_FOR;
        if let Some(known) = known.as_ref().filter(fresh) {
            return known.source.clone();
        }
        let (config, cluster) = (&self.site.config, &self.site.cluster);
        let copies = copies::choose(config, cluster, &base.set, None, Some(base));
        let source = copies.ok().and_then(|copies| copies.source(config, cluster));
        *known =
            Some(Measured { set: base.set.clone(), at: Instant::now(), source: source.clone() });
        source
    }
}

/// For a question about what was read already.
const AT_ONCE: Asking<'_> = Asking { report: &|_| {}, cancelled: &|| false };

impl Desk {
    /// Where a server waits at the recovery point, a later one is reached by going on, an earlier
    /// one by a restore that takes from its directory what is equal.
    fn means(&self, incident: &Incident) -> Means {
        let (plan, at) = match (&incident.plan, incident.stands_at()) {
            (Some(plan), Some(at)) if incident.waits() => (plan, at),
            _ => return Means::AnyBase,
        };
        // Where it cannot be looked at, the price is that of fetching everything.
        let live = places::live::look(self.site.recovered(plan).data()).ok();
        let over = live.map(|live| Reuse {
            from: live.data,
            spaces: live.spaces.into_iter().map(|space| (space.oid, space.folder)).collect(),
            take: Take::Copy,
            times_hold: false,
        });
        Means::Standing { base: plan.base.clone(), at, over }
    }

    /// The ground as the incident's cures have changed it.
    fn adjusted(&self, incident: &Incident) -> Arc<Site> {
        Arc::new(self.site.adjusted_by(&incident.adjustments))
    }

    /// [`Desk::adjusted`], seen from the directory that the step works in.
    fn ground_of(&self, incident: &Incident, step: &str) -> Arc<Site> {
        let site = self.adjusted(incident);
        let Some(plan) = &incident.plan else { return site };
        match &plan.procedure {
            Procedure::FullRestore { destination, port } if steps::is_of_new(step) => {
                Arc::new(site.beside(Path::new(destination), *port))
            }
            Procedure::PointInTime if !steps::is_of_damaged(step) => Arc::new(site.recovered(plan)),
            // The new cluster, where it lives in the end.
            Procedure::FullRestore { .. } if matches!(step, "open" | "validate") => {
                Arc::new(site.recovered(plan))
            }
            _ => site,
        }
    }

    /// Whether the directory that a cure would change is the one that this restore made: one that
    /// somebody has exchanged meanwhile is not touched.
    fn is_ours(
        incident: &Incident,
        ground: trouble::Ground,
        data: &Path,
    ) -> Result<(), Explanation> {
        if !matches!(ground, trouble::Ground::Beside | trouble::Ground::Swapped) {
            return Ok(());
        }
        let made = incident.noted(steps::beside::MADE).map(str::to_owned);
        if made.is_some() && made == steps::beside::number(data) {
            return Ok(());
        }
        Err(Explanation::new(
            Kind::Refused,
            format!("{} is not the directory that this restore made.", data.display()),
            "Nothing was touched.",
            "Find out who exchanged it. With the directories as they were, try the step again.",
        ))
    }

    /// The same ground once the plan is done: in the directory that was recovered into, while it is
    /// there, at the port that its server has now.
    fn afterwards(&self, incident: &Incident) -> Site {
        let site = self.adjusted(incident);
        let there = |plan: &&Plan| plan.places.alternative.as_deref().is_some_and(Path::is_dir);
        let mut site = moved_out(incident)
            .filter(there)
            .map_or_else(|| (*site).clone(), |plan| site.recovered(plan));
        let own = self.site.cluster.connection.port;
        site.cluster.connection.port = port_of(own, incident, site.data());
        site
    }

    /// What a recovery that runs can still get at: the archive as it is now and what was rescued,
    /// with the facts of the directory that was set aside.
    fn landscape_anew(&self, plan: &Plan, report: Report<'_>) -> Result<Landscape, Explanation> {
        let mut site = (*self.site).clone();
        if site.is_aside(plan) {
            site.cluster.data_directory = PathBuf::from(&plan.aside);
        }
        let mut inputs = gather::inputs(&site.config, &site.cluster, None);
        inputs.cluster.has_begun = true;
        let own = site.binaries().ok().map(|binaries| binaries.major);
        inputs.cluster.binaries_major = own.or(inputs.cluster.binaries_major);
        inputs.rescue = Some(PathBuf::from(&plan.rescue)).filter(|folder| folder.is_dir());
        Landscape::build(inputs, &scanning(report), &|| false).map_err(|e| e.explanation())
    }

    /// What is known of the cluster, from the damaged directory as far as it can be read.
    fn inputs(&self, incident: &Incident) -> Inputs {
        let cluster = &self.site.cluster;
        let mut inputs = gather::inputs(&self.site.config, cluster, None);
        let server = incident.server.as_ref();
        inputs.cluster.current_lsn = server.and_then(|server| server.current_lsn);
        let own = self.site.binaries().ok().map(|binaries| binaries.major);
        inputs.cluster.binaries_major = own.or(inputs.cluster.binaries_major);
        // While the directory is set aside, its own stands in the way of what a recovery reads.
        if let Some(plan) = incident
            .plan
            .as_ref()
            .filter(|plan| incident.clocks.promoted.is_none() && self.site.is_aside(plan))
        {
            gather::aside(&mut inputs, Path::new(&plan.aside), Path::new(&plan.rescue));
        }
        inputs.detected = incident.clocks.detected;
        inputs.last_known_good = incident.clocks.last_known_good;
        if server.is_some_and(|server| server.reachable) {
            let now = self.afterwards(&incident.settled());
            let asked = self.runtime.block_on(live::relations(&now.cluster.connection));
            inputs.live = Some(asked.0);
        }
        inputs
    }
}

/// Where the recovery ends. One that ends at a break of the log is told to go to the archive's end,
/// and does not get there: what lies behind the break is given up.
fn ends(incident: &Incident, plan: &Plan) -> Target {
    let kept = incident.reach.as_ref().and_then(|reach| reach.last_kept.as_ref());
    match kept.filter(|_| plan.ends_at.is_some()) {
        Some(commit) => Target {
            point: TargetPoint::Lsn(commit.lsn),
            inclusive: true,
            timeline: plan.target.timeline,
        },
        None => plan.target.clone(),
    }
}

/// The cluster, asked at the port that the server has now which the incident has recovered.
#[must_use]
pub fn at_its_port(cluster: &Cluster, incident: &Incident) -> Cluster {
    let alternative = moved_out(incident).and_then(|plan| plan.places.alternative.as_deref());
    let data = alternative.filter(|data| data.is_dir()).unwrap_or(&cluster.data_directory);
    let mut now = cluster.clone();
    now.connection.port = port_of(cluster.connection.port, incident, data);
    now
}

/// The plan, where the cluster may live elsewhere than configured: beside an old one that runs, only
/// once the new one has taken its part.
fn moved_out(incident: &Incident) -> Option<&Plan> {
    let done = |id: &str| incident.steps.iter().any(|s| s.id == id && s.status == StepStatus::Done);
    incident.plan.as_ref().filter(|plan| match plan.procedure {
        Procedure::PointInTime => true,
        Procedure::FullRestore { .. } => done("swap"),
        Procedure::Parts { .. } => false,
    })
}

fn port_of(own: u16, incident: &Incident, data: &Path) -> u16 {
    let running = discovery::running(data).ok();
    let now = running.as_ref().and_then(Running::postmaster).and_then(|server| server.port);
    port_now(own, incident.adjustments.port, now)
}

/// The port that a recovered server is asked at: a cure's lasts until the server's next start by
/// others.
fn port_now(own: u16, cured: Option<u16>, running: Option<u16>) -> u16 {
    cured.filter(|port| running == Some(*port)).unwrap_or(own)
}

fn no_plan() -> Explanation {
    Explanation::new(Kind::Refused, "There is no plan.", "Nothing was changed.", "Make the plan.")
}

/// A WAL scan's progress as the runner shows it.
fn scanning(report: Report<'_>) -> impl Fn(ScanProgress) {
    let started = Timestamp::now();
    move |scan| {
        report(Progress {
            job: String::from("survey"),
            label: format!("reading WAL {}", scan.segment),
            started,
            done: scan.segments_done,
            total: Some(scan.segments_total),
            unit: Unit::Segments,
            rate: None,
            eta: None,
            history: Vec::new(),
            lsn: Some(scan.lsn),
            replayed_until: None,
            log: Vec::new(),
        });
    }
}

/// The configured cluster of that name.
///
/// # Errors
/// Where there is none.
pub fn named<'a>(config: &'a Config, name: &str) -> Result<&'a Cluster, Explanation> {
    config.cluster(name).ok_or_else(|| {
        let known: Vec<&str> = config.clusters.iter().map(|c| c.name.as_str()).collect();
        Explanation::new(
            Kind::Config,
            format!("{} has no cluster \"{name}\".", config.path.display()),
            "Nothing was touched.",
            format!("It has: {}.", known.join(", ")),
        )
    })
}

/// Opens the first of the cluster's repositories that opens.
///
/// # Errors
/// The first one's reason, where none opens.
pub fn open_first(config: &Config, cluster: &Cluster) -> Result<Repository, Explanation> {
    let mut reason = None;
    for name in &cluster.repositories {
        let Some(repository) = config.repository(name) else { continue };
        match Repository::open(repository, &cluster.name) {
            Ok(repository) => return Ok(repository),
            Err(error) => reason = reason.or_else(|| Some(error.explanation())),
        }
    }
    Err(reason.unwrap_or_else(|| {
        Explanation::new(
            Kind::Config,
            format!("The cluster \"{}\" names no repository.", cluster.name),
            "Nothing was touched.",
            "Name one in lifeboat.toml.",
        )
    }))
}

impl Work for Desk {
    fn probe_server(&self, incident: &Incident) -> ServerProbe {
        let site = self.afterwards(&incident.settled());
        self.runtime.block_on(assess::probe_server(&site.cluster))
    }

    fn run_probes(&self, incident: &Incident) -> Result<Vec<Check>, Explanation> {
        let site = self.afterwards(&incident.settled());
        Ok(self.runtime.block_on(assess::run_probes(&site.cluster)))
    }

    fn survey(&self, incident: &Incident, asking: &Asking<'_>) -> Result<Survey, Explanation> {
        Ok(self.landscape(incident, asking, true)?.survey())
    }

    fn commits_around(
        &self,
        incident: &Incident,
        at: Timestamp,
        count: u32,
    ) -> Result<Vec<Commit>, Explanation> {
        let landscape = self.landscape(incident, &AT_ONCE, false)?;
        Ok(landscape.commits_around(at, usize::try_from(count).unwrap_or(usize::MAX)))
    }

    fn past(
        &self,
        incident: &Incident,
        span: (Timestamp, Timestamp),
        columns: u32,
        around: Timestamp,
    ) -> Result<Window, Explanation> {
        Ok(self.landscape(incident, &AT_ONCE, false)?.window(span, columns, around))
    }

    fn reach(
        &self,
        incident: &Incident,
        target: &Target,
        asking: &Asking<'_>,
    ) -> Result<Reach, Explanation> {
        self.proven(incident, target, asking).map(|reach| self.weighed(reach))
    }

    fn reach_at_rest(
        &self,
        incident: &Incident,
        plan: &Plan,
        asking: &Asking<'_>,
    ) -> Result<Reach, Explanation> {
        self.landscape_anew(plan, asking.report)?
            .reach_by(
                &ends(incident, plan),
                &Means::AnyBase,
                &scanning(asking.report),
                asking.cancelled,
            )
            .map_err(|e| e.explanation())
    }

    fn reach_now(
        &self,
        incident: &Incident,
        target: &Target,
        asking: &Asking<'_>,
    ) -> Result<(Reach, Option<Survey>), Explanation> {
        let changed = !self.known().is_some_and(|known| known.is_current());
        let landscape = self.landscape(incident, asking, changed)?;
        let reach = self.reach(incident, target, asking)?;
        Ok((reach, changed.then(|| landscape.survey())))
    }

    fn reach_into(
        &self,
        incident: &Incident,
        target: &Target,
        directory: &Path,
        asking: &Asking<'_>,
    ) -> Result<Reach, Explanation> {
        vacant::apart(directory, &InUse::of_all(&self.site.config))?;
        vacant::vacant(directory)?;
        let mut inputs = self.inputs(incident);
        inputs.cluster.alternative_data_directory = Some(directory.to_owned());
        let landscape = Landscape::build(inputs, &scanning(asking.report), asking.cancelled)
            .map_err(|e| e.explanation())?;
        let reach = self.proven_in(&landscape, incident, target, asking)?;
        if reach.reachable && reach.alternative.as_deref() != Some(directory) {
            return Err(Explanation::new(
                Kind::Refused,
                format!(
                    "{} is not needed: the data directory's own disk has the room.",
                    directory.display()
                ),
                "Nothing was changed.",
                "Choose the point itself.",
            ));
        }
        Ok(self.weighed(reach))
    }

    fn verify_integrity(&self, set: &str, report: Report<'_>) -> Result<Vec<Check>, Explanation> {
        // The copy that a restore would read first.
        let copies = copies::choose(&self.site.config, &self.site.cluster, set, None, None);
        let checked =
            |repository: &Repository| verify::verify_base(repository, set, report, &|| false);
        match copies.as_ref().map(|copies| copies.repositories()) {
            Ok(repositories) => match repositories.first() {
                Some(first) => Ok(checked(first)),
                None => Ok(checked(&self.repository()?)),
            },
            // Nobody has it whole: the checks say what is wrong with it in the first.
            Err(_) => Ok(checked(&self.repository()?)),
        }
    }

    fn plan(&self, incident: &Incident) -> Result<Plan, Explanation> {
        let site = &self.site;
        let reach = plan::chosen(incident)?;
        let base = reach.base.as_ref().ok_or_else(plan::no_base)?;
        if !reach.procedure.is_parts() {
            rights::require_owner(&site.cluster)?;
        }
        let (identity, lost) = match site.lost()? {
            None => (site.identity()?, false),
            Some(_) => (full::identity_of(site, base), true),
        };
        let copies = copies::choose(&site.config, &site.cluster, &base.set, None, Some(base));
        let ground = Ground {
            incident,
            cluster: &site.cluster,
            available: &copies::available(&site.config, &site.cluster),
            identity,
            lost,
            spaces: site.backup_spaces(&base.set)?,
            // Without one the copy step will say why; a plan is no proof of that.
            source: copies.ok().and_then(|copies| copies.source(&site.config, &site.cluster)),
            runbook: &self.runbook,
            now: Timestamp::now(),
        };
        match reach.procedure {
            Procedure::PointInTime => plan::make(ground),
            Procedure::FullRestore { .. } => full_plan::make(ground),
            Procedure::Parts { .. } => run::plan::make(&ground),
        }
    }

    fn plan_salvage(&self, incident: &Incident) -> Result<Plan, Explanation> {
        let recovery = incident.plan.as_ref().ok_or_else(no_plan)?;
        let site = self.afterwards(incident);
        let needed = run::salvage::look(&Rig::means_of(&site, &self.runtime), recovery)?;
        run::salvage::make(&run::salvage::Ground {
            incident,
            cluster: &site.cluster,
            identity: site.identity()?,
            needed,
            runbook: &self.runbook,
            now: Timestamp::now(),
        })
    }

    fn step_back(&self, incident: &Incident, reach: &Reach) -> Result<Plan, Explanation> {
        let plan = incident.plan.as_ref().ok_or_else(no_plan)?;
        let site = self.site.recovered(plan);
        let base = reach.base.as_ref().ok_or_else(plan::no_base)?;
        let live = places::live::look(site.data()).map_err(|e| e.explanation())?;
        places::live::require_unshared(&live).map_err(|e| e.explanation())?;
        let copies = copies::choose(&site.config, &site.cluster, &base.set, None, Some(base));
        step_back::make(step_back::Ground {
            plan,
            reach,
            mapping: &site.cluster.tablespace_mapping,
            live: &live,
            spaces: site.backup_spaces(&base.set)?,
            source: copies.ok().and_then(|copies| copies.source(&site.config, &site.cluster)),
            available: &copies::available(&site.config, &site.cluster),
            runbook: &self.runbook,
            now: Timestamp::now(),
        })
    }

    fn full_restore(&self, incident: &Incident, asked: &FullRestore) -> Result<Reach, Explanation> {
        let mut reach = full::choose(&self.site, asked, &incident.damaged_sets)?;
        if !reach.reachable {
            return Ok(reach);
        }
        // What it costs is told by the archived log, where that can be read at all.
        let changed = !self.known().is_some_and(|known| known.is_current());
        let landscape = self.landscape(incident, &AT_ONCE, changed);
        let judged = |target: &Target| {
            let landscape = landscape.as_ref().map_err(Clone::clone)?;
            landscape.reach(target, &|_| {}, &|| false).map_err(|e| e.explanation())
        };
        full::weigh(&mut reach, &judged);
        Ok(self.weighed(reach))
    }

    fn choose_parts(
        &self,
        _: &Incident,
        target: &Target,
        database: Option<&str>,
        tables: &[String],
    ) -> Result<Reach, Explanation> {
        run::choose(&self.site, &self.runtime, target, database, tables)
            .map(|reach| self.weighed(reach))
    }

    fn list_parts(&self, incident: &Incident) -> Result<Vec<Offered>, Explanation> {
        let plan = incident.plan.as_ref().ok_or_else(no_plan)?;
        self.rig(plan, incident)?.list(plan)
    }

    fn look_at_parts(
        &self,
        incident: &Incident,
        part: &Part,
        samples: usize,
        report: Report<'_>,
    ) -> Result<PartsLook, Explanation> {
        let plan = incident.plan.as_ref().ok_or_else(no_plan)?;
        self.rig(plan, incident)?.look(plan, part, samples, report)
    }

    fn check_parts(&self, incident: &Incident, choice: &PartsChoice) -> Result<(), Explanation> {
        let plan = incident.plan.as_ref().ok_or_else(no_plan)?;
        match &incident.parts.look {
            Some(look) => self.rig(plan, incident)?.check(plan, look, choice),
            None => Ok(()),
        }
    }

    fn steps(&self, plan: &Plan) -> Result<Vec<Box<dyn Step>>, Explanation> {
        if plan.procedure.is_parts() {
            return run::steps(plan, &Rig::of(plan, &self.site, &self.bench, &self.runtime)?);
        }
        steps::of(plan, &self.site)
    }

    fn steps_of(
        &self,
        plan: &Plan,
        incident: &Incident,
    ) -> Result<Vec<Box<dyn Step>>, Explanation> {
        if plan.procedure.is_parts() {
            return run::steps(plan, &self.rig(plan, incident)?);
        }
        steps::of(plan, &self.adjusted(incident))
    }

    fn recognise(&self, incident: &Incident, step: &str, failure: &Explanation) -> Option<Trouble> {
        if let Some(plan) = incident.plan.as_ref().filter(|plan| plan.procedure.is_parts()) {
            return self.rig(plan, incident).ok()?.recognise(plan, step, failure);
        }
        trouble::recognise_at(&self.ground_of(incident, step), incident, step, failure)
    }

    fn cure(
        &self,
        incident: &Incident,
        step: &str,
        cure: &Cure,
        report: Report<'_>,
    ) -> Result<Cured, Explanation> {
        let plan = incident.plan.as_ref().ok_or_else(no_plan)?;
        if plan.procedure.is_parts() {
            return self.rig(plan, incident)?.cure(plan, incident.reach.as_ref(), cure);
        }
        let site = self.ground_of(incident, step);
        let ground = trouble::Ground::of(plan, step);
        if cure.by != By::People {
            Self::is_ours(incident, ground, site.data())?;
        }
        let machine = Machine::new(&site, plan, ground);
        let landscape = || self.landscape_anew(plan, report);
        match cure.id.as_str() {
            trouble::STOP_AT_GAP => trouble::stop_at_gap(&machine, &landscape()?, cure),
            trouble::OTHER_POINT => trouble::other_point(&machine, &landscape()?, cure),
            trouble::OTHER_BASE => trouble::other_base(&machine, landscape()?, cure),
            trouble::OTHER_PLACE | NAMED_PLACE => {
                let reach = incident.reach.as_ref().ok_or_else(no_plan)?;
                trouble::other_place(&machine, &self.adjusted(incident), reach, cure)
            }
            _ => trouble::carry_out(&machine, cure),
        }
    }

    fn validate(&self, incident: &Incident, report: Report<'_>) -> Result<Vec<Check>, Explanation> {
        let site = self.afterwards(incident);
        site.validate(incident, &self.runtime, report)
    }

    fn care(
        &self,
        incident: &Incident,
        item: &str,
        agreed: &[String],
        report: Report<'_>,
    ) -> Result<Care, Explanation> {
        let incident = &*incident.settled();
        let site = self.afterwards(incident);
        let connection = site.cluster.connection.clone();
        let ward = Ward::new(&site, incident, connection, &self.runtime, report);
        aftercare::run(&ward, item, agreed)
    }

    fn ladder(&self, incident: &Incident) -> Option<Ladder> {
        Some(Ladder::new(&self.site.config, &self.runbook, incident))
    }

    fn reminder(&self, incident: &Incident, now: Timestamp) -> Option<Reminder> {
        checklist::reminder(incident, &self.runbook, now)
    }

    fn proofs(&self, line: &str) -> Result<Vec<Proof>, Explanation> {
        checklist::proofs(&self.runbook, line)
    }

    fn proven(&self, incident: &Incident, line: &str) -> Result<String, Explanation> {
        checklist::proven(incident, &self.runbook, line)
    }

    fn may_close(&self, incident: &Incident) -> Result<(), Explanation> {
        Checklist::of(incident, &self.runbook, Timestamp::now()).may_close()
    }

    fn write_report(&self, incident: &Incident) -> Result<Vec<PathBuf>, Explanation> {
        let roles = report::Roles::of(&incident.acted);
        let written =
            report::Report::from(incident, &self.runbook, Timestamp::now()).by_role(&roles);
        report::write(&written, &self.site.folder.join("report")).map_err(|e| e.explanation())
    }
}

#[cfg(test)]
mod tests {
    use super::port_now;

    #[test]
    fn the_port_of_a_cure_is_asked_while_the_server_has_it() {
        assert_eq!(port_now(5432, Some(5433), Some(5433)), 5433);
        assert_eq!(port_now(5432, Some(5433), Some(5432)), 5432, "started again by others");
        assert_eq!(port_now(5432, Some(5433), None), 5432);
        assert_eq!(port_now(5432, None, Some(6000)), 5432, "that is the configuration's matter");
    }
}
