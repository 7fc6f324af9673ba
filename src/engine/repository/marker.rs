//! What a repository says of itself: the marker, and the one cluster whose WAL it takes. Owns
//! `lifeboat-repository.json` and `cluster.json`; neither is ever rewritten.

use super::{Repository, RepositoryError};
use crate::engine::config::Encryption;
use crate::engine::crypto::keyring::random;
use crate::engine::repository::store::{MARKER, StoreFault};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The repository's format, as documented.
pub const FORMAT: u32 = 1;
/// Which cluster's WAL and backups these are, once the first was written.
pub const CLUSTER: &str = "cluster.json";

/// The marker object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    pub format: u32,
    /// By chance; tells two repositories apart that were copied from each other's path.
    pub id: String,
    pub created: Timestamp,
    /// The cluster's name in the configuration.
    pub cluster: String,
    /// `none` or `aes-256-cbc`. One repository never mixes them: an unencrypted object in an
    /// encrypted one could be anybody's.
    pub cipher: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct ClusterIdentity {
    format: u32,
    /// As text, since many readers of JSON keep 53 bits of a number.
    system_identifier: String,
    recorded: Timestamp,
}

/// The cipher's name in the marker, in descriptors and in the configuration.
#[must_use]
pub fn cipher_name(encryption: &Encryption) -> &'static str {
    match encryption {
        Encryption::None => "none",
        Encryption::Aes256Cbc { .. } => "aes-256-cbc",
    }
}

impl Marker {
    pub(super) fn new(cluster: &str, encryption: &Encryption) -> Result<Self, RepositoryError> {
        Ok(Self {
            format: FORMAT,
            id: HEXLOWER.encode(&random::<8>()?[..]),
            created: Timestamp::now(),
            cluster: cluster.to_owned(),
            cipher: cipher_name(encryption).to_owned(),
        })
    }
}

impl Repository {
    /// The marker, which must be this cluster's and of the configured cipher.
    ///
    /// # Errors
    /// Where it could not be read, or is another's.
    pub fn read_marker(&self) -> Result<Marker, RepositoryError> {
        let marker: Marker = self.read_json(MARKER)?;
        let (place, wants) = (self.store.describe(), cipher_name(&self.config.encryption));
        let refused = |why: String| RepositoryError::Unfit { place, why };
        if marker.format != FORMAT {
            return Err(refused(format!(
                "it has format {}, and this version knows format {FORMAT}",
                marker.format
            )));
        }
        if marker.cluster != self.cluster {
            return Err(refused(format!(
                "it belongs to the cluster \"{}\", not to \"{}\"",
                marker.cluster, self.cluster
            )));
        }
        if marker.cipher != wants {
            return Err(refused(format!(
                "its cipher is {}, and the configuration says {wants}",
                marker.cipher
            )));
        }
        Ok(marker)
    }

    /// The system identifier of the cluster whose backups and WAL are here; `None` before the
    /// first.
    ///
    /// # Errors
    /// Where it could not be read.
    pub fn system_identifier(&self) -> Result<Option<u64>, RepositoryError> {
        let identity: ClusterIdentity = match self.read_json(CLUSTER) {
            Err(RepositoryError::Store(e)) if e.fault == StoreFault::NotFound => return Ok(None),
            read => read?,
        };
        let parsed = identity.system_identifier.parse();
        parsed.map(Some).map_err(|_| self.damaged(CLUSTER, "its system identifier is no number"))
    }

    /// Refuses another cluster than the one whose backups and WAL are here; makes it this one
    /// where there is none yet.
    ///
    /// # Errors
    /// [`RepositoryError::OtherCluster`], or where it could not be read or written.
    pub fn claim_for(&self, system_identifier: u64) -> Result<(), RepositoryError> {
        let recorded = match self.system_identifier()? {
            Some(recorded) => recorded,
            None => self.record(system_identifier)?,
        };
        if recorded == system_identifier {
            return Ok(());
        }
        let place = self.store.describe();
        Err(RepositoryError::OtherCluster { place, holds: recorded, given: system_identifier })
    }

    fn record(&self, system_identifier: u64) -> Result<u64, RepositoryError> {
        let identity = ClusterIdentity {
            format: FORMAT,
            system_identifier: system_identifier.to_string(),
            recorded: Timestamp::now(),
        };
        match self.put_json(CLUSTER, &identity) {
            // Somebody else was first: whose is it now?
            Err(RepositoryError::Store(e)) if e.fault == StoreFault::Exists => {
                Ok(self.system_identifier()?.unwrap_or(system_identifier))
            }
            put => put.map(|()| system_identifier),
        }
    }
}
