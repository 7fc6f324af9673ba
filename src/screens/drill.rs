//! The drill's briefing, its hints and its result, as small layers over an incident's screens.

use super::layers::{Emphasis, Reader};
use super::text;
use super::view::{Briefing, GameMaster, Page, View};
use crate::engine::drill::copy::Origin;
use crate::engine::drill::floor::CALL;
use crate::engine::drill::hints::{self, At, Hint};
use crate::engine::runbook::Horizon;

type Lines = Vec<(Emphasis, String)>;

/// What the drill is about, in a layer; the hints that were told stand first.
#[must_use]
pub fn briefing(view: &View, briefing: &Briefing) -> Reader {
    let mut lines = Vec::new();
    let told = hints::told(view.incident.as_ref());
    for place in &told {
        lines.extend(hint(&briefing.hints, *place));
    }
    lines.extend([(Emphasis::Heading, briefing.title.clone()), blank()]);
    for paragraph in briefing.story.iter().filter(|paragraph| !paragraph.trim().is_empty()) {
        lines.push((Emphasis::Plain, paragraph.clone()));
        lines.push(blank());
    }
    lines.push((Emphasis::Heading, String::from("What counts")));
    lines.push((Emphasis::Plain, briefing.objective.clone()));
    lines.push(blank());
    lines.extend(ground(briefing.origin.as_ref()));
    if let Some(words) = game_master(view.game_master) {
        let heading = String::from("Game master");
        lines.extend([blank(), (Emphasis::Heading, heading), (Emphasis::Plain, words.to_owned())]);
    }
    Reader::text("Drill", lines)
}

/// Whose data it is, and what stands between the drill and everything else.
fn ground(origin: Option<&Origin>) -> Lines {
    let keys = "b shows this again, D gives a hint, Ctrl+x ends the drill at any time; Esc begins.";
    let Some(origin) = origin else {
        let text = "This is a drill on a throwaway database. Nothing that you do here can reach a \
                    real one.";
        return vec![(Emphasis::Dim, format!("{text} {keys}"))];
    };
    let day = origin.finished.strftime("%Y-%m-%d %H:%M");
    let masked = match origin.masked.len() {
        0 => String::from("nothing of it is masked"),
        1 => String::from("one column of it is masked"),
        many => format!("{many} columns of it are masked"),
    };
    let mut lines = vec![
        (Emphasis::Heading, format!("A copy of \"{}\"", origin.cluster)),
        (
            Emphasis::Plain,
            format!(
                "This drill is held on a copy of the backup {} of \"{}\", finished on {day} UTC. \
                 Its rows are real ones, and {masked}: treat what you see as you would there. The \
                 cluster itself is not touched.",
                origin.set, origin.cluster
            ),
        ),
    ];
    for rail in origin.open() {
        lines.push((Emphasis::Plain, format!("NOT ENFORCED on this machine: {rail}.")));
    }
    lines.extend([blank(), (Emphasis::Dim, String::from(keys))]);
    lines
}

fn blank() -> (Emphasis, String) {
    (Emphasis::Plain, String::new())
}

/// Whether a game master is there, and how one comes in; `None` where this drill has none.
#[must_use]
pub fn game_master(known: GameMaster) -> Option<&'static str> {
    match known {
        GameMaster::None => None,
        GameMaster::Away => Some(
            "None is there now. One comes in with lifeboat drill master, in another terminal of this machine, as the user who began the drill.",
        ),
        GameMaster::There => Some(
            "One is there and sees what you do. They answer for everybody whom you would call: say it aloud, or write a note (a).",
        ),
    }
}

fn hint(all: &[Hint], place: usize) -> Lines {
    let Some(hint) = all.get(place) else { return Vec::new() };
    let of = hint.at.map_or_else(String::new, |at| format!(": {}", at.title()));
    let head = format!("Hint {} of {}{of}", place + 1, all.len());
    vec![(Emphasis::Heading, head), (Emphasis::Plain, hint.text.clone()), blank()]
}

