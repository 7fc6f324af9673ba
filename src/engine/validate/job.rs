//! One question to one table or key: its statement and how its answer is judged.

use super::Rows;
use super::check::{Begun, begin};
use crate::engine::config::Connection;
use crate::engine::incident::facts::Check;
use crate::engine::postgres::connect::{self, ConnectOptions, Session};
use jiff::Timestamp;
use tokio_postgres::Row;

/// A question that stands in the queue.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Place in the list of checks.
    pub at: usize,
    pub id: String,
    pub title: String,
    pub kind: Kind,
    pub sql: String,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Count {
        expected: Option<(Rows, String)>,
    },
    /// `enforced`: whether the server has ever checked the rows that were there before the key.
    ForeignKey {
        enforced: bool,
    },
    Recent {
        until: Option<Timestamp>,
    },
    Plan,
    /// Known beforehand not to be askable, with the reason.
    NotAskable(String),
}

impl Job {
    /// Runs it on `session`, connecting where there is none yet.
    pub(super) async fn run(
        self,
        connection: &Connection,
        options: &ConnectOptions,
        session: &mut Option<Session>,
    ) -> (Check, usize) {
        let begun = begin(self.id, self.title);
        let at = self.at;
        if let Kind::NotAskable(reason) = self.kind {
            return (begun.not_run(reason), at);
        }
        if session.as_ref().is_none_or(|session| session.is_closed()) {
            match open(connection, options).await {
                Ok(new) => *session = Some(new),
                Err(reason) => return (begun.could_not_verify(reason), at),
            }
        }
        let Some(session) = session else {
            return (begun.could_not_verify("There is no session."), at);
        };
        let check = match self.kind {
            Kind::Plan => plan(begun, session, &self.sql).await,
            Kind::Recent { until } => match session.query_one(&self.sql, &[&until]).await {
                Ok(row) => recent(begun, &row, until.is_some()),
                Err(error) => begun.could_not_verify(connect::reason(&error)),
            },
            kind => match session.query_one(&self.sql, &[]).await {
                Ok(row) => count(begun, &kind, &row),
                Err(error) => begun.could_not_verify(connect::reason(&error)),
            },
        };
        (check, at)
    }
}

async fn open(connection: &Connection, options: &ConnectOptions) -> Result<Session, String> {
    let session = connect::connect(connection, options).await.map_err(|error| error.to_string())?;
    // Rows hidden by a policy would make a count wrong in silence: rather an error.
    let settings = "SET row_security = off; SET plan_cache_mode = force_generic_plan";
    session.batch_execute(settings).await.map_err(|error| connect::reason(&error))?;
    Ok(session)
}

fn count(begun: Begun, kind: &Kind, row: &Row) -> Check {
    let found: i64 = match row.try_get(0) {
        Ok(found) => found,
        Err(error) => return begun.could_not_verify(connect::reason(&error)),
    };
    let found = u64::try_from(found).unwrap_or_default();
    match kind {
        Kind::ForeignKey { enforced } => foreign_key(begun, found, *enforced),
        Kind::Count { expected } => rows(begun, found, expected.as_ref()),
        _ => begun.could_not_verify("This is not a count."),
    }
}

fn foreign_key(begun: Begun, orphans: u64, enforced: bool) -> Check {
    let begun = begun.expected("0 orphans").found(format!("{orphans} orphans"));
    match (orphans, enforced) {
        (0, _) => begun.verified("Every row has the row that it refers to."),
        (_, true) => begun.failed("Rows refer to rows that are not there."),
        (_, false) => begun.could_not_verify(
            "Rows refer to rows that are not there; the key is NOT VALID, so they may be older \
             than the incident.",
        ),
    }
}

