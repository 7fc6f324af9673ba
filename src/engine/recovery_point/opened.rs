//! The checks that open or ask something: the keys, the programs' block sizes, the tablespaces'
//! folders and volumes. Owns what counts as proven there; writes nothing.

use super::ClusterFacts;
use super::reach::{check, free_space, needed_space};
use super::words::bytes;
use crate::engine::explain::Explanation;
use crate::engine::incident::facts::{BaseSummary, Check, Verdict};
use crate::engine::postgres::child;
use crate::engine::postgres::discovery::{Binaries, Owner};
use crate::engine::restore::places;
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

/// Whether each tablespace's folder can be taken: empty, or the damaged cluster's own, whose files
/// the plan keeps.
#[must_use]
pub fn tablespaces(set: &OpenedSet, cluster: &ClusterFacts) -> Check {
    let title = "Folders of the tablespaces";
    let made = |verdict, text: String| check("tablespaces", title, verdict, text);
    if set.tablespaces.is_empty() {
        return made(Verdict::Verified, String::from("The backup has no tablespaces."));
    }
    let (mut unknown, mut empty, mut kept) = (Vec::new(), Vec::new(), Vec::new());
    for (space, place) in placed(set, cluster) {
        let told = place.display().to_string();
        if place.starts_with(&cluster.data_directory) {
            let text =
                format!("Tablespace {} would go to {told}, inside the data directory.", space.oid);
            return made(Verdict::Failed, text);
        }
        if is_live(&place, cluster) {
            kept.push(told);
            continue;
        }
        match std::fs::read_dir(&place).map(|mut entries| {
            entries
                .find_map(|e| e.ok().map(|e| e.file_name().to_string_lossy().into_owned()))
                .filter(|name| name != "lost+found" && !places::is_kept(name))
        }) {
            Ok(None) => empty.push(told),
            Ok(Some(found)) => {
                return made(
                    Verdict::Failed,
                    format!(
                        "Tablespace {} would go to {told}, which holds {found} and is no tablespace of the damaged cluster: nothing is overwritten. Name another folder by tablespace_mapping in lifeboat.toml, and ask again.",
                        space.oid
                    ),
                );
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => empty.push(told),
            Err(e) => unknown.push(format!("{told} could not be looked into: {e}.")),
        }
    }
    if !unknown.is_empty() {
        return made(Verdict::CouldNotVerify, unknown.join(" "));
    }
    let mut words = Vec::new();
    if !empty.is_empty() {
        words.push(format!("Empty or not there yet: {}.", empty.join(", ")));
    }
    if !kept.is_empty() {
        words.push(format!(
            "Used by the damaged cluster, whose files are kept: {}.",
            kept.join(", ")
        ));
    }
    made(Verdict::Verified, words.join(" "))
}

/// Where each tablespace of the backup goes.
fn placed<'a>(
    set: &'a OpenedSet,
    cluster: &'a ClusterFacts,
) -> impl Iterator<Item = (&'a Space, PathBuf)> {
    let (mapping, under) = (&cluster.places.mapping, &cluster.places.under);
    set.tablespaces.iter().map(move |space| {
        let place = match under {
            Some(folder) => folder.join(space.oid.to_string()),
            None => places::mapped(&space.place, mapping),
        };
        (space, place)
    })
}

/// Whether the damaged cluster has a tablespace there, which the plan moves aside.
#[must_use]
pub fn is_live(place: &Path, cluster: &ClusterFacts) -> bool {
    let place = place.canonicalize().unwrap_or_else(|_| place.to_path_buf());
    cluster
        .places
        .live
        .as_ref()
        .is_some_and(|live| live.spaces.iter().any(|space| space.location == place))
}

/// Why a part of the cluster cannot be kept, where that is so.
#[must_use]
pub fn keepable(cluster: &ClusterFacts) -> Option<Check> {
    let refused = cluster.places.refused.as_ref()?;
    let text = format!("{} {}", refused.what, refused.next);
    Some(check("places", "The damaged cluster can be kept", Verdict::Failed, text))
}

/// Whether more than the data directory's own volume has to be asked for room.
#[must_use]
pub fn has_several_places(set: &OpenedSet, cluster: &ClusterFacts) -> bool {
    !set.tablespaces.is_empty()
        || cluster.alternative_data_directory.is_some()
        || cluster.places.live.as_ref().is_some_and(|live| live.wal.is_some())
}

