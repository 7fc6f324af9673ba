//! Transactions that were prepared and not decided at the recovery point: they hold their locks
//! and keep old rows until somebody commits or rolls them back. Which, the tool cannot know.

use super::Item;
use super::ward::{ASK, Found, Ward, field};
use crate::engine::explain::count;
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::postgres::recovery_settings::{self, Removed, SettingsError};
use crate::engine::restore::steps::{PREPARED_KEPT, raised_to};
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
        let checked =
            begun.found("none").verified("Nothing is left undecided at the recovery point.");
        found.check(checked);
        look_at_room(ward, &mut found);
        return found;
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

/// The key of taking the raised setting out again.
const LET_GO: &str = "let-go";

/// The number that stands in the file by this recovery: with its marks, or by the journal where
/// ALTER SYSTEM has written the file anew without them.
fn room(ward: &Ward<'_>) -> Result<Option<i64>, SettingsError> {
    let data = ward.site.data();
    let marked = recovery_settings::kept_room(data)?;
    let noted = noted(ward).filter(|_| marked.is_none());
    match noted {
        Some(room) if recovery_settings::unmarked_room(data, room)? => Ok(Some(room)),
        _ => Ok(marked),
    }
}

/// What the recovery said that it had left raised.
fn noted(ward: &Ward<'_>) -> Option<i64> {
    let mut notes = ward.incident.steps.iter().flat_map(|step| &step.notes);
    notes.find_map(|(name, text)| (name == PREPARED_KEPT).then(|| raised_to(text))?)
}

/// What the recovery raised so that the server could start with them is not needed any more.
fn look_at_room(ward: &Ward<'_>, found: &mut Found) {
    let begun = begin("prepared:room", "max_prepared_transactions is as it was configured");
    match room(ward) {
        Ok(None) => {}
        Ok(Some(value)) => {
            found.propose(
                LET_GO,
                format!(
                    "Take max_prepared_transactions = {value} out of postgresql.auto.conf (the next \
                     start is without it)"
                ),
            );
            found.check(begun.found(value.to_string()).not_run(
                "The recovery left it raised while prepared transactions waited. Agree, and it is \
                 taken out.",
            ));
        }
        Err(error) => found.check(begun.could_not_verify(error.to_string())),
    }
}

/// Only while none waits: the server would not start with less.
fn let_go(ward: &Ward<'_>) -> Check {
    let begun = begin("prepared:did:room", "max_prepared_transactions is taken out again");
    match ward.ask(LIST) {
        Ok(rows) if rows.is_empty() => {}
        Ok(rows) => return begun.failed(format!("{} wait.", count(rows.len(), "transaction"))),
        Err(why) => return begun.could_not_verify(why),
    }
    let done = ward.site.data_owner().map_err(|e| e.to_string()).and_then(|owner| {
        recovery_settings::let_go(ward.site.data(), &owner, noted(ward)).map_err(|e| e.to_string())
    });
    match done {
        Ok(Removed::Removed) => {
            begun.verified("The file is what it was; the next start is without it.")
        }
        Ok(Removed::NotThere) => begun.not_run("It is not in postgresql.auto.conf any more."),
        Err(why) => begun.failed(why),
    }
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
    let each = proposals.iter().filter_map(|proposal| match proposal.key.as_str() {
        LET_GO => Some(let_go(ward)),
        _ => decide(ward, proposal),
    });
    each.collect()
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
