//! What each command sends, as the operator gives it: by keys.

use super::fixture::{self, INCIDENT, Story, at, plan, target, time_target};
use super::look;
use lifeboat::app::model::{Effect, Event};
use lifeboat::engine::explain::{Explanation, Kind};
use lifeboat::engine::incident::event::{Decision, Event as J};
use lifeboat::engine::incident::facts::*;
use lifeboat::engine::postgres::Lsn;
use lifeboat::engine::runner::protocol::{Answer, Command, FullRestore, Message};
use lifeboat::screens::commands::{Id, Key};
use lifeboat::screens::guide::guide;
use lifeboat::screens::layers::Layer;
use lifeboat::screens::theme::Theme;
use lifeboat::screens::view::{Link, Page};

const THEME: Theme = Theme { palette: lifeboat::screens::theme::Palette::Dark, ascii: false };

fn sent(effects: Vec<Effect>) -> Vec<Command> {
    effects
        .into_iter()
        .filter_map(|e| match e {
            Effect::Send { command, .. } => Some(command),
            _ => None,
        })
        .collect()
}

fn press(story: &mut Story, key: char) -> Vec<Command> {
    sent(story.key(Key::Char(key)))
}

fn write(story: &mut Story, text: &str) -> Vec<Command> {
    story.keys(text);
    sent(story.key(Key::Enter))
}

/// From anywhere: over a dialog, in a text field, without a line to the runner; in a drill alone.
#[test]
fn a_drill_is_aborted_by_one_key_and_a_yes() {
    let abort = |s: &mut Story| {
        s.key(Key::Ctrl('x'));
        s.key(Key::Char('y'))
    };
    let mut s = Story::declared(THEME, true);
    assert_eq!(abort(&mut s), [Effect::AbortDrill], "over the briefing");
    s.key(Key::Esc);
    s.key(Key::Char('a'));
    s.keys("half a note");
    s.key(Key::Ctrl('x'));
    s.key(Key::Ctrl('x'));
    s.key(Key::Char('n'));
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Line(_))), "back in the note");
    assert_eq!(abort(&mut s), [Effect::AbortDrill]);
    s.app.view.link = Link::Lost {
        since: at("14:10:00"),
        why: String::new(),
        attempts: 1,
        next_try: at("14:10:05"),
    };
    assert_eq!(abort(&mut s), [Effect::AbortDrill]);
    let mut s = Story::home(THEME);
    s.app.view.briefing = Some(fixture::briefing());
    assert_eq!(abort(&mut s), [Effect::AbortDrill], "before anything is declared");
    let mut s = Story::declared(THEME, false);
    s.key(Key::Ctrl('x'));
    assert!(s.app.view.layers.is_empty(), "in earnest there is nothing to abort so");
}

#[test]
fn leaving_a_drill_ends_it_and_is_always_asked() {
    for mut s in [Story::declared(THEME, true), Story::home(THEME)] {
        s.app.view.layers.clear();
        s.app.view.briefing = Some(fixture::briefing());
        assert_eq!(s.key(Key::Char('q')), []);
        let text = look::text(&look::draw(&mut s.app, 80, 24));
        assert!(text.contains("End the drill?") && text.contains("Its sandbox goes"), "{text}");
        s.key(Key::Char('n'));
        assert!(s.app.view.layers.is_empty());
        s.key(Key::Char('q'));
        assert_eq!(s.key(Key::Char('y')), [Effect::Quit]);
    }
}

#[test]
fn home_opens_and_declares() {
    let mut s = Story::home(THEME);
    assert_eq!(
        s.key(Key::Enter),
        [Effect::Attach { incident: INCIDENT.to_owned(), generation: 1 }],
        "the selected cluster's open incident"
    );
    let mut s = Story::home(THEME);
    s.key(Key::Down);
    assert_eq!(s.key(Key::Enter), [], "this one has none");
    s.key(Key::Char('d'));
    s.keys("Tables are empty");
    let (cluster, title) = (String::from("analytics"), String::from("Tables are empty"));
    assert_eq!(s.key(Key::Enter), [Effect::Declare { cluster, title }]);
    let effects = s.event(Event::Declared(Ok(String::from("INC-20261122-002"))));
    assert!(
        effects.contains(&Effect::Attach {
            incident: String::from("INC-20261122-002"),
            generation: 1
        })
    );
}

/// A score alone says nothing of what to do: the worst reason stands under the clusters, for the one
/// that is selected, and one key opens all of them.
#[test]
fn home_says_why_a_cluster_is_not_ready() {
    let mut s = Story::ready(THEME);
    for (width, height) in [(80, 24), (160, 45)] {
        let text = super::look::text(&super::look::draw(&mut s.app, width, height));
        let line = text.lines().find(|line| line.contains("R: all reasons")).unwrap();
        assert!(line.contains("orders-prod: FAILED: There is room for a restore"), "{text}");
    }
    s.key(Key::Down);
    let text = super::look::text(&super::look::draw(&mut s.app, 80, 24));
    assert!(text.contains("analytics: FAILED: There is room"), "{text}");
    assert_eq!(s.key(Key::Char('R')), []);
    let text = super::look::text(&super::look::draw(&mut s.app, 80, 24));
    assert!(text.contains("Readiness of analytics"), "{text}");
    assert!(text.contains("9100 MB are free, a restore needs 14200 MB."), "{text}");
    s.key(Key::Esc);
    s.key(Key::Down);
    s.key(Key::Char('R'));
    let text = super::look::text(&super::look::draw(&mut s.app, 80, 24));
    assert!(!text.contains("all reasons") && text.contains("lifeboat readiness does."), "{text}");
}

