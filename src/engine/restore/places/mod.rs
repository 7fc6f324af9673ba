//! Where the parts of a recovered cluster go, and where what was there before is kept: the data
//! directory, tablespaces, a WAL directory of its own. Owns the choice, made once for the plan;
//! what is there now is [`live`]'s, whether a place is free [`vacant`]'s, the renames are [`moves`]'s.
//!
//! ```text
//! /srv/pg/main                                    →  /srv/pg/main.damaged.20260101-120000
//! /srv/far/PG_15_202209061                        →  /srv/far/PG_15_202209061.damaged.20260101-120000
//! /mnt/pg (a mount point): its entries            →  /mnt/pg/lifeboat-kept.20260101-120000/
//! pg_wal → /wal/main: stays where it is, as it is;   the new pg_wal → /wal/main.20260101-120000
//! ```
//!
//! A tablespace's folder can be a mount point and can hold other servers' folders; so the folder
//! in it that is this server's own is what is renamed, beside itself.

mod error;
pub mod live;
pub mod moves;
pub mod vacant;

use crate::engine::runner::plan::{KeptSpace, PlacedSpace, Places};
use jiff::Timestamp;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use error::PlacesError;
pub use live::Live;

/// What a recovery keeps inside a mount point has a name that begins so.
pub const KEPT: &str = "lifeboat-kept.";

/// Free bytes that a WAL volume must have for a replay.
pub const WAL_ROOM: u64 = 256 << 20;

/// A tablespace of the backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupSpace {
    pub oid: u32,
    /// Where it was on the server that was backed up.
    pub location: PathBuf,
}

/// Whether a name in a folder that is to be filled is one of those that an earlier recovery has
/// kept there.
#[must_use]
pub fn is_kept(name: &str) -> bool {
    name.starts_with(KEPT)
        || (name.starts_with("PG_") && (name.contains(".damaged.") || name.contains(".abandoned.")))
}

/// A moment as names have it.
#[must_use]
pub fn stamp(now: Timestamp) -> String {
    now.strftime("%Y%m%d-%H%M%S").to_string()
}

/// Chooses every place but the data directory's own. `live` is what is there now.
#[must_use]
pub fn choose(
    live: &Live,
    backup: &[BackupSpace],
    mapping: &BTreeMap<PathBuf, PathBuf>,
    alternative: Option<PathBuf>,
    now: Timestamp,
) -> Places {
    let stamp = stamp(now);
    let kept = live.spaces.iter().map(|space| {
        let mut kept = space.folder.clone().into_os_string();
        kept.push(format!(".damaged.{stamp}"));
        KeptSpace { oid: space.oid, folder: space.folder.clone(), kept: kept.into() }
    });
    Places {
        contents: alternative.is_none() && live.is_mount,
        kept: kept.collect(),
        spaces: placed(backup, mapping),
        wal: live.wal.as_deref().map(|wal| fresh_wal(wal, &stamp, live.wal_is_mount)),
        alternative,
        reuse: false,
        stood: None,
        left: None,
    }
}

/// Where each tablespace of a backup goes.
#[must_use]
pub fn placed(backup: &[BackupSpace], mapping: &BTreeMap<PathBuf, PathBuf>) -> Vec<PlacedSpace> {
    let place = |space: &BackupSpace| PlacedSpace {
        oid: space.oid,
        place: mapped(&space.location, mapping),
        moved: mapping.contains_key(&space.location),
    };
    backup.iter().map(place).collect()
}

/// Where a tablespace goes.
#[must_use]
pub fn mapped(location: &Path, mapping: &BTreeMap<PathBuf, PathBuf>) -> PathBuf {
    mapping.get(location).cloned().unwrap_or_else(|| location.to_path_buf())
}

/// A new folder on the WAL volume: beside the present one, or in it where it is the volume's root.
/// A stamp that an earlier recovery has given is replaced.
pub(super) fn fresh_wal(wal: &Path, stamp: &str, is_mount: bool) -> PathBuf {
    if is_mount {
        return wal.join(format!("wal.{stamp}"));
    }
    let name = wal.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let is_stamp = |text: &str| {
        text.len() == 15
            && text.bytes().enumerate().all(
                |(at, b)| {
                    if at == 8 { b == b'-' } else { b.is_ascii_digit() }
                },
            )
    };
    let bare = match name.rsplit_once('.') {
        Some((bare, end)) if is_stamp(end) => bare,
        _ => &name,
    };
    wal.with_file_name(format!("{bare}.{stamp}"))
}

