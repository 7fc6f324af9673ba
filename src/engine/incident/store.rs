//! The folder of all incidents, `<state>/incidents/INC-YYYYMMDD-NNN/`. Owns their names, their
//! declaration until a runner has journalled it, and the list for the home screen. Never writes a
//! journal, and never hides an incident because it is damaged.

use super::event::Declaration;
use super::journal::{self, JournalError};
use super::model::{FoldError, Incident, Phase, RunStatus};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::files;
use jiff::Timestamp;
use serde::Serialize;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Holds the declaration from the moment the incident gets its number until a runner has
/// journalled it. Its owner is who declared.
pub const DECLARATION: &str = "declaration.json";

/// The folder, among the incidents, that names those whose runner takes others in: whoever may not
/// list the incidents themselves finds them there.
const SHARED: &str = "shared";

/// All incidents of this machine.
#[derive(Debug, Clone)]
pub struct Store {
    root: PathBuf,
}

/// One line of the home screen.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum Listed {
    Whole(Summary),
    /// Shown with its reason; its journal cannot be folded.
    Damaged {
        id: String,
        folder: PathBuf,
        explanation: Explanation,
    },
}

impl Listed {
    #[must_use]
    pub fn id(&self) -> &str {
        match self {
            Self::Whole(summary) => &summary.id,
            Self::Damaged { id, .. } => id,
        }
    }
}

/// An incident in a few words.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    pub id: String,
    pub folder: PathBuf,
    pub cluster: String,
    pub title: String,
    pub phase: Phase,
    pub status: RunStatus,
    pub declared: Option<Timestamp>,
    pub closed: Option<Timestamp>,
    /// The scenario's name where this is a drill.
    pub drill: Option<String>,
    /// Whether a runner owns it now.
    pub runner_alive: bool,
}

