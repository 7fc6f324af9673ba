//! The few requests of S3 that a store needs, through rusoto, each tried again where that may help.
//! Knows buckets and whole keys; what an absent object proves is the store's to say.

use super::super::{Hold, StoreError, StoreFault};
use super::credentials::KeyRing;
use super::dispatch::{Call, Line};
use super::retry::{Again, Failure, Tries};
use super::transport::Transport;
use super::unfinished::{Parts, Upload, endless};
use crate::engine::config::ObjectLock;
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use futures_util::StreamExt;
use jiff::{SignedDuration, Timestamp};
use md5::{Digest, Md5};
use rusoto_core::{ByteStream, Region, RusotoError};
use rusoto_s3::{
    AbortMultipartUploadRequest, CompleteMultipartUploadRequest, CompletedMultipartUpload,
    CompletedPart, CreateMultipartUploadRequest, DeleteObjectRequest, GetObjectRequest,
    HeadObjectRequest, ListMultipartUploadsRequest, ListObjectsV2Output, ListObjectsV2Request,
    ListPartsRequest, PutObjectRequest, S3, S3Client, UploadPartRequest,
};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

/// The user metadata that says which writer an object comes from.
const WRITER: &str = "lifeboat-writer";
/// A piece of a body that came before the connection broke is worth as many tries again.
const WORTH: u64 = 64 << 10;

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

/// A part that the server has.
#[derive(Debug, Clone)]
pub struct Part {
    pub number: i64,
    pub etag: String,
    pub md5: [u8; 16],
}

