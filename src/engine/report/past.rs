//! The past as it was when the recovery point was chosen, as text and as a drawing: backups, log
//! and its gaps, commits, suspects, stated moments. Owns the drawing; draws what the journal keeps
//! and nothing else.

use super::Report;
use super::chart::{Scale, WIDTH, as_f64, open};
use super::text::{html, moment};
use crate::engine::incident::past::{Picture, column};
use jiff::Timestamp;
use std::fmt::Write;

/// Columns of the text.
const COLUMNS: usize = 76;
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Where the recovery point lies, as near as it is known.
fn point(report: &Report) -> Option<Timestamp> {
    report.loss.last_kept.as_ref().map(|c| c.at)
}

/// The picture as lines of text, its legend last.
pub(super) fn text(picture: &Picture, report: &Report) -> Vec<String> {
    let place = |at: Timestamp| column(picture.from, picture.to, at, COLUMNS);
    let blank = || vec![' '; COLUMNS];
    let put = |row: &mut Vec<char>, at: Option<Timestamp>, sign: char| {
        if let Some(cell) = at.and_then(place).and_then(|x| row.get_mut(x)) {
            *cell = sign;
        }
    };
    let landmarks = &picture.landmarks;
    let mut above = blank();
    landmarks.forks.iter().for_each(|f| put(&mut above, f.at, 'Y'));
    picture.bases.iter().for_each(|(_, at)| put(&mut above, Some(*at), 'B'));
    landmarks.restore_points.iter().for_each(|p| put(&mut above, p.at, 'R'));
    put(&mut above, point(report), '▼');
    let sums = by_column(picture);
    let most = sums.iter().copied().max().unwrap_or(0).max(1);
    let bar = |n: &u64| {
        let step = usize::try_from((u128::from(*n) * 8).div_ceil(u128::from(most))).unwrap_or(8);
        BLOCKS.get(step).copied().unwrap_or(' ')
    };
    let commits: Vec<char> = sums.iter().map(bar).collect();
    let mut log = blank();
    let fill = |row: &mut Vec<char>, from: Timestamp, to: Timestamp, sign: char| {
        let clamped = |at: Timestamp| place(at.clamp(picture.from, picture.to.max(picture.from)));
        if let (Some(a), Some(b)) = (clamped(from), clamped(to)) {
            row.iter_mut().take(b + 1).skip(a).for_each(|cell| *cell = sign);
        }
    };
    picture.log.iter().for_each(|(from, to)| fill(&mut log, *from, *to, '━'));
    for gap in &landmarks.gaps {
        if let (Some(from), Some(to)) = (gap.after, gap.before) {
            fill(&mut log, from, to, '×');
        }
    }
    let mut below = blank();
    put(&mut below, landmarks.last_known_good, 'G');
    put(&mut below, landmarks.detected, 'D');
    picture.suspects.iter().rev().for_each(|(at, _)| put(&mut below, Some(*at), '!'));
    let (left, right) = (moment(picture.from), moment(picture.to));
    let gap = COLUMNS.saturating_sub(left.chars().count() + right.chars().count()).max(1);
    let mut lines: Vec<String> = [above, commits, log, below]
        .into_iter()
        .map(|row| row.into_iter().collect::<String>().trim_end().to_owned())
        .collect();
    lines.push(format!("{left}{}{right}", " ".repeat(gap)));
    lines.push(String::new());
    lines.push(String::from("B backup  ━ log  × log missing  ▁▄█ commits  ▼ last commit kept"));
    lines.push(String::from(
        "! suspect  G last known good  D detected  R restore point  Y timelines part",
    ));
    lines
}

