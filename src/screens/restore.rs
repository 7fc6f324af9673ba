//! Restore: the four prerequisites and the plan before the gate; the live run after it.
//!
//! ```text
//! ▸ Prerequisites / Plan             Step in full / Progress
//!   ✓ Incident declared …            ████████░░░░ 61 %  2.1 GB of 3.4 GB
//!   ▶ Restore the base …             rate chart, LSN, time, ETA, log
//! ```

use super::paint::{Column, first_row, pad};
use super::theme::Ink;
use super::view::View;
use super::widgets::bars;
use super::widgets::checks as proofs;
use super::{
    at_target, columns, commands, full_restore, only_panel, parts, recovery_point, split_rows, text,
};
use crate::engine::explain::Explanation;
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{Check, Prerequisite, Verdict};
use crate::engine::incident::model::{RunStatus, StepState, StepStatus};
use crate::engine::incident::trouble::Trouble;
use crate::engine::runner::plan::{Cancel, PlanStep};
use crate::engine::runner::protocol::{Progress, Unit};
use commands::Id;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::text::Span;

/// A row of the left panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    Prerequisite(Prerequisite),
    /// By its place in the plan.
    Step(usize),
}

/// The rows: the prerequisites as long as the gate is ahead, then the steps.
#[must_use]
pub fn items(incident: &Incident) -> Vec<Item> {
    let ahead = matches!(incident.status, RunStatus::Planning | RunStatus::Ready);
    let before = if ahead { incident.procedure().prerequisites() } else { &[] };
    let steps = incident.plan.as_ref().map_or(0, |p| p.steps.len());
    before.iter().map(|p| Item::Prerequisite(*p)).chain((0..steps).map(Item::Step)).collect()
}

/// The row under the cursor.
#[must_use]
pub fn selected(view: &View) -> Option<Item> {
    let incident = view.incident.as_ref()?;
    let list = items(incident);
    list.get(cursor(view, incident, list.len())).copied()
}

/// Until the operator moves it the pointer is where the work is: at the first prerequisite that is
/// not met, at the plan once all are, and with the steps while they run.
fn cursor(view: &View, incident: &Incident, length: usize) -> usize {
    if view.cursors.contains_key(&(view.page, 0)) {
        return view.cursor_in(0, length);
    }
    let running = incident.current_step().and_then(|s| place(incident, &s.id));
    let at = match running {
        Some(at) if length == incident.steps.len() => at,
        _ => {
            let met = |which| incident.prerequisites.get(&which).is_some_and(|a| a.met);
            let open = |item: &Item| !matches!(item, Item::Prerequisite(which) if met(*which));
            items(incident).iter().position(open).unwrap_or(0)
        }
    };
    at.min(length.saturating_sub(1))
}

fn place(incident: &Incident, id: &str) -> Option<usize> {
    incident.steps.iter().position(|s| s.id == id)
}

/// How many checks the right panel lists while the run waits for a decision.
#[must_use]
pub fn checks(incident: &Incident) -> usize {
    match () {
        () if full_restore::waits(incident) => incident.validation.len(),
        () if parts::waits(incident) => parts::rows(incident),
        () if at_target::waits(incident) => at_target::rows(incident),
        () => 0,
    }
}

/// The check under the cursor of the right panel.
#[must_use]
pub fn selected_check(view: &View) -> Option<&Check> {
    let incident = view.incident.as_ref()?;
    if full_restore::waits(incident) {
        let list = full_restore::checks(incident);
        return list.get(view.cursor_in(1, list.len())).copied();
    }
    at_target::selected(view)
}

/// The command that answers a prerequisite.
#[must_use]
pub fn command(which: Prerequisite) -> Id {
    match which {
        Prerequisite::IncidentDeclared => Id::IncidentEscalated,
        Prerequisite::MaintenanceWindow => Id::MaintenanceWindow,
        Prerequisite::BackupIntegrity => Id::VerifyBackup,
        Prerequisite::TargetConfirmed => Id::ConfirmTarget,
    }
}