#[test]
fn the_assessments_answers_reach_the_runner() {
    let mut s = Story::declared(THEME, false);
    s.key(Key::Char('s'));
    s.key(Key::Down);
    assert_eq!(sent(s.key(Key::Enter)), [Command::SetSeverity { severity: Severity::Sev2 }]);
    s.key(Key::Char('f'));
    let expected = Command::StateMoment { moment: Moment::FirstDetected, at: at("14:05:00") };
    assert_eq!(write(&mut s, "14:05 UTC"), [expected]);
    s.key(Key::Char('g'));
    let expected = Command::StateMoment { moment: Moment::LastKnownGood, at: at("13:55:00") };
    assert_eq!(write(&mut s, "15 minutes ago"), [expected]);
    s.key(Key::Char('c'));
    let note = |topic, text: &str| Command::AddNote { topic, text: text.to_owned() };
    assert_eq!(write(&mut s, "release 4.2"), [note(Topic::ChangesBefore, "release 4.2")]);
    s.key(Key::Char('w'));
    assert_eq!(write(&mut s, "no orders"), [note(Topic::Symptom, "no orders")]);
    s.key(Key::Char('a'));
    assert_eq!(write(&mut s, "DBA called"), [note(Topic::Note, "DBA called")]);
    assert_eq!(press(&mut s, 'e'), [Command::ProbeServer]);
    assert_eq!(press(&mut s, 'p'), [Command::RunProbes]);
}

#[test]
fn a_text_that_is_no_time_is_not_sent() {
    let mut s = Story::declared(THEME, false);
    s.key(Key::Char('f'));
    assert_eq!(write(&mut s, "lunch"), []);
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Moment(_))), "the dialog stays");
    s.key(Key::Esc);
    assert!(s.app.view.layers.is_empty());
}

#[test]
fn the_recovery_points_screen_asks_for_what_it_needs_by_itself() {
    let mut s = Story::assessed(THEME);
    assert_eq!(sent(s.key(Key::Char('n'))), [Command::Survey]);
    let effects = s.message(Message::Survey(fixture::survey()));
    assert_eq!(sent(effects), [Command::CheckReach { target: target() }], "the best one first");
    s.answer_all(true);
    assert!(s.app.view.reach(&time_target()).is_some(), "the others along with it");
    assert_eq!(sent(s.key(Key::Down)), [], "known already");
    assert_eq!(sent(s.key(Key::Up)), []);
    assert_eq!(sent(s.key(Key::Enter)), [Command::ChooseTarget { target: target() }]);
}

#[test]
fn a_failed_survey_is_told_and_not_asked_for_again_and_again() {
    let mut s = Story::assessed(THEME);
    s.key(Key::Char('n'));
    let id = *s.app.view.waiting.keys().next().unwrap();
    let e =
        Explanation::new(Kind::Storage, "The repository cannot be read.", "Nothing.", "Mount it.");
    let effects = s.message(Message::Reply { id, result: Err(e) });
    assert_eq!(sent(effects), []);
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Reader(_))));
    s.key(Key::Esc);
    assert_eq!(sent(s.event(Event::Tick(at("14:12:00")))), []);
    assert_eq!(press(&mut s, 'u'), [Command::Survey]);
}

#[test]
fn what_cannot_be_reached_cannot_be_chosen_and_the_nearest_is_one_key_away() {
    let mut s = Story::pointing(THEME, false);
    assert_eq!(sent(s.key(Key::Enter)), []);
    assert_eq!(guide(&s.app.view).command, Some(Id::NearestPoint));
    let effects = s.key(Key::Char('x'));
    assert_eq!(s.app.view.candidate().unwrap().target, time_target());
    assert_eq!(sent(effects), [], "it was proven along with the others");
}

#[test]
fn every_kind_of_target_can_be_given() {
    let point = |s: &mut Story, downs: usize, text: &str| {
        s.key(Key::Char('k'));
        for _ in 0..downs {
            s.key(Key::Down);
        }
        s.key(Key::Enter);
        if !text.is_empty() {
            s.keys(text);
            s.key(Key::Enter);
        }
        s.answer_all(true);
        s.app.view.candidate().unwrap().target
    };
    let mut s = Story::pointing(THEME, true);
    assert_eq!(point(&mut s, 0, "13:57:40 UTC"), time_target());
    assert_eq!(point(&mut s, 1, "16/B374D848").point, TargetPoint::Lsn(Lsn(0x16_B374_D848)));
    assert_eq!(point(&mut s, 2, "74211").point, TargetPoint::Xid(74211));
    assert_eq!(
        point(&mut s, 3, "before release").point,
        TargetPoint::Name(String::from("before release"))
    );
    assert_eq!(point(&mut s, 4, "").point, TargetPoint::EndOfArchive);
    s.key(Key::Char('k'));
    s.key(Key::Down);
    s.key(Key::Enter);
    s.keys("not an lsn");
    s.key(Key::Enter);
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Line(l)) if l.error.is_some()));
}

#[test]
fn before_and_with_are_switched_and_a_timeline_followed() {
    let mut s = Story::pointing(THEME, true);
    s.key(Key::Char('i'));
    // With it is with its commit: its first record alone would keep none of it, and hold its locks.
    let suspect = s.app.view.survey.as_ref().unwrap().suspects[0].clone();
    let with =
        Target { point: TargetPoint::Lsn(suspect.commit.lsn), inclusive: true, timeline: None };
    assert_ne!(suspect.commit.lsn, suspect.commit.first_lsn);
    assert_eq!(s.app.view.candidate().unwrap().target, with);
    assert!(s.app.view.candidate().unwrap().title.starts_with("With: "));
    s.answer_all(true);
    s.key(Key::Char('i'));
    assert_eq!(s.app.view.candidate().unwrap().target, target(), "and back");
    s.answer_all(true);
    s.key(Key::Char('i'));
    s.key(Key::Char('l'));
    s.key(Key::Down);
    s.key(Key::Enter);
    assert_eq!(s.app.view.candidate().unwrap().target.timeline, Some(1));
}

