//! The drill without a person: the same commands over the same socket, in the order in which the
//! screens lead, taking what they recommend. It never looks at the truth; scoring does, at the
//! end.

use super::director::Director;
use super::doubt::doubt;
use super::error::DrillError;
use super::inject::{Inject, When};
use super::judge::{aborted, judge};
use super::outcome::Outcome;
use super::sandbox::{CLUSTER, DECOY, Sandbox, Say};
use super::scenario::{Disaster, Expected, Scenario};
use super::seat::Seat;
use crate::engine::checklist::Checklist;
use crate::engine::explain::Explain;
use crate::engine::incident::Incident;
use crate::engine::incident::event::Decision;
use crate::engine::incident::facts::{
    Check, Moment, Prerequisite, Procedure, Severity, SignOff, Target, TargetPoint, Topic, Verdict,
};
use crate::engine::incident::model::RunStatus;
use crate::engine::incident::trouble::{By, Cure, LOOK_AGAIN};
use crate::engine::runbook::Runbook;
use crate::engine::runner::guard;
use crate::engine::runner::protocol::{Answer, Command, FullRestore};
use jiff::Timestamp;
use std::time::{Duration, Instant};

/// For what answers from memory.
pub(super) const SHORT: Duration = Duration::from_secs(60);
/// For what reads a repository or a whole cluster.
pub(super) const LONG: Duration = Duration::from_secs(4 * 3_600);
/// How long the bad transaction may take to reach the archive.
const ARCHIVED: Duration = Duration::from_secs(60);
/// How long others may take to undo what struck.
const RELIEF: Duration = Duration::from_secs(60);
/// How long the runner may take to say what it knows of a failure that it has told.
const RECOGNISED: Duration = Duration::from_secs(5);
/// Troubles that one recovery is led through.
const CURES: usize = 8;

/// Everything that a drill without a person works with.
#[derive(Debug)]
pub struct Play<'a> {
    pub scenario: &'a Scenario,
    pub injects: &'a [Inject],
    pub director: &'a Director,
    pub runbook: &'a Runbook,
    pub seed: u64,
}

impl Play<'_> {
    fn has(&self, inject: &str) -> bool {
        self.injects.iter().any(|one| one.name == inject)
    }

    /// The inject's, where one says otherwise than the scenario.
    #[must_use]
    pub fn expected(&self) -> Expected {
        let refused = self.injects.iter().any(|one| one.expected == Expected::Refused);
        if refused { Expected::Refused } else { self.scenario.expected }
    }
}

/// What the person who noticed it says.
#[must_use]
pub fn first_report(scenario: &Scenario, injects: &[Inject], struck_at: Timestamp) -> String {
    let told = injects.iter().find_map(|inject| inject.first_report.clone());
    let local = (struck_at - jiff::SignedDuration::from_hours(3)).strftime("%H:%M").to_string();
    told.unwrap_or_else(|| scenario.first_report.clone()).replace("{local}", &local)
}

/// When it was first detected, in a sentence for the briefing: no earlier than the incident, and in
/// whole seconds, as people type it.
#[must_use]
pub fn first_call(struck_at: Timestamp) -> String {
    let at = (struck_at + jiff::SignedDuration::from_secs(1)).strftime("%H:%M:%S");
    format!("First detected at {at} UTC.")
}

/// Leads the incident from assessment to report, then scores it. A recovery that fails is an
/// outcome, not an error, and so is a drill that was ended before its end.
///
/// # Errors
/// Where the drill itself breaks: no truth was recorded, or its ledger is gone.
pub fn run_auto(
    sandbox: &mut Sandbox,
    play: &Play<'_>,
    say: Say<'_>,
) -> Result<Outcome, DrillError> {
    let begun = Instant::now();
    let ended = held(sandbox, play, say);
    let outcome = match play.director.over() {
        None => ended?,
        Some(why) => {
            sandbox.end_traffic();
            // By the journal: who spoke with the runner may not have heard its last.
            let incident = super::declared(sandbox)?;
            aborted(sandbox, play, incident.as_ref(), &why)
        }
    };
    Ok(Outcome { seconds: begun.elapsed().as_secs_f64(), ..outcome })
}