pub fn draw(view: &View, area: Rect, buf: &mut Buffer) {
    let Some(incident) = &view.incident else { return };
    if incident.reach.is_none() {
        let mut column = Column::new(view.theme, area, buf);
        column.title(true, "Restore", "");
        column.wrapped(
            Ink::Dim,
            "No recovery point is chosen yet. The plan is made for the point that you choose (2).",
            0,
            3,
        );
        return;
    }
    match only_panel(view) {
        Some(0) => list(view, incident, area, buf),
        Some(_) => beside(view, incident, area, buf),
        None => {
            let held = incident.status == RunStatus::Held;
            let known = trouble(incident).is_some();
            // Side by side only where no title is cut off by it.
            let (one, two) = if area.width >= 104 && held {
                // What is found at the point needs the room; the plan is known by now.
                columns(area, 36)
            } else if area.width >= 104 {
                columns(area, 50)
            } else {
                // What happens now needs more room than what is still to come.
                let reading = matches!(incident.status, RunStatus::Planning | RunStatus::Ready);
                let upper = match () {
                    () if reading => area.height / 2,
                    () if held || known => 2,
                    () => area.height * 2 / 5,
                };
                split_rows(area, if held || known { upper } else { upper.max(5) })
            };
            list(view, incident, one, buf);
            beside(view, incident, two, buf);
        }
    }
}

fn list(view: &View, incident: &Incident, area: Rect, buf: &mut Buffer) {
    let mut column = Column::new(view.theme, area, buf);
    let rows = items(incident);
    let at = cursor(view, incident, rows.len());
    let done = incident.steps.iter().filter(|s| s.status == StepStatus::Done).count();
    let before = matches!(rows.first(), Some(Item::Prerequisite(_)));
    let note = match (&incident.plan, before) {
        (Some(plan), true) => format!("plan {}", plan.hash.get(..8).unwrap_or("")),
        (Some(plan), false) => format!("{done} of {} steps done", plan.steps.len()),
        (None, _) => String::new(),
    };
    let title = match (before, full_restore::is_chosen(incident)) {
        _ if incident.is_salvaging() => "Plan of the salvage",
        (true, _) if parts::is_chosen(incident) => "Prerequisites and plan of bringing parts back",
        (false, _) if parts::is_chosen(incident) => "Plan of bringing parts back",
        (true, false) => "Prerequisites and plan",
        (true, true) => "Prerequisites and plan of a full restore",
        (false, false) => "Plan",
        (false, true) => "Plan of a full restore",
    };
    column.title(view.panel == 0, title, &note);
    let visible = usize::from(column.left());
    let first = first_row(at, rows.len() + 1, visible);
    for (i, item) in rows.iter().enumerate().skip(first).take(visible) {
        let selected = view.panel == 0 && i == at;
        match item {
            Item::Prerequisite(which) => {
                prerequisite(view, incident, *which, selected, &mut column)
            }
            Item::Step(n) => step(view, incident, *n, selected, &mut column),
        }
    }
    if incident.plan.is_none() {
        column.wrapped(
            Ink::Dim,
            "The plan is made for this point (m), then read, then gated.",
            2,
            2,
        );
    }
}

fn prerequisite(
    view: &View,
    incident: &Incident,
    which: Prerequisite,
    selected: bool,
    column: &mut Column<'_>,
) {
    let theme = view.theme;
    let answer = incident.prerequisites.get(&which);
    let key = commands::by_id(command(which)).map_or_else(String::new, |c| c.key.to_string());
    let (ink, sign, by) = match answer {
        Some(a) if a.met => {
            let by = format!("{} {}", text::fit(&a.by, 9, theme.ellipsis()), text::time(a.at));
            (Ink::Good, theme.glyph("✓", "+"), by)
        }
        Some(_) => (Ink::Bad, theme.glyph("✗", "x"), String::from("not met")),
        None => (Ink::Attention, "!", String::from("open")),
    };
    let by_width = text::width(&by);
    let title = view.runbook.prerequisite(which).map_or(which.title(), |p| p.title.as_str());
    let room = column.width().saturating_sub(2 + 4 + by_width + 1);
    column.row(
        selected,
        vec![
            Span::styled(key, theme.style(Ink::Key)),
            Span::styled(format!(" {sign} "), theme.style(ink)),
            Span::styled(pad(title, room, theme), theme.style(Ink::Text)),
            Span::styled(
                format!(" {by}"),
                theme.style(if answer.is_some() { Ink::Dim } else { ink }),
            ),
        ],
    );
}

