//! What the choice of a recovery point needs of a repository. Owns the contract and the names of
//! relations by file; never writes.

use super::opened::{OpenedSet, Space};
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::{BaseSummary, OnDisk};
use crate::engine::repository::manifest::{self, RelationMap};
use crate::engine::repository::scan::{OpenSet, relation_map};
use crate::engine::repository::{Repository, WalObject};
use crate::engine::restore::base::delta::{self, Reuse};
use crate::engine::wal::inspect::{CatalogFiles, Content, LoggedNames, RelationFile, Segments};
use crate::engine::wal::{TimelineId, WalFile};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A place that keeps base backups and WAL.
pub trait Archive: Segments {
    /// The repository's name in the configuration.
    fn name(&self) -> String;

    /// Published bases whose keys open, and what could not be read or authenticated.
    ///
    /// # Errors
    /// Where they could not be listed.
    fn bases(&self) -> Result<(Vec<BaseSummary>, Vec<Explanation>), Explanation>;

    /// Tables by file node, as they were at the time of a base.
    ///
    /// # Errors
    /// Where the set's manifest could not be read.
    fn relations(&self, set: &str) -> Result<Relations, Explanation>;

    /// Opens a set as a restore will, with its key unwrapped anew. `None` where this is no place
    /// that could.
    ///
    /// # Errors
    /// Where it does not open.
    fn open_set(&self, set: &str) -> Result<Option<OpenedSet>, Explanation> {
        let _ = set;
        Ok(None)
    }

    /// What a directory here still has of a set's files, by their sizes and times. `None` where this
    /// is no place that could tell.
    ///
    /// # Errors
    /// Where the set's manifest could not be read.
    fn on_disk(&self, set: &str, reuse: &Reuse) -> Result<Option<OnDisk>, Explanation> {
        let _ = (set, reuse);
        Ok(None)
    }

    /// Unwraps the key of an archived WAL file anew and gives its id, empty where it needs none.
    /// `None` where the file is not here.
    ///
    /// # Errors
    /// Where the key does not open.
    fn open_wal(&self, name: &str) -> Result<Option<String>, Explanation> {
        let _ = name;
        Ok(None)
    }
}

/// A table as a base backup knew it.
#[derive(Debug, Clone, PartialEq)]
pub struct Relation {
    pub oid: u32,
    pub schema: String,
    pub table: String,
    /// The planner's estimate; negative where it was never counted.
    pub rows: f64,
}

/// Names of tables by their files, of all databases.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Relations {
    /// By OID.
    pub databases: HashMap<u32, String>,
    /// By database OID and file node.
    pub files: HashMap<(u32, u32), Relation>,
    /// Files that are known to be no table: indexes, TOAST, sequences.
    pub others: HashSet<(u32, u32)>,
    /// Schemas by database and OID, as far as they are known.
    pub schemas: HashMap<(u32, u32), String>,
    /// Catalogs that were rewritten.
    pub catalogs: CatalogFiles,
    /// Further names that a table had, by database and OID: `schema.table`.
    pub former: HashMap<(u32, u32), Vec<String>>,
}

impl Relations {
    #[must_use]
    pub fn named(&self, file: RelationFile) -> Option<&Relation> {
        self.files.get(&(file.database, file.file))
    }

    /// Adds what `other` knows and this one does not.
    pub fn complete_with(&mut self, other: Self) {
        for (oid, name) in other.databases {
            self.databases.entry(oid).or_insert(name);
        }
        for (file, relation) in other.files {
            self.files.entry(file).or_insert(relation);
        }
        self.others.extend(other.others);
        if self.catalogs == CatalogFiles::default() {
            self.catalogs = other.catalogs;
        }
        for (schema, name) in other.schemas {
            self.schemas.entry(schema).or_insert(name);
        }
    }

