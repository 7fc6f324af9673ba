//! A base backup's manifest: which files it holds, where they are in the tar stream, how the
//! stream was cut and authenticated, and which relation each file node was. Owns the lines' form
//! and their order; the object around them is [`super::sealed`]'s.
//!
//! JSON, one record a line, written and read as a stream: a header; folders and files in tar
//! order, each member after every file that has bytes in it; relations; a footer with the counts,
//! so that a manifest that was cut short is seen. `{"file":…}` names its kind first, so that a
//! reader can pass over lines without parsing them.

use crate::engine::config::Codec;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::{BufRead, Write};

/// The version of this form.
pub const VERSION: u32 = 1;

/// No line of ours is longer; another program's line must not fill the memory.
const LONGEST_LINE: u64 = 256 << 10;

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

/// Writes a manifest; counts as it goes.
#[derive(Debug)]
pub struct ManifestWriter<W: Write> {
    out: W,
    footer: Footer,
}

impl<W: Write> ManifestWriter<W> {
    /// # Errors
    /// Where it could not be written.
    pub fn new(mut out: W, header: Header) -> Result<Self, ManifestError> {
        line(&mut out, &Record::Header(header))?;
        Ok(Self { out, footer: Footer::default() })
    }

    /// # Errors
    /// Where it could not be written.
    pub fn directory(&mut self, directory: Directory) -> Result<(), ManifestError> {
        self.footer.directories += 1;
        line(&mut self.out, &Record::Directory(directory))
    }

    /// # Errors
    /// Where it could not be written.
    pub fn file(&mut self, file: File) -> Result<(), ManifestError> {
        self.footer.files += 1;
        self.footer.size = self.footer.size.saturating_add(file.size);
        line(&mut self.out, &Record::File(file))
    }

    /// # Errors
    /// Where it could not be written.
    pub fn member(&mut self, member: Member) -> Result<(), ManifestError> {
        self.footer.members += 1;
        self.footer.tar_size = member.tar_end();
        line(&mut self.out, &Record::Member(member))
    }

    /// # Errors
    /// Where it could not be written.
    pub fn relation(&mut self, relation: Relation) -> Result<(), ManifestError> {
        self.footer.relations += 1;
        line(&mut self.out, &Record::Relation(relation))
    }

    /// Ends the manifest; gives the counts and what it was written to.
    ///
    /// # Errors
    /// Where it could not be written.
    pub fn finish(mut self) -> Result<(Footer, W), ManifestError> {
        line(&mut self.out, &Record::Footer(self.footer))?;
        Ok((self.footer, self.out))
    }
}