#[test]
fn a_neighbouring_commit_becomes_the_point_just_before_it() {
    let mut s = Story::pointing(THEME, true);
    s.key(Key::Char('c'));
    let commands = sent(s.key(Key::Enter));
    assert!(matches!(commands.as_slice(), [Command::CommitsAround { .. }]), "{commands:?}");
    s.answer_all(true);
    s.key(Key::End);
    s.key(Key::Enter);
    let target = s.app.view.candidate().unwrap().target;
    assert_eq!((target.point, target.inclusive), (TargetPoint::Lsn(Lsn(0x1_2B00_0000)), false));
}

#[test]
fn prerequisites_are_answered_in_words_and_the_backup_by_the_tool() {
    let mut s = Story::chosen(THEME);
    assert_eq!(s.app.view.page, Page::Restore, "choosing leads there");
    for (key, prerequisite) in [
        ('e', Prerequisite::IncidentDeclared),
        ('w', Prerequisite::MaintenanceWindow),
        ('c', Prerequisite::TargetConfirmed),
    ] {
        s.key(Key::Char(key));
        assert_eq!(write(&mut s, ""), [], "an empty answer is none");
        let note = String::from("ann, by phone");
        let expected = Command::AnswerPrerequisite { prerequisite, met: true, note: note.clone() };
        assert_eq!(write(&mut s, &note), [expected]);
    }
    assert_eq!(press(&mut s, 'v'), [Command::VerifyIntegrity]);
    assert_eq!(press(&mut s, 'm'), [Command::MakePlan]);
    assert_eq!(press(&mut s, 'g'), [], "no gate without plan");
}

#[test]
fn the_gate_takes_the_name_to_the_letter_and_starts_that_plan() {
    let mut s = Story::planned(THEME);
    s.key(Key::Char('g'));
    assert_eq!(write(&mut s, "orders"), []);
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Gate(g)) if g.error.is_some()));
    let hash = plan().hash;
    let passed = write(&mut s, "-prod");
    assert_eq!(
        passed,
        [Command::PassGate { plan_hash: hash.clone(), cluster: String::from("orders-prod") }]
    );
    let id = *s.app.view.waiting.keys().next().unwrap();
    let effects = s.message(Message::Reply { id, result: Ok(Answer::Done) });
    assert_eq!(sent(effects), [Command::Start { plan_hash: hash }]);
}

#[test]
fn a_refused_gate_starts_nothing() {
    let mut s = Story::planned(THEME);
    s.key(Key::Char('g'));
    write(&mut s, "orders-prod");
    let id = *s.app.view.waiting.keys().next().unwrap();
    let e = Explanation::new(Kind::Refused, "An approver must agree.", "Nothing.", "Ask one.");
    assert_eq!(sent(s.message(Message::Reply { id, result: Err(e) })), []);
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Reader(_))));
}

#[test]
fn a_plan_made_anew_closes_the_gate_that_was_open() {
    let mut s = Story::planned(THEME);
    s.key(Key::Char('g'));
    s.keys("orders-prod");
    let mut other = plan();
    other.aside.push_str("-2");
    s.entry("14:14:50", J::PlanMade(other.seal().unwrap()));
    assert_eq!(sent(s.key(Key::Enter)), []);
    assert!(s.app.view.layers.is_empty());
    assert!(s.app.view.notice.as_ref().is_some_and(|n| n.bad));
}

#[test]
fn a_running_recovery_is_paused_at_once_and_cancelled_after_a_question() {
    let mut s = Story::running(THEME, "restore-base");
    assert_eq!(press(&mut s, 'p'), [Command::Pause]);
    assert_eq!(press(&mut s, 'X'), []);
    assert_eq!(press(&mut s, 'n'), [], "no is no");
    s.key(Key::Char('X'));
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("after the file"), "says what a cancel does now:\n{text}");
    assert_eq!(press(&mut s, 'y'), [Command::Cancel]);
}

#[test]
fn pausing_is_taken_back_and_a_paused_run_goes_on() {
    let mut s = Story::running(THEME, "restore-base");
    s.entry("14:15:30", J::PauseRequested);
    assert_eq!(press(&mut s, 'r'), [Command::Resume]);
    s.entry("14:15:40", J::StepFinished { step: String::from("restore-base") });
    s.entry("14:15:40", J::Paused { before_step: String::from("configure-recovery") });
    assert_eq!(guide(&s.app.view).command, Some(Id::GoOnRunning));
    assert_eq!(press(&mut s, 'r'), [Command::Resume]);
}

#[test]
fn at_the_recovery_point_the_commander_decides() {
    for (key, decision) in [('P', Decision::Promote), ('A', Decision::Abandon)] {
        let mut s = Story::held(THEME);
        assert_eq!(press(&mut s, key), []);
        assert_eq!(press(&mut s, 'y'), [Command::Decide { decision }]);
    }
}

fn after_the_culprit() -> Target {
    Target { point: TargetPoint::Xid(74211), inclusive: true, timeline: None }
}

