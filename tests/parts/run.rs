//! Parts brought back by the runner: the plan with its question, the runner killed in the copy's
//! recovery, in the comparison, before and after the commit; and a dropped database.

use super::{HARMED, MADE, Scene};
use lifeboat::engine::drill::sandbox::CLUSTER;
use lifeboat::engine::drill::scenario;
use lifeboat::engine::drill::seat::declaration;
use lifeboat::engine::drill::shop::DATABASE;
use lifeboat::engine::explain::Explanation;
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::event::{Decision, Event};
use lifeboat::engine::incident::facts::{Prerequisite, Procedure, Target, TargetPoint, Verdict};
use lifeboat::engine::incident::journal;
use lifeboat::engine::incident::model::RunStatus;
use lifeboat::engine::incident::parts::{Carry, Part, PartsChoice};
use lifeboat::engine::incident::store::Store;
use lifeboat::engine::parts::Choice;
use lifeboat::engine::parts::roles::Missing;
use lifeboat::engine::parts::work::Into;
use lifeboat::engine::runner::client::{Client, LinkState};
use lifeboat::engine::runner::failpoint;
use lifeboat::engine::runner::protocol::{Answer, Command};
use lifeboat::engine::runner::spawn;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

/// An incident of the scene, and its runner as a process of its own.
struct Seat<'a> {
    scene: &'a Scene,
    folder: PathBuf,
}

impl<'a> Seat<'a> {
    fn new(scene: &'a Scene) -> Self {
        let scenario = scenario::load("corruption").unwrap();
        let store = Store::new(&scene.sandbox.state());
        let declared =
            store.declare(jiff::Timestamp::now(), |id| declaration(&scene.sandbox, &scenario, id));
        Self { scene, folder: declared.unwrap().1 }
    }

    /// A new runner, killed at `place` where one is given.
    fn runner(&self, place: Option<&str>) -> Client {
        let sandbox = &self.scene.sandbox;
        let mut command = std::process::Command::new(sandbox.program());
        command.arg("runner").arg("--incident").arg(&self.folder);
        command.arg("--config").arg(&sandbox.config().path);
        command.env_remove(failpoint::VARIABLE);
        if let Some(place) = place {
            command.env(failpoint::VARIABLE, place);
        }
        let socket = spawn::ensure_runner_with(command, &self.folder, LIMIT).unwrap();
        let client = Client::connect_blocking(self.scene.runtime.handle(), &socket).unwrap();
        self.scene.runtime.block_on(client.live(LIMIT)).unwrap();
        client
    }

    fn answer(&self, client: &Client, command: Command) -> Result<Answer, Explanation> {
        let asked = client.request(command.clone());
        let answered =
            self.scene.runtime.block_on(async { tokio::time::timeout(LIMIT, asked).await });
        answered.unwrap_or_else(|_| panic!("no answer to {command:?}"))
    }

    #[track_caller]
    fn ask(&self, client: &Client, command: Command) {
        assert_eq!(self.answer(client, command.clone()), Ok(Answer::Done), "{command:?}");
    }

    fn wait(&self, client: &Client, status: RunStatus) -> Arc<Incident> {
        let what = format!("{status:?}");
        let held = self.scene.runtime.block_on(client.wait(&what, LIMIT, |incident| {
            assert_ne!(incident.status, RunStatus::Failed, "{:#?}", incident.current_step());
            incident.status == status
        }));
        held.unwrap_or_else(|error| panic!("{error}: {:#?}", client.incident()))
    }

    fn until_lost(&self, client: &Client, place: &str) {
        let mut changes = client.changes();
        let lost = changes.wait_for(|_| matches!(client.link(), LinkState::Lost { .. }));
        let waited = self.scene.runtime.block_on(async { tokio::time::timeout(LIMIT, lost).await });
        waited
            .unwrap_or_else(|_| panic!("the runner lives at {place}: {:#?}", client.incident()))
            .unwrap();
    }

    /// The next runner after one was killed at a place: it says how far the step came.
    fn after(&self, killed: &str, place: Option<&str>, step: &str, finding: &str) -> Client {
        let client = self.runner(place);
        self.wait(&client, RunStatus::Interrupted);
        let entries = journal::read(&self.folder).unwrap().entries;
        let told = entries.iter().rev().find_map(|entry| match &entry.event {
            Event::StepInterrupted { step, finding } => Some((step.clone(), finding.clone())),
            _ => None,
        });
        let (at, found) = told.unwrap();
        assert_eq!(at, step, "{killed}");
        assert!(found.contains(finding), "{killed}: {found}");
        client
    }

