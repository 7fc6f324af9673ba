//! GameDay drills: sandbox, scenarios, injects, traffic, scoring. A drill works on a throwaway
//! cluster of its own making and can reach no other one: its configuration names nothing else.
//!
//! ```text
//! scenario ─┐
//! injects ──┴─ sandbox ─ rails ─ traffic ─ disaster ─┬─ screens (a person)  ─┐
//!                                     director ──────┴─ auto (nobody)       ─┴─ score, card ─ record
//! ```

pub mod act;
pub mod aside;
pub mod auto;
pub mod card;
pub mod cast;
pub mod copy;
pub mod cpu;
pub mod director;
mod doubt;
pub mod error;
pub mod fence;
pub mod floor;
pub mod hearsay;
pub mod hints;
pub mod inject;
pub mod isolation;
pub mod judge;
pub mod junit;
pub mod limits;
pub mod master;
pub mod outcome;
pub mod pairs;
pub mod place;
pub mod processes;
pub mod rails;
pub mod record;
pub mod sandbox;
pub mod scenario;
pub mod score;
pub mod seat;
pub mod server;
pub mod shop;
pub mod strike;
pub mod teardown;
pub mod traffic;
pub mod trial;
pub mod user;
pub mod watch;

pub use auto::Play;
pub use error::DrillError;
pub use outcome::Outcome;
pub use sandbox::{Options, Sandbox, Say};

use crate::engine::config::Config;
use crate::engine::explain::Explain;
use crate::engine::incident::Incident;
use crate::engine::incident::store::Store;
use crate::engine::postgres::discovery;
use crate::engine::runbook::Runbook;
use director::{Director, Limits, STOPS_AT};
use floor::Programme;
use inject::{Inject, When};
use master::Facilitation;
use sandbox::Setup;
use scenario::{Disaster, Link, Scenario};
use std::path::PathBuf;
use std::time::Duration;
use watch::Watch;

/// What is asked of a drill.
#[derive(Debug, Clone)]
pub struct Wish {
    pub scenario: Scenario,
    pub injects: Vec<Inject>,
    /// Instead of the scenario's.
    pub link: Option<Link>,
    pub limits: Limits,
    /// System identifiers that it must not have.
    pub denied: Vec<u64>,
    /// The backup that it is held on a copy of; in a cluster of its own where absent.
    pub source: Option<copy::Source>,
    /// A game master comes in, and releases the injects that can wait.
    pub facilitated: bool,
    /// What is enforced of the processors, in words.
    pub cpu: String,
    /// The team's own runbook; the built-in one where absent.
    pub runbook: Option<PathBuf>,
}

