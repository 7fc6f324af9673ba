//! Which line of the file a value stands on. Owns the way from a path of keys to a line number.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A step into a document: a key, or a place in an array.
#[derive(Debug, Clone, Copy)]
pub(super) enum Into<'a> {
    Key(&'a str),
    At(usize),
}

/// A document whose values can be found by line.
pub(super) struct Lines<'a> {
    text: &'a str,
    document: Option<Spanned<DeTable<'a>>>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        Self { text, document: DeTable::parse(text).ok() }
    }

    /// The line, from 1, of a byte offset.
    pub(super) fn at(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    /// The line of the value at the path, or of the nearest one around it.
    pub(super) fn of_value(&self, path: &[Into<'_>]) -> Option<usize> {
        self.find(path).0.map(|value| self.at(value.span().start))
    }

    /// Whether a value is written at the path.
    pub(super) fn has(&self, path: &[Into<'_>]) -> bool {
        self.find(path).1
    }

    /// The value at the path or the nearest around it, and whether it is the value itself.
    fn find(&self, path: &[Into<'_>]) -> (Option<&Spanned<DeValue<'a>>>, bool) {
        let Some(document) = &self.document else { return (None, false) };
        let mut here: Option<&Spanned<DeValue<'a>>> = None;
        for step in path {
            let next = match (here.map(Spanned::get_ref), step) {
                (None, Into::Key(key)) => document.get_ref().get(*key),
                (Some(DeValue::Table(inside)), Into::Key(key)) => inside.get(*key),
                (Some(DeValue::Array(items)), Into::At(at)) => items.get(*at),
                _ => None,
            };
            match next {
                Some(next) => here = Some(next),
                None => return (here, false),
            }
        }
        (here, true)
    }
}
