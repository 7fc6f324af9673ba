//! Every family on values: the server's own words as they were seen, and what they are taken for.

use super::*;
use crate::engine::explain::Kind;
use crate::engine::incident::trouble::NAMED_PLACE;
use crate::engine::postgres::Lsn;
use crate::engine::restore::other_place::Room;
use std::path::{Path, PathBuf};

#[derive(Default)]
struct Told {
    place: Whereabouts,
    away: Vec<(String, String)>,
    strangers: Vec<Stranger>,
    /// Folders on other disks.
    volumes: Vec<&'static str>,
    stale: Option<String>,
    preloaded: Vec<String>,
    may_give: bool,
    end: Option<Lsn>,
    ground: Option<Ground>,
    ends_with_base: bool,
    failed_before: Vec<String>,
    no_other: bool,
    denied: Vec<(String, String)>,
    nothing_could_go: bool,
    other_place: Option<Result<OtherPlace, Explanation>>,
}

impl World for Told {
    fn ground(&self) -> Ground {
        self.ground.unwrap_or(Ground::InPlace)
    }
    fn ends_with_base(&self) -> bool {
        self.ends_with_base
    }
    fn data(&self) -> PathBuf {
        PathBuf::from("/srv/pg/main")
    }
    fn free(&self, _: &Path) -> Option<u64> {
        Some(4096)
    }
    fn is_elsewhere(&self, place: &Path) -> bool {
        self.volumes.iter().any(|volume| place.starts_with(volume))
    }
    fn could_go(&self) -> Vec<(PathBuf, u64)> {
        match self.nothing_could_go {
            true => Vec::new(),
            false => vec![(PathBuf::from("/srv/pg/main.abandoned.1"), 1 << 30)],
        }
    }
    fn other_place(&self) -> Option<Result<OtherPlace, Explanation>> {
        self.other_place.clone()
    }
    fn strangers(&self) -> Vec<Stranger> {
        self.strangers.clone()
    }
    fn may_give(&self) -> bool {
        self.may_give
    }
    fn owner(&self) -> String {
        String::from("postgres")
    }
    fn whereabouts(&self, _: &str) -> Whereabouts {
        self.place.clone()
    }
    fn segment_after(&self, name: Option<&str>) -> Option<String> {
        let size = 16 << 20;
        let segment = crate::engine::wal::Segment::parse(name?, size)?;
        Some(segment.next().name(size))
    }
    fn starts(&self, segment: &str) -> Option<Lsn> {
        Some(crate::engine::wal::Segment::parse(segment, 16 << 20)?.start(16 << 20))
    }
    fn expected_end(&self) -> Option<Lsn> {
        self.end
    }
    fn base(&self) -> String {
        String::from("set-20250113-020000")
    }
    fn failed_bases(&self) -> Vec<String> {
        self.failed_before.iter().cloned().chain([self.base()]).collect()
    }
    fn other_bases(&self) -> Option<Vec<String>> {
        Some(if self.no_other { Vec::new() } else { vec![String::from("set-other")] })
    }
    fn pid_file_is_stale(&self) -> Result<String, String> {
        self.stale.clone().ok_or_else(|| String::from("process 77 is that server, and lives"))
    }
    fn preloaded(&self) -> Vec<String> {
        self.preloaded.clone()
    }
    fn port(&self) -> u16 {
        5432
    }
    fn free_port(&self) -> Option<u16> {
        Some(5433)
    }
    fn repositories_asked(&self) -> Vec<String> {
        ["near", "far"].map(String::from).to_vec()
    }
    fn keys_denied(&self) -> Vec<(String, String)> {
        self.denied.clone()
    }
    fn repositories_away(&self) -> Vec<(String, String)> {
        self.away.clone()
    }
}

fn failure(kind: Kind, what: &str) -> Explanation {
    Explanation::new(kind, what, "", "")
}

