//! A set's descriptor: what publishes a base backup, and says all that a recovery must know of it
//! before it reads a byte of it. Owns `set-YYYYMMDD-HHMMSS.json`, written last and authenticated.

use super::{Repository, RepositoryError};
use crate::engine::config::Codec;
use crate::engine::crypto::Protection;
use crate::engine::explain::Explanation;
use crate::engine::incident::facts::BaseSummary;
use crate::engine::postgres::Lsn;
use crate::engine::repository::store::StoreFault;
use crate::engine::wal::TimelineId;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The descriptor's format, as documented.
pub const FORMAT: u32 = 1;
const PREFIX: &str = "set-";
const SUFFIX: &str = ".json";
/// What the tag over the descriptor is made for.
const PURPOSE: &str = "set descriptor";
/// The member of the JSON object that holds the tag, and is not under it.
const TAG: &str = "tag";

/// A base backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetDescriptor {
    pub format: u32,
    /// `set-YYYYMMDD-HHMMSS`, UTC; see [`set_name`].
    pub set: String,
    /// The version of Lifeboat that wrote it.
    pub written_by: String,
    pub cluster: String,
    /// As text, since many readers of JSON keep 53 bits of a number.
    #[serde(with = "as_text")]
    pub system_identifier: u64,
    /// `server_version_num`, such as 150018.
    pub server_version_num: u32,
    pub pg_control_version: u32,
    pub catalog_version: u32,
    /// Bytes.
    pub page_size: u32,
    /// Bytes.
    pub segment_size: u64,
    pub data_checksums: bool,
    pub start_lsn: Lsn,
    pub stop_lsn: Lsn,
    pub timeline: TimelineId,
    pub started: Timestamp,
    pub finished: Timestamp,
    /// The data key of everything in the set; `None` where it is not encrypted.
    pub key_id: Option<String>,
    pub codec: Codec,
    /// `none` or `aes-256-cbc`.
    pub cipher: String,
    /// Bytes in the data directory and its tablespaces.
    pub data_bytes: u64,
    /// Bytes of the set's objects.
    pub stored_bytes: u64,
    pub objects: Vec<SetObject>,
    /// Byte for byte as the server gave it.
    pub backup_label: String,
    /// Byte for byte as the server gave it; `None` where there are no tablespaces.
    pub tablespace_map: Option<String>,
    pub tablespaces: Vec<Tablespace>,
    /// What was wrong with the data when they were read, such as pages with a wrong checksum.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// An object of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetObject {
    /// Its key in the repository.
    pub name: String,
    /// Stored bytes.
    pub size: u64,
    /// SHA-256 of the stored bytes, lowercase hexadecimal, as `sha256sum` prints it.
    pub sha256: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    pub oid: u32,
    /// Absolute, on the server that was backed up.
    pub path: String,
}

impl SetDescriptor {
    /// The few figures that screens and plans need.
    #[must_use]
    pub fn summary(&self, repository: &str) -> BaseSummary {
        let number = self.server_version_num;
        BaseSummary {
            set: self.set.clone(),
            repository: repository.to_owned(),
            started: self.started,
            finished: self.finished,
            start_lsn: self.start_lsn,
            stop_lsn: self.stop_lsn,
            timeline: self.timeline,
            system_identifier: self.system_identifier,
            version: number / 10_000,
            size: self.data_bytes,
            stored: self.stored_bytes,
            encrypted: self.key_id.is_some(),
        }
    }
}

/// `set-YYYYMMDD-HHMMSS`, UTC.
#[must_use]
pub fn set_name(at: Timestamp) -> String {
    format!("{PREFIX}{}", at.strftime("%Y%m%d-%H%M%S"))
}

/// `base-YYYYMMDD-HHMMSS`: what the names of a set's objects begin with. `None` where `set` is
/// not a set's name.
#[must_use]
pub fn base_stem(set: &str) -> Option<String> {
    set_time(set)?;
    Some(format!("base-{}", set.strip_prefix(PREFIX)?))
}

/// The time in a set's name; `None` where it is not one.
#[must_use]
pub fn set_time(set: &str) -> Option<Timestamp> {
    let digits = set.strip_prefix(PREFIX)?;
    let shaped = digits.len() == 15
        && digits
            .bytes()
            .enumerate()
            .all(|(i, b)| if i == 8 { b == b'-' } else { b.is_ascii_digit() });
    if !shaped {
        return None;
    }
    let civil = jiff::civil::DateTime::strptime("%Y%m%d-%H%M%S", digits).ok()?;
    civil.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| z.timestamp())
}

