//! "What to do now": one line in plain words, and the key. Owns that line alone; it is computed
//! from the snapshot, so that it can be tested for every standing of an incident.

use super::commands::{self, Id};
use super::view::{Candidate, Link, Page, View};
use super::{checklist, drill, home, recovery_point, text};
use crate::engine::checklist::LATER_WRITES;
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{Prerequisite, Reach, TargetPoint, Topic, Verdict};
use crate::engine::incident::model::{Phase, RunStatus, StepStatus, Tone};
use crate::engine::runbook::ChecklistItem;

/// What to do now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guide {
    pub text: String,
    /// The command that does it.
    pub command: Option<Id>,
    pub tone: Tone,
}

fn do_it(command: Id, text: impl Into<String>) -> Guide {
    Guide { text: text.into(), command: Some(command), tone: Tone::Plain }
}

fn wait(text: impl Into<String>) -> Guide {
    Guide { text: text.into(), command: None, tone: Tone::Plain }
}

impl Guide {
    fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }
}

/// The line for this snapshot. A command that the person may not give is turned into waiting.
#[must_use]
pub fn guide(view: &View) -> Guide {
    let guide = unguarded(view);
    let Some(command) = guide.command.and_then(commands::by_id) else { return guide };
    if view.may(command.role).is_ok() {
        return guide;
    }
    if view.role().covers(command.role) {
        let who = view.incident.as_ref().and_then(|incident| incident.people.command.as_ref());
        let who = who.map_or("somebody else", |(holder, _)| holder.as_str());
        let text = format!("Waiting for {}, who has the command: {}", text::clean(who), guide.text);
        return Guide { text, command: None, tone: guide.tone };
    }
    let text = format!(
        "Waiting for the {}: {} You are {}.",
        commands::who(command.role),
        guide.text,
        commands::who(view.role()).replace("everyone", "an observer")
    );
    Guide { text, command: None, tone: guide.tone }
}

fn unguarded(view: &View) -> Guide {
    if let Link::Lost { attempts, why, .. } = &view.link {
        let tries = if *attempts > 1 { format!(" (try {attempts}: {why})") } else { String::new() };
        return wait(format!(
            "Lost the runner; the restore may go on. Reconnecting{}{tries}",
            view.theme.ellipsis()
        ))
        .tone(Tone::Bad);
    }
    if view.page == Page::Home {
        return at_home(view);
    }
    let Some(incident) = &view.incident else {
        return wait("Connecting to the runner and reading the incident's journal.");
    };
    if view.link == Link::Attaching {
        return wait("Connecting to the runner; what you see is the last that was known.");
    }
    if let Some(offer) = super::people::offered(view, incident) {
        let thing = crate::engine::incident::people::thing(offer.task.as_deref());
        let words = format!("{} hands you {thing}. Take it, or say why not.", offer.by);
        return do_it(Id::AnswerHandover, text::clean(&words)).tone(Tone::Attention);
    }
    let phase = incident.phase();
    let here = Page::of(phase);
    match (view.page, phase) {
        (Page::Assessment, Phase::Assessment | Phase::RecoveryPoint) => assessment(view, incident),
        (Page::Report, Phase::Checklist | Phase::Closed) => report(view, incident),
        (page, _) if page == here => match here {
            Page::RecoveryPoint => point(view),
            Page::Restore => restore(view, incident),
            Page::Validation => validation(view),
            Page::Checklist => ending(view, incident),
            _ => wait(""),
        },
        (Page::RecoveryPoint, Phase::Restore) if super::full_restore::is_chosen(incident) => do_it(
            Id::GoOn,
            "A full restore is chosen. Go on to it; Enter here would choose this point instead.",
        ),
        (Page::RecoveryPoint, Phase::Restore) if super::parts::is_chosen(incident) => {
            do_it(Id::GoOn, "Only parts are brought back, from the chosen point. Go on to that.")
        }
        (Page::RecoveryPoint, Phase::Restore) if super::available::may_choose(incident) => {
            let rechoose = view.candidate().map(|c| c.target)
                != incident.reach.as_ref().map(|r| r.target.clone());
            if rechoose {
                point(view)
            } else {
                do_it(Id::GoOn, "The recovery point is chosen. Go on to the restore.")
            }
        }
        (Page::Validation, Phase::Checklist) => verdicts(view, incident),
        (Page::Validation, Phase::Restore) if super::full_restore::waits(incident) => do_it(
            Id::GoOn,
            "Read each that is not VERIFIED (arrow keys, Enter). Then go back and decide.",
        ),
        _ => do_it(
            Id::GoOn,
            format!("You are looking at another part. The incident stands at: {}.", here.title()),
        ),
    }
}

