//! What sudo lets somebody run without a password, by its own word, and the rule that would permit
//! it. Asks sudo what it would do; runs nothing through it.

use super::{Finding, answers, told};
use crate::engine::postgres::control::Call;
use crate::engine::postgres::discovery::Owner;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Why it is no matter of course that `us` may run these words behind `program`, which is sudo.
pub(super) fn may_run(program: &str, words: &[String], us: &Owner) -> Option<Finding> {
    let asked = || {
        let mut command = Command::new(program);
        // A password that somebody gave a moment ago is forgotten: nobody gives it in the night.
        command.args(["-k", "-n", "-l"]);
        command
    };
    let mut this = asked();
    this.args(bare(words));
    match answers(this) {
        None => return Some(Finding::CouldNotVerify(String::from("sudo gave no answer"))),
        Some(false) => {
            let what = bare(words).cloned().collect::<Vec<_>>().join(" ");
            return Some(Finding::Lacking(format!("sudo does not let {us} run {what}")));
        }
        Some(true) => {}
    }
    // It says yes as well where it would ask for a password first.
    let free = told(asked()).is_some_and(|listing| asks_for_no_password(&listing));
    (!free).then(|| {
        Finding::CouldNotVerify(format!(
            "sudo lets {us} run it, but has rules of that user's that ask for a password, and whether \
             this is one of them cannot be told"
        ))
    })
}

/// Without the option that is asked with anyway.
fn bare(words: &[String]) -> impl Iterator<Item = &String> {
    words.iter().filter(|word| word.as_str() != "-n")
}

/// Whether every rule in what `sudo -l` lists is one without a password.
fn asks_for_no_password(listing: &str) -> bool {
    let rules = listing.lines().map(str::trim_start).filter(|line| line.starts_with('('));
    let mut any = false;
    for rule in rules {
        any = true;
        let tags = rule.split_once(')').map_or("", |(_, rest)| rest);
        let first = tags.split_whitespace().find(|word| word.ends_with("PASSWD:"));
        let again = tags.split_whitespace().any(|word| word == "PASSWD:");
        // A tag counts from where it stands.
        let command = tags.find(['/', '!']).unwrap_or(tags.len());
        let before = tags.find("NOPASSWD:").is_some_and(|at| at < command);
        if first != Some("NOPASSWD:") || again || !before && !tags.contains("NOPASSWD: ALL") {
            return false;
        }
    }
    any
}

/// The line for sudo's rules that lets `us` run these calls, where any of them goes through sudo.
pub(super) fn rule(us: &Owner, calls: &[Call]) -> Option<String> {
    let mut all: Vec<String> = Vec::new();
    for call in calls {
        let Some((first, rest)) = call.words.split_first() else { continue };
        if !Path::new(first).ends_with("sudo") {
            continue;
        }
        let mut words = bare(rest);
        let Some(program) = words.next().filter(|word| !word.starts_with('-')) else { continue };
        let program = in_path(program).display().to_string();
        let line = words.fold(program, |line, word| format!("{line} {}", escaped(word)));
        if !all.contains(&line) {
            all.push(line);
        }
    }
    let user = us.name.clone().unwrap_or_else(|| format!("#{}", us.uid));
    (!all.is_empty()).then(|| format!("{user} ALL=(root) NOPASSWD: {}", all.join(", ")))
}

/// sudo's rules name a program by its whole path.
fn in_path(program: &str) -> PathBuf {
    if program.contains('/') {
        return PathBuf::from(program);
    }
    let folders = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"].map(Path::new);
    let mut places = folders.iter().map(|folder| folder.join(program));
    places.find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(program))
}

/// As an argument stands in sudo's rules.
fn escaped(word: &str) -> String {
    let special = |c: char| matches!(c, ',' | ':' | '=' | '\\' | '*' | '?' | '[' | ']' | ' ');
    let mut made = String::with_capacity(word.len());
    for c in word.chars() {
        if special(c) {
            made.push('\\');
        }
        made.push(c);
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::control::Purpose;

    #[test]
    fn a_rule_with_a_password_is_no_right() {
        let head = "Matching Defaults entries for postgres on db1:\n    env_reset, mail_badpass\n\n\
                    User postgres may run the following commands on db1:\n";
        let free = |rules: &str| asks_for_no_password(&format!("{head}{rules}"));
        assert!(free("    (root) NOPASSWD: /usr/bin/systemctl stop postgresql\n"));
        assert!(free("    (ALL : ALL) NOPASSWD: ALL\n    (root) NOPASSWD: /a, /b\n"));
        for rules in [
            "    (ALL : ALL) ALL\n",
            "    (root) NOPASSWD: /a\n    (root) /b\n",
            "    (root) NOPASSWD: /a, PASSWD: /b\n",
            "    (root) /a, NOPASSWD: /b\n",
            "",
        ] {
            assert!(!free(rules), "{rules}");
        }
    }

    #[test]
    fn the_rule_names_every_call_once_with_its_signs_escaped() {
        let call = |words: &[&str]| Call {
            purpose: Purpose::Stop,
            words: words.iter().map(|word| (*word).to_owned()).collect(),
        };
        let us = Owner { uid: 70, gid: 70, name: Some(String::from("postgres")) };
        let calls = [
            call(&["sudo", "-n", "/bin/systemctl", "--property=A,B", "show", "postgresql@15-main"]),
            call(&["sudo", "-n", "/bin/systemctl", "stop", "postgresql@15-main"]),
            call(&["sudo", "-n", "/bin/systemctl", "stop", "postgresql@15-main"]),
            call(&["/opt/start"]),
        ];
        assert_eq!(
            rule(&us, &calls).unwrap(),
            "postgres ALL=(root) NOPASSWD: /bin/systemctl --property\\=A\\,B show \
             postgresql@15-main, /bin/systemctl stop postgresql@15-main"
        );
        assert_eq!(rule(&us, &calls[3..]), None);
    }
}
