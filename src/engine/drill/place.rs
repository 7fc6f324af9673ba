//! The folder of a sandbox: made new, marked as ours, locked while a drill lives, and cleared
//! away whole. Never removes anything that its own mark does not name.
//!
//! The mark is a file in the folder with the folder's own path, device and inode. The drill
//! holds a lock on it, which ends with the process, however it ends: a mark without a lock is a
//! leftover, and the next drill clears it.

use super::error::DrillError;
use super::processes;
use super::teardown::Traces;
use super::user::can_enter;
use crate::engine::incident::facts::Check;
use crate::engine::postgres::child;
use crate::engine::postgres::closed::ClosedServer;
use crate::engine::postgres::discovery::Owner;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MARK: &str = ".lifeboat-sandbox.json";
const PREFIX: &str = "lifeboat-drill-";
/// What a sandbox holds at its top; anything else there is not ours and stays.
const ENTRIES: [&str; 14] = [
    "away",
    "bin",
    "cluster",
    "far",
    "keys",
    "ledger.jsonl",
    "lifeboat.toml",
    "master",
    "repository",
    "scenario.toml",
    "socket",
    "state",
    "truth.json",
    VOLUME,
];
/// Tells of a volume with less free space than there is.
const VOLUME: &str = "volume.json";

#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// The user who made it; only that user clears it.
    maker: u32,
    /// Asked to be kept: never cleared.
    kept: bool,
    /// A second folder of ours, for sockets whose path would be too long in here.
    socket: Option<PathBuf>,
    /// The process that made it, which can be asked to end the drill.
    #[serde(default)]
    pid: Option<i32>,
}

/// A sandbox's folder, locked.
#[derive(Debug)]
pub struct Place {
    root: PathBuf,
    socket: PathBuf,
    /// Held to the end: the lock is what tells a live drill from a leftover.
    _lock: Option<File>,
}

/// What a clearing did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cleared {
    /// The folders that are gone.
    pub removed: Vec<PathBuf>,
    /// What was in one and is not ours; it was left there.
    pub left: Vec<PathBuf>,
    /// That nothing else is left; one after the other, where several were cleared.
    pub proof: Vec<Check>,
}

impl Place {
    /// Makes a new folder: `keep` where given (it must not be there, or be empty), else a fresh
    /// name in `directory` or the first folder for temporary files that `user` can enter.
    ///
    /// # Errors
    /// Where no folder fits, or it cannot be made.
    pub fn make(
        directory: Option<&Path>,
        keep: Option<&Path>,
        user: &Owner,
    ) -> Result<Self, DrillError> {
        let root = match keep {
            Some(keep) => make_named(keep)?,
            None => make_fresh(directory, user)?,
        };
        let parent = root.parent().unwrap_or(&root);
        if !can_enter(parent, user) {
            // Only a folder that we made just now and that is still empty goes again.
            let _ = fs::remove_dir(&root);
            let why = format!("the server's user {} cannot enter {}", user, parent.display());
            return Err(DrillError::Refused { path: root, why });
        }
        let mut socket = root.join("socket");
        // A socket's path has at most 107 bytes, and the file in the folder needs 18 of them.
        let elsewhere = socket.as_os_str().len() > 80;
        if elsewhere {
            socket = make_fresh(Some(Path::new("/tmp")), user)?;
        } else {
            make_private(&socket).map_err(DrillError::file(&socket, "it could not be made"))?;
        }
        let meta = root.metadata().map_err(DrillError::file(&root, "it cannot be read"))?;
        let mark = Mark {
            path: root.clone(),
            device: meta.dev(),
            inode: meta.ino(),
            maker: nix::unistd::geteuid().as_raw(),
            kept: keep.is_some(),
            socket: elsewhere.then(|| socket.clone()),
            pid: i32::try_from(std::process::id()).ok(),
        };
        let lock = write_mark(&root, &mark)?;
        // The mark stays ours: the server's user must not say what is to be removed.
        for folder in [&socket, &root] {
            child::give(folder, user)
                .map_err(DrillError::file(folder, "its owner could not be set"))?;
        }
        Ok(Self { root, socket, _lock: Some(lock) })
    }

