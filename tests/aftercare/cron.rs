//! Jobs of the real pg_cron: none acts between the promotion and its release, not even one that
//! is to run when the server starts.

use super::stage::next_command;
use super::{Client, DATABASE, NotRun, Stage, Verified, agree, look, sql};
use lifeboat::engine::drill::sandbox::Sandbox;
use lifeboat::engine::incident::care::HeldKind;
use lifeboat::engine::incident::model::RunStatus;
use std::time::{Duration, Instant};

/// A job runs at the beginning of a minute.
const MINUTES: Duration = Duration::from_secs(150);

fn furnish(sandbox: &Sandbox) {
    sql(sandbox, "ALTER SYSTEM SET shared_preload_libraries = 'pg_cron'");
    for (name, value) in [("database_name", DATABASE), ("use_background_workers", "on")] {
        // Names of a library that is not loaded yet are not taken by ALTER SYSTEM.
        let auto = sandbox.server().data.join("postgresql.conf");
        let mut text = std::fs::read_to_string(&auto).unwrap();
        text.push_str(&format!("cron.{name} = '{value}'\n"));
        std::fs::write(&auto, text).unwrap();
    }
    sandbox.server().stop().unwrap();
    sandbox.server().start(&[]).unwrap();
    sql(
        sandbox,
        "CREATE EXTENSION pg_cron; \
         CREATE TABLE billed (at timestamptz DEFAULT now(), by text); \
         SELECT cron.schedule('bill', '* * * * *', $$INSERT INTO billed (by) VALUES ('bill')$$); \
         SELECT cron.schedule('boot', '@reboot', $$INSERT INTO billed (by) VALUES ('boot')$$); \
         SELECT cron.schedule('idle', '* * * * *', $$INSERT INTO billed (by) VALUES ('idle')$$); \
         UPDATE cron.job SET active = false WHERE jobname = 'idle'",
    );
    sandbox.back_up().unwrap();
}

fn until_minutes(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < MINUTES, "waited {MINUTES:?} for {what}");
        std::thread::park_timeout(Duration::from_millis(100));
    }
}

fn billed(stage: &Stage, by: &str) -> u32 {
    sql(&stage.sandbox, &format!("SELECT count(*) FROM billed WHERE by = '{by}'")).parse().unwrap()
}

fn held_jobs(client: &Client) -> Vec<String> {
    let incident = client.incident().unwrap();
    let jobs = incident.held.iter().filter(|held| held.what == HeldKind::CronJob);
    jobs.map(|held| held.name.clone()).collect()
}

#[test]
#[ignore = "heavy: pg_cron is installed first, see make test-cron"]
fn jobs_of_pg_cron_wait_until_they_are_released() {
    let stage = Stage::prepared(furnish);
    let client = stage.runner(None);
    stage.to_gate(&client);
    stage.go_on(&client);
    stage.wait(&client, "the target", |incident| incident.status == RunStatus::Held);
    drop(client.submit(next_command(&client.incident().unwrap())));
    stage.wait(&client, "the end", |incident| incident.status == RunStatus::Finished);

    assert_eq!(held_jobs(&client), ["1", "2"]);
    let (bill, boot) = (billed(&stage, "bill"), billed(&stage, "boot"));
    assert_eq!(boot, 0, "nothing ran when the server was promoted");
    // A job that somebody makes now shows that pg_cron is at work, and that a minute has begun.
    sql(
        &stage.sandbox,
        "SELECT cron.schedule('new', '* * * * *', $$INSERT INTO billed (by) VALUES ('new')$$)",
    );
    until_minutes("the new job", || billed(&stage, "new") > 0);
    assert_eq!((billed(&stage, "bill"), billed(&stage, "boot")), (bill, boot), "they are held");

    look(&stage, &client, "jobs", NotRun);
    agree(&stage, &client, "jobs", &["1", "2"]);
    until_minutes("the released job", || billed(&stage, "bill") > bill);
    // What was not active before is left so.
    assert_eq!(billed(&stage, "idle"), 0);
    look(&stage, &client, "jobs", Verified);
}
