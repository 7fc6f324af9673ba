//! One incident told event by event, and the scenes that are drawn of it. Everything goes through
//! the journal's own events and the UI's own `update`, so that no scene can be one that does not
//! occur.

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use lifeboat::app::link::Incoming;
use lifeboat::app::model::{App, Effect, Event};
use lifeboat::app::update::update;
use lifeboat::engine::explain::{Explanation, Kind};
use lifeboat::engine::incident::care::{Care, Proposal};
use lifeboat::engine::incident::event::{Declaration, Entry, Event as J};
use lifeboat::engine::incident::facts::*;
use lifeboat::engine::incident::model::{Phase, RunStatus};
use lifeboat::engine::incident::past::{
    BaseChoice, Cost, Fork, Gap, Landmarks, RestorePoint, TableLoss, Window,
};
use lifeboat::engine::incident::raised::{Because, Raise};
use lifeboat::engine::incident::trouble::{By, Cure, Evidence, Trouble};
use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::readiness::{Facts, Readiness, Repository, gather, judge};
use lifeboat::engine::runbook::Runbook;
use lifeboat::engine::runner::plan::{Cancel, Plan, PlanStep};
use lifeboat::engine::runner::protocol::{Answer, Command, Message, Progress, Unit};
use lifeboat::screens::commands::Key;
use lifeboat::screens::theme::Theme;
use lifeboat::screens::view::{Briefing, ClusterRow, IncidentRow, Listing, Page, Targets, View};

pub const INCIDENT: &str = "INC-20261122-001";
pub const CLUSTER: &str = "orders-prod";
const DATA: &str = "/var/lib/postgresql/15/orders-prod/main";

pub fn at(time: &str) -> Timestamp {
    format!("2026-11-22T{time}Z").parse().unwrap()
}

pub fn actor(user: &str, role: Role) -> Actor {
    Actor { user: user.to_owned(), uid: 1000, role }
}

pub fn identity(role: ServerRole) -> Identity {
    Identity {
        system_identifier: 7_312_345_678_901_234_567,
        host: String::from("db1.example"),
        data_directory: String::from(DATA),
        role,
        version: 15,
        timeline: 1,
    }
}

pub fn commit(time: &str, xid: u32, lsn: u64, rows: (u64, u64, u64)) -> Commit {
    Commit {
        at: at(time),
        xid,
        first_lsn: Lsn(lsn),
        lsn: Lsn(lsn + 0x800),
        end_lsn: Lsn(lsn + 0x830),
        timeline: 1,
        inserts: rows.0,
        updates: rows.1,
        deletes: rows.2,
        stands_for: 1,
    }
}

pub fn target() -> Target {
    Target { point: TargetPoint::Lsn(Lsn(0x1_2A4F_3C18)), inclusive: false, timeline: None }
}

pub fn time_target() -> Target {
    Target { point: TargetPoint::Time(at("13:57:40")), inclusive: false, timeline: None }
}

pub fn base() -> BaseSummary {
    BaseSummary {
        set: String::from("set-20261122-020000"),
        repository: String::from("vault"),
        started: at("02:00:00"),
        finished: at("02:03:12"),
        start_lsn: Lsn(0x1_0400_0028),
        stop_lsn: Lsn(0x1_0400_0190),
        timeline: 1,
        system_identifier: 7_312_345_678_901_234_567,
        version: 15,
        size: 5_612_000_000,
        stored: 1_902_000_000,
        encrypted: true,
    }
}

pub fn check(id: &str, title: &str, verdict: Verdict, found: &str, detail: &str) -> Check {
    Check {
        id: id.to_owned(),
        title: title.to_owned(),
        verdict,
        expected: None,
        found: (!found.is_empty()).then(|| found.to_owned()),
        detail: detail.to_owned(),
        duration_ms: 42,
    }
}

fn proofs(unbroken: bool) -> Vec<Check> {
    use Verdict::{Failed, Verified};
    let log = if unbroken { Verified } else { Failed };
    vec![
        check(
            "base",
            "A backup ended before the point",
            Verified,
            "02:03:12 UTC",
            "set-20261122-020000 ended before it.",
        ),
        check(
            "wal",
            "The archived log is unbroken up to it",
            log,
            if unbroken { "86 log files" } else { "1 missing" },
            if unbroken {
                "Every log file from the backup to the point is there."
            } else {
                "Log file 00000001000000010000001F is missing from the archive."
            },
        ),
        check(
            "beyond",
            "A commit lies beyond the point",
            Verified,
            "transaction 74215",
            "The server can tell that it reached the point.",
        ),
        check(
            "keys",
            "The keys open",
            Verified,
            "2 keys",
            "Backup and log open with the keys at hand.",
        ),
        check("version", "Server and backup fit", Verified, "15", "Both are version 15."),
        check(
            "space",
            "There is space",
            Verified,
            "211 GB free",
            "6 GB are needed beside the damaged directory.",
        ),
        check(
            "settings",
            "Settings are high enough",
            Verified,
            "max_connections 200",
            "All five settings are at least what the log needs.",
        ),
    ]
}

/// The first of the earlier points that are offered at the recovery point.
pub fn before_the_last() -> Target {
    let kept = commit("14:02:48", 74210, 0x1_2A4F_3000, (2, 1, 0));
    Target { point: TargetPoint::Lsn(kept.first_lsn), inclusive: false, timeline: None }
}

pub fn reach(target: Target, reachable: bool) -> Reach {
    if matches!(target.point, TargetPoint::Xid(74211)) && target.inclusive {
        let before = Target { point: TargetPoint::Xid(74211), inclusive: false, timeline: None };
        return Reach {
            target,
            last_kept: Some(commit("14:02:51.312", 74211, 0x1_2A4F_3C18, (0, 0, 48_211))),
            first_lost: Some(commit("14:02:53.900", 74215, 0x1_2B00_0000, (1, 0, 0))),
            lost_commits: Some(411),
            ..reach(before, reachable)
        };
    }
    if target == before_the_last() {
        let here = Target { point: TargetPoint::EndOfArchive, ..before_the_last() };
        return Reach {
            target,
            last_kept: Some(commit("14:02:47", 74209, 0x1_2A4F_2000, (1, 0, 0))),
            first_lost: Some(commit("14:02:48", 74210, 0x1_2A4F_3000, (2, 1, 0))),
            lost_commits: Some(413),
            forecast: Some(Forecast { copy: (4.0, 9.0), replay: (9.0, 14.0), measured: true }),
            alternative: None,
            on_disk: Some(OnDisk {
                directory: String::from("/var/lib/postgresql/15/orders-prod/main"),
                unchanged: 4_300_000_000,
                unsure: 100_000_000,
                gone: 200_000_000,
            }),
            ..reach(here, reachable)
        };
    }
    Reach {
        target,
        reachable,
        checks: proofs(reachable),
        base: Some(base()),
        last_kept: Some(commit("14:02:48", 74210, 0x1_2A4F_3000, (2, 1, 0))),
        first_lost: Some(commit("14:02:51.312", 74211, 0x1_2A4F_3C18, (0, 0, 48_211))),
        lost_commits: Some(412),
        lost_seconds: Some(191.0),
        nearest: if reachable { Vec::new() } else { vec![time_target()] },
        wal_bytes: 642_000_000,
        minimum_settings: vec![(String::from("max_connections"), 200)],
        forecast: Some(Forecast { copy: (22.0, 31.0), replay: (9.0, 14.0), measured: true }),
        line: vec![(1, Lsn(0))],
        cost: cost(),
        procedure: Default::default(),
        on_disk: None,
        alternative: None,
    }
}

