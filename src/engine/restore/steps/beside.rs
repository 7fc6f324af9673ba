//! Option B's own steps up to the commander's decision: the new directory beside the old one, its
//! promotion on a timeline of its own, the checks against it. The old cluster is only read.

use super::move_aside::{is_empty, make_empty};
use super::prepare::{STOP_LIMIT, rehearse_fetch};
use super::site::{Site, io};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{ServerRole, Verdict};
use crate::engine::postgres::connect::{self, ConnectOptions};
use crate::engine::postgres::control::{self, ControlError, StopMode};
use crate::engine::postgres::recovery_settings::write_owned;
use crate::engine::restore::full;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use crate::engine::wal::{TimelineId, WalFile};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long the end of recovery may take before the wait counts as failed.
const PROMOTE_LIMIT: Duration = Duration::from_secs(300);
/// The note of which directory this restore made: its volume and its number there, which stay
/// with it wherever it is renamed to.
pub const MADE: &str = "new_directory";

/// A directory's volume and number on it; `None` where it is not there.
#[must_use]
pub fn number(directory: &Path) -> Option<String> {
    fs::symlink_metadata(directory).ok().map(|found| format!("{}:{}", found.dev(), found.ino()))
}

/// Makes the new directory, and proves what would otherwise fail after the copy.
#[derive(Debug)]
pub struct PrepareBeside(pub Arc<Site>);

