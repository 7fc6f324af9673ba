//! Names of tables as people type them and as SQL wants them. Never sends anything anywhere.

use super::error::PartsError;
use serde::{Deserialize, Serialize};

/// A table's full name, to the letter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name {
    pub schema: String,
    pub table: String,
}

impl Name {
    #[must_use]
    pub fn new(schema: impl Into<String>, table: impl Into<String>) -> Self {
        Self { schema: schema.into(), table: table.into() }
    }

    /// `"schema"."table"`.
    #[must_use]
    pub fn sql(&self) -> String {
        format!("{}.{}", quote(&self.schema), quote(&self.table))
    }

    /// Reads `table`, `schema.table`, with parts in double quotes or without; what is not quoted
    /// is folded to lower case as SQL does. Without a schema it is `public`.
    ///
    /// # Errors
    /// Where it is no such name.
    pub fn parse(text: &str) -> Result<Self, PartsError> {
        let parts = parts(text).ok_or_else(|| {
            PartsError::refused(
                format!("\"{text}\" is no table's name."),
                "Write schema.table; put a part with capitals or other signs in double quotes.",
            )
        })?;
        match <[String; 2]>::try_from(parts) {
            Ok([schema, table]) => Ok(Self { schema, table }),
            Err(mut one) => Ok(Self::new("public", one.pop().unwrap_or_default())),
        }
    }
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

/// An identifier in double quotes.
#[must_use]
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal, whatever `standard_conforming_strings` says.
#[must_use]
pub fn literal(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('\'', "''");
    format!("E'{escaped}'")
}

/// One or two parts; `None` where it is no name.
fn parts(text: &str) -> Option<Vec<String>> {
    let mut parts = Vec::new();
    let mut rest = text.trim();
    loop {
        let part;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut letters = quoted.char_indices().peekable();
            let end = loop {
                match letters.next()? {
                    (_, '"') if letters.peek().is_some_and(|(_, next)| *next == '"') => {
                        letters.next();
                        name.push('"');
                    }
                    (at, '"') => break at,
                    (_, letter) => name.push(letter),
                }
            };
            part = name;
            rest = quoted.get(end + 1..)?;
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            part = rest.get(..end)?.to_lowercase();
            rest = rest.get(end..)?;
        }
        if part.is_empty() || part.contains('\0') {
            return None;
        }
        parts.push(part);
        match rest.strip_prefix('.') {
            Some(more) if parts.len() < 2 => rest = more,
            None if rest.is_empty() => return Some(parts),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_sql_reads_them() {
        let read = |text: &str| Name::parse(text).map(|n| (n.schema, n.table)).ok();
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(read("Orders"), pair("public", "orders"));
        assert_eq!(read("sales.Orders"), pair("sales", "orders"));
        assert_eq!(read("\"Sales\".\"a.\"\"b\""), pair("Sales", "a.\"b"));
        assert_eq!(read("öffentlich.\"Größe\""), pair("öffentlich", "Größe"));
        for wrong in ["", ".", "a.", "a.b.c", "\"open", "\"a\"b"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_quoted_is_read_again_as_it_was() {
        let odd = Name::new("we\"ird", "Tä.ble 'x'");
        assert_eq!(Name::parse(&odd.sql()).unwrap(), odd);
        assert_eq!(literal("it's \\"), "E'it''s \\\\'");
    }
}
