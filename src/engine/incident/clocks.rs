//! The clocks of an incident: its moments, actual RPO and RTO by the runbook's definitions, and
//! whose time it took. Owns these definitions, for screens, reports and messages alike; never reads
//! a clock: what is asked about now is asked with a moment.

use super::facts::{OLD_RAN_UNTIL, TargetPoint};
use super::model::{Incident, RunStatus, StepStatus};
use crate::engine::moments;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

/// The moments that RPO and RTO are computed from. All are UTC; what is absent has not happened, or
/// the journal does not say it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Clocks {
    pub declared: Option<Timestamp>,
    pub detected: Option<Timestamp>,
    pub last_known_good: Option<Timestamp>,
    /// The server was stopped: no write after this.
    pub writes_stopped: Option<Timestamp>,
    /// The gate was passed.
    pub decided: Option<Timestamp>,
    pub run_started: Option<Timestamp>,
    pub restored: Option<Timestamp>,
    pub replayed: Option<Timestamp>,
    pub promoted: Option<Timestamp>,
    /// The database takes connections again.
    pub serving: Option<Timestamp>,
    pub validated: Option<Timestamp>,
    /// Every line of the checklist was settled, and the commander closed the incident.
    pub closed: Option<Timestamp>,
}

impl Clocks {
    /// Where the outage began for the RTO: detection where stated, else declaration.
    #[must_use]
    pub fn outage_began(&self) -> Option<Timestamp> {
        match (self.detected, self.declared) {
            (Some(detected), Some(declared)) => Some(detected.min(declared)),
            (one, other) => one.or(other),
        }
    }

    /// Seconds from the outage's begin to serving, or to `now` while it lasts.
    #[must_use]
    pub fn rto_seconds(&self, now: Timestamp) -> Option<f64> {
        let end = self.serving.unwrap_or(now);
        Some(end.duration_since(self.outage_began()?).as_secs_f64())
    }
}

/// Who is to do something at one moment of an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Turn {
    /// People, before a plan was agreed to.
    #[default]
    Deciding,
    /// People, at a question, a failure or a pause of the plan that was agreed to.
    Waiting,
    /// Steps, cures, and putting back.
    Machine,
    /// Nobody: the database serves.
    Over,
}

/// Seconds of the outage by whose turn it was, up to the journal's last entry.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Spent {
    pub deciding: f64,
    pub waiting: f64,
    pub machine: f64,
    /// No runner was alive although steps were to be carried out: from the last entry of the one
    /// that died to the first of the next.
    pub unattended: f64,
    /// Up to where that is counted.
    pub until: Option<Timestamp>,
    /// Whose turn it is since then.
    pub turn: Turn,
}

impl Spent {
    /// Counts up to an entry. `gap`: a runner took over, so that whatever ran before had ended.
    pub(super) fn pass(&mut self, at: Timestamp, next: Turn, gap: bool) {
        let turn = self.turn;
        self.add(at, if gap && turn == Turn::Machine { None } else { Some(turn) });
        (self.until, self.turn) = (Some(at), next);
    }

    fn add(&mut self, until: Timestamp, turn: Option<Turn>) {
        let seconds = self.until.map_or(0.0, |since| seconds(since, until));
        match turn {
            Some(Turn::Deciding) => self.deciding += seconds,
            Some(Turn::Waiting) => self.waiting += seconds,
            Some(Turn::Machine) => self.machine += seconds,
            Some(Turn::Over) => {}
            None => self.unattended += seconds,
        }
    }
}

/// The downtime by whose time it was. Seconds; the parts add up to the whole.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shares {
    /// From the outage's begin until the database served, or until now.
    pub total: f64,
    /// Steps, cures, and putting back.
    pub machine: f64,
    /// People, from the outage's begin until a plan was agreed to: assessment, choice, gate.
    pub deciding: f64,
    /// People, after that: questions, failures, pauses.
    pub waiting: f64,
    /// No runner was alive.
    pub unattended: f64,
}

impl Shares {
    /// People's seconds.
    #[must_use]
    pub fn human(&self) -> f64 {
        self.deciding + self.waiting
    }

    /// A part of the whole, in percent.
    #[must_use]
    pub fn percent(&self, part: f64) -> f64 {
        if self.total > 0.0 { (part / self.total * 100.0).clamp(0.0, 100.0) } else { 0.0 }
    }
}

