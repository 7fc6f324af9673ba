//! What participants of a drill see: hints, what somebody calls in, the game master, and an end that
//! nobody waits a week for; and why a key does nothing, in a drill and in earnest.

use super::fixture::{INCIDENT, Story, actor, at, briefing};
use super::look;
use lifeboat::app::model::{Effect, Event};
use lifeboat::engine::drill::hints::{At, Hint};
use lifeboat::engine::incident::event::Event as J;
use lifeboat::engine::incident::facts::{Role, SignOff, Topic};
use lifeboat::engine::runner::protocol::Command;
use lifeboat::screens::available::available;
use lifeboat::screens::commands::{Id, Key};
use lifeboat::screens::guide::guide;
use lifeboat::screens::layers::Layer;
use lifeboat::screens::reasons::why_not;
use lifeboat::screens::theme::{Palette, Theme};
use lifeboat::screens::view::{GameMaster, Page};
use lifeboat::screens::{checklist, drill};

const DARK: Theme = Theme { palette: Palette::Dark, ascii: false };

fn with_hints(mut s: Story) -> Story {
    let of = |at, text: &str| Hint { at: Some(at), text: text.to_owned() };
    s.app.view.briefing.as_mut().unwrap().hints = vec![
        of(At::Assessment, "Say how bad it is."),
        of(
            At::RecoveryPoint,
            "The transaction that removed most rows stands first among the points: the one just before it is the one to choose, with Enter, once it has its check mark.",
        ),
        of(At::Checklist, "Sign what you saw."),
    ];
    s
}

/// The incident's screen in a drill, its story read.
fn begun() -> Story {
    let mut s = with_hints(Story::declared(DARK, true));
    s.key(Key::Esc);
    assert!(s.app.view.layers.is_empty());
    s
}

fn text(s: &mut Story, (width, height): (u16, u16)) -> String {
    look::text(&look::draw(&mut s.app, width, height))
}

fn sent(effects: Vec<Effect>) -> Vec<Command> {
    let command = |effect| match effect {
        Effect::Send { command, .. } => Some(command),
        _ => None,
    };
    effects.into_iter().filter_map(command).collect()
}

fn note(s: &mut Story, time: &str, text: &str) {
    s.entry(time, J::NoteAdded { topic: Topic::Note, text: text.to_owned() });
}

fn refusal(s: &Story) -> &str {
    s.app.view.notice.as_ref().map_or("", |notice| notice.text.as_str())
}

#[test]
fn a_hint_is_one_for_where_the_incident_stands_and_is_read_in_full() {
    let mut s = begun();
    let noted = sent(s.key(Key::Char('D')));
    let expected = String::from("Hint 1 of 3: Say how bad it is.");
    assert_eq!(noted, [Command::AddNote { topic: Topic::Note, text: expected.clone() }]);
    note(&mut s, "14:10:01", &expected);
    assert_eq!(s.app.view.layers.len(), 1, "what was asked for here is shown once");
    s.key(Key::Esc);
    s.key(Key::Char('D'));
    assert!(refusal(&s).contains("b shows them again"), "{}", refusal(&s));
    s.assess();
    s.key(Key::Char('D'));
    for size in [(80, 24), (160, 45)] {
        let screen = text(&mut s, size);
        for words in ["Hint 2 of 3: Recovery point", "stands first", "check mark."] {
            assert!(screen.contains(words), "{words}:\n{screen}");
        }
    }
    s.key(Key::Esc);
    // Told ones are read again at no cost.
    let all = "Hint 2 of 3: The transaction that removed most rows stands first.";
    note(&mut s, "14:10:20", all);
    assert_eq!(s.key(Key::Char('b')), []);
    let screen = text(&mut s, (80, 24));
    assert!(screen.contains("Hint 1 of 3") && screen.contains("Hint 2 of 3"), "{screen}");
}

#[test]
fn what_is_told_from_outside_opens_by_itself_and_waits_for_a_dialog_to_close() {
    let mut s = begun();
    let call = "Called in: The storage team: the volume has been enlarged, and whoever tries the step that failed once more will find room for all of it.";
    note(&mut s, "14:10:01", call);
    let screen = text(&mut s, (80, 24));
    assert!(screen.contains("Somebody calls") && screen.contains("room for all of it"), "{screen}");
    s.key(Key::Char('a'));
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Reader(_))), "it has the keys");
    s.key(Key::Esc);
    s.key(Key::Char('a'));
    s.keys("we loo");
    note(&mut s, "14:10:02", "Hint 1 of 3: Say how bad it is.");
    s.keys("k");
    assert_eq!(s.app.view.layers.len(), 1, "nobody's writing is interrupted");
    s.key(Key::Enter);
    let screen = text(&mut s, (80, 24));
    assert!(screen.contains("Hint 1 of 3: Assessment"), "{screen}");
    s.key(Key::Esc);
    note(&mut s, "14:10:03", "We look at the suspects");
    assert!(s.app.view.layers.is_empty(), "a note of the participants is a line as ever");
}