/// What became of a write under a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The server's tag is the digest of what was sent.
    pub proven: bool,
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

    /// Gives the object's bytes from `start` on, `length` of them or all, to `sink`, in order.
    /// Where the connection breaks in the middle it goes on from there.
    ///
    /// # Errors
    /// Where they are not all there. What `sink` has got then is good, and not all.
    pub async fn get(
        &self,
        key: &str,
        start: u64,
        length: Option<u64>,
        sink: &mut (dyn FnMut(Bytes) + Send),
    ) -> Result<(), Failure> {
        let mut tries = Tries::new(self.tries);
        let (mut at, mut end) = (start, length.map(|length| start.saturating_add(length)));
        let mut tag = None;
        loop {
            let before = at;
            match self.get_once(key, &mut at, &mut end, &mut tag, sink).await {
                Ok(()) => return Ok(()),
                Err(failure) => {
                    if at - before >= WORTH {
                        tries.refresh();
                    }
                    self.pause(&mut tries, failure, false).await?;
                }
            }
        }
    }

    async fn get_once(
        &self,
        key: &str,
        at: &mut u64,
        end: &mut Option<u64>,
        tag: &mut Option<String>,
        sink: &mut (dyn FnMut(Bytes) + Send),
    ) -> Result<(), Failure> {
        if end.is_some_and(|end| *at >= end) {
            return Ok(());
        }
        let from = *at;
        let range = match *end {
            Some(end) => Some(format!("bytes={from}-{}", end.saturating_sub(1))),
            None if from > 0 => Some(format!("bytes={from}-")),
            None => None,
        };
        let asked = range.is_some();
        let act = |client: S3Client| {
            let (bucket, key, range) = (self.bucket.clone(), key.to_owned(), range.clone());
            async move {
                client
                    .get_object(GetObjectRequest { bucket, key, range, ..Default::default() })
                    .await
            }
        };
        let answer = self.once(false, &act).await?;
        let broken = |again, what: &str| Failure::new(StoreFault::Unavailable, again, what);
        let first = answer.content_range.as_deref().and_then(first_byte).unwrap_or(0);
        if first != from || (asked && answer.content_range.is_none() && from > 0) {
            return Err(broken(
                Again::Never,
                "the server sent another range than it was asked for",
            ));
        }
        // A connection that broke must not go on in another object's bytes.
        let now = unquoted(answer.e_tag);
        match tag {
            Some(before) if !now.is_empty() && *before != now => {
                return Err(broken(Again::Never, "the object was changed while it was read"));
            }
            _ => *tag = Some(now),
        }
        if end.is_none()
            && let Some(length) = answer.content_length.and_then(|l| u64::try_from(l).ok())
        {
            *end = Some(from.saturating_add(length));
        }
        let Some(mut body) = answer.body else {
            return Err(broken(Again::Soon, "the server sent no body"));
        };
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|e| {
                Failure::new(
                    StoreFault::of(&e),
                    Again::Soon,
                    format!("the object's body broke off: {e}"),
                )
            })?;
            let room = end.map_or(u64::MAX, |end| end.saturating_sub(*at));
            let take = usize::try_from(room).unwrap_or(usize::MAX).min(piece.len());
            *at = at.saturating_add(take as u64);
            sink(piece.slice(..take));
        }
        match *end {
            // A whole answer that is shorter than the range: the object ends there.
            Some(end)
                if *at < end && answer.content_length.is_some_and(|l| l as u64 == *at - from) =>
            {
                Err(broken(Again::Never, "the object is too short"))
            }
            Some(end) if *at < end => Err(broken(Again::Soon, "the object's body broke off")),
            _ => Ok(()),
        }
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

    /// Writes an object in one request, which must not be there.
    ///
    /// # Errors
    /// [`StoreFault::Exists`] where it is there and is not what this writer sent.
    pub async fn put(&self, key: &str, content: Bytes, writer: &str) -> Result<Written, Failure> {
        let digest = md5(&content);
        let mut doubt = false;
        let put = self
            .call(true, &mut doubt, |client| {
                let lock = self.retention();
                let request = PutObjectRequest {
                    bucket: self.bucket.clone(),
                    key: key.to_owned(),
                    content_md5: Some(BASE64.encode(&digest)),
                    body: Some(stream_of(&content)),
                    metadata: Some(signed_by(writer)),
                    object_lock_mode: lock.as_ref().map(|(mode, _)| mode.clone()),
                    object_lock_retain_until_date: lock.map(|(_, until)| until),
                    ..Default::default()
                };
                async move { client.put_object(request).await }
            })
            .await;
        let hex = HEXLOWER.encode(&digest);
        match put {
            Ok(answer) => {
                let tag = unquoted(answer.e_tag);
                if answer.server_side_encryption.is_none() && is_another_digest(&tag, &hex) {
                    let what = format!(
                        "the server took {key}, but its tag is not the digest of what was sent; \
                         what it has under that name is not to be trusted"
                    );
                    return Err(Failure::new(StoreFault::Unavailable, Again::Never, what));
                }
                Ok(Written { proven: tag == hex })
            }
            Err(failure) if doubt => {
                self.settle_doubt(key, writer, content.len() as u64, &hex, failure).await
            }
            Err(failure) => Err(failure),
        }
    }

    /// Begins an upload in parts and gives its id.
    pub async fn begin(&self, key: &str, writer: &str) -> Result<String, Failure> {
        let begun = self
            .call(false, &mut false, |client| {
                let lock = self.retention();
                let request = CreateMultipartUploadRequest {
                    bucket: self.bucket.clone(),
                    key: key.to_owned(),
                    metadata: Some(signed_by(writer)),
                    object_lock_mode: lock.as_ref().map(|(mode, _)| mode.clone()),
                    object_lock_retain_until_date: lock.map(|(_, until)| until),
                    ..Default::default()
                };
                async move { client.create_multipart_upload(request).await }
            })
            .await?;
        begun.upload_id.filter(|id| !id.is_empty()).ok_or_else(|| {
            let what = "the server gave no id for an upload in parts";
            Failure::new(StoreFault::Unavailable, Again::Never, what)
        })
    }

    pub async fn part(
        &self,
        key: &str,
        upload: &str,
        number: i64,
        content: Bytes,
    ) -> Result<Part, Failure> {
        let md5 = md5(&content);
        let hex = HEXLOWER.encode(&md5);
        let mut tries = Tries::new(self.tries);
        loop {
            let sent = self
                .call(false, &mut false, |client| {
                    let request = UploadPartRequest {
                        bucket: self.bucket.clone(),
                        key: key.to_owned(),
                        upload_id: upload.to_owned(),
                        part_number: number,
                        content_md5: Some(BASE64.encode(&md5)),
                        body: Some(stream_of(&content)),
                        ..Default::default()
                    };
                    async move { client.upload_part(request).await }
                })
                .await?;
            let Some(etag) = sent.e_tag else {
                let what = format!("the server took part {number} without a receipt");
                return Err(Failure::new(StoreFault::Unavailable, Again::Never, what));
            };
            if sent.server_side_encryption.is_none()
                && is_another_digest(etag.trim_matches('"'), &hex)
            {
                let what = format!("the server's tag of part {number} is not the digest of it");
                tries.pause(Failure::new(StoreFault::Unavailable, Again::Soon, what)).await?;
                continue;
            }
            return Ok(Part { number, etag, md5 });
        }
    }

    /// Puts the parts together under their name, which must not be taken.
    ///
    /// # Errors
    /// [`StoreFault::Exists`] where it is, by something else than these parts.
    pub async fn complete(
        &self,
        key: &str,
        upload: &str,
        parts: &[Part],
        size: u64,
        writer: &str,
    ) -> Result<Written, Failure> {
        let mut doubt = false;
        let completed = self
            .call(true, &mut doubt, |client| {
                let parts = parts.iter().map(|part| CompletedPart {
                    e_tag: Some(part.etag.clone()),
                    part_number: Some(part.number),
                });
                let request = CompleteMultipartUploadRequest {
                    bucket: self.bucket.clone(),
                    key: key.to_owned(),
                    upload_id: upload.to_owned(),
                    multipart_upload: Some(CompletedMultipartUpload {
                        parts: Some(parts.collect()),
                    }),
                    ..Default::default()
                };
                async move { client.complete_multipart_upload(request).await }
            })
            .await;
        let expected = tag_of(parts);
        let failure = match completed.map(|answer| unquoted(answer.e_tag)) {
            Ok(etag) if etag == expected => return Ok(Written { proven: true }),
            Ok(etag) if !etag.is_empty() => return Ok(Written { proven: false }),
            // Without a tag nothing says that it was done.
            Ok(_) => Failure::new(
                StoreFault::Unavailable,
                Again::Never,
                "the server put the parts together without a receipt",
            ),
            Err(failure) if doubt || failure.code == "NoSuchUpload" => failure,
            Err(failure) => return Err(failure),
        };
        self.settle_doubt(key, writer, size, &expected, failure).await
    }

    pub async fn abort(&self, key: &str, upload: &str) -> Result<(), Failure> {
        self.call(false, &mut false, |client| {
            let request = AbortMultipartUploadRequest {
                bucket: self.bucket.clone(),
                key: key.to_owned(),
                upload_id: upload.to_owned(),
                ..Default::default()
            };
            async move { client.abort_multipart_upload(request).await }
        })
        .await
        .map(drop)
    }

    /// Uploads in parts below `prefix` that have not ended.
    pub async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, Failure> {
        let mut uploads = Vec::new();
        let (mut key_marker, mut upload_id_marker) = (None::<String>, None::<String>);
        loop {
            let page = self
                .call(false, &mut false, |client| {
                    let request = ListMultipartUploadsRequest {
                        bucket: self.bucket.clone(),
                        prefix: Some(prefix.to_owned()),
                        key_marker: key_marker.clone(),
                        upload_id_marker: upload_id_marker.clone(),
                        ..Default::default()
                    };
                    async move { client.list_multipart_uploads(request).await }
                })
                .await?;
            for upload in page.uploads.into_iter().flatten() {
                let begun = upload.initiated.and_then(|at| at.parse().ok());
                if let (Some(key), Some(id)) = (upload.key, upload.upload_id) {
                    uploads.push(Upload { key, id, begun });
                }
            }
            if page.is_truncated != Some(true) {
                return Ok(uploads);
            }
            let next = (page.next_key_marker, page.next_upload_id_marker);
            if next.0.is_none() || next == (key_marker, upload_id_marker) {
                return Err(endless());
            }
            (key_marker, upload_id_marker) = next;
        }
    }

    /// What the server has of an upload in parts.
    pub async fn parts(&self, key: &str, upload: &str) -> Result<Parts, Failure> {
        let mut found = Parts::default();
        let mut after = None;
        loop {
            let page = self
                .call(false, &mut false, |client| {
                    let request = ListPartsRequest {
                        bucket: self.bucket.clone(),
                        key: key.to_owned(),
                        upload_id: upload.to_owned(),
                        part_number_marker: after,
                        ..Default::default()
                    };
                    async move { client.list_parts(request).await }
                })
                .await?;
            for part in page.parts.into_iter().flatten() {
                found.bytes += part.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0);
                found.newest = found.newest.max(part.last_modified.and_then(|at| at.parse().ok()));
            }
            if page.is_truncated != Some(true) {
                return Ok(found);
            }
            if page.next_part_number_marker.is_none() || page.next_part_number_marker == after {
                return Err(endless());
            }
            after = page.next_part_number_marker;
        }
    }

    /// A write that failed, or was told that the name is taken, after a try whose answer was lost:
    /// is what is there now our own?
    async fn settle_doubt(
        &self,
        key: &str,
        writer: &str,
        size: u64,
        etag: &str,
        failure: Failure,
    ) -> Result<Written, Failure> {
        match self.head(key).await {
            Ok(found) if found.size == size => {
                let same = !found.opaque && found.etag == etag;
                if same || found.writer.as_deref() == Some(writer) {
                    return Ok(Written { proven: same });
                }
                Err(failure)
            }
            _ => Err(failure),
        }
    }

    /// The mode, and until when.
    fn retention(&self) -> Option<(String, String)> {
        let lock = self.lock?;
        let until = Timestamp::now()
            .checked_add(SignedDuration::from_hours(i64::from(lock.days) * 24))
            .unwrap_or(Timestamp::MAX);
        Some((lock.mode.as_str().to_owned(), until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
    }
}

/// As the store's caller hears it; `doing` such as "write wal-archive/… to s3://…".
pub fn told(doing: &str, failure: Failure) -> StoreError {
    StoreError::of_bucket(failure.fault, format!("could not {doing}: {}", failure.what))
}

/// The tag that S3 gives to an object that was put together from `parts`.
pub fn tag_of(parts: &[Part]) -> String {
    let all: Vec<u8> = parts.iter().flat_map(|part| part.md5).collect();
    format!("{}-{}", HEXLOWER.encode(&md5(&all)), parts.len())
}

fn signed_by(writer: &str) -> HashMap<String, String> {
    HashMap::from([(WRITER.to_owned(), writer.to_owned())])
}

fn stream_of(content: &Bytes) -> ByteStream {
    let (piece, size) = (content.clone(), content.len());
    ByteStream::new_with_size(futures_util::stream::once(async { Ok(piece) }), size)
}

fn unquoted(etag: Option<String>) -> String {
    etag.map(|etag| etag.trim_matches('"').to_owned()).unwrap_or_default()
}

/// Whether a tag has the form of a digest and is not this one. Tags of other forms say nothing, and
/// neither do those of what the server has encrypted.
fn is_another_digest(tag: &str, digest: &str) -> bool {
    tag.len() == digest.len() && tag.bytes().all(|b| b.is_ascii_hexdigit()) && tag != digest
}

/// From `bytes 7-9/10`.
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
