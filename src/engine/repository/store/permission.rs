//! Whether whoever opens a place could write there: the place itself is asked, in a way that leaves
//! nothing. Owns the words of the answer; only what the place refuses counts as refused.

use super::{root, s3};
use crate::engine::config::StoreConfig;
use nix::errno::Errno;
use nix::unistd::{AccessFlags, eaccess};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// How an upload is called that a bucket is asked with; no object of a repository begins so.
pub const QUESTION: &str = "drill-asks-whether-it-may-write-";

/// What a place says of writing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "write", content = "said", rename_all = "snake_case")]
pub enum Permission {
    /// It refuses; in its words.
    Refused(String),
    /// It would take it, and what became of what was asked with.
    Granted(String),
    /// Neither was proven, and why.
    Unknown(String),
}

/// Asks the place of `cluster`: a bucket by an upload that is begun and must be refused, a folder
/// by the rights of this process.
#[must_use]
pub fn to_write(config: &StoreConfig, cluster: &str) -> Permission {
    match config {
        StoreConfig::S3(s3) => s3::permission::ask(s3, cluster),
        StoreConfig::File { path } => match root(path, cluster) {
            Ok(root) => folder(&root),
            Err(error) => Permission::Unknown(error.to_string()),
        },
    }
}

/// Of several answers the worst; in all the words of those that are as bad.
pub(super) fn worst(answers: impl IntoIterator<Item = Permission>) -> Permission {
    let (mut refused, mut unknown, mut granted) = (Vec::new(), Vec::new(), Vec::new());
    for answer in answers {
        match answer {
            Permission::Refused(said) => refused.push(said),
            Permission::Unknown(said) => unknown.push(said),
            Permission::Granted(said) => granted.push(said),
        }
    }
    match (granted.is_empty(), unknown.is_empty(), refused.is_empty()) {
        (false, ..) => Permission::Granted(granted.join("; ")),
        (_, false, _) => Permission::Unknown(unknown.join("; ")),
        (_, _, false) => Permission::Refused(refused.join("; ")),
        (true, true, true) => Permission::Unknown(String::from("nothing was asked")),
    }
}

/// By the rights of the user who runs this process, in the folder and in those right below it.
fn folder(root: &Path) -> Permission {
    let below = match std::fs::read_dir(root) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()),
        Err(error) => return Permission::Unknown(format!("{}: {error}", root.display())),
    };
    let folders: Vec<PathBuf> = std::iter::once(root.to_path_buf()).chain(below).collect();
    worst(folders.iter().map(|folder| match eaccess(folder, AccessFlags::W_OK) {
        Ok(()) => Permission::Granted(format!("this user may write in {}", folder.display())),
        Err(errno @ (Errno::EACCES | Errno::EROFS | Errno::EPERM)) => {
            Permission::Refused(format!("{}: {}", folder.display(), errno.desc()))
        }
        Err(errno) => Permission::Unknown(format!("{}: {}", folder.display(), errno.desc())),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused() -> Permission {
        Permission::Refused(String::from("no"))
    }

    #[test]
    fn one_place_that_takes_a_write_is_enough_and_one_that_is_silent_proves_nothing() {
        let unknown = Permission::Unknown(String::from("silent"));
        let granted = Permission::Granted(String::from("yes"));
        let twice = Permission::Refused(String::from("no; no"));
        assert_eq!(worst([refused(), refused()]), twice);
        assert_eq!(worst([refused(), unknown.clone()]), unknown);
        assert_eq!(worst([granted.clone(), unknown, refused()]), granted);
        assert!(matches!(worst([]), Permission::Unknown(_)));
    }

    #[test]
    fn a_folder_is_asked_by_rights_and_keeps_nothing_of_it() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("{cluster}");
        let store = StoreConfig::File { path };
        let of = |cluster: &str| to_write(&store, cluster);
        assert!(matches!(of("shop"), Permission::Unknown(_)), "it is not there");
        std::fs::create_dir(home.path().join("shop")).unwrap();
        assert!(matches!(of("shop"), Permission::Granted(_)));
        assert_eq!(std::fs::read_dir(home.path().join("shop")).unwrap().count(), 0);
    }
}
