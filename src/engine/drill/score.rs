//! What a drill proved: the recovered cluster against the truth that was recorded right before
//! the incident, and against the ledger of what customers were promised. Asks servers; never
//! changes the recovered one.

use super::error::DrillError;
use super::sandbox::Sandbox;
use super::server::Server;
use super::shop::DATABASE;
use super::strike::{TableState, Truth, state_like};
use super::traffic::{Acknowledged, read_ledger};
use crate::engine::incident::facts::{Check, Verdict};
use crate::engine::incident::salvage::Rows;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// A table's rows before the incident, those committed after it, and those there now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableScore {
    pub name: String,
    /// Right before the bad statement.
    pub before: i64,
    /// Acknowledged after the bad statement and not in the recovered cluster: the price of
    /// going back to before it.
    pub lost: i64,
    /// In the recovered cluster; `None` where it could not be counted.
    pub after: Option<i64>,
}

/// What was measured: tables, checks, and the seconds of data that were lost, where they are known.
pub type Measured = (Vec<TableScore>, Vec<Check>, Option<f64>);

/// Compares the recovered cluster with the truth.
///
/// # Errors
/// Where the ledger cannot be read.
pub fn of(
    sandbox: &Sandbox,
    truth: &Truth,
    aside: Option<&Path>,
    verifybackup: Option<&str>,
) -> Result<(Vec<TableScore>, Vec<Check>), DrillError> {
    of_salvaged(sandbox, truth, aside, verifybackup, &[])
}

/// As [`of`], where rows were brought back on purpose once the recovery was over: they are not held
/// against it.
///
/// # Errors
/// As [`of`].
pub fn of_salvaged(
    sandbox: &Sandbox,
    truth: &Truth,
    aside: Option<&Path>,
    verifybackup: Option<&str>,
    salvaged: &[Rows],
) -> Result<(Vec<TableScore>, Vec<Check>), DrillError> {
    let ledger = read_ledger(&sandbox.ledger())?;
    let runtime = sandbox.runtime()?;
    let compared = compare(sandbox.server(), truth, &ledger, salvaged);
    let (tables, mut checks) = runtime.block_on(compared);
    checks.push(judged(verifybackup));
    checks.push(damaged(sandbox, truth, &ledger, aside));
    Ok((tables, checks))
}

/// What is there after one table was brought back: its lines of before and of since, and nothing
/// else touched. Gives the seconds of data that were lost, too.
///
/// # Errors
/// Where the ledger cannot be read.
pub fn of_table(sandbox: &Sandbox, truth: &Truth) -> Result<Measured, DrillError> {
    let ledger = read_ledger(&sandbox.ledger())?;
    let runtime = sandbox.runtime()?;
    let (mut tables, mut checks) = (Vec::new(), Vec::new());
    for before in &truth.tables {
        let begun = Instant::now();
        let missing = runtime.block_on(missing_rows(sandbox.server(), &before.name, &ledger));
        let now = runtime.block_on(rows_until(sandbox.server(), before, truth));
        let since = count(&ledger, &before.name, |row| row.at > truth.struck_at);
        let after = now.as_ref().ok().map(|state| state.rows + since);
        let lost = missing.as_ref().map_or(0, |missing| missing.len());
        tables.push(TableScore {
            name: before.name.clone(),
            before: before.rows,
            lost: i64::try_from(lost).unwrap_or(i64::MAX),
            after,
        });
        // The shop stayed open: what it changed since is not as it was, and rightly so.
        let since = changed(&ledger, &before.name, |row| row.at > truth.struck_at);
        checks.push(timed(rows_but(before, now, &since), begun));
        let promised = ledger.iter().filter(|row| row.table == before.name).count();
        let counted = missing.map(|missing| (missing.len(), promised));
        checks.push(timed(kept_check(&before.name, counted), begun));
    }
    let rpo = runtime.block_on(first_missing(sandbox.server(), truth, &ledger));
    Ok((tables, checks, rpo.ok().map(|first| lost_seconds(truth, first))))
}

