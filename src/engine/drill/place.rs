//! The folder of a sandbox: made new, marked as ours, locked while a drill lives, and cleared
//! away whole. Never removes anything that its own mark does not name.
//!
//! The mark is a file in the folder with the folder's own path, device and inode. The drill
//! holds a lock on it, which ends with the process, however it ends: a mark without a lock is a
//! leftover, and the next drill clears it. Mark and folder belong to whoever made them, and a mark
//! that another user could have written is none: the server's user must not say what is removed.

use super::error::DrillError;
use super::fence::{self, Folder};
use super::processes;
use super::teardown::Traces;
use super::user::can_enter;
use crate::engine::incident::facts::Check;
use crate::engine::postgres::closed::ClosedServer;
use crate::engine::postgres::discovery::Owner;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

const MARK: &str = ".lifeboat-sandbox.json";
const PREFIX: &str = "lifeboat-drill-";
/// What a sandbox holds at its top; anything else there is not ours and stays.
const ENTRIES: [&str; 17] = [
    "away",
    "bin",
    "cluster",
    COPY,
    "far",
    "keys",
    "ledger.jsonl",
    "lifeboat.toml",
    "master",
    "repository",
    RUNBOOK,
    SOCKETS,
    "scenario.toml",
    "socket",
    "state",
    "truth.json",
    VOLUME,
];
/// What the drill is held on a copy of, for its screens.
pub const COPY: &str = "copy.json";
/// The team's own runbook, where it has one.
pub const RUNBOOK: &str = "runbook.toml";
/// The server's sockets in the second folder.
const SOCKETS: &str = "s";
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
    /// Whose the server is: user and group.
    #[serde(default)]
    user: Option<(u32, u32)>,
    /// No drill: a copy for parts, a proof, or the second folder of either or of a drill. Cleared
    /// like one, and never asked to end as one.
    #[serde(default)]
    apart: bool,
}

/// Whether programs run from a place as whoever made it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holds {
    /// A server's files alone.
    Data,
    /// Programs and their configuration too: nobody else may be able to exchange them.
    Programs,
}

