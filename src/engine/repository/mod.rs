//! The repository: where a cluster's base backups, WAL and keys are kept, in format version 1
//! (docs/REPOSITORY_FORMAT.md). Owns names and formats; never runs a server, never overwrites.

pub mod alternates;
pub mod anchor;
pub mod descriptor;
pub mod error;
pub mod file;
pub mod hold;
pub mod manifest;
pub mod marker;
pub mod member;
pub mod meter;
pub mod open_set;
pub mod reverify;
pub mod scan;
pub mod sealed;
pub mod store;
#[cfg(test)]
pub mod testing;
pub mod unfinished;
pub mod verification;
pub mod verify;
pub mod wal;
pub mod wal_listing;
pub mod wal_object;
pub mod whole;

use crate::engine::config::{Encryption, RepositoryConfig};
use crate::engine::crypto::{Keyring, MasterKeySource, Protection};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use store::{MARKER, Store, StoreFault};

pub use descriptor::SetDescriptor;
pub use error::RepositoryError;
pub use wal::{PutWal, WalObject};

/// An open repository of one cluster.
#[derive(Debug)]
pub struct Repository {
    pub store: Arc<dyn Store>,
    pub config: RepositoryConfig,
    cluster: String,
    /// Where the repository is encrypted.
    keyring: Option<Keyring>,
}

impl Repository {
    /// Opens the repository of `cluster`.
    ///
    /// # Errors
    /// Where it is not one (the marker object is missing: an unmounted volume looks like an
    /// empty archive and must never be taken for one), or its keys do not open.
    pub fn open(config: &RepositoryConfig, cluster: &str) -> Result<Self, RepositoryError> {
        let store = store::slowed(store::open(&config.store, cluster)?, config.place.line);
        Self::over(store, config, cluster)
    }

    /// As [`Repository::open`], over a store that refuses every write and removal: nothing that is
    /// done with it can change the place.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn open_read_only(
        config: &RepositoryConfig,
        cluster: &str,
    ) -> Result<Self, RepositoryError> {
        let store = store::slowed(store::open(&config.store, cluster)?, config.place.line);
        Self::over(store::read_only(store), config, cluster)
    }

    /// Makes a new repository for `cluster`, or opens the one that is there. Made by root, it
    /// belongs to root until its folder is given to the server's user; then what root writes
    /// later is given to that user too.
    ///
    /// # Errors
    /// Where the place holds something else.
    pub fn create(config: &RepositoryConfig, cluster: &str) -> Result<Self, RepositoryError> {
        // A key that cannot be read is found out before anything is made.
        if let Some(source) = master_key_source(&config.encryption)? {
            crate::engine::crypto::master::MasterKey::load(&source)?;
        }
        let store = store::make(&config.store, cluster)?;
        let marker = marker::Marker::new(cluster, &config.encryption)?;
        match store.put(MARKER, &json(&marker)?) {
            Err(e) if e.fault == StoreFault::Exists => {}
            put => put?,
        }
        Self::over(store, config, cluster)
    }

    /// Opens the repository in a store that is there.
    ///
    /// # Errors
    /// As [`Repository::open`].
    pub fn over(
        store: Arc<dyn Store>,
        config: &RepositoryConfig,
        cluster: &str,
    ) -> Result<Self, RepositoryError> {
        let keyring = keyring_of(&store, &config.encryption)?;
        let repository = Self::with_keyring(store, config, cluster, keyring)?;
        if let Some(keyring) = &repository.keyring {
            keyring.check()?;
        }
        Ok(repository)
    }

    /// Opens the repository with a keyring of the caller's, and tries no key.
    ///
    /// # Errors
    /// Where it is not a repository, or another than the configuration means.
    pub fn with_keyring(
        store: Arc<dyn Store>,
        config: &RepositoryConfig,
        cluster: &str,
        keyring: Option<Keyring>,
    ) -> Result<Self, RepositoryError> {
        let repository =
            Self { store, config: config.clone(), cluster: cluster.to_owned(), keyring };
        repository.read_marker()?;
        Ok(repository)
    }

    /// The cluster's name.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The data keys; `None` where the repository is not encrypted.
    #[must_use]
    pub fn keyring(&self) -> Option<&Keyring> {
        self.keyring.as_ref()
    }

    /// What protects a new base backup: a data key of its own, or a digest alone.
    ///
    /// # Errors
    /// Where the key could not be made.
    pub fn new_protection(&self) -> Result<Protection, RepositoryError> {
        Ok(match &self.keyring {
            Some(keyring) => Protection::Key(keyring.new_data_key()?),
            None => Protection::Digest,
        })
    }

    /// What protects new WAL: the newest data key, made where there is none yet.
    ///
    /// # Errors
    /// Where the key could not be opened or made.
    pub fn current_protection(&self) -> Result<Protection, RepositoryError> {
        let Some(keyring) = &self.keyring else { return Ok(Protection::Digest) };
        Ok(Protection::Key(match keyring.newest()? {
            Some(key) => key,
            None => keyring.new_data_key()?,
        }))
    }

    /// What protects an object that says so: by its key's id, or by a digest.
    ///
    /// # Errors
    /// Where the key does not open; and where an object without a key turns up in an encrypted
    /// repository, or the other way round.
    pub fn protection_of(
        &self,
        object: &str,
        key_id: Option<&str>,
    ) -> Result<Protection, RepositoryError> {
        match (&self.keyring, key_id) {
            (Some(keyring), Some(id)) => Ok(Protection::Key(keyring.open(id)?)),
            (None, None) => Ok(Protection::Digest),
            (Some(_), None) => Err(self.damaged(
                object,
                "it is not encrypted, and this repository is: anybody could have written it",
            )),
            (None, Some(_)) => Err(self.damaged(
                object,
                "it is encrypted, and the configuration names no key for this repository",
            )),
        }
    }

    pub(crate) fn damaged(&self, object: &str, why: &str) -> RepositoryError {
        RepositoryError::Damaged {
            object: object.to_owned(),
            place: self.store.describe(),
            why: why.to_owned(),
        }
    }

    fn read_json<T: DeserializeOwned>(&self, key: &str) -> Result<T, RepositoryError> {
        let text = self.store.read(key)?;
        serde_json::from_slice(&text)
            .map_err(|e| self.damaged(key, &format!("it is not what it should be: {e}")))
    }

    fn put_json(&self, key: &str, value: &impl Serialize) -> Result<(), RepositoryError> {
        Ok(self.store.put(key, &json(value)?)?)
    }
}

