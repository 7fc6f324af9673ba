//! The driver over systemd. A server that belongs to a unit is stopped and started through it: one
//! stopped by a signal would be started again. Owns the questions to `systemctl`; what it answers
//! is never enough, the server itself is looked at too. A unit that runs another server is never
//! touched.

use super::held;
use super::pg_ctl::PgCtl;
use super::unit::{Systemctl, UnitState};
use super::wait::{self, Helper, Mark};
use super::{Call, ControlError, Driver, Purpose, StartOptions, Started, StopMode, Stopped};
use crate::engine::postgres::discovery::{Owner, Running};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

const RESET_LIMIT: Duration = Duration::from_secs(30);
/// How long systemd may take to note what became of a server that is down.
const NOTED: Duration = Duration::from_secs(30);

/// A server that a unit runs.
#[derive(Debug)]
pub struct Systemd {
    systemctl: Systemctl,
    unit: String,
    owner: Owner,
    /// For what is no start and no stop.
    inner: PgCtl,
}

impl Systemd {
    #[must_use]
    pub fn new(systemctl: Systemctl, unit: String, owner: Owner, inner: PgCtl) -> Self {
        Self { systemctl, unit, owner, inner }
    }

    fn unit_state(&self) -> Result<UnitState, ControlError> {
        self.systemctl.show(&self.unit)
    }

    /// The process of the server in the data directory.
    fn pid(&self) -> Result<Option<i32>, ControlError> {
        Ok(self.status()?.postmaster().map(|postmaster| postmaster.pid))
    }

    /// Whether the unit runs something else than the server in the data directory.
    fn refuse_other(&self, state: &UnitState, ours: Option<i32>) -> Result<(), ControlError> {
        match state.main_pid {
            Some(pid) if Some(pid) != ours => Err(ControlError::OtherServer {
                unit: self.unit.clone(),
                pid,
                directory: self.data_directory().to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Waits until systemd has noted that the unit is down and keeps it so.
    fn until_quiet(&self, limit: Duration) -> Result<bool, ControlError> {
        let end = Instant::now() + limit;
        loop {
            if self.unit_state()?.is_down() && self.pid()?.is_none() {
                return Ok(true);
            }
            if Instant::now() >= end {
                return Ok(false);
            }
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Driver for Systemd {
    fn data_directory(&self) -> &Path {
        self.inner.data_directory()
    }

    fn log(&self) -> &Path {
        self.inner.log()
    }

    fn check(&self) -> Result<(), ControlError> {
        self.refuse_other(&self.unit_state()?, self.pid()?)
    }

    fn stays_down(&self) -> Result<bool, ControlError> {
        // A unit that waits for its next attempt has no server and will have one.
        Ok(self.pid()?.is_none() && self.unit_state()?.is_down())
    }

    fn keeps_settings(&self) -> bool {
        true
    }

    fn calls(&self) -> Vec<Call> {
        let call = |purpose, verb| Call { purpose, words: self.systemctl.words(verb, &self.unit) };
        vec![
            call(Purpose::Look, "show"),
            call(Purpose::Stop, "stop"),
            call(Purpose::Start, "start"),
            call(Purpose::Start, "reset-failed"),
        ]
    }

    fn start(&self, options: &StartOptions) -> Result<Started, ControlError> {
        if let Running::Yes(_) = self.status()? {
            return Ok(Started::AlreadyRunning);
        }
        let state = self.unit_state()?;
        self.refuse_other(&state, None)?;
        let from = held::hold(self.data_directory(), &self.owner, options)?;
        if state.active == "failed" {
            // Else it counts earlier failures and may refuse to start it.
            self.systemctl.run("reset-failed", &self.unit, RESET_LIMIT)?;
        }
        let log = options.log.as_deref().unwrap_or_else(|| self.log());
        let command = self.systemctl.command("start", &self.unit)?;
        let mut helper = Helper::begin(command)?;
        let given_up = || {
            let state = self.unit_state()?;
            Ok((state.active == "failed").then(|| {
                format!(
                    "{} failed ({}); see: journalctl -u {}.",
                    self.unit, state.result, self.unit
                )
            }))
        };
        let mark = Mark { log, from };
        let started = wait::for_start(self, &mut helper, options.wait, mark, &given_up);
        helper.leave();
        let started = started?;
        if let Err(error) = held::verify(self, options) {
            self.stop(StopMode::Fast, RESET_LIMIT)?;
            return Err(error);
        }
        Ok(started)
    }

    fn stop(&self, mode: StopMode, limit: Duration) -> Result<Stopped, ControlError> {
        let (state, pid) = (self.unit_state()?, self.pid()?);
        if state.is_down() && state.main_pid.is_none() {
            // Whoever started this server, systemd does not watch over it.
            return self.inner.stop(mode, limit);
        }
        self.refuse_other(&state, pid)?;
        if mode != StopMode::Fast {
            return Err(ControlError::Mode { driver: "systemd", mode });
        }
        let command = self.systemctl.command("stop", &self.unit)?;
        let mut helper = Helper::begin(command)?;
        let stopped = if pid.is_some() {
            wait::for_stop(self, &mut helper, mode, limit)?
        } else {
            // It would have been started again.
            Stopped::WasDown
        };
        if self.until_quiet(NOTED.min(limit))? {
            helper.leave();
            return Ok(stopped);
        }
        helper.kill();
        Err(ControlError::StopFailed {
            directory: self.data_directory().to_owned(),
            said: format!("{} is still {} for systemd.", self.unit, self.unit_state()?.active),
            log: Vec::new(),
        })
    }

    fn promote(&self, limit: Duration) -> Result<(), ControlError> {
        self.inner.promote(limit)
    }
}
