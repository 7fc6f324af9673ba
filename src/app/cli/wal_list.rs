//! `list-wal`: the WAL archive as one list, whatever folders its objects lie in.

use super::args::Common;
use super::output;
use super::{cluster, opened};
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::repository::wal_listing::ArchivedFile;
use std::process::ExitCode;

pub(super) fn list(
    config: &Config,
    common: &Common,
    prefix: &str,
) -> Result<ExitCode, Explanation> {
    let cluster = cluster(config, common.cluster.as_deref())?;
    let repository = opened(config, cluster, common.repository.as_deref())?;
    let (mut found, mut told, mut listed) = (false, Ok(()), Vec::new());
    let mut each = |file: ArchivedFile| {
        found = true;
        if common.json {
            listed.push(serde_json::json!({
                "name": file.name,
                "object": file.key,
                "bytes": file.size,
                "written": file.written,
            }));
        } else if told.is_ok() {
            told = output::line(&row(&file));
        }
    };
    repository.each_wal_file(prefix, &mut each).map_err(|error| error.explanation())?;
    told?;
    let name = &repository.config.name;
    if !found && !prefix.is_empty() {
        return Err(Explanation::new(
            Kind::NotFound,
            format!("The archive in \"{name}\" has no WAL file whose name begins with {prefix}."),
            "Nothing was touched.",
            "What is missing between two points, lifeboat check-wal-continuity says.",
        ));
    }
    if common.json {
        output::json(&serde_json::json!({ "repository": name, "files": listed }))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn row(file: &ArchivedFile) -> String {
    let written = file
        .written
        .map_or_else(|| String::from("not known"), |at| at.strftime("%F %T+00").to_string());
    format!("{written:22}  {:>10}  {}  {}", file.size, file.name, file.key)
}
