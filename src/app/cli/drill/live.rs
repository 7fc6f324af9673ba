//! A drill with a person: the screens as in earnest, in the sandbox's own copy of the program, and
//! the score when they are left. Owns the screens' process; an asked-for end, a limit that is
//! reached or a signal ends it, whatever it is doing.

use super::{Book, code, next, tell, told};
use crate::app::cli::args;
use crate::app::cli::output;
use crate::app::terminal;
use crate::engine::drill::director::STOPS_AT;
use crate::engine::drill::{self, Held, LiveDrill, Options, Wish};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::runner::failpoint;
use crate::screens::text;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::IsTerminal;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How long the screens may take to end when asked to.
const POLITE: Duration = Duration::from_secs(5);

pub(super) fn run(
    args: &args::Drill,
    wish: Wish,
    options: &Options,
    book: &Book,
) -> Result<ExitCode, Explanation> {
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
    let mut live = drill::prepare_live(wish, options, &say).map_err(|e| e.explanation())?;
    if live.wish.facilitated {
        say("A game master attends from another terminal: lifeboat drill master");
    }
    let asked = watch_for_end(&live)?;
    if let Some(copied) = live.sandbox.copied()
        && !agreed(&copied.told().origin().open(), &|| {
            asked.load(Ordering::SeqCst) || live.director.over().is_some()
        })?
    {
        live.sandbox.end_traffic();
        let LiveDrill { director, sandbox, .. } = live;
        drop(director);
        sandbox.close().map_err(|e| e.explanation())?;
        return Err(Explanation::new(
            Kind::Cancelled,
            "The drill was not opened.",
            "Nothing outside the sandbox was touched.",
            "Hold it on a machine that gives namespaces, or without a copy.",
        ));
    }
    let screens = show(&live, &asked);
    let aborted = i32::from(Kind::Cancelled.exit_code());
    let by_key = screens.as_ref().is_ok_and(|status| status.code() == Some(aborted));
    let ended = live
        .director
        .over()
        .or_else(|| by_key.then(|| String::from("The drill was aborted from its screens.")));
    let ended = ended.or_else(|| {
        asked.load(Ordering::SeqCst).then(|| String::from("The drill was ended from outside."))
    });
    let mut held = match &ended {
        Some(why) => drill::give_up(&mut live, args.seed, why),
        None => {
            say("Comparing what is there with what was there before the incident");
            drill::conclude(&mut live, args.seed)
        }
    };
    say("Clearing the sandbox away");
    let LiveDrill { director, sandbox, .. } = live;
    drop(director);
    let (kept, root) = (sandbox.is_kept(), sandbox.root().to_path_buf());
    let cleared = sandbox.close().map_err(|e| e.explanation())?;
    if let Ok(Some(held)) = &mut held {
        held.outcome.torn_down(cleared.proof);
    }
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
    let mode = if args.facilitated { "facilitated" } else { "live" };
    if let Some(why) = ended {
        // What cannot be kept changes nothing of the drill's end.
        match held {
            Ok(Some(held)) => {
                observed(&held)?;
                book.keep(&held, mode)
            }
            Ok(None) => Ok(()),
            Err(error) => Err(error.explanation()),
        }
        .unwrap_or_else(|error| output::warn(&format!("not recorded: {}", error.what)));
        return Err(Explanation::new(
            Kind::Cancelled,
            why,
            "Nothing outside the sandbox was touched.",
            "Start it again when you like.",
        ));
    }
    let status = screens.map_err(|error| {
        Explanation::new(
            Kind::Internal,
            format!("The screens could not be started: {error}."),
            "The sandbox was cleared away.",
            "Try again, or run it without a person: --auto.",
        )
    })?;
    if let Some(held) = held.map_err(|e| e.explanation())? {
        told(&held.outcome)?;
        observed(&held)?;
        book.keep(&held, mode)?;
        next(book)?;
        return Ok(code(&held.outcome));
    }
    output::line("No incident was declared: there is nothing to score.")?;
    Ok(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
}

/// Whether the person goes on although this machine does not hold up all rails of a copy. The
/// screens cover what was told before them.
fn agreed(open: &[String], over: &dyn Fn() -> bool) -> Result<bool, Explanation> {
    if open.is_empty() {
        return Ok(true);
    }
    output::line("")?;
    for rail in open {
        for line in text::wrap(&format!("NOT ENFORCED on this machine: {rail}"), 78) {
            output::line(&line)?;
        }
    }
    output::line("Go on all the same? Type yes to open the screens, anything else to end here:")?;
    let (send, answers) = std::sync::mpsc::channel();
    // Left to itself where the drill ends first: the process ends with it.
    std::thread::spawn(move || {
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        let _ = send.send(read.is_ok() && answer.trim().eq_ignore_ascii_case("yes"));
    });
    loop {
        match answers.recv_timeout(Duration::from_millis(50)) {
            Ok(answer) => return Ok(answer),
            Err(RecvTimeoutError::Timeout) if !over() => {}
            Err(_) => return Ok(false),
        }
    }
}

/// What a game master noted, now that all may know.
fn observed(held: &Held) -> Result<(), Explanation> {
    let Some(facilitation) = &held.facilitation else { return Ok(()) };
    output::line(&format!("  Observed by the game master: {}", facilitation.observations.len()))?;
    facilitation.observations.iter().try_for_each(|one| {
        output::line(&format!("    {} {}", one.at.strftime("%H:%M:%S"), one.text))
    })
}

/// Set once somebody asks this process to end.
fn watch_for_end(live: &LiveDrill) -> Result<Arc<AtomicBool>, Explanation> {
    use tokio::signal::unix::{SignalKind, signal};
    let asked = Arc::new(AtomicBool::new(false));
    let runtime = live.sandbox.runtime().map_err(|e| e.explanation())?;
    for kind in [SignalKind::terminate(), SignalKind::hangup(), SignalKind::quit()] {
        let flag = Arc::clone(&asked);
        let _guard = runtime.enter();
        let Ok(mut stream) = signal(kind) else { continue };
        runtime.spawn(async move {
            stream.recv().await;
            flag.store(true, Ordering::SeqCst);
        });
    }
    Ok(asked)
}

/// Runs the screens until they are left, or the drill has to end.
fn show(live: &LiveDrill, asked: &AtomicBool) -> std::io::Result<ExitStatus> {
    let mut command = Command::new(live.sandbox.program());
    command.arg("--config").arg(&live.sandbox.config().path);
    command.args(["screens", "--scenario", &live.wish.scenario.name]);
    if live.director.stops_runner() {
        command.env(failpoint::VARIABLE, STOPS_AT);
    }
    let before = terminal::Before::of_now();
    let mut child = command.spawn()?;
    let ended = loop {
        if let Some(status) = child.try_wait()? {
            break Ok(status);
        }
        if asked.load(Ordering::SeqCst) || live.director.over().is_some() {
            break end(&mut child);
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if ended.as_ref().is_ok_and(|status| status.signal().is_some()) {
        before.give_back();
    }
    ended
}

fn end(child: &mut Child) -> std::io::Result<ExitStatus> {
    if let Ok(pid) = i32::try_from(child.id()) {
        // Gone already is what was wanted.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    let begun = Instant::now();
    while begun.elapsed() < POLITE {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill()?;
    child.wait()
}