/// What a server that ended in the step with this log is taken for.
fn of_log(step: &str, log: &str, world: &Told) -> Option<Trouble> {
    let lines: Vec<String> = log.lines().map(str::to_owned).collect();
    let failure = failure(Kind::Server, "The server ended during recovery.");
    recognise(&Scene::new(step, &failure, lines), world)
}

fn ids(found: &Trouble) -> Vec<&str> {
    found.cures.iter().map(|cure| cure.id.as_str()).collect()
}

const AT: &str = "2025-01-13 10:00:00.000 UTC [7]";

/// The server's last words, and what they are taken for.
const SAID: [(&str, &str); 13] = [
    (
        "FATAL:  lock file \"postmaster.pid\" already exists\nHINT:  Is another postmaster (PID 7) running in data directory \"/srv/pg/main\"?",
        "lock-in-use",
    ),
    ("FATAL:  lock file \"/tmp/x/.s.PGSQL.5432.lock\" already exists", "lock-in-use"),
    (
        "LOG:  could not bind IPv4 address \"127.0.0.1\": Address already in use\nFATAL:  could not create any TCP/IP sockets",
        "port-taken",
    ),
    ("FATAL:  could not access file \"absent\": No such file or directory", "missing-library"),
    (
        "FATAL:  database files are incompatible with server\nDETAIL:  The data directory was initialized by PostgreSQL version 14, which is not compatible with this version 15.18.",
        "wrong-version",
    ),
    (
        "WARNING:  hot standby is not possible because of insufficient parameter settings\nDETAIL:  max_connections = 50 is a lower setting than on the primary server, where its value was 100.\nFATAL:  recovery aborted because of insufficient parameter settings\nDETAIL:  max_connections = 50 is a lower setting than on the primary server, where its value was 100.",
        "low-setting",
    ),
    (
        "FATAL:  requested recovery stop point is before consistent recovery point",
        "before-consistency",
    ),
    ("FATAL:  requested timeline 3 is not a child of this server's history", "wrong-timeline"),
    ("FATAL:  recovery target timeline 9 does not exist", "wrong-timeline"),
    ("PANIC:  could not write to file \"pg_wal/xlogtemp.7\": No space left on device", "no-space"),
    (
        "FATAL:  data directory \"/srv/pg/main\" has invalid permissions\nDETAIL:  Permissions should be u=rwx (0700) or u=rwx,g=rx (0750).",
        "wrong-rights",
    ),
    ("FATAL:  could not open file \"base/5/1259\": Permission denied", "wrong-rights"),
    ("PANIC:  WAL contains references to invalid pages", "damaged-backup"),
];

#[test]
fn the_servers_own_words_are_recognised() {
    for (log, name) in SAID {
        let log: String = log.lines().map(|line| format!("{AT} {line}\n")).collect();
        let found = of_log("replay", &log, &Told::default());
        let found = found.unwrap_or_else(|| panic!("not recognised: {log}"));
        assert_eq!(found.name, name, "{log}");
        assert!(found.evidence.iter().any(|e| !e.text.is_empty()), "{found:?}");
        assert!(!found.cures.is_empty(), "{found:?}");
        assert!(found.cures.iter().all(|c| !c.does.is_empty() && !c.risk.is_empty()), "{found:?}");
    }
}

#[test]
fn what_no_family_knows_is_not_guessed_at() {
    for log in [
        "FATAL:  something else",
        // In another language, without a state: no family may say what it is.
        "FATAL:  el archivo de bloqueo «postmaster.pid» ya existe",
        "FATALE :  n'a pas pu écrire dans le fichier",
        // Somebody's session, not the server.
        "FATAL:  role \"app\" does not exist",
        "ERROR:  could not extend file \"base/5/1\": No space left on device",
        "",
    ] {
        assert_eq!(of_log("replay", log, &Told::default()), None, "{log}");
    }
}

