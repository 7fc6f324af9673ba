//! Which commands make sense now. Owns that judgement for the key bar and the keys alike; who may
//! do what is the runner's to enforce.

use super::checklist;
use super::commands::Id;
use super::drill;
use super::view::{Link, Page, View};
use crate::engine::checklist::LATER_WRITES;
use crate::engine::incident::Incident;
use crate::engine::incident::facts::Prerequisite;
use crate::engine::incident::model::{Phase, RunStatus, StepStatus};
use crate::engine::runbook::Proof;

/// The label of the command that moves the target while it is on its way.
pub const MOVING: &str = "going on to the later point";

/// The label of a cure that is being carried out.
pub const CURING: &str = "carrying the cure out";
pub const PROVING: &str = "proving";

/// The label of asking the copy beside production.
pub const LOOKING: &str = "looking at the copy";

/// The label of planning a salvage.
pub const PLANNING: &str = "looking at the kept directory";

/// The label of carrying parts over.
pub const CARRYING: &str = "carrying over";

/// Whether the command would do something now.
#[must_use]
pub fn available(id: Id, view: &View) -> bool {
    match id {
        Id::Open => match view.panel {
            0 => super::home::open_incident(view).is_some(),
            _ => !view.listing.incidents.is_empty(),
        },
        Id::Declare => !view.listing.clusters.is_empty(),
        Id::Readiness => super::readiness::selected(view).is_some(),
        Id::NextPanel | Id::PreviousPanel => view.page.panels().len() > 1,
        Id::Briefing | Id::AbortDrill => view.briefing.is_some(),
        Id::Hint => view.link == Link::Live && drill::hints_left(view),
        _ => match (&view.incident, needs_live(id)) {
            (None, true) => false,
            (_, true) if view.link != Link::Live => false,
            (Some(incident), true) => open(id, view, incident),
            (Some(incident), false) => reading(id, view, incident),
            (None, false) => true,
        },
    }
}

/// Commands that need a runner at the other end.
pub(super) fn needs_live(id: Id) -> bool {
    use Id::{
        Abandon, Acknowledge, AddNote, AgreeLine, AnswerQuestion, AskServer, CancelRun, CarryParts,
        ChangesBefore, ChoosePoint, CloseIncident, CommitsAround, ConfirmTarget, Cure,
        EvidenceLine, FirstDetected, FullRestore, GiveLine, GoEarlier, GoLater, GoOnRunning,
        IncidentEscalated, LastKnownGood, LookAtParts, MaintenanceWindow, MakePlan, OnlyParts,
        OpenGate, OtherDirectory, Pause, Promote, ProveLine, PutBack, ReopenLine, RunLine,
        RunProbes, SetSeverity, SignLine, StartRun, StopReading, SurveyAgain, SwapIn, Validate,
        VerifyBackup, WaiveLine, WhatIsWrong, WriteReport,
    };
    let of_people = [
        Id::ApprovePlan,
        Id::DeclinePlan,
        Id::WaiveApproval,
        Id::HandOver,
        Id::AnswerHandover,
        Id::TakeCommand,
        Id::StatusText,
    ];
    if id == Id::Salvage {
        return true;
    }
    if of_people.contains(&id) {
        return true;
    }
    matches!(
        id,
        Abandon
            | Acknowledge
            | AddNote
            | ProveLine
            | AgreeLine
            | AnswerQuestion
            | GiveLine
            | RunLine
            | WaiveLine
            | AskServer
            | CancelRun
            | CarryParts
            | LookAtParts
            | OnlyParts
            | ChangesBefore
            | ChoosePoint
            | CloseIncident
            | CommitsAround
            | ConfirmTarget
            | Cure
            | FirstDetected
            | FullRestore
            | GoEarlier
            | EvidenceLine
            | GoLater
            | GoOnRunning
            | IncidentEscalated
            | LastKnownGood
            | MaintenanceWindow
            | MakePlan
            | OpenGate
            | OtherDirectory
            | Pause
            | Promote
            | PutBack
            | ReopenLine
            | RunProbes
            | SetSeverity
            | SignLine
            | StartRun
            | StopReading
            | SurveyAgain
            | SwapIn
            | Validate
            | VerifyBackup
            | WhatIsWrong
            | WriteReport
    )
}