/// Steps that last as long as people take to decide.
const PEOPLES: [&str; 3] = ["inspect", "decide-swap", "parts-choose"];

fn step(view: &View, incident: &Incident, n: usize, selected: bool, column: &mut Column<'_>) {
    let theme = view.theme;
    let Some(planned) = incident.plan.as_ref().and_then(|p| p.steps.get(n)) else { return };
    let state = incident.steps.get(n);
    let status = state.map_or(StepStatus::Pending, |s| s.status);
    let (ink, sign, word) = theme.step(status);
    let side = match (status, state.and_then(|s| elapsed(s, view.now))) {
        (StepStatus::Pending, _) => planned.expected.map_or_else(
            || {
                String::from(if PEOPLES.contains(&planned.id.as_str()) {
                    "up to you"
                } else {
                    "not known"
                })
            },
            |(_, most)| format!("up to {}", text::span(most)),
        ),
        (StepStatus::Done | StepStatus::Running, Some(seconds)) => text::span(seconds),
        _ => word.to_owned(),
    };
    let number = format!("{:>2} {sign} ", n + 1);
    let room = column.width().saturating_sub(2 + 5 + text::width(&side) + 1);
    let words = if status == StepStatus::Pending { Ink::Text } else { ink };
    let words = if status == StepStatus::Done { Ink::Text } else { words };
    column.row(
        selected,
        vec![
            Span::styled(number, theme.style(ink)),
            Span::styled(pad(&text::clean(&planned.title), room, theme), theme.style(words)),
            Span::styled(format!(" {side}"), theme.style(Ink::Dim)),
        ],
    );
}

fn elapsed(state: &StepState, now: jiff::Timestamp) -> Option<f64> {
    let from = state.started?;
    Some(state.finished.unwrap_or(now).duration_since(from).as_secs_f64().max(0.0))
}

fn beside(view: &View, incident: &Incident, area: Rect, buf: &mut Buffer) {
    let mut column = Column::new(view.theme, area, buf);
    let failure = incident.undo_failure.as_ref().or_else(|| {
        incident.current_step().filter(|s| s.status == StepStatus::Failed)?.failure.as_ref()
    });
    if let Some(e) = failure.filter(|_| incident.status == RunStatus::Failed) {
        column.title(view.panel == 1, "What went wrong", "");
        if let Some((step, trouble)) =
            troubled(incident).filter(|_| incident.undo_failure.is_none())
        {
            cures(view, step, trouble, e, &mut column);
            log_tail(view, &mut column);
            return;
        }
        column.wrapped(Ink::Bad, &text::clean(&e.what), 0, 6);
        column.field("next", 10, (Ink::Strong, &text::clean(&e.next)), 5);
        column.field("untouched", 10, (Ink::Text, &text::clean(&e.untouched)), 4);
        column.skip(1);
        log_tail(view, &mut column);
        return;
    }
    if full_restore::waits(incident) {
        full_restore::draw(view, incident, &mut column);
        return;
    }
    // A look goes on beside the question: its progress is shown instead.
    if parts::waits(incident) && view.progress.is_none() {
        parts::draw(view, incident, &mut column);
        return;
    }
    if incident.status == RunStatus::Held && !parts::waits(incident) {
        at_target::draw(view, incident, &mut column);
        return;
    }
    if let Some(progress) = &view.progress {
        live(view, incident, progress, &mut column);
        return;
    }
    match selected(view) {
        Some(Item::Prerequisite(which)) => asked(view, incident, which, &mut column),
        Some(Item::Step(n)) => {
            if let Some(planned) = incident.plan.as_ref().and_then(|p| p.steps.get(n)) {
                explained(view, planned, &mut column);
                if let Some(state) = incident.steps.get(n) {
                    notes(state, &mut column);
                }
            }
        }
        None => column.title(view.panel == 1, "Progress", ""),
    }
}

