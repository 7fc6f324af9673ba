//! The few requests of S3 that a store needs, through rusoto, each tried again where that may help.
//! Knows buckets and whole keys; what an absent object proves is the store's to say.

mod get;
mod parts;
mod put;

pub use parts::Part;
pub use put::Written;

use super::super::{Hold, StoreError, StoreFault};
use super::credentials::KeyRing;
use super::dispatch::{Call, Line};
use super::retry::{Again, Failure, Tries};
use super::transport::Transport;
use crate::engine::config::ObjectLock;
use md5::{Digest, Md5};
use rusoto_core::{Region, RusotoError};
use rusoto_s3::{
    DeleteObjectRequest, HeadObjectRequest, ListObjectsV2Output, ListObjectsV2Request, S3, S3Client,
};
use std::sync::atomic::{AtomicBool, Ordering};

/// The user metadata that says which writer an object comes from.
const WRITER: &str = "lifeboat-writer";

/// A bucket at a server.
#[derive(Debug)]
pub struct Client {
    pub transport: Transport,
    pub keys: KeyRing,
    pub region: Region,
    pub bucket: String,
    pub lock: Option<ObjectLock>,
    /// How often one request is tried.
    pub tries: u32,
    /// False once the server said that it knows no conditional writes.
    pub conditional: AtomicBool,
}

/// What is known of an object without reading it.
#[derive(Debug, Clone)]
pub struct Head {
    pub size: u64,
    /// Without quotes.
    pub etag: String,
    pub writer: Option<String>,
    /// Its tag is no digest of its content: the server has encrypted it with a key of its own.
    pub opaque: bool,
    /// Where the bucket keeps versions.
    pub version: Option<String>,
    /// Object Lock's word, where the server tells it.
    pub hold: Option<Hold>,
}

pub fn md5(bytes: &[u8]) -> [u8; 16] {
    Md5::digest(bytes).into()
}

impl Client {
    /// One request, tried again where that may help. `doubt` is set where a try may have taken
    /// effect although it failed.
    async fn call<T, E, F, Fut>(&self, write: bool, doubt: &mut bool, act: F) -> Result<T, Failure>
    where
        E: std::error::Error + 'static,
        F: Fn(S3Client) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, RusotoError<E>>> + Send,
        T: Send,
    {
        let mut tries = Tries::new(self.tries);
        loop {
            match self.once(write, &act).await {
                Ok(done) => return Ok(done),
                Err(failure) => {
                    *doubt |= failure.leaves_doubt();
                    self.pause(&mut tries, failure, write).await?;
                }
            }
        }
    }

    async fn pause(&self, tries: &mut Tries, failure: Failure, write: bool) -> Result<(), Failure> {
        if failure.again == Again::Unconditional
            && !(write && self.conditional.swap(false, Ordering::Relaxed))
        {
            return Err(failure);
        }
        tries.pause(failure).await
    }

    async fn once<T, E, F, Fut>(&self, write: bool, act: &F) -> Result<T, Failure>
    where
        E: std::error::Error + 'static,
        F: Fn(S3Client) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, RusotoError<E>>> + Send,
    {
        let keys = self.keys.current().await?;
        let call = Call::new(&self.transport, write && self.conditional.load(Ordering::Relaxed));
        let client = S3Client::new_with(Line(call.clone()), keys.clone(), self.region.clone());
        let error = match act(client).await {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let failure = match (call.heard(), error) {
            (Some(heard), _) => Failure::of(&heard),
            (None, RusotoError::HttpDispatch(error)) => {
                Failure::new(StoreFault::Unavailable, Again::Never, error.to_string())
            }
            (None, error) => {
                let what = format!("the server's answer makes no sense: {error}");
                Failure::new(StoreFault::Unavailable, Again::Soon, what)
            }
        };
        if failure.again == Again::Renewed {
            self.keys.forget(&keys).await;
        }
        Err(failure)
    }

    /// # Errors
    /// [`StoreFault::NotFound`] also where the bucket itself is missing: a HEAD does not say.
    pub async fn head(&self, key: &str) -> Result<Head, Failure> {
        let head = self
            .call(false, &mut false, |client| async move {
                let (bucket, key) = (self.bucket.clone(), key.to_owned());
                client.head_object(HeadObjectRequest { bucket, key, ..Default::default() }).await
            })
            .await?;
        let size = head.content_length.and_then(|size| u64::try_from(size).ok());
        let size = size.ok_or_else(|| {
            let what = "the server did not say how long the object is";
            Failure::new(StoreFault::Unavailable, Again::Never, what)
        })?;
        Ok(Head {
            size,
            etag: unquoted(head.e_tag),
            writer: head.metadata.and_then(|mut all| all.remove(WRITER)),
            opaque: head.server_side_encryption.is_some_and(|kind| kind != "AES256"),
            version: head.version_id.filter(|version| version != "null"),
            hold: head
                .object_lock_mode
                .zip(head.object_lock_retain_until_date)
                .and_then(|(mode, until)| Some(Hold { mode, until: until.parse().ok()? })),
        })
    }

    /// Removes an object: in a bucket with versions its newest version, not merely its name, so
    /// that a lock on it is heard.
    pub async fn remove(&self, key: &str) -> Result<(), Failure> {
        let version = self.head(key).await?.version;
        self.call(false, &mut false, |client| {
            let request = DeleteObjectRequest {
                bucket: self.bucket.clone(),
                key: key.to_owned(),
                version_id: version.clone(),
                ..Default::default()
            };
            async move { client.delete_object(request).await }
        })
        .await
        .map(drop)
    }

    /// One page of a listing.
    pub async fn list(
        &self,
        prefix: &str,
        delimiter: Option<&str>,
        token: Option<String>,
        most: Option<i64>,
    ) -> Result<ListObjectsV2Output, Failure> {
        self.call(false, &mut false, |client| {
            let request = ListObjectsV2Request {
                bucket: self.bucket.clone(),
                prefix: Some(prefix.to_owned()),
                delimiter: delimiter.map(str::to_owned),
                continuation_token: token.clone(),
                max_keys: most,
                ..Default::default()
            };
            async move { client.list_objects_v2(request).await }
        })
        .await
    }
}

/// As the store's caller hears it; `doing` such as "write wal-archive/… to s3://…".
pub fn told(doing: &str, failure: Failure) -> StoreError {
    StoreError::of_bucket(failure.fault, format!("could not {doing}: {}", failure.what))
}

fn unquoted(etag: Option<String>) -> String {
    etag.map(|etag| etag.trim_matches('"').to_owned()).unwrap_or_default()
}