#[test]
fn another_language_is_recognised_by_its_state() {
    let full = "2025-01-13 [7] 53100 FATAL:  kein Platz";
    assert_eq!(of_log("open", full, &Told::default()).unwrap().name, "no-space");
    let lock = "2025-01-13 [7] F0001 FATAL:  Sperrdatei »postmaster.pid« existiert bereits";
    assert_eq!(of_log("open", lock, &Told::default()).unwrap().name, "lock-in-use");
    let told = Told { preloaded: vec![String::from("absent")], ..Told::default() };
    let library = "x [7] 58P01 FATAL:  konnte nicht auf Datei \"absent\" zugreifen";
    assert_eq!(of_log("open", library, &told).unwrap().name, "missing-library");
}

#[test]
fn the_disk_that_is_full_is_named_and_measured() {
    let told =
        || Told { volumes: vec!["/srv/pg/main/pg_tblspc/16400", "/fast"], ..Told::default() };
    let full = "No space left on device";
    for (line, place) in [
        (format!("could not extend file \"base/5/16402\": {full}"), "/srv/pg/main"),
        (format!("could not write to file \"pg_wal/xlogtemp.7\": {full}"), "/srv/pg/main"),
        (
            format!("could not extend file \"pg_tblspc/16400/PG_15_1/5/16402\": {full}"),
            "/srv/pg/main/pg_tblspc/16400",
        ),
        (format!("write /fast/PG_15_1/5/16402: {full} (os error 28)"), "/fast/PG_15_1/5/16402"),
        (format!("write /srv/pg/main/base/5/1: {full} (os error 28)"), "/srv/pg/main"),
    ] {
        let found = of_log("replay", &format!("{AT} PANIC:  {line}"), &told()).unwrap();
        assert!(found.what.contains(&format!("The disk that holds {place} is full")), "{found:#?}");
        assert_eq!(found.cures[0].with, ["4096", place]);
        let lists = found.cures[0].touches.iter().any(|path| path.ends_with(".abandoned.1"));
        assert_eq!(lists, place == "/srv/pg/main", "{found:#?}");
        // Another data directory is no help to a tablespace's disk.
        assert_eq!(found.cures.len(), if lists { 2 } else { 1 }, "{found:#?}");
    }
}

fn another_place() -> OtherPlace {
    OtherPlace {
        path: PathBuf::from("/mnt/recovery/postgresql"),
        room: Room { free: 40 << 30, needed: 20 << 30 },
        copy: Some((240.0, 480.5)),
        kept: String::from("What was restored is kept whole as /srv/pg/main.abandoned.*"),
    }
}

/// One key goes on in the other place; what it costs and keeps is said with it.
#[test]
fn a_full_disk_is_left_for_another_place_where_one_has_room() {
    let full = failure(Kind::Storage, "The disk that holds /srv/pg/main is full.");
    let of = |step: &str, told: &Told| {
        recognise(&Scene::new(step, &full, Vec::new()), told).unwrap().cures
    };
    let told = |ground, nothing_could_go| Told {
        other_place: Some(Ok(another_place())),
        ground: Some(ground),
        nothing_could_go,
        ..Told::default()
    };
    let names = |cures: &[Cure]| cures.iter().map(|cure| cure.id.clone()).collect::<Vec<_>>();
    let cures = of("restore-base", &told(Ground::InPlace, false));
    assert_eq!(names(&cures), [OTHER_PLACE, LOOK_AGAIN, NAMED_PLACE]);
    let cure = &cures[0];
    assert_eq!(cure.by, By::LifeboatByName);
    assert_eq!(cure.with, ["/mnt/recovery/postgresql"]);
    assert!(cure.touches.contains(&String::from("/srv/pg/main")), "{cure:#?}");
    for words in ["40 GiB are free", "20 GiB are needed", "/srv/pg/main.abandoned."] {
        assert!(cure.does.contains(words), "{words}: {}", cure.does);
    }
    assert!(cure.cost.contains("4 min to 8 min"), "{}", cure.cost);
    // What is copied already would be copied again: made room spares that, where there is some to make.
    let replayed = |nothing| names(&of("replay", &told(Ground::InPlace, nothing)));
    assert_eq!(replayed(false), [LOOK_AGAIN, OTHER_PLACE, NAMED_PLACE]);
    assert_eq!(replayed(true), [OTHER_PLACE, LOOK_AGAIN, NAMED_PLACE]);
    // Nothing is set aside yet, or the server is on its way to serve.
    for step in ["rescue-wal", "move-aside", "promote", "open", "validate"] {
        let cures = of(step, &told(Ground::InPlace, true));
        assert_eq!(names(&cures), [LOOK_AGAIN, OTHER_DISK], "{step}");
    }
    for ground in [Ground::Old, Ground::Swapped] {
        assert_eq!(names(&of("restore-base", &told(ground, true))), [LOOK_AGAIN], "{ground:?}");
    }
    // On the volume of a tablespace another data directory is no help.
    let space = failure(Kind::Storage, "write /fast/PG_15_1/5/1: No space left on device");
    let told = Told { volumes: vec!["/fast"], ..told(Ground::InPlace, true) };
    let found = recognise(&Scene::new("restore-base", &space, Vec::new()), &told).unwrap();
    assert_eq!(ids(&found), [LOOK_AGAIN]);
}

