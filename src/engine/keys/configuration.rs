//! The change of `lifeboat.toml` that a rotation needs, in words and in the file. Owns these edits
//! alone: comments, order and everything else stay as they are, and the old text is kept beside.

use super::{KeysError, Place};
use crate::engine::config::{self, Encryption};
use crate::engine::files;
use jiff::Timestamp;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use toml_edit::{DocumentMut, Item, TableLike, Value};

const CURRENT: &str = "master_key_file";
const PREVIOUS: &str = "previous_master_key_file";

/// What a rotation changes in `[repositories.encryption]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The new master key, and the one before beside it.
    Begin { new: PathBuf, old: PathBuf },
    /// The one before is forgotten.
    End,
}

impl Change {
    /// For a rotation to `new`.
    ///
    /// # Errors
    /// Where the master key that is in use comes from a command: only its operator can keep that
    /// one in a file meanwhile.
    pub fn begin(place: &Place, new: &Path) -> Result<Self, KeysError> {
        match &place.config.encryption {
            Encryption::Aes256Cbc { master_key_file: Some(old), .. } => {
                Ok(Self::Begin { new: new.to_owned(), old: old.clone() })
            }
            _ => Err(KeysError::Config(format!(
                "the master key of {place} comes from a command, which cannot be changed in the \
                 configuration without keeping the key before in a file"
            ))),
        }
    }

    /// The change as lines to type.
    #[must_use]
    pub fn told(&self) -> String {
        match self {
            Self::Begin { new, old } => {
                format!("{CURRENT} = \"{}\"\n{PREVIOUS} = \"{}\"", new.display(), old.display())
            }
            Self::End => format!("(without {PREVIOUS})"),
        }
    }
}

/// Changes the encryption of the repositories `names` in the configuration at `path`: all or
/// nothing, durable when this returns. Gives the path of the old text.
///
/// # Errors
/// Where the file is not one that could be changed with certainty; it is as it was then.
pub fn apply(
    path: &Path,
    names: &BTreeSet<String>,
    change: &Change,
    now: Timestamp,
) -> Result<PathBuf, KeysError> {
    let failed = |source| KeysError::File { path: path.to_owned(), source };
    // The file itself, and not a link to it, is replaced.
    let path = fs::canonicalize(path).map_err(failed)?;
    let before = fs::read_to_string(&path).map_err(failed)?;
    let found = fs::metadata(&path).map_err(failed)?;
    let after = edited(&before, names, change).map_err(KeysError::Config)?;
    config::load::parse(&after, &path).map_err(|e| KeysError::Config(e.to_string()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kept =
        keep(&path.with_file_name(format!("{name}.{}", now.strftime("%Y%m%dT%H%M%SZ"))), &before)?;
    replace_as(&path, after.as_bytes(), &found).map_err(failed)?;
    Ok(kept)
}

/// The old text under this name, or with a number behind it where another change of the same second
/// has it.
fn keep(name: &Path, text: &str) -> Result<PathBuf, KeysError> {
    let mut path = name.to_owned();
    let mut number = 1;
    loop {
        match files::create(&path, text.as_bytes(), 0o600) {
            Ok(()) => return Ok(path),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && number < 100 => {
                if fs::read_to_string(&path).is_ok_and(|there| there == text) {
                    return Ok(path);
                }
                number += 1;
                path = PathBuf::from(format!("{}-{number}", name.display()));
            }
            Err(source) => return Err(KeysError::File { path, source }),
        }
    }
}

/// Owner and mode are the old file's before the new one takes its name: whoever reads it now could
/// read it at every moment.
fn replace_as(path: &Path, content: &[u8], like: &fs::Metadata) -> io::Result<()> {
    let folder = path.parent().unwrap_or_else(|| Path::new("/"));
    let mut file = tempfile::Builder::new().prefix(".lifeboat.toml.").tempfile_in(folder)?;
    file.write_all(content)?;
    let own = file.as_file().metadata()?;
    if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
        std::os::unix::fs::fchown(file.as_file(), Some(like.uid()), Some(like.gid()))?;
    }
    file.as_file().set_permissions(fs::Permissions::from_mode(like.mode() & 0o7777))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|e| e.error)?;
    files::sync_parent(path)
}

/// The text with the change in it.
fn edited(text: &str, names: &BTreeSet<String>, change: &Change) -> Result<String, String> {
    let mut document: DocumentMut =
        text.parse().map_err(|e| format!("the configuration is no TOML: {e}"))?;
    let mut done = BTreeSet::new();
    let repositories = document.get_mut("repositories");
    match repositories {
        Some(Item::ArrayOfTables(tables)) => {
            for table in tables.iter_mut() {
                done.extend(edit_one(table, names, change)?);
            }
        }
        Some(Item::Value(Value::Array(values))) => {
            for table in values.iter_mut().filter_map(Value::as_inline_table_mut) {
                done.extend(edit_one(table, names, change)?);
            }
        }
        _ => {}
    }
    match names.difference(&done).next() {
        Some(missing) => Err(format!("the repository \"{missing}\" was not found in it")),
        None => Ok(document.to_string()),
    }
}

