//! What is allowed when: rules on the folded incident, as values in, refusal or nothing out.
//! Owns the order assessment → target → plan → gate → run. Never acts and never looks at the
//! world: a step does that itself before it destroys anything.

pub mod parts;
pub mod salvage;

use super::plan::Plan;
use super::protocol::Command;
use crate::engine::aftercare;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{BaseSummary, Prerequisite, Reach, Verdict};
use crate::engine::incident::model::{RunStatus, StepState, StepStatus};
use crate::engine::incident::trouble::{By, Cure, LOOK_AGAIN};
use crate::engine::postgres::Lsn;
use crate::engine::wal::TimelineId;

/// A refusal: why, and what to do instead. Nothing was changed.
#[must_use]
pub fn refusal(what: impl Into<String>, next: impl Into<String>) -> Explanation {
    Explanation::new(Kind::Refused, what, "Nothing was changed.", next)
}

/// A command outside its time, apart from what only its own handler can know.
///
/// # Errors
/// A refusal with the way out.
pub fn check(incident: &Incident, command: &Command, executing: bool) -> Result<(), Explanation> {
    use Command as C;
    let reads = matches!(
        command,
        C::Survey
            | C::CommitsAround { .. }
            | C::PastWindow { .. }
            | C::CheckReach { .. }
            | C::ListParts
            | C::ProbeServer
            | C::StopReading
    );
    let after_close =
        matches!(command, C::WriteReport | C::Sign(_) | C::SignWith { .. } | C::AddNote { .. });
    if incident.closing.is_some() && !reads && !after_close {
        return Err(refusal("This incident is closed.", "Declare a new incident."));
    }
    match command {
        C::RunProbes
        | C::VerifyIntegrity
        | C::ChooseTarget { .. }
        | C::ChooseFull(_)
        | C::ChooseParts { .. }
        | C::MakePlan => {
            may_still_plan(incident, executing)?;
        }
        C::AnswerPrerequisite { prerequisite, met, .. } => {
            may_still_plan(incident, executing)?;
            answerable(incident, *prerequisite, *met)?;
        }
        C::PlanSalvage => salvage::may_begin(incident, executing)?,
        C::PassGate { plan_hash, cluster } => gate(incident, plan_hash, cluster)?,
        C::Start { plan_hash } => start(incident, plan_hash)?,
        C::Cure { .. } if executing => return Err(curing()),
        C::Cure { cure, cluster } => {
            self::cure(incident, cure, cluster.as_deref())?;
        }
        C::LookAtParts { .. } | C::ShowRows { .. } => parts::asked(incident, executing)?,
        C::CarryParts { choice, cluster } => {
            parts::agreed(incident, choice, cluster, executing)?;
        }
        C::MoveTarget { cluster, .. } => at_target(incident, cluster, executing)?,
        C::Validate if incident.status == RunStatus::Undoing => {
            return Err(refusal("The run is being put back.", "Validate when that has ended."));
        }
        C::Validate if incident.is_salvaging() => {
            return Err(refusal("A salvage is under way.", "Validate when it has ended."));
        }
        C::Validate if incident.procedure().is_parts() => {
            return Err(refusal(
                "Only parts were brought back: the plan compared them with its copy, which is gone.",
                "Look at them in production; the rest of it was not recovered.",
            ));
        }
        C::RunCare { item, agreed } => care(incident, item, agreed)?,
        C::Waive { reason, .. } if reason.trim().is_empty() => {
            return Err(refusal("A line is not waived without a reason.", "Write one."));
        }
        C::Acknowledge { level } => acknowledge(incident, level)?,
        C::Prove { line } => prove(incident, line)?,
        C::Close { summary } => close(incident, summary)?,
        _ => {}
    }
    if matches!(command, C::VerifyIntegrity | C::MakePlan) {
        let reach = incident.reach.as_ref().filter(|reach| reach.reachable);
        if reach.and_then(|reach| reach.base.as_ref()).is_none() {
            return Err(refusal(
                "No recovery point has been chosen yet.",
                "Choose one first: it decides which base backup serves.",
            ));
        }
    }
    Ok(())
}

