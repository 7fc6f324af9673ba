//! What going from a recovery point to another one does, costs and gains, as the gate there shows
//! it. Owns the words; the proof and its figures are the engine's.

use super::theme::Ink;
use super::view::View;
use super::{at_target, recovery_point, text};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::{Reach, Target};
use crate::engine::runner::guard;
use ratatui::text::Span;

type Line = Vec<Span<'static>>;

/// Whether the point in the gate is later or earlier than here; `None` until it is proven.
#[must_use]
pub fn way(view: &View, incident: &Incident, target: &Target) -> Option<Way> {
    let reach = view.reach(target)?.as_ref().ok()?;
    Some(if guard::is_earlier(incident, reach) { Way::Earlier } else { Way::Later })
}

/// From here to another point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Later,
    Earlier,
}

/// What going to another point does, costs and gains.
#[must_use]
pub fn lines(view: &View, incident: &Incident, target: &Target, width: usize) -> Vec<Line> {
    let theme = view.theme;
    let way = way(view, incident, target);
    let mut out: Vec<Line> = Vec::new();
    let mut fact = |name: &str, value: String, ink: Ink| {
        for (i, part) in text::wrap(&value, width.saturating_sub(14)).into_iter().enumerate() {
            let name = if i == 0 { name } else { "" };
            out.push(vec![
                Span::styled(format!("{name:<14}"), theme.style(Ink::Dim)),
                Span::styled(text::clean(&part), theme.style(ink)),
            ]);
        }
    };
    if let Some(plan) = &incident.plan {
        let environment = &incident.declaration.environment;
        fact("cluster", format!("{} ({environment})", plan.cluster), Ink::Strong);
        fact("stands", format!("{}", plan.target), Ink::Text);
    }
    let name = match way {
        Some(Way::Later) => "goes on to",
        Some(Way::Earlier) => "goes back to",
        None => "goes to",
    };
    fact(name, target.to_string(), Ink::Strong);
    match view.reach(target) {
        None => fact("proof", String::from("being proven that it can be reached"), Ink::Dim),
        Some(Err(e)) => {
            fact("proof", format!("could not be judged: {}", e.what), Ink::Attention);
        }
        Some(Ok(reach)) if !reach.reachable => {
            let why = recovery_point::why_not(reach);
            fact("proof", format!("it cannot be reached: {why}"), Ink::Bad);
        }
        Some(Ok(reach)) if way == Some(Way::Earlier) => {
            price_of_earlier(view, incident, reach, &mut fact);
        }
        Some(Ok(reach)) => {
            let kept = incident.reach.as_ref().and_then(|r| r.lost_commits).zip(reach.lost_commits);
            if let Some((before, after)) = kept {
                let more = before.saturating_sub(after);
                let words =
                    format!("{} not here now; {} stay lost", commits(more), text::count(after));
                fact("brings", words, Ink::Text);
            }
            if let Some((bytes, seconds, measured)) = at_target::price(incident, reach) {
                let how = if measured { "by the measured rate" } else { "estimated" };
                let words = format!(
                    "{}, {how}: {} of log to replay",
                    text::span_range(seconds),
                    text::bytes(bytes)
                );
                fact("takes", words, Ink::Text);
            }
        }
    }
    match way {
        Some(Way::Earlier) => {
            let words = "the server is stopped, its directory set aside whole under a new name, \
                         the backup restored anew and replayed to there";
            fact("happens", String::from(words), Ink::Text);
            let words = "what was found here, the directory that stands here, the damaged one";
            fact("stays kept", String::from(words), Ink::Good);
        }
        Some(Way::Later) => {
            let words = "the server is stopped, told the later point, started";
            fact("happens", String::from(words), Ink::Text);
            let words = "what is replayed stays; this point again would need a new restore";
            fact("no way back", String::from(words), Ink::Attention);
            let words = "what was found here, and the damaged directory";
            fact("stays kept", String::from(words), Ink::Good);
        }
        None => {}
    }
    out
}

/// What an earlier point costs: commits, bytes, time, room.
fn price_of_earlier(
    view: &View,
    incident: &Incident,
    reach: &Reach,
    fact: &mut dyn FnMut(&str, String, Ink),
) {
    let kept = incident.reach.as_ref().and_then(|r| r.lost_commits).zip(reach.lost_commits);
    if let Some((before, after)) = kept {
        let more = after.saturating_sub(before);
        let words = format!("{} here now; {} are lost in all", commits(more), text::count(after));
        fact("gives up", words, Ink::Attention);
    }
    if let Some(base) = &reach.base {
        let same = incident.plan.as_ref().is_some_and(|plan| plan.base.set == base.set);
        let other = if same { "" } else { ", another than before: authenticated as it is read" };
        fact("from backup", format!("{}{other}", base.set), Ink::Text);
    }
    if let Some((fetched, taken)) = at_target::spared(reach) {
        fact("fetched", fetched, Ink::Text);
        fact("on this disk", taken, Ink::Text);
    }
    if let Some(forecast) = &reach.forecast {
        let how = if forecast.measured { "by the measured rates" } else { "estimated" };
        let words = format!(
            "{}, {how}: copy {}, replay {} of log {}",
            text::span_range(forecast.total()),
            text::span_range(forecast.copy),
            text::bytes(reach.wal_bytes),
            text::span_range(forecast.replay)
        );
        fact("takes", words, Ink::Strong);
        #[allow(clippy::cast_precision_loss, reason = "a clock in seconds")]
        let limit = view.targets().map(|targets| targets.rto_seconds as f64);
        let left = incident.clocks.rto_seconds(view.now).zip(limit);
        if let Some((gone, rto)) = left {
            let end = forecast.total();
            let late = gone + end.1 > rto;
            let words = if late { "may end past it" } else { "ends within it" };
            let ink = if late { Ink::Attention } else { Ink::Text };
            fact(
                "RTO",
                format!("{words}: {} of {} are gone", text::span(gone), text::span(rto)),
                ink,
            );
        }
    }
    if let Some(room) = reach.checks.iter().find(|check| check.id == "space") {
        fact("room", room.detail.clone(), Ink::Text);
    }
}

fn commits(number: u64) -> String {
    match number {
        1 => String::from("1 commit that is"),
        n => format!("{} commits that are", text::count(n)),
    }
}
