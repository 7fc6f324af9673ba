//! WAL in the repository: one object a file, found by its name without listing the archive. Owns
//! the names under `wal-archive/` and what vouches for them. Never overwrites, and never says
//! "not there" without proof.

use super::wal_object::{
    FOLDER, Inflate, LARGEST, ObjectName, compress, folder_of, inflate, short_tag,
};
use super::{Repository, RepositoryError};
use crate::engine::crypto::envelope::{self, StreamKey};
use crate::engine::crypto::{Protection, tag};
use crate::engine::repository::store::StoreFault;
use crate::engine::wal::{TimelineId, WalFile};
use std::collections::BTreeSet;
use std::io::Write;

const SALT_PURPOSE: &str = "wal salt";

/// Whether a WAL file was new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutWal {
    Stored,
    /// The same content was there and is durable.
    AlreadyThere,
}

/// A WAL file in the archive, by its listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalObject {
    /// `000000010000000000000003`, `00000002.history`, …
    pub name: String,
    pub key: String,
    /// Stored bytes.
    pub size: u64,
}

impl Repository {
    /// Archives one file of `pg_wal`. Durable when it returns. Never overwrites.
    ///
    /// # Errors
    /// Where another content is there under the same name, or it could not be written.
    pub fn put_wal(&self, name: &str, content: &[u8]) -> Result<PutWal, RepositoryError> {
        if let Some(there) = self.same_wal_there(name, content)? {
            return Ok(there);
        }
        let protection = self.current_protection()?;
        let (key, stored) = self.wal_object(name, content, &protection)?;
        match self.store.put(&key, &stored) {
            Ok(()) => Ok(PutWal::Stored),
            // Somebody archived it at the same moment.
            Err(e) if e.fault == StoreFault::Exists => {
                self.same_wal_there(name, content)?.ok_or(RepositoryError::Store(e))
            }
            Err(e) => Err(e.into()),
        }
    }

    /// One WAL file's content. `None` only where the archive is there and proves that it does
    /// not hold the file; every doubt is an error.
    ///
    /// # Errors
    /// Where it could not be read, or is not what was written.
    pub fn get_wal(&self, name: &str) -> Result<Option<Vec<u8>>, RepositoryError> {
        let objects = self.wal_objects(name)?;
        let mut contents = Vec::new();
        let mut refused = None;
        for object in &objects {
            match self.open_wal(object) {
                Ok(content) if contents.contains(&content) => {}
                Ok(content) => contents.push(content),
                Err(e) => refused = Some(e),
            }
        }
        // Two objects of one name come from two keys or versions of a compressor, and hold the
        // same; one of them that opens is enough.
        match (contents.len(), refused) {
            (0, None) => Ok(None),
            (0, Some(e)) => Err(e),
            (1, _) => Ok(contents.pop()),
            _ => Err(self.different(name, objects.last().map_or("", |o| &o.key))),
        }
    }

    /// Writes one WAL file's content to `output`, with little memory; its length in bytes. As
    /// [`Repository::get_wal`] in all else. What was written before an error is worth nothing.
    ///
    /// # Errors
    /// As [`Repository::get_wal`]; [`RepositoryError::Output`] where `output` failed.
    pub fn read_wal(
        &self,
        name: &str,
        output: &mut dyn Write,
    ) -> Result<Option<u64>, RepositoryError> {
        let objects = self.wal_objects(name)?;
        if let [object] = objects.as_slice() {
            return self.inflate_wal(object, output).map(Some);
        }
        let Some(content) = self.get_wal(name)? else { return Ok(None) };
        output
            .write_all(&content)
            .map_err(|source| RepositoryError::Output { what: name.to_owned(), source })?;
        Ok(Some(content.len() as u64))
    }

    /// The objects of one WAL file: none where the archive is there and proves that it has none,
    /// one, or rarely more. Opens nothing.
    ///
    /// # Errors
    /// Where the archive could not be asked.
    pub fn find_wal(&self, name: &str) -> Result<Vec<WalObject>, RepositoryError> {
        let objects = self.store.list(&folder_of(name)?, &format!("{name}."))?;
        let named = |key: &str| ObjectName::parse(key).is_some_and(|parsed| parsed.file == name);
        let found = objects.into_iter().filter(|object| named(&object.key));
        Ok(found.map(|o| WalObject { name: name.to_owned(), key: o.key, size: o.size }).collect())
    }

    /// The id of the key that a WAL file's object names; `None` where it needs none.
    #[must_use]
    pub fn wal_key_id(&self, object: &WalObject) -> Option<String> {
        ObjectName::parse(&object.key)?.key_id
    }

