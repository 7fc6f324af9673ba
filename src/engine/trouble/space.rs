//! The disk is full: while the base is copied, while a WAL file is fetched, or while the server
//! replays. Names what could go; deletes nothing.

use super::{Ground, LOOK_AGAIN, OTHER_DISK, Scene, World, by_people, evidence, trouble};
use crate::engine::incident::trouble::Trouble;
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
    // The recovery may be there already.
    let alternative = world.alternative().filter(|other| *other != data);
    let other = by_people(
        OTHER_DISK,
        "Recover on another disk",
        match &alternative {
            Some(path) => format!(
                "Cancel (X), put everything back (U), and plan for the alternative data directory {}.",
                path.display()
            ),
            None => String::from(
                "Name a directory on another disk as alternative_data_directory in the cluster's \
                 section of lifeboat.toml, cancel (X), put everything back (U) and plan again.",
            ),
        },
    );
    // A new cluster is swapped in by renaming: it has to be on this disk.
    let other = match world.ground() {
        // Its tablespaces and its WAL would go where they go now.
        _ if is_elsewhere => None,
        Ground::InPlace => Some(other),
        Ground::Copy => Some(by_people(
            OTHER_DISK,
            "Make the copy on another disk",
            "Cancel (X), put everything back (U: the copy is taken down), and bring the parts with \
             lifeboat restore-parts --work-directory and a folder on another disk.",
        )),
        Ground::Beside | Ground::Old | Ground::Swapped => None,
    };
    trouble("no-space", what, shown, std::iter::once(room).chain(other).collect())
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
