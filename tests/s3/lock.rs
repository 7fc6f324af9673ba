//! Object Lock: asked for with every object, shown, and heard when it refuses. And what makes sure
//! that the server keeps what was sent.

use super::*;
use lifeboat::engine::config::{LockMode, ObjectLock};
use lifeboat::engine::repository::store::Hold;

#[test]
fn retention_is_asked_for_with_every_object() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    store_at(&server, &server.address);
    let mut config = config(&server, &proxy.address, SECRET);
    config.object_lock = Some(ObjectLock { mode: LockMode::Compliance, days: 30 });
    let store = S3Store::open_within(&config, "shop", limits()).unwrap();
    assert_eq!(store.retention(), Some((LockMode::Compliance, 30)));
    store.put("small", b"x").unwrap();
    store.put("large", &content(9 * MIB)).unwrap();
    let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(30 * 24);
    let day = day.strftime("%Y-%m-%dt").to_string();
    for begins in ["put /backups/pg/shop/small", "post /backups/pg/shop/large?uploads"] {
        let heads = proxy.heads();
        let head = heads.iter().find(|head| head.starts_with(begins)).unwrap();
        assert!(head.contains("x-amz-object-lock-mode: compliance\r\n"), "{head}");
        assert!(head.contains(&format!("x-amz-object-lock-retain-until-date: {day}")), "{head}");
    }
}

#[test]
fn what_keeps_an_object_is_shown_and_a_locked_one_is_not_removed() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    store.put("locked", b"content").unwrap();
    // Whoever asks first is whoever looks whether it is there.
    let lock = Deed::Add(
        "x-amz-object-lock-mode: COMPLIANCE\r\n\
         x-amz-object-lock-retain-until-date: 2099-01-02T03:04:05Z\r\n",
    );
    for _ in 0..2 {
        proxy.next("HEAD /backups/pg/shop/locked", lock.clone());
    }
    let until = "2099-01-02T03:04:05Z".parse().unwrap();
    let hold = Hold { mode: "COMPLIANCE".into(), until };
    assert_eq!(store.hold("locked").unwrap(), Some(hold));
    proxy.next("DELETE", Deed::Say(403, "AccessDenied"));
    let before = proxy.seen().len();
    let error = store.remove("locked").unwrap_err();
    assert_eq!(error.fault, StoreFault::Denied, "{error}");
    let deletes = proxy.seen()[before..].iter().filter(|line| line.starts_with("DELETE")).count();
    assert_eq!(deletes, 1, "it is not tried again");
    assert_eq!(store.read("locked").unwrap(), b"content");
    // Of an object with versions it is the version that goes, since only it can be locked.
    for _ in 0..2 {
        proxy.next("HEAD /backups/pg/shop/locked", Deed::Add("x-amz-version-id: v-7\r\n"));
    }
    proxy.next("DELETE", Deed::Say(403, "AccessDenied"));
    assert_eq!(store.remove("locked").unwrap_err().fault, StoreFault::Denied);
    let last = proxy.seen().pop().unwrap();
    assert_eq!(last, "DELETE /backups/pg/shop/locked?versionId=v-7");
}

#[test]
fn what_was_damaged_on_the_way_is_noticed() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    let (small, large) = (content(MIB), content(18 * MIB));
    // The server checks the digest that comes with each request, and refuses it.
    proxy.next("PUT /backups/pg/shop/small", Deed::Damage);
    store.put("small", &small).unwrap();
    proxy.next("?partNumber=2", Deed::Damage);
    store.put("large", &large).unwrap();
    assert_eq!(proxy.left(), 0);
    assert!(store.read("small").unwrap() == small);
    assert!(store.read("large").unwrap() == large);
    // One that does not check answers with the digest of something else.
    let other = Deed::Add("ETag: \"00000000000000000000000000000000\"\r\n");
    proxy.next("PUT /backups/pg/shop/other", other.clone());
    let error = store.put("other", &small).unwrap_err();
    assert_eq!(error.fault, StoreFault::Unavailable, "{error}");
    assert!(error.what.contains("not the digest"), "{error}");
    proxy.next("?partNumber=1", other);
    store.put("again", &large).unwrap();
    assert!(store.read("again").unwrap() == large, "the part was sent again");
    // A tag that is no digest proves nothing, and is no damage: the size is read back.
    for tag in [
        "ETag: \"of-another-kind\"\r\n",
        "ETag: \"00000000000000000000000000000000\"\r\nx-amz-server-side-encryption: aws:kms\r\n",
    ] {
        let key = format!("odd-{}", tag.len());
        proxy.next(&format!("PUT /backups/pg/shop/{key}"), Deed::Add(tag));
        store.put(&key, &small).unwrap();
    }
    assert_eq!(proxy.left(), 0);
}

#[test]
#[ignore = "heavy: moto is fetched first, see make test-s3"]
fn a_server_that_keeps_locks_keeps_ours() {
    let Some(server) = Server::moto() else { return };
    let mut config = config(&server, &server.address, SECRET);
    config.region = "us-east-1".into();
    let store = S3Store::make(&config, "shop").unwrap();
    store.put(MARKER, b"{}").unwrap();
    suite::run(&store);
    config.object_lock = Some(ObjectLock { mode: LockMode::Compliance, days: 3 });
    // What goes in parts it leaves without a lock, unlike Amazon's: one request it is.
    let locking = S3Store::open(&config, "shop").unwrap();
    let day = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(72);
    let object = content(7 * MIB);
    locking.put("locked/object", &object).unwrap();
    let hold = store.hold("locked/object").unwrap().unwrap();
    assert_eq!(hold.mode, "COMPLIANCE");
    assert!(day.duration_since(hold.until).as_secs().abs() < 60, "{hold:?}");
    let error = store.remove("locked/object").unwrap_err();
    assert_eq!(error.fault, StoreFault::Denied, "{error}");
    assert!(store.read("locked/object").unwrap() == object);
}
