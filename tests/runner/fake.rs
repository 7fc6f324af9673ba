//! A world of files in place of a server and a repository, so that a runner in another process
//! can be steered and looked at as well: `STEP.block`, `STEP.fail`, `STEP.panic` and `STEP.no-undo`
//! steer; `STEP.effects` counts what a step did, `STEP.done` is its effect.

use jiff::Timestamp;
use lifeboat::engine::checklist;
use lifeboat::engine::config::Config;
use lifeboat::engine::escalation::Ladder;
use lifeboat::engine::explain::{Explanation, Kind};
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::care::{Care, Proposal, Reminder};
use lifeboat::engine::incident::event::Declaration;
use lifeboat::engine::incident::facts::{
    BaseSummary, Check, Commit, Identity, Procedure, Reach, ServerProbe, ServerRole, Survey,
    Target, TargetPoint, Tier, Verdict,
};
use lifeboat::engine::incident::past::Window;
use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::runbook::Runbook;
use lifeboat::engine::runner::plan::{Cancel, Plan, PlanStep, Stood};
use lifeboat::engine::runner::protocol::{Progress, Unit};
use lifeboat::engine::runner::step::{Outcome, Standing, Step, StepContext};
use lifeboat::engine::runner::work::{Asking, Proof, Report, Work};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub const STEPS: [&str; 5] = ["stop-server", "move-aside", "replay", "promote", "open"];

pub const STEP_BACK: &str = "step-back";

pub const SALVAGE: [&str; 2] = ["salvage-copy", "parts-clear"];

#[derive(Debug)]
pub struct FakeWork {
    pub world: PathBuf,
}

pub fn at() -> Timestamp {
    "2025-01-13T10:00:00Z".parse().unwrap()
}

pub fn declaration(id: &str) -> Declaration {
    Declaration {
        id: id.to_owned(),
        cluster: String::from("orders"),
        tier: Tier::High,
        environment: String::from("drill"),
        title: String::from("orders are gone"),
        identity: None,
        drill: Some(String::from("corruption")),
    }
}

pub fn target() -> Target {
    Target { point: TargetPoint::Time(at()), inclusive: false, timeline: None }
}

pub fn out_of_reach() -> Target {
    Target { point: TargetPoint::Xid(7), inclusive: true, timeline: None }
}

/// Where the plan's first target lies.
pub const WAITS_AT: Lsn = Lsn(0x500_0000);

/// Where every other timeline of this world parts from the first.
pub const FORK: Lsn = Lsn(0x400_0000);

pub fn lsn_target(lsn: Lsn) -> Target {
    Target { point: TargetPoint::Lsn(lsn), inclusive: true, timeline: None }
}

fn commit(lsn: Lsn) -> Commit {
    Commit {
        at: at(),
        xid: 900,
        first_lsn: lsn,
        lsn,
        end_lsn: lsn,
        timeline: 1,
        inserts: 1,
        updates: 0,
        deletes: 0,
        stands_for: 1,
    }
}

pub fn base() -> BaseSummary {
    BaseSummary {
        set: String::from("set-20250113-020000"),
        repository: String::from("main"),
        started: at(),
        finished: at(),
        start_lsn: Lsn(0x200_0028),
        stop_lsn: Lsn(0x200_0100),
        timeline: 1,
        system_identifier: 7_301_234_567_890_123_456,
        version: 15,
        size: 1 << 29,
        stored: 1 << 27,
        encrypted: true,
    }
}

pub fn check(verdict: Verdict) -> Check {
    Check {
        id: String::from("members"),
        title: String::from("Every member opens"),
        verdict,
        expected: None,
        found: None,
        detail: String::from("as found"),
        duration_ms: 3,
    }
}

fn identity() -> Identity {
    Identity {
        system_identifier: 7_301_234_567_890_123_456,
        host: String::from("db1"),
        data_directory: String::from("/srv/pg/orders"),
        role: ServerRole::Primary,
        version: 15,
        timeline: 1,
    }
}

impl FakeWork {
    fn steered(&self, name: &str) -> bool {
        self.world.join(name).exists()
    }