/// As [`room`], of a recovery that has begun.
#[must_use]
pub fn room_is_taken() -> Check {
    let text =
        String::from("The recovery has begun: its step says so where the room is not enough.");
    check("space", "Room for the restore beside the damaged data", Verdict::Verified, text)
}

/// Bytes that the data directory itself takes of a backup of `total` bytes, tablespaces included.
#[must_use]
pub fn needed_of(set: &OpenedSet, total: u64) -> u64 {
    let in_spaces: u64 = set.tablespaces.iter().map(|space| space.size).sum();
    needed_space(total.saturating_sub(in_spaces))
}

/// What a restore writes outside the data directory, in bytes: the tablespaces where they go, and
/// the WAL where it has a volume of its own.
fn outside(set: &OpenedSet, cluster: &ClusterFacts) -> Vec<(PathBuf, u64)> {
    let spaces = placed(set, cluster).map(|(space, place)| (place, space.size));
    let wal = cluster.places.live.as_ref().and_then(|live| live.wal.clone());
    spaces.chain(wal.map(|wal| (wal, places::WAL_ROOM))).collect()
}

/// The directory that is recovered into in place of the data directory, whose volume cannot hold
/// what of the restore would lie on it. The one decision of that: the plan takes it from the proof.
#[must_use]
pub fn alternative(set: &OpenedSet, cluster: &ClusterFacts, total: u64) -> Option<PathBuf> {
    let other = cluster.alternative_data_directory.as_deref().filter(|_| !cluster.has_begun)?;
    let (needed, outside) = (needed_of(set, total), outside(set, cluster));
    let on_volume_of = |main: &Path| {
        let own = volume(main).ok();
        let beside = outside.iter().filter(|(place, _)| own.is_some() && volume(place).ok() == own);
        beside.fold(needed, |sum, (_, size)| sum.saturating_add(*size))
    };
    let data = cluster.data_directory.as_path();
    places::alternative_of(data, other, on_volume_of(data), on_volume_of(other))
        .then(|| other.to_owned())
}