fn held(sandbox: &mut Sandbox, play: &Play<'_>, say: Say<'_>) -> Result<Outcome, DrillError> {
    if play.has("misleading-names") {
        be_misled(sandbox, play, say)?;
    }
    let mut seat = Seat::take(sandbox, play.scenario)?;
    let mut heard = None;
    let led = lead(sandbox, play, &mut seat, &mut heard, say);
    sandbox.end_traffic();
    if play.director.over().is_some() {
        return Err(DrillError::Interrupted);
    }
    say("Comparing what is there with what was there before the incident");
    let mut outcome = judge(sandbox, play, seat.incident(), led.err())?;
    outcome.heard(heard);
    Ok(outcome)
}

/// Believes the name in the first report: an incident on the cluster that is called so has to be
/// refused before anything is planned, and is closed again.
///
/// # Errors
/// Where it was not refused.
fn be_misled(sandbox: &Sandbox, play: &Play<'_>, say: Say<'_>) -> Result<(), DrillError> {
    say(&format!("Assessment of {DECOY}, as the first report has it"));
    let mut seat = Seat::take_on(sandbox, play.scenario, DECOY)?;
    seat.ask(Command::ProbeServer, SHORT)?;
    let target = Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None };
    let refused = match seat.ask(Command::CheckReach { target }, LONG) {
        Ok(Answer::Reach(reach)) if reach.reachable => None,
        Ok(Answer::Reach(reach)) => Some(guard::unreachable(&reach)),
        Ok(other) => return Err(unexpected(&other)),
        Err(error) => Some(error.explanation()),
    };
    let Some(refused) = refused else {
        return Err(DrillError::Rail(format!("a recovery of {DECOY} was not refused")));
    };
    say(&format!("Refused: {}", refused.what));
    let summary = String::from("The report named the wrong cluster; nothing was done here.");
    command(play, &mut seat, &Command::Close { summary }, SHORT, say)
}

/// The way of the screens.
fn lead(
    sandbox: &Sandbox,
    play: &Play<'_>,
    seat: &mut Seat,
    heard: &mut Option<Check>,
    say: Say<'_>,
) -> Result<(), DrillError> {
    assess(sandbox, play, seat, say)?;
    say("Recovery point");
    let incident = &play.scenario.incident;
    let suggested = match incident {
        Disaster::Statement(_) | Disaster::Table(_) => Some(suggestion(seat)?),
        Disaster::DataDirectory | Disaster::Region => None,
    };
    *heard = doubt(play, seat, say)?;
    match (incident, &suggested) {
        (Disaster::Table(_), Some(target)) => return parts(sandbox, play, seat, target, say),
        (Disaster::DataDirectory, _) => choose_full(play, seat, say)?,
        (_, Some(target)) => take(play, seat, target, say)?,
        (_, None) => choose_end(play, seat, say)?,
    }
    prepare(play, seat, say)?;
    recover(sandbox, play, seat, say)?;
    conclude(seat, play.runbook, say)
}

fn assess(
    sandbox: &Sandbox,
    play: &Play<'_>,
    seat: &mut Seat,
    say: Say<'_>,
) -> Result<(), DrillError> {
    say("Assessment");
    let note = |topic, text: &str| Command::AddNote { topic, text: text.to_owned() };
    let moment = Moment::FirstDetected;
    let struck_at = sandbox.truth().map_or_else(Timestamp::now, |truth| truth.struck_at);
    let severity = match play.scenario.incident {
        Disaster::Statement(_) | Disaster::Table(_) => Severity::Sev2,
        Disaster::DataDirectory | Disaster::Region => Severity::Sev1,
    };
    seat.ask(Command::SetSeverity { severity }, SHORT)?;
    seat.ask(Command::StateMoment { moment, at: Timestamp::now() }, SHORT)?;
    let report = first_report(play.scenario, play.injects, struck_at);
    seat.ask(note(Topic::Symptom, &report), SHORT)?;
    seat.ask(note(Topic::ChangesBefore, &play.scenario.changes), SHORT)?;
    seat.ask(Command::ProbeServer, SHORT)?;
    // Of a server that is gone nothing can be asked.
    let probed = seat.ask(Command::RunProbes, LONG);
    if play.scenario.incident.statement().is_some() {
        probed?;
    }
    Ok(())
}

