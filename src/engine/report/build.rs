//! From an incident to the report's value. Owns how the figures are computed.

use super::{
    Against, Base, CallLine, CheckGroup, FORMAT, Journal, Loss, NoteLine, Objective, Outcome,
    People, PrerequisiteLine, Recovery, Report, StepLine, Subject,
};
use crate::engine::checklist::Checklist;
use crate::engine::incident::Incident;
use crate::engine::incident::clocks::Figure;
use crate::engine::incident::facts::{Check, Prerequisite, Topic, Verdict};
use crate::engine::incident::model::{RunStatus, StepState, StepStatus, Tone};
use crate::engine::incident::outlook::Outlook;
use crate::engine::incident::raised::Raised;
use crate::engine::runbook::Runbook;
use jiff::Timestamp;

impl Report {
    /// The report on `incident` as it stands at `now`.
    #[must_use]
    pub fn from(incident: &Incident, runbook: &Runbook, now: Timestamp) -> Self {
        // It is the recovery's, whatever is under way.
        let incident = &*incident.settled();
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
            stayed_open: incident.stays_open(),
            loss: loss(incident),
            salvage: super::salvage::of(incident),
            past: incident.reach.as_ref().and_then(|r| r.cost.picture.as_deref().cloned()),
            marks: incident.marks(),
            shares: incident.shares(now),
            outlook: {
                let declared = &incident.declaration;
                let limit = runbook.rto_of(declared.tier, declared.drill.as_deref());
                Outlook::of(incident, limit, None, now)
            },
            machine_seconds: steps.iter().filter_map(|s| s.machine_seconds).sum(),
            human_seconds: steps.iter().filter_map(|s| s.human_seconds).sum(),
            steps,
            prerequisites: prerequisites(incident),
            checks: checks(incident),
            tries: incident.tries.clone(),
            checklist: Checklist::of(incident, runbook, now),
            approvals: super::approvals::lines(incident),
            escalation: incident.raised.iter().map(call).collect(),
            people: People::Names,
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

fn rpo(incident: &Incident, runbook: &Runbook) -> Objective {
    let Figure { seconds: actual, how, .. } = incident.actual_rpo();
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

fn rto(incident: &Incident, runbook: &Runbook, now: Timestamp) -> Objective {
    let Figure { seconds: actual, ongoing, how } = incident.actual_rto(now);
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

fn call(raised: &Raised) -> CallLine {
    let answer = raised.acknowledged.as_ref();
    CallLine {
        level: raised.raise.level.clone(),
        who: raised.raise.who.clone(),
        at: raised.at,
        times: raised.raise.times,
        why: raised.raise.why.clone(),
        acknowledged: answer.map(|answer| answer.at),
        acknowledged_by: answer.map(|answer| answer.by.clone()),
    }
}

fn note(topic: Topic, text: &str) -> NoteLine {
    let topic = match topic {
        Topic::ChangesBefore => "What changed before",
        Topic::Symptom => "What is wrong",
        Topic::Note => "Note",
    };
    NoteLine { topic, text: text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::event::Event;
    use crate::engine::incident::fixture::{at, declared, detected, finish, plan, start, tell};

    /// Only parts come back: the shop has no downtime, and nothing of the report says that it had.
    #[test]
    fn where_only_parts_come_back_production_stayed_open() {
        let mut incident = declared();
        detected(&mut incident, "09:58:00");
        let parts = r#"{"option": "parts", "sandbox": "/srv/orders.parts"}"#;
        let procedure = serde_json::from_str(parts).unwrap();
        let mut plan = crate::engine::runner::plan::Plan { procedure, ..plan() };
        for (step, id) in plan.steps.iter_mut().zip(["parts-restore", "parts-carry"]) {
            step.id = id.to_owned();
        }
        plan.steps.truncate(2);
        tell(&mut incident, "10:02:00", Event::PlanMade(plan));
        for (began, over, step) in
            [("10:03:00", "10:05:00", "parts-restore"), ("10:06:00", "10:08:00", "parts-carry")]
        {
            start(&mut incident, began, step);
            finish(&mut incident, over, step);
        }
        tell(&mut incident, "10:08:01", Event::RunFinished);
        let runbook = Runbook::load(None).unwrap();
        let report = Report::from(&incident, &runbook, at("10:09:00"));
        assert_eq!(report.rto.actual_seconds, Some(600.0));
        assert!(report.rto.how.ends_with("production stayed open."), "{}", report.rto.how);
        let titles: Vec<&str> = report.marks.iter().map(|mark| mark.title).collect();
        assert!(titles.contains(&"Rows back"), "{titles:?}");
        for never in ["Fault: first commit given up", "Writes stopped", "Promoted"] {
            assert!(!titles.contains(&never), "{titles:?}");
        }
        for form in [report.markdown(), report.html()] {
            assert!(form.contains("production stayed open"), "{form}");
            assert!(!form.contains("owntime"), "{form}");
        }
        // In earnest as ever where the server was stopped.
        let report = Report::from(&declared(), &runbook, at("10:09:00"));
        assert!(report.markdown().contains("RTO (downtime)") && !report.stayed_open);
    }
}
