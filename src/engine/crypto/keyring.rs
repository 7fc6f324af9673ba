//! Data keys: made at random, kept in the repository wrapped by the master key, opened once.
//! Owns `keys/<key id>.json`. Never writes a key in clear, and never overwrites a key object.

use super::envelope;
use super::master::{KeyError, MasterKey, MasterKeySource};
use super::tag::{self, TAG_LEN};
use crate::engine::repository::store::{Store, StoreFault};
use data_encoding::{BASE64, HEXLOWER};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use zeroize::Zeroizing;

/// The folder of key objects.
pub const FOLDER: &str = "keys/";
const FORMAT: u32 = 1;
const CIPHER: &str = "aes-256-cbc";
const DERIVATION: &str = "pbkdf2-hmac-sha256";

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

/// A key object as it is stored.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyObject {
    format: u32,
    id: String,
    created: Timestamp,
    cipher: String,
    derivation: String,
    iterations: u32,
    /// The passphrase in an OpenSSL envelope under the master key, as base64 on one line.
    wrapped: String,
    /// SHA-256 over all of the above: tells damage from a wrong master key.
    digest: String,
    /// The master key's fingerprint with this object's salt, made as slowly as its key.
    fingerprint: String,
    /// HMAC-SHA256 over the same as the digest, under a key from the master key.
    mac: String,
}

/// What the master key becomes for one key object.
struct Derived {
    mac_key: [u8; TAG_LEN],
    fingerprint: [u8; 8],
}

/// The data keys of one repository.
#[derive(Debug)]
pub struct Keyring {
    store: Arc<dyn Store>,
    source: MasterKeySource,
    master: OnceLock<MasterKey>,
    opened: Mutex<HashMap<String, Arc<DataKey>>>,
}

impl Keyring {
    /// Reads nothing yet.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, source: MasterKeySource) -> Self {
        Self { store, source, master: OnceLock::new(), opened: Mutex::default() }
    }

    /// The ids of all data keys, oldest first.
    ///
    /// # Errors
    /// Where they could not be listed.
    pub fn list(&self) -> Result<Vec<String>, KeyError> {
        let objects = self.store.list(FOLDER, "")?;
        let id = |key: &str| Some(key.strip_prefix(FOLDER)?.strip_suffix(".json")?.to_owned());
        let mut ids: Vec<_> =
            objects.iter().filter_map(|o| id(&o.key)).filter(|i| is_key_id(i)).collect();
        ids.sort_unstable();
        Ok(ids)
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
        Ok(self.store.settle(&format!("{FOLDER}{}.json", key.id))?)
    }

    /// Writes the key's object, wrapped by the master key.
    fn store_key(&self, key: &DataKey, created: Timestamp) -> Result<(), KeyError> {
        let master = self.master()?;
        let salt = *random::<{ envelope::SALT_LEN }>()?;
        let wrapped = envelope::seal(master.bytes(), &salt, key.passphrase());
        let mut object = KeyObject {
            format: FORMAT,
            id: key.id.clone(),
            created,
            cipher: CIPHER.to_owned(),
            derivation: DERIVATION.to_owned(),
            iterations: envelope::ITERATIONS,
            wrapped: BASE64.encode(&wrapped),
            digest: String::new(),
            fingerprint: String::new(),
            mac: String::new(),
        };
        let derived = derive(master, &salt);
        object.digest = HEXLOWER.encode(&object.digest());
        object.fingerprint = HEXLOWER.encode(&derived.fingerprint);
        object.mac = HEXLOWER.encode(&object.mac(&derived));
        let mut text = serde_json::to_vec_pretty(&object)
            .map_err(|e| self.damaged(&key.id, &format!("it could not be written as JSON: {e}")))?;
        text.push(b'\n');
        Ok(self.store.put(&format!("{FOLDER}{}.json", key.id), &text)?)
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
        let master = self.master()?;
        let text = self.store.read(&format!("{FOLDER}{id}.json")).map_err(|e| match e.fault {
            StoreFault::NotFound => self.missing(id),
            _ => KeyError::Store(e),
        })?;
        let object: KeyObject = serde_json::from_slice(&text)
            .map_err(|e| self.damaged(id, &format!("it is not a key object: {e}")))?;
        let passphrase = self.unwrap(id, &object, master)?;
        Ok(self.keep(DataKey { id: id.to_owned(), passphrase }))
    }

    fn unwrap(
        &self,
        id: &str,
        object: &KeyObject,
        master: &MasterKey,
    ) -> Result<Zeroizing<String>, KeyError> {
        let damaged = |why: &str| self.damaged(id, why);
        if object.id != id {
            return Err(damaged(&format!("it says that it is the key {}", object.id)));
        }
        let hex = |text: &str, name: &str| {
            HEXLOWER
                .decode(text.as_bytes())
                .map_err(|_| damaged(&format!("its {name} is not hexadecimal")))
        };
        if !tag::same(&object.digest(), &hex(&object.digest, "digest")?) {
            return Err(damaged("its content does not match its digest"));
        }
        if object.format != FORMAT
            || object.cipher != CIPHER
            || object.derivation != DERIVATION
            || object.iterations != envelope::ITERATIONS
        {
            return Err(damaged("it is in a form that this version does not know"));
        }
        let wrapped = BASE64
            .decode(object.wrapped.as_bytes())
            .map_err(|_| damaged("its wrapped key is not base64"))?;
        let salt = envelope::salt_of(&wrapped).map_err(|e| damaged(&e.to_string()))?;
        let derived = derive(master, &salt);
        let mac = hex(&object.mac, "mac")?;
        let mac_fits = tag::same(&object.mac(&derived), &mac);
        if !mac_fits {
            let fingerprint = hex(&object.fingerprint, "fingerprint")?;
            if !tag::same(&derived.fingerprint, &fingerprint) {
                let place = self.source.to_string();
                return Err(KeyError::WrongMasterKey { id: id.to_owned(), place });
            }
            return Err(damaged("its authentication tag does not fit"));
        }
        let passphrase = envelope::open(master.bytes(), wrapped)
            .map_err(|e| damaged(&format!("its wrapped key does not open: {e}")))?;
        match String::from_utf8(passphrase) {
            Ok(text) if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
                Ok(Zeroizing::new(text))
            }
            Ok(text) => {
                drop(Zeroizing::new(text));
                Err(damaged("what it wraps is not a data key"))
            }
            Err(e) => {
                drop(Zeroizing::new(e.into_bytes()));
                Err(damaged("what it wraps is not a data key"))
            }
        }
    }

    fn master(&self) -> Result<&MasterKey, KeyError> {
        if let Some(master) = self.master.get() {
            return Ok(master);
        }
        let loaded = MasterKey::load(&self.source)?;
        Ok(self.master.get_or_init(|| loaded))
    }

    fn keep(&self, key: DataKey) -> Arc<DataKey> {
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(opened.entry(key.id.clone()).or_insert_with(|| Arc::new(key)))
    }

    fn damaged(&self, id: &str, why: &str) -> KeyError {
        let place = self.store.describe();
        KeyError::Damaged { id: id.to_owned(), place, why: why.to_owned() }
    }

    fn missing(&self, id: &str) -> KeyError {
        KeyError::Missing { id: id.to_owned(), place: self.store.describe() }
    }
}

