//! What PostgreSQL there is: its programs, who owns a data directory, whether a server runs in
//! it, and the identity that is compared before every destructive step. Looks only; never starts,
//! stops or changes anything.

use super::control_file::{self, ClusterState, ControlFile, ControlFileError};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{Identity, ServerRole};
use jiff::Timestamp;
use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Gid, Pid, Uid, User};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A folder (or several, separated by colons) with PostgreSQL's programs that is looked at before
/// the system's own.
pub const BIN_VARIABLE: &str = "LIFEBOAT_PG_BIN";

/// A folder with `pg_ctl` and `postgres`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    pub directory: PathBuf,
    pub major: u32,
    /// As the server prints it, such as `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
}

impl Binaries {
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A program that not every package has: `pg_waldump`, `pg_verifybackup`, `psql`.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<PathBuf> {
        Some(self.program(name)).filter(|path| is_program(path))
    }
}

/// The user that a data directory belongs to, which is the user that its server runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub uid: u32,
    pub gid: u32,
    /// Absent where the system has no name for it.
    pub name: Option<String>,
}

impl Owner {
    /// A user by name, with its own group.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn named(name: &str) -> Result<Self, DiscoveryError> {
        match User::from_name(name) {
            Ok(Some(user)) => {
                Ok(Self { uid: user.uid.as_raw(), gid: user.gid.as_raw(), name: Some(user.name) })
            }
            _ => Err(DiscoveryError::NoUser { name: name.to_owned() }),
        }
    }

    /// The user that this process runs as.
    #[must_use]
    pub fn current() -> Self {
        Self::of(Uid::effective(), Gid::effective())
    }

    /// Whether this process already runs as that user.
    #[must_use]
    pub fn is_current(&self) -> bool {
        Uid::effective().as_raw() == self.uid
    }

    fn of(uid: Uid, gid: Gid) -> Self {
        let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
        Self { uid: uid.as_raw(), gid: gid.as_raw(), name }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.name {
            Some(name) => f.write_str(name),
            None => write!(f, "user {}", self.uid),
        }
    }
}

/// What the last line of `postmaster.pid` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    Starting,
    /// Takes connections and writes.
    Ready,
    /// Takes read-only connections while it replays.
    Standby,
    Stopping,
    Unknown,
}

/// A running server, as its `postmaster.pid` tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postmaster {
    pub pid: i32,
    pub started: Option<Timestamp>,
    pub port: Option<u16>,
    /// The first of its socket directories.
    pub socket_directory: Option<PathBuf>,
    pub readiness: Readiness,
}

/// Whether a server runs in a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Running {
    No,
    /// A `postmaster.pid` is there, but the process that it names is gone or another program.
    Stale {
        pid: i32,
    },
    Yes(Postmaster),
}

impl Running {
    #[must_use]
    pub fn postmaster(&self) -> Option<&Postmaster> {
        match self {
            Self::Yes(postmaster) => Some(postmaster),
            Self::No | Self::Stale { .. } => None,
        }
    }
}

/// Why something about PostgreSQL could not be found out.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    #[error("PostgreSQL's programs{} were not found; looked in {}.", of_major(*.major), listed(.looked))]
    NoBinaries { major: Option<u32>, looked: Vec<PathBuf> },
    #[error("{directory} holds no usable pg_ctl and postgres: {reason}.")]
    NotBinaries { directory: PathBuf, reason: String },
    #[error("{directory} holds PostgreSQL {found}, but the data directory needs {needed}.")]
    WrongMajor { directory: PathBuf, found: u32, needed: u32 },
    #[error("{path} could not be read: {source}.")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not a directory.")]
    NotDirectory { path: PathBuf },
    #[error("{path} belongs to root, and PostgreSQL refuses to run as root.")]
    OwnedByRoot { path: PathBuf },
    #[error("There is no user \"{name}\" on this machine.")]
    NoUser { name: String },
    #[error(transparent)]
    ControlFile(#[from] ControlFileError),
}

fn of_major(major: Option<u32>) -> String {
    major.map_or_else(String::new, |major| format!(" of version {major}"))
}

