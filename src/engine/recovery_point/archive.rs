//! What the choice of a recovery point needs of a repository. Owns the contract and the names of
//! relations by file; never writes.

use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::BaseSummary;
use crate::engine::repository::Repository;
use crate::engine::repository::manifest::RelationMap;
use crate::engine::repository::scan::relation_map;
use crate::engine::wal::inspect::{RelationFile, Segments};
use crate::engine::wal::{TimelineId, WalFile};
use std::collections::HashMap;
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
            let system = matches!(relation.schema.as_str(), "pg_catalog" | "information_schema");
            if !system && matches!(relation.kind.as_str(), "r" | "m") {
                let table = Relation {
                    oid: relation.oid,
                    schema: relation.schema.clone(),
                    table: relation.name.clone(),
                    rows: relation.rows,
                };
                all.files.insert((relation.database, relation.node), table);
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
}

impl Segments for RepositoryArchive {
    fn describe(&self) -> String {
        format!("the repository {}", self.repository.config.name)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, Explanation> {
        self.repository.get_wal(name).map_err(|e| e.explanation())
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
