//! The folder that a restore goes into: whether it may, whether it fits, and how far an earlier
//! attempt came. Owns the marker. Never removes anything but the marker.

use super::MARKER;
use super::error::RestoreError;
use super::sink::TABLESPACE_MAP;
use crate::engine::backup::walk::CONTROL_FILE;
use crate::engine::files;
use crate::engine::repository::manifest::Header;
use crate::engine::restore::places;
use crate::engine::runner::step::Standing;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

const FOLDER_MODE: u32 = 0o700;
const MARKER_MODE: u32 = 0o600;

/// Made by a file system, not by people.
const HARMLESS: &str = "lost+found";

/// The marker's content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Marker {
    format: u32,
    set: String,
    /// Every byte of the tar stream before this one is on the disk.
    tar: u64,
    /// Folders outside the data directory that this restore fills.
    tablespaces: Vec<PathBuf>,
    /// The WAL directory of this restore, where it is not in the data directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wal: Option<PathBuf>,
}

/// Where a tablespace goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    pub place: PathBuf,
    /// Elsewhere than it was.
    pub moved: bool,
    /// Bytes.
    pub size: u64,
}

/// What is to be restored.
#[derive(Debug)]
pub struct Claim<'a> {
    pub set: &'a str,
    /// Bytes, tablespaces included.
    pub total: u64,
    pub spaces: BTreeMap<u32, Space>,
    pub owner: Option<(u32, u32)>,
    /// Major version of the server, whose folder in a tablespace must be free.
    pub version: u32,
    /// Where `pg_wal` leads to, where it is to be a link.
    pub wal: Option<PathBuf>,
}

/// A folder that this process alone restores into.
#[derive(Debug)]
pub struct Destination {
    pub root: PathBuf,
    pub spaces: BTreeMap<u32, Space>,
    pub owner: Option<(u32, u32)>,
    /// Every byte of the tar stream before this one was on the disk when this process came.
    pub done: u64,
    pub wal: Option<PathBuf>,
    set: String,
    resumed: bool,
    /// Locked as long as it is open.
    folder: File,
}

