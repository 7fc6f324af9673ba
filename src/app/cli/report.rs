//! `report`, `recovery-report`: an incident's report and the records made from it. Reads the journal;
//! what each says is [`crate::engine::report`]'s.

use super::args::{Report as Asked, ReportFormat};
use super::output;
use crate::engine::config::Config;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::files;
use crate::engine::incident::journal;
use crate::engine::incident::store::Store;
use crate::engine::report::{self, Report, Roles};
use crate::engine::runbook::Runbook;
use jiff::Timestamp;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// One form, to standard output or into a file.
pub(super) fn report(config: &Config, asked: &Asked) -> Result<ExitCode, Explanation> {
    let (_, report) = of(config, &asked.incident, asked.names)?;
    let content = match asked.format {
        ReportFormat::Md => report.markdown().into_bytes(),
        ReportFormat::Html => report.html().into_bytes(),
        ReportFormat::Json => json(&report)?.into_bytes(),
        ReportFormat::Pdf => report.pdf().map_err(|e| e.explanation())?,
        ReportFormat::Postmortem => report.postmortem().into_bytes(),
        ReportFormat::Compliance => report.compliance().into_bytes(),
        ReportFormat::ComplianceJson => words(report.compliance_json())?.into_bytes(),
        ReportFormat::DataLoss => report.data_loss().into_bytes(),
    };
    match &asked.output {
        Some(path) => {
            // What people have written into a draft is not written over.
            if asked.format == ReportFormat::Postmortem && path.exists() {
                return Err(Explanation::new(
                    Kind::Refused,
                    format!(
                        "{} is there already; a draft may hold what people wrote.",
                        path.display()
                    ),
                    "It is as it was.",
                    "Name another file.",
                ));
            }
            files::replace(path, &content, 0o640).map_err(|error| {
                Explanation::new(
                    Kind::Storage,
                    format!("{} could not be written: {error}.", path.display()),
                    "An earlier file of that name is as it was.",
                    "Name a place where you may write.",
                )
            })?;
            output::line(&path.display().to_string())?;
        }
        None if asked.format == ReportFormat::Pdf && std::io::stdout().is_terminal() => {
            return Err(Explanation::new(
                Kind::Refused,
                "A PDF is not for a terminal.",
                "Nothing was written.",
                format!("lifeboat report {} --format pdf --output FILE", asked.incident),
            ));
        }
        None => {
            // A reader that has seen enough is no failure.
            let mut out = std::io::stdout().lock();
            let _ = out.write_all(&content).and_then(|()| out.flush());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// All forms of the report, into a folder.
pub(super) fn all(
    config: &Config,
    id: &str,
    output_folder: Option<&Path>,
    names: bool,
    as_json: bool,
) -> Result<ExitCode, Explanation> {
    let (folder, report) = of(config, id, names)?;
    if as_json {
        output::line(&json(&report)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let place = output_folder.map_or_else(|| folder.join("report"), Path::to_owned);
    for path in report::write(&report, &place).map_err(|e| e.explanation())? {
        output::line(&path.display().to_string())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The incident's folder and its report as it stands now.
fn of(config: &Config, id: &str, names: bool) -> Result<(PathBuf, Report), Explanation> {
    let store = Store::new(&config.state_directory());
    let folder = store.folder(id).map_err(|e| e.explanation())?;
    let incident = store.load(id).map_err(|e| e.explanation())?;
    let verified = journal::verify(&folder.join(journal::FILE)).map_err(|e| e.explanation())?;
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let report =
        Report::from(&incident, &runbook, Timestamp::now()).with_journal_head(verified.last);
    let report = if names { report } else { report.by_role(&Roles::of(&incident.acted)) };
    Ok((folder, report))
}

fn json(report: &Report) -> Result<String, Explanation> {
    words(report.json())
}

fn words(json: Result<String, serde_json::Error>) -> Result<String, Explanation> {
    json.map_err(|error| {
        Explanation::new(Kind::Internal, format!("The report has no JSON: {error}."), "", "")
    })
}
