//! The report as Markdown: headings, tables and lists, nothing that only one renderer knows.

use super::text::{
    bytes, commit, duration, limit, maybe_duration, maybe_moment, md, met, moment, status,
};
use super::{CheckGroup, Objective, Report, StepLine, past, salvage, shares, tried};
use crate::engine::checklist::{Line, State};

pub(super) fn render(report: &Report) -> String {
    let mut out = Page(String::new());
    head(&mut out, report);
    objectives(&mut out, report);
    recovery(&mut out, report);
    steps(&mut out, report);
    escalation(&mut out, report);
    prerequisites(&mut out, report);
    approvals(&mut out, report);
    points_tried(&mut out, report);
    checks(&mut out, report);
    salvaged(&mut out, report);
    checklist(&mut out, report);
    notes(&mut out, report);
    timeline(&mut out, report);
    foot(&mut out, report);
    out.0
}

/// The text so far. Cells and items are escaped here and nowhere else.
struct Page(String);

impl Page {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn heading(&mut self, text: &str) {
        self.line("");
        self.line(&format!("## {text}"));
        self.line("");
    }

    fn table(&mut self, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        self.line(&format!("| {} |", header.join(" | ")));
        self.line(&format!("|{}", " --- |".repeat(header.len())));
        for row in rows {
            let cells: Vec<_> = row.iter().map(|cell| md(cell)).collect();
            self.line(&format!("| {} |", cells.join(" | ")));
        }
    }

    fn facts(&mut self, facts: Vec<(&str, String)>) {
        let rows = facts.into_iter().map(|(name, value)| vec![name.to_owned(), value]);
        self.table(&["What", "Value"], rows);
    }
}

fn head(out: &mut Page, report: &Report) {
    let subject = &report.incident;
    out.line(&format!("# Recovery report {}", md(&subject.id)));
    if let Some(drill) = &subject.drill {
        out.line("");
        out.line(&format!(
            "**DRILL: this was an exercise (scenario {}), not a real incident.**",
            md(drill)
        ));
    }
    out.line("");
    let outcome = &report.outcome;
    out.line(&format!("**{}.** {}", md(&outcome.word), md(&outcome.sentence)));
    out.line("");
    for waiver in &report.checklist.waivers {
        out.line(&format!("**{}**", md(waiver)));
        out.line("");
    }
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
    let mut facts = vec![
        ("Incident", subject.title.clone()),
        ("Severity", subject.severity.map_or("not set", |s| s.word()).to_owned()),
        ("Cluster", format!("{} ({})", subject.cluster, subject.environment)),
        ("Tier", subject.tier_title.clone()),
        ("Host", known(&subject.host)),
        ("Data directory", known(&subject.data_directory)),
        ("System identifier", known(&subject.system_identifier)),
        ("PostgreSQL", known(&subject.server_version.map(|v| v.to_string()))),
    ];
    if let Some(closing) = &subject.closing {
        facts.push(("Closed with", closing.clone()));
    }
    out.facts(facts);
}

fn objectives(out: &mut Page, report: &Report) {
    out.heading("Objectives");
    let rows = |name: &str, objective: &Objective| {
        let actual = maybe_duration(objective.actual_seconds);
        let actual = if objective.ongoing { format!("{actual} so far") } else { actual };
        let row = |a: &super::Against| {
            vec![
                name.to_owned(),
                actual.clone(),
                format!("at most {} ({})", limit(a.target_seconds), a.what),
                met(a.met).to_owned(),
            ]
        };
        objective.against.iter().map(row).collect::<Vec<_>>()
    };
    let mut all = rows("RPO (data loss)", &report.rpo);
    all.extend(rows(report.rto_name(), &report.rto));
    out.table(&["Objective", "Actual", "Allowed", "Result"], all);
    out.line("");
    out.line(&format!("- RPO: {}", md(&report.rpo.how)));
    out.line(&format!("- RTO: {}", md(&report.rto.how)));
    if let Some(told) = report.outlook.as_ref().and_then(|o| o.warning(report.written)) {
        out.line(&format!("- Ahead: {}", md(&told)));
    }
    if let Some(shares) = &report.shares {
        out.line("");
        out.table(&[report.part_of_it(), "Time", "Share"], shares::rows(shares, report.waited()));
    }
    out.heading("Data lost");
    let loss = &report.loss;
    out.facts(vec![
        ("Committed transactions given up", loss.told()),
        ("From the last kept commit to the newest known", maybe_duration(loss.seconds)),
        ("Last commit kept", commit(loss.last_kept.as_ref())),
        ("First commit given up", commit(loss.first_lost.as_ref())),
    ]);
    if let Some(tables) = loss.tables.as_ref().filter(|t| !t.is_empty()) {
        out.line("");
        let rows = tables.iter().map(|t| {
            let count = |n: u64| n.to_string();
            vec![t.relation.clone(), count(t.inserts), count(t.updates), count(t.deletes)]
        });
        out.table(&["Table, rows given up", "Inserted", "Updated", "Deleted"], rows);
        if loss.more_tables > 0 {
            out.line("");
            out.line(&format!("And {} more tables.", loss.more_tables));
        }
    }
    if let Some(picture) = &report.past {
        out.heading("The past when the point was chosen (UTC)");
        out.line("```text");
        past::text(picture, report).iter().for_each(|line| out.line(line));
        out.line("```");
    }
}

