//! Lines that Lifeboat proves itself: what has to be run for one, and whether that is evidence enough.
//! Owns these two answers; runs nothing and signs nothing.

use super::{CARE, Checklist, SALVAGE};
use crate::engine::explain::{Explanation, Kind};
use crate::engine::incident::Incident;
use crate::engine::incident::facts::Verdict;
use crate::engine::runbook::{ChecklistItem, Proof as By, Runbook};
use crate::engine::runner::work::Proof;
use jiff::Timestamp;

/// What has to be run so that the line is proven, each once.
///
/// # Errors
/// [`Kind::NotFound`] where there is no such line; [`Kind::Refused`] where only a person can say.
pub fn proofs(runbook: &Runbook, line: &str) -> Result<Vec<Proof>, Explanation> {
    let item = item(runbook, line)?;
    if item.proof != By::Tool || item.shown_by.is_empty() {
        return Err(Explanation::new(
            Kind::Refused,
            format!("\"{}\" cannot be proven by Lifeboat.", item.text),
            "Nothing was signed.",
            format!("Sign it with what you saw. What counts: {}", item.hint),
        ));
    }
    let mut proofs = Vec::new();
    // A salvage is a person's to begin, and needs a choice: nothing can be run for it here.
    for shown_by in item.shown_by.iter().filter(|by| *by != SALVAGE) {
        let proof = match shown_by.strip_prefix(CARE) {
            Some(care) => Proof::Care(care.to_owned()),
            None if shown_by == "report" => Proof::Report,
            None => Proof::Validation,
        };
        if !proofs.contains(&proof) {
            proofs.push(proof);
        }
    }
    Ok(proofs)
}

/// The evidence, where all of it is VERIFIED.
///
/// # Errors
/// [`Kind::Refused`], with what is missing.
pub fn proven(incident: &Incident, runbook: &Runbook, line: &str) -> Result<String, Explanation> {
    let item = item(runbook, line)?;
    // How a line stands by its evidence does not depend on the time.
    let list = Checklist::of(incident, runbook, Timestamp::UNIX_EPOCH);
    let proposal = list.line(line).and_then(|line| line.proposal.clone());
    match proposal {
        Some(proposal) if proposal.verdict == Verdict::Verified => {
            Ok(format!("Proven by Lifeboat: {}", proposal.text))
        }
        other => {
            let (word, text) = other.map_or(("NOT RUN", String::new()), |proposal| {
                (proposal.verdict.word(), proposal.text)
            });
            Err(Explanation::new(
                Kind::Refused,
                format!("\"{}\" is not proven: {word}. {text}.", item.text),
                "Nothing was signed.",
                "Mend what is missing and prove it again, sign it with what you saw, or waive it \
                 with a reason.",
            ))
        }
    }
}

fn item<'a>(runbook: &'a Runbook, line: &str) -> Result<&'a ChecklistItem, Explanation> {
    runbook.checklist().iter().find(|item| item.id == line).ok_or_else(|| {
        Explanation::new(
            Kind::NotFound,
            format!("The checklist has no line \"{line}\"."),
            "Nothing was changed.",
            "Its lines: lifeboat checklist INC-….",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::incident::event::Event;
    use crate::engine::incident::facts::Check;
    use crate::engine::incident::fixture::{declared, tell};

    fn check(id: &str, verdict: Verdict) -> Check {
        let title = format!("Check of {id}");
        let (expected, found, detail) = (None, None, String::new());
        Check { id: id.to_owned(), title, verdict, expected, found, detail, duration_ms: 1 }
    }

    #[test]
    fn a_line_says_what_has_to_be_run_for_it() {
        let runbook = Runbook::load(None).unwrap();
        let needs = |line: &str| proofs(&runbook, line);
        assert_eq!(needs("database-accessible"), Ok(vec![Proof::Validation]));
        assert_eq!(needs("performance-baseline"), Ok(vec![Proof::Validation]));
        assert_eq!(needs("metrics-documented"), Ok(vec![Proof::Report]));
        let care = |item: &str| Proof::Care(item.to_owned());
        assert_eq!(needs("backups-resumed"), Ok(vec![care("archiving"), care("first-backup")]));
        assert_eq!(needs("alerts-enabled").unwrap_err().kind, Kind::Refused);
        assert_eq!(needs("nonsense").unwrap_err().kind, Kind::NotFound);
    }

    #[test]
    fn only_verified_is_proof() {
        let (runbook, mut incident) = (Runbook::load(None).unwrap(), declared());
        let line = "database-accessible";
        let refused = proven(&incident, &runbook, line).unwrap_err();
        assert!(refused.what.contains("NOT RUN"), "{refused}");
        let mut checks = vec![check("application:connection", Verdict::CouldNotVerify)];
        tell(&mut incident, "10:20:00", Event::ValidationRun { checks: checks.clone() });
        let refused = proven(&incident, &runbook, line).unwrap_err();
        assert!(refused.what.contains("COULD NOT VERIFY"), "{refused}");
        checks[0].verdict = Verdict::Verified;
        tell(&mut incident, "10:21:00", Event::ValidationRun { checks });
        let evidence = proven(&incident, &runbook, line).unwrap();
        assert_eq!(evidence, "Proven by Lifeboat: Check of application:connection: VERIFIED");
    }
}
