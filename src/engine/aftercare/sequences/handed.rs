//! Which numbers the damaged server had handed out: its sequences' files, and the WAL beyond the
//! recovery point. Reads only. A server logs a sequence up to 32 numbers ahead, so what the WAL
//! says is an upper bound; the file of a server that was stopped in order is exact. What neither
//! tells of a sequence is said of that sequence.

use crate::engine::aftercare::ward::Ward;
use crate::engine::copies;
use crate::engine::incident::facts::Check;
use crate::engine::postgres::Lsn;
use crate::engine::postgres::control_file::{self, ClusterState};
use crate::engine::recovery_point::RepositoryArchive;
use crate::engine::runner::plan::KeptSpace;
use crate::engine::validate::check::begin;
use crate::engine::wal::Segment;
use crate::engine::wal::inspect::source::{Folder, Segments};
use crate::engine::wal::inspect::{Reader, Record};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The resource manager of sequences.
const SEQUENCE: u8 = 15;
/// At the end of a sequence's page.
const MAGIC: u32 = 0x1717;
/// Segments that are read beyond the recovery point: 16 GB of the usual size.
const MOST: usize = 1_024;

/// What was handed out beyond the recovery point, as far as it can be known.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// The damaged directory, and whether its server ended in order.
    aside: Option<(PathBuf, bool)>,
    /// Its tablespaces, where they are kept.
    spaces: Vec<KeptSpace>,
    /// By database and file: least and most.
    logged: BTreeMap<(u32, u32), (i64, i64)>,
    segments: usize,
    /// Why some of it is not known.
    gaps: Vec<String>,
}

/// What is known of one sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Of {
    /// The furthest number.
    pub(super) furthest: Option<i64>,
    /// Why it may not be the furthest.
    pub(super) gap: Option<String>,
}

impl Handed {
    pub(super) fn read(ward: &Ward<'_>) -> Self {
        let mut all = Self::default();
        let mut last = None;
        match ward.aside() {
            Some(path) => {
                let control = control_file::read(&path);
                let clean = control.as_ref().is_ok_and(|c| c.state == ClusterState::ShutDown);
                last = control.ok().map(|control| control.checkpoint.lsn);
                all.aside = Some((path, clean));
            }
            None => all.gaps.push(String::from("the damaged directory is not kept here any more")),
        }
        if let Some(plan) = &ward.incident.plan {
            all.spaces.clone_from(&plan.places.kept);
        }
        all.read_wal(ward, last);
        all
    }

    /// The furthest number of one sequence; `file` is its path below the data directory.
    pub(super) fn of(&self, database: u32, file: &str, increment: i64) -> Of {
        let node = file.rsplit('/').next().and_then(|name| name.parse::<u32>().ok());
        let logged = node.and_then(|node| self.logged.get(&(database, node)));
        let logged = logged.map(|(least, most)| if increment < 0 { *least } else { *most });
        let log_gap = || {
            let told = !self.gaps.is_empty();
            told.then(|| String::from("the log beyond the point is not whole"))
        };
        let Some((path, clean)) = &self.aside else {
            return Of { furthest: logged, gap: log_gap() };
        };
        let kept = match self.place(path, file) {
            Ok(file) => page_of(&file).ok_or_else(|| {
                String::from(
                    "its file is not in the kept directory: it was made anew or removed after the \
                     point",
                )
            }),
            Err(why) => Err(why),
        };
        let further = |a: i64, b: i64| if increment < 0 { a.min(b) } else { a.max(b) };
        match (kept, clean) {
            (Ok(exact), true) => Of { furthest: Some(exact), gap: None },
            (Ok(kept), false) => {
                let furthest = logged.map_or(kept, |logged| further(kept, logged));
                Of { furthest: Some(furthest), gap: log_gap() }
            }
            (Err(why), _) => Of { furthest: logged, gap: Some(why) },
        }
    }

    /// Where a file of the damaged server is kept. A link in the kept directory leads to the
    /// tablespace of today, which is the recovered one.
    fn place(&self, aside: &Path, file: &str) -> Result<PathBuf, String> {
        let Some(inside) = file.strip_prefix("pg_tblspc/") else { return Ok(aside.join(file)) };
        // OID, the server's own folder, then what is in it.
        let mut parts = inside.splitn(3, '/');
        let oid = parts.next().and_then(|oid| oid.parse::<u32>().ok());
        let rest = parts.nth(1).unwrap_or_default();
        let space = self.spaces.iter().find(|space| Some(space.oid) == oid);
        match space {
            Some(space) if space.kept.is_dir() => Ok(space.kept.join(rest)),
            _ => Err(String::from("it lies in a tablespace of which no kept folder is known")),
        }
    }

    /// From where the numbers beyond the recovery point are known.
    pub(super) fn check(&self) -> Check {
        let begun = begin("sequences:handed-out", "What was handed out after the point is known");
        let told = match &self.aside {
            Some((_, true)) => "the kept directory, stopped in order",
            Some((_, false)) => "the kept directory, not stopped in order",
            None => "no kept directory",
        };
        let begun = begun.found(format!("{told}; {} WAL segments beyond the point", self.segments));
        match (&self.aside, self.gaps.as_slice()) {
            (Some((_, true)), _) | (_, []) => {
                begun.verified("Sequences are compared with the rows and with these.")
            }
            (_, gaps) => begun
                .could_not_verify(format!("Not everything could be read: {}.", gaps.join("; "))),
        }
    }

