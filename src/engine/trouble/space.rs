//! The disk is full: while the base is copied, while a WAL file is fetched, or while the server
//! replays. Names what could go; deletes nothing.

use super::{
    Ground, LOOK_AGAIN, OTHER_DISK, OTHER_PLACE, OtherPlace, Scene, World, by_lifeboat, by_people,
    evidence, trouble,
};
use crate::engine::incident::clocks::spoken;
use crate::engine::incident::trouble::{Cure, NAMED_PLACE, Trouble};
use humansize::{BINARY, format_size};
use std::path::{Path, PathBuf};

/// `strerror`'s words and number, the server's state, and our own.
const SIGNS: [&str; 6] = [
    "No space left on device",
    "(os error 28)",
    "Disk quota exceeded",
    "(os error 122)",
    "bytes free, and the restore needs",
    "the disk that holds",
];

pub(super) fn rule(scene: &Scene<'_>, world: &dyn World) -> Option<Trouble> {
    // A failed fetch tells of it in a line of its own, before the server's last words.
    let fetched = |sign: &&&str| {
        let mut told = scene.lines.iter().filter(|line| line.starts_with("restore-wal: "));
        scene.says("could not restore file") && told.any(|line| line.contains(**sign))
    };
    let sign = SIGNS.iter().find(|sign| {
        scene.says(sign) || scene.failure.what.to_lowercase().contains(**sign) || fetched(sign)
    });
    if sign.is_none() && !scene.has_state("53100") {
        return None;
    }
    let data = world.data();
    let line = sign.and_then(|sign| scene.line_with(sign));
    let told_of = line.as_deref().unwrap_or(&scene.failure.what);
    let elsewhere = named(told_of, &data).filter(|place| world.is_elsewhere(place));
    let is_elsewhere = elsewhere.is_some();
    let place = elsewhere.unwrap_or_else(|| data.clone());
    let free = world.free(&place);
    let told =
        free.map_or_else(String::new, |free| format!(", {} are free", format_size(free, BINARY)));
    let what = format!(
        "The disk that holds {} is full{told}. What was done so far is kept and goes on from there.",
        place.display()
    );
    let mut shown = vec![evidence("log", line.unwrap_or_else(|| scene.failure.what.clone()))];
    let could_go = if is_elsewhere { Vec::new() } else { world.could_go() };
    let listed: Vec<String> = could_go
        .iter()
        .take(4)
        .map(|(path, bytes)| format!("{} ({})", path.display(), format_size(*bytes, BINARY)))
        .collect();
    let list = if is_elsewhere {
        String::from("It is not the data directory's disk: look what else lies on it.")
    } else if listed.is_empty() {
        String::from("Nothing beside the data directory could go.")
    } else {
        format!("Could be moved to another disk, by you: {}.", listed.join("; "))
    };
    shown.extend(free.map(|free| evidence("disk", format!("{} free", format_size(free, BINARY)))));
    let mut room = by_people(
        LOOK_AGAIN,
        "Make room on that disk, then look again",
        format!(
            "{list} Or enlarge the volume. Lifeboat deletes nothing. Then this goes on; nothing \
                 that is whole is copied again."
        ),
    )
    .touching(could_go.iter().map(|(path, _)| path.display().to_string()).collect());
    // What it has to be more than, and where, for the look afterwards.
    room.with =
        free.map(|free| vec![free.to_string(), place.display().to_string()]).unwrap_or_default();
    // Its tablespaces and its WAL would go where they go now.
    let elsewhere = if is_elsewhere { Vec::new() } else { another(scene.step, world) };
    let mut cures: Vec<Cure> = std::iter::once(room).chain(elsewhere).collect();
    // What one key does stands first, unless much is copied that made room would spare.
    let copies = matches!(scene.step, "restore-base" | "parts-restore");
    if copies || could_go.is_empty() {
        cures.sort_by_key(|cure| cure.id != OTHER_PLACE);
    }
    trouble("no-space", what, shown, cures)
}

