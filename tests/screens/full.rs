//! Option B told to the screens, from the choice to the swap or to giving it up. Its plan is the
//! engine's own, made of values: no server and no directory is asked.

use super::fixture::{self, CLUSTER, Story};
use jiff::SignedDuration;
use lifeboat::app::model::App;
use lifeboat::engine::config::{self, Cluster, Connection, Control, Tls};
use lifeboat::engine::copies::Availability;
use lifeboat::engine::explain::{Explanation, Kind};
use lifeboat::engine::incident::event::{Decision, Event as J};
use lifeboat::engine::incident::facts::*;
use lifeboat::engine::incident::past::{Cost, TableLoss};
use lifeboat::engine::restore::full_plan::{self, Ground};
use lifeboat::engine::runbook::Runbook;
use lifeboat::engine::runner::plan::Plan;
use lifeboat::engine::runner::protocol::Message;
use lifeboat::screens::commands::Key;
use lifeboat::screens::theme::Theme;

const LIVE: &str = "/var/lib/postgresql/15/orders-prod/main";
const NEW: &str = "/var/lib/postgresql/15/orders-prod/main-restore";

pub fn cluster() -> Cluster {
    Cluster {
        name: CLUSTER.to_owned(),
        tier: Tier::High,
        environment: String::from("production"),
        data_directory: LIVE.into(),
        alternative_data_directory: None,
        tablespace_mapping: Default::default(),
        delta_restore: false,
        connection: Connection {
            host: String::from("db1.example"),
            port: 5432,
            user: String::from("postgres"),
            database: String::from("postgres"),
            passfile: None,
            tls: Tls::Off,
            root_certificate: None,
        },
        control: Control::PgCtl { bin_directory: None, log: None, config_file: None },
        repositories: vec![String::from("vault")],
        probes: Vec::new(),
        tables: Vec::new(),
        health_url: None,
        application: None,
        archiving: config::Archiving::default(),
        retention: config::Retention::default(),
        schedule: config::schedule::Schedule::default(),
        masking: Vec::new(),
        erasure: None,
    }
}

/// As the choice judges it: the newest backup, its own end, the next port.
fn reach() -> Reach {
    use Verdict::Verified;
    let of = |id, title, detail| fixture::check(id, title, Verified, "", detail);
    let table = |relation: &str, inserts, updates, deletes| TableLoss {
        relation: relation.to_owned(),
        inserts,
        updates,
        deletes,
    };
    Reach {
        target: Target { point: TargetPoint::EndOfBase, inclusive: true, timeline: Some(1) },
        reachable: true,
        checks: vec![
            of("base", "A base backup of this cluster", "set-20261122-020000, finished 02:03:12."),
            of("key", "The backup opens with the keys at hand", "Its descriptor was read."),
            of("wal", "The WAL that the backup itself needs", "2 segments, read."),
            of("version", "PostgreSQL of the backup's version", "15.18."),
            of("destination", "The new cluster's directory", "It is free."),
            of("space", "Room for the new cluster beside the old one", "211 GB are free."),
            of("tablespaces", "No tablespace of the old cluster is touched", "None is."),
        ],
        base: Some(fixture::base()),
        last_kept: None,
        first_lost: Some(fixture::commit("02:03:13", 61_204, 0x1_0400_0190, (1, 0, 0))),
        lost_commits: Some(13_421),
        // No commit of the backup's own range is known to count from.
        lost_seconds: None,
        nearest: Vec::new(),
        wal_bytes: 360,
        minimum_settings: Vec::new(),
        forecast: Some(Forecast { copy: (22.0, 31.0), replay: (0.5, 2.0), measured: true }),
        line: Vec::new(),
        on_disk: None,
        alternative: None,
        cost: Cost {
            tables: Some(vec![table("public.orders", 12_031, 340, 48_211)]),
            exact: true,
            ..Cost::default()
        },
        procedure: Procedure::FullRestore { destination: NEW.to_owned(), port: 5433 },
    }
}

