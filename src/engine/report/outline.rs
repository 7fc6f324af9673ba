//! The whole report as blocks, for the printed form. Owns the order of its parts; the words are those
//! of the other forms.

use super::block::{Block, Chart, Part};
use super::text::{
    bytes, commit, duration, limit, maybe_duration, maybe_moment, met, moment, status,
};
use super::{Objective, Report, salvage, shares, tried};
use crate::engine::checklist::{Line, State};

pub(super) fn blocks(report: &Report) -> Vec<Block> {
    let mut all = head(report);
    all.extend(objectives(report));
    all.extend(loss(report));
    all.extend(recovery(report));
    all.extend(steps(report));
    all.extend(escalation(report));
    all.extend(people(report));
    all.extend(checks(report));
    all.extend(salvage::blocks(report));
    all.extend(checklist(report));
    all.extend(timeline(report));
    all
}

fn known(value: Option<&String>) -> String {
    value.cloned().unwrap_or_else(|| String::from("not known"))
}

fn head(report: &Report) -> Vec<Block> {
    let subject = &report.incident;
    let mut all = vec![Block::Title(format!("Recovery report {}", subject.id))];
    if let Some(drill) = &subject.drill {
        all.push(Block::Strong(format!(
            "DRILL: this was an exercise (scenario {drill}), not a real incident."
        )));
    }
    all.push(Block::Strong(format!("{}. {}", report.outcome.word, report.outcome.sentence)));
    let mut facts = vec![
        ("Incident", subject.title.clone()),
        ("Severity", subject.severity.map_or("not set", |s| s.word()).to_owned()),
        ("Cluster", format!("{} ({})", subject.cluster, subject.environment)),
        ("Tier", subject.tier_title.clone()),
        ("Host", known(subject.host.as_ref())),
        ("Data directory", known(subject.data_directory.as_ref())),
        ("System identifier", known(subject.system_identifier.as_ref())),
        ("PostgreSQL", known(subject.server_version.map(|v| v.to_string()).as_ref())),
    ];
    if let Some(closing) = &subject.closing {
        facts.push(("Closed with", closing.clone()));
    }
    all.push(Block::facts(facts));
    all
}

fn objectives(report: &Report) -> Vec<Block> {
    let mut all = vec![Block::heading("Objectives")];
    let mut rows = Vec::new();
    for (name, objective) in [("RPO (data loss)", &report.rpo), (report.rto_name(), &report.rto)] {
        all.extend(objective_chart(name, objective));
        let actual = maybe_duration(objective.actual_seconds);
        let actual = if objective.ongoing { format!("{actual} so far") } else { actual };
        rows.extend(objective.against.iter().map(|against| {
            let allowed = format!("at most {} ({})", limit(against.target_seconds), against.what);
            vec![name.to_owned(), actual.clone(), allowed, met(against.met).to_owned()]
        }));
    }
    let columns = [("Objective", 1.2), ("Actual", 1.0), ("Allowed", 2.0), ("Result", 0.8)];
    all.push(Block::table(&columns, rows));
    all.push(Block::text(format!("RPO: {}", report.rpo.how)));
    all.push(Block::text(format!("RTO: {}", report.rto.how)));
    if let Some(parts) = &report.shares {
        all.push(Block::Sub(String::from("Whose time it was")));
        let part = |seconds: f64| parts.percent(seconds) / 100.0;
        all.push(Block::Chart(Chart::Shares(vec![
            (String::from("machine"), part(parts.machine), Part::Machine),
            (String::from("people"), part(parts.human()), Part::People),
            (String::from("no runner"), part(parts.unattended), Part::Nobody),
        ])));
        let columns = [(report.part_of_it(), 3.0), ("Time", 1.0), ("Share", 1.0)];
        all.push(Block::table(&columns, shares::rows(parts, report.waited())));
    }
    all
}

fn objective_chart(name: &str, objective: &Objective) -> Option<Block> {
    let against = objective.against.first()?;
    let allowed = std::time::Duration::from_secs(against.target_seconds).as_secs_f64();
    let actual = objective.actual_seconds.filter(|seconds| seconds.is_finite())?;
    let name = name.split(' ').next().unwrap_or(name).to_owned();
    let met = actual <= allowed;
    Some(Block::Chart(Chart::Objective { name, actual, allowed, met }))
}