/// A cure is on its way.
#[must_use]
pub fn curing() -> Explanation {
    Explanation::new(
        Kind::Busy,
        "A cure is being carried out.",
        "It goes on.",
        "Its result appears by itself; wait for it.",
    )
}

/// The failed step and the cure of that id which was found for it.
///
/// # Errors
/// A refusal where there is none, or the name that was typed is not the cluster's.
pub fn cure(
    incident: &Incident,
    id: &str,
    cluster: Option<&str>,
) -> Result<(String, Cure), Explanation> {
    let plan = confirmed_plan(incident)?;
    if incident.undo_failure.is_some() {
        return Err(refusal(
            "Part of this run was put back: it cannot go on from there.",
            "Ask to put the rest back, then plan anew.",
        ));
    }
    let failed = incident.current_step().filter(|step| step.status == StepStatus::Failed);
    let found = failed.filter(|_| incident.status == RunStatus::Failed).and_then(|step| {
        let cures = &step.trouble.as_ref()?.cures;
        Some((step.id.clone(), cures.iter().find(|cure| cure.id == id)?.clone()))
    });
    let Some((step, cure)) = found else {
        return Err(refusal(
            format!("No failed step has a cure \"{id}\"."),
            "Look at the restore screen: it shows the cures of what failed.",
        ));
    };
    if cure.by == By::People && cure.id != LOOK_AGAIN {
        return Err(refusal(format!("\"{}\" is not done by Lifeboat.", cure.title), cure.does));
    }
    if cure.by == By::LifeboatByName && cluster != Some(&*plan.cluster) {
        return Err(refusal(
            format!(
                "You typed \"{}\", which is not the cluster of this plan.",
                cluster.unwrap_or_default()
            ),
            "Type the cluster's name exactly as the plan shows it.",
        ));
    }
    Ok((step, cure))
}

/// Why a target that cannot be reached is not taken.
#[must_use]
pub fn unreachable(reach: &Reach) -> Explanation {
    let reasons: Vec<_> = reach
        .checks
        .iter()
        .filter(|check| check.verdict != Verdict::Verified)
        .map(|check| format!("{}: {}", check.title, check.detail.trim_end_matches('.')))
        .collect();
    let why = if reasons.is_empty() { String::new() } else { format!(" {}.", reasons.join("; ")) };
    let nearest: Vec<_> = reach.nearest.iter().map(ToString::to_string).collect();
    let next = if reach.procedure.is_full() {
        // Of one backup alone: whether another one serves was not asked.
        String::from(
            "Mend what it says; or name another backup, from lifeboat list-backups: \
             lifeboat restore-full --backup-set-id.",
        )
    } else if nearest.is_empty() {
        String::from("No other target can be reached from this repository either.")
    } else {
        format!("Targets that can be reached: {}.", nearest.join("; "))
    };
    Explanation::new(
        Kind::Unreachable,
        format!("The target \"{}\" cannot be reached.{why}", reach.target),
        "Nothing was changed.",
        next,
    )
}

/// Whether a plan can stand for this incident.
///
/// # Errors
/// [`Kind::Internal`]: a plan is made by Lifeboat itself.
pub fn plan(incident: &Incident, plan: &Plan) -> Result<(), Explanation> {
    let wrong = |what: &str| {
        Err(Explanation::new(Kind::Internal, what, "Nothing was changed.", "Make the plan again."))
    };
    // The hash must hold after the journal's writing and reading, or no later runner accepts it.
    let again = serde_json::to_vec(plan).and_then(|json| serde_json::from_slice::<Plan>(&json));
    if !plan.is_sealed() || !again.is_ok_and(|again| again.is_sealed()) {
        return wrong("The plan's hash does not fit its content.");
    }
    if plan.incident != incident.declaration.id || plan.cluster != incident.declaration.cluster {
        return wrong("The plan is for another incident or another cluster.");
    }
    let mut ids: Vec<_> = plan.steps.iter().map(|step| &step.id).collect();
    ids.sort();
    ids.dedup();
    if plan.steps.is_empty() || ids.len() != plan.steps.len() {
        return wrong("The plan has no steps, or two of the same name.");
    }
    Ok(())
}

