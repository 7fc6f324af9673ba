//! What was carried over, compared with the copy once more after its commit. Owns which of the four
//! words each part gets; writes nothing to production.

use super::super::error::PartsError;
use super::super::names::Name;
use super::super::pairs::ROWS_ALONE;
use super::super::sandbox::Sandbox;
use super::super::work::{Into, Wanted, Written};
use super::super::{Choice, Class, Scope, carry, catalog, database, session};
use super::Rig;
use crate::engine::config::Connection;
use crate::engine::explain::{Explanation, count};
use crate::engine::incident::facts::Check;
use crate::engine::incident::parts::{Carry, Part, PartsChoice, PartsDone, PartsLook};
use crate::engine::runner::protocol::Progress;
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use crate::engine::validate::check::{Begun, begin};
use tokio::runtime::Handle;
use tokio_postgres::Client;

/// What was carried over, against the copy once more.
#[derive(Debug)]
pub(super) struct Prove(pub(super) Rig);

impl Step for Prove {
    fn id(&self) -> &'static str {
        "parts-prove"
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(Standing::NotStarted)
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        let parts = context.incident().parts;
        let (Some(look), Some(choice)) = (parts.look, parts.choice) else {
            return Ok(Outcome::Done);
        };
        let checks = match &look.part {
            Part::Database { .. } => vec![self.database(&choice, parts.done.as_ref())],
            Part::Of(wanted) => {
                let report = |mut progress: Progress| {
                    progress.job = self.id().to_owned();
                    context.progress(progress);
                };
                let part = Part::Of(wanted.clone());
                let now = || self.0.look(context.plan(), &part, 0, &report);
                let once_more = OnceMore {
                    runtime: &self.0.runtime,
                    production: &self.0.site.cluster.connection,
                    look: &now,
                    copy: &|act| self.0.ready(context.plan(), act),
                };
                of_tables(wanted, &look, &choice, parts.done.as_ref(), &once_more)
            }
        };
        context.validated(&checks)?;
        Ok(Outcome::Done)
    }
}

impl Prove {
    fn database(&self, choice: &PartsChoice, done: Option<&PartsDone>) -> Check {
        let Carry::Database { named, .. } = &choice.carry else {
            return begin("database", "The database is there").not_run("None was asked for.");
        };
        let check = begin(format!("database:{named}"), format!("The database {named} is there"));
        let looked = self.0.runtime.block_on(async {
            let there = session::open_any(&self.0.site.cluster.connection).await?;
            database::exists(&there, named).await
        });
        match (looked, done) {
            (Ok(true), Some(PartsDone::Database(brought))) => check
                .found(format!("{} rows in {} tables", brought.rows, brought.tables))
                .verified(format!(
                    "Equal to the copy before it got its name: {}.",
                    brought.proven.join("; ")
                )),
            (Ok(true), _) => check.could_not_verify(
                "It is there under its name, which it got only once it was equal to the copy; what \
                 was compared is not in the journal, because Lifeboat ended right then.",
            ),
            (Ok(false), _) => check.failed("Production has no database of that name."),
            (Err(why), _) => check.could_not_verify(why.to_string()),
        }
    }
}

/// Where what was carried over is looked at once more, after its commit.
pub struct OnceMore<'a> {
    pub runtime: &'a Handle,
    pub production: &'a Connection,
    /// Compares the parts anew.
    pub look: &'a dyn Fn() -> Result<PartsLook, Explanation>,
    /// Asks the copy.
    pub copy: &'a dyn Fn(Ask<'_>) -> Result<Vec<Check>, Explanation>,
}

/// A question to the copy.
pub type Ask<'a> = &'a dyn Fn(&Sandbox) -> Result<Vec<Check>, PartsError>;

impl std::fmt::Debug for OnceMore<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OnceMore").finish_non_exhaustive()
    }
}

