//! Whether a recovery in place can be carried out by whoever runs it: who may stop, move, fill,
//! configure and start, and whether the server's configuration is where the driver takes it. Looked
//! at when the plan is made, before a byte is touched. Looks only.

mod sudo;

use crate::engine::config::{Cluster, Control};
use crate::engine::explain::{Explain, Explanation, Kind};
use crate::engine::postgres::child;
use crate::engine::postgres::closed::ClosedServer;
use crate::engine::postgres::control::{self, Call, Purpose, StartOptions};
use crate::engine::postgres::discovery::{self, Owner};
use crate::engine::postgres::{control_file, layout, recovery_settings};
use crate::engine::runner::plan::Places;
use rustix::fs::{Access, access};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long a question to sudo or polkit may take.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// Steps that only the data directory's owner and root can do.
const OF_THE_OWNER: [&str; 8] = [
    "rescue-wal",
    "stop-server",
    "move-aside",
    "restore-base",
    "configure-recovery",
    "start-recovery",
    "promote",
    "open",
];

/// What is known of the rights of one step; steps that are not named have them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Right {
    pub step: &'static str,
    pub finding: Finding,
}

/// Why a step's rights are no matter of course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// It would fail.
    Lacking(String),
    /// It could not be found out beforehand.
    CouldNotVerify(String),
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ground {
    /// `postgresql.conf` where it is not in the data directory, and stays where it is.
    pub config_file: Option<PathBuf>,
    /// The steps whose rights could not be verified, with the reason.
    pub unverified: Vec<(&'static str, String)>,
}

/// Looks at everything.
///
/// # Errors
/// Where a step would lack rights, or the configuration is not where the driver takes it: with
/// every such step named.
pub fn check(cluster: &Cluster) -> Result<Ground, Explanation> {
    let data = &cluster.data_directory;
    require_owner(cluster)?;
    // What a lost directory was is known from the backups alone; who fills its place and starts it
    // is known now.
    if !data.join("PG_VERSION").exists() {
        let us = Owner::current();
        let rights = rights_of_lost(cluster, &us);
        require(cluster, &rights, &owner_of_lost(data).unwrap_or(us))?;
        let config_file = layout::config_file(cluster);
        return Ok(Ground { config_file, unverified: unverified(rights) });
    }
    let owner = discovery::owner(data).map_err(|e| e.explanation())?;
    let rights = rights(cluster, &Owner::current(), &owner);
    require(cluster, &rights, &owner)?;
    let config_file = configuration(cluster, &owner)?;
    let driver = control::driver(cluster).map_err(|e| e.explanation())?;
    driver.check().map_err(|e| e.explanation())?;
    let closed = closed_options(data, &owner)?;
    if let Some(outweighed) = control::outweighed(driver.as_ref(), &closed) {
        return Err(outweighed.explanation());
    }
    Ok(Ground { config_file, unverified: unverified(rights) })
}

fn unverified(rights: Vec<Right>) -> Vec<(&'static str, String)> {
    let each = rights.into_iter().filter_map(|right| match right.finding {
        Finding::CouldNotVerify(why) => Some((right.step, why)),
        Finding::Lacking(_) => None,
    });
    each.collect()
}

/// Whose the folder around a lost directory is, or the next one above that is there: most likely
/// the server's user.
fn owner_of_lost(data: &Path) -> Option<Owner> {
    data.ancestors().skip(1).find(|folder| folder.exists()).and_then(|f| discovery::owner(f).ok())
}

/// The rights that are no matter of course for `us` where the data directory is lost: its place has
/// to be filled, and its driver has to be asked.
fn rights_of_lost(cluster: &Cluster, us: &Owner) -> Vec<Right> {
    let mut all = Vec::new();
    let data = &cluster.data_directory;
    if us.uid != 0
        && let Some(there) = data.ancestors().skip(1).find(|folder| folder.exists())
        && access(there, Access::WRITE_OK | Access::EXEC_OK).is_err()
    {
        let why = format!("{us} cannot write to {}", there.display());
        all.extend(["move-aside", "restore-base"].map(|step| lacking(step, &why)));
    }
    match control::calls(cluster) {
        Ok(calls) => all.extend(of_calls(&calls, us)),
        Err(error) => {
            let why = format!("what its control driver will run cannot be told: {error}");
            let steps = steps_of(Purpose::Look)
                .iter()
                .map(|step| Right { step, finding: Finding::CouldNotVerify(why.clone()) });
            all.extend(steps);
        }
    }
    all
}

/// Refuses whoever is neither root nor the owner of the data directory. Such a user cannot even look
/// into it: it would seem to be lost.
///
/// # Errors
/// Names every step.
pub fn require_owner(cluster: &Cluster) -> Result<(), Explanation> {
    let data = &cluster.data_directory;
    match (discovery::owner(data), data.symlink_metadata()) {
        (Ok(owner), _) => require(cluster, &of_the_owner(&Owner::current(), &owner), &owner),
        // Gone, and not out of reach.
        (Err(_), Err(gone)) if gone.kind() == std::io::ErrorKind::NotFound => Ok(()),
        (Err(error), _) => Err(error.explanation()),
    }
}

/// Refuses where places beside the data directory are filled that `us` cannot write to.
///
/// # Errors
/// Names every step.
pub fn require_places(cluster: &Cluster, places: &Places) -> Result<(), Explanation> {
    let us = Owner::current();
    let found = of_places(&us, places);
    if found.is_empty() {
        return Ok(());
    }
    let owner = discovery::owner(&cluster.data_directory).map_err(|e| e.explanation())?;
    require(cluster, &found, &owner)
}

fn require(cluster: &Cluster, rights: &[Right], owner: &Owner) -> Result<(), Explanation> {
    let lacking: Vec<String> = rights
        .iter()
        .filter_map(|right| match &right.finding {
            Finding::Lacking(why) => Some(format!("{} ({why})", right.step)),
            Finding::CouldNotVerify(_) => None,
        })
        .collect();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(refused(
        format!("{} lacks rights for: {}.", Owner::current(), lacking.join(", ")),
        advice(cluster, owner),
    ))
}

fn lacking(step: &'static str, why: &str) -> Right {
    Right { step, finding: Finding::Lacking(why.to_owned()) }
}

/// What only root and the data directory's owner may do.
fn of_the_owner(us: &Owner, owner: &Owner) -> Vec<Right> {
    if us.uid == 0 || us.uid == owner.uid {
        return Vec::new();
    }
    let why = format!("only {owner} and root may");
    OF_THE_OWNER.iter().map(|step| lacking(step, &why)).collect()
}

/// What is made beside a directory that is recovered into, and in the folders of tablespaces and
/// of the WAL.
fn of_places(us: &Owner, places: &Places) -> Vec<Right> {
    if us.uid == 0 {
        return Vec::new();
    }
    let beside = |path: &Path| path.parent().map(Path::to_owned);
    let alternative = places.alternative.as_deref().and_then(beside);
    let wal = places.wal.as_deref().and_then(beside);
    let kept = places.kept.iter().filter_map(|space| beside(&space.folder));
    let spaces = places.spaces.iter().map(|space| space.place.clone());
    let each = alternative
        .map(|folder| (["move-aside", "configure-recovery"], folder))
        .into_iter()
        .chain(wal.into_iter().chain(spaces).map(|folder| (["restore-base"; 2], folder)))
        .chain(kept.map(|folder| (["move-aside"; 2], folder)));
    let mut all = Vec::new();
    for (steps, folder) in each {
        // One that is not there is made, in a folder that is.
        let there = folder.ancestors().find(|path| path.exists()).unwrap_or(&folder);
        if access(there, Access::WRITE_OK | Access::EXEC_OK).is_err() {
            let why = format!("{us} cannot write to {}", there.display());
            all.extend(steps.map(|step| lacking(step, &why)));
        }
    }
    all.dedup();
    all
}

/// The rights that are no matter of course for `us`.
#[must_use]
pub fn rights(cluster: &Cluster, us: &Owner, owner: &Owner) -> Vec<Right> {
    let mut all = of_the_owner(us, owner);
    if !all.is_empty() {
        return all;
    }
    if us.uid != 0
        && let Some(beside) = cluster.data_directory.parent()
        && access(beside, Access::WRITE_OK | Access::EXEC_OK).is_err()
    {
        let why = format!("{us} cannot write to {}", beside.display());
        all.extend(["rescue-wal", "move-aside", "restore-base"].map(|step| lacking(step, &why)));
    }
    all.extend(of_calls(&calls(cluster), us));
    all
}

/// Steps that run a driver's program.
fn steps_of(purpose: Purpose) -> &'static [&'static str] {
    match purpose {
        Purpose::Look => &["stop-server", "start-recovery", "open"],
        Purpose::Stop => &["stop-server", "open"],
        Purpose::Start => &["start-recovery", "open"],
        Purpose::Promote => &["promote"],
    }
}

