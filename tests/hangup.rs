//! A window whose terminal goes away: it ends, and leaves nothing that spins.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where it fails")]

use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use std::io::Read;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn a_window_ends_with_its_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("lifeboat.toml");
    let state = folder.path().join("state");
    std::fs::write(&config, format!("state_directory = '{}'\n", state.display())).unwrap();
    let size = PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 };
    let pair = native_pty_system().openpty(size).unwrap();
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_lifeboat"));
    command.arg("--config");
    command.arg(&config);
    command.env("TERM", "xterm-256color");
    let mut window = pair.slave.spawn_command(command).unwrap();
    drop(pair.slave);
    let mut output = pair.master.try_clone_reader().unwrap();
    let (mut drawn, mut buffer) = (Vec::new(), [0; 4096]);
    while !String::from_utf8_lossy(&drawn).contains("LIFEBOAT") {
        let count = output.read(&mut buffer).unwrap();
        assert!(count > 0, "it ended before it drew: {}", String::from_utf8_lossy(&drawn));
        drawn.extend_from_slice(&buffer[..count]);
    }
    // The last one that holds it: the terminal hangs up.
    drop(output);
    drop(pair.master);
    let begun = Instant::now();
    while window.try_wait().unwrap().is_none() {
        if begun.elapsed() > LIMIT {
            let _ = window.kill();
            panic!("the window outlives its terminal");
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
}
