//! Which data keys a repository has, who can open them and what they protect. Owns the words of
//! `keys list` and the refusals of `keys destroy`; reads names and small objects alone.

use super::check::{WrapState, wrap_state};
use super::{Holding, KeysError};
use crate::engine::crypto::wrap::{is_key_id, time_of};
use crate::engine::repository::descriptor::{base_stem, set_time};
use crate::engine::repository::store::{StoreError, StoreFault};
use crate::engine::repository::wal_object::FOLDER as ARCHIVE;
use crate::engine::repository::{Repository, RepositoryError};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// A backup that is under way may have taken any key that is younger than this, and shows nothing
/// of it until it is published; no backup runs so long.
pub const UNDER_WAY: SignedDuration = SignedDuration::from_hours(24 * 30);
/// How far a key's time may lie from its backup's.
const SLACK: SignedDuration = SignedDuration::from_hours(24);

/// The data keys of one repository.
#[derive(Debug, Serialize)]
pub struct Inventory {
    pub cluster: String,
    pub repository: String,
    pub place: String,
    /// The fingerprint of the master key in the configuration.
    pub master: String,
    /// That of the one before, while a rotation is under way.
    pub previous_master: Option<String>,
    /// Oldest first; the last protects new WAL.
    pub keys: Vec<KeyLine>,
    /// Sets whose descriptor does not even say which key it needs.
    pub unreadable_sets: Vec<String>,
}

/// A data key.
#[derive(Debug, Serialize)]
pub struct KeyLine {
    pub id: String,
    pub created: Option<Timestamp>,
    pub age_seconds: Option<i64>,
    pub objects: Vec<WrapLine>,
    pub sets: Vec<String>,
    pub wal: Option<WalUse>,
}

/// A key object.
#[derive(Debug, Serialize)]
pub struct WrapLine {
    pub object: String,
    /// Whose fingerprint it is for; `None` where neither the object's name nor a master key that
    /// is at hand says it.
    pub master: Option<String>,
    #[serde(flatten)]
    pub state: WrapState,
}

/// The archived WAL under one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WalUse {
    /// By name; of any timeline.
    pub first: String,
    pub last: String,
    pub objects: u64,
}

/// What needs which key.
#[derive(Debug, Default)]
pub struct Usage {
    pub sets: BTreeMap<String, Vec<String>>,
    pub wal: BTreeMap<String, WalUse>,
    pub unreadable_sets: Vec<String>,
    /// The last of the ring, which protects new WAL.
    pub newest: Option<String>,
    /// What a file outside the repository needs.
    pub pinned: BTreeSet<String>,
    /// When the oldest backup began of which there are objects and no descriptor.
    pub unpublished_since: Option<Timestamp>,
}

impl Usage {
    /// Why the key `id` must stay; `None` where nothing needs it and nothing may. The one rule
    /// for all that removes keys.
    #[must_use]
    pub fn why_needed(&self, id: &str, now: Timestamp) -> Option<String> {
        if self.newest.as_deref() == Some(id) {
            return Some(String::from("it is the newest, under which WAL is archived now"));
        }
        if let Some(sets) = self.sets.get(id) {
            return Some(format!("{} cannot be opened without it", sets.join(", ")));
        }
        if let Some(wal) = self.wal.get(id) {
            return Some(format!(
                "{} WAL files from {} to {} cannot be opened without it",
                wal.objects, wal.first, wal.last
            ));
        }
        if self.pinned.contains(id) {
            return Some(String::from(
                "a file outside the repository, made by lifeboat encrypt, cannot be opened \
                 without it",
            ));
        }
        if !self.unreadable_sets.is_empty() {
            let sets = self.unreadable_sets.join(", ");
            return Some(format!("which key {sets} needs is not readable, and may be this one"));
        }
        may_be_under_way(id, self.unpublished_since, now).then(|| {
            String::from(
                "it is younger than 30 days, or than a backup that is not published, and a backup \
                 that is under way may have it",
            )
        })
    }
}

/// Whether a backup that is not published yet may have the key `id`. `unpublished_since` is when
/// the oldest such backup began of which objects can be seen.
#[must_use]
fn may_be_under_way(id: &str, unpublished_since: Option<Timestamp>, now: Timestamp) -> bool {
    let seen = unpublished_since.map(|at| at.saturating_sub(SLACK).unwrap_or(Timestamp::MIN));
    let limit = now.saturating_sub(UNDER_WAY).unwrap_or(Timestamp::MIN);
    let limit = seen.map_or(limit, |seen| seen.min(limit));
    time_of(id).is_none_or(|made| made >= limit)
}