/// The plan that was confirmed at the gate, where it is still what it was then.
///
/// # Errors
/// A refusal: nothing else than that plan runs.
pub fn confirmed_plan(incident: &Incident) -> Result<&Plan, Explanation> {
    let Some(plan) = &incident.plan else {
        return Err(refusal("There is no plan.", "Make the plan first."));
    };
    if !plan.is_sealed() {
        return Err(refusal(
            "The plan is not what it was when its hash was made.",
            "Make the plan again.",
        ));
    }
    match &incident.gate {
        Some((hash, _)) if *hash == plan.hash => Ok(plan),
        Some(_) => Err(refusal(
            "The plan is not the one that was confirmed at the gate.",
            "Make the plan again and confirm it.",
        )),
        None => Err(refusal("The plan has not been confirmed.", "Pass the gate first.")),
    }
}

/// Whether a step may have changed anything.
#[must_use]
pub fn is_touched(step: &StepState) -> bool {
    !matches!(step.status, StepStatus::Pending | StepStatus::Undone)
}

fn may_still_plan(incident: &Incident, executing: bool) -> Result<(), Explanation> {
    let touched = incident.steps.iter().any(is_touched);
    match incident.status {
        _ if incident.is_salvaging() => Err(refusal(
            "This recovery has finished, and a salvage is under way.",
            "Finish or cancel the salvage; declare a new incident to recover again.",
        )),
        RunStatus::Finished => {
            Err(refusal("This recovery has finished.", "Declare a new incident to recover again."))
        }
        RunStatus::Planning | RunStatus::Ready | RunStatus::Undone if !executing => Ok(()),
        RunStatus::Cancelled if !touched && !executing => Ok(()),
        RunStatus::Cancelled => Err(refusal(
            "The cancelled run has changed the server's directories.",
            "Put it back first (undo), then plan anew.",
        )),
        RunStatus::Failed | RunStatus::Interrupted => Err(refusal(
            "A run of the plan has begun and has not ended.",
            "Retry it, or cancel it and put it back, then plan anew.",
        )),
        _ => Err(refusal("The plan is being carried out.", "Wait for it, or cancel it.")),
    }
}

fn answerable(incident: &Incident, which: Prerequisite, met: bool) -> Result<(), Explanation> {
    match which {
        Prerequisite::BackupIntegrity => Err(refusal(
            "Backup integrity is never answered by a person.",
            "Let Lifeboat verify it: it reads the whole base backup.",
        )),
        Prerequisite::TargetConfirmed if met && incident.reach.is_none() => {
            Err(refusal("No recovery point has been chosen yet.", "Choose one, then confirm it."))
        }
        _ => Ok(()),
    }
}

fn gate(incident: &Incident, plan_hash: &str, cluster: &str) -> Result<(), Explanation> {
    let Some(plan) = &incident.plan else {
        return Err(refusal("There is no plan to confirm.", "Make the plan first."));
    };
    match incident.status {
        RunStatus::Planning => {}
        RunStatus::Ready => return Err(refusal("The gate is already passed.", "Start the run.")),
        RunStatus::Undone => {
            return Err(refusal("This plan was put back.", "Make the plan again."));
        }
        _ => return Err(refusal("The plan's run has already begun.", "")),
    }
    if !plan.is_sealed() {
        return Err(refusal("The plan's hash does not fit its content.", "Make the plan again."));
    }
    if plan.hash != plan_hash {
        return Err(refusal(
            "The plan has changed since it was shown to you.",
            "Read the plan again and confirm that one.",
        ));
    }
    if plan.cluster != cluster {
        return Err(refusal(
            format!("You typed \"{cluster}\", which is not the cluster of this plan."),
            "Type the cluster's name exactly as the plan shows it.",
        ));
    }
    prerequisites(incident)
}

fn start(incident: &Incident, plan_hash: &str) -> Result<(), Explanation> {
    if !matches!(incident.status, RunStatus::Planning | RunStatus::Ready) {
        return Err(refusal("The plan's run has already begun.", "To run again, plan anew."));
    }
    let plan = confirmed_plan(incident)?;
    if plan.hash != plan_hash {
        return Err(refusal(
            "The plan that was confirmed is not the one you asked to start.",
            "Read the plan again.",
        ));
    }
    prerequisites(incident)
}

