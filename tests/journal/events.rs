//! Any event of any kind.

use jiff::Timestamp;
use lifeboat::engine::explain::{Explanation, Kind};
use lifeboat::engine::incident::approval::{Asked, Given};
use lifeboat::engine::incident::care::{Care, Held, HeldKind, Proposal, Reminder};
use lifeboat::engine::incident::event::{Decision, Declaration, Event};
use lifeboat::engine::incident::facts::{
    Actor, BaseSummary, Check, Commit, Forecast, Identity, Moment, Prerequisite, Reach, Role,
    ServerProbe, ServerRole, Severity, SignOff, Target, TargetPoint, Tier, Topic, Try, Verdict,
};
use lifeboat::engine::incident::parts::{Carry, Part, PartsChoice, PartsDone, PartsLook};
use lifeboat::engine::incident::raised::{Because, Raise};
use lifeboat::engine::incident::salvage::ByCommand;
use lifeboat::engine::incident::trouble::{Adjustments, By, Cure, Evidence, Trouble};
use lifeboat::engine::parts::compare::{Difference, Prints};
use lifeboat::engine::parts::database::{Brought, Found};
use lifeboat::engine::parts::names::Name;
use lifeboat::engine::parts::roles::Missing;
use lifeboat::engine::parts::work::{Into, Wanted, Written};
use lifeboat::engine::parts::{Choice, Scope};
use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::runner::plan::{Cancel, Plan, PlanStep};
use lifeboat::engine::signature::{self, Kept, Signed};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// How many kinds there are.
pub const KINDS: usize = 64;

/// A number for each kind; does not compile once one is missing here.
pub fn number(event: &Event) -> usize {
    match event {
        Event::IncidentDeclared(_) => 0,
        Event::RunnerStarted { .. } => 1,
        Event::SeveritySet { .. } => 2,
        Event::MomentStated { .. } => 3,
        Event::NoteAdded { .. } => 4,
        Event::ServerProbed(_) => 5,
        Event::ProbesRun { .. } => 6,
        Event::PrerequisiteAnswered { .. } => 7,
        Event::IntegrityChecked { .. } => 8,
        Event::TargetChosen(_) => 9,
        Event::PlanMade(_) => 10,
        Event::GatePassed { .. } => 11,
        Event::CommandRefused { .. } => 12,
        Event::RunStarted { .. } => 13,
        Event::StepStarted { .. } => 14,
        Event::StepNoted { .. } => 15,
        Event::StepFinished { .. } => 16,
        Event::StepHeld { .. } => 17,
        Event::StepFailed { .. } => 18,
        Event::StepInterrupted { .. } => 19,
        Event::Decided { .. } => 20,
        Event::PauseRequested => 21,
        Event::Paused { .. } => 22,
        Event::Resumed => 23,
        Event::CancelRequested => 24,
        Event::RunCancelled { .. } => 25,
        Event::UndoStarted => 26,
        Event::StepUndone { .. } => 27,
        Event::UndoFailed { .. } => 28,
        Event::UndoFinished => 29,
        Event::RunFinished => 30,
        Event::ValidationRun { .. } => 31,
        Event::ChecklistSigned(_) => 32,
        Event::ReportWritten { .. } => 33,
        Event::IncidentClosed { .. } => 34,
        Event::TargetTried(_) => 35,
        Event::TargetMoved { .. } => 36,
        Event::TroubleFound { .. } => 37,
        Event::CureAccepted { .. } => 38,
        Event::CureDone { .. } => 39,
        Event::CureFailed { .. } => 40,
        Event::ChecklistWaived { .. } => 41,
        Event::ChecklistAssigned { .. } => 42,
        Event::ServiceHeld(_) => 43,
        Event::CareBegun { .. } => 44,
        Event::CareDone(_) => 45,
        Event::LossCounted(_) => 46,
        Event::ChecklistReminded(_) => 47,
        Event::LevelRaised(_) => 48,
        Event::LevelAcknowledged { .. } => 49,
        Event::ApprovalAsked(_) => 50,
        Event::ApprovalGiven(_) => 51,
        Event::ApprovalDeclined { .. } => 52,
        Event::ApprovalWaived { .. } => 53,
        Event::HandoverOffered { .. } => 54,
        Event::HandoverAccepted { .. } => 55,
        Event::HandoverDeclined { .. } => 56,
        Event::CommandTaken { .. } => 57,
        Event::StatusTextWritten { .. } => 58,
        Event::SignOffSigned { .. } => 59,
        Event::PartsSeen(_) => 60,
        Event::PartsChosen(_) => 61,
        Event::PartsCarried(_) => 62,
        Event::SalvagedByCommand(_) => 63,
    }
}

