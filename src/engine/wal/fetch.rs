//! `restore-wal %f %p`: one WAL file for a server that recovers. Owns where a file is looked for,
//! in which order, and the exit codes that PostgreSQL acts on. A file is "not there" only where
//! every place proved it: a server that is told so ends its recovery, with rows missing where it
//! was not true.

use super::identity::{self, NotTheSegment};
use super::names::WalFile;
use super::spool::{self, Spool};
use crate::engine::config::RepositoryConfig;
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::repository::store::StoreFault;
use crate::engine::repository::{Repository, RepositoryError};
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// For PostgreSQL: the file is not in the archive.
pub const EXIT_ABSENT: u8 = 1;
/// For PostgreSQL: stop, do not take this for the end of the archive. Anything above 125 is.
pub const EXIT_STOP: u8 = 200;

/// A repository that could not be asked is asked after the others for so long.
const AGAIN: Duration = Duration::from_secs(30);

/// Where the file came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fetched {
    /// It had been fetched ahead.
    Spool,
    /// The repository of that name.
    Repository(String),
    /// The rescued tail of the damaged data directory.
    Rescue,
}

/// Why there is no file. [`FetchError::Absent`] alone means that there is none.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    #[error("{0} is in no repository and not among the rescued files")]
    Absent(String),
    #[error("\"{0}\" is not the name of a write-ahead log file")]
    BadName(String),
    #[error("no repository was given to look for {0} in")]
    NoRepository(String),
    #[error("{name} could not be had from the repository {repository}")]
    Repository { name: String, repository: String, source: Box<RepositoryError> },
    #[error("{name} from {place} is not that segment: {why}")]
    Wrong { name: String, place: String, why: NotTheSegment },
    #[error("{name} from the repository {repository} is not that segment: {why}")]
    WrongFrom { name: String, repository: String, why: NotTheSegment },
    #[error("{} cannot be read: {source}", path.display())]
    Rescue { path: PathBuf, source: io::Error },
    #[error("{} cannot be written: {source}", path.display())]
    Destination { path: PathBuf, source: io::Error },
}

impl FetchError {
    /// What PostgreSQL must hear: 1 only where the file is proven to be nowhere.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Absent(_) => EXIT_ABSENT,
            _ => EXIT_STOP,
        }
    }
}

impl Explain for FetchError {
    fn explanation(&self) -> Explanation {
        let untouched = "The server was not told that the archive ends here.";
        let (kind, next) = match self {
            Self::Absent(_) => {
                return Explanation::new(Kind::NotFound, sentence(self), "", "");
            }
            Self::BadName(_) => (Kind::Config, "restore_command must hand over %f and %p."),
            Self::NoRepository(_) => (Kind::Config, "Name one in the configuration."),
            Self::Repository { source, .. } => {
                let inner = source.explanation();
                let what = format!("{} {}", sentence(self), inner.what);
                return Explanation::new(inner.kind, what, untouched, inner.next);
            }
            Self::Wrong { .. } | Self::WrongFrom { .. } => {
                (Kind::Integrity, "Use another copy of the repository.")
            }
            Self::Rescue { .. } | Self::Destination { .. } => {
                (Kind::Storage, "Check space and permissions, and start the server again.")
            }
        };
        Explanation::new(kind, sentence(self), untouched, next)
    }
}

/// Keeps WAL files by name; what a fetch and the prefetcher share.
pub trait WalSource: Sync {
    /// Writes the file's content to `output`. What was written before an error is worth nothing.
    /// The repositories in `avoid` gave a wrong file before and are not asked.
    ///
    /// # Errors
    /// [`FetchError::Absent`] only where the absence is proven.
    fn fetch(
        &self,
        name: &str,
        avoid: &[String],
        output: &mut dyn Write,
    ) -> Result<Fetched, FetchError>;
}

/// The repositories of a cluster, nearest first, and then the rescued files. Nothing is opened
/// before it is needed.
#[derive(Debug)]
pub struct Sources {
    cluster: String,
    repositories: Vec<Source>,
    rescue: Option<PathBuf>,
}

#[derive(Debug)]
struct Source {
    config: RepositoryConfig,
    opened: OnceLock<Repository>,
    /// When it last could not be asked: then others are asked first for a while.
    failed: Mutex<Option<Instant>>,
}

impl Source {
    fn failed_lately(&self) -> bool {
        let failed = *self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.is_some_and(|at| at.elapsed() < AGAIN)
    }

