//! `restore-full`: the runbook's Option B from the command line. Drives the same runner with the
//! same plan, gate and journal as the screens, and leaves it waiting for the decision. Owns the
//! order of its questions; moves and deletes nothing itself but a directory that is discarded.

mod discard;

use self::discard::discard;
use super::args;
use super::diagnosis;
use super::output::{self, Bar};
use super::{cluster, runtime};
use crate::app::dialer::declaration;
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::event::Decision;
use crate::engine::incident::facts::{
    Check, Moment, Prerequisite, Procedure, Severity, Topic, Verdict,
};
use crate::engine::incident::model::RunStatus;
use crate::engine::incident::store::{Listed, Store};
use crate::engine::restore::full;
use crate::engine::restore::steps::resolved;
use crate::engine::runner::client::Client;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::protocol::{Command, FullRestore};
use crate::engine::runner::spawn;
use jiff::Timestamp;
use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// From the runner's hello to its last entry.
const START: Duration = Duration::from_secs(60);

pub(super) fn run(config: &Config, args: &args::RestoreFull) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, args.common.cluster.as_deref())?;
    let target = std::path::absolute(&args.target).unwrap_or_else(|_| args.target.clone());
    if args.swap {
        return swap(config, cluster, args, &target);
    }
    if args.discard {
        return discard(config, cluster, args, &target);
    }
    make(config, cluster, args, &target)
}

/// A link to an incident's runner.
struct Seat {
    runtime: Runtime,
    client: Client,
    first: Arc<Incident>,
    bar: Bar,
}

impl Seat {
    fn at(config: &Config, folder: &Path, quiet: bool) -> Result<Self, Explanation> {
        let runtime = runtime()?;
        let socket =
            spawn::ensure_runner(&config.path, folder).map_err(|error| error.explanation())?;
        let client = Client::connect_blocking(runtime.handle(), &socket)
            .map_err(|error| error.explanation())?;
        let first = runtime.block_on(client.live(START))?;
        Ok(Self { runtime, client, first, bar: Bar::new(quiet) })
    }

    fn incident(&self) -> Arc<Incident> {
        // What was known when the link came about, where nothing newer is.
        self.client.incident().unwrap_or_else(|| Arc::clone(&self.first))
    }

    /// Asks, showing progress until the answer comes.
    fn ask(&self, command: Command) -> Result<(), Explanation> {
        let mut pending = self.client.submit(command);
        loop {
            if let Some(answer) = pending.try_answer() {
                self.bar.finish();
                return answer.map(drop);
            }
            self.look();
        }
    }

    /// Waits until nothing runs any more, however long that takes.
    fn settle(&self) -> Result<Arc<Incident>, Explanation> {
        loop {
            let incident = self.incident();
            let runs = matches!(
                incident.status,
                RunStatus::Running | RunStatus::Ready | RunStatus::Undoing
            );
            if !runs {
                self.bar.finish();
                return Ok(incident);
            }
            if let crate::engine::runner::client::LinkState::Lost { reason } = self.client.link() {
                return Err(Explanation::new(
                    Kind::Connection,
                    format!("The runner is gone: {reason}"),
                    "What was done is kept and recorded.",
                    "Ask again with --swap or --discard, or open the incident in the screens.",
                ));
            }
            self.look();
        }
    }

    /// Waits for news, at most a moment.
    fn look(&self) {
        let mut changes = self.client.changes();
        let moment = Duration::from_millis(200);
        let _ =
            self.runtime.block_on(async { tokio::time::timeout(moment, changes.changed()).await });
        if let Some(progress) = self.client.progress() {
            self.bar.show(&progress);
        }
    }
}

