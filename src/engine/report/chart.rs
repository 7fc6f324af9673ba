//! The report's drawings, as SVG inside the page: the incident's timeline, the steps, the
//! objectives. Every figure that is drawn is also written in words beside it.

use super::text::{duration, html, limit, maybe_duration, met, moment};
use super::{Objective, Report, StepLine};
use jiff::Timestamp;
use std::fmt::Write;

pub(super) const WIDTH: f64 = 960.0;

/// The moments on one scale. Labels stand right of their line, earliest on top: a line reaches
/// down past later labels only, and those begin further right, so that none is crossed.
///
/// ```text
///      ┌ Last known good 09:30
///      │      ┌ First detected 09:52
///      │      │
///   ───┴──────┴──────────────────────
/// ```
pub(super) fn timeline(report: &Report) -> String {
    let known: Vec<_> = report.marks.iter().filter_map(|m| Some((m, m.at?))).collect();
    let (Some((_, first)), Some((_, last))) = (known.first(), known.last()) else {
        return String::from("<p>No moment is known.</p>");
    };
    let (left, right, row) = (10.0, WIDTH - 350.0, 22.0);
    let axis = row * as_f64(known.len()) + 18.0;
    let height = axis + 34.0;
    let scale = Scale::new(*first, *last, left, right);
    let mut svg = open("Timeline of the incident", height);
    for band in bands(report) {
        let (from, to) = (scale.x(band.from), scale.x(band.to));
        let _ = write!(
            svg,
            "<rect class=\"{}\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"12\"><title>{}</title></rect>",
            band.class,
            axis - 6.0,
            (to - from).max(1.0),
            band.title
        );
    }
    let _ = write!(
        svg,
        "<line class=\"axis\" x1=\"{left}\" y1=\"{axis}\" x2=\"{right}\" y2=\"{axis}\"/>"
    );
    for (index, (mark, at)) in known.iter().enumerate() {
        let (x, y) = (scale.x(*at), row * as_f64(index) + 16.0);
        let _ = write!(
            svg,
            "<line class=\"lead\" x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{axis}\"/>\
             <circle class=\"dot\" cx=\"{x:.1}\" cy=\"{axis}\" r=\"3.5\"/>\
             <text x=\"{:.1}\" y=\"{y:.1}\">{} <tspan class=\"dim\">{}</tspan></text>",
            y - 10.0,
            x + 6.0,
            html(mark.title),
            moment(*at)
        );
    }
    let below = axis + 26.0;
    let _ = write!(
        svg,
        "<text class=\"dim\" x=\"{left}\" y=\"{below}\">{}</text>\
         <text class=\"dim\" x=\"{right}\" y=\"{below}\" text-anchor=\"end\">{}</text></svg>",
        moment(*first),
        moment(*last)
    );
    svg
}

struct Band {
    class: &'static str,
    title: &'static str,
    from: Timestamp,
    to: Timestamp,
}

fn bands(report: &Report) -> Vec<Band> {
    let at = |id: &str| report.marks.iter().find(|m| m.id == id).and_then(|m| m.at);
    let began = at("detected").or(at("declared"));
    let outage = began.zip(at("serving")).map(|(from, to)| Band {
        class: "outage",
        title: "Outage",
        from,
        to,
    });
    let given_up = at("fault").zip(at("writes_stopped")).map(|(from, to)| Band {
        class: "lost",
        title: "Given up",
        from,
        to,
    });
    outage.into_iter().chain(given_up).filter(|b| b.from <= b.to).collect()
}

/// One bar a step, where it lay in time: the machine's part, then the people's.
pub(super) fn steps(report: &Report) -> String {
    let started = report.steps.iter().filter_map(|s| s.started).min();
    let ended = report.steps.iter().filter_map(end).max();
    let (Some(started), Some(ended)) = (started, ended) else {
        return String::from("<p>No step was started.</p>");
    };
    let (left, right, row) = (300.0, WIDTH - 230.0, 26.0);
    let scale = Scale::new(started, ended, left, right);
    let mut svg = open("Steps of the recovery", row * as_f64(report.steps.len()) + 8.0);
    for (index, step) in report.steps.iter().enumerate() {
        let y = row * as_f64(index) + 4.0;
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 10.0,
            y + 14.0,
            html(&shortened(&step.title, 44))
        );
        let words = match (step.started, step.machine_seconds, step.human_seconds) {
            (Some(from), Some(machine), Some(human)) => {
                let x = scale.x(from);
                let (machine_width, human_width) = (scale.width(machine), scale.width(human));
                bar(&mut svg, "machine", x, y, machine_width.max(1.5));
                if human > 0.0 {
                    bar(&mut svg, "human", x + machine_width, y, human_width.max(1.5));
                    format!("{} + {} waiting", duration(machine), duration(human))
                } else {
                    duration(machine)
                }
            }
            (Some(_), _, _) => super::text::status(step.status).to_owned(),
            _ => String::from("not started"),
        };
        let _ = write!(
            svg,
            "<text class=\"dim\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            right + 12.0,
            y + 14.0,
            html(&words)
        );
    }
    svg.push_str("</svg>");
    svg
}