#[test]
fn a_place_that_is_none_says_why() {
    let why = failure(Kind::Refused, "/mnt/recovery/postgresql is not empty.");
    let told = Told { other_place: Some(Err(why)), ..Told::default() };
    let full = failure(Kind::Storage, "The disk that holds /srv/pg/main is full.");
    let found = recognise(&Scene::new("restore-base", &full, Vec::new()), &told).unwrap();
    assert_eq!(ids(&found), [LOOK_AGAIN, NAMED_PLACE]);
    assert!(found.cures[1].does.contains("is not empty"), "{found:#?}");
}

#[test]
fn a_lock_file_is_only_set_aside_after_proof() {
    let log = format!("{AT} FATAL:  lock file \"postmaster.pid\" already exists");
    let alive = of_log("start-recovery", &log, &Told::default()).unwrap();
    assert_eq!(ids(&alive), [LOOK_AGAIN]);
    assert_eq!(alive.cures[0].by, By::People);
    let told = Told { stale: Some(String::from("process 7 is \"sleep\"")), ..Told::default() };
    let stale = of_log("start-recovery", &log, &told).unwrap();
    assert_eq!((&*stale.name, ids(&stale)), ("stale-pid-file", vec!["set-pid-file-aside"]));
}

const MISSED: &str = "x LOG:  restored log file \"000000010000000000000003\" from archive\n\
                      x FATAL:  recovery ended before configured recovery target was reached";

#[test]
fn a_missing_log_file_is_told_by_where_it_is() {
    let far = || Some(Lsn(0x900_0000));
    let absent = of_log("replay", MISSED, &Told { end: far(), ..Told::default() }).unwrap();
    assert_eq!(absent.name, "missing-wal");
    assert!(absent.what.contains("000000010000000000000004"), "{}", absent.what);
    assert_eq!(ids(&absent), [STOP_AT_GAP, LOOK_AGAIN, FULL_RESTORE]);

    let place = Whereabouts { elsewhere: vec![String::from("\"far\"")], ..Whereabouts::default() };
    let far_away =
        of_log("replay", MISSED, &Told { place, end: far(), ..Told::default() }).unwrap();
    assert_eq!(ids(&far_away)[..2], ["fetch-elsewhere", STOP_AT_GAP]);

    let place = Whereabouts { found: vec![String::from("\"near\"")], ..Whereabouts::default() };
    let back = of_log("replay", MISSED, &Told { place, end: far(), ..Told::default() }).unwrap();
    assert_eq!(ids(&back), ["go-on"]);

    // Nothing was expected behind the last file: then nothing is missing.
    let ended = of_log("replay", MISSED, &Told { end: Some(Lsn(0x3ff_0000)), ..Told::default() });
    assert_eq!(ended.unwrap().name, "ended-before-target");
}