    fn note_failure(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Sources {
    #[must_use]
    pub fn new(cluster: &str, repositories: &[RepositoryConfig], rescue: Option<&Path>) -> Self {
        Self {
            cluster: cluster.to_owned(),
            repositories: repositories
                .iter()
                .map(|config| Source {
                    config: config.clone(),
                    opened: OnceLock::new(),
                    failed: Mutex::new(None),
                })
                .collect(),
            rescue: rescue.map(Path::to_owned),
        }
    }

    /// What tells these places from others: files fetched ahead from others are never used.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let stores = self.repositories.iter().map(|s| &s.config);
        let stores = stores.map(|config| format!("{} {:?}", config.name, config.store));
        let stores = stores.collect::<Vec<_>>().join("\n");
        let rescue = format!("{:?}", self.rescue);
        let parts: [&[u8]; 3] = [self.cluster.as_bytes(), stores.as_bytes(), rescue.as_bytes()];
        let digest = crate::engine::crypto::tag::digest("wal sources", &parts);
        data_encoding::HEXLOWER.encode(digest.get(..8).unwrap_or_default())
    }

    fn open<'a>(&self, source: &'a Source) -> Result<&'a Repository, RepositoryError> {
        match source.opened.get() {
            Some(repository) => Ok(repository),
            None => {
                let repository = Repository::open(&source.config, &self.cluster)?;
                Ok(source.opened.get_or_init(|| repository))
            }
        }
    }

    fn rescued(&self, name: &str, output: &mut dyn Write) -> Result<Fetched, FetchError> {
        let absent = || FetchError::Absent(name.to_owned());
        let folder = self.rescue.as_deref().ok_or_else(absent)?;
        let path = folder.join(name);
        let failed = |source| FetchError::Rescue { path: path.clone(), source };
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                // A folder that is not there proves nothing.
                fs::read_dir(folder).map_err(failed)?;
                return Err(absent());
            }
            opened => opened.map_err(failed)?,
        };
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(Fetched::Rescue),
                Ok(count) => output
                    .write_all(buffer.get(..count).unwrap_or_default())
                    .map_err(|e| destination(name, e))?,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(failed(e)),
            }
        }
    }
}

fn destination(name: &str, source: io::Error) -> FetchError {
    FetchError::Destination { path: PathBuf::from(name), source }
}

impl WalSource for Sources {
    fn fetch(
        &self,
        name: &str,
        avoid: &[String],
        output: &mut dyn Write,
    ) -> Result<Fetched, FetchError> {
        if self.repositories.is_empty() {
            return Err(FetchError::NoRepository(name.to_owned()));
        }
        let asked = self.repositories.iter().filter(|source| !avoid.contains(&source.config.name));
        let mut asked: Vec<&Source> = asked.collect();
        // Stable: nearest first among those that answered lately. All are asked before a file is
        // said to be nowhere.
        asked.sort_by_key(|source| source.failed_lately());
        let mut doubt = None;
        for source in asked {
            let repository = &source.config.name;
            // Each repository writes from the start: nothing of a failed try may stay.
            let mut counted = Counted { output: &mut *output, count: 0 };
            match self.open(source).and_then(|open| open.read_wal(name, &mut counted)) {
                Ok(Some(_)) => return Ok(Fetched::Repository(repository.clone())),
                Ok(None) => {}
                Err(RepositoryError::Output { source, .. }) => {
                    return Err(destination(name, source));
                }
                Err(error) => {
                    if error.fault().is_some_and(|fault| fault != StoreFault::NotFound) {
                        source.note_failure();
                    }
                    let written = counted.count;
                    let (name, repository) = (name.to_owned(), repository.clone());
                    let source = Box::new(error);
                    let error = FetchError::Repository { name, repository, source };
                    if written > 0 {
                        return Err(error);
                    }
                    doubt.get_or_insert(error);
                }
            }
        }
        match doubt {
            Some(error) => Err(error),
            // One that is not asked proves nothing, and then neither do the rescued files.
            None if !avoid.is_empty() => Err(FetchError::Absent(name.to_owned())),
            None => self.rescued(name, output),
        }
    }
}

struct Counted<'a> {
    output: &'a mut dyn Write,
    count: u64,
}

impl Write for Counted<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.output.write(bytes)?;
        self.count += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

/// Writes the file to `temporary` and checks it; the caller renames it. A repository that gave
/// something else than that file is passed over, and the next is asked.
pub(super) fn fetch_to(
    source: &dyn WalSource,
    name: &str,
    temporary: &Path,
) -> Result<(Fetched, u64), FetchError> {
    let mut avoid = Vec::new();
    let mut first = None;
    loop {
        let error = match fetch_once(source, name, &avoid, temporary) {
            Ok(fetched) => return Ok(fetched),
            Err(error) => error,
        };
        let wrong = match &error {
            FetchError::WrongFrom { repository, .. } => Some(repository),
            // It failed in the middle, before the others were asked.
            FetchError::Repository { repository, .. }
                if fs::metadata(temporary).is_ok_and(|found| found.len() > 0) =>
            {
                Some(repository)
            }
            _ => None,
        };
        match wrong.filter(|name| !avoid.contains(name)).cloned() {
            Some(repository) => avoid.push(repository),
            // Whoever gave a wrong file has proven nothing: it is not absent.
            None => return Err(first.unwrap_or(error)),
        }
        first.get_or_insert(error);
    }
}

