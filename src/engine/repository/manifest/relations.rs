//! A manifest's relations by the way that WAL records name them. Owns no name: each is as it was when
//! the backup was taken.

use super::Relation;
use std::collections::HashMap;

/// Relations by the way that WAL records name them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RelationMap {
    by_node: HashMap<(u32, u32), Relation>,
}

impl RelationMap {
    /// The relation with file `node` in `database`, if it had that file at the backup's time. A
    /// record's tablespace is not needed: a node is its database's own.
    #[must_use]
    pub fn get(&self, database: u32, node: u32) -> Option<&Relation> {
        self.by_node.get(&(database, node))
    }

    /// Every relation, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Relation> {
        self.by_node.values()
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.by_node.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }
}

impl FromIterator<Relation> for RelationMap {
    fn from_iter<T: IntoIterator<Item = Relation>>(relations: T) -> Self {
        let by_node = relations.into_iter().map(|r| ((r.database, r.node), r)).collect();
        Self { by_node }
    }
}