/// Whether the restore goes to the configured alternative directory: the data directory's volume
/// cannot hold the `here` bytes that it would take there, and the alternative's can hold `there`.
/// Where a volume cannot be asked, no.
#[must_use]
pub fn alternative_of(data_directory: &Path, alternative: &Path, here: u64, there: u64) -> bool {
    let free = crate::engine::recovery_point::reach::free_space;
    let is_free = || moves::is_empty(alternative).unwrap_or(!alternative.exists());
    free(data_directory).is_ok_and(|free| free < here)
        && free(alternative).is_ok_and(|free| free >= there)
        && is_free()
}

/// Reads `OLD=NEW`, both absolute; `\=` is an equals sign in a path.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_mapping(text: &str) -> Result<(PathBuf, PathBuf), String> {
    let (mut sides, mut escaped) = (vec![String::new()], false);
    for c in text.chars() {
        match (c, escaped) {
            ('\\', false) => {
                escaped = true;
                continue;
            }
            ('=', false) => sides.push(String::new()),
            (c, was) => {
                if let Some(side) = sides.last_mut() {
                    if was && c != '=' {
                        side.push('\\');
                    }
                    side.push(c);
                }
            }
        }
        escaped = false;
    }
    match sides.as_slice() {
        [old, new] if old.starts_with('/') && new.starts_with('/') => {
            Ok((PathBuf::from(old), PathBuf::from(new)))
        }
        _ => Err(format!("\"{text}\" is not OLD=NEW with two absolute paths")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Timestamp {
        "2026-01-01T12:00:00Z".parse().unwrap()
    }

    fn live() -> Live {
        Live {
            data: PathBuf::from("/srv/pg/main"),
            is_mount: false,
            spaces: vec![live::LiveSpace {
                oid: 16400,
                location: PathBuf::from("/srv/far"),
                folder: PathBuf::from("/srv/far/PG_15_202209061"),
            }],
            wal: None,
            wal_is_mount: false,
        }
    }

    #[test]
    fn every_part_gets_its_place() {
        let space = |oid, location: &str| BackupSpace { oid, location: PathBuf::from(location) };
        let backup = [space(16400, "/srv/far"), space(16401, "/srv/gone")];
        let mapping = BTreeMap::from([(PathBuf::from("/srv/gone"), PathBuf::from("/srv/new"))]);
        let places = choose(&live(), &backup, &mapping, None, at());
        assert!(!places.contents);
        assert_eq!(
            places.kept[0].kept,
            Path::new("/srv/far/PG_15_202209061.damaged.20260101-120000")
        );
        assert_eq!(places.spaces[0].place, Path::new("/srv/far"));
        assert!(!places.spaces[0].moved && places.spaces[1].moved);
        assert_eq!(places.spaces[1].place, Path::new("/srv/new"));
        let mount = Live { is_mount: true, ..live() };
        assert!(choose(&mount, &[], &mapping, None, at()).contents);
        let elsewhere = Some(PathBuf::from("/mnt/recovery"));
        assert!(!choose(&mount, &[], &mapping, elsewhere, at()).contents);
    }

    #[test]
    fn a_wal_directory_keeps_its_name_and_gets_the_moment() {
        let fresh = |wal: &str, is_mount| fresh_wal(Path::new(wal), "20260101-120000", is_mount);
        assert_eq!(fresh("/wal/main", false), Path::new("/wal/main.20260101-120000"));
        assert_eq!(
            fresh("/wal/main.20251231-235959", false),
            Path::new("/wal/main.20260101-120000")
        );
        assert_eq!(fresh("/wal/v1.5", false), Path::new("/wal/v1.5.20260101-120000"));
        assert_eq!(fresh("/wal", true), Path::new("/wal/wal.20260101-120000"));
    }

    #[test]
    fn a_mapping_is_two_absolute_paths() {
        let paths = |old: &str, new: &str| Ok((PathBuf::from(old), PathBuf::from(new)));
        assert_eq!(parse_mapping("/a=/b"), paths("/a", "/b"));
        assert_eq!(parse_mapping("/a\\=1=/b"), paths("/a=1", "/b"));
        for bad in ["/a", "a=/b", "/a=b", "/a=/b=/c", ""] {
            assert!(parse_mapping(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_was_kept_is_known_by_its_name() {
        for name in ["lifeboat-kept.20260101-120000", "PG_15_202209061.damaged.20260101-120000"] {
            assert!(is_kept(name), "{name}");
        }
        for name in ["PG_15_202209061", "base", "a.damaged.1"] {
            assert!(!is_kept(name), "{name}");
        }
    }

    #[test]
    fn the_alternative_is_for_a_volume_that_is_too_small() {
        let root = tempfile::tempdir().unwrap();
        let (data, other) = (root.path().join("data"), root.path().join("other"));
        // The same volume: what does not fit here does not fit there.
        assert!(!alternative_of(&data, &other, u64::MAX, u64::MAX));
        assert!(!alternative_of(&data, &other, 0, 0));
        assert!(alternative_of(&data, &other, u64::MAX, 0), "what it takes there alone counts");
    }
}
