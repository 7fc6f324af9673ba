//! Several people at one incident: what each sees of the others, of an approval and of a handover,
//! at both sizes; and which keys each has.

use super::fixture::{CLUSTER, Story, at};
use super::look;
use lifeboat::app::model::{Effect, Event, Unsigned};
use lifeboat::engine::incident::approval::{Asked, Given};
use lifeboat::engine::incident::event::Event as J;
use lifeboat::engine::incident::facts::{Role, SignOff};
use lifeboat::engine::runner::protocol::{Command, Message, Present};
use lifeboat::engine::signature;
use lifeboat::screens::commands::{self, Id, Key};
use lifeboat::screens::guide::guide;
use lifeboat::screens::layers::{Layer, Source};
use lifeboat::screens::theme::{Palette, Theme};

const DARK: Theme = Theme { palette: Palette::Dark, ascii: false };

fn hash(s: &Story) -> String {
    s.app.view.incident.as_ref().unwrap().plan.as_ref().unwrap().hash.clone()
}

/// A plan that somebody else has to approve.
fn waiting() -> Story {
    let mut s = Story::planned(DARK);
    let asked = Asked {
        plan_hash: hash(&s),
        why: vec![String::from("environment production")],
        may: vec![String::from("ben"), String::from("cleo")],
        ..Asked::default()
    };
    s.entry("14:14:21", J::ApprovalAsked(asked));
    s.tick("14:15:00");
    s
}

fn present(user: &str, role: Role, since: &str) -> Present {
    Present { user: user.to_owned(), role, since: at(since), screens: 1 }
}

fn together(mut s: Story) -> Story {
    s.message(Message::Presence(vec![
        present("ann", Role::Commander, "14:09:30"),
        present("ben", Role::Approver, "14:11:00"),
        Present { screens: 2, ..present("dora", Role::Scribe, "14:12:00") },
    ]));
    s
}

fn with(mut s: Story, keys: &[Key]) -> Story {
    for key in keys {
        s.key(*key);
    }
    s
}

fn sent(effects: Vec<Effect>) -> Vec<Command> {
    let command = |effect| match effect {
        Effect::Send { command, .. } => Some(command),
        _ => None,
    };
    effects.into_iter().filter_map(command).collect()
}

fn write(s: &mut Story, text: &str) -> Vec<Command> {
    s.keys(text);
    sent(s.key(Key::Enter))
}

fn keys_of(s: &Story) -> Vec<Id> {
    commands::bar(&s.app.view).iter().map(|command| command.id).collect()
}

#[test]
fn what_people_see_of_each_other_looks_as_it_did() {
    let mut handed =
        Story::running(DARK, "replay").progress("replay").seen_by("eve", Role::Commander);
    let offer = J::HandoverOffered { to: String::from("eve"), task: None, note: String::new() };
    handed.entry("14:16:00", offer);
    handed.tick("14:16:30");
    let mut waived = waiting();
    let reason = String::from("Nobody else can be reached; the shop loses orders every minute.");
    let plan_hash = hash(&waived);
    waived.entry("14:15:10", J::ApprovalWaived { plan_hash, reason });
    waived.tick("14:16:00");
    let scenes = [
        ("people_waiting", waiting()),
        ("people_gate", with(waiting(), &[Key::Char('g')])),
        ("people_asked", waiting().seen_by("ben", Role::Approver)),
        ("people_approve", with(waiting().seen_by("ben", Role::Approver), &[Key::Char('V')])),
        ("people_waived", with(waived, &[Key::Char('g')])),
        ("people_page", with(together(waiting()), &[Key::Char('@')])),
        ("people_handed", handed),
    ];
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();
    for (name, mut story) in scenes {
        let mut all = String::new();
        for (width, height) in [(80, 24), (160, 45)] {
            let drawn = look::draw(&mut story.app, width, height);
            all.push_str(&format!("== {width}x{height}\n{}\n", look::text(&drawn)));
        }
        insta::assert_snapshot!(name, all);
    }
}

#[test]
fn the_gate_waits_and_says_who_types_what() {
    let mut s = waiting();
    let told = guide(&s.app.view);
    assert!(told.text.contains("ben or cleo") && told.text.contains("lifeboat approve INC-"));
    s.key(Key::Char('g'));
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    for words in ["waits for somebody else", "ben or cleo types: lifeboat approve"] {
        assert!(text.contains(words), "{words}:\n{text}");
    }
    s.key(Key::Esc);
    let given = Given { plan_hash: hash(&s), until: at("15:15:00"), signed: None };
    s.entry_by("14:15:30", "ben", Role::Approver, J::ApprovalGiven(given));
    let notice = s.app.view.notice.as_ref().unwrap();
    assert!(notice.text.starts_with("ben: Plan") && !notice.bad, "{}", notice.text);
    assert_eq!(guide(&s.app.view).command, Some(Id::OpenGate));
    s.tick("15:15:01");
    assert!(guide(&s.app.view).text.contains("approval by ben is over"));
}

