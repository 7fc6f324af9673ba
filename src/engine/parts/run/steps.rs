//! The steps by which parts come back. Until `parts-carry` nothing of production is touched; that
//! one notes its transaction's number before it commits, so that whoever goes on after a kill asks
//! the server what became of it, and never writes twice.

use super::super::PartsError;
use super::super::apply::Far;
use super::super::commit::{self, Mark, Status};
use super::super::database::{self, Asked};
use super::super::work::{self, How};
use super::{Rig, first_look, no_copy, progress};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::parts::{Carry, Part, PartsDone, PartsLook};
use crate::engine::incident::salvage::COMMIT;
use crate::engine::postgres::recovery_watch::ReplayState;
use crate::engine::restore::base;
use crate::engine::restore::steps::ERASURE_LIST;
use crate::engine::runner::failpoint;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::protocol::{Progress, Unit};
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use jiff::Timestamp;

/// What the server says became of a transaction, or why that cannot be learnt.
type Fate = Result<Status, String>;

/// The plan's steps, in its order.
///
/// # Errors
/// Where the plan names a step that this version does not know.
pub fn of(plan: &Plan, rig: &Rig) -> Result<Vec<Box<dyn Step>>, Explanation> {
    let by = |id: &str| -> Result<Box<dyn Step>, Explanation> {
        let rig = rig.clone();
        Ok(match id {
            "salvage-copy" => Box::new(super::salvage::Copy(rig)),
            "salvage-start" => Box::new(super::salvage::Start(rig)),
            "parts-restore" => Box::new(Restore(rig)),
            "parts-replay" => Box::new(Replay(rig)),
            "parts-choose" => Box::new(Choose(rig)),
            "parts-carry" => Box::new(CarryOver(rig)),
            "parts-prove" => Box::new(super::prove::Prove(rig)),
            "parts-clear" => Box::new(Clear(rig)),
            _ => {
                return Err(Explanation::new(
                    Kind::Refused,
                    format!("This version of Lifeboat does not know the step \"{id}\"."),
                    "Nothing was touched.",
                    "Use the version that made the plan, or make a new plan.",
                ));
            }
        })
    };
    plan.steps.iter().map(|step| by(&step.id)).collect()
}

/// The base's files into the copy's folder.
#[derive(Debug)]
struct Restore(Rig);

impl Step for Restore {
    fn id(&self) -> &'static str {
        "parts-restore"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(match self.0.with(|copy| Ok(copy.is_restored()))? {
            None => Standing::NotStarted,
            Some(true) => Standing::Done(format!("the copy is in {}", self.0.root.display())),
            Some(false) => {
                Standing::Partial(format!("files of it are in {}", self.0.root.display()))
            }
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let plan = context.plan();
        let report = |progress: Progress| {
            failpoint::hit("parts.restoring");
            context.progress(progress);
        };
        let cancelled = || context.cancelled();
        if self.0.leave()? {
            context.note("given_up", "The unfinished copy on the full disk was taken down")?;
        }
        self.0.with_new(|copy| {
            if copy.is_restored() {
                return Ok(());
            }
            let options = base::Options::new(self.id(), &report, &cancelled);
            copy.restore(&self.0.means(), &plan.base, &options)
        })?;
        let root = self.0.root.display();
        context
            .note("sandbox", &format!("The copy's files are in {root}; production is as it was"))?;
        Ok(Outcome::Done)
    }

    fn undo(&self, _: &dyn StepContext) -> Result<String, Explanation> {
        self.0.undone()
    }
}

/// The replay to the point, and the copy open to Lifeboat alone.
#[derive(Debug)]
struct Replay(Rig);

impl Step for Replay {
    fn id(&self) -> &'static str {
        "parts-replay"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        let stands = self.0.with(|copy| Ok((copy.has_left_recovery(), copy.runs()?)))?;
        Ok(match stands {
            None => Standing::NotStarted,
            Some((true, true)) => Standing::Done(String::from("the copy stands at its point")),
            Some((true, false)) => {
                Standing::Partial(String::from("the copy reached its point; its server is down"))
            }
            Some((false, true)) => Standing::Partial(String::from("the copy's server replays")),
            Some((false, false)) => Standing::Partial(String::from("the copy's server is down")),
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let aim = self.0.aim(context.plan());
        let started = Timestamp::now();
        let mut reached = Vec::new();
        let mut watched = |state: &ReplayState, log: &[String]| {
            failpoint::hit("parts.replaying");
            let mut now = progress(self.id(), String::from("replaying changes"), started);
            if let ReplayState::Replaying { lsn, time } = state {
                (now.lsn, now.replayed_until) = (*lsn, *time);
            }
            if let ReplayState::AtTarget { stop, lsn, time } = state {
                reached.push((String::from("stop_line"), stop.clone()));
                let lsn = lsn.map(|lsn| (String::from("reached_lsn"), lsn.to_string()));
                let time = time.map(|time| (String::from("reached_time"), time.to_string()));
                reached.extend(lsn.into_iter().chain(time));
            }
            now.log = log.to_vec();
            context.progress(now);
            !context.cancelled()
        };
        let stands = self.0.with(|copy| copy.replay(&self.0.means(), &aim, &mut watched))?;
        stands.ok_or_else(no_copy)?;
        for (name, text) in reached {
            context.note(&name, &text)?;
        }
        context.note("at_point", "The copy stands at its point, closed to everybody else")?;
        Ok(Outcome::Done)
    }

    fn undo(&self, _: &dyn StepContext) -> Result<String, Explanation> {
        self.0.with(|copy| copy.stop(&self.0.means()))?;
        Ok(String::from("the copy's server is down"))
    }
}

/// A first look, and the question what is to be carried over.
#[derive(Debug)]
struct Choose(Rig);

impl Step for Choose {
    fn id(&self) -> &'static str {
        "parts-choose"
    }

