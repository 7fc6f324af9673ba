//! The steps of Option A as the runner runs them, one table of them all. A new step is one type
//! and one line here, one line in [`super::plan::ORDER`] and its words in the runbook data.

mod expect;
mod fill;
mod finish;
mod look;
mod move_aside;
mod prepare;
mod recover;
mod server;
mod site;

use crate::engine::explain::{Explanation, Kind};
use crate::engine::runner::plan::Plan;
use crate::engine::runner::step::Step;
use std::sync::Arc;

pub use site::{Site, io};

/// The plan's steps, in the plan's order.
///
/// # Errors
/// Where the plan names a step that this version does not have.
pub fn of(plan: &Plan, site: &Arc<Site>) -> Result<Vec<Box<dyn Step>>, Explanation> {
    let recovered = Arc::new(site.recovered(plan));
    plan.steps.iter().map(|step| by_id(&step.id, site, &recovered)).collect()
}

/// The first steps deal with the damaged directory, the others with the one recovered into.
fn by_id(
    id: &str,
    damaged: &Arc<Site>,
    recovered: &Arc<Site>,
) -> Result<Box<dyn Step>, Explanation> {
    let is_damaged = matches!(id, "confirm-identity" | "rescue-wal" | "stop-server" | "move-aside");
    let site = Arc::clone(if is_damaged { damaged } else { recovered });
    Ok(match id {
        "confirm-identity" => Box::new(prepare::ConfirmIdentity(site)),
        "rescue-wal" => Box::new(prepare::RescueWal(site)),
        "stop-server" => Box::new(prepare::StopServer(site)),
        "move-aside" => Box::new(move_aside::MoveAside(site)),
        "restore-base" => Box::new(fill::RestoreBase(site)),
        "configure-recovery" => Box::new(fill::ConfigureRecovery(site)),
        "start-recovery" => Box::new(recover::StartRecovery(site)),
        "replay" => Box::new(recover::Replay(site)),
        "inspect" => Box::new(recover::Inspect(site)),
        "promote" => Box::new(finish::Promote(site)),
        "open" => Box::new(finish::Open(site)),
        "validate" => Box::new(finish::Validate(site)),
        _ => {
            return Err(Explanation::new(
                Kind::Refused,
                format!("This version of Lifeboat does not know the step \"{id}\"."),
                "Nothing was touched.",
                "Use the version that made the plan, or make a new plan.",
            ));
        }
    })
}
