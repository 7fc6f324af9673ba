//! The S3 store against real servers, and against a server that has a bad day.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

#[path = "../../src/engine/repository/store/suite.rs"]
#[allow(dead_code, reason = "a part of it is for file stores")]
mod suite;
#[path = "../support/mod.rs"]
mod support;

mod bad_day;
mod cloud;
mod cluster;
mod copies;
mod garage;

mod keys;
mod lock;
mod permission;
#[allow(dead_code, reason = "shared with the troubles")]
mod proxy;
mod server;
mod servers;

use cloud::Cloud;
use lifeboat::engine::config::{
    Codec, Encryption, RepositoryConfig, S3Config, S3Credentials, StoreConfig,
};
use lifeboat::engine::explain::{Explain, Kind};
use lifeboat::engine::repository::store::s3::{Limits, S3Store};
// The suite names them by `super`.
use lifeboat::engine::repository::store::{
    MARKER, ObjectInfo, Store, StoreError, StoreFault, Unfinished,
};
use proxy::{Deed, Proxy, range_of};
use server::{ID, SECRET, Server, not_run, program};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

fn secret_file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn config(server: &Server, address: &str, secret: &str) -> S3Config {
    let text = format!("[default]\naws_access_key_id = {ID}\naws_secret_access_key = {secret}\n");
    let path = secret_file(server.folder.path(), &format!("keys-{}", secret.len()), &text);
    S3Config {
        bucket: "backups".into(),
        prefix: "pg/{cluster}".into(),
        endpoint: Some(format!("http://{address}")),
        region: "eu-central-1".into(),
        root_certificate: None,
        credentials: S3Credentials::File { path, profile: None },
        object_lock: None,
        parallel: None,
        timeout_seconds: None,
    }
}

/// Silence is long, since a server on a busy machine may stand still for seconds.
fn limits() -> Limits {
    Limits { connect: Duration::from_secs(5), silence: Duration::from_secs(20), tries: 4 }
}

/// For a test whose server falls silent on purpose.
fn hasty() -> Limits {
    Limits { silence: Duration::from_secs(2), ..limits() }
}

/// A store with its marker, before a server that behaves.
fn store_at(server: &Server, address: &str) -> S3Store {
    store_within(server, address, limits())
}

fn store_within(server: &Server, address: &str, limits: Limits) -> S3Store {
    let plain = S3Store::open(&config(server, &server.address, SECRET), "shop").unwrap();
    if plain.size(MARKER).is_err() {
        plain.put(MARKER, b"{}").unwrap();
    }
    S3Store::open_within(&config(server, address, SECRET), "shop", limits).unwrap()
}

/// The error of each way to read `key`.
fn readings(store: &S3Store, key: &str) -> [StoreError; 5] {
    [
        store.read(key).unwrap_err(),
        store.read_range(key, 0, &mut [0; 1]).unwrap_err(),
        store.size(key).unwrap_err(),
        store.list("wal-archive/", "").unwrap_err(),
        store.folders("").unwrap_err(),
    ]
}

/// Bytes that differ everywhere.
fn content(size: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}
