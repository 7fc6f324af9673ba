//! Sequences stand beyond every number that was handed out: by the rows that are there, and by
//! what the damaged server had handed out after the recovery point. Moves forward, never back.

mod handed;

use super::Item;
use super::ward::{ASK, Found, Ward, field, listed};
use crate::engine::explain::count;
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::postgres::connect::Session;
use crate::engine::validate::check::{Begun, begin};
use handed::{Handed, Of};

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
    handed: Of,
}

/// How a sequence stands.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// Its next number is new.
    New,
    /// It has to stand at that number.
    Behind(i64),
    /// It begins anew by design; whether its next number is new says nothing.
    Cycles,
    /// Why it cannot be told.
    NotKnown(String),
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

    fn stands(&self) -> Standing {
        if self.cycles {
            return Standing::Cycles;
        }
        let further = |a: i64, b: i64| if self.increment < 0 { a.min(b) } else { a.max(b) };
        let given = |n: &i64| (self.least..=self.most).contains(n);
        let told = [self.rows, self.handed.furthest];
        let needed = told.into_iter().flatten().filter(given).reduce(further);
        if let Some(needed) = needed
            && self.last.is_none_or(|last| further(last, needed) != last)
        {
            return Standing::Behind(needed);
        }
        if let Some(why) = &self.handed.gap {
            return Standing::NotKnown(why.clone());
        }
        // Rows can hold numbers that never came from the sequence.
        match told.into_iter().flatten().find(|n| !given(n)) {
            Some(n) => Standing::NotKnown(format!(
                "{n} is in use, which it does not hand out (it goes from {} to {})",
                self.least, self.most
            )),
            None => Standing::New,
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
        let mut tally = Tally { of: all.len(), ..Tally::default() };
        for read in all {
            let (sequence, standing) = match read {
                Ok(sequence) => {
                    let standing = sequence.stands();
                    (sequence, standing)
                }
                Err(why) => {
                    tally.not_known.push(why);
                    continue;
                }
            };
            match standing {
                Standing::New => {}
                Standing::Cycles => tally.cycling.push(sequence.name),
                Standing::NotKnown(why) => {
                    tally.not_known.push(format!("{}: {why}", sequence.name));
                }
                Standing::Behind(needed) => {
                    tally.behind += 1;
                    tell(found, name, &sequence, needed);
                }
            }
        }
        let begun = begin(
            format!("sequences:{name}"),
            format!("{name}: every sequence is beyond what was handed out"),
        );
        found.check(tally.judge(begun));
        Ok(())
    });
    found
}

/// How the sequences of a database stand.
#[derive(Debug, Default)]
struct Tally {
    of: usize,
    behind: usize,
    /// Names.
    cycling: Vec<String>,
    /// Name and reason.
    not_known: Vec<String>,
}

impl Tally {
    fn judge(&self, begun: Begun) -> Check {
        let begun = begun.found(format!("{} looked at", count(self.of, "sequence")));
        if self.behind > 0 {
            return begun.failed(format!(
                "{} would hand out numbers again that were given to somebody.",
                count(self.behind, "sequence")
            ));
        }
        if !self.not_known.is_empty() {
            return begun.could_not_verify(format!(
                "Of {} it cannot be told: {}.",
                count(self.not_known.len(), "sequence"),
                listed(&self.not_known, 8)
            ));
        }
        if !self.cycling.is_empty() {
            return begun.verified(format!(
                "The next number of each is new, but for those that begin anew by design (CYCLE): {}.",
                listed(&self.cycling, 8)
            ));
        }
        begun.verified("The next number of each is new.")
    }
}

fn tell(found: &mut Found, database: &str, sequence: &Sequence, needed: i64) {
    let stands = sequence.last.map_or_else(|| String::from("not used yet"), |at| at.to_string());
    let source = |value: Option<i64>, text: &str| value.map(|value| format!("{text} {value}"));
    let by: Vec<String> = [
        source(sequence.rows, "the rows go to"),
        source(sequence.handed.furthest, "the damaged server had handed out up to"),
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
    use crate::engine::incident::facts::Verdict;

    fn of(furthest: Option<i64>) -> Of {
        Of { furthest, gap: None }
    }

    fn up(last: Option<i64>, rows: Option<i64>, handed: Option<i64>) -> Standing {
        let (increment, least, most) = (1, 1, 1_000);
        let handed = of(handed);
        Sequence { increment, least, most, last, rows, handed, ..Sequence::default() }.stands()
    }

    #[test]
    fn a_sequence_has_to_stand_at_the_furthest_number_known() {
        assert_eq!(up(Some(5), Some(5), None), Standing::New);
        assert_eq!(up(Some(5), Some(7), None), Standing::Behind(7));
        assert_eq!(up(Some(5), Some(7), Some(9)), Standing::Behind(9));
        assert_eq!(up(Some(9), Some(7), Some(9)), Standing::New);
        assert_eq!(up(None, None, None), Standing::New);
        assert_eq!(up(None, Some(1), None), Standing::Behind(1));
    }

    #[test]
    fn a_number_that_it_does_not_hand_out_is_no_pass_and_hides_no_other() {
        assert!(matches!(up(Some(5), Some(5_000), None), Standing::NotKnown(_)));
        assert_eq!(up(Some(5), Some(5_000), Some(9)), Standing::Behind(9));
    }

    #[test]
    fn one_of_which_not_all_is_known_does_not_pass_and_is_moved_by_what_is() {
        let with = |last, furthest| {
            let handed = Of { furthest, gap: Some(String::from("a gap")) };
            let (increment, least, most) = (1, 1, 1_000);
            Sequence { increment, least, most, last, handed, ..Sequence::default() }.stands()
        };
        assert_eq!(with(Some(9), Some(9)), Standing::NotKnown(String::from("a gap")));
        assert_eq!(with(Some(9), None), Standing::NotKnown(String::from("a gap")));
        assert_eq!(with(Some(8), Some(9)), Standing::Behind(9));
    }

    #[test]
    fn one_that_counts_down_has_to_stand_low_enough() {
        let down = |last, rows| {
            let (increment, least, most) = (-1, -1_000, -1);
            Sequence { increment, least, most, last, rows, ..Sequence::default() }.stands()
        };
        assert_eq!(down(Some(-5), Some(-7)), Standing::Behind(-7));
        assert_eq!(down(Some(-7), Some(-5)), Standing::New);
    }

    #[test]
    fn one_that_cycles_is_left_alone_and_named() {
        let (increment, least, most) = (1, 1, 9);
        let (cycles, last, rows) = (true, Some(2), Some(8));
        let cycling =
            Sequence { increment, least, most, cycles, last, rows, ..Sequence::default() };
        assert_eq!(cycling.stands(), Standing::Cycles);
        let tally = Tally { of: 1, cycling: vec![String::from("public.c")], ..Tally::default() };
        assert!(tally.judge(begin("", "")).detail.contains("public.c"));
        let not_known = vec![String::from("public.c: a gap")];
        let tally = Tally { not_known, ..tally };
        let judged = tally.judge(begin("", ""));
        assert_eq!(judged.verdict, Verdict::CouldNotVerify);
        assert!(judged.detail.contains("public.c: a gap"), "{}", judged.detail);
    }
}