fn listed(paths: &[PathBuf]) -> String {
    let all: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    if all.is_empty() { String::from("no folder at all") } else { all.join(", ") }
}

impl Explain for DiscoveryError {
    fn explanation(&self) -> Explanation {
        let (kind, next) = match self {
            Self::ControlFile(inner) => return inner.explanation(),
            Self::NoBinaries { .. } => (
                Kind::NotFound,
                "Install the PostgreSQL server package of that version, or set bin_directory in \
                 the cluster's control section.",
            ),
            Self::NotBinaries { .. } | Self::WrongMajor { .. } => {
                (Kind::Config, "Correct bin_directory in the cluster's control section.")
            }
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                (Kind::NotFound, "Check the path in the configuration.")
            }
            Self::Read { .. } => {
                (Kind::Storage, "Run Lifeboat as root or as the owner of the data directory.")
            }
            Self::NotDirectory { .. } => (Kind::Config, "Check the path in the configuration."),
            Self::OwnedByRoot { .. } => {
                (Kind::Refused, "Give the directory to the user that the server runs as.")
            }
            Self::NoUser { .. } => (Kind::Config, "Name a user that exists."),
        };
        Explanation::new(kind, self.to_string(), "Nothing was changed.", next)
    }
}

/// The programs for a cluster: those of `bin_directory` where it is configured, else the first
/// found that fit the data directory's version. Without a data directory: those that
/// [`BIN_VARIABLE`] names, else the newest found.
///
/// # Errors
/// Where none fit; says where it looked.
pub fn binaries(
    bin_directory: Option<&Path>,
    data_directory: Option<&Path>,
) -> Result<Binaries, DiscoveryError> {
    let major = data_directory.map(control_file::major_version).transpose()?;
    binaries_of(bin_directory, data_directory, major)
}

/// As [`binaries`], with the version known from elsewhere: a backup set, for one.
///
/// # Errors
/// As [`binaries`].
pub fn binaries_of(
    bin_directory: Option<&Path>,
    data_directory: Option<&Path>,
    major: Option<u32>,
) -> Result<Binaries, DiscoveryError> {
    if let Some(directory) = bin_directory {
        let found = inspect(directory)?;
        return match major {
            Some(needed) if needed != found.major => Err(DiscoveryError::WrongMajor {
                directory: found.directory,
                found: found.major,
                needed,
            }),
            _ => Ok(found),
        };
    }
    let looked = candidates(data_directory);
    let named = named_folders();
    let mut newest: Option<Binaries> = None;
    for found in looked.iter().filter_map(|directory| inspect(directory).ok()) {
        match major {
            Some(needed) if needed == found.major => return Ok(found),
            Some(_) => {}
            None if named.contains(&found.directory) => return Ok(found),
            None => {
                if newest.as_ref().is_none_or(|best| best.major < found.major) {
                    newest = Some(found);
                }
            }
        }
    }
    newest.ok_or(DiscoveryError::NoBinaries { major, looked })
}

/// Every folder with PostgreSQL's programs on this machine, in the order of preference.
#[must_use]
pub fn all_binaries() -> Vec<Binaries> {
    candidates(None).iter().filter_map(|directory| inspect(directory).ok()).collect()
}