    /// To a run that has begun: only parts, as at the restore point.
    fn begin(&self, client: &Client, tables: &[&str]) -> PathBuf {
        let point = TargetPoint::Name(String::from("before"));
        let target = Target { point, inclusive: true, timeline: None };
        let tables = tables.iter().map(|table| (*table).to_owned()).collect();
        let database = Some(DATABASE.to_owned());
        self.ask(client, Command::ChooseParts { target, database, tables });
        for prerequisite in [Prerequisite::IncidentDeclared, Prerequisite::TargetConfirmed] {
            let note = String::new();
            self.ask(client, Command::AnswerPrerequisite { prerequisite, met: true, note });
        }
        self.ask(client, Command::MakePlan);
        let plan = client.incident().unwrap().plan.clone().unwrap();
        let cluster = CLUSTER.to_owned();
        self.ask(client, Command::PassGate { plan_hash: plan.hash.clone(), cluster });
        drop(client.submit(Command::Start { plan_hash: plan.hash }));
        let Procedure::Parts { sandbox, .. } = plan.procedure else { panic!("no parts") };
        PathBuf::from(sandbox)
    }
}

fn choice(incident: &Incident, carry: Carry, missing_roles: Missing) -> PartsChoice {
    let seen = incident.parts.look.as_ref().unwrap().print(&carry);
    PartsChoice { carry, missing_roles, seen }
}

fn in_place(missing: bool, changed: bool, newer: bool) -> Carry {
    let taken = Choice { missing, changed, newer, ..Choice::default() };
    Carry::Of { into: Into::Place(taken) }
}

fn is_gone(folder: &Path) {
    assert!(!folder.exists(), "{} was taken down", folder.display());
}

