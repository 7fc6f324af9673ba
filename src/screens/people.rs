//! What the screens say about people: how the approval of the plan stands, and for whom it waits.
//! Owns these words alone; the facts are the incident's.

use super::commands::Id;
use super::text;
use super::theme::Ink;
use super::view::View;
use crate::engine::incident::Incident;
use crate::engine::incident::approval::{self, Asked, By, Standing};

/// Whether the plan waits for a word of a second person.
#[must_use]
pub fn waits(view: &View, incident: &Incident) -> bool {
    matches!(
        approval::standing(incident, view.now),
        Standing::Waiting { .. } | Standing::Expired { .. }
    )
}

/// Whether the person at this screen could be the second one.
#[must_use]
pub fn may_approve(view: &View, incident: &Incident) -> bool {
    let user = view.you.as_ref().map_or("", |you| you.user.as_str());
    waits(view, incident) && approval::is_second(incident, user).is_ok()
}

/// How the approval stands, for the gate: a name and its lines.
#[must_use]
pub fn approval(view: &View, incident: &Incident) -> Vec<(&'static str, String, Ink)> {
    let until = |at| format!("until {}", text::when(at, view.now));
    match approval::standing(incident, view.now) {
        Standing::NotNeeded => Vec::new(),
        Standing::Given(given) => {
            let words = format!("given by {}, counts {}", given.by, until(given.what.until));
            vec![("approval", words, Ink::Good)]
        }
        Standing::Waived(waived) => {
            let words = format!("! WAIVED by {}: {}", waived.by, waived.what.reason);
            vec![("approval", words, Ink::Bad)]
        }
        Standing::Expired { asked, given } => {
            let words =
                format!("! by {}, over since {}", given.by, text::when(given.what.until, view.now));
            let mut lines = vec![("approval", words, Ink::Attention)];
            lines.extend(wanted(incident, asked));
            lines
        }
        Standing::Waiting { asked, declined } => {
            let since = text::ago(asked.at, view.now);
            let words =
                format!("! waits for somebody else, asked {since} ({})", asked.what.why.join(", "));
            let mut lines = vec![("approval", words, Ink::Attention)];
            if let Some(no) = declined {
                lines.push(("", format!("{} said no: {}", no.by, no.what.reason), Ink::Bad));
            }
            lines.extend(wanted(incident, asked));
            lines
        }
    }
}

fn wanted(incident: &Incident, asked: &By<Asked>) -> Vec<(&'static str, String, Ink)> {
    let who = approval::who_may(&asked.what);
    if asked.what.may.is_empty() {
        return vec![("", format!("{who}; W goes on without, in an emergency"), Ink::Bad)];
    }
    vec![("", format!("{who} types: {}", approval::command(incident)), Ink::Strong)]
}

/// What to do about an approval that is wanted: the words, and the key.
#[must_use]
pub fn guide(view: &View, incident: &Incident) -> Option<(String, Id)> {
    let (asked, said) = match approval::standing(incident, view.now) {
        Standing::Waiting { asked, declined } => {
            let said = declined.map_or_else(String::new, |no| {
                format!("{} said no: {} ", no.by, text::clean(&no.what.reason))
            });
            (asked, said)
        }
        Standing::Expired { asked, given } => {
            (asked, format!("The approval by {} is over. ", given.by))
        }
        _ => return None,
    };
    if may_approve(view, incident)
        && view.role().covers(crate::engine::incident::facts::Role::Approver)
    {
        let who = incident.approvals.planned_by.as_deref().unwrap_or("somebody");
        return Some((
            format!("{said}{who} asks you to approve this plan. Read it first."),
            Id::ApprovePlan,
        ));
    }
    let since = text::ago(asked.at, view.now);
    let words = match asked.what.may.as_slice() {
        [] => format!(
            "{said}Needs an approval, and nobody else is configured for it. W goes on without."
        ),
        _ => format!(
            "{said}Waits for an approval by {} since {since}. They type: {}",
            approval::who_may(&asked.what),
            approval::command(incident)
        ),
    };
    Some((words, Id::OpenGate))
}