fn cost() -> Cost {
    let table = |relation: &str, inserts, updates, deletes| TableLoss {
        relation: relation.to_owned(),
        inserts,
        updates,
        deletes,
    };
    let base = |set: &str, wal_bytes: u64, replay, chosen: bool| BaseChoice {
        set: set.to_owned(),
        serves: chosen.then_some(true).or((wal_bytes < 2_000_000_000).then_some(true)),
        why: String::new(),
        wal_bytes,
        forecast: Forecast { copy: (22.0, 31.0), replay, measured: true },
        chosen,
    };
    Cost {
        tables: Some(vec![
            table("public.orders", 391, 12, 48_211),
            table("public.customers", 0, 17, 0),
            table("public.audit_log", 412, 0, 0),
        ]),
        more_tables: 2,
        exact: true,
        bases: vec![
            base("set-20261122-020000", 642_000_000, (9.0, 14.0), true),
            base("set-20261121-020000", 2_190_000_000, (31.0, 48.0), false),
        ],
        picture: None,
    }
}

fn landmarks() -> Landmarks {
    Landmarks {
        restore_points: vec![RestorePoint {
            name: String::from("before_release_4_2"),
            at: Some(at("13:39:30")),
            lsn: Lsn(0x1_28F0_0000),
        }],
        forks: vec![Fork {
            parent: 1,
            timeline: 2,
            lsn: Lsn(0x1_0800_0000),
            at: Some(at("04:30:00")),
            followed: false,
        }],
        gaps: vec![Gap {
            from: Lsn(0x1_0000_0000),
            to: Lsn(0x1_0300_0000),
            segments: 3,
            after: Some("2026-11-21T21:12:04Z".parse().unwrap()),
            before: Some("2026-11-21T23:02:04Z".parse().unwrap()),
            why: String::from("000000010000000100000000 is missing from the archive"),
        }],
        read_from: Some("2026-11-21T02:00:04Z".parse().unwrap()),
        detected: Some(at("14:05:30")),
        last_known_good: Some(at("13:55:00")),
    }
}

pub fn survey() -> Survey {
    let suspect = |time: &str, xid, lsn, what: &str, relation: &str, score| Suspect {
        commit: commit(time, xid, lsn, (0, 0, 48_211)),
        relation: relation.to_owned(),
        what: what.to_owned(),
        score,
        target: Target { point: TargetPoint::Lsn(Lsn(lsn)), inclusive: false, timeline: None },
    };
    let start = at("02:00:00");
    Survey {
        at: at("14:10:05"),
        current_lsn: Some(Lsn(0x1_2B01_99F0)),
        bases: vec![
            BaseSummary {
                set: String::from("set-20261121-020000"),
                started: "2026-11-21T02:00:00Z".parse().unwrap(),
                finished: "2026-11-21T02:03:01Z".parse().unwrap(),
                ..base()
            },
            base(),
        ],
        wal: vec![
            WalStretch {
                timeline: 1,
                from: Lsn(0xF000_0000),
                to: Lsn(0x1_0000_0000),
                segments: 16,
                first_commit: Some("2026-11-21T02:00:04Z".parse().unwrap()),
                last_commit: Some("2026-11-21T21:12:04Z".parse().unwrap()),
            },
            WalStretch {
                timeline: 1,
                from: Lsn(0x1_0300_0000),
                to: Lsn(0x1_2B00_0000),
                segments: 41,
                first_commit: Some("2026-11-21T23:02:04Z".parse().unwrap()),
                last_commit: Some(at("14:09:41")),
            },
        ],
        newest_commit: Some(commit("14:09:41", 74623, 0x1_2B00_0000, (1, 0, 0))),
        density: (0..730)
            .map(|i| {
                let slice = start + SignedDuration::from_mins(i);
                (slice, 20 + (i as u64 * 7919) % 90 + if i == 722 { 400 } else { 0 })
            })
            .collect(),
        landmarks: landmarks(),
        suspects: vec![
            suspect(
                "14:02:51.312",
                74211,
                0x1_2A4F_3C18,
                "deleted 48,211 of about 51,000 rows of public.orders",
                "public.orders",
                97.0,
            ),
            suspect(
                "13:41:07",
                73902,
                0x1_2911_0000,
                "updated 3,120 of about 9,800 rows of public.customers",
                "public.customers",
                31.0,
            ),
        ],
        suggestions: vec![
            Suggestion {
                target: target(),
                why: String::from(
                    "Its last rows before the damage are all kept: just before the transaction's first record in the log.",
                ),
            },
            Suggestion {
                target: time_target(),
                why: String::from("15 minutes before it was detected, as the runbook says."),
            },
        ],
        warnings: Vec::new(),
    }
}

