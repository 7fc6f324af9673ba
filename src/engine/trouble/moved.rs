//! The cures that give the recovery another end, backup or place: the confirmed plan with it. Nothing is
//! done here; the plan's own steps do it, once the journal has it.

use super::carry_out::{done, permitted, unfit};
use super::machine::Machine;
use super::{Ground, World};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{Procedure, Reach, Target, TargetPoint, Verdict};
use crate::engine::incident::past::Cost;
use crate::engine::incident::trouble::{Adjustments, Cure, NAMED_PLACE};
use crate::engine::recovery_point::Landscape;
use crate::engine::restore::full;
use crate::engine::restore::other_place;
use crate::engine::restore::steps::Site;
use crate::engine::runner::guard;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::work::Cured;
use std::path::Path;

/// The plan with its end at the last transaction before a break in the log.
///
/// # Errors
/// Where no transaction before it can be reached.
pub fn stop_at_gap(
    machine: &Machine<'_>,
    landscape: &Landscape,
    cure: &Cure,
) -> Result<Cured, Explanation> {
    let (site, plan) = (machine.site(), machine.plan());
    site.confirm_place(plan)?;
    permitted(machine, cure)?;
    let asked = reach(landscape, &plan.target)?;
    // A file that is there and damaged was read in an earlier look: it is left out by its place.
    let broken = cure.with.first().and_then(|name| machine.starts(name)).filter(|at| {
        let before_end = plan.replay_until.is_some_and(|end| *at < end);
        before_end && cure.with.first().is_some_and(|n| machine.whereabouts(n).found.is_empty())
    });
    if good(&asked) && broken.is_none() {
        told_once_more(machine)?;
        return Ok(done(
            "Nothing is missing: the point is proven anew, and the server is told it once more",
        ));
    }
    let wanted = plan.replay_until;
    let timeline = plan.target.timeline;
    let before = |at| Target { point: TargetPoint::Lsn(at), inclusive: false, timeline };
    let whole = broken.filter(|_| good(&asked)).map(|at| reach(landscape, &before(at)));
    let whole = whole.and_then(Result::ok).filter(good);
    let fits = |reach: &Reach| {
        let kept = reach.last_kept.as_ref().map(|commit| commit.end_lsn);
        kept <= broken.or(wanted) || (broken.is_none() && wanted.is_none())
    };
    let best = whole
        .or_else(|| nearest(landscape, &asked, fits))
        .ok_or_else(|| guard::unreachable(&asked))?;
    let target = Target {
        point: TargetPoint::EndOfArchive,
        inclusive: true,
        timeline: plan.target.timeline,
    };
    let reach = of_plan(Reach { target, ..best }, plan);
    let mut moved = plan.moved_to(&reach).map_err(no_hash)?;
    moved.ends_at = moved.replay_until;
    let moved = moved.seal().map_err(no_hash)?;
    let lost =
        reach.lost_commits.map_or_else(String::new, |n| format!("; {n} after it are not in it"));
    let at =
        reach.last_kept.as_ref().map_or_else(String::new, |c| format!(" of {:.0} (UTC)", c.at));
    let text = format!("The recovery ends at the last transaction before the gap{at}{lost}");
    Ok(Cured { moved: Some((reach, moved)), ..done(text) })
}

/// The plan with the same point from another base backup than any that this run has begun with. What
/// was restored is set aside.
///
/// # Errors
/// Where none is left, or none of the others reaches the point.
pub fn other_base(
    machine: &Machine<'_>,
    landscape: Landscape,
    cure: &Cure,
) -> Result<Cured, Explanation> {
    let (site, plan) = (machine.site(), machine.plan());
    site.confirm_place(plan)?;
    permitted(machine, cure)?;
    let failed = given_up(&site.adjusted, plan);
    let landscape = failed.iter().fold(landscape, |known, set| known.without(set));
    let proven = match plan.procedure {
        Procedure::FullRestore { .. } => {
            full::from_another(site, plan, &failed, &|target| reach(&landscape, target))?
        }
        _ if landscape.survey().bases.is_empty() => return Err(full::none_left(&failed)),
        _ => of_plan(reach(&landscape, &plan.target)?, plan),
    };
    let base = proven.base.clone().filter(|_| good(&proven));
    let Some(base) = base else { return Err(guard::unreachable(&proven)) };
    if site.recovered(plan).running()? {
        return Err(unfit("The recovering server still runs."));
    }
    let mut moved = plan.moved_to(&proven).map_err(no_hash)?;
    moved.base = base;
    let moved = moved.seal().map_err(no_hash)?;
    let text = site.begin_anew(plan)?;
    let text = format!("The copy begins again from {}; {text}", moved.base.set);
    // The next one to be given up must not lead back here.
    let adjusted = Adjustments { without_bases: failed, ..Adjustments::default() };
    Ok(Cured { adjusted, moved: Some((proven, moved)), ..done(text) })
}

