//! Parts brought back by the runner: the plan and its steps, and the copy beside production while it
//! waits. Owns holding on to that copy over steps, questions and restarts; what is written to
//! production is [`super::work`]'s and [`super::database`]'s.

mod cures;
pub mod plan;
mod prove;
pub mod salvage;
mod steps;

use super::catalog;
use super::database;
use super::names::Name;
use super::sandbox::recovered::{Aim, prove};
use super::sandbox::{Means, Sandbox};
use super::work::{self, Wanted};
use super::{PartsError, Scope, session};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{Procedure, Reach, Target};
use crate::engine::incident::parts::{Carry, Part, PartsChoice, PartsLook};
use crate::engine::masking::Masking;
use crate::engine::restore::steps::Site;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::protocol::{Offered, Progress, Unit};
use crate::engine::runner::work::Report;
use jiff::Timestamp;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Handle;

pub use prove::{OnceMore, of_tables};
pub use steps::of as steps;

/// Parts that are offered; more are named by their schema or database.
const OFFERED: usize = 400;

/// The copy beside production, where one is held.
#[derive(Debug, Default)]
pub struct Bench {
    held: Mutex<Option<Sandbox>>,
}

/// What the copy is worked on with.
#[derive(Debug, Clone)]
pub struct Rig {
    pub site: Arc<Site>,
    pub bench: Arc<Bench>,
    pub runtime: Handle,
    /// The copy's folder.
    root: PathBuf,
    /// That of one that was given up because its disk was full.
    left: Option<PathBuf>,
}

impl Rig {
    /// For the copy of a plan.
    ///
    /// # Errors
    /// Where the plan has none.
    pub fn of(
        plan: &Plan,
        site: &Arc<Site>,
        bench: &Arc<Bench>,
        runtime: &Handle,
    ) -> Result<Self, Explanation> {
        let Procedure::Parts { sandbox, .. } = &plan.procedure else { return Err(no_copy()) };
        Ok(Self {
            site: Arc::clone(site),
            bench: Arc::clone(bench),
            runtime: runtime.clone(),
            root: PathBuf::from(sandbox),
            left: plan.places.left.as_ref().map(|left| left.from.clone()),
        })
    }

