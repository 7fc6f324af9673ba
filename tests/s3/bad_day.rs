//! What the store does on a server's bad day: it ends right, or says why.

use super::*;

#[test]
fn reads_end_right_on_a_bad_day() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_within(&server, &proxy.address, hasty());
    let large = content(20 * MIB);
    store.put("large", &large).unwrap();
    let get = "GET /backups/pg/shop/large";
    for deed in [
        Deed::Say(503, "SlowDown"),
        Deed::Say(500, "InternalError"),
        Deed::Say(400, "RequestTimeout"),
        Deed::Cut(0),
        Deed::Cut(5 * MIB),
        Deed::Stall(3 * MIB),
        Deed::Slow,
    ] {
        proxy.next(get, deed.clone());
        assert!(store.read("large").unwrap() == large, "{deed:?}");
        assert_eq!(proxy.left(), 0);
    }
    // Pieces of one range, some of them cut: each goes on where it stopped.
    for _ in 0..3 {
        proxy.next(get, Deed::Cut(2 * MIB));
    }
    proxy.next(get, Deed::Stall(100_000));
    let mut range = vec![0; 19 * MIB];
    store.read_range("large", 4321, &mut range).unwrap();
    assert!(range == large[4321..4321 + 19 * MIB]);
    assert_eq!(proxy.left(), 0);
}

#[test]
fn a_bad_day_without_end_is_told() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_within(&server, &proxy.address, hasty());
    store.put("object", &content(MIB)).unwrap();
    for (deed, fault) in [
        (Deed::Say(503, "SlowDown"), StoreFault::Throttled),
        (Deed::Say(500, "InternalError"), StoreFault::Unavailable),
        (Deed::Cut(300), StoreFault::Unavailable),
        (Deed::Stall(0), StoreFault::TimedOut),
    ] {
        for _ in 0..limits().tries {
            proxy.next("/backups/pg/shop/object", deed.clone());
        }
        let error = store.read("object").unwrap_err();
        assert_eq!(error.fault, fault, "{error}");
        assert!(error.what.contains("tried 4 times"), "{error}");
        assert_eq!(proxy.left(), 0);
    }
    // A 404 of somebody in between is no proof that the object is not there.
    proxy.next("GET /backups/pg/shop/object", Deed::Say(404, ""));
    assert_eq!(store.read("object").unwrap_err().fault, StoreFault::Unavailable);
}

#[test]
fn writes_end_right_on_a_bad_day() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    let (small, large) = (content(MIB), content(18 * MIB));
    // The name alone is no proof: another's object under it is refused, one's own is not.
    for (number, deed) in [
        Deed::Say(503, "SlowDown"),
        Deed::Say(400, "BadDigest"),
        Deed::Say(409, "ConditionalRequestConflict"),
        Deed::Say(501, "NotImplemented"),
        Deed::Cut(0),
        Deed::LoseAnswer,
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("small/{number}");
        proxy.next(&format!("PUT /backups/pg/shop/{key}"), deed.clone());
        store.put(&key, &small).unwrap_or_else(|e| panic!("{deed:?}: {e}"));
        assert!(store.read(&key).unwrap() == small, "{deed:?}");
        assert_eq!(store.put(&key, &small).unwrap_err().fault, StoreFault::Exists);
    }
    for (number, (what, deed)) in [
        ("?partNumber=2", Deed::Say(503, "SlowDown")),
        ("?partNumber=1", Deed::Cut(0)),
        ("?partNumber=3", Deed::LoseAnswer),
        ("?uploadId", Deed::Say(200, "InternalError")),
        ("POST", Deed::Say(500, "InternalError")),
    ]
    .into_iter()
    .enumerate()
    {
        let key = format!("large/{number}");
        proxy.next(what, deed.clone());
        store.put(&key, &large).unwrap_or_else(|e| panic!("{deed:?}: {e}"));
        assert!(store.read(&key).unwrap() == large, "{deed:?}");
        assert_eq!(proxy.left(), 0);
    }
    assert!(!proxy.seen().iter().any(|line| line.starts_with("DELETE")), "nothing was given up");
}