/// A sandbox's folder, locked.
#[derive(Debug)]
pub struct Place {
    root: PathBuf,
    socket: PathBuf,
    /// Held to the end: the locks are what tells a live drill from a leftover.
    _locks: Vec<File>,
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
    /// name in `directory` or the first folder for temporary files that `user` can enter. It stays
    /// ours; `user` passes through it and owns its sockets.
    ///
    /// # Errors
    /// Where no folder fits, or it cannot be made; for programs, also where another user could put
    /// another folder in its place.
    pub fn make(
        directory: Option<&Path>,
        keep: Option<&Path>,
        user: &Owner,
        holds: Holds,
    ) -> Result<Self, DrillError> {
        let root = match keep {
            Some(keep) => make_named(keep, holds)?,
            None => make_fresh(directory, user, holds)?,
        };
        let parent = root.parent().unwrap_or(&root);
        if !can_enter(parent, user) {
            // Only a folder that we made just now and that is still empty goes again.
            let _ = fs::remove_dir(&root);
            let why = format!("the server's user {} cannot enter {}", user, parent.display());
            return Err(DrillError::Refused { path: root, why });
        }
        let mut socket = root.join("socket");
        let mut locks = Vec::new();
        let mut mark = Mark::of(&root, keep.is_some(), user, holds == Holds::Data)?;
        // A socket's path has at most 107 bytes, and the file in the folder needs 18 of them.
        if socket.as_os_str().len() > 80 {
            // Marked by itself: whatever becomes of the other folder, this one is cleared too.
            let outer = make_fresh(Some(Path::new("/tmp")), user, Holds::Data)?;
            locks.push(write_mark(&outer, &Mark::of(&outer, keep.is_some(), user, true)?)?);
            fence::lend(&outer, user)
                .map_err(DrillError::file(&outer, "its mode could not be set"))?;
            socket = outer.join(SOCKETS);
            mark.socket = Some(socket.clone());
        }
        make_private(&socket).map_err(DrillError::file(&socket, "it could not be made"))?;
        locks.push(write_mark(&root, &mark)?);
        fence::give(&socket, user)
            .map_err(DrillError::file(&socket, "its owner could not be set"))?;
        fence::lend(&root, user).map_err(DrillError::file(&root, "its mode could not be set"))?;
        Ok(Self { root, socket, _locks: locks })
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
        let (_, mark) = marked(root)?;
        let path = root.join(MARK);
        let lock = File::open(&path).map_err(DrillError::file(&path, "it cannot be read"))?;
        lock.try_lock().map_err(|_| refuse("another process works in it"))?;
        let socket = mark.socket.unwrap_or_else(|| root.join("socket"));
        Ok(Some(Self { root: root.to_path_buf(), socket, _locks: vec![lock] }))
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
    let (folder, mark) = marked(root)?;
    let sockets = mark.socket.clone().unwrap_or_else(|| root.join("socket"));
    let traces = Traces::of(root, &sockets, mark.server().uid);
    processes::end_all_of(root, Duration::from_secs(20))?;
    clear_closed(&folder, root, &mark.server())?;
    let mut cleared = Cleared::default();
    for name in ENTRIES {
        remove(&folder, root, name)?;
    }
    if let Some(socket) = &mark.socket {
        let whole = second(socket).unwrap_or(socket).to_path_buf();
        remove_sockets(socket)?;
        cleared.removed.push(whole);
    }
    let others: Vec<PathBuf> = folder
        .names()
        .map_err(DrillError::file(root, "it cannot be listed"))?
        .into_iter()
        .filter(|name| name != MARK)
        .map(|name| root.join(name))
        .collect();
    remove(&folder, root, MARK)?;
    if others.is_empty() {
        fs::remove_dir(root).map_err(DrillError::file(root, "it could not be removed"))?;
        cleared.removed.push(root.to_path_buf());
    }
    cleared.left.extend(others);
    cleared.proof = traces.gone(&cleared.left);
    Ok(cleared)
}

/// A server of the sandbox's that was killed in a recovery leaves its private folder behind.
fn clear_closed(folder: &Folder, root: &Path, owner: &Owner) -> Result<(), DrillError> {
    let Ok(cluster) = folder.below("cluster") else { return Ok(()) };
    let names = cluster.names().unwrap_or_default();
    // A link's closed server is another's. The data directory itself may be what was lost.
    let beside = names.into_iter().filter(|name| cluster.has_folder(name));
    let lost = Some(OsString::from("data")).filter(|name| cluster.is_free(name));
    for name in beside.chain(lost) {
        let closed = ClosedServer::of(&root.join("cluster").join(name), owner, 0);
        let path = &closed.socket_directory;
        let Ok(sockets) = Folder::open(path) else { continue };
        let ours = sockets
            .metadata()
            .is_ok_and(|meta| meta.uid() == owner.uid || meta.uid() == Owner::current().uid);
        if ours {
            remove_sockets_in(&sockets, path)?;
            remove(&sockets, path, ClosedServer::RULES)?;
            gone(fs::remove_dir(path), path)?;
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

/// The drills of this user that run now: their folders, and the processes that hold them.
/// Wherever drills are made: in `directory`, where one is given, and where they are without one.
#[must_use]
pub fn living(directory: Option<&Path>) -> Vec<(PathBuf, i32)> {
    let folders = homes(directory).into_iter().filter_map(|home| fs::read_dir(home).ok());
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
    let ours = mark.maker == nix::unistd::geteuid().as_raw() && mark.path == root && !mark.apart;
    (ours && !lock_is_free(root)).then_some(mark.pid?)
}

/// From now on the volume of the sandbox at `root` has no more than `free` bytes, or what it has.
///
/// # Errors
/// Where that cannot be noted.
pub fn pretend_free(root: &Path, free: Option<u64>) -> Result<(), DrillError> {
    let path = root.join(VOLUME);
    match free {
        None => gone(fs::remove_file(&path), &path),
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

fn make_fresh(directory: Option<&Path>, user: &Owner, holds: Holds) -> Result<PathBuf, DrillError> {
    let home = match directory {
        Some(directory) => directory
            .canonicalize()
            .map_err(DrillError::file(directory, "the folder for sandboxes cannot be used"))?,
        None => homes(None)
            .into_iter()
            .find(|home| can_enter(home, user) && speakable(home) && is_safe(home, holds))
            .ok_or_else(|| {
                DrillError::User(format!(
                    "no folder for temporary files can be entered by the user {}",
                    user
                ))
            })?,
    };
    check_speakable(&home)?;
    check_safe(&home, holds)?;
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

fn make_named(keep: &Path, holds: Holds) -> Result<PathBuf, DrillError> {
    let made = match make_private(keep) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
        Err(error) => return Err(DrillError::file(keep, "it could not be made")(error)),
    };
    let root = keep.canonicalize().map_err(DrillError::file(keep, "it cannot be read"))?;
    let fit = check_speakable(&root)
        .and_then(|()| check_safe(root.parent().unwrap_or(&root), holds))
        .and_then(|()| if made { Ok(()) } else { take_over(&root) });
    if fit.is_err() && made {
        // Only a folder that we made just now and that is still empty goes again.
        let _ = fs::remove_dir(&root);
    }
    fit.map(|()| root)
}

/// Makes an empty folder that was there ours alone.
fn take_over(root: &Path) -> Result<(), DrillError> {
    let empty = || {
        let folder = Folder::open(root).map_err(DrillError::file(root, "it cannot be opened"))?;
        match folder.names().map_err(DrillError::file(root, "it cannot be listed"))?.is_empty() {
            true => Ok(()),
            false => {
                let why = String::from("it is not empty");
                Err(DrillError::Refused { path: root.to_path_buf(), why })
            }
        }
    };
    empty()?;
    let (us, group) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    std::os::unix::fs::lchown(root, Some(us), Some(group))
        .and_then(|()| {
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(root, private)
        })
        .map_err(DrillError::file(root, "its mode could not be set"))?;
    // From now on nobody else puts anything there; what somebody put there just before counts.
    empty()
}

/// Whether nobody else can exchange what is made in `home`, where that matters.
fn is_safe(home: &Path, holds: Holds) -> bool {
    holds == Holds::Data || fence::exposed(home).is_none()
}

fn check_safe(home: &Path, holds: Holds) -> Result<(), DrillError> {
    match fence::exposed(home).filter(|_| holds == Holds::Programs) {
        Some(why) => Err(DrillError::Exposed { path: home.to_path_buf(), why }),
        None => Ok(()),
    }
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

/// The folder, open, and its own mark.
fn marked(root: &Path) -> Result<(Folder, Mark), DrillError> {
    let refuse = |why: &str| DrillError::Refused { path: root.to_path_buf(), why: why.to_owned() };
    let (folder, mark) =
        open_marked(root).ok_or_else(|| refuse("it bears no mark of a sandbox of this user's"))?;
    let meta = folder.metadata().map_err(DrillError::file(root, "it cannot be read"))?;
    if mark.path != root || mark.inode != meta.ino() || mark.device != meta.dev() {
        return Err(refuse("its mark is that of another folder"));
    }
    Ok((folder, mark))
}

/// A mark that this user made, in a folder that only this user can change.
fn open_marked(root: &Path) -> Option<(Folder, Mark)> {
    let folder = Folder::open(root).ok().filter(Folder::is_ours)?;
    let file = folder.file(MARK, OFlags::RDONLY).ok()?;
    let meta = file.metadata().ok()?;
    if meta.uid() != nix::unistd::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
        return None;
    }
    let mark = serde_json::from_str(&io::read_to_string(file).ok()?).ok()?;
    Some((folder, mark))
}

fn read_mark(root: &Path) -> Option<Mark> {
    open_marked(root).map(|(_, mark)| mark)
}

impl Mark {
    /// The mark of the folder at `root`, made now by this process.
    fn of(root: &Path, kept: bool, user: &Owner, apart: bool) -> Result<Self, DrillError> {
        let meta = root.metadata().map_err(DrillError::file(root, "it cannot be read"))?;
        Ok(Self {
            path: root.to_path_buf(),
            device: meta.dev(),
            inode: meta.ino(),
            maker: nix::unistd::geteuid().as_raw(),
            kept,
            socket: None,
            pid: i32::try_from(std::process::id()).ok(),
            user: Some((user.uid, user.gid)),
            apart,
        })
    }

    /// The server's user.
    fn server(&self) -> Owner {
        let (uid, gid) = self.user.unwrap_or((self.maker, self.maker));
        Owner { uid, gid, name: None }
    }
}

fn lock_is_free(root: &Path) -> bool {
    File::open(root.join(MARK)).is_ok_and(|file| file.try_lock().is_ok())
}

fn remove(folder: &Folder, path: &Path, name: impl AsRef<Path>) -> Result<(), DrillError> {
    let name = name.as_ref();
    gone(folder.remove(name), &path.join(name))
}

/// What is not there need not be removed.
fn gone(removed: io::Result<()>, path: &Path) -> Result<(), DrillError> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(DrillError::file(path, "it could not be removed")(error))
        }
        _ => Ok(()),
    }
}

/// The second folder, of which `socket` is a part; `None` where it bears no mark of its own.
fn second(socket: &Path) -> Option<&Path> {
    let outer = socket.parent().filter(|_| socket.ends_with(SOCKETS))?;
    read_mark(outer).filter(|mark| mark.path == outer && mark.apart).map(|_| outer)
}

/// The second folder holds sockets and their locks alone; whatever else is in there stays.
fn remove_sockets(path: &Path) -> Result<(), DrillError> {
    let outer = second(path).map(Path::to_path_buf);
    let named_by_us =
        path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PREFIX.as_bytes()));
    match Folder::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        opened => {
            let folder = opened.map_err(DrillError::file(path, "it cannot be opened"))?;
            if named_by_us || outer.is_some() {
                remove_sockets_in(&folder, path)?;
            }
            gone(fs::remove_dir(path), path)?;
        }
    }
    let Some(outer) = outer else { return Ok(()) };
    let folder = Folder::open(&outer).map_err(DrillError::file(&outer, "it cannot be opened"))?;
    remove(&folder, &outer, MARK)?;
    gone(fs::remove_dir(&outer), &outer)
}