    /// Adds what the log's own changes to the catalogs tell: tables made since, new files of
    /// known ones, new names.
    pub fn learn(&mut self, logged: &LoggedNames) {
        for (oid, name) in &logged.databases {
            self.databases.entry(*oid).or_insert_with(|| name.clone());
        }
        let known: HashMap<(u32, u32), (String, String)> = self
            .files
            .iter()
            .map(|((db, _), r)| ((*db, r.oid), (r.schema.clone(), r.table.clone())))
            .collect();
        let mut schemas = self.schemas.clone();
        schemas.extend(logged.schemas.iter().map(|(at, name)| (*at, name.clone())));
        // A schema's number next to a table that the backup knows by name is named by it.
        for ((db, _), relation) in &logged.relations {
            if let Some((schema, _)) = known.get(&(*db, relation.oid)) {
                schemas.entry((*db, relation.schema)).or_insert_with(|| schema.clone());
            }
        }
        for ((db, file), relation) in &logged.relations {
            if !matches!(relation.kind, 'r' | 'm') || relation.temporary {
                self.others.insert((*db, *file));
                continue;
            }
            let schema = match (schemas.get(&(*db, relation.schema)), relation.schema) {
                (Some(name), _) => name.clone(),
                (None, 2200) => String::from("public"),
                (None, oid) => format!("schema {oid}"),
            };
            if matches!(schema.as_str(), "pg_catalog" | "information_schema") {
                continue;
            }
            if let Some((of_base, table)) = known.get(&(*db, relation.oid))
                && (*of_base != schema || *table != relation.name)
            {
                let names = self.former.entry((*db, relation.oid)).or_default();
                names.push(format!("{of_base}.{table}"));
                names.push(format!("{schema}.{}", relation.name));
            }
            self.files.entry((*db, *file)).or_insert_with(|| Relation {
                oid: relation.oid,
                schema,
                table: relation.name.clone(),
                rows: -1.0,
            });
        }
        self.schemas = schemas;
    }

    /// A relation for people: by name, else by number.
    #[must_use]
    pub fn title(&self, file: RelationFile) -> String {
        match (self.named(file), self.databases.get(&file.database)) {
            (Some(relation), _) => self.table(file.database, relation),
            (None, Some(database)) => format!("database {database}, file {}", file.file),
            (None, None) => format!("database {}, file {}", file.database, file.file),
        }
    }

    /// A table for people: with its database where there are several.
    #[must_use]
    pub fn table(&self, database: u32, relation: &Relation) -> String {
        let table = format!("{}.{}", relation.schema, relation.table);
        match self.databases.get(&database) {
            Some(name) if self.databases.len() > 1 && name != "postgres" => {
                format!("{table} in {name}")
            }
            _ => table,
        }
    }

    /// A table by its OID, whichever file it had.
    #[must_use]
    pub fn by_oid(&self, database: u32, oid: u32) -> Option<&Relation> {
        let ours = |((db, _), r): &(&(u32, u32), &Relation)| *db == database && r.oid == oid;
        // The backup's own row knows how many rows there were.
        self.files.iter().filter(ours).map(|(_, r)| r).max_by(|a, b| a.rows.total_cmp(&b.rows))
    }

    /// Whether `wanted` (`table`, or `schema.table`) names `relation`, now or formerly.
    #[must_use]
    pub fn is_named(&self, database: u32, relation: &Relation, wanted: &str) -> bool {
        let whole = format!("{}.{}", relation.schema, relation.table);
        let former = self.former.get(&(database, relation.oid)).into_iter().flatten();
        former.chain([&whole]).any(|name| {
            name == wanted || name.rsplit_once('.').is_some_and(|(_, table)| table == wanted)
        })
    }
}

impl From<&RelationMap> for Relations {
    /// Tables and materialised views; indexes and the like follow theirs.
    fn from(map: &RelationMap) -> Self {
        let mut all = Self::default();
        for relation in map.iter() {
            if relation.database != 0 && !relation.database_name.is_empty() {
                all.databases
                    .entry(relation.database)
                    .or_insert_with(|| relation.database_name.clone());
            }
            all.catalogs.add(relation.database, relation.oid, relation.node);
            let system = matches!(relation.schema.as_str(), "pg_catalog" | "information_schema");
            if !system && matches!(relation.kind.as_str(), "r" | "m") {
                let table = Relation {
                    oid: relation.oid,
                    schema: relation.schema.clone(),
                    table: relation.name.clone(),
                    rows: relation.rows,
                };
                all.files.insert((relation.database, relation.node), table);
            } else if !system {
                all.others.insert((relation.database, relation.node));
            }
        }
        all
    }
}

/// A repository as an [`Archive`].
#[derive(Debug, Clone)]
pub struct RepositoryArchive {
    repository: Arc<Repository>,
}

impl RepositoryArchive {
    #[must_use]
    pub fn new(repository: Arc<Repository>) -> Self {
        Self { repository }
    }

    /// Without the keys that were opened before.
    fn anew(&self) -> Result<Repository, Explanation> {
        Repository::open(&self.repository.config, self.repository.cluster())
            .map_err(|e| e.explanation())
    }
}

/// Hands on what is written to it.
struct Into<'a>(&'a mut dyn Content);

