//! The direction of the layers, `engine ← screens ← app`, read from the sources: the engine knows
//! no screen and no terminal, a screen knows no front end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a line, without its comment.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or_default()
}

/// Whether `word` stands in `line` as a whole name.
fn names(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

fn offences(layer: &str, forbidden: &[&str]) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(layer);
    let files = sources(&root);
    assert!(!files.is_empty(), "{} holds no sources", root.display());
    let mut found = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            for word in forbidden.iter().filter(|word| names(code(line), word)) {
                found.push(format!("{}:{}: {word}", file.display(), number + 1));
            }
        }
    }
    found
}

#[test]
fn the_engine_knows_no_screen_no_terminal_and_no_front_end() {
    let forbidden = ["ratatui", "crossterm", "crate::screens", "crate::app", "indicatif", "clap"];
    assert_eq!(offences("engine", &forbidden), Vec::<String>::new());
}

#[test]
fn screens_know_no_front_end() {
    assert_eq!(offences("screens", &["crate::app"]), Vec::<String>::new());
}

#[test]
fn the_reader_of_sources_sees_what_it_looks_for() {
    assert!(names(code("use ratatui::Frame;"), "ratatui"));
    assert!(names(code("use crate::app::tui;"), "crate::app"));
    assert!(!names(code("// ratatui draws this"), "ratatui"));
    assert!(!names(code("use crate::application::x;"), "crate::app"));
    assert!(!names(code("let my_clap = 1;"), "clap"));
}

#[test]
fn modules_begin_with_what_they_own() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let without: Vec<PathBuf> = sources(&root)
        .into_iter()
        .filter(|file| !fs::read_to_string(file).unwrap().starts_with("//!"))
        .collect();
    assert_eq!(without, Vec::<PathBuf>::new());
}
