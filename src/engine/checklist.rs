//! The post-recovery checklist: lines from the runbook data, sign-offs from the journal. Owns how
//! a line stands; never signs one: evidence that the tool has itself is proposed to a person.

use crate::engine::aftercare;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{Check, Verdict};
use crate::engine::incident::model::{RunStatus, Signed};
use crate::engine::restore::steps::ERASURE_LIST;
use crate::engine::runbook::{ChecklistItem, Horizon, Proof, Runbook};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

mod due;
mod proof;

pub use due::reminder;
pub use proof::{proofs, proven};

/// How a proof by the safety list begins in the runbook data.
const CARE: &str = "care:";
/// The line on what was written after the recovery point.
pub const LATER_WRITES: &str = "later-writes";
/// The proof by what was salvaged, in the runbook data.
const SALVAGE: &str = "salvage";

/// The whole checklist at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checklist {
    /// What due times count from: the database served again, or the run ended.
    pub since: Option<Timestamp>,
    pub parts: Vec<Part>,
    /// In a drill only what is due within the hour is part of it: nobody waits a day or a week for its
    /// end.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub drill: bool,
    /// Plans that ran without the second person that policy asks for, each in a sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waivers: Vec<String>,
}

/// The lines that are due together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    pub horizon: Horizon,
    pub title: String,
    /// `None` while the database does not serve yet.
    pub due: Option<Timestamp>,
    pub lines: Vec<Line>,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub id: String,
    pub text: String,
    pub hint: String,
    pub proof: Proof,
    /// The item of the safety list that is run for it; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub executes: String,
    /// Whose task it is, where it was given to somebody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    pub due: Option<Timestamp>,
    pub state: State,
    /// What the incident itself shows, where the tool can prove the line.
    pub proposal: Option<Proposal>,
}

/// How a line stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum State {
    /// Nobody signed it, or it was reopened.
    Open,
    /// Open, and its time is over.
    Overdue,
    Signed {
        by: String,
        at: Timestamp,
        evidence: String,
        /// Signed after its time was over.
        late: bool,
    },
    /// It will not be done, and why.
    Waived { by: String, at: Timestamp, reason: String },
}

/// Evidence that the tool has itself, for a person to agree to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// Only VERIFIED is evidence; the other words say what is missing.
    pub verdict: Verdict,
    pub text: String,
}

impl Checklist {
    /// The checklist of `incident` as it stands at `now`.
    #[must_use]
    pub fn of(incident: &Incident, runbook: &Runbook, now: Timestamp) -> Self {
        // It is the recovery's, whatever is under way.
        let incident = &*incident.settled();
        let since = since(incident);
        let parts = Horizon::ALL.into_iter().map(|horizon| {
            let text = runbook.horizon(horizon);
            let due = since.zip(text).and_then(|(since, text)| {
                let seconds = i64::try_from(text.seconds).unwrap_or(i64::MAX);
                since.checked_add(SignedDuration::from_secs(seconds)).ok()
            });
            let items = runbook.checklist().iter().filter(|item| item.horizon == horizon);
            let items = items.filter(|item| applies(item, incident));
            Part {
                horizon,
                title: text.map(|t| t.title.clone()).unwrap_or_default(),
                due,
                lines: items.map(|item| line(item, incident, due, now)).collect(),
            }
        });
        Self {
            since,
            parts: parts.collect(),
            drill: incident.declaration.drill.is_some(),
            waivers: incident.approvals.waivers(),
        }
    }

    /// Every line, soonest due first.
    pub fn lines(&self) -> impl Iterator<Item = &Line> {
        self.parts.iter().flat_map(|part| &part.lines)
    }

    #[must_use]
    pub fn line(&self, id: &str) -> Option<&Line> {
        self.lines().find(|line| line.id == id)
    }

    /// The lines that are neither signed nor waived: what stands between the incident and its
    /// closing.
    pub fn open(&self) -> impl Iterator<Item = &Line> {
        self.counted().filter(|line| !line.is_settled())
    }

    /// Every line that counts here: in a drill without those that are left to real incidents.
    pub fn counted(&self) -> impl Iterator<Item = &Line> {
        let here = |part: &&Part| !(self.drill && part.horizon.is_left_to_earnest());
        self.parts.iter().filter(here).flat_map(|part| &part.lines)
    }

    pub fn overdue(&self) -> impl Iterator<Item = &Line> {
        self.lines().filter(|line| line.state == State::Overdue)
    }

    /// Whether the incident can close: the database serves, and every line is settled.
    #[must_use]
    pub fn can_close(&self) -> bool {
        self.since.is_some() && self.open().next().is_none()
    }