impl Wish {
    /// The scenario of that name with its own injects, as `real` and the usual limits have it.
    ///
    /// # Errors
    /// Where there is no such scenario, or it cannot be used.
    pub fn of(name: &str, real: Option<&Config>) -> Result<Self, DrillError> {
        let folder = real.and_then(|real| real.sandbox.scenarios.as_deref());
        let scenario = scenario::load_from(name, folder)?;
        let named = scenario.injects.iter().map(|name| inject::load(name));
        let injects = named.collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            scenario,
            injects,
            link: None,
            limits: Limits { time: Duration::from_secs(4 * 3_600), disk: u64::MAX },
            denied: rails::denied(real),
            source: None,
            facilitated: false,
            cpu: String::from("all processors"),
            runbook: real.and_then(|real| real.runbook.clone()),
        })
    }

    /// Adds an inject. In a drill that a game master leads more fit.
    ///
    /// # Errors
    /// Where it does not fit the scenario, or not the injects that are there.
    pub fn add(&mut self, inject: Inject) -> Result<(), DrillError> {
        let incident = &self.scenario.incident;
        let fits = if self.facilitated { inject.fits_led(incident) } else { inject.fits(incident) };
        if !fits {
            return Err(DrillError::Unfit {
                inject: inject.name,
                scenario: self.scenario.name.clone(),
            });
        }
        if self.injects.contains(&inject) {
            return Ok(());
        }
        let clash =
            self.injects.iter().find_map(|one| pairs::clash(one, &inject, self.facilitated));
        if let Some(why) = clash {
            return Err(DrillError::Clash { why });
        }
        self.injects.push(inject);
        Ok(())
    }

    fn has(&self, inject: &str) -> bool {
        self.injects.iter().any(|one| one.name == inject)
    }

    /// What ends the drill or holds it back, in words.
    #[must_use]
    pub fn rails(&self) -> Vec<String> {
        let mut rails = vec![format!("{} minutes", self.limits.time.as_secs() / 60)];
        if self.limits.disk < u64::MAX {
            rails.push(format!("{} MB of disk", self.limits.disk / 1_000_000));
        }
        rails.push(self.cpu.clone());
        rails
    }

    /// What the drill is judged by.
    fn runbook(&self) -> Result<Runbook, DrillError> {
        Runbook::load(self.runbook.as_deref())
            .map_err(|error| DrillError::Engine(error.explanation()))
    }

    fn setup(&self) -> Setup {
        Setup {
            scenario: Some(self.scenario.clone()),
            far: self.scenario.link.is_some() || self.scenario.incident == Disaster::Region,
            decoy: self.has("misleading-names"),
            missing_library: self.has("server-wont-start"),
            source: self.source.clone(),
            disk: (self.limits.disk != u64::MAX).then_some(self.limits.disk),
            time: Some(self.limits.time),
            runbook: self.runbook.clone(),
        }
    }
}

/// A sandbox that was struck, its traffic still running where it can, for a person to recover.
#[derive(Debug)]
pub struct LiveDrill {
    pub wish: Wish,
    pub director: Director,
    pub sandbox: Sandbox,
}

/// Makes the sandbox, backs it up, puts traffic on it and lets the incident happen.
///
/// # Errors
/// Where any of it fails; the sandbox is cleared away then, unless it is to be kept.
pub fn prepare(mut wish: Wish, options: &Options, say: Say<'_>) -> Result<LiveDrill, DrillError> {
    wish.runbook()?;
    say(&format!("Limits: {}", wish.rails().join("; ")));
    let setup = wish.setup();
    let mut sandbox = Sandbox::create_for(options, &setup, &Sandbox::make_repository, say)?;
    let ways_out = rails::ways_out(sandbox.config(), sandbox.root());
    if !ways_out.is_empty() {
        return Err(DrillError::Rail(format!("the sandbox leads out: {}", ways_out.join("; "))));
    }
    know_it(&sandbox, &mut wish)?;
    let handle = sandbox.runtime()?.handle().clone();
    let (injects, limits) = (&wish.injects, wish.limits);
    let (root, led) = (sandbox.root(), wish.facilitated);
    let director = Director::begin_since(root, injects, limits, led, handle, sandbox.begun())?;
    if director.stops_runner() {
        sandbox.stop_runner_at(Some(STOPS_AT));
    }
    director.strike(When::Report)?;
    director.strike(When::Beforehand)?;
    say("Taking a base backup");
    sandbox.back_up()?;
    if wish.has("damaged-backup") {
        say("Taking a second one");
        sandbox.switch_and_archive()?;
        sandbox.back_up()?;
    }
    still_on(&director)?;
    if sandbox.copied().is_some() {
        say("Counting what was copied, row by row");
        sandbox.note_copied()?;
    }
    open_shop(&mut sandbox, &wish, &director, say)?;
    director.strike(When::Incident)?;
    if let Some(link) = wish.link.or(wish.scenario.link) {
        sandbox.lay_line(link)?;
    }
    let struck_at = sandbox.truth().map_or_else(jiff::Timestamp::now, |truth| truth.struck_at);
    sandbox.keep_scenario(&as_told(&wish, struck_at))?;
    sandbox.keep_origin()?;
    still_on(&director)?;
    Ok(LiveDrill { wish, director, sandbox })
}

