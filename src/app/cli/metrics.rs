//! `metrics`: figures for monitoring, once or again and again. What they are is
//! [`crate::engine::metrics`]'s.

use super::args::Metrics;
use super::{output, runtime};
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::metrics::{gather, serve::Listener, text};
use crate::engine::runbook::Runbook;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

pub(super) fn metrics(config: &Config, args: &Metrics) -> Result<ExitCode, Explanation> {
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let runtime = runtime()?;
    let handle = runtime.handle().clone();
    let Some(every) = args.every.or(args.listen.map(|_| 60)) else {
        let figures = gather::gather(config, &runbook, &handle)?;
        match &args.textfile {
            Some(path) => gather::write(&figures, path).map_err(|e| e.explanation())?,
            None => output::line(text(&figures).map_err(|e| e.explanation())?.trim_end())?,
        }
        return Ok(ExitCode::SUCCESS);
    };
    let (tell, told) = watch::channel(None);
    if let Some(address) = args.listen {
        let listener = runtime.block_on(Listener::bind(address)).map_err(|e| e.explanation())?;
        output::line(&format!("Metrics are at http://{}/metrics.", listener.address))?;
        runtime.spawn(listener.serve(told));
    }
    let stop = Arc::new(crate::engine::schedule::run::Stop::default());
    super::schedule::listen(&runtime, &stop)?;
    while !stop.asked() {
        // One look that fails is told, and the next one is tried: monitoring sees by
        // lifeboat_collected_timestamp_seconds that the figures are old.
        match look(config, &runbook, &handle, args) {
            Ok(text) => drop(tell.send(Some(text))),
            Err(explanation) => drop(output::fail(&explanation)),
        }
        stop.wait(Duration::from_secs(every.max(1)));
    }
    Ok(ExitCode::SUCCESS)
}

fn look(
    config: &Config,
    runbook: &Runbook,
    runtime: &tokio::runtime::Handle,
    args: &Metrics,
) -> Result<String, Explanation> {
    let figures = gather::gather(config, runbook, runtime)?;
    if let Some(path) = &args.textfile {
        gather::write(&figures, path).map_err(|e| e.explanation())?;
    }
    text(&figures).map_err(|e| e.explanation())
}
