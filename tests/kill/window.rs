//! A terminal with the program's screens in it, in a process that can be killed: a real pseudo
//! terminal, read as a person sees it.

use crate::stage::{LIMIT, signal, until};
use nix::sys::signal::Signal;
use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::Read;
use std::num::NonZero;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Instant;

const COLUMNS: u16 = 140;
const ROWS: u16 = 40;

pub struct Window {
    /// `None` once it was killed.
    child: Option<Box<dyn Child + Send + Sync>>,
    /// Held, or the program's terminal hangs up.
    _master: Box<dyn MasterPty + Send>,
    screen: Arc<Mutex<vt100::Parser>>,
}

impl Window {
    /// The screens as an operator opens them again: on the incident that is under way.
    pub fn open(program: &Path, config: &Path) -> Self {
        let size = PtySize { rows: ROWS, cols: COLUMNS, pixel_width: 0, pixel_height: 0 };
        let pair = native_pty_system().openpty(size).unwrap();
        let mut command = CommandBuilder::new(program);
        command.arg("--config");
        command.arg(config);
        command.env("TERM", "xterm-256color");
        command.env("LANG", "C.UTF-8");
        command.env_remove("NO_COLOR");
        let child = Some(pair.slave.spawn_command(command).unwrap());
        drop(pair.slave);
        let mut output = pair.master.try_clone_reader().unwrap();
        let (rows, columns) = (NonZero::new(ROWS).unwrap(), NonZero::new(COLUMNS).unwrap());
        let screen = Arc::new(Mutex::new(vt100::Parser::new(rows, columns, 0)));
        let seen = Arc::clone(&screen);
        std::thread::spawn(move || {
            let mut buffer = [0; 8192];
            while let Ok(count @ 1..) = output.read(&mut buffer) {
                seen.lock().unwrap().process(&buffer[..count]);
            }
        });
        Self { child, _master: pair.master, screen }
    }

    pub fn text(&self) -> String {
        self.screen.lock().unwrap().screen().contents()
    }

    /// Waits until the screen is as `holds` wants it.
    pub fn wait(&self, what: &str, holds: impl Fn(&str) -> bool) {
        let begun = Instant::now();
        until(what, || {
            let text = self.text();
            let late = begun.elapsed() > LIMIT / 2;
            assert!(!late, "waited for {what}; the screen is\n{text}");
            holds(&text)
        });
    }

    /// Kills the program as `kill -9` does.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // The library's own kill asks with a hangup first.
        let Some(mut child) = self.child.take() else { return };
        if let Some(pid) = child.process_id() {
            signal(i32::try_from(pid).unwrap(), Signal::SIGKILL);
        }
        let _ = child.wait();
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.end();
    }
}
