//! Whether keys open and what they open. Owns the checks and their verdicts; changes nothing. A
//! check that could not run is COULD NOT VERIFY, never a pass.

use super::{Holding, KeysError};
use crate::engine::crypto::master::MasterKey;
use crate::engine::crypto::wrap::{Wrap, WrapFault};
use crate::engine::crypto::{KeyError, Keyring, Protection, envelope};
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::Verdict;
use crate::engine::repository::manifest::{Header, Member, Record};
use crate::engine::repository::member::{BLOCK, Unpacker};
use crate::engine::repository::scan::{OpenSet, ScanError};
use crate::engine::repository::sealed::{self, SealedError};
use crate::engine::repository::wal_object::FOLDER as ARCHIVE;
use crate::engine::repository::{Repository, RepositoryError};
use crate::engine::wal::WalFile;
use serde::Serialize;

/// One thing that was looked at.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    pub cluster: String,
    pub repository: String,
    /// Such as `key 20250113T020000-9f3a2b1c` or `set-20250113-020000`.
    pub subject: String,
    pub verdict: Verdict,
    pub detail: String,
}

/// Every data key, every retained set and the newest WAL file of a repository, with the keys of
/// `ring` alone.
#[must_use]
pub fn all(holding: &Holding, ring: Keyring) -> Vec<Line> {
    let mut lines = Vec::new();
    let mut add = |subject: &str, outcome: Result<String, Explanation>| {
        lines.push(line(holding, subject, outcome));
    };
    if let Err(error) = ring.master() {
        add("master key", Err(error.explanation()));
        return lines;
    }
    match keys(&ring) {
        Ok(keys) => keys.into_iter().for_each(|(id, outcome)| add(&format!("key {id}"), outcome)),
        Err(error) => add("data keys", Err(error.explanation())),
    }
    let repository = match holding.repository(ring) {
        Ok(repository) => repository,
        Err(error) => {
            add("repository", Err(error.explanation()));
            return lines;
        }
    };
    match repository.set_names() {
        Ok(sets) => {
            for set in sets {
                let outcome = prove_set(&repository, &set).map_err(|e| e.explanation());
                add(&set, outcome);
            }
        }
        Err(error) => add("backups", Err(error.explanation())),
    }
    add("newest WAL", newest_wal(&repository).map_err(|e| e.explanation()));
    lines
}

/// What could not even be opened.
#[must_use]
pub fn unopened(place: &super::Place, error: &KeysError) -> Line {
    Line {
        cluster: place.cluster.clone(),
        repository: place.config.name.clone(),
        subject: String::from("repository"),
        verdict: Verdict::of(error.explanation().kind),
        detail: error.explanation().to_string(),
    }
}

fn line(holding: &Holding, subject: &str, outcome: Result<String, Explanation>) -> Line {
    let (verdict, detail) = match outcome {
        Ok(detail) => (Verdict::Verified, detail),
        Err(told) => (Verdict::of(told.kind), told.to_string()),
    };
    Line {
        cluster: holding.place.cluster.clone(),
        repository: holding.place.config.name.clone(),
        subject: subject.to_owned(),
        verdict,
        detail,
    }
}

/// How a key object stands to a master key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state", content = "why")]
pub enum WrapState {
    Opens,
    OpensWithPrevious,
    OtherMaster,
    Damaged(String),
}

/// How one key object stands to the master keys of a ring; `None` where it is gone.
///
/// # Errors
/// Where it could not be read.
pub fn wrap_state(ring: &Keyring, wrap: &Wrap) -> Result<Option<WrapState>, KeyError> {
    let tried = |master: &MasterKey| ring.opens(wrap, master);
    Ok(match tried(ring.master()?)? {
        None => None,
        Some(Ok(())) => Some(WrapState::Opens),
        Some(Err(WrapFault::Damaged(why))) => Some(WrapState::Damaged(why)),
        Some(Err(WrapFault::OtherMaster)) => match ring.previous_master()? {
            Some(previous) if matches!(tried(previous)?, Some(Ok(()))) => {
                Some(WrapState::OpensWithPrevious)
            }
            _ => Some(WrapState::OtherMaster),
        },
    })
}

type Judged = Vec<(String, Result<String, Explanation>)>;

fn keys(ring: &Keyring) -> Result<Judged, KeyError> {
    let wraps = ring.wraps()?;
    let mut judged = Judged::new();
    for wraps in wraps.chunk_by(|left, right| left.id == right.id) {
        let Some(id) = wraps.first().map(|wrap| wrap.id.clone()) else { continue };
        let outcome = key(ring, &id, wraps).map_err(|e| e.explanation());
        judged.push((id, outcome));
    }
    Ok(judged)
}