/// The recovery on another disk: in the place that is known for it, in one that is named, by people.
fn another(step: &str, world: &dyn World) -> Vec<Cure> {
    let ground = world.ground();
    if may_go_elsewhere(step) {
        // Beside, it is swapped in by renaming, and stays there where it cannot be.
        return match (ground, world.other_place()) {
            (Ground::Old | Ground::Swapped, _) => Vec::new(),
            (_, Some(Ok(place))) => vec![in_other_place(&place, world), in_named_place("", ground)],
            (_, Some(Err(why))) => vec![in_named_place(&why.what, ground)],
            (_, None) => vec![in_named_place("", ground)],
        };
    }
    // Before the damaged cluster is set aside, and from the promotion on, nothing is copied anew.
    match ground {
        Ground::InPlace => vec![by_people(
            OTHER_DISK,
            "Recover on another disk",
            "Cancel (X), put everything back (U), name an empty directory on another disk as \
             alternative_data_directory in the cluster's section of lifeboat.toml, and plan again.",
        )],
        Ground::Copy => vec![by_people(
            OTHER_DISK,
            "Make the copy on another disk",
            "Cancel (X), put everything back (U: the copy is taken down), and bring the parts with \
             lifeboat restore-parts --work-directory and a folder on another disk.",
        )],
        Ground::Beside | Ground::Old | Ground::Swapped => Vec::new(),
    }
}

/// Somebody types where; what is said against it is the configured place's.
fn in_named_place(refused: &str, ground: Ground) -> Cure {
    let refused = match refused {
        "" => String::new(),
        why => format!(" The configured one is none now: {why}"),
    };
    let (here, after) = match ground {
        Ground::Copy => ("The unfinished copy is taken down.", ""),
        _ => ("What was restored here is kept.", "; then data_directory has to name it"),
    };
    by_lifeboat(
        NAMED_PLACE,
        "Go on in a directory that you name",
        &format!(
            "You type an empty directory on another disk. It is looked at first: where it has not the \
             room, nothing is changed. {here}{refused}"
        ),
        &format!("the copy again, and the replay{after}"),
        "none for the data: the same backup and the same point, which are proven",
    )
    .by_name()
}

/// The steps whose failure can be answered by another place.
fn may_go_elsewhere(step: &str) -> bool {
    matches!(
        step,
        "restore-base"
            | "configure-recovery"
            | "start-recovery"
            | "replay"
            | "inspect"
            | "parts-restore"
            | "parts-replay"
    )
}

fn in_other_place(place: &OtherPlace, world: &dyn World) -> Cure {
    let (path, full) = (place.path.display(), world.data());
    let size = |bytes| format_size(bytes, BINARY);
    let takes = place.copy.map_or_else(
        || String::from("nobody knows how long"),
        |(least, most)| match (whole(least), whole(most)) {
            (least, most) if least == most => format!("about {most}"),
            (least, most) => format!("{least} to {most}"),
        },
    );
    let title = match world.ground() {
        Ground::Copy => format!("Make the copy in {path}"),
        Ground::Beside => format!("Make the new cluster in {path}"),
        _ => format!("Recover into {path} instead"),
    };
    let after = match world.ground() {
        Ground::Copy => String::new(),
        _ => format!("; then data_directory has to name {path}"),
    };
    by_lifeboat(
        OTHER_PLACE,
        &title,
        &format!(
            "The copy begins again there: {} are free, {} are needed. {}.",
            size(place.room.free),
            size(place.room.needed),
            place.kept
        ),
        &format!("the copy again ({takes}), and the replay{after}"),
        "none for the data: the same backup and the same point, which are proven",
    )
    .touching(vec![place.path.display().to_string(), full.display().to_string()])
    .with(vec![place.path.display().to_string()])
    .by_name()
}

/// Seconds, for people.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
fn whole(seconds: f64) -> String {
    spoken(seconds.max(1.0).ceil() as u64)
}

/// The folder that a message names: what its volume is to be asked of. `None` for a file in the
/// data directory itself, and where none is named.
fn named(line: &str, data: &Path) -> Option<PathBuf> {
    let words =
        line.split(|c: char| c.is_whitespace() || matches!(c, '"' | ',' | '\u{ab}' | '\u{bb}'));
    let mut paths = words.map(|word| Path::new(word.trim_end_matches([':', '.'])));
    let path = paths.find(|path| path.is_absolute() || is_linked(path))?;
    let inside = match path.strip_prefix(data) {
        Ok(inside) => inside,
        Err(_) if path.is_absolute() => return Some(path.to_owned()),
        Err(_) => path,
    };
    let parts = if inside.starts_with("pg_tblspc") { 2 } else { 1 };
    is_linked(inside).then(|| data.join(inside.iter().take(parts).collect::<PathBuf>()))
}

/// Whether the path, from the data directory, may lead out of it.
fn is_linked(path: &Path) -> bool {
    path.starts_with("pg_wal") || path.starts_with("pg_tblspc")
}