impl Step for PrepareBeside {
    fn id(&self) -> &'static str {
        "prepare-beside"
    }

    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation> {
        let made = context.noted(MADE);
        Ok(if made.is_some() && made == number(self.0.data()) {
            Standing::Done(format!("{} is made", self.0.data().display()))
        } else {
            Standing::NotStarted
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let (site, plan) = (&self.0, context.plan());
        site.confirm_place(plan)?;
        if plan.lost {
            let why = site.still_lost(context)?;
            context.note(
                "identity",
                &format!(
                    "The data directory tells nothing ({why}); by the backup's word this is system \
                     identifier {}",
                    plan.identity.system_identifier
                ),
            )?;
        } else {
            site.confirm(plan, site.live())?;
            if plan.identity.role == ServerRole::Standby {
                return Err(Explanation::new(
                    Kind::Refused,
                    format!("{} is a standby, not the primary.", site.live().display()),
                    "Nothing was touched.",
                    "Recover the primary, or promote this server first if the primary is lost.",
                ));
            }
        }
        self.leave(plan)?;
        match plan.places.alternative {
            // It is not renamed into the old one's place.
            Some(_) => full::may_fill(site, site.data(), &plan.base.set)?,
            None => full::may_take(site, site.data(), &plan.base.set)?,
        }
        full::still_writes_nowhere_else(site, plan)?;
        rehearse_fetch(site, plan)?;
        let owner = site.server_owner()?;
        make_empty(site.data(), (owner.uid, owner.gid))?;
        let made = number(site.data()).unwrap_or_default();
        context.note(MADE, &made)?;
        Ok(Outcome::Done)
    }

    fn undo(&self, _: &dyn StepContext) -> Result<String, Explanation> {
        let new = self.0.data();
        if new.is_dir() && is_empty(new)? {
            fs::remove_dir(new).map_err(|e| io(&e, "remove empty", new))?;
            return Ok(format!("{} was empty and is gone", new.display()));
        }
        Ok(format!(
            "{0} stays until it is discarded by its name: lifeboat restore-full --discard --target \
             {0}",
            new.display()
        ))
    }
}

impl PrepareBeside {
    /// The place that the plan has left: its server is stopped. What is in it stays, until somebody
    /// discards it by its name.
    fn leave(&self, plan: &Plan) -> Result<(), Explanation> {
        let Some(left) = &plan.places.left else { return Ok(()) };
        let Some(beside) = &self.0.beside else { return Ok(()) };
        if left.number.is_none() || left.number != number(&left.from) {
            return Ok(());
        }
        let first = self.0.beside(&left.from, beside.port);
        if first.running()? {
            first.driver()?.stop(StopMode::Fast, STOP_LIMIT).map_err(|e| e.explanation())?;
        }
        first.clear_spool();
        // Of one that never had a server there is none.
        let _ = first.clear_closed();
        Ok(())
    }
}

/// Where what was restored was set aside, to begin again from another backup, the directory that is
/// filled now is another one than was noted. Only an empty one is taken for this restore's own.
pub(super) fn note_made_anew(site: &Site, context: &dyn StepContext) -> Result<(), Explanation> {
    if !site.data().exists() {
        let owner = site.server_owner()?;
        make_empty(site.data(), (owner.uid, owner.gid))?;
    }
    let now = number(site.data()).unwrap_or_default();
    if context.noted(MADE).is_some_and(|noted| noted != now) && is_empty(site.data())? {
        context.note(MADE, &now)?;
    }
    Ok(())
}

impl Site {
    /// Why the data directory still tells nothing of the cluster.
    ///
    /// # Errors
    /// Where it does, or a server answers all the same.
    pub(super) fn still_lost(&self, context: &dyn StepContext) -> Result<String, Explanation> {
        let Some(why) = self.lost()? else {
            return Err(super::site::other(format!(
                "The plan was made for a lost data directory, and {} holds a cluster.",
                self.live().display()
            )));
        };
        let options = ConnectOptions::default().connect_limit(Duration::from_secs(5));
        let asked = connect::connect(&self.cluster.connection, &options);
        if self.beside.is_none() && context.runtime().block_on(asked).is_ok() {
            return Err(Explanation::new(
                Kind::Refused,
                format!(
                    "The data directory is lost ({why}), and yet a server answers in its place."
                ),
                "Nothing was touched.",
                "Find out which server that is and stop it, then retry the step.",
            ));
        }
        Ok(why)
    }

    /// Every timeline that a repository of the cluster knows.
    pub(super) fn timelines(&self) -> Result<BTreeSet<TimelineId>, Explanation> {
        let mut known = BTreeSet::new();
        // One that cannot be asked may know a timeline that must not be used again.
        for archive in self.archives() {
            known.extend(archive?.timelines().map_err(|e| e.explanation())?);
        }
        Ok(known)
    }
}

/// The histories that stand between `from` and the newest known one and are not known themselves:
/// a server looks for the first number that is free, and would stop at a hole.
#[must_use]
pub(super) fn holes(from: TimelineId, known: &BTreeSet<TimelineId>) -> Vec<TimelineId> {
    let newest = known.last().copied().unwrap_or(from);
    (from.saturating_add(1)..=newest).filter(|number| !known.contains(number)).collect()
}

/// Ends the new cluster's recovery, on a timeline above all that the archives know.
#[derive(Debug)]
pub struct PromoteBeside(pub Arc<Site>);

impl Step for PromoteBeside {
    fn id(&self) -> &'static str {
        "promote-beside"
    }

    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(if self.0.is_promoted(context.plan(), context.runtime())? {
            Standing::Done(String::from("the new cluster has left recovery"))
        } else {
            Standing::Partial(String::from("the new cluster has not been promoted"))
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let (site, plan) = (&self.0, context.plan());
        site.confirm(plan, site.data())?;
        let known = site.timelines()?;
        if !site.is_promoted(plan, context.runtime())? {
            site.reach_target(context)?;
            // A number is seen as taken by its history file; the archive may hold a timeline's
            // segments and not its history.
            let from = site.timeline()?;
            for number in holes(from, &known).into_iter().chain(site.without_history(&known, from))
            {
                write_owned(&site.stand_in(number), STAND_IN, &site.data_owner()?)
                    .map_err(|e| e.explanation())?;
            }
            site.driver()?.promote(PROMOTE_LIMIT).map_err(|error| site.with_log(&error))?;
        }
        for number in known.iter().copied().chain(holes(0, &known)) {
            let path = site.stand_in(number);
            if fs::read(&path).is_ok_and(|content| content == STAND_IN) {
                fs::remove_file(&path).map_err(|e| io(&e, "remove", &path))?;
            }
        }
        let timeline = site.timeline()?;
        if known.last().is_some_and(|newest| *newest >= timeline) {
            return Err(taken(timeline));
        }
        context.note(
            "new_timeline",
            &format!("The new cluster has left recovery, on timeline {timeline}"),
        )?;
        Ok(Outcome::Done)
    }

    fn undo(&self, _: &dyn StepContext) -> Result<String, Explanation> {
        Ok(String::from("the new cluster was never in the old one's place"))
    }
}

const STAND_IN: &[u8] = b"# This number is taken in the archive.\n";

/// A timeline that another recovery took.
pub(super) fn taken(timeline: TimelineId) -> Explanation {
    Explanation::new(
        Kind::Refused,
        format!(
            "The archive knows timeline {timeline} or a later one already: another recovery took it."
        ),
        "The old cluster is untouched.",
        "Discard the new cluster and restore it again: it takes a later timeline then.",
    )
}

impl Site {
    /// A failure with what the new server itself said: its log is not the configured one.
    fn with_log(&self, error: &ControlError) -> Explanation {
        let said = control::last_lines(&self.recovery_log(), 0, control::LOG_LINES).join("\n  ");
        let what = error.to_string();
        let what = what.lines().next().unwrap_or_default();
        Explanation::new(
            Kind::Server,
            format!(
                "{what} The last lines of its log {}:\n  {said}",
                self.recovery_log().display()
            ),
            "The old cluster is untouched.",
            "The last FATAL line says why. Retry the step once that is mended.",
        )
    }

    fn stand_in(&self, timeline: TimelineId) -> PathBuf {
        self.data().join("pg_wal").join(WalFile::History { timeline }.to_string())
    }

    /// Timelines whose segments are archived and whose history no repository has.
    fn without_history(&self, known: &BTreeSet<TimelineId>, from: TimelineId) -> Vec<TimelineId> {
        let archives: Vec<_> = self.archives().into_iter().flatten().collect();
        let is_there = |timeline: TimelineId| {
            let name = WalFile::History { timeline }.to_string();
            archives.iter().any(|one| one.find_wal(&name).is_ok_and(|found| !found.is_empty()))
        };
        known.iter().copied().filter(|number| *number > from && !is_there(*number)).collect()
    }
}

/// Runs the validation against the new cluster, and waits for the commander.
#[derive(Debug)]
pub struct DecideSwap(pub Arc<Site>);

impl Step for DecideSwap {
    fn id(&self) -> &'static str {
        "decide-swap"
    }

    fn holds(&self) -> bool {
        true
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(Standing::NotStarted)
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let (site, plan) = (&self.0, context.plan());
        if !site.is_promoted(plan, context.runtime())? {
            return Err(Explanation::new(
                Kind::Server,
                "The new cluster is not out of recovery.",
                "The old cluster is untouched.",
                "Cancel this run, put it back and begin again.",
            ));
        }
        if !site.running()? {
            site.start_closed()?;
            context.note("started", "The new server had ended and was started again")?;
        }
        let closed = site.closed()?;
        let report = |progress| context.progress(progress);
        let checks = site.validate_at(
            &closed.connection(&site.cluster.connection),
            false,
            &context.incident(),
            context.runtime(),
            &report,
        )?;
        if !site.running()? {
            return Err(Explanation::new(
                Kind::Server,
                "The new server ended while it was checked.",
                "The old cluster is untouched.",
                "See in its log why. Retry starts it and checks again.",
            ));
        }
        context.validated(&checks)?;
        context.note(
            "way_in",
            &format!("psql -h {} -p {}", closed.socket_directory.display(), closed.port),
        )?;
        context.note("data_is", &data_is(plan, context.noted("reached_time").as_deref()))?;
        let count = |wanted| checks.iter().filter(|check| check.verdict == wanted).count();
        let (good, bad) = (count(Verdict::Verified), count(Verdict::Failed));
        let open = count(Verdict::CouldNotVerify);
        let question = format!(
            "The new cluster runs at port {}: {good} checks VERIFIED, {bad} FAILED, {open} COULD NOT \
             VERIFY. Swap it in?",
            closed.port
        );
        Ok(Outcome::Hold { question })
    }
}

/// Which data the new cluster has, plainly.
fn data_is(plan: &Plan, reached: Option<&str>) -> String {
    let last = reached.map_or_else(
        || String::from("no transaction was committed while it was taken"),
        |at| format!("the last transaction replayed was committed at {at}"),
    );
    if plan.procedure_is_to_end() {
        return format!("Everything up to the end of the whole archive; {last}");
    }
    format!(
        "As the cluster was at the end of {}, {:.0} (UTC); {last}. What was written later is not \
         in it",
        plan.base.set, plan.base.finished
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_timeline_stands_above_every_known_one() {
        let known = |list: &[u32]| list.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(holes(1, &known(&[1])), Vec::<u32>::new());
        assert_eq!(holes(1, &known(&[1, 2, 3])), Vec::<u32>::new());
        assert_eq!(holes(1, &known(&[1, 2, 5])), [3, 4], "the server would have taken 3");
        assert_eq!(holes(2, &known(&[])), Vec::<u32>::new());
    }
}
