//! What the server's user may do in a sandbox's folder, where another user made it: what is lent to
//! it for reading, and what is given to it. Owns the way to everything in there for that other user:
//! from an open folder, name by name, following no link, so that nothing the server's user plants
//! leads out. Never decides what is to be done there.

use crate::engine::files;
use crate::engine::postgres::discovery::Owner;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, chownat, fchmod, openat, statat, unlinkat,
};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Component, Path, PathBuf};

/// An open folder.
#[derive(Debug)]
pub struct Folder(File);

impl Folder {
    /// Opens a folder that is no link.
    ///
    /// # Errors
    /// Where it is none, or cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        open_folder(rustix::fs::CWD, path.as_os_str())
    }

    /// A folder somewhere below, by a path without links.
    ///
    /// # Errors
    /// Where a part of the path is a link or no folder, or cannot be opened.
    pub fn below(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        let mut folder = Self(self.0.try_clone()?);
        for part in path.as_ref().components() {
            let Component::Normal(name) = part else {
                return Err(io::Error::from(io::ErrorKind::InvalidInput));
            };
            folder = open_folder(&folder.0, name)?;
        }
        Ok(folder)
    }

    /// Of the folder itself.
    ///
    /// # Errors
    /// Where the kernel does not say.
    pub fn metadata(&self) -> io::Result<fs::Metadata> {
        self.0.metadata()
    }

    /// Whether it is this user's, and nobody else can change what is in it.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.metadata().is_ok_and(|meta| {
            meta.uid() == nix::unistd::geteuid().as_raw() && meta.mode() & 0o022 == 0
        })
    }

    /// What is in it, by name.
    ///
    /// # Errors
    /// Where it cannot be listed.
    pub fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.0)? {
            let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether there is a folder of that name, and no link.
    #[must_use]
    pub fn has_folder(&self, name: impl AsRef<OsStr>) -> bool {
        statat(&self.0, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
    }

    /// Whether nothing has that name.
    #[must_use]
    pub fn is_free(&self, name: impl AsRef<OsStr>) -> bool {
        statat(&self.0, name.as_ref(), AtFlags::SYMLINK_NOFOLLOW).err() == Some(Errno::NOENT)
    }

    /// Opens a plain file that has no other name.
    ///
    /// # Errors
    /// Where it is none, or cannot be opened.
    pub fn file(&self, name: impl AsRef<OsStr>, how: OFlags) -> io::Result<File> {
        // A pipe in the place of the file must not hang us at the open.
        let how = how | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        plain(openat(&self.0, name.as_ref(), how, Mode::empty())?.into())
    }

    /// Replaces a file by `content`, all or nothing, durable on return.
    ///
    /// # Errors
    /// Any I/O error; the file is then as it was.
    pub fn replace(
        &self,
        name: impl AsRef<OsStr>,
        content: &[u8],
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> io::Result<()> {
        let name = name.as_ref();
        let fresh = files::temporary_beside(Path::new(name));
        let how = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let made = openat(&self.0, &fresh, how, Mode::from_raw_mode(mode))?;
        let mut file = File::from(made);
        let written = own(&file, owner)
            .and_then(|()| file.write_all(content))
            .and_then(|()| file.sync_all())
            .and_then(|()| Ok(rustix::fs::renameat(&self.0, &fresh, &self.0, name)?))
            .and_then(|()| self.0.sync_all());
        if written.is_err() {
            let _ = unlinkat(&self.0, &fresh, AtFlags::empty());
        }
        written
    }

    /// Makes a folder, of `owner` where one is given.
    ///
    /// # Errors
    /// Where it could not be made.
    pub fn make(&self, name: impl AsRef<OsStr>, owner: Option<(u32, u32)>) -> io::Result<Self> {
        rustix::fs::mkdirat(&self.0, name.as_ref(), Mode::from_raw_mode(0o700))?;
        let folder = open_folder(&self.0, name.as_ref())?;
        own(&folder.0, owner)?;
        Ok(folder)
    }

    /// Where a link leads.
    ///
    /// # Errors
    /// Where it is none.
    pub fn link(&self, name: impl AsRef<OsStr>) -> io::Result<PathBuf> {
        let to = rustix::fs::readlinkat(&self.0, name.as_ref(), Vec::new())?;
        Ok(PathBuf::from(OsStr::from_bytes(to.to_bytes())))
    }

    /// Makes a link, or has it lead elsewhere.
    ///
    /// # Errors
    /// Where it could not be made; then it leads to where it led.
    pub fn set_link(
        &self,
        name: impl AsRef<OsStr>,
        to: &Path,
        owner: Option<(u32, u32)>,
    ) -> io::Result<()> {
        let name = name.as_ref();
        let fresh = files::temporary_beside(Path::new(name));
        rustix::fs::symlinkat(to, &self.0, &fresh)?;
        let given = owner.map_or(Ok(()), |(user, group)| {
            let (user, group) = (Uid::from_raw(user), Gid::from_raw(group));
            chownat(&self.0, &fresh, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)
        });
        let set = given.and_then(|()| rustix::fs::renameat(&self.0, &fresh, &self.0, name));
        if set.is_err() {
            let _ = unlinkat(&self.0, &fresh, AtFlags::empty());
        }
        Ok(set?)
    }

    /// Moves something to another folder.
    ///
    /// # Errors
    /// Where it could not be moved.
    pub fn rename(&self, name: impl AsRef<OsStr>, to: &Self, as_name: &OsStr) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.0, name.as_ref(), &to.0, as_name)?)
    }

    /// Removes what has that name, with everything in it; a link is removed and what it leads to is
    /// not. Nothing where nothing is there.
    ///
    /// # Errors
    /// The first thing that could not be removed.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = name.as_ref();
        match unlinkat(&self.0, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            Err(Errno::ISDIR) => {}
            Err(error) => return Err(error.into()),
        }
        let folder = open_folder(&self.0, name)?;
        for inner in folder.names()? {
            folder.remove(inner)?;
        }
        Ok(unlinkat(&self.0, name, AtFlags::REMOVEDIR)?)
    }
}