#[test]
fn a_later_point_is_proven_then_gone_to_by_the_typed_name() {
    let mut s = Story::held(THEME);
    assert_eq!(press(&mut s, 'L'), []);
    let target = after_the_culprit();
    assert_eq!(sent(s.key(Key::Enter)), [Command::CheckReach { target: target.clone() }]);
    assert_eq!(write(&mut s, fixture::CLUSTER), [], "not proven yet");
    s.answer_all(true);
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    for words in ["nothing is copied", "no way back", "up to and including transaction 74211"] {
        assert!(text.contains(words), "{words} in\n{text}");
    }
    let cluster = fixture::CLUSTER.to_owned();
    assert_eq!(sent(s.key(Key::Enter)), [Command::MoveTarget { target, cluster }]);
    let id = *s.app.view.waiting.keys().next().unwrap();
    let e = Explanation::new(Kind::Refused, "It is not later than here.", "Nothing.", "Choose.");
    s.message(Message::Reply { id, result: Err(e) });
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("stays where it is") && text.contains("not later"), "{text}");
}

#[test]
fn neither_another_name_nor_an_unreachable_point_moves_the_server() {
    let mut s = Story::held(THEME);
    press(&mut s, 'L');
    s.key(Key::Enter);
    s.answer_all(true);
    assert_eq!(write(&mut s, "analytics"), []);
    let mut s = Story::held(THEME);
    press(&mut s, 'L');
    s.key(Key::Enter);
    s.answer_all(false);
    assert_eq!(write(&mut s, fixture::CLUSTER), []);
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("cannot be reached"), "{text}");
}

#[test]
fn a_later_point_can_be_typed_or_picked_from_the_next_transactions() {
    let mut s = Story::held(THEME);
    press(&mut s, 'L');
    (0..20).for_each(|_| drop(s.key(Key::Down)));
    s.key(Key::Enter);
    s.key(Key::Down);
    s.key(Key::Enter);
    s.keys("1/2B000000");
    let typed =
        Target { point: TargetPoint::Lsn(Lsn(0x1_2B00_0000)), inclusive: false, timeline: None };
    assert_eq!(sent(s.key(Key::Enter)), [Command::CheckReach { target: typed }]);
    let mut s = Story::held(THEME);
    press(&mut s, 'L');
    (0..20).for_each(|_| drop(s.key(Key::Down)));
    s.key(Key::Up);
    assert_eq!(
        sent(s.key(Key::Enter)),
        [Command::CommitsAround { at: at("14:02:51.312"), count: 40 }]
    );
}

#[test]
fn an_earlier_point_is_proven_with_its_price_then_gone_to_by_the_typed_name() {
    let mut s = Story::held(THEME);
    assert_eq!(press(&mut s, 'E'), []);
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("Just before transaction 74210"), "{text}");
    let target = fixture::before_the_last();
    assert_eq!(sent(s.key(Key::Enter)), [Command::CheckReach { target: target.clone() }]);
    assert_eq!(write(&mut s, fixture::CLUSTER), [], "not proven yet");
    s.answer_all(true);
    let (mut text, mut all) = (look::text(&look::draw(&mut s.app, 80, 24)), String::new());
    for _ in 0..12 {
        all.push_str(&text);
        s.key(Key::Down);
        text = look::text(&look::draw(&mut s.app, 80, 24));
    }
    for words in
        ["restored anew", "gives up", "200 MB to 300 MB", "about 4.30 GB", "by its checksum"]
    {
        assert!(all.contains(words), "{words} in\n{all}");
    }
    let cluster = fixture::CLUSTER.to_owned();
    assert_eq!(sent(s.key(Key::Enter)), [Command::MoveTarget { target, cluster }]);
}

/// Takes the last of what is offered.
fn choose_last(s: &mut Story) -> Vec<Command> {
    (0..20).for_each(|_| drop(s.key(Key::Down)));
    sent(s.key(Key::Enter))
}

#[test]
fn giving_the_run_up_says_its_price_and_leads_to_the_choice() {
    let mut s = Story::held(THEME);
    assert_eq!(press(&mut s, 'E'), []);
    assert_eq!(choose_last(&mut s), []);
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("22 s to 31 s") && text.contains("Nothing is deleted"), "{text}");
    let decision = Decision::Abandon;
    assert_eq!(press(&mut s, 'y'), [Command::Decide { decision }]);
    s.answer_all(true);
    let step = String::from("inspect");
    let effects = s.entry("14:16:30", J::Decided { step, decision });
    assert_eq!(sent(effects), [Command::Undo], "as agreed to");
    s.answer_all(true);
    assert_eq!(sent(s.event(Event::Tick(at("14:16:31")))), [], "once");
    s.entry("14:16:31", J::UndoStarted);
    assert_eq!(s.app.view.page, Page::Restore);
    s.entry("14:16:40", J::UndoFinished);
    assert_eq!(s.app.view.page, Page::RecoveryPoint);
    // An abandon by itself leads nowhere.
    let mut s = Story::held(THEME);
    press(&mut s, 'A');
    press(&mut s, 'y');
    let step = String::from("inspect");
    assert_eq!(sent(s.entry("14:16:30", J::Decided { step, decision })), []);
}

#[test]
fn the_points_tried_stand_side_by_side() {
    let mut s = Story::compared(THEME);
    let narrow = look::text(&look::draw(&mut s.app, 80, 24));
    for words in ["here", "try 2 of 3", "2,779", "2,777", "≠", "o shows"] {
        assert!(narrow.contains(words), "{words} in\n{narrow}");
    }
    assert!(!narrow.contains("try 1 of 3"), "two at a time\n{narrow}");
    press(&mut s, 'o');
    let other = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(other.contains("try 1 of 3") && other.contains("50,988"), "{other}");
    let wide = look::text(&look::draw(&mut s.app, 160, 45));
    for words in ["here", "try 2 of 3", "try 1 of 3", "50,988"] {
        assert!(wide.contains(words), "{words} in\n{wide}");
    }
    s.key(Key::Tab);
    s.key(Key::Enter);
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("at least 47,820"), "a check in full\n{text}");
}