    /// The one that was made at `root` and kept, marked and locked anew; `None` where nothing is
    /// there.
    ///
    /// # Errors
    /// Where what is there does not bear its own mark, or another process holds it.
    pub fn again(root: &Path) -> Result<Option<Self>, DrillError> {
        if fs::symlink_metadata(root).is_err() {
            return Ok(None);
        }
        let refuse =
            |why: &str| DrillError::Refused { path: root.to_path_buf(), why: why.to_owned() };
        let mark = marked(root)?;
        let path = root.join(MARK);
        let lock = File::open(&path).map_err(DrillError::file(&path, "it cannot be read"))?;
        lock.try_lock().map_err(|_| refuse("another process works in it"))?;
        let socket = mark.socket.unwrap_or_else(|| root.join("socket"));
        Ok(Some(Self { root: root.to_path_buf(), socket, _lock: Some(lock) }))
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The private folder for the server's sockets; its path is short.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Stops every process of the sandbox and removes it.
    ///
    /// # Errors
    /// Where a process does not end, or a file cannot be removed.
    pub fn clear(&self) -> Result<Cleared, DrillError> {
        clear(&self.root)
    }
}

/// Clears what drills left that ended without clearing: killed ones. Live and kept ones stay,
/// as do those of other users.
///
/// # Errors
/// The first that could not be cleared, after all were tried.
pub fn sweep(directory: Option<&Path>) -> Result<Cleared, DrillError> {
    let mut all = Cleared::default();
    let mut failed = None;
    for folder in homes(directory) {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            if !entry.file_name().as_encoded_bytes().starts_with(PREFIX.as_bytes()) {
                continue;
            }
            match sweep_one(&entry.path()) {
                Ok(cleared) => {
                    all.removed.extend(cleared.removed);
                    all.left.extend(cleared.left);
                    all.proof.extend(cleared.proof);
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
    }
    failed.map_or(Ok(all), Err)
}

fn sweep_one(root: &Path) -> Result<Cleared, DrillError> {
    let Some(mark) = read_mark(root) else {
        return Ok(Cleared::default());
    };
    let ours = mark.maker == nix::unistd::geteuid().as_raw();
    if mark.kept || !ours || !lock_is_free(root) {
        return Ok(Cleared::default());
    }
    match clear(root) {
        // Another drill that began at the same moment has cleared it.
        Err(_) if fs::symlink_metadata(root).is_err() => Ok(Cleared::default()),
        cleared => cleared,
    }
}

/// Stops the processes of the marked sandbox at `root` and removes what is the sandbox's.
///
/// # Errors
/// Where `root` does not bear its mark, a process does not end, or a file cannot be removed.
pub fn clear(root: &Path) -> Result<Cleared, DrillError> {
    let mark = marked(root)?;
    let sockets = mark.socket.clone().unwrap_or_else(|| root.join("socket"));
    let traces = Traces::of(root, &sockets);
    processes::end_all_of(root, Duration::from_secs(20))?;
    clear_closed(root)?;
    let mut cleared = Cleared::default();
    for name in ENTRIES {
        remove(&root.join(name))?;
    }
    if let Some(socket) = &mark.socket {
        remove_sockets(socket)?;
        cleared.removed.push(socket.clone());
    }
    let others: Vec<PathBuf> = fs::read_dir(root)
        .map_err(DrillError::file(root, "it cannot be listed"))?
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(|name| name != MARK))
        .collect();
    remove(&root.join(MARK))?;
    if others.is_empty() {
        fs::remove_dir(root).map_err(DrillError::file(root, "it could not be removed"))?;
        cleared.removed.push(root.to_path_buf());
    }
    cleared.left.extend(others);
    cleared.proof = traces.gone(&cleared.left);
    Ok(cleared)
}

/// A server of the sandbox's that was killed in a recovery leaves its private folder behind.
fn clear_closed(root: &Path) -> Result<(), DrillError> {
    let Ok(meta) = root.metadata() else { return Ok(()) };
    let owner = Owner { uid: meta.uid(), gid: meta.gid(), name: None };
    let Ok(entries) = fs::read_dir(root.join("cluster")) else { return Ok(()) };
    let beside = entries.flatten().map(|entry| entry.path());
    // The data directory itself may be what was lost.
    for data in beside.chain([root.join("cluster/data")]) {
        let closed = ClosedServer::of(&data, &owner, 0);
        let folder = &closed.socket_directory;
        let ours = folder.symlink_metadata().is_ok_and(|meta| {
            meta.is_dir() && (meta.uid() == owner.uid || meta.uid() == Owner::current().uid)
        });
        if ours {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.file_name().as_encoded_bytes().starts_with(b".s.PGSQL.") {
                    remove(&entry.path())?;
                }
            }
            closed.remove().map_err(|error| {
                DrillError::file(folder, "it could not be removed")(io::Error::other(error))
            })?;
        }
    }
    Ok(())
}

/// What is still there of a sandbox that was cleared away: its folders, processes, sockets.
#[must_use]
pub fn traces(root: &Path, socket: &Path) -> Vec<String> {
    let mut found: Vec<String> = [root, socket]
        .iter()
        .filter(|path| path.symlink_metadata().is_ok())
        .map(|path| path.display().to_string())
        .collect();
    found.extend(processes::pids_of(root).iter().map(|pid| format!("process {pid}")));
    let sockets = fs::read_to_string("/proc/thread-self/net/unix").unwrap_or_default();
    let bound = sockets.lines().filter_map(|line| line.split_whitespace().nth(7));
    let bound =
        bound.filter(|path| [root, socket].iter().any(|own| Path::new(path).starts_with(own)));
    found.extend(bound.map(|path| format!("the socket {path}")));
    found
}

/// The drills of this user that run now: their folders, and the processes that hold them. In
/// `directory` alone, where one is given.
#[must_use]
pub fn living(directory: Option<&Path>) -> Vec<(PathBuf, i32)> {
    let homes = directory.map_or_else(|| homes(None), |only| vec![only.to_path_buf()]);
    let folders = homes.into_iter().filter_map(|home| fs::read_dir(home).ok());
    folders
        .flat_map(|entries| entries.flatten())
        .map(|entry| entry.path())
        .filter(|path| {
            path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(PREFIX.as_bytes()))
        })
        .filter_map(|root| {
            let pid = holder_of(&root)?;
            Some((root, pid))
        })
        .collect()
}

