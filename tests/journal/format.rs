//! The journal's bytes are a format: what an older Lifeboat wrote is read for ever.

use jiff::Timestamp;
use lifeboat::engine::incident::event::{Decision, Declaration, Event};
use lifeboat::engine::incident::facts::{
    Actor, Moment, Prerequisite, Role, Severity, SignOff, Tier, Topic,
};
use lifeboat::engine::incident::journal::{self, Journal};

#[test]
fn the_bytes_are_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let mut journal = Journal::open(folder.path()).unwrap().journal;
    let anna = Actor { user: String::from("anna"), uid: 1000, role: Role::Commander };
    let at: Timestamp = "2025-01-13T10:00:00.25Z".parse().unwrap();
    let step = || String::from("replay");
    let events = [
        Event::IncidentDeclared(Declaration {
            id: String::from("INC-20250113-001"),
            cluster: String::from("orders"),
            tier: Tier::High,
            environment: String::from("production"),
            title: String::from("orders are gone"),
            identity: None,
            drill: None,
        }),
        Event::RunnerStarted { pid: 42, version: String::from("0.1.0"), resumed: false },
        Event::SeveritySet { severity: Severity::Sev2 },
        Event::MomentStated { moment: Moment::FirstDetected, at },
        Event::NoteAdded { topic: Topic::Symptom, text: String::from("rows\nare gone") },
        Event::PrerequisiteAnswered {
            prerequisite: Prerequisite::MaintenanceWindow,
            met: true,
            note: String::new(),
        },
        Event::StepStarted { step: step(), attempt: 1 },
        Event::StepNoted {
            step: step(),
            name: String::from("reached"),
            text: String::from("0/3000060"),
        },
        Event::StepHeld { step: step(), question: String::from("Promote here?") },
        Event::Decided { step: step(), decision: Decision::Promote },
        Event::PauseRequested,
        Event::RunCancelled { step: None },
        Event::ChecklistSigned(SignOff {
            item: String::from("alerts"),
            done: true,
            evidence: String::from("seen"),
        }),
        Event::IncidentClosed { summary: String::from("all rows are back") },
    ];
    for event in events {
        journal.append(at, &anna, event).unwrap();
    }
    let text = std::fs::read_to_string(folder.path().join(journal::FILE)).unwrap();
    insta::assert_snapshot!(text);
}
