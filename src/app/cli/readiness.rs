//! `readiness`: shows what a recovery now would meet, a page a cluster, and keeps it for the home
//! screen. What is on it is [`crate::engine::readiness`]'s.

use super::status::PROBLEM;
use super::{args, output, runtime};
use crate::engine::config::{Cluster, Config};
use crate::engine::desk;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::Verdict;
use crate::engine::readiness::{Readiness, gather};
use crate::engine::runbook::Runbook;
use crate::screens::text;
use std::process::ExitCode;

pub(super) fn readiness(config: &Config, args: &args::Readiness) -> Result<ExitCode, Explanation> {
    let chosen: Vec<&Cluster> = match &args.cluster {
        Some(name) => vec![desk::named(config, name)?],
        None => config.clusters.iter().collect(),
    };
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let runtime = runtime()?;
    let mut pages = Vec::new();
    for cluster in chosen {
        let page = gather::readiness(config, cluster, &runbook, runtime.handle());
        // The page is told all the same; the home screen shows the one before.
        if let Err(error) = gather::keep(&config.state_directory(), &page) {
            output::warn(&format!("the page could not be kept for the home screen: {error}"));
        }
        pages.push(page);
    }
    if args.json {
        output::json(&pages)?;
    } else {
        pages.iter().try_for_each(show)?;
    }
    let bad = |page: &Readiness| page.reasons.iter().any(|one| one.verdict == Verdict::Failed);
    Ok(if pages.iter().any(bad) { ExitCode::from(PROBLEM) } else { ExitCode::SUCCESS })
}

fn show(page: &Readiness) -> Result<(), Explanation> {
    output::line(&format!("{}   ready: {} of 100", page.cluster, page.score))?;
    for one in &page.reasons {
        output::line(&format!("  {:<16} {:>2}  {}", one.verdict.word(), one.weight, one.title))?;
        // Measured figures and ages are the page's worth, where all is well too.
        for line in text::wrap(&one.text, 56) {
            output::line(&format!("                       {line}"))?;
        }
    }
    Ok(())
}
