//! What in the recovered databases reaches out by itself: foreign servers, functions that call
//! dblink, event triggers. After a recovery they can act a second time on systems that were not
//! recovered. Lists; switches nothing off.

use super::Item;
use super::ward::{Found, Ward, field, listed};
use crate::engine::incident::facts::Role;
use crate::engine::validate::check::begin;

pub(super) const ITEM: Item = Item {
    id: "outreach",
    title: "What reaches other systems is known",
    looks: "Lists foreign servers, dblink callers and event triggers in every database.",
    agrees: Role::Operator,
    look,
    act: None,
    act_proves: false,
};

/// Server options can hold a host; user mappings hold passwords and are not read.
const REACHES: &str = "SELECT 'foreign server ' || quote_ident(s.srvname) || ' (' || w.fdwname || \
         coalesce((SELECT ', ' || string_agg(o, ' ') FROM unnest(s.srvoptions) o \
                   WHERE o ~ '^(host|hostaddr|port|dbname|dbserver|filename)='), '') || ')' \
     FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw \
     UNION ALL SELECT 'function ' || p.oid::regprocedure::text || ' calls dblink' \
     FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
     WHERE p.prosrc ~* 'dblink' AND p.prolang NOT IN \
         (SELECT oid FROM pg_language WHERE lanname IN ('c', 'internal')) \
     UNION ALL SELECT 'event trigger ' || quote_ident(evtname) || ' on ' || evtevent \
     FROM pg_event_trigger WHERE evtenabled <> 'D' ORDER BY 1";

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    ward.in_each("outreach", &mut found, |ward, name, session, found| {
        let rows = ward.rows(session, REACHES)?;
        let all: Vec<String> = rows.iter().map(|row| field(row, 0).to_owned()).collect();
        let begun =
            begin(format!("outreach:{name}"), format!("{name}: nothing reaches other systems"));
        found.check(if all.is_empty() {
            begun.found("none").verified("No foreign server, dblink caller or event trigger.")
        } else {
            begun.found(listed(&all, 8)).could_not_verify(
                "Whether these may act again after the recovery point, only you can say.",
            )
        });
        Ok(())
    });
    found
}
