//! Feeds the catalogue beside the recovery: a thread that follows the journal's file. Never keeps a
//! step waiting, and never ends a runner.

use super::{connection, sync};
use crate::engine::config::Config;
use crate::engine::config::catalogue::Catalogue;
use crate::engine::incident::journal;
use crate::engine::schedule::run::Stop;
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the journal's length is looked at.
const LOOK: Duration = Duration::from_secs(2);
/// The first pause after a failure; it doubles up to [`LONGEST`].
const PAUSE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

/// The thread of one incident's runner.
#[derive(Debug)]
pub struct Feeder {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

impl Feeder {
    /// Begins where a catalogue is configured.
    #[must_use]
    pub fn begin(config: &Config, incident: &Path) -> Self {
        let stop = Arc::new(Stop::default());
        let Some(catalogue) = config.catalogue.clone() else { return Self { stop, thread: None } };
        let (incident, ended) = (incident.to_owned(), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name(String::from("catalogue"))
            .spawn(move || follow(&catalogue, &incident, &ended));
        Self { stop, thread: thread.ok() }
    }

    /// Ends within about `limit`; the scheduler, or the next runner, sends the rest.
    pub fn end(self, limit: Duration) {
        self.stop.ask();
        let until = Instant::now() + limit;
        while self.thread.as_ref().is_some_and(|one| !one.is_finished()) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn follow(catalogue: &Catalogue, incident: &Path, stop: &Stop) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return;
    };
    let file = incident.join(journal::FILE);
    let length = || std::fs::metadata(&file).map_or(0, |found| found.len());
    let (mut sent, mut tries) = (0, 0_u32);
    let mut next = Instant::now();
    loop {
        let ending = stop.wait(LOOK);
        let now = length();
        if now != sent && (ending || Instant::now() >= next) {
            let sending = async {
                let mut session = connection::ready(catalogue).await?;
                sync::incident(&mut session, incident).await
            };
            match runtime.block_on(sending) {
                Ok(_) => (sent, tries) = (now, 0),
                // The reason is told by `catalogue status`, to whoever asks.
                Err(_) => {
                    next = Instant::now() + PAUSE.saturating_mul(1 << tries.min(8)).min(LONGEST);
                    tries = tries.saturating_add(1);
                }
            }
        }
        if ending {
            return;
        }
    }
}
