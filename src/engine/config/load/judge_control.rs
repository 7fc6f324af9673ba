//! The rules of the `control` section: how a server is started and stopped.

use super::judge::Judge;
use super::locate::Into::{At, Key};
use crate::engine::config::control::PLACEHOLDERS;
use crate::engine::config::{Cluster, Commands, Control};

impl Judge<'_> {
    pub(super) fn control(&mut self, at: usize, cluster: &Cluster) {
        let place = |key| [Key("clusters"), At(at), Key("control"), Key(key)];
        let control = &cluster.control;
        self.absolute(&place("bin_directory"), control.bin_directory());
        self.absolute(&place("config_file"), control.config_file());
        self.absolute(&place("log"), control.log());
        if control.log().is_some_and(|log| log.starts_with(&cluster.data_directory)) {
            let text =
                String::from("the log lies inside the data directory, which a restore moves aside");
            self.problem(&place("log"), text);
        }
        match control {
            Control::PgCtl { .. } => {}
            Control::PgCtlcluster { cluster: name, .. } => {
                // It becomes an argument and a part of a path.
                let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
                if name.is_empty() || !name.bytes().all(good) || name.starts_with(['-', '.']) {
                    let text = format!("\"{name}\" is no name that pg_createcluster gives");
                    self.problem(&place("cluster"), text);
                }
            }
            Control::Systemd { unit, systemctl, .. } => {
                let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.@\\:".contains(&b);
                if let Some(unit) = unit
                    && (unit.is_empty() || !unit.bytes().all(good) || unit.starts_with('-'))
                {
                    self.problem(&place("unit"), format!("\"{unit}\" is no name of a unit"));
                }
                if systemctl.is_empty() {
                    let text = String::from("systemctl names no program");
                    self.problem(&place("systemctl"), text);
                }
            }
            Control::Command(commands) => self.commands(at, commands),
        }
    }

    fn commands(&mut self, at: usize, commands: &Commands) {
        for (key, words) in commands.all() {
            let place = [Key("clusters"), At(at), Key("control"), Key(key)];
            match words.as_slice() {
                [] => self.problem(&place, format!("{key} names no program")),
                [_, _, ..] if commands.shell => {
                    let text = format!("with shell = true, {key} is one text");
                    self.problem(&place, text);
                }
                [program, ..] if !commands.shell && !program.starts_with(['/', '{']) => {
                    let text = format!(
                        "{key} begins with \"{program}\", which must be a program by its full path"
                    );
                    self.problem(&place, text);
                }
                _ => {}
            }
            // A shell has braces of its own.
            let unknown = words.iter().find_map(|word| unknown_placeholder(word));
            if let Some(unknown) = unknown.filter(|_| !commands.shell) {
                let text = format!(
                    "{key} has {{{unknown}}}, and only {} are filled in",
                    PLACEHOLDERS.join(", ")
                );
                self.problem(&place, text);
            }
        }
    }
}

fn unknown_placeholder(word: &str) -> Option<&str> {
    word.split('{')
        .skip(1)
        .filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
        .find(|name| !PLACEHOLDERS.contains(name))
}

#[cfg(test)]
mod tests {
    use crate::engine::config::load::parse;
    use std::path::Path;

    fn problems(control: &str) -> String {
        let text = format!(
            "[[clusters]]\nname = \"a\"\ntier = \"high\"\nenvironment = \"staging\"\n\
             data_directory = \"/srv/a/data\"\nrepositories = [\"here\"]\n\
             connection = {{ host = \"/run/postgresql\" }}\ncontrol = {{ {control} }}\n\
             [[repositories]]\nname = \"here\"\nstore = {{ kind = \"file\", path = \"/b\" }}\n"
        );
        match parse(&text, Path::new("test.toml")) {
            Ok(config) => {
                let again = toml::to_string(&config).unwrap();
                let read = parse(&again, Path::new("test.toml")).unwrap();
                assert_eq!(read.clusters, config.clusters, "what is written is read again");
                String::new()
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_driver_can_be_named() {
        for control in [
            "driver = \"pg_ctl\", config_file = \"/etc/a/postgresql.conf\"",
            "driver = \"pg_ctlcluster\", version = 15, cluster = \"main\"",
            "driver = \"systemd\"",
            "driver = \"systemd\", unit = \"postgresql@15-main\", systemctl = [\"sudo\", \"-n\", \"systemctl\"]",
            "driver = \"command\", start = [\"/opt/start\", \"{data_directory}\"], stop = [\"{bin_directory}/pg_ctl\", \"stop\", \"-m\", \"{mode}\"]",
            "driver = \"command\", shell = true, start = [\"a=${b} start\"], stop = [\"stop\"]",
        ] {
            assert_eq!(problems(control), "", "{control}");
        }
    }

    #[test]
    fn what_could_not_work_is_refused() {
        for (control, words) in [
            ("driver = \"pg_ctl\", config_file = \"postgresql.conf\"", "absolute"),
            ("driver = \"pg_ctlcluster\", version = 15, cluster = \"../x\"", "no name"),
            ("driver = \"pg_ctlcluster\", version = 15", "cluster"),
            ("driver = \"systemd\", unit = \"--now\"", "no name of a unit"),
            ("driver = \"systemd\", systemctl = []", "no program"),
            ("driver = \"command\", start = [\"start\"], stop = [\"/stop\"]", "full path"),
            ("driver = \"command\", start = [\"/s\", \"{data}\"], stop = [\"/stop\"]", "{data}"),
            ("driver = \"command\", start = [], stop = [\"/stop\"]", "no program"),
            (
                "driver = \"command\", shell = true, start = [\"a\", \"b\"], stop = [\"c\"]",
                "one text",
            ),
            (
                "driver = \"command\", start = [\"/s\"], stop = [\"/s\"], password = \"x\"",
                "password",
            ),
        ] {
            let found = problems(control);
            assert!(found.contains(words), "{control}: {found}");
        }
    }
}
