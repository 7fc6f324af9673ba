//! From an incident to the report's value. Owns how the figures are computed.

use super::{
    Against, Base, CheckGroup, FORMAT, Journal, Loss, Mark, NoteLine, Objective, Outcome,
    PrerequisiteLine, Recovery, Report, StepLine, Subject,
};
use crate::engine::checklist::Checklist;
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{
    Check, OLD_RAN_UNTIL, Prerequisite, TargetPoint, Topic, Verdict,
};
use crate::engine::incident::model::{RunStatus, StepState, StepStatus, Tone};
use crate::engine::moments;
use crate::engine::runbook::Runbook;
use jiff::Timestamp;
use jiff::tz::TimeZone;

impl Report {
    /// The report on `incident` as it stands at `now`.
    #[must_use]
    pub fn from(incident: &Incident, runbook: &Runbook, now: Timestamp) -> Self {
        let steps: Vec<_> =
            incident.steps.iter().map(|s| step_line(s, incident, runbook, now)).collect();
        Self {
            format: FORMAT,
            written: now,
            incident: subject(incident, runbook),
            outcome: outcome(incident),
            recovery: recovery(incident),
            rpo: rpo(incident, runbook),
            rto: rto(incident, runbook, now),
            loss: loss(incident),
            past: incident.reach.as_ref().and_then(|r| r.cost.picture.as_deref().cloned()),
            marks: marks(incident),
            machine_seconds: steps.iter().filter_map(|s| s.machine_seconds).sum(),
            human_seconds: steps.iter().filter_map(|s| s.human_seconds).sum(),
            steps,
            prerequisites: prerequisites(incident),
            checks: checks(incident),
            tries: incident.tries.clone(),
            checklist: Checklist::of(incident, runbook, now),
            notes: incident.notes.iter().map(|(topic, text)| note(*topic, text)).collect(),
            timeline: incident.timeline.clone(),
            journal: Journal { entries: incident.seq, head: None },
        }
    }
}

fn subject(incident: &Incident, runbook: &Runbook) -> Subject {
    let declaration = &incident.declaration;
    let planned = incident.plan.as_ref().map(|plan| &plan.identity);
    let identity = planned.or(declaration.identity.as_ref());
    Subject {
        id: declaration.id.clone(),
        title: declaration.title.clone(),
        cluster: declaration.cluster.clone(),
        environment: declaration.environment.clone(),
        tier: declaration.tier,
        tier_title: runbook.tier(declaration.tier).title.clone(),
        severity: incident.severity,
        drill: declaration.drill.clone(),
        host: identity.map(|i| i.host.clone()),
        data_directory: identity.map(|i| i.data_directory.clone()),
        system_identifier: identity.map(|i| i.system_identifier.to_string()),
        server_version: identity.map(|i| i.version),
        phase: incident.phase(),
        closing: incident.closing.clone(),
    }
}

fn outcome(incident: &Incident) -> Outcome {
    let told = |word: &str, sentence: &str, tone| Outcome {
        word: word.to_owned(),
        sentence: sentence.to_owned(),
        tone,
    };
    match incident.status {
        RunStatus::Finished => {
            let verdict = Verdict::overall(incident.validation.iter().map(|c| c.verdict));
            let left_out = left_out(&incident.validation);
            let (sentence, tone) = match verdict {
                Verdict::Verified if left_out.is_empty() => {
                    ("The recovery finished and every check of the validation passed.", Tone::Good)
                }
                Verdict::Verified => {
                    ("The recovery finished and every check that is set up passed.", Tone::Good)
                }
                Verdict::Failed => {
                    ("The recovery finished, but a check of the validation failed.", Tone::Bad)
                }
                Verdict::NotRun => {
                    ("The recovery finished, but nothing of it was validated.", Tone::Attention)
                }
                Verdict::CouldNotVerify => (
                    "The recovery finished, but a check of the validation could not be made.",
                    Tone::Attention,
                ),
            };
            let sentence = match left_out.as_str() {
                "" => sentence.to_owned(),
                names => format!("{sentence} {names}"),
            };
            told(verdict.word(), &sentence, tone)
        }
        RunStatus::Planning => told("NOT STARTED", "No recovery was started.", Tone::Attention),
        RunStatus::Ready => {
            told("NOT STARTED", "The plan was agreed to; nothing ran yet.", Tone::Attention)
        }
        RunStatus::Running => told("RUNNING", "The recovery is running.", Tone::Attention),
        RunStatus::Held => {
            told("WAITING", "The recovery waits for the commander's decision.", Tone::Attention)
        }
        RunStatus::Paused => told("PAUSED", "The recovery is paused.", Tone::Attention),
        RunStatus::Failed => told("STOPPED", "A step of the recovery failed.", Tone::Bad),
        RunStatus::Interrupted => {
            told("INTERRUPTED", "The recovery was interrupted and can go on.", Tone::Bad)
        }
        RunStatus::Cancelled => told("CANCELLED", "The recovery was cancelled.", Tone::Attention),
        RunStatus::Undoing => {
            told("PUTTING BACK", "What was there before is being put back.", Tone::Attention)
        }
        RunStatus::Undone => told(
            "PUT BACK",
            "The recovery was given up and everything is as it was before.",
            Tone::Attention,
        ),
    }
}

