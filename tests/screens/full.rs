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
use lifeboat::engine::incident::trouble::{By, Cure, Evidence, Trouble};
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

/// No point can be reached: `of` says what is in the way.
fn out_of_reach(theme: Theme, survey: Survey, of: &dyn Fn(&mut Reach)) -> Story {
    let mut s = Story::assessed(theme);
    s.key(Key::Char('n'));
    s.message(Message::Survey(survey));
    s.answer_by(&|target| {
        let mut judged = fixture::reach(target, true);
        (judged.reachable, judged.nearest) = (false, Vec::new());
        of(&mut judged);
        judged
    });
    s
}

/// The check of that id as it fails, or could not be made.
fn set(reach: &mut Reach, id: &str, verdict: Verdict, detail: &str) {
    reach.checks.retain(|check| check.id != id);
    reach.checks.insert(0, fixture::check(id, "What is in the way", verdict, "", detail));
}

const MISSING: &str =
    "It can be followed to 1/1F000000 only: 00000001000000010000001F is missing from the archive.";

/// The log is broken before the point, and no other point is near.
pub fn broken_log(theme: Theme) -> Story {
    out_of_reach(theme, fixture::survey(), &|reach| set(reach, "wal", Verdict::Failed, MISSING))
}

/// Every backup that is kept ended after the point. Seven of them, the oldest last.
pub fn beyond_retention(theme: Theme) -> Story {
    let bases = (16..=22).map(|day| BaseSummary {
        set: format!("set-202611{day}-150000"),
        finished: format!("2026-11-{day}T15:03:12Z").parse().unwrap(),
        stop_lsn: lifeboat::engine::postgres::Lsn(0x2_0000_0000 + day),
        ..fixture::base()
    });
    let survey = Survey { bases: bases.collect(), ..fixture::survey() };
    out_of_reach(theme, survey, &|reach| {
        let late =
            "set-20261116-150000 ended at 2026-11-16 15:03:12 (UTC), LSN 2/10, after the target.";
        set(reach, "base", Verdict::Failed, late);
    })
}

/// No key at hand opens the backup.
pub fn closed(theme: Theme) -> Story {
    out_of_reach(theme, fixture::survey(), &|reach| {
        set(reach, "wal", Verdict::Failed, MISSING);
        let why = "The backup was not opened: the master key file cannot be read.";
        set(reach, "key", Verdict::CouldNotVerify, why);
    })
}

/// The repositories hold nothing.
pub fn no_backup(theme: Theme) -> Story {
    let (bases, suspects, suggestions) = (Vec::new(), Vec::new(), Vec::new());
    let survey = Survey { bases, suspects, suggestions, ..fixture::survey() };
    out_of_reach(theme, survey, &|reach| reach.base = None)
}

/// Nothing answers, and nothing of the cluster can be read.
pub fn lost_cluster(theme: Theme) -> Story {
    let mut s = Story::assessed(theme);
    s.entry(
        "14:10:05",
        J::ServerProbed(ServerProbe {
            at: fixture::at("14:10:05"),
            reachable: false,
            version: None,
            now: None,
            current_lsn: None,
            sessions: None,
            identity: None,
            error: Some(format!(
                "No answer at db1.example:5432. {LIVE}/global/pg_control: not there."
            )),
        }),
    );
    s.tick("14:10:06");
    s
}

/// A recovery in place stopped at a damaged log file, recognised by the engine's own rule in its words.
pub fn damaged_log(theme: Theme) -> Story {
    let mut s = Story::running(theme, "replay");
    let cure = |id: &str, title: &str, does: &str| Cure {
        id: id.to_owned(),
        title: title.to_owned(),
        does: does.to_owned(),
        touches: Vec::new(),
        cost: String::from("your time"),
        risk: String::from("none by Lifeboat: it only looks"),
        by: By::People,
        with: Vec::new(),
    };
    let step = || String::from("replay");
    let trouble = Trouble {
        name: String::from("damaged-wal"),
        what: String::from(
            "The log file 000000010000000100000029 in \"vault\" is not what was written, and no other \
             copy was found. Replay stopped before it.",
        ),
        evidence: vec![Evidence {
            source: String::from("segment"),
            text: String::from("000000010000000100000029 in \"vault\": its tag does not fit"),
        }],
        cures: vec![
            cure(
                "look-again",
                "Bring a good copy of it, then look again",
                "Copy 000000010000000100000029's object from another copy of the repository over the \
                 damaged one.",
            ),
            cure("choose-again", "Choose an earlier point", "Points before it can be reached."),
            cure(
                "full-restore",
                "A full restore (O: Option B)",
                "This run is given up and everything put back as it was.",
            ),
        ],
    };
    s.entry("14:16:40", J::TroubleFound { step: step(), trouble });
    let explanation = Explanation::new(
        Kind::Unreachable,
        "The server ended during recovery.",
        "The repository and the damaged directory that was moved aside are as they were.",
        "Bring a good copy of it.",
    );
    s.entry("14:16:40", J::StepFailed { step: step(), explanation });
    s.tick("14:16:50");
    s
}

