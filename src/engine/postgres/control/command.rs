//! The driver over programs of one's own. Owns how their arguments are filled in. They are run as
//! they stand, through no shell unless the configuration says so, with a limit; what they say is
//! shown where they fail, and whether they did their work the server itself shows.

use super::held;
use super::pg_ctl::{PgCtl, shell_quoted};
use super::wait::{self, Helper, Mark};
use super::{
    Call, ControlError, Driver, Purpose, StartOptions, StartWait, Started, StopMode, Stopped,
};
use crate::engine::config::Commands;
use crate::engine::postgres::child;
use crate::engine::postgres::control_file::{self, ClusterState};
use crate::engine::postgres::discovery::{Owner, Running};
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::thread;
use std::time::{Duration, Instant};

const UNDO_LIMIT: Duration = Duration::from_secs(30);
/// The limit with which it is told what a command will be.
const ASKED: Duration = Duration::from_secs(60);

/// A server that its operators' own programs start and stop.
#[derive(Debug)]
pub struct Command {
    commands: Commands,
    cluster: String,
    owner: Owner,
    /// For what has no command of its own.
    inner: PgCtl,
}

impl Command {
    #[must_use]
    pub fn new(commands: Commands, cluster: &str, owner: Owner, inner: PgCtl) -> Self {
        Self { commands, cluster: cluster.to_owned(), owner, inner }
    }

    /// A command's words as they are run.
    fn words(&self, words: &[String], mode: StopMode, limit: Duration) -> Vec<String> {
        let text = |path: &Path| path.display().to_string();
        let values = [
            ("{data_directory}", text(self.data_directory())),
            ("{bin_directory}", text(self.inner.bin_directory())),
            ("{log}", text(self.log())),
            ("{cluster}", self.cluster.clone()),
            ("{mode}", mode.word().to_owned()),
            ("{seconds}", limit.as_secs().max(1).to_string()),
        ];
        let filled = words.iter().map(|word| fill(word, &values, self.commands.shell));
        if self.commands.shell {
            let shell = ["/bin/sh", "-c"].map(String::from);
            return shell.into_iter().chain(filled.take(1)).collect();
        }
        filled.collect()
    }

    fn process(
        &self,
        words: &[String],
        mode: StopMode,
        limit: Duration,
    ) -> Result<Process, ControlError> {
        let filled = self.words(words, mode, limit);
        let (program, arguments) = filled.split_first().map_or_else(
            || (String::new(), [].as_slice()),
            |(program, rest)| (program.clone(), rest),
        );
        let us = Owner::current();
        let user = if self.commands.as_server { &self.owner } else { &us };
        let mut process = child::command(&program, user)
            .map_err(|source| ControlError::Run { program: PathBuf::from(&program), source })?;
        process.args(arguments);
        Ok(process)
    }
}

/// Fills the values in, each once: what is filled in is not looked at again.
fn fill(word: &str, values: &[(&str, String)], shell: bool) -> String {
    let mut made = String::new();
    let mut rest = word;
    while let Some(at) = rest.find('{') {
        let (before, after) = rest.split_at(at);
        made.push_str(before);
        match values.iter().find(|(name, _)| after.starts_with(name)) {
            Some((name, value)) => {
                made.push_str(&if shell { shell_quoted(value) } else { value.clone() });
                rest = after.get(name.len()..).unwrap_or_default();
            }
            None => {
                made.push('{');
                rest = after.get(1..).unwrap_or_default();
            }
        }
    }
    made.push_str(rest);
    made
}

impl Driver for Command {
    fn data_directory(&self) -> &Path {
        self.inner.data_directory()
    }

    fn log(&self) -> &Path {
        self.inner.log()
    }

    fn keeps_settings(&self) -> bool {
        true
    }

    fn calls(&self) -> Vec<Call> {
        if self.commands.as_server {
            return Vec::new();
        }
        let call = |purpose, words: &[String]| Call {
            purpose,
            words: self.words(words, StopMode::Fast, ASKED),
        };
        let mut all = vec![
            call(Purpose::Stop, &self.commands.stop),
            call(Purpose::Start, &self.commands.start),
        ];
        all.extend(self.commands.promote.iter().map(|words| call(Purpose::Promote, words)));
        all
    }

    fn start(&self, options: &StartOptions) -> Result<Started, ControlError> {
        if let Running::Yes(_) = self.status()? {
            return Ok(Started::AlreadyRunning);
        }
        let from = held::hold(self.data_directory(), &self.owner, options)?;
        let log = options.log.as_deref().unwrap_or_else(|| self.log());
        let (StartWait::Ready(limit) | StartWait::Begun(limit)) = options.wait;
        let process = self.process(&self.commands.start, StopMode::Fast, limit)?;
        let mut helper = Helper::begin(process)?;
        // A program that ended well may have asked another one, which takes a while.
        let mark = Mark { log, from };
        let started = wait::for_start(self, &mut helper, options.wait, mark, &|| Ok(None));
        // It may be the server's own keeper, and is not ended while a server runs.
        if started.is_err() && !matches!(self.status()?, Running::Yes(_)) {
            helper.kill();
        } else {
            helper.leave();
        }
        let started = started?;
        if let Err(error) = held::verify(self, options) {
            self.stop(StopMode::Fast, UNDO_LIMIT)?;
            return Err(error);
        }
        Ok(started)
    }

    fn stop(&self, mode: StopMode, limit: Duration) -> Result<Stopped, ControlError> {
        if !matches!(self.status()?, Running::Yes(_)) {
            return Ok(Stopped::WasDown);
        }
        let mut helper = Helper::begin(self.process(&self.commands.stop, mode, limit)?)?;
        let stopped = wait::for_stop(self, &mut helper, mode, limit);
        helper.leave();
        stopped
    }

    fn promote(&self, limit: Duration) -> Result<(), ControlError> {
        let Some(words) = &self.commands.promote else { return self.inner.promote(limit) };
        self.expect_running("be promoted")?;
        let end = Instant::now() + limit;
        let process = self.process(words, StopMode::Fast, limit)?;
        let (ok, said) = Helper::begin(process)?.finish(limit)?;
        if !ok {
            return Err(self.promote_failed(said));
        }
        loop {
            let state = control_file::read(self.data_directory()).map(|control| control.state);
            if matches!(state, Ok(ClusterState::InProduction)) {
                return Ok(());
            }
            if Instant::now() >= end {
                let said = format!("still in recovery after {} s.", limit.as_secs());
                return Err(self.promote_failed(said));
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_filled_in_once_and_quoted_for_a_shell_alone() {
        let values = [("{data_directory}", String::from("/a {mode}'s")), ("{mode}", "fast".into())];
        let filled = |word: &str, shell| fill(word, &values, shell);
        assert_eq!(filled("-D{data_directory}", false), "-D/a {mode}'s");
        assert_eq!(filled("x {mode} {other} {", false), "x fast {other} {");
        assert_eq!(filled("stop {data_directory}", true), r"stop '/a {mode}'\''s'");
    }
}
