//! Commands that take long: they ask the server or the repository, on blocking threads, one of a
//! kind at a time. Owns what each result becomes: an entry, an answer, or the newest survey.

use super::commands::blocking;
use super::core::Core;
use super::executor;
use super::failpoint;
use super::guard;
use super::protocol::{Answer, Command, Progress};
use super::work::{Asking, Proof, Report};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::care::Care;
use crate::engine::incident::facts::{Actor, Loss, SignOff};
use crate::engine::incident::parts::Part;
use crate::engine::incident::past::Picture;
use crate::engine::incident::{Event, Incident};
use crate::engine::parts::compare::Difference;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// The job whose progress a reading of WAL is shown as.
const READING: &str = "survey";

/// The job that compares a copy beside production with it.
const PARTS: &str = "parts";

/// Rows of each class that are shown of a table.
const ROWS: usize = 40;

pub(super) fn is_job(command: &Command) -> bool {
    kind(command).is_some() || is_question(command)
}

/// The name under which one of a kind runs; also its name in [`Progress::job`].
fn kind(command: &Command) -> Option<&'static str> {
    match command {
        Command::ProbeServer => Some("probe"),
        Command::RunProbes => Some("probes"),
        Command::Survey => Some(READING),
        Command::ChooseTarget { .. }
        | Command::ChooseInto { .. }
        | Command::ChooseFull(_)
        | Command::ChooseParts { .. }
        | Command::MoveTarget { .. } => Some("target"),
        Command::LookAtParts { .. } | Command::CarryParts { .. } => Some(PARTS),
        Command::Cure { .. } | Command::CureInPlace { .. } => Some("cure"),
        Command::VerifyIntegrity => Some("integrity"),
        Command::MakePlan | Command::PlanSalvage => Some("plan"),
        Command::Validate => Some("validate"),
        // One at a time, whichever item it is.
        Command::RunCare { .. } => Some("care"),
        Command::WriteReport => Some("report"),
        Command::Prove { .. } => Some("proof"),
        _ => None,
    }
}

/// Asked again with every move of a cursor, so these wait for each other.
fn is_question(command: &Command) -> bool {
    matches!(
        command,
        Command::CommitsAround { .. }
            | Command::PastWindow { .. }
            | Command::CheckReach { .. }
            | Command::ListParts
            | Command::ShowRows { .. }
    )
}

/// Does the job and answers.
pub(super) async fn answer(
    core: Arc<Core>,
    actor: Actor,
    command: Command,
) -> Result<Answer, Explanation> {
    {
        let state = core.lock();
        guard::check(&state.incident, &command, state.executing)?;
    }
    if is_question(&command) {
        let _turn = core.questions.lock().await;
        let busy = core.begin();
        let core = Arc::clone(&core);
        return blocking(move || {
            let _busy = busy;
            let answer = ask(&core, &command);
            met(&core, &actor, &command, &answer);
            core.end_progress(READING);
            core.end_progress(PARTS);
            answer
        })
        .await;
    }
    let Some(kind) = kind(&command) else {
        return Err(Explanation::new(Kind::Internal, "This command is no job.", "", ""));
    };
    let job = core.begin_job(kind)?;
    blocking(move || {
        let _job = job;
        let done = act(&core, &actor, &command);
        if let Err(why) = &done {
            met_refusal(&core, &actor, &command, why);
        }
        done
    })
    .await
    .map(|()| Answer::Done)
}

/// A point that the proof refuses.
fn met(core: &Core, actor: &Actor, command: &Command, answer: &Result<Answer, Explanation>) {
    if let Ok(Answer::Reach(reach)) = answer
        && !reach.reachable
    {
        met_refusal(core, actor, command, &guard::unreachable(reach));
    }
}

