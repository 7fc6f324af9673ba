//! One bringing back of tables or a schema, from the look to the commit, as the command line and
//! the runner both do it. Owns the order: look, write within one transaction, compare, commit. Never
//! asks anybody and never decides what is taken.

use super::apply::{self, Applied, Ends, Told};
use super::aside;
use super::carry::{self, Carried};
use super::catalog::{self, Table};
use super::commit::{self, Before};
use super::compare::{Difference, compare};
use super::dump::Of;
use super::error::PartsError;
use super::pairs::Pair;
use super::roles::{self, Missing};
use super::sandbox::Sandbox;
use super::session::{self, LOCK_WAIT};
use super::{Choice, Class, Scope};
use crate::engine::config::Connection;
use crate::engine::masking::Masking;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio_postgres::Client;

/// What of which database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its name, in the source and in production.
    pub database: String,
    pub scope: Scope,
}

/// What was looked at before anything is written.
#[derive(Debug, Clone)]
pub struct Seen {
    pub pairs: Vec<Pair>,
    /// Tables of the source that production lacks.
    pub absent: Vec<Table>,
    /// The schema that was asked for is not in production, with whatever was in it.
    pub schema_absent: bool,
    pub differences: Vec<Difference>,
    /// Roles that what is made anew needs and production lacks; of a side schema those of all.
    pub missing_roles: Vec<String>,
}

