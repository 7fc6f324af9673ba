//! The differences of one table between a source and production: both are read in the order of
//! the key, side by side, so that memory is that of two rows and a few samples. Where rows are to
//! be taken, they go into a staging table of the writer's on the way. Changes no row of anybody.

use super::error::PartsError;
use super::lines::{Lines, Row, unescaped};
use super::names::quote;
use super::pairs::Pair;
use super::{Choice, Class};
use crate::engine::masking::Masking;
use bytes::{BufMut, Bytes, BytesMut};
use futures_util::SinkExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::cmp::Ordering;
use std::pin::Pin;
use tokio_postgres::{Client, CopyInSink};

/// Letters of a value that a sample shows.
const SHOWN: usize = 60;
/// Bytes that go to the staging table at once.
const BATCH: usize = 64 << 10;

/// A row that differs, for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub class: Class,
    /// `id=5`, or the whole row where there is no key.
    pub key: String,
    /// Of a changed row: column, source's value, production's.
    pub values: Vec<(String, String, String)>,
}

/// What differs in one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub table: String,
    /// False: rows were compared as a whole, for want of a key.
    pub by_key: bool,
    pub rows_in_source: u64,
    pub rows_in_production: u64,
    pub missing: u64,
    pub changed: u64,
    pub newer: u64,
    /// Which rows those are.
    pub prints: Prints,
    /// What has changed in the definition since.
    pub definition: Vec<String>,
    /// Of each class the first ones, in the key's order.
    #[serde(default)]
    pub samples: Vec<Sample>,
}

impl Difference {
    fn of(pair: &Pair) -> Self {
        Self {
            table: pair.name().to_string(),
            by_key: !pair.key.is_empty(),
            rows_in_source: 0,
            rows_in_production: 0,
            missing: 0,
            changed: 0,
            newer: 0,
            prints: Prints::default(),
            definition: pair.changes.clone(),
            samples: Vec::new(),
        }
    }

    #[must_use]
    pub fn count(&self, class: Class) -> u64 {
        match class {
            Class::Missing => self.missing,
            Class::Changed => self.changed,
            Class::Newer => self.newer,
        }
    }

    /// The digest of the rows of a class; see [`Prints`].
    #[must_use]
    pub fn print(&self, class: Class) -> &str {
        match class {
            Class::Missing => &self.prints.missing,
            Class::Changed => &self.prints.changed,
            Class::Newer => &self.prints.newer,
        }
    }

    /// Whether both sides hold the same rows.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.missing + self.changed + self.newer == 0
    }
}

/// A digest of each class's rows, keys and contents of both sides, as they differ: hexadecimal
/// SHA-256. Two looks that found the same rows have the same; as many others have another.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Prints {
    pub missing: String,
    pub changed: String,
    pub newer: String,
}

/// [`Prints`] in the making.
#[derive(Default)]
struct Printing {
    missing: Sha256,
    changed: Sha256,
    newer: Sha256,
}

impl Printing {
    fn add(&mut self, class: Class, left: Option<&Row>, right: Option<&Row>) {
        let (digest, sides) = match class {
            Class::Missing => (&mut self.missing, [left, None]),
            Class::Changed => (&mut self.changed, [left, right]),
            Class::Newer => (&mut self.newer, [None, right]),
        };
        // Each with its length in front, so that no field can pass for a part of the next.
        let mut put = |bytes: &[u8]| {
            digest.update((bytes.len() as u64).to_le_bytes());
            digest.update(bytes);
        };
        for row in sides.into_iter().flatten() {
            row.key.iter().for_each(|field| put(field));
            put(&row.body);
        }
    }

    fn done(self) -> Prints {
        let text = |digest: Sha256| data_encoding::HEXLOWER.encode(&digest.finalize());
        Prints { missing: text(self.missing), changed: text(self.changed), newer: text(self.newer) }
    }
}

/// Where chosen rows go while they are found.
pub struct Staging {
    sink: Pin<Box<CopyInSink<Bytes>>>,
    full: BytesMut,
    choice: Choice,
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging").field("choice", &self.choice).finish_non_exhaustive()
    }
}