fn open(id: Id, view: &View, incident: &Incident) -> bool {
    let closed = incident.phase() == Phase::Closed;
    if closed {
        return matches!(id, Id::WriteReport);
    }
    let status = incident.status;
    let planning = status == RunStatus::Planning;
    // A point may be chosen anew until something was touched, and after it was put back.
    let choosing = may_choose(incident);
    let chosen = incident.reach.is_some();
    match id {
        Id::ChoosePoint => {
            // What is not proven yet the runner proves before it is chosen; what is refuted by
            // now need not be asked.
            choosing
                && !view.busy("choosing the point")
                && view.candidate().is_some_and(|c| {
                    view.reach(&c.target).is_none_or(|r| r.as_ref().map_or(true, |r| r.reachable))
                })
        }
        Id::OtherDirectory => {
            choosing && !view.busy("choosing the point") && super::recovery_point::lacks_room(view)
        }
        Id::StopReading => view.progress.as_ref().is_some_and(|p| p.job == "survey"),
        Id::RunProbes => choosing,
        Id::IncidentEscalated | Id::MaintenanceWindow | Id::ConfirmTarget | Id::VerifyBackup => {
            let which = match id {
                Id::IncidentEscalated => Prerequisite::IncidentDeclared,
                Id::MaintenanceWindow => Prerequisite::MaintenanceWindow,
                Id::ConfirmTarget => Prerequisite::TargetConfirmed,
                _ => Prerequisite::BackupIntegrity,
            };
            planning
                && chosen
                && incident.procedure().prerequisites().contains(&which)
                && incident.open_prerequisites().contains(&which)
                && !(id == Id::VerifyBackup && view.busy("verifying the backup"))
        }
        Id::MakePlan => planning && chosen && incident.plan.is_none(),
        Id::OpenGate => {
            planning && incident.plan.is_some() && incident.open_prerequisites().is_empty()
        }
        Id::StartRun => status == RunStatus::Ready && incident.gate.is_some(),
        Id::ApprovePlan | Id::DeclinePlan => super::people::may_approve(view, incident),
        Id::WaiveApproval => super::people::waits(view, incident),
        Id::AnswerHandover => super::people::offered(view, incident).is_some(),
        Id::TakeCommand => super::people::may_take(view, incident),
        Id::Pause => status == RunStatus::Running && !incident.pause_requested,
        Id::GoOnRunning => match status {
            RunStatus::Paused | RunStatus::Interrupted => true,
            RunStatus::Running => incident.pause_requested,
            RunStatus::Failed => incident.undo_failure.is_none(),
            _ => false,
        },
        Id::Cure => {
            super::restore::trouble(incident).is_some_and(|t| !t.cures.is_empty())
                && !view.busy(CURING)
        }
        Id::CancelRun => match status {
            RunStatus::Running => !incident.cancel_requested,
            RunStatus::Paused | RunStatus::Interrupted => true,
            RunStatus::Failed => incident.undo_failure.is_none(),
            // A salvage that has not begun leaves its place again.
            RunStatus::Planning | RunStatus::Ready => incident.is_salvaging(),
            _ => false,
        },
        Id::PutBack => matches!(status, RunStatus::Failed | RunStatus::Cancelled),
        Id::FullRestore => {
            super::full_restore::is_possible(view)
                && (choosing || super::full_restore::instead_of(incident))
                && !view.busy("choosing the point")
        }
        Id::SwapIn => super::full_restore::waits(incident),
        Id::OnlyParts => choosing && view.candidate().is_some() && !view.busy("choosing the point"),
        Id::LookAtParts => {
            super::parts::may_look(incident) && !view.busy(LOOKING) && !view.busy(CARRYING)
        }
        Id::CarryParts => {
            super::parts::waits(incident)
                && incident.parts.look.is_some()
                && !view.busy(LOOKING)
                && !view.busy(CARRYING)
        }
        Id::Promote => {
            let asks_otherwise =
                super::full_restore::waits(incident) || super::parts::waits(incident);
            status == RunStatus::Held && !asks_otherwise
        }
        Id::Abandon => status == RunStatus::Held,
        Id::GoLater => super::at_target::waits(incident) && !view.busy(MOVING),
        Id::GoEarlier => super::at_target::waits(incident),
        // Of parts the plan itself has compared; the copy to compare with is gone.
        Id::Validate => {
            status == RunStatus::Finished
                && !super::parts::is_chosen(incident)
                && !view.busy("validating")
        }
        Id::SignLine | Id::EvidenceLine | Id::WaiveLine | Id::ReopenLine => {
            let settled = checklist::selected(view)
                .is_some_and(|item| checklist::is_settled(incident, &item.id));
            settled == (id == Id::ReopenLine) && !view.busy(PROVING)
        }
        Id::RunLine => {
            checklist::selected_item(view).is_some()
                && incident.clocks.serving.is_some()
                && !checklist::running(view)
        }
        Id::ProveLine => {
            let selected = checklist::selected(view);
            let open = selected.is_some_and(|item| !checklist::is_settled(incident, &item.id));
            let own = selected.is_some_and(|item| item.proof == Proof::Tool);
            open && own && incident.clocks.serving.is_some() && !checklist::running(view)
        }
        Id::Acknowledge => super::escalation::unanswered(incident).is_some(),
        Id::AgreeLine => !checklist::proposals(view).is_empty() && !checklist::running(view),
        // Once its line is settled, it is reopened first.
        Id::Salvage => {
            !incident.is_salvaging()
                && incident.left_behind()
                && !checklist::is_settled(incident, LATER_WRITES)
                && !view.busy(PLANNING)
        }
        Id::CloseIncident => {
            !incident.is_salvaging()
                && matches!(status, RunStatus::Planning | RunStatus::Undone | RunStatus::Finished)
        }
        _ => true,
    }
}

