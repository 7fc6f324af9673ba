//! Data keys: made at random, kept in the repository wrapped by the master key, opened once.
//! Owns the objects under `keys/`: which there are, and which of them a master key opens. Never
//! writes a key in clear, and never overwrites a key object.

use super::envelope;
use super::master::{KeyError, MasterKey, MasterKeySource};
use super::tag::{self, TAG_LEN};
use super::wrap::{self, Wrap, WrapFault, time_of};
use crate::engine::repository::store::{Store, StoreError, StoreFault};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use zeroize::Zeroizing;

pub use super::wrap::{FOLDER, is_key_id};

/// A key that protects one base backup and the WAL archived while it is the newest.
pub struct DataKey {
    /// `20250113T020000-9f3a2b1c`: when it was made, and chance. By name is by age.
    pub id: String,
    /// 64 hexadecimal digits, as `openssl -pass` takes them.
    passphrase: Zeroizing<String>,
}

impl std::fmt::Debug for DataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl DataKey {
    /// For [`envelope::StreamKey::derive`].
    #[must_use]
    pub fn passphrase(&self) -> &[u8] {
        self.passphrase.as_bytes()
    }

    /// A key for HMAC, different for each purpose.
    #[must_use]
    pub fn mac_key(&self, purpose: &str) -> [u8; TAG_LEN] {
        tag::derive(self.passphrase(), format!("lifeboat/1/mac/{purpose}").as_bytes())
    }

    /// The tag of `parts`: HMAC-SHA256 with the purpose's own key. Parts are framed by their
    /// lengths, so that they cannot run together.
    #[must_use]
    pub fn tag(&self, purpose: &str, parts: &[&[u8]]) -> [u8; TAG_LEN] {
        tag::keyed(&self.mac_key(purpose), purpose, parts)
    }

    /// Whether `tag` is the tag of `parts`, compared in constant time.
    #[must_use]
    pub fn verify(&self, purpose: &str, parts: &[&[u8]], tag: &[u8]) -> bool {
        tag::same(&self.tag(purpose, parts), tag)
    }
}

/// The data keys of one repository.
#[derive(Debug)]
pub struct Keyring {
    store: Arc<dyn Store>,
    current: Holder,
    /// While a master key is being replaced: the one before, which other hosts may still have.
    previous: Option<Holder>,
    opened: Mutex<HashMap<String, Arc<DataKey>>>,
}

/// A master key that is read when it is first needed.
#[derive(Debug)]
struct Holder {
    source: MasterKeySource,
    master: OnceLock<Arc<MasterKey>>,
}

impl Holder {
    fn new(source: MasterKeySource) -> Self {
        Self { source, master: OnceLock::new() }
    }

    fn get(&self) -> Result<&Arc<MasterKey>, KeyError> {
        if let Some(master) = self.master.get() {
            return Ok(master);
        }
        let loaded = Arc::new(MasterKey::load(&self.source)?);
        Ok(self.master.get_or_init(|| loaded))
    }
}

