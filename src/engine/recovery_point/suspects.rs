//! Which transactions may have done the damage. Owns how a transaction's traces in the WAL are
//! told apart (dropped, emptied, rewritten, mass-changed) and how suspects are ranked; never
//! reads WAL.

use super::archive::{Relation, Relations};
use super::words::{grouped, listed};
use crate::engine::wal::inspect::ledger::Fast;
use crate::engine::wal::inspect::{Detail, RelationFile, Totals};
use jiff::Timestamp;
use std::collections::HashMap;

/// Suspects kept.
const MAX_SUSPECTS: usize = 20;
/// A mass change touches at least this many rows ...
const MASS_ROWS: u64 = 50;
/// ... and at least this share of the table, or [`MANY_ROWS`].
const MASS_SHARE: f64 = 0.005;
const MANY_ROWS: u64 = 1000;

/// What a transaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Harm {
    DropDatabase,
    DropSchema,
    DropTable,
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
pub struct Found<'a> {
    pub detail: &'a Detail,
    pub harm: Harm,
    pub relation: String,
    pub what: String,
    pub score: f64,
}

/// What one transaction looks like.
struct Look {
    harm: Harm,
    relation: String,
    what: String,
    /// Rows concerned, and their share of the table.
    rows: f64,
    share: f64,
    /// How much it stands out of the table's own traffic, 0 to 1.
    outlier: f64,
    named: bool,
    /// The same thing done again and again is somebody's routine.
    key: (Harm, u32, u32),
}

/// Ranks `details`, best suspect first. `relations` is what the base backups know.
#[must_use]
pub fn rank<'a>(
    details: &'a [Detail],
    totals: &HashMap<RelationFile, Totals, Fast>,
    relations: &Relations,
    detected: Option<Timestamp>,
) -> Vec<Found<'a>> {
    let mut names = relations.clone();
    let looks: Vec<(&Detail, Look)> = details
        .iter()
        .filter_map(|detail| {
            let look = look(detail, totals, &names);
            follow_new_file(detail, look.as_ref().map(|l| l.harm), &mut names);
            look.map(|look| (detail, look))
        })
        .collect();
    let mut repeated: HashMap<(Harm, u32, u32), f64> = HashMap::new();
    for (_, look) in &looks {
        *repeated.entry(look.key).or_default() += 1.0;
    }
    let mut found: Vec<Found<'a>> = looks
        .into_iter()
        .map(|(detail, look)| {
            let routine = match look.harm {
                Harm::Delete | Harm::Update => 1.0,
                _ => repeated.get(&look.key).map_or(1.0, |n| 1.0 / n),
            };
            let size = ((look.rows + 1.0).log10() / 4.0).clamp(0.25, 1.0);
            let score = look.harm.weight()
                * (0.4 + 0.6 * look.share.clamp(0.0, 1.0))
                * size
                * look.outlier
                * routine
                * closeness(detail.ending.at(), detected)
                * if look.named { 1.0 } else { 0.5 };
            Found { detail, harm: look.harm, relation: look.relation, what: look.what, score }
        })
        .collect();
    found.sort_by(|a, b| {
        b.score.total_cmp(&a.score).then(b.detail.ending.lsn.cmp(&a.detail.ending.lsn))
    });
    found.truncate(MAX_SUSPECTS);
    found
}

/// What was detected happened before; the nearer, the likelier.
fn closeness(at: Timestamp, detected: Option<Timestamp>) -> f64 {
    let Some(detected) = detected else { return 1.0 };
    let hours = detected.duration_since(at).as_secs_f64() / 3600.0;
    // A stated moment is rough: a minute after it still counts as before.
    if hours < -1.0 / 60.0 { 0.15 } else { (1.0 / (1.0 + hours.max(0.0) / 12.0)).max(0.25) }
}

fn look(
    detail: &Detail,
    totals: &HashMap<RelationFile, Totals, Fast>,
    names: &Relations,
) -> Option<Look> {
    database(detail, names)
        .or_else(|| dropped(detail, totals, names))
        .or_else(|| mass(detail, totals, names))
}

