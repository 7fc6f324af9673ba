//! Only parts told to the screens, from the choice to the copy's end. The plan is the engine's own,
//! made of values: no server and no directory is asked.

use super::fixture::{self, Story};
use super::full::cluster;
use jiff::SignedDuration;
use lifeboat::app::model::App;
use lifeboat::engine::copies::Availability;
use lifeboat::engine::explain::{Explanation, Kind};
use lifeboat::engine::incident::event::Event as J;
use lifeboat::engine::incident::facts::*;
use lifeboat::engine::incident::parts::{Carry, Part, PartsChoice, PartsDone, PartsLook};
use lifeboat::engine::parts::apply::Applied;
use lifeboat::engine::parts::compare::{Difference, Prints, Sample};
use lifeboat::engine::parts::database::Found;
use lifeboat::engine::parts::names::Name;
use lifeboat::engine::parts::roles::Missing;
use lifeboat::engine::parts::run::plan;
use lifeboat::engine::parts::work::{Into, Wanted, Written};
use lifeboat::engine::parts::{Choice, Class, Scope};
use lifeboat::engine::restore::full_plan::Ground;
use lifeboat::engine::runbook::Runbook;
use lifeboat::engine::runner::plan::Plan;
use lifeboat::engine::runner::protocol::{Answer, Message, Offered};
use lifeboat::screens::commands::Key;
use lifeboat::screens::theme::Theme;

const COPY: &str = "/var/lib/postgresql/15/orders-prod/main.parts.20261122-141210";

fn reach() -> Reach {
    let mut reach = fixture::reach(fixture::target(), true);
    (reach.lost_commits, reach.lost_seconds, reach.first_lost) = (Some(0), Some(0.0), None);
    reach.cost.tables = Some(Vec::new());
    reach.procedure = Procedure::Parts {
        sandbox: COPY.to_owned(),
        database: None,
        tables: vec![String::from("\"public\".\"orders\"")],
        kept: None,
    };
    reach
}

fn chosen(theme: Theme) -> Story {
    let mut s = Story::pointing(theme, true);
    s.entry("14:12:10", J::TargetChosen(reach()));
    s.tick("14:12:12");
    s
}

fn planned(theme: Theme) -> (Story, Plan) {
    let mut s = chosen(theme);
    for (time, prerequisite, note) in [
        ("14:12:20", Prerequisite::IncidentDeclared, "#incident-42"),
        ("14:12:30", Prerequisite::TargetConfirmed, "Head of orders, by phone"),
    ] {
        let note = note.to_owned();
        s.entry(time, J::PrerequisiteAnswered { prerequisite, met: true, note });
    }
    let available = Availability { open: vec![String::from("vault")], closed: Vec::new() };
    let plan = plan::make(&Ground {
        incident: s.app.view.incident.as_ref().unwrap(),
        cluster: &cluster(),
        available: &available,
        identity: fixture::identity(ServerRole::Primary),
        lost: false,
        spaces: Vec::new(),
        source: None,
        runbook: &Runbook::load(None).unwrap(),
        now: fixture::at("14:12:35"),
    })
    .unwrap();
    s.entry("14:12:35", J::PlanMade(plan.clone()));
    s.tick("14:12:40");
    (s, plan)
}

/// Runs the plan's steps up to `until`, which has begun.
fn running(theme: Theme, until: &str) -> Story {
    let (mut s, plan) = planned(theme);
    let plan_hash = plan.hash.clone();
    s.entry("14:13:00", J::GatePassed { plan_hash: plan_hash.clone() });
    s.entry("14:13:01", J::RunStarted { plan_hash });
    let mut clock = fixture::at("14:13:02");
    for step in &plan.steps {
        let id = step.id.clone();
        s.entry_at(clock, J::StepStarted { step: id.clone(), attempt: 1 });
        if id == until {
            break;
        }
        clock += SignedDuration::from_secs(24);
        if id == "parts-choose" {
            s.entry_at(clock, J::PartsSeen(look()));
            s.entry_at(clock, J::PartsChosen(choice()));
        }
        s.entry_at(clock, J::StepFinished { step: id });
    }
    s.event(lifeboat::app::model::Event::Tick(clock + SignedDuration::from_secs(12)));
    s
}

pub fn found(table: &str, counts: (u64, u64, u64), definition: &[&str]) -> Difference {
    Difference {
        table: table.to_owned(),
        by_key: true,
        rows_in_source: 51_023,
        rows_in_production: 3_113,
        missing: counts.0,
        changed: counts.1,
        newer: counts.2,
        prints: Prints::default(),
        definition: definition.iter().map(|text| (*text).to_owned()).collect(),
        samples: Vec::new(),
    }
}

