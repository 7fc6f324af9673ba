//! Paying debts: a file is read where it is, written where it is missing, read back, and only then
//! is the debt struck. Owns the order and the limits; never overwrites a file that differs.

use super::{FOLDER, list, open, strike};
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::repository::store::{StoreError, StoreFault};
use crate::engine::repository::{Repository, RepositoryError};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Files taken on at a time.
const PAGE: usize = 256;
/// A debtor that refuses so many files is left alone for this time.
const MOST_FAILURES: usize = 10;

/// How much is paid at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub files: usize,
    pub time: Duration,
    pub workers: usize,
}

impl Limits {
    /// All of it.
    #[must_use]
    pub fn all(workers: usize) -> Self {
        Self { files: usize::MAX, time: Duration::MAX, workers }
    }
}

/// What paying came to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Paid {
    /// Repository and file; proven to be there.
    pub paid: Vec<(String, String)>,
    /// Repository and file: every repository was asked and proved that it has it no more. The debt
    /// is struck, since nobody can ever pay it.
    pub gone: Vec<(String, String)>,
    /// Repository, file and why it could not be paid. The debt stays.
    pub failed: Vec<(String, String, Explanation)>,
    /// Repositories that could not be asked, with the reason.
    pub unasked: Vec<(String, Explanation)>,
    /// Whether debts stay, or may stay where somebody could not be asked.
    pub left: bool,
}

/// Pays what the repositories of `cluster` owe: each file is read from one that holds it, written
/// with the debtor's own protection, read back and compared; then the debt goes. Oldest first.
/// Stopped anywhere, it is gone on with by the next call.
#[must_use]
pub fn pay(
    config: &Config,
    cluster: &Cluster,
    limits: Limits,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Paid {
    let (mut paid, mut up) = (Paid::default(), Vec::new());
    for name in &cluster.repositories {
        match open(config, cluster, name) {
            Ok(repository) => up.push((name.clone(), Arc::new(repository))),
            Err(e) => {
                paid.left = true;
                paid.unasked.push((name.clone(), e.explanation()));
            }
        }
    }
    let asked = if paid.unasked.is_empty() { Asked::All } else { Asked::Some };
    pay_among(&up, asked, None, limits, cancelled, &mut paid);
    paid
}

/// Whether the open repositories are all that the cluster has. Only then is what none of them
/// holds nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::wal) enum Asked {
    All,
    Some,
}

/// As [`pay`], among repositories that are open; only what `debtor` owes, where it is given.
pub(in crate::engine::wal) fn pay_among(
    up: &[(String, Arc<Repository>)],
    asked: Asked,
    debtor: Option<&str>,
    limits: Limits,
    cancelled: &(dyn Fn() -> bool + Sync),
    paid: &mut Paid,
) {
    let until = Instant::now().checked_add(limits.time);
    let mut debtors = BTreeSet::new();
    for (name, holder) in up {
        match holder.store.folders(FOLDER) {
            Ok(found) => debtors.extend(found),
            Err(e) => {
                paid.left = true;
                paid.unasked.push((name.clone(), e.explanation()));
            }
        }
    }
    debtors.retain(|name| debtor.is_none_or(|only| only == name));
    for name in debtors {
        let over = || cancelled() || until.is_some_and(|until| Instant::now() >= until);
        let mut teller = Teller {
            up,
            asked,
            name: &name,
            debtor: up.iter().find(|(n, _)| *n == name).map(|(_, repository)| &**repository),
            over: &over,
            paid,
        };
        teller.all(limits);
    }
}

/// Pays one debtor's debts.
struct Teller<'a> {
    up: &'a [(String, Arc<Repository>)],
    asked: Asked,
    name: &'a str,
    /// `None` where it is not up, or no longer in the configuration.
    debtor: Option<&'a Repository>,
    over: &'a (dyn Fn() -> bool + Sync),
    paid: &'a mut Paid,
}