fn because() -> BoxedStrategy<Because> {
    select(vec![Because::Elapsed, Because::Breached, Because::Forecast]).boxed()
}

fn text() -> BoxedStrategy<String> {
    prop_oneof![any::<String>(), "[a-z0-9 ./-]{0,20}", Just(String::from("line\nfeed \"\\\u{0}"))]
        .boxed()
}

fn time() -> BoxedStrategy<Timestamp> {
    (-2_000_000_000_i64..4_000_000_000, 0..1_000_000_000_i32)
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond.max(0)))
        .prop_filter_map("a time", |made| made.ok())
        .boxed()
}

/// Decimals, which are all that a forecast needs.
fn seconds() -> BoxedStrategy<f64> {
    (0..100_000_000_u32).prop_map(|thousandths| f64::from(thousandths) / 1000.0).boxed()
}

pub fn actor() -> BoxedStrategy<Actor> {
    let role = select(Role::ALL.to_vec());
    (text(), any::<u32>(), role).prop_map(|(user, uid, role)| Actor { user, uid, role }).boxed()
}

fn identity() -> BoxedStrategy<Identity> {
    let role = select(vec![
        ServerRole::Primary,
        ServerRole::Standby,
        ServerRole::Down,
        ServerRole::Unknown,
    ]);
    (any::<u64>(), text(), text(), role, 12..19_u32, 1..9_u32)
        .prop_map(|(system_identifier, host, data_directory, role, version, timeline)| Identity {
            system_identifier,
            host,
            data_directory,
            role,
            version,
            timeline,
        })
        .boxed()
}

fn checks() -> BoxedStrategy<Vec<Check>> {
    let verdict =
        select(vec![Verdict::Verified, Verdict::Failed, Verdict::NotRun, Verdict::CouldNotVerify]);
    let check = (text(), verdict, option::of(text()), option::of(text()), any::<u64>()).prop_map(
        |(id, verdict, expected, found, duration_ms)| Check {
            title: id.clone(),
            detail: id.clone(),
            id,
            verdict,
            expected,
            found,
            duration_ms,
        },
    );
    vec(check, 0..3).boxed()
}

fn target() -> BoxedStrategy<Target> {
    let point = prop_oneof![
        time().prop_map(TargetPoint::Time),
        any::<u64>().prop_map(|lsn| TargetPoint::Lsn(Lsn(lsn))),
        any::<u32>().prop_map(TargetPoint::Xid),
        text().prop_map(TargetPoint::Name),
        Just(TargetPoint::EndOfArchive),
    ];
    (point, any::<bool>(), option::of(1..9_u32))
        .prop_map(|(point, inclusive, timeline)| Target { point, inclusive, timeline })
        .boxed()
}

fn base() -> BoxedStrategy<BaseSummary> {
    (text(), time(), any::<u64>(), any::<bool>())
        .prop_map(|(set, started, number, encrypted)| BaseSummary {
            repository: set.clone(),
            set,
            started,
            finished: started,
            start_lsn: Lsn(number),
            stop_lsn: Lsn(number),
            timeline: 1,
            system_identifier: number,
            version: 15,
            size: number,
            stored: number,
            encrypted,
        })
        .boxed()
}

fn commit() -> BoxedStrategy<Commit> {
    (time(), any::<u32>(), any::<u64>())
        .prop_map(|(at, xid, number)| Commit {
            at,
            xid,
            first_lsn: Lsn(number),
            lsn: Lsn(number),
            end_lsn: Lsn(number),
            timeline: 1,
            inserts: number,
            updates: 0,
            deletes: number,
            stands_for: 1,
        })
        .boxed()
}

