//! The escalation ladder: which level is in charge, by the time that has passed and by the time
//! that is foretold, and whether it has to be called now. Owns that rule, as a function of values;
//! never reads a clock, writes no journal and sends nothing.
//!
//! The first level is told by the declaration; what is called are those above it.

use crate::engine::config::Config;
use crate::engine::config::escalation::Contact;
use crate::engine::incident::Incident;
use crate::engine::incident::outlook::{Outlook, Standing, at_utc};
use crate::engine::incident::raised::{Because, Raise, Raised};
use crate::engine::runbook::{Level, Runbook};
use jiff::{SignedDuration, Timestamp};

/// How long a forecast has to stay beyond the RTO before anybody is called for it: the first
/// seconds of a step measure nothing.
const STEADY: SignedDuration = SignedDuration::from_secs(30);

/// Everything that the rule needs to know of one incident's surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ladder {
    /// Lowest first.
    levels: Vec<Level>,
    contacts: Vec<Contact>,
    again: SignedDuration,
    /// The tier's RTO, in a drill the scenario's, seconds.
    rto_seconds: u64,
    /// Messages of this incident go to somebody.
    pub heard: bool,
}

/// What the rule remembers between two looks: nothing that a new runner would miss.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Watch {
    /// Since when the forecast lies beyond the RTO without a break.
    late_since: Option<Timestamp>,
}

impl Ladder {
    /// The ladder of an incident.
    #[must_use]
    pub fn new(config: &Config, runbook: &Runbook, incident: &Incident) -> Self {
        let declaration = &incident.declaration;
        let cluster = &declaration.cluster;
        let mut levels = runbook.ladder.clone();
        levels.sort_by_key(|level| level.from_minutes);
        let contacts = config.escalation.contacts.iter();
        Self {
            levels,
            contacts: contacts.filter(|one| one.is_for(cluster)).cloned().collect(),
            again: SignedDuration::from_mins(config.escalation.again_after_minutes.into()),
            rto_seconds: runbook.rto_of(declaration.tier, declaration.drill.as_deref()),
            heard: config
                .channels
                .iter()
                .any(|channel| channel.clusters.is_empty() || channel.clusters.contains(cluster))
                && declaration.drill.is_none(),
        }
    }

    /// The RTO that it goes by: the tier's, in a drill the scenario's. Seconds.
    #[must_use]
    pub fn rto_seconds(&self) -> u64 {
        self.rto_seconds
    }

    #[must_use]
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The people of a level and how they are reached, a line each.
    #[must_use]
    pub fn contacts(&self, level: &str) -> Vec<String> {
        self.contacts.iter().filter(|one| one.level == level).map(ToString::to_string).collect()
    }

    /// When a level's time comes.
    #[must_use]
    pub fn due(&self, level: &Level, incident: &Incident) -> Option<Timestamp> {
        let minutes = i64::try_from(level.from_minutes).ok()?;
        incident.clocks.declared?.checked_add(SignedDuration::from_mins(minutes)).ok()
    }

    /// Whom to call now, if anybody.
    #[must_use]
    pub fn call(
        &self,
        incident: &Incident,
        outlook: Option<&Outlook>,
        watch: &mut Watch,
        now: Timestamp,
    ) -> Option<Raise> {
        if incident.clocks.serving.is_some() || incident.closing.is_some() {
            *watch = Watch::default();
            return None;
        }
        let steady = watch.steady(outlook, now);
        let (wanted, because) = self.wanted(incident, outlook, steady, now)?;
        let called = self.highest(&incident.raised);
        if wanted > called {
            return self.raise(wanted, called, because, outlook, incident, now);
        }
        let unanswered = incident.raised.last().filter(|raised| raised.acknowledged.is_none())?;
        let waited = now.duration_since(unanswered.last);
        (waited >= self.again).then(|| again(unanswered, now))
    }

    /// Whether somebody may still have to be called: a runner that nobody watches stays for it.
    #[must_use]
    pub fn awaits(&self, incident: &Incident, now: Timestamp) -> bool {
        let over = incident.clocks.serving.is_some() || incident.closing.is_some();
        let last = self.levels.last().and_then(|level| self.due(level, incident));
        let until = last.and_then(|due| due.checked_add(self.again * 2).ok());
        self.heard && !over && until.is_some_and(|until| now < until)
    }