impl Staging {
    /// `table` is the staging table, whose first column is the class; `columns` the others.
    ///
    /// # Errors
    /// Where the server refuses.
    pub async fn begin(
        writer: &Client,
        table: &str,
        columns: &str,
        choice: Choice,
    ) -> Result<Self, PartsError> {
        let copy = format!("COPY {table} ({columns}) FROM STDIN");
        let sink = writer.copy_in(&copy).await.map_err(PartsError::sql("Setting rows ready"))?;
        Ok(Self { sink: Box::pin(sink), full: BytesMut::new(), choice })
    }

    async fn put(&mut self, class: Class, body: &Bytes) -> Result<(), PartsError> {
        if !self.choice.takes(class) {
            return Ok(());
        }
        self.full.put_slice(class.letter().as_bytes());
        self.full.put_u8(b'\t');
        self.full.put_slice(body);
        self.full.put_u8(b'\n');
        if self.full.len() >= BATCH { self.send().await } else { Ok(()) }
    }

    async fn send(&mut self) -> Result<(), PartsError> {
        let batch = self.full.split().freeze();
        self.sink.send(batch).await.map_err(PartsError::sql("Setting rows ready"))
    }

    /// # Errors
    /// Where the server does not take a row.
    pub async fn end(mut self) -> Result<u64, PartsError> {
        self.send().await?;
        self.sink.as_mut().finish().await.map_err(PartsError::sql("Setting rows ready"))
    }
}

/// After so many rows of both sides it is told how many there were.
const TOLD_EVERY: u64 = 4_096;

/// Hears how many rows of both sides were read.
pub type Heard<'a> = &'a (dyn Fn(u64) + Sync);

/// Compares a pair; at most `samples` of each class are kept to be shown, as `masking` lets them.
///
/// # Errors
/// Where a server fails.
pub async fn compare(
    source: &Client,
    production: &Client,
    pair: &Pair,
    samples: usize,
    masking: &Masking,
    mut staging: Option<&mut Staging>,
    heard: Heard<'_>,
) -> Result<Difference, PartsError> {
    let name = pair.name();
    let keys = pair.key_fields();
    let (mut found, mut prints) = (Difference::of(pair), Printing::default());
    let (doing_left, doing_right) =
        (format!("Reading {name} in the source"), format!("Reading {name} in production"));
    let mut lefts = Lines::read(source, &pair.query(&pair.source), keys, &doing_left).await?;
    let mut rights =
        Lines::read(production, &pair.query(&pair.production), keys, &doing_right).await?;
    let (mut left, mut right) = (lefts.next().await?, rights.next().await?);
    let mut told = 0;
    loop {
        let order = match (&left, &right) {
            (None, None) => return Ok(Difference { prints: prints.done(), ..found }),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(ours), Some(theirs)) => ours.key.cmp(&theirs.key),
        };
        let class = match order {
            Ordering::Less => Some(Class::Missing),
            Ordering::Greater => Some(Class::Newer),
            Ordering::Equal => {
                let same = left.as_ref().map(|row| &row.body) == right.as_ref().map(|r| &r.body);
                (!same).then_some(Class::Changed)
            }
        };
        if let Some(class) = class {
            match class {
                Class::Missing => found.missing += 1,
                Class::Changed => found.changed += 1,
                Class::Newer => found.newer += 1,
            }
            prints.add(class, left.as_ref(), right.as_ref());
            if found.count(class) <= samples as u64 {
                found.samples.push(sample(pair, class, left.as_ref(), right.as_ref(), masking));
            }
            let row = if class == Class::Newer { &right } else { &left };
            if let (Some(staging), Some(row)) = (staging.as_mut(), row) {
                staging.put(class, &row.body).await?;
            }
        }
        if order != Ordering::Greater {
            found.rows_in_source += 1;
            left = lefts.next().await?;
        }
        if order != Ordering::Less {
            found.rows_in_production += 1;
            right = rights.next().await?;
        }
        let read = found.rows_in_source + found.rows_in_production;
        // A pair of rows may step over the very number.
        if read >= told + TOLD_EVERY {
            told = read;
            heard(read);
        }
    }
}