fn end(step: &StepLine) -> Option<Timestamp> {
    let seconds = step.machine_seconds? + step.human_seconds?;
    let span = jiff::SignedDuration::try_from_secs_f64(seconds).ok()?;
    step.started?.checked_add(span).ok()
}

fn bar(svg: &mut String, class: &str, x: f64, y: f64, width: f64) {
    let _ = write!(
        svg,
        "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"18\"/>"
    );
}

/// The actual figure as a bar, each limit as a mark on it.
pub(super) fn objective(name: &str, objective: &Objective) -> String {
    let actual = objective.actual_seconds.unwrap_or(0.0);
    let limits: Vec<_> = objective
        .against
        .iter()
        .map(|a| (a, std::time::Duration::from_secs(a.target_seconds).as_secs_f64()))
        .collect();
    let most = limits.iter().map(|(_, seconds)| *seconds).fold(actual, f64::max).max(1.0) * 1.05;
    let (left, right) = (70.0, WIDTH - 20.0);
    let x = |seconds: f64| left + (right - left) * (seconds / most).clamp(0.0, 1.0);
    let height = 40.0 + 18.0 * as_f64(limits.len());
    let mut svg = open(name, height);
    let so_far = if objective.ongoing { " so far" } else { "" };
    let missed = objective.against.iter().any(|a| a.met == Some(false));
    let class = if missed { "missed" } else { "kept" };
    let _ = write!(svg, "<text x=\"0\" y=\"20\" class=\"strong\">{name}</text>");
    let _ = write!(
        svg,
        "<rect class=\"ground\" x=\"{left}\" y=\"6\" width=\"{:.1}\" height=\"20\"/>",
        right - left
    );
    if objective.actual_seconds.is_some() {
        let _ = write!(
            svg,
            "<rect class=\"{class}\" x=\"{left}\" y=\"6\" width=\"{:.1}\" height=\"20\"/>",
            (x(actual) - left).max(2.0)
        );
    }
    for (index, (against, seconds)) in limits.iter().enumerate() {
        let (x, y) = (x(*seconds), 40.0 + 18.0 * as_f64(index));
        let _ = write!(
            svg,
            "<line class=\"limit\" x1=\"{x:.1}\" y1=\"2\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}: {}{so_far}, at most {}: {}</text>",
            y + 2.0,
            x - 6.0,
            y + 2.0,
            html(&against.what),
            maybe_duration(objective.actual_seconds),
            limit(against.target_seconds),
            met(against.met)
        );
    }
    svg.push_str("</svg>");
    svg
}

pub(super) fn open(title: &str, height: f64) -> String {
    format!(
        "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{0}\"><title>{0}</title>",
        html(title)
    )
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// From moments to places along a line. All in one place where all moments are the same.
pub(super) struct Scale {
    from: Timestamp,
    seconds: f64,
    left: f64,
    right: f64,
}

impl Scale {
    pub(super) fn new(from: Timestamp, to: Timestamp, left: f64, right: f64) -> Self {
        let seconds = to.duration_since(from).as_secs_f64();
        Self { from, seconds, left, right }
    }

    pub(super) fn x(&self, at: Timestamp) -> f64 {
        self.left + self.width(at.duration_since(self.from).as_secs_f64())
    }

    fn width(&self, seconds: f64) -> f64 {
        if self.seconds <= 0.0 {
            return 0.0;
        }
        (self.right - self.left) * (seconds / self.seconds).clamp(0.0, 1.0)
    }
}

/// Counts of lines in a drawing: far below where this would round.
pub(super) fn as_f64(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}