#[test]
fn outside_a_drill_no_note_opens_anything() {
    let mut s = Story::declared(DARK, false);
    note(&mut s, "14:10:01", "Called in: The storage team: done");
    note(&mut s, "14:10:02", "Hint 1 of 3: look");
    assert!(s.app.view.layers.is_empty());
}

#[test]
fn participants_see_whether_a_game_master_is_there_and_how_one_comes_in() {
    let mut s = Story::home(DARK);
    s.app.view.briefing = Some(briefing());
    s.event(Event::Attended(None));
    assert_eq!(drill::game_master(s.app.view.game_master), None);
    s.event(Event::Attended(Some(false)));
    // At home, too: the story is read before an incident is declared.
    s.key(Key::Esc);
    s.key(Key::Char('b'));
    s.key(Key::PageDown);
    let screen = text(&mut s, (80, 24));
    assert!(screen.contains("lifeboat drill master"), "{screen}");
    let mut s = begun();
    s.event(Event::Attended(Some(false)));
    assert!(!text(&mut s, (80, 24)).contains("game master"));
    s.event(Event::Attended(Some(true)));
    assert!(refusal(&s).contains("has come in"), "{}", refusal(&s));
    s.tick("14:10:30");
    for size in [(80, 24), (160, 45)] {
        let screen = text(&mut s, size);
        assert!(screen.lines().next().unwrap().contains("game master"), "{screen}");
    }
    s.event(Event::Attended(Some(false)));
    assert!(refusal(&s).contains("has left"), "{}", refusal(&s));
    // A real incident has none, whatever lies beside its configuration.
    let mut s = Story::declared(DARK, false);
    s.event(Event::Attended(Some(true)));
    assert_eq!(s.app.view.game_master, GameMaster::None);
}

/// As [`Story::ending`], in a drill.
fn ending() -> Story {
    let mut s = Story::ending(DARK);
    s.app.view.briefing = Some(briefing());
    s.app.view.incident.as_mut().unwrap().declaration.drill = Some(String::from("corruption"));
    s
}

#[test]
fn a_drill_ends_without_what_is_due_on_another_day() {
    let mut s = ending();
    s.app.view.page = Page::Checklist;
    let earnest = |s: &Story| {
        let lines = checklist::lines(&s.app.view);
        lines.iter().filter(|l| drill::is_for_earnest(&s.app.view, l.horizon)).count()
    };
    assert!(earnest(&s) > 5);
    let here: Vec<String> = checklist::lines(&s.app.view)
        .iter()
        .filter(|line| !drill::is_for_earnest(&s.app.view, line.horizon))
        .map(|line| line.id.clone())
        .collect();
    for item in &here {
        let evidence = String::from("seen");
        s.entry(
            "14:20:00",
            J::ChecklistSigned(SignOff { item: item.clone(), done: true, evidence }),
        );
    }
    assert_eq!(checklist::next_open(&s.app.view).map(|line| &line.id), None);
    assert!(guide(&s.app.view).text.contains("Every line of this drill"));
    s.key(Key::End);
    for size in [(80, 24), (160, 45)] {
        let screen = text(&mut s, size);
        assert!(screen.contains("not part of this drill"), "{screen}");
        assert!(screen.contains("more are for real incidents alone"), "{screen}");
    }
    // It closes, too; a real one does not.
    s.key(Key::Char('C'));
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Line(_))), "{}", refusal(&s));
    s.key(Key::Esc);
    s.app.view.incident.as_mut().unwrap().declaration.drill = None;
    s.key(Key::Char('C'));
    assert!(refusal(&s).contains("neither done nor waived"), "{}", refusal(&s));
}

#[test]
fn the_report_screen_shows_paths_whole_and_leads_to_the_end() {
    let mut s = ending();
    let path = "/var/tmp/lifeboat-drill-b65401b6/state/incidents/INC-20261122-001/report-20261122-142211.html";
    s.entry("14:22:11", J::ReportWritten { path: path.to_owned() });
    s.app.view.page = Page::Report;
    assert_eq!(guide(&s.app.view).command, Some(Id::Quit));
    let mut seen = String::new();
    for _ in 0..40 {
        let screen = text(&mut s, (80, 24));
        for line in screen.lines() {
            let line = line.trim_start().trim_start_matches("report (html)").trim();
            if !line.is_empty() && path[seen.len()..].starts_with(line) {
                seen.push_str(line);
            }
        }
        s.key(Key::Down);
    }
    assert_eq!(seen, path);
}

