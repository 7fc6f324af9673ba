//! Discarding what a full restore made, which the operator names: the new cluster, or what was begun on a
//! disk that was full.

use super::{Seat, ended, found, has_left, refused};
use crate::app::cli::{args, output};
use crate::engine::config::{Cluster, Config};
use crate::engine::desk::Desk;
use crate::engine::explain::Explanation;
use crate::engine::incident::event::Decision;
use crate::engine::incident::facts::Topic;
use crate::engine::incident::model::RunStatus;
use crate::engine::runner::protocol::Command;
use std::path::Path;
use std::process::ExitCode;

pub(super) fn discard(
    config: &Config,
    cluster: &Cluster,
    args: &args::RestoreFull,
    target: &Path,
) -> Result<ExitCode, Explanation> {
    let (id, folder, known) = found(config, cluster, target)?;
    let seat = Seat::at(config, &folder, args.common.json)?;
    if known.plan.as_ref().is_some_and(|plan| has_left(plan, target)) {
        return discard_left(config, cluster, args, target, &seat);
    }
    let incident = seat.settle()?;
    match incident.status {
        RunStatus::Finished => {
            return Err(refused(
                format!("The new cluster of {id} serves in the old one's place."),
                "It is not discarded any more. The old one is kept beside it.",
            ));
        }
        RunStatus::Held => seat.ask(Command::Decide { decision: Decision::Abandon })?,
        RunStatus::Failed | RunStatus::Interrupted | RunStatus::Paused => {
            seat.ask(Command::Cancel)?;
        }
        _ => {}
    }
    if seat.settle()?.status != RunStatus::Undone {
        seat.ask(Command::Undo)?;
    }
    ended(&*seat.settle()?, RunStatus::Undone)?;
    let incident = seat.incident();
    let desk = Desk::new(config.clone(), &cluster.name, &folder, seat.runtime.handle().clone())?;
    let outside = desk.discard(&incident, target)?;
    let mut text = format!("{} was discarded: the operator named it", target.display());
    let listed: Vec<_> = outside.iter().map(|path| path.display().to_string()).collect();
    if !listed.is_empty() {
        text.push_str(&format!(". Removed with it, which it had filled: {}", listed.join(", ")));
    }
    seat.ask(Command::AddNote { topic: Topic::Note, text: text.clone() })?;
    seat.ask(Command::Close { summary: text })?;
    if args.common.json {
        output::json(&serde_json::json!({
            "incident": id,
            "discarded": target,
            "removed_outside": outside,
        }))?;
    } else {
        output::line(&format!("{} is gone; the old cluster is as it was.", target.display()))?;
        if !listed.is_empty() {
            output::line(&format!("Gone with it, which it had filled: {}.", listed.join(", ")))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the restore had begun on a disk that was full, before it went on elsewhere: only that goes, and
/// the restore stays as it is.
fn discard_left(
    config: &Config,
    cluster: &Cluster,
    args: &args::RestoreFull,
    target: &Path,
    seat: &Seat,
) -> Result<ExitCode, Explanation> {
    let (id, folder, incident) = found(config, cluster, target)?;
    let desk = Desk::new(config.clone(), &cluster.name, &folder, seat.runtime.handle().clone())?;
    desk.discard(&incident, target)?;
    let text = format!("{} was discarded: the operator named it", target.display());
    seat.ask(Command::AddNote { topic: Topic::Note, text })?;
    if args.common.json {
        output::json(&serde_json::json!({ "incident": id, "discarded": target }))?;
    } else {
        let gone = target.display();
        output::line(&format!("{gone} is gone; the restore goes on where it is."))?;
    }
    Ok(ExitCode::SUCCESS)
}
