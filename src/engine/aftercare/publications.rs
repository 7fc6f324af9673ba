//! Logical publications: who subscribed to them elsewhere may be ahead of the recovered database.
//! Lists; what is on other servers cannot be seen from here.

use super::Item;
use super::ward::{Found, Ward, field, listed};
use crate::engine::incident::facts::Role;
use crate::engine::validate::check::begin;

pub(super) const ITEM: Item = Item {
    id: "publications",
    title: "Subscribers elsewhere fit the recovered data",
    looks: "Lists publications in every database.",
    agrees: Role::Operator,
    look,
    act: None,
    act_proves: false,
};

const LIST: &str = "SELECT quote_ident(p.pubname) || CASE WHEN p.puballtables THEN ' (all tables)' \
     ELSE ' (' || (SELECT count(*) FROM pg_publication_rel r WHERE r.prpubid = p.oid) || ' tables)' \
     END FROM pg_publication p ORDER BY 1";

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    ward.in_each("publications", &mut found, |ward, name, session, found| {
        let rows = ward.rows(session, LIST)?;
        let all: Vec<String> = rows.iter().map(|row| field(row, 0).to_owned()).collect();
        let begun = begin(format!("publications:{name}"), format!("{name}: nobody is ahead of it"));
        found.check(if all.is_empty() {
            begun.found("no publication").verified("It publishes nothing.")
        } else {
            begun.found(listed(&all, 8)).could_not_verify(
                "A subscriber may hold rows from after the recovery point, and its slot here is \
                 gone. Copy its tables anew, or compare them.",
            )
        });
        Ok(())
    });
    found
}