fn settings() -> BoxedStrategy<Vec<(String, i64)>> {
    vec((text(), any::<i64>()), 0..3).boxed()
}

fn reach() -> BoxedStrategy<Reach> {
    let forecast = (seconds(), seconds(), any::<bool>()).prop_map(|(least, most, measured)| {
        Forecast { copy: (least, most), replay: (least, most), measured }
    });
    let lost = (option::of(any::<u64>()), option::of(seconds()));
    let rest = (vec(target(), 0..3), settings(), option::of(forecast), any::<u64>());
    (target(), checks(), option::of(base()), option::of(commit()), lost, rest)
        .prop_map(|(target, checks, base, commit, lost, rest)| Reach {
            target,
            reachable: base.is_some(),
            checks,
            base,
            last_kept: commit.clone(),
            first_lost: commit,
            lost_commits: lost.0,
            lost_seconds: lost.1,
            nearest: rest.0,
            wal_bytes: rest.3,
            minimum_settings: rest.1,
            forecast: rest.2,
            line: vec![(1, Lsn(0)), (2, Lsn(rest.3 >> 1))],
            cost: Default::default(),
            procedure: Default::default(),
            on_disk: None,
            alternative: None,
        })
        .boxed()
}

fn step() -> BoxedStrategy<PlanStep> {
    let cancel = prop_oneof![
        Just(Cancel::AtOnce),
        text().prop_map(Cancel::SafePoint),
        text().prop_map(Cancel::No),
    ];
    // Any figures: sealing a plan makes them survive.
    let expected = option::of((0.0..1e9_f64, 0.0..1e9_f64));
    (text(), vec(text(), 0..3), expected, cancel, any::<bool>(), option::of(text()))
        .prop_map(|(id, touches, expected, cancel, destructive, undo)| PlanStep {
            title: id.clone(),
            why: id.clone(),
            runbook: id.clone(),
            id,
            touches,
            expected,
            cancel,
            destructive,
            undo,
        })
        .boxed()
}

fn plan() -> BoxedStrategy<Plan> {
    (text(), identity(), target(), base(), settings(), vec(step(), 0..4))
        .prop_map(|(text, identity, target, base, minimum_settings, steps)| {
            let plan = Plan {
                incident: text.clone(),
                cluster: text.clone(),
                identity,
                target,
                timeline: Some(2),
                base,
                aside: text.clone(),
                rescue: text,
                repositories: Vec::new(),
                places: Default::default(),
                replay_until: None,
                ends_at: None,
                minimum_settings,
                procedure: Default::default(),
                lost: false,
                source: None,
                steps,
                hash: String::new(),
            };
            plan.seal().unwrap()
        })
        .boxed()
}

fn explanation() -> BoxedStrategy<Explanation> {
    let kind = select(vec![Kind::Config, Kind::Integrity, Kind::Busy, Kind::Internal]);
    (kind, text(), text(), text())
        .prop_map(|(kind, what, untouched, next)| Explanation::new(kind, what, untouched, next))
        .boxed()
}

fn declaration() -> BoxedStrategy<Declaration> {
    let tier = select(vec![Tier::Critical, Tier::High, Tier::Standard, Tier::Archive]);
    (text(), tier, text(), option::of(identity()), option::of(text()))
        .prop_map(|(id, tier, title, identity, drill)| Declaration {
            cluster: title.clone(),
            environment: title.clone(),
            id,
            tier,
            title,
            identity,
            drill,
        })
        .boxed()
}

fn probe() -> BoxedStrategy<ServerProbe> {
    let known = (option::of(any::<u64>()), option::of(any::<u32>()), option::of(identity()));
    (time(), any::<bool>(), option::of(text()), option::of(time()), known)
        .prop_map(|(at, reachable, version, now, (lsn, sessions, identity))| ServerProbe {
            at,
            reachable,
            error: version.clone(),
            version,
            now,
            current_lsn: lsn.map(Lsn),
            sessions,
            identity,
        })
        .boxed()
}

