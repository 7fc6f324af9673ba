//! An object written in one request, and what every write has in common: whose it is, how long it is
//! locked, and what became of it where the answer was lost. Never overwrites.

use super::super::retry::{Again, Failure};
use super::{Client, StoreFault, WRITER, md5, unquoted};
use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use jiff::{SignedDuration, Timestamp};
use rusoto_core::ByteStream;
use rusoto_s3::{PutObjectRequest, S3};
use std::collections::HashMap;

/// What became of a write under a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// The server's tag is the digest of what was sent.
    pub proven: bool,
}

impl Client {
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

    /// A write that failed, or was told that the name is taken, after a try whose answer was lost:
    /// is what is there now our own?
    pub(super) async fn settle_doubt(
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
    pub(super) fn retention(&self) -> Option<(String, String)> {
        let lock = self.lock?;
        let until = Timestamp::now()
            .checked_add(SignedDuration::from_hours(i64::from(lock.days) * 24))
            .unwrap_or(Timestamp::MAX);
        Some((lock.mode.as_str().to_owned(), until.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
    }
}

pub(super) fn signed_by(writer: &str) -> HashMap<String, String> {
    HashMap::from([(WRITER.to_owned(), writer.to_owned())])
}

pub(super) fn stream_of(content: &Bytes) -> ByteStream {
    let (piece, size) = (content.clone(), content.len());
    ByteStream::new_with_size(futures_util::stream::once(async { Ok(piece) }), size)
}

/// Whether a tag has the form of a digest and is not this one. Tags of other forms say nothing, and
/// neither do those of what the server has encrypted.
pub(super) fn is_another_digest(tag: &str, digest: &str) -> bool {
    tag.len() == digest.len() && tag.bytes().all(|b| b.is_ascii_hexdigit()) && tag != digest
}
