//! Assessment: asks the server and the cluster's own probes. Changes nothing: every session is
//! read only and every question has a limit.

use crate::engine::config::{Cluster, Connection, Probe};
use crate::engine::explain::Explain;
use crate::engine::incident::facts::{Check, ServerProbe};
use crate::engine::masking::Masking;
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use crate::engine::postgres::discovery;
use crate::engine::validate::check::{Begun, begin};
use jiff::Timestamp;
use std::time::Duration;
use tokio_postgres::{Column, SimpleQueryMessage};

/// A probe's statement may take this long.
const PROBE_LIMIT: Duration = Duration::from_secs(30);

/// Asks the server who it is and where it stands, and reads the identity from its files. Never
/// fails: what could not be learnt is said.
pub async fn probe_server(cluster: &Cluster) -> ServerProbe {
    let (identity, unread) = match discovery::identity(&cluster.data_directory) {
        Ok(identity) => (Some(identity), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let mut probe = ServerProbe {
        at: Timestamp::now(),
        reachable: false,
        version: None,
        now: None,
        current_lsn: None,
        sessions: None,
        identity,
        error: None,
    };
    let options = ConnectOptions::default().read_only();
    let unanswered = match connect::connect(&cluster.connection, &options).await {
        Ok(session) => ask(&session, &mut probe).await.err().map(|error| connect::reason(&error)),
        Err(error) => Some(error.explanation().to_string()),
    };
    let errors: Vec<String> = unanswered.into_iter().chain(unread).collect();
    probe.error = (!errors.is_empty()).then(|| errors.join(" "));
    probe
}

async fn ask(session: &Session, probe: &mut ServerProbe) -> Result<(), tokio_postgres::Error> {
    let row = session
        .query_one(
            "SELECT now(), version(),
                    (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                          ELSE pg_current_wal_lsn() END)::text,
                    (SELECT count(*) FROM pg_stat_activity
                      WHERE backend_type = 'client backend' AND application_name <> $1)",
            &[&connect::APPLICATION_NAME],
        )
        .await?;
    probe.reachable = true;
    probe.now = row.try_get(0)?;
    probe.version = row.try_get(1)?;
    let lsn: Option<String> = row.try_get(2)?;
    probe.current_lsn = lsn.and_then(|text| text.parse().ok());
    let sessions: i64 = row.try_get(3)?;
    probe.sessions = u32::try_from(sessions).ok();
    Ok(())
}

/// The cluster's own integrity probes; where none are configured, the runbook's: tables present,
/// indexes valid, rows of the last hour.
pub async fn run_probes(cluster: &Cluster) -> Vec<Check> {
    run_probes_on(&cluster.connection, cluster).await
}

/// As [`run_probes`], on another server of the cluster: a recovered one that is still closed.
pub async fn run_probes_on(connection: &Connection, cluster: &Cluster) -> Vec<Check> {
    if cluster.probes.is_empty() {
        return defaults(connection, cluster).await;
    }
    let masking = Masking::of(&cluster.masking);
    let mut checks = Vec::with_capacity(cluster.probes.len());
    for probe in &cluster.probes {
        checks.push(run_probe(connection, probe, &masking).await);
    }
    checks
}

async fn run_probe(connection: &Connection, probe: &Probe, masking: &Masking) -> Check {
    let begun = begin(format!("probe:{}", probe.name), &probe.name);
    match answer(connection, probe.database.as_deref(), &probe.sql).await {
        Ok(answer) => judge(begun, probe, &answer, masking),
        Err(reason) => {
            let reason = masking.server_words(&reason);
            let why = format!("The probe could not be run: {reason}");
            // Which column it would have been is not known, nor whether what is expected shows it.
            match expectation(probe).filter(|_| masking.is_empty() && probe.mask.is_none()) {
                Some(text) => begun.expected(text),
                None => begun,
            }
            .could_not_verify(why)
        }
    }
}

/// What a probe was answered.
#[derive(Debug, Default)]
struct Answer {
    value: String,
    /// The answer's column as the query names it.
    name: String,
    /// `schema.table` and the column that it is, where it is one.
    origin: Option<(String, String)>,
}

fn expectation(probe: &Probe) -> Option<String> {
    match (&probe.expect, probe.at_least, probe.at_most) {
        (Some(text), ..) => Some(text.clone()),
        (None, Some(least), Some(most)) => Some(format!("from {least} to {most}")),
        (None, Some(least), None) => Some(format!("at least {least}")),
        (None, None, Some(most)) => Some(format!("at most {most}")),
        (None, None, None) => None,
    }
}

/// Judges the answer itself, and shows of it what the rules let be shown.
fn judge(begun: Begun, probe: &Probe, answer: &Answer, masking: &Masking) -> Check {
    let origin = answer.origin.as_ref().map(|(table, column)| (table.as_str(), column.as_str()));
    let mask = probe.mask.as_ref().or_else(|| masking.of_answer(origin, &answer.name));
    let value = answer.value.as_str();
    let begun = begun.found(masking.shown(mask, value));
    // What is expected to be equal to a hidden value would tell it. Bounds do not.
    let begun = match expectation(probe) {
        Some(text) if probe.expect.is_some() => begun.expected(masking.shown(mask, &text)),
        Some(text) => begun.expected(text),
        None => begun,
    };
    if let Some(expect) = &probe.expect {
        return if expect == value {
            begun.verified("It is as expected.")
        } else {
            begun.failed("It is not what the configuration expects.")
        };
    }
    if probe.at_least.is_none() && probe.at_most.is_none() {
        return begun.not_run("The configuration does not say what to expect.");
    }
    // Sums and averages come as decimals.
    let Ok(number) = value.parse::<f64>() else {
        return begun.could_not_verify("The answer is not a number, so it has no bounds.");
    };
    #[allow(clippy::cast_precision_loss, reason = "bounds are for people")]
    let (low, high) = (
        probe.at_least.is_some_and(|least| number < least as f64),
        probe.at_most.is_some_and(|most| number > most as f64),
    );
    match (low, high) {
        _ if number.is_nan() => begun.could_not_verify("The answer is not a number."),
        (true, _) => begun.failed("It is less than expected."),
        (_, true) => begun.failed("It is more than expected."),
        (false, false) => begun.verified("It is within its bounds."),
    }
}

/// One value of one row as text.
async fn answer(
    connection: &Connection,
    database: Option<&str>,
    sql: &str,
) -> Result<Answer, String> {
    let mut options = ConnectOptions::default().read_only().statement_limit(Some(PROBE_LIMIT));
    options.database = database.map(ToOwned::to_owned);
    let session =
        connect::connect(connection, &options).await.map_err(|error| error.to_string())?;
    let told = |error: tokio_postgres::Error| connect::reason(&error);
    session.batch_execute("BEGIN READ ONLY").await.map_err(told)?;
    // Preparing refuses a text of several statements, which could end the transaction.
    let statement = session.prepare(sql).await.map_err(told)?;
    let [column] = statement.columns() else {
        return Err(format!("it gives {} columns, not one", statement.columns().len()));
    };
    let origin = origin(&session, column).await.map_err(told)?;
    let rows: Vec<Option<String>> = session
        .simple_query(sql)
        .await
        .map_err(told)?
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).map(ToOwned::to_owned)),
            _ => None,
        })
        .collect();
    match rows.as_slice() {
        [Some(value)] => {
            Ok(Answer { value: value.clone(), name: column.name().to_owned(), origin })
        }
        [None] => Err(String::from("the answer is NULL")),
        rows => Err(format!("it gives {} rows, not one", rows.len())),
    }
}

