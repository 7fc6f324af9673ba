//! Who may recover, looked at by real users: each runs the program's own look.

use crate::stage::{Case, Driver, Stage};
use lifeboat::engine::postgres::discovery::Owner;
use lifeboat::engine::restore::rights::{self, Finding};

#[test]
fn every_user_is_told_beforehand_what_is_lacking() {
    let stage = Stage::new(Case::of(Driver::PgCtl));
    // Whoever runs this test and the server's user may do all of it.
    assert!(rights::check(&stage.cluster).unwrap().unverified.is_empty());
    assert_eq!(rights::rights(&stage.cluster, &stage.owner, &stage.owner), []);
    let other = Owner { uid: 4_000_000, gid: 4_000_000, name: None };
    let found = rights::rights(&stage.cluster, &other, &stage.owner);
    let lacking = |step: &str| {
        found.iter().any(|one| one.step == step && matches!(one.finding, Finding::Lacking(_)))
    };
    assert!(["stop-server", "move-aside", "open"].into_iter().all(lacking), "{found:?}");
}
