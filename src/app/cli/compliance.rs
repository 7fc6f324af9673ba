//! `record-recovery`: adds to the compliance record, and shows it.

use super::args::RecordRecovery;
use super::cluster;
use super::output;
use crate::engine::compliance::{self, Recovery, Said};
use crate::engine::config::Config;
use crate::engine::desk;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::store::{self, Store};
use crate::engine::ledger::Line;
use crate::engine::postgres::discovery::Owner;
use crate::engine::runbook::Runbook;
use std::process::ExitCode;

pub(super) fn record(config: &Config, args: &RecordRecovery) -> Result<ExitCode, Explanation> {
    if args.list {
        return list(config, args.json);
    }
    let (Some(success), Some(rpo_minutes), Some(rto_minutes)) =
        (args.success, args.rpo_minutes, args.rto_minutes)
    else {
        return Err(unsaid());
    };
    let named = match (&args.cluster, &args.incident_id) {
        (None, Some(incident)) if config.clusters.len() > 1 => Some(cluster_of(config, incident)?),
        (named, _) => named.clone(),
    };
    let cluster = match &named {
        Some(name) => desk::named(config, name)?,
        None => cluster(config, None)?,
    };
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let said = Said {
        cluster: cluster.name.clone(),
        tier: cluster.tier,
        success,
        rpo_minutes,
        rto_minutes,
        incident: args.incident_id.clone(),
        note: args.note.clone(),
    };
    let user = Owner::current();
    let user = user.name.unwrap_or_else(|| format!("user {}", user.uid));
    let recovery = Recovery::of(said, &runbook, &user);
    let line =
        compliance::record(&config.state_directory(), recovery).map_err(|e| e.explanation())?;
    if args.json {
        output::json(&line)?;
    } else {
        output::line(&format!("Recorded: {}", row(&line)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn unsaid() -> Explanation {
    Explanation::new(
        Kind::Config,
        "A recovery is recorded with --success, --rpo-minutes and --rto-minutes.",
        "Nothing was recorded.",
        "Say all three, or --list to see what was recorded.",
    )
}

fn cluster_of(config: &Config, incident: &str) -> Result<String, Explanation> {
    let folder =
        Store::new(&config.state_directory()).folder(incident).map_err(|e| e.explanation())?;
    store::declaration(&folder)
        .map(|(declaration, _)| declaration.cluster)
        .map_err(|e| e.explanation())
}

fn list(config: &Config, json: bool) -> Result<ExitCode, Explanation> {
    let lines = compliance::history(&config.state_directory()).map_err(|e| e.explanation())?;
    if json {
        output::json(&serde_json::json!({ "recoveries": lines }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if lines.is_empty() {
        output::line("No recovery was recorded.")?;
    }
    lines.iter().try_for_each(|line| output::line(&row(line)))?;
    Ok(ExitCode::SUCCESS)
}

fn row(line: &Line<Recovery>) -> String {
    let one = &line.entry;
    let met = |met, seconds: u64, target: u64| {
        let word = if met { "met" } else { "MISSED" };
        format!("{:.1} of {:.1} min, {word}", seconds as f64 / 60.0, target as f64 / 60.0)
    };
    let more = [one.incident.as_deref(), one.note.as_deref()];
    let more: Vec<&str> = more.into_iter().flatten().collect();
    format!(
        "{:.0} (UTC)  {}  {:?}  {}  RPO {}; RTO {}  by {}  {}",
        line.at,
        one.cluster,
        one.tier,
        if one.success { "success" } else { "FAILED" },
        met(one.rpo_met, one.rpo_seconds, one.rpo_target_seconds),
        met(one.rto_met, one.rto_seconds, one.rto_target_seconds),
        one.recorded_by,
        more.join("  ")
    )
    .trim_end()
    .to_owned()
}
