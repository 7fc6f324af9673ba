//! Sequences stand beyond every number that was handed out: by the rows that are there, and by
//! what the damaged server had handed out after the recovery point. Moves forward, never back.

mod handed;

use super::Item;
use super::ward::{ASK, Found, Ward, field};
use crate::engine::explain::count;
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::postgres::connect::Session;
use crate::engine::validate::check::{Begun, begin};
use handed::Handed;

pub(super) const ITEM: Item = Item {
    id: "sequences",
    title: "Sequences are beyond what was handed out",
    looks: "Compares sequences with their columns and with the kept damaged directory and its WAL.",
    agrees: Role::Commander,
    look,
    act: Some(act),
    act_proves: false,
};

/// Name, increment, bounds, whether it cycles, file, database's OID, column and table.
const LIST: &str = "SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname), \
         q.seqincrement, q.seqmin, q.seqmax, q.seqcycle, pg_relation_filepath(c.oid), \
         (SELECT oid FROM pg_database WHERE datname = current_database()), \
         quote_ident(tn.nspname) || '.' || quote_ident(t.relname), quote_ident(a.attname) \
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
     JOIN pg_sequence q ON q.seqrelid = c.oid \
     LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid \
          AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') \
     LEFT JOIN pg_class t ON t.oid = d.refobjid \
     LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace \
     LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid \
          AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype) \
     WHERE c.relkind = 'S' AND c.relpersistence = 'p' ORDER BY 1";

/// A sequence and all that is known of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sequence {
    name: String,
    increment: i64,
    least: i64,
    most: i64,
    cycles: bool,
    /// Below the data directory.
    file: String,
    database: u32,
    /// Table and column that it belongs to.
    column: Option<(String, String)>,
    /// The last number handed out by the recovered server; `None` before the first.
    last: Option<i64>,
    /// The furthest number among the rows.
    rows: Option<i64>,
    /// The furthest number that the damaged server handed out.
    handed: Option<i64>,
}

impl Sequence {
    fn from_row(row: &[Option<String>]) -> Self {
        let number = |at| field(row, at).parse().unwrap_or_default();
        let column = (field(row, 7).to_owned(), field(row, 8).to_owned());
        Self {
            name: field(row, 0).to_owned(),
            increment: number(1),
            least: number(2),
            most: number(3),
            cycles: field(row, 4) == "t",
            file: field(row, 5).to_owned(),
            database: field(row, 6).parse().unwrap_or_default(),
            column: (!column.0.is_empty() && !column.1.is_empty()).then_some(column),
            ..Self::default()
        }
    }

    /// The number that it has to stand at, where it stands before it.
    fn behind(&self) -> Option<i64> {
        if self.cycles {
            return None;
        }
        let further = |a: i64, b: i64| if self.increment < 0 { a.min(b) } else { a.max(b) };
        let needed = match (self.rows, self.handed) {
            (Some(a), Some(b)) => further(a, b),
            (one, other) => one.or(other)?,
        };
        // Rows can hold numbers that never came from the sequence.
        if needed < self.least || needed > self.most {
            return None;
        }
        match self.last {
            Some(last) if further(last, needed) == last => None,
            _ => Some(needed),
        }
    }

    fn key(&self, database: &str, needed: i64) -> String {
        format!("{database}/{}={needed}", self.name)
    }
}

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let handed = Handed::read(ward);
    found.check(handed.check());
    ward.in_each("sequences", &mut found, |ward, name, session, found| {
        let all = known(ward, session, &handed)?;
        let of = all.len();
        let mut behind = 0;
        let mut unread = Vec::new();
        for read in all {
            match read {
                Ok(sequence) => {
                    if let Some(needed) = sequence.behind() {
                        behind += 1;
                        tell(found, name, &sequence, needed);
                    }
                }
                Err(why) => unread.push(why),
            }
        }
        let begun = begin(
            format!("sequences:{name}"),
            format!("{name}: every sequence is beyond what was handed out"),
        )
        .found(format!("{} looked at", count(of, "sequence")));
        found.check(judge(begun, behind, &unread));
        Ok(())
    });
    found
}

fn judge(begun: Begun, behind: usize, unread: &[String]) -> Check {
    match (behind, unread) {
        (0, []) => begun.verified("The next number of each is new."),
        (0, [first, ..]) => begun.could_not_verify(format!(
            "{} could not be compared: {first}",
            count(unread.len(), "sequence")
        )),
        (behind, _) => begun.failed(format!(
            "{} would hand out numbers again that were given to somebody.",
            count(behind, "sequence")
        )),
    }
}