    fn holds(&self) -> bool {
        true
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(Standing::NotStarted)
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let plan = context.plan();
        let known = context.incident().parts.look;
        let first = first_look(plan, &self.0.site.cluster.connection.database);
        if let (None, Some(part)) = (&known, first) {
            let report = |mut progress: Progress| {
                progress.job = self.id().to_owned();
                context.progress(progress);
            };
            let part = match plan.procedure.is_salvage() {
                true => self.had(context, part)?,
                false => Some(part),
            };
            let Some(part) = part else { return self.ask(plan) };
            match self.0.look(plan, &part, 0, &report) {
                Ok(look) => context.parts_seen(look)?,
                // Whoever is asked next can look at something else.
                Err(why) => {
                    let text = format!("{} could not be compared: {}", part.words(), why.what);
                    context.note("not_compared", &text)?;
                }
            }
        }
        self.ask(plan)
    }
}

impl Choose {
    /// What of the tables that a recovery lost rows of is there to be looked at.
    fn had(&self, context: &dyn StepContext, part: Part) -> Result<Option<Part>, Explanation> {
        let words = part.words();
        self.0.had(context.plan(), part).or_else(|why| {
            let text = format!("{words} could not be compared: {}", why.what);
            context.note("not_compared", &text).map(|()| None)
        })
    }