fn fetch_once(
    source: &dyn WalSource,
    name: &str,
    avoid: &[String],
    temporary: &Path,
) -> Result<(Fetched, u64), FetchError> {
    let failed = |source| FetchError::Destination { path: temporary.to_owned(), source };
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(temporary)
        .map_err(failed)?;
    let mut output = io::BufWriter::with_capacity(256 << 10, &file);
    let fetched = source.fetch(name, avoid, &mut output).map_err(|e| match e {
        FetchError::Destination { source, .. } => failed(source),
        other => other,
    })?;
    output.flush().map_err(failed)?;
    drop(output);
    let length = file.metadata().map_err(failed)?.len();
    if let Some(WalFile::Segment { .. }) = WalFile::parse(name) {
        let mut head = [0; 40];
        let read = std::os::unix::fs::FileExt::read_at(&file, &mut head, 0).map_err(failed)?;
        let head = head.get(..read).unwrap_or_default();
        identity::check(name, head, length).map_err(|why| {
            let name = name.to_owned();
            match &fetched {
                Fetched::Repository(repository) => {
                    FetchError::WrongFrom { name, repository: repository.clone(), why }
                }
                Fetched::Spool | Fetched::Rescue => {
                    FetchError::Wrong { name, place: "the rescued files".to_owned(), why }
                }
            }
        })?;
    }
    Ok((fetched, length))
}

/// What `restore-wal` is asked.
#[derive(Debug)]
pub struct FetchRequest<'a> {
    /// The server's `%f`.
    pub name: &'a str,
    /// The server's `%p`.
    pub destination: &'a Path,
    pub sources: &'a Sources,
    /// Where files are fetched ahead, on the volume of the data directory; `None` for no
    /// prefetching.
    pub spool: Option<&'a Path>,
    /// Program and arguments that run [`super::prefetch::prefetch_main`] with the same places and the
    /// same spool. Started in the background where none runs.
    pub prefetcher: &'a [OsString],
}

/// Puts the file in place, all or nothing.
///
/// # Errors
/// [`FetchError::Absent`] only where every repository and the rescued files prove that there is
/// none; whatever else happens is another error, and nothing is at the destination.
pub fn fetch_file(request: &FetchRequest<'_>) -> Result<Fetched, FetchError> {
    let name = request.name;
    let file = WalFile::parse(name).ok_or_else(|| FetchError::BadName(name.to_owned()))?;
    let is_segment = matches!(file, WalFile::Segment { .. });
    let Some(folder) = request.spool.filter(|_| is_segment) else { return direct(request) };
    let spooled = Spool::new(folder, &request.sources.fingerprint());
    if spooled.take(name, request.destination) {
        // The length was checked when it was put there.
        if let Ok(found) = fs::metadata(request.destination) {
            spool::ensure(&spooled, request.prefetcher, name, found.len(), false);
        }
        return Ok(Fetched::Spool);
    }
    let fetched = direct(request)?;
    if let Ok(found) = fs::metadata(request.destination) {
        spool::ensure(&spooled, request.prefetcher, name, found.len(), true);
    }
    Ok(fetched)
}

fn direct(request: &FetchRequest<'_>) -> Result<Fetched, FetchError> {
    let path = request.destination;
    let failed = |source| FetchError::Destination { path: path.to_owned(), source };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // Always the same name, so that a try that was killed leaves one file and not many.
    let temporary = path.with_file_name(format!(".{name}.lifeboat"));
    let fetched = fetch_to(request.sources, request.name, &temporary)
        .and_then(|(fetched, _)| fs::rename(&temporary, path).map(|()| fetched).map_err(failed));
    if fetched.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    fetched
}

/// Runs `restore-wal` to its exit code: whatever goes wrong, a panic too, ends in
/// [`EXIT_STOP`] with the reason on standard error, and never in a code that PostgreSQL takes
/// for "not in the archive". `act` includes reading the configuration and the arguments.
pub fn exit_code_of<E: Explain>(
    act: impl FnOnce() -> Result<Fetched, E> + std::panic::UnwindSafe,
    code: impl FnOnce(&E) -> u8,
) -> u8 {
    // Not `eprintln!`: it panics where standard error is closed.
    let say = |text: &str| drop(writeln!(io::stderr(), "restore-wal: {text}"));
    match std::panic::catch_unwind(act) {
        Ok(Ok(_)) => 0,
        Ok(Err(error)) => {
            say(&error.explanation().to_string());
            code(&error)
        }
        Err(_) => {
            say("Lifeboat itself failed. The server was not told that the archive ends here.");
            EXIT_STOP
        }
    }
}
