//! An incident as small as tests of its clocks need it.

use super::event::{Declaration, Entry, Event};
use super::facts::{
    Actor, BaseSummary, Identity, Moment, Role, ServerRole, Target, TargetPoint, Tier,
};
use super::model::Incident;
use crate::engine::postgres::Lsn;
use crate::engine::runner::plan::{Cancel, Plan, PlanStep};
use crate::engine::runner::protocol::{Progress, Unit};
use jiff::Timestamp;

/// A time of the day of the incident, `HH:MM:SS`.
pub fn at(time: &str) -> Timestamp {
    format!("2026-01-13T{time}Z").parse().unwrap()
}

pub fn entry(time: &str, event: Event) -> Entry {
    let actor = Actor { user: String::from("ada"), uid: 1000, role: Role::Commander };
    Entry { seq: 1, at: at(time), actor, event, prev: String::new() }
}

/// Declared at 10:00 in the tier High, which allows 15 minutes.
pub fn declared() -> Incident {
    let declaration = Declaration {
        id: String::from("INC-20260113-001"),
        cluster: String::from("orders"),
        tier: Tier::High,
        environment: String::from("production"),
        title: String::from("orders are gone"),
        identity: None,
        drill: None,
    };
    Incident::begin(&entry("10:00:00", Event::IncidentDeclared(declaration))).unwrap()
}

pub fn tell(incident: &mut Incident, time: &str, event: Event) {
    incident.apply(&entry(time, event));
}

pub fn detected(incident: &mut Incident, time: &str) {
    let event = Event::MomentStated { moment: Moment::FirstDetected, at: at(time) };
    tell(incident, "10:01:00", event);
}

pub fn start(incident: &mut Incident, time: &str, step: &str) {
    tell(incident, time, Event::StepStarted { step: step.to_owned(), attempt: 1 });
}

pub fn finish(incident: &mut Incident, time: &str, step: &str) {
    tell(incident, time, Event::StepFinished { step: step.to_owned() });
}

/// Copy 60 to 120 s, replay 30 to 60 s, a question, then it opens within a second.
pub fn plan() -> Plan {
    let step = |(id, expected): (&str, Option<(f64, f64)>)| PlanStep {
        id: id.to_owned(),
        title: id.to_owned(),
        why: String::new(),
        runbook: String::new(),
        touches: Vec::new(),
        expected,
        cancel: Cancel::AtOnce,
        destructive: false,
        undo: None,
    };
    let steps = [
        ("restore-base", Some((60.0, 120.0))),
        ("replay", Some((30.0, 60.0))),
        ("inspect", None),
        ("open", Some((1.0, 1.0))),
        ("validate", Some((600.0, 900.0))),
    ];
    Plan {
        incident: String::from("INC-20260113-001"),
        cluster: String::from("orders"),
        identity: Identity {
            system_identifier: 7,
            host: String::from("db1"),
            data_directory: String::from("/srv/orders"),
            role: ServerRole::Primary,
            version: 15,
            timeline: 1,
        },
        target: Target { point: TargetPoint::Lsn(Lsn(9)), inclusive: false, timeline: None },
        timeline: None,
        base: BaseSummary {
            set: String::from("set-20260113-020000"),
            repository: String::from("local"),
            started: at("02:00:00"),
            finished: at("02:01:00"),
            start_lsn: Lsn(1),
            stop_lsn: Lsn(2),
            timeline: 1,
            system_identifier: 7,
            version: 15,
            size: 1,
            stored: 1,
            encrypted: true,
        },
        aside: String::from("/srv/orders.damaged"),
        rescue: String::from("/srv/rescue"),
        repositories: Vec::new(),
        minimum_settings: Vec::new(),
        places: Default::default(),
        replay_until: None,
        procedure: Default::default(),
        lost: false,
        source: None,
        ends_at: None,
        steps: steps.into_iter().map(step).collect(),
        hash: String::from("00"),
    }
}

/// Planned, agreed to at that time, and running.
pub fn running(incident: &mut Incident, time: &str) {
    tell(incident, time, Event::PlanMade(plan()));
    tell(incident, time, Event::GatePassed { plan_hash: String::from("00") });
    tell(incident, time, Event::RunStarted { plan_hash: String::from("00") });
}

/// The job says that it takes so many more seconds.
pub fn progress(job: &str, eta: Option<f64>) -> Progress {
    Progress {
        job: job.to_owned(),
        label: String::new(),
        started: at("10:00:00"),
        done: 0,
        total: None,
        unit: Unit::Bytes,
        rate: None,
        eta,
        history: Vec::new(),
        lsn: None,
        replayed_until: None,
        log: Vec::new(),
    }
}