/// From the declaration to the question whether to swap.
fn make(
    config: &Config,
    cluster: &Cluster,
    args: &args::RestoreFull,
    target: &Path,
) -> Result<ExitCode, Explanation> {
    if let Some((id, _)) = of_target(config, cluster, target, |incident| !is_over(incident))? {
        return Err(refused(
            format!("{} is under way in {id}.", target.display()),
            "Go on with --swap or --discard, or open that incident in the screens.",
        ));
    }
    let store = Store::new(&config.state_directory());
    let title = format!("Full restore beside {}", cluster.name);
    let (declared, folder) = store
        .declare(Timestamp::now(), |id| declaration(cluster, id, &title))
        .map_err(|error| error.explanation())?;
    let seat = Seat::at(config, &folder, args.common.json)?;
    let id = declared.id;
    let made = lead(config, cluster, args, target, &seat);
    match made {
        Ok(passed_over) => told(args, &id, &seat.incident(), &passed_over),
        Err(error) => {
            // An incident in which nothing began is no reason to be looked at again.
            let nothing = seat.incident().steps.iter().all(|step| step.attempts == 0);
            if nothing {
                let summary = format!("Not begun. {}", error.what);
                let _ = seat.ask(Command::Close { summary });
            }
            Err(Explanation {
                untouched: format!("{} The incident is {id}.", error.untouched),
                ..error
            })
        }
    }
}

fn lead(
    config: &Config,
    cluster: &Cluster,
    args: &args::RestoreFull,
    target: &Path,
    seat: &Seat,
) -> Result<Vec<PassedOver>, Explanation> {
    seat.ask(Command::SetSeverity { severity: Severity::Sev1 })?;
    seat.ask(Command::StateMoment { moment: Moment::FirstDetected, at: Timestamp::now() })?;
    seat.ask(Command::AddNote {
        topic: Topic::Note,
        text: String::from("Begun with restore-full on the command line"),
    })?;
    let mut sets = match &args.backup_set_id {
        Some(set) => vec![set.clone()],
        None => full::bases(config, cluster)?.0.into_iter().map(|base| base.set).collect(),
    };
    if sets.is_empty() {
        // The choice itself says what is wrong.
        sets.push(String::new());
    }
    let passed_over = choose(args, target, seat, &sets)?;
    for one in &passed_over {
        let text = format!("Passed over {}: {}", one.set, one.why);
        seat.ask(Command::AddNote { topic: Topic::Note, text })?;
    }
    let name = confirmed(cluster, args, &seat.incident())?;
    let note = |text: &str| text.to_owned();
    for (prerequisite, note) in [
        (Prerequisite::IncidentDeclared, note("Declared by restore-full")),
        (Prerequisite::MaintenanceWindow, note("The old cluster is not touched until the swap")),
        (Prerequisite::TargetConfirmed, note("Confirmed by typing the cluster's name")),
    ] {
        seat.ask(Command::AnswerPrerequisite { prerequisite, met: true, note })?;
    }
    seat.ask(Command::MakePlan)?;
    let plan = seat.incident().plan.clone();
    let plan_hash = plan.map(|plan| plan.hash).unwrap_or_default();
    seat.ask(Command::PassGate { plan_hash: plan_hash.clone(), cluster: name })?;
    seat.ask(Command::Start { plan_hash })?;
    ended(&*seat.settle()?, RunStatus::Held)?;
    Ok(passed_over)
}

/// A newer set than the one that is restored, and why it does not serve.
#[derive(Debug, serde::Serialize)]
struct PassedOver {
    set: String,
    why: String,
}

