//! Leaving: the program, a drill, an incident's pages. Asks where something would end with the
//! window; never stops a recovery.

use super::super::model::{App, Effect};
use super::asking::confirm;
use crate::engine::incident::model::RunStatus;
use crate::screens::layers::{Intent, Layer};
use crate::screens::view::{Link, Page, Points};

/// Leaves at once where nothing runs; else says that it goes on and asks. A drill ends with its
/// window, and takes with it what it wrote: that is always asked.
pub fn quit(app: &mut App) -> Vec<Effect> {
    let runs = app.view.incident.as_ref().is_some_and(|i| {
        matches!(
            i.status,
            RunStatus::Running | RunStatus::Held | RunStatus::Paused | RunStatus::Undoing
        )
    });
    let asked =
        app.view.layers.iter().any(|l| matches!(l, Layer::Confirm(c) if c.intent == Intent::Quit));
    let drill = app.view.briefing.is_some();
    if asked || !(runs || drill) {
        return vec![Effect::Quit];
    }
    if drill {
        let mut body = vec![
            String::from("The drill ends as it stands, and is scored. What runs in it is stopped."),
            String::from(
                "Its sandbox goes (--keep DIR keeps it). Score, journal and reports stay only if \
                 the drill is recorded: begun with a configuration or with --record DIR.",
            ),
        ];
        if !runs {
            body.push(String::from(
                "Lines of the checklist may stay open: a drill is not judged by them.",
            ));
        }
        confirm(app, "End the drill?", body, "end it", "stay", Intent::Quit);
        return Vec::new();
    }
    let body = vec![
        String::from("The recovery goes on without this window: nothing is stopped by leaving."),
        String::from("Start Lifeboat again at any time to see the same step, clocks and log."),
    ];
    confirm(app, "Leave Lifeboat?", body, "leave; the recovery goes on", "stay", Intent::Quit);
    Vec::new()
}

/// Asks whether to end the drill: over whatever dialog is open, and without a runner.
pub fn abort_drill(app: &mut App) -> Vec<Effect> {
    let is_asked = |l: &Layer| matches!(l, Layer::Confirm(c) if c.intent == Intent::AbortDrill);
    if app.view.layers.last().is_some_and(is_asked) {
        return Vec::new();
    }
    let body = vec![
        String::from("The sandbox goes away with all that is in it: server, backups, incident."),
        String::from("An aborted drill is not scored. Leaving with q scores it as it stands."),
    ];
    confirm(app, "Abort the drill?", body, "abort it", "go on", Intent::AbortDrill);
    Vec::new()
}

pub fn go_home(app: &mut App) -> Vec<Effect> {
    app.open = None;
    app.attaching = false;
    app.incoming = None;
    app.generation += 1;
    let view = &mut app.view;
    view.page = Page::Home;
    view.panel = 0;
    view.incident = None;
    view.link = Link::Idle;
    view.progress = None;
    view.survey = None;
    view.points = Points::default();
    view.you = None;
    view.runner_pid = None;
    view.waiting.clear();
    vec![Effect::Detach, Effect::List]
}
