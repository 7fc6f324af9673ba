//! Signing with the person's own key, and evidence that is a file or what a command says. The
//! command that is run is shown before it runs, and what it said before that is signed. Sends nothing
//! itself.

use super::super::model::{App, Effect, Unsigned};
use super::asking::{choice, confirm, line};
use super::{explain, notice, plain, send};
use crate::engine::evidence;
use crate::engine::explain::Explanation;
use crate::engine::incident::facts::SignOff;
use crate::engine::runner::protocol::Command;
use crate::engine::signature;
use crate::screens::checklist;
use crate::screens::layers::{Emphasis, Intent, Layer, LinePurpose, Pick, Reader, Source};
use crate::screens::text;
use crate::screens::view::Purpose;

/// Rows of what was gathered that the question shows.
const SHOWN: usize = 10;

/// Signs a line off, or reopens it; with the person's key where there is one.
pub fn sign_off(app: &mut App, sign: SignOff, label: &'static str) -> Vec<Effect> {
    let lines = who(app).map(|(incident, _, user)| signature::sign_off(&incident, &sign, &user));
    with_key(app, Command::Sign(sign), signature::CHECKLIST, lines, label)
}

/// Approves the plan that was read; with the person's key where there is one.
pub fn approve(app: &mut App, plan_hash: String, cluster: String) -> Vec<Effect> {
    let lines = who(app)
        .map(|(incident, named, user)| signature::approval(&incident, &named, &plan_hash, &user));
    let command = Command::Approve { plan_hash, cluster, signed: None };
    with_key(app, command, signature::APPROVAL, lines, "approving")
}

/// The incident, its cluster, and who sits here.
fn who(app: &App) -> Option<(String, String, String)> {
    let declaration = &app.view.incident.as_ref()?.declaration;
    let user = app.view.you.as_ref()?.user.clone();
    Some((declaration.id.clone(), declaration.cluster.clone(), user))
}

fn with_key(
    app: &mut App,
    command: Command,
    namespace: &'static str,
    lines: Option<Vec<String>>,
    label: &'static str,
) -> Vec<Effect> {
    let user = app.view.you.as_ref().map(|you| you.user.clone());
    let (Some(lines), Some(user)) = (lines.filter(|_| app.signs), user) else {
        return plain(app, command, label);
    };
    let generation = app.generation;
    let sent = send(app, command, label, Purpose::Plain);
    let sign = |effect| match effect {
        Effect::Send { id, command } => {
            let (lines, user) = (lines.clone(), user.clone());
            Effect::Sign { id, generation, command, namespace, lines, user }
        }
        other => other,
    };
    sent.into_iter().map(sign).collect()
}

/// The signature is made, or there is none: the command goes, and the runner's policy says what
/// that means.
pub fn signed(
    app: &mut App,
    id: u64,
    generation: u64,
    command: Command,
    unsigned: Option<Unsigned>,
) -> Vec<Effect> {
    if generation != app.generation || !app.view.waiting.contains_key(&id) {
        notice(
            app,
            String::from("The link was lost before it was signed; nothing was sent."),
            true,
        );
        return Vec::new();
    }
    match unsigned {
        Some(Unsigned { failed: true, why }) => {
            let lines = vec![
                (Emphasis::Bad, String::from("It was sent without your signature.")),
                (Emphasis::Plain, String::new()),
                (Emphasis::Plain, why),
            ];
            app.view.layers.push(Layer::Reader(Reader::text("Not signed with your key", lines)));
        }
        Some(Unsigned { why, .. }) => notice(app, format!("Not signed with a key: {why}."), true),
        None => {}
    }
    vec![Effect::Send { id, command }]
}

/// Asks what the line's evidence is.
pub fn evidence(app: &mut App) {
    let Some(item) = checklist::selected(&app.view) else { return };
    let (id, text) = (item.id.clone(), item.text.clone());
    let options = vec![
        (
            Pick::EvidenceFile { item: id.clone() },
            String::from("A file"),
            String::from(
                "Its path, its size and its digest are signed; the file stays where it is.",
            ),
        ),
        (
            Pick::EvidenceCommand { item: id },
            String::from("What a command says"),
            String::from("It is run as you, on the machine of this window, once you have agreed."),
        ),
    ];
    choice(app, "What is the evidence?", format!("{text}."), options);
}

/// Asks for the file's path.
pub fn which_file(app: &mut App, item: String) {
    let prompt = "Which file shows it? On the machine of this window. It is read here to its end, and \
                  you see what is signed before it is.";
    let hint = "For example: /srv/incident/dashboard.png";
    line(app, LinePurpose::EvidenceFile { item }, "A file as evidence", prompt, hint);
}

/// Asks for the command.
pub fn which_command(app: &mut App, item: String) {
    let prompt = format!(
        "Which command shows it? sh runs it as you, on the machine of this window, for {} s at most \
         and {} KiB of output. It can ask you nothing.",
        evidence::LIMIT.as_secs(),
        evidence::MOST >> 10
    );
    let hint = "For example: curl -fsS https://shop.example/health";
    line(app, LinePurpose::EvidenceCommand { item }, "A command as evidence", prompt, hint);
}

/// Shows the command that was written before it is run.
pub fn ask_to_run(app: &mut App, item: String, command: String) {
    let body = vec![command.clone()];
    let intent = Intent::Gather { item, from: Source::Command(command) };
    confirm(app, "Run this command as you?", body, "run it", "leave it", intent);
}

/// Reads the file or runs the command, beside the screen.
pub fn gather(app: &mut App, item: String, from: Source) -> Vec<Effect> {
    notice(app, String::from("Gathering the evidence; the screen goes on."), false);
    vec![Effect::Gather { item, from }]
}

/// Shows what was gathered, and asks whether to sign with it.
pub fn gathered(app: &mut App, item: &str, gathered: Result<String, Explanation>) {
    let evidence = match gathered {
        Ok(evidence) => evidence,
        Err(error) => return explain(app, "No evidence", &error),
    };
    let rows: Vec<String> = evidence.lines().map(text::clean).collect();
    let more = rows.len().saturating_sub(SHOWN);
    let mut body = vec![rows.into_iter().take(SHOWN).collect::<Vec<_>>().join("\n")];
    if more > 0 {
        body.push(format!("and {more} more rows, which are signed too"));
    }
    let intent = Intent::SignEvidence { item: item.to_owned(), evidence };
    confirm(app, "Sign with this evidence?", body, "sign the line in my name", "leave it", intent);
}
