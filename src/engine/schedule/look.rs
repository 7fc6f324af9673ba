//! One look at a cluster's server and repositories: what the alarms of the scheduler and the page
//! of `status` both go by. Opens each repository once, reads names and small objects alone, and
//! never calls empty what could not be asked.

use super::alarm::{Alarm, Health};
use crate::engine::config::{Cluster, Config, RepositoryConfig};
use crate::engine::copies;
use crate::engine::copies::debts::{self as set_debts, Debts};
use crate::engine::explain::{Explain, Explanation};
use crate::engine::incident::facts::BaseSummary;
use crate::engine::repository::{Repository, RepositoryError};
use crate::engine::wal::debts::{self as wal_debts, Ledger};
use crate::engine::wal::settings::ArchiverSettings;
use jiff::Timestamp;
use serde::Serialize;
use std::sync::Arc;

/// What was seen.
#[derive(Debug)]
pub struct Look<'a> {
    pub at: Timestamp,
    /// What the server says of its archiving; or why it does not.
    pub archiver: Result<ArchiverSettings, String>,
    /// In the configuration's order.
    pub repositories: Vec<Seen<'a>>,
    /// Sets that a repository lacks and another has.
    pub set_debts: Debts,
    /// WAL that a repository lacks and another holds.
    pub wal_debts: Ledger,
}

/// One repository.
#[derive(Debug)]
pub struct Seen<'a> {
    pub settings: &'a RepositoryConfig,
    pub asked: Result<Answer, Explanation>,
}

/// What a repository that answered has.
#[derive(Debug)]
pub struct Answer {
    pub repository: Arc<Repository>,
    /// The newest set that can be read and authenticated.
    pub newest_backup: Option<BaseSummary>,
    /// The last whole segment of the highest timeline.
    pub newest_wal: Option<NewestWal>,
    /// When the last file was written; later than the newest segment where an older one was
    /// brought afterwards.
    pub last_written: Option<Timestamp>,
    /// Mean stored bytes of a WAL file in the newest folder of the archive.
    pub wal_file_bytes: Option<u64>,
    /// Whether it has the file that the server archived last; true where the server names none.
    pub has_last_archived: bool,
}

/// The newest segment of an archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NewestWal {
    /// `000000010000000000000003`, …
    pub name: String,
    /// `None` where the store does not say.
    pub written: Option<Timestamp>,
}

/// Looks at every repository of the cluster. `archiver` is the server's word, or why there is
/// none. Blocks.
#[must_use]
pub fn look<'a>(
    config: &'a Config,
    cluster: &Cluster,
    archiver: Result<ArchiverSettings, String>,
) -> Look<'a> {
    let at = Timestamp::now();
    let opened = copies::open_all(config, cluster);
    let set_debts = set_debts::debts(cluster, &opened, set_debts::retained_since(cluster, at));
    // With one repository there is nobody that it could owe to.
    let wal_debts = if opened.len() > 1 {
        wal_debts::owed_among(
            opened.iter().map(|(settings, one)| (settings.name.as_str(), one.as_ref())),
        )
    } else {
        Ledger::default()
    };
    let archived = archiver.as_ref().ok().and_then(|found| found.last_archived.as_deref());
    let repositories = opened
        .into_iter()
        .map(|(settings, one)| {
            let asked = one.and_then(|repository| {
                answer(Arc::new(repository), archived).map_err(|error| error.explanation())
            });
            Seen { settings, asked }
        })
        .collect();
    Look { at, archiver, repositories, set_debts, wal_debts }
}