fn loss(report: &Report) -> Vec<Block> {
    let loss = &report.loss;
    let mut all = vec![
        Block::heading("Data lost"),
        Block::facts(vec![
            ("Committed transactions given up", loss.told()),
            ("From the last kept commit to the newest known", maybe_duration(loss.seconds)),
            ("Last commit kept", commit(loss.last_kept.as_ref())),
            ("First commit given up", commit(loss.first_lost.as_ref())),
        ]),
    ];
    if let Some(tables) = loss.tables.as_ref().filter(|tables| !tables.is_empty()) {
        let rows = tables.iter().map(|table| {
            let counts = [table.inserts, table.updates, table.deletes];
            let mut row = vec![table.relation.clone()];
            row.extend(counts.map(|count| count.to_string()));
            row
        });
        let columns =
            [("Table, rows given up", 3.0), ("Inserted", 1.0), ("Updated", 1.0), ("Deleted", 1.0)];
        all.push(Block::table(&columns, rows.collect()));
        if loss.more_tables > 0 {
            all.push(Block::text(format!("And {} more tables.", loss.more_tables)));
        }
    }
    all
}

fn recovery(report: &Report) -> Vec<Block> {
    let recovery = &report.recovery;
    let base = recovery.base.as_ref().map(|b| {
        let encrypted = if b.encrypted { "encrypted" } else { "not encrypted" };
        let (finished, size) = (moment(b.finished), bytes(b.size));
        format!("{} in {}, finished {finished}, {size}, {encrypted}", b.set, b.repository)
    });
    let facts = vec![
        ("Procedure", known(recovery.procedure.as_ref())),
        ("Started", maybe_moment(recovery.started)),
        ("Completed (database accessible)", maybe_moment(recovery.completed)),
        ("Requested point", known(recovery.requested.as_ref())),
        ("Reached LSN", known(recovery.reached_lsn.as_ref())),
        ("Reached time", known(recovery.reached_time.as_ref())),
        ("The server's own words", known(recovery.stop_line.as_ref())),
        ("Base backup", known(base.as_ref())),
        ("pg_verifybackup", known(recovery.verifybackup.as_ref())),
        ("Plan", known(recovery.plan_hash.as_ref())),
        ("Gate passed by", known(recovery.gate_passed_by.as_ref())),
        ("Damaged directory kept at", known(recovery.aside.as_ref())),
        ("Rescued WAL kept at", known(recovery.rescue.as_ref())),
    ];
    let mut all = vec![Block::heading("Recovery"), Block::facts(facts)];
    all.push(Block::Sub(String::from("Moments")));
    let known: Vec<_> = report.marks.iter().filter_map(|m| Some((m.title, m.at?))).collect();
    if let Some((_, first)) = known.first().copied() {
        let from = |at: jiff::Timestamp| at.duration_since(first).as_secs_f64();
        let moments = known.iter().map(|(title, at)| ((*title).to_owned(), from(*at)));
        all.push(Block::Chart(Chart::Moments(moments.collect())));
    }
    let rows = report.marks.iter().map(|m| vec![m.title.to_owned(), maybe_moment(m.at)]);
    all.push(Block::table(&[("Moment", 1.0), ("UTC", 1.0)], rows.collect()));
    all
}

fn steps(report: &Report) -> Vec<Block> {
    let mut all = vec![Block::heading("Steps")];
    if report.steps.is_empty() {
        all.push(Block::text("No plan was made."));
        return all;
    }
    let bars = report.steps.iter().filter_map(|step| {
        Some((step.title.clone(), step.machine_seconds?, step.human_seconds.unwrap_or(0.0)))
    });
    all.push(Block::Chart(Chart::Steps(bars.collect())));
    let dash = || String::from("-");
    let mut rows: Vec<Vec<String>> = report
        .steps
        .iter()
        .map(|step| {
            vec![
                step.title.clone(),
                status(step.status).to_owned(),
                step.attempts.to_string(),
                step.started.map_or_else(dash, moment),
                step.machine_seconds.map_or_else(dash, duration),
                step.human_seconds.map_or_else(dash, duration),
            ]
        })
        .collect();
    let (machine, human) = (duration(report.machine_seconds), duration(report.human_seconds));
    rows.push(vec![String::from("Together"), dash(), dash(), dash(), machine, human]);
    let columns = [
        ("Step", 2.4),
        ("State", 1.0),
        ("Tries", 0.6),
        ("Started (UTC)", 1.7),
        ("Machine", 1.0),
        ("People", 1.0),
    ];
    all.push(Block::table(&columns, rows));
    for step in &report.steps {
        let mut lines: Vec<String> =
            step.failure.iter().map(|failure| format!("failed: {failure}")).collect();
        lines.extend(step.notes.iter().map(|(name, text)| format!("{name}: {text}")));
        if !lines.is_empty() {
            all.push(Block::Sub(step.title.clone()));
            all.push(Block::List(lines));
        }
    }
    all
}