/// In a drill it stands in the journal, once, what the archive refused and why: the drill is judged
/// by what people came to know. In earnest nothing was changed, and nothing is recorded.
fn met_refusal(core: &Core, actor: &Actor, command: &Command, why: &Explanation) {
    let mut state = core.lock();
    let incident = &state.incident;
    let held = incident.declaration.drill.is_some() && incident.closing.is_none();
    if why.kind != Kind::Unreachable || !held || core.tells(&state, &why.what) {
        return;
    }
    let event =
        Event::CommandRefused { command: super::commands::name(command), reason: why.what.clone() };
    // The answer is told all the same.
    let _ = core.append(&mut state, actor, event);
}

fn ask(core: &Core, command: &Command) -> Result<Answer, Explanation> {
    let incident = core.incident();
    match command {
        Command::CommitsAround { at, count } => {
            core.work.commits_around(&incident, *at, *count).map(Answer::Commits)
        }
        Command::PastWindow { from, to, columns, around } => {
            core.work.past(&incident, (*from, *to), *columns, *around).map(Answer::Past)
        }
        Command::CheckReach { target } => {
            let report = |progress: Progress| drop(core.progress.send_replace(Some(progress)));
            let cancelled = core.reading();
            let asking = Asking { report: &report, cancelled: &cancelled };
            core.work.reach(&incident, target, &asking).map(Answer::Reach)
        }
        Command::ListParts => core.work.list_parts(&incident).map(Answer::Parts),
        Command::ShowRows { table } => {
            let report = |progress: Progress| drop(core.progress.send_replace(Some(progress)));
            rows(core, &incident, table, &report).map(|found| Answer::Rows(Box::new(found)))
        }
        _ => Err(Explanation::new(Kind::Internal, "This command is no question.", "", "")),
    }
}

/// Compares one table of the newest look again, for the rows themselves.
fn rows(
    core: &Core,
    incident: &Incident,
    table: &str,
    report: Report<'_>,
) -> Result<Difference, Explanation> {
    let look = incident.parts.look.as_ref();
    let one = look.and_then(|look| Part::alone(&look.part, table)).ok_or_else(|| {
        guard::refusal(format!("{table} was not looked at."), "Look at it first.")
    })?;
    let looked = core.work.look_at_parts(incident, &one, ROWS, report)?;
    looked.differences.into_iter().next().ok_or_else(|| {
        guard::refusal(
            format!("{table} is not in production: all of its rows are missing."),
            "It is made whole when it is carried over.",
        )
    })
}