fn line(out: &mut impl Write, record: &Record) -> Result<(), ManifestError> {
    serde_json::to_writer(&mut *out, record).map_err(std::io::Error::from)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Reads a manifest line by line, and judges its order and its counts.
#[derive(Debug)]
pub struct ManifestReader<R: BufRead> {
    input: R,
    line: u64,
    text: Vec<u8>,
    seen: Footer,
    next_offset: Option<u64>,
    /// The end of the newest file; its members must reach it.
    ended: bool,
    header: Header,
}

impl<R: BufRead> ManifestReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// Where it is not a manifest of a version that is known here.
    pub fn new(input: R) -> Result<Self, ManifestError> {
        let header = Header {
            version: 0,
            set: String::new(),
            object: String::new(),
            codec: Codec::Gzip,
            encrypted: false,
            member_size: 0,
            page_size: 0,
            tablespaces: Vec::new(),
        };
        let mut reader = Self {
            input,
            line: 0,
            text: Vec::new(),
            seen: Footer::default(),
            next_offset: None,
            ended: false,
            header,
        };
        if !reader.read_line()? {
            return Err(reader.form("it is empty"));
        }
        match reader.parse()? {
            Record::Header(header) if header.version == VERSION => reader.header = header,
            Record::Header(header) => return Err(ManifestError::Version(header.version)),
            _ => return Err(reader.form("it does not begin with a header")),
        }
        Ok(reader)
    }

    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was counted so far; after the end, what the footer says.
    #[must_use]
    pub fn counts(&self) -> &Footer {
        &self.seen
    }

    /// The next record between header and footer; `None` after the footer.
    ///
    /// # Errors
    /// Where a line is not one of a manifest, or the counts do not fit the footer.
    pub fn next_record(&mut self) -> Result<Option<Record>, ManifestError> {
        if self.ended {
            return Ok(None);
        }
        if !self.read_line()? {
            return Err(self.form("it ends before its footer"));
        }
        let record = self.parse()?;
        self.judge(&record)?;
        Ok(if self.ended { None } else { Some(record) })
    }

    /// The next relation; everything else is passed over without being parsed.
    ///
    /// # Errors
    /// As [`Self::next_record`].
    pub fn next_relation(&mut self) -> Result<Option<Relation>, ManifestError> {
        loop {
            if self.ended {
                return Ok(None);
            }
            if !self.read_line()? {
                return Err(self.form("it ends before its footer"));
            }
            if self.text.starts_with(b"{\"relation\"") {
                if let Record::Relation(relation) = self.parse()? {
                    return Ok(Some(relation));
                }
            } else if self.text.starts_with(b"{\"footer\"") {
                self.ended = true;
            }
        }
    }

    fn judge(&mut self, record: &Record) -> Result<(), ManifestError> {
        match record {
            Record::Header(_) => return Err(self.form("a second header")),
            Record::Directory(directory) => {
                self.seen.directories += 1;
                self.path(&directory.path)?;
            }
            Record::File(file) => {
                self.seen.files += 1;
                self.seen.size = self.seen.size.saturating_add(file.size);
                self.path(&file.path)?;
            }
            Record::Member(member) => {
                let expected = self.next_offset.unwrap_or(member.offset);
                let fits = member.index == self.seen.members
                    && member.offset == expected
                    && member.tar == self.seen.tar_size
                    && member.tar_length <= self.header.member_size
                    && member.tar_length > 0
                    // A member of bytes that do not compress grows by a little.
                    && member.length <= self.header.member_size.saturating_mul(2)
                    && member.length % super::member::BLOCK as u64 == 0;
                if !fits {
                    return Err(self.form("a member is out of order"));
                }
                self.seen.members += 1;
                self.seen.tar_size = member.tar_end();
                self.next_offset = Some(member.end());
            }
            Record::Relation(_) => self.seen.relations += 1,
            Record::Footer(footer) => {
                self.ended = true;
                if *footer != self.seen {
                    return Err(self.form("the footer's counts do not fit what came before"));
                }
            }
        }
        Ok(())
    }

    /// A path must stay inside the data directory.
    fn path(&self, path: &str) -> Result<(), ManifestError> {
        let inside = path.split('/').all(|part| !matches!(part, "" | "." | ".."));
        if inside && !path.contains('\0') {
            Ok(())
        } else {
            Err(self.form(&format!("the path {path:?} leads out of the data directory")))
        }
    }

    fn read_line(&mut self) -> Result<bool, ManifestError> {
        use std::io::Read;
        self.text.clear();
        self.line += 1;
        let read = (&mut self.input).take(LONGEST_LINE).read_until(b'\n', &mut self.text)?;
        if read > 0 && self.text.last() != Some(&b'\n') {
            return Err(self.form("a line is cut short, or too long"));
        }
        Ok(read > 0)
    }

    fn parse(&self) -> Result<Record, ManifestError> {
        serde_json::from_slice(&self.text).map_err(|error| self.form(&error.to_string()))
    }

    fn form(&self, what: &str) -> ManifestError {
        ManifestError::Form { line: self.line, what: what.to_owned() }
    }
}

/// Relations by the way that WAL records name them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RelationMap {
    by_node: HashMap<(u32, u32), Relation>,
}

impl RelationMap {
    /// The relation with file `node` in `database`, if it had that file at the backup's time. A
    /// record's tablespace is not needed: a node is its database's own.
    #[must_use]
    pub fn get(&self, database: u32, node: u32) -> Option<&Relation> {
        self.by_node.get(&(database, node))
    }

    /// Every relation, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Relation> {
        self.by_node.values()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_node.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }
}

impl FromIterator<Relation> for RelationMap {
    fn from_iter<T: IntoIterator<Item = Relation>>(relations: T) -> Self {
        let by_node = relations.into_iter().map(|r| ((r.database, r.node), r)).collect();
        Self { by_node }
    }
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