/// What the validation left out, in one sentence; nothing where it left nothing out.
fn left_out(checks: &[Check]) -> String {
    let titles: Vec<&str> = checks
        .iter()
        .filter(|check| check.verdict == Verdict::NotRun)
        .map(|check| check.title.as_str())
        .collect();
    match titles.as_slice() {
        [] => String::new(),
        [one] => format!("1 check was NOT RUN: {one}."),
        many => format!("{} checks were NOT RUN: {}.", many.len(), many.join("; ")),
    }
}

fn recovery(incident: &Incident) -> Recovery {
    let noted = |name| incident.noted(name).map(str::to_owned);
    let plan = incident.plan.as_ref();
    let target = plan.map(|p| &p.target).or(incident.reach.as_ref().map(|r| &r.target));
    let base =
        plan.map(|p| &p.base).or_else(|| incident.reach.as_ref().and_then(|r| r.base.as_ref()));
    let done = |id: &str| incident.steps.iter().any(|s| s.id == id && s.status == StepStatus::Done);
    Recovery {
        started: incident.clocks.run_started,
        completed: incident.clocks.serving,
        procedure: plan.map(|p| p.procedure.title().to_owned()),
        requested: target.map(ToString::to_string),
        data_is: noted("data_is"),
        transfer: noted("transfer"),
        reused: noted("reused"),
        stood: plan
            .filter(|_| done("step-back"))
            .and_then(|p| p.places.stood.as_ref())
            .map(|stood| stood.kept.display().to_string()),
        reached_lsn: noted("reached_lsn"),
        reached_time: noted("reached_time"),
        reached_xid: noted("reached_xid"),
        stop_line: noted("stop_line"),
        verifybackup: noted("verifybackup"),
        base: base.map(|b| Base {
            set: b.set.clone(),
            repository: b.repository.clone(),
            finished: b.finished,
            size: b.size,
            encrypted: b.encrypted,
        }),
        plan_hash: plan.map(|p| p.hash.clone()),
        gate_passed_by: incident.gate.as_ref().map(|(_, by)| by.clone()),
        aside: plan
            .filter(|_| done("move-aside") || done("swap"))
            // What was lost whole left nothing to keep.
            .filter(|p| !p.lost || noted("aside").is_some_and(|text| text.contains(&p.aside)))
            .map(|p| p.aside.clone()),
        rescue: plan.filter(|_| done("rescue-wal")).map(|p| p.rescue.clone()),
    }
}

/// The commit time that the recovered data reaches to, and where it is known from.
fn reached_time(incident: &Incident) -> Option<(Timestamp, &'static str)> {
    let said = incident.noted("reached_time");
    if let Some(typed) =
        said.and_then(|text| moments::parse(text, Timestamp::UNIX_EPOCH, &TimeZone::UTC).ok())
    {
        // Only a text that names its own offset is a moment.
        if !typed.zone_assumed {
            return Some((typed.at, "the point that the server said it reached"));
        }
    }
    let replayed = incident.clocks.replayed.is_some();
    let kept = incident.reach.as_ref().and_then(|r| r.last_kept.as_ref());
    let kept = kept.filter(|_| replayed);
    kept.map(|c| (c.at, "the last commit before the recovery point")).or_else(|| {
        let plan = incident.plan.as_ref().filter(|_| replayed)?;
        let of_base = plan.target.point == TargetPoint::EndOfBase;
        of_base.then_some((plan.base.finished, "the end of the base backup"))
    })
}