#[test]
fn a_refusal_before_the_whole_was_sent_is_heard() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    for (key, what, size) in
        [("one", "PUT /backups/pg/shop/one", 7 * MIB), ("parts", "?partNumber=2", 18 * MIB)]
    {
        let large = content(size);
        proxy.next(what, Deed::SayAtOnce(403, "AccessDenied"));
        let error = store.put(key, &large).unwrap_err();
        assert_eq!(error.fault, StoreFault::Denied, "{error}");
        assert!(error.what.contains("AccessDenied"), "{error}");
        proxy.next(what, Deed::SayAtOnce(503, "SlowDown"));
        store.put(key, &large).unwrap();
        assert!(store.read(key).unwrap() == large);
        assert_eq!(proxy.left(), 0);
    }
}

#[test]
fn what_publishes_a_name_says_only_if_it_is_not_there() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    store.put("small", b"x").unwrap();
    store.put("large", &content(9 * MIB)).unwrap();
    let seen = proxy.seen();
    let publishes = |line: &&String| {
        line.starts_with("PUT /backups/pg/shop/small") || line.contains("large?uploadId")
    };
    let publishing: Vec<_> = seen.iter().filter(publishes).collect();
    assert_eq!(publishing.len(), 2, "{seen:?}");
    assert!(publishing.iter().all(|line| line.ends_with(" if absent")), "{publishing:?}");
    // Somebody writes the name after it was looked for.
    for (key, request, size) in [("raced", "PUT", 10), ("raced-large", "POST", 9 * MIB)] {
        let name = format!("{request} /backups/pg/shop/{key}");
        if request == "POST" {
            proxy.next(&format!("{name}?uploadId"), Deed::Say(412, "PreconditionFailed"));
        } else {
            proxy.next(&name, Deed::Say(412, "PreconditionFailed"));
        }
        let error = store.put(key, &content(size)).unwrap_err();
        assert_eq!(error.fault, StoreFault::Exists, "{error}");
        assert_eq!(proxy.left(), 0);
    }
}

#[test]
fn a_lost_answer_to_the_last_request_of_an_upload_is_settled() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    let large = content(18 * MIB);
    let mut writer = store.create("large").unwrap();
    writer.write_all(&large).unwrap();
    let completes = "POST /backups/pg/shop/large?uploadId";
    proxy.next(completes, Deed::LoseAnswer);
    // It is there: whatever the server says to the second request, the outcome must be the truth.
    writer.finish().unwrap();
    assert!(store.read("large").unwrap() == large);
}

#[test]
fn an_upload_that_fails_or_is_dropped_is_thrown_away() {
    let Some(server) = Server::rclone(&[]) else { return };
    let proxy = Proxy::before(&server);
    let store = store_at(&server, &proxy.address);
    let aborted = || proxy.seen().iter().filter(|line| line.starts_with("DELETE")).count();
    let mut dropped = store.create("dropped").unwrap();
    dropped.write_all(&content(17 * MIB)).unwrap();
    drop(dropped);
    assert_eq!(aborted(), 1);
    for _ in 0..limits().tries {
        proxy.next("?partNumber=2", Deed::Say(500, "InternalError"));
    }
    let mut failed = store.create("failed").unwrap();
    let outcome = failed.write_all(&content(40 * MIB)).map_err(|e| e.to_string());
    let outcome = outcome.and_then(|()| failed.finish().map_err(|e| e.to_string()));
    assert!(outcome.unwrap_err().contains("InternalError"));
    assert_eq!(aborted(), 2);
    for key in ["dropped", "failed"] {
        assert_eq!(store.size(key).unwrap_err().fault, StoreFault::NotFound);
    }
}
