//! Rows as `COPY … TO STDOUT` sends them: one at a time, each with its key's fields unescaped for
//! comparing and the rest as the bytes that `COPY … FROM STDIN` takes. Holds one row and what the
//! network brought of the next ones, whatever the table's size.

use super::error::PartsError;
use bytes::{Buf, Bytes, BytesMut};
use futures_util::StreamExt;
use std::pin::Pin;
use tokio_postgres::{Client, CopyOutStream};

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub key: Vec<Vec<u8>>,
    /// The fields behind the key, escaped, between tabulators.
    pub body: Bytes,
}

/// The rows of one query, in its order.
pub struct Lines {
    stream: Pin<Box<CopyOutStream>>,
    arrived: BytesMut,
    keys: usize,
    doing: String,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").field("doing", &self.doing).finish_non_exhaustive()
    }
}

impl Lines {
    /// Begins to read `query`, whose first `keys` columns are the key.
    ///
    /// # Errors
    /// Where the server refuses the query.
    pub async fn read(
        client: &Client,
        query: &str,
        keys: usize,
        doing: &str,
    ) -> Result<Self, PartsError> {
        let copy = format!("COPY ({query}) TO STDOUT");
        let stream = client.copy_out(&copy).await.map_err(PartsError::sql(doing))?;
        Ok(Self {
            stream: Box::pin(stream),
            arrived: BytesMut::new(),
            keys,
            doing: doing.to_owned(),
        })
    }

    /// The next row, or `None` behind the last.
    ///
    /// # Errors
    /// Where the server or the line fails.
    pub async fn next(&mut self) -> Result<Option<Row>, PartsError> {
        let mut looked = 0;
        loop {
            let fresh = self.arrived.get(looked..).unwrap_or_default();
            // A line break inside a value is sent as \n: a raw one ends the row.
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
                let mut line = self.arrived.split_to(looked + at + 1).freeze();
                line.truncate(line.len() - 1);
                return Ok(Some(row(line, self.keys)));
            }
            looked = self.arrived.len();
            match self.stream.next().await {
                Some(Ok(bytes)) => self.arrived.extend_from_slice(&bytes),
                Some(Err(error)) => return Err(PartsError::sql(self.doing.as_str())(error)),
                None if self.arrived.is_empty() => return Ok(None),
                None => {
                    return Err(PartsError::Sql {
                        doing: self.doing.clone(),
                        reason: String::from("the last row was cut off"),
                    });
                }
            }
        }
    }
}

fn row(mut line: Bytes, keys: usize) -> Row {
    let mut key = Vec::with_capacity(keys);
    for _ in 0..keys {
        let end = line.iter().position(|byte| *byte == b'\t').unwrap_or(line.len());
        key.push(unescaped(line.get(..end).unwrap_or_default()));
        line.advance((end + 1).min(line.len()));
    }
    Row { key, body: line }
}

/// A field as it is; `\N` stays as it stands, for a key is never null.
#[must_use]
pub fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            plain.push(*byte);
            continue;
        }
        match bytes.next() {
            Some(b'b') => plain.push(8),
            Some(b'f') => plain.push(12),
            Some(b'n') => plain.push(b'\n'),
            Some(b'r') => plain.push(b'\r'),
            Some(b't') => plain.push(b'\t'),
            Some(b'v') => plain.push(11),
            Some(b'N') => plain.extend_from_slice(b"\\N"),
            Some(other) => plain.push(*other),
            None => plain.push(b'\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_split_behind_its_key_and_keys_are_unescaped() {
        let made = row(Bytes::from_static(b"a\\tb\t7\t\\N\tx\\\\y"), 2);
        assert_eq!(made.key, [b"a\tb".to_vec(), b"7".to_vec()]);
        assert_eq!(made.body, &b"\\N\tx\\\\y"[..]);
        assert_eq!(row(Bytes::from_static(b"only"), 1).body, &b""[..]);
    }

    #[test]
    fn the_order_of_keys_is_that_of_their_bytes_and_not_of_their_escapes() {
        // Escaped, the tabulator would sort behind the capital letter.
        let (tab, letter) = (unescaped(b"a\\tb"), unescaped(b"aB"));
        assert!(tab < letter);
        assert_eq!(unescaped(b"\\b\\f\\n\\r\\v\\\\"), [8, 12, 10, 13, 11, 92]);
    }
}