    fn means(&self) -> Means<'_> {
        Self::means_of(&self.site, &self.runtime)
    }

    /// With what a copy is made for the cluster.
    #[must_use]
    pub fn means_of<'a>(site: &'a Site, runtime: &'a Handle) -> Means<'a> {
        Means {
            config: &site.config,
            cluster: &site.cluster,
            directory: None,
            program: &site.executable,
            only: None,
            runtime,
        }
    }

    /// Where the copy goes, with what cures have raised.
    fn aim(&self, plan: &Plan) -> Aim {
        let mut aim = Aim::from(plan);
        aim.minimums.extend(self.site.adjusted.minimums.iter().cloned());
        aim
    }

    /// Does something with the copy, where it is there; it may not run.
    fn with<T>(
        &self,
        act: impl FnOnce(&mut Sandbox) -> Result<T, PartsError>,
    ) -> Result<Option<T>, Explanation> {
        let mut held = self.bench.held.lock().unwrap_or_else(PoisonError::into_inner);
        // It stays; only this process lets go of it.
        held.take_if(|copy| copy.root() != self.root);
        if held.is_none() {
            *held = Sandbox::find_at(&self.means(), &self.root).map_err(|e| e.explanation())?;
        }
        match held.as_mut() {
            None => Ok(None),
            Some(copy) => act(copy).map(Some).map_err(|error| {
                let mut told = error.explanation();
                let masking = Masking::of(&self.site.cluster.masking);
                told.what = masking.server_words(&told.what).into_owned();
                told
            }),
        }
    }

    /// As [`Rig::with`], with a new one where none is there.
    fn with_new<T>(
        &self,
        act: impl FnOnce(&mut Sandbox) -> Result<T, PartsError>,
    ) -> Result<T, Explanation> {
        if self.with(|_| Ok(()))?.is_none() {
            let made = Sandbox::make_at(&self.means(), &self.root).map_err(|e| e.explanation())?;
            *self.bench.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        }
        self.with(act)?.ok_or_else(no_copy)
    }

    /// Does something with the copy at its point, which is started again where it has ended.
    ///
    /// # Errors
    /// Where it is not there, has not reached its point, or what is done fails.
    pub fn ready<T>(
        &self,
        plan: &Plan,
        act: impl FnOnce(&Sandbox) -> Result<T, PartsError>,
    ) -> Result<T, Explanation> {
        let done = self.with(|copy| {
            if !copy.has_left_recovery() {
                return Err(PartsError::refused(
                    "The copy beside production has not reached its point.",
                    "Cancel this run, put it back and begin again.",
                ));
            }
            if !copy.attach(&self.means())? {
                copy.replay(&self.means(), &self.aim(plan), &mut |_, _| true)?;
            }
            act(copy)
        })?;
        done.ok_or_else(no_copy)
    }

    /// Takes down the unfinished copy that was given up for this one, where it is still there.
    fn leave(&self) -> Result<bool, Explanation> {
        match &self.left {
            Some(left) => Self { root: left.clone(), left: None, ..self.clone() }.take_down(),
            None => Ok(false),
        }
    }

    /// The copy taken down as a step's undoing, in words.
    fn undone(&self) -> Result<String, Explanation> {
        self.leave()?;
        let root = self.root.display();
        Ok(match self.take_down()? {
            true => format!("the copy beside production was taken down, {root} is removed"),
            false => format!("there was no copy in {root} any more"),
        })
    }

    /// Stops the copy and removes its folder; says whether there was one.
    fn take_down(&self) -> Result<bool, Explanation> {
        self.with(|_| Ok(()))?;
        let copy = self.bench.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        match copy {
            None => Ok(false),
            Some(copy) => copy.close().map(|()| true).map_err(|e| e.explanation()),
        }
    }

    /// What the copy holds, what production lacks first.
    ///
    /// # Errors
    /// Where it does not stand at its point, or a server does not answer.
    pub fn list(&self, plan: &Plan) -> Result<Vec<Offered>, Explanation> {
        let production = &self.site.cluster.connection;
        let whole = plan.procedure.is_salvage();
        self.ready(plan, |copy| self.runtime.block_on(offered(copy, production, whole)))
    }

    /// What of a part the copy has.
    fn had(&self, plan: &Plan, part: Part) -> Result<Option<Part>, Explanation> {
        self.ready(plan, |copy| self.runtime.block_on(had(copy, part)))
    }

    /// Compares a part of the copy with production.
    ///
    /// # Errors
    /// As [`Rig::list`].
    pub fn look(
        &self,
        plan: &Plan,
        part: &Part,
        samples: usize,
        report: Report<'_>,
    ) -> Result<PartsLook, Explanation> {
        let production = &self.site.cluster.connection;
        self.ready(plan, |copy| match part {
            Part::Database { database } => {
                let found = self.runtime.block_on(database::find(copy, production, database))?;
                Ok(PartsLook {
                    part: part.clone(),
                    differences: Vec::new(),
                    absent: Vec::new(),
                    schema_absent: false,
                    missing_roles: Vec::new(),
                    partitions: Vec::new(),
                    whole: Some(found),
                })
            }
            Part::Of(wanted) => {
                let started = Timestamp::now();
                let told = |table: &str, (at, of): (usize, usize), rows: u64| {
                    if rows == 0 {
                        crate::engine::runner::failpoint::hit("parts.comparing");
                    }
                    let label = format!("comparing {table}, {} of {of}", at + 1);
                    let mut now = progress("parts", label, started);
                    (now.done, now.unit) = (rows, Unit::Rows);
                    report(now);
                };
                let masking = Masking::of(&self.site.cluster.masking);
                let looking = work::look(copy, production, wanted, (samples, &masking), &told);
                let seen = self.runtime.block_on(looking)?;
                // The log names what a recovery lost by partition.
                let partitions = match plan.procedure.is_salvage() {
                    true => self.runtime.block_on(partitions(copy, &wanted.database, &seen))?,
                    false => Vec::new(),
                };
                Ok(PartsLook::of(part.clone(), seen, partitions))
            }
        })
    }

    /// Whether what was chosen of the newest look can be carried over, as far as definitions tell.
    ///
    /// # Errors
    /// A refusal that says why not.
    pub fn check(
        &self,
        plan: &Plan,
        look: &PartsLook,
        choice: &PartsChoice,
    ) -> Result<(), Explanation> {
        let production = &self.site.cluster.connection;
        self.ready(plan, |copy| {
            self.runtime.block_on(async {
                match (&look.part, &choice.carry) {
                    (Part::Database { database }, Carry::Database { named, set_aside }) => {
                        let filling = database::filling_of(&plan.hash);
                        let asked = database::Asked {
                            database,
                            named,
                            set_aside: set_aside.as_deref(),
                            missing_roles: choice.missing_roles,
                            filling: &filling,
                        };
                        let found = database::find(copy, production, database).await?;
                        database::check(&found, &asked, production).await
                    }
                    (Part::Of(wanted), Carry::Of { into: work::Into::Place(taken) }) => {
                        let seen = work::lay_out(copy, production, wanted).await?;
                        seen.pairs.iter().filter(|_| taken.any()).try_for_each(|p| p.check(*taken))
                    }
                    _ => Ok(()),
                }
            })
        })
    }
}

/// Proves that a copy can be recovered beside production.
///
/// # Errors
/// Where the archive cannot be read. One that cannot be made is no error.
pub fn choose(
    site: &Site,
    runtime: &Handle,
    target: &Target,
    database: Option<&str>,
    tables: &[String],
) -> Result<Reach, Explanation> {
    let root = crate::engine::restore::plan::beside(site.data(), "parts", Timestamp::now());
    let means = Rig::means_of(site, runtime);
    let mut reach = prove(&means, target, None, &root).map_err(|e| e.explanation())?;
    // Production goes on: nothing that was committed is given up.
    (reach.lost_commits, reach.lost_seconds, reach.first_lost) = (Some(0), Some(0.0), None);
    reach.cost.tables = Some(Vec::new());
    reach.cost.more_tables = 0;
    reach.procedure = Procedure::Parts {
        sandbox: root.display().to_string(),
        database: database.map(str::to_owned),
        tables: tables.to_vec(),
        kept: None,
    };
    Ok(reach)
}

