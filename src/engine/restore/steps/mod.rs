//! The steps of Option A and Option B as the runner runs them, one table of them all. A new step is
//! one type and one line here, one line in [`super::plan::ORDER`] or [`super::full_plan::ORDER`],
//! and its words in the runbook data. Most steps are both options' own: those of Option B stand on
//! the ground of the new cluster until it is swapped in.

mod answered;
pub mod beside;
mod expect;
mod fill;
mod finish;
mod leave;
mod look;
mod move_aside;
mod move_lost;
mod prepare;
mod recover;
mod server;
mod site;
mod step_back;
mod swap;

use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::facts::Procedure;
use crate::engine::restore::step_back::STEP;
use crate::engine::runner::plan::{Plan, PlanStep};
use crate::engine::runner::step::Step;
use std::path::Path;
use std::sync::Arc;

pub use finish::{ERASED, PREPARED_KEPT};
pub use prepare::rehearse_fetch;
pub use server::raised_to;
pub use site::{Beside, Site, io, resolved};

/// The note that this cluster has an erasure list: from then on the checklist has a line for it.
pub const ERASURE_LIST: &str = "erasure_list";

/// The plan's steps, in the plan's order.
///
/// # Errors
/// Where the plan names a step that this version does not have.
pub fn of(plan: &Plan, site: &Arc<Site>) -> Result<Vec<Box<dyn Step>>, Explanation> {
    match &plan.procedure {
        Procedure::PointInTime => {
            let recovered = Arc::new(site.recovered(plan));
            let by = |step: &PlanStep| -> Result<Box<dyn Step>, Explanation> {
                match (step.id.as_str(), plan.lost) {
                    ("move-aside", true) => Ok(Box::new(move_lost::MoveLost(Arc::clone(site)))),
                    (id, _) => by_id(id, site, &recovered),
                }
            };
            plan.steps.iter().map(by).collect()
        }
        Procedure::FullRestore { destination, port } => {
            let new = Arc::new(site.beside(Path::new(destination), *port));
            let last = Arc::new(site.recovered(plan));
            plan.steps.iter().map(|step| of_full(&step.id, site, &new, &last)).collect()
        }
        // Theirs are elsewhere: `engine/parts/run`.
        Procedure::Parts { .. } => Err(unknown(plan.steps.first().map_or("", |step| &step.id))),
    }
}

/// `last` is where the new cluster lives in the end.
fn of_full(
    id: &str,
    old: &Arc<Site>,
    new: &Arc<Site>,
    last: &Arc<Site>,
) -> Result<Box<dyn Step>, Explanation> {
    let (live, beside) = (Arc::clone(old), Arc::clone(new));
    Ok(match id {
        "prepare-beside" => Box::new(beside::PrepareBeside(beside)),
        "restore-base" | "configure-recovery" | "start-recovery" | "replay" => {
            return by_id(id, new, new);
        }
        "promote-beside" => Box::new(beside::PromoteBeside(beside)),
        "decide-swap" => Box::new(beside::DecideSwap(beside)),
        "stop-old" => Box::new(swap::StopOld { old: live, new: beside }),
        "swap" => Box::new(swap::Swap { old: live, new: beside }),
        _ => return by_id(id, old, last),
    })
}

/// The first steps deal with the damaged directory, the others with the one recovered into.
#[must_use]
pub fn is_of_damaged(id: &str) -> bool {
    matches!(id, "confirm-identity" | "rescue-wal" | "stop-server" | "move-aside")
}

/// The steps of a full restore that work in the new cluster's directory, beside the old one.
#[must_use]
pub fn is_of_new(id: &str) -> bool {
    matches!(
        id,
        "prepare-beside"
            | "restore-base"
            | "configure-recovery"
            | "start-recovery"
            | "replay"
            | "promote-beside"
            | "decide-swap"
    )
}

fn by_id(
    id: &str,
    damaged: &Arc<Site>,
    recovered: &Arc<Site>,
) -> Result<Box<dyn Step>, Explanation> {
    let site = Arc::clone(if is_of_damaged(id) { damaged } else { recovered });
    Ok(match id {
        "confirm-identity" => Box::new(prepare::ConfirmIdentity(site)),
        "rescue-wal" => Box::new(prepare::RescueWal(site)),
        "stop-server" => Box::new(prepare::StopServer(site)),
        "move-aside" => Box::new(move_aside::MoveAside(site)),
        STEP => Box::new(step_back::StepBack(site)),
        "restore-base" => Box::new(fill::RestoreBase(site)),
        "configure-recovery" => Box::new(fill::ConfigureRecovery(site)),
        "start-recovery" => Box::new(recover::StartRecovery(site)),
        "replay" => Box::new(recover::Replay(site)),
        "inspect" => Box::new(recover::Inspect(site)),
        "promote" => Box::new(finish::Promote(site)),
        "open" => Box::new(finish::Open(site)),
        "validate" => Box::new(finish::Validate(site)),
        _ => return Err(unknown(id)),
    })
}

fn unknown(id: &str) -> Explanation {
    Explanation::new(
        Kind::Refused,
        format!("This version of Lifeboat does not know the step \"{id}\"."),
        "Nothing was touched.",
        "Use the version that made the plan, or make a new plan.",
    )
}