/// What the failed step's failure was recognised as.
#[must_use]
pub fn trouble(incident: &Incident) -> Option<&Trouble> {
    troubled(incident).map(|(_, trouble)| trouble)
}

fn troubled(incident: &Incident) -> Option<(&StepState, &Trouble)> {
    let step = incident.current_step().filter(|s| s.status == StepStatus::Failed)?;
    let failed = incident.status == RunStatus::Failed && incident.undo_failure.is_none();
    failed.then_some(step).and_then(|step| Some((step, step.trouble.as_ref()?)))
}

/// What happened, what mends it and by which key, how it is known, what is untouched.
fn cures(
    view: &View,
    step: &StepState,
    trouble: &Trouble,
    e: &Explanation,
    column: &mut Column<'_>,
) {
    const NAME: usize = 10;
    column.wrapped(Ink::Bad, &text::clean(&trouble.what), 0, 3);
    let key = |id| commands::by_id(id).map_or_else(String::new, |c| c.key.to_string());
    if let Some((_, why)) = &step.cure_failure {
        let tried = format!("! It did not help: {} {}", why.what, why.next);
        column.wrapped(Ink::Attention, &text::clean(&tried), 0, 3);
    }
    if let Some(first) = trouble.cures.first() {
        let now = step.curing.is_some() || view.busy(super::available::CURING);
        let title = if now {
            format!("{}: being done", first.title)
        } else {
            format!("{}: {}", key(Id::Cure), first.title)
        };
        column.field("proposed", NAME, (Ink::Strong, &text::clean(&title)), 2);
        column.field("it does", NAME, (Ink::Text, &text::clean(&first.does)), 4);
        column.field("untouched", NAME, (Ink::Text, &text::clean(&e.untouched)), 2);
        column.field("costs", NAME, (Ink::Text, &text::clean(&first.cost)), 2);
        column.field("risk", NAME, (Ink::Text, &text::clean(&first.risk)), 2);
    }
    if trouble.cures.is_empty() {
        column.field("untouched", NAME, (Ink::Text, &text::clean(&e.untouched)), 2);
    }
    let others: Vec<&str> = trouble.cures.iter().skip(1).map(|c| c.title.as_str()).collect();
    if !others.is_empty() {
        let list = format!("{}: {}", key(Id::OtherCures), others.join("; or: "));
        column.field("or else", NAME, (Ink::Text, &text::clean(&list)), 3);
    }
    for seen in trouble.evidence.iter().filter(|seen| !seen.text.is_empty()) {
        let line = format!("{}: {}", seen.source, seen.text);
        column.field("known by", NAME, (Ink::Dim, &text::clean(&line)), 2);
    }
    column.skip(1);
}

pub(super) fn notes(state: &StepState, column: &mut Column<'_>) {
    for (name, note) in &state.notes {
        let name = name.replace(['-', '_'], " ");
        column.field(&format!("{name} "), 14, (Ink::Text, &text::clean(note)), 2);
    }
}

fn asked(view: &View, incident: &Incident, which: Prerequisite, column: &mut Column<'_>) {
    let texts = view.runbook.prerequisite(which);
    let title = texts.map_or(which.title(), |t| t.title.as_str());
    column.title(view.panel == 1, title, "");
    if let Some(t) = texts {
        column.wrapped(Ink::Text, &t.ask, 0, 4);
        column.wrapped(Ink::Dim, &t.hint, 0, 3);
    }
    column.skip(1);
    if which == Prerequisite::TargetConfirmed
        && let Some(reach) = &incident.reach
    {
        column.field("point", 10, (Ink::Strong, &recovery_point::in_time(view, reach)), 4);
        let open: Vec<&Check> =
            reach.checks.iter().filter(|check| check.verdict != Verdict::Verified).collect();
        if !open.is_empty() {
            let titles: Vec<&str> = open.iter().map(|check| check.title.as_str()).collect();
            let words = format!(
                "! {}: {} (2, then Shift+Tab)",
                proofs::tally(&reach.checks),
                titles.join("; ")
            );
            column.field("proof", 10, (Ink::Attention, &text::clean(&words)), 3);
        }
    }
    if which == Prerequisite::BackupIntegrity
        && let Some((set, checks)) = &incident.integrity
    {
        column.field("backup", 10, (Ink::Text, set), 1);
        let rest = column.rest();
        let theme = view.theme;
        super::widgets::checks::draw(theme, checks, None, rest, column.buffer());
        return;
    }
    match incident.prerequisites.get(&which) {
        Some(a) => {
            let who = format!("{}, {}", a.by, text::when(a.at, view.now));
            column.field("answered", 10, (Ink::Text, &who), 1);
            column.field("note", 10, (Ink::Text, &text::clean(&a.note)), 3);
        }
        None => column.text(Ink::Attention, "! Not answered yet."),
    }
}