/// The first suggestion, once a suspect is known: until then the bad transaction has not
/// reached the archive, and the screen says to look again.
fn suggestion(seat: &mut Seat) -> Result<Target, DrillError> {
    let begun = Instant::now();
    loop {
        seat.ask(Command::Survey, LONG)?;
        let survey = seat.survey();
        let suspected = survey.as_ref().is_some_and(|survey| !survey.suspects.is_empty());
        let first = survey.as_ref().and_then(|survey| survey.suggestions.first());
        match first {
            Some(first) if suspected || begun.elapsed() > ARCHIVED => {
                return Ok(first.target.clone());
            }
            None if begun.elapsed() > ARCHIVED => {
                return Err(DrillError::TooLong {
                    what: String::from("a first suggestion of a recovery point"),
                    seconds: ARCHIVED.as_secs(),
                });
            }
            _ => std::thread::sleep(Duration::from_millis(500)),
        }
    }
}

/// Chooses a target that was proven; where others can mend what is missing, once more after that.
fn take(play: &Play<'_>, seat: &mut Seat, target: &Target, say: Say<'_>) -> Result<(), DrillError> {
    say(&format!("Chosen: {target}"));
    let relieved = |when| play.director.relieve(when, RELIEF);
    let reach = match seat.ask(Command::CheckReach { target: target.clone() }, LONG)? {
        Answer::Reach(reach) if !reach.reachable && relieved(When::Incident) => {
            say(&format!("Refused: {}", DrillError::Engine(guard::unreachable(&reach))));
            match seat.ask(Command::CheckReach { target: target.clone() }, LONG)? {
                Answer::Reach(reach) => reach,
                other => return Err(unexpected(&other)),
            }
        }
        Answer::Reach(reach) => reach,
        other => return Err(unexpected(&other)),
    };
    if !reach.reachable {
        return Err(DrillError::Engine(guard::unreachable(&reach)));
    }
    command(play, seat, &Command::ChooseTarget { target: target.clone() }, LONG, say)
}

fn choose_end(play: &Play<'_>, seat: &mut Seat, say: Say<'_>) -> Result<(), DrillError> {
    seat.ask(Command::Survey, LONG)?;
    let target = Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None };
    take(play, seat, &target, say)
}

/// Option B: the newest backup that is whole, and on to the end of the archive.
fn choose_full(play: &Play<'_>, seat: &mut Seat, say: Say<'_>) -> Result<(), DrillError> {
    say("A full restore to the end of the archive");
    let ask = Command::ChooseFull(FullRestore { to_end: true, ..FullRestore::default() });
    let refused = match command(play, seat, &ask, LONG, say) {
        Err(error) if play.director.relieve(When::Incident, RELIEF) => error,
        other => return other,
    };
    say(&format!("Refused: {refused}"));
    command(play, seat, &ask, LONG, say)
}

/// Asks; where the role does not permit it, escalates, and asks again with the role that comes.
fn command(
    play: &Play<'_>,
    seat: &mut Seat,
    command: &Command,
    limit: Duration,
    say: Say<'_>,
) -> Result<(), DrillError> {
    match seat.ask(command.clone(), limit) {
        Err(error) if play.director.relieve(When::Beforehand, RELIEF) => {
            say(&format!("Refused: {error} Escalated, and taken up again"));
            seat.again()?;
            seat.ask(command.clone(), limit).map(drop)
        }
        other => other.map(drop),
    }
}

