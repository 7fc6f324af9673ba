//! The key that opens the backups: it cannot be read, the command that gives it fails, or it is
//! another one. What is encrypted stays closed then, whole as it is. Looks at keys only by trying
//! them; never names one.

use super::{
    GO_ON, LOOK_AGAIN, Scene, World, by_lifeboat, by_people, evidence, repository, trouble,
};
use crate::engine::incident::trouble::Trouble;

/// What the look after the cure is for.
pub(super) const TRIED: &str = "key";

/// A key that is not had.
const NOT_HAD: [&str; 4] = [
    "the master key file ",
    "others can read the master key",
    "does not hold a usable master key",
    "that gives the master key failed",
];
/// A key that is had, and is another one.
const ANOTHER: &str = "the master key does not fit the data key";
/// An object of the repository's own.
const OBJECT: [&str; 2] = [" is damaged:", " is not in "];

/// Whether words tell of a key that does not open.
pub(super) fn tells(words: &str) -> bool {
    sign(words).is_some()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    NotHad,
    Another,
    Object,
}

fn sign(words: &str) -> Option<Sign> {
    let words = words.to_lowercase();
    if words.contains(ANOTHER) {
        return Some(Sign::Another);
    }
    if NOT_HAD.iter().any(|sign| words.contains(sign)) {
        return Some(Sign::NotHad);
    }
    let (_, behind) = words.split_once("the data key ")?;
    // Its id, and then what is wrong with it.
    let sentence = behind.split(". ").next().unwrap_or(behind);
    OBJECT.iter().any(|sign| sentence.contains(sign)).then_some(Sign::Object)
}

pub(super) fn rule(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    // A failed fetch tells of it in a line of its own, before the server's last words.
    let fetched = || {
        let stopped = scene.says("could not restore file");
        let mut told = scene.lines.iter().rev().filter(|line| line.starts_with("restore-wal: "));
        stopped.then(|| told.next().filter(|line| tells(line)).cloned()).flatten()
    };
    let own = || tells(&scene.failure.what).then(|| scene.failure.what.clone());
    let line = own().or_else(fetched)?;
    let sign = sign(&line)?;
    let mut shown = vec![evidence("key", line)];
    let denied = world.keys_denied();
    if denied.is_empty() {
        return trouble(
            "denied-key",
            "The key that opens the backups could not be had a moment ago, and opens them again \
             now. Nothing was lost.",
            shown,
            vec![by_lifeboat(
                GO_ON,
                "Go on: the key opens again",
                "The step is run again from where it stood.",
                "seconds; nothing that is whole is copied again",
                "none",
            )],
        );
    }
    shown.extend(denied.iter().map(|(at, why)| evidence("key", format!("{at}: {why}"))));
    let (what, how) = match sign {
        Sign::NotHad => (
            "The key that opens the backups (the master key) cannot be had.",
            "The line says why: bring the file back, give it to the server's user with mode 0600, or \
             see what the command that gives the key says.",
        ),
        Sign::Another => (
            "The key at hand (the master key) is not the one that these backups were closed with.",
            "Bring the key that was in use when the backup was made, from where a copy of it is kept: \
             a printed sheet, a safe, the key service's older version.",
        ),
        Sign::Object => (
            "A key object of the repository is missing or damaged, and what it closes stays closed.",
            "Bring the object from another copy of the repository.",
        ),
    };
    let mend = by_people(
        LOOK_AGAIN,
        "Mend the key, then look again",
        format!("{how} Lifeboat tries the key before anything goes on."),
    )
    .with(vec![TRIED.to_owned()]);
    let mut cures = vec![mend];
    // One that is not asked may know a timeline that must not be used again.
    if scene.step != "promote-beside" {
        cures.extend(repository::without(&denied, &world.repositories_asked()));
    }
    trouble(
        "denied-key",
        format!("{what} What was copied and replayed so far is kept; nothing is lost."),
        shown,
        cures,
    )
}
