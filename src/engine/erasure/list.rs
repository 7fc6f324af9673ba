//! The list's file: one JSON object a line, the first of which says what it is. Owns the format;
//! asks no server, and tells no key.

use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::parts::names::Name;
use jiff::Timestamp;
use serde::Deserialize;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What the first line says.
const FORMAT: &str = "lifeboat-erasure-list/1";

/// Rows of one column's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub database: String,
    pub table: Name,
    pub column: String,
    pub keys: Keys,
}

/// The keys themselves, or salted hashes of them.
#[derive(Clone, PartialEq, Eq)]
pub enum Keys {
    Values(Vec<String>),
    /// SHA-256, hexadecimal, of the salt and the value's text behind it.
    Hashes {
        salt: String,
        hashes: Vec<String>,
    },
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} keys", self.count())
    }
}

impl Keys {
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Values(all) => all.len(),
            Self::Hashes { hashes, .. } => hashes.len(),
        }
    }
}

/// The list, in its own order: what is named first is erased first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct List {
    pub targets: Vec<Target>,
}

/// Why a list cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    #[error("the erasure list {} could not be read: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("line {line} of the erasure list {}: {why}", path.display())]
    Wrong { path: PathBuf, line: usize, why: String },
}

impl Explain for ListError {
    fn explanation(&self) -> Explanation {
        let kind = match self {
            Self::Read { .. } => Kind::Storage,
            Self::Wrong { .. } => Kind::Config,
        };
        Explanation::new(
            kind,
            format!("{self}."),
            "Nothing was erased.",
            "Correct the list, then: lifeboat erasure check.",
        )
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    format: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    database: Option<String>,
    table: String,
    column: String,
    value: Option<String>,
    sha256: Option<String>,
    salt: Option<String>,
    /// For people: when it was erased, and the number of the request.
    #[allow(dead_code, reason = "checked, and read by people")]
    erased: Option<Timestamp>,
    #[allow(dead_code, reason = "read by people")]
    reference: Option<String>,
}

impl List {
    /// Reads the list; `database` is meant where a line names none.
    ///
    /// # Errors
    /// Where it cannot be read, or a line is not what it should be.
    pub fn read(path: &Path, database: &str) -> Result<Self, ListError> {
        let text = fs::read_to_string(path)
            .map_err(|source| ListError::Read { path: path.to_owned(), source })?;
        Self::parse(&text, database).map_err(|(line, why)| ListError::Wrong {
            path: path.to_owned(),
            line,
            why,
        })
    }

    /// The rule, on the text; errors with the line's number.
    ///
    /// # Errors
    /// As [`List::read`].
    pub fn parse(text: &str, database: &str) -> Result<Self, (usize, String)> {
        let mut list = Self::default();
        let mut lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
        let head = lines.next().map(|(at, line)| (at, serde_json::from_str::<Head>(line)));
        match head {
            Some((_, Ok(head))) if head.format == FORMAT => {}
            Some((at, _)) => return Err((at, format!("it must be {{\"format\":\"{FORMAT}\"}}"))),
            None => return Err((1, format!("it must be {{\"format\":\"{FORMAT}\"}}"))),
        }
        for (at, text) in lines {
            // The parser's own words could quote a key.
            let line: Line = serde_json::from_str(text).map_err(|error| {
                (at, format!("it is not an entry as it should be (column {})", error.column()))
            })?;
            list.add(line, database).map_err(|why| (at, why))?;
        }
        Ok(list)
    }

    fn add(&mut self, line: Line, database: &str) -> Result<(), String> {
        let table = Name::parse(&line.table)
            .ok()
            .filter(|_| line.table.contains('.'))
            .ok_or("\"table\" must be written as schema.table")?;
        if line.column.is_empty() {
            return Err(String::from("\"column\" is empty"));
        }
        let database = line.database.unwrap_or_else(|| database.to_owned());
        let keys = match (line.value, line.sha256) {
            (Some(value), None) if line.salt.is_none() => Keys::Values(vec![value]),
            (None, Some(hash)) => {
                let good = hash.len() == 64 && hash.bytes().all(|b| b.is_ascii_hexdigit());
                if !good {
                    return Err(String::from("\"sha256\" must be 64 hexadecimal digits"));
                }
                // Without one, whoever reads the list can try all people's keys at once.
                let salt = line.salt.filter(|salt| salt.len() >= 8);
                let salt = salt.ok_or("\"sha256\" needs a \"salt\" of 8 characters or more")?;
                Keys::Hashes { salt, hashes: vec![hash.to_lowercase()] }
            }
            _ => {
                return Err(String::from("it needs either \"value\", or \"sha256\" with \"salt\""));
            }
        };
        let known = self.targets.iter_mut().find(|one| {
            one.database == database
                && one.table == table
                && one.column == line.column
                && one.keys.takes(&keys)
        });
        match known {
            Some(target) => target.keys.join(keys),
            None => self.targets.push(Target { database, table, column: line.column, keys }),
        }
        Ok(())
    }

