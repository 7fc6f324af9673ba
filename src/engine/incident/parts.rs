//! What the journal keeps of parts that are brought back: what was seen to differ, what was chosen
//! of it, what was written. Values alone; never a row's content.

use crate::engine::parts::compare::Difference;
use crate::engine::parts::database::{Brought, Found};
use crate::engine::parts::names::Name;
use crate::engine::parts::roles::Missing;
use crate::engine::parts::work::{Into, Seen, Wanted, Written, print};
use crate::engine::parts::{Choice, Scope};
use serde::{Deserialize, Serialize};

/// What is asked for of the copy beside production.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Part {
    /// Tables, or a schema with everything in it.
    Of(Wanted),
    /// A whole database.
    Database { database: String },
}

impl Part {
    /// One table of a part by the name that a look gave it; `None` where it is none of it.
    #[must_use]
    pub fn alone(part: &Self, table: &str) -> Option<Self> {
        let Self::Of(wanted) = part else { return None };
        let (schema, name) = match &wanted.scope {
            Scope::Tables(names) => {
                let found = names.iter().find(|name| name.to_string() == table)?;
                (found.schema.clone(), found.table.clone())
            }
            Scope::Schema(schema) => {
                (schema.clone(), table.strip_prefix(schema)?.strip_prefix('.')?.to_owned())
            }
            Scope::All => {
                let (schema, name) = table.split_once('.')?;
                (schema.to_owned(), name.to_owned())
            }
        };
        let scope = Scope::Tables(vec![Name::new(schema, name)]);
        Some(Self::Of(Wanted { database: wanted.database.clone(), scope }))
    }

    /// In a few words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Database { database } => format!("the database {database}"),
            Self::Of(wanted) => {
                let what = match &wanted.scope {
                    Scope::Tables(names) => {
                        names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
                    }
                    Scope::Schema(schema) => format!("the schema {schema}"),
                    Scope::All => String::from("all tables"),
                };
                format!("{what} of the database {}", wanted.database)
            }
        }
    }
}

/// What a look found; writes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartsLook {
    pub part: Part,
    /// Counts and digests by table, without a row's content.
    #[serde(default)]
    pub differences: Vec<Difference>,
    /// Tables that production lacks.
    #[serde(default)]
    pub absent: Vec<String>,
    #[serde(default)]
    pub schema_absent: bool,
    #[serde(default)]
    pub missing_roles: Vec<String>,
    /// Of a salvage: the partitions of these tables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub partitions: Vec<String>,
    /// Of a whole database.
    #[serde(default)]
    pub whole: Option<Found>,
}

impl PartsLook {
    /// Of tables that were compared; `partitions` are those of a salvage.
    #[must_use]
    pub fn of(part: Part, seen: Seen, partitions: Vec<String>) -> Self {
        Self {
            part,
            absent: seen.absent.iter().map(|table| table.name.to_string()).collect(),
            schema_absent: seen.schema_absent,
            differences: seen.differences,
            missing_roles: seen.missing_roles,
            partitions,
            whole: None,
        }
    }

    /// Stands for exactly what was seen of what `carry` takes.
    #[must_use]
    pub fn print(&self, carry: &Carry) -> String {
        let choice = match carry {
            Carry::Of { into: Into::Place(choice) } => *choice,
            _ => Choice::default(),
        };
        print(&self.differences, &self.absent, choice)
    }

    /// Whether something of it has to be made that may need roles.
    #[must_use]
    pub fn makes(&self, carry: &Carry) -> bool {
        match carry {
            Carry::Of { into: Into::Place(_) } => !self.absent.is_empty() || self.schema_absent,
            _ => true,
        }
    }

    /// Rows that are missing in production, changed there, and newer there.
    #[must_use]
    pub fn counts(&self) -> (u64, u64, u64) {
        self.differences.iter().fold((0, 0, 0), |sum, one| {
            (sum.0 + one.missing, sum.1 + one.changed, sum.2 + one.newer)
        })
    }
}

/// Where what was seen goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "carry", rename_all = "snake_case")]
pub enum Carry {
    Of {
        into: Into,
    },
    Database {
        /// Its name in production.
        named: String,
        /// The one that has the name now is renamed to this.
        #[serde(default)]
        set_aside: Option<String>,
    },
}

/// What was agreed to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartsChoice {
    pub carry: Carry,
    pub missing_roles: Missing,
    /// Stands for exactly what was seen; see [`PartsLook::print`].
    pub seen: String,
}

/// What was written, once it is committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "done", rename_all = "snake_case")]
pub enum PartsDone {
    Of(Written),
    Database(Brought),
}

impl PartsDone {
    /// In one line.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Of(written) => match &written.schema {
                Some(schema) => format!("{} into the schema {schema}", written.counts()),
                None => written.counts(),
            },
            Self::Database(brought) => format!(
                "the database {} with {} rows in {} tables and {} large objects",
                brought.database, brought.rows, brought.tables, brought.large_objects
            ),
        }
    }

    /// What the operator should know.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        match self {
            Self::Of(written) => &written.notes,
            Self::Database(brought) => &brought.notes,
        }
    }
}

/// How far the bringing back of parts is.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PartsState {
    pub look: Option<PartsLook>,
    pub choice: Option<PartsChoice>,
    pub done: Option<PartsDone>,
}