/// A moment of the incident.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mark {
    /// Stable, for programs.
    pub id: &'static str,
    pub title: &'static str,
    pub at: Option<Timestamp>,
}

/// A figure and how it was computed, in words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// Seconds; `None` where it is not known.
    pub seconds: Option<f64>,
    /// It still grows.
    pub ongoing: bool,
    pub how: String,
}

impl Incident {
    /// When the damage was done, as far as the journal can say it: the first transaction that the
    /// chosen recovery point leaves out. `None` before a point is chosen, and where nothing that
    /// was committed is left out.
    #[must_use]
    pub fn fault(&self) -> Option<Timestamp> {
        self.reach.as_ref().and_then(|reach| reach.first_lost.as_ref()).map(|commit| commit.at)
    }

    /// Whose turn it is by the model as it stands.
    pub(super) fn turn(&self) -> Turn {
        if self.clocks.serving.is_some() {
            return Turn::Over;
        }
        let cures = self.steps.iter().any(|step| step.curing.is_some());
        match self.status {
            _ if cures => Turn::Machine,
            RunStatus::Running | RunStatus::Undoing => Turn::Machine,
            _ if self.clocks.decided.is_some() => Turn::Waiting,
            _ => Turn::Deciding,
        }
    }

    /// The downtime by whose time it was, up to `now` while it lasts.
    #[must_use]
    pub fn shares(&self, now: Timestamp) -> Option<Shares> {
        let clocks = &self.clocks;
        let (began, declared) = (clocks.outage_began()?, clocks.declared?);
        let mut spent = self.spent;
        if clocks.serving.is_none() {
            spent.add(now, Some(spent.turn));
        }
        let deciding = spent.deciding + seconds(began, declared);
        let Spent { machine, waiting, unattended, .. } = spent;
        Some(Shares {
            total: machine + deciding + waiting + unattended,
            machine,
            deciding,
            waiting,
            unattended,
        })
    }

    /// Only parts come back, and production stays open all the time.
    #[must_use]
    pub fn stays_open(&self) -> bool {
        self.procedure().is_parts()
    }