#[test]
fn a_refusal_says_why_and_which_key_helps() {
    let mut s = Story::chosen(DARK);
    s.app.view.page = Page::Restore;
    let refused = |s: &mut Story, key| {
        assert_eq!(sent(s.key(Key::Char(key))), []);
        refusal(s).to_owned()
    };
    let words = refused(&mut s, 'g');
    assert!(words.contains("no plan yet: m"), "{words}");
    let words = refused(&mut s, 's');
    assert!(words.contains("g opens it"), "{words}");
    let words = refused(&mut s, 'P');
    assert!(words.contains("nothing was started"), "{words}");
    let mut s = Story::half_answered(DARK);
    s.entry("14:14:20", J::PlanMade(super::fixture::plan()));
    s.app.view.page = Page::Restore;
    let words = refused(&mut s, 'g');
    assert!(words.contains("(v)") && words.contains("(c)") && !words.contains("(w)"), "{words}");
    let words = refused(&mut s, 'w');
    assert!(words.contains("confirmed already"), "{words}");
    let mut s = Story::held(DARK);
    let words = refused(&mut s, 'X');
    assert!(words.contains("A gives it up"), "{words}");
    let words = refused(&mut s, 'y');
    assert!(words.contains("whole cluster"), "{words}");
    let mut s = Story::home(DARK);
    s.app.view.layers.clear();
    let words = refused(&mut s, 'b');
    assert!(words.contains("no drill"), "{words}");
}

/// Whatever is refused, at whatever moment, is refused in a sentence that fits the bar of a window of
/// 160 columns.
#[test]
fn every_refusal_is_a_sentence() {
    for (name, app) in super::fixture::scenes(DARK) {
        for command in lifeboat::screens::commands::TABLE {
            if available(command.id, &app.view) {
                continue;
            }
            let words = why_not(command.id, &app.view);
            assert!(words.ends_with('.'), "{name}, {:?}: {words}", command.id);
            assert!(!words.contains("  ") && words.len() < 300, "{name}: {words}");
        }
    }
}

#[test]
fn the_gate_takes_no_name_before_its_end_was_shown() {
    let mut s = Story::planned(DARK);
    s.app.view.size = (80, 24);
    s.key(Key::Char('g'));
    s.keys("orders-prod");
    let below = text(&mut s, (80, 24));
    let more = below.contains("more lines below: PgDn");
    let first = sent(s.key(Key::Enter));
    assert_eq!(first.is_empty(), more, "{below}");
    // A window in which half of it is hidden.
    let mut s = Story::planned(DARK);
    s.event(Event::Resize(80, 16));
    s.key(Key::Char('g'));
    s.keys("orders-prod");
    let screen = text(&mut s, (80, 16));
    assert!(screen.contains("more lines below: PgDn"), "{screen}");
    assert!(screen.contains("Enter shows what is below first"), "{screen}");
    assert_eq!(sent(s.key(Key::Enter)), []);
    assert!(text(&mut s, (80, 16)).contains("There was more to read"));
    let mut begun = Vec::new();
    for _ in 0..20 {
        if begun.is_empty() {
            begun = sent(s.key(Key::Enter));
        }
    }
    assert!(matches!(&begun[..], [Command::PassGate { .. }]), "{begun:?}");
}

#[test]
fn an_observer_reads_the_story_but_takes_no_hint() {
    let mut s = with_hints(Story::declared_as(DARK, true, Role::Observer));
    s.key(Key::Esc);
    assert_eq!(sent(s.key(Key::Char('D'))), []);
    s.app.view.you = Some(actor("eve", Role::Observer));
    s.key(Key::Char('b'));
    assert!(matches!(s.app.view.layers.last(), Some(Layer::Reader(_))));
    assert_eq!(s.app.open.as_deref(), Some(INCIDENT));
    assert_eq!(s.app.view.now, at("14:10:00"));
}

#[test]
fn what_participants_of_a_drill_see_looks_as_it_did() {
    let mut hint = begun();
    hint.assess();
    hint.event(Event::Attended(Some(true)));
    hint.tick("14:10:20");
    hint.key(Key::Char('D'));
    let mut list = ending();
    list.app.view.page = Page::Checklist;
    list.key(Key::End);
    let mut gate = Story::planned(DARK);
    gate.event(Event::Resize(80, 16));
    gate.key(Key::Char('g'));
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();
    for (name, mut s) in [("drill_hint", hint), ("drill_checklist", list), ("gate_small", gate)] {
        let sizes =
            if name == "gate_small" { [(80, 16), (160, 45)] } else { [(80, 24), (160, 45)] };
        let shown = sizes.map(|(width, height)| {
            format!("== {width}x{height}\n{}\n", text(&mut s, (width, height)))
        });
        insta::assert_snapshot!(name, shown.concat());
    }
}