fn sample(
    pair: &Pair,
    class: Class,
    left: Option<&Row>,
    right: Option<&Row>,
    masking: &Masking,
) -> Sample {
    let table = pair.name().to_string();
    let masked =
        |column: &str, value: &[u8]| masking.value(&table, column, &text(value)).into_owned();
    let row = if class == Class::Newer { right } else { left };
    let key = match row {
        None => String::new(),
        // The whole row is its key, in which columns cannot be told apart.
        Some(row) if pair.key.is_empty() && masking.touches(&table) => {
            let fields = pair.columns.iter().zip(row.body.split(|b| *b == b'\t'));
            let named =
                fields.map(|(name, field)| format!("{name}={}", value(name, field, &masked)));
            named.collect::<Vec<_>>().join(", ")
        }
        Some(row) if pair.key.is_empty() => {
            row.key.iter().map(|field| short(&text(field))).collect::<Vec<_>>().concat()
        }
        Some(row) => {
            let named = pair.key.iter().zip(&row.key);
            let named =
                named.map(|(key, of)| format!("{}={}", key.name, short(&masked(&key.name, of))));
            named.collect::<Vec<_>>().join(", ")
        }
    };
    let values = match (class, left, right) {
        (Class::Changed, Some(left), Some(right)) => pair
            .columns
            .iter()
            .zip(left.body.split(|b| *b == b'\t').zip(right.body.split(|b| *b == b'\t')))
            .filter(|(_, (was, is))| was != is)
            .map(|(column, (was, is))| {
                (column.clone(), value(column, was, &masked), value(column, is, &masked))
            })
            .collect(),
        _ => Vec::new(),
    };
    Sample { class, key, values }
}

fn value(column: &str, field: &[u8], masked: &dyn Fn(&str, &[u8]) -> String) -> String {
    if field == b"\\N" { String::from("NULL") } else { short(&masked(column, &unescaped(field))) }
}

/// What would move a terminal's cursor is a dot.
fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { '·' } else { c }).collect()
}

/// At most [`SHOWN`] letters.
fn short(text: &str) -> String {
    let mut letters = text.chars();
    let mut short: String = letters.by_ref().take(SHOWN).collect();
    if letters.next().is_some() {
        short.push('…');
    }
    short
}

/// Class and carried columns of a staging table, quoted.
#[must_use]
pub fn staged_columns(pair: &Pair, class: &str) -> String {
    format!("{}, {}", quote(class), pair.list(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(key: &[&str], body: &str) -> Row {
        let key = key.iter().map(|field| field.as_bytes().to_vec()).collect();
        Row { key, body: Bytes::copy_from_slice(body.as_bytes()) }
    }

    fn print(class: Class, rows: &[(Option<Row>, Option<Row>)]) -> Prints {
        let mut printing = Printing::default();
        for (left, right) in rows {
            printing.add(class, left.as_ref(), right.as_ref());
        }
        printing.done()
    }

    #[test]
    fn as_many_other_rows_have_another_print() {
        let one = |key: &str, body: &str| vec![(None, Some(row(&[key], body)))];
        let newer = |rows: &[_]| print(Class::Newer, rows).newer;
        assert_eq!(newer(&one("7", "a")), newer(&one("7", "a")));
        assert_ne!(newer(&one("7", "a")), newer(&one("8", "a")));
        assert_ne!(newer(&one("7", "a")), newer(&one("7", "b")));
        assert_ne!(newer(&one("7", "a")), newer(&[]));
    }

    #[test]
    fn of_a_changed_row_both_contents_count() {
        let pair = |was: &str, is: &str| vec![(Some(row(&["7"], was)), Some(row(&["7"], is)))];
        let changed = |rows: &[_]| print(Class::Changed, rows).changed;
        assert_ne!(changed(&pair("a", "b")), changed(&pair("a", "c")), "it was written again");
        assert_ne!(changed(&pair("a", "b")), changed(&pair("b", "a")));
        let both = print(Class::Changed, &pair("a", "b"));
        assert_eq!(both.missing, print(Class::Missing, &[]).missing, "the others are as of none");
    }

    #[test]
    fn no_field_passes_for_a_part_of_the_next() {
        let missing = |row: Row| print(Class::Missing, &[(Some(row), None)]).missing;
        assert_ne!(missing(row(&["ab", "c"], "d")), missing(row(&["a", "bc"], "d")));
        assert_ne!(missing(row(&["a"], "bc")), missing(row(&["a", "b"], "c")));
    }
}