fn database(detail: &Detail, names: &Relations) -> Option<Look> {
    let oid = *detail.databases_dropped.first()?;
    let tables = || names.files.iter().filter(|((db, _), _)| *db == oid).map(|(_, r)| r);
    let rows: f64 = tables().map(|r| r.rows.max(0.0)).sum();
    let name = names.databases.get(&oid);
    let relation = name.map_or_else(|| format!("database {oid}"), |n| format!("database {n}"));
    let what = match tables().count() {
        0 => format!("dropped the {relation}"),
        n => format!("dropped the {relation} with {n} tables and {} rows", about(rows)),
    };
    Some(Look {
        harm: Harm::DropDatabase,
        relation,
        what,
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
    let harm = if detail.created.is_empty() || catalog.deletes > catalog.inserts {
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
    let rows: f64 = tables.iter().map(|(f, r)| rows_of(detail, *f, *r).unwrap_or(0.0)).sum();
    let titles: Vec<String> = tables.iter().map(|(f, r)| title(*f, *r, names)).collect();
    let relation_name = listed(&titles, 3);
    let what = match harm {
        Harm::DropSchema => {
            let schema = relation.map(|r| r.schema.clone()).unwrap_or_default();
            let same = tables.iter().all(|(_, r)| r.is_some_and(|r| r.schema == schema));
            let subject = if detail.schemas_dropped > 0 && same {
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
        rows,
        share: 1.0,
        outlier: 1.0,
        named: relation.is_some(),
        key: (harm, first.database, relation.map_or(first.file, |r| r.oid)),
    })
}

fn mass(
    detail: &Detail,
    totals: &HashMap<RelationFile, Totals, Fast>,
    names: &Relations,
) -> Option<Look> {
    let looks = detail.touched.iter().filter_map(|touched| {
        let tally = touched.tally;
        let (harm, count, verb) = if tally.deletes >= tally.updates {
            (Harm::Delete, tally.deletes, "deleted")
        } else {
            (Harm::Update, tally.updates, "changed")
        };
        let relation = names.named(touched.relation);
        let total = rows_of(detail, touched.relation, relation).map(|rows| rows.max(float(count)));
        let share = total.map_or(0.5, |total| float(count) / total.max(1.0));
        if count < MASS_ROWS || (share < MASS_SHARE && count < MANY_ROWS) {
            return None;
        }
        let title = title(touched.relation, relation, names);
        let mut what = match total {
            Some(total) => format!("{verb} {} of {} rows of {title}", grouped(count), about(total)),
            None => format!("{verb} {} rows of {title}", grouped(count)),
        };
        let mut outlier = outlier(harm, count, totals.get(&touched.relation));
        if harm == Harm::Delete && tally.inserts >= count / 10 * 9 {
            // Deleted and loaded anew: usually a refresh.
            what.push_str(&format!(" and inserted {}", grouped(tally.inserts)));
            outlier *= 0.4;
        }
        Some(Look {
            harm,
            relation: title,
            what,
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
    looks.max_by(|a, b| strength(a).total_cmp(&strength(b)))
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
    float(count) / (float(count) + 2.0 * mean)
}

/// Rows that the relation had before the transaction, as far as that can be told.
fn rows_of(detail: &Detail, file: RelationFile, relation: Option<&Relation>) -> Option<f64> {
    let net = detail.touched.iter().find(|t| t.relation == file).map_or(0, |t| t.net_before);
    #[allow(clippy::cast_precision_loss, reason = "an estimate")]
    let net = net as f64;
    match relation {
        Some(r) if r.rows >= 0.0 => Some((r.rows + net).max(0.0)),
        _ if net > 0.0 => Some(net),
        _ => None,
    }
}

/// TRUNCATE and rewrites give a table a new file: its name goes with it.
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
    let rows = match harm {
        Some(Harm::Truncate) => 0.0,
        _ => rows_of(detail, file, Some(&relation)).unwrap_or(-1.0),
    };
    names.files.entry((new.database, new.file)).or_insert(Relation { rows, ..relation });
}

fn title(file: RelationFile, relation: Option<&Relation>, names: &Relations) -> String {
    match (relation, names.databases.get(&file.database)) {
        (Some(r), Some(database)) if names.databases.len() > 1 && database != "postgres" => {
            format!("{}.{} in {database}", r.schema, r.table)
        }
        (Some(r), _) => format!("{}.{}", r.schema, r.table),
        (None, Some(database)) => format!("database {database}, file {}", file.file),
        (None, None) => format!("database {}, file {}", file.database, file.file),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
fn about(rows: f64) -> String {
    format!("about {}", grouped(rows.max(0.0).round() as u64))
}

#[allow(clippy::cast_precision_loss, reason = "an estimate")]
fn float(count: u64) -> f64 {
    count as f64
}