/// Of the programs that a driver runs.
fn of_calls(calls: &[Call], us: &Owner) -> Vec<Right> {
    let mut all: Vec<Right> = Vec::new();
    for call in calls {
        let Some(finding) = may_run(call, us) else { continue };
        for step in steps_of(call.purpose) {
            let right = Right { step, finding: finding.clone() };
            match all.iter_mut().find(|known| known.step == *step) {
                None => all.push(right),
                // One reason of a step is enough, and that it would fail outweighs a doubt.
                Some(known) if matches!(known.finding, Finding::CouldNotVerify(_)) => {
                    *known = right
                }
                Some(_) => {}
            }
        }
    }
    all
}

/// None where there is no driver: making it again says why not.
fn calls(cluster: &Cluster) -> Vec<Call> {
    control::calls(cluster).unwrap_or_default()
}

/// Why it is no matter of course that `us` may run it.
fn may_run(call: &Call, us: &Owner) -> Option<Finding> {
    let (program, rest) = call.words.split_first()?;
    let is = |name: &str| Path::new(program).ends_with(name);
    if is("sudo") && us.uid != 0 {
        return sudo::may_run(program, rest, us);
    }
    if is("systemctl") && us.uid != 0 {
        return polkit(call, us);
    }
    if is("sh") && rest.iter().any(|line| line.contains("sudo")) {
        let what = "what a shell's line asks of sudo cannot be told beforehand";
        return Some(Finding::CouldNotVerify(what.to_owned()));
    }
    let lacks = program.starts_with('/') && access(program.as_str(), Access::EXEC_OK).is_err();
    lacks.then(|| Finding::Lacking(format!("{us} cannot run {program}")))
}

