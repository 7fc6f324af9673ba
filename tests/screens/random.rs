//! Random keys, messages and sizes: nothing panics, and nothing destructive is sent but through
//! the gate or a question that was answered with yes.

use super::fixture::{Story, at, is_destructive, progress, survey};
use super::look;
use lifeboat::app::model::{Effect, Event};
use lifeboat::engine::explain::{Explanation, Kind};
use lifeboat::engine::incident::event::Decision;
use lifeboat::engine::runner::protocol::{Answer, Command, Message};
use lifeboat::screens::commands::{Key, TABLE};
use lifeboat::screens::layers::{Intent, Layer};
use lifeboat::screens::theme::Theme;
use proptest::prelude::*;

#[derive(Debug, Clone)]
enum Act {
    Key(Key),
    Text(String),
    Paste(String),
    Size(u16, u16),
    Answer(bool),
    Survey,
    Progress(bool),
    Lose,
    Fail,
    Tick(u32),
}

fn act() -> impl Strategy<Value = Act> {
    let keys: Vec<Key> = TABLE.iter().map(|c| c.key).collect();
    prop_oneof![
        12 => proptest::sample::select(keys).prop_map(Act::Key),
        2 => Just(Act::Key(Key::Enter)),
        1 => Just(Act::Key(Key::Esc)),
        2 => proptest::sample::select(vec!["orders-prod", "14:05", "1/2A", "é漢", "x"]).prop_map(|t| Act::Text(t.to_owned())),
        1 => "\\PC{0,30}".prop_map(Act::Paste),
        1 => (0u16..200, 0u16..60).prop_map(|(w, h)| Act::Size(w, h)),
        3 => any::<bool>().prop_map(Act::Answer),
        1 => Just(Act::Survey),
        1 => any::<bool>().prop_map(Act::Progress),
        1 => Just(Act::Lose),
        1 => Just(Act::Fail),
        1 => (0u32..1000).prop_map(Act::Tick),
    ]
}

fn begin(which: u8) -> Story {
    let theme = Theme::default();
    match which % 10 {
        0 => Story::home(theme),
        1 => Story::declared(theme, true),
        2 => Story::pointing(theme, true),
        3 => Story::planned(theme),
        4 => Story::running(theme, "replay"),
        5 => Story::held(theme),
        6 => Story::failed(theme),
        7 => Story::interrupted(theme),
        8 => Story::compared(theme),
        _ => Story::ending(theme),
    }
}

/// Whether what lies on top may lead to that command by the key that is pressed.
fn allowed(command: &Command, before: &[Layer], key: Option<Key>, gate_answered: bool) -> bool {
    let top = before.last();
    let confirmed = |intent: &dyn Fn(&Intent) -> bool| {
        key == Some(Key::Char('y')) && matches!(top, Some(Layer::Confirm(c)) if intent(&c.intent))
    };
    match command {
        Command::PassGate { cluster, plan_hash } => {
            key == Some(Key::Enter)
                && matches!(top, Some(Layer::Gate(g)) if g.point.is_none() && g.input.value() == cluster && g.cluster == *cluster && g.plan_hash == *plan_hash)
        }
        Command::Start { .. } => gate_answered || confirmed(&|i| matches!(i, Intent::Start { .. })),
        Command::MoveTarget { target, cluster } => {
            key == Some(Key::Enter)
                && matches!(top, Some(Layer::Gate(g)) if g.point.as_ref() == Some(target) && g.input.value() == cluster && g.cluster == *cluster)
        }
        Command::Decide { decision } => {
            confirmed(&|i| *i == Intent::Decide(*decision))
                || (*decision == Decision::Abandon && confirmed(&|i| *i == Intent::Earlier))
        }
        Command::Undo => confirmed(&|i| *i == Intent::Undo),
        Command::Cancel => confirmed(&|i| *i == Intent::Cancel),
        _ => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, ..ProptestConfig::default() })]
    #[test]
    fn nothing_panics_and_nothing_is_destroyed_unasked(which: u8, acts in proptest::collection::vec(act(), 1..60)) {
        let mut story = begin(which);
        let mut clock = at("14:30:00");
        for act in acts {
            let events: Vec<Event> = match act {
                Act::Key(key) => vec![Event::Key(key)],
                Act::Text(text) => text.chars().map(|c| Event::Key(Key::Char(c))).collect(),
                Act::Paste(text) => vec![Event::Paste(text)],
                Act::Size(w, h) => vec![Event::Resize(w, h)],
                Act::Tick(seconds) => {
                    clock += jiff::SignedDuration::from_secs(i64::from(seconds));
                    vec![Event::Tick(clock)]
                }
                other => {
                    let gated = |s: &Story| s.app.view.waiting.values().any(|w| matches!(w.purpose, lifeboat::screens::view::Purpose::Gate { .. }));
                    let had_gate = gated(&story);
                    let effects = match other {
                        Act::Answer(good) => {
                            let Some(id) = story.app.view.waiting.keys().next().copied() else { continue };
                            let result = if good {
                                Ok(Answer::Done)
                            } else {
                                Err(Explanation::new(Kind::Refused, "no", "nothing", "later"))
                            };
                            story.message(Message::Reply { id, result })
                        }
                        Act::Survey => story.message(Message::Survey(survey())),
                        Act::Progress(some) => story.message(Message::Progress(some.then(|| progress("replay")))),
                        Act::Lose => story.lose(),
                        _ => {
                            let generation = story.app.generation;
                            let explanation = Explanation::new(Kind::Connection, "no runner", "", "");
                            story.event(Event::AttachFailed { generation, explanation })
                        }
                    };
                    for effect in effects {
                        if let Effect::Send { command, .. } = effect {
                            prop_assert!(!is_destructive(&command) || (had_gate && matches!(command, Command::Start { .. })), "{command:?} without a key");
                        }
                    }
                    vec![]
                }
            };
            for event in events {
                let before = story.app.view.layers.clone();
                let key = match &event { Event::Key(key) => Some(*key), _ => None };
                for effect in story.event(event) {
                    if let Effect::Send { command, .. } = effect {
                        prop_assert!(allowed(&command, &before, key, false), "{command:?} over {:?}", before.last());
                    }
                }
            }
            let (w, h) = story.app.view.size;
            let _ = look::draw(&mut story.app, w, h);
        }
    }
}
