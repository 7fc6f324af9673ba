//! The report, from a journal to its three forms.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

#[path = "report_forms/look.rs"]
mod look;
#[path = "report_forms/records.rs"]
mod records;

use jiff::{SignedDuration, Timestamp};
use lifeboat::engine::incident::Incident;
use lifeboat::engine::incident::event::{Decision, Declaration, Entry, Event};
use lifeboat::engine::incident::facts::*;
use lifeboat::engine::incident::past::{Cost, Gap, Landmarks, Picture, RestorePoint, TableLoss};
use lifeboat::engine::incident::raised::{Because, Raise};
use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::report::{self, Report};
use lifeboat::engine::runbook::{Runbook, StepText};
use lifeboat::engine::runner::plan::{Cancel, Plan, PlanStep};
use proptest::prelude::*;

/// An incident written down as it happens, with its own clock.
struct Story {
    entries: Vec<Entry>,
    at: Timestamp,
}

impl Story {
    fn begin(title: &str, drill: Option<&str>) -> Self {
        let mut story = Self { entries: Vec::new(), at: stamp("2026-01-13T10:06:00Z") };
        story.tell(Event::IncidentDeclared(Declaration {
            id: String::from("INC-20260113-001"),
            cluster: String::from("shop"),
            tier: Tier::High,
            environment: String::from("production"),
            title: title.to_owned(),
            identity: Some(identity()),
            drill: drill.map(str::to_owned),
        }));
        story
    }

    fn tell(&mut self, event: Event) -> &mut Self {
        let actor = Actor { user: String::from("ada"), uid: 1000, role: Role::Commander };
        let seq = u64::try_from(self.entries.len()).unwrap() + 1;
        self.entries.push(Entry { seq, at: self.at, actor, event, prev: String::new() });
        self
    }

    fn wait(&mut self, milliseconds: i64) -> &mut Self {
        self.at += SignedDuration::from_millis(milliseconds);
        self
    }

    fn step(&mut self, id: &str, milliseconds: i64, notes: &[(&str, &str)]) -> &mut Self {
        self.tell(Event::StepStarted { step: id.to_owned(), attempt: 1 }).wait(milliseconds);
        for (name, text) in notes {
            self.tell(Event::StepNoted {
                step: id.to_owned(),
                name: (*name).to_owned(),
                text: (*text).to_owned(),
            });
        }
        self.tell(Event::StepFinished { step: id.to_owned() })
    }

    /// Changes the recovery point's proof of reach after the fact.
    fn with_reach(mut self, change: impl Fn(&mut Reach)) -> Self {
        for entry in &mut self.entries {
            if let Event::TargetChosen(reach) = &mut entry.event {
                change(reach);
            }
        }
        self
    }

    fn report(&self) -> Report {
        let incident = Incident::replay(&self.entries).unwrap();
        let runbook = Runbook::load(None).unwrap();
        Report::from(&incident, &runbook, self.at).with_journal_head("ab".repeat(32))
    }
}

