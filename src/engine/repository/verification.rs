//! What was found when a backup was verified, kept in the repository so that every host sees it.
//! Owns `verifications/<set>/`: one object a verification, never overwritten. A record that says
//! VERIFIED counts only where its tag fits; who can write to the store alone cannot vouch.

use super::descriptor::{canonical, set_time};
use super::store::StoreFault;
use super::{Repository, RepositoryError};
use crate::engine::crypto::keyring::random;
use crate::engine::crypto::{Protection, tag};
use crate::engine::incident::facts::{Check, Verdict};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(super) const FOLDER: &str = "verifications/";
const PURPOSE: &str = "verification";
const TAG: &str = "tag";
const FORMAT: u32 = 1;

/// One verification of one backup in one repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verification {
    pub format: u32,
    pub set: String,
    /// When it began.
    pub at: Timestamp,
    pub verdict: Verdict,
    pub checks: Vec<Check>,
    /// Bytes read from the store.
    pub bytes_read: u64,
    pub milliseconds: u64,
    /// What was looked at, so that "unchanged since" can be told.
    pub seen: Vec<Seen>,
    /// The data key of the tag; `None` where the repository is not encrypted or the key did not
    /// open.
    pub key_id: Option<String>,
}

/// An object as the store told of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Seen {
    pub name: String,
    /// Bytes.
    pub size: u64,
    pub written: Option<Timestamp>,
    /// SHA-256 of the stored bytes, where the descriptor has it; a WAL file's tag is in its name.
    pub sha256: Option<String>,
}

impl Verification {
    #[must_use]
    pub fn new(set: &str, at: Timestamp, checks: Vec<Check>) -> Self {
        Self {
            format: FORMAT,
            set: set.to_owned(),
            at,
            verdict: Verdict::of_all(checks.iter().map(|check| check.verdict)),
            checks,
            bytes_read: 0,
            milliseconds: 0,
            seen: Vec::new(),
            key_id: None,
        }
    }
}

impl Repository {
    /// Records a verification; durable when it returns.
    ///
    /// # Errors
    /// Where it could not be written.
    pub fn record_verification(
        &self,
        record: &Verification,
        protection: Option<&Protection>,
    ) -> Result<(), RepositoryError> {
        let fallback = Protection::Digest;
        let protection = protection.unwrap_or(&fallback);
        let record =
            Verification { key_id: protection.key_id().map(str::to_owned), ..record.clone() };
        let mut value =
            serde_json::to_value(&record).map_err(|e| self.damaged(&record.set, &e.to_string()))?;
        let made = tag_of(protection, &value);
        if let Value::Object(members) = &mut value {
            members.insert(TAG.to_owned(), Value::String(HEXLOWER.encode(&made)));
        }
        let chance = HEXLOWER.encode(&random::<4>()?[..]);
        let at = record.at.strftime("%Y%m%dT%H%M%S");
        self.put_json(&format!("{FOLDER}{}/{at}-{chance}.json", record.set), &value)
    }