impl Keyring {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, source: MasterKeySource) -> Self {
        Self { store, current: Holder::new(source), previous: None, opened: Mutex::default() }
    }

    /// With the master key that was in use before: what it wraps opens too, and new data keys are
    /// wrapped by both, so that hosts with either work with each other's.
    #[must_use]
    pub fn with_previous(mut self, source: Option<MasterKeySource>) -> Self {
        self.previous = source.map(Holder::new);
        self
    }

    /// With a master key that was read already; `source` is for messages.
    #[must_use]
    pub fn given(store: Arc<dyn Store>, source: MasterKeySource, master: Arc<MasterKey>) -> Self {
        let ring = Self::new(store, source);
        ring.current.master.get_or_init(|| master);
        ring
    }

    /// The ids of all data keys, oldest first.
    ///
    /// # Errors
    /// Where they could not be listed.
    pub fn list(&self) -> Result<Vec<String>, KeyError> {
        let ids: BTreeSet<String> = self.wraps()?.into_iter().map(|wrap| wrap.id).collect();
        Ok(ids.into_iter().collect())
    }

    /// All key objects, oldest data key first.
    ///
    /// # Errors
    /// Where they could not be listed.
    pub fn wraps(&self) -> Result<Vec<Wrap>, KeyError> {
        let objects = self.store.list(FOLDER, "")?;
        let mut wraps: Vec<Wrap> = objects.iter().filter_map(|o| Wrap::parse(&o.key)).collect();
        wraps.sort_unstable();
        Ok(wraps)
    }

    /// The newest data key; `None` where there is none yet.
    ///
    /// # Errors
    /// Where it is there and does not open.
    pub fn newest(&self) -> Result<Option<Arc<DataKey>>, KeyError> {
        self.list()?.last().map(|id| self.open(id)).transpose()
    }

    /// Reads the master key and opens the newest data key with it, where there is one.
    ///
    /// # Errors
    /// Where either fails.
    pub fn check(&self) -> Result<(), KeyError> {
        self.master()?;
        self.newest().map(drop)
    }

    /// Makes a data key; its object is durable when this returns.
    ///
    /// # Errors
    /// Where the master key cannot be read, or the object not be written.
    pub fn new_data_key(&self) -> Result<Arc<DataKey>, KeyError> {
        let created = Timestamp::now();
        let id = next_id(created, self.list()?.last().map(String::as_str))?;
        let passphrase = Zeroizing::new(HEXLOWER.encode(&random::<32>()?[..]));
        let key = DataKey { id, passphrase };
        self.store_key(&key, created)?;
        Ok(self.keep(key))
    }

    /// Takes on a data key of another repository, wrapped by this one's master key: what was
    /// encrypted with it opens here too. Durable when this returns; nothing to do where the same
    /// key is here already.
    ///
    /// # Errors
    /// Where another key of that id is here, or it could not be written.
    pub fn import(&self, key: &DataKey) -> Result<(), KeyError> {
        let created = time_of(&key.id).unwrap_or_else(Timestamp::now);
        let here = match self.open(&key.id) {
            Ok(here) => here,
            Err(KeyError::Missing { .. }) => {
                let ours = DataKey { id: key.id.clone(), passphrase: key.passphrase.clone() };
                match self.store_key(&ours, created) {
                    Ok(()) => {
                        self.keep(ours);
                        return Ok(());
                    }
                    // Somebody else imported it at the same moment.
                    Err(KeyError::Store(e)) if e.fault == StoreFault::Exists => {
                        self.open(&key.id)?
                    }
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        };
        if !tag::same(here.passphrase(), key.passphrase()) {
            return Err(self.damaged(&key.id, "it holds another key than the one to be copied"));
        }
        let wraps: Vec<Wrap> = self.wraps()?.into_iter().filter(|w| w.id == key.id).collect();
        if wraps.is_empty() {
            // Known from before, and removed since.
            return self.store_key(&here, created);
        }
        for wrap in &wraps {
            self.store.settle(&wrap.name())?;
        }
        // It may be here for an older master key alone.
        self.rewrap(&key.id, self.master()?).map(drop)
    }

    /// Writes the key's objects: one for each master key of this ring.
    fn store_key(&self, key: &DataKey, created: Timestamp) -> Result<(), KeyError> {
        let (master, passphrase) = (self.master()?, &key.passphrase);
        // For those who have the older master key alone, and first: once the key can be seen by
        // its first name, everybody can open it.
        if let Some(previous) = self.previous_master()?.filter(|one| !one.same(master)) {
            let name = wrap::later_name(&key.id, previous.fingerprint());
            match self.put(previous, &name, &key.id, created, passphrase) {
                Err(KeyError::Store(e)) if e.fault == StoreFault::Exists => {}
                put => put?,
            }
        }
        self.put(master, &wrap::first_name(&key.id), &key.id, created, passphrase)
    }

    /// Whether the data key's objects open now, as the repository has them and not from memory.
    ///
    /// # Errors
    /// As [`Keyring::open`].
    pub fn reread(&self, id: &str) -> Result<(), KeyError> {
        self.unwrapped(id).map(drop)
    }

    /// Opens a data key; the second time from memory.
    ///
    /// # Errors
    /// [`KeyError::WrongMasterKey`] and [`KeyError::Damaged`] are two different things; so is
    /// [`KeyError::Missing`], where the repository proves that it has no such key.
    pub fn open(&self, id: &str) -> Result<Arc<DataKey>, KeyError> {
        if let Some(key) = self.opened.lock().unwrap_or_else(PoisonError::into_inner).get(id) {
            return Ok(Arc::clone(key));
        }
        if !is_key_id(id) {
            return Err(self.missing(id));
        }
        let (passphrase, _) = self.unwrapped(id)?;
        Ok(self.keep(DataKey { id: id.to_owned(), passphrase }))
    }

    /// Makes sure that `to` opens the data key, by an object beside those that are there. Durable
    /// when this returns; true where an object was written.
    ///
    /// # Errors
    /// Where the key does not open with the master keys of this ring, or the object could not be
    /// written or is there and damaged.
    pub fn rewrap(&self, id: &str, to: &MasterKey) -> Result<bool, KeyError> {
        let (passphrase, created) = self.unwrapped(id)?;
        let same = |found: &Zeroizing<String>| {
            let fits = tag::same(found.as_bytes(), passphrase.as_bytes());
            fits.then_some(()).ok_or_else(|| self.damaged(id, "two of its objects hold two keys"))
        };
        match self.unwrap_object(&wrap::first_name(id), id, to) {
            Ok(Some(Ok((found, _)))) => return same(&found).map(|()| false),
            // Wrapped by another, or damaged and of no use: then by the other name.
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        let name = wrap::later_name(id, to.fingerprint());
        let written = match self.put(to, &name, id, created, &passphrase) {
            Ok(()) => true,
            Err(KeyError::Store(e)) if e.fault == StoreFault::Exists => {
                self.store.settle(&name)?;
                false
            }
            Err(error) => return Err(error),
        };
        // What counts is what is read back.
        match self.unwrap_object(&name, id, to)? {
            Some(Ok((found, _))) => same(&found).map(|()| written),
            Some(Err(fault)) => Err(self.damaged(id, &format!("{name}: {fault}"))),
            None => Err(self.damaged(id, &format!("{name} was written and is not there"))),
        }
    }

    /// Whether `master` opens this very object; `None` where it is not there any more.
    ///
    /// # Errors
    /// Where it could not be read.
    pub fn opens(
        &self,
        wrap: &Wrap,
        master: &MasterKey,
    ) -> Result<Option<Result<(), WrapFault>>, KeyError> {
        let outcome = self.unwrap_object(&wrap.name(), &wrap.id, master)?;
        Ok(outcome.map(|opened| opened.map(drop)))
    }

    /// Removes one object of a data key. The caller has proven that another opens it.
    ///
    /// # Errors
    /// Where the store keeps it.
    pub fn remove_wrap(&self, wrap: &Wrap) -> Result<(), KeyError> {
        self.removed(&wrap.name())
    }

    /// Destroys a data key: what it protects can never be opened again. The caller has proven
    /// that nothing needs it.
    ///
    /// # Errors
    /// [`KeyError::Missing`] where there is none; where the store keeps an object of it.
    pub fn remove(&self, id: &str) -> Result<(), KeyError> {
        let mut wraps: Vec<Wrap> = self.wraps()?.into_iter().filter(|w| w.id == id).collect();
        if wraps.is_empty() {
            return Err(self.missing(id));
        }
        // The first object last: a removal that was interrupted is seen and can be repeated.
        wraps.sort_by_key(|wrap| wrap.fingerprint.is_none());
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        wraps.iter().try_for_each(|wrap| self.removed(&wrap.name()))
    }

    /// The master key.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn master(&self) -> Result<&Arc<MasterKey>, KeyError> {
        self.current.get()
    }

    /// The master key before, where the configuration names one.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn previous_master(&self) -> Result<Option<&Arc<MasterKey>>, KeyError> {
        self.previous.as_ref().map(Holder::get).transpose()
    }

    /// By whichever object a master key of this ring opens. An intact object opens the key even
    /// where another is damaged.
    fn unwrapped(&self, id: &str) -> Result<(Zeroizing<String>, Timestamp), KeyError> {
        let first = self.read(&wrap::first_name(id))?;
        let (mut damage, mut other) = (None, false);
        for holder in std::iter::once(&self.current).chain(&self.previous) {
            let master = holder.get()?;
            let mut opened = first.as_ref().map(|text| wrap::unwrap(master, id, text));
            if !matches!(opened, Some(Ok(_))) {
                // A fingerprint is slow to make: only where an object could have it in its name.
                let later = if self.was_rewrapped(id)? {
                    self.read(&wrap::later_name(id, master.fingerprint()))?
                } else {
                    None
                };
                let later = later.map(|text| wrap::unwrap(master, id, &text));
                if let Some(Err(WrapFault::Damaged(why))) = &opened {
                    damage.get_or_insert(why.clone());
                }
                other |= opened.is_some();
                opened = later;
            }
            match opened {
                Some(Ok(found)) => return Ok(found),
                Some(Err(WrapFault::Damaged(why))) => {
                    damage.get_or_insert(why);
                }
                Some(Err(WrapFault::OtherMaster)) => other = true,
                None => {}
            }
        }
        if let Some(why) = damage {
            return Err(self.damaged(id, &why));
        }
        if other || self.was_rewrapped(id)? {
            let mut place = self.current.source.to_string();
            if let Some(previous) = &self.previous {
                place = format!("{place} (and {} before it)", previous.source);
            }
            return Err(KeyError::WrongMasterKey { id: id.to_owned(), place });
        }
        Err(self.missing(id))
    }

    fn was_rewrapped(&self, id: &str) -> Result<bool, StoreError> {
        let objects = self.store.list(FOLDER, &format!("{id}."))?;
        let mut wraps = objects.iter().filter_map(|object| Wrap::parse(&object.key));
        Ok(wraps.any(|wrap| wrap.fingerprint.is_some()))
    }

    #[allow(clippy::type_complexity, reason = "read, there, and opened are three questions")]
    fn unwrap_object(
        &self,
        name: &str,
        id: &str,
        master: &MasterKey,
    ) -> Result<Option<Result<(Zeroizing<String>, Timestamp), WrapFault>>, KeyError> {
        Ok(self.read(name)?.map(|text| wrap::unwrap(master, id, &text)))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        match self.store.read(name) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.fault == StoreFault::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    fn put(
        &self,
        master: &MasterKey,
        name: &str,
        id: &str,
        created: Timestamp,
        passphrase: &str,
    ) -> Result<(), KeyError> {
        let salt = random::<{ envelope::SALT_LEN }>()?;
        let text = wrap::wrap(master, &salt, id, created, passphrase.as_bytes())
            .map_err(|e| self.damaged(id, &format!("it could not be written as JSON: {e}")))?;
        Ok(self.store.put(name, &text)?)
    }

    fn removed(&self, name: &str) -> Result<(), KeyError> {
        match self.store.remove(name) {
            // Somebody else was first.
            Err(e) if e.fault == StoreFault::NotFound => Ok(()),
            removed => Ok(removed?),
        }
    }

    fn keep(&self, key: DataKey) -> Arc<DataKey> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(opened.entry(key.id.clone()).or_insert_with(|| Arc::new(key)))
    }

    pub(in crate::engine) fn damaged(&self, id: &str, why: &str) -> KeyError {
        let place = self.store.describe();
        KeyError::Damaged { id: id.to_owned(), place, why: why.to_owned() }
    }

    fn missing(&self, id: &str) -> KeyError {
        KeyError::Missing { id: id.to_owned(), place: self.store.describe() }
    }
}