fn answer(repository: Arc<Repository>, archived: Option<&str>) -> Result<Answer, RepositoryError> {
    let (newest, _) = repository.find_base(Timestamp::MAX)?;
    let newest_backup = newest.map(|set| set.summary(&repository.config.name));
    let (mut newest_wal, mut last_written, mut wal_file_bytes) = (None, None, None);
    // The newest folder of each timeline; nothing lists a whole archive for this.
    let folders = repository.wal_folders()?;
    for (at, folder) in folders.iter().enumerate() {
        if folders.get(at + 1).is_none_or(|next| next.timeline != folder.timeline) {
            let files = repository.wal_files(folder)?;
            let bytes: u64 = files.iter().map(|file| file.size).sum();
            wal_file_bytes = u64::try_from(files.len()).ok().and_then(|n| bytes.checked_div(n));
            last_written = last_written.max(files.iter().filter_map(|file| file.written).max());
            // Folders go by timeline: the last one that has a segment counts.
            let newest = files.into_iter().rfind(|file| file.is_segment());
            newest_wal =
                newest.map(|f| NewestWal { name: f.name, written: f.written }).or(newest_wal);
        }
    }
    let has_last_archived = match archived {
        Some(name) => !repository.find_wal(name)?.is_empty(),
        None => true,
    };
    Ok(Answer {
        repository,
        newest_backup,
        newest_wal,
        last_written,
        wal_file_bytes,
        has_last_archived,
    })
}

/// When the newest base backup of a cluster began, by its repositories' own word. `None` where
/// none was found and not every repository could be asked. Blocks.
#[must_use]
pub fn newest_backup(config: &Config, cluster: &Cluster) -> Option<Option<Timestamp>> {
    let (mut newest, mut all) = (None, true);
    for (_, opened) in copies::open_all(config, cluster) {
        let found = opened.ok().and_then(|one| one.find_base(Timestamp::MAX).ok());
        match found {
            Some((set, _)) => newest = newest.max(set.map(|set| set.started)),
            None => all = false,
        }
    }
    (newest.is_some() || all).then_some(newest)
}

impl Look<'_> {
    /// What the alarms go by.
    #[must_use]
    pub fn health(&self) -> Health {
        let archived = self.archiver.as_ref().ok().and_then(|found| found.last_archived.clone());
        let answers = || self.repositories.iter().filter_map(|one| one.asked.as_ref().ok());
        let all = self.repositories.iter().all(|one| one.asked.is_ok());
        let found = answers().any(|one| one.has_last_archived);
        Health {
            at: self.at,
            newest_backup: self.newest(
                answers().filter_map(|one| one.newest_backup.as_ref()).map(|base| base.finished),
            ),
            newest_wal: self.newest(answers().filter_map(|one| one.last_written)),
            archiver: self.archiver.clone(),
            missing: archived.filter(|_| all && !found),
            debts: self.debts(),
            unasked: self
                .repositories
                .iter()
                .filter_map(|one| {
                    Some((one.settings.name.clone(), one.asked.as_ref().err()?.what.clone()))
                })
                .collect(),
        }
    }

    /// When the newest base backup began, as [`newest_backup`] says it.
    #[must_use]
    pub fn newest_backup_begun(&self) -> Option<Option<Timestamp>> {
        let answers = self.repositories.iter().filter_map(|one| one.asked.as_ref().ok());
        let begun = answers.filter_map(|one| one.newest_backup.as_ref()).map(|base| base.started);
        self.newest(begun).ok()
    }

    /// The newest of what was found; nothing found is known only where everybody was asked.
    fn newest(&self, found: impl Iterator<Item = Timestamp>) -> Result<Option<Timestamp>, String> {
        let trouble = self.repositories.iter().find_map(|one| one.asked.as_ref().err());
        match (found.max(), trouble) {
            (None, Some(why)) => Err(why.what.clone()),
            (newest, _) => Ok(newest),
        }
    }

    fn debts(&self) -> Vec<Alarm> {
        let sets = self.set_debts.sets.iter().map(|debt| Alarm {
            id: format!("debt-{}-{}", debt.repository, debt.set),
            text: format!("\"{}\" has no copy of {} yet", debt.repository, debt.set),
        });
        let wal = self
            .wal_debts
            .owed
            .iter()
            .map(|owed| Alarm { id: format!("debt-{}-wal", owed.repository), text: owed.told() });
        sets.chain(wal).collect()
    }
}
