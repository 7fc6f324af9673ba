//! What the keys of a layer do: moving, leaving, and what an answer becomes.

use super::super::model::{App, Effect};
use super::target::{self as at_point, take_point};
use super::{care, notice, parts, people, plain, point, send, signing};
use crate::engine::incident::facts::Prerequisite;
use crate::engine::incident::facts::{SignOff, Target, TargetPoint};
use crate::engine::parts::roles::Missing;
use crate::engine::postgres::Lsn;
use crate::engine::runner::protocol::{Command, FullRestore};
use crate::screens::commands::Id;
use crate::screens::dialogs;
use crate::screens::layers::{
    Gate, Intent, Layer, LineInput, LinePurpose, MomentPurpose, Pick, ReaderKind, Source,
    TargetKind,
};
use crate::screens::moment::Reading;
use crate::screens::recovery_point;
use crate::screens::view::{Candidate, Page, Purpose};

/// A bound key of the topmost layer.
pub fn on_layer(app: &mut App, id: Id) -> Vec<Effect> {
    match id {
        Id::LayerClose | Id::No => {
            app.view.layers.pop();
            Vec::new()
        }
        Id::Yes => yes(app),
        Id::Accept => accept(app),
        _ => {
            scroll(app, id);
            Vec::new()
        }
    }
}

fn scroll(app: &mut App, id: Id) {
    let length = match app.view.layers.last() {
        Some(Layer::Reader(reader)) => dialogs::reader_length(&app.view, reader),
        Some(Layer::Choice(choice)) => choice.options.len(),
        Some(Layer::Commits(commits)) => commits.list.as_ref().map_or(0, Vec::len),
        Some(Layer::Moment(moment)) => match &moment.reading {
            Reading::Meant(list) => list.len(),
            _ => 0,
        },
        Some(Layer::Gate(gate)) => dialogs::gate_end(&app.view, gate) + 1,
        _ => 0,
    };
    let last = length.saturating_sub(1);
    let moved = |at: usize, id: Id| match id {
        Id::LayerUp => at.saturating_sub(1),
        Id::LayerDown => (at + 1).min(last),
        Id::LayerPageUp => at.saturating_sub(10),
        Id::LayerPageDown => (at + 10).min(last),
        Id::LayerFirst => 0,
        _ => last,
    };
    match app.view.layers.last_mut() {
        Some(Layer::Reader(reader)) => {
            // These two count from their end, which is what one wants to see first.
            let from_end = matches!(reader.kind, ReaderKind::Timeline | ReaderKind::Log);
            let id = match id {
                Id::LayerUp if from_end => Id::LayerDown,
                Id::LayerDown if from_end => Id::LayerUp,
                Id::LayerPageUp if from_end => Id::LayerPageDown,
                Id::LayerPageDown if from_end => Id::LayerPageUp,
                Id::LayerFirst if from_end => Id::LayerLast,
                Id::LayerLast if from_end => Id::LayerFirst,
                id => id,
            };
            reader.scroll = moved(reader.scroll.min(last), id);
        }
        Some(Layer::Choice(choice)) => choice.selected = moved(choice.selected, id),
        Some(Layer::Commits(commits)) => commits.selected = moved(commits.selected, id),
        Some(Layer::Moment(moment)) => moment.selected = moved(moment.selected, id),
        Some(Layer::Gate(gate)) => {
            gate.scroll = moved(gate.scroll.min(last), id);
            gate.seen = gate.seen.max(gate.scroll);
        }
        _ => {}
    }
}

fn yes(app: &mut App) -> Vec<Effect> {
    let Some(Layer::Confirm(confirm)) = app.view.layers.pop() else { return Vec::new() };
    match confirm.intent {
        Intent::Quit => vec![Effect::Quit],
        Intent::Cancel => plain(app, Command::Cancel, "cancelling"),
        Intent::Undo => plain(app, Command::Undo, "putting back"),
        Intent::Start { plan_hash } => {
            let current = app.view.incident.as_ref().and_then(|i| i.gate.as_ref());
            if current.is_some_and(|(hash, _)| *hash == plan_hash) {
                return plain(app, Command::Start { plan_hash }, "starting");
            }
            notice(app, String::from("The plan has changed; nothing was started."), true);
            Vec::new()
        }
        Intent::Decide(decision) => plain(app, Command::Decide { decision }, "deciding"),
        Intent::TakeBack(prerequisite) => {
            let note = String::from("taken back");
            let command = Command::AnswerPrerequisite { prerequisite, met: false, note };
            plain(app, command, "taking back")
        }
        Intent::Cure(cure) => {
            plain(app, Command::Cure { cure, cluster: None }, crate::screens::available::CURING)
        }
        Intent::Gather { item, from } => signing::gather(app, item, from),
        Intent::SignEvidence { item, evidence } => {
            signing::sign_off(app, SignOff { item, done: true, evidence }, "signing")
        }
        Intent::Earlier => at_point::give_up(app),
        Intent::FullRestore => at_point::put_back_for_full(app),
        Intent::AbortDrill => vec![Effect::AbortDrill],
        // A game master's own window asks for it; see `app::master`.
        Intent::Give(_) => Vec::new(),
        Intent::Care { item, agreed } => {
            let item = item.to_owned();
            plain(app, Command::RunCare { item, agreed }, "carrying it out")
        }
        Intent::Salvage => parts::plan_salvage(app),
        Intent::ChooseParts { target, database, tables } => {
            let command = Command::ChooseParts { target, database, tables };
            plain(app, command, "choosing the point")
        }
        Intent::ChooseTarget(target) => {
            plain(app, Command::ChooseTarget { target }, "choosing the point")
        }
    }
}