/// Random bytes from the system.
///
/// # Errors
/// Where the system has none.
pub fn random<const N: usize>() -> Result<Zeroizing<[u8; N]>, KeyError> {
    let mut bytes = Zeroizing::new([0; N]);
    getrandom::fill(&mut bytes[..]).map_err(|e| KeyError::Random(e.to_string()))?;
    Ok(bytes)
}

/// An id that sorts after `newest`, whatever the clock says.
fn next_id(now: Timestamp, newest: Option<&str>) -> Result<String, KeyError> {
    let chance = HEXLOWER.encode(&random::<4>()?[..]);
    let mut second = now.as_second();
    if let Some(time) = newest.and_then(time_of) {
        second = second.max(time.as_second().saturating_add(1));
    }
    let time = Timestamp::from_second(second).unwrap_or(now);
    Ok(format!("{}-{chance}", time.strftime("%Y%m%dT%H%M%S")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::repository::store::posix::FileStore;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::{Path, PathBuf};

    fn master_file(folder: &Path, name: &str, key: &str) -> MasterKeySource {
        let path = folder.join(name);
        fs::write(&path, key).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        MasterKeySource::File(path)
    }

    fn ring() -> (tempfile::TempDir, Arc<FileStore>, Keyring) {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(FileStore::for_tests(&folder.path().join("repository")));
        let source = master_file(folder.path(), "master.key", "the master key of this test\n");
        let ring = Keyring::new(store.clone(), source);
        (folder, store, ring)
    }

    fn key_path(folder: &Path, id: &str) -> PathBuf {
        folder.join("repository/keys").join(format!("{id}.json"))
    }

    #[test]
    fn a_key_opens_again_from_the_repository() {
        let (folder, store, ring) = ring();
        assert!(ring.newest().unwrap().is_none());
        let first = ring.new_data_key().unwrap();
        let second = ring.new_data_key().unwrap();
        assert_eq!(ring.list().unwrap(), [first.id.clone(), second.id.clone()]);
        let other = Keyring::new(
            store,
            master_file(folder.path(), "same.key", "the master key of this test"),
        );
        let newest = other.newest().unwrap().unwrap();
        assert_eq!(newest.id, second.id);
        assert_eq!(newest.passphrase(), second.passphrase());
        assert_eq!(other.open(&first.id).unwrap().passphrase(), first.passphrase());
        assert_ne!(first.passphrase(), second.passphrase());
    }

    #[test]
    fn a_key_that_is_here_by_another_name_alone_is_imported() {
        let (_folder, _store, theirs) = ring();
        let key = theirs.new_data_key().unwrap();
        let (other, store, _) = ring();
        let old = || master_file(other.path(), "old.key", "the master key before it\n");
        let new = || master_file(other.path(), "new.key", "the master key after it\n");
        // Cut off between the two objects: the older master key's is there, and not the other.
        let first = Keyring::new(store.clone(), old());
        first.import(&key).unwrap();
        let rotated = || Keyring::new(store.clone(), new()).with_previous(Some(old()));
        rotated().rewrap(&key.id, rotated().master().unwrap()).unwrap();
        fs::remove_file(key_path(other.path(), &key.id)).unwrap();
        rotated().import(&key).unwrap();
        Keyring::new(store.clone(), new()).import(&key).unwrap();
        // The older master key's alone.
        store
            .remove(&wrap::later_name(&key.id, rotated().master().unwrap().fingerprint()))
            .unwrap();
        first.reread(&key.id).unwrap_err();
        first.import(&key).unwrap();
        first.reread(&key.id).unwrap();
        rotated().import(&key).unwrap();
        Keyring::new(store, new()).reread(&key.id).unwrap();
    }

    #[test]
    fn a_key_of_another_repository_opens_under_this_ones_master_key() {
        let (_folder, _store, theirs) = ring();
        let (other, store, _) = ring();
        let source = || master_file(other.path(), "other.key", "quite another master key\n");
        let ours = Keyring::new(store.clone(), source());
        let key = theirs.new_data_key().unwrap();
        ours.import(&key).unwrap();
        ours.import(&key).unwrap();
        let again = Keyring::new(store.clone(), source());
        assert_eq!(again.list().unwrap(), vec![key.id.clone()]);
        assert_eq!(again.open(&key.id).unwrap().passphrase(), key.passphrase());
        // The same id with another content is never taken for it.
        let impostor = DataKey { id: key.id.clone(), passphrase: "0".repeat(64).into() };
        assert!(matches!(again.import(&impostor), Err(KeyError::Damaged { .. })));
        assert_eq!(
            Keyring::new(store, source()).open(&key.id).unwrap().passphrase(),
            key.passphrase()
        );
    }

    #[test]
    fn a_wrong_master_key_and_a_damaged_object_are_two_things() {
        let (folder, store, ring) = ring();
        let id = ring.new_data_key().unwrap().id.clone();
        let wrong = master_file(folder.path(), "wrong.key", "another master key altogether");
        let refused = Keyring::new(store.clone(), wrong).open(&id).unwrap_err();
        assert!(matches!(refused, KeyError::WrongMasterKey { .. }), "{refused}");

        let right = || master_file(folder.path(), "master.key", "the master key of this test\n");
        let path = key_path(folder.path(), &id);
        let intact = fs::read(&path).unwrap();
        for at in 0..intact.len() {
            let mut flipped = intact.clone();
            flipped[at] ^= 1;
            fs::write(&path, &flipped).unwrap();
            match Keyring::new(store.clone(), right()).open(&id) {
                Err(KeyError::Damaged { .. }) => {}
                // White space, and the fingerprint, which only chooses the words of a refusal.
                Ok(key) => assert_eq!(key.passphrase(), ring.open(&id).unwrap().passphrase()),
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
    }

    #[test]
    fn an_unknown_key_is_missing_and_an_unmounted_repository_is_not() {
        let (folder, store, ring) = ring();
        let absent = "20250101T000000-00000000";
        assert!(matches!(ring.open(absent), Err(KeyError::Missing { .. })));
        assert!(matches!(ring.open("../../etc/passwd"), Err(KeyError::Missing { .. })));
        fs::remove_dir_all(folder.path().join("repository")).unwrap();
        let gone = Keyring::new(store, ring.current.source.clone()).open(absent).unwrap_err();
        assert_eq!(gone.fault(), Some(StoreFault::Unavailable), "{gone}");
    }

    #[test]
    fn ids_ascend_even_when_the_clock_steps_back() {
        let now: Timestamp = "2025-01-13T02:00:00Z".parse().unwrap();
        let first = next_id(now, None).unwrap();
        assert!(first.starts_with("20250113T020000-") && is_key_id(&first), "{first}");
        let next = next_id("2024-01-01T00:00:00Z".parse().unwrap(), Some(&first)).unwrap();
        assert!(next.starts_with("20250113T020001-") && next > first, "{next}");
    }

    #[test]
    fn a_key_is_not_printed_and_purposes_differ() {
        let (_folder, _store, ring) = ring();
        let key = ring.new_data_key().unwrap();
        let printed = format!("{key:?} {ring:?}");
        assert!(!printed.contains(std::str::from_utf8(key.passphrase()).unwrap()));
        assert!(!printed.contains("the master key"));
        assert_ne!(key.mac_key("wal"), key.mac_key("set"));
        assert!(key.verify("wal", &[b"a"], &key.tag("wal", &[b"a"])));
        assert!(!key.verify("wal", &[b"a"], &key.tag("wal", &[b"b"])));
    }
}
