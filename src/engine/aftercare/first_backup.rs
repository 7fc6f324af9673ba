//! The first base backup after the recovery, in every repository: until there is one, a next
//! recovery has to cross the promotion.

use super::Item;
use super::ward::{Found, Ward};
use crate::engine::backup;
use crate::engine::copies::{self, State, catch_up};
use crate::engine::explain::Explain;
use crate::engine::explain::Explanation;
use crate::engine::incident::care::Proposal;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::repository::Repository;
use crate::engine::validate::check::begin;
use crate::engine::wal::TimelineId;
use jiff::Timestamp;

pub(super) const ITEM: Item = Item {
    id: "first-backup",
    title: "A base backup of the new timeline is in every repository",
    looks: "Looks for a base backup of the new timeline in every repository.",
    agrees: Role::Operator,
    look,
    act: Some(act),
    act_proves: false,
};

const TAKE: &str = "backup";
const COPY: &str = "copies";

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let (timeline, since) = match (ward.site.timeline(), ward.serving()) {
        (Ok(timeline), Some(since)) => (timeline, since),
        (Err(why), _) => {
            let begun = begin("first-backup:server", "The server's timeline is known");
            return begun.could_not_verify(why.to_string()).into();
        }
        (_, None) => {
            let begun = begin("first-backup", "A base backup of after the recovery");
            return begun.not_run("The database does not serve yet.").into();
        }
    };
    let (mut has, mut lacks) = (Vec::new(), Vec::new());
    for (settings, opened) in copies::open_all(&ward.site.config, &ward.site.cluster) {
        let name = &settings.name;
        let begun = begin(
            format!("first-backup:{name}"),
            format!("{name}: a base backup of timeline {timeline}"),
        );
        let newest = opened.and_then(|one| newest(&one, timeline, since));
        found.check(match newest {
            Ok(Some(set)) => {
                has.push(name.clone());
                begun.found(set).verified("It was made after the recovery and is published.")
            }
            Ok(None) => {
                lacks.push(name.clone());
                begun.not_run("A next recovery would begin before this one and cross it.")
            }
            Err(why) => begun.could_not_verify(why.to_string()),
        });
    }
    if !lacks.is_empty() && has.is_empty() {
        found.propose(TAKE, format!("Take a base backup and copy it: {}", lacks.join(", ")));
    } else if !lacks.is_empty() {
        found.propose(COPY, format!("Copy what is missing to {}", lacks.join(", ")));
    }
    found
}

/// The newest set of that timeline that was begun since. Numbers of timelines can come back, so
/// the time counts too.
fn newest(
    repository: &Repository,
    timeline: TimelineId,
    since: Timestamp,
) -> Result<Option<String>, Explanation> {
    let names = repository.set_names().map_err(|e| e.explanation())?;
    for name in names.iter().rev() {
        let set = repository.read_set(name).map_err(|e| e.explanation())?;
        if set.started < since {
            break;
        }
        if set.timeline == timeline {
            return Ok(Some(name.clone()));
        }
    }
    Ok(None)
}

fn act(ward: &Ward<'_>, proposals: &[Proposal]) -> Vec<Check> {
    let (config, cluster) = (&ward.site.config, &ward.site.cluster);
    let report = |progress| ward.pass_on(progress);
    if proposals.iter().any(|one| one.key == TAKE) {
        let begun = begin("first-backup:did", "The base backup was taken");
        let options = backup::Options::default();
        return vec![match copies::back_up(config, cluster, &options, &report, &|| false) {
            Ok(spread) => {
                let owing = spread.outcomes.iter().filter_map(|one| match &one.state {
                    State::Owed { why } => Some(format!("{} has no copy: {why}", one.repository)),
                    _ => None,
                });
                let owing: Vec<String> = owing.collect();
                let begun = begun.found(spread.backup.descriptor.set.clone());
                match (owing.as_slice(), spread.backup.bad_pages) {
                    ([], 0) => begun.verified(format!("In {:.1} s.", spread.backup.seconds)),
                    ([], bad) => begun.failed(format!("{bad} pages have a wrong checksum.")),
                    _ => begun.failed(owing.join(" ")),
                }
            }
            Err(why) => begun.failed(why.to_string()),
        }];
    }
    let begun = begin("first-backup:did", "The missing copies were made");
    let caught = catch_up::catch_up(config, cluster, &report, &|| false);
    vec![if caught.whole() {
        begun.verified("Every repository has everything that it should have.")
    } else {
        begun.failed("Something is still missing: lifeboat catch-up says what and why.")
    }]
}