/// Why an incident could not be made, found or listed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("could not {doing} {}: {source}", path.display())]
    Io { doing: &'static str, path: PathBuf, source: io::Error },
    #[error("\"{0}\" is no incident's number; they look like INC-20250113-001")]
    BadId(String),
    #[error("there is no incident {id} in {}", root.display())]
    NotFound { id: String, root: PathBuf },
    #[error("no free number was found for a new incident in {}", root.display())]
    NoNumber { root: PathBuf },
    #[error("{} holds no declaration that can be understood: {fault}", path.display())]
    Declaration { path: PathBuf, fault: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{}: {source}", path.display())]
    Fold { path: PathBuf, source: FoldError },
}

impl Explain for StoreError {
    fn explanation(&self) -> Explanation {
        let kind = match self {
            Self::Journal(error) => return error.explanation(),
            Self::Io { .. } | Self::NoNumber { .. } => Kind::Storage,
            Self::BadId(_) => Kind::Config,
            Self::NotFound { .. } => Kind::NotFound,
            Self::Declaration { .. } | Self::Fold { .. } => Kind::Integrity,
        };
        let next = match kind {
            Kind::Storage => "Check space and permissions of the state directory.",
            Kind::Integrity => "Look at the incident's folder; nothing in it was changed.",
            _ => "The home screen lists every incident.",
        };
        Explanation::new(kind, format!("{self}."), "Nothing was changed.", next)
    }
}

impl Store {
    /// The incidents below a state directory; nothing is made yet.
    #[must_use]
    pub fn new(state_directory: &Path) -> Self {
        Self { root: state_directory.join("incidents") }
    }

    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the next incident of the day (UTC): its folder, private, and in it the declaration
    /// that a runner will journal. `declare` gets the new number.
    ///
    /// # Errors
    /// Where it could not be made.
    pub fn declare(
        &self,
        now: Timestamp,
        declare: impl FnOnce(&str) -> Declaration,
    ) -> Result<(Declaration, PathBuf), StoreError> {
        let (id, folder) = self.create(now)?;
        let declaration = declare(&id);
        let path = folder.join(DECLARATION);
        let json = serde_json::to_vec_pretty(&declaration).map_err(|error| {
            StoreError::Declaration { path: path.clone(), fault: error.to_string() }
        })?;
        files::create(&path, &json, 0o600).map_err(|source| fault("write", &path, source))?;
        Ok((declaration, folder))
    }

    /// Takes the next number of the day, by the folder that it makes: two at once get two.
    ///
    /// # Errors
    /// Where the folder could not be made.
    pub fn create(&self, now: Timestamp) -> Result<(String, PathBuf), StoreError> {
        let root = &self.root;
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)
            .map_err(|source| fault("make", root, source))?;
        let day = format!("INC-{}-", now.strftime("%Y%m%d"));
        let taken = self.ids()?;
        let highest =
            taken.iter().filter_map(|id| id.strip_prefix(&day)?.parse::<u32>().ok()).max();
        let first = highest.unwrap_or(0).saturating_add(1);
        for number in first..first.saturating_add(1000) {
            let id = format!("{day}{number:03}");
            let folder = root.join(&id);
            match fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => {
                    files::sync_parent(&folder).map_err(|source| fault("sync", root, source))?;
                    return Ok((id, folder));
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(fault("make", &folder, source)),
            }
        }
        Err(StoreError::NoNumber { root: root.clone() })
    }

    /// The folder of an incident that exists.
    ///
    /// # Errors
    /// Where the number is none, or nothing has it.
    pub fn folder(&self, id: &str) -> Result<PathBuf, StoreError> {
        if !is_id(id) {
            return Err(StoreError::BadId(id.to_owned()));
        }
        let folder = self.root.join(id);
        if folder.is_dir() {
            return Ok(folder);
        }
        Err(StoreError::NotFound { id: id.to_owned(), root: self.root.clone() })
    }

    /// The incident as its journal tells it now, without its runner.
    ///
    /// # Errors
    /// Where there is none or its journal does not hold.
    pub fn load(&self, id: &str) -> Result<Incident, StoreError> {
        load(&self.folder(id)?)
    }

    /// Whether the incidents are somebody else's and cannot be listed by this user.
    #[must_use]
    pub fn is_closed_to_us(&self) -> bool {
        fs::read_dir(&self.root).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    }

    /// The incidents whose runner takes others in, newest first.
    #[must_use]
    pub fn shared(&self) -> Vec<String> {
        let entries = fs::read_dir(self.root.join(SHARED)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().to_str().map(str::to_owned));
        let mut ids: Vec<_> = names.filter(|name| is_id(name)).collect();
        ids.sort_by(|one, other| other.cmp(one));
        ids
    }

    /// All incidents, newest first. Before the first one this is empty.
    ///
    /// # Errors
    /// Only where the folder of incidents itself cannot be read.
    pub fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let mut ids = self.ids()?;
        // By day and number: number 1000 of a day comes after 999.
        ids.sort_by_key(|id| std::cmp::Reverse((id.len(), id.clone())));
        ids.sort_by_key(|id| std::cmp::Reverse(id.get(..12).map(str::to_owned)));
        Ok(ids.into_iter().map(|id| self.listed(id)).collect())
    }

    fn listed(&self, id: String) -> Listed {
        let folder = self.root.join(&id);
        match load(&folder) {
            Ok(incident) => Listed::Whole(Summary {
                phase: incident.phase(),
                status: incident.status,
                declared: incident.clocks.declared,
                closed: incident.clocks.closed,
                cluster: incident.declaration.cluster,
                title: incident.declaration.title,
                drill: incident.declaration.drill,
                runner_alive: journal::is_written(&folder),
                id,
                folder,
            }),
            Err(error) => Listed::Damaged { id, folder, explanation: error.explanation() },
        }
    }

    fn ids(&self) -> Result<Vec<String>, StoreError> {
        let entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(fault("read", &self.root, source)),
        };
        let mut ids = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| fault("read", &self.root, source))?;
            if let Some(name) = entry.file_name().to_str().filter(|name| is_id(name)) {
                ids.push(name.to_owned());
            }
        }
        Ok(ids)
    }
}