/// What is there after all was lost: everything that was acknowledged up to some moment, and
/// nothing that was never written. Gives the seconds of data that were lost, too.
///
/// # Errors
/// Where the ledger cannot be read.
pub fn of_loss(
    sandbox: &Sandbox,
    truth: &Truth,
    verifybackup: Option<&str>,
) -> Result<Measured, DrillError> {
    let ledger = read_ledger(&sandbox.ledger())?;
    let runtime = sandbox.runtime()?;
    let first = runtime.block_on(first_missing(sandbox.server(), truth, &ledger));
    let (mut tables, mut checks) = (Vec::new(), Vec::new());
    for before in &truth.tables {
        let begun = Instant::now();
        let now = runtime.block_on(table_now(sandbox.server(), before, truth));
        let missing = runtime.block_on(missing_rows(sandbox.server(), &before.name, &ledger));
        let lost = missing.as_ref().map_or(0, |missing| missing.len());
        tables.push(TableScore {
            name: before.name.clone(),
            before: before.rows,
            lost: i64::try_from(lost).unwrap_or(i64::MAX),
            after: now.as_ref().ok().map(|state| state.rows),
        });
        let first = first.as_ref().ok().copied();
        let late = changed(&ledger, &before.name, |row| {
            first.flatten().is_some_and(|first| row.at >= first)
        });
        checks.push(timed(whole_check(before, now, missing, first.map(|_| late)), begun));
    }
    checks.push(judged(verifybackup));
    Ok((tables, checks, first.ok().map(|first| lost_seconds(truth, first))))
}

/// Whether a refusal left everything as it was: the server serves, with every row it had.
///
/// # Errors
/// Where the ledger cannot be read.
pub fn of_refusal(
    sandbox: &Sandbox,
    truth: &Truth,
) -> Result<(Vec<TableScore>, Vec<Check>), DrillError> {
    let ledger = read_ledger(&sandbox.ledger())?;
    let runtime = sandbox.runtime()?;
    let (mut tables, mut checks) = (Vec::new(), Vec::new());
    for before in &truth.tables {
        let begun = Instant::now();
        let now = runtime.block_on(table_now(sandbox.server(), before, truth));
        let gone = if before.name == truth.damaged_table { truth.deleted } else { 0 };
        let since = count(&ledger, &before.name, |row| row.at > truth.struck_at);
        let expected = before.rows - i64::try_from(gone).unwrap_or(i64::MAX) + since;
        let mut check = check(
            &format!("drill-untouched:{}", before.name),
            &format!("{} is as the incident left it", before.name),
        );
        check.expected = Some(format!("at least {expected} rows"));
        tables.push(TableScore {
            name: before.name.clone(),
            before: before.rows,
            lost: 0,
            after: now.as_ref().ok().map(|state| state.rows),
        });
        match now {
            Ok(now) => {
                // Commits whose answer never came are there on top: at most one a session.
                let whole = (expected..=expected + 8).contains(&now.rows);
                check.verdict = if whole { Verdict::Verified } else { Verdict::Failed };
                check.found = Some(format!("{} rows", now.rows));
            }
            Err(error) => could_not(&mut check, &error),
        }
        checks.push(timed(check, begun));
    }
    Ok((tables, checks))
}

/// From the first promise that is not kept to the incident.
fn lost_seconds(truth: &Truth, first: Option<jiff::Timestamp>) -> f64 {
    first.map_or(0.0, |at| truth.struck_at.duration_since(at).as_secs_f64().max(0.0))
}

/// When the first acknowledged row that is not there was acknowledged; `None` where all are.
async fn first_missing(
    server: &Server,
    truth: &Truth,
    ledger: &[Acknowledged],
) -> Result<Option<jiff::Timestamp>, DrillError> {
    let mut first = None;
    for table in &truth.tables {
        let missing = missing_rows(server, &table.name, ledger).await?;
        let own = ledger
            .iter()
            .filter(|row| row.table == table.name && missing.contains(&row.id))
            .map(|row| row.at)
            .min();
        first = match (first, own) {
            (Some(a), Some(b)) => Some(std::cmp::min::<jiff::Timestamp>(a, b)),
            (a, b) => a.or(b),
        };
    }
    Ok(first)
}