#[test]
fn a_refused_fetch_is_told_by_its_reason() {
    let log = "restore-wal: 000000010000000000000004 could not be had from the repository near\n\
               x FATAL:  could not restore file \"000000010000000000000004\" from archive: child process exited with exit code 200";
    let why = || vec![(String::from("near"), String::from("why"))];
    let with =
        |place: Whereabouts| of_log("replay", log, &Told { place, ..Told::default() }).unwrap();
    let away = with(Whereabouts { away: why(), ..Whereabouts::default() });
    assert_eq!((&*away.name, ids(&away)[0]), ("repository-away", "wait-for-repository"));
    let damaged = with(Whereabouts { damaged: why(), ..Whereabouts::default() });
    assert_eq!((&*damaged.name, ids(&damaged)[0]), ("damaged-wal", LOOK_AGAIN));
    assert_eq!(ids(&damaged)[1..], ["choose-again", FULL_RESTORE]);
    let full =
        log.replace("could not be had", "cannot be written: No space left on device (os error 28)");
    assert_eq!(of_log("replay", &full, &Told::default()).unwrap().name, "no-space");
}

#[test]
fn a_history_whose_absence_nobody_proves_is_told_and_one_repository_can_be_given_up() {
    let log = "x FATAL:  could not restore file \"00000002.history\" from archive: child process \
               exited with exit code 200";
    let gone =
        |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), String::from("why"))).collect();
    let with = |away: Vec<(String, String)>| {
        let place = Whereabouts { away, ..Whereabouts::default() };
        of_log("promote", log, &Told { place, ..Told::default() }).unwrap()
    };
    let one = with(gone(&["near"]));
    assert_eq!(one.name, "repository-away");
    assert_eq!(ids(&one), ["wait-for-repository", LOOK_AGAIN, "without-repository"]);
    let cure = &one.cures[2];
    assert_eq!((cure.by, &*cure.with), (By::LifeboatByName, &[String::from("near")][..]));
    // Of two that are gone together, nothing is left to go on from.
    assert_eq!(ids(&with(gone(&["near", "far"]))).len(), 2);
    assert_eq!(ids(&with(Vec::new())), ["wait-for-repository"]);
    let damaged = Whereabouts { damaged: gone(&["near"]), ..Whereabouts::default() };
    let told = Told { place: damaged, ..Told::default() };
    assert_eq!(of_log("promote", log, &told), None);
}

#[test]
fn before_consistency_no_end_is_offered() {
    let log = "x LOG:  restored log file \"000000010000000000000003\" from archive\n\
               x FATAL:  WAL ends before end of online backup";
    let told = |no_other| Told { end: Some(Lsn(0x900_0000)), no_other, ..Told::default() };
    let found = of_log("replay", log, &told(false)).unwrap();
    assert_eq!(ids(&found), [LOOK_AGAIN, FULL_RESTORE]);
    // The only backup lacks the log of its own range: whole it is of no use, either.
    let found = of_log("replay", log, &told(true)).unwrap();
    assert_eq!(ids(&found), [LOOK_AGAIN, "no-full-restore"]);
    assert!(found.cures[1].does.contains("set-20250113-020000"), "{found:#?}");
}

#[test]
fn files_are_mended_only_by_who_may() {
    let stranger =
        |why: &str| Stranger { path: PathBuf::from("/srv/pg/main/f"), why: why.to_owned() };
    let log = format!("{AT} FATAL:  could not open file \"f\": Permission denied");
    for (why, may_give, cure) in [
        ("belongs to user 0", true, "own-files"),
        ("belongs to user 0", false, LOOK_AGAIN),
        ("has mode 0000", false, "own-files"),
    ] {
        let told = Told { strangers: vec![stranger(why)], may_give, ..Told::default() };
        let found = of_log("start-recovery", &log, &told).unwrap();
        assert_eq!(ids(&found), [cure], "{why}");
        assert_eq!(found.cures[0].touches, ["/srv/pg/main/f"]);
    }
}

