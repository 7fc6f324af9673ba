//! The approval of a plan by a second person, as facts: who asked, who gave it, until when, who
//! went without. Owns the values and how an approval stands at a moment; never decides which plans
//! need one (the configuration) and never stops anything (the runner).

use super::model::{Incident, StepStatus};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::signature::Kept;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// The journal's word that a plan needs an approval. From then on it does, whatever becomes of the
/// configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Asked {
    pub plan_hash: String,
    /// The rules that ask for it, each in a few words.
    pub why: Vec<String>,
    /// Operating-system users who may approve, the one who asked not among them.
    #[serde(default)]
    pub may: Vec<String>,
    /// Steps of the plan at whose beginning the approval must hold, whatever began before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<String>,
    /// The run waits for it before this step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_step: Option<String>,
}

/// An approval as it was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Given {
    pub plan_hash: String,
    /// It does not count after that.
    pub until: Timestamp,
    /// With the person's SSH key, where they signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signed: Option<Kept>,
}

/// Something about an approval, with who and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct By<T> {
    pub what: T,
    pub by: String,
    pub at: Timestamp,
}

/// A plan's hash and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reasoned {
    pub plan_hash: String,
    pub reason: String,
}

/// Everything about approvals of an incident, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Approvals {
    /// Who made the plan that stands.
    pub planned_by: Option<String>,
    pub asked: Vec<By<Asked>>,
    pub given: Vec<By<Given>>,
    pub declined: Vec<By<Reasoned>>,
    pub waived: Vec<By<Reasoned>>,
}

impl Approvals {
    /// Each waiver in a sentence that stands for itself.
    #[must_use]
    pub fn waivers(&self) -> Vec<String> {
        let told = |one: &By<Reasoned>| {
            format!(
                "APPROVAL WAIVED by {} at {} for plan {}: {}",
                one.by,
                utc(one.at),
                one.what.plan_hash.get(..8).unwrap_or_default(),
                one.what.reason
            )
        };
        self.waived.iter().map(told).collect()
    }
}

/// How the approval of the plan that stands, stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing<'a> {
    /// No rule asks for one.
    NotNeeded,
    Waiting {
        asked: &'a By<Asked>,
        /// The newest no since it was asked for.
        declined: Option<&'a By<Reasoned>>,
    },
    Given(&'a By<Given>),
    /// It was given, and its time is over.
    Expired {
        asked: &'a By<Asked>,
        given: &'a By<Given>,
    },
    Waived(&'a By<Reasoned>),
}

/// How the approval of the incident's plan stands at `now`.
#[must_use]
pub fn standing(incident: &Incident, now: Timestamp) -> Standing<'_> {
    let Some(hash) = incident.plan.as_ref().map(|plan| plan.hash.as_str()) else {
        return Standing::NotNeeded;
    };
    let all = &incident.approvals;
    // First, since when it is needed; why and by whom, as it was last asked for.
    let Some(asked) = all.asked.iter().rev().find(|one| one.what.plan_hash == hash) else {
        return Standing::NotNeeded;
    };
    if let Some(waived) = all.waived.iter().rev().find(|one| one.what.plan_hash == hash) {
        return Standing::Waived(waived);
    }
    // The same plan can be made again by whoever approved it before: then nobody else has.
    let second = |one: &&By<Given>| is_second(incident, &one.by).is_ok();
    let given = all.given.iter().rev().filter(second).find(|one| one.what.plan_hash == hash);
    let declined = all.declined.iter().rev().find(|one| one.what.plan_hash == hash);
    match (given, declined) {
        (Some(given), Some(declined)) if declined.at > given.at => {
            Standing::Waiting { asked, declined: Some(declined) }
        }
        (Some(given), _) if now > given.what.until => Standing::Expired { asked, given },
        (Some(given), _) => Standing::Given(given),
        (None, declined) => Standing::Waiting { asked, declined },
    }
}

/// Whether somebody is a second person to the plan that stands.
///
/// # Errors
/// A refusal for whoever made the plan: making it is what asks for the approval.
pub fn is_second(incident: &Incident, user: &str) -> Result<(), Explanation> {
    if incident.approvals.planned_by.as_deref() != Some(user) {
        return Ok(());
    }
    Err(refusal(
        format!("{user} made this plan and cannot approve it."),
        String::from("A second person approves, from their own login."),
    ))
}

