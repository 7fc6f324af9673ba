//! Only parts, on the restore screen: when that is the way, what the copy beside production holds,
//! what differs by key, and how it can be carried over. Draws and words; sends nothing.
//!
//! ```text
//! What differs                              production stays up
//! looked at   public.orders of the database shop
//!   public.orders          48,211 missing     12 changed    301 newer
//!   public.audit           not in production: made whole
//! k  look at something else   y  carry over: what and where to is asked next
//! ```

use super::commands::{self, Id};
use super::layers::{Choice, Emphasis, Pick, Reader};
use super::paint::{Column, first_row, pad, pad_left};
use super::text;
use super::theme::Ink;
use super::view::{Candidate, View};

use crate::engine::incident::Incident;
use crate::engine::incident::facts::Procedure;
use crate::engine::incident::model::{RunStatus, StepStatus};
use crate::engine::incident::parts::{Carry, Part, PartsChoice, PartsLook};
use crate::engine::parts::compare::Difference;
use crate::engine::parts::names::Name;
use crate::engine::parts::roles::Missing;
use crate::engine::parts::work::{Into, Wanted};
use crate::engine::parts::{Choice as Taken, Class, Scope};
use crate::engine::runner::guard::parts::{CARRY, CHOOSE};
use crate::engine::runner::plan::Plan;
use crate::engine::runner::protocol::Offered;
use ratatui::text::Span;

type Line = Vec<Span<'static>>;

/// The item of the safety list that moves sequences.
const SEQUENCES: &str = "sequences";

/// When it is the way, and what it costs.
pub const WHEN: &str = "A partial loss: a table, a schema or a database is gone or spoilt, and the \
                        rest of production is fine. Production stays up. A copy is recovered beside \
                        it, which nobody can reach, and needs room for the whole backup; you see \
                        what differs, row by row, and choose what is carried over.";

/// What stands against production after a recovery, and what that means.
const LEGEND: &str = "missing: written after the point. changed: written on either side, by people or \
                      by the accident. newer: deleted after the point, as by the accident, or written \
                      since the recovery.";

const SHORT_LEGEND: &str = "newer: deleted after the point, as by the accident, or written since.";

/// What a salvage is, before it is planned.
#[must_use]
pub fn salvage_body(incident: &Incident) -> Vec<String> {
    let lost = match incident.reach.as_ref().and_then(|reach| reach.lost_commits) {
        Some(1) => String::from("1 commit"),
        Some(count) => format!("{} commits", text::count(count)),
        None => String::from("nobody counted how much"),
    };
    let more = if incident.may_lose_more() { " or more" } else { "" };
    let mut body = vec![
        format!(
            "What was written after the recovery point is in the kept directory alone: {lost}{more}."
        ),
        String::from(
            "A copy of that directory is started beside production, closed to everybody. You see what \
             differs, row by row, and choose what comes back. The kept directory is only read, \
             production stays up.",
        ),
    ];
    if !incident.care.contains_key(SEQUENCES) {
        body.push(String::from(
            "Run the checklist's line on sequences first: a key that was given out twice shows as one \
             row that was changed.",
        ));
    }
    body
}

/// The copy waits for the choice.
#[must_use]
pub fn waits(incident: &Incident) -> bool {
    incident.status == RunStatus::Held && stands(incident, CHOOSE, StepStatus::Held)
}

/// It can be looked at something else: at the question, or because carrying over failed.
#[must_use]
pub fn may_look(incident: &Incident) -> bool {
    waits(incident)
        || (incident.status == RunStatus::Failed && stands(incident, CARRY, StepStatus::Failed))
}

fn stands(incident: &Incident, id: &str, status: StepStatus) -> bool {
    incident.steps.iter().any(|step| step.id == id && step.status == status)
}

/// Only parts are brought back.
#[must_use]
pub fn is_chosen(incident: &Incident) -> bool {
    incident.procedure().is_parts()
}

/// Which tables of which database a point's suspect has touched, as far as its name tells.
#[must_use]
pub fn touched(candidate: &Candidate) -> (Option<String>, Vec<String>) {
    let Some(suspect) = &candidate.suspect else { return (None, Vec::new()) };
    let (table, database) = match suspect.relation.split_once(" in ") {
        Some((table, database)) => (table, Some(database.to_owned())),
        None => (suspect.relation.as_str(), None),
    };
    match table.split_once('.') {
        Some((schema, name)) if !table.contains(' ') => {
            (database, vec![Name::new(schema, name).sql()])
        }
        _ => (None, Vec::new()),
    }
}