impl std::io::Write for Into<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.take(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Segments for RepositoryArchive {
    fn describe(&self) -> String {
        format!("the repository {}", self.repository.config.name)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Explanation> {
        self.repository.get_wal(name).map_err(|e| e.explanation())
    }

    fn read(&self, name: &str, content: &mut dyn Content) -> Result<bool, Explanation> {
        content.begin();
        let read = self.repository.read_wal(name, &mut Into(content));
        Ok(read.map_err(|e| e.explanation())?.is_some())
    }

    /// The object's key carries the tag over its content.
    fn fingerprints(
        &self,
        timeline: TimelineId,
        from: &str,
        limit: usize,
    ) -> Result<Vec<(String, String)>, Explanation> {
        let objects =
            self.repository.list_wal(timeline, from, limit).map_err(|e| e.explanation())?;
        let place = self.repository.store.describe();
        let named = |o: WalObject| (o.name, format!("{place} {} {}", o.key, o.size));
        Ok(objects.into_iter().map(named).collect())
    }

    fn list(
        &self,
        timeline: TimelineId,
        from: &str,
        limit: usize,
    ) -> Result<Vec<String>, Explanation> {
        let objects =
            self.repository.list_wal(timeline, from, limit).map_err(|e| e.explanation())?;
        let whole = |name: &String| matches!(WalFile::parse(name), Some(WalFile::Segment { .. }));
        Ok(objects.into_iter().map(|o| o.name).filter(whole).collect())
    }

    fn timelines(&self) -> Result<Vec<TimelineId>, Explanation> {
        self.repository.timelines().map_err(|e| e.explanation())
    }
}

impl Archive for RepositoryArchive {
    fn name(&self) -> String {
        self.repository.config.name.clone()
    }

    fn bases(&self) -> Result<(Vec<BaseSummary>, Vec<Explanation>), Explanation> {
        self.repository.bases().map_err(|e| e.explanation())
    }

    fn relations(&self, set: &str) -> Result<Relations, Explanation> {
        let map = relation_map(&self.repository, set).map_err(|e| e.explanation())?;
        Ok(Relations::from(&map))
    }

    fn open_set(&self, set: &str) -> Result<Option<OpenedSet>, Explanation> {
        let anew = self.anew()?;
        let opened = OpenSet::open(&anew, set).map_err(|e| e.explanation())?;
        let manifest = opened.manifest().map_err(|e| e.explanation())?;
        let space = |space: &manifest::Tablespace| Space {
            oid: space.oid,
            place: space.location.clone().into(),
            size: space.size,
        };
        Ok(Some(OpenedSet {
            key_id: opened.descriptor.key_id.clone(),
            page_size: opened.descriptor.page_size,
            tablespaces: manifest.header().tablespaces.iter().map(space).collect(),
        }))
    }

    fn on_disk(&self, set: &str, reuse: &Reuse) -> Result<Option<OnDisk>, Explanation> {
        let opened = OpenSet::open(&self.repository, set).map_err(|e| e.explanation())?;
        delta::expect(&opened, reuse).map(Some).map_err(|e| e.explanation())
    }

    fn open_wal(&self, name: &str) -> Result<Option<String>, Explanation> {
        let anew = self.anew()?;
        let found = anew.find_wal(name).map_err(|e| e.explanation())?;
        let Some(object) = found.first() else { return Ok(None) };
        let id = anew.wal_key_id(object);
        anew.protection_of(&object.key, id.as_deref()).map_err(|e| e.explanation())?;
        Ok(Some(id.unwrap_or_default()))
    }
}

/// A repository that does not open: every question has the same answer, why.
#[derive(Debug, Clone)]
pub struct ClosedArchive {
    name: String,
    reason: Explanation,
}

impl ClosedArchive {
    #[must_use]
    pub fn new(name: &str, reason: Explanation) -> Self {
        Self { name: name.to_owned(), reason }
    }
}

impl Segments for ClosedArchive {
    fn describe(&self) -> String {
        format!("the repository {}", self.name)
    }

    fn get(&self, _: &str) -> Result<Option<Vec<u8>>, Explanation> {
        Err(self.reason.clone())
    }

    fn list(&self, _: TimelineId, _: &str, _: usize) -> Result<Vec<String>, Explanation> {
        Err(self.reason.clone())
    }

    fn timelines(&self) -> Result<Vec<TimelineId>, Explanation> {
        Err(self.reason.clone())
    }
}

impl Archive for ClosedArchive {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn bases(&self) -> Result<(Vec<BaseSummary>, Vec<Explanation>), Explanation> {
        Err(self.reason.clone())
    }

    fn relations(&self, _: &str) -> Result<Relations, Explanation> {
        Err(self.reason.clone())
    }
}