#[test]
fn a_library_is_left_out_only_where_it_is_preloaded() {
    let log = format!("{AT} FATAL:  could not access file \"absent\": No such file or directory");
    let other = of_log("start-recovery", &log, &Told::default()).unwrap();
    assert_eq!(ids(&other), [LOOK_AGAIN]);
    let told = Told { preloaded: vec![String::from("absent")], ..Told::default() };
    let listed = of_log("start-recovery", &log, &told).unwrap();
    assert_eq!(ids(&listed), ["without-library", LOOK_AGAIN]);
}

#[test]
fn failures_of_our_own_are_recognised_by_their_kind() {
    let of = |kind, what: &str, world: &Told| {
        let failure = failure(kind, what);
        recognise(&Scene::new("restore-base", &failure, Vec::new()), world)
    };
    let away =
        Told { away: vec![(String::from("far"), String::from("refused"))], ..Told::default() };
    assert_eq!(of(Kind::Connection, "No answer.", &away).unwrap().name, "repository-away");
    assert_eq!(of(Kind::Integrity, "base-x: wrong tag.", &away).unwrap().name, "damaged-backup");
    let full = of(Kind::Storage, "The disk that holds /srv/pg/main is full.", &away);
    assert_eq!(full.unwrap().name, "no-space");
    assert_eq!(of(Kind::Storage, "An odd error.", &Told::default()), None);
    assert_eq!(of(Kind::Refused, "Not the target.", &away), None);
}

/// Every repository is asked for its timelines before a new cluster takes its own: none is given up.
#[test]
fn no_repository_is_given_up_at_the_promotion_beside() {
    let away =
        Told { away: vec![(String::from("far"), String::from("refused"))], ..Told::default() };
    let told = failure(Kind::Connection, "No answer.");
    let of = |step| recognise(&Scene::new(step, &told, Vec::new()), &away).unwrap();
    assert_eq!(ids(&of("promote-beside")), [WAIT, LOOK_AGAIN]);
    assert_eq!(ids(&of("restore-base"))[2], repository::WITHOUT);
}

/// The old cluster, a new one beside it and production are no ground to begin a full restore from.
#[test]
fn a_full_restore_is_offered_to_a_recovery_in_place_alone() {
    let missing = |ground| {
        let told = Told { ground: Some(ground), end: Some(Lsn(0x900_0000)), ..Told::default() };
        of_log("replay", MISSED, &told).unwrap()
    };
    let offers = |ground| ids(&missing(ground)).contains(&FULL_RESTORE);
    assert!(offers(Ground::InPlace));
    for ground in [Ground::Beside, Ground::Old, Ground::Swapped, Ground::Copy] {
        assert!(!offers(ground), "{ground:?}");
    }
    // What has another cause has another cure.
    for (log, name) in SAID.iter().filter(|(_, name)| *name != "damaged-backup") {
        let log: String = log.lines().map(|line| format!("{AT} {line}\n")).collect();
        let found = of_log("replay", &log, &Told::default()).unwrap();
        assert!(!ids(&found).contains(&FULL_RESTORE), "{name}");
    }
}