/// How many rows the right panel lists.
#[must_use]
pub fn rows(incident: &Incident) -> usize {
    incident.parts.look.as_ref().map_or(0, |look| look.differences.len() + look.absent.len())
}

/// The table under the cursor that both sides have.
#[must_use]
pub fn selected(view: &View) -> Option<&Difference> {
    let incident = view.incident.as_ref()?;
    let look = incident.parts.look.as_ref()?;
    look.differences.get(view.cursor_in(1, rows(incident)))
}

/// What was looked at, by table, and the keys.
pub fn draw(view: &View, incident: &Incident, column: &mut Column<'_>) {
    const NAME: usize = 11;
    column.title(view.panel == 1, "What differs", "production stays up");
    let Some(look) = &incident.parts.look else {
        let words = match incident.is_salvaging() {
            true => {
                "The copy of the kept directory stands. Nothing was looked at yet: choose a table, a \
                 schema or a database of it."
            }
            false => {
                "The copy beside production stands at its point. Nothing was looked at yet: choose a \
                 table, a schema or a database of it."
            }
        };
        column.wrapped(Ink::Text, words, 0, 4);
        keys(view, incident, column);
        return;
    };
    column.field("looked at", NAME, (Ink::Strong, &text::clean(&look.part.words())), 2);
    if let Some(whole) = &look.whole {
        let there = match whole.in_production {
            true => "production has one of that name",
            false => "production has none of that name",
        };
        column.field("production", NAME, (Ink::Attention, there), 1);
        let holds = format!(
            "{}, {} tables, {} large objects, owner {}",
            text::bytes(whole.bytes),
            text::count(whole.tables),
            text::count(whole.large_objects),
            whole.owner
        );
        column.field("it holds", NAME, (Ink::Text, &text::clean(&holds)), 2);
        for (name, list) in [
            ("no roles", &whole.missing_roles),
            ("no files", &whole.missing_extensions),
            ("no space", &whole.missing_tablespaces),
            ("left out", &whole.subscriptions),
        ] {
            if !list.is_empty() {
                let words = text::clean(&list.join(", "));
                column.field(name, NAME, (Ink::Attention, &format!("! {words}")), 2);
            }
        }
    } else {
        if look.schema_absent {
            column.field("schema", NAME, (Ink::Attention, "production does not have it"), 1);
        }
        if !look.missing_roles.is_empty() {
            let words = format!("! production lacks {}", look.missing_roles.join(", "));
            column.field("roles", NAME, (Ink::Attention, &text::clean(&words)), 2);
        }
        match column.left() {
            _ if !incident.is_salvaging() => {}
            13.. => column.wrapped(Ink::Dim, LEGEND, 0, 4),
            9.. => column.text(Ink::Dim, SHORT_LEGEND),
            _ => {}
        }
        column.skip(1);
        table(view, incident, look, column);
    }
    keys(view, incident, column);
}

fn table(view: &View, incident: &Incident, look: &PartsLook, column: &mut Column<'_>) {
    let theme = view.theme;
    let count = rows(incident);
    if count == 0 {
        column.text(Ink::Dim, "It has no tables.");
        return;
    }
    let figures = 3 * 11;
    let room = column.width().saturating_sub(2 + figures).max(8);
    let head = ["missing", "changed", "newer"].map(|word| pad_left(word, 11, theme)).concat();
    column.text(Ink::Dim, format!("  {}{head}", pad("table", room, theme)));
    let differs = look.differences.iter().any(|found| !found.definition.is_empty());
    let visible = usize::from(column.left().saturating_sub(u16::from(differs))).max(1);
    let at = view.cursor_in(1, count);
    let first = first_row(at, count, visible);
    for i in (first..count).take(visible) {
        let chosen = view.panel == 1 && i == at;
        if let Some(found) = look.differences.get(i) {
            let name = if found.definition.is_empty() {
                text::clean(&found.table)
            } else {
                format!("! {}", text::clean(&found.table))
            };
            let mut spans = vec![Span::styled(pad(&name, room, theme), theme.style(Ink::Text))];
            for class in Class::ALL {
                let n = found.count(class);
                let ink = if n == 0 { Ink::Dim } else { Ink::Strong };
                spans.push(Span::styled(pad_left(&text::count(n), 11, theme), theme.style(ink)));
            }
            column.row(chosen, spans);
        } else if let Some(name) = look.absent.get(i - look.differences.len()) {
            column.row(
                chosen,
                vec![
                    Span::styled(pad(&text::clean(name), room, theme), theme.style(Ink::Text)),
                    Span::styled("  not there: made whole", theme.style(Ink::Attention)),
                ],
            );
        }
    }
    if differs {
        column.text(Ink::Dim, "! its definition has changed since (Enter)");
    }
}