impl Destination {
    /// Takes the folder, and makes it where it is missing. Writes the marker.
    ///
    /// # Errors
    /// Where it holds anything else, or has not the space. Nothing was written then.
    pub fn claim(root: &Path, claim: Claim<'_>) -> Result<Self, RestoreError> {
        let earlier = look(root, claim.set)?;
        let done = earlier.as_ref().map_or(0, |marker| marker.tar);
        let ours = earlier.as_ref().map(|marker| marker.tablespaces.clone()).unwrap_or_default();
        for (oid, space) in &claim.spaces {
            if !ours.contains(&space.place) {
                require_free(*oid, &space.place, claim.version)?;
            }
        }
        if let Some(wal) = &claim.wal
            && earlier.as_ref().is_none_or(|marker| marker.wal.as_ref() != Some(wal))
            && let Some(found) = first_entry(wal)?
        {
            return Err(RestoreError::NotEmpty { place: wal.clone(), found });
        }
        check_space(root, &claim, done)?;
        make_folder(root)?;
        let folder = File::open(root).map_err(RestoreError::io("open", root))?;
        rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            match error {
                rustix::io::Errno::WOULDBLOCK => RestoreError::Busy { place: root.to_path_buf() },
                other => RestoreError::io("lock", root)(other.into()),
            }
        })?;
        // Between the first look and the lock, another restore may have begun or ended.
        let again = look(root, claim.set)?;
        if again != earlier {
            return Err(RestoreError::Busy { place: root.to_path_buf() });
        }
        let destination = Self {
            root: root.to_path_buf(),
            spaces: claim.spaces,
            owner: claim.owner,
            done,
            wal: claim.wal,
            set: claim.set.to_owned(),
            resumed: earlier.is_some(),
            folder,
        };
        destination.note(done)?;
        for space in destination.spaces.values() {
            make_folder(&space.place)?;
            destination.give(&space.place)?;
        }
        if let Some(wal) = &destination.wal {
            make_folder(wal)?;
            destination.give(wal)?;
        }
        Ok(destination)
    }

    #[must_use]
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Where a path of the backup goes.
    #[must_use]
    pub fn place(&self, path: &str) -> PathBuf {
        let inside = path.strip_prefix("pg_tblspc/").and_then(|rest| {
            let (oid, below) = rest.split_once('/')?;
            Some(self.spaces.get(&oid.parse().ok()?)?.place.join(below))
        });
        inside.unwrap_or_else(|| self.root.join(path))
    }

    /// The tablespace whose link this path is.
    #[must_use]
    pub fn space_of_link(&self, path: &str) -> Option<&Space> {
        self.spaces.get(&path.strip_prefix("pg_tblspc/")?.parse().ok()?)
    }

    /// Gives a file or folder to the owner.
    ///
    /// # Errors
    /// Where it could not be.
    pub fn give(&self, path: &Path) -> Result<(), RestoreError> {
        let Some((user, group)) = self.owner else { return Ok(()) };
        std::os::unix::fs::lchown(path, Some(user), Some(group))
            .map_err(RestoreError::io("give to its owner", path))
    }

    /// Waits until everything written so far is on the disk.
    ///
    /// # Errors
    /// Where a disk says that it is not.
    pub fn sync(&self) -> Result<(), RestoreError> {
        let sync = |folder: &File, path: &Path| {
            rustix::fs::syncfs(folder).map_err(|e| RestoreError::io("sync", path)(e.into()))
        };
        sync(&self.folder, &self.root)?;
        for place in self.spaces.values().map(|space| &space.place).chain(&self.wal) {
            let folder = File::open(place).map_err(RestoreError::io("open", place))?;
            sync(&folder, place)?;
        }
        Ok(())
    }

    /// Notes in the marker that the tar stream is on the disk up to `tar`.
    ///
    /// # Errors
    /// Where the marker could not be written.
    pub fn note(&self, tar: u64) -> Result<(), RestoreError> {
        let marker = Marker {
            format: 1,
            set: self.set.clone(),
            tar,
            tablespaces: self.spaces.values().map(|space| space.place.clone()).collect(),
            wal: self.wal.clone(),
        };
        let path = self.root.join(MARKER);
        let text = serde_json::to_vec_pretty(&marker)
            .map_err(|error| RestoreError::Internal(error.to_string()))?;
        files::replace(&path, &text, MARKER_MODE).map_err(RestoreError::io("write", path))
    }

    /// Removes the marker: the restore is complete. What a process that was killed
    /// while it wrote a file whole left beside it goes too: what stays is the backup's alone.
    ///
    /// # Errors
    /// Where one could not be removed.
    pub fn release(&self) -> Result<(), RestoreError> {
        for name in [MARKER, TABLESPACE_MAP, CONTROL_FILE] {
            let path = self.root.join(name);
            files::sweep(&path).map_err(RestoreError::io("clean up beside", &path))?;
        }
        let path = self.root.join(MARKER);
        fs::remove_file(&path).map_err(RestoreError::io("remove", &path))?;
        self.folder.sync_all().map_err(RestoreError::io("sync", &self.root))
    }
}

/// Where each tablespace goes. Looks only at names, not at the disk.
///
/// # Errors
/// Where a place is not an absolute path of its own, outside the data directory.
pub fn tablespaces(
    root: &Path,
    header: &Header,
    wanted: &BTreeMap<u32, PathBuf>,
) -> Result<BTreeMap<u32, Space>, RestoreError> {
    let mut spaces: BTreeMap<u32, Space> = BTreeMap::new();
    let absolute_root = std::path::absolute(root).map_err(RestoreError::io("find", root))?;
    for space in &header.tablespaces {
        let oid = space.oid;
        let original = PathBuf::from(&space.location);
        let place = wanted.get(&oid).cloned().unwrap_or_else(|| original.clone());
        let refuse =
            |why: &str| RestoreError::Tablespace { oid, place: place.clone(), why: why.to_owned() };
        if !place.is_absolute() || place.components().any(|part| part == Component::ParentDir) {
            return Err(refuse("it is not an absolute path"));
        }
        if place.starts_with(&absolute_root) {
            return Err(refuse("it lies inside the data directory"));
        }
        let overlaps =
            |other: &Space| place.starts_with(&other.place) || other.place.starts_with(&place);
        if spaces.values().any(overlaps) {
            return Err(refuse("another tablespace goes there too"));
        }
        let moved = place != original;
        spaces.insert(oid, Space { place, moved, size: space.size });
    }
    for (oid, place) in wanted {
        if !spaces.contains_key(oid) {
            let why = String::from("the backup has no such tablespace");
            return Err(RestoreError::Tablespace { oid: *oid, place: place.clone(), why });
        }
    }
    Ok(spaces)
}