/// Lets others find the incident of this folder and reach its runner, without letting them list or
/// read anything else: they may pass through the folders above, as far as those are ours to open.
///
/// # Errors
/// Where a folder's mode or the name cannot be written.
pub fn share(folder: &Path) -> io::Result<()> {
    let (Some(root), Some(name)) = (folder.parent(), folder.file_name()) else { return Ok(()) };
    let own = nix::unistd::geteuid().as_raw();
    for above in [Some(root), root.parent()].into_iter().flatten() {
        let meta = fs::metadata(above)?;
        let mode = meta.permissions().mode();
        // Root's runner may work in a state directory that is the server's user's.
        if (own == 0 || meta.uid() == own) && mode & 0o011 != 0o011 {
            fs::set_permissions(above, fs::Permissions::from_mode((mode & 0o7777) | 0o011))?;
        }
    }
    let shared = root.join(SHARED);
    match fs::DirBuilder::new().mode(0o755).create(&shared) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    files::replace(&shared.join(name), b"", 0o644)
}

/// Takes the name away that [`share`] wrote: nobody listens any more.
pub fn unshare(folder: &Path) {
    if let (Some(root), Some(name)) = (folder.parent(), folder.file_name()) {
        // Where it was never shared there is nothing; whoever reads it asks the runner anyway.
        let _ = fs::remove_file(root.join(SHARED).join(name));
    }
}

/// What an incident's folder says it is about, and the user who said so where no journal has it
/// yet: from the journal's first entry, else from the declaration that waits for its runner.
///
/// # Errors
/// Where neither can be read.
pub fn declaration(folder: &Path) -> Result<(Declaration, Option<u32>), StoreError> {
    if folder.join(journal::FILE).exists() {
        let reading = journal::read(folder)?;
        if !reading.entries.is_empty() {
            let incident = Incident::replay(&reading.entries)
                .map_err(|source| StoreError::Fold { path: folder.join(journal::FILE), source })?;
            return Ok((incident.declaration, None));
        }
    }
    let path = folder.join(DECLARATION);
    let bytes = fs::read(&path).map_err(|source| fault("read", &path, source))?;
    let owner = fs::metadata(&path).map_err(|source| fault("read", &path, source))?.uid();
    let declaration = serde_json::from_slice(&bytes)
        .map_err(|error| StoreError::Declaration { path, fault: error.to_string() })?;
    Ok((declaration, Some(owner)))
}

/// The declaration that lies beside the journal, as it was made; `None` where it cannot be read.
#[must_use]
pub fn declared(folder: &Path) -> Option<Declaration> {
    serde_json::from_slice(&fs::read(folder.join(DECLARATION)).ok()?).ok()
}

/// The folder that an incident of this number has, whether or not it is there.
///
/// # Errors
/// [`StoreError::BadId`] where it is no incident's number.
pub fn place_of(state_directory: &Path, id: &str) -> Result<PathBuf, StoreError> {
    if !is_id(id) {
        return Err(StoreError::BadId(id.to_owned()));
    }
    Ok(Store::new(state_directory).root.join(id))
}

fn load(folder: &Path) -> Result<Incident, StoreError> {
    let reading = journal::read(folder)?;
    Incident::replay(&reading.entries)
        .map_err(|source| StoreError::Fold { path: folder.join(journal::FILE), source })
}

fn is_id(text: &str) -> bool {
    let mut parts = text.split('-');
    let digits = |part: Option<&str>, least: usize, most: usize| {
        part.is_some_and(|part| {
            (least..=most).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    parts.next() == Some("INC")
        && digits(parts.next(), 8, 8)
        && digits(parts.next(), 3, 6)
        && parts.next().is_none()
}

fn fault(doing: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::Io { doing, path: path.to_owned(), source }
}
