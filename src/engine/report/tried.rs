//! The points tried, as one table for every form of the report: a row a check, a column a point.

use super::text::maybe_moment;
use crate::engine::incident::facts::{Check, Try};

/// Header and rows; `None` where no more than one point was tried.
pub(super) fn table(tries: &[Try]) -> Option<(Vec<String>, Vec<Vec<String>>)> {
    if tries.len() < 2 {
        return None;
    }
    let mut header = vec![String::from("At the point")];
    header.extend(tries.iter().map(|tried| tried.target.to_string()));
    let line = |name: &str, cell: &dyn Fn(&Try) -> String| {
        let mut row = vec![name.to_owned()];
        row.extend(tries.iter().map(cell));
        row
    };
    let mut rows = vec![
        line("Last commit (UTC)", &|tried| maybe_moment(tried.reached_time)),
        line("LSN", &|tried| {
            tried.reached_lsn.map_or_else(|| "not known".into(), |l| l.to_string())
        }),
    ];
    let mut ids: Vec<&str> = Vec::new();
    for check in tries.iter().rev().flat_map(|tried| &tried.checks) {
        if !ids.contains(&check.id.as_str()) {
            ids.push(&check.id);
        }
    }
    for id in ids {
        let of = |tried: &Try| tried.checks.iter().find(|c| c.id == id).cloned();
        let title = tries.iter().rev().find_map(of).map_or_else(String::new, |c| c.title);
        rows.push(line(&title, &|tried| {
            of(tried).map_or_else(|| "not asked".into(), |c| cell(&c))
        }));
    }
    Some((header, rows))
}

fn cell(check: &Check) -> String {
    match &check.found {
        Some(found) => format!("{found} ({})", check.verdict.word()),
        None => check.verdict.word().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::facts::{Target, TargetPoint, Verdict};
    use crate::engine::postgres::Lsn;
    use crate::engine::validate::check::begin;

    #[test]
    fn points_stand_side_by_side_and_one_alone_needs_no_table() {
        let tried = |lsn, checks| Try {
            target: Target { point: TargetPoint::Lsn(Lsn(lsn)), inclusive: false, timeline: None },
            reached_lsn: Some(Lsn(lsn)),
            reached_time: None,
            checks,
        };
        let first = tried(16, vec![begin("rows:t", "Rows of t").found("7").verified("")]);
        let second = tried(32, vec![begin("rows:t", "Rows of t").could_not_verify("")]);
        assert_eq!(table(std::slice::from_ref(&first)), None);
        let (header, rows) = table(&[first, second]).unwrap();
        assert_eq!(header.len(), 3);
        let word = Verdict::CouldNotVerify.word();
        assert_eq!(rows.last().unwrap(), &["Rows of t", "7 (VERIFIED)", word]);
    }
}
