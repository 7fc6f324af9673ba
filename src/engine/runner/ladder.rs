//! The runner's look at the escalation ladder and at what is due, every second: what the rules say is
//! journalled, and the messages follow from the journal. Owns that turn; the rules are
//! [`crate::engine::escalation`]'s and the checklist's. What was journalled is folded by the next runner, so that
//! nobody is called twice for one reason and nobody is forgotten.

use super::core::Core;
use crate::engine::escalation::Watch;
use crate::engine::incident::Event;
use crate::engine::incident::outlook::Outlook;
use std::sync::Arc;
use std::time::Duration;

/// Until the runner ends.
pub(super) async fn watch(core: Arc<Core>, tick: Duration) {
    if core.ladder.is_none() {
        return std::future::pending().await;
    }
    let mut watch = Watch::default();
    loop {
        let core = Arc::clone(&core);
        // Writing the journal waits for the disk.
        let looked = tokio::task::spawn_blocking(move || {
            look(&core, &mut watch);
            watch
        });
        watch = looked.await.unwrap_or_default();
        tokio::time::sleep(tick).await;
    }
}

/// One turn. What could not be journalled is said again at the next one.
fn look(core: &Core, watch: &mut Watch) {
    let Some(ladder) = &core.ladder else { return };
    if core.is_stopping() {
        return;
    }
    let progress = core.progress.borrow().clone();
    let mut state = core.lock();
    let now = core.now();
    let outlook = Outlook::of(&state.incident, ladder.rto_seconds(), progress.as_ref(), now);
    let reminder = core.work.reminder(&state.incident, now);
    if let Some(reminder) = reminder {
        let _ = core.record(&mut state, Event::ChecklistReminded(reminder));
    }
    if let Some(raise) = ladder.call(&state.incident, outlook.as_ref(), watch, now) {
        let _ = core.record(&mut state, Event::LevelRaised(raise));
    }
}
