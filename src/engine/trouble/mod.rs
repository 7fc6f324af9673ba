//! Troubleshooting while a recovery runs: what a failed step's words, the server's log and the
//! state of the machine mean, and what mends it. Owns one table of families, a file each, the look
//! at the machine, and the carrying out of cures. Never guesses: what no family knows is not
//! recognised, and stays the failure that it was.
//!
//! ```text
//! failed step ─ Scene (words, log) ─┐
//!                 World (machine) ──┴─ TABLE ─ Trouble { what, evidence, cures } ─ journal
//!                                                   accepted by a key │
//!                                     carry_out ─ Cured { text, adjustments } ─ the step again
//! ```

mod backup;
mod carry_out;
mod errand;
mod key;
mod library;
mod local;
mod machine;
mod moved;
mod occupied;
mod pid_file;
mod repository;
mod rights;
mod scene;
mod settings;
mod space;
mod target;
mod version;
mod wal;

pub use carry_out::carry_out;
pub use errand::Errand;
pub use machine::Machine;
pub use moved::{other_base, other_place, other_point, stop_at_gap};
pub use repository::{WAIT, WITHOUT};
pub use scene::{Ground, OtherPlace, Scene, Stranger, Whereabouts, World};

use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::incident::trouble::{By, Cure, Evidence, LOOK_AGAIN, Trouble};
use crate::engine::restore::steps::Site;

/// Ends the recovery where the log is broken.
pub const STOP_AT_GAP: &str = "stop-at-gap";
/// Begins the copy again from another base backup.
pub const OTHER_BASE: &str = "other-base";
/// Goes on: what was missing can be had.
pub const GO_ON: &str = "go-on";
/// Begins the copy again in another directory, with room.
pub const OTHER_PLACE: &str = "other-place";
/// Begins anew on another disk, which people do.
pub const OTHER_DISK: &str = "other-disk";
/// Gives this run up for a new cluster beside the old one (Option B), which the screens' own key does.
pub const FULL_RESTORE: &str = "full-restore";
/// Goes to the nearest point that can be reached from here.
pub const OTHER_POINT: &str = "nearest-point";

/// Opens the recovered database on another port.
const FREE_PORT: &str = "free-port";
/// Gives the new cluster beside the old one another port.
const OTHER_PORT: &str = "other-port";
/// Starts without a library.
const WITHOUT_LIBRARY: &str = "without-library";
/// Fetches a log file from where the recovery did not look.
const FETCH_ELSEWHERE: &str = "fetch-elsewhere";
/// Writes the recovery's settings anew, as the plan has them.
const TELL_AGAIN: &str = "tell-again";