/// What polkit lets `us` have systemd do with a unit.
fn polkit(call: &Call, us: &Owner) -> Option<Finding> {
    let [.., verb, unit] = call.words.as_slice() else { return None };
    if call.purpose == Purpose::Look {
        return None;
    }
    let mut command = Command::new("pkcheck");
    command.args(["--action-id", "org.freedesktop.systemd1.manage-units"]);
    command.args(["--detail", "unit", unit, "--detail", "verb", verb]);
    command.args(["--process", &std::process::id().to_string()]);
    match answers(command) {
        Some(true) => None,
        Some(false) => Some(Finding::Lacking(format!("polkit does not let {us} {verb} {unit}"))),
        None => Some(Finding::CouldNotVerify(format!(
            "whether {us} may have systemd {verb} {unit} cannot be asked"
        ))),
    }
}

/// Whether a question was answered with yes; nothing where it could not be asked.
fn answers(mut command: Command) -> Option<bool> {
    command.stdin(Stdio::null());
    child::run(command, ASK_LIMIT).ok().map(|finished| finished.ok())
}

/// What a question was answered with.
fn told(mut command: Command) -> Option<String> {
    command.stdin(Stdio::null());
    let finished = child::run(command, ASK_LIMIT).ok().filter(child::Finished::ok)?;
    Some(finished.stdout)
}

