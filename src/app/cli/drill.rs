//! `drill`: a GameDay in a sandbox, with a person in the screens or without one. The sandbox has
//! its own copy of the program, which the server's user can run wherever this one is; screens and
//! runner are that copy's.

use super::args;
use super::output;
use crate::engine::config;
use crate::engine::drill::{self, LiveDrill, Options, Sandbox, scenario};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::screens::view::Briefing;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

pub(super) fn drill(config: Option<&Path>, args: &args::Drill) -> Result<ExitCode, Explanation> {
    let mut options = Options::usual().map_err(|e| e.explanation())?;
    options.size_mb = args.size;
    options.keep.clone_from(&args.keep);
    // A drill needs no configuration; where there is one, its sandbox section counts.
    if let Some(path) = config {
        let sandbox = config::load(Some(path)).map_err(|e| e.explanation())?.sandbox;
        options.directory = sandbox.directory;
        options.user = sandbox.user;
    }
    if args.auto { alone(args, &options) } else { with_a_person(args, &options) }
}

fn alone(args: &args::Drill, options: &Options) -> Result<ExitCode, Explanation> {
    let begun = Instant::now();
    let say = |text: &str| tell(begun, text);
    let outcome = drill::run(&args.scenario, options, &say).map_err(|e| e.explanation())?;
    if args.json {
        output::json(&outcome)?;
    } else {
        output::line(&format!("{}: {}", outcome.scenario, outcome.outcome))?;
        for reason in &outcome.reasons {
            output::line(&format!("  {reason}"))?;
        }
    }
    Ok(if outcome.is_verified() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(Kind::Integrity.exit_code())
    })
}

fn with_a_person(args: &args::Drill, options: &Options) -> Result<ExitCode, Explanation> {
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(Explanation::new(
            Kind::Config,
            "The screens need a terminal, and this is none.",
            "Nothing was made.",
            "Start it in a terminal, or without a person: --auto.",
        ));
    }
    let begun = Instant::now();
    let say = |text: &str| tell(begun, text);
    let LiveDrill { scenario, mut sandbox } =
        drill::prepare_live(&args.scenario, options, &say).map_err(|e| e.explanation())?;
    let screens = Command::new(program_of(&sandbox))
        .arg("--config")
        .arg(&sandbox.config().path)
        .args(["screens", "--scenario", &scenario.name])
        .status();
    sandbox.end_traffic();
    let (kept, root) = (sandbox.is_kept(), sandbox.root().to_path_buf());
    let cleared = sandbox.close().map_err(|e| e.explanation())?;
    if kept {
        output::line(&format!("The sandbox stays in {}.", root.display()))?;
        output::line(&format!(
            "Open it again: {} --config {}",
            root.join("bin/lifeboat").display(),
            root.join("lifeboat.toml").display()
        ))?;
    } else {
        output::line(&format!("The sandbox is gone ({} paths removed).", cleared.removed.len()))?;
    }
    match screens {
        Ok(status) if status.success() => Ok(ExitCode::SUCCESS),
        Ok(status) => Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1))),
        Err(error) => Err(Explanation::new(
            Kind::Internal,
            format!("The screens could not be started: {error}."),
            "The sandbox was cleared away.",
            "Try again, or run it without a person: --auto.",
        )),
    }
}

/// What the person is told first.
pub(super) fn briefing(name: &str) -> Result<Briefing, Explanation> {
    let scenario = scenario::load(name).map_err(|e| e.explanation())?;
    Ok(Briefing {
        title: scenario.title,
        story: scenario.briefing.lines().map(str::to_owned).collect(),
        objective: scenario.objective,
    })
}

fn program_of(sandbox: &Sandbox) -> PathBuf {
    sandbox.root().join("bin/lifeboat")
}

fn tell(begun: Instant, text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "{:6.1} s  {text}", begun.elapsed().as_secs_f64());
}