/// What a server says is the same everywhere; what may be done about it is not.
#[test]
fn a_cure_never_reaches_beyond_its_ground() {
    let stranger =
        Stranger { path: PathBuf::from("/srv/pg/main/f"), why: String::from("has mode 0000") };
    for ground in [Ground::InPlace, Ground::Beside, Ground::Old, Ground::Swapped, Ground::Copy] {
        for ends_with_base in [false, true] {
            let told = Told {
                strangers: vec![stranger.clone()],
                stale: Some(String::from("process 7 is \"sleep\"")),
                preloaded: vec![String::from("absent")],
                away: vec![(String::from("near"), String::from("why"))],
                may_give: true,
                ground: Some(ground),
                ends_with_base,
                ..Told::default()
            };
            for (log, _) in SAID {
                let log: String = log.lines().map(|line| format!("{AT} {line}\n")).collect();
                let found = of_log("replay", &log, &told).unwrap();
                let by_us = found.cures.iter().filter(|cure| cure.by != By::People);
                assert!(by_us.clone().all(|cure| ground.permits(cure)), "{ground:?} {found:#?}");
                assert!(ground != Ground::Old || by_us.count() == 0, "{found:#?}");
                assert!(!found.cures.is_empty(), "{ground:?} {log}");
                let disk = ids(&found).contains(&NAMED_PLACE);
                let may = !matches!(ground, Ground::Old | Ground::Swapped);
                assert_eq!(disk, found.name == "no-space" && may, "{ground:?} {found:#?}");
            }
        }
    }
}

#[test]
fn beside_the_old_cluster_another_port_is_taken_and_nobody_is_stopped() {
    let log = format!("{AT} FATAL:  lock file \"/tmp/x/.s.PGSQL.5432.lock\" already exists");
    let of = |ground| {
        let told = Told { ground: Some(ground), ..Told::default() };
        of_log("start-recovery", &log, &told).unwrap()
    };
    let beside = of(Ground::Beside);
    assert_eq!(ids(&beside), [OTHER_PORT, LOOK_AGAIN]);
    assert_eq!(
        (beside.cures[0].by, &*beside.cures[0].with),
        (By::Lifeboat, &[String::from("5433")][..])
    );
    for ground in [Ground::InPlace, Ground::Copy, Ground::Swapped] {
        assert_eq!(ids(&of(ground)), [LOOK_AGAIN], "{ground:?}");
    }
}

#[test]
fn a_restore_that_ends_with_its_backup_has_no_earlier_end() {
    let told =
        |end| Told { ground: Some(Ground::Beside), ends_with_base: true, end, ..Told::default() };
    let missing = of_log("replay", MISSED, &told(Some(Lsn(0x900_0000)))).unwrap();
    assert_eq!(ids(&missing), [OTHER_BASE, LOOK_AGAIN]);
    assert!(missing.what.contains("the old cluster's directory"), "{}", missing.what);
    assert!(missing.cures[0].risk.contains("the other backup's end"), "{missing:#?}");
    let log = "x FATAL:  recovery target timeline 9 does not exist";
    assert_eq!(ids(&of_log("replay", log, &told(None)).unwrap()), [TELL_AGAIN]);
}

/// A recovery to the end of the log waits for more: its server has said nothing of a fault.
#[test]
fn a_log_that_ends_before_it_is_known_to_end_is_a_missing_file() {
    let what = "The server replayed the log up to LSN 0/3FFFFFF and finds no more of it, neither in the \
                repositories nor among what was rescued; the log is known to go on to LSN 0/9000000.";
    let failure = failure(Kind::Unreachable, what);
    let line = "x LOG:  restored log file \"000000010000000000000003\" from archive";
    let place = Whereabouts {
        elsewhere: vec![String::from("the old cluster's directory")],
        ..Whereabouts::default()
    };
    let told = Told { place, ground: Some(Ground::Beside), ..Told::default() };
    let found = recognise(&Scene::new("replay", &failure, vec![line.to_owned()]), &told).unwrap();
    assert_eq!((&*found.name, ids(&found)), ("missing-wal", vec![FETCH_ELSEWHERE, STOP_AT_GAP]));
    assert!(found.what.contains("000000010000000000000004"), "{}", found.what);
}

