//! Why a command does nothing now, and which key helps. Owns those words; whether it does is
//! `available`'s judgement, whose order they follow.

use super::commands::{self, Id};
use super::view::{Link, Page, View};
use super::{available, checklist, drill, full_restore, parts, recovery_point, restore, text};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::Prerequisite;
use crate::engine::incident::model::{Phase, RunStatus};
use crate::engine::runbook::Proof;

/// Why `id`, which is not available, does nothing now.
#[must_use]
pub fn why_not(id: Id, view: &View) -> String {
    match id {
        Id::Open if view.panel == 0 => {
            format!("This cluster has no open incident; {} declares one.", key(Id::Declare))
        }
        Id::Open => format!("No incident is listed; {} declares one.", key(Id::Declare)),
        Id::Declare => String::from("No cluster is configured; the README shows how."),
        Id::Readiness => {
            String::from("Nobody asked yet how ready this cluster is; lifeboat readiness does.")
        }
        Id::NextPanel | Id::PreviousPanel => String::from("This screen has one panel alone."),
        Id::Briefing | Id::AbortDrill => String::from("This is no drill."),
        Id::Hint if view.briefing.is_none() => String::from("This is no drill."),
        _ => match (&view.link, &view.incident) {
            (Link::Lost { .. }, _) => {
                String::from("Not connected to the runner; nothing was sent. It is tried again.")
            }
            (_, None) | (Link::Attaching, _) => {
                String::from("Still connecting to the runner; press it again in a moment.")
            }
            (_, Some(_)) if id == Id::Hint => no_hint(view),
            (_, Some(incident)) => of_incident(id, view, incident),
        },
    }
}

fn key(id: Id) -> String {
    commands::by_id(id).map_or_else(String::new, |command| command.key.to_string())
}

/// A key on the screen that it is on, where that is not this one.
fn there(id: Id, page: Page, view: &View) -> String {
    let number = Page::INCIDENT.iter().position(|one| *one == page).map_or(0, |at| at + 1);
    match view.page == page {
        true => key(id),
        false => format!("{} on screen {number}", key(id)),
    }
}

fn no_hint(view: &View) -> String {
    let briefing = key(Id::Briefing);
    match drill::all_told(view) {
        true => format!("Every hint was told; {briefing} shows them again."),
        false => format!(
            "Every hint for this part was told; {briefing} shows them again. More come further on."
        ),
    }
}