pub fn plan() -> Plan {
    let runbook = Runbook::load(None).unwrap();
    let aside = "/var/lib/postgresql/15/orders-prod/main.damaged.20261122-141502";
    let rescue = "/var/lib/lifeboat/incidents/INC-20261122-001/rescued-wal";
    let step = |id: &str, touches: &[&str], expected, cancel, undo: Option<&str>| {
        let texts = runbook.step(id).unwrap();
        PlanStep {
            id: id.to_owned(),
            title: texts.title.clone(),
            why: texts.why.clone(),
            runbook: texts.runbook.clone(),
            touches: touches.iter().map(|t| (*t).to_owned()).collect(),
            expected,
            cancel,
            destructive: matches!(id, "stop-server" | "move-aside" | "promote"),
            undo: undo.map(str::to_owned),
        }
    };
    let no = |why: &str| Cancel::No(why.to_owned());
    Plan {
        incident: INCIDENT.to_owned(),
        cluster: CLUSTER.to_owned(),
        identity: identity(ServerRole::Primary),
        target: target(),
        timeline: None,
        base: base(),
        aside: aside.to_owned(),
        rescue: rescue.to_owned(),
        repositories: Vec::new(),
        places: Default::default(),
        replay_until: Some(Lsn(0x1_2A4F_3C18)),
        ends_at: None,
        minimum_settings: vec![],
        procedure: Default::default(),
        lost: false,
        source: None,
        steps: vec![
            step("confirm-identity", &[], Some((0.2, 1.0)), Cancel::AtOnce, None),
            step("rescue-wal", &[rescue], Some((1.0, 3.0)), Cancel::AtOnce, None),
            step(
                "stop-server",
                &["the server on db1.example, port 5432"],
                Some((1.0, 20.0)),
                no("a server that stops must be let finish"),
                Some("the server is started again"),
            ),
            step(
                "move-aside",
                &[DATA, aside],
                Some((0.1, 0.5)),
                no("it is one rename"),
                Some("the directory is moved back"),
            ),
            step(
                "restore-base",
                &[DATA],
                Some((22.0, 31.0)),
                Cancel::SafePoint(String::from("after the file that is being written")),
                Some("the new directory is moved aside"),
            ),
            step(
                "configure-recovery",
                &["postgresql.auto.conf and recovery.signal in the new directory"],
                Some((0.1, 0.5)),
                Cancel::AtOnce,
                None,
            ),
            step(
                "start-recovery",
                &["the server on db1.example, closed to the application"],
                Some((1.0, 3.0)),
                Cancel::AtOnce,
                Some("the server is stopped"),
            ),
            step(
                "replay",
                &[DATA],
                Some((9.0, 14.0)),
                Cancel::SafePoint(String::from("the server is stopped between two log files")),
                None,
            ),
            step("inspect", &[], None, Cancel::AtOnce, None),
            step(
                "promote",
                &["the server: it begins timeline 2"],
                Some((1.0, 3.0)),
                no("a promotion cannot be taken back"),
                None,
            ),
            step(
                "open",
                &["connections of the application"],
                Some((1.0, 2.0)),
                Cancel::AtOnce,
                None,
            ),
            step("validate", &[], Some((3.0, 9.0)), Cancel::AtOnce, None),
        ],
        hash: String::new(),
    }
    .seal()
    .unwrap()
}

pub fn checks(failed: bool) -> Vec<Check> {
    use Verdict::*;
    let mut list = vec![
        check(
            "counts:public.orders",
            "public.orders",
            Verified,
            "50,988 rows",
            "As many as the last statistics before the damage say, less what came after the point.",
        ),
        check(
            "counts:public.customers",
            "public.customers",
            Verified,
            "9,812 rows",
            "As expected.",
        ),
        check(
            "counts:public.audit_log",
            "public.audit_log",
            Verified,
            "402,177 rows",
            "As expected.",
        ),
        check(
            "fk:orders_customer_id_fkey",
            "orders without their customer",
            Verified,
            "0 rows",
            "Every order has its customer.",
        ),
        check(
            "fk:order_items_order_id_fkey",
            "order_items without their order",
            Verified,
            "0 rows",
            "Every item has its order.",
        ),
        check(
            "recent:public.orders",
            "Newest row of public.orders",
            Verified,
            "14:02:48 UTC",
            "From just before the recovery point.",
        ),
        check(
            "indexes:invalid",
            "Indexes present and valid",
            Verified,
            "23 of 23",
            "None is missing or invalid.",
        ),
        check(
            "plans:orders_by_customer",
            "Plan of orders_by_customer",
            Verified,
            "Index Scan",
            "The same plan as before.",
        ),
        check("analyze:all", "ANALYZE", Verified, "11 tables", "Statistics are new."),
        check(
            "application:connection",
            "Connects as the application",
            Verified,
            "12 ms",
            "shop connects and reads.",
        ),
        check(
            "application:health",
            "Health address answers",
            CouldNotVerify,
            "",
            "http://app.example/api/health/database gave no answer within 5 s. Ask whoever runs the application, then run the checks again.",
        ),
        check(
            "probes:stock",
            "Stock adds up",
            NotRun,
            "",
            "No expectation is configured for this probe.",
        ),
    ];
    if failed {
        list[3] = Check {
            expected: Some(String::from("0 rows")),
            ..check(
                "fk:orders_customer_id_fkey",
                "orders without their customer",
                Failed,
                "17 rows",
                "17 rows of public.orders name a customer that does not exist. They were wrong before the damage too, or the point is a little late. Look at them, then choose another point or repair them by hand.",
            )
        };
    }
    list
}

fn raise() -> Raise {
    Raise {
        level: String::from("2"),
        who: String::from("Senior site reliability engineer"),
        contacts: vec![String::from("Rota of the SREs, +49 30 1234567")],
        because: Because::Forecast,
        why: String::from(
            "At this rate it serves at 14:35 UTC, 15 min after the RTO. Called before its time, \
             which is 14:36 UTC.",
        ),
        times: 1,
    }
}

pub fn progress(job: &str) -> Progress {
    let log = [
        "2026-11-22 14:15:41.101 UTC [4211] LOG:  starting point-in-time recovery to WAL location (LSN) \"1/2A4F3C18\"",
        "2026-11-22 14:15:41.240 UTC [4211] LOG:  restored log file \"000000010000000100000004\" from archive",
        "2026-11-22 14:15:41.255 UTC [4211] LOG:  redo starts at 1/4000028",
        "2026-11-22 14:15:44.019 UTC [4211] LOG:  restored log file \"000000010000000100000018\" from archive",
    ];
    let copying = job == "restore-base";
    Progress {
        job: job.to_owned(),
        label: if copying {
            String::from("base/16384/16402")
        } else {
            String::from("replaying log file 000000010000000100000018")
        },
        started: at("14:15:20"),
        done: if copying { 3_421_000_000 } else { 321_000_000 },
        total: Some(if copying { 5_612_000_000 } else { 642_000_000 }),
        unit: Unit::Bytes,
        rate: Some(if copying { 241_000_000.0 } else { 88_000_000.0 }),
        eta: Some(9.2),
        history: (0..60)
            .map(|i| {
                200.0e6 + f64::from((i * 37) % 60) * 1.4e6 - if i % 17 == 0 { 90.0e6 } else { 0.0 }
            })
            .collect(),
        lsn: (!copying).then_some(Lsn(0x1_1824_0000)),
        replayed_until: (!copying).then(|| at("11:20:09")),
        log: if copying { Vec::new() } else { log.iter().map(|l| (*l).to_owned()).collect() },
    }
}

fn commits() -> Vec<Commit> {
    vec![
        commit("14:02:44.101", 74208, 0x1_2A4F_1000, (1, 1, 0)),
        commit("14:02:46.290", 74209, 0x1_2A4F_2000, (3, 0, 0)),
        commit("14:02:48.004", 74210, 0x1_2A4F_3000, (2, 1, 0)),
        commit("14:02:51.312", 74211, 0x1_2A4F_3C18, (0, 0, 48_211)),
        commit("14:02:53.900", 74215, 0x1_2B00_0000, (1, 0, 0)),
    ]
}

