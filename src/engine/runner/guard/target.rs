//! The rules of a target: one that cannot be reached is not taken, and from where the server waits it
//! goes on or back, never across to another branch of history.

use super::super::plan::Plan;
use super::{confirmed_plan, refusal};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{BaseSummary, Reach, Verdict};
use crate::engine::incident::model::{RunStatus, StepStatus};
use crate::engine::postgres::Lsn;
use crate::engine::wal::TimelineId;

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

pub(super) fn at_target(
    incident: &Incident,
    cluster: &str,
    executing: bool,
) -> Result<(), Explanation> {
    let plan = confirmed_plan(incident)?;
    let waits = incident.steps.iter().position(|step| step.status == StepStatus::Held);
    let before_promote = waits
        .and_then(|at| incident.steps.get(at + 1))
        .is_some_and(|next| next.id == super::super::executor::PROMOTE);
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
