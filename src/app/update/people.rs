//! What people do with each other: approving a plan, saying no, going without. Sends nothing
//! itself; who may do what is the runner's to enforce.

use super::super::model::{App, Effect};
use super::actions::line;
use super::{notice, plain};
use crate::engine::incident::approval;
use crate::engine::runner::protocol::Command;
use crate::screens::layers::{Gate, Layer, LinePurpose};
use tui_input::Input;

/// Opens what is to be approved, for the second person to read.
pub fn approve(app: &mut App) {
    let Some(incident) = &app.view.incident else { return };
    let Some(plan) = &incident.plan else { return };
    let user = app.view.you.as_ref().map_or("", |you| you.user.as_str());
    if let Err(why) = approval::is_second(incident, user) {
        notice(app, format!("{} {}", why.what, why.next), true);
        return;
    }
    let gate = Gate {
        plan_hash: plan.hash.clone(),
        cluster: plan.cluster.clone(),
        point: None,
        approve: true,
        input: Input::default(),
        error: None,
        scroll: 0,
    };
    app.view.layers.push(Layer::Gate(gate));
}

/// The name was typed: the plan that was read is approved, and no other.
pub fn approved(app: &mut App, gate: Gate) -> Vec<Effect> {
    let command = Command::Approve { plan_hash: gate.plan_hash, cluster: gate.cluster };
    plain(app, command, "approving")
}

/// Asks why not.
pub fn decline(app: &mut App) {
    line(
        app,
        LinePurpose::DeclineApproval,
        "Not approve this plan",
        "Say why not. The commander reads it at once, and it stays in the journal.",
        "The gate stays closed; the plan can be made anew, and approved then.",
    );
}

/// Asks why nobody else is asked.
pub fn waive(app: &mut App) {
    line(
        app,
        LinePurpose::WaiveApproval,
        "Go on without a second person",
        "Only in an emergency: nobody else will have looked at this plan. Write down why nobody \
         could be asked.",
        "Your name and this reason stand out in the timeline, the checklist and every form of the \
         report. Esc leaves it; the other person types the command that the gate shows.",
    );
}

/// What was written becomes the no or the waiver of the plan that stands.
pub fn written(app: &mut App, purpose: &LinePurpose, reason: String) -> Vec<Effect> {
    let plan = app.view.incident.as_ref().and_then(|incident| incident.plan.as_ref());
    let Some(plan_hash) = plan.map(|plan| plan.hash.clone()) else { return Vec::new() };
    match purpose {
        LinePurpose::DeclineApproval => {
            plain(app, Command::DeclineApproval { plan_hash, reason }, "saying no")
        }
        _ => plain(app, Command::WaiveApproval { plan_hash, reason }, "waiving the approval"),
    }
}
