//! What `restore-parts` and `salvage` tell an incident that was named: what goes ahead, what came of it,
//! and, of what its recovery kept, the evidence for its checklist. Owns these words; the incident's
//! runner alone writes.

use super::super::args;
use super::super::output;
use super::{Job, masked};
use crate::engine::checklist::LATER_WRITES;
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::{Topic, Verdict};
use crate::engine::incident::parts::{Carry, Part, PartsChoice, PartsDone, PartsLook};
use crate::engine::incident::salvage::ByCommand;
use crate::engine::incident::store::Store;
use crate::engine::masking::Masking;
use crate::engine::parts::sandbox::Sandbox;
use crate::engine::parts::work::{self, How, Seen, Written};
use crate::engine::parts::{PartsError, run};
use crate::engine::runner::client::Client;
use crate::engine::runner::protocol::Command;
use crate::engine::runner::spawn;
use jiff::Timestamp;
use tokio::runtime::Runtime;

/// What the source is to the incident that was named.
pub(super) enum Of {
    /// The directory that its recovery kept, as its plan names it.
    Kept(String),
    /// Another directory than that one.
    AnotherKept,
    /// None was named, or it is no salvage.
    Other,
}

/// The incident's journal, where one is named.
pub(super) struct Journal<'a> {
    pub(super) config: &'a Config,
    pub(super) parts: &'a args::Parts,
    pub(super) runtime: &'a Runtime,
    pub(super) masking: Masking,
}

impl Journal<'_> {
    /// Through the incident's runner, which alone writes its journal.
    pub(super) fn note(&self, text: &str) -> Result<(), Explanation> {
        self.ask(Command::AddNote { topic: Topic::Note, text: text.to_owned() })
    }

    fn ask(&self, command: Command) -> Result<(), Explanation> {
        let Some(id) = &self.parts.incident else { return Ok(()) };
        let store = Store::new(&self.config.state_directory());
        let folder = store.folder(id).map_err(|e| e.explanation())?;
        let socket =
            spawn::ensure_runner(&self.config.path, &folder).map_err(|e| e.explanation())?;
        self.runtime.block_on(async {
            let client = Client::connect(&socket).await.map_err(|e| e.explanation())?;
            client.request(command).await.map(drop)
        })
    }

    /// Notes a failure as what it is.
    pub(super) fn told<T>(
        &self,
        title: &str,
        outcome: Result<T, PartsError>,
    ) -> Result<T, Explanation> {
        outcome.map_err(|error| {
            let explanation = masked(&error, &self.masking);
            let told = match error {
                PartsError::NotKnown { .. } => {
                    format!("{title}: NOT KNOWN whether it was done. {explanation}")
                }
                _ => format!("{title}: not done, rolled back. {}", explanation.what),
            };
            if let Err(unnoted) = self.note(&told) {
                output::warn(&unnoted.to_string());
            }
            explanation
        })
    }
}

impl Job<'_> {
    /// What is committed, told to the checklist where it is evidence there; a note on what came of
    /// that. A journal that fails now is told, not a failure.
    pub(super) fn recorded(
        &self,
        journal: &Journal<'_>,
        sandbox: &Sandbox,
        seen: Seen,
        (begun, how): (Timestamp, How),
        written: &Written,
    ) -> Option<String> {
        let kept = match &self.of {
            Of::Other => return None,
            Of::AnotherKept => {
                return Some(String::from(
                    "It came from another directory than the incident's recovery kept: its \
                     checklist is not told",
                ));
            }
            Of::Kept(kept) => kept,
        };
        let recorded = self.looked(sandbox, seen).and_then(|look| {
            let done = self.evidence(sandbox, kept, begun, look, how, written);
            let verdict = Verdict::of_all(done.checks.iter().map(|check| check.verdict));
            journal.ask(Command::RecordSalvage(Box::new(done))).map(|()| verdict)
        });
        Some(match recorded {
            Ok(verdict) => format!(
                "It counts on the incident's checklist ({LATER_WRITES}); compared once more: {}",
                verdict.word()
            ),
            Err(error) => format!(
                "It is done, and could not be noted for the checklist's line {LATER_WRITES}: {error}"
            ),
        })
    }

    fn looked(&self, sandbox: &Sandbox, seen: Seen) -> Result<PartsLook, Explanation> {
        let asking = run::partitions(sandbox, &self.wanted.database, &seen);
        let partitions = self.runtime.block_on(asking).map_err(|e| e.explanation())?;
        let mut look = PartsLook::of(Part::Of(self.wanted.clone()), seen, partitions);
        // Rows' content is for who looks, and never for a journal.
        look.differences.iter_mut().for_each(|found| found.samples.clear());
        Ok(look)
    }

    /// What was written, compared with its source once more.
    fn evidence(
        &self,
        sandbox: &Sandbox,
        kept: &str,
        begun: Timestamp,
        look: PartsLook,
        how: How,
        written: &Written,
    ) -> ByCommand {
        let carry = Carry::Of { into: how.into };
        let seen = look.print(&carry);
        let choice = PartsChoice { carry, missing_roles: how.missing_roles, seen };
        let done = PartsDone::Of(written.clone());
        let masking_of_errors = Masking::of(&self.cluster.masking);
        let now = || {
            let masking = Masking::of(&self.cluster.masking);
            let production = &self.cluster.connection;
            let looking =
                work::look(sandbox, production, &self.wanted, (0, &masking), &|_, _, _| {});
            let seen = self.runtime.block_on(looking).map_err(|e| masked(&e, &masking))?;
            self.looked(sandbox, seen)
        };
        let once_more = run::OnceMore {
            runtime: self.runtime.handle(),
            production: &self.cluster.connection,
            look: &now,
            copy: &|act| act(sandbox).map_err(|e| masked(&e, &masking_of_errors)),
        };
        let checks = run::of_tables(&self.wanted, &look, &choice, Some(&done), &once_more);
        ByCommand { kept: kept.to_owned(), begun, look, choice, done, checks }
    }
}