/// Where the `n` key leads: to where the incident stands, or one on where this part is done.
#[must_use]
pub fn next_page(view: &View) -> Option<Page> {
    let incident = view.incident.as_ref()?;
    let here = Page::of(incident.phase());
    match (view.page, incident.phase()) {
        (Page::Checklist, Phase::Checklist | Phase::Closed) => Some(Page::Report),
        (page, _) if page == here => None,
        _ => Some(here),
    }
}

fn at_home(view: &View) -> Guide {
    if view.listing.clusters.is_empty() {
        return wait(
            "No cluster is configured. Leave with q, write lifeboat.toml (the README shows one), start again.",
        )
        .tone(Tone::Attention);
    }
    let open = view.listing.incidents.iter().find(|i| i.phase != Phase::Closed);
    match (open, home::selected_incident(view)) {
        (_, Some(selected)) if view.panel == 1 => {
            do_it(Id::Open, format!("Open {} on {}.", selected.id, selected.cluster))
        }
        (Some(_), _) if home::open_incident(view).is_some() => {
            do_it(Id::Open, "This cluster has an open incident. Open it and go on where it stands.")
        }
        _ => do_it(
            Id::Declare,
            "Something wrong with a database? Select it and declare an incident. That changes nothing on the server.",
        ),
    }
}

fn assessment(view: &View, incident: &Incident) -> Guide {
    if incident.severity.is_none() {
        return do_it(Id::SetSeverity, "Say how bad it is.");
    }
    if incident.clocks.detected.is_none() {
        return do_it(
            Id::FirstDetected,
            "Say when it was first detected. The clock of the outage (RTO) starts there.",
        );
    }
    if incident.server.is_none() {
        if view.busy("asking the server") {
            return wait("Asking the server; a few seconds at most.");
        }
        return do_it(Id::AskServer, "Ask the server how it is. That changes nothing.");
    }
    if incident.clocks.last_known_good.is_none() {
        return do_it(Id::LastKnownGood, "Say when the data was last known to be good.");
    }
    if !incident.notes.iter().any(|(topic, _)| *topic == Topic::ChangesBefore) {
        return do_it(Id::ChangesBefore, "Write down what changed before it happened.");
    }
    if super::full_restore::is_lost(incident) {
        return do_it(
            Id::GoOn,
            format!(
                "{LOST}. Go on and choose the recovery point, or a full restore beside it (O: Option B)."
            ),
        )
        .tone(Tone::Attention);
    }
    do_it(Id::GoOn, "The assessment has what it needs. Go on and choose the recovery point.")
}

/// The one table that was emptied or dropped: it can come back without the rest of the cluster.
fn only_one(candidate: &Candidate) -> Option<String> {
    let what = &candidate.suspect.as_ref()?.what;
    let whole = what.starts_with("emptied ") || what.starts_with("dropped ");
    match super::parts::touched(candidate).1.as_slice() {
        [table] if whole => Some(table.clone()),
        _ => None,
    }
}

