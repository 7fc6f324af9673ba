//! Salvage in the incident's model, on made-up journals: what it puts aside and gives back, and how its
//! line of the checklist stands.

use super::*;
use crate::engine::checklist::{Checklist, LATER_WRITES};
use crate::engine::incident::event::{Decision, Event};
use crate::engine::incident::facts::{Procedure, Reach};
use crate::engine::incident::fixture::{at, declared, finish, plan, running, start, tell};
use crate::engine::incident::model::Phase;
use crate::engine::incident::parts::{Part, PartsChoice, PartsDone, PartsLook};
use crate::engine::incident::past::Cost;
use crate::engine::parts::Scope;
use crate::engine::parts::apply::Applied;
use crate::engine::parts::compare::{Difference, Prints};
use crate::engine::parts::names::Name;
use crate::engine::parts::roles::Missing;
use crate::engine::parts::work::{Wanted, Written};
use crate::engine::report::Report;
use crate::engine::runbook::Runbook;
use crate::engine::runner::guard;
use crate::engine::runner::protocol::Command;
use crate::engine::validate::check::begin;

fn lost(relation: &str, inserts: u64) -> TableLoss {
    TableLoss { relation: relation.to_owned(), inserts, updates: 0, deletes: 0 }
}

fn reach(lost_commits: Option<u64>, tables: Vec<TableLoss>) -> Reach {
    let plan = plan();
    Reach {
        target: plan.target,
        reachable: true,
        checks: Vec::new(),
        base: Some(plan.base),
        last_kept: None,
        first_lost: None,
        lost_commits,
        lost_seconds: None,
        nearest: Vec::new(),
        wal_bytes: 0,
        minimum_settings: Vec::new(),
        forecast: None,
        line: Vec::new(),
        cost: Cost { tables: Some(tables), ..Cost::default() },
        procedure: Procedure::default(),
        on_disk: None,
        alternative: None,
    }
}

/// Recovered, and serving since 10:10.
fn recovered(lost_commits: u64, tables: Vec<TableLoss>) -> Incident {
    let mut incident = declared();
    tell(&mut incident, "10:04:00", Event::TargetChosen(reach(Some(lost_commits), tables)));
    running(&mut incident, "10:05:00");
    for step in ["restore-base", "replay", "inspect", "open", "validate"] {
        start(&mut incident, "10:06:00", step);
        finish(&mut incident, "10:10:00", step);
    }
    tell(&mut incident, "10:11:00", Event::RunFinished);
    incident
}

/// The plan of a salvage, with the steps that the model knows.
fn salvage() -> Plan {
    let mut plan = plan();
    let (kept, sandbox) = (plan.aside.clone(), String::from("/srv/orders.salvage"));
    plan.procedure =
        Procedure::Parts { sandbox, database: None, tables: Vec::new(), kept: Some(kept) };
    plan.hash = String::from("11");
    let ids = ["salvage-copy", "salvage-start", "parts-choose", "parts-carry", "parts-prove"];
    plan.steps.truncate(ids.len());
    for (step, id) in plan.steps.iter_mut().zip(ids) {
        step.id = id.to_owned();
    }
    plan
}

fn found(table: &str, missing: u64, changed: u64, newer: u64) -> Difference {
    Difference {
        table: table.to_owned(),
        by_key: true,
        rows_in_source: 9,
        rows_in_production: 9,
        missing,
        changed,
        newer,
        prints: Prints::default(),
        definition: Vec::new(),
        samples: Vec::new(),
    }
}

fn look(differences: Vec<Difference>) -> PartsLook {
    let names = differences.iter().map(|found| Name::parse(&found.table).unwrap()).collect();
    PartsLook {
        part: Part::Of(Wanted { database: String::from("shop"), scope: Scope::Tables(names) }),
        differences,
        absent: Vec::new(),
        schema_absent: false,
        missing_roles: Vec::new(),
        partitions: vec![String::from("public.days_1")],
        whole: None,
    }
}

fn begun(incident: &mut Incident) {
    tell(incident, "11:00:00", Event::PlanMade(salvage()));
    tell(incident, "11:00:10", Event::GatePassed { plan_hash: String::from("11") });
    tell(incident, "11:00:11", Event::RunStarted { plan_hash: String::from("11") });
    for step in ["salvage-copy", "salvage-start"] {
        start(incident, "11:00:12", step);
        finish(incident, "11:00:13", step);
    }
    start(incident, "11:00:14", "parts-choose");
}

