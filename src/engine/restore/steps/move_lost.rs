//! The step that keeps what is left of a data directory which tells nothing of its cluster. Deletes
//! nothing: the rest is renamed whole, and an empty directory is made in its place.

use super::move_aside::{is_empty, make_empty};
use super::site::{Site, io, now};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::restore::places::moves::rename_whole;
use crate::engine::restore::plan;
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
        let owner = site.owner(plan)?;
        if !site.is_aside(plan) {
            site.confirm_place(plan)?;
            site.still_lost(context)?;
            if site.data().exists() && !is_empty(site.data())? {
                rename_whole(site.data(), Path::new(&plan.aside))?;
            }
        }
        make_empty(site.data(), owner)?;
        let kept = if site.is_aside(plan) {
            format!("The damaged directory is kept at {}", plan.aside)
        } else {
            String::from("Nothing was left of the damaged directory")
        };
        context.note("aside", &kept)?;
        Ok(Outcome::Done)
    }

    fn undo(&self, context: &dyn StepContext) -> Result<String, Explanation> {
        let (site, plan) = (&self.0, context.plan());
        if !site.is_aside(plan) && context.noted("aside").is_none() {
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
}
