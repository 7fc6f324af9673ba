//! Chosen rows into tables that production has, in one transaction over all of them: writers are
//! kept out (readers are not), the differences are read again, the chosen rows are set ready in
//! temporary tables, written, and compared with the source's before anything is committed.

use super::catalog;
use super::compare::{Difference, Staging, compare, staged_columns};
use super::error::PartsError;
use super::fired;
use super::names::{Name, quote};
use super::pairs::Pair;
use super::sequences;
use super::session::LOCK_WAIT;
use super::{Choice, Class};
use crate::engine::masking::Masking;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use tokio_postgres::Client;

/// How far a carrying over is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Far {
    /// Stages that are over, of how many: where the rows are not known.
    Stages(u64, u64),
    /// Rows that were read and written, of how many, a row as often as it is.
    Rows(u64, u64),
}

/// Hears what is done now and, where that is known, how far it is.
pub type Told<'a> = &'a (dyn Fn(&str, Option<Far>) + Sync);

/// Counts the rows of each table's stages: reading both sides, writing a class of rows, comparing.
struct Stages<'a> {
    told: Told<'a>,
    /// What is done now.
    words: String,
    /// Rows of the stages that are over.
    over: u64,
    /// Rows of the stage that has begun.
    now: u64,
    of: u64,
}

impl<'a> Stages<'a> {
    fn of(told: Told<'a>, seen: &[&Difference], choice: Choice) -> Self {
        let proven = u64::from(!choice.triggers);
        let each = |one: &&Difference| read(one) + chosen(one, choice) * (1 + proven);
        let of = seen.iter().map(each).fold(0, u64::saturating_add);
        Self { told, words: String::new(), over: 0, now: 0, of }
    }

    /// The next one begins, of so many rows.
    fn next(&mut self, words: &str, table: &Name, rows: u64) {
        self.over = self.over.saturating_add(self.now).min(self.of);
        self.now = rows;
        self.words = format!("{words} {table}");
        self.far(0);
    }

    /// So many rows of it were read.
    fn far(&self, rows: u64) {
        let over = self.over.saturating_add(rows).min(self.of);
        (self.told)(&self.words, Some(Far::Rows(over, self.of)));
    }
}

/// Rows of both sides.
fn read(found: &Difference) -> u64 {
    found.rows_in_source.saturating_add(found.rows_in_production)
}

/// Rows of the chosen classes.
fn chosen(found: &Difference, choice: Choice) -> u64 {
    let classes = Class::ALL.into_iter().filter(|class| choice.takes(*class));
    classes.map(|class| found.count(class)).fold(0, u64::saturating_add)
}

/// What was written to one table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    pub table: String,
    pub inserted: u64,
    pub overwritten: u64,
    pub removed: u64,
    /// Sequences that were moved on.
    pub sequences: Vec<String>,
}

/// The three servers' ends of one carrying over: a session of the source, and two of production,
/// one that reads and one whose transaction writes.
#[derive(Debug, Clone, Copy)]
pub struct Ends<'a> {
    pub source: &'a Client,
    pub reader: &'a Client,
    pub writer: &'a Client,
}

struct Ready {
    pair: Pair,
    table: String,
    class: String,
    found: Difference,
    quiet: Vec<fired::Quiet>,
}

