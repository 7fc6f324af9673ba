//! Reads a manifest, line by line. Owns what is refused: a line that is none, an order that is not
//! the form's, counts that do not fit, a path that leads out. Never trusts what it has not counted.

use super::{Footer, Header, ManifestError, Record, Relation, VERSION};
use crate::engine::config::Codec;
use std::io::BufRead;

/// No line of ours is longer; another program's line must not fill the memory.
const LONGEST_LINE: u64 = 256 << 10;

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
                    && member.length % super::super::member::BLOCK as u64 == 0;
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
