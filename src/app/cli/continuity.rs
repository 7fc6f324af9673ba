//! `check-wal-continuity`: whether all of a window can be recovered to.

use super::args::Common;
use super::output;
use super::{cluster, opened, time};
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::{Lsn, control_file};
use crate::engine::recovery_point::RepositoryArchive;
use crate::engine::recovery_point::window::{self, Answer, Mark, Question};
use crate::engine::repository::Repository;
use jiff::Timestamp;
use std::process::ExitCode;
use std::sync::Arc;

pub(super) fn check(
    config: &Config,
    common: &Common,
    from: &str,
    to: &str,
) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, common.cluster.as_deref())?;
    let (from, to) = (mark(from)?, mark(to)?);
    let repository = opened(config, cluster, common.repository.as_deref())?;
    let segment_size = segment_size(cluster, &repository)?;
    let archive = RepositoryArchive::new(Arc::new(repository));
    let question = Question { from, to, segment_size };
    let answer = window::check(&archive, question, &|| false)?;
    if common.json {
        output::json(&answer)?;
    } else {
        output::line(&told(&answer))?;
    }
    Ok(if answer.whole { ExitCode::SUCCESS } else { ExitCode::from(Kind::Unreachable.exit_code()) })
}

/// An LSN has a slash; no time has.
fn mark(text: &str) -> Result<Mark, Explanation> {
    if let Ok(lsn) = text.trim().parse::<Lsn>() {
        return Ok(Mark::Lsn(lsn));
    }
    time(text).map(Mark::Time)
}

/// As the newest backup has it, else the server's own files.
fn segment_size(cluster: &Cluster, repository: &Repository) -> Result<u64, Explanation> {
    let names = repository.set_names().map_err(|e| e.explanation())?;
    for name in names.iter().rev() {
        if let Ok(set) = repository.read_set(name) {
            return Ok(set.segment_size);
        }
    }
    let control = control_file::read(&cluster.data_directory).map_err(|e| e.explanation())?;
    Ok(u64::from(control.wal_segment_size))
}

fn told(answer: &Answer) -> String {
    let at = |at: &Option<Timestamp>| {
        at.map_or_else(|| String::from("not known"), |at| format!("{at:.3} (UTC)"))
    };
    let end = |mark: &Mark, lsn: &Option<Lsn>| {
        let lsn = lsn.map_or_else(|| String::from("beyond the archive"), |l| format!("LSN {l}"));
        match mark {
            Mark::Lsn(asked) => format!("LSN {asked} ({lsn})"),
            Mark::Time(asked) => format!("{asked:.0} (UTC), {lsn}"),
        }
    };
    let mut lines = vec![
        format!("from           {}", end(&answer.from, &answer.from_lsn)),
        format!("to             {}", end(&answer.to, &answer.to_lsn)),
        format!("timeline       {}", answer.timeline),
    ];
    for s in &answer.stretches {
        let (t, first, last, n) = (s.timeline, &s.first, &s.last, s.segments);
        lines.push(format!("WAL            timeline {t}: {first} to {last} ({n} segments)"));
    }
    for fork in &answer.forks {
        let aside = if fork.followed { "" } else { ", not followed" };
        lines.push(format!(
            "fork           timeline {} left {} at LSN {}{aside}",
            fork.timeline, fork.parent, fork.at
        ));
    }
    for gap in &answer.gaps {
        lines.push(format!(
            "GAP            timeline {}: {} to {} ({} segments), LSN {} to {}; last commit before \
             {}, first behind {}",
            gap.timeline,
            gap.first,
            gap.last,
            gap.segments,
            gap.from,
            gap.to,
            at(&gap.after),
            at(&gap.before)
        ));
    }
    for base in &answer.bases {
        let (set, start, stop) = (&base.set, base.start, base.stop);
        let serves = base.why.clone().unwrap_or_else(|| String::from("whole"));
        lines.push(format!("backup         {set}, LSN {start} to {stop}: {serves}"));
    }
    for one in &answer.reachable {
        lines.push(format!(
            "reachable      from {}: LSN {} to {}, from {:.3} (UTC), newest commit {}",
            one.set,
            one.from,
            one.to,
            one.earliest,
            at(&one.latest)
        ));
    }
    lines.extend(answer.warnings.iter().map(|warning| format!("! {warning}")));
    lines.push(String::from(if answer.whole {
        "Every point of it can be reached."
    } else {
        "NOT every point of it can be reached."
    }));
    lines.extend(answer.advice.iter().cloned());
    lines.join("\n")
}