/// The process that holds the drill at `root`; `None` where none does any more.
#[must_use]
pub fn holder_of(root: &Path) -> Option<i32> {
    let mark = read_mark(root)?;
    let ours = mark.maker == nix::unistd::geteuid().as_raw() && mark.path == root;
    (ours && !lock_is_free(root)).then_some(mark.pid?)
}

/// From now on the volume of the sandbox at `root` has no more than `free` bytes, or what it has.
///
/// # Errors
/// Where that cannot be noted.
pub fn pretend_free(root: &Path, free: Option<u64>) -> Result<(), DrillError> {
    let path = root.join(VOLUME);
    match free {
        None => remove(&path),
        Some(free) => crate::engine::files::create(&path, free.to_string().as_bytes(), 0o644)
            .map_err(DrillError::file(&path, "it could not be written")),
    }
}

/// The free bytes that a drill tells of, where `path` lies in a sandbox that does.
#[must_use]
pub fn pretended_free(path: &Path) -> Option<u64> {
    let root = path.ancestors().find(|folder| folder.join(VOLUME).is_file())?;
    read_mark(root).filter(|mark| mark.path == root)?;
    fs::read_to_string(root.join(VOLUME)).ok()?.trim().parse().ok()
}

/// Folders that may hold sandboxes, the preferred one first.
fn homes(directory: Option<&Path>) -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = Vec::new();
    let candidates = directory
        .map(Path::to_path_buf)
        .into_iter()
        .chain(std::env::var_os("TMPDIR").map(PathBuf::from))
        .chain(["/var/tmp", "/tmp"].map(PathBuf::from));
    for candidate in candidates {
        if let Ok(real) = candidate.canonicalize()
            && !homes.contains(&real)
        {
            homes.push(real);
        }
    }
    homes
}

