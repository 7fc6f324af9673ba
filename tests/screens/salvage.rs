//! A salvage told to the screens, from the checklist's line to what came of it. The plan is the
//! engine's own, made of values: no server and no directory is asked.

use super::fixture::{self, Story};
use super::full::cluster;
use super::parts::{found, wanted};
use jiff::SignedDuration;
use lifeboat::app::model::{App, Effect};
use lifeboat::engine::checklist::LATER_WRITES;
use lifeboat::engine::incident::event::{Decision, Event as J};
use lifeboat::engine::incident::facts::*;
use lifeboat::engine::incident::model::{Phase, RunStatus};
use lifeboat::engine::incident::parts::{Carry, PartsChoice, PartsDone, PartsLook};
use lifeboat::engine::incident::past::TableLoss;
use lifeboat::engine::parts::Choice;
use lifeboat::engine::parts::apply::Applied;
use lifeboat::engine::parts::roles::Missing;
use lifeboat::engine::parts::run::salvage;
use lifeboat::engine::parts::work::{Into, Written};
use lifeboat::engine::runbook::Runbook;
use lifeboat::engine::runner::plan::Plan;
use lifeboat::engine::runner::protocol::{Answer, Command, Message};
use lifeboat::screens::commands::{Id, Key};
use lifeboat::screens::guide::guide;
use lifeboat::screens::theme::{Palette, Theme};
use lifeboat::screens::view::Page;

/// Recovered and validated; the loss is known by table.
fn ending(theme: Theme) -> Story {
    let mut s = Story::ending(theme);
    let table = |relation: &str, inserts, updates, deletes| TableLoss {
        relation: relation.to_owned(),
        inserts,
        updates,
        deletes,
    };
    let reach = fixture::reach(fixture::target(), true);
    let loss = Loss {
        tables: Some(vec![
            table("public.orders", 380, 14, 48_211),
            table("public.order_lines", 760, 0, 0),
            table("public.audit_log", 412, 0, 0),
        ]),
        ..Loss::from(reach)
    };
    s.entry("14:21:00", J::LossCounted(loss));
    s
}

/// Its line of the checklist is the selected one.
fn at_line(theme: Theme) -> Story {
    let mut s = ending(theme);
    let lines = lifeboat::screens::checklist::lines(&s.app.view);
    let at = lines.iter().position(|line| line.id == LATER_WRITES).unwrap();
    s.app.view.cursors.insert((Page::Checklist, 0), at);
    s
}

fn plan(s: &Story) -> Plan {
    let incident = s.app.view.incident.as_ref().unwrap();
    salvage::make(&salvage::Ground {
        incident,
        cluster: &cluster(),
        identity: Identity { timeline: 2, ..fixture::identity(ServerRole::Primary) },
        needed: 4_612_000_000,
        runbook: &Runbook::load(None).unwrap(),
        now: fixture::at("14:26:00"),
    })
    .unwrap()
}

/// Asked for at the line, and planned.
fn planned(theme: Theme) -> Story {
    let mut s = at_line(theme);
    s.key(Key::Char('B'));
    s.key(Key::Char('y'));
    let plan = plan(&s);
    s.entry("14:26:00", J::PlanMade(plan));
    let id = *s.app.view.waiting.keys().last().unwrap();
    s.message(Message::Reply { id, result: Ok(Answer::Done) });
    s.tick("14:26:10");
    s
}

/// Runs the plan's steps up to `until`, which has begun.
fn running(theme: Theme, until: &str) -> Story {
    let mut s = planned(theme);
    let plan = s.app.view.incident.as_ref().unwrap().plan.clone().unwrap();
    let plan_hash = plan.hash.clone();
    s.entry("14:27:00", J::GatePassed { plan_hash: plan_hash.clone() });
    s.entry("14:27:01", J::RunStarted { plan_hash });
    let mut clock = fixture::at("14:27:02");
    for step in &plan.steps {
        let id = step.id.clone();
        s.entry_at(clock, J::StepStarted { step: id.clone(), attempt: 1 });
        if id == until {
            break;
        }
        clock += SignedDuration::from_secs(20);
        if id == "parts-choose" {
            s.entry_at(clock, J::PartsSeen(look()));
            s.entry_at(clock, J::PartsChosen(choice()));
        }
        s.entry_at(clock, J::StepFinished { step: id });
    }
    s.event(lifeboat::app::model::Event::Tick(clock + SignedDuration::from_secs(5)));
    s
}

