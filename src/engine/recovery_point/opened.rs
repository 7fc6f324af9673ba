//! The checks that open or ask something: the keys, the programs' block sizes, the tablespaces'
//! folders and volumes. Owns what counts as proven there; writes nothing.

use super::ClusterFacts;
use super::reach::{check, free_space, needed_space};
use super::words::bytes;
use crate::engine::explain::Explanation;
use crate::engine::incident::facts::{BaseSummary, Check, Verdict};
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::{Binaries, Owner};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a set told when it was opened for the proof.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenedSet {
    /// `None` where it is not encrypted.
    pub key_id: Option<String>,
    /// Bytes.
    pub page_size: u32,
    pub tablespaces: Vec<Space>,
}

/// A tablespace, where a restore puts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Space {
    pub oid: u32,
    pub place: PathBuf,
    /// Bytes.
    pub size: u64,
}

/// Block and WAL block size of the server's programs, bytes; `None` where they do not say.
#[must_use]
pub fn block_sizes(binaries: &Binaries) -> Option<(u32, u32)> {
    let ask = |name: &str| -> Option<u32> {
        let mut command = child::command(binaries.program("postgres"), &Owner::current()).ok()?;
        // Needs no data directory, and may be asked by root too.
        command.args(["-C", name, "-D", "/", "-c", "config_file=/dev/null"]);
        let finished = child::run(command, Duration::from_secs(10)).ok()?;
        finished.ok().then(|| finished.stdout.trim().parse().ok())?
    };
    Some((ask("block_size")?, ask("wal_block_size")?))
}

/// Whether the keys of the backup and of the newest WAL that is needed open, both unwrapped anew.
/// `wal` is that segment's name and, where an archive holds it, whether its key opened.
#[must_use]
pub fn keys(
    base: &BaseSummary,
    set: Option<&Result<OpenedSet, Explanation>>,
    wal: Option<&(String, Result<Option<String>, Explanation>)>,
) -> Check {
    let title = "The backup and its WAL open with the keys at hand";
    let made = |verdict, text: String| check("key", title, verdict, text);
    let set = match set {
        None if base.encrypted => {
            return made(
                Verdict::CouldNotVerify,
                String::from("The backup's key was not tried: its repository did not open it."),
            );
        }
        None => String::from("The backup is not encrypted."),
        Some(Err(e)) => {
            return made(Verdict::CouldNotVerify, format!("The backup was not opened: {e}"));
        }
        Some(Ok(OpenedSet { key_id: Some(id), .. })) => {
            format!("The backup's data key {id} was unwrapped with the master key.")
        }
        Some(Ok(OpenedSet { key_id: None, .. })) => String::from("The backup is not encrypted."),
    };
    match of_wal(wal) {
        Ok(wal) => made(Verdict::Verified, format!("{set} {wal}")),
        Err(why) => made(Verdict::CouldNotVerify, why),
    }
}

/// As [`keys`], where the backup is restored already and only WAL is still fetched.
#[must_use]
pub fn wal_key(wal: Option<&(String, Result<Option<String>, Explanation>)>) -> Check {
    let (verdict, text) = match of_wal(wal) {
        Ok(text) => (Verdict::Verified, format!("The backup is restored already. {text}")),
        Err(why) => (Verdict::CouldNotVerify, why),
    };
    check("key", "The WAL opens with the keys at hand", verdict, text)
}

fn of_wal(wal: Option<&(String, Result<Option<String>, Explanation>)>) -> Result<String, String> {
    match wal {
        None => Ok(String::from("The newest segment that it needs is in no archive.")),
        Some((name, Err(e))) => Err(format!("The key of {name} did not open: {e}")),
        Some((name, Ok(Some(id)))) => {
            Ok(format!("The key {id} of the newest segment, {name}, was unwrapped too."))
        }
        Some((name, Ok(None))) => Ok(format!("The newest segment, {name}, needs none.")),
    }
}

/// Whether the programs on this host read this backup's pages.
#[must_use]
pub fn blocks(set: &OpenedSet, cluster: &ClusterFacts) -> Check {
    let title = "Block sizes of the server's programs";
    let made = |verdict, text: String| check("blocks", title, verdict, text);
    let Some((page, wal)) = cluster.program_blocks else {
        let text = format!("The programs did not tell theirs; the backup's is {}.", set.page_size);
        return made(Verdict::CouldNotVerify, text);
    };
    if page != set.page_size {
        return made(
            Verdict::Failed,
            format!(
                "The programs were built for pages of {page} bytes, the backup has {}. Install programs built as the cluster's were.",
                set.page_size
            ),
        );
    }
    match cluster.wal_block_size {
        Some(ours) if ours != wal => made(
            Verdict::Failed,
            format!(
                "The programs were built for WAL pages of {wal} bytes, the cluster has {ours}. Install programs built as the cluster's were."
            ),
        ),
        Some(_) => made(Verdict::Verified, format!("Pages of {page} bytes, WAL pages of {wal}.")),
        None => made(
            Verdict::CouldNotVerify,
            format!(
                "Pages of {page} bytes fit; the cluster's WAL pages are not known, the programs' are {wal}."
            ),
        ),
    }
}

