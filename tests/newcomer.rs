//! The whole drill in the real screens, in a real pseudo terminal, with keys alone: what a person
//! does who follows the line "what to do now". Checks what the screen says at each turn.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod terminal;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;
use terminal::{Terminal, picture};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lifeboat");
const SOON: Duration = Duration::from_secs(20);
/// Making the sandbox, or a whole recovery, on a busy machine.
const LONG: Duration = Duration::from_secs(180);

/// With `LIFEBOAT_PICTURES=<folder>` set, what the screen shows now is kept there as SVG.
fn keep(screen: &Terminal, name: &str) {
    if let Ok(folder) = std::env::var("LIFEBOAT_PICTURES") {
        let path = Path::new(&folder).join(format!("{name}.svg"));
        std::fs::write(path, screen.cells(picture::svg)).unwrap();
    }
}

/// Presses a key that asks a question, types the answer, and waits until `wanted` is shown.
fn answer(screen: &mut Terminal, key: &str, question: &str, text: &str, wanted: &str) {
    screen.press(key);
    screen.wait_for(question, SOON);
    screen.press(text);
    screen.press("\r");
    screen.wait_for(wanted, SOON);
}

#[test]
fn a_newcomer_recovers_the_orders_with_keys_alone() {
    let size = if std::env::var_os("LIFEBOAT_PICTURES").is_some() { (120, 36) } else { (80, 24) };
    let arguments = ["drill", "corruption", "--size", "24"];
    // Of its own: whoever ends all drills of this user elsewhere does not mean it.
    let home = tempfile::tempdir_in("/var/tmp").unwrap();
    std::fs::set_permissions(home.path(), PermissionsExt::from_mode(0o711)).unwrap();
    let folder = home.path().display().to_string();
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
    keep(&screen, "home");
    answer(
        &mut screen,
        "d",
        "Declare an incident on shop",
        "Orders are missing",
        "Say how bad it is.",
    );

    // Assessment.
    screen.press("s");
    screen.wait_for("SEV-1", SOON);
    screen.press("\x1b[B\r");
    screen.wait_for("SEV-2: Service is degraded", SOON);
    answer(&mut screen, "f", "When was it first detected?", "1 minute ago", "Detected 01:");
    screen.press("e");
    screen.wait_for("PostgreSQL", SOON);
    screen.press("p");
    screen.wait_until("the probes' verdicts", LONG, |text| text.contains("FAILED"));
    keep(&screen, "assessment");

    // Recovery point: the culprit is named and stands first.
    screen.press("n");
    let shown = screen.wait_for("rows of public.orders", LONG);
    assert!(shown.contains("Just before: deleted"), "{shown}");
    // Once it is proven: Enter on a point that is not is answered so.
    screen.wait_for("last kept", LONG);
    keep(&screen, "recovery-point");
    screen.press("\r");
    screen.wait_for("Prerequisites and plan", LONG);

    // Restore: prerequisites, plan, gate.
    answer(
        &mut screen,
        "e",
        "Enter",
        "The lead on call knows",
        "✓ Incident declared and escalated",
    );
    answer(&mut screen, "w", "Enter", "The shop is closed", "✓ Maintenance window established");
    screen.press("v");
    screen.wait_for("✓ Backup integrity verified", LONG);
    answer(&mut screen, "c", "Enter", "The owner agrees", "✓ Recovery target time confirmed");
    screen.press("m");
    screen.wait_for("Read the plan, then open the gate", SOON);
    keep(&screen, "plan");
    screen.press("g");
    screen.wait_for("To begin, type the cluster's name", SOON);
    keep(&screen, "gate");

    // A wrong name begins nothing.
    screen.press("shopp\r");
    screen.wait_for("shopp", SOON);
    assert!(!screen.text().contains("steps done"), "{}", screen.text());
    screen.press("\x7f");
    screen.wait_until("the corrected name", SOON, |text| !text.contains("shopp"));
    screen.press("\r");

    // The recovery runs by itself up to the target.
    screen.wait_for("Promote it?", LONG);
    keep(&screen, "at-the-target");
    screen.press("P");
    screen.wait_for("Promote and open the database?", SOON);
    screen.press("y");

    // Validation.
    let shown = screen.wait_for("VERIFIED", LONG);
    let shown = if shown.contains("Checks of the recovered data") {
        shown
    } else {
        screen.wait_for("Checks of the recovered data", LONG)
    };
    assert!(shown.contains("0 FAILED"), "{shown}");
    keep(&screen, "validation");

    // Checklist and report.
    screen.press("5");
    screen.wait_for("Within 1 hour", SOON);
    screen.press("\r");
    screen.wait_for("Enter", SOON);
    screen.press("seen by the newcomer\r");
    screen.wait_for("1 of 14 settled", SOON);
    keep(&screen, "checklist");
    screen.press("6");
    let shown = screen.wait_for("RTO (downtime)", SOON);
    assert!(shown.contains("RPO (data lost)"), "{shown}");
    screen.press("w");
    screen.wait_for("Report written", SOON);
    keep(&screen, "report");

    // Leaving: the sandbox goes, the terminal is whole again.
    screen.press("q");
    screen.wait_for("End the drill?", SOON);
    screen.press("y");
    screen.wait_for("The sandbox is gone", LONG);
    assert!(screen.wait_end(SOON));
}
