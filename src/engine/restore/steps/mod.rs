//! The steps of Option A as the runner runs them, one table of them all. A new step is one type
//! and one line here, one line in [`super::plan::ORDER`] and its words in the runbook data.

mod expect;
mod fill;
mod finish;
mod look;
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
    plan.steps.iter().map(|step| by_id(&step.id, site)).collect()
}

fn by_id(id: &str, site: &Arc<Site>) -> Result<Box<dyn Step>, Explanation> {
    let site = Arc::clone(site);
    Ok(match id {
        "confirm-identity" => Box::new(prepare::ConfirmIdentity(site)),
        "rescue-wal" => Box::new(prepare::RescueWal(site)),
        "stop-server" => Box::new(prepare::StopServer(site)),
        "move-aside" => Box::new(prepare::MoveAside(site)),
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
