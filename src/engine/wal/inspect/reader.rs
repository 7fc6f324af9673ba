//! Turns segments, one after another, into records with a verified checksum. Owns pages, records
//! that cross pages and segments, and the end of the log; never interprets a record.

use super::bytes::{u8_at, u32_at, u64_at};
use super::error::InspectError;
use super::page::{PageHeader, PageStart};
use super::record::Record;
use crate::engine::postgres::Lsn;
use serde::{Deserialize, Serialize};

/// Bytes of a record's own header.
const HEADER: usize = 24;
/// No page is larger, bytes; the first page of a segment tells.
const LARGEST_PAGE: usize = 64 << 10;
/// No record is longer: PostgreSQL's own limit is a little under 1 GB.
const MAX_RECORD: u32 = 1 << 30;

/// What became of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fed {
    /// Read to its end; a record may go on in the next segment.
    Whole,
    /// The log ends in this segment.
    Ended(Stop),
}

/// Where and why the log ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stop {
    /// End of the last whole record.
    pub at: Lsn,
    pub why: String,
}

/// Reads a stream of WAL, segment by segment.
#[derive(Debug, Default)]
pub struct Reader {
    segment_size: u64,
    system_identifier: Option<u64>,
    page_size: usize,
    version: u32,
    /// Start of the record before, where one was read.
    previous: Option<Lsn>,
    /// End of the last whole record.
    end: Lsn,
    pending: Option<Pending>,
    scratch: Vec<u8>,
    /// Where the segment begins that is being read.
    start: Lsn,
    /// Bytes of it that were read.
    taken: u64,
    /// The begin of a page whose rest is to come.
    rest: Vec<u8>,
    /// How the segment ended, once that is known; what else comes of it is passed over.
    fed: Option<Fed>,
    head: Option<Head>,
    overwrites: bool,
    /// Start of the first record read, and of the one that it says was before it.
    first: Option<(Lsn, Lsn)>,
}

/// What a reader that began in the middle of the log found at its edges.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Edges {
    /// The rest of a record from before.
    pub head: Option<Head>,
    /// A record from before was given up: the server crashed in it.
    pub overwrites: bool,
    /// The begin of a record that goes on behind.
    pub tail: Option<Tail>,
    /// Start of the first whole record, and of the one that it says was before it.
    pub first: Option<(Lsn, Lsn)>,
    /// Start of the last whole record.
    pub last: Option<Lsn>,
}

/// The rest of a record that began earlier.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    pub bytes: Vec<u8>,
    /// Bytes that were to come, of which `bytes` are here.
    pub remaining: usize,
    /// Where the record ends, if it ends here.
    pub end: Lsn,
}

/// The begin of a record that ends later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    pub start: Lsn,
    /// Bytes of the whole record.
    pub total: usize,
    pub bytes: Vec<u8>,
}

/// A record whose end lies in a later page.
#[derive(Debug)]
struct Pending {
    start: Lsn,
    total: usize,
}

impl Reader {
    /// `segment_size` in bytes. Segments of another cluster than `system_identifier` are refused.
    #[must_use]
    pub fn new(segment_size: u64, system_identifier: Option<u64>) -> Self {
        Self { segment_size, system_identifier, ..Self::default() }
    }

    /// Major version of the server that wrote what was read so far; 0 before anything was.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// End of the last whole record.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// Identifier of the cluster that wrote what was read, once anything was.
    #[must_use]
    pub fn system_identifier(&self) -> Option<u64> {
        self.system_identifier
    }

    /// What was cut off at both ends of what was read.
    #[must_use]
    pub fn edges(self) -> Edges {
        let (scratch, overwrites) = (self.scratch, self.overwrites);
        let tail = self.pending.map(|p| Tail { start: p.start, total: p.total, bytes: scratch });
        Edges { head: self.head, overwrites, tail, first: self.first, last: self.previous }
    }