impl Teller<'_> {
    fn all(&mut self, limits: Limits) {
        let (mut seen, mut refused) = (BTreeSet::new(), 0);
        for (holder, repository) in self.up {
            if holder == self.name {
                continue;
            }
            loop {
                let room = limits.files.saturating_sub(self.paid.paid.len());
                // Those that failed stay in the list: behind them lie the next.
                let listed = list(&*repository.store, self.name, seen.len().saturating_add(PAGE));
                let mut files = match listed {
                    Ok(files) => files,
                    Err(e) => {
                        self.paid.left = true;
                        self.paid.unasked.push((holder.clone(), e.explanation()));
                        break;
                    }
                };
                files.retain(|file| !seen.contains(file));
                if files.is_empty() {
                    break;
                }
                let Some(debtor) = self.debtor.filter(|_| room > 0 && !(self.over)()) else {
                    self.paid.left = true;
                    return;
                };
                files.truncate(room.min(PAGE));
                seen.extend(files.iter().cloned());
                if !self.page(debtor, &files, limits.workers, &mut refused) {
                    self.paid.left = true;
                    return;
                }
            }
        }
    }

    /// False where the debtor takes no more. `refused` counts what it would say of any file.
    fn page(
        &mut self,
        debtor: &Repository,
        files: &[String],
        workers: usize,
        refused: &mut usize,
    ) -> bool {
        let next = AtomicUsize::new(0);
        let stop = AtomicBool::new(false);
        let done = Mutex::new(Vec::new());
        let (up, asked, name, over) = (self.up, self.asked, self.name, self.over);
        std::thread::scope(|scope| {
            for _ in 0..workers.clamp(1, files.len().max(1)) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Acquire) && !over() {
                        let Some(file) = files.get(next.fetch_add(1, Ordering::AcqRel)) else {
                            return;
                        };
                        let result = settle(up, asked, debtor, name, file);
                        if result.as_ref().is_err_and(|e| e.fault().is_some_and(is_down)) {
                            stop.store(true, Ordering::Release);
                        }
                        let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
                        done.push((file.clone(), result));
                    }
                });
            }
        });
        let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        let whole = done.len() == files.len();
        for (file, result) in done {
            match result {
                Ok(Settled::Paid) => self.paid.paid.push((name.to_owned(), file)),
                Ok(Settled::Gone) => self.paid.gone.push((name.to_owned(), file)),
                Err(e) => {
                    // What is wrong with one file says nothing of those behind it.
                    *refused += usize::from(!is_the_files(&e));
                    self.paid.left = true;
                    self.paid.failed.push((name.to_owned(), file, e.explanation()));
                }
            }
        }
        whole && !stop.into_inner() && *refused < MOST_FAILURES
    }
}

/// A failure of this file alone: it is nowhere, or somewhere not what it should be.
fn is_the_files(error: &RepositoryError) -> bool {
    error.fault() == Some(StoreFault::NotFound)
        || matches!(error, RepositoryError::DifferentWal { .. } | RepositoryError::Damaged { .. })
}

/// A store that would say the same of every file.
fn is_down(fault: StoreFault) -> bool {
    !matches!(fault, StoreFault::NotFound | StoreFault::Exists)
}

/// How a debt came off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    Paid,
    Gone,
}

/// Brings one file to its debtor and strikes the debt everywhere; strikes it too where the file is
/// nowhere any more, as after a cleanup.
fn settle(
    up: &[(String, Arc<Repository>)],
    asked: Asked,
    debtor: &Repository,
    name: &str,
    file: &str,
) -> Result<Settled, RepositoryError> {
    let mut content = None;
    let mut doubt = None;
    for (_, holder) in up.iter().filter(|(holder, _)| holder != name) {
        match holder.get_wal(file) {
            Ok(Some(found)) => {
                if let Some(id) = holder.system_identifier()? {
                    debtor.claim_for(id)?;
                }
                content = Some(found);
                break;
            }
            Ok(None) => {}
            Err(e) => doubt = Some(e),
        }
    }
    let settled = match (content, doubt) {
        (Some(content), _) => {
            debtor.put_wal(file, &content)?;
            if debtor.get_wal(file)?.as_deref() != Some(&content[..]) {
                let why = "what was written a moment ago reads back as something else";
                return Err(debtor.damaged(file, why));
            }
            Settled::Paid
        }
        (None, Some(doubt)) => return Err(doubt),
        // It came there by another way, such as a second call of archive-wal.
        (None, None) if debtor.get_wal(file)?.is_some() => Settled::Paid,
        (None, None) if asked == Asked::All => Settled::Gone,
        (None, None) => {
            let what = format!("no repository holds {file} any more, which {name} lacks");
            return Err(RepositoryError::Store(StoreError::new(StoreFault::NotFound, what)));
        }
    };
    for (_, holder) in up {
        strike(&*holder.store, name, file)?;
    }
    Ok(settled)
}

