//! The new timeline's number: it must lie above every history in every archive, or a later
//! recovery would follow the wrong line of history.

use super::Item;
use super::ward::{Found, Ward};
use crate::engine::copies;
use crate::engine::incident::facts::{Check, Role};
use crate::engine::repository::Repository;
use crate::engine::validate::check::{Begun, begin};
use crate::engine::wal::{TimelineId, WalFile};

pub(super) const ITEM: Item = Item {
    id: "timeline",
    title: "The new timeline is above all others",
    looks: "Compares the new timeline's number with every history file in every repository.",
    agrees: Role::Operator,
    look,
    act: None,
    act_proves: false,
};

fn look(ward: &Ward<'_>) -> Found {
    let mut found = Found::default();
    let new = match ward.site.timeline() {
        Ok(new) => new,
        Err(why) => {
            let begun = begin("timeline:server", "The server's timeline is known");
            return begun.could_not_verify(why.to_string()).into();
        }
    };
    let name = format!("{new:08X}.history");
    let own = std::fs::read(ward.site.data().join("pg_wal").join(&name)).ok();
    for (settings, opened) in copies::open_all(&ward.site.config, &ward.site.cluster) {
        let begun = begin(
            format!("timeline:{}", settings.name),
            format!("{}: no history at or above timeline {new} but our own", settings.name),
        );
        found.check(match opened {
            Ok(repository) => compare(begun, &repository, new, &name, own.as_deref()),
            Err(why) => begun.could_not_verify(why.to_string()),
        });
    }
    found
}

fn compare(
    begun: Begun,
    repository: &Repository,
    new: TimelineId,
    name: &str,
    own: Option<&[u8]>,
) -> Check {
    let files = match repository.history_files() {
        Ok(files) => files,
        Err(error) => return begun.could_not_verify(error.to_string()),
    };
    let known = files.iter().filter_map(|file| match WalFile::parse(&file.name) {
        Some(WalFile::History { timeline }) => Some(timeline),
        _ => None,
    });
    let known: Vec<TimelineId> = known.collect();
    let archived = if known.contains(&new) {
        match repository.get_wal(name) {
            Ok(content) => content,
            Err(error) => return begun.could_not_verify(error.to_string()),
        }
    } else {
        None
    };
    judge(begun, new, &known, archived.as_deref(), own)
}

/// `archived`: the history of that number in the repository; `own`: the server's.
fn judge(
    begun: Begun,
    new: TimelineId,
    known: &[TimelineId],
    archived: Option<&[u8]>,
    own: Option<&[u8]>,
) -> Check {
    let highest = known.iter().copied().max().unwrap_or(1);
    let begun = begun.found(format!("highest history in it: {highest}"));
    if highest > new {
        return begun.failed(format!(
            "It holds the history of timeline {highest}, which is not ours. A later recovery that \
             follows \"latest\" would go along that one: name timeline {new} in it, and take a \
             new base backup now."
        ));
    }
    match (archived, own) {
        (None, _) => begun.verified("The number is new to it."),
        (Some(theirs), Some(ours)) if theirs == ours => {
            begun.verified("The history of that number in it is the server's own.")
        }
        (Some(_), Some(_)) => begun.failed(format!(
            "It holds another history of timeline {new}, of another recovery. What the server \
             archives is refused, never overwritten: keep the WAL and move that one away by hand."
        )),
        (Some(_), None) => begun.could_not_verify(
            "It holds a history of that number, and the server's own could not be read.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::facts::Verdict;

    fn verdict(known: &[u32], archived: Option<&[u8]>, own: Option<&[u8]>) -> Verdict {
        judge(begin("t", "t"), 3, known, archived, own).verdict
    }

    #[test]
    fn only_a_number_above_all_others_passes() {
        assert_eq!(verdict(&[], None, Some(b"a")), Verdict::Verified);
        assert_eq!(verdict(&[2], None, Some(b"a")), Verdict::Verified);
        assert_eq!(verdict(&[2, 3], Some(b"a"), Some(b"a")), Verdict::Verified);
        assert_eq!(verdict(&[2, 3], Some(b"b"), Some(b"a")), Verdict::Failed);
        assert_eq!(verdict(&[2, 3], Some(b"a"), None), Verdict::CouldNotVerify);
        assert_eq!(verdict(&[2, 5], None, Some(b"a")), Verdict::Failed);
    }
}
