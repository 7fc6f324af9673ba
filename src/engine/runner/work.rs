//! What the runner asks the rest of the engine to do. Owns the contract between the runner, which
//! keeps order and the journal, and the modules that do the work; the runner's own tests stand in
//! for it. Every method blocks and is called on a blocking thread.

use super::plan::Plan;
use super::protocol::{FullRestore, Offered, Progress};
use super::step::Step;
use crate::engine::escalation::Ladder;
use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::incident::care::{Care, Reminder};
use crate::engine::incident::facts::{Check, Commit, Reach, ServerProbe, Survey, Target};
use crate::engine::incident::parts::{Part, PartsChoice, PartsLook};
use crate::engine::incident::past::Window;
use crate::engine::incident::trouble::{Adjustments, Cure, Trouble};
use jiff::Timestamp;
use std::path::{Path, PathBuf};

/// Lossy reports of a job's progress.
pub type Report<'a> = &'a (dyn Fn(Progress) + Sync);

/// What goes with a question about the archive, which may take minutes.
pub struct Asking<'a> {
    pub report: Report<'a>,
    /// Somebody asked to stop reading.
    pub cancelled: &'a (dyn Fn() -> bool + Sync),
}

impl std::fmt::Debug for Asking<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking").field("cancelled", &(self.cancelled)()).finish_non_exhaustive()
    }
}

/// What a cure led to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cured {
    /// What it did, in a sentence without its full stop.
    pub text: String,
    pub adjusted: Adjustments,
    /// Where the recovery ends elsewhere because of it: why it can be reached, and the plan.
    pub moved: Option<(Reach, Plan)>,
}

/// What proves a line of the checklist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proof {
    Validation,
    /// A run of that item of the safety list.
    Care(String),
    Report,
}

/// The work behind the runner's commands, for one incident's cluster.
pub trait Work: Send + Sync {
    /// At the port that the server has now. Never fails: what could not be learnt is said in the probe.
    fn probe_server(&self, incident: &Incident) -> ServerProbe;

    /// The cluster's own integrity probes.
    ///
    /// # Errors
    /// Only where not even a verdict could be made.
    fn run_probes(&self, incident: &Incident) -> Result<Vec<Check>, Explanation>;