    /// Whether the checklist stands in the way of closing. An incident without a recovery has
    /// none to work through.
    ///
    /// # Errors
    /// [`Kind::Refused`], naming the lines.
    pub fn may_close(&self) -> Result<(), Explanation> {
        let open: Vec<&str> = self.open().map(|line| line.id.as_str()).collect();
        if self.since.is_none() || open.is_empty() {
            return Ok(());
        }
        let shown = open.iter().take(6).copied().collect::<Vec<_>>().join(", ");
        let more = match open.len().saturating_sub(6) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        Err(Explanation::new(
            Kind::Refused,
            format!(
                "{} of {} lines of the checklist are neither done nor waived: {shown}{more}.",
                open.len(),
                self.counted().count()
            ),
            "The incident stays open.",
            "Sign each line, or waive it with a reason; lifeboat checklist works on any later day.",
        ))
    }
}

impl Line {
    #[must_use]
    pub fn is_signed(&self) -> bool {
        matches!(self.state, State::Signed { .. })
    }

    /// Signed, or waived with a reason.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        matches!(self.state, State::Signed { .. } | State::Waived { .. })
    }
}

/// Whether a line is one of this incident's: where only parts came back, the server went on, with
/// its timeline, archive and standbys. Of an incident in which a salvage is under way that is asked
/// as [`Incident::settled`].
#[must_use]
pub fn applies(item: &ChecklistItem, incident: &Incident) -> bool {
    if item.shown_by.iter().any(|by| by == SALVAGE) {
        return incident.left_behind() || !incident.salvages.is_empty();
    }
    // The journal says whether there is a list of what must not come back.
    if item.executes == aftercare::erasure::ID {
        return incident.noted(ERASURE_LIST).is_some()
            || incident.care.contains_key(&item.executes);
    }
    if item.executes == aftercare::next_start::ID {
        return aftercare::next_start::applies(incident);
    }
    let shown = |by: &String| by == "report" || by == "counts" || by == "fk";
    !incident.procedure().is_parts()
        || (item.executes.is_empty() && item.shown_by.iter().all(shown))
}

fn since(incident: &Incident) -> Option<Timestamp> {
    let ended = || {
        let finished = incident.status == RunStatus::Finished;
        finished.then(|| incident.steps.iter().filter_map(|s| s.finished).max()).flatten()
    };
    incident.clocks.serving.or_else(ended)
}

fn line(item: &ChecklistItem, incident: &Incident, due: Option<Timestamp>, now: Timestamp) -> Line {
    let waived = incident.waived.get(&item.id).map(|waived| State::Waived {
        by: waived.by.clone(),
        at: waived.at,
        reason: waived.reason.clone(),
    });
    let state = match incident.signed.get(&item.id) {
        _ if waived.is_some() => waived.unwrap_or(State::Open),
        Some(Signed { sign, by, at }) if sign.done => State::Signed {
            by: by.clone(),
            at: *at,
            evidence: sign.evidence.clone(),
            late: due.is_some_and(|due| *at > due),
        },
        _ if due.is_some_and(|due| now > due) => State::Overdue,
        _ => State::Open,
    };
    Line {
        id: item.id.clone(),
        text: item.text.clone(),
        hint: item.hint.clone(),
        proof: item.proof,
        executes: item.executes.clone(),
        owner: incident.owners.get(&item.id).cloned(),
        due,
        state,
        proposal: (item.proof == Proof::Tool).then(|| proposal(item, incident)),
    }
}

fn proposal(item: &ChecklistItem, incident: &Incident) -> Proposal {
    let found = item.shown_by.iter().map(|shown_by| match shown_by.as_str() {
        "report" => report_written(incident),
        SALVAGE => incident.salvaged(),
        care if care.starts_with(CARE) => cared(care.trim_start_matches(CARE), incident),
        prefix => checks_passed(prefix, &incident.validation),
    });
    let found: Vec<_> = found.collect();
    let verdict = Verdict::of_all(found.iter().map(|(verdict, _)| *verdict));
    let text = found.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ");
    Proposal { verdict, text }
}

/// What the run of an item of the safety list showed.
fn cared(item: &str, incident: &Incident) -> (Verdict, String) {
    let title = aftercare::item(item).map_or(item, |known| known.title);
    let Some(state) = incident.care.get(item) else {
        return (Verdict::NotRun, format!("{title}: not run yet"));
    };
    let verdict = state.verdict();
    let Some(care) = state.last.as_ref().filter(|_| !state.interrupted) else {
        return (verdict, format!("{title}: broken off, run it again"));
    };
    let found: Vec<String> = care
        .checks
        .iter()
        .filter(|check| check.verdict == verdict)
        .take(4)
        .map(|check| match &check.found {
            Some(found) => format!("{}: {found}", check.title),
            None => check.title.clone(),
        })
        .collect();
    (verdict, format!("{title}: {} ({})", verdict.word(), found.join("; ")))
}

