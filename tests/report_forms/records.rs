//! The records made of a report, and people in them.

use crate::{Story, escalated, recovered};
use lifeboat::engine::incident::event::Event;
use lifeboat::engine::incident::facts::{Check, Verdict};
use lifeboat::engine::incident::past::TableLoss;
use lifeboat::engine::report::controls::{Standing, controls};
use lifeboat::engine::report::{People, Report, Roles};

fn with_tables(story: Story) -> Report {
    let table = |relation: &str, inserts, updates, deletes| TableLoss {
        relation: relation.to_owned(),
        inserts,
        updates,
        deletes,
    };
    let story = story.with_reach(|reach| {
        reach.cost.tables =
            Some(vec![table("public.orders", 300, 12, 0), table("public.customers", 3, 0, 1)]);
        reach.cost.more_tables = 2;
    });
    story.report()
}

#[test]
fn the_postmortem_has_the_facts_and_marks_what_is_for_people() {
    let draft = with_tables(escalated()).postmortem();
    insta::assert_snapshot!("postmortem", draft);
    assert!(draft.matches("> **TO WRITE:**").count() >= 8, "{draft}");
}

#[test]
fn the_compliance_record_says_what_it_is_no_evidence_for() {
    insta::assert_snapshot!("compliance", recovered().report().compliance());
    let standing = |report: &Report, clause: &str| {
        controls(report).into_iter().find(|one| one.clause == clause).unwrap().standing
    };
    let real = recovered().report();
    // An incident is no test, whatever was recovered in it.
    assert_eq!(standing(&real, "A1.3"), Standing::Part);
    assert_eq!(standing(&real, "8.5"), Standing::NotEvidence);
    assert_eq!(standing(&real, "Art. 12(7)"), Standing::Evidence);
    assert_eq!(standing(&real, "Art. 12(3)"), Standing::NotEvidence);
    let mut drill = recovered();
    if let Event::IncidentDeclared(declaration) = &mut drill.entries[0].event {
        declaration.drill = Some(String::from("corruption"));
    }
    assert_eq!(standing(&drill.report(), "A1.3"), Standing::Evidence);
    // What was not verified is no whole evidence, and what never served is none.
    let checks = vec![Check {
        id: String::from("application"),
        title: String::from("application"),
        verdict: Verdict::CouldNotVerify,
        expected: None,
        found: None,
        detail: String::new(),
        duration_ms: 1,
    }];
    drill.tell(Event::ValidationRun { checks });
    assert_eq!(standing(&drill.report(), "A1.3"), Standing::Part);
    assert_eq!(standing(&drill.report(), "Art. 12(7)"), Standing::Part);
    let declared = Story::begin("orders are gone", None).report();
    let none = controls(&declared);
    assert!(none.iter().all(|one| one.standing != Standing::Evidence), "{none:#?}");
}

#[test]
fn the_compliance_record_for_programs_says_the_same() {
    let report = recovered().report();
    let record: serde_json::Value =
        serde_json::from_str(&report.compliance_json().unwrap()).unwrap();
    let told = record["controls"].as_array().unwrap();
    let known = controls(&report);
    assert_eq!(told.len(), known.len());
    for (told, known) in told.iter().zip(&known) {
        assert_eq!(*told, serde_json::to_value(known).unwrap());
    }
    let of = |clause: &str| told.iter().find(|one| one["clause"] == clause).unwrap();
    assert_eq!(of("8.5")["standing"], "not_evidence");
    assert_eq!(of("A1.3")["standing"], "part");
    assert_eq!(record["rto_seconds"].as_f64(), report.rto.actual_seconds);
    assert_eq!(record["journal_head"].as_str(), report.journal.head.as_deref());
}

#[test]
fn the_data_loss_is_stated_by_table_and_what_is_not_known_is_said() {
    insta::assert_snapshot!("data-loss", with_tables(recovered()).data_loss());
    let unknown = recovered().with_reach(|reach| {
        (reach.lost_commits, reach.cost.tables) = (None, None);
    });
    let told = unknown.report().data_loss();
    assert!(told.contains("How much is lost is NOT KNOWN."), "{told}");
    assert!(told.contains("NOT KNOWN: rows could not be counted by table."), "{told}");
}

#[test]
fn people_stand_by_role_unless_names_are_asked_for() {
    let story = escalated();
    let incident =
        lifeboat::engine::incident::Incident::replay(&story.entries).expect("a whole journal");
    let named = story.report();
    let report = named.clone().by_role(&Roles::of(&incident.acted));
    assert_eq!((named.people, report.people), (People::Names, People::Roles));
    let forms = [
        report.markdown(),
        report.html(),
        report.json().unwrap(),
        report.postmortem(),
        report.compliance(),
        report.compliance_json().unwrap(),
        report.data_loss(),
    ];
    let names = |form: &str| form.split(|c: char| !c.is_alphanumeric()).any(|word| word == "ada");
    for form in &forms {
        assert!(!names(form), "a name is in it: {form}");
    }
    assert!(forms[0].contains("commander") && names(&named.markdown()));
    // How people are reached is in no report, with names or without.
    assert!(!named.markdown().contains("+49") && !named.json().unwrap().contains("+49"));
}

#[test]
fn the_print_is_the_same_for_the_same_report_and_takes_any_text() {
    let report = with_tables(escalated());
    let print = report.pdf().unwrap();
    assert!(print.starts_with(b"%PDF-") && print.len() > 20_000, "{} bytes", print.len());
    assert_eq!(report.pdf().unwrap(), print);
    let long = "Größe und Лодка 日本 \u{202e}\u{0}".repeat(400);
    let mut story = Story::begin(&"x".repeat(3000), Some("a\nb"));
    story.tell(Event::NoteAdded {
        topic: lifeboat::engine::incident::facts::Topic::Symptom,
        text: long.clone(),
    });
    story.tell(Event::ChecklistWaived { item: String::from("jobs"), reason: long });
    assert!(story.report().pdf().unwrap().starts_with(b"%PDF-"));
}
