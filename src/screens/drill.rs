//! The drill's briefing and its result, as small layers over an incident's screens.

use super::layers::{Emphasis, Reader};
use super::text;
use super::view::{Briefing, View};
use crate::engine::drill::card::HINT;

/// What the drill is about, in a layer.
#[must_use]
pub fn briefing(briefing: &Briefing) -> Reader {
    let mut lines =
        vec![(Emphasis::Heading, briefing.title.clone()), (Emphasis::Plain, String::new())];
    for paragraph in briefing.story.iter().filter(|paragraph| !paragraph.trim().is_empty()) {
        lines.push((Emphasis::Plain, paragraph.clone()));
        lines.push((Emphasis::Plain, String::new()));
    }
    lines.push((Emphasis::Heading, String::from("What counts")));
    lines.push((Emphasis::Plain, briefing.objective.clone()));
    lines.push((Emphasis::Plain, String::new()));
    lines.push((
        Emphasis::Dim,
        String::from(
            "This is a drill on a throwaway database. Nothing that you do here can reach a real one. b shows this again, D gives a hint, Ctrl+x ends the drill at any time; Esc begins.",
        ),
    ));
    Reader::text("Drill", lines)
}

/// Hints that were taken: their notes stand in the journal.
fn hints_taken(view: &View) -> usize {
    let notes = view.incident.as_ref().map_or(&[][..], |incident| &incident.notes);
    notes.iter().filter(|(_, text)| text.starts_with(HINT)).count()
}

/// Whether the drill has a hint that was not told yet.
#[must_use]
pub fn hints_left(view: &View) -> bool {
    view.briefing.as_ref().is_some_and(|briefing| hints_taken(view) < briefing.hints.len())
}

/// The next hint in a layer, below those that were told, and its note for the journal.
#[must_use]
pub fn next_hint(view: &View) -> Option<(Reader, String)> {
    let briefing = view.briefing.as_ref()?;
    let taken = hints_taken(view);
    let next = briefing.hints.get(taken)?;
    let all = briefing.hints.len();
    let mut lines = Vec::new();
    for (number, hint) in briefing.hints.iter().take(taken + 1).enumerate() {
        lines.push((Emphasis::Heading, format!("Hint {} of {all}", number + 1)));
        lines.push((Emphasis::Plain, hint.clone()));
        lines.push((Emphasis::Plain, String::new()));
    }
    lines.push((
        Emphasis::Dim,
        String::from("It is noted and counted in the score. D tells the next one; Esc goes on."),
    ));
    Some((Reader::text("Hint", lines), format!("{HINT}{} of {all}: {next}", taken + 1)))
}

/// How the drill went, for the report screen: what it was measured by and whether it held.
#[must_use]
pub fn result(view: &View) -> Option<Vec<(bool, String)>> {
    let incident = view.incident.as_ref()?;
    incident.declaration.drill.as_ref()?;
    #[allow(clippy::cast_precision_loss, reason = "seconds of some hours")]
    let limit = view.targets_of(incident).rto_seconds as f64;
    let rto = incident.clocks.serving.and_then(|_| incident.clocks.rto_seconds(view.now))?;
    let verdict = crate::engine::incident::facts::Verdict::overall(
        incident.validated().iter().map(|c| c.verdict),
    );
    let verified = verdict == crate::engine::incident::facts::Verdict::Verified;
    Some(vec![
        (rto <= limit, format!("Back after {} of {}", text::span(rto), text::span(limit))),
        (verified, format!("Recovered data: {}", verdict.word())),
    ])
}