/// Whether a recovery point may still be chosen, by what has been touched.
#[must_use]
pub fn may_choose(incident: &Incident) -> bool {
    let untouched =
        incident.steps.iter().all(|s| matches!(s.status, StepStatus::Pending | StepStatus::Undone));
    match incident.status {
        // The recovery has finished; what is planned is a salvage.
        _ if incident.is_salvaging() => false,
        RunStatus::Planning | RunStatus::Ready | RunStatus::Undone => true,
        RunStatus::Cancelled => untouched,
        _ => false,
    }
}

fn reading(id: Id, view: &View, incident: &Incident) -> bool {
    match id {
        Id::GoOn => super::guide::next_page(view).is_some(),
        Id::NearestPoint => super::recovery_point::nearest(view).is_some(),
        Id::ToggleInclusive => view.candidate().is_some(),
        Id::Zoom
        | Id::ZoomIn
        | Id::ZoomOut
        | Id::Earlier
        | Id::Later
        | Id::FarEarlier
        | Id::FarLater
        | Id::Oldest
        | Id::Newest
        | Id::FinerStep
        | Id::WiderStep
        | Id::NextMark
        | Id::PreviousMark
        | Id::NextSuspect
        | Id::PreviousSuspect
        | Id::NextBackup
        | Id::PreviousBackup
        | Id::NextNamed
        | Id::PreviousNamed => view.survey.is_some(),
        Id::ProvePoint => super::recovery_point::unread(view),
        Id::FollowTimeline => view.candidate().is_some() && view.survey.is_some(),
        Id::OtherCures => super::restore::trouble(incident).is_some_and(|t| t.cures.len() > 1),
        Id::ShowLog => view.progress.is_some(),
        Id::Details => incident.reach.is_some(),
        Id::OtherTry => incident.status == RunStatus::Held && super::at_target::more_points(view),
        Id::CheckDetails => !incident.validated().is_empty(),
        Id::LineDetails => checklist::selected_care(view).is_some_and(|care| care.last.is_some()),
        Id::Timeline => view.page != Page::Home,
        _ => true,
    }
}
