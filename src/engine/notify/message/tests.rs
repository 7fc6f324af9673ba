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

#[test]
fn a_call_for_a_level_says_why_whom_and_how_to_answer() {
    use crate::engine::incident::raised::{Because, Raise};
    let mut entries = journal();
    let call = |times| {
        Event::LevelRaised(Raise {
            level: String::from("2"),
            who: String::from("Senior site reliability engineer"),
            contacts: vec![String::from("Rota, +49 30 1")],
            because: Because::Elapsed,
            why: String::from("30 min have passed since the declaration."),
            times,
        })
    };
    entries[2].event = call(1);
    entries[3].event = call(3);
    entries[4].event = Event::LevelAcknowledged { level: String::from("2") };
    let told = messages(&entries, &runbook());
    let seen: Vec<_> = told[2..5].iter().map(|m| (m.topic, m.importance)).collect();
    let (urgent, attention) = (Importance::Urgent, Importance::Attention);
    assert_eq!(
        seen,
        [(Topic::Escalated, urgent), (Topic::Escalated, urgent), (Topic::Acknowledged, attention)]
    );
    assert_eq!(told[2].headline, "orders: level 2 is called: Senior site reliability engineer");
    assert_eq!(
        told[2].text,
        "30 min have passed since the declaration.\nCall Rota, +49 30 1\nAnswer for it with K on \
         any screen, or: lifeboat escalation INC-20260113-001 --acknowledge"
    );
    assert!(told[3].headline.starts_with("orders: level 2 is called again (3): "));
    assert_ne!(told[2].id, told[3].id, "each call arrives for itself");
    assert_eq!((told[4].text.as_str(), told[4].seq), ("By alice.", 5));
}

#[test]
fn a_reminder_names_the_lines_and_whose_they_are() {
    use crate::engine::incident::care::Reminder;
    let mut entries = journal();
    let (item, owner) = (String::from("jobs"), String::from("team data"));
    entries[12].event = Event::ChecklistAssigned { item: item.clone(), owner };
    let overdue = vec![item];
    let soon = vec![String::from("alerts-enabled")];
    entries[13].event = Event::ChecklistReminded(Reminder { soon, overdue });
    let told = messages(&entries, &runbook());
    let reminder = told.iter().find(|m| m.topic == Topic::ChecklistDue).unwrap();
    assert_eq!(
        reminder.headline,
        "orders: checklist of INC-20260113-001: 1 line overdue, 1 line due soon"
    );
    assert!(reminder.text.starts_with("OVERDUE: "), "{}", reminder.text);
    assert!(reminder.text.contains("(team data)\nDue soon: Monitoring alerts re-enabled\n"));
}