fn edit_one(
    table: &mut dyn TableLike,
    names: &BTreeSet<String>,
    change: &Change,
) -> Result<Option<String>, String> {
    let name = table.get("name").and_then(Item::as_str).unwrap_or_default().to_owned();
    if !names.contains(&name) {
        return Ok(None);
    }
    let encryption = table.get_mut("encryption").and_then(Item::as_table_like_mut);
    let encryption = encryption.ok_or_else(|| format!("\"{name}\" has no encryption in it"))?;
    match change {
        Change::Begin { new, old } => {
            let text = |path: &Path| {
                path.to_str().map(str::to_owned).ok_or_else(|| {
                    format!("{} cannot stand in a text, which is UTF-8", path.display())
                })
            };
            let now = encryption.get(CURRENT).and_then(Item::as_str);
            if now != old.to_str() {
                return Err(format!("\"{name}\" has another {CURRENT} than {}", old.display()));
            }
            let (new, old) = (text(new)?, text(old)?);
            set(encryption, CURRENT, new);
            set(encryption, PREVIOUS, old);
        }
        Change::End => {
            encryption.remove(PREVIOUS);
        }
    }
    Ok(Some(name))
}

/// Keeps what stands around a value that is there, such as a comment behind it.
fn set(table: &mut dyn TableLike, key: &str, text: String) {
    let mut value = Value::from(text);
    match table.get_mut(key).and_then(Item::as_value_mut) {
        Some(there) => {
            *value.decor_mut() = there.decor().clone();
            *there = value;
        }
        None => {
            table.insert(key, Item::Value(value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# ours\n\
        [[repositories]] # near\n\
        name = \"local\"\n\
        codec = 'gzip'\n\
        [repositories.store]\n\
        kind = \"file\"\n\
        path = \"/backups\"\n\
        [repositories.encryption]\n\
        # Exactly one of the two:\n\
        master_key_file = \"/etc/lifeboat/master.key\" # closed to others\n\
        cipher = \"aes-256-cbc\"\n\
        \n\
        [[repositories]]\n\
        name = \"far\"\n\
        store = { kind = \"file\", path = \"/far\" }\n\
        encryption = { cipher = \"aes-256-cbc\", master_key_file = \"/etc/lifeboat/master.key\" }\n";

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn begin() -> Change {
        Change::Begin {
            new: "/etc/lifeboat/new.key".into(),
            old: "/etc/lifeboat/master.key".into(),
        }
    }

    #[test]
    fn only_the_key_changes_and_the_way_back_is_exact() {
        let begun = edited(TEXT, &names(&["local", "far"]), &begin()).unwrap();
        let lines: Vec<&str> = begun.lines().collect();
        assert!(lines.contains(&"master_key_file = \"/etc/lifeboat/new.key\" # closed to others"));
        assert!(
            lines.contains(&"previous_master_key_file = \"/etc/lifeboat/master.key\""),
            "{begun}"
        );
        assert!(begun.starts_with("# ours\n[[repositories]] # near\n") && begun.contains("'gzip'"));
        config::load::parse(&begun, Path::new("x")).unwrap();
        let ended = edited(&begun, &names(&["local", "far"]), &Change::End).unwrap();
        assert_eq!(ended, TEXT.replace("master.key", "new.key"));
        let one = edited(TEXT, &names(&["far"]), &begin()).unwrap();
        assert_eq!(one.matches("new.key").count(), 1);
    }

    #[test]
    fn what_is_not_certain_is_refused() {
        assert!(edited(TEXT, &names(&["elsewhere"]), &begin()).is_err());
        assert!(edited(&TEXT.replace("master.key", "b.key"), &names(&["far"]), &begin()).is_err());
        assert!(edited("not toml", &names(&["far"]), &begin()).is_err());
    }

    #[test]
    fn the_file_keeps_owner_mode_and_its_old_text() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lifeboat.toml");
        fs::write(&path, TEXT).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let link = folder.path().join("link.toml");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let now = "2026-01-13T10:00:00Z".parse().unwrap();
        let kept = apply(&link, &names(&["far"]), &begin(), now).unwrap();
        assert_eq!(fs::read_to_string(&kept).unwrap(), TEXT);
        assert!(kept.to_str().unwrap().ends_with("lifeboat.toml.20260113T100000Z"));
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(fs::read_to_string(&path).unwrap().contains("new.key"));
        // Its other half in the same second: both old texts are kept.
        let begun = fs::read_to_string(&path).unwrap();
        let second = apply(&path, &names(&["far"]), &Change::End, now).unwrap();
        assert_eq!(fs::read_to_string(&second).unwrap(), begun);
        assert_eq!(fs::read_to_string(&kept).unwrap(), TEXT);
        let again = apply(&path, &names(&["far"]), &begin(), now).unwrap_err();
        assert!(matches!(again, KeysError::Config(_)), "{again}");
    }
}