/// What a point was like: rows of the damaged table and whether that is enough.
fn tried(target: Target, time: &str, lsn: u64, orders: (&str, bool)) -> Try {
    use Verdict::{CouldNotVerify, Failed, NotRun, Verified};
    let (rows, good) = orders;
    let word = if good { Verified } else { Failed };
    let newest = format!("2026-11-22 {time}+00");
    let probe = if good { ("1,402", Verified) } else { ("0", Failed) };
    Try {
        target,
        reached_lsn: Some(Lsn(lsn)),
        reached_time: Some(at(time)),
        checks: vec![
            Check {
                expected: Some(String::from("at least 47,820")),
                ..check("rows:public.orders", "Rows of public.orders", word, rows, "Counted here.")
            },
            check(
                "newest:public.orders",
                "Newest row of public.orders",
                Verified,
                &newest,
                "By created_at: not after the last transaction that is here.",
            ),
            check(
                "rows:public.customers",
                "Rows of public.customers",
                NotRun,
                "9,812",
                "Counted alone: how many there should be is not known.",
            ),
            check(
                "rows:public.audit_log",
                "Rows of public.audit_log",
                CouldNotVerify,
                "locked",
                "It is locked by the transaction that is under way at this point.",
            ),
            Check {
                expected: Some(String::from("at least 1000")),
                ..check("probe:recent", "Orders of the last hour", probe.1, probe.0, "")
            },
            check("probe:customers", "Customers in all", Verified, "9,812", ""),
        ],
    }
}

/// Tells an incident to an [`App`].
pub struct Story {
    /// Boxed: a scene after the other would not fit on a thread's stack.
    pub app: Box<App>,
    seq: u64,
    live: bool,
}

impl Story {
    pub fn home(theme: Theme) -> Self {
        let view = View::new(at("14:10:00"), TimeZone::UTC, theme, Runbook::load(None).unwrap());
        let mut app = Box::new(App::new(view));
        app.start(None);
        let mut story = Self { app, seq: 0, live: false };
        story.event(Event::Listed(Ok(listing())));
        story
    }

    /// Home, where it was asked what a recovery would meet.
    pub fn ready(theme: Theme) -> Self {
        let mut story = Self::home(theme);
        let mut listing = listing();
        for cluster in listing.clusters.iter_mut().take(2) {
            let page = readiness(&cluster.name);
            cluster.state = Some(gather::in_short(&page, at("14:10:00")));
            cluster.readiness = Some(page);
        }
        story.event(Event::Listed(Ok(listing)));
        story
    }

    /// The incident's screen, as the commander.
    pub fn declared(theme: Theme, drill: bool) -> Self {
        Self::declared_as(theme, drill, Role::Commander)
    }

    pub fn declared_as(theme: Theme, drill: bool, role: Role) -> Self {
        let mut story = Self::home(theme);
        if drill {
            story.app.view.briefing = Some(briefing());
            story.app.brief = true;
        }
        lifeboat::app::update::open(&mut story.app, INCIDENT.to_owned());
        story.message(Message::Hello {
            protocol: 1,
            incident: INCIDENT.to_owned(),
            you: actor("ann", role),
            runner_pid: 4242,
        });
        story.entry(
            "14:09:30",
            J::IncidentDeclared(Declaration {
                id: INCIDENT.to_owned(),
                cluster: CLUSTER.to_owned(),
                tier: Tier::High,
                environment: String::from("production"),
                title: String::from("Orders of the last hour are gone"),
                identity: Some(identity(ServerRole::Primary)),
                drill: drill.then(|| String::from("corruption")),
            }),
        );
        story.entry(
            "14:09:31",
            J::RunnerStarted { pid: 4242, version: String::from("0.1.0"), resumed: false },
        );
        story.message(Message::Live);
        story.live = true;
        story
    }

    pub fn assessed(theme: Theme) -> Self {
        let mut s = Self::declared(theme, false);
        s.assess();
        s
    }

    pub fn assess(&mut self) {
        self.entry("14:09:50", J::SeveritySet { severity: Severity::Sev2 });
        self.entry(
            "14:09:58",
            J::MomentStated { moment: Moment::FirstDetected, at: at("14:05:30") },
        );
        self.entry(
            "14:10:01",
            J::ServerProbed(ServerProbe {
                at: at("14:10:01"),
                reachable: true,
                version: Some(String::from("PostgreSQL 15.18 (Debian 15.18-0+deb12u1) on x86_64-pc-linux-gnu, compiled by gcc")),
                now: Some(at("14:10:01")),
                current_lsn: Some(Lsn(0x1_2B01_99F0)),
                sessions: Some(14),
                identity: Some(identity(ServerRole::Primary)),
                error: None,
            }),
        );
        self.entry(
            "14:10:02",
            J::ProbesRun {
                checks: vec![
                    check(
                        "probes:recent",
                        "Orders of the last hour",
                        Verdict::Failed,
                        "0",
                        "Expected at least 1,000 in working hours.",
                    ),
                    check("probes:customers", "Customers in all", Verdict::Verified, "9,812", ""),
                ],
            },
        );
        self.entry(
            "14:10:03",
            J::MomentStated { moment: Moment::LastKnownGood, at: at("13:55:00") },
        );
        self.entry(
            "14:10:04",
            J::NoteAdded {
                topic: Topic::ChangesBefore,
                text: String::from(
                    "Release 4.2 at 13:40; the nightly clean-up job was run by hand at about 14:00",
                ),
            },
        );
        self.tick("14:10:06");
    }

    pub fn pointing(theme: Theme, reachable: bool) -> Self {
        let mut s = Self::assessed(theme);
        s.key(Key::Char('n'));
        s.message(Message::Survey(survey()));
        s.answer_all(reachable);
        s
    }

    /// Answers what the screen asked for by itself, until it asks no more.
    pub fn answer_all(&mut self, reachable: bool) {
        self.answer_by(&|target| reach(target, reachable));
    }

    /// As [`Story::answer_all`], with a verdict of one's own on each point.
    pub fn answer_by(&mut self, judge: &dyn Fn(Target) -> Reach) {
        for _ in 0..8 {
            let waiting: Vec<_> =
                self.app.view.waiting.iter().map(|(id, w)| (*id, w.purpose.clone())).collect();
            for (id, purpose) in waiting {
                use lifeboat::screens::view::Purpose as P;
                let answer = match purpose {
                    P::Reach(target) => Answer::Reach(judge(target)),
                    P::Commits(_) => Answer::Commits(commits()),
                    P::Past(asked) => Answer::Past(Window {
                        from: asked.from,
                        to: asked.to,
                        commits: (0..u64::from(asked.columns)).map(|i| i * 7919 % 13).collect(),
                        near: commits(),
                        exact: true,
                    }),
                    _ => Answer::Done,
                };
                self.message(Message::Reply { id, result: Ok(answer) });
            }
        }
    }