/// The table's column that an answer's column is; `None` where it is computed.
async fn origin(
    session: &Session,
    column: &Column,
) -> Result<Option<(String, String)>, tokio_postgres::Error> {
    let (Some(table), Some(number)) = (column.table_oid(), column.column_id()) else {
        return Ok(None);
    };
    let row = session
        .query_opt(
            "SELECT n.nspname || '.' || c.relname, a.attname::text \
               FROM pg_catalog.pg_attribute a \
               JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
              WHERE a.attrelid = $1 AND a.attnum = $2",
            &[&table, &number],
        )
        .await?;
    row.map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).transpose()
}

async fn defaults(connection: &Connection, cluster: &Cluster) -> Vec<Check> {
    let options = ConnectOptions::default().read_only().statement_limit(Some(PROBE_LIMIT));
    let session = match connect::connect(connection, &options).await {
        Ok(session) => session,
        Err(error) => {
            let begun = begin("probe:connection", "The database can be asked");
            return vec![begun.could_not_verify(error.explanation().to_string())];
        }
    };
    let mut checks = vec![tables_present(&session, cluster).await, invalid_indexes(&session).await];
    checks.extend(recent_rows(&session).await);
    checks
}

async fn tables_present(session: &Session, cluster: &Cluster) -> Check {
    let begun = begin("probe:tables", "Tables are there");
    if cluster.tables.is_empty() {
        let sql = "SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                   WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^pg_'
                     AND n.nspname <> 'information_schema'";
        return match session.query_one(sql, &[]).await.and_then(|row| row.try_get::<_, i64>(0)) {
            Ok(0) => begun
                .found("0 tables")
                .could_not_verify("The database has no tables; list those that matter in tables."),
            Ok(count) => begun
                .found(format!("{count} tables"))
                .verified("Whether they are all of them is not known: list them in tables."),
            Err(error) => begun.could_not_verify(connect::reason(&error)),
        };
    }
    let begun = begun.expected(format!("{} tables", cluster.tables.len()));
    let sql = "SELECT coalesce(array_agg(t), '{}') FROM unnest($1::text[]) AS t
               WHERE to_regclass(t) IS NULL";
    match session.query_one(sql, &[&cluster.tables]).await.and_then(|row| row.try_get(0)) {
        Ok(missing) => {
            let missing: Vec<String> = missing;
            let there = cluster.tables.len().saturating_sub(missing.len());
            let begun = begun.found(format!("{there} tables"));
            if missing.is_empty() {
                begun.verified("Every table of the configuration is there.")
            } else {
                begun.failed(format!("Missing: {}.", missing.join(", ")))
            }
        }
        Err(error) => begun.could_not_verify(connect::reason(&error)),
    }
}

