//! GameDay drills: sandbox, scenarios, traffic, scoring. A drill works on a throwaway cluster of
//! its own making and can reach no other one: its configuration names nothing else.

pub mod auto;
pub mod error;
pub mod place;
pub mod processes;
pub mod sandbox;
pub mod scenario;
pub mod score;
pub mod seat;
pub mod server;
pub mod shop;
pub mod strike;
pub mod traffic;
pub mod user;

pub use auto::Outcome;
pub use error::DrillError;
pub use sandbox::{Options, Sandbox, Say};

use crate::engine::explain::Explain;
use crate::engine::runbook::Runbook;
use scenario::Scenario;
use seat::Seat;

/// A sandbox that was struck, its traffic still running, for a person to recover.
#[derive(Debug)]
pub struct LiveDrill {
    pub scenario: Scenario,
    pub sandbox: Sandbox,
}

/// Makes the sandbox, backs it up, puts traffic on it and lets the incident happen.
///
/// # Errors
/// Where any of it fails; the sandbox is cleared away then, unless it is to be kept.
pub fn prepare(scenario: &str, options: &Options, say: Say<'_>) -> Result<LiveDrill, DrillError> {
    let scenario = scenario::load(scenario)?;
    let rate = scenario.load.transactions_per_second;
    let mut sandbox = Sandbox::create(options, &Sandbox::make_repository, say)?;
    say("Taking a base backup");
    sandbox.back_up()?;
    say("The shop is open: customers place orders");
    sandbox.begin_traffic(&scenario.load)?;
    sandbox.let_traffic_run(scenario.load.before_incident, rate)?;
    sandbox.strike(&scenario.incident)?;
    sandbox.let_traffic_run(scenario.load.after_incident, rate)?;
    Ok(LiveDrill { scenario, sandbox })
}

/// As [`prepare`], for the screens: from here on they mind interrupts.
///
/// # Errors
/// As [`prepare`].
pub fn prepare_live(
    scenario: &str,
    options: &Options,
    say: Say<'_>,
) -> Result<LiveDrill, DrillError> {
    let mut live = prepare(scenario, options, say)?;
    live.sandbox.leave_signals();
    Ok(live)
}

/// The whole drill without a person, from making the sandbox to clearing it away.
///
/// # Errors
/// Where the drill could not be held; a recovery that fails is an [`Outcome`].
pub fn run(scenario: &str, options: &Options, say: Say<'_>) -> Result<Outcome, DrillError> {
    let runbook = Runbook::load(None).map_err(|error| DrillError::Engine(error.explanation()))?;
    let LiveDrill { scenario, mut sandbox } = prepare(scenario, options, say)?;
    let mut seat = Seat::take(&sandbox, &scenario)?;
    let outcome = auto::run_auto(&mut sandbox, &scenario, &mut seat, &runbook, say)?;
    drop(seat);
    sandbox.close()?;
    Ok(outcome)
}