/// Commits by column. Slices that are wider than a column are drawn over all that they cover, so
/// that they do not look like bursts.
fn by_column(picture: &Picture) -> Vec<u64> {
    let slices = &picture.density;
    let mut sums = vec![0_u64; COLUMNS];
    if slices.len() >= COLUMNS {
        for (at, commits) in slices {
            let place = column(picture.from, picture.to, *at, COLUMNS);
            if let Some(sum) = place.and_then(|x| sums.get_mut(x)) {
                *sum = sum.saturating_add(*commits);
            }
        }
        return sums;
    }
    let (from, to) = (picture.from.as_microsecond(), picture.to.as_microsecond());
    let start = |index: usize| slices.get(index).map(|(at, _)| at.as_microsecond());
    let length = start(1).zip(start(0)).map_or(1, |(b, a)| b - a);
    let columns = i64::try_from(COLUMNS).unwrap_or(1);
    for (x, sum) in (0_i64..).zip(sums.iter_mut()) {
        let middle = from + (to - from) / (2 * columns) * (2 * x + 1);
        let index = slices.partition_point(|(at, _)| at.as_microsecond() <= middle);
        let slice = index.checked_sub(1).and_then(|i| slices.get(i));
        if let Some((at, commits)) = slice
            && middle - at.as_microsecond() < length
        {
            *sum = *commits;
        }
    }
    sums
}

/// The picture as SVG. Every sign has its words as a title.
pub(super) fn svg(picture: &Picture, report: &Report) -> String {
    let (left, right, bars, log, height) = (10.0, WIDTH - 10.0, 96.0, 104.0, 170.0);
    let scale = Scale::new(picture.from, picture.to, left, right);
    let mut out = open("The past when the point was chosen", height);
    let most = picture.density.iter().map(|(_, n)| *n).max().unwrap_or(0).max(1);
    let width = (right - left) / as_f64(picture.density.len().max(1));
    for (at, commits) in &picture.density {
        #[allow(clippy::cast_precision_loss, reason = "a drawing")]
        let tall = 56.0 * (*commits as f64 / most as f64);
        let _ = write!(
            out,
            "<rect class=\"machine\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{tall:.1}\"><title>{commits} commits from {}</title></rect>",
            scale.x(*at),
            bars - tall,
            width.clamp(1.0, 12.0),
            moment(*at)
        );
    }
    let mut band = |class: &str, from: Timestamp, to: Timestamp, title: &str| {
        let (a, b) = (scale.x(from), scale.x(to));
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{a:.1}\" y=\"{log}\" width=\"{:.1}\" height=\"10\"><title>{}</title></rect>",
            (b - a).max(1.5),
            html(title)
        );
    };
    for (from, to) in &picture.log {
        band("kept", *from, *to, "log without a gap");
    }
    for gap in &picture.landmarks.gaps {
        if let (Some(from), Some(to)) = (gap.after, gap.before) {
            band("missed", from, to, &format!("log missing: {}", gap.why));
        }
    }
    let mut sign = |at: Option<Timestamp>, y: f64, sign: &str, title: &str| {
        let Some(at) = at.filter(|at| *at >= picture.from && *at <= picture.to) else { return };
        let _ = write!(
            out,
            "<text class=\"strong\" x=\"{:.1}\" y=\"{y}\" text-anchor=\"middle\">{sign}<title>{}, {}</title></text>",
            scale.x(at),
            html(title),
            moment(at)
        );
    };
    let landmarks = &picture.landmarks;
    for fork in &landmarks.forks {
        let title = format!("timeline {} leaves timeline {}", fork.timeline, fork.parent);
        sign(fork.at, 30.0, "Y", &title);
    }
    for (set, at) in &picture.bases {
        sign(Some(*at), 30.0, "B", &format!("backup {set}"));
    }
    for restore_point in &landmarks.restore_points {
        sign(restore_point.at, 30.0, "R", &format!("restore point {}", restore_point.name));
    }
    sign(point(report), 16.0, "▼", "last commit kept");
    sign(landmarks.last_known_good, 130.0, "G", "last known good");
    sign(landmarks.detected, 130.0, "D", "first detected");
    for (at, what) in picture.suspects.iter().rev() {
        sign(Some(*at), 130.0, "!", &format!("suspect: {what}"));
    }
    let _ = write!(
        out,
        "<text class=\"dim\" x=\"{left}\" y=\"156\">{}</text>\
         <text class=\"dim\" x=\"{right}\" y=\"156\" text-anchor=\"end\">{}</text></svg>",
        moment(picture.from),
        moment(picture.to)
    );
    out
}