/// What was carried over of tables, against what is seen after the commit.
#[must_use]
pub fn of_tables(
    wanted: &Wanted,
    look: &PartsLook,
    choice: &PartsChoice,
    done: Option<&PartsDone>,
    once_more: &OnceMore<'_>,
) -> Vec<Check> {
    let schema = match (done, &choice.carry) {
        (Some(PartsDone::Of(written)), Carry::Of { into: Into::Side }) => written.schema.clone(),
        (_, Carry::Of { into: Into::Side }) => {
            return vec![begin("counts:schema", "The new schema holds the rows").could_not_verify(
                "It was compared with the copy before its commit; under which name is not in \
                 the journal, because Lifeboat ended right then. It begins with recovered_.",
            )];
        }
        _ => None,
    };
    if let (Some(schema), Some(PartsDone::Of(written))) = (schema, done) {
        return side(wanted, &schema, written, once_more);
    }
    let now = match (once_more.look)() {
        Ok(now) => now,
        Err(why) => {
            let check = begin("counts:parts", "The parts are in production");
            return vec![check.could_not_verify(why.to_string())];
        }
    };
    let taken = match &choice.carry {
        Carry::Of { into: Into::Place(taken) } => *taken,
        _ => Choice::default(),
    };
    let mut checks = Vec::new();
    for found in &now.differences {
        let made = look.absent.contains(&found.table);
        let wanted = |class: &Class| made || taken.takes(*class);
        let classes: Vec<Class> = Class::ALL.into_iter().filter(|c| wanted(c)).collect();
        let left: Vec<String> = classes
            .iter()
            .filter(|class| found.count(**class) > 0)
            .map(|class| format!("{} {}", found.count(*class), class.word()))
            .collect();
        let words: Vec<&str> = classes.iter().map(|class| class.word()).collect();
        let check = begin(
            format!("counts:{}", found.table),
            format!("{} has what was chosen of the copy", found.table),
        )
        .expected(format!("no rows {}", words.join(", ")));
        checks.push(match (classes.is_empty(), left.is_empty()) {
            (true, _) => check.not_run("No rows of it were chosen."),
            (_, true) => check
                .found(format!("{} rows", found.rows_in_production))
                .verified(format!("Compared with the copy after the commit. {ROWS_ALONE}")),
            _ => check.found(left.join(", ")).could_not_verify(
                "It was equal before the commit. These rows differ by now: production is in \
                 use, or a trigger of its own has changed them.",
            ),
        });
    }
    for table in &now.absent {
        let check = begin(format!("counts:{table}"), format!("{table} is in production"));
        checks.push(check.failed("Production lacks it after the commit: somebody removed it."));
    }
    if let (Scope::Schema(schema), true) = (&wanted.scope, checks.is_empty()) {
        let check = begin(format!("counts:{schema}"), format!("{schema} is in production"));
        checks.push(match now.schema_absent {
            true => check.failed("Production lacks it after the commit."),
            false => check.verified("It has no tables; its other objects were made."),
        });
    }
    if !checks.is_empty() {
        let compared = now.differences.iter().map(|found| found.table.clone());
        let names: Vec<String> = compared.chain(look.absent.iter().cloned()).collect();
        let keys = once_more.runtime.block_on(async {
            let there = session::open(once_more.production, &wanted.database).await?;
            keys_of(&there, &names).await
        });
        checks.push(keys_hold(keys));
    }
    checks
}

/// The tables of a side schema, read once more on both sides.
fn side(wanted: &Wanted, schema: &str, written: &Written, once_more: &OnceMore<'_>) -> Vec<Check> {
    let compared = (once_more.copy)(&|copy| {
        once_more.runtime.block_on(async {
            let source = copy.session(&wanted.database).await?;
            let there = session::open(once_more.production, &wanted.database).await?;
            let mut checks = Vec::new();
            for one in &written.carried {
                checks.push(again(&source, &there, schema, &one.table).await?);
            }
            let names: Vec<String> = written.carried.iter().map(|c| c.table.clone()).collect();
            checks.push(keys_hold(keys_of(&there, &names).await));
            Ok(checks)
        })
    });
    compared.unwrap_or_else(|why| {
        let check = begin("counts:schema", format!("{schema} holds the rows of the copy"));
        vec![check.could_not_verify(format!(
            "It was compared with the copy before its commit; after it, it could not be: {why}"
        ))]
    })
}

/// A table of a side schema on both sides: the copy holds it under the same name.
async fn again(
    source: &Client,
    there: &Client,
    schema: &str,
    table: &str,
) -> Result<Check, PartsError> {
    let check = begin(format!("counts:{table}"), format!("{table} is whole"));
    let plain = table.strip_prefix(schema).and_then(|rest| rest.strip_prefix('.'));
    let name = Name::new(schema, plain.unwrap_or(table));
    let Some(ours) = catalog::find(source, &name).await? else {
        return Ok(check.could_not_verify(
            "It was compared with the copy before its commit; the copy does not hold it under this \
             name any more.",
        ));
    };
    if catalog::find(there, &name).await?.is_none() {
        return Ok(check.failed("Production lacks it after the commit: somebody removed it."));
    }
    let (mut here, mut now) = (Sum::default(), Sum::default());
    for leaf in catalog::leaves(source, &ours).await? {
        here.add(carry::digest(source, &leaf).await?);
        if catalog::find(there, &leaf).await?.is_some() {
            now.add(carry::digest(there, &leaf).await?);
        }
    }
    Ok(whole(check, &here, &now))
}

/// Rows and digests of a table's leaves, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Sum {
    rows: i64,
    digests: Vec<String>,
}

