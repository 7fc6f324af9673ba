//! The postmortem's draft: the facts filled in, and gaps for what only people can say. Owns which is
//! which; never fills a gap, and never lays blame: people stand in it by role.

use super::Report;
use super::block::{self, Block};
use super::text::{duration, limit, maybe_duration, met, moment};
use crate::engine::checklist::State;
use crate::engine::incident::facts::Verdict;
use crate::engine::incident::model::Tone;

/// The draft in Markdown.
pub(super) fn markdown(report: &Report) -> String {
    block::markdown(&blocks(report))
}

fn blocks(report: &Report) -> Vec<Block> {
    let subject = &report.incident;
    let mut blocks = vec![
        Block::Title(format!("Postmortem {}: {}", subject.id, subject.title)),
        Block::Strong(String::from(
            "DRAFT. The facts are from the journal; what is marked TO WRITE is for people.",
        )),
        Block::heading("Summary"),
        Block::text(summary(report)),
        Block::gap(
            "Two or three sentences for readers who were not there: what users noticed, why.",
        ),
        Block::heading("Impact"),
        Block::facts(impact(report)),
        Block::gap("Who was affected, how many, and what it cost. The journal does not know."),
        Block::heading("What happened"),
        Block::table(&[("UTC", 1.4), ("What", 3.0)], moments(report)),
        Block::text("Everything that stood out, in order:"),
        Block::table(&[("UTC", 1.4), ("What", 4.0), ("Who", 1.0)], stood_out(report)),
        Block::heading("Root cause"),
    ];
    blocks.extend(notes(report));
    blocks.extend([
        Block::gap("Why it could happen. Ask why until the answer is a thing that can be changed."),
        Block::heading("Detection"),
        Block::text(detection(report)),
        Block::gap("How it was noticed, and how it could have been noticed sooner."),
        Block::heading("What went well"),
    ]);
    blocks.push(list(well(report), "The journal shows nothing that went well by a measure."));
    blocks.push(Block::gap("What people did that helped."));
    blocks.push(Block::heading("What went badly"));
    blocks.push(list(badly(report), "The journal shows nothing that went wrong."));
    blocks.push(Block::gap("What hindered people. Where luck was needed."));
    blocks.push(Block::heading("Where the time went"));
    if let Some(shares) = &report.shares {
        let rows = super::shares::rows(shares, report.waited());
        blocks.push(Block::table(&[("Part", 3.0), ("Time", 1.0), ("Share", 1.0)], rows));
    }
    blocks.push(Block::gap("What would have made the longest part shorter."));
    blocks.push(Block::heading("Actions"));
    blocks.push(list(open(report), "Every line of the checklist is settled."));
    blocks.push(Block::gap("Each action with one owner and one date. Prevent, detect, shorten."));
    let head = report.journal.head.clone().unwrap_or_else(|| String::from("not known"));
    blocks.push(Block::text(format!(
        "Drafted {} from {} entries of the journal, last hash {head}.",
        moment(report.written),
        report.journal.entries
    )));
    blocks
}

fn list(items: Vec<String>, none: &str) -> Block {
    if items.is_empty() { Block::text(none) } else { Block::List(items) }
}

fn summary(report: &Report) -> String {
    let subject = &report.incident;
    let what = if subject.drill.is_some() { "In a drill, the" } else { "The" };
    let severity = subject.severity.map_or("no severity set", |severity| severity.word());
    format!(
        "{what} cluster {} ({}, tier {}) had this incident: {} ({severity}). {}: {}",
        subject.cluster,
        subject.environment,
        subject.tier_title,
        subject.title,
        report.outcome.word,
        report.outcome.sentence
    )
}

fn impact(report: &Report) -> Vec<(&'static str, String)> {
    let against = |objective: &super::Objective| {
        let actual = maybe_duration(objective.actual_seconds);
        let so_far = if objective.ongoing { " so far" } else { "" };
        let limits = objective.against.iter().map(|against| {
            format!(
                "at most {} ({}): {}",
                limit(against.target_seconds),
                against.what,
                met(against.met)
            )
        });
        format!("{actual}{so_far}; {}", limits.collect::<Vec<_>>().join("; "))
    };
    let tables = match &report.loss.tables {
        None => String::from("not known"),
        Some(tables) => match tables.len() {
            0 => String::from("none"),
            _ => tables
                .iter()
                .take(5)
                .map(|table| format!("{} ({} rows)", table.relation, table.rows()))
                .collect::<Vec<_>>()
                .join(", "),
        },
    };
    vec![
        (report.waited(), against(&report.rto)),
        ("Data lost", against(&report.rpo)),
        ("Committed transactions given up", report.loss.told()),
        ("Tables with rows given up", tables),
    ]
}

