//! Debts: WAL files that one repository of a cluster lacks and others hold. Owns
//! `debts/<repository>/…` in the repositories that hold the file; a debt is durable before
//! PostgreSQL may drop the file, and goes only once its repository has proved that it holds it.
//!
//! A debt is forged by nobody's gain: it makes nothing but a copy of a file that its own tag
//! vouches for. So it carries no tag.

mod pay;

pub(super) use pay::{Asked, pay_among};
pub use pay::{Limits, Paid, pay};

use super::names::WalFile;
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::{Explain, Explanation};
use crate::engine::repository::store::{Store, StoreError, StoreFault};
use crate::engine::repository::{Repository, RepositoryError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The folder of all debts.
pub const FOLDER: &str = "debts/";
const FORMAT: u32 = 1;
const SUFFIX: &str = ".json";
/// Beside a debt that its store does not let go: it is paid all the same.
const PAID: &str = ".paid";
/// [`owed`] counts no further.
pub const MOST_COUNTED: usize = 10_000;

/// A file that a repository lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Debt {
    pub format: u32,
    /// `000000010000000000000003`, `00000002.history`, …
    pub file: String,
    /// The repository that lacks it, by its name in the configuration.
    pub repository: String,
    pub recorded: Timestamp,
    /// Why it did not take the file then.
    pub why: String,
}

impl Debt {
    #[must_use]
    pub fn new(repository: &str, file: &str, why: &str) -> Self {
        Self {
            format: FORMAT,
            file: file.to_owned(),
            repository: repository.to_owned(),
            recorded: Timestamp::now(),
            why: why.to_owned(),
        }
    }
}

/// `debts/<repository>/<first 16 digits>/<file>`, without an ending; histories one folder higher.
fn stem(repository: &str, file: &str) -> String {
    match WalFile::parse(file) {
        Some(WalFile::History { .. }) | None => format!("{FOLDER}{repository}/{file}"),
        Some(_) => {
            format!("{FOLDER}{repository}/{}/{file}", file.get(..16).unwrap_or_default())
        }
    }
}

/// Writes a debt into a repository that holds the file. Durable on return; one that is there
/// already says the same.
///
/// # Errors
/// Where it could not be written.
pub fn record(store: &dyn Store, debt: &Debt) -> Result<(), StoreError> {
    let key = format!("{}{SUFFIX}", stem(&debt.repository, &debt.file));
    let text = serde_json::to_vec_pretty(debt)
        .map_err(|e| StoreError::new(StoreFault::Unavailable, e.to_string()))?;
    match store.put(&key, &text) {
        Err(e) if e.fault == StoreFault::Exists => store.settle(&key),
        put => put,
    }
}

/// Files that `repository` lacks by what `store` holds: histories, then the rest by name, at most
/// `limit`. Reads only the folders that it must.
///
/// # Errors
/// Where they could not be listed.
pub fn list(store: &dyn Store, repository: &str, limit: usize) -> Result<Vec<String>, StoreError> {
    let top = format!("{FOLDER}{repository}/");
    let mut files = open_in(store, &top)?;
    for folder in store.folders(&top)? {
        if files.len() >= limit {
            break;
        }
        files.extend(open_in(store, &format!("{top}{folder}/"))?);
    }
    files.truncate(limit);
    Ok(files)
}

/// The debts right in one folder that are not paid.
fn open_in(store: &dyn Store, folder: &str) -> Result<Vec<String>, StoreError> {
    let objects = store.list(folder, "")?;
    let names: BTreeSet<&str> =
        objects.iter().filter_map(|object| object.key.strip_prefix(folder)).collect();
    let files = names.iter().filter_map(|name| name.strip_suffix(SUFFIX));
    let unpaid = files.filter(|file| {
        WalFile::parse(file).is_some() && !names.contains(format!("{file}{PAID}").as_str())
    });
    Ok(unpaid.map(str::to_owned).collect())
}