fn stamp(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn identity() -> Identity {
    Identity {
        system_identifier: 7_461_234_567_890_123_456,
        host: String::from("db1"),
        data_directory: String::from("/srv/shop/data"),
        role: ServerRole::Primary,
        version: 15,
        timeline: 1,
    }
}

fn commit(at: &str, xid: u32, lsn: u64) -> Commit {
    Commit {
        at: stamp(at),
        xid,
        first_lsn: Lsn(lsn - 0x100),
        lsn: Lsn(lsn),
        end_lsn: Lsn(lsn + 0x30),
        timeline: 1,
        inserts: 3,
        updates: 1,
        deletes: 0,
        stands_for: 1,
    }
}

fn check(id: &str, verdict: Verdict) -> Check {
    Check {
        id: id.to_owned(),
        title: format!("Check of {id}"),
        verdict,
        expected: Some(String::from("1,000")),
        found: Some(String::from("1,000")),
        detail: String::from("as expected"),
        duration_ms: 12,
    }
}

fn base() -> BaseSummary {
    BaseSummary {
        set: String::from("set-20260113-020000"),
        repository: String::from("local"),
        started: stamp("2026-01-13T02:00:00Z"),
        finished: stamp("2026-01-13T02:01:00Z"),
        start_lsn: Lsn(0x200_0028),
        stop_lsn: Lsn(0x200_0138),
        timeline: 1,
        system_identifier: identity().system_identifier,
        version: 15,
        size: 524_288_000,
        stored: 180_000_000,
        encrypted: true,
    }
}

fn target() -> Target {
    Target { point: TargetPoint::Lsn(Lsn(0x3_1234_5678)), inclusive: false, timeline: None }
}

fn reach() -> Reach {
    Reach {
        target: target(),
        reachable: true,
        checks: vec![check("base-before-target", Verdict::Verified)],
        base: Some(base()),
        last_kept: Some(commit("2026-01-13T10:00:00.25Z", 4711, 0x3_1234_5000)),
        first_lost: Some(commit("2026-01-13T10:00:01Z", 4712, 0x3_1234_5678)),
        lost_commits: Some(360),
        lost_seconds: Some(420.0),
        nearest: Vec::new(),
        wal_bytes: 1 << 30,
        minimum_settings: Vec::new(),
        forecast: None,
        line: vec![(1, Lsn(0))],
        cost: Cost::default(),
        procedure: Default::default(),
        on_disk: None,
        alternative: None,
    }
}

fn plan() -> Plan {
    let step = |text: &StepText| PlanStep {
        id: text.id.clone(),
        title: text.title.clone(),
        why: text.why.clone(),
        runbook: text.runbook.clone(),
        touches: Vec::new(),
        expected: None,
        cancel: Cancel::AtOnce,
        destructive: false,
        undo: None,
    };
    Plan {
        incident: String::from("INC-20260113-001"),
        cluster: String::from("shop"),
        identity: identity(),
        target: target(),
        timeline: None,
        base: base(),
        aside: String::from("/srv/shop/data.damaged-20260113"),
        rescue: String::from("/srv/shop/rescue"),
        repositories: Vec::new(),
        minimum_settings: Vec::new(),
        places: Default::default(),
        replay_until: Some(Lsn(0x3_1234_5678)),
        procedure: Default::default(),
        lost: false,
        source: None,
        ends_at: None,
        steps: lifeboat::engine::restore::plan::ORDER
            .iter()
            .map(|id| step(Runbook::load(None).unwrap().step(id).unwrap()))
            .collect(),
        // A fixed word, so that new texts in the runbook do not change the snapshots' hashes.
        hash: String::from("0123456789abcdef"),
    }
}

/// A whole recovery: orders deleted at 10:00, noticed at 10:05, serving again at about 10:08.
fn recovered() -> Story {
    let mut story = Story::begin("orders of the last hour are gone", None);
    let plan = plan();
    let hash = plan.hash.clone();
    story
        .tell(Event::SeveritySet { severity: Severity::Sev1 })
        .tell(Event::MomentStated {
            moment: Moment::FirstDetected,
            at: stamp("2026-01-13T10:05:00Z"),
        })
        .tell(Event::MomentStated {
            moment: Moment::LastKnownGood,
            at: stamp("2026-01-13T09:58:30Z"),
        })
        .wait(20_000)
        .tell(Event::NoteAdded {
            topic: Topic::ChangesBefore,
            text: String::from("clean-up job | run by hand"),
        })
        .tell(Event::ProbesRun { checks: vec![check("recent-orders", Verdict::Failed)] })
        .tell(Event::TargetChosen(reach()))
        .tell(Event::IntegrityChecked {
            set: base().set,
            checks: vec![check("base-authentic", Verdict::Verified)],
        });
    for prerequisite in [
        Prerequisite::IncidentDeclared,
        Prerequisite::MaintenanceWindow,
        Prerequisite::TargetConfirmed,
    ] {
        let note = String::from("on the bridge");
        story.wait(5_000).tell(Event::PrerequisiteAnswered { prerequisite, met: true, note });
    }
    story
        .tell(Event::PlanMade(plan))
        .wait(10_000)
        .tell(Event::GatePassed { plan_hash: hash.clone() })
        .tell(Event::RunStarted { plan_hash: hash })
        .step("confirm-identity", 400, &[])
        .step("rescue-wal", 1_200, &[("rescued", "2 WAL files rescued")])
        .step("stop-server", 2_300, &[])
        .step("move-aside", 150, &[])
        .step("restore-base", 31_400, &[("verifybackup", "backup successfully verified")])
        .step("configure-recovery", 50, &[])
        .step("start-recovery", 1_000, &[])
        .step(
            "replay",
            12_500,
            &[
                ("reached_lsn", "3/12345648"),
                ("reached_time", "2026-01-13 10:00:00.25+00"),
                ("reached_xid", "4711"),
                ("stop_line", "recovery stopping before WAL location (LSN) \"3/12345678\""),
            ],
        )
        .tell(Event::StepStarted { step: String::from("inspect"), attempt: 1 })
        .wait(3_000)
        .tell(Event::StepHeld { step: String::from("inspect"), question: String::from("Promote?") })
        .wait(15_000)
        .tell(Event::Decided { step: String::from("inspect"), decision: Decision::Promote })
        .tell(Event::StepFinished { step: String::from("inspect") })
        .step("promote", 900, &[])
        .step("open", 600, &[])
        .step("validate", 8_000, &[])
        .tell(Event::RunFinished)
        .tell(Event::ValidationRun {
            checks: vec![
                check("application:connection", Verdict::Verified),
                check("counts:public.orders", Verdict::Verified),
                check("fk:orders_customer_id_fkey", Verdict::Verified),
            ],
        })
        .wait(60_000)
        .tell(Event::ChecklistSigned(SignOff {
            item: String::from("database-accessible"),
            done: true,
            evidence: String::from("shop front loads <1 s"),
        }));
    story
}

/// The same, with a level that was called before its time and answered, and a refused command.
fn escalated() -> Story {
    let mut story = recovered();
    let call = |times| {
        Event::LevelRaised(Raise {
            level: String::from("2"),
            who: String::from("Senior site reliability engineer"),
            contacts: vec![String::from("Rota of the SREs, +49 30 1234567")],
            because: Because::Forecast,
            why: String::from("At this rate it serves at 10:26 UTC, 6 min after the RTO."),
            times,
        })
    };
    let at =
        story.entries.iter().position(|e| matches!(e.event, Event::RunStarted { .. })).unwrap();
    let level = String::from("2");
    let refused = Event::CommandRefused {
        command: String::from("decide"),
        reason: String::from("ada is operator here, this needs commander"),
    };
    let events = [call(1), call(2), Event::LevelAcknowledged { level }, refused];
    for (index, event) in events.into_iter().enumerate() {
        let mut entry = story.entries[at].clone();
        entry.event = event;
        story.entries.insert(at + 1 + index, entry);
    }
    for (seq, entry) in (1..).zip(&mut story.entries) {
        entry.seq = seq;
    }
    story
}

#[test]
fn the_markdown_form_says_everything() {
    insta::assert_snapshot!("markdown", recovered().report().markdown());
}

#[test]
fn the_json_form_is_for_programs() {
    insta::assert_snapshot!("json", recovered().report().json().unwrap());
}

#[test]
fn rpo_and_rto_follow_the_runbooks_definitions() {
    let report = recovered().report();
    // The last commit given up was at 10:07:00.25, two minutes after the detection.
    assert_eq!(report.rpo.actual_seconds, Some(420.0));
    assert_eq!(report.rpo.against[0].met, Some(false));
    let serving = report.recovery.completed.unwrap();
    let downtime = serving.duration_since(stamp("2026-01-13T10:05:00Z")).as_secs_f64();
    assert_eq!(report.rto.actual_seconds, Some(downtime));
    assert_eq!(report.rto.against[0].met, Some(true));
    assert!((report.human_seconds - 15.0).abs() < 1e-6, "{}", report.human_seconds);
    assert!((report.machine_seconds - 61.5).abs() < 1e-6, "{}", report.machine_seconds);
}

#[test]
fn without_writes_after_the_detection_the_rpo_ends_at_the_detection() {
    let story = recovered().with_reach(|reach| reach.lost_seconds = Some(10.0));
    assert_eq!(story.report().rpo.actual_seconds, Some(299.75));
}

#[test]
fn nothing_lost_and_the_tail_rescued_is_an_rpo_of_zero() {
    let mut story = recovered().with_reach(|reach| {
        (reach.lost_commits, reach.lost_seconds) = (Some(0), Some(0.0));
    });
    assert_eq!(story.report().rpo.actual_seconds, Some(0.0));
    // Without the rescue, commits that nobody knows of may be gone.
    let rescued =
        |e: &Entry| matches!(&e.event, Event::StepFinished { step } if step == "rescue-wal");
    story.entries.retain(|e| !rescued(e));
    assert_eq!(story.report().rpo.actual_seconds, Some(299.75));
}

#[test]
fn of_a_lost_server_nothing_was_rescued_whatever_its_step_says() {
    let mut story = recovered().with_reach(|reach| {
        (reach.lost_commits, reach.lost_seconds) = (Some(0), Some(0.0));
    });
    for entry in &mut story.entries {
        if let Event::PlanMade(plan) = &mut entry.event {
            plan.lost = true;
        }
    }
    let report = story.report();
    assert_eq!(report.rpo.actual_seconds, Some(299.75));
    assert!(
        report.rpo.how.ends_with("At most: the server was lost by then."),
        "{}",
        report.rpo.how
    );
}

#[test]
fn what_the_journal_does_not_say_is_not_known() {
    let report = Story::begin("what is this", None).report();
    assert_eq!(report.rpo.actual_seconds, None);
    assert_eq!(report.rpo.against[0].met, None);
    assert_eq!(report.recovery.reached_lsn, None);
    assert!(report.rto.ongoing);
    assert_eq!(report.rto.against[0].met, None);
    let verdicts: Vec<_> = report.checks.iter().map(|g| g.verdict).collect();
    assert_eq!(verdicts, [Verdict::NotRun; 4]);
    for form in [report.markdown(), report.html()] {
        assert!(form.contains("NOT STARTED") && form.contains("not known"));
        assert!(!form.contains("VERIFIED"));
    }
}

#[test]
fn an_outage_that_lasts_can_miss_its_rto_but_not_meet_it() {
    let mut story = Story::begin("down", None);
    story.wait(899_000);
    assert_eq!(story.report().rto.against[0].met, None);
    story.wait(2_000);
    assert_eq!(story.report().rto.against[0].met, Some(false));
}

#[test]
fn a_drill_is_marked_and_measured_against_its_scenario() {
    let report = Story::begin("exercise", Some("corruption")).report();
    let limits: Vec<_> = report.rto.against.iter().map(|a| a.what.as_str()).collect();
    assert_eq!(limits, ["tier High", "scenario Recent data corruption"]);
    for form in [report.markdown(), report.html()] {
        assert!(form.contains("DRILL: this was an exercise"));
    }
    assert!(!recovered().report().html().contains("DRILL"));
}

#[test]
fn a_reached_time_without_an_offset_is_shown_but_not_counted_with() {
    let mut story = recovered();
    for entry in &mut story.entries {
        if let Event::StepNoted { name, text, .. } = &mut entry.event
            && name == "reached_time"
        {
            *text = String::from("2026-01-13 11:00:00");
        }
    }
    let report = story.report();
    assert_eq!(report.recovery.reached_time.as_deref(), Some("2026-01-13 11:00:00"));
    assert!(report.rpo.how.contains("the last commit before the recovery point"));
}

#[test]
fn the_page_is_well_formed_and_asks_nothing_of_a_network() {
    let page = recovered().report().html();
    well_formed(&page).unwrap();
    let references =
        ["http://", "https://", "src=", "href=", "url(", "@import", "<script", "<link"];
    for reference in references {
        // The runbook's own commands name addresses of their own: text, not references.
        assert!(!page.contains(reference), "{reference}");
    }
    assert!(page.contains("shop front loads &lt;1 s"));
    for mark in ["First detected", "Writes stopped", "Serving again"] {
        assert!(page.contains(mark), "{mark}");
    }
}

#[test]
fn writing_gives_four_files_whose_bytes_do_not_change() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("report");
    let paths = report::write(&recovered().report(), &folder).unwrap();
    let name = |p: &std::path::PathBuf| p.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        paths.iter().map(name).collect::<Vec<_>>(),
        [
            "INC-20260113-001.md",
            "INC-20260113-001.json",
            "INC-20260113-001.html",
            "INC-20260113-001.pdf"
        ]
    );
    let bytes = || paths.iter().map(|p| std::fs::read(p).unwrap()).collect::<Vec<_>>();
    let first = bytes();
    report::write(&recovered().report(), &folder).unwrap();
    assert_eq!(bytes(), first);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 4);
}