fn keys(view: &View, incident: &Incident, column: &mut Column<'_>) {
    let mut list = vec![(Id::LookAtParts, "choose what of the copy to look at")];
    if let Some(look) = &incident.parts.look {
        list.insert(0, (Id::CarryParts, "carry over: what, and where to, is asked next"));
        if !look.differences.is_empty() {
            list.push((Id::Details, "the rows of the selected table"));
        }
    }
    // The key bar names the keys too.
    if usize::from(column.left()) <= list.len() {
        return;
    }
    column.skip(1);
    for (id, words) in list {
        let key = commands::by_id(id).map_or_else(String::new, |c| c.key.to_string());
        column.spans(vec![
            Span::styled(format!("{key:<5}"), view.theme.style(Ink::Key)),
            Span::styled(format!("  {words}"), view.theme.style(Ink::Text)),
        ]);
    }
}

/// What of the copy can be looked at.
#[must_use]
pub fn offers(incident: &Incident, offered: &[Offered]) -> Choice {
    let options = offered
        .iter()
        .map(|one| {
            let (label, why) = named(incident, one);
            (Pick::Part(with_others(incident, &one.part)), label, why)
        })
        .collect();
    Choice {
        title: String::from("What of the copy is to be looked at?"),
        prompt: String::from(
            "Looking compares it with production, row by row, and writes nothing. What production \
             lacks stands first. Of one database + takes a table along, - leaves it out again.",
        ),
        options,
        selected: 0,
    }
}

fn named(incident: &Incident, one: &Offered) -> (String, String) {
    let lacks = if one.there { "" } else { "Not in production. " };
    match &one.part {
        Part::Database { database } => (
            format!("Database {database}"),
            format!("{lacks}The whole of it: everything in it, its owner, grants and settings."),
        ),
        Part::Of(wanted) => {
            let of = format!("In the database {}.", wanted.database);
            match &wanted.scope {
                Scope::Tables(names) => {
                    let list: Vec<String> = names.iter().map(ToString::to_string).collect();
                    let sign = match taken(incident, wanted) {
                        Some(known) if names.iter().all(|name| known.contains(name)) => "- ",
                        Some(_) => "+ ",
                        None => "",
                    };
                    (format!("{sign}Table {}", list.join(", ")), format!("{lacks}{of}"))
                }
                Scope::Schema(schema) => {
                    (format!("Schema {schema}"), format!("{lacks}All of its tables. {of}"))
                }
                Scope::All => (String::from("All tables"), of),
            }
        }
    }
}

/// The tables that are looked at now, where they are of the same database.
fn taken<'a>(incident: &'a Incident, wanted: &Wanted) -> Option<&'a Vec<Name>> {
    match &incident.parts.look.as_ref()?.part {
        Part::Of(Wanted { database, scope: Scope::Tables(names) })
            if *database == wanted.database =>
        {
            Some(names)
        }
        _ => None,
    }
}

/// A table joins those of its database that are looked at; one of them leaves them.
fn with_others(incident: &Incident, part: &Part) -> Part {
    let Part::Of(wanted) = part else { return part.clone() };
    let (Scope::Tables(names), Some(known)) = (&wanted.scope, taken(incident, wanted)) else {
        return part.clone();
    };
    let mut all = known.clone();
    if names.iter().all(|name| known.contains(name)) {
        all.retain(|name| !names.contains(name));
    } else {
        all.extend(names.iter().filter(|name| !known.contains(name)).cloned());
    }
    if all.is_empty() {
        return part.clone();
    }
    Part::Of(Wanted { database: wanted.database.clone(), scope: Scope::Tables(all) })
}

