//! A configuration is refused with the file and the line, before it can do harm.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use lifeboat::engine::config::{ConfigError, example, load};
use lifeboat::engine::explain::{Explain, Kind};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// A folder with a configuration that holds, and its key file.
struct Setup {
    folder: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let setup = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(setup.key(), "not a real key\n").unwrap();
        set_mode(&setup.key(), 0o600);
        setup
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("master.key")
    }

    fn text(&self) -> String {
        format!(
            "[[clusters]]\n\
             name = \"shop\"\n\
             tier = \"standard\"\n\
             environment = \"drill\"\n\
             data_directory = \"/data\"\n\
             repositories = [\"here\"]\n\
             [clusters.connection]\n\
             host = \"/run\"\n\
             [clusters.control]\n\
             driver = \"pg_ctl\"\n\
             [[repositories]]\n\
             name = \"here\"\n\
             [repositories.store]\n\
             kind = \"file\"\n\
             path = \"/backups\"\n\
             [repositories.encryption]\n\
             cipher = \"aes-256-cbc\"\n\
             master_key_file = \"{}\"\n",
            self.key().display()
        )
    }

    fn write(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("lifeboat.toml");
        fs::write(&path, text).unwrap();
        set_mode(&path, 0o644);
        path
    }

    /// Loads the good text with `from` replaced by `to`; gives the refusal.
    fn refused(&self, from: &str, to: &str) -> ConfigError {
        let good = self.text();
        assert!(good.contains(from), "the test replaces what is not there: {from}");
        let path = self.write(&good.replacen(from, to, 1));
        let error = load(Some(&path)).unwrap_err();
        assert_eq!(error.explanation().kind, Kind::Config);
        assert!(error.to_string().contains("lifeboat.toml"), "{error}");
        error
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// The refusal is on `line` and says `words`.
fn says(error: &ConfigError, line: usize, words: &str) {
    let found = error.problems().iter().any(|p| p.line == Some(line) && p.text.contains(words));
    assert!(found, "line {line}, \"{words}\" in: {error}");
}

#[test]
fn a_configuration_that_holds_is_read() {
    let setup = Setup::new();
    let path = setup.write(&setup.text());
    let config = load(Some(&path)).unwrap();
    assert_eq!(config.path, path);
    let cluster = config.cluster("shop").unwrap();
    assert_eq!((cluster.connection.port, cluster.connection.user.as_str()), (5432, "postgres"));
    assert!(config.state_directory().is_absolute());
}

#[test]
fn what_toml_refuses_is_named_by_line() {
    let setup = Setup::new();
    says(&setup.refused("tier = \"standard\"", "tier = \"gold\""), 3, "gold");
    says(&setup.refused("environment", "enviroment"), 4, "enviroment");
    says(&setup.refused("\"/data\"", "7"), 5, "string");
    says(&setup.refused("\"/data\"", "\"/data"), 5, "string");
    let unknown = setup.refused("driver = \"pg_ctl\"", "driver = \"pg_ctl\"\nbin = \"/x\"");
    assert!(unknown.to_string().contains("bin"), "{unknown}");
    assert!(unknown.problems()[0].line.is_some(), "{unknown}");
}

#[test]
fn what_does_not_fit_together_is_named_by_line() {
    let setup = Setup::new();
    says(&setup.refused("[\"here\"]", "[\"there\"]"), 6, "there");
    says(&setup.refused("[\"here\"]", "[]"), 6, "no repository");
    says(&setup.refused("\"/data\"", "\"data\""), 5, "absolute");
    says(&setup.refused("path = \"/backups\"", "path = \"/data/backups\""), 15, "inside the data");
    says(&setup.refused("name = \"shop\"", "name = \"../shop\""), 2, "must be letters");
    says(&setup.refused("host = \"/run\"", "host = \"/run\"\ntls = \"required\""), 9, "socket");
    let again = setup.text();
    let repository = &again[again.find("[[repositories]]").unwrap()..];
    let twice = setup.refused("[[repositories]]", &format!("{repository}[[repositories]]"));
    assert!(twice.to_string().contains("\"here\" is there twice"), "{twice}");
}

#[test]
fn the_master_key_has_exactly_one_source() {
    let setup = Setup::new();
    let cipher = "cipher = \"aes-256-cbc\"";
    let both = format!("{cipher}\nmaster_key_command = [\"/bin/key\"]");
    assert!(setup.refused(cipher, &both).to_string().contains("two sources"));
    assert!(setup.refused("master_key_file", "# ").to_string().contains("needs master_key_file"));
    let none = setup.refused(cipher, "cipher = \"none\"");
    assert!(none.to_string().contains("master_key_file"), "{none}");
}

#[test]
fn secrets_open_to_others_and_missing_ones_are_refused_by_name() {
    let setup = Setup::new();
    let path = setup.write(&setup.text());
    set_mode(&setup.key(), 0o640);
    let error = load(Some(&path)).unwrap_err();
    says(&error, 18, "chmod 600");
    assert!(error.to_string().contains("master.key") && error.to_string().contains("0640"));
    assert!(!error.to_string().contains("not a real key"), "no secret in an error");
    fs::remove_file(setup.key()).unwrap();
    says(&load(Some(&path)).unwrap_err(), 18, "cannot be read");
}

#[test]
fn a_masking_rule_that_could_hide_nothing_is_refused() {
    let setup = Setup::new();
    let rule = |table: &str, rule: &str| {
        let rules = format!(
            "[[clusters.masking]]\ntable = \"{table}\"\ncolumn = \"email\"\nrule = {rule}\n"
        );
        load(Some(&setup.write(&(setup.text() + &rules))))
    };
    says(&rule("people", "\"hide\"").unwrap_err(), 20, "schema.table");
    says(&rule("public.people", "{ keep_first = 0 }").unwrap_err(), 22, "keep_first");
    assert!(rule("public.people", "\"show\"").is_err());
    assert!(rule("*", "{ keep_first = 2 }").is_ok() && rule("a.b", "{ constant = \"x\" }").is_ok());
}

#[test]
fn a_file_that_everybody_can_change_is_refused() {
    let setup = Setup::new();
    let path = setup.write(&setup.text());
    set_mode(&path, 0o646);
    assert!(matches!(load(Some(&path)), Err(ConfigError::Writable { mode: 0o646, .. })));
}

#[test]
fn a_named_file_that_is_missing_is_not_replaced_by_another() {
    let error = load(Some(Path::new("/nowhere/lifeboat.toml"))).unwrap_err();
    assert!(error.to_string().contains("/nowhere/lifeboat.toml"), "{error}");
}

#[test]
fn the_example_names_every_key() {
    let text = example();
    let keys = [
        "state_directory",
        "runbook",
        "alternative_data_directory",
        "passfile",
        "tls",
        "root_certificate",
        "bin_directory",
        "log",
        "probes",
        "tables",
        "health_url",
        "application",
        "expect",
        "at_least",
        "codec",
        "level",
        "workers",
        "master_key_file",
        "master_key_command",
        "operators",
        "directory",
        "user",
    ];
    for key in keys {
        assert!(text.contains(key), "{key}");
    }
}