fn of_incident(id: Id, view: &View, incident: &Incident) -> String {
    let said = |words: &str| words.to_owned();
    if incident.phase() == Phase::Closed && available::needs_live(id) {
        return said("The incident is closed; nothing of it is changed any more.");
    }
    let status = incident.status;
    match id {
        Id::ChoosePoint | Id::OnlyParts | Id::FullRestore => no_choice(id, view, incident),
        Id::OtherDirectory if available::may_choose(incident) => {
            said("The selected point does not lack room where the data directory is.")
        }
        Id::OtherDirectory => no_choice(id, view, incident),
        Id::StopReading => said("No log is being read."),
        Id::RunProbes => said("The probes look before a recovery; this one has begun."),
        Id::IncidentEscalated | Id::MaintenanceWindow | Id::ConfirmTarget | Id::VerifyBackup => {
            no_answer(id, view, incident)
        }
        Id::MakePlan | Id::OpenGate | Id::StartRun if incident.reach.is_none() => no_point(view),
        Id::MakePlan => format!(
            "The plan is made: {} reads a step, {} opens the gate.",
            key(Id::Details),
            key(Id::OpenGate)
        ),
        Id::OpenGate if status != RunStatus::Planning => said("The gate was passed already."),
        Id::OpenGate if incident.plan.is_none() => {
            format!("There is no plan yet: {} makes it.", key(Id::MakePlan))
        }
        Id::OpenGate => {
            let open = incident.open_prerequisites();
            let open: Vec<String> = open.iter().map(|which| open_one(view, *which)).collect();
            format!("The gate needs first: {}.", open.join(", "))
        }
        Id::StartRun if status == RunStatus::Planning => {
            format!("The gate is not passed yet: {} opens it.", key(Id::OpenGate))
        }
        Id::StartRun => said("It was started already."),
        Id::ApprovePlan | Id::DeclinePlan => said("No plan waits for your approval."),
        Id::WaiveApproval => said("No second person is waited for."),
        Id::AnswerHandover => said("Nobody hands you anything."),
        Id::TakeCommand => said("Nobody else has the command: it needs no taking."),
        Id::Pause if incident.pause_requested => {
            said("It pauses as soon as the running step is done.")
        }
        Id::CancelRun if incident.cancel_requested => {
            said("It is being cancelled: at the running step's next safe point.")
        }
        Id::CancelRun if status == RunStatus::Held => {
            format!("It waits for your decision: {} gives it up.", key(Id::Abandon))
        }
        Id::PutBack if matches!(status, RunStatus::Running | RunStatus::Paused) => {
            format!("It runs: {} cancels it first.", key(Id::CancelRun))
        }
        Id::PutBack if status == RunStatus::Held => {
            format!("It waits for your decision: {} gives it up first.", key(Id::Abandon))
        }
        Id::PutBack if status == RunStatus::Undone => said("Everything is put back already."),
        Id::GoOnRunning if status == RunStatus::Running => said("It runs already."),
        Id::Pause
            if matches!(status, RunStatus::Planning | RunStatus::Ready)
                && !parts::is_chosen(incident) =>
        {
            // The same key brings back parts alone on the screen before.
            format!(
                "Nothing was started yet. To bring back only parts: {}.",
                there(Id::OnlyParts, Page::RecoveryPoint, view)
            )
        }
        Id::Pause | Id::CancelRun | Id::PutBack | Id::GoOnRunning => not_running(incident),
        Id::Cure if view.busy(available::CURING) => said("The cure is being carried out."),
        Id::Cure | Id::OtherCures if status == RunStatus::Failed => format!(
            "No {} is known for this failure; {} tries the step again.",
            if id == Id::Cure { "cure" } else { "other cure" },
            key(Id::GoOnRunning)
        ),
        Id::Cure | Id::OtherCures => said("No step has failed."),
        Id::Promote if parts::waits(incident) => {
            format!("Only parts come back: {} carries them over.", key(Id::CarryParts))
        }
        Id::Promote if full_restore::waits(incident) => {
            format!("A new cluster stands beside the old one: {} swaps it in.", key(Id::SwapIn))
        }
        Id::LookAtParts | Id::CarryParts if !parts::is_chosen(incident) => {
            said("That is for bringing only parts back; the whole cluster is being recovered.")
        }
        Id::LookAtParts | Id::CarryParts if view.busy(available::LOOKING) => {
            said("The copy is being compared; wait for it.")
        }
        Id::LookAtParts | Id::CarryParts if view.busy(available::CARRYING) => {
            said("Parts are being carried over; wait for it.")
        }
        Id::CarryParts if parts::waits(incident) => {
            format!("Nothing was looked at yet: {} does that first.", key(Id::LookAtParts))
        }
        Id::LookAtParts if status == RunStatus::Running => {
            said("The copy does not stand at its point yet; wait for it.")
        }
        Id::Promote
        | Id::Abandon
        | Id::GoLater
        | Id::GoEarlier
        | Id::SwapIn
        | Id::OtherTry
        | Id::LookAtParts
        | Id::CarryParts => no_decision(incident),
        Id::Validate if view.busy("validating") => said("The checks are being made."),
        Id::Validate if parts::is_chosen(incident) => {
            said("The plan compared the parts by itself; its copy is gone by now.")
        }
        Id::Validate => said("The checks are made once the database serves again."),
        Id::CheckDetails => said("No check has been made yet."),
        Id::SignLine | Id::EvidenceLine | Id::WaiveLine | Id::ReopenLine
            if view.busy(available::PROVING) =>
        {
            said("The line is being proven; wait for it.")
        }
        Id::SignLine | Id::EvidenceLine | Id::WaiveLine => {
            format!("This line is settled; {} reopens it.", key(Id::ReopenLine))
        }
        Id::ReopenLine => format!("This line is open: {} signs it.", key(Id::SignLine)),
        Id::RunLine | Id::ProveLine | Id::AgreeLine | Id::LineDetails => no_run(id, view, incident),
        Id::Acknowledge => said("No level was called that waits for an answer."),
        Id::CloseIncident => said("A recovery is on its way: it is ended or put back first."),
        Id::GoOn => said("You are where the incident stands."),
        Id::NearestPoint => match view.candidate().is_some() {
            true => said("The selected point can be reached itself, or is still being proven."),
            false => no_candidate(view),
        },
        Id::ToggleInclusive | Id::FollowTimeline | Id::ProvePoint if view.candidate().is_none() => {
            no_candidate(view)
        }
        Id::ProvePoint => said("The log was read this far already."),
        Id::ShowLog => said("Nothing runs that writes a log; t shows everything that was done."),
        Id::Details => no_point(view),
        _ if view.survey.is_none() => said("Backups and log are still being read."),
        _ => said("There is nothing for it to do here now."),
    }
}

