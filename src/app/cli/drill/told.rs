//! What came of a drill, in words for a terminal.

use super::WIDTH;
use crate::app::cli::output;
use crate::engine::drill::{Outcome, copy, inject};
use crate::engine::explain::Explanation;
use crate::screens::text;

/// Prints a text so far in; it goes on below its beginning and breaks between words.
pub(super) fn fold(indent: usize, text: &str) -> Result<(), Explanation> {
    let rows = text::wrap(text, WIDTH.saturating_sub(indent + 2));
    rows.iter().enumerate().try_for_each(|(at, row)| {
        let indent = if at == 0 { indent } else { indent + 2 };
        output::line(&format!("{:indent$}{row}", ""))
    })
}

/// The outcome and the score, in a few lines.
pub(super) fn told(outcome: &Outcome) -> Result<(), Explanation> {
    let seconds = |value: Option<f64>| {
        value.map_or_else(|| String::from("not known"), |value| format!("{value:.1} s"))
    };
    let of = |target: Option<f64>| {
        target.map_or_else(String::new, |target| format!(" of at most {target:.0} s"))
    };
    output::line(&format!("{}: {}", outcome.scenario, outcome.outcome))?;
    for reason in &outcome.reasons {
        fold(2, reason)?;
    }
    if let Some(refusal) = &outcome.refusal {
        let word = if outcome.expected == "refused" { "was to be" } else { "was not to be" };
        fold(2, &format!("Refused, as it {word}: {refusal}"))?;
    }
    if let Some(copy) = &outcome.copy {
        told_of(copy)?;
    }
    let card = &outcome.card;
    if outcome.ended == "recovered" {
        output::line(&format!(
            "  Data lost (RPO): {}{}",
            seconds(outcome.rpo_seconds),
            of(outcome.rpo_target_seconds)
        ))?;
        output::line(&format!(
            "  Back after (RTO): {}{}",
            seconds(outcome.rto_seconds),
            of(Some(outcome.rto_target_seconds))
        ))?;
    }
    fold(
        2,
        &format!(
            "Detect {}, declare {}, decide {}, restore {}, validate {}",
            seconds(card.detect_seconds),
            seconds(card.declare_seconds),
            seconds(card.decide_seconds),
            seconds(card.restore_seconds),
            seconds(card.validate_seconds),
        ),
    )?;
    fold(
        2,
        &format!(
            "Hypothesis: {}. Hints used: {}. Checks not run: {}. Wrong turns: {}",
            match card.hypothesis_held {
                Some(true) => "held",
                Some(false) => "refuted",
                None if outcome.ended == "refused" => "not put to the test",
                None => "COULD NOT VERIFY",
            },
            card.hints_used,
            card.not_run.len(),
            card.wrong_turns.len(),
        ),
    )?;
    card.wrong_turns.iter().try_for_each(|turn| fold(4, turn))?;
    fold(2, &format!("Limits: {}", outcome.limits.join("; ")))?;
    for check in &outcome.teardown {
        fold(2, &format!("{}: {} {}", check.title, check.verdict.word(), check.detail))?;
    }
    for name in &outcome.injects {
        if let Ok(one) = inject::load(name) {
            fold(2, &format!("Inject \"{}\": {}", one.title, one.what))?;
            fold(4, &format!("The way out: {}", one.cure))?;
        }
    }
    Ok(())
}

/// What a drill on a copy was held on, and which rails stood.
fn told_of(copy: &copy::Told) -> Result<(), Explanation> {
    fold(
        2,
        &format!(
            "On a copy of {}, {}: {} databases, {} tables, {} rows",
            copy.cluster, copy.set, copy.databases, copy.tables, copy.rows
        ),
    )?;
    if !copy.masked.is_empty() {
        output::line(&format!("  Masked: {} columns", copy.masked.len()))?;
    }
    copy.rails.iter().try_for_each(|rail| {
        let word = if rail.enforced { "Enforced" } else { "NOT ENFORCED" };
        fold(2, &format!("{word}: {}: {}", rail.rail, rail.detail))
    })
}
