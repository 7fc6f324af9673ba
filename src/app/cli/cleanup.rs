//! `cleanup`: shows what the retention policy removes, asks, and has it removed. Owns the words
//! and the question.

use super::args::Common;
use super::output::{self, Bar};
use super::{cluster, repository_names};
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::retention::{Cleanup, Outcome, Plan};
use humansize::{DECIMAL, format_size};
use jiff::Timestamp;
use std::io::{BufRead, IsTerminal, Write};
use std::process::ExitCode;

pub(super) fn cleanup(
    config: &Config,
    common: &Common,
    dry_run: bool,
    yes: bool,
) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, common.cluster.as_deref())?;
    let (mut cleanups, mut plans, mut faults) = (Vec::new(), Vec::new(), Vec::new());
    for name in repository_names(config, cluster, common.repository.as_deref())? {
        let opened = Cleanup::open(config, cluster, &name);
        match opened.and_then(|one| one.plan(Timestamp::now()).map(|plan| (one, plan))) {
            Ok((one, plan)) => {
                cleanups.push(one);
                plans.push(plan);
            }
            Err(fault) => faults.push(fault),
        }
    }
    if !common.json {
        for plan in &plans {
            show(plan)?;
        }
    }
    let idle = plans.iter().all(Plan::is_empty);
    let mut outcomes = Vec::new();
    if !dry_run && !idle {
        agree(cluster, yes, common.json)?;
        for (one, plan) in cleanups.iter().zip(&plans) {
            let bar = Bar::new(common.json);
            let outcome = one.apply(plan, &|progress| bar.show(&progress), &|| false);
            bar.finish();
            if !common.json {
                told(plan, &outcome)?;
            }
            faults.extend(outcome.stopped.clone());
            outcomes.push(outcome);
        }
    }
    if common.json {
        output::json(&serde_json::json!({
            "dry_run": dry_run, "plans": plans, "outcomes": outcomes, "faults": faults,
        }))?;
        let code = faults.first().map_or(0, |fault| fault.kind.exit_code());
        return Ok(ExitCode::from(code));
    }
    match faults.into_iter().next() {
        Some(fault) => Err(fault),
        None => Ok(ExitCode::SUCCESS),
    }
}

fn show(plan: &Plan) -> Result<(), Explanation> {
    output::line(&format!(
        "{} in {} ({}): the last {} days, at least {} backups",
        plan.cluster, plan.repository, plan.place, plan.days, plan.minimum
    ))?;
    for set in &plan.sets {
        let what = if set.remove { "remove" } else { "keep" };
        let size = format_size(set.bytes, DECIMAL);
        output::line(&format!("  {what:6} {} {size:>10}  {}", set.set, set.why))?;
    }
    for line in &plan.wal {
        let size = format_size(line.bytes, DECIMAL);
        output::line(&format!(
            "  remove {} WAL files, {} to {} {size:>10}  {}",
            line.files, line.first, line.last, line.why
        ))?;
    }
    for (what, removals) in [
        ("what is left of ", &plan.unfinished),
        ("", &plan.unpublished),
        ("the data key ", &plan.keys),
        ("", &plan.records),
    ] {
        for one in removals {
            let size = format_size(one.bytes, DECIMAL);
            output::line(&format!("  remove {what}{} {size:>10}  {}", one.key, one.why))?;
        }
    }
    for note in &plan.notes {
        output::line(&format!("  ! {note}"))?;
    }
    if plan.is_empty() {
        return output::line("  Nothing to remove.");
    }
    output::line(&format!("  {} in all", format_size(plan.bytes, DECIMAL)))
}

fn told(plan: &Plan, outcome: &Outcome) -> Result<(), Explanation> {
    output::line(&format!(
        "{}: removed {} backups, {} objects, {}.",
        plan.repository,
        outcome.sets.len(),
        outcome.objects,
        format_size(outcome.bytes, DECIMAL)
    ))?;
    for (set, why) in &outcome.left {
        output::line(&format!("! {set} was left whole: {why}."))?;
    }
    if outcome.kept_by_store > 0 {
        output::line(&format!("! The store keeps {} objects:", outcome.kept_by_store))?;
        for one in &outcome.kept_by_store_named {
            output::line(&format!("  {one}"))?;
        }
    }
    Ok(())
}

/// The cluster's name, typed; or `--yes`.
fn agree(cluster: &Cluster, yes: bool, json: bool) -> Result<(), Explanation> {
    let refused = |what: &str, next: &str| {
        Err(Explanation::new(Kind::Refused, what, "Nothing was removed.", next))
    };
    if yes {
        return Ok(());
    }
    if json || !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return refused(
            "Nobody can be asked whether this may be removed.",
            "See what would go with --dry-run, then run it with --yes.",
        );
    }
    let mut out = std::io::stdout().lock();
    let asked =
        write!(out, "Type {} to remove what is listed: ", cluster.name).and_then(|()| out.flush());
    let mut answer = String::new();
    let read = asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    match read {
        Ok(_) if answer.trim() == cluster.name => Ok(()),
        _ => refused("It was not agreed to.", "Run it again to see the list again."),
    }
}