    pub fn chosen(theme: Theme) -> Self {
        let mut s = Self::pointing(theme, true);
        s.entry("14:12:10", J::TargetChosen(reach(target(), true)));
        s.tick("14:12:12");
        s
    }

    pub fn half_answered(theme: Theme) -> Self {
        let mut s = Self::chosen(theme);
        s.entry(
            "14:12:40",
            J::PrerequisiteAnswered {
                prerequisite: Prerequisite::IncidentDeclared,
                met: true,
                note: String::from("#incident-42, on-call DBA and head of operations called"),
            },
        );
        s.entry(
            "14:13:05",
            J::PrerequisiteAnswered {
                prerequisite: Prerequisite::MaintenanceWindow,
                met: true,
                note: String::from("Shop in maintenance mode since 14:08"),
            },
        );
        s.tick("14:13:07");
        s
    }

    pub fn planned(theme: Theme) -> Self {
        let mut s = Self::half_answered(theme);
        s.entry(
            "14:13:40",
            J::IntegrityChecked {
                set: base().set,
                checks: vec![
                    check("members", "Every part authentic", Verdict::Verified, "1,804 parts", ""),
                    check("files", "Every file as listed", Verdict::Verified, "1,312 files", ""),
                ],
            },
        );
        s.entry(
            "14:14:10",
            J::PrerequisiteAnswered {
                prerequisite: Prerequisite::TargetConfirmed,
                met: true,
                note: String::from("Head of orders, by phone"),
            },
        );
        s.entry("14:14:20", J::PlanMade(plan()));
        s.tick("14:14:25");
        s
    }

    pub fn running(theme: Theme, until: &str) -> Self {
        let mut s = Self::planned(theme);
        let plan = plan();
        s.entry("14:15:00", J::GatePassed { plan_hash: plan.hash.clone() });
        s.entry("14:15:01", J::RunStarted { plan_hash: plan.hash.clone() });
        let mut clock = at("14:15:02");
        for step in &plan.steps {
            s.entry_at(clock, J::StepStarted { step: step.id.clone(), attempt: 1 });
            if step.id == "rescue-wal" {
                s.entry_at(
                    clock,
                    J::StepNoted {
                        step: step.id.clone(),
                        name: String::from("rescued"),
                        text: String::from("2 log files rescued, up to LSN 1/2B0199F0"),
                    },
                );
            }
            if step.id == until {
                break;
            }
            clock += SignedDuration::from_secs(if step.id == "restore-base" { 24 } else { 2 });
            if step.id == "replay" {
                s.entry_at(
                    clock,
                    J::StepNoted {
                        step: step.id.clone(),
                        name: String::from("reached_lsn"),
                        text: String::from("1/2A4F3C18"),
                    },
                );
                s.entry_at(
                    clock,
                    J::StepNoted {
                        step: step.id.clone(),
                        name: String::from("reached_time"),
                        text: String::from("2026-11-22 14:02:48.004+00"),
                    },
                );
            }
            if step.id == "inspect" {
                s.entry_at(clock, J::StepHeld { step: step.id.clone(), question: question() });
                s.entry_at(
                    clock,
                    J::Decided {
                        step: step.id.clone(),
                        decision: lifeboat::engine::incident::event::Decision::Promote,
                    },
                );
            }
            s.entry_at(clock, J::StepFinished { step: step.id.clone() });
        }
        s.event(Event::Tick(clock + SignedDuration::from_secs(12)));
        s
    }

    /// So slow that it will serve after the RTO: level 2 was called early, and nobody answers yet.
    pub fn escalated(theme: Theme) -> Self {
        let mut s = Self::running(theme, "replay");
        let slow = Progress { eta: Some(1180.0), ..progress("replay") };
        s.message(Message::Progress(Some(slow)));
        s.entry("14:16:30", J::LevelRaised(raise()));
        s.tick("14:17:40");
        s
    }

    pub fn held(theme: Theme) -> Self {
        let mut s = Self::running(theme, "inspect");
        s.entry(
            "14:15:58",
            J::StepNoted {
                step: String::from("inspect"),
                name: String::from("reached_lsn"),
                text: String::from("1/2A4F3C18"),
            },
        );
        s.entry(
            "14:15:58",
            J::StepNoted {
                step: String::from("inspect"),
                name: String::from("public.orders"),
                text: String::from("50,988 rows"),
            },
        );
        let first = tried(target(), "14:02:48.004", 0x1_2A4F_3C18, ("50,988", true));
        s.entry("14:15:59", J::TargetTried(first));
        s.entry("14:15:59", J::StepHeld { step: String::from("inspect"), question: question() });
        s.tick("14:16:20");
        s
    }

    /// At the third point tried.
    pub fn compared(theme: Theme) -> Self {
        let mut s = Self::held(theme);
        let xid = Target { point: TargetPoint::Xid(74211), inclusive: true, timeline: None };
        s.moved("14:16:30", xid, ("14:02:51.312", 0x1_2A4F_4448, ("2,777", false)));
        let lsn = Target {
            point: TargetPoint::Lsn(Lsn(0x1_2B00_0000)),
            inclusive: false,
            timeline: None,
        };
        s.moved("14:17:10", lsn, ("14:02:53.660", 0x1_2B00_0000, ("2,779", false)));
        s.tick("14:17:40");
        s
    }

    fn moved(&mut self, time: &str, to: Target, found: (&str, u64, (&str, bool))) {
        let reach = reach(to.clone(), true);
        let plan = plan().moved_to(&reach).unwrap();
        self.entry(time, J::TargetMoved { reach, plan });
        for step in ["replay", "inspect"] {
            self.entry(time, J::StepStarted { step: step.to_owned(), attempt: 2 });
            if step == "inspect" {
                self.entry(time, J::TargetTried(tried(to.clone(), found.0, found.1, found.2)));
                let question = String::from(
                    "The server waits at the target; 1 of 2 probes are content. Promote it?",
                );
                self.entry(time, J::StepHeld { step: step.to_owned(), question });
            } else {
                self.entry(time, J::StepFinished { step: step.to_owned() });
            }
        }
    }

    pub fn failed(theme: Theme) -> Self {
        let mut s = Self::running(theme, "restore-base");
        s.entry("14:15:40", J::StepFailed {
            step: String::from("restore-base"),
            explanation: Explanation::new(
                Kind::Storage,
                "The disk of /var/lib/postgresql is full: base/16384/16402 could not be written after 3.4 GB.",
                "The damaged directory is kept whole at main.damaged.20261122-141502; the backup was only read.",
                "Free 2.3 GB or more on that disk, then try the step again: it goes on with the file that failed.",
            ),
        });
        s.tick("14:15:50");
        s
    }