/// Whether the drill has a hint for where the incident stands that was not told yet.
#[must_use]
pub fn hints_left(view: &View) -> bool {
    next(view).is_some()
}

fn next(view: &View) -> Option<usize> {
    let (briefing, incident) = (view.briefing.as_ref()?, view.incident.as_ref());
    let mut here = hints::here(incident).to_vec();
    // Of the parts that it stands at, the one that is looked at comes first.
    here.sort_by_key(|at| page_of(*at) != view.page);
    hints::next(&briefing.hints, &hints::told(incident), &here)
}

fn page_of(at: At) -> Page {
    match at {
        At::Assessment => Page::Assessment,
        At::RecoveryPoint => Page::RecoveryPoint,
        At::Plan | At::Restore => Page::Restore,
        At::Validation => Page::Validation,
        At::Checklist => Page::Checklist,
        At::End => Page::Report,
    }
}

/// Whether every hint of the drill was told.
#[must_use]
pub fn all_told(view: &View) -> bool {
    let told = hints::told(view.incident.as_ref());
    view.briefing.as_ref().is_none_or(|briefing| told.len() >= briefing.hints.len())
}

/// The next hint: its place, it in a layer, and its note for the journal.
#[must_use]
pub fn next_hint(view: &View) -> Option<(usize, Reader, String)> {
    let place = next(view)?;
    let hints = &view.briefing.as_ref()?.hints;
    Some((place, hint_reader(hints, place), hints::note(hints, place)?))
}

fn hint_reader(hints: &[Hint], place: usize) -> Reader {
    let mut lines = hint(hints, place);
    lines.push((
        Emphasis::Dim,
        String::from(
            "It is noted and counted in the score. b shows it again at any time, D gives another for where you stand; Esc goes on.",
        ),
    ));
    Reader::text("Hint", lines)
}

/// What somebody outside told the participants, in a layer; `None` where a note is another.
#[must_use]
pub fn told(view: &View, note: &str) -> Option<Reader> {
    if let Some(words) = note.strip_prefix(CALL) {
        let lines = vec![
            (Emphasis::Plain, words.to_owned()),
            blank(),
            (
                Emphasis::Dim,
                String::from("It stands in the timeline (t), with the time. Esc goes on."),
            ),
        ];
        return Some(Reader::text("Somebody calls", lines));
    }
    Some(hint_reader(&view.briefing.as_ref()?.hints, hints::place(note)?))
}

/// Whether a part of the checklist is left to real incidents: nobody waits in a drill until it is due.
#[must_use]
pub fn is_for_earnest(view: &View, horizon: Horizon) -> bool {
    let drill = view.incident.as_ref().is_some_and(|i| i.declaration.drill.is_some());
    drill && horizon.is_left_to_earnest()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::drill::copy::Rail;

    #[test]
    fn a_copy_is_told_as_one_with_what_is_open() {
        let words = |origin: Option<&Origin>| {
            ground(origin).into_iter().map(|(_, text)| text).collect::<Vec<_>>().join(" ")
        };
        assert!(words(None).contains("throwaway database"));
        let origin = Origin {
            cluster: String::from("bank"),
            set: String::from("set-20270115-020000"),
            finished: jiff::Timestamp::from_second(1_800_000_000).unwrap_or_default(),
            masked: Vec::new(),
            rails: vec![Rail {
                rail: String::from("no network but the loopback"),
                enforced: false,
                detail: String::from("no namespaces"),
            }],
        };
        let told = words(Some(&origin));
        for word in [
            "A copy of \"bank\"",
            "set-20270115-020000",
            "nothing of it is masked",
            "NOT ENFORCED on this machine: no network but the loopback: no namespaces.",
        ] {
            assert!(told.contains(word), "{word}: {told}");
        }
        assert!(!told.contains("throwaway"), "{told}");
    }
}
