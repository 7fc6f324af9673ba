//! Replication slots: they do not survive a base backup, so those that the damaged server had are
//! gone. Reads their names from the kept directory; makes one anew only after agreement.

use super::Item;
use super::ward::{ASK, Found, Ward, field};
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::validate::check::begin;
use std::path::Path;

pub(super) const ITEM: Item = Item {
    id: "slots",
    title: "Replication slots are there again",
    looks: "Compares the slots of the kept damaged directory with the server's.",
    agrees: Role::Operator,
    look,
    act: Some(act),
    act_proves: false,
};

/// Where the name stands in a slot's file, behind its header.
const NAME: usize = 16;
const NAME_LENGTH: usize = 64;

/// A slot as its file tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slot {
    name: String,
    /// 0 for a physical one.
    database: u32,
    plugin: Option<String>,
}

impl Slot {
    /// Reads `pg_replslot/NAME/state`.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let name = text(bytes.get(NAME..NAME + NAME_LENGTH)?)?;
        let at = NAME + NAME_LENGTH;
        let database = u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?);
        // Between them stand numbers whose count differs by version; the plugin is the next name.
        let rest = bytes.get(at + 4..)?;
        let plugin =
            (0..rest.len()).find_map(|from| text(rest.get(from..)?).filter(|t| t.len() > 3));
        Some(Self { name, database, plugin: plugin.filter(|_| database != 0) })
    }
}

/// A name in the letters that slots and plugins have, up to its first zero.
fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let name = bytes.get(..end).filter(|name| !name.is_empty())?;
    let plain = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-.".contains(b);
    name.iter().all(plain).then(|| String::from_utf8_lossy(name).into_owned())
}

fn lost(aside: &Path) -> Result<Vec<Slot>, String> {
    let folder = aside.join("pg_replslot");
    let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
    let mut all = Vec::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let state = entry.map_err(failed)?.path().join("state");
        let bytes = std::fs::read(&state).map_err(|e| format!("{}: {e}", state.display()))?;
        let slot =
            Slot::parse(&bytes).ok_or_else(|| format!("{}: not understood", state.display()))?;
        all.push(slot);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let sql = "SELECT slot_name, slot_type, active, coalesce(wal_status, '') \
               FROM pg_replication_slots ORDER BY 1";
    let rows = match ward.ask(sql) {
        Ok(rows) => rows,
        Err(why) => {
            return begin("slots:server", "Slots can be listed").could_not_verify(why).into();
        }
    };
    let begun = begin("slots:before", "The slots of before are known");
    let Some(aside) = ward.aside() else {
        found.check(begun.could_not_verify("The damaged directory is not kept here any more."));
        return found;
    };
    let before = match lost(&aside) {
        Ok(before) => before,
        Err(why) => {
            found.check(begun.could_not_verify(why));
            return found;
        }
    };
    found.check(
        begun.found(format!("{} in the kept directory", before.len())).verified(
            "Slots are no part of a base backup: a recovered server begins without them.",
        ),
    );
    let databases = ward.ask("SELECT oid::text, datname FROM pg_database").unwrap_or_default();
    for slot in before {
        let begun = begin(format!("slots:{}", slot.name), format!("Slot \"{}\"", slot.name));
        if let Some(row) = rows.iter().find(|row| field(row, 0) == slot.name) {
            let active = if field(row, 2) == "t" { "in use" } else { "not in use" };
            found.check(
                begun.found(format!("{}, {active}", field(row, 1))).verified("It is there."),
            );
            continue;
        }
        if slot.database == 0 {
            found.propose(
                format!("physical:{}", slot.name),
                format!("SELECT pg_create_physical_replication_slot('{}', true)", slot.name),
            );
            found.check(begun.found("lost (physical)").failed(
                "Its standby or receiver cannot go on until there is one of that name; without a \
                 user it would only keep WAL.",
            ));
            continue;
        }
        let database = databases.iter().find(|row| field(row, 0) == slot.database.to_string());
        if let (Some(row), Some(plugin)) = (database, &slot.plugin) {
            let name = field(row, 1);
            found.propose(
                format!("logical:{}/{plugin}/{name}", slot.name),
                format!(
                    "SELECT pg_create_logical_replication_slot('{}', '{plugin}') (database {name})",
                    slot.name
                ),
            );
        }
        found.check(begun.found("lost (logical)").failed(
            "Its subscriber goes on only from a new one, and has to copy its tables anew: what \
             lies between is not in it.",
        ));
    }
    found
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    proposals.iter().filter_map(|proposal| make(ward, &proposal.key)).collect()
}

fn make(ward: &Ward<'_>, key: &str) -> Option<Check> {
    let (kind, rest) = key.split_once(':')?;
    let mut parts = rest.splitn(3, '/');
    let name = parts.next()?;
    let begun = begin(format!("slots:did:{name}"), format!("Slot \"{name}\" is made anew"));
    let (database, sql) = match (kind, parts.next(), parts.next()) {
        ("logical", Some(plugin), Some(database)) => (
            Some(database),
            format!("SELECT pg_create_logical_replication_slot('{name}', '{plugin}')"),
        ),
        _ => (None, format!("SELECT pg_create_physical_replication_slot('{name}', true)")),
    };
    Some(match ward.open(database, ASK).and_then(|session| ward.rows(&session, &sql)) {
        Ok(_) => begun.verified("It keeps WAL from now on: see that somebody uses it."),
        Err(why) => begun.failed(why),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(name: &str, database: u32, plugin: &str) -> Vec<u8> {
        let mut bytes = vec![7; NAME];
        bytes.extend(name.bytes().chain(std::iter::repeat(0)).take(NAME_LENGTH));
        bytes.extend(database.to_le_bytes());
        bytes.extend([0xFF, 0x10, 0, 0, 0, 0, 0, 0x61, 0, 0, 0, 0]);
        bytes.extend(plugin.bytes().chain(std::iter::repeat(0)).take(NAME_LENGTH));
        bytes
    }

    #[test]
    fn a_slots_file_tells_its_name_kind_and_plugin() {
        let physical = Slot::parse(&state("standby_1", 0, "")).unwrap();
        assert_eq!((physical.name.as_str(), physical.database), ("standby_1", 0));
        assert_eq!(physical.plugin, None);
        let logical = Slot::parse(&state("orders_sub", 16_384, "pgoutput")).unwrap();
        assert_eq!(logical.plugin.as_deref(), Some("pgoutput"));
        assert_eq!(Slot::parse(&[0; 40]), None);
    }
}
