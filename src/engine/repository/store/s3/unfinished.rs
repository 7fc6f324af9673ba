//! Uploads in parts that nobody completed or aborted: they cost room, and no listing of objects
//! shows them. Owns the finding of those below the repository, and how one is thrown away.

use super::super::{MARKER, StoreError, StoreFault, Unfinished, check_key};
use super::S3Store;
use super::client::told;
use super::retry::{Again, Failure};
use super::runtime::wait;
use super::shared::Shared;
use jiff::Timestamp;
use std::sync::Arc;

/// An upload as the bucket lists it.
#[derive(Debug)]
pub(super) struct Upload {
    /// Whole.
    pub key: String,
    pub id: String,
    pub begun: Option<Timestamp>,
}

/// The parts of one upload.
#[derive(Debug, Default)]
pub(super) struct Parts {
    pub bytes: u64,
    pub newest: Option<Timestamp>,
}

pub(super) fn list(store: &S3Store, folders: &[&str]) -> Result<Vec<Unfinished>, StoreError> {
    let shared = &store.shared;
    shared.require_marker()?;
    let (here, doing) = (Arc::clone(shared), shared.doing("list uploads in", "the repository"));
    let uploads = wait(async move { here.client.uploads(&here.prefix).await })?;
    let mut found = Vec::new();
    for upload in uploads.map_err(|e| told(&doing, e))? {
        let Some(key) = upload.key.strip_prefix(&shared.prefix) else { continue };
        let wanted = !key.contains('/') || folders.iter().any(|folder| key.starts_with(folder));
        if wanted && check_key(key).is_ok() {
            found.extend(look(shared, key, &upload.id, upload.begun)?);
        }
    }
    found.sort_unstable_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
    Ok(found)
}

/// One as it is now; `None` where it has ended.
fn look(
    shared: &Arc<Shared>,
    key: &str,
    id: &str,
    begun: Option<Timestamp>,
) -> Result<Option<Unfinished>, StoreError> {
    let (here, whole, upload) = (Arc::clone(shared), shared.whole(key), id.to_owned());
    let parts = match wait(async move { here.client.parts(&whole, &upload).await })? {
        Ok(parts) => parts,
        Err(e) if e.code == "NoSuchUpload" => return Ok(None),
        Err(e) => return Err(told(&shared.doing("look at the upload of", key), e)),
    };
    let active = parts.newest.max(begun);
    Ok(Some(Unfinished {
        key: key.to_owned(),
        id: id.to_owned(),
        bytes: parts.bytes,
        active: active.unwrap_or(Timestamp::MAX),
        // Without a time nothing tells whether its writer is gone.
        held: active.is_none(),
    }))
}

pub(super) fn discard(store: &S3Store, one: &Unfinished) -> Result<bool, StoreError> {
    let shared = &store.shared;
    check_key(&one.key)?;
    if one.key == MARKER {
        let what = format!("{MARKER} makes the place a repository; it is left alone");
        return Err(StoreError::new(StoreFault::Denied, what));
    }
    // When it was begun does not change; that a part came since does.
    match look(shared, &one.key, &one.id, Some(one.active))? {
        Some(now) if now == *one => {}
        _ => return Ok(false),
    }
    let (here, whole, id) = (Arc::clone(shared), shared.whole(&one.key), one.id.clone());
    match wait(async move { here.client.abort(&whole, &id).await })? {
        Ok(()) => Ok(true),
        Err(e) if e.code == "NoSuchUpload" => Ok(false),
        Err(e) => Err(told(&shared.doing("abort the upload of", &one.key), e)),
    }
}

/// A page that does not say where the next begins.
pub(super) fn endless() -> Failure {
    let what = "the server says that there is more, and not where it goes on";
    Failure::new(StoreFault::Unavailable, Again::Never, what)
}