    /// The moments of the incident in the order of time, then those that are not known.
    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        let open = self.stays_open();
        let clocks = &self.clocks;
        let reach = self.reach.as_ref();
        let last_kept = reach.and_then(|r| r.last_kept.as_ref()).map(|c| c.at);
        let mut marks = [
            ("last_known_good", "Last known good", clocks.last_known_good),
            ("last_kept", "Last commit kept", last_kept),
            ("fault", "Fault: first commit given up", self.fault()),
            ("detected", "First detected", clocks.detected),
            ("declared", "Declared", clocks.declared),
            ("decided", "Decided: gate passed", clocks.decided),
            ("run_started", "Recovery started", clocks.run_started),
            ("writes_stopped", "Writes stopped", clocks.writes_stopped),
            ("restored", "Base restored", clocks.restored),
            ("replayed", "Replayed to the point", clocks.replayed),
            ("promoted", "Promoted", clocks.promoted),
            ("serving", if open { "Rows back" } else { "Serving again" }, clocks.serving),
            ("validated", "Validated", clocks.validated),
            ("closed", "Signed off and closed", clocks.closed),
        ]
        .map(|(id, title, at)| Mark { id, title, at });
        marks.sort_by_key(|mark| (mark.at.is_none(), mark.at));
        // Where production stays open no commit is given up, and nothing stops or is promoted.
        let never =
            |mark: &Mark| open && matches!(mark.id, "fault" | "writes_stopped" | "promoted");
        marks.into_iter().filter(|mark| !never(mark)).collect()
    }

    /// The runbook's "time between recovery point and incident". Where writes are known to have
    /// gone on after the incident was noticed, it counts to the last of them: what came in then is
    /// gone too.
    #[must_use]
    pub fn actual_rpo(&self) -> Figure {
        let figure = |seconds, how: String| Figure { seconds, ongoing: false, how };
        if self.plan.as_ref().is_some_and(|plan| plan.procedure.is_parts()) {
            let how = "Production went on: nothing that was committed was given up. Rows of the parts \
                       are as they were at the recovery point, as far as they were chosen.";
            return figure(Some(0.0), how.to_owned());
        }
        let nothing_lost = self.reach.as_ref().is_some_and(|r| r.lost_commits == Some(0));
        let done = |id: &str| self.steps.iter().any(|s| s.id == id && s.status == StepStatus::Done);
        // Beside an old server that runs on, nothing is known to be complete.
        let in_place = self.plan.as_ref().is_none_or(|plan| plan.procedure.is_point_in_time());
        // Of a lost server nothing was there to rescue, whatever the step says.
        let lost = self.has_lost_server();
        if nothing_lost && in_place && !lost && done("rescue-wal") && done("replay") {
            let how = "No commit after the recovery point is known, and WAL that was not archived was rescued.";
            return figure(Some(0.0), how.to_owned());
        }
        let Some((reached, from)) = self.reached_time() else {
            let how = "Not known: the journal does not say which point was reached.";
            return figure(None, how.to_owned());
        };
        let began = self.clocks.outage_began();
        let last_known = self.last_known_commit();
        let ran = self.noted(OLD_RAN_UNTIL).and_then(|at| at.parse().ok());
        let Some(end) = began.max(last_known).max(ran) else {
            let how = "Not known: the journal does not say when it began.";
            return figure(None, how.to_owned());
        };
        let to = if ran.is_some() && ran > began.max(last_known) {
            "the stop of the old server, which took writes until then"
        } else if last_known > began {
            "the last commit known, which came after the incident was noticed"
        } else if self.clocks.detected.is_some() && began == self.clocks.detected {
            "the first detection of the incident"
        } else {
            "the declaration of the incident"
        };
        let most = if lost { " At most: the server was lost by then." } else { "" };
        figure(Some(seconds(reached, end)), format!("From {from} to {to}.{most}"))
    }

    /// The seconds between a commit and the outage's begin: at most so much was committed after it
    /// by a server that is lost. `None` where neither detection nor declaration is later.
    #[must_use]
    pub fn seconds_uncounted(&self, kept: Timestamp) -> Option<f64> {
        let began = self.clocks.outage_began()?;
        (began > kept).then(|| seconds(kept, began))
    }

    /// The runbook's "total downtime".
    #[must_use]
    pub fn actual_rto(&self, now: Timestamp) -> Figure {
        let clocks = &self.clocks;
        let seconds = clocks.rto_seconds(now).map(|s| s.max(0.0));
        let ongoing = clocks.serving.is_none();
        let from = match clocks.detected {
            Some(detected) if clocks.outage_began() == Some(detected) => "first detection",
            _ => "declaration",
        };
        let how = match (seconds, ongoing) {
            (None, _) => String::from("Not known: the journal does not say when the outage began."),
            (Some(_), false) if self.stays_open() => format!(
                "From the {from} of the incident until the rows were back; production stayed open."
            ),
            (Some(_), true) if self.stays_open() => format!(
                "From the {from} of the incident until now; the rows are not back yet, and production stays open."
            ),
            (Some(_), false) => {
                format!("From the {from} of the incident until the database served again.")
            }
            (Some(_), true) => format!(
                "From the {from} of the incident until now; the database does not serve yet."
            ),
        };
        Figure { seconds, ongoing, how }
    }

    /// The commit time that the recovered data reaches to, and where it is known from.
    fn reached_time(&self) -> Option<(Timestamp, &'static str)> {
        let said = self.noted("reached_time");
        if let Some(typed) =
            said.and_then(|text| moments::parse(text, Timestamp::UNIX_EPOCH, &TimeZone::UTC).ok())
        {
            // Only a text that names its own offset is a moment.
            if !typed.zone_assumed {
                return Some((typed.at, "the point that the server said it reached"));
            }
        }
        let replayed = self.clocks.replayed.is_some();
        let kept = self.reach.as_ref().and_then(|r| r.last_kept.as_ref());
        let kept = kept.filter(|_| replayed);
        kept.map(|c| (c.at, "the last commit before the recovery point")).or_else(|| {
            let plan = self.plan.as_ref().filter(|_| replayed)?;
            let of_base = plan.target.point == TargetPoint::EndOfBase;
            of_base.then_some((plan.base.finished, "the end of the base backup"))
        })
    }

    /// The newest commit that the proof of reach knew of.
    fn last_known_commit(&self) -> Option<Timestamp> {
        let reach = self.reach.as_ref()?;
        let seconds = reach.lost_seconds.filter(|s| s.is_finite())?;
        let span = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
        reach.last_kept.as_ref()?.at.checked_add(span).ok()
    }
}

fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// A span for people: `40 s`, `5 min`, `1 h 20 min`. What is left over is cut off.
#[must_use]
pub fn spoken(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60) {
        (0, 0) => format!("{seconds} s"),
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}