/// Writes what was chosen of `pairs` within the writer's open transaction. `seen` are the
/// differences that were agreed to: where by now other rows of a chosen class differ, or the same
/// ones in another way, it is refused.
///
/// # Errors
/// Any; the caller rolls back then.
pub async fn apply(
    ends: Ends<'_>,
    pairs: &[Pair],
    choice: Choice,
    seen: &[Difference],
    told: Told<'_>,
) -> Result<Vec<Applied>, PartsError> {
    let writer = ends.writer;
    let agreed = |pair: &Pair| {
        let name = pair.name().to_string();
        seen.iter().find(|seen| seen.table == name)
    };
    let known: Vec<&Difference> = pairs.iter().filter_map(agreed).collect();
    let mut stages = Stages::of(told, &known, choice);
    writer.batch_execute(LOCK_WAIT).await.map_err(PartsError::sql("Preparing a session"))?;
    for pair in pairs {
        pair.check(choice)?;
        // Whoever writes waits until this ends; whoever reads does not.
        let lock = format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", pair.production.from());
        let failed = PartsError::sql(format!("Keeping writers out of {}", pair.name()));
        writer.batch_execute(&lock).await.map_err(failed)?;
        fired::check_alone(writer, pair, choice.newer, choice.changed).await?;
    }
    let mut ready = Vec::new();
    for (number, pair) in pairs.iter().enumerate() {
        let before = agreed(pair);
        stages.next("Comparing once more", pair.name(), before.map_or(0, read));
        let one = set_ready(ends, pair, choice, number, &stages).await?;
        if let Some(why) = stale(before, &one.found, choice) {
            return Err(why);
        }
        ready.push(one);
    }
    let order = parents_first(writer, &ready).await?;
    let mut applied: Vec<Applied> =
        ready.iter().map(|one| Applied::none(&one.pair.name().to_string())).collect();
    if choice.newer {
        for at in order.iter().rev() {
            write(writer, &ready, &mut applied, *at, Class::Newer, &mut stages).await?;
        }
    }
    for class in [Class::Missing, Class::Changed] {
        for at in &order {
            if choice.takes(class) {
                write(writer, &ready, &mut applied, *at, class, &mut stages).await?;
            }
        }
    }
    // What waited for the end of the transaction is said here, and not by the commit.
    writer
        .batch_execute("SET CONSTRAINTS ALL IMMEDIATE")
        .await
        .map_err(PartsError::sql("Checking constraints"))?;
    for one in &ready {
        if !choice.triggers {
            let rows = chosen(&one.found, choice);
            stages.next("Comparing what was written to", one.pair.name(), rows);
            prove(writer, one).await?;
        }
        fired::wake(writer, &one.quiet).await?;
    }
    for (one, applied) in ready.iter().zip(&mut applied) {
        if choice.missing {
            applied.sequences =
                sequences::move_on(writer, &one.pair, &one.table, &one.class).await?;
        }
    }
    Ok(applied)
}

/// Why what was agreed to is not what is there now, if so: as many other rows are not the rows
/// that somebody has seen.
fn stale(before: Option<&Difference>, now: &Difference, choice: Choice) -> Option<PartsError> {
    let chosen = Class::ALL.into_iter().filter(|class| choice.takes(*class));
    let other = |class: &Class| before.map(|seen| seen.print(*class)) != Some(now.print(*class));
    let class = chosen.into_iter().find(other)?;
    let agreed = before.map_or(0, |seen| seen.count(class));
    Some(PartsError::refused(
        format!(
            "{} has changed while it was looked at: the {} rows are not those that were seen \
             ({agreed} then, {} now).",
            now.table,
            class.word(),
            now.count(class)
        ),
        "Run it again to see the rows as they are now.",
    ))
}

impl Applied {
    fn none(table: &str) -> Self {
        let sequences = Vec::new();
        Self { table: table.to_owned(), inserted: 0, overwritten: 0, removed: 0, sequences }
    }
}

async fn set_ready(
    ends: Ends<'_>,
    pair: &Pair,
    choice: Choice,
    number: usize,
    stages: &Stages<'_>,
) -> Result<Ready, PartsError> {
    let name = pair.name();
    let quiet = if choice.triggers { Vec::new() } else { fired::hush(ends.writer, pair).await? };
    let mut class = String::from("lifeboat_class");
    while pair.columns.contains(&class) {
        class.push('_');
    }
    let plain = format!("lifeboat_staged_{number}");
    let table = format!("pg_temp.{plain}");
    let make = format!(
        "CREATE TEMPORARY TABLE {plain} ON COMMIT DROP AS \
         SELECT NULL::text AS {}, {} FROM {} WITH NO DATA",
        quote(&class),
        pair.list(""),
        pair.production.from()
    );
    let failed = || PartsError::sql(format!("Setting rows of {name} ready"));
    ends.writer.batch_execute(&make).await.map_err(failed())?;
    let columns = staged_columns(pair, &class);
    let mut staging = Staging::begin(ends.writer, &table, &columns, choice).await?;
    let (masking, heard) = (Masking::default(), |rows: u64| stages.far(rows));
    let staged = Some(&mut staging);
    let found = compare(ends.source, ends.reader, pair, 0, &masking, staged, &heard).await?;
    staging.end().await?;
    ends.writer.batch_execute(&format!("ANALYZE {table}")).await.map_err(failed())?;
    Ok(Ready { pair: pair.clone(), table, class, found, quiet })
}

