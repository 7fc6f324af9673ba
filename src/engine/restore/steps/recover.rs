//! The steps while the server recovers: start it closed to everybody, watch the replay, stop at
//! the target for the commander to look. Never promotes.

use super::look;
use super::site::{Site, now};
use crate::engine::assess;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::Try;
use crate::engine::postgres::Lsn;
use crate::engine::postgres::control::StopMode;
use crate::engine::postgres::recovery_watch::ReplayState;
use crate::engine::recovery_point::rates::Work;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::protocol::{Progress, Unit};
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The note of which plan, by its hash, the server's target was taken from.
pub(super) const AIMED: &str = "aimed_by";

/// A replay that has not gone on for so long may wait for a log file that is missing.
const STILL: Duration = Duration::from_secs(30);

/// How long a server that found no more log is given: it looks again every five seconds.
const MORE_LOG: Duration = Duration::from_secs(12);

/// Starts the server in recovery, closed to the application.
#[derive(Debug)]
pub struct StartRecovery(pub Arc<Site>);

impl Step for StartRecovery {
    fn id(&self) -> &'static str {
        "start-recovery"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(if self.0.running()? {
            Standing::Done(String::from("the server runs"))
        } else {
            Standing::NotStarted
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        self.0.confirm(context.plan(), self.0.data())?;
        self.0.start_closed()?;
        context.note(
            "closed",
            &format!(
                "The server runs on a private socket in {}; no application can reach it",
                self.0.closed()?.socket_directory.display()
            ),
        )?;
        Ok(Outcome::Done)
    }

    fn undo(&self, _: &dyn StepContext) -> Result<String, Explanation> {
        if !self.0.running()? {
            return Ok(String::from("the recovering server is down already"));
        }
        self.0
            .driver()?
            .stop(StopMode::Fast, super::prepare::STOP_LIMIT)
            .map_err(|e| e.explanation())?;
        Ok(String::from("the recovering server was stopped"))
    }
}

/// Watches the replay until the server waits at the target.
#[derive(Debug)]
pub struct Replay(pub Arc<Site>);

impl Step for Replay {
    fn id(&self) -> &'static str {
        "replay"
    }

    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation> {
        if !self.0.running()? {
            return Ok(Standing::Partial(String::from("the server is down and will be started")));
        }
        let mut watch = self.0.watch(context.plan())?;
        Ok(match context.runtime().block_on(watch.look()) {
            ReplayState::AtTarget { .. } => {
                Standing::Partial(String::from("the server waits at the target"))
            }
            _ => Standing::Partial(String::from("the server replays")),
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let begun = Instant::now();
        let stop = self.0.reach_target(context)?;
        let reached = stop.iter().find(|(name, _)| name == "reached_lsn");
        if let Some(lsn) = reached.and_then(|(_, text)| text.parse::<Lsn>().ok()) {
            let bytes = lsn.bytes_since(context.plan().base.start_lsn);
            self.0.learn(Work::Replay, bytes, begun.elapsed().as_secs_f64());
        }
        for (name, text) in stop {
            context.note(&name, &text)?;
        }
        Ok(Outcome::Done)
    }
}

/// Named facts about where the server stopped.
type Facts = Vec<(String, String)>;

impl Site {
    /// Brings the recovering server to the target, starting it where it is down.
    ///
    /// # Errors
    /// Where it stopped for another reason, or the commander cancelled; the server is down then.
    pub(super) fn reach_target(&self, context: &dyn StepContext) -> Result<Facts, Explanation> {
        self.aim(context)?;
        self.raise_settings(context)?;
        if !self.running()? {
            self.recover_again(context)?;
            self.start_closed()?;
        }
        let mut watch = self.watch(context.plan())?;
        let mut meter = Meter::new(context.plan());
        let mut out_of_log: Option<(Option<Lsn>, Instant)> = None;
        loop {
            if context.cancelled() {
                self.driver()?
                    .stop(StopMode::Fast, super::prepare::STOP_LIMIT)
                    .map_err(|e| e.explanation())?;
                return Err(Explanation::new(
                    Kind::Cancelled,
                    "Replay was cancelled and the recovering server is stopped.",
                    "The damaged directory is kept aside, untouched.",
                    "Retry goes on from where replay stood; putting back restores the old state.",
                ));
            }
            let state = context.runtime().block_on(watch.look());
            let log = told(watch.log_lines());
            match state {
                ReplayState::AtTarget { stop, lsn, time } => {
                    let mut facts = vec![("stop_line".to_owned(), stop)];
                    if let Some(lsn) = lsn {
                        facts.push(("reached_lsn".to_owned(), lsn.to_string()));
                    }
                    if let Some(time) = time {
                        facts.push(("reached_time".to_owned(), time.to_string()));
                    }
                    return Ok(facts);
                }
                ReplayState::Starting { .. } => meter.tick(context, None, None, log),
                ReplayState::Replaying { lsn, time } => {
                    meter.tick(context, lsn, time, log);
                }
                ReplayState::OutOfLog { lsn, time, why } => {
                    let since = out_of_log.filter(|(at, _)| *at == lsn);
                    let (_, since) = *out_of_log.insert(since.unwrap_or((lsn, Instant::now())));
                    if since.elapsed() >= MORE_LOG {
                        return Err(why);
                    }
                    meter.tick(context, lsn, time, log);
                }
                ReplayState::PausedFor(explanation) | ReplayState::Failed(explanation) => {
                    return Err(explanation);
                }
                ReplayState::Promoted => {
                    return Err(Explanation::new(
                        Kind::Server,
                        "The server left recovery by itself before it reached the target.",
                        "The damaged directory is kept aside, untouched.",
                        "Cancel and put things back; the server's log says why.",
                    ));
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Site {
    /// A server that was started for an earlier end of the plan is stopped and told the later one.
    /// What it replayed stays; nothing is copied again.
    fn aim(&self, context: &dyn StepContext) -> Result<(), Explanation> {
        let plan = context.plan();
        match context.noted(AIMED) {
            Some(hash) if hash != plan.hash => {}
            // The first end of a plan was set before the server was started.
            _ => return Ok(()),
        }
        self.confirm(plan, self.data())?;
        if self.running()? {
            self.driver()?
                .stop(StopMode::Fast, super::prepare::STOP_LIMIT)
                .map_err(|e| e.explanation())?;
        }
        self.configure(plan, &plan.target)?;
        context.note("configured", &format!("Recovery goes on, to stop {}", plan.target))?;
        // Last, so that a kill before it does all of this again.
        context.note(AIMED, &plan.hash)
    }

    /// A server that stopped on its way because a setting is lower than the log asks for is stopped
    /// and told the higher one. What it replayed stays; nothing is copied again.
    fn raise_settings(&self, context: &dyn StepContext) -> Result<(), Explanation> {
        let plan = context.plan();
        let mut watch = self.watch(plan)?;
        let state = context.runtime().block_on(watch.look());
        // The first time it is told, so that nobody wonders about other settings than the plan's.
        let again = context.incident().current_step().is_some_and(|step| step.attempts > 1);
        let stopped = again && matches!(state, ReplayState::PausedFor(_) | ReplayState::Failed(_));
        let Some(low) = watch.low_setting().filter(|_| stopped && self.is_told_to_recover()) else {
            return Ok(());
        };
        self.confirm(plan, self.data())?;
        if self.running()? {
            self.driver()?
                .stop(StopMode::Fast, super::prepare::STOP_LIMIT)
                .map_err(|e| e.explanation())?;
        }
        // What the log asks for by now also stands in pg_control, all five settings.
        let mut raised = plan.clone();
        raised.minimum_settings.push((low.name.clone(), low.needed));
        self.configure(&raised, &plan.target)?;
        context.note(
            "settings_raised",
            &format!(
                "The log asks for {} = {}; it was raised for this recovery and the replay goes on",
                low.name, low.needed
            ),
        )
    }

    /// A server that was killed while it was promoted has lost the word to recover, and may have
    /// left a timeline that it never went on: it is told again, on the timeline where it stood.
    fn recover_again(&self, context: &dyn StepContext) -> Result<(), Explanation> {
        let plan = context.plan();
        if self.is_told_to_recover() {
            return Ok(());
        }
        let mut target = plan.target.clone();
        target.timeline = target.timeline.or(plan.timeline).or(Some(self.timeline()?));
        self.configure(plan, &target)?;
        context.note(
            "promotion_broken_off",
            "A promotion was broken off before its end; the server goes back to the target first",
        )
    }
}

/// The server's log without the refusals that our own asking provokes while it starts.
fn told(lines: &[String]) -> Vec<String> {
    let ours = [
        "the database system is starting up",
        "the database system is not yet accepting connections",
        "Consistent recovery state has not been yet reached",
        "could not write external PID file",
    ];
    lines.iter().filter(|line| !ours.iter().any(|text| line.contains(text))).cloned().collect()
}

/// Turns replay positions into progress.
struct Meter {
    started: jiff::Timestamp,
    from: Lsn,
    until: Option<Lsn>,
    samples: VecDeque<(Instant, u64)>,
    history: Vec<f64>,
    second: Instant,
    /// How far it was when it last went on, and when that was.
    moved: (u64, Instant),
}

impl Meter {
    fn new(plan: &Plan) -> Self {
        Self {
            started: now(),
            from: plan.base.start_lsn,
            until: plan.replay_until,
            samples: VecDeque::new(),
            history: Vec::new(),
            second: Instant::now(),
            moved: (0, Instant::now()),
        }
    }

    /// What is done; a replay that stands still is told apart from one that works.
    fn label(&mut self, done: u64) -> String {
        if done != self.moved.0 {
            self.moved = (done, Instant::now());
        }
        let still = self.moved.1.elapsed();
        if done == 0 || still < STILL {
            return String::from("replaying changes since the backup");
        }
        format!(
            "nothing replayed for {} s: the next log file may be missing; the log says which",
            still.as_secs()
        )
    }

    fn tick(
        &mut self,
        context: &dyn StepContext,
        lsn: Option<Lsn>,
        time: Option<jiff::Timestamp>,
        log: Vec<String>,
    ) {
        let done = lsn.map_or(0, |lsn| lsn.bytes_since(self.from));
        let rate = self.rate(done);
        if self.second.elapsed() >= Duration::from_secs(1) {
            self.second = Instant::now();
            self.history.push(rate.unwrap_or(0.0));
            let surplus = self.history.len().saturating_sub(120);
            self.history.drain(..surplus);
        }
        let total = self.until.map(|until| until.bytes_since(self.from));
        let eta = match (total, rate) {
            (Some(total), Some(rate)) if rate > 0.0 => {
                Some(total.saturating_sub(done) as f64 / rate)
            }
            _ => None,
        };
        context.progress(Progress {
            job: String::from("replay"),
            label: self.label(done),
            started: self.started,
            done,
            total,
            unit: Unit::Bytes,
            rate,
            eta,
            history: self.history.clone(),
            lsn,
            replayed_until: time,
            log,
        });
    }

    /// Bytes a second over the last five seconds.
    fn rate(&mut self, done: u64) -> Option<f64> {
        let at = Instant::now();
        self.samples.push_back((at, done));
        while self.samples.front().is_some_and(|(t, _)| at - *t > Duration::from_secs(5)) {
            self.samples.pop_front();
        }
        let (first, bytes) = self.samples.front()?;
        let seconds = (at - *first).as_secs_f64();
        (seconds > 0.3).then(|| done.saturating_sub(*bytes) as f64 / seconds)
    }
}

/// Looks at the database as it is at the target, and waits for the commander.
#[derive(Debug)]
pub struct Inspect(pub Arc<Site>);

impl Step for Inspect {
    fn id(&self) -> &'static str {
        "inspect"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(Standing::NotStarted)
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let facts = self.0.reach_target(context)?;
        let private = self.0.closed()?.connection(&self.0.cluster.connection);
        let fact = |wanted: &str| {
            facts.iter().find(|(name, _)| name == wanted).map_or("", |(_, text)| text.as_str())
        };
        let reached_time = fact("reached_time").parse().ok();
        let (cluster, incident) = (&self.0.cluster, context.incident());
        let checks = context.runtime().block_on(async {
            let tables = look::tables(&private, &cluster.tables, &incident, reached_time);
            let mut checks = tables.await;
            checks.extend(assess::run_probes_on(&private, cluster).await);
            checks
        });
        let tried = Try {
            target: context.plan().target.clone(),
            reached_lsn: fact("reached_lsn").parse().ok(),
            reached_time,
            checks,
        };
        for check in tried.probes() {
            context.note(
                "at_target",
                &format!(
                    "{}: {} {}",
                    check.title,
                    check.verdict.word(),
                    check.found.as_deref().unwrap_or("")
                ),
            )?;
        }
        let (good, of) = tried.content();
        context.tried(tried)?;
        // Of a cluster that stands beside another, that one may still take writes.
        if self.0.beside.is_none() {
            context.count_loss();
        }
        let stop = fact("stop_line");
        let question = format!(
            "The server waits at the target ({stop}); {good} of {of} probes are content. Promote it?"
        );
        Ok(Outcome::Hold { question })
    }
}