fn escalation(report: &Report) -> Vec<Block> {
    let rows = super::escalation_rows(report);
    if rows.is_empty() {
        return Vec::new();
    }
    let columns =
        [("Level", 0.5), ("Who", 1.6), ("Called (UTC)", 1.4), ("Why", 3.0), ("Answered", 1.8)];
    vec![Block::heading("Escalation"), Block::table(&columns, rows)]
}

fn people(report: &Report) -> Vec<Block> {
    let rows = report.prerequisites.iter().map(|p| {
        let answer = match p.met {
            Some(true) => "confirmed",
            Some(false) => "not met",
            None => "not answered",
        };
        let by = p.by.clone().unwrap_or_else(|| String::from("-"));
        let at = p.at.map_or_else(|| String::from("-"), moment);
        vec![p.title.clone(), answer.to_owned(), by, at, p.note.clone()]
    });
    let columns =
        [("Prerequisite", 2.0), ("Answer", 1.0), ("Who", 1.0), ("When (UTC)", 1.5), ("Note", 2.0)];
    let mut all = vec![Block::heading("Prerequisites"), Block::table(&columns, rows.collect())];
    if !report.notes.is_empty() {
        let notes = report.notes.iter().map(|note| format!("{}: {}", note.topic, note.text));
        all.extend([Block::heading("Notes"), Block::List(notes.collect())]);
    }
    all
}

fn checks(report: &Report) -> Vec<Block> {
    let mut all = Vec::new();
    if let Some((header, rows)) = tried::table(&report.tries) {
        let weights = vec![1.0; header.len()];
        all.push(Block::heading("Points tried before the promotion"));
        all.push(Block::Table { header, weights, rows });
    }
    all.push(Block::heading("Checks"));
    for group in &report.checks {
        all.push(Block::Sub(format!("{}: {}", group.title, group.verdict.word())));
        if group.checks.is_empty() {
            all.push(Block::text("No check was run."));
            continue;
        }
        let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| String::from("-"));
        let rows = group.checks.iter().map(|check| {
            vec![
                check.title.clone(),
                check.verdict.word().to_owned(),
                dash(&check.expected),
                dash(&check.found),
                check.detail.clone(),
            ]
        });
        let columns =
            [("Check", 2.0), ("Verdict", 1.2), ("Expected", 1.2), ("Found", 1.2), ("Detail", 2.4)];
        all.push(Block::table(&columns, rows.collect()));
    }
    all
}

fn checklist(report: &Report) -> Vec<Block> {
    let mut all = vec![Block::heading("Checklist")];
    for part in &report.checklist.parts {
        let due = part.due.map_or_else(String::new, |due| format!(" (until {})", moment(due)));
        all.push(Block::Sub(format!("{}{due}", part.title)));
        let rows = part.lines.iter().map(line).collect();
        let columns = [("Line", 2.4), ("State", 1.0), ("Who", 1.0), ("Evidence or reason", 3.0)];
        all.push(Block::table(&columns, rows));
    }
    all
}

fn line(line: &Line) -> Vec<String> {
    let owner = line.owner.clone().unwrap_or_else(|| String::from("-"));
    let (word, who, text) = match &line.state {
        State::Signed { by, evidence, late, .. } => {
            (if *late { "signed late" } else { "signed" }, by.clone(), evidence.clone())
        }
        State::Waived { by, reason, .. } => ("WAIVED", by.clone(), reason.clone()),
        State::Overdue => ("OVERDUE", owner, String::new()),
        State::Open => ("open", owner, String::new()),
    };
    vec![line.text.clone(), word.to_owned(), who, text]
}

fn timeline(report: &Report) -> Vec<Block> {
    let rows = report
        .timeline
        .iter()
        .map(|line| vec![moment(line.at), line.who.clone(), line.text.clone()]);
    vec![
        Block::heading("Everything that was done"),
        Block::table(&[("UTC", 1.4), ("Who", 0.9), ("What", 4.0)], rows.collect()),
    ]
}
