//! A first report that may be wrong, put to the test in a drill without a person: asked of the engine,
//! judged by [`super::hearsay`], corrected in the journal.

use super::auto::{LONG, Play, SHORT, unexpected};
use super::error::DrillError;
use super::hearsay;
use super::inject::When;
use super::sandbox::Say;
use super::seat::Seat;
use crate::engine::incident::facts::{Check, Target, TargetPoint, Topic, Verdict};
use crate::engine::runner::protocol::{Answer, Command};
use jiff::Timestamp;

/// Takes a first report that may be wrong at its word, and holds it against what the engine finds:
/// what is contradicted is corrected in the journal. `None` where no inject changes the report, or
/// where it was met before: see [`be_misled`].
pub(super) fn doubt(
    play: &Play<'_>,
    seat: &mut Seat,
    say: Say<'_>,
) -> Result<Option<Check>, DrillError> {
    let changed = play.injects.iter().find(|inject| inject.strikes == When::Report);
    let Some(inject) = changed else { return Ok(None) };
    let notes = seat.incident().notes.iter().rev();
    let mut symptoms = notes.filter(|(topic, _)| *topic == Topic::Symptom);
    let report = symptoms.next().map_or_else(String::new, |(_, text)| text.clone());
    let suspects = seat.survey().map_or_else(Vec::new, |survey| survey.suspects.clone());
    say(&format!("As the first report has it: {report}"));
    let check = if let Some(table) = hearsay::table_in(&report) {
        let incident = seat.incident();
        hearsay::of_table(table, incident.server.as_ref(), &incident.probes, &suspects)
    } else if let Some(typed) = hearsay::time_in(&report, Timestamp::now()) {
        let refused = refusal_of(seat, typed.at)?;
        hearsay::of_time(&typed, refused.as_deref(), &suspects)
    } else {
        hearsay::unread(&inject.name, &report)
    };
    let found = check.found.clone().unwrap_or_default();
    say(&format!("{} {found}", check.detail));
    if check.verdict == Verdict::Verified {
        let text = format!("The first report is wrong: {found}");
        seat.ask(Command::AddNote { topic: Topic::Symptom, text }, SHORT)?;
    }
    Ok(Some(check))
}

/// Why that time is no recovery point: no backup is as old. `None` where one is, whatever else keeps
/// it from being reached: that tells nothing of the time.
fn refusal_of(seat: &mut Seat, at: Timestamp) -> Result<Option<String>, DrillError> {
    let target = Target { point: TargetPoint::Time(at), inclusive: true, timeline: None };
    match seat.ask(Command::CheckReach { target }, LONG) {
        Ok(Answer::Reach(reach)) => {
            let mut checks = reach.checks.into_iter();
            let base = checks.find(|one| one.id == "base" && one.verdict == Verdict::Failed);
            Ok(base.map(|base| base.detail))
        }
        Ok(other) => Err(unexpected(&other)),
        // Without an answer nothing is known of it.
        Err(DrillError::Engine(_)) => Ok(None),
        Err(error) => Err(error),
    }
}
