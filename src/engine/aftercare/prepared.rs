//! Transactions that were prepared and not decided at the recovery point: they hold their locks
//! and keep old rows until somebody commits or rolls them back. Which, the tool cannot know.

use super::Item;
use super::ward::{ASK, Found, Ward, field};
use crate::engine::explain::count;
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::validate::check::begin;

pub(super) const ITEM: Item = Item {
    id: "prepared",
    title: "No prepared transaction waits for its end",
    looks: "Lists prepared transactions with their owner, age and locks.",
    agrees: Role::Commander,
    look,
    act: Some(act),
    act_proves: false,
};

const LIST: &str = "SELECT gid, database, owner, \
     date_trunc('second', now() - prepared)::text, transaction::text \
     FROM pg_prepared_xacts ORDER BY prepared, gid";

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let begun = begin("prepared", "No prepared transaction waits for its end");
    let rows = match ward.ask(LIST) {
        Ok(rows) => rows,
        Err(why) => return begun.could_not_verify(why).into(),
    };
    if rows.is_empty() {
        return begun
            .found("none")
            .verified("Nothing is left undecided at the recovery point.")
            .into();
    }
    found.check(begun.expected("none").found(count(rows.len(), "transaction")).failed(
        "Ask whoever coordinates them (a transaction manager, an application server) how each \
         ended elsewhere, then commit or roll it back.",
    ));
    for row in &rows {
        let (gid, database, owner) = (field(row, 0), field(row, 1), field(row, 2));
        let begun =
            begin(format!("prepared:{gid}"), format!("\"{gid}\" in {database}, of {owner}"))
                .found(format!("prepared {} ago", field(row, 3)));
        let locks = locks(ward, database, field(row, 4));
        found.check(begun.failed(format!("Transaction {}. It holds {locks}.", field(row, 4))));
        for (word, text) in [("commit", "COMMIT"), ("rollback", "ROLLBACK")] {
            found.proposals.push(Proposal {
                key: format!("{word}:{gid}"),
                text: format!(
                    "{text} PREPARED '{}' (database {database})",
                    gid.replace('\'', "''")
                ),
                group: Some(gid.to_owned()),
            });
        }
    }
    found
}

fn locks(ward: &Ward<'_>, database: &str, xid: &str) -> String {
    let sql = format!(
        "SELECT string_agg(DISTINCT mode || ' on ' || relation::regclass::text, ', ') \
         FROM pg_locks WHERE virtualtransaction = '-1/{xid}' AND relation IS NOT NULL"
    );
    let told = ward.open(Some(database), ASK).and_then(|session| ward.rows(&session, &sql));
    match told {
        Ok(rows) => match rows.first().map(|row| field(row, 0)) {
            Some(text) if !text.is_empty() => text.to_owned(),
            _ => String::from("no lock on a table"),
        },
        Err(why) => format!("locks that could not be listed ({why})"),
    }
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    proposals.iter().filter_map(|proposal| decide(ward, proposal)).collect()
}

fn decide(ward: &Ward<'_>, proposal: &Proposal) -> Option<Check> {
    let (word, gid) = proposal.key.split_once(':')?;
    let word = if word == "commit" { "COMMIT" } else { "ROLLBACK" };
    let begun = begin(format!("prepared:did:{gid}"), format!("\"{gid}\": {word} PREPARED"));
    let rows = ward.ask(LIST).ok()?;
    let row = rows.iter().find(|row| field(row, 0) == gid)?;
    let sql = format!("{word} PREPARED '{}'", gid.replace('\'', "''"));
    let done = ward.open(Some(field(row, 1)), ASK).and_then(|session| ward.execute(&session, &sql));
    Some(match done {
        Ok(()) => begun.verified("The server has carried it out."),
        Err(why) => begun.failed(why),
    })
}
