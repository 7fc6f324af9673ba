//! `verify`: one set, all, or a sample, in one repository or in all. Owns the words of the result.

use super::args::Verify;
use super::output::{self, Bar};
use super::{cluster, no_set, opened, repository_config, repository_names};
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explain, Explanation, Kind, count};
use crate::engine::incident::facts::Verdict;
use crate::engine::repository::reverify::{Request, Verified, Which, verify_set};
use humansize::{DECIMAL, format_size};
use jiff::Timestamp;
use serde::Serialize;
use std::process::ExitCode;

pub(super) fn verify(config: &Config, args: &Verify) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, args.common.cluster.as_deref())?;
    let named = args.common.repository.as_deref();
    let which = match (&args.backup_set_id, args.all, args.sample) {
        (Some(set), ..) => Which::One(set.clone()),
        (None, true, _) => Which::All,
        (None, false, Some(percent)) => Which::Sample(percent),
        (None, false, None) => Which::Newest,
    };
    let many = matches!(which, Which::All | Which::Sample(_));
    if !many {
        let name = repository_config(config, cluster, named)?.name.clone();
        let results = in_repository(config, cluster, &name, &which, args)?;
        let Some(one) = results.first() else {
            return Err(match &which {
                Which::One(set) => no_set(set),
                _ => Explanation::new(
                    Kind::NotFound,
                    "The repository holds no backup.",
                    "Nothing was touched.",
                    "Take one: lifeboat backup.",
                ),
            });
        };
        match args.common.json {
            true => output::json(one)?,
            false => show(one, true)?,
        }
        return Ok(code(one.verdict));
    }
    let (mut results, mut faults) = (Vec::new(), Vec::new());
    for name in repository_names(config, cluster, named)? {
        match in_repository(config, cluster, &name, &which, args) {
            Ok(verified) => results.extend(verified),
            Err(fault) => faults.push((name, fault)),
        }
    }
    let seen = results.iter().map(|one| one.verdict);
    let verdict = Verdict::of_all(seen.chain(faults.iter().map(|_| Verdict::CouldNotVerify)));
    if args.common.json {
        #[derive(Serialize)]
        struct All<'a> {
            verdict: Verdict,
            results: &'a [Verified],
            faults: Vec<&'a Explanation>,
        }
        let faults = faults.iter().map(|(_, fault)| fault).collect();
        output::json(&All { verdict, results: &results, faults })?;
    } else {
        for one in &results {
            show(one, false)?;
        }
        for (name, fault) in &faults {
            output::line(&format!("{:17} {name}: {fault}", Verdict::CouldNotVerify.word()))?;
        }
        output::line(&format!("{}: {}", count(results.len(), "set"), verdict.word()))?;
    }
    Ok(code(verdict))
}

fn in_repository(
    config: &Config,
    cluster: &Cluster,
    name: &str,
    which: &Which,
    args: &Verify,
) -> Result<Vec<Verified>, Explanation> {
    let repository = opened(config, cluster, Some(name))?;
    let request = Request {
        now: Timestamp::now(),
        // A sample is there to find what time did, so that it is read in any case.
        full: args.full || matches!(which, Which::Sample(_)),
        every: cluster.retention.verify_every(),
    };
    let mut results = Vec::new();
    for set in repository.choose(which).map_err(|e| e.explanation())? {
        let bar = Bar::new(args.common.json);
        let progress = |progress| bar.show(&progress);
        results.push(verify_set(&repository, &set, request, &progress, &|| false));
        bar.finish();
    }
    Ok(results)
}

fn show(one: &Verified, every_check: bool) -> Result<(), Explanation> {
    if every_check {
        for check in &one.checks {
            output::line(&format!("{:17} {}", check.verdict.word(), check.title))?;
            if check.verdict != Verdict::Verified && !check.detail.is_empty() {
                output::line(&format!("{:17} {}", "", check.detail))?;
            }
        }
    }
    let how = match one.unchanged_since {
        Some(at) => format!("nothing changed since it was read on {at:.0} (UTC)"),
        None => format!("{} read", format_size(one.bytes_read, DECIMAL)),
    };
    let line = format!("{} in {}, {how}", one.set, one.repository);
    output::line(&format!("{:17} {line}", one.verdict.word()))?;
    if let Some(reason) = one.reason.as_ref().filter(|_| !every_check) {
        output::line(&format!("{:17} {reason}", ""))?;
    }
    if let Some(why) = &one.not_recorded {
        output::line(&format!("! The result is not recorded: {why}"))?;
    }
    Ok(())
}

fn code(verdict: Verdict) -> ExitCode {
    match verdict {
        Verdict::Verified => ExitCode::SUCCESS,
        _ => ExitCode::from(Kind::Integrity.exit_code()),
    }
}