/// The point was chosen, nothing is answered yet.
fn chosen(theme: Theme) -> Story {
    let mut s = Story::pointing(theme, false);
    s.entry("14:12:10", J::TargetChosen(reach()));
    s.tick("14:12:12");
    s
}

/// Chosen by somebody who had gone to the recovery point before the assessment was done.
fn chosen_beforehand(theme: Theme) -> Story {
    let mut s = Story::declared(theme, false);
    s.key(Key::Char('2'));
    s.answer_all(true);
    s.message(Message::Survey(fixture::survey()));
    s.answer_all(true);
    s.entry("14:12:10", J::TargetChosen(reach()));
    s.tick("14:12:12");
    s
}

fn plan_of(story: &Story, lost: bool) -> Plan {
    let incident = story.app.view.incident.as_ref().unwrap();
    let available = Availability { open: vec![String::from("vault")], closed: Vec::new() };
    let role = if lost { ServerRole::Down } else { ServerRole::Primary };
    full_plan::make(Ground {
        incident,
        cluster: &cluster(),
        available: &available,
        identity: fixture::identity(role),
        lost,
        spaces: Vec::new(),
        source: None,
        runbook: &Runbook::load(None).unwrap(),
        now: fixture::at("14:14:20"),
    })
    .unwrap()
}

fn planned(theme: Theme, lost: bool) -> (Story, Plan) {
    let mut s = chosen(theme);
    let whole = fixture::check("members", "Every part authentic", Verdict::Verified, "", "");
    s.entry("14:13:40", J::IntegrityChecked { set: fixture::base().set, checks: vec![whole] });
    for (time, prerequisite, note) in [
        ("14:13:50", Prerequisite::IncidentDeclared, "#incident-42"),
        ("14:14:00", Prerequisite::MaintenanceWindow, "Shop in maintenance mode since 14:08"),
        ("14:14:10", Prerequisite::TargetConfirmed, "Head of orders, by phone"),
    ] {
        let note = note.to_owned();
        s.entry(time, J::PrerequisiteAnswered { prerequisite, met: true, note });
    }
    let plan = plan_of(&s, lost);
    s.entry("14:14:20", J::PlanMade(plan.clone()));
    s.tick("14:14:25");
    (s, plan)
}

/// Runs the plan's steps up to `until`, which has begun.
fn running(theme: Theme, until: &str) -> (Story, Plan) {
    let (mut s, plan) = planned(theme, false);
    let plan_hash = plan.hash.clone();
    s.entry("14:15:00", J::GatePassed { plan_hash: plan_hash.clone() });
    s.entry("14:15:01", J::RunStarted { plan_hash });
    let mut clock = fixture::at("14:15:02");
    for step in &plan.steps {
        let id = step.id.clone();
        s.entry_at(clock, J::StepStarted { step: id.clone(), attempt: 1 });
        if id == until {
            break;
        }
        clock += SignedDuration::from_secs(if id == "restore-base" { 24 } else { 2 });
        if id == "decide-swap" {
            asked(&mut s, false);
            let decision = Decision::Promote;
            s.entry("14:16:40", J::Decided { step: id.clone(), decision });
            clock = fixture::at("14:16:41");
        }
        s.entry_at(clock, J::StepFinished { step: id });
    }
    s.event(lifeboat::app::model::Event::Tick(clock + SignedDuration::from_secs(12)));
    (s, plan)
}

/// What the step `decide-swap` notes and asks.
fn asked(s: &mut Story, failed: bool) {
    let step = String::from("decide-swap");
    s.entry("14:16:00", J::ValidationRun { checks: fixture::checks(failed) });
    for (name, text) in [
        ("way_in", "psql -h /tmp/lifeboat-4f1c-5433 -p 5433"),
        (
            "data_is",
            "As the cluster was at the end of set-20261122-020000, 2026-11-22T02:03:12Z (UTC); no \
             transaction was committed while it was taken. What was written later is not in it",
        ),
    ] {
        let (name, text) = (name.to_owned(), text.to_owned());
        s.entry("14:16:01", J::StepNoted { step: step.clone(), name, text });
    }
    let (good, bad) = if failed { (9, 1) } else { (10, 0) };
    let question = format!(
        "The new cluster runs at port 5433: {good} checks VERIFIED, {bad} FAILED, 1 COULD NOT \
         VERIFY. Swap it in?"
    );
    s.entry("14:16:02", J::StepHeld { step, question });
}