    /// A log file is missing, and it is known where it can be had.
    pub fn troubled(theme: Theme) -> Self {
        let mut s = Self::running(theme, "replay");
        let cure = |id: &str, title: &str, does: &str, by| Cure {
            id: id.to_owned(),
            title: title.to_owned(),
            does: does.to_owned(),
            touches: Vec::new(),
            cost: String::from("seconds a file; the base is not copied again"),
            risk: String::from("none: a file that is not what was written is not used"),
            by,
            with: Vec::new(),
        };
        s.entry("14:16:40", J::TroubleFound {
            step: String::from("replay"),
            trouble: Trouble {
                name: String::from("missing-wal"),
                what: String::from("The log file 000000010000000100000029 cannot be had from where this recovery looks, but is in \"far\". Replay stopped before it; nothing was lost."),
                evidence: vec![
                    Evidence { source: String::from("log"), text: String::from("2026-11-22 14:16:39.881 UTC [4411] FATAL:  recovery ended before configured recovery target was reached") },
                    Evidence { source: String::from("segment"), text: String::from("000000010000000100000029 is in \"far\"") },
                ],
                cures: vec![
                    cure("fetch-elsewhere", "Fetch it from \"far\", and go on", "All repositories of the cluster are asked from now on, and what only the directory set aside holds is copied to the rescued files. Each file is checked before it is used.", By::Lifeboat),
                    cure("stop-at-gap", "End the recovery at the last transaction before it", "The server keeps everything up to the last transaction before it.", By::LifeboatByName),
                ],
            },
        });
        s.entry("14:16:40", J::StepFailed {
            step: String::from("replay"),
            explanation: Explanation::new(
                Kind::Unreachable,
                "The WAL ended before the target. The server says: recovery ended before configured recovery target was reached.",
                "The repository and the damaged directory that was moved aside are as they were; the restored directory stays for another try.",
                "Where a log file is missing, bring it back into the repository and retry.",
            ),
        });
        s.tick("14:16:50");
        s
    }

    /// The disk is full, and the recovery can go on in another place.
    pub fn out_of_room(theme: Theme) -> Self {
        let mut s = Self::running(theme, "restore-base");
        let cure = |id: &str, title: &str, does: &str, cost: &str, by| Cure {
            id: id.to_owned(),
            title: title.to_owned(),
            does: does.to_owned(),
            touches: Vec::new(),
            cost: cost.to_owned(),
            risk: String::from(
                "none for the data: the same backup and the same point, which are proven",
            ),
            by,
            with: Vec::new(),
        };
        s.entry("14:15:40", J::TroubleFound {
            step: String::from("restore-base"),
            trouble: Trouble {
                name: String::from("no-space"),
                what: String::from("The disk that holds /var/lib/postgresql/15/main is full, 0 B are free. What was done so far is kept and goes on from there."),
                evidence: vec![Evidence { source: String::from("log"), text: String::from("write /var/lib/postgresql/15/main/base/16384/16402: No space left on device (os error 28)") }],
                cures: vec![
                    cure("other-place", "Recover into /mnt/recovery/postgresql instead", "The copy begins again there: 412.5 GiB are free, 61.25 GiB are needed. What was restored is kept whole as /var/lib/postgresql/15/main.abandoned.*, and the damaged cluster comes back to its place.", "the copy again (4 min to 8 min), and the replay; then data_directory has to name /mnt/recovery/postgresql", By::LifeboatByName),
                    cure("look-again", "Make room on that disk, then look again", "Nothing beside the data directory could go. Or enlarge the volume. Lifeboat deletes nothing. Then this goes on; nothing that is whole is copied again.", "your time", By::People),
                    cure("named-place", "Go on in a directory that you name", "You type an empty directory on another disk. It is looked at first: where it has not the room, nothing is changed. What was restored here is kept.", "the copy again, and the replay; then data_directory has to name it", By::LifeboatByName),
                ],
            },
        });
        s.entry("14:15:40", J::StepFailed {
            step: String::from("restore-base"),
            explanation: Explanation::new(
                Kind::Storage,
                "Could not write /var/lib/postgresql/15/main/base/16384/16402: No space left on device (os error 28).",
                "The damaged directory is kept whole at main.damaged.20261122-141502; the backup was only read.",
                "Free space on that volume, then retry the step.",
            ),
        });
        s.tick("14:15:50");
        s
    }

    pub fn interrupted(theme: Theme) -> Self {
        let mut s = Self::running(theme, "restore-base");
        s.entry(
            "14:16:40",
            J::RunnerStarted { pid: 4300, version: String::from("0.1.0"), resumed: true },
        );
        s.entry(
            "14:16:40",
            J::StepInterrupted {
                step: String::from("restore-base"),
                finding: String::from(
                    "811 of 1,312 files are there and whole, pg_control is not there yet",
                ),
            },
        );
        s.tick("14:16:45");
        s
    }

    pub fn finished(theme: Theme, failed: bool) -> Self {
        let mut s = Self::running(theme, "validate");
        s.entry("14:17:10", J::ValidationRun { checks: checks(failed) });
        s.entry("14:17:11", J::StepFinished { step: String::from("validate") });
        s.entry("14:17:11", J::RunFinished);
        s.tick("14:17:20");
        s
    }

    pub fn ending(theme: Theme) -> Self {
        let mut s = Self::finished(theme, false);
        s.key(Key::Char('n'));
        let sign = |item: &str, evidence: &str| {
            J::ChecklistSigned(SignOff {
                item: item.to_owned(),
                done: true,
                evidence: evidence.to_owned(),
            })
        };
        s.entry("14:20:00", sign("database-accessible", "psql as shop from app1 and app2"));
        s.entry("14:24:00", sign("critical-functions", "Order placed, paid and cancelled by hand"));
        for _ in 0..2 {
            s.key(Key::Down);
        }
        s.tick("14:25:00");
        s
    }

    /// A line of the safety list was run and proposes something.
    pub fn caring(theme: Theme) -> Self {
        let mut s = Self::ending(theme);
        let behind = |name: &str, least: &str, found: &str| Check {
            id: format!("sequences:shop/{name}"),
            title: name.to_owned(),
            verdict: Verdict::Failed,
            expected: Some(format!("at {least} or beyond")),
            found: Some(found.to_owned()),
            detail: format!("the damaged server had handed out up to {least}."),
            duration_ms: 2,
        };
        let proposal = |name: &str, least: &str| Proposal {
            key: format!("shop/{name}={least}"),
            text: format!("SELECT setval('{name}', {least}) (database shop)"),
            group: None,
        };
        s.entry(
            "14:24:30",
            J::CareDone(Care {
                item: String::from("sequences"),
                agreed: Vec::new(),
                checks: vec![
                    behind("public.orders_id_seq", "50466", "50401"),
                    behind("public.receipts_id_seq", "101", "6"),
                ],
                proposals: vec![
                    proposal("public.orders_id_seq", "50466"),
                    proposal("public.receipts_id_seq", "101"),
                ],
            }),
        );
        let lines = lifeboat::screens::checklist::lines(&s.app.view);
        let at = lines.iter().position(|i| i.id == "sequences").unwrap();
        s.app.view.cursors.insert((Page::Checklist, 0), at);
        s.tick("14:25:00");
        s
    }

