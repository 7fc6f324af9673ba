//! Which transactions may have done the damage. Owns how a transaction's traces in the WAL are
//! told apart (dropped, emptied, rewritten, mass-changed, one of a series) and how suspects are
//! ranked; never reads WAL, and cuts nothing off for being small.

use super::archive::{Relation, Relations};
use super::symptom::{Symptom, SymptomKind};
use super::words::{grouped, listed};
use crate::engine::postgres::Lsn;
use crate::engine::wal::inspect::history::Fast;
use crate::engine::wal::inspect::{
    Detail, Ending, Fact, History, Origin, RelationFile, Series, Totals,
};
use jiff::Timestamp;
use serde::Serialize;
use std::collections::HashMap;

/// Suspects kept.
const MAX_SUSPECTS: usize = 20;
/// A deed that does not concern the table that was named stays in the list, far below.
const ELSEWHERE: f64 = 0.02;

/// What a transaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Harm {
    DropDatabase,
    DropSchema,
    DropTable,
    DropColumn,
    Truncate,
    Delete,
    Update,
}

impl Harm {
    fn weight(self) -> f64 {
        match self {
            Self::DropDatabase => 100.0,
            Self::DropSchema => 97.0,
            Self::DropTable => 93.0,
            Self::Truncate => 88.0,
            Self::Delete => 85.0,
            Self::DropColumn => 80.0,
            Self::Update => 60.0,
        }
    }

    /// Before its commit the transaction must not even have begun in the recovered server: it
    /// would hold its lock, or has done what no rollback undoes.
    #[must_use]
    pub fn takes_effect_before_commit(self) -> bool {
        !matches!(self, Self::Delete | Self::Update)
    }
}

/// A suspect before it is put into the words of the screens.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// The deed; of a series the first.
    pub ending: Ending,
    /// The last of a series; else the deed itself.
    pub last: Ending,
    /// How many transactions it is.
    pub transactions: u64,
    pub harm: Harm,
    pub relation: String,
    pub what: String,
    pub score: f64,
    /// Bytes of WAL that the deed wrote; `None` for a series.
    pub bytes: Option<u64>,
}

impl Found {
    /// When, who and what, as one sentence without its full stop.
    #[must_use]
    pub fn reason(&self) -> String {
        let at = self.ending.at().strftime("%Y-%m-%d %H:%M:%S%.3f");
        if self.transactions > 1 {
            let until = self.last.at().strftime("%H:%M:%S%.3f");
            return format!(
                "{at} to {until} UTC, {} transactions from {} to {} {}",
                grouped(self.transactions),
                self.ending.xid,
                self.last.xid,
                self.what
            );
        }
        format!("{at} UTC, transaction {} {}", self.ending.xid, self.what)
    }
}

/// What one transaction looks like.
struct Look {
    harm: Harm,
    relation: String,
    what: String,
    /// Tables concerned, by database; none where a whole database is.
    tables: Vec<(u32, Option<Relation>)>,
    /// Rows concerned, and their share of the table.
    rows: f64,
    share: f64,
    /// How much it stands out of the table's own traffic, 0 to 1.
    outlier: f64,
    named: bool,
    /// The same thing done again and again is somebody's routine.
    key: (Harm, u32, u32),
}

impl Look {
    fn weight(&self, symptom: &Symptom, names: &Relations) -> f64 {
        let concerns = symptom.table.as_ref().is_none_or(|wanted| {
            let is = |(db, r): &(u32, Option<Relation>)| {
                r.as_ref().is_some_and(|r| names.is_named(*db, r, wanted))
            };
            self.tables.iter().any(is)
        });
        let size = ((self.rows + 1.0).log10() / 4.0).clamp(0.25, 1.0);
        self.harm.weight()
            * symptom.fits(self.harm)
            * (0.4 + 0.6 * self.share.clamp(0.0, 1.0))
            * size
            * self.outlier
            * if concerns { 1.0 } else { ELSEWHERE }
            * if self.named { 1.0 } else { 0.5 }
    }
}

