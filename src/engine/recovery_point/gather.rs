//! What is known of a configured cluster before any WAL is read. Owns where it is looked for: the
//! control file, else the newest backup; the repositories, in their order.

use super::{
    Archive, ClosedArchive, ClusterFacts, Inputs, PlacesFacts, RepositoryArchive, Symptom, opened,
};
use crate::engine::config::{Cluster, Config};
use crate::engine::explain::Explain;
use crate::engine::postgres::{control_file, discovery};
use crate::engine::repository::Repository;
use crate::engine::restore::places::{PlacesError, live};
use std::path::Path;
use std::sync::Arc;

/// Everything that a landscape of `cluster` is built from, with nothing said of an incident yet.
/// `only` takes one repository alone.
#[must_use]
pub fn inputs(config: &Config, cluster: &Cluster, only: Option<&str>) -> Inputs {
    let mut facts = match control_file::read(&cluster.data_directory) {
        Ok(control) => ClusterFacts::from_control(&control, cluster.data_directory.clone()),
        Err(_) => from_newest_set(config, cluster),
    };
    facts.alternative_data_directory.clone_from(&cluster.alternative_data_directory);
    facts.places = places_of(cluster);
    let bin = cluster.control.bin_directory();
    let programs = discovery::binaries(bin, Some(&cluster.data_directory))
        // Without the data directory it is the programs that were named, or those of the version
        // that the newest backup says, as the restore takes them.
        .or_else(|e| match (bin, facts.binaries_major) {
            (None, None) => Err(e),
            (Some(_), _) => discovery::binaries(bin, None),
            (None, major) => discovery::binaries_of(None, None, major),
        })
        .ok();
    facts.binaries_major = programs.as_ref().map(|programs| programs.major);
    facts.program_blocks = programs.as_ref().and_then(opened::block_sizes);
    let chosen = |name: &&String| only.is_none_or(|only| only == name.as_str());
    let archives = cluster
        .repositories
        .iter()
        .filter(chosen)
        .filter_map(|name| config.repository(name))
        .map(|settings| match Repository::open(settings, &cluster.name) {
            Ok(repository) => {
                Arc::new(RepositoryArchive::new(Arc::new(repository))) as Arc<dyn Archive>
            }
            // Left out, it would look as if it held nothing.
            Err(error) => Arc::new(ClosedArchive::new(&settings.name, error.explanation())),
        })
        .collect();
    let tail = cluster.data_directory.join("pg_wal");
    Inputs {
        archives,
        cluster: facts,
        rescue: tail.is_dir().then_some(tail),
        detected: None,
        last_known_good: None,
        symptom: Symptom::default(),
        live: None,
        state_directory: config.state_directory(),
        most_commits: None,
    }
}

/// As the recovery sees it while the damaged directory is set `aside`: what was not archived is
/// where it was rescued to, and what the cluster was stands in its own control file. In its place
/// there is a restored directory, whose WAL proves nothing.
pub fn aside(inputs: &mut Inputs, aside: &Path, rescue: &Path) {
    inputs.rescue = rescue.is_dir().then(|| rescue.to_owned());
    if let Ok(control) = control_file::read(aside) {
        let known = inputs.cluster.clone();
        let read = ClusterFacts::from_control(&control, known.data_directory.clone());
        inputs.cluster = ClusterFacts {
            segment_size: read.segment_size,
            system_identifier: read.system_identifier,
            timeline: read.timeline,
            settings: read.settings,
            wal_block_size: read.wal_block_size,
            ..known
        };
    }
}

fn places_of(cluster: &Cluster) -> PlacesFacts {
    let looked = live::look(&cluster.data_directory)
        .and_then(|live| live::require_unshared(&live).map(|()| live));
    let (live, refused) = match looked {
        Ok(live) => (Some(live), None),
        // A directory that is lost, or its file of identity, leaves nothing to keep.
        Err(PlacesError::Io { .. } | PlacesError::Control(_)) => (None, None),
        Err(error) => (None, Some(error.explanation())),
    };
    PlacesFacts { mapping: cluster.tablespace_mapping.clone(), under: None, live, refused }
}

/// Where even `pg_control` is lost, the newest backup says what the cluster was.
fn from_newest_set(config: &Config, cluster: &Cluster) -> ClusterFacts {
    let opened = cluster
        .repositories
        .iter()
        .filter_map(|name| config.repository(name))
        .find_map(|settings| Repository::open(settings, &cluster.name).ok());
    let newest = opened.and_then(|repository| {
        let names = repository.set_names().ok()?;
        repository.read_set(names.last()?).ok()
    });
    ClusterFacts {
        segment_size: newest.as_ref().map_or(0, |set| set.segment_size),
        system_identifier: newest.as_ref().map(|set| set.system_identifier),
        timeline: newest.as_ref().map(|set| set.timeline),
        settings: Vec::new(),
        current_lsn: None,
        binaries_major: newest.as_ref().map(|set| set.server_version_num / 10_000),
        program_blocks: None,
        wal_block_size: None,
        data_directory: cluster.data_directory.clone(),
        alternative_data_directory: None,
        has_begun: false,
        places: PlacesFacts::default(),
    }
}
