//! The drill that the schedule holds on a copy of a cluster's newest backup. Owns which scenario
//! comes next and the process that holds it; what a drill does, and that it only reads the
//! repository, is [`crate::engine::drill`]'s. Never begins one while an incident is under way.

use crate::engine::config::{Cluster, Config};
use crate::engine::drill::copy::{self, Rail};
use crate::engine::drill::{record, scenario};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::incident::store::{Listed, Store};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long a drill that is to end may take to clear itself away.
const CLEARING: Duration = Duration::from_secs(60);
/// How often it is looked whether the drill has ended.
const LOOK: Duration = Duration::from_millis(200);
/// Of what a drill says on standard error so much is kept.
const KEPT: usize = 4_096;

/// A drill that was held, as far as the choice of the next one goes by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Past<'a> {
    pub scenario: &'a str,
    pub passed: bool,
}

/// The scenario that comes next, of `wanted`: one that did not pass is held again until it does;
/// then one that was never held; then the one that was held longest ago. `past`: oldest first.
/// `None` where none is wanted.
#[must_use]
pub fn next<'a>(wanted: &'a [String], past: &[Past<'_>]) -> Option<&'a str> {
    let last = |name: &str| past.iter().rposition(|one| one.scenario == name);
    let failed = |name: &str| last(name).is_some_and(|at| past.get(at).is_some_and(|p| !p.passed));
    let mut names = wanted.iter().map(String::as_str);
    names.clone().find(|name| failed(name)).or_else(|| {
        // Where several were never held, the first of them: the least of equals.
        names.by_ref().min_by_key(|name| last(name).map_or(0, |at| at + 1))
    })
}

/// What the process says of a drill that was held.
#[derive(Debug, Deserialize)]
struct Said {
    outcome: String,
    reasons: Vec<String>,
    rto_seconds: Option<f64>,
    copy: Option<Copied>,
}

#[derive(Debug, Deserialize)]
struct Copied {
    set: String,
    #[serde(default)]
    rails: Vec<Rail>,
}

/// Holds the drill that comes next and says what came of it. Blocks for as long as it lasts.
///
/// # Errors
/// Where it was not held, or not VERIFIED, or `cancelled`.
pub fn hold(
    config: &Config,
    cluster: &Cluster,
    cancelled: &(dyn Fn() -> bool + Sync),
) -> Result<String, Explanation> {
    let state = config.state_directory();
    not_in_an_incident(&Store::new(&state))?;
    let wanted = wanted(config, cluster)?;
    let lines = record::history(&state).map_err(|error| error.explanation())?;
    let held = || record::drills(&lines).map(|(_, one)| one);
    let past: Vec<Past<'_>> = held()
        .filter(|one| one.cluster.as_ref() == Some(&cluster.name))
        .map(|one| Past { scenario: &one.scenario, passed: one.passed() })
        .collect();
    let Some(name) = next(&wanted, &past) else {
        return Err(refused(String::from("There is no scenario to hold a drill of.")));
    };
    // Other data and other traffic each time, and the same again by its record.
    let seed = held().count() + 1;
    let mut process = Process::start(config, cluster, name, seed)?;
    let ended = process.wait(cancelled)?;
    judge(name, cluster, &ended)
}

/// A recovery needs the machine, and the people's attention.
fn not_in_an_incident(store: &Store) -> Result<(), Explanation> {
    let listed = store.list().map_err(|error| error.explanation())?;
    let open = listed.into_iter().find_map(|one| match one {
        Listed::Whole(one) if one.closed.is_none() && one.drill.is_none() => Some(one.id),
        _ => None,
    });
    match open {
        None => Ok(()),
        Some(id) => Err(Explanation::new(
            Kind::Busy,
            format!("{id} is under way on this machine: no drill is held beside it."),
            "No drill was begun.",
            "Close the incident; the drill is held at its time on the next day.",
        )),
    }
}

/// The scenarios that are held in turn: those named, else all that can be used.
fn wanted(config: &Config, cluster: &Cluster) -> Result<Vec<String>, Explanation> {
    let there: Vec<String> = scenario::list(config.sandbox.scenarios.as_deref())
        .into_iter()
        .filter(|one| one.problems.is_empty())
        .map(|one| one.name)
        .collect();
    let named = &cluster.schedule.drill_scenarios;
    match named.iter().find(|name| !there.contains(name)) {
        Some(name) => Err(refused(format!(
            "There is no scenario \"{name}\", which schedule.drill_scenarios of \"{}\" names.",
            cluster.name
        ))),
        None if named.is_empty() => Ok(there),
        None => Ok(named.clone()),
    }
}

fn refused(what: String) -> Explanation {
    Explanation::new(
        Kind::Config,
        what,
        "No drill was begun.",
        "See what there is with lifeboat drill list, and correct lifeboat.toml.",
    )
}

/// A process that holds a drill. It is another one since a drill on a copy puts walls around
/// itself, and this one has to go on seeing everything.
struct Process {
    child: Child,
    output: JoinHandle<Vec<u8>>,
    words: JoinHandle<Vec<u8>>,
}

/// How it ended.
struct Ended {
    output: Vec<u8>,
    words: String,
}

impl Process {
    fn start(
        config: &Config,
        cluster: &Cluster,
        scenario: &str,
        seed: usize,
    ) -> Result<Self, Explanation> {
        let failed = |error: std::io::Error| {
            Explanation::new(
                Kind::Internal,
                format!("The drill {scenario} could not be started: {error}."),
                "No drill was begun.",
                "Look at the limits on processes of this user.",
            )
        };
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.arg("--config").arg(&config.path).args(["drill", scenario, "--auto", "--json"]);
        command.args(["--from-backup", &cluster.name, "--seed", &seed.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(failed)?;
        let output = gather(child.stdout.take(), usize::MAX);
        let words = gather(child.stderr.take(), KEPT);
        Ok(Self { child, output, words })
    }

    /// Until it ends by itself, or is to end.
    fn wait(&mut self, cancelled: &dyn Fn() -> bool) -> Result<Ended, Explanation> {
        let mut until = None;
        loop {
            let lost = |error: std::io::Error| {
                Explanation::new(
                    Kind::Internal,
                    format!("The process of the drill cannot be waited for: {error}."),
                    "Its sandbox is cleared away by the next drill.",
                    "See what is left with lifeboat drill abort.",
                )
            };
            if self.child.try_wait().map_err(lost)?.is_some() {
                break;
            }
            match until {
                None if cancelled() => {
                    if let Ok(pid) = i32::try_from(self.child.id()) {
                        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
                    }
                    until = Some(Instant::now() + CLEARING);
                }
                Some(until) if Instant::now() > until => {
                    self.child.kill().map_err(lost)?;
                }
                _ => std::thread::sleep(LOOK),
            }
        }
        if until.is_some() {
            return Err(Explanation::new(
                Kind::Cancelled,
                "The drill was stopped.",
                "The repository was only read.",
                "It is held again at its time on the next day.",
            ));
        }
        let taken = |one: &mut JoinHandle<Vec<u8>>| {
            std::mem::replace(one, std::thread::spawn(Vec::new)).join().unwrap_or_default()
        };
        let words = String::from_utf8_lossy(&taken(&mut self.words)).into_owned();
        Ok(Ended { output: taken(&mut self.output), words })
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Whatever is left of it: it must not go on with nobody to hear it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, so that the process never waits for us; keeps the last `most` bytes.
fn gather(source: Option<impl Read + Send + 'static>, most: usize) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        let Some(mut source) = source else { return kept };
        let mut block = [0_u8; 4_096];
        while let Ok(count) = source.read(&mut block) {
            let Some(read) = block.get(..count).filter(|read| !read.is_empty()) else { break };
            kept.extend_from_slice(read);
            let over = kept.len().saturating_sub(most);
            kept.drain(..over);
        }
        kept
    })
}

fn judge(name: &str, cluster: &Cluster, ended: &Ended) -> Result<String, Explanation> {
    let Ok(said) = serde_json::from_slice::<Said>(&ended.output) else {
        let words: Vec<&str> =
            ended.words.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = words.iter().rposition(|line| line.starts_with("lifeboat: ")).unwrap_or(0);
        let why = words.get(last..).unwrap_or_default().join(" ");
        let why = why.strip_prefix("lifeboat: ").unwrap_or(&why);
        return Err(Explanation::new(
            Kind::Integrity,
            format!(
                "The drill {name} on a copy of \"{}\" was not held: {}",
                cluster.name,
                if why.is_empty() { "it said nothing." } else { why }
            ),
            "The repository was only read.",
            "Hold it by hand: lifeboat drill NAME --from-backup CLUSTER --auto.",
        ));
    };
    let open = said.copy.as_ref().map_or_else(Vec::new, |copy| copy::open(&copy.rails));
    // The record and the certificate tell it too; this is what the person on duty reads.
    let open = match open.as_slice() {
        [] => String::new(),
        open => format!(" NOT ENFORCED on this machine: {}.", open.join("; ")),
    };
    let set = said.copy.map_or_else(|| String::from("a copy"), |copy| copy.set);
    if said.outcome == "VERIFIED" {
        let back = said
            .rto_seconds
            .map_or_else(String::new, |seconds| format!(", back after {seconds:.1} s"));
        let stop = if open.is_empty() { "" } else { "." };
        return Ok(format!("{name} on {set}: VERIFIED{back}{stop}{open}"));
    }
    Err(Explanation::new(
        Kind::Integrity,
        format!("{name} on {set}: {}. {}{open}", said.outcome, said.reasons.join(" ")),
        "The repository was only read; the server was not asked.",
        "See lifeboat drill history and the evidence that it names; it is held again tomorrow.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn past(all: &[(&'static str, bool)]) -> Vec<Past<'static>> {
        all.iter().map(|(scenario, passed)| Past { scenario, passed: *passed }).collect()
    }

    #[test]
    fn scenarios_come_in_turn_and_one_that_failed_comes_again() {
        let wanted = names(&["a", "b", "c"]);
        assert_eq!(next(&wanted, &[]), Some("a"));
        assert_eq!(next(&wanted, &past(&[("a", true)])), Some("b"));
        assert_eq!(next(&wanted, &past(&[("b", true), ("c", true), ("a", true)])), Some("b"));
        assert_eq!(next(&wanted, &past(&[("a", true), ("b", false)])), Some("b"));
        assert_eq!(next(&wanted, &past(&[("b", false), ("b", true), ("x", true)])), Some("a"));
        assert_eq!(next(&[], &past(&[("a", false)])), None);
    }

    fn cluster() -> Cluster {
        let text = "name = \"shop\"\ntier = \"high\"\nenvironment = \"production\"\n\
                    data_directory = \"/nowhere\"\nrepositories = []\n\
                    [connection]\nhost = \"/nowhere\"\n[control]\ndriver = \"pg_ctl\"\n";
        toml::from_str(text).unwrap()
    }

    fn judged(output: &str, words: &str) -> Result<String, Explanation> {
        let ended = Ended { output: output.as_bytes().to_vec(), words: words.to_owned() };
        judge("table-loss", &cluster(), &ended)
    }

    #[test]
    fn only_a_verified_drill_has_passed() {
        let good = r#"{"outcome":"VERIFIED","reasons":[],"rto_seconds":41.04,
                       "copy":{"set":"20260113-020000"}}"#;
        assert_eq!(
            judged(good, "").unwrap(),
            "table-loss on 20260113-020000: VERIFIED, back after 41.0 s"
        );
        let bad = r#"{"outcome":"COULD NOT VERIFY","reasons":["No rows."],"rto_seconds":null,
                      "copy":null}"#;
        let told = judged(bad, "").unwrap_err();
        assert_eq!(told.kind, Kind::Integrity);
        assert_eq!(told.what, "table-loss on a copy: COULD NOT VERIFY. No rows.");
    }

    /// A drill that passed says all the same what this machine does not hold up.
    #[test]
    fn rails_that_are_open_are_told_whatever_came_of_it() {
        let said = |outcome: &str, reasons: &str| {
            format!(
                r#"{{"outcome":"{outcome}","reasons":[{reasons}],"rto_seconds":2.0,"copy":{{
                    "set":"20260113-020000","rails":[
                    {{"rail":"no network but the loopback","enforced":false,"detail":"no namespaces"}},
                    {{"rail":"the settings are its own","enforced":true,"detail":"whole"}},
                    {{"rail":"\"far\" is only read","enforced":false,"detail":"it may write"}}]}}}}"#
            )
        };
        let open = "NOT ENFORCED on this machine: no network but the loopback: no namespaces; \
                    \"far\" is only read: it may write.";
        let passed = judged(&said("VERIFIED", ""), "").unwrap();
        assert_eq!(
            passed,
            format!("table-loss on 20260113-020000: VERIFIED, back after 2.0 s. {open}")
        );
        let failed = judged(&said("FAILED", "\"No rows.\""), "").unwrap_err().what;
        assert_eq!(failed, format!("table-loss on 20260113-020000: FAILED. No rows. {open}"));
    }

    #[test]
    fn one_that_was_not_held_says_why_in_its_own_words() {
        let words = "[  0.1] Looking\nlifeboat: No room.\n  Nothing was copied.\n  Make room.\n";
        let told = judged("", words).unwrap_err();
        let end = "was not held: No room. Nothing was copied. Make room.";
        assert!(told.what.ends_with(end), "{}", told.what);
        assert!(judged("", "").unwrap_err().what.ends_with("it said nothing."));
    }

    #[test]
    fn what_is_said_too_much_of_is_kept_from_its_end() {
        let kept = gather(Some(std::io::Cursor::new(vec![b'a'; 9_000])), 10).join().unwrap();
        assert_eq!(kept, [b'a'; 10]);
    }
}
