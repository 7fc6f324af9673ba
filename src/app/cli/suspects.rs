//! `suspects`: which transaction may have done the damage, and the target just before it. Reads
//! WAL and names alone; changes nothing.

use super::args;
use super::output::{self, Bar};
use super::{cluster, repository_config, runtime, time};
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::TargetPoint;
use crate::engine::recovery_point::{
    Culprit, Culprits, Edge, Landscape, Symptom, SymptomKind, gather, live,
};
use crate::engine::runner::protocol::{Progress, Unit};
use crate::engine::wal::inspect::ScanProgress;
use humansize::{DECIMAL, format_size};
use jiff::Timestamp;
use std::process::ExitCode;

pub(super) fn suspects(config: &Config, args: &args::Suspects) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, args.common.cluster.as_deref())?;
    if args.common.repository.is_some() {
        repository_config(config, cluster, args.common.repository.as_deref())?;
    }
    let mut inputs = gather::inputs(config, cluster, args.common.repository.as_deref());
    inputs.symptom = symptom(args)?;
    let (names, unanswered) = runtime()?.block_on(live::relations(&cluster.connection));
    inputs.live = Some(names);
    let bar = Bar::new(args.common.json);
    let progress = |scan: ScanProgress| bar.show(&told(scan, "suspects"));
    let found = Landscape::build(inputs, &progress, &|| false)
        .and_then(|landscape| landscape.culprits(args.limit, &progress, &|| false));
    bar.finish();
    let mut found = found.map_err(|e| e.explanation())?;
    found.warnings.extend(unanswered);
    if args.common.json {
        output::json(&Printed::from(&found, cluster))?;
    } else {
        show(&found, cluster)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn symptom(args: &args::Suspects) -> Result<Symptom, Explanation> {
    let kind = match args.kind {
        args::SymptomWord::RowsGone => SymptomKind::RowsGone,
        args::SymptomWord::RowsWrong => SymptomKind::RowsWrong,
        args::SymptomWord::TableGone => SymptomKind::TableGone,
        args::SymptomWord::DatabaseGone => SymptomKind::DatabaseGone,
        args::SymptomWord::Unknown => SymptomKind::Unknown,
    };
    let edge = |text: &String| {
        if text.contains('/') && !text.contains(':') && !text.contains('-') {
            let lsn = text.parse().map_err(|error| {
                Explanation::new(Kind::Config, format!("{error}."), "Nothing was touched.", "")
            })?;
            return Ok(Edge::Lsn(lsn));
        }
        time(text).map(Edge::Time)
    };
    Ok(Symptom {
        kind,
        table: args.table.clone(),
        from: args.from.as_ref().map(edge).transpose()?,
        to: args.to.as_ref().map(edge).transpose()?,
    })
}

pub(super) fn told(scan: ScanProgress, job: &str) -> Progress {
    Progress {
        job: job.to_owned(),
        label: format!("reading WAL {}", scan.segment),
        started: Timestamp::now(),
        done: scan.segments_done,
        total: Some(scan.segments_total),
        unit: Unit::Segments,
        rate: None,
        eta: None,
        history: Vec::new(),
        lsn: Some(scan.lsn),
        replayed_until: None,
        log: Vec::new(),
    }
}

/// The command that goes back to just before a suspect. Names a directory that the operator has to
/// put in: a restore takes none by itself.
fn command(suspect: &Culprit, cluster: &Cluster) -> String {
    let TargetPoint::Lsn(lsn) = &suspect.target.point else { return String::new() };
    format!(
        "lifeboat restore --cluster {} --target-directory NEW_DIRECTORY --lsn {lsn} --exclusive",
        cluster.name
    )
}

#[derive(serde::Serialize)]
struct Printed<'a> {
    cluster: &'a str,
    #[serde(flatten)]
    found: &'a Culprits,
    /// In the order of the suspects.
    commands: Vec<String>,
}

impl<'a> Printed<'a> {
    fn from(found: &'a Culprits, cluster: &'a Cluster) -> Self {
        let commands = found.suspects.iter().map(|s| command(s, cluster)).collect();
        Self { cluster: &cluster.name, found, commands }
    }
}

fn show(found: &Culprits, cluster: &Cluster) -> Result<(), Explanation> {
    match (found.first_commit, found.last_commit) {
        (Some(first), Some(last)) => output::line(&format!(
            "{} commits from {first:.0} to {last:.0} (UTC) were read, {} of WAL.",
            found.transactions,
            format_size(found.wal_bytes, DECIMAL)
        ))?,
        _ => output::line("No commit was found in the WAL.")?,
    }
    if found.suspects.is_empty() {
        output::line("No transaction in question changed, emptied or dropped a table.")?;
    }
    for (index, suspect) in found.suspects.iter().enumerate() {
        output::line(&format!("\n{}. {}", index + 1, suspect.reason))?;
        output::line(&format!("   {}", lost(suspect)))?;
        output::line(&format!("   {}", command(suspect, cluster)))?;
    }
    for warning in &found.warnings {
        output::line(&format!("! {warning}"))?;
    }
    Ok(())
}

/// What would be lost by going back to just before it.
fn lost(suspect: &Culprit) -> String {
    let lost = &suspect.lost;
    if lost.commits == 0 {
        return String::from("Going back to just before it loses nothing of others.");
    }
    let seconds = lost.seconds.map_or_else(String::new, |s| format!(" within {s:.0} s"));
    let commits = if lost.commits == 1 { "commit" } else { "commits" };
    let mut tables: Vec<String> = lost
        .tables
        .iter()
        .take(3)
        .map(|t| format!("{} +{} ~{} -{}", t.table, t.inserts, t.updates, t.deletes))
        .collect();
    let more = (lost.tables.len().saturating_sub(3)) as u64 + lost.more_tables;
    if more > 0 {
        tables.push(format!("{more} more tables"));
    }
    let rows = if tables.is_empty() { String::new() } else { format!(": {}", tables.join(", ")) };
    format!(
        "Going back to just before it loses {} {commits} of others{seconds}{rows}.",
        lost.commits
    )
}