/// A step as the commander reads it before agreeing.
fn explained(view: &View, step: &PlanStep, column: &mut Column<'_>) {
    const NAME: usize = 10;
    column.title(view.panel == 1, &text::clean(&step.title), "");
    column.wrapped(Ink::Text, &text::clean(&step.why), 0, 4);
    let touches = match step.touches.as_slice() {
        [] => String::from("nothing: it only reads"),
        list => list
            .iter()
            .map(|t| {
                let (clean, room) = (text::clean(t), column.width().saturating_sub(NAME));
                // A path is known by its ends; a sentence is not.
                let is_path = !clean.contains(' ');
                if is_path { text::shorten(&clean, room, view.theme.ellipsis()) } else { clean }
            })
            .collect::<Vec<_>>()
            .join("\n"),
    };
    let ink = if step.destructive { Ink::Attention } else { Ink::Text };
    column.field("touches", NAME, (ink, &touches), 5);
    if let Some(range) = step.expected {
        column.field("takes", NAME, (Ink::Text, &text::span_range(range)), 1);
    }
    column.field("cancel", NAME, (Ink::Text, &cancel(&step.cancel)), 2);
    let undo = step.undo.as_deref().unwrap_or("nothing to undo");
    column.field("undo", NAME, (Ink::Text, &text::clean(undo)), 3);
    let runbook = step.runbook.lines().next().unwrap_or("");
    let more = if step.runbook.lines().count() > 1 {
        format!(" {}", view.theme.ellipsis())
    } else {
        String::new()
    };
    if !runbook.is_empty() {
        column.field("runbook", NAME, (Ink::Accent, &format!("{}{more}", text::clean(runbook))), 2);
    }
}

/// When a step can be stopped, in words.
#[must_use]
pub fn cancel(rule: &Cancel) -> String {
    match rule {
        Cancel::AtOnce => String::from("at once"),
        Cancel::SafePoint(note) => format!("at a safe point: {}", text::clean(note)),
        Cancel::No(why) => format!("not while it runs: {}", text::clean(why)),
    }
}