    /// The command that is evidence is written, and shown before it runs.
    pub fn asking(theme: Theme) -> Self {
        let mut s = Self::ending(theme);
        [Key::Char('e'), Key::Down, Key::Enter].into_iter().for_each(|key| drop(s.key(key)));
        s.keys("curl -fsS https://shop.example/health");
        s.key(Key::Enter);
        s
    }

    /// What it said is shown before it is signed.
    pub fn gathered(theme: Theme) -> Self {
        let mut s = Self::asking(theme);
        s.key(Key::Char('y'));
        let rows: Vec<String> = (1..=14).map(|n| format!("service {n}: up")).collect();
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let command = "`curl -fsS https://shop.example/health`";
        let said = format!("{command} ended well (output sha256 {digest}): {}", rows.join("\n"));
        let item = String::from("database-accessible");
        s.event(Event::Evidence { item, gathered: Ok(said) });
        s
    }

    pub fn reported(theme: Theme) -> Self {
        let mut s = Self::ending(theme);
        for kind in ["md", "html", "json"] {
            s.entry(
                "14:26:00",
                J::ReportWritten {
                    path: format!(
                        "/var/lib/lifeboat/incidents/{INCIDENT}/report/recovery-report.{kind}"
                    ),
                },
            );
        }
        s.key(Key::Char('6'));
        s.tick("14:26:10");
        s
    }

    pub fn event(&mut self, event: Event) -> Vec<Effect> {
        update(&mut self.app, event)
    }

    pub fn key(&mut self, key: Key) -> Vec<Effect> {
        self.event(Event::Key(key))
    }

    pub fn keys(&mut self, text: &str) -> Vec<Effect> {
        text.chars().flat_map(|c| self.key(Key::Char(c))).collect()
    }

    pub fn tick(&mut self, time: &str) {
        self.event(Event::Tick(at(time)));
    }

    pub fn message(&mut self, message: Message) -> Vec<Effect> {
        let generation = self.app.generation;
        self.event(Event::Link { generation, incoming: Incoming::Message(Box::new(message)) })
    }

    pub fn lose(&mut self) -> Vec<Effect> {
        let generation = self.app.generation;
        self.event(Event::Link {
            generation,
            incoming: Incoming::Lost(String::from("the connection was closed")),
        })
    }

    pub fn entry(&mut self, time: &str, event: J) -> Vec<Effect> {
        self.entry_at(at(time), event)
    }

    /// By somebody who is named.
    pub fn entry_by(&mut self, time: &str, user: &str, role: Role, event: J) -> Vec<Effect> {
        self.seq += 1;
        self.message(Message::Entry(Entry {
            seq: self.seq,
            at: at(time),
            actor: actor(user, role),
            event,
            prev: String::new(),
        }))
    }

    /// The same screen before the eyes of somebody else.
    pub fn seen_by(mut self, user: &str, role: Role) -> Self {
        self.app.view.you = Some(actor(user, role));
        self
    }

    pub fn entry_at(&mut self, time: Timestamp, event: J) -> Vec<Effect> {
        self.seq += 1;
        let who = match &event {
            J::StepStarted { .. }
            | J::StepFinished { .. }
            | J::StepNoted { .. }
            | J::StepHeld { .. } => actor("lifeboat", Role::Commander),
            _ => actor("ann", Role::Commander),
        };
        self.message(Message::Entry(Entry {
            seq: self.seq,
            at: time,
            actor: who,
            event,
            prev: String::new(),
        }))
    }

    pub fn progress(mut self, job: &str) -> Self {
        self.message(Message::Progress(Some(progress(job))));
        self
    }
}

fn question() -> String {
    String::from(
        "The server stands just before LSN 1/2A4F3C18, closed to the application. Is the data right?",
    )
}

/// A page on which a drill, a second copy and a place are missing.
fn readiness(cluster: &str) -> Readiness {
    let repository = Repository {
        name: String::from("near"),
        opened: Ok((94_000_000, 4_300_000_000)),
        gaps: Vec::new(),
        unread: None,
        verified: Some((Verdict::Verified, 0)),
    };
    let facts = Facts {
        rto_seconds: 900,
        newest_backup: Some(at("02:11:40")),
        versions: Some(Ok(())),
        repositories: vec![repository],
        space: vec![(9_100_000_000, 14_200_000_000)],
        scenarios: vec![String::from("corruption"), String::from("complete-loss")],
        ..Facts::default()
    };
    judge(cluster, &facts, at("11:08:00"))
}

pub fn listing() -> Listing {
    let cluster = |name: &str, tier, environment: &str, host: &str| ClusterRow {
        name: name.to_owned(),
        tier,
        environment: environment.to_owned(),
        data_directory: format!("/var/lib/postgresql/15/{name}/main"),
        host: host.to_owned(),
        probes: 2,
        state: None,
        readiness: None,
    };
    let row =
        |id: &str, cluster: &str, title: &str, phase, status, declared: &str, drill| IncidentRow {
            id: id.to_owned(),
            cluster: cluster.to_owned(),
            title: title.to_owned(),
            declared: declared.parse().unwrap(),
            phase,
            status,
            drill,
        };
    Listing {
        clusters: vec![
            cluster(CLUSTER, Tier::High, "production", "db1.example"),
            cluster("analytics", Tier::Standard, "production", "db2.example"),
            cluster("orders-staging", Tier::Archive, "staging", "this host"),
        ],
        incidents: vec![
            row(
                INCIDENT,
                CLUSTER,
                "Orders of the last hour are gone",
                Phase::Restore,
                RunStatus::Running,
                "2026-11-22T14:09:30Z",
                false,
            ),
            row(
                "INC-20261015-002",
                "analytics",
                "GameDay: partial table loss",
                Phase::Closed,
                RunStatus::Finished,
                "2026-10-15T09:00:00Z",
                true,
            ),
            row(
                "INC-20261015-001",
                "analytics",
                "Report tables empty after migration",
                Phase::Closed,
                RunStatus::Finished,
                "2026-10-15T07:12:00Z",
                false,
            ),
        ],
        warnings: Vec::new(),
    }
}

pub fn briefing() -> Briefing {
    Briefing {
        title: String::from("Recent data corruption"),
        story: vec![
            String::from(
                "It is the middle of the night. The shop's people call: the orders of the last hour have vanished from every screen. New orders still come in.",
            ),
            String::from("Somebody ran a clean-up by hand. Nobody remembers exactly when."),
        ],
        objective: String::from(
            "Bring the orders back. Lose at most 5 minutes of data (RPO), be back within 15 minutes (RTO).",
        ),
        hints: Vec::new(),
        targets: Targets { rpo_seconds: Some(300), rto_seconds: 900 },
        origin: None,
    }
}

