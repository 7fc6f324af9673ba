//! The report as one HTML page: its style and drawings are inside it, it runs no script, and it
//! loads nothing. Every text passes through the same escaping.

use super::text::{
    bytes, commit, duration, html, limit, maybe_duration, maybe_moment, met, moment, status,
};
use super::{Objective, Report, chart, past, salvage, shares, tried};
use crate::engine::checklist::{Line, State};
use crate::engine::incident::facts::Verdict;
use crate::engine::incident::model::{StepStatus, Tone};
use std::fmt::Write;

const STYLE: &str = include_str!("../../../assets/report/report.css");

pub(super) fn render(report: &Report) -> String {
    let mut page = String::with_capacity(64 * 1024);
    let id = html(&report.incident.id);
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\"/>\n\
         <title>Recovery report {id}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n"
    );
    head(&mut page, report);
    objectives(&mut page, report);
    section(&mut page, "What happened when");
    page.push_str(&chart::timeline(report));
    page.push_str(
        "\n<p class=\"dim\"><span class=\"key outage\"></span>outage\
         <span class=\"key lost\"></span>changes given up, until writes stopped</p>\n",
    );
    recovery(&mut page, report);
    steps(&mut page, report);
    escalation(&mut page, report);
    prerequisites(&mut page, report);
    approvals(&mut page, report);
    points_tried(&mut page, report);
    checks(&mut page, report);
    salvaged(&mut page, report);
    checklist(&mut page, report);
    notes(&mut page, report);
    log(&mut page, report);
    let head = report.journal.head.as_deref().unwrap_or("not known");
    let _ = write!(
        page,
        "<footer><p>Made {} from {} journal entries. Hash of the last: {}</p></footer>\n</body>\n</html>\n",
        moment(report.written),
        report.journal.entries,
        html(head)
    );
    // In a narrow window a drawing keeps a size that can be read, and scrolls by itself.
    page.replace("<svg", "<div class=\"scroll\"><svg").replace("</svg>", "</svg></div>")
}

fn section(page: &mut String, title: &str) {
    let _ = writeln!(page, "<h2>{}</h2>", html(title));
}

/// A cell of a table: plain text, or a word with a tone.
enum Cell {
    Text(String),
    When(String),
    Number(String),
    Word(&'static str, &'static str),
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn write(&self, page: &mut String) {
        let _ = match self {
            Self::Text(text) => write!(page, "<td>{}</td>", html(text)),
            Self::When(text) => write!(page, "<td class=\"when\">{}</td>", html(text)),
            Self::Number(text) => write!(page, "<td class=\"number\">{}</td>", html(text)),
            Self::Word(word, tone) => {
                write!(page, "<td><span class=\"word {tone}\">{}</span></td>", html(word))
            }
        };
    }
}

