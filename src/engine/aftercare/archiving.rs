//! WAL of the new timeline arrives in every repository: a segment is ended and waited for, and
//! the timeline's history is looked for.

use super::Item;
use super::ward::{Found, Ward};
use crate::engine::copies;
use crate::engine::explain::Explain;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::init::archiving;
use crate::engine::repository::Repository;
use crate::engine::validate::check::{Begun, begin};
use crate::engine::wal::TimelineId;
use std::time::Duration;

pub(super) const ITEM: Item = Item {
    id: "archiving",
    title: "WAL of the new timeline arrives in every repository",
    looks: "Ends the WAL segment that is being written and waits for it in every repository.",
    agrees: Role::Operator,
    look,
    act: None,
    act_proves: false,
};

/// How long a segment may take to arrive.
const LIMIT: Duration = Duration::from_secs(60);

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let timeline = match ward.site.timeline() {
        Ok(timeline) => timeline,
        Err(why) => {
            let begun = begin("archiving:server", "The server's timeline is known");
            return begun.could_not_verify(why.to_string()).into();
        }
    };
    let opened = copies::open_all(&ward.site.config, &ward.site.cluster);
    let of = opened.len() as u64;
    for (done, (settings, opened)) in opened.into_iter().enumerate() {
        let name = &settings.name;
        ward.tell(&format!("waiting for a segment in {name}"), done as u64, Some(of));
        let segment = begin(
            format!("archiving:{name}"),
            format!("{name}: a segment of timeline {timeline} has arrived"),
        );
        let history = begin(
            format!("archiving:history:{name}"),
            format!("{name}: the history of timeline {timeline} is there"),
        );
        match opened {
            Ok(repository) => {
                found.check(arrives(segment, ward, &repository, timeline));
                found.check(has_history(history, &repository, timeline));
            }
            Err(why) => {
                found.check(segment.could_not_verify(why.to_string()));
                found.check(history.could_not_verify(why.to_string()));
            }
        }
    }
    found
}

fn arrives(begun: Begun, ward: &Ward<'_>, repository: &Repository, timeline: TimelineId) -> Check {
    let (connection, data) = (&ward.connection, ward.site.data());
    match archiving::prove(ward.runtime, connection, repository, data, true, LIMIT) {
        Ok(proof) => {
            let right = proof.segment.starts_with(&format!("{timeline:08X}"));
            let begun = begun.found(proof.segment);
            if right {
                begun.verified(format!(
                    "It was ended, and was there {:.1} s later.",
                    proof.milliseconds as f64 / 1000.0
                ))
            } else {
                begun.failed("The segment that arrived is of another timeline.")
            }
        }
        Err(error) => begun.failed(error.explanation().to_string()),
    }
}

fn has_history(begun: Begun, repository: &Repository, timeline: TimelineId) -> Check {
    let name = format!("{timeline:08X}.history");
    match repository.get_wal(&name) {
        Ok(Some(_)) => begun.found(name).verified("It opens and its content is whole."),
        Ok(None) => begun.failed(
            "Without it no recovery can follow the new timeline. The server archives it at the \
             promotion: look at its archive_command, then run this again.",
        ),
        Err(error) => begun.could_not_verify(error.to_string()),
    }
}
