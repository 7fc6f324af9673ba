//! A repository that cannot be reached: the network, the object store, or a file system that is
//! not mounted.

use super::{LOOK_AGAIN, Scene, World, by_lifeboat, by_people, evidence, trouble};
use crate::engine::explain::Kind;
use crate::engine::incident::trouble::{Evidence, Trouble};

pub(super) fn rule(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    let reads = matches!(scene.step, "confirm-identity" | "rescue-wal" | "restore-base");
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
    (!gone.is_empty()).then(|| away(&gone, told)).flatten()
}

/// Repositories that cannot be asked, and why.
pub(super) fn away(gone: &[(String, String)], mut shown: Vec<Evidence>) -> Option<Trouble> {
    let names: Vec<String> = gone.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    shown.extend(
        gone.iter().map(|(name, why)| evidence("repository", format!("\"{name}\": {why}"))),
    );
    trouble(
        "repository-away",
        format!(
            "{} cannot be reached now. What was copied and replayed so far is kept, and nobody was \
             told that the log ends here.",
            names.join(" and ")
        ),
        shown,
        vec![
            wait(),
            by_people(
                LOOK_AGAIN,
                "Mend the way to the repository, then look again",
                "Check the network, the store's own health, the mount and the credentials.",
            ),
        ],
    )
}

fn wait() -> super::Cure {
    by_lifeboat(
        "wait-for-repository",
        "Ask for a minute whether it is back, and go on",
        "The repository is asked again and again, for a minute at most. Once it answers, this goes \
         on from where it stood.",
        "up to a minute; nothing that is whole is copied again",
        "none",
    )
}
