//! Option B's steps from the decision on: the old server stopped, its directory kept as `.failed`,
//! the new one in its place. Deletes nothing. Which directory is which is told by the number that
//! the new one got when it was made, so that a kill between two renames is seen for what it is.

use super::beside::{MADE, number, taken};
use super::move_aside::is_empty;
use super::prepare::STOP_LIMIT;
use super::site::Site;
use crate::engine::aftercare;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::control::StopMode;
use crate::engine::restore::places::moves::rename_whole;
use crate::engine::runner::failpoint;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use std::path::Path;
use std::sync::Arc;

/// The note of the moment until which the old server took writes.
const OLD_RAN_UNTIL: &str = crate::engine::incident::facts::OLD_RAN_UNTIL;

/// Where the two directories stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// The old one (or nothing) in its place, the new one beside it.
    Apart,
    /// The old one is set aside, and nothing is in its place yet.
    Between,
    Swapped,
}

/// Judges by the new directory's number alone. `live`, `aside` and `new` are the numbers at the
/// three places.
pub(super) fn judge(
    made: &str,
    live: Option<&str>,
    aside: Option<&str>,
    new: Option<&str>,
) -> Option<Stands> {
    match (live, aside, new) {
        (Some(live), _, None) if live == made => Some(Stands::Swapped),
        (None, Some(_), Some(new)) if new == made => Some(Stands::Between),
        (_, None, Some(new)) if new == made && live != Some(made) => Some(Stands::Apart),
        _ => None,
    }
}

fn stands(old: &Site, new: &Site, context: &dyn StepContext) -> Result<Stands, Explanation> {
    let made = context.noted(MADE).unwrap_or_default();
    let at = |path: &Path| number(path);
    // There nothing is renamed, and what was the old one's stays so.
    if stays(context.plan()) && at(new.data()).is_some_and(|number| number == made) {
        return Ok(Stands::Apart);
    }
    let (live, aside) = (at(old.data()), at(Path::new(&context.plan().aside)));
    let there = at(new.data());
    judge(&made, live.as_deref(), aside.as_deref(), there.as_deref()).ok_or_else(|| {
        Explanation::new(
            Kind::Refused,
            format!(
                "{}, {} and {} are not as this restore left them: somebody moved a directory.",
                old.data().display(),
                context.plan().aside,
                new.data().display()
            ),
            "Nothing was moved.",
            "Find out who did. With the directories as they were, retry the step.",
        )
    })
}

/// Whether the new cluster lives where it was made: on another volume there is no renaming it.
fn stays(plan: &Plan) -> bool {
    plan.places.alternative.is_some()
}

/// Stops the old server.
#[derive(Debug)]
pub struct StopOld {
    pub old: Arc<Site>,
    pub new: Arc<Site>,
}