fn cure() -> BoxedStrategy<Cure> {
    let by = select(vec![By::Lifeboat, By::LifeboatByName, By::People]);
    (text(), text(), vec(text(), 0..3), by)
        .prop_map(|(id, title, with, by)| Cure {
            does: title.clone(),
            touches: with.clone(),
            cost: id.clone(),
            risk: title.clone(),
            id,
            title,
            by,
            with,
        })
        .boxed()
}

fn adjustments() -> BoxedStrategy<Adjustments> {
    let minimums = vec((text(), any::<i64>()), 0..2);
    (any::<bool>(), vec(text(), 0..2), option::of(any::<u16>()), minimums)
        .prop_map(|(all_repositories, without_libraries, port, minimums)| Adjustments {
            all_repositories,
            without_repositories: without_libraries.clone(),
            without_bases: without_libraries.clone(),
            without_libraries,
            port,
            beside_port: port.map(|port| port.wrapping_add(1)),
            minimums,
        })
        .boxed()
}

fn kept() -> BoxedStrategy<Kept> {
    let found = prop_oneof![
        text().prop_map(signature::Found::Good),
        text().prop_map(signature::Found::Unknown),
        text().prop_map(signature::Found::NotChecked),
    ];
    (text(), text(), found)
        .prop_map(|(text, signature, when_taken)| {
            let signed = Signed { text, signature };
            Kept { signed, when_taken }
        })
        .boxed()
}

fn handovers() -> BoxedStrategy<Event> {
    let task = || option::of(text());
    prop_oneof![
        (text(), task(), text()).prop_map(|(to, task, note)| Event::HandoverOffered {
            to,
            task,
            note
        }),
        task().prop_map(|task| Event::HandoverAccepted { task }),
        (task(), text()).prop_map(|(task, reason)| Event::HandoverDeclined { task, reason }),
        text().prop_map(|reason| Event::CommandTaken { reason }),
        text().prop_map(|text| Event::StatusTextWritten { text }),
    ]
    .boxed()
}

fn part() -> BoxedStrategy<Part> {
    let scope = prop_oneof![
        vec((text(), text()), 0..3).prop_map(|names| {
            Scope::Tables(names.into_iter().map(|(schema, table)| Name { schema, table }).collect())
        }),
        text().prop_map(Scope::Schema),
        Just(Scope::All),
    ];
    prop_oneof![
        text().prop_map(|database| Part::Database { database }),
        (text(), scope).prop_map(|(database, scope)| Part::Of(Wanted { database, scope })),
    ]
    .boxed()
}

fn carry() -> BoxedStrategy<Carry> {
    prop_oneof![
        Just(Carry::Of { into: Into::Side }),
        any::<[bool; 5]>().prop_map(|[missing, changed, newer, triggers, common_columns]| {
            let taken = Choice { missing, changed, newer, triggers, common_columns };
            Carry::Of { into: Into::Place(taken) }
        }),
        (text(), option::of(text()))
            .prop_map(|(named, set_aside)| Carry::Database { named, set_aside }),
    ]
    .boxed()
}

fn parts_look() -> BoxedStrategy<PartsLook> {
    let difference = (text(), any::<bool>(), any::<[u32; 3]>(), vec(text(), 0..2)).prop_map(
        |(table, by_key, [missing, changed, newer], definition)| Difference {
            table,
            by_key,
            rows_in_source: 1,
            rows_in_production: 2,
            missing: missing.into(),
            changed: changed.into(),
            newer: newer.into(),
            prints: Prints::default(),
            definition,
            samples: Vec::new(),
        },
    );
    let whole = (text(), any::<bool>()).prop_map(|(database, in_production)| Found {
        database,
        in_production,
        ..Found::default()
    });
    let lists = (vec(difference, 0..3), vec(text(), 0..3), vec(text(), 0..3));
    (part(), lists, any::<bool>(), option::of(whole))
        .prop_map(|(part, (differences, absent, missing_roles), schema_absent, whole)| PartsLook {
            part,
            differences,
            absent,
            schema_absent,
            missing_roles,
            partitions: Vec::new(),
            whole,
        })
        .boxed()
}

