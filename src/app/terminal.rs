//! The terminal: taken over, given back. Owns raw mode, the other screen and what gives them back
//! on every way out: return, error, panic of the drawing thread, signal.

use crate::screens::theme::{Palette, Theme};
use crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
};
use crossterm::{cursor, execute, terminal};
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use rustix::termios::{self, OptionalActions, Termios};
use std::io::{self, Stdout, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

/// Whether the terminal is ours at the moment, so that it is given back once and only once.
static TAKEN: AtomicBool = AtomicBool::new(false);
/// Panics of other threads: told when the terminal is free again, lest they garble the screen.
static TOLD_LATER: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// A terminal taken over; given back when this is dropped.
#[derive(Debug)]
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    /// Takes the terminal over. To be called on the thread that draws.
    ///
    /// # Errors
    /// Where standard output is no terminal or does not do as asked; it is given back then.
    pub fn take() -> io::Result<Self> {
        hook();
        // Under NO_COLOR this crossterm drops bold and reverse, too. Our own theme without
        // colours keeps the promise of NO_COLOR, so the attributes may stay.
        crossterm::style::force_color_output(true);
        TAKEN.store(true, Ordering::SeqCst);
        let taken = (|| {
            terminal::enable_raw_mode()?;
            execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, cursor::Hide)?;
            Terminal::new(CrosstermBackend::new(io::stdout()))
        })();
        match taken {
            Ok(terminal) => Ok(Self { terminal }),
            Err(error) => {
                give_back();
                Err(error)
            }
        }
    }

    /// Columns and rows.
    ///
    /// # Errors
    /// Where the terminal does not say.
    pub fn size(&self) -> io::Result<(u16, u16)> {
        let size = self.terminal.size()?;
        Ok((size.width, size.height))
    }

    /// Draws one frame; only what changed is written, at once.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub fn draw(&mut self, paint: impl FnOnce(&mut ratatui::Frame<'_>)) -> io::Result<()> {
        execute!(io::stdout(), BeginSynchronizedUpdate)?;
        self.terminal.draw(paint)?;
        execute!(io::stdout(), EndSynchronizedUpdate)
    }

    /// Forgets what is on the window, so that the next frame is written whole.
    ///
    /// # Errors
    /// Where the terminal is gone.
    pub fn clear(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

/// Gives the terminal back, where it is ours. What fails here cannot be helped: it is gone.
fn give_back() {
    if !TAKEN.swap(false, Ordering::SeqCst) {
        return;
    }
    leave();
    let _ = terminal::disable_raw_mode();
    let told = std::mem::take(&mut *TOLD_LATER.lock().unwrap_or_else(PoisonError::into_inner));
    for line in told {
        eprintln!("{line}");
    }
}

/// The terminal as it is before another program takes it over.
#[derive(Debug)]
pub struct Before(Option<Termios>);

impl Before {
    /// Remembers it; where standard input is none, there is nothing to give back.
    #[must_use]
    pub fn of_now() -> Self {
        Self(termios::tcgetattr(io::stdin()).ok())
    }

    /// Gives it back, where that program was killed and could not. What fails here cannot be helped.
    pub fn give_back(&self) {
        let Some(before) = &self.0 else { return };
        leave();
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, before);
    }
}

/// Leaves the other screen, and what was asked for on it.
fn leave() {
    let mut out = io::stdout();
    let _ = execute!(
        out,
        EndSynchronizedUpdate,
        DisableBracketedPaste,
        cursor::Show,
        LeaveAlternateScreen
    );
    let _ = out.flush();
}

/// A panic of the drawing thread gives the terminal back before it is told; one of another
/// thread leaves the terminal alone.
fn hook() {
    let drawing = std::thread::current().id();
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().id() == drawing {
            give_back();
        } else if TAKEN.load(Ordering::SeqCst) {
            TOLD_LATER.lock().unwrap_or_else(PoisonError::into_inner).push(info.to_string());
            return;
        }
        before(info);
    }));
}

/// The theme that the environment asks for. `LIFEBOAT_THEME` may be `dark`, `light` or `mono`,
/// `LIFEBOAT_ASCII` anything; `NO_COLOR` has the last word about colours.
#[must_use]
pub fn theme(variable: impl Fn(&str) -> Option<String>) -> Theme {
    let set = |name: &str| variable(name).filter(|v| !v.is_empty());
    let term = set("TERM").unwrap_or_default();
    let palette = match set("LIFEBOAT_THEME").as_deref() {
        _ if set("NO_COLOR").is_some() || term == "dumb" => Palette::Mono,
        Some("mono") => Palette::Mono,
        Some("light") => Palette::Light,
        _ => Palette::Dark,
    };
    // The first of these that is set decides, as for every program.
    let language = ["LC_ALL", "LC_CTYPE", "LANG"].iter().find_map(|n| set(n)).unwrap_or_default();
    let language = language.to_ascii_lowercase();
    let unicode = language.contains("utf-8") || language.contains("utf8");
    let ascii = set("LIFEBOAT_ASCII").is_some() || !unicode || term == "linux" || term == "dumb";
    Theme { palette, ascii }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Theme {
        theme(|name| variables.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn the_environment_decides_how_things_look() {
        let usual = [("LANG", "en_GB.UTF-8"), ("TERM", "xterm-256color")];
        assert_eq!(of(&usual), Theme { palette: Palette::Dark, ascii: false });
        let plain = [("LANG", "C"), ("NO_COLOR", "1"), ("LIFEBOAT_THEME", "light")];
        assert_eq!(of(&plain), Theme { palette: Palette::Mono, ascii: true });
        assert!(!of(&[("LC_ALL", "C.utf8"), ("LANG", "C")]).ascii);
        assert!(of(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]).ascii, "LC_ALL wins");
        assert_eq!(of(&[("NO_COLOR", "")]).palette, Palette::Dark, "empty is not set");
    }
}
