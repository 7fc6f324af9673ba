//! When the database will serve again, against the RTO: told ahead of time, from measured rates and
//! the plan's forecast. Owns that judgement and its words; never reads a clock, and never counts
//! the time that people will take.

use super::clocks::spoken;
use super::model::{Incident, RunStatus, StepStatus};
use crate::engine::runner::plan::Plan;
use crate::engine::runner::protocol::Progress;
use jiff::tz::Offset;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

/// The step after which the database serves.
const SERVES: &str = "open";

/// The RTO and what is known of how it will be met.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outlook {
    /// The RTO, seconds.
    pub limit_seconds: u64,
    /// When it is over.
    pub limit: Timestamp,
    /// Until then; negative once it is over. Where the database serves: what was left.
    pub left_seconds: f64,
    /// `None` where nothing says when it will serve, and where it serves.
    pub serves: Option<Serves>,
    pub standing: Standing,
}

/// When the database will serve, people's time not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Serves {
    pub earliest: Timestamp,
    pub latest: Timestamp,
    pub basis: Basis,
}

/// What the forecast begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A step runs.
    Runs,
    /// It waits for a person, who would answer now.
    Waits,
    /// It would be started now.
    NotStarted,
}

/// How the RTO stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    Met,
    Missed,
    /// Still open, and nothing says that it will be missed.
    Within,
    /// Still open; the later end of the forecast lies behind it.
    AtRisk,
    /// Still open; even the earlier end of the forecast lies behind it.
    Late,
    /// It is over, and the database does not serve.
    Over,
}

impl Outlook {
    /// How the RTO of `limit_seconds` stands at `now`. `None` where the journal does not say when
    /// the outage began.
    #[must_use]
    pub fn of(
        incident: &Incident,
        limit_seconds: u64,
        progress: Option<&Progress>,
        now: Timestamp,
    ) -> Option<Self> {
        let whole = i64::try_from(limit_seconds).ok()?;
        let began = incident.clocks.outage_began()?;
        let limit = began.checked_add(SignedDuration::from_secs(whole)).ok()?;
        let end = incident.clocks.serving.unwrap_or(now);
        let left_seconds = limit.duration_since(end).as_secs_f64();
        let (serves, standing) = match incident.clocks.serving {
            Some(at) if at <= limit => (None, Standing::Met),
            Some(_) => (None, Standing::Missed),
            None => {
                let serves = Serves::of(incident, progress, now);
                let standing = match &serves {
                    _ if now > limit => Standing::Over,
                    Some(serves) if serves.earliest > limit => Standing::Late,
                    Some(serves) if serves.latest > limit => Standing::AtRisk,
                    _ => Standing::Within,
                };
                (serves, standing)
            }
        };
        Some(Self { limit_seconds, limit, left_seconds, serves, standing })
    }

    /// What is told ahead of time, in a sentence; `None` where there is nothing to tell.
    #[must_use]
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let serves = self.serves?;
        let lead = match serves.basis {
            Basis::Runs => "At this rate it",
            Basis::Waits => "Answered now, it",
            Basis::NotStarted => "Started now, it",
        };
        let (at, how) = match self.standing {
            Standing::Late | Standing::Over => (serves.earliest, "serves at"),
            Standing::AtRisk => (serves.latest, "may serve as late as"),
            _ => return None,
        };
        let wide = serves.latest.duration_since(serves.earliest) > SignedDuration::from_secs(60);
        let earliest = if wide && how == "serves at" { " at the earliest" } else { "" };
        let late = self.late(at);
        Some(format!("{lead} {how} {}{earliest}, {late} after the RTO.", at_utc(at, now)))
    }

    /// The same in the header's few words.
    #[must_use]
    pub fn short(&self, now: Timestamp) -> Option<String> {
        let serves = self.serves?;
        match self.standing {
            Standing::Late | Standing::Over => {
                let at = serves.earliest;
                Some(format!("serves {}, {} late", at_utc(at, now), self.late(at)))
            }
            Standing::AtRisk => {
                let at = serves.latest;
                Some(format!("may serve {}, {} late", at_utc(at, now), self.late(at)))
            }
            _ => None,
        }
    }

    fn late(&self, at: Timestamp) -> String {
        spoken(u64::try_from(at.duration_since(self.limit).as_secs()).unwrap_or(0))
    }
}