fn act(core: &Arc<Core>, actor: &Actor, command: &Command) -> Result<(), Explanation> {
    let incident = core.incident();
    let report = |progress: Progress| {
        core.progress.send_replace(Some(progress));
    };
    let work = &core.work;
    let cancelled = core.reading();
    let asking = Asking { report: &report, cancelled: &cancelled };
    // A target is judged by the archive as it is now, not as somebody looked at it an hour ago.
    let judged = |target| {
        let (reach, survey) = work.reach_now(&incident, target, &asking)?;
        core.end_progress(READING);
        if let Some(survey) = survey {
            core.survey.send_replace(Some(Arc::new(survey)));
        }
        if reach.reachable { Ok(reach) } else { Err(guard::unreachable(&reach)) }
    };
    // Whatever the job took for granted is looked at again before its result becomes a fact.
    let record = |event: Event, still: &dyn Fn(&Incident) -> Result<(), Explanation>| {
        let mut state = core.lock();
        guard::check(&state.incident, command, state.executing)?;
        still(&state.incident)?;
        core.append(&mut state, actor, event)
    };
    let always = |_: &Incident| Ok(());
    let same_target = |now: &Incident| {
        // That the loss was counted again meanwhile makes it no other point.
        let chosen = |incident: &Incident| {
            incident.reach.clone().map(|mut reach| {
                reach.recount(&Loss::default());
                reach
            })
        };
        let same = chosen(now) == chosen(&incident);
        if same { Ok(()) } else { Err(overtaken()) }
    };
    match command {
        Command::ProbeServer => record(Event::ServerProbed(work.probe_server(&incident)), &always),
        Command::RunProbes => {
            record(Event::ProbesRun { checks: work.run_probes(&incident)? }, &always)
        }
        Command::Survey => {
            let survey = work.survey(&incident, &asking)?;
            core.survey.send_replace(Some(Arc::new(survey)));
            Ok(())
        }
        Command::ChooseTarget { target } => {
            let mut reach = judged(target)?;
            // What the choice was made from, for the report: the archive will look otherwise then.
            let seen = core.survey.borrow().clone();
            reach.cost.picture = seen.map(|survey| Box::new(Picture::of(&survey)));
            record(Event::TargetChosen(reach), &always)
        }
        Command::ChooseInto { target, directory } => {
            let reach = work.reach_into(&incident, target, Path::new(directory), &asking)?;
            core.end_progress(READING);
            if !reach.reachable {
                return Err(guard::unreachable(&reach));
            }
            record(Event::TargetChosen(reach), &always)
        }
        Command::ChooseFull(asked) => {
            let reach = work.full_restore(&incident, asked)?;
            if !reach.reachable {
                return Err(guard::unreachable(&reach));
            }
            record(Event::TargetChosen(reach), &always)
        }
        Command::ChooseParts { target, database, tables } => {
            let reach = work.choose_parts(&incident, target, database.as_deref(), tables)?;
            if !reach.reachable {
                return Err(guard::unreachable(&reach));
            }
            record(Event::TargetChosen(reach), &always)
        }
        Command::LookAtParts { part } => {
            // What a transaction may have carried over is no longer to be chosen.
            executor::may_choose_parts(core)?;
            let mut look = work.look_at_parts(&incident, part, 0, &report)?;
            look.differences.iter_mut().for_each(|found| found.samples.clear());
            record(Event::PartsSeen(look), &always)
        }
        Command::CarryParts { choice, .. } => {
            work.check_parts(&incident, choice)?;
            let mut state = core.lock();
            guard::check(&state.incident, command, state.executing)?;
            core.append(&mut state, actor, Event::PartsChosen(choice.clone()))?;
            let step = guard::parts::CHOOSE.to_owned();
            core.record(&mut state, Event::StepFinished { step })?;
            executor::launch(core, &mut state);
            Ok(())
        }
        Command::MoveTarget { target, .. } => {
            let reach = judged(target)?;
            let plan = match guard::is_earlier(&incident, &reach) {
                true => work.step_back(&incident, &reach)?,
                false => guard::later(&incident, &reach)?,
            };
            guard::plan(&incident, &plan)?;
            let mut state = core.lock();
            guard::check(&state.incident, command, state.executing)?;
            same_target(&state.incident)?;
            core.append(&mut state, actor, Event::TargetMoved { reach, plan })?;
            executor::launch(core, &mut state);
            Ok(())
        }
        Command::Cure { cure, cluster } => self::cure(core, actor, cure, cluster.as_deref(), None),
        Command::CureInPlace { cure, place, cluster } => {
            self::cure(core, actor, cure, Some(cluster), Some(place))
        }
        Command::VerifyIntegrity => {
            let base = incident.reach.as_ref().and_then(|reach| reach.base.as_ref());
            let set = base.map(|base| base.set.clone()).ok_or_else(overtaken)?;
            let checks = work.verify_integrity(&set, &report)?;
            record(Event::IntegrityChecked { set, checks }, &same_target)
        }
        Command::MakePlan => {
            let plan = work.plan(&incident)?;
            guard::plan(&incident, &plan)?;
            record(Event::PlanMade(plan), &same_target)
        }
        Command::PlanSalvage => {
            let plan = work.plan_salvage(&incident)?;
            guard::plan(&incident, &plan)?;
            record(Event::PlanMade(plan), &always)
        }
        Command::Validate => {
            let checks = work.validate(&incident, &report)?;
            record(Event::ValidationRun { checks }, &always)
        }
        Command::RunCare { item, agreed } => {
            let begun = Event::CareBegun { item: item.clone(), agreed: agreed.clone() };
            record(begun, &always)?;
            failpoint::hit("care.begun");
            let done = work.care(&core.incident(), item, agreed, &report);
            let care = done.unwrap_or_else(|why| Care::stopped(item, agreed, &why));
            failpoint::hit("care.done");
            // What was done was done, whatever has been decided meanwhile.
            core.append(&mut core.lock(), actor, Event::CareDone(care))
        }
        Command::WriteReport => {
            for path in work.write_report(&incident)? {
                let path = path.display().to_string();
                record(Event::ReportWritten { path }, &always)?;
            }
            Ok(())
        }
        Command::Prove { line } => prove(core, actor, line),
        _ => Err(Explanation::new(Kind::Internal, "This command is no job.", "", "")),
    }
}