fn held(theme: Theme, failed: bool) -> Story {
    let (mut s, _) = running(theme, "decide-swap");
    asked(&mut s, failed);
    s.tick("14:16:20");
    s
}

fn given_up(theme: Theme) -> Story {
    let mut s = held(theme, true);
    let (step, decision) = (String::from("decide-swap"), Decision::Abandon);
    s.entry("14:16:30", J::Decided { step: step.clone(), decision });
    s.entry("14:16:31", J::RunCancelled { step: Some(step) });
    s.tick("14:16:40");
    s
}

fn undone(theme: Theme) -> Story {
    let mut s = given_up(theme);
    s.entry("14:16:50", J::UndoStarted);
    for (step, text) in [
        ("start-recovery", "the new server was stopped"),
        ("prepare-beside", "it stays until it is discarded by its name"),
    ] {
        let (step, text) = (step.to_owned(), text.to_owned());
        s.entry("14:16:51", J::StepUndone { step, text });
    }
    s.entry("14:16:52", J::UndoFinished);
    s.tick("14:16:55");
    s
}

fn failed(theme: Theme) -> Story {
    let (mut s, _) = running(theme, "swap");
    let step = String::from("swap");
    s.entry(
        "14:16:50",
        J::StepFailed {
            step,
            explanation: Explanation::new(
                Kind::Refused,
                format!("The server on {LIVE} runs again, or is about to."),
                "Nothing was moved.",
                "Keep whatever restarts it (systemd, a watchdog) from doing so, then retry.",
            ),
        },
    );
    s.tick("14:16:55");
    s
}

fn finished(theme: Theme) -> Story {
    let (mut s, _) = running(theme, "validate");
    s.entry("14:17:10", J::ValidationRun { checks: fixture::checks(false) });
    s.entry("14:17:11", J::StepFinished { step: String::from("validate") });
    s.entry("14:17:11", J::RunFinished);
    s.tick("14:17:20");
    s
}

/// Every scene of Option B by name.
pub fn scenes(theme: Theme) -> Vec<(&'static str, Box<App>)> {
    fn with(mut story: Story, keys: &[Key]) -> Story {
        for key in keys {
            story.key(*key);
        }
        story
    }
    fn gate(theme: Theme, lost: bool) -> Story {
        let mut s = with(planned(theme, lost).0, &[Key::Char('g')]);
        s.keys("orders");
        s
    }
    fn char(key: char) -> [Key; 1] {
        [Key::Char(key)]
    }
    // Each in a frame of its own: a story is large.
    type Scene = (&'static str, fn(Theme) -> Story);
    let all: [Scene; 19] = [
        ("full_choice", |t| with(Story::pointing(t, false), &char('O'))),
        ("full_chosen", chosen_beforehand),
        ("full_prerequisites", chosen),
        ("full_plan", |t| with(planned(t, false).0, &[Key::Down; 4])),
        ("full_plan_swap", |t| with(planned(t, false).0, &[Key::Down; 12])),
        ("full_gate", |t| gate(t, false)),
        ("full_gate_lost", |t| gate(t, true)),
        ("full_copying", |t| running(t, "restore-base").0.progress("restore-base")),
        ("full_held", |t| held(t, false)),
        ("full_held_failed", |t| held(t, true)),
        ("full_held_check", |t| with(held(t, true), &[Key::Tab, Key::Enter])),
        ("full_checks", |t| with(held(t, true), &char('4'))),
        ("full_swap", |t| with(held(t, false), &char('S'))),
        ("full_give_up", |t| with(held(t, true), &char('A'))),
        ("full_given_up", given_up),
        ("full_put_back", |t| with(given_up(t), &char('U'))),
        ("full_undone", undone),
        ("full_failed", failed),
        ("full_finished", finished),
    ];
    all.into_iter().map(|(name, story)| (name, story(theme).app)).collect()
}