    /// Reads the segment that begins at `start`, which must follow the one before. Each whole
    /// record goes to `sink`, in order.
    ///
    /// # Errors
    /// [`InspectError::Damaged`] and [`InspectError::Foreign`], naming the LSN.
    pub fn feed(
        &mut self,
        segment: &[u8],
        start: Lsn,
        sink: &mut (impl FnMut(&Record<'_>) + ?Sized),
    ) -> Result<Fed, InspectError> {
        self.begin(start);
        self.push(segment, sink)?;
        self.close(sink)
    }

    /// Begins the segment at `start`; its content comes by [`Reader::push`], its end by
    /// [`Reader::close`].
    pub fn begin(&mut self, start: Lsn) {
        if self.end < start && self.pending.is_none() {
            self.end = start;
        }
        self.start = start;
        self.taken = 0;
        self.rest.clear();
        self.fed = None;
    }

    /// Takes the next bytes of the segment, however many. Holds no more of them than a page.
    ///
    /// # Errors
    /// As [`Reader::feed`]; then nothing more may be pushed.
    pub fn push(
        &mut self,
        bytes: &[u8],
        sink: &mut (impl FnMut(&Record<'_>) + ?Sized),
    ) -> Result<(), InspectError> {
        let mut bytes = bytes;
        while !bytes.is_empty() && self.fed.is_none() {
            let wanted = self.wanted();
            if self.rest.is_empty() && bytes.len() >= wanted {
                let used = self.pages(bytes, false, sink)?;
                bytes = bytes.get(used..).unwrap_or_default();
                continue;
            }
            let (more, later) =
                bytes.split_at(bytes.len().min(wanted.saturating_sub(self.rest.len())));
            self.rest.extend_from_slice(more);
            bytes = later;
            if self.rest.len() >= wanted {
                let mut rest = std::mem::take(&mut self.rest);
                let used = self.pages(&rest, false, sink)?;
                rest.drain(..used);
                self.rest = rest;
            }
        }
        Ok(())
    }

    /// Ends the segment: all of its file was pushed.
    ///
    /// # Errors
    /// As [`Reader::feed`].
    pub fn close(
        &mut self,
        sink: &mut (impl FnMut(&Record<'_>) + ?Sized),
    ) -> Result<Fed, InspectError> {
        let rest = std::mem::take(&mut self.rest);
        self.pages(&rest, true, sink)?;
        Ok(match self.fed.take() {
            Some(fed) => fed,
            None if self.taken < self.segment_size => {
                self.ended("the segment's file is shorter than a segment")
            }
            None => Fed::Whole,
        })
    }

    /// Bytes without which the next page is not looked at.
    fn wanted(&self) -> usize {
        if self.taken == 0 { LARGEST_PAGE } else { self.page_size }
    }

    /// Reads the whole pages that `bytes` begins with; in the `last` bytes of a segment what is
    /// no whole page, too. Gives how many bytes it used.
    fn pages(
        &mut self,
        bytes: &[u8],
        last: bool,
        sink: &mut (impl FnMut(&Record<'_>) + ?Sized),
    ) -> Result<usize, InspectError> {
        let mut offset = 0;
        while self.fed.is_none() {
            let rest = bytes.get(offset..).unwrap_or_default();
            if rest.is_empty() || rest.len() < self.wanted() && !last {
                break;
            }
            let at = Lsn(self.start.0.saturating_add(self.taken));
            let header = match self.page(rest, at, self.taken == 0)? {
                Ok(header) => header,
                Err(why) => {
                    self.fed = Some(self.ended(why));
                    break;
                }
            };
            let Some(page) = rest.get(..self.page_size) else {
                self.fed = Some(self.ended("the segment's file is shorter than a segment"));
                break;
            };
            match self.records(page, at, &header, sink)? {
                Page::Whole => {}
                Page::Ended(why) => self.fed = Some(self.ended(why)),
                Page::Switched => {
                    self.end = Lsn(self.start.0.saturating_add(self.segment_size));
                    self.fed = Some(Fed::Whole);
                }
            }
            offset += self.page_size;
            self.taken += self.page_size as u64;
        }
        Ok(offset)
    }

    fn ended(&self, why: &str) -> Fed {
        Fed::Ended(Stop { at: self.end, why: why.to_owned() })
    }

    /// Judges a page by its header. The inner error says why the log ends here.
    fn page(
        &mut self,
        page: &[u8],
        at: Lsn,
        first: bool,
    ) -> Result<Result<PageHeader, &'static str>, InspectError> {
        let header = match PageHeader::parse(page) {
            PageStart::Header(header) => header,
            PageStart::Zero => return Ok(Err("nothing was written after it")),
            PageStart::Short => return Ok(Err("the segment's file is shorter than a segment")),
            PageStart::Unknown { magic } if first && self.version == 0 => {
                let what = format!("its first page has the unknown magic number {magic:04X}");
                return Err(InspectError::Foreign { lsn: at, what });
            }
            PageStart::Unknown { magic } => {
                let what = format!("the page has the unknown magic number {magic:04X}");
                return Err(InspectError::Damaged { lsn: at, what });
            }
        };
        if header.address != at {
            return Ok(Err("what follows is an older page of a reused file"));
        }
        if first {
            self.segment_header(&header, at)?;
        }
        if self.version != header.version {
            let what =
                format!("it was written by PostgreSQL {}, not {}", header.version, self.version);
            return Err(InspectError::Foreign { lsn: at, what });
        }
        Ok(Ok(header))
    }

    fn segment_header(&mut self, header: &PageHeader, at: Lsn) -> Result<(), InspectError> {
        let foreign = |what: String| Err(InspectError::Foreign { lsn: at, what });
        let Some(long) = header.long else {
            return foreign(String::from("its first page has no segment header"));
        };
        if u64::from(long.segment_size) != self.segment_size {
            return foreign(format!(
                "its segment size is {} bytes, the cluster's is {}",
                long.segment_size, self.segment_size
            ));
        }
        if !long.page_size.is_power_of_two()
            || !(512..=LARGEST_PAGE as u32).contains(&long.page_size)
        {
            return foreign(format!("its page size of {} bytes is impossible", long.page_size));
        }
        let expected = *self.system_identifier.get_or_insert(long.system_identifier);
        if expected != long.system_identifier {
            return foreign(format!(
                "it was written by the cluster {}, not {expected}",
                long.system_identifier
            ));
        }
        self.page_size = long.page_size as usize;
        if self.version == 0 {
            self.version = header.version;
        }
        Ok(())
    }

    fn records(
        &mut self,
        page: &[u8],
        page_start: Lsn,
        header: &PageHeader,
        sink: &mut (impl FnMut(&Record<'_>) + ?Sized),
    ) -> Result<Page, InspectError> {
        let lsn = |at: usize| Lsn(page_start.0.saturating_add(at as u64));
        let mut at = header.size();
        if header.continues_record {
            let remaining = header.remaining as usize;
            let here = remaining.min(page.len().saturating_sub(at));
            let part = page.get(at..at + here).unwrap_or_default();
            at += here;
            if let Some(pending) = &self.pending {
                if pending.total != self.scratch.len().saturating_add(remaining) {
                    return Err(damaged(
                        pending.start,
                        "its continuation has another length than the record says",
                    ));
                }
                self.scratch.extend_from_slice(part);
                if here == remaining {
                    let start = pending.start;
                    self.pending = None;
                    let whole = std::mem::take(&mut self.scratch);
                    let switched = self.emit(&whole, start, lsn(align(at)), sink);
                    self.scratch = whole;
                    if switched? {
                        return Ok(Page::Switched);
                    }
                }
            } else if self.previous.is_some() {
                return Err(damaged(lsn(0), "it continues a record that was never begun"));
            } else {
                self.skip(part, remaining, lsn(align(at)))
                    .ok_or_else(|| damaged(lsn(0), "it continues another record"))?;
            }
            if here < remaining {
                return Ok(Page::Whole);
            }
            at = align(at);
        } else if let Some(pending) = self.pending.take() {
            if !header.overwrites_record {
                // The log was cut within the record; what follows belongs to no record.
                return Err(damaged(pending.start, "the record is not continued on the next page"));
            }
            self.previous = None;
            self.end = lsn(at);
        } else if header.overwrites_record {
            self.overwrites = true;
            self.end = lsn(at);
        } else if self.head.as_ref().is_some_and(|h| h.bytes.len() < h.remaining) {
            return Err(damaged(lsn(0), "the record before it is not continued"));
        }
        while at + 8 <= page.len() {
            let total = u32_at(page, at).unwrap_or(0);
            if total == 0 {
                return Ok(Page::Ended("nothing was written after it"));
            }
            if (total as usize) < HEADER || total > MAX_RECORD {
                return Err(damaged(lsn(at), "the record's length is impossible"));
            }
            let total = total as usize;
            let Some(whole) = page.get(at..at + total) else {
                self.scratch.clear();
                self.scratch.extend_from_slice(page.get(at..).unwrap_or_default());
                self.pending = Some(Pending { start: lsn(at), total });
                return Ok(Page::Whole);
            };
            let next = align(at + total);
            if self.emit(whole, lsn(at), lsn(next), sink)? {
                return Ok(Page::Switched);
            }
            at = next;
        }
        Ok(Page::Whole)
    }

    /// Keeps the rest of a record that began before the first page read. `None` where it is not
    /// that of the page before.
    fn skip(&mut self, part: &[u8], remaining: usize, end: Lsn) -> Option<()> {
        let head =
            self.head.get_or_insert_with(|| Head { bytes: Vec::new(), remaining, end: Lsn(0) });
        if head.remaining != head.bytes.len().checked_add(remaining)? {
            return None;
        }
        head.bytes.extend_from_slice(part);
        head.end = end;
        Some(())
    }

    /// Checks a whole record and hands it on; says whether it ends the segment.
    fn emit(
        &mut self,
        whole: &[u8],
        start: Lsn,
        end: Lsn,
        sink: &mut (impl FnMut(&Record<'_>) + ?Sized),
    ) -> Result<bool, InspectError> {
        let (record, prev) = checked(whole, start, end, self.version)?;
        if self.previous.is_some_and(|previous| previous != prev) {
            return Err(damaged(start, "the record does not follow the one before it"));
        }
        self.first.get_or_insert((start, prev));
        self.previous = Some(start);
        self.end = end;
        sink(&record);
        Ok(record.is_switch())
    }
}

/// A whole record with its checksum verified, and the start of the record that it says was before.
///
/// # Errors
/// [`InspectError::Damaged`].
pub fn checked(
    whole: &[u8],
    start: Lsn,
    end: Lsn,
    version: u32,
) -> Result<(Record<'_>, Lsn), InspectError> {
    let (Some(head), Some(data), Some(stored), Some(xid), Some(prev), Some(info), Some(rmgr)) = (
        whole.get(..20),
        whole.get(HEADER..),
        u32_at(whole, 20),
        u32_at(whole, 4),
        u64_at(whole, 8),
        u8_at(whole, 16),
        u8_at(whole, 17),
    ) else {
        return Err(damaged(start, "the record is shorter than its header"));
    };
    if crc32c::crc32c_append(crc32c::crc32c(data), head) != stored {
        return Err(damaged(start, "the record's checksum does not match its content"));
    }
    Ok((Record { lsn: start, end, xid, info, rmgr, version, data }, Lsn(prev)))
}

enum Page {
    Whole,
    Ended(&'static str),
    Switched,
}

fn damaged(lsn: Lsn, what: &str) -> InspectError {
    InspectError::Damaged { lsn, what: what.to_owned() }
}

/// Records begin at multiples of eight.
fn align(at: usize) -> usize {
    at.saturating_add(7) & !7
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEGMENT: usize = 1 << 20;
    const PAGE: usize = 8192;
    const START: Lsn = Lsn(5 << 20);

    /// Segments of a log with records of these lengths of content, as a server writes them.
    fn written(contents: &[usize], segments: usize) -> Vec<Vec<u8>> {
        let mut log = Vec::new();
        let mut previous = 0_u64;
        let mut record = Vec::new();
        for (index, length) in contents.iter().enumerate() {
            begin_page(&mut log, 0);
            while !log.len().is_multiple_of(8) {
                log.push(0);
            }
            begin_page(&mut log, 0);
            let lsn = START.0 + log.len() as u64;
            record.clear();
            let total = u32::try_from(HEADER + length).unwrap();
            record.extend(total.to_le_bytes());
            record.extend(u32::try_from(index + 100).unwrap().to_le_bytes());
            record.extend(previous.to_le_bytes());
            record.extend([0, 11, 0, 0]);
            let data = vec![u8::try_from(index % 251).unwrap(); *length];
            let sum = crc32c::crc32c_append(crc32c::crc32c(&data), &record);
            record.extend(sum.to_le_bytes());
            record.extend(&data);
            previous = lsn;
            let mut rest = record.as_slice();
            while !rest.is_empty() {
                begin_page(&mut log, rest.len());
                let room = PAGE - log.len() % PAGE;
                let (now, later) = rest.split_at(room.min(rest.len()));
                log.extend(now);
                rest = later;
            }
        }
        assert!(log.len() <= SEGMENT * segments);
        log.resize(SEGMENT * segments, 0);
        log.chunks(SEGMENT).map(<[u8]>::to_vec).collect()
    }

    fn begin_page(log: &mut Vec<u8>, remaining: usize) {
        if !log.len().is_multiple_of(PAGE) {
            return;
        }
        let long = log.len().is_multiple_of(SEGMENT);
        let info = u16::from(remaining > 0 && !log.is_empty()) | if long { 2 } else { 0 };
        let address = START.0 + log.len() as u64;
        log.extend(0xD110_u16.to_le_bytes());
        log.extend(info.to_le_bytes());
        log.extend(1_u32.to_le_bytes());
        log.extend(address.to_le_bytes());
        log.extend(u32::try_from(remaining).unwrap().to_le_bytes());
        log.extend([0; 4]);
        if long {
            log.extend(42_u64.to_le_bytes());
            log.extend(u32::try_from(SEGMENT).unwrap().to_le_bytes());
            log.extend(u32::try_from(PAGE).unwrap().to_le_bytes());
        }
    }

    /// Transactions seen, and how it ended.
    fn read(segments: &[Vec<u8>]) -> (Vec<u32>, Result<Fed, InspectError>) {
        let mut reader = Reader::new(SEGMENT as u64, Some(42));
        let mut seen = Vec::new();
        let mut last = Ok(Fed::Whole);
        for (index, segment) in segments.iter().enumerate() {
            let start = Lsn(START.0 + (index * SEGMENT) as u64);
            last = reader.feed(segment, start, &mut |r| seen.push(r.xid));
            if last != Ok(Fed::Whole) {
                break;
            }
        }
        (seen, last)
    }

    fn numbers(count: usize) -> Vec<u32> {
        (100..).take(count).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn records_of_any_length_cross_pages_and_segments(
            contents in proptest::collection::vec(0usize..60_000, 1..40),
        ) {
            let segments = written(&contents, 3);
            let (seen, ended) = read(&segments);
            prop_assert_eq!(seen, numbers(contents.len()));
            prop_assert!(matches!(ended, Ok(Fed::Ended(_))), "{ended:?}");
        }

        #[test]
        fn a_flipped_bit_never_yields_a_wrong_record(
            contents in proptest::collection::vec(0usize..20_000, 10..20),
            at in 0usize..100_000, bit in 0u8..8,
        ) {
            let mut segments = written(&contents, 1);
            segments[0][at] ^= 1 << bit;
            let (seen, _) = read(&segments);
            let all = numbers(contents.len());
            prop_assert!(all.starts_with(&seen), "{seen:?}");
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20_000), head: bool) {
            let mut segment = if head { written(&[10], 1)[0][..64].to_vec() } else { Vec::new() };
            segment.extend(&bytes);
            let _ = read(&[segment]);
        }
    }

    #[test]
    fn damage_names_its_place() {
        let mut segments = written(&[100, 100, 100], 1);
        let second = 40 + 128;
        segments[0][second + 30] ^= 1;
        let (seen, ended) = read(&segments);
        assert_eq!(seen, [100]);
        let Err(InspectError::Damaged { lsn, .. }) = ended else { panic!("{ended:?}") };
        assert_eq!(lsn, Lsn(START.0 + second as u64));
    }

    #[test]
    fn a_reused_file_ends_the_log() {
        let mut segments = written(&[100; 400], 1);
        // The second page is that of an older segment.
        segments[0][PAGE + 8] ^= 0xFF;
        let (seen, ended) = read(&segments);
        assert!(!seen.is_empty() && seen.len() < 400);
        assert!(matches!(ended, Ok(Fed::Ended(_))), "{ended:?}");
    }

    #[test]
    fn another_cluster_is_refused() {
        let segments = written(&[100], 1);
        let mut reader = Reader::new(SEGMENT as u64, Some(43));
        let fed = reader.feed(&segments[0], START, &mut |_| {});
        assert!(matches!(fed, Err(InspectError::Foreign { .. })), "{fed:?}");
    }
}