fn recovery(out: &mut Page, report: &Report) {
    out.heading("Recovery");
    let recovery = &report.recovery;
    let known = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
    let base = recovery.base.as_ref().map(|b| {
        let encrypted = if b.encrypted { "encrypted" } else { "not encrypted" };
        let finished = moment(b.finished);
        format!(
            "{} in {}, finished {finished}, {}, {encrypted}",
            b.set,
            b.repository,
            bytes(b.size)
        )
    });
    let told = |name: &'static str, text: &Option<String>| text.clone().map(|text| (name, text));
    let more = [
        told("Which data", &recovery.data_is),
        told("Transfer", &recovery.transfer),
        told("Not fetched again", &recovery.reused),
        told("What stood at a later point, kept at", &recovery.stood),
    ];
    let mut all = vec![
        ("Procedure", known(&recovery.procedure)),
        ("Started", maybe_moment(recovery.started)),
        ("Completed (database accessible)", maybe_moment(recovery.completed)),
        ("Requested point", known(&recovery.requested)),
        ("Reached LSN", known(&recovery.reached_lsn)),
        ("Reached time", known(&recovery.reached_time)),
        ("Reached transaction", known(&recovery.reached_xid)),
        ("The server's own words", known(&recovery.stop_line)),
        ("Base backup", known(&base)),
        ("pg_verifybackup", known(&recovery.verifybackup)),
        ("Plan", known(&recovery.plan_hash)),
        ("Gate passed by", known(&recovery.gate_passed_by)),
        ("Damaged directory kept at", known(&recovery.aside)),
        ("Rescued WAL kept at", known(&recovery.rescue)),
    ];
    all.extend(more.into_iter().flatten());
    out.facts(all);
    out.heading("Moments");
    let began = report.marks.iter().find(|m| m.id == "detected" && m.at.is_some());
    let began = began.or_else(|| report.marks.iter().find(|m| m.id == "declared"));
    let began = began.and_then(|m| m.at);
    let rows = report.marks.iter().map(|mark| {
        let since = mark.at.zip(began).map(|(at, began)| at.duration_since(began).as_secs_f64());
        let since = since.map_or_else(String::new, |s| {
            let sign = if s < 0.0 { "-" } else { "+" };
            format!("{sign}{}", duration(s.abs()))
        });
        vec![mark.title.to_owned(), maybe_moment(mark.at), since]
    });
    out.table(&["Moment", "UTC", "From the outage's begin"], rows);
}

fn steps(out: &mut Page, report: &Report) {
    out.heading("Steps");
    if report.steps.is_empty() {
        out.line("No plan was made.");
        return;
    }
    let row = |step: &StepLine| {
        vec![
            step.title.clone(),
            status(step.status).to_owned(),
            step.attempts.to_string(),
            step.started.map_or_else(|| "-".to_owned(), moment),
            step.machine_seconds.map_or_else(|| "-".to_owned(), duration),
            step.human_seconds.map_or_else(|| "-".to_owned(), duration),
        ]
    };
    let mut rows: Vec<_> = report.steps.iter().map(row).collect();
    rows.push(vec![
        String::from("Together"),
        String::new(),
        String::new(),
        String::new(),
        duration(report.machine_seconds),
        duration(report.human_seconds),
    ]);
    out.table(
        &["Step", "State", "Attempts", "Started (UTC)", "Machine", "Waiting for people"],
        rows,
    );
    for step in &report.steps {
        if step.failure.is_none() && step.notes.is_empty() {
            continue;
        }
        out.line("");
        out.line(&format!("**{}**", md(&step.title)));
        out.line("");
        if let Some(failure) = &step.failure {
            out.line(&format!("- failed: {}", md(failure)));
        }
        for (name, text) in &step.notes {
            out.line(&format!("- {}: {}", md(name), md(text)));
        }
    }
}