fn accept(app: &mut App) -> Vec<Effect> {
    match app.view.layers.pop() {
        Some(Layer::Line(line)) => accept_line(app, line),
        Some(Layer::Gate(gate)) => accept_gate(app, gate),
        Some(Layer::Moment(moment)) => {
            let meant = match &moment.reading {
                Reading::Meant(list) => {
                    list.get(moment.selected.min(list.len().saturating_sub(1))).map(|(at, _)| *at)
                }
                _ => None,
            };
            let Some(at) = meant else {
                // Not a time yet: the dialog says why and stays.
                app.view.layers.push(Layer::Moment(moment));
                return Vec::new();
            };
            match moment.purpose {
                MomentPurpose::State(moment) => {
                    plain(app, Command::StateMoment { moment, at }, "writing it down")
                }
                MomentPurpose::Commits => point::list_commits(app, at),
                MomentPurpose::Target => {
                    // By the server's word, a time itself is kept when it is inclusive.
                    let target =
                        Target { point: TargetPoint::Time(at), inclusive: false, timeline: None };
                    take_point(app, target, "a time of your own");
                    Vec::new()
                }
            }
        }
        Some(Layer::Choice(choice)) => {
            match choice.options.into_iter().nth(choice.selected).map(|(pick, ..)| pick) {
                Some(pick) => picked(app, pick),
                None => Vec::new(),
            }
        }
        Some(Layer::Commits(commits)) => {
            let commit = commits.list.and_then(|l| l.into_iter().nth(commits.selected));
            if let Some(commit) = commit {
                let point = TargetPoint::Lsn(commit.first_lsn);
                let target = Target { point, inclusive: false, timeline: None };
                let why = format!("just before transaction {} of your choice", commit.xid);
                take_point(app, target.clone(), &why);
                // Switched to "with", it is with this transaction's commit.
                let own = app.view.points.own.first_mut().filter(|own| own.target == target);
                if let Some(own) = own {
                    own.transaction = Some(commit);
                }
            }
            Vec::new()
        }
        other => {
            app.view.layers.extend(other);
            Vec::new()
        }
    }
}

fn picked(app: &mut App, pick: Pick) -> Vec<Effect> {
    match pick {
        Pick::Severity(severity) => {
            plain(app, Command::SetSeverity { severity }, "writing it down")
        }
        Pick::Kind(kind) => {
            ask_for(app, kind);
            Vec::new()
        }
        Pick::Timeline(timeline) => {
            if let Some(candidate) = app.view.candidate() {
                let target = Target { timeline, ..candidate.target };
                take_point(app, target, "on the timeline that you chose");
            }
            Vec::new()
        }
        Pick::Point(target) => {
            take_point(app, target, "of your choice");
            Vec::new()
        }
        Pick::OwnPoint => {
            point::target_kind(app);
            Vec::new()
        }
        Pick::Full { set, to_end } => {
            let destination = app.view.points.full_into.clone();
            at_point::choose_full(app, FullRestore { set, to_end, destination, port: None })
        }
        Pick::FullInto => {
            at_point::ask_full_into(app, None, "");
            Vec::new()
        }
        Pick::Part(part) => parts::look(app, part),
        Pick::Carry(carry) => {
            parts::picked(app, &carry, Missing::Ask);
            Vec::new()
        }
        Pick::CarryWith(carry, missing) => {
            parts::picked(app, &carry, missing);
            Vec::new()
        }
        Pick::NextCommits => at_point::next_commits(app),
        Pick::GiveUp => {
            at_point::ask_to_give_up(app);
            Vec::new()
        }
        Pick::Hand(task) => {
            people::to_whom(app, task);
            Vec::new()
        }
        Pick::TakeOffer(task) => {
            let command = Command::AnswerHandover { task, accept: true, reason: String::new() };
            plain(app, command, "taking it")
        }
        Pick::LeaveOffer(task) => {
            people::leave(app, task);
            Vec::new()
        }
        Pick::Cure(cure) => {
            super::cures::open(app, &cure);
            Vec::new()
        }
        Pick::EvidenceFile { item } => {
            signing::which_file(app, item);
            Vec::new()
        }
        Pick::EvidenceCommand { item } => {
            signing::which_command(app, item);
            Vec::new()
        }
        Pick::Care { item, agreed } => {
            care::confirm(app, item, agreed);
            Vec::new()
        }
    }
}