/// From the look to the end, with the classes that were taken.
fn carried(incident: &mut Incident, look: PartsLook, taken: Choice, verdict: Verdict) {
    begun(incident);
    tell(incident, "11:01:00", Event::PartsSeen(look));
    let carry = Carry::Of { into: Into::Place(taken) };
    let choice = PartsChoice { carry, missing_roles: Missing::Ask, seen: String::new() };
    tell(incident, "11:01:10", Event::PartsChosen(choice));
    finish(incident, "11:01:10", "parts-choose");
    start(incident, "11:01:11", "parts-carry");
    let applied = Applied {
        table: String::from("public.orders"),
        inserted: 5,
        overwritten: 0,
        removed: 0,
        sequences: Vec::new(),
    };
    let written = Written { applied: vec![applied], ..Written::default() };
    tell(incident, "11:01:12", Event::PartsCarried(PartsDone::Of(written)));
    finish(incident, "11:01:12", "parts-carry");
    start(incident, "11:01:13", "parts-prove");
    let mut check = begin("counts:public.orders", "public.orders has it").verified("compared");
    check.verdict = verdict;
    tell(incident, "11:01:14", Event::ValidationRun { checks: vec![check] });
    finish(incident, "11:01:14", "parts-prove");
    tell(incident, "11:01:15", Event::RunFinished);
}

fn missing() -> Choice {
    Choice { missing: true, ..Choice::default() }
}

fn stands(incident: &Incident) -> Option<Verdict> {
    let list = Checklist::of(incident, &Runbook::load(None).unwrap(), at("12:00:00"));
    list.line(LATER_WRITES).map(|line| line.proposal.clone().unwrap().verdict)
}

#[test]
fn a_salvage_stands_in_the_recoverys_place_and_gives_it_back() {
    let mut incident = recovered(7, vec![lost("public.orders", 5)]);
    let before = incident.clone();
    tell(&mut incident, "10:20:00", Event::ValidationRun { checks: Vec::new() });
    let clocks = incident.clocks.clone();
    begun(&mut incident);
    assert!(incident.is_salvaging() && incident.phase() == Phase::Restore);
    assert_eq!(incident.plan.as_ref().unwrap().hash, "11");
    assert_eq!(incident.clocks, clocks, "the clocks are the recovery's");
    let settled = incident.settled().into_owned();
    assert_eq!((&settled.plan, &settled.gate), (&before.plan, &before.gate));
    assert_eq!((settled.status, &settled.steps), (before.status, &before.steps));
    // The checklist and its time are the recovery's meanwhile.
    assert_eq!(stands(&incident), Some(Verdict::NotRun));
    let list = Checklist::of(&incident, &Runbook::load(None).unwrap(), at("12:00:00"));
    assert_eq!(list.since, Some(at("10:10:00")));
    assert!(list.line("timeline").is_some());

    // Nothing else is planned, validated or closed beside it.
    let refused = |command: &Command| guard::check(&incident, command, false).unwrap_err().what;
    for command in [
        Command::MakePlan,
        Command::ChooseTarget { target: before.plan.as_ref().unwrap().target.clone() },
        Command::Validate,
        Command::PlanSalvage,
        Command::Close { summary: String::from("done") },
    ] {
        assert!(refused(&command).contains("salvage is under way"), "{command:?}");
    }
    let care = Command::RunCare { item: String::from("sequences"), agreed: Vec::new() };
    assert_eq!(guard::check(&incident, &care, false), Ok(()), "the safety list goes on");

    // Given up at its question, and put back: the recovery is as it was.
    let step = String::from("parts-choose");
    let question = String::from("What?");
    tell(&mut incident, "11:02:00", Event::StepHeld { step: step.clone(), question });
    let decision = Decision::Abandon;
    tell(&mut incident, "11:02:01", Event::Decided { step: step.clone(), decision });
    tell(&mut incident, "11:02:01", Event::RunCancelled { step: Some(step) });
    assert!(incident.is_salvaging(), "its copy is still there");
    tell(&mut incident, "11:02:02", Event::UndoStarted);
    tell(&mut incident, "11:02:03", Event::UndoFinished);
    assert!(!incident.is_salvaging() && incident.status == RunStatus::Finished);
    assert_eq!((&incident.plan, &incident.steps), (&before.plan, &before.steps));
    assert_eq!(incident.approvals.planned_by, before.approvals.planned_by);
    let ended = incident.salvages.last().unwrap();
    assert_eq!((ended.status, ended.has_carried()), (RunStatus::Undone, false));
    assert_eq!(ended.words(), "nothing was carried over");
    assert!(incident.timeline.iter().any(|line| line.text.starts_with("The salvage has ended")));
    // And another one can begin; one that has touched nothing just goes.
    assert_eq!(guard::check(&incident, &Command::PlanSalvage, false), Ok(()));
    tell(&mut incident, "11:03:00", Event::PlanMade(salvage()));
    tell(&mut incident, "11:03:10", Event::RunCancelled { step: None });
    assert!(!incident.is_salvaging() && incident.salvages.len() == 2);
}