fn advice(cluster: &Cluster, owner: &Owner) -> String {
    let mut command = Command::new("sudo");
    command.args(["-n", "-u", &owner.to_string(), "true"]);
    if !owner.is_current() && answers(command) == Some(true) {
        return format!("You may become {owner} without a password: sudo -u {owner} lifeboat");
    }
    if let Some(rule) = sudo::rule(owner, &calls(cluster)) {
        return format!(
            "Run Lifeboat as root, or as {owner} with a rule of sudo's (visudo -f \
             /etc/sudoers.d/lifeboat): {rule}"
        );
    }
    match &cluster.control {
        Control::Systemd { .. } => format!(
            "Run Lifeboat as root, or as {owner} with systemctl = [\"sudo\", \"-n\", \
             \"systemctl\"] in the control section and a rule of sudo's that permits it."
        ),
        _ => format!("Run Lifeboat as root or as {owner}: sudo -u {owner} lifeboat"),
    }
}

/// Where the configuration is that a recovery leaves as it is; nothing where it comes with the
/// restored directory.
fn configuration(cluster: &Cluster, owner: &Owner) -> Result<Option<PathBuf>, Explanation> {
    let data = &cluster.data_directory;
    let Some(config_file) = layout::config_file(cluster) else {
        if data.join(layout::CONFIG_FILE).exists() {
            return Ok(None);
        }
        let debian = layout::DebianCluster::of(data);
        let next = match debian {
            Some(one) => format!(
                "It is Debian's cluster {}/{}: control = {{ driver = \"pg_ctlcluster\", version = \
                 {}, cluster = \"{}\" }}",
                one.version, one.name, one.version, one.name
            ),
            None => String::from(
                "If the file was lost, put one there and make the plan again. Where it is \
                 elsewhere, name it: config_file in the cluster's control section.",
            ),
        };
        return Err(refused(
            format!(
                "{} has no postgresql.conf, and the control section of lifeboat.toml names none.",
                data.display()
            ),
            next,
        ));
    };
    // As the server's user with the server's program: what fails here would fail after the move.
    let binaries = discovery::binaries(cluster.control.bin_directory(), Some(data))
        .map_err(|e| e.explanation())?;
    recovery_settings::configured(data, owner, &binaries, Some(&config_file), "data_directory")
        .map_err(|error| {
            refused(
                format!("The configuration {} cannot be used: {error}", config_file.display()),
                String::from("Mend it, or correct the cluster's control section."),
            )
        })?;
    Ok(Some(config_file))
}

fn closed_options(data: &Path, owner: &Owner) -> Result<StartOptions, Explanation> {
    let major = control_file::major_version(data).map_err(|e| e.explanation())?;
    // Only its settings are looked at.
    Ok(ClosedServer::of(data, owner, major).start_recovery(Path::new("/dev/null")))
}