    /// `last` is where the damaged server's log went to at least.
    fn read_wal(&mut self, ward: &Ward<'_>, last: Option<Lsn>) {
        let Some(plan) = &ward.incident.plan else { return };
        let reached = ward.incident.noted("reached_lsn").and_then(|text| text.parse::<Lsn>().ok());
        let Some(from) = reached.or(plan.replay_until) else {
            self.gaps.push(String::from("where the recovery stopped is not recorded"));
            return;
        };
        let control = match control_file::read(ward.site.data()) {
            Ok(control) => control,
            Err(error) => return self.gaps.push(error.to_string()),
        };
        let size = u64::from(control.wal_segment_size);
        let mut sources: Vec<Box<dyn Segments>> = vec![Box::new(Folder::new(&plan.rescue))];
        for (settings, opened) in copies::open_all(&ward.site.config, &ward.site.cluster) {
            match opened {
                Ok(one) => sources.push(Box::new(RepositoryArchive::new(Arc::new(one)))),
                Err(why) => self.gaps.push(format!("\"{}\": {}", settings.name, why.what)),
            }
        }
        // That of the damaged server: what came after the point lies on it.
        let timeline = plan.identity.timeline;
        let first = Segment::holding(timeline, from, size).name(size);
        let mut names = BTreeMap::new();
        for (at, source) in sources.iter().enumerate() {
            match source.list(timeline, &first, MOST + 1) {
                Ok(list) => list.into_iter().for_each(|name| {
                    names.entry(name).or_insert(at);
                }),
                // An incident without an unarchived tail has no such folder.
                Err(_) if at == 0 && !Path::new(&plan.rescue).exists() => {}
                Err(why) => self.gaps.push(why.what),
            }
        }
        if names.len() > MOST {
            self.gaps.push(format!("only the first {MOST} segments beyond the point were read"));
        }
        let last = last.map(|last| Segment::holding(timeline, last, size).name(size));
        self.gaps.extend(missing(names.keys(), &first, last.as_deref()));
        let of = names.len().min(MOST) as u64;
        let mut reader = Reader::new(size, Some(plan.identity.system_identifier));
        let mut next = None;
        for (done, (name, at)) in names.iter().take(MOST).enumerate() {
            ward.tell(&format!("reading WAL {name}"), done as u64, Some(of));
            let Some(segment) = Segment::parse(name, size) else { continue };
            if next.is_some_and(|next| next != segment) {
                reader = Reader::new(size, Some(plan.identity.system_identifier));
                self.gaps.push(format!("there is a gap before {name}"));
            }
            next = Some(segment.next());
            let content = sources.get(*at).map(|source| source.get(name));
            let Some(Ok(Some(content))) = content else {
                self.gaps.push(format!("{name} could not be read"));
                next = None;
                continue;
            };
            let mut sink = |record: &Record<'_>| {
                if record.lsn >= from {
                    self.observe(record);
                }
            };
            match reader.feed(&content, segment.start(size), &mut sink) {
                Ok(_) => self.segments += 1,
                Err(error) => self.gaps.push(error.to_string()),
            }
        }
    }

    fn observe(&mut self, record: &Record<'_>) {
        if record.rmgr != SEQUENCE {
            return;
        }
        if let Some((database, file, number)) = record.parts().and_then(|parts| logged(parts.main))
        {
            let known = self.logged.entry((database, file)).or_insert((number, number));
            *known = (known.0.min(number), known.1.max(number));
        }
    }
}

/// What is missing at either end of the segments beyond the point, which are in order: `first` is
/// the one that holds the point, `last` one that the damaged server had reached.
fn missing<'a>(
    mut names: impl DoubleEndedIterator<Item = &'a String>,
    first: &str,
    last: Option<&str>,
) -> Vec<String> {
    let mut gaps = Vec::new();
    let begins = names.next();
    if begins.is_none_or(|name| name != first) {
        gaps.push(format!("{first}, which the point lies in, is not there"));
    }
    let ends = names.next_back().or(begins);
    if let Some(last) = last.filter(|last| ends.is_none_or(|name| name.as_str() < *last)) {
        gaps.push(format!("{last}, which the damaged server had reached, is not there"));
    }
    gaps
}

/// A sequence's record: where it lies, and its row.
fn logged(main: &[u8]) -> Option<(u32, u32, i64)> {
    let at = |from: usize| Some(u32::from_le_bytes(main.get(from..from + 4)?.try_into().ok()?));
    let (database, file) = (at(4)?, at(8)?);
    Some((database, file, row(main.get(12..)?)?))
}

/// The number in a sequence's row: its first column.
fn row(tuple: &[u8]) -> Option<i64> {
    let begin = usize::from(*tuple.get(22)?);
    Some(i64::from_le_bytes(tuple.get(begin..begin + 8)?.try_into().ok()?))
}