pub fn wanted(tables: &[&str]) -> Part {
    let names = tables.iter().map(|table| Name::new("public", *table)).collect();
    Part::Of(Wanted { database: String::from("shop"), scope: Scope::Tables(names) })
}

fn look() -> PartsLook {
    PartsLook {
        part: wanted(&["orders", "order_lines", "invoices"]),
        differences: vec![
            found("public.orders", (48_211, 12, 301), &[]),
            found("public.order_lines", (96_420, 0, 0), &["discount: added in production"]),
        ],
        absent: vec![String::from("public.invoices")],
        schema_absent: false,
        missing_roles: vec![String::from("billing")],
        partitions: Vec::new(),
        whole: None,
    }
}

fn carry() -> Carry {
    let taken = Choice { missing: true, common_columns: true, ..Choice::default() };
    Carry::Of { into: Into::Place(taken) }
}

fn choice() -> PartsChoice {
    let seen = look().print(&carry());
    PartsChoice { carry: carry(), missing_roles: Missing::Create, seen }
}

fn of_database(there: bool) -> PartsLook {
    PartsLook {
        part: Part::Database { database: String::from("billing") },
        differences: Vec::new(),
        absent: Vec::new(),
        schema_absent: false,
        missing_roles: Vec::new(),
        partitions: Vec::new(),
        whole: Some(Found {
            database: String::from("billing"),
            owner: String::from("billing"),
            bytes: 4_812_000_000,
            tables: 41,
            large_objects: 1_204,
            in_production: there,
            missing_roles: if there { Vec::new() } else { vec![String::from("billing")] },
            ..Found::default()
        }),
    }
}

fn held(theme: Theme, look: Option<PartsLook>) -> Story {
    let mut s = running(theme, "parts-choose");
    if let Some(look) = look {
        s.entry("14:13:58", J::PartsSeen(look));
    }
    let (step, question) =
        (String::from("parts-choose"), String::from("What is to be carried over?"));
    s.entry("14:13:59", J::StepHeld { step, question });
    s.tick("14:14:10");
    s
}

/// Answers the newest thing that was asked of the runner.
fn answered(mut s: Story, answer: Answer) -> Story {
    let id = *s.app.view.waiting.keys().last().unwrap();
    s.message(Message::Reply { id, result: Ok(answer) });
    s
}

fn offered(theme: Theme) -> Story {
    let mut s = held(theme, Some(look()));
    s.key(Key::Char('k'));
    let whole =
        |name: &str, there| Offered { part: Part::Database { database: name.to_owned() }, there };
    let table = |name: &str, there| Offered { part: wanted(&[name]), there };
    let schema = Part::Of(Wanted {
        database: String::from("shop"),
        scope: Scope::Schema(String::from("reporting")),
    });
    let list = vec![
        whole("billing", false),
        table("invoices", false),
        whole("shop", true),
        Offered { part: schema, there: true },
        table("customers", true),
        table("orders", true),
    ];
    answered(s, Answer::Parts(list))
}

fn rows(theme: Theme) -> Story {
    let mut s = held(theme, Some(look()));
    s.key(Key::Tab);
    s.key(Key::Enter);
    let sample = |class, key: &str, values: &[(&str, &str, &str)]| Sample {
        class,
        key: key.to_owned(),
        values: values
            .iter()
            .map(|(a, b, c)| ((*a).to_owned(), (*b).to_owned(), (*c).to_owned()))
            .collect(),
    };
    let mut told = found("public.orders", (48_211, 12, 301), &[]);
    told.samples = vec![
        sample(Class::Missing, "id=104211", &[]),
        sample(Class::Missing, "id=104212", &[]),
        sample(Class::Changed, "id=98001", &[("status", "paid", "open"), ("note", "NULL", "?")]),
        sample(Class::Newer, "id=152230", &[]),
    ];
    answered(s, Answer::Rows(Box::new(told)))
}

fn gate(theme: Theme) -> Story {
    let mut s = held(theme, Some(look()));
    // The first way, the roles made, and the name half typed.
    for key in [Key::Char('y'), Key::Enter, Key::Enter] {
        s.key(key);
    }
    s.keys("orders");
    s
}

