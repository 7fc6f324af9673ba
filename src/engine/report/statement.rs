//! The data-loss statement: what is not in the recovered database, by table, how it was counted, and
//! what is not known. Owns its words; counts nothing anew.

use super::Report;
use super::block::{self, Block};
use super::salvage;
use super::text::{commit, maybe_duration, moment};

/// The statement in Markdown.
pub(super) fn markdown(report: &Report) -> String {
    block::markdown(&blocks(report))
}

fn blocks(report: &Report) -> Vec<Block> {
    let (subject, loss) = (&report.incident, &report.loss);
    let mut blocks = vec![Block::Title(format!("Data-loss statement {}", subject.id))];
    if let Some(drill) = &subject.drill {
        blocks.push(Block::Strong(format!(
            "DRILL: this was an exercise (scenario {drill}); no real data was lost."
        )));
    }
    blocks.push(Block::Strong(sentence(report)));
    blocks.push(Block::facts(vec![
        ("Cluster", format!("{} ({})", subject.cluster, subject.environment)),
        ("Incident", subject.title.clone()),
        ("Recovery point", report.recovery.requested.clone().unwrap_or_else(not_known)),
        ("Committed transactions given up", loss.told()),
        ("Last transaction kept", commit(loss.last_kept.as_ref())),
        ("First transaction given up", commit(loss.first_lost.as_ref())),
        ("From the last kept to the newest known", maybe_duration(loss.seconds)),
        ("Loss by the runbook (RPO)", maybe_duration(report.rpo.actual_seconds)),
        ("How that is measured", report.rpo.how.clone()),
    ]));
    blocks.push(Block::heading("By table"));
    blocks.extend(tables(report));
    blocks.extend(salvage::blocks(report));
    blocks.push(Block::heading("What is kept"));
    let kept = |path: &Option<String>| path.clone().unwrap_or_else(|| String::from("not kept"));
    blocks.push(Block::facts(vec![
        ("Damaged data directory", kept(&report.recovery.aside)),
        ("Rescued WAL", kept(&report.recovery.rescue)),
    ]));
    blocks.push(Block::text(
        "What was given up is still in the archived log and in the directory that is kept, until they \
         are removed. From the directory it is brought back by a salvage (B at the checklist or the \
         report, or lifeboat salvage), from the log by lifeboat restore-parts.",
    ));
    blocks.push(Block::heading("How it was counted"));
    blocks.push(Block::text(how(report)));
    let head = report.journal.head.clone().unwrap_or_else(not_known);
    blocks.push(Block::text(format!(
        "Written {} from {} entries of the journal, last hash {head}.",
        moment(report.written),
        report.journal.entries
    )));
    blocks
}

fn not_known() -> String {
    String::from("not known")
}

fn sentence(report: &Report) -> String {
    let loss = &report.loss;
    let carried = |salvage: &super::Salvaged| salvage.runs.iter().any(|run| run.carried);
    let back = match report.salvage.as_ref().is_some_and(carried) {
        true => " Of what they wrote, rows were brought back afterwards; see below.",
        false => "",
    };
    let given_up = match (loss.commits, loss.may_be_more) {
        _ if report.steps.is_empty() => {
            String::from("No recovery was planned: nothing was given up by one.")
        }
        (Some(0), false) => String::from("No committed transaction is known to be lost."),
        (Some(count), false) => format!("{count} committed transactions are not in the database."),
        (Some(count), true) => {
            format!("At least {count} committed transactions are not in the database.")
        }
        (None, _) => String::from("How much is lost is NOT KNOWN."),
    };
    given_up + back
}

fn tables(report: &Report) -> Vec<Block> {
    let loss = &report.loss;
    let Some(tables) = &loss.tables else {
        return vec![Block::text("NOT KNOWN: rows could not be counted by table.")];
    };
    if tables.is_empty() {
        return vec![Block::text("No row of any table is known to be lost.")];
    }
    let mut sum = (0_u64, 0_u64, 0_u64);
    let mut rows: Vec<Vec<String>> = tables
        .iter()
        .map(|table| {
            sum.0 = sum.0.saturating_add(table.inserts);
            sum.1 = sum.1.saturating_add(table.updates);
            sum.2 = sum.2.saturating_add(table.deletes);
            let counts = [table.inserts, table.updates, table.deletes, table.rows()];
            let mut row = vec![table.relation.clone()];
            row.extend(counts.map(|count| count.to_string()));
            row
        })
        .collect();
    let all = sum.0.saturating_add(sum.1).saturating_add(sum.2);
    let counts = [sum.0, sum.1, sum.2, all];
    let name = String::from(if loss.more_tables > 0 { "Of these tables" } else { "Together" });
    rows.push(std::iter::once(name).chain(counts.map(|count| count.to_string())).collect());
    let mut blocks = vec![Block::table(
        &[
            ("Table", 3.0),
            ("Rows inserted", 1.0),
            ("Rows updated", 1.0),
            ("Rows deleted", 1.0),
            ("Together", 1.0),
        ],
        rows,
    )];
    if loss.more_tables > 0 {
        blocks.push(Block::Strong(format!(
            "{} more tables lost rows too and are not listed.",
            loss.more_tables
        )));
    }
    blocks
}

fn how(report: &Report) -> String {
    let when = if report.loss.may_be_more {
        "It was counted while the server still took writes, and not again after it was stopped, or the \
         server was lost with what it had not archived: it may be more."
    } else if report.loss.commits.is_some() {
        "It was counted by the log up to the newest that is known."
    } else {
        "The log after the recovery point could not be read."
    };
    format!(
        "Counted from the write-ahead log after the recovery point, in committed transactions and in \
         rows by table. {when} Changes that the log does not carry (unlogged tables, files outside the \
         database) are not in it."
    )
}
