//! What a recovery of a cluster would meet now, as home shows it: the worst reason beside the score,
//! and the whole page over it. The page is the newest that was kept; its age stands with it.

use super::layers::{Emphasis, Reader};
use super::view::ClusterRow;
use super::{home, text, view::View};
use crate::engine::incident::facts::Verdict;
use crate::engine::readiness::{Readiness, Reason};
use jiff::Timestamp;

/// The page of the selected cluster, where one is kept.
#[must_use]
pub fn selected(view: &View) -> Option<(&ClusterRow, &Readiness)> {
    let cluster = home::selected_cluster(view)?;
    Some((cluster, cluster.readiness.as_ref()?))
}

/// The heaviest that is not verified; `None` where all is.
#[must_use]
pub fn worst(page: &Readiness) -> Option<&Reason> {
    page.reasons.iter().find(|reason| reason.verdict != Verdict::Verified)
}

/// The page, to be read and scrolled: the worst first, each with what was found.
#[must_use]
pub fn reader(cluster: &str, page: &Readiness, now: Timestamp) -> Reader {
    let mut lines = vec![
        (Emphasis::Heading, format!("Ready: {} of 100", page.score)),
        (
            Emphasis::Dim,
            format!("Asked {}, at {}.", text::ago(page.at, now), text::moment(page.at)),
        ),
    ];
    for reason in &page.reasons {
        let emphasis = match reason.verdict {
            Verdict::Verified => Emphasis::Good,
            Verdict::Failed => Emphasis::Bad,
            Verdict::NotRun | Verdict::CouldNotVerify => Emphasis::Heading,
        };
        lines.push((Emphasis::Plain, String::new()));
        let head =
            format!("{}: {} (weight {})", reason.verdict.word(), reason.title, reason.weight);
        lines.push((emphasis, head));
        lines.push((Emphasis::Plain, reason.text.clone()));
    }
    lines.push((Emphasis::Plain, String::new()));
    lines.push((
        Emphasis::Dim,
        format!(
            "Asked anew by the scheduler each hour, and by lifeboat readiness --cluster {cluster}."
        ),
    ));
    Reader::text(format!("Readiness of {cluster}"), lines)
}