fn ask_for(app: &mut App, kind: TargetKind) {
    let to = if app.view.page == Page::Restore { "To" } else { "Back to" };
    let ask = |title: &str, prompt: &str, hint: &str, purpose| {
        Layer::Line(LineInput {
            title: title.to_owned(),
            prompt: prompt.to_owned(),
            hint: hint.to_owned(),
            input: tui_input::Input::default(),
            purpose,
            error: None,
        })
    };
    let layer = match kind {
        TargetKind::Time => Layer::Moment(crate::screens::layers::MomentInput {
            title: format!("{to} which time?"),
            prompt: String::from(
                "What was committed before it is kept; i switches to \"up to and including\".",
            ),
            input: tui_input::Input::default(),
            purpose: MomentPurpose::Target,
            reading: Reading::Empty,
            selected: 0,
        }),
        TargetKind::Lsn => ask(
            &format!("{to} which position?"),
            "Two hexadecimal numbers with a slash. The database is recovered to just before it.",
            "For example: 16/B374D848",
            LinePurpose::Lsn,
        ),
        TargetKind::Xid => ask(
            "Before which transaction?",
            "Its number (xid). The database is recovered to just before its commit.",
            "For example: 74211",
            LinePurpose::Xid,
        ),
        TargetKind::Name => ask(
            "Which restore point?",
            "The name that was given to pg_create_restore_point().",
            "For example: before_release_4_2",
            LinePurpose::Name,
        ),
        TargetKind::EndOfArchive => {
            let target =
                Target { point: TargetPoint::EndOfArchive, inclusive: true, timeline: None };
            take_point(app, target, "everything that there is");
            return;
        }
    };
    app.view.layers.push(layer);
}

/// Puts a point of the operator's own on top of the list and under the pointer.
pub fn own_point(app: &mut App, target: Target, why: &str) {
    let title = recovery_point::name(&target, None);
    let why = why.to_owned();
    remember(app, Candidate { target, title, why, suspect: None, transaction: None });
    app.view.panel = 0;
}

/// Puts a point on top of the list.
pub fn remember(app: &mut App, candidate: Candidate) {
    let points = &mut app.view.points;
    points.own.retain(|c| c.target != candidate.target);
    points.own.insert(0, candidate);
    points.own.truncate(8);
    app.view.cursors.insert((Page::RecoveryPoint, 0), 0);
}

fn accept_gate(app: &mut App, mut gate: Gate) -> Vec<Effect> {
    let current = app.view.incident.as_ref().and_then(|i| i.plan.as_ref()).map(|p| p.hash.as_str());
    if current != Some(gate.plan_hash.as_str()) {
        notice(
            app,
            String::from("The plan has changed; read it again. Nothing was started."),
            true,
        );
        return Vec::new();
    }
    if gate.input.value() != gate.cluster {
        gate.error = Some(if gate.input.value().is_empty() {
            String::from("Type the name to begin; Esc goes back.")
        } else {
            format!("That is not the name. Type exactly: {}", gate.cluster)
        });
        app.view.layers.push(Layer::Gate(gate));
        return Vec::new();
    }
    // Nobody begins what they were not shown: Enter leads through it first.
    let end = dialogs::gate_end(&app.view, &gate);
    if gate.seen < end {
        app.view.layers.push(Layer::Gate(gate));
        scroll(app, Id::LayerPageDown);
        if let Some(Layer::Gate(gate)) = app.view.layers.last_mut() {
            let rest = if gate.seen < end { "Read on: Enter" } else { "This is the end: Enter" };
            gate.error = Some(format!("There was more to read below. {rest} once more."));
        }
        return Vec::new();
    }
    if gate.approve {
        return people::approved(app, gate);
    }
    if let Some(choice) = gate.parts.clone() {
        return parts::carry(app, choice, gate.cluster);
    }
    if let Some(target) = gate.point.clone() {
        return at_point::move_on(app, gate, target);
    }
    let command = Command::PassGate { plan_hash: gate.plan_hash.clone(), cluster: gate.cluster };
    send(app, command, "passing the gate", Purpose::Gate { plan_hash: gate.plan_hash })
}