fn moments(report: &Report) -> Vec<Vec<String>> {
    let known = report.marks.iter().filter_map(|mark| Some((mark.at?, mark.title)));
    known.map(|(at, title)| vec![moment(at), title.to_owned()]).collect()
}

fn stood_out(report: &Report) -> Vec<Vec<String>> {
    let lines = report.timeline.iter().filter(|line| line.tone != Tone::Plain);
    lines.map(|line| vec![moment(line.at), line.text.clone(), line.who.clone()]).collect()
}

fn notes(report: &Report) -> Vec<Block> {
    let notes: Vec<String> =
        report.notes.iter().map(|note| format!("{}: {}", note.topic, note.text)).collect();
    if notes.is_empty() {
        return Vec::new();
    }
    vec![Block::text("Written down at the time:"), Block::List(notes)]
}

fn detection(report: &Report) -> String {
    let at = |id: &str| report.marks.iter().find(|mark| mark.id == id).and_then(|mark| mark.at);
    let gap = |from: Option<jiff::Timestamp>, to: Option<jiff::Timestamp>| {
        let seconds = to?.duration_since(from?).as_secs_f64();
        (seconds >= 0.0).then(|| duration(seconds))
    };
    let not_known = || String::from("not known");
    format!(
        "From the first transaction that was given up to the detection: {}. From the detection to the \
         declaration: {}.",
        gap(at("fault"), at("detected")).unwrap_or_else(not_known),
        gap(at("detected"), at("declared")).unwrap_or_else(not_known)
    )
}

fn well(report: &Report) -> Vec<String> {
    let mut items = Vec::new();
    for (name, objective) in [("RTO", &report.rto), ("RPO", &report.rpo)] {
        for against in objective.against.iter().filter(|against| against.met == Some(true)) {
            let actual = maybe_duration(objective.actual_seconds);
            items.push(format!("{name} kept: {actual} of {}", limit(against.target_seconds)));
        }
    }
    for group in report.checks.iter().filter(|group| group.verdict == Verdict::Verified) {
        items.push(format!("{}: VERIFIED", group.title));
    }
    items
}

fn badly(report: &Report) -> Vec<String> {
    let mut items = Vec::new();
    for (name, objective) in [("RTO", &report.rto), ("RPO", &report.rpo)] {
        for against in objective.against.iter().filter(|against| against.met == Some(false)) {
            let actual = maybe_duration(objective.actual_seconds);
            items.push(format!("{name} missed: {actual} of {}", limit(against.target_seconds)));
        }
    }
    for step in report.steps.iter().filter(|step| step.attempts > 1 || step.failure.is_some()) {
        let failure = step.failure.as_ref().map(|text| format!(": {text}")).unwrap_or_default();
        items.push(format!("Step \"{}\" took {} attempts{failure}", step.title, step.attempts));
    }
    for group in &report.checks {
        let bad = group
            .checks
            .iter()
            .filter(|check| matches!(check.verdict, Verdict::Failed | Verdict::CouldNotVerify));
        items.extend(
            bad.map(|check| format!("{}: {} {}", group.title, check.title, check.verdict.word())),
        );
    }
    for call in &report.escalation {
        let answered = match call.acknowledged {
            Some(at) => {
                let waited = at.duration_since(call.at).as_secs_f64().max(0.0);
                format!("answered after {}", duration(waited))
            }
            None => String::from("NOBODY ANSWERED"),
        };
        items.push(format!("Level {} was called ({}), {answered}", call.level, call.why));
    }
    let late = report.checklist.lines().filter(|line| {
        line.state == State::Overdue || matches!(line.state, State::Signed { late: true, .. })
    });
    items.extend(late.map(|line| format!("Late in the checklist: {}", line.text)));
    items
}

/// What the checklist still has to do.
fn open(report: &Report) -> Vec<String> {
    report
        .checklist
        .open()
        .map(|line| {
            let owner = line.owner.as_deref().unwrap_or("no owner");
            let due = line.due.map_or_else(|| String::from("no date"), moment);
            format!("{} ({owner}, until {due})", line.text)
        })
        .collect()
}
