//! `drill master`: the game master's window on a facilitated drill of this user. Owns which drill
//! that is, and who is turned away; the window is `app::master`'s.

use crate::app::cli::{output, runtime};
use crate::app::master::{self, Ending};
use crate::engine::config::Config;
use crate::engine::drill::master::{Desk, Stage};
use crate::engine::drill::{place, processes, user};
use crate::engine::explain::{Explanation, Kind};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub(super) fn attend(real: Option<&Config>, named: Option<&Path>) -> Result<ExitCode, Explanation> {
    let directory = real.and_then(|real| real.sandbox.directory.clone());
    let (root, holder, stage) = the_one(directory.as_deref(), named)?;
    if !std::io::stdout().is_terminal() || !std::io::stdin().is_terminal() {
        return Err(refused(
            "The game master's window needs a terminal, and this is none.",
            "Start it in a terminal of its own.",
        ));
    }
    let ours = i32::try_from(std::process::id()).ok().and_then(processes::terminal_of);
    if ours.is_some() && ours == processes::terminal_of(holder) {
        return Err(refused(
            "This terminal is the participants'.",
            "The game master's window belongs into a terminal that they don't see.",
        ));
    }
    let runtime = runtime()?;
    let by = user::name_of(nix::unistd::geteuid().as_raw());
    let ended = master::run(&root, &by, stage, runtime.handle());
    runtime.shutdown_background();
    let ended = ended.map_err(|error| {
        Explanation::new(
            Kind::Internal,
            format!("The window could not be drawn: {error}."),
            "The drill goes on.",
            "Start it again: lifeboat drill master.",
        )
    })?;
    match ended {
        Ending::Left => output::line("The drill goes on. lifeboat drill master comes back to it.")?,
        Ending::Over(stage) => over(&stage)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What was last seen, once the sandbox is gone.
fn over(stage: &Stage) -> Result<(), Explanation> {
    output::line(stage.over.as_deref().unwrap_or("The drill is over."))?;
    if stage.over.is_none() {
        output::line("Where it was scored: lifeboat drill history.")?;
    }
    for one in &stage.observations {
        output::line(&format!("  {} {}", one.at.strftime("%H:%M:%S"), one.text))?;
    }
    Ok(())
}

/// The facilitated drill that is meant: its folder, its holder, how it stands.
fn the_one(
    directory: Option<&Path>,
    named: Option<&Path>,
) -> Result<(PathBuf, i32, Stage), Explanation> {
    let living = match named {
        Some(named) => {
            let root = named.canonicalize().unwrap_or_else(|_| named.to_path_buf());
            place::holder_of(&root).map(|pid| (root, pid)).into_iter().collect()
        }
        None => place::living(directory),
    };
    let mut found: Vec<_> = living
        .into_iter()
        .filter_map(|(root, pid)| Some((Desk::of(&root).look()?, root, pid)))
        .collect();
    match (found.pop(), found.as_slice()) {
        (Some((stage, root, pid)), []) => Ok((root, pid, stage)),
        (Some((_, last, _)), more) => {
            let roots = more.iter().map(|(_, root, _)| root).chain([&last]);
            let roots: Vec<String> = roots.map(|root| root.display().to_string()).collect();
            Err(refused(
                &format!("Several drills run: {}.", roots.join(", ")),
                "Name the one that is meant: lifeboat drill master DIR.",
            ))
        }
        (None, _) => Err(Explanation::new(
            Kind::NotFound,
            "No drill of yours runs that has a game master.",
            "Nothing was touched.",
            "Begin one in the participants' terminal: lifeboat drill SCENARIO --facilitated. It can \
             be attended once its screens are up.",
        )),
    }
}

fn refused(what: &str, next: &str) -> Explanation {
    Explanation::new(Kind::Config, what, "The drill goes on.", next)
}
