//! The runbook's Option B on the restore screen: when it is the way, what can be chosen, and the
//! new cluster while it waits for the decision. Draws and words; sends nothing.
//!
//! ```text
//! The new cluster                           closed to applications
//! data      As the cluster was at the end of set-…
//! look      psql -h /tmp/lifeboat-… -p 5433
//!   ✓ Rows of public.orders …
//! ```

use super::layers::{Choice, Pick};
use super::paint::Column;
use super::theme::Ink;
use super::view::View;
use super::{text, widgets};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::Reach;
use crate::engine::incident::model::RunStatus;

/// Older backups that are offered beside the newest.
const OLDER: usize = 4;

/// The runbook's own words on when to use it.
const WHEN: &str = "The last resort: when a point-in-time recovery fails because WAL is damaged, \
                    when the cluster is lost, or when the point lies before what is kept. A new \
                    cluster is made beside the old one and checked; then you swap it in or discard \
                    it. Nothing is touched by choosing.";

/// The new cluster waits for the decision to swap.
#[must_use]
pub fn waits(incident: &Incident) -> bool {
    let held = incident.current_step().is_some_and(|s| s.id == "decide-swap");
    incident.status == RunStatus::Held && held
}

/// Where a plan goes, with the backup where that is the point.
#[must_use]
pub fn point(reach: &Reach) -> String {
    match (&reach.base, reach.procedure.is_point_in_time()) {
        (Some(base), false) => format!("{}, {}", base.set, reach.target),
        _ => reach.target.to_string(),
    }
}

/// What can be restored whole.
#[must_use]
pub fn choice(view: &View) -> Choice {
    let full = |set: Option<&str>, to_end| Pick::Full { set: set.map(str::to_owned), to_end };
    let mut options = vec![
        (
            full(None, false),
            String::from("The newest backup that serves"),
            String::from("As the cluster was at that backup's end. Needs no later WAL."),
        ),
        (
            full(None, true),
            String::from("The newest backup, and on to the end of the archive"),
            String::from("Everything that was archived, where the log after the backup is whole."),
        ),
    ];
    let bases = view.survey.iter().flat_map(|survey| survey.bases.iter().rev());
    for base in bases.skip(1).take(OLDER) {
        let ended = format!("Ended {}.", text::when(base.finished, view.now));
        options.push((full(Some(&base.set), false), base.set.clone(), ended));
    }
    let title = String::from("Full restore beside the old cluster (Option B)");
    Choice { title, prompt: WHEN.to_owned(), options, selected: 0 }
}

/// The new cluster, its checks, and how to look at it.
pub fn draw(view: &View, incident: &Incident, column: &mut Column<'_>) {
    column.title(view.panel == 1, "The new cluster", "closed to applications");
    for (name, note) in [("data", "data_is"), ("look", "way_in")] {
        if let Some(words) = incident.noted(note) {
            let ink = if name == "data" { Ink::Strong } else { Ink::Text };
            column.field(name, 10, (ink, &text::clean(words)), 4);
        }
    }
    let rest = column.rest();
    widgets::checks::draw(view.theme, &incident.validation, None, rest, column.buffer());
}
