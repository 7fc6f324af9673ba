//! A copy of a kept data directory, to be started in its stead. Reads the kept one and writes
//! nothing into it; where the file system can, the copies share their blocks until they change.

use super::error::PartsError;
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::Owner;
use std::fs;
use std::path::Path;

/// Files of a running or recovering server that a copy must not begin with.
const LEFT_OUT: [&str; 4] =
    ["postmaster.pid", "postmaster.opts", "recovery.signal", "standby.signal"];

/// Bytes of everything below `kept`, what its links lead to included.
///
/// # Errors
/// Where something cannot be read.
pub fn size(kept: &Path) -> Result<u64, PartsError> {
    let mut total = 0;
    for entry in fs::read_dir(kept).map_err(PartsError::file(kept, "it cannot be listed"))? {
        let path = entry.map_err(PartsError::file(kept, "it cannot be listed"))?.path();
        let meta = path.metadata().map_err(PartsError::file(&path, "it cannot be read"))?;
        total += if meta.is_dir() { size(&path)? } else { meta.len() };
    }
    Ok(total)
}

/// Copies `kept` to `copy`. A linked `pg_wal` becomes a folder; tablespaces go into `spaces`.
///
/// # Errors
/// Where something cannot be read or written; `kept` is as it was.
pub fn copy(kept: &Path, copy: &Path, spaces: &Path, owner: &Owner) -> Result<(), PartsError> {
    folder(kept, copy, owner)?;
    let links = kept.join("pg_tblspc");
    for entry in fs::read_dir(&links).map_err(PartsError::file(&links, "it cannot be listed"))? {
        let entry = entry.map_err(PartsError::file(&links, "it cannot be listed"))?;
        let (from, to) = (entry.path(), spaces.join(entry.file_name()));
        make(spaces, owner)?;
        folder(&from, &to, owner)?;
        let link = copy.join("pg_tblspc").join(entry.file_name());
        std::os::unix::fs::symlink(&to, &link)
            .map_err(PartsError::file(&link, "it could not be made"))?;
    }
    for name in LEFT_OUT {
        let path = copy.join(name);
        if path.exists() {
            fs::remove_file(&path).map_err(PartsError::file(&path, "it could not be left out"))?;
        }
    }
    Ok(())
}

fn make(path: &Path, owner: &Owner) -> Result<(), PartsError> {
    if path.is_dir() {
        return Ok(());
    }
    fs::create_dir(path)
        .and_then(|()| {
            fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
        })
        .and_then(|()| child::give(path, owner))
        .map_err(PartsError::file(path, "it could not be made"))
}

fn folder(from: &Path, to: &Path, owner: &Owner) -> Result<(), PartsError> {
    make(to, owner)?;
    for entry in fs::read_dir(from).map_err(PartsError::file(from, "it cannot be listed"))? {
        let entry = entry.map_err(PartsError::file(from, "it cannot be listed"))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        // Tablespaces are copied by who calls this.
        let space = from.file_name().is_some_and(|name| name == "pg_tblspc");
        let meta = source.metadata().map_err(PartsError::file(&source, "it cannot be read"))?;
        if space {
            continue;
        }
        if meta.is_dir() {
            folder(&source, &target, owner)?;
        } else if meta.is_file() {
            fs::copy(&source, &target)
                .and_then(|_| child::give(&target, owner))
                .map_err(PartsError::file(&target, "it could not be copied"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_its_own_tablespaces_and_wal_and_no_servers_traces() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for name in ["kept/pg_tblspc", "kept/base/1", "wal", "space/PG_15"] {
            fs::create_dir_all(at(name)).unwrap();
        }
        fs::write(at("kept/base/1/2"), "rows").unwrap();
        fs::write(at("kept/postmaster.pid"), "1").unwrap();
        fs::write(at("kept/standby.signal"), "").unwrap();
        fs::write(at("wal/1"), "log").unwrap();
        fs::write(at("space/PG_15/3"), "far").unwrap();
        std::os::unix::fs::symlink(at("wal"), at("kept/pg_wal")).unwrap();
        std::os::unix::fs::symlink(at("space"), at("kept/pg_tblspc/77")).unwrap();
        assert_eq!(size(&at("kept")).unwrap(), 11);
        copy(&at("kept"), &at("copy"), &at("spaces"), &Owner::current()).unwrap();
        let read = |name: &str| fs::read_to_string(at(name)).unwrap();
        assert_eq!(read("copy/base/1/2"), "rows");
        assert_eq!(read("copy/pg_wal/1"), "log");
        assert!(!at("copy/pg_wal").is_symlink());
        assert_eq!(read("copy/pg_tblspc/77/PG_15/3"), "far");
        assert_eq!(fs::read_link(at("copy/pg_tblspc/77")).unwrap(), at("spaces/77"));
        assert!(!at("copy/postmaster.pid").exists() && !at("copy/standby.signal").exists());
        assert!(at("kept/postmaster.pid").exists() && at("kept/standby.signal").exists());
    }
}
