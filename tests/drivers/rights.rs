//! Who may recover, looked at by real users: each runs the program's own look. Root can do all of
//! it; the server's user has what sudo permits it; any other user is told every step beforehand.

use crate::servers::not_run;
use crate::stage::{Case, Driver, NAME, Stage, Who};
use lifeboat::engine::explain::{Explanation, Kind};
use lifeboat::engine::postgres::discovery::{self, Owner};
use lifeboat::engine::restore::rights::{self, Finding};
use lifeboat::engine::runner::protocol::Command;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

#[test]
fn every_user_is_told_beforehand_what_is_lacking() {
    let stage = Stage::new(Case::of(Driver::PgCtl));
    // Whoever runs this test and the server's user may do all of it.
    assert!(rights::check(&stage.cluster).unwrap().unverified.is_empty());
    assert_eq!(rights::rights(&stage.cluster, &stage.owner, &stage.owner), []);
    let other = Owner { uid: 4_000_000, gid: 4_000_000, name: None };
    let found = rights::rights(&stage.cluster, &other, &stage.owner);
    let lacking = |step: &str| {
        found.iter().any(|one| one.step == step && matches!(one.finding, Finding::Lacking(_)))
    };
    assert!(["stop-server", "move-aside", "open"].into_iter().all(lacking), "{found:?}");
}

/// A file of sudo's rules, gone when dropped.
struct Rules(PathBuf);

impl Rules {
    fn write(text: &str) -> Self {
        let name = format!("lifeboat-test-{}", std::process::id());
        let rules = Self(Path::new("/etc/sudoers.d").join(name));
        // Never half of it under a name that sudo reads: one with a dot is passed over.
        let draft = rules.0.with_extension("draft");
        fs::write(&draft, format!("{text}\n")).unwrap();
        fs::set_permissions(&draft, PermissionsExt::from_mode(0o440)).unwrap();
        let checked = std::process::Command::new("visudo").arg("-cqf").arg(&draft).status();
        let good = checked.is_ok_and(|status| status.success());
        if good {
            fs::rename(&draft, &rules.0).unwrap();
        } else {
            fs::remove_file(&draft).unwrap();
        }
        assert!(good, "sudo does not read: {text}");
        rules
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The server's user runs Lifeboat, and the unit is root's: what sudo permits is asked word for word,
/// and the rule that the refusal names is the one that helps.
#[test]
#[ignore = "make test-drivers"]
fn the_servers_user_recovers_a_unit_through_sudo() {
    let there = ["sudo", "visudo"].iter().all(|name| {
        let places = ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(Path::new);
        places.iter().any(|folder| folder.join(name).exists())
    });
    if !there || !nix::unistd::geteuid().is_root() {
        not_run("it needs root, who writes a rule of sudo's, and sudo");
        return;
    }
    let case = Case { who: Who::Server, sudo: true, ..Case::of(Driver::Systemd) };
    let stage = Stage::new(case);
    stage.lose_a_table();
    let (client, _) = stage.before_plan();
    let refused = || -> Explanation { stage.answer(&client, Command::MakePlan).unwrap_err() };

    let told = refused();
    assert_eq!(told.kind, Kind::Refused, "{told}");
    for step in ["stop-server", "start-recovery", "open"] {
        assert!(told.what.contains(&format!("{step} (sudo does not let")), "{told}");
    }
    assert!(!told.what.contains("move-aside"), "{told}");
    let rule = told.next.split_once("lifeboat): ").expect("the rule is named").1.to_owned();
    assert!(client.incident().unwrap().plan.is_none());

    // The same commands behind a password are no right.
    let (user, commands) = rule.split_once(" NOPASSWD: ").unwrap();
    let looks = commands.split(", ").find(|command| command.contains(" show ")).unwrap();
    {
        let _rules = Rules::write(&format!("{user} {commands}"));
        let told = refused();
        assert!(told.what.contains("stop-server (sudo does not let"), "{told}");
    }
    {
        // sudo says yes to who asks what it would permit, and would then ask for the password.
        let both = format!("{user} {commands}\n{user} NOPASSWD: {looks}");
        let _rules = Rules::write(&both);
        stage.ask(&client, Command::MakePlan);
        let plan = client.incident().unwrap().plan.clone().unwrap();
        let touched = plan.step("stop-server").unwrap().touches.join("\n");
        assert!(touched.contains("rights: COULD NOT VERIFY"), "{touched}");
    }

    let _rules = Rules::write(&rule);
    stage.ask(&client, Command::MakePlan);
    let plan = client.incident().unwrap().plan.clone().unwrap();
    let unverified = plan.steps.iter().flat_map(|step| &step.touches);
    let unverified: Vec<&String> = unverified.filter(|line| line.starts_with("rights:")).collect();
    assert!(unverified.is_empty(), "{unverified:?}");
    stage.pass_gate(&client);
    stage.recover(&client);
    // Root's unit has it again, and nothing of the recovery belongs to root.
    let main = fs::read_to_string(stage.unit().join("main")).unwrap();
    let running = discovery::running(&stage.data).unwrap();
    assert_eq!(main.trim().parse().ok(), running.postmaster().map(|postmaster| postmaster.pid));
    for kept in [Path::new(&plan.aside), &stage.data, &stage.data.join("postgresql.auto.conf")] {
        assert_eq!(fs::metadata(kept).unwrap().uid(), stage.owner.uid, "{}", kept.display());
    }
}

/// Somebody who is neither root nor the server's user, and who may read the repository.
#[test]
#[ignore = "make test-drivers"]
fn a_plain_user_restores_for_itself_and_is_told_what_it_may_not() {
    let nobody = Owner::named("nobody");
    let (true, Ok(nobody)) = (nix::unistd::geteuid().is_root(), nobody) else {
        not_run("it needs root, who becomes another user");
        return;
    };
    let case = Case { who: Who::Other(nobody.clone()), ..Case::of(Driver::PgCtl) };
    let stage = Stage::new(Case { encrypted: false, ..case });
    stage.lose_a_table();
    let readable = std::process::Command::new("chmod")
        .args(["-R", "a+rX"])
        .arg(stage.root.path().join("repository"))
        .status();
    assert!(readable.unwrap().success());

    // The data directory cannot be looked into: that is not taken for a loss.
    let (client, _) = stage.before_plan();
    let told = stage.answer(&client, Command::MakePlan).unwrap_err();
    assert_eq!(told.kind, Kind::Refused, "{told}");
    assert!(told.what.contains("nobody lacks rights for: "), "{told}");
    for step in ["rescue-wal", "stop-server", "move-aside", "restore-base", "promote", "open"] {
        assert!(told.what.contains(&format!("{step} (only ")), "{step}: {told}");
    }
    assert!(client.incident().unwrap().plan.is_none());
    assert_eq!(stage.rows(), None, "the server serves on");

    // A restore into a folder of its own is nobody else's business.
    let own = stage.root.path().join("of-nobody");
    fs::create_dir(&own).unwrap();
    lifeboat::engine::postgres::child::give(&own, &nobody).unwrap();
    let into = own.join("restored");
    let into_text = into.display().to_string();
    let restore = ["restore", "--cluster", NAME, "--target-directory", &into_text];
    let done = stage.try_as_operator(&restore);
    assert!(done.ok(), "{}", done.said());
    let file = fs::metadata(into.join("global/pg_control")).unwrap();
    assert_eq!(file.uid(), nobody.uid);
    assert_eq!(stage.rows(), None);
}