/// A key is whole where it opens and none of its objects is damaged.
fn key(ring: &Keyring, id: &str, wraps: &[Wrap]) -> Result<String, KeyError> {
    ring.open(id)?;
    let (mut opening, mut others) = (0, 0);
    for wrap in wraps {
        match wrap_state(ring, wrap)? {
            Some(WrapState::Opens | WrapState::OpensWithPrevious) => opening += 1,
            Some(WrapState::OtherMaster) => others += 1,
            Some(WrapState::Damaged(why)) => {
                let why = format!("{} is damaged ({why}), and another opens", wrap.name());
                return Err(ring.damaged(id, &why));
            }
            None => {}
        }
    }
    let other =
        if others > 0 { format!("; {others} for another master key") } else { String::new() };
    Ok(format!("opens ({opening} of {} objects{other})", wraps.len()))
}

/// A backup's descriptor is authentic, its manifest deciphers, and the first range of its data is
/// what was written and deciphers too.
///
/// # Errors
/// The first of these that is not so.
pub fn prove_set(repository: &Repository, set: &str) -> Result<String, ScanError> {
    let set = OpenSet::open(repository, set)?;
    let mut manifest = set.manifest()?;
    let header = manifest.header().clone();
    let key_id = set.descriptor.key_id.clone();
    let told = key_id.clone().unwrap_or_else(|| String::from("none"));
    while let Some(record) = manifest.next_record()? {
        if let Record::Member(member) = record {
            set.data_object(&header)?;
            let name = set.descriptor.set.clone();
            let protection = repository.protection_of(&name, key_id.as_deref())?;
            first_range(repository, &protection, &header, &member)?;
            return Ok(format!("opens with the key {told}: descriptor, manifest, first range"));
        }
    }
    Ok(format!("opens with the key {told}: descriptor and manifest; it holds no data"))
}

fn first_range(
    repository: &Repository,
    protection: &Protection,
    header: &Header,
    member: &Member,
) -> Result<(), ScanError> {
    let object = &header.object;
    let whole = |what: &str| ScanError::Mismatch { set: header.set.clone(), why: what.to_owned() };
    if member.index != 0 {
        return Err(whole("the manifest does not begin with its first member"));
    }
    let store = repository.store.as_ref();
    let key = sealed::stream_key(store, object, protection)?;
    let length = usize::try_from(member.length).ok().filter(|length| *length <= (128 << 20));
    let mut stored = vec![0; length.ok_or_else(|| whole("a member is too long"))?];
    store.read_range(object, member.offset, &mut stored)?;
    let iv = key.as_ref().map_or([0; BLOCK], |key| *key.iv());
    if !sealed::member_fits(protection, &header.set, 0, &iv, &stored, &member.tag) {
        return Err(ScanError::Tag {
            object: object.clone(),
            from: member.offset,
            to: member.end(),
            holds: String::from("the beginning of the backup"),
        });
    }
    if let Some(key) = key {
        envelope::decrypt_blocks(key.key(), &iv, &mut stored)
            .map_err(|source| SealedError::Envelope { key: object.clone(), source })?;
    }
    let unpack = |source| ScanError::Unpack {
        object: object.clone(),
        from: member.offset,
        to: member.end(),
        source,
    };
    let plain = usize::try_from(member.tar_length).unwrap_or(usize::MAX);
    let plain =
        if plain <= (128 << 20) { plain } else { return Err(whole("a member is too long")) };
    let mut unpacker = Unpacker::new(header.codec).map_err(unpack)?;
    unpacker.unpack(&stored, plain, &mut Vec::new()).map_err(unpack)
}

/// Opens the newest segment of the newest timeline, or its newest history where it has none.
fn newest_wal(repository: &Repository) -> Result<String, RepositoryError> {
    let segment = |key: &str| {
        let name = key.rsplit('/').next()?.split('.').next()?;
        matches!(WalFile::parse(name), Some(WalFile::Segment { .. })).then(|| name.to_owned())
    };
    let mut folders = repository.store.folders(ARCHIVE)?;
    folders.sort_unstable();
    for folder in folders.iter().rev() {
        let objects = repository.store.list(&format!("{ARCHIVE}{folder}/"), "")?;
        let Some(newest) = objects.iter().filter_map(|object| segment(&object.key)).max() else {
            continue;
        };
        let bytes = repository.read_wal(&newest, &mut std::io::sink())?;
        let bytes = bytes.ok_or_else(|| {
            repository.damaged(&newest, "it was listed, and is not there any more")
        })?;
        return Ok(format!("{newest} opens, {bytes} bytes"));
    }
    Ok(String::from("the archive holds no segment yet"))
}