/// Reads every descriptor's key and every WAL object's name, and authenticates none: a set that
/// is damaged may still be opened once its descriptor comes back from another copy.
///
/// # Errors
/// Where something could not be listed or read.
pub fn usage(repository: &Repository) -> Result<Usage, RepositoryError> {
    let mut usage = Usage { pinned: repository.pinned_keys()?, ..Usage::default() };
    if let Some(keyring) = repository.keyring() {
        usage.newest = keyring.list()?.pop();
    }
    // Objects before descriptors: what is published in between is not taken for unpublished.
    let objects = repository.store.list("", "base-")?;
    let names = repository.set_names()?;
    let published: BTreeSet<String> = names.iter().filter_map(|set| base_stem(set)).collect();
    usage.unpublished_since = objects
        .iter()
        .filter_map(|object| object.key.split_once('.').map(|(stem, _)| stem))
        .filter(|stem| !published.contains(*stem))
        .filter_map(|stem| set_time(&stem.replacen("base-", "set-", 1)))
        .min();
    for set in names {
        let text = match repository.store.read(&format!("{set}.json")) {
            Ok(text) => text,
            // Removed since it was listed.
            Err(e) if e.fault == StoreFault::NotFound => continue,
            Err(e) => return Err(e.into()),
        };
        let value: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
        let id = value.as_ref().and_then(|v| v.get("key_id")).and_then(|id| id.as_str());
        match id.filter(|id| is_key_id(id)) {
            Some(id) => usage.sets.entry(id.to_owned()).or_default().push(set),
            None => usage.unreadable_sets.push(set),
        }
    }
    let mut archive = |folder: &str| -> Result<(), StoreError> {
        for object in repository.store.list(folder, "")? {
            let name = object.key.rsplit('/').next().unwrap_or_default();
            let Some((file, id)) = file_and_key(name) else { continue };
            let entry = usage.wal.entry(id.to_owned()).or_insert_with(|| WalUse {
                first: file.to_owned(),
                last: file.to_owned(),
                objects: 0,
            });
            entry.objects += 1;
            if file < entry.first.as_str() {
                file.clone_into(&mut entry.first);
            }
            if file > entry.last.as_str() {
                file.clone_into(&mut entry.last);
            }
        }
        Ok(())
    };
    archive(ARCHIVE)?;
    for folder in repository.store.folders(ARCHIVE)? {
        archive(&format!("{ARCHIVE}{folder}/"))?;
    }
    Ok(usage)
}

/// `<file>.<key id>.…`
fn file_and_key(name: &str) -> Option<(&str, &str)> {
    let id = name.split('.').find(|part| is_key_id(part))?;
    let at = name.find(id)?;
    Some((name.get(..at.checked_sub(1)?)?, id))
}

/// Everything about the keys of a repository.
///
/// # Errors
/// Where something could not be read; keys that do not open are told, and are none.
pub fn list(holding: &Holding, now: Timestamp) -> Result<Inventory, KeysError> {
    let ring = holding.ring()?;
    let wraps = ring.wraps().map_err(|e| holding.place.at(e))?;
    let master = ring.master()?.fingerprint().to_owned();
    let previous = ring.previous_master()?.map(|one| one.fingerprint().to_owned());
    let mut keys: Vec<KeyLine> = Vec::new();
    for wrap in wraps {
        let state = wrap_state(&ring, &wrap).map_err(|e| holding.place.at(e))?;
        let Some(state) = state else { continue };
        if keys.last().is_none_or(|key| key.id != wrap.id) {
            let created = time_of(&wrap.id);
            keys.push(KeyLine {
                id: wrap.id.clone(),
                created,
                age_seconds: created.map(|at| now.duration_since(at).as_secs()),
                objects: Vec::new(),
                sets: Vec::new(),
                wal: None,
            });
        }
        let of = match state {
            WrapState::Opens => Some(master.clone()),
            WrapState::OpensWithPrevious => previous.clone(),
            WrapState::OtherMaster | WrapState::Damaged(_) => wrap.fingerprint.clone(),
        };
        let line = WrapLine { object: wrap.name(), master: of, state };
        if let Some(key) = keys.last_mut() {
            key.objects.push(line);
        }
    }
    let repository = holding.repository(ring)?;
    let mut used = usage(&repository).map_err(|e| holding.place.at(e))?;
    for key in &mut keys {
        key.sets = used.sets.remove(&key.id).unwrap_or_default();
        key.wal = used.wal.remove(&key.id);
    }
    Ok(Inventory {
        cluster: holding.place.cluster.clone(),
        repository: holding.place.config.name.clone(),
        place: holding.store.describe(),
        master,
        previous_master: previous,
        keys,
        unreadable_sets: used.unreadable_sets,
    })
}

/// Makes a data key now, so that WAL from here on is under it; gives its id.
///
/// # Errors
/// Where the newest key does not open (then something is wrong that a new key would hide), or the
/// new one could not be made.
pub fn rotate(holding: &Holding) -> Result<String, KeysError> {
    let ring = holding.ring()?;
    let made = ring.check().and_then(|()| ring.new_data_key());
    Ok(made.map_err(|e| holding.place.at(e))?.id.clone())
}

/// Destroys a data key that nothing needs.
///
/// # Errors
/// [`KeysError::Needed`] where a set or a WAL file needs it or may need it.
pub fn destroy(holding: &Holding, id: &str, now: Timestamp) -> Result<(), KeysError> {
    let ring = holding.ring()?;
    let repository = holding.repository(holding.ring()?)?;
    refuse_if_needed(holding, &repository, id, now)?;
    ring.remove(id).map_err(|e| holding.place.at(e))
}

fn refuse_if_needed(
    holding: &Holding,
    repository: &Repository,
    id: &str,
    now: Timestamp,
) -> Result<(), KeysError> {
    let place = &holding.place;
    let used = usage(repository).map_err(|e| place.at(e))?;
    match used.why_needed(id, now) {
        Some(why) => Err(KeysError::Needed { id: id.to_owned(), place: place.to_string(), why }),
        None => Ok(()),
    }
}
