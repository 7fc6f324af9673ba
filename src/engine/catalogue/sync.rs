//! Sends the catalogue what it lacks. Owns the order and the batches; changes nothing but the
//! catalogue, and there it only adds.

use super::rows::{self, EntryRow, Journalled};
use super::{CatalogueError, connection};
use crate::engine::config::Config;
use crate::engine::copies;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::store::{Listed, Store};
use crate::engine::postgres::connect::Session;
use crate::engine::repository::anchor::Anchored;
use crate::engine::repository::{Repository, SetDescriptor};
use crate::engine::runner::failpoint;
use serde::Serialize;
use std::collections::BTreeSet;
use std::path::Path;
use tokio::runtime::Handle;

/// Rows of one transaction.
const BATCH: usize = 200;

/// What was sent, and what could not be.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Synced {
    /// Rows that were not there before.
    pub audit_log: u64,
    pub backup_metadata: u64,
    pub recovery_records: u64,
    /// What was left out, and why; the rest was sent.
    pub left_out: Vec<Explanation>,
}

/// Sends all that this machine knows: incidents, the compliance record, backups of all repositories
/// that can be asked.
///
/// # Errors
/// Where the catalogue cannot be used, or fails on the way: what was sent by then stays.
pub fn everything(config: &Config, runtime: &Handle) -> Result<Synced, CatalogueError> {
    let catalogue = connection::configured(config)?;
    let mut session = runtime.block_on(connection::ready(catalogue))?;
    let mut synced = Synced::default();
    let state = config.state_directory();
    match Store::new(&state).list() {
        Ok(listed) => {
            for one in listed.into_iter().rev() {
                let folder = match one {
                    Listed::Whole(summary) => summary.folder,
                    Listed::Damaged { explanation, .. } => {
                        synced.left_out.push(explanation);
                        continue;
                    }
                };
                synced.take(runtime.block_on(incident(&mut session, &folder)))?;
            }
        }
        Err(error) => synced.left_out.push(error.explanation()),
    }
    match rows::recoveries(&state) {
        Ok(lines) => {
            synced.recovery_records = runtime.block_on(recoveries(&mut session, &lines))?;
        }
        Err(error) => synced.left_out.push(error.explanation()),
    }
    for cluster in &config.clusters {
        for (settings, opened) in copies::open_all(config, cluster) {
            let sent = opened.and_then(|repository| {
                let names = repository.set_names().map_err(|e| e.explanation())?;
                Ok((repository, names))
            });
            match sent {
                Ok((repository, names)) => {
                    let sending = backups(
                        &mut session,
                        &repository,
                        &cluster.name,
                        &settings.name,
                        &names,
                        &mut synced.left_out,
                    );
                    synced.backup_metadata += runtime.block_on(sending)?;
                }
                Err(error) => synced.left_out.push(error),
            }
        }
    }
    Ok(synced)
}

