//! Commits that are kept by the minute, read one by one where somebody looks at them. Owns how
//! much is read for that; what is too long stays as it is, and says so by what each stands for.

use super::{Landscape, Trace};
use crate::engine::incident::facts::{Target, TargetPoint};
use crate::engine::postgres::Lsn;
use crate::engine::wal::inspect::scan::Path;
use crate::engine::wal::inspect::{Cache, Ending, ScanOptions, scan};

/// Bytes of WAL that are read for a look.
const MOST: u64 = 512 << 20;
/// Endings looked at on each side of a moment.
const AROUND: usize = 3;

/// A stretch that was read one by one.
#[derive(Debug)]
pub struct Fine {
    /// Of the coarse endings: the first that is replaced, and the first behind.
    places: (usize, usize),
    endings: Vec<Ending>,
}

impl Landscape {
    /// The endings of what was read, those near `micros` one by one as far as that can be. A
    /// failure to read them again leaves them as they are.
    pub(super) fn with_fine<T>(&self, micros: i64, look: impl FnOnce(&[Ending]) -> T) -> T {
        let coarse = &self.main.scan.history.endings;
        let Some(places) = folded_near(coarse, micros) else { return look(coarse) };
        let Ok(mut kept) = self.fine.lock() else { return look(coarse) };
        if kept.as_ref().is_none_or(|fine| fine.places != places) {
            *kept = self.read_fine(&self.main, places);
        }
        let Some(fine) = kept.as_ref() else { return look(coarse) };
        let mut whole = Vec::with_capacity(coarse.len().saturating_add(fine.endings.len()));
        whole.extend_from_slice(coarse.get(..places.0).unwrap_or_default());
        whole.extend_from_slice(&fine.endings);
        whole.extend_from_slice(coarse.get(places.1..).unwrap_or_default());
        look(&whole)
    }

    /// Where recovery to a time stops within commits that are kept as one: their place among the
    /// endings, and the record. `None` where they are not, or could not be read again.
    pub(super) fn exact_stop(&self, trace: &Trace, target: &Target) -> Option<(usize, Lsn)> {
        let TargetPoint::Time(at) = target.point else { return None };
        let position = trace.position(target, Lsn(0)).ok()?;
        position.folded_from?;
        let place = position.kept;
        let fine = self.read_fine(trace, (place, place + 1))?;
        let micros = at.as_microsecond();
        let stops =
            |e: &&Ending| if target.inclusive { e.micros > micros } else { e.micros >= micros };
        fine.endings.iter().find(stops).map(|ending| (place, ending.lsn))
    }

    fn read_fine(&self, trace: &Trace, places: (usize, usize)) -> Option<Fine> {
        let coarse = trace.scan.history.endings.get(places.0..places.1)?;
        let before = places.0.checked_sub(1).and_then(|i| trace.scan.history.endings.get(i));
        // Behind the ending before them, up to their own last: what began earlier is in it too.
        let after = before.map_or(Lsn(0), |ending| ending.lsn);
        let last = coarse.last()?.lsn;
        let from = coarse.iter().map(|e| e.first_lsn).min()?.max(trace.scan.start);
        if last.bytes_since(from) > MOST {
            return None;
        }
        let size = self.coverage.segment_size.max(1);
        let mut path = self.coverage.path(&trace.line, from);
        path.pieces.retain(|piece| piece.first <= last.0 / size);
        for piece in &mut path.pieces {
            // One more: the commit itself may go on into the next segment.
            let end = (last.0 / size).saturating_add(1);
            if piece.last > end {
                (piece.last, piece.until) = (end, None);
            }
        }
        let endings = self.read_path(&path)?;
        // What was rolled back can be where a time is reached, too.
        let ours = |e: &Ending| e.lsn > after && e.lsn <= last;
        let endings: Vec<Ending> = endings.into_iter().filter(ours).collect();
        // The same commits, or it was not the same log.
        let count = |all: &[Ending]| all.iter().map(|e| u64::from(e.commits)).sum::<u64>();
        (count(&endings) == count(coarse)).then_some(Fine { places, endings })
    }

    fn read_path(&self, path: &Path) -> Option<Vec<Ending>> {
        let cache = Cache::new(&self.inputs.state_directory);
        let options = ScanOptions {
            system_identifier: self.inputs.cluster.system_identifier,
            catalogs: self.relations.catalogs.clone(),
            cache: Some(&cache),
            ..ScanOptions::new(self.coverage.segment_size)
        };
        let read = scan(&self.segments, path, &options, &|_| {}, &|| false).ok()?;
        Some(read.history.endings)
    }
}

/// The endings next to `micros`, from the first that stands for several to the last; `None` where
/// none does.
fn folded_near(endings: &[Ending], micros: i64) -> Option<(usize, usize)> {
    let place = endings.iter().position(|e| e.micros > micros).unwrap_or(endings.len());
    let first = place.saturating_sub(AROUND);
    let last = place.saturating_add(AROUND).min(endings.len());
    let folded = |i: &usize| endings.get(*i).is_some_and(|e| e.commits > 1);
    let from = (first..last).find(folded)?;
    let to = (first..last).rev().find(folded)?;
    Some((from, to + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_for_several_is_read_again() {
        let ending = |seconds: i64, commits: u32| Ending {
            micros: seconds * 1_000_000,
            first_lsn: Lsn(0),
            lsn: Lsn(1),
            length: 1,
            xid: 1,
            inserts: 0,
            updates: 0,
            deletes: 0,
            commits,
        };
        let one: Vec<_> = (0..10).map(|s| ending(s, 1)).collect();
        assert_eq!(folded_near(&one, 5_000_000), None);
        let mut some = one.clone();
        some[4].commits = 60;
        some[6].commits = 2;
        assert_eq!(folded_near(&some, 5_000_000), Some((4, 7)));
        assert_eq!(folded_near(&some, 0), None, "far away");
        assert_eq!(folded_near(&[], 0), None);
    }
}