fn make_fresh(directory: Option<&Path>, user: &Owner) -> Result<PathBuf, DrillError> {
    let home = match directory {
        Some(directory) => directory
            .canonicalize()
            .map_err(DrillError::file(directory, "the folder for sandboxes cannot be used"))?,
        None => homes(None)
            .into_iter()
            .find(|home| can_enter(home, user) && speakable(home))
            .ok_or_else(|| {
                DrillError::User(format!(
                    "no folder for temporary files can be entered by the user {}",
                    user
                ))
            })?,
    };
    check_speakable(&home)?;
    for _ in 0..16 {
        let mut random = [0_u8; 4];
        getrandom::fill(&mut random).map_err(|error| {
            DrillError::file(&home, "no random name could be made")(io::Error::other(error))
        })?;
        let root = home.join(format!("{PREFIX}{}", data_encoding::HEXLOWER.encode(&random)));
        match make_private(&root) {
            Ok(()) => return Ok(root),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(DrillError::file(&root, "it could not be made")(error)),
        }
    }
    Err(DrillError::Refused { path: home, why: String::from("every name tried is taken") })
}

fn make_named(keep: &Path) -> Result<PathBuf, DrillError> {
    match make_private(keep) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let mut entries =
                fs::read_dir(keep).map_err(DrillError::file(keep, "it cannot be listed"))?;
            if entries.next().is_some() {
                let why = String::from("it is not empty");
                return Err(DrillError::Refused { path: keep.to_path_buf(), why });
            }
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(keep, private)
                .map_err(DrillError::file(keep, "its mode could not be set"))?;
        }
        Err(error) => return Err(DrillError::file(keep, "it could not be made")(error)),
    }
    let real = keep.canonicalize().map_err(DrillError::file(keep, "it cannot be read"))?;
    check_speakable(&real)?;
    Ok(real)
}

/// The path stands in `archive_command`, where a shell and the server both read it.
fn speakable(path: &Path) -> bool {
    path.to_str()
        .is_some_and(|text| text.chars().all(|c| c.is_alphanumeric() || "/._-+=@, ".contains(c)))
}

fn check_speakable(path: &Path) -> Result<(), DrillError> {
    if speakable(path) {
        return Ok(());
    }
    let why = String::from("its name has characters that a shell would take for something else");
    Err(DrillError::Refused { path: path.to_path_buf(), why })
}

pub(super) fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

fn write_mark(root: &Path, mark: &Mark) -> Result<File, DrillError> {
    let path = root.join(MARK);
    let text = serde_json::to_vec_pretty(mark)
        .map_err(|error| DrillError::file(&path, "it could not be written")(error.into()))?;
    crate::engine::files::create(&path, &text, 0o600)
        .map_err(DrillError::file(&path, "it could not be written"))?;
    let file = File::open(&path).map_err(DrillError::file(&path, "it cannot be read"))?;
    file.lock().map_err(DrillError::file(&path, "it could not be locked"))?;
    Ok(file)
}

/// The folder's own mark.
fn marked(root: &Path) -> Result<Mark, DrillError> {
    let refuse = |why: &str| DrillError::Refused { path: root.to_path_buf(), why: why.to_owned() };
    let mark = read_mark(root).ok_or_else(|| refuse("it bears no mark of a sandbox"))?;
    let meta = fs::symlink_metadata(root).map_err(DrillError::file(root, "it cannot be read"))?;
    if mark.path != root || mark.inode != meta.ino() || mark.device != meta.dev() || !meta.is_dir()
    {
        return Err(refuse("its mark is that of another folder"));
    }
    Ok(mark)
}

