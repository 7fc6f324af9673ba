//! Small repositories for tests.

use super::descriptor::{FORMAT, SetObject, base_stem, set_name};
use super::{Repository, SetDescriptor};
use crate::engine::config::{Codec, Encryption, RepositoryConfig, StoreConfig};
use crate::engine::postgres::Lsn;
use jiff::{SignedDuration, Timestamp};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// A folder with a repository of the cluster `shop`.
#[derive(Debug)]
pub struct Place {
    pub folder: tempfile::TempDir,
    pub config: RepositoryConfig,
}

impl Place {
    pub fn encrypted() -> Self {
        Self::new(true)
    }

    pub fn plain() -> Self {
        Self::new(false)
    }

    pub fn both() -> [Self; 2] {
        [Self::encrypted(), Self::plain()]
    }

    fn new(encrypted: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("master.key");
        fs::write(&key, "the master key of this test\n").unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let encryption = if encrypted {
            Encryption::Aes256Cbc {
                master_key_file: Some(key),
                master_key_command: None,
                previous_master_key_file: None,
            }
        } else {
            Encryption::None
        };
        let config = RepositoryConfig {
            name: "near".to_owned(),
            store: StoreConfig::File { path: folder.path().join("backups/{cluster}") },
            encryption,
            codec: Codec::Gzip,
            level: None,
            workers: None,
            place: Default::default(),
        };
        Repository::create(&config, "shop").unwrap();
        Self { folder, config }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("backups/shop")
    }

    /// The place, and its repository under another name.
    pub fn repository_of(mut self, name: &str) -> (Self, Repository) {
        name.clone_into(&mut self.config.name);
        let repository = self.repository();
        (self, repository)
    }

    /// Opened anew: nothing is remembered from before.
    pub fn repository(&self) -> Repository {
        Repository::open(&self.config, "shop").unwrap()
    }
}

/// A descriptor of a backup that took five minutes.
pub fn set_at(repository: &Repository, started: Timestamp) -> SetDescriptor {
    let set = set_name(started);
    let object = format!("{}.tar.gz", base_stem(&set).unwrap());
    SetDescriptor {
        format: FORMAT,
        set,
        written_by: env!("CARGO_PKG_VERSION").to_owned(),
        cluster: "shop".to_owned(),
        system_identifier: 7_459_000_111_222_333_444,
        server_version_num: 150_018,
        pg_control_version: 1300,
        catalog_version: 202_209_061,
        page_size: 8192,
        segment_size: 16 << 20,
        data_checksums: true,
        start_lsn: Lsn(0x300_0028),
        stop_lsn: Lsn(0x300_0138),
        timeline: 1,
        started,
        finished: started + SignedDuration::from_mins(5),
        key_id: repository.new_protection().unwrap().key_id().map(str::to_owned),
        codec: Codec::Gzip,
        cipher: super::marker::cipher_name(&repository.config.encryption).to_owned(),
        data_bytes: 500 << 20,
        stored_bytes: 120 << 20,
        objects: vec![SetObject { name: object, size: 120 << 20, sha256: "00".repeat(32) }],
        backup_label: "START WAL LOCATION: 0/3000028 (file 000000010000000000000003)\n".to_owned(),
        tablespace_map: None,
        tablespaces: vec![],
        warnings: vec![],
    }
}