#[test]
fn an_id_that_leaves_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut report = recovered().report();
    report.incident.id = String::from("../elsewhere");
    assert!(matches!(report::write(&report, folder.path()), Err(report::ReportError::Name(_))));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Whether every tag is closed in its order.
fn well_formed(page: &str) -> Result<(), String> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>\n").ok_or("no doctype")?;
    let mut open: Vec<&str> = Vec::new();
    while let Some(begin) = rest.find('<') {
        let (text, tail) = rest.split_at(begin);
        if open.last() != Some(&"style") && text.contains('>') {
            return Err(format!("a stray > in {text:?}"));
        }
        let end = tail.find('>').ok_or_else(|| format!("an open tag: {tail:.40}"))?;
        let tag = &tail[1..end];
        rest = &tail[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            let last = open.pop().unwrap_or("nothing");
            if last != name {
                return Err(format!("{last} is closed by {name}"));
            }
            continue;
        }
        if !tag.matches('"').count().is_multiple_of(2) {
            return Err(format!("an open quote in <{tag}>"));
        }
        if !tag.ends_with('/') {
            open.push(tag.split_ascii_whitespace().next().ok_or("a tag without a name")?);
        }
    }
    if open.is_empty() { Ok(()) } else { Err(format!("left open: {open:?}")) }
}

