//! The questions of the assessment: what happened, how bad it is, when it was, what changed before.
//! Asks in the runbook's words and sends nothing itself.

use super::super::model::App;
use super::asking::{choice, line, moment};
use crate::engine::incident::facts::{Moment, Severity, Topic};
use crate::screens::home;
use crate::screens::layers::{LinePurpose, MomentPurpose, Pick};

pub fn declare(app: &mut App) {
    let Some(cluster) = home::selected_cluster(&app.view) else { return };
    let (name, tier) = (cluster.name.clone(), cluster.tier);
    let already = home::open_incident(&app.view).map(|i| i.id.clone());
    let tier = app.view.runbook.tier(tier).title.clone();
    let mut prompt = format!(
        "In one line, what happened on {name} ({tier} tier)? Declaring starts the clock and a journal; it changes nothing on the server."
    );
    if let Some(id) = already {
        prompt.push_str(&format!(" There is an open incident already: {id}. Esc goes back to it."));
    }
    let hint = "For example: orders of the last hour are gone";
    line(
        app,
        LinePurpose::Declare { cluster: name.clone() },
        format!("Declare an incident on {name}"),
        prompt,
        hint,
    );
}

pub fn severity(app: &mut App) {
    let runbook = &app.view.runbook;
    let options = [Severity::Sev1, Severity::Sev2, Severity::Sev3]
        .into_iter()
        .map(|s| {
            let (title, means) =
                runbook.severity(s).map_or(("", ""), |t| (t.title.as_str(), t.definition.as_str()));
            (Pick::Severity(s), format!("{}: {title}", s.word()), means.to_owned())
        })
        .collect();
    choice(app, "How bad is it?", ask(app, "severity"), options);
}

pub fn state_moment(app: &mut App, which: Moment) {
    let (id, title) = match which {
        Moment::FirstDetected => ("first_detected", "When was it first detected?"),
        Moment::LastKnownGood => ("last_known_good", "When was the data last known to be good?"),
    };
    let prompt = ask(app, id);
    moment(app, MomentPurpose::State(which), title, &prompt);
}

pub fn note(app: &mut App, topic: Topic) {
    let (title, prompt, hint) = match topic {
        Topic::ChangesBefore => (
            "What changed before it happened?",
            ask(app, "changes_before"),
            "For example: release 4.2 at 13:40; nightly clean-up job changed",
        ),
        Topic::Symptom => (
            "What is wrong?",
            String::from("Which rows or tables, and since when. It goes into the report."),
            "For example: public.orders has no rows of today",
        ),
        Topic::Note => (
            "Note",
            String::from("It is written into the journal with your name and the time."),
            "",
        ),
    };
    line(app, LinePurpose::Note(topic), title, prompt, hint);
}

/// Why the runbook asks a question.
fn ask(app: &App, id: &str) -> String {
    app.view.runbook.question(id).map_or_else(String::new, |q| q.why.clone())
}