fn point(view: &View) -> Guide {
    let Some(candidate) = view.candidate() else {
        return match &view.survey {
            None if view.awaits(|p| *p == super::view::Purpose::Survey) => {
                wait("Reading backups and archived log to find what happened. Nothing is touched.")
            }
            None if view.incident.as_ref().is_some_and(super::full_restore::is_lost) => do_it(
                Id::FullRestore,
                format!("{LOST}. A full restore (Option B) is the way; or read the archive again (u)."),
            )
            .tone(Tone::Attention),
            None => do_it(Id::SurveyAgain, "Read backups and archived log. Nothing is touched."),
            Some(survey) if survey.bases.is_empty() => do_it(
                Id::SurveyAgain,
                "No base backup is there: no point can be reached, and a full restore (Option B) needs one, too. Name a repository that has one in lifeboat.toml, then read again.",
            )
            .tone(Tone::Bad),
            Some(_) => do_it(Id::TargetKind, "Nothing stands out. Give a point of your own."),
        };
    };
    match view.reach(&candidate.target) {
        None => {
            wait("Proving that this point can be reached. Enter chooses it once that is proven.")
        }
        Some(Ok(reach)) if reach.reachable => {
            let point = when_and_where(view, reach);
            do_it(
                Id::ChoosePoint,
                match only_one(&candidate) {
                    Some(table) => {
                        format!("Go back to {point}? Enter: the whole cluster; p: only {table}.")
                    }
                    None if view.incident.as_ref().is_some_and(super::full_restore::is_lost) => {
                        format!(
                            "{LOST}. Go back to {point}? Choose it; or a full restore (O: Option B)."
                        )
                    }
                    None => format!("Go back to {point}? Choose it. Nothing is touched yet."),
                },
            )
        }
        Some(Ok(reach)) => unreachable(view, reach).tone(Tone::Attention),
        Some(Err(e)) => {
            do_it(Id::SurveyAgain, format!("Could not be judged: {}", e.what)).tone(Tone::Attention)
        }
    }
}

/// The cluster is lost, as the line says it.
const LOST: &str = "The cluster is lost: it does not answer, and its control file cannot be read";

/// What to do where a point cannot be reached. The panel below says in full why.
fn unreachable(view: &View, reach: &Reach) -> Guide {
    use super::full_restore::{Case, case, case_of};
    let nearest = recovery_point::nearest(view).is_some();
    // A cluster that is lost is a reason whatever is in this point's way, but for what is in both's.
    let found = match case_of(view, reach) {
        None | Some(Case::Helps(_)) => case(view),
        no_use => no_use,
    };
    if recovery_point::lacks_room(view) {
        return do_it(
            Id::OtherDirectory,
            "This point cannot be reached: its disk has too little room, which a full restore (Option B) needs there, too. Make room, or name a directory on another disk.",
        );
    }
    match (found, nearest) {
        (Some(Case::Helps(why)), true) => do_it(
            Id::NearestPoint,
            format!(
                "This point cannot be reached: {why}. Take the nearest that can, or a full restore beside the old cluster (O: Option B)."
            ),
        ),
        (Some(Case::Helps(why)), false) => do_it(
            Id::FullRestore,
            format!(
                "This point cannot be reached: {why}. A full restore beside the old cluster (Option B) is the way, or another point (k)."
            ),
        ),
        (Some(Case::NoUse(needs)), _) => {
            let (id, do_what) = match nearest {
                true => (Id::NearestPoint, "Take the nearest that can."),
                false => (Id::TargetKind, "Choose another."),
            };
            // Bounded, so that no line of it is cut off.
            do_it(
                id,
                format!(
                    "This point cannot be reached, and a full restore (Option B) would not help: {needs}. {do_what}"
                ),
            )
        }
        (None, nearest) => {
            let why = recovery_point::why_not(reach);
            let (id, do_what) = match nearest {
                true => (Id::NearestPoint, "Take the nearest that can."),
                false => (Id::TargetKind, "Choose another."),
            };
            do_it(id, format!("This point cannot be reached: {why} {do_what}"))
        }
    }
}

/// A point by its time, where it is given otherwise, and exactly.
pub(super) fn when_and_where(view: &View, reach: &Reach) -> String {
    let by_place = matches!(reach.target.point, TargetPoint::Lsn(_) | TargetPoint::Xid(_));
    match reach.last_kept.as_ref().filter(|_| by_place) {
        Some(kept) => format!("{}, {}", text::when(kept.at, view.now), reach.target),
        None => reach.target.to_string(),
    }
}