/// Looks at one folder of programs.
///
/// # Errors
/// Where `pg_ctl` or `postgres` is missing or does not say its version.
pub fn inspect(directory: &Path) -> Result<Binaries, DiscoveryError> {
    let fail =
        |reason: String| DiscoveryError::NotBinaries { directory: directory.to_owned(), reason };
    for name in ["pg_ctl", "postgres"] {
        if !is_program(&directory.join(name)) {
            return Err(fail(format!("{name} is missing or cannot be executed")));
        }
    }
    let output = Command::new(directory.join("postgres"))
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| fail(format!("postgres --version: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.trim().rsplit_once("(PostgreSQL) ").map(|(_, version)| version.to_owned());
    let version = version
        .filter(|_| output.status.success())
        .ok_or_else(|| fail(String::from("postgres --version gave no version")))?;
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    let major = digits.parse().map_err(|_| fail(format!("version \"{version}\" is unknown")))?;
    Ok(Binaries { directory: directory.to_owned(), major, version })
}

/// Who owns the data directory.
///
/// # Errors
/// Where it is not there, or belongs to root.
pub fn owner(data_directory: &Path) -> Result<Owner, DiscoveryError> {
    let path = || data_directory.to_owned();
    let metadata = fs::metadata(data_directory)
        .map_err(|source| DiscoveryError::Read { path: path(), source })?;
    if !metadata.is_dir() {
        return Err(DiscoveryError::NotDirectory { path: path() });
    }
    if metadata.uid() == 0 {
        return Err(DiscoveryError::OwnedByRoot { path: path() });
    }
    Ok(Owner::of(Uid::from_raw(metadata.uid()), Gid::from_raw(metadata.gid())))
}

/// Whether a server runs in the data directory. Where it cannot be told apart whether the process
/// is that server, it counts as running.
///
/// # Errors
/// Where `postmaster.pid` is there and cannot be read.
pub fn running(data_directory: &Path) -> Result<Running, DiscoveryError> {
    let path = data_directory.join("postmaster.pid");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Running::No),
        Err(source) => return Err(DiscoveryError::Read { path, source }),
    };
    let mut lines = text.lines().map(str::trim);
    let Some(pid) = parsed_pid(lines.next()) else {
        return Ok(Running::Stale { pid: 0 });
    };
    let stated = lines.next().map(Path::new);
    if !is_server_of(pid, data_directory, stated) {
        return Ok(Running::Stale { pid });
    }
    let started = lines.next().and_then(|line| line.parse::<i64>().ok());
    let port = lines.next().and_then(|line| line.parse::<u16>().ok()).filter(|port| *port > 0);
    let socket_directory = lines.next().filter(|line| !line.is_empty()).map(PathBuf::from);
    let readiness = match lines.nth(2) {
        Some("starting") => Readiness::Starting,
        Some("ready") => Readiness::Ready,
        Some("standby") => Readiness::Standby,
        Some("stopping") => Readiness::Stopping,
        _ => Readiness::Unknown,
    };
    Ok(Running::Yes(Postmaster {
        pid,
        started: started.and_then(|seconds| Timestamp::from_second(seconds).ok()),
        port,
        socket_directory,
        readiness,
    }))
}

/// The identity of the cluster in a data directory, whether its server runs or not.
///
/// # Errors
/// Where the control file or `PG_VERSION` cannot be read or is damaged.
pub fn identity(data_directory: &Path) -> Result<Identity, DiscoveryError> {
    let control = control_file::read(data_directory)?;
    let version = control_file::major_version(data_directory)?;
    let resolved = data_directory
        .canonicalize()
        .map_err(|source| DiscoveryError::Read { path: data_directory.to_owned(), source })?;
    Ok(Identity {
        system_identifier: control.system_identifier,
        host: host_name(),
        data_directory: resolved.display().to_string(),
        role: role(&running(data_directory)?, &control),
        version,
        timeline: control.checkpoint.timeline,
    })
}

/// This machine's name.
#[must_use]
pub fn host_name() -> String {
    nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| String::from("unknown"))
}

fn role(running: &Running, control: &ControlFile) -> ServerRole {
    match (running, control.state) {
        (Running::No | Running::Stale { .. }, _) => ServerRole::Down,
        (Running::Yes(_), ClusterState::InProduction) => ServerRole::Primary,
        (Running::Yes(_), ClusterState::InArchiveRecovery) => ServerRole::Standby,
        (Running::Yes(_), _) => ServerRole::Unknown,
    }
}

