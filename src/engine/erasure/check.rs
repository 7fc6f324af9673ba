//! Whether erased rows are back, as a check of the validation. Counts; changes nothing.

use super::list::List;
use super::replay::{self, Deed, Outcome};
use crate::engine::config::erasure::Erasure;
use crate::engine::config::{Cluster, Connection};
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::Check;
use crate::engine::postgres::connect::{self, ConnectOptions};
use crate::engine::validate::check::begin;

/// Reads a cluster's list; `None` where it has none.
///
/// # Errors
/// Where the list cannot be used.
pub fn list_of(cluster: &Cluster) -> Result<Option<(&Erasure, List)>, Explanation> {
    let Some(erasure) = &cluster.erasure else { return Ok(None) };
    let list = List::read(&erasure.list, &cluster.connection.database)
        .map_err(|error| error.explanation())?;
    Ok(Some((erasure, list)))
}

/// The checks, one a database; none where the cluster has no list.
pub async fn checks(connection: &Connection, cluster: &Cluster) -> Vec<Check> {
    let begun = || begin("erasure", "Nobody on the erasure list is back");
    let list = match list_of(cluster) {
        Ok(None) => return Vec::new(),
        Ok(Some((_, list))) => list,
        Err(error) => return vec![begun().could_not_verify(error.what)],
    };
    let replaying = match connect::connect(connection, &ConnectOptions::default()).await {
        Ok(session) => replay::replays(&session).await,
        Err(error) => Err(error.to_string()),
    };
    match replaying {
        Ok(false) => {}
        Ok(true) => {
            return vec![begun().not_run(
                "The server is still in recovery. What is on the list is erased before it is \
                 opened.",
            )];
        }
        Err(why) => return vec![begun().could_not_verify(why)],
    }
    let outcomes = replay::go_through(connection, &list, Deed::Count).await;
    outcomes.iter().map(check).collect()
}

/// Whether rows of one database are back.
#[must_use]
pub fn check(outcome: &Outcome) -> Check {
    let begun = begin(
        format!("erasure:{}", outcome.database),
        format!("{}: nobody on the erasure list is back", outcome.database),
    );
    if let Some(why) = &outcome.failed {
        return begun.could_not_verify(why.clone());
    }
    let begun = begun.expected("0 rows").found(format!("{} rows", outcome.rows()));
    if outcome.rows() == 0 {
        begun.verified(outcome.told())
    } else {
        begun
            .failed(format!("{}. Erase them: lifeboat erasure run --cluster NAME.", outcome.told()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::replay::Counted;
    use super::*;
    use crate::engine::incident::facts::Verdict;

    #[test]
    fn rows_that_are_back_are_a_failure_and_what_could_not_be_counted_is_no_pass() {
        let counted = |rows| Counted {
            table: String::from("public.orders"),
            column: String::from("id"),
            keys: 2,
            rows,
            absent: false,
        };
        let outcome = |rows, failed: Option<&str>| Outcome {
            database: String::from("shop"),
            tables: vec![counted(rows)],
            failed: failed.map(str::to_owned),
        };
        assert_eq!(check(&outcome(0, None)).verdict, Verdict::Verified);
        let back = check(&outcome(3, None));
        assert_eq!(back.verdict, Verdict::Failed);
        assert!(back.detail.starts_with("3 rows by 2 keys (public.orders 3)"), "{}", back.detail);
        assert_eq!(check(&outcome(0, Some("no"))).verdict, Verdict::CouldNotVerify);
    }
}