impl Serves {
    fn of(incident: &Incident, progress: Option<&Progress>, now: Timestamp) -> Option<Self> {
        let (range, basis) = ahead(incident, progress, now)?;
        let after = |seconds: f64| {
            let span = SignedDuration::try_from_secs_f64(seconds).ok()?;
            now.checked_add(span).ok()
        };
        Some(Self { earliest: after(range.0)?, latest: after(range.1)?, basis })
    }
}

/// Seconds that are still to come, least and most.
fn ahead(
    incident: &Incident,
    progress: Option<&Progress>,
    now: Timestamp,
) -> Option<((f64, f64), Basis)> {
    let plan = incident.plan.as_ref();
    match incident.status {
        RunStatus::Planning | RunStatus::Ready => {
            let planned = plan.map(|plan| expected(plan, 0)).filter(|range| range.1 > 0.0);
            let forecast = incident.reach.as_ref().and_then(|reach| reach.forecast);
            let range = planned.or(forecast.map(|forecast| forecast.total()))?;
            Some((range, Basis::NotStarted))
        }
        RunStatus::Running => {
            if let Some(range) = progress.and_then(|p| remaining(incident, p)) {
                return Some((range, Basis::Runs));
            }
            let (plan, at) = (plan?, position(incident, StepStatus::Running)?);
            let step = plan.steps.get(at)?;
            let began = incident.steps.get(at).and_then(|step| step.started);
            let taken = began.map_or(0.0, |began| now.duration_since(began).as_secs_f64());
            let (least, most) = step.expected.unwrap_or_default();
            let rest = expected(plan, at + 1);
            let left = |whole: f64| (whole - taken).max(0.0);
            Some(((left(least) + rest.0, left(most) + rest.1), Basis::Runs))
        }
        RunStatus::Held => {
            let at = position(incident, StepStatus::Held)?;
            Some((expected(plan?, at + 1), Basis::Waits))
        }
        RunStatus::Paused => {
            let at = position(incident, StepStatus::Pending)?;
            Some((expected(plan?, at), Basis::Waits))
        }
        // What comes next is a person's to say, and how long that takes is not known.
        RunStatus::Failed
        | RunStatus::Interrupted
        | RunStatus::Cancelled
        | RunStatus::Undoing
        | RunStatus::Undone
        | RunStatus::Finished => None,
    }
}

fn position(incident: &Incident, status: StepStatus) -> Option<usize> {
    incident.steps.iter().position(|step| step.status == status)
}

/// The plan's own forecast from that step on, to where the database serves.
fn expected(plan: &Plan, from: usize) -> (f64, f64) {
    let serving = plan.steps.iter().position(|s| s.id == SERVES).unwrap_or(plan.steps.len());
    let steps = plan.steps.iter().take(serving.saturating_add(1)).skip(from);
    steps.filter_map(|step| step.expected).fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1))
}

/// Seconds until the database serves, people's decisions not counted: the running step by its own
/// measured pace, the rest as forecast. `None` where either is not known.
#[must_use]
pub fn remaining(incident: &Incident, progress: &Progress) -> Option<(f64, f64)> {
    let plan = incident.plan.as_ref()?;
    let at = plan.steps.iter().position(|s| s.id == progress.job)?;
    let eta = progress.eta.filter(|eta| eta.is_finite() && *eta >= 0.0)?;
    let rest = expected(plan, at + 1);
    Some((eta + rest.0, eta + rest.1))
}

/// `14:52 UTC`, with the day where it is another than today's.
#[must_use]
pub fn at_utc(at: Timestamp, now: Timestamp) -> String {
    let (at, now) = (Offset::UTC.to_datetime(at), Offset::UTC.to_datetime(now));
    let form = if at.date() == now.date() { "%H:%M UTC" } else { "%Y-%m-%d %H:%M UTC" };
    at.strftime(form).to_string()
}

#[cfg(test)]
mod tests;
