//! Salvage as a plan of the runner: as [`super::plan`]'s, with a copy of the kept directory in the
//! place of one that is recovered from a backup. Owns its plan, and the two steps that make that
//! copy; what follows is the same.

use super::{Rig, no_copy, progress};
use crate::engine::config::Cluster;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{Identity, Procedure};
use crate::engine::incident::salvage::lost_most;
use crate::engine::parts::sandbox::{Means, kept};
use crate::engine::restore::plan::{beside, sealed, words};
use crate::engine::runbook::Runbook;
use crate::engine::runner::failpoint;
use crate::engine::runner::plan::{Cancel, KeptSpace, Places, Plan, PlanStep};
use crate::engine::runner::protocol::Unit;
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use humansize::{DECIMAL, format_size};
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// The steps in their order. The ids are stable: the journal and reports use them.
pub const ORDER: [&str; 6] =
    ["salvage-copy", "salvage-start", "parts-choose", "parts-carry", "parts-prove", "parts-clear"];

/// Tables that are looked at first.
const FIRST: usize = 12;

/// What a salvage is planned with.
#[derive(Debug)]
pub struct Ground<'a> {
    /// With the recovery's own plan.
    pub incident: &'a Incident,
    /// Where production is now.
    pub cluster: &'a Cluster,
    pub identity: Identity,
    /// Bytes that the copy takes.
    pub needed: u64,
    pub runbook: &'a Runbook,
    pub now: Timestamp,
}

/// Looks whether the directory that the recovery kept can be copied; gives the bytes that takes.
///
/// # Errors
/// A refusal that says why not.
pub fn look(means: &Means<'_>, recovery: &Plan) -> Result<u64, Explanation> {
    let directory = Path::new(&recovery.aside);
    if !directory.is_dir() {
        return Err(Explanation::new(
            Kind::Refused,
            format!("The directory that was set aside is not there: {}.", directory.display()),
            "No plan was made and nothing was touched.",
            "Where it was moved: lifeboat salvage --kept DIR. Where it is gone, waive the line of \
             the checklist with the reason; what was archived lifeboat restore-parts still brings.",
        ));
    }
    let needed =
        kept::check(means, directory, &recovery.places.kept).map_err(|e| e.explanation())?;
    let place = means.cluster.data_directory.parent().unwrap_or(directory);
    kept::fits(directory, needed, place).map_err(|e| e.explanation())?;
    Ok(needed)
}

/// Makes the plan.
///
/// # Errors
/// Where there was no recovery that kept a directory.
pub fn make(ground: &Ground<'_>) -> Result<Plan, Explanation> {
    let Ground { incident, cluster, identity, needed, runbook, now } = ground;
    let recovery = incident.plan.as_ref().ok_or_else(no_copy)?;
    let sandbox = beside(&cluster.data_directory, "salvage", *now);
    let (at, kept) = (sandbox.display(), &recovery.aside);
    let live = cluster.data_directory.display();
    let forecast = incident.reach.as_ref().and_then(|reach| reach.forecast);
    let copying = forecast.filter(|f| f.measured).map(|forecast| (0.0, forecast.copy.1));
    let size = format_size(*needed, DECIMAL);
    let steps = ORDER
        .iter()
        .map(|id| {
            let words = words(runbook, id)?;
            let touches = match *id {
                "salvage-copy" => vec![
                    format!("reads {kept}; nothing is written there"),
                    format!("fills the new, empty {at}: {size}, less where blocks can be shared"),
                ],
                "salvage-start" => {
                    vec![format!("server in {at}: started closed to everybody, no port")]
                }
                "parts-carry" => super::plan::carried_to(&live),
                "parts-clear" => vec![
                    format!("server in {at}: stopped; the folder is removed"),
                    format!("{kept} stays"),
                ],
                _ => Vec::new(),
            };
            Ok(PlanStep {
                id: (*id).to_owned(),
                title: words.title.clone(),
                why: words.why.clone(),
                runbook: words.runbook.clone(),
                touches,
                expected: match *id {
                    // Of a backup of about that size; where blocks are shared it is done at once.
                    "salvage-copy" => copying,
                    "salvage-start" | "parts-clear" => Some((0.0, 30.0)),
                    _ => None,
                },
                cancel: match *id {
                    "salvage-copy" => Cancel::SafePoint(String::from("between two files")),
                    "salvage-start" => Cancel::No(String::from(
                        "a server between down and running helps nobody; only the copy's is meant",
                    )),
                    id => super::plan::cancel_of(id),
                },
                destructive: *id == "parts-carry",
                undo: match *id {
                    "salvage-copy" => {
                        Some(format!("take the copy down: {at} is ours and is removed"))
                    }
                    id => super::plan::undo_of(id),
                },
            })
        })
        .collect::<Result<Vec<_>, Explanation>>()?;
    let lost = incident.reach.as_ref().and_then(|reach| reach.cost.tables.as_deref());
    let (database, tables) = lost_most(lost.unwrap_or_default(), FIRST);
    sealed(Plan {
        incident: incident.declaration.id.clone(),
        cluster: cluster.name.clone(),
        identity: identity.clone(),
        target: recovery.target.clone(),
        timeline: recovery.timeline,
        base: recovery.base.clone(),
        aside: recovery.aside.clone(),
        rescue: recovery.rescue.clone(),
        repositories: Vec::new(),
        places: Places {
            kept: recovery.places.kept.clone(),
            // Production lives where the recovery put it.
            alternative: recovery.places.alternative.clone().filter(|place| place.is_dir()),
            ..Places::default()
        },
        ends_at: None,
        replay_until: None,
        minimum_settings: Vec::new(),
        procedure: Procedure::Parts {
            sandbox: at.to_string(),
            database,
            tables,
            kept: Some(kept.clone()),
        },
        lost: false,
        source: None,
        steps,
        hash: String::new(),
    })
}

