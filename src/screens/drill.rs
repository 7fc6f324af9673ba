//! The drill's briefing and its result, as small layers over an incident's screens.

use super::layers::{Emphasis, Reader};
use super::text;
use super::view::{Briefing, View};

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
            "This is a drill on a throwaway database. Nothing that you do here can reach a real one. b shows this again; Esc begins.",
        ),
    ));
    Reader::text("Drill", lines)
}

/// How the drill went, for the report screen: what it was measured by and whether it held.
#[must_use]
pub fn result(view: &View) -> Option<Vec<(bool, String)>> {
    let incident = view.incident.as_ref()?;
    incident.declaration.drill.as_ref()?;
    let tier = view.runbook.tier(incident.declaration.tier);
    #[allow(clippy::cast_precision_loss, reason = "seconds of some hours")]
    let limit = tier.rto_seconds as f64;
    let rto = incident.clocks.serving.and_then(|_| incident.clocks.rto_seconds(view.now))?;
    let verdict = crate::engine::incident::facts::Verdict::overall(
        incident.validation.iter().map(|c| c.verdict),
    );
    let verified = verdict == crate::engine::incident::facts::Verdict::Verified;
    Some(vec![
        (rto <= limit, format!("Back after {} of {}", text::span(rto), text::span(limit))),
        (verified, format!("Recovered data: {}", verdict.word())),
    ])
}