/// The room on every volume that a restore writes to. `lacking` is said of one that has too little.
#[must_use]
pub fn on_volumes(
    parts: impl IntoIterator<Item = (PathBuf, u64)>,
    lacking: &str,
) -> (Verdict, Vec<String>) {
    let mut volumes: BTreeMap<u64, (PathBuf, u64)> = BTreeMap::new();
    for (place, size) in parts {
        match volume(&place) {
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
                return (Verdict::CouldNotVerify, vec![text]);
            }
        }
    }
    let (mut verdict, mut words) = (Verdict::Verified, Vec::new());
    for (place, needed) in volumes.into_values() {
        let at = place.display();
        match free_space(&place) {
            Ok(free) if free >= needed => words.push(format!(
                "{} are free on the volume of {at}, {} are needed.",
                bytes(free),
                bytes(needed)
            )),
            Ok(free) => {
                verdict = Verdict::Failed;
                words.push(format!(
                    "Only {} are free on the volume of {at}, {} are needed; {lacking}",
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
    (verdict, words)
}

/// Room on every volume that the restore writes to: into `other` in place of the data directory,
/// where that was decided. `total` is the backup's bytes, tablespaces included.
#[must_use]
pub fn room(set: &OpenedSet, cluster: &ClusterFacts, total: u64, other: Option<&Path>) -> Check {
    if cluster.has_begun {
        return room_is_taken();
    }
    let title = "Room for the restore beside the damaged data";
    let data = cluster.data_directory.as_path();
    let main = (other.unwrap_or(data).to_path_buf(), needed_of(set, total));
    let (verdict, mut words) = on_volumes(
        std::iter::once(main).chain(outside(set, cluster)),
        "the damaged data is kept. Free some space, or name an alternative_data_directory with room \
         that is empty.",
    );
    if let Some(other) = other {
        words.push(format!(
            "The volume of {} is too small: the restore goes to the alternative {}.",
            data.display(),
            other.display()
        ));
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
    use super::super::PlacesFacts;
    use super::*;
    use crate::engine::explain::Kind;
    use crate::engine::restore::places::Live;
    use crate::engine::restore::places::live::LiveSpace;

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
            has_begun: false,
            places: PlacesFacts::default(),
        }
    }

    fn at(data: &Path) -> ClusterFacts {
        ClusterFacts { data_directory: data.to_owned(), ..cluster(None, None) }
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
        let verdict = |place: &Path| tablespaces(&set(&[(place, 1)]), &at(&data)).verdict;
        assert_eq!(tablespaces(&set(&[]), &at(&data)).verdict, Verdict::Verified);
        assert_eq!(verdict(&empty), Verdict::Verified);
        assert_eq!(verdict(&root.path().join("to be made")), Verdict::Verified);
        assert_eq!(verdict(&used), Verdict::Failed);
        assert_eq!(verdict(&data.join("inside")), Verdict::Failed);
        std::fs::write(root.path().join("file"), "").unwrap();
        assert_eq!(verdict(&root.path().join("file")), Verdict::CouldNotVerify);
    }

    #[test]
    fn the_damaged_clusters_own_folder_is_taken_and_a_mapping_leads_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let (data, used) = (root.path().join("data"), root.path().join("used"));
        std::fs::create_dir_all(used.join("PG_15_202209061")).unwrap();
        let location = used.canonicalize().unwrap();
        let mut facts = at(&data);
        let judged = |facts: &ClusterFacts| tablespaces(&set(&[(&used, 1)]), facts);
        assert_eq!(judged(&facts).verdict, Verdict::Failed);
        facts.places.mapping.insert(used.clone(), root.path().join("new"));
        assert_eq!(judged(&facts).verdict, Verdict::Verified);
        facts.places.mapping.clear();
        facts.places.live = Some(Live {
            data: data.clone(),
            is_mount: false,
            spaces: vec![LiveSpace { oid: 1, folder: location.join("PG_15_202209061"), location }],
            wal: None,
            wal_is_mount: false,
        });
        let found = judged(&facts);
        assert_eq!(found.verdict, Verdict::Verified);
        assert!(found.detail.contains("kept"), "{found:?}");
    }

    #[test]
    fn what_cannot_be_kept_is_said_before_anything_is_touched() {
        let mut facts = at(Path::new("/srv/pg/main"));
        assert_eq!(keepable(&facts), None);
        facts.places.refused = Some(Explanation::new(Kind::Refused, "It is mounted.", "", "Move."));
        let found = keepable(&facts).unwrap();
        assert_eq!(found.verdict, Verdict::Failed);
        assert!(found.detail.contains("It is mounted."), "{found:?}");
    }

    #[test]
    fn every_volume_needs_its_room() {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        let verdict = |size, total| {
            let spaces = [(root.path(), size)];
            room(&set(&spaces), &at(&data), total, None).verdict
        };
        assert_eq!(verdict(1 << 60, (1 << 60) + 1), Verdict::Failed);
        assert_eq!(verdict(0, 1 << 60), Verdict::Failed);
        // Whatever is free there, the two together are what is compared.
        let begun = ClusterFacts { has_begun: true, ..at(&data) };
        let found = room(&set(&[]), &begun, 1 << 50, None);
        assert_eq!(found.verdict, Verdict::Verified, "what it fills is filled: {}", found.detail);
        let found = room(&set(&[(root.path(), 1 << 50)]), &at(&data), 1 << 50, None);
        assert!(found.detail.matches("are needed").count() == 1, "{found:?}");
    }

    /// One decision for proof and plan: what lies on a volume of its own takes no room on the data
    /// directory's, and what lies on the same does.
    #[test]
    fn the_alternative_counts_what_lies_on_each_volume() {
        let root = tempfile::tempdir().unwrap();
        let other_volume = Path::new("/dev/shm");
        if volume(root.path()).unwrap() == volume(other_volume).unwrap() {
            panic!("this test needs a second volume");
        }
        let (data, other) = (root.path().join("data"), other_volume.join("lifeboat-not-there"));
        let facts = ClusterFacts { alternative_data_directory: Some(other.clone()), ..at(&data) };
        let here = root.path().join("space");
        let huge = 1 << 60;
        // The tablespace alone is too much for the data directory's volume, and stays there.
        let beside = set(&[(&here, huge)]);
        assert_eq!(alternative(&beside, &facts, huge), Some(other.clone()));
        // The tablespace is on another volume: nothing is too much for the data directory's own.
        let away = set(&[(&other_volume.join("space"), huge)]);
        assert_eq!(alternative(&away, &facts, huge), None);
        // What fits nowhere is not sent elsewhere, nor is a recovery that has begun.
        assert_eq!(alternative(&set(&[]), &facts, huge), None);
        let begun = ClusterFacts { has_begun: true, ..facts.clone() };
        assert_eq!(alternative(&beside, &begun, huge), None);
        let told = room(&set(&[]), &facts, 0, Some(&other));
        assert!(told.detail.contains(&other.display().to_string()), "{told:?}");
    }
}
