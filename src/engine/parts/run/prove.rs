//! What was carried over, compared with the copy once more after its commit. Owns which of the four
//! words each part gets; writes nothing to production.

use super::super::work::{Into, Wanted};
use super::super::{Choice, Class, Scope, database, session};
use super::Rig;
use crate::engine::explain::Explanation;
use crate::engine::incident::facts::Check;
use crate::engine::incident::parts::{Carry, Part, PartsChoice, PartsDone, PartsLook};
use crate::engine::runner::protocol::Progress;
use crate::engine::runner::step::{Outcome, Standing, Step, StepContext};
use crate::engine::validate::check::begin;

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
                of_tables(wanted, &look, &choice, parts.done.as_ref(), &now)
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

/// What was carried over of tables, against what `now` sees after the commit.
pub fn of_tables(
    wanted: &Wanted,
    look: &PartsLook,
    choice: &PartsChoice,
    done: Option<&PartsDone>,
    now: &dyn Fn() -> Result<PartsLook, Explanation>,
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
        return written
            .carried
            .iter()
            .map(|one| {
                begin(format!("counts:{}", one.table), format!("{} is whole", one.table))
                    .found(format!("{} rows", one.rows))
                    .verified(format!(
                        "Every row was compared with the copy, by content, before {schema} was \
                         committed."
                    ))
            })
            .collect();
    }
    let now = match now() {
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
                .verified("Compared with the copy after the commit."),
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
        checks.push(
            begin("fk:parts", "Foreign keys of what was written")
                .verified("The server checked each of them before the commit."),
        );
    }
    checks
}
