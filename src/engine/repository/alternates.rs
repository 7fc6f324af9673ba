//! The same objects in several repositories, for reading: the first copy that gives proven bytes
//! is the one that is used. Owns whose turn it is, when a copy is left aside, and the words for
//! it. Knows nothing of what the objects are; never writes.

use super::Repository;
use super::open_set::ScanError;
use super::store::{Store, StoreFault};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// A copy whose bytes were wrong so often is asked last from then on.
const FAILURES: u32 = 3;
/// Counts as left aside at once.
const ASIDE: u32 = 1_000;
/// Failures of one copy that are told one by one; the rest is counted.
const TOLD: u32 = 5;

/// Hears in words that a copy failed and which one it went on from, as it happens.
pub type Told<'a> = &'a (dyn Fn(&str) + Sync);

/// The copies of one backup, best first.
pub struct Alternates<'a> {
    copies: Vec<Copy<'a>>,
    told: Option<Told<'a>>,
    notes: Mutex<Vec<String>>,
}

struct Copy<'a> {
    name: String,
    store: &'a dyn Store,
    failures: AtomicU32,
}

impl std::fmt::Debug for Alternates<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.copies.iter().map(|copy| copy.name.as_str()).collect();
        f.debug_struct("Alternates").field("copies", &names).finish_non_exhaustive()
    }
}

impl<'a> Alternates<'a> {
    /// `told` hears each failure that another copy made good.
    #[must_use]
    pub fn new(repositories: &[&'a Repository], told: Option<Told<'a>>) -> Self {
        let copies = repositories.iter().map(|repository| Copy {
            name: repository.config.name.clone(),
            store: repository.store.as_ref(),
            failures: AtomicU32::new(0),
        });
        Self { copies: copies.collect(), told, notes: Mutex::default() }
    }

    /// A store alone.
    #[must_use]
    pub fn one(store: &'a dyn Store) -> Self {
        let copy = Copy { name: String::new(), store, failures: AtomicU32::new(0) };
        Self { copies: vec![copy], told: None, notes: Mutex::default() }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.copies.len()
    }

    /// What failed, and which copy it went on from.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Does `act` on one copy after the other until one succeeds. A copy that was left aside is
    /// asked last, and is asked: it is better than none. `act` hears a copy's number, which stays
    /// the same, and its store. `what` is read, in words.
    ///
    /// # Errors
    /// The failure, where there is one copy; [`ScanError::EveryCopy`] where none of several gave
    /// it. A cancel and faults of Lifeboat's own end it at once.
    pub fn attempt<T>(
        &self,
        what: &dyn Fn() -> String,
        mut act: impl FnMut(usize, &'a dyn Store) -> Result<T, ScanError>,
    ) -> Result<T, ScanError> {
        let mut order: Vec<(usize, &Copy<'a>)> = self.copies.iter().enumerate().collect();
        // Stable: the best stays first among those that are not aside.
        order.sort_by_key(|(_, copy)| copy.failures.load(Ordering::Relaxed) >= FAILURES);
        let mut failed: Vec<(&Copy<'a>, ScanError)> = Vec::new();
        for (number, copy) in order {
            match act(number, copy.store) {
                Ok(done) => {
                    for (bad, error) in &failed {
                        self.tell(bad, error, what, &copy.name);
                    }
                    return Ok(done);
                }
                Err(error @ (ScanError::Cancelled | ScanError::Internal(_))) => return Err(error),
                Err(error) => failed.push((copy, error)),
            }
        }
        // Where nobody has it, the copies are all alike: none is blamed.
        let mut failures: Vec<(String, ScanError)> =
            failed.into_iter().map(|(copy, error)| (copy.name.clone(), error)).collect();
        match failures.len() {
            0 => Err(ScanError::Internal(String::from("no copy was given to read from"))),
            1 => Err(failures.remove(0).1),
            _ => Err(ScanError::EveryCopy { what: what(), failures }),
        }
    }

    fn tell(&self, bad: &Copy<'_>, error: &ScanError, what: &dyn Fn() -> String, next: &str) {
        let gone = match error {
            // Each further try would cost as much time again.
            ScanError::Store(error) => {
                matches!(error.fault, StoreFault::TimedOut | StoreFault::NotFound)
            }
            _ => false,
        };
        let add = if gone { ASIDE } else { 1 };
        let before = bad.failures.fetch_add(add, Ordering::Relaxed);
        let aside = before < FAILURES && before.saturating_add(add) >= FAILURES;
        if before >= TOLD {
            return;
        }
        let mut text = format!(
            "The copy in \"{}\" failed at {}: {error}; went on from the copy in \"{next}\".",
            bad.name,
            what()
        );
        if aside {
            text.push_str(&format!(" \"{}\" is left aside from here on.", bad.name));
        }
        self.note(text);
    }

    /// Tells what an operator should know of the copies.
    pub fn note(&self, text: String) {
        if let Some(told) = self.told {
            told(&text);
        }
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::repository::store::StoreError;
    use crate::engine::repository::testing::Place;

    fn failing() -> ScanError {
        ScanError::Store(StoreError::new(StoreFault::Unavailable, "no answer"))
    }

    fn what() -> String {
        String::from("byte 7")
    }

    #[test]
    fn the_next_copy_is_taken_and_a_bad_one_is_asked_last_at_length() {
        let (near, far) =
            (Place::plain().repository_of("near"), Place::plain().repository_of("far"));
        let heard = Mutex::new(Vec::new());
        let told = |text: &str| heard.lock().unwrap().push(text.to_owned());
        let copies = Alternates::new(&[&near.1, &far.1], Some(&told));
        let asked = Mutex::new(Vec::new());
        for _ in 0..5 {
            let from = copies
                .attempt(&what, |number, _| {
                    asked.lock().unwrap().push(number);
                    if number == 0 { Err(failing()) } else { Ok(number) }
                })
                .unwrap();
            assert_eq!(from, 1);
        }
        assert_eq!(*asked.lock().unwrap(), [0, 1, 0, 1, 0, 1, 1, 1]);
        assert_eq!(copies.notes().len(), 3);
        assert_eq!(*heard.lock().unwrap(), copies.notes());
        assert!(copies.notes()[0].contains("byte 7") && copies.notes()[0].contains("\"far\""));
        assert!(copies.notes()[2].contains("left aside"), "{:?}", copies.notes());
        // Aside is not lost: where the other fails, it is asked.
        let last = copies
            .attempt(&what, |number, _| if number == 1 { Err(failing()) } else { Ok(number) });
        assert_eq!(last.unwrap(), 0);
    }

    #[test]
    fn nothing_is_given_where_every_copy_fails() {
        let (near, far) =
            (Place::plain().repository_of("near"), Place::plain().repository_of("far"));
        let copies = Alternates::new(&[&near.1, &far.1], None);
        let none = copies.attempt(&what, |_, _| Err::<(), _>(failing())).unwrap_err();
        assert!(matches!(&none, ScanError::EveryCopy { failures, .. } if failures.len() == 2));
        assert!(!none.is_damage(), "out of reach is not damage");
        assert!(copies.notes().is_empty());
        let mut tries = 0;
        let cancelled = copies.attempt(&what, |_, _| {
            tries += 1;
            Err::<(), _>(ScanError::Cancelled)
        });
        assert!(matches!(cancelled, Err(ScanError::Cancelled)) && tries == 1);
    }
}