fn parts_choice() -> BoxedStrategy<PartsChoice> {
    let missing = select(vec![Missing::Ask, Missing::Create, Missing::LeaveOut]);
    (carry(), missing, text())
        .prop_map(|(carry, missing_roles, seen)| PartsChoice { carry, missing_roles, seen })
        .boxed()
}

fn parts_done() -> BoxedStrategy<PartsDone> {
    prop_oneof![
        (option::of(text()), vec(text(), 0..3)).prop_map(|(schema, notes)| {
            PartsDone::Of(Written { schema, notes, ..Written::default() })
        }),
        (text(), any::<u32>()).prop_map(|(database, rows)| {
            PartsDone::Database(Brought { database, rows: rows.into(), ..Brought::default() })
        }),
    ]
    .boxed()
}

/// Every kind with every shape of payload.
pub fn event() -> BoxedStrategy<Event> {
    let severity = select(vec![Severity::Sev1, Severity::Sev2, Severity::Sev3]);
    let moment = select(vec![Moment::FirstDetected, Moment::LastKnownGood]);
    let topic = select(vec![Topic::ChangesBefore, Topic::Symptom, Topic::Note]);
    let decision = select(vec![Decision::Promote, Decision::Abandon]);
    let bare = select(vec![
        Event::PauseRequested,
        Event::Resumed,
        Event::CancelRequested,
        Event::UndoStarted,
        Event::UndoFinished,
        Event::RunFinished,
    ]);
    let assessment = prop_oneof![
        declaration().prop_map(Event::IncidentDeclared),
        (any::<u32>(), text(), any::<bool>())
            .prop_map(|(pid, version, resumed)| { Event::RunnerStarted { pid, version, resumed } }),
        severity.prop_map(|severity| Event::SeveritySet { severity }),
        (moment, time()).prop_map(|(moment, at)| Event::MomentStated { moment, at }),
        (topic, text()).prop_map(|(topic, text)| Event::NoteAdded { topic, text }),
        probe().prop_map(Event::ServerProbed),
        checks().prop_map(|checks| Event::ProbesRun { checks }),
        (select(Prerequisite::ALL.to_vec()), any::<bool>(), text()).prop_map(
            |(prerequisite, met, note)| Event::PrerequisiteAnswered { prerequisite, met, note }
        ),
        (text(), checks()).prop_map(|(set, checks)| Event::IntegrityChecked { set, checks }),
    ];
    let planning = prop_oneof![
        reach().prop_map(Event::TargetChosen),
        reach().prop_map(|reach| Event::LossCounted(reach.into())),
        plan().prop_map(Event::PlanMade),
        (reach(), plan()).prop_map(|(reach, plan)| Event::TargetMoved { reach, plan }),
        (reach(), option::of(any::<u64>()), option::of(time()), checks()).prop_map(
            |(reach, lsn, reached_time, checks)| {
                let reached_lsn = lsn.map(Lsn);
                Event::TargetTried(Try { target: reach.target, reached_lsn, reached_time, checks })
            }
        ),
        text().prop_map(|plan_hash| Event::GatePassed { plan_hash }),
        text().prop_map(|plan_hash| Event::RunStarted { plan_hash }),
        (text(), vec(text(), 0..3), option::of(text())).prop_map(
            |(plan_hash, why, before_step)| {
                let (may, steps) = (why.clone(), why.clone());
                Event::ApprovalAsked(Asked { plan_hash, why, may, steps, before_step })
            }
        ),
        (text(), time(), option::of(kept())).prop_map(|(plan_hash, until, signed)| {
            Event::ApprovalGiven(Given { plan_hash, until, signed })
        }),
        (text(), kept()).prop_map(|(item, kept)| Event::SignOffSigned { item, kept }),
        (text(), text())
            .prop_map(|(plan_hash, reason)| Event::ApprovalDeclined { plan_hash, reason }),
        (text(), text())
            .prop_map(|(plan_hash, reason)| Event::ApprovalWaived { plan_hash, reason }),
        handovers(),
        (text(), text()).prop_map(|(command, reason)| Event::CommandRefused { command, reason }),
    ];
    let steps = prop_oneof![
        (text(), any::<u32>()).prop_map(|(step, attempt)| Event::StepStarted { step, attempt }),
        (text(), text(), text()).prop_map(|(step, name, text)| Event::StepNoted {
            step,
            name,
            text
        }),
        text().prop_map(|step| Event::StepFinished { step }),
        (text(), text()).prop_map(|(step, question)| Event::StepHeld { step, question }),
        (text(), explanation())
            .prop_map(|(step, explanation)| Event::StepFailed { step, explanation }),
        (text(), text()).prop_map(|(step, finding)| Event::StepInterrupted { step, finding }),
        (text(), text(), text(), vec(cure(), 0..3)).prop_map(|(step, what, text, cures)| {
            let evidence = vec![Evidence { source: what.clone(), text }];
            let trouble = Trouble { name: what.clone(), what, evidence, cures };
            Event::TroubleFound { step, trouble }
        }),
        (text(), cure()).prop_map(|(step, cure)| Event::CureAccepted { step, cure }),
        (text(), text(), text(), adjustments()).prop_map(|(step, cure, text, adjusted)| {
            Event::CureDone { step, cure, text, adjusted }
        }),
        (text(), text(), explanation()).prop_map(|(step, cure, explanation)| {
            Event::CureFailed { step, cure, explanation }
        }),
        (text(), decision).prop_map(|(step, decision)| Event::Decided { step, decision }),
        text().prop_map(|before_step| Event::Paused { before_step }),
        option::of(text()).prop_map(|step| Event::RunCancelled { step }),
        (text(), text()).prop_map(|(step, text)| Event::StepUndone { step, text }),
        (text(), explanation())
            .prop_map(|(step, explanation)| Event::UndoFailed { step, explanation }),
    ];
    let parts = prop_oneof![
        parts_look().prop_map(Event::PartsSeen),
        parts_choice().prop_map(Event::PartsChosen),
        parts_done().prop_map(Event::PartsCarried),
        (text(), time(), parts_look(), parts_choice(), parts_done(), checks()).prop_map(
            |(kept, begun, look, choice, done, checks)| {
                Event::SalvagedByCommand(ByCommand { kept, begun, look, choice, done, checks })
            }
        ),
    ];
    let after = prop_oneof![
        checks().prop_map(|checks| Event::ValidationRun { checks }),
        (text(), any::<bool>(), text()).prop_map(|(item, done, evidence)| {
            Event::ChecklistSigned(SignOff { item, done, evidence })
        }),
        text().prop_map(|path| Event::ReportWritten { path }),
        (text(), text()).prop_map(|(item, reason)| Event::ChecklistWaived { item, reason }),
        (text(), text()).prop_map(|(item, owner)| Event::ChecklistAssigned { item, owner }),
        (select(vec![HeldKind::Subscription, HeldKind::CronJob]), text(), text())
            .prop_map(|(what, database, name)| Event::ServiceHeld(Held { what, database, name })),
        (text(), vec(text(), 0..3)).prop_map(|(item, agreed)| Event::CareBegun { item, agreed }),
        (text(), vec(text(), 0..3), checks(), vec((text(), text(), option::of(text())), 0..3))
            .prop_map(|(item, agreed, checks, proposals)| {
                let proposal = |(key, text, group)| Proposal { key, text, group };
                let proposals = proposals.into_iter().map(proposal).collect();
                Event::CareDone(Care { item, agreed, checks, proposals })
            }),
        (vec(text(), 0..3), vec(text(), 0..3))
            .prop_map(|(soon, overdue)| Event::ChecklistReminded(Reminder { soon, overdue })),
        (text(), text(), vec(text(), 0..3), because(), text(), any::<u32>()).prop_map(
            |(level, who, contacts, because, why, times)| {
                Event::LevelRaised(Raise { level, who, contacts, because, why, times })
            }
        ),
        text().prop_map(|level| Event::LevelAcknowledged { level }),
        text().prop_map(|summary| Event::IncidentClosed { summary }),
    ];
    prop_oneof![3 => assessment, 2 => planning, 4 => steps, 1 => parts, 2 => after, 2 => bare]
        .boxed()
}