fn restore(view: &View, incident: &Incident) -> Guide {
    let step = incident.current_step();
    let title = step
        .and_then(|s| incident.plan.as_ref().and_then(|p| p.step(&s.id)))
        .map_or("the step", |s| s.title.as_str());
    let full = super::full_restore::is_chosen(incident);
    match incident.status {
        RunStatus::Planning => before_the_gate(view, incident),
        RunStatus::Ready | RunStatus::Paused if super::people::waits(view, incident) => {
            for_approval(view, incident)
        }
        RunStatus::Ready if incident.is_salvaging() => {
            do_it(Id::StartRun, "The gate is passed. Start the salvage.")
        }
        RunStatus::Ready => do_it(Id::StartRun, "The gate is passed. Start the recovery."),
        RunStatus::Running if incident.cancel_requested => {
            wait(format!("Stopping at the next safe point of: {title}.")).tone(Tone::Attention)
        }
        RunStatus::Running if incident.pause_requested => {
            wait(format!("Will pause when this is done: {title}.")).tone(Tone::Attention)
        }
        RunStatus::Running => wait(match (running_number(incident), incident.steps.len()) {
            (Some(at), of) => format!(
                "Nothing to do: step {at} of {of} runs. Closing this window does not stop it."
            ),
            (None, _) => String::from("Nothing to do: the next step is about to start."),
        }),
        RunStatus::Held if super::parts::waits(incident) => match &incident.parts.look {
            _ if view.busy(super::available::LOOKING) => {
                wait("Comparing the copy with production. Nothing is written.")
            }
            None => do_it(
                Id::LookAtParts,
                "The copy stands at its point. Choose what of it to look at. Nothing is written.",
            ),
            Some(_) => do_it(
                Id::CarryParts,
                "Read what differs. Carry over what is right, look at something else (k), or give up (A)?",
            )
            .tone(Tone::Attention),
        },
        RunStatus::Held if super::full_restore::waits(incident) => {
            let question = step.and_then(|s| s.question.as_deref()).unwrap_or("Swap it in?");
            let question = text::clean(question);
            if incident.validation.iter().any(|check| check.verdict == Verdict::Failed) {
                let words = format!("{question} Read what FAILED first; A gives it up.");
                return do_it(Id::PageFour, words).tone(Tone::Attention);
            }
            do_it(Id::SwapIn, format!("{question} A gives it up.")).tone(Tone::Attention)
        }
        RunStatus::Held => {
            let question = step
                .and_then(|s| s.question.as_deref())
                .unwrap_or("The server stands at the recovery point. Is the data right?");
            let question = text::clean(question);
            let more = if question.trim_end().ends_with('?') {
                " Promote, later (L), earlier (E)?"
            } else {
                " Is the data right? Promote, later (L), earlier (E)?"
            };
            do_it(Id::Promote, question + more).tone(Tone::Attention)
        }
        RunStatus::Paused => do_it(Id::GoOnRunning, "Paused between two steps. Go on when ready.")
            .tone(Tone::Attention),
        RunStatus::Failed => failed(incident, title),
        RunStatus::Interrupted => {
            let found = step.and_then(|s| view.findings.get(&s.id));
            let found =
                found.map_or(String::new(), |f| format!(" Found: {}.", f.trim_end_matches('.')));
            do_it(
                Id::GoOnRunning,
                format!("Lifeboat itself was interrupted in: {title}. Go on from there.{found}"),
            )
            .tone(Tone::Attention)
        }
        RunStatus::Cancelled if super::parts::is_chosen(incident) => do_it(
            Id::PutBack,
            "It was given up. Put back: the copy beside production is taken down. Production is as it is.",
        )
        .tone(Tone::Attention),
        RunStatus::Cancelled if full => do_it(
            Id::PutBack,
            "The full restore was ended. Put back: the new server is stopped, its files stay.",
        )
        .tone(Tone::Attention),
        RunStatus::Cancelled => do_it(
            Id::PutBack,
            "The recovery was cancelled. Put everything back as it was, then choose again.",
        )
        .tone(Tone::Attention),
        RunStatus::Undoing => wait("Putting everything back as it was before. Nothing to do."),
        RunStatus::Undone if full => do_it(
            Id::PageTwo,
            format!(
                "The old cluster is as it was. Choose again (2). The new one's files go with: {}.",
                super::full_restore::discard(incident)
            ),
        ),
        RunStatus::Undone => do_it(
            Id::PageTwo,
            "Everything is as it was before. Choose another recovery point, or a full restore (O).",
        ),
        RunStatus::Finished => do_it(Id::GoOn, "The recovery is done. Go on."),
    }
}

