//! Turns counted bytes into what a progress bar needs: rate, time to go, a history for charts.
//! Owns arithmetic and moderation; never decides what is counted.

use crate::engine::runner::protocol::{Progress, Unit};
use crate::engine::runner::work::Report;
use jiff::Timestamp;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Reports are sent no faster than this.
const EVERY: Duration = Duration::from_millis(100);
/// Rates are taken once a second, and the last five make the rate that is shown.
const SAMPLE: Duration = Duration::from_secs(1);
const SAMPLES_SHOWN: usize = 5;
const HISTORY: usize = 120;

/// Counts one job's work from any thread and reports it.
pub struct Meter<'a> {
    report: Report<'a>,
    job: String,
    unit: Unit,
    started: Timestamp,
    begun: Instant,
    done: AtomicU64,
    total: AtomicU64,
    state: Mutex<State>,
}

struct State {
    label: String,
    last_report: Option<Instant>,
    sampled: Instant,
    sampled_done: u64,
    history: VecDeque<f64>,
}

impl std::fmt::Debug for Meter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("job", &self.job).finish_non_exhaustive()
    }
}

impl<'a> Meter<'a> {
    /// `total` is zero where it is not known yet.
    #[must_use]
    pub fn new(report: Report<'a>, job: &str, unit: Unit, total: u64) -> Self {
        let now = Instant::now();
        Self {
            report,
            job: job.to_owned(),
            unit,
            started: Timestamp::now(),
            begun: now,
            done: AtomicU64::new(0),
            total: AtomicU64::new(total),
            state: Mutex::new(State {
                label: String::new(),
                last_report: None,
                sampled: now,
                sampled_done: 0,
                history: VecDeque::new(),
            }),
        }
    }

    pub fn set_total(&self, total: u64) {
        self.total.store(total, Ordering::Relaxed);
    }

    /// What it does now; seen with the next report.
    pub fn at(&self, text: &str) {
        if let Ok(mut state) = self.state.try_lock()
            && state.last_report.is_none_or(|at| at.elapsed() >= EVERY)
        {
            text.clone_into(&mut state.label);
            self.send(&mut state);
        }
    }

    /// What it does now. Reports at once.
    pub fn phase(&self, text: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.label != text {
            text.clone_into(&mut state.label);
            self.send(&mut state);
        }
    }

    /// Counts `amount` more, and reports where it is time.
    pub fn add(&self, amount: u64) {
        self.done.fetch_add(amount, Ordering::Relaxed);
        self.tick();
    }

    /// Counts what was there already, without a rate.
    pub fn skip(&self, amount: u64) {
        self.done.fetch_add(amount, Ordering::Relaxed);
        if let Ok(mut state) = self.state.try_lock() {
            state.sampled_done = state.sampled_done.saturating_add(amount);
        }
    }

    /// Reports where it is time; cheap otherwise.
    pub fn tick(&self) {
        if let Ok(mut state) = self.state.try_lock()
            && state.last_report.is_none_or(|at| at.elapsed() >= EVERY)
        {
            self.send(&mut state);
        }
    }

    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Seconds since the meter was made.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn send(&self, state: &mut State) {
        let now = Instant::now();
        let done = self.done();
        let since = now.duration_since(state.sampled);
        let current = done.saturating_sub(state.sampled_done) as f64;
        if since >= SAMPLE {
            state.history.push_back(current / since.as_secs_f64());
            if state.history.len() > HISTORY {
                state.history.pop_front();
            }
            state.sampled = now;
            state.sampled_done = done;
        }
        let shown = state.history.iter().rev().take(SAMPLES_SHOWN);
        let count = shown.len();
        let rate = match count {
            // Less than a second has passed: the mean so far.
            0 => (since > EVERY).then(|| current / since.as_secs_f64()),
            _ => Some(shown.sum::<f64>() / count as f64),
        };
        let total = Some(self.total.load(Ordering::Relaxed)).filter(|total| *total > 0);
        let rest = total.map(|total| total.saturating_sub(done) as f64);
        let eta = rest.zip(rate.filter(|rate| *rate > 0.0)).map(|(rest, rate)| rest / rate);
        state.last_report = Some(now);
        (self.report)(Progress {
            job: self.job.clone(),
            label: state.label.clone(),
            started: self.started,
            done,
            total,
            unit: self.unit,
            rate,
            eta,
            history: state.history.iter().copied().collect(),
            lsn: None,
            replayed_until: None,
            log: Vec::new(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_from_many_threads_and_reports_moderately() {
        let reports = Mutex::new(Vec::new());
        let report = |progress: Progress| reports.lock().unwrap().push(progress);
        let meter = Meter::new(&report, "backup", Unit::Bytes, 8000);
        meter.phase("base/5/16402");
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| (0..1000).for_each(|_| meter.add(1)));
            }
        });
        meter.phase("done");
        assert_eq!(meter.done(), 8000);
        let reports = reports.into_inner().unwrap();
        assert_eq!(reports.last().unwrap().done, 8000);
        assert_eq!(reports.last().unwrap().total, Some(8000));
        assert!(reports.len() < 1000, "{} reports", reports.len());
    }
}