/// Acknowledged ids of the table that are not there.
async fn missing_rows(
    server: &Server,
    table: &str,
    ledger: &[Acknowledged],
) -> Result<std::collections::BTreeSet<i64>, DrillError> {
    let promised: std::collections::BTreeSet<i64> =
        ledger.iter().filter(|row| row.table == table).map(|row| row.id).collect();
    let ids: Vec<i64> = promised.iter().copied().collect();
    let client = server.connect("postgres", DATABASE).await?;
    let sql = format!("SELECT id FROM {table} WHERE id = ANY($1)");
    let found = client
        .query(&sql, &[&ids])
        .await
        .map_err(DrillError::sql("the promised rows could not be looked for"))?;
    let found: std::collections::BTreeSet<i64> = found.iter().map(|row| row.get(0)).collect();
    Ok(promised.difference(&found).copied().collect())
}

/// The table's rows that were there before the incident, by when they were created.
async fn rows_until(
    server: &Server,
    before: &TableState,
    truth: &Truth,
) -> Result<TableState, DrillError> {
    let client = server.connect("postgres", DATABASE).await?;
    let until =
        format!("(SELECT * FROM {} WHERE created_at <= '{}')", before.name, truth.struck_at);
    let state = state_like(&client, &until, truth.recent_since, before.settled_until).await?;
    Ok(TableState { name: before.name.clone(), ..state })
}

fn kept_check(table: &str, missing: Result<(usize, usize), DrillError>) -> Check {
    let mut check = promises_check(table, missing);
    check.id = format!("drill-kept:{table}");
    check.title = format!("Every row of {table} that was ever acknowledged is there");
    check
}

/// Every row is as it was, but for those that came or were changed after the end of the archive:
/// acknowledged ones that are missing, and those of `late`, whose change may be. `late` is `None`
/// where the first lost promise is not known.
fn whole_check(
    before: &TableState,
    now: Result<TableState, DrillError>,
    missing: Result<BTreeSet<i64>, DrillError>,
    late: Option<BTreeSet<i64>>,
) -> Check {
    let mut check = check(
        &format!("drill-whole:{}", before.name),
        &format!("{} is whole up to the recovery point", before.name),
    );
    let (now, missing, late) = match (now, missing, late) {
        (Ok(now), Ok(missing), Some(late)) => (now, missing, late),
        (Err(error), ..) | (_, Err(error), _) => {
            could_not(&mut check, &error);
            return check;
        }
        (.., None) => {
            could_not(&mut check, &DrillError::Interrupted);
            return check;
        }
    };
    let lost = i64::try_from(missing.len()).unwrap_or(i64::MAX);
    check.expected = Some(format!("{}, less the {lost} that were lost", before.words()));
    check.found = Some(now.words());
    let excused: BTreeSet<i64> = missing.union(&late).copied().collect();
    let wrong = not_as_before(before, &now, &excused);
    check.verdict = if wrong.is_none() { Verdict::Verified } else { Verdict::Failed };
    let lost = format!("{lost} acknowledged rows came after the end of the archive.");
    check.detail = wrong.map_or_else(|| lost.clone(), |wrong| format!("{wrong} {lost}"));
    check
}

async fn compare(
    server: &Server,
    truth: &Truth,
    ledger: &[Acknowledged],
    salvaged: &[Rows],
) -> (Vec<TableScore>, Vec<Check>) {
    let mut tables = Vec::new();
    let mut checks = Vec::new();
    for before in &truth.tables {
        let begun = Instant::now();
        let now = table_now(server, before, truth).await;
        let missing = promised_and_missing(server, before, truth, ledger).await;
        let committed_since = count(ledger, &before.name, |row| row.at > truth.struck_at);
        let after = now.as_ref().ok().map(|state| state.rows);
        // A row beyond the truth is one of those committed since, and so not lost.
        let beyond = after.map_or(0, |after| (after - before.rows).max(0));
        tables.push(TableScore {
            name: before.name.clone(),
            before: before.rows,
            lost: (committed_since - beyond).max(0),
            after,
        });
        let brought: Vec<&Rows> = salvaged.iter().filter(|one| one.table == before.name).collect();
        let rows = if brought.is_empty() {
            rows_check(before, now)
        } else {
            // What was written since is back: what was there before is told by when it was made.
            let until = rows_until(server, before, truth).await;
            salvaged_check(rows_check(before, until), &brought)
        };
        checks.push(timed(rows, begun));
        checks.push(timed(promises_check(&before.name, missing), begun));
    }
    (tables, checks)
}