/// Refuses a cluster that no drill may touch. A copy has the number of what it was made of, and is
/// known by where it runs.
fn know_it(sandbox: &Sandbox, wish: &mut Wish) -> Result<(), DrillError> {
    if let Some(copied) = sandbox.copied() {
        wish.limits.disk = wish.limits.disk.min(copied.most_bytes());
        return copied.guard(sandbox.server(), sandbox.root());
    }
    let identity = discovery::identity(&sandbox.cluster().data_directory).ok();
    let identifier = identity.map(|identity| identity.system_identifier);
    rails::refused(identifier, &wish.denied).map_or(Ok(()), |why| Err(DrillError::Rail(why)))
}

/// Ends a drill that reached a limit.
fn still_on(director: &Director) -> Result<(), DrillError> {
    director.over().map_or(Ok(()), |why| Err(DrillError::Over { why }))
}

/// The scenario as the person hears of it: where an inject changes the first report, nobody has
/// seen more than that yet.
fn as_told(wish: &Wish, struck_at: jiff::Timestamp) -> Scenario {
    let mut told = wish.scenario.clone();
    // The clocks run from then, and nothing else on the screens says it.
    let noticed = auto::first_call(struck_at);
    told.first_report = auto::first_report(&wish.scenario, &wish.injects, struck_at);
    if wish.injects.iter().any(|inject| inject.first_report.is_some()) {
        let rest = told.briefing.split_once("\n\n").map_or("", |(_, rest)| rest).to_owned();
        told.briefing = format!("\"{}\" Nobody has looked yet.\n\n{rest}", told.first_report);
    }
    let (first, rest) = told.briefing.split_once("\n\n").unwrap_or((&told.briefing, ""));
    told.briefing = format!("{} {noticed}\n\n{rest}", first.trim_end());
    told
}

/// Traffic, and the incident amid it.
fn open_shop(
    sandbox: &mut Sandbox,
    wish: &Wish,
    director: &Director,
    say: Say<'_>,
) -> Result<(), DrillError> {
    let load = &wish.scenario.load;
    let rate = load.transactions_per_second;
    say("The shop is open: customers place orders");
    sandbox.begin_traffic(load)?;
    let mut lost = None;
    if wish.has("archive-gap") {
        // Three files, so that the one in the middle is neither the backup's nor the newest.
        for at in 0..3 {
            sandbox.let_traffic_run(1.0, rate)?;
            let name = sandbox.switch_and_archive()?;
            if at == 1 {
                lost = Some(name);
            }
        }
    }
    match &wish.scenario.incident {
        incident @ (Disaster::Statement(_) | Disaster::Table(_)) => {
            sandbox.let_traffic_run(load.before_incident, rate)?;
            still_on(director)?;
            sandbox.strike(incident)?;
            sandbox.let_traffic_run(load.after_incident, rate)?;
        }
        Disaster::DataDirectory | Disaster::Region => {
            sandbox.let_traffic_run(load.before_incident / 2.0, rate)?;
            // What came before is in the archive; what comes now may not be.
            sandbox.switch_and_archive()?;
            sandbox.let_traffic_run(load.before_incident / 2.0, rate)?;
            sandbox.lose(wish.scenario.incident == Disaster::Region)?;
        }
    }
    if let Some(name) = lost {
        sandbox.part_with_wal(&name)?;
    }
    Ok(())
}

/// As [`prepare`], for the screens: from here on they mind interrupts.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_live(wish: Wish, options: &Options, say: Say<'_>) -> Result<LiveDrill, DrillError> {
    let mut live = prepare(wish, options, say)?;
    if let (true, Some(truth)) = (live.wish.facilitated, live.sandbox.truth()) {
        let programme = Programme::of(&live.wish.scenario, truth, live.sandbox.root());
        live.director.let_master_in(programme)?;
    }
    live.sandbox.leave_signals();
    Ok(live)
}

