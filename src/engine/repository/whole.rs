//! What belongs to a base backup, and whether it is there as far as names and sizes tell. Owns the
//! one answer that retention, verification, copies and the policy page go by; reads no content.

use super::descriptor::SetDescriptor;
use super::store::{StoreError, StoreFault};
use super::wal_listing::WalFolder;
use super::{Repository, RepositoryError};
use crate::engine::postgres::Lsn;
use crate::engine::wal::{Segment, TimelineId};
use std::collections::BTreeSet;

/// How many segments are asked for at once.
const LISTED_AT_ONCE: usize = 4096;

/// The segments that make a base backup consistent, in order; or what is left of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnWal {
    next: Segment,
    last: Segment,
    /// Bytes of a segment.
    size: u64,
}

impl OwnWal {
    /// From `start` to `stop`, which is the first byte after the last record that is needed.
    #[must_use]
    pub fn between(timeline: TimelineId, start: Lsn, stop: Lsn, size: u64) -> Self {
        let last_byte = Lsn(stop.0.saturating_sub(1));
        Self {
            next: Segment::holding(timeline, start, size),
            last: Segment::holding(timeline, last_byte, size),
            size,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.last.number.saturating_add(1).saturating_sub(self.next.number)
    }

    /// From `segment` on.
    #[must_use]
    pub fn from(self, segment: Segment) -> Self {
        Self { next: segment, ..self }
    }

    /// Their names.
    pub fn names(self) -> impl Iterator<Item = String> {
        self.map(move |segment| segment.name(self.size))
    }

    /// Whether the segment of this name is one of them.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        let (first, last) = (self.next.name(self.size), self.last.name(self.size));
        self.count() > 0 && (first.as_str()..=last.as_str()).contains(&name)
    }

    /// The folders of the archive that they lie in.
    #[must_use]
    pub fn folders(&self) -> BTreeSet<WalFolder> {
        let mut folders = BTreeSet::new();
        let mut next = self.next;
        while next.number <= self.last.number {
            let name = next.name(self.size).get(..16).unwrap_or_default().to_owned();
            let folder = WalFolder { timeline: next.timeline, name };
            next = Segment { number: folder.numbers(self.size).1.saturating_add(1), ..next };
            folders.insert(folder);
        }
        folders
    }
}

impl Iterator for OwnWal {
    type Item = Segment;

    fn next(&mut self) -> Option<Segment> {
        let segment = self.next;
        (segment.number <= self.last.number).then(|| {
            self.next = segment.next();
            segment
        })
    }
}

impl SetDescriptor {
    /// The WAL without which this backup cannot be used.
    #[must_use]
    pub fn own_wal(&self) -> OwnWal {
        OwnWal::between(self.timeline, self.start_lsn, self.stop_lsn, self.segment_size)
    }

    /// What sizes say against the objects: the first that is missing or of another length, as a
    /// clause. `size_of` gives an object's stored bytes, or `None` where it is not there.
    ///
    /// # Errors
    /// Those of `size_of`.
    pub fn fault_of_objects<E>(
        &self,
        mut size_of: impl FnMut(&str) -> Result<Option<u64>, E>,
    ) -> Result<Option<String>, E> {
        for object in &self.objects {
            let (name, expected) = (&object.name, object.size);
            match size_of(name)? {
                None => return Ok(Some(format!("{name} is missing"))),
                Some(size) if size == expected => {}
                Some(size) => {
                    return Ok(Some(format!("{name} is {size} bytes long instead of {expected}")));
                }
            }
        }
        Ok(None)
    }
}

impl Repository {
    /// Stored bytes of an object; `None` where the store proves that it is not there.
    ///
    /// # Errors
    /// Where the store could not be asked.
    pub fn size_of(&self, name: &str) -> Result<Option<u64>, StoreError> {
        match self.store.size(name) {
            Ok(size) => Ok(Some(size)),
            Err(e) if e.fault == StoreFault::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The first of these segments that the archive does not list; `None` where all are there.
    ///
    /// # Errors
    /// Where the archive could not be listed.
    pub fn first_missing(&self, wal: OwnWal) -> Result<Option<Segment>, RepositoryError> {
        let mut left = wal;
        while left.count() > 0 {
            let before = left.next;
            let name = before.name(left.size);
            for object in self.list_wal(before.timeline, &name, LISTED_AT_ONCE)? {
                if left.count() == 0 || object.name != left.next.name(left.size) {
                    break;
                }
                left.next = left.next.next();
            }
            if left.next == before {
                return Ok(Some(before));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;

    const MB: u64 = 1 << 20;

    #[test]
    fn the_own_wal_ends_with_the_last_byte_before_the_stop() {
        let wal = |start, stop| OwnWal::between(2, Lsn(start), Lsn(stop), 16 * MB);
        assert_eq!(wal(0, 16 * MB).count(), 1);
        assert_eq!(wal(0, 16 * MB + 1).count(), 2);
        let across = wal(255 * 16 * MB, 257 * 16 * MB);
        let names: Vec<String> = across.names().collect();
        assert_eq!(names, ["0000000200000000000000FF", "000000020000000100000000"]);
        assert!(across.holds(&names[1]) && !across.holds("000000020000000100000001"));
        let folders: Vec<String> = across.folders().into_iter().map(|f| f.name).collect();
        assert_eq!(folders, ["0000000200000000", "0000000200000001"]);
    }

    #[test]
    fn the_first_segment_that_is_missing_is_named() {
        let place = Place::plain();
        let repository = place.repository();
        let wal = OwnWal::between(1, Lsn(MB), Lsn(5 * MB), MB);
        let missing = || repository.first_missing(wal).unwrap().map(|one| one.number);
        assert_eq!(missing(), Some(1));
        for number in [1_u64, 2, 4, 5] {
            let segment = Segment { timeline: 1, number };
            repository.put_wal(&segment.name(MB), b"content").unwrap();
        }
        assert_eq!(missing(), Some(3));
        repository.put_wal(&Segment { timeline: 1, number: 3 }.name(MB), b"content").unwrap();
        assert_eq!(missing(), None);
    }
}
