//! Holding still what a copied database does by itself on a change of its rows: triggers, rules and
//! event triggers, those that ask for replicas too. Owns the statements; what is left as it was are
//! foreign keys, so that a row that is erased takes with it what is to go with it. Everything is
//! put back as it was found.

use super::super::error::DrillError;
use super::quiet;
use crate::engine::config::Connection;
use crate::engine::parts::names::{Name, quote};

/// What was held still in one database: how each is put back.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stilled {
    database: String,
    back: Vec<String>,
}

const EVENTS: &str = "SELECT evtname::text, evtenabled::text FROM pg_catalog.pg_event_trigger \
    WHERE evtenabled <> 'D' ORDER BY 1";
/// Those of foreign keys and of keys that may wait are the server's own and stay. Clones on
/// partitions are told one by one: each may be set otherwise than its whole.
const TRIGGERS: &str = "SELECT n.nspname::text, c.relname::text, t.tgname::text, t.tgenabled::text \
    FROM pg_catalog.pg_trigger t \
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE (NOT t.tgisinternal OR t.tgconstraint = 0) AND t.tgenabled <> 'D' \
      AND c.relkind IN ('r', 'p', 'f') ORDER BY 1, 2, 3";
const RULES: &str = "SELECT n.nspname::text, c.relname::text, r.rulename::text, r.ev_enabled::text \
    FROM pg_catalog.pg_rewrite r \
    JOIN pg_catalog.pg_class c ON c.oid = r.ev_class \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE r.ev_enabled <> 'D' AND c.relkind IN ('r', 'p') ORDER BY 1, 2, 3";

/// Holds all of it still in that database.
///
/// # Errors
/// Where something of it cannot be.
pub async fn hold(connection: &Connection, database: &str) -> Result<Stilled, DrillError> {
    let session = quiet::open(connection, database).await?;
    quiet::run(&session, "SET session_replication_role = replica").await?;
    let mut stilled = Stilled { database: database.to_owned(), back: Vec::new() };
    let mut change = Vec::new();
    // First: they would act on what follows.
    for row in quiet::rows(&session, EVENTS).await? {
        let name = quote(&row.get::<_, String>(0));
        change.push(format!("ALTER EVENT TRIGGER {name} DISABLE"));
        let way = enabling(&row.get::<_, String>(1), "");
        stilled.back.push(format!("ALTER EVENT TRIGGER {name} {way}"));
    }
    for (kind, sql) in [("TRIGGER", TRIGGERS), ("RULE", RULES)] {
        for row in quiet::rows(&session, sql).await? {
            let table = Name::new(row.get::<_, String>(0), row.get::<_, String>(1)).sql();
            let name = quote(&row.get::<_, String>(2));
            let only = if kind == "TRIGGER" { "ONLY " } else { "" };
            change.push(format!("ALTER TABLE {only}{table} DISABLE {kind} {name}"));
            let way = enabling(&row.get::<_, String>(3), kind);
            stilled.back.push(format!("ALTER TABLE {only}{table} {way} {name}"));
        }
    }
    for sql in &change {
        quiet::run(&session, sql).await?;
    }
    // What held the others still in the meantime comes back last.
    stilled.back.reverse();
    Ok(stilled)
}

impl Stilled {
    /// Puts it back as it was.
    ///
    /// # Errors
    /// Where something of it cannot be.
    pub async fn let_go(self, connection: &Connection) -> Result<(), DrillError> {
        let session = quiet::open(connection, &self.database).await?;
        quiet::run(&session, "SET session_replication_role = replica").await?;
        for sql in &self.back {
            quiet::run(&session, sql).await?;
        }
        Ok(())
    }
}

/// The words that enable a thing as the catalogue has it.
fn enabling(state: &str, kind: &str) -> String {
    let words = match state {
        "A" => "ENABLE ALWAYS",
        "R" => "ENABLE REPLICA",
        _ => "ENABLE",
    };
    format!("{words} {kind}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_put_back_as_it_was() {
        assert_eq!(enabling("O", "TRIGGER"), "ENABLE TRIGGER");
        assert_eq!(enabling("A", "TRIGGER"), "ENABLE ALWAYS TRIGGER");
        assert_eq!(enabling("R", "RULE"), "ENABLE REPLICA RULE");
        assert_eq!(enabling("A", ""), "ENABLE ALWAYS");
        assert_eq!(enabling("O", ""), "ENABLE");
    }
}