async fn table_now(
    server: &Server,
    before: &TableState,
    truth: &Truth,
) -> Result<TableState, DrillError> {
    let client = server.connect("postgres", DATABASE).await?;
    state_like(&client, &before.name, truth.recent_since, before.settled_until).await
}

/// Ids that were acknowledged before the bad statement and are not there: (how many, of how many).
async fn promised_and_missing(
    server: &Server,
    table: &TableState,
    truth: &Truth,
    ledger: &[Acknowledged],
) -> Result<(usize, usize), DrillError> {
    let promised: Vec<i64> = {
        let mut ids: Vec<i64> = ledger
            .iter()
            .filter(|row| row.table == table.name && row.at <= truth.struck_at)
            .map(|row| row.id)
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let client = server.connect("postgres", DATABASE).await?;
    let sql = format!("SELECT count(*) FROM {} WHERE id = ANY($1)", table.name);
    let found: i64 = client
        .query_one(&sql, &[&promised])
        .await
        .map_err(DrillError::sql("the promised rows could not be counted"))?
        .get(0);
    let found = usize::try_from(found).unwrap_or_default();
    Ok((promised.len().saturating_sub(found), promised.len()))
}

fn count(ledger: &[Acknowledged], table: &str, when: impl Fn(&Acknowledged) -> bool) -> i64 {
    let rows = ledger.iter().filter(|row| row.table == table && row.did == "insert" && when(row));
    i64::try_from(rows.count()).unwrap_or(i64::MAX)
}

/// Rows that the application changed, by the ledger.
fn changed(
    ledger: &[Acknowledged],
    table: &str,
    when: impl Fn(&Acknowledged) -> bool,
) -> BTreeSet<i64> {
    let rows = ledger.iter().filter(|row| row.table == table && row.did == "update" && when(row));
    rows.map(|row| row.id).collect()
}

/// What is not as it was, in sentences; `None` where nothing is but the rows that may.
fn not_as_before(before: &TableState, now: &TableState, excused: &BTreeSet<i64>) -> Option<String> {
    let mut wrong = Vec::new();
    if before.settled != now.settled || before.settled_rows() != now.settled_rows() {
        wrong.push(match now.settled_rows() - before.settled_rows() {
            0 => String::from("Older rows are not as they were."),
            more @ 1.. => format!("There are {more} older rows too many."),
            fewer => format!("{} older rows are missing.", -fewer),
        });
    }
    let newer = before.differing(now).difference(excused).count();
    if newer > 0 {
        wrong.push(format!("{newer} newer rows are missing, not as they were, or too many."));
    }
    (!wrong.is_empty()).then(|| wrong.join(" "))
}

fn rows_check(before: &TableState, now: Result<TableState, DrillError>) -> Check {
    rows_but(before, now, &BTreeSet::new())
}

/// Every row is as it was, but for those that the application changed since.
fn rows_but(
    before: &TableState,
    now: Result<TableState, DrillError>,
    since: &BTreeSet<i64>,
) -> Check {
    let mut check = check(
        &format!("drill-rows:{}", before.name),
        &format!("{} is as it was right before the incident", before.name),
    );
    check.expected = Some(before.words());
    match now {
        Ok(now) => {
            check.found = Some(now.words());
            let wrong = not_as_before(before, &now, since);
            check.verdict = if wrong.is_none() { Verdict::Verified } else { Verdict::Failed };
            check.detail = wrong.unwrap_or_else(|| match since.len() {
                0 => String::from("Every row is there and equal."),
                some => format!("Every row is there and equal, but for {some} changed since."),
            });
        }
        Err(error) => could_not(&mut check, &error),
    }
    check
}

/// The same where rows were brought back: what a salvage wrote over is no longer as it was before, by
/// somebody's decision.
fn salvaged_check(mut check: Check, brought: &[&Rows]) -> Check {
    let changed: u64 = brought.iter().map(|rows| rows.changed).sum();
    let missing: u64 = brought.iter().map(|rows| rows.missing).sum();
    if changed > 0 && check.verdict == Verdict::Failed {
        check.verdict = Verdict::CouldNotVerify;
        check.detail = format!(
            "A salvage wrote over {changed} rows after the recovery: what they held before cannot be \
             compared any more."
        );
    } else if check.verdict == Verdict::Verified && missing > 0 {
        check.detail =
            format!("{} A salvage brought {missing} later rows back beside them.", check.detail);
    }
    check
}

fn promises_check(table: &str, missing: Result<(usize, usize), DrillError>) -> Check {
    let mut check = check(
        &format!("drill-promises:{table}"),
        &format!("Every row of {table} that was acknowledged before the incident is there"),
    );
    match missing {
        Ok((_, 0)) => {
            check.verdict = Verdict::NotRun;
            check.detail = String::from("Nothing was acknowledged before the incident.");
        }
        Ok((missing, promised)) => {
            check.verdict = if missing == 0 { Verdict::Verified } else { Verdict::Failed };
            check.expected = Some(promised.to_string());
            check.found = Some((promised - missing).to_string());
            check.detail = format!("{missing} of {promised} acknowledged rows are missing.");
        }
        Err(error) => could_not(&mut check, &error),
    }
    check
}

/// The verdict of PostgreSQL's own `pg_verifybackup`, as the restore's step recorded it.
fn judged(note: Option<&str>) -> Check {
    let mut check = check("drill-verifybackup", "pg_verifybackup agrees with the restored base");
    let said = note.unwrap_or("pg_verifybackup: NOT RUN");
    check.verdict = [Verdict::CouldNotVerify, Verdict::NotRun, Verdict::Failed, Verdict::Verified]
        .into_iter()
        .find(|verdict| said.contains(&format!("pg_verifybackup: {}", verdict.word())))
        .unwrap_or(Verdict::CouldNotVerify);
    check.detail = said.to_owned();
    check
}

/// The damaged directory was kept whole: a server starts on it, closed to everybody, and has the
/// damage that was there, with everything that was promised since.
fn damaged(
    sandbox: &Sandbox,
    truth: &Truth,
    ledger: &[Acknowledged],
    aside: Option<&Path>,
) -> Check {
    let begun = Instant::now();
    let mut check = check("drill-aside", "The damaged directory is kept and a server starts on it");
    let Some(aside) = aside else {
        check.verdict = Verdict::Failed;
        check.detail = String::from("The incident does not say where it is kept.");
        return timed(check, begun);
    };
    check.detail = format!("Kept at {}.", aside.display());
    let deleted = i64::try_from(truth.deleted).unwrap_or(i64::MAX);
    let before = truth.tables.iter().find(|table| table.name == truth.damaged_table);
    let since = count(ledger, &truth.damaged_table, |row| row.at > truth.struck_at);
    let expected = before.map_or(0, |table| table.rows) - deleted + since;
    check.expected = Some(format!("at least {expected} rows in {}", truth.damaged_table));
    match super::aside::rows_in(sandbox, aside, &truth.damaged_table) {
        // Commits that nobody was told of any more may be there on top: at most one a session.
        Ok(found) => {
            let whole = (expected..=expected + 8).contains(&found);
            check.verdict = if whole { Verdict::Verified } else { Verdict::Failed };
            check.found = Some(format!("{found} rows"));
        }
        Err(error) => could_not(&mut check, &error),
    }
    timed(check, begun)
}

fn check(id: &str, title: &str) -> Check {
    Check {
        id: id.to_owned(),
        title: title.to_owned(),
        verdict: Verdict::NotRun,
        expected: None,
        found: None,
        detail: String::new(),
        duration_ms: 0,
    }
}

fn could_not(check: &mut Check, error: &DrillError) {
    check.verdict = Verdict::CouldNotVerify;
    check.detail = format!("It could not be looked at: {error}.");
}

fn timed(mut check: Check, begun: Instant) -> Check {
    check.duration_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_judges_word_is_taken_as_it_is() {
        let verdict = |note| judged(note).verdict;
        assert_eq!(verdict(Some("pg_verifybackup: VERIFIED, all files")), Verdict::Verified);
        assert_eq!(verdict(Some("pg_verifybackup: NOT RUN (absent)")), Verdict::NotRun);
        assert_eq!(verdict(Some("pg_verifybackup: COULD NOT VERIFY (x)")), Verdict::CouldNotVerify);
        assert_eq!(verdict(Some("something new")), Verdict::CouldNotVerify);
        assert_eq!(verdict(None), Verdict::NotRun);
    }

    /// Of `rows`, the newest with these ids and digests beside the one digest of all others.
    fn state(rows: i64, settled: &str, recent: &[(i64, i64)]) -> TableState {
        TableState {
            name: String::from("public.orders"),
            rows,
            settled: settled.to_owned(),
            settled_until: 6,
            recent: recent.iter().copied().collect(),
        }
    }

    fn ids(ids: &[i64]) -> BTreeSet<i64> {
        ids.iter().copied().collect()
    }

    #[test]
    fn a_row_that_is_not_as_it_was_fails_however_old_it_is() {
        let before = state(8, "a", &[(7, 70), (8, 80)]);
        let check = |now, since: &[i64]| rows_but(&before, Ok(now), &ids(since));
        let verdict = |now, since: &[i64]| check(now, since).verdict;
        assert_eq!(verdict(before.clone(), &[]), Verdict::Verified);
        let old = check(state(8, "b", &[(7, 70), (8, 80)]), &[7, 8]);
        assert_eq!(
            (old.verdict, &*old.detail),
            (Verdict::Failed, "Older rows are not as they were.")
        );
        let gone = check(state(5, "a", &[(7, 70), (8, 80)]), &[]);
        assert_eq!((gone.verdict, &*gone.detail), (Verdict::Failed, "3 older rows are missing."));
        assert_eq!(verdict(state(8, "a", &[(7, 70), (8, 81)]), &[]), Verdict::Failed);
        assert_eq!(verdict(state(8, "a", &[(7, 70), (8, 81)]), &[8]), Verdict::Verified);
        assert_eq!(verdict(state(7, "a", &[(7, 70)]), &[]), Verdict::Failed);
        assert_eq!(verdict(state(9, "a", &[(7, 70), (8, 80), (9, 90)]), &[]), Verdict::Failed);
        assert_ne!(before.words(), state(8, "b", &[(7, 70), (8, 80)]).words());
    }

    /// A row that was lost is accounted for by a promise; one that is gone without is not.
    #[test]
    fn after_a_loss_only_what_was_promised_late_may_differ() {
        let before = state(8, "a", &[(7, 70), (8, 80)]);
        let verdict = |now, missing: &[i64], late: Option<&[i64]>| {
            whole_check(&before, Ok(now), Ok(ids(missing)), late.map(ids)).verdict
        };
        assert_eq!(verdict(before.clone(), &[], Some(&[])), Verdict::Verified);
        assert_eq!(verdict(state(7, "a", &[(7, 70)]), &[8], Some(&[])), Verdict::Verified);
        assert_eq!(verdict(state(7, "a", &[(7, 70)]), &[], Some(&[])), Verdict::Failed);
        assert_eq!(verdict(state(7, "a", &[(7, 71)]), &[8], Some(&[])), Verdict::Failed);
        assert_eq!(verdict(state(7, "a", &[(7, 71)]), &[8], Some(&[7])), Verdict::Verified);
        assert_eq!(verdict(state(7, "b", &[(7, 70)]), &[8], Some(&[7])), Verdict::Failed);
        assert_eq!(
            verdict(state(6, "a", &[(7, 70), (8, 80)]), &[7, 8], Some(&[])),
            Verdict::Failed
        );
        assert_eq!(verdict(before.clone(), &[], None), Verdict::CouldNotVerify);
    }

    #[test]
    fn a_missing_promise_and_what_could_not_be_read_do_not_pass() {
        let before = state(8, "a", &[]);
        assert_eq!(rows_check(&before, Ok(before.clone())).verdict, Verdict::Verified);
        let broken = rows_check(&before, Err(DrillError::Interrupted));
        assert_eq!(broken.verdict, Verdict::CouldNotVerify);
        assert_eq!(promises_check("t", Ok((0, 3))).verdict, Verdict::Verified);
        assert_eq!(promises_check("t", Ok((1, 3))).verdict, Verdict::Failed);
        assert_eq!(promises_check("t", Ok((0, 0))).verdict, Verdict::NotRun);
    }
}