fn accept_line(app: &mut App, mut line: LineInput) -> Vec<Effect> {
    let text = line.input.value().trim().to_owned();
    let target = |point, inclusive| Target { point, inclusive, timeline: None };
    let wrong = if text.is_empty() {
        Some(String::from("Write something, or leave with Esc."))
    } else {
        match line.purpose {
            LinePurpose::Lsn => text.parse::<Lsn>().err().map(|e| e.to_string()),
            LinePurpose::CurePlace { .. } | LinePurpose::FullInto(_) | LinePurpose::Into(_)
                if !std::path::Path::new(&text).is_absolute() =>
            {
                Some(String::from("Type the whole path, from / on."))
            }
            LinePurpose::Xid if text.parse::<u32>().is_err() => {
                Some(String::from("A transaction's number has digits alone."))
            }
            _ => None,
        }
    };
    if wrong.is_some() {
        line.error = wrong;
        app.view.layers.push(Layer::Line(line));
        return Vec::new();
    }
    match line.purpose {
        LinePurpose::Declare { cluster } => vec![Effect::Declare { cluster, title: text }],
        LinePurpose::Note(topic) => plain(app, Command::AddNote { topic, text }, "writing it down"),
        LinePurpose::Answer(prerequisite) => {
            // The tool answers this one; the runner refuses a person's word for it too.
            if prerequisite == Prerequisite::BackupIntegrity {
                return Vec::new();
            }
            let command = Command::AnswerPrerequisite { prerequisite, met: true, note: text };
            plain(app, command, "writing it down")
        }
        LinePurpose::Sign { item } => {
            let sign = SignOff { item, done: true, evidence: text };
            signing::sign_off(app, sign, "signing")
        }
        LinePurpose::Reopen { item } => {
            let sign = SignOff { item, done: false, evidence: text };
            signing::sign_off(app, sign, "reopening")
        }
        LinePurpose::EvidenceFile { item } => signing::gather(app, item, Source::File(text)),
        LinePurpose::EvidenceCommand { item } => {
            signing::ask_to_run(app, item, text);
            Vec::new()
        }
        LinePurpose::Waive { item } => plain(app, Command::Waive { item, reason: text }, "waiving"),
        LinePurpose::Assign { item } => {
            plain(app, Command::Assign { item, owner: text }, "writing it down")
        }
        purpose @ (LinePurpose::DeclineApproval | LinePurpose::WaiveApproval) => {
            people::written(app, &purpose, text)
        }
        LinePurpose::HandOver { task } => {
            let command = Command::HandOver { to: text, task, note: String::new() };
            plain(app, command, "handing over")
        }
        LinePurpose::DeclineHandover { task } => {
            let command = Command::AnswerHandover { task, accept: false, reason: text };
            plain(app, command, "saying no")
        }
        LinePurpose::TakeCommand => {
            plain(app, Command::TakeCommand { reason: text }, "taking the command")
        }
        LinePurpose::StatusText => plain(app, Command::WriteStatusText { text }, "writing it down"),
        LinePurpose::Close => plain(app, Command::Close { summary: text }, "closing"),
        // Of a game master's own window; see `app::master`.
        LinePurpose::Observe | LinePurpose::Say => Vec::new(),
        LinePurpose::Cure { cure } => {
            let command = Command::Cure { cure, cluster: Some(text) };
            plain(app, command, crate::screens::available::CURING)
        }
        LinePurpose::CurePlace { cure } => {
            super::cures::name_again(app, cure, text);
            Vec::new()
        }
        LinePurpose::CureIn { cure, place } => {
            let command = Command::CureInPlace { cure, place, cluster: text };
            plain(app, command, crate::screens::available::CURING)
        }
        LinePurpose::Into(target) => point::choose_into(app, target, text),
        LinePurpose::FullInto(asked) => at_point::full_into(app, asked, text),
        LinePurpose::Lsn => {
            if let Ok(lsn) = text.parse::<Lsn>() {
                take_point(app, target(TargetPoint::Lsn(lsn), false), "a position of your own");
            }
            Vec::new()
        }
        LinePurpose::Xid => {
            if let Ok(xid) = text.parse::<u32>() {
                take_point(app, target(TargetPoint::Xid(xid), false), "a transaction of your own");
            }
            Vec::new()
        }
        LinePurpose::Name => {
            take_point(app, target(TargetPoint::Name(text), true), "a restore point by name");
            Vec::new()
        }
    }
}