impl Paid {
    /// What came off unpaid, one line a repository.
    #[must_use]
    pub fn told_gone(&self) -> Vec<String> {
        let mut by_name: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (repository, file) in &self.gone {
            by_name.entry(repository).or_default().push(file);
        }
        let told = |(repository, mut files): (&str, Vec<&str>)| {
            files.sort_unstable();
            let span = match files.as_slice() {
                [first, .., last] => format!("{} WAL files, {first} to {last},", files.len()),
                _ => format!("the WAL file {}", files.join("")),
            };
            format!(
                "{repository} is not asked for {span} any more: no repository holds it, as after a \
                 cleanup. Whether a recovery needs it says: lifeboat check-wal-continuity"
            )
        };
        by_name.into_iter().map(told).collect()
    }

    /// The worst of what stays, where anything does.
    #[must_use]
    pub fn problem(&self) -> Option<Explanation> {
        let failed = self.failed.first().map(|(.., explanation)| explanation.clone());
        let unasked = self.unasked.first().map(|(_, explanation)| explanation.clone());
        let left = self.left.then(|| {
            Explanation::new(
                Kind::Storage,
                "Some WAL files are still missing in a repository.",
                "The repositories that hold them keep them.",
                "Try again.",
            )
        });
        failed.or(unasked).or(left)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Debt, PAID, record, stem};
    use super::*;
    use crate::engine::repository::testing::Place;
    use std::fs;

    const SEGMENT: &str = "000000010000000000000003";

    fn two() -> (Place, Place, Vec<(String, Arc<Repository>)>) {
        let (near, mut far) = (Place::encrypted(), Place::encrypted());
        far.config.name = "far".to_owned();
        let up = [("near", &near), ("far", &far)];
        let up = up.map(|(name, place)| (name.to_owned(), Arc::new(place.repository())));
        (near, far, up.to_vec())
    }

    fn all(up: &[(String, Arc<Repository>)]) -> Paid {
        let mut paid = Paid::default();
        pay_among(up, Asked::All, None, Limits::all(2), &|| false, &mut paid);
        paid
    }

    fn owe(up: &[(String, Arc<Repository>)], files: &[&str]) {
        let near = &up[0].1;
        near.claim_for(7).unwrap();
        for file in files {
            near.put_wal(file, file.as_bytes()).unwrap();
            record(&*near.store, &Debt::new("far", file, "it was away")).unwrap();
        }
    }

    #[test]
    fn debts_are_paid_oldest_first_and_only_once() {
        let (_near, _far, up) = two();
        let files = ["00000002.history", SEGMENT, "000000010000000100000000"];
        owe(&up, &files);
        record(&*up[0].1.store, &Debt::new("far", SEGMENT, "again")).unwrap();
        assert_eq!(list(&*up[0].1.store, "far", 10).unwrap(), files);
        assert_eq!(list(&*up[0].1.store, "far", 2).unwrap(), files[..2]);
        let limits = Limits { files: 1, ..Limits::all(1) };
        let mut first = Paid::default();
        pay_among(&up, Asked::All, Some("far"), limits, &|| false, &mut first);
        assert_eq!(first.paid, [("far".to_owned(), files[0].to_owned())]);
        assert!(first.left);
        let rest = all(&up);
        assert_eq!((rest.paid.len(), rest.left, rest.failed.len()), (2, false, 0));
        for file in files {
            assert_eq!(up[1].1.get_wal(file).unwrap().unwrap(), file.as_bytes());
        }
        assert!(list(&*up[0].1.store, "far", 10).unwrap().is_empty());
        assert_eq!(all(&up), Paid::default());
        assert_eq!(up[1].1.system_identifier().unwrap(), Some(7));
    }