fn no_point(view: &View) -> String {
    format!(
        "No recovery point is chosen yet: {}.",
        there(Id::ChoosePoint, Page::RecoveryPoint, view)
    )
}

fn no_candidate(view: &View) -> String {
    match &view.survey {
        None => String::from("Backups and log are still being read."),
        Some(_) => {
            format!("No point is selected; {} gives one of your own.", key(Id::TargetKind))
        }
    }
}

fn no_choice(id: Id, view: &View, incident: &Incident) -> String {
    if id == Id::FullRestore
        && let Some(why) = no_full_restore(view, incident)
    {
        return why;
    }
    if !available::may_choose(incident) {
        return match incident.status {
            RunStatus::Finished => {
                String::from("The recovery is done: there is nothing to choose.")
            }
            RunStatus::Held => format!(
                "A recovery waits for your decision on screen 3: {} gives it up.",
                key(Id::Abandon)
            ),
            RunStatus::Failed | RunStatus::Cancelled => format!(
                "Something was begun already: {} puts it back first.",
                there(Id::PutBack, Page::Restore, view)
            ),
            _ => format!(
                "A recovery is on its way: {} cancels it first.",
                there(Id::CancelRun, Page::Restore, view)
            ),
        };
    }
    if view.busy("choosing the point") {
        return String::from("The point is being chosen.");
    }
    let Some(candidate) = view.candidate() else { return no_candidate(view) };
    match view.reach(&candidate.target) {
        Some(Ok(reach)) if id == Id::ChoosePoint => {
            format!("It cannot be reached. {}", recovery_point::why_not(reach))
        }
        Some(Err(e)) => format!("It could not be judged: {}", text::clean(&e.what)),
        _ => String::from("There is nothing for it to do here now."),
    }
}

/// What is in the way of a full restore beyond what is in the way of any choice.
fn no_full_restore(view: &View, incident: &Incident) -> Option<String> {
    if !full_restore::is_possible(view) {
        return Some(String::from("A full restore needs a base backup, and there is none."));
    }
    let trouble = restore::trouble(incident)?;
    let would = match full_restore::case_in(trouble) {
        Some(full_restore::Case::NoUse(needs)) => format!("would not help: {needs}"),
        _ => String::from("is for a damaged log or a lost cluster, not for this"),
    };
    let next = match trouble.cures.is_empty() {
        true => format!("{} tries the step again", key(Id::GoOnRunning)),
        false => format!("{} mends it", key(Id::Cure)),
    };
    (incident.procedure().is_point_in_time())
        .then(|| format!("A full restore {would}. {next}; {} puts all back.", key(Id::PutBack)))
}