/// The number in a sequence's file; `None` where it is no sequence's, or is empty.
fn page_of(path: &Path) -> Option<i64> {
    let mut page = Vec::new();
    File::open(path).ok()?.take(32_768).read_to_end(&mut page).ok()?;
    on_page(&page)
}

fn on_page(page: &[u8]) -> Option<i64> {
    let u16_at = |at: usize| Some(u16::from_le_bytes(page.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_le_bytes(page.get(at..at + 4)?.try_into().ok()?));
    let special = usize::from(u16_at(16)?);
    if special == 0 || u32_at(special)? != MAGIC {
        return None;
    }
    let pointer = u32_at(24)?;
    let begin = usize::try_from(pointer & 0x7FFF).ok()?;
    row(page.get(begin..special)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row's header is 24 bytes long, as its 23rd byte says.
    fn tuple(number: i64) -> Vec<u8> {
        let mut bytes = vec![0; 24];
        bytes[22] = 24;
        bytes.extend(number.to_le_bytes());
        bytes.extend([0; 9]);
        bytes
    }

    #[test]
    fn a_sequences_page_gives_its_number_and_another_page_none() {
        let mut page = page(4_711);
        assert_eq!(on_page(&page), Some(4_711));
        page[8_184] = 0;
        assert_eq!(on_page(&page), None);
        assert_eq!(on_page(&[]), None);
    }

    #[test]
    fn a_record_gives_place_and_number() {
        let mut main = Vec::new();
        for part in [1_663_u32, 16_384, 16_402] {
            main.extend(part.to_le_bytes());
        }
        main.extend(tuple(33));
        assert_eq!(logged(&main), Some((16_384, 16_402, 33)));
        assert_eq!(logged(&main[..20]), None);
    }

    fn page(number: i64) -> Vec<u8> {
        let mut page = vec![0_u8; 8_192];
        page[16..18].copy_from_slice(&8_184_u16.to_le_bytes());
        page[8_184..8_188].copy_from_slice(&MAGIC.to_le_bytes());
        page[24..28].copy_from_slice(&8_100_u32.to_le_bytes());
        page[8_100..8_141].copy_from_slice(&tuple(number));
        page
    }

    #[test]
    fn the_file_of_a_server_stopped_in_order_is_exact_and_the_log_else() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::create_dir_all(at("kept/base/5")).unwrap();
        std::fs::create_dir_all(at("space/PG_15.kept/5")).unwrap();
        std::fs::write(at("kept/base/5/100"), page(50)).unwrap();
        std::fs::write(at("space/PG_15.kept/5/7"), page(70)).unwrap();
        let space = KeptSpace { oid: 77, folder: at("space/PG_15"), kept: at("space/PG_15.kept") };
        let mut handed = Handed { spaces: vec![space], ..Handed::default() };
        handed.logged.insert((5, 100), (40, 64));
        let exact = |n| Of { furthest: Some(n), gap: None };
        // Nothing is kept: the log alone.
        assert_eq!(handed.of(5, "base/5/100", 1), exact(64));
        assert_eq!(handed.of(5, "base/5/100", -1), exact(40));
        handed.aside = Some((at("kept"), false));
        assert_eq!(handed.of(5, "base/5/100", 1), exact(64));
        handed.gaps.push(String::from("a segment"));
        assert!(handed.of(5, "base/5/100", 1).gap.is_some(), "the log is not whole");
        handed.aside = Some((at("kept"), true));
        assert_eq!(handed.of(5, "base/5/100", 1), exact(50), "the log does not matter then");
        assert_eq!(handed.of(5, "pg_tblspc/77/PG_15/5/7", 1), exact(70));
    }

    #[test]
    fn what_no_file_tells_of_a_sequence_is_not_known_of_it() {
        let home = tempfile::tempdir().unwrap();
        let handed = Handed { aside: Some((home.path().to_owned(), true)), ..Handed::default() };
        for (file, why) in [("base/5/100", "made anew"), ("pg_tblspc/78/PG_15/5/7", "tablespace")] {
            let of = handed.of(5, file, 1);
            assert!(of.furthest.is_none() && of.gap.is_some_and(|gap| gap.contains(why)), "{file}");
        }
    }

    #[test]
    fn a_log_that_lacks_its_first_or_its_last_segment_has_a_gap() {
        let gaps = |names: &[&str], last: Option<&str>| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            missing(names.iter(), "02", last).len()
        };
        assert_eq!(gaps(&["02", "03"], Some("03")), 0);
        assert_eq!(gaps(&["02"], Some("02")), 0);
        assert_eq!(gaps(&["02", "03", "04"], None), 0);
        assert_eq!(gaps(&["03"], None), 1, "the first");
        assert_eq!(gaps(&["02", "03"], Some("04")), 1, "the last");
        assert_eq!(gaps(&["02"], Some("03")), 1, "the last of one");
        assert_eq!(gaps(&[], Some("03")), 2, "nothing at all");
        assert_eq!(gaps(&[], None), 1);
    }
}
