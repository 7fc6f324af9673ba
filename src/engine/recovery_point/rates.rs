//! Rates measured on this machine, in `<state>/rates.json`. Owns the file and the forecast made
//! from it; never measures.

use crate::engine::files;
use crate::engine::incident::facts::{Forecast, OnDisk};
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Runs remembered of each kind.
const REMEMBERED: usize = 8;
/// Shorter runs say nothing about a rate.
const MIN_SECONDS: f64 = 0.5;
const MIN_BYTES: u64 = 16 << 20;

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Fetching and writing a base backup; bytes of the data directory.
    Copy,
    /// Replay; bytes of WAL.
    Replay,
    /// Comparing and copying files that a directory here has already; bytes of the data directory.
    Take,
}

/// Rates in bytes a second, newest last.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Rates {
    #[serde(default)]
    pub copy: Vec<f64>,
    #[serde(default)]
    pub replay: Vec<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub take: Vec<f64>,
}

impl Rates {
    #[must_use]
    pub fn path(state_directory: &Path) -> PathBuf {
        state_directory.join("rates.json")
    }

    /// What was measured here so far. An unreadable file counts as nothing measured: rates only
    /// serve a forecast, which then says that it is not measured.
    #[must_use]
    pub fn load(state_directory: &Path) -> Self {
        let content = std::fs::read(Self::path(state_directory)).unwrap_or_default();
        let mut rates: Self = serde_json::from_slice(&content).unwrap_or_default();
        for list in [&mut rates.copy, &mut rates.replay, &mut rates.take] {
            list.retain(|rate| rate.is_finite() && *rate > 0.0);
        }
        rates
    }

    /// Remembers a run of `bytes` in `seconds`; runs too short to tell are ignored.
    #[allow(clippy::cast_precision_loss, reason = "a rate needs no exact count")]
    pub fn learn(&mut self, work: Work, bytes: u64, seconds: f64) {
        if seconds < MIN_SECONDS || !seconds.is_finite() || bytes < MIN_BYTES {
            return;
        }
        let list = match work {
            Work::Copy => &mut self.copy,
            Work::Replay => &mut self.replay,
            Work::Take => &mut self.take,
        };
        list.push(bytes as f64 / seconds);
        let excess = list.len().saturating_sub(REMEMBERED);
        list.drain(..excess);
    }

    /// Writes the file, all or nothing.
    ///
    /// # Errors
    /// Any I/O error; the file is then as it was.
    pub fn save(&self, state_directory: &Path) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(self)?;
        files::replace(&Self::path(state_directory), &json, 0o600)
    }

    /// Seconds for copying `data` bytes and replaying `wal` bytes.
    #[must_use]
    pub fn forecast(&self, data: u64, wal: u64) -> Forecast {
        // What a machine with two cores did, taken wide, until something was measured here.
        let copy = range(&self.copy).unwrap_or((80e6, 600e6));
        let replay = range(&self.replay).unwrap_or((30e6, 250e6));
        Forecast {
            copy: seconds(data, copy),
            replay: seconds(wal, replay),
            measured: !self.copy.is_empty() && !self.replay.is_empty(),
        }
    }

    /// As [`Rates::forecast`], where a directory here has some of the files already: at best all
    /// that may be equal is, at worst what was written to since is fetched after it was compared.
    #[must_use]
    pub fn forecast_over(&self, disk: &OnDisk, wal: u64) -> Forecast {
        let taking = range(&self.take).unwrap_or((100e6, 1500e6));
        let take = seconds(disk.compared(), taking);
        let (least, most) = disk.fetched();
        let best = self.forecast(least, wal);
        let worst = self.forecast(most, wal);
        Forecast {
            copy: (best.copy.0 + take.0, worst.copy.1 + take.1),
            measured: best.measured && !self.take.is_empty(),
            ..best
        }
    }
}

/// Slowest and fastest rate to expect: a little beyond what was seen.
fn range(rates: &[f64]) -> Option<(f64, f64)> {
    let least = rates.iter().copied().reduce(f64::min)?;
    let most = rates.iter().copied().reduce(f64::max)?;
    Some((least * 0.8, most * 1.1))
}

#[allow(clippy::cast_precision_loss, reason = "a forecast needs no exact count")]
fn seconds(bytes: u64, (slow, fast): (f64, f64)) -> (f64, f64) {
    (bytes as f64 / fast, bytes as f64 / slow)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_measured_is_said_so() {
        let folder = tempfile::tempdir().unwrap();
        let rates = Rates::load(folder.path());
        assert!(!rates.forecast(1 << 30, 1 << 30).measured);
    }

    #[test]
    fn what_was_measured_bounds_the_forecast_and_survives() {
        let folder = tempfile::tempdir().unwrap();
        let mut rates = Rates::default();
        for _ in 0..20 {
            rates.learn(Work::Copy, 1_000_000_000, 10.0);
            rates.learn(Work::Replay, 1_000_000_000, 5.0);
        }
        rates.learn(Work::Copy, 10, 0.001);
        rates.save(folder.path()).unwrap();
        let rates = Rates::load(folder.path());
        assert_eq!(rates.copy.len(), REMEMBERED);
        let forecast = rates.forecast(1_000_000_000, 2_000_000_000);
        assert!(forecast.measured);
        assert!(forecast.copy.0 < 10.0 && 10.0 < forecast.copy.1);
        assert!(forecast.replay.0 < 10.0 && 10.0 < forecast.replay.1);
    }

    #[test]
    fn what_the_disk_has_shortens_the_copy_and_what_is_unsure_widens_it() {
        let mut rates = Rates::default();
        rates.learn(Work::Copy, 1_000_000_000, 10.0);
        rates.learn(Work::Replay, 1_000_000_000, 5.0);
        let disk = |unchanged, unsure, gone| OnDisk {
            directory: String::from("/srv/pg"),
            unchanged,
            unsure,
            gone,
        };
        let (whole, half) = (10_000_000_000, 5_000_000_000);
        let fetched = rates.forecast(whole, 0);
        let over = rates.forecast_over(&disk(whole, 0, 0), 0);
        assert!(over.copy.1 < fetched.copy.1 && !over.measured, "{over:?}");
        rates.learn(Work::Take, 1_000_000_000, 1.0);
        let over = rates.forecast_over(&disk(whole, 0, 0), 0);
        assert!(over.measured && over.copy.0 < 10.0 && 10.0 < over.copy.1, "{over:?}");
        let unsure = rates.forecast_over(&disk(half, half, 0), 0);
        assert!(unsure.copy.0 <= over.copy.0 && unsure.copy.1 > over.copy.1 + 50.0, "{unsure:?}");
        // Nothing of it there: as dear as from the repository alone.
        assert_eq!(rates.forecast_over(&disk(0, 0, whole), 0), fetched);
    }

    #[test]
    fn a_broken_file_is_nothing_measured() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(Rates::path(folder.path()), b"{\"copy\":[0,-1]").unwrap();
        assert_eq!(Rates::load(folder.path()), Rates::default());
    }
}
