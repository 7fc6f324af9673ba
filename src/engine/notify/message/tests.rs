//! The rules of what is told, on the journal of a whole incident.

use super::fixture::{journal, runbook};
use super::*;

#[test]
fn an_incident_tells_what_people_have_to_know_and_no_more() {
    let told = messages(&journal(), &runbook());
    let seen: Vec<(u64, Topic, Importance)> =
        told.iter().map(|m| (m.seq, m.topic, m.importance)).collect();
    use Importance::{Attention, Info, Urgent};
    assert_eq!(
        seen,
        [
            (1, Topic::Declared, Urgent),
            (2, Topic::SeveritySet, Urgent),
            (4, Topic::RecoveryStarted, Attention),
            (6, Topic::StepFailed, Urgent),
            (9, Topic::DecisionNeeded, Urgent),
            (12, Topic::Serving, Attention),
            (13, Topic::Validated, Info),
            (15, Topic::Closed, Info),
        ]
    );
    assert_eq!(told[0].headline, "Incident on orders: orders of the last hour are gone");
    assert_eq!(told[0].id, "INC-20260113-001/1");
    assert_eq!(told[5].text, "It was away for 11 min. The validation comes next.");
    assert!(told[3].text.contains("The repository did not answer."), "{}", told[3].text);
    assert!(told[7].text.ends_with("All rows are back."));
}

#[test]
fn the_same_journal_gives_the_same_messages_as_it_grows() {
    let entries = journal();
    let whole = messages(&entries, &runbook());
    for most in 0..entries.len() {
        let part = messages(&entries[..most], &runbook());
        assert_eq!(part[..], whole[..part.len()]);
    }
    assert_eq!(messages(&entries[1..], &runbook()), [], "no declaration, no incident");
}

#[test]
fn a_validation_that_did_not_pass_is_urgent_and_names_what() {
    let mut entries = journal();
    let Event::ValidationRun { checks } = &mut entries[12].event else { panic!() };
    checks[0].verdict = Verdict::CouldNotVerify;
    let told = messages(&entries, &runbook());
    assert_eq!(told[6].importance, Importance::Urgent);
    assert_eq!(told[6].headline, "orders: validation COULD NOT VERIFY");
    assert_eq!(told[6].text, "COULD NOT VERIFY: rows of public.orders");
}

#[test]
fn a_drill_says_so_in_its_first_word() {
    let mut entries = journal();
    let Event::IncidentDeclared(declaration) = &mut entries[0].event else { panic!() };
    declaration.drill = Some(String::from("corruption"));
    assert!(
        messages(&entries, &runbook()).iter().all(|m| m.drill && m.headline.starts_with("DRILL: "))
    );
}

#[test]
fn spans_are_told_in_words() {
    let told: Vec<String> = [40, 300, 3600, 4800].into_iter().map(minutes).collect();
    assert_eq!(told, ["40 s", "5 min", "1 h", "1 h 20 min"]);
}