impl Synced {
    /// A journal that is wrong is left out; a catalogue that fails ends the work.
    fn take(&mut self, sent: Result<u64, CatalogueError>) -> Result<(), CatalogueError> {
        match sent {
            Ok(rows) => self.audit_log += rows,
            Err(error @ (CatalogueError::Differs { .. } | CatalogueError::Source(_))) => {
                self.left_out.push(error.explanation());
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Sends what the catalogue lacks of one incident; how many rows were new.
///
/// # Errors
/// [`CatalogueError::Differs`] where it has another history of the incident: nothing is sent then.
pub async fn incident(session: &mut Session, folder: &Path) -> Result<u64, CatalogueError> {
    let Some(journalled) = rows::journalled(folder)? else { return Ok(0) };
    let Journalled { incident, cluster, rows } = journalled;
    let known = newest(session, &incident).await?;
    let from = match &known {
        None => 0,
        Some((seq, hash)) => {
            let at = usize::try_from(*seq).unwrap_or(usize::MAX);
            if rows.get(at.saturating_sub(1)).is_none_or(|row| row.hash != *hash) {
                return Err(CatalogueError::Differs { incident, seq: *seq });
            }
            at
        }
    };
    let mut sent = 0;
    let mut first = from + 1;
    for batch in rows.get(from..).unwrap_or_default().chunks(BATCH) {
        sent += add(session, &incident, &cluster, first, batch).await?;
        failpoint::hit("catalogue.after_batch");
        first += batch.len();
    }
    Ok(sent)
}

/// The newest entry of an incident that the catalogue has.
async fn newest(
    session: &Session,
    incident: &str,
) -> Result<Option<(u64, String)>, CatalogueError> {
    let doing = "Asking the catalogue what it has";
    let row = session
        .query_opt(
            "SELECT seq, hash FROM lifeboat.audit_log WHERE incident = $1 \
             ORDER BY seq DESC, id DESC LIMIT 1",
            &[&incident],
        )
        .await
        .map_err(CatalogueError::sql(doing))?;
    let Some(row) = row else { return Ok(None) };
    let seq: i64 = row.try_get(0).map_err(CatalogueError::sql(doing))?;
    let hash = row.try_get(1).map_err(CatalogueError::sql(doing))?;
    Ok(Some((seq.unsigned_abs(), hash)))
}

async fn add(
    session: &mut Session,
    incident: &str,
    cluster: &str,
    first: usize,
    rows: &[EntryRow],
) -> Result<u64, CatalogueError> {
    let doing = format!("Sending entries of {incident}");
    let sql = |doing: &str| CatalogueError::sql(doing.to_owned());
    let numbers: Vec<i64> =
        (first..).take(rows.len()).map(|n| i64::try_from(n).unwrap_or(i64::MAX)).collect();
    let column = |of: fn(&EntryRow) -> &str| rows.iter().map(of).collect::<Vec<&str>>();
    let times: Vec<_> = rows.iter().map(|row| row.at).collect();
    let work = session.transaction().await.map_err(sql(&doing))?;
    let sent = work
        .execute(
            "INSERT INTO lifeboat.audit_log \
                 (incident, cluster, seq, hash, actor, actor_role, action, detail, created_at) \
             SELECT $1, $2, s.seq, s.hash, s.actor, s.actor_role, s.action, s.detail::jsonb, s.at \
               FROM unnest($3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], \
                           $8::text[], $9::timestamptz[]) \
                 AS s (seq, hash, actor, actor_role, action, detail, at) \
              ORDER BY s.seq \
             ON CONFLICT (incident, seq, hash) DO NOTHING",
            &[
                &incident,
                &cluster,
                &numbers,
                &column(|row| &row.hash),
                &column(|row| &row.actor),
                &column(|row| &row.role),
                &column(|row| &row.action),
                &column(|row| &row.detail),
                &times,
            ],
        )
        .await
        .map_err(sql(&doing))?;
    failpoint::hit("catalogue.before_commit");
    work.commit().await.map_err(sql(&doing))?;
    Ok(sent)
}

async fn recoveries(
    session: &mut Session,
    lines: &[(String, crate::engine::ledger::Line<crate::engine::compliance::Recovery>)],
) -> Result<u64, CatalogueError> {
    let mut sent = 0;
    for (hash, line) in lines {
        let one = &line.entry;
        let whole = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        let tier = serde_json::to_value(one.tier).ok();
        let tier = tier.as_ref().and_then(|tier| tier.as_str()).unwrap_or_default().to_owned();
        sent += session
            .execute(
                "INSERT INTO lifeboat.recovery_records \
                     (hash, seq, cluster, tier, incident, success, rpo_seconds, rto_seconds, \
                      rpo_target_seconds, rto_target_seconds, rpo_met, rto_met, note, recorded_by, \
                      created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) \
                 ON CONFLICT (hash) DO NOTHING",
                &[
                    hash,
                    &whole(line.seq),
                    &one.cluster,
                    &tier,
                    &one.incident,
                    &one.success,
                    &whole(one.rpo_seconds),
                    &whole(one.rto_seconds),
                    &whole(one.rpo_target_seconds),
                    &whole(one.rto_target_seconds),
                    &one.rpo_met,
                    &one.rto_met,
                    &one.note,
                    &one.recorded_by,
                    &line.at,
                ],
            )
            .await
            .map_err(CatalogueError::sql("Sending the compliance record"))?;
    }
    Ok(sent)
}

async fn backups(
    session: &mut Session,
    repository: &Repository,
    cluster: &str,
    name: &str,
    sets: &[String],
    left_out: &mut Vec<Explanation>,
) -> Result<u64, CatalogueError> {
    let doing = "Asking the catalogue which backups it has";
    let known = session
        .query(
            "SELECT backup_set_id FROM lifeboat.backup_metadata \
              WHERE cluster = $1 AND repository = $2",
            &[&cluster, &name],
        )
        .await
        .map_err(CatalogueError::sql(doing))?;
    let known: BTreeSet<String> =
        known.iter().filter_map(|row| row.try_get::<_, String>(0).ok()).collect();
    let mut sent = 0;
    for set in sets.iter().filter(|set| !known.contains(*set)) {
        match repository.read_set(set) {
            Ok(found) => sent += backup(session, cluster, name, &found).await?,
            Err(error) => left_out.push(error.explanation()),
        }
    }
    Ok(sent)
}

async fn backup(
    session: &Session,
    cluster: &str,
    repository: &str,
    set: &SetDescriptor,
) -> Result<u64, CatalogueError> {
    let whole = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let number = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
    session
        .execute(
            "INSERT INTO lifeboat.backup_metadata \
                 (cluster, repository, backup_set_id, system_identifier, server_version, timeline, \
                  start_lsn, stop_lsn, data_bytes, stored_bytes, cipher, created_at, finished_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7::text::pg_lsn, $8::text::pg_lsn, $9, $10, $11, \
                     $12, $13) \
             ON CONFLICT (cluster, repository, backup_set_id) DO NOTHING",
            &[
                &cluster,
                &repository,
                &set.set,
                &set.system_identifier.to_string(),
                &number(set.server_version_num),
                &number(set.timeline),
                &set.start_lsn.to_string(),
                &set.stop_lsn.to_string(),
                &whole(set.data_bytes),
                &whole(set.stored_bytes),
                &set.cipher,
                &set.started,
                &set.finished,
            ],
        )
        .await
        .map_err(CatalogueError::sql(format!("Sending {}", set.set)))
}

/// What the catalogue says of an incident's journal: each of its rows is an anchor.
///
/// # Errors
/// Where it cannot be asked.
pub fn anchored(config: &Config, incident: &str) -> Result<Anchored, CatalogueError> {
    let catalogue = connection::configured(config)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
            CatalogueError::Password(format!("no runtime could be started: {error}"))
        })?;
    runtime.block_on(async {
        let session = connection::ready(catalogue).await?;
        let doing = "Asking the catalogue for the incident";
        let rows = session
            .query(
                "SELECT seq, hash, created_at FROM lifeboat.audit_log WHERE incident = $1",
                &[&incident],
            )
            .await
            .map_err(CatalogueError::sql(doing))?;
        let mut found = Anchored { count: rows.len(), ..Anchored::default() };
        for row in rows {
            let seq: i64 = row.try_get(0).map_err(CatalogueError::sql(doing))?;
            let hash: String = row.try_get(1).map_err(CatalogueError::sql(doing))?;
            found.claim(seq.unsigned_abs(), &hash);
            found.newest = found.newest.max(row.try_get(2).ok());
        }
        Ok(found)
    })
}

/// How many entries of which incidents the catalogue lacks, by name.
///
/// # Errors
/// Where it cannot be asked.
pub async fn owed(
    session: &Session,
    config: &Config,
) -> Result<Vec<(String, u64)>, CatalogueError> {
    let listed = Store::new(&config.state_directory())
        .list()
        .map_err(|error| CatalogueError::Source(error.explanation()))?;
    let mut owed = Vec::new();
    for one in listed {
        let Listed::Whole(summary) = one else { continue };
        let Some(journalled) = rows::journalled(&summary.folder)? else { continue };
        let there = newest(session, &journalled.incident).await?.map_or(0, |(seq, _)| seq);
        let lacking = (journalled.rows.len() as u64).saturating_sub(there);
        if lacking > 0 {
            owed.push((journalled.incident, lacking));
        }
    }
    Ok(owed)
}