/// Chooses the newest set that can be restored and that verifies, or the named one; gives the newer
/// ones that do not serve.
fn choose(
    args: &args::RestoreFull,
    target: &Path,
    seat: &Seat,
    sets: &[String],
) -> Result<Vec<PassedOver>, Explanation> {
    let (mut failure, mut passed_over) = (None, Vec::new());
    for set in sets {
        let asked = FullRestore {
            set: Some(set.clone()).filter(|set| !set.is_empty()),
            to_end: args.to_end,
            destination: Some(target.display().to_string()),
            port: Some(args.port),
        };
        let chosen = seat.ask(Command::ChooseFull(asked));
        let verified = chosen.and_then(|()| {
            seat.ask(Command::VerifyIntegrity)?;
            let incident = seat.incident();
            let checks = incident.integrity.as_ref().map_or(&[][..], |(_, checks)| checks);
            whole(set, checks)
        });
        match verified {
            Ok(()) => return Ok(passed_over),
            // The newest one's reason is told where none serves.
            Err(error) if args.latest => {
                output::warn(&format!("{set} does not serve: {}", error.what));
                passed_over.push(PassedOver { set: set.clone(), why: error.what.clone() });
                failure = failure.or(Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    Err(failure.unwrap_or_else(|| refused(String::from("No backup serves."), "")))
}

fn whole(set: &str, checks: &[Check]) -> Result<(), Explanation> {
    let verdict = Verdict::of_all(checks.iter().map(|check| check.verdict));
    if verdict == Verdict::Verified {
        return Ok(());
    }
    let why = checks.iter().find(|check| check.verdict == verdict);
    Err(Explanation::new(
        Kind::Integrity,
        format!("{set} is {}: {}", verdict.word(), why.map_or("", |check| &check.detail)),
        "Nothing was restored.",
        "Take another set: --backup-set-id, from lifeboat list-backups.",
    ))
}

/// The gate: the cluster's name, given or typed.
fn confirmed(
    cluster: &Cluster,
    args: &args::RestoreFull,
    incident: &Incident,
) -> Result<String, Explanation> {
    if let Some(name) = &args.confirm {
        return Ok(name.clone());
    }
    if args.common.json || !std::io::stdin().is_terminal() {
        return Err(refused(
            String::from("Nobody can be asked whether this is meant."),
            "Give the cluster's name: --confirm NAME.",
        ));
    }
    if let Some(reach) = &incident.reach {
        for check in &reach.checks {
            output::line(&format!(
                "{:<17} {}: {}",
                check.verdict.word(),
                check.title,
                check.detail
            ))?;
        }
    }
    output::line(&format!("To begin, type the cluster's name ({}):", cluster.name))?;
    let mut typed = String::new();
    std::io::stdin().lock().read_line(&mut typed).map_err(|error| {
        refused(format!("The answer could not be read: {error}."), "Use --confirm NAME.")
    })?;
    Ok(typed.trim().to_owned())
}

fn swap(
    config: &Config,
    cluster: &Cluster,
    args: &args::RestoreFull,
    target: &Path,
) -> Result<ExitCode, Explanation> {
    let (id, folder, known) = found(config, cluster, target)?;
    if let Some(plan) = known.plan.as_ref().filter(|plan| has_left(plan, target))
        && let Procedure::FullRestore { destination, .. } = &plan.procedure
    {
        return Err(refused(
            format!(
                "The restore of {id} went on in {destination}: {} is not whole.",
                target.display()
            ),
            &format!("Name it: --target {destination} --swap."),
        ));
    }
    let name = confirmed(cluster, args, &known)?;
    if name != cluster.name {
        return Err(refused(
            format!("You typed \"{name}\", which is not the cluster of this restore."),
            "Type the cluster's name exactly.",
        ));
    }
    let seat = Seat::at(config, &folder, args.common.json)?;
    let mut tried = false;
    loop {
        let incident = seat.settle()?;
        match incident.status {
            RunStatus::Held => seat.ask(Command::Decide { decision: Decision::Promote })?,
            RunStatus::Paused => seat.ask(Command::Resume)?,
            RunStatus::Failed | RunStatus::Interrupted if !tried => {
                tried = true;
                seat.ask(Command::Retry)?;
            }
            RunStatus::Finished => break,
            _ => ended(&incident, RunStatus::Finished)?,
        }
    }
    seat.ask(Command::WriteReport)?;
    told(args, &id, &seat.incident(), &[])
}

/// Whether the plan's restore was begun there and went on elsewhere.
fn has_left(plan: &Plan, target: &Path) -> bool {
    let left = plan.places.left.as_ref();
    left.is_some_and(|left| resolved(&left.from) == resolved(target))
}

type Found = (String, PathBuf, Arc<Incident>);

/// The newest full restore into `target` that is not closed.
fn found(config: &Config, cluster: &Cluster, target: &Path) -> Result<Found, Explanation> {
    let known = of_target(config, cluster, target, |incident| incident.closing.is_none())?;
    let (id, incident) = known.ok_or_else(|| {
        refused(
            format!("No open full restore made {}.", target.display()),
            "Make one with --latest, or see lifeboat incidents.",
        )
    })?;
    let folder = Store::new(&config.state_directory()).folder(&id).map_err(|e| e.explanation())?;
    Ok((id, folder, Arc::new(incident)))
}

fn of_target(
    config: &Config,
    cluster: &Cluster,
    target: &Path,
    wanted: impl Fn(&Incident) -> bool,
) -> Result<Option<(String, Incident)>, Explanation> {
    let store = Store::new(&config.state_directory());
    let listed = store.list().map_err(|e| e.explanation())?;
    let mut own: Vec<_> = listed
        .into_iter()
        .filter_map(|one| match one {
            Listed::Whole(summary) if summary.cluster == cluster.name => Some(summary),
            _ => None,
        })
        .collect();
    own.sort_by_key(|summary| std::cmp::Reverse(summary.declared));
    for summary in own {
        let Ok(incident) = store.load(&summary.id) else { continue };
        let made = incident.plan.as_ref().is_some_and(|plan| match &plan.procedure {
            Procedure::FullRestore { destination, .. } => {
                resolved(Path::new(destination)) == resolved(target) || has_left(plan, target)
            }
            _ => false,
        });
        if made && wanted(&incident) {
            return Ok(Some((summary.id, incident)));
        }
    }
    Ok(None)
}

/// Nothing of the run is left to decide.
fn is_over(incident: &Incident) -> bool {
    incident.closing.is_some()
        || matches!(incident.status, RunStatus::Finished | RunStatus::Undone | RunStatus::Planning)
}

fn ended(incident: &Incident, wanted: RunStatus) -> Result<(), Explanation> {
    if incident.status == wanted {
        return Ok(());
    }
    let failure = incident
        .undo_failure
        .clone()
        .or_else(|| incident.current_step().and_then(diagnosis::of_step));
    Err(failure.unwrap_or_else(|| {
        Explanation::new(
            Kind::Server,
            format!("The restore stands at {:?}.", incident.status),
            "What was done is kept and recorded.",
            "Open the incident in the screens.",
        )
    }))
}

fn told(
    args: &args::RestoreFull,
    id: &str,
    incident: &Incident,
    passed_over: &[PassedOver],
) -> Result<ExitCode, Explanation> {
    let plan = incident.plan.as_ref();
    let port = plan.map(|plan| match plan.procedure {
        Procedure::FullRestore { port, .. } => incident.adjustments.beside_port.unwrap_or(port),
        _ => 0,
    });
    let overall = Verdict::overall(incident.validation.iter().map(|check| check.verdict));
    let swapped = incident.status == RunStatus::Finished;
    if args.common.json {
        output::json(&serde_json::json!({
            "incident": id,
            "status": incident.status,
            "set": plan.map(|plan| &plan.base.set),
            "passed_over": passed_over,
            "directory": args.target,
            "port": port,
            "way_in": incident.noted("way_in").filter(|_| !swapped),
            "data_is": incident.noted("data_is"),
            "reached_lsn": incident.noted("reached_lsn"),
            "transfer": incident.noted("transfer"),
            "kept": plan.filter(|_| swapped).map(|plan| &plan.aside),
            "verdict": overall.word(),
            "checks": incident.validation,
            "reports": incident.reports,
        }))?;
    } else {
        for check in &incident.validation {
            output::line(&format!(
                "{:<17} {}: {}",
                check.verdict.word(),
                check.title,
                check.detail
            ))?;
        }
        let note = |name: &str| incident.noted(name).unwrap_or("not known").to_owned();
        for one in passed_over {
            output::line(&format!("Passed over {}: {}", one.set, one.why))?;
        }
        output::line(&format!("Data: {}.", note("data_is").trim_end_matches('.')))?;
        if swapped {
            output::line("The new cluster serves in the old one's place.")?;
            output::line(&format!("{}.", note("aside")))?;
        } else {
            if let Some(port) = port.filter(|port| *port != args.port) {
                output::line(&format!("Port {} is taken; {port} was used.", args.port))?;
            }
            output::line(&format!("It is closed to applications. Look at it: {}", note("way_in")))?;
            let target = args.target.display();
            let lost = plan.is_some_and(|plan| plan.lost);
            output::line(if lost {
                "What is left of the old cluster, if anything, is untouched. Decide:"
            } else {
                "The old cluster is untouched. Decide:"
            })?;
            output::line(&format!("  lifeboat restore-full --target {target} --swap"))?;
            output::line(&format!("  lifeboat restore-full --target {target} --discard"))?;
        }
        output::line(&format!("Incident {id}: {}.", overall.word()))?;
    }
    Ok(if overall == Verdict::Failed {
        ExitCode::from(Kind::Integrity.exit_code())
    } else {
        ExitCode::SUCCESS
    })
}

fn refused(what: String, next: &str) -> Explanation {
    Explanation::new(Kind::Refused, what, "Nothing was touched.", next)
}