/// The plan's own folder for the copy.
#[must_use]
pub fn sandbox_of(plan: &Plan) -> Option<&Path> {
    match &plan.procedure {
        Procedure::Parts { sandbox, .. } => Some(Path::new(sandbox)),
        _ => None,
    }
}

async fn offered(
    copy: &Sandbox,
    production: &crate::engine::config::Connection,
    whole: bool,
) -> Result<Vec<Offered>, PartsError> {
    let source = session::open_any(&copy.connection()).await?;
    let there = session::open_any(production).await?;
    let mut all = Vec::new();
    for (database, known) in database::list(&source, &there).await? {
        all.push(Offered { part: Part::Database { database: database.clone() }, there: known });
        if !known {
            // Its tables come with it.
            continue;
        }
        if whole {
            let wanted = Wanted { database: database.clone(), scope: Scope::All };
            all.push(Offered { part: Part::Of(wanted), there: true });
        }
        let (ours, theirs) =
            (copy.session(&database).await?, session::open(production, &database).await?);
        let mut schemas: Vec<String> = catalog::schemas(&ours).await?;
        schemas.sort();
        for schema in schemas {
            let known = catalog::has_schema(&theirs, &schema).await?;
            let scope = Scope::Schema(schema);
            let wanted = Wanted { database: database.clone(), scope };
            all.push(Offered { part: Part::Of(wanted), there: known });
        }
        let names = catalog::names(&ours).await?;
        let written: Vec<String> = names.iter().map(ToString::to_string).collect();
        let lacking = catalog::lacking(&theirs, &written).await?;
        for (name, written) in names.into_iter().zip(written) {
            let scope = Scope::Tables(vec![name]);
            let wanted = Wanted { database: database.clone(), scope };
            all.push(Offered { part: Part::Of(wanted), there: !lacking.contains(&written) });
        }
    }
    all.sort_by_key(|one| one.there);
    all.truncate(OFFERED);
    Ok(all)
}

/// The tables of a plan that are looked at first.
fn first_look(plan: &Plan, connection: &str) -> Option<Part> {
    let Procedure::Parts { database, tables, .. } = &plan.procedure else { return None };
    let names: Vec<Name> = tables.iter().filter_map(|text| Name::parse(text).ok()).collect();
    if names.is_empty() {
        return None;
    }
    let database = database.clone().unwrap_or_else(|| connection.to_owned());
    Some(Part::Of(Wanted { database, scope: Scope::Tables(names) }))
}

/// The partitions of what was looked at.
///
/// # Errors
/// Where the copy does not answer.
pub async fn partitions(
    copy: &Sandbox,
    database: &str,
    seen: &work::Seen,
) -> Result<Vec<String>, PartsError> {
    let source = copy.session(database).await?;
    let mut all = Vec::new();
    for table in seen.pairs.iter().map(|pair| &pair.source).chain(&seen.absent) {
        if table.partitioned {
            let tree = catalog::tree(&source, table).await?;
            all.extend(tree.into_iter().skip(1).map(|(name, _)| name.to_string()));
        }
    }
    Ok(all)
}

/// What of a part the copy has: of the tables that a recovery lost rows of, the accident itself may
/// have dropped one. Where a cluster has one database of its own, the log names none; it need not be
/// that of the connection. `None` where nothing is left of it.
async fn had(copy: &Sandbox, part: Part) -> Result<Option<Part>, PartsError> {
    let Part::Of(Wanted { database, scope: Scope::Tables(names) }) = part else {
        return Ok(Some(part));
    };
    let outer = session::open_any(&copy.connection()).await?;
    let mut all = database::names(&outer).await?;
    all.sort_by_key(|name| *name != database);
    for database in all {
        let there = catalog::roots(&*copy.session(&database).await?, &names).await?;
        if !there.is_empty() {
            let scope = Scope::Tables(there);
            return Ok(Some(Part::Of(Wanted { database, scope })));
        }
    }
    Ok(None)
}

fn progress(job: &str, label: String, started: Timestamp) -> Progress {
    Progress {
        job: job.to_owned(),
        label,
        started,
        done: 0,
        total: None,
        unit: Unit::Time,
        rate: None,
        eta: None,
        history: Vec::new(),
        lsn: None,
        replayed_until: None,
        log: Vec::new(),
    }
}

fn no_copy() -> Explanation {
    Explanation::new(
        Kind::Refused,
        "There is no copy beside production.",
        "Nothing in production was changed.",
        "Run the plan's first steps: they recover it.",
    )
}
