//! What an inject does to a sandbox, and what undoes it. Owns the acts; every one of them touches
//! files below the sandbox's own folder alone. When they happen is `drill::director`'s.

use super::error::DrillError;
use super::fence::Folder;
use super::place;
use super::processes;
use crate::engine::config::Config;
use crate::engine::files;
use crate::engine::incident::facts::Role;
use rustix::fs::OFlags;
use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Free bytes that a volume has where it is too small.
const LITTLE: u64 = 4_000_000;
/// How long a runner may take to end.
const ENDING: Duration = Duration::from_secs(30);
/// Names the WAL file that can be lost.
const GAP: &str = "gap";

/// The parts of a sandbox that injects act on.
#[derive(Debug, Clone)]
pub struct Ground {
    /// The sandbox's folder.
    pub root: PathBuf,
}

impl Ground {
    fn key(&self) -> PathBuf {
        self.root.join("keys/master")
    }

    fn repository(&self) -> PathBuf {
        self.root.join("repository")
    }

    /// Where things are that are "gone": nobody looks there, and the sandbox's end clears it.
    #[must_use]
    pub fn away(&self, name: &str) -> PathBuf {
        self.root.join("away").join(name)
    }

    fn config(&self) -> PathBuf {
        self.root.join("lifeboat.toml")
    }

    /// Lets the inject happen.
    ///
    /// # Errors
    /// Where it could not be done; then it has not struck.
    pub fn strike(&self, inject: &str) -> Result<(), DrillError> {
        match inject {
            "key-denied" => rename(&self.key(), &self.away("master")),
            "repository-down" => rename(&self.repository(), &self.away("repository")),
            "archive-gap" => self.lose_wal(),
            "damaged-backup" => self.damage_newest_backup(),
            "disk-too-small" => place::pretend_free(&self.root, Some(LITTLE)),
            "commander-absent" => self.set_role(Role::Operator),
            // What the others do is done while the sandbox is made, or only said.
            _ => Ok(()),
        }
    }

    /// Undoes it, as others would who were told. Nothing where there is nothing to undo.
    ///
    /// # Errors
    /// Where it could not be done.
    pub fn relieve(&self, inject: &str) -> Result<(), DrillError> {
        match inject {
            "key-denied" => rename(&self.away("master"), &self.key()),
            "repository-down" => rename(&self.away("repository"), &self.repository()),
            "disk-too-small" => place::pretend_free(&self.root, None),
            "commander-absent" => {
                self.set_role(Role::Commander)?;
                // Who may do what is read when a runner starts: the next one knows. Whoever is told
                // that it is undone must not find the one of before.
                processes::end_runners_of(&self.root, ENDING)
            }
            _ => Ok(()),
        }
    }

    /// The WAL file that is to be lost, which the server has parted with.
    ///
    /// # Errors
    /// Where it cannot be noted.
    pub fn mark_gap(&self, name: &str) -> Result<(), DrillError> {
        let path = self.away(GAP);
        make_folder_of(&path)?;
        files::create(&path, name.as_bytes(), 0o600)
            .map_err(DrillError::file(&path, "it could not be written"))
    }

    /// Takes the marked WAL file out of the archive.
    fn lose_wal(&self) -> Result<(), DrillError> {
        let mark = self.away(GAP);
        let name = fs::read_to_string(&mark).map_err(DrillError::file(&mark, "it is not there"))?;
        let path = Path::new("repository/wal-archive").join(name.get(..16).unwrap_or(&name));
        let folder = self.below(&path)?;
        let listed = folder.names();
        let listed =
            listed.map_err(DrillError::file(&self.root.join(&path), "it cannot be listed"))?;
        let away = self.below(Path::new("away"))?;
        let mut taken = false;
        for file in listed {
            if file.to_string_lossy().starts_with(&format!("{name}.")) {
                folder.rename(&file, &away, &file).map_err(DrillError::file(
                    &self.root.join(&path).join(&file),
                    "it could not be moved",
                ))?;
                taken = true;
            }
        }
        if taken {
            return Ok(());
        }
        let why = format!("it does not hold {name}");
        Err(DrillError::Refused { path: self.root.join(path), why })
    }

    /// A folder of the sandbox's, by a way without links: the server's user owns parts of it.
    fn below(&self, path: &Path) -> Result<Folder, DrillError> {
        Folder::open(&self.root)
            .and_then(|root| root.below(path))
            .map_err(DrillError::file(&self.root.join(path), "it cannot be opened"))
    }

    /// Flips bytes in the middle of the largest object of the newest set.
    fn damage_newest_backup(&self) -> Result<(), DrillError> {
        let path = self.repository();
        let folder = self.below(Path::new("repository"))?;
        let listed = folder.names().map_err(DrillError::file(&path, "it cannot be listed"))?;
        let newest = listed
            .into_iter()
            .filter(|name| {
                let name = name.to_string_lossy();
                name.starts_with("base-") && name.contains(".tar.")
            })
            .max();
        let name = newest.ok_or_else(|| DrillError::Refused {
            path: path.clone(),
            why: String::from("it holds no base backup to damage"),
        })?;
        let path = path.join(&name);
        let fail = |what: &'static str| DrillError::file(&path, what);
        let file = folder.file(&name, OFlags::RDWR).map_err(fail("it cannot be opened"))?;
        let size = file.metadata().map_err(fail("it cannot be read"))?.len();
        let mut bytes = [0_u8; 16];
        file.read_exact_at(&mut bytes, size / 2).map_err(fail("it cannot be read"))?;
        for byte in &mut bytes {
            *byte = !*byte;
        }
        file.write_all_at(&bytes, size / 2).map_err(fail("it could not be damaged"))
    }

