//! A base backup's manifest: which files it holds, where they are in the tar stream, how the
//! stream was cut and authenticated, and which relation each file node was. Owns the lines' form
//! and their order; the object around them is [`super::sealed`]'s.
//!
//! JSON, one record a line, written and read as a stream: a header; folders and files in tar
//! order, each member after every file that has bytes in it; relations; a footer with the counts,
//! so that a manifest that was cut short is seen. `{"file":…}` names its kind first, so that a
//! reader can pass over lines without parsing them.

mod reader;
mod relations;
mod writer;

pub use reader::ManifestReader;
pub use relations::RelationMap;
pub use writer::ManifestWriter;

use crate::engine::config::Codec;
use serde::{Deserialize, Serialize};

/// The version of this form.
pub const VERSION: u32 = 1;

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    Header(Header),
    Directory(Directory),
    File(File),
    Member(Member),
    Relation(Relation),
    Footer(Footer),
}

/// What holds for the whole backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    pub version: u32,
    /// `set-YYYYMMDD-HHMMSS`.
    pub set: String,
    /// The key of the object with the tar stream.
    pub object: String,
    pub codec: Codec,
    pub encrypted: bool,
    /// Most tar bytes in a member.
    pub member_size: u64,
    /// Bytes of a database page.
    pub page_size: u32,
    pub tablespaces: Vec<Tablespace>,
}

/// A tablespace: in the tar, its files lie under `pg_tblspc/<oid>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    pub oid: u32,
    /// Where it was on the server.
    pub location: String,
    /// Bytes of its files, as counted before they were read.
    pub size: u64,
}

/// A folder of the data directory, before everything in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since 1970, UTC.
    pub mtime: i64,
}

/// A file of the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Relative to the data directory, with `/`.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Seconds since 1970, UTC.
    pub mtime: i64,
    /// CRC-32C of the whole content.
    pub crc32c: u32,
    /// Where its data begin in the tar stream.
    pub at: u64,
}

/// A piece of the tar stream, compressed on its own and authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub index: u64,
    /// First byte in the stored object.
    pub offset: u64,
    /// Bytes in the stored object; whole cipher blocks.
    pub length: u64,
    /// First byte in the tar stream.
    pub tar: u64,
    /// Bytes of the tar stream.
    pub tar_length: u64,
    /// Over set, index, the block before, and the stored bytes.
    #[serde(with = "base64")]
    pub tag: [u8; 32],
}

impl Member {
    /// The first byte of the tar stream after this member.
    #[must_use]
    pub fn tar_end(&self) -> u64 {
        self.tar.saturating_add(self.tar_length)
    }

    /// The first byte of the stored object after this member.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// What a file node was when the backup was taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Relation {
    /// Zero for relations that all databases share.
    pub database: u32,
    /// Of the database, as the name; empty for shared relations.
    pub database_name: String,
    /// As WAL records name it: 1663 for `pg_default`.
    pub tablespace: u32,
    /// The file's number.
    pub node: u32,
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// As in `pg_class.relkind`: `r`, `i`, `t`, `S`, `m`.
    pub kind: String,
    /// Rows, as the server estimated them; negative where it never counted.
    pub rows: f64,
}

/// Counts, to see that nothing is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Footer {
    pub directories: u64,
    pub files: u64,
    pub members: u64,
    pub relations: u64,
    /// Bytes of all files.
    pub size: u64,
    /// Bytes of the tar stream.
    pub tar_size: u64,
}

/// Why a manifest could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("the manifest could not be read: {0}")]
    Io(#[from] std::io::Error),
    #[error("line {line} of the manifest is not what Lifeboat writes: {what}")]
    Form { line: u64, what: String },
    #[error("the manifest is of version {0}; this Lifeboat reads version {VERSION}")]
    Version(u32),
}