async fn write(
    writer: &Client,
    ready: &[Ready],
    applied: &mut [Applied],
    at: usize,
    class: Class,
    stages: &mut Stages<'_>,
) -> Result<(), PartsError> {
    let (Some(one), Some(applied)) = (ready.get(at), applied.get_mut(at)) else { return Ok(()) };
    let pair = &one.pair;
    let doing = match class {
        Class::Missing => "Inserting rows into",
        Class::Changed => "Overwriting rows of",
        Class::Newer => "Removing rows of",
    };
    stages.next(doing, pair.name(), one.found.count(class));
    let (into, staged, columns) = (pair.name().sql(), &one.table, pair.list(""));
    let only = if pair.production.partitioned { "" } else { "ONLY " };
    let chosen = format!("s.{} = '{}'", quote(&one.class), class.letter());
    let same = same_key(pair);
    let statement = match class {
        Class::Missing => format!(
            "INSERT INTO {into} ({columns}) OVERRIDING SYSTEM VALUE \
             SELECT {} FROM {staged} s WHERE {chosen}",
            pair.list("s.")
        ),
        Class::Changed => {
            let set = changeable(pair);
            if set.is_empty() {
                return Ok(());
            }
            format!("UPDATE {only}{into} t SET {set} FROM {staged} s WHERE {chosen} AND {same}")
        }
        Class::Newer => {
            format!("DELETE FROM {only}{into} t USING {staged} s WHERE {chosen} AND {same}")
        }
    };
    let failed = PartsError::sql(format!("{doing} {}", pair.name()));
    let rows = writer.execute(&statement, &[]).await.map_err(failed)?;
    match class {
        Class::Missing => applied.inserted = rows,
        Class::Changed => applied.overwritten = rows,
        Class::Newer => applied.removed = rows,
    }
    Ok(())
}

/// The assignments of an update: all that is carried but the key.
fn changeable(pair: &Pair) -> String {
    let free = pair.columns.iter().filter(|name| pair.key.iter().all(|key| key.name != **name));
    let set = free.map(|name| format!("{0} = s.{0}", quote(name)));
    set.collect::<Vec<_>>().join(", ")
}

fn same_key(pair: &Pair) -> String {
    let same = pair.key.iter().map(|key| format!("t.{0} {1} s.{0}", quote(&key.name), key.equals));
    same.collect::<Vec<_>>().join(" AND ")
}

/// What was written is what the source holds, to the letter, and what was removed is gone.
async fn prove(writer: &Client, one: &Ready) -> Result<(), PartsError> {
    let pair = &one.pair;
    let failed = || PartsError::sql(format!("Comparing what was written to {}", pair.name()));
    let class = quote(&one.class);
    let from = pair.production.from();
    let query = if pair.key.is_empty() {
        // Each carried row as often as it was carried, at least.
        format!(
            "SELECT count(*) FROM (SELECT ROW({0})::text AS whole, count(*) AS times FROM {1} s \
              WHERE s.{class} = 'm' GROUP BY 1) w LEFT JOIN (SELECT ROW({2})::text AS whole, \
              count(*) AS times FROM {from} t GROUP BY 1) n USING (whole) \
              WHERE coalesce(n.times, 0) < w.times",
            pair.list("s."),
            one.table,
            pair.list("t."),
        )
    } else {
        format!(
            "SELECT count(*) FROM {1} s LEFT JOIN {from} t ON {3} WHERE CASE s.{class} \
              WHEN 'n' THEN t.{4} IS NOT NULL \
              ELSE t.{4} IS NULL OR ROW({0})::text IS DISTINCT FROM ROW({2})::text END",
            pair.list("s."),
            one.table,
            pair.list("t."),
            same_key(pair),
            pair.key.first().map(|key| quote(&key.name)).unwrap_or_default(),
        )
    };
    let row = writer.query_one(&query, &[]).await.map_err(failed())?;
    let wrong: i64 = row.try_get(0).map_err(failed())?;
    if wrong == 0 {
        return Ok(());
    }
    Err(PartsError::NotTheSame(format!(
        "{wrong} rows of {} were not as they are in the source after they were written.",
        pair.name()
    )))
}

/// Indices of `ready`, tables that others refer to first. Tables that refer to each other in a
/// ring stay in their order: only deferrable keys let such rows in.
async fn parents_first(writer: &Client, ready: &[Ready]) -> Result<Vec<usize>, PartsError> {
    let failed = || PartsError::sql("Reading foreign keys");
    let query = "SELECT DISTINCT k.conrelid, k.confrelid FROM pg_catalog.pg_constraint k \
                  WHERE k.contype = 'f' AND k.conrelid <> k.confrelid";
    let mut keys = BTreeSet::new();
    for row in writer.query(query, &[]).await.map_err(failed())? {
        let pair: (u32, u32) =
            (row.try_get(0).map_err(failed())?, row.try_get(1).map_err(failed())?);
        keys.insert(pair);
    }
    let oids: Vec<u32> = ready.iter().map(|one| one.pair.production.oid).collect();
    Ok(ordered(&oids, &keys))
}

