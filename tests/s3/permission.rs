//! Asking a bucket whether it takes a write: the server's word alone is a proof, and nothing stays of
//! the question.

use super::*;
use lifeboat::engine::repository::store::permission::{Permission, QUESTION, to_write};
use std::io::Read;
use std::net::TcpStream;

/// The question to `config`'s bucket.
fn asked(config: &S3Config) -> Permission {
    to_write(&StoreConfig::S3(Box::new(config.clone())), "shop")
}

fn questions(seen: &[String]) -> usize {
    seen.iter().filter(|line| line.starts_with("POST ") && line.contains("?uploads")).count()
}

#[test]
fn nothing_stays_of_the_question_whatever_the_bucket_says() {
    let Some(server) = Server::rclone(&[]) else { return };
    let store = store_at(&server, &server.address);
    // So that the server knows uploads of the bucket: an empty list is one, then.
    let mut other = store.create("wal-archive/of-somebody").unwrap();
    other.write_all(&content(9 * MIB)).unwrap();
    std::mem::forget(other);
    let left = || {
        let left = store.unfinished(&["wal-archive/"]).unwrap();
        left.into_iter().filter(|one| one.key.contains(QUESTION)).collect::<Vec<_>>()
    };
    let proxy = Proxy::before(&server);
    let config = S3Config { timeout_seconds: Some(2), ..config(&server, &proxy.address, SECRET) };
    let Permission::Granted(said) = asked(&config) else { panic!("a bucket that takes writes") };
    assert!(said.contains("aborted at once"), "{said}");
    assert_eq!(left(), []);
    let asked_by = |method: &str| proxy.seen().iter().filter(|l| l.starts_with(method)).count();
    assert_eq!((asked_by("PUT"), asked_by("DELETE")), (0, 2), "{:#?}", proxy.seen());

    // Refused at both names: nothing is to be aborted.
    let before = proxy.seen().len();
    for _ in 0..2 {
        proxy.next("?uploads", Deed::Say(403, "AccessDenied"));
    }
    let Permission::Refused(said) = asked(&config) else { panic!("it was refused") };
    assert!(said.contains("AccessDenied"), "{said}");
    let seen = proxy.seen().split_off(before);
    assert_eq!((questions(&seen), seen.len()), (2, 2), "{seen:#?}");

    // One of two names that takes a write is enough.
    proxy.next("?uploads", Deed::Say(403, "AccessDenied"));
    assert!(matches!(asked(&config), Permission::Granted(_)));
    assert_eq!(left(), []);

    // A 403 for another reason tells of the keys, not of their rights.
    for _ in 0..2 {
        proxy.next("?uploads", Deed::Say(403, "SignatureDoesNotMatch"));
    }
    let Permission::Unknown(said) = asked(&config) else { panic!("nothing was proven") };
    assert!(said.contains("SignatureDoesNotMatch"), "{said}");

    // The answer is lost each time: what was begun is found, and aborted.
    for _ in 0..3 {
        proxy.next("?uploads", Deed::LoseAnswer);
    }
    assert!(matches!(asked(&config), Permission::Granted(_)));
    assert_eq!(left(), []);

    // It may begin and not abort: what is left is told, and found by whoever cleans up.
    proxy.next("DELETE ", Deed::Say(403, "AccessDenied"));
    let Permission::Granted(said) = asked(&config) else { panic!("it was begun") };
    assert!(said.contains("may be left unfinished") && said.contains(QUESTION), "{said}");
    assert_eq!(left().len(), 1);
}

/// A server that fails where it should refuse has proven nothing.
#[test]
fn a_server_that_breaks_down_over_a_write_has_refused_nothing() {
    let Some(server) = Server::rclone(&["--read-only"]) else { return };
    let Permission::Unknown(said) = asked(&config(&server, &server.address, SECRET)) else {
        panic!("nothing was proven")
    };
    assert!(said.contains("InternalError"), "{said}");
}

/// A server that decides by policies: keys that may read and no more, keys that may write, keys
/// that nobody knows.
#[test]
#[ignore = "heavy: moto is fetched first, see make test-s3"]
fn a_server_with_policies_proves_which_keys_can_only_read() {
    let server = Server::moto().expect("moto is needed");
    let of = |name: &str, actions: &str| {
        let keys = user(&server, name, actions);
        let path = secret_file(server.folder.path(), name, &keys);
        let credentials = S3Credentials::File { path, profile: None };
        S3Config { credentials, ..config(&server, &server.address, SECRET) }
    };
    let reader = of("reader", "s3:GetObject\",\"s3:ListBucket");
    let writer = of("writer", "s3:*");
    store_at(&server, &server.address);
    enforce(&server, true);
    let store = S3Store::open_within(&writer, "shop", limits()).unwrap();
    let reading = S3Store::open_within(&reader, "shop", limits()).unwrap();
    assert_eq!(reading.read(MARKER).unwrap(), b"{}");
    let Permission::Refused(said) = asked(&reader) else { panic!("{:?}", asked(&reader)) };
    assert!(said.contains("403 AccessDenied"), "{said}");
    assert!(matches!(asked(&writer), Permission::Granted(_)), "{:?}", asked(&writer));
    let unknown = config(&server, &server.address, SECRET);
    assert!(matches!(asked(&unknown), Permission::Unknown(_)), "{:?}", asked(&unknown));
    // Keys that may write and not lock: a lock is no part of the question.
    let lock = lifeboat::engine::config::ObjectLock {
        mode: lifeboat::engine::config::LockMode::Governance,
        days: 1,
    };
    let locked = S3Config { object_lock: Some(lock), ..writer };
    assert!(matches!(asked(&locked), Permission::Granted(_)));
    // It takes no signature of a list of uploads for one.
    enforce(&server, false);
    assert_eq!(store.unfinished(&["wal-archive/"]).unwrap(), []);
}

/// A user who may do that, and their keys as a file has them.
fn user(server: &Server, name: &str, actions: &str) -> String {
    let policy = format!(
        "{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\
         \"Action\":[\"{actions}\"],\"Resource\":\"*\"}}]}}"
    );
    let policy: String = policy.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let iam = |what: &str| {
        let body = format!("Version=2010-05-08&UserName={name}&Action={what}");
        post(server, "/", "iam", "application/x-www-form-urlencoded", &body)
    };
    iam("CreateUser");
    iam(&format!("PutUserPolicy&PolicyName=rights&PolicyDocument={policy}"));
    let made = iam("CreateAccessKey");
    let word = |tag: &str| {
        let (_, rest) = made.split_once(&format!("<{tag}>")).unwrap();
        rest.split('<').next().unwrap().to_owned()
    };
    format!(
        "[default]\naws_access_key_id = {}\naws_secret_access_key = {}\n",
        word("AccessKeyId"),
        word("SecretAccessKey")
    )
}

/// From here on the server looks at keys and policies, or at none.
fn enforce(server: &Server, yes: bool) {
    let free = if yes { "0" } else { "inf" };
    post(server, "/moto-api/reset-auth", "s3", "text/plain", free);
}

fn post(server: &Server, path: &str, service: &str, kind: &str, body: &str) -> String {
    let mut asked = TcpStream::connect(&server.address).unwrap();
    let request = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\n\
         Content-Length: {}\r\n\
         Authorization: AWS4-HMAC-SHA256 Credential={ID}/20260101/us-east-1/{service}/aws4_request, \
         SignedHeaders=host, Signature=00\r\n\r\n{body}",
        server.address,
        body.len()
    );
    asked.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    asked.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    answer
}
