//! A whole drill by the real program, without a person: the outcome, the report, and that nothing
//! stays.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a helper of tests fails by panicking"
)]

use lifeboat::engine::drill::processes::pids_of;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

/// Folders and a configuration that tells the drill to happen there.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Self {
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        let boxes = home.path().join("boxes");
        fs::create_dir(&boxes).unwrap();
        for folder in [home.path(), &boxes] {
            fs::set_permissions(folder, PermissionsExt::from_mode(0o711)).unwrap();
        }
        Self(home)
    }

    fn drill(&self, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_lifeboat"))
            .args(["drill", "corruption", "--auto", "--json", "--size", "24"])
            .args(more)
            .env("TMPDIR", self.0.path().join("boxes"))
            .output()
            .unwrap()
    }
}

fn outcome(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stdout));
    serde_json::from_slice(&output.stdout).expect("nothing but one JSON object on standard output")
}

fn is_verified(outcome: &Value) {
    assert_eq!(outcome["scenario"], "corruption");
    assert_eq!(outcome["outcome"], "VERIFIED", "{outcome:#}");
    assert_eq!(outcome["reasons"], serde_json::json!([]));
    assert!(outcome["incident"].as_str().unwrap().starts_with("INC-"));
    assert!(outcome["target"].as_str().unwrap().starts_with("just before"), "{outcome:#}");
    assert!(outcome["reached_point"].as_str().unwrap().contains("recovery stopping before"));
    for (actual, target) in
        [("rpo_seconds", "rpo_target_seconds"), ("rto_seconds", "rto_target_seconds")]
    {
        let (actual, target) = (outcome[actual].as_f64(), outcome[target].as_f64());
        assert!(actual.unwrap() <= target.unwrap(), "{actual:?} of {target:?}");
    }
    let tables = outcome["tables"].as_array().unwrap();
    let names: Vec<&str> = tables.iter().map(|table| table["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"public.orders") && names.len() == 3, "{names:?}");
    for table in tables {
        let rows = |what: &str| table[what].as_i64().unwrap();
        // A transaction that was in flight at the target may have come on top.
        assert!(rows("before") > 0 && rows("after") >= rows("before"), "{table}");
        assert!(rows("lost") >= 0, "{table}");
    }
    assert!(outcome["rows_deleted"].as_u64().unwrap() > 0);
    let checks = outcome["checks"].as_array().unwrap();
    let verdict = |id: &str| {
        let found = checks.iter().find(|check| check["id"] == id);
        found.unwrap_or_else(|| panic!("no check {id}"))["verdict"].as_str().unwrap()
    };
    for id in ["drill-rows:public.orders", "drill-aside", "drill-verifybackup", "drill-rto"] {
        assert_eq!(verdict(id), "VERIFIED", "{id}");
    }
    let left_out: Vec<&Value> =
        checks.iter().filter(|check| check["verdict"] != "VERIFIED").collect();
    assert!(left_out.iter().all(|check| check["verdict"] == "NOT_RUN"), "{left_out:#?}");
}

#[test]
fn a_drill_without_a_person_is_verified_and_leaves_nothing() {
    let bench = Bench::new();
    let boxes = bench.0.path().join("boxes");
    is_verified(&outcome(&bench.drill(&[])));
    assert_eq!(fs::read_dir(&boxes).unwrap().count(), 0, "a directory is left");
    assert_eq!(pids_of(bench.0.path()), Vec::<i32>::new(), "a process is left");
}

#[test]
fn a_kept_drill_keeps_its_reports() {
    let bench = Bench::new();
    let kept = bench.0.path().join("kept");
    let outcome = outcome(&bench.drill(&["--keep", kept.to_str().unwrap()]));
    is_verified(&outcome);
    let id = outcome["incident"].as_str().unwrap();
    let folder = kept.join("state/incidents").join(id);
    reports(&folder.join("report"), id);
    let verified = Command::new(kept.join("bin/lifeboat"))
        .arg("--config")
        .arg(kept.join("lifeboat.toml"))
        .args(["journal", "verify", id, "--json"])
        .output()
        .unwrap();
    // The newest entries may wait for their anchor still.
    let audit: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert!(audit["wrong"].is_null() && audit["chain"] == "VERIFIED", "{audit:#}");
    assert!(audit["covered"].as_u64().unwrap() > 10, "{audit:#}");
    let aside = outcome["kept"].as_array().unwrap().iter().filter_map(Value::as_str);
    let aside: Vec<_> = aside.filter(|path| path.contains("data.damaged.")).collect();
    assert!(Path::new(aside[0]).join("PG_VERSION").exists(), "{aside:?}");
    lifeboat::engine::drill::place::clear(&kept).unwrap();
    assert!(!kept.exists() && pids_of(&kept).is_empty());
}

fn reports(folder: &Path, id: &str) {
    let read = |extension: &str| fs::read_to_string(folder.join(format!("{id}.{extension}")));
    let json: Value = serde_json::from_str(&read("json").unwrap()).unwrap();
    assert_eq!(json["outcome"]["word"], "VERIFIED", "{:#}", json["outcome"]);
    let sentence = json["outcome"]["sentence"].as_str().unwrap();
    // The sandbox has no health address: that is said right after the word, and frightens nobody.
    assert!(sentence.contains("NOT RUN: "), "{sentence}");
    let validation = json["checks"].as_array().unwrap().iter().find(|g| g["id"] == "validation");
    let checks = validation.unwrap()["checks"].as_array().unwrap();
    let left_out = checks.iter().filter(|check| check["verdict"] == "NOT_RUN");
    let titles: Vec<_> = left_out.map(|check| check["title"].as_str().unwrap()).collect();
    assert!(!titles.is_empty() && titles.iter().all(|title| sentence.contains(title)));
    let markdown = read("md").unwrap();
    let head: String = markdown.lines().take(12).collect::<Vec<_>>().join("\n");
    assert!(head.contains("VERIFIED") && head.contains(sentence), "{head}");
    let html = read("html").unwrap();
    assert!(html.starts_with("<!doctype html>") || html.starts_with("<!DOCTYPE html>"));
    assert!(html.trim_end().ends_with("</html>") && html.contains(id));
    assert!(!html.contains("<script") && !html.contains("src=\"http"));
}