/// A drill that was held: how it went, and what is to be kept of it.
#[derive(Debug)]
pub struct Held {
    pub outcome: Outcome,
    /// The incident's journal and reports, read before the sandbox went.
    pub evidence: record::Evidence,
    /// What a game master did and saw, where one could come in.
    pub facilitation: Option<Facilitation>,
}

/// The whole drill without a person, from making the sandbox to clearing it away.
///
/// # Errors
/// Where the drill could not be held; a recovery that fails is an [`Outcome`].
pub fn run(wish: Wish, options: &Options, say: Say<'_>) -> Result<Held, DrillError> {
    let LiveDrill { wish, director, mut sandbox } = prepare(wish, options, say)?;
    let runbook = sandbox.runbook()?;
    // From here on there is something to tell of a drill that is ended.
    let watch = Watch::begin(&sandbox, &director)?;
    sandbox.leave_signals();
    let play = Play {
        scenario: &wish.scenario,
        injects: &wish.injects,
        director: &director,
        runbook: &runbook,
        seed: options.seed,
    };
    let outcome = auto::run_auto(&mut sandbox, &play, say);
    drop(watch);
    drop(director);
    let mut outcome = Outcome { limits: wish.rails(), ..outcome? };
    let evidence = record::Evidence::of(sandbox.root());
    outcome.torn_down(sandbox.close()?.proof);
    Ok(Held { outcome, evidence, facilitation: None })
}

/// Scores a drill that a person led, as it stands now. `None` where no incident was declared.
///
/// # Errors
/// Where the incident cannot be read, or the sandbox has no truth.
pub fn conclude(live: &mut LiveDrill, seed: u64) -> Result<Option<Held>, DrillError> {
    live.sandbox.end_traffic();
    let Some(incident) = declared(&live.sandbox)? else { return Ok(None) };
    held(live, seed, |live, play| {
        let ended_by = judge::left_off(&incident, play);
        let begun = incident.clocks.declared;
        let ended = judge::judge(&live.sandbox, play, &incident, ended_by)?;
        let seconds =
            begun.map_or(0.0, |at| jiff::Timestamp::now().duration_since(at).as_secs_f64());
        Ok(Outcome { seconds, ..ended })
    })
    .map(Some)
}

/// What is kept of a drill that is ended before its end: that it was, why, and what was done by
/// then. `None` where there is nothing to tell: no incident was declared, and nobody else looked on.
///
/// # Errors
/// Where the incident cannot be read.
pub fn give_up(live: &mut LiveDrill, seed: u64, why: &str) -> Result<Option<Held>, DrillError> {
    live.sandbox.end_traffic();
    let incident = declared(&live.sandbox)?;
    if incident.is_none() && live.director.facilitation().is_none() {
        return Ok(None);
    }
    held(live, seed, |live, play| Ok(judge::aborted(&live.sandbox, play, incident.as_ref(), why)))
        .map(Some)
}

/// The sandbox's incident, where one was declared.
fn declared(sandbox: &Sandbox) -> Result<Option<Incident>, DrillError> {
    let Some(folder) = director::newest_incident(sandbox.root()) else { return Ok(None) };
    let id = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let incident = Store::new(&sandbox.state()).load(&id);
    incident.map(Some).map_err(|error| DrillError::Engine(error.explanation()))
}

fn held(
    live: &LiveDrill,
    seed: u64,
    ended: impl FnOnce(&LiveDrill, &Play<'_>) -> Result<Outcome, DrillError>,
) -> Result<Held, DrillError> {
    let runbook = live.sandbox.runbook()?;
    // What a game master never released is nothing to be judged by.
    let in_play = live.director.in_play();
    let play = Play {
        scenario: &live.wish.scenario,
        injects: &in_play,
        director: &live.director,
        runbook: &runbook,
        seed,
    };
    let outcome = Outcome { limits: live.wish.rails(), ..ended(live, &play)? };
    let evidence = record::Evidence::of(live.sandbox.root());
    Ok(Held { outcome, evidence, facilitation: live.director.facilitation() })
}