/// Whether each tablespace's folder can be taken: a restore writes into an empty one alone.
#[must_use]
pub fn tablespaces(set: &OpenedSet, data_directory: &Path) -> Check {
    let title = "Folders of the tablespaces";
    let made = |verdict, text: String| check("tablespaces", title, verdict, text);
    if set.tablespaces.is_empty() {
        return made(Verdict::Verified, String::from("The backup has no tablespaces."));
    }
    let mut unknown = Vec::new();
    for space in &set.tablespaces {
        let place = space.place.display();
        if space.place.starts_with(data_directory) {
            let text =
                format!("Tablespace {} would go to {place}, inside the data directory.", space.oid);
            return made(Verdict::Failed, text);
        }
        match std::fs::read_dir(&space.place).map(|mut entries| {
            entries.find_map(Result::ok).map(|e| e.file_name().to_string_lossy().into_owned())
        }) {
            Ok(None) => {}
            Ok(Some(found)) => {
                return made(
                    Verdict::Failed,
                    format!(
                        "Tablespace {} would go to {place}, which holds {found}: the live cluster may be using it, and nothing is overwritten. Move its content aside once the cluster is stopped, and ask again.",
                        space.oid
                    ),
                );
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => unknown.push(format!("{place} could not be looked into: {e}.")),
        }
    }
    if !unknown.is_empty() {
        return made(Verdict::CouldNotVerify, unknown.join(" "));
    }
    let places: Vec<String> =
        set.tablespaces.iter().map(|space| space.place.display().to_string()).collect();
    made(Verdict::Verified, format!("Empty or not there yet: {}.", places.join(", ")))
}

/// Room on every volume that the restore writes to. `total` is the backup's bytes, tablespaces
/// included.
#[must_use]
pub fn room(set: &OpenedSet, data_directory: &Path, total: u64) -> Check {
    let title = "Room for the restore beside the damaged data";
    let in_spaces: u64 = set.tablespaces.iter().map(|space| space.size).sum();
    let main = (data_directory, needed_space(total.saturating_sub(in_spaces)));
    let spaces = set.tablespaces.iter().map(|space| (space.place.as_path(), space.size));
    let mut volumes: BTreeMap<u64, (&Path, u64)> = BTreeMap::new();
    for (place, size) in std::iter::once(main).chain(spaces) {
        match volume(place) {
            Ok(volume) => {
                let needs = &mut volumes.entry(volume).or_insert((place, 0)).1;
                *needs = needs.saturating_add(size);
            }
            Err(e) => {
                let text = format!(
                    "The volume of {} could not be asked: {e}. {} are needed.",
                    place.display(),
                    bytes(size)
                );
                return check("space", title, Verdict::CouldNotVerify, text);
            }
        }
    }
    let (mut verdict, mut words) = (Verdict::Verified, Vec::new());
    for (place, needed) in volumes.into_values() {
        let at = place.display();
        match free_space(place) {
            Ok(free) if free >= needed => words.push(format!(
                "{} are free on the volume of {at}, {} are needed.",
                bytes(free),
                bytes(needed)
            )),
            Ok(free) => {
                verdict = Verdict::Failed;
                words.push(format!(
                    "Only {} are free on the volume of {at}, {} are needed; the damaged data is kept. Free some space.",
                    bytes(free),
                    bytes(needed)
                ));
            }
            Err(e) => {
                verdict = Verdict::of_all([verdict, Verdict::CouldNotVerify]);
                words.push(format!("The volume of {at} could not be asked: {e}."));
            }
        }
    }
    check("space", title, verdict, words.join(" "))
}

/// The device of a path, or of its nearest parent that exists.
fn volume(path: &Path) -> std::io::Result<u64> {
    let there = path
        .ancestors()
        .find(|p| p.exists())
        .ok_or_else(|| std::io::Error::from(std::io::ErrorKind::NotFound))?;
    Ok(std::fs::metadata(there)?.dev())
}

/// Puts `checks` in place of those of the same name, or behind all.
pub fn replace(all: &mut Vec<Check>, checks: impl IntoIterator<Item = Check>) {
    for check in checks {
        match all.iter_mut().find(|known| known.id == check.id) {
            Some(known) => *known = check,
            None => all.push(check),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::explain::Kind;

    fn set(spaces: &[(&Path, u64)]) -> OpenedSet {
        let space = |(oid, (place, size)): (u32, &(&Path, u64))| Space {
            oid,
            place: place.to_path_buf(),
            size: *size,
        };
        OpenedSet {
            key_id: Some(String::from("k1")),
            page_size: 8192,
            tablespaces: (1..).zip(spaces).map(space).collect(),
        }
    }

    fn cluster(programs: Option<(u32, u32)>, wal: Option<u32>) -> ClusterFacts {
        ClusterFacts {
            segment_size: 1 << 20,
            system_identifier: None,
            timeline: None,
            settings: Vec::new(),
            current_lsn: None,
            binaries_major: None,
            program_blocks: programs,
            wal_block_size: wal,
            data_directory: PathBuf::from("/"),
            alternative_data_directory: None,
        }
    }

    fn base(encrypted: bool) -> BaseSummary {
        BaseSummary {
            set: String::from("set-1"),
            repository: String::from("near"),
            started: jiff::Timestamp::UNIX_EPOCH,
            finished: jiff::Timestamp::UNIX_EPOCH,
            start_lsn: crate::engine::postgres::Lsn(1),
            stop_lsn: crate::engine::postgres::Lsn(2),
            timeline: 1,
            system_identifier: 1,
            version: 15,
            size: 1,
            stored: 1,
            encrypted,
        }
    }

    #[test]
    fn a_key_is_verified_by_opening_alone() {
        let shut = || Explanation::new(Kind::Integrity, "The key is gone", "", "");
        let verdict = |encrypted, set: Option<Result<OpenedSet, _>>, wal| {
            keys(&base(encrypted), set.as_ref(), wal).verdict
        };
        assert_eq!(verdict(true, Some(Ok(set(&[]))), None), Verdict::Verified);
        assert_eq!(verdict(true, None, None), Verdict::CouldNotVerify);
        assert_eq!(verdict(false, None, None), Verdict::Verified);
        assert_eq!(verdict(true, Some(Err(shut())), None), Verdict::CouldNotVerify);
        let wal = (String::from("000000010000000000000003"), Err(shut()));
        assert_eq!(verdict(true, Some(Ok(set(&[]))), Some(&wal)), Verdict::CouldNotVerify);
        let wal = (wal.0, Ok(Some(String::from("k2"))));
        let found = keys(&base(true), Some(&Ok(set(&[]))), Some(&wal));
        assert_eq!(found.verdict, Verdict::Verified);
        assert!(found.detail.contains("k1") && found.detail.contains("k2"), "{found:?}");
    }

    #[test]
    fn programs_built_for_other_blocks_fail() {
        let verdict = |programs, wal| blocks(&set(&[]), &cluster(programs, wal)).verdict;
        assert_eq!(verdict(Some((8192, 8192)), Some(8192)), Verdict::Verified);
        assert_eq!(verdict(Some((4096, 8192)), Some(8192)), Verdict::Failed);
        assert_eq!(verdict(Some((8192, 65536)), Some(8192)), Verdict::Failed);
        assert_eq!(verdict(Some((8192, 8192)), None), Verdict::CouldNotVerify);
        assert_eq!(verdict(None, Some(8192)), Verdict::CouldNotVerify);
    }

    #[test]
    fn a_tablespace_takes_an_empty_folder_alone() {
        let root = tempfile::tempdir().unwrap();
        let (empty, used) = (root.path().join("empty"), root.path().join("used"));
        std::fs::create_dir_all(&empty).unwrap();
        std::fs::create_dir_all(used.join("PG_15_202209061")).unwrap();
        let data = root.path().join("data");
        let verdict = |place: &Path| tablespaces(&set(&[(place, 1)]), &data).verdict;
        assert_eq!(tablespaces(&set(&[]), &data).verdict, Verdict::Verified);
        assert_eq!(verdict(&empty), Verdict::Verified);
        assert_eq!(verdict(&root.path().join("to be made")), Verdict::Verified);
        assert_eq!(verdict(&used), Verdict::Failed);
        assert_eq!(verdict(&data.join("inside")), Verdict::Failed);
        std::fs::write(root.path().join("file"), "").unwrap();
        assert_eq!(verdict(&root.path().join("file")), Verdict::CouldNotVerify);
    }

    #[test]
    fn every_volume_needs_its_room() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let verdict = |size, total| {
            let spaces = [(root.path(), size)];
            room(&set(&spaces), &data, total).verdict
        };
        assert_eq!(verdict(1 << 60, (1 << 60) + 1), Verdict::Failed);
        assert_eq!(verdict(0, 1 << 60), Verdict::Failed);
        // Whatever is free there, the two together are what is compared.
        let found = room(&set(&[(root.path(), 1 << 50)]), &data, 1 << 50);
        assert!(found.detail.matches("are needed").count() == 1, "{found:?}");
    }
}