/// Where it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "into", rename_all = "snake_case")]
pub enum Into {
    /// A new schema beside; its name has the moment in it.
    Side,
    /// Production's own tables.
    Place(Choice),
}

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct How {
    pub into: Into,
    /// With owners and grants.
    pub owners: bool,
    pub missing_roles: Missing,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Written {
    /// The side schema.
    pub schema: Option<String>,
    pub carried: Vec<Carried>,
    pub applied: Vec<Applied>,
    /// What the operator should know.
    pub notes: Vec<String>,
}

impl Written {
    /// In one line.
    #[must_use]
    pub fn counts(&self) -> String {
        let rows: u64 = self.carried.iter().map(|one| one.rows).sum();
        let sum = |of: fn(&Applied) -> u64| self.applied.iter().map(of).sum::<u64>();
        format!(
            "{rows} rows in {} new tables, {} inserted, {} overwritten, {} removed",
            self.carried.len(),
            sum(|one| one.inserted),
            sum(|one| one.overwritten),
            sum(|one| one.removed)
        )
    }
}

impl Seen {
    /// A digest of the rows of the chosen classes and of what is absent.
    #[must_use]
    pub fn print(&self, choice: Choice) -> String {
        let absent: Vec<String> = self.absent.iter().map(|table| table.name.to_string()).collect();
        print(&self.differences, &absent, choice)
    }
}

/// As [`Seen::print`], of the values alone.
#[must_use]
pub fn print(differences: &[Difference], absent: &[String], choice: Choice) -> String {
    let mut digest = Sha256::new();
    let mut put = |text: &str| {
        digest.update((text.len() as u64).to_le_bytes());
        digest.update(text);
    };
    for found in differences {
        put(&found.table);
        for class in Class::ALL.into_iter().filter(|class| choice.takes(*class)) {
            put(class.word());
            put(found.print(class));
        }
    }
    absent.iter().for_each(|table| put(&format!("absent {table}")));
    data_encoding::HEXLOWER.encode(&digest.finalize())
}

/// Looks at both sides' definitions alone: what is in both, and what production lacks.
///
/// # Errors
/// Where the source has no such thing, or a server fails.
pub async fn lay_out(
    sandbox: &Sandbox,
    production: &Connection,
    wanted: &Wanted,
) -> Result<Seen, PartsError> {
    let source = sandbox.session(&wanted.database).await?;
    aside::move_back(&source).await?;
    let there = session::open(production, &wanted.database).await?;
    let mut schema_absent = false;
    if let Scope::Schema(schema) = &wanted.scope {
        if !catalog::has_schema(&source, schema).await? {
            return Err(PartsError::NotFound(format!("{schema} is no schema in the source.")));
        }
        schema_absent = !catalog::has_schema(&there, schema).await?;
    }
    let tables = catalog::tables(&source, &wanted.scope).await?;
    if let Scope::Tables(names) = &wanted.scope {
        for name in names {
            if !tables.iter().any(|table| table.name == *name) {
                return Err(PartsError::NotFound(format!("{name} is no table in the source.")));
            }
        }
    }
    let all: Vec<String> = tables.iter().map(|table| table.name.sql()).collect();
    let needed = roles::of_scope(&source, &wanted.scope, &all).await?;
    let missing_roles = roles::absent(&there, &needed).await?;
    let (pairs, absent) = apply::pair_up(&there, tables).await?;
    Ok(Seen { pairs, absent, schema_absent, differences: Vec::new(), missing_roles })
}

/// Hears of a table that is looked at: which of how many it is, and how many rows of both sides were
/// read.
pub type Looking<'a> = &'a (dyn Fn(&str, (usize, usize), u64) + Sync);

/// Looks at both sides; writes nothing. At most so many samples of each class are kept, as the masking
/// lets them be shown; `told` hears of every table before it is compared.
///
/// # Errors
/// As [`lay_out`].
pub async fn look(
    sandbox: &Sandbox,
    production: &Connection,
    wanted: &Wanted,
    (samples, masking): (usize, &Masking),
    told: Looking<'_>,
) -> Result<Seen, PartsError> {
    let mut seen = lay_out(sandbox, production, wanted).await?;
    let source = sandbox.session(&wanted.database).await?;
    let there = session::open(production, &wanted.database).await?;
    for (at, pair) in seen.pairs.iter().enumerate() {
        let (name, which) = (pair.name().to_string(), (at, seen.pairs.len()));
        told(&name, which, 0);
        let heard = |rows: u64| told(&name, which, rows);
        let found = compare(&source, &there, pair, samples, masking, None, &heard).await?;
        seen.differences.push(found);
    }
    Ok(seen)
}

/// Writes what was seen and chosen, compares it with the source, and commits; `before` hears of the
/// transaction just before that.
///
/// # Errors
/// Where anything stands in the way: it is rolled back. [`PartsError::NotKnown`] where the answer
/// to COMMIT was lost and nobody says what became of it.
pub async fn write(
    sandbox: &Sandbox,
    production: &Connection,
    wanted: &Wanted,
    seen: &Seen,
    how: How,
    told: Told<'_>,
    before: Before<'_>,
) -> Result<Written, PartsError> {
    let database = &wanted.database;
    let source = sandbox.session(database).await?;
    aside::move_back(&source).await?;
    let reader = session::open(production, database).await?;
    let writer = session::open(production, database).await?;
    let begin = format!("{LOCK_WAIT}; BEGIN");
    writer.batch_execute(&begin).await.map_err(PartsError::sql("Beginning"))?;
    session::same_cluster(&source, &[&reader, &writer]).await?;
    let mut written = Written::default();
    let makes = how.into == Into::Side || !seen.absent.is_empty() || seen.schema_absent;
    if makes && how.owners && !seen.missing_roles.is_empty() {
        match how.missing_roles {
            Missing::Ask => return Err(roles::asked_for(&seen.missing_roles)),
            Missing::Create => roles::create(&writer, &seen.missing_roles).await?,
            Missing::LeaveOut => roles::leave_out(&source, &seen.missing_roles).await?,
        }
        written.notes.extend(roles::told(&seen.missing_roles, how.missing_roles));
    }
    match how.into {
        Into::Side => {
            let name = Timestamp::now().strftime("recovered_%Y%m%d_%H%M%S").to_string();
            let before = catalog::tables(&source, &wanted.scope).await?;
            written.notes.extend(
                aside::move_aside(&source, &wanted.scope, &before, &name)
                    .await?
                    .into_iter()
                    .map(|key| format!("Left out, because it leads elsewhere: {key}")),
            );
            let moved = catalog::tables(&source, &Scope::Schema(name.clone())).await?;
            let ends = (&*source, &*writer);
            written.carried =
                carry::carry(sandbox, ends, &Of::Schema(&name), &moved, how.owners, database, told)
                    .await?;
            written.schema = Some(name);
        }
        Into::Place(choice) => {
            if choice.any() && !seen.pairs.is_empty() {
                let ends = Ends { source: &source, reader: &reader, writer: &writer };
                written.applied =
                    apply::apply(ends, &seen.pairs, choice, &seen.differences, told).await?;
            }
            // Afterwards: its keys may lead to rows that have just come back.
            if !seen.absent.is_empty() || seen.schema_absent {
                make_absent(sandbox, (&source, &writer), wanted, seen, how, told, &mut written)
                    .await?;
            }
        }
    }
    told("Committing", None);
    let answer = commit::commit(&writer, production, database, commit::ASK_LIMIT, before).await?;
    written.notes.extend(answer);
    Ok(written)
}

async fn make_absent(
    sandbox: &Sandbox,
    (source, writer): (&Client, &Client),
    wanted: &Wanted,
    seen: &Seen,
    how: How,
    told: Told<'_>,
    written: &mut Written,
) -> Result<(), PartsError> {
    let whole = match &wanted.scope {
        Scope::Schema(schema) if seen.schema_absent => Some(schema.as_str()),
        _ => None,
    };
    let mut names = Vec::new();
    for table in &seen.absent {
        names.extend(catalog::tree(source, table).await?.into_iter().map(|(name, _)| name));
    }
    let of = whole.map_or(Of::Tables(&names), Of::Schema);
    let ends = (source, writer);
    written.carried =
        carry::carry(sandbox, ends, &of, &seen.absent, how.owners, &wanted.database, told).await?;
    let referring = carry::referring(source, &seen.absent).await?;
    written.notes.extend(referring.into_iter().map(|key| {
        format!("Referred to the table before; make it again where you want it: {key}")
    }));
    let views = carry::views(source, &seen.absent, whole).await?;
    let lost = catalog::lacking(writer, &views).await?;
    written.notes.extend(
        lost.into_iter()
            .map(|view| format!("A view read it and is gone too; make it again: {view}")),
    );
    Ok(())
}