/// How what was looked at can be carried over.
#[must_use]
pub fn ways(view: &View, look: &PartsLook) -> Choice {
    let options = match &look.part {
        Part::Database { database } => of_database(view, database, look),
        Part::Of(_) => of_tables(look, view.incident.as_ref().is_some_and(Incident::is_salvaging)),
    };
    Choice {
        title: format!("Carry over {}", look.part.words()),
        prompt: String::from(
            "One transaction: all of it or nothing. The cluster's name is asked for next.",
        ),
        options,
        selected: 0,
    }
}

fn of_database(view: &View, database: &str, look: &PartsLook) -> Vec<(Pick, String, String)> {
    let there = look.whole.as_ref().is_some_and(|whole| whole.in_production);
    let stamp = view.now.strftime("%Y%m%d_%H%M").to_string();
    let beside = format!("{database}_recovered_{stamp}");
    let way = |named: &str, set_aside: Option<String>| {
        Pick::Carry(Carry::Database { named: named.to_owned(), set_aside })
    };
    let mut all = Vec::new();
    if !there {
        let why =
            String::from("It is filled under another name, compared, and then gets this one.");
        all.push((way(database, None), format!("As {database}, its own name"), why));
    }
    all.push((
        way(&beside, None),
        format!("Beside, as {beside}"),
        String::from("Nobody is led to it: look, and rename it yourself."),
    ));
    if there {
        let aside = format!("{database}_before_{stamp}");
        all.push((
            way(database, Some(aside.clone())),
            format!("In the place of {database}"),
            format!("The one that is there is renamed to {aside}, whole. Nobody may be in it."),
        ));
    }
    all
}

fn of_tables(look: &PartsLook, salvage: bool) -> Vec<(Pick, String, String)> {
    let (missing, changed, newer) = look.counts();
    let differ = look.differences.iter().any(|found| !found.definition.is_empty());
    let place = |missing, changed, newer| {
        let taken = Taken { missing, changed, newer, triggers: false, common_columns: differ };
        Pick::Carry(Carry::Of { into: Into::Place(taken) })
    };
    let made = match (look.absent.len(), look.schema_absent) {
        (0, false) => String::new(),
        (n, true) => format!(" The schema is made anew, with {n} tables."),
        (1, false) => String::from(" The table that production lacks is made whole."),
        (n, false) => format!(" {n} tables that production lacks are made whole."),
    };
    let columns =
        if differ { " Where definitions differ: the columns that both have." } else { "" };
    let (changes, removes, exactly) = match salvage {
        true => (
            " So is what was written to them since the recovery; what the accident changed comes back.",
            " Among them: what the accident deleted, and what was written since the recovery.",
            "In place: exactly as in the kept directory, the accident included",
        ),
        false => ("", "", "In place: exactly as it was"),
    };
    let mut all = Vec::new();
    if missing > 0 || !made.is_empty() {
        all.push((
            place(missing > 0, false, false),
            String::from("In place: what is missing"),
            format!(
                "{} rows are inserted; no row of production is changed.{made}{columns}",
                text::count(missing)
            ),
        ));
    }
    if changed > 0 {
        all.push((
            place(missing > 0, true, false),
            String::from("In place: what is missing and what was changed"),
            format!(
                "{} rows are inserted, {} of production are overwritten.{changes}{made}{columns}",
                text::count(missing),
                text::count(changed)
            ),
        ));
    }
    if newer > 0 {
        all.push((
            place(missing > 0, changed > 0, true),
            String::from(exactly),
            format!(
                "{} inserted, {} overwritten, and {} newer rows of production REMOVED.{removes}{columns}",
                text::count(missing),
                text::count(changed),
                text::count(newer)
            ),
        ));
    }
    all.push((
        Pick::Carry(Carry::Of { into: Into::Side }),
        String::from("Beside: into a new schema, whole"),
        String::from(
            "recovered_DATE_TIME with all rows of the copy; production's tables stay as they are.",
        ),
    ));
    all
}

/// What becomes of roles that production lacks.
#[must_use]
pub fn roles(look: &PartsLook, carry: &Carry) -> Choice {
    let lacking = missing_roles(look);
    let with = |missing| Pick::CarryWith(carry.clone(), missing);
    Choice {
        title: String::from("Roles that production lacks"),
        prompt: format!(
            "They own something of it or have grants on it: {}. What becomes of them?",
            lacking.join(", ")
        ),
        options: vec![
            (
                with(Missing::Create),
                String::from("Make them"),
                String::from("Without login, without a password, members of nothing."),
            ),
            (
                with(Missing::LeaveOut),
                String::from("Leave them out"),
                String::from("Their things go to who connects; their grants are not made."),
            ),
        ],
        selected: 0,
    }
}

