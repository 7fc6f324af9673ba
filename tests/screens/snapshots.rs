//! Every scene at 80×24 and 160×45, in colour and under NO_COLOR, and what holds of all of them.

use super::fixture::{self, CLUSTER, Story};
use super::look;
use lifeboat::app::model::App;
use lifeboat::engine::incident::facts::Verdict;
use lifeboat::engine::incident::model::{StepStatus, Tone};
use lifeboat::screens::theme::{Palette, Theme};
use lifeboat::screens::view::Page;
use ratatui::style::Color;

const DARK: Theme = Theme { palette: Palette::Dark, ascii: false };
const LIGHT: Theme = Theme { palette: Palette::Light, ascii: false };
const MONO: Theme = Theme { palette: Palette::Mono, ascii: false };
const PLAIN: Theme = Theme { palette: Palette::Mono, ascii: true };
const SIZES: [(u16, u16); 2] = [(80, 24), (160, 45)];

fn scene(name: &str, theme: Theme) -> Box<App> {
    fixture::scenes(theme).into_iter().find(|(n, _)| *n == name).unwrap().1
}

/// Rows that differ, with their numbers.
fn differences(from: &[String], to: &[String]) -> String {
    from.iter()
        .zip(to)
        .enumerate()
        .filter(|(_, (a, b))| a != b)
        .map(|(y, (_, b))| format!("{y}: {b}\n"))
        .collect()
}

