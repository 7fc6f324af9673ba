//! What people do with each other: approving a plan, saying no, going without; handing the command
//! or a task over, answering, taking it; the words for people outside. Sends nothing itself; who may do what is the runner's to enforce.

use super::super::model::{App, Effect};
use super::asking::{choice, line};
use super::{notice, plain, signing};
use crate::engine::incident::approval;
use crate::engine::incident::people::thing;
use crate::engine::runner::protocol::Command;
use crate::screens::checklist;
use crate::screens::layers::{Gate, Layer, LinePurpose, Pick};
use crate::screens::people;
use crate::screens::view::Page;
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
        parts: None,
        input: Input::default(),
        error: None,
        scroll: 0,
        seen: 0,
    };
    app.view.layers.push(Layer::Gate(gate));
}

/// The name was typed: the plan that was read is approved, and no other.
pub fn approved(app: &mut App, gate: Gate) -> Vec<Effect> {
    signing::approve(app, gate.plan_hash, gate.cluster)
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

/// What to hand over: the command, or on the checklist the selected line.
pub fn hand_over(app: &mut App) {
    let line = checklist::selected(&app.view).filter(|_| app.view.page == Page::Checklist);
    let Some(line) = line else { return to_whom(app, None) };
    let options = vec![
        (Pick::Hand(Some(line.id.clone())), String::from("This line"), line.text.clone()),
        (
            Pick::Hand(None),
            String::from("The command"),
            String::from("Once it is taken, the other person decides and you do not."),
        ),
    ];
    choice(app, "Hand over", String::from("What do you hand over?"), options);
}

/// Asks for the person.
pub fn to_whom(app: &mut App, task: Option<String>) {
    let user = app.view.you.as_ref().map_or("", |you| you.user.as_str());
    let here = app.view.present.iter().filter(|one| one.user != user);
    let here: Vec<_> = here.map(|one| format!("{} ({})", one.user, one.role.word())).collect();
    let here = match here.as_slice() {
        [] => {
            String::from("Nobody else is at a screen now; whoever is named sees it when they come.")
        }
        some => format!("At a screen now: {}.", some.join(", ")),
    };
    let title = format!("Hand {} to somebody", thing(task.as_deref()));
    let prompt = "To whom? The person's user name on this machine. Everybody sees it at once; it \
                  is theirs when they take it, and yours until then.";
    line(app, LinePurpose::HandOver { task }, title, prompt, here);
}

/// Offers to take what is handed to this person.
pub fn answer(app: &mut App) {
    let Some(incident) = &app.view.incident else { return };
    let Some(offer) = people::offered(&app.view, incident).cloned() else { return };
    let words = thing(offer.task.as_deref());
    let note = if offer.note.is_empty() { String::new() } else { format!(" {}", offer.note) };
    let prompt = format!("{} hands {words} to you.{note}", offer.by);
    let options = vec![
        (
            Pick::TakeOffer(offer.task.clone()),
            String::from("I take it"),
            format!("Everybody sees that you have {words} from now on."),
        ),
        (
            Pick::LeaveOffer(offer.task),
            String::from("I do not take it"),
            String::from("You say why; it stays with whoever has it."),
        ),
    ];
    choice(app, "Handed to you", prompt, options);
}

/// Asks why not.
pub fn leave(app: &mut App, task: Option<String>) {
    let title = format!("Not take {}", thing(task.as_deref()));
    let purpose = LinePurpose::DeclineHandover { task };
    line(app, purpose, title, "Say why not, so that somebody else can be asked.", "");
}

/// Asks why the command is taken.
pub fn take(app: &mut App) {
    let holder = app.view.incident.as_ref().and_then(|incident| incident.people.command.clone());
    let holder = holder.map_or_else(|| String::from("Somebody else"), |(holder, _)| holder);
    line(
        app,
        LinePurpose::TakeCommand,
        "Take the command",
        format!("{holder} has the command. Take it only where it cannot be handed over; say why."),
        "Everybody sees it at once, and it stands in the timeline and the report.",
    );
}

/// Asks for the words.
pub fn status_text(app: &mut App) {
    let incident = app.view.incident.as_ref();
    let before = incident.and_then(|incident| incident.people.status_text.as_ref());
    let hint = before.map_or_else(String::new, |(text, by, _)| format!("Now, by {by}: {text}"));
    line(
        app,
        LinePurpose::StatusText,
        "For people outside",
        "What people outside should read, in plain words: no host, no table, no name. It stands in \
         the text of lifeboat messages --public.",
        hint,
    );
}