impl Repository {
    /// Publishes a set: all its objects must be there and durable. Durable when this returns.
    ///
    /// # Errors
    /// Where the name is taken, or it could not be written.
    pub fn write_set(&self, set: &SetDescriptor) -> Result<(), RepositoryError> {
        check_set_name(&set.set)?;
        let protection = self.protection_of(&set.set, set.key_id.as_deref())?;
        let mut value = self.checked_value(set)?;
        let tag = tag_of(&protection, &value);
        if let Value::Object(members) = &mut value {
            members.insert(TAG.to_owned(), Value::String(HEXLOWER.encode(&tag)));
        }
        self.put_json(&format!("{}{SUFFIX}", set.set), &value)
    }

    /// Makes sure that a published set's descriptor would survive a power cut.
    ///
    /// # Errors
    /// Where it is not there, or could not be synced.
    pub fn settle_set(&self, name: &str) -> Result<(), RepositoryError> {
        check_set_name(name)?;
        Ok(self.store.settle(&format!("{name}{SUFFIX}"))?)
    }

    /// A set's descriptor, authenticated.
    ///
    /// # Errors
    /// [`RepositoryError::NoSuchSet`] where the repository proves that it has none of that name;
    /// where it could not be read, or is not what was written.
    pub fn read_set(&self, name: &str) -> Result<SetDescriptor, RepositoryError> {
        check_set_name(name)?;
        let object = format!("{name}{SUFFIX}");
        let damaged = |why: &str| self.damaged(&object, why);
        let mut value: Value = self.read_json(&object).map_err(|e| match e {
            RepositoryError::Store(e) if e.fault == StoreFault::NotFound => {
                let place = self.store.describe();
                RepositoryError::NoSuchSet(format!("there is no backup {name} in {place}"))
            }
            other => other,
        })?;
        let tag = value.as_object_mut().and_then(|members| members.remove(TAG));
        let tag = tag
            .as_ref()
            .and_then(Value::as_str)
            .and_then(|text| HEXLOWER.decode(text.as_bytes()).ok())
            .ok_or_else(|| damaged("it carries no tag"))?;
        let set: SetDescriptor = serde_json::from_value(value.clone())
            .map_err(|e| damaged(&format!("it is not a descriptor: {e}")))?;
        let protection = self.protection_of(&object, set.key_id.as_deref())?;
        if !crate::engine::crypto::tag::same(&tag_of(&protection, &value), &tag) {
            return Err(damaged("its tag does not fit"));
        }
        if set.format != FORMAT {
            return Err(damaged(&format!("it has format {}", set.format)));
        }
        if set.set != name || set.cluster != self.cluster() {
            let why = format!("it describes {} of the cluster \"{}\"", set.set, set.cluster);
            return Err(damaged(&why));
        }
        Ok(set)
    }

    /// The names of all published sets, oldest first.
    ///
    /// # Errors
    /// Where the repository could not be listed.
    pub fn set_names(&self) -> Result<Vec<String>, RepositoryError> {
        let objects = self.store.list("", PREFIX)?;
        let names = objects.iter().filter_map(|o| o.key.strip_suffix(SUFFIX));
        Ok(names.filter(|name| set_time(name).is_some()).map(str::to_owned).collect())
    }

    /// Published sets, oldest first, with what could not be read or authenticated.
    ///
    /// # Errors
    /// Where the repository could not be listed.
    pub fn bases(&self) -> Result<(Vec<BaseSummary>, Vec<Explanation>), RepositoryError> {
        let (mut bases, mut unreadable) = (Vec::new(), Vec::new());
        for name in self.set_names()? {
            match self.read_set(&name) {
                Ok(set) => bases.push(set.summary(&self.config.name)),
                Err(e) => unreadable.push(e.of_set(&name)),
            }
        }
        Ok((bases, unreadable))
    }

    /// The newest set that was finished at or before `before`, with what newer ones could not be
    /// read or authenticated.
    ///
    /// # Errors
    /// Where the repository could not be listed.
    pub fn find_base(
        &self,
        before: Timestamp,
    ) -> Result<(Option<SetDescriptor>, Vec<Explanation>), RepositoryError> {
        let mut unreadable = Vec::new();
        for name in self.set_names()?.iter().rev() {
            // A set is named by its start: one begun later cannot have finished earlier.
            if set_time(name).is_none_or(|begun| begun > before) {
                continue;
            }
            match self.read_set(name) {
                Ok(set) if set.finished <= before => return Ok((Some(set), unreadable)),
                Ok(_) => {}
                Err(e) => unreadable.push(e.of_set(name)),
            }
        }
        Ok((None, unreadable))
    }

    fn checked_value(&self, set: &SetDescriptor) -> Result<Value, RepositoryError> {
        serde_json::to_value(set).map_err(|e| self.damaged(&set.set, &e.to_string()))
    }
}

fn check_set_name(name: &str) -> Result<(), RepositoryError> {
    if set_time(name).is_some() {
        return Ok(());
    }
    let what = "a backup, such as set-20250113-020000";
    Err(RepositoryError::BadName { name: name.to_owned(), what })
}