fn report_written(incident: &Incident) -> (Verdict, String) {
    match incident.reports.last() {
        Some(path) => (Verdict::Verified, format!("report written: {path}")),
        None => (Verdict::NotRun, String::from("no report was written yet")),
    }
}

fn checks_passed(prefix: &str, checks: &[Check]) -> (Verdict, String) {
    let matching: Vec<_> = checks.iter().filter(|c| c.id.starts_with(prefix)).collect();
    let verdict = Verdict::of_all(matching.iter().map(|c| c.verdict));
    let text = match matching.as_slice() {
        [] => format!("no check \"{prefix}\" was run"),
        [one] => format!("{}: {}", one.title, one.verdict.word()),
        many => {
            let good = many.iter().filter(|c| c.verdict == Verdict::Verified).count();
            format!("checks \"{prefix}\": {good} of {} VERIFIED", many.len())
        }
    };
    (verdict, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::care::Care;
    use crate::engine::incident::event::{Declaration, Entry, Event};
    use crate::engine::incident::facts::{Actor, Role, SignOff, Tier};

    fn stamp(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn entry(seq: u64, at: &str, event: Event) -> Entry {
        let actor = Actor { user: String::from("ada"), uid: 1000, role: Role::Commander };
        Entry { seq, at: stamp(at), actor, event, prev: String::new() }
    }

    fn declared() -> Incident {
        Incident::begin(&entry(
            1,
            "2026-01-13T10:00:00Z",
            Event::IncidentDeclared(Declaration {
                id: String::from("INC-20260113-001"),
                cluster: String::from("shop"),
                tier: Tier::High,
                environment: String::from("production"),
                title: String::from("orders gone"),
                identity: None,
                drill: None,
            }),
        ))
        .unwrap()
    }

    fn serving() -> Incident {
        let mut incident = declared();
        incident.clocks.serving = Some(stamp("2026-01-13T10:10:00Z"));
        incident
    }

    fn check(id: &str, verdict: Verdict) -> Check {
        Check {
            id: id.to_owned(),
            title: format!("check {id}"),
            verdict,
            expected: None,
            found: None,
            detail: String::new(),
            duration_ms: 1,
        }
    }

    fn sign(incident: &mut Incident, at: &str, item: &str, done: bool) {
        let sign = SignOff { item: item.to_owned(), done, evidence: String::from("seen") };
        incident.apply(&entry(9, at, Event::ChecklistSigned(sign)));
    }

    fn at(incident: &Incident, now: &str) -> Checklist {
        Checklist::of(incident, &Runbook::load(None).unwrap(), stamp(now))
    }

    #[test]
    fn nothing_is_due_before_the_database_serves() {
        let list = at(&declared(), "2026-02-13T10:00:00Z");
        assert_eq!(list.lines().count(), 30);
        assert_eq!(list.overdue().count(), 0);
        assert!(list.lines().all(|l| l.due.is_none()));
        assert!(!list.can_close());
    }

    #[test]
    fn lines_fall_due_by_their_horizon() {
        let incident = serving();
        let due: Vec<_> = at(&incident, "2026-01-13T10:30:00Z")
            .parts
            .iter()
            .map(|p| p.due.unwrap().to_string())
            .collect();
        assert_eq!(due, ["2026-01-13T11:10:00Z", "2026-01-14T10:10:00Z", "2026-01-20T10:10:00Z"]);
        assert_eq!(at(&incident, "2026-01-13T11:10:00Z").overdue().count(), 0);
        assert_eq!(at(&incident, "2026-01-13T11:10:01Z").overdue().count(), 14);
        assert_eq!(at(&incident, "2026-01-21T00:00:00Z").overdue().count(), 30);
    }

    #[test]
    fn a_signed_line_keeps_who_when_and_whether_late_and_can_be_reopened() {
        let mut incident = serving();
        sign(&mut incident, "2026-01-13T12:00:00Z", "alerts-enabled", true);
        let list = at(&incident, "2026-01-13T12:30:00Z");
        assert_eq!(
            list.line("alerts-enabled").unwrap().state,
            State::Signed {
                by: String::from("ada"),
                at: stamp("2026-01-13T12:00:00Z"),
                evidence: String::from("seen"),
                late: true,
            }
        );
        sign(&mut incident, "2026-01-13T12:10:00Z", "alerts-enabled", false);
        let list = at(&incident, "2026-01-13T12:30:00Z");
        assert_eq!(list.line("alerts-enabled").unwrap().state, State::Overdue);
    }

    #[test]
    fn the_incident_closes_when_every_line_is_signed() {
        let mut incident = serving();
        let book = Runbook::load(None).unwrap();
        let (last, rest) = book.checklist().split_last().unwrap();
        for item in rest {
            sign(&mut incident, "2026-01-13T10:20:00Z", &item.id, true);
        }
        let list = at(&incident, "2026-01-13T10:30:00Z");
        assert_eq!(list.open().map(|l| l.id.as_str()).collect::<Vec<_>>(), [last.id.as_str()]);
        assert!(!list.can_close());
        sign(&mut incident, "2026-01-13T10:20:00Z", &last.id, true);
        assert!(at(&incident, "2026-01-13T10:30:00Z").can_close());
    }

    #[test]
    fn a_waived_line_is_settled_until_it_is_signed_or_reopened() {
        let mut incident = serving();
        let refused = at(&incident, "2026-01-13T10:30:00Z").may_close().unwrap_err();
        assert!(refused.what.starts_with("30 of 30 lines"), "{refused}");
        for item in Runbook::load(None).unwrap().checklist() {
            let (item, reason) = (item.id.clone(), String::from("a drill"));
            incident.apply(&entry(
                9,
                "2026-01-13T10:20:00Z",
                Event::ChecklistWaived { item, reason },
            ));
        }
        let list = at(&incident, "2026-01-13T10:30:00Z");
        assert!(list.can_close() && list.may_close().is_ok());
        assert_eq!(list.lines().filter(|line| line.is_signed()).count(), 0);
        sign(&mut incident, "2026-01-13T12:00:00Z", "alerts-enabled", false);
        let list = at(&incident, "2026-01-13T12:30:00Z");
        assert_eq!(list.open().map(|l| l.id.as_str()).collect::<Vec<_>>(), ["alerts-enabled"]);
        assert!(list.may_close().unwrap_err().what.contains("alerts-enabled"));
        // Nothing was recovered: there is nothing to work through.
        assert_eq!(at(&declared(), "2026-01-13T12:30:00Z").may_close(), Ok(()));
    }

    #[test]
    fn a_safety_line_is_proven_by_its_newest_whole_run() {
        let mut incident = serving();
        let verdict = |incident: &Incident| {
            let list = at(incident, "2026-01-13T10:30:00Z");
            list.line("sequences").unwrap().proposal.clone().unwrap()
        };
        assert_eq!(verdict(&incident).verdict, Verdict::NotRun);
        let care = |verdict| {
            Event::CareDone(Care {
                item: String::from("sequences"),
                agreed: Vec::new(),
                checks: vec![check("sequences:app", verdict)],
                proposals: Vec::new(),
            })
        };
        incident.apply(&entry(9, "2026-01-13T10:20:00Z", care(Verdict::Failed)));
        assert_eq!(verdict(&incident).verdict, Verdict::Failed);
        incident.apply(&entry(10, "2026-01-13T10:21:00Z", care(Verdict::Verified)));
        let proven = verdict(&incident);
        assert_eq!(proven.verdict, Verdict::Verified);
        assert!(proven.text.contains("check sequences:app"), "{}", proven.text);
        // A runner that was killed in a run leaves no proof behind.
        let (item, agreed) = (String::from("sequences"), Vec::new());
        incident.apply(&entry(11, "2026-01-13T10:22:00Z", Event::CareBegun { item, agreed }));
        let started =
            Event::RunnerStarted { pid: 7, version: String::from("0.1.0"), resumed: true };
        incident.apply(&entry(12, "2026-01-13T10:23:00Z", started));
        assert_eq!(verdict(&incident).verdict, Verdict::NotRun);
        assert!(incident.care["sequences"].interrupted);
    }

    #[test]
    fn the_tool_proposes_only_what_it_saw() {
        let mut incident = serving();
        let verdict = |incident: &Incident, id: &str| {
            let list = at(incident, "2026-01-13T10:30:00Z");
            list.line(id).unwrap().proposal.as_ref().map(|p| p.verdict)
        };
        assert_eq!(verdict(&incident, "database-accessible"), Some(Verdict::NotRun));
        assert_eq!(verdict(&incident, "alerts-enabled"), None);
        incident.validation = vec![
            check("application:connection", Verdict::Verified),
            check("counts:public.orders", Verdict::Verified),
            check("counts:public.customers", Verdict::Verified),
        ];
        assert_eq!(verdict(&incident, "database-accessible"), Some(Verdict::Verified));
        // Counts without foreign keys are not the audit.
        assert_eq!(verdict(&incident, "integrity-audit"), Some(Verdict::NotRun));
        incident.validation.push(check("fk:orders_customer", Verdict::CouldNotVerify));
        assert_eq!(verdict(&incident, "integrity-audit"), Some(Verdict::CouldNotVerify));
        assert_eq!(verdict(&incident, "metrics-documented"), Some(Verdict::NotRun));
        incident.reports.push(String::from("/state/INC-20260113-001.md"));
        assert_eq!(verdict(&incident, "metrics-documented"), Some(Verdict::Verified));
    }
}