    /// The databases that are named, in the list's order.
    #[must_use]
    pub fn databases(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for target in &self.targets {
            if !all.contains(&target.database.as_str()) {
                all.push(&target.database);
            }
        }
        all
    }

    #[must_use]
    pub fn keys(&self) -> usize {
        self.targets.iter().map(|target| target.keys.count()).sum()
    }
}

impl Keys {
    /// Whether both are of one kind, and under one salt.
    fn takes(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Values(_), Self::Values(_)) => true,
            (Self::Hashes { salt, .. }, Self::Hashes { salt: other, .. }) => salt == other,
            _ => false,
        }
    }

    fn join(&mut self, other: Self) {
        match (self, other) {
            (Self::Values(all), Self::Values(more)) => all.extend(more),
            (Self::Hashes { hashes, .. }, Self::Hashes { hashes: more, .. }) => hashes.extend(more),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "{\"format\":\"lifeboat-erasure-list/1\"}\n";

    #[test]
    fn lines_of_one_column_are_one_target_in_the_lists_order() {
        let hash = "ab".repeat(32);
        let text = format!(
            "{HEAD}\n{{\"table\":\"public.orders\",\"column\":\"customer\",\"value\":\"7\"}}\n\
             {{\"table\":\"public.customers\",\"column\":\"id\",\"value\":\"7\",\"reference\":\"R-1\"}}\n\
             {{\"table\":\"public.orders\",\"column\":\"customer\",\"value\":\"9\"}}\n\
             {{\"database\":\"crm\",\"table\":\"\\\"S\\\".t\",\"column\":\"mail\",\"sha256\":\"{hash}\",\
             \"salt\":\"01234567\",\"erased\":\"2025-01-13T10:00:00Z\"}}\n"
        );
        let list = List::parse(&text, "shop").unwrap();
        let told: Vec<String> = list
            .targets
            .iter()
            .map(|t| format!("{}/{}.{} {:?}", t.database, t.table, t.column, t.keys))
            .collect();
        assert_eq!(
            told,
            [
                "shop/public.orders.customer 2 keys",
                "shop/public.customers.id 1 keys",
                "crm/S.t.mail 1 keys"
            ]
        );
        assert_eq!((list.databases(), list.keys()), (vec!["shop", "crm"], 4));
    }

    #[test]
    fn a_wrong_line_is_named_and_its_key_is_not() {
        let wrong = |line: &str| List::parse(&format!("{HEAD}{line}"), "shop").unwrap_err();
        for line in [
            "{\"table\":\"people\",\"column\":\"id\",\"value\":\"secret\"}",
            "{\"table\":\"a.b\",\"column\":\"\",\"value\":\"secret\"}",
            "{\"table\":\"a.b\",\"column\":\"id\"}",
            "{\"table\":\"a.b\",\"column\":\"id\",\"value\":\"secret\",\"sha256\":\"secret\"}",
            "{\"table\":\"a.b\",\"column\":\"id\",\"sha256\":\"secret\",\"salt\":\"01234567\"}",
            "{\"table\":\"a.b\",\"column\":\"id\",\"value\":\"secret\",\"nmae\":\"secret\"}",
            "{\"table\":\"a.b\",\"column\":\"id\",\"value\":\"secret",
            "secret",
        ] {
            let (at, why) = wrong(line);
            assert!(at == 2 && !why.contains("secret"), "{line}: {at}: {why}");
        }
        let hash = "ab".repeat(32);
        let bare = format!("{{\"table\":\"a.b\",\"column\":\"id\",\"sha256\":\"{hash}\"}}");
        assert!(wrong(&bare).1.contains("salt"));
        assert_eq!(List::parse("", "shop").unwrap_err().0, 1);
        assert_eq!(List::parse("{\"format\":\"other\"}", "shop").unwrap_err().0, 1);
    }
}
