//! Which plans need a second person, and what the runner does about it: it writes down that one is
//! needed, takes an approval, a no or a waiver, and lets nothing begin without. Owns the rules of
//! the configuration against an incident; never trusts what a screen says, and how an approval
//! stands is [`crate::engine::incident::approval`]'s.

use super::guard::refusal;
use super::protocol::Command;
use crate::engine::config::Operator;
use crate::engine::config::approval::{Approval, Signatures};
use crate::engine::explain::Explanation;
use crate::engine::incident::approval::{self, Asked, Given, Standing};
use crate::engine::incident::facts::{Actor, Role};
use crate::engine::incident::model::RunStatus;
use crate::engine::incident::{Event, Incident};
use crate::engine::signature::{self, Found, Kept};
use jiff::Timestamp;
use nix::unistd::{Uid, User};

/// A reason in writing has at least so many characters.
const REASON: usize = 10;

/// The policy, and who there is.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub policy: Approval,
    pub signatures: Signatures,
    pub operators: Vec<Operator>,
}

impl Rules {
    /// The request for an approval, where a rule asks for one and nobody has written that down.
    pub(super) fn asks(&self, incident: &Incident) -> Option<Asked> {
        let plan = incident.plan.as_ref()?;
        let over = matches!(incident.status, RunStatus::Finished | RunStatus::Undone);
        let asked = |one: &approval::By<Asked>| one.what.plan_hash == plan.hash;
        if over || incident.closing.is_some() || incident.approvals.asked.iter().any(asked) {
            return None;
        }
        let why = self.why(incident);
        (!why.is_empty()).then(|| self.request(incident, why))
    }

    /// The request again, before a step that may not begin.
    pub(super) fn asks_before(&self, incident: &Incident, step: &str, why: &str) -> Asked {
        let asked = self.request(incident, vec![why.to_owned()]);
        Asked { before_step: Some(step.to_owned()), ..asked }
    }

    fn request(&self, incident: &Incident, why: Vec<String>) -> Asked {
        let plan = incident.plan.as_ref();
        let steps = self.policy.steps.iter();
        let named = steps.filter(|id| plan.is_some_and(|plan| plan.step(id).is_some()));
        let second = |user: &String| approval::is_second(incident, user).is_ok();
        Asked {
            plan_hash: plan.map(|plan| plan.hash.clone()).unwrap_or_default(),
            why,
            may: self.approvers().into_iter().filter(second).collect(),
            steps: named.cloned().collect(),
            before_step: None,
        }
    }

    fn why(&self, incident: &Incident) -> Vec<String> {
        let (policy, declaration) = (&self.policy, &incident.declaration);
        let mut why = Vec::new();
        if policy.environments.contains(&declaration.environment) {
            why.push(format!("environment {}", declaration.environment));
        }
        if policy.tiers.contains(&declaration.tier) {
            why.push(format!("tier {:?}", declaration.tier).to_lowercase());
        }
        if let Some(severity) = incident.severity.filter(|own| policy.severities.contains(own)) {
            why.push(format!("severity {}", severity.word()));
        }
        let plan = incident.plan.as_ref();
        let has = |id: &&String| plan.is_some_and(|plan| plan.step(id).is_some());
        why.extend(policy.steps.iter().filter(has).map(|id| format!("step {id}")));
        why
    }

    /// Everybody who may approve what others ask for.
    fn approvers(&self) -> Vec<String> {
        if self.operators.is_empty() {
            let name = |uid| User::from_uid(uid).ok().flatten().map(|user| user.name);
            let mut names: Vec<_> =
                [Uid::from_raw(0), Uid::effective()].into_iter().filter_map(name).collect();
            names.dedup();
            return names;
        }
        let may = self.operators.iter().filter(|one| one.role.covers(Role::Approver));
        may.map(|one| one.user.clone()).collect()
    }