/// The base backups that failed in this run, the plan's last.
pub(super) fn given_up(adjusted: &Adjustments, plan: &Plan) -> Vec<String> {
    let own = &plan.base.set;
    let earlier = adjusted.without_bases.iter().filter(|set| *set != own);
    earlier.chain([own]).cloned().collect()
}

/// The plan with the nearest later point, or with the same one on the base backup's own timeline.
///
/// # Errors
/// Where there is none.
pub fn other_point(
    machine: &Machine<'_>,
    landscape: &Landscape,
    cure: &Cure,
) -> Result<Cured, Explanation> {
    let (site, plan) = (machine.site(), machine.plan());
    site.confirm_place(plan)?;
    permitted(machine, cure)?;
    let own = cure.with.first().is_some_and(|with| with == "own-timeline");
    let timeline = if own { Some(plan.base.timeline) } else { plan.target.timeline };
    let target = Target { timeline, ..plan.target.clone() };
    let asked = reach(landscape, &target)?;
    if good(&asked) && asked.target == plan.target {
        // The plan's own point holds: the server was told another.
        told_once_more(machine)?;
        return Ok(done(
            "The plan's own point is proven anew, and the server is told it once more",
        ));
    }
    let is_base = |reach: &Reach| reach.base.as_ref().is_some_and(|base| base.set == plan.base.set);
    let reach = if own && good(&asked) && is_base(&asked) {
        asked
    } else {
        let end = plan.base.stop_lsn;
        nearest(landscape, &asked, |reach| {
            is_base(reach) && reach.last_kept.as_ref().is_some_and(|c| c.end_lsn >= end)
        })
        .ok_or_else(|| guard::unreachable(&asked))?
    };
    let reach = of_plan(reach, plan);
    let text = format!("The recovery goes on to {}", reach.target);
    let moved = plan.moved_to(&reach).map_err(no_hash)?;
    Ok(Cured { moved: Some((reach, moved)), ..done(text) })
}

/// The plan with another place, in which the copy begins again. Nothing is done here: the plan's own
/// steps do it, once the journal has it.
///
/// # Errors
/// Where the place is none any more, or the recovering server still runs.
pub fn other_place(
    machine: &Machine<'_>,
    configured: &Site,
    reach: &Reach,
    cure: &Cure,
) -> Result<Cured, Explanation> {
    let (site, plan) = (machine.site(), machine.plan());
    site.confirm_place(plan)?;
    permitted(machine, cure)?;
    let place =
        cure.with.first().map(Path::new).ok_or_else(|| unfit("The cure names no place."))?;
    let place = match cure.id.as_str() {
        NAMED_PLACE => machine.place_in(place),
        _ => place.to_owned(),
    };
    let place = place.as_path();
    machine.as_other_place(place)?;
    let now = jiff::Timestamp::now();
    let ground = other_place::Ground { site: configured, plan, reach, place, now };
    let moved = other_place::make(&ground)?;
    Ok(Cured {
        moved: Some(moved),
        ..done(format!("The copy begins again in {}", place.display()))
    })
}

/// The plan's own settings, written anew. The copy of parts gets them at each start.
fn told_once_more(machine: &Machine<'_>) -> Result<(), Explanation> {
    match machine.ground() {
        Ground::Copy => Ok(()),
        _ => machine.site().configure_anew(machine.plan()),
    }
}

/// A point that was proven, by the procedure of the plan that goes on to it.
fn of_plan(reach: Reach, plan: &Plan) -> Reach {
    let reach = Reach { procedure: plan.procedure.clone(), ..reach };
    if !plan.procedure.is_parts() {
        return reach;
    }
    // Production goes on: nothing that was committed is given up.
    let cost = Cost { tables: Some(Vec::new()), more_tables: 0, ..reach.cost };
    Reach { lost_commits: Some(0), lost_seconds: Some(0.0), first_lost: None, cost, ..reach }
}

fn reach(landscape: &Landscape, target: &Target) -> Result<Reach, Explanation> {
    landscape.reach(target, &|_| {}, &|| false).map_err(|e| e.explanation())
}

/// The room for the copy is no question any more.
fn good(reach: &Reach) -> bool {
    reach.base.is_some()
        && reach.checks.iter().all(|c| c.verdict == Verdict::Verified || c.id.starts_with("space"))
}

/// Of the nearest points that can be reached, the latest that fits.
fn nearest(landscape: &Landscape, asked: &Reach, fits: impl Fn(&Reach) -> bool) -> Option<Reach> {
    let all = asked.nearest.iter().filter_map(|target| reach(landscape, target).ok());
    let fit = all.filter(|reach| good(reach) && fits(reach));
    fit.max_by_key(|reach| reach.last_kept.as_ref().map(|commit| commit.end_lsn))
}

fn no_hash(error: serde_json::Error) -> Explanation {
    Explanation::new(Kind::Internal, format!("The plan has no hash: {error}."), "", "")
}
