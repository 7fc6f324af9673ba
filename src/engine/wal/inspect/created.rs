//! The tablespaces that a stretch of WAL creates: a replay of it makes them again, by their
//! absolute paths. Owns nothing but that question; an answer is given only for a stretch that
//! could be read whole.

use super::source::Segments;
use super::{Path, ScanOptions, scan};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::Lsn;
use crate::engine::wal::inspect::scan::Piece;
use crate::engine::wal::{Segment, TimelineId};

/// Names asked for at a time.
const PAGE: usize = 4096;

/// A stretch of one timeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    pub timeline: TimelineId,
    pub from: Lsn,
    /// Exclusive; `None` reads to where the log ends.
    pub until: Option<Lsn>,
    /// Bytes.
    pub segment_size: u64,
    pub system_identifier: u64,
}

/// A tablespace that the log creates: where, its number, its folder (empty: inside).
pub type Created = (Lsn, u32, String);

/// What `stretch` creates, in the log's order.
///
/// # Errors
/// Where some of it is missing or cannot be read.
pub fn tablespaces_created(
    source: &dyn Segments,
    stretch: &Stretch,
) -> Result<Vec<Created>, Explanation> {
    let size = stretch.segment_size;
    let first = Segment::holding(stretch.timeline, stretch.from, size);
    let last = match stretch.until {
        Some(until) => Segment::holding(stretch.timeline, Lsn(until.0.saturating_sub(1)), size),
        None => last_in_row(source, first, size)?,
    };
    let piece =
        Piece { timeline: stretch.timeline, first: first.number, last: last.number, until: None };
    let options = ScanOptions {
        system_identifier: Some(stretch.system_identifier),
        ..ScanOptions::new(size)
    };
    let read = scan(source, &Path { pieces: vec![piece] }, &options, &|_| {}, &|| false)
        .map_err(|error| error.explanation())?;
    let within = |lsn: Lsn| stretch.until.is_none_or(|until| lsn < until);
    if let Some(hole) = read.breaks.iter().find(|hole| within(hole.at)) {
        return Err(unread(source, format!("at LSN {} {}", hole.at, hole.why)));
    }
    if let Some(until) = stretch.until.filter(|until| read.end < *until) {
        let why = if read.ending.is_empty() { "it ends there" } else { &read.ending };
        return Err(unread(
            source,
            format!("it is read to LSN {}, not to {until}: {why}", read.end),
        ));
    }
    let created = read.history.tablespaces.into_iter();
    Ok(created.filter(|(lsn, ..)| *lsn >= stretch.from && within(*lsn)).collect())
}

/// The last of the segments from `first` on that follow each other.
fn last_in_row(source: &dyn Segments, first: Segment, size: u64) -> Result<Segment, Explanation> {
    let mut next = first;
    loop {
        let names = source.list(first.timeline, &next.name(size), PAGE)?;
        for name in &names {
            if *name != next.name(size) {
                break;
            }
            next = next.next();
        }
        let went_on = names.last().is_some_and(|last| Segment::parse(last, size) == before(next));
        if names.len() < PAGE || !went_on {
            break;
        }
    }
    before(next)
        .filter(|last| last.number >= first.number)
        .ok_or_else(|| unread(source, format!("{} is not there", first.name(size))))
}

fn before(segment: Segment) -> Option<Segment> {
    let number = segment.number.checked_sub(1)?;
    Some(Segment { number, ..segment })
}

fn unread(source: &dyn Segments, why: String) -> Explanation {
    Explanation::new(
        Kind::Integrity,
        format!("The log in {} cannot be read whole: {why}.", source.describe()),
        "Nothing was changed; WAL was only read.",
        "See why that WAL is missing or damaged.",
    )
}
