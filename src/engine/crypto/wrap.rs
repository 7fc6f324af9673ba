//! A data key under a master key: the object `keys/….json`, made and opened. Owns its form and
//! how a wrong master key is told from damage; reads and writes no store.

use super::envelope::{self, StreamKey};
use super::master::{MasterKey, is_fingerprint};
use super::tag::{self, TAG_LEN};
use data_encoding::{BASE64, HEXLOWER};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// The folder of key objects.
pub const FOLDER: &str = "keys/";
const FORMAT: u32 = 1;
const CIPHER: &str = "aes-256-cbc";
const DERIVATION: &str = "pbkdf2-hmac-sha256";

/// The object's name where the key was made under this master key.
#[must_use]
pub fn first_name(id: &str) -> String {
    format!("{FOLDER}{id}.json")
}

/// The object's name where the key was wrapped again, for the master key of this fingerprint.
#[must_use]
pub fn later_name(id: &str, fingerprint: &str) -> String {
    format!("{FOLDER}{id}.{fingerprint}.json")
}

/// A key object, by its name alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wrap {
    /// The data key's id.
    pub id: String,
    /// Of the master key that it was wrapped again for; `None` for the one it was made under.
    pub fingerprint: Option<String>,
}

impl Wrap {
    /// Reads an object's name; `None` where it is not a key object's.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix(FOLDER)?.strip_suffix(".json")?;
        let (id, fingerprint) = match name.split_once('.') {
            Some((id, fingerprint)) => (id, Some(fingerprint)),
            None => (name, None),
        };
        let known = is_key_id(id) && fingerprint.is_none_or(is_fingerprint);
        known.then(|| Self { id: id.to_owned(), fingerprint: fingerprint.map(str::to_owned) })
    }

    /// The object's name.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.fingerprint {
            Some(fingerprint) => later_name(&self.id, fingerprint),
            None => first_name(&self.id),
        }
    }
}

/// Why a key object does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WrapFault {
    #[error("it is wrapped by another master key")]
    OtherMaster,
    #[error("{0}")]
    Damaged(String),
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
    /// Of the wrapped key's envelope.
    stream: StreamKey,
    mac_key: [u8; TAG_LEN],
    fingerprint: [u8; 8],
}

/// The key object's content: `passphrase` wrapped by `master` with `salt`, which must be new.
///
/// # Errors
/// Where it could not be written as JSON.
pub fn wrap(
    master: &MasterKey,
    salt: &[u8; envelope::SALT_LEN],
    id: &str,
    created: Timestamp,
    passphrase: &[u8],
) -> Result<Vec<u8>, serde_json::Error> {
    let derived = derive(master, salt);
    let mut object = KeyObject {
        format: FORMAT,
        id: id.to_owned(),
        created,
        cipher: CIPHER.to_owned(),
        derivation: DERIVATION.to_owned(),
        iterations: envelope::ITERATIONS,
        wrapped: BASE64.encode(&envelope::seal_with(&derived.stream, salt, passphrase)),
        digest: String::new(),
        fingerprint: String::new(),
        mac: String::new(),
    };
    object.digest = HEXLOWER.encode(&object.digest());
    object.fingerprint = HEXLOWER.encode(&derived.fingerprint);
    object.mac = HEXLOWER.encode(&object.mac(&derived));
    let mut text = serde_json::to_vec_pretty(&object)?;
    text.push(b'\n');
    Ok(text)
}

/// The passphrase of the data key `id` in a key object, and when the key was made.
///
/// # Errors
/// Another master key and damage are two different things.
pub fn unwrap(
    master: &MasterKey,
    id: &str,
    text: &[u8],
) -> Result<(Zeroizing<String>, Timestamp), WrapFault> {
    let damaged = |why: &str| WrapFault::Damaged(why.to_owned());
    let object: KeyObject = serde_json::from_slice(text)
        .map_err(|e| damaged(&format!("it is not a key object: {e}")))?;
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
    if !tag::same(&object.mac(&derived), &mac) {
        let fingerprint = hex(&object.fingerprint, "fingerprint")?;
        if !tag::same(&derived.fingerprint, &fingerprint) {
            return Err(WrapFault::OtherMaster);
        }
        return Err(damaged("its authentication tag does not fit"));
    }
    let passphrase = envelope::open_with(&derived.stream, wrapped)
        .map_err(|e| damaged(&format!("its wrapped key does not open: {e}")))?;
    match String::from_utf8(passphrase) {
        Ok(text) if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok((Zeroizing::new(text), object.created))
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
    let stream = StreamKey::of(blocks.first_chunk().unwrap_or(&[0; 48]));
    let mut derived = Derived { stream, mac_key: [0; TAG_LEN], fingerprint: [0; 8] };
    derived.mac_key.copy_from_slice(&blocks[64..96]);
    derived.fingerprint.copy_from_slice(&blocks[96..104]);
    derived
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

/// When a key was made, by its id.
#[must_use]
pub fn time_of(id: &str) -> Option<Timestamp> {
    let (time, _) = id.split_once('-')?;
    let civil = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", time).ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp())
}