    /// Where reading is blocked, it ends once it is asked to stop.
    fn read_until_stopped(&self, asking: &Asking<'_>) -> Result<(), Explanation> {
        let block = self.world.join("reading.block");
        if block.exists() {
            fs::write(self.world.join("reading.begun"), "").unwrap();
            if !wait_gone(&block, || (asking.cancelled)()) {
                return Err(Explanation::new(Kind::Cancelled, "reading was stopped", "", ""));
            }
        }
        Ok(())
    }

    fn count(&self, step: &str) -> usize {
        let effects = fs::read_to_string(self.world.join(format!("{step}.effects")));
        effects.unwrap_or_default().len()
    }

    fn wait_while_blocked(&self, job: &str) {
        wait_gone(&self.world.join(format!("{job}.block")), || false);
    }
}

/// True where it is gone, false where `give_up` came first.
fn wait_gone(path: &Path, give_up: impl Fn() -> bool) -> bool {
    let until = Instant::now() + Duration::from_secs(30);
    while path.exists() {
        if give_up() {
            return false;
        }
        assert!(Instant::now() < until, "{} was never taken away", path.display());
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

impl Work for FakeWork {
    fn probe_server(&self, _: &Incident) -> ServerProbe {
        fs::write(self.world.join("probe.begun"), "").unwrap();
        self.wait_while_blocked("probe");
        ServerProbe {
            at: at(),
            reachable: true,
            version: None,
            now: None,
            current_lsn: None,
            sessions: Some(2),
            identity: Some(identity()),
            error: None,
        }
    }

    fn run_probes(&self, _: &Incident) -> Result<Vec<Check>, Explanation> {
        assert!(!self.steered("probes.panic"), "the probes fell over");
        Ok(vec![check(Verdict::Verified)])
    }

    fn survey(&self, _: &Incident, asking: &Asking<'_>) -> Result<Survey, Explanation> {
        if self.steered("survey.fail") {
            return Err(Explanation::new(Kind::Connection, "no repository answers", "", ""));
        }
        (asking.report)(progress("survey", 1));
        self.read_until_stopped(asking)?;
        Ok(Survey {
            at: at(),
            current_lsn: None,
            bases: vec![base()],
            wal: Vec::new(),
            newest_commit: None,
            density: Vec::new(),
            landmarks: Default::default(),
            suspects: Vec::new(),
            suggestions: Vec::new(),
            warnings: Vec::new(),
        })
    }

    fn commits_around(
        &self,
        _: &Incident,
        _: Timestamp,
        _: u32,
    ) -> Result<Vec<Commit>, Explanation> {
        Ok(Vec::new())
    }

    fn past(
        &self,
        _: &Incident,
        (from, to): (Timestamp, Timestamp),
        columns: u32,
        _: Timestamp,
    ) -> Result<Window, Explanation> {
        let commits = vec![0; usize::try_from(columns).unwrap_or(0)];
        Ok(Window { from, to, commits, near: Vec::new(), exact: true })
    }

    fn reach(
        &self,
        _: &Incident,
        target: &Target,
        asking: &Asking<'_>,
    ) -> Result<Reach, Explanation> {
        self.read_until_stopped(asking)?;
        let reachable = *target != out_of_reach();
        let verdict = if reachable { Verdict::Verified } else { Verdict::Failed };
        Ok(Reach {
            target: target.clone(),
            reachable,
            checks: vec![check(verdict)],
            base: reachable.then(base),
            last_kept: match target.point {
                TargetPoint::Lsn(lsn) => Some(commit(lsn)),
                _ => None,
            },
            first_lost: None,
            lost_commits: Some(3),
            lost_seconds: Some(0.25),
            nearest: vec![self::target()],
            wal_bytes: WAITS_AT.bytes_since(base().start_lsn),
            minimum_settings: Vec::new(),
            forecast: None,
            line: match target.timeline {
                Some(other) => vec![(1, Lsn(0)), (other, FORK)],
                None => vec![(1, Lsn(0))],
            },
            cost: Default::default(),
            procedure: Default::default(),
            on_disk: None,
            alternative: None,
        })
    }

    fn reach_into(
        &self,
        incident: &Incident,
        target: &Target,
        _: &Path,
        asking: &Asking<'_>,
    ) -> Result<Reach, Explanation> {
        self.reach(incident, target, asking)
    }

    fn verify_integrity(&self, _: &str, report: Report<'_>) -> Result<Vec<Check>, Explanation> {
        report(progress("integrity", 1));
        self.wait_while_blocked("integrity");
        let bad = self.steered("integrity.bad");
        Ok(vec![check(if bad { Verdict::CouldNotVerify } else { Verdict::Verified })])
    }

    fn plan(&self, incident: &Incident) -> Result<Plan, Explanation> {
        let step = |id: &str| PlanStep {
            id: id.to_owned(),
            title: format!("The step {id}"),
            why: String::new(),
            runbook: String::new(),
            touches: Vec::new(),
            // Not a decimal that survives JSON by itself.
            expected: Some((0.1 + 0.2, 1.0 / 3.0)),
            cancel: match id {
                "move-aside" => Cancel::No(String::from("a rename is whole or not at all")),
                _ => Cancel::AtOnce,
            },
            destructive: id == "move-aside",
            undo: None,
        };
        let plan = Plan {
            incident: incident.declaration.id.clone(),
            cluster: incident.declaration.cluster.clone(),
            identity: identity(),
            target: incident.reach.as_ref().map_or_else(target, |reach| reach.target.clone()),
            timeline: Some(1),
            base: base(),
            aside: String::from("/srv/pg/orders.aside"),
            rescue: String::from("/srv/rescue"),
            repositories: Vec::new(),
            places: Default::default(),
            replay_until: Some(WAITS_AT),
            ends_at: None,
            minimum_settings: Vec::new(),
            procedure: Default::default(),
            lost: false,
            source: None,
            steps: STEPS.iter().map(|id| step(id)).collect(),
            hash: String::new(),
        };
        if self.steered("plan.unsealed") {
            return Ok(plan);
        }
        Ok(plan.seal().unwrap())
    }

    fn plan_salvage(&self, incident: &Incident) -> Result<Plan, Explanation> {
        let mut plan = incident.plan.clone().unwrap();
        plan.procedure = Procedure::Parts {
            sandbox: String::from("/srv/pg/orders.salvage"),
            database: None,
            tables: Vec::new(),
            kept: Some(plan.aside.clone()),
        };
        let step = plan.steps[0].clone();
        let steps = SALVAGE.iter().map(|id| PlanStep { id: (*id).to_owned(), ..step.clone() });
        plan.steps = steps.collect();
        Ok(plan.seal().unwrap())
    }

    fn step_back(&self, incident: &Incident, reach: &Reach) -> Result<Plan, Explanation> {
        let mut plan = incident.plan.clone().unwrap().moved_to(reach).unwrap();
        let mut step = plan.steps[1].clone();
        step.id = String::from(STEP_BACK);
        plan.steps.retain(|step| step.id != STEP_BACK);
        plan.steps.insert(2, step);
        let number = self.count(STEP_BACK);
        plan.places.stood = Some(Stood {
            from: PathBuf::from("/srv/pg/orders"),
            kept: PathBuf::from(format!("/srv/pg/orders.abandoned.{number}")),
            contents: false,
            spaces: Vec::new(),
        });
        Ok(plan.seal().unwrap())
    }

    fn steps(&self, plan: &Plan) -> Result<Vec<Box<dyn Step>>, Explanation> {
        let known = STEPS.iter().chain([&STEP_BACK]).chain(&SALVAGE);
        let known = known.filter(|id| plan.step(id).is_some());
        let mut steps: Vec<&'static str> = known.copied().collect();
        steps.sort_by_key(|id| plan.steps.iter().position(|step| step.id == *id));
        let step = |id| -> Box<dyn Step> { Box::new(FakeStep { id, world: self.world.clone() }) };
        Ok(steps.into_iter().map(step).collect())
    }

    fn validate(&self, _: &Incident, _: Report<'_>) -> Result<Vec<Check>, Explanation> {
        Ok(vec![check(Verdict::Verified)])
    }

    fn care(
        &self,
        _: &Incident,
        item: &str,
        agreed: &[String],
        _: Report<'_>,
    ) -> Result<Care, Explanation> {
        self.wait_while_blocked("care");
        let proposal = |key: &str| Proposal {
            key: key.to_owned(),
            text: format!("does {key}"),
            group: Some(String::from("one")),
        };
        let proposals = if agreed.is_empty() {
            vec![proposal("commit:a"), proposal("rollback:a")]
        } else {
            Vec::new()
        };
        let verdict = if agreed.is_empty() { Verdict::Failed } else { Verdict::Verified };
        let (item, agreed) = (item.to_owned(), agreed.to_vec());
        Ok(Care { item, agreed, checks: vec![check(verdict)], proposals })
    }

    fn ladder(&self, incident: &Incident) -> Option<Ladder> {
        let config: Config = toml::from_str("").unwrap();
        let runbook = Runbook::load(None).unwrap();
        self.steered("ladder").then(|| Ladder::new(&config, &runbook, incident))
    }

    fn reminder(&self, incident: &Incident, now: Timestamp) -> Option<Reminder> {
        checklist::reminder(incident, &Runbook::load(None).unwrap(), now)
    }

    fn proofs(&self, line: &str) -> Result<Vec<Proof>, Explanation> {
        checklist::proofs(&Runbook::load(None).unwrap(), line)
    }

    fn proven(&self, incident: &Incident, line: &str) -> Result<String, Explanation> {
        checklist::proven(incident, &Runbook::load(None).unwrap(), line)
    }

    fn may_close(&self, incident: &Incident) -> Result<(), Explanation> {
        if self.steered("checklist.open") && incident.waived.is_empty() {
            return Err(Explanation::new(Kind::Refused, "1 line is open.", "", ""));
        }
        Ok(())
    }

    fn write_report(&self, _: &Incident) -> Result<Vec<PathBuf>, Explanation> {
        Ok(vec![self.world.join("report.md")])
    }
}

fn progress(job: &str, done: u64) -> Progress {
    Progress {
        job: job.to_owned(),
        label: String::new(),
        started: at(),
        done,
        total: Some(1_000_000),
        unit: Unit::Bytes,
        rate: None,
        eta: None,
        history: Vec::new(),
        lsn: None,
        replayed_until: None,
        log: Vec::new(),
    }
}

#[derive(Debug)]
struct FakeStep {
    id: &'static str,
    world: PathBuf,
}

impl FakeStep {
    fn file(&self, what: &str) -> PathBuf {
        self.world.join(format!("{}.{what}", self.id))
    }

    fn outcome(&self) -> Outcome {
        match self.id {
            "replay" => Outcome::Hold { question: String::from("Promote here?") },
            _ => Outcome::Done,
        }
    }
}

impl Step for FakeStep {
    fn id(&self) -> &'static str {
        self.id
    }

    fn probe(&self, _: &dyn StepContext) -> Result<Standing, Explanation> {
        Ok(if self.file("done").exists() {
            Standing::Done(String::from("its effect is there"))
        } else if self.file("begun").exists() {
            Standing::Partial(String::from("it was begun"))
        } else {
            Standing::NotStarted
        })
    }

    fn run(&self, context: &dyn StepContext) -> Result<Outcome, Explanation> {
        if self.file("done").exists() {
            return Ok(self.outcome());
        }
        assert!(!self.file("panic").exists(), "the step fell over");
        if self.file("fail").exists() {
            return Err(Explanation::new(Kind::Server, "the server said no", "", ""));
        }
        fs::write(self.file("begun"), "").unwrap();
        context.note("begun", self.id)?;
        assert_eq!(context.noted("begun").as_deref(), Some(self.id));
        let mut done = 0;
        let blocked = self.file("block");
        if blocked.exists() {
            context.progress(progress(self.id, done));
        }
        if self.file("chatter").exists() {
            while done < 20_000 {
                done += 1;
                context.progress(progress(self.id, done));
            }
        }
        if !wait_gone(&blocked, || context.cancelled()) {
            return Err(Explanation::new(Kind::Cancelled, "it stopped at a safe point", "", ""));
        }
        let effects = fs::read_to_string(self.file("effects")).unwrap_or_default();
        fs::write(self.file("effects"), effects + "x").unwrap();
        fs::write(self.file("done"), "").unwrap();
        Ok(self.outcome())
    }

    fn undo(&self, _: &dyn StepContext) -> Result<String, Explanation> {
        if self.file("no-undo").exists() {
            return Err(Explanation::new(Kind::Storage, "it could not be put back", "", ""));
        }
        let order = self.world.join("undone");
        let so_far = fs::read_to_string(&order).unwrap_or_default();
        fs::write(order, format!("{so_far}{} ", self.id)).unwrap();
        let _ = fs::remove_file(self.file("done"));
        let _ = fs::remove_file(self.file("begun"));
        Ok(format!("{} is as before", self.id))
    }
}
