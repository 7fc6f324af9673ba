//! The place whose disk is full is given up for another one: what was restored there is set aside, whole,
//! and the damaged cluster comes back to where it was, as a plan for the other place finds it. Deletes
//! nothing. The plan says it first, so that whoever is killed here is followed by one that goes on.

use super::site::Site;
use super::{move_aside, move_lost};
use crate::engine::explain::Explanation;
use crate::engine::restore::places::moves::{self, Contents};
use crate::engine::runner::plan::{Left, Places, Plan};
use crate::engine::runner::step::StepContext;
use std::path::{Path, PathBuf};

/// The note that a place was given up: its path, a colon, and what became of it.
const GIVEN_UP: &str = "given_up";
/// The note of the place that was made instead.
const INSTEAD: &str = "instead";

/// Gives up what the plan has left behind, where that is not done yet. `site` is the ground of the
/// damaged cluster.
pub(super) fn leave(site: &Site, context: &dyn StepContext) -> Result<(), Explanation> {
    let plan = context.plan();
    let Some(left) = &plan.places.left else { return Ok(()) };
    if !is_pending(left, context.noted(GIVEN_UP).as_deref()) {
        return Ok(());
    }
    site.confirm_place(plan)?;
    let before = before(plan, left);
    // One that still recovers there, or waits for more of the log.
    site.stop_recovered(&before)?;
    let recovered = site.recovered(&before);
    // Copies of archived files, and the way in to a server that is down.
    recovered.clear_spool();
    let _ = recovered.clear_closed();
    let text = match plan.lost {
        true => move_lost::put_back(site, &before, true)?,
        false => move_aside::put_back(site, &before)?,
    };
    context.note(GIVEN_UP, &format!("{}: {text}", left.from.display()))
}

/// The plan as it was for the place that is given up.
fn before(plan: &Plan, left: &Left) -> Plan {
    let alternative = left.was_alternative.then(|| left.from.clone());
    let aside = if left.was_alternative { &plan.aside } else { &left.aside };
    Plan {
        aside: aside.clone(),
        places: Places { contents: left.contents, alternative, left: None, ..plan.places.clone() },
        ..plan.clone()
    }
}

/// Whether it still stands there. `noted`: what the newest note says that was given up.
fn is_pending(left: &Left, noted: Option<&str>) -> bool {
    let aside = Path::new(&left.aside);
    if left.contents {
        return moves::standing(aside) != Contents::There;
    }
    // The damaged cluster comes back last: while it is aside, the other lies in its place.
    if !left.aside.is_empty() {
        return aside.exists();
    }
    // Where nothing comes back, only the note tells.
    let done = format!("{}: ", left.from.display());
    left.from.exists() && !noted.is_some_and(|text| text.starts_with(&done))
}

/// Whether the place that is recovered into instead was made.
pub(super) fn is_made(plan: &Plan, context: &dyn StepContext) -> bool {
    context.noted(INSTEAD) == instead(plan).map(|place| place.display().to_string())
}

/// Notes it; a plan that has left no place needs none.
pub(super) fn note_made(plan: &Plan, context: &dyn StepContext) -> Result<(), Explanation> {
    match instead(plan) {
        Some(place) => context.note(INSTEAD, &place.display().to_string()),
        None => Ok(()),
    }
}

fn instead(plan: &Plan) -> Option<PathBuf> {
    plan.places.left.as_ref().and_then(|_| plan.places.alternative.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn left(from: &Path, aside: &str) -> Left {
        Left {
            from: from.to_owned(),
            aside: aside.to_owned(),
            number: None,
            contents: false,
            was_alternative: false,
        }
    }

    /// Killed anywhere, the next one knows by the names alone whether the damaged cluster is back.
    #[test]
    fn a_place_is_given_up_once() {
        let root = tempfile::tempdir().unwrap();
        let (from, aside) = (root.path().join("main"), root.path().join("main.damaged.1"));
        let one = left(&from, &aside.display().to_string());
        fs::create_dir(&from).unwrap();
        fs::create_dir(&aside).unwrap();
        assert!(is_pending(&one, None), "half-filled, and the damaged one aside");
        fs::remove_dir(&from).unwrap();
        assert!(is_pending(&one, None), "between two renames");
        fs::rename(&aside, &from).unwrap();
        assert!(!is_pending(&one, None), "the damaged one is back: never given up");
    }

    /// Nothing comes back to where a lost cluster was, or to another directory: the note tells.
    #[test]
    fn what_nothing_comes_back_to_is_known_by_its_note() {
        let root = tempfile::tempdir().unwrap();
        let from = root.path().join("main");
        let one = left(&from, "");
        assert!(!is_pending(&one, None), "nothing is there");
        fs::create_dir(&from).unwrap();
        assert!(is_pending(&one, None));
        assert!(
            is_pending(&one, Some("/mnt/other: nothing was there before")),
            "of an earlier place"
        );
        let noted = format!("{}: nothing was there before", from.display());
        assert!(!is_pending(&one, Some(&noted)));
    }
}