/// Whether the approval holds now, as the gate and the start of the run need it.
///
/// # Errors
/// A refusal that says what is waited for, and what the other person types.
pub fn holds(incident: &Incident, now: Timestamp) -> Result<(), Explanation> {
    match standing(incident, now) {
        Standing::NotNeeded | Standing::Given(_) | Standing::Waived(_) => Ok(()),
        Standing::Waiting { asked, declined } => {
            let said = declined.map_or_else(String::new, |no| {
                format!(" {} said no: {}.", no.by, no.what.reason.trim_end_matches('.'))
            });
            Err(refusal(
                format!(
                    "This plan waits for an approval by somebody else since {} ({}).{said}",
                    utc(asked.at),
                    asked.what.why.join(", ")
                ),
                next(incident, &asked.what),
            ))
        }
        Standing::Expired { asked, given } => Err(refusal(
            format!(
                "The approval by {} counted until {} and is over.",
                given.by,
                utc(given.what.until)
            ),
            next(incident, &asked.what),
        )),
    }
}

/// Whether a step of the confirmed plan may begin. Once something was changed under an approval,
/// its end stops nothing but the steps that policy names.
///
/// # Errors
/// As [`holds`].
pub fn before_step(incident: &Incident, step: &str, now: Timestamp) -> Result<(), Explanation> {
    let Standing::Expired { asked, given } = standing(incident, now) else {
        return holds(incident, now);
    };
    let Some(plan) = &incident.plan else { return Ok(()) };
    let is_destructive = |id: &str| plan.step(id).is_some_and(|step| step.destructive);
    let begun = incident.steps.iter().any(|state| {
        !matches!(state.status, StepStatus::Pending | StepStatus::Undone)
            && is_destructive(&state.id)
            && state.started.is_some_and(|started| started >= given.at)
    });
    let named = asked.what.steps.iter().any(|id| id == step);
    if named || (is_destructive(step) && !begun) { holds(incident, now) } else { Ok(()) }
}

/// What the other person types.
#[must_use]
pub fn command(incident: &Incident) -> String {
    format!("lifeboat approve {}", incident.declaration.id)
}

/// Who may approve, in words.
#[must_use]
pub fn who_may(asked: &Asked) -> String {
    match asked.may.as_slice() {
        [] => String::from("nobody else is configured who may approve"),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

fn next(incident: &Incident, asked: &Asked) -> String {
    if asked.may.is_empty() {
        return String::from(
            "Give somebody else the role approver in [[operators]] and start the runner again; in \
             an emergency the commander waives the approval with a written reason.",
        );
    }
    format!("On this host, {} types: {}", who_may(asked), command(incident))
}

fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn refusal(what: String, next: String) -> Explanation {
    Explanation::new(Kind::Refused, what, "Nothing was changed.", next)
}

/// What is lost where the directory is: commits that no archive has were never counted.
#[must_use]
pub fn with_uncounted(counted: &str, incident: &Incident) -> String {
    let kept = incident.reach.as_ref().and_then(|reach| reach.last_kept.as_ref());
    let most = kept.and_then(|kept| incident.seconds_uncounted(kept.at));
    let most = most.map_or_else(String::new, |s| format!(": up to {} more", span(s)));
    format!("{counted}; and what only the lost directory had{most}")
}

/// One line of what is to be approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    pub name: &'static str,
    pub text: String,
}

/// What is to be approved, in plain words; nothing where there is no plan.
#[must_use]
pub fn sheet(incident: &Incident) -> Vec<Fact> {
    let Some(plan) = &incident.plan else { return Vec::new() };
    let declaration = &incident.declaration;
    let mut facts = Vec::new();
    let mut fact = |name, text: String| facts.push(Fact { name, text });
    fact("incident", format!("{}: {}", declaration.id, declaration.title));
    fact("cluster", format!("{} ({})", plan.cluster, declaration.environment));
    let id = &plan.identity;
    fact("server", format!("{}, system {}", id.host, id.system_identifier));
    fact("directory", id.data_directory.clone());
    if plan.lost {
        fact("", String::from("lost: whose it is, is the backup's word"));
    }
    fact("goes back to", plan.target.to_string());
    fact("from backup", plan.base.set.clone());
    if let Some(reach) = &incident.reach {
        let counted = match (reach.lost_commits, reach.lost_seconds) {
            (Some(count), Some(seconds)) => format!("{count} commits, the last {}", span(seconds)),
            (Some(count), None) => format!("{count} commits"),
            _ => String::from("not known"),
        };
        fact("lost by it", if plan.lost { with_uncounted(&counted, incident) } else { counted });
        if let Some(forecast) = &reach.forecast {
            let (least, most) = forecast.total();
            fact("takes", format!("{} to {}", span(least), span(most)));
        }
    }
    fact("stays kept", plan.aside.clone());
    for (at, step) in plan.steps.iter().enumerate() {
        let name = if at == 0 { "steps" } else { "" };
        let mark = if step.destructive { "  (changes what is there)" } else { "" };
        fact(name, format!("{}. {}{mark}", at + 1, step.title));
    }
    if let Some(by) = &incident.approvals.planned_by {
        fact("asked by", by.clone());
    }
    fact("plan", plan.hash.clone());
    facts
}

fn span(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.1} h", s / 3600.0),
    }
}