#[test]
fn nothing_left_behind_asks_for_nothing() {
    assert_eq!(stands(&recovered(0, Vec::new())), None);
    let mut lost_server = recovered(3, vec![lost("public.orders", 5)]);
    assert_eq!(stands(&lost_server), Some(Verdict::NotRun));
    lost_server.plan.as_mut().unwrap().lost = true;
    assert_eq!(stands(&lost_server), None, "there is no directory to bring anything from");
    let refused = guard::check(&lost_server, &Command::PlanSalvage, false).unwrap_err();
    assert!(refused.what.contains("kept no damaged directory"), "{refused}");
    assert_eq!(stands(&declared()), None);
}

#[test]
fn the_line_is_proven_only_where_all_of_it_is_back() {
    let tables = vec![lost("public.orders", 5), lost("public.days_1 in shop", 2)];
    let mut whole = recovered(7, tables.clone());
    carried(&mut whole, look(vec![found("public.orders", 5, 0, 0)]), missing(), Verdict::Verified);
    assert!(whole.left().is_nothing(), "{:?}", whole.left());
    let (verdict, text) = whole.salvaged();
    assert_eq!(verdict, Verdict::Verified, "{text}");
    assert!(
        text.contains("5 inserted") && text.starts_with("not brought back: nothing;"),
        "{text}"
    );

    // Rows that were left as they are, and a table of which nothing was taken up.
    let mut part = recovered(7, [tables, vec![lost("public.carts", 4)]].concat());
    let seen = || look(vec![found("public.orders", 5, 2, 40)]);
    carried(&mut part, seen(), missing(), Verdict::Verified);
    let (verdict, text) = part.salvaged();
    assert_eq!(verdict, Verdict::NotRun, "a person says what becomes of the rest");
    let rest = "public.orders (2 changed, 40 newer); public.carts (all: 4 rows by the log)";
    assert!(text.starts_with(&format!("not brought back: {rest}; ")), "{text}");
    // What is looked at again counts as it was seen last.
    let all = Choice { missing: true, changed: true, newer: true, ..Choice::default() };
    carried(&mut part, look(vec![found("public.orders", 0, 2, 0)]), all, Verdict::Verified);
    assert_eq!(part.left().rows, []);
    assert_eq!(part.left().unseen, [lost("public.carts", 4)]);
    // What could not be compared is no proof.
    let mut doubtful = recovered(7, Vec::new());
    carried(&mut doubtful, seen(), missing(), Verdict::CouldNotVerify);
    assert_eq!(doubtful.salvaged().0, Verdict::CouldNotVerify);
}

