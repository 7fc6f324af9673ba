//! What there is to read and to note about drills: scenarios, history, findings. Holds none.

use crate::app::cli::args::DrillVerb;
use crate::app::cli::output;
use crate::engine::config::Config;
use crate::engine::drill::record::{self, Finding};
use crate::engine::drill::scenario::Scenario;
use crate::engine::drill::{Options, inject, scenario, trial, user};
use crate::engine::explain::{Explain, Explanation, Kind};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn run(real: Option<&Config>, verb: &DrillVerb) -> Result<ExitCode, Explanation> {
    let folder = real.and_then(|real| real.sandbox.scenarios.as_deref());
    match verb {
        DrillVerb::List { json } => list(folder, *json),
        DrillVerb::Show { scenario, json } => {
            let found = scenario::load_from(scenario, folder).map_err(|e| e.explanation())?;
            show(&found, *json)
        }
        DrillVerb::Validate { file } => {
            let found = scenario::read(file).map_err(|e| e.explanation())?;
            validate(real, &found)
        }
        DrillVerb::History { record, json } => history(&state(real, record.as_deref())?, *json),
        DrillVerb::Findings { record, json } => findings(&state(real, record.as_deref())?, *json),
        DrillVerb::Finding { drill, text, owner, retest, record } => {
            let finding = Finding {
                drill: *drill,
                text: text.clone(),
                owner: owner.clone(),
                retest: *retest,
                recorded_by: us(),
            };
            let line = record::find(&state(real, record.as_deref())?, finding)
                .map_err(|e| e.explanation())?;
            output::line(&format!("Kept as finding {}.", line.seq))?;
            Ok(ExitCode::SUCCESS)
        }
        DrillVerb::Settle { finding, note, record } => {
            record::settle(&state(real, record.as_deref())?, *finding, note, &us())
                .map_err(|e| e.explanation())?;
            output::line(&format!("Finding {finding} is settled."))?;
            Ok(ExitCode::SUCCESS)
        }
        // Their own functions': one ends drills, the other attends one.
        DrillVerb::Abort | DrillVerb::Master { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// What the file alone cannot tell is tried.
fn validate(real: Option<&Config>, found: &Scenario) -> Result<ExitCode, Explanation> {
    let mut options = Options::usual().map_err(|e| e.explanation())?;
    if let Some(real) = real {
        options.directory.clone_from(&real.sandbox.directory);
        options.user.clone_from(&real.sandbox.user);
    }
    let tried = trial::of(found, &options, &|_| {}).map_err(|error| {
        let why = error.explanation();
        Explanation::new(
            why.kind,
            format!("The file reads well, and its statement could not be tried: {}", why.what),
            why.untouched,
            why.next,
        )
    })?;
    if !tried.problems.is_empty() {
        return Err(Explanation::new(
            Kind::Config,
            format!("{} cannot be held: {}.", found.name, tried.problems.join("; ")),
            "It was tried on a small shop of its own, which is gone.",
            "Mend the file; lifeboat drill validate FILE judges it again.",
        ));
    }
    output::line(&format!("{}: a scenario that can be held.", found.name))?;
    if !tried.does.is_empty() {
        output::line(&format!("  Its statement, tried on a small shop: {}.", tried.does))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn us() -> String {
    user::name_of(nix::unistd::geteuid().as_raw())
}

fn state(real: Option<&Config>, record: Option<&Path>) -> Result<PathBuf, Explanation> {
    let named = record.map(Path::to_path_buf);
    named.or_else(|| real.map(Config::state_directory)).ok_or_else(|| {
        Explanation::new(
            Kind::Config,
            "Without a configuration it is not known where drills are recorded.",
            "Nothing was read.",
            "Name the configuration with --config, or the folder with --record.",
        )
    })
}

fn list(folder: Option<&Path>, json: bool) -> Result<ExitCode, Explanation> {
    let all = scenario::list(folder);
    if json {
        output::json(&serde_json::json!({ "scenarios": all }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let width = all.iter().map(|one| one.name.len()).max().unwrap_or(0);
    for one in &all {
        let from = one.file.as_ref().map_or_else(String::new, |f| format!("  ({})", f.display()));
        output::line(&format!("{:<width$}  {}{from}", one.name, one.title))?;
        for problem in &one.problems {
            output::line(&format!("{:<width$}  cannot be used: {problem}", ""))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn show(found: &Scenario, json: bool) -> Result<ExitCode, Explanation> {
    let fit: Vec<_> = inject::all().into_iter().filter(|one| one.fits(&found.incident)).collect();
    if json {
        // What an inject does is told when the drill is over.
        let injects: Vec<_> = fit
            .iter()
            .map(|one| serde_json::json!({ "name": one.name, "title": one.title }))
            .collect();
        output::json(&serde_json::json!({ "scenario": found, "injects": injects }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let minutes = |seconds: f64| format!("{:.0} minutes", seconds / 60.0);
    output::line(&format!("{}: {}", found.name, found.title))?;
    output::line(&format!("  Objective:  {}", found.objective))?;
    let rpo = found.rpo_seconds.map_or_else(|| String::from("none"), minutes);
    output::line(&format!(
        "  Targets:    RPO {rpo}, RTO {}; to end {}",
        minutes(found.rto_seconds),
        found.expected.word()
    ))?;
    output::line(&format!("  Hypothesis: {}", found.hypothesis.trim()))?;
    output::line(&format!("  Hints:      {}, told one by one in the drill", found.hints.len()))?;
    if let Some(link) = found.link {
        output::line(&format!(
            "  Line:       {} MB/s, {} ms (--link-speed, --link-latency)",
            link.megabytes_per_second, link.latency_ms
        ))?;
    }
    output::line("  Injects that fit (--inject NAME, or random with --seed):")?;
    for one in &fit {
        output::line(&format!("    {:<18} {} ({})", one.name, one.title, one.expected.word()))?;
    }
    let led = |one: &inject::Inject| one.fits_led(&found.incident) && !one.fits(&found.incident);
    let led: Vec<_> = inject::all().into_iter().filter(led).collect();
    if !led.is_empty() {
        output::line("  And where a game master releases them (--facilitated):")?;
    }
    for one in &led {
        output::line(&format!("    {:<18} {} ({})", one.name, one.title, one.expected.word()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn history(state: &Path, json: bool) -> Result<ExitCode, Explanation> {
    let lines = record::history(state).map_err(|e| e.explanation())?;
    if json {
        output::json(&serde_json::json!({ "drills": lines }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if record::drills(&lines).next().is_none() {
        output::line("No drill was recorded.")?;
    }
    let mut names = Vec::new();
    for (line, one) in record::drills(&lines) {
        let seconds = |value: Option<f64>| {
            value.map_or_else(|| String::from("-"), |value| format!("{value:.1} s"))
        };
        let with = if one.injects.is_empty() {
            String::new()
        } else {
            format!("  with {}", one.injects.join(", "))
        };
        output::line(&format!(
            "{:>4}  {:.0}  {:<16} {:<11}  {:<16} RPO {:>8}  RTO {:>8}  hints {}{with}",
            line.seq,
            line.at,
            one.scenario,
            one.mode,
            one.outcome,
            seconds(one.rpo_seconds),
            seconds(one.rto_seconds),
            one.card.hints_used,
        ))?;
        if !names.contains(&one.scenario) {
            names.push(one.scenario.clone());
        }
    }
    for name in names {
        if let Some(change) = record::trend(&lines, &name) {
            let way = if change > 0.0 { "slower" } else { "faster" };
            output::line(&format!(
                "{name}: the last one that passed was {:.1} s {way} than the one before",
                change.abs()
            ))?;
        }
    }
    let open = record::open_findings(&lines, Some(today())).len();
    if open > 0 {
        output::line(&format!("{open} open findings: lifeboat drill findings"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn findings(state: &Path, json: bool) -> Result<ExitCode, Explanation> {
    let lines = record::history(state).map_err(|e| e.explanation())?;
    let mut open = record::open_findings(&lines, Some(today()));
    open.sort_by_key(|one| (!one.due, one.finding.retest, one.number));
    if json {
        output::json(&serde_json::json!({ "findings": open }))?;
        return Ok(ExitCode::SUCCESS);
    }
    if open.is_empty() {
        output::line("No finding is open.")?;
    }
    for one in &open {
        let day = one.finding.retest.map_or_else(
            || String::from("no day"),
            |day| format!("{}{day}", if one.due { "DUE since " } else { "on " }),
        );
        output::line(&format!(
            "{:>4}  of drill {}, {}, tested again {day}: {}",
            one.number, one.finding.drill, one.finding.owner, one.finding.text
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn today() -> jiff::civil::Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}