/// Roles that somebody must say something about before `carry`.
#[must_use]
pub fn missing_roles(look: &PartsLook) -> &[String] {
    match &look.whole {
        Some(whole) => &whole.missing_roles,
        None => &look.missing_roles,
    }
}

/// What was agreed to, for the gate and the runner.
#[must_use]
pub fn choice(look: &PartsLook, carry: &Carry, missing_roles: Missing) -> PartsChoice {
    PartsChoice { carry: carry.clone(), missing_roles, seen: look.print(carry) }
}

const NOTHING_YET: &str = "nothing to production before you have seen what differs, and chosen; the \
                           name is asked for again then";

/// What the gate before the run says: nothing of production is touched by it.
#[must_use]
pub fn plan_lines(view: &View, incident: &Incident, plan: &Plan, width: usize) -> Vec<Line> {
    let mut out = Facts::new(view, width);
    head(&mut out, incident, plan);
    if let Procedure::Parts { kept: Some(kept), sandbox, .. } = &plan.procedure {
        salvage_lines(&mut out, incident, kept, sandbox);
        return out.lines;
    }
    out.fact(
        "only parts",
        "a copy is recovered beside production, closed to everybody:",
        Ink::Strong,
    );
    if let Some(sandbox) = crate::engine::parts::run::sandbox_of(plan) {
        out.fact("", &sandbox.display().to_string(), Ink::Text);
    }
    out.fact("as it was", &plan.target.to_string(), Ink::Strong);
    out.fact("from backup", &plan.base.set, Ink::Text);
    if let Some(forecast) = incident.reach.as_ref().and_then(|reach| reach.forecast.as_ref()) {
        let copy = text::span_range(forecast.total());
        out.fact("takes", &format!("{copy} until the copy stands; then you choose"), Ink::Text);
    }
    out.fact("stops", "nothing: production stays up", Ink::Good);
    out.fact("lost by it", "nothing", Ink::Good);
    out.fact("writes", NOTHING_YET, Ink::Good);
    out.lines
}

/// The same of a salvage.
fn salvage_lines(out: &mut Facts<'_>, incident: &Incident, kept: &str, sandbox: &str) {
    out.fact("salvage", "the kept directory is copied, and only read:", Ink::Strong);
    out.fact("", kept, Ink::Text);
    out.fact("copy", "beside production, closed to everybody:", Ink::Strong);
    out.fact("", sandbox, Ink::Text);
    let lost = incident.reach.as_ref().and_then(|reach| reach.lost_commits);
    let lost = lost.map_or_else(
        || String::from("what was written after the point, nobody counted how much"),
        |count| format!("{} commits after the point, and the accident", text::count(count)),
    );
    out.fact("it holds", &lost, Ink::Text);
    out.fact("stops", "nothing: production stays up", Ink::Good);
    out.fact("writes", NOTHING_YET, Ink::Good);
}

