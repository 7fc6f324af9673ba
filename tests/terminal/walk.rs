//! A drill led in the real screens with keys alone, as somebody does who follows the line on top.
//! Owns what every scenario's walk has in common; each turn waits for what the screen says.

use super::Terminal;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_lifeboat");
pub const SOON: Duration = Duration::from_secs(20);
/// Making the sandbox, or a whole recovery, on a busy machine.
pub const LONG: Duration = Duration::from_secs(180);

/// Somebody at a screen.
pub struct Walk {
    pub screen: Terminal,
    /// Of its own: whoever ends all drills of this user elsewhere does not mean it.
    home: tempfile::TempDir,
}

impl Walk {
    /// Begins a drill of that scenario, reads its story and leaves it.
    pub fn begin(scenario: &str, size: (u16, u16)) -> Self {
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
        let folder = home.path().display().to_string();
        let record = home.path().join("record").display().to_string();
        let arguments = ["drill", scenario, "--size", "24", "--record", &record];
        let environment = [("TMPDIR", folder.as_str())];
        let mut screen = Terminal::start(Path::new(PROGRAM), &arguments, &environment, size);
        // What happened, before any clock runs.
        screen.wait_for("This is a drill", LONG);
        screen.press("\x1b");
        // A key that comes right behind Esc would be one with Alt.
        let closed = |text: &str| !text.contains("This is a drill");
        screen.wait_until("the briefing to close", SOON, closed);
        // Home: the screen says what to do first.
        screen.wait_for("Select it and declare an", SOON);
        Self { screen, home }
    }

    /// Presses a key that asks a question, types the answer, and waits until `wanted` is shown.
    pub fn answer(&mut self, key: &str, question: &str, text: &str, wanted: &str) {
        self.press(key, question, SOON);
        self.screen.press(text);
        self.press("\r", wanted, SOON);
    }

    /// Presses a key and waits until `wanted` is shown.
    pub fn press(&mut self, key: &str, wanted: &str, limit: Duration) -> String {
        self.screen.press(key);
        self.screen.wait_for(wanted, limit)
    }

    /// From home to an incident whose server was asked.
    pub fn assess(&mut self, title: &str, severity: &str, said: &str, asked: &str) {
        self.answer("d", "Declare an incident on shop", title, "Say how bad it is.");
        self.press("s", "SEV-1", SOON);
        self.press(severity, said, SOON);
        self.answer("f", "When was it first detected?", "1 minute ago", "Detected 01:");
        self.press("e", asked, SOON);
    }

    /// Answers the prerequisites that have to be, has the plan made and opens the gate.
    pub fn open_the_gate(&mut self, keys: &str) {
        for key in keys.chars() {
            match key {
                'e' => self.answer(
                    "e",
                    "Where it was declared",
                    "The lead on call knows",
                    "✓ Incident declared and escalated",
                ),
                'w' => self.answer(
                    "w",
                    "Enter",
                    "The shop is closed",
                    "✓ Maintenance window established",
                ),
                'v' => drop(self.press("v", "✓ Backup integrity verified", LONG)),
                'c' => self.answer(
                    "c",
                    "Who confirmed it",
                    "The owner agrees",
                    "✓ Recovery target time confirmed",
                ),
                key => unreachable!("{key}"),
            }
        }
        self.press("m", "Read the plan, then open the gate", SOON);
        self.press("g", "To begin, type the cluster's name", SOON);
    }

    /// Types the cluster's name at the gate; where there is more to read it is shown first.
    pub fn pass_the_gate(&mut self) {
        self.press("shop", "▸ shop", SOON);
        self.screen.press("\r");
        let begun = |text: &str| !text.contains("▸ shop");
        let text = self.screen.wait_until("the gate's answer", SOON, |text| {
            begun(text) || text.contains("Enter once more")
        });
        if !begun(&text) {
            self.screen.press("\r");
            self.screen.wait_until("the gate to close", SOON, begun);
        }
    }

    /// The checks of the recovered data, none of which failed.
    pub fn validated(&mut self) {
        let shown = self.screen.wait_for("Checks of the recovered data", LONG);
        assert!(shown.contains("0 FAILED"), "{shown}");
    }

    /// Signs the first line of the checklist, and writes the report.
    pub fn sign_and_report(&mut self, settled: &str) {
        self.press("5", "Within 1 hour", SOON);
        self.press("\r", "─ Sign ─", SOON);
        self.press("seen by the newcomer\r", settled, SOON);
        let shown = self.press("6", "RPO (data lost)", SOON);
        // Where production stayed open it is the time until the rows were back.
        assert!(shown.contains("RTO (downtime)") || shown.contains("RTO (rows back)"), "{shown}");
        self.press("w", "Report written", SOON);
    }

    /// Leaves the drill: the sandbox goes, the terminal is whole again. The outcome as it was recorded.
    pub fn leave(mut self) -> serde_json::Value {
        self.press("q", "End the drill?", SOON);
        self.press("y", "The sandbox is gone", LONG);
        assert!(self.screen.wait_end(LONG));
        let ledger = self.home.path().join("record/drills.jsonl");
        let text = std::fs::read_to_string(ledger).unwrap();
        serde_json::from_str(text.lines().last().unwrap()).unwrap()
    }
}
