//! A repository that cannot be reached: the network, the object store, or a file system that is
//! not mounted.

use super::{LOOK_AGAIN, Scene, World, by_lifeboat, by_people, evidence, trouble};
use crate::engine::explain::Kind;
use crate::engine::incident::trouble::{Cure, Evidence, Trouble};

/// Going on without a repository that is gone.
pub const WITHOUT: &str = "without-repository";
/// Asking until it is back.
pub const WAIT: &str = "wait-for-repository";

pub(super) fn rule(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    let reads = matches!(
        scene.step,
        "confirm-identity"
            | "rescue-wal"
            | "prepare-beside"
            | "restore-base"
            | "promote-beside"
            | "parts-restore"
    );
    let may_be = matches!(scene.failure.kind, Kind::Connection | Kind::Storage | Kind::NotFound);
    if !reads || !may_be {
        return None;
    }
    let gone = world.repositories_away();
    let told = vec![evidence("repository", scene.failure.what.clone())];
    if gone.is_empty() && scene.failure.kind == Kind::Connection {
        // It failed a moment ago and answers again.
        return trouble(
            "repository-away",
            "A repository could not be reached, and answers again now. What was copied so far is \
             kept.",
            told,
            vec![wait()],
        );
    }
    let mut found = (!gone.is_empty()).then(|| away(&gone, told, world)).flatten()?;
    if scene.step == "promote-beside" {
        // One that cannot be asked may know a timeline that must not be used again.
        found.cures.retain(|cure| cure.id != WITHOUT);
    }
    Some(found)
}

/// A file that is no log, such as a timeline's history, was refused to the server: its absence has
/// to be proven by every repository that the recovery asks.
pub(super) fn unproven(name: &str, shown: Vec<Evidence>, world: &dyn World) -> Option<Trouble> {
    let place = world.whereabouts(name);
    if !place.damaged.is_empty() {
        return None;
    }
    if !place.away.is_empty() {
        return away(&place.away, shown, world);
    }
    trouble(
        "repository-away",
        format!(
            "Whether {name} is archived could not be told a moment ago, so the server stopped; every \
             repository answers now. Nothing was lost."
        ),
        shown,
        vec![wait()],
    )
}

/// Repositories that cannot be asked, and why.
pub(super) fn away(
    gone: &[(String, String)],
    mut shown: Vec<Evidence>,
    world: &dyn World,
) -> Option<Trouble> {
    let names: Vec<String> = gone.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    shown.extend(
        gone.iter().map(|(name, why)| evidence("repository", format!("\"{name}\": {why}"))),
    );
    let mut cures = vec![
        wait(),
        by_people(
            LOOK_AGAIN,
            "Mend the way to the repository, then look again",
            "Check the network, the store's own health, the mount and the credentials.",
        ),
    ];
    cures.extend(without(gone, &world.repositories_asked()));
    trouble(
        "repository-away",
        format!(
            "{} cannot be reached now. What was copied and replayed so far is kept, and nobody was \
             told that the log ends here.",
            names.join(" and ")
        ),
        shown,
        cures,
    )
}

/// Going on without them, where another is left.
pub(super) fn without(gone: &[(String, String)], asked: &[String]) -> Option<Cure> {
    let is_gone = |name: &String| gone.iter().any(|(away, _)| away == name);
    let (gone, left): (Vec<String>, Vec<String>) = asked.iter().cloned().partition(is_gone);
    if gone.is_empty() || left.is_empty() {
        return None;
    }
    let quoted = |names: &[String]| {
        let all: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
        all.join(" and ")
    };
    let cure = by_lifeboat(
        WITHOUT,
        &format!("Go on without {}, from {} alone", quoted(&gone), quoted(&left)),
        "For this recovery it is not asked for log files any more. Where a file before your point is \
         in it alone, the recovery stops there and says so; it is not promoted past a gap.",
        "the way to the copies that are left; nothing that is whole is copied again",
        "what it alone holds is not replayed; a timeline that it alone knows of may get its number \
         a second time, so write into it again only after that was looked at",
    );
    Some(cure.by_name().with(gone))
}

fn wait() -> Cure {
    by_lifeboat(
        WAIT,
        "Ask for a minute whether it is back, and go on",
        "The repository is asked again and again, for a minute at most. Once it answers, this goes \
         on from where it stood.",
        "up to a minute; nothing that is whole is copied again",
        "none",
    )
}
