//! `lifeboat drill abort`: ends the drills of this user that run, and clears what ended ones left.

use crate::app::cli::output;
use crate::engine::config::Config;
use crate::engine::drill::{cpu, place};
use crate::engine::explain::{Explain, Explanation, Kind};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// How long an aborted drill may take to clear itself away.
const ABORT_LIMIT: Duration = Duration::from_secs(60);

/// Asks every drill of this user to end, waits until it has cleared itself away, and clears what
/// killed ones left.
pub(super) fn abort(real: Option<&Config>) -> Result<ExitCode, Explanation> {
    let directory = real.and_then(|real| real.sandbox.directory.clone());
    let living = place::living(directory.as_deref());
    for (root, pid) in &living {
        output::line(&format!("Ending the drill in {} (process {pid})", root.display()))?;
        // Gone already is what was wanted.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGTERM);
    }
    let begun = Instant::now();
    let runs = || {
        let still = place::living(directory.as_deref());
        living.iter().any(|one| still.contains(one))
    };
    while runs() && begun.elapsed() < ABORT_LIMIT {
        std::thread::sleep(Duration::from_millis(50));
    }
    if runs() {
        return Err(Explanation::new(
            Kind::Busy,
            format!("A drill does not end within {} s.", ABORT_LIMIT.as_secs()),
            "Its sandbox is left as it is.",
            "End its process with kill -9, then run lifeboat drill abort again.",
        ));
    }
    let swept = place::sweep(directory.as_deref()).map_err(|e| e.explanation())?;
    cpu::sweep();
    for gone in &swept.removed {
        output::line(&format!("Cleared away: {}", gone.display()))?;
    }
    for check in &swept.proof {
        output::line(&format!("  {}: {} {}", check.title, check.verdict.word(), check.detail))?;
    }
    output::line(if living.is_empty() { "No drill ran." } else { "Ended." })?;
    Ok(ExitCode::SUCCESS)
}