/// `keys` are pairs of who refers and to whom.
fn ordered(tables: &[u32], keys: &BTreeSet<(u32, u32)>) -> Vec<usize> {
    let mut left: Vec<usize> = (0..tables.len()).collect();
    let mut order = Vec::new();
    while !left.is_empty() {
        let waits = |at: &usize| {
            left.iter().any(|other| match (tables.get(*at), tables.get(*other)) {
                (Some(child), Some(parent)) => keys.contains(&(*child, *parent)),
                _ => false,
            })
        };
        let next = left.iter().position(|at| !waits(at)).unwrap_or(0);
        order.push(left.remove(next));
    }
    order
}

/// The pairs of the source's tables that production has too, and the tables that it lacks.
///
/// # Errors
/// Where a server does not answer.
pub async fn pair_up(
    production: &Client,
    source: Vec<catalog::Table>,
) -> Result<(Vec<Pair>, Vec<catalog::Table>), PartsError> {
    let (mut pairs, mut absent) = (Vec::new(), Vec::new());
    for table in source {
        match catalog::find(production, &table.name).await? {
            Some(now) => pairs.push(Pair::of(table, now)),
            None => absent.push(table),
        }
    }
    Ok((pairs, absent))
}

/// Names of tables, for people.
#[must_use]
pub fn listed(names: &[Name]) -> String {
    names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::compare::Prints;
    use super::*;

    fn found(newer: u64, print: &str) -> Difference {
        Difference {
            table: String::from("public.t"),
            by_key: true,
            rows_in_source: 0,
            rows_in_production: newer,
            missing: 0,
            changed: 0,
            newer,
            prints: Prints { newer: print.to_owned(), ..Prints::default() },
            definition: Vec::new(),
            samples: Vec::new(),
        }
    }

    #[test]
    fn an_agreement_covers_the_rows_that_were_seen_and_no_others() {
        let newer = Choice { newer: true, ..Choice::default() };
        let seen = found(2, "of 5 and 6");
        assert!(stale(Some(&seen), &found(2, "of 5 and 6"), newer).is_none());
        let as_many = stale(Some(&seen), &found(2, "of 6 and 7"), newer).unwrap();
        assert!(as_many.to_string().contains("2 then, 2 now"), "{as_many}");
        assert!(stale(None, &seen, newer).is_some(), "it was never shown");
        // What is not taken is not touched, however it changes.
        let missing = Choice { missing: true, ..Choice::default() };
        assert!(stale(Some(&seen), &found(9, "of others"), missing).is_none());
    }

    /// A table of 9 rows on each side, of which two are removed and proven to be gone, behind one that
    /// nothing is taken of.
    #[test]
    fn how_far_it_is_goes_by_the_rows() {
        use std::sync::Mutex;
        let mut small = found(0, "");
        (small.rows_in_source, small.rows_in_production) = (1, 1);
        let mut large = found(2, "of 5 and 6");
        (large.rows_in_source, large.rows_in_production) = (9, 9);
        let choice = Choice { newer: true, ..Choice::default() };
        let heard = Mutex::new(Vec::new());
        let told = |words: &str, far: Option<Far>| {
            heard.lock().unwrap().push((words.to_owned(), far.unwrap()));
        };
        let mut stages = Stages::of(&told, &[&small, &large], choice);
        let table = Name::new("public", "t");
        stages.next("Comparing once more", &table, read(&small));
        stages.next("Comparing once more", &table, read(&large));
        stages.far(12);
        stages.next("Removing rows of", &table, large.count(Class::Newer));
        stages.next("Comparing what was written to", &table, chosen(&large, choice));
        let far: Vec<(u64, u64)> = heard
            .lock()
            .unwrap()
            .iter()
            .map(|(_, far)| match far {
                Far::Rows(over, of) => (*over, *of),
                Far::Stages(..) => panic!("the rows are known"),
            })
            .collect();
        assert_eq!(far, [(0, 24), (2, 24), (14, 24), (20, 24), (22, 24)]);
        assert!(heard.lock().unwrap()[2].0.starts_with("Comparing once more "));
    }

    #[test]
    fn tables_that_others_refer_to_come_first_and_a_ring_does_not_hang() {
        let keys = BTreeSet::from([(1, 2), (2, 3), (7, 8), (8, 7)]);
        assert_eq!(ordered(&[1, 2, 3], &keys), [2, 1, 0]);
        assert_eq!(ordered(&[7, 8], &keys), [0, 1]);
        assert!(ordered(&[], &keys).is_empty());
    }
}
