//! What a machine in a cloud asks for its keys.

use crate::server::{ID, SECRET};
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// EC2's metadata (with a token, as version 2 wants), the address that ECS names, and the service
/// that takes web identities.
pub struct Cloud {
    pub address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Cloud {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let seen = Arc::new(Mutex::default());
        let shared = Arc::clone(&seen);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                answer(client, &shared);
            }
        });
        Self { address, seen }
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}

fn answer(mut client: TcpStream, seen: &Mutex<Vec<String>>) -> Option<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).ok()?.to_lowercase();
    let line = head.lines().next()?.trim_end_matches(" http/1.1").to_owned();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    let end = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
    let end = end.strftime("%Y-%m-%dT%H:%M:%SZ");
    let json = format!(
        "{{\"Code\":\"Success\",\"Type\":\"AWS-HMAC\",\"LastUpdated\":\"{end}\",\
         \"AccessKeyId\":\"{ID}\",\"SecretAccessKey\":\"{SECRET}\",\"Token\":\"of-a-session\",\
         \"Expiration\":\"{end}\"}}"
    );
    let trusted = head.contains("x-aws-ec2-metadata-token: the-token");
    let role = "/latest/meta-data/iam/security-credentials";
    let (status, text) = match line.split_once(' ')? {
        ("put", "/latest/api/token") => (200, "the-token".to_owned()),
        ("get", path) if path.starts_with(role) && !trusted => (401, String::new()),
        ("get", path) if path.trim_end_matches('/') == role => (200, "the-role".to_owned()),
        ("get", path) if path == format!("{role}/the-role") => (200, json),
        ("get", "/task") => (200, json),
        ("post", "/") if body.contains("WebIdentityToken=who-i-am") => (
            200,
            format!(
                "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult>\
                 <AssumedRoleUser><Arn>arn:aws:sts::1:assumed-role/r/s</Arn>\
                 <AssumedRoleId>A:s</AssumedRoleId></AssumedRoleUser>\
                 <Credentials><AccessKeyId>{ID}</AccessKeyId>\
                 <SecretAccessKey>{SECRET}</SecretAccessKey>\
                 <SessionToken>of-a-session</SessionToken><Expiration>{end}</Expiration>\
                 </Credentials></AssumeRoleWithWebIdentityResult>\
                 </AssumeRoleWithWebIdentityResponse>"
            ),
        ),
        _ => (404, String::new()),
    };
    seen.lock().unwrap().push(line);
    let mut answer = format!("HTTP/1.1 {status} So\r\nContent-Length: {}\r\n", text.len());
    let _ = write!(answer, "x-aws-ec2-metadata-token-ttl-seconds: 21600\r\n");
    let _ = write!(answer, "Connection: close\r\n\r\n{text}");
    client.write_all(answer.as_bytes()).ok()
}
