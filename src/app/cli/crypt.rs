//! `encrypt` and `decrypt`: one file, with a repository's key or a passphrase file.

use super::args::Crypt;
use super::output;
use super::{cluster, loaded, opened};
use crate::engine::explain::{Explain, Explanation};
use crate::engine::repository::Repository;
use crate::engine::repository::file::{self, FileError, FileReport, KeyFrom};
use std::path::Path;
use std::process::ExitCode;

pub(super) fn decrypt(config: Option<&Path>, args: &Crypt) -> Result<ExitCode, Explanation> {
    with_key(config, args, file::decrypt)
}

pub(super) fn encrypt(config: Option<&Path>, args: &Crypt) -> Result<ExitCode, Explanation> {
    with_key(config, args, file::encrypt)
}

type Work = fn(&Path, &Path, KeyFrom<'_>, &dyn Fn(u64)) -> Result<FileReport, FileError>;

fn with_key(config: Option<&Path>, args: &Crypt, work: Work) -> Result<ExitCode, Explanation> {
    let repository: Repository;
    let key = match &args.passphrase_file {
        Some(file) => KeyFrom::Passphrase(file),
        None => {
            let config = loaded(config)?;
            let cluster = cluster(&config, args.which.cluster.as_deref())?;
            repository = opened(&config, cluster, args.which.repository.as_deref())?;
            KeyFrom::Repository(&repository)
        }
    };
    let report =
        work(&args.input, &args.output, key, &|_| {}).map_err(|error| error.explanation())?;
    output::line(&format!("{}: {} bytes", args.output.display(), report.bytes))?;
    if !report.authenticated {
        output::line(
            "Attention: this file carries no proof of origin; damage or tampering cannot be told.",
        )?;
    }
    Ok(ExitCode::SUCCESS)
}