fn remove_sockets_in(folder: &Folder, path: &Path) -> Result<(), DrillError> {
    let names = folder.names().map_err(DrillError::file(path, "it cannot be listed"))?;
    let is_socket = |name: &&OsString| name.as_encoded_bytes().starts_with(b".s.PGSQL.");
    names.iter().filter(is_socket).try_for_each(|name| remove(folder, path, name))
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

    fn make(home: &Path) -> Result<Place, DrillError> {
        Place::make(Some(home), None, &us(), Holds::Programs)
    }

    #[test]
    fn a_place_is_cleared_whole_and_a_second_time_refused() {
        let home = home();
        let place = make(home.path()).unwrap();
        fs::create_dir_all(place.root().join("cluster/data/base")).unwrap();
        let cleared = place.clear().unwrap();
        assert_eq!(cleared.removed, [place.root()]);
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 0);
        assert!(matches!(place.clear(), Err(DrillError::Refused { .. })));
    }

    #[test]
    fn what_is_not_the_sandboxes_stays() {
        let home = home();
        let place = make(home.path()).unwrap();
        let note = place.root().join("my-notes.txt");
        fs::write(&note, "mine").unwrap();
        let cleared = place.clear().unwrap();
        assert_eq!(cleared.left, std::slice::from_ref(&note));
        assert_eq!(fs::read(note).unwrap(), b"mine");
    }

    #[test]
    fn a_folder_without_its_own_mark_is_refused() {
        let home = home();
        let place = make(home.path()).unwrap();
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
        let left = make(home.path()).unwrap().root().to_path_buf();
        let alive = make(home.path()).unwrap();
        let kept = home.path().join("lifeboat-drill-kept");
        drop(Place::make(None, Some(&kept), &us(), Holds::Programs).unwrap());
        sweep(Some(home.path())).unwrap();
        assert!(!left.exists());
        assert!(alive.root().exists() && kept.exists());
    }

    #[test]
    fn a_long_path_gets_its_sockets_a_short_one() {
        let home = home();
        let long = home.path().join("a".repeat(90));
        let place = Place::make(None, Some(&long), &us(), Holds::Programs).unwrap();
        assert!(place.socket().as_os_str().len() < 80);
        fs::write(place.socket().join(".s.PGSQL.5432"), "").unwrap();
        let outer = place.socket().parent().unwrap().to_path_buf();
        place.clear().unwrap();
        assert!(!outer.exists() && !long.exists());
    }

    /// Killed between the making of its two folders, or with the other one gone by hand.
    #[test]
    fn a_folder_of_sockets_alone_is_a_leftover_too() {
        let home = home();
        let deep = home.path().join("a".repeat(80));
        fs::create_dir(&deep).unwrap();
        fs::set_permissions(&deep, std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
        let place = make(&deep).unwrap();
        let outer = place.socket().parent().unwrap().to_path_buf();
        assert!(outer.starts_with("/tmp"), "{}", outer.display());
        sweep(Some(&deep)).unwrap();
        assert!(place.socket().exists(), "it lives");
        fs::remove_dir_all(place.root()).unwrap();
        drop(place);
        sweep(Some(&deep)).unwrap();
        assert!(!outer.exists());
    }

    #[test]
    fn whoever_ends_drills_finds_them_in_every_folder_and_takes_nothing_else_for_one() {
        let (home, other) = (home(), home());
        let here = make(home.path()).unwrap();
        let parts = Place::make(Some(home.path()), None, &us(), Holds::Data).unwrap();
        let us = i32::try_from(std::process::id()).unwrap();
        let living = |folder: &Path| living(Some(folder));
        assert!(living(home.path()).contains(&(here.root().to_path_buf(), us)));
        let found = living(home.path());
        assert!(!found.iter().any(|(root, _)| root == parts.root()), "{found:?}");
        assert!(!living(other.path()).contains(&(here.root().to_path_buf(), us)));
        // One that was made without a configuration is found by whoever has one. Nothing is made
        // there: whoever ends drills now would end this test.
        let usual = Path::new("/var/tmp").canonicalize().unwrap();
        assert!(homes(Some(other.path())).contains(&usual));
        for place in [here, parts] {
            place.clear().unwrap();
        }
    }

    #[test]
    fn a_name_that_a_shell_would_read_is_refused() {
        let home = home();
        let bad = home.path().join("it's$(here)");
        let refused = Place::make(None, Some(&bad), &us(), Holds::Programs);
        assert!(matches!(refused, Err(DrillError::Refused { .. })));
        assert!(!bad.exists());
    }
}