/// The runbook's "time between recovery point and incident". Where writes are known to have gone
/// on after the incident was noticed, it counts to the last of them: what came in then is gone
/// too.
fn rpo(incident: &Incident, runbook: &Runbook) -> Objective {
    let nothing_lost = incident.reach.as_ref().is_some_and(|r| r.lost_commits == Some(0));
    let step_done =
        |id: &str| incident.steps.iter().any(|s| s.id == id && s.status == StepStatus::Done);
    // Beside an old server that runs on, nothing is known to be complete.
    let in_place = incident.plan.as_ref().is_none_or(|plan| plan.procedure.is_point_in_time());
    let rescued = in_place && step_done("rescue-wal") && step_done("replay");
    let parts = incident.plan.as_ref().is_some_and(|plan| plan.procedure.is_parts());
    let (actual, how) = if parts {
        let how = "Production went on: nothing that was committed was given up. Rows of the parts \
                   are as they were at the recovery point, as far as they were chosen.";
        (Some(0.0), how.to_owned())
    } else if nothing_lost && rescued {
        let how = "No commit after the recovery point is known, and WAL that was not archived was rescued.";
        (Some(0.0), how.to_owned())
    } else if let Some((reached, from)) = reached_time(incident) {
        let began = incident.clocks.outage_began();
        let last_known = last_known_commit(incident);
        let ran = incident.noted(OLD_RAN_UNTIL).and_then(|at| at.parse().ok());
        match began.max(last_known).max(ran) {
            Some(end) => {
                let to = if ran.is_some() && ran > began.max(last_known) {
                    "the stop of the old server, which took writes until then"
                } else if last_known > began {
                    "the last commit known, which came after the incident was noticed"
                } else if incident.clocks.detected.is_some() && began == incident.clocks.detected {
                    "the first detection of the incident"
                } else {
                    "the declaration of the incident"
                };
                let seconds = end.duration_since(reached).as_secs_f64().max(0.0);
                (Some(seconds), format!("From {from} to {to}."))
            }
            None => (None, String::from("Not known: the journal does not say when it began.")),
        }
    } else {
        (None, String::from("Not known: the journal does not say which point was reached."))
    };
    let met = |limit: u64| actual.map(|seconds| seconds <= as_seconds(limit));
    let mut against = vec![against_tier(incident, runbook, |t| t.rpo_seconds, met)];
    let scenario = incident.declaration.drill.as_deref().and_then(|id| runbook.scenario(id));
    if let Some((scenario, limit)) = scenario.and_then(|s| s.rpo_seconds.map(|l| (s, l))) {
        against.push(Against {
            what: format!("scenario {}", scenario.title),
            target_seconds: limit,
            met: met(limit),
        });
    }
    Objective { actual_seconds: actual, ongoing: false, how, against }
}

/// The runbook's "total downtime".
fn rto(incident: &Incident, runbook: &Runbook, now: Timestamp) -> Objective {
    let clocks = &incident.clocks;
    let actual = clocks.rto_seconds(now).map(|s| s.max(0.0));
    let ongoing = clocks.serving.is_none();
    let from = match clocks.detected {
        Some(detected) if clocks.outage_began() == Some(detected) => "first detection",
        _ => "declaration",
    };
    let how = match (actual, ongoing) {
        (None, _) => String::from("Not known: the journal does not say when the outage began."),
        (Some(_), false) => {
            format!("From the {from} of the incident until the database served again.")
        }
        (Some(_), true) => {
            format!("From the {from} of the incident until now; the database does not serve yet.")
        }
    };
    // While the outage lasts, a limit can be seen to be missed but not to be met.
    let met = |limit: u64| match actual {
        Some(seconds) if seconds > as_seconds(limit) => Some(false),
        Some(_) if !ongoing => Some(true),
        _ => None,
    };
    let mut against = vec![against_tier(incident, runbook, |t| t.rto_seconds, met)];
    let scenario = incident.declaration.drill.as_deref().and_then(|id| runbook.scenario(id));
    against.extend(scenario.map(|s| Against {
        what: format!("scenario {}", s.title),
        target_seconds: s.rto_seconds,
        met: met(s.rto_seconds),
    }));
    Objective { actual_seconds: actual, ongoing, how, against }
}

fn against_tier(
    incident: &Incident,
    runbook: &Runbook,
    limit: impl Fn(&crate::engine::runbook::TierTarget) -> u64,
    met: impl Fn(u64) -> Option<bool>,
) -> Against {
    let tier = runbook.tier(incident.declaration.tier);
    let target_seconds = limit(tier);
    Against { what: format!("tier {}", tier.title), target_seconds, met: met(target_seconds) }
}

fn as_seconds(limit: u64) -> f64 {
    std::time::Duration::from_secs(limit).as_secs_f64()
}

/// The newest commit that the proof of reach knew of.
fn last_known_commit(incident: &Incident) -> Option<Timestamp> {
    let reach = incident.reach.as_ref()?;
    let seconds = reach.lost_seconds.filter(|s| s.is_finite())?;
    let span = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    reach.last_kept.as_ref()?.at.checked_add(span).ok()
}

fn loss(incident: &Incident) -> Loss {
    let reach = incident.reach.as_ref();
    Loss {
        commits: reach.and_then(|r| r.lost_commits),
        may_be_more: incident.may_lose_more(),
        seconds: reach.and_then(|r| r.lost_seconds),
        last_kept: reach.and_then(|r| r.last_kept.clone()),
        first_lost: reach.and_then(|r| r.first_lost.clone()),
        tables: reach.and_then(|r| r.cost.tables.clone()),
        more_tables: reach.map_or(0, |r| r.cost.more_tables),
    }
}