    /// The newest verification of a backup that can be believed; `None` where there is none.
    ///
    /// # Errors
    /// Where the records could not be listed or read.
    pub fn newest_verification(&self, set: &str) -> Result<Option<Verification>, RepositoryError> {
        let mut keys = self.verification_keys(set)?;
        while let Some(key) = keys.pop() {
            if let Some(record) = self.believed(&key, set)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// The keys of a backup's verifications, oldest first.
    ///
    /// # Errors
    /// Where they could not be listed.
    pub fn verification_keys(&self, set: &str) -> Result<Vec<String>, RepositoryError> {
        let mut keys: Vec<String> = self
            .store
            .list(&format!("{FOLDER}{set}/"), "")?
            .into_iter()
            .map(|object| object.key)
            .filter(|key| key.ends_with(".json"))
            .collect();
        keys.sort_unstable();
        Ok(keys)
    }

    /// The backups that were ever verified, the removed ones too, oldest first.
    ///
    /// # Errors
    /// Where they could not be listed.
    pub fn verified_sets(&self) -> Result<Vec<String>, RepositoryError> {
        let mut sets = self.store.folders(FOLDER)?;
        sets.retain(|set| set_time(set).is_some());
        sets.sort_unstable();
        Ok(sets)
    }

    /// `None` where the record is damaged, or says VERIFIED without a tag that fits. A failure
    /// needs no proof: believing one that was forged costs another reading, no more.
    fn believed(&self, key: &str, set: &str) -> Result<Option<Verification>, RepositoryError> {
        let bytes = match self.store.read(key) {
            Ok(bytes) => bytes,
            // Pruned since it was listed.
            Err(e) if e.fault == StoreFault::NotFound => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let Ok(mut value) = serde_json::from_slice::<Value>(&bytes) else { return Ok(None) };
        let made = value.as_object_mut().and_then(|members| members.remove(TAG));
        let Ok(record) = serde_json::from_value::<Verification>(value.clone()) else {
            return Ok(None);
        };
        if record.set != set || record.format != FORMAT {
            return Ok(None);
        }
        let stored = made.as_ref().and_then(Value::as_str).map(str::as_bytes);
        let stored = stored.and_then(|text| HEXLOWER.decode(text).ok()).unwrap_or_default();
        let fits = match self.protection_of(key, record.key_id.as_deref()) {
            Ok(protection) => tag::same(&tag_of(&protection, &value), &stored),
            Err(_) => false,
        };
        Ok((fits || record.verdict != Verdict::Verified).then_some(record))
    }
}

fn tag_of(protection: &Protection, value: &Value) -> [u8; 32] {
    let mut text = String::new();
    canonical(value, &mut text);
    protection.tag(PURPOSE, &[text.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::super::testing::Place;
    use super::*;
    use std::fs;

    const SET: &str = "set-20250113-020000";

    fn record(at: &str, verdict: Verdict) -> Verification {
        let check = Check {
            id: "base:content".into(),
            title: "Every file".into(),
            verdict,
            expected: None,
            found: None,
            detail: String::new(),
            duration_ms: 1,
        };
        Verification::new(SET, at.parse().unwrap(), vec![check])
    }

    #[test]
    fn the_newest_counts_and_a_forged_pass_does_not() {
        for place in Place::both() {
            let repository = place.repository();
            let protection = repository.new_protection().unwrap();
            assert_eq!(repository.newest_verification(SET).unwrap(), None);
            let failed = record("2025-01-14T00:00:00Z", Verdict::Failed);
            repository.record_verification(&failed, Some(&protection)).unwrap();
            let passed = record("2025-01-15T00:00:00Z", Verdict::Verified);
            repository.record_verification(&passed, Some(&protection)).unwrap();
            let newest = place.repository().newest_verification(SET).unwrap().unwrap();
            assert_eq!((newest.at, newest.verdict), (passed.at, Verdict::Verified));

            // The failure, turned into a later pass by hand.
            let folder = place.root().join("verifications").join(SET);
            let mut names: Vec<_> =
                fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()).collect();
            names.sort();
            let text = fs::read_to_string(&names[0]).unwrap().replace("FAILED", "VERIFIED");
            fs::write(folder.join("20250116T000000-00000000.json"), text).unwrap();
            let newest = place.repository().newest_verification(SET).unwrap().unwrap();
            assert_eq!(newest.at, passed.at);
            assert_eq!(repository.verified_sets().unwrap(), [SET]);
        }
    }

    #[test]
    fn a_pass_without_a_key_is_not_believed_where_there_are_keys() {
        let place = Place::encrypted();
        let repository = place.repository();
        let passed = record("2025-01-15T00:00:00Z", Verdict::Verified);
        repository.record_verification(&passed, None).unwrap();
        assert_eq!(repository.newest_verification(SET).unwrap(), None);
        let failed = record("2025-01-14T00:00:00Z", Verdict::Failed);
        repository.record_verification(&failed, None).unwrap();
        assert_eq!(repository.newest_verification(SET).unwrap().unwrap().verdict, Verdict::Failed);
    }
}