fn at_target(incident: &Incident, cluster: &str, executing: bool) -> Result<(), Explanation> {
    let plan = confirmed_plan(incident)?;
    let waits = incident.steps.iter().position(|step| step.status == StepStatus::Held);
    let before_promote = waits
        .and_then(|at| incident.steps.get(at + 1))
        .is_some_and(|next| next.id == super::executor::PROMOTE);
    if executing || incident.status != RunStatus::Held || !before_promote {
        return Err(refusal(
            "The server does not wait at a recovery point.",
            "Wait until it does; before the run, choose another point on the recovery point screen.",
        ));
    }
    if plan.cluster != cluster {
        return Err(refusal(
            format!("You typed \"{cluster}\", which is not the cluster of this plan."),
            "Type the cluster's name exactly as the plan shows it.",
        ));
    }
    Ok(())
}

/// Whether a point lies before the one where the server waits: it is restored anew.
#[must_use]
pub fn is_earlier(incident: &Incident, reach: &Reach) -> bool {
    let Some(stands) = incident.stands_at() else { return false };
    let here = incident.reach.as_ref().and_then(|reach| reach.last_kept.as_ref());
    let here = here.map_or(stands, |commit| commit.end_lsn).min(stands);
    // A point that keeps no commit lies at the end of the replay from its base.
    let stop = |base: &BaseSummary| Lsn(base.start_lsn.0.saturating_add(reach.wal_bytes));
    let kept = reach.last_kept.as_ref().map(|commit| commit.end_lsn);
    kept.or_else(|| reach.base.as_ref().map(stop)).is_some_and(|wanted| wanted < here)
}

/// The plan with a later end.
///
/// # Errors
/// A refusal where the point is not later than where the server waits, or the way from here to
/// there is not proven.
pub fn later(incident: &Incident, reach: &Reach) -> Result<Plan, Explanation> {
    let plan = confirmed_plan(incident)?;
    let stands = incident.stands_at();
    let wanted = reach.last_kept.as_ref().map(|commit| commit.end_lsn);
    let (Some(stands), Some(wanted)) = (stands, wanted) else {
        return Err(refusal(
            "It cannot be told whether that point is later than where the server waits.",
            "Promote here, or give this run up and choose the other point from the start.",
        ));
    };
    if wanted <= stands {
        return Err(refusal(
            format!(
                "The point \"{}\" is not later than where the server waits ({stands}): nothing \
                 that was replayed can be taken back.",
                reach.target
            ),
            "It stands there already. Choose a later point, or an earlier one.",
        ));
    }
    let planned = incident.reach.as_ref().map_or(&[][..], |reach| &reach.line);
    if !same_line(planned, &reach.line, stands, plan.target.timeline == reach.target.timeline) {
        return Err(refusal(
            format!(
                "The point \"{}\" lies on another branch of history: the timelines part before \
                 LSN {stands}, where the server waits, and what it replayed there cannot be taken \
                 back.",
                reach.target
            ),
            "Give this run up, put things back and restore again for that point.",
        ));
    }
    let proven = reach
        .base
        .as_ref()
        .is_some_and(|base| base.set == plan.base.set || base.start_lsn <= stands);
    if !proven {
        return Err(refusal(
            format!(
                "The way from here to \"{}\" is not proven: that point is reached from a newer \
                 base backup.",
                reach.target
            ),
            "Give this run up, put things back and restore from the newer base backup.",
        ));
    }
    plan.moved_to(reach).map_err(|error| {
        Explanation::new(Kind::Internal, format!("The plan has no hash: {error}."), "", "")
    })
}

/// Whether two lines of timelines are one up to `at`. Where one is not known, asking for the same
/// timeline has to do.
fn same_line(
    one: &[(TimelineId, Lsn)],
    other: &[(TimelineId, Lsn)],
    at: Lsn,
    asked_alike: bool,
) -> bool {
    if one.is_empty() || other.is_empty() {
        return asked_alike;
    }
    let common = one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let parts = [one.get(common), other.get(common)];
    common > 0 && parts.into_iter().flatten().all(|(_, begins)| *begins >= at)
}

