//! The steps that end a recovery: promote, open to the application, validate. From the promotion
//! on nothing can be put back by itself, and each step says so.

use super::ERASURE_LIST;
use super::prepare::STOP_LIMIT;
use super::site::Site;
use crate::engine::aftercare::{self, Ward, hold};
use crate::engine::erasure::check;
use crate::engine::erasure::replay::{self, Deed};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::care::Held;
use crate::engine::postgres::connect::{self, ConnectOptions};
use crate::engine::postgres::control::StopMode;
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use std::sync::Arc;
use std::time::Duration;

/// How long the end-of-recovery work may take before the wait counts as failed.
const PROMOTE_LIMIT: Duration = Duration::from_secs(300);

/// The note that the database serves.
const SERVING: &str = "serving";

/// The note that the server was about to take connections: from then on somebody may have written.
const OPENING: &str = "opening";
/// How long a promoted server may take until it can be asked through its private socket.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// The note that everything was held back that would act by itself.
const HELD: &str = "held_back";

/// The note that the server served before anything was held back.
const UNHELD: &str = "not_held_back";

/// The note that room for prepared transactions stays.
pub const PREPARED_KEPT: &str = "prepared_kept";
/// The notes on the erasure list.
pub const ERASED: &str = "erased";
const NOT_ERASED: &str = "not_erased";

/// What to say of a server that is open already: of one that Lifeboat opened, or that was held
/// before, nothing.
fn unheld(noted: impl Fn(&str) -> bool) -> Option<&'static str> {
    let known = [HELD, OPENING, UNHELD].into_iter().any(noted);
    (!known).then_some(
        "ATTENTION: the server was open to everybody before anything was held back: somebody else \
         started it. Subscriptions and jobs of pg_cron may have acted, and applications may have \
         written; look at those lines of the safety list first",
    )
}

/// What was held, for people.
fn told(held: &[Held]) -> String {
    let all: Vec<String> = held.iter().map(hold::name).collect();
    if all.is_empty() {
        String::from("no subscription and no job of pg_cron was active")
    } else {
        all.join(", ")
    }
}

/// Ends recovery: the server takes writes, on a new timeline.
#[derive(Debug)]
pub struct Promote(pub Arc<Site>);

impl Step for Promote {
    fn id(&self) -> &'static str {
        "promote"
    }

    fn probe(&self, context: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(if self.0.is_promoted(context.plan(), context.runtime())? {
            Standing::Done(String::from("the server has left recovery"))
        } else {
            Standing::Partial(String::from("the server has not been promoted"))
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let site = &self.0;
        site.confirm(context.plan(), site.data())?;
        if !site.is_promoted(context.plan(), context.runtime())? {
            // A server that died while it waited has to come to the target again first.
            site.reach_target(context)?;
            site.driver()?.promote(PROMOTE_LIMIT).map_err(|e| e.explanation())?;
        }
        let timeline = site.timeline()?;
        context.note("new_timeline", &format!("The server is promoted, on timeline {timeline}"))?;
        Ok(Outcome::Done)
    }

    fn undo(&self, _: &dyn StepContext) -> Result<String, Explanation> {
        Err(Explanation::new(
            Kind::Refused,
            "A promoted server cannot go back into recovery.",
            "Everything is as it is; the damaged directory is kept aside.",
            "To try another target, declare a new incident on this cluster.",
        ))
    }
}

/// Takes the recovery settings out again and opens the server to everybody.
#[derive(Debug)]
pub struct Open(pub Arc<Site>);

impl Step for Open {
    fn id(&self) -> &'static str {
        "open"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(Standing::NotStarted)
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let site = &self.0;
        site.confirm(context.plan(), site.data())?;
        if !site.is_open(context.runtime()) {
            self.hold(context)?;
        } else if let Some(text) = unheld(|name| context.noted(name).is_some()) {
            context.note(UNHELD, text)?;
        }
        if site.running()? && !site.is_open(context.runtime()) {
            site.driver()?.stop(StopMode::Fast, STOP_LIMIT).map_err(|e| e.explanation())?;
        }
        if let Some(kept) = site.take_out_settings()? {
            context.note(PREPARED_KEPT, &kept)?;
        }
        if !site.running()? {
            context.note(OPENING, "The server is started for everybody")?;
            site.start_open()?;
        }
        if !site.is_open(context.runtime()) {
            return Err(self.still_closed(context));
        }
        site.clear_spool();
        site.clear_closed()?;
        context.note(SERVING, "The database takes connections again")?;
        Ok(Outcome::Done)
    }

    fn undo(&self, context: &dyn StepContext) -> Result<String, Explanation> {
        let site = &self.0;
        // A cluster that was swapped in and never served can go beside the old one again.
        let opened = context.noted(OPENING).is_some() && site.running()?;
        let served = context.noted(SERVING).is_some() || opened;
        if context.plan().procedure.is_point_in_time() || served {
            return Promote(Arc::clone(site)).undo(context);
        }
        if site.running()? {
            site.driver()?.stop(StopMode::Fast, STOP_LIMIT).map_err(|e| e.explanation())?;
        }
        Ok(String::from("the new server is down; it had not served anybody"))
    }
}