#[test]
fn a_failed_step_is_tried_again_or_all_is_put_back() {
    let mut s = Story::failed(THEME);
    assert_eq!(press(&mut s, 'r'), [Command::Retry]);
    assert_eq!(press(&mut s, 'U'), []);
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("the directory is moved back"), "{text}");
    assert_eq!(press(&mut s, 'y'), [Command::Undo]);
}

#[test]
fn a_known_trouble_is_mended_by_a_key_and_a_moved_end_takes_the_name() {
    let mut s = Story::troubled(THEME);
    assert_eq!(guide(&s.app.view).command, Some(Id::Cure));
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("f: Fetch it from") && text.contains("F: End the recovery"), "{text}");
    assert_eq!(press(&mut s, 'f'), []);
    let cure = Command::Cure { cure: String::from("fetch-elsewhere"), cluster: None };
    assert_eq!(press(&mut s, 'y'), [cure]);

    // Another that changes where the recovery ends: nothing goes out before the name is typed.
    let mut s = Story::troubled(THEME);
    for key in [Key::Char('F'), Key::Down, Key::Enter] {
        assert_eq!(sent(s.key(key)), []);
    }
    s.keys("orders-prod");
    let command = Command::Cure {
        cure: String::from("stop-at-gap"),
        cluster: Some(String::from("orders-prod")),
    };
    assert_eq!(sent(s.key(Key::Enter)), [command]);
}

/// The proposed place takes the name; another one is typed first, by its whole path.
#[test]
fn a_full_disk_is_left_by_a_key_and_the_clusters_name() {
    let mut s = Story::out_of_room(THEME);
    assert_eq!(press(&mut s, 'f'), []);
    s.keys("orders-prod");
    let cluster = String::from("orders-prod");
    let command =
        Command::Cure { cure: String::from("other-place"), cluster: Some(cluster.clone()) };
    assert_eq!(sent(s.key(Key::Enter)), [command]);

    let mut s = Story::out_of_room(THEME);
    for key in [Key::Char('F'), Key::Down, Key::Down, Key::Enter] {
        assert_eq!(sent(s.key(key)), []);
    }
    s.keys("srv/other");
    assert_eq!(sent(s.key(Key::Enter)), []);
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("Type the whole path"), "{text}");
    for key in [Key::Esc, Key::Char('F'), Key::Down, Key::Down, Key::Enter] {
        s.key(key);
    }
    s.keys("/srv/other");
    assert_eq!(sent(s.key(Key::Enter)), [], "the name comes after the place");
    s.keys("orders-prod");
    let (cure, place) = (String::from("named-place"), String::from("/srv/other"));
    assert_eq!(sent(s.key(Key::Enter)), [Command::CureInPlace { cure, place, cluster }]);
}

#[test]
fn an_interrupted_step_says_what_was_found_and_goes_on_by_one_key() {
    let mut s = Story::interrupted(THEME);
    let told = guide(&s.app.view);
    assert!(told.text.contains("811 of 1,312 files"), "{}", told.text);
    assert_eq!(told.command, Some(Id::GoOnRunning));
    assert_eq!(press(&mut s, 'r'), [Command::Retry]);
}

#[test]
fn after_the_run_the_verdicts_come_first_then_the_checklist() {
    let mut s = Story::finished(THEME, true);
    assert_eq!(s.app.view.page, Page::Validation);
    assert_eq!(press(&mut s, 'v'), [Command::Validate]);
    s.key(Key::Char('n'));
    assert_eq!(s.app.view.page, Page::Checklist);
    s.key(Key::Enter);
    let done = |item: &str, done, evidence: &str| {
        Command::Sign(SignOff { item: item.to_owned(), done, evidence: evidence.to_owned() })
    };
    s.key(Key::Ctrl('u'));
    assert_eq!(write(&mut s, "psql works"), [done("database-accessible", true, "psql works")]);
    s.entry(
        "14:20:00",
        J::ChecklistSigned(SignOff {
            item: String::from("database-accessible"),
            done: true,
            evidence: String::from("x"),
        }),
    );
    s.key(Key::Char('o'));
    assert_eq!(write(&mut s, "too early"), [done("database-accessible", false, "too early")]);
    s.key(Key::Char('6'));
    assert_eq!(press(&mut s, 'w'), [Command::WriteReport]);
    s.key(Key::Char('C'));
    assert!(s.app.view.layers.is_empty(), "lines are open");
    assert!(s.app.view.notice.as_ref().unwrap().text.contains("neither done nor waived"));
    for item in s.app.view.runbook.checklist().to_vec() {
        let reason = String::from("a test");
        s.entry("14:21:00", J::ChecklistWaived { item: item.id, reason });
    }
    s.key(Key::Char('C'));
    assert_eq!(write(&mut s, "All back"), [Command::Close { summary: String::from("All back") }]);
}

