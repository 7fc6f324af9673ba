//! A journal's lines as they stand in the file, whatever was done to them: each with its hash and
//! with what it says of itself. Owns no judgement, and takes no line for granted.

use crate::engine::incident::Entry;
use serde_json::error::Category;
use sha2::{Digest, Sha256};

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// SHA-256, hexadecimal, of its bytes without the line feed.
    pub hash: String,
    /// Or why it cannot be understood.
    pub entry: Result<Entry, String>,
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lines {
    pub lines: Vec<Line>,
    /// Bytes of an unfinished last line: a writer that died, or writes at this moment.
    pub torn: u64,
}

impl Lines {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut read = Self::default();
        let mut pieces = bytes.split_inclusive(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let last = pieces.peek().is_none();
            let Some(text) = piece.strip_suffix(b"\n") else {
                read.torn = piece.len() as u64;
                break;
            };
            let entry = match serde_json::from_slice::<Entry>(text) {
                // As the journal's own reader has it.
                Err(error)
                    if last && matches!(error.classify(), Category::Syntax | Category::Eof) =>
                {
                    read.torn = piece.len() as u64;
                    break;
                }
                entry => entry.map_err(|error| error.to_string()),
            };
            read.lines.push(Line { hash: hash(text), entry });
        }
        read
    }

    #[must_use]
    pub fn count(&self) -> u64 {
        self.lines.len() as u64
    }

    /// The line at place `number`, from 1.
    #[must_use]
    pub fn at(&self, number: u64) -> Option<&Line> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        self.lines.get(index)
    }
}

/// SHA-256, hexadecimal.
#[must_use]
pub fn hash(line: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(line))
}