/// The table alone, by the command that the screens name.
fn parts(
    sandbox: &Sandbox,
    play: &Play<'_>,
    seat: &mut Seat,
    target: &Target,
    say: Say<'_>,
) -> Result<(), DrillError> {
    let table = play.scenario.incident.statement().map_or("", |bad| bad.table.as_str());
    let mut arguments: Vec<String> =
        ["restore-parts", "--cluster", CLUSTER, "--table", table].map(str::to_owned).to_vec();
    match &target.point {
        TargetPoint::Lsn(lsn) => arguments.extend([String::from("--lsn"), lsn.to_string()]),
        TargetPoint::Xid(xid) => arguments.extend([String::from("--xid"), xid.to_string()]),
        TargetPoint::Time(at) => arguments.extend([String::from("--time"), at.to_string()]),
        TargetPoint::Name(name) => arguments.extend([String::from("--name"), name.clone()]),
        _ => {}
    }
    if !target.inclusive {
        arguments.push(String::from("--exclusive"));
    }
    let incident = seat.incident().declaration.id.clone();
    // What the archive says was done to it: rows that were changed are to be as they were, too.
    let changed = seat.survey().is_some_and(|survey| {
        let of = |relation: &str| relation.split(" in ").next() == Some(table);
        survey.suspects.iter().any(|one| of(&one.relation) && one.what.contains("changed "))
    });
    let rest = [
        "--into",
        "in-place",
        "--take",
        if changed { "missing,changed" } else { "missing" },
        "--confirm",
        CLUSTER,
        "--incident",
        &incident,
        "--json",
    ];
    arguments.extend(rest.map(str::to_owned));
    say(&format!("Bringing {table} back as it was {target}; the shop stays open"));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    sandbox.lifeboat_as_us(&arguments)?;
    seat.ask(Command::ProbeServer, SHORT)?;
    say("Validation");
    seat.ask(Command::RunProbes, LONG)?;
    seat.ask(Command::Validate, LONG)?;
    seat.ask(Command::WriteReport, LONG)?;
    Ok(())
}

fn prepare(play: &Play<'_>, seat: &mut Seat, say: Say<'_>) -> Result<(), DrillError> {
    say("Prerequisites");
    answer_by_people(seat)?;
    seat.ask(Command::VerifyIntegrity, LONG)?;
    let refuted = |seat: &Seat| {
        let (set, checks) = seat.incident().integrity.as_ref()?;
        let failed = checks.iter().any(|check| check.verdict == Verdict::Failed);
        failed.then(|| set.clone())
    };
    if let Some(set) = refuted(seat) {
        say(&format!("{set} is damaged: the backup before it is taken"));
        other_base(play, seat, say)?;
        answer_by_people(seat)?;
        seat.ask(Command::VerifyIntegrity, LONG)?;
    }
    command(play, seat, &Command::MakePlan, LONG, say)
}

/// The same point from another base, where the screens know how to choose one.
fn other_base(play: &Play<'_>, seat: &mut Seat, say: Say<'_>) -> Result<(), DrillError> {
    let reach = seat.incident().reach.clone().ok_or_else(|| stopped(seat.incident()))?;
    if matches!(reach.procedure, Procedure::FullRestore { .. }) {
        // Option B goes to the end from the newest backup alone; Option A from any.
        return choose_end(play, seat, say);
    }
    let target = reach.target.clone();
    command(play, seat, &Command::ChooseTarget { target }, LONG, say)
}

fn answer_by_people(seat: &mut Seat) -> Result<(), DrillError> {
    let by_people = [
        (Prerequisite::IncidentDeclared, "Declared by the drill; nobody else is affected"),
        (Prerequisite::MaintenanceWindow, "The sandbox has no other users"),
        (Prerequisite::TargetConfirmed, "As suggested"),
    ];
    for (prerequisite, note) in by_people {
        let note = note.to_owned();
        seat.ask(Command::AnswerPrerequisite { prerequisite, met: true, note }, SHORT)?;
    }
    Ok(())
}

fn recover(
    sandbox: &Sandbox,
    play: &Play<'_>,
    seat: &mut Seat,
    say: Say<'_>,
) -> Result<(), DrillError> {
    let plan = seat.incident().plan.as_ref().map(|plan| plan.hash.clone());
    let plan_hash = plan.ok_or_else(|| stopped(seat.incident()))?;
    let gate = Command::PassGate { plan_hash: plan_hash.clone(), cluster: CLUSTER.to_owned() };
    seat.ask(gate, SHORT)?;
    say("Recovery");
    seat.ask(Command::Start { plan_hash }, SHORT)?;
    // Every trouble is met once by what is proposed; one that stays is a failure.
    for _ in 0..CURES {
        seat.wait_until("the recovery up to its target", LONG, |incident| {
            play.director.over().is_some()
                || !matches!(incident.status, RunStatus::Running | RunStatus::Ready)
        })?;
        match seat.incident().status {
            RunStatus::Held => {
                // Promoting what the checks refuted would be no recommendation of any screen.
                let refuted =
                    seat.incident().validation.iter().any(|c| c.verdict == Verdict::Failed);
                if refuted {
                    return Err(stopped(seat.incident()));
                }
                say("At the target: promoting");
                seat.ask(Command::Decide { decision: Decision::Promote }, SHORT)?;
                seat.wait_until("the promotion", LONG, |incident| {
                    incident.status != RunStatus::Held
                })?;
            }
            RunStatus::Failed => cure(sandbox, play, seat, say)?,
            RunStatus::Finished => return Ok(()),
            _ => return Err(stopped(seat.incident())),
        }
    }
    Err(stopped(seat.incident()))
}