fn read_mark(root: &Path) -> Option<Mark> {
    let path = root.join(MARK);
    path.symlink_metadata().ok().filter(fs::Metadata::is_file)?;
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

fn lock_is_free(root: &Path) -> bool {
    File::open(root.join(MARK)).is_ok_and(|file| file.try_lock().is_ok())
}

fn remove(path: &Path) -> Result<(), DrillError> {
    let gone = match path.symlink_metadata() {
        Err(error) => Err(error),
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
    };
    match gone {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DrillError::file(path, "it could not be removed")(error))
        }
        _ => Ok(()),
    }
}

/// The second folder holds sockets and their locks alone; whatever else is in there stays.
fn remove_sockets(folder: &Path) -> Result<(), DrillError> {
    let named_by_us = folder
        .file_name()
        .is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    let Ok(entries) = fs::read_dir(folder) else { return Ok(()) };
    for entry in entries.flatten() {
        if named_by_us && entry.file_name().as_encoded_bytes().starts_with(b".s.PGSQL.") {
            remove(&entry.path())?;
        }
    }
    fs::remove_dir(folder).map_err(DrillError::file(folder, "it could not be removed"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::drill::user;

    fn us() -> Owner {
        user::choose(None).unwrap()
    }

    fn home() -> tempfile::TempDir {
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o711);
        fs::set_permissions(home.path(), open).unwrap();
        home
    }

    #[test]
    fn a_place_is_cleared_whole_and_a_second_time_refused() {
        let home = home();
        let place = Place::make(Some(home.path()), None, &us()).unwrap();
        fs::create_dir_all(place.root().join("cluster/data/base")).unwrap();
        let cleared = place.clear().unwrap();
        assert_eq!(cleared.removed, [place.root()]);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        assert!(matches!(place.clear(), Err(DrillError::Refused { .. })));
    }

    #[test]
    fn what_is_not_the_sandboxes_stays() {
        let home = home();
        let place = Place::make(Some(home.path()), None, &us()).unwrap();
        let note = place.root().join("my-notes.txt");
        fs::write(&note, "mine").unwrap();
        let cleared = place.clear().unwrap();
        assert_eq!(cleared.left, std::slice::from_ref(&note));
        assert_eq!(fs::read(note).unwrap(), b"mine");
    }

    #[test]
    fn a_folder_without_its_own_mark_is_refused() {
        let home = home();
        let place = Place::make(Some(home.path()), None, &us()).unwrap();
        let other = home.path().join("lifeboat-drill-other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("state"), "precious").unwrap();
        assert!(matches!(clear(&other), Err(DrillError::Refused { .. })));
        fs::copy(place.root().join(MARK), other.join(MARK)).unwrap();
        assert!(matches!(clear(&other), Err(DrillError::Refused { .. })));
        assert_eq!(fs::read(other.join("state")).unwrap(), b"precious");
    }

    #[test]
    fn a_sweep_takes_leftovers_and_spares_the_living_and_the_kept() {
        let home = home();
        let left = Place::make(Some(home.path()), None, &us()).unwrap().root().to_path_buf();
        let alive = Place::make(Some(home.path()), None, &us()).unwrap();
        let kept = home.path().join("lifeboat-drill-kept");
        drop(Place::make(None, Some(&kept), &us()).unwrap());
        sweep(Some(home.path())).unwrap();
        assert!(!left.exists());
        assert!(alive.root().exists() && kept.exists());
    }

    #[test]
    fn a_long_path_gets_its_sockets_a_short_one() {
        let home = home();
        let long = home.path().join("a".repeat(90));
        let place = Place::make(None, Some(&long), &us()).unwrap();
        assert!(place.socket().as_os_str().len() < 80);
        fs::write(place.socket().join(".s.PGSQL.5432"), "").unwrap();
        place.clear().unwrap();
        assert!(!place.socket().exists() && !long.exists());
    }

    #[test]
    fn a_name_that_a_shell_would_read_is_refused() {
        let home = home();
        let bad = home.path().join("it's$(here)");
        assert!(matches!(Place::make(None, Some(&bad), &us()), Err(DrillError::Refused { .. })));
    }
}