fn prerequisites(incident: &Incident) -> Result<(), Explanation> {
    let open: Vec<_> = incident.open_prerequisites().into_iter().map(Prerequisite::title).collect();
    if open.is_empty() {
        return Ok(());
    }
    Err(refusal(
        format!("Prerequisites are not met: {}.", open.join("; ")),
        "Answer them on the restore screen; integrity is verified by Lifeboat itself.",
    ))
}

fn care(incident: &Incident, item: &str, agreed: &[String]) -> Result<(), Explanation> {
    // It goes on beside a salvage.
    let incident = &*incident.settled();
    let recovered = incident.clocks.serving.is_some()
        && !matches!(incident.status, RunStatus::Undoing | RunStatus::Undone);
    if !recovered {
        return Err(refusal(
            "The recovered database does not serve yet.",
            "The safety list is for after the recovery.",
        ));
    }
    if incident.procedure().is_parts() {
        return Err(refusal(
            "Only parts were brought back: the server went on, and nothing of the safety list is its.",
            "Sign what people have to do.",
        ));
    }
    let proposals = incident.care.get(item).map_or(&[][..], |state| state.proposals());
    aftercare::agreeable(proposals, agreed)
        .map_err(|why| refusal(why, "Look again, then agree to what is proposed then."))
}

fn acknowledge(incident: &Incident, level: &str) -> Result<(), Explanation> {
    match incident.raised.iter().find(|raised| raised.raise.level == level) {
        None => Err(refusal(
            format!("Level \"{level}\" was not called."),
            "lifeboat escalation shows which were.",
        )),
        Some(raised) => match &raised.acknowledged {
            Some(by) => Err(refusal(format!("{} answers for level {level} already.", by.by), "")),
            None => Ok(()),
        },
    }
}

fn prove(incident: &Incident, line: &str) -> Result<(), Explanation> {
    let signed = incident.signed.get(line).is_some_and(|signed| signed.sign.done);
    if signed || incident.waived.contains_key(line) {
        return Err(refusal(
            format!("The line \"{line}\" is settled already."),
            "Reopen it first, with the reason.",
        ));
    }
    if incident.clocks.serving.is_none() {
        return Err(refusal(
            "The recovered database does not serve yet.",
            "The checklist is for after the recovery.",
        ));
    }
    Ok(())
}

fn close(incident: &Incident, summary: &str) -> Result<(), Explanation> {
    if summary.trim().is_empty() {
        return Err(refusal("An incident is not closed without a word.", "Write a summary."));
    }
    if incident.is_salvaging() {
        return Err(refusal("A salvage is under way.", "Finish it, or cancel it, then close."));
    }
    match incident.status {
        RunStatus::Planning
        | RunStatus::Ready
        | RunStatus::Undone
        | RunStatus::Cancelled
        | RunStatus::Finished => Ok(()),
        RunStatus::Failed | RunStatus::Interrupted | RunStatus::Held | RunStatus::Paused => {
            Err(refusal("The recovery has not ended.", "Finish it, or cancel it, then close."))
        }
        RunStatus::Running | RunStatus::Undoing => {
            Err(refusal("Steps are being carried out.", "Wait for them, then close."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_one_up_to_where_they_part() {
        let first = [(1, Lsn(0))];
        let fork = [(1, Lsn(0)), (2, Lsn(100))];
        let other = [(1, Lsn(0)), (3, Lsn(150))];
        let same = |one: &[_], two: &[_], at| same_line(one, two, Lsn(at), false);
        assert!(same(&first, &first, 1000));
        // Along the first timeline up to the fork, the new one is still ahead.
        assert!(same(&first, &fork, 100) && !same(&first, &fork, 101));
        assert!(same(&fork, &first, 99) && !same(&fork, &first, 101));
        assert!(same(&fork, &other, 100) && !same(&fork, &other, 120));
        // The number again, by another recovery.
        assert!(!same(&[(1, Lsn(0)), (2, Lsn(90))], &fork, 95));
        assert!(!same(&[], &fork, 5) && same_line(&[], &fork, Lsn(5), true));
    }
}