fn tell(found: &mut Found, database: &str, sequence: &Sequence, needed: i64) {
    let stands = sequence.last.map_or_else(|| String::from("not used yet"), |at| at.to_string());
    let source = |value: Option<i64>, text: &str| value.map(|value| format!("{text} {value}"));
    let by: Vec<String> = [
        source(sequence.rows, "the rows go to"),
        source(sequence.handed, "the damaged server had handed out up to"),
    ]
    .into_iter()
    .flatten()
    .collect();
    found.check(
        begin(format!("sequences:{database}/{}", sequence.name), sequence.name.clone())
            .expected(format!("at {needed} or beyond"))
            .found(stands)
            .failed(format!("{}.", by.join(", "))),
    );
    found.propose(
        sequence.key(database, needed),
        format!(
            "SELECT setval('{}', {needed}) (database {database})",
            sequence.name.replace('\'', "''")
        ),
    );
}

/// Every sequence of a database; one that could not be read says why.
fn known(
    ward: &Ward<'_>,
    session: &Session,
    handed: &Handed,
) -> Result<Vec<Result<Sequence, String>>, String> {
    let read = |row: &Vec<Option<String>>| {
        let mut sequence = Sequence::from_row(row);
        let told = |why: String| format!("{}: {why}", sequence.name);
        let sql = format!("SELECT CASE WHEN is_called THEN last_value END FROM {}", sequence.name);
        let last = number(ward, session, &sql).map_err(told)?;
        let rows = match &sequence.column {
            Some((table, column)) => {
                let end = if sequence.increment < 0 { "min" } else { "max" };
                let sql = format!("SELECT {end}({column}) FROM {table}");
                number(ward, session, &sql).map_err(told)?
            }
            None => None,
        };
        sequence.handed = handed.of(sequence.database, &sequence.file, sequence.increment);
        sequence.last = last;
        sequence.rows = rows;
        Ok(sequence)
    };
    Ok(ward.rows(session, LIST)?.iter().map(read).collect())
}

fn number(ward: &Ward<'_>, session: &Session, sql: &str) -> Result<Option<i64>, String> {
    let rows = ward.rows(session, sql)?;
    match rows.first().map(|row| field(row, 0)) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|_| format!("\"{text}\" is no number")),
    }
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    proposals.iter().filter_map(|proposal| advance(ward, &proposal.key)).collect()
}

fn advance(ward: &Ward<'_>, key: &str) -> Option<Check> {
    let (place, needed) = key.rsplit_once('=')?;
    // A database's name may have a slash in it; a quoted sequence's too.
    let database = ward.databases().ok()?;
    let database = database
        .iter()
        .find(|name| place.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('/')))?;
    let name = place.get(database.len() + 1..)?;
    let needed: i64 = needed.parse().ok()?;
    let begun = begin(format!("sequences:did:{place}"), format!("{name}: moved forward"));
    let done = ward.open(Some(database), ASK).and_then(|session| {
        let literal = name.replace('\'', "''");
        let rows = ward.rows(
            &session,
            &format!(
                "SELECT setval('{literal}', {needed}) FROM {name} s, pg_sequence q \
                 WHERE q.seqrelid = '{literal}'::regclass AND (NOT s.is_called OR CASE \
                 WHEN q.seqincrement < 0 THEN s.last_value > {needed} \
                 ELSE s.last_value < {needed} END)"
            ),
        )?;
        Ok(!rows.is_empty())
    });
    Some(match done {
        Ok(true) => begun.found(needed.to_string()).verified("Its next number is new."),
        Ok(false) => begun.verified("It had gone beyond by itself; it was not moved back."),
        Err(why) => begun.failed(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(last: Option<i64>, rows: Option<i64>, handed: Option<i64>) -> Option<i64> {
        let (increment, least, most) = (1, 1, 1_000);
        Sequence { increment, least, most, last, rows, handed, ..Sequence::default() }.behind()
    }

    #[test]
    fn a_sequence_has_to_stand_at_the_furthest_number_known() {
        assert_eq!(up(Some(5), Some(5), None), None);
        assert_eq!(up(Some(5), Some(7), None), Some(7));
        assert_eq!(up(Some(5), Some(7), Some(9)), Some(9));
        assert_eq!(up(Some(9), Some(7), Some(9)), None);
        assert_eq!(up(None, None, None), None);
        assert_eq!(up(None, Some(1), None), Some(1));
        // A number that no such sequence hands out.
        assert_eq!(up(Some(5), Some(5_000), None), None);
    }

    #[test]
    fn one_that_counts_down_has_to_stand_low_enough() {
        let down = |last, rows| {
            let (increment, least, most) = (-1, -1_000, -1);
            Sequence { increment, least, most, last, rows, ..Sequence::default() }.behind()
        };
        assert_eq!(down(Some(-5), Some(-7)), Some(-7));
        assert_eq!(down(Some(-7), Some(-5)), None);
    }

    #[test]
    fn one_that_cycles_is_left_alone() {
        let cycling = Sequence {
            increment: 1,
            least: 1,
            most: 9,
            cycles: true,
            last: Some(2),
            rows: Some(8),
            ..Sequence::default()
        };
        assert_eq!(cycling.behind(), None);
    }
}