#[test]
fn the_judge_of_pages_sees_what_is_wrong() {
    for page in ["<p>", "<p></b>", "<p>a > b</p>", "<p x=\"></p>"] {
        assert!(well_formed(&format!("<!DOCTYPE html>\n{page}")).is_err(), "{page}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn typed_text_never_becomes_markup(
        text in prop_oneof![
            ".{1,40}",
            Just(String::from("</td><script>alert(1)</script>")),
            Just(String::from("a | b\n| --- |\n<img src=x>")),
            Just(String::from("\" onmouseover=\"x")),
        ],
    ) {
        let told = |text: &str| {
            let mut story = Story::begin(text, Some(text));
            story
                .tell(Event::NoteAdded { topic: Topic::Symptom, text: text.to_owned() })
                .tell(Event::PrerequisiteAnswered {
                    prerequisite: Prerequisite::MaintenanceWindow,
                    met: false,
                    note: text.to_owned(),
                })
                .tell(Event::ChecklistSigned(SignOff {
                    item: String::from("alerts-enabled"),
                    done: true,
                    evidence: text.to_owned(),
                }));
            story.report()
        };
        let (plain, typed) = (told("plain"), told(&text));
        prop_assert_eq!(well_formed(&typed.html()), Ok(()));
        let tags = |page: &str| page.matches('<').count();
        prop_assert_eq!(tags(&typed.html()), tags(&plain.html()));
        prop_assert_eq!(typed.markdown().lines().count(), plain.markdown().lines().count());
        // A pipe without a backslash of its own would begin a new cell.
        let cells = |page: &str| {
            page.replace("\\\\", "").replace("\\|", "").matches('|').count()
        };
        prop_assert_eq!(cells(&typed.markdown()), cells(&plain.markdown()));
    }
}

#[test]
fn the_past_is_drawn_from_the_journal_alone() {
    let story = recovered();
    for form in [story.report().markdown(), story.report().html()] {
        assert!(!form.contains("The past when the point was chosen"), "nothing is made up");
    }
    let (from, to) = (stamp("2026-01-13T08:00:00Z"), stamp("2026-01-13T10:06:00Z"));
    let picture = Picture {
        from,
        to,
        bases: vec![(base().set, stamp("2026-01-13T08:03:00Z"))],
        log: vec![(from, stamp("2026-01-13T08:40:00Z")), (stamp("2026-01-13T09:00:00Z"), to)],
        landmarks: Landmarks {
            restore_points: vec![RestorePoint {
                name: String::from("before <release> & co"),
                at: Some(stamp("2026-01-13T09:30:00Z")),
                lsn: Lsn(1),
            }],
            gaps: vec![Gap {
                from: Lsn(1),
                to: Lsn(2),
                segments: 1,
                after: Some(stamp("2026-01-13T08:40:00Z")),
                before: Some(stamp("2026-01-13T09:00:00Z")),
                why: String::from("a segment is missing"),
            }],
            detected: Some(stamp("2026-01-13T10:05:00Z")),
            ..Landmarks::default()
        },
        suspects: vec![(stamp("2026-01-13T10:00:01Z"), String::from("deleted 9 rows"))],
        density: (0..63).map(|i| (from + SignedDuration::from_mins(2 * i), 7)).collect(),
    };
    let table = |relation: &str, deletes| TableLoss {
        relation: relation.to_owned(),
        inserts: 1,
        updates: 0,
        deletes,
    };
    let story = story.with_reach(|reach| {
        reach.cost = Cost {
            tables: Some(vec![table("public.orders", 900), table("public.a|b", 2)]),
            more_tables: 4,
            exact: true,
            bases: Vec::new(),
            picture: Some(Box::new(picture.clone())),
        };
    });
    let report = story.report();
    let markdown = report.markdown();
    let block: Vec<&str> = markdown
        .lines()
        .skip_while(|l| *l != "```text")
        .skip(1)
        .take_while(|l| *l != "```")
        .collect();
    assert!(block.len() >= 7, "{markdown}");
    assert!(block.iter().all(|l| l.chars().count() <= 80), "{block:?}");
    let log = block[2];
    assert!(log.contains("━×") && log.contains("×━"), "the gap is between log: {log}");
    assert!(block[0].contains('B') && block[0].contains('R') && block[0].contains('▼'));
    let commits: usize = block[1].chars().filter(|c| *c == '█').count();
    assert!(commits > 70, "even traffic is an even line: {:?}", block[1]);
    assert!(block[3].contains('!') && block[3].contains('D'), "{block:?}");
    assert!(markdown.contains("| public.orders | 1 | 0 | 900 |"), "{markdown}");
    assert!(markdown.contains("And 4 more tables."));
    let html = report.html();
    assert!(html.contains("before &lt;release&gt; &amp; co"));
    assert!(html.contains("suspect: deleted 9 rows"));
}