#[test]
fn another_backup_is_none_that_failed_and_where_none_is_left_that_is_said() {
    let log = format!("{AT} PANIC:  WAL contains references to invalid pages");
    let failed_before = vec![String::from("set-20250114-020000")];
    let told = Told { failed_before: failed_before.clone(), ..Told::default() };
    let found = of_log("replay", &log, &told).unwrap();
    assert_eq!(ids(&found), [OTHER_BASE, LOOK_AGAIN, FULL_RESTORE]);
    let words = &found.cures[0].does;
    assert!(words.contains("without set-20250114-020000 and set-20250113-020000"), "{words}");
    let told = Told { failed_before, no_other: true, ..Told::default() };
    let found = of_log("replay", &log, &told).unwrap();
    assert_eq!(ids(&found), [LOOK_AGAIN, "no-other-base"]);
    assert!(found.cures.iter().all(|cure| cure.by == By::People), "{found:#?}");
    assert!(found.cures[1].does.contains("set-20250114-020000"), "{found:#?}");
    assert!(found.cures[1].does.contains("a full restore (Option B) has none"), "{found:#?}");
}

#[test]
fn a_key_that_does_not_open_is_no_absent_repository_and_no_damaged_backup() {
    let denied = |names: &[&str]| Told {
        denied: names.iter().map(|n| ((*n).to_owned(), String::from("why"))).collect(),
        // Such a repository is not opened at all.
        away: names.iter().map(|n| ((*n).to_owned(), String::from("why"))).collect(),
        ..Told::default()
    };
    let own = |kind, what: &str, world: &Told| {
        let failure = failure(kind, what);
        recognise(&Scene::new("restore-base", &failure, Vec::new()), world).unwrap()
    };
    for (kind, what, words) in [
        (
            Kind::Config,
            "The master key file /etc/k cannot be read: Permission denied (os error 13).",
            "cannot be had",
        ),
        (
            Kind::Config,
            "A secret is not secret: others can read the master key file /etc/k (its mode is 0644).",
            "cannot be had",
        ),
        (
            Kind::Config,
            "The command vault that gives the master key failed: it ended with 1.",
            "cannot be had",
        ),
        (
            Kind::Integrity,
            "The master key does not fit the data key 20250113T020000-9f: /etc/k holds another key.",
            "is not the one",
        ),
        (Kind::NotFound, "The data key 20250113T020000-9f is not in keys.", "A key object"),
    ] {
        let found = own(kind, what, &denied(&["near", "far"]));
        assert_eq!((&*found.name, ids(&found)), ("denied-key", vec![LOOK_AGAIN]), "{what}");
        assert!(found.what.contains(words), "{what}: {}", found.what);
        assert_eq!(found.cures[0].with, [key::TRIED]);
    }
    // Where another repository's key opens, it can be gone on with that one alone.
    let what = "The master key file /etc/k cannot be read: gone.";
    let one = own(Kind::Config, what, &denied(&["near"]));
    assert_eq!(ids(&one), [LOOK_AGAIN, WITHOUT]);
    assert_eq!(one.cures[1].with, ["near"]);
    // Mended before anybody looked.
    assert_eq!(ids(&own(Kind::Config, what, &Told::default())), [GO_ON]);

    // In the server's log the program that fetches tells it, and the server only that it stopped.
    let log = |why: &str| {
        format!(
            "restore-wal: 000000010000000000000004 could not be had from the repository near. {why}\n\
             x FATAL:  could not restore file \"000000010000000000000004\" from archive: child \
             process exited with exit code 200"
        )
    };
    let found = of_log("replay", &log(what), &denied(&["near", "far"])).unwrap();
    assert_eq!((&*found.name, ids(&found)), ("denied-key", vec![LOOK_AGAIN]));
    let other = of_log("replay", &log("No answer."), &denied(&["near"])).unwrap();
    assert_ne!(other.name, "denied-key");
    // That a key did open is no trouble.
    let opened =
        failure(Kind::Unreachable, "The backup's data key 1 was unwrapped. It is not in use.");
    assert_eq!(recognise(&Scene::new("replay", &opened, Vec::new()), &Told::default()), None);
}
