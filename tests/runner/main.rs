//! The runner as its clients see it: real sockets, real journals, and a world of files in place
//! of servers and repositories.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod access;
mod crash;
mod fake;
mod ladder;
mod life;
mod people;
mod procedure;
mod stage;

use lifeboat::engine::runner::{server, spawn};
use std::path::PathBuf;
use std::sync::Arc;

/// The runner's process of the tests that kill one; of no effect without its environment.
#[test]
fn child_runner() {
    let Some(incident) = std::env::var_os("LIFEBOAT_TEST_INCIDENT") else { return };
    let world = PathBuf::from(std::env::var_os("LIFEBOAT_TEST_WORLD").unwrap());
    spawn::detach();
    let work = Arc::new(fake::FakeWork { world });
    let mut options = server::RunnerOptions::new(PathBuf::from(incident), work);
    options.declaration = Some(fake::declaration(stage::ID));
    // Lest one be left behind by a test that fails.
    options.idle_exit = Some(std::time::Duration::from_secs(5));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let ended = runtime.block_on(server::run(options));
    runtime.shutdown_background();
    if let Err(error) = ended {
        eprintln!("{error}");
        std::process::exit(6);
    }
}
