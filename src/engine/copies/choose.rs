//! Which copies of a set a restore reads, and in which order: those whose descriptor is authentic
//! and the same, the fastest by a small measured read first. Owns the measurement and the wait
//! for slow answers; a repository that is down never holds a restore up.

use crate::engine::config::{Cluster, Config, RepositoryConfig};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::facts::{BaseSummary, Source};
use crate::engine::repository::Repository;
use crate::engine::repository::descriptor::SetDescriptor;
use crate::engine::repository::open_set::ScanError;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// After the first copy answered, the others have so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Bytes of the measured read.
const SAMPLE: u64 = 1 << 20;

/// The copies of a set that can be read.
#[derive(Debug)]
pub struct Chosen {
    /// Fastest first; never empty.
    copies: Vec<Copy>,
    /// What was left out and why, for people.
    pub notes: Vec<String>,
}

#[derive(Debug)]
struct Copy {
    repository: Repository,
    descriptor: SetDescriptor,
    bytes_per_second: f64,
}

impl Chosen {
    /// Fastest first.
    #[must_use]
    pub fn repositories(&self) -> Vec<&Repository> {
        self.copies.iter().map(|copy| &copy.repository).collect()
    }

    /// The first: whose turn it is while nothing fails.
    #[must_use]
    pub fn source(&self, config: &Config, cluster: &Cluster) -> Option<Source> {
        let first = self.copies.first()?;
        let place = first.repository.config.place();
        let name = &first.repository.config.name;
        let nearest = cluster.repositories.iter().find(|name| config.repository(name).is_some());
        Some(Source {
            repository: name.clone(),
            region: place.region.or(place.site),
            far: place.off_site == Some(true) || nearest.is_some_and(|nearest| nearest != name),
            bytes_per_second: first.bytes_per_second as u64,
            stored: first.descriptor.stored_bytes,
        })
    }

    /// Bytes of a WAL segment of the cluster.
    #[must_use]
    pub fn segment_size(&self) -> u64 {
        self.copies.first().map_or(16 << 20, |copy| copy.descriptor.segment_size)
    }

    /// Names and measured bytes a second, in the order of reading, for people.
    #[must_use]
    pub fn order(&self) -> String {
        let told = self.copies.iter().map(|copy| {
            let speed = humansize::format_size(copy.bytes_per_second as u64, humansize::DECIMAL);
            format!("\"{}\" ({speed}/s)", copy.repository.config.name)
        });
        told.collect::<Vec<_>>().join(", then ")
    }
}

/// The copies of `set` in the repositories of the cluster, or in the one named by `only`. Where
/// `expected` is given, only copies of exactly that backup.
///
/// # Errors
/// Where none of them has it whole and authentic; the nearest one's reason.
pub fn choose(
    config: &Config,
    cluster: &Cluster,
    set: &str,
    only: Option<&str>,
    expected: Option<&BaseSummary>,
) -> Result<Chosen, Explanation> {
    let names = cluster.repositories.iter().filter(|name| only.is_none_or(|only| only == *name));
    let asked: Vec<&RepositoryConfig> = names.filter_map(|name| config.repository(name)).collect();
    let (sender, receiver) = channel();
    for (index, settings) in asked.iter().enumerate() {
        // Not scoped: one that hangs must not be waited for. It ends with its own time-outs.
        let (sender, settings) = (sender.clone(), (*settings).clone());
        let (cluster, set) = (cluster.name.clone(), set.to_owned());
        std::thread::spawn(move || {
            let _ = sender.send((index, measure(&settings, &cluster, &set)));
        });
    }
    drop(sender);
    let mut answers: Vec<Option<Result<Copy, Explanation>>> = asked.iter().map(|_| None).collect();
    let mut until: Option<Instant> = None;
    loop {
        let answer = match until {
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(until) => receiver.recv_timeout(until.saturating_duration_since(Instant::now())),
        };
        let Ok((index, answer)) = answer else { break };
        if answer.is_ok() {
            until.get_or_insert(Instant::now() + PATIENCE);
        }
        if let Some(slot) = answers.get_mut(index) {
            *slot = Some(answer);
        }
    }
    let named = asked.iter().map(|settings| settings.name.as_str());
    rank(set, named.zip(answers), expected)
}

fn measure(settings: &RepositoryConfig, cluster: &str, set: &str) -> Result<Copy, Explanation> {
    let repository = Repository::open(settings, cluster).map_err(|e| e.explanation())?;
    let descriptor = repository.read_set(set).map_err(|e| e.explanation())?;
    let begun = Instant::now();
    let mut read = 0;
    if let Some(object) = descriptor.objects.iter().max_by_key(|object| object.size) {
        let length = object.size.min(SAMPLE);
        let mut buffer = vec![0; usize::try_from(length).unwrap_or_default()];
        let at = (object.size - length) / 2;
        let failed = |e| ScanError::Store(e).explanation();
        repository.store.read_range(&object.name, at, &mut buffer).map_err(failed)?;
        read = length;
    }
    let seconds = begun.elapsed().as_secs_f64().max(1e-6);
    Ok(Copy { repository, descriptor, bytes_per_second: read as f64 / seconds })
}