fn marks(incident: &Incident) -> Vec<Mark> {
    let clocks = &incident.clocks;
    let reach = incident.reach.as_ref();
    let last_kept = reach.and_then(|r| r.last_kept.as_ref()).map(|c| c.at);
    let first_lost = reach.and_then(|r| r.first_lost.as_ref()).map(|c| c.at);
    let mut marks = [
        ("last_known_good", "Last known good", clocks.last_known_good),
        ("last_kept", "Last commit kept", last_kept),
        ("first_lost", "First commit given up", first_lost),
        ("detected", "First detected", clocks.detected),
        ("declared", "Declared", clocks.declared),
        ("decided", "Decided: gate passed", clocks.decided),
        ("run_started", "Recovery started", clocks.run_started),
        ("writes_stopped", "Writes stopped", clocks.writes_stopped),
        ("restored", "Base restored", clocks.restored),
        ("replayed", "Replayed to the point", clocks.replayed),
        ("promoted", "Promoted", clocks.promoted),
        ("serving", "Serving again", clocks.serving),
        ("validated", "Validated", clocks.validated),
        ("closed", "Closed", clocks.closed),
    ]
    .map(|(id, title, at)| Mark { id, title, at });
    marks.sort_by_key(|mark| (mark.at.is_none(), mark.at));
    marks.to_vec()
}

fn step_line(step: &StepState, incident: &Incident, runbook: &Runbook, now: Timestamp) -> StepLine {
    let planned = incident.plan.as_ref().and_then(|plan| plan.step(&step.id));
    let text = runbook.step(&step.id);
    let title = planned.map(|p| &p.title).or(text.map(|t| &t.title));
    let command = planned.map(|p| &p.runbook).or(text.map(|t| &t.runbook));
    let waiting = step.held_since.map_or(0.0, |since| now.duration_since(since).as_secs_f64());
    let human = (step.held_seconds + waiting).max(0.0);
    // A step that stopped without finishing has no known end: its work is not counted.
    let end = step
        .finished
        .or_else(|| matches!(step.status, StepStatus::Running | StepStatus::Held).then_some(now));
    let whole =
        step.started.zip(end).map(|(from, to)| to.duration_since(from).as_secs_f64().max(0.0));
    StepLine {
        id: step.id.clone(),
        title: title.unwrap_or(&step.id).clone(),
        runbook: command.cloned().unwrap_or_default(),
        status: step.status,
        attempts: step.attempts,
        started: step.started,
        finished: step.finished,
        machine_seconds: whole.map(|whole| (whole - human).max(0.0)),
        human_seconds: step.started.map(|_| human),
        failure: step.failure.as_ref().map(ToString::to_string),
        notes: step.notes.clone(),
    }
}

fn prerequisites(incident: &Incident) -> Vec<PrerequisiteLine> {
    let line = |which: Prerequisite| {
        let answer = incident.prerequisites.get(&which);
        PrerequisiteLine {
            title: which.title().to_owned(),
            met: answer.map(|a| a.met),
            note: answer.map(|a| a.note.clone()).unwrap_or_default(),
            by: answer.map(|a| a.by.clone()),
            at: answer.map(|a| a.at),
        }
    };
    incident.procedure().prerequisites().iter().copied().map(line).collect()
}

fn checks(incident: &Incident) -> Vec<CheckGroup> {
    let group = |id, title: String, checks: &[Check]| CheckGroup {
        id,
        title,
        verdict: match id {
            "probes" | "validation" => Verdict::overall(checks.iter().map(|c| c.verdict)),
            _ => Verdict::of_all(checks.iter().map(|c| c.verdict)),
        },
        checks: checks.to_vec(),
    };
    let (integrity_title, integrity) = match &incident.integrity {
        Some((set, checks)) => (format!("Integrity of the backup {set}"), checks.as_slice()),
        None => (String::from("Integrity of the backup"), &[][..]),
    };
    let reach = incident.reach.as_ref().map_or(&[][..], |r| r.checks.as_slice());
    vec![
        group("probes", String::from("Probes before the recovery"), &incident.probes),
        group("integrity", integrity_title, integrity),
        group("reach", String::from("Proof that the point can be reached"), reach),
        group(
            "validation",
            String::from("Validation of the recovered database"),
            &incident.validation,
        ),
    ]
}

fn note(topic: Topic, text: &str) -> NoteLine {
    let topic = match topic {
        Topic::ChangesBefore => "What changed before",
        Topic::Symptom => "What is wrong",
        Topic::Note => "Note",
    };
    NoteLine { topic, text: text.to_owned() }
}