fn look() -> PartsLook {
    PartsLook {
        part: wanted(&["orders", "order_lines"]),
        differences: vec![
            found("public.orders", (380, 14, 48_213), &[]),
            found("public.order_lines", (760, 0, 0), &[]),
        ],
        absent: Vec::new(),
        schema_absent: false,
        missing_roles: Vec::new(),
        partitions: Vec::new(),
        whole: None,
    }
}

fn choice() -> PartsChoice {
    let taken = Choice { missing: true, ..Choice::default() };
    let carry = Carry::Of { into: Into::Place(taken) };
    let seen = look().print(&carry);
    PartsChoice { carry, missing_roles: Missing::Ask, seen }
}

fn held(theme: Theme) -> Story {
    let mut s = running(theme, "parts-choose");
    s.entry("14:27:58", J::PartsSeen(look()));
    let question = String::from("What is to be carried over?");
    s.entry("14:27:59", J::StepHeld { step: String::from("parts-choose"), question });
    s.tick("14:28:10");
    s
}

fn finished(theme: Theme) -> Story {
    let mut s = running(theme, "parts-prove");
    let applied = |table: &str, inserted| Applied {
        table: table.to_owned(),
        inserted,
        overwritten: 0,
        removed: 0,
        sequences: Vec::new(),
    };
    let written = Written {
        applied: vec![applied("public.orders", 380), applied("public.order_lines", 760)],
        ..Written::default()
    };
    s.entry("14:29:00", J::PartsCarried(PartsDone::Of(written)));
    let detail = "Compared with the copy after the commit.";
    let check = |table: &str, rows| {
        let title = format!("{table} has what was chosen of the copy");
        fixture::check(&format!("counts:{table}"), &title, Verdict::Verified, rows, detail)
    };
    let checks =
        vec![check("public.orders", "51,692 rows"), check("public.order_lines", "103,384 rows")];
    s.entry("14:29:10", J::ValidationRun { checks });
    s.entry("14:29:10", J::StepFinished { step: String::from("parts-prove") });
    s.entry("14:29:11", J::StepStarted { step: String::from("parts-clear"), attempt: 1 });
    s.entry("14:29:12", J::StepFinished { step: String::from("parts-clear") });
    s.tick("14:29:12");
    s.entry("14:29:12", J::RunFinished);
    s.tick("14:29:13");
    s
}