/// Orders what answered. Speeds within a factor of two count as equal: then the nearer one, by
/// the configuration's order, is read.
fn rank<'n>(
    set: &str,
    answers: impl Iterator<Item = (&'n str, Option<Result<Copy, Explanation>>)>,
    expected: Option<&BaseSummary>,
) -> Result<Chosen, Explanation> {
    let mut chosen = Chosen { copies: Vec::new(), notes: Vec::new() };
    let mut failure = None;
    for (name, answer) in answers {
        let copy = match answer {
            Some(Ok(copy)) => copy,
            Some(Err(reason)) => {
                chosen.notes.push(format!("The copy in \"{name}\" is not used: {}", reason.what));
                failure.get_or_insert(reason);
                continue;
            }
            None => {
                let waited = PATIENCE.as_secs();
                chosen.notes.push(format!(
                    "The copy in \"{name}\" is not used: it did not answer within {waited} s of the \
                     fastest."
                ));
                continue;
            }
        };
        let is_meant =
            expected.is_none_or(|base| copy.descriptor.summary(&base.repository) == *base);
        let is_same = chosen.copies.first().is_none_or(|first| first.descriptor == copy.descriptor);
        if is_meant && is_same {
            chosen.copies.push(copy);
            continue;
        }
        let what = format!("\"{name}\" holds another backup named {set}");
        chosen.notes.push(format!("{what}; it is not used."));
        failure.get_or_insert_with(|| {
            Explanation::new(
                Kind::Integrity,
                format!("{what}."),
                "Nothing was restored.",
                "Find out who wrote it, and choose another backup.",
            )
        });
    }
    // Stable. From logarithms, which never compare badly: speeds are finite and positive.
    chosen.copies.sort_by_key(|copy| -(copy.bytes_per_second.max(1.0).log2().round() as i64));
    if chosen.copies.is_empty() {
        return Err(failure.unwrap_or_else(|| {
            Explanation::new(
                Kind::Config,
                format!("No configured repository of the cluster could hold {set}."),
                "Nothing was restored.",
                "Name the cluster's repositories in lifeboat.toml.",
            )
        }));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::repository::testing::{Place, set_at};
    use jiff::Timestamp;

    fn copy(name: &str, speed: f64, descriptor: &SetDescriptor) -> (Place, Copy) {
        let (place, repository) = Place::plain().repository_of(name);
        (place, Copy { repository, descriptor: descriptor.clone(), bytes_per_second: speed })
    }

    fn names(chosen: &Chosen) -> Vec<&str> {
        chosen.copies.iter().map(|copy| copy.repository.config.name.as_str()).collect()
    }

    #[test]
    fn the_fastest_first_and_the_nearest_of_equals() {
        let (_place, plain) = Place::plain().repository_of("x");
        let set = set_at(&plain, Timestamp::from_second(1_800_000_000).unwrap());
        let other = SetDescriptor { data_bytes: 1, ..set.clone() };
        let down = Explanation::new(Kind::Storage, "No answer.", "", "");
        let made = [
            copy("near", 4e8, &set),
            copy("same", 5e8, &set),
            copy("fast", 9e9, &set),
            copy("wrong", 9e9, &other),
        ];
        let (_places, copies): (Vec<Place>, Vec<Copy>) = made.into_iter().unzip();
        let labels = ["near", "same", "fast", "wrong"];
        let answers = labels.into_iter().zip(copies.into_iter().map(|c| Some(Ok(c))));
        let answers = answers.chain([("down", Some(Err(down.clone()))), ("slow", None)]);
        let chosen = rank(&set.set, answers, None).unwrap();
        assert_eq!(names(&chosen), ["fast", "near", "same"]);
        assert_eq!(chosen.notes.len(), 3, "{:?}", chosen.notes);
        assert!(
            chosen.order().starts_with("\"fast\" (9 GB/s), then \"near\""),
            "{}",
            chosen.order()
        );
        let nobody = rank(&set.set, [("down", Some(Err(down.clone())))].into_iter(), None);
        assert_eq!(nobody.unwrap_err(), down);
        // A plan made for one backup never takes another of that name.
        let (_place, copied) = copy("near", 1.0, &other);
        let meant = set.summary("near");
        let wrong = rank(&set.set, [("near", Some(Ok(copied)))].into_iter(), Some(&meant));
        assert_eq!(wrong.unwrap_err().kind, Kind::Integrity);
    }
}
