//! Where the parts of a cluster lie now: its links, the mount points among them, and which other
//! servers on this host use the same folders. Looks only.

use super::PlacesError;
use crate::engine::init::discover;
use crate::engine::postgres::control_file;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Where the parts of a cluster lie now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Live {
    /// The data directory, without links in its path.
    pub data: PathBuf,
    pub is_mount: bool,
    /// Tablespaces outside of it.
    pub spaces: Vec<LiveSpace>,
    /// Where `pg_wal` is, if it is a link.
    pub wal: Option<PathBuf>,
    pub wal_is_mount: bool,
}

/// A tablespace outside the data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveSpace {
    pub oid: u32,
    pub location: PathBuf,
    /// The folder in it that is this server's own: `PG_15_202209061`.
    pub folder: PathBuf,
}

/// Looks where the parts of the cluster in `data_directory` are.
///
/// # Errors
/// Where a part of it cannot be kept, or it cannot be looked at.
pub fn look(data_directory: &Path) -> Result<Live, PlacesError> {
    let data = data_directory.canonicalize().map_err(io("find", data_directory))?;
    let mounts = mounts();
    let nested = mounts.iter().find(|mount| **mount != data && mount.starts_with(&data));
    if let Some(mount) = nested {
        return Err(PlacesError::Nested { mount: mount.clone() });
    }
    let spaces = spaces(&data)?;
    let of_mount = spaces.iter().find(|space| mounts.contains(&space.folder));
    if let Some(LiveSpace { oid, folder, .. }) = of_mount {
        return Err(PlacesError::SpaceIsMount { oid: *oid, folder: folder.clone() });
    }
    let link = data.join("pg_wal");
    let is_link = fs::symlink_metadata(&link).is_ok_and(|found| found.is_symlink());
    // A link to nothing still says where the WAL belongs.
    let wal = is_link
        .then(|| link.canonicalize().or_else(|_| fs::read_link(&link)).map_err(io("follow", &link)))
        .transpose()?
        .filter(|wal| !wal.starts_with(&data));
    Ok(Live {
        is_mount: mounts.contains(&data),
        wal_is_mount: wal.as_ref().is_some_and(|wal| mounts.contains(wal)),
        data,
        spaces,
        wal,
    })
}

/// Refuses where a server other than the one in `live` uses one of its tablespaces.
///
/// # Errors
/// See there.
pub fn require_unshared(live: &Live) -> Result<(), PlacesError> {
    if live.spaces.is_empty() {
        return Ok(());
    }
    for other in discover::servers().found.iter().filter(|other| other.data_directory != live.data)
    {
        let theirs = links(&other.data_directory).unwrap_or_default();
        let shared = |space: &&LiveSpace| {
            // Another version has a folder of its own there.
            theirs.iter().any(|(_, location)| *location == space.location)
                && version_folder(&other.data_directory).ok().as_deref()
                    == space.folder.file_name().and_then(|name| name.to_str())
        };
        if let Some(space) = live.spaces.iter().find(shared) {
            return Err(PlacesError::InUse {
                oid: space.oid,
                folder: space.folder.clone(),
                by: other.data_directory.clone(),
            });
        }
    }
    Ok(())
}

fn spaces(data: &Path) -> Result<Vec<LiveSpace>, PlacesError> {
    let links = links(data)?;
    if links.is_empty() {
        return Ok(Vec::new());
    }
    let name = version_folder(data)?;
    let mut spaces: Vec<LiveSpace> = Vec::new();
    for (oid, location) in links {
        let folder = location.join(&name);
        // Inside, it moves with the data directory; where it is lost, nothing is there to keep.
        let seen = spaces.iter().any(|space| space.folder == folder);
        if !location.starts_with(data) && folder.is_dir() && !seen {
            spaces.push(LiveSpace { oid, location, folder });
        }
    }
    Ok(spaces)
}

/// The links below `pg_tblspc`, in the order of their OIDs, without links in their paths.
fn links(data: &Path) -> Result<Vec<(u32, PathBuf)>, PlacesError> {
    let folder = data.join("pg_tblspc");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io("read", &folder)(error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io("read", &folder))?;
        let Some(oid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(target) = fs::read_link(entry.path()) else { continue };
        let target = folder.join(target);
        found.push((oid, target.canonicalize().unwrap_or(target)));
    }
    found.sort_unstable();
    Ok(found)
}

/// The name of this server's own folder in a tablespace.
fn version_folder(data: &Path) -> Result<String, PlacesError> {
    let major = control_file::major_version(data)?;
    Ok(format!("PG_{major}_{}", control_file::read(data)?.catalog_version))
}

/// Whether a volume is mounted at the directory.
#[must_use]
pub fn is_mount(directory: &Path) -> bool {
    directory.canonicalize().is_ok_and(|real| mounts().contains(&real))
}

/// Where volumes are mounted; none where the kernel does not say.
fn mounts() -> Vec<PathBuf> {
    let table = fs::read("/proc/self/mountinfo").unwrap_or_default();
    table.split(|byte| *byte == b'\n').filter_map(mount_point).collect()
}

/// The fifth field of a line of `mountinfo`, in which `\040` is a space.
fn mount_point(line: &[u8]) -> Option<PathBuf> {
    let field = line.split(|byte| *byte == b' ').nth(4)?;
    let (mut bytes, mut rest) = (Vec::new(), field);
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).filter(|_| *first == b'\\');
        let value = octal
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match value {
            Some(value) => {
                bytes.push(value);
                rest = after.get(3..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(bytes)))
        .filter(|path| path.as_os_str().as_bytes().starts_with(b"/"))
}

fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> PlacesError {
    let path = path.to_path_buf();
    move |source| PlacesError::Io { doing, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_as_the_kernel_writes_them() {
        let line = |text: &str| mount_point(text.as_bytes());
        assert_eq!(
            line("36 35 98:0 / /mnt/a\\040b rw,noatime master:1 - ext4 /dev/root rw"),
            Some(PathBuf::from("/mnt/a b"))
        );
        assert_eq!(line("1 0 0:1 / / rw - rootfs none rw"), Some(PathBuf::from("/")));
        assert_eq!(line(""), None);
        assert!(mounts().contains(&PathBuf::from("/proc")));
    }
}