/// `stated` is the directory that the pid file itself names.
fn is_server_of(pid: i32, data_directory: &Path, stated: Option<&Path>) -> bool {
    if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return false;
    }
    let process = PathBuf::from(format!("/proc/{pid}"));
    // A process that has ended stays as a zombie until its parent takes note, which in some
    // containers nobody does.
    if let Ok(text) = fs::read_to_string(process.join("stat"))
        && text.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X']))
    {
        return false;
    }
    if let Ok(name) = fs::read_to_string(process.join("comm"))
        && !matches!(name.trim(), "postgres" | "postmaster")
    {
        return false;
    }
    // The postmaster works inside its data directory; compared by inode, so that a directory
    // that was moved while its server ran is still recognised.
    let ours = inode(data_directory);
    if let Some(works_in) = inode(&process.join("cwd")) {
        return ours == Some(works_in);
    }
    // Where even root may not look at another's process: a copied pid file names the directory
    // that it came from, and that one's own pid file claims the process.
    match stated.filter(|stated| inode(stated).is_some_and(|theirs| Some(theirs) != ours)) {
        Some(other) => first_line_pid(&other.join("postmaster.pid")) != Some(pid),
        None => true,
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}

fn first_line_pid(path: &Path) -> Option<i32> {
    parsed_pid(fs::read_to_string(path).ok()?.lines().next())
}

/// A single-user server writes its process id with a minus sign.
fn parsed_pid(line: Option<&str>) -> Option<i32> {
    line?.trim().parse::<i32>().ok()?.checked_abs().filter(|pid| *pid > 0)
}

fn candidates(data_directory: Option<&Path>) -> Vec<PathBuf> {
    let mut folders = named_folders();
    folders.extend(data_directory.and_then(folder_of_running));
    folders.extend(children("/usr/lib/postgresql", ""));
    folders.extend(children("/usr", "pgsql-"));
    folders.push(PathBuf::from("/usr/local/pgsql/bin"));
    let path = std::env::var_os("PATH").unwrap_or_else(|| OsString::from("/usr/bin:/bin"));
    folders
        .extend(std::env::split_paths(&path).filter(|folder| is_program(&folder.join("pg_ctl"))));
    folders.extend(folder_of_pg_config());
    let mut seen = HashSet::new();
    folders.retain(|folder| folder.is_absolute() && seen.insert(folder.clone()));
    folders
}

fn named_folders() -> Vec<PathBuf> {
    let named = std::env::var_os(BIN_VARIABLE).unwrap_or_default();
    std::env::split_paths(&named).filter(|folder| folder.is_absolute()).collect()
}

fn folder_of_running(data_directory: &Path) -> Option<PathBuf> {
    let running = running(data_directory).ok()?;
    let program = fs::read_link(format!("/proc/{}/exe", running.postmaster()?.pid)).ok()?;
    // A program that was replaced by an update while it runs.
    let folder = program.parent()?;
    is_program(&folder.join("postgres")).then(|| folder.to_owned())
}

/// `<parent>/<prefix>*/bin`, the highest version first.
fn children(parent: &str, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let major = name.strip_prefix(prefix)?.parse().ok()?;
            Some((major, entry.path().join("bin")))
        })
        .collect();
    found.sort_by_key(|(major, _)| std::cmp::Reverse(*major));
    found.into_iter().map(|(_, folder)| folder).collect()
}

fn folder_of_pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").stdin(Stdio::null()).output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    output.status.success().then_some(folder)
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with_pid_file(content: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("postmaster.pid"), content).unwrap();
        folder
    }

    #[test]
    fn a_directory_without_a_pid_file_has_no_server() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(running(folder.path()).unwrap(), Running::No);
    }

    #[test]
    fn a_pid_that_belongs_to_another_program_is_stale() {
        let own = std::process::id();
        let folder =
            folder_with_pid_file(&format!("{own}\n/data\n1\n5432\n/tmp\n\n1 2\nready   \n"));
        let pid = i32::try_from(own).unwrap();
        assert_eq!(running(folder.path()).unwrap(), Running::Stale { pid });
    }

    #[test]
    fn a_pid_file_without_a_pid_is_stale() {
        for content in ["", "x\n", "0\n", "-2147483648\n"] {
            let folder = folder_with_pid_file(content);
            assert!(
                matches!(running(folder.path()).unwrap(), Running::Stale { .. }),
                "{content:?}"
            );
        }
    }

    #[test]
    fn a_folder_without_programs_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = binaries_of(Some(folder.path()), None, Some(15)).unwrap_err();
        assert!(error.to_string().contains(&folder.path().display().to_string()), "{error}");
        assert_eq!(error.explanation().kind, Kind::Config);
    }
}