impl Open {
    /// While nobody else can reach it: what would act by itself is switched off, and what matters
    /// to whoever opens it is looked at.
    fn hold(&self, context: &dyn StepContext) -> Result<(), Explanation> {
        let site = &self.0;
        // Held before an interruption; the server may be on its way from one start to the other.
        if context.noted(HELD).is_some() {
            return Ok(());
        }
        if !site.running()? {
            site.start_closed()?;
        }
        let private = site.closed()?.connection(&site.cluster.connection);
        let options = ConnectOptions::default();
        let waited = connect::connect_within(&private, &options, READY_LIMIT);
        context.runtime().block_on(waited).map_err(|e| e.explanation())?;
        let incident = context.incident();
        let report = |progress| context.progress(progress);
        let ward = Ward::new(site, &incident, private, context.runtime(), &report);
        let held = hold::hold(&ward, &|held| context.held(held))?;
        for item in aftercare::BEFORE_OPENING {
            context.cared(aftercare::run(&ward, item, &[])?)?;
        }
        self.erase(context, &ward)?;
        context.note(HELD, &format!("Held back before opening: {}", told(&held)))
    }

    /// What was erased at people's wish came back with the backup: it is erased again, before
    /// anybody sees it. May be called again.
    fn erase(&self, context: &dyn StepContext, ward: &Ward<'_>) -> Result<(), Explanation> {
        let cluster = &self.0.cluster;
        let Some(erasure) = &cluster.erasure else { return Ok(()) };
        let outcomes = match check::list_of(cluster) {
            Ok(list) => {
                let list = list.map(|(_, list)| list).unwrap_or_default();
                ward.same_server()?;
                let done = replay::go_through(&ward.connection, &list, Deed::Erase);
                context.runtime().block_on(done)
            }
            Err(error) => {
                let (database, tables) = (cluster.connection.database.clone(), Vec::new());
                vec![replay::Outcome { database, tables, failed: Some(error.what) }]
            }
        };
        // The checklist has a line for the list from now on, whoever is on it.
        if context.noted(ERASURE_LIST).is_none() {
            context.note(ERASURE_LIST, "The cluster has an erasure list, which is carried out")?;
        }
        let mut failed = Vec::new();
        for one in &outcomes {
            match &one.failed {
                None => {
                    let text = format!("Erased again in {}: {}", one.database, one.told());
                    context.note(ERASED, &text)?;
                }
                Some(why) => {
                    let text = format!("Not erased in {}: {why}", one.database);
                    context.note(NOT_ERASED, &text)?;
                    failed.push(text);
                }
            }
        }
        if failed.is_empty() || !erasure.required {
            return Ok(());
        }
        Err(Explanation::new(
            Kind::Server,
            format!("The erasure list could not be carried out. {}.", failed.join(". ")),
            "The server is promoted and still closed to everybody; of those databases nothing was \
             erased.",
            "Correct the list, then retry the step. Or set required = false in [clusters.erasure]: \
             the server then opens, and the validation says FAILED.",
        ))
    }

    /// Why nobody gets in although the server was started.
    fn still_closed(&self, context: &dyn StepContext) -> Explanation {
        let connection = &self.0.cluster.connection;
        let options = ConnectOptions::default();
        match context.runtime().block_on(connect::connect(connection, &options)) {
            Err(error) => error.explanation(),
            Ok(_) if self.0.is_another(context.runtime()) => Explanation::new(
                Kind::Server,
                format!(
                    "Another server answers at {}:{} than the one in {}.",
                    connection.host,
                    connection.port,
                    self.0.data().display()
                ),
                "The recovered server runs and was not changed; the damaged directory is kept aside.",
                "Find out which server that is and stop it, then retry the step.",
            ),
            Ok(_) => Explanation::new(
                Kind::Server,
                "The server takes connections but is still in recovery.",
                "The damaged directory is kept aside.",
                "Look at the server's log, then retry the step.",
            ),
        }
    }
}

/// Runs the validation against the open server.
#[derive(Debug)]
pub struct Validate(pub Arc<Site>);

impl Step for Validate {
    fn id(&self) -> &'static str {
        "validate"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(Standing::NotStarted)
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let site = &self.0;
        if !site.running()? {
            site.start_open()?;
            context.note("started", "The server had ended and was started again")?;
        }
        let report = |progress| context.progress(progress);
        let checks = site.validate(&context.incident(), context.runtime(), &report)?;
        if !site.running()? {
            return Err(Explanation::new(
                Kind::Server,
                "The server ended while it was validated.",
                "The recovered data and the damaged directory are kept.",
                "See in the server's log why it ended. Retry starts it and validates again.",
            ));
        }
        context.validated(&checks)?;
        Ok(Outcome::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_somebody_else_opened_is_noted_once() {
        assert!(unheld(|_| false).is_some_and(|text| text.contains("held back")));
        assert!(unheld(|name| name == HELD).is_none());
        assert!(unheld(|name| name == OPENING).is_none(), "opened by the step, then interrupted");
        assert!(unheld(|name| name == UNHELD).is_none());
    }
}