fn escalation(out: &mut Page, report: &Report) {
    let rows = super::escalation_rows(report);
    if !rows.is_empty() {
        out.heading("Escalation");
        out.table(&super::ESCALATION, rows);
    }
}

fn prerequisites(out: &mut Page, report: &Report) {
    out.heading("Prerequisites");
    let rows = report.prerequisites.iter().map(|p| {
        let answer = match p.met {
            Some(true) => "confirmed",
            Some(false) => "not met",
            None => "not answered",
        };
        let by = p.by.clone().unwrap_or_else(|| "-".to_owned());
        let at = p.at.map_or_else(|| "-".to_owned(), moment);
        vec![p.title.clone(), answer.to_owned(), by, at, p.note.clone()]
    });
    out.table(&["Prerequisite", "Answer", "Who", "When (UTC)", "Note"], rows);
}

fn points_tried(out: &mut Page, report: &Report) {
    if let Some((header, rows)) = tried::table(&report.tries) {
        out.heading("Points tried before the promotion");
        let header: Vec<String> = header.iter().map(|name| md(name)).collect();
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        out.table(&header, rows);
    }
}

fn salvaged(out: &mut Page, report: &Report) {
    if let Some(rows) = salvage::rows(report) {
        out.heading(salvage::TITLE);
        out.table(&salvage::HEADER, rows);
    }
}

fn checks(out: &mut Page, report: &Report) {
    out.heading("Checks");
    for group in &report.checks {
        out.line(&format!("### {}: {}", md(&group.title), group.verdict.word()));
        out.line("");
        check_table(out, group);
        out.line("");
    }
}

fn check_table(out: &mut Page, group: &CheckGroup) {
    if group.checks.is_empty() {
        out.line("No check was run.");
        return;
    }
    let rows = group.checks.iter().map(|check| {
        vec![
            check.title.clone(),
            check.verdict.word().to_owned(),
            check.expected.clone().unwrap_or_else(|| "-".to_owned()),
            check.found.clone().unwrap_or_else(|| "-".to_owned()),
            check.detail.clone(),
        ]
    });
    out.table(&["Check", "Verdict", "Expected", "Found", "Detail"], rows);
}

fn checklist(out: &mut Page, report: &Report) {
    out.heading("Checklist");
    for part in &report.checklist.parts {
        let due = part.due.map_or_else(String::new, |due| format!(" (until {})", moment(due)));
        out.line(&format!("### {}{due}", md(&part.title)));
        out.line("");
        for line in &part.lines {
            out.line(&checklist_line(line));
        }
        out.line("");
    }
}

fn checklist_line(line: &Line) -> String {
    match &line.state {
        State::Signed { by, at, evidence, late } => {
            let late = if *late { ", late" } else { "" };
            let text = md(&line.text);
            format!("- [x] {text} ({}, {}{late}): {}", md(by), moment(*at), md(evidence))
        }
        State::Waived { by, at, reason } => {
            let text = md(&line.text);
            format!("- [ ] {text} **WAIVED** ({}, {}): {}", md(by), moment(*at), md(reason))
        }
        State::Overdue => format!("- [ ] {} **OVERDUE**", md(&line.text)),
        State::Open => format!("- [ ] {}", md(&line.text)),
    }
}

fn approvals(out: &mut Page, report: &Report) {
    if report.approvals.is_empty() {
        return;
    }
    out.heading("Approvals and signatures");
    let rows = report.approvals.iter().map(|line| {
        vec![moment(line.at), line.who.clone(), line.what.to_owned(), line.text.clone()]
    });
    out.table(&["UTC", "Who", "What", "In words"], rows);
}

fn notes(out: &mut Page, report: &Report) {
    if report.notes.is_empty() {
        return;
    }
    out.heading("Notes");
    for note in &report.notes {
        out.line(&format!("- {}: {}", note.topic, md(&note.text)));
    }
}

fn timeline(out: &mut Page, report: &Report) {
    out.heading("Everything that was done");
    let rows = report.timeline.iter().map(|line| {
        vec![line.seq.to_string(), moment(line.at), line.who.clone(), line.text.clone()]
    });
    out.table(&["Entry", "UTC", "Who", "What"], rows);
}

fn foot(out: &mut Page, report: &Report) {
    let journal = &report.journal;
    let head = journal.head.as_deref().unwrap_or("not known");
    out.line("");
    out.line(&format!(
        "Made {} from {} journal entries; hash of the last: `{}`.",
        moment(report.written),
        journal.entries,
        head.replace('`', "")
    ));
}