#[test]
fn the_second_person_reads_types_the_name_and_sends_that_plan_alone() {
    let mut s = waiting().seen_by("ben", Role::Approver);
    assert_eq!(guide(&s.app.view).command, Some(Id::ApprovePlan));
    s.key(Key::Char('V'));
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("What you are asked to approve"), "{text}");
    assert_eq!(write(&mut s, "wrong"), []);
    for _ in 0..5 {
        s.key(Key::Backspace);
    }
    let approve =
        Command::Approve { plan_hash: hash(&s), cluster: CLUSTER.to_owned(), signed: None };
    // What lies below the window's edge was not read: the name is taken at the end of it.
    assert_eq!(write(&mut s, CLUSTER), []);
    let sent = (0..5).find_map(|_| Some(sent(s.key(Key::Enter))).filter(|sent| !sent.is_empty()));
    assert_eq!(sent, Some(vec![approve]));
    s.key(Key::Char('N'));
    let (plan_hash, reason) = (hash(&s), String::from("that is the wrong hour"));
    let no = Command::DeclineApproval { plan_hash, reason: reason.clone() };
    assert_eq!(write(&mut s, &reason), [no]);
    // Whoever made the plan has the key of the waiver, and not those.
    let mut own = waiting();
    assert!(!keys_of(&own).contains(&Id::ApprovePlan));
    own.key(Key::Char('W'));
    let (plan_hash, reason) = (hash(&own), String::from("nobody can be reached"));
    let waive = Command::WaiveApproval { plan_hash, reason: reason.clone() };
    assert_eq!(write(&mut own, &reason), [waive]);
}

#[test]
fn each_has_the_keys_of_their_role_and_a_word_why_not_another() {
    let mut scribe = Story::assessed(DARK).seen_by("dora", Role::Scribe);
    assert!(keys_of(&scribe).contains(&Id::AddNote));
    assert!(!keys_of(&scribe).contains(&Id::SetSeverity));
    assert_eq!(sent(scribe.key(Key::Char('s'))), []);
    assert!(scribe.app.view.notice.as_ref().unwrap().text.contains("is for the operator"));
    let mut words = Story::reported(DARK).seen_by("fay", Role::Communications);
    words.key(Key::Char('s'));
    let text = String::from("We are back at 15:00");
    assert_eq!(write(&mut words, &text), [Command::WriteStatusText { text: text.clone() }]);
    let mut observer = Story::reported(DARK).seen_by("gus", Role::Observer);
    observer.key(Key::Char('s'));
    assert!(observer.app.view.layers.is_empty());
}

#[test]
fn a_handover_is_offered_answered_and_leaves_the_keys_to_one() {
    let mut s = together(Story::planned(DARK));
    s.key(Key::Char('H'));
    let text = look::text(&look::draw(&mut s.app, 80, 24));
    assert!(text.contains("ben (approver)") && text.contains("dora (scribe)"), "{text}");
    let to_eve = |task: Option<&str>| Command::HandOver {
        to: String::from("eve"),
        task: task.map(str::to_owned),
        note: String::new(),
    };
    assert_eq!(write(&mut s, "eve"), [to_eve(None)]);
    let offer = J::HandoverOffered { to: String::from("eve"), task: None, note: String::new() };
    s.entry("14:14:30", offer);
    let mut eve = s.seen_by("eve", Role::Commander);
    assert_eq!(guide(&eve.app.view).command, Some(Id::AnswerHandover));
    eve.key(Key::Char('Y'));
    let accept = |accept, reason: &str| Command::AnswerHandover {
        task: None,
        accept,
        reason: reason.to_owned(),
    };
    assert_eq!(sent(eve.key(Key::Enter)), [accept(true, "")]);
    eve.key(Key::Char('Y'));
    eve.key(Key::Down);
    eve.key(Key::Enter);
    assert_eq!(write(&mut eve, "on another call"), [accept(false, "on another call")]);
    eve.entry_by("14:14:50", "eve", Role::Commander, J::HandoverAccepted { task: None });
    assert!(keys_of(&eve).contains(&Id::OpenGate));
    let mut ann = eve.seen_by("ann", Role::Commander);
    assert!(!keys_of(&ann).contains(&Id::OpenGate) && keys_of(&ann).contains(&Id::TakeCommand));
    assert!(guide(&ann.app.view).text.starts_with("Waiting for eve, who has the command"));
    ann.key(Key::Char('g'));
    assert!(ann.app.view.notice.as_ref().unwrap().text.contains("eve has the command"));
    ann.key(Key::Char('T'));
    let reason = String::from("eve does not answer");
    assert_eq!(write(&mut ann, &reason), [Command::TakeCommand { reason: reason.clone() }]);
    // On the checklist it can be a line.
    let mut list = Story::ending(DARK);
    list.key(Key::Char('H'));
    list.key(Key::Enter);
    let given = write(&mut list, "eve");
    assert!(matches!(&given[..], [Command::HandOver { task: Some(_), .. }]), "{given:?}");
}

