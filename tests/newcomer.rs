//! Whole drills in the real screens, in a real pseudo terminal, with keys alone: what a person does
//! who follows the line "what to do now". Checks what the screen says at each turn.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test ends where it fails"
)]

mod terminal;

use std::path::Path;
use terminal::walk::{LONG, SOON, Walk};
use terminal::{Terminal, picture};

/// The least window that is designed for.
const SMALL: (u16, u16) = (80, 24);

/// With `LIFEBOAT_PICTURES=<folder>` set, what the screen shows now is kept there as SVG.
fn keep(screen: &Terminal, name: &str) {
    if let Ok(folder) = std::env::var("LIFEBOAT_PICTURES") {
        let path = Path::new(&folder).join(format!("{name}.svg"));
        std::fs::write(path, screen.cells(picture::svg)).unwrap();
    }
}

/// A drill that was led to its end and passed, without a wrong turn.
fn passed(drill: &serde_json::Value) {
    assert_eq!((&drill["kind"], &drill["mode"]), (&"held".into(), &"live".into()), "{drill:#}");
    assert_eq!(drill["outcome"], "VERIFIED", "{drill:#}");
    assert_eq!(drill["card"]["wrong_turns"], serde_json::json!([]), "{drill:#}");
    assert_eq!(drill["card"]["hints_used"], 0, "{drill:#}");
}

#[test]
fn a_newcomer_recovers_the_orders_with_keys_alone() {
    let size = if std::env::var_os("LIFEBOAT_PICTURES").is_some() { (120, 36) } else { SMALL };
    let mut walk = Walk::begin("corruption", size);
    keep(&walk.screen, "home");
    let down = "\x1b[B\r";
    walk.assess("Orders are missing", down, "SEV-2: Service is degraded", "PostgreSQL");
    walk.screen.press("p");
    walk.screen.wait_until("the probes' verdicts", LONG, |text| text.contains("FAILED"));
    keep(&walk.screen, "assessment");

    // Recovery point: the culprit is named and stands first.
    let shown = walk.press("n", "rows of public.orders", LONG);
    assert!(shown.contains("Just before: deleted"), "{shown}");
    // Once it is proven: Enter on a point that is not is answered so.
    walk.screen.wait_for("last kept", LONG);
    keep(&walk.screen, "recovery-point");
    walk.press("\r", "Prerequisites and plan", LONG);
    walk.open_the_gate("ewvc");
    keep(&walk.screen, "gate");

    // A wrong name begins nothing.
    walk.press("shopp\r", "shopp", SOON);
    assert!(!walk.screen.text().contains("steps done"), "{}", walk.screen.text());
    walk.screen.press("\x7f");
    walk.screen.wait_until("the corrected name", SOON, |text| !text.contains("shopp"));
    walk.screen.press("\r");

    // The recovery runs by itself up to the target.
    walk.screen.wait_for("Promote it?", LONG);
    keep(&walk.screen, "at-the-target");
    walk.press("P", "Promote and open the database?", SOON);
    walk.screen.press("y");
    walk.validated();
    keep(&walk.screen, "validation");
    walk.sign_and_report("1 of 14 settled");
    keep(&walk.screen, "report");
    walk.leave();
}

/// One table comes back from a copy beside production, which stays up.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_newcomer_brings_one_table_back_with_keys_alone() {
    let mut walk = Walk::begin("table-loss", SMALL);
    let down = "\x1b[B\r";
    walk.assess("The log is empty", down, "SEV-2: Service is degraded", "PostgreSQL");
    let shown = walk.press("n", "emptied public.audit_log", LONG);
    assert!(shown.contains("Just before: emptied"), "{shown}");
    // The line on top names the key that leaves the shop open.
    walk.screen.wait_for("p: only", LONG);
    walk.press("p", "Bring only parts back?", SOON);
    walk.press("y", "plan of bringing parts back", SOON);
    walk.open_the_gate("ec");
    walk.pass_the_gate();
    // The table was looked at already: it is what the suspect touched.
    let shown = walk.screen.wait_for("Read what differs", LONG);
    assert!(shown.contains("public.audit_log") && shown.contains("missing"), "{shown}");
    walk.press("y", "In place: what is missing", SOON);
    walk.press("\r", "To carry it over, type the cluster's name", SOON);
    walk.pass_the_gate();
    walk.validated();
    walk.sign_and_report("1 of 3 settled");
    passed(&walk.leave());
}

/// The cluster is lost: a new one is made from the backup, and swapped in.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_newcomer_restores_a_lost_cluster_with_keys_alone() {
    let mut walk = Walk::begin("complete-loss", SMALL);
    walk.assess("The volume is gone", "\r", "SEV-1: Production is down", "NO ANSWER");
    walk.press("n", "Everything: the end of the archive", LONG);
    walk.screen.wait_for("last kept", LONG);
    walk.press("O", "Full restore beside the old cluster", SOON);
    walk.press("\x1b[B", "▸ The newest backup, and on to the end of the archive", SOON);
    walk.press("\r", "plan of a full restore", LONG);
    walk.open_the_gate("ewvc");
    walk.pass_the_gate();
    let shown = walk.screen.wait_for("Swap it in?", LONG);
    assert!(shown.contains("0 FAILED"), "{shown}");
    walk.press("S", "Swap the new cluster in?", SOON);
    walk.screen.press("y");
    walk.validated();
    walk.sign_and_report("1 of ");
    passed(&walk.leave());
}

/// The region is lost: the far copy alone brings the cluster back, over a slow line.
#[test]
#[ignore = "heavy: see make test-drills"]
fn a_newcomer_recovers_from_the_far_copy_with_keys_alone() {
    let mut walk = Walk::begin("cross-region", SMALL);
    walk.assess("The region is down", "\r", "SEV-1: Production is down", "NO ANSWER");
    walk.press("n", "Everything: the end of the archive", LONG);
    walk.screen.wait_for("last kept", LONG);
    walk.press("\r", "Prerequisites and plan", LONG);
    walk.open_the_gate("ewvc");
    let shown = walk.screen.text();
    assert!(shown.contains("from the far copy \"far\""), "{shown}");
    walk.pass_the_gate();
    walk.screen.wait_for("Promote it?", LONG);
    walk.press("P", "Promote and open the database?", SOON);
    walk.screen.press("y");
    walk.validated();
    walk.sign_and_report("1 of ");
    passed(&walk.leave());
}