fn open_folder(at: impl AsFd, name: &OsStr) -> io::Result<Folder> {
    let how = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(Folder(openat(at, name, how, Mode::empty())?.into()))
}

/// An open file that has one name alone: another one could be a stranger's.
fn plain(file: File) -> io::Result<File> {
    let meta = file.metadata()?;
    if meta.is_file() && meta.nlink() == 1 {
        return Ok(file);
    }
    Err(io::Error::other("it is not a plain file with one name"))
}

fn own(file: &File, owner: Option<(u32, u32)>) -> io::Result<()> {
    match owner {
        Some((user, group)) => fchown(file, Some(user), Some(group)),
        None => Ok(()),
    }
}

/// The text of a plain file that is no link; where it has none, or cannot be read, an error.
///
/// # Errors
/// As [`Folder::file`], and where it is no text.
pub fn read(path: &Path) -> io::Result<String> {
    let how = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(how.bits().cast_signed()).open(path)?;
    io::read_to_string(plain(file)?)
}

/// The server's user, where it is another than this one.
#[must_use]
pub fn other(user: &Owner) -> Option<(u32, u32)> {
    (!user.is_current()).then_some((user.uid, user.gid))
}

/// Gives a folder or a file of ours to the server's user.
///
/// # Errors
/// Where it is a link, or its owner could not be set.
pub fn give(path: &Path, user: &Owner) -> io::Result<()> {
    let Some((uid, gid)) = other(user) else { return Ok(()) };
    fchown(&open_ours(path)?, Some(uid), Some(gid))
}

/// Lets the server's user pass through a folder of ours, or read a file of ours; changing either
/// stays ours alone.
///
/// # Errors
/// Where it is a link, or its mode could not be set.
pub fn lend(path: &Path, user: &Owner) -> io::Result<()> {
    let Some((_, gid)) = other(user) else { return Ok(()) };
    let file = open_ours(path)?;
    let meta = file.metadata()?;
    let mode = match (meta.is_dir(), meta.mode() & 0o100 != 0) {
        (true, _) => 0o710,
        (false, true) => 0o750,
        (false, false) => 0o640,
    };
    fchown(&file, None, Some(gid))?;
    Ok(fchmod(&file, Mode::from_raw_mode(mode))?)
}

fn open_ours(path: &Path) -> io::Result<File> {
    let how = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = File::options().read(true).custom_flags(how.bits().cast_signed()).open(path)?;
    let meta = file.metadata()?;
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::other("it is another user's"));
    }
    if meta.is_dir() { Ok(file) } else { plain(file) }
}

