//! An upload in parts: begun, sent, put together or thrown away, and those that never ended. Owns the
//! requests and what proves that the parts arrived; how large a part is, the writer says.

use super::super::retry::{Again, Failure, Tries};
use super::super::unfinished::{Parts, Upload, endless};
use super::put::{is_another_digest, signed_by, stream_of};
use super::{Client, StoreFault, Written, md5, unquoted};
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use rusoto_s3::{
    AbortMultipartUploadRequest, CompleteMultipartUploadRequest, CompletedMultipartUpload,
    CompletedPart, CreateMultipartUploadRequest, ListMultipartUploadsRequest, ListPartsRequest, S3,
    UploadPartRequest,
};

/// A part that the server has.
#[derive(Debug, Clone)]
pub struct Part {
    pub number: i64,
    pub etag: String,
    pub md5: [u8; 16],
}

impl Client {
    /// Begins an upload in parts and gives its id.
    pub async fn begin(&self, key: &str, writer: &str) -> Result<String, Failure> {
        self.begin_locked(key, writer, true).await
    }

    /// As [`Client::begin`], without a retention: whoever may write and may not lock could begin it.
    pub async fn begin_unlocked(&self, key: &str, writer: &str) -> Result<String, Failure> {
        self.begin_locked(key, writer, false).await
    }

    async fn begin_locked(&self, key: &str, writer: &str, lock: bool) -> Result<String, Failure> {
        let begun = self
            .call(false, &mut false, |client| {
                let lock = self.retention().filter(|_| lock);
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
}

/// The tag that S3 gives to an object that was put together from `parts`.
pub fn tag_of(parts: &[Part]) -> String {
    let all: Vec<u8> = parts.iter().flat_map(|part| part.md5).collect();
    format!("{}-{}", HEXLOWER.encode(&md5(&all)), parts.len())
}
