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
use super::view::{Page, View};
use super::{text, widgets};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{
    BaseSummary, Check, Procedure, Reach, Target, TargetPoint, Verdict,
};
use crate::engine::incident::model::RunStatus;
use crate::engine::incident::trouble::Trouble;
use crate::engine::runner::plan::Plan;
use crate::engine::trouble::FULL_RESTORE;
use ratatui::layout::Rect;
use ratatui::text::Span;

/// Older backups that are offered beside the newest.
const OLDER: usize = 4;

/// The runbook's own words on when to use it, and what it costs.
const WHEN: &str = "The last resort: when the log (WAL) is damaged, the cluster is lost, or the \
                    point lies before what is kept. A new cluster is made beside the old one, \
                    which is not touched; both need room. It is checked, then you swap it in or \
                    discard it. Choosing touches nothing.";

/// The same where the reason is told beside it.
const SHORT: &str = "A new cluster is made beside the old one, which is not touched; both need room. \
                     It is checked, then you swap it in or discard it. Choosing touches nothing.";

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

/// Whether a full restore is the way where something went wrong, and why or why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Case {
    /// The reason, of the runbook's three: the log, the cluster, the retention.
    Helps(&'static str),
    /// What stands in its way, too: `it needs the same key`.
    NoUse(&'static str),
}

const LOG: &str = "the log (WAL) is damaged or missing before the point";
const LOST: &str = "the cluster is lost: its control file cannot be read";
const RETENTION: &str = "the point lies before every backup that is kept";

/// Of a point that cannot be reached; `None` where what is in the way is neither a reason for a full
/// restore nor in the way of one.
#[must_use]
pub fn case_of(view: &View, reach: &Reach) -> Option<Case> {
    if reach.reachable {
        return None;
    }
    let fails = |ids: &[&str]| {
        let of = |check: &&Check| ids.iter().any(|id| check.id.starts_with(id));
        // What decides and could not be proven is in the way as well as what failed.
        let decides =
            |check: &Check| ["base", "timeline", "wal", "beyond", "key"].contains(&&*check.id);
        let mut open = reach.checks.iter().filter(of);
        open.any(|check| match check.verdict {
            Verdict::Verified => false,
            Verdict::Failed => true,
            _ => decides(check),
        })
    };
    let bases = view.survey.as_ref().map_or(&[][..], |survey| &survey.bases);
    if reach.base.is_none() && bases.is_empty() {
        return Some(Case::NoUse("it needs a base backup, and there is none"));
    }
    for (ids, needs) in [
        (&["key"][..], "it needs a key that opens the backup, too"),
        (&["version", "blocks"], "it needs the same programs"),
        (&["space"], "it needs the same room, beside the old cluster"),
    ] {
        if fails(ids) {
            return Some(Case::NoUse(needs));
        }
    }
    let all_later =
        || !bases.is_empty() && bases.iter().all(|b| ended(b, &reach.target) == Some(false));
    match () {
        () if fails(&["base"]) && all_later() => Some(Case::Helps(RETENTION)),
        () if fails(&["wal", "timeline"]) => Some(Case::Helps(LOG)),
        () if fails(&["base"]) => Some(Case::Helps(RETENTION)),
        () if fails(&["beyond"]) => Some(Case::NoUse("it has nothing later than the log, either")),
        () => None,
    }
}

/// Of a step's trouble; `None` where it was not said whether one would help.
#[must_use]
pub fn case_in(trouble: &Trouble) -> Option<Case> {
    let offered = trouble.cures.iter().any(|cure| cure.id == FULL_RESTORE);
    match (offered, trouble.name.as_str()) {
        (true, "damaged-backup") => {
            Some(Case::Helps("where no other backup reaches the point, another is restored whole"))
        }
        (true, _) => Some(Case::Helps("the log (WAL) is damaged or missing")),
        (false, "denied-key") => Some(Case::NoUse("it needs the same key")),
        (false, "wrong-version" | "missing-library") => {
            Some(Case::NoUse("it needs the same programs"))
        }
        (false, "no-space") => Some(Case::NoUse("it needs the same room, beside the old cluster")),
        (false, "repository-away") => Some(Case::NoUse("it reads the same repositories")),
        (false, "damaged-backup") => Some(Case::NoUse("no other backup is left for it")),
        (false, _) => None,
    }
}

/// Whether there is anything to restore, as far as the archive was read.
#[must_use]
pub fn is_possible(view: &View) -> bool {
    view.survey.as_ref().is_none_or(|survey| !survey.bases.is_empty())
}

/// The server was asked, does not answer, and its control file cannot be read. For want of rights alone
/// nothing is lost.
#[must_use]
pub fn is_lost(incident: &Incident) -> bool {
    incident.server.as_ref().is_some_and(|probe| {
        let may_not = |why: &String| why.contains("Permission denied");
        let closed = probe.error.as_ref().is_some_and(may_not);
        !probe.reachable && probe.identity.is_none() && !closed
    })
}

/// Whether this run can be given up for a full restore: a step of a recovery in place failed for want
/// of the log.
#[must_use]
pub fn instead_of(incident: &Incident) -> bool {
    let offered = super::restore::trouble(incident).and_then(case_in);
    incident.procedure().is_point_in_time() && matches!(offered, Some(Case::Helps(_)))
}

/// What is known here of whether it is the way.
#[must_use]
pub fn case(view: &View) -> Option<Case> {
    let incident = view.incident.as_ref()?;
    // A run that was put back for it still stands in the journal with what stopped it.
    let stopped = incident.steps.iter().rev().find_map(|step| step.trouble.as_ref());
    let of_point = || {
        let candidate = view.candidate()?;
        case_of(view, view.reach(&candidate.target)?.as_ref().ok()?)
    };
    match is_lost(incident) {
        true => Some(Case::Helps(LOST)),
        false => of_point().or_else(|| stopped.and_then(case_in)),
    }
}

/// Whether a backup ended before a point; `None` where they cannot be compared.
fn ended(base: &BaseSummary, target: &Target) -> Option<bool> {
    match target.point {
        TargetPoint::Time(at) => Some(base.finished <= at),
        TargetPoint::Lsn(lsn) => Some(base.stop_lsn <= lsn),
        _ => None,
    }
}

/// What can be restored whole. Where it is known why it is asked for, the backups are compared with the
/// point that cannot be reached.
#[must_use]
pub fn choice(view: &View) -> Choice {
    let full = |set: Option<&str>, to_end| Pick::Full { set: set.map(str::to_owned), to_end };
    let case = case(view);
    let chosen = view.incident.as_ref().and_then(|incident| incident.reach.as_ref());
    let wanted = match (case, view.page) {
        (Some(Case::Helps(LOST)) | None, _) => None,
        (_, Page::RecoveryPoint) => view.candidate().map(|candidate| candidate.target),
        _ => chosen.map(|reach| reach.target.clone()),
    };
    let all = view.survey.as_ref().map_or(&[][..], |survey| &survey.bases);
    let mut bases = all.iter().rev();
    let told = |base: &BaseSummary| {
        let when = text::when(base.finished, view.now);
        match wanted.as_ref().and_then(|wanted| self::ended(base, wanted)) {
            Some(true) => format!("Ended {when}, before the point: what came later is lost."),
            Some(false) => format!("Ended {when}, AFTER the point: the damage may be in it."),
            None => format!("Ended {when}: what was written later is lost."),
        }
    };
    let newest = bases.next().map_or_else(
        || String::from("As the cluster was at its end: what was written later is lost."),
        told,
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
    let before = |base: &&BaseSummary| {
        wanted.as_ref().is_some_and(|wanted| self::ended(base, wanted) == Some(true))
    };
    // The one nearest to the point, and where none ended before it the oldest: wherever it stands.
    let nearest = all.iter().rev().find(before).or(all.first()).filter(|_| wanted.is_some());
    let offered: Vec<&BaseSummary> = bases.by_ref().take(OLDER).collect();
    let further = nearest.filter(|base| bases.any(|one| one.set == base.set));
    for base in offered.into_iter().chain(further) {
        options.push((full(Some(&base.set), false), base.set.clone(), told(base)));
    }
    let (label, means) = match &view.points.full_into {
        Some(into) => (format!("Into {into}"), "Enter names another directory for it."),
        None => (
            String::from("Into another directory"),
            "Beside the data directory, on its volume; where the usual one is taken.",
        ),
    };
    options.push((Pick::FullInto, label, means.to_owned()));
    let is_nearest = |pick: &Pick| match (pick, nearest) {
        (Pick::Full { set: Some(set), .. }, Some(base)) => *set == base.set,
        _ => false,
    };
    let selected = options.iter().position(|(pick, ..)| is_nearest(pick)).unwrap_or(0);
    let prompt = match case {
        Some(Case::Helps(why)) => format!("Here: {why}. {SHORT}"),
        Some(Case::NoUse(why)) => format!("Here it would not help: {why}. {SHORT}"),
        None => WHEN.to_owned(),
    };
    let title = String::from("Full restore beside the old cluster (Option B)");
    Choice { title, prompt, options, selected }
}

/// What is asked where the new cluster's directory is named, and a hint. `taken` is why.
#[must_use]
pub fn into_words(view: &View, taken: &str) -> (String, String) {
    let mut prompt = taken.to_owned();
    if !prompt.is_empty() {
        prompt.push_str(" Nothing was changed. ");
    }
    prompt.push_str(
        "Name a directory for the new cluster: empty or not there yet, on the data directory's own \
         volume, since it is swapped in by renaming.",
    );
    let identity = view.incident.as_ref().and_then(|i| i.declaration.identity.as_ref());
    let hint = identity.map_or_else(String::new, |identity| {
        format!("For example: {}-restore-2", identity.data_directory)
    });
    (prompt, hint)
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
