//! Looking at the world for [`super::policy`]: which repositories have the newest set whole, on
//! which volumes they lie, and what their stores keep. Reads names and small objects alone, and
//! changes nothing.

use super::debts::{Debts, debts};
use super::policy::{self, Copy, Live, Presence, Rule, Shared};
use super::{Opened, open_all};
use crate::engine::config::{Cluster, Config, Place, RepositoryConfig, StoreConfig};
use crate::engine::incident::facts::Verdict;
use crate::engine::postgres::discovery;
use crate::engine::repository::{Repository, RepositoryError};
use jiff::Timestamp;
use serde::Serialize;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where 3-2-1-1-0 holds for one cluster.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page {
    pub cluster: String,
    /// The newest set of all repositories, which is judged; `None` where there is none.
    pub set: Option<String>,
    pub holds: bool,
    pub rules: Vec<Rule>,
    /// Copies that one failure takes together.
    pub shared: Vec<Shared>,
    pub repositories: Vec<Seen>,
    pub debts: Debts,
    /// What else the operator should know.
    pub notes: Vec<String>,
}

/// A repository as it was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Seen {
    pub repository: String,
    pub place: Place,
    /// `whole`, `missing`, `damaged` or `unknown`.
    pub newest_set: &'static str,
    /// Of all but `whole`.
    pub why: Option<String>,
    /// As the store itself says it.
    pub kept_until: Option<Timestamp>,
    pub verified: Option<Timestamp>,
}

/// Judges the cluster's newest set. Sets begun before `retained_since` are no debts.
#[must_use]
pub fn page(config: &Config, cluster: &Cluster, retained_since: Timestamp) -> Page {
    let opened = open_all(config, cluster);
    let debts = debts(cluster, &opened, retained_since);
    let mut notes = Vec::new();
    let names = opened.iter().filter_map(|(_, one)| one.as_ref().ok()?.set_names().ok());
    let set = names.filter_map(|mut names| names.pop()).max();
    let device = fs::metadata(&cluster.data_directory).map(|found| found.dev());
    if let Err(error) = &device {
        notes.push(format!(
            "{} cannot be looked at ({error}): whether a copy lies on its volume is not known.",
            cluster.data_directory.display()
        ));
    }
    let live = Live { host: discovery::host_name(), device: device.ok() };
    let copies: Vec<Copy> =
        opened.iter().map(|opened| copy(cluster, opened, set.as_deref())).collect();
    let rules = policy::judge(&live, &copies, Timestamp::now(), cluster.retention.verify_every());
    Page {
        cluster: cluster.name.clone(),
        holds: rules.iter().all(|rule| rule.standing.is_good()),
        set,
        rules,
        shared: policy::shared(&live, &copies),
        repositories: copies.into_iter().map(seen).collect(),
        debts,
        notes,
    }
}

fn copy(cluster: &Cluster, (settings, opened): &Opened<'_>, set: Option<&str>) -> Copy {
    let mut copy = Copy {
        repository: settings.name.clone(),
        place: settings.place(),
        medium_declared: settings.place.medium.is_some(),
        device: device(settings, cluster),
        presence: Presence::Missing(String::from("there is no backup at all")),
        hold: Ok(None),
        verified: None,
    };
    match (opened, set) {
        (Err(why), _) => copy.presence = Presence::Unknown(why.what.clone()),
        (Ok(_), None) => {}
        (Ok(repository), Some(set)) => {
            copy.presence = presence(repository, set);
            if copy.presence == Presence::Whole {
                copy.hold = repository
                    .store
                    .hold(&format!("{set}.json"))
                    .map_err(|error| error.to_string());
                copy.verified = match repository.newest_verification(set) {
                    Ok(newest) => newest.map(|one| (one.at, one.verdict)),
                    Err(_) => Some((Timestamp::now(), Verdict::CouldNotVerify)),
                };
            }
        }
    }
    copy
}

/// Descriptor and sizes; the content is what `verify` reads.
fn presence(repository: &Repository, set: &str) -> Presence {
    let descriptor = match repository.read_set(set) {
        Ok(descriptor) => descriptor,
        Err(RepositoryError::NoSuchSet(_)) => {
            return Presence::Missing(format!("{set} is not there"));
        }
        Err(error @ RepositoryError::Damaged { .. }) => {
            return Presence::Damaged(error.to_string());
        }
        Err(error) => return Presence::Unknown(error.to_string()),
    };
    // Its descriptor is there, and says that its objects are.
    match descriptor.fault_of_objects(|name| repository.size_of(name)) {
        Ok(None) => Presence::Whole,
        Ok(Some(fault)) => Presence::Damaged(fault),
        Err(error) => Presence::Unknown(error.to_string()),
    }
}

/// The volume of a repository in files.
fn device(settings: &RepositoryConfig, cluster: &Cluster) -> Option<u64> {
    let StoreConfig::File { path } = &settings.store else { return None };
    let path = path.to_str().map_or_else(
        || path.clone(),
        |text| PathBuf::from(text.replace("{cluster}", &cluster.name)),
    );
    fs::metadata(Path::new(&path)).ok().map(|found| found.dev())
}

fn seen(copy: Copy) -> Seen {
    let (newest_set, why) = match copy.presence {
        Presence::Whole => ("whole", None),
        Presence::Missing(why) => ("missing", Some(why)),
        Presence::Damaged(why) => ("damaged", Some(why)),
        Presence::Unknown(why) => ("unknown", Some(why)),
    };
    Seen {
        repository: copy.repository,
        place: copy.place,
        newest_set,
        why,
        kept_until: copy.hold.ok().flatten().map(|hold| hold.until),
        verified: copy.verified.map(|(at, _)| at),
    }
}