fn tag_of(protection: &Protection, value: &Value) -> [u8; 32] {
    let mut text = String::new();
    canonical(value, &mut text);
    protection.tag(PURPOSE, &[text.as_bytes()])
}

/// JSON in the one form that tags are made over: members by name, no white space.
pub fn canonical(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            text.push('{');
            for (i, (name, member)) in members.into_iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                text.push_str(&Value::String(name.clone()).to_string());
                text.push(':');
                canonical(member, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    text.push(',');
                }
                canonical(item, text);
            }
            text.push(']');
        }
        plain => text.push_str(&plain.to_string()),
    }
}

/// A number as text in JSON.
mod as_text {
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::repository::testing::{Place, set_at};
    use std::fs;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_set_is_published_once_and_reads_back() {
        for place in Place::both() {
            let repository = place.repository();
            let set = set_at(&repository, at("2025-01-13T02:00:00Z"));
            repository.write_set(&set).unwrap();
            assert_eq!(repository.read_set(&set.set).unwrap(), set);
            let again = repository.write_set(&set).unwrap_err();
            assert_eq!(again.fault(), Some(StoreFault::Exists));
            let (bases, unreadable) = place.repository().bases().unwrap();
            assert_eq!((bases, unreadable), (vec![set.summary("near")], vec![]));
            let absent = repository.read_set("set-20240101-000000").unwrap_err();
            assert!(matches!(absent, RepositoryError::NoSuchSet(_)), "{absent}");
        }
    }

    #[test]
    fn a_changed_descriptor_is_refused_and_the_others_are_still_found() {
        for place in Place::both() {
            let repository = place.repository();
            let older = set_at(&repository, at("2025-01-12T02:00:00Z"));
            let newer = set_at(&repository, at("2025-01-13T02:00:00Z"));
            repository.write_set(&older).unwrap();
            repository.write_set(&newer).unwrap();
            let path = place.root().join("set-20250113-020000.json");
            let text = fs::read_to_string(&path).unwrap();
            for (from, to) in [
                ("\"server_version_num\": 150018", "\"server_version_num\": 150017"),
                ("2025-01-13T02:05:00Z", "2025-01-13T02:04:00Z"),
                ("\"tag\"", "\"tags\""),
                ("START WAL LOCATION", "START WAL LOCATIOM"),
            ] {
                assert!(text.contains(from), "{from} is in the descriptor");
                fs::write(&path, text.replace(from, to)).unwrap();
                let refused = repository.read_set(&newer.set).unwrap_err();
                assert!(matches!(refused, RepositoryError::Damaged { .. }), "{from}: {refused}");
                let (bases, unreadable) = repository.bases().unwrap();
                assert_eq!((bases.len(), unreadable.len()), (1, 1));
                let (found, unreadable) = repository.find_base(Timestamp::now()).unwrap();
                assert_eq!((found.unwrap().set, unreadable.len()), (older.set.clone(), 1));
            }
            // Order and white space are no part of what is said.
            let value: Value = serde_json::from_str(&text).unwrap();
            fs::write(&path, value.to_string()).unwrap();
            assert_eq!(repository.read_set(&newer.set).unwrap(), newer);
        }
    }

    #[test]
    fn the_base_before_a_moment_is_one_that_was_finished_by_then() {
        let place = Place::encrypted();
        let repository = place.repository();
        for day in ["2025-01-12T02:00:00Z", "2025-01-13T02:00:00Z"] {
            repository.write_set(&set_at(&repository, at(day))).unwrap();
        }
        let found = |moment: &str| repository.find_base(at(moment)).unwrap().0.map(|set| set.set);
        assert_eq!(found("2025-01-12T02:04:59Z"), None, "not finished yet");
        assert_eq!(found("2025-01-12T02:05:00Z").as_deref(), Some("set-20250112-020000"));
        assert_eq!(found("2025-01-13T02:04:59Z").as_deref(), Some("set-20250112-020000"));
        assert_eq!(found("2025-01-14T00:00:00Z").as_deref(), Some("set-20250113-020000"));
    }

    #[test]
    fn names_of_sets() {
        let name = set_name(at("2025-01-13T02:00:00.9Z"));
        assert_eq!(name, "set-20250113-020000");
        assert_eq!(set_time(&name), Some(at("2025-01-13T02:00:00Z")));
        assert_eq!(base_stem(&name).as_deref(), Some("base-20250113-020000"));
        for bad in
            ["set-20250113-020000.json", "set-20251313-020000", "base-20250113-020000", "set-"]
        {
            assert_eq!(set_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn canonical_json_is_by_name_and_without_space() {
        let value: Value =
            serde_json::from_str(r#"{ "b": [1, {"z": null, "a": "\"x"}], "a": true }"#).unwrap();
        let mut text = String::new();
        canonical(&value, &mut text);
        assert_eq!(text, r#"{"a":true,"b":[1,{"a":"\"x","z":null}]}"#);
    }
}
