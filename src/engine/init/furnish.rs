//! What a set-up puts on the disk before it speaks to the server: the master key, the
//! repository's folder, the configuration. Runs as whoever started the program, and gives to the
//! server's user what that user must own. Never overwrites and never shows a key.

use super::config_text::{self, Addition};
use super::error::InitError;
use crate::engine::config::{Config, StoreConfig};
use crate::engine::crypto::MasterKeySource;
use crate::engine::crypto::master::{KeyError, MasterKey};
use crate::engine::files;
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::Owner;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use zeroize::Zeroizing;

/// What became of something that was to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    New,
    /// It was there and is used.
    WasThere,
}

/// Makes sure that the server's user can run the program, by letting it.
///
/// # Errors
/// Where it cannot.
pub fn check_program(program: &Path, owner: &Owner) -> Result<(), InitError> {
    let refused = |why: String| InitError::Program {
        program: program.to_owned(),
        user: owner.to_string(),
        why,
    };
    let mut command = child::command(program, owner).map_err(|e| refused(e.to_string()))?;
    command.arg("--version");
    let ended = child::run(command, Duration::from_secs(30)).map_err(|e| refused(e.to_string()))?;
    if ended.ok() { Ok(()) } else { Err(refused(ended.said())) }
}

/// The master key: a new one of 256 random bits at mode 0600, or the one that is there after a
/// check that it can be used by the server's user.
///
/// # Errors
/// Where the one that is there cannot be used, or none can be made.
pub fn master_key(path: &Path, owner: &Owner) -> Result<Made, InitError> {
    match fs::symlink_metadata(path) {
        Ok(_) => {
            MasterKey::load(&MasterKeySource::File(path.to_owned()))?;
            let found = fs::metadata(path).map_err(InitError::file(path, "it cannot be read"))?;
            if found.uid() != owner.uid {
                let foreign = KeyError::ForeignOwner {
                    path: path.to_owned(),
                    owner: found.uid(),
                    user: owner.uid,
                };
                return Err(foreign.into());
            }
            return Ok(Made::WasThere);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(InitError::file(path, "it cannot be looked at")(error)),
    }
    make_parents(path)?;
    let mut random = Zeroizing::new([0_u8; 32]);
    getrandom::fill(random.as_mut())
        .map_err(|error| KeyError::Random(error.to_string()))
        .map_err(InitError::from)?;
    let line = Zeroizing::new(format!("{}\n", data_encoding::HEXLOWER.encode(random.as_ref())));
    files::create(path, line.as_bytes(), 0o600)
        .and_then(|()| child::give(path, owner))
        .map_err(InitError::file(path, "the master key could not be written"))?;
    Ok(Made::New)
}

/// The folder of a repository in files, for the server's user; nothing for one in a bucket.
///
/// # Errors
/// Where it cannot be made.
pub fn repository_folder(
    store: &StoreConfig,
    cluster: &str,
    owner: &Owner,
) -> Result<Option<Made>, InitError> {
    let Some(path) = folder_of(store, cluster) else { return Ok(None) };
    make_parents(&path)?;
    match DirBuilder::new().mode(0o700).create(&path) {
        Ok(()) => {
            child::give(&path, owner)
                .and_then(|()| files::sync_parent(&path))
                .map_err(InitError::file(&path, "its owner could not be set"))?;
            Ok(Some(Made::New))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(Some(Made::WasThere)),
        Err(error) => Err(InitError::file(&path, "the repository could not be made")(error)),
    }
}

/// Where a repository in files lies.
#[must_use]
pub fn folder_of(store: &StoreConfig, cluster: &str) -> Option<PathBuf> {
    let StoreConfig::File { path } = store else { return None };
    Some(
        path.to_str()
            .map_or_else(|| path.clone(), |text| PathBuf::from(text.replace("{cluster}", cluster))),
    )
}

/// Whether two places are on one volume; `None` where it cannot be told. A place that is not
/// there yet is on the volume of the nearest folder above it.
#[must_use]
pub fn same_volume(one: &Path, other: &Path) -> Option<bool> {
    let device = |path: &Path| {
        path.ancestors().find_map(|part| fs::metadata(part).ok()).map(|found| found.dev())
    };
    Some(device(one)? == device(other)?)
}

/// A configuration's text as it is; empty where there is no file.
///
/// # Errors
/// Where it is there and cannot be read.
pub fn read_config(path: &Path) -> Result<String, InitError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(InitError::file(path, "it cannot be read")(error)),
    }
}

/// Writes a new configuration, or adds to the one that `before` is the text of, all or nothing.
///
/// # Errors
/// Where the whole would not hold, or the file is no longer what `before` says.
pub fn write_config(path: &Path, before: &str, wanted: &Addition) -> Result<Config, InitError> {
    let after = format!("{before}{}", config_text::addition(before, wanted, path)?);
    let config = config_text::check(before, &after, path)?;
    let written = InitError::file(path, "the configuration could not be written");
    if before.is_empty() && !path.exists() {
        make_parents(path)?;
        // No secret stands in it, and both root and the server's user read it.
        files::create(path, after.as_bytes(), 0o644).map_err(written)?;
        return Ok(config);
    }
    if read_config(path)? != before {
        return Err(InitError::ChangedMeanwhile { path: path.to_owned() });
    }
    // What a link points to is written, not the link.
    let real = path.canonicalize().map_err(InitError::file(path, "it cannot be read"))?;
    let found = fs::metadata(&real).map_err(InitError::file(path, "it cannot be read"))?;
    files::replace(&real, after.as_bytes(), found.permissions().mode() & 0o777).map_err(written)?;
    if nix::unistd::geteuid().is_root() {
        std::os::unix::fs::chown(&real, Some(found.uid()), Some(found.gid()))
            .map_err(InitError::file(path, "its owner could not be kept"))?;
    }
    Ok(config)
}

/// The folders above a path, open to read for everybody: what is secret in them has its own mode.
fn make_parents(path: &Path) -> Result<(), InitError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(parent)
        .map_err(InitError::file(parent, "the folder could not be made"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_made_once_private_and_never_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/master.key");
        let owner = Owner::current();
        assert_eq!(master_key(&path, &owner).unwrap(), Made::New);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let first = fs::read(&path).unwrap();
        assert_eq!(first.len(), 65);
        assert_eq!(master_key(&path, &owner).unwrap(), Made::WasThere);
        assert_eq!(fs::read(&path).unwrap(), first);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(master_key(&path, &owner).is_err());
        assert_eq!(fs::read(&path).unwrap(), first);
    }

    #[test]
    fn another_users_key_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        master_key(&path, &Owner::current()).unwrap();
        let other = Owner { uid: 4_000_000, gid: 4_000_000, name: None };
        let refused = master_key(&path, &other).unwrap_err();
        assert!(refused.to_string().contains("belongs to"), "{refused}");
    }

    #[test]
    fn places_that_are_not_there_yet_are_on_the_volume_above() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("not/there/yet");
        assert_eq!(same_volume(&deep, folder.path()), Some(true));
        assert_eq!(same_volume(Path::new("/proc/none"), folder.path()), Some(false));
    }
}