    /// Segments of one timeline from `from` (a segment's name) on, by name, at most `limit`.
    /// Reads only the folders that it must.
    ///
    /// # Errors
    /// Where the archive could not be listed.
    pub fn list_wal(
        &self,
        timeline: TimelineId,
        from: &str,
        limit: usize,
    ) -> Result<Vec<WalObject>, RepositoryError> {
        let of_timeline = format!("{timeline:08X}");
        let first = from.get(..16).unwrap_or_default();
        let mut found: Vec<WalObject> = Vec::new();
        for folder in self.store.folders(FOLDER)? {
            if !folder.starts_with(&of_timeline) || folder.as_str() < first {
                continue;
            }
            if found.len() >= limit {
                break;
            }
            for object in self.store.list(&format!("{FOLDER}{folder}/"), &of_timeline)? {
                let Some(parsed) = ObjectName::parse(&object.key) else { continue };
                let is_segment =
                    matches!(WalFile::parse(&parsed.file), Some(WalFile::Segment { .. }));
                let again = found.last().is_some_and(|last| last.name == parsed.file);
                if is_segment && !again && parsed.file.as_str() >= from {
                    found.push(WalObject { name: parsed.file, key: object.key, size: object.size });
                }
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Every timeline that has a `.history` file or a segment in the archive, ascending.
    ///
    /// # Errors
    /// Where the archive could not be listed.
    pub fn timelines(&self) -> Result<Vec<TimelineId>, RepositoryError> {
        let mut timelines = BTreeSet::new();
        for object in self.store.list(FOLDER, "")? {
            let file = ObjectName::parse(&object.key).and_then(|name| WalFile::parse(&name.file));
            if let Some(WalFile::History { timeline }) = file {
                timelines.insert(timeline);
            }
        }
        for folder in self.store.folders(FOLDER)? {
            if let Some(WalFile::Segment { timeline, .. }) =
                WalFile::parse(&format!("{folder}00000000"))
            {
                timelines.insert(timeline);
            }
        }
        Ok(timelines.into_iter().collect())
    }

    /// `AlreadyThere` where an object of that name holds `content` and is durable; `None` where
    /// there is no object of that name.
    fn same_wal_there(
        &self,
        name: &str,
        content: &[u8],
    ) -> Result<Option<PutWal>, RepositoryError> {
        let mut there = None;
        for object in self.wal_objects(name)? {
            if self.open_wal(&object)? != content {
                return Err(self.different(name, &object.key));
            }
            self.store.settle(&object.key)?;
            there = Some(PutWal::AlreadyThere);
        }
        Ok(there)
    }

    fn different(&self, name: &str, object: &str) -> RepositoryError {
        RepositoryError::DifferentWal {
            name: name.to_owned(),
            object: object.to_owned(),
            place: self.store.describe(),
        }
    }

    /// The objects of one file: none, one, or rarely more.
    fn wal_objects(&self, name: &str) -> Result<Vec<ObjectName>, RepositoryError> {
        let folder = folder_of(name)?;
        let objects = self.store.list(&folder, &format!("{name}."))?;
        let parsed = objects.iter().filter_map(|object| ObjectName::parse(&object.key));
        Ok(parsed.filter(|parsed| parsed.file == name).collect())
    }

    /// Key and stored bytes. The same name, content and data key give the same of both, as long
    /// as the compressor stays the same.
    fn wal_object(
        &self,
        name: &str,
        content: &[u8],
        protection: &Protection,
    ) -> Result<(String, Vec<u8>), RepositoryError> {
        let codec = self.config.codec;
        let compressed = compress(content, codec, self.config.level)
            .map_err(|source| RepositoryError::Output { what: name.to_owned(), source })?;
        let stored = match protection {
            Protection::Digest => compressed,
            Protection::Key(key) => {
                let derived = key.tag(SALT_PURPOSE, &[name.as_bytes(), content]);
                let salt = derived.first_chunk().copied().unwrap_or_default();
                envelope::seal(key.passphrase(), &salt, &compressed)
            }
        };
        let object = ObjectName {
            key: String::new(),
            file: name.to_owned(),
            key_id: protection.key_id().map(str::to_owned),
            tag: short_tag(protection, name, codec, &stored).to_vec(),
            codec,
        };
        Ok((format!("{}{}", folder_of(name)?, object.text()), stored))
    }

    fn open_wal(&self, object: &ObjectName) -> Result<Vec<u8>, RepositoryError> {
        let mut content = Vec::new();
        self.inflate_wal(object, &mut content)?;
        Ok(content)
    }

    /// Checks the tag over all stored bytes, and only then deciphers and inflates.
    fn inflate_wal(
        &self,
        object: &ObjectName,
        output: &mut dyn Write,
    ) -> Result<u64, RepositoryError> {
        let damaged = |why: &str| self.damaged(&object.key, why);
        let mut bytes = self.store.read(&object.key)?;
        let protection = self.protection_of(&object.key, object.key_id.as_deref())?;
        let expected = short_tag(&protection, &object.file, object.codec, &bytes);
        if !tag::same(&expected, &object.tag) {
            return Err(damaged("its content does not fit the tag in its name"));
        }
        let mut from = 0;
        let mut to = bytes.len();
        if let Some(key) = protection.key() {
            let salt = envelope::salt_of(&bytes).map_err(|e| damaged(&e.to_string()))?;
            let stream = StreamKey::derive(key.passphrase(), &salt);
            from = envelope::HEADER_LEN;
            let body = bytes.get_mut(from..).unwrap_or_default();
            envelope::decrypt_blocks(stream.key(), stream.iv(), body)
                .and_then(|()| envelope::padding(body))
                .map(|padding| to -= padding)
                .map_err(|e| damaged(&e.to_string()))?;
        }
        inflate(bytes.get(from..to).unwrap_or_default(), object.codec, LARGEST, output).map_err(
            |e| match e {
                Inflate::Input(e) => damaged(&format!("it does not unpack: {e}")),
                Inflate::TooLong => damaged("it unpacks to more than a WAL file can hold"),
                Inflate::Output(source) => {
                    RepositoryError::Output { what: object.file.clone(), source }
                }
            },
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::Codec;
    use crate::engine::crypto::KeyError;
    use crate::engine::repository::testing::Place;
    use std::fs;
    use std::path::PathBuf;

    const SEGMENT: &str = "000000010000000000000003";

    /// Not a real segment: text that packs as WAL does, and a tail of zeros.
    fn content(seed: u8) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..200_000_u32)
            .flat_map(|i| (i / 3).wrapping_mul(u32::from(seed)).to_le_bytes())
            .collect();
        bytes.resize(1 << 20, 0);
        bytes
    }

    fn objects(place: &Place) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut folders = vec![place.root().join("wal-archive")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() { folders.push(path) } else { found.push(path) }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_file_is_archived_once_and_reads_back() {
        for place in Place::both() {
            let repository = place.repository();
            assert_eq!(repository.get_wal(SEGMENT).unwrap(), None);
            assert_eq!(repository.put_wal(SEGMENT, &content(1)).unwrap(), PutWal::Stored);
            let first = objects(&place);
            let again = place.repository();
            assert_eq!(again.put_wal(SEGMENT, &content(1)).unwrap(), PutWal::AlreadyThere);
            assert_eq!(objects(&place), first, "one object");
            assert_eq!(again.get_wal(SEGMENT).unwrap().unwrap(), content(1));
            let mut streamed = Vec::new();
            assert_eq!(again.read_wal(SEGMENT, &mut streamed).unwrap(), Some(1 << 20));
            assert_eq!(streamed, content(1));
        }
    }

    #[test]
    fn another_content_is_refused_and_the_first_kept() {
        for place in Place::both() {
            let repository = place.repository();
            repository.put_wal(SEGMENT, &content(1)).unwrap();
            for other in [content(2), content(1)[1..].to_vec(), Vec::new()] {
                let refused = repository.put_wal(SEGMENT, &other).unwrap_err();
                assert!(matches!(refused, RepositoryError::DifferentWal { .. }), "{refused}");
            }
            assert_eq!(repository.get_wal(SEGMENT).unwrap().unwrap(), content(1));
            assert_eq!(objects(&place).len(), 1);
        }
    }

    #[test]
    fn a_newer_key_or_another_codec_knows_the_same_content_again() {
        let mut place = Place::encrypted();
        place.repository().put_wal(SEGMENT, &content(1)).unwrap();
        let newer = place.repository().new_protection().unwrap();
        place.config.codec = Codec::Zstd;
        let repository = place.repository();
        assert_eq!(repository.put_wal(SEGMENT, &content(1)).unwrap(), PutWal::AlreadyThere);
        assert!(repository.put_wal(SEGMENT, &content(2)).is_err());
        repository.put_wal("000000010000000000000004", &content(2)).unwrap();
        let names = objects(&place);
        assert_eq!(names.len(), 2);
        let name = names[1].to_str().unwrap();
        assert!(name.contains(newer.key_id().unwrap()) && name.ends_with(".zst.enc"), "{name}");
        assert_eq!(repository.get_wal(SEGMENT).unwrap().unwrap(), content(1));
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found_before_anything_is_used() {
        for place in Place::both() {
            let repository = place.repository();
            repository.put_wal("00000002.history", b"1\t0/3000000\tbefore the accident\n").unwrap();
            let path = objects(&place).remove(0);
            let intact = fs::read(&path).unwrap();
            for at in 0..intact.len() {
                let mut flipped = intact.clone();
                flipped[at] ^= 0x10;
                fs::write(&path, &flipped).unwrap();
                let mut output = Vec::new();
                let refused = repository.read_wal("00000002.history", &mut output).unwrap_err();
                assert!(matches!(refused, RepositoryError::Damaged { .. }), "byte {at}: {refused}");
                assert!(output.is_empty(), "byte {at} let something out");
            }
            fs::write(&path, &intact[..intact.len() - 1]).unwrap();
            assert!(repository.get_wal("00000002.history").is_err(), "cut short");
            // The damaged object is not taken for the archived file either.
            assert!(repository.put_wal("00000002.history", b"anything").is_err());
        }
    }

    #[test]
    fn a_moved_object_is_not_another_segment() {
        for place in Place::both() {
            let repository = place.repository();
            repository.put_wal(SEGMENT, &content(1)).unwrap();
            let path = objects(&place).remove(0);
            let moved = path.to_str().unwrap().replace("00000003.", "00000004.");
            fs::rename(&path, moved).unwrap();
            let refused = repository.get_wal("000000010000000000000004").unwrap_err();
            assert!(matches!(refused, RepositoryError::Damaged { .. }), "{refused}");
        }
    }

    #[test]
    fn an_unencrypted_object_in_an_encrypted_archive_is_refused() {
        let (plain, encrypted) = (Place::plain(), Place::encrypted());
        plain.repository().put_wal(SEGMENT, &content(1)).unwrap();
        encrypted.repository().put_wal("000000010000000000000004", &content(1)).unwrap();
        let smuggled = objects(&plain).remove(0);
        let folder = encrypted.root().join("wal-archive/0000000100000000");
        fs::copy(&smuggled, folder.join(smuggled.file_name().unwrap())).unwrap();
        let refused = encrypted.repository().get_wal(SEGMENT).unwrap_err();
        assert!(matches!(refused, RepositoryError::Damaged { .. }), "{refused}");
    }

    #[test]
    fn a_missing_key_a_wrong_key_and_a_lost_volume_are_errors_and_never_absence() {
        let place = Place::encrypted();
        let repository = place.repository();
        repository.put_wal(SEGMENT, &content(1)).unwrap();

        let keys = place.root().join("keys");
        fs::rename(&keys, place.root().join("away")).unwrap();
        let refused = place.repository().get_wal(SEGMENT).unwrap_err();
        assert!(matches!(refused, RepositoryError::Key(KeyError::Missing { .. })), "{refused}");
        fs::rename(place.root().join("away"), &keys).unwrap();

        fs::write(place.folder.path().join("master.key"), "not the master key\n").unwrap();
        let refused = Repository::open(&place.config, "shop").unwrap_err();
        assert!(
            matches!(refused, RepositoryError::Key(KeyError::WrongMasterKey { .. })),
            "{refused}"
        );

        fs::rename(place.root(), place.folder.path().join("unmounted")).unwrap();
        fs::create_dir(place.root()).unwrap();
        let refused = repository.get_wal(SEGMENT).unwrap_err();
        assert_eq!(refused.fault(), Some(StoreFault::Unavailable), "{refused}");
        assert!(Repository::open(&place.config, "shop").is_err());
    }

    #[test]
    fn lists_and_timelines_read_by_folder() {
        let place = Place::plain();
        let repository = place.repository();
        let names = [
            "000000010000000000000002",
            "000000010000000000000003.partial",
            "000000010000000000000003",
            "000000010000000000000003.00000028.backup",
            "0000000100000000000000FF",
            "000000010000000100000000",
            "000000020000000100000000",
            "00000002.history",
            "00000003.history",
        ];
        for name in names {
            repository.put_wal(name, name.as_bytes()).unwrap();
        }
        let list = |timeline, from: &str, limit| -> Vec<String> {
            let found = repository.list_wal(timeline, from, limit).unwrap();
            found.into_iter().map(|o| o.name).collect()
        };
        assert_eq!(list(1, names[0], 100), [names[0], names[2], names[4], names[5]]);
        assert_eq!(list(1, names[2], 2), [names[2], names[4]]);
        assert_eq!(list(1, names[5], 100), [names[5]]);
        assert_eq!(list(2, "", 100), [names[6]]);
        assert!(list(3, "", 100).is_empty());
        assert_eq!(repository.timelines().unwrap(), [1, 2, 3]);
        assert!(repository.put_wal("archive_status", b"").is_err());
    }
}