#[test]
fn a_run_for_parts_goes_on_wherever_its_runner_was_killed_and_writes_once() {
    let scene = Scene::new();
    scene.sql(MADE);
    scene.sql("CREATE ROLE keeper");
    scene.sql("CREATE DATABASE office OWNER keeper");
    scene.sql_in("office", "CREATE TABLE papers AS SELECT g AS id FROM generate_series(1, 500) g");
    scene.sandbox.back_up().unwrap();
    let tables = ["lab.parts", "lab.days", "lab.gone"];
    let before: Vec<String> = tables.iter().map(|table| scene.content(table, "true")).collect();
    scene.text("SELECT pg_create_restore_point('before')::text");
    scene.sql(HARMED);
    scene.sql("DROP DATABASE office");
    scene.sql("DROP ROLE keeper");
    scene.sql("SELECT pg_switch_wal()");
    let untouched = "t.id NOT BETWEEN 100 AND 149";
    let others = scene.places("lab.parts", untouched);

    // Killed while the copy is restored, while it replays, and while it is compared.
    let seat = Seat::new(&scene);
    let client = seat.runner(Some("parts.restoring"));
    let folder = seat.begin(&client, &tables);
    seat.until_lost(&client, "parts.restoring");
    let client = seat.after("restoring", Some("parts.replaying"), "parts-restore", "Part of it");
    drop(client.submit(Command::Retry));
    seat.until_lost(&client, "parts.replaying");
    let client = seat.after("replaying", Some("parts.comparing"), "parts-replay", "replays");
    drop(client.submit(Command::Retry));
    seat.until_lost(&client, "parts.comparing");
    let place = Some("parts.before_commit");
    let client = seat.after("comparing", place, "parts-choose", "Nothing of it");
    seat.ask(&client, Command::Retry);

    // The question, with what differs by key; nothing was written.
    let held = seat.wait(&client, RunStatus::Held);
    let look = held.parts.look.clone().unwrap();
    assert_eq!(look.counts(), (80, 10, 7), "{look:?}");
    assert_eq!(look.absent, ["lab.gone"]);
    assert!(look.differences.iter().all(|found| found.samples.is_empty()), "no row is journalled");
    let rows = seat.answer(&client, Command::ShowRows { table: String::from("lab.parts") });
    let Ok(Answer::Rows(rows)) = rows else { panic!("{rows:?}") };
    assert_eq!(rows.samples.iter().find(|s| s.key == "id=200").unwrap().values.len(), 1);
    let Ok(Answer::Parts(offered)) = seat.answer(&client, Command::ListParts) else {
        panic!("no list")
    };
    let office = Part::Database { database: String::from("office") };
    assert!(offered.iter().any(|one| one.part == office && !one.there), "{offered:?}");
    let promote = Command::Decide { decision: Decision::Promote };
    assert!(seat.answer(&client, promote).unwrap_err().what.contains("Nothing was chosen"));
    let wanted = choice(&held, in_place(true, false, false), Missing::Ask);
    let named =
        |cluster: &str| Command::CarryParts { choice: wanted.clone(), cluster: cluster.to_owned() };
    assert!(seat.answer(&client, named("other")).unwrap_err().what.contains("\"other\""));

    // Killed just before the commit: nothing is there. Killed just behind it: all of it, once.
    drop(client.submit(named(CLUSTER)));
    seat.until_lost(&client, "parts.before_commit");
    let none = "SELECT count(*)::text FROM lab.parts WHERE id BETWEEN 100 AND 149";
    assert_eq!(scene.text(none), "0");
    let place = Some("parts.after_commit");
    let client =
        seat.after("before the commit", place, "parts-carry", "Nothing of it has happened");
    assert_eq!(scene.text(none), "0");
    drop(client.submit(Command::Retry));
    seat.until_lost(&client, "parts.after_commit");
    assert_eq!(scene.text(none), "50");
    let client = seat.after("after the commit", None, "parts-carry", "is committed");
    let written = scene.places("lab.parts", "true");
    seat.ask(&client, Command::Retry);
    let done = seat.wait(&client, RunStatus::Finished);
    assert_eq!(scene.places("lab.parts", "true"), written, "it was not written twice");
    assert_eq!(scene.places("lab.parts", untouched), others);
    assert_eq!(scene.content("lab.days", "true"), before[1]);
    assert_eq!(scene.content("lab.gone", "true"), before[2]);
    let verdict = Verdict::overall(done.validation.iter().map(|check| check.verdict));
    assert_eq!(verdict, Verdict::Verified, "{:#?}", done.validation);
    is_gone(&folder);
    seat.ask(&client, Command::WriteReport);
    let report = client.incident().unwrap().reports.clone();
    let markdown = report.iter().find(|path| path.ends_with(".md")).unwrap();
    let text = fs::read_to_string(markdown).unwrap();
    assert!(text.contains("Only parts") && text.contains("is committed"), "{text}");

    // A dropped database, killed while it is filled; the unfinished one goes, and it comes whole.
    let seat = Seat::new(&scene);
    let client = seat.runner(Some("parts.filling"));
    let folder = seat.begin(&client, &[]);
    assert!(seat.wait(&client, RunStatus::Held).parts.look.is_none());
    seat.ask(&client, Command::LookAtParts { part: office });
    let held = client.incident().unwrap();
    let whole = held.parts.look.as_ref().unwrap().whole.clone().unwrap();
    assert_eq!((whole.in_production, whole.missing_roles.len()), (false, 1), "{whole:?}");
    let carry = Carry::Database { named: String::from("office"), set_aside: None };
    let cluster = CLUSTER.to_owned();
    let asked = choice(&held, carry.clone(), Missing::Ask);
    let unsaid = Command::CarryParts { choice: asked, cluster: cluster.clone() };
    assert!(seat.answer(&client, unsaid).unwrap_err().what.contains("keeper"));
    let choice = choice(&held, carry, Missing::Create);
    drop(client.submit(Command::CarryParts { choice, cluster }));
    seat.until_lost(&client, "parts.filling");
    let client = seat.after("filling", None, "parts-carry", "Nothing of it has happened");
    seat.ask(&client, Command::Retry);
    let done = seat.wait(&client, RunStatus::Finished);
    assert_eq!(scene.text_in("office", "SELECT sum(id)::text FROM papers"), "125250");
    let owner = "SELECT pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = 'office'";
    assert_eq!(scene.text(owner), "keeper");
    let left = "SELECT count(*)::text FROM pg_database WHERE datname LIKE 'lifeboat%'";
    assert_eq!(scene.text(left), "0");
    assert_eq!(done.validation[0].verdict, Verdict::Verified, "{:#?}", done.validation);
    is_gone(&folder);
    scene.sandbox.close().unwrap();
}