/// Ranks what `history` tells, best suspect first. `relations` is what is known of names.
#[must_use]
pub fn rank(
    history: &History,
    relations: &Relations,
    detected: Option<Timestamp>,
    symptom: &Symptom,
) -> Vec<Found> {
    let mut names = relations.clone();
    let mut looks: Vec<(&Detail, Look)> = Vec::new();
    for detail in &history.details {
        let seen = looks_at(detail, &history.totals, &names);
        follow_new_file(detail, seen.first().map(|l| l.harm), &mut names);
        looks.extend(seen.into_iter().map(|look| (detail, look)));
    }
    let mut repeated: HashMap<(Harm, u32, u32), f64> = HashMap::new();
    for (_, look) in &looks {
        *repeated.entry(look.key).or_default() += 1.0;
    }
    let mut found: Vec<Found> = looks
        .into_iter()
        .map(|(detail, look)| {
            let routine = match look.harm {
                Harm::Delete | Harm::Update => 1.0,
                _ => repeated.get(&look.key).map_or(1.0, |n| 1.0 / n),
            };
            let near = closeness(detail.ending.at(), detected);
            Found {
                ending: detail.ending,
                last: detail.ending,
                transactions: 1,
                harm: look.harm,
                score: look.weight(symptom, &names) * routine * near,
                relation: look.relation,
                what: look.what,
                bytes: Some(detail.bytes),
            }
        })
        .collect();
    found.extend(history.series.iter().filter_map(|series| {
        let look = of_series(series, history, &names, symptom)?;
        let near = closeness(series.last.at(), detected);
        Some(Found {
            ending: Ending { first_lsn: series.begins(), ..series.first },
            last: series.last,
            transactions: series.transactions,
            harm: look.harm,
            score: look.weight(symptom, &names) * near,
            relation: look.relation,
            what: look.what,
            bytes: None,
        })
    }));
    found.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.ending.lsn.cmp(&a.ending.lsn)));
    without_parts(&mut found);
    join_deeds(&mut found);
    found.truncate(MAX_SUSPECTS);
    found
}

/// A transaction that belongs to a better-ranked series is no suspect of its own.
fn without_parts(found: &mut Vec<Found>) {
    let series: Vec<(usize, Harm, String, Lsn, Lsn)> = found
        .iter()
        .enumerate()
        .filter(|(_, f)| f.transactions > 1)
        .map(|(i, f)| (i, f.harm, f.relation.clone(), f.ending.lsn, f.last.lsn))
        .collect();
    let mut index = 0;
    found.retain(|f| {
        let at = index;
        index += 1;
        f.transactions > 1
            || !series.iter().any(|(i, harm, relation, first, last)| {
                *i < at
                    && *harm == f.harm
                    && *relation == f.relation
                    && (*first..=*last).contains(&f.ending.lsn)
            })
    });
}

/// What was detected happened before; the nearer, the likelier.
fn closeness(at: Timestamp, detected: Option<Timestamp>) -> f64 {
    let Some(detected) = detected else { return 1.0 };
    let hours = detected.duration_since(at).as_secs_f64() / 3600.0;
    // A stated moment is rough: a minute after it still counts as before.
    if hours < -1.0 / 60.0 { 0.15 } else { (1.0 / (1.0 + hours.max(0.0) / 12.0)).max(0.25) }
}

