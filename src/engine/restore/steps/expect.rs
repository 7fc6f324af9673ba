//! What the validation may expect of the recovered cluster: what the backup knew of its tables
//! and indexes. Owns where an expectation comes from; judges nothing.

use super::site::Site;
use crate::engine::config::Connection;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::Check;
use crate::engine::repository::manifest::Relation;
use crate::engine::repository::scan::relation_map_from;
use crate::engine::runner::plan::Plan;
use crate::engine::runner::work::Report;
use crate::engine::validate::{self, Expectations, Limits, Rows, Subject};

impl Site {
    /// Runs the validation against the open server.
    ///
    /// # Errors
    /// Where not even verdicts could be made.
    pub fn validate(
        &self,
        incident: &Incident,
        runtime: &tokio::runtime::Handle,
        report: Report<'_>,
    ) -> Result<Vec<Check>, Explanation> {
        self.validate_at(&self.cluster.connection, true, incident, runtime, report)
    }

    /// Runs the validation against the server behind `connection`; `open` where the application
    /// can reach it too.
    ///
    /// # Errors
    /// Where not even verdicts could be made.
    pub fn validate_at(
        &self,
        connection: &Connection,
        open: bool,
        incident: &Incident,
        runtime: &tokio::runtime::Handle,
        report: Report<'_>,
    ) -> Result<Vec<Check>, Explanation> {
        let subject = Subject { connection, cluster: &self.cluster, open };
        let mut expected = match &incident.plan {
            // Without the backup's word the counts are still shown, as NOT RUN.
            Some(plan) => self.expected(plan).unwrap_or_default(),
            None => Expectations::default(),
        };
        expected.recovered_to = incident.noted("reached_time").and_then(|at| at.parse().ok());
        Ok(runtime.block_on(validate::run(&subject, &expected, &Limits::default(), report)))
    }

    fn expected(&self, plan: &Plan) -> Result<Expectations, Explanation> {
        let copies = self.copies(plan)?;
        let map = relation_map_from(&copies.repositories(), &plan.base.set)
            .map_err(|e| e.explanation())?;
        let mut expected = Expectations::default();
        let source = format!("{} (the planner's estimate at the backup)", plan.base.set);
        for relation in map.iter().filter(|relation| is_users(relation)) {
            let name = format!("{}.{}", quoted(&relation.schema), quoted(&relation.name));
            match relation.kind.as_str() {
                "r" if relation.rows >= 1.0 => expected.counts.push((
                    relation.database_name.clone(),
                    name,
                    Rows::About(relation.rows as u64),
                    source.clone(),
                )),
                "i" => expected.indexes.push((relation.database_name.clone(), name)),
                _ => {}
            }
        }
        expected.counts.sort_by(|a, b| (&a.0, &a.1).cmp(&(&b.0, &b.1)));
        expected.indexes.sort();
        Ok(expected)
    }
}

fn is_users(relation: &Relation) -> bool {
    let system = ["pg_catalog", "information_schema", "pg_toast"];
    relation.database != 0
        && !system.contains(&relation.schema.as_str())
        && !relation.schema.starts_with("pg_temp")
}

/// A name as the server writes it: plain where it can be, else in double quotes.
fn quoted(name: &str) -> String {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    if begins && name.chars().all(plain) {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn names_are_quoted_as_the_server_does() {
        assert_eq!(quoted("orders_2"), "orders_2");
        assert_eq!(quoted("Orders"), "\"Orders\"");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
        assert_eq!(quoted("2x"), "\"2x\"");
    }
}