    #[test]
    fn a_debt_stays_where_it_cannot_be_paid() {
        let (near, far, up) = two();
        owe(&up, &[SEGMENT, "000000010000000000000004"]);
        // The debtor holds something else under that name.
        up[1].1.put_wal(SEGMENT, b"other").unwrap();
        let paid = all(&up);
        assert_eq!(paid.paid.len(), 1);
        assert_eq!(paid.failed.len(), 1, "{paid:?}");
        assert!(paid.failed[0].2.what.contains("another content") && paid.left);
        assert_eq!(list(&*up[0].1.store, "far", 10).unwrap(), [SEGMENT]);
        assert_eq!(up[1].1.get_wal(SEGMENT).unwrap().unwrap(), b"other", "never overwritten");

        // Those that were asked hold it no more, and one was not asked; and a debtor that is away.
        owe(&up, &["000000010000000000000005"]);
        fs::remove_dir_all(near.root().join("wal-archive")).unwrap();
        let mut paid = Paid::default();
        pay_among(&up, Asked::Some, None, Limits::all(2), &|| false, &mut paid);
        assert!(paid.failed.iter().any(|(.., e)| e.what.to_lowercase().contains("no repository")));
        assert!(paid.gone.is_empty() && paid.left);
        assert_eq!(list(&*up[0].1.store, "far", 10).unwrap(), ["000000010000000000000005"]);
        fs::rename(far.root(), far.root().with_extension("away")).unwrap();
        let paid = all(&up[..1]);
        assert!(paid.left && paid.paid.is_empty());
    }

    #[test]
    fn debts_that_cannot_be_paid_do_not_starve_those_behind_them() {
        let (_near, _far, up) = two();
        let files: Vec<String> =
            (0..MOST_FAILURES + 3).map(|n| format!("0000000100000000{n:08X}")).collect();
        let names: Vec<&str> = files.iter().map(String::as_str).collect();
        owe(&up, &names);
        let (last, blocked) = names.split_last().unwrap();
        for file in blocked {
            up[1].1.put_wal(file, b"other").unwrap();
        }
        // As archive-wal asks: a few at a time.
        let limits = Limits { files: 4, ..Limits::all(2) };
        let mut paid = Paid::default();
        pay_among(&up, Asked::Some, Some("far"), limits, &|| false, &mut paid);
        assert_eq!(paid.paid, [("far".to_owned(), (*last).to_owned())]);
        assert_eq!((paid.failed.len(), paid.left), (blocked.len(), true));
    }

    #[test]
    fn what_retention_has_removed_everywhere_is_owed_no_more() {
        let (near, _far, up) = two();
        let files = [SEGMENT, "000000010000000000000004", "000000010000000000000005"];
        owe(&up, &files);
        // A cleanup took the first two; of the third, nothing that is read is what was written.
        let archive = near.root().join("wal-archive/0000000100000000");
        for object in fs::read_dir(archive).unwrap().map(|entry| entry.unwrap().path()) {
            if object.to_str().unwrap().contains(files[2]) {
                fs::write(object, b"damaged").unwrap();
            } else {
                fs::remove_file(object).unwrap();
            }
        }
        let paid = all(&up);
        let gone = paid.gone.iter().map(|(_, file)| file.as_str()).collect::<BTreeSet<_>>();
        assert_eq!(gone, BTreeSet::from([files[0], files[1]]));
        assert!(paid.paid.is_empty() && paid.left, "damage is no absence: {paid:?}");
        assert_eq!(list(&*up[0].1.store, "far", 10).unwrap(), files[2..]);
        let [told] = &paid.told_gone()[..] else { panic!("{:?}", paid.told_gone()) };
        assert!(told.starts_with("far is not asked for 2 WAL files,"), "{told}");
        // Said once: it is off the list.
        assert!(all(&up).gone.is_empty());
    }

    #[test]
    fn a_store_that_lets_nothing_go_has_it_marked_as_paid() {
        let (_near, _far, up) = two();
        owe(&up, &[SEGMENT]);
        let store = &*up[0].1.store;
        store.put(&format!("{}{PAID}", stem("far", SEGMENT)), b"").unwrap();
        assert!(list(store, "far", 10).unwrap().is_empty());
        let debt = "debts/far/0000000100000000/000000010000000000000003.json";
        assert!(store.read(debt).is_ok(), "it is still there, and counts no more");
    }
}
