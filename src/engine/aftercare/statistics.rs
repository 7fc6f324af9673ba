//! The planner's statistics: gathered since the database serves again, in every database.

use super::Item;
use super::ward::{Found, Ward, field};
use crate::engine::explain::count;
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::validate::check::begin;
use std::time::Duration;

pub(super) const ITEM: Item = Item {
    id: "statistics",
    title: "Statistics are gathered anew",
    looks: "Looks which tables were analysed since the database serves again.",
    agrees: Role::Operator,
    look,
    act: Some(act),
    act_proves: false,
};

/// For one stage of one database.
const LIMIT: Duration = Duration::from_secs(3_600);

/// From coarse to fine, so that plans are usable early: what `vacuumdb --analyze-in-stages` does.
const STAGES: [(&str, &str); 3] = [
    ("coarse", "SET default_statistics_target = 1; SET vacuum_cost_delay = 0"),
    ("better", "SET default_statistics_target = 10; RESET vacuum_cost_delay"),
    ("full", "RESET default_statistics_target"),
];

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let Some(since) = ward.serving() else {
        let begun = begin("statistics", "Statistics are of after the recovery");
        return begun.not_run("The database does not serve yet.").into();
    };
    ward.in_each("statistics", &mut found, |ward, name, session, found| {
        let sql = format!(
            "SELECT count(*), count(*) FILTER (WHERE greatest(last_analyze, last_autoanalyze) \
             IS NULL OR greatest(last_analyze, last_autoanalyze) < '{since}') \
             FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid \
             WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'"
        );
        let rows = ward.rows(session, &sql)?;
        let number = |at| rows.first().and_then(|row| field(row, at).parse().ok()).unwrap_or(0);
        let (all, old): (usize, usize) = (number(0), number(1));
        let begun = begin(format!("statistics:{name}"), format!("{name}: tables are analysed"))
            .found(format!("{} of {}", all.saturating_sub(old), count(all, "table")));
        let check = if old == 0 {
            begun.verified("Each was analysed since the database serves again.")
        } else {
            found.propose(name, format!("ANALYZE in three stages (database {name})"));
            begun.not_run("Plans rest on figures of before, or on none, until then.")
        };
        found.check(check);
        Ok(())
    });
    found
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    proposals.iter().map(|proposal| analyse(ward, &proposal.key)).collect()
}

fn analyse(ward: &Ward<'_>, database: &str) -> Check {
    let begun = begin(format!("statistics:did:{database}"), format!("{database}: ANALYZE"));
    let done = ward.open(Some(database), LIMIT).and_then(|session| {
        STAGES.iter().enumerate().try_for_each(|(at, (word, settings))| {
            ward.tell(&format!("{database}: {word} statistics"), at as u64, Some(3));
            ward.execute(&session, settings)?;
            ward.execute(&session, "ANALYZE")
        })
    });
    match done {
        Ok(()) => begun.verified("In three stages, from coarse to full."),
        Err(why) => begun.failed(why),
    }
}