    /// The place of the level in charge, and what puts it there.
    fn wanted(
        &self,
        incident: &Incident,
        outlook: Option<&Outlook>,
        steady: bool,
        now: Timestamp,
    ) -> Option<(usize, Because)> {
        let elapsed = (self.at(now, incident)?, Because::Elapsed);
        let Some(outlook) = outlook else { return Some(elapsed) };
        // The second level at least: the first one is at it already.
        let early = match (outlook.standing, &outlook.serves) {
            (Standing::Over, serves) => {
                let then = serves.filter(|_| steady).map_or(now, |serves| serves.earliest);
                let at = self.at(then, incident)?;
                let because = if at > elapsed.0 && then > now {
                    Because::Forecast
                } else {
                    Because::Breached
                };
                Some((at.max(1), because))
            }
            (Standing::Late, Some(serves)) if steady => {
                Some((self.at(serves.earliest, incident)?.max(1), Because::Forecast))
            }
            _ => None,
        };
        let early = early.filter(|early| early.0 > elapsed.0);
        Some(early.map_or(elapsed, |(at, because)| (at.min(self.levels.len() - 1), because)))
    }

    /// The place of the level whose time has come at that moment.
    fn at(&self, then: Timestamp, incident: &Incident) -> Option<usize> {
        let reached = |level: &Level| self.due(level, incident).is_some_and(|due| due <= then);
        self.levels.iter().rposition(reached).or_else(|| (!self.levels.is_empty()).then_some(0))
    }

    /// The place of the highest level that was called; the first one is told by the declaration.
    fn highest(&self, raised: &[Raised]) -> usize {
        let place = |one: &Raised| self.levels.iter().position(|l| l.id == one.raise.level);
        raised.iter().filter_map(place).max().unwrap_or(0)
    }

    fn raise(
        &self,
        wanted: usize,
        called: usize,
        because: Because,
        outlook: Option<&Outlook>,
        incident: &Incident,
        now: Timestamp,
    ) -> Option<Raise> {
        let level = self.levels.get(wanted)?;
        let with = self.levels.get(called + 1..=wanted)?;
        let who: Vec<&str> = with.iter().map(|level| level.who.as_str()).collect();
        let contacts = with.iter().flat_map(|level| self.contacts(&level.id)).collect();
        Some(Raise {
            level: level.id.clone(),
            who: who.join(", "),
            contacts,
            because,
            why: self.why(because, level, outlook, incident, now),
            times: 1,
        })
    }

    fn why(
        &self,
        because: Because,
        level: &Level,
        outlook: Option<&Outlook>,
        incident: &Incident,
        now: Timestamp,
    ) -> String {
        let rto = crate::engine::incident::clocks::spoken(self.rto_seconds);
        let before =
            self.due(level, incident).filter(|due| *due > now).map_or_else(String::new, |due| {
                format!(" Called before its time, which is {}.", at_utc(due, now))
            });
        match because {
            Because::Elapsed => {
                format!("It has lasted {} min since the declaration.", level.from_minutes)
            }
            Because::Breached => {
                let over = outlook.map_or(now, |outlook| outlook.limit);
                format!("The RTO of {rto} is over since {}.{before}", at_utc(over, now))
            }
            Because::Forecast => {
                let told = outlook.and_then(|outlook| outlook.warning(now));
                let told = told.unwrap_or_else(|| format!("The RTO of {rto} will be missed."));
                format!("{told}{before}")
            }
        }
    }
}

impl Watch {
    /// Whether the forecast has been beyond the RTO for long enough.
    fn steady(&mut self, outlook: Option<&Outlook>, now: Timestamp) -> bool {
        let late = outlook.is_some_and(|outlook| {
            let beyond = outlook.serves.is_some_and(|serves| serves.earliest > outlook.limit);
            beyond && matches!(outlook.standing, Standing::Late | Standing::Over)
        });
        if !late {
            self.late_since = None;
            return false;
        }
        let since = *self.late_since.get_or_insert(now);
        now.duration_since(since) >= STEADY
    }
}

/// The same call once more.
fn again(unanswered: &Raised, now: Timestamp) -> Raise {
    let times = unanswered.raise.times.saturating_add(1);
    let first = at_utc(unanswered.at, now);
    let lead = format!("Nobody has answered since {first}. ");
    let why = unanswered.raise.why.as_str();
    let plain = why.split_once(LAST_CALL).map_or(why, |(_, plain)| plain);
    Raise { times, why: format!("{lead}{LAST_CALL}{plain}"), ..unanswered.raise.clone() }
}

/// Stands before what a level was called for, where it is called again.
const LAST_CALL: &str = "It was called for this: ";

#[cfg(test)]
mod tests;