async fn invalid_indexes(session: &Session) -> Check {
    let begun = begin("probe:indexes", "Indexes are valid").expected("0 invalid");
    let sql = "SELECT coalesce(array_agg(indexrelid::regclass::text ORDER BY 1), '{}')
               FROM pg_index WHERE NOT (indisvalid AND indisready)";
    match session.query_one(sql, &[]).await.and_then(|row| row.try_get(0)) {
        Ok(invalid) => {
            let invalid: Vec<String> = invalid;
            let begun = begun.found(format!("{} invalid", invalid.len()));
            if invalid.is_empty() {
                begun.verified("No index is marked invalid.")
            } else {
                begun.failed(format!("Rebuild with REINDEX: {}.", invalid.join(", ")))
            }
        }
        Err(error) => begun.could_not_verify(connect::reason(&error)),
    }
}

async fn recent_rows(session: &Session) -> Vec<Check> {
    let sql = "SELECT format('%I.%I', n.nspname, c.relname)
               FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
                    JOIN pg_namespace n ON n.oid = c.relnamespace
               WHERE a.attname = 'created_at' AND a.atttypid = 'timestamptz'::regtype
                 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND NOT c.relispartition
                 AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
               ORDER BY 1 LIMIT 50";
    let tables = match session.query(sql, &[]).await {
        Ok(rows) => rows,
        Err(error) => {
            let begun = begin("probe:recent", "Rows of the last hour");
            return vec![begun.could_not_verify(connect::reason(&error))];
        }
    };
    let mut checks = Vec::with_capacity(tables.len());
    for table in tables.iter().filter_map(|row| row.try_get::<_, String>(0).ok()) {
        let begun =
            begin(format!("probe:recent:{table}"), format!("{table}: rows of the last hour"));
        let sql =
            format!("SELECT count(*) FROM {table} WHERE created_at > now() - interval '1 hour'");
        checks.push(match session.query_one(&sql, &[]).await.and_then(|row| row.try_get(0)) {
            Ok(0_i64) => begun.found("0").could_not_verify(
                "No row was created in the last hour. Whether that is right, only you can say.",
            ),
            Ok(count) => begun.found(count.to_string()).verified("Rows were created."),
            Err(error) => begun.could_not_verify(connect::reason(&error)),
        });
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::masking::{Mask, MaskingRule};
    use crate::engine::incident::facts::Verdict;

    fn verdict(
        expect: Option<&str>,
        least: Option<i64>,
        most: Option<i64>,
        value: &str,
    ) -> Verdict {
        let probe = Probe {
            name: String::from("p"),
            database: None,
            sql: String::new(),
            expect: expect.map(String::from),
            at_least: least,
            at_most: most,
            mask: None,
        };
        let answer = Answer { value: value.to_owned(), ..Answer::default() };
        judge(begin("p", "p"), &probe, &answer, &Masking::default()).verdict
    }

    #[test]
    fn a_masked_answer_is_judged_as_it_is_and_shown_as_the_rules_say() {
        let rule = |column: &str, rule| MaskingRule {
            table: String::from("public.people"),
            column: column.to_owned(),
            rule,
        };
        let masking = Masking::of(&[rule("email", Mask::Hide), rule("name", Mask::Hash)]);
        let told = |name: &str, expect: Option<&str>, mask: Option<Mask>| {
            let probe = Probe {
                name: String::from("p"),
                database: None,
                sql: String::new(),
                expect: expect.map(String::from),
                at_least: None,
                at_most: None,
                mask,
            };
            let value = String::from("ada@example.org");
            let answer = Answer { value, name: name.to_owned(), origin: None };
            let check = judge(begin("p", "p"), &probe, &answer, &masking);
            let words = serde_json::to_string(&check).unwrap();
            (check, words)
        };
        let (good, words) = told("email", Some("ada@example.org"), None);
        assert_eq!(good.verdict, Verdict::Verified);
        assert!(!words.contains("ada") && !words.contains("example"), "{words}");
        let (hashed, words) = told("name", Some("ada@example.org"), None);
        assert_eq!(hashed.found, hashed.expected, "equal values are seen to be equal");
        assert!(!words.contains("ada"), "{words}");
        // A value that was computed has no column: the probe itself says how it is shown.
        let (shown, _) = told("max", None, None);
        assert_eq!(shown.found.as_deref(), Some("ada@example.org"));
        let (hidden, words) = told("max", Some("bob"), Some(Mask::Hide));
        assert_eq!(hidden.verdict, Verdict::Failed);
        assert!(!words.contains("ada") && !words.contains("bob"), "{words}");
    }

    #[test]
    fn a_probe_passes_only_on_its_expectation() {
        assert_eq!(verdict(Some("7"), None, None, "7"), Verdict::Verified);
        assert_eq!(verdict(Some("7"), None, None, "8"), Verdict::Failed);
        assert_eq!(verdict(None, Some(1), Some(3), "1"), Verdict::Verified);
        assert_eq!(verdict(None, Some(1), Some(3), "3.5"), Verdict::Failed);
        assert_eq!(verdict(None, Some(1), None, "0"), Verdict::Failed);
        assert_eq!(verdict(None, Some(1), None, "many"), Verdict::CouldNotVerify);
        assert_eq!(verdict(None, None, Some(1), "NaN"), Verdict::CouldNotVerify);
        assert_eq!(verdict(None, None, None, "8"), Verdict::NotRun);
    }
}