#[test]
fn what_is_approved_or_signed_off_goes_through_the_persons_key_and_never_waits_for_it() {
    let mut s = waiting().seen_by("ben", Role::Approver);
    s.app.signs = true;
    s.key(Key::Char('V'));
    s.keys(CLUSTER);
    for _ in 0..3 {
        s.key(Key::PageDown);
    }
    let effects = s.key(Key::Enter);
    let [Effect::Sign { id, generation, command, namespace, lines, user }] = &effects[..] else {
        panic!("{effects:?}")
    };
    let declaration = s.app.view.incident.as_ref().unwrap().declaration.clone();
    let expected = signature::approval(&declaration.id, CLUSTER, &hash(&s), "ben");
    assert_eq!((*namespace, user.as_str()), (signature::APPROVAL, "ben"));
    assert_eq!(*lines, expected);
    assert!(s.app.view.layers.is_empty(), "the screen goes on while it is signed");
    let made = |id, generation, command: &Command, unsigned| Event::Signed {
        id,
        generation,
        command: command.clone(),
        unsigned,
    };
    // Without a signature it goes all the same: what that means is the runner's policy.
    let failed = Some(Unsigned { failed: true, why: String::from("no passphrase is asked for") });
    let sent = s.event(made(*id, *generation, command, failed));
    assert_eq!(sent, [Effect::Send { id: *id, command: command.clone() }]);
    let Some(Layer::Reader(reader)) = s.app.view.layers.last() else { panic!("it says why") };
    assert!(format!("{reader:?}").contains("no passphrase is asked for"));
    // Of a link that is gone nothing is sent by the next one.
    assert_eq!(s.event(made(*id, generation + 1, command, None)), []);
    assert!(s.app.view.notice.as_ref().unwrap().text.contains("nothing was sent"));

    let mut s = Story::ending(DARK);
    s.app.signs = true;
    s.key(Key::Enter);
    s.key(Key::Ctrl('u'));
    s.keys("seen");
    let effects = s.key(Key::Enter);
    let [Effect::Sign { namespace, lines, command: Command::Sign(_), .. }] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(*namespace, signature::CHECKLIST);
    assert!(lines.contains(&String::from("evidence: \"seen\"")), "{lines:?}");
}

#[test]
fn evidence_is_a_file_or_what_a_command_says_and_is_shown_before_it_is_signed() {
    let mut s = Story::ending(DARK);
    s.key(Key::Char('e'));
    s.key(Key::Enter);
    s.keys("/srv/shot.png");
    let item = lifeboat::screens::checklist::selected(&s.app.view).unwrap().id.clone();
    let from = Source::File(String::from("/srv/shot.png"));
    assert_eq!(s.key(Key::Enter), [Effect::Gather { item: item.clone(), from }]);
    let evidence = String::from("file /srv/shot.png (3 bytes, sha256 ab)");
    assert_eq!(s.event(Event::Evidence { item: item.clone(), gathered: Ok(evidence.clone()) }), []);
    let sign = SignOff { item: item.clone(), done: true, evidence };
    assert_eq!(sent(s.key(Key::Char('y'))), [Command::Sign(sign)]);

    // A command is run only once it was shown, and a no runs nothing.
    let mut s = Story::asking(DARK);
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Confirm(_))));
    assert_eq!(s.key(Key::Char('n')), []);
    let mut s = Story::asking(DARK);
    let line = String::from("curl -fsS https://shop.example/health");
    let from = Source::Command(line);
    assert_eq!(s.key(Key::Char('y')), [Effect::Gather { item, from }]);
    let mut s = Story::gathered(DARK);
    let signed = sent(s.key(Key::Char('y')));
    let [Command::Sign(sign)] = &signed[..] else { panic!("{signed:?}") };
    // All of it is signed, also what the question had no room for.
    assert!(sign.evidence.contains("service 14: up") && sign.done);
}
