//! Marked blocks at the end of `postgresql.auto.conf`: written, found, and taken away again byte
//! for byte. Owns the marks' form; knows nothing of what stands between them.

use super::recovery_settings::SettingsError;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The last of a server's configuration files, in the data directory.
pub(super) const AUTO_CONF: &str = "postgresql.auto.conf";

/// At the end of [`Marks::begin`] where the file before it did not end with a line break.
const BROKE: &str = " (line break added)";

/// The lines before and after a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Marks {
    pub(super) begin: &'static str,
    pub(super) end: &'static str,
}

impl Marks {
    /// The content with a block at its end. `block` ends with a line break.
    pub(super) fn with_block(&self, before: &[u8], block: &str) -> Vec<u8> {
        let whole_lines = before.is_empty() || before.ends_with(b"\n");
        let (gap, note) = if whole_lines { ("", "") } else { ("\n", BROKE) };
        let text = format!("{gap}{}{note}\n{block}{}\n", self.begin, self.end);
        [before, text.as_bytes()].concat()
    }

    /// The content without the block, and whether there was one.
    pub(super) fn strip(
        &self,
        path: &Path,
        content: Vec<u8>,
    ) -> Result<(Vec<u8>, bool), SettingsError> {
        let Some(begin) = find(&content, self.begin.as_bytes(), 0) else {
            return Ok((content, false));
        };
        let torn = || SettingsError::Torn { path: path.to_owned() };
        let end_line = format!("\n{}\n", self.end);
        let end = find(&content, end_line.as_bytes(), begin).ok_or_else(torn)? + end_line.len();
        let first = content.get(begin + self.begin.len()..).unwrap_or_default();
        let keep =
            if first.starts_with(BROKE.as_bytes()) { begin.saturating_sub(1) } else { begin };
        let head = content.get(..keep).unwrap_or_default();
        let tail = content.get(end..).unwrap_or_default();
        Ok(([head, tail].concat(), true))
    }

    /// The lines of the block in the content.
    pub(super) fn block_of(&self, content: &[u8]) -> Option<String> {
        let begin = find(content, self.begin.as_bytes(), 0)?;
        let block = content.get(begin..).unwrap_or_default();
        let end = find(block, self.end.as_bytes(), 0).unwrap_or(block.len());
        Some(String::from_utf8_lossy(block.get(..end).unwrap_or_default()).into_owned())
    }
}

/// A file's content; nothing where there is no such file.
pub(super) fn read_or_empty(path: &Path) -> Result<Vec<u8>, SettingsError> {
    match fs::read(path) {
        Ok(content) => Ok(content),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(SettingsError::Io { path: PathBuf::from(path), source }),
    }
}

fn find(content: &[u8], text: &[u8], from: usize) -> Option<usize> {
    content.get(from..)?.windows(text.len()).position(|window| window == text).map(|at| at + from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ONE: Marks = Marks { begin: "# >>> one", end: "# <<< one" };
    const TWO: Marks = Marks { begin: "# >>> two", end: "# <<< two" };

    #[test]
    fn a_block_without_its_end_is_not_guessed_at() {
        let torn = format!("a = '1'\n{}\nrestore_command = ''\n", ONE.begin).into_bytes();
        assert!(matches!(ONE.strip(Path::new("x"), torn), Err(SettingsError::Torn { .. })));
    }

    proptest! {
        #[test]
        fn the_block_goes_away_byte_for_byte(before: Vec<u8>, after in "(x = '1'\n)?") {
            prop_assume!(find(&before, ONE.begin.as_bytes(), 0).is_none());
            let mut content = ONE.with_block(&before, "restore_command = 'x'\n");
            content.extend_from_slice(after.as_bytes());
            let (stripped, found) = ONE.strip(Path::new("x"), content).unwrap();
            prop_assert!(found);
            prop_assert_eq!(stripped, [before.as_slice(), after.as_bytes()].concat());
        }

        #[test]
        fn two_blocks_go_away_in_either_order(before in "([a-z]{1,5} = '1'\n){0,3}", first: bool) {
            let both = TWO.with_block(&ONE.with_block(before.as_bytes(), "a = '1'\n"), "b = '2'\n");
            let (a, b) = if first { (ONE, TWO) } else { (TWO, ONE) };
            let (one_left, _) = a.strip(Path::new("x"), both).unwrap();
            prop_assert!(b.block_of(&one_left).is_some() && a.block_of(&one_left).is_none());
            let (none_left, _) = b.strip(Path::new("x"), one_left).unwrap();
            prop_assert_eq!(none_left, before.into_bytes());
        }
    }
}