    /// What is found of the signature that comes with a command; `None` where none does. Runs a
    /// program, so never under the lock.
    ///
    /// # Errors
    /// A refusal where the signature is bad, or of another text: then something is wrong.
    pub(super) fn kept(
        &self,
        incident: &str,
        cluster: &str,
        actor: &Actor,
        command: &Command,
        now: Timestamp,
    ) -> Result<Option<Kept>, Explanation> {
        let user = &actor.user;
        let (signed, namespace, lines) = match command {
            Command::Approve { plan_hash, signed: Some(signed), .. } => {
                let lines = signature::approval(incident, cluster, plan_hash, user);
                (signed, signature::APPROVAL, lines)
            }
            Command::SignWith { sign, signed } => {
                (signed, signature::CHECKLIST, signature::sign_off(incident, sign, user))
            }
            _ => return Ok(None),
        };
        let refused = |why: &str| {
            refusal(
                format!("The signature does not count: {why}."),
                "Sign again, or without a key.",
            )
        };
        signature::is_about(signed, &lines, now).map_err(|why| refused(&why))?;
        let allowed = self.signatures.allowed_signers.as_deref();
        match signature::verify(signed, namespace, user, allowed, now) {
            Found::Bad(why) => Err(refused(&why)),
            when_taken => Ok(Some(Kept { signed: signed.clone(), when_taken })),
        }
    }

    /// Where signatures are required, nothing but a good one is enough.
    fn signed_enough(&self, kept: Option<&Kept>) -> Result<(), Explanation> {
        let found = kept.map(|kept| &kept.when_taken);
        if !self.signatures.required || found.is_some_and(Found::counts) {
            return Ok(());
        }
        let how = "lifeboat approve --key ~/.ssh/id_ed25519 (or the .pub of a key in your agent)";
        Err(refusal(
            match found {
                Some(found) => format!("Approvals have to be signed; this one: {}.", found.told()),
                None => {
                    String::from("Approvals have to be signed with an SSH key; this one is not.")
                }
            },
            format!("Type: {how}"),
        ))
    }

    /// What an approval, a no or a waiver becomes in the journal.
    ///
    /// # Errors
    /// A refusal for the wrong person, the wrong plan, the wrong moment.
    pub(super) fn decided(
        &self,
        incident: &Incident,
        actor: &Actor,
        command: &Command,
        kept: Option<Kept>,
        now: Timestamp,
    ) -> Result<Event, Explanation> {
        match command {
            Command::Approve { plan_hash, cluster, .. } => {
                open(incident, plan_hash, now)?;
                approval::is_second(incident, &actor.user)?;
                if cluster != &incident.declaration.cluster {
                    return Err(refusal(
                        format!("You typed \"{cluster}\", which is not the cluster of this plan."),
                        "Type the cluster's name exactly as the plan shows it.",
                    ));
                }
                self.signed_enough(kept.as_ref())?;
                let until = now.checked_add(self.policy.valid()).unwrap_or(now);
                let plan_hash = plan_hash.clone();
                Ok(Event::ApprovalGiven(Given { plan_hash, until, signed: kept }))
            }
            Command::DeclineApproval { plan_hash, reason } => {
                open(incident, plan_hash, now)?;
                approval::is_second(incident, &actor.user)?;
                written(reason)?;
                let (plan_hash, reason) = (plan_hash.clone(), reason.trim().to_owned());
                Ok(Event::ApprovalDeclined { plan_hash, reason })
            }
            Command::WaiveApproval { plan_hash, reason } => {
                open(incident, plan_hash, now)?;
                written(reason)?;
                let (plan_hash, reason) = (plan_hash.clone(), reason.trim().to_owned());
                Ok(Event::ApprovalWaived { plan_hash, reason })
            }
            _ => Err(refusal("This is no word on an approval.", "")),
        }
    }
}

/// A plan that waits for a word, and it is the one that was shown.
fn open(incident: &Incident, plan_hash: &str, now: Timestamp) -> Result<(), Explanation> {
    let Some(plan) = &incident.plan else {
        return Err(refusal("There is no plan to approve.", "The commander makes it first."));
    };
    if !plan.is_sealed() {
        return Err(refusal("The plan's hash does not fit its content.", "Make the plan again."));
    }
    if plan.hash != plan_hash {
        return Err(refusal(
            "The plan has changed since it was shown to you.",
            "Read the plan as it is now, then decide about that one.",
        ));
    }
    match approval::standing(incident, now) {
        Standing::NotNeeded => {
            Err(refusal("No rule asks for an approval of this plan.", "The gate can be passed."))
        }
        Standing::Waived(by) => Err(refusal(
            format!("{} has waived the approval of this plan.", by.by),
            "It stands in the journal and in the report.",
        )),
        _ if incident.status == RunStatus::Finished => {
            Err(refusal("This recovery has finished.", ""))
        }
        _ => Ok(()),
    }
}

pub(super) fn written(reason: &str) -> Result<(), Explanation> {
    if reason.trim().chars().count() >= REASON {
        return Ok(());
    }
    Err(refusal(
        format!("The reason is shorter than {REASON} characters."),
        "Write down why, so that somebody who was not here understands it.",
    ))
}