impl Sum {
    fn add(&mut self, (rows, digest): (i64, String)) {
        self.rows += rows;
        self.digests.push(digest);
    }
}

fn whole(check: Begun, copy: &Sum, now: &Sum) -> Check {
    let check = check.expected(format!("{} rows", copy.rows)).found(format!("{} rows", now.rows));
    if copy == now {
        return check
            .verified("Every row was compared with the copy, by content, after the commit.");
    }
    check.failed(
        "Its rows are not those of the copy. They were before the commit: somebody has written to \
         it since.",
    )
}

/// A foreign key: its name, whether it is valid, and whether it is at work.
type Key = (String, bool, bool);

/// The foreign keys that lead from or to these tables (`schema.name`, to the letter) in production.
async fn keys_of(there: &Client, tables: &[String]) -> Result<Vec<Key>, PartsError> {
    let failed = || PartsError::sql("Reading foreign keys");
    let query = "SELECT pg_catalog.format('%s of %s.%s', k.conname, n.nspname, c.relname), \
                        k.convalidated, NOT EXISTS (SELECT FROM pg_catalog.pg_trigger t \
                          WHERE t.tgconstraint = k.oid AND t.tgenabled NOT IN ('O', 'A')) \
                   FROM pg_catalog.pg_constraint k \
                   JOIN pg_catalog.pg_class c ON c.oid = k.conrelid \
                   JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                   JOIN pg_catalog.pg_class f ON f.oid = k.confrelid \
                   JOIN pg_catalog.pg_namespace m ON m.oid = f.relnamespace \
                  WHERE k.contype = 'f' AND k.conparentid = 0 \
                    AND (n.nspname || '.' || c.relname = ANY($1) \
                      OR m.nspname || '.' || f.relname = ANY($1)) ORDER BY 1";
    let rows = there.query(query, &[&tables]).await.map_err(failed())?;
    rows.iter()
        .map(|row| {
            let valid = row.try_get(1).map_err(failed())?;
            Ok((row.try_get(0).map_err(failed())?, valid, row.try_get(2).map_err(failed())?))
        })
        .collect()
}

/// A key that is valid and at work lets no row in that it forbids.
fn keys_hold(keys: Result<Vec<Key>, PartsError>) -> Check {
    let check = begin("fk:parts", "Foreign keys of what was written");
    let keys = match keys {
        Ok(keys) => keys,
        Err(why) => return check.could_not_verify(why.to_string()),
    };
    let broken: Vec<&str> = keys
        .iter()
        .filter(|(_, valid, at_work)| !valid || !at_work)
        .map(|(name, ..)| name.as_str())
        .collect();
    let check = check.found(count(keys.len(), "foreign key"));
    match (keys.is_empty(), broken.is_empty()) {
        (true, _) => check.verified("None leads from these tables or to them in production."),
        (_, true) => check.verified(
            "Each is valid and at work in production: the server checked every row that was \
             written.",
        ),
        _ => check.could_not_verify(format!(
            "Not valid or switched off in production, so that rows can be without the one that they \
             refer to: {}.",
            broken.join(", ")
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::facts::Verdict;

    #[test]
    fn a_side_schema_is_whole_only_while_it_holds_the_copys_rows() {
        let sum = |rows, digests: &[&str]| {
            let digests = digests.iter().map(|digest| (*digest).to_owned()).collect();
            Sum { rows, digests }
        };
        let judged = |now: &Sum| whole(begin("counts:t", "t"), &sum(3, &["7", "8"]), now).verdict;
        assert_eq!(judged(&sum(3, &["7", "8"])), Verdict::Verified);
        assert_eq!(judged(&sum(3, &["7", "9"])), Verdict::Failed, "as many others");
        assert_eq!(judged(&sum(2, &["7"])), Verdict::Failed, "a partition is gone");
        assert_eq!(judged(&Sum::default()), Verdict::Failed);
    }

    #[test]
    fn a_foreign_key_that_is_switched_off_proves_nothing() {
        let judged = |keys: &[(bool, bool)]| {
            let named = |(valid, at_work): &(bool, bool)| (String::from("k"), *valid, *at_work);
            keys_hold(Ok(keys.iter().map(named).collect())).verdict
        };
        assert_eq!(judged(&[(true, true), (true, true)]), Verdict::Verified);
        assert_eq!(judged(&[(true, true), (true, false)]), Verdict::CouldNotVerify);
        assert_eq!(judged(&[(false, true)]), Verdict::CouldNotVerify);
        assert_eq!(judged(&[]), Verdict::Verified, "it was asked, and there is none");
        let unasked = keys_hold(Err(PartsError::NotFound(String::from("gone"))));
        assert_eq!(unasked.verdict, Verdict::CouldNotVerify);
    }
}