fn failed(incident: &Incident, title: &str) -> Guide {
    if let Some(e) = &incident.undo_failure {
        return do_it(Id::PutBack, format!("Could not put back: {} {}", e.what, e.next))
            .tone(Tone::Bad);
    }
    let trouble = super::restore::trouble(incident);
    if let Some(cure) = trouble.and_then(|trouble| trouble.cures.first()) {
        let is_on = incident.current_step().is_some_and(|step| step.curing.is_some());
        if is_on {
            return wait(format!("Being done: {}. Then it goes on by itself.", cure.title))
                .tone(Tone::Attention);
        }
        let whole = match trouble.and_then(super::full_restore::case_in) {
            Some(super::full_restore::Case::Helps(why))
                if super::full_restore::instead_of(incident) =>
            {
                format!(" Or a full restore beside the old cluster (O: Option B): {why}.")
            }
            _ => String::new(),
        };
        let words = format!("Stopped at: {title}. It is known why. {}?{whole}", cure.title);
        return do_it(Id::Cure, words).tone(Tone::Bad);
    }
    let next = incident
        .current_step()
        .and_then(|s| s.failure.as_ref())
        .map_or("", |e| if e.next.is_empty() { "" } else { e.next.as_str() });
    if super::parts::may_look(incident) {
        let words = format!("Failed: {title}. {next} k looks again and asks anew, r tries again.");
        return do_it(Id::LookAtParts, words).tone(Tone::Bad);
    }
    do_it(
        Id::GoOnRunning,
        format!("Failed: {title}. {next} r tries again, U puts everything back."),
    )
    .tone(Tone::Bad)
}

fn before_the_gate(view: &View, incident: &Incident) -> Guide {
    match incident.open_prerequisites().first() {
        Some(Prerequisite::IncidentDeclared) => {
            do_it(Id::IncidentEscalated, "Confirm that the incident is declared and escalated.")
        }
        Some(Prerequisite::MaintenanceWindow) => do_it(
            Id::MaintenanceWindow,
            "Confirm that the maintenance window is established: nobody else works on this server.",
        ),
        Some(Prerequisite::BackupIntegrity) => {
            if view.busy("verifying the backup")
                || view.progress.as_ref().is_some_and(|p| p.job == "integrity")
            {
                return wait("Reading and checking the whole backup. Nothing is touched.");
            }
            if incident.integrity.is_some() {
                return do_it(
                    Id::VerifyBackup,
                    "The backup did not verify. Choose the point again (2): another backup then serves, where one does.",
                )
                .tone(Tone::Bad);
            }
            do_it(Id::VerifyBackup, "Have the whole backup read and checked. Nothing is touched.")
        }
        Some(Prerequisite::TargetConfirmed) => do_it(
            Id::ConfirmTarget,
            "Confirm with whoever owns the data that the recovery point is right.",
        ),
        None if incident.plan.is_none() => {
            do_it(Id::MakePlan, "Have the plan made. Nothing is touched.")
        }
        None if super::people::waits(view, incident) => for_approval(view, incident),
        None if incident.is_salvaging() => do_it(
            Id::OpenGate,
            "Read the plan, then open the gate: it copies the kept directory. X leaves this again.",
        ),
        None => do_it(
            Id::OpenGate,
            "Read the plan, then open the gate. Nothing happens before you type the cluster's name.",
        ),
    }
}

/// A second person has to say yes; the key is theirs, or shows how it stands.
fn for_approval(view: &View, incident: &Incident) -> Guide {
    let Some((words, id)) = super::people::guide(view, incident) else { return wait("") };
    let shown = id == Id::ApprovePlan || super::available::available(id, view);
    Guide { text: words, command: shown.then_some(id), tone: Tone::Attention }
}

fn validation(view: &View) -> Guide {
    if view.busy("validating") || view.progress.as_ref().is_some_and(|p| p.job == "validate") {
        return wait("Checking the recovered data. Nothing to do.");
    }
    do_it(Id::Validate, "The database serves again. Check the recovered data.")
}

fn verdicts(view: &View, incident: &Incident) -> Guide {
    if view.busy("validating") {
        return wait("Checking the recovered data again. Nothing to do.");
    }
    let left_out = incident.validation.iter().filter(|c| c.verdict == Verdict::NotRun).count();
    match Verdict::overall(incident.validation.iter().map(|c| c.verdict)) {
        Verdict::Verified if left_out > 0 => do_it(
            Id::GoOn,
            format!(
                "Every check that is set up is verified; {left_out} not run. Go on to the checklist."
            ),
        )
        .tone(Tone::Good),
        Verdict::Verified => {
            do_it(Id::GoOn, "Every check is verified. Go on to the checklist.").tone(Tone::Good)
        }
        Verdict::Failed => do_it(
            Id::CheckDetails,
            "Some checks FAILED. Read each: it says what it means and what to do.",
        )
        .tone(Tone::Bad),
        Verdict::NotRun | Verdict::CouldNotVerify => {
            do_it(Id::CheckDetails, "Some checks could not be made, which is not a pass. Read why.")
                .tone(Tone::Attention)
        }
    }
}

