//! The step that keeps what is left of a data directory which tells nothing of its cluster. Deletes
//! nothing: the rest is renamed whole, and an empty directory is made in its place.

use super::leave;
use super::move_aside::{
    give_up, is_empty, make_empty, own_folder, require_empty, set_restored_spaces_aside,
};
use super::site::{Site, io, now};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::restore::places::live;
use crate::engine::restore::places::moves::rename_whole;
use crate::engine::restore::plan;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// As [`super::move_aside::MoveAside`], where the directory is lost: gone, empty, or without a
/// control file.
#[derive(Debug)]
pub struct MoveLost(pub Arc<Site>);

impl Step for MoveLost {
    fn id(&self) -> &'static str {
        "move-aside"
    }

    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation> {
        let (site, plan) = (&self.0, context.plan());
        if plan.places.left.is_some() && !leave::is_made(plan, context) {
            return Ok(Standing::Partial(String::from(
                "the move to another place is not finished",
            )));
        }
        if plan.places.alternative.is_some() {
            // What is left of the directory stays in its place.
            return Ok(match context.noted("aside") {
                Some(_) => Standing::Done(String::from("the directory to recover into is made")),
                None => Standing::NotStarted,
            });
        }
        let made = site.data().exists();
        if site.is_aside(plan) {
            return Ok(if made {
                Standing::Done(format!("the damaged directory is at {}", plan.aside))
            } else {
                Standing::Partial(String::from("renamed, but the new directory is not made yet"))
            });
        }
        Ok(if site.data().is_dir() && is_empty(site.data())? {
            Standing::Done(String::from("nothing was left, and the new directory is made"))
        } else {
            Standing::NotStarted
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let (site, plan) = (&self.0, context.plan());
        leave::leave(site, context)?;
        let owner = site.owner(plan)?;
        if let Some(new) = &plan.places.alternative {
            site.confirm_place(plan)?;
            site.still_lost(context)?;
            require_empty(new)?;
            make_empty(new, owner)?;
        } else if !site.is_aside(plan) {
            site.confirm_place(plan)?;
            site.still_lost(context)?;
            if site.data().exists() && !is_empty(site.data())? {
                rename_whole(site.data(), Path::new(&plan.aside))?;
            }
        }
        if plan.places.alternative.is_none() {
            make_empty(site.data(), owner)?;
        }
        let kept = if site.is_aside(plan) {
            format!("The damaged directory is kept at {}", plan.aside)
        } else {
            String::from("Nothing was left of the damaged directory")
        };
        context.note("aside", &kept)?;
        leave::note_made(plan, context)?;
        Ok(Outcome::Done)
    }

    fn undo(&self, context: &dyn StepContext) -> Result<String, Explanation> {
        leave::leave(&self.0, context)?;
        put_back(&self.0, context.plan(), context.noted("aside").is_some())
    }
}

/// Sets what was restored aside, and puts what was left of the damaged directory back; `made`: the
/// step has done something. Called again, it goes on.
pub(super) fn put_back(site: &Site, plan: &Plan, made: bool) -> Result<String, Explanation> {
    if let Some(new) = &plan.places.alternative {
        if !made {
            return Ok(String::from("nothing was made"));
        }
        site.stop_recovered(plan)?;
        let own = own_folder(plan, &[new]);
        set_restored_spaces_aside(&plan.places, own.as_deref(), new)?;
        let kept = give_up(new, live::is_mount(new))?;
        return Ok(match kept {
            Some(kept) => format!("what was restored is kept at {}", kept.display()),
            None => String::from("nothing was restored so far"),
        });
    }
    if !site.is_aside(plan) && !made {
        // What came back meanwhile, such as a volume that is mounted again, is not ours.
        return Ok(String::from("the directory was not moved"));
    }
    if site.running()? {
        return Err(Explanation::new(
            Kind::Refused,
            format!("A server runs in {}.", site.data().display()),
            "Nothing was moved.",
            "Stop that server, then put back again.",
        ));
    }
    // By the restored directory's links, while it is in its place.
    let own = own_folder(plan, &[site.data()]);
    set_restored_spaces_aside(&plan.places, own.as_deref(), site.data())?;
    if site.data().exists() {
        if is_empty(site.data())? {
            fs::remove_dir(site.data()).map_err(|e| io(&e, "remove empty", site.data()))?;
        } else {
            let abandoned = plan::beside(site.data(), "abandoned", now());
            rename_whole(site.data(), &abandoned)?;
        }
    }
    if !site.is_aside(plan) {
        return Ok(String::from("nothing was there before"));
    }
    rename_whole(Path::new(&plan.aside), site.data())?;
    Ok(format!("{} is the damaged directory again", site.data().display()))
}
