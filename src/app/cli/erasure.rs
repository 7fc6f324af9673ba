//! `erasure`: whether people on the erasure list are in a running cluster, and erasing them again.

use super::args::Erasure;
use super::output;
use super::{cluster, runtime};
use crate::engine::config::{Cluster, Config};
use crate::engine::erasure::check::list_of;
use crate::engine::erasure::list::List;
use crate::engine::erasure::replay::{self, Deed, Outcome};
use crate::engine::explain::{Explanation, Kind};
use std::process::ExitCode;

pub(super) fn erasure(config: &Config, verb: &Erasure) -> Result<ExitCode, Explanation> {
    match verb {
        Erasure::Check { cluster: name, json } => {
            let (cluster, list) = listed(config, name.as_deref())?;
            let found =
                runtime()?.block_on(replay::go_through(&cluster.connection, &list, Deed::Count));
            told(&found, *json, "found")?;
            let clean = found.iter().all(|one| one.failed.is_none() && one.rows() == 0);
            Ok(if clean { ExitCode::SUCCESS } else { ExitCode::from(super::status::PROBLEM) })
        }
        Erasure::Run { cluster: name, confirm, json } => {
            let (cluster, list) = listed(config, name.as_deref())?;
            if *confirm != cluster.name {
                return Err(Explanation::new(
                    Kind::Refused,
                    "--confirm does not name this cluster.",
                    "Nothing was erased.",
                    "See what would be erased with lifeboat erasure check; then give its name.",
                ));
            }
            let done =
                runtime()?.block_on(replay::go_through(&cluster.connection, &list, Deed::Erase));
            told(&done, *json, "erased")?;
            let whole = done.iter().all(|one| one.failed.is_none());
            Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(super::status::PROBLEM) })
        }
    }
}

fn listed<'a>(config: &'a Config, name: Option<&str>) -> Result<(&'a Cluster, List), Explanation> {
    let cluster = cluster(config, name)?;
    match list_of(cluster)? {
        Some((_, list)) => Ok((cluster, list)),
        None => Err(Explanation::new(
            Kind::Config,
            format!("The cluster \"{}\" has no erasure list.", cluster.name),
            "Nothing was touched.",
            "Name one in [clusters.erasure]; the example shows it.",
        )),
    }
}

fn told(outcomes: &[Outcome], json: bool, deed: &str) -> Result<(), Explanation> {
    if json {
        return output::json(&outcomes);
    }
    for one in outcomes {
        output::line(&match &one.failed {
            Some(why) => format!("{}: FAILED, nothing of it was erased: {why}", one.database),
            None => format!("{}: {deed} {}", one.database, one.told()),
        })?;
    }
    Ok(())
}