fn ending(view: &View, incident: &Incident) -> Guide {
    if let Some(open) = checklist::next_open(view) {
        let selected = checklist::selected(view);
        let counts = |line: &&ChecklistItem| {
            !checklist::is_settled(incident, &line.id) && !drill::is_for_earnest(view, line.horizon)
        };
        if let Some(selected) = selected.filter(counts) {
            return line_of(view, selected);
        }
        return wait(format!("Next on the list: {}. Move there with the arrow keys.", open.text));
    }
    let words = match incident.declaration.drill {
        Some(_) => "Every line of this drill is settled. Go on to the report.",
        None => "Every line is settled. Go on to the report.",
    };
    do_it(Id::GoOn, words).tone(Tone::Good)
}

/// What to do about one open line.
fn line_of(view: &View, line: &ChecklistItem) -> Guide {
    let text = &line.text;
    let behind = line.id == LATER_WRITES && super::available::available(Id::Salvage, view);
    let begun = view.incident.as_ref().is_some_and(|incident| !incident.salvages.is_empty());
    if behind && !begun {
        return do_it(
            Id::Salvage,
            "Writes after the point are in the kept directory alone. Bring them back, or give them up (w).",
        );
    }
    if behind {
        let words = "Sign what came back and what stays lost, or bring more back (B).";
        return do_it(Id::SignLine, words);
    }
    if checklist::selected_item(view).is_none() {
        return do_it(Id::SignLine, format!("Do it, then sign: {text}."));
    }
    let Some(care) = checklist::selected_care(view) else {
        return do_it(Id::RunLine, format!("Let Lifeboat look: {text}."));
    };
    if care.running.is_some() {
        return wait(format!("Running: {text}. It goes on if you leave."));
    }
    if !care.proposals().is_empty() {
        let count = care.proposals().len();
        return do_it(Id::AgreeLine, format!("{text}: {count} proposed. Read and decide."))
            .tone(Tone::Attention);
    }
    match care.verdict() {
        Verdict::Verified => {
            do_it(Id::SignLine, format!("Verified. Sign: {text}.")).tone(Tone::Good)
        }
        Verdict::Failed => {
            do_it(Id::LineDetails, format!("{text}: FAILED. Read what to do.")).tone(Tone::Bad)
        }
        Verdict::NotRun | Verdict::CouldNotVerify => {
            do_it(Id::LineDetails, format!("{text}: not proven. Read why, then sign or waive."))
                .tone(Tone::Attention)
        }
    }
}

fn report(view: &View, incident: &Incident) -> Guide {
    let drill = view.briefing.is_some();
    if incident.closing.is_some() && drill {
        return do_it(Id::Quit, "The incident is closed. Leaving ends the drill and scores it.")
            .tone(Tone::Good);
    }
    if incident.closing.is_some() {
        return do_it(Id::GoHome, "The incident is closed. Back to the clusters.").tone(Tone::Good);
    }
    if view.busy("writing the report") {
        return wait("Writing the report.");
    }
    if incident.reports.is_empty() {
        return do_it(Id::WriteReport, "Write the report. It can be written again at any time.");
    }
    match checklist::next_open(view) {
        Some(_) if drill => do_it(
            Id::Quit,
            "The report is written. Sign what you want to practise (5); leaving ends the drill and scores it.",
        ),
        None if drill => do_it(
            Id::Quit,
            "All of this drill is done. Leaving ends and scores it; C closes the incident first, as in earnest.",
        )
        .tone(Tone::Good),
        Some(_) => wait(
            "The report is written. The checklist (5) still has open lines: sign or waive each, then close.",
        ),
        None => do_it(Id::CloseIncident, "All is done. Close the incident."),
    }
}

/// The place of the running step, from 1.
fn running_number(incident: &Incident) -> Option<usize> {
    incident.steps.iter().position(|s| s.status == StepStatus::Running).map(|i| i + 1)
}