fn rows(begun: Begun, found: u64, expected: Option<&(Rows, String)>) -> Check {
    let begun = begun.found(format!("{found} rows"));
    let Some((rows, source)) = expected else {
        return begun.not_run("It is not known how many rows there should be.");
    };
    let (text, good) = match rows {
        Rows::Exactly(count) => (format!("{count} rows"), found == *count),
        Rows::AtLeast(count) => (format!("at least {count} rows"), found >= *count),
        Rows::About(count) => (format!("about {count} rows"), found >= count.div_ceil(2)),
    };
    let begun = begun.expected(text);
    if good {
        begun.verified(format!("It fits what is known from {source}."))
    } else {
        begun.failed(format!("It does not fit what is known from {source}."))
    }
}

fn recent(begun: Begun, row: &Row, until_target: bool) -> Check {
    let (count, newest): (i64, Option<Timestamp>) = match (row.try_get(0), row.try_get(1)) {
        (Ok(count), Ok(newest)) => (count, newest),
        (Err(error), _) | (_, Err(error)) => {
            return begun.could_not_verify(connect::reason(&error));
        }
    };
    let when = if until_target { "the hour before the recovery point" } else { "the last hour" };
    let newest = newest.map_or_else(
        || String::from("The table has no row with a time."),
        |newest| format!("The newest row is of {newest:.0} (UTC)."),
    );
    let begun = begun.found(format!("{count} rows"));
    if count > 0 {
        begun.verified(format!("Rows of {when} are there. {newest}"))
    } else {
        begun.could_not_verify(format!(
            "No row of {when}. Whether that is right, only you can say. {newest}"
        ))
    }
}

/// `sql` is `PREPARE lifeboat_plan …`: planned without a value, as the application's lookups are.
async fn plan(begun: Begun, session: &Session, sql: &str) -> Check {
    let begun = begun.expected("an index is used");
    let explained = async {
        session.batch_execute(sql).await?;
        let rows = session.simple_query("EXPLAIN EXECUTE lifeboat_plan (NULL)").await;
        session.batch_execute("DEALLOCATE lifeboat_plan").await?;
        rows
    };
    let messages = match explained.await {
        Ok(messages) => messages,
        Err(error) => return begun.could_not_verify(connect::reason(&error)),
    };
    let lines: Vec<&str> = messages
        .iter()
        .filter_map(|message| match message {
            tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0),
            _ => None,
        })
        .collect();
    let text = lines.join("\n");
    let begun = begun.found(lines.first().copied().unwrap_or_default().trim());
    let uses_index = ["Index Scan", "Index Only Scan"].iter().any(|node| text.contains(node));
    if uses_index {
        begun.verified("A lookup by primary key uses an index.")
    } else {
        begun.failed("A lookup by primary key reads the whole table: look at its index.")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::facts::Verdict;

    fn verdict(found: u64, expected: Option<Rows>) -> Verdict {
        let expected = expected.map(|rows| (rows, String::from("the test")));
        rows(begin("c", "c"), found, expected.as_ref()).verdict
    }

    #[test]
    fn a_count_passes_only_where_it_is_known() {
        assert_eq!(verdict(5, None), Verdict::NotRun);
        assert_eq!(verdict(5, Some(Rows::Exactly(5))), Verdict::Verified);
        assert_eq!(verdict(4, Some(Rows::Exactly(5))), Verdict::Failed);
        assert_eq!(verdict(5, Some(Rows::AtLeast(5))), Verdict::Verified);
        assert_eq!(verdict(4, Some(Rows::AtLeast(5))), Verdict::Failed);
        assert_eq!(verdict(50, Some(Rows::About(99))), Verdict::Verified);
        assert_eq!(verdict(49, Some(Rows::About(99))), Verdict::Failed);
        assert_eq!(verdict(0, Some(Rows::About(1))), Verdict::Failed);
    }

    #[test]
    fn orphans_fail_a_key_that_was_checked_before() {
        let of = |orphans, enforced| foreign_key(begin("f", "f"), orphans, enforced).verdict;
        assert_eq!(of(0, true), Verdict::Verified);
        assert_eq!(of(1, true), Verdict::Failed);
        assert_eq!(of(1, false), Verdict::CouldNotVerify);
    }
}