/// That run, put back for a full restore: what can be restored whole is asked by itself.
pub fn put_back_for_it(theme: Theme) -> Story {
    let mut s = damaged_log(theme);
    s.key(Key::Char('O'));
    s.key(Key::Char('y'));
    s.answer_all(true);
    s.entry("14:17:00", J::UndoStarted);
    for step in ["replay", "start-recovery", "configure-recovery", "restore-base", "move-aside"] {
        let text = String::from("as it was");
        s.entry("14:17:01", J::StepUndone { step: step.to_owned(), text });
    }
    s.entry("14:17:02", J::UndoFinished);
    s.tick("14:17:03");
    s
}

/// The data directory's disk is too small for the point.
pub fn no_room(theme: Theme) -> Story {
    out_of_reach(theme, fixture::survey(), &|reach| {
        let why =
            "Only 2.1 GB are free at /var/lib/postgresql/15/orders-prod/main, 6.2 GB are needed.";
        set(reach, "space", Verdict::Failed, why);
    })
}

/// The directory on another disk that was named is in use.
pub fn no_room_there(theme: Theme) -> Story {
    let mut s = no_room(theme);
    s.key(Key::Char('d'));
    s.keys("/mnt/recovery");
    s.key(Key::Enter);
    let id = *s.app.view.waiting.keys().next_back().unwrap();
    let refusal = Explanation::new(
        Kind::Refused,
        "/mnt/recovery is not empty: something else uses it.",
        "Nothing was changed.",
        "Name an empty directory, or one that is not there yet.",
    );
    s.message(Message::Reply { id, result: Err(refusal) });
    s
}

/// The usual directory is taken: another one is asked for, with why.
pub fn taken(theme: Theme) -> Story {
    let mut s = Story::pointing(theme, false);
    s.key(Key::Char('O'));
    s.key(Key::Enter);
    let id = *s.app.view.waiting.keys().next_back().unwrap();
    let mut judged = reach();
    judged.reachable = false;
    let why = format!(
        "{NEW} cannot be taken. It holds a cluster with system identifier 7312345678901234567. Move \
         what is there to another name, or name an empty place: in the screens, or with lifeboat \
         restore-full --target DIR --latest."
    );
    set(&mut judged, "destination", Verdict::Failed, &why);
    judged.checks[0].title = String::from("The new cluster's directory");
    let refusal = lifeboat::engine::runner::guard::unreachable(&judged);
    s.message(Message::Reply { id, result: Err(refusal) });
    s
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
    let all: [Scene; 36] = [
        ("point_no_room", no_room),
        ("point_no_room_taken", no_room_there),
        ("full_taken", taken),
        ("full_taken_named", |t| {
            let mut s = taken(t);
            s.keys(&format!("{NEW}-2"));
            s
        }),
        ("full_into", |t| {
            let mut s = with(Story::pointing(t, false), &[Key::Char('O'), Key::Up, Key::End]);
            (0..4).for_each(|_| drop(s.key(Key::Down)));
            s.key(Key::Enter);
            s.keys(&format!("{NEW}-2"));
            s.key(Key::Enter);
            s
        }),
        ("full_why_log", broken_log),
        ("full_why_log_choice", |t| with(broken_log(t), &char('O'))),
        ("full_why_retention", beyond_retention),
        ("full_why_retention_choice", |t| with(beyond_retention(t), &char('O'))),
        ("full_why_lost", lost_cluster),
        ("full_why_lost_choice", |t| with(lost_cluster(t), &char('O'))),
        ("full_why_lost_unread", |t| with(lost_cluster(t), &char('n'))),
        ("full_why_trouble", damaged_log),
        ("full_why_trouble_ask", |t| with(damaged_log(t), &char('O'))),
        ("full_why_put_back", put_back_for_it),
        ("full_not_key", closed),
        ("full_not_without_backup", no_backup),
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
