//! `backup`, `list-backups`, `find-backup`, `create-repository`.

use super::args::Common;
use super::output::{self, Bar};
use super::{cluster, opened, repository_config, time};
use crate::engine::backup;
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::BaseSummary;
use crate::engine::repository::Repository;
use humansize::{DECIMAL, format_size};
use serde::Serialize;
use std::process::ExitCode;

pub(super) fn take(config: &Config, common: &Common) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, common.cluster.as_deref())?;
    let repository = opened(config, cluster, common.repository.as_deref())?;
    let bar = Bar::new(common.json);
    let options = backup::Options::default();
    let taken =
        backup::run(cluster, &repository, &options, &|progress| bar.show(&progress), &|| false);
    bar.finish();
    let taken = taken.map_err(|e| e.explanation())?;
    let base = taken.descriptor.summary(&repository.config.name);
    if common.json {
        output::json(&serde_json::json!({
            "backup": base,
            "files": taken.files,
            "seconds": taken.seconds,
            "warnings": taken.warnings,
            "bad_pages": taken.bad_pages,
        }))?;
    } else {
        output::line(&format!("{} in {:.1} s", row(&base), taken.seconds))?;
        for warning in &taken.warnings {
            output::line(&format!("! {warning}"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn list(
    config: &Config,
    common: &Common,
    before: Option<&str>,
    limit: usize,
) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, common.cluster.as_deref())?;
    let repository = opened(config, cluster, common.repository.as_deref())?;
    let before = before.map(time).transpose()?;
    let (mut bases, faults) = repository.bases().map_err(|e| e.explanation())?;
    bases.retain(|base| before.is_none_or(|before| base.finished < before));
    bases.reverse();
    bases.truncate(limit);
    if common.json {
        #[derive(Serialize)]
        struct Listing {
            backups: Vec<BaseSummary>,
            faults: Vec<Explanation>,
        }
        output::json(&Listing { backups: bases, faults: faults.clone() })?;
    } else {
        if bases.is_empty() {
            output::line("No backup.")?;
        }
        for base in &bases {
            output::line(&row(base))?;
        }
        for fault in &faults {
            output::line(&format!("! {fault}"))?;
        }
    }
    // A set that cannot be read is not a list that is whole.
    Ok(if faults.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Kind::Integrity.exit_code())
    })
}

pub(super) fn row(base: &BaseSummary) -> String {
    format!(
        "{}  {:.0} to {:.0} (UTC)  {:>10} ({} stored)  LSN {} to {}, timeline {}, PostgreSQL {}{}",
        base.set,
        base.started,
        base.finished,
        format_size(base.size, DECIMAL),
        format_size(base.stored, DECIMAL),
        base.start_lsn,
        base.stop_lsn,
        base.timeline,
        base.version,
        if base.encrypted { ", encrypted" } else { "" },
    )
}

pub(super) fn find(
    config: &Config,
    common: &Common,
    before: &str,
) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, common.cluster.as_deref())?;
    let repository = opened(config, cluster, common.repository.as_deref())?;
    let before = time(before)?;
    let (bases, faults) = repository.bases().map_err(|e| e.explanation())?;
    // A target inside a backup's own time cannot be reached from it.
    let Some(base) = bases.iter().rev().find(|base| base.finished < before) else {
        // One that cannot be opened may be the one.
        if let Some(fault) = faults.into_iter().next() {
            return Err(fault);
        }
        return Err(Explanation::new(
            Kind::NotFound,
            format!("No backup ended before {before:.0} (UTC)."),
            "Nothing was touched.",
            "The earliest reachable time is the end of the oldest backup: lifeboat list-backups.",
        ));
    };
    if common.json {
        output::json(base)?
    } else {
        output::line(&row(base))?
    }
    Ok(ExitCode::SUCCESS)
}

/// The named repository, or all of the cluster's.
pub(super) fn create_repository(config: &Config, common: &Common) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, common.cluster.as_deref())?;
    let names: Vec<&str> = match &common.repository {
        Some(name) => vec![name.as_str()],
        None => cluster.repositories.iter().map(String::as_str).collect(),
    };
    let mut made = Vec::new();
    for name in names {
        let settings = repository_config(config, cluster, Some(name))?;
        let repository =
            Repository::create(settings, &cluster.name).map_err(|e| e.explanation())?;
        let place = repository.store.describe();
        if !common.json {
            output::line(&format!("The repository \"{name}\" is at {place}."))?;
        }
        made.push(serde_json::json!({ "repository": name, "place": place }));
    }
    if common.json {
        // The first one's members stand at the top too, as for a cluster with one repository.
        let mut all = made.first().cloned().unwrap_or_default();
        if let Some(members) = all.as_object_mut() {
            members.insert(String::from("repositories"), serde_json::Value::Array(made));
        }
        output::json(&all)?;
    }
    Ok(ExitCode::SUCCESS)
}