/// Why somebody else could put another folder in the place of one that is made in `home`: its path
/// leads through a folder that they may change. `None` where nobody can. Where programs run as root
/// from there, only root may; elsewhere it is enough that not everybody can.
#[must_use]
pub fn exposed(home: &Path) -> Option<String> {
    let us = nix::unistd::geteuid();
    home.ancestors().find_map(|part| {
        let meta = part.symlink_metadata().ok()?;
        let why = unsafe_for(us.as_raw(), meta.uid(), meta.gid(), meta.mode())?;
        Some(format!("{} {why}", part.display()))
    })
}

fn unsafe_for(us: u32, owner: u32, group: u32, mode: u32) -> Option<String> {
    const STICKY: u32 = 0o1000;
    if us == 0 && owner != 0 {
        return Some(format!("belongs to {}", super::user::name_of(owner)));
    }
    // In a folder with the sticky bit only the owner of a thing renames it.
    let others = if us == 0 && group != 0 { 0o022 } else { 0o002 };
    (mode & others != 0 && mode & STICKY == 0)
        .then(|| format!("can be changed by others (mode {:04o})", mode & 0o7777))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn what_a_link_leads_to_stays_and_the_link_goes() {
        let home = tempfile::tempdir().unwrap();
        let precious = home.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "content").unwrap();
        let root = home.path().join("box");
        fs::create_dir_all(root.join("inner/deep")).unwrap();
        symlink(&precious, root.join("inner/deep/link")).unwrap();
        symlink(&precious, root.join("top")).unwrap();
        fs::write(root.join("inner/file"), "ours").unwrap();
        let folder = Folder::open(&root).unwrap();
        folder.remove("inner").unwrap();
        folder.remove("top").unwrap();
        folder.remove("never there").unwrap();
        assert_eq!(folder.names().unwrap(), Vec::<OsString>::new());
        assert_eq!(fs::read(precious.join("file")).unwrap(), b"content");
    }

    #[test]
    fn nothing_is_reached_through_a_link_or_by_a_second_name() {
        let home = tempfile::tempdir().unwrap();
        let precious = home.path().join("precious");
        fs::create_dir(&precious).unwrap();
        fs::write(precious.join("file"), "content").unwrap();
        let root = home.path().join("box");
        fs::create_dir_all(root.join("inner")).unwrap();
        symlink(&precious, root.join("link")).unwrap();
        symlink(precious.join("file"), root.join("inner/file")).unwrap();
        fs::hard_link(precious.join("file"), root.join("inner/twin")).unwrap();
        let folder = Folder::open(&root).unwrap();
        assert!(Folder::open(&root.join("link")).is_err());
        assert!(folder.below("link").is_err() && folder.below("../precious").is_err());
        let inner = folder.below("inner").unwrap();
        assert!(inner.file("file", OFlags::RDWR).is_err());
        assert!(inner.file("twin", OFlags::RDWR).is_err());
        assert!(read(&root.join("inner/file")).is_err() && read(&root.join("inner/twin")).is_err());
        assert!(!folder.has_folder("link") && folder.has_folder("inner"));
        // Replaced is the link, and not what it leads to.
        inner.replace("file", b"ours", 0o600, None).unwrap();
        assert_eq!(fs::read(root.join("inner/file")).unwrap(), b"ours");
        assert_eq!(fs::read(precious.join("file")).unwrap(), b"content");
        assert_eq!(inner.names().unwrap(), ["file", "twin"]);
    }

    #[test]
    fn a_folder_that_others_may_change_is_no_home_for_roots_programs() {
        assert_eq!(unsafe_for(0, 0, 0, 0o755), None);
        assert_eq!(unsafe_for(0, 0, 0, 0o1777), None);
        assert_eq!(unsafe_for(0, 0, 0, 0o775), None, "root's own group");
        assert!(unsafe_for(0, 0, 50, 0o775).unwrap().contains("0775"));
        assert!(unsafe_for(0, 0, 0, 0o777).is_some());
        assert!(unsafe_for(0, 105, 0, 0o755).unwrap().contains("belongs to"));
        // Others run nothing there that is more than they are.
        assert_eq!(unsafe_for(1_000, 105, 0, 0o755), None);
        assert!(unsafe_for(1_000, 1_000, 1_000, 0o777).is_some());
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        assert_eq!(exposed(folder.path()), None);
        let open = folder.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, PermissionsExt::from_mode(0o777)).unwrap();
        assert!(exposed(&open.join("box")).unwrap().contains("/open"));
    }
}
