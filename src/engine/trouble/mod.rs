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
mod library;
mod machine;
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

pub use carry_out::{carry_out, other_base, other_point, stop_at_gap};
pub use machine::Machine;
pub use scene::{Scene, Stranger, Whereabouts, World};

use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::incident::trouble::{By, Cure, Evidence, LOOK_AGAIN, Trouble};
use crate::engine::restore::steps::Site;

/// Ends the recovery where the log is broken.
pub const STOP_AT_GAP: &str = "stop-at-gap";
/// Begins the copy again from another base backup.
pub const OTHER_BASE: &str = "other-base";
/// Goes to the nearest point that can be reached from here.
pub const OTHER_POINT: &str = "nearest-point";

type Rule = fn(&Scene<'_>, &dyn World) -> Option<Trouble>;

/// The families. What is told by clearer signs stands first.
const TABLE: [Rule; 10] = [
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

/// What the scene is recognised as.
#[must_use]
pub fn recognise(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    TABLE.iter().find_map(|rule| rule(scene, world))
}

/// As [`recognise`], for a step of the incident's run that just failed on this machine.
#[must_use]
pub fn recognise_at(
    site: &Site,
    incident: &Incident,
    step: &str,
    failure: &Explanation,
) -> Option<Trouble> {
    let machine = Machine::new(site, incident.plan.as_ref()?);
    recognise(&machine.scene(step, failure), &machine)
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
fn choose_again(title: &str, why: &str) -> Cure {
    by_people(
        "choose-again",
        title,
        format!(
            "{why} Cancel this run (X), put everything back (U), and choose again on the \
                 recovery point's screen (2). Nothing is deleted."
        ),
    )
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

/// Another base backup for the same point.
fn other_base_cure(set: &str) -> Cure {
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
