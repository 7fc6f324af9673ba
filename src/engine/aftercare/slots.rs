//! Replication slots: they do not survive a base backup, so those that the damaged server had are
//! gone. Reads their names from the kept directory, and judges those that there are by whether they
//! serve; makes one anew only after agreement, removes none.

use super::Item;
use super::ward::{ASK, Found, Ward, field};
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::validate::check::{Begun, begin};
use std::path::Path;

pub(super) const ITEM: Item = Item {
    id: "slots",
    title: "Replication slots are there again",
    looks: "Compares the kept directory's slots with the server's: WAL kept, and read by whom.",
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

/// A slot as the server tells it; `kind` is `physical` or `logical`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Now {
    name: String,
    kind: String,
    active: bool,
    /// Whether the WAL that it needs is there: `reserved`, `extended`, `unreserved`, `lost`; empty
    /// where it keeps none.
    wal: String,
}

impl Now {
    fn from_row(row: &[Option<String>]) -> Self {
        Self {
            name: field(row, 0).to_owned(),
            kind: field(row, 1).to_owned(),
            active: field(row, 2) == "t",
            wal: field(row, 3).to_owned(),
        }
    }

    /// Whether it serves: that it has its name is not enough.
    fn judge(&self) -> Check {
        let used = if self.active { "in use" } else { "not in use" };
        let wal = if self.wal.is_empty() { "keeps no WAL" } else { &self.wal };
        let begun = begun(&self.name).found(format!("{}, {used}, WAL {wal}", self.kind));
        match (self.wal.as_str(), self.active) {
            ("lost", _) => begun.failed(
                "WAL that its reader needs is gone: it can never be used again. Remove it \
                 (pg_drop_replication_slot), then look again: a new one is proposed. Its reader has \
                 to be copied anew.",
            ),
            ("unreserved", _) => begun.could_not_verify(
                "The server keeps its WAL no longer, and removes it at a checkpoint. Its reader has \
                 to catch up now, or max_slot_wal_keep_size has to be raised.",
            ),
            (_, false) => begun.could_not_verify(
                "It is there, and nobody reads from it yet; until then it keeps WAL on the disk. \
                 Bring back who uses it, then look again; or remove it, where nobody does any more.",
            ),
            ("reserved" | "extended", true) => begun.verified("It is there, and somebody reads from it."),
            (_, true) => begun.could_not_verify("Whether the WAL that it needs is there, the server does not say."),
        }
    }
}

fn begun(name: &str) -> Begun {
    begin(format!("slots:{name}"), format!("Slot \"{name}\""))
}

/// The slots of before, or why they are not known.
fn before(ward: &Ward<'_>) -> Result<Vec<Slot>, String> {
    let aside = ward.aside();
    let aside = aside.ok_or("The damaged directory is not kept here any more.")?;
    lost(&aside)
}

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let sql = "SELECT slot_name, slot_type, active, coalesce(wal_status, '') \
               FROM pg_replication_slots WHERE NOT temporary ORDER BY 1";
    let now: Vec<Now> = match ward.ask(sql) {
        Ok(rows) => rows.iter().map(|row| Now::from_row(row)).collect(),
        Err(why) => {
            return begin("slots:server", "Slots can be listed").could_not_verify(why).into();
        }
    };
    let begun = begin("slots:before", "The slots of before are known");
    let before = match before(ward) {
        Ok(before) => {
            found.check(begun.found(format!("{} in the kept directory", before.len())).verified(
                "Slots are no part of a base backup: a recovered server begins without them.",
            ));
            before
        }
        Err(why) => {
            found.check(begun.could_not_verify(why));
            Vec::new()
        }
    };
    let is_there = |name: &str| now.iter().any(|one| one.name == name);
    let gone: Vec<Slot> = before.into_iter().filter(|slot| !is_there(&slot.name)).collect();
    if !gone.is_empty() {
        propose_anew(ward, &gone, &mut found);
    }
    now.iter().for_each(|one| found.check(one.judge()));
    found
}

/// Those that the damaged server had and this one has not.
fn propose_anew(ward: &Ward<'_>, gone: &[Slot], found: &mut Found) {
    let databases = match ward.ask("SELECT oid::text, datname FROM pg_database") {
        Ok(databases) => databases,
        Err(why) => {
            found.check(begin("slots:databases", "Databases can be listed").could_not_verify(why));
            Vec::new()
        }
    };
    for slot in gone {
        let begun = begun(&slot.name);
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
    use crate::engine::incident::facts::Verdict;

    fn state(name: &str, database: u32, plugin: &str) -> Vec<u8> {
        let mut bytes = vec![7; NAME];
        bytes.extend(name.bytes().chain(std::iter::repeat(0)).take(NAME_LENGTH));
        bytes.extend(database.to_le_bytes());
        bytes.extend([0xFF, 0x10, 0, 0, 0, 0, 0, 0x61, 0, 0, 0, 0]);
        bytes.extend(plugin.bytes().chain(std::iter::repeat(0)).take(NAME_LENGTH));
        bytes
    }

    #[test]
    fn a_slot_serves_only_while_its_wal_is_kept_and_somebody_reads_from_it() {
        let verdict = |wal: &str, active| {
            let (name, kind, wal) = ("one".to_owned(), "physical".to_owned(), wal.to_owned());
            Now { name, kind, active, wal }.judge().verdict
        };
        assert_eq!(verdict("reserved", true), Verdict::Verified);
        assert_eq!(verdict("extended", true), Verdict::Verified);
        for active in [true, false] {
            assert_eq!(verdict("lost", active), Verdict::Failed);
            assert_eq!(verdict("unreserved", active), Verdict::CouldNotVerify);
            assert_eq!(verdict("", active), Verdict::CouldNotVerify);
        }
        assert_eq!(verdict("reserved", false), Verdict::CouldNotVerify);
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