/// Runs what a line of the checklist is proven by, one after another as if each had been asked for,
/// and signs it where all of it is VERIFIED.
fn prove(core: &Arc<Core>, actor: &Actor, line: &str) -> Result<(), Explanation> {
    for proof in core.work.proofs(line)? {
        let command = match proof {
            Proof::Validation => Command::Validate,
            Proof::Care(item) => Command::RunCare { item, agreed: Vec::new() },
            Proof::Report => Command::WriteReport,
        };
        let Some(kind) = kind(&command) else { continue };
        let _job = core.begin_job(kind)?;
        {
            let state = core.lock();
            guard::check(&state.incident, &command, state.executing)?;
        }
        act(core, actor, &command)?;
    }
    let mut state = core.lock();
    let command = Command::Prove { line: line.to_owned() };
    guard::check(&state.incident, &command, state.executing)?;
    let evidence = core.work.proven(&state.incident, line)?;
    let sign = SignOff { item: line.to_owned(), done: true, evidence };
    core.append(&mut state, actor, Event::ChecklistSigned(sign))
}

/// Accepts a cure, carries it out, and lets the plan go on from where it stood. While it is on its
/// way nothing else may run, end or be put back.
fn cure(
    core: &Arc<Core>,
    actor: &Actor,
    id: &str,
    cluster: Option<&str>,
    place: Option<&str>,
) -> Result<(), Explanation> {
    let (step, cure, incident) = {
        let mut state = core.lock();
        if state.executing {
            return Err(guard::curing());
        }
        let (step, cure) = guard::cure(&state.incident, id, cluster, place)?;
        let event = Event::CureAccepted { step: step.clone(), cure: cure.clone() };
        core.append(&mut state, actor, event)?;
        state.executing = true;
        (step, cure, state.incident.clone())
    };
    failpoint::hit("cure.accepted");
    let report = |progress: Progress| {
        core.progress.send_replace(Some(progress));
    };
    let work = || core.work.cure(&incident, &step, &cure, &report);
    let cured = catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|payload| Err(super::core::panicked("a cure", &*payload)));
    let mut state = core.lock();
    state.executing = false;
    let cured = match cured {
        Ok(cured) => cured,
        Err(explanation) => {
            let failed =
                Event::CureFailed { step, cure: cure.id, explanation: explanation.clone() };
            core.record(&mut state, failed)?;
            return Err(explanation);
        }
    };
    let (text, adjusted) = (cured.text, cured.adjusted);
    core.record(&mut state, Event::CureDone { step, cure: cure.id, text, adjusted })?;
    failpoint::hit("cure.done");
    match cured.moved {
        Some((reach, plan)) => {
            guard::plan(&state.incident, &plan)?;
            core.append(&mut state, actor, Event::TargetMoved { reach, plan })?;
        }
        None => core.append(&mut state, actor, Event::Resumed)?,
    }
    executor::launch(core, &mut state);
    Ok(())
}

fn overtaken() -> Explanation {
    guard::refusal(
        "Another recovery point was chosen meanwhile, so this result is not recorded.",
        "Ask again for the new recovery point.",
    )
}