/// Every scene by name.
pub fn scenes(theme: Theme) -> Vec<(&'static str, Box<App>)> {
    let mut out: Vec<(&'static str, Box<App>)> = Vec::new();
    let mut add = |name, story: Story| out.push((name, story.app));
    let with = |mut story: Story, keys: &[Key]| {
        for key in keys {
            story.key(*key);
        }
        story
    };
    add("home", Story::home(theme));
    let mut empty = Story::home(theme);
    empty.event(Event::Listed(Ok(Listing::default())));
    add("home_empty", empty);
    add("home_ready", Story::ready(theme));
    add("readiness", with(Story::ready(theme), &[Key::Char('R')]));
    add("declare", {
        let mut s = with(Story::home(theme), &[Key::Down, Key::Char('d')]);
        s.keys("Report tables are empty");
        s
    });
    add("briefing", Story::declared(theme, true));
    add("assessment_new", with(Story::declared(theme, true), &[Key::Esc]));
    add("severity", with(Story::declared(theme, false), &[Key::Char('s'), Key::Down]));
    add("moment", {
        let mut s = with(Story::declared(theme, false), &[Key::Char('f')]);
        s.keys("14:05");
        s
    });
    add("assessment", Story::assessed(theme));
    add("observer", Story::declared_as(theme, false, Role::Observer));
    add("point_reading", with(Story::assessed(theme), &[Key::Char('n')]));
    add("point", Story::pointing(theme, true));
    add("point_zoomed", with(Story::pointing(theme, true), &[Key::Char('z'), Key::Char('z')]));
    add("point_unreachable", Story::pointing(theme, false));
    add("point_proof", with(Story::pointing(theme, true), &[Key::BackTab]));
    let picture = |keys: &[Key], reachable| {
        let mut s = with(Story::pointing(theme, true), &[Key::Tab]);
        s.answer_all(true);
        for key in keys {
            s.key(*key);
            s.answer_all(reachable);
        }
        s
    };
    add("picture", picture(&[], true));
    add("picture_minutes", picture(&[Key::Down, Key::Left, Key::Left], true));
    add("picture_commit", picture(&[Key::Down, Key::Down, Key::Down, Key::Left], true));
    let back = Key::Char('[');
    add("picture_gap", picture(&[back, back, back, back, back, back, Key::Left], false));
    add("point_kind", with(Story::pointing(theme, true), &[Key::Char('k')]));
    add("commits", {
        let mut s = with(Story::pointing(theme, true), &[Key::Char('c'), Key::Enter]);
        s.answer_all(true);
        s
    });
    add("prerequisites", Story::half_answered(theme));
    add("answer", with(Story::chosen(theme), &[Key::Char('e')]));
    add("plan", with(Story::planned(theme), &[Key::Down; 8]));
    add("gate", {
        let mut s = with(Story::planned(theme), &[Key::Char('g')]);
        s.keys("orders");
        s
    });
    add("copying", Story::running(theme, "restore-base").progress("restore-base"));
    add("replaying", Story::running(theme, "replay").progress("replay"));
    add(
        "cancel",
        with(Story::running(theme, "restore-base").progress("restore-base"), &[Key::Char('X')]),
    );
    add(
        "quit",
        with(Story::running(theme, "restore-base").progress("restore-base"), &[Key::Char('q')]),
    );
    add("escalated", Story::escalated(theme));
    add("held", Story::held(theme));
    add("held_panel", with(Story::held(theme), &[Key::Tab, Key::Down]));
    add("held_compared", Story::compared(theme));
    add("held_other", with(Story::compared(theme), &[Key::Tab, Key::Char('o'), Key::Down]));
    add("later", with(Story::held(theme), &[Key::Char('L')]));
    add("later_gate", {
        let mut s = with(Story::held(theme), &[Key::Char('L'), Key::Enter]);
        s.answer_all(true);
        s.keys("orders");
        s
    });
    add("earlier", with(Story::held(theme), &[Key::Char('E')]));
    add("earlier_gate", {
        let mut s = with(Story::held(theme), &[Key::Char('E'), Key::Enter]);
        s.answer_all(true);
        s.keys("orders");
        s
    });
    add("promote", with(Story::held(theme), &[Key::Char('P')]));
    add("failed", Story::failed(theme));
    add("trouble", Story::troubled(theme));
    add("trouble_cure", with(Story::troubled(theme), &[Key::Char('f')]));
    add("trouble_space", Story::out_of_room(theme));
    add("trouble_space_name", with(Story::out_of_room(theme), &[Key::Char('f')]));
    let named = [Key::Char('F'), Key::Down, Key::Down, Key::Enter];
    add("trouble_space_place", with(Story::out_of_room(theme), &named));
    add("trouble_cures", with(Story::troubled(theme), &[Key::Char('F')]));
    add("trouble_name", with(Story::troubled(theme), &[Key::Char('F'), Key::Down, Key::Enter]));
    add("interrupted", Story::interrupted(theme));
    add("put_back", {
        let mut s = Story::failed(theme);
        s.key(Key::Char('U'));
        s
    });
    add("lost", {
        let mut s = Story::running(theme, "replay").progress("replay");
        s.lose();
        s
    });
    add("validation", Story::finished(theme, false));
    add(
        "validation_failed",
        with(Story::finished(theme, true), &[Key::Down, Key::Down, Key::Down]),
    );
    add("checklist", Story::ending(theme));
    add("sign", with(Story::ending(theme), &[Key::Enter]));
    add("checklist_evidence", with(Story::ending(theme), &[Key::Char('e')]));
    add("checklist_evidence_command", Story::asking(theme));
    add("checklist_evidence_shown", Story::gathered(theme));
    add("checklist_safety", Story::caring(theme));
    add("checklist_agree", with(Story::caring(theme), &[Key::Char('y'), Key::Enter]));
    add("report", Story::reported(theme));
    add("help", with(Story::pointing(theme, true), &[Key::Char('?')]));
    add("timeline", with(Story::finished(theme, false), &[Key::Char('t')]));
    out.extend(super::full::scenes(theme));
    out.extend(super::parts::scenes(theme));
    out.extend(super::salvage::scenes(theme));
    debug_assert!(out.iter().all(|(_, app)| app.view.page != Page::Home || app.open.is_none()));
    out
}

/// Whether a command changes a server or ends a choice.
pub fn is_destructive(command: &Command) -> bool {
    matches!(
        command,
        Command::PassGate { .. }
            | Command::Start { .. }
            | Command::Decide { .. }
            | Command::MoveTarget { .. }
            | Command::RunCare { .. }
            | Command::Undo
            | Command::Cancel
    )
}