/// Takes a debt off `store`, or marks it as paid where the store lets nothing go.
fn strike(store: &dyn Store, repository: &str, file: &str) -> Result<(), StoreError> {
    let stem = stem(repository, file);
    let key = format!("{stem}{SUFFIX}");
    match store.remove(&key) {
        Err(e) if e.fault == StoreFault::NotFound => Ok(()),
        Err(e) if e.fault == StoreFault::Denied => match store.put(&format!("{stem}{PAID}"), b"") {
            Err(e) if e.fault == StoreFault::Exists => Ok(()),
            put => put,
        },
        removed => removed,
    }
}

/// What one repository lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Owed {
    pub repository: String,
    pub files: usize,
    /// There are more: counting stopped at [`MOST_COUNTED`].
    pub more: bool,
    /// The first file's name.
    pub first: String,
    /// When the first was written down, and why.
    pub since: Option<Timestamp>,
    pub why: Option<String>,
}

/// All that the repositories of a cluster lack.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Ledger {
    pub owed: Vec<Owed>,
    /// Repositories that could not be asked, with the reason: what they would say is not known.
    pub unasked: Vec<(String, Explanation)>,
}

/// What the repositories of `cluster` lack. Reads names, and one small object a debtor.
#[must_use]
pub fn owed(config: &Config, cluster: &Cluster) -> Ledger {
    let opened: Vec<_> = cluster
        .repositories
        .iter()
        .map(|name| (name, open(config, cluster, name).map_err(|e| e.explanation())))
        .collect();
    owed_among(opened.iter().map(|(name, one)| (name.as_str(), one.as_ref())))
}

/// As [`owed`], of repositories that are open, or the reason why they are not.
#[must_use]
pub fn owed_among<'a>(
    opened: impl Iterator<Item = (&'a str, Result<&'a Repository, &'a Explanation>)>,
) -> Ledger {
    let mut ledger = Ledger::default();
    let mut files: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut holders = Vec::new();
    let mut listed = |holder: &Repository| -> Result<(), StoreError> {
        for debtor in holder.store.folders(FOLDER)? {
            let found = list(&*holder.store, &debtor, MOST_COUNTED + 1)?;
            files.entry(debtor).or_default().extend(found);
        }
        Ok(())
    };
    for (name, one) in opened {
        let asked = one.map_err(Clone::clone).and_then(|holder| {
            listed(holder).map_err(|e| e.explanation())?;
            Ok(holder)
        });
        match asked {
            Ok(holder) => holders.push(holder),
            Err(why) => ledger.unasked.push((name.to_owned(), why)),
        }
    }
    for (repository, files) in files {
        let Some(first) = files.first().cloned() else { continue };
        let key = format!("{}{SUFFIX}", stem(&repository, &first));
        let read = |holder: &Repository| -> Option<Debt> {
            serde_json::from_slice(&holder.store.read(&key).ok()?).ok()
        };
        let debt = holders.iter().copied().find_map(read);
        ledger.owed.push(Owed {
            files: files.len().min(MOST_COUNTED),
            more: files.len() > MOST_COUNTED,
            since: debt.as_ref().map(|debt| debt.recorded),
            why: debt.map(|debt| debt.why),
            repository,
            first,
        });
    }
    ledger
}

fn open(config: &Config, cluster: &Cluster, name: &str) -> Result<Repository, RepositoryError> {
    let known = config.repository(name).ok_or_else(|| RepositoryError::Unfit {
        place: name.to_owned(),
        why: "the configuration has no repository of that name".to_owned(),
    })?;
    Repository::open(known, &cluster.name)
}

impl Owed {
    /// In one sentence, for status.
    #[must_use]
    pub fn told(&self) -> String {
        let more = if self.more { "more than " } else { "" };
        let files = if self.files == 1 { "WAL file" } else { "WAL files" };
        let since = self.since.map_or_else(String::new, |at| format!(" since {at:.0} (UTC)"));
        let why = self.why.as_deref().map_or_else(String::new, |why| format!(": {why}"));
        format!(
            "The repository {} lacks {more}{} {files}{since}, the first {}{why}",
            self.repository, self.files, self.first
        )
    }
}