/// As lines that a person can read.
fn json(value: &impl Serialize) -> Result<Vec<u8>, RepositoryError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(|e| RepositoryError::Output {
        what: String::from("a description in JSON"),
        source: e.into(),
    })?;
    text.push(b'\n');
    Ok(text)
}

/// The keyring that the configuration asks for; `None` where the repository is not encrypted.
///
/// # Errors
/// Where the master key is not named exactly once.
pub fn keyring_of(
    store: &Arc<dyn Store>,
    encryption: &Encryption,
) -> Result<Option<Keyring>, RepositoryError> {
    let Some(source) = master_key_source(encryption)? else { return Ok(None) };
    let previous = match encryption {
        Encryption::Aes256Cbc { previous_master_key_file, .. } => previous_master_key_file.clone(),
        Encryption::None => None,
    };
    let ring = Keyring::new(Arc::clone(store), source);
    Ok(Some(ring.with_previous(previous.map(MasterKeySource::File))))
}

/// Where the configuration has the master key from; `None` where there is no encryption.
///
/// # Errors
/// Where it is not named exactly once.
pub fn master_key_source(
    encryption: &Encryption,
) -> Result<Option<MasterKeySource>, RepositoryError> {
    let Encryption::Aes256Cbc { master_key_file, master_key_command, .. } = encryption else {
        return Ok(None);
    };
    match (master_key_file, master_key_command) {
        (Some(path), None) => Ok(Some(MasterKeySource::File(path.clone()))),
        (None, Some(words)) => Ok(Some(MasterKeySource::Command(words.clone()))),
        _ => Err(RepositoryError::MasterKeyUnnamed),
    }
}

#[cfg(test)]
mod tests {
    use super::testing::Place;
    use super::*;
    use std::fs;

    #[test]
    fn creating_again_opens_what_is_there() {
        for place in Place::both() {
            let marker = fs::read(place.root().join(MARKER)).unwrap();
            Repository::create(&place.config, "shop").unwrap();
            assert_eq!(fs::read(place.root().join(MARKER)).unwrap(), marker);
        }
    }

    #[test]
    fn a_folder_with_something_else_in_it_is_refused() {
        let place = Place::plain();
        let other = place.root().with_file_name("other");
        fs::create_dir(&other).unwrap();
        fs::write(other.join("a file"), "of somebody").unwrap();
        let refused = Repository::create(&place.config, "other").unwrap_err();
        assert_eq!(refused.fault(), Some(StoreFault::Exists), "{refused}");
        assert_eq!(fs::read_dir(&other).unwrap().count(), 1);
    }

    #[test]
    fn another_cluster_or_cipher_is_refused() {
        let place = Place::plain();
        fs::rename(place.root(), place.root().with_file_name("bank")).unwrap();
        let refused = Repository::open(&place.config, "bank").unwrap_err();
        assert!(matches!(refused, RepositoryError::Unfit { .. }), "{refused}");
        let mut place = Place::encrypted();
        place.config.encryption = Encryption::None;
        let refused = Repository::open(&place.config, "shop").unwrap_err();
        assert!(matches!(refused, RepositoryError::Unfit { .. }), "{refused}");
        for name in ["", "..", "a/b", "/etc"] {
            assert!(Repository::open(&place.config, name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_repository_takes_one_cluster() {
        let place = Place::encrypted();
        assert_eq!(place.repository().system_identifier().unwrap(), None);
        place.repository().claim_for(u64::MAX).unwrap();
        place.repository().claim_for(u64::MAX).unwrap();
        assert_eq!(place.repository().system_identifier().unwrap(), Some(u64::MAX));
        let refused = place.repository().claim_for(7).unwrap_err();
        assert!(matches!(refused, RepositoryError::OtherCluster { .. }), "{refused}");
    }
}