/// Takes the proposed cure of the step that failed; where people have to act, they have.
fn cure(
    sandbox: &Sandbox,
    play: &Play<'_>,
    seat: &mut Seat,
    say: Say<'_>,
) -> Result<(), DrillError> {
    // What is known of a failure is an entry of its own, behind the failure's. Where nothing is
    // known none comes.
    let known =
        |incident: &Incident| incident.current_step().is_some_and(|step| step.trouble.is_some());
    let _ = seat.wait_until("what is known of the failure", RECOGNISED, known);
    let incident = seat.incident();
    let trouble = incident.current_step().and_then(|step| step.trouble.clone());
    let proposed = trouble.as_ref().and_then(|trouble| {
        let by_us = |cure: &&Cure| cure.by != By::People || cure.id == LOOK_AGAIN;
        trouble.cures.iter().find(by_us).cloned()
    });
    let relieved = play.director.relieve(When::Restore, RELIEF);
    let Some(cure) = proposed else {
        if relieved {
            say("What was missing is back: the step is run again");
            return seat.ask(Command::Retry, SHORT).map(drop);
        }
        return Err(stopped(seat.incident()));
    };
    say(&format!("Cure: {}", cure.title));
    let _ = sandbox;
    let cluster = (cure.by == By::LifeboatByName).then(|| CLUSTER.to_owned());
    let before = seat.incident().seq;
    seat.ask(Command::Cure { cure: cure.id, cluster }, LONG)?;
    seat.wait_until("the cure", LONG, |incident| {
        incident.seq > before && incident.status != RunStatus::Failed
            || incident.current_step().is_some_and(|step| step.cure_failure.is_some())
    })?;
    if seat.incident().status == RunStatus::Failed {
        return Err(stopped(seat.incident()));
    }
    Ok(())
}

fn conclude(seat: &mut Seat, runbook: &Runbook, say: Say<'_>) -> Result<(), DrillError> {
    if seat.incident().validation.is_empty() {
        say("Validation");
        seat.ask(Command::Validate, LONG)?;
    }
    say("Checklist and report");
    let checklist = Checklist::of(seat.incident(), runbook, Timestamp::now());
    let proven: Vec<SignOff> = checklist
        .open()
        .filter_map(|line| {
            let proposal = line.proposal.as_ref()?;
            (proposal.verdict == Verdict::Verified).then(|| SignOff {
                item: line.id.clone(),
                done: true,
                evidence: proposal.text.clone(),
            })
        })
        .collect();
    for sign in proven {
        seat.ask(Command::Sign(sign), SHORT)?;
    }
    seat.ask(Command::WriteReport, LONG)?;
    Ok(())
}

pub(super) fn stopped(incident: &Incident) -> DrillError {
    use crate::engine::explain::{Explanation, Kind};
    let failure = incident.current_step().and_then(|step| step.failure.clone());
    DrillError::Engine(failure.unwrap_or_else(|| {
        Explanation::new(
            Kind::Server,
            format!("The recovery ended as {:?}.", incident.status),
            "The damaged directory is kept.",
            "Run the drill again with --keep DIR and read the incident's journal.",
        )
    }))
}

pub(super) fn unexpected(answer: &Answer) -> DrillError {
    use crate::engine::explain::{Explanation, Kind};
    DrillError::Engine(Explanation::new(
        Kind::Internal,
        format!("The runner answered something else than asked: {answer:?}."),
        "",
        "",
    ))
}
