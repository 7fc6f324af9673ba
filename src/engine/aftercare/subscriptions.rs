//! Subscriptions that were held before the server opened. An open one would connect to a live
//! publisher at once, ask for changes from the recovery point's position, and lose or repeat rows.

use super::Item;
use super::ward::{ASK, Found, Ward, field};
use crate::engine::incident::care::{HeldKind, Proposal};
use crate::engine::incident::facts::{Check, Role};
use crate::engine::validate::check::begin;

pub(super) const ITEM: Item = Item {
    id: "subscriptions",
    title: "Subscriptions are released",
    looks: "Compares subscriptions with those that were held before the server opened.",
    agrees: Role::Commander,
    look,
    act: Some(act),
    act_proves: false,
};

const LIST: &str = "SELECT d.datname, s.subname, s.subenabled \
     FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid ORDER BY 1, 2";

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let rows = match ward.ask(LIST) {
        Ok(rows) => rows,
        Err(why) => {
            let begun = begin("subscriptions:server", "Subscriptions can be listed");
            return begun.could_not_verify(why).into();
        }
    };
    if rows.is_empty() {
        let begun = begin("subscriptions", "Subscriptions are released");
        return begun.found("none").verified("There is no subscription in this server.").into();
    }
    for row in &rows {
        let (database, name) = (field(row, 0), field(row, 1));
        let held = ward.incident.held.iter().any(|held| {
            held.what == HeldKind::Subscription && held.database == database && held.name == name
        });
        let begun =
            begin(format!("subscriptions:{database}/{name}"), format!("{database}: \"{name}\""));
        let check = match (field(row, 2) == "t", held) {
            (true, _) => begun.found("enabled").verified("It receives from its publisher."),
            (false, true) => {
                found.propose(
                    format!("{database}/{name}"),
                    format!("ALTER SUBSCRIPTION \"{}\" ENABLE (database {database})", quoted(name)),
                );
                begun.found("held").not_run(
                    "It was switched off before the server opened. Its publisher has gone on: \
                     compare the tables or copy them anew, then release it.",
                )
            }
            (false, false) => begun
                .found("disabled")
                .verified("It was disabled at the recovery point already and is left as it is."),
        };
        found.check(check);
    }
    found
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    let held = ward.incident.held.iter().filter(|held| held.what == HeldKind::Subscription);
    held.filter(|held| {
        let key = format!("{}/{}", held.database, held.name);
        proposals.iter().any(|proposal| proposal.key == key)
    })
    .map(|held| {
        let (database, name) = (&held.database, &held.name);
        let begun = begin(
            format!("subscriptions:did:{database}/{name}"),
            format!("{database}: \"{name}\" is released"),
        );
        let sql = format!("ALTER SUBSCRIPTION \"{}\" ENABLE", quoted(name));
        let done = ward.open(Some(database), ASK).and_then(|session| ward.execute(&session, &sql));
        match done {
            Ok(()) => begun.verified("Its worker starts by itself."),
            Err(why) => begun.failed(why),
        }
    })
    .collect()
}

fn quoted(name: &str) -> String {
    name.replace('"', "\"\"")
}
