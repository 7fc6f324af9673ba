//! Waiting for what a program was asked to do to a server. Owns the rule that the server itself
//! is looked at: a program's word or exit code is never taken for it.

use super::{
    ControlError, Driver, LOG_LINES, StartWait, Started, StopMode, Stopped, last_lines, started,
};
use crate::engine::postgres::discovery::{Readiness, Running};
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes of a program's output that are kept for an error.
const SAID: u64 = 8 << 10;
/// How long a server that was asked to stop, by a program that then failed, may take to show it.
const PATIENCE: Duration = Duration::from_secs(2);

/// A program at work. Its output goes into a file: a server that it leaves behind may keep hold of
/// it, which would keep the reader of a pipe for ever.
#[derive(Debug)]
pub(super) struct Helper {
    program: PathBuf,
    child: Child,
    output: File,
    ended: Option<ExitStatus>,
}

impl Helper {
    pub(super) fn begin(mut command: Command) -> Result<Self, ControlError> {
        let program = PathBuf::from(command.get_program());
        let run = |source| ControlError::Run { program: program.clone(), source };
        let output = tempfile::tempfile().map_err(run)?;
        let (out, err) = (output.try_clone().map_err(run)?, output.try_clone().map_err(run)?);
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().map_err(run)?;
        Ok(Self { child, output, ended: None, program })
    }

    /// How it ended, where it has.
    pub(super) fn ended(&mut self) -> Result<Option<ExitStatus>, ControlError> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().map_err(|source| self.error(source))?;
        }
        Ok(self.ended)
    }

    /// Waits for its end; kills it after `limit`, which is an error.
    pub(super) fn finish(mut self, limit: Duration) -> Result<(bool, String), ControlError> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.ended()? {
                return Ok((status.success(), self.said()));
            }
            if Instant::now() >= end {
                self.kill();
                let what = format!("not finished after {} s", limit.as_secs());
                return Err(self.error(io::Error::new(io::ErrorKind::TimedOut, what)));
            }
            thread::sleep(LOOK_EVERY);
        }
    }

    /// What it said, or how it ended where it said nothing.
    pub(super) fn said(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self
            .output
            .rewind()
            .and_then(|()| (&mut self.output).take(SAID).read_to_end(&mut bytes));
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        match (read, self.ended) {
            (Ok(_), _) if !text.is_empty() => text,
            (_, Some(status)) => format!("{} ended: {status}", self.program.display()),
            (_, None) => format!("{} said nothing", self.program.display()),
        }
    }

    /// Ends it: for a program that only watches.
    pub(super) fn kill(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            self.ended = self.child.wait().ok();
        }
    }

    /// Lets it go on by itself; its end is noticed, lest it stay in the process table.
    pub(super) fn leave(self) {
        let Self { mut child, ended, .. } = self;
        if ended.is_none() {
            thread::spawn(move || {
                let _ = child.wait();
            });
        }
    }

    fn error(&self, source: io::Error) -> ControlError {
        ControlError::Run { program: self.program.clone(), source }
    }
}

/// Where a start's messages are, and from which byte on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark<'a> {
    pub(super) log: &'a Path,
    pub(super) from: u64,
}

impl Mark<'_> {
    pub(super) fn lines(&self) -> Vec<String> {
        last_lines(self.log, self.from, LOG_LINES)
    }
}

/// Waits until the server has come as far as was asked. `given_up` says why nothing is to be
/// waited for any more, once the helper has ended well and no server runs.
pub(super) fn for_start(
    driver: &dyn Driver,
    helper: &mut Helper,
    wait: StartWait,
    mark: Mark<'_>,
    given_up: &dyn Fn() -> Result<Option<String>, ControlError>,
) -> Result<Started, ControlError> {
    let (StartWait::Ready(limit) | StartWait::Begun(limit)) = wait;
    let directory = || driver.data_directory().to_owned();
    let failed = |said: String| ControlError::StartFailed {
        directory: directory(),
        said,
        log: mark.lines(),
    };
    let end = Instant::now() + limit;
    loop {
        // Before the server is looked at: one that came up meanwhile counts.
        let ended = helper.ended()?;
        let late = Instant::now() >= end;
        match (driver.status()?, wait) {
            (Running::Yes(postmaster), StartWait::Begun(_)) => {
                return Ok(started(postmaster.readiness));
            }
            (Running::Yes(postmaster), StartWait::Ready(_)) => {
                if matches!(postmaster.readiness, Readiness::Ready | Readiness::Standby) {
                    return Ok(started(postmaster.readiness));
                }
                if late {
                    let log = mark.lines();
                    return Err(ControlError::StillStarting { directory: directory(), limit, log });
                }
            }
            (Running::No | Running::Stale { .. }, _) => {
                match ended {
                    Some(status) if !status.success() => return Err(failed(helper.said())),
                    Some(_) => {
                        if let Some(why) = given_up()? {
                            return Err(failed(why));
                        }
                    }
                    None => {}
                }
                if late {
                    let said = format!("no server process within {} s.", limit.as_secs());
                    return Err(failed(said));
                }
            }
        }
        thread::sleep(LOOK_EVERY);
    }
}

/// Waits until the server is down.
pub(super) fn for_stop(
    driver: &dyn Driver,
    helper: &mut Helper,
    mode: StopMode,
    limit: Duration,
) -> Result<Stopped, ControlError> {
    let begun = Instant::now();
    let directory = || driver.data_directory().to_owned();
    loop {
        let ended = helper.ended()?;
        let readiness = match driver.status()? {
            Running::Yes(postmaster) => postmaster.readiness,
            Running::No | Running::Stale { .. } => return Ok(Stopped::Stopped),
        };
        let refused = ended.is_some_and(|status| !status.success());
        if refused && readiness != Readiness::Stopping && begun.elapsed() >= PATIENCE.min(limit) {
            let log = last_lines(driver.log(), 0, LOG_LINES);
            return Err(ControlError::StopFailed {
                directory: directory(),
                said: helper.said(),
                log,
            });
        }
        if begun.elapsed() >= limit {
            helper.kill();
            let log = last_lines(driver.log(), 0, LOG_LINES);
            return Err(ControlError::StillRunning { directory: directory(), limit, mode, log });
        }
        thread::sleep(LOOK_EVERY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> Helper {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", text]);
        Helper::begin(command).unwrap()
    }

    #[test]
    fn a_program_is_heard_although_what_it_leaves_behind_keeps_its_output() {
        let begun = Instant::now();
        let (ok, said) = shell("sleep 20 & echo \"$!\"; exit 3").finish(PATIENCE * 5).unwrap();
        assert!(!ok && begun.elapsed() < Duration::from_secs(10));
        let left: i32 = said.parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(left), nix::sys::signal::SIGKILL)
            .unwrap();
        let (_, said) = shell("exit 3").finish(PATIENCE * 5).unwrap();
        assert!(said.contains("exit status: 3"), "{said}");
    }

    #[test]
    fn a_program_that_takes_too_long_is_ended_and_said() {
        let error = shell("exec sleep 100").finish(Duration::from_millis(20)).unwrap_err();
        assert!(error.to_string().contains("not finished"), "{error}");
    }
}