#[test]
fn every_screen_looks_as_it_did() {
    let mono = fixture::scenes(MONO);
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("../snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let _bound = settings.bind_to_scope();
    for ((name, mut app), (_, mut bare)) in fixture::scenes(DARK).into_iter().zip(mono) {
        let mut all = String::new();
        for (width, height) in SIZES {
            let colour = look::draw(&mut app, width, height);
            let none = look::draw(&mut bare, width, height);
            all.push_str(&format!("== {width}x{height}\n{}\n", look::text(&colour)));
            let changed = differences(&look::rows(&colour), &look::rows(&none));
            all.push_str(&format!("-- other under NO_COLOR\n{changed}"));
            if width == 80 {
                let plain = Color::Indexed(252);
                all.push_str(&format!("-- styles\n{}", look::styles(&colour, plain)));
                all.push_str(&format!(
                    "-- styles under NO_COLOR\n{}",
                    look::styles(&none, Color::Reset)
                ));
            }
        }
        insta::assert_snapshot!(name, all);
    }
}

#[test]
fn without_colour_there_is_none_and_without_unicode_all_is_ascii() {
    for (name, mut app) in fixture::scenes(PLAIN) {
        for (width, height) in SIZES {
            let buffer = look::draw(&mut app, width, height);
            assert!(!look::has_colour(&buffer), "{name} {width}x{height}");
            let text = look::text(&buffer);
            assert!(text.is_ascii(), "{name}: {:?}", text.chars().find(|c| !c.is_ascii()));
        }
    }
}

#[test]
fn the_light_theme_says_the_same() {
    let light = fixture::scenes(LIGHT);
    for ((name, mut dark), (_, mut light)) in fixture::scenes(DARK).into_iter().zip(light) {
        let (dark, light) = (look::draw(&mut dark, 80, 24), look::draw(&mut light, 80, 24));
        assert_eq!(look::text(&dark), look::text(&light), "{name}");
        assert_ne!(dark, light, "{name} looks different");
    }
}

#[test]
fn which_server_this_is_stays_in_sight_under_every_dialog() {
    for (name, mut app) in fixture::scenes(DARK) {
        if app.view.page == Page::Home {
            continue;
        }
        for (width, height) in SIZES {
            let rows = look::rows(&look::draw(&mut app, width, height));
            assert!(rows[0].contains(CLUSTER), "{name}: {}", rows[0]);
            assert!(rows[0].contains("production"), "{name}");
            assert!(rows[1].contains("db1.example:/"), "{name}: {}", rows[1]);
            assert!(rows[1].contains("system 7312345678901234567"), "{name}");
            let role = ["PRIMARY", "STOPPED", "RECOVERING", "ROLE UNKNOWN"];
            assert!(role.iter().any(|role| rows[1].ends_with(role)), "{name}: {}", rows[1]);
            assert!(rows[2].contains("Report"), "{name}: no phase is cut off: {}", rows[2]);
            assert!(rows[3].contains("RTO 15 min"), "{name}: {}", rows[3]);
            assert!(rows[3].ends_with("RPO 5 min"), "{name}: {}", rows[3]);
        }
    }
}

#[test]
fn a_drill_is_marked_and_nothing_else_is() {
    let mut drill = Story::declared(DARK, true).app;
    let mut real = Story::declared(DARK, false).app;
    for (width, height) in [(80, 24), (160, 45), (60, 16)] {
        assert!(look::rows(&look::draw(&mut drill, width, height))[0].contains("DRILL"));
        assert!(!look::text(&look::draw(&mut real, width, height)).contains("DRILL"));
    }
}

#[test]
fn every_screen_says_what_to_do_now_or_that_there_is_nothing() {
    for (name, app) in fixture::scenes(DARK) {
        let guide = lifeboat::screens::guide::guide(&app.view);
        assert!(guide.text.ends_with(['.', '?', '…', ')']), "{name}: {:?}", guide.text);
        if let Some(id) = guide.command
            && app.view.layers.is_empty()
        {
            assert!(
                lifeboat::screens::available::available(id, &app.view),
                "{name}: {id:?} is offered and not possible"
            );
        }
    }
}

#[test]
fn the_gate_shows_what_stays_kept_and_what_is_lost() {
    let text = look::text(&look::draw(&mut scene("gate", DARK), 80, 24));
    for word in
        ["412 commits", "main.damaged.20261122-141502", "rescued-wal", "type the cluster's name"]
    {
        assert!(text.contains(word), "{word} in\n{text}");
    }
}

#[test]
fn small_windows_show_one_panel_and_say_so() {
    for (name, mut app) in fixture::scenes(DARK) {
        let buffer = look::draw(&mut app, 60, 16);
        let text = look::text(&buffer);
        if app.view.page.panels().len() > 1 && app.view.layers.is_empty() {
            assert!(text.contains("Small window: panel"), "{name}\n{text}");
        }
    }
    let mut app = scene("point", DARK);
    let text = look::text(&look::draw(&mut app, 15, 4));
    assert!(text.contains("larger"), "{text}");
}

#[test]
fn the_rto_clock_warns_by_sign_and_words() {
    let mut story = Story::chosen(DARK);
    let mut row = |time: &str| {
        story.tick(time);
        look::rows(&look::draw(&mut story.app, 80, 24))[3].clone()
    };
    assert!(row("14:12:12").contains("● RTO 15 min: 08:18 left"), "{}", row("14:12:12"));
    assert!(row("14:18:00").contains("! RTO 15 min: 02:30 left, at risk"));
    assert!(row("14:21:00").contains("✗ RTO 15 min: breached by 00:30"));
}

#[test]
fn the_four_verdicts_and_all_steps_differ_without_colour() {
    for theme in [MONO, PLAIN] {
        use Verdict::{CouldNotVerify, Failed, NotRun, Verified};
        let signs: Vec<_> =
            [Verified, Failed, NotRun, CouldNotVerify].map(|v| theme.verdict(v).1).to_vec();
        let mut distinct = signs.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 4, "{signs:?}");
        let words = [
            StepStatus::Pending,
            StepStatus::Running,
            StepStatus::Held,
            StepStatus::Done,
            StepStatus::Failed,
            StepStatus::Interrupted,
            StepStatus::Cancelled,
            StepStatus::Undone,
        ]
        .map(|s| theme.step(s).2);
        let mut distinct = words.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), words.len());
        assert_ne!(theme.tone(Tone::Good).1, theme.tone(Tone::Bad).1);
    }
}