fn table(page: &mut String, header: &[&str], rows: impl IntoIterator<Item = Vec<Cell>>) {
    page.push_str("<div class=\"scroll\"><table>\n<thead><tr>");
    for name in header {
        let _ = write!(page, "<th>{}</th>", html(name));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for row in rows {
        page.push_str("<tr>");
        for cell in row {
            cell.write(page);
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody></table></div>\n");
}

fn facts(page: &mut String, facts: Vec<(&str, String)>) {
    page.push_str("<div class=\"scroll\"><table class=\"facts\"><tbody>\n");
    for (name, value) in facts {
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
            html(name),
            html(&value)
        );
    }
    page.push_str("</tbody></table></div>\n");
}

fn known(value: Option<&str>) -> String {
    value.unwrap_or("not known").to_owned()
}

fn head(page: &mut String, report: &Report) {
    let subject = &report.incident;
    let _ = writeln!(page, "<h1>Recovery report {}</h1>", html(&subject.id));
    if let Some(drill) = &subject.drill {
        let _ = writeln!(
            page,
            "<p class=\"drill\">DRILL: this was an exercise (scenario {}), not a real incident.</p>",
            html(drill)
        );
    }
    let outcome = &report.outcome;
    let _ = writeln!(
        page,
        "<p class=\"outcome {}\"><strong class=\"word\">{}</strong> {}</p>",
        tone(outcome.tone),
        html(&outcome.word),
        html(&outcome.sentence)
    );
    for waiver in &report.checklist.waivers {
        let _ = writeln!(page, "<p class=\"outcome bad\"><strong>{}</strong></p>", html(waiver));
    }
    let mut lines = vec![
        ("Incident", subject.title.clone()),
        ("Severity", subject.severity.map_or("not set", |s| s.word()).to_owned()),
        ("Cluster", format!("{} ({})", subject.cluster, subject.environment)),
        ("Tier", subject.tier_title.clone()),
        ("Host", known(subject.host.as_deref())),
        ("Data directory", known(subject.data_directory.as_deref())),
        ("System identifier", known(subject.system_identifier.as_deref())),
        ("PostgreSQL", known(subject.server_version.map(|v| v.to_string()).as_deref())),
    ];
    if let Some(closing) = &subject.closing {
        lines.push(("Closed with", closing.clone()));
    }
    facts(page, lines);
}

fn objectives(page: &mut String, report: &Report) {
    section(page, "Objectives");
    page.push_str(&chart::objective("RPO", &report.rpo));
    page.push_str(&chart::objective("RTO", &report.rto));
    let rows = |name: &'static str, objective: &Objective| {
        let actual = maybe_duration(objective.actual_seconds);
        let actual = if objective.ongoing { format!("{actual} so far") } else { actual };
        let row = |a: &super::Against| {
            let tone = match a.met {
                Some(true) => "good",
                Some(false) => "bad",
                None => "attention",
            };
            vec![
                Cell::text(name),
                Cell::text(actual.clone()),
                Cell::text(format!("at most {} ({})", limit(a.target_seconds), a.what)),
                Cell::Word(met(a.met), tone),
            ]
        };
        objective.against.iter().map(row).collect::<Vec<_>>()
    };
    let mut all = rows("RPO (data loss)", &report.rpo);
    all.extend(rows(report.rto_name(), &report.rto));
    table(page, &["Objective", "Actual", "Allowed", "Result"], all);
    let _ = writeln!(
        page,
        "<p class=\"dim\">RPO: {}<br/>RTO: {}</p>",
        html(&report.rpo.how),
        html(&report.rto.how)
    );
    if let Some(shares) = &report.shares {
        page.push_str("<h3>Whose time it was</h3>\n");
        page.push_str(&shares::bar(shares, report.waited()));
        page.push_str(&shares::legend(shares));
        let rows = shares::rows(shares, report.waited());
        let rows = rows.into_iter().map(|row| row.into_iter().map(Cell::Text).collect());
        table(page, &[report.part_of_it(), "Time", "Share"], rows);
    }
    section(page, "Data lost");
    let loss = &report.loss;
    facts(
        page,
        vec![
            ("Committed transactions given up", loss.told()),
            ("From the last kept commit to the newest known", maybe_duration(loss.seconds)),
            ("Last commit kept", commit(loss.last_kept.as_ref())),
            ("First commit given up", commit(loss.first_lost.as_ref())),
        ],
    );
    if let Some(tables) = loss.tables.as_ref().filter(|t| !t.is_empty()) {
        let rows = tables.iter().map(|t| {
            let count = |n: u64| Cell::Number(n.to_string());
            vec![
                Cell::text(t.relation.clone()),
                count(t.inserts),
                count(t.updates),
                count(t.deletes),
            ]
        });
        table(page, &["Table, rows given up", "Inserted", "Updated", "Deleted"], rows);
        if loss.more_tables > 0 {
            let _ = writeln!(page, "<p class=\"dim\">And {} more tables.</p>", loss.more_tables);
        }
    }
    if let Some(picture) = &report.past {
        section(page, "The past when the point was chosen");
        page.push_str(&past::svg(picture, report));
        page.push_str(
            "\n<p class=\"dim\">B backup, R restore point, Y timelines part, ▼ last commit kept; \
             bars: commits; green: log, red: log missing; G last known good, ! suspect, D detected</p>\n",
        );
    }
}

fn recovery(page: &mut String, report: &Report) {
    section(page, "Recovery");
    let recovery = &report.recovery;
    let base = recovery.base.as_ref().map(|b| {
        let encrypted = if b.encrypted { "encrypted" } else { "not encrypted" };
        let (finished, size) = (moment(b.finished), bytes(b.size));
        format!("{} in {}, finished {finished}, {size}, {encrypted}", b.set, b.repository)
    });
    let told = |name: &'static str, text: &Option<String>| text.clone().map(|text| (name, text));
    let more = [
        told("Which data", &recovery.data_is),
        told("Transfer", &recovery.transfer),
        told("Not fetched again", &recovery.reused),
        told("What stood at a later point, kept at", &recovery.stood),
    ];
    let mut all = vec![
        ("Procedure", known(recovery.procedure.as_deref())),
        ("Started", maybe_moment(recovery.started)),
        ("Completed (database accessible)", maybe_moment(recovery.completed)),
        ("Requested point", known(recovery.requested.as_deref())),
        ("Reached LSN", known(recovery.reached_lsn.as_deref())),
        ("Reached time", known(recovery.reached_time.as_deref())),
        ("Reached transaction", known(recovery.reached_xid.as_deref())),
        ("The server's own words", known(recovery.stop_line.as_deref())),
        ("Base backup", known(base.as_deref())),
        ("pg_verifybackup", known(recovery.verifybackup.as_deref())),
        ("Plan", known(recovery.plan_hash.as_deref())),
        ("Gate passed by", known(recovery.gate_passed_by.as_deref())),
        ("Damaged directory kept at", known(recovery.aside.as_deref())),
        ("Rescued WAL kept at", known(recovery.rescue.as_deref())),
    ];
    all.extend(more.into_iter().flatten());
    facts(page, all);
    page.push_str("<h3>Moments</h3>\n");
    let rows = report
        .marks
        .iter()
        .map(|mark| vec![Cell::text(mark.title), Cell::When(maybe_moment(mark.at))]);
    table(page, &["Moment", "UTC"], rows);
}

fn steps(page: &mut String, report: &Report) {
    section(page, "Steps");
    if report.steps.is_empty() {
        page.push_str("<p>No plan was made.</p>\n");
        return;
    }
    page.push_str(&chart::steps(report));
    let _ = writeln!(
        page,
        "<p class=\"dim\"><span class=\"key machine\"></span>machine: {}\
         <span class=\"key human\"></span>waiting for people: {}</p>",
        duration(report.machine_seconds),
        duration(report.human_seconds)
    );
    let dash = || String::from("-");
    let rows = report.steps.iter().map(|step| {
        let tone = match step.status {
            StepStatus::Done => "good",
            StepStatus::Failed => "bad",
            StepStatus::Pending => "dim",
            _ => "attention",
        };
        vec![
            Cell::text(&step.title),
            Cell::Word(status(step.status), tone),
            Cell::Number(step.attempts.to_string()),
            Cell::When(step.started.map_or_else(dash, moment)),
            Cell::Number(step.machine_seconds.map_or_else(dash, duration)),
            Cell::Number(step.human_seconds.map_or_else(dash, duration)),
        ]
    });
    let header = ["Step", "State", "Attempts", "Started (UTC)", "Machine", "Waiting for people"];
    table(page, &header, rows);
    for step in &report.steps {
        let _ = write!(page, "<details><summary>{}</summary>\n<ul>", html(&step.title));
        if let Some(failure) = &step.failure {
            let _ = write!(page, "<li class=\"bad\">Failed: {}</li>", html(failure));
        }
        for (name, text) in &step.notes {
            let _ = write!(page, "<li>{}: {}</li>", html(name), html(text));
        }
        let _ = writeln!(
            page,
            "<li>In the runbook:<pre>{}</pre></li></ul></details>",
            html(&step.runbook)
        );
    }
}

fn escalation(page: &mut String, report: &Report) {
    let rows = super::escalation_rows(report);
    if !rows.is_empty() {
        section(page, "Escalation");
        let cells = rows.into_iter().map(|row| row.into_iter().map(Cell::Text).collect());
        table(page, &super::ESCALATION, cells);
    }
}

fn prerequisites(page: &mut String, report: &Report) {
    section(page, "Prerequisites");
    let rows = report.prerequisites.iter().map(|p| {
        let (word, tone) = match p.met {
            Some(true) => ("confirmed", "good"),
            Some(false) => ("not met", "bad"),
            None => ("not answered", "attention"),
        };
        vec![
            Cell::text(&p.title),
            Cell::Word(word, tone),
            Cell::text(p.by.as_deref().unwrap_or("-")),
            Cell::When(p.at.map_or_else(|| String::from("-"), moment)),
            Cell::text(&p.note),
        ]
    });
    table(page, &["Prerequisite", "Answer", "Who", "When (UTC)", "Note"], rows);
}

fn points_tried(page: &mut String, report: &Report) {
    if let Some((header, rows)) = tried::table(&report.tries) {
        section(page, "Points tried before the promotion");
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        table(page, &header, rows.into_iter().map(|row| row.into_iter().map(Cell::text).collect()));
    }
}

fn salvaged(page: &mut String, report: &Report) {
    if let Some(rows) = salvage::rows(report) {
        section(page, salvage::TITLE);
        let rows = rows.into_iter().map(|row| row.into_iter().map(Cell::text).collect());
        table(page, &salvage::HEADER, rows);
    }
}

fn checks(page: &mut String, report: &Report) {
    section(page, "Checks");
    for group in &report.checks {
        let _ = writeln!(
            page,
            "<h3>{}: <span class=\"word {}\">{}</span></h3>",
            html(&group.title),
            verdict_tone(group.verdict),
            group.verdict.word()
        );
        if group.checks.is_empty() {
            page.push_str("<p>No check was run.</p>\n");
            continue;
        }
        let rows = group.checks.iter().map(|check| {
            vec![
                Cell::text(&check.title),
                Cell::Word(check.verdict.word(), verdict_tone(check.verdict)),
                Cell::text(check.expected.as_deref().unwrap_or("-")),
                Cell::text(check.found.as_deref().unwrap_or("-")),
                Cell::text(&check.detail),
            ]
        });
        table(page, &["Check", "Verdict", "Expected", "Found", "Detail"], rows);
    }
}

fn checklist(page: &mut String, report: &Report) {
    section(page, "Checklist");
    for part in &report.checklist.parts {
        let due = part.due.map_or_else(String::new, |due| format!(", until {}", moment(due)));
        let _ = writeln!(page, "<h3>{}{due}</h3>\n<ul class=\"plain\">", html(&part.title));
        for line in &part.lines {
            checklist_line(page, line);
        }
        page.push_str("</ul>\n");
    }
}

fn checklist_line(page: &mut String, line: &Line) {
    let text = html(&line.text);
    let _ = match &line.state {
        State::Signed { by, at, evidence, late } => {
            let late = if *late { ", late" } else { "" };
            writeln!(
                page,
                "<li><span class=\"word good\">✓ signed</span> {text}<br/><span class=\"dim\">{}, {}{late}: {}</span></li>",
                html(by),
                moment(*at),
                html(evidence)
            )
        }
        State::Waived { by, at, reason } => {
            writeln!(
                page,
                "<li><span class=\"word attention\">– waived</span> {text}<br/><span class=\"dim\">{}, {}: {}</span></li>",
                html(by),
                moment(*at),
                html(reason)
            )
        }
        State::Overdue => {
            writeln!(page, "<li><span class=\"word bad\">! overdue</span> {text}</li>")
        }
        State::Open => {
            writeln!(page, "<li><span class=\"word attention\">○ open</span> {text}</li>")
        }
    };
}

fn approvals(page: &mut String, report: &Report) {
    if report.approvals.is_empty() {
        return;
    }
    section(page, "Approvals and signatures");
    let rows = report.approvals.iter().map(|line| {
        vec![
            Cell::When(moment(line.at)),
            Cell::text(&line.who),
            Cell::Word(line.what, tone(line.tone)),
            Cell::text(&line.text),
        ]
    });
    table(page, &["UTC", "Who", "What", "In words"], rows);
}

fn notes(page: &mut String, report: &Report) {
    if report.notes.is_empty() {
        return;
    }
    section(page, "Notes");
    page.push_str("<ul>\n");
    for note in &report.notes {
        let _ = writeln!(page, "<li>{}: {}</li>", html(note.topic), html(&note.text));
    }
    page.push_str("</ul>\n");
}

fn log(page: &mut String, report: &Report) {
    section(page, "Everything that was done");
    let rows = report.timeline.iter().map(|line| {
        vec![
            Cell::Number(line.seq.to_string()),
            Cell::When(moment(line.at)),
            Cell::text(&line.who),
            Cell::text(&line.text),
        ]
    });
    table(page, &["Entry", "UTC", "Who", "What"], rows);
}

fn tone(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "plain",
        Tone::Good => "good",
        Tone::Attention => "attention",
        Tone::Bad => "bad",
    }
}

fn verdict_tone(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Verified => "good",
        Verdict::Failed => "bad",
        Verdict::NotRun | Verdict::CouldNotVerify => "attention",
    }
}