#[test]
fn the_statement_says_what_came_back_what_stays_lost_and_who_gave_it_up() {
    let runbook = Runbook::load(None).unwrap();
    let mut incident = recovered(7, vec![lost("public.orders", 5), lost("public.carts", 4)]);
    let statement =
        |incident: &Incident| Report::from(incident, &runbook, at("12:00:00")).data_loss();
    let before = statement(&incident);
    assert!(before.contains("all of it: nothing was brought back"), "{before}");
    assert!(before.contains("Nobody has settled what is left"), "{before}");
    carried(
        &mut incident,
        look(vec![found("public.orders", 5, 0, 0)]),
        missing(),
        Verdict::Verified,
    );
    let after = statement(&incident);
    assert!(after.contains("7 committed transactions are not in the database. Of what they wrote"));
    assert!(after.contains("5 inserted") && after.contains("VERIFIED"), "{after}");
    assert!(after.contains("public.carts (all: 4 rows by the log)"), "{after}");
    let (item, reason) = (LATER_WRITES.to_owned(), String::from("carts are worth nothing by now"));
    tell(&mut incident, "11:30:00", Event::ChecklistWaived { item, reason });
    let settled = statement(&incident);
    assert!(settled.contains("Given up: carts are worth nothing by now"), "{settled}");
    assert!(settled.contains("ada") && !settled.contains("Nobody has settled"), "{settled}");
    let report = Report::from(&incident, &runbook, at("12:00:00"));
    for form in [report.markdown(), report.html(), report.json().unwrap()] {
        assert!(form.contains("public.carts (all: 4"), "{form}");
    }
}

#[test]
fn what_lost_most_is_looked_at_first_in_one_database() {
    let tables = [
        lost("public.orders in shop", 9),
        lost("1 file that no backup names", 5),
        lost("public.papers in office", 4),
        lost("Odd.we\"ird in shop", 3),
    ];
    let (database, first) = lost_most(&tables, 9);
    assert_eq!(database.as_deref(), Some("shop"));
    assert_eq!(first, ["\"public\".\"orders\"", "\"Odd\".\"we\"\"ird\""]);
    assert_eq!(lost_most(&tables, 1).1.len(), 1);
    assert_eq!(lost_most(&[], 9), (None, Vec::new()));
}

/// By the command line, which may do so at any time: it counts as one from the screens.
#[test]
fn a_salvage_by_the_command_line_counts_and_only_of_the_directory_that_was_kept() {
    let mut incident = recovered(7, vec![lost("public.orders", 5)]);
    let aside = incident.plan.as_ref().unwrap().aside.clone();
    let carry = Carry::Of { into: Into::Place(missing()) };
    let written = Applied {
        table: String::from("public.orders"),
        inserted: 5,
        overwritten: 0,
        removed: 0,
        sequences: Vec::new(),
    };
    let done = ByCommand {
        kept: aside,
        begun: at("11:00:00"),
        look: look(vec![found("public.orders", 5, 0, 0)]),
        choice: PartsChoice { carry, missing_roles: Missing::Ask, seen: String::new() },
        done: PartsDone::Of(Written { applied: vec![written], ..Written::default() }),
        checks: vec![begin("counts:public.orders", "public.orders has it").verified("compared")],
    };
    let asked = |done: &ByCommand| Command::RecordSalvage(Box::new(done.clone()));
    assert_eq!(guard::check(&incident, &asked(&done), false), Ok(()));
    let other = ByCommand { kept: String::from("/srv/elsewhere"), ..done.clone() };
    let refused = guard::check(&incident, &asked(&other), false).unwrap_err();
    assert!(refused.what.contains("/srv/elsewhere"), "{refused}");
    assert!(guard::check(&declared(), &asked(&done), false).is_err(), "nothing was recovered");

    assert_eq!(stands(&incident), Some(Verdict::NotRun));
    tell(&mut incident, "11:01:00", Event::SalvagedByCommand(done.clone()));
    assert_eq!(stands(&incident), Some(Verdict::Verified));
    let (_, text) = incident.salvaged();
    assert!(text.contains("public.orders of the database shop: 5 inserted"), "{text}");
    let last = incident.salvages.last().unwrap();
    assert_eq!((&*last.by, last.ended, &*last.kept), ("ada", at("11:01:00"), &*done.kept));
    assert!(!incident.is_salvaging(), "the recovery stands as it was");
    // While the screens have one under way, and after the incident was closed, too.
    begun(&mut incident);
    assert_eq!(guard::check(&incident, &asked(&done), true), Ok(()));
    let mut closed = recovered(7, Vec::new());
    tell(&mut closed, "12:00:00", Event::IncidentClosed { summary: String::from("done") });
    assert_eq!(guard::check(&closed, &asked(&done), false), Ok(()));
}
