//! The step from a recovery point back to an earlier one: the recovering server is stopped and its
//! directory set aside, so that the copy that follows finds the place empty. Deletes nothing, and
//! touches nothing of the damaged cluster.

use super::move_aside::make_empty;
use super::site::Site;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::control::StopMode;
use crate::engine::postgres::control_file::{self, ClusterState};
use crate::engine::restore::places::moves::{self, Contents};
use crate::engine::restore::step_back::STEP;
use crate::engine::runner::failpoint;
use crate::engine::runner::plan::{Plan, Stood};
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use std::sync::Arc;

/// Sets aside what stands at the later point.
#[derive(Debug)]
pub struct StepBack(pub Arc<Site>);

impl Step for StepBack {
    fn id(&self) -> &'static str {
        STEP
    }

    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation> {
        let stood = stood(context.plan())?;
        let partial = |text: &str| Ok(Standing::Partial(String::from(text)));
        match (moved(stood), stood.from.exists()) {
            (Contents::There, _) => return Ok(Standing::NotStarted),
            (Contents::Kept, true) => {}
            (Contents::Kept, false) => return partial("set aside; the new directory is not made"),
            _ => {
                return partial(
                    "a part of the directory's content is set aside, the rest is there",
                );
            }
        }
        if stood.spaces.iter().any(|space| space.folder.exists() && !space.kept.exists()) {
            return partial("the directory is set aside; folders of tablespaces are not yet");
        }
        Ok(Standing::Done(format!("what stood here is at {}", stood.kept.display())))
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let (site, plan) = (&self.0, context.plan());
        let stood = stood(plan)?;
        site.confirm_place(plan)?;
        let owner = site.owner(plan)?;
        if moved(stood) == Contents::There {
            self.require_recovering(plan, stood)?;
            if site.running()? {
                site.driver()?
                    .stop(StopMode::Fast, super::prepare::STOP_LIMIT)
                    .map_err(|e| e.explanation())?;
            }
            // Once more, now that nobody can promote it any more.
            self.require_recovering(plan, stood)?;
        }
        failpoint::hit("move.one");
        if stood.contents {
            moves::keep_contents(&stood.from, &stood.kept)?;
        } else {
            if moved(stood) == Contents::There {
                moves::rename_whole(&stood.from, &stood.kept)?;
            }
            failpoint::hit("move.one");
            make_empty(&stood.from, owner)?;
        }
        // While there is no data directory that leads to them.
        stood.spaces.iter().try_for_each(moves::keep_space)?;
        let text = format!("What stood at the later point is kept at {}", stood.kept.display());
        context.note("stood_aside", &text)?;
        Ok(Outcome::Done)
    }

    fn undo(&self, context: &dyn StepContext) -> Result<String, Explanation> {
        let stood = stood(context.plan())?;
        if moved(stood) == Contents::There {
            self.0.stop_recovered(context.plan())?;
            return Ok(String::from("what stood at the later point was not moved"));
        }
        // Cut off between two of them, the rest would be in the way of what is put back.
        stood.spaces.iter().try_for_each(moves::keep_space)?;
        Ok(format!("what stood at the later point stays at {}", stood.kept.display()))
    }
}

impl StepBack {
    /// Only a recovery of this plan's cluster is set aside, never a database that was opened.
    fn require_recovering(&self, plan: &Plan, stood: &Stood) -> Result<(), Explanation> {
        self.0.confirm(plan, &stood.from)?;
        let control = control_file::read(&stood.from).map_err(|e| e.explanation())?;
        let recovering = matches!(
            control.state,
            ClusterState::InArchiveRecovery | ClusterState::ShutDownInRecovery
        );
        if recovering && self.0.is_told_to_recover() {
            return Ok(());
        }
        Err(Explanation::new(
            Kind::Refused,
            format!("{} holds no database in recovery any more.", stood.from.display()),
            "It was not moved, and the damaged directory is kept where it is.",
            "Look who opened it. Cancel this run; what was written there since is in it.",
        ))
    }
}

fn stood(plan: &Plan) -> Result<&Stood, Explanation> {
    plan.places.stood.as_ref().ok_or_else(|| {
        let what = "The plan does not say what is set aside for the earlier point.";
        Explanation::new(Kind::Internal, what, "Nothing was moved.", "Make the plan anew.")
    })
}

/// How far the directory has left.
fn moved(stood: &Stood) -> Contents {
    match (stood.contents, stood.kept.exists()) {
        (true, _) => moves::standing(&stood.kept),
        (false, true) => Contents::Kept,
        (false, false) => Contents::There,
    }
}
