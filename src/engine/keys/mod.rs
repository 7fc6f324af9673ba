//! Looking after keys in all repositories of a configuration: which there are, whether they open,
//! rotation, escrow, destruction. Owns the order of these and their refusals; how a key is wrapped
//! is `crypto`'s. Removes no object that another does not stand for, but for `destroy`, by name.

pub mod check;
pub mod configuration;
pub mod escrow;
pub mod inventory;
pub mod rotation;

use crate::engine::config::{Config, Encryption, RepositoryConfig};
use crate::engine::crypto::{KeyError, Keyring, MasterKey, MasterKeySource};
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::repository::store::{self, Store};
use crate::engine::repository::{Repository, RepositoryError, keyring_of, master_key_source};
use std::path::PathBuf;
use std::sync::Arc;

/// Why something with keys was not done.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error("in {place}: {source}")]
    At { place: String, source: RepositoryError },
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("{0}")]
    Config(String),
    #[error("no encrypted repository is meant: {0}")]
    NothingEncrypted(String),
    #[error("these repositories have different master keys: {0}")]
    ManyMasters(String),
    #[error("another rotation of the master key in {} is under way", .0.display())]
    Busy(PathBuf),
    #[error("the new master key is the one that is in use already")]
    SameMaster,
    #[error("{place} has no previous_master_key_file in the configuration")]
    NoPrevious { place: String },
    #[error("not everything opens with the new master key: {0}")]
    NotProven(String),
    #[error("the data key {id} in {place} is needed: {why}")]
    Needed { id: String, place: String, why: String },
    #[error("{} could not be written: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
}

impl Explain for KeysError {
    fn explanation(&self) -> Explanation {
        let untouched = "Nothing was removed, and every key opens as before.";
        let (kind, untouched, next) = match self {
            Self::At { place, source } => {
                let mut told = source.explanation();
                told.what = format!("In {place}: {}", told.what);
                return told;
            }
            Self::Key(error) => return error.explanation(),
            Self::Config(_) => {
                (Kind::Config, "The configuration was not changed.", "Change it by hand.")
            }
            Self::NothingEncrypted(_) => {
                (Kind::Config, "Nothing was changed.", "Check --cluster and --repository.")
            }
            Self::ManyMasters(_) => (
                Kind::Config,
                "Nothing was changed.",
                "Say with --repository which one is meant: all repositories that share its master \
                 key are taken together.",
            ),
            Self::Busy(_) => (
                Kind::Busy,
                "Nothing was changed.",
                "Let the other one end, then say it again: it goes on from where things are.",
            ),
            Self::SameMaster => (
                Kind::Refused,
                untouched,
                "Where a rotation to it has begun, end it with --retire; else name another file, \
                 or let --make fill a new one.",
            ),
            Self::NoPrevious { .. } => (
                Kind::Refused,
                untouched,
                "Only a rotation that has begun can be ended: lifeboat keys rotate-master \
                 --new-key-file FILE --make.",
            ),
            Self::NotProven(_) => (
                Kind::Integrity,
                "No old key object was removed: the master key that was in use still opens \
                 everything that it opened.",
                "See each line with: lifeboat keys check.",
            ),
            Self::Needed { .. } => (
                Kind::Refused,
                "The key was not touched.",
                "A key goes when nothing needs it any more; retention removes backups and WAL.",
            ),
            Self::File { .. } => (
                Kind::Storage,
                "What was there before is untouched.",
                "Check space, permissions, and that no file of that name is there.",
            ),
        };
        Explanation::new(kind, sentence(self), untouched, next)
    }
}

/// An encrypted repository of one cluster, as the configuration names it.
#[derive(Debug, Clone)]
pub struct Place {
    pub cluster: String,
    pub config: RepositoryConfig,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the repository \"{}\" of \"{}\"", self.config.name, self.cluster)
    }
}

/// A place with its store.
#[derive(Debug, Clone)]
pub struct Holding {
    pub place: Place,
    pub store: Arc<dyn Store>,
}

impl Place {
    /// Opens the store, and tries no key.
    ///
    /// # Errors
    /// Where it cannot be reached.
    pub fn open(&self) -> Result<Holding, KeysError> {
        let store = store::open(&self.config.store, &self.cluster)
            .map_err(|e| self.at(RepositoryError::Store(e)))?;
        Ok(Holding { place: self.clone(), store })
    }