/// Thirty-two bytes as base64 text.
mod base64 {
    use data_encoding::BASE64_NOPAD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8; 32], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_NOPAD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<[u8; 32], D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        BASE64_NOPAD
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| serde::de::Error::custom("not 32 bytes in base64"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> Header {
        Header {
            version: VERSION,
            set: String::from("set-20250113-020000"),
            object: String::from("base-20250113-020000.tar.gz.enc"),
            codec: Codec::Gzip,
            encrypted: true,
            member_size: 1 << 20,
            page_size: 8192,
            tablespaces: vec![],
        }
    }

    fn file(path: &str, at: u64) -> File {
        File { path: path.to_owned(), size: 10, mode: 0o600, mtime: 1, crc32c: 7, at }
    }

    fn member(index: u64) -> Member {
        Member {
            index,
            offset: 16 + index * 32,
            length: 32,
            tar: index * 512,
            tar_length: 512,
            tag: [9; 32],
        }
    }

    fn relation(node: u32) -> Relation {
        Relation {
            database: 5,
            database_name: String::from("shop"),
            tablespace: 1663,
            node,
            oid: node,
            schema: String::from("public"),
            name: String::from("orders"),
            kind: String::from("r"),
            rows: 51_000.0,
        }
    }

    fn written() -> Vec<u8> {
        let mut writer = ManifestWriter::new(Vec::new(), header()).unwrap();
        let root = Directory { path: String::from("base"), mode: 0o700, mtime: 1 };
        writer.directory(root).unwrap();
        writer.file(file("base/one", 0)).unwrap();
        writer.member(member(0)).unwrap();
        writer.member(member(1)).unwrap();
        writer.relation(relation(16402)).unwrap();
        writer.finish().unwrap().1
    }

    fn read(bytes: &[u8]) -> Result<Vec<Record>, ManifestError> {
        let mut reader = ManifestReader::new(bytes)?;
        let mut records = Vec::new();
        while let Some(record) = reader.next_record()? {
            records.push(record);
        }
        Ok(records)
    }

    #[test]
    fn reads_back_as_written() {
        let records = read(&written()).unwrap();
        assert_eq!(records.len(), 5);
        assert_eq!(records[1], Record::File(file("base/one", 0)));
        assert_eq!(records[3], Record::Member(member(1)));
    }

    #[test]
    fn relations_are_found_without_the_rest() {
        let bytes = written();
        let mut reader = ManifestReader::new(&bytes[..]).unwrap();
        assert_eq!(reader.next_relation().unwrap(), Some(relation(16402)));
        assert_eq!(reader.next_relation().unwrap(), None);
    }

    #[test]
    fn a_missing_line_is_seen() {
        let text = String::from_utf8(written()).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for missing in 0..lines.len() {
            let rest: Vec<&str> =
                lines.iter().enumerate().filter(|(i, _)| *i != missing).map(|(_, l)| *l).collect();
            assert!(read((rest.join("\n") + "\n").as_bytes()).is_err(), "without line {missing}");
        }
    }

    #[test]
    fn a_path_out_of_the_data_directory_is_refused() {
        for path in ["../x", "/etc/passwd", "base//x", "a/./b", "", "base/.."] {
            let mut writer = ManifestWriter::new(Vec::new(), header()).unwrap();
            writer.file(file(path, 0)).unwrap();
            let (_, bytes) = writer.finish().unwrap();
            assert!(matches!(read(&bytes), Err(ManifestError::Form { .. })), "{path:?}");
        }
    }

    #[test]
    fn another_version_is_refused() {
        let other = Header { version: 2, ..header() };
        let (_, bytes) = ManifestWriter::new(Vec::new(), other).unwrap().finish().unwrap();
        assert!(matches!(read(&bytes), Err(ManifestError::Version(2))));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..600) {
            let _ = read(&bytes);
            let mut whole = written();
            whole.truncate(cut);
            whole.extend_from_slice(&bytes);
            let _ = read(&whole);
        }
    }
}