/// See [`super::taken`].
pub fn taken(root: &Path) -> Vec<PathBuf> {
    let marker = fs::read(root.join(MARKER)).ok();
    let marker = marker.and_then(|text| serde_json::from_slice::<Marker>(&text).ok());
    marker
        .map(|marker| marker.tablespaces.into_iter().chain(marker.wal).collect())
        .unwrap_or_default()
}

/// See [`super::probe`].
pub fn probe(root: &Path, set: &str) -> Result<Standing, RestoreError> {
    if let Some(label) = finished_label(root)
        && root.join(CONTROL_FILE).exists()
        && !root.join(MARKER).exists()
        && label == crate::engine::backup::label(set)
    {
        return Ok(Standing::Done(format!("{} holds {set}, complete", root.display())));
    }
    Ok(match look(root, set)? {
        None => Standing::NotStarted,
        Some(marker) => Standing::Partial(format!(
            "{} holds an unfinished restore of {set}; {} of its bytes are on the disk",
            root.display(),
            humansize::format_size(marker.tar, humansize::BINARY),
        )),
    })
}

/// The label of the backup that this data directory came from; the server renames the file when
/// it has started.
fn finished_label(root: &Path) -> Option<String> {
    let text = ["backup_label", "backup_label.old"]
        .iter()
        .find_map(|name| fs::read_to_string(root.join(name)).ok())?;
    text.lines().find_map(|line| line.strip_prefix("LABEL: ")).map(str::to_owned)
}

