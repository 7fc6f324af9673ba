//! `encrypt IN OUT` and `decrypt IN OUT`: single files in OpenSSL's form. Owns finding the key
//! and the digest that vouch for a file; never overwrites, and leaves no output that turned out
//! not to be what was written.

mod streams;

use super::descriptor::{SetObject, set_time};
use super::wal_object::{ObjectName, short_tag};
use super::{Repository, RepositoryError};
use crate::engine::crypto::envelope::{self, Decryptor, EnvelopeError, StreamKey};
use crate::engine::crypto::keyring::random;
use crate::engine::crypto::master::read_passphrase;
use crate::engine::crypto::{Encryptor, KeyError, Protection, tag};
use crate::engine::explain::{Explain, Explanation, Kind, sentence};
use crate::engine::files;
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use sha2::Digest;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use streams::{Input, Output};

const PURPOSE: &str = "single file";

/// What the key is taken from.
#[derive(Debug, Clone, Copy)]
pub enum KeyFrom<'a> {
    /// A data key of the repository: the newest to encrypt; to decrypt, the one that the file's
    /// name, its set or its tag file names.
    Repository(&'a Repository),
    /// The first line of a private file, as with `openssl enc -pass file:`.
    Passphrase(&'a Path),
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Bytes of the output.
    pub bytes: u64,
    /// Whether the content is proven to be what was written.
    pub authenticated: bool,
    /// For the operator, where it is not.
    pub warning: Option<String>,
}

/// Why there is no output. None was left.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{} cannot be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} cannot be written: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    #[error("{} does not open: {why}", path.display())]
    Envelope { path: PathBuf, why: EnvelopeError },
    #[error("{} is not what was written: its {what} does not fit", path.display())]
    Damaged { path: PathBuf, what: &'static str },
    #[error("nothing says which key {} was encrypted with", .0.display())]
    UnknownKey(PathBuf),
    #[error("the repository {0} is not encrypted and has no key")]
    NoKeys(String),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    Repository(#[from] RepositoryError),
}

impl Explain for FileError {
    fn explanation(&self) -> Explanation {
        let (kind, next) = match self {
            Self::Key(error) => return error.explanation(),
            Self::Repository(error) => return error.explanation(),
            Self::Read { .. } => (Kind::Storage, "Check the path and its permissions."),
            Self::Write { .. } => (Kind::Storage, "Check space and permissions."),
            Self::Exists(_) => (Kind::Refused, "Name another output file."),
            Self::Envelope { .. } => {
                (Kind::Integrity, "Check the key, and take another copy of the file.")
            }
            Self::Damaged { .. } => (Kind::Integrity, "Take another copy of the file."),
            Self::UnknownKey(_) => (
                Kind::NotFound,
                "Keep the file's own name, and its .tag.json beside it; or name a passphrase file.",
            ),
            Self::NoKeys(_) => (Kind::Config, "Name a passphrase file."),
        };
        Explanation::new(kind, sentence(self), "No output was left.", next)
    }
}

/// What stands beside a file that was encrypted with a data key: `<file>.tag.json`.
#[derive(Debug, Serialize, Deserialize)]
struct TagFile {
    format: u32,
    key_id: String,
    /// Bytes of the encrypted file.
    size: u64,
    /// Over size and SHA-256 of the encrypted file.
    tag: String,
}

/// What a file's content must be.
enum Expected {
    Sha256(SetObject),
    Tag { protection: Protection, size: u64, tag: Vec<u8> },
    Wal { protection: Protection, name: ObjectName },
    Nothing,
}

/// Encrypts `input` into `output`, as `openssl enc -d -aes-256-cbc -pbkdf2` opens it. With a data
/// key, `<output>.tag.json` is written beside it. `progress` hears bytes read.
///
/// # Errors
/// Where either could not be read or written, or an output is there already.
pub fn encrypt(
    input: &Path,
    output: &Path,
    key: KeyFrom<'_>,
    progress: &dyn Fn(u64),
) -> Result<FileReport, FileError> {
    let tag_path = tag_path(output);
    let protection = match key {
        KeyFrom::Passphrase(_) => None,
        KeyFrom::Repository(repository) => match repository.current_protection()? {
            Protection::Key(key) => Some(key),
            Protection::Digest => return Err(FileError::NoKeys(repository.store.describe())),
        },
    };
    if protection.is_some() && tag_path.symlink_metadata().is_ok() {
        return Err(FileError::Exists(tag_path));
    }
    if let (Some(used), KeyFrom::Repository(repository)) = (&protection, key) {
        // The file leaves the repository: nothing else there would tell that its key is needed.
        repository.pin_key(&used.id)?;
    }
    let salt = *random::<{ envelope::SALT_LEN }>()?;
    let stream = match (&protection, key) {
        (Some(key), _) => StreamKey::derive(key.passphrase(), &salt),
        (None, KeyFrom::Passphrase(path)) => StreamKey::derive(&read_passphrase(path)?, &salt),
        (None, KeyFrom::Repository(_)) => return Err(FileError::UnknownKey(output.to_owned())),
    };
    let mut source = Input::open(input)?;
    let mut target = Output::create(output)?;
    target.write(&envelope::header(&salt))?;
    let (mut encryptor, mut sealed) = (Encryptor::new(&stream), Vec::new());
    while source.next()? {
        encryptor.update(source.chunk(), &mut sealed);
        target.write(&sealed)?;
        sealed.clear();
        progress(source.total);
    }
    encryptor.finish(&mut sealed);
    target.write(&sealed)?;
    let (bytes, sha256) = (target.total, target.sha256.clone().finalize());
    if let Some(key) = &protection {
        let tag = key.tag(PURPOSE, &[&bytes.to_be_bytes(), &sha256]);
        let beside =
            TagFile { format: 1, key_id: key.id.clone(), size: bytes, tag: HEXLOWER.encode(&tag) };
        // Before the file itself: a file without its tag could not be proven.
        files::create(&tag_path, &super::json(&beside)?, 0o600)
            .map_err(|source| FileError::Write { path: tag_path.clone(), source })?;
    }
    if let Err(failed) = target.finish() {
        if protection.is_some() {
            let _ = fs::remove_file(tag_path);
        }
        return Err(failed);
    }
    Ok(FileReport { bytes, authenticated: protection.is_some(), warning: None })
}

/// Decrypts `input` into `output`; what was compressed stays compressed. `progress` hears bytes
/// read. The output appears only once the whole content has been proven, where it can be.
///
/// # Errors
/// Where either could not be read or written, no key is known, or the content is not what was
/// written.
pub fn decrypt(
    input: &Path,
    output: &Path,
    key: KeyFrom<'_>,
    progress: &dyn Fn(u64),
) -> Result<FileReport, FileError> {
    let mut source = Input::open(input)?;
    let salt = source.salt()?;
    let (stream, expected) = match key {
        KeyFrom::Passphrase(path) => {
            (StreamKey::derive(&read_passphrase(path)?, &salt), Expected::Nothing)
        }
        KeyFrom::Repository(repository) => {
            let (protection, expected) = find_key(repository, input)?;
            let key = protection.key().ok_or_else(|| FileError::UnknownKey(input.to_owned()))?;
            (StreamKey::derive(key.passphrase(), &salt), expected)
        }
    };
    let mut whole = match &expected {
        // The tag of a WAL object is over its bytes, not their digest; it is at most 1 GiB.
        Expected::Wal { .. } => Some(envelope::header(&salt).to_vec()),
        _ => None,
    };
    let mut target = Output::create(output)?;
    let (mut decryptor, mut plain) = (Decryptor::new(&stream), Vec::new());
    while source.next()? {
        if let Some(whole) = &mut whole {
            whole.extend_from_slice(source.chunk());
        }
        decryptor.update(source.chunk(), &mut plain);
        target.write(&plain)?;
        plain.clear();
        progress(source.total);
    }
    let opened = decryptor.finish(&mut plain);
    prove(&source, &expected, whole.as_deref())?;
    opened.map_err(|why| FileError::Envelope { path: input.to_owned(), why })?;
    target.write(&plain)?;
    let bytes = target.total;
    target.finish()?;
    let authenticated = !matches!(expected, Expected::Nothing);
    let warning = (!authenticated).then(|| {
        format!(
            "{} carries no authentication: nothing proves that its content is what was written. \
             Compare it with another copy before you rely on it.",
            input.display()
        )
    });
    Ok(FileReport { bytes, authenticated, warning })
}

/// By the tag file beside it, by a WAL object's name, or by the set that a base object is of.
fn find_key(repository: &Repository, input: &Path) -> Result<(Protection, Expected), FileError> {
    let name = input.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    if repository.keyring().is_none() {
        return Err(FileError::NoKeys(repository.store.describe()));
    }
    let beside = tag_path(input);
    match fs::read(&beside) {
        Ok(text) => {
            let damaged = || FileError::Damaged { path: beside.clone(), what: "content" };
            let found: TagFile = serde_json::from_slice(&text).map_err(|_| damaged())?;
            let tag = HEXLOWER.decode(found.tag.as_bytes()).map_err(|_| damaged())?;
            let protection = repository.protection_of(name, Some(&found.key_id))?;
            let expected = Expected::Tag { protection: protection.clone(), size: found.size, tag };
            return Ok((protection, expected));
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(source) => return Err(FileError::Read { path: beside, source }),
    }
    if let Some(name) = ObjectName::parse(name) {
        let protection = repository.protection_of(&name.key, name.key_id.as_deref())?;
        return Ok((protection.clone(), Expected::Wal { protection, name }));
    }
    let unknown = || FileError::UnknownKey(input.to_owned());
    let set = name
        .strip_prefix("base-")
        .and_then(|rest| rest.get(..15))
        .map(|time| format!("set-{time}"))
        .filter(|set| set_time(set).is_some())
        .ok_or_else(unknown)?;
    let set = repository.read_set(&set)?;
    let object = set.objects.iter().find(|o| o.name == name).ok_or_else(unknown)?;
    let protection = repository.protection_of(name, set.key_id.as_deref())?;
    Ok((protection, Expected::Sha256(object.clone())))
}

fn tag_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".tag.json");
    PathBuf::from(name)
}

/// Compares what was read with what it must be.
fn prove(source: &Input, expected: &Expected, whole: Option<&[u8]>) -> Result<(), FileError> {
    let damaged = |what| FileError::Damaged { path: source.path.clone(), what };
    let sha256 = source.sha256.clone().finalize();
    let (fits, what) = match expected {
        Expected::Nothing => (true, ""),
        Expected::Sha256(object) => (
            object.size == source.total && object.sha256 == HEXLOWER.encode(&sha256),
            "digest in the set's descriptor",
        ),
        Expected::Tag { protection, size, tag } => (
            *size == source.total
                && protection.verify(PURPOSE, &[&size.to_be_bytes(), &sha256], tag),
            "tag",
        ),
        Expected::Wal { protection, name } => {
            let made = short_tag(protection, &name.file, name.codec, whole.unwrap_or_default());
            (tag::same(&made, &name.tag), "tag in its name")
        }
    };
    if fits { Ok(()) } else { Err(damaged(what)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::repository::testing::{Place, set_at};
    use sha2::Sha256;
    use std::os::unix::fs::PermissionsExt;

    fn content() -> Vec<u8> {
        (0..600_000_u32).flat_map(|i| (i / 7).to_le_bytes()).collect()
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_under_a_data_key_comes_back_proven_or_not_at_all() {
        let place = Place::encrypted();
        let (folder, repository) = (tempfile::tempdir().unwrap(), place.repository());
        let at = |name: &str| folder.path().join(name);
        fs::write(at("in"), content()).unwrap();
        let key = KeyFrom::Repository(&repository);
        encrypt(&at("in"), &at("out.enc"), key, &|_| {}).unwrap();
        let again = encrypt(&at("in"), &at("out.enc"), key, &|_| {}).unwrap_err();
        assert!(matches!(again, FileError::Exists(_)), "{again}");

        let report = decrypt(&at("out.enc"), &at("back"), key, &|_| {}).unwrap();
        assert!(report.authenticated && report.warning.is_none());
        assert_eq!(fs::read(at("back")).unwrap(), content());
        let exists = decrypt(&at("out.enc"), &at("back"), key, &|_| {}).unwrap_err();
        assert!(matches!(exists, FileError::Exists(_)), "{exists}");

        let intact = fs::read(at("out.enc")).unwrap();
        for position in [8, 16, 1_000_000, intact.len() - 1] {
            let mut flipped = intact.clone();
            flipped[position] ^= 4;
            fs::write(at("out.enc"), flipped).unwrap();
            let refused = decrypt(&at("out.enc"), &at("no"), key, &|_| {}).unwrap_err();
            assert!(matches!(refused, FileError::Damaged { .. }), "{position}: {refused}");
        }
        fs::write(at("out.enc"), &intact[..intact.len() - 16]).unwrap();
        assert!(decrypt(&at("out.enc"), &at("no"), key, &|_| {}).is_err(), "cut short");
        fs::remove_file(at("out.enc.tag.json")).unwrap();
        let unknown = decrypt(&at("out.enc"), &at("no"), key, &|_| {}).unwrap_err();
        assert!(matches!(unknown, FileError::UnknownKey(_)), "{unknown}");
        assert_eq!(names(folder.path()), ["back", "in", "out.enc"]);
    }

    #[test]
    fn an_object_of_a_set_or_of_the_archive_is_proven_by_what_names_it() {
        let place = Place::encrypted();
        let (folder, repository) = (tempfile::tempdir().unwrap(), place.repository());
        let at = |name: &str| folder.path().join(name);
        let mut set = set_at(&repository, "2025-01-13T02:00:00Z".parse().unwrap());
        let key = repository.protection_of("", set.key_id.as_deref()).unwrap();
        let name = "base-20250113-020000.tar.gz.enc";
        let sealed =
            envelope::seal(key.key().unwrap().passphrase(), b"saltsalt", b"a compressed tar");
        set.objects[0] = SetObject {
            name: name.to_owned(),
            size: sealed.len() as u64,
            sha256: HEXLOWER.encode(&Sha256::digest(&sealed)),
        };
        repository.write_set(&set).unwrap();
        fs::write(at(name), &sealed).unwrap();
        let from = KeyFrom::Repository(&repository);
        assert!(decrypt(&at(name), &at("base"), from, &|_| {}).unwrap().authenticated);
        assert_eq!(fs::read(at("base")).unwrap(), b"a compressed tar");

        repository.put_wal("00000002.history", b"1\t0/3000000\tan accident\n").unwrap();
        let wal = names(&place.root().join("wal-archive")).remove(0);
        fs::copy(place.root().join("wal-archive").join(&wal), at(&wal)).unwrap();
        assert!(decrypt(&at(&wal), &at("history.gz"), from, &|_| {}).unwrap().authenticated);

        for object in [name, wal.as_str()] {
            let mut flipped = fs::read(at(object)).unwrap();
            flipped[20] ^= 1;
            fs::write(at(object), flipped).unwrap();
            let refused = decrypt(&at(object), &at("no"), from, &|_| {}).unwrap_err();
            assert!(matches!(refused, FileError::Damaged { .. }), "{object}: {refused}");
            assert!(!at("no").exists());
        }
    }

    #[test]
    fn a_bare_file_opens_with_its_passphrase_and_a_warning() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (name, key) in [("right", "old\n"), ("wrong", "other\n")] {
            fs::write(at(name), key).unwrap();
            fs::set_permissions(at(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        fs::write(at("in"), content()).unwrap();
        let (right, wrong) = (at("right"), at("wrong"));
        encrypt(&at("in"), &at("enc"), KeyFrom::Passphrase(&right), &|_| {}).unwrap();
        let report =
            decrypt(&at("enc"), &at("back"), KeyFrom::Passphrase(&right), &|_| {}).unwrap();
        assert!(!report.authenticated);
        assert!(report.warning.unwrap().contains("no authentication"));
        assert_eq!(fs::read(at("back")).unwrap(), content());
        let refused = decrypt(&at("enc"), &at("no"), KeyFrom::Passphrase(&wrong), &|_| {});
        // One wrong key in 256 leaves something that looks like padding.
        assert!(refused.is_err() || fs::read(at("no")).unwrap() != content());
        fs::write(at("short"), b"Salted__").unwrap();
        let refused = decrypt(&at("short"), &at("no2"), KeyFrom::Passphrase(&right), &|_| {});
        assert!(matches!(refused, Err(FileError::Envelope { .. })));
        fs::set_permissions(at("right"), fs::Permissions::from_mode(0o644)).unwrap();
        let refused = decrypt(&at("enc"), &at("no3"), KeyFrom::Passphrase(&right), &|_| {});
        assert!(matches!(refused, Err(FileError::Key(KeyError::Exposed { .. }))));
    }
}
