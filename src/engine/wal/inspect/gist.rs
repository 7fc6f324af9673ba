//! One segment, boiled down without any other, while it is read. Owns its form in memory, which
//! is packed: a segment of small transactions unfolds to many times its gist. Never holds more of
//! the segment than a page, nor more than a stretch of it unfolded.

use super::catalog::CatalogFiles;
use super::digest::{Digest, Digester};
use super::error::InspectError;
use super::reader::{Edges, Fed, Reader};
use super::source::Content;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::postgres::Lsn;
use crate::engine::wal::Segment;
use serde::{Deserialize, Serialize};

/// Bytes of WAL that are unfolded at once.
const STRETCH: u64 = 1 << 20;

/// One segment, boiled down without any other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gist {
    pub version: u32,
    pub system_identifier: Option<u64>,
    pub edges: Edges,
    /// In the log's order.
    pub stretches: Vec<Stretch>,
    /// End of the last whole record that counts.
    pub end: Option<Lsn>,
    /// Where reading ended: behind the segment where that is full or was switched.
    pub reached: Lsn,
    pub outcome: Outcome,
}

/// How reading a segment ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    Whole,
    Ended(String),
    Damaged(Lsn, String),
}

/// A digest, packed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stretch(Vec<u8>);

impl Stretch {
    /// # Errors
    /// Where the digest cannot be packed, which would be a fault of Lifeboat.
    pub fn pack(digest: &Digest) -> Result<Self, InspectError> {
        postcard::to_stdvec(digest).map(Self).map_err(|e| fault(&e))
    }

    /// # Errors
    /// As [`Stretch::pack`].
    pub fn unpack(&self) -> Result<Digest, InspectError> {
        postcard::from_bytes(&self.0).map_err(|e| fault(&e))
    }
}

fn fault(error: &postcard::Error) -> InspectError {
    InspectError::Source(Explanation::new(
        Kind::Internal,
        format!("what WAL told could not be handed on: {error}"),
        "Nothing was changed; WAL was only read.",
        "Try again; if it stays, read without the cache: remove wal-cache in the state directory.",
    ))
}

/// Takes a segment's content as it comes, and becomes its gist.
#[derive(Debug)]
pub struct Boiler<'a> {
    segment: Segment,
    /// Bytes.
    size: u64,
    /// Segments of another cluster are refused.
    system_identifier: Option<u64>,
    /// What begins from here on belongs to another timeline's history.
    until: Option<Lsn>,
    catalogs: &'a CatalogFiles,
    reader: Reader,
    digester: Digester<'a>,
    /// Where the stretch ends that is being read.
    stretch_end: u64,
    stretches: Vec<Stretch>,
    end: Option<Lsn>,
    failed: Option<InspectError>,
}

impl<'a> Boiler<'a> {
    /// `size` in bytes. `catalogs` are the catalogs that were rewritten before.
    #[must_use]
    pub fn new(
        segment: Segment,
        size: u64,
        system_identifier: Option<u64>,
        until: Option<Lsn>,
        catalogs: &'a CatalogFiles,
    ) -> Self {
        let mut boiler = Self {
            segment,
            size,
            system_identifier,
            until,
            catalogs,
            reader: Reader::new(size, system_identifier),
            digester: Digester::new(catalogs),
            stretch_end: 0,
            stretches: Vec::new(),
            end: None,
            failed: None,
        };
        boiler.begin();
        boiler
    }

    /// The gist, once all of the segment was taken.
    ///
    /// # Errors
    /// Where the segment is another cluster's. A damaged one is an [`Outcome`].
    pub fn finish(mut self) -> Result<Gist, InspectError> {
        let fed = match self.failed.take() {
            Some(error) => Err(error),
            None => self.with_reader(|reader, sink| reader.close(sink)),
        };
        let outcome = match (fed, self.failed.take()) {
            (_, Some(e)) => return Err(e),
            (Ok(Fed::Whole), None) => Outcome::Whole,
            (Ok(Fed::Ended(stop)), None) => Outcome::Ended(stop.why),
            (Err(InspectError::Damaged { lsn, what }), None) => Outcome::Damaged(lsn, what),
            (Err(e), None) => return Err(e),
        };
        self.stretches.push(Stretch::pack(&self.digester.finish())?);
        let (version, system_identifier) = (self.reader.version(), self.reader.system_identifier());
        let reached = self.reader.end();
        let until = self.until;
        let mut edges = self.reader.edges();
        edges.tail = edges.tail.filter(|tail| until.is_none_or(|until| tail.start < until));
        let (stretches, end) = (self.stretches, self.end);
        Ok(Gist { version, system_identifier, edges, stretches, end, reached, outcome })
    }

    fn with_reader<T>(
        &mut self,
        work: impl FnOnce(&mut Reader, &mut dyn FnMut(&super::record::Record<'_>)) -> T,
    ) -> T {
        let Self { reader, digester, until, catalogs, stretch_end, stretches, end, failed, .. } =
            self;
        work(reader, &mut |record| {
            if until.is_some_and(|until| record.lsn >= until) {
                return;
            }
            digester.observe(record);
            *end = Some(record.end);
            if record.end.0 >= *stretch_end {
                *stretch_end = record.end.0.saturating_add(STRETCH);
                let whole = std::mem::replace(digester, Digester::new(catalogs));
                match Stretch::pack(&whole.finish()) {
                    Ok(stretch) => stretches.push(stretch),
                    Err(e) => *failed = Some(e),
                }
            }
        })
    }
}

impl Content for Boiler<'_> {
    fn begin(&mut self) {
        let start = self.segment.start(self.size);
        self.reader = Reader::new(self.size, self.system_identifier);
        self.reader.begin(start);
        self.digester = Digester::new(self.catalogs);
        self.stretch_end = start.0.saturating_add(STRETCH);
        self.stretches.clear();
        self.end = None;
        self.failed = None;
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.failed.is_none()
            && let Err(e) = self.with_reader(|reader, sink| reader.push(bytes, sink))
        {
            self.failed = Some(e);
        }
    }
}