/// The marker of an earlier attempt, where the folder holds one; `None` where it is empty or
/// missing.
fn look(root: &Path, set: &str) -> Result<Option<Marker>, RestoreError> {
    let path = root.join(MARKER);
    match fs::read(&path) {
        Ok(text) => {
            let unreadable = || RestoreError::NotEmpty {
                place: root.to_path_buf(),
                found: format!("a marker {MARKER} that is not readable"),
            };
            let marker: Marker = serde_json::from_slice(&text).map_err(|_| unreadable())?;
            if marker.format != 1 {
                return Err(unreadable());
            }
            if marker.set != set {
                return Err(RestoreError::OtherRestore {
                    place: root.to_path_buf(),
                    found: marker.set,
                    wanted: set.to_owned(),
                });
            }
            Ok(Some(marker))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => match first_entry(root)? {
            Some(found) => Err(RestoreError::NotEmpty { place: root.to_path_buf(), found }),
            None => Ok(None),
        },
        Err(error) => Err(RestoreError::io("read", path)(error)),
    }
}

/// Something in the folder; `None` where it is empty or missing. A marker that was being written
/// when its process was killed counts as nothing, and so does what a recovery has kept there.
fn first_entry(folder: &Path) -> Result<Option<String>, RestoreError> {
    first_entry_but(folder, &|_| false)
}

fn first_entry_but(
    folder: &Path,
    passes: &dyn Fn(&str) -> bool,
) -> Result<Option<String>, RestoreError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RestoreError::io("read", folder)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(RestoreError::io("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name != HARMLESS
            && !files::is_temporary_of(MARKER, &name)
            && !places::is_kept(&name)
            && !passes(&name)
        {
            return Ok(Some(name));
        }
    }
    Ok(None)
}

/// A server of another major version has a folder of its own in a tablespace, which is no other
/// server's concern.
fn require_free(oid: u32, place: &Path, version: u32) -> Result<(), RestoreError> {
    let ours = format!("PG_{version}_");
    let others = |name: &str| {
        name.starts_with("PG_")
            && !name.starts_with(&ours)
            && name.bytes().filter(|byte| *byte == b'_').count() == 2
    };
    match first_entry_but(place, &others)? {
        None => Ok(()),
        Some(found) => Err(RestoreError::Tablespace {
            oid,
            place: place.to_path_buf(),
            why: format!("it is not empty, it holds {found}; a live server may be using it"),
        }),
    }
}

/// Adds up what goes to each disk and compares it with what is free there.
fn check_space(root: &Path, claim: &Claim<'_>, done: u64) -> Result<(), RestoreError> {
    let in_spaces: u64 = claim.spaces.values().map(|space| space.size).sum();
    let mut needs: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
    let main = (root, claim.total.saturating_sub(in_spaces));
    let spaces = claim.spaces.values().map(|space| (space.place.as_path(), space.size));
    let wal = claim.wal.iter().map(|wal| (wal.as_path(), places::WAL_ROOM));
    for (place, size) in std::iter::once(main).chain(spaces).chain(wal) {
        let there = existing(place)?;
        let meta = fs::metadata(&there).map_err(RestoreError::io("look at", &there))?;
        needs.entry(meta.dev()).or_insert((there, 0)).1 += size;
    }
    // How an earlier attempt's bytes divide between several disks is not known; a full disk is
    // told when it is met.
    if done > 0 && needs.len() > 1 {
        return Ok(());
    }
    for (place, size) in needs.into_values() {
        let needed = size.saturating_sub(done);
        let found = rustix::fs::statvfs(&place)
            .map_err(|error| RestoreError::io("ask for free space on", &place)(error.into()))?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        if free < needed {
            return Err(RestoreError::Space { place, needed, free });
        }
    }
    Ok(())
}

/// The path itself or the nearest folder above it that exists.
fn existing(path: &Path) -> Result<PathBuf, RestoreError> {
    let absolute = std::path::absolute(path).map_err(RestoreError::io("find", path))?;
    let found = absolute.ancestors().find(|folder| folder.exists());
    Ok(found.unwrap_or(Path::new("/")).to_path_buf())
}

fn make_folder(path: &Path) -> Result<(), RestoreError> {
    match DirBuilder::new().mode(FOLDER_MODE).create(path) {
        Ok(()) => files::sync_parent(path).map_err(RestoreError::io("sync", path)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(error) => Err(RestoreError::io("make", path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::Codec;
    use crate::engine::repository::manifest::{self, Tablespace};

    const SET: &str = "set-20250113-020000";

    fn claim(total: u64) -> Claim<'static> {
        Claim { set: SET, total, spaces: BTreeMap::new(), owner: None, version: 15, wal: None }
    }

    #[test]
    fn an_empty_or_missing_folder_is_taken_and_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        assert_eq!(probe(&root, SET).unwrap(), Standing::NotStarted);
        let place = Destination::claim(&root, claim(1)).unwrap();
        assert!(!place.resumed());
        let second = Destination::claim(&root, claim(1));
        assert!(matches!(second, Err(RestoreError::Busy { .. })), "{second:?}");
        place.note(77).unwrap();
        fs::write(root.join("PG_VERSION"), "15").unwrap();
        drop(place);
        assert!(matches!(probe(&root, SET).unwrap(), Standing::Partial(_)));
        let place = Destination::claim(&root, claim(1)).unwrap();
        assert!(place.resumed());
        assert_eq!(place.done, 77);
        drop(place);
        let other = Destination::claim(&root, Claim { set: "set-20250114-020000", ..claim(1) });
        assert!(matches!(other, Err(RestoreError::OtherRestore { .. })), "{other:?}");
    }

    #[test]
    fn what_a_killed_process_left_half_written_is_no_part_of_the_restored_directory() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        let place = Destination::claim(&root, claim(1)).unwrap();
        fs::create_dir(root.join("global")).unwrap();
        for name in [MARKER, TABLESPACE_MAP, CONTROL_FILE] {
            fs::write(files::temporary_beside(&root.join(name)), "half").unwrap();
        }
        fs::write(root.join("PG_VERSION"), "15").unwrap();
        drop(place);
        let place = Destination::claim(&root, claim(1)).unwrap();
        assert!(place.resumed());
        place.release().unwrap();
        let held = |folder: &Path| -> Vec<_> {
            let mut names: Vec<_> =
                fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(held(&root), ["PG_VERSION", "global"]);
        assert!(held(&root.join("global")).is_empty());
    }

    #[test]
    fn foreign_content_is_refused_and_untouched() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("notes.txt"), "mine").unwrap();
        let refused = Destination::claim(folder.path(), claim(1));
        assert!(matches!(refused, Err(RestoreError::NotEmpty { .. })), "{refused:?}");
        assert!(probe(folder.path(), SET).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn too_little_space_is_said_in_numbers_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("data");
        let refused = Destination::claim(&root, claim(u64::MAX)).unwrap_err();
        assert!(matches!(refused, RestoreError::Space { needed: u64::MAX, .. }), "{refused:?}");
        assert!(!root.exists());
    }

    #[test]
    fn what_a_recovery_has_kept_is_not_in_the_way() {
        let folder = tempfile::tempdir().unwrap();
        let space = folder.path().join("space");
        fs::create_dir(&space).unwrap();
        for kept in ["PG_15_202209061.damaged.20260101-120000", "PG_14_202107181"] {
            fs::create_dir(space.join(kept)).unwrap();
        }
        assert!(require_free(1, &space, 15).is_ok());
        assert!(require_free(1, &space, 14).is_err());
        fs::create_dir(space.join("PG_15_202209061")).unwrap();
        assert!(require_free(1, &space, 15).is_err());
        let root = folder.path().join("data");
        fs::create_dir_all(root.join("lifeboat-kept.20260101-120000/global")).unwrap();
        let wal = folder.path().join("wal");
        let with_wal = || Claim { wal: Some(wal.clone()), ..claim(1) };
        drop(Destination::claim(&root, with_wal()).unwrap());
        fs::write(wal.join("000000010000000000000001"), "").unwrap();
        assert!(Destination::claim(&root, with_wal()).unwrap().resumed());
        let other = Destination::claim(&folder.path().join("other"), with_wal());
        assert!(matches!(other, Err(RestoreError::NotEmpty { .. })), "{other:?}");
    }

    #[test]
    fn a_tablespace_never_goes_into_a_folder_that_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let (root, live) = (folder.path().join("data"), folder.path().join("live"));
        fs::create_dir(&live).unwrap();
        fs::write(live.join("PG_15_1"), "").unwrap();
        let header = manifest::Header {
            version: 1,
            set: SET.to_owned(),
            object: String::new(),
            codec: Codec::Gzip,
            encrypted: false,
            member_size: 1,
            page_size: 8192,
            tablespaces: vec![Tablespace {
                oid: 16400,
                location: live.display().to_string(),
                size: 1,
            }],
        };
        let spaces = tablespaces(&root, &header, &BTreeMap::new()).unwrap();
        let refused = Destination::claim(&root, Claim { spaces, ..claim(1) });
        assert!(matches!(refused, Err(RestoreError::Tablespace { .. })), "{refused:?}");
        assert!(!root.exists());

        let wanted = BTreeMap::from([(16400, folder.path().join("free"))]);
        let spaces = tablespaces(&root, &header, &wanted).unwrap();
        let place = Destination::claim(&root, Claim { spaces, ..claim(1) }).unwrap();
        assert_eq!(
            place.place("pg_tblspc/16400/PG_15_1/5/1"),
            folder.path().join("free/PG_15_1/5/1")
        );
        assert_eq!(place.place("base/5/1"), root.join("base/5/1"));
        for bad in ["relative", "/a/../b"] {
            let wanted = BTreeMap::from([(16400, PathBuf::from(bad))]);
            assert!(tablespaces(&root, &header, &wanted).is_err(), "{bad}");
        }
        let inside = BTreeMap::from([(16400, root.join("inside"))]);
        assert!(tablespaces(&root, &header, &inside).is_err());
    }
}