impl Step for StopOld {
    fn id(&self) -> &'static str {
        "stop-old"
    }

    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation> {
        if stands(&self.old, &self.new, context)? != Stands::Apart {
            return Ok(Standing::Done(String::from("the old directory is set aside already")));
        }
        Ok(if self.old.running()? {
            Standing::NotStarted
        } else {
            Standing::Done(String::from("the old server is down"))
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let (old, plan) = (&self.old, context.plan());
        if matches!(self.probe(context)?, Standing::NotStarted) {
            confirm_old(old, plan, context)?;
            // The new one is proven to be this cluster's before the old one ends.
            self.new.confirm(plan, self.new.data())?;
            aftercare::note_standbys(context, &old.cluster.connection)?;
            old.driver()?.stop(StopMode::Fast, STOP_LIMIT).map_err(|e| e.explanation())?;
            // What it took until now is not in the new one: the report counts to here.
            context.note(OLD_RAN_UNTIL, &super::site::now().to_string())?;
        }
        context.note("stopped", "The old server is stopped; no write arrives any more")?;
        Ok(Outcome::Done)
    }

    fn undo(&self, context: &dyn StepContext) -> Result<String, Explanation> {
        let old = &self.old;
        if context.plan().lost {
            return Ok(String::from("there was no old server"));
        }
        if old.running()? {
            return Ok(String::from("the old server runs"));
        }
        // Whoever had stopped it before had a reason: damage may go on once it runs.
        if context.noted(OLD_RAN_UNTIL).is_none() {
            return Ok(String::from("the old server was down before, and stays down"));
        }
        old.confirm(context.plan(), old.data())?;
        old.start_open()?;
        Ok(String::from("the old server was started again"))
    }
}

fn confirm_old(old: &Site, plan: &Plan, context: &dyn StepContext) -> Result<(), Explanation> {
    if plan.lost {
        old.confirm_place(plan)?;
        return old.still_lost(context).map(drop);
    }
    old.confirm(plan, old.data())
}

/// Renames the old directory aside and the new one into its place.
#[derive(Debug)]
pub struct Swap {
    pub old: Arc<Site>,
    pub new: Arc<Site>,
}

impl Step for Swap {
    fn id(&self) -> &'static str {
        "swap"
    }

    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(match stands(&self.old, &self.new, context)? {
            Stands::Apart => Standing::NotStarted,
            Stands::Between => Standing::Partial(String::from(
                "the old directory is set aside, the new one is not in its place yet",
            )),
            Stands::Swapped => {
                Standing::Done(format!("{} is the new cluster", self.old.data().display()))
            }
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let (old, new, plan) = (&self.old, &self.new, context.plan());
        let aside = Path::new(&plan.aside);
        let standing = stands(old, new, context)?;
        if standing == Stands::Apart {
            confirm_old(old, plan, context)?;
            new.confirm(plan, new.data())?;
            let own = new.timeline()?;
            if new.timelines()?.last().is_some_and(|newest| *newest >= own) {
                return Err(taken(own));
            }
            if !old.stays_down()? {
                return Err(Explanation::new(
                    Kind::Refused,
                    format!("The server on {} runs again, or is about to.", old.data().display()),
                    "Nothing was moved.",
                    "Keep whatever restarts it (systemd, a watchdog) from doing so, then retry.",
                ));
            }
            self.close_new()?;
            if stays(plan) {
                let (new, old) = (new.data().display(), old.data().display());
                let text = format!("The cluster is in {new} now; the old directory stays at {old}");
                context.note("aside", &text)?;
                return Ok(Outcome::Done);
            }
            if old.data().exists() {
                // An empty folder is nothing to keep, and no reason for another name.
                if plan.lost && is_empty(old.data())? {
                    std::fs::remove_dir(old.data())
                        .map_err(|e| super::site::io(&e, "remove empty", old.data()))?;
                } else {
                    rename_whole(old.data(), aside)?;
                }
            }
            failpoint::hit("swap.between");
        }
        if standing != Stands::Swapped {
            new.confirm(plan, new.data())?;
            self.close_new()?;
            rename_whole(new.data(), old.data())?;
        }
        if aside.exists() {
            context.note("aside", &format!("The old directory is kept at {}", plan.aside))?;
        } else {
            context.note("aside", "Nothing was left of the old directory")?;
        }
        Ok(Outcome::Done)
    }

    fn undo(&self, context: &dyn StepContext) -> Result<String, Explanation> {
        let (old, new, plan) = (&self.old, &self.new, context.plan());
        let aside = Path::new(&plan.aside);
        match stands(old, new, context)? {
            Stands::Apart => return Ok(String::from("the directories were not swapped")),
            Stands::Swapped => {
                if old.running()? {
                    return Err(Explanation::new(
                        Kind::Refused,
                        "The new cluster runs in the old one's place.",
                        "Nothing was moved.",
                        "Stop it first; what was written to it stays in its directory.",
                    ));
                }
                rename_whole(old.data(), new.data())?;
            }
            Stands::Between => {}
        }
        if aside.exists() {
            rename_whole(aside, old.data())?;
        }
        Ok(format!("{} is what it was, the new cluster is beside it", old.data().display()))
    }
}

impl Swap {
    /// The new server is down, and what it needed beside its directory is gone.
    fn close_new(&self) -> Result<(), Explanation> {
        let new = &self.new;
        if new.running()? {
            new.driver()?.stop(StopMode::Fast, STOP_LIMIT).map_err(|e| e.explanation())?;
        }
        new.clear_spool();
        new.clear_closed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_is_known_by_the_new_directorys_number_at_every_moment() {
        let (old, new) = (Some("1:10"), Some("1:20"));
        assert_eq!(judge("1:20", old, None, new), Some(Stands::Apart));
        assert_eq!(judge("1:20", None, old, new), Some(Stands::Between));
        assert_eq!(judge("1:20", new, old, None), Some(Stands::Swapped));
        // Where the old directory is lost.
        assert_eq!(judge("1:20", None, None, new), Some(Stands::Apart));
        assert_eq!(judge("1:20", new, None, None), Some(Stands::Swapped));
        // Somebody else's hand: nothing is guessed.
        assert_eq!(judge("1:20", old, None, Some("1:30")), None);
        assert_eq!(judge("1:20", old, old, None), None);
        assert_eq!(judge("1:20", None, None, None), None);
        assert_eq!(judge("", old, None, None), None);
    }
}