    fn set_role(&self, role: Role) -> Result<(), DrillError> {
        let path = self.config();
        let text =
            fs::read_to_string(&path).map_err(DrillError::file(&path, "it cannot be read"))?;
        let mut config: Config = toml::from_str(&text).map_err(|error| {
            DrillError::file(&path, "it cannot be read")(std::io::Error::other(error))
        })?;
        for operator in &mut config.operators {
            operator.role = role;
        }
        write_config(&path, &config)
    }
}

/// Replaces the sandbox's configuration; its owner, group and mode stay.
///
/// # Errors
/// Where it cannot be written.
pub fn write_config(path: &Path, config: &Config) -> Result<(), DrillError> {
    let text = toml::to_string(config).map_err(|error| {
        DrillError::file(path, "it could not be written")(std::io::Error::other(error))
    })?;
    let fail = |what: &'static str| DrillError::file(path, what);
    // Its reader is the server's user too: it can be read by that user before it bears the name.
    let meta = path.symlink_metadata().map_err(fail("it cannot be read"))?;
    let fresh = files::temporary_beside(path);
    files::create_owned(&fresh, text.as_bytes(), 0o600, Some((meta.uid(), meta.gid())))
        .and_then(|()| fs::set_permissions(&fresh, meta.permissions()))
        .and_then(|()| fs::rename(&fresh, path))
        .map_err(fail("it could not be written"))
}

fn make_folder_of(path: &Path) -> Result<(), DrillError> {
    match path.parent() {
        Some(folder) if !folder.is_dir() => {
            place::make_private(folder).map_err(DrillError::file(folder, "it could not be made"))
        }
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), DrillError> {
    make_folder_of(to)?;
    fs::rename(from, to).map_err(DrillError::file(from, "it could not be moved"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> (tempfile::TempDir, Ground) {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().to_path_buf();
        for name in ["keys", "repository"] {
            fs::create_dir(root.join(name)).unwrap();
        }
        fs::write(root.join("keys/master"), "secret").unwrap();
        (folder, Ground { root })
    }

    #[test]
    fn what_is_taken_away_comes_back_as_it_was() {
        let (_folder, ground) = ground();
        ground.strike("key-denied").unwrap();
        assert!(!ground.key().exists());
        ground.relieve("key-denied").unwrap();
        assert_eq!(fs::read(ground.key()).unwrap(), b"secret");
        ground.strike("repository-down").unwrap();
        assert!(!ground.repository().exists());
        ground.relieve("repository-down").unwrap();
        assert!(ground.repository().is_dir());
    }

    #[test]
    fn the_newest_base_alone_is_damaged() {
        let (_folder, ground) = ground();
        let at = |name: &str| ground.repository().join(name);
        for name in ["base-20250101-000000.tar.gz.enc", "base-20250102-000000.tar.gz.enc"] {
            fs::write(at(name), [7_u8; 100]).unwrap();
        }
        fs::write(at("base-20250102-000000.manifest.json.enc"), [7_u8; 100]).unwrap();
        ground.strike("damaged-backup").unwrap();
        let damaged = |name: &str| fs::read(at(name)).unwrap() != [7_u8; 100];
        assert!(damaged("base-20250102-000000.tar.gz.enc"));
        assert!(!damaged("base-20250101-000000.tar.gz.enc"));
        assert!(!damaged("base-20250102-000000.manifest.json.enc"));
    }

    #[test]
    fn nothing_outside_is_damaged_or_taken_through_a_link() {
        let (folder, ground) = ground();
        let outside = folder.path().join("outside");
        fs::create_dir_all(outside.join("0000000100000000")).unwrap();
        let name = "000000010000000000000002";
        let wal = outside.join("0000000100000000").join(format!("{name}.gz.enc"));
        let base = outside.join("precious");
        for path in [&wal, &base] {
            fs::write(path, [7_u8; 100]).unwrap();
        }
        let at = |name: &str| ground.repository().join(name);
        std::os::unix::fs::symlink(&base, at("base-20250101-000000.tar.gz.enc")).unwrap();
        std::os::unix::fs::symlink(&outside, at("wal-archive")).unwrap();
        assert!(ground.strike("damaged-backup").is_err());
        ground.mark_gap(name).unwrap();
        assert!(ground.strike("archive-gap").is_err());
        assert_eq!([&wal, &base].map(|path| fs::read(path).unwrap()), [[7_u8; 100]; 2]);
    }

    #[test]
    fn a_wal_file_that_was_marked_is_lost_from_the_archive_and_no_other() {
        let (_folder, ground) = ground();
        let name = |number: u32| format!("0000000100000000000000{number:02X}");
        let archive = ground.repository().join("wal-archive/0000000100000000");
        fs::create_dir_all(&archive).unwrap();
        let file = |number| archive.join(format!("{}.gz.enc", name(number)));
        (1..4).for_each(|number| fs::write(file(number), "wal").unwrap());
        assert!(ground.strike("archive-gap").is_err(), "none was marked");
        ground.mark_gap(&name(2)).unwrap();
        assert!(file(2).exists(), "not before it strikes");
        ground.strike("archive-gap").unwrap();
        assert_eq!([1, 2, 3].map(|number| file(number).exists()), [true, false, true]);
    }

    #[test]
    fn a_volume_is_small_only_while_it_is_told_so() {
        use crate::engine::recovery_point::reach::free_space;
        let (_folder, ground) = ground();
        let before = free_space(&ground.repository()).unwrap();
        ground.strike("disk-too-small").unwrap();
        // Without a sandbox's mark nobody believes the file.
        assert!(free_space(&ground.repository()).unwrap() > LITTLE || before <= LITTLE);
        ground.relieve("disk-too-small").unwrap();
    }
}