type Rule = fn(&Scene<'_>, &dyn World) -> Option<Trouble>;

/// The families. What is told by clearer signs stands first.
const TABLE: [Rule; 11] = [
    key::rule,
    space::rule,
    occupied::rule,
    library::rule,
    version::rule,
    settings::rule,
    target::rule,
    wal::rule,
    backup::rule,
    repository::rule,
    rights::rule,
];

/// What the scene is recognised as, with the cures that may be carried out on its ground. Where none
/// is left, people mend it and it is looked at again.
#[must_use]
pub fn recognise(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    let mut found = TABLE.iter().find_map(|rule| rule(scene, world))?;
    say_where_none_is_left(&mut found, world);
    found.cures.retain(|cure| world.ground().permits(cure));
    if found.cures.is_empty() {
        found.cures.push(by_people(
            LOOK_AGAIN,
            "Mend the cause, then look again",
            "Lifeboat changes nothing here by itself. Once the cause is mended, the step is run again \
             from where it stood.",
        ));
    }
    Some(found)
}

/// Another base backup is offered only where there may be one that has not failed yet.
fn say_where_none_is_left(found: &mut Trouble, world: &dyn World) {
    let offered = found.cures.iter_mut().find(|cure| cure.id == OTHER_BASE);
    let Some(offered) = offered.filter(|cure| world.ground().permits(cure)) else { return };
    if world.other_bases().is_none_or(|left| !left.is_empty()) {
        return;
    }
    *offered = by_people(
        "no-other-base",
        "No other base backup is left",
        format!(
            "Failed in this plan: {}. The repositories hold no other one{}. Look for a copy elsewhere, \
             and name its repository in lifeboat.toml.",
            world.failed_bases().join(", "),
            match world.ground() {
                Ground::InPlace => ": a full restore (Option B) has none to begin with, either",
                _ => "",
            }
        ),
    );
    // What can be done stands first.
    found.cures.sort_by_key(|cure| ["no-other-base", "no-full-restore"].contains(&&*cure.id));
}

/// As [`recognise`], for a step of the incident's run that just failed on this machine. `site` is
/// the ground that the step stands on.
#[must_use]
pub fn recognise_at(
    site: &Site,
    incident: &Incident,
    step: &str,
    failure: &Explanation,
) -> Option<Trouble> {
    let plan = incident.plan.as_ref()?;
    let machine = Machine::new(site, plan, Ground::of(plan, step));
    recognise(&machine.scene(step, failure), &machine)
}

/// As [`recognise`], of a run for parts: only what is the copy's. What is carried over is written to
/// production, whose words tell nothing of the copy; a library that one of the two lacks, the other
/// lacks as well.
#[must_use]
pub fn recognise_in_copy(
    machine: &Machine<'_>,
    step: &str,
    failure: &Explanation,
) -> Option<Trouble> {
    let scene = machine.scene(step, failure);
    let of_copy = matches!(step, "parts-restore" | "parts-replay") || !scene.lines.is_empty();
    if of_copy { recognise(&scene, machine) } else { library::of_statement(&scene) }
}

/// As [`recognise`], of a statement alone: in production, or in the copy beside it.
#[must_use]
pub fn recognise_statement(failure: &Explanation) -> Option<Trouble> {
    library::of_statement(&Scene::new("parts-carry", failure, Vec::new()))
}

fn trouble(
    name: &str,
    what: impl Into<String>,
    evidence: Vec<Evidence>,
    cures: Vec<Cure>,
) -> Option<Trouble> {
    Some(Trouble { name: name.to_owned(), what: what.into(), evidence, cures })
}

fn evidence(source: &str, text: impl Into<String>) -> Evidence {
    let text: String = text.into();
    Evidence { source: source.to_owned(), text: text.chars().take(400).collect() }
}

/// A cure that Lifeboat carries out: id, title, what it does, cost, risk.
fn by_lifeboat(id: &str, title: &str, does: &str, cost: &str, risk: &str) -> Cure {
    Cure {
        id: id.to_owned(),
        title: title.to_owned(),
        does: does.to_owned(),
        touches: Vec::new(),
        cost: cost.to_owned(),
        risk: risk.to_owned(),
        by: By::Lifeboat,
        with: Vec::new(),
    }
}

/// A cure that people carry out; `id` is unique among a trouble's.
fn by_people(id: &str, title: &str, does: impl Into<String>) -> Cure {
    let does: String = does.into();
    let mut cure = by_lifeboat(id, title, &does, "your time", "none by Lifeboat: it only looks");
    cure.by = By::People;
    cure
}

/// Choosing anew, which the restore screen's own keys do.
fn choose_again(world: &dyn World, title: &str, why: &str) -> Cure {
    let kept = match world.ground() {
        Ground::Copy => "The copy is taken down; production stays as it is.",
        Ground::Beside | Ground::Old => {
            "The new directory stays until you discard it by its name; the old cluster is as it was."
        }
        Ground::InPlace | Ground::Swapped => "Nothing is deleted.",
    };
    by_people(
        "choose-again",
        title,
        format!(
            "{why} Cancel this run (X), put everything back (U), and choose again on the \
                 recovery point's screen (2). {kept}"
        ),
    )
}

/// A new cluster beside the old one, for a recovery in place that lacks the log or a whole backup.
/// Where one would lack the same, that is said; `None` on other grounds.
fn full_restore(world: &dyn World, own_log: bool) -> Option<Cure> {
    if world.ground() != Ground::InPlace {
        return None;
    }
    let other = world.other_bases().is_none_or(|left| !left.is_empty());
    Some(match own_log || other {
        true => by_people(
            FULL_RESTORE,
            "A full restore (O: Option B)",
            "This run is given up and everything put back as it was. Then a new cluster is made \
             beside the old one, from a backup that you choose, as it was at that backup's end: it \
             needs none of the log after it.",
        ),
        false => by_people(
            "no-full-restore",
            "A full restore (Option B) would not help",
            format!(
                "It needs a whole backup with the log of its own range, too, and the repositories hold \
                 none but {}.",
                world.failed_bases().join(" and ")
            ),
        ),
    })
}

impl Cure {
    fn touching(mut self, touches: Vec<String>) -> Self {
        self.touches = touches;
        self
    }

    fn with(mut self, with: Vec<String>) -> Self {
        self.with = with;
        self
    }

    fn by_name(mut self) -> Self {
        self.by = By::LifeboatByName;
        self
    }
}

/// Another base backup for the same point; where the plan ends with the backup, for that one's end.
fn other_base_cure(world: &dyn World) -> Cure {
    let set = world.failed_bases().join(" and ");
    if world.ends_with_base() {
        return by_lifeboat(
            OTHER_BASE,
            "Begin again from another base backup, to that one's end",
            &format!(
                "The newest other backup than {set} is proven; what was restored is set aside, not \
                 deleted, and the copy begins again."
            ),
            "the copy from the start; room for what is set aside",
            "the data is that of the other backup's end: what was written between the two is not in it",
        )
        .by_name();
    }
    by_lifeboat(
        OTHER_BASE,
        "Begin again from another base backup",
        &format!(
            "The same point is proven anew without {set}; what was restored of it is set aside, \
             not deleted, and the copy begins again from the other backup."
        ),
        "the copy from the start, and a longer replay; room for what is set aside",
        "none for the data: refused where no other backup reaches the point",
    )
    .by_name()
}

#[cfg(test)]
mod tests;