/// What the gate before the carrying over says.
#[must_use]
pub fn carry_lines(
    view: &View,
    incident: &Incident,
    choice: &PartsChoice,
    width: usize,
) -> Vec<Line> {
    let mut out = Facts::new(view, width);
    let Some(plan) = &incident.plan else { return out.lines };
    head(&mut out, incident, plan);
    let Some(look) = &incident.parts.look else { return out.lines };
    out.fact("carries over", &look.part.words(), Ink::Strong);
    match &plan.procedure {
        Procedure::Parts { kept: Some(kept), .. } => out.fact("from", kept, Ink::Text),
        _ => out.fact("as it was", &plan.target.to_string(), Ink::Text),
    }
    match &choice.carry {
        Carry::Database { named, set_aside } => {
            out.fact("makes", &format!("the database {named}"), Ink::Attention);
            if let Some(aside) = set_aside {
                let words = format!("the database {named} that is there: to {aside}, whole");
                out.fact("renames", &words, Ink::Attention);
            }
        }
        Carry::Of { into: Into::Side } => {
            out.fact(
                "makes",
                "a new schema recovered_DATE_TIME, with its tables whole",
                Ink::Attention,
            );
        }
        Carry::Of { into: Into::Place(taken) } => {
            let (missing, changed, newer) = look.counts();
            for (class, name, n) in [
                (Class::Missing, "inserts", missing),
                (Class::Changed, "overwrites", changed),
                (Class::Newer, "REMOVES", newer),
            ] {
                if taken.takes(class) {
                    let ink = if class == Class::Missing { Ink::Strong } else { Ink::Attention };
                    out.fact(name, &format!("{} rows", text::count(n)), ink);
                }
            }
            if look.schema_absent || !look.absent.is_empty() {
                let words = match look.absent.len() {
                    0 => String::from("the schema, with what is in it"),
                    _ => look.absent.join(", "),
                };
                out.fact("makes", &words, Ink::Attention);
            }
            if taken.common_columns {
                for found in look.differences.iter().filter(|one| !one.definition.is_empty()) {
                    let words = format!("{}: {}", found.table, found.definition.join("; "));
                    out.fact("not carried", &words, Ink::Attention);
                }
            }
        }
    }
    let roles = missing_roles(look).join(", ");
    match choice.missing_roles {
        _ if roles.is_empty() || !look.makes(&choice.carry) => {}
        Missing::LeaveOut => out.fact("leaves out", &format!("roles: {roles}"), Ink::Attention),
        _ => out.fact("makes roles", &format!("{roles}, without login"), Ink::Attention),
    }
    out.fact("stays up", "production; every other row of it stays as it is", Ink::Good);
    out.fact("all or none", "one transaction, compared with the copy before its commit", Ink::Good);
    out.lines
}

fn head(out: &mut Facts<'_>, incident: &Incident, plan: &Plan) {
    let environment = &incident.declaration.environment;
    out.fact("cluster", &format!("{} ({environment})", plan.cluster), Ink::Strong);
    let id = &plan.identity;
    out.fact("on host", &format!("{}, system {}", id.host, id.system_identifier), Ink::Text);
}

struct Facts<'a> {
    view: &'a View,
    width: usize,
    lines: Vec<Line>,
}

impl<'a> Facts<'a> {
    fn new(view: &'a View, width: usize) -> Self {
        Self { view, width, lines: Vec::new() }
    }

    fn fact(&mut self, name: &str, value: &str, ink: Ink) {
        let theme = self.view.theme;
        let room = self.width.saturating_sub(14);
        let parts = match value.starts_with('/') {
            true => vec![text::shorten(value, room, theme.ellipsis())],
            false => text::wrap(value, room),
        };
        for (i, part) in parts.into_iter().enumerate() {
            let name = if i == 0 { name } else { "" };
            self.lines.push(vec![
                Span::styled(format!("{name:<14}"), theme.style(Ink::Dim)),
                Span::styled(text::clean(&part), theme.style(ink)),
            ]);
        }
    }
}

/// The rows of a table that differ, as far as they were asked for.
#[must_use]
pub fn reader(found: &Difference) -> Reader {
    let mut lines = vec![(
        Emphasis::Plain,
        format!(
            "{} rows in the copy, {} in production",
            text::count(found.rows_in_source),
            text::count(found.rows_in_production)
        ),
    )];
    if !found.by_key {
        let words = "It has no primary key: rows are compared as a whole.";
        lines.push((Emphasis::Dim, String::from(words)));
    }
    for change in &found.definition {
        lines.push((Emphasis::Bad, format!("definition: {}", text::clean(change))));
    }
    for class in Class::ALL {
        let heading = match class {
            Class::Missing => "missing in production",
            Class::Changed => "changed in production",
            Class::Newer => "newer in production, not in the copy",
        };
        lines.push((Emphasis::Plain, String::new()));
        lines.push((Emphasis::Heading, format!("{}: {heading}", text::count(found.count(class)))));
        let mut shown = 0;
        for sample in found.samples.iter().filter(|sample| sample.class == class) {
            shown += 1;
            lines.push((Emphasis::Plain, text::clean(&sample.key)));
            for (name, was, is) in &sample.values {
                let line = format!("    {name}: {was} in the copy, {is} in production");
                lines.push((Emphasis::Dim, text::clean(&line)));
            }
        }
        if found.count(class) > shown {
            let more = found.count(class) - shown;
            lines.push((Emphasis::Dim, format!("and {} more", text::count(more))));
        }
    }
    Reader::text(found.table.clone(), lines)
}