/// Every scene of a salvage, by name.
pub fn scenes(theme: Theme) -> Vec<(&'static str, Box<App>)> {
    fn with(mut story: Story, keys: &[Key]) -> Story {
        for key in keys {
            story.key(*key);
        }
        story
    }
    fn reported(t: Theme) -> Story {
        let mut s = with(finished(t), &[Key::Char('6')]);
        for _ in 0..24 {
            s.key(Key::Down);
        }
        s.tick("14:29:40");
        s
    }
    type Scene = (&'static str, fn(Theme) -> Story);
    let all: [Scene; 10] = [
        ("salvage_line", at_line),
        ("salvage_asked", |t| with(at_line(t), &[Key::Char('B')])),
        ("salvage_plan", planned),
        ("salvage_gate", |t| with(planned(t), &[Key::Char('g')])),
        ("salvage_copying", |t| running(t, "salvage-copy").progress("salvage-copy")),
        ("salvage_seen", held),
        ("salvage_ways", |t| with(held(t), &[Key::Char('y'), Key::Down, Key::Down])),
        ("salvage_into_production", |t| with(held(t), &[Key::Char('y'), Key::Enter])),
        ("salvage_finished", finished),
        ("salvage_report", reported),
    ];
    all.into_iter().map(|(name, story)| (name, story(theme).app)).collect()
}

fn dark() -> Theme {
    Theme { palette: Palette::Dark, ascii: false }
}

#[test]
fn a_salvage_is_asked_for_at_its_line_and_leads_there_and_back() {
    let mut s = at_line(dark());
    assert_eq!(guide(&s.app.view).command, Some(Id::Salvage));
    s.key(Key::Char('B'));
    let sent = s.key(Key::Char('y'));
    assert!(matches!(&sent[..], [Effect::Send { command: Command::PlanSalvage, .. }]), "{sent:?}");
    let s = planned(dark());
    assert_eq!(s.app.view.page, Page::Restore);
    assert_eq!(guide(&s.app.view).command, Some(Id::OpenGate));

    // Its end leads back to its line, whose evidence says what came back and what did not.
    let mut s = finished(dark());
    assert_eq!(s.app.view.page, Page::Checklist);
    assert_eq!(lifeboat::screens::checklist::selected(&s.app.view).unwrap().id, LATER_WRITES);
    let incident = s.app.view.incident.as_ref().unwrap();
    assert_eq!((incident.phase(), incident.status), (Phase::Checklist, RunStatus::Finished));
    let notice = s.app.view.notice.as_ref().unwrap();
    assert!(notice.text.contains("1140 inserted") && !notice.bad, "{notice:?}");
    s.key(Key::Enter);
    let Some(lifeboat::screens::layers::Layer::Line(line)) = s.app.view.layers.last() else {
        panic!("it is signed")
    };
    let evidence = line.input.value();
    assert!(evidence.contains("1140 inserted"), "{evidence}");
    assert!(evidence.contains("public.audit_log (all: 412 rows"), "{evidence}");
}

#[test]
fn a_salvage_that_is_not_wanted_leaves_the_recovery_as_it_was() {
    // Before its start.
    let mut s = planned(dark());
    s.key(Key::Char('X'));
    let sent = s.key(Key::Char('y'));
    assert!(matches!(&sent[..], [Effect::Send { command: Command::Cancel, .. }]), "{sent:?}");
    s.entry("14:26:20", J::RunCancelled { step: None });
    assert_eq!(s.app.view.page, Page::Checklist);
    // At its question; the copy is taken down first.
    let mut s = held(dark());
    let step = String::from("parts-choose");
    s.entry("14:28:20", J::Decided { step: step.clone(), decision: Decision::Abandon });
    s.entry("14:28:20", J::RunCancelled { step: Some(step) });
    assert_eq!(guide(&s.app.view).command, Some(Id::PutBack));
    s.entry("14:28:30", J::UndoStarted);
    s.entry("14:28:31", J::UndoFinished);
    assert_eq!(s.app.view.page, Page::Checklist);
    // Nothing of the recovery can be chosen anew meanwhile.
    let s = planned(dark());
    assert!(!lifeboat::screens::available::may_choose(s.app.view.incident.as_ref().unwrap()));
}

#[test]
fn what_the_accident_did_is_never_among_the_first_choice() {
    use lifeboat::screens::layers::Pick;
    let s = held(dark());
    let options = lifeboat::screens::parts::ways(&s.app.view, &look()).options;
    let Pick::Carry(Carry::Of { into: Into::Place(taken) }) = options[0].0 else { panic!() };
    assert!(taken.missing && !taken.changed && !taken.newer);
    let removes = options.iter().find(|(pick, ..)| {
        matches!(pick, Pick::Carry(Carry::Of { into: Into::Place(taken) }) if taken.newer)
    });
    let (_, title, why) = removes.unwrap();
    assert!(title.contains("the accident included"), "{title}");
    assert!(why.contains("REMOVED") && why.contains("what the accident deleted"), "{why}");
}
