//! A large range in pieces, several at the same time, and a listing page by page. Owns how they are
//! cut and asked for; what an absent object proves is [`super::shared`]'s.

use super::super::{StoreError, StoreFault, check_folder, check_key};
use super::S3Store;
use super::client::told;
use super::retry::{Again, Failure};
use super::runtime::{lost, spawn, wait};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use std::sync::Arc;
use std::sync::mpsc::channel;

/// A large range is read in pieces of this size, several at the same time.
const PIECE: u64 = 8 << 20;

impl S3Store {
    /// Reads `length` bytes from `start`, or all, and gives them to `take` with their place in the
    /// object, in any order.
    pub(super) fn fetch(
        &self,
        key: &str,
        start: u64,
        length: Option<u64>,
        mut take: impl FnMut(u64, &[u8]),
    ) -> Result<(), StoreError> {
        check_key(key)?;
        let shared = Arc::clone(&self.shared);
        let (whole, doing) = (shared.whole(key), shared.doing("read", key));
        // Without a bound of its own: the caller's buffer bounds it.
        let (send, pieces) = channel::<(u64, Bytes)>();
        let (result, _) = spawn(async move {
            let ranges = ranges(start, length);
            let (shared, whole, send) = (&shared, &whole, &send);
            futures_util::stream::iter(ranges)
                .map(|(from, length)| async move {
                    let mut at = from;
                    let mut sink = |piece: Bytes| {
                        let size = piece.len() as u64;
                        // The receiver is gone only where nobody waits any more.
                        let _ = send.send((at, piece));
                        at = at.saturating_add(size);
                    };
                    shared.client.get(whole, from, length, &mut sink).await
                })
                .buffer_unordered(shared.parallel)
                .try_collect::<()>()
                .await
        })?;
        for (at, piece) in pieces {
            take(at, &piece);
        }
        let result = result.recv().map_err(|_| lost())?;
        self.shared.proven(key, &doing, result)
    }

    /// Every page of a listing right under `folder`.
    pub(super) fn pages(
        &self,
        folder: &str,
        prefix: &str,
        mut each: impl FnMut(rusoto_s3::ListObjectsV2Output),
    ) -> Result<(), StoreError> {
        check_folder(folder)?;
        let place = if folder.is_empty() { "the repository" } else { folder };
        let doing = self.shared.doing("list", place);
        let whole = format!("{}{folder}{prefix}", self.shared.prefix);
        let mut token = None;
        loop {
            let (shared, whole, from) = (Arc::clone(&self.shared), whole.clone(), token.clone());
            let page =
                wait(async move { shared.client.list(&whole, Some("/"), from, None).await })?;
            let page = page.map_err(|e| told(&doing, e))?;
            let (more, next) = (page.is_truncated, page.next_continuation_token.clone());
            each(page);
            if more != Some(true) {
                return Ok(());
            }
            if next.is_none() || next == token {
                let what = "the server says that there is more, and not where it goes on";
                let failure = Failure::new(StoreFault::Unavailable, Again::Never, what);
                return Err(told(&doing, failure));
            }
            token = next;
        }
    }
}

/// The pieces of a range; one without an end where the length is not known.
fn ranges(start: u64, length: Option<u64>) -> Vec<(u64, Option<u64>)> {
    let Some(length) = length else { return vec![(start, None)] };
    let count = length.div_ceil(PIECE);
    let piece = |n: u64| (start.saturating_add(n * PIECE), Some(PIECE.min(length - n * PIECE)));
    (0..count).map(piece).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_cut_without_gaps() {
        for (start, length) in [(0, 1), (5, PIECE), (7, PIECE + 1), (0, 3 * PIECE + 17)] {
            let pieces = ranges(start, Some(length));
            let mut at = start;
            for (from, size) in pieces {
                assert_eq!(from, at);
                at += size.unwrap();
            }
            assert_eq!(at, start + length);
        }
        assert_eq!(ranges(9, None), [(9, None)]);
    }
}
