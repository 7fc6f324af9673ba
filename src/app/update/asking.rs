//! The layers that commands lay over a screen: something to read, a line to write, a time, a choice,
//! a question. Owns how each begins, empty and unanswered; what an answer becomes is the answers'.

use super::super::model::App;
use crate::screens::layers::{
    Choice, Confirm, Intent, Layer, LineInput, LinePurpose, MomentInput, MomentPurpose, Pick,
    Reader, ReaderKind,
};
use crate::screens::moment::Reading;
use tui_input::Input;

pub fn reader(app: &mut App, title: &str, kind: ReaderKind) {
    let title = title.to_owned();
    app.view.layers.push(Layer::Reader(Reader { title, kind, scroll: 0 }));
}

pub fn line(
    app: &mut App,
    purpose: LinePurpose,
    title: impl Into<String>,
    prompt: impl Into<String>,
    hint: impl Into<String>,
) {
    app.view.layers.push(Layer::Line(LineInput {
        title: title.into(),
        prompt: prompt.into(),
        hint: hint.into(),
        input: Input::default(),
        purpose,
        error: None,
    }));
}

pub fn moment(app: &mut App, purpose: MomentPurpose, title: &str, prompt: &str) {
    app.view.layers.push(Layer::Moment(MomentInput {
        title: title.to_owned(),
        prompt: prompt.to_owned(),
        input: Input::default(),
        purpose,
        reading: Reading::Empty,
        selected: 0,
    }));
}

pub fn confirm(app: &mut App, title: &str, body: Vec<String>, yes: &str, no: &str, intent: Intent) {
    app.view.layers.push(Layer::Confirm(Confirm {
        title: title.to_owned(),
        body,
        yes: yes.to_owned(),
        no: no.to_owned(),
        intent,
    }));
}

pub fn choice(app: &mut App, title: &str, prompt: String, options: Vec<(Pick, String, String)>) {
    let title = title.to_owned();
    app.view.layers.push(Layer::Choice(Choice { title, prompt, options, selected: 0 }));
}