fn refused(what: String, next: String) -> Explanation {
    Explanation::new(Kind::Refused, what, "No plan was made and nothing was touched.", next)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::config::load;

    fn cluster(data: &Path, control: Control) -> Cluster {
        let example = load::parse(&load::example(), Path::new("example.toml")).unwrap();
        let cluster = example.clusters.into_iter().next().unwrap();
        Cluster { data_directory: data.to_owned(), control, ..cluster }
    }

    fn user(uid: u32) -> Owner {
        Owner { uid, gid: uid, name: None }
    }

    #[test]
    fn root_and_the_owner_may_and_others_are_told_each_step() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = cluster(&folder.path().join("data"), Control::pg_ctl());
        assert_eq!(rights(&cluster, &user(0), &user(70)), []);
        assert_eq!(rights(&cluster, &user(70), &user(70)), []);
        let steps: Vec<&str> =
            rights(&cluster, &user(71), &user(70)).iter().map(|right| right.step).collect();
        assert_eq!(steps, OF_THE_OWNER);
    }

    fn call(purpose: Purpose, words: &[&str]) -> Call {
        Call { purpose, words: words.iter().map(|word| (*word).to_owned()).collect() }
    }

    #[test]
    fn a_program_that_cannot_be_run_is_lacking_for_everybody() {
        let calls = [call(Purpose::Stop, &["/nowhere/stop"]), call(Purpose::Start, &["/bin/sh"])];
        for us in [user(0), user(70)] {
            let found = of_calls(&calls, &us);
            let steps: Vec<&str> = found.iter().map(|right| right.step).collect();
            assert_eq!(steps, ["stop-server", "open"]);
            let why = |right: &Right| matches!(&right.finding, Finding::Lacking(why) if why.contains("/nowhere"));
            assert!(found.iter().all(why), "{found:?}");
        }
        let shell = [call(Purpose::Start, &["/bin/sh", "-c", "sudo -n /opt/start"])];
        let found = of_calls(&shell, &user(70));
        assert!(found.iter().all(|right| matches!(right.finding, Finding::CouldNotVerify(_))));
        assert_eq!(found.len(), 2);
    }

    fn own(stop: &[&str], promote: &[&str]) -> Control {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        let commands = crate::engine::config::Commands {
            start: words(&["/bin/true"]),
            stop: words(stop),
            promote: Some(words(promote)),
            ..crate::engine::config::Commands::default()
        };
        Control::Command(Box::new(commands))
    }

    #[test]
    fn a_lost_directory_is_no_reason_to_ask_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let steps = |control: Control| -> Vec<(&str, bool)> {
            let lost = cluster(&folder.path().join("gone/data"), control);
            let found = rights_of_lost(&lost, &user(70));
            let each = found.iter().map(|r| (r.step, matches!(r.finding, Finding::Lacking(_))));
            each.collect()
        };
        let found = steps(own(&["/nowhere/stop"], &["/bin/true"]));
        assert_eq!(found, [("stop-server", true), ("open", true)]);
        let found = steps(own(&["/bin/true"], &["/nowhere/promote"]));
        assert_eq!(found, [("promote", true)], "a promotion is a call too");
        // A driver of which nothing can be told is a doubt, and no pass.
        let debian = Control::PgCtlcluster {
            version: 15,
            cluster: String::from("none-of-that-name"),
            bin_directory: None,
        };
        let found = steps(debian);
        assert_eq!(found, [("stop-server", false), ("start-recovery", false), ("open", false)]);
        if nix::unistd::geteuid().is_root() {
            return;
        }
        let closed = folder.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o500))
            .unwrap();
        let lost = cluster(&closed.join("data"), own(&["/bin/true"], &["/bin/true"]));
        let found = rights_of_lost(&lost, &Owner::current());
        let steps: Vec<&str> = found.iter().map(|right| right.step).collect();
        assert_eq!(steps, ["move-aside", "restore-base"]);
    }

    #[test]
    fn what_sudo_and_systemd_permit_is_asked_and_never_assumed() {
        // As none is there, none of them answers.
        for words in [
            &["/nowhere/sudo", "-n", "systemctl", "stop", "x"][..],
            &["/nowhere/systemctl", "stop", "x"],
        ] {
            let found = of_calls(&[call(Purpose::Stop, words)], &user(70));
            assert_eq!(found.len(), 2, "{words:?}: {found:?}");
        }
        assert_eq!(of_calls(&[call(Purpose::Stop, &["systemctl", "stop", "x"])], &user(0)), []);
    }

    #[test]
    fn what_is_made_beside_a_place_needs_the_folder_around_it() {
        let root = tempfile::tempdir().unwrap();
        let closed = root.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        let places = |name: &str| Places {
            alternative: Some(closed.join(name)),
            wal: Some(root.path().join("wal/main")),
            ..Places::default()
        };
        assert_eq!(of_places(&user(0), &places("new")), []);
        assert_eq!(of_places(&Owner::current(), &places("new")), []);
        if nix::unistd::geteuid().is_root() {
            // Nothing is closed to root.
            return;
        }
        std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o500))
            .unwrap();
        let found = of_places(&Owner::current(), &places("new"));
        let steps: Vec<&str> = found.iter().map(|right| right.step).collect();
        assert_eq!(steps, ["move-aside", "configure-recovery"]);
    }
}
