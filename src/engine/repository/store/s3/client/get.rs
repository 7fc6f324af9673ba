//! Bytes of an object, in order. Owns going on where a connection broke, and never in another
//! object's bytes; what came is all there or an error.

use super::super::retry::{Again, Failure, Tries};
use super::{Client, StoreFault, unquoted};
use bytes::Bytes;
use futures_util::StreamExt;
use rusoto_s3::{GetObjectRequest, S3, S3Client};

/// A piece of a body that came before the connection broke is worth as many tries again.
const WORTH: u64 = 64 << 10;

impl Client {
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
}

/// From `bytes 7-9/10`.
fn first_byte(range: &str) -> Option<u64> {
    range.strip_prefix("bytes ")?.split('-').next()?.trim().parse().ok()
}
