//! WAL that is missing, damaged, or ends before the target. Looks where the file is now: what the
//! server met may have been mended meanwhile, or be had from a place that it does not ask.

use super::{
    FETCH_ELSEWHERE, GO_ON, Ground, LOOK_AGAIN, STOP_AT_GAP, Scene, Whereabouts, World,
    by_lifeboat, by_people, choose_again, evidence, full_restore, other_base_cure, repository,
    trouble,
};
use crate::engine::incident::trouble::{Cure, Evidence, Trouble};

const REFUSED: &str = "could not restore file";
const ENDED: &str = "recovery ended before configured recovery target was reached";
const UNFINISHED: [&str; 2] =
    ["WAL ends before end of online backup", "WAL ends before consistent recovery point"];
/// Our own words of a recovery to the end of the log that finds no more of it.
const NO_MORE: &str = "finds no more of it, neither in the repositories";
/// The log that the backup begins with.
const NO_START: [&str; 2] =
    ["could not locate required checkpoint record", "invalid checkpoint record"];

pub(super) fn rule(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    let unfinished = UNFINISHED.into_iter().find(|sign| scene.says(sign));
    let no_start = NO_START.into_iter().find(|sign| scene.says(sign));
    let sign = [Some(REFUSED), Some(ENDED), unfinished, no_start, Some(NO_MORE)]
        .into_iter()
        .flatten()
        .find(|sign| scene.says(sign))?;
    let name = match sign {
        REFUSED => {
            let name = scene.quoted_after(REFUSED)?;
            if name.len() != 24 {
                let shown = vec![evidence("log", scene.line_with(REFUSED)?)];
                return repository::unproven(&name, shown, world);
            }
            name
        }
        _ if no_start.is_some() => world.segment_after(None)?,
        _ => world.segment_after(scene.last_restored().as_deref())?,
    };
    let place = world.whereabouts(&name);
    let mut shown = vec![evidence("log", scene.line_with(sign)?)];
    // The program that fetches says more than the server, in a line of its own.
    let fetch = scene.lines.iter().rev().find(|line| line.starts_with("restore-wal: "));
    shown.extend(fetch.map(|line| evidence("log", line.clone())));
    // Before consistency nothing can be given out: only the missing file or another backup helps.
    let consistent = unfinished.is_none() && no_start.is_none();
    judge(&name, &place, shown, sign == ENDED, consistent, world)
}

fn judge(
    name: &str,
    place: &Whereabouts,
    mut shown: Vec<Evidence>,
    ended: bool,
    consistent: bool,
    world: &dyn World,
) -> Option<Trouble> {
    let last_resort = |mut cures: Vec<Cure>| {
        if consistent && !world.ends_with_base() {
            cures.push(stop_at_gap(name, world));
        } else if world.ends_with_base() {
            // Its own log is missing: there is no earlier end.
            cures.push(other_base_cure(world));
        }
        cures
    };
    if let Some(where_) = place.elsewhere.first() {
        shown.push(evidence("segment", format!("{name} is in {where_}")));
        return trouble(
            "missing-wal",
            format!(
                "The log file {name} cannot be had from where this recovery looks, but is in \
                 {where_}. Replay stopped before it; nothing was lost."
            ),
            shown,
            last_resort(vec![elsewhere(name, place, world)]),
        );
    }
    if let Some((repository, why)) = place.damaged.first().filter(|_| place.found.is_empty()) {
        shown.push(evidence("segment", format!("{name} in \"{repository}\": {why}")));
        // A server that is told of a damaged file does not stop in order before it: no end there.
        let good = by_people(
            LOOK_AGAIN,
            "Bring a good copy of it, then look again",
            format!(
                "Copy {name}'s object from another copy of the repository over the damaged one."
            ),
        );
        return trouble(
            "damaged-wal",
            format!(
                "The log file {name} in \"{repository}\" is not what was written, and no other copy \
                 was found. Replay stopped before it."
            ),
            shown,
            match world.ends_with_base() {
                true => vec![good, other_base_cure(world)],
                false => {
                    let why = "Points before it can be reached.";
                    let earlier = choose_again(world, "Choose an earlier point", why);
                    let whole = full_restore(world, consistent);
                    [good, earlier].into_iter().chain(whole).collect()
                }
            },
        );
    }
    if !place.away.is_empty() && place.found.is_empty() {
        return repository::away(&place.away, shown, world);
    }
    if let Some(repository) = place.found.first() {
        shown.push(evidence("segment", format!("{name} is in {repository} now")));
        return trouble(
            "missing-wal",
            format!(
                "The server did not get beyond the log file before {name}, which can be had from \
                 {repository} now. Nothing was lost."
            ),
            shown,
            vec![go_on()],
        );
    }
    shown.push(evidence(
        "segment",
        format!("{name} is in no repository and not in {}", world.old_directory()),
    ));
    let behind = world.expected_end().zip(world.starts(name)).is_some_and(|(end, at)| at < end);
    if ended && !behind {
        return trouble(
            "ended-before-target",
            "Everything that was archived is replayed, and the point was not met: no transaction \
             that lies at or after it is there. Nothing is missing before the end.",
            shown,
            vec![
                stop_at_gap(name, world),
                choose_again(world, "Choose another point", "Points up to the end can be reached."),
            ],
        );
    }
    let back = by_people(
        LOOK_AGAIN,
        "Bring the file back into the repository, then look again",
        format!("Look in backups of the repository and on other hosts for {name}."),
    );
    trouble(
        "missing-wal",
        format!(
            "The log file {name} is missing: it is in no repository and not in {}. Replay stopped \
             before it.",
            world.old_directory()
        ),
        shown,
        last_resort(vec![])
            .into_iter()
            .chain([back])
            .chain(full_restore(world, consistent))
            .collect(),
    )
}

fn elsewhere(name: &str, place: &Whereabouts, world: &dyn World) -> Cure {
    by_lifeboat(
        FETCH_ELSEWHERE,
        &format!("Fetch it from {}, and go on", place.elsewhere.join(" or ")),
        &format!(
            "All repositories of the cluster are asked from now on, and what only {} holds is copied \
             to the rescued files. Each file is checked before it is used.",
            world.old_directory()
        ),
        "seconds a file; the base is not copied again",
        "none: a file that is not what was written is not used",
    )
    .with(vec![name.to_owned()])
}

fn go_on() -> Cure {
    by_lifeboat(
        GO_ON,
        "Go on: it can be had now",
        "The server is started again and replays on from where it stood.",
        "seconds; nothing is copied again",
        "none",
    )
}

fn stop_at_gap(name: &str, world: &dyn World) -> Cure {
    let keeps = match world.ground() {
        Ground::InPlace | Ground::Swapped => {
            "what came after is not in the recovered data; the directory set aside keeps what it has"
        }
        Ground::Beside | Ground::Old => {
            "what came after is not in the new cluster; the old cluster's directory keeps what it has"
        }
        Ground::Copy => "what came after is not in the copy; production keeps what it has",
    };
    by_lifeboat(
        STOP_AT_GAP,
        "End the recovery at the last transaction before it",
        &format!(
            "The server keeps everything up to the last transaction before {name} and waits there \
             for you to look and to promote. What comes after is counted and told."
        ),
        "seconds; nothing is copied again",
        keeps,
    )
    .by_name()
    .with(vec![name.to_owned()])
}