fn live(view: &View, incident: &Incident, progress: &Progress, column: &mut Column<'_>) {
    let theme = view.theme;
    let title = match progress.job.as_str() {
        "integrity" => String::from("Reading and checking the backup"),
        "survey" => String::from("Reading the archive"),
        "validate" => String::from("Validating"),
        "parts" => String::from("Looking at the copy"),
        id => incident
            .plan
            .as_ref()
            .and_then(|p| p.step(id))
            .map_or_else(|| id.to_owned(), |s| s.title.clone()),
    };
    let taken = view.now.duration_since(progress.started).as_secs_f64().max(0.0);
    column.title(view.panel == 1, &title, &text::clock(taken));
    let label = text::shorten(&text::clean(&progress.label), column.width(), theme.ellipsis());
    column.text(Ink::Dim, label);
    if let Some(share) = share(progress) {
        let percent = format!(" {:>3.0} %", share * 100.0);
        let mut spans = bars::progress(theme, share, column.width().saturating_sub(6));
        spans.push(Span::styled(percent, theme.style(Ink::Strong)));
        column.spans(spans);
    }
    let ready =
        progress.eta.map_or_else(String::new, |eta| format!("  ready in {}", text::span(eta)));
    column.spans(vec![
        Span::styled(amount(progress), theme.style(Ink::Text)),
        Span::styled(pace(progress), theme.style(Ink::Accent)),
        Span::styled(ready, theme.style(Ink::Strong)),
    ]);
    // Beside a salvage the database serves already.
    let ahead = remaining(incident, progress).filter(|_| incident.clocks.serving.is_none());
    if let Some(range) = ahead {
        let (ink, words) = in_time(view, incident, range);
        column.text(ink, words);
        let outlook = super::frame::outlook(view, incident);
        let warning = outlook.and_then(|outlook| outlook.warning(view.now));
        if let Some(warning) = warning.filter(|_| column.left() > 6) {
            column.wrapped(ink, &warning, 0, 2);
        }
    }
    let lsn = progress.lsn.map(|lsn| format!("replay at LSN {lsn}"));
    let until =
        progress.replayed_until.map(|at| format!("data as of {}", text::when(at, view.now)));
    let replay: Vec<String> = [lsn, until].into_iter().flatten().collect();
    if !replay.is_empty() {
        column.text(Ink::Text, replay.join("  "));
    }
    if progress.history.len() > 1 && column.left() > 0 {
        let rows = if column.left() > 14 { 3 } else { 1 };
        let width = column.width().min(120);
        for line in bars::chart(theme, &progress.history, width, rows) {
            column.text(Ink::Accent, line);
        }
    }
    log_tail(view, column);
}

pub use crate::engine::incident::outlook::remaining;

/// What is still to come against what is left of the RTO.
fn in_time(view: &View, incident: &Incident, range: (f64, f64)) -> (Ink, String) {
    let elapsed = incident.clocks.rto_seconds(view.now).unwrap_or(0.0);
    #[allow(clippy::cast_precision_loss, reason = "seconds of some hours")]
    let limit = view.targets().map_or(f64::INFINITY, |t| t.rto_seconds as f64);
    let (ink, note) = if elapsed + range.1 <= limit {
        (Ink::Good, "within the RTO")
    } else if elapsed + range.0 <= limit {
        (Ink::Attention, "! the RTO is at risk")
    } else {
        (Ink::Bad, "! beyond the RTO")
    };
    (ink, format!("serving in {} and your decisions ({note})", text::span_range(range)))
}

fn share(progress: &Progress) -> Option<f64> {
    let total = progress.total.filter(|t| *t > 0)?;
    #[allow(clippy::cast_precision_loss, reason = "a share")]
    Some((progress.done as f64 / total as f64).clamp(0.0, 1.0))
}

fn amount(progress: &Progress) -> String {
    let show = |n: u64| match progress.unit {
        Unit::Bytes => text::bytes(n),
        _ => text::count(n),
    };
    let unit = match progress.unit {
        Unit::Bytes | Unit::Time => "",
        Unit::Files => " files",
        Unit::Segments => " log files",
        Unit::Rows => " rows",
        Unit::Checks => " checks",
    };
    match (progress.unit, progress.total) {
        (Unit::Time, _) => String::new(),
        (_, Some(total)) => format!("{} of {}{unit}", show(progress.done), show(total)),
        (_, None) => format!("{}{unit}", show(progress.done)),
    }
}

fn pace(progress: &Progress) -> String {
    let Some(rate) = progress.rate.filter(|r| r.is_finite() && *r >= 0.0) else {
        return String::new();
    };
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative")]
    match progress.unit {
        Unit::Bytes => format!("  {}/s", text::bytes(rate as u64)),
        Unit::Time => String::new(),
        _ => format!("  {rate:.1}/s"),
    }
}

fn log_tail(view: &View, column: &mut Column<'_>) {
    let Some(progress) = view.progress.as_ref().filter(|p| !p.log.is_empty()) else { return };
    if column.left() < 3 {
        return;
    }
    column.title(false, "Log", "l shows more");
    let rows = usize::from(column.left());
    let width = column.width();
    let ellipsis = view.theme.ellipsis();
    for line in progress.log.iter().skip(progress.log.len().saturating_sub(rows)) {
        column.text(Ink::Dim, text::fit(&text::clean(line), width, ellipsis));
    }
}
