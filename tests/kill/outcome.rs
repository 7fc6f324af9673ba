//! What an undisturbed recovery leaves, and a disturbed one must leave too.

use crate::stage::Stage;
use lifeboat::engine::drill::score;
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::facts::Verdict;
use lifeboat::engine::incident::journal;
use lifeboat::engine::incident::model::{Clocks, RunStatus, StepStatus};
use lifeboat::engine::restore::plan::ORDER;
use std::path::Path;

/// Every row is back, the damaged directory is kept once, nothing was done or decided twice, and
/// the journal's chain holds.
pub fn as_undisturbed(stage: &Stage) {
    let incident = stage.left();
    assert_eq!(incident.status, RunStatus::Finished);
    assert!(incident.steps.iter().all(|step| step.status == StepStatus::Done));
    journal::verify(&stage.folder.join(journal::FILE)).unwrap();
    let entries = stage.entries();
    let count = |is_it: &dyn Fn(&Event) -> bool| entries.iter().filter(|e| is_it(&e.event)).count();
    for id in ORDER {
        let finished = |event: &Event| matches!(event, Event::StepFinished { step } if step == id);
        assert_eq!(count(&finished), 1, "{id}");
    }
    assert_eq!(count(&|event| matches!(event, Event::RunStarted { .. })), 1);
    assert_eq!(count(&|event| matches!(event, Event::Decided { .. })), 1);
    assert_eq!(count(&|event| matches!(event, Event::RunFinished)), 1);

    let plan = incident.plan.clone().unwrap();
    let aside = Path::new(&plan.aside);
    let mut kept = vec![String::from("data"), name(aside)];
    // The last WAL was not archived where the server was killed before it could.
    kept.extend(Some(name(Path::new(&plan.rescue))).filter(|_| Path::new(&plan.rescue).exists()));
    assert_eq!(beside(stage), kept, "the data directory and what is beside it");
    let timeline = stage.timeline();
    assert_eq!(timeline, plan.base.timeline + 1, "promoted once");

    let failed = incident
        .validation
        .iter()
        .filter(|check| !matches!(check.verdict, Verdict::Verified | Verdict::NotRun));
    assert_eq!(failed.collect::<Vec<_>>(), Vec::<&_>::new());
    assert!(incident.validation.iter().any(|check| check.verdict == Verdict::Verified));
    let truth = stage.sandbox.truth().unwrap();
    let judged = incident.noted("verifybackup");
    let (_, checks) = score::of(&stage.sandbox, truth, Some(aside), judged).unwrap();
    for check in checks {
        assert_eq!(check.verdict, Verdict::Verified, "{check:#?}");
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// The folders beside the data directory, and itself, by name.
fn beside(stage: &Stage) -> Vec<String> {
    let cluster = stage.sandbox.server().data.parent().unwrap().to_owned();
    let mut names: Vec<String> = std::fs::read_dir(cluster)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// No moment that was known is forgotten or moves; a validation that runs again is a new one.
pub fn clocks_go_on(before: &Clocks, after: &Clocks) {
    let moments = |clocks: &Clocks| {
        [
            ("declared", clocks.declared),
            ("detected", clocks.detected),
            ("writes stopped", clocks.writes_stopped),
            ("decided", clocks.decided),
            ("run started", clocks.run_started),
            ("restored", clocks.restored),
            ("replayed", clocks.replayed),
            ("promoted", clocks.promoted),
            ("serving", clocks.serving),
        ]
    };
    for ((name, before), (_, after)) in moments(before).into_iter().zip(moments(after)) {
        assert!(before.is_none() || before == after, "{name}: {before:?}, then {after:?}");
    }
}