impl KeyObject {
    fn digest(&self) -> [u8; TAG_LEN] {
        self.with_parts(|parts| tag::digest("key object", parts))
    }

    fn mac(&self, derived: &Derived) -> [u8; TAG_LEN] {
        self.with_parts(|parts| tag::keyed(&derived.mac_key, "key object", parts))
    }

    fn with_parts<T>(&self, use_them: impl FnOnce(&[&[u8]]) -> T) -> T {
        use_them(&[
            &self.format.to_be_bytes(),
            self.id.as_bytes(),
            self.created.to_string().as_bytes(),
            self.cipher.as_bytes(),
            self.derivation.as_bytes(),
            &self.iterations.to_be_bytes(),
            self.wrapped.as_bytes(),
        ])
    }
}

/// MAC key and fingerprint are the third and fourth block of the same derivation whose first two
/// are OpenSSL's key and IV: as slow to guess as the key itself, and unrelated to it.
fn derive(master: &MasterKey, salt: &[u8; envelope::SALT_LEN]) -> Derived {
    let mut blocks = Zeroizing::new([0_u8; 128]);
    envelope::stretch(master.bytes(), salt, &mut blocks[..]);
    let mut derived = Derived { mac_key: [0; TAG_LEN], fingerprint: [0; 8] };
    derived.mac_key.copy_from_slice(&blocks[64..96]);
    derived.fingerprint.copy_from_slice(&blocks[96..104]);
    derived
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

fn time_of(id: &str) -> Option<Timestamp> {
    let (time, _) = id.split_once('-')?;
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", time).ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp())
}

/// `YYYYMMDDTHHMMSS-` and eight hexadecimal digits.
#[must_use]
pub fn is_key_id(text: &str) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        text.get(range).is_some_and(|t| t.bytes().all(|b| b.is_ascii_digit()))
    };
    let hex = |t: &str| t.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    text.len() == 24
        && digits(0..8)
        && text.get(8..9) == Some("T")
        && digits(9..15)
        && text.get(15..16) == Some("-")
        && text.get(16..).is_some_and(hex)
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
        let gone = Keyring::new(store, ring.source.clone()).open(absent).unwrap_err();
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
