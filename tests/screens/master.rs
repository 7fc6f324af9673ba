//! The game master's window: how it looks, and what its keys ask of the director.

use super::fixture::{Story, at};
use super::look;
use lifeboat::app::master::{self as app, Deed};
use lifeboat::engine::drill::cast::Cast;
use lifeboat::engine::drill::hints::Hint;
use lifeboat::engine::drill::inject;
use lifeboat::engine::drill::master::{Answered, Observation, Stage, Wants};
use lifeboat::engine::incident::event::Event as J;
use lifeboat::engine::incident::facts::Topic;
use lifeboat::screens::commands::Key;
use lifeboat::screens::master::{self as face, MasterView};
use lifeboat::screens::theme::{Palette, Theme};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use std::collections::BTreeSet;

const DARK: Theme = Theme { palette: Palette::Dark, ascii: false };
const PLAIN: Theme = Theme { palette: Palette::Mono, ascii: true };

/// One inject waits, one was released, one struck, one was undone.
fn stage() -> Stage {
    let names =
        ["archive-gap", "key-denied", "repository-down", "damaged-backup", "disk-too-small"];
    let mut cast = Cast::of(&names.map(|name| inject::load(name).unwrap()), true, at("14:00:00"));
    for name in &names[1..] {
        cast.release(name, at("14:08:00")).unwrap();
    }
    for name in &names[2..] {
        cast.struck(name, at("14:08:01"));
    }
    cast.cured("disk-too-small", at("14:09:20"));
    let saw = |time, text: &str| Observation {
        at: at(time),
        by: String::from("ann"),
        text: text.to_owned(),
    };
    Stage {
        scenario: String::from("corruption"),
        title: String::from("Recent data corruption"),
        hypothesis: String::from("The orders come back."),
        truth: String::from(
            "app_maintenance ran \"DELETE FROM public.orders WHERE is_test OR created_at > now() - interval '1 hour'\": 1258 rows of public.orders are gone.",
        ),
        begun: at("14:00:00"),
        struck_at: at("14:05:00"),
        time_limit_seconds: 14_400,
        rto_seconds: 900.0,
        rpo_seconds: Some(300.0),
        hints: ["First look.", "Then think.", "Then act."].map(Hint::from).to_vec(),
        hints_waiting: BTreeSet::new(),
        cues: cast.cues().to_vec(),
        observations: vec![
            saw("14:07:10", "They read the report aloud before anybody touched a key"),
            saw("14:09:02", "Nobody asked how much room the volume has"),
        ],
        untold: 0,
        answers: Vec::new(),
        over: None,
    }
}

fn window(theme: Theme, declared: bool) -> MasterView {
    let story = match declared {
        true => Story::declared(theme, true),
        false => Story::home(theme),
    };
    attended(&story)
}

/// The master's window has dialogs of its own.
fn attended(story: &Story) -> MasterView {
    let mut view = story.app.view.clone();
    view.layers.clear();
    app::view(stage(), view)
}

fn draw(master: &mut MasterView, (width, height): (u16, u16)) -> Buffer {
    master.view.size = (width, height);
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    face::draw(master, buffer.area, &mut buffer);
    buffer
}

fn keys(master: &mut MasterView, text: &str) -> Vec<Deed> {
    text.chars().map(|c| app::key(master, Key::Char(c))).collect()
}

#[test]
fn the_game_masters_window_looks_as_it_did() {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();
    let scenes: [(&str, bool, &str); 4] = [
        ("master", true, ""),
        ("master_alone", false, ""),
        ("master_release", true, "r"),
        ("master_observe", true, "oNobody"),
    ];
    for (name, declared, typed) in scenes {
        let mut all = String::new();
        for size in [(80, 24), (160, 45)] {
            let mut master = window(DARK, declared);
            keys(&mut master, typed);
            let text = look::text(&draw(&mut master, size));
            all.push_str(&format!("== {}x{}\n{text}\n", size.0, size.1));
        }
        insta::assert_snapshot!(name, all);
    }
}

#[test]
fn it_is_ascii_without_unicode_and_marked_as_a_drill() {
    for size in [(80, 24), (160, 45)] {
        let buffer = draw(&mut window(PLAIN, true), size);
        let text = look::text(&buffer);
        assert!(text.is_ascii() && !look::has_colour(&buffer), "{text}");
        assert!(look::rows(&buffer)[0].ends_with("DRILL"), "{text}");
    }
}

/// Nothing leaves by one key: each order is asked for, and no is the way out.
#[test]
fn an_inject_is_released_by_two_keys_and_no_more() {
    let mut master = window(DARK, true);
    let inject = || String::from("archive-gap");
    assert_eq!(keys(&mut master, "rn"), [Deed::Nothing, Deed::Nothing]);
    assert!(master.view.layers.is_empty());
    let released = Deed::Give(Wants::Release { inject: inject() });
    assert_eq!(keys(&mut master, "ry"), [Deed::Nothing, released]);
    // The second one was released already.
    app::key(&mut master, Key::Down);
    assert_eq!(keys(&mut master, "r"), [Deed::Nothing]);
    assert!(master.view.notice.as_ref().unwrap().bad && master.view.layers.is_empty());
    app::key(&mut master, Key::Down);
    let cured = Deed::Give(Wants::Cure { inject: String::from("repository-down") });
    assert_eq!(keys(&mut master, "uy"), [Deed::Nothing, cured]);
    app::key(&mut master, Key::Down);
    keys(&mut master, "u");
    assert!(master.view.layers.is_empty(), "nobody else undoes a damaged backup");
}

#[test]
fn what_is_seen_is_noted_and_what_is_said_is_said() {
    let mut master = window(DARK, true);
    keys(&mut master, "o");
    assert_eq!(app::key(&mut master, Key::Enter), Deed::Nothing, "nothing was written");
    assert_eq!(keys(&mut master, "qr"), [Deed::Nothing, Deed::Nothing], "letters, not keys");
    let text = String::from("qr");
    assert_eq!(app::key(&mut master, Key::Enter), Deed::Give(Wants::Observe { text }));
    keys(&mut master, "t");
    app::paste(&mut master, "The lead:\nhow long?");
    let text = String::from("The lead:how long?");
    assert_eq!(app::key(&mut master, Key::Enter), Deed::Give(Wants::Say { text }));
    // Over a dialog, too.
    keys(&mut master, "o");
    app::key(&mut master, Key::Ctrl('x'));
    assert_eq!(keys(&mut master, "y"), [Deed::Give(Wants::Abort)]);
    assert_eq!(app::key(&mut master, Key::Esc), Deed::Nothing);
    assert_eq!(keys(&mut master, "q"), [Deed::Leave]);
}

#[test]
fn a_hint_is_offered_while_there_is_one_and_answers_are_told() {
    let mut story = Story::declared(DARK, true);
    for number in 1..=2 {
        let text = format!("Hint {number} of 3: look");
        story.entry("14:09:40", J::NoteAdded { topic: Topic::Note, text });
    }
    let mut master = attended(&story);
    assert_eq!(keys(&mut master, "gy")[1], Deed::Give(Wants::Hint));
    let mut mine = vec![String::from("7")];
    let refused = Some(String::from("Every hint was given."));
    let answers = vec![Answered { order: String::from("7"), refused }];
    app::show(
        &mut master,
        Stage { untold: 1, hints_waiting: BTreeSet::from([2]), answers, ..stage() },
        &mut mine,
    );
    assert!(mine.is_empty() && master.view.notice.as_ref().unwrap().text.starts_with("Every"));
    keys(&mut master, "g");
    assert!(master.view.layers.is_empty(), "the last one is on its way");
}