#[test]
fn a_safety_line_is_run_read_and_agreed_to_by_keys() {
    let mut s = Story::caring(THEME);
    let keys = |agreed: &[&str]| Command::RunCare {
        item: String::from("sequences"),
        agreed: agreed.iter().map(|key| (*key).to_owned()).collect(),
    };
    assert_eq!(guide(&s.app.view).command, Some(Id::AgreeLine));
    assert_eq!(press(&mut s, 'x'), [keys(&[])]);
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("FAILED") && text.contains("y: 2 proposed"), "{text}");
    s.key(Key::Char('d'));
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("at 50466 or beyond"), "{text}");
    s.key(Key::Esc);
    // Nothing is done before the question with the statements is answered.
    assert_eq!(press(&mut s, 'y'), []);
    s.key(Key::Enter);
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("setval('public.orders_id_seq', 50466)"), "{text}");
    assert_eq!(press(&mut s, 'n'), []);
    assert_eq!(press(&mut s, 'y'), []);
    s.key(Key::Enter);
    let agreed = ["shop/public.orders_id_seq=50466", "shop/public.receipts_id_seq=101"];
    assert_eq!(press(&mut s, 'y'), [keys(&agreed)]);
    s.key(Key::Char('w'));
    let waived = Command::Waive { item: String::from("sequences"), reason: String::from("none") };
    assert_eq!(write(&mut s, "none"), [waived]);
    s.key(Key::Char('g'));
    let given = Command::Assign { item: String::from("sequences"), owner: String::from("bob") };
    assert_eq!(write(&mut s, "bob"), [given]);
}

#[test]
fn an_observer_sees_all_and_sends_nothing_that_changes() {
    let mut s = Story::declared_as(THEME, false, Role::Observer);
    for key in ['s', 'f', 'e', 'p', 'w', 'c'] {
        assert_eq!(press(&mut s, key), [], "{key}");
        assert!(s.app.view.layers.is_empty(), "{key} opens nothing");
        assert!(s.app.view.notice.as_ref().is_some_and(|n| n.text.contains("operator")));
    }
    assert!(guide(&s.app.view).text.starts_with("Waiting for the operator"));
}

#[test]
fn a_lost_runner_is_told_and_attached_again_by_itself() {
    let mut s = Story::running(THEME, "replay").progress("replay");
    s.lose();
    assert!(
        guide(&s.app.view).text.starts_with("Lost the runner; the restore may go on. Reconnecting")
    );
    assert_eq!(press(&mut s, 'p'), [], "nothing is sent into the void");
    let generation = s.app.generation + 1;
    let effects = s.event(Event::Tick(at("14:16:00")));
    assert_eq!(effects, [Effect::Attach { incident: INCIDENT.to_owned(), generation }]);
    assert_eq!(s.event(Event::Tick(at("14:16:01"))), [], "one attempt at a time");
    let e = Explanation::new(Kind::Connection, "nobody listens", "", "");
    s.event(Event::AttachFailed { generation, explanation: e });
    assert_eq!(s.event(Event::Tick(at("14:16:01"))), [], "not at once");
    let effects = s.event(Event::Tick(at("14:16:03")));
    assert!(matches!(effects.as_slice(), [Effect::Attach { .. }]), "{effects:?}");
}

#[test]
fn attached_again_the_past_replaces_what_was_known() {
    let mut s = Story::running(THEME, "replay");
    let (page, seq) = (s.app.view.page, s.app.view.incident.as_ref().unwrap().seq);
    s.lose();
    s.event(Event::Tick(at("14:16:00")));
    let again = Story::interrupted(THEME);
    let you = Actor { user: String::from("ann"), uid: 1000, role: Role::Commander };
    s.message(Message::Hello { protocol: 1, incident: INCIDENT.to_owned(), you, runner_pid: 9 });
    // Nothing of the past is shown half.
    assert_eq!(s.app.view.incident.as_ref().unwrap().seq, seq);
    assert_eq!(s.app.view.link, Link::Attaching);
    s.app.incoming = again.app.view.incident.clone();
    s.message(Message::Live);
    assert_eq!(s.app.view.incident, again.app.view.incident);
    assert_eq!((s.app.view.page, &s.app.view.link), (page, &Link::Live));
}

#[test]
fn messages_of_an_older_link_are_dropped() {
    let mut s = Story::running(THEME, "replay");
    let old = s.app.generation;
    s.key(Key::Char('h'));
    let incoming = lifeboat::app::link::Incoming::Message(Box::new(Message::Live));
    s.event(Event::Link { generation: old, incoming });
    assert_eq!(s.app.view.page, Page::Home);
    assert_eq!(s.app.view.link, Link::Idle);
}

#[test]
fn leaving_asks_while_something_runs_and_stops_nothing() {
    let mut s = Story::running(THEME, "replay");
    assert_eq!(s.key(Key::Char('q')), []);
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("goes on"), "{text}");
    assert_eq!(s.key(Key::Char('y')), [Effect::Quit]);
    let mut s = Story::assessed(THEME);
    assert_eq!(s.key(Key::Char('q')), [Effect::Quit], "nothing runs");
    let mut s = Story::planned(THEME);
    s.key(Key::Char('g'));
    assert_eq!(s.key(Key::Ctrl('c')), [Effect::Quit], "from a dialog, too");
}

#[test]
fn pasted_text_is_never_taken_for_keys() {
    let mut s = Story::held(THEME);
    assert_eq!(s.event(Event::Paste(String::from("Pyq"))), []);
    assert!(s.app.view.layers.is_empty());
    s.key(Key::Char('a'));
    s.event(Event::Paste(String::from("a\u{1b}[2J\nnote")));
    let sent = sent(s.key(Key::Enter));
    let text = String::from("a[2Jnote");
    assert_eq!(sent, [Command::AddNote { topic: Topic::Note, text }]);
}

#[test]
fn help_is_opened_everywhere_and_names_the_keys_of_the_screen() {
    let mut s = Story::held(THEME);
    s.key(Key::Char('?'));
    let text = look::text(&look::draw(&mut s.app, 160, 45));
    assert!(text.contains("Accept the data at the recovery point"), "{text}");
}

