//! A journal of a whole incident, for tests of what is made of it.

use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::event::{Decision, Declaration, Entry, Event};
use crate::engine::incident::facts::{
    Actor, Check, Forecast, Reach, Role, Severity, Target, TargetPoint, Tier, Verdict,
};
use crate::engine::incident::past::Cost;
use crate::engine::runbook::Runbook;
use jiff::{SignedDuration, Timestamp};

pub fn runbook() -> Runbook {
    Runbook::load(None).unwrap()
}

/// Declared, recovered with a step that failed once, validated, closed: an entry a minute from
/// 10:00 on.
pub fn journal() -> Vec<Entry> {
    let step = |event: fn(String) -> Event, id: &str| event(id.to_owned());
    let started = |step: String| Event::StepStarted { step, attempt: 1 };
    let finished = |step: String| Event::StepFinished { step };
    let failed = Event::StepFailed {
        step: String::from("restore-base"),
        explanation: Explanation::new(
            Kind::Connection,
            "The repository did not answer.",
            "The damaged directory is kept.",
            "Retry.",
        ),
    };
    let held = Event::StepHeld {
        step: String::from("inspect"),
        question: String::from("Is this the state to keep?"),
    };
    let decided = Event::Decided { step: String::from("inspect"), decision: Decision::Promote };
    let events = vec![
        Event::IncidentDeclared(Declaration {
            id: String::from("INC-20260113-001"),
            cluster: String::from("orders"),
            tier: Tier::High,
            environment: String::from("production"),
            title: String::from("orders of the last hour are gone"),
            identity: None,
            drill: None,
        }),
        Event::SeveritySet { severity: Severity::Sev1 },
        Event::TargetChosen(reach()),
        Event::RunStarted { plan_hash: String::from("00") },
        step(started, "restore-base"),
        failed,
        step(started, "restore-base"),
        step(finished, "restore-base"),
        held,
        decided,
        step(started, "open"),
        step(finished, "open"),
        Event::ValidationRun { checks: vec![check(Verdict::Verified)] },
        Event::RunFinished,
        Event::IncidentClosed { summary: String::from("All rows are back.") },
    ];
    let begun: Timestamp = "2026-01-13T10:00:00Z".parse().unwrap();
    let actor = Actor { user: String::from("alice"), uid: 1000, role: Role::Commander };
    (1..)
        .zip(events)
        .map(|(seq, event)| Entry {
            seq,
            at: begun + SignedDuration::from_mins(i64::try_from(seq).unwrap() - 1),
            actor: actor.clone(),
            event,
            prev: String::new(),
        })
        .collect()
}

fn check(verdict: Verdict) -> Check {
    Check {
        id: String::from("rows"),
        title: String::from("rows of public.orders"),
        verdict,
        expected: None,
        found: None,
        detail: String::new(),
        duration_ms: 1,
    }
}

fn reach() -> Reach {
    Reach {
        target: Target {
            point: TargetPoint::Lsn("0/3000028".parse().unwrap()),
            inclusive: false,
            timeline: None,
        },
        reachable: true,
        line: Vec::new(),
        procedure: Default::default(),
        on_disk: None,
        alternative: None,
        checks: Vec::new(),
        base: None,
        last_kept: None,
        first_lost: None,
        lost_commits: Some(12),
        lost_seconds: Some(240.0),
        nearest: Vec::new(),
        wal_bytes: 0,
        minimum_settings: Vec::new(),
        forecast: Some(Forecast { copy: (60.0, 120.0), replay: (30.0, 60.0), measured: true }),
        cost: Cost::default(),
    }
}
