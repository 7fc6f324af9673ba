//! The runbook's Option B on the restore screen: when it is the way, what can be chosen, and the
//! new cluster while it waits for the decision. Draws and words; sends nothing.
//!
//! ```text
//! The new cluster                           closed to applications
//! data      As the cluster was at the end of set-…
//! lacks     13,421 commits of the last 12 h …
//! old one   untouched until you swap; …
//! look      psql -h /tmp/lifeboat-… -p 5433
//!   ✗ Rows of public.orders …
//! S  the data is right: …
//! ```

use super::commands::{self, Id};
use super::layers::{Choice, Pick};
use super::paint::Column;
use super::theme::Ink;
use super::view::View;
use super::{text, widgets};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{BaseSummary, Check, Procedure, Reach, TargetPoint, Verdict};
use crate::engine::incident::model::RunStatus;
use crate::engine::runner::plan::Plan;
use ratatui::layout::Rect;
use ratatui::text::Span;

/// Older backups that are offered beside the newest.
const OLDER: usize = 4;

/// The runbook's own words on when to use it, and what it costs.
const WHEN: &str = "The last resort: when the log (WAL) is damaged, the cluster is lost, or the \
                    point lies before what is kept. A new cluster is made beside the old one, \
                    which is not touched; both need room. It is checked, then you swap it in or \
                    discard it. Choosing touches nothing.";

/// The new cluster waits for the decision to swap.
#[must_use]
pub fn waits(incident: &Incident) -> bool {
    let held = incident.current_step().is_some_and(|s| s.id == "decide-swap");
    incident.status == RunStatus::Held && held
}

/// The point that was chosen is a full restore's.
#[must_use]
pub fn is_chosen(incident: &Incident) -> bool {
    incident.reach.as_ref().is_some_and(|reach| reach.procedure.is_full())
}

/// Where a plan goes back to, for the gate: of a backup's own end its name and moment.
#[must_use]
pub fn goes_back(plan: &Plan) -> String {
    match plan.target.point {
        TargetPoint::EndOfBase => {
            format!("the end of {}, {}", plan.base.set, text::moment(plan.base.finished))
        }
        _ => plan.target.to_string(),
    }
}

/// Where a plan goes, with the backup where that is the point.
#[must_use]
pub fn point(reach: &Reach) -> String {
    match (&reach.base, reach.procedure.is_full()) {
        (Some(base), true) => format!("{}, {}", base.set, reach.target),
        _ => reach.target.to_string(),
    }
}

/// What can be restored whole.
#[must_use]
pub fn choice(view: &View) -> Choice {
    let full = |set: Option<&str>, to_end| Pick::Full { set: set.map(str::to_owned), to_end };
    let mut bases = view.survey.iter().flat_map(|survey| survey.bases.iter().rev());
    let ended = |base: &BaseSummary| {
        format!("Ended {}: what was written later is lost.", text::when(base.finished, view.now))
    };
    let newest = bases.next().map_or_else(
        || String::from("As the cluster was at its end: what was written later is lost."),
        ended,
    );
    let mut options = vec![
        (
            full(None, false),
            String::from("The newest backup that serves"),
            format!("{newest} Needs no later log."),
        ),
        (
            full(None, true),
            String::from("The newest backup, and on to the end of the archive"),
            String::from("All that was archived, the damage too; needs the whole log after it."),
        ),
    ];
    for base in bases.take(OLDER) {
        options.push((full(Some(&base.set), false), base.set.clone(), ended(base)));
    }
    let title = String::from("Full restore beside the old cluster (Option B)");
    Choice { title, prompt: WHEN.to_owned(), options, selected: 0 }
}

/// The checks of the new cluster, what needs a look first.
#[must_use]
pub fn checks(incident: &Incident) -> Vec<&Check> {
    let mut list: Vec<&Check> = incident.validation.iter().collect();
    list.sort_by_key(|check| match check.verdict {
        Verdict::Failed => 0,
        Verdict::CouldNotVerify => 1,
        Verdict::Verified => 2,
        Verdict::NotRun => 3,
    });
    list
}

/// The new cluster, what it lacks, its checks, and how to look at it.
pub fn draw(view: &View, incident: &Incident, column: &mut Column<'_>) {
    const NAME: usize = 10;
    column.title(view.panel == 1, "The new cluster", "closed to applications");
    let mut field = |name, ink, words: &str, rows| {
        column.field(name, NAME, (ink, &text::clean(words)), rows);
    };
    if let Some(words) = incident.noted("data_is") {
        field("data", Ink::Strong, words, 4);
    }
    if let Some(words) = lacks(incident) {
        field("lacks", Ink::Attention, &words, 2);
    }
    field("old one", Ink::Text, old_one(incident), 1);
    if let Some(words) = incident.noted("way_in") {
        field("look", Ink::Text, &format!("{words}, as the server's user"), 2);
    }
    let list: Vec<Check> = checks(incident).into_iter().cloned().collect();
    let keys = [
        (Id::SwapIn, "the data is right: stop the old server and swap it in; asks first"),
        (Id::Abandon, "it is not: give it up; asks first"),
    ];
    // The key bar names the keys too: the checks go before their words.
    let below = if usize::from(column.left()) > list.len() + keys.len() { 3 } else { 0 };
    let room = column.left().saturating_sub(below);
    let at = (view.panel == 1).then(|| view.cursor_in(1, list.len()));
    let area = Rect { height: room, ..column.rest() };
    widgets::checks::draw(view.theme, &list, at, area, column.buffer());
    if below == 0 {
        return;
    }
    column.skip(u16::try_from(list.len()).unwrap_or(room).min(room) + 1);
    for (id, words) in keys {
        let key = commands::by_id(id).map_or_else(String::new, |c| c.key.to_string());
        column.spans(vec![
            Span::styled(key, view.theme.style(Ink::Key)),
            Span::styled(format!("  {words}"), view.theme.style(Ink::Text)),
        ]);
    }
}

/// What was committed after the new cluster's data, where the archived log tells it.
#[must_use]
pub fn lacks(incident: &Incident) -> Option<String> {
    let reach = incident.reach.as_ref()?;
    let commits = text::count(reach.lost_commits?);
    Some(match reach.lost_seconds {
        Some(seconds) => {
            format!("{commits} commits of the last {} before the log's end", text::span(seconds))
        }
        None => format!("{commits} commits that the log has after it"),
    })
}

/// The command that removes what a full restore made and gave up.
#[must_use]
pub fn discard(incident: &Incident) -> String {
    let directory = match incident.plan.as_ref().map(|plan| &plan.procedure) {
        Some(Procedure::FullRestore { destination, .. }) => destination.as_str(),
        _ => "DIR",
    };
    format!("lifeboat restore-full --target {directory} --discard")
}

fn old_one(incident: &Incident) -> &'static str {
    match &incident.plan {
        Some(plan) if plan.lost => "lost: nothing serves until the new one is swapped in",
        _ => "untouched until you swap; its newer rows are not in the new one",
    }
}
