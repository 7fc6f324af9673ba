//! Asking a bucket whether it would take a write: an upload in parts is begun under a name that
//! nobody else has, which needs the right to write and makes no object. Where it is not refused it
//! is aborted at once. Never sends a byte of content.

use super::super::permission::{Permission, QUESTION, worst};
use super::S3Store;
use super::retry::Failure;
use super::runtime::wait;
use crate::engine::config::S3Config;
use std::sync::Arc;

/// Folders that it is asked in: rights are often given by the beginning of a name.
const FOLDERS: [&str; 2] = ["", "wal-archive/"];
/// The only word that is a refusal for want of the right: others tell of keys, clocks and servers.
const REFUSED: &str = "AccessDenied";
/// A question is worth no half minute of tries.
const TRIES: u32 = 3;

pub(in super::super) fn ask(config: &S3Config, cluster: &str) -> Permission {
    let limits = super::Limits { tries: TRIES, ..S3Store::limits_of(config) };
    let store = match S3Store::open_within(config, cluster, limits) {
        Ok(store) => store,
        Err(error) => return Permission::Unknown(error.to_string()),
    };
    let name = match store.new_writer() {
        Ok(chance) => format!("{QUESTION}{chance}"),
        Err(error) => return Permission::Unknown(error.to_string()),
    };
    worst(FOLDERS.map(|folder| ask_at(&store, &format!("{folder}{name}"))))
}

fn ask_at(store: &S3Store, key: &str) -> Permission {
    let shared = &store.shared;
    let (here, whole, writer) = (Arc::clone(shared), shared.whole(key), String::from("drill"));
    match wait(async move { here.client.begin_unlocked(&whole, &writer).await }) {
        Ok(Ok(upload)) => Permission::Granted(match abort(store, key, &upload) {
            Ok(()) => format!("an upload of {key} was begun, and aborted at once"),
            Err(failure) => left(key, &failure.what),
        }),
        Ok(Err(failure)) if failure.code == REFUSED => Permission::Refused(failure.what),
        Ok(Err(failure)) if failure.leaves_doubt() => in_doubt(store, key, &failure),
        Ok(Err(failure)) => Permission::Unknown(failure.what),
        Err(error) => Permission::Unknown(error.to_string()),
    }
}

/// No answer came that says what became of it: whatever was begun under that name is ours.
fn in_doubt(store: &S3Store, key: &str, failure: &Failure) -> Permission {
    let shared = &store.shared;
    let (here, whole) = (Arc::clone(shared), shared.whole(key));
    let listed = wait(async move { here.client.uploads(&whole).await });
    let uploads = match listed {
        Ok(Ok(uploads)) => uploads,
        // A server without any upload may know no list of them either.
        Ok(Err(other)) if other.code == "NoSuchUpload" => Vec::new(),
        Ok(Err(other)) => return Permission::Unknown(left(key, &other.what)),
        Err(error) => return Permission::Unknown(left(key, &error.to_string())),
    };
    let begun: Vec<_> = uploads.iter().filter(|one| one.key == shared.whole(key)).collect();
    if begun.is_empty() {
        return Permission::Unknown(failure.what.clone());
    }
    let kept = begun.iter().find_map(|one| abort(store, key, &one.id).err());
    Permission::Granted(match kept {
        None => format!("an upload of {key} was begun, and aborted"),
        Some(failure) => left(key, &failure.what),
    })
}

fn abort(store: &S3Store, key: &str, upload: &str) -> Result<(), Failure> {
    let shared = &store.shared;
    let (here, whole, id) = (Arc::clone(shared), shared.whole(key), upload.to_owned());
    let aborted = wait(async move { here.client.abort(&whole, &id).await });
    match aborted {
        Ok(Err(failure)) if failure.code == "NoSuchUpload" => Ok(()),
        Ok(done) => done,
        Err(error) => Err(Failure::new(error.fault, super::retry::Again::Never, error.to_string())),
    }
}

/// It cannot be said that nothing stayed, and so that is said.
fn left(key: &str, why: &str) -> String {
    format!(
        "an upload of {key} may be left unfinished, without a byte in it ({why}); lifeboat cleanup \
         aborts it once it is a day old"
    )
}
