//! `catalogue`: its schema, how it stands, and sending it what it lacks now.

use super::args::Catalogue;
use super::output;
use super::runtime;
use crate::engine::catalogue::{connection, migrate, sync};
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::runner::failpoint;
use serde::Serialize;
use std::process::ExitCode;

#[derive(Debug, Serialize)]
struct Status {
    server: String,
    /// Of its tables.
    version: i32,
    wanted: i32,
    /// The cluster of ours that it lies in.
    inside: Option<String>,
    /// Entries that it lacks, by incident.
    owed: Vec<(String, u64)>,
}

pub(super) fn catalogue(config: &Config, verb: &Catalogue) -> Result<ExitCode, Explanation> {
    match verb {
        Catalogue::Migrate { user, grant_to } => {
            migrated(config, user.as_deref(), grant_to.as_deref())
        }
        Catalogue::Status { json } => status(config, *json),
        Catalogue::Sync { json } => synced(config, *json),
    }
}

fn migrated(
    config: &Config,
    user: Option<&str>,
    writer: Option<&str>,
) -> Result<ExitCode, Explanation> {
    let catalogue = connection::configured(config).map_err(|e| e.explanation())?;
    let (done, inside) = runtime()?.block_on(async {
        let told = |e: crate::engine::catalogue::CatalogueError| e.explanation();
        let mut session = connection::open(catalogue, user).await.map_err(told)?;
        let inside = connection::inside(config, catalogue, &session).await;
        if let Some(cluster) = inside.as_ref().filter(|_| !catalogue.in_recovered_cluster) {
            return Err(Explanation::new(
                crate::engine::explain::Kind::Refused,
                format!("That server is the cluster \"{cluster}\", which Lifeboat recovers."),
                "Nothing was made.",
                "Use another server, since a recovery would take the catalogue back too; or say \
                 in_recovered_cluster = true in [catalogue].",
            ));
        }
        Ok((migrate::migrate(&mut session, writer).await.map_err(told)?, inside))
    })?;
    let server = connection::server(catalogue);
    output::line(&if done.is_empty() {
        format!("{server}: version {} is there already.", migrate::WANTED)
    } else {
        format!("{server}: carried out {}.", done.join(", "))
    })?;
    warn_inside(inside.as_deref());
    Ok(ExitCode::SUCCESS)
}

fn warn_inside(cluster: Option<&str>) {
    if let Some(cluster) = cluster {
        output::warn(&format!(
            "The catalogue lies in the cluster \"{cluster}\" itself: a recovery of that cluster \
             takes it back to the recovery point. What it then lacks is sent again."
        ));
    }
}

fn status(config: &Config, json: bool) -> Result<ExitCode, Explanation> {
    let catalogue = connection::configured(config).map_err(|e| e.explanation())?;
    let status = runtime()?
        .block_on(async {
            let session = connection::open(catalogue, None).await?;
            let version = migrate::version(&session).await?;
            let inside = connection::inside(config, catalogue, &session).await;
            let owed = if version == migrate::WANTED {
                sync::owed(&session, config).await?
            } else {
                Vec::new()
            };
            let server = connection::server(catalogue);
            Ok(Status { server, version, wanted: migrate::WANTED, inside, owed })
        })
        .map_err(|e: crate::engine::catalogue::CatalogueError| e.explanation())?;
    let good = status.version == status.wanted && status.owed.is_empty();
    if json {
        output::json(&status)?;
    } else {
        output::line(&format!(
            "{}: version {} of its tables, {} is needed",
            status.server, status.version, status.wanted
        ))?;
        if status.version < status.wanted {
            output::line("Run: lifeboat catalogue migrate")?;
        }
        for (incident, rows) in &status.owed {
            output::line(&format!("{incident}: {rows} entries are not there yet"))?;
        }
        if good {
            output::line("Every entry of every incident on this machine is there.")?;
        }
        warn_inside(status.inside.as_deref());
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::from(super::status::PROBLEM) })
}

fn synced(config: &Config, json: bool) -> Result<ExitCode, Explanation> {
    let drill = |environment: &str| environment == "drill";
    failpoint::arm(config.clusters.iter().all(|cluster| drill(&cluster.environment)))?;
    let runtime = runtime()?;
    let synced = sync::everything(config, runtime.handle()).map_err(|e| e.explanation())?;
    if json {
        output::json(&synced)?;
    } else {
        output::line(&format!(
            "Sent: {} entries of incidents, {} backups, {} records of recoveries.",
            synced.audit_log, synced.backup_metadata, synced.recovery_records
        ))?;
        for one in &synced.left_out {
            output::warn(&format!("left out: {one}"));
        }
    }
    let whole = synced.left_out.is_empty();
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(super::status::PROBLEM) })
}
