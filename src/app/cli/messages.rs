//! `messages`: what was told to whom, what still waits, and the text for people outside. What a
//! message is, is [`crate::engine::notify`]'s.

use super::args::Messages;
use super::output;
use crate::engine::config::Config;
use crate::engine::config::channels::Channel;
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::store::Store;
use crate::engine::notify::messenger::{self, Standing};
use crate::engine::notify::{channel, message, public};
use crate::engine::runbook::Runbook;
use jiff::Timestamp;
use std::process::ExitCode;

pub(super) fn messages(config: &Config, args: &Messages) -> Result<ExitCode, Explanation> {
    if let Some(name) = &args.test {
        return test(config, name);
    }
    let Some(id) = &args.incident else {
        return Err(refused("No incident is named.", "lifeboat incidents lists them."));
    };
    let runbook = Runbook::load(config.runbook.as_deref()).map_err(|e| e.explanation())?;
    let store = Store::new(&config.state_directory());
    let folder = store.folder(id).map_err(|e| e.explanation())?;
    if args.public {
        let incident = store.load(id).map_err(|e| e.explanation())?;
        output::line(&public::text(&incident, &runbook, Timestamp::now()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let stand = if args.deliver {
        messenger::deliver(&config.channels, &runbook, &folder)?
    } else {
        messenger::standing(&config.channels, &runbook, &folder)?
    };
    if args.json {
        output::json(&stand)?;
    } else if stand.is_empty() {
        output::line(
            "No channel is set up: messages go nowhere. See [[channels]] in lifeboat.toml.",
        )?;
    }
    for one in stand.iter().filter(|_| !args.json) {
        lines(one).iter().try_for_each(|line| output::line(line))?;
    }
    let all = stand.iter().all(|one| one.pending == 0 && one.progress.given_up.is_empty());
    Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(super::status::PROBLEM) })
}

fn lines(one: &Standing) -> Vec<String> {
    let progress = &one.progress;
    let mut lines = vec![format!(
        "{}: {} delivered, {} waiting, {} given up",
        one.channel,
        progress.delivered,
        one.pending,
        progress.given_up.len()
    )];
    if let Some(waiting) = &progress.waiting {
        lines.push(format!(
            "  {} waits after {} tries: {}; next try at {:.0} (UTC)",
            waiting.id, waiting.tries, waiting.why, waiting.next
        ));
    }
    for lost in &progress.given_up {
        lines.push(format!("  {} did not arrive: {} ({})", lost.id, lost.headline, lost.why));
    }
    lines
}

/// Sends one message that says that it is a test.
fn test(config: &Config, name: &str) -> Result<ExitCode, Explanation> {
    let known: Vec<&str> = config.channels.iter().map(|one| one.name.as_str()).collect();
    let found: Option<&Channel> = config.channels.iter().find(|one| one.name == name);
    let Some(found) = found else {
        return Err(refused(
            &format!("There is no channel \"{name}\"."),
            &format!("{} has: {}.", config.path.display(), known.join(", ")),
        ));
    };
    let user = crate::engine::runner::peer::runner().user;
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::current())
        .ok()
        .flatten()
        .map_or(user, |found| found.name);
    channel::deliver(found, &message::test(&user, Timestamp::now())).map_err(|error| {
        Explanation::new(
            Kind::Connection,
            format!("The test did not arrive at \"{name}\": {error}."),
            "Nothing was changed.",
            "Look at the channel's section in lifeboat.toml, and send it again.",
        )
    })?;
    output::line(&format!("\"{name}\" took the test message."))?;
    Ok(ExitCode::SUCCESS)
}

fn refused(what: &str, next: &str) -> Explanation {
    Explanation::new(Kind::Config, what, "Nothing was sent.", next)
}