    /// Reads repository, archive and server anew.
    ///
    /// # Errors
    /// Where no repository could be read at all, or reading was stopped.
    fn survey(&self, incident: &Incident, asking: &Asking<'_>) -> Result<Survey, Explanation>;

    /// From the newest survey; makes one where there is none.
    ///
    /// # Errors
    /// As [`Work::survey`].
    fn commits_around(
        &self,
        incident: &Incident,
        at: Timestamp,
        count: u32,
    ) -> Result<Vec<Commit>, Explanation>;

    /// From the newest survey; makes one where there is none.
    ///
    /// # Errors
    /// As [`Work::survey`].
    fn past(
        &self,
        incident: &Incident,
        span: (Timestamp, Timestamp),
        columns: u32,
        around: Timestamp,
    ) -> Result<Window, Explanation>;

    /// # Errors
    /// Where it could not be judged; an unreachable target is no error.
    fn reach(
        &self,
        incident: &Incident,
        target: &Target,
        asking: &Asking<'_>,
    ) -> Result<Reach, Explanation>;

    /// As [`Work::reach`] for the plan's target, by the archive as it is now and what was rescued
    /// from the directory that was set aside. Changes nothing that is known of the past.
    ///
    /// # Errors
    /// As [`Work::reach`].
    fn reach_at_rest(
        &self,
        incident: &Incident,
        plan: &Plan,
        asking: &Asking<'_>,
    ) -> Result<Reach, Explanation> {
        self.reach(incident, &plan.target, asking)
    }

    /// As [`Work::reach`], by the archive as it is now: where it has changed since the newest
    /// survey, it is read anew, and the new survey comes along.
    ///
    /// # Errors
    /// As [`Work::reach`].
    fn reach_now(
        &self,
        incident: &Incident,
        target: &Target,
        asking: &Asking<'_>,
    ) -> Result<(Reach, Option<Survey>), Explanation> {
        Ok((self.reach(incident, target, asking)?, None))
    }

    /// As [`Work::reach`], by the archive as it is now and into `directory`, in the place of the
    /// configured alternative data directory.
    ///
    /// # Errors
    /// As [`Work::reach`]; where the directory is taken, or is not needed.
    fn reach_into(
        &self,
        incident: &Incident,
        target: &Target,
        directory: &Path,
        asking: &Asking<'_>,
    ) -> Result<Reach, Explanation>;

    /// Whether and how a new cluster can be restored beside the old one.
    ///
    /// # Errors
    /// Where it could not be judged; one that cannot be made is no error.
    fn full_restore(&self, incident: &Incident, asked: &FullRestore) -> Result<Reach, Explanation> {
        let _ = (incident, asked);
        Err(super::guard::refusal("A full restore cannot be made here.", ""))
    }

    /// Whether a copy for parts can be recovered beside production, to this target.
    ///
    /// # Errors
    /// Where it could not be judged; one that cannot be made is no error.
    fn choose_parts(
        &self,
        incident: &Incident,
        target: &Target,
        database: Option<&str>,
        tables: &[String],
    ) -> Result<Reach, Explanation> {
        let _ = (incident, target, database, tables);
        Err(super::guard::refusal("Parts cannot be brought back here.", ""))
    }

    /// What the copy beside production holds, what production lacks first.
    ///
    /// # Errors
    /// Where there is no copy, or a server does not answer.
    fn list_parts(&self, incident: &Incident) -> Result<Vec<Offered>, Explanation> {
        let _ = incident;
        Err(super::guard::refusal("There is no copy beside production.", ""))
    }

    /// Compares a part of the copy with production; `samples` rows of each class come along.
    ///
    /// # Errors
    /// Where there is no such part, or a server does not answer.
    fn look_at_parts(
        &self,
        incident: &Incident,
        part: &Part,
        samples: usize,
        report: Report<'_>,
    ) -> Result<PartsLook, Explanation> {
        let _ = (incident, part, samples, report);
        Err(super::guard::refusal("There is no copy beside production.", ""))
    }

    /// Whether what was chosen can be carried over, as far as that can be told beforehand.
    ///
    /// # Errors
    /// A refusal that says why not.
    fn check_parts(&self, incident: &Incident, choice: &PartsChoice) -> Result<(), Explanation> {
        let _ = (incident, choice);
        Err(super::guard::refusal("There is no copy beside production.", ""))
    }

    /// Reads, authenticates and inflates the whole base.
    ///
    /// # Errors
    /// Where not even a verdict could be made.
    fn verify_integrity(&self, set: &str, report: Report<'_>) -> Result<Vec<Check>, Explanation>;

    /// The plan for the chosen target.
    ///
    /// # Errors
    /// Where a plan cannot be made; says what is missing.
    fn plan(&self, incident: &Incident) -> Result<Plan, Explanation>;

    /// The plan by which what was written after the recovery point is brought back from the directory
    /// that the recovery kept.
    ///
    /// # Errors
    /// Where it cannot be made; says what is missing.
    fn plan_salvage(&self, incident: &Incident) -> Result<Plan, Explanation> {
        let _ = incident;
        Err(super::guard::refusal("Nothing can be salvaged here.", ""))
    }

    /// The confirmed plan with an earlier end than where its server waits: what stands there is set
    /// aside, and the base restored anew.
    ///
    /// # Errors
    /// Where it cannot be made; says what is missing.
    fn step_back(&self, incident: &Incident, reach: &Reach) -> Result<Plan, Explanation> {
        let _ = (incident, reach);
        Err(super::guard::refusal(
            "An earlier point cannot be reached from here.",
            "Give this run up, put things back and restore again.",
        ))
    }

    /// The plan's steps, in its order.
    ///
    /// # Errors
    /// Where the plan names a step that this version does not know.
    fn steps(&self, plan: &Plan) -> Result<Vec<Box<dyn Step>>, Explanation>;

    /// [`Work::steps`] as the cures of this incident have changed them.
    ///
    /// # Errors
    /// As [`Work::steps`].
    fn steps_of(
        &self,
        plan: &Plan,
        incident: &Incident,
    ) -> Result<Vec<Box<dyn Step>>, Explanation> {
        let _ = incident;
        self.steps(plan)
    }

    /// What a step's failure is recognised as. Only looks, and not for long. `None` where it is not
    /// known: never a guess.
    fn recognise(&self, incident: &Incident, step: &str, failure: &Explanation) -> Option<Trouble> {
        let _ = (incident, step, failure);
        None
    }

    /// Carries a cure out for the failed step, as it was proposed. Looks again first.
    ///
    /// # Errors
    /// Where it cannot be carried out, or did not help.
    fn cure(
        &self,
        incident: &Incident,
        step: &str,
        cure: &Cure,
        report: Report<'_>,
    ) -> Result<Cured, Explanation> {
        let _ = (incident, step, report);
        Err(super::guard::refusal(
            format!("This version of Lifeboat does not know the cure \"{}\".", cure.id),
            "Carry it out by hand, then try the step again.",
        ))
    }

    /// # Errors
    /// Where not even a verdict could be made.
    fn validate(&self, incident: &Incident, report: Report<'_>) -> Result<Vec<Check>, Explanation>;

    /// Runs an item of the safety list: what was agreed to is carried out as far as it is still
    /// proposed, then it looks.
    ///
    /// # Errors
    /// Where there is no such item. What could not be asked is a check that says so.
    fn care(
        &self,
        incident: &Incident,
        item: &str,
        agreed: &[String],
        report: Report<'_>,
    ) -> Result<Care, Explanation>;

    /// Who is called when the incident lasts; `None`: nobody ever is.
    fn ladder(&self, incident: &Incident) -> Option<Ladder> {
        let _ = incident;
        None
    }

    /// What somebody is to be reminded of now, if anything.
    fn reminder(&self, incident: &Incident, now: Timestamp) -> Option<Reminder> {
        let _ = (incident, now);
        None
    }

    /// What has to be run so that a line of the checklist is proven.
    ///
    /// # Errors
    /// Where there is no such line, or only a person can say that it is done.
    fn proofs(&self, line: &str) -> Result<Vec<Proof>, Explanation> {
        Err(super::guard::refusal(
            format!("The checklist has no line \"{line}\" that Lifeboat can prove."),
            "Sign it, with what you saw.",
        ))
    }

    /// Lifeboat's own evidence for a line, once all that it takes was run.
    ///
    /// # Errors
    /// Where it is not VERIFIED: says what is missing.
    fn proven(&self, incident: &Incident, line: &str) -> Result<String, Explanation> {
        let _ = incident;
        self.proofs(line).map(|_| String::new())
    }

    /// Whether the checklist lets the incident be closed.
    ///
    /// # Errors
    /// Names the lines that are neither done nor waived.
    fn may_close(&self, incident: &Incident) -> Result<(), Explanation>;

    /// Writes the reports; gives their paths.
    ///
    /// # Errors
    /// Where one could not be written.
    fn write_report(&self, incident: &Incident) -> Result<Vec<PathBuf>, Explanation>;
}
