//! Whether a directory that somebody named can be filled: apart from every directory that is in use,
//! and empty or not there yet. Owns these questions; reads, and changes nothing.

use super::moves;
use crate::engine::config::Config;
use crate::engine::explain::{Explanation, Kind};
use crate::engine::restore::steps::resolved;
use std::io;
use std::path::{Component, Path, PathBuf};

/// A directory that is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    /// As a clause's subject: `the data directory of "orders"`, or its path where that says enough.
    pub what: String,
    pub path: PathBuf,
}

impl InUse {
    /// One that its path alone names.
    #[must_use]
    pub fn named(path: &Path) -> Self {
        Self { what: path.display().to_string(), path: path.to_owned() }
    }

    /// The data directories of all clusters that are configured.
    #[must_use]
    pub fn of_all(config: &Config) -> Vec<Self> {
        let one = |name: &str, path: &Path| Self {
            what: format!("the data directory of \"{name}\""),
            path: path.to_owned(),
        };
        config.clusters.iter().map(|c| one(&c.name, &c.data_directory)).collect()
    }
}

/// Whether a directory is named by its full path, and lies in and around nothing that is in use.
///
/// # Errors
/// Says what is in the way.
pub fn apart(directory: &Path, used: &[InUse]) -> Result<(), Explanation> {
    let shown = directory.display();
    if !directory.is_absolute() || directory.components().any(|part| part == Component::ParentDir) {
        return Err(refused(format!("{shown} is not an absolute path."), "Give the whole path."));
    }
    let wanted = resolved(directory);
    for InUse { what, path } in used {
        let path = resolved(path);
        if wanted.starts_with(&path) || path.starts_with(&wanted) {
            return Err(refused(
                format!("{shown} and {what} lie in each other."),
                "Name a directory outside of it.",
            ));
        }
    }
    Ok(())
}

/// Whether a directory holds nothing, or is not there yet in a folder that is.
///
/// # Errors
/// Says what is in the way.
pub fn vacant(directory: &Path) -> Result<(), Explanation> {
    let shown = directory.display();
    match moves::is_empty(directory) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refused(
            format!("{shown} is not empty: something else uses it."),
            "Name an empty directory, or one that is not there yet.",
        )),
        Err(e) if e.kind() == io::ErrorKind::NotFound => has_folder_above(directory),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            Err(refused(format!("{shown} is no directory."), "Name another place."))
        }
        Err(e) => {
            Err(refused(format!("{shown} could not be looked at: {e}."), "Name another place."))
        }
    }
}

/// Whether a directory can be made where it is to be.
///
/// # Errors
/// Where the folder above it is not there.
pub fn has_folder_above(directory: &Path) -> Result<(), Explanation> {
    match directory.parent().is_some_and(Path::is_dir) {
        true => Ok(()),
        false => Err(refused(
            format!("The folder above {} does not exist.", directory.display()),
            "Make it for the server's user, or name another place.",
        )),
    }
}

fn refused(what: String, next: &str) -> Explanation {
    Explanation::new(Kind::Refused, what, "Nothing was changed.", next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_directory_that_somebody_names_is_nobodys_yet() {
        let root = tempfile::tempdir().unwrap();
        let at = |name: &str| root.path().join(name);
        let data = at("main");
        for folder in ["main", "used", "empty"] {
            fs::create_dir(at(folder)).unwrap();
        }
        fs::write(at("used").join("file"), "theirs").unwrap();
        let used =
            [InUse { what: String::from("the data directory of \"shop\""), path: data.clone() }];
        let judged = |place: &Path| apart(place, &used).and_then(|()| vacant(place));
        let refused = |place: &Path| judged(place).unwrap_err().what;
        for free in [at("empty"), at("none")] {
            assert_eq!(judged(&free), Ok(()), "{}", free.display());
        }
        assert!(refused(&at("used")).contains("something else uses it"));
        assert!(refused(&at("used").join("file")).contains("is no directory"));
        for within in [data.clone(), data.join("inside"), root.path().to_owned()] {
            assert!(
                refused(&within).contains("\"shop\" lie in each other"),
                "{}",
                within.display()
            );
        }
        assert!(refused(&at("none/deeper")).contains("does not exist"));
        assert!(refused(Path::new("recovery")).contains("not an absolute path"));
        assert!(refused(&at("empty/../used")).contains("not an absolute path"));
    }
}