fn prerequisite_of(id: Id) -> Prerequisite {
    match id {
        Id::IncidentEscalated => Prerequisite::IncidentDeclared,
        Id::MaintenanceWindow => Prerequisite::MaintenanceWindow,
        Id::ConfirmTarget => Prerequisite::TargetConfirmed,
        _ => Prerequisite::BackupIntegrity,
    }
}

fn no_answer(id: Id, view: &View, incident: &Incident) -> String {
    let which = prerequisite_of(id);
    if incident.reach.is_none() {
        return no_point(view);
    }
    if !incident.procedure().prerequisites().contains(&which) {
        return String::from("This way of recovery does not need it.");
    }
    if incident.status != RunStatus::Planning {
        return String::from("The gate was passed: it was confirmed before.");
    }
    if view.busy("verifying the backup") {
        return String::from("The backup is being read and checked; wait for it.");
    }
    match which {
        Prerequisite::BackupIntegrity => String::from("The backup was read and is whole."),
        _ => format!("It is confirmed already; {} on it takes that back.", key(Id::Details)),
    }
}

/// A prerequisite in few words, with its key.
fn open_one(view: &View, which: Prerequisite) -> String {
    let title = view.runbook.prerequisite(which).map_or(which.title(), |p| p.title.as_str());
    let being_read = which == Prerequisite::BackupIntegrity && view.busy("verifying the backup");
    let how = if being_read { String::from("being done") } else { key(restore::command(which)) };
    format!("{} ({how})", text::clean(title))
}

fn not_running(incident: &Incident) -> String {
    String::from(match incident.status {
        RunStatus::Planning | RunStatus::Ready => "Nothing was started yet.",
        RunStatus::Running => "It runs.",
        RunStatus::Paused => "It is paused already.",
        RunStatus::Held => "It waits for your decision.",
        RunStatus::Failed => "A step failed; nothing runs.",
        RunStatus::Interrupted => "It was interrupted; nothing runs.",
        RunStatus::Cancelled => "It was cancelled; nothing runs.",
        RunStatus::Undoing => "It is being put back.",
        RunStatus::Undone => "It was put back; nothing runs.",
        RunStatus::Finished => "The recovery is done; nothing runs.",
    })
}

fn no_decision(incident: &Incident) -> String {
    String::from(match incident.status {
        RunStatus::Held => "This recovery asks another question; the line above says which.",
        RunStatus::Planning | RunStatus::Ready => {
            "That is decided at the recovery point; nothing was started yet."
        }
        RunStatus::Finished => "That was decided; the recovery is done.",
        RunStatus::Undoing | RunStatus::Undone | RunStatus::Cancelled => {
            "This recovery was given up; there is nothing to decide."
        }
        _ => "The recovery point is not reached yet; it is asked there.",
    })
}

fn no_run(id: Id, view: &View, incident: &Incident) -> String {
    if checklist::running(view) {
        return String::from("A line is being run; wait for it.");
    }
    let selected = checklist::selected(view);
    let own = checklist::selected_item(view).is_some();
    let sign = key(Id::SignLine);
    match id {
        Id::RunLine | Id::LineDetails | Id::AgreeLine if !own => {
            format!("Lifeboat has nothing to run for this line; {sign} signs what you saw.")
        }
        Id::ProveLine if selected.is_none_or(|item| item.proof != Proof::Tool) => {
            format!("Lifeboat cannot prove this line by itself; {sign} signs what you saw.")
        }
        Id::ProveLine if selected.is_some_and(|i| checklist::is_settled(incident, &i.id)) => {
            format!("This line is settled; {} reopens it.", key(Id::ReopenLine))
        }
        Id::RunLine | Id::ProveLine => String::from("It is run once the database serves again."),
        _ if checklist::selected_care(view).is_some_and(|care| care.last.is_some()) => {
            let (sign, waive) = (key(Id::SignLine), key(Id::WaiveLine));
            format!(
                "It was run, and nothing is proposed: {sign} signs it by hand, {waive} waives it."
            )
        }
        _ => format!("Nothing was found yet: {} runs this line.", key(Id::RunLine)),
    }
}