fn failed(theme: Theme) -> Story {
    let mut s = running(theme, "parts-carry");
    let explanation = Explanation::new(
        Kind::Refused,
        "public.orders has changed while it was looked at: the missing rows are not those that \
         were seen (48211 then, 48209 now).",
        "Nothing in production was changed.",
        "Run it again to see the rows as they are now.",
    );
    let step = String::from("parts-carry");
    s.entry("14:15:00", J::StepFailed { step, explanation });
    s.tick("14:15:10");
    s
}

fn finished(theme: Theme) -> Story {
    let mut s = running(theme, "parts-prove");
    let written = Written {
        applied: vec![Applied {
            table: String::from("public.orders"),
            inserted: 48_211,
            overwritten: 0,
            removed: 0,
            sequences: Vec::new(),
        }],
        ..Written::default()
    };
    s.entry("14:15:00", J::PartsCarried(PartsDone::Of(written)));
    let detail = "Compared with the copy after the commit.";
    let checks = vec![
        fixture::check(
            "counts:public.orders",
            "public.orders is as it was at the point",
            Verdict::Verified,
            "51,312 rows",
            detail,
        ),
        fixture::check(
            "fk:parts",
            "Foreign keys of what was written",
            Verdict::Verified,
            "",
            "The server checked each of them before the commit.",
        ),
    ];
    s.entry("14:15:10", J::ValidationRun { checks });
    s.entry("14:15:10", J::StepFinished { step: String::from("parts-prove") });
    s.entry("14:15:11", J::StepStarted { step: String::from("parts-clear"), attempt: 1 });
    s.entry("14:15:12", J::StepFinished { step: String::from("parts-clear") });
    s.entry("14:15:12", J::RunFinished);
    s.tick("14:15:20");
    s
}

/// Every scene of bringing only parts back, by name.
pub fn scenes(theme: Theme) -> Vec<(&'static str, Box<App>)> {
    fn with(mut story: Story, keys: &[Key]) -> Story {
        for key in keys {
            story.key(*key);
        }
        story
    }
    fn named(mut s: Story) -> Story {
        s.keys("orders");
        s
    }
    type Scene = (&'static str, fn(Theme) -> Story);
    let all: [Scene; 15] = [
        ("parts_choice", |t| with(Story::pointing(t, true), &[Key::Char('p')])),
        ("parts_prerequisites", chosen),
        ("parts_plan", |t| with(planned(t).0, &[Key::Down; 5])),
        ("parts_gate", |t| named(with(planned(t).0, &[Key::Char('g')]))),
        ("parts_copying", |t| running(t, "parts-restore").progress("parts-restore")),
        ("parts_asked", |t| held(t, None)),
        ("parts_offered", offered),
        ("parts_seen", |t| held(t, Some(look()))),
        ("parts_rows", rows),
        ("parts_ways", |t| with(held(t, Some(look())), &[Key::Char('y'), Key::Down])),
        ("parts_roles", |t| with(held(t, Some(look())), &[Key::Char('y'), Key::Enter])),
        ("parts_into_production", gate),
        ("parts_database", |t| with(held(t, Some(of_database(true))), &[Key::Char('y')])),
        ("parts_failed", failed),
        ("parts_finished", finished),
    ];
    all.into_iter().map(|(name, story)| (name, story(theme).app)).collect()
}

#[test]
fn a_database_that_is_there_is_never_written_over_by_the_first_choice() {
    use lifeboat::screens::parts::ways;
    let theme = Theme { palette: lifeboat::screens::theme::Palette::Dark, ascii: false };
    let story = held(theme, Some(of_database(true)));
    let first = ways(&story.app.view, &of_database(true)).options.remove(0);
    assert!(first.1.starts_with("Beside"), "{first:?}");
    let lost = ways(&story.app.view, &of_database(false)).options.remove(0);
    assert!(lost.1.contains("its own name"), "{lost:?}");
}

#[test]
fn the_first_way_in_place_inserts_and_nothing_else() {
    use lifeboat::screens::layers::Pick;
    let theme = Theme { palette: lifeboat::screens::theme::Palette::Dark, ascii: false };
    let story = held(theme, Some(look()));
    let options = lifeboat::screens::parts::ways(&story.app.view, &look()).options;
    let Pick::Carry(Carry::Of { into: Into::Place(taken) }) = options[0].0 else { panic!() };
    assert!(taken.missing && !taken.changed && !taken.newer);
    let removes = options.iter().find(|(pick, ..)| {
        matches!(pick, Pick::Carry(Carry::Of { into: Into::Place(taken) }) if taken.newer)
    });
    assert!(removes.unwrap().2.contains("REMOVED"));
}