    fn ask(&self, plan: &Plan) -> Result<Outcome, Explanation> {
        // That it can be asked at all is known before somebody is.
        self.0.ready(plan, |_| Ok(()))?;
        Ok(Outcome::Hold { question: String::from("What is to be carried over?") })
    }
}

/// One transaction, or a database that gets its name in one.
#[derive(Debug)]
struct CarryOver(Rig);

impl Step for CarryOver {
    fn id(&self) -> &'static str {
        "parts-carry"
    }

    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(match self.fate(context)? {
            None | Some((_, Ok(Status::RolledBack))) => Standing::NotStarted,
            Some((mark, Ok(Status::Committed))) => Standing::Done(format!("{mark} is committed")),
            Some((mark, Ok(Status::UnderWay))) => {
                Standing::Partial(format!("the server is still at {mark}"))
            }
            Some((mark, Ok(Status::Forgotten))) => {
                Standing::Partial(format!("the server has forgotten {mark}"))
            }
            Some((mark, Err(why))) => {
                Standing::Partial(format!("what became of {mark} is NOT KNOWN: {why}"))
            }
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        match self.fate(context)? {
            None | Some((_, Ok(Status::RolledBack))) => {}
            Some((mark, Ok(Status::Committed))) => {
                let text = format!("{mark} is committed, by the server's word: it is not repeated");
                context.note("carried", &text)?;
                return Ok(Outcome::Done);
            }
            Some((mark, other)) => return Err(not_known(&mark, &other)),
        }
        let plan = context.plan();
        self.0.site.confirm(plan, self.0.site.data())?;
        if self.0.site.cluster.erasure.is_some() && context.noted(ERASURE_LIST).is_none() {
            let text = "The cluster has an erasure list: what comes from the copy may be on it";
            context.note(ERASURE_LIST, text)?;
        }
        let parts = context.incident().parts;
        let (Some(look), Some(choice)) = (parts.look, parts.choice) else {
            return Err(Explanation::new(
                Kind::Refused,
                "Nothing was chosen that is to be carried over.",
                "Nothing in production was changed.",
                "Look again at what differs, then choose.",
            ));
        };
        let done = self.0.ready(plan, |copy| {
            let mut before = |mark: &Mark| {
                if context.cancelled() {
                    return Err(cancelled());
                }
                context.note(COMMIT, &mark.to_string())?;
                failpoint::hit("parts.before_commit");
                Ok(())
            };
            let production = &self.0.site.cluster.connection;
            match (&look.part, &choice.carry) {
                (Part::Database { database }, Carry::Database { named, set_aside }) => {
                    let filling = database::filling_of(&plan.hash);
                    let asked = Asked {
                        database,
                        named,
                        set_aside: set_aside.as_deref(),
                        missing_roles: choice.missing_roles,
                        filling: &filling,
                    };
                    let started = Timestamp::now();
                    let mut watched = |done: u64, of: u64| {
                        failpoint::hit("parts.filling");
                        let label = format!("filling the database {named}");
                        let mut now = progress(self.id(), label, started);
                        (now.done, now.total, now.unit) = (done, Some(of), Unit::Bytes);
                        context.progress(now);
                        !context.cancelled()
                    };
                    let handle = &self.0.runtime;
                    database::bring(copy, production, &asked, handle, &mut watched, &mut before)
                        .map(PartsDone::Database)
                }
                (Part::Of(wanted), Carry::Of { into }) => {
                    let how =
                        How { into: *into, owners: true, missing_roles: choice.missing_roles };
                    let started = Timestamp::now();
                    let told = |label: &str, far: Option<Far>| {
                        let mut now = progress(self.id(), label.to_owned(), started);
                        match far {
                            Some(Far::Stages(over, of)) => {
                                now.label = format!("{} of {of}: {label}", over + 1);
                                (now.done, now.total) = (over, Some(of));
                            }
                            Some(Far::Rows(over, of)) => {
                                (now.done, now.total, now.unit) = (over, Some(of), Unit::Rows);
                            }
                            None => {}
                        }
                        context.progress(now);
                    };
                    let writing = async {
                        let seen = agreed(work::lay_out(copy, production, wanted).await?, &look)?;
                        work::write(copy, production, wanted, &seen, how, &told, &mut before).await
                    };
                    self.0.runtime.block_on(writing).map(PartsDone::Of)
                }
                _ => Err(PartsError::refused(
                    "What was chosen is not what was looked at.",
                    "Look again at what differs, then choose.",
                )),
            }
        })?;
        failpoint::hit("parts.after_commit");
        context.note("carried", &done.words())?;
        let of = match plan.procedure.is_salvage() {
            true => String::from("of the kept directory"),
            false => plan.target.to_string(),
        };
        context.note(
            "data_is",
            &format!("Production as it is, and from the copy {of}: {}", done.words()),
        )?;
        for note in done.notes() {
            context.note("to_know", note)?;
        }
        context.parts_carried(done)?;
        Ok(Outcome::Done)
    }

    fn undo(&self, context: &dyn StepContext) -> Result<String, Explanation> {
        match self.fate(context)? {
            None | Some((_, Ok(Status::RolledBack))) => {
                Ok(String::from("nothing was carried over"))
            }
            Some((mark, Ok(Status::Committed))) => {
                Ok(format!("what was carried over stays in production ({mark})"))
            }
            Some((mark, other)) => Err(not_known(&mark, &other)),
        }
    }
}

impl CarryOver {
    /// What became of the newest transaction that was about to be committed; `None` where there
    /// was none.
    fn fate(&self, context: &dyn StepContext) -> Result<Option<(Mark, Fate)>, Explanation> {
        let Some(text) = context.noted(COMMIT) else { return Ok(None) };
        let mark = Mark::parse(&text).ok_or_else(|| {
            Explanation::new(
                Kind::Integrity,
                format!("The journal's note of a transaction cannot be read: {text}."),
                "Nothing was changed.",
                "Look in production whether the parts are there.",
            )
        })?;
        let production = &self.0.site.cluster.connection;
        let asked = commit::ask(&mark, production, &production.database, commit::ASK_LIMIT);
        let told = self.0.runtime.block_on(asked);
        Ok(Some((mark, told)))
    }
}

/// What is there now, with the differences that were agreed to.
fn agreed(seen: work::Seen, look: &PartsLook) -> Result<work::Seen, PartsError> {
    let absent: Vec<String> = seen.absent.iter().map(|table| table.name.to_string()).collect();
    if absent != look.absent || seen.schema_absent != look.schema_absent {
        return Err(PartsError::refused(
            "Production has other tables than when it was looked at.",
            "Look again at what differs, then choose.",
        ));
    }
    Ok(work::Seen { differences: look.differences.clone(), ..seen })
}

fn cancelled() -> PartsError {
    PartsError::Engine(Explanation::new(
        Kind::Cancelled,
        "Carrying over was cancelled before its commit.",
        "Everything was rolled back: nothing in production was changed.",
        "Retry begins it anew.",
    ))
}

fn not_known(mark: &Mark, told: &Fate) -> Explanation {
    let why = match told {
        Ok(Status::UnderWay) => String::from("the server is still at it"),
        Ok(_) => String::from("the server has forgotten it"),
        Err(why) => why.clone(),
    };
    let lost = String::from("Lifeboat ended meanwhile");
    PartsError::NotKnown { xid: mark.xid.clone(), lost, why }.explanation()
}

/// The copy is taken down.
#[derive(Debug)]
struct Clear(Rig);

impl Step for Clear {
    fn id(&self) -> &'static str {
        "parts-clear"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(match self.0.with(|_| Ok(()))? {
            None => Standing::Done(format!("{} is gone", self.0.root.display())),
            Some(()) => Standing::Partial(format!("{} is still there", self.0.root.display())),
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        self.0.take_down()?;
        let root = self.0.root.display();
        context.note("cleared", &format!("The copy was taken down, and {root} is removed"))?;
        Ok(Outcome::Done)
    }
}
