//! Who approved which plan, for the report: every request, yes, no and waiver in the order of time.
//! Owns the wording alone.

use crate::engine::incident::Incident;
use crate::engine::incident::approval::{By, Reasoned};
use crate::engine::incident::model::Tone;
use crate::engine::signature::Kept;
use jiff::Timestamp;
use serde::Serialize;

/// One thing about an approval.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    pub at: Timestamp,
    pub who: String,
    pub what: &'static str,
    pub text: String,
    pub tone: Tone,
}

pub(super) fn lines(incident: &Incident) -> Vec<Line> {
    let all = &incident.approvals;
    let plan = |hash: &str| format!("plan {}", hash.get(..8).unwrap_or_default());
    let reasoned = |one: &By<Reasoned>, what, tone| Line {
        at: one.at,
        who: one.by.clone(),
        what,
        text: format!("{}: {}", plan(&one.what.plan_hash), one.what.reason),
        tone,
    };
    let asked = all.asked.iter().map(|one| Line {
        at: one.at,
        who: one.by.clone(),
        what: "needed",
        text: format!("{}: {}", plan(&one.what.plan_hash), one.what.why.join(", ")),
        tone: Tone::Plain,
    });
    let given = all.given.iter().map(|one| Line {
        at: one.at,
        who: one.by.clone(),
        what: "approved",
        text: format!(
            "{}, until {:.0}{}",
            plan(&one.what.plan_hash),
            one.what.until,
            signed(one.what.signed.as_ref())
        ),
        tone: Tone::Good,
    });
    let declined = all.declined.iter().map(|one| reasoned(one, "declined", Tone::Bad));
    let waived = all.waived.iter().map(|one| reasoned(one, "WAIVED", Tone::Bad));
    let signatures = incident.signatures.iter().map(|(item, one)| Line {
        at: one.at,
        who: one.by.clone(),
        what: "signature",
        text: format!("checklist line {item}: {}", one.what.when_taken.told()),
        tone: if one.what.when_taken.counts() { Tone::Good } else { Tone::Bad },
    });
    let mut lines: Vec<_> =
        signatures.chain(asked).chain(given).chain(declined).chain(waived).collect();
    lines.sort_by_key(|line| line.at);
    lines
}

fn signed(kept: Option<&Kept>) -> String {
    kept.map_or_else(String::new, |kept| format!("; {}", kept.when_taken.told()))
}