#[test]
#[ignore = "measures time: make bench runs it, on a machine that does nothing else"]
fn a_key_to_a_frame_takes_less_than_sixteen_milliseconds() {
    let mut s = Story::running(THEME, "replay").progress("replay");
    for i in 0..20_000_u64 {
        let second = i64::try_from(i).unwrap();
        s.entry_at(
            at("14:16:00") + jiff::SignedDuration::from_millis(second),
            J::StepNoted {
                step: String::from("replay"),
                name: String::from("n"),
                text: format!("note {i}"),
            },
        );
    }
    let mut worst = Vec::new();
    for _ in 0..50 {
        let begun = on_the_processor();
        s.key(Key::Down);
        let _ = look::draw(&mut s.app, 160, 45);
        worst.push(on_the_processor() - begun);
    }
    worst.sort_unstable();
    println!("a key to a frame: {:?} in the middle, {:?} at most", worst[25], worst[49]);
    assert!(worst[48].as_millis() < 16, "{:?}", worst[48]);
}

#[test]
fn the_picture_moves_by_the_arrows_and_its_point_is_chosen() {
    let mut story = Story::pointing(Theme::default(), true);
    story.key(Key::Tab);
    story.answer_all(true);
    let suspect = story.app.view.candidate().unwrap();
    assert_eq!(suspect.target, fixture::target(), "it begins where the list stands");
    for _ in 0..2 {
        story.key(Key::Down);
    }
    story.key(Key::Left);
    let target = story.app.view.candidate().unwrap().target;
    assert_eq!(target.point, TargetPoint::Time(at("14:02:51")), "a round second before it");
    let enter = |story: &mut Story| -> Vec<Command> {
        let sent = story.event(Event::Key(Key::Enter));
        let command = |e| match e {
            Effect::Send { command, .. } => Some(command),
            _ => None,
        };
        sent.into_iter().filter_map(command).collect()
    };
    let chosen = |list: &[Command]| list.iter().any(|c| matches!(c, Command::ChooseTarget { .. }));
    // Before it is proven the runner proves it, and one press is enough.
    assert!(story.app.view.reach(&target).is_none());
    let sent = enter(&mut story);
    assert!(!chosen(&enter(&mut story)), "it is on its way");
    assert!(sent.contains(&Command::ChooseTarget { target: target.clone() }), "{sent:?}");
    assert!(story.app.view.candidates().iter().any(|c| c.target == target), "kept in the list");
}

#[test]
fn holding_an_arrow_asks_one_question_of_a_kind_at_a_time() {
    let mut story = Story::pointing(Theme::default(), true);
    story.key(Key::Tab);
    story.answer_all(true);
    let mut asked = 0;
    for _ in 0..30 {
        let effects = story.event(Event::Key(Key::Left));
        asked += effects.iter().filter(|e| matches!(e, Effect::Send { .. })).count();
    }
    assert!(asked <= 2, "{asked} questions for 30 keys");
    assert!(story.app.view.waiting.len() <= 2);
    story.answer_all(true);
    let here = story.app.view.candidate().unwrap().target;
    assert!(story.app.view.reach(&here).is_some(), "the last place is proven in the end");
}

#[test]
fn log_that_was_not_read_is_read_only_when_asked_for() {
    let mut story = Story::pointing(Theme::default(), true);
    story.key(Key::Tab);
    story.answer_all(true);
    story.key(Key::Home);
    story.answer_all(true);
    let oldest = story.app.view.candidate().unwrap().target;
    assert!(story.app.view.reach(&oldest).is_none());
    story.key(Key::Char('y'));
    story.answer_all(true);
    assert!(story.app.view.reach(&oldest).is_some());
}

#[test]
#[ignore = "measures time: make bench runs it, on a machine that does nothing else"]
fn a_key_on_the_picture_is_drawn_at_once() {
    let mut story = Story::pointing(Theme::default(), true);
    story.key(Key::Tab);
    story.answer_all(true);
    let began = std::time::Instant::now();
    for _ in 0..50 {
        story.event(Event::Key(Key::Left));
        let _ = super::look::draw(&mut story.app, 160, 45);
    }
    // 16 ms a key is the promise of a release build; this one is not optimised.
    let each = began.elapsed() / 50;
    println!("a key on the picture: {each:?}");
    assert!(each < std::time::Duration::from_millis(16), "{each:?} a key");
}

/// What this thread has had of the processor: others on this machine do not count.
fn on_the_processor() -> std::time::Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let nanoseconds = told.split(' ').next().unwrap().parse().unwrap();
    std::time::Duration::from_nanos(nanoseconds)
}