    /// The master key that the configuration names.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn master(&self) -> Result<Arc<MasterKey>, KeysError> {
        Ok(Arc::new(MasterKey::load(&self.source()?)?))
    }

    /// Where the master key comes from.
    ///
    /// # Errors
    /// Where the configuration does not name it once.
    pub fn source(&self) -> Result<MasterKeySource, KeysError> {
        master_key_source(&self.config.encryption)
            .map_err(|e| self.at(e))?
            .ok_or_else(|| KeysError::NothingEncrypted(self.to_string()))
    }

    pub(crate) fn at(&self, source: impl Into<RepositoryError>) -> KeysError {
        KeysError::At { place: self.to_string(), source: source.into() }
    }
}

impl Holding {
    /// The keyring that the configuration asks for.
    ///
    /// # Errors
    /// Where it names no master key.
    pub fn ring(&self) -> Result<Keyring, KeysError> {
        keyring_of(&self.store, &self.place.config.encryption)
            .map_err(|e| self.place.at(e))?
            .ok_or_else(|| KeysError::NothingEncrypted(self.place.to_string()))
    }

    /// A keyring that has this master key and no other.
    #[must_use]
    pub fn ring_of(&self, source: &MasterKeySource, master: &Arc<MasterKey>) -> Keyring {
        Keyring::given(Arc::clone(&self.store), source.clone(), Arc::clone(master))
    }

    /// The repository with this keyring.
    ///
    /// # Errors
    /// Where it is none.
    pub fn repository(&self, ring: Keyring) -> Result<Repository, KeysError> {
        let (config, cluster) = (&self.place.config, &self.place.cluster);
        Repository::with_keyring(Arc::clone(&self.store), config, cluster, Some(ring))
            .map_err(|e| self.place.at(e))
    }
}

/// The encrypted repositories of the configuration, or those of one cluster or one name.
///
/// # Errors
/// Where there is none.
pub fn places(
    config: &Config,
    cluster: Option<&str>,
    repository: Option<&str>,
) -> Result<Vec<Place>, KeysError> {
    let mut places = Vec::new();
    for one in config.clusters.iter().filter(|one| cluster.is_none_or(|name| name == one.name)) {
        for name in one.repositories.iter().filter(|r| repository.is_none_or(|name| name == *r)) {
            let Some(settings) = config.repository(name) else { continue };
            if settings.encryption != Encryption::None {
                places.push(Place { cluster: one.name.clone(), config: settings.clone() });
            }
        }
    }
    if places.is_empty() {
        let what = match (cluster, repository) {
            (None, None) => String::from("the configuration has none"),
            (cluster, repository) => format!(
                "cluster {}, repository {}",
                cluster.unwrap_or("(any)"),
                repository.unwrap_or("(any)")
            ),
        };
        return Err(KeysError::NothingEncrypted(what));
    }
    Ok(places)
}

/// Repositories that share a master key.
#[derive(Debug)]
pub struct Shared {
    pub master: Arc<MasterKey>,
    pub source: MasterKeySource,
    pub places: Vec<Place>,
}

/// All repositories of the configuration whose master key is that of the repository `name`, or
/// the only master key that there is.
///
/// # Errors
/// Where there are several master keys and no name.
pub fn sharing(config: &Config, name: Option<&str>) -> Result<Shared, KeysError> {
    if let Some(name) = name {
        // Also where no cluster has a repository of that name.
        places(config, None, Some(name))?;
    }
    let mut groups: Vec<Shared> = Vec::new();
    let mut read: Vec<(MasterKeySource, Arc<MasterKey>)> = Vec::new();
    for place in places(config, None, None)? {
        let source = place.source()?;
        let master = match read.iter().find(|(known, _)| *known == source) {
            Some((_, master)) => Arc::clone(master),
            None => {
                let master = place.master()?;
                read.push((source.clone(), Arc::clone(&master)));
                master
            }
        };
        match groups.iter_mut().find(|group| group.master.same(&master)) {
            Some(group) => group.places.push(place),
            None => groups.push(Shared { master, source, places: vec![place] }),
        }
    }
    let names = |group: &Shared| {
        let names: Vec<&str> = group.places.iter().map(|p| p.config.name.as_str()).collect();
        names.join(", ")
    };
    let told = groups.iter().map(&names).collect::<Vec<_>>().join("; ");
    let has = |group: &Shared| {
        name.is_none_or(|name| group.places.iter().any(|place| place.config.name == name))
    };
    let mut chosen: Vec<Shared> = groups.into_iter().filter(has).collect();
    match (chosen.pop(), chosen.is_empty()) {
        (Some(only), true) => Ok(only),
        _ => Err(KeysError::ManyMasters(told)),
    }
}
