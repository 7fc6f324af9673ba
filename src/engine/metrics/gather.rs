//! Gathers the figures: the page of `status` for each cluster, and the incidents of this machine.
//! Owns no rule; blocks for as long as the slowest repository takes to answer.

use super::{Figures, Incidents, MetricsError, text};
use crate::engine::audit::keeper;
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation};
use crate::engine::files;
use crate::engine::runbook::Runbook;
use crate::engine::status;
use jiff::Timestamp;
use std::path::Path;

/// # Errors
/// Where the incidents of this machine cannot be listed. A server or repository that does not
/// answer is a figure, no error.
pub fn gather(
    config: &Config,
    runbook: &Runbook,
    runtime: &tokio::runtime::Handle,
) -> Result<Figures, Explanation> {
    let at = Timestamp::now();
    let clusters = config
        .clusters
        .iter()
        .map(|cluster| status::gather(config, cluster, None, runbook, runtime))
        .collect();
    let incidents = Incidents::read(&config.state_directory(), runbook, at)
        .map_err(|error| error.explanation())?;
    let anchors = keeper::owed(config);
    Ok(Figures { at, clusters, incidents, anchors })
}

/// Writes the figures for node_exporter's textfile collector: whole or not at all, readable by
/// everybody, since that collector runs as another user.
///
/// # Errors
/// Where the file cannot be written; an earlier one stays.
pub fn write(figures: &Figures, path: &Path) -> Result<(), MetricsError> {
    let text = text(figures)?;
    files::replace(path, text.as_bytes(), 0o644)
        .map_err(|source| MetricsError::Write { path: path.to_owned(), source })
}