/// All that a transaction did. One that empties a small table may delete a large one's rows, too:
/// which of its deeds counts, the symptom says.
fn looks_at(
    detail: &Detail,
    totals: &HashMap<RelationFile, Totals, Fast>,
    names: &Relations,
) -> Vec<Look> {
    [
        database(detail, names),
        dropped(detail, totals, names),
        column(detail, names),
        mass(detail, totals, names),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// A transaction is one suspect, by its worst deed; its others are told behind that one.
fn join_deeds(found: &mut Vec<Found>) {
    let mut joined: Vec<Found> = Vec::new();
    for one in found.drain(..) {
        let known = joined
            .iter_mut()
            .find(|known| known.ending.lsn == one.ending.lsn && known.transactions == 1);
        match known {
            Some(worst) if one.transactions == 1 => {
                worst.what = format!("{}; {}", worst.what, one.what);
            }
            _ => joined.push(one),
        }
    }
    *found = joined;
}

fn database(detail: &Detail, names: &Relations) -> Option<Look> {
    let oid = *detail.databases_dropped.first()?;
    let tables = || names.files.iter().filter(|((db, _), _)| *db == oid).map(|(_, r)| r);
    let rows: f64 = tables().map(|r| r.rows.max(0.0)).sum();
    let told = detail.facts.iter().find_map(|fact| match fact {
        Fact::DatabaseDropped { oid: of, name } if *of == oid => Some(name),
        _ => None,
    });
    let name = told.or_else(|| names.databases.get(&oid));
    let relation = name.map_or_else(|| format!("database {oid}"), |n| format!("database {n}"));
    let what = match tables().count() {
        0 => format!("dropped the {relation}"),
        n => format!("dropped the {relation} with {n} tables and {} rows", about(rows)),
    };
    Some(Look {
        harm: Harm::DropDatabase,
        relation,
        what,
        tables: tables().map(|r| (oid, Some(r.clone()))).collect(),
        rows: rows.max(10_000.0),
        share: 1.0,
        outlier: 1.0,
        named: name.is_some(),
        key: (Harm::DropDatabase, oid, 0),
    })
}

/// DROP and TRUNCATE delete files at commit; so do VACUUM FULL, CLUSTER, rewrites and REINDEX,
/// which are no damage and leave a copy behind.
fn dropped(
    detail: &Detail,
    totals: &HashMap<RelationFile, Totals, Fast>,
    names: &Relations,
) -> Option<Look> {
    // Indexes and TOAST files have no name here; a file with rows of its own that was made
    // within the log is a table younger than the backup.
    let young = |f: &RelationFile| {
        totals.get(f).is_some_and(|t| t.created && t.tally.inserts > 0) && !names.files.is_empty()
    };
    let known: Vec<(RelationFile, Option<&Relation>)> = detail
        .dropped
        .iter()
        .map(|file| (*file, names.named(*file)))
        .filter(|(file, relation)| relation.is_some() || names.files.is_empty() || young(file))
        .collect();
    let named: Vec<(RelationFile, Option<&Relation>)> =
        known.iter().copied().filter(|(_, r)| r.is_some()).collect();
    let tables = if named.is_empty() { known } else { named };
    let (first, relation) = *tables.first()?;
    let catalog = detail.catalog;
    let schema = detail.facts.iter().find_map(|fact| match fact {
        Fact::SchemaDropped { name, .. } => Some(name.clone()),
        _ => None,
    });
    let gone = |fact: &&Fact| matches!(fact, Fact::RelationDropped { .. });
    let harm = if detail.facts.iter().any(|fact| gone(&fact))
        || detail.created.is_empty()
        || catalog.deletes > catalog.inserts
    {
        if detail.schemas_dropped > 0 || tables.iter().filter(|(_, r)| r.is_some()).count() >= 3 {
            Harm::DropSchema
        } else {
            Harm::DropTable
        }
    } else if catalog.deletes > 0 {
        // As many made as dropped: a rewrite swaps files in the catalog, a table that is
        // dropped and made anew does not.
        if catalog.updates > 0 {
            return None;
        }
        Harm::DropTable
    } else {
        let beside = |c: &RelationFile| c.tablespace == first.tablespace;
        if !detail.created.iter().any(beside) {
            return None; // Moved to another tablespace with all rows.
        }
        Harm::Truncate
    };
    let rows: f64 = tables.iter().map(|(f, r)| rows_of(detail, *f, *r, names).unwrap_or(0.0)).sum();
    let titles: Vec<String> = tables.iter().map(|(f, _)| names.title(*f)).collect();
    let relation_name = listed(&titles, 3);
    let what = match harm {
        Harm::DropSchema => {
            let of_first = relation.map(|r| r.schema.clone()).unwrap_or_default();
            let told = schema.is_some();
            let schema = schema.unwrap_or(of_first);
            let same = tables.iter().all(|(_, r)| r.is_some_and(|r| r.schema == schema));
            let subject = if detail.schemas_dropped > 0 && (same || told) {
                format!("the schema {schema} with {} tables", tables.len())
            } else {
                format!("{} tables at once", tables.len())
            };
            format!("dropped {subject} and {} rows: {relation_name}", about(rows))
        }
        Harm::Truncate => format!("emptied {relation_name} (TRUNCATE), {} rows", about(rows)),
        _ => format!("dropped {relation_name} with {} rows", about(rows)),
    };
    Some(Look {
        harm,
        relation: relation_name,
        what,
        tables: tables.iter().map(|(f, r)| (f.database, r.cloned())).collect(),
        rows,
        share: 1.0,
        outlier: 1.0,
        named: relation.is_some(),
        key: (harm, first.database, relation.map_or(first.file, |r| r.oid)),
    })
}

/// DROP COLUMN leaves rows and files alone, and hides the column.
fn column(detail: &Detail, names: &Relations) -> Option<Look> {
    let columns = || {
        detail.facts.iter().filter_map(|fact| match fact {
            Fact::ColumnDropped { database, relation, name, number } => {
                Some((*database, *relation, name, *number))
            }
            _ => None,
        })
    };
    let (database, told, ..) = columns().next()?;
    // Where the row itself does not tell the table, its lock does.
    let locked = || {
        let known = |(db, oid): &(u32, u32)| names.by_oid(*db, *oid).is_some();
        detail.locks.iter().find(|lock| known(lock)).map(|(_, oid)| *oid)
    };
    let oid = told.or_else(|| columns().find_map(|(_, oid, ..)| oid)).or_else(locked);
    let relation = oid.and_then(|oid| names.by_oid(database, oid));
    let words: Vec<String> = columns()
        .map(|(_, _, name, number)| match (name, number) {
            (Some(name), _) => format!("column {name}"),
            (None, Some(number)) => format!("column number {number}"),
            (None, None) => String::from("a column"),
        })
        .collect();
    let title = match (relation, oid) {
        (Some(r), _) => names.table(database, r),
        (None, Some(oid)) => format!("relation {oid}"),
        (None, None) => String::from("a table"),
    };
    let rows = relation.map_or(0.0, |r| r.rows.max(0.0));
    let of = if rows > 0.0 { format!(" with {} rows", about(rows)) } else { String::new() };
    Some(Look {
        harm: Harm::DropColumn,
        what: format!("dropped {} of {title}{of}", listed(&words, 3)),
        relation: title,
        tables: vec![(database, relation.cloned())],
        rows,
        share: 1.0,
        outlier: 1.0,
        named: relation.is_some() || names.files.is_empty(),
        key: (Harm::DropColumn, database, oid.unwrap_or_default()),
    })
}

fn mass(
    detail: &Detail,
    totals: &HashMap<RelationFile, Totals, Fast>,
    names: &Relations,
) -> Option<Look> {
    let tables = || {
        detail
            .touched
            .iter()
            .filter(|t| !names.others.contains(&(t.relation.database, t.relation.file)))
    };
    let looks = tables().filter_map(|touched| {
        let tally = touched.tally;
        let (harm, count, verb) = if tally.deletes >= tally.updates {
            (Harm::Delete, tally.deletes, "deleted")
        } else {
            (Harm::Update, tally.updates, "changed")
        };
        if count == 0 {
            return None;
        }
        let relation = names.named(touched.relation);
        let total =
            rows_of(detail, touched.relation, relation, names).map(|rows| rows.max(float(count)));
        let share = total.map_or(0.5, |total| float(count) / total.max(1.0));
        let title = names.title(touched.relation);
        let rows = if count == 1 { "row" } else { "rows" };
        let mut what = match total {
            Some(total) => format!("{verb} {} of {} rows of {title}", grouped(count), about(total)),
            None => format!("{verb} {} {rows} of {title}", grouped(count)),
        };
        let mut outlier = outlier(harm, count, totals.get(&touched.relation));
        if harm == Harm::Delete && tally.inserts >= count / 10 * 9 && tally.inserts > 0 {
            // Deleted and loaded anew: usually a refresh.
            what.push_str(&format!(" and inserted {}", grouped(tally.inserts)));
            outlier *= 0.4;
        }
        Some(Look {
            harm,
            relation: title,
            what,
            tables: vec![(touched.relation.database, relation.cloned())],
            rows: float(count),
            share,
            outlier,
            named: relation.is_some() || names.files.is_empty(),
            key: (harm, touched.relation.database, touched.relation.file),
        })
    });
    let strength = |l: &Look| {
        l.harm.weight() * (0.4 + 0.6 * l.share) * l.outlier * if l.named { 1.0 } else { 0.1 }
    };
    let mut best = looks.max_by(|a, b| strength(a).total_cmp(&strength(b)))?;
    // The same deed on several tables, such as the parts of one, is one deed.
    let deed = |t: &crate::engine::wal::inspect::Touched| match best.harm {
        Harm::Delete => t.tally.deletes,
        _ => t.tally.updates,
    };
    let others: Vec<(RelationFile, u64)> = tables()
        .filter(|t| (best.key.1, best.key.2) != (t.relation.database, t.relation.file))
        .map(|t| (t.relation, deed(t)))
        .filter(|(_, rows)| *rows > 0)
        .collect();
    if !others.is_empty() {
        let rows: u64 = others.iter().map(|(_, rows)| rows).sum();
        let tables = if others.len() == 1 { "table" } else { "tables" };
        let more = format!(" (and {} in {} more {tables})", grouped(rows), others.len());
        best.what.push_str(&more);
        best.rows += float(rows);
        let name = |f: &RelationFile| (f.database, names.named(*f).cloned());
        best.tables.extend(others.iter().map(|(f, _)| name(f)));
    }
    Some(best)
}

/// Many small changes of one shape. One that goes on through all that was read is the
/// application's everyday work.
fn of_series(
    series: &Series,
    history: &History,
    names: &Relations,
    symptom: &Symptom,
) -> Option<Look> {
    let file = series.shape.relation;
    let focus = symptom.focus();
    if !focus.holds(&series.first) && !focus.holds(&series.last) {
        return None;
    }
    if names.others.contains(&(file.database, file.file)) {
        return None;
    }
    let (harm, verb) = match series.shape.deletes {
        true => (Harm::Delete, "deleted"),
        false => (Harm::Update, "changed"),
    };
    let relation = names.named(file);
    let total = relation
        .and_then(|r| names.by_oid(file.database, r.oid))
        .map(|r| r.rows)
        .filter(|rows| *rows > 0.0);
    let share = total.map_or(0.5, |total| float(series.rows) / total);
    let begun = history.endings.iter().take_while(|e| e.lsn < series.first.lsn).take(10).count();
    let routine = if begun < 10 || !focus.holds(&series.first) { 0.1 } else { 1.0 };
    let (own, others) = (float(series.transactions), float(series.others));
    // One deed is likelier than many, until somebody says that values are wrong here and there.
    let doubt = if symptom.kind == SymptomKind::Unknown { 0.4 } else { 1.0 };
    let span = |a: &Ending, b: &Ending| b.micros.saturating_sub(a.micros).max(0);
    let all = match (history.endings.first(), history.endings.last()) {
        (Some(first), Some(last)) => span(first, last),
        _ => 0,
    };
    let lasting = if span(&series.first, &series.last) > all / 2 { 0.15 } else { 1.0 };
    let title = names.title(file);
    let of = total.map_or_else(String::new, |total| format!(" of {}", about(total)));
    Some(Look {
        harm,
        what: format!(
            "{verb} {}{of} rows of {title}, about {} at a time",
            grouped(series.rows),
            grouped((series.rows / series.transactions.max(1)).max(1)),
        ),
        relation: title,
        tables: vec![(file.database, relation.cloned())],
        rows: float(series.rows),
        share,
        outlier: doubt * lasting * routine * own / (own + 2.0 * others)
            * if series.alone { 1.0 } else { 0.5 },
        named: relation.is_some() || names.files.is_empty(),
        key: (harm, file.database, file.file),
    })
}

/// One for a transaction beside which all others of the table are small; a fraction for one
/// like many.
fn outlier(harm: Harm, count: u64, totals: Option<&Totals>) -> f64 {
    let Some(totals) = totals else { return 1.0 };
    let (all, transactions) = match harm {
        Harm::Update => (totals.tally.updates, totals.updating),
        _ => (totals.tally.deletes, totals.deleting),
    };
    let others = transactions.saturating_sub(1);
    if others == 0 {
        return 1.0;
    }
    let mean = float(all.saturating_sub(count)) / float(others);
    float(count) / (float(count) + mean * float(others.min(8)))
}

/// Rows that the relation had before the transaction, as far as that can be told.
fn rows_of(
    detail: &Detail,
    file: RelationFile,
    relation: Option<&Relation>,
    names: &Relations,
) -> Option<f64> {
    let touched = detail.touched.iter().find(|t| t.relation == file);
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    let net = touched.map_or(0, |t| t.net_before) as f64;
    let known = match touched.map_or(Origin::Own, |t| t.origin) {
        Origin::Own => relation.map(|r| r.rows),
        Origin::Of(first) => names.named(first).map(|r| r.rows),
        Origin::Empty => Some(0.0),
    };
    match known {
        Some(rows) if rows >= 0.0 => Some((rows + net).max(0.0)),
        _ if net > 0.0 => Some(net),
        _ => None,
    }
}

/// TRUNCATE and rewrites give a table a new file. Where the log did not show the catalogue's row,
/// the name goes with it if there is but one to go.
fn follow_new_file(detail: &Detail, harm: Option<Harm>, names: &mut Relations) {
    if detail.dropped.is_empty() || matches!(harm, Some(Harm::DropTable | Harm::DropSchema)) {
        return;
    }
    let mut known = detail.dropped.iter().filter_map(|f| names.named(*f).map(|r| (*f, r.clone())));
    let (Some((file, relation)), None, Some(new)) =
        (known.next(), known.next(), detail.created.first())
    else {
        return; // None, or several: which file is whose cannot be told.
    };
    drop(known);
    if detail.created.iter().any(|f| names.named(*f).is_some_and(|r| r.oid == relation.oid)) {
        return; // The log has told it.
    }
    let rows = match harm {
        Some(Harm::Truncate) => 0.0,
        _ => rows_of(detail, file, Some(&relation), names).unwrap_or(-1.0),
    };
    names.files.entry((new.database, new.file)).or_insert(Relation { rows, ..relation });
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
fn about(rows: f64) -> String {
    format!("about {}", grouped(rows.max(0.0).round() as u64))
}

#[allow(clippy::cast_precision_loss, reason = "an estimate")]
fn float(count: u64) -> f64 {
    count as f64
}