/// The kept directory, and where its tablespaces are kept.
fn kept_of(plan: &Plan) -> Result<(PathBuf, &[KeptSpace]), Explanation> {
    match &plan.procedure {
        Procedure::Parts { kept: Some(kept), .. } => Ok((PathBuf::from(kept), &plan.places.kept)),
        _ => Err(no_copy()),
    }
}

/// The kept directory's files into the copy's folder.
#[derive(Debug)]
pub(super) struct Copy(pub(super) Rig);

impl Step for Copy {
    fn id(&self) -> &'static str {
        "salvage-copy"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(match self.0.with(|copy| Ok(copy.is_copied()))? {
            None => Standing::NotStarted,
            Some(true) => Standing::Done(format!("the copy is in {}", self.0.root.display())),
            Some(false) => Standing::Partial(format!(
                "files of it are in {}; they are copied anew",
                self.0.root.display()
            )),
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let (directory, spaces) = kept_of(context.plan())?;
        let means = self.0.means();
        let needed = kept::check(&means, &directory, spaces).map_err(|e| e.explanation())?;
        let started = Timestamp::now();
        let mut watched = |file: &Path, done: u64| {
            failpoint::hit("salvage.copying");
            let name = file.strip_prefix(&directory).unwrap_or(file).display().to_string();
            let mut now = progress(self.id(), name, started);
            (now.done, now.total, now.unit) = (done, Some(needed), Unit::Bytes);
            context.progress(now);
            !context.cancelled()
        };
        self.0.with_new(|copy| {
            if !copy.is_copied() {
                kept::fits(&directory, needed, copy.root())?;
            }
            copy.copy_kept(&directory, spaces, &mut watched)
        })?;
        let root = self.0.root.display();
        context.note(
            "sandbox",
            &format!(
                "{} was copied to {root}; it was only read, production is as it was",
                directory.display()
            ),
        )?;
        Ok(Outcome::Done)
    }

    fn undo(&self, _: &dyn StepContext) -> Result<String, Explanation> {
        self.0.undone()
    }
}

/// The copy's server, open to Lifeboat alone.
#[derive(Debug)]
pub(super) struct Start(pub(super) Rig);

impl Step for Start {
    fn id(&self) -> &'static str {
        "salvage-start"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(match self.0.with(|copy| copy.runs())? {
            None => Standing::NotStarted,
            Some(true) => Standing::Partial(String::from("the copy's server runs")),
            Some(false) => Standing::Partial(String::from("the copy's server is down")),
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        failpoint::hit("salvage.starting");
        let label = String::from("starting it: it replays what its own log holds");
        context.progress(progress(self.id(), label, Timestamp::now()));
        let started = self.0.with(|copy| copy.begin(&self.0.means()))?;
        started.ok_or_else(no_copy)?;
        context.note(
            "at_point",
            "The copy stands as the damaged cluster was when it was stopped, closed to everybody else",
        )?;
        Ok(Outcome::Done)
    }

    fn undo(&self, _: &dyn StepContext) -> Result<String, Explanation> {
        self.0.with(|copy| copy.stop(&self.0.means()))?;
        Ok(String::from("the copy's server is down"))
    }
}