/// From each reason by the key that the line on top names, and not where it would be of no use.
#[test]
fn a_full_restore_is_offered_where_its_reasons_are() {
    use super::full;
    let said = |s: &Story| (guide(&s.app.view).command, guide(&s.app.view).text);
    let chosen = |s: &mut Story| {
        press(s, 'O');
        assert!(matches!(s.app.view.layers.last(), Some(Layer::Choice(_))), "the choice opens");
        sent(s.key(Key::Enter))
    };
    let asked = |set: Option<&str>| {
        let set = set.map(str::to_owned);
        [Command::ChooseFull(FullRestore { set, ..FullRestore::default() })]
    };

    let mut s = full::broken_log(THEME);
    let (command, text) = said(&s);
    assert_eq!(command, Some(Id::FullRestore), "{text}");
    assert!(text.contains("(WAL) is damaged or missing") && text.contains("Option B"), "{text}");
    // The newest that ended before the point, not one that may hold the damage.
    assert_eq!(chosen(&mut s), asked(None));

    let mut s = full::beyond_retention(THEME);
    let (command, text) = said(&s);
    assert_eq!(command, Some(Id::FullRestore), "{text}");
    assert!(text.contains("before every backup that is kept"), "{text}");
    // The oldest is nearest to the point, and is listed however many there are.
    assert_eq!(chosen(&mut s), asked(Some("set-20261116-150000")));

    let mut s = full::lost_cluster(THEME);
    let (_, text) = said(&s);
    assert!(text.contains("The cluster is lost") && text.contains("O: Option B"), "{text}");
    assert_eq!(chosen(&mut s), asked(None), "from the assessment");

    // What stands in the way of both is told, and O is not named as the way.
    let s = full::closed(THEME);
    let (command, text) = said(&s);
    assert_ne!(command, Some(Id::FullRestore));
    assert!(text.contains("would not help: it needs a key"), "{text}");
    let mut s = full::no_backup(THEME);
    let (command, text) = said(&s);
    assert_ne!(command, Some(Id::FullRestore));
    assert!(text.contains("needs one, too"), "{text}");
    press(&mut s, 'O');
    assert!(s.app.view.layers.is_empty());
    assert!(s.app.view.notice.unwrap().text.contains("needs a base backup"), "and says so");
    // A point that can be reached is no reason.
    let s = Story::pointing(THEME, true);
    assert!(!said(&s).1.contains("Option B"));
}

/// A failed run is put back first, by a yes; then the choice comes by itself.
#[test]
fn a_run_that_lacks_the_log_is_given_up_for_a_full_restore() {
    use super::full;
    let mut s = full::damaged_log(THEME);
    let text = guide(&s.app.view).text;
    assert!(text.contains("(O: Option B): the log (WAL) is damaged"), "{text}");
    assert_eq!(press(&mut s, 'O'), []);
    press(&mut s, 'n');
    assert!(s.app.view.layers.is_empty() && s.app.leading_back.is_none());
    // Opened anew, the backups that could be restored whole are read without a key.
    s.app.view.survey = None;
    s.app.surveyed = false;
    assert_eq!(sent(s.event(Event::Tick(at("14:16:55")))), [Command::Survey]);
    // The list of cures leads to the same question.
    press(&mut s, 'F');
    s.key(Key::Down);
    s.key(Key::Down);
    assert_eq!(sent(s.key(Key::Enter)), []);
    assert_eq!(press(&mut s, 'y'), [Command::Undo]);

    let mut s = full::put_back_for_it(THEME);
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Choice(_))));
    assert!(matches!(sent(s.key(Key::Enter))[..], [Command::ChooseFull(_)]));

    // Where putting back fails, nothing is led on.
    let mut s = full::damaged_log(THEME);
    press(&mut s, 'O');
    press(&mut s, 'y');
    s.answer_all(true);
    s.entry("14:17:00", J::UndoStarted);
    let explanation = Explanation::new(Kind::Storage, "The disk is full.", "", "");
    s.entry("14:17:01", J::UndoFailed { step: String::from("move-aside"), explanation });
    assert!(s.app.leading_back.is_none() && s.app.view.layers.is_empty());

    // A failure of another kind says why not.
    let mut s = Story::troubled(THEME);
    press(&mut s, 'O');
    let told = s.app.view.notice.clone().unwrap().text;
    assert!(told.contains("not for this") && told.contains("f mends it"), "{told}");
}

/// The place is taken: another one is named and asked for at once, and a path that is none is not.
#[test]
fn another_directory_is_named_where_the_usual_one_is_taken() {
    use super::full;
    let mut s = full::taken(THEME);
    assert_eq!(write(&mut s, "beside"), [], "no whole path");
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Line(_))), "the dialog stays");
    s.key(Key::Ctrl('u'));
    let to = |destination: &str| {
        let destination = Some(destination.to_owned());
        [Command::ChooseFull(FullRestore { destination, ..FullRestore::default() })]
    };
    assert_eq!(write(&mut s, "/srv/pg/new"), to("/srv/pg/new"));
    // It is kept for the next choice, and another refusal is only told.
    let id = *s.app.view.waiting.keys().next_back().unwrap();
    let refusal = Explanation::new(Kind::Refused, "Too many cooks.", "", "");
    s.message(Message::Reply { id, result: Err(refusal) });
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Reader(_))));
    s.key(Key::Esc);
    press(&mut s, 'O');
    assert_eq!(sent(s.key(Key::Enter)), to("/srv/pg/new"));
}

/// Another disk is named where the data directory's is too small; a refusal asks once more.
#[test]
fn a_directory_on_another_disk_is_named_for_a_point_that_lacks_room() {
    use super::full;
    let mut s = full::no_room(THEME);
    let said = guide(&s.app.view);
    assert_eq!(said.command, Some(Id::OtherDirectory), "{}", said.text);
    assert!(said.text.contains("Option B) needs there, too"), "{}", said.text);
    press(&mut s, 'd');
    assert_eq!(write(&mut s, "mnt/recovery"), [], "no whole path");
    s.key(Key::Ctrl('u'));
    let target = s.app.view.candidate().unwrap().target;
    let into = |directory: &str| {
        let (target, directory) = (target.clone(), directory.to_owned());
        [Command::ChooseInto { target, directory }]
    };
    assert_eq!(write(&mut s, "/mnt/recovery"), into("/mnt/recovery"));
    let mut s = full::no_room_there(THEME);
    assert_eq!(write(&mut s, "/mnt/other"), into("/mnt/other"));
    // Where there is room, no other disk is asked for, and the key says so.
    let mut s = Story::pointing(THEME, true);
    press(&mut s, 'd');
    assert!(s.app.view.layers.is_empty());
    assert!(s.app.view.notice.unwrap().text.contains("does not lack room"));
}
